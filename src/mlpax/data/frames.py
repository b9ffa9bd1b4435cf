"""Rows that a program gives frame by frame: read in several passes, or written to the disk first."""

import hashlib
import io
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from mlpax.atomic import atomic
from mlpax.data.cache import LOCK, facts_of, room, sole_writer
from mlpax.data.parts import Schema
from mlpax.data.tables import as_frame
from mlpax.errors import InputError, Notice

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Frames", "frames_of", "is_one_shot", "spooled"]

SPOOLED = 1 << 22  # cells of a file of the rows of an iterator, about
SPOOL = "spool-"  # start of the name of the folder of such files; with a dot before it while it is written


class Whole(NamedTuple):
    """What a pass over all rows tells."""

    rows: int
    digest: str


class _Seen:
    """The number of the rows so far, and a hash of them that does not depend on the cuts between frames."""

    def __init__(self) -> None:
        self.rows, self.hash = 0, hashlib.sha256()

    def add(self, frame: "pl.DataFrame") -> None:
        import polars as pl

        levels = pl.selectors.categorical() | pl.selectors.enum()  # their numbers depend on the process
        if not self.rows:
            self.hash.update(repr(frame.columns).encode())
        self.rows += frame.height
        self.hash.update(frame.with_columns(levels.cast(pl.String)).hash_rows(seed=0).to_numpy().data)

    def whole(self) -> Whole:
        if not self.rows:
            raise InputError("the frames have no row; a table needs some")
        return Whole(self.rows, self.hash.hexdigest())


