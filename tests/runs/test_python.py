"""`mlpax.train` and `mlpax.load_run`: the command's twin, and a run as Python sees it."""

import json
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest

import mlpax
from mlpax.errors import DataWarning, InputError

RNG = np.random.default_rng(0)
QUICK = {"hidden": 8, "epochs": 3, "backend": "native"}


def houses(rows=120):
    size, town = RNG.normal(100, 20, rows), RNG.choice(["Ulm", "Bonn", "Kiel"], rows)
    return pd.DataFrame({"size": size, "town": town, "price": 3 * size + 50 * (town == "Bonn")})


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    houses().to_csv("houses.csv", index=False)
    return tmp_path


def bits(path):
    return (path / "model.safetensors").read_bytes()


def test_train_is_the_commands_twin(mlpax, table):
    import mlpax as package

    words = ["--hidden", "8", "--epochs", "3", "--members", "2", "--seed", "7", "--test", "0.25"]
    assert mlpax("train", "houses.csv", "--target", "price", "--task", "regression", *words)[0] == 0
    run = package.train(
        "houses.csv", target="price", task="regression", hidden=8, epochs=3, members=2, seed=7, test=0.25
    )  # fmt: skip
    assert run.path.name == "houses-table-2"  # the command's is the first
    first = package.load_run("runs/houses-table-1")
    assert bits(run.path) == bits(first.path)
    assert first.config == run.config
    assert first.history.drop("seconds").equals(run.history.drop("seconds"))


def test_a_run_says_what_its_files_say(table):
    run = mlpax.train("digits", **QUICK, out="run")
    assert run.config.recipe.hidden == (8,)
    assert run.result._asdict() == json.loads((run.path / "result.json").read_text())
    assert run.history.columns == pl.read_csv(run.path / "metrics.csv").columns
    assert run.history["epoch"].to_list() == [1, 2, 3]
    assert run.history["epoch"].dtype == pl.Int64
    assert run.model.classes == tuple(range(10))
    assert run.model is run.model  # read once
    with pytest.raises(InputError, match="no run at other"):
        mlpax.load_run("other")


def test_guesses_are_warnings_and_the_line_is_the_callers(table):
    with pytest.warns(DataWarning, match="the task is regression: .*; task='regression' makes") as said:
        mlpax.train("houses.csv", target="price", **QUICK, members=1)
    assert {w.filename for w in said} == {__file__}


def test_what_is_given_is_no_guess(table):
    with warnings.catch_warnings():
        warnings.simplefilter("error", mlpax.MlpaxWarning)
        mlpax.train("houses.csv", target="price", task="regression", **QUICK, members=1)


@pytest.mark.parametrize("given", ["pandas", "polars", "target", "dict"])
def test_a_frame_trains_as_its_file_does(table, given):
    frame = pd.read_csv("houses.csv")
    options = {"task": "regression", "members": 1, **QUICK}
    of_file = mlpax.train("houses.csv", target="price", **options)
    X, y = frame.drop(columns="price"), frame["price"]
    run = {
        "pandas": lambda: mlpax.train(frame, target="price", **options),
        "polars": lambda: mlpax.train(pl.read_csv("houses.csv"), target="price", **options),
        "target": lambda: mlpax.train(X, y, **options),
        "dict": lambda: mlpax.train(frame.to_dict("list"), target="price", **options),
    }[given]()
    assert run.path.name == "memory-table-1"
    assert run.history.drop("seconds").equals(of_file.history.drop("seconds"))
    np.testing.assert_array_equal(run.model.predict(X), of_file.model.predict(X))


def test_rows_in_memory_are_given_again(table):
    frame = houses()
    made = mlpax.train(frame, target="price", task="regression", test=0.2, members=1, **QUICK)
    assert made.plot("predicted").axes
    loaded = mlpax.load_run(made.path)
    with pytest.raises(InputError, match="came from a program's memory; give them as data="):
        loaded.plot("predicted")
    assert mlpax.load_run(made.path, frame).plot("predicted").axes
    with pytest.raises(InputError, match="rows in memory is not as it was"):
        mlpax.load_run(made.path, frame.assign(size=1.0)).plot("predicted")


def test_pictures_in_memory(table):
    X, y = RNG.integers(0, 256, (60, 8, 8), np.uint8), np.arange(60) % 2
    run = mlpax.train(X, y, **QUICK)
    assert (run.path.name, run.model.image_shape, run.model.classes) == ("memory-default-1", (8, 8), (0, 1))
    assert run.plot("weights").axes


