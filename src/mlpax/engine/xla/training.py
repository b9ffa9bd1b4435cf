"""Training any pytree of parameters: one compiled epoch, and the `fit` loop around it."""

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float, Int

from mlpax.engine.xla.batches import Data, row_order
from mlpax.engine.xla.evaluation import Watch, evaluate, follow, monitored, watched
from mlpax.engine.xla.losses import Objective, cross_entropy_loss, weighted_mean
from mlpax.engine.xla.network import Params, initialize_weights
from mlpax.engine.xla.optimizers import TICKS, optimizer, plateau, schedule
from mlpax.engine.xla.passes import QUICK, is_small, one_pass
from mlpax.errors import DivergedError, InputError
from mlpax.recipes import Hyper, Recipe, power_of_two
from mlpax.seeds import rng

__all__ = [
    "Record",
    "TrainState",
    "chosen",
    "epochs",
    "fit",
    "initial_params",
    "initial_state",
    "measure_epoch",
    "train_epoch",
    "train_epochs",
    "update",
]

PyTree = Any  # of arrays
Record = dict[str, float]  # one epoch's row of metrics.csv, in its column order

EPOCHS_A_CALL = 10  # of a small epoch

_compiled = partial(
    jax.jit,
    static_argnames=("objective", "recipe"),
    donate_argnames="state",
    compiler_options=QUICK,
)


def update(
    params: Params, X: Float[Array, "batch features"], y: Int[Array, " batch"], lr: float | Array = 0.01
) -> tuple[Params, Float[Array, ""]]:
    """One step of stochastic gradient descent on the cross-entropy.

    Parameters
    ----------
    params : list of (W, b)
        The network, of any depth.
    X : array of shape (batch, features), float32
    y : array of shape (batch,), int
        Labels in 0 .. classes - 1.
    lr : float, default 0.01
        Learning rate.

    Returns
    -------
    params : list of (W, b)
        `p - lr * gradient` for each parameter.
    loss : array of shape ()
        Mean cross-entropy before the step.
    """
    loss, gradients = jax.value_and_grad(cross_entropy_loss)(params, X, y)
    return jax.tree.map(lambda p, g: p - lr * g, params, gradients), loss


class TrainState(NamedTuple):
    """All that the next epoch depends on, besides data and settings."""

    params: PyTree
    opt_state: PyTree
    key: Any  # (2,) uint32, of the dropout
    step: Any  # () int32, updates done
    epoch: Any  # () int32, epochs done
    plateau: PyTree  # optax's state of the plateau schedule, else ()
    watch: Watch


def initial_params(sizes: tuple[int, ...], recipe: Recipe) -> Params:
    """The recipe's initial network, a function of its seed alone."""
    if recipe.initial_scale == "article":
        with jax.threefry_partitionable(False):  # the PRNG's layout of the article's day
            return initialize_weights(sizes, jax.random.PRNGKey(recipe.seed), 0.02)
    return initialize_weights(sizes, rng(recipe.seed, "weights"), recipe.initial_scale)


def initial_state(params: PyTree, recipe: Recipe) -> TrainState:
    """The state before the first epoch. `params` are copied: the epoch's program reuses its input."""
    copy = partial(jax.tree.map, partial(jax.device_put, may_alias=False))  # compiles nothing
    params = copy(params)
    return TrainState(
        params=params,
        opt_state=optimizer(recipe, recipe.learning_rate, recipe.hyper()).init(params),
        key=np.array([0, recipe.seed], np.uint32),  # PRNGKey(seed)
        step=np.int32(0),
        epoch=np.int32(0),
        plateau=plateau().init(params) if recipe.schedule == "plateau" else (),
        watch=Watch(copy(params), np.float32(-np.inf), np.int32(0), np.int32(0)),
    )


def _epoch(
    state: TrainState, data: Data, order: Array | None, hyper: Hyper, *, objective: Objective, recipe: Recipe
) -> tuple[TrainState, Array]:
    """One epoch, one program: every minibatch's gradient and update.

    Parameters
    ----------
    state : TrainState
        Donated: use the returned one.
    data : Data
        The training rows (`place`).
    order : array of shape (bucket,), int32, or None
        The rows in the order of their minibatches (`row_order`); None takes them as they lie.
    hyper : Hyper
        The traced settings.
    objective : Objective
        What to minimise; static.
    recipe : Recipe
        Its static part (`Recipe.static`); static.

    Returns
    -------
    state : TrainState
    loss : array of shape ()
        Mean over the epoch's rows of the loss each had when its minibatch came.
    """
    factor = schedule(recipe)
    total = 1.0 * hyper.epochs * data.steps  # a product of integers could overflow
    peak = hyper.learning_rate * (state.plateau.scale if recipe.schedule == "plateau" else 1.0)

    def mean_loss(params: PyTree, X: Array, y: Array, w: Array, step: Array) -> Array:
        key = None if hyper.dropout is None else jax.random.fold_in(state.key, step)
        return weighted_mean(objective.loss(params, X, y, key, hyper), w)

    def rule(step: Array) -> optax.GradientTransformationExtraArgs:
        return optimizer(recipe, peak * factor((step + 0.5) * (TICKS / total)), hyper)

    params, opt_state, step, loss = one_pass(
        state.params, state.opt_state, state.step, data, order, recipe.batch_size, mean_loss, rule
    )
    finite = jax.tree.map(lambda p: jnp.all(jnp.isfinite(p)), params)
    loss = jnp.where(jax.tree.reduce(jnp.logical_and, finite), loss, jnp.nan)  # the last update diverged
    state = state._replace(params=params, opt_state=opt_state, step=step, epoch=state.epoch + 1)
    return state, loss


