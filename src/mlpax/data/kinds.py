"""What a table's column holds (numbers, dates, a category, or one value), and its cells as numbers."""

import itertools
import math
import re
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from mlpax.data.tables import DOUBTFUL, as_text, cleaned
from mlpax.errors import InputError, RowError

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "DATE_FORMATS",
    "DATE_PARTS",
    "Kind",
    "check_separated",
    "date_order",
    "date_parts",
    "is_constant",
    "kind_of",
    "numbers",
    "numbers_rows",
    "tidied",
    "tidy_numbers",
    "with_nulls",
]

DATE_FORMATS = ("%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y%m%dT%H%M%S", "%d.%m.%Y", "%m/%d/%Y",
                "%Y/%m/%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%d/%m/%Y",
                "%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f%#z", "%d.%m.%Y %H:%M", "%m/%d/%Y %H:%M",
                "%d/%m/%Y %H:%M")  # fmt: skip
# A number by commas, or with its thousands set off by points: 1,234.5 or 1,5 or 1.234.567
SEPARATED = r"^[+-]?(?:\d{1,3}(?:(?:,\d{3})+(?:\.\d+)?|(?:\.\d{3}){2,}(?:,\d+)?)|\d*,\d+)$"
LARGEST_INPUT = float(np.finfo(np.float32).max)  # the network's numbers are float32
DATE_PARTS = ("days", "year", "month", "day", "weekday", "hour")


def _check_cells(values: "pl.Series") -> None:
    import polars as pl

    if values.dtype.is_nested() or isinstance(values.dtype, (pl.Object, pl.Binary)):
        raise InputError(f"column {values.name!r} is of type {values.dtype}; give numbers, text or dates")


def with_nulls(values: "pl.Series") -> "pl.Series":
    """The same column with NaN as null; refused if its cells are no single values."""
    _check_cells(values)
    return values.fill_nan(None) if values.dtype.is_float() else values


def tidied(frame: "pl.DataFrame") -> "pl.DataFrame":
    """The same columns with their cells as in a CSV; refused as `with_nulls` refuses."""
    for values in frame:
        _check_cells(values)
    return cleaned(frame)


class Kind(NamedTuple):
    """A column's kind, and of a date in text its format."""

    name: str
    date_format: str = ""


def is_constant(values: "pl.Series") -> bool:
    distinct = values.drop_nulls().n_unique()
    return distinct == 0 or (distinct == 1 and not values.null_count())


def kind_of(values: "pl.Series") -> Kind:
    """What a column holds, told of all its cells.

    Raises
    ------
    InputError
        If it holds numbers or dates but for a slip, with its row, dates written in two ways, or numbers by
        commas or in thousands.
    """
    import polars as pl

    values = tidied(values.to_frame()).to_series()
    if is_constant(values):
        return Kind("constant")
    if values.dtype.is_temporal():
        return Kind("date")
    if values.dtype.is_numeric():
        return Kind("number")
    if values.dtype != pl.String:
        return Kind("category")
    parsed = values.cast(pl.Float64, strict=False)
    if parsed.null_count() == values.null_count():
        return Kind("number")
    _check_slip(values, parsed, "numbers")
    check_separated(values)
    date_format = _date_format(values)
    return Kind("date", date_format) if date_format else Kind("category")


def _check_slip(values: "pl.Series", parsed: "pl.Series", what: str) -> None:
    """Refuse one in a hundred, or the one, beside many different values; codes are fewer."""
    bad, present = parsed.null_count() - values.null_count(), values.len() - values.null_count()
    if bad <= max(1, present / 100) and parsed.drop_nulls().n_unique() > max(10, min(50, present / 2)):
        row = _first(values.is_not_null() & parsed.is_null())
        raise InputError(
            f"column {values.name!r} holds {what} but {values[row]!r} in row {row + 1};"
            " mend it, or empty the cell"
        )


def check_separated(values: "pl.Series") -> None:
    """Refuse text of numbers by commas or in thousands, which would be as many categories.

    Raises
    ------
    InputError
        With the first such cell.
    """
    import polars as pl

    separated = values.str.contains(SEPARATED)
    if separated.any() and (separated | values.cast(pl.Float64, strict=False).is_not_null()).all():
        row = _first(separated.fill_null(value=False))
        text = values[row]
        first = next(c for c in text if c in ",.")
        whole, fraction = text.replace(first, "").replace(",", "."), text.replace(",", ".")
        if re.fullmatch(DOUBTFUL, text):
            number = f"{whole} or {fraction}0"
        else:
            number = whole if text.count(first) > 1 or {",", "."} <= set(text) else fraction
        raise InputError(
            f"column {values.name!r} holds {text!r} in row {row + 1}, which is no number here;"
            f" write {number}, or put a letter to it if it is a code"
        )


