"""Arrays on the disk: written from start to end, resumed after a kill, never taken for whole before."""

import errno
import hashlib
import json
import os
import re
import weakref
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np

from mlpax.atomic import TEMPORARY, atomic, check_folder, own
from mlpax.data.memory import written
from mlpax.errors import InputError

__all__ = ["LOCK", "Array", "Facts", "Progress", "Reader", "Writer", "added", "facts_of", "read_record",
           "room", "sole_writer", "write_record"]  # fmt: skip

PROGRESS = "progress.json"
LOCK = "cache.lock"
ENDS = 1 << 16  # bytes at either end of a file that its fingerprint covers
LIMIT = 1 << 28  # bytes of a record
HASH = re.compile("[0-9a-f]{64}")
NOTHING = f"{0:064x}"  # the hash of no piece


class Array(NamedTuple):
    """A file of rows of one type: `<name>.bin`."""

    name: str
    dtype: str  # as NumPy names it
    width: int  # values of a row

    @property
    def row(self) -> int:
        """Bytes of a row."""
        return np.dtype(self.dtype).itemsize * self.width

    def path(self, folder: Path) -> Path:
        return folder / f"{self.name}.bin"


class Facts(NamedTuple):
    """What tells whether a file is as it was."""

    name: str
    size: int
    modified: int  # nanoseconds
    digest: str  # of its first and last bytes


def facts_of(path: Path) -> Facts:
    """Return the facts of a file."""
    with open(path, "rb") as file:
        found = os.fstat(file.fileno())
        digest = hashlib.sha256(file.read(ENDS))
        file.seek(max(0, found.st_size - ENDS))
        digest.update(file.read(ENDS))
    return Facts(path.name, found.st_size, found.st_mtime_ns, digest.hexdigest())


def read_record(file: Path) -> dict[str, object] | None:
    """Return the JSON object in a file of a cache; None if there is no whole one."""
    try:
        with open(own(file), "rb") as opened:
            value: object = json.loads(opened.read(LIMIT))
    except (OSError, ValueError):
        return None
    return cast("dict[str, object]", value) if isinstance(value, dict) else None


def write_record(file: Path, value: Mapping[str, object]) -> None:
    """Write a JSON object whole or not at all."""
    with room(file.parent), atomic(file) as opened:
        opened.write(json.dumps(value).encode())


