"""Training on folds: a run for each, one model, and intervals that hold what they promise."""

import json
import math
import os
import signal
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

import mlpax
from mlpax.data.dataset import HoldOut, fold_numbers, split
from mlpax.errors import InputError
from mlpax.model.model import Intervals, disagreement

RNG = np.random.default_rng(0)


def houses(rows=600, seed=0):
    rng = np.random.default_rng(seed)
    size, kind = rng.uniform(20, 200, rows), rng.integers(0, 4, rows)
    price = 3 * size + 50 * kind + rng.normal(0, 1, rows) * size / 3  # large ones err more
    return pl.DataFrame({"size": size.round(2), "kind": [f"k{k}" for k in kind], "price": price.round(2)})


@pytest.fixture
def table(tmp_path):
    houses().write_csv(tmp_path / "houses.csv")
    return tmp_path / "houses.csv"


SHORT = ("--epochs", "30", "--patience", "30", "--members", "2", "--hidden", "16")


@pytest.fixture
def trained(mlpax, table):
    code, out, err = mlpax("train", table, "--folds", 3, *SHORT)
    assert code == 0, err
    return out


def test_each_fold_is_a_run_and_the_model_holds_all_networks(trained, tmp_path, mlpax):
    lines = trained.splitlines()
    assert [line[:11] for line in lines[:3]] == ["fold 1 of 3", "fold 2 of 3", "fold 3 of 3"]
    assert lines[3].startswith("runs/houses-folds-1: finished; out-of-fold rmse ")
    model = mlpax_load(tmp_path)
    assert len(model.networks) == 6
    assert len(model.fold_columns) == 2
    medians = {own.columns[0].median for own in (model.columns, *model.fold_columns)}
    assert len(medians) == 3  # each fitted without its fold
    config = json.loads((tmp_path / "runs/houses-folds-1/fold-2/config.json").read_text())
    assert config["options"]["fold"] == 2
    code, out, err = mlpax("evaluate", "runs/houses-folds-1")
    assert code == 2
    assert "each of 3 folds trained without some; result.json has the out-of-fold figures" in err
    code, out, _ = mlpax("runs")
    assert "out-of-fold rmse" in out


def test_a_training_on_folds_is_drawn(trained, tmp_path, mlpax):
    """The curves of the folds, and the values that each fold predicts of its own rows."""
    code, out, _ = mlpax("plot", "runs/houses-folds-1", "--out", "drawn")
    assert (code, out.splitlines()) == (0, ["drawn/curves.png", "drawn/predicted.png", "drawn/residuals.png"])


def mlpax_load(tmp_path):
    return mlpax.load(tmp_path / "runs/houses-folds-1")


def test_the_model_is_the_mean_of_its_folds(trained, tmp_path):
    model, frame = mlpax_load(tmp_path), houses(50, seed=1)
    each = [mlpax.load(tmp_path / f"runs/houses-folds-1/fold-{k}") for k in (1, 2, 3)]
    expected = np.mean([one.predict(frame, members=True) for one in each], axis=(0, 1))
    np.testing.assert_allclose(model.predict(frame), expected, rtol=1e-5)
    result = json.loads((tmp_path / "runs/houses-folds-1/result.json").read_text())
    of_folds = [tmp_path / f"runs/houses-folds-1/fold-{k}/result.json" for k in (1, 2, 3)]
    errors = [json.loads(file.read_text())["metrics"]["test_rmse"] for file in of_folds]
    assert result["metrics"]["fold_rmse"] == pytest.approx(math.sqrt(np.mean(np.square(errors))), rel=1e-4)


def test_intervals_hold_what_they_promise(trained, tmp_path, mlpax):
    new = houses(3000, seed=2)
    new.write_csv(tmp_path / "new.csv")
    code, *_ = mlpax("predict", "runs/houses-folds-1", "new.csv", "--out", "p.csv", "--interval", 0.9)
    assert code == 0
    found = pl.read_csv(tmp_path / "p.csv")
    assert found.columns == ["prediction", "low", "high"]
    inside = (new["price"] >= found["low"]) & (new["price"] <= found["high"])
    assert 0.86 < inside.mean() < 0.96
    wide = found["high"] - found["low"]
    assert wide.filter(new["size"] > 150).mean() > 1.5 * wide.filter(new["size"] < 60).mean()
    bounds = mlpax_load(tmp_path).predict_interval(new)
    np.testing.assert_allclose(bounds[:, 0], found["low"].to_numpy(), rtol=1e-4)
    with pytest.raises(InputError, match="the model is a regression; call predict_interval"):
        mlpax_load(tmp_path).predict_set(new)


