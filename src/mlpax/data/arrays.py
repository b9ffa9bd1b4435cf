"""Read arrays from IDX, .npy and .npz files, without trusting what they state."""

import gzip
import math
import re
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from mlpax.data.memory import ENTRY, refuse_beyond
from mlpax.errors import InputError, listed, shortened

__all__ = ["is_arrays", "labels_beside", "read_arrays", "read_idx", "read_rows"]

COPIES = 3  # of an array that are in memory while it is read and its rows are held out
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


def read_arrays(path: str | Path, memory: str | None = None) -> tuple[np.ndarray, np.ndarray | None]:
    """Rows and their labels: `X` and `y` of an .npz file; of an IDX or .npy file those in `labels_beside`.

    Parameters
    ----------
    path : path
    memory : str, optional
        The most memory that the arrays may take, such as "4G"; by default half of what is available.

    Returns
    -------
    X : array of shape (rows, ...)
    y : array of shape (rows,), or None where there are no labels

    Raises
    ------
    InputError
        If a file is missing, damaged, of another kind or too large, or the two are of unequal length.
    """
    path, labels = Path(path), Path(path)
    if path.suffix.lower() == ".npz":
        X, y = _read_npz(path, memory)
    else:
        beside = labels_beside(path)
        X, y = read_rows(path, memory=memory), None
        if beside and beside.is_file():
            y, labels = read_rows(beside, "biufU", memory), beside
    if X.ndim == 0 or X.size == 0:
        raise InputError(f"{path} has X of shape {X.shape}; data are (rows, features), with some of both")
    if y is not None and y.shape != (len(X),):
        raise InputError(f"{labels} has y of shape {y.shape} for {len(X)} rows of X")
    return X, y


def _read_npz(path: Path, memory: str | None) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        refuse_beyond(path, ENTRY * path.stat().st_size, memory)
        with zipfile.ZipFile(path) as archive:
            members = {name.removesuffix(".npy"): name for name in archive.namelist()}
            if "X" not in members:
                raise InputError(f"{path} has no array X; it holds {listed(members) or 'none'}")
            stated = [archive.getinfo(members[name]).file_size for name in ("X", "y") if name in members]
            refuse_beyond(path, COPIES * sum(stated), memory)
            X = _member(path, archive, members["X"])
            return X, _member(path, archive, members["y"]) if "y" in members else None
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"{path} is larger than the memory, or states a size that is") from None
    except Exception as error:  # zipfile and NumPy let many kinds through
        said = " ".join(str(error).split())[:160] or type(error).__name__
        raise InputError(f"{path} is no whole .npz file: {said}") from None


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """Read an array of an .npz file whose header states as many bytes as the archive does."""
    info = archive.getinfo(name)
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        header = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = header(file)
        if dtype.kind != "O" and (dtype.kind not in "biufU" or dtype.str[1:] == "f16"):
            of = shortened(str(dtype), 80)
            raise InputError(f"{path} has {name.removesuffix('.npy')} of type {of}; give numbers or text")
        stated, found = math.prod(shape) * dtype.itemsize, info.file_size - file.tell()
        if dtype.kind != "O" and stated != found:
            raise Damage(f"{name} states the shape {shape}, {stated} bytes, but holds {found}")
    with archive.open(info) as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
        file.read(1)  # at the end of the member its checksum is looked at
    return array


def read_rows(path: str | Path, kinds: str = "biuf", memory: str | None = None) -> np.ndarray:
    """Rows of an IDX, a .npy or (its `X`) an .npz file: array of shape (rows, ...).

    Parameters
    ----------
    path : path
    kinds : str
        NumPy's letters of the types that a .npy file may have.
    memory : str, optional
        See `read_arrays`.

    Raises
    ------
    InputError
        If the file is missing, damaged, of another kind or too large.
    """
    path = Path(path)
    if path.suffix.lower() == ".npz":
        return _rows_of(path, _read_npz(path, memory)[0])
    if path.suffix.lower() != ".npy":
        return read_idx(path, memory)
    try:
        with np.errstate(over="raise"):  # a product of stated dimensions must not wrap around
            array = np.asarray(np.lib.format.open_memmap(path, mode="r"))  # a map allocates nothing
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    except Exception as error:  # NumPy's parser of headers lets many kinds through
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path} is no .npy file of numbers: {said}") from None
    if array.dtype.kind not in kinds:
        said = shortened(str(array.dtype), 80)
        raise InputError(f"{path} is no .npy file of numbers: its type is {said}")
    refuse_beyond(path, COPIES * array.nbytes, memory)
    return _rows_of(path, array)


def _rows_of(path: Path, array: np.ndarray) -> np.ndarray:
    if array.ndim == 0:
        raise InputError(f"{path} holds a single value, not rows")
    return array


IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
DEFLATE_LIMIT = 1032  # no deflate stream grows by more
MAX_DIMENSIONS = 64  # NumPy's
HEADER = 4 + 4 * MAX_DIMENSIONS  # bytes of the longest
CHUNK = 1 << 16  # bytes that hold a header, however it is packed


class Damage(Exception):  # noqa: N818
    """Why a file is not what it should be."""


def read_idx(path: str | Path, memory: str | None = None) -> np.ndarray:
    """Read an IDX file, gzipped or not (by its first bytes, not its name).

    Parameters
    ----------
    path : path
    memory : str, optional
        See `read_arrays`.

    Returns
    -------
    array
        Of the shape and type that the header states, in the machine's byte order.

    Raises
    ------
    InputError
        If the file is missing, not exactly what its header states, or too large. No more is ever
        allocated than the file can hold.
    """
    path = Path(path)
    try:
        refuse_beyond(path, COPIES * _size_of_idx(path), memory)
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


def _size_of_idx(path: Path) -> int:
    """Return the bytes of the array in a file; of a gzipped one as its header states, if it can hold them."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        content = file.read(CHUNK)
    if content[:2] != b"\x1f\x8b":
        return size
    with suppress(Damage, zlib.error):  # which `_inflate` tells
        dtype, shape, _ = _header(zlib.decompressobj(wbits=31).decompress(content, HEADER))
        return max(size, min(math.prod(shape) * dtype.itemsize, DEFLATE_LIMIT * size))
    return size


def _inflate(content: bytes) -> bytes:
    """Unpack a gzip stream, never beyond what its IDX header states and the stream can hold."""
    stream = zlib.decompressobj(wbits=31)
    start = stream.decompress(content, HEADER)
    if len(start) < HEADER and not stream.eof:
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
