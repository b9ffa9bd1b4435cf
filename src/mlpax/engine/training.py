"""The host's loop over epochs on either backend, and `fit`."""

import importlib
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from mlpax import hosts
from mlpax.engine import population
from mlpax.engine.forward import has_accelerator
from mlpax.engine.native import epoch as native
from mlpax.engine.native import library
from mlpax.engine.native.epoch import Called
from mlpax.engine.plan import BACKENDS, OUTSIDE, Hyper, Objective, Plan, Pytree, hyper_of, plan_of
from mlpax.engine.population import Record
from mlpax.engine.rows import Data, Orders, orders_of, orders_of_devices, orders_of_members
from mlpax.engine.state import State, diverged
from mlpax.engine.stopping import due
from mlpax.engine.trees import member, stacked
from mlpax.engine.waiting import heard
from mlpax.engine.weights import draw_weights
from mlpax.errors import InputError, TrainingWarning, unknown
from mlpax.notices import warn
from mlpax.recipes import Recipe, power_of_two
from mlpax.seeds import member_seeds, rng

if TYPE_CHECKING:
    from jax import Array

    from mlpax.engine.xla.epoch import Programs

__all__ = [
    "Record",
    "Training",
    "arrays_of",
    "backend_for",
    "cannot_pay",
    "check_devices",
    "chosen",
    "device_kind",
    "epochs",
    "epochs_of_chunks",
    "fit",
    "initial_params",
    "initial_state",
    "is_small",
    "state_of",
    "together",
    "training_of",
]  # fmt: skip

EPOCHS_A_CALL = 10  # of a small epoch
SMALL_EPOCH = 2e8  # floating-point operations: a few milliseconds


class Training(NamedTuple):
    """How to train: what shapes the program, its numbers, and the rows' orders."""

    plan: Plan
    hyper: Hyper  # of several networks, also arrays of shape (members,)
    orders: Orders | None  # None keeps the rows as they lie
    backend: str = "xla"  # or "native"
    threads: int | None = None  # of the native backend at most; None for all that the process may use
    members: int = 1  # networks that are trained together; a state of several has an axis of them
    ensembles: int = 1  # that the members make up, as many members each
    devices: int = 1  # that share the rows, or the members; of all processes together


def backend_for(
    wanted: str, plan: Plan, layers: int, *, dtype: type[np.floating] = np.float32,
    device: str | None = None, devices: int = 1,
) -> str:  # fmt: skip
    """Return the backend that trains a plan: "native" if it can, else "xla".

    Parameters
    ----------
    wanted : {"auto", "native", "xla"}
        For "auto" the environment's `MLPAX_BACKEND` decides. If it is not set, the native backend trains
        what it can, unless JAX has a GPU or a TPU.
    plan : Plan
    layers : int
    dtype : numpy dtype, default float32
        Of the arithmetic.
    device : str, optional
        Where to train.
    devices : int, default 1
        On how many.

    Raises
    ------
    InputError
        If the backend is unknown, or "native" cannot train the plan.
    """
    name, wanted = (
        ("MLPAX_BACKEND", os.environ.get("MLPAX_BACKEND", "auto"))
        if wanted == "auto"
        else ("backend", wanted)
    )
    if wanted not in BACKENDS:
        raise unknown(name, wanted, BACKENDS)
    if wanted == "xla" or (wanted == "auto" and devices > 1):
        return "xla"
    if library.damaged() and wanted == "auto":
        warn(f"the native library is not used: {library.damaged()}; XLA trains", TrainingWarning)
    elsewhere = "" if device in (None, "cpu") else f"train on {device}"
    elsewhere = elsewhere if devices == 1 else f"train on {devices} devices"
    cannot = library.missing() or elsewhere or library.unsupported(plan, layers, dtype)
    if cannot and wanted == "native":
        raise InputError(f"backend 'native' cannot be taken: {cannot}; backend 'auto' takes XLA here")
    return "xla" if cannot or (wanted == "auto" and device != "cpu" and has_accelerator()) else "native"


