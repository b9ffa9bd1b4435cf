"""Tables larger than the memory: statistics and encoding in passes, and chunks of rows to train on."""

import hashlib
import io
import json
import math
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import numpy as np

from mlpax import hosts
from mlpax.atomic import atomic, own
from mlpax.data import tables
from mlpax.data.cache import (
    Array,
    Facts,
    Progress,
    Reader,
    Writer,
    added,
    facts_of,
    read_record,
    room,
    sole_writer,
    write_record,
)
from mlpax.data.columns import Category, Columns, Input, LeftOut, checked
from mlpax.data.dataset import Chunk, Dataset, HoldOut, Split, from_arrays
from mlpax.data.frames import Frames
from mlpax.data.kinds import Kind, kind_of_type, tell_kinds
from mlpax.data.memory import memory_limit, written
from mlpax.data.numerals import MISSING, Numerals
from mlpax.data.parts import Schema
from mlpax.data.reading import FileOptions, Reading
from mlpax.data.statistics import (
    Counts,
    Statistic,
    bytes_of,
    frame_of,
    in_groups,
    packed,
    statistic_of,
    unpacked,
)
from mlpax.data.targets import (
    Labels,
    check_class_weight,
    check_roles,
    check_spread,
    class_weights,
    encode,
    inputs_of,
    labels_of,
    read_target,
    settled,
    targets_of,
    tell_columns,
    tell_task,
    tell_tasks,
    weights_of,
)
from mlpax.errors import Guess, InputError, Notice, RowError, listed
from mlpax.seeds import rng, row_draws
from mlpax.stages import ahead, in_order

if TYPE_CHECKING:
    import polars as pl

T = TypeVar("T")

__all__ = ["BLOCK", "Chunked", "dataset_in_chunks", "user_cache"]

