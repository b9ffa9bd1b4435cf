"""From a table to arrays: which column is the target, what task it sets, which rows are held out."""

import difflib
import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpax.data.columns import MOST_LEVELS, Category, Columns, Constant, Date, Text, fit_columns
from mlpax.data.dataset import Dataset, held_out
from mlpax.data.kinds import check_separated, date_order, kind_of, numbers, numbers_rows, with_nulls
from mlpax.errors import InputError, counted, listed, unknown
from mlpax.recipes import TASKS
from mlpax.seeds import rng

if TYPE_CHECKING:
    import polars as pl

__all__ = ["encode", "from_frame", "guess_target", "index_of", "infer_task", "labels_of"]

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


def from_frame(
    frame: "pl.DataFrame", *, name: str = "table", target: str | None = None, task: str | None = None,
    validation: float = 0.2, test: float = 0.0, seed: int = 0, time_ordered: bool = False,
    group: str | None = None, weight: str | None = None, class_weight: str | None = None,
    valid_frame: "pl.DataFrame | None" = None, notice: Notice = lambda text: None,
) -> Dataset:  # fmt: skip
    """Training, validation and test arrays of a table, its transform fitted on the training rows alone.

    Parameters
    ----------
    frame : polars.DataFrame
    name : str
        Of the data, for records.
    target : str, optional
        See `guess_target`.
    task : {"classification", "regression"}, optional
        See `infer_task`.
    validation, test : float in [0, 1)
        Shares of the rows to hold out; of a classification by class.
    seed : int
        Of the splits.
    time_ordered : bool, default False
        Hold out the last rows: first the test rows, before them the validation rows.
    group : str, optional
        A column no value of which is on both sides; it is no input.
    weight : str, optional
        A column of the rows' weights, >= 0, in training and in validation; it is no input.
    class_weight : {"balanced"}, optional
        Weigh each class as if all had as many rows.
    valid_frame : polars.DataFrame, optional
        Validate on these rows instead.
    notice : callable, optional
        Called with a line for each choice made.

    Raises
    ------
    InputError
        If the target is missing in more than half of the rows, there is one class or a class of one row,
        or a setting names no column.
    """
    target = guess_target(frame, target, notice)
    for column in (group, weight):
        if column is not None:
            guess_target(frame, column)
            if column == target:
                raise InputError(f"column {column!r} is the target; group and weight are other columns")
    if class_weight not in (None, "balanced"):
        raise unknown("class_weight", class_weight, ["balanced"])
    if task not in (None, *TASKS):
        raise unknown("task", task, TASKS)
    inferred = task is None
    present, task, classes, y = labels_of(frame[target], task)
    if lacking := frame.height - len(y):
        notice(f"dropped {counted(lacking, 'row')} without a target")
    whole, frame = frame, frame.filter(present)
    if class_weight and not classes:
        raise InputError(f"class_weight {class_weight!r} is for classes; target {target!r} sets a regression")
    if inferred:
        notice(f"the task is {task}: {_why(frame[target], task)}; --task says otherwise")
    groups = _groups(frame[group]) if group else None
    options: dict[str, Any] = {"classes": bool(classes), "time_ordered": time_ordered}
    tested = np.zeros(len(y), bool)
    if test:
        tested = held_out(y, test, rng(seed, "test"), groups=groups, **options)
    rest = np.flatnonzero(~tested)
    validated = np.zeros(len(y), bool)
    if valid_frame is None and validation:
        if groups is not None and len(set(groups[rest])) == 1 < len(set(groups)):
            raise InputError(
                f"the test rows leave one group of {group!r}, and validation needs another; give a third"
                " group, or validation 0"
            )
        share = held_out(
            y[rest],
            validation,
            rng(seed, "validation"),
            groups=None if groups is None else groups[rest],
            **options,
        )
        validated[rest[share]] = True
    train = ~tested & ~validated
    if classes and len(np.unique(y[train])) < len(classes):
        gone = next(c for i, c in enumerate(classes) if i not in y[train])
        raise InputError(f"class {gone!r} has no training row after the split; choose another split")
    inputs = whole.drop([c for c in {target, group, weight} if c])
    if inputs.width == 0:
        raise InputError(
            f"the data has no column beside {target!r}, there is nothing to predict from; the separators that"
            " are known are comma, semicolon, tab and |"
        )
    kinds = {values.name: kind_of(values) for values in inputs}
    # Of all rows, not the training's: a cell that is refused is named by its row in the table.
    numbered = [n for n, kind in kinds.items() if kind.name == "number" and numbers_rows(inputs[n])]
    columns = fit_columns(inputs.filter(present).filter(train), kinds)
    if numbered:
        notice(f"{listed(numbered)} may number the rows; drop what says nothing of new rows")
    _tell_columns(columns, notice)
    weights = _weights(whole, weight)[present.to_numpy()]
    X = columns(inputs)[present.to_numpy()]
    X_valid, y_valid, weight_valid = X[validated], y[validated], weights[validated]
    if valid_frame is not None:
        guess_target(valid_frame, target)
        X_valid, y_valid = columns(valid_frame), encode(valid_frame[target], classes)
        weight_valid = _weights(valid_frame, weight)
    for kind, of in (("training", weights[train]), ("validation", weight_valid)):
        if len(of) and not of.any():
            raise InputError(f"weight {weight!r} is zero in every {kind} row; give some rows a weight")
    if class_weight:
        of_class = (train.sum() / (len(classes) * np.bincount(y[train]))).astype(np.float32)
        weights, weight_valid = weights * of_class[y], weight_valid * of_class[y_valid]
    held = [frame.filter(~train), *([] if valid_frame is None else [valid_frame])]
    _tell_duplicates(frame.filter(train), held, [*inputs.columns, target], notice)
    return Dataset(
        name, X[train], y[train], X[tested], y[tested], classes, X_valid=X_valid, y_valid=y_valid,
        weight=weights[train], weight_valid=weight_valid, columns=columns, target=target,
    )  # fmt: skip


def labels_of(values: "pl.Series", task: str | None) -> tuple["pl.Series", str, tuple[Any, ...], np.ndarray]:
    """Which rows have a target, its task, the classes, and the labels of those rows."""
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
    return present, task, classes, y


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