train_epoch = _compiled(_epoch)


@partial(jax.jit, static_argnames=("objective", "recipe"), donate_argnames="state")
def measure_epoch(
    state: TrainState,
    loss: Array,
    data: Data,
    valid: Data | None,
    hyper: Hyper,
    *,
    objective: Objective,
    recipe: Recipe,
) -> tuple[TrainState, dict[str, Array]]:
    """The epoch's record, and the state with the best epoch and the plateau followed."""
    sets = dict(_measured(data, valid, recipe))
    figures = {
        name: evaluate(state.params, rows, objective=objective, recipe=recipe) for name, rows in sets.items()
    }
    record = {"loss": loss} | {
        f"{name}_{metric}": figures[name][metric] for metric in objective.metrics for name in sets
    }
    value = watched(record, recipe)
    watch = follow(
        state.watch, state.params, state.epoch, jnp.where(jnp.isfinite(loss), value, jnp.nan), hyper
    )
    plateau_state = state.plateau
    if recipe.schedule == "plateau":
        _, plateau_state = plateau().update({}, plateau_state, value=-value)
    return state._replace(watch=watch, plateau=plateau_state), record


def _measured(data: Data, valid: Data | None, recipe: Recipe) -> list[tuple[str, Data]]:
    """The sets that each epoch's record tells of."""
    train = [("train", data)] if recipe.train_metrics else []
    return train if valid is None else [*train, ("valid", valid)]


def _orders(data: Data, recipe: Recipe, numbers: range) -> np.ndarray | None:
    """Row orders of several epochs, of shape (epochs, bucket)."""
    orders = [order for n in numbers if (order := row_order(data, recipe, n)) is not None]
    return np.stack(orders) if orders else None


def _due(epoch: Any, waited: Any, loss: Any, hyper: Hyper) -> Any:
    """Whether another epoch is due after `epoch` of them; for traced values and for plain ones."""
    due = (epoch < hyper.epochs) & (abs(loss) < math.inf)
    return due if hyper.patience is None else due & (waited < hyper.patience)


@_compiled
def train_epochs(
    state: TrainState,
    data: Data,
    valid: Data | None,
    orders: Array | None,
    hyper: Hyper,
    *,
    objective: Objective,
    recipe: Recipe,
) -> tuple[TrainState, dict[str, Array]]:
    """Up to `EPOCHS_A_CALL` epochs with their evaluation and early stopping, in one program.

    Parameters
    ----------
    orders : array of shape (EPOCHS_A_CALL, bucket), int32, or None
        `order` of each epoch; the others as in `train_epoch`.

    Returns
    -------
    state : TrainState
    records : dict of arrays of shape (EPOCHS_A_CALL,)
        The figures of each epoch, NaN for those not run.
    """
    options: Any = {"objective": objective, "recipe": recipe}
    _, figures = jax.eval_shape(
        lambda s: measure_epoch(s, jnp.float32(0), data, valid, hyper, **options), state
    )
    blank = {name: jnp.full(EPOCHS_A_CALL, jnp.nan) for name in figures}

    def due(carry: Any) -> Array:
        k, state, loss, _ = carry
        return (k < EPOCHS_A_CALL) & _due(state.epoch, state.watch.waited, loss, hyper)

    def run(carry: Any) -> Any:
        k, state, _, records = carry
        order = None if orders is None else orders[k]
        state, loss = _epoch(state, data, order, hyper, **options)
        state, record = measure_epoch(state, loss, data, valid, hyper, **options)
        return k + 1, state, loss, {name: records[name].at[k].set(record[name]) for name in records}

    _, state, _, records = lax.while_loop(due, run, (jnp.int32(0), state, jnp.float32(0), blank))
    return state, records


