"""Training part by part: as one training on all rows, if all parts are the same rows."""

import pickle

import numpy as np
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import check_estimators_partial_fit_n_features

from mlpax import TableClassifier, TableRegressor
from mlpax.errors import InputError
from mlpax.recipes import Recipe

SETTINGS = {"hidden": (8,), "learning_rate": 0.01, "batch_size": 32}


def rows(n=150, seed=0):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, n))
    city = rng.choice(["bern", "genf", "basel"], n)
    y = np.where(a + (city == "bern") > 0.5, "yes", "no")
    return pl.DataFrame({"a": a, "b": b, "city": city}), y


@pytest.mark.parametrize("backend", ["native", "xla"])
@pytest.mark.parametrize("members", [1, 2])
def test_calls_on_the_same_rows_are_epochs_of_one_training(backend, members):
    X, y = rows()
    settings = SETTINGS | {"backend": backend}
    parts = TableClassifier(random_state=0, members=members, settings=settings)
    for _ in range(4):
        assert parts.partial_fit(X, y, classes=["no", "yes"]) is parts
    endless = {"epochs": 4, "schedule": "constant", "patience": 0, "monitor": ""}
    whole = TableClassifier(random_state=0, members=members, validation=0, settings=settings | endless)
    whole.fit(X, y)
    ours, theirs = parts.predict_proba(X), whole.predict_proba(X)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    losses = [[record["loss"] for record in one.history_] for one in (parts, whole)]
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_a_regression_keeps_the_scale_of_the_first_part():
    X, _ = rows(300)
    y = 1000 + 50 * X["a"].to_numpy() + 20 * (X["city"] == "bern").to_numpy()
    model = TableRegressor(random_state=0, members=2, settings=SETTINGS)
    for _ in range(30):
        for k in range(0, 300, 60):
            model.partial_fit(X[k : k + 60], y[k : k + 60])
    assert model.score(X, y) > 0.95
    two = TableRegressor(random_state=0, members=2, settings=SETTINGS)
    two.partial_fit(X, np.stack([y, -y], axis=1)).partial_fit(X[:5], np.stack([y, -y], axis=1)[:5])
    assert two.predict(X).shape == (300, 2)


def test_later_parts_are_read_as_predict_reads_rows():
    """A level that is new is "other", a missing cell the median; a part of one row is a part."""
    X, y = rows()
    model = TableClassifier(random_state=0, members=1, settings=SETTINGS)
    model.partial_fit(X, y, classes=["no", "yes", "perhaps"])
    columns = model.model_.columns
    odd = pl.DataFrame({"a": [None], "b": [0.5], "city": ["zug"]}, schema_overrides={"a": pl.Float64})
    model.partial_fit(odd, ["perhaps"])
    assert model.model_.columns == columns
    assert model.classes_.tolist() == ["no", "perhaps", "yes"]
    assert model.predict_proba(odd).shape == (1, 3)
    assert len(model.history_) == 2


def test_embeddings_of_all_parts_are_learned():
    levels = [f"level {i}" for i in range(100)]
    X = pl.DataFrame({"many": np.repeat(levels, 3), "a": np.arange(300.0)})
    y = np.arange(300) % 2
    model = TableClassifier(random_state=0, members=1, settings=SETTINGS)
    model.partial_fit(X, y, classes=[0, 1])
    model.partial_fit(X[:30], y[:30])
    embedding = model.model_.networks[0].embeddings[0]
    assert len({row.tobytes() for row in embedding[:100]}) == 100  # none is the mean of the others


def test_after_fit_it_goes_on():
    X, y = rows()
    model = TableClassifier(random_state=0, members=2, settings={"hidden": (8, 6), "epochs": 20}).fit(X, y)
    before = model.model_
    tiny = clone(model).set_params(settings={"hidden": (8, 6), "learning_rate": 1e-12})
    tiny.model_, tiny.classes_, tiny.n_features_in_ = before, model.classes_, 3
    tiny.partial_fit(X, y)
    temperature = before.calibration.temperature
    np.testing.assert_allclose(
        tiny.model_.forward(before.inputs(X)), before.forward(before.inputs(X)), rtol=1e-3, atol=1e-3
    )
    assert temperature > 0
    model.partial_fit(X, y)
    assert not np.array_equal(model.model_.networks[0].params[0][0], before.networks[0].params[0][0])
    model.fit(X, y)
    assert np.array_equal(model.model_.networks[0].params[0][0], before.networks[0].params[0][0])


def test_it_goes_on_after_a_pickle():
    X, y = rows()
    one = TableClassifier(random_state=0, members=2, settings=SETTINGS).partial_fit(
        X, y, classes=["no", "yes"]
    )
    other = pickle.loads(pickle.dumps(one))  # noqa: S301 - ours
    for model in (one, other):
        model.partial_fit(X, y)
    assert np.array_equal(one.predict_proba(X), other.predict_proba(X))


@pytest.mark.parametrize(
    ("parameters", "options", "message"),
    [
        ({}, {}, "classes must be passed on the first call to partial_fit"),
        ({}, {"classes": ["no", "perhaps"]}, "holds 'yes', none of the model's classes"),
        ({"class_weight": "balanced"}, {"classes": ["no", "yes"]}, "'balanced' is not supported"),
        ({"folds": 3}, {"classes": ["no", "yes"]}, "folds, refit and finetune are of fit"),
        ({"settings": {"schedule": "linear"}}, {"classes": ["no", "yes"]}, "schedule 'linear' needs"),
    ],
)  # fmt: skip
def test_what_it_refuses(parameters, options, message):
    X, y = rows()
    with pytest.raises(InputError, match=message):
        TableClassifier(**parameters).partial_fit(X, y, **options)


def test_other_classes_are_refused():
    X, y = rows()
    model = TableClassifier(random_state=0, members=1, settings=SETTINGS)
    model.partial_fit(X, y, classes=["no", "yes"])
    model.partial_fit(X, y, classes=["yes", "no"])
    with pytest.raises(InputError, match="differ from those of the first call"):
        model.partial_fit(X, y, classes=["no", "yes", "perhaps"])


@pytest.mark.parametrize("kind", [TableClassifier, TableRegressor])
def test_scikit_learns_check_of_the_number_of_features(kind):
    check_estimators_partial_fit_n_features(kind.__name__, kind(members=1, settings=SETTINGS))


def test_the_rate_is_a_tenth_of_the_recipes():
    X, y = rows()
    model = TableClassifier(random_state=0, members=1, settings={"hidden": (8,)})
    model.partial_fit(X, y, classes=["no", "yes"])
    assert model.model_.recipe["learning_rate"] == pytest.approx(0.0045)
    assert model.model_.recipe["schedule"] == "constant"
    assert Recipe(hidden=(8,)).hidden == tuple(model.model_.recipe["hidden"])