@pytest.mark.parametrize("stopped", [1, 2])
def test_an_interrupted_run_ends_with_the_same_bits(table, stopped):
    """An error of a callback keeps the run up to its epoch."""
    whole = mlpax.train("digits", **QUICK)

    def stop(record):
        if record["epoch"] == stopped:
            raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        mlpax.train("digits", **QUICK, out="run", callbacks=[stop])
    run = mlpax.load_run("run")
    assert run.result.state == "interrupted"
    assert run.history.height == stopped
    resumed = run.resume()
    assert resumed.result.state == "finished"
    assert bits(resumed.path) == bits(whole.path)


def test_callbacks_and_verbose_hear_of_each_epoch(table, capsys):
    heard = []
    run = mlpax.train("digits", **QUICK, callbacks=[heard.append], verbose=True)
    assert [record["epoch"] for record in heard] == [1, 2, 3]
    assert [round(record["loss"], 6) for record in heard] == run.history["loss"].round(6).to_list()
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["Epoch 1/3", "Epoch 2/3", "Epoch 3/3"]
    mlpax.train("digits", **QUICK)
    assert capsys.readouterr().out == ""


def test_a_run_goes_on_from_another_and_takes_its_settings(table):
    first = mlpax.train("digits", hidden=8, epochs=2, schedule="constant")
    more = mlpax.train(from_run=first, epochs=1)
    assert (more.config.parent.epochs, more.history.height) == (2, 3)
    like = mlpax.train("digits", like=first, seed=3)
    assert like.config.recipe == first.config.recipe.replace(seed=3)


def test_folds(table, capsys):
    run = mlpax.train(
        "houses.csv", target="price", task="regression", folds=2, epochs=2, members=1, verbose=True
    )
    assert run.history.select("fold", "epoch").rows() == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert run.result.metrics.keys() == {"fold_rmse"}
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert len(run.model.networks) == 2
    assert run.plot().axes
    assert bits(run.resume().path) == bits(run.path)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mlpax.train("digits", epocs=3), "unknown option 'epocs'; did you mean 'epochs'?"),
        (lambda: mlpax.train("digits", epochs=0), r"epochs 0 is outside \[1, "),
        (lambda: mlpax.train("digits", [1, 2]), "y is for data in memory, and digits is read from a file"),
        (lambda: mlpax.train({"a": [1, 2]}, [1]), "data have 2 rows but y has 1"),
        (lambda: mlpax.train({"y": [1, 2]}, [1, 2]), "the target 'y' is a column of data, and y is given"),
        (lambda: mlpax.train(np.zeros((4, 2, 2))), "pictures need their labels"),
        (lambda: mlpax.train(np.zeros((4, 2, 2)), [1] * 4), "pictures are of uint8"),
        (lambda: mlpax.train(np.zeros((4, 2, 2), np.uint8), [1]), r"4 pictures but y has shape \(1,\)"),
        (lambda: mlpax.train(resume=True), "resume needs the run's folder; name it with out="),
        (lambda: mlpax.train(callbacks=[1]), "callbacks hold 1, which cannot be called"),
        (lambda: mlpax.train(folds=2, log="tensorboard"), "log and callbacks are of one run"),
        (lambda: mlpax.train(checkpoint_every="5h"), "checkpoint_every '5h' is no time"),
        (lambda: mlpax.train({"a": [f"{n},234" for n in range(1, 9)], "y": [1, 2] * 4}), "decimal="),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_that_names_the_argument(table, call, message):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(InputError, match=message):
            call()
    assert not (table / "runs").exists()  # nothing is left behind


def test_an_unknown_figure_is_told(table):
    run = mlpax.train("digits", **QUICK)
    with pytest.raises(InputError, match=r"unknown figure 'confusio'; did you mean 'confusion'\?"):
        run.plot("confusio")
    with pytest.raises(InputError, match="unknown figure 'predicted'"):
        run.plot("predicted")


def test_a_notebook_shows_a_run_as_a_table(table):
    html = mlpax.train("digits", **QUICK, out="<b>")._repr_html_()
    assert "<th>state</th><td>finished</td>" in html
    assert "<td>&lt;b&gt;</td>" in html
