"""MLPClassifier and MLPRegressor beside scikit-learn's own, and what they have beyond them."""

import inspect
import pickle
import warnings

import jax
import numpy as np
import optax
import pytest
import scipy.sparse
from sklearn import neural_network
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import HuberRegressor, QuantileRegressor
from sklearn.metrics import balanced_accuracy_score, log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler, scale
from sklearn.utils.estimator_checks import parametrize_with_checks

import mlpax
from mlpax import MLPClassifier, MLPRegressor
from mlpax.engine.native import library
from mlpax.engine.xla import epoch as xla
from mlpax.errors import InputError
from mlpax.estimators import fitting

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

IRIS = load_iris(return_X_y=True)
X_IRIS, Y_IRIS = StandardScaler().fit_transform(IRIS[0]), IRIS[1]
X_BINARY, Y_BINARY = X_IRIS[:100], Y_IRIS[:100]
X_LABELS, Y_LABELS = make_multilabel_classification(60, 8, random_state=0)
TARGET = X_IRIS @ [1.0, -2, 0.5, 0.1] + 0.1 * np.sin(np.arange(150))
SMALL = {"hidden_layer_sizes": (7,), "random_state": 3, "max_iter": 12}
WEIGHT = np.random.default_rng(0).uniform(0.5, 2, 150)


# ---- the same as scikit-learn's, in its own precision


def both(name, X, y, sample_weight=None, **parameters):
    parameters = SMALL | parameters
    theirs = getattr(neural_network, name)(**parameters)
    ours = getattr(mlpax, name)(**parameters, dtype="float64")
    return theirs.fit(X, y, sample_weight), ours.fit(X, y, sample_weight)


def assert_same(theirs, ours, rtol=1e-7, atol=1e-10):
    for one, other in zip(theirs.coefs_ + theirs.intercepts_, ours.coefs_ + ours.intercepts_, strict=True):
        np.testing.assert_allclose(other, one, rtol=rtol, atol=atol)
    assert (theirs.n_iter_, theirs.t_) == (ours.n_iter_, ours.t_)
    assert theirs.out_activation_ == ours.out_activation_
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=rtol)
    if theirs.validation_scores_ is None:
        assert ours.validation_scores_ is None
        np.testing.assert_allclose(ours.best_loss_, theirs.best_loss_, rtol=rtol)
    else:
        np.testing.assert_allclose(ours.validation_scores_, theirs.validation_scores_, rtol=rtol)
        np.testing.assert_allclose(ours.best_validation_score_, theirs.best_validation_score_, rtol=rtol)
        assert ours.best_loss_ is None


@pytest.mark.parametrize(
    ("name", "X", "y", "parameters"),
    [
        ("MLPClassifier", X_IRIS, Y_IRIS, {}),
        ("MLPClassifier", X_IRIS, Y_IRIS, {"batch_size": 16, "alpha": 0.1}),
        ("MLPClassifier", X_IRIS, Y_IRIS, {"solver": "sgd", "batch_size": 32, "learning_rate": "invscaling"}),
        ("MLPClassifier", X_IRIS, Y_IRIS, {"solver": "sgd", "nesterovs_momentum": False, "shuffle": False}),
        ("MLPClassifier", X_IRIS, Y_IRIS, {"early_stopping": True, "activation": "tanh", "batch_size": 20}),
        ("MLPClassifier", X_BINARY, Y_BINARY, {"activation": "logistic", "early_stopping": True}),
        ("MLPClassifier", X_LABELS, Y_LABELS, {"batch_size": 10}),
        ("MLPClassifier", X_IRIS, Y_IRIS, {"hidden_layer_sizes": ()}),
        ("MLPRegressor", X_IRIS, TARGET, {"batch_size": 50, "early_stopping": True}),
        ("MLPRegressor", X_IRIS, np.c_[TARGET, TARGET**2], {"solver": "sgd", "hidden_layer_sizes": (5, 3)}),
        ("MLPRegressor", X_IRIS, np.abs(TARGET), {"loss": "poisson", "learning_rate_init": 0.01}),
    ],
    ids=str,
)
def test_a_fit_is_scikit_learns(name, X, y, parameters):
    """The same draws, the same steps, the same figures."""
    assert_same(*both(name, X, y, **parameters))


def test_it_stops_where_scikit_learns_stops():
    parameters = {"solver": "sgd", "max_iter": 400, "tol": 5e-3, "learning_rate_init": 0.05}
    for more in ({}, {"learning_rate": "adaptive"}, {"early_stopping": True, "n_iter_no_change": 5}):
        theirs, ours = both("MLPClassifier", X_IRIS, Y_IRIS, **parameters | more)
        assert theirs.n_iter_ < 400
        assert_same(theirs, ours, rtol=1e-6)
        assert ours._no_improvement_count == theirs._no_improvement_count
        np.testing.assert_allclose(ours._optimizer.learning_rate, theirs._optimizer.learning_rate)


