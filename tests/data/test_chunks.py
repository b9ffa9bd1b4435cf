"""Tables that are trained in chunks: statistics of the whole, the same bits for any cuts, resuming."""

import dataclasses
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mlpax import hosts
from mlpax.data import batches, cache, chunks, encoded, learned, tables
from mlpax.data import targets as targets_module
from mlpax.data.cache import Writer
from mlpax.data.chunks import dataset_in_chunks
from mlpax.data.columns import fit_columns
from mlpax.data.dataset import Dataset, HoldOut
from mlpax.data.kinds import tell_kinds
from mlpax.data.learned import Shares
from mlpax.data.reading import FileOptions, Reading
from mlpax.data.targets import from_frame
from mlpax.errors import InputError
from mlpax.model.fit_model import codes_of, fit_model, target_scale
from mlpax.recipes import Recipe
from mlpax.seeds import row_draws

ROWS = 3000
HOLD = HoldOut(validation=0.2, test=0.1, seed=3)
RECIPE = Recipe(hidden=(8,), epochs=2, batch_size=64, inputs="raw", backend="native", train_metrics=False)


def table(rows=ROWS):
    g = np.random.default_rng(0)
    x = g.standard_normal((rows, 4))
    level = g.integers(0, [2, 9, 100], (rows, 3))
    frame = pl.DataFrame({
        "whole": level[:, 1] * 3 - 7,
        "single": x[:, 0].astype(np.float32),
        "double": x[:, 1] * 1e5,
        "lacking": pl.Series(x[:, 2]).set(pl.Series(g.random(rows) < 0.1), None),
        "flag": level[:, 0] > 0,
        "few": pl.Series(["a", "b", "c", "d", "e", "f", "g", "h", "i"]).gather(level[:, 1]),
        "many": pl.Series([f"k{k}" for k in range(100)]).gather(level[:, 2]),
        "day": [date(2020, 1, 1) + timedelta(days=int(d)) for d in level[:, 2]],
        "one": np.ones(rows),
    })  # fmt: skip
    noise = g.standard_normal(rows) / 2
    z = x[:, 0] + (level[:, 1] > 4) + noise
    return frame.with_columns(y=pl.Series(np.where(z > 0.5, "yes", "no")), r=z)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    for module in (chunks, learned):
        monkeypatch.setattr(module, "BLOCK", 256)
    for module in (batches, encoded):
        monkeypatch.setattr(module, "SEGMENT", 700)
    monkeypatch.setattr(tables, "STREAMED", 0)  # so that files are read in batches


@pytest.fixture
def parts(tmp_path):
    frame, folder = table(), tmp_path / "parts"
    folder.mkdir()
    for k in range(3):
        frame[k * 1000 : (k + 1) * 1000].write_parquet(folder / f"{k}.parquet", row_group_size=300)
    return folder


def read(folder, cache, *, notice=lambda text: None, hold=HOLD, **options):
    reading = Reading(**{"target": "y", "drop": ("r",), "memory": "64M"} | options)
    files = sorted(folder.iterdir())
    return dataset_in_chunks(folder, files, reading, hold, name="parts", cache=cache, notice=notice)


def in_memory(frame, target="y", drop="r"):
    """The same rows as `dataset_in_chunks` trains on, by the functions for tables in memory."""
    split = Shares(HOLD.seed, HOLD.test, HOLD.validation).split(np.arange(frame.height))
    inputs = frame.drop(target)
    kinds = tell_kinds(inputs, Reading(drop=(drop,)))
    columns = fit_columns(inputs.filter(split.train), kinds)
    X = columns(inputs)
    classes = ("no", "yes") if target == "y" else ()
    y = (frame["y"] == "yes").cast(pl.Int32).to_numpy() if classes else frame["r"].to_numpy()[:, None]
    return Dataset(
        "parts", X[split.train], y[split.train], X[split.test], y[split.test], classes,
        X_valid=X[split.valid], y_valid=y[split.valid], columns=columns, targets=(target,),
    )  # fmt: skip


def of_whole_table(frame, monkeypatch, **options):
    """The data set of the same rows by `from_frame`, which holds out the rows that the chunks do."""
    reading = Reading(**options)
    targets = [frame[name].is_not_null() for name in reading.target]
    there = np.flatnonzero(np.logical_and.reduce(targets))
    split = Shares(HOLD.seed, HOLD.test, HOLD.validation).split(there)
    monkeypatch.setattr(targets_module, "split", lambda *args, **more: split)
    return from_frame(frame, reading, HOLD)


