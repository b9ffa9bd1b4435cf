"""Tell how a text table is written: encoding, separator, header."""

import csv
import gzip
import io
import itertools
import re
from pathlib import Path
from typing import Any

from mlpax.errors import InputError, counted

__all__ = ["MISSING", "as_utf8", "check_rows", "dialect", "is_gzip", "starts"]

MISSING = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?"]
SEPARATORS = (";", "\t", "|", ",")
SAMPLE = 1 << 20  # bytes from which a CSV's separator, header and encoding are told


def as_utf8(path: Path, encoding: str) -> bytes:
    with _opened(path) as file:
        return file.read().decode(encoding).encode()


def starts(path: Path, magic: bytes) -> bool:
    with open(path, "rb") as file:
        return file.read(len(magic)) == magic


def is_gzip(path: Path) -> bool:
    return starts(path, b"\x1f\x8b")


def _opened(path: Path) -> Any:
    return gzip.open(path, "rb") if is_gzip(path) else open(path, "rb")


def dialect(path: Path) -> tuple[str, dict[str, Any]]:
    """The encoding, and options of polars' CSV reader: separator and header, told from the file's start."""
    with _opened(path) as file:
        start = file.read(SAMPLE)
    encoding = "utf8"
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif b"\0" in start:
        raise InputError(f"{path} is no text; is it a CSV file?")
    else:
        try:
            start.decode()
        except UnicodeDecodeError as error:
            # Cut within a character at the sample's end is no sign of another encoding.
            encoding = "utf8" if error.start > len(start) - 4 and len(start) == SAMPLE else "cp1252"
    text = start.decode(encoding, errors="replace").lstrip("\ufeff")
    end = "\n" if "\n" in text or "\r" not in text else "\r"
    if len(start) == SAMPLE:
        text = text[: text.rfind(end) + 1] or text  # without the line that is cut
    stated = re.match(r'\s*"?sep=([,;\t|])"?[ \t]*[\r\n]', text, re.IGNORECASE)  # Excel's first line
    table = text[stated.end() if stated else 0 :].lstrip("\r\n ")
    if not table.strip(' \t\r\n,;|"'):
        raise InputError(f"{path} is empty")
    separator = stated[1] if stated else max(SEPARATORS, key=lambda separator: _fit(table, separator))
    header, *others = _first_rows(table, separator)
    if len(header) == 1 and _is_by_blanks([row[0].split() for row in (header, *others)]):
        raise InputError(f"{path} has its columns separated by blanks; write commas, semicolons, tabs or |")
    names = [cell.strip() for cell in header]
    skipped = text[: len(text) - len(table)].count(end)
    point = "." if separator == ";" else ","  # of a decimal comma
    plain = [[cell.strip().replace(",", point) for cell in row] for row in (header, *others)]
    options: dict[str, Any] = {"separator": separator, "has_header": _is_header(plain[0], plain[1:])}
    if not options["has_header"]:
        options["new_columns"] = [f"x{i}" for i in range(len(names))]
    elif len(set(names)) < len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path} has two columns named {double!r}; rename one")
    else:  # rows without a cell stand above it at most
        rows = csv.reader(io.StringIO(table, newline=""), delimiter=separator)
        skipped += sum(1 for _ in itertools.takewhile(lambda row: not _has_cell(row), rows))
    return encoding, options | {"skip_lines": skipped, "eol_char": end, "infer_schema": False, "glob": False}


def _has_cell(row: list[str]) -> bool:
    return any(cell.strip() for cell in row)


def _is_by_blanks(rows: list[list[str]]) -> bool:
    """Whether all have as many words, more than one, and below the first mostly numbers: no sentences."""
    words = [word for row in rows[1:] for word in row]
    numeric = sum(map(_is_number, words))
    return len({len(row) for row in rows}) == 1 < len(rows[0]) and 2 * numeric > len(words)


