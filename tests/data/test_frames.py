"""Rows given frame by frame: the same bits whoever gives them, and nothing half-written taken for whole."""

import os

import numpy as np
import polars as pl
import pytest

from mlpax.data import frames
from mlpax.data.chunks import dataset_in_chunks
from mlpax.data.dataset import HoldOut
from mlpax.data.frames import frames_of, is_one_shot, spooled
from mlpax.data.reading import Reading
from mlpax.errors import InputError

READING = Reading(target="y", memory="64M")


@pytest.fixture
def table():
    g = np.random.default_rng(0)
    x = g.standard_normal((900, 3))
    frame = pl.DataFrame({f"x{i}": x[:, i] for i in range(3)})
    letters = pl.Series(["a", "b", "c"]).gather(g.integers(0, 3, 900)).cast(pl.Categorical)
    return frame.with_columns(c=letters, y=pl.Series(np.where(x[:, 0] > 0, "yes", "no")))


def cut(frame, size):
    return (frame[k : k + size] for k in range(0, frame.height, size))


def in_chunks(data, cache, notice=lambda text: None):
    return dataset_in_chunks(
        cache, data, READING, HoldOut(validation=0.2), name="t", cache=cache, notice=notice
    )


def test_frames_of_any_kind_and_cuts_are_the_rows_of_the_file(table, tmp_path):
    pa = pytest.importorskip("pyarrow")
    dataset = pytest.importorskip("pyarrow.dataset")
    (tmp_path / "parts").mkdir()
    file = tmp_path / "parts" / "0.parquet"
    table.write_parquet(file)
    expected = in_chunks([file], tmp_path / "files").fingerprint
    for data in (
        [table],
        [*cut(table, 100)],
        lambda: cut(table, 71),
        lambda: (frame.to_pandas() for frame in cut(table, 300)),
        lambda: (pa.table(frame.to_dict(as_series=False)) for frame in cut(table, 300)),
        dataset.dataset(tmp_path / "parts"),
    ):
        assert in_chunks(frames_of(data), tmp_path / "frames").fingerprint == expected
    lines = []
    in_chunks(frames_of(lambda: cut(table, 5)), tmp_path / "frames", lines.append)
    assert any("taken from" in line for line in lines)


def test_the_files_of_a_data_set_tell_whether_it_is_as_it_was_and_of_a_filtered_one_its_rows(table, tmp_path):
    dataset = pytest.importorskip("pyarrow.dataset")
    table.write_parquet(tmp_path / "0.parquet")
    found = dataset.dataset(tmp_path)
    whole = frames_of(found)
    assert whole.rows == 900
    assert whole.known is not None
    some = frames_of(found.filter(dataset.field("x0") > 0))
    others = frames_of(found.filter(dataset.field("x1") > 0))
    assert some.known is None
    assert some.rows == table.filter(pl.col("x0") > 0).height
    assert some.facts != others.facts
    before = whole.facts
    table.head(800).write_parquet(tmp_path / "0.parquet")
    assert frames_of(dataset.dataset(tmp_path)).facts != before


def test_rows_that_differ_between_passes_are_refused(table, tmp_path):
    with pytest.raises(InputError, match="the frames gave 50 rows in the first pass, and 50 or other rows"):
        in_chunks(frames_of(lambda: [table.sample(50)]), tmp_path)
    one_shot = cut(table, 100)
    with pytest.raises(InputError, match="the frames have no row"):
        in_chunks(frames_of(lambda: one_shot), tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (lambda: 3, "the data give int, which is no iterable of frames"),
        (lambda: [5], "frame 1: X has shape"),
        (lambda: [pl.DataFrame()], "frame 1 has no column"),
        (lambda: [pl.DataFrame({"a": [1]}), pl.DataFrame({"b": [1]})], "frame 2 lacks the column 'a'"),
        (lambda: [pl.DataFrame({"a": [1]}), pl.DataFrame({"a": ["t"]})], "frame 2 holds text in column 'a'"),
    ],
)  # fmt: skip
def test_what_is_no_frame_is_named_by_its_number(data, message):
    with pytest.raises(InputError, match=message):
        [*frames_of(data).pieces(100)]


def test_data_in_memory_are_no_frames(table):
    for data in (table, table.lazy(), {"a": [1, 2]}, np.zeros((3, 2)), [[1, 2], [3, 4]], "digits", [], None):
        assert frames_of(data) is None
        assert not is_one_shot(data)
    assert is_one_shot(cut(table, 3))


def test_an_iterator_is_written_once_whatever_its_cuts(table, tmp_path, monkeypatch):
    monkeypatch.setattr(frames, "SPOOLED", 5 * 200)
    place = spooled(cut(table, 70), tmp_path, lambda text: None)
    assert [*tmp_path.iterdir()] == [place]
    files = sorted(place.iterdir())
    assert [pl.read_parquet(file).height for file in files] == [200, 200, 200, 200, 100]
    assert pl.concat(map(pl.read_parquet, files)).equals(table)
    written = [file.stat().st_mtime_ns for file in files]
    assert spooled(iter([table]), tmp_path, lambda text: None) == place
    assert [file.stat().st_mtime_ns for file in files] == written
    assert spooled(iter([table.head(899)]), tmp_path, lambda text: None) != place


def test_an_iterator_that_fails_leaves_nothing(table, tmp_path, monkeypatch):
    monkeypatch.setattr(frames, "SPOOLED", 500)

    def failing():
        yield table
        raise RuntimeError("gone")

    left = tmp_path / ".spool-1-of-a-killed-process"
    left.mkdir()
    (left / "000000.parquet").write_bytes(b"half")
    with pytest.raises(RuntimeError, match="gone"):
        spooled(failing(), tmp_path, lambda text: None)
    assert not [*tmp_path.iterdir()]
    with pytest.raises(InputError, match="frame 2 lacks the column 'c'"):
        spooled(iter([table, table.drop("c")]), tmp_path, lambda text: None)
    assert not [*tmp_path.iterdir()]


@pytest.mark.skipif(os.name != "posix", reason="limits of a process")
def test_a_disk_that_is_full_while_an_iterator_is_written_is_one_line(table, tmp_path):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(InputError, match=r"the disk of the cache .* is full"):
            spooled(iter([table]), tmp_path, lambda text: None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [*tmp_path.iterdir()]
