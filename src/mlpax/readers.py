"""Arrays from files (IDX, .npy and .npz), read without trusting what they state; and how a CSV is written."""

import csv
import gzip
import io
import itertools
import math
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from mlpax.errors import InputError, counted

__all__ = ["MISSING", "as_utf8", "check_rows", "dialect", "is_arrays", "is_gzip", "labels_beside",
           "read_arrays", "read_idx", "read_rows", "starts"]  # fmt: skip

PAIRS = (("images", "labels"), ("X", "y"), ("x", "y"))  # in the names of two files of one set


def is_arrays(path: str | Path) -> bool:
    """Whether a file is .npy or .npz by its name, or IDX by its first bytes."""
    path = Path(path)
    if path.suffix.lower() in (".npy", ".npz"):
        return True
    try:
        with open(path, "rb") as file:
            start = file.read(4)
        if start[:2] == b"\x1f\x8b":
            with gzip.open(path, "rb") as file:
                start = file.read(4)
    except (OSError, EOFError, zlib.error):
        return False
    return start[:2] == b"\0\0" and start[2:3] != b"" and start[2] in IDX_TYPES


def labels_beside(path: Path) -> Path | None:
    """Where the labels of a file of rows lie: `y.npy` of `X.npy`, `labels-idx1-ubyte` of `images-idx3-ubyte`.

    It need not be there, and may be gzipped where the rows are not; None of a name that is no half of a pair.
    """
    for rows, labels in PAIRS:
        other = re.sub(rf"(?<![A-Za-z]){rows}(?![A-Za-z])", labels, path.name)
        if other != path.name:
            other = re.sub(r"idx\d", "idx1", other).removesuffix(".gz")
            names = (other, f"{other}.gz")
            return next(
                (found for n in names if (found := path.with_name(n)).is_file()), path.with_name(other)
            )
    return None