@pytest.mark.parametrize("batch_size", ["auto", 32])
def test_a_shared_generator_goes_on_as_scikit_learns(batch_size):
    """Into the second fit's weights, though a batch of all rows needs no order."""
    models = []
    for package, more in ((neural_network, {}), (mlpax, {"dtype": "float64"})):
        parameters = SMALL | {"random_state": np.random.RandomState(0), "batch_size": batch_size}
        model = package.MLPClassifier(**parameters, **more).fit(X_IRIS, Y_IRIS)
        models.append(model.fit(X_IRIS, Y_IRIS))
    assert_same(*models)


def test_weights_of_one_batch_count_as_scikit_learns():
    assert_same(*both("MLPClassifier", X_IRIS, Y_IRIS, WEIGHT, alpha=0.5))


def test_partial_fit_and_warm_start_go_on_as_scikit_learns():
    for y, classes in ((Y_IRIS, {"classes": [0, 1, 2]}), (TARGET, {})):
        name = "MLPClassifier" if classes else "MLPRegressor"
        pair = getattr(neural_network, name)(**SMALL), getattr(mlpax, name)(**SMALL, dtype="float64")
        for model in pair:
            for rows in (slice(0, 150), slice(20, 120), slice(0, 150)):
                model.partial_fit(X_IRIS[rows], y[rows], **classes)
        assert_same(*pair)
        pair = [model.set_params(warm_start=True, max_iter=3).fit(X_IRIS, y) for model in pair]
        assert_same(*pair)


def test_a_generator_is_left_where_scikit_learn_leaves_it():
    """Two fits that share one: the second begins where the first has ended, stopped or not."""
    ends = []
    for name, more in ((neural_network, {}), (mlpax, {"dtype": "float64"})):
        generator = np.random.RandomState(1)
        for _ in range(2):
            model = name.MLPClassifier(
                (5,), batch_size=32, tol=0.1, max_iter=40, random_state=generator, **more
            ).fit(X_IRIS, Y_IRIS)
            assert model.n_iter_ < 40
        ends.append(model)
    assert_same(*ends)


def test_lbfgs_finds_scikit_learns_minimum():
    theirs, ours = both("MLPClassifier", X_IRIS, Y_IRIS, solver="lbfgs", max_iter=300, alpha=1.0)
    assert ours.n_iter_ < 300
    np.testing.assert_allclose(ours.loss_, theirs.loss_, rtol=1e-4)
    np.testing.assert_allclose(ours.predict_proba(X_IRIS), theirs.predict_proba(X_IRIS), atol=0.02)


def test_signatures_begin_as_scikit_learns():
    for name in ("MLPClassifier", "MLPRegressor"):
        theirs = inspect.signature(getattr(neural_network, name)).parameters
        ours = inspect.signature(getattr(mlpax, name)).parameters
        assert list(ours)[: len(theirs)] == list(theirs)
        assert [ours[p].default for p in theirs] == [theirs[p].default for p in theirs]
        assert [ours[p].kind for p in theirs] == [theirs[p].kind for p in theirs]


def test_every_public_attribute_is_there():
    theirs, ours = both("MLPClassifier", X_IRIS, Y_IRIS, early_stopping=True)
    public = {name for name in dir(theirs) if not name.startswith("_")}
    assert public <= {name for name in dir(ours) if not name.startswith("_")}


# They compare at 1e-7, beneath float32's last digit; scikit-learn, too, has settings of their own for them.
WEIGHTED = "check_sample_weight_equivalence"


@parametrize_with_checks([MLPClassifier(max_iter=100), MLPRegressor(max_iter=100)])
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_checks(estimator, check):
    if getattr(check, "func", check).__name__.startswith(WEIGHTED):
        estimator = clone(estimator).set_params(dtype="float64", solver="sgd", tol=1e-2, random_state=42)
    check(estimator)


# ---- one program for many fits


def count_traces(monkeypatch):
    """How often the program of a fit is made anew."""
    monkeypatch.setattr(xla, "PROGRAMS", np.inf)  # other tests have left many
    traces = []
    inner = xla.run_epochs.__wrapped__

    def traced(*arguments, **options):
        traces.append(1)
        return inner(*arguments, **options)

    monkeypatch.setattr(xla, "run_epochs", jax.jit(traced, static_argnames=("plan", "count")))
    return traces


def test_a_search_over_rates_and_penalties_is_one_program(monkeypatch):
    traces = count_traces(monkeypatch)
    X, y = load_digits(return_X_y=True)
    grid = {"alpha": [0.0, 1e-2], "learning_rate_init": [1e-3, 1e-2, 0.1]}
    search = GridSearchCV(MLPClassifier((16,), max_iter=3, random_state=0), grid, cv=5)
    search.fit(X / 16, y)  # folds of 1437 and of 1438 rows, then all
    assert len(traces) <= 2  # the whole set lies in another bucket than the folds
    traces.clear()
    search.set_params(refit=False).fit(X / 16, y)
    assert not traces


