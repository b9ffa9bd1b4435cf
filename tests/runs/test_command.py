"""The command line of a run, typed again, trains the same network."""

import shlex
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import mlpax as package
from mlpax.data.reading import Reading
from mlpax.runs.command import command_of, differing, words_of
from mlpax.runs.own_rows import own_rows
from mlpax.runs.run_files import read_config


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"size": rng.uniform(0, 9, 90).round(2), "it's kind": rng.choice(["a", "b"], 90)})
    frame.with_columns(price=pl.col("size") * 2, zip=pl.int_range(90) % 7).write_csv(tmp_path / "a house.csv")
    return "a house.csv"


WORDS = [
    ["digits", "--epochs", "2"],
    ["digits", "--recipe", "article", "--epochs", "1", "--no-drop-last", "--optimizer", "adam"],
    ["digits", "--epochs", "1", "--optimizer", "adam", "--learning-rate", "0.1", "--hidden", ""],
    ["digits", "--quality", "best", "--epochs", "2", "--validation", "0.1", "--patience", "3"],
    ["TABLE", "--target", "price", "--epochs", "3", "--patience", "2", "--hidden", "8,4", "--no-own-orders"],
    ["TABLE", "--target", "price", "--epochs", "2", "--column", "zip=category", "--drop", "it's kind",
     "--test", "0.2", "--strict", "--task", "regression", "--column", "size=number"],
    ["TABLE", "--target", "it's kind", "--epochs", "2", "--members", "1", "--class-weight", "balanced"],
    ["TABLE", "--target", "price", "--epochs", "2", "--folds", "3", "--members", "1"],
]  # fmt: skip


@pytest.mark.parametrize("words", WORDS, ids=lambda words: " ".join(words)[:40])
@pytest.mark.parametrize("known", [True, False])
def test_the_command_trains_the_same(mlpax, table, words, known):
    words = [table if word == "TABLE" else word for word in words]
    assert mlpax("train", *words, "--out", "one", "--quiet") == (0, "one\n", "")
    config = read_config(Path("one"))
    rows = len(own_rows(Path("one")).X_train) if known and not config.options.folds else None
    again = shlex.split(command_of(config, rows))
    assert again[0] == "mlpax"
    assert mlpax(*again[1:], "--out", "two", "--quiet") == (0, "two\n", "")
    assert read_config(Path("two")).identity == config.identity
    one, two = package.load("one"), package.load("two")
    for a, b in zip(one.networks, two.networks, strict=True):
        np.testing.assert_array_equal(a.params[0][0], b.params[0][0])


def test_only_what_the_recipe_does_not_decide_is_said(mlpax, table):
    mlpax("train", table, "--target", "price", "--epochs", "3", "--out", "run")
    config, path = read_config(Path("run")), shlex.quote(str(Path(table).resolve()))
    said = f"mlpax train {path} --recipe table --target price --epochs 3 --backend {config.backend}"
    assert command_of(config, 72, "regression") == said
    assert differing(config, 72, "regression") == ("usual", {"epochs": 3})
    unknown = differing(config)[1].keys()  # what depends on the rows or the task, too
    assert unknown == {
        "activation",
        "batch_size",
        "epochs",
        "learning_rate",
        "label_smoothing",
        "monitor",
        "patience",
    }


def test_options_are_said_as_they_are_typed():
    reading = Reading(target="a b", drop=("x", "y"), column={"z": "date"}, strict=True, test=0.25)
    assert words_of(reading) == [
        "--target", "'a b'", "--column", "z=date", "--drop", "x,y", "--strict", "--test", "0.25"
    ]  # fmt: skip
    assert words_of(Reading()) == []
