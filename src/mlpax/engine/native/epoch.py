"""Epochs by the native library: the state, the course of the rate, the figures."""

import ctypes
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import numpy as np

from mlpax.engine import stopping
from mlpax.engine.metrics import measure
from mlpax.engine.native import library
from mlpax.engine.native.library import Fit, Layers, Moments
from mlpax.engine.plan import OUTSIDE, Hyper, Plan, Pytree, larger_is_better
from mlpax.engine.rows import Data, Orders
from mlpax.engine.schedules import schedule
from mlpax.engine.state import State
from mlpax.engine.stopping import Watch
from mlpax.engine.waiting import heard

__all__ = ["Called", "arrays_of", "caller", "follow", "initial_state", "state_of"]

Called = tuple[State, dict[str, list[float]], float]  # with each epoch's figures, and the seconds
WAITED = 1e9  # floating-point operations; a call of more runs in a thread, so that Ctrl-C is heard


class _Scalars:
    """What the stopping rule needs of `numpy`, for single numbers: ten times as fast."""

    @staticmethod
    def where(condition: Any, yes: Any, no: Any) -> Any:
        return yes if condition else no

    @staticmethod
    def asarray(value: Any, dtype: "np.dtype[Any]") -> Any:
        return dtype.type(value)


def initial_state(params: Pytree, plan: Plan, seed: int = 0, dtype: object = np.float32) -> State:
    """Return the state before the first epoch; `seed` is the dropout's, and float32 the only dtype."""
    layers = _copied(cast(Layers, params))
    zero: Any = np.int32(0)
    key: Any = np.array([0, seed], np.uint32)
    moments = library.initial_moments(layers, str(plan.optimizer))
    best = layers if plan.keeps_best else ()
    return State(layers, moments, key, zero, zero, best, Watch.start())


def _copied(layers: Layers) -> Layers:
    return [(np.array(W, np.float32, order="C"), np.array(b, np.float32, order="C")) for W, b in layers]


def arrays_of(state: State) -> dict[str, np.ndarray]:
    """Return the state's arrays by their paths, such as `params/0/1`."""
    found: dict[str, np.ndarray] = {}

    def add(path: str, value: Any) -> None:
        if isinstance(value, (tuple, list)):
            names = getattr(value, "_fields", range(len(value)))
            for name, one in zip(names, value, strict=True):
                add(f"{path}/{name}" if path else str(name), one)
        else:
            found[path] = np.asarray(value)

    add("", state)
    return found


def state_of(arrays: dict[str, np.ndarray], like: State) -> State:
    """Return the state of arrays from `arrays_of`; `like` is any state of the same plan and shapes."""
    left = iter([arrays[name] for name in arrays_of(like)])

    def rebuilt(value: Any) -> Any:
        if isinstance(value, (tuple, list)):
            parts = [rebuilt(one) for one in value]
            return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
        return next(left)

    return rebuilt(like)


def caller(
    data: Data,
    valid: Data | None,
    plan: Plan,
    hyper: Hyper,
    orders: Orders | None,
    state: State,
    most_threads: int | None = None,
) -> Callable[[State, int], Called]:
    """Return the function that runs up to so many epochs from a state.

    Fewer are run if the stopping rule may end the training before. `state` tells the network's shape.
    """
    params = cast(Layers, state.params)
    sizes = (params[0][0].shape[0], *(b.shape[0] for _, b in params))
    threads = library.threads_for(sizes, plan.batch_size, most_threads)
    seed = int(np.asarray(state.key).view(np.uint32)[1])
    fit = library.fit_of(data, plan, hyper, sizes, seed, threads)
    measured = {"train": (data, fit)}
    if valid is not None:
        of_valid = library.fit_of(valid, plan, hyper, sizes, seed, most_threads or library.available())
        measured["valid"] = valid, of_valid
    work = 6.0 * int(data.n) * sum(W.size for W, _ in params)
    # The loss alone decides, and nothing is kept on the way: epochs that are due anyway share a call.
    together = not plan.figures and plan.monitor == "loss" and not plan.keeps_best
    together &= plan.schedule not in ("plateau", "adaptive")

    def call(state: State, due: int) -> Called:
        first = int(state.epoch)
        due = min(due, stopping.sure(state.watch, hyper, plan)) if together else 1
        started = time.perf_counter()
        state, losses = _trained(state, due, fit, data, hyper, plan, orders, waits=work * due > WAITED)
        seconds = time.perf_counter() - started
        outputs = _outputs(cast(Layers, state.params), measured, plan)
        figures = {"loss": losses}
        for name in plan.figures:
            part, _, metric = name.partition("_")
            figures[name] = [measure(metric, outputs[part], measured[part][0], plan)]
        if plan.stopping != "tolerance" and not all(np.isfinite(found).all() for found in outputs.values()):
            losses[-1] = math.inf  # of weights that are finite: those of 1e20 are
        if plan.monitor != OUTSIDE:
            for k, loss in enumerate(losses):
                state = _followed(state, figures[plan.monitor][k], loss, first + k + 1, hyper, plan)
        return state, figures, seconds

    return call


