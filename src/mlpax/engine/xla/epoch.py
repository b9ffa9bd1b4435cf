"""One epoch as one program: every minibatch's gradient and update, then the epoch's figures.

`epoch` is a pure function, without `jit`. `jit(epoch)`, `jit(vmap(epoch))` over members that share data and
row order, and `epoch` under `shard_map` with an `axis` all work. The functions `run_...` are compiled.
"""

import functools
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from mlpax.engine import stopping
from mlpax.engine.plan import OUTSIDE, Hyper, Objective, Plan, Pytree, direction
from mlpax.engine.rows import Data
from mlpax.engine.schedules import schedule
from mlpax.engine.state import State
from mlpax.engine.stopping import Watch
from mlpax.engine.xla.losses import METRICS, of_targets
from mlpax.engine.xla.objective import objective_of
from mlpax.engine.xla.optimizers import update_rule

__all__ = ["Programs", "State", "arrays_of", "epoch", "epochs", "evaluate", "follow", "initial_opt_state",
           "initial_state", "inputs", "let_go", "mean_loss", "measure", "minibatch", "run_epochs",
           "run_follow", "run_measure", "run_pass", "settings_of_ours", "state_of",
           "train_pass"]  # fmt: skip

CHUNK = 8192  # rows of an evaluation that are looked at together
OVERFLOWN = "overflown"  # a figure of `evaluate`, of which a run keeps none
PROGRAMS = 32  # of a function, more than a search over settings or folds has shapes

# jaxlib 0.10 hands matrix products on a CPU to YNNPACK. At batches up to 128 Eigen takes a quarter less time.
QUICK = {"xla_cpu_experimental_ynn_fusion_type": ""} if jax.__version__[:5] == "0.10." else {}


Running = tuple[optax.Params, optax.OptState, Array, Array]  # with the sums of losses and of weights
Carry = tuple[State, Array, dict[str, Array]]  # with the last loss and the figures so far


def initial_state(params: Pytree, plan: Plan, seed: int = 0, dtype: type[np.floating] = np.float32) -> State:
    """Return the state before the first epoch; `seed` is the dropout's."""
    zero: Any = np.int32(0)  # on the host until the first call
    key: Any = np.array([0, seed], np.uint32)  # PRNGKey(seed)
    return State(
        params=params,
        opt_state=initial_opt_state(plan, params),
        key=key,
        step=zero,
        epoch=zero,
        best=params if plan.keeps_best else (),
        watch=Watch.start(dtype),
    )


def initial_opt_state(plan: Plan, params: Pytree) -> Pytree:
    """Return the update rule's state before the first step."""
    if not isinstance(plan.optimizer, str):
        rule: Any = update_rule(plan, 0.0, Hyper())
        return jax.device_get(rule.init(params))
    leaves, tree = jax.tree.flatten(params)
    return _zeros(plan, tree, *((np.shape(leaf), jnp.result_type(leaf)) for leaf in leaves))


@functools.lru_cache(maxsize=256)  # tracing takes as long as fitting a small table
def _zeros(plan: Plan, tree: object, *leaves: tuple[tuple[int, ...], np.dtype]) -> Pytree:
    """The state of each of optax's rules that we use starts at 0, for which nothing need be compiled."""
    shapes = jax.tree.unflatten(tree, [jax.ShapeDtypeStruct(*leaf) for leaf in leaves])
    state = jax.eval_shape(update_rule(plan, 0.0, Hyper()).init, shapes)
    return jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), state)


def arrays_of(state: State) -> dict[str, np.ndarray]:
    """Return the state's arrays by their key paths, such as `params/0/1`, copied to the host."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.array(leaf) for path, leaf in leaves}


def state_of(arrays: dict[str, np.ndarray], like: State) -> State:
    """Return the state of arrays from `arrays_of`; `like` is any state of the same plan and shapes."""
    return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in arrays_of(like)])


# Minibatches


def inputs(data: Data, X: Array) -> Array:
    """Return what the network sees of rows of `data.X`: (batch, features), in the arithmetic's dtype."""
    if X.dtype == jnp.uint32:
        X = lax.bitcast_convert_type(X, jnp.uint8).reshape(len(X), -1)
    return (X.astype(data.scale.dtype) - data.shift) * data.scale