def training_of(
    recipe: Recipe,
    data: Data,
    valid: Data | None,
    network: str | Objective,
    metrics: tuple[str, ...],
    loss: str = "cross_entropy",
    valid_metrics: tuple[str, ...] = (),
    classes: tuple[int, ...] = (),
) -> Training:
    """Return how to train by a recipe on these rows; see `plan_of` for the other arguments.

    Raises
    ------
    InputError
        If a minibatch is larger than the data or cannot be shared by the devices, or the monitored figure is
        not recorded.
    """
    devices = recipe.devices
    check_devices(recipe)
    for name, rows in (("training", data), ("validation", valid)):
        if rows is None or (name == "validation" and not recipe.drop_last):
            continue
        most = int(rows.n) if recipe.drop_last else power_of_two(int(rows.n))
        if recipe.batch_size > most:
            raise InputError(
                f"batch_size {recipe.batch_size} is larger than the {name} data; choose 1 to {rows.n}"
            )
    plan = plan_of(
        recipe, network, metrics, validated=valid is not None, loss=loss, valid_metrics=valid_metrics,
        classes=classes,
    )  # fmt: skip
    orders = orders_of(data, recipe.seed) if recipe.shuffle else None
    if orders and recipe.own_orders and recipe.members > 1:
        orders = orders_of_members(data, member_seeds(recipe.seed, recipe.members))
    elif orders and devices > 1 and recipe.members == 1:
        orders = orders_of_devices(data, recipe.seed, devices, plan.batch_size)
    backend = backend_for(recipe.backend, plan, len(recipe.hidden) + 1, devices=devices)
    return Training(plan, hyper_of(recipe), orders, backend, members=recipe.members, devices=devices)


def check_devices(recipe: Recipe) -> None:
    """Raise an error if the devices cannot have equal shares of a minibatch, or of the members."""
    name = "batch_size" if recipe.members == 1 else "members"
    shared, devices = getattr(recipe, name), recipe.devices
    if shared % devices:
        less, more = shared // devices * devices, -(-shared // devices) * devices
        fit = f"{less} or {more}" if less else f"{more}"
        raise InputError(f"{name} {shared} cannot be shared evenly by {devices} devices; choose {fit}")


def initial_params(sizes: Sequence[int], recipe: Recipe) -> "list[tuple[Array, Array]]":
    """Return the recipe's initial network, a function of its seed alone.

    Parameters
    ----------
    sizes : sequence of int
        Units of each layer, the inputs first.
    recipe : Recipe
        Its `initial_scale` and `seed` are read.

    Returns
    -------
    list of (W, b)
        `W` of shape (fan_in, fan_out) and `b` of shape (fan_out,), float32, for each layer.
    """
    if recipe.initial_scale != "article":
        layers = draw_weights(sizes, rng(recipe.seed, "weights"), recipe.initial_scale)
        return cast("list[tuple[Array, Array]]", layers)  # on the host until the first call
    import jax

    from mlpax.engine.xla.epoch import settings_of_ours
    from mlpax.engine.xla.network import initialize_weights

    # The generator's layout when the article was written.
    with settings_of_ours(), jax.threefry_partitionable(False):
        return initialize_weights(sizes, jax.random.PRNGKey(recipe.seed), 0.02)


def _engine(backend: str) -> ModuleType:
    """Return the module of a backend that knows its states; JAX is imported only for XLA."""
    return native if backend == "native" else importlib.import_module("mlpax.engine.xla.epoch")


def initial_state(
    params: Pytree, training: Training, seed: int, dtype: type[np.floating] = np.float32
) -> State:
    """Return the state before the first epoch.

    Parameters
    ----------
    params : pytree of arrays, or with `training.members` a list of them
    training : Training
    seed : int
        Of the dropout. The first member's is the same; those of the others are drawn from it.
    dtype : numpy dtype, default float32
        Of the arithmetic.
    """
    start = partial(_engine(training.backend).initial_state, plan=training.plan, dtype=dtype)
    if training.members == 1:
        return start(params, seed=seed)
    pairs = zip(cast("list[Pytree]", params), member_seeds(seed, training.members), strict=True)
    return stacked([start(own, seed=of_member) for own, of_member in pairs])


