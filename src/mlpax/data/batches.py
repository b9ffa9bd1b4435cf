"""The rows of a table in batches, of files or of frames that come one by one."""

import json
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mlpax import hosts
from mlpax.data import tables
from mlpax.data.cache import facts_of
from mlpax.data.frames import Frames
from mlpax.data.parts import Schema
from mlpax.data.reading import FileOptions
from mlpax.errors import InputError, Notice, RowError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["SEGMENT", "Batch", "Parts", "named"]

SEGMENT = 1 << 18  # rows between two moments from which a killed encoding goes on


class Batch(NamedTuple):
    """Some rows of a table."""

    first: int  # number of the first row, from 0
    frame: "pl.DataFrame"
    file: Path

    @property
    def rows(self) -> np.ndarray:
        """The numbers of the rows in the table."""
        return np.arange(self.first, self.first + self.frame.height)


@dataclass(frozen=True)
class Parts:
    """The files of a table, read in batches."""

    path: Path
    files: list[Path]
    options: FileOptions
    cells: int  # of a batch, about
    most: int  # bytes of memory that a file may take which is read whole
    frames: Frames | None = None  # instead of files
    heights: tuple[int, ...] = ()  # rows of each file, if they are known
    begin: int = 0  # the first row that this process reads
    end: int = sys.maxsize

    def share(self) -> "Parts":
        """Return the rows that this process reads, of several; all rows of a process alone.

        They begin and end where an encoding can go on.
        """
        if hosts.count() == 1:
            return self
        heights = [0] * len(self.files)
        own = range(hosts.index(), len(self.files), hosts.count())
        told = hosts.exchanged(lambda: json.dumps([self._height(self.files[k]) for k in own]).encode())
        for process, heard in enumerate(told):
            heights[process :: hosts.count()] = json.loads(heard)
        rows = sum(heights) if self.frames is None else self.frames.rows
        segments = -(-rows // SEGMENT)
        begin, end = (
            min(rows, segments * k // hosts.count() * SEGMENT) for k in (hosts.index(), hosts.index() + 1)
        )
        return replace(self, heights=tuple(heights), begin=begin, end=end)

    def _height(self, file: Path) -> int:
        return replace(self, files=[file]).rows()

    def batches(
        self,
        notice: Notice = lambda text: None,
        types: "Mapping[str, pl.DataType] | None" = None,
        schema: Schema | None = None,
    ) -> Iterator[Batch]:
        """Yield all rows in order; with `types` these columns alone, of these types.

        A `schema` that is given learns the columns of the parts.
        """
        import polars as pl

        schema = Schema() if schema is None else schema
        for first, file, found in self._found(notice, None if types is None else [*types]):
            low, high = max(self.begin - first, 0), min(self.end - first, found.height)
            if low >= high:
                continue
            frame = schema.checked(file, found if types is None else found.select([*types]))
            if types is not None:
                other = {n: t for n, t in types.items() if frame[n].dtype != t}
                frame = frame.with_columns(pl.col(name).cast(dtype) for name, dtype in other.items())
            yield Batch(first + low, frame if high - low == frame.height else frame[low:high], file)

    def _found(self, notice: Notice, only: list[str] | None) -> "Iterator[tuple[int, Path, pl.DataFrame]]":
        """Yield frames, each with the number of its first row, from files with rows of this process."""
        first = 0
        for name, found in () if self.frames is None else self.frames.pieces(self.cells):
            yield first, name, found
            first += found.height
        for k, file in enumerate(self.files):
            height, start = self.heights[k] if self.heights else None, first
            if height is not None and first + height <= self.begin:
                first += height
                continue
            whole = tables.memory_needed([file], self.options) <= self.most
            smallest = tables.STREAMED if whole else 0
            read = tables.read_batches(file, self.cells, self.options, notice, smallest=smallest, only=only)
            for found in read:
                yield first, file, found
                first += found.height
                if first >= self.end:
                    return
            if height is not None and first - start != height:
                raise InputError(f"{file} states {height} rows and has {first - start}; write it again")

    def facts(self) -> list[object]:
        """Return what tells whether the rows are as they were."""
        return [*map(facts_of, self.files)] if self.frames is None else self.frames.facts

    def rows(self) -> int:
        """Return the number of all rows."""
        import polars as pl

        if self.frames is not None:
            return self.frames.rows
        if self.heights:
            return sum(self.heights)
        if all(tables.is_parquet(file) for file in self.files):
            lazy = pl.scan_parquet(self.files, glob=False, hive_partitioning=False, missing_columns="insert",
                                   extra_columns="ignore")  # fmt: skip
            with suppress(Exception):  # the readers say more of a damaged file
                return int(lazy.select(pl.len()).collect().item())
        return sum(batch.frame.height for batch in self.batches())


@contextmanager
def named(batch: Batch, kept: np.ndarray | None = None) -> Generator[None]:
    """Add to an error of a cell the file, and the number of its row in the table.

    `kept` tells which rows of the batch are read.
    """
    try:
        yield
    except RowError as error:
        rows = batch.rows if kept is None else batch.rows[kept]
        found = error.shifted(int(rows[error.row - 1]) + 1 - error.row)
        raise InputError(f"{found} (in {batch.file})") from None