def minibatch(
    data: Data, i: Array | int, size: int, order: Array | None = None
) -> tuple[Array, Array, Array]:
    """Return inputs, targets and weights of minibatch `i`, in the given order or as the rows lie."""
    if order is None:
        X, y, weight = (lax.dynamic_slice_in_dim(a, i * size, size) for a in (data.X, data.y, data.weight))
    else:
        rows = lax.dynamic_slice_in_dim(order, i * size, size)
        X, y, weight = jnp.asarray(data.X)[rows], jnp.asarray(data.y)[rows], jnp.asarray(data.weight)[rows]
    return inputs(data, X), y, weight


def _summed(value: Array, axis: str | None) -> Array:
    return value if axis is None else lax.psum(value, axis)


def _weights_of_steps(data: Data, order: Array | None, size: int, axis: str) -> Array:
    """Return the sum of the weights of each minibatch over all devices: one message for the whole epoch."""
    weight = jnp.asarray(data.weight) if order is None else jnp.asarray(data.weight)[order]
    return lax.psum(jnp.sum(weight.reshape(-1, size), axis=1), axis)


def mean_loss(
    params: Pytree,
    X: Array,
    y: Array,
    w: Array,
    key: Array | None,
    hyper: Hyper,
    *,
    plan: Plan,
    axis: str | None = None,
    total: Array | None = None,
) -> Array:
    """Return a minibatch's weighted mean loss, and where the plan has it the squared weights' penalty.

    Over several devices (`axis`) this is the share of one of them: the sum over the devices is the loss, and
    `total` the sum of the minibatch's weights. scikit-learn's penalty is `penalty / 2 · ‖W‖² / sum(w)`.
    """
    total = jnp.sum(w) if total is None else total
    tiny = jnp.finfo(w.dtype).tiny
    loss = jnp.sum(w * objective_of(plan).loss(params, X, y, key, hyper)) / jnp.maximum(total, tiny)
    if plan.penalty:
        each = jnp.where(total > 0, 1 / jnp.maximum(total, tiny), 0) / _summed(jnp.ones((), w.dtype), axis)
        squares = sum(jnp.vdot(W, W) for W in jax.tree.leaves(params) if jnp.ndim(W) > 1)
        loss = loss + hyper.penalty * each * (0.5 * squares)
    return loss


# The epoch


def train_pass(
    state: State, data: Data, order: Array | None, hyper: Hyper, *, plan: Plan, axis: str | None = None
) -> tuple[State, Array]:
    """Run every minibatch's gradient and update once over the rows.

    Parameters
    ----------
    state : State
    data : Data
        The training rows (`rows.place`); under `axis` those of one device.
    order : array of shape (bucket,), int32, or None
        The rows in the order of their minibatches; None takes them as they lie.
    hyper, plan
    axis : str, optional
        Name of the mesh axis over whose devices loss and gradient are summed.

    Returns
    -------
    state : State
    loss : array of shape ()
        Mean over the epoch's rows of the loss that each had when its minibatch came. Infinite if after the
        last update a parameter, or the last minibatch's loss, is not finite; not with `plan.stopping`
        "tolerance", whose caller looks.
    """
    dtype = data.weight.dtype
    steps = jnp.asarray(data.steps, dtype)  # a product of integers could overflow
    before, total = hyper.begun * steps, (hyper.epochs - hyper.begun) * steps
    peak = hyper.learning_rate * state.watch.rate

    totals = None if axis is None else _weights_of_steps(data, order, plan.batch_size, axis)

    def step_on(i: Array, carry: Running) -> Running:
        params, opt_state, summed, weights = carry
        step = state.step + i
        X, y, w = minibatch(data, i, plan.batch_size, order)  # (batch, features), ...
        key = jax.random.fold_in(state.key, step) if plan.dropout else None
        if key is not None and axis is not None:
            key = jax.random.fold_in(key, lax.axis_index(axis))
        weight = jnp.sum(w) if totals is None else totals[i]
        shared: dict[str, Any] = {"plan": plan, "axis": axis, "total": weight}
        loss, gradient = jax.value_and_grad(mean_loss)(params, X, y, w, key, hyper, **shared)
        if axis is not None:  # one message instead of one for each parameter
            flat, back = ravel_pytree((loss, gradient))
            loss, gradient = back(lax.psum(flat, axis))
        rate = peak * schedule(plan, hyper, (step.astype(dtype) - before + 0.5) / total, jnp)
        updates, opt_state = update_rule(plan, rate, hyper).update(gradient, opt_state, params, value=loss)
        return optax.apply_updates(params, updates), opt_state, summed + weight * loss, weights + weight

    zero = jnp.zeros((), dtype)
    start = (state.params, state.opt_state, zero, zero)
    params, opt_state, summed, weights = lax.fori_loop(0, data.steps, step_on, start)
    loss = summed / jnp.maximum(weights, jnp.finfo(zero.dtype).tiny)
    if plan.stopping != "tolerance":  # look at the last update as the next step's loss would
        last = jnp.maximum(data.steps - 1, 0)
        X, y, w = minibatch(data, last, plan.batch_size, order)
        key = jax.random.fold_in(state.key, state.step + data.steps) if plan.dropout else None
        weight = None if totals is None else totals[last]
        ahead = mean_loss(params, X, y, w, key, hyper, plan=plan, axis=axis, total=weight)
        ahead = _summed(ahead, axis)
        parts = [jnp.all(jnp.isfinite(p)) for p in (*jax.tree.leaves(params), ahead)]
        loss = jnp.where(jnp.all(jnp.stack(parts)) | ~jnp.isfinite(loss), loss, jnp.inf)
    step, number = state.step + data.steps, state.epoch + 1
    state = state._replace(params=params, opt_state=opt_state, step=step, epoch=number)
    if plan.schedule == "invscaling":  # the rate of the next epoch
        rows_seen = hyper.rows_seen + jnp.asarray(number, dtype) * data.n
        rate = jnp.asarray((rows_seen + 1) ** -hyper.power_t, state.watch.rate.dtype)
        state = state._replace(watch=state.watch._replace(rate=rate))
    return state, loss


