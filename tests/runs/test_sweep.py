"""Sweeps: the trials as they would be alone, a folder that survives a kill, and what is refused."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import mlpax
from mlpax.data.dataset import HoldOut, split, validated
from mlpax.data.named_sets import load
from mlpax.errors import DivergedError, InputError, InterruptedRun
from mlpax.model.fit_model import fit_model
from mlpax.recipes import named
from mlpax.runs.run_files import read_config

RATES = {"learning_rate": [0.03, 0.3], "hidden": [(8,), (16,)]}


def held_out(seed=0):
    digits = load("digits")
    return validated(digits, split(digits.y_train, HoldOut(validation=0.2, seed=seed)))


def board(path):
    return list(csv.DictReader((path / "leaderboard.csv").read_text().splitlines()))


def without_times(path):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in board(path)]


def test_each_trial_is_as_it_would_be_alone(tmp_path):
    found = mlpax.sweep("digits", out=tmp_path / "s", epochs=3, refit=False, **RATES)
    assert found.metric == "valid_accuracy"
    assert [s.score for s in found.standings] == sorted((s.score for s in found.standings), reverse=True)
    for standing in found.standings:
        recipe = named("default", 1438, epochs=3).replace(**standing.settings)
        _, history = fit_model(held_out(), recipe)
        assert standing.score == pytest.approx(history[-1]["valid_accuracy"], abs=1e-6)
        assert standing.curve == pytest.approx([row["valid_accuracy"] for row in history], abs=1e-6)
        assert standing.epochs == 3
    rows = board(found.path)
    assert [int(row["trial"]) for row in rows] == [s.trial for s in found.standings]
    assert {row["hidden"] for row in rows} == {"8", "16"}
    for picture in ("scores.png", "curves.png"):
        assert (found.path / picture).read_bytes().startswith(b"\x89PNG")


def test_the_best_is_trained_again_as_a_run(tmp_path):
    found = mlpax.sweep("digits", out=tmp_path / "s", epochs=2, learning_rate=[0.001, 0.3])
    assert found.standings[0].settings == {"learning_rate": 0.3}
    config = read_config(found.path / "best")
    assert (config.recipe.learning_rate, config.recipe.validation) == (0.3, 0.0)
    assert found.best.metrics["test_accuracy"] > 0.9
    assert found.model.predict(load("digits").X_test[:3]).shape == (3,)
    assert json.loads((found.path / "sweep.json").read_text())["best"] == {"learning_rate": 0.3}


def test_halving_finds_the_winner_of_the_whole_sweep(tmp_path):
    settings = {
        "learning_rate": "0.001:1:log",
        "momentum": "0.5:0.95",
        "trials": 24,
        "hidden": (16,),
        "epochs": 9,
    }
    whole = mlpax.sweep("digits", out=tmp_path / "a", refit=False, **settings)
    half = mlpax.sweep("digits", out=tmp_path / "b", refit=False, halving=True, **settings)
    assert half.standings[0].score >= whole.standings[0].score - 0.01
    assert sorted((s.rung, s.epochs) for s in half.standings) == [(1, 1)] * 16 + [(2, 3)] * 5 + [(3, 9)] * 3
    alike = {s.trial: s.curve for s in whole.standings}
    for standing in half.standings:
        assert standing.curve == pytest.approx(alike[standing.trial][: standing.epochs])
    assert [s.rung for s in half.standings] == [3] * 3 + [2] * 5 + [1] * 16


def test_folds_and_seeds_are_trained_side_by_side(tmp_path):
    """A fold's rows are held out of what is fitted on the others, and a score is the mean over all."""
    found = mlpax.sweep("digits", out=tmp_path / "s", epochs=2, folds=3, seeds=2, refit=False,
                        learning_rate=[0.1, 0.2])  # fmt: skip
    digits = load("digits")
    for standing in found.standings:
        alone = []
        for k in range(3):
            for seed in (0, 1):
                fold = validated(digits, split(digits.y_train, HoldOut(fold=(k, 3))))
                recipe = named("default", 1438, epochs=2, seed=seed).replace(**standing.settings)
                alone.append(fit_model(fold, recipe)[1][-1]["valid_accuracy"])
        assert standing.scores == pytest.approx(alone)
        assert standing.score == pytest.approx(np.mean(alone))
        assert standing.spread == pytest.approx(np.std(alone, ddof=1))