def _first_rows(text: str, separator: str) -> list[list[str]]:
    """The first rows that have a cell."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    return list(itertools.islice(filter(_has_cell, rows), 50))


def _fit(text: str, separator: str) -> tuple[bool, float, bool, int]:
    """Whether it splits every row into as many cells; their share of numbers; if no comma; their count."""
    try:
        rows = _first_rows(text, separator)
    except csv.Error:  # a line of many cells is one too long by another separator
        return False, 0, False, 0
    counts = [len(row) for row in rows]
    if not min(counts) == max(counts) > 1:
        return False, 0, False, counts[0]
    cells = [_is_number(cell.strip().replace(",", ".")) for row in rows for cell in row]
    return True, sum(cells) / len(cells), separator != ",", counts[0]


def _is_header(names: list[str], others: list[list[str]]) -> bool:
    """A header has no numbers, or a name above a column of them, or numbers that are names."""
    numeric = [i for i, name in enumerate(names) if _is_number(name)]
    if not numeric:
        return True
    columns = [[cell for row in others if i < len(row) and (cell := row[i]) not in MISSING]
               for i in range(len(names))]  # fmt: skip
    texts = [i for i, name in enumerate(names) if name not in MISSING and not _is_number(name)]
    if any(columns[i] and all(map(_is_number, columns[i])) for i in texts):
        return True
    whole = [int(names[i]) for i in numeric if _is_whole(names[i])]
    below = [cell for i in numeric for cell in columns[i]]
    n = len(whole)
    if n < len(numeric) or not below:
        return False
    if texts:
        level = any(names[i] in columns[i] for i in texts)  # which no name of a column is
        named = n > 1 and not level
    else:  # pandas' own: 0, 1, 2, perhaps after the index, which has no name
        named = len(names) > 1 and (n == len(names) or names == ["", *map(str, whole)])
    counted = whole in (list(range(n)), list(range(1, n + 1)))
    goes_on = [cell for i, cell in enumerate(others[0]) if i in numeric] == [str(x + n) for x in whole]
    if not named or (counted and goes_on):  # as 1,2,3 and then 4,5,6
        return False
    if counted and n > 3:  # by chance no row is
        return True
    years = len(set(whole)) == n and all(1900 <= x <= 2100 for x in whole)
    even = n > 2 and len({y - x for x, y in itertools.pairwise(whole)} | {0}) == 2
    low, high = (1900, 2100) if years else (min(whole), max(whole))
    different = not all(_is_whole(cell) and low <= int(cell) <= high for cell in below)
    return different and (counted or (bool(texts) and (years or even)))


def _is_whole(text: str) -> bool:
    return re.fullmatch(r"0|[1-9]\d{0,8}", text) is not None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def check_rows(path: Path, encoding: str, options: dict[str, Any]) -> tuple[list[int], bool]:
    """Which rows below the header are blank lines, and whether the last column has a value.

    `encoding` and `options` are from `dialect`.

    Raises
    ------
    InputError
        If a row has more or fewer cells than the header, with its line.
    """
    blank: list[int] = []
    filled = False
    with _opened(path) as file:
        encoding = "utf-8-sig" if encoding == "utf8" else encoding
        text = io.TextIOWrapper(file, encoding, errors="replace", newline="")
        skipped = sum(1 for _ in itertools.islice(text, options["skip_lines"]))
        rows = csv.reader(text, delimiter=options["separator"])
        try:
            first = next(rows)
            for i, row in enumerate(rows if options["has_header"] else itertools.chain([first], rows)):
                if not row or (len(row) == 1 < len(first) and row[0].isspace()):
                    blank.append(i)
                elif len(row) != len(first):
                    raise InputError(
                        f"{path} has {counted(len(row), 'cell')} in line {skipped + rows.line_num}, but"
                        f" {counted(len(first), 'column')}"
                    )
                else:
                    filled = filled or row[-1].strip() not in MISSING
        except csv.Error as error:
            raise InputError(f"{path} cannot be read in line {skipped + rows.line_num}: {error}") from None
    return blank, filled
