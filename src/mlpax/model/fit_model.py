"""From a data set and a recipe to a model: rows and weights for the engine, and the network it returns."""

import dataclasses
import itertools
from collections.abc import Callable, Hashable, Iterator
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np

from mlpax import hosts
from mlpax.data.dataset import Dataset, HoldOut, split
from mlpax.data.memory import memory_limit, written
from mlpax.engine.plan import Pytree
from mlpax.engine.population import lost_members
from mlpax.engine.rows import Data, fit_scaling, place, place_shares, without_rows
from mlpax.engine.state import State, diverged, without
from mlpax.engine.table_network import (
    TableParams,
    embedding_size,
    fold,
    initial_table_params,
    temperature,
    with_new_codes,
)
from mlpax.engine.training import (
    Record,
    Training,
    check_devices,
    chosen,
    epochs,
    epochs_of_chunks,
    initial_params,
    initial_state,
    training_of,
)
from mlpax.errors import InputError, TrainingWarning
from mlpax.model.finetune import Origin, begun_dense, begun_table, kept_of
from mlpax.model.model import Calibration, Model, Network, Target
from mlpax.notices import warn
from mlpax.recipes import Recipe
from mlpax.seeds import member_seeds, rng

__all__ = ["COPIES", "Before", "Placed", "Problem", "check_in_memory", "check_refit", "codes_of", "fit_model",
           "prepare", "refit_of", "refitted", "target_scale"]  # fmt: skip


COPIES = 6  # of a parameter: before and after an epoch, what the update rule remembers, and the best

Layers = list[tuple[np.ndarray, np.ndarray]]  # (W, b) each
Placed = dict[Hashable, tuple[Data, Data | None]]  # rows ready for minibatches, by what they depend on


class Before(NamedTuple):
    """What a network was trained on before, part by part."""

    mean: np.ndarray  # of each target; 0 of classes
    deviation: np.ndarray
    codes: list[np.ndarray]  # for each embedding, those of all rows


class Problem(NamedTuple):
    """A data set and a recipe made ready for the engine."""

    data: Data
    valid: Data | None
    training: Training
    params: Pytree  # before the first epoch; of several members a list of them
    model: Callable[[Any], Model]  # of trained parameters, as `chosen` returns them
    chunk: Callable[[int], Data] | None = None  # rows of the epoch after so many, if they come in chunks

    def epochs(self, state: State) -> Iterator[tuple[State, list[Record]]]:
        """Train from a state to the end, see `training.epochs`."""
        if self.chunk is None:
            return epochs(state, self.data, self.valid, self.training)
        return epochs_of_chunks(state, self.chunk, self.valid, self.training)


def fit_model(
    dataset: Dataset,
    recipe: Recipe,
    on_epoch: Callable[[Record], object] = lambda record: None,
    origin: Origin | None = None,
) -> tuple[Model, list[Record]]:
    """Train a recipe on a data set, without a run folder.

    Returns
    -------
    model : Model
    history : list of dict
        Each epoch's record, see `mlpax.fit`.

    Raises
    ------
    InputError
        See `prepare`.
    DivergedError
        If the loss of an epoch is not finite.
    """
    problem = prepare(dataset, recipe, origin=origin)
    history: list[Record] = []
    state = initial_state(problem.params, problem.training, recipe.seed)
    for state, records in problem.epochs(state):
        history += records
        for record in records:
            on_epoch(record)
    if lost := lost_members(state):
        warn(lost, TrainingWarning)
    model = problem.model(chosen(state, problem.training.plan))
    if recipe.refit:
        again, state = refit_of(dataset, recipe, problem.training, state, origin)
        for state, _ in epochs(state, again.data, None, again.training):
            pass
        model = refitted(model, again.model(chosen(state, again.training.plan)), again)
    return model, history