def test_knobs_never_compile(monkeypatch):
    monkeypatch.setenv("MLPAX_BACKEND", "xla")
    traces = count_traces(monkeypatch)
    for more in ({}, {"alpha": 1.0}, {"tol": 0.5}, {"max_iter": 3}, {"beta_1": 0.5}, {"n_iter_no_change": 2},
                 {"epsilon": 1e-3}, {"random_state": 9}, {"learning_rate_init": 0.1}):  # fmt: skip
        MLPClassifier(**SMALL | more).fit(X_IRIS, Y_IRIS)
    MLPClassifier(**SMALL).fit(X_IRIS[:145], Y_IRIS[:145])  # rows of one bucket
    assert MLPClassifier(**SMALL | {"max_iter": 150}).fit(X_IRIS, Y_IRIS).n_iter_ == 150  # two calls
    assert len(traces) == 1


# ---- beyond scikit-learn's


def test_validation_rows_of_ones_own():
    X, y, X_val, y_val = X_IRIS[::2], Y_IRIS[::2], X_IRIS[1::2], Y_IRIS[1::2]
    model = MLPClassifier(**SMALL).fit(X, y, X_val=X_val, y_val=y_val)
    assert len(model.validation_scores_) == len(model.validation_loss_curve_) == 12
    np.testing.assert_allclose(model.validation_scores_[-1], model.score(X_val, y_val))
    np.testing.assert_allclose(
        model.validation_loss_curve_[-1], log_loss(y_val, model.predict_proba(X_val)), rtol=1e-5
    )
    assert model.t_ == 12 * len(X)  # all of X was trained on
    weight = np.r_[np.ones(10), np.zeros(65)]
    model.fit(X, y, X_val=X_val, y_val=y_val, sample_weight_val=weight)
    np.testing.assert_allclose(model.validation_scores_[-1], model.score(X_val[:10], y_val[:10]))


def test_early_stopping_restores_the_best_by_the_rows_given():
    parameters = SMALL | {"max_iter": 60, "learning_rate_init": 0.3, "early_stopping": True}
    X, y, X_val, y_val = X_IRIS[::2], Y_IRIS[::2], X_IRIS[1::2], Y_IRIS[1::2]
    model = MLPClassifier(**parameters).fit(X, y, X_val=X_val, y_val=y_val)
    assert model.best_validation_score_ == max(model.validation_scores_)
    np.testing.assert_allclose(model.score(X_val, y_val), model.best_validation_score_)


@pytest.mark.parametrize("scoring", ["loss", "balanced_accuracy", "neg_log_loss"])
def test_early_stopping_by_any_scorer(scoring):
    parameters = SMALL | {"max_iter": 30, "learning_rate_init": 0.1, "early_stopping": True}
    X_val, y_val = X_IRIS[1::2], Y_IRIS[1::2]
    model = MLPClassifier(**parameters, scoring=scoring)
    model.fit(X_IRIS[::2], Y_IRIS[::2], X_val=X_val, y_val=y_val)
    p = model.predict_proba(X_val)
    expected = {
        "loss": -log_loss(y_val, p),
        "neg_log_loss": -log_loss(y_val, p),
        "balanced_accuracy": balanced_accuracy_score(y_val, model.predict(X_val)),
    }[scoring]
    np.testing.assert_allclose(model.best_validation_score_, expected, rtol=1e-4)


def test_callbacks_are_told_the_classes_as_they_came():
    from sklearn.callback import ScoringMonitor

    model = MLPClassifier(**SMALL).set_callbacks(ScoringMonitor(scoring="accuracy"))
    assert model.fit(X_IRIS, np.array(["a", "b", "c"])[Y_IRIS]).n_iter_ == 12


def test_r2_of_constant_targets_is_scikit_learns():
    _, ours = both("MLPRegressor", X_IRIS, np.ones(150), early_stopping=True)
    assert ours.validation_scores_ == [0.0] * 12


def test_class_weights():
    X, y = X_IRIS[40:], Y_IRIS[40:]  # ten rows of the first class, fifty of the others
    balanced = MLPClassifier(**SMALL, class_weight="balanced", dtype="float64").fit(X, y)
    weight = len(y) / (3 * np.bincount(y))[y]
    by_hand = MLPClassifier(**SMALL, dtype="float64").fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(balanced.coefs_[0], by_hand.coefs_[0])
    with pytest.raises(ValueError, match="'balanced' is not supported for partial_fit"):
        MLPClassifier(class_weight="balanced").partial_fit(X, y, classes=[0, 1, 2])


