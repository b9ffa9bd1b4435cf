"""After early stopping, a training from the start on all rows: its bits, its epochs, and what is told."""

import dataclasses
import os
import signal

import numpy as np
import polars as pl
import pytest
from test_run import RECIPE, Killed, blobs, killing

import mlpax
from mlpax import TableClassifier
from mlpax.data.dataset import HoldOut, split, validated
from mlpax.errors import InputError, InterruptedRun
from mlpax.model.model_file import load
from mlpax.runs import run, run_files
from mlpax.runs.own_rows import held_out

SETTINGS = {"validation": 0.25, "patience": 4, "refit": True, "schedule": "cosine", "dropout": 0.2}


def files(path):
    """All that must be the same: the model, and the epochs of both trainings without their times."""
    histories = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in run_files.read_history(folder)]
        for folder in (path, path / "refit")
    ]
    return histories, (path / "model.safetensors").read_bytes()


def killing_refit(epoch):
    def on_refit(row, epochs):
        if row["epoch"] == epoch:
            raise Killed

    return on_refit


@pytest.mark.parametrize("backend", ["native", "xla"])
def test_it_is_a_training_on_all_rows_for_the_epochs_found(tmp_path, backend):
    recipe, data = RECIPE.replace(**SETTINGS, backend=backend), blobs()
    result = run.train(tmp_path / "a", data, recipe)
    best = result.best_epoch
    assert result.refit == best < 24
    alone = recipe.replace(refit=False, patience=0, validation=0, epochs=best)
    run.train(tmp_path / "b", data, alone)
    for ours, theirs in zip(load(tmp_path / "a").params, load(tmp_path / "b").params, strict=True):
        assert all(map(np.array_equal, ours, theirs))
    first = run.train(tmp_path / "c", data, recipe.replace(refit=False))
    assert result.epochs == first.epochs
    model, of_first = load(tmp_path / "a"), load(tmp_path / "c")
    assert model.calibration == of_first.calibration != load(tmp_path / "b").calibration
    assert model.metrics["valid_accuracy"] == of_first.metrics["valid_accuracy"]
    assert model.metrics["test_accuracy"] == load(tmp_path / "b").metrics["test_accuracy"]
    assert model.provenance["refit"].startswith(f"{best} epochs on all 80 rows")
    assert "refit" not in of_first.provenance


def test_rows_that_were_held_out_already_are_joined(tmp_path):
    whole, recipe = blobs(), RECIPE.replace(**SETTINGS)
    parts = validated(whole, split(whole.y_train, HoldOut(validation=0.25)))
    result = run.train(tmp_path / "a", parts, recipe)
    joined = dataclasses.replace(
        whole,
        X_train=np.concatenate([parts.X_train, parts.X_valid]),
        y_train=np.concatenate([parts.y_train, parts.y_valid]),
    )
    alone = recipe.replace(refit=False, patience=0, validation=0, epochs=result.refit)
    run.train(tmp_path / "b", joined, alone)
    assert np.array_equal(load(tmp_path / "a").params[0][0], load(tmp_path / "b").params[0][0])