def refit_of(
    dataset: Dataset, recipe: Recipe, training: Training, ended: State, origin: Origin | None = None
) -> tuple[Problem, State]:
    """Return the training from the start on all rows but the test rows, and its first state.

    Each member is trained for the epochs that were best for it. The schedule runs its whole course over these
    epochs. The columns stay as the training rows have fitted them.

    Parameters
    ----------
    dataset : Dataset
    recipe : Recipe
    training : Training
        The one that has ended.
    ended : State
        The state that it ended with. Members that diverged are not trained again.
    origin : Origin, optional
        The network to begin with.
    """
    found = np.maximum(np.asarray(ended.watch.epoch), 1)
    alone = recipe.replace(
        refit=False, patience=0, monitor="", validation=0.0, epochs=int(found.max()), backend=training.backend
    )
    problem = prepare(_joined(dataset), alone, origin=origin)
    hyper = problem.training.hyper._replace(epochs=cast(int, found) if recipe.members > 1 else int(found))
    problem = problem._replace(training=problem.training._replace(hyper=hyper))
    state = initial_state(problem.params, problem.training, recipe.seed)
    if recipe.members > 1 and (lost := diverged(ended)).any():
        state = without(state, lost)
    return problem, state


def refitted(first: Model, model: Model, problem: Problem) -> Model:
    """Return the model of the second training, with the recipe of the first.

    The temperature stays that of the first, which had validation rows. The provenance says so.
    """
    epochs = np.atleast_1d(problem.training.hyper.epochs)
    least, most = int(epochs.min()), int(epochs.max())
    span = f"{most}" if least == most else f"{least} to {most}"
    rows = f"{span} epochs on all {int(problem.data.n)} rows"
    about = {"refit": f"{rows}; the validation figures are those of the training before"}
    kept = {"recipe": first.recipe, "calibration": first.calibration}
    return dataclasses.replace(model, **kept, provenance=first.provenance | about)


def _joined(dataset: Dataset) -> Dataset:
    """Return the data set with the validation rows among the training rows, and without test rows."""
    without = dataclasses.replace(dataset, X_test=dataset.X_test[:0], y_test=dataset.y_test[:0])
    if dataset.X_valid is None or dataset.y_valid is None:
        return without
    weight = None
    if dataset.weight is not None and dataset.weight_valid is not None:
        weight = np.concatenate([dataset.weight, dataset.weight_valid])
    return dataclasses.replace(
        without,
        X_train=np.concatenate([dataset.X_train, dataset.X_valid]),
        y_train=np.concatenate([dataset.y_train, dataset.y_valid]),
        weight=weight,
        X_valid=None,
        y_valid=None,
        weight_valid=None,
        weight_held=None,
    )


def prepare(
    dataset: Dataset, recipe: Recipe, placed: Placed | None = None, *, origin: Origin | None = None,
    before: Before | None = None,
) -> Problem:  # fmt: skip
    """Hold out validation rows, fit what is fitted on the others, and make both ready for the engine.

    Parameters
    ----------
    dataset : Dataset
    recipe : Recipe
    placed : dict, optional
        Empty at first. Later recipes of the same data set share the rows that are kept in it.
    origin : Origin, optional
        The network to begin with, see `finetune.kept_of`.
    before : Before, optional
        Of a table: what earlier parts have told.

    Raises
    ------
    InputError
        If the data cannot be trained on, or the recipe wants validation rows and there are none.
    """
    check_devices(recipe)
    placed = {} if placed is None else placed
    if recipe.refit:
        check_in_memory(dataset, "refit")
        check_refit(recipe)
    if dataset.columns:
        return _table(dataset, recipe, placed, origin, before)
    return _images(dataset, recipe, placed, origin)


def check_refit(recipe: Recipe, name: str = "refit") -> None:
    """Raise an error if a training by this recipe cannot be followed by one on all rows.

    Messages call the second training by `name`.
    """
    if not recipe.patience:
        raise InputError(f"{name} trains for the epochs that early stopping finds; set patience, such as 16")
    if recipe.schedule == "plateau":
        raise InputError(
            f"schedule 'plateau' goes by validation rows, and {name} trains on them; choose another, such as"
            " cosine"
        )


def check_in_memory(dataset: Dataset, what: str) -> None:
    """Raise an error if the training rows are not in memory, which `what` needs."""
    if dataset.chunks is not None:
        raise InputError(
            f"{dataset.name} does not fit in memory, which {what} needs; give more with"
            " --memory, or fewer rows"
        )