def test_activations_of_each_layer():
    model = MLPClassifier(**SMALL | {"hidden_layer_sizes": (6, 5)}, activation=["gelu", "mish"])
    model.fit(X_IRIS, Y_IRIS)
    assert model.score(X_IRIS, Y_IRIS) > 0.3
    with pytest.raises(InputError, match="1 activations do not fit 2 hidden layers"):
        model.set_params(activation=["gelu"]).fit(X_IRIS, Y_IRIS)
    with pytest.raises(InputError, match="unknown activation 'gelo'; did you mean 'gelu'"):
        model.set_params(activation=["gelo", "relu"]).fit(X_IRIS, Y_IRIS)


@pytest.mark.parametrize(
    "more",
    [
        {"dropout": 0.3},
        {"solver": "adamw", "weight_decay": 0.1},
        {"learning_rate": "one_cycle"},
        {"learning_rate": "linear", "solver": "sgd"},
        {"label_smoothing": 0.1},
        {"optimizer": optax.lion(0.01)},
    ],
    ids=lambda more: next(iter(more)),
)
def test_other_ways_to_train_learn_too(more):
    parameters = SMALL | {"max_iter": 60, "learning_rate_init": 0.05} | more
    model = MLPClassifier(**parameters).fit(X_IRIS, Y_IRIS)
    assert model.score(X_IRIS, Y_IRIS) > 0.9
    assert clone(model).get_params()["solver"] == model.solver


def test_weight_decay_shrinks_the_weights_alone():
    weak, strong = (
        MLPClassifier(**SMALL, solver="adamw", weight_decay=d, learning_rate_init=0.1).fit(X_IRIS, Y_IRIS)
        for d in (0.0, 1.0)
    )
    assert np.abs(strong.coefs_[0]).sum() < 0.7 * np.abs(weak.coefs_[0]).sum()


def test_smoothed_labels_make_less_sure():
    sure, smooth = (
        MLPClassifier(**SMALL | {"max_iter": 200, "learning_rate_init": 0.05}, label_smoothing=e)
        .fit(X_BINARY, Y_BINARY)
        .predict_proba(X_BINARY)
        .max(axis=1)
        .mean()
        for e in (0.0, 0.4)
    )
    assert sure > 0.98
    assert 0.75 < smooth < 0.85  # 1 - 0.4 / 2


@pytest.mark.parametrize(
    ("loss", "peer"),
    [("absolute_error", QuantileRegressor(alpha=0)), ("huber", HuberRegressor(epsilon=1.0, alpha=0))],
)
def test_losses_beyond(loss, peer):
    """Without hidden layers they are linear models, which outliers do not move."""
    y = TARGET.copy()
    y[:10] += 50
    model = MLPRegressor(loss, (), solver="lbfgs", alpha=0, max_iter=2000, tol=1e-8).fit(X_IRIS, y)
    clean = np.abs(model.predict(X_IRIS)[10:] - TARGET[10:]).mean()
    reference = np.abs(peer.fit(X_IRIS, y).predict(X_IRIS)[10:] - TARGET[10:]).mean()
    assert clean < 1.2 * reference + 0.05


def test_sparse_rows_are_rows():
    X = np.where(X_IRIS > 0, X_IRIS, 0)
    dense, sparse = (MLPClassifier(**SMALL).fit(M, Y_IRIS) for M in (X, scipy.sparse.csr_array(X)))
    np.testing.assert_array_equal(dense.coefs_[0], sparse.coefs_[0])
    np.testing.assert_allclose(dense.predict_proba(X), sparse.predict_proba(scipy.sparse.csr_array(X)))


def test_the_device_is_chosen():
    model = MLPClassifier(**SMALL, device="cpu").fit(X_IRIS, Y_IRIS)
    np.testing.assert_array_equal(model.coefs_[0], MLPClassifier(**SMALL).fit(X_IRIS, Y_IRIS).coefs_[0])


@pytest.mark.parametrize(
    ("model", "X", "y"),
    [
        (MLPClassifier(**SMALL), X_IRIS, np.array(["a", "b", "c"])[Y_IRIS]),
        (MLPClassifier(**SMALL, activation=["tanh"]), X_BINARY, Y_BINARY),
        (MLPRegressor(**SMALL), X_IRIS, TARGET),
        (MLPRegressor("poisson", **SMALL), X_IRIS, np.abs(TARGET)),
    ],
    ids=str,
)
def test_the_model_file_answers_the_same(model, X, y, tmp_path):
    model.fit(X, y)
    model.save(tmp_path / "m.safetensors")
    loaded = mlpax.load(tmp_path / "m.safetensors")
    if hasattr(model, "classes_"):
        assert loaded.predict(X).tolist() == model.predict(X).tolist()
        np.testing.assert_allclose(loaded.predict_proba(X), model.predict_proba(X), atol=1e-6)
    else:
        np.testing.assert_allclose(loaded.predict(X), model.predict(X), rtol=1e-5, atol=1e-5)


