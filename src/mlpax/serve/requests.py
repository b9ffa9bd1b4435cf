"""Turn the body of a request into rows for a model, and the model's answers into JSON."""

import difflib
import itertools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, cast

import numpy as np

from mlpax.data.columns import Category, Date, Input, Number, Text
from mlpax.data.kinds import LARGEST_INPUT
from mlpax.errors import InputError, RowError, counted, escaped, listed, shortened
from mlpax.model.schema import Classes
from mlpax.serve.served import Served

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Asked", "Refusal", "answer", "asked_in_json", "frame_of", "inputs_of"]

SHOWN = 60  # characters of a value in a message
MOST_UNKNOWN = 100  # categories of a request that an answer names
LOOKED_AT = 100  # unknown names, for one that is similar to the missing one
FIELDS = ("records", "rows", "interval", "explain")

Cells = dict[str, list[object]]  # the cells of each column
Record = dict[str, object]


class Refusal(InputError):  # noqa: N818 - a fault of the client's
    """A request that is not answered.

    Attributes
    ----------
    status : int
        Of HTTP, from 400.
    field : str, optional
        Where the fault is, such as `records[3].age`.
    wait : int
        Seconds after which the client may send the request again, if that helps.
    """

    def __init__(self, status: int, message: str, field: str | None = None, *, wait: int = 1):
        super().__init__(message)
        self.status, self.field, self.wait = status, field, wait


@dataclass(frozen=True)
class Asked:
    """What a request asks.

    Attributes
    ----------
    rows : dict or array of shape (rows, features)
        The cells of each column of a table; else the rows, float32.
    count : int
        Number of rows.
    interval : float, optional
        The coverage of the ranges to answer with.
    explain : bool
        Whether to tell what each input contributed.
    pixels : bool
        Whether the row is an uploaded picture, to be shown as the network sees it.
    unknown : tuple of str
        The fields of the first categories that the model does not know.
    """

    rows: "Cells | np.ndarray"
    count: int
    interval: float | None = None
    explain: bool = False
    pixels: bool = False
    unknown: tuple[str, ...] = ()


# The body


def asked_in_json(served: Served, body: bytes, most_rows: int) -> Asked:
    """Return what a body of JSON asks.

    Raises
    ------
    Refusal
        If the body is no JSON, or does not fit the model. The message names the value and the remedy.
    """
    whole = _object(body)
    for name in (name for name in whole if name not in FIELDS):
        raise Refusal(422, f"there is no field {_seen(name)}; the body has {_fields(served)}", _cut(name))
    interval, explain = _interval(served, whole.get("interval")), whole.get("explain", False)
    if not isinstance(explain, bool):
        raise Refusal(422, f"explain is {_seen(explain)}; give true or false", "explain")
    name, other = ("records", "rows") if served.kind == "table" else ("rows", "records")
    if name not in whole:
        why = f"this model takes {served.a_kind}" if other in whole else "the body has no rows"
        raise Refusal(422, f"{why}; give {_fields(served)}", other if other in whole else name)
    if other in whole:
        raise Refusal(422, f"this model takes {name}, not {other}; leave {other} out", other)
    given = whole[name]
    if not isinstance(given, list) or not given:
        said = "is an empty list" if given == [] else f"is {_seen(given)}"
        raise Refusal(422, f"{name} {said}; give a list of at least one row", name)
    rows = cast("list[object]", given)
    if len(rows) > most_rows:
        raise Refusal(413, f"{name} has {len(rows)} rows; send at most {most_rows} in a request", name)
    if explain and len(rows) > 1:
        raise Refusal(422, f"explain is for one row, and {name} has {len(rows)}; send one", "explain")
    if name == "records":
        cells = _cells(served, rows)
        return Asked(cells, len(rows), interval, explain, unknown=_unknown(served, cells))
    plain = body.count(b'"') == 2 * len(whole) and not any(
        word in body for word in (b"true", b"false", b"null")
    )
    found = _array(served, rows, plain=plain)
    return Asked(found, len(rows), interval, explain)


def _fields(served: Served) -> str:
    return '{"records": [{...}]}' if served.kind == "table" else '{"rows": [[...]]}'


