"""Statistics of columns from several passes over their rows, which need not fit in memory."""

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from mlpax.data.columns import Category, Column, Date, LeftOut, Number, fit_column, robust_of
from mlpax.data.dates import DATE_PARTS, date_parts
from mlpax.data.kinds import Kind, as_text, typed
from mlpax.errors import InputError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["BYTES", "LEVELS", "Counter", "Counts", "Quartiles", "Statistic", "bytes_of", "frame_of", "packed",
           "statistic_of", "unpacked"]  # fmt: skip

HALF = 1 << 16  # values of half a key of 32 bits
BYTES = 4 << 20  # that the counts of a column take, at most four bins and some
LEVELS = 1 << 18  # different cells of a column that are counted
NEAR = 1 << 16  # different numbers that float32 does not tell apart, and that are counted
QUARTILES = (0.25, 0.5, 0.75)


class Counter(Protocol):
    """What is counted in a pass. Several processes that have counted some of the rows each add it up."""

    def counted(self) -> bytes:
        """Return what this process has counted in the present pass."""
        ...

    def add_up(self, every: list[bytes]) -> None:
        """Take what all processes have counted in the present pass, this one too, for what it has counted."""
        ...


class Statistic(Protocol):
    """What the training rows tell of a column, read in pieces of any size and in as many passes as asked."""

    @property
    def counters(self) -> Sequence[Counter]:
        """What processes add up before they end a pass."""
        ...

    def add(self, values: "pl.Series") -> None:
        """Take in some rows. In each pass every row comes once."""
        ...

    def settle(self) -> bool:
        """End a pass over the rows. Return whether no other pass is needed."""
        ...

    def column(self) -> Column:
        """Return the transform of the column, as `columns.fit_column` returns of all rows at once."""
        ...


class Quartiles:
    """Exact quartiles of numbers, from counts that do not depend on the order of the numbers.

    The first pass counts the upper 16 bits of each number as float32. The second pass counts the lower 16
    bits of the numbers that share these with a quartile. If float32 does not hold all numbers exactly, a
    third pass counts the numbers that float32 does not tell from a quartile.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.stage = 0
        self.rows = self.lacking = 0
        self.least, self.largest = np.float64(np.inf), np.float64(-np.inf)
        self.exact = True  # whether float32 holds all numbers
        self.bins = {0: np.zeros(HALF, np.int64)}  # counts by the key above them
        self.ranks: list[tuple[int, int]] = []  # of the numbers sought: the key so far, and the rank below it
        self.near: dict[int, dict[float, int]] = {}  # how often each number of a key occurs

    def add(self, x: np.ndarray) -> None:
        """Take in some numbers: (rows,), float64 or float32, NaN where missing."""
        kept = np.isfinite(x)
        finite = x if kept.all() else x[kept]
        keys, exact = _keys(finite)
        upper = keys >> 16
        if self.stage == 0:
            self.rows += finite.size
            self.lacking += int(np.isnan(x).sum())
            if finite.size:
                self.least = min(self.least, np.float64(finite.min()))
                self.largest = max(self.largest, np.float64(finite.max()))
            self.exact = self.exact and exact
            self.bins[0] += np.bincount(upper, minlength=HALF)
            return
        if self.stage == 1:
            for key, counts in self.bins.items():
                np.add.at(counts, keys[upper == key] & (HALF - 1), 1)
            return
        for key, counted in self.near.items():
            values, counts = np.unique(finite[keys == key], return_counts=True)
            for value, count in zip(values.tolist(), counts.tolist(), strict=True):
                counted[value] = counted.get(value, 0) + count
        self._check_near()

    def settle(self) -> bool:
        """End a pass; see `Statistic`."""
        if self.stage == 0:
            self.ranks = [(0, rank) for rank in _ranks(self.rows)]
        if self.stage < 2:
            found = [(key, *_place(self.bins[key], rank)) for key, rank in self.ranks]
            self.ranks = [((key << 16) | low, rank) for key, low, rank in found]
        self.stage += 1
        keys = {key for key, _ in self.ranks}
        if self.stage == 1:
            self.bins = {key: np.zeros(HALF, np.int64) for key in keys}
        if self.stage == 2:
            self.bins = {}
            self.near = {key: {} for key in keys}
        return not self.rows or self.stage == 3 or (self.stage == 2 and self.exact)

    def counted(self) -> bytes:
        """Return what this process has counted in the present pass; see `Counter`."""
        near = self.near.values()
        return packed(
            ends=np.array([self.least, self.largest]),
            rows=np.array([self.rows, self.lacking, self.exact]),
            bins=np.array([*self.bins.values()]),
            kinds=np.array([len(counts) for counts in near], np.int64),
            values=np.array([value for counts in near for value in counts], np.float64),
            counts=np.array([count for counts in near for count in counts.values()], np.int64),
        )

    def add_up(self, every: list[bytes]) -> None:
        """Take what all processes have counted in the present pass; see `Counter`."""
        found = [unpacked(content) for content in every]
        if self.stage == 0:
            rows = np.array([part["rows"] for part in found])
            self.rows, self.lacking, self.exact = *map(int, rows[:, :2].sum(axis=0)), bool(rows[:, 2].all())
            self.least = min(part["ends"][0] for part in found)
            self.largest = max(part["ends"][1] for part in found)
        for k, key in enumerate(self.bins):
            self.bins[key] = np.sum([part["bins"][k] for part in found], axis=0)
        near = {key: dict[float, int]() for key in self.near}
        for part in found:
            keys = np.repeat(np.fromiter(near, np.int64, len(near)), part["kinds"]).tolist()
            for key, value, count in zip(keys, part["values"].tolist(), part["counts"].tolist(), strict=True):
                near[key][value] = near[key].get(value, 0) + count
        self.near = near
        self._check_near()

    def _check_near(self) -> None:
        """Raise an error if too many different numbers are near a quartile."""
        for counted in self.near.values():
            if len(counted) > NEAR:
                raise InputError(
                    f"column {self.name!r} holds more than {NEAR:,} different numbers near"
                    f" {next(iter(counted)):.10g}, which float32 does not tell apart; subtract a constant"
                )

    def robust(self) -> tuple[float, float]:
        """Return median and scale, as `columns.robust_of` does."""
        if not self.rows:
            return 0.0, 0.0
        values = [_number(key) if self.exact else self._near(key, rank) for key, rank in self.ranks]
        low, median, high = (
            _between(values[2 * k], values[2 * k + 1], (self.rows - 1) * share)
            for k, share in enumerate(QUARTILES)
        )
        return robust_of(low, median, high, self.least, self.largest)

    def _near(self, key: int, rank: int) -> np.float64:
        """Return the number of a rank among those of one key."""
        values, counts = zip(*sorted(self.near[key].items()), strict=True)
        return np.float64(values[_place(np.array(counts), rank)[0]])


def _keys(x: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return integers in the order of finite numbers as float32, uint32; and whether float32 holds all."""
    with np.errstate(over="ignore", under="ignore"):
        single = x.astype(np.float32) + np.float32(0)  # -0 is 0
    bits = single.view(np.int32)
    keys = bits ^ ((bits >> 31) | np.int32(-(1 << 31)))  # all bits of a negative number, else its sign
    return keys.view(np.uint32), x.dtype == np.float32 or bool((single == x).all())