def epochs(
    state: TrainState, data: Data, valid: Data | None = None, *, objective: Objective, recipe: Recipe
) -> Iterator[tuple[TrainState, list[Record]]]:
    """Train from `state` to the recipe's last epoch or its early stop, yielding between programs.

    Parameters
    ----------
    state : TrainState
        From `initial_state`, or an earlier run's. Donated: read the one yielded, before going on.
    data, valid : Data
        Training and validation rows; validation may be None.
    objective : Objective
        What to minimise and measure.
    recipe : Recipe
        All settings.

    Yields
    ------
    state : TrainState
        After the epochs just run.
    records : list of dict
        Their figures: `epoch, loss, train_<metric>, valid_<metric>, ..., seconds`. `seconds` is of the
        training alone; of small epochs, which share a program, an even share of the program's time.

    Raises
    ------
    InputError
        At the call: a batch larger than the data, or a monitor that is not recorded.
    DivergedError
        After yielding, when an epoch's loss was NaN or infinite.
    """
    for name, rows in (("training", data), ("validation", valid)):
        if rows is None or (name == "validation" and not recipe.drop_last):
            continue
        most = int(rows.n) if recipe.drop_last else power_of_two(int(rows.n))
        if recipe.batch_size > most:
            raise InputError(
                f"batch_size {recipe.batch_size} is larger than the {name} data; choose 1 to {rows.n}"
            )
    sets = [name for name, _ in _measured(data, valid, recipe)]
    columns = ("loss", *(f"{s}_{metric}" for metric in objective.metrics for s in sets))
    monitored(recipe, columns)
    return _epochs(state, data, valid, columns, objective, recipe)


def _epochs(
    state: TrainState, data: Data, valid: Data | None, columns: tuple[str, ...], objective: Objective,
    recipe: Recipe,
) -> Iterator[tuple[TrainState, list[Record]]]:  # fmt: skip
    hyper, static = recipe.hyper(), recipe.static()
    count = EPOCHS_A_CALL if is_small(state.params, int(data.n)) else 1
    done, waited, loss = int(state.epoch), int(state.watch.waited), 0.0
    options: Any = {"objective": objective, "recipe": static}
    if not _due(done, waited, loss, hyper):
        return
    # A first call that runs nothing, so that no epoch's time holds the compiling.
    if count > 1:
        orders = _orders(data, recipe, range(1, 1 + count))
        state, _ = train_epochs(state, data, valid, orders, hyper._replace(epochs=0), **options)
    else:
        idle = data._replace(steps=np.int32(0))
        state, _ = train_epoch(state, idle, row_order(data, recipe, 1), hyper, **options)
        state = state._replace(epoch=np.int32(done))
    with ThreadPoolExecutor(1) as waiter:
        while _due(done, waited, loss, hyper):
            orders = _orders(data, recipe, range(done + 1, done + 1 + count))
            start = time.perf_counter()
            if count > 1:
                state, figures = train_epochs(state, data, valid, orders, hyper, **options)
                figures = jax.device_get(figures)
                ran = int(state.epoch) - done
                seconds = (time.perf_counter() - start) / ran
            else:
                order = None if orders is None else orders[0]
                state, mean = train_epoch(state, data, order, hyper, **options)
                waiter.submit(mean.block_until_ready).result()  # Ctrl-C is heard at a lock, not in XLA
                seconds, ran = time.perf_counter() - start, 1
                state, figures = measure_epoch(state, mean, data, valid, hyper, **options)
                figures = {name: np.reshape(value, 1) for name, value in jax.device_get(figures).items()}
            records = [
                {"epoch": done + 1 + k, **{c: float(figures[c][k]) for c in columns}, "seconds": seconds}
                for k in range(ran)
            ]
            done, waited, loss = done + ran, int(state.watch.waited), records[-1]["loss"]
            yield state, records
    if not math.isfinite(loss):
        raise DivergedError(
            f"the loss became {loss} in epoch {done} at a learning rate of {recipe.learning_rate:g};"
            f" try {recipe.learning_rate / 10:g}, or clip_norm=1"
        )


def chosen(state: TrainState, recipe: Recipe) -> PyTree:
    """The parameters to keep: the best epoch's with early stopping, else the last's."""
    return state.watch.params if recipe.patience and int(state.watch.epoch) else state.params


def fit(
    params: PyTree,
    data: Data,
    valid: Data | None = None,
    *,
    objective: Objective,
    recipe: Recipe,
    on_epoch: Callable[[Record], object] | None = None,
) -> tuple[PyTree, list[Record]]:
    """Train parameters of any pytree under any per-example loss.

    Parameters
    ----------
    params : pytree of arrays
        Initial parameters; not changed.
    data, valid : Data
        Training and validation rows (`place`); validation may be None.
    objective : Objective
        What to minimise and measure; `dense_objective` for a network.
    recipe : Recipe
        All settings; those of the network itself (`hidden`, `activation`) are not read here.
    on_epoch : callable, optional
        Called with each epoch's record.

    Returns
    -------
    params : pytree of arrays
        The last epoch's, or with `recipe.patience` the best epoch's.
    history : list of dict
        The records, see `epochs`.

    Raises
    ------
    InputError, DivergedError
        See `epochs`.
    """
    history: list[Record] = []
    state = initial_state(params, recipe)
    for state, records in epochs(state, data, valid, objective=objective, recipe=recipe):
        history += records
        if on_epoch:
            for record in records:
                on_epoch(record)
    return chosen(state, recipe), history