@contextmanager
def room(folder: Path) -> Generator[None]:
    """Turn the error of a disk that is full, or of a folder that cannot be written, into one line."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise InputError(
                f"the disk of the cache {folder} is full; make room and train again, which goes on from here,"
                " or choose another disk with --cache"
            ) from None
        said = error.strerror or str(error)
        raise InputError(
            f"the cache {folder} cannot be written: {said}; choose another with --cache"
        ) from None


@contextmanager
def sole_writer(folder: Path) -> Generator[None]:
    """Create a folder of a cache, and keep other processes from writing it.

    Raises
    ------
    InputError
        If another process writes the folder, or this one cannot.
    """
    with room(folder):
        folder.mkdir(parents=True, exist_ok=True)
        check_folder(folder)
        file = own(folder / LOCK, os.O_RDWR | os.O_CREAT)
    try:
        if os.name == "posix":  # elsewhere the arrays are written by one process, if the user takes care
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise InputError(f"another process writes the cache {folder}; wait for it") from None
        for path in folder.glob(f".*{TEMPORARY}"):  # of processes that were killed
            path.unlink(missing_ok=True)
        yield
    finally:
        os.close(file)


@dataclass(frozen=True)
class Progress:
    """How far arrays are written.

    Attributes
    ----------
    rows : int
        Rows of the table that were read.
    sizes : dict
        Bytes of each array.
    digests : dict
        A hash of each array: the sum of those of its pieces between two commits; see `added`.
    """

    rows: int
    sizes: dict[str, int]
    digests: dict[str, str]

    def to_json(self) -> dict[str, object]:
        return {"rows": self.rows, "sizes": self.sizes, "digests": self.digests}

    @staticmethod
    def from_json(record: dict[str, object] | None, arrays: list[Array], first: int = 0) -> "Progress":
        """Return the progress in a record, or that of the start if the record does not fit the arrays.

        The start is before row `first` of the table.
        """
        names = {array.name for array in arrays}
        start = Progress(first, dict.fromkeys(names, 0), dict.fromkeys(names, NOTHING))
        if record is None:
            return start
        rows, sizes, digests = (record.get(name) for name in ("rows", "sizes", "digests"))
        if not (isinstance(rows, int) and isinstance(sizes, dict) and isinstance(digests, dict)):
            return start
        sizes, digests = cast("dict[str, object]", sizes), cast("dict[str, object]", digests)
        if not sizes.keys() == digests.keys() == names:
            return start
        if not all(type(size) is int and size >= 0 for size in sizes.values()):
            return start
        if not all(HASH.fullmatch(str(digest)) for digest in digests.values()):
            return start
        return Progress(rows, cast("dict[str, int]", sizes), {name: str(d) for name, d in digests.items()})


def added(*digests: str) -> str:
    """Return the sum of hashes. It does not depend on who wrote which pieces."""
    return f"{sum(int(digest, 16) for digest in digests) % 2**256:064x}"


def _hash_from(row: int):
    """Return the hash of a piece of an array before its first byte; `row` is its first row of the table."""
    return hashlib.sha256(f"{row} ".encode())


class Writer:
    """Write arrays from start to end. What was committed before a kill stays; the rest is written again.

    Of several processes that write a table, each begins at a row `first`, and writes to a folder of its own.
    """

    def __init__(self, folder: Path, arrays: list[Array], first: int = 0) -> None:
        self.folder, self.arrays = folder, {array.name: array for array in arrays}
        self.progress = Progress.from_json(read_record(folder / PROGRESS), arrays, first)
        if any(_size(array.path(folder)) < self.progress.sizes[array.name] for array in arrays):
            self.progress = Progress.from_json(None, arrays, first)  # somebody has cut a file
        self.files: dict[str, int] = {}
        self.hashes = {name: _hash_from(self.progress.rows) for name in self.arrays}
        self.sizes = dict(self.progress.sizes)
        with room(folder):
            for array in arrays:
                file = self.files[array.name] = own(array.path(folder), os.O_RDWR | os.O_CREAT)
                os.ftruncate(file, self.sizes[array.name])
                os.lseek(file, 0, os.SEEK_END)

    def put(self, name: str, rows: np.ndarray) -> None:
        """Append rows to an array."""
        if not len(rows):
            return
        data = np.ascontiguousarray(rows, self.arrays[name].dtype).data.cast("B")
        self.hashes[name].update(data)
        self.sizes[name] += len(data)
        with room(self.folder):
            while len(data):
                data = data[os.write(self.files[name], data) :]

    def commit(self, rows: int) -> None:
        """Put on the disk what was appended, after so many rows of the table.

        The hash of an array depends on the rows between commits, not on the calls of `put`.
        """
        before = self.progress.digests
        digests = {name: added(before[name], found.hexdigest()) for name, found in self.hashes.items()}
        with room(self.folder):
            for file in self.files.values():
                os.fsync(file)
                if hasattr(os, "posix_fadvise"):  # the pages need not stay in memory
                    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        self.progress = Progress(rows, dict(self.sizes), digests)
        self.hashes = {name: _hash_from(rows) for name in self.arrays}
        write_record(self.folder / PROGRESS, self.progress.to_json())

    def forget(self) -> None:
        """Take nothing that was committed for whole: the next writer begins anew."""
        (self.folder / PROGRESS).unlink(missing_ok=True)

    def close(self) -> None:
        _close(self.files)


class Reader:
    """Read rows of arrays that are whole. Threads may share it.

    `shards` are the folders in which the rows of each array lie one after the other, by their names in
    `folder`, with the sizes of their files in bytes.
    """

    def __init__(self, folder: Path, arrays: list[Array], shards: Mapping[str, Mapping[str, int]]) -> None:
        self.folder, self.arrays = folder, {array.name: array for array in arrays}
        self.files: dict[str, list[tuple[int, int]]] = {array.name: [] for array in arrays}  # with its rows
        weakref.finalize(self, _close_shards, self.files)
        for shard, sizes in shards.items():
            for array in arrays:
                path, size = array.path(folder / shard), sizes[array.name]
                if _size(path) != size:
                    raise InputError(
                        f"{path} has {written(max(0, _size(path)))} instead of {written(size)};"
                        f" remove the folder {folder}, and train again"
                    )
                self.files[array.name].append((own(path), size // array.row))

    def height(self, name: str) -> int:
        """Return the rows of an array."""
        return sum(rows for _, rows in self.files[name])

    def rows(self, name: str, first: int, rows: int) -> np.ndarray:
        """Return some rows of an array: (rows, width)."""
        array, begin = self.arrays[name], 0
        found = np.empty((rows, array.width), array.dtype)
        for file, held in self.files[name]:
            low, high = max(first - begin, 0), min(first + rows - begin, held)
            if low < high:
                at = begin + low - first
                self._fill(found[at : at + high - low], file, low * array.row, array)
            begin += held
        return found

    def _fill(self, rows: np.ndarray, file: int, at: int, array: Array) -> None:
        view = rows.data.cast("B")
        while len(view):
            read = _read_at(file, view, at)
            if not read:
                raise InputError(f"{array.path(self.folder)} was cut while it was read; train again")
            view, at = view[read:], at + read


def _close(files: dict[str, int]) -> None:
    while files:
        os.close(files.popitem()[1])


def _close_shards(files: dict[str, list[tuple[int, int]]]) -> None:
    for shards in files.values():
        while shards:
            os.close(shards.pop()[0])


def _read_at(file: int, view: memoryview, at: int) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(file, [view], at)
    os.lseek(file, at, os.SEEK_SET)  # one thread reads
    data = os.read(file, len(view))
    view[: len(data)] = data
    return len(data)


def _size(path: Path) -> int:
    """Return the size of a file; -1 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return -1
