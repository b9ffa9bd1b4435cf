"""Epochs by the native library: the state, the course of the rate, the figures."""

import ctypes
import itertools
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np

from mlpax.engine import stopping
from mlpax.engine.metrics import measure
from mlpax.engine.native import library
from mlpax.engine.native.library import Fit, Moments, Params
from mlpax.engine.plan import OUTSIDE, Hyper, Plan, Pytree, direction
from mlpax.engine.rows import Data, Orders
from mlpax.engine.schedules import schedule
from mlpax.engine.state import State
from mlpax.engine.stopping import Watch
from mlpax.engine.trees import mapped, named_leaves, rebuilt
from mlpax.engine.waiting import heard

__all__ = ["WAITED", "Called", "Rows", "arrays_of", "caller", "copied", "follow", "followed", "in_units",
           "initial_state", "learned", "measured_rows", "rates_of", "state_of"]  # fmt: skip

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
    own = copied(cast(Params, params))
    zero: Any = np.int32(0)
    key: Any = np.array([0, seed], np.uint32)
    moments = library.initial_moments(own, str(plan.optimizer))
    best = own if plan.keeps_best else ()
    return State(own, moments, key, zero, zero, best, Watch.start())


def copied(params: Params) -> Params:
    """Return a copy that the library may change."""
    return mapped(lambda p: np.array(p, np.float32, order="C"), params)


def arrays_of(state: State) -> dict[str, np.ndarray]:
    """Return the state's arrays by their paths, such as `params/0/1`."""
    return named_leaves(state)


def state_of(arrays: dict[str, np.ndarray], like: State) -> State:
    """Return the state of arrays from `arrays_of`; `like` is any state of the same plan and shapes."""
    return rebuilt(arrays, like)


class Rows(NamedTuple):
    """Rows whose figures an epoch records."""

    data: Data
    fit: Fit
    counted: int  # of the first rows


def measured_rows(
    data: Data, valid: Data | None, plan: Plan, fit: Fit, of_valid: Callable[[Data], Fit]
) -> dict[str, Rows]:
    """Return the rows that are answered after an epoch, by part; some training rows at least.

    Their outputs tell whether a network has diverged.
    """
    parts = {name.partition("_")[0] for name in plan.figures}
    found: dict[str, Rows] = {}
    if "train" in parts:
        found["train"] = Rows(data, fit, int(data.counted))
    elif plan.stopping != "tolerance":
        found["train"] = Rows(data, fit, min(plan.batch_size, int(data.counted)))
    if "valid" in parts and valid is not None:
        found["valid"] = Rows(valid, of_valid(valid), int(valid.counted))
    return found


def learned(data: Data, params: Params) -> Data:
    """Return rows with the targets that a network for tables learns: `(y - shift) / scale`."""
    if isinstance(params, dict) and data.y.dtype.kind == "f":
        shift, scale = params["target"]
        return data._replace(y=np.ascontiguousarray((data.y - shift) / scale, np.float32))
    return data