@dataclass(frozen=True)
class Frames:
    """Rows that can be read again and again, frame by frame.

    Attributes
    ----------
    begin : callable
        Start a pass: takes the cells of a frame, about, and returns frames. Only a data set of pyarrow's
        heeds the number.
    known : callable, optional
        Return what tells whether the rows are as they were. Without, a pass over the rows tells.
    count : callable, optional
        Return the number of rows. Without, a pass tells.
    """

    begin: Callable[[int], Iterable[object]]
    known: Callable[[], list[object]] | None = None
    count: Callable[[], int] | None = None

    def pieces(self, cells: int) -> "Iterator[tuple[Path, pl.DataFrame]]":
        """Yield all rows in order, in pieces of about so many cells at most, each with its frame's name.

        Raises
        ------
        InputError
            If a frame is none, or the rows are others than in an earlier pass.
        """
        seen = _Seen()
        for name, frame in _numbered(self.begin(cells)):
            if self.known is None:
                seen.add(frame)
            for piece in frame.iter_slices(max(1, cells // frame.width)):
                yield name, piece
        if self.known is None and seen.whole() != self.whole:
            raise InputError(
                f"the frames gave {self.whole.rows:,} rows in the first pass, and {seen.rows:,} or other"
                " rows in a later one; give an iterator, whose rows are written to the cache once"
            )

    @cached_property
    def whole(self) -> Whole:
        """What the first pass tells."""
        seen = _Seen()
        for _, frame in _numbered(self.begin(SPOOLED)):
            seen.add(frame)
        return seen.whole()

    @property
    def rows(self) -> int:
        return self.whole.rows if self.count is None else self.count()

    @property
    def facts(self) -> list[object]:
        """What tells whether the rows are as they were."""
        return [self.whole.digest] if self.known is None else self.known()


def _numbered(frames: Iterable[object]) -> "Iterator[tuple[Path, pl.DataFrame]]":
    """Yield the frames that have rows, each with its name, `frame 1`."""
    try:
        walked = iter(frames)
    except TypeError:
        raise InputError(
            f"the data give {type(frames).__name__}, which is no iterable of frames; yield frames one by one"
        ) from None
    schema = Schema()
    for number, given in enumerate(walked, 1):
        name = Path(f"frame {number}")
        try:
            frame = as_frame(given)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        if frame.width == 0:
            raise InputError(f"{name} has no column; yield frames with the same columns")
        if frame.height:
            yield name, schema.checked(name, frame)


def frames_of(data: object) -> Frames | None:
    """Return frames that can be read in several passes; None if the data are none.

    Parameters
    ----------
    data
        A data set of pyarrow's; a function without arguments that returns an iterator of frames; or an object
        that gives a new iterator of frames each time, such as a list of them.
    """
    known: Any = data  # by what it can do; pyarrow need not be there
    if hasattr(data, "to_batches") and hasattr(data, "count_rows") and hasattr(data, "get_fragments"):
        return _of_pyarrow(known)
    if isinstance(data, list | tuple):
        items = cast("list[object]", data)
        framed = bool(items) and all(_is_frame(item) for item in items)
        return Frames(lambda cells: items) if framed else None
    if is_one_shot(data) or _is_frame(data) or isinstance(data, str | bytes | dict):
        return None
    if callable(data):
        return Frames(lambda cells: known())
    arrays = ("__array__", "__array_interface__", "dtype", "toarray")
    if not hasattr(data, "__iter__") or any(hasattr(data, name) for name in arrays):
        return None
    return Frames(lambda cells: known)


def is_one_shot(data: object) -> bool:
    """Whether data are an iterator, which can be walked once."""
    return hasattr(data, "__next__")


def _is_frame(data: object) -> bool:
    return any(hasattr(data, name) for name in ("collect_schema", "columns", "column_names"))


def _of_pyarrow(data: Any) -> Frames:
    """Return the rows of a `pyarrow.dataset.Dataset`, in batches that fit in memory."""
    width = max(1, len(data.schema))

    def begin(cells: int) -> Iterable[object]:
        return data.to_batches(batch_size=max(1, cells // width), batch_readahead=1, fragment_readahead=1)

    try:  # of a data set that is filtered pyarrow does not say by what
        fragments = [(Path(one.path), str(one.partition_expression)) for one in data.get_fragments()]
        files = all(path.is_absolute() and path.is_file() for path, _ in fragments)
    except (ValueError, AttributeError):
        files, fragments = False, []

    def known() -> list[object]:
        return [str(data.schema), *((*facts_of(path), part) for path, part in fragments)]

    return Frames(begin, known if files and fragments else None, data.count_rows)


# An iterator, whose rows come once


def spooled(frames: Iterable[object], cache: Path, notice: Notice) -> Path:
    """Write the rows of an iterator to Parquet files in a folder of a cache, and return the folder.

    The name of the folder is a hash of the rows. If there is one of this name, it stays.

    Raises
    ------
    InputError
        If a frame is none, there is no row, or the disk is full.
    """
    notice(
        f"an iterator gives its rows once: they are written to {cache} first; a function that returns an"
        " iterator is read in several passes instead"
    )
    with room(cache):
        cache.mkdir(parents=True, exist_ok=True)
        for left in cache.glob(f".{SPOOL}*"):  # of processes that were killed
            with suppress(InputError), sole_writer(left):
                shutil.rmtree(left, ignore_errors=True)
    folder = cache / f".{SPOOL}{os.getpid()}-{secrets.token_hex(4)}"
    seen = _Seen()
    try:
        with sole_writer(folder):
            for number, frame in enumerate(_of_rows(frames, seen)):
                with room(folder), atomic(folder / f"{number:06}.parquet") as file:
                    buffer = io.BytesIO()  # the reader's own errors of a full disk name no folder
                    frame.write_parquet(buffer)
                    file.write(buffer.getbuffer())
            found = seen.whole()
            place = cache / f"{SPOOL}{found.digest[:32]}"
            with room(cache):
                (folder / LOCK).unlink()
                with suppress(FileExistsError, OSError):
                    os.rename(folder, place)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not place.is_dir():
        raise InputError(f"the rows could not be kept as {place}; choose another folder with --cache")
    notice(f"the iterator gave {found.rows:,} rows, which are kept in {place}")
    return place


def _of_rows(frames: Iterable[object], seen: _Seen) -> "Iterator[pl.DataFrame]":
    """Yield all rows in frames of so many rows that the cuts of the given ones do not matter."""
    schema, waiting, height, rows = Schema(), list["pl.DataFrame"](), 0, 0
    for name, frame in _numbered(frames):
        seen.add(frame)
        rows = rows or max(1, SPOOLED // frame.width)
        waiting.append(schema.checked(name, frame))
        height += frame.height
        if height < rows:
            continue
        joined = schema.joined(waiting)
        whole = height // rows * rows
        yield from joined.head(whole).iter_slices(rows)
        waiting, height = [joined.slice(whole)], height - whole
    if height:
        yield schema.joined(waiting)
