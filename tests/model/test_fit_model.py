"""The temperature of the probabilities is fitted on held-out rows, never on rows whose score is told."""

import json

import numpy as np
import pytest

from mlpax.data.dataset import Dataset
from mlpax.model.fit_model import fit_model
from mlpax.recipes import Recipe
from mlpax.scores import classification


def blobs(rows=400):
    """Pictures of three overlapping classes."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, rows).astype(np.int32)
    X = (rng.normal(size=(rows, 8)) * 40 + 60 + 25 * y[:, None]).clip(0, 255).astype(np.uint8)
    half = rows // 2
    return Dataset("blobs", X[:half], y[:half], X[half:], y[half:], ("a", "b", "c"))


RECIPE = Recipe(hidden=(8,), epochs=30, batch_size=16, label_smoothing=0.3)


def test_pictures_are_calibrated_on_the_rows_that_validation_holds_out():
    dataset = blobs()
    model, history = fit_model(dataset, RECIPE.replace(validation=0.3))
    assert model.calibration.fitted_on == "validation"
    X, y = dataset.X_test, dataset.y_test
    plain, warm = (
        classification(y, model.predict_proba(X, calibrated=c), model.classes)["log_loss"]
        for c in (False, True)
    )
    assert warm < plain  # label smoothing had made the network less sure than it may be
    assert history[-1].keys() == {
        "epoch", "loss", "train_accuracy", "valid_accuracy", "valid_log_loss", "seconds"
    }  # fmt: skip


def test_pictures_without_validation_rows_are_not_calibrated():
    """The test rows stand in for validation rows then, and their score is told."""
    model, history = fit_model(blobs(), RECIPE)
    assert model.calibration is None
    assert history[-1]["valid_log_loss"] > 0
    X = blobs().X_test
    np.testing.assert_array_equal(model.predict_proba(X), model.predict_proba(X, calibrated=False))


def test_the_validation_log_loss_is_that_of_the_rows():
    """Of the last epoch's network, without its temperature."""
    dataset = blobs()
    model, history = fit_model(dataset, RECIPE)
    figures = model.evaluate(dataset.X_test, np.array(model.classes)[dataset.y_test], calibrated=False)
    assert history[-1]["valid_log_loss"] == pytest.approx(figures["log_loss"], rel=1e-4)


@pytest.fixture
def kinds(tmp_path):
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=200), rng.normal(size=200)
    lines = [f"{a:.4f},{b:.4f},{'yes' if a + b > 0 else 'no'}" for a, b in zip(x, noise, strict=True)]
    (tmp_path / "kinds.csv").write_text("x,z,y\n" + "\n".join(lines) + "\n")
    return tmp_path


def test_rows_that_fitted_the_temperature_are_scored_without_it(mlpax, kinds):
    """Validation rows where no test rows are, and the training file itself; other rows are scored with it."""
    code, _, _ = mlpax("train", "kinds.csv", "--epochs", 40, "--hidden", "8", "--out", "run")
    assert code == 0
    (kinds / "others.csv").write_text((kinds / "kinds.csv").read_text())
    code, own, err = mlpax("evaluate", "run", "--json")
    assert code == 0
    assert "was fitted on these rows; the figures are without it" in err
    _, same, err = mlpax("evaluate", "run", "kinds.csv", "--json")
    assert "was fitted on these rows; the figures are without it" in err
    _, others, err = mlpax("evaluate", "run", "others.csv", "--json")
    assert "was fitted on these rows" not in err
    assert json.loads(same)["accuracy"] == json.loads(others)["accuracy"]
    assert json.loads(same)["log_loss"] != json.loads(others)["log_loss"]
    history = (kinds / "run/metrics.csv").read_text().splitlines()
    columns = history[0].split(",")
    best = min(
        (line.split(",") for line in history[1:]), key=lambda row: float(row[columns.index("valid_log_loss")])
    )
    assert json.loads(own)["log_loss"] == pytest.approx(
        float(best[columns.index("valid_log_loss")]), rel=1e-4
    )


def test_test_rows_are_scored_with_the_temperature(mlpax, kinds):
    mlpax("train", "kinds.csv", "--test", 0.3, "--epochs", 40, "--hidden", "8", "--out", "run")
    _, _, err = mlpax("evaluate", "run", "--json")
    assert err == ""