def arrays_of(state: State, training: Training) -> dict[str, np.ndarray]:
    """Return the state as named arrays on the host, for a checkpoint."""
    return _engine(training.backend).arrays_of(state)


def state_of(arrays: dict[str, np.ndarray], like: State, training: Training) -> State:
    """Return the state of a checkpoint's arrays; `like` is any state of the same plan and shapes."""
    return _engine(training.backend).state_of(arrays, like)


def cannot_pay(params: Pytree, training: Training) -> str:
    """Return a line that says why several devices train slower than one; "" if they may be quicker."""
    if training.devices == 1 or training.members > 1:
        return ""
    from mlpax.engine.xla import mesh

    return mesh.cannot_pay(params, training.plan.batch_size, training.devices)


def device_kind(backend: str) -> str:
    """Return the kind of device that trains, such as "cpu" or "NVIDIA H100"."""
    if backend == "native":
        return "cpu"
    import jax

    return next(iter(jax.numpy.zeros(()).devices())).device_kind  # of the default device, see `on_device`


def is_small(parameters: int, rows: int) -> bool:
    """Return whether dispatching an epoch costs about as much as its arithmetic: many should share a call."""
    return 6 * parameters * rows < SMALL_EPOCH


def epochs(
    state: State,
    data: Data,
    valid: Data | None,
    training: Training,
    *,
    epochs_a_call: int | None = None,
    timed: bool = True,
    outside: Callable[[State], float] | None = None,
) -> Iterator[tuple[State, list[Record]]]:
    """Train from `state` to the last epoch or to an early stop, and yield between calls of the program.

    Parameters
    ----------
    state : State
        From `initial_state`, or an earlier run's. It is not changed.
    data, valid : Data
        Training and validation rows (`rows.place`); validation may be None.
    training : Training
    epochs_a_call : int, optional
        Epochs that share a call of the program; by default 10 of a small epoch, else 1. Several processes,
        which may be slow together, run 1: between calls they hear that they shall end.
    timed : bool, default True
        Whether `seconds` excludes compiling and, for epochs that do not share a call, evaluation. Costs a
        first call that runs nothing.
    outside : callable, optional
        With `plan.monitor` "outside": returns the monitored figure of an epoch's state, larger being better.

    Yields
    ------
    state : State
        After the epochs just run.
    records : list of dict
        Their figures: `epoch, loss, train_<metric>, valid_<metric>, ..., seconds`. Epochs that share a call
        have an even share of its seconds.

    Raises
    ------
    DivergedError
        After yielding, when an epoch's loss was not finite. Not with `plan.stopping` "tolerance".
        Of several networks, when those of all have been.
    """
    plan, hyper, backend = training.plan, training.hyper, training.backend
    if hosts.count() > 1:
        epochs_a_call = 1
    if training.members > 1:
        run = together(state, data, valid, training, epochs_a_call)
        yield from population.epochs(state, plan, hyper, run)
        return
    done, loss, stopped = int(state.epoch), 0.0, bool(state.watch.stopped)
    if not due(done, stopped, loss, hyper, plan):
        return
    how = _natively if backend == "native" else _by_xla
    call, follow = how(state, data, valid, training, epochs_a_call, timed)
    names = ("loss", *plan.figures, OUTSIDE)  # the program returns them sorted
    while due(done, stopped, loss, hyper, plan):
        new, figures, seconds = call(state, hyper.epochs - done)
        ran = int(new.epoch) - done  # Ctrl-C is heard here, while `state` is still the one before
        if outside:
            figures[OUTSIDE] = [outside(new)]
            new = follow(new, figures[OUTSIDE][0])
        records = [
            {
                "epoch": done + 1 + k,
                **{name: figures[name][k] for name in names if name in figures},
                "seconds": seconds / ran,
            }
            for k in range(ran)
        ]
        state, done, loss, stopped = new, done + ran, records[-1]["loss"], bool(new.watch.stopped)
        yield state, records
    if not math.isfinite(loss) and plan.stopping != "tolerance":
        raise population.divergence("the loss", loss, done, hyper)


