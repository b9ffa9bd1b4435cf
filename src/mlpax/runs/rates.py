"""Find a learning rate: many short trainings side by side, each at a rate of its own."""

import dataclasses
import math
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple

import numpy as np

from mlpax.data.dataset import Dataset
from mlpax.data.reading import Reading
from mlpax.data.sources import Wanted, source
from mlpax.engine.search import Candidate, Race
from mlpax.engine.training import initial_state
from mlpax.errors import DivergedError, InputError, Notice
from mlpax.model.fit_model import Placed, check_in_memory, prepare
from mlpax.recipes import Recipe
from mlpax.runs.sweep import with_validation
from mlpax.seeds import rng
from mlpax.space import check_whole, is_list

__all__ = ["Rates", "find_learning_rate"]

BELOW, ABOVE = 1e-3, 1e2  # how far the rates reach from the recipe's
HIGH = 1e6  # no rate is larger


class Rates(NamedTuple):
    """What rates lead to.

    Attributes
    ----------
    best : float
        The rate to take.
    usual : float
        The recipe's rate.
    metric : str
        What the losses are: "valid_log_loss" or "valid_rmse".
    rates, losses : arrays of shape (points,)
        The rates, rising, and the loss on the validation rows after the training; NaN if it diverged.
    steps : int
        Updates of each training.
    """

    best: float
    usual: float
    metric: str
    rates: np.ndarray
    losses: np.ndarray
    steps: int


def find_learning_rate(
    data: str | Path,
    *,
    recipe: str | None = None,
    low: float | None = None,
    high: float | None = None,
    points: int = 32,
    steps: int = 300,
    data_dir: str | Path | None = None,
    notice: Notice | None = None,
    **settings: Any,
) -> Rates:
    """Train a network at many learning rates for a few hundred steps each, and tell which is best.

    All trainings begin with the same weights and see the same minibatches. Each is a whole training of the
    recipe, only shorter: its schedule runs over these steps.

    Parameters
    ----------
    data : str or path
        What `mlpax train` takes: the name of a known set, a table, or pictures.
    recipe : str, optional
        The settings to start from, see `mlpax train`.
    low, high : float, optional
        The range of the rates, above 0. By default from a thousandth of the recipe's rate to a hundred times.
    points : int, default 32
        Number of rates, at least 3, evenly spaced on a log scale.
    steps : int, default 300
        Updates of each training, at least 10.
    data_dir : path, optional
        Folder of the known sets' files.
    notice : callable, optional
        Called with a line about a choice that was made.
    **settings
        Fields of `Recipe`, and how to read the data, as of `mlpax.sweep`.

    Returns
    -------
    Rates

    Raises
    ------
    InputError
        If a setting is unknown, a value is outside its range, or no rows validate.
    DivergedError
        If all trainings diverged.

    Examples
    --------
    >>> import mlpax
    >>> found = mlpax.find_learning_rate("digits", points=8, steps=60)
    >>> 0.001 < found.best < 10
    True
    """
    notice = notice or (lambda text: None)
    check_whole("points", points, 3)
    check_whole("steps", steps, 10)
    ends: dict[str, object] = {"low": low, "high": high}
    for name, rate in ends.items():
        if not isinstance(rate, (int, float, NoneType)):
            raise InputError(f"{name} {rate!r} is no number")
    for name, value in settings.items():
        if is_list(value) and name in Recipe.__dataclass_fields__ and name != "hidden":
            raise InputError(f"{name} {value} is several values; give one")
    reading = Reading.taken(settings)
    ready = source(str(data), data_dir, memory=reading.memory).to_train(
        Wanted(recipe, settings), reading, notice
    )
    check_in_memory(ready.dataset, "the search for a rate")
    usual = ready.recipe.learning_rate
    low, high = BELOW * usual if low is None else low, ABOVE * usual if high is None else high
    if not 0 < low < high <= HIGH:
        raise InputError(
            f"the rates {low:g} to {high:g} are no range; give --low and --high in (0, {HIGH:g}]"
        )
    short, rows = _shortened(ready.recipe, with_validation(ready.dataset, ready.recipe, notice), steps)
    rates = [float(f"{rate:.4g}") for rate in np.geomspace(low, high, points)]
    placed: Placed = {}
    candidates: list[Candidate] = []
    for rate in rates:
        problem = prepare(rows, short.replace(learning_rate=rate), placed)
        start = partial(initial_state, problem.params, problem.training, short.seed)
        candidates.append(Candidate(start, problem.data, problem.valid, problem.training, short.seed))
    race = Race(candidates)
    for _ in race.run():
        pass
    losses = np.array([outcome.score for outcome in race.outcomes])
    if np.isnan(losses).all():
        raise DivergedError(f"all rates from {low:g} to {high:g} diverged; try smaller ones")
    each = short.epochs * int(candidates[0].data.steps)
    return Rates(_best(rates, losses), usual, short.monitor, np.array(rates), losses, each)


def _shortened(recipe: Recipe, dataset: Dataset, steps: int) -> tuple[Recipe, Dataset]:
    """Return the recipe for so many steps, and the rows that they need."""
    rows, batch = len(dataset.y_train), recipe.batch_size
    wanted = min(rows, steps * batch)
    if wanted < rows:
        some = np.sort(rng(recipe.seed, "rates").permutation(rows)[:wanted])
        weight = None if dataset.weight is None else dataset.weight[some]
        dataset = dataclasses.replace(
            dataset, X_train=dataset.X_train[some], y_train=dataset.y_train[some], weight=weight
        )
    epochs = max(1, round(steps / math.ceil(wanted / batch)))
    monitor = "valid_log_loss" if dataset.classes else "valid_rmse"
    changes: dict[str, Any] = {"epochs": epochs, "monitor": monitor, "patience": 0, "members": 1}
    return recipe.replace(train_metrics=False, **changes), dataset


def _best(rates: list[float], losses: np.ndarray) -> float:
    """Return the rate of the least loss. Each loss is averaged with its neighbours', which are as chancy."""
    padded = np.pad(np.where(np.isnan(losses), math.inf, losses), 1, mode="edge")
    smooth = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
    if not np.isfinite(smooth).any():
        smooth = padded[1:-1]
    return rates[int(smooth.argmin())]
