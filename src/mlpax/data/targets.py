"""From a table to arrays: which column is the target, what task it sets, which rows are held out."""

import difflib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlpax.data.columns import MOST_LEVELS, Category, Columns, Constant, Date, Text, fit_columns
from mlpax.data.dataset import Dataset, HoldOut, split
from mlpax.data.kinds import check_separated, date_order, kind_of, numbers, numbers_rows, with_nulls
from mlpax.errors import InputError, counted, listed, unknown
from mlpax.recipes import TASKS

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Labels", "Roles", "encode", "from_frame", "guess_target", "index_of", "infer_task", "labels_of"]

TARGETS = ("target", "label", "class", "y")  # the names a target usually has
SPREADS = 1e-15, 1e19  # of a regression's values: float32 squares them
LEAST_SPREAD = 1e-4  # of a regression's values to their mean: predictions are float32, of 7 digits
FEW = 20  # distinct whole numbers without a gap are classes
WHOLE = r"(0|-?[1-9]\d{0,17})"  # as they are written; 007 is a name

Notice = Callable[[str], object]


def guess_target(frame: "pl.DataFrame", target: str | None, notice: Notice = print) -> str:
    """The column to predict: the one named, else one named as targets are, else the last.

    Raises
    ------
    InputError
        If there is no column of that name.
    """
    if target is not None:
        if target not in frame.columns:
            near = difflib.get_close_matches(target, frame.columns, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {listed(frame.columns)}"
            raise InputError(f"no column {target!r} in the data; {hint}")
        return target
    found = next((c for name in TARGETS for c in frame.columns if c.lower() == name), None)
    chosen = found or frame.columns[-1]
    why = "by its name" if found else "the last column"
    notice(f"the target is {chosen!r}, {why}; --target names another")
    return chosen


def index_of(frame: "pl.DataFrame", target: str) -> str | None:
    """The name of a first column that has none and whose whole numbers differ: what pandas and R write."""
    import polars as pl

    name, *others = frame.columns
    if name or target not in others or len(others) < 2:
        return None
    values = frame[name]
    if not (values.dtype.is_numeric() or values.dtype == pl.String):
        return None
    x = with_nulls(values).cast(pl.Float64, strict=False)
    return name if x.null_count() == 0 and x.n_unique() == len(x) and (x == x.round()).all() else None


def infer_task(values: "pl.Series") -> str:
    """Classification of text, booleans and a few whole numbers without a gap; else regression."""
    if values.dtype.is_numeric() or _are_numbers(values.drop_nulls()):
        x = _distinct(values)
        whole = np.all(x == np.round(x))
        few = len(x) <= 2 or (len(x) <= FEW and int(x[-1]) - int(x[0]) == len(x) - 1)
        return "classification" if whole and few else "regression"
    return "classification"


def _are_numbers(values: "pl.Series") -> bool:
    import polars as pl

    return values.dtype == pl.String and values.cast(pl.Float64, strict=False).null_count() == 0


def _distinct(values: "pl.Series") -> np.ndarray:
    if values.dtype.is_integer():  # float64 would round those above 2^53
        return values.drop_nulls().unique().sort().to_numpy()
    x = np.unique(numbers(values))
    return x[~np.isnan(x)]


def classes_of(values: "pl.Series") -> tuple[Any, ...]:
    """The classes in order, as text, whole numbers or booleans: as they came.

    A column of text is one of whole numbers where each is written as a number is, as all are in a CSV.
    """
    import polars as pl

    present = values.drop_nulls()
    if present.dtype == pl.Boolean:
        return tuple(sorted(present.unique().to_list()))
    if present.dtype.is_numeric() or _are_numbers(present):
        x = _distinct(values)
        odd = x[x != np.round(x)]
        if len(odd):
            raise InputError(
                f"target {values.name!r} holds {odd[0]}, which is continuous and no class; its task is"
                " regression"
            )
        if present.dtype.is_numeric():
            return tuple(int(v) for v in x)
    texts = sorted(present.cast(pl.String).unique().to_list())
    for end in ("", r"\.0"):  # alike, so that no two are one number
        if present.dtype == pl.String and all(re.fullmatch(WHOLE + end, text) for text in texts):
            return tuple(sorted(int(text.removesuffix(".0")) for text in texts))
    return tuple(texts)


def encode(values: "pl.Series", classes: tuple[Any, ...]) -> np.ndarray:
    """Labels 0 .. classes - 1, int32; or without classes the numbers, (rows, 1) float64.

    Raises
    ------
    InputError
        If a cell is missing, no number, or none of the classes.
    """
    import polars as pl

    values = with_nulls(values)
    if values.null_count():
        raise InputError(
            f"target {values.name!r} is missing in {values.null_count()} rows; fill or drop them"
        )
    if not classes:
        y = numbers(values)
        if np.isnan(y).any():
            raise InputError(f"target {values.name!r} is NaN in row {int(np.isnan(y).argmax()) + 1}; drop it")
        return y[:, None]
    position = {c: i for i, c in enumerate(classes)}
    words = {str(c).lower(): i for c, i in position.items()}
    if len(classes) == 2 and words.keys() == {"false", "true"}:  # booleans, which are text in a CSV
        found = [words.get(str(v).lower()) for v in values.to_list()]
    elif isinstance(classes[0], int) and values.dtype != pl.Boolean:
        found = [position.get(v) for v in _whole(values)]
    else:
        found = [position.get(v) for v in values.cast(pl.String).to_list()]
    if None in found:
        bad = values[found.index(None)]
        raise InputError(f"target {values.name!r} holds {bad!r}, none of the model's classes {classes}")
    return np.array(found, np.int32)


def _whole(values: "pl.Series") -> list[Any]:
    """Numbers as Python's, the whole ones exact."""
    import polars as pl

    if values.dtype.is_integer():
        return values.to_list()
    x = numbers(values).tolist()
    if values.dtype.is_numeric():
        return x
    exact = values.cast(pl.String).cast(pl.Int64, strict=False).to_list()
    return [v if n is None else n for n, v in zip(exact, x, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Roles:
    """What a table's columns are for, and what the target sets.

    Attributes
    ----------
    target : str, optional
        The column to predict, see `guess_target`.
    task : {"classification", "regression"}, optional
        See `infer_task`.
    weight : str, optional
        A column of the rows' weights, at least 0, in training and in validation; it is no input.
    class_weight : {"balanced"}, optional
        Weigh each class as if all had as many rows.
    """

    target: str | None = None
    task: str | None = None
    weight: str | None = None
    class_weight: str | None = None


class Labels(NamedTuple):
    """A table's target, ready for training."""

    present: "pl.Series"  # whether a row has a target
    task: str
    classes: tuple[Any, ...]
    y: np.ndarray  # of the rows that have a target


def from_frame(
    frame: "pl.DataFrame",
    roles: Roles = Roles(),
    hold: HoldOut = HoldOut(),  # noqa: B008 - frozen
    *,
    name: str = "table",
    valid_frame: "pl.DataFrame | None" = None,
    notice: Notice = lambda text: None,
) -> Dataset:
    """Return training, validation and test arrays of a table.

    The transform of the columns is fitted on the training rows alone.

    Parameters
    ----------
    frame : polars.DataFrame
    roles : Roles, optional
    hold : HoldOut, optional
    name : str
        Name of the data, for records.
    valid_frame : polars.DataFrame, optional
        Validate on these rows instead of held-out ones.
    notice : callable, optional
        Called with a line for each choice made.

    Raises
    ------
    InputError
        If the target is missing in more than half of the rows, there is one class or a class of one row,
        or a setting names no column.
    """
    target = guess_target(frame, roles.target, notice)
    _check_roles(frame, target, roles, hold.group)
    labels = labels_of(frame[target], roles.task)
    present, task, classes, y = labels
    rows = frame.filter(present)
    if lacking := frame.height - len(y):
        notice(f"dropped {counted(lacking, 'row')} without a target")
    if roles.class_weight and not classes:
        raise InputError(
            f"class_weight {roles.class_weight!r} is for classes; target {target!r} sets a regression"
        )
    if roles.task is None:
        notice(f"the task is {task}: {_why(rows[target], task)}; --task says otherwise")
    groups = _groups(rows[hold.group]) if hold.group else None
    hold = hold if valid_frame is None else replace(hold, validation=0.0)
    train, validated, tested = split(y, hold, classes=bool(classes), groups=groups)
    _check_classes(y[train], classes)
    inputs = _inputs(frame, {target, hold.group, roles.weight}, target)
    columns = _fitted(inputs, labels, train, notice)
    X = columns(inputs)[present.to_numpy()]
    weights = _weights(frame, roles.weight)[present.to_numpy()]
    X_valid, y_valid, weight_valid = X[validated], y[validated], weights[validated]
    if valid_frame is not None:
        guess_target(valid_frame, target)
        X_valid, y_valid = columns(valid_frame), encode(valid_frame[target], classes)
        weight_valid = _weights(valid_frame, roles.weight)
    for kind, of in (("training", weights[train]), ("validation", weight_valid)):
        if len(of) and not of.any():
            raise InputError(f"weight {roles.weight!r} is zero in every {kind} row; give some rows a weight")
    if roles.class_weight:
        of_class = (train.sum() / (len(classes) * np.bincount(y[train]))).astype(np.float32)
        weights, weight_valid = weights * of_class[y], weight_valid * of_class[y_valid]
    held = [rows.filter(~train), *([] if valid_frame is None else [valid_frame])]
    _tell_duplicates(rows.filter(train), held, [*inputs.columns, target], notice)
    return Dataset(
        name, X[train], y[train], X[tested], y[tested], classes, X_valid=X_valid, y_valid=y_valid,
        weight=weights[train], weight_valid=weight_valid, columns=columns, target=target,
    )  # fmt: skip


def _check_roles(frame: "pl.DataFrame", target: str, roles: Roles, group: str | None) -> None:
    for column in (group, roles.weight):
        if column is not None:
            guess_target(frame, column)
            if column == target:
                raise InputError(f"column {column!r} is the target; group and weight are other columns")
    if roles.class_weight not in (None, "balanced"):
        raise unknown("class_weight", roles.class_weight, ["balanced"])
    if roles.task not in (None, *TASKS):
        raise unknown("task", roles.task, TASKS)


def _check_classes(y: np.ndarray, classes: Sequence[Any]) -> None:
    """Refuse training rows that lack a class."""
    if classes and len(np.unique(y)) < len(classes):
        gone = next(c for i, c in enumerate(classes) if i not in y)
        raise InputError(f"class {gone!r} has no training row after the split; choose another split")


def _inputs(frame: "pl.DataFrame", others: set[str | None], target: str) -> "pl.DataFrame":
    """Return the columns to predict from: all but the others."""
    inputs = frame.drop([c for c in others if c])
    if inputs.width == 0:
        raise InputError(
            f"the data has no column beside {target!r}, there is nothing to predict from; the separators that"
            " are known are comma, semicolon, tab and |"
        )
    return inputs


def _fitted(inputs: "pl.DataFrame", labels: Labels, train: np.ndarray, notice: Notice) -> Columns:
    """Fit the columns on the training rows, and tell what was decided.

    All rows tell what kind a column is. An error then names the row in the table, not among the training
    rows.
    """
    kinds = {values.name: kind_of(values) for values in inputs}
    numbered = [n for n, kind in kinds.items() if kind.name == "number" and numbers_rows(inputs[n])]
    columns = fit_columns(inputs.filter(labels.present).filter(train), kinds)
    if numbered:
        notice(f"{listed(numbered)} may number the rows; drop what says nothing of new rows")
    _tell_columns(columns, notice)
    return columns


def labels_of(values: "pl.Series", task: str | None) -> Labels:
    """Return which rows have a target, its task, the classes, and the labels of those rows."""
    import polars as pl

    values = with_nulls(values)
    if values.dtype == pl.Duration:
        raise InputError(
            f"target {values.name!r} holds lengths of time, such as {values.drop_nulls().first()}; give"
            " numbers, for example seconds: y.dt.total_seconds()"
        )
    if values.dtype == pl.String:
        check_separated(values)
    present = values.is_not_null()
    whole, values = values, values.filter(present)
    lacking = len(whole) - len(values)
    if lacking > len(present) / 2:
        raise InputError(
            f"target {values.name!r} is missing in {lacking} of {len(present)} rows, more than half"
        )
    inferred = task is None
    task = task or infer_task(values)
    classes = classes_of(values) if task == "classification" else ()
    y = encode(values, classes)
    if inferred and classes and np.bincount(y).min() < 2:
        kind_of(whole)  # of numbers but for a slip it says so, where each would be a class of one row
    _check_target(y, classes, values.name)
    return Labels(present, task, classes, y)


def _groups(values: "pl.Series") -> np.ndarray:
    """Each row's group as text; those without one are one."""
    import polars as pl

    return with_nulls(values).cast(pl.String).fill_null("").to_numpy()


def _weights(frame: "pl.DataFrame", weight: str | None) -> np.ndarray:
    """Each row's weight; 1 where the frame has no such column."""
    if weight is None or weight not in frame.columns:
        return np.ones(frame.height, np.float32)
    values = frame[weight]
    x = numbers(with_nulls(values))
    bad = ~(x >= 0)
    if bad.any():
        row = int(bad.argmax())
        raise InputError(f"weight {values.name!r} is {x[row]} in row {row + 1}; weights are numbers >= 0")
    return x.astype(np.float32)


def _why(values: "pl.Series", task: str) -> str:
    distinct = values.drop_nulls().n_unique()
    return f"{values.name!r} has {distinct} distinct {'values' if task == 'regression' else 'classes'}"


def _check_target(y: np.ndarray, classes: Sequence[Any], target: str) -> None:
    if not classes:
        if y.min() == y.max():
            raise InputError(
                f"target {target!r} holds one value only, {y[0, 0]:g}; there is nothing to learn"
            )
        mean, spread = float(y.mean()), float(y.std())
        if not SPREADS[0] < spread < SPREADS[1]:
            raise InputError(
                f"target {target!r} spreads by {spread:.3g}, whose square passes the range of float32;"
                f" multiply it by {10.0 ** -round(math.log10(spread)):.0e}"
            )
        if spread < LEAST_SPREAD * abs(mean):
            raise InputError(
                f"target {target!r} deviates by {spread:.3g} from its mean {mean:.10g}, too little for"
                " predictions of 7 digits; subtract the mean first"
            )
        return
    if len(classes) < 2:
        raise InputError(f"target {target!r} holds one class only, {classes[0]!r}; there is nothing to learn")
    counts = np.bincount(y)
    if counts.min() < 2:
        name = classes[int(counts.argmin())]
        raise InputError(f"class {name!r} of target {target!r} has one row; give it more, or drop it")


def _tell_columns(columns: Columns, notice: Notice) -> None:
    """Say which columns are left out, and which are read in a way that may be wrong."""
    for why, kind in (("being constant", Constant), ("of another text in nearly every row", Text)):
        if names := [c.name for c in columns.columns if isinstance(c, kind)]:
            notice(f"columns left out, {why}: {listed(names)}")
    for c in columns.columns:
        if isinstance(c, Date) and (order := date_order(c.format)):
            notice(f"{c.name!r} holds dates, read as {order}; write 2024-12-31 to be sure")
        if isinstance(c, Category) and len(c.levels) == MOST_LEVELS:
            notice(f"of the levels of {c.name!r} the {MOST_LEVELS:,} most frequent are told apart")


def _tell_duplicates(
    train: "pl.DataFrame", held: "list[pl.DataFrame]", known: list[str], notice: Notice
) -> None:
    seen, *others = (rows.select(known).hash_rows().to_numpy() for rows in (train, *held))
    both = sum(np.isin(rows, seen).sum() for rows in others)
    if both:
        doubles = f"{counted(both, 'held-out row')} with an exact double among the training rows"
        notice(f"{doubles}: scores may flatter")
