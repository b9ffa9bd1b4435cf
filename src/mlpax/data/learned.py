"""What passes over the batches of a table tell: columns, classes, and which rows are held out."""

import io
import json
import math
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from mlpax import hosts
from mlpax.atomic import atomic, own
from mlpax.data.batches import Parts, named
from mlpax.data.cache import room
from mlpax.data.columns import Columns, LeftOut, checked, fit_column
from mlpax.data.dataset import Dataset, HoldOut, Split, from_arrays
from mlpax.data.kinds import Kind, kind_of_type, tell_kinds
from mlpax.data.memory import written
from mlpax.data.numerals import MISSING, Numerals
from mlpax.data.parts import Schema
from mlpax.data.reading import Reading
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
    encode,
    inputs_of,
    labels_of,
    read_target,
    settled,
    targets_of,
    tell_columns,
    tell_task,
    tell_tasks,
)
from mlpax.data.text import DIRECTIONS
from mlpax.errors import Guess, InputError, Notice, counted, listed
from mlpax.seeds import row_draws
from mlpax.stages import ahead, in_order

if TYPE_CHECKING:
    import polars as pl

__all__ = ["ABOUT", "BLOCK", "SHARE", "About", "learn", "with_all"]

BLOCK = 4096  # rows that lie together on the disk, and are read together
SHARE = 8  # of the memory that a chunk takes at most
SAMPLED = 1 << 20  # cells of the rows that tell what the columns hold
FEWEST = 1000  # of these rows
HELD = 1 << 23  # cells of the rows that are held out, for validation and for the test
HELD_CHUNKS = 2  # chunks whose memory they take at most
ABOUT = "statistics.npz"
STATISTICS = 1 << 26  # bytes of statistics that are learned together, however small the memory
FRAMES = 64  # of sampled rows that are joined at a time


@dataclass(frozen=True)
class Shares:
    """Which rows of a table are held out, by a random number for each."""

    seed: int
    test: float
    valid: float  # of the rows that are left by `test`

    @staticmethod
    def of(hold: HoldOut, rows: int, features: int, memory: int, notice: Notice) -> "Shares":
        """Return the shares that a user asks for; smaller ones, with a notice, if they are too many.

        They are for about so many inputs of the network, and may take some bytes of memory together.
        """
        each = min(HELD, memory // 4 // 2)
        most = max(1, each // features) / rows
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
                f" {written(HELD_CHUNKS * most)} for them; raise it to"
                f" {written(math.ceil(size / HELD_CHUNKS) * SHARE, '')}, or hold out fewer with --validation"
                " and --test"
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


def learn(parts: Parts, reading: Reading, hold: HoldOut, name: str, limit: int, notice: Notice) -> About:
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
    inputs = inputs_of(sample, {*targets, reading.weight}, targets)
    features = sum(_features(inputs[name], kinds[name]) for name in inputs.columns)
    shares = Shares.of(hold, rows, features, HELD_CHUNKS * (limit // SHARE) // 2, tell)
    known = _Known({n: kinds[n] for n in targets}, labels[targets[0]].task, shares)
    learned = inputs.filter(shares.split(chosen).train & known.present(sample).to_numpy())
    statistics = {n: statistic_of(kinds[n], learned[n]) for n in inputs.columns}
    of_classes = {n: statistic_of(Kind("category"), sample[n]) for n in targets if classes}
    lacking = _passes(parts, dict(sample.schema), of_classes | statistics, known, limit)
    for trained, found in zip(of_classes.values(), classes, strict=bool(classes)):
        _check_classes(cast("Counts", trained.counters[0]), kinds, found)
    if 2 * lacking > rows:
        what, fewer = (f"target {targets[0]!r}", "another") if len(targets) == 1 else ("a target", "fewer")
        raise InputError(f"{what} is missing in {lacking} of {rows} rows, more than half; name {fewer}")
    if lacking:
        tell(f"dropped {counted(lacking, 'row')} without a target")
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
    for batch in parts.batches(notice, schema=schema):
        frame = batch.frame
        if not frames:
            counts = [Counts(name) for name in targets_of(frame, reading.target, lambda text: None)]
            share, file = max(FEWEST, SAMPLED // frame.width) / rows, batch.file
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
    import polars as pl

    kinds = tell_kinds(sample, reading, notice)
    for name, kind in kinds.items():
        if kind.name == "constant":
            marks = (*MISSING, *reading.missing)
            values = sample[name].drop_nulls()
            dtype = values.dtype
            if dtype == pl.String and len(values):  # what it is beside numbers
                beside = pl.DataFrame({name: [values[0], "0", "1", "2.5"]})
                if (found := tell_kinds(beside, reading, lambda text: None)[name]).name == "number":
                    kinds[name] = found
                    continue
            kinds[name] = Kind(kind_of_type(dtype), clock=dtype.is_temporal() and kind.clock, missing=marks)
    return kinds


def _check_classes(trained: Counts, kinds: dict[str, Kind], classes: tuple[Any, ...]) -> None:
    """Raise an error if no training row is of a class."""
    cells = read_target(trained.cells()[0], kinds[trained.name], "classification").drop_nulls()
    there = set(encode(cells, classes).tolist())
    for k, name in enumerate(classes):
        if k not in there:
            raise InputError(f"class {name!r} has no training row after the split; choose another seed")


def _features(sample: "pl.Series", kind: Kind) -> int:
    """Return about how many inputs a column will be."""
    if kind.name == "text":
        return DIRECTIONS
    column = fit_column(sample, kind)
    return 1 if isinstance(column, LeftOut) else max(1, column.features)


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
        return with_all([read_target(frame[name], kind, self.task) for name, kind in self.kinds.items()])


def with_all(targets: "list[pl.Series]") -> "pl.Series":
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
        with named(batch):
            present = known.present(batch.frame)
        lacking += int((~present).sum())
        train = known.shares.split(batch.rows).train
        kept = train & present.to_numpy()
        frame = batch.frame.select([*statistics]).filter(kept)
        with named(batch, kept):
            for _ in in_order(partial(_show, statistics, frame), statistics, pl.thread_pool_size()):
                pass
    return lacking


def _show(statistics: dict[str, Statistic], frame: "pl.DataFrame", name: str) -> None:
    statistics[name].add(frame[name])


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