def epochs_of_chunks(
    state: State, chunk: Callable[[int], Data], valid: Data | None, training: Training
) -> Iterator[tuple[State, list[Record]]]:
    """Train on rows that come in chunks, each of which is one epoch; see `epochs`.

    A thread reads the next chunk while the program trains on the present one.

    Parameters
    ----------
    state : State
    chunk : callable
        Returns the rows of the epoch after so many epochs. All chunks have as many rows.
    valid : Data
        Validation rows; may be None.
    training : Training

    Yields
    ------
    state : State
    records : list of dict
        One record, with one figure more: `waited`, the seconds that the program waited for the rows.
    """
    last = int(np.max(training.hyper.epochs))
    with ThreadPoolExecutor(1) as thread:
        coming: dict[int, Future[Data]] = {}
        while (done := int(np.max(state.epoch))) < last:
            start = time.perf_counter()
            data = coming.pop(done).result() if done in coming else chunk(done)
            waited = time.perf_counter() - start
            coming = {done + 1: thread.submit(chunk, done + 1)} if done + 1 < last else {}
            run = epochs(state, data, valid, training, epochs_a_call=1)
            found = next(run, None)
            if found is None:
                return
            state, (record,) = found
            yield state, [record | {"waited": waited}]
            if not math.isfinite(record["loss"]):
                yield from run  # which raises, if the training cannot go on
                return


def together(
    state: State, data: Data, valid: Data | None, training: Training, epochs_a_call: int | None = None
) -> population.Run:
    """Return the function of a backend that runs up to so many epochs of all members; see `epochs`."""
    count = epochs_a_call or EPOCHS_A_CALL
    plan, hyper, orders, backend, threads, _, ensembles, devices = training
    if backend == "native":
        from mlpax.engine.native.population import population_of

        run = population_of(data, valid, plan, hyper, orders, state, threads, ensembles)
        return lambda state, due: run(state, min(count, due))
    import jax

    from mlpax.engine.xla.population import population_of as by_xla

    parameters = sum(math.prod(np.shape(p)) for p in jax.tree.leaves(state.params))
    count = count if is_small(parameters, int(data.n)) else 1
    return by_xla(data, valid, plan, hyper, orders, state, count, ensembles, devices)


Call = Callable[[State, int], Called]  # runs up to so many epochs
Follow = Callable[[State, float], State]  # shows the stopping rule a figure from outside


def _natively(
    state: State, data: Data, valid: Data | None, training: Training, epochs_a_call: int | None, timed: bool
) -> tuple[Call, Follow]:
    plan, hyper, orders, _, threads, *_ = training
    run = native.caller(data, valid, plan, hyper, orders, state, threads)
    count = epochs_a_call or EPOCHS_A_CALL
    return lambda state, due: run(state, min(count, due)), partial(native.follow, hyper=hyper, plan=plan)


def _by_xla(
    state: State, data: Data, valid: Data | None, training: Training, epochs_a_call: int | None, timed: bool
) -> tuple[Call, Follow]:
    import jax

    from mlpax.engine.xla import epoch as xla

    plan, hyper, *_ = training
    parameters = sum(math.prod(np.shape(p)) for p in jax.tree.leaves(state.params))
    count = epochs_a_call or (EPOCHS_A_CALL if is_small(parameters, int(data.n)) else 1)
    xla.let_go()
    programs = xla.Programs(xla.run_pass, xla.run_measure, xla.run_epochs)
    if training.devices > 1:
        from mlpax.engine.xla import mesh

        devices = mesh.mesh_of(training.devices)
        data = mesh.place(data, devices, plan.batch_size)
        valid = valid and mesh.place(valid, devices, plan.batch_size)
        programs = mesh.programs_of(devices)
    else:
        data, valid = jax.device_put((data, valid))
    together = partial(_epochs_together, count=count)
    run = partial(_pass_alone if timed and count == 1 else together, programs=programs)
    if timed:
        run(state, data, valid, training, 0)

    def follow(state: State, value: float) -> State:
        with xla.settings_of_ours():
            return xla.run_follow(state, value, hyper, plan=plan)

    return lambda state, due: run(state, data, valid, training, min(count, due)), follow


