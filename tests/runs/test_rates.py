"""The learning rate finder: short trainings of the recipe at many rates."""

import numpy as np
import pytest

import mlpax
from mlpax.data.dataset import HoldOut, split, validated
from mlpax.data.named_sets import load
from mlpax.errors import DivergedError, InputError
from mlpax.model.fit_model import fit_model
from mlpax.recipes import named
from mlpax.runs.rates import _best


def test_each_rate_is_a_short_training_of_the_recipe():
    found = mlpax.find_learning_rate("digits", points=5, steps=36, hidden=(16,))
    assert found.usual == 0.1
    assert found.rates == pytest.approx(np.geomspace(1e-4, 10, 5), rel=1e-3)
    assert found.steps == 36
    digits = load("digits")
    rows = validated(digits, split(digits.y_train, HoldOut(validation=0.2)))
    for rate, loss in zip(found.rates, found.losses, strict=True):
        recipe = named("default", 1438, hidden=(16,), epochs=2, learning_rate=float(rate))
        _, history = fit_model(rows, recipe.replace(monitor="valid_log_loss"))
        assert loss == pytest.approx(history[-1]["valid_log_loss"], rel=1e-4)


def test_the_best_rate_trains_well():
    found = mlpax.find_learning_rate("digits")
    assert 0.02 < found.best < 2
    assert np.nanmin(found.losses) < 0.2 < found.losses[0]


def test_a_large_set_gives_only_the_rows_that_the_steps_need(data_dir):
    found = mlpax.find_learning_rate("mnist", points=3, steps=20, data_dir=data_dir, low=0.01, high=1)
    assert found.steps == 20
    assert found.best in found.rates


def test_a_table(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2))
    y = X @ [2, -1] + rng.normal(0, 0.1, 300)
    path = tmp_path / "t.csv"
    path.write_text("a,b,y\n" + "".join(f"{a:.3f},{b:.3f},{c:.3f}\n" for (a, b), c in zip(X, y, strict=True)))
    found = mlpax.find_learning_rate(path, points=7, steps=60)
    assert found.metric == "valid_rmse"
    assert found.losses.min() < 0.5 < found.losses.max()


def test_rates_that_diverge_are_left_out():
    found = mlpax.find_learning_rate("digits", points=4, steps=30, low=0.01, high=1e6)
    assert np.isnan(found.losses).any()
    assert found.best < 100
    with pytest.raises(DivergedError, match="all rates from 100000 to 1e"):
        mlpax.find_learning_rate("digits", points=3, steps=30, low=1e5, high=1e6)


def test_neighbours_smooth_the_losses():
    rates = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert _best(rates, np.array([1, 0.05, 1, 0.3, 0.2, 0.3])) == 5
    assert _best(rates, np.array([1, 0.6, 0.5, np.nan, np.nan, np.nan])) == 2
    assert _best(rates, np.array([np.nan, 0.5, np.nan, np.nan, np.nan, np.nan])) == 2


@pytest.mark.parametrize(("settings", "said"), [
    ({"points": 2}, "points 2 is below 3"),
    ({"steps": 5}, "steps 5 is below 10"),
    ({"points": 3.5}, "points 3.5 is no whole number"),
    ({"low": "a"}, "low 'a' is no number"),
    ({"optimizer": ["adam", "sgd"]}, "is several values; give one"),
    ({"low": 1.0, "high": 0.1}, "the rates 1 to 0.1 are no range"),
    ({"low": 0.0}, "are no range"),
    ({"high": 1e9}, "give --low and --high in"),
    ({"hiden": (3,)}, "did you mean 'hidden'"),
])  # fmt: skip
def test_what_is_refused(settings, said):
    with pytest.raises(InputError, match=said):
        mlpax.find_learning_rate("digits", **settings)