def test_sets_of_classes(mlpax, tmp_path):
    code, out, _ = mlpax("train", "digits", "--folds", 3, "--epochs", 8, "--hidden", 16)
    assert code == 0
    assert "test accuracy" in out
    code, *_ = mlpax("predict", "runs/digits-folds-1", "digits", "--out", "p.csv", "--interval", 0.9)
    assert code == 0
    found = pl.read_csv(tmp_path / "p.csv", infer_schema_length=None, schema_overrides={"set": pl.String})
    from mlpax.data.named_sets import load

    truth = load("digits").y_test
    sets = [set((text or "").split("|")) for text in found["set"]]
    assert 0.84 < np.mean([str(y) in own for y, own in zip(truth, sets, strict=True)]) < 0.97


def test_a_killed_training_goes_on(tmp_path, table):
    """Kill it in the second fold; the same bits come out."""
    words = [sys.executable, "-m", "mlpax", "train", str(table), "--folds", "3", *SHORT, "--epochs", "120"]
    whole = subprocess.run([*words, "--out", str(tmp_path / "a"), "--quiet"], check=True)
    assert whole.returncode == 0
    killed = subprocess.Popen([*words, "--out", str(tmp_path / "b")], stdout=subprocess.PIPE, text=True)
    killed.stdout.readline()
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not os.path.lexists(tmp_path / "b" / "model.safetensors")
    subprocess.run([sys.executable, "-m", "mlpax", "resume", str(tmp_path / "b"), "--quiet"], check=True)
    one, other = (mlpax.load(tmp_path / name) for name in "ab")
    frame = houses(20, seed=3)
    np.testing.assert_array_equal(one.predict(frame), other.predict(frame))
    assert one.intervals == other.intervals


@pytest.mark.parametrize(("words", "said"), [
    (["--folds", "1"], "folds 1 and fold 0 do not fit; choose 2 folds or more"),
    (["--folds", "700"], "folds 700 is outside [2, 600], the number of rows"),
    (["--folds", "3", "--time-ordered"], "folds mix the rows in time"),
    (["--folds", "3", "--test", "0.2"], "with folds every row is scored; leave out test 0.2"),
    (["--folds", "3", "--log", "tensorboard"], "log 'tensorboard' is of one run"),
])  # fmt: skip
def test_what_is_refused(mlpax, table, words, said):
    code, _, err = mlpax("train", table, *words, *SHORT)
    assert code == 2
    assert said in err
    assert "Traceback" not in err


def test_intervals_need_folds_and_rows(mlpax, table, trained, tmp_path):
    mlpax("train", table, "--out", "plain", *SHORT)
    code, _, err = mlpax("predict", "plain", table, "--out", "p.csv", "--interval", 0.9)
    assert (code, err.count("\n")) == (2, 1)
    assert "was not trained on folds, which intervals need; train with --folds 5" in err
    for coverage, said in [
        (0, "outside (0, 1)"),
        (1.5, "outside (0, 1)"),
        (0.9999, "takes 9999 rows in the folds"),
    ]:
        code, _, err = mlpax(
            "predict", "runs/houses-folds-1", table, "--out", "p.csv", "--interval", coverage
        )
        assert code == 2
        assert said in err
    assert not os.path.lexists(tmp_path / "p.csv")