def _epochs_together(
    state: State, data: Data, valid: Data | None, training: Training, due: int, *, count: int,
    programs: "Programs",
) -> Called:  # fmt: skip
    """Run up to `due` epochs in one call of a program for `count`: state, figures and the call's seconds."""
    import jax

    from mlpax.engine.xla import epoch as xla

    plan, hyper, orders, *_ = training
    drawn = None
    if orders:
        drawn = orders(int(state.epoch), max(due, 1))
        drawn = np.concatenate([drawn, np.zeros((count - len(drawn), *drawn.shape[1:]), np.int32)])
    with xla.settings_of_ours():
        start = time.perf_counter()
        hyper = hyper if due else hyper._replace(epochs=0)
        state, figures = programs.run_epochs(state, data, valid, drawn, hyper, plan=plan, count=count)
        host = {name: values.tolist() for name, values in jax.device_get(figures).items()}
    return state, host, time.perf_counter() - start


def _pass_alone(
    state: State, data: Data, valid: Data | None, training: Training, due: int, *, programs: "Programs"
) -> Called:
    """Run one epoch, or none if none is due: state, figures and the seconds of the training alone."""
    import jax

    from mlpax.engine.xla import epoch as xla

    plan, hyper, orders, *_ = training
    order = orders(int(state.epoch), 1)[0] if orders else None
    rows = data if due else data._replace(steps=np.int32(0))
    with xla.settings_of_ours():
        start = time.perf_counter()
        state, loss = programs.run_pass(state, rows, order, hyper, plan=plan)
        heard(loss.block_until_ready)
        seconds = time.perf_counter() - start
        if not due:
            return state, {}, seconds
        state, figures = programs.run_measure(state, loss, data, valid, hyper, plan=plan)
        host = {name: [value.item()] for name, value in jax.device_get(figures).items()}
    return state, host, seconds


def chosen(state: State, plan: Plan) -> Pytree:
    """Return the parameters to keep: with early stopping those of the best epoch, else the last ones.

    Of several networks, a list of those that have not diverged.
    """
    if not np.ndim(state.epoch):
        return state.best if plan.answers_with_best and int(state.watch.epoch) else state.params
    kept: list[Pytree] = []
    for k in np.flatnonzero(~diverged(state)):
        own = member(state._replace(opt_state=()), int(k))
        kept.append(chosen(own, plan))
    return kept


def fit(
    params: Pytree,
    data: Data,
    valid: Data | None = None,
    *,
    objective: Objective,
    recipe: Recipe,
    on_epoch: Callable[[Record], object] | None = None,
) -> tuple[Pytree, list[Record]]:
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
        All settings. Those of the network itself (`hidden`, `activation`) are not read here.
    on_epoch : callable, optional
        Called with each epoch's record.

    Returns
    -------
    params : pytree of arrays
        The last epoch's, or with `recipe.patience` the best epoch's.
    history : list of dict
        A record for each epoch: `epoch, loss, train_<metric>, valid_<metric>, ..., seconds`.

    Raises
    ------
    InputError
        If a minibatch is larger than the data, the recipe monitors a figure that is not recorded, or it has
        several members.
    DivergedError
        If the loss of an epoch is not finite.
    """
    if recipe.refit:
        raise InputError("refit is of mlpax's own data sets; fit again, on all rows and without patience")
    if recipe.members > 1:
        raise InputError(f"members {recipe.members} are of mlpax's own networks; fit one, and another seed")
    training = training_of(recipe, data, valid, objective, objective.metrics)
    return train(params, data, valid, training, recipe.seed, on_epoch)


def train(
    params: Pytree,
    data: Data,
    valid: Data | None,
    training: Training,
    seed: int,
    on_epoch: Callable[[Record], object] | None = None,
) -> tuple[Pytree, list[Record]]:
    """Train from `params` to the end; see `fit`."""
    history: list[Record] = []
    state = initial_state(params, training, seed)
    for state, records in epochs(state, data, valid, training):
        history += records
        if on_epoch:
            for record in records:
                on_epoch(record)
    return chosen(state, training.plan), history
