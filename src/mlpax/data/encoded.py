"""The rows of a table as a network takes them, written to a cache."""

import json
import math
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlpax import hosts
from mlpax.data.batches import SEGMENT, Batch, Parts, named
from mlpax.data.cache import PROGRESS, Array, Progress, Reader, Writer, added, facts_of, room, write_record
from mlpax.data.columns import Category, Columns, Input
from mlpax.data.learned import ABOUT, About, with_all
from mlpax.data.memory import written
from mlpax.data.targets import check_spread, encode, read_target, weights_of
from mlpax.errors import InputError, Notice
from mlpax.stages import ahead, in_order

if TYPE_CHECKING:
    import polars as pl

__all__ = ["STORES", "TABLE", "arrays_of", "by_first", "check_unchanged", "codes_in", "encode_rows",
           "places_of", "shards_of_cache", "size_of"]  # fmt: skip

TABLE = "table.json"
PARTS = ("train", "valid", "test")
STORES = {"floats": "<f4", "small": "|u1", "large": "<u2"}  # where the inputs of a column lie
TOGETHER = 1 << 20  # values that are summed together


class Place(NamedTuple):
    """Where the inputs of a column lie on the disk, and among the inputs of a network."""

    column: Input
    store: str
    at: int  # in a row of the store
    width: int
    to: int  # among the inputs
    features: int


def places_of(columns: Columns) -> list[Place]:
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


def arrays_of(about: About) -> list[Array]:
    """Return the files of a cache."""
    places = places_of(about.columns)
    widths = {store: sum(p.width for p in places if p.store == store) for store in STORES}
    row = [(store, STORES[store], width) for store, width in widths.items() if width]
    row.append(("y", "<i4" if about.dataset.classes else "<f8", len(about.dataset.targets)))
    if len(about.kinds) > len(about.dataset.targets):
        row.append(("weight", "<f4", 1))
    return [Array(f"{part}-{name}", dtype, width) for part in PARTS for name, dtype, width in row]


def encode_rows(parts: Parts, facts: list[object], about: About, folder: Path, notice: Notice) -> None:
    """Write the inputs of all rows, and what is known of the whole. Each process writes the rows it reads."""
    arrays, shards = arrays_of(about), shards_of_cache()

    def work() -> bytes:
        row = sum(array.row for array in arrays) // len(PARTS)
        free = shutil.disk_usage(folder).free + sum(
            size_of(array, folder / s) for array in arrays for s in shards
        )
        if hosts.index() == 0 and (size := row * about.rows) > free:
            raise InputError(
                f"the cache would take {written(size)}, and {folder} has {written(free)} left; make room, or"
                " choose another disk with --cache"
            )
        written_here = _encode_here(parts, facts, about, folder, folder / shards[hosts.index()], notice)
        return json.dumps([written_here.sizes, written_here.digests]).encode()

    every: list[list[dict[str, Any]]] = [json.loads(content) for content in hosts.exchanged(work)]
    sizes = {shard: found for shard, (found, _) in zip(shards, every, strict=True)}
    digests = {name: added(*(own[name] for _, own in every)) for name in every[0][1]}
    record = _summary(about, Reader(folder, arrays, sizes)) | {"digests": digests, "sizes": sizes}
    by_first(lambda: write_record(folder / TABLE, record))


def shards_of_cache() -> list[str]:
    """Return the folders of a cache in which the processes write."""
    count = hosts.count()
    return [""] if count == 1 else [f"part-{k + 1}-of-{count}" for k in range(count)]


def by_first(work: Callable[[], object]) -> None:
    """Let the first process do something, while the others wait."""

    def first_alone() -> bytes:
        if hosts.index() == 0:
            work()
        return b""

    hosts.exchanged(first_alone)


