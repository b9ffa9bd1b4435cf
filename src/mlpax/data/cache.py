"""Arrays on the disk: written from start to end, resumed after a kill, never taken for whole before."""

import errno
import hashlib
import json
import os
import re
import weakref
import zlib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np

from mlpax.atomic import TEMPORARY, atomic, check_folder, own
from mlpax.data.memory import written
from mlpax.errors import InputError

__all__ = ["LOCK", "PROGRESS", "Array", "Facts", "Progress", "Reader", "Writer", "added", "facts_of",
           "read_record", "room", "sole_writer", "write_record"]  # fmt: skip

PROGRESS = "progress.json"
LOCK = "cache.lock"
PAGE = 1024  # rows of an array that share a checksum
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

    @property
    def page(self) -> int:
        """Bytes that share a checksum."""
        return PAGE * self.row

    def path(self, folder: Path) -> Path:
        return folder / f"{self.name}.bin"

    def sums(self, folder: Path) -> Path:
        """The file of the checksums, one for each page."""
        return folder / f"{self.name}.sums"


class Facts(NamedTuple):
    """What tells whether a file is as it was."""

    name: str
    size: int
    modified: int  # nanoseconds
    digest: str  # of its first and last bytes


def facts_of(path: Path) -> Facts:
    """Return the facts of a file."""
    try:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            digest = hashlib.sha256(file.read(ENDS))
            file.seek(max(0, found.st_size - ENDS))
            digest.update(file.read(ENDS))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
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
        self.sums: dict[str, _Sums] = {}
        with room(folder):
            for array in arrays:
                file = self.files[array.name] = own(array.path(folder), os.O_RDWR | os.O_CREAT)
                os.ftruncate(file, self.sizes[array.name])
                os.lseek(file, self.sizes[array.name] // array.page * array.page, os.SEEK_SET)
                sums = self.files[f"{array.name} sums"] = own(array.sums(folder), os.O_RDWR | os.O_CREAT)
                self.sums[array.name] = _Sums(sums, array.page, self.sizes[array.name] // array.page)
                while begun := os.read(file, array.page):  # the start of a page
                    self.sums[array.name].add(memoryview(begun))

    def put(self, name: str, rows: np.ndarray) -> None:
        """Append rows to an array."""
        if not len(rows):
            return
        data = np.ascontiguousarray(rows, self.arrays[name].dtype).data.cast("B")
        self.hashes[name].update(data)
        self.sums[name].add(data)
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
            for sums in self.sums.values():
                sums.write()
            for file in self.files.values():
                os.fsync(file)
                if hasattr(os, "posix_fadvise"):  # the pages need not stay in memory
                    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        self.progress = Progress(rows, dict(self.sizes), digests)
        self.hashes = {name: _hash_from(rows) for name in self.arrays}
        write_record(self.folder / PROGRESS, self.progress.to_json())

    def close(self) -> None:
        _close(self.files)


class _Sums:
    """The checksums of an array that is written: of each page, and of the page that is begun."""

    def __init__(self, file: int, page: int, whole: int) -> None:
        self.file, self.page, self.whole = file, page, whole  # pages whose sums are on the disk
        self.found, self.begun = [0], 0  # sums of the pages after them, and bytes of the last one

    def add(self, data: memoryview) -> None:
        while len(data):
            if self.begun == self.page:
                self.found.append(0)
                self.begun = 0
            some = data[: self.page - self.begun]
            self.found[-1] = zlib.crc32(some, self.found[-1])
            self.begun += len(some)
            data = data[len(some) :]

    def write(self) -> None:
        os.lseek(self.file, 4 * self.whole, os.SEEK_SET)
        data = memoryview(np.array(self.found if self.begun else [], "<u4").tobytes())
        while len(data):
            data = data[os.write(self.file, data) :]
        self.whole, self.found = self.whole + len(self.found) - 1, self.found[-1:]


class _File(NamedTuple):
    """A file of an array that is whole, with the checksums of its pages."""

    file: int
    path: Path
    size: int
    page: int
    sums: np.ndarray

    @staticmethod
    def open(array: Array, folder: Path, size: int) -> "_File":
        """Open the file in a folder, which must have so many bytes."""
        path, pages = array.path(folder), -(-size // array.page)
        if _size(path) != size:
            has, stated = written(max(0, _size(path))), written(size)
            raise InputError(f"{path} has {has} instead of {stated}; {_again(folder)}")
        with _readable(path):
            file = own(path)
        with _readable(array.sums(folder)), open(own(array.sums(folder)), "rb") as opened:
            found = np.frombuffer(opened.read(4 * pages), "<u4", pages) if pages else np.zeros(0, "<u4")
        return _File(file, path, size, array.page, found)

    def read(self, at: int, view: memoryview) -> None:
        """Fill a view with the bytes from a place, and check the pages that hold them."""
        first, end = at // self.page * self.page, -(-(at + len(view)) // self.page) * self.page
        end = min(end, self.size)
        whole = view if (first, end) == (at, at + len(view)) else memoryview(bytearray(end - first))
        with _readable(self.path):
            self._fill(first, whole)
        for begin in range(first, end, self.page):
            if zlib.crc32(whole[begin - first :][: self.page]) != self.sums[begin // self.page]:
                raise InputError(f"{self.path} is damaged after byte {begin:,}; {_again(self.path.parent)}")
        if whole is not view:
            view[:] = whole[at - first :][: len(view)]

    def _fill(self, at: int, view: memoryview) -> None:
        while len(view):
            read = _read_at(self.file, view, at)
            if not read:
                raise InputError(f"{self.path} was cut while it was read; train again")
            view, at = view[read:], at + read


@contextmanager
def _readable(path: Path) -> Generator[None]:
    """Turn the error of a file that cannot be read into one line."""
    try:
        yield
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        said = (error.strerror if isinstance(error, OSError) else None) or "it was cut"
        raise InputError(f"{path} cannot be read: {said}; {_again(path.parent)}") from None


def _again(folder: Path) -> str:
    return f"remove the folder {folder}, which the next training, or mlpax resume, writes again"


class Reader:
    """Read rows of arrays that are whole. Threads may share it.

    `shards` are the folders in which the rows of each array lie one after the other, by their names in
    `folder`, with the sizes of their files in bytes.
    """

    def __init__(self, folder: Path, arrays: list[Array], shards: Mapping[str, Mapping[str, int]]) -> None:
        self.folder, self.arrays = folder, {array.name: array for array in arrays}
        self.files: dict[str, list[_File]] = {array.name: [] for array in arrays}
        weakref.finalize(self, _close_shards, self.files)
        for shard, sizes in shards.items():
            for array in arrays:
                self.files[array.name].append(_File.open(array, folder / shard, sizes[array.name]))

    def height(self, name: str) -> int:
        """Return the rows of an array."""
        return sum(found.size for found in self.files[name]) // self.arrays[name].row

    def rows(self, name: str, first: int, rows: int) -> np.ndarray:
        """Return some rows of an array: (rows, width)."""
        array, begin = self.arrays[name], 0
        found = np.empty((rows, array.width), array.dtype)
        for file in self.files[name]:
            held = file.size // array.row
            low, high = max(first - begin, 0), min(first + rows - begin, held)
            if low < high:
                at = begin + low - first
                file.read(low * array.row, found[at : at + high - low].data.cast("B"))
            begin += held
        return found


def _close(files: dict[str, int]) -> None:
    while files:
        os.close(files.popitem()[1])


def _close_shards(files: dict[str, list[_File]]) -> None:
    for shards in files.values():
        while shards:
            os.close(shards.pop().file)


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