def assert_same(found, expected):
    """The rows in chunks are those in memory, and so are the networks that they train."""
    chunk = found.chunks.chunk(0)
    assert found.columns == expected.columns
    assert found.each_classes == expected.each_classes
    assert found.class_counts == expected.class_counts
    for own, other in zip(chunk, (expected.X_train, expected.y_train, expected.weight), strict=True):
        assert own.dtype == other.dtype
        assert np.array_equal(own, other)
    for name in ("X_valid", "y_valid", "weight_valid", "X_test", "y_test"):
        assert np.array_equal(getattr(found, name), getattr(expected, name))
    for own, other in zip(codes_of(found), codes_of(expected), strict=True):
        assert set(own) == set(other)
    np.testing.assert_allclose(target_scale(found), target_scale(expected), rtol=1e-12)
    if found.classes:
        trained = [fit_model(dataset, RECIPE) for dataset in (found, expected)]
        for own, other in zip(*(model.networks[0].params for model, _ in trained), strict=True):
            assert np.array_equal(own[0], other[0])
        assert trained[0][1][-1]["valid_accuracy"] == trained[1][1][-1]["valid_accuracy"]


SEVERAL = [
    {"target": ("y", "few"), "drop": ("r",)},
    {"target": ("y", "flag", "many"), "drop": ("r",), "weight": "w"},
    {"target": ("r", "double"), "drop": ("y",), "task": "regression"},
    {"target": ("r", "lacking", "single"), "drop": ("y",), "weight": "w"},
]


@pytest.mark.parametrize("options", SEVERAL, ids=lambda options: "+".join(options["target"]))
def test_several_targets_are_as_in_memory(parts, tmp_path, monkeypatch, options):
    frame = table().with_columns(w=pl.int_range(ROWS) % 4)
    lacks = pl.int_range(ROWS) % 7 == 0  # rows of one of the targets
    frame = frame.with_columns(pl.when(~lacks).then(options["target"][0]).alias(options["target"][0]))
    for k in range(3):
        frame[k * 1000 : (k + 1) * 1000].write_parquet(parts / f"{k}.parquet")
    options = {"drop": (), "weight": None, "task": None} | options
    if not options["weight"]:
        options["drop"] += ("w",)
    found = read(parts, tmp_path / "cache", **options)
    assert_same(found, of_whole_table(frame, monkeypatch, **options))
    assert found.targets == options["target"]


@pytest.mark.parametrize("weights", ["balanced", "no=3,yes=0.5", "no=0"])
@pytest.mark.parametrize("column", [None, "w"])
def test_weights_of_classes_are_as_in_memory_and_take_the_same_cache(
    parts, tmp_path, monkeypatch, weights, column
):
    frame = table().with_columns(w=pl.int_range(ROWS) % 4)
    frame = frame.with_columns(many=pl.when(pl.col("y") == "no").then(pl.lit("rare")).otherwise("many"))
    for k in range(3):
        frame[k * 1000 : (k + 1) * 1000].write_parquet(parts / f"{k}.parquet")
    options = {"target": ("y",), "drop": ("r",) if column else ("r", "w"), "weight": column}
    without = read(parts, tmp_path / "cache", **options)
    lines = []
    found = read(parts, tmp_path / "cache", class_weight=weights, notice=lines.append, **options)
    assert any("taken from" in line for line in lines)
    assert found.fingerprint != without.fingerprint
    assert_same(found, of_whole_table(frame, monkeypatch, class_weight=weights, **options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_weight": "maybe=2"}, "unknown class 'maybe'"),
        ({"class_weight": "yes=-2"}, "is no number from 0; write yes=2"),
        ({"class_weight": "balanced", "target": "r", "drop": ("y",)}, "target 'r' sets a regression"),
        ({"class_weight": "balanced", "target": ("y", "few")}, "is for one target, and there are 2"),
        ({"target": ("y", "r"), "drop": ()}, "target 'y' is of classes, and 'r' of numbers"),
        ({"target": "y,nothing"}, "no column 'nothing' in the data"),
        ({"weight": "zero"}, "weight 'zero' is zero in every training row; give some rows a weight"),
    ],
)
def test_targets_and_weights_that_do_not_go_are_refused(parts, tmp_path, options, message):
    for k in range(3):
        frame = table()[k * 1000 : (k + 1) * 1000].with_columns(zero=0)
        frame.write_parquet(parts / f"{k}.parquet")
    with pytest.raises(InputError, match=message):
        read(parts, tmp_path / "cache", **options)


