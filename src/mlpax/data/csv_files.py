"""Read a text table as frames of text: separator, quotes, header, and that no row is lost."""

import csv
import itertools
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlpax.data.encodings import as_utf8
from mlpax.data.headers import is_header, is_number
from mlpax.data.memory import CELL, COLUMN, refuse_beyond
from mlpax.data.packed import TEXT, unpacked
from mlpax.data.reading import FileOptions
from mlpax.errors import Guess, InputError, Notice, counted

if TYPE_CHECKING:
    import polars as pl

__all__ = ["read_csv", "scan_csv", "table_of_text"]

SEPARATORS = (";", "\t", "|", ",", " ")
SAMPLE = 1 << 20  # bytes that tell the separator and the header
PIECE = 1 << 24  # bytes that are read at a time from a large file
ROWS = 200  # of the sample that are looked at
COMMENT = re.compile(r"\s*(#|%|//)")
TOTAL = re.compile(r"(?i)(grand |sub)?-?\s?(total|sum|summe|gesamt|insgesamt|somme|totale|suma)s?\.?:?$")


class Dialect(NamedTuple):
    """How a text table is written."""

    separator: str
    quote: str
    end: str  # of a line
    names: list[str]
    lines: int  # before the first row
    numeric: tuple[int, ...]  # the columns of numbers, as the first rows show
    plain: frozenset[str] = frozenset()  # the columns that are read as float64 where all cells are numbers


def read_csv(
    path: Path, options: FileOptions = FileOptions(), notice: Notice = lambda text: None
) -> "pl.DataFrame":
    """Return the table in a text file.

    Parameters
    ----------
    path : path
        The file, as it is or packed; see `packed.unpacked`.
    options : FileOptions, optional
        What the user says; the rest is told from the file.
    notice : callable, optional
        Called with a line for each guess.

    Returns
    -------
    polars.DataFrame
        Columns of text, without blanks around, null where a cell is empty. Lines without a cell are left
        out, except of a table of one column.

    Raises
    ------
    InputError
        If rows have different numbers of cells, a quote opens no cell or closes none, or the file is no such
        text; with the line.
    """
    return table_of_text(path, unpacked(path, options.memory).data, options, notice)


def table_of_text(path: Path, data: bytes, options: FileOptions, notice: Notice) -> "pl.DataFrame":
    """Return the table in the bytes of a text; `path` is for messages. See `read_csv`."""
    data = as_utf8(path, data, options.encoding, notice)
    dialect, body = _taken_apart(path, data, options, notice)
    cells = body.count(dialect.separator.encode()) + body.count(dialect.end.encode())
    refuse_beyond(path, TEXT * len(data) + CELL * cells + COLUMN * len(dialect.names), options.memory)
    return _without_total(_frame(path, body, dialect, notice), path, notice)


def scan_csv(
    path: Path, options: FileOptions, notice: Notice, plain: Collection[str] = ()
) -> "Iterator[pl.DataFrame]":
    """Yield the same table in pieces of about `PIECE` bytes; whole if the text is not UTF-8.

    The columns that `plain` names may come as float64, if all cells of a piece are plain numbers or empty.
    polars reads such cells as numbers at once, which takes half the time of a detour by text.
    """
    with open(path, "rb") as file:
        start = file.read(SAMPLE)
        start += file.readline()
        if options.encoding is not None or not _is_utf8(start):
            yield read_csv(path, options, notice)
            return
        dialect, rest = _taken_apart(path, as_utf8(path, start, None, notice), options, notice)
        dialect = dialect._replace(plain=frozenset(name for name in plain if not is_number(name)))
        size, ended, before = path.stat().st_size, False, 0
        while not ended:
            data = rest + file.read(PIECE)
            ended = file.tell() >= size
            piece, rest = (data, b"") if ended else _cut(data, dialect)
            if not _is_utf8(piece):
                raise InputError(
                    f"{path} is not UTF-8 throughout, which reading in parts needs; convert it first"
                )
            _refuse_stray_returns(path, piece, dialect.end, dialect.lines)
            if ended:  # its last row may be a total, which is told by its text
                dialect = dialect._replace(plain=frozenset())
            frame = _frame(path, piece, dialect, notice)
            dialect = _still_plain(frame, dialect)
            before += frame.height
            yield _without_total(frame, path, notice, before) if ended else frame
            ends = np.frombuffer(piece, np.uint8) == ord(
                dialect.end
            )  # `bytes.count` takes four times as long
            dialect = dialect._replace(lines=dialect.lines + int(np.count_nonzero(ends)))


