"""Statistics of columns from several passes over their rows, which need not fit in memory."""

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from mlpax.data.columns import Category, Column, Date, LeftOut, Number, fit_column, robust_of
from mlpax.data.dates import DATE_PARTS, date_parts
from mlpax.data.kinds import Kind, as_text, typed

if TYPE_CHECKING:
    import polars as pl

__all__ = ["LEVELS", "Counter", "Counts", "Quartiles", "Statistic", "bytes_of", "frame_of", "in_groups",
           "packed", "statistic_of", "unpacked"]  # fmt: skip

HALF = 1 << 16  # values of half a key of 32 bits
SMALL = slice((1 << 15) - (1 << 7), (1 << 15) + (1 << 7))  # upper bits of the keys of float32 below 2**-126
LEVELS = 1 << 18  # different cells of a column that are counted
LEVEL = 160  # bytes that the count of a level takes beside its text
UNSEEN, MORE = 0.01, 64  # beyond this share of cells alone a column may have any levels; else so many times
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

    @property
    def size(self) -> int:
        """The bytes that the counts may take."""
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

    The key of a number is its bits as a whole number, in the order of the numbers. The first pass counts
    the upper 16 bits of all keys. Each later pass counts the next 16 bits of the keys that begin as the keys
    of the quartiles do. Keys have 32 bits as long as float32 holds all numbers exactly, and 64 bits from the
    first other number on, so that the quartiles are known after two passes or after four.
    """

    def __init__(self) -> None:
        self.known = 0  # bits of the quartiles' keys
        self.wide = False  # whether keys have 64 bits
        self.rows = self.lacking = 0
        self.least, self.largest = np.float64(np.inf), np.float64(-np.inf)
        self.bins = {0: np.zeros(HALF, np.int64)}  # counts of the next bits, by the bits before them
        self.ranks: list[tuple[int, int]] = []  # of the numbers sought: the key so far, and the rank below it

    @property
    def size(self) -> int:
        """The bytes that the counts take at most."""
        return 2 * len(QUARTILES) * HALF * np.dtype(np.int64).itemsize

    @property
    def width(self) -> int:
        """The bits of a key."""
        return 64 if self.wide else 32

    def add(self, x: np.ndarray) -> None:
        """Take in some numbers: (rows,), NaN where missing; float64, or float32 in every call."""
        if self.known:
            self._add_next(x)
            return
        kept = np.isfinite(x)
        finite = x if kept.all() else x[kept]
        if len(finite) < len(x):
            self.lacking += int(np.isnan(x).sum())
        if not len(finite):
            return
        self.rows += len(finite)
        self.least = min(self.least, np.float64(finite.min()))
        self.largest = max(self.largest, np.float64(finite.max()))
        if not self.wide:
            if (counts := _counts_as_float32(finite)) is not None:
                self.bins[0] += counts
                return
            self.wide, self.bins = True, {0: _widened(self.bins[0])}
        self.bins[0] += _counts(finite)

    def _add_next(self, x: np.ndarray) -> None:
        """Count the next bits of the numbers whose keys begin as the keys of the quartiles do."""
        left = self.width - self.known
        for key, counts in self.bins.items():
            low, high = (x.dtype.type(self._number(end)) for end in (key << left, ((key + 1) << left) - 1))
            near = x[(x >= low) & (x <= high)]
            keys = _keys(near if self.wide else near.astype(np.float32))
            keys = keys[keys >> left == key]  # 0 equals the last negative number, -0
            following = (keys >> (left - 16)) & (HALF - 1)
            if len(keys) < HALF:
                np.add.at(counts, following, 1)
            else:
                counts += np.bincount(following.astype(np.int64), minlength=HALF)

    def settle(self) -> bool:
        """End a pass; see `Statistic`."""
        if not self.bins:
            return True
        if not self.known:
            self.ranks = [(0, rank) for rank in _ranks(self.rows)]
        found = [(key, *_place(self.bins[key], rank)) for key, rank in self.ranks]
        self.ranks = [((key << 16) | following, rank) for key, following, rank in found]
        self.known += 16
        settled = not self.rows or self.known == self.width
        self.bins = {} if settled else {key: np.zeros(HALF, np.int64) for key, _ in self.ranks}
        return settled

    def counted(self) -> bytes:
        """Return what this process has counted in the present pass; see `Counter`."""
        bins = np.array([*self.bins.values()], np.int64).reshape(-1)
        return packed(
            ends=np.array([self.least, self.largest]),
            rows=np.array([self.rows, self.lacking]),
            wide=np.array(self.wide),
            places=(places := np.flatnonzero(bins)),
            counts=bins[places],
        )

    def add_up(self, every: list[bytes]) -> None:
        """Take what all processes have counted in the present pass; see `Counter`."""
        sums, rows = np.zeros((len(self.bins), HALF), np.int64), np.zeros(2, np.int64)
        for part in map(unpacked, every):
            counts = np.zeros_like(sums)
            counts.reshape(-1)[part["places"]] = part["counts"]
            if part["wide"] and not self.wide:
                self.wide, sums = True, _widened(sums)
            elif self.wide and not part["wide"]:
                counts = _widened(counts)
            sums, rows = sums + counts, rows + part["rows"]
            self.least, self.largest = min(self.least, part["ends"][0]), max(self.largest, part["ends"][1])
        self.bins = dict(zip(self.bins, sums, strict=True))
        if not self.known:
            self.rows, self.lacking = map(int, rows)

    def robust(self) -> tuple[float, float]:
        """Return median and scale, as `columns.robust_of` does."""
        if not self.rows:
            return 0.0, 0.0
        values = [self._number(key) for key, _ in self.ranks]
        with np.errstate(over="ignore", invalid="ignore"):  # of numbers near the largest
            low, median, high = (
                _between(values[2 * k], values[2 * k + 1], (self.rows - 1) * share)
                for k, share in enumerate(QUARTILES)
            )
            return robust_of(low, median, high, self.least, self.largest)

    def _number(self, key: int) -> np.float64:
        """Return the number of a key."""
        return np.float64(_numbers(np.array([key], np.uint64 if self.wide else np.uint32))[0])


def _keys(x: np.ndarray) -> np.ndarray:
    """Return unsigned integers in the order of numbers, and as wide as these."""
    signed = np.int32 if x.dtype == np.float32 else np.int64
    bits = (x + x.dtype.type(0)).view(signed)  # -0 is 0
    last = 8 * bits.itemsize - 1
    keys = bits ^ ((bits >> last) | signed(-(1 << last)))  # all bits of a negative number, else its sign
    return keys.view(f"u{bits.itemsize}")


def _numbers(keys: np.ndarray) -> np.ndarray:
    """Return the numbers of keys, see `_keys`."""
    sign = keys.dtype.type(1 << (8 * keys.itemsize - 1))
    return np.where(keys & sign, keys ^ sign, ~keys).view(f"f{keys.itemsize}")


def _counts(x: np.ndarray) -> np.ndarray:
    """Return how often each value of the upper 16 bits of a key occurs among those of finite numbers."""
    keys = _keys(x)
    return np.bincount((keys >> (8 * keys.itemsize - 16)).astype(np.int64), minlength=HALF)


def _counts_as_float32(x: np.ndarray) -> np.ndarray | None:
    """Return the `_counts` of finite numbers as float32.

    None if float32 does not hold all of them, or if some are so small that it holds them with fewer digits:
    their counts could not be told as those of float64.
    """
    if x.dtype == np.float32:
        return _counts(x)
    with np.errstate(over="ignore", under="ignore"):
        single = x.astype(np.float32)
    if not (single == x).all():
        return None
    counts = _counts(single)
    small = int(counts[SMALL].sum())
    return counts if not small or small == len(x) - np.count_nonzero(x) else None


def _widened(counts: np.ndarray) -> np.ndarray:
    """Return the counts of the upper 16 bits of keys of 32 bits, (..., HALF), as those of keys of 64 bits.

    The upper bits of the one tell those of the other, except for the numbers in `SMALL` that are not 0.
    """
    lowest = _numbers(np.arange(HALF, dtype=np.uint32) << 16)
    real = np.isfinite(lowest)
    places = (_keys(lowest[real].astype(np.float64)) >> 48).astype(np.int64)
    wide = np.zeros_like(counts)
    np.add.at(wide.T, places, counts[..., real].T)
    return wide


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
        self.name, self.kind, self.found = name, kind, Quartiles()
        self.counters, self.size = [self.found], self.found.size

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
        self.parts = self.counters = [Quartiles() for _ in DATE_PARTS]
        self.size = sum(part.size for part in self.parts)

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

    def __init__(self, sample: "pl.Series", kind: Kind) -> None:
        self.name, self.kind, self.counts = sample.name, kind, Counts(sample.name)
        self.counters, self.size = [self.counts], _bytes_of_counts(sample)

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
        self.found, self.counters, self.size = fit_column(values, kind), list[Counter](), 0

    def add(self, values: "pl.Series") -> None:
        pass

    def settle(self) -> bool:
        return True

    def column(self) -> Column:
        return self.found


def _bytes_of_counts(sample: "pl.Series") -> int:
    """Return the bytes that `Counts` may take while it takes in rows, as a sample of the column tells."""
    levels, rows = sample.n_unique(), max(1, len(sample))
    alone = int(sample.is_unique().sum())  # about alone / rows of all other rows hold a new level
    most = LEVELS if alone > UNSEEN * rows else min(LEVELS, MORE * levels)
    return math.ceil(most * (LEVEL + 2 * sample.estimated_size() / rows))


def in_groups(statistics: Mapping[str, Statistic], most: int) -> Iterator[list[str]]:
    """Yield the names of statistics in groups whose counts take at most so many bytes, or of one."""
    group, size = list[str](), 0
    for name, statistic in statistics.items():
        if group and size + statistic.size > most:
            yield group
            group, size = [], 0
        group.append(name)
        size += statistic.size
    if group:
        yield group


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
            return _OfCategories(sample, kind)
        case _:
            return _OfSample(sample, kind)