def test_numbers_of_rows_do_not_depend_on_the_cuts():
    whole = row_draws(1, "validation", np.arange(10_000))
    assert np.array_equal(whole[300:], row_draws(1, "validation", np.arange(300, 10_000)))
    assert abs(whole.mean() - 0.5) < 0.01
    assert abs(np.corrcoef(whole[1:], whole[:-1])[0, 1]) < 0.03


def test_statistics_and_inputs_are_those_of_the_table_in_memory(parts, tmp_path):
    found, expected = read(parts, tmp_path / "cache"), in_memory(table())
    assert found.columns == expected.columns
    assert found.classes == expected.classes
    for name in ("X_valid", "y_valid", "X_test", "y_test"):
        assert np.array_equal(getattr(found, name), getattr(expected, name))
    assert found.chunks.count == 1
    assert np.array_equal(found.chunks.chunk(0).X, expected.X_train)
    assert found.class_counts == expected.class_counts
    assert found.rows_trained == expected.rows_trained


def test_the_model_is_that_of_the_table_in_memory(parts, tmp_path):
    found, expected = (fit_model(d, RECIPE) for d in (read(parts, tmp_path / "cache"), in_memory(table())))
    for own, other in zip(found[0].networks[0].params, expected[0].networks[0].params, strict=True):
        assert np.array_equal(own[0], other[0])
    assert found[1][-1]["valid_accuracy"] == expected[1][-1]["valid_accuracy"]


@pytest.mark.parametrize("kind", ["csv", "arrow"])
def test_parts_of_text_and_of_arrow_are_read_as_they_are_in_memory(tmp_path, kind):
    folder, frame = tmp_path / "parts", table()
    folder.mkdir()
    for k in range(3):
        part = frame[k * 1000 : (k + 1) * 1000]
        part.write_csv(folder / f"{k}.csv") if kind == "csv" else part.write_ipc(folder / f"{k}.arrow")
    found, expected = read(folder, tmp_path / "cache"), in_memory(tables.read_table(folder))
    assert found.columns == expected.columns
    assert np.array_equal(found.chunks.chunk(0).X, expected.X_train)


def test_a_part_in_which_a_column_is_empty_or_of_whole_numbers_is_read_as_the_others(parts, tmp_path):
    part = pl.read_parquet(parts / "1.parquet")
    part = part.with_columns(few=pl.lit(None), double=pl.col("double").round().cast(pl.Int64))
    part.write_parquet(parts / "1.parquet")
    found, expected = read(parts, tmp_path / "cache"), in_memory(tables.read_table(parts))
    assert found.columns == expected.columns
    assert np.array_equal(found.chunks.chunk(0).X, expected.X_train)


def test_rows_without_a_target_and_weights_are_as_in_memory(parts, tmp_path):
    frame = table().with_columns(w=pl.int_range(ROWS) % 4)
    lacks = pl.int_range(ROWS) % 7 == 0
    frame = frame.with_columns(y=pl.when(~lacks).then("y"))
    for k in range(3):
        frame[k * 1000 : (k + 1) * 1000].write_parquet(parts / f"{k}.parquet")
    lines = []
    found = read(parts, tmp_path / "cache", weight="w", notice=lines.append)
    assert any(line == "dropped 429 rows without a target" for line in lines)
    split = Shares(HOLD.seed, HOLD.test, HOLD.validation).split(np.arange(ROWS))
    train = frame.filter(split.train & (np.arange(ROWS) % 7 > 0))
    inputs = train.drop("y", "w")
    assert found.columns == fit_columns(inputs, tell_kinds(table(), Reading(drop=("r",))))
    chunk = found.chunks.chunk(0)
    assert np.array_equal(chunk.weight, train["w"].to_numpy())
    assert np.array_equal(chunk.y, (train["y"] == "yes").cast(pl.Int32).to_numpy())
    assert np.array_equal(chunk.X, found.columns(inputs))