def _trained(
    state: State,
    epochs: int,
    fit: Fit,
    data: Data,
    hyper: Hyper,
    plan: Plan,
    orders: Orders | None,
    *,
    waits: bool,
) -> tuple[State, list[float]]:
    """Run epochs from a state, which stays as it is; return the state after them, and their losses."""
    params = _copied(cast(Layers, state.params))
    moments = cast(Moments, tuple(_copied(layers) for layers in cast(Moments, state.opt_state)))
    steps, done = int(data.steps), int(state.epoch)
    factors = _factors(state.watch, done, epochs, data, hyper, plan)
    t = (int(state.step) + np.arange(epochs * steps) + 0.5) / (hyper.epochs * max(steps, 1))
    rates = np.broadcast_to(hyper.learning_rate * schedule(plan, hyper, t, np), t.shape)
    rates = rates.reshape(epochs, steps) * factors[:epochs, None]
    order = orders(done, epochs) if orders else None
    stop = ctypes.c_int32(0)
    train = partial(library.train, params, moments, fit, order, rates, int(state.step), stop)
    losses = (heard(train, lambda: setattr(stop, "value", 1)) if waits else train()).tolist()
    ran = next((k + 1 for k, loss in enumerate(losses) if not math.isfinite(loss)), epochs)
    watch = state.watch
    if plan.schedule == "invscaling":
        watch = watch._replace(rate=cast(Any, np.float32(factors[ran])))
    new = state._replace(
        params=params,
        opt_state=moments,
        step=cast(Any, np.int32(int(state.step) + ran * steps)),
        epoch=cast(Any, np.int32(done + ran)),
        watch=watch,
    )
    return new, losses[:ran]


def _factors(watch: Watch, done: int, epochs: int, data: Data, hyper: Hyper, plan: Plan) -> np.ndarray:
    """Return the factor of the rate in each epoch, and in the one after them."""
    factors = np.full(epochs + 1, float(watch.rate))
    if plan.schedule == "invscaling":
        rows_seen = hyper.rows_seen + (done + np.arange(1, epochs + 1)) * int(data.n)
        factors[1:] = np.float32((rows_seen + 1.0) ** -hyper.power_t)  # as from call to call
    return factors


def _outputs(params: Layers, measured: dict[str, tuple[Data, Fit]], plan: Plan) -> dict[str, np.ndarray]:
    """Return the outputs of the rows that are measured, by part; of some training rows at least."""
    count = {part: int(data.counted) for part, (data, _) in measured.items()}
    parts = {name.partition("_")[0] for name in plan.figures}
    found = {part: library.outputs(params, measured[part][1], count[part]) for part in parts}
    if "train" not in found and plan.stopping != "tolerance":
        found["train"] = library.outputs(params, measured["train"][1], min(plan.batch_size, count["train"]))
    return found


def _followed(state: State, figure: float, loss: float, epoch: int, hyper: Hyper, plan: Plan) -> State:
    """Return the state after the stopping rule has seen an epoch's figure."""
    value = figure if larger_is_better(plan.monitor) else -figure
    if plan.stopping != "tolerance" and not np.isfinite(loss):  # an epoch that diverged is no best one
        value = -np.inf
    return follow(state, value, hyper, plan=plan, epoch=epoch)


def follow(state: State, value: float, hyper: Hyper, *, plan: Plan, epoch: int | None = None) -> State:
    """Return the state after the stopping rule has seen an epoch's figure, larger being better."""
    number = int(state.epoch) if epoch is None else epoch
    watch, better = stopping.follow(
        state.watch, cast(Any, np.float32(value)), number, hyper, plan, cast(Any, _Scalars)
    )
    best = state.params if plan.keeps_best and better else state.best
    return state._replace(watch=watch, best=best)
