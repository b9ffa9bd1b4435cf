"""What each column of a table holds, as its cells tell or the user says; and its cells as values."""

from collections.abc import Mapping
from dataclasses import dataclass
from shlex import quote
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mlpax.data.dates import Told, read_clock, read_dates, tell_clock, tell_dates
from mlpax.data.numerals import (
    FEW_ROWS,
    MARKS,
    MISSING,
    PLAIN,
    Doubtful,
    Numerals,
    decimal_shown,
    read_numerals,
    tell_lost_digits,
    tell_marks,
    tell_numerals,
    without,
)
from mlpax.data.reading import Reading
from mlpax.data.text import is_prose, memory_of
from mlpax.errors import Guess, InputError, Notice, RowError, listed

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "LARGEST_INPUT",
    "Kind",
    "as_text",
    "is_constant",
    "kind_of_type",
    "memory_of_texts",
    "numbers",
    "numbers_rows",
    "tell_kinds",
    "typed",
    "with_values",
]

LARGEST_INPUT = float(np.finfo(np.float32).max)  # the network's numbers are float32
TOGETHER = 1 << 20  # cells of several columns that are looked at together
COMPACT = 19000101, 21001231  # whole numbers between these may be dates: 20240131


@dataclass(frozen=True)
class Kind:
    """How the cells of a column are read.

    Attributes
    ----------
    name : {"number", "category", "date", "text", "constant", "id", "drop"}
    numerals : Numerals
        How text writes numbers.
    clock : bool
        Whether the numbers are times of day or lengths of time, in seconds.
    format : str
        How text writes dates, see `dates.read_dates`.
    missing : tuple of str
        Texts that stand for a missing cell: of a date beyond the usual ones, of a category or text all.
    lenient : bool
        Whether every cell that is no date is missing, as the user says.
    """

    name: str
    numerals: Numerals = PLAIN
    clock: bool = False
    format: str = ""
    missing: tuple[str, ...] = ()
    lenient: bool = False


def tell_kinds(
    frame: "pl.DataFrame",
    reading: Reading = Reading(),
    notice: Notice = lambda text: None,
    refused: dict[str, InputError] | None = None,
) -> dict[str, Kind]:
    """Tell what each column holds, from all its cells.

    Parameters
    ----------
    frame : polars.DataFrame
        Text without blanks around, and null where a cell is empty.
    reading : Reading, optional
        What the user says; it is taken as it is.
    notice : callable, optional
        Called with a line for each guess, and for what is taken as missing.
    refused : dict, optional
        Where the errors of columns are put, by their names. By default the first is raised.

    Raises
    ------
    InputError
        If a column's cells can be read in two ways, or most are numbers or dates and too many are none;
        with the column, a cell, its row, and the option that decides.
    """
    import polars as pl

    plainly = _plainly(frame, reading)
    told = {values.name: plainly.get(values.name) or _told(values, reading) for values in frame.get_columns()}
    doubtful = [name for name, column in told.items() if isinstance(column.error, Doubtful)]
    sure = {
        name: column.kind.numerals
        for name, column in told.items()
        if column.kind.name == "number" and frame[name].dtype == pl.String
    }
    if any(numerals.decimal == "," for numerals in sure.values()):  # then 1.234 may be 1234
        pointed = [name for name, numerals in sure.items() if numerals.plain]
        doubtful += [name for name in pointed if frame[name].str.contains(".", literal=True).any()]
    if doubtful:  # the others may show the file's decimal mark
        shown = {decimal_shown(frame[name], sure[name]) for name in sure.keys() - {*doubtful}} - {None}
        mark = shown.pop() if len(shown) == 1 else None
        told |= {name: _told(frame[name], reading, mark) for name in doubtful}
    for name, column in told.items():
        for text in column.notices:
            notice(text)
        if column.error is not None:
            if refused is None:
                raise column.error
            refused[name] = column.error
    if commas := [name for name, column in told.items() if column.kind.numerals.decimal == ","]:
        notice(f"numbers with decimal commas in {listed(map(repr, commas))}")
    return {name: column.kind for name, column in told.items()}


