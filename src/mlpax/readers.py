"""Arrays from files (IDX, gzipped or not, and .npy), read without trusting what they state."""

import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from mlpax.errors import InputError

__all__ = ["read_idx", "read_rows"]


def read_rows(path: str | Path) -> np.ndarray:
    """Rows to predict, from an IDX or a .npy file: array of shape (rows, ...).

    Raises
    ------
    InputError
        If the file is missing, damaged or of another kind.
    """
    path = Path(path)
    if path.suffix != ".npy":
        return read_idx(path)
    try:
        with np.errstate(over="raise"):  # a product of stated dimensions must not wrap around
            array = np.asarray(np.lib.format.open_memmap(path, mode="r"))  # a map allocates nothing
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    except Exception as error:  # NumPy's parser of headers lets many kinds through
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path} is no .npy file of numbers: {said}") from None
    if array.dtype.kind not in "biuf":
        raise InputError(f"{path} is no .npy file of numbers: its type is {array.dtype}")
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
