"""A safetensors file: a text and named float32 arrays, read once, in memory that the file's size bounds."""

import json
import math
import os
import stat
import struct
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import cast

import numpy as np

from mlpax.errors import ModelFileError
from mlpax.model.schema import parsed

__all__ = ["HEADER_LIMIT", "Arrays", "Record", "head", "opened", "record_of"]

HEADER_LIMIT = 10**8  # bytes, safetensors' own; ours are a few thousand, and the names of the levels
KEY = "mlpax"  # of the text, in the header's metadata

Record = dict[str, object]
Arrays = dict[str, np.ndarray]
Shape = tuple[int, ...]


def head(text: str, shapes: Mapping[str, Shape]) -> bytes:
    """Return the start of a file. Behind it come the bytes of the arrays, in the order of their shapes.

    Raises
    ------
    ValueError
        If `opened` would not read it.
    """
    entries: Record = {"__metadata__": {KEY: text}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * math.prod(shape)
        entries[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    header = json.dumps(entries)
    header += " " * (-len(header) % 8)
    if len(header) > HEADER_LIMIT:
        raise ValueError(
            f"its header takes {len(header) / 1e6:,.0f} MB; a file may have {HEADER_LIMIT / 1e6:.0f}"
        )
    parsed(header)
    return struct.pack("<Q", len(header)) + header.encode()


@contextmanager
def opened(path: Path) -> Generator[tuple[str, Callable[[], Arrays]]]:
    """Open a file, and yield its text and a function that reads its arrays.

    Raises
    ------
    ModelFileError
        If the path is no regular file, or the file no safetensors file with a text of ours.
    ValueError
        If the file is damaged, or becomes shorter while it is read.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ModelFileError(f"{path} is no file; give a run directory or a .safetensors file")
        start, size = file.read(8), status.st_size
        length: int = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(HEADER_LIMIT, size - 8):
            raise ModelFileError(f"{path} is no model file: its header does not fit its {size} bytes")
        entries = record_of(parsed(file.read(length).decode()))
        text = record_of(entries.pop("__metadata__", None)).get(KEY)
        if not isinstance(text, str):
            raise ModelFileError(f"{path} is a safetensors file, but no model of mlpax")
        yield text, lambda: _arrays(file, entries, size - 8 - length)


def _without_waiting(path: str, flags: int) -> int:
    """Open a path. A pipe without a writer would be waited for."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def record_of(value: object) -> Record:
    """Return an object of JSON; of anything else, an empty one."""
    return cast(Record, value) if isinstance(value, dict) else {}


def _arrays(file: BufferedReader, entries: Record, size: int) -> Arrays:
    """Read the arrays, which follow each other and fill the rest of the file, of `size` bytes."""
    places = sorted((*_place(name, record_of(entry)), name) for name, entry in entries.items())
    end = 0
    for start, stop, shape, name in places:
        if start != end or not 0 < stop - start == 4 * math.prod(shape):
            raise ValueError(f"array {name!r} does not lie where it should")
        end = stop
    if end != size:
        raise ValueError(f"its arrays take {end} bytes, but {size} follow its header")
    numbers = np.empty(size // 4, "<f4")
    if (read := file.readinto(numbers.data.cast("B"))) != size:
        raise ValueError(f"it ended while it was read, {size - read} bytes too early")
    return {name: numbers[start // 4 : stop // 4].reshape(shape) for start, stop, shape, name in places}


def _place(name: str, entry: Record) -> tuple[int, int, Shape]:
    """Return where an array's bytes start and end, and its shape."""
    shape, place = _whole_numbers(entry.get("shape")), _whole_numbers(entry.get("data_offsets"))
    if entry.get("dtype") != "F32":  # NumPy has no arrays of some other types
        raise ValueError(f"array {name!r} is not float32")
    if shape is None or place is None or len(place) != 2 or len(entry) != 3:
        raise ValueError(f"array {name!r} has no shape or no place")
    return *place, shape  # pyright: ignore[reportReturnType]


def _whole_numbers(value: object) -> Shape | None:
    items = cast("list[object]", value) if isinstance(value, list) else [None]
    whole = tuple(item for item in items if type(item) is int and item >= 0)
    return whole if len(whole) == len(items) else None