def _still_plain(frame: "pl.DataFrame", dialect: Dialect) -> Dialect:
    """Return the dialect for the next piece: without the columns that hold more than plain numbers.

    If a piece could not be read as numbers, all of its columns are text.
    """
    import polars as pl

    texts = [values for values in frame if values.name in dialect.plain and values.dtype == pl.String]
    plain = [values.cast(pl.Float64, strict=False) for values in texts]
    pairs = zip(texts, plain, strict=True)
    lost = {text.name for text, x in pairs if x.null_count() > text.null_count() or not _is_finite(x)}
    return dialect._replace(plain=dialect.plain - lost)


def _is_finite(x: "pl.Series") -> bool:
    """Whether all numbers that are there are finite: NaN and infinity are texts that more is asked of."""
    return bool(x.is_finite().all())


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in data


def _cut(data: bytes, dialect: Dialect) -> tuple[bytes, bytes]:
    """Cut bytes, which start with a row, behind their last whole row."""
    if dialect.quote.encode() not in data:
        place = data.rfind(dialect.end.encode()) + 1 or len(data)
        return data[:place], data[place:]
    x = np.frombuffer(data, np.uint8)
    ends, quotes = (np.flatnonzero(x == ord(c)) for c in (dialect.end, dialect.quote))
    ends = ends[np.searchsorted(quotes, ends) % 2 == 0]
    place = int(ends[-1]) + 1 if len(ends) else len(data)
    return data[:place], data[place:]


# The dialect


def _taken_apart(path: Path, data: bytes, options: FileOptions, notice: Notice) -> tuple[Dialect, bytes]:
    """Tell how a text is written. Return that, and the bytes of its rows below the header."""
    end = "\n" if b"\n" in data[:SAMPLE] or b"\r" not in data else "\r"
    _refuse_stray_returns(path, data, end)
    text = data[:SAMPLE].decode(errors="replace")
    if len(data) > SAMPLE:
        text = text[: text.rfind(end) + 1] or text  # without the line that is cut
    lines = text.split(end)
    if not any(line.strip(" \t\r,;|\"'") for line in lines[int(lines[0].lower().startswith("sep=")) :]):
        raise InputError(f"{path} is empty")
    _refuse_other_texts(path, [line.strip() for line in lines if line.strip()][:50])
    stated = re.fullmatch(r'\s*"?sep=(.)"?\s*', lines[0], re.IGNORECASE)  # Excel's first line
    above = int(options.header) - 1 if options.header not in (None, "none") else int(stated is not None)
    if above >= len(lines):
        raise InputError(f"{path} has no line {above + 1}, which --header names")
    lead = 0
    if options.header in (None, "none"):  # comments and blank lines above the table
        lead = sum(1 for _ in itertools.takewhile(lambda s: not s.strip() or COMMENT.match(s), lines[above:]))
    if not any(line.strip() for line in lines[above + lead :]):
        lead = 0  # all cells of the first column start so
    said = options.separator_ or (stated[1] if stated else "")
    separators = [said] if said else SEPARATORS
    quote = _quote(lines[above + lead :], separators)
    rows = {one: _rows(lines[above + lead :], one, quote) for one in separators}
    separator = max(separators, key=lambda one: _fit(rows[one], one))
    table = _Start(path, separator, quote, lines, above + lead, rows[separator])
    if not table.rows:
        raise InputError(f"{path} has no row whose cells are under {csv.field_size_limit():,} characters")
    names, count = _names(table, options, notice)
    dialect = Dialect(separator, quote, end, names, count, _numeric(table, len(names)))
    place = 0
    for _ in range(count):
        place = data.find(end.encode(), place) + 1 or len(data)
    return dialect, data[place:]


class _Start(NamedTuple):
    """The start of a text table."""

    path: Path
    separator: str
    quote: str
    lines: list[str]
    first: int  # the line that `rows` begin with
    rows: list[tuple[int, list[str]]]  # each with the number of lines up to its end, counted from `first`

    @property
    def width(self) -> int:
        return _width(self.rows)