def read_arrays(path: str | Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Rows and their labels: `X` and `y` of an .npz file; of an IDX or .npy file those in `labels_beside`.

    Returns
    -------
    X : array of shape (rows, ...)
    y : array of shape (rows,), or None where there are no labels

    Raises
    ------
    InputError
        If a file is missing, damaged or of another kind, or the two are of unequal length.
    """
    path, labels = Path(path), Path(path)
    if path.suffix.lower() == ".npz":
        X, y = _read_npz(path)
    else:
        beside = labels_beside(path)
        X, y = read_rows(path), None
        if beside and beside.is_file():
            y, labels = read_rows(beside, "biufU"), beside
    if X.ndim == 0 or X.size == 0:
        raise InputError(f"{path} has X of shape {X.shape}; data are (rows, features), with some of both")
    if y is not None and y.shape != (len(X),):
        raise InputError(f"{labels} has y of shape {y.shape} for {len(X)} rows of X")
    return X, y


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        if not zipfile.is_zipfile(path):  # of which NumPy says to trust it
            raise ValueError("it is no archive of arrays")
        with np.load(path, allow_pickle=False) as arrays:
            if "X" not in arrays:
                raise InputError(f"{path} has no array X; it holds {', '.join(arrays.files) or 'none'}")
            found = {name: arrays[name] for name in ("X", "y") if name in arrays}
        for name, array in found.items():
            if (
                not isinstance(array, np.ndarray)
                or array.dtype.kind not in "biufU"
                or array.dtype.str[1:] == "f16"
            ):
                of = getattr(array, "dtype", "no array")
                raise InputError(f"{path} has {name} of type {of}; give numbers or text")
        return found["X"], found.get("y")
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"{path} is larger than the memory, or states a size that is") from None
    except Exception as error:  # zipfile and NumPy let many kinds through
        said = " ".join(str(error).split())[:160] or type(error).__name__
        raise InputError(f"{path} is no whole .npz file: {said}") from None


def read_rows(path: str | Path, kinds: str = "biuf") -> np.ndarray:
    """Rows of an IDX, a .npy or (its `X`) an .npz file: array of shape (rows, ...).

    Parameters
    ----------
    path : path
    kinds : str
        NumPy's letters of the types that a .npy file may have.

    Raises
    ------
    InputError
        If the file is missing, damaged or of another kind.
    """
    path = Path(path)
    if path.suffix.lower() == ".npz":
        return _rows_of(path, _read_npz(path)[0])
    if path.suffix.lower() != ".npy":
        return read_idx(path)
    try:
        with np.errstate(over="raise"):  # a product of stated dimensions must not wrap around
            array = np.asarray(np.lib.format.open_memmap(path, mode="r"))  # a map allocates nothing
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    except Exception as error:  # NumPy's parser of headers lets many kinds through
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path} is no .npy file of numbers: {said}") from None
    if array.dtype.kind not in kinds:
        raise InputError(f"{path} is no .npy file of numbers: its type is {array.dtype}")
    return _rows_of(path, array)


def _rows_of(path: Path, array: np.ndarray) -> np.ndarray:
    if array.ndim == 0:
        raise InputError(f"{path} holds a single value, not rows")
    return array


IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
DEFLATE_LIMIT = 1032  # no deflate stream grows by more
MAX_DIMENSIONS = 64  # NumPy's


class Damage(Exception):  # noqa: N818
    """Why a file is not what it should be."""


def read_idx(path: str | Path) -> np.ndarray:
    """Read an IDX file, gzipped or not (by its first bytes, not its name).

    Parameters
    ----------
    path : path

    Returns
    -------
    array
        Of the shape and type that the header states, in the machine's byte order.

    Raises
    ------
    InputError
        If the file is missing or not exactly what its header states. No more is ever allocated than
        the file can hold.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        return _parse_idx(_inflate(content) if content[:2] == b"\x1f\x8b" else content)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    except Damage as error:
        raise InputError(f"{path} is no whole IDX file: {error}") from None
    except zlib.error as error:
        raise InputError(f"{path} is corrupted gzip: {error}") from None


def _header(content: bytes) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """Type, shape and header length that the first bytes state."""
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in IDX_TYPES:
        raise Damage(
            f"it starts with {content[:4].hex(' ') or 'nothing'}, not 00 00, a type and a dimension count"
        )
    if not 1 <= content[3] <= MAX_DIMENSIONS:
        raise Damage(f"its header states {content[3]} dimensions, not 1 to {MAX_DIMENSIONS}")
    end = 4 + 4 * content[3]
    if len(content) < end:
        raise Damage(f"its header of {content[3]} dimensions is cut short")
    shape = tuple(int.from_bytes(content[i : i + 4], "big") for i in range(4, end, 4))
    if 0 in shape:
        raise Damage(f"its header states {shape}, which is empty")
    return np.dtype(IDX_TYPES[content[2]]), shape, end


def _inflate(content: bytes) -> bytes:
    """Unpack a gzip stream, never beyond what its IDX header states and the stream can hold."""
    stream = zlib.decompressobj(wbits=31)
    start = stream.decompress(content, 4 + 4 * MAX_DIMENSIONS)
    if len(start) < 4 + 4 * MAX_DIMENSIONS and not stream.eof:
        raise Damage("its gzip stream is cut short")
    dtype, shape, end = _header(start)
    stated = end + math.prod(shape) * dtype.itemsize
    if stated > DEFLATE_LIMIT * len(content) + 1024:
        raise Damage(f"its header states {stated} bytes, more than {len(content)} gzipped ones can hold")
    # A byte more than stated tells of more, and lets the stream reach its checksum.
    rest = stream.decompress(stream.unconsumed_tail, max(1, stated + 1 - len(start)))
    if len(start) + len(rest) <= stated and not stream.eof:
        raise Damage("its gzip stream is cut short")
    if stream.unused_data:
        raise Damage(f"{len(stream.unused_data)} bytes follow its gzip stream")
    return start + rest


def _parse_idx(content: bytes) -> np.ndarray:
    dtype, shape, end = _header(content)
    stated, found = math.prod(shape) * dtype.itemsize, len(content) - end
    if stated != found:
        more = "at least " if found > stated else ""
        raise Damage(f"its header states {shape}, {stated} bytes, but {more}{found} follow")
    array = np.frombuffer(content, dtype, offset=end).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


# How a CSV is written

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
