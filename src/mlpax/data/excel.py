"""Read a sheet of an Excel workbook (.xlsx), as the text table that it would be saved as.

expat reads the parts of the workbook. Nothing in them is run or followed: no formula, no link, no entity.
"""

import datetime
import posixpath
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from xml.parsers import expat

from mlpax.data.csv_files import table_of_text
from mlpax.data.memory import CELL, CHUNK, COLUMN, refuse_beyond
from mlpax.data.packed import TEXT, archive, member
from mlpax.data.reading import FileOptions
from mlpax.errors import Guess, InputError, Notice, counted, listed

if TYPE_CHECKING:
    import polars as pl

__all__ = ["read_excel"]

MOST_ROWS, MOST_COLUMNS = 2**20, 2**14  # of a sheet, as Excel has them
PLACE = re.compile(r"([A-Z]{1,3})([1-9][0-9]{0,6})")
NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?")
BREAK = re.compile(r"\s*[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]\s*")  # within a cell
ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")
DATES = {*range(14, 18), 22, *range(27, 32), 36, *range(50, 59)}  # numbers of formats that Excel brings
TIMES = {*range(18, 22), *range(32, 36), 45, 47}
LENGTHS = {46}
LAST_DAY = 2_958_465  # 31 December 9999

# A handler of an element's start takes its name and attributes; that of its end, its name and text.
Start = Callable[[str, dict[str, str]], None]
End = Callable[[str, str], None]


class Sheet(NamedTuple):
    """A sheet of a workbook."""

    name: str
    part: str  # the member of the archive
    hidden: bool


class Book(NamedTuple):
    """What of a workbook the cells of its sheets refer to."""

    sheets: list[Sheet]
    texts: list[str]  # shared by cells
    formats: list[str]  # of each style: "date", "time", "length" or "" of other numbers
    since_1904: bool


@dataclass
class Cells:
    """The cells of a sheet, and what they are.

    `numbers` and `days` count the cells of each column that are numbers and dates.
    """

    rows: dict[int, dict[int, str | float]] = field(default_factory=dict[int, dict[int, str | float]])
    numbers: dict[int, int] = field(default_factory=dict[int, int])
    days: dict[int, int] = field(default_factory=dict[int, int])
    merged: list[str] = field(default_factory=list[str])
    columns: set[int] = field(default_factory=set[int])  # which have a cell
    count: int = 0


def read_excel(path: Path, options: FileOptions, notice: Notice) -> "pl.DataFrame":
    """Return the table of a sheet.

    The sheet is read as a text table is, so titles, totals, missing marks and the header are told alike; a
    column whose cells are all numbers, or all dates, in Excel is so here. Formulas have the values that Excel
    last saved.

    Parameters
    ----------
    path : path
    options : FileOptions
        `sheet` is a name or a number from 1; by default the first sheet that is not hidden and has a cell.
    notice : callable
        Called with a line for each guess.

    Raises
    ------
    InputError
        If the file is no such workbook, the sheet is not there or empty, a formula has no value, or the table
        takes too much memory.
    """
    with archive(path, path, options.memory) as opened:
        book = _book(path, opened, options.memory)
        sheet, cells = _chosen(path, opened, book, options, notice)
    if tall := [ref for ref in cells.merged if len({*re.findall(r"\d+", ref)}) > 1]:
        notice(
            Guess(
                f"{path.name}: {counted(len(tall), 'merged range')} in sheet {sheet.name!r}, such as"
                f" {tall[0]}; only the first cell of each has a value, and the others are missing"
            )
        )
    text = _as_text(path, cells, options.memory)
    frame = table_of_text(path, text, replace(options, encoding="utf-8", separator=","), notice)
    return _with_types(frame, cells)


def _chosen(
    path: Path, opened: zipfile.ZipFile, book: Book, options: FileOptions, notice: Notice
) -> tuple[Sheet, Cells]:
    """Return the sheet that is read, and its cells."""
    names = [sheet.name for sheet in book.sheets]
    if options.sheet is not None:
        said = options.sheet
        number = int(said) if re.fullmatch("[1-9][0-9]{0,5}", said) else 0
        if said not in names and not 1 <= number <= len(names):
            raise InputError(f"{path} has no sheet {said!r}; --sheet takes one of {listed(map(repr, names))}")
        sheet = book.sheets[names.index(said) if said in names else number - 1]
        cells = _cells(path, opened, book, sheet, options.memory)
        if not cells.count:
            raise InputError(f"{path} has no cell in sheet {sheet.name!r}; choose another by --sheet")
        return sheet, cells
    for i, sheet in enumerate(book.sheets):
        if not sheet.hidden and (cells := _cells(path, opened, book, sheet, options.memory)).count:
            others = [one.name for one in book.sheets[i + 1 :]]
            if len(names) > 1:
                left = f", and not {listed(map(repr, others))}" if others else ""
                option = f"--sheet '{sheet.name}'" if "'" not in sheet.name else f"--sheet {i + 1}"
                notice(
                    Guess(f"{path.name}: sheet {sheet.name!r} is read{left}; --sheet takes another", option)
                )
            return sheet, cells
    raise InputError(f"{path} has no cell in a sheet that is not hidden; name another by --sheet")


