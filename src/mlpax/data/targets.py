"""From a table to arrays: which column is the target, what task it sets, which rows are held out."""

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import repeat
from shlex import quote
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlpax.data.columns import MOST_LEVELS, Category, Columns, LeftOut, fit_columns
from mlpax.data.dataset import Dataset, HoldOut, split
from mlpax.data.kinds import Kind, memory_of_texts, numbers, numbers_rows, tell_kinds, typed, with_values
from mlpax.data.memory import TYPED, memory_limit, written
from mlpax.data.numerals import MISSING, Numerals, counts_of
from mlpax.data.reading import Reading
from mlpax.data.tables import SLICE
from mlpax.errors import Guess, InputError, Notice, RowError, counted, listed, unknown
from mlpax.recipes import TASKS

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Labels", "cells_of_target", "check_class_weight", "check_column", "check_roles", "check_spread",
           "class_weights", "classes_of", "encode",
           "from_frame", "index_of", "infer_task", "inputs_of", "labels_of", "read_target", "settled",
           "targets_of", "tell_columns", "tell_task", "tell_tasks", "truth_of", "weights_of"]  # fmt: skip

MANY = 100_000  # labels that are encoded at a time: a text of Python's takes as much memory as ten labels
TARGETS = ("target", "label", "class", "y")  # the names a target usually has
SPREADS = 1e-15, 1e19  # of a regression's values: float32 squares them
LEAST_SPREAD = 1e-4  # of a regression's values to their mean: predictions are float32, of 7 digits
FEW = 20  # distinct whole numbers close together are classes
DENSE = 2 / 3  # of the whole numbers from the least to the largest class those that occur
WHOLE = r"(0|-?[1-9]\d{0,17})"  # as they are written; 007 is a name


