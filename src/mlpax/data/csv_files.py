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
    """Tell from a file's start its encoding, and the options of polars' CSV reader: separator and header."""
    with _opened(path) as file:
        start = file.read(SAMPLE)
    encoding = _encoding(path, start)
    text = start.decode(encoding, errors="replace").lstrip("\ufeff")
    end = "\n" if "\n" in text or "\r" not in text else "\r"
    if len(start) == SAMPLE:
        text = text[: text.rfind(end) + 1] or text  # without the line that is cut
    stated = re.match(r'\s*"?sep=([,;\t|])"?[ \t]*[\r\n]', text, re.IGNORECASE)  # Excel's first line
    table = text[stated.end() if stated else 0 :].lstrip("\r\n ")
    if not table.strip(' \t\r\n,;|"'):
        raise InputError(f"{path} is empty")
    separator = stated[1] if stated else max(SEPARATORS, key=lambda separator: _fit(table, separator))
    skipped = text[: len(text) - len(table)].count(end)
    return encoding, {
        "separator": separator,
        **_header(path, table, separator, skipped),
        "eol_char": end,
        "infer_schema": False,
        "glob": False,
    }


def _encoding(path: Path, start: bytes) -> str:
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    if b"\0" in start:
        raise InputError(f"{path} is no text; is it a CSV file?")
    try:
        start.decode()
    except UnicodeDecodeError as error:
        # Cut within a character at the sample's end is no sign of another encoding.
        return "utf8" if error.start > len(start) - 4 and len(start) == SAMPLE else "cp1252"
    return "utf8"


def _header(path: Path, table: str, separator: str, skipped: int) -> dict[str, Any]:
    """Return polars' options that say where the names of the columns are, after so many skipped lines."""
    header, *others = _first_rows(table, separator)
    if len(header) == 1 and _is_by_blanks([row[0].split() for row in (header, *others)]):
        raise InputError(f"{path} has its columns separated by blanks; write commas, semicolons, tabs or |")
    point = "." if separator == ";" else ","  # of a decimal comma
    plain = [[cell.strip().replace(",", point) for cell in row] for row in (header, *others)]
    if not _is_header(plain[0], plain[1:]):
        names = [f"x{i}" for i in range(len(header))]
        return {"has_header": False, "new_columns": names, "skip_lines": skipped}
    names = [cell.strip() for cell in header]
    if len(set(names)) < len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path} has two columns named {double!r}; rename one")
    rows = csv.reader(io.StringIO(table, newline=""), delimiter=separator)
    blank = sum(1 for _ in itertools.takewhile(lambda row: not _has_cell(row), rows))
    return {"has_header": True, "skip_lines": skipped + blank}


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
    """Tell whether the first row names the columns.

    It does if it holds no number, if a text stands above a column of numbers, or if its numbers are names.
    """
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
    if len(whole) < len(numeric) or not below:
        return False
    if texts:  # a name does not occur below itself
        named = len(whole) > 1 and not any(names[i] in columns[i] for i in texts)
    else:  # pandas writes 0, 1, 2, and may write an index, which has no name, before them
        named = len(names) > 1 and (len(whole) == len(names) or names == ["", *map(str, whole)])
    return named and _are_names(
        whole, [others[0][i] for i in numeric if i < len(others[0])], below, bool(texts)
    )


def _are_names(whole: list[int], first: list[str], below: list[str], beside_text: bool) -> bool:
    """Tell whether the whole numbers of a first row are names.

    They are if they count from 0 or 1, or stand beside a text and are years or evenly spaced; and if the
    cells below them are other numbers.
    """
    n = len(whole)
    years = len(set(whole)) == n and all(1900 <= x <= 2100 for x in whole)
    if whole in (list(range(n)), list(range(1, n + 1))):
        if first == [str(x + n) for x in whole]:  # as 1,2,3 and then 4,5,6
            return False
        if n > 3:  # no row counts so far by chance
            return True
    elif not (beside_text and (years or _are_evenly_spaced(whole))):
        return False
    low, high = (1900, 2100) if years else (min(whole), max(whole))
    return not all(_is_whole(cell) and low <= int(cell) <= high for cell in below)


def _are_evenly_spaced(numbers: list[int]) -> bool:
    steps = {y - x for x, y in itertools.pairwise(numbers)}
    return len(numbers) > 2 and len(steps | {0}) == 2


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