def _number(key: int) -> np.float64:
    """Return the number of a key, see `_keys`."""
    bits = key ^ (1 << 31) if key >> 31 else ~key & 0xFFFFFFFF
    return np.float64(np.array(bits, np.uint32).view(np.float32))


def _ranks(rows: int) -> list[int]:
    """Return the ranks of the two numbers around each quartile, from 0."""
    below = [math.floor((rows - 1) * share) for share in QUARTILES] if rows else []
    return [rank for low in below for rank in (low, min(low + 1, rows - 1))]


def _between(low: np.float64, high: np.float64, at: float) -> np.float64:
    """Return the number between two as `numpy.percentile` interpolates."""
    part, step = at - math.floor(at), high - low
    return high - step * (1 - part) if part >= 0.5 else low + step * part


def _place(counts: np.ndarray, rank: int) -> tuple[int, int]:
    """Return the bin that holds a rank, and the rank within the bin."""
    ends = counts.cumsum()
    place = int(np.searchsorted(ends, rank, "right"))
    return place, rank - int(ends[place] - counts[place])


def packed(**arrays: np.ndarray) -> bytes:
    """Return arrays as bytes, for other processes."""
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)  # pyright: ignore[reportArgumentType]
    return file.getvalue()


def unpacked(content: bytes) -> dict[str, np.ndarray]:
    """Return the arrays that `packed` has made bytes of."""
    with np.load(io.BytesIO(content), allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


def bytes_of(frame: "pl.DataFrame | None") -> np.ndarray:
    """Return a frame as an array of bytes, which is empty for None."""
    file = io.BytesIO()
    if frame is not None:
        frame.write_ipc(file)
    return np.frombuffer(file.getvalue(), np.uint8)


def frame_of(content: np.ndarray) -> "pl.DataFrame | None":
    """Return the frame that `bytes_of` has made bytes of."""
    import polars as pl

    return pl.read_ipc(io.BytesIO(content.tobytes())) if content.size else None


class Counts:
    """How often each cell of a column occurs, up to `LEVELS` different ones."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.frame: pl.DataFrame | None = None  # value, count
        self.many = False  # whether there are more

    def add(self, values: "pl.Series") -> None:
        """Take in some rows; a missing cell is one of its own."""
        import polars as pl

        if self.many:
            return
        if isinstance(values.dtype, pl.Categorical | pl.Enum):
            values = values.cast(pl.String)
        of_batch = values.rename("value").value_counts(name="count").cast({"count": pl.Int64})
        self._add(of_batch)

    def _add(self, found: "pl.DataFrame") -> None:
        """Add cells and how often each occurs."""
        import polars as pl

        if self.frame is None:
            self.frame = found
        else:
            both = pl.concat([self.frame, found], how="vertical_relaxed")
            self.frame = both.group_by("value").agg(pl.col("count").sum())
        self.many = self.frame.height > LEVELS
        if self.many:
            self.frame = None

    def counted(self) -> bytes:
        """Return what this process has counted; see `Counter`."""
        return packed(many=np.array(self.many), frame=bytes_of(self.frame))

    def add_up(self, every: list[bytes]) -> None:
        """Take what all processes have counted; see `Counter`."""
        found = [unpacked(content) for content in every]
        self.frame, self.many = None, any(part["many"] for part in found)
        for part in found:
            if not self.many and (frame := frame_of(part["frame"])) is not None:
                self._add(frame)
        self.frame = None if self.many else self.frame

    def cells(self) -> "tuple[pl.Series, list[int]]":
        """Return the different cells in order, and how often each occurs."""
        assert self.frame is not None
        frame = self.frame.sort("value")
        return frame["value"].alias(self.name), frame["count"].to_list()


class _OfNumbers:
    """The statistic of a column of numbers."""

    def __init__(self, name: str, kind: Kind) -> None:
        self.name, self.kind, self.found = name, kind, Quartiles(name)
        self.counters = [self.found]

    def add(self, values: "pl.Series") -> None:
        import polars as pl

        self.found.add((values if values.dtype == pl.Float32 else typed(values, self.kind)).to_numpy())

    def settle(self) -> bool:
        return self.found.settle()

    def column(self) -> Column:
        if not self.found.rows:
            return LeftOut(self.name, "constant")
        return Number.of(self.name, self.kind, self.found.robust(), missing=self.found.lacking > 0)


class _OfDates:
    """The statistic of a column of dates."""

    def __init__(self, name: str, kind: Kind) -> None:
        self.name, self.kind = name, kind
        self.parts = self.counters = [Quartiles(name) for _ in DATE_PARTS]

    def add(self, values: "pl.Series") -> None:
        for part, x in zip(self.parts, date_parts(typed(values, self.kind)).T, strict=True):
            part.add(x)

    def settle(self) -> bool:
        settled = [part.settle() for part in self.parts]
        return all(settled)

    def column(self) -> Column:
        days = self.parts[DATE_PARTS.index("days")]
        if not days.rows or (days.least == days.largest and not days.lacking):
            return LeftOut(self.name, "constant")
        robust = [part.robust() for part in self.parts]
        return Date.of(self.name, self.kind, robust, missing=days.lacking > 0)


class _OfCategories:
    """The statistic of a column of categories."""

    def __init__(self, name: str, kind: Kind) -> None:
        self.name, self.kind, self.counts = name, kind, Counts(name)
        self.counters = [self.counts]

    def add(self, values: "pl.Series") -> None:
        self.counts.add(values)

    def settle(self) -> bool:
        return True

    def column(self) -> Column:
        if self.counts.many:
            return LeftOut(self.name, "text")
        cells, counts = self.counts.cells()
        if len(cells) < 2:
            return LeftOut(self.name, "constant")
        texts = as_text(typed(cells, self.kind)).to_list()
        found: dict[str, int] = {}
        for text, count in zip(texts, counts, strict=True):
            if text is not None:
                found[text] = found.get(text, 0) + count
        return Category.of(self.name, self.kind, [*found.items()], missing=None in texts)


class _OfSample:
    """The statistic of a column that some of the training rows tell: of free text, or one left out."""

    def __init__(self, values: "pl.Series", kind: Kind) -> None:
        self.found, self.counters = fit_column(values, kind), list[Counter]()

    def add(self, values: "pl.Series") -> None:
        pass

    def settle(self) -> bool:
        return True

    def column(self) -> Column:
        return self.found


def statistic_of(kind: Kind, sample: "pl.Series") -> Statistic:
    """Return the statistic of a column of a kind.

    Parameters
    ----------
    kind : Kind
    sample : polars.Series
        The column in some of the training rows, which tell the terms of free text.
    """
    match kind.name:
        case "number":
            return _OfNumbers(sample.name, kind)
        case "date":
            return _OfDates(sample.name, kind)
        case "category":
            return _OfCategories(sample.name, kind)
        case _:
            return _OfSample(sample, kind)