def test_the_model_file_takes_classes_of_whole_numbers(tmp_path):
    model = MLPClassifier(**SMALL, n_iter_no_change=np.inf).fit(X_IRIS, Y_IRIS.astype(float))
    model.save(tmp_path / "m.safetensors")
    assert mlpax.load(tmp_path / "m.safetensors").classes == (0, 1, 2)


def test_several_labels_have_no_model_file(tmp_path):
    model = MLPClassifier(**SMALL).fit(X_LABELS, Y_LABELS)
    with pytest.raises(InputError, match="one label a row"):
        model.save(tmp_path / "m.safetensors")


def test_one_class_has_no_model_file(tmp_path):
    model = MLPClassifier(**SMALL).fit(X_IRIS[:50], Y_IRIS[:50])
    with pytest.raises(InputError, match="two classes or more"):
        model.save(tmp_path / "m.safetensors")


# ---- fits that follow each other


def test_a_warm_start_that_watches_something_else_begins_to_watch_anew():
    model = MLPClassifier(early_stopping=True, warm_start=True, learning_rate_init=0.01, tol=0, **SMALL)
    before = model.fit(X_IRIS, Y_IRIS).coefs_[0]
    model.set_params(scoring="loss", max_iter=30).fit(X_IRIS, Y_IRIS)
    assert np.abs(model.coefs_[0] - before).max() > 0.01
    assert model.best_validation_score_ == pytest.approx(-min(model.validation_loss_curve_[12:]), rel=1e-6)


def test_partial_fit_goes_on_under_another_solver_or_dtype():
    model = MLPClassifier(**SMALL).partial_fit(X_IRIS, Y_IRIS, classes=[0, 1, 2])
    for change in (
        {"solver": "sgd"},
        {"solver": "adamw"},
        {"dtype": "float64"},
        {"optimizer": optax.sgd(0.1)},
    ):
        before = model.coefs_[0]
        model.set_params(**change).partial_fit(X_IRIS, Y_IRIS)
        assert np.abs(model.coefs_[0] - before).max() > 1e-5
    assert len(model.loss_curve_) == 5


def test_partial_fit_weighs_the_classes_that_it_sees():
    model = MLPClassifier(class_weight={1: 5.0}, **SMALL)
    model.partial_fit(X_IRIS[:40], Y_IRIS[:40], classes=[0, 1, 2]).partial_fit(X_IRIS, Y_IRIS)
    plain = MLPClassifier(**SMALL).partial_fit(X_IRIS[:40], Y_IRIS[:40], classes=[0, 1, 2])
    plain.partial_fit(X_IRIS, Y_IRIS, np.where(Y_IRIS == 1, 5.0, 1))
    np.testing.assert_array_equal(model.coefs_[0], plain.coefs_[0])


def test_the_number_of_outputs_stays():
    model = MLPRegressor(**SMALL).fit(X_IRIS, TARGET)
    with pytest.raises(ValueError, match="y has 2 outputs, but the network has 1"):
        model.partial_fit(X_IRIS, np.c_[TARGET, TARGET])


def test_many_rows_of_a_small_network_share_no_call(monkeypatch):
    """Their orders would be larger than they are."""
    monkeypatch.setenv("MLPAX_BACKEND", "xla")
    seen, run_epochs = [], xla.run_epochs
    monkeypatch.setattr(fitting, "MANY_ORDERS", 10_000)
    monkeypatch.setattr(
        xla, "run_epochs", lambda *args, **more: seen.append(args[3].shape) or run_epochs(*args, **more)
    )
    parameters = SMALL | {"max_iter": 2, "batch_size": 50}
    assert MLPRegressor(**parameters).fit(X_IRIS, TARGET).n_iter_ == 2
    assert seen == [(1, 150)] * 2


# ---- kinds of values


def test_an_estimator_of_a_device_clones():
    model = MLPClassifier(device="cpu:0", **SMALL).fit(X_IRIS, Y_IRIS)
    assert clone(model).device == "cpu:0"
    with pytest.raises(ValueError, match="device='cpu:7', but the numbers of 'cpu' here are 0 to 0"):
        MLPClassifier(device="cpu:7").fit(X_IRIS, Y_IRIS)


def test_a_scorer_that_takes_no_weights():
    scoring = lambda model, X, y: model.score(X, y)  # noqa: E731
    model = MLPClassifier(early_stopping=True, scoring=scoring, class_weight="balanced", **SMALL)
    assert len(model.fit(X_IRIS, Y_IRIS).validation_scores_) == 12


