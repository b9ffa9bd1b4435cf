"""What a user names as data is opened in one place, and a file is read once."""

import weakref
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mlpax.data import arrays, sources, tables
from mlpax.data.columns import Columns
from mlpax.data.named_sets import NAMES
from mlpax.data.reading import Reading
from mlpax.data.sources import Named, Pictures, Table, Wanted, source
from mlpax.errors import InputError
from small_data import classified, encoded


def test_what_lies_there_decides(tmp_path):
    assert all(source(name) == Named(name) for name in NAMES)
    classified().write_csv(tmp_path / "t.csv")
    assert source(str(tmp_path / "t.csv")) == Table(tmp_path / "t.csv")
    assert source(str(tmp_path)) == Table(tmp_path)  # of parts
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").touch()
    assert source(str(tmp_path)) == Pictures(tmp_path)
    assert source(f"{tmp_path}/*.csv") == Table(tmp_path / "*.csv")
    assert source("-") == Table(Path("-"))
    for X, kind in ((np.zeros((4, 9), np.uint8), Table), (np.zeros((4, 3, 3), np.uint8), Pictures),
                    (np.zeros((4, 3, 3, 1), np.uint8), Pictures), (np.zeros((4, 3, 3)), Table)):  # fmt: skip
        np.savez(tmp_path / "a.npz", X=X, y=np.arange(4) % 2)
        assert isinstance(source(str(tmp_path / "a.npz")), kind)
    with pytest.raises(InputError, match=r"there is no file or folder nowhere/t.csv"):
        source("nowhere/t.csv")


@pytest.mark.parametrize("shape", [(40, 6), (40, 3, 2)])
@pytest.mark.parametrize("name", ["X.npz", "images-idx3-ubyte", "images-idx3-ubyte.gz", "X.npy"])
def test_a_file_of_arrays_is_read_once(tmp_path, monkeypatch, name, shape):
    """Of pictures as of a table: each file's arrays are made once."""
    X, y = np.arange(240, dtype=np.uint8).reshape(shape), np.arange(40, dtype=np.uint8) % 2
    path, labels = tmp_path / name, tmp_path / name.replace("images-idx3", "labels-idx1").replace("X.", "y.")
    if name.endswith(".npz"):
        np.savez(path, X=X, y=y)
    else:
        path.write_bytes(encoded(X, name))
        labels.write_bytes(encoded(y, labels.name))
    read = []

    def count(function):
        original = getattr(arrays, function)

        def counting(path, *options, **more):
            read.append(path)
            return original(path, *options, **more)

        monkeypatch.setattr(arrays, function, counting)

    count("_read_npz")
    count("read_rows")
    dataset, recipe, *_ = source(str(path)).to_train(Wanted(), Reading())
    assert read == ([path] if name.endswith(".npz") else [path, labels])
    assert len(dataset.X_train) == 32
    assert recipe.validation == 0.2


def test_the_recipe_is_settled_for_the_rows_that_are_left(tmp_path):
    frame = classified(1300)
    frame.write_csv(tmp_path / "t.csv")
    dataset, recipe, name, _ = source(str(tmp_path / "t.csv")).to_train(Wanted(), Reading(test=0.5))
    assert name == "table"
    assert len(dataset.X_train) == 520
    assert recipe == sources.named("table", 520)
    given = sources.named("quick", 10, validation=0.5)
    dataset, recipe, *_ = source(str(tmp_path / "t.csv")).to_train(Wanted(given), Reading())
    assert recipe is given
    assert len(dataset.X_train) == 650


def test_unknown_recipes_are_refused_before_anything_is_read():
    with pytest.raises(InputError, match=r"unknown recipe 'tabel'; did you mean 'table'\?"):
        Wanted("tabel")


def test_a_table_is_freed_while_it_is_encoded(tmp_path, monkeypatch):
    """Table and inputs would otherwise be in memory together, which is two thirds more."""
    path, frames, alive = tmp_path / "t.parquet", list[weakref.ref[pl.DataFrame]](), list[bool]()
    pl.DataFrame({"x": [1.0, 2.0, 4.0, 8.0] * 10, "y": ["a", "b"] * 20}).write_parquet(path)
    read, encode = tables.read_table, Columns.__call__

    def reading(*arguments):
        found = read(*arguments)
        frames.append(weakref.ref(found))
        return found

    def encoding(self, cells, order=None):
        alive.append(frames[0]() is not None)
        return encode(self, cells, order)

    monkeypatch.setattr(tables, "read_table", reading)
    monkeypatch.setattr(Columns, "__call__", encoding)
    Table(path).to_train(Wanted(), Reading())
    assert alive == [False]
    Table(path).to_train(Wanted(folds=2), Reading())
    assert len(alive) == 4
