"""Tables larger than the memory: statistics and encoding in passes, and chunks of rows to train on."""

import hashlib
import io
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from mlpax.atomic import atomic, own
from mlpax.data import tables
from mlpax.data.cache import (
    PROGRESS,
    Array,
    Reader,
    Writer,
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
from mlpax.data.statistics import BYTES, Counts, Statistic, statistic_of
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

if TYPE_CHECKING:
    import polars as pl

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
ABOUT, TABLE = "statistics.npz", "table.json"
WHOLE = {"rows", "mean", "deviation", "counts", "seen", "sizes", "digests"}  # what is known of a table
PARTS = ("train", "valid", "test")
STORES = {"floats": "<f4", "small": "|u1", "large": "<u2"}  # where the inputs of a column lie
BESIDE = {"memory", "cache", "strict", "class_weight"}  # options on which the encoded rows do not depend
FEWEST_COLUMNS = 16  # whose statistics are learned together, however small the memory
SMALL = 1 << 16  # cells of the smallest batch
TOGETHER = 1 << 20  # values that are summed together


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

    def batches(
        self, notice: Notice = lambda text: None, types: "Mapping[str, pl.DataType] | None" = None
    ) -> Iterator[Batch]:
        """Yield all rows in order, of the given types where they are known."""
        import polars as pl

        schema, first = Schema(), 0
        for file, found in self._found(notice):
            frame = schema.checked(file, found)
            if types is not None:
                other = {n: t for n, t in types.items() if frame[n].dtype != t}
                frame = frame.with_columns(pl.col(name).cast(dtype) for name, dtype in other.items())
            yield Batch(first, frame, file)
            first += frame.height

    def _found(self, notice: Notice) -> "Iterator[tuple[Path, pl.DataFrame]]":
        if self.frames is not None:
            yield from self.frames.pieces(self.cells)
        for file in self.files:
            whole = tables.memory_needed([file], self.options) <= self.most
            smallest = tables.STREAMED if whole else 0
            for found in tables.read_batches(file, self.cells, self.options, notice, smallest=smallest):
                yield file, found

    def facts(self) -> list[object]:
        """Return what tells whether the rows are as they were."""
        return [*map(facts_of, self.files)] if self.frames is None else self.frames.facts

    def rows(self) -> int:
        """Return the number of all rows."""
        import polars as pl

        if self.frames is not None:
            return self.frames.rows
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
            notice(text if option is None else Guess(text, option))


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
        lines.append((text, text.option if isinstance(text, Guess) else None))
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


def _sampled(
    parts: Parts, rows: int, seed: int, reading: Reading, notice: Notice
) -> "tuple[pl.DataFrame, np.ndarray, list[Counts]]":
    """Return random rows, all of a small table; their numbers; and counts of the cells of each target."""
    frames, numbers = list["pl.DataFrame"](), list[np.ndarray]()
    schema, counts, share, found = Schema(), list[Counts](), 1.0, 0
    for batch in parts.batches(notice):
        frame = batch.frame
        if not frames:
            counts = [Counts(name) for name in targets_of(frame, reading.target, lambda text: None)]
            share = max(FEWEST, SAMPLED // frame.width) / rows
        frame = schema.checked(batch.file, frame)
        for of_target in counts:
            of_target.add(frame[of_target.name])
        found += frame.height
        chosen = row_draws(seed, "sample", batch.rows) < share
        frames.append(frame if chosen.all() else frame.filter(chosen))
        numbers.append(batch.rows[chosen])
    if found != rows:
        raise InputError(f"{parts.path} states {rows} rows and has {found}; write the file again")
    return schema.joined(frames), np.concatenate(numbers), counts


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
    left, lacking, counted = [*statistics], 0, False
    most = max(FEWEST_COLUMNS, limit // SHARE // BYTES)  # columns whose counts are in memory together
    while left:
        some, left = left[:most], left[most:]
        while some:
            for batch in parts.batches(types=types):
                with _named(batch):
                    present = known.present(batch.frame)
                lacking += 0 if counted else int((~present).sum())
                train = known.shares.split(batch.rows).train
                kept = train & present.to_numpy()
                frame = batch.frame.select(some).filter(kept)
                with _named(batch, kept):
                    for name in some:
                        statistics[name].add(frame[name])
            counted = True
            some = [name for name in some if not statistics[name].settle()]
    return lacking


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
    """Write the inputs of all rows, and what is known of the whole."""
    arrays = _arrays(about)
    row = sum(array.row for array in arrays) // len(PARTS)
    free = shutil.disk_usage(folder).free + sum(_bytes(array, folder) for array in arrays)
    if (size := row * about.rows) > free:
        raise InputError(
            f"the cache would take {written(size)}, and {folder} has {written(free)} left; make room, or"
            " choose another disk with --cache"
        )
    writer = Writer(folder, arrays)
    try:
        done = writer.progress.rows
        if 0 < done < about.rows:
            notice(f"going on with the cache from row {done + 1:,} of {about.rows:,}")
        for batch in parts.batches(types=None):
            first, frame = batch.first, batch.frame
            while frame.height:
                end = (first // SEGMENT + 1) * SEGMENT
                piece = frame.head(end - first)
                if first >= done:
                    _write(writer, about, Batch(first, piece, batch.file))
                    if (over := first + piece.height) in (end, about.rows):
                        writer.commit(over)
                frame, first = frame.slice(piece.height), first + piece.height
        _check_unchanged(parts, facts, folder)
        if writer.progress.rows != about.rows:
            raise InputError(f"{parts.path} was changed while it was read; train again")
        sizes = writer.progress.sizes
        record = _summary(about, Reader(folder, arrays, sizes)) | {"digests": writer.progress.digests}
    finally:
        writer.close()
    write_record(folder / TABLE, record | {"sizes": sizes})


def _check_unchanged(parts: Parts, facts: list[object], folder: Path) -> None:
    """Raise an error if the files were changed while they were read, and forget what was read of them."""
    now = parts.facts()
    if now != facts:
        for name in (ABOUT, PROGRESS):
            (folder / name).unlink(missing_ok=True)
        each = zip(parts.files, facts, now, strict=False)
        changed = next((file for file, then, at_last in each if then != at_last), parts.path)
        raise InputError(f"{changed} was changed while it was read; train again")


def _bytes(array: Array, folder: Path) -> int:
    path = array.path(folder)
    return path.stat().st_size if path.exists() else 0


def _write(writer: Writer, about: About, batch: Batch) -> None:
    """Append the rows of a batch to the arrays of training, validation and test."""
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
        for store in STORES:
            found = [_stored(place, frame) for place in _places(about.columns) if place.store == store]
            if found:
                columns[store] = np.hstack(found)
        for weight in [name for name in about.kinds if name not in targets]:
            columns["weight"] = weights_of(frame, weight, about.kinds)[:, None]
    about.columns.check_names(frame.columns)
    split = about.shares.split(batch.rows)
    for part, mask in zip(PARTS, split, strict=True):
        for name, rows in columns.items():
            writer.put(f"{part}-{name}", rows[mask[kept]])


def _stored(place: Place, frame: "pl.DataFrame") -> np.ndarray:
    """Return what is kept of a column: codes of a category, else inputs of the network."""
    values = frame[place.column.name]
    column: Any = place.column  # whose `inputs` takes what its `read` returns
    cells = column.read(values)
    if isinstance(place.column, Category):
        return place.column.numbered(cells).astype(STORES[place.store])[:, None]
    return column.inputs(cells)


def _summary(about: About, reader: Reader) -> dict[str, object]:
    """Return what is known of the training rows: their number, the targets, and which codes occur."""
    rows = _rows_in(reader, "train")
    if not rows:
        raise InputError("no row is left to train on; hold out fewer rows")
    _check_weights(about, reader)
    targets = about.dataset.targets
    counts, each = list[list[int]](), [(0.0, 1.0)]
    for k, classes in enumerate(about.dataset.each_classes):
        found = sum(np.bincount(y[:, k], minlength=len(classes)) for y, _ in _pieces(reader, "train-y"))
        counts.append(np.asarray(found).tolist())
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
        "seen": _seen(about, reader),
    }


def _pieces(reader: Reader, name: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield all rows of an array of a part and their weights, in pieces of a fixed size."""
    part, _, _ = name.partition("-")
    rows = _rows_in(reader, part)
    for first in range(0, rows, TOGETHER):
        some, weight = min(TOGETHER, rows - first), f"{part}-weight"
        weights = reader.rows(weight, first, some)[:, 0] if weight in reader.arrays else np.ones(some, "<f4")
        yield reader.rows(name, first, some), weights


def _of_target(reader: Reader, k: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the values of one target of a regression, and the weights of the rows."""
    return ((y[:, k], weight) for y, weight in _pieces(reader, "train-y"))


def _check_weights(about: About, reader: Reader) -> None:
    for part, shown in (("train", "training"), ("valid", "validation")):
        name = f"{part}-weight"
        if name in reader.arrays and _rows_in(reader, part):
            if any(weight.any() for _, weight in _pieces(reader, name)):
                continue
            column = next(name for name in about.kinds if name not in about.dataset.targets)
            raise InputError(f"weight {column!r} is zero in every {shown} row; give some rows a weight")


def _seen(about: About, reader: Reader, of_class: np.ndarray | None = None) -> list[list[int]]:
    """Return the codes of each embedding in the training rows of some weight."""
    seen: list[list[int]] = []
    for place in _places(about.columns):
        if place.column.codes:
            there = np.zeros(place.column.codes, bool)
            labels = _pieces(reader, "train-y")
            for (values, weight), (y, _) in zip(_pieces(reader, f"train-{place.store}"), labels, strict=True):
                counting = weight > 0 if of_class is None else weight * of_class[y[:, 0]] > 0
                there[values[counting, place.at]] = True
            seen.append(np.flatnonzero(there).tolist())
    return seen


def _rows_in(reader: Reader, part: str) -> int:
    array = reader.arrays[f"{part}-y"]
    return array.path(reader.folder).stat().st_size // array.row


def _moments(
    pieces: Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]], target: str
) -> tuple[float, float]:
    """Return weighted mean and deviation of a target, and check that float32 can tell its values apart.

    The sums are those of pieces of fixed size, so they do not depend on how the table is read.
    """

    def total(of: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> float:
        return math.fsum(float(of(y, w.astype(np.float64)).sum()) for y, w in pieces())

    rows, weight = total(lambda y, w: np.ones(len(y))), total(lambda y, w: w)
    mean = total(lambda y, w: y * w) / weight
    square = total(lambda y, w: w * (y - mean) ** 2) / weight
    plain = total(lambda y, w: y) / rows
    spread = (total(lambda y, w: (y - plain) ** 2) / rows) ** 0.5
    least, largest = min(float(y.min()) for y, _ in pieces()), max(float(y.max()) for y, _ in pieces())
    check_spread(target, least, largest, plain, spread)
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
            seen = _seen(self.about, self.reader, self.of_class)
        longest = max(map(len, seen), default=0)
        return np.array([codes + codes[:1] * (longest - len(codes)) for codes in seen]).T.reshape(
            longest, len(seen)
        )

    def chunk(self, number: int) -> Chunk:
        """Return the rows of a chunk. The chunks of all passes are numbered one after another, from 0."""
        passed, k = divmod(number, self.count)
        blocks = np.arange(self.blocks)
        if self.count > 1:
            blocks = rng(self.about.shares.seed, "blocks", passed).permutation(self.blocks)
        mine = blocks[k * self.blocks // self.count : (k + 1) * self.blocks // self.count]
        spans = [(int(b) * BLOCK, min(BLOCK, self.rows - int(b) * BLOCK)) for b in mine]
        return self.weighed(self._read("train", spans, self.rows_of_chunk))

    def weighed(self, chunk: Chunk) -> Chunk:
        """Return the rows with the weights of their classes."""
        return (
            chunk if self.of_class is None else chunk._replace(weight=chunk.weight * self.of_class[chunk.y])
        )

    def held(self, part: str) -> Chunk:
        """Return all rows of "valid" or "test", without the weights of classes."""
        rows = _rows_in(self.reader, part)
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
    the encoding where it was.

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
        is too small for a block of rows.
    """
    limit = memory_limit(reading.memory)
    most = CHUNK if reading.memory is None else min(CHUNK, limit // SHARE)
    cells = min(tables.SLICE, max(SMALL, limit // 1024))
    own, frames = (files, None) if isinstance(files, list) else ([], files)
    parts = Parts(path, own, reading.file, cells, limit // SHARE, frames)
    facts = parts.facts()
    folder = cache / _key(facts, reading, hold)
    if (found := _whole(folder)) is None:
        with sole_writer(folder):
            if (found := _whole(folder)) is None:  # another process may have ended it
                _make(parts, facts, reading, hold, name, folder, limit, most, notice)
                found = _whole(folder)
                assert found is not None
    else:
        found[0].tell(notice)
        notice(f"the encoded rows are taken from {folder}")
    about, record = found
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
    record: dict[str, Any] | None = read_record(folder / TABLE)
    about = None if record is None else About.load(folder)
    if record is None or about is None or not record.keys() >= WHOLE:
        return None
    if not isinstance(record["sizes"], dict):
        return None
    sizes = cast("dict[str, object]", record["sizes"])
    known = all(isinstance(sizes.get(array.name), int) for array in _arrays(about))
    return (about, record) if known else None


def _make(
    parts: Parts, facts: list[object], reading: Reading, hold: HoldOut, name: str, folder: Path, limit: int,
    most: int, notice: Notice,
) -> None:  # fmt: skip
    """Write a cache, from where an earlier process left it."""
    start = time.perf_counter()
    about = About.load(folder)
    if about is None:
        about = _learn(parts, reading, hold, name, limit, notice)
        _check_unchanged(parts, facts, folder)
        about.save(folder)
    else:
        about.tell(notice)
    _of_class(about, reading, np.ones(len(about.dataset.classes)))  # which may refuse
    about.check_memory(most)
    learned = time.perf_counter()
    _encode(parts, facts, about, folder, notice)
    size = sum(_bytes(array, folder) for array in _arrays(about))
    notice(
        f"{about.rows:,} rows: statistics in {learned - start:.1f} s, encoded in"
        f" {time.perf_counter() - learned:.1f} s; {written(size)} in {folder}"
    )