def check_column(frame: "pl.DataFrame", name: str) -> None:
    """Raise an error if the frame has no such column."""
    if name not in frame.columns:
        near = difflib.get_close_matches(name, frame.columns, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {listed(frame.columns)}"
        raise InputError(f"no column {name!r} in the data; {hint}")


def targets_of(
    frame: "pl.DataFrame", target: str | tuple[str, ...] | None, notice: Notice
) -> tuple[str, ...]:
    """Return the columns to predict: those named, else one named as targets are, else the last.

    A text with commas names several, unless it is the name of a column.

    Raises
    ------
    InputError
        If there is no column of a name, or one is named twice.
    """
    if target is not None:
        names = target
        if isinstance(names, str):
            names = (names,) if names in frame.columns else tuple(names.split(","))
        for i, name in enumerate(names):
            check_column(frame, name)
            if name in names[:i]:
                raise InputError(f"target {name!r} is named twice; name it once")
        return names
    found = next((c for name in TARGETS for c in frame.columns if c.lower() == name), None)
    chosen = found or frame.columns[-1]
    why = "by its name" if found else "the last column"
    notice(Guess(f"the target is {chosen!r}, {why}; --target names another", f"--target {quote(chosen)}"))
    return (chosen,)


def index_of(frame: "pl.DataFrame", targets: tuple[str, ...]) -> str | None:
    """The name of a first column whose whole numbers differ and that has no name: what pandas and R write."""
    import polars as pl

    name, *others = frame.columns
    if not re.fullmatch(r"(Unnamed: 0)?", name) or not {*others} > {*targets}:
        return None
    values = frame[name]
    if not (values.dtype.is_numeric() or values.dtype == pl.String):
        return None
    x = values.cast(pl.Float64, strict=False)
    return name if x.null_count() == 0 and x.n_unique() == len(x) and (x == x.round()).all() else None


def settled(frame: "pl.DataFrame", reading: Reading, notice: Notice) -> tuple[tuple[str, ...], Reading]:
    """Return the targets, and the options that name them and leave out an index.

    Raises
    ------
    InputError
        If there is no column of a name that the user gives, or a target is to be left out.
    """
    targets = targets_of(frame, reading.target, notice)
    for name in reading.kinds:
        check_column(frame, name)
    for target in targets:
        if reading.kinds.get(target) in ("id", "drop"):
            raise InputError(
                f"column {target!r} is the target, which is not left out; --target names another"
            )
    column = dict(reading.column)
    index = index_of(frame, targets)
    if index is not None and index not in reading.kinds:
        text = f"the first column, {index!r}, numbers the rows and is left out"
        keep = quote(f"{index}=number")
        notice(Guess(f"{text}; --column {keep} keeps it", f"--column {quote(f'{index}=drop')}"))
        column[index] = "drop"
    if reading.task == "classification":
        column |= {name: "category" for name in targets if name not in column}
    return targets, replace(reading, target=targets, column=column)


def infer_task(values: "pl.Series") -> str:
    """Tell the task of a target from its cells, as `typed` returns them.

    Text and booleans are classes, and so are whole numbers if there are two, or a few close together: at
    most `FEW`, of which `DENSE` of the numbers between them occur, and each twice where one lacks.
    """
    if not values.dtype.is_numeric():
        return "classification"
    x = values.drop_nulls().unique().sort().to_numpy()
    if len(x) > FEW or not np.all(x == np.round(x)):
        return "regression"
    span = float(x[-1]) - float(x[0]) + 1 if len(x) else 0
    dense = len(x) >= DENSE * span and min(n for _, n in counts_of(values.drop_nulls())) > 1
    close = span <= FEW and (len(x) == span or dense)
    return "classification" if len(x) <= 2 or close else "regression"


def _are_numbers(values: "pl.Series") -> bool:
    import polars as pl

    return values.dtype == pl.String and values.cast(pl.Float64, strict=False).null_count() == 0


def _distinct(values: "pl.Series") -> np.ndarray:
    if values.dtype.is_integer():  # float64 would round those above 2^53
        return values.drop_nulls().unique().sort().to_numpy()
    x = np.unique(numbers(values, Kind("number")))
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

    values = values.fill_nan(None) if values.dtype.is_float() else values
    if values.null_count():
        raise InputError(
            f"target {values.name!r} is missing in {values.null_count()} rows; fill or drop them"
        )
    if not classes:
        y = numbers(values, Kind("number"))
        if np.isnan(y).any():
            raise InputError(f"target {values.name!r} is NaN in row {int(np.isnan(y).argmax()) + 1}; drop it")
        return y[:, None]
    if len(values) > MANY:
        parts = [values[start : start + MANY] for start in range(0, len(values), MANY)]
        return np.concatenate([encode(part, classes) for part in parts])
    position = {c: i for i, c in enumerate(classes)}
    words = {str(c).lower(): i for c, i in position.items()}
    if len(classes) == 2 and words.keys() == {"false", "true"}:  # booleans, which are text in a CSV
        found = [words.get(str(v).lower()) for v in values.to_list()]
    elif isinstance(classes[0], int) and values.dtype != pl.Boolean:
        found = [position.get(v) for v in _whole(values)]
    else:
        known = {str(c): i for c, i in position.items()}
        coded = values.cast(pl.String).replace_strict(known, default=None, return_dtype=pl.Int32)
        if not coded.null_count():
            return coded.to_numpy(writable=True)
        found = coded.to_list()
    if None in found:
        bad = values[found.index(None)]
        raise InputError(f"target {values.name!r} holds {bad!r}, none of the model's classes {classes}")
    return np.array(found, np.int32)


def _whole(values: "pl.Series") -> list[Any]:
    """Numbers as Python's, the whole ones exact."""
    import polars as pl

    if values.dtype.is_integer():
        return values.to_list()
    x = numbers(values, Kind("number")).tolist()
    if values.dtype.is_numeric():
        return x
    exact = values.cast(pl.String).cast(pl.Int64, strict=False).to_list()
    return [v if n is None else n for n, v in zip(exact, x, strict=True)]


class Labels(NamedTuple):
    """A table's target, ready for training."""

    present: "pl.Series"  # whether a row has a target
    task: str
    classes: tuple[Any, ...]
    y: np.ndarray  # of the rows that have a target


def from_frame(
    frame: "pl.DataFrame",
    reading: Reading = Reading(),
    hold: HoldOut = HoldOut(),
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
    reading : Reading, optional
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
    targets, reading = settled(frame, reading, notice)
    check_roles(frame, targets, reading, hold.group)
    kinds = tell_kinds(frame.drop([hold.group] if hold.group else []), reading, notice)
    _check_texts(frame.drop(targets), kinds, reading)
    present, classes, y = _labels(frame, targets, reading, kinds, notice)
    if lacking := frame.height - len(y):
        notice(f"dropped {counted(lacking, 'row')} without a target")
    check_class_weight(reading.class_weight, targets, classes)
    groups = _groups(frame[hold.group].filter(present)) if hold.group else None
    hold = hold if valid_frame is None else replace(hold, validation=0.0)
    train, validated, tested = split(y, hold, classes=bool(classes), groups=groups)
    _check_classes(y[train], classes)
    inputs = with_values(inputs_of(frame, {*targets, hold.group, reading.weight}, targets), kinds)
    # All rows tell a column's kind, so that an error names a row of the table, not of the training rows.
    there = np.flatnonzero(present.to_numpy())
    columns = fit_columns(inputs, kinds, _mask(frame.height, there[train]))
    tell_columns(inputs, columns, kinds, notice)
    others = None
    if valid_frame is not None:
        others = _rows_of(valid_frame, columns, targets, classes, kinds, reading.weight)
    weights = weights_of(frame, reading.weight, kinds)[there]
    used = [column.name for column in columns.varying]
    _tell_duplicates(frame, there, train, valid_frame, [*used, *targets], notice)
    # If the caller holds no table, each column's memory is free once its inputs are there. In this order each
    # part is a view, so that no row is in memory twice.
    cells = {name: inputs[name] for name in used}
    order = np.concatenate([there[part] for part in (train, validated, tested)])
    del frame, inputs, there
    ends = np.cumsum([np.count_nonzero(part) for part in (train, validated)])
    X_train, X_valid, X_test = np.split(columns(cells, order), ends)
    y_valid, weight_valid = y[validated], weights[validated]
    if others is not None:
        X_valid, y_valid, weight_valid = others
    of_test = weights[:0] if reading.folds else weights[tested]  # of folds, all are scored together
    for kind, of in (("training", weights[train]), ("validation", weight_valid), ("test", of_test)):
        if len(of) and not of.any():
            raise InputError(
                f"weight {reading.weight!r} is zero in every {kind} row; give some rows a weight"
            )
    weight_held = (weights[tested] if tested.any() else weight_valid) if reading.weight else None
    if reading.class_weight:
        of_class = class_weights(reading.class_weight, classes[0], np.bincount(y[train]))
        weights, weight_valid = weights * of_class[y], weight_valid * of_class[y_valid]
    return Dataset(
        name, X_train, y[train], X_test, y[tested], classes[0] if classes else (), X_valid=X_valid,
        y_valid=y_valid, more_classes=classes[1:],
        weight=weights[train], weight_valid=weight_valid, weight_held=weight_held, columns=columns,
        targets=targets,
        numerals=tuple(kinds[target].numerals for target in targets),
    )  # fmt: skip


def _rows_of(
    frame: "pl.DataFrame",
    columns: Columns,
    targets: Sequence[str],
    classes: Sequence[tuple[Any, ...]],
    kinds: Mapping[str, Kind],
    weight: str | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return inputs, labels or values, and weights of a table to validate on."""
    named = [
        (name, of, kinds[name].numerals) for name, of in zip(targets, classes or repeat(()), strict=False)
    ]
    return columns(frame), truth_of(frame, named), weights_of(frame, weight, kinds)


def _check_texts(frame: "pl.DataFrame", kinds: dict[str, Kind], reading: Reading) -> None:
    """Raise an error if columns of text would take more memory than they may."""
    texts = {n: kind for n, kind in kinds.items() if kind.name == "text" and n in frame.columns}
    if not texts:
        return
    needed, limit = memory_of_texts(frame, texts, frame.height), memory_limit(reading.memory)
    if reading.memory is not None:  # else the limit is of the memory that the table has left
        needed += int(frame.estimated_size()) + TYPED * frame.height * frame.width
    if needed > limit:
        names, first = listed(map(repr, texts)), quote(next(iter(texts)))
        raise InputError(
            f"with the words of {names} as inputs, the table would take about {written(needed)} of memory,"
            f" and the limit is {written(limit)}; leave out a column, as with --drop {first}, or raise the"
            f" limit, as with --memory {written(1.1 * needed, '')}"
        )


def _mask(rows: int, chosen: np.ndarray) -> "pl.Series":
    """Return whether each of so many rows is among the chosen ones."""
    import polars as pl

    mask = np.zeros(rows, bool)
    mask[chosen] = True
    return pl.Series(mask)


def _labels(
    frame: "pl.DataFrame", targets: Sequence[str], reading: Reading, kinds: dict[str, Kind], notice: Notice
) -> tuple["pl.Series", tuple[tuple[Any, ...], ...], np.ndarray]:
    """Return which rows have all targets, the classes of each, and the labels or values of those rows.

    Of a regression there are no classes.

    Raises
    ------
    InputError
        See `labels_of`; if some targets are of classes and others of numbers; or if more than half of the
        rows lack one.
    """
    import polars as pl

    found = {name: labels_of(frame[name], reading.task, kinds[name]) for name in targets}
    if len(found) == 1:
        (target, labels), *_ = found.items()
        tell_task(target, labels, reading, notice)
        return labels.present, (labels.classes,) if labels.classes else (), labels.y
    tell_tasks(found, reading, notice)
    values = np.full((frame.height, len(found)), np.nan)
    for i, labels in enumerate(found.values()):
        values[labels.present.to_numpy(), i] = labels.y.reshape(len(labels.y))
    whole = np.asarray(~np.isnan(values).any(axis=1))
    lacking = np.count_nonzero(~whole)
    if 2 * lacking > len(whole):
        raise InputError(
            f"a target is missing in {lacking} of {len(whole)} rows, more than half; name fewer targets"
        )
    classes = tuple(labels.classes for labels in found.values() if labels.classes)
    values = values[whole].astype(np.int32) if classes else values[whole]
    for name, of, y in zip(targets, classes or repeat(()), values.T, strict=False):
        _check_target(y if of else y[:, None], of, name)
    return pl.Series("present", whole), classes, values


def tell_tasks(found: Mapping[str, Labels], reading: Reading, notice: Notice) -> None:
    """Say that several targets are classes, unless the user has said so.

    Raises
    ------
    InputError
        If some are classes and others numbers: one network learns one task.
    """
    classes = [name for name, labels in found.items() if labels.classes]
    others = [name for name in found if name not in classes]
    if classes and others:
        raise InputError(
            f"target {classes[0]!r} is of classes, and {listed(map(repr, others))} of numbers; train a run"
            " for each, or say with --task classification or --task regression what all are"
        )
    if classes and reading.task is None:
        (first, own), *more = found.items()
        counts = "".join(f", {name!r} {len(labels.classes)}" for name, labels in more)
        has = f"{first!r} has {len(own.classes)} distinct classes{counts}"
        text = f"the task is classification: {has}; --task says otherwise"
        notice(Guess(text, "--task classification"))


def truth_of(frame: "pl.DataFrame", targets: Sequence[tuple[str, tuple[Any, ...], Numerals]]) -> np.ndarray:
    """Return the labels of rows, (rows,), or of several targets (rows, targets); or values, (rows, targets).

    Each target is given as its name, its classes and its numerals; see `encode` for errors.
    """
    found: list[np.ndarray] = []
    for name, classes, numerals in targets:
        check_column(frame, name)
        found.append(encode(cells_of_target(frame[name], classes, numerals), classes))
    return found[0] if len(found) == 1 else np.column_stack(found)


def class_weights(text: str, classes: Sequence[Any], counts: np.ndarray) -> np.ndarray:
    """Return the weight of each class, (classes,), float32.

    Parameters
    ----------
    text : str
        "balanced", or weights as `a=2,b=1`.
    classes : sequence
    counts : array of shape (classes,), int
        The training rows of each class.

    Raises
    ------
    InputError
        If a name is no class, or a weight no number from 0.
    """
    if text == "balanced":
        return (counts.sum() / (len(classes) * counts)).astype(np.float32)
    names, weights = [str(c) for c in classes], np.ones(len(classes), np.float32)
    for part in text.split(","):
        name, equals, number = part.rpartition("=")
        if not equals:
            raise InputError(f"class_weight {part!r} is no weight; write a=2,b=1, or balanced")
        if name.strip() not in names:
            raise unknown("class", name.strip(), names)
        try:
            weight = float(number)
        except ValueError:
            weight = -1.0
        if not 0 <= weight < math.inf:
            raise InputError(f"class_weight {part!r} is no number from 0; write {name.strip()}=2, say")
        weights[names.index(name.strip())] = weight
    return weights


def check_roles(frame: "pl.DataFrame", targets: Sequence[str], reading: Reading, group: str | None) -> None:
    for column in (group, reading.weight):
        if column is not None:
            check_column(frame, column)
        if column in targets:
            raise InputError(f"column {column!r} is the target; group and weight are other columns")
    if reading.task not in (None, *TASKS):
        raise unknown("task", reading.task, TASKS)


def check_class_weight(weight: str | None, targets: Sequence[str], classes: Sequence[Any]) -> None:
    """Raise an error if the classes have weights and there are none, or several targets have classes."""
    if weight and not classes:
        raise InputError(f"class_weight {weight!r} is for classes; target {targets[0]!r} sets a regression")
    if weight and len(targets) > 1:
        raise InputError(
            f"class_weight {weight!r} is for one target, and there are {len(targets)}; weigh the rows by a"
            " column (--weight), or train a run for each target"
        )


def _check_classes(y: np.ndarray, classes: Sequence[Sequence[Any]]) -> None:
    """Refuse training rows that lack a class; without classes do nothing."""
    for of_target, own in zip(y.reshape(len(y), -1).T, classes, strict=False):
        if len(np.unique(of_target)) < len(own):
            gone = next(c for i, c in enumerate(own) if i not in of_target)
            raise InputError(f"class {gone!r} has no training row after the split; choose another split")


def inputs_of(frame: "pl.DataFrame", others: set[str | None], targets: Sequence[str]) -> "pl.DataFrame":
    """Return the columns to predict from: all but the others."""
    inputs = frame.drop([c for c in others if c])
    if inputs.width == 0:
        raise InputError(
            f"the data has no column beside {listed(map(repr, targets))}, there is nothing to predict from;"
            " the separators that are known are comma, semicolon, tab and |"
        )
    return inputs


def labels_of(values: "pl.Series", task: str | None, kind: Kind) -> Labels:
    """Return which rows have a target, its task, the classes, and the labels of those rows."""
    import polars as pl

    example = values.drop_nulls().first()
    if values.dtype == pl.Duration:
        raise InputError(
            f"target {values.name!r} holds lengths of time, such as {example}; give"
            " numbers, for example seconds: y.dt.total_seconds()"
        )
    if kind.name == "date":
        raise InputError(
            f"target {values.name!r} holds dates, such as {example}; give numbers, for example the days since"
            " a date"
        )
    read = typed(values, kind)
    if kind.name == "number":
        numbers(values, kind)  # an infinite one is named by its row in the table
    present = read.is_not_null()
    lacking = read.null_count()
    if lacking > len(read) / 2:
        raise InputError(
            f"target {values.name!r} is missing in {lacking} of {len(read)} rows, more than half"
        )
    task = task or infer_task(read)
    cells = read_target(values, kind, task).filter(present)
    classes = classes_of(cells) if task == "classification" else ()
    y = encode(cells, classes)
    _check_target(y, classes, values.name)
    return Labels(present, task, classes, y)


def read_target(values: "pl.Series", kind: Kind, task: str) -> "pl.Series":
    """Return the cells of a target, ready for `encode`; null where missing."""
    read = typed(values, kind)
    return _as_classes(values, read, kind) if task == "classification" else read


def cells_of_target(values: "pl.Series", classes: tuple[Any, ...], numerals: Numerals) -> "pl.Series":
    """Return the cells of a trained network's target, ready for `encode`; null where missing."""
    whole = not classes or type(classes[0]) is int
    kind = Kind("number" if whole else "category", numerals, missing=MISSING)
    read = typed(values, kind)
    return _as_classes(values, read, kind) if classes else read


def _as_classes(values: "pl.Series", read: "pl.Series", kind: Kind) -> "pl.Series":
    """Return classes as they are written, so that no digit is lost; null where `read`, the value, is."""
    if not kind.numerals.plain:
        return read
    return values.zip_with(read.is_not_null(), values.clear(1))


def _groups(values: "pl.Series") -> np.ndarray:
    """Each row's group as text; those without one are one."""
    import polars as pl

    return values.cast(pl.String).fill_null("").to_numpy()


def weights_of(frame: "pl.DataFrame", weight: str | None, kinds: Mapping[str, Kind]) -> np.ndarray:
    """Each row's weight; 1 where the frame has no such column."""
    if weight is None or weight not in frame.columns:
        return np.ones(frame.height, np.float32)
    values = frame[weight]
    x = numbers(values, replace(kinds[weight], name="number"))
    bad = ~(x >= 0)
    if bad.any():
        row = int(bad.argmax())
        raise RowError(f"weight {values.name!r} is {x[row]} in", row + 1, "; weights are numbers >= 0")
    return x.astype(np.float32)


def tell_task(target: str, labels: Labels, reading: Reading, notice: Notice) -> None:
    """Say which task was decided on, unless the user has named it."""
    if reading.task is None:
        task, classes = labels.task, len(labels.classes)
        distinct = f"{classes} distinct classes" if classes else f"{len(np.unique(labels.y))} distinct values"
        notice(
            Guess(f"the task is {task}: {target!r} has {distinct}; --task says otherwise", f"--task {task}")
        )


def check_spread(target: str, least: float, largest: float, mean: float, spread: float) -> None:
    """Raise an error if float32 cannot tell the values of a regression apart."""
    if least == largest:
        raise InputError(f"target {target!r} holds one value only, {least:g}; there is nothing to learn")
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


def _check_target(y: np.ndarray, classes: Sequence[Any], target: str) -> None:
    if not classes:
        check_spread(target, float(y.min()), float(y.max()), float(y.mean()), float(y.std()))
        return
    if len(classes) < 2:
        raise InputError(f"target {target!r} holds one class only, {classes[0]!r}; there is nothing to learn")
    counts = np.bincount(y)
    if counts.min() < 2:
        name = classes[int(counts.argmin())]
        raise InputError(f"class {name!r} of target {target!r} has one row; give it more, or drop it")


def tell_columns(inputs: "pl.DataFrame", columns: Columns, kinds: dict[str, Kind], notice: Notice) -> None:
    """Say which columns are left out, or may be of no use."""
    if names := [c.name for c in columns.columns if c.kind == "constant"]:
        notice(f"columns left out, being constant: {listed(names)}")
    for c in columns.columns:
        name = quote(c.name)
        if isinstance(c, LeftOut) and c.kind == "text":
            text = f"{c.name!r} is left out, being another text in nearly every row"
            notice(Guess(f"{text}; --id {name} writes it beside predictions", f"--drop {name}"))
        elif c.kind == "number" and numbers_rows(inputs[c.name], kinds[c.name]):
            notice(
                f"{c.name!r} may number the rows, which says nothing of new ones; --drop {name} leaves it out"
            )
        elif isinstance(c, Category):
            _tell_levels(c, inputs[c.name], notice)


def _tell_levels(column: Category, values: "pl.Series", notice: Notice) -> None:
    """Say of a category if it has so many levels that few may be learned."""
    distinct = values.n_unique()
    if len(column.levels) == MOST_LEVELS:
        notice(f"of the levels of {column.name!r} the {MOST_LEVELS:,} most frequent are told apart")
    elif distinct > FEW and 2 * distinct > len(values):
        text = f"{column.name!r} is a category of {distinct} levels in {counted(len(values), 'row')}"
        notice(f"{text}, of which those of one row are one; --drop {quote(column.name)} leaves it out")


def _tell_duplicates(
    frame: "pl.DataFrame",
    there: np.ndarray,
    train: np.ndarray,
    valid: "pl.DataFrame | None",
    known: list[str],
    notice: Notice,
) -> None:
    """Say how many held-out rows are also training rows; `there` are the numbers of all of them."""
    hashes = _hashes(frame, known)[there]
    others = [hashes[~train], *([] if valid is None else [_hashes(valid, known)])]
    seen = hashes[train]
    seen.sort()  # `np.isin` would take several times as much memory
    last = len(seen) - 1
    both = sum(int((seen[np.minimum(np.searchsorted(seen, held), last)] == held).sum()) for held in others)
    if both:
        doubles = f"{counted(both, 'held-out row')} with an exact double among the training rows"
        notice(f"{doubles}: scores may flatter")


def _hashes(frame: "pl.DataFrame", names: list[str]) -> np.ndarray:
    """Return a hash of each row, of some of its columns; of some rows at a time, which takes less memory."""
    parts = frame.select(names).iter_slices(SLICE)
    return np.concatenate([part.hash_rows().to_numpy() for part in parts])