def test_a_cell_that_is_no_number_is_told_with_its_row_and_file(tmp_path, monkeypatch):
    folder = tmp_path / "parts"
    folder.mkdir()
    monkeypatch.setattr(learned, "SAMPLED", 1000)
    monkeypatch.setattr(learned, "FEWEST", 100)
    cells = [f"{k}.5" for k in range(3000)]
    unseen = row_draws(HOLD.seed, "sample", np.arange(3000)) > 0.2
    bad = int(np.flatnonzero(unseen & (np.arange(3000) > 2500))[0])
    cells[bad] = "oops"
    y = ["a", "b", "b"] * 1000
    pl.DataFrame({"x": cells[:2000], "y": y[:2000]}).write_csv(folder / "0.csv")
    pl.DataFrame({"x": cells[2000:], "y": y[2000:]}).write_csv(folder / "1.csv")
    with pytest.raises(InputError, match=rf"'oops' in row {bad + 1},.*1\.csv"):
        read(folder, tmp_path / "cache", drop=())


def test_a_regression_has_the_moments_of_the_training_rows(parts, tmp_path):
    found, expected = read(parts, tmp_path / "cache", target="r", drop=("y",)), in_memory(table(), "r", "y")
    mean, deviation = found.chunks.moments
    np.testing.assert_allclose(mean, expected.y_train.mean(), rtol=1e-13)
    np.testing.assert_allclose(deviation, expected.y_train.std(), rtol=1e-13)
    assert fit_model(found, RECIPE)[1][-1]["valid_rmse"] == pytest.approx(
        fit_model(expected, RECIPE)[1][-1]["valid_rmse"], rel=1e-4
    )


def test_bits_do_not_depend_on_the_size_of_batches(parts, tmp_path, monkeypatch):
    whole = read(parts, tmp_path / "one").fingerprint
    monkeypatch.setattr(tables, "SLICE", 1500)
    assert read(parts, tmp_path / "other").fingerprint == whole


def test_every_row_is_in_one_chunk_of_a_pass(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", 1 << 16)
    dataset = read(parts, tmp_path / "cache")
    source = dataset.chunks
    assert source.count > 1
    passes = []
    for first in (0, source.count):
        found = [source.chunk(first + k) for k in range(source.count)]
        assert {len(chunk.X) for chunk in found} == {source.rows_of_chunk}
        counted = [int(chunk.weight.sum()) for chunk in found]
        assert max(counted) - min(counted) <= 1  # else the rows of some would weigh more
        rows = np.concatenate([chunk.X[chunk.weight > 0] for chunk in found])
        expected = in_memory(table()).X_train
        assert np.array_equal(rows[np.lexsort(rows.T)], expected[np.lexsort(expected.T)])
        passes.append(rows)
    assert not np.array_equal(*passes)
    record = fit_model(dataset, RECIPE.replace(epochs=2 * source.count))[1][-1]
    assert record["epoch"] == 2 * source.count
    assert 0 <= record["waited"] < 10


def test_a_killed_encoding_goes_on_to_the_same_bits(parts, tmp_path, monkeypatch):
    whole = read(parts, tmp_path / "one").fingerprint
    commit, calls = Writer.commit, []

    def killed(self, rows):
        calls.append(rows)
        if len(calls) in (2, 5):
            raise KeyboardInterrupt
        commit(self, rows)

    monkeypatch.setattr(Writer, "commit", killed)
    lines = []
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            read(parts, tmp_path / "two")
    assert read(parts, tmp_path / "two", notice=lines.append).fingerprint == whole
    assert any("going on with the cache from row" in line for line in lines)


@pytest.mark.parametrize("target", ["y", "r"])
def test_a_batch_without_a_target_leaves_the_others(parts, tmp_path, target):
    frame = pl.read_parquet(parts / "1.parquet").with_columns(pl.lit(None, pl.String).alias("y"), r=None)
    frame.with_columns(pl.col("r").cast(pl.Float64)).write_parquet(parts / "1.parquet")
    drop = ("r",) if target == "y" else ("y",)
    found = read(parts, tmp_path / "cache", target=target, drop=drop).chunks
    split = Shares(HOLD.seed, HOLD.test, HOLD.validation).split(np.arange(ROWS))
    assert found.rows == np.delete(split.train, np.s_[1000:2000]).sum()


def test_a_file_that_changes_while_it_is_encoded_leaves_nothing_behind(parts, tmp_path, monkeypatch):
    """Not even if it is as it was when the command starts again."""
    whole = read(parts, tmp_path / "one").fingerprint
    write, file = encoded._write, parts / "1.parquet"
    content, found = file.read_bytes(), file.stat()

    def changing(writer, about, batch):
        if batch.first == 0:
            table().tail(1000).write_parquet(tmp_path / "other")
            os.replace(tmp_path / "other", file)  # a reader that has it open still sees the old one
        write(writer, about, batch)

    with monkeypatch.context() as patch:
        patch.setattr(encoded, "_write", changing)
        with pytest.raises(InputError, match="was changed while it was read; train again"):
            read(parts, tmp_path / "two")
    file.write_bytes(content)
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))
    lines = []
    assert read(parts, tmp_path / "two", notice=lines.append).fingerprint == whole
    assert not any("going on" in line for line in lines)