def test_numbers_of_numpy_are_numbers():
    with jax.enable_x64(True):
        MLPClassifier(alpha=np.float64(0.01), label_smoothing=np.float64(0.1), **SMALL).fit(X_IRIS, Y_IRIS)
    with pytest.raises(TypeError, match="cannot be interpreted as an integer"):
        MLPClassifier((4.5,)).fit(X_IRIS, Y_IRIS)


def test_sparse_labels_are_weighed_and_validate():
    labels = scipy.sparse.csr_matrix(Y_LABELS)
    model = MLPClassifier(class_weight="balanced", **SMALL)
    model.fit(X_LABELS, labels, X_val=X_LABELS[:9], y_val=labels[:9])
    dense = clone(model).fit(X_LABELS, Y_LABELS, X_val=X_LABELS[:9], y_val=Y_LABELS[:9])
    np.testing.assert_array_equal(model.coefs_[0], dense.coefs_[0])
    assert model.validation_scores_ == dense.validation_scores_


def test_an_optimizer_is_a_transformation_of_optax():
    with pytest.raises(ValueError, match="must be an object implementing 'init' and 'update' or None"):
        MLPClassifier(optimizer=("adam", 0.1)).fit(X_IRIS, Y_IRIS)


def test_optax_rules_that_want_the_loss():
    model = MLPClassifier(optimizer=optax.polyak_sgd(max_learning_rate=0.1), **SMALL).fit(X_IRIS, Y_IRIS)
    assert model.loss_curve_[-1] < model.loss_curve_[0]


# ---- what it refuses


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match="X_val and y_val come together"):
        MLPClassifier().fit(X_IRIS, Y_IRIS, X_val=X_IRIS)
    with pytest.raises(ValueError, match=r"y_val has classes .* that y has not"):
        MLPClassifier(**SMALL).fit(X_BINARY, Y_BINARY, X_val=X_IRIS, y_val=Y_IRIS)
    for y_val in (np.full((50, 1), 9), [["z"]] * 50):
        with pytest.raises(ValueError, match=r"y_val has classes \['?[9z]'?\] that y has not"):
            MLPClassifier(**SMALL).fit(X_IRIS, Y_IRIS, X_val=X_IRIS[:50], y_val=y_val)
    for y_val, what in ((np.arange(60) % 2, "has shape"), (2 * Y_LABELS - 1, "has classes")):
        with pytest.raises(ValueError, match=f"y_val {what}"):
            MLPClassifier(**SMALL).fit(X_LABELS, Y_LABELS, X_val=X_LABELS, y_val=y_val)
    with pytest.raises(ValueError, match="sample_weight_val"):
        MLPClassifier().fit(X_IRIS, Y_IRIS, sample_weight_val=WEIGHT)
    with pytest.raises(ValueError, match="at least one non-zero number"):
        MLPClassifier(**SMALL).fit(X_IRIS, Y_IRIS, X_val=X_IRIS, y_val=Y_IRIS, sample_weight_val=0 * WEIGHT)
    with pytest.raises(ValueError, match="X_val has 10 rows but y_val has 9"):
        MLPClassifier(**SMALL).fit(X_IRIS, Y_IRIS, X_val=X_IRIS[:10], y_val=Y_IRIS[:9])
    with pytest.raises(ValueError, match="The 'dropout' parameter of MLPClassifier must be a float"):
        MLPClassifier(dropout=1.0).fit(X_IRIS, Y_IRIS)
    with pytest.raises(ValueError, match="The 'loss' parameter of MLPRegressor must be a str among"):
        MLPRegressor("hinge").fit(X_IRIS, TARGET)
    with pytest.raises(ValueError, match="non-finite parameter weights"):
        MLPRegressor(**SMALL).fit(X_IRIS * 1e39, TARGET)


def test_what_a_solver_cannot_do_is_said():
    with pytest.raises(ValueError, match="partial_fit does not support learning_rate='cosine'"):
        MLPRegressor(learning_rate="cosine").partial_fit(X_IRIS, TARGET)
    with pytest.raises(ValueError, match="lbfgs stops by its gradient and takes no X_val"):
        MLPRegressor(solver="lbfgs").fit(X_IRIS, TARGET, X_val=X_IRIS, y_val=TARGET)


def test_a_class_of_ones_own_may_add_parameters():
    class Mine(MLPClassifier):
        def __init__(self, alpha=0.1, extra=1):
            super().__init__(alpha=alpha, **SMALL)
            self.extra = extra

    model = Mine(extra=2).fit(X_IRIS, Y_IRIS)
    assert (model.alpha, model.extra, model.max_iter) == (0.1, 2, 12)
    assert clone(model).get_params() == {"alpha": 0.1, "extra": 2}


def test_a_fit_that_has_not_converged_says_so():
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(12\) reached"):
        MLPClassifier(**SMALL).fit(X_IRIS, Y_IRIS)