def _images(dataset: Dataset, recipe: Recipe, placed: Placed, origin: Origin | None) -> Problem:
    X, y = dataset.X_train, dataset.y_train
    X_valid, y_valid = dataset.X_test, dataset.y_test
    if dataset.X_valid is not None and dataset.y_valid is not None:
        X_valid, y_valid = dataset.X_valid, dataset.y_valid
    elif recipe.validation:
        train, held, _ = split(y, HoldOut(validation=recipe.validation, seed=recipe.seed))
        X, y, X_valid, y_valid = X[train], y[train], X[held], y[held]
    elif recipe.patience:
        raise InputError(
            f"patience {recipe.patience} chooses weights by validation rows, and test rows must not choose;"
            " hold some out with validation 0.1"
        )
    scaling = fit_scaling(X, recipe.inputs)
    options: dict[str, Any] = {"batch_size": recipe.batch_size, "drop_last": recipe.drop_last}
    options |= scaling._asdict()

    def model(trained: Pytree) -> Model:
        networks = [_dense(params, recipe) for params in _each(trained, recipe)]
        more = {"scaling": scaling, "image_shape": dataset.image_shape, "backend": training.backend}
        made = _model(dataset, recipe, networks, **more)
        return made if y_valid is dataset.y_test else _calibrated(made, X_valid, y_valid)

    sizes = X.shape[1], *recipe.hidden, len(dataset.classes)
    _check_memory(recipe, sizes, 0, len(X_valid) + recipe.train_metrics * len(X))
    params: list[Pytree] = [initial_params(sizes, own) for own in _of_members(recipe)]
    if origin:
        kept, networks = kept_of(dataset, recipe, origin), itertools.cycle(origin.model.networks)
        each = zip(params, networks, strict=False)
        params = [begun_dense(own, kept, one, scaling, origin.model.scaling) for own, one in each]
    untrained = [_dense(own, recipe) for own in params]
    _check_file(_model(dataset, recipe, untrained, image_shape=dataset.image_shape))
    kind = *options.values(), None if dataset.X_valid is not None else (recipe.validation, recipe.seed)
    if kind not in placed:
        placed[kind] = place(X, y, **options), place(X_valid, y_valid, **options) if len(X_valid) else None
    data, valid = placed[kind]
    training = training_of(recipe, data, valid, "dense", ("accuracy",), valid_metrics=("log_loss",))
    recipe = recipe.replace(backend=training.backend)
    return Problem(
        data=data,
        valid=valid,
        training=training,
        params=params if recipe.members > 1 else params[0],
        model=model,
    )