FORMAT = 2  # another number makes all that was kept unknown
BLOCK = 4096  # rows that lie together on the disk, and are read together
CHUNK = 1 << 26  # bytes of the inputs of a chunk at most
SHARE = 8  # of the memory that a chunk takes at most
SAMPLED = 1 << 20  # cells of the rows that tell what the columns hold
FEWEST = 1000  # of these rows
HELD = 1 << 23  # cells of the rows that are held out, for validation and for the test
HELD_CHUNKS = 2  # chunks whose memory they take at most
SEGMENT = 1 << 18  # rows between two moments from which a killed encoding goes on
ABOUT, TABLE, TOKEN = "statistics.npz", "table.json", "together.json"
SEEN = 10  # seconds in which what one host writes is seen by the others
PARTS = ("train", "valid", "test")
STORES = {"floats": "<f4", "small": "|u1", "large": "<u2"}  # where the inputs of a column lie
BESIDE = {"memory", "cache", "strict", "class_weight"}  # options on which the encoded rows do not depend
STATISTICS = 1 << 26  # bytes of statistics that are learned together, however small the memory
SMALL = 1 << 16  # cells of the smallest batch
TOGETHER = 1 << 20  # values that are summed together
FRAMES = 64  # of sampled rows that are joined at a time


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
        for process, counted in enumerate(told):
            heights[process :: hosts.count()] = json.loads(counted)
        rows = sum(heights) if self.frames is None else self.frames.rows
        segments = -(-rows // SEGMENT)
        begin, end = (
            min(rows, segments * k // hosts.count() * SEGMENT) for k in (hosts.index(), hosts.index() + 1)
        )
        return replace(self, heights=tuple(heights), begin=begin, end=end)

    def _height(self, file: Path) -> int:
        return replace(self, files=[file]).rows()

    def batches(
        self, notice: Notice = lambda text: None, types: "Mapping[str, pl.DataType] | None" = None
    ) -> Iterator[Batch]:
        """Yield all rows in order; with `types` these columns alone, of these types."""
        import polars as pl

        schema, first = Schema(), 0
        schema = Schema()
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


@dataclass(frozen=True)
class Shares:
    """Which rows of a table are held out, by a random number for each."""

    seed: int
    test: float
    valid: float  # of the rows that are left by `test`

    @staticmethod
    def of(hold: HoldOut, rows: int, columns: int, notice: Notice) -> "Shares":
        """Return the shares that a user asks for; smaller ones, with a notice, if they are too many."""
        most = max(1, HELD // columns) / rows
        shares = {"test": hold.test, "validation": hold.validation}
        for name, share in shares.items():
            if share > most:
                notice(
                    f"{round(most * rows):,} rows are held out for {name}, which fit in memory, instead of"
                    f" {share:g} of {rows:,}"
                )
        return Shares(hold.seed, *(min(share, most) for share in shares.values()))

    def split(self, rows: np.ndarray) -> Split:
        """Return which of the rows of these numbers train, validate and test."""
        test = row_draws(self.seed, "test", rows) < self.test
        valid = ~test & (row_draws(self.seed, "validation", rows) < self.valid)
        return Split(~(test | valid), valid, test)


@dataclass(frozen=True)
class About:
    """What the statistics of a table tell.

    Attributes
    ----------
    rows : int
    dataset : Dataset
        Without rows: columns, targets and classes.
    kinds : dict
        How the cells of the targets, and of the weight, are read.
    shares : Shares
    lines : tuple of (str, str)
        What was told of the table, each with the option that makes a guess sure; see `Guess`.
    """

    rows: int
    dataset: Dataset
    kinds: dict[str, Kind]
    shares: Shares
    lines: tuple[tuple[str, str | None], ...]

    @cached_property
    def columns(self) -> Columns:
        assert self.dataset.columns is not None
        return self.dataset.columns

    @property
    def features(self) -> int:
        """Inputs of the network."""
        return self.columns.dense + len(self.columns.embeddings)

    def check_memory(self, most: int) -> None:
        """Raise an error if a block, or the rows that are held out, take more than a chunk may, or some."""
        row = 4 * self.features
        if (block := BLOCK * row) > most:
            raise InputError(
                f"a block of {BLOCK:,} rows takes {written(block)}, and --memory leaves {written(most)} for a"
                f" chunk; raise it to {written(SHARE * block, '')}"
            )
        held = self.shares.test + (1 - self.shares.test) * self.shares.valid
        if (size := held * self.rows * row) > HELD_CHUNKS * most:
            raise InputError(
                f"the rows that are held out take about {written(size)}, and --memory leaves"
                f" {written(HELD_CHUNKS * most)} for them; raise it, or hold out fewer with --validation"
                f" {max(held * HELD_CHUNKS * most / size / 2, 1e-6):.1g}"
            )

    def save(self, folder: Path) -> None:
        """Write it whole or not at all."""
        arrays, dataset = self.dataset.to_arrays()
        kinds = {name: asdict(kind) for name, kind in self.kinds.items()}
        record = {"rows": self.rows, "dataset": dataset, "kinds": kinds, "shares": asdict(self.shares),
                  "lines": self.lines}  # fmt: skip
        text = np.frombuffer(json.dumps(record).encode(), np.uint8)
        with room(folder), atomic(folder / ABOUT) as file:
            np.savez(file, allow_pickle=False, record=text, **arrays)  # pyright: ignore[reportArgumentType]

    @staticmethod
    def load(folder: Path) -> "About | None":
        """Return what is kept; None if nothing whole is."""
        try:
            with open(own(folder / ABOUT), "rb") as file:
                data = io.BytesIO(file.read())
            with np.load(data, allow_pickle=False) as found:
                arrays = {name: found[name] for name in found.files}
            record = json.loads(arrays.pop("record").tobytes())
            kinds = {name: _kind(kind) for name, kind in record["kinds"].items()}
            return About(
                record["rows"], from_arrays(arrays, record["dataset"]), kinds, Shares(**record["shares"]),
                tuple((text, option) for text, option in record["lines"]),
            )  # fmt: skip
        except Exception:  # a damaged file can raise anything, and is written again
            return None

    def tell(self, notice: Notice) -> None:
        for text, option in self.lines:
            notice(_line(text, option))


def _option(line: str) -> str | None:
    """Return the option that makes sure what a line tells; None if the line tells no guess."""
    return line.option if isinstance(line, Guess) else None


def _line(text: str, option: str | None) -> str:
    """Return a line with its option, see `_option`."""
    return text if option is None else Guess(text, option)


def _kind(record: dict[str, Any]) -> Kind:
    """Return a kind from JSON."""
    numerals = Numerals(**record["numerals"] | {"missing": tuple(record["numerals"]["missing"])})
    changes: dict[str, Any] = {"numerals": numerals, "missing": tuple(record["missing"])}
    return Kind(**{**record, **changes})


# The first passes: what the columns hold


def _learn(parts: Parts, reading: Reading, hold: HoldOut, name: str, limit: int, notice: Notice) -> About:
    """Read a table as often as its statistics need, and return what they tell."""
    lines: list[tuple[str, str | None]] = []

    def tell(text: str) -> None:
        lines.append((text, _option(text)))
        notice(text)

    rows = parts.rows()
    sample, chosen, counts = _sampled(parts, rows, hold.seed, reading, tell)
    if sample.height < rows:
        tell(
            f"{sample.height:,} random rows of {rows:,} tell what the columns hold; the next lines number"
            " these rows"
        )
    targets, reading = settled(sample, reading, tell)
    check_roles(sample, targets, reading, None)
    kinds = _kinds(sample, reading, tell)
    labels = _labels(counts, sample, reading, kinds, tell)
    classes = tuple(of.classes for of in labels.values() if of.classes)
    check_class_weight(reading.class_weight, targets, classes)
    shares = Shares.of(hold, rows, sample.width, tell)
    inputs = inputs_of(sample, {*targets, reading.weight}, targets)
    known = _Known({n: kinds[n] for n in targets}, labels[targets[0]].task, shares)
    learned = inputs.filter(shares.split(chosen).train & known.present(sample).to_numpy())
    statistics = {n: statistic_of(kinds[n], learned[n]) for n in inputs.columns}
    lacking = _passes(parts, dict(sample.schema), statistics, known, limit)
    if 2 * lacking > rows:
        what, fewer = (f"target {targets[0]!r}", "another") if len(targets) == 1 else ("a target", "fewer")
        raise InputError(f"{what} is missing in {lacking} of {rows} rows, more than half; name {fewer}")
    if lacking:
        tell(f"dropped {lacking:,} rows without a target")
    columns = checked(tuple(statistics[n].column() for n in inputs.columns))
    _tell_columns(inputs, columns, kinds, statistics, rows, tell)
    empty, none = np.zeros((0, columns.dense + len(columns.embeddings)), np.float32), _no_labels(labels)
    dataset = Dataset(
        name, empty, none, empty, none, classes[0] if classes else (), columns=columns, targets=targets,
        numerals=tuple(kinds[n].numerals for n in targets), more_classes=classes[1:],
    )  # fmt: skip
    read = {n: kinds[n] for n in (*targets, *([reading.weight] if reading.weight else []))}
    return About(rows, dataset, read, shares, tuple(lines))


def _no_labels(labels: dict[str, Labels]) -> np.ndarray:
    classes = next(iter(labels.values())).classes
    if classes and len(labels) == 1:
        return np.zeros(0, np.int32)
    return np.zeros((0, len(labels)), np.int32 if classes else np.float64)


class Sample(NamedTuple):
    """Random rows of a table, all of a small one."""

    frame: "pl.DataFrame | None"
    numbers: np.ndarray
    counts: list[Counts]  # of the cells of each target
    found: int  # rows among which they were drawn
    file: Path  # of the first of these
    lines: list[str]  # what the readers of the files tell

    def packed(self) -> bytes:
        """Return the sample of this process, for the others."""
        lines = [(line, _option(line)) for line in self.lines]
        told = {"targets": [counts.name for counts in self.counts], "first": str(self.file), "lines": lines}
        texts = {f"counts-{k}": counts.counted() for k, counts in enumerate(self.counts)}
        return packed(
            frame=bytes_of(self.frame), numbers=self.numbers, found=np.array(self.found),
            **{key: np.frombuffer(text, np.uint8) for key, text in texts.items()},
            told=np.frombuffer(json.dumps(told).encode(), np.uint8),
        )  # fmt: skip

    @staticmethod
    def together(every: list[bytes]) -> "Sample":
        """Return the samples of all processes, which have read the rows in order, as one."""
        parts = [unpacked(content) for content in every]
        told: list[dict[str, Any]] = [json.loads(part["told"].tobytes()) for part in parts]
        schema, frames = Schema(), list["pl.DataFrame"]()
        for part, words in zip(parts, told, strict=True):
            if (frame := frame_of(part["frame"])) is not None:
                frames.append(schema.checked(Path(words["first"]), frame))
        counts = [Counts(name) for name in next(words["targets"] for words in told if words["targets"])]
        for k, of_target in enumerate(counts):
            of_target.add_up([part[f"counts-{k}"].tobytes() for part in parts if f"counts-{k}" in part])
        numbers = np.concatenate([part["numbers"] for part in parts])
        found = sum(int(part["found"]) for part in parts)
        lines = [_line(*line) for words in told for line in words["lines"]]
        return Sample(schema.joined(frames), numbers, counts, found, schema.first, lines)


def _sampled(
    parts: Parts, rows: int, seed: int, reading: Reading, notice: Notice
) -> "tuple[pl.DataFrame, np.ndarray, list[Counts]]":
    """Return random rows, all of a small table; their numbers; and counts of the cells of each target."""
    here, lines = list[Sample](), list[str]()

    def work() -> bytes:
        heard = notice if hosts.count() == 1 else lines.append  # what all have heard is told below
        here.append(_sampled_here(parts, rows, seed, reading, heard)._replace(lines=lines))
        return here[0].packed() if hosts.count() > 1 else b""

    told = hosts.exchanged(work)
    sample = Sample.together(told) if hosts.count() > 1 else here[0]
    if sample.found != rows:
        raise InputError(f"{parts.path} states {rows} rows and has {sample.found}; write the file again")
    assert sample.frame is not None
    for line in sample.lines:
        notice(line)
    return sample.frame, sample.numbers, sample.counts


def _sampled_here(parts: Parts, rows: int, seed: int, reading: Reading, notice: Notice) -> Sample:
    """Return the sample of the rows that this process reads."""
    frames, numbers = list["pl.DataFrame"](), list[np.ndarray]()
    schema, counts, share, found, file = Schema(), list[Counts](), 1.0, 0, parts.path
    for batch in parts.batches(notice):
        frame = batch.frame
        if not frames:
            counts = [Counts(name) for name in targets_of(frame, reading.target, lambda text: None)]
            share, file = max(FEWEST, SAMPLED // frame.width) / rows, batch.file
        frame = schema.checked(batch.file, frame)
        for of_target in counts:
            of_target.add(frame[of_target.name])
        found += frame.height
        chosen = row_draws(seed, "sample", batch.rows) < share
        frames.append(frame if chosen.all() else frame.filter(chosen).with_columns(_copied()))
        if len(frames) > FRAMES:  # many small arrays keep many pages of memory
            frames = [schema.joined(frames).rechunk()]
        numbers.append(batch.rows[chosen])
    frame = schema.joined(frames) if frames else None
    return Sample(frame, np.concatenate([np.zeros(0, np.int64), *numbers]), counts, found, file, [])


def _copied() -> "pl.Expr":
    """Copy text: cells that are taken from a column of text keep the memory of the whole column."""
    import polars as pl

    return pl.selectors.string() + ""


def _kinds(sample: "pl.DataFrame", reading: Reading, notice: Notice) -> dict[str, Kind]:
    """Tell what the columns hold; of one that is constant in the sample, what it would hold if it was not."""
    kinds = tell_kinds(sample, reading, notice)
    for name, kind in kinds.items():
        if kind.name == "constant":
            marks = (*MISSING, *reading.missing)
            dtype = sample[name].dtype
            kinds[name] = Kind(kind_of_type(dtype), clock=dtype.is_temporal() and kind.clock, missing=marks)
    return kinds


def _labels(
    counts: list[Counts], sample: "pl.DataFrame", reading: Reading, kinds: dict[str, Kind], notice: Notice
) -> dict[str, Labels]:
    """Return what each target of all rows sets; see `targets.labels_of`."""
    found = {of.name: _labels_of(of, sample[of.name], reading.task, kinds[of.name]) for of in counts}
    if len(found) > 1:
        tell_tasks(found, reading, notice)
        return found
    (target, labels), (of_target,) = *found.items(), counts
    if not of_target.many:
        tell_task(target, labels, reading, notice)
    elif reading.task is None:
        text = f"the task is regression: {target!r} has many distinct values; --task says otherwise"
        notice(Guess(text, "--task regression"))
    return found


def _labels_of(counts: Counts, sample: "pl.Series", task: str | None, kind: Kind) -> Labels:
    """Return what a target sets, from its different cells, each twice if it occurs so often."""
    import polars as pl

    if not counts.many:
        cells, often = counts.cells()
        whole = cells.filter(pl.Series(often) > 0)
        twice = cells.filter(pl.Series(often) > 1)
        present = pl.concat([whole, twice])
        present = present.filter(read_target(present, kind, "classification").is_not_null())
        return labels_of(present.rename(counts.name), task, kind)
    labels = labels_of(sample, task or "regression", kind)
    if labels.classes:
        raise InputError(
            f"target {counts.name!r} has too many different values for classes; --task regression says they"
            " are numbers"
        )
    return labels


@dataclass(frozen=True)
class _Known:
    """What tells which rows train: the targets and how they are read, and the shares that are held out."""

    kinds: dict[str, Kind]  # of the targets
    task: str
    shares: Shares

    def present(self, frame: "pl.DataFrame") -> "pl.Series":
        """Return which rows have all targets."""
        return _with_all([read_target(frame[name], kind, self.task) for name, kind in self.kinds.items()])


def _with_all(targets: "list[pl.Series]") -> "pl.Series":
    """Return in which rows no target is missing."""
    present = targets[0].is_not_null()
    for cells in targets[1:]:
        present &= cells.is_not_null()
    return present


def _passes(
    parts: Parts, types: "dict[str, pl.DataType]", statistics: dict[str, Statistic], known: _Known, limit: int
) -> int:
    """Show the training rows to statistics as often as they ask, and return the rows without a target."""
    lacking = 0
    for some in in_groups(statistics, max(STATISTICS, limit // SHARE)):
        while some:
            shown = {name: statistics[name] for name in some}
            told = hosts.exchanged(lambda shown=shown: str(_pass(parts, types, shown, known)).encode())
            lacking = sum(map(int, told))  # as many in each pass
            for name in some if hosts.count() > 1 else ():
                for counter in statistics[name].counters:
                    counter.add_up(hosts.exchanged(counter.counted))
            some = [name for name in some if not statistics[name].settle()]
    return lacking


def _pass(
    parts: Parts, types: "dict[str, pl.DataType]", statistics: dict[str, Statistic], known: _Known
) -> int:
    """Show the training rows that this process reads to statistics, and return the rows without a target."""
    import polars as pl

    lacking, read = 0, {name: types[name] for name in dict.fromkeys((*statistics, *known.kinds))}
    for batch in ahead(parts.batches(types=read), 1):
        with _named(batch):
            present = known.present(batch.frame)
        lacking += int((~present).sum())
        train = known.shares.split(batch.rows).train
        kept = train & present.to_numpy()
        frame = batch.frame.select([*statistics]).filter(kept)
        with _named(batch, kept):
            for _ in in_order(partial(_show, statistics, frame), statistics, pl.thread_pool_size()):
                pass
    return lacking


def _show(statistics: dict[str, Statistic], frame: "pl.DataFrame", name: str) -> None:
    statistics[name].add(frame[name])


class _named:  # noqa: N801 - a context
    """Add to an error of a cell the file, and the number of its row in the table."""

    def __init__(self, batch: Batch, kept: np.ndarray | None = None) -> None:
        self.batch = batch
        self.rows = batch.rows if kept is None else batch.rows[kept]  # of the cells that are read

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, RowError):
            found = error.shifted(int(self.rows[error.row - 1]) + 1 - error.row)
            raise InputError(f"{found} (in {self.batch.file})") from None


def _tell_columns(
    inputs: "pl.DataFrame", columns: Columns, kinds: dict[str, Kind], statistics: dict[str, Statistic],
    rows: int, notice: Notice,
) -> None:  # fmt: skip
    """Say which columns are left out."""
    if inputs.height == rows:
        tell_columns(inputs, columns, kinds, notice)
        return
    if names := [c.name for c in columns.columns if c.kind == "constant"]:
        notice(f"columns left out, being constant: {listed(names)}")
    for c in columns.columns:
        if isinstance(c, LeftOut) and c.kind == "text":
            notice(Guess(f"{c.name!r} is left out, being another text in many rows", f"--drop {c.name}"))


# The last pass: encoding


class Place(NamedTuple):
    """Where the inputs of a column lie on the disk, and among the inputs of a network."""

    column: Input
    store: str
    at: int  # in a row of the store
    width: int
    to: int  # among the inputs
    features: int


def _places(columns: Columns) -> list[Place]:
    found, filled = list[Place](), dict.fromkeys(STORES, 0)
    places = columns.places
    for column in columns.varying:
        store, width = "floats", column.features
        if isinstance(column, Category):
            store, width = ("small" if len(column.levels) + 2 <= 256 else "large"), 1
        features = column.features or 1
        found.append(Place(column, store, filled[store], width, places[column.name][0], features))
        filled[store] += width
    return found


def _arrays(about: About) -> list[Array]:
    """Return the files of a cache."""
    places = _places(about.columns)
    widths = {store: sum(p.width for p in places if p.store == store) for store in STORES}
    row = [(store, STORES[store], width) for store, width in widths.items() if width]
    row.append(("y", "<i4" if about.dataset.classes else "<f8", len(about.dataset.targets)))
    if len(about.kinds) > len(about.dataset.targets):
        row.append(("weight", "<f4", 1))
    return [Array(f"{part}-{name}", dtype, width) for part in PARTS for name, dtype, width in row]


def _encode(parts: Parts, facts: list[object], about: About, folder: Path, notice: Notice) -> None:
    """Write the inputs of all rows, and what is known of the whole. Each process writes the rows it reads."""
    arrays, shards = _arrays(about), _shards()

    def work() -> bytes:
        row = sum(array.row for array in arrays) // len(PARTS)
        free = shutil.disk_usage(folder).free + sum(
            _bytes(array, folder / s) for array in arrays for s in shards
        )
        if hosts.index() == 0 and (size := row * about.rows) > free:
            raise InputError(
                f"the cache would take {written(size)}, and {folder} has {written(free)} left; make room, or"
                " choose another disk with --cache"
            )
        written_here = _encode_here(parts, facts, about, arrays, folder / shards[hosts.index()], notice)
        return json.dumps([written_here.sizes, written_here.digests]).encode()

    every: list[list[dict[str, Any]]] = [json.loads(content) for content in hosts.exchanged(work)]
    sizes = {shard: found for shard, (found, _) in zip(shards, every, strict=True)}
    digests = {name: added(*(own[name] for _, own in every)) for name in every[0][1]}
    record = _summary(about, Reader(folder, arrays, sizes)) | {"digests": digests, "sizes": sizes}
    _by_first(lambda: write_record(folder / TABLE, record))


def _shards() -> list[str]:
    """Return the folders of a cache in which the processes write."""
    count = hosts.count()
    return [""] if count == 1 else [f"part-{k + 1}-of-{count}" for k in range(count)]


def _is(work: Callable[[], object]) -> bool:
    """Return whether the first process finds something."""
    return hosts.exchanged(lambda: b"1" if hosts.index() == 0 and work() is not None else b"")[0] == b"1"


def _seen(work: "Callable[[], T | None]", folder: Path) -> T:
    """Return what each process finds in a cache, in which the first one has found it; wait a little for it.

    Raises
    ------
    InputError
        On all processes, if one does not find it.
    """
    found = list[T]()

    def look() -> bytes:
        until = time.monotonic() + SEEN
        while (own := work()) is None:
            if time.monotonic() > until:
                raise InputError(
                    f"the cache {folder} here is not that of process 0; choose a folder on a disk that all"
                    " hosts share, with --cache"
                )
            time.sleep(SEEN / 50)
        found.append(own)
        return b""

    hosts.exchanged(look)
    return found[0]


def _enter(folder: Path, stack: ExitStack) -> None:
    """Lock a cache for the processes of a training, and check that all see the same folder."""

    def lock() -> bytes:
        if hosts.index() > 0:
            return b""
        stack.enter_context(sole_writer(folder))
        token = secrets.token_hex(8)
        if hosts.count() > 1:
            write_record(folder / TOKEN, {"token": token})
        return token.encode()

    token = hosts.exchanged(lock)[0].decode()
    if hosts.count() > 1:
        _seen(lambda: (read_record(folder / TOKEN) or {}).get("token") == token or None, folder)


def _by_first(work: Callable[[], object]) -> None:
    """Let the first process do something, while the others wait."""

    def by_first() -> bytes:
        if hosts.index() == 0:
            work()
        return b""

    hosts.exchanged(by_first)


def _encode_here(
    parts: Parts, facts: list[object], about: About, arrays: list[Array], folder: Path, notice: Notice
) -> Progress:
    """Write the inputs of the rows that this process reads, and return what is written."""
    with room(folder):
        folder.mkdir(exist_ok=True)
    writer, last = Writer(folder, arrays, parts.begin), min(parts.end, about.rows)
    try:
        done = writer.progress.rows
        if done:
            notice(f"going on with the cache from row {done + 1:,} of {about.rows:,}")
        for batch in ahead(parts.batches(), 1):
            first, frame = batch.first, batch.frame
            while frame.height:
                end = (first // SEGMENT + 1) * SEGMENT
                piece = frame.head(end - first)
                if first >= done:
                    _write(writer, about, Batch(first, piece, batch.file))
                    if (over := first + piece.height) in (end, last):
                        writer.commit(over)
                frame, first = frame.slice(piece.height), first + piece.height
        if parts.facts() != facts or writer.progress.rows != last:
            raise InputError(f"{parts.path} was changed while it was read; train again")
    finally:
        writer.close()
    return writer.progress


def _bytes(array: Array, folder: Path) -> int:
    path = array.path(folder)
    return path.stat().st_size if path.exists() else 0


def _write(writer: Writer, about: About, batch: Batch) -> None:
    """Append the rows of a batch to the arrays of training, validation and test."""
    import polars as pl

    targets, frame = about.dataset.targets, batch.frame
    task = "classification" if about.dataset.classes else "regression"
    with _named(batch):
        cells = [read_target(frame[name], about.kinds[name], task) for name in targets]
    present = _with_all(cells)
    kept = present.to_numpy()
    frame = frame if kept.all() else frame.filter(present)
    with _named(batch, kept):
        each = zip(cells, about.dataset.each_classes or repeat(()), strict=False)
        y = [encode(of_target.filter(present), classes) for of_target, classes in each]
        columns: dict[str, np.ndarray] = {"y": np.column_stack(y)}
        places = _places(about.columns)
        stored = list(in_order(partial(_stored, frame), places, pl.thread_pool_size()))
        for store in STORES:
            found = [values for place, values in zip(places, stored, strict=True) if place.store == store]
            if found:
                columns[store] = np.hstack(found)
        for weight in [name for name in about.kinds if name not in targets]:
            columns["weight"] = weights_of(frame, weight, about.kinds)[:, None]
    about.columns.check_names(frame.columns)
    split = about.shares.split(batch.rows)
    for part, mask in zip(PARTS, split, strict=True):
        for name, rows in columns.items():
            writer.put(f"{part}-{name}", rows[mask[kept]])


def _stored(frame: "pl.DataFrame", place: Place) -> np.ndarray:
    """Return what is kept of a column: codes of a category, else inputs of the network."""
    values = frame[place.column.name]
    column: Any = place.column  # whose `inputs` takes what its `read` returns
    cells = column.read(values)
    if isinstance(place.column, Category):
        return place.column.numbered(cells).astype(STORES[place.store])[:, None]
    return column.inputs(cells)


def _summary(about: About, reader: Reader) -> dict[str, object]:
    """Return what is known of the training rows: their number, the targets, and which codes occur."""
    rows = reader.height("train-y")
    if not rows:
        raise InputError("no row is left to train on; hold out fewer rows")
    _check_weights(about, reader)
    targets = about.dataset.targets
    counts, each = list[list[int]](), [(0.0, 1.0)]
    for k, classes in enumerate(about.dataset.each_classes):
        told = _told(lambda k=k, classes=classes: _counted(reader, k, len(classes)))
        counts.append(np.sum(told, axis=0).tolist())
        for name, count in zip(classes, counts[-1], strict=True):
            if not count:
                raise InputError(f"class {name!r} has no training row after the split; choose another seed")
    if not counts:
        each = [_moments(partial(_of_target, reader, k), target) for k, target in enumerate(targets)]
    mean, deviation = zip(*each, strict=True)
    return {
        "rows": rows,
        "mean": mean,
        "deviation": deviation,
        "counts": counts,
        "seen": _codes_seen(about, reader),
    }


def _pieces(reader: Reader, name: str, *, all_rows: bool = False) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows of an array of a part and their weights, in pieces of a fixed size: this process's share."""
    part, _, _ = name.partition("-")
    rows = reader.height(f"{part}-y")
    share, shares = (0, 1) if all_rows else (hosts.index(), hosts.count())
    for first in range(share * TOGETHER, rows, shares * TOGETHER):
        some, weight = min(TOGETHER, rows - first), f"{part}-weight"
        weights = reader.rows(weight, first, some)[:, 0] if weight in reader.arrays else np.ones(some, "<f4")
        yield reader.rows(name, first, some), weights


def _of_target(reader: Reader, k: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the values of one target of a regression, and the weights of the rows."""
    return ((y[:, k], weight) for y, weight in _pieces(reader, "train-y"))


def _check_weights(about: About, reader: Reader) -> None:
    for part, shown in (("train", "training"), ("valid", "validation")):
        name = f"{part}-weight"
        if name in reader.arrays and reader.height(name):
            told = _told(lambda name=name: [int(weight.any()) for _, weight in _pieces(reader, name)])
            if any(map(any, told)):
                continue
            column = next(name for name in about.kinds if name not in about.dataset.targets)
            raise InputError(f"weight {column!r} is zero in every {shown} row; give some rows a weight")


def _codes_seen(about: About, reader: Reader) -> list[list[int]]:
    """Return the codes of each embedding in the training rows of some weight."""
    seen: list[list[int]] = []
    for place in _places(about.columns):
        if place.column.codes:
            codes = _told(lambda place=place: _codes_in(reader, place))
            seen.append(sorted({code for own in codes for code in own}))
    return seen


def _codes_in(
    reader: Reader, place: Place, of_class: np.ndarray | None = None, *, all_rows: bool = False
) -> list[int]:
    """Return the codes of an embedding that occur in rows of some weight."""
    there = np.zeros(place.column.codes, bool)
    labels = _pieces(reader, "train-y", all_rows=all_rows)
    for (values, weight), (y, _) in zip(
        _pieces(reader, f"train-{place.store}", all_rows=all_rows), labels, strict=True
    ):
        counting = weight > 0 if of_class is None else weight * of_class[y[:, 0]] > 0
        there[values[counting, place.at]] = True
    return np.flatnonzero(there).tolist()


def _counted(reader: Reader, k: int, classes: int) -> list[int]:
    """Return the rows of each class of a target."""
    found = (np.bincount(y[:, k], minlength=classes) for y, _ in _pieces(reader, "train-y"))
    return sum(found, np.zeros(classes, np.int64)).tolist()


def _told(work: "Callable[[], list[Any]]") -> list[list[Any]]:
    """Return the numbers that each process finds in its pieces."""
    return [json.loads(content) for content in hosts.exchanged(lambda: json.dumps(work()).encode())]


def _moments(
    pieces: Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]], target: str
) -> tuple[float, float]:
    """Return weighted mean and deviation of a target, and check that float32 can tell its values apart.

    The sums are those of pieces of fixed size, so they do not depend on how the table is read.
    """

    def total(of: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> float:
        told = _told(lambda: [float(of(y, w.astype(np.float64)).sum()) for y, w in pieces()])
        return math.fsum(value for own in told for value in own)

    rows, weight = total(lambda y, w: np.ones(len(y))), total(lambda y, w: w)
    mean = total(lambda y, w: y * w) / weight
    square = total(lambda y, w: w * (y - mean) ** 2) / weight
    plain = total(lambda y, w: y) / rows
    spread = (total(lambda y, w: (y - plain) ** 2) / rows) ** 0.5
    told = _told(lambda: [float(end) for y, _ in pieces() for end in (y.min(), y.max())])
    ends = [value for own in told for value in own]
    check_spread(target, min(ends), max(ends), plain, spread)
    return mean, square**0.5 or 1.0


# Training


@dataclass(frozen=True)
class Chunked:
    """Training rows in a cache, as chunks of blocks in a random order; see `dataset.Chunks`."""

    about: About
    reader: Reader
    record: dict[str, Any] = field(repr=False)
    most: int  # bytes of the inputs of a chunk
    of_class: np.ndarray | None = None  # the weight of each class

    @property
    def features(self) -> int:
        return self.about.features

    @property
    def cache(self) -> str:
        """The folder in which the encoded rows are kept."""
        return str(self.reader.folder.parent)

    @property
    def rows(self) -> int:
        """All training rows."""
        return int(self.record["rows"])

    @property
    def blocks(self) -> int:
        return -(-self.rows // BLOCK)

    @property
    def count(self) -> int:
        """Chunks of a pass over the rows."""
        return -(-self.blocks // max(1, self.most // (BLOCK * 4 * self.features)))

    @property
    def rows_of_chunk(self) -> int:
        """Rows of each chunk, with those of weight 0."""
        return self.rows if self.count == 1 else BLOCK * -(-self.blocks // self.count)

    @property
    def digest(self) -> str:
        """A hash of what determines the chunks."""
        known = [self.record["digests"], self.count, self.about.columns.to_json(), self.about.dataset.classes]
        known += [self.about.dataset.more_classes] if self.about.dataset.more_classes else []
        known += [] if self.of_class is None else [self.of_class.tolist()]
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()

    @property
    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Weighted mean and deviation of each target of a regression; 0 and 1 of classes."""
        return np.array(self.record["mean"]), np.array(self.record["deviation"])

    @property
    def class_counts(self) -> list[list[int]]:
        """Training rows of each class, for each target."""
        return list(self.record["counts"])

    @property
    def codes(self) -> np.ndarray:
        """The codes of the embeddings that occur in training rows: (rows, embeddings)."""
        seen: list[list[int]] = self.record["seen"]
        if self.of_class is not None and not self.of_class.all():  # rows of such a class do not count
            places = [place for place in _places(self.about.columns) if place.column.codes]
            seen = [_codes_in(self.reader, place, self.of_class, all_rows=True) for place in places]
        longest = max(map(len, seen), default=0)
        return np.array([codes + codes[:1] * (longest - len(codes)) for codes in seen]).T.reshape(
            longest, len(seen)
        )

    def chunk(self, number: int, share: int = 0, shares: int = 1) -> Chunk:
        """Return the rows of a chunk, or a share of them; see `dataset.Chunks`."""
        passed, k = divmod(number, self.count)
        blocks = np.arange(self.blocks)
        if self.count > 1:
            blocks = rng(self.about.shares.seed, "blocks", passed).permutation(self.blocks)
        mine = blocks[k * self.blocks // self.count : (k + 1) * self.blocks // self.count]
        spans = [(int(b) * BLOCK, min(BLOCK, self.rows - int(b) * BLOCK)) for b in mine]
        rows = -(-self.rows_of_chunk // shares)
        if own := _share_of(spans, share, shares):
            return self.weighed(self._read("train", own, rows))
        found = self._read("train", [(spans[0][0], 1)], rows)  # there are fewer rows than shares
        return found._replace(weight=np.zeros(rows, np.float32))

    def weighed(self, chunk: Chunk) -> Chunk:
        """Return the rows with the weights of their classes."""
        return (
            chunk if self.of_class is None else chunk._replace(weight=chunk.weight * self.of_class[chunk.y])
        )

    def held(self, part: str) -> Chunk:
        """Return all rows of "valid" or "test", without the weights of classes."""
        rows = self.reader.height(f"{part}-y")
        return self._read(part, [(0, rows)], rows)

    def _read(self, part: str, spans: list[tuple[int, int]], rows: int) -> Chunk:
        """Return spans of rows, each a first row and a number, filled up with copies of weight 0."""
        X, filled = np.empty((rows, self.features), np.float32), sum(count for _, count in spans)
        stores = {store: self._stored(f"{part}-{store}", spans) for store in STORES}
        for place in _places(self.about.columns):
            kept = stores[place.store][:, place.at : place.at + place.width]
            to = X[:filled, place.to : place.to + place.features]
            if isinstance(place.column, Category) and not place.column.codes:
                to[:] = place.column.inputs_of_codes[kept[:, 0]]
            else:
                to[:] = kept
        y = self._stored(f"{part}-y", spans)
        y = y[:, 0] if len(self.about.dataset.each_classes) == 1 else y
        weight = np.ones(filled, np.float32)
        if f"{part}-weight" in self.reader.arrays:
            weight = self._stored(f"{part}-weight", spans)[:, 0]
        if filled < rows:
            X[filled:] = X[0]
            y = np.concatenate([y, np.repeat(y[:1], rows - filled, axis=0)])
            weight = np.append(weight, np.zeros(rows - filled, np.float32))
        return Chunk(X, y, weight)

    def _stored(self, name: str, spans: list[tuple[int, int]]) -> np.ndarray:
        if name not in self.reader.arrays:
            return np.zeros((0, 0), np.float32)
        return np.concatenate([self.reader.rows(name, first, count) for first, count in spans])


def _share_of(spans: list[tuple[int, int]], share: int, shares: int) -> list[tuple[int, int]]:
    """Return one of several parts of spans, which differ by a row at most."""
    each, more = divmod(sum(count for _, count in spans), shares)
    begin = share * each + min(share, more)
    end, at, own = begin + each + (share < more), 0, list[tuple[int, int]]()
    for first, count in spans:
        low, high = max(begin - at, 0), min(end - at, count)
        if low < high:
            own.append((first + low, high - low))
        at += count
    return own


def user_cache() -> Path:
    """Return the folder in which the encoded rows of tables are kept by default."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("mlpax")) / "tables"


def dataset_in_chunks(
    path: Path, files: list[Path] | Frames, reading: Reading, hold: HoldOut, *, name: str, cache: Path,
    notice: Notice,
) -> Dataset:  # fmt: skip
    """Return a table whose training rows stay on the disk.

    The first call reads the files several times and writes the inputs of the network to a folder in `cache`.
    Later calls with the same files and options take them from there. A call that was killed goes on with
    the encoding where it was. Several processes that train together (`hosts`) read and write a share each.

    Parameters
    ----------
    path : path
        What the user named, for messages.
    files : list of path, or Frames
        The parts of the table; or its rows, if a program gives them.
    reading : Reading
    hold : HoldOut
        Only the shares and the seed are read.
    name : str
    cache : path
    notice : callable

    Raises
    ------
    InputError
        See `targets.from_frame`; or if the disk is full, the files change while they are read, or the memory
        is too small for a block of rows; or if one of several processes does not see the cache of the first.
    """
    own, frames = (files, None) if isinstance(files, list) else ([], files)
    parts = Parts(path, own, reading.file, 0, 0, frames)
    facts = parts.facts()
    hosts.all_equal(
        {
            "files": str([fact._replace(modified=0) if isinstance(fact, Facts) else fact for fact in facts]),
            "settings": str(reading.given()),
        }
    )
    told = hosts.exchanged(
        lambda: json.dumps([memory_limit(reading.memory), _key(facts, reading, hold)]).encode()
    )
    limit, key = json.loads(told[0])
    most = CHUNK if reading.memory is None else min(CHUNK, limit // SHARE)
    folder = cache / key
    parts = replace(parts, cells=min(tables.SLICE, max(SMALL, limit // 1024)), most=limit // SHARE)
    with hosts.told_of_the_lost(f"nothing is lost; {hosts.AGAIN}"), ExitStack() as stack:
        if not (whole := _is(lambda: _whole(folder))):
            _enter(folder, stack)
            whole = _is(lambda: _whole(folder))  # another training may have ended it
        if not whole:
            _make(parts, facts, reading, hold, name, folder, limit, most, notice)
    about, record = _seen(lambda: _whole(folder), folder)
    if whole:
        about.tell(notice)
        notice(f"the encoded rows are taken from {folder}")
    about.check_memory(most)
    reader = Reader(folder, _arrays(about), record["sizes"])
    of_class = _of_class(about, reading, np.array(record["counts"][:1]).reshape(-1))
    chunked = Chunked(about, reader, record, most, of_class)
    valid, test = chunked.held("valid"), chunked.held("test")
    weighted = "valid-weight" in chunked.reader.arrays
    held = (test if len(test.y) else valid).weight if weighted else None
    weight_valid = chunked.weighed(valid).weight
    return replace(
        about.dataset, name=name, X_valid=valid.X, y_valid=valid.y, weight_valid=weight_valid, X_test=test.X,
        y_test=test.y, weight_held=held, chunks=chunked,
    )  # fmt: skip


def _of_class(about: About, reading: Reading, counts: np.ndarray) -> np.ndarray | None:
    """Return the weight of each class, from the training rows of each; None if all count the same."""
    if reading.class_weight is None:
        return None
    check_class_weight(reading.class_weight, about.dataset.targets, about.dataset.classes)
    return class_weights(reading.class_weight, about.dataset.classes, counts)


def _key(facts: list[object], reading: Reading, hold: HoldOut) -> str:
    """Return the name of the folder for these files, read in this way."""
    given = {n: v for n, v in reading.given().items() if n not in BESIDE}
    known = [FORMAT, facts, given, asdict(hold)]
    return hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _whole(folder: Path) -> "tuple[About, dict[str, Any]] | None":
    """Return what a finished cache holds; None if it is not finished."""
    record = read_record(folder / TABLE)
    about = None if record is None else About.load(folder)
    return None if record is None or about is None else (about, cast("dict[str, Any]", record))


def _make(
    parts: Parts, facts: list[object], reading: Reading, hold: HoldOut, name: str, folder: Path, limit: int,
    most: int, notice: Notice,
) -> None:  # fmt: skip
    """Write a cache, from where an earlier process left it."""
    start = time.perf_counter()
    parts = parts.share()
    if _is(lambda: About.load(folder)):
        about = _seen(lambda: About.load(folder), folder)
        about.tell(notice)
    else:
        about = _learn(parts, reading, hold, name, limit, notice)
        _by_first(lambda: about.save(folder))
    _of_class(about, reading, np.ones(len(about.dataset.classes)))  # which may refuse
    about.check_memory(most)
    learned = time.perf_counter()
    _encode(parts, facts, about, folder, notice)
    size = sum(_bytes(array, folder / shard) for array in _arrays(about) for shard in _shards())
    notice(
        f"{about.rows:,} rows: statistics in {learned - start:.1f} s, encoded in"
        f" {time.perf_counter() - learned:.1f} s; {written(size)} in {folder}"
    )