def _refuse_other_texts(path: Path, lines: list[str]) -> None:
    """Refuse texts that are no tables by separators, and say what they look like."""
    most = 0.9 * len(lines)
    kinds = {
        "LIBSVM text (label index:value ...); let its name end in .svm": r"\S+(?: \d+:\S+)+(?: *#.*)?",
        "JSON lines; let its name end in .jsonl": r"\{.*\}",
    }
    for what, pattern in kinds.items():
        if lines and sum(re.fullmatch(pattern, line) is not None for line in lines) >= most:
            raise InputError(f"{path} looks like {what}")
    for start, what in (
        ("[{", "JSON; let its name end in .json"),
        ("{", "JSON; save it as a table"),
        ("<", "HTML or XML; save it as a table"),
        ("@relation", "ARFF; let its name end in .arff"),
    ):
        if lines[0].lower().startswith(start):
            raise InputError(f"{path} looks like {what}")


def _quote(lines: list[str], separators: Sequence[str]) -> str:
    """Return the quote character: an apostrophe if most cells stand in such and none in the usual quotes."""
    text = "\n".join(lines[:ROWS])
    if '"' in text or "'" not in text:
        return '"'
    for one in separators:
        cells = [cell.strip() for line in lines[:ROWS] for cell in line.split(one) if cell.strip()]
        enclosed = sum(len(cell) > 1 and cell[0] == cell[-1] == "'" for cell in cells)
        if one in text and 2 * enclosed > len(cells):
            return "'"
    return '"'


def _rows(lines: list[str], separator: str, quote: str) -> list[tuple[int, list[str]]]:
    """Return the first rows that have a cell, each with the number of lines up to its end."""
    reader = csv.reader(
        (line + "\n" for line in lines),
        delimiter=separator,
        quotechar=quote,
        skipinitialspace=separator != " ",
    )
    found: list[tuple[int, list[str]]] = []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                found.append((reader.line_num, row))
            if len(found) == ROWS:
                break
    except csv.Error:  # a line of many cells is one too long by another separator
        return []
    return found


def _width(rows: list[tuple[int, list[str]]]) -> int:
    """Return the number of cells that most rows have, of equals that of the first."""
    counts = [len(row) for _, row in rows]
    return max(dict.fromkeys(counts), key=counts.count) if counts else 0


def _fit(
    rows: list[tuple[int, list[str]]], separator: str
) -> tuple[bool, bool, float, bool, float, bool, int]:
    """Return how well a separator splits rows; of two the larger is better."""
    width = _width(rows)
    like = [row for _, row in rows if len(row) == width]
    cells = [is_number(cell.strip().replace(",", ".")) for row in like for cell in row]
    share, numbers = len(like) / max(1, len(rows)), sum(cells) / max(1, len(cells))
    filled = all(cell for row in like for cell in row)
    if width < 2 or (separator == " " and not (len(like) >= len(rows) - 1 and numbers > 0.4 and filled)):
        return False, False, 0, False, 0, False, 0  # sentences, or cells by several blanks
    named = len(rows[0][1]) in (width, width - 1) and len(rows[0][1]) > 1
    return share > 0.7, named, share, separator != " ", numbers, separator != ",", width


def _names(table: _Start, options: FileOptions, notice: Notice) -> tuple[list[str], int]:
    """Return the columns' names, and how many lines stand before the first row."""
    path, rows, width = table.path, table.rows, table.width
    if width == 1 and _is_by_blanks([row[0].split() for _, row in rows]):
        raise InputError(
            f"{path} has its columns separated by several blanks; write commas, semicolons, tabs or |"
        )
    top = 0
    if options.header in (None, "none"):
        like = (width, width - 1) if width > 2 else (width,)
        top = next(
            i for i, (_, row) in enumerate(rows) if len(row) in like and len(_filled(row)) > (width > 2)
        )
    for line, row in rows[:top]:
        if len(_filled(row)) > 1:
            raise _ragged(path, table.first + line, len(row), width, table.separator)
    cells, below = rows[top][1], [row for _, row in rows[top + 1 :]]
    before = table.first + (rows[top - 1][0] if top else 0)  # lines above the row
    named = options.header != "none" and (
        options.header is not None or is_header(*_plain(table, cells, below))
    )
    comment = _in_comment(table) if options.header is None and not named and top == 0 else None
    if comment is not None:
        return _checked(path, comment, table.first), table.first
    n_above = sum(1 for line in table.lines[:before] if line.strip() and not line.lower().startswith("sep="))
    if options.header is None and n_above:
        shown = next(line.strip() for line in table.lines if line.strip())
        text = f"{path.name}: {counted(n_above, 'line')} above the table left out, such as {shown[:40]!r}"
        notice(Guess(text, f"--header {before + 1 if named else 'none'}"))
    if not named:
        if options.header is None:
            text = (
                f"{path.name}: no line names the columns, which are x0, x1, ...; --header {before + 1} takes"
            )
            notice(Guess(f"{text} the first line for names", "--header none"))
        return [f"x{i}" for i in range(width)], before
    if len(cells) == width - 1 and sum(len(row) == width for row in below) >= 0.9 * len(below):
        ends_in_separator = bool(cells[-1].strip()) and not any(row[-1].strip() for row in below)
        cells = [*cells, ""] if ends_in_separator else ["", *cells]  # R gives the names of rows no name
    return _checked(path, cells, table.first + rows[top][0]), table.first + rows[top][0]


