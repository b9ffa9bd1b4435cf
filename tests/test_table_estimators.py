"""The table estimators as scikit-learn's users use them."""

import numpy as np
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score

import mlpax
from mlpax import TableClassifier, TableRegressor
from mlpax.errors import InputError

SETTINGS = {"hidden": (16, 16), "epochs": 30}


def frame(n=240, seed=0):
    rng = np.random.default_rng(seed)
    size = rng.normal(size=n) * 10 + 50
    colour = rng.choice(["red", "green", "blue"], n)
    cells = [None if i % 17 == 0 else v for i, v in enumerate(size.tolist())]
    kind = np.where(size + 8 * (colour == "red") > 52, "large", "small")
    return pl.DataFrame({"size": cells, "colour": colour}), kind, 3 * size + 20 * (colour == "red")


def test_classifier_learns_and_answers_with_the_classes():
    X, kind, _ = frame()
    model = TableClassifier(settings=SETTINGS, random_state=0).fit(X, kind)
    assert model.classes_.tolist() == ["large", "small"]
    assert model.feature_names_in_.tolist() == ["size", "colour"]
    assert model.score(X, kind) > 0.85
    p = model.predict_proba(X)
    assert p.shape == (240, 2)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    assert (model.classes_[p.argmax(axis=1)] == model.predict(X)).all()


def test_regressor_answers_in_the_targets_units():
    X, _, price = frame()
    model = TableRegressor(settings=SETTINGS | {"epochs": 100}, random_state=0).fit(X, price)
    assert model.score(X, price) > 0.8
    assert abs(model.predict(X).mean() - price.mean()) < 5


@pytest.mark.parametrize("labels", [[0, 1], [-1, 1], ["no", "yes"], [False, True]])
def test_classes_come_back_as_they_came(labels):
    X, kind, _ = frame()
    y = np.array(labels)[(kind == "large").astype(int)]
    model = TableClassifier(settings=SETTINGS).fit(X, y)
    assert model.predict(X).dtype.kind == y.dtype.kind
    assert set(model.predict(X).tolist()) <= set(labels)


def test_the_seed_decides():
    X, kind, _ = frame()
    one, same, other = (
        TableClassifier(settings=SETTINGS, random_state=seed).fit(X, kind).predict_proba(X)
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_scikit_learn_clones_searches_and_validates():
    X, kind, _ = frame()
    model = TableClassifier(settings=SETTINGS, random_state=0)
    assert clone(model).get_params() == model.get_params()
    assert cross_val_score(model, X, kind, cv=3).mean() > 0.8
    search = GridSearchCV(model, {"settings": [SETTINGS, SETTINGS | {"learning_rate": 0.001}]}, cv=2)
    assert search.fit(X, kind).best_score_ > 0.8


def test_weights_count():
    """Rows of weight 0 teach nothing."""
    X, kind, _ = frame()
    wrong = np.where(kind == "large", "small", "large")
    both = pl.concat([X, X])
    weight = np.r_[np.ones(240), np.zeros(240)]
    model = TableClassifier(settings=SETTINGS, random_state=0, validation=0, recipe="default")
    model.fit(both, np.r_[kind, wrong], sample_weight=weight)
    assert model.score(X, kind) > 0.85


@pytest.mark.parametrize("kind", [TableClassifier, TableRegressor])
def test_all_rows_may_train(kind):
    X, classes, price = frame()
    model = kind(settings={"hidden": (8,), "epochs": 3}, validation=0)
    model.fit(X, classes if kind is TableClassifier else price)
    assert [set(row) for row in model.history_] == [{"epoch", "loss", "seconds"}] * 3


def test_the_model_is_saved_and_loaded(tmp_path):
    X, kind, _ = frame()
    model = TableClassifier(settings=SETTINGS, random_state=0).fit(X, kind)
    model.save(tmp_path / "m.safetensors")
    loaded = mlpax.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert loaded.predict(X.head(3)).tolist() == model.predict(X.head(3)).tolist()


def test_arrays_do_as_well():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    y = (X[:, 0] > 0).astype(int)
    assert TableClassifier(settings=SETTINGS).fit(X, y).score(X, y) > 0.9


def test_what_does_not_fit_is_named():
    X, kind, _ = frame()
    with pytest.raises(InputError, match="X has 240 rows but y has 239"):
        TableClassifier().fit(X, kind[:-1])
    model = TableClassifier(settings=SETTINGS).fit(X, kind)
    with pytest.raises(InputError, match="column 'size' is missing; is it 'sizes'"):
        model.predict(X.rename({"size": "sizes"}))
    with pytest.raises(InputError, match="unknown recipe 'tables'; did you mean 'table'"):
        TableClassifier("tables").fit(X, kind)