@pytest.mark.parametrize("load", [load_iris, load_breast_cancer])
def test_float32_ends_where_scikit_learn_ends(load):
    X, y = load(return_X_y=True)
    X = scale(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs, ours = (m.MLPClassifier(random_state=0).fit(X, y) for m in (neural_network, mlpax))
    assert ours.n_iter_ == theirs.n_iter_
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-3)
    assert (ours.predict(X) == theirs.predict(X)).mean() > 0.99


def test_a_fitted_estimator_holds_nothing_on_the_device():
    """So that a pickled one is arrays of NumPy."""
    model = MLPClassifier(**SMALL, early_stopping=True).fit(X_IRIS, Y_IRIS)
    held = jax.tree.leaves((model._optimizer, model.coefs_, model.intercepts_, model._best_coefs))
    assert not any(isinstance(leaf, jax.Array) for leaf in held)


def test_warnings_point_at_the_callers_line(recwarn):
    MLPClassifier(**SMALL | {"max_iter": 2}).fit(X_IRIS, Y_IRIS)
    assert [(w.category, w.filename) for w in recwarn.list] == [(ConvergenceWarning, __file__)]


def test_invscaling_goes_on_as_in_scikit_learn():
    """Each `fit` with `warm_start` begins at the initial rate; `partial_fit` goes on at the last one."""
    X, y = X_IRIS, Y_IRIS
    options = {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.1, "random_state": 0,
               "hidden_layer_sizes": (8,), "max_iter": 3, "shuffle": False, "warm_start": True}  # fmt: skip
    ours, theirs = MLPClassifier(**options), neural_network.MLPClassifier(**options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for _ in range(3):
            np.testing.assert_allclose(ours.fit(X, y).loss_curve_, theirs.fit(X, y).loss_curve_, rtol=1e-4)
    for _ in range(3):
        ours.partial_fit(X, y)
        theirs.partial_fit(X, y)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-4)


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize(
    ("estimator", "dtype", "settings"),
    [
        (mlpax.MLPClassifier, np.float32, {}),
        (mlpax.MLPRegressor, np.float32, {"solver": "sgd"}),
    ],
)
def test_answers_of_a_fit_that_diverged_are_no_nan(estimator, dtype, settings, warm, recwarn):
    """Its weights are finite, about 1e20."""
    X = np.random.default_rng(0).normal(size=(64, 8)).astype(dtype)
    y = (X[:, 0] > 0).astype(int)
    model = estimator(max_iter=1, batch_size=64, random_state=0, warm_start=warm, **settings)
    if warm:
        model.fit(X, y)
    model.set_params(learning_rate_init=1e20).fit(X, y)
    with pytest.raises(ValueError, match=r"the network's answer is not finite for row \d+: the fit diverged"):
        model.predict(np.vstack([X, -X]))
    assert {w.category.__name__ for w in recwarn.list} <= {"ConvergenceWarning"}