@pytest.fixture
def houses(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "houses.csv"
    size, kind = rng.uniform(20, 200, 240), rng.integers(0, 4, 240)
    price = 3 * size + 50 * kind + rng.normal(0, 10, 240)
    lines = [f"{s:.1f},{'abcd'[k]},{p:.1f}" for s, k, p in zip(size, kind, price, strict=True)]
    path.write_text("\n".join(["size,kind,price", *lines]) + "\n")
    return path


def test_a_table_with_ensembles(houses, tmp_path):
    found = mlpax.sweep(houses, out=tmp_path / "s", folds=2, epochs=20, patience=20, hidden=(8,),
                        members=[1, 3], learning_rate=[0.003, 0.05])  # fmt: skip
    assert found.metric == "valid_rmse"
    assert found.standings[0].settings["learning_rate"] == 0.05
    assert found.best.metrics["valid_rmse"] < found.standings[-1].score
    assert len(found.model.networks) == found.standings[0].settings["members"]


def test_the_best_is_trained_on_all_rows(houses, tmp_path):
    """The trials are compared without; the best ends as `mlpax train --refit` of its settings does."""
    settings = {"epochs": 30, "patience": 4, "hidden": (8,), "test": 0.2}
    settings |= {"target": "price", "task": "regression"}
    rates = {"learning_rate": [0.003, 0.05]}
    plain = mlpax.sweep(houses, out=tmp_path / "a", refit=False, **rates, **settings)
    found = mlpax.sweep(houses, out=tmp_path / "b", all_rows=True, **rates, **settings)
    assert [s.scores for s in found.standings] == [s.scores for s in plain.standings]
    rate = found.standings[0].settings["learning_rate"]
    alone = mlpax.train(
        houses, learning_rate=rate, refit=True, out=tmp_path / "run", train_metrics=False, **settings
    )
    assert found.best.refit == alone.result.refit > 0
    bits = [(path / "model.safetensors").read_bytes() for path in (found.path / "best", tmp_path / "run")]
    assert bits[0] == bits[1]
    again = mlpax.sweep(houses, out=tmp_path / "b", all_rows=True, **rates, **settings)
    assert again.best == found.best
    with pytest.raises(InputError, match="best was trained with all_rows; remove this folder to train the"):
        mlpax.sweep(houses, out=tmp_path / "b", **rates, **settings)


def test_a_best_run_on_all_rows_needs_epochs_to_go_by(houses, tmp_path):
    rates = {"learning_rate": [0.1, 0.2], "epochs": 1, "out": tmp_path / "s"}
    with pytest.raises(InputError, match="all_rows trains for the epochs that early stopping finds; set"):
        mlpax.sweep(houses, all_rows=True, patience=[8, 0], **rates)
    with pytest.raises(InputError, match="'plateau' goes by validation rows, and all_rows trains on them"):
        mlpax.sweep(houses, all_rows=True, schedule=["cosine", "plateau"], **rates)
    with pytest.raises(InputError, match="which refit=False leaves out; give one of them"):
        mlpax.sweep("digits", all_rows=True, refit=False, **rates)
    assert not (tmp_path / "s").exists()
    found = mlpax.sweep("digits", all_rows=True, **rates)  # without validation rows, all are trained on
    assert read_config(found.path / "best").recipe.validation == found.best.refit == 0


def test_one_that_diverges_is_last(tmp_path):
    found = mlpax.sweep("digits", out=tmp_path / "s", epochs=2, learning_rate=[0.1, 1e30], refit=False)
    assert math.isnan(found.standings[-1].score)
    assert board(found.path)[-1]["valid_accuracy"] == ""
    with pytest.raises(DivergedError, match="all 2 trials diverged; try smaller"):
        mlpax.sweep("digits", out=tmp_path / "t", epochs=2, learning_rate=[1e29, 1e30], refit=False)


@pytest.mark.parametrize("name", ["shuffle", "own_orders"])
def test_kinds_of_orders_are_kept_apart(tmp_path, name):
    """Both trials are as they are alone, whichever comes first."""
    settings = {"epochs": 2, "hidden": (8,), "members": 2, "refit": False}
    alone = {}
    for value in (True, False):
        pair = mlpax.sweep("digits", out=tmp_path / str(value), **settings, **{name: [value, not value]})
        for standing in pair.standings:
            alone.setdefault(standing.settings[name], set()).add(standing.score)
    assert all(len(scores) == 1 for scores in alone.values())
    for value, (score,) in alone.items():
        recipe = named("default", 1438, epochs=2, hidden=(8,), members=2, **{name: value})
        assert score == pytest.approx(fit_model(held_out(), recipe)[1][-1]["valid_accuracy"], abs=1e-6)


def test_a_rate_that_is_given_holds_for_every_optimizer(tmp_path):
    for rate in (0.5, 0.0005):
        settings = {"learning_rate": rate, "optimizer": ["adam", "nesterov"], "epochs": 1, "hidden": (8,)}
        found = mlpax.sweep("digits", out=tmp_path / str(rate), **settings)
        assert {standing.settings["learning_rate"] for standing in found.standings} == {rate}
        assert read_config(found.path / "best").recipe.learning_rate == rate


def test_patience_in_some_trials(tmp_path):
    """The run of the best then holds out rows to choose its epoch, as the sweep did."""
    found = mlpax.sweep("digits", out=tmp_path / "s", epochs=20, hidden=(8,), patience=[2, 3])
    assert read_config(found.path / "best").recipe.validation == 0.2


def test_folds_of_a_small_table(tmp_path, houses):
    found = mlpax.sweep(houses, out=tmp_path / "s", folds=2, epochs=2, learning_rate=[0.01, 0.1])
    assert len(found.standings[0].scores) == 2


SWEEP = """
import mlpax, sys
def on_progress(progress):
    print(progress.rung, progress.done, flush=True)
mlpax.sweep("digits", out=sys.argv[1], epochs=int(sys.argv[2]), learning_rate="0.01:1:log", trials=40,
            hidden=[(32,), (48,)], halving=True, monitor="valid_log_loss", refit=False,
            on_progress=on_progress)
"""


def start(path, epochs):
    command = [sys.executable, "-c", SWEEP, str(path), str(epochs)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("moment", [1, 3, 4])
def test_a_killed_sweep_goes_on_to_the_same_leaderboard(tmp_path, moment):
    unbroken = start(tmp_path / "a", 40)
    lines = unbroken.communicate()[0].splitlines()
    assert (unbroken.returncode, len(lines)) == (0, 6)
    killed = start(tmp_path / "b", 40)
    for _ in range(moment):
        killed.stdout.readline()
    killed.kill()
    killed.communicate()
    done = (tmp_path / "b" / "journal.jsonl").read_bytes()
    with open(tmp_path / "b" / "journal.jsonl", "ab") as file:
        file.write(b'{"standings": [{"trial": 3')  # a line that was cut off
    again = start(tmp_path / "b", 40)
    assert len(again.communicate()[0].splitlines()) == 6
    assert again.returncode == 0
    assert without_times(tmp_path / "b") == without_times(tmp_path / "a")
    assert (tmp_path / "b" / "journal.jsonl").read_bytes().startswith(done)


def test_ctrl_c_keeps_what_is_done(tmp_path):
    process = start(tmp_path / "s", 4000)
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    begun = time.monotonic()
    process.communicate()
    assert process.returncode != 0
    assert time.monotonic() - begun < 5
    assert len(board(tmp_path / "s")) == 16


def test_an_unfinished_sweep_is_found_by_its_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stop = []

    def interrupt(progress):
        os.kill(os.getpid(), signal.SIGINT)
        stop.append(progress)

    settings = {"learning_rate": "0.01:1:log", "trials": 20, "epochs": 1, "hidden": (4,), "refit": False}
    with pytest.raises(InterruptedRun, match="interrupted with 16 of 20 trials in sweeps/digits-default-1"):
        mlpax.sweep("digits", on_progress=interrupt, **settings)
    assert mlpax.sweep("digits", **settings | {"epochs": 2}).path.name == "digits-default-2"
    assert mlpax.sweep("digits", **settings).path.name == "digits-default-1"
    assert mlpax.sweep("digits", **settings).path.name == "digits-default-3"


def test_a_refit_that_was_interrupted_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = {"learning_rate": [0.1, 0.2], "epochs": 1, "hidden": (4,)}

    def interrupted(*_, **__):
        raise InterruptedRun(2, "interrupted")

    monkeypatch.setattr("mlpax.runs.sweep.train", interrupted)
    with pytest.raises(InterruptedRun):
        mlpax.sweep("digits", **settings)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert mlpax.sweep("digits", **settings).path.name == "digits-default-1"
    assert mlpax.sweep("digits", **settings).path.name == "digits-default-2"


def test_a_sweep_of_before_goes_on_without_settings_that_came_later(tmp_path):
    usual = {"out": tmp_path / "s", "epochs": 1, "learning_rate": [0.1, 0.2], "refit": False}
    mlpax.sweep("digits", **usual)
    file = tmp_path / "s" / "sweep.json"
    known = json.loads(file.read_text())
    for name in ("devices", "refit", "own_orders"):
        del known["recipe"][name]
    file.write_text(json.dumps(known))
    mlpax.sweep("digits", **usual)
    known["recipe"]["devices"] = 2
    file.write_text(json.dumps(known))
    with pytest.raises(InputError, match="holds another sweep, whose recipe differs"):
        mlpax.sweep("digits", **usual)


def test_what_is_refused(tmp_path, houses):
    mlpax.sweep("digits", out=tmp_path / "s", epochs=1, learning_rate=[0.1, 0.2], refit=False)
    for settings, said in [
        ({"learning_rate": [0.1, 0.3]}, "holds another sweep, whose space differs; choose another folder"),
        ({"learning_rate": [0.1, 0.2], "halving": True}, "whose halving differs"),
        ({"learning_rate": [0.1, 0.2], "seeds": 0}, "seeds 0 is below 1"),
        ({"learning_rate": [0.1, 0.2], "folds": 1}, "folds 1 is below 2"),
        ({"learning_rate": [0.1, 0.2], "folds": 9999}, r"folds 9999 is outside \[2, \d+\]"),
        ({"learning_rate": [0.1, 0.2], "trials": 2.5}, "trials 2.5 is no whole number"),
        ({"learning_rate": [0.1, 0.2], "seeds": True}, "seeds True is no whole number"),
        ({"learning_rate": 0.1}, "there is nothing to compare"),
        ({"learning_rate": [0.1, 0.2], "monitor": "loss"}, "'loss' is none"),
        ({"learning_rate": [0.1, 0.2], "time_ordered": True}, "time_ordered is an option for tables"),
        ({"learning_rat": [0.1, 0.2]}, "did you mean 'learning_rate'"),
    ]:
        with pytest.raises(InputError, match=said):
            mlpax.sweep("digits", out=tmp_path / "s", epochs=1, refit=False, **settings)
    with pytest.raises(InputError, match="folds mix the rows in time"):
        mlpax.sweep(houses, out=tmp_path / "t", time_ordered=True, folds=3, learning_rate=[0.1, 0.2])
    with pytest.raises(InputError, match="no column 'pric'"):
        mlpax.sweep(houses, out=tmp_path / "t", target="pric", learning_rate=[0.1, 0.2])
    with pytest.raises(InputError, match="hold some out with validation"):
        mlpax.sweep(houses, out=tmp_path / "t", validation=0.0, patience=0, learning_rate=[0.1, 0.2])
    (tmp_path / "u").mkdir()
    (tmp_path / "u" / "mine.txt").write_text("")
    with pytest.raises(InputError, match="has other things in it"):
        mlpax.sweep("digits", out=tmp_path / "u", learning_rate=[0.1, 0.2])
    journal = tmp_path / "s" / "journal.jsonl"
    journal.write_bytes(b'{"standings": [{"trial": 99}]}\n' + journal.read_bytes())
    with pytest.raises(InputError, match=r"journal\.jsonl is damaged in line 1; remove the folder"):
        mlpax.sweep("digits", out=tmp_path / "s", epochs=1, learning_rate=[0.1, 0.2], refit=False)