def _object(body: bytes) -> Record:
    """Return the JSON object of a body."""
    try:
        whole: object = DECODER.decode(body.decode("utf-8-sig"))
    except Refusal:
        raise
    except UnicodeDecodeError:
        raise Refusal(400, "the body is not UTF-8; send JSON in UTF-8") from None
    except RecursionError:
        raise Refusal(400, "the body is nested too deeply; send lists of numbers or records") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Refusal(400, f"the body is no JSON: {error.msg} at {where}; send a JSON object") from None
    except ValueError:  # a number of more digits than Python converts
        raise Refusal(400, "the body holds a number of thousands of digits; shorten the number") from None
    if not isinstance(whole, dict):
        raise Refusal(422, f"the body is {_seen(whole)}; send a JSON object")
    return cast(Record, whole)


def _no_constant(name: str) -> NoReturn:
    raise Refusal(400, f"the body holds {name}, which is no JSON; write null where a value is missing")


def _unique(pairs: list[tuple[str, object]]) -> Record:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    once = set[str]()
    twice = next(name for name, _ in pairs if name in once or once.add(name))
    raise Refusal(400, f"the name {_seen(twice)} stands twice in one object; keep one of them", _cut(twice))


DECODER = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_unique)


def _cut(name: str) -> str:
    """Return a name of the client's as a field."""
    return shortened(escaped(name), SHOWN)


def _seen(value: object) -> str:
    """Return a value for a message."""
    if isinstance(value, (dict, list)):
        return f"a JSON {'object' if isinstance(value, dict) else 'list'}"
    try:
        return shortened(json.dumps(value, ensure_ascii=False), SHOWN)
    except ValueError:  # a whole number of more digits than Python writes
        return "a number of thousands of digits"


