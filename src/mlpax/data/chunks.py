"""Tables larger than the memory, trained in chunks of rows from a cache."""

import hashlib
import json
import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from mlpax import hosts
from mlpax.data import tables
from mlpax.data.batches import Parts
from mlpax.data.cache import Facts, Reader, read_record, sole_writer, write_record
from mlpax.data.columns import Category
from mlpax.data.dataset import Chunk, Dataset, HoldOut
from mlpax.data.encoded import (
    STORES,
    TABLE,
    arrays_of,
    by_first,
    check_unchanged,
    codes_in,
    encode_rows,
    places_of,
    shards_of_cache,
    size_of,
)
from mlpax.data.frames import Frames
from mlpax.data.learned import BLOCK, SHARE, About, learn
from mlpax.data.memory import memory_limit, written
from mlpax.data.reading import Reading
from mlpax.data.targets import check_class_weight, class_weights
from mlpax.errors import InputError, Notice
from mlpax.seeds import rng

T = TypeVar("T")

__all__ = ["Chunked", "dataset_in_chunks", "user_cache"]

FORMAT = 2  # another number makes all that was kept unknown
CHUNK = 1 << 26  # bytes of the inputs of a chunk at most
TOKEN = "together.json"
WHOLE = {"rows", "mean", "deviation", "counts", "seen", "sizes", "digests"}  # what is known of a table
SEEN = 10  # seconds in which what one host writes is seen by the others
BESIDE = {"memory", "cache", "strict", "class_weight"}  # options on which the encoded rows do not depend
FEWEST_BLOCKS = 8  # of a chunk, if the memory has room
SMALL = 1 << 16  # cells of the smallest batch


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
        block = BLOCK * 4 * self.features
        most = min(self.most, max(CHUNK, FEWEST_BLOCKS * block))
        return -(-self.blocks // (most // block))

    @property
    def rows_of_chunk(self) -> int:
        """Rows of each chunk, with one of weight 0 at most."""
        return -(-self.rows // self.count)

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
            places = [place for place in places_of(self.about.columns) if place.column.codes]
            seen = [codes_in(self.reader, place, self.of_class, all_rows=True) for place in places]
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
        whole = np.stack([blocks * BLOCK, np.minimum(BLOCK, self.rows - blocks * BLOCK)], axis=1)
        spans = _share_of(_share_of(whole, k, self.count), share, shares)
        rows = -(-self.rows_of_chunk // shares)
        if len(spans):
            return self.weighed(self._read("train", spans.tolist(), rows))
        found = self._read("train", [(0, 1)], rows)  # there are fewer rows than shares
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
        for place in places_of(self.about.columns):
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


def _share_of(spans: np.ndarray, share: int, shares: int) -> np.ndarray:
    """Return one of several parts of spans of rows, as spans; the parts differ by a row at most.

    A span is its first row and how many there are: (spans, 2).
    """
    firsts, counts = spans.T
    ends = counts.cumsum()
    each, more = divmod(int(counts.sum()), shares)
    begin = share * each + min(share, more)
    end = begin + each + (share < more)
    some = np.flatnonzero((ends > begin) & (ends - counts < end))
    starts = (ends - counts)[some]
    low, high = np.maximum(begin - starts, 0), np.minimum(end - starts, counts[some])
    return np.stack([firsts[some] + low, high - low], axis=1)[high > low]


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
    most = limit // SHARE
    folder = cache / key
    parts = replace(parts, cells=min(tables.SLICE, max(SMALL, limit // 1024)), most=most)
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
    reader = Reader(folder, arrays_of(about), record["sizes"])
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
    shards = cast("dict[str, dict[str, object]]", record["sizes"])
    arrays = arrays_of(about)
    known = all(isinstance(own.get(array.name), int) for own in shards.values() for array in arrays)
    return (about, record) if known and shards else None


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
        about = learn(parts, reading, hold, name, limit, notice)
        hosts.exchanged(lambda: check_unchanged(parts, facts, folder, folder) or b"")
        by_first(lambda: about.save(folder))
    _of_class(about, reading, np.ones(len(about.dataset.classes)))  # which may refuse
    about.check_memory(most)
    learned = time.perf_counter()
    encode_rows(parts, facts, about, folder, notice)
    size = sum(size_of(array, folder / shard) for array in arrays_of(about) for shard in shards_of_cache())
    notice(
        f"{about.rows:,} rows: statistics in {learned - start:.1f} s, encoded in"
        f" {time.perf_counter() - learned:.1f} s; {written(size)} in {folder}"
    )