def target_scale(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation of each target over the training rows; 0 and 1 of classes."""
    if dataset.chunks is not None:
        return dataset.chunks.moments
    if dataset.classes:
        return np.zeros(1), np.ones(1)
    y, weight = dataset.y_train, dataset.weight  # in float64: far from 0, float32 has few digits left
    mean = np.array([np.average(of_target, weights=weight) for of_target in y.T])
    squares = [np.average(of_target**2, weights=weight) for of_target in (y - mean).T]
    return mean, np.array([square**0.5 or 1.0 for square in squares])


def codes_of(dataset: Dataset, before: Before | None = None) -> list[np.ndarray]:
    """Return the codes of the training rows for each embedding, and those of earlier parts."""
    assert dataset.columns is not None
    if dataset.chunks is not None:
        return [*dataset.chunks.codes.T]
    codes = dataset.X_train[:, dataset.columns.dense :]
    codes = codes if dataset.weight is None else codes[dataset.weight > 0]
    if before is None:
        return [*codes.T]
    return [np.union1d(now, then) for now, then in zip(codes.T, before.codes, strict=True)]


def _table(
    dataset: Dataset, recipe: Recipe, placed: Placed, origin: Origin | None, before: Before | None
) -> Problem:
    columns, y = dataset.columns, dataset.y_train
    assert columns is not None
    X_valid, y_valid = dataset.X_valid, dataset.y_valid
    if X_valid is None or y_valid is None or not len(X_valid):
        if recipe.patience:
            raise InputError(
                f"patience {recipe.patience} needs validation rows; hold some out with validation 0.2"
            )
        X_valid, y_valid = dataset.X_train[:0], y[:0]
    mean, deviation = (before.mean, before.deviation) if before else target_scale(dataset)
    if not dataset.classes:
        y, y_valid = y - mean, y_valid - mean
    options: dict[str, Any] = {"batch_size": recipe.batch_size, "drop_last": recipe.drop_last}
    of_each = tuple(map(len, dataset.each_classes))
    outputs = sum(of_each) or len(dataset.targets)
    sizes = columns.dense, columns.embeddings, recipe.hidden, outputs
    embedded = [(n, embedding_size(n)) for n in columns.embeddings]
    units = columns.dense + sum(size for _, size in embedded), *recipe.hidden, outputs
    rows = len(X_valid) + recipe.train_metrics * dataset.rows_trained
    _check_memory(recipe, units, units[0] + sum(n * size for n, size in embedded), rows)
    codes = codes_of(dataset, before)
    starts = [
        initial_table_params(*sizes, (np.zeros_like(deviation), deviation), rng(own.seed, "weights"))
        for own in _of_members(recipe)
    ]
    for start in starts:
        start["embeddings"] = with_new_codes(start["embeddings"], codes)  # validation rows may have some
    starts = _begun(starts, dataset, recipe, (mean, deviation), origin) if origin else starts
    untrained = [Network(start["layers"], recipe.activation, start["embeddings"]) for start in starts]
    _check_file(_model(dataset, recipe, untrained, columns=columns))

    def network(params: TableParams) -> Network:
        embeddings, layers = fold(params, (mean, deviation))
        return Network(layers, recipe.activation, with_new_codes(embeddings, codes))

    def model(trained: Pytree) -> Model:
        networks = [network(cast(TableParams, params)) for params in _each(trained, recipe)]
        made = _model(dataset, recipe, networks, columns=columns, backend=training.backend)
        return _calibrated(made, X_valid, y_valid, dataset.weight_valid) if dataset.classes else made

    chunk = partial(_chunk, dataset, (mean, deviation), options, recipe) if dataset.chunks else None
    if (kind := tuple(options.values())) not in placed:
        held = place(X_valid, y_valid, weight=dataset.weight_valid, **options) if len(X_valid) else None
        own = without_rows(chunk(0)) if chunk else place(dataset.X_train, y, weight=dataset.weight, **options)
        placed[kind] = own, held
    data, valid = placed[kind]
    several = len(dataset.targets) > 1  # in units of their own
    metrics = ("accuracy", "log_loss") if dataset.classes else ("r2",) if several else ("rmse",)
    loss = "cross_entropy" if dataset.classes else "squared_error"
    classes = of_each if several else ()
    training = training_of(recipe, data, valid, "table", metrics, loss, classes=classes)
    recipe = recipe.replace(backend=training.backend)
    params = starts if recipe.members > 1 else starts[0]
    return Problem(data=data, valid=valid, training=training, params=params, model=model, chunk=chunk)


def _chunk(
    dataset: Dataset,
    target: tuple[np.ndarray, np.ndarray],
    options: dict[str, Any],
    recipe: Recipe,
    number: int,
) -> Data:
    """Return a chunk of the training rows, ready for minibatches; of several devices, the rows of those here.

    See `Chunks.chunk`. `target` is mean and deviation.
    """
    assert dataset.chunks is not None
    mean, deviation = target
    devices = recipe.devices if recipe.members == 1 else 1  # each member takes all rows
    each = -(-devices // hosts.count())
    here = range(hosts.index() * each, (hosts.index() + 1) * each) if devices > 1 else range(1)
    shares = list[tuple[np.ndarray, np.ndarray, np.ndarray]]()
    for device in here:
        X, y, weight = dataset.chunks.chunk(number, device, devices)
        shares.append((X, y if dataset.classes else y - mean, weight))
    if devices > 1:
        variance = np.zeros(()) if dataset.classes else deviation**2
        return place_shares(shares, devices, variance=variance, **options)
    ((X, y, weight),) = shares
    if weight.any():
        return place(X, y, weight=weight, **options)
    data = place(X, y, **options)  # its epoch changes nothing but the optimizer's moments
    return data._replace(weight=np.zeros_like(data.weight))


def _begun(
    starts: list[TableParams], dataset: Dataset, recipe: Recipe, target: tuple[np.ndarray, np.ndarray],
    origin: Origin,
) -> list[TableParams]:  # fmt: skip
    """Return the parameters before the first epoch with those of another network where they fit."""
    kept, columns, known = kept_of(dataset, recipe, origin), dataset.columns, origin.model.columns
    assert columns is not None
    assert known is not None  # `kept_of` refuses a network of pictures
    each = zip(starts, itertools.cycle(origin.model.networks), strict=False)
    return [begun_table(own, columns, kept, one, known, target) for own, one in each]


def _of_members(recipe: Recipe) -> list[Recipe]:
    """Return the recipe with the seed of each member's weights; the first has the recipe's own."""
    return [recipe.replace(seed=seed) for seed in member_seeds(recipe.seed, recipe.members)]


def _check_memory(recipe: Recipe, sizes: tuple[int, ...], others: int, rows: int) -> None:
    """Raise an error if several members would take more memory than they may.

    Parameters
    ----------
    recipe : Recipe
    sizes : tuple of int
        Units of each layer, the inputs first.
    others : int
        Parameters besides those of the layers.
    rows : int
        Whose answers are measured after an epoch.
    """
    parameters = others + sum((m + 1) * n for m, n in itertools.pairwise(sizes))
    each, limit = COPIES * 4 * (parameters + rows * sizes[-1]), memory_limit(None)
    if recipe.members > 1 and recipe.members * each > limit:
        raise InputError(
            f"members {recipe.members} of {parameters:,} parameters, on {rows:,} measured rows, would take"
            f" about {written(recipe.members * each)} of memory, and the limit is {written(limit)}; choose"
            f" {max(1, limit // each)} or fewer"
        )


def _each(trained: Pytree, recipe: Recipe) -> list[Pytree]:
    """Return the parameters of each network."""
    return cast("list[Pytree]", trained) if recipe.members > 1 else [trained]


def _dense(params: Pytree, recipe: Recipe) -> Network:
    layers = [(np.asarray(W), np.asarray(b)) for W, b in cast(Layers, params)]
    return Network(layers, recipe.activation)


def _model(dataset: Dataset, recipe: Recipe, networks: list[Network], **more: Any) -> Model:
    task = "classification" if dataset.classes else "regression"
    each = dataset.each_classes or ((),) * len(dataset.targets)
    return Model(
        networks=tuple(networks),
        targets=tuple(
            Target(name, task, classes, numerals=numerals)
            for name, classes, numerals in zip(dataset.targets, each, dataset.numerals, strict=True)
        ),
        recipe=dataclasses.asdict(recipe),
        **more,
    )


def _check_file(untrained: Model) -> None:
    """Raise an error before the training if no file could hold the model after it.

    Texts of 100 kB stand for the figures and versions that training adds.
    """
    try:
        dataclasses.replace(untrained, provenance={"": "," * 10**5}).file_head()
    except InputError as error:
        columns = untrained.columns.columns if untrained.columns else ()
        sizes = {c.name: len(c.name) + sum(map(len, getattr(c, "levels", ()))) for c in columns}
        longest = max(sizes, key=lambda name: sizes[name], default="")
        remedy = f"; leave out columns of many or long texts, such as {longest[:80]!r}" if longest else ""
        raise InputError(f"{error}{remedy}") from None


def _calibrated(model: Model, X: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> Model:
    """Return the model with the temperature that makes held-out rows likeliest; without rows, as it is.

    Each of several targets gets a temperature of its own. Label smoothing makes a network less sure than it
    may be. The temperature is never fitted on test rows.
    """
    if not len(y):
        return model
    each = zip(model.by_target(model.forward(X)), y.reshape(len(y), -1).T, strict=True)
    found = [temperature(logits, labels, weight) for logits, labels in each]
    return dataclasses.replace(model, calibration=Calibration(tuple(found) if len(found) > 1 else found[0]))