def _date_format(values: "pl.Series") -> str:
    """The format that every cell is a date in; "" where they are no dates.

    Raises
    ------
    InputError
        If they are dates but for a slip, or in two formats.
    """
    found: list[pl.Series] = []
    present = values.len() - values.null_count()
    if values.str.contains(r"\d").sum() < 0.9 * present:  # spares the trouble
        return ""
    for text in DATE_FORMATS:
        dates = values.str.to_datetime(text, strict=False)
        if dates.null_count() == values.null_count():
            return text
        if dates.null_count() < values.len():
            found.append(dates)
    if values.str.contains(r"\d{4}").sum() < 0.9 * present:  # codes as 1.2.3
        return ""
    for one, other in itertools.combinations((dates.is_not_null() for dates in found), 2):
        if (one | other).sum() == present:
            rows = _first(one & ~other), _first(other & ~one)
            first, second = (f"{values[row]!r} in row {row + 1}" for row in rows)
            raise InputError(
                f"column {values.name!r} holds dates written in two ways, {first} and {second};"
                " write all one way, as 2024-12-31 or 2024-12-31 23:59:00"
            )
    for dates in found:
        _check_slip(values, dates, "dates")
    return ""


def date_order(date_format: str) -> str:
    """How dates as 03/04/2024 are read, where a wrong guess would be silent."""
    if date_format.startswith("%m/"):
        return "month/day/year"
    return "day/month/year" if date_format.startswith("%d/") else ""


def _first(mask: "pl.Series") -> int:
    return cast(int, mask.arg_max())


def numbers(values: "pl.Series") -> np.ndarray:
    """A column as float64, NaN where missing.

    Raises
    ------
    InputError
        If a cell is no number, or infinite as a float32, with its row.
    """
    return tidy_numbers(tidied(values.to_frame()).to_series())


def tidy_numbers(values: "pl.Series") -> np.ndarray:
    """The same of a column that is `tidied`."""
    import polars as pl

    if values.dtype.is_numeric() or values.dtype == pl.Boolean:
        cast_ = values.cast(pl.Float64)
    else:
        text = as_text(values)
        cast_ = text.cast(pl.Float64, strict=False)
        if cast_.null_count() > text.null_count():
            row = _first(text.is_not_null() & cast_.is_null())
            raise RowError(f"column {values.name!r} holds {text[row]!r} in", row + 1, ", which is no number")
    x = cast_.fill_null(math.nan).to_numpy()
    large = np.abs(x) > LARGEST_INPUT
    if large.any():
        row = int(np.argmax(large))
        limits = f"; numbers lie within ±{LARGEST_INPUT:.1e}"
        raise RowError(f"column {values.name!r} holds {x[row]} in", row + 1, limits)
    return x


def numbers_rows(values: "pl.Series") -> bool:
    """Whether whole numbers, one a row, have no gap or rise from row to row."""
    x = numbers(values)
    if values.null_count() or len(x) < 3 or np.any(x != np.round(x)):
        return False
    return bool(np.all(np.diff(np.sort(x)) == 1) or np.all(np.diff(x) > 0))


def date_parts(values: "pl.Series", date_format: str, name: str) -> np.ndarray:
    """Calendar parts of dates, NaN where missing: (rows, 6), float64."""
    import polars as pl

    if values.null_count() == values.len():  # of whatever type no cell makes it
        return np.full((values.len(), len(DATE_PARTS)), math.nan)
    dates = values
    if values.dtype == pl.String:
        formats = [date_format] if date_format else DATE_FORMATS  # those fitted were no text
        read = [values.str.to_datetime(f, strict=False).cast(pl.Datetime("us")) for f in formats]
        dates, *others = sorted(read, key=lambda dates: dates.null_count())
        if dates.null_count() > values.null_count():
            row = _first(values.is_not_null() & dates.is_null())
            why = f", which is no date as {formats[0]}"
            raise RowError(f"column {name!r} holds {values[row]!r} in", row + 1, why)
        for other in others:  # the month first, or the day
            differs = (other != dates).fill_null(value=False)
            if other.null_count() == values.null_count() and differs.any():
                row = _first(differs)
                either = f"{dates[row]:%Y-%m-%d} or {other[row]:%Y-%m-%d}"
                why = f", which may be one of two dates; write {either}"
                raise RowError(f"column {name!r} holds {values[row]!r} in", row + 1, why)
    if not dates.dtype.is_temporal():
        raise InputError(f"column {name!r} is of type {values.dtype}, not a date")
    if dates.dtype == pl.Time or dates.dtype == pl.Duration:
        x = dates if dates.dtype == pl.Time else dates.cast(pl.Duration("us"))
        x = x.cast(pl.Int64).cast(pl.Float64).fill_null(math.nan).to_numpy()
        return np.repeat(x[:, None], len(DATE_PARTS), axis=1)
    dates = dates.cast(pl.Datetime("us"))
    parts = [
        dates.cast(pl.Int64).cast(pl.Float64) / 86_400e6,
        dates.dt.year(), dates.dt.month(), dates.dt.day(), dates.dt.weekday(), dates.dt.hour(),
    ]  # fmt: skip
    return np.stack([p.cast(pl.Float64).fill_null(math.nan).to_numpy() for p in parts], axis=1)