def in_units(outputs: np.ndarray, params: Params) -> np.ndarray:
    """Return outputs in the units of the targets."""
    if isinstance(params, dict) and not np.array_equal(params["target"], (0, 1)):
        shift, scale = params["target"]
        return outputs * scale + shift
    return outputs


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
    params = cast(Params, state.params)
    sizes = library.sizes_of(params)
    threads = 1 if isinstance(params, dict) else library.threads_for(sizes, plan.batch_size, most_threads)
    seed = int(np.asarray(state.key).view(np.uint32)[1])
    fit = library.fit_of(learned(data, params), plan, hyper, params, seed, threads)

    def of_valid(rows: Data) -> Fit:
        return library.fit_of(
            learned(rows, params), plan, hyper, params, seed, most_threads or library.available()
        )

    measured = measured_rows(data, valid, plan, fit, of_valid)
    work = 6.0 * int(data.n) * sum(m * n for m, n in itertools.pairwise(sizes))
    # The loss alone decides, and nothing is kept on the way: epochs that are due anyway share a call.
    together = not plan.figures and plan.monitor == "loss" and not plan.keeps_best
    together &= plan.schedule not in ("plateau", "adaptive")

    def call(state: State, due: int) -> Called:
        first = int(state.epoch)
        due = min(due, stopping.sure(state.watch, hyper, plan)) if together else 1
        started = time.perf_counter()
        state, losses = _trained(state, due, fit, data, hyper, plan, orders, waits=work * due > WAITED)
        seconds = time.perf_counter() - started
        now = cast(Params, state.params)
        outputs = {name: library.outputs(now, rows.fit, rows.counted) for name, rows in measured.items()}
        figures = {"loss": losses}
        for name in plan.figures:
            part, _, metric = name.partition("_")
            figures[name] = [float(measure(metric, in_units(outputs[part], now), measured[part].data, plan))]
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
    params = copied(cast(Params, state.params))
    moments = cast(Moments, tuple(copied(moment) for moment in cast(Moments, state.opt_state)))
    done = int(state.epoch)
    rates, factors = rates_of(state, epochs, data, hyper, plan)
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
        step=cast(Any, np.int32(int(state.step) + ran * int(data.steps))),
        epoch=cast(Any, np.int32(done + ran)),
        watch=watch,
    )
    return new, losses[:ran]


def rates_of(
    state: State, epochs: int, data: Data, hyper: Hyper, plan: Plan
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rate of each step, (epochs, steps), and the epochs' factors; see `_factors`."""
    steps = int(data.steps)
    factors = _factors(state.watch, int(state.epoch), epochs, data, hyper, plan)
    ran, total = int(state.step) - hyper.begun * steps, (hyper.epochs - hyper.begun) * max(steps, 1)
    t = (ran + np.arange(epochs * steps) + 0.5) / total
    rates = np.broadcast_to(hyper.learning_rate * schedule(plan, hyper, t, np), t.shape)
    return rates.reshape(epochs, steps) * factors[:epochs, None], factors


def _factors(watch: Watch, done: int, epochs: int, data: Data, hyper: Hyper, plan: Plan) -> np.ndarray:
    """Return the factor of the rate in each epoch, and in the one after them."""
    factors = np.full(epochs + 1, float(watch.rate))
    if plan.schedule == "invscaling":
        rows_seen = hyper.rows_seen + (done + np.arange(1, epochs + 1)) * int(data.n)
        factors[1:] = np.float32((rows_seen + 1.0) ** -hyper.power_t)  # as from call to call
    return factors


def _followed(state: State, figure: float, loss: float, epoch: int, hyper: Hyper, plan: Plan) -> State:
    """Return the state after the stopping rule has seen an epoch's figure."""
    watch, better = followed(state.watch, figure, loss, epoch, hyper, plan)
    best = state.params if plan.keeps_best and better else state.best
    return state._replace(watch=watch, best=best)


def followed(
    watch: Watch, figure: float, loss: float, epoch: int, hyper: Hyper, plan: Plan
) -> tuple[Watch, bool]:
    """Return the watch after the stopping rule has seen an epoch's figure, and whether it is the best."""
    value = direction(plan.monitor) * figure
    if plan.stopping != "tolerance" and not np.isfinite(loss):  # an epoch that diverged is no best one
        value = -np.inf
    seen: Any = np.float32(value)
    watch, better = stopping.follow(watch, seen, epoch, hyper, plan, cast(Any, _Scalars))
    return watch, bool(better)


def follow(state: State, value: float, hyper: Hyper, *, plan: Plan) -> State:
    """Return the state after the stopping rule has seen a figure from outside, larger being better."""
    seen: Any = np.float32(value)
    watch, better = stopping.follow(state.watch, seen, state.epoch, hyper, plan, cast(Any, _Scalars))
    best = state.params if plan.keeps_best and better else state.best
    return state._replace(watch=watch, best=best)