# The parts of a workbook


def _parse(path: Path, name: str, pieces: Iterator[bytes], start: Start, end: End) -> None:
    """Call the handlers for each element of a part, by names without their namespaces."""
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    texts: list[str] = []

    def on_start(element: str, attributes: dict[str, str]) -> None:
        texts.clear()
        start(element.rpartition(" ")[2], {key.rpartition(" ")[2]: v for key, v in attributes.items()})

    def on_end(element: str) -> None:
        end(element.rpartition(" ")[2], "".join(texts))
        texts.clear()

    def refuse(*_: object) -> None:
        raise InputError(f"{path} declares a document type in {name}, which no Excel file does")

    parser.StartElementHandler = on_start
    parser.EndElementHandler = on_end
    parser.CharacterDataHandler = texts.append
    parser.StartDoctypeDeclHandler = refuse
    try:
        for piece in pieces:
            parser.Parse(piece, False)
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise InputError(f"{path} is no whole Excel file: {error} of {name}") from None


def _part(path: Path, opened: zipfile.ZipFile, name: str, memory: str | None, start: Start, end: End) -> None:
    """Parse a member of the archive as `_parse` does. It must be there."""
    if name not in opened.namelist():
        raise InputError(f"{path} is no Excel workbook: it has no {name}")
    data = member(path, opened, name, memory)
    _parse(path, name, (data[i : i + CHUNK] for i in range(0, len(data), CHUNK)), start, end)


def _book(path: Path, opened: zipfile.ZipFile, memory: str | None) -> Book:
    parts: dict[str, tuple[str, str]] = {}  # of each relation, its kind and the member
    sheets: list[Sheet] = []
    since_1904 = False
    main = "xl/workbook.xml"

    def relation(element: str, a: dict[str, str]) -> None:
        if element == "Relationship" and a.get("TargetMode") != "External":
            target = posixpath.normpath(posixpath.join(posixpath.dirname(main), a.get("Target", "")))
            parts[a.get("Id", "")] = a.get("Type", "").rpartition("/")[2], target.lstrip("/")

    def sheet(element: str, a: dict[str, str]) -> None:
        nonlocal since_1904
        kind, target = parts.get(a.get("id", ""), ("", ""))
        if element == "sheet" and kind == "worksheet":
            sheets.append(Sheet(a.get("name", ""), target, a.get("state", "visible") != "visible"))
        elif element == "workbookPr":
            since_1904 = a.get("date1904") in ("1", "true")

    _part(path, opened, "xl/_rels/workbook.xml.rels", memory, relation, _nothing)
    _part(path, opened, main, memory, sheet, _nothing)
    texts, formats = list[str](), list[str]()
    for kind, target in parts.values():
        if kind == "sharedStrings":
            texts = _texts(path, opened, target, memory)
        elif kind == "styles":
            formats = _formats(path, opened, target, memory)
    return Book(sheets, texts, formats, since_1904)


def _nothing(*_: object) -> None:
    pass


def _texts(path: Path, opened: zipfile.ZipFile, part: str, memory: str | None) -> list[str]:
    """Return the texts that cells share. Each may be of several parts; how it is spoken is left out."""
    found: list[str] = []
    parts: list[str] = []
    spoken = False

    def start(element: str, a: dict[str, str]) -> None:
        nonlocal spoken
        if element == "si":
            parts.clear()
        spoken = spoken or element == "rPh"

    def end(element: str, text: str) -> None:
        nonlocal spoken
        if element == "t" and not spoken:
            parts.append(text)
        elif element == "rPh":
            spoken = False
        elif element == "si":
            found.append(_unescaped("".join(parts)))

    _part(path, opened, part, memory, start, end)
    return found


def _unescaped(text: str) -> str:
    """Return a text with the characters that Excel writes as `_x000D_`."""
    return ESCAPED.sub(lambda m: chr(int(m[1], 16)), text) if "_x" in text else text