def _interval(served: Served, value: object) -> float | None:
    """Return the coverage that a request asks for."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Refusal(422, f"interval is {_seen(value)}; give a share such as 0.9", "interval")
    own = served.model.intervals
    if own is None:
        raise Refusal(422, "this model was not trained on folds, which intervals need; leave interval out"
                      " or train with --folds 5", "interval")  # fmt: skip
    if not 0 < value < 1:
        raise Refusal(422, f"interval is {_seen(value)}; give a share in (0, 1), such as 0.9", "interval")
    try:
        own.quantile(value)
    except InputError as error:
        raise Refusal(422, str(error), "interval") from None
    return value


# Tables


def _cells(served: Served, rows: list[object]) -> Cells:
    """Return the cells of each column, checked."""
    inputs = served.inputs
    names = inputs.keys()
    for i, row in enumerate(rows):
        if not isinstance(row, dict):
            raise Refusal(422, f"records[{i}] is {_seen(row)}; give an object with a value for each column",
                          f"records[{i}]")  # fmt: skip
        if row.keys() != names:
            _check_names(served, cast(Record, row), i)
    records = cast("list[Record]", rows)
    return {name: _column(column, [record[name] for record in records]) for name, column in inputs.items()}


def _unknown(served: Served, cells: Cells) -> tuple[str, ...]:
    """Return the fields of the first categories that the model does not know."""
    fields = (
        f"records[{i}].{name}"
        for name, known in served.known.items()
        for i, cell in enumerate(cells[name])
        if cell not in known
    )
    return (*itertools.islice(fields, MOST_UNKNOWN),)


def _check_names(served: Served, record: Record, i: int) -> None:
    """Raise an error for a column that is missing or unknown."""
    strange = [name for name in record if name not in served.inputs and name not in served.ignored]
    for name in (name for name in served.inputs if name not in record):
        near = difflib.get_close_matches(name, strange[:LOOKED_AT], n=1)
        hint = f"is it {_seen(near[0])}? Then rename that" if near else "give a value, or null if it has none"
        raise Refusal(422, f"column {name!r} is missing; {hint}", f"records[{i}].{name}")
    for name in strange:
        if name in [target.name for target in served.model.targets]:
            raise Refusal(422, f"column {name!r} is what the model predicts; leave it out",
                          f"records[{i}].{name}")  # fmt: skip
        near = difflib.get_close_matches(name, served.inputs, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the model has {listed(served.inputs)}"
        raise Refusal(422, f"there is no column {_seen(name)}; {hint}",
                      f"records[{i}].{_cut(name)}")  # fmt: skip


def _column(column: Input, cells: list[object]) -> list[object]:
    """Return the cells of a column as the model takes them."""
    match column:
        case Number():
            text = column.clock or column.numerals.bounds  # which JSON has no numbers for
            return [
                cell if type(cell) is float and -LARGEST_INPUT <= cell <= LARGEST_INPUT
                else _number(column, cell, i, text=text)
                for i, cell in enumerate(cells)
            ]  # fmt: skip
        case Date():
            return [
                cell if cell is None or type(cell) is str else _refuse(column, cell, i, "a date as text")
                for i, cell in enumerate(cells)
            ]
        case Text():
            return [
                cell if cell is None or type(cell) is str else _refuse(column, cell, i, "a text, or null")
                for i, cell in enumerate(cells)
            ]
        case Category():
            return [cell if type(cell) is str else _level(column, cell, i) for i, cell in enumerate(cells)]


def _number(column: Number, cell: object, i: int, *, text: bool) -> object:
    if cell is None or (text and isinstance(cell, str)):
        return cell
    if isinstance(cell, bool) or not isinstance(cell, (int, float)):
        remedy = "a number without quotes, or null" if isinstance(cell, str) else "a number, or null"
        _refuse(column, cell, i, remedy)
    if not -LARGEST_INPUT <= cell <= LARGEST_INPUT:
        _refuse(column, cell, i, f"a number within ±{LARGEST_INPUT:.1e}")
    return float(cell)


def _level(column: Category, cell: object, i: int) -> object:
    """Return a category as text, with numbers as the reader of tables writes them."""
    if cell is None or isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, (int, float)):
        return str(int(cell) if abs(cell) < 2**63 and cell == int(cell) else cell)
    return _refuse(column, cell, i, "a text, or null")


def _refuse(column: Input, cell: object, i: int, remedy: str) -> NoReturn:
    raise Refusal(422, f"column {column.name!r} holds {_seen(cell)}; give {remedy}",
                  f"records[{i}].{column.name}")  # fmt: skip


def frame_of(served: Served, cells: Cells) -> "pl.DataFrame":
    """Return checked cells as a table."""
    import polars as pl

    return pl.DataFrame([_series(column, cells[name]) for name, column in served.inputs.items()])


def _series(column: Input, cells: list[object]) -> "pl.Series":
    """Return a column; numbers beside texts, such as `<0.5` or `12:30`, become text."""
    import polars as pl

    if not isinstance(column, Number):
        return pl.Series(column.name, cells, dtype=pl.String)
    if any(type(cell) is str for cell in cells):
        texts = [_written(column, cell) if isinstance(cell, float) else cell for cell in cells]
        return pl.Series(column.name, texts, dtype=pl.String)
    return pl.Series(column.name, cells, dtype=pl.Float64)


def _written(column: Number, value: float) -> str:
    """Return a number as a text that the column reads as the same number."""
    digits = np.format_float_positional(abs(value), trim="-")
    sign = "-" if value < 0 else ""
    if column.clock:
        return f"{sign}PT{digits}S"  # so many seconds, as ISO 8601 writes them
    return sign + digits.replace(".", column.numerals.decimal)


# Arrays and pictures


def _array(served: Served, rows: list[object], *, plain: bool) -> np.ndarray:
    """Return rows of numbers as an array, checked.

    NumPy also takes texts, booleans and null for numbers. Unless the body is `plain`, which has none of
    them, the rows are looked at one by one.
    """
    found = np.empty(0)
    try:
        found = np.array(rows, np.float64) if plain else found
        if found.ndim > 2 and found.shape[1:] in _shapes(served):
            found = found.reshape(len(rows), -1)
    except (ValueError, TypeError, OverflowError):  # not what it should be: `_row` says why
        found = np.empty(0)
    if found.shape != (len(rows), served.features):
        found = np.array([_row(served, row, i) for i, row in enumerate(rows)])
    lowest, highest = (0, served.highest) if served.kind == "picture" else (-LARGEST_INPUT, LARGEST_INPUT)
    if not (found.min() >= lowest and found.max() <= highest):
        i, k = np.argwhere(~((found >= lowest) & (found <= highest)))[0].tolist()
        limits = f"pixels of 0 to {highest}" if served.kind == "picture" else f"numbers within ±{highest:.1e}"
        raise Refusal(422, f"rows[{i}] holds {found[i, k]:g}; give {limits}", f"rows[{i}][{k}]")
    return found.astype(np.float32)


def _shapes(served: Served) -> list[tuple[int, ...]]:
    """Return the shapes that a nested row may have."""
    shape = served.model.image_shape
    return [] if shape is None else [shape, (*shape, 1)]


def _row(served: Served, row: object, i: int) -> list[float]:
    """Return the numbers of one row, or say what is wrong with it."""
    wanted = f"{served.features} numbers"
    if served.model.image_shape:
        wanted += f", or nested lists of {' x '.join(map(str, served.model.image_shape))}"
    field = f"rows[{i}]"
    if not isinstance(row, list):
        raise Refusal(422, f"{field} is {_seen(row)}; give a list of {wanted}", field)
    flat = _flat(cast("list[object]", row), field, 3 if served.model.image_shape else 1)
    if len(flat) != served.features:
        raise Refusal(422, f"{field} has {counted(len(flat), 'number')}; give {wanted}", field)
    try:
        shape = np.array(row, np.float64).shape
    except ValueError:  # lists of different lengths
        shape = ()
    if shape not in [(served.features,), *_shapes(served)]:
        raise Refusal(422, f"{field} has lists of other lengths than the pictures; give {wanted}", field)
    return flat


def _flat(values: list[object], field: str, depth: int) -> list[float]:
    """Return the numbers of nested lists in their order."""
    found: list[float] = []
    for k, value in enumerate(values):
        own = f"{field}[{k}]"
        if isinstance(value, list) and depth > 1:
            found += _flat(cast("list[object]", value), own, depth - 1)
        elif isinstance(value, bool) or not isinstance(value, (int, float)):
            remedy = "; give a number without quotes" if isinstance(value, str) else "; give a number"
            raise Refusal(422, f"{own} is {_seen(value)}{remedy}", own)
        elif not abs(value) <= LARGEST_INPUT:
            raise Refusal(422, f"{own} is {_seen(value)}; give numbers within ±{LARGEST_INPUT:.1e}", own)
        else:
            found.append(float(value))
    return found


# The answers


def answer(served: Served, asked: Sequence[Asked]) -> list["Record | Refusal"]:
    """Return the answer to each request, from one call of the model for the rows of all.

    If the model refuses a row, each request is answered by itself. So a request cannot fail another.

    Parameters
    ----------
    served : Served
    asked : sequence of Asked
        Requests that were checked against this model.
    """
    try:
        return list(_answers(served, asked))
    except InputError as error:
        if len(asked) > 1:
            return [one for each in asked for one in answer(served, [each])]
        return [_refusal(served, asked[0], error)]


def _answers(served: Served, asked: Sequence[Asked]) -> Iterator[Record]:
    """Yield the answer to each request, from one call of the model."""
    outputs = served.model.of_members(inputs_of(served, asked))
    predictions, start = _predictions(served, outputs), 0
    for each in asked:
        end = start + each.count
        own = predictions[start:end]
        if each.interval is not None:
            _add_ranges(served, outputs[:, start:end], each.interval, own)
        yield {"predictions": own, "unknown": [*each.unknown]} if each.unknown else {"predictions": own}
        start = end


def inputs_of(served: Served, asked: Sequence[Asked]) -> np.ndarray:
    """Return the rows of all requests as the networks take them."""
    first = asked[0].rows
    if isinstance(first, np.ndarray):
        return first if len(asked) == 1 else np.concatenate([cast(np.ndarray, each.rows) for each in asked])
    every = [cast(Cells, each.rows) for each in asked]
    cells = first if len(every) == 1 else {n: [cell for one in every for cell in one[n]] for n in first}
    return served.model.inputs(frame_of(served, cells))


def _refusal(served: Served, asked: Asked, error: InputError) -> Refusal:
    """Return what the model said of a request's rows, with the place of the fault."""
    if isinstance(asked.rows, np.ndarray):
        field = f"rows[{error.row}]" if isinstance(error, RowError) else None
        return Refusal(422, str(error), field)
    frame = frame_of(served, asked.rows)
    for name, column in served.inputs.items():
        if found := _first_fault(column, frame[name]):
            i, own = found
            text = f"{own.before}{own.after}" if isinstance(own, RowError) else str(own)
            text = text.replace(" in,", ",").replace(" in;", ";")
            remedy = "" if ";" in text else f"; give {_wanted(column)}"
            return Refusal(422, f"{text}{remedy}", f"records[{i}].{name}")
    return Refusal(422, str(error), f"records[{error.row}]" if isinstance(error, RowError) else None)


