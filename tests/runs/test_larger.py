"""Runs on tables that do not fit in memory: taken by themselves, resumed, and told."""

import numpy as np
import polars as pl
import pytest

import mlpax
from mlpax.data import chunks, sources
from mlpax.errors import InputError
from mlpax.runs.run_files import read_config, read_history

pytestmark = pytest.mark.filterwarnings("ignore::mlpax.errors.MlpaxWarning")
SETTINGS = {"target": "y", "memory": "700K", "epochs": 2, "members": 1, "hidden": (8,), "backend": "native"}


@pytest.fixture
def parts(tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "BLOCK", 256)
    monkeypatch.setattr(chunks, "SHARE", 1)
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
    with pytest.raises(InputError, match=r"group is an option for tables in memory; leave out cache="):
        mlpax.train(str(parts), out=tmp_path / "run", group="x0", cache=str(tmp_path / "c"), **SETTINGS)