def _formats(path: Path, opened: zipfile.ZipFile, part: str, memory: str | None) -> list[str]:
    """Return what the numbers of each style are."""
    own: dict[str, str] = {}
    found: list[str] = []
    inside = False

    def start(element: str, a: dict[str, str]) -> None:
        nonlocal inside
        if element == "numFmt":
            own[a.get("numFmtId", "")] = _shown_by(a.get("formatCode", ""))
        elif element == "cellXfs":
            inside = True
        elif element == "xf" and inside:
            number = a.get("numFmtId", "0")
            brought = int(number) if number.isascii() and number.isdigit() and len(number) < 5 else 0
            usual = "date" if brought in DATES else "time" if brought in TIMES else ""
            found.append(own.get(number, "length" if brought in LENGTHS else usual))

    def end(element: str, text: str) -> None:
        nonlocal inside
        inside = inside and element != "cellXfs"

    _part(path, opened, part, memory, start, end)
    return found


def _shown_by(code: str) -> str:
    """Return what a format shows: "date", "time", "length" of time, or "" for other numbers."""
    code = re.sub(r'"[^"]*"|\\.|[_*].', "", code).split(";")[0].lower()
    if re.search(r"\[(h+|m+|s+)\]", code):
        return "length"
    code = re.sub(r"\[[^\]]*\]|am/pm|a/p|general", "", code)
    if re.search("[yd]", code) or ("m" in code and not re.search("[hs]", code)):
        return "date"
    return "time" if re.search("[hs]", code) else ""


# The cells of a sheet


def _cells(path: Path, opened: zipfile.ZipFile, book: Book, sheet: Sheet, memory: str | None) -> Cells:
    """Return the cells of a sheet that have a value."""
    found = Cells()
    row = column = 0
    cell: dict[str, str] = {}
    parts: list[str] = []
    spoken = formula = False

    def start(element: str, a: dict[str, str]) -> None:
        nonlocal row, column, cell, spoken, formula
        if element == "row":
            row, column = _row_number(path, a.get("r"), row), 0
        elif element == "c":
            column = _column_number(path, a.get("r"), row, column)
            cell, formula = a, False
            parts.clear()
        elif element == "mergeCell":
            found.merged.append(a.get("ref", ""))
        spoken = spoken or element == "rPh"
        formula = formula or element == "f"

    def end(element: str, text: str) -> None:
        nonlocal spoken
        if element == "v" or (element == "t" and not spoken):
            parts.append(text)
        elif element == "rPh":
            spoken = False
        elif element == "c":
            place = f"{_letters(column)}{row} of sheet {sheet.name!r}"
            content = _text_of(path, cell, parts, formula, place)
            if content is not None:
                _put(found, row, column, _value(path, book, cell, content, place))
                if found.count % 10_000 == 0:
                    refuse_beyond(path, 2 * CELL * found.count, memory, least=True)

    _part(path, opened, sheet.part, memory, start, end)
    return found


def _text_of(path: Path, cell: dict[str, str], parts: list[str], formula: bool, place: str) -> str | None:
    """Return a cell's text; None if the cell has only a format."""
    text = "".join(parts)
    if text or cell.get("t") in ("str", "inlineStr"):
        return text
    if formula:
        raise InputError(
            f"{path} has a formula without a value in cell {place}; open the file in Excel and save it"
        )
    return None


def _row_number(path: Path, said: str | None, before: int) -> int:
    row = before + 1 if said is None else int(said) if re.fullmatch("[1-9][0-9]{0,6}", said) else 0
    if not before < row <= MOST_ROWS:
        raise InputError(f"{path} is no Excel workbook: its row {said or row!r} comes after row {before}")
    return row


def _column_number(path: Path, said: str | None, row: int, before: int) -> int:
    column = before + 1
    if said is not None:
        place = PLACE.fullmatch(said)
        column = 0
        for letter in place[1] if place and int(place[2]) == row else "":
            column = 26 * column + ord(letter) - ord("A") + 1
    if not before < column <= MOST_COLUMNS:
        raise InputError(f"{path} is no Excel workbook: its cell {said or column!r} stands in row {row}")
    return column


def _letters(column: int) -> str:
    found = ""
    while column:
        column, rest = divmod(column - 1, 26)
        found = chr(ord("A") + rest) + found
    return found


class Value(NamedTuple):
    """A cell: a number, or text; and whether the text is of a date."""

    cell: str | float
    day: bool = False