def _wanted(column: Input) -> str:
    """Return what a cell of a column may be, where a text that it does not read was sent."""
    match column:
        case Date():
            return "a date such as 2024-12-31, or null"
        case Number(clock=True):
            return "a time such as 12:30, seconds as a number, or null"
        case Number():
            return "a number without quotes, a bound such as <0.5, or null"
        case _:
            return "a text, or null"


def _first_fault(column: Input, cells: "pl.Series") -> tuple[int, InputError] | None:
    """Return the row of the first cell that a column does not read, and what the column says of the cell.

    A column of thousands of cells is read in halves. Cell by cell it would take minutes.
    """
    try:
        column.read(cells)
    except InputError as error:
        half = len(cells) // 2
        if not half:
            return 0, error
        if found := _first_fault(column, cells[:half]):
            return found
        found = _first_fault(column, cells[half:])
        return found and (half + found[0], found[1])
    return None


def _predictions(served: Served, outputs: np.ndarray) -> list[Record]:
    """Return the prediction of each row, for each network's outputs, (members, rows, outputs)."""
    model = served.model
    joined = model.joined(outputs)
    if model.task == "classification":
        each = model.by_target(model.probabilities(joined))
        of_targets = [
            _of_classes(target.classes, labels, logits, p)
            for target, labels, logits, p in zip(
                model.targets, served.labels, model.by_target(joined), each, strict=True
            )
        ]
        if len(of_targets) == 1:
            return of_targets[0]
        return [
            {name: dict(zip(model.names, (own[name] for own in row), strict=True)) for name in row[0]}
            for row in zip(*of_targets, strict=True)
        ]
    if len(model.targets) == 1:
        return [{"prediction": _short(value)} for value in joined[:, 0].tolist()]
    names = [target.name or str(i) for i, target in enumerate(model.targets)]
    return [{"prediction": dict(zip(names, map(_short, row), strict=True))} for row in joined.tolist()]


def _of_classes(
    classes: Classes, labels: Sequence[str], logits: np.ndarray, probabilities: np.ndarray
) -> list[Record]:
    """Return the likeliest class of each row and the probability of each class, for one target."""
    best = logits.argmax(axis=1).tolist()
    shares = [[round(value, 6) for value in row] for row in probabilities.tolist()]
    return [
        {"prediction": classes[k], "probabilities": dict(zip(labels, row, strict=True))}
        for k, row in zip(best, shares, strict=True)
    ]


def _add_ranges(served: Served, outputs: np.ndarray, interval: float, predictions: list[Record]) -> None:
    """Add to each prediction the range, or the set of classes, that holds the truth so often."""
    model = served.model
    if model.task == "classification":
        kept = model.set_of(model.probabilities(model.joined(outputs)), interval)
        for one, row in zip(predictions, kept, strict=True):
            one["set"] = [model.classes[k] for k in np.flatnonzero(row)]
    else:
        for one, (low, high) in zip(predictions, model.interval_of(outputs, interval).tolist(), strict=True):
            one |= {"low": _short(low), "high": _short(high)}


def _short(value: float) -> float:
    """Return a number in the seven digits that float32 holds."""
    return float(f"{value:.7g}") if math.isfinite(value) else value