def evaluate(
    params: Pytree,
    data: Data,
    hyper: Hyper,
    metrics: tuple[str, ...],
    *,
    plan: Plan,
    axis: str | None = None,
    objective: Objective | None = None,
) -> dict[str, Array]:
    """Return each metric's weighted mean over the rows.

    "loss" is the plan's, without dropout or penalty; `OVERFLOWN` the share of rows with a NaN or inf.
    `objective` is by default the plan's.
    """
    objective, bucket = objective or objective_of(plan), data.X.shape[0]
    most = max(CHUNK, plan.batch_size)
    chunk = next(bucket // q for q in range(1, bucket + 1) if bucket % q == 0 and bucket // q <= most)
    plain = hyper._replace(label_smoothing=0.0)

    def values(name: str, outputs: Array, X: Array, y: Array) -> Array:
        if name == OVERFLOWN:  # -inf is also what masks an output
            return jnp.any((jnp.isnan(outputs) | (outputs == jnp.inf)).reshape(len(outputs), -1), axis=1)
        if name == "loss":
            return objective.loss(params, X, y, None, plain)
        return of_targets(METRICS[name].values, plan.classes)(outputs, y)

    def add(i: Array, sums: tuple[Array, dict[str, Array]]) -> tuple[Array, dict[str, Array]]:
        weight, of_metrics = sums
        X, y, w = minibatch(data, i, chunk)
        w = jnp.where(i * chunk + jnp.arange(chunk) < data.counted, w, 0)
        outputs = objective.predict(params, X)
        found = {name: values(name, outputs, X, y) for name in metrics}
        of_chunk = {name: jnp.sum((w * v.T).T, axis=0) for name, v in found.items()}
        return weight + jnp.sum(w), jax.tree.map(jnp.add, of_metrics, of_chunk)

    zero = jnp.zeros((), data.weight.dtype)
    start = zero, {name: zero + 0 * data.variance if name == "r2" else zero for name in metrics}
    weight, sums = lax.fori_loop(0, (data.counted + chunk - 1) // chunk, add, start)
    means = {name: _summed(total, axis) / _summed(weight, axis) for name, total in sums.items()}
    return {
        name: mean if name in ("loss", OVERFLOWN) else METRICS[name].finish(mean, jnp.asarray(data.variance))
        for name, mean in means.items()
    }


def measure(
    state: State,
    loss: Array,
    data: Data,
    valid: Data | None,
    hyper: Hyper,
    *,
    plan: Plan,
    axis: str | None = None,
) -> tuple[State, dict[str, Array]]:
    """Return the epoch's figures, and the state after the stopping rule has followed the monitored one.

    If an output of a measured row is NaN or infinite, the loss is infinite, as in `train_pass`.
    """
    figures = {"loss": loss}
    for part, rows in (("train", data), ("valid", valid)):
        metrics = tuple(f.removeprefix(f"{part}_") for f in plan.figures if f.startswith(f"{part}_"))
        if rows is not None and metrics:
            found = evaluate(state.params, rows, hyper, (*metrics, OVERFLOWN), plan=plan, axis=axis)
            figures |= {f"{part}_{metric}": found[metric] for metric in metrics}
            if plan.stopping != "tolerance":
                loss = jnp.where((found[OVERFLOWN] > 0) & jnp.isfinite(loss), jnp.inf, loss)
    figures["loss"] = loss
    if plan.monitor != OUTSIDE:
        value = direction(plan.monitor) * figures[plan.monitor]
        if plan.stopping != "tolerance":  # an epoch that diverged is no best one
            value = jnp.where(jnp.isfinite(loss), value, -jnp.inf)
        state = follow(state, value, hyper, plan=plan)
    return state, {name: figures[name] for name in ("loss", *plan.figures)}


def follow(state: State, value: Array, hyper: Hyper, *, plan: Plan) -> State:
    """Return the state after the stopping rule has seen an epoch's figure, larger being better."""
    watch, better = stopping.follow(state.watch, value, state.epoch, hyper, plan, jnp)
    best = (
        jax.tree.map(partial(jnp.where, better), state.params, state.best) if plan.keeps_best else state.best
    )
    return state._replace(watch=watch, best=best)


def epoch(
    state: State,
    data: Data,
    valid: Data | None,
    order: Array | None,
    hyper: Hyper,
    *,
    plan: Plan,
    axis: str | None = None,
) -> tuple[State, dict[str, Array]]:
    """Train one epoch and measure it; see `train_pass` and `measure`."""
    state, loss = train_pass(state, data, order, hyper, plan=plan, axis=axis)
    return measure(state, loss, data, valid, hyper, plan=plan, axis=axis)


def epochs(
    state: State,
    data: Data,
    valid: Data | None,
    orders: Array | None,
    hyper: Hyper,
    *,
    plan: Plan,
    count: int,
    axis: str | None = None,
) -> tuple[State, dict[str, Array]]:
    """Run up to `count` epochs, until the last one or until the stopping rule ends them.

    Parameters
    ----------
    orders : array of shape (count, bucket), int32, or None
        `order` of each epoch.

    Returns
    -------
    state : State
    figures : dict of arrays of shape (count,)
        Of each epoch; 0 for those that were not run.
    """
    first = state.epoch
    start = {name: jnp.zeros(count, data.weight.dtype) for name in ("loss", *plan.figures)}

    def is_due(carry: Carry) -> Array:
        state, loss, _ = carry
        ahead = stopping.due(state.epoch, state.watch.stopped, loss, hyper, plan)
        return (state.epoch < first + count) & ahead

    def run(carry: Carry) -> Carry:
        state, _, figures = carry
        k = state.epoch - first
        order = None if orders is None else orders[k]
        state, found = epoch(state, data, valid, order, hyper, plan=plan, axis=axis)
        figures = {name: values.at[k].set(found[name]) for name, values in figures.items()}
        return state, found["loss"], figures

    state, _, figures = lax.while_loop(is_due, run, (state, start["loss"][0], start))
    return state, figures


run_pass = jax.jit(train_pass, static_argnames="plan", compiler_options=QUICK)
run_measure = jax.jit(measure, static_argnames="plan")
run_follow = jax.jit(follow, static_argnames="plan")
run_epochs = jax.jit(epochs, static_argnames=("plan", "count"))
OURS: tuple[Any, ...] = (run_pass, run_measure, run_follow, run_epochs)


class Programs(NamedTuple):
    """What the host's loop calls, on one device or on several (`mlpax.engine.xla.mesh`)."""

    run_pass: Callable[..., tuple[State, Array]]
    run_measure: Callable[..., tuple[State, dict[str, Array]]]
    run_epochs: Callable[..., tuple[State, dict[str, Array]]]


def let_go(*functions: Any) -> None:
    """Drop the programs of compiled functions, by default of those here, that have more than `PROGRAMS`.

    Each shape of the data and each plan has a program of some MB. A long-lived process would keep them all.
    """
    for function in functions or OURS:
        if function._cache_size() > PROGRAMS:
            function.clear_cache()


@contextmanager
def settings_of_ours() -> Generator[None]:
    """Trace our programs under JAX settings of their own, whatever the user's are."""
    with (
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        jax.default_prng_impl("threefry2x32"),
    ):
        yield