def _encode_here(
    parts: Parts, facts: list[object], about: About, folder: Path, shard: Path, notice: Notice
) -> Progress:
    """Write the inputs of the rows that this process reads to its shard of a cache; return the progress."""
    with room(shard):
        shard.mkdir(exist_ok=True)
    writer, last, read = Writer(shard, arrays_of(about), parts.begin), min(parts.end, about.rows), set[Path]()
    try:
        done = writer.progress.rows
        if parts.begin < done < last:
            notice(f"going on with the cache from row {done + 1:,} of {about.rows:,}")
        for batch in ahead(parts.batches(), 1):
            first, frame = batch.first, batch.frame
            while frame.height:
                end = (first // SEGMENT + 1) * SEGMENT
                piece = frame.head(end - first)
                if first >= done:
                    _write(writer, about, Batch(first, piece, batch.file))
                    read.add(batch.file)
                    if (over := first + piece.height) in (end, last):
                        check_unchanged(parts, facts, folder, shard, read)
                        writer.commit(over)
                        read.clear()
                frame, first = frame.slice(piece.height), first + piece.height
        check_unchanged(parts, facts, folder, shard)
        if writer.progress.rows != last:
            raise InputError(f"{parts.path} has other rows than it had before; train again")
    except InputError:
        check_unchanged(parts, facts, folder, shard)  # which may be why a file cannot be read
        raise
    finally:
        writer.close()
    return writer.progress


def check_unchanged(
    parts: Parts, facts: list[object], folder: Path, shard: Path, read: set[Path] | None = None
) -> None:
    """Raise an error if files have changed, and forget what was read of them.

    `read` are the files to look at; without it, it is all.
    """
    if (changed := _changed(parts, facts, read)) is not None:
        for path in (folder / ABOUT, shard / PROGRESS):
            path.unlink(missing_ok=True)
        raise InputError(f"{changed} was changed while it was read; train again")


def _changed(parts: Parts, facts: list[object], read: set[Path] | None) -> Path | None:
    """Return a file that is not as it was."""
    if parts.frames is not None:
        return None if read is not None or parts.facts() == facts else parts.path
    for file, before in zip(parts.files, facts, strict=True):
        if read is None or file in read:
            try:
                now = facts_of(file)
            except InputError:  # it is gone
                return file
            if now != before:
                return file
    return None


def size_of(array: Array, folder: Path) -> int:
    path = array.path(folder)
    return path.stat().st_size if path.exists() else 0


def _write(writer: Writer, about: About, batch: Batch) -> None:
    """Append the rows of a batch to the arrays of training, validation and test."""
    import polars as pl

    targets, frame = about.dataset.targets, batch.frame
    task = "classification" if about.dataset.classes else "regression"
    with named(batch):
        cells = [read_target(frame[name], about.kinds[name], task) for name in targets]
    present = with_all(cells)
    kept = present.to_numpy()
    frame = frame if kept.all() else frame.filter(present)
    with named(batch, kept):
        each = zip(cells, about.dataset.each_classes or repeat(()), strict=False)
        y = [encode(of_target.filter(present), classes) for of_target, classes in each]
        columns: dict[str, np.ndarray] = {"y": np.column_stack(y)}
        places = places_of(about.columns)
        stored = list(in_order(partial(_stored, frame), places, pl.thread_pool_size()))
        for store in STORES:
            found = [values for place, values in zip(places, stored, strict=True) if place.store == store]
            if found:
                columns[store] = np.hstack(found)
        for weight in [name for name in about.kinds if name not in targets]:
            columns["weight"] = weights_of(frame, weight, about.kinds)[:, None]
    about.columns.check_names(frame.columns)
    for part, mask in zip(PARTS, about.shares.split(batch.rows), strict=True):
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
    _check_weights(about, reader)
    if not rows:
        raise InputError("no row is left to train on; hold out fewer rows")
    targets = about.dataset.targets
    counts, each = list[list[int]](), [(0.0, 1.0)]
    for k, classes in enumerate(about.dataset.each_classes):
        told = _told(lambda k=k, classes=classes: _counted(reader, k, len(classes)))
        counts.append(np.sum(told, axis=0).tolist())
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
        if name not in reader.arrays or (part == "valid" and not reader.height(name)):
            continue
        told = _told(lambda name=name: [int(weight.any()) for _, weight in _pieces(reader, name)])
        if not any(map(any, told)):
            column = next(name for name in about.kinds if name not in about.dataset.targets)
            raise InputError(f"weight {column!r} is zero in every {shown} row; give some rows a weight")


def _codes_seen(about: About, reader: Reader) -> list[list[int]]:
    """Return the codes of each embedding in the training rows of some weight."""
    seen: list[list[int]] = []
    for place in places_of(about.columns):
        if place.column.codes:
            codes = _told(lambda place=place: codes_in(reader, place))
            seen.append(sorted({code for own in codes for code in own}))
    return seen


def codes_in(
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