def test_quantiles():
    scores = RNG.random(99)
    own = Intervals.of_probabilities(1 - scores, 3)
    assert own.quantile(0.9) == pytest.approx(np.sort(scores)[89])
    assert own.quantile(0.99) == pytest.approx(scores.max())
    with pytest.raises(InputError, match=r"interval 0\.995 takes 199 rows in the folds, which had 99"):
        own.quantile(0.995)
    many = RNG.random(50_000)
    thin = Intervals.of_probabilities(1 - many, 3)
    assert len(thin.scores) == 1000
    assert thin.quantile(0.9) == pytest.approx(np.quantile(many, 0.9), abs=2e-3)
    assert thin.quantile(0.9) >= np.sort(many)[math.ceil(50_001 * 0.9) - 1]


def test_a_spread_follows_the_level_and_the_disagreement():
    rows = 4000
    predicted, differ = RNG.uniform(0, 10, rows), RNG.uniform(0, 1, rows)
    by_level = predicted + RNG.normal(0, 1, rows) * (1 + predicted)
    own = Intervals.of_values(by_level, predicted, differ, 5)
    low, high = own.spread(np.array([0.5, 9.5]), np.zeros(2))
    assert high > 3 * low
    by_difference = predicted + RNG.normal(0, 1, rows) * (0.1 + 4 * differ)
    assert Intervals.of_values(by_difference, predicted, differ, 5).slope >= 2
    exact = Intervals.of_values(predicted, predicted, 0 * differ, 5)
    assert exact.quantile(0.9) == 0


def test_networks_of_a_fold_differ():
    found = np.array([1.0, 3.0, 10.0, 10.0])[:, None, None] * np.ones((4, 5, 1))
    assert disagreement(found, 2).tolist() == [0.5] * 5
    assert disagreement(found[:2], 1).tolist() == [1.0] * 5


@pytest.mark.parametrize("folds", [2, 5])
def test_folds_share_classes_and_keep_groups_whole(folds):
    y = np.repeat([0, 1, 2], (50, 20, 7))
    fold = fold_numbers(y, folds, np.random.default_rng(0), classes=True)
    for label in range(3):
        counts = np.bincount(fold[y == label], minlength=folds)
        assert counts.max() - counts.min() <= 1
    groups = np.repeat(np.arange(11), 7)
    fold = fold_numbers(y, folds, np.random.default_rng(0), classes=True, groups=groups)
    assert all(len(set(fold[groups == g])) == 1 for g in range(11))
    assert len(set(fold)) == folds


def test_a_fold_is_held_out_of_everything():
    y = RNG.integers(0, 2, 100)
    seen = np.zeros(100, int)
    for k in range(4):
        train, valid, test = split(y, HoldOut(validation=0.2, test=0.1, fold=(k, 4), fold_tests=True))
        assert not (train & valid).any()
        assert not (test & (train | valid)).any()
        seen += test
        assert (train | valid | test).sum() == 90  # the test rows of all are out
    assert sorted(np.bincount(seen)) == [10, 90]
    for k in range(4):
        train, valid, test = split(y, HoldOut(validation=0.2, test=0.1, fold=(k, 4)))
        assert test.sum() == 10
        assert (train | valid | test).all()


def test_estimators_on_folds():
    frame = houses(300)
    settings = {"epochs": 20, "patience": 20, "hidden": (16,)}
    model = mlpax.TableRegressor(folds=3, members=2, settings=settings, random_state=0)
    model.fit(frame.drop("price"), frame["price"])
    bounds = model.predict_interval(frame, 0.8)
    assert np.all(bounds[:, 0] < bounds[:, 1])
    assert model.fold_scores_.keys() == {"fold_rmse"}
    labels = (frame["price"] > 300).cast(pl.String)
    sets = mlpax.TableClassifier(folds=3, members=1, settings=settings, random_state=0)
    assert sets.fit(frame.drop("price"), labels).predict_set(frame).shape == (300, 2)
    plain = mlpax.TableRegressor(members=1, settings=settings, random_state=0).fit(
        frame.drop("price"), frame["price"]
    )
    with pytest.raises(InputError, match="not trained on folds"):
        plain.predict_interval(frame)


def test_importance_shuffles_a_column_in_all_folds(trained, tmp_path, mlpax, table):
    model = mlpax_load(tmp_path)
    found = model.importance(houses(), houses()["price"].to_numpy())
    assert [one.name if hasattr(one, "name") else one[0] for one in found] == ["size", "kind"]