@pytest.mark.parametrize("backend", ["native", "xla"])
def test_each_member_is_trained_for_its_own_epochs(tmp_path, backend):
    recipe = RECIPE.replace(**SETTINGS | {"patience": 3}, members=3, own_orders=True, backend=backend)
    run.train(tmp_path / "a", blobs(), recipe)
    found = load(tmp_path / "a").provenance["refit"].split()
    with np.load(max((tmp_path / "a" / "checkpoints").iterdir())) as arrays:
        best = arrays["watch/epoch"].tolist()
    assert (int(found[0]), int(found[2])) == (min(best), max(best))
    for k, epochs in enumerate(best):
        alone = recipe.replace(refit=False, patience=0, validation=0, epochs=epochs)
        run.train(tmp_path / f"{k}", blobs(), alone)
        ours, theirs = (load(tmp_path / name).networks[k].params for name in ("a", f"{k}"))
        for (W, b), (W_alone, b_alone) in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(W, W_alone, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(b, b_alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", ["native", "xla"])
@pytest.mark.parametrize("changes", [{}, {"members": 2, "own_orders": True}], ids=["one", "members"])
def test_a_broken_run_ends_with_the_bits_of_an_unbroken_one(tmp_path, backend, changes, monkeypatch):
    monkeypatch.setattr("mlpax.engine.training.EPOCHS_A_CALL", 2)
    recipe = RECIPE.replace(**SETTINGS, **changes, backend=backend)
    whole = run.train(tmp_path / "whole", blobs(), recipe)
    with pytest.raises(Killed):
        run.train(tmp_path / "broken", blobs(), recipe, on_epoch=killing(3))
    for epoch in (2, 5):
        with pytest.raises(Killed):
            run.train(tmp_path / "broken", blobs(), recipe, resume=True, on_refit=killing_refit(epoch))
        assert run_files.read_result(tmp_path / "broken") is None
    heard = []
    result = run.train(
        tmp_path / "broken", blobs(), recipe, resume=True, on_refit=lambda row, n: heard.append(row["epoch"])
    )
    assert files(tmp_path / "broken") == files(tmp_path / "whole")
    assert heard == list(range(1, whole.refit + 1))
    assert result._replace(seconds=0) == whole._replace(seconds=0)
    said = []
    again = run.train(tmp_path / "broken", blobs(), recipe, resume=True, notice=said.append)
    assert (again, len(said)) == (result, 1)


def test_an_interrupted_refit_leaves_the_first_network(tmp_path):
    recipe = RECIPE.replace(**SETTINGS)

    def on_refit(row, epochs):
        if row["epoch"] == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlpax.engine.training.EPOCHS_A_CALL", 2)
        with pytest.raises(InterruptedRun, match=r"interrupted after epoch . on all rows; nothing is lost"):
            run.train(tmp_path / "a", blobs(), recipe, on_refit=on_refit)
    result = run_files.read_result(tmp_path / "a")
    assert (result.state, result.refit) == ("interrupted", 0)
    run.train(tmp_path / "first", blobs(), recipe.replace(refit=False))
    assert np.array_equal(load(tmp_path / "a").params[0][0], load(tmp_path / "first").params[0][0])
    ended = run.train(tmp_path / "a", blobs(), recipe, resume=True)
    run.train(tmp_path / "whole", blobs(), recipe)
    assert files(tmp_path / "a") == files(tmp_path / "whole")
    assert ended.refit


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patience": 0}, "refit trains for the epochs that early stopping finds; set patience, such as 16"),
        ({"schedule": "plateau"}, "schedule 'plateau' goes by validation rows"),
    ],
)
def test_what_cannot_be_refitted_is_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        run.train(tmp_path, blobs(), RECIPE.replace(**SETTINGS | changes))


def table(rows=200):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 3))
    y = np.where(x[:, 0] + x[:, 1] ** 2 + 0.3 * rng.normal(size=rows) > 0.5, "yes", "no")
    return pl.DataFrame({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2]}), y


def test_rows_that_were_trained_on_are_not_scored(tmp_path):
    X, y = table()
    frame = X.with_columns(y=pl.Series(y))
    frame.write_csv(tmp_path / "t.csv")
    settings = {"target": "y", "epochs": 8, "patience": 4, "members": 2, "task": "classification"}
    one = mlpax.train(tmp_path / "t.csv", out=tmp_path / "a", refit=True, **settings)
    with pytest.raises(InputError, match="was trained again on all rows, validation rows too"):
        one.evaluate()
    assert not held_out(one.path, one.model, mlpax.runs.own_rows.own_rows(one.path))
    tested = mlpax.train(tmp_path / "t.csv", out=tmp_path / "b", refit=True, test=0.2, **settings)
    assert tested.evaluate().figures["accuracy"] == tested.result.metrics["test_accuracy"]
    assert one.model.provenance["refit"].endswith("the validation figures are those of the training before")


def test_folds_are_refitted_without_their_rows(tmp_path):
    X, y = table()
    settings = {"epochs": 8, "patience": 4, "members": 1, "folds": 2, "refit": True}
    found = mlpax.train(X, y, out=tmp_path / "a", task="classification", **settings)
    for fold in (1, 2):
        assert " on all 100 rows" in load(found.path / f"fold-{fold}").provenance["refit"]


def test_the_estimator_takes_it():
    X, y = table()
    settings = {"epochs": 8, "patience": 4}
    two = [
        TableClassifier(random_state=0, members=2, settings=settings, refit=refit).fit(X, y)
        for refit in (True, False)
    ]
    assert [len(one.history_) for one in two] == [len(two[0].history_)] * 2
    assert "on all 200 rows" in two[0].model_.provenance["refit"]
    W, other = (one.model_.networks[0].params[0][0] for one in two)
    assert not np.array_equal(W, other)
    assert two[0].model_.recipe["patience"] == 4
