"""Read ARFF, Weka's text: attributes of declared types, then rows."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mlpax.data.memory import CELL, COLUMN, refuse_beyond
from mlpax.data.packed import TEXT
from mlpax.errors import InputError, counted, listed, shortened

if TYPE_CHECKING:
    import polars as pl

__all__ = ["read_arff"]

NUMERIC = ("numeric", "real", "integer")
QUOTED = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
ATTRIBUTE = re.compile(rf"@attribute\s+({QUOTED}|[^\s{{'\"][^\s{{]*+)\s*+(.+)", re.IGNORECASE | re.DOTALL)
CELL_OF_ROW = re.compile(rf"\s*+({QUOTED}|[^,'\"]*+)\s*+(,|\Z)")
ESCAPED = re.compile(r"\\(.)")
ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
DATE = re.compile(r"date(?:\s+(.+))?", re.IGNORECASE)
USUAL_DATE = "yyyy-MM-dd'T'HH:mm:ss"
# Java's letters of a date, which stand as often as here; and text between apostrophes
DATE_PARTS = {"yyyy": "%Y", "yy": "%y", "MM": "%m", "dd": "%d", "HH": "%H", "mm": "%M", "ss": "%S"}


class Attribute(NamedTuple):
    """A column as the file declares it."""

    name: str
    type: str  # "number", "level", "text", or how dates are written, for strptime
    levels: frozenset[str] = frozenset()


def read_arff(path: Path, data: bytes, memory: str | None = None) -> "pl.DataFrame":
    """Return the table of a dense ARFF file, its columns of the types that the file declares.

    Numeric attributes are numbers, nominal ones categories whatever their levels look like, strings text.
    Dates in a format of years, months, days and times in digits are dates, others text. A bare `?` is
    missing.

    Parameters
    ----------
    path : path
        For messages.
    data : bytes
        The text in UTF-8.
    memory : str, optional
        The most memory that the table may take.

    Raises
    ------
    InputError
        If a line is none of ARFF, the rows are sparse or have weights, or a cell is none of its attribute's;
        with the line.
    """
    import polars as pl

    lines = enumerate(data.decode().split("\n"), 1)
    attributes = _attributes(path, lines)
    cells = data.count(b",") + data.count(b"\n")
    refuse_beyond(path, TEXT * len(data) + CELL * cells + COLUMN * len(attributes), memory)
    numbers: list[int] = []
    columns: list[list[str | None]] = [[] for _ in attributes]
    for number, line in lines:
        text = line.strip()
        if not text or text.startswith("%"):
            continue
        row = _row(path, text, number)
        if len(row) != len(attributes):
            raise InputError(
                f"{path} has {counted(len(row), 'cell')} in line {number}, but"
                f" {counted(len(attributes), 'attribute')}; mend the line"
            )
        numbers.append(number)
        for column, cell in zip(columns, row, strict=True):
            column.append(cell)
    return pl.DataFrame(
        {one.name: _typed(path, one, cells, numbers) for one, cells in zip(attributes, columns, strict=True)}
    )


def _attributes(path: Path, lines: Iterator[tuple[int, str]]) -> list[Attribute]:
    """Read the lines up to `@data`."""
    found: dict[str, Attribute] = {}
    for number, line in lines:
        text = line.strip()
        word = text.split(maxsplit=1)[0].lower() if text else ""
        if word == "@data":
            if not found:
                raise InputError(f"{path} declares no attribute above @data in line {number}")
            return [*found.values()]
        if word == "@attribute":
            one = _attribute(path, text, number)
            if one.name in found:
                raise InputError(
                    f"{path} has two attributes named {one.name!r}, in line {number}; rename one"
                )
            found[one.name] = one
        elif text and word != "@relation" and not text.startswith("%"):
            raise InputError(
                f"{path} has {shortened(text)!r} in line {number}, where ARFF has @attribute or @data"
            )
    raise InputError(f"{path} has no line @data, below which ARFF has its rows")


def _attribute(path: Path, text: str, number: int) -> Attribute:
    parts = ATTRIBUTE.fullmatch(text)
    name, type_ = (_bare(parts[1]), parts[2].strip()) if parts else ("", "")
    if type_.lower() in NUMERIC:
        return Attribute(name, "number")
    if type_.lower() == "string":
        return Attribute(name, "text")
    if date := DATE.fullmatch(type_):
        return Attribute(name, _strptime(_bare(date[1] or USUAL_DATE)))
    if type_.startswith("{") and type_.endswith("}"):
        levels = _cells(type_[1:-1])
        if levels is not None:
            return Attribute(name, "level", frozenset(map(_bare, levels)))
    raise InputError(
        f"{path} has {shortened(text)!r} in line {number}; attributes that are read are numeric, string,"
        " date, or one of {a, b}"
    )


def _strptime(pattern: str) -> str:
    """Return Java's pattern of a date as strptime's; "text" if it has other parts than digits."""
    found = ""
    for part in re.finditer(r"([A-Za-z])\1*|'[^']*'|.", pattern, re.DOTALL):
        if part[1] and part[0] not in DATE_PARTS:
            return "text"
        found += DATE_PARTS.get(part[0], part[0].strip("'").replace("%", "%%"))
    return found or "text"


def _cells(text: str) -> list[str] | None:
    """Split a text at its commas outside of quotes; None if a quote does not close."""
    if "'" not in text and '"' not in text:
        return [cell.strip() for cell in text.split(",")]
    found: list[str] = []
    place = 0
    while True:
        match = CELL_OF_ROW.match(text, place)
        if match is None:
            return None
        found.append(match[1].strip())
        place = match.end()
        if match[2] == "":
            return found


def _bare(cell: str) -> str:
    """Return a cell without its quotes, and what its backslashes stand for."""
    quoted = len(cell) > 1 and cell[0] == cell[-1] and cell[0] in "'\""
    cell = cell[1:-1] if quoted else cell
    return ESCAPED.sub(lambda m: ESCAPES.get(m[1], m[1]), cell) if "\\" in cell else cell


def _row(path: Path, text: str, number: int) -> list[str | None]:
    if text.startswith("{"):
        raise InputError(
            f"{path} has sparse rows, from line {number} on; make them dense, as by Weka's SparseToNonSparse"
        )
    cells = _cells(text)
    if cells is None:
        raise InputError(f"{path} has a quote in line {number} that opens or closes within a cell; mend it")
    if cells[-1].startswith("{") and cells[-1].endswith("}"):
        raise InputError(f"{path} has the weight of a row in line {number}; write weights as a column")
    return [None if cell == "?" else _bare(cell) for cell in cells]


def _typed(path: Path, one: Attribute, cells: list[str | None], numbers: list[int]) -> "pl.Series":
    """Return a column of its attribute's type."""
    import polars as pl

    texts = pl.Series(one.name, cells, pl.String)
    if one.type == "text":
        return texts
    if one.type == "level":
        values, wanted = texts.cast(pl.Categorical), f"one of {listed(sorted(one.levels))}"
        wrong = ~texts.is_in([*one.levels])
    elif one.type == "number":
        values, wanted = texts.cast(pl.Int64, strict=False), "a number"
        if values.null_count() > texts.null_count():
            values = texts.cast(pl.Float64, strict=False)
        wrong = values.is_null()
    else:
        kind = pl.Datetime if re.search("%[HMS]", one.type) else pl.Date
        values, wanted = texts.str.strptime(kind, one.type, strict=False), "a date as the attribute says"
        wrong = values.is_null()
    if (wrong & texts.is_not_null()).any():
        row = (wrong & texts.is_not_null()).arg_max() or 0
        raise InputError(
            f"{path} has {shortened(texts[row])!r} of {one.name!r} in line {numbers[row]}, which is not"
            f" {wanted}"
        )
    return values