class _Told(NamedTuple):
    """What a column holds, and what is to be said of it; or the error."""

    kind: Kind
    notices: list[str]
    error: InputError | None = None


def _plainly(frame: "pl.DataFrame", reading: Reading) -> dict[str, _Told]:
    """Tell the columns of text that hold only plain numbers below `COMPACT`, or only words without a digit.

    `_told` tells the same of them. Here many columns are one, as a look at a column takes as long as one at
    thousands of cells.
    """
    import polars as pl

    if reading.decimal or reading.thousands or reading.missing:
        return {}
    others = {*reading.targets, *reading.kinds}
    columns: list[pl.Series] = [
        v for v in frame.get_columns() if v.dtype == pl.String and v.name not in others
    ]
    step = max(1, TOGETHER // max(1, frame.height))
    found: dict[str, _Told] = {}
    for start in range(0, len(columns) if frame.height else 0, step):
        some = columns[start : start + step]
        numbers, words = np.ones((2, len(some)), bool)
        for row in range(0, frame.height, TOGETHER):  # what is computed of all rows would take much memory
            cells = pl.concat([values[row : row + TOGETHER].rename("") for values in some])
            x = cells.cast(pl.Float64, strict=False)
            lacks, number = cells.is_null(), (x.abs() < COMPACT[0]) & ~cells.str.contains(r"^0\d")
            word = (
                x.is_null() & cells.str.contains(r"^[ -/:-~]*$") & ~cells.str.to_lowercase().is_in([*MARKS])
            )
            masks = [(lacks | mask.fill_null(value=False)).to_numpy() for mask in (number, word)]
            for whole, mask in zip((numbers, words), masks, strict=True):
                whole &= np.all(mask.reshape(len(some), -1), axis=1)
        for values, is_number, is_word in zip(some, numbers, words, strict=True):
            distinct = values.n_unique() - (values.null_count() > 0)
            if distinct > 1 and is_number:
                found[values.name] = _Told(Kind("number"), [])
            elif distinct > 1 and is_word and not is_prose(values):
                found[values.name] = _Told(Kind("category", missing=MISSING), [])
    return found


def _told(values: "pl.Series", reading: Reading, shown: str | None = None) -> _Told:
    """Tell what a column holds; `shown` is the decimal mark of other columns."""
    asked = reading.kinds.get(values.name)
    try:
        kind, notices = _tell(values, asked, reading, shown)
    except InputError as error:
        return _Told(Kind("category"), [], error)
    return _Told(kind, notices if asked is None else [str(text) for text in notices])  # no guess


def _tell(
    values: "pl.Series", asked: str | None, reading: Reading, shown: str | None
) -> tuple[Kind, list[str]]:
    import polars as pl

    if asked in ("id", "drop"):
        return Kind(asked), []
    if values.dtype.is_nested() or isinstance(values.dtype, (pl.Object, pl.Binary)):
        raise InputError(f"column {values.name!r} is of type {values.dtype}; give numbers, text or dates")
    if asked in ("category", "text"):
        return Kind(asked, missing=(*MISSING, *reading.missing) if asked == "text" else reading.missing), []
    if values.dtype == pl.String:
        return _tell_text(values, asked, reading, shown)
    clock = isinstance(values.dtype, (pl.Time, pl.Duration))
    if asked is None and is_constant(values) and values.name not in reading.targets:
        return Kind("constant"), []
    return Kind(asked or kind_of_type(values.dtype), clock=clock, missing=(*MISSING, *reading.missing)), []


def kind_of_type(dtype: "pl.DataType") -> str:
    """Return the kind of a column that is no text."""
    import polars as pl

    if dtype.is_numeric() or isinstance(dtype, (pl.Time, pl.Duration)):
        return "number"
    return "date" if dtype.is_temporal() else "category"


def _tell_text(
    values: "pl.Series", asked: str | None, reading: Reading, shown: str | None
) -> tuple[Kind, list[str]]:
    """Tell what a column of text holds: numbers, dates, or if neither a category; and what is to be said."""
    import polars as pl

    name, missing = values.name, (*MISSING, *reading.missing)
    present = without(values, reading.missing)
    x = present.cast(pl.Float64, strict=False)
    plain = x.count() == present.count()
    if asked is None:
        if name not in reading.targets and is_constant(_without(values, missing)):
            return Kind("constant"), []
        if plain and (code := _code(present)):
            text = f"column {name!r} holds codes with zeros in front, such as {code!r}, and is a category"
            return Kind("category", missing=missing), [_sure(text, name, "category", "number")]
    compact = plain and bool(x.is_between(*COMPACT).all()) and present.count() > 0
    if asked == "date" or (asked is None and (compact or not plain)):
        dates = tell_dates(present, reading.dates, forced=asked == "date")
        if dates is not None and not (compact and dates.missing):
            more = () if asked else dates.missing
            kind = Kind(
                "date", format=dates.format, missing=(*reading.missing, *more), lenient=asked is not None
            )
            return kind, _said_of_dates(values, present, dates, compact, reading)
    if asked == "date":
        raise InputError(
            f"column {name!r} holds no dates, as {values.drop_nulls().first()!r}; leave --column out"
        )
    if not plain and tell_clock(present):
        first = present.drop_nulls().head(1)
        text = f"column {name!r} holds times, in seconds: {first[0]!r} is {read_clock(first)[0]:g}"
        notices = [text, *tell_marks(values, present, reading.missing)]
        return Kind("number", Numerals(missing=reading.missing), clock=True), notices
    told = tell_numerals(
        values, present, decimal=reading.decimal, thousands=reading.thousands, missing=reading.missing,
        shown=shown, forced=asked == "number",
    )  # fmt: skip
    if told is None and asked == "number":
        raise InputError(f"column {name!r} holds no number; leave --column out")
    if told is not None and told.numerals is not None:
        lost = [] if name in reading.targets else tell_lost_digits(present)
        return Kind("number", told.numerals), told.notices + lost
    notices = [] if told is None else told.notices
    notices = notices + tell_marks(values, _without(values, missing), reading.missing, always=True)
    if name != reading.target and is_prose(_without(values, missing)):
        text = f"column {name!r} holds free text, whose words are inputs"
        return Kind("text", missing=missing), [_sure(text, name, "text", "drop"), *notices]
    return Kind("category", missing=missing), notices


def _without(values: "pl.Series", texts: tuple[str, ...]) -> "pl.Series":
    """Return a column of text in which these are null, as they are written."""
    if len(values) <= FEW_ROWS and not {*texts}.intersection(values.to_list()):
        return values  # which takes a hundredth of the time of polars' look at a few cells
    return values.set(values.is_in(texts).fill_null(value=False), None)


def _said_of_dates(
    values: "pl.Series", present: "pl.Series", dates: Told, compact: bool, reading: Reading
) -> list[str]:
    """Return what is to be said of a column of dates."""
    name, row = values.name, present.is_not_null().arg_max() or 0
    notices = dates.notices + tell_marks(values, present, reading.missing)
    if compact:
        text = f"column {name!r} holds dates of eight digits, such as {present[row]!r}"
        return [*notices, _sure(text, name, "date", "number")]
    if dates.notices:
        return notices
    first = read_dates(present[row : row + 1], dates.format, lenient=True)[0]
    return [f"column {name!r} holds dates: {present[row]!r} is {first}", *notices]


def _sure(text: str, name: str, kind: str, other: str) -> Guess:
    """Return the guess that a column is of a kind, with the options for that and for another."""
    said = f"{text}; --column {quote(f'{name}={other}')} says otherwise"
    return Guess(said, f"--column {quote(f'{name}={kind}')}")


def _code(present: "pl.Series") -> str | None:
    """Return a cell with a zero in front if all are digits, as many in each, and at least two."""
    led = present.str.starts_with("0")
    if not led.any() or not present.str.contains(r"^\d{2,}$").all():
        return None
    if present.str.len_bytes().n_unique() - (present.null_count() > 0) > 1:
        return None
    return present.filter(led.fill_null(value=False))[0]


def is_constant(values: "pl.Series") -> bool:
    """Whether all rows have the same cell."""
    if values.null_count():
        return values.null_count() == len(values)
    return len(values) == 0 or bool((values == values[0]).all())


def typed(values: "pl.Series", kind: Kind) -> "pl.Series":
    """Return a column's cells as values, null where missing.

    Returns
    -------
    polars.Series
        Float64 of numbers, Datetime of dates; of a category text, and booleans as they are.

    Raises
    ------
    RowError
        If a cell is none of its kind.
    """
    import polars as pl

    if kind.name == "number":
        return _as_numbers(values, kind)
    if kind.name == "date":
        present = without(values, kind.missing) if values.dtype == pl.String else values
        return read_dates(present, kind.format, lenient=kind.lenient)
    if values.dtype == pl.Boolean:
        return values
    text = as_text(values)
    return _without(text, kind.missing) if kind.missing else text


def with_values(frame: "pl.DataFrame", kinds: dict[str, Kind]) -> "pl.DataFrame":
    """Return a table in which text of numbers and dates is read; text of bounds stays, which are more."""
    import polars as pl

    read = [
        typed(values, kinds[values.name])
        for values in frame
        if values.dtype == pl.String
        and kinds[values.name].name in ("number", "date")
        and not kinds[values.name].numerals.bounds
    ]
    return frame.with_columns(read)


def _as_numbers(values: "pl.Series", kind: Kind) -> "pl.Series":
    import polars as pl

    if values.dtype.is_numeric() or values.dtype == pl.Boolean:
        return values.cast(pl.Float64)
    if kind.clock:
        missing = kind.numerals.missing
        return read_clock(without(values, missing) if values.dtype == pl.String else values)
    return read_numerals(as_text(values), kind.numerals)


def numbers(values: "pl.Series", kind: Kind) -> np.ndarray:
    """Return a column of numbers as float64, NaN where missing.

    Raises
    ------
    RowError
        If a cell is no number, or infinite as a float32, with its row.
    """
    x = _as_numbers(values, kind).to_numpy()  # null is NaN
    large = np.abs(x) > LARGEST_INPUT
    if large.any():
        row = int(np.argmax(large))
        limits = f"; numbers lie within ±{LARGEST_INPUT:.1e}"
        raise RowError(f"column {values.name!r} holds {x[row]} in", row + 1, limits)
    return x


def memory_of_texts(frame: "pl.DataFrame", kinds: Mapping[str, Kind], rows: int) -> int:
    """Return about how much memory the columns of text of a table take beside their cells.

    Parameters
    ----------
    frame : polars.DataFrame
        Some rows of the table.
    kinds : mapping
        What the columns hold.
    rows : int
        All rows of the table.
    """
    texts = [frame[name] for name, kind in kinds.items() if kind.name == "text"]
    lengths = [as_text(values).str.len_chars().fill_null(0).to_numpy() for values in texts]
    return memory_of(rows, [float(of_column.mean()) for of_column in lengths if len(of_column)])


def numbers_rows(values: "pl.Series", kind: Kind) -> bool:
    """Whether whole numbers, one a row, have no gap or rise from row to row."""
    x = numbers(values, kind)
    if len(x) < 3 or np.isnan(x).any() or np.any(x != np.round(x)):
        return False
    return bool(np.all(np.diff(np.sort(x)) == 1) or np.all(np.diff(x) > 0))


def as_text(values: "pl.Series") -> "pl.Series":
    """A column of any type as text."""
    import polars as pl

    if values.dtype == pl.Boolean:
        return values.replace_strict({True: "true", False: "false"}, return_dtype=pl.String)
    if values.dtype.is_decimal():
        values = values.cast(pl.Float64)
    if values.dtype.is_float():  # 1.0 in one file is 1 in another
        whole = values.drop_nulls()
        if (whole == whole.round(0)).all() and (whole.abs() < 2**63).all():
            values = values.cast(pl.Int64, strict=False)
    return values.cast(pl.String)
