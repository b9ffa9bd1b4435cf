"""Runs on tables that do not fit in memory: taken by themselves, resumed, and told."""

import numpy as np
import polars as pl
import pytest

import mlpax
from mlpax.data import chunks, learned, sources
from mlpax.errors import InputError
from mlpax.runs.run_files import read_config, read_history

pytestmark = pytest.mark.filterwarnings("ignore::mlpax.errors.MlpaxWarning")
SETTINGS = {"target": "y", "memory": "700K", "epochs": 2, "members": 1, "hidden": (8,), "backend": "native"}


@pytest.fixture
def parts(tmp_path, monkeypatch):
    for module in (chunks, learned):
        monkeypatch.setattr(module, "BLOCK", 256)
        monkeypatch.setattr(module, "SHARE", 1)
    monkeypatch.setattr(chunks, "CHUNK", 1 << 16)
    monkeypatch.setattr(sources, "LEAST", 1)
    monkeypatch.setattr(sources, "user_cache", lambda: tmp_path / "cache")
    g, folder = np.random.default_rng(0), tmp_path / "parts"
    folder.mkdir()
    for k in range(2):
        x = g.standard_normal((2000, 10))
        y = np.where(x[:, 0] + x[:, 1] > 0, "yes", "no")
        frame = pl.DataFrame({f"x{i}": x[:, i] for i in range(10)} | {"y": y})
        frame.write_parquet(folder / f"{k}.parquet", row_group_size=500)
    return folder


def weights(run):
    return [a for network in run.model.networks for layer in network.params for a in layer]


def test_a_large_table_is_trained_in_chunks_by_itself_and_resumed_to_the_same_bits(parts, tmp_path):
    whole = mlpax.train(str(parts), out=tmp_path / "whole", **SETTINGS)
    config, history = read_config(tmp_path / "whole"), read_history(tmp_path / "whole")
    assert config.options.cache == str(tmp_path / "cache")
    count = len(history) // 2
    assert count > 1
    assert config.recipe.epochs == 2 * count
    assert {"waited", "valid_accuracy"} <= history[-1].keys()
    assert history[-1]["valid_accuracy"] > 0.8

    def stop(record):
        if record["epoch"] == count + 1:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        mlpax.train(str(parts), out=tmp_path / "half", callbacks=[stop], **SETTINGS)
    assert len(read_history(tmp_path / "half")) == count + 1
    half = mlpax.load_run(tmp_path / "half").resume()
    for own, other in zip(weights(whole), weights(half), strict=True):
        assert np.array_equal(own, other)
    assert half.evaluate() == whole.evaluate()


def test_what_needs_all_rows_in_memory_says_so(parts, tmp_path):
    with pytest.raises(InputError, match="does not fit in memory, which a sweep needs"):
        mlpax.sweep(str(parts), out=tmp_path / "sweep", learning_rate=[0.1, 0.2], **SETTINGS)
    with pytest.raises(InputError, match=r"group= is for tables in memory; leave out cache= or group="):
        mlpax.train(str(parts), out=tmp_path / "run", group="x0", cache=str(tmp_path / "c"), **SETTINGS)


def test_frames_in_python_train_as_the_files_do_and_resume(parts, tmp_path):
    files = sorted(parts.iterdir())
    frames = [pl.read_parquet(file) for file in files]
    settings = {**SETTINGS, "epochs": 1, "cache": str(tmp_path / "c")}
    expected = weights(mlpax.train(str(parts), out=tmp_path / "files", **settings))
    for name, data in (("list", files), ("frames", frames), ("iterator", iter(frames))):
        run = mlpax.train(data, out=tmp_path / name, **settings)
        assert all(map(np.array_equal, weights(run), expected))
        assert run.resume().result.state == "finished"
    assert mlpax.load_run(tmp_path / "iterator").resume().result.state == "finished"
    assert mlpax.load_run(tmp_path / "frames", frames).resume().result.state == "finished"
    with pytest.raises(InputError, match="the rows came from a program's memory; give them as data="):
        mlpax.load_run(tmp_path / "frames").resume()


def test_a_killed_training_on_an_iterator_goes_on_to_the_same_bits(parts, tmp_path):
    frames = [pl.read_parquet(file) for file in sorted(parts.iterdir())]
    settings = {**SETTINGS, "cache": str(tmp_path / "c")}
    whole = mlpax.train(iter(frames), out=tmp_path / "whole", **settings)

    def stop(record):
        if record["epoch"] == 3:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        mlpax.train(iter(frames), out=tmp_path / "half", callbacks=[stop], **settings)
    half = mlpax.load_run(tmp_path / "half").resume()
    assert all(map(np.array_equal, weights(half), weights(whole)))


def test_frames_refuse_what_needs_the_whole_table(parts, tmp_path):
    frames = [pl.read_parquet(file) for file in sorted(parts.iterdir())]
    settings = {**SETTINGS, "cache": str(tmp_path / "c")}
    for data in (frames, iter(frames)):
        with pytest.raises(InputError, match=r"group is an option for tables in memory, .* polars\.concat"):
            mlpax.train(data, out=tmp_path / "run", group="x0", **settings)
        with pytest.raises(InputError, match=r"give the target as a column, and name it with target='y'"):
            mlpax.train(data, [1], out=tmp_path / "run", **settings)
    with pytest.raises(InputError, match=r"there is no file .*missing\.csv; a list as data names the files"):
        mlpax.train(["missing.csv"], out=tmp_path / "run", **settings)