def test_a_wide_table_has_chunks_of_some_blocks(parts, tmp_path, monkeypatch):
    """However many inputs a row has, if the memory has room."""
    monkeypatch.setattr(chunks, "CHUNK", 1)
    found = read(parts, tmp_path / "cache").chunks
    assert found.count == -(-found.blocks // chunks.FEWEST_BLOCKS)


def test_a_chunk_without_weight_is_trained_on(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", 1 << 15)
    for k in range(3):
        frame = pl.read_parquet(parts / f"{k}.parquet").with_columns(w=pl.lit(float(k == 0)))
        frame.write_parquet(parts / f"{k}.parquet")
    monkeypatch.setattr(chunks, "FEWEST_BLOCKS", 1)
    dataset = read(parts, tmp_path / "cache", weight="w")
    count = dataset.chunks.count
    assert not all(dataset.chunks.chunk(k).weight.any() for k in range(count))
    history = fit_model(dataset, RECIPE.replace(epochs=count))[1]
    assert len(history) == count
    assert all(np.isfinite(record["loss"]) for record in history)


def test_a_class_that_loses_its_training_rows_is_told_before_the_encoding(parts, tmp_path, monkeypatch):
    split = Shares(HOLD.seed, HOLD.test, HOLD.validation).split(np.arange(1000))
    frame = pl.read_parquet(parts / "0.parquet")
    rare = pl.Series(~split.train) & (pl.int_range(1000, eager=True) < 20)
    frame.with_columns(y=pl.when(rare).then(pl.lit("rare")).otherwise("y")).write_parquet(parts / "0.parquet")
    monkeypatch.setattr(chunks, "encode_rows", None)
    with pytest.raises(InputError, match="class 'rare' has no training row after the split"):
        read(parts, tmp_path / "cache")


def test_a_weight_that_is_none_is_told_with_its_row_and_file(parts, tmp_path):
    for k in range(3):
        frame = pl.read_parquet(parts / f"{k}.parquet").with_columns(w=1.0)
        frame[700, "w"] = -1.0 if k == 2 else 1.0
        frame.write_parquet(parts / f"{k}.parquet")
    with pytest.raises(InputError, match=r"weight 'w' is -1.0 in row 2701; .* \(in .*2.parquet\)"):
        read(parts, tmp_path / "cache", weight="w")


def test_a_column_that_is_constant_in_the_sample_of_a_csv_may_be_of_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(learned, "SAMPLED", 1)
    folder = tmp_path / "parts"
    folder.mkdir()
    x = np.zeros(5000, int)
    x[-300:] = np.arange(300) % 3
    pl.DataFrame({"x": x, "y": ["a", "b"] * 2500}).write_csv(folder / "0.csv")
    sample = row_draws(HOLD.seed, "sample", np.arange(5000)) < 1000 / 5000
    assert sample.sum() > 900
    monkeypatch.setattr(learned, "row_draws", lambda seed, name, rows: (
        np.where(rows < 1000, 0.0, 1.0) if name == "sample" else row_draws(seed, name, rows)
    ))  # fmt: skip
    (column,) = read(folder, tmp_path / "cache", drop=()).columns.varying
    assert column.kind == "number"


def test_a_changed_file_is_encoded_anew_and_a_cut_cache_is_refused(parts, tmp_path):
    cache = tmp_path / "cache"
    before = read(parts, cache).fingerprint
    lines = []
    assert read(parts, cache, notice=lines.append).fingerprint == before
    assert any("taken from" in line for line in lines)
    array = next(cache.glob("*/train-floats.bin"))
    array.write_bytes(array.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"train-floats.bin has .* remove the folder"):
        read(parts, cache)
    table().tail(900).write_parquet(parts / "2.parquet")
    assert read(parts, cache).fingerprint != before


def test_parts_that_differ_name_the_file_and_the_column(parts, tmp_path):
    table()[:50].rename({"few": "other"}).write_parquet(parts / "9.parquet")
    with pytest.raises(InputError, match=r"9\.parquet lacks the column 'few'"):
        read(parts, tmp_path / "cache")


def test_a_block_that_passes_the_memory_is_refused(parts, tmp_path):
    with pytest.raises(InputError, match=r"a block of 256 rows takes .* raise it to"):
        read(parts, tmp_path / "cache", memory="20K")


def test_a_full_disk_is_one_line(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(
        encoded.shutil, "disk_usage", lambda path: dataclasses.make_dataclass("U", ["free"])(1000)
    )
    with pytest.raises(InputError, match=r"the cache would take .* has 1.0 KB left"):
        read(parts, tmp_path / "cache")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_the_rows_that_tell_the_columns_do_not_keep_the_others_in_memory(tmp_path, monkeypatch):
    """Cells of text that are taken from a frame share its memory, unless they are copied."""
    folder = tmp_path / "long"
    folder.mkdir()
    for k in range(12):
        words = [f"{k * 50_000 + i:0150d}" for i in range(50_000)]
        pl.DataFrame({"text": words, "y": ["a", "b"] * 25_000}).write_parquet(folder / f"{k}.parquet")

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    monkeypatch.setattr(learned, "SAMPLED", 2000)
    parts = batches.Parts(folder, sorted(folder.iterdir()), FileOptions(), 1 << 14, 1 << 20)
    for _ in parts.batches():
        pass
    before = resident()
    sample, _, _ = learned._sampled(parts, parts.rows(), 0, Reading(target="y"), print)
    assert 500 < sample.height < 2000
    assert resident() - before < 40e6  # the text takes 90 MB


def together(monkeypatch, count, work):
    """Return what `work` returns in each of several threads, which take themselves for processes."""
    own, barrier, sent = threading.local(), threading.Barrier(count, timeout=60), [None] * count

    def gathered(array):
        sent[own.index] = array
        barrier.wait()
        found = np.stack(sent)
        barrier.wait()
        return found

    def of_process(index):
        own.index = index
        return work()

    with monkeypatch.context() as patch, ThreadPoolExecutor(count) as threads:
        patch.setattr(hosts, "count", lambda: count)
        patch.setattr(hosts, "index", lambda: own.index)
        patch.setattr(hosts, "_gathered", gathered)
        return [
            task.exception() or task.result()
            for task in [*map(threads.submit, [of_process] * count, range(count))]
        ]


@pytest.mark.parametrize("target", ["y", "r"])
def test_processes_that_read_a_share_each_make_the_cache_of_one(parts, tmp_path, monkeypatch, target):
    options = {"target": target, "drop": ("r",) if target == "y" else ("y",), "weight": "w"}
    for file in parts.iterdir():  # a missing target, a weight of 0, numbers that float32 does not hold
        frame = pl.read_parquet(file)
        lacking = frame["double"] > 1.5e5
        frame = frame.with_columns(w=pl.col("whole") > 0, near=1e9 + pl.col("double").abs())
        frame.with_columns(
            pl.when(~lacking).then(target).alias(target), pl.col("w").cast(pl.Int64)
        ).write_parquet(file)
    monkeypatch.setattr(encoded, "TOGETHER", 500)
    one = read(parts, tmp_path / "one", **options)
    for count in (2, 5):  # 5 segments of rows, of which 2 processes take 2 and 3
        lines, cache = [], tmp_path / f"{count}"
        found = together(
            monkeypatch,
            count,
            lambda cache=cache, lines=lines: read(parts, cache, notice=lines.append, **options),
        )
        for other in found:
            assert other.columns == one.columns
            assert other.chunks.record | {"sizes": 0} == one.chunks.record | {"sizes": 0}
            assert other.fingerprint == one.fingerprint
            assert np.array_equal(other.chunks.chunk(0).X, one.chunks.chunk(0).X)
        assert len([*cache.glob("*/part-*/train-y.bin")]) == count
        assert (
            read(parts, cache, **options).fingerprint == one.fingerprint
        )  # one process, from the same cache


def test_an_error_in_the_share_of_one_process_is_told_by_all(tmp_path, monkeypatch):
    folder = tmp_path / "parts"
    folder.mkdir()
    for k in range(3):
        x = [str(v) for v in range(k * 1000, (k + 1) * 1000)]
        x[900] = "oops" if k == 2 else x[900]
        pl.DataFrame({"x": x, "y": ["a", "b"] * 500}).write_parquet(folder / f"{k}.parquet")
    monkeypatch.setattr(learned, "SAMPLED", 2000)
    errors = together(monkeypatch, 2, lambda: read(folder, tmp_path / "cache", drop=()))
    assert "row 2901" in str(errors[1])
    assert str(errors[0]) == f"process 1: {errors[1]}"


def test_a_process_that_does_not_see_the_cache_of_the_first_says_so(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "SEEN", 0.1)
    own = iter(["here", "there"])
    errors = together(monkeypatch, 2, lambda: read(parts, tmp_path / next(own)))
    assert {type(error) for error in errors} == {InputError}
    assert "is not that of process 0; choose a folder on a disk that all hosts share, with --cache" in str(
        errors[0]
    )


def test_shares_of_a_chunk_hold_each_of_its_rows_once(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", 1 << 16)
    found = read(parts, tmp_path / "cache").chunks
    assert found.count > 1
    for number in (0, found.count - 1):
        whole, shares = found.chunk(number), [found.chunk(number, k, 3) for k in range(3)]
        assert {len(own.y) for own in shares} == {-(-len(whole.y) // 3)}
        assert max(own.weight.sum() for own in shares) - min(own.weight.sum() for own in shares) <= 1
        for name in ("X", "y"):
            rows = [getattr(own, name)[own.weight > 0] for own in shares]
            assert np.array_equal(np.concatenate(rows), getattr(whole, name)[whole.weight > 0])
    assert found.chunk(0, 9999, 10_000).weight.tolist() == [0]


def test_all_processes_tell_what_the_readers_of_all_files_tell(tmp_path, monkeypatch):
    folder, frame = tmp_path / "parts", table().drop("lacking", "single")
    folder.mkdir()
    for k in range(3):
        text = frame[k * 1000 : (k + 1) * 1000].write_csv()
        (folder / f"{k}.csv").write_text(text if k < 2 else f"# the last part\n{text}")
    one, told = [], threading.local()
    expected = read(folder, tmp_path / "one", notice=one.append)

    def work():
        told.lines = []
        found = read(folder, tmp_path / "two", notice=told.lines.append)
        return found.fingerprint, told.lines[:-1]  # the last one tells seconds

    assert any("the last part" in line or "comment" in line for line in one), one
    assert together(monkeypatch, 2, work) == [(expected.fingerprint, one[:-1])] * 2


@pytest.mark.parametrize("name", ["train-floats", "train-small", "train-y", "valid-floats", "test-y"])
def test_a_damaged_byte_of_the_cache_is_found_when_it_is_read(parts, tmp_path, monkeypatch, name):
    monkeypatch.setattr(cache, "PAGE", 100)  # not a part of the blocks that are read
    dataset = read(parts, tmp_path / "cache")
    array = next(tmp_path.glob(f"cache/*/{name}.bin"))
    data = bytearray(array.read_bytes())
    data[len(data) // 2] ^= 1
    array.write_bytes(data)
    with pytest.raises(InputError, match=rf"{name}\.bin is damaged after byte .* remove the folder"):
        read(parts, tmp_path / "cache").chunks.chunk(0)
    shutil.rmtree(array.parent)
    assert read(parts, tmp_path / "cache").fingerprint == dataset.fingerprint


def test_the_checksums_of_a_resumed_cache_are_those_of_an_uninterrupted_one(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "PAGE", 100)
    read(parts, tmp_path / "whole")
    commit, calls = Writer.commit, []

    def killed(self, rows):
        calls.append(rows)
        if len(calls) in (2, 4, 5):
            raise KeyboardInterrupt
        commit(self, rows)

    monkeypatch.setattr(Writer, "commit", killed)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            read(parts, tmp_path / "killed")
    read(parts, tmp_path / "killed")
    for file in tmp_path.glob("whole/*/*.sums"):
        other = next(tmp_path.glob(f"killed/*/{file.name}"))
        assert other.read_bytes().startswith(file.read_bytes())


def test_a_damaged_record_is_written_again(parts, tmp_path):
    whole = read(parts, tmp_path / "cache").fingerprint
    for name in ("table.json", "statistics.npz", "progress.json"):
        for damage in (b"", b"{}", b"garbage", b'{"rows": 3, "sizes": 5}'):
            next(tmp_path.glob(f"cache/*/{name}")).write_bytes(damage)
            assert read(parts, tmp_path / "cache").fingerprint == whole


def test_a_cache_that_cannot_be_read_is_one_line(parts, tmp_path, monkeypatch):
    read(parts, tmp_path / "cache")
    sums = next(tmp_path.glob("cache/*/train-y.sums"))
    whole = sums.read_bytes()
    sums.write_bytes(whole[:-1])
    with pytest.raises(InputError, match=r"train-y\.sums cannot be read: it was cut; remove the folder"):
        read(parts, tmp_path / "cache")
    sums.write_bytes(whole)
    monkeypatch.setattr(cache, "_read_at", lambda file, view, at: os.read(-1, 1))
    with pytest.raises(InputError, match=r"\.bin cannot be read: Bad file descriptor; remove the folder"):
        read(parts, tmp_path / "cache")
    (tmp_path / "file").write_text("")
    with pytest.raises(
        InputError, match=r"the cache .*file.* cannot be written: Not a directory; choose another"
    ):
        read(parts, tmp_path / "file")


def test_a_cache_of_another_version_is_left_alone(parts, tmp_path, monkeypatch):
    whole = read(parts, tmp_path / "cache").fingerprint
    monkeypatch.setattr(chunks, "FORMAT", chunks.FORMAT + 1)
    assert read(parts, tmp_path / "cache").fingerprint == whole
    assert len([*(tmp_path / "cache").iterdir()]) == 2


@pytest.mark.parametrize(("module", "moment"), [(chunks, "learn"), (encoded, "_write")])
def test_a_file_that_changes_while_it_is_read_is_named_and_nothing_is_kept(
    parts, tmp_path, monkeypatch, module, moment
):
    function = getattr(module, moment)

    def changing(*args):
        os.utime(parts / "1.parquet", ns=(1, 1))
        return function(*args)

    monkeypatch.setattr(module, moment, changing)
    with pytest.raises(InputError, match=r"1\.parquet was changed while it was read; train again"):
        read(parts, tmp_path / "cache")
    for name in ("table.json", "statistics.npz", "progress.json"):
        assert not [*tmp_path.glob(f"cache/*/{name}")]


@pytest.mark.skipif(os.name != "posix", reason="limits of a process")
def test_a_full_disk_goes_on_where_it_was(parts, tmp_path):
    import resource

    whole = read(parts, tmp_path / "whole").fingerprint
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, before[1]))
    try:
        with pytest.raises(InputError, match=r"the disk of the cache .* is full; make room and train again"):
            read(parts, tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    lines = []
    assert read(parts, tmp_path / "cache", notice=lines.append).fingerprint == whole
    assert any("going on with the cache from row 701" in line for line in lines)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_part_without_rows_or_bytes_is_named(parts, tmp_path, suffix):
    folder = tmp_path / "others"
    folder.mkdir()
    some, none = table(50), table(50).head(0)
    for name, frame in (("0", some), ("1", none)):
        file = folder / f"{name}.{suffix}"
        frame.write_csv(file) if suffix == "csv" else frame.write_parquet(file)
    with pytest.raises(InputError, match=rf"1\.{suffix} has 0 rows"):
        read(folder, tmp_path / "cache")
    (folder / f"1.{suffix}").write_bytes(b"")
    with pytest.raises(InputError, match=rf"1\.{suffix} is empty"):
        read(folder, tmp_path / "cache")
    (folder / f"1.{suffix}").unlink()
    with pytest.raises(InputError, match="cannot be read: No such file"):
        dataset_in_chunks(
            folder,
            [folder / f"1.{suffix}"],
            Reading(target="y"),
            HOLD,
            name="t",
            cache=tmp_path,
            notice=print,
        )