def _value(path: Path, book: Book, cell: dict[str, str], text: str, place: str) -> Value:
    kind = cell.get("t", "n")
    if kind == "s":
        if not (text.isascii() and text.isdigit() and len(text) < 9 and int(text) < len(book.texts)):
            raise InputError(
                f"{path} is no whole Excel file: cell {place} has the text {text[:20]!r} of none"
            )
        return Value(book.texts[int(text)])
    if kind in ("str", "inlineStr"):
        return Value(_unescaped(text))
    if kind == "b":
        return Value("true" if text.strip() == "1" else "false")
    if kind == "d":
        return Value(text.replace("T", " "), day=True)
    if kind != "n":
        return Value(text)  # "#N/A" and other errors
    if not NUMBER.fullmatch(text.strip()):
        raise InputError(f"{path} is no whole Excel file: cell {place} has the number {text[:20]!r}")
    style = cell.get("s", "0")
    usual = style.isascii() and style.isdigit() and len(style) < 7 and int(style) < len(book.formats)
    return _shown(float(text), book.formats[int(style)] if usual else "", book.since_1904)


def _shown(x: float, shown: str, since_1904: bool) -> Value:
    """Return a number as its format shows it. Dates and times are numbers of days."""
    if not shown or not 0 <= x < LAST_DAY + 1:
        return Value(x)
    milliseconds = round(x * 86_400_000)
    days, rest = divmod(milliseconds, 86_400_000)
    seconds, part = divmod(rest, 1000)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{f'.{part:03}' if part else ''}"
    if shown == "length":
        return Value(f"{days} days {clock}")
    if days == 0 and not since_1904:
        return Value(clock) if shown == "time" else Value(x)
    epoch = datetime.date(1904, 1, 1) if since_1904 else datetime.date(1899, 12, 30)
    early = 0 if since_1904 or days > 60 else 1  # Excel has a 29 February 1900
    try:
        day = (epoch + datetime.timedelta(days=days + early)).isoformat()
    except OverflowError:
        return Value(x)
    return Value(f"{day} {clock}" if rest or shown == "time" else day, day=True)


def _put(found: Cells, row: int, column: int, value: Value) -> None:
    """Keep a cell, unless it is blank."""
    cell, day = value
    if isinstance(cell, str):
        cell = BREAK.sub(" ", cell).strip()
        if not cell:
            return
    found.rows.setdefault(row, {})[column] = cell
    found.columns.add(column)
    found.count += 1
    if day:
        found.days[column] = found.days.get(column, 0) + 1
    elif isinstance(cell, float):
        found.numbers[column] = found.numbers.get(column, 0) + 1


def _as_text(path: Path, cells: Cells, memory: str | None) -> bytes:
    """Return the cells as CSV, in which a line is a row of the sheet. Columns without a cell are left out."""
    columns = sorted(cells.columns)
    size = (CELL + TEXT) * len(cells.rows) * len(columns) + COLUMN * len(columns)
    refuse_beyond(path, size, memory)
    lines: list[str] = []
    for row, found in cells.rows.items():
        lines += [""] * (row - len(lines) - 1)
        lines.append(",".join(_written(found.get(i, "")) for i in columns))
    return "\n".join([*lines, ""]).encode()


def _written(cell: str | float) -> str:
    """Return a cell of CSV, in which every text stands in quotes."""
    if isinstance(cell, str):
        return '"' + cell.replace('"', '""') + '"' if cell else ""
    return str(int(cell)) if cell == int(cell) and abs(cell) < 1e15 else repr(cell)


def _with_types(frame: "pl.DataFrame", cells: Cells) -> "pl.DataFrame":
    """Return columns of numbers and of dates as such, where Excel has nothing else below the header."""
    import polars as pl

    found: list[pl.Series] = []
    for i, texts in zip(sorted(cells.columns), frame.get_columns(), strict=False):
        filled = texts.len() - texts.null_count()
        values = texts
        if 0 < filled <= cells.numbers.get(i, 0):
            values = texts.cast(pl.Int64, strict=False)
            values = (
                texts.cast(pl.Float64, strict=False) if values.null_count() > texts.null_count() else values
            )
        elif 0 < filled <= cells.days.get(i, 0):
            whole = texts.str.len_chars() == 10
            full = pl.select(pl.when(whole).then(texts + " 00:00:00").otherwise(texts)).to_series()
            values = full.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", strict=False)
            values = values.cast(pl.Date) if whole.drop_nulls().all() else values
        found.append(texts if values.null_count() > texts.null_count() else values.alias(texts.name))
    return pl.DataFrame({values.name: values for values in found})  # a name may be empty
