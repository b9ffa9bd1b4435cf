"""How the answers depend on one column: the mean answer if all rows had the same value in it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mlpax.data.columns import Category, Columns, Date, Number, Text
from mlpax.model.model import Model

__all__ = ["Dependence", "partial_dependence"]

POINTS = 20  # values of a column of numbers or dates
LEVELS = 12  # of a category, the most frequent
NUMBERS = 4_000_000  # inputs that are answered at a time
ENDS = 0.02, 0.98  # quantiles between which the values lie: few rows are beyond

Part = tuple[Model, np.ndarray]  # a model of a table, and inputs as its `forward` takes them


class Dependence(NamedTuple):
    """The mean answer at each value of a column.

    Attributes
    ----------
    column : str
    values : array of shape (values,)
        Numbers, dates (datetime64) or levels (text).
    means : array of shape (values, answers)
        For a classification, the probability of each class of the first target; if there are two, only that
        of the second class. For a regression, the value.
    """

    column: str
    values: np.ndarray
    means: np.ndarray


def partial_dependence(parts: Sequence[Part], name: str) -> Dependence | None:
    """Return how the answers depend on a column (Friedman 2001).

    The values of a column of numbers or dates are quantiles of the rows, of a category the most frequent
    levels.

    Parameters
    ----------
    parts : sequence of (model, inputs)
        Inputs are of shape (rows, features). Several models are those of folds, each with its own rows. The
        means are over the rows of all.
    name : str
        The column.

    Returns
    -------
    Dependence or None
        None if the rows have fewer than two values of the column, if it is free text, or if it is no input
        of any model.

    Examples
    --------
    >>> partial_dependence([(model, model.inputs(frame))], "size").values
    array([ 20.3,  31. ,  42.8])
    """
    import polars as pl

    found = [(model, X, column) for model, X in parts if (column := _varying(model, name))]
    if not found:
        return None
    seen = [column.undo(X[:, _places(model, name)]) for model, X, column in found]
    values = _values(np.concatenate(seen))
    if len(values) < 2:
        return None
    sums, rows = 0.0, sum(len(X) for _, X, _ in found)
    for model, X, column in found:
        inputs = Columns((column,))(pl.DataFrame({name: _plain(values)}))
        sums = sums + len(X) * _mean_answers(model, X, _places(model, name), inputs)
    return Dependence(name, values, np.asarray(sums) / rows)


def _plain(values: np.ndarray) -> "np.ndarray | list[str]":
    """Return values as polars takes them."""
    if values.dtype == object:
        return values.tolist()
    return values.astype("datetime64[us]") if values.dtype.kind == "M" else values


def _varying(model: Model, name: str) -> Number | Date | Category | None:
    for column in model.columns.varying if model.columns else []:
        if column.name == name and not isinstance(column, Text):
            return column
    return None


def _places(model: Model, name: str) -> list[int]:
    return model.columns.places[name] if model.columns else []


def _values(seen: np.ndarray) -> np.ndarray:
    """Return the values to look at, of those that the rows have."""
    if seen.dtype == object:
        levels, counts = np.unique(seen[seen != ""].astype(str), return_counts=True)
        most = np.argsort(-counts, kind="stable")[:LEVELS]
        return levels[most].astype(object)
    present = np.sort(seen[~np.isnan(seen)])
    if not len(present):
        return present
    first, last = (int(end * (len(present) - 1) + 0.5) for end in ENDS)
    found = np.unique(present[first : last + 1])
    if len(found) > POINTS:
        places = np.linspace(first, last, POINTS).round().astype(int)
        by_quantile = np.unique(present[places])
        # Where most rows have the same value, quantiles are few; the other values are looked at as well.
        found = by_quantile if len(by_quantile) > POINTS // 2 else _spread(found)
    elif len(found) < 2:
        found = _spread(np.unique(present))
    return found


def _spread(values: np.ndarray) -> np.ndarray:
    """Return at most `POINTS` of the values, evenly by rank."""
    return values[np.unique(np.linspace(0, len(values) - 1, POINTS).round().astype(int))]


def _mean_answers(model: Model, X: np.ndarray, places: list[int], values: np.ndarray) -> np.ndarray:
    """Return the mean answer, (values, answers), if all rows had the inputs of a value in the places."""
    means: list[np.ndarray] = []
    each = max(1, NUMBERS // X.size)  # values at a time: many rows are answered faster than few
    for start in range(0, len(values), each):
        block = values[start : start + each]
        rows = np.tile(X, (len(block), 1))
        rows[:, places] = np.repeat(block, len(X), axis=0)
        outputs = model.forward(rows)
        found = model.by_target(model.probabilities(outputs))[0] if model.classes else outputs
        means.append(found.reshape(len(block), len(X), -1).mean(axis=1, dtype=np.float64))
    joined = np.concatenate(means)
    return joined[:, 1:] if len(model.classes) == 2 else joined