def _numeric(table: _Start, width: int) -> tuple[int, ...]:
    """Return the columns of numbers, as most of the first rows show."""
    found: list[int] = []
    for i in range(width):
        cells = [cell for _, row in table.rows[1:] if len(row) == width and (cell := row[i].strip())]
        if cells and sum(map(is_number, cells)) > 0.8 * len(cells):
            found.append(i)
    return tuple(found)


def _filled(row: list[str]) -> list[str]:
    return [cell for cell in row if cell.strip()]


def _plain(table: _Start, cells: list[str], below: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """Return cells as `is_header` takes them: without blanks around, decimal commas as points."""
    comma = "." if table.separator == ";" else ","
    plain = [[cell.strip().replace(",", comma) for cell in row] for row in (cells, *below)]
    return plain[0], plain[1:]


def _in_comment(table: _Start) -> list[str] | None:
    """Return the names in the comment above the table, if it has a name for each column."""
    line = table.lines[table.first - 1] if table.first else ""
    if not COMMENT.match(line):
        return None
    cells = _rows([line], table.separator, table.quote)[0][1]
    if len(cells) != table.width:
        return None
    bare = COMMENT.sub("", cells[0], count=1).strip(" #%/")
    return [bare or cells[0].strip(), *cells[1:]]


def _checked(path: Path, names: list[str], line: int) -> list[str]:
    """Return names without blanks around, of which only the first may be empty and none occurs twice."""
    names = [name.strip().strip("\ufeff") for name in names]
    last = len(names) - 1
    names = [name or (f"column_{i + 1}" if 0 < i < last else "") for i, name in enumerate(names)]
    if len(names) > 1 and names[0] == names[last] == "":
        names[last] = f"column_{last + 1}"
    if len(set(names)) < len(names):
        double = Counter(names).most_common(1)[0][0]
        raise InputError(f"{path} has two columns named {double!r} in line {line}; rename one")
    return names


def _is_by_blanks(rows: list[list[str]]) -> bool:
    """Whether all have as many words, more than one, and below the first mostly numbers: no sentences."""
    words = [word for row in rows[1:] for word in row]
    numeric = sum(map(is_number, words))
    return len({len(row) for row in rows}) == 1 < len(rows[0]) and 2 * numeric > len(words)


def _ragged(path: Path, line: int, found: int, width: int, separator: str) -> InputError:
    names = {"\t": "tabs", " ": "blanks", ",": "commas", ";": "semicolons"}
    by = names.get(separator, repr(separator))
    return InputError(
        f"{path} has {counted(found, 'cell')} in line {line}, but {counted(width, 'column')}; cells are"
        f" separated by {by}: mend the line, or name another with --separator"
    )


# The rows


class _Census(NamedTuple):
    """What a count of bytes finds in the rows of a text, apart from any reader."""

    widths: np.ndarray  # cells of each record, blank lines among them
    lines: np.ndarray  # the line that each record starts in, from 0
    blank: np.ndarray  # whether a record is a blank line
    bounds: np.ndarray  # (records, 2): the bytes that each record starts at and ends before
    odd: int | None  # the line of the first quote that does not open or close a cell
    swallowed: int | None  # the line of the first quoted cell over several lines that each look like a row


def _census(body: bytes, dialect: Dialect) -> _Census:
    """Count records and their cells; quotes switch between inside and outside of a cell (RFC 4180)."""
    x = np.frombuffer(body, np.uint8)
    end, separator, quote = (ord(c) for c in (dialect.end, dialect.separator, dialect.quote))
    ends = np.flatnonzero(x == end)
    if len(x) and x[-1] != end:
        ends = np.append(ends, len(x))
    separators, quotes = np.flatnonzero(x == separator), np.flatnonzero(x == quote)
    outside = np.searchsorted(quotes, ends) % 2 == 0
    outside[-1:] = True  # an unclosed quote is found below
    last = ends[outside]
    starts = np.concatenate([[0], last[:-1] + 1]) if len(last) else last
    lines = np.searchsorted(ends, starts)
    widths = np.diff(np.searchsorted(separators, last), prepend=0) + 1
    odd = swallowed = None
    if len(quotes):
        odd = _odd_quote(x, quotes, ends, (separator, end, quote))
        opening, closing = np.append(quotes, len(x))[: len(quotes) + len(quotes) % 2].reshape(-1, 2).T
        quoted = np.searchsorted(separators, closing) - np.searchsorted(separators, opening)
        widths -= np.bincount(np.searchsorted(last, opening), quoted, len(last)).astype(int)[: len(last)]
    if not outside.all() and len(dialect.names) > 1:
        naive = np.diff(np.searchsorted(separators, ends), prepend=0) + 1  # cells of each line as if bare
        alike = np.minimum.reduceat(naive == len(dialect.names), lines)
        texts = body.decode(errors="replace").split(dialect.end)
        counts = np.diff(lines, append=len(ends))
        several = np.flatnonzero(counts > 1)
        like_rows = [
            bool(alike[i])
            and all(_looks_like_a_row(t, dialect) for t in texts[lines[i] : lines[i] + counts[i]])
            for i in several
        ]
        if all(like_rows):  # where some are no rows, cells of several lines are the table's way
            swallowed = int(lines[several[0]])
    blank = widths == 1
    if len(dialect.names) > 1:
        for i in np.flatnonzero(blank):
            blank[i] = not body[starts[i] : last[i]].strip()
    return _Census(widths, lines, blank, np.stack([starts, last], axis=1), odd, swallowed)


def _looks_like_a_row(line: str, dialect: Dialect) -> bool:
    """Whether a line has as many cells as there are columns, and numbers where the others have some."""
    cells = [cell.strip(f" \r{dialect.quote}") for cell in line.split(dialect.separator)]
    if len(cells) != len(dialect.names):
        return False
    return all(not cells[i] or is_number(cells[i]) for i in dialect.numeric)


def _odd_quote(
    x: np.ndarray, quotes: np.ndarray, ends: np.ndarray, around: tuple[int, int, int]
) -> int | None:
    """Return the line of the first quote that neither opens nor closes a cell; of a cell its first line."""
    opening, closing = quotes[::2], quotes[1::2]
    before = np.where(opening > 0, x[opening - 1], around[1])
    after = np.where(closing + 1 < len(x), x[np.minimum(closing + 1, len(x) - 1)], around[1])
    wrong: list[int] = [
        *opening[~np.isin(before, around)][:1].tolist(),
        *opening[: len(closing)][~np.isin(after, (*around, ord("\r")))][:1].tolist(),
        *opening[len(closing) :].tolist(),  # never closed
    ]
    return int(np.searchsorted(ends, min(wrong))) if wrong else None


def _frame(path: Path, body: bytes, dialect: Dialect, notice: Notice) -> "pl.DataFrame":
    """Return rows as a frame, without comments and repeated headers."""
    import polars as pl

    body = _without_comments(path, body, dialect, notice)
    frame = _tidied(_read(path, body, dialect))
    if any(dtype != pl.String for dtype in frame.dtypes):  # where a header cannot stand among the rows
        return frame
    return _without_repeats(frame, path, notice)


def _read(path: Path, body: bytes, dialect: Dialect) -> "pl.DataFrame":
    """Return the rows as a frame of text.

    polars reads text with usual quotes, and must find as many rows as the census. Python's reader reads the
    rest, if a reading of its quotes gives rows of equal lengths.
    """
    import polars as pl

    regular = _regular_rows(body, dialect)
    if regular is not None and (frame := _by_polars(body, dialect, regular)) is not None:
        return frame
    census, width = _census(body, dialect), len(dialect.names)
    if census.odd is None and census.swallowed is None:
        ragged = np.flatnonzero((census.widths != width) & ~census.blank)
        if len(ragged):
            line, found = (int(values[ragged[0]]) for values in (census.lines, census.widths))
            raise _ragged(path, dialect.lines + line + 1, found, width, dialect.separator)
        blank = census.blank & (width > 1)
        if blank.all():  # or there is none
            return pl.DataFrame(schema=dict.fromkeys(dialect.names, pl.String))
        rows = _without(body, census.bounds[blank]) if blank.any() else body
        if (frame := _by_polars(rows, dialect, int(np.count_nonzero(~blank)))) is not None:
            return frame
    rows = _rows_of_odd_quotes(body.decode(), dialect, census)
    if rows is None:
        line = next(line for line in (census.odd, census.swallowed, 0) if line is not None)
        raise InputError(
            f"{path} has a quote in line {dialect.lines + line + 1} that opens a cell which does not close,"
            f" or that stands within one; write {dialect.quote * 2} for a quote within quotes, or remove it"
        )
    return pl.DataFrame(rows, dict.fromkeys(dialect.names, pl.String), orient="row")


def _regular_rows(body: bytes, dialect: Dialect) -> int | None:
    """Return the rows of a text without quotes whose lines all have a cell for each column; None of others.

    Most texts are so, and no census is needed, which takes twice as long.
    """
    width, end = len(dialect.names), dialect.end.encode()
    if width == 1 or dialect.quote.encode() in body or not body.endswith(end):
        return None
    line = dialect.separator.encode() * (width - 1) + end
    marks = body.translate(None, bytes(set(range(256)) - set(line)))
    return len(marks) // width if marks == line * (len(marks) // width) else None


def _by_polars(body: bytes, dialect: Dialect, rows: int) -> "pl.DataFrame | None":
    """Return rows of text, but of float64 in the columns `plain` if all cells there are plain numbers.

    None if polars finds another number of rows.
    """
    import polars as pl

    names = dialect.names
    for plain in (
        dialect.plain.intersection(names) if len(names) > 1 else frozenset[str](),
        frozenset[str](),
    ):
        schema = {name: pl.Float64 if name in plain else pl.String for name in names}
        try:
            frame = pl.read_csv(
                body, has_header=False, schema=schema, separator=dialect.separator, quote_char=dialect.quote,
                eol_char=dialect.end,
            )  # fmt: skip
        except pl.exceptions.PolarsError:
            if plain:
                continue
            raise
        if frame.height == rows and all(_is_finite(frame[name]) for name in plain):
            return frame
    return None


def _without(body: bytes, bounds: np.ndarray) -> bytes:
    """Return bytes without some records, which polars would give as many cells as there are columns."""
    edges = np.zeros(len(body) + 2, np.int8)
    edges[bounds[:, 0]] += 1
    edges[bounds[:, 1] + 1] -= 1
    return np.frombuffer(body, np.uint8)[np.cumsum(edges, dtype=np.int8)[: len(body)] == 0].tobytes()


def _rows_of_odd_quotes(text: str, dialect: Dialect, census: _Census) -> list[list[str]] | None:
    """Return rows with unusual quotes by the first reading that gives equal lengths, if there is one."""
    readings: list[dict[str, Any]] = [{}, {"skipinitialspace": True}, {"quoting": csv.QUOTE_NONE}]
    if f"\\{dialect.quote}" in text:
        readings = [{"escapechar": "\\", "doublequote": False}, *readings]
    if census.odd is None:  # the usual reading swallows rows
        readings = [reading for reading in readings if "quoting" in reading or "escapechar" in reading]
    width = len(dialect.names)
    lines = text.split(dialect.end)
    lines = lines[:-1] if lines[-1] == "" else lines
    for reading in readings:
        reader = csv.reader(
            (line + dialect.end for line in lines), delimiter=dialect.separator, quotechar=dialect.quote,
            strict=True, **reading,
        )  # fmt: skip
        rows: list[list[str]] = []
        before = 0
        try:
            for row in reader:
                parts = lines[before : reader.line_num]
                before = reader.line_num
                if width > 1 and not "".join(parts).strip():
                    continue
                alike = len(parts) > 1 and all(_looks_like_a_row(part, dialect) for part in parts)
                unclosed = "quoting" in reading and any(
                    map(_is_unclosed, row, itertools.repeat(dialect.quote))
                )
                if len(row) != width or (alike and width > 1) or unclosed:
                    break
                rows.append(row)
            else:
                return rows
        except csv.Error:
            continue
    return None


def _is_unclosed(cell: str, quote: str) -> bool:
    """Whether a cell, as it stands, starts with a quote and does not end with one."""
    cell = cell.strip()
    return cell.startswith(quote) and not (cell.endswith(quote) and len(cell) > 1)


def _refuse_stray_returns(path: Path, data: bytes, end: str, above: int = 0) -> None:
    """Refuse carriage returns that end a line for some readers and none for others.

    `above` lines stand before the data in the file.
    """
    if end != "\n" or b"\r" not in data or data.count(b"\r") == data.count(b"\r\n"):
        return
    x = np.frombuffer(data + b"\n", np.uint8)
    places = np.flatnonzero((x[:-1] == ord("\r")) & (x[1:] != ord("\n")))
    places = places[np.searchsorted(np.flatnonzero(x == ord('"')), places) % 2 == 0]
    if len(places):
        line = above + data.count(b"\n", 0, int(places[0])) + 1
        raise InputError(
            f"{path} has a carriage return within line {line}; end all lines alike, or remove it"
        )


def _without_comments(path: Path, body: bytes, dialect: Dialect, notice: Notice) -> bytes:
    """Return the rows with blank lines for comments: for lines that start with # and are no rows."""
    sign, end = b"#", dialect.end.encode()
    if len(dialect.names) == 1 or sign not in body or not (body.startswith(sign) or end + sign in body):
        return body
    lines = body.split(end)
    quote, inside = dialect.quote.encode(), False
    kept: list[bytes] = []
    left: list[bytes] = []
    for line in lines:
        comment = not inside and line.startswith(sign)
        if comment and line.count(dialect.separator.encode()) != len(dialect.names) - 1:
            left.append(line)
            line = b""  # which is left out later, and keeps the numbers of the lines
        kept.append(line)
        inside ^= line.count(quote) % 2 == 1
    if left:
        shown = left[0].decode()[:40]
        notice(Guess(f"{path.name}: {counted(len(left), 'comment line')} left out, such as {shown!r}"))
    return end.join(kept)


def _tidied(frame: "pl.DataFrame") -> "pl.DataFrame":
    """Return text without blanks around, null where empty; without a nameless empty column at the end."""
    import polars as pl

    bare = pl.col(pl.String).str.strip_chars()
    frame = frame.with_columns(pl.when(bare != "").then(bare).name.keep())
    if frame.width > 1 and frame.columns[-1] == "":  # each line ends in a separator
        return frame.rename({"": f"column_{frame.width}"}) if frame[:, -1].count() else frame[:, :-1]
    return frame


def _without_repeats(frame: "pl.DataFrame", path: Path, notice: Notice) -> "pl.DataFrame":
    """Return the table without rows that repeat the header, as in files that were joined."""
    import polars as pl

    if frame.width < 2 or not (frame[:, 0] == frame.columns[0]).any():
        return frame
    repeats = frame.select(pl.all_horizontal(pl.col(n).fill_null("") == n for n in frame.columns)).to_series()
    if not repeats.any():
        return frame
    notice(Guess(f"{path.name}: {counted(int(repeats.sum()), 'repeated header')} left out"))
    return frame.filter(~repeats)


def _without_total(frame: "pl.DataFrame", path: Path, notice: Notice, rows: int = 0) -> "pl.DataFrame":
    """Return the table without a last row that starts with a word such as Total, which no other row does.

    `rows` are those up to the end of `frame`, if it is the last piece of a table.
    """
    if frame.width < 2 or frame.height == 0 or max(rows, frame.height) < 3:
        return frame
    last = [cell for cell in frame.row(-1) if cell is not None]
    if not last or not TOTAL.match(last[0]):
        return frame
    column = frame[:, frame.row(-1).index(last[0])]
    if (column == last[0]).sum() > 1:
        return frame
    notice(Guess(f"{path.name}: the last row, {last[0]!r}, left out, as a total of the others"))
    return frame[:-1]