def test_values_that_overflow_are_no_infinity():
    X = np.random.default_rng(0).normal(size=(64, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = mlpax.MLPRegressor(loss="poisson", max_iter=1, random_state=0).fit(X, np.abs(X[:, 0]))
    model.intercepts_[-1][:] = 1000
    with pytest.raises(ValueError, match="the network's answer is not finite for row 0"):
        model.predict(X)


def test_partial_fit_of_a_network_that_was_widened():
    """The update rule forgets the old shapes; weights that do not fit each other are refused."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 3)), np.arange(40) % 2
    model = MLPClassifier((4,), random_state=0).partial_fit(X, y, classes=[0, 1])
    model.hidden_layer_sizes = (300,)
    model.coefs_ = [rng.normal(size=(3, 300)), rng.normal(size=(300, 1))]
    model.intercepts_ = [np.zeros(300), np.zeros(1)]
    assert np.isfinite(model.partial_fit(X, y).predict_proba(X)).all()
    model.coefs_[1] = np.zeros((200, 1))
    with pytest.raises((AssertionError, ValueError, TypeError)):
        model.partial_fit(X, y)


@pytest.mark.parametrize("backend", ["native", "xla"])
@pytest.mark.parametrize("more", [{}, {"early_stopping": True}, {"dropout": 0.2}], ids=str)
def test_members(backend, more, tmp_path):
    """They answer with their mean probability; the first is the network of a fit alone."""
    if backend == "native" and library.missing():
        pytest.skip(library.missing())
    X, y = X_IRIS, Y_IRIS
    settings = {"random_state": 3, "max_iter": 20, "backend": backend} | more
    alone = MLPClassifier((10,), **settings).fit(X, y)
    together = MLPClassifier((10,), members=3, **settings).fit(X, y)
    each = together.predict_proba(X, members=True)
    assert each.shape == (3, 150, 3)
    np.testing.assert_allclose(each[0], alone.predict_proba(X), atol=1e-5)
    assert np.abs(each[1] - each[0]).max() > 0.01
    np.testing.assert_allclose(each.mean(axis=0), together.predict_proba(X), atol=1e-12)
    assert [len(own) for own in (together.coefs_, together.intercepts_, together.coefs_[0])] == [3, 3, 2]
    assert together.n_iter_ == len(together.loss_curve_) <= 20
    assert together.loss_ == together.loss_curve_[-1]
    if "early_stopping" in more:
        assert len(together.validation_scores_) == together.n_iter_
        assert 0 < together.best_validation_score_ <= 1
    together.save(tmp_path / "m.safetensors")
    np.testing.assert_allclose(
        mlpax.load(tmp_path / "m.safetensors").predict_proba(X), together.predict_proba(X), atol=1e-5
    )
    copy = pickle.loads(pickle.dumps(together))  # noqa: S301 - our own bytes
    assert copy.score(X, y) == together.score(X, y)
    assert clone(together).members == 3


def test_members_of_a_regression_and_of_two_classes():
    X = np.random.default_rng(0).normal(size=(80, 4))
    for loss in ("squared_error", "poisson"):
        model = MLPRegressor(loss, members=2, max_iter=30, random_state=0).fit(X, np.abs(X[:, 0]))
        assert model.predict(X).shape == (80,)
    two = MLPClassifier(members=2, max_iter=30, random_state=0).fit(X, X[:, 0] > 0)
    each = two.predict_proba(X, members=True)
    assert each.shape == (2, 80, 2)
    np.testing.assert_allclose(each.sum(axis=2), 1)
    np.testing.assert_allclose(each.mean(axis=0), two.predict_proba(X))


@pytest.mark.parametrize(("settings", "name"), [
    ({"solver": "lbfgs"}, "solver='lbfgs'"),
    ({"warm_start": True}, "warm_start=True"),
    ({"early_stopping": True, "scoring": "f1_macro"}, "scoring='f1_macro'"),
])  # fmt: skip
def test_what_members_cannot_be_combined_with(settings, name):
    X, y = X_IRIS, Y_IRIS
    with pytest.raises(ValueError, match=rf"members=4 cannot be combined with {name}; choose members=1"):
        MLPClassifier(members=4, **settings).fit(X, y)
    with pytest.raises(ValueError, match="members=4 cannot be combined with partial_fit"):
        MLPClassifier(members=4).partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match=r"The 'members' parameter of MLPClassifier must be an int in"):
        MLPClassifier(members=0).fit(X, y)


@pytest.mark.parametrize("backend", ["native", "xla"])
def test_all_members_diverge(backend):
    X = np.random.default_rng(0).normal(size=(64, 8))
    model = MLPRegressor(members=3, solver="sgd", learning_rate_init=1e20, backend=backend, max_iter=5)
    with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
        model.fit(X, X[:, 0])


@pytest.mark.parametrize("backend", ["native", "xla"])
def test_scores_of_members_are_those_of_what_is_kept(backend):
    """Without early stopping that are the last networks, whatever the rule of stopping watches."""
    X, y = X_IRIS[::2], Y_IRIS[::2]
    model = MLPClassifier(
        (5,), members=2, learning_rate_init=0.2, max_iter=30, random_state=0, backend=backend
    )
    model.fit(X, y, X_val=X_IRIS[1::2], y_val=Y_IRIS[1::2])
    assert model.validation_scores_[-1] == pytest.approx(model.score(X_IRIS[1::2], Y_IRIS[1::2]))


def test_members_that_are_left_out_leave_finite_figures(monkeypatch):
    drawn = fitting.Perceptron._other_members

    def one_too_large(*arguments):
        first, *others = drawn(*arguments)
        return [[(1e30 * W, b) for W, b in first], *others]

    monkeypatch.setattr(fitting.Perceptron, "_other_members", one_too_large)
    model = MLPRegressor(hidden_layer_sizes=(5,), members=4, random_state=0, max_iter=5)
    with pytest.warns(RuntimeWarning, match="1 of 4 members diverged; the others answer without them"):
        model.fit(X_IRIS, TARGET)
    assert len(model.coefs_) == len(model.intercepts_) == 3
    assert np.isfinite([model.best_loss_, *model.loss_curve_, *model.predict(X_IRIS)]).all()


def test_several_networks_cannot_go_on():
    model = MLPClassifier((5,), members=2, max_iter=3, random_state=0).fit(X_IRIS, Y_IRIS)
    model.set_params(members=1)
    with pytest.raises(ValueError, match="several networks were fitted, which cannot go on; call fit"):
        model.partial_fit(X_IRIS, Y_IRIS)
    with pytest.raises(ValueError, match="several networks were fitted, which cannot go on; call fit"):
        model.set_params(warm_start=True).fit(X_IRIS, Y_IRIS)
    assert model.set_params(warm_start=False).fit(X_IRIS, Y_IRIS).coefs_[0].shape == (4, 5)
