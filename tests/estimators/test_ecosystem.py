"""MLPClassifier and MLPRegressor where people use them: in searches, pipelines, wrappers, workers."""

import os
import pickle
import subprocess
import sys

import numpy as np
import optax
import pytest
import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.callback import ProgressBar
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_iris
from sklearn.ensemble import VotingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - makes the next line work
from sklearn.inspection import permutation_importance
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    StratifiedShuffleSplit,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import compute_sample_weight

import mlpax
from mlpax import MLPClassifier, MLPRegressor

# Eight epochs do not converge, and are not meant to.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = load_iris(return_X_y=True)
X = StandardScaler().fit_transform(X)
NAMES = np.array(["setosa", "versicolor", "virginica"])
COLUMNS = ["sepal length", "sepal width", "petal length", "petal width"]
RATES = {"learning_rate_init": [1e-5, 0.05]}
FOLDS = StratifiedShuffleSplit(
    2, test_size=0.2, random_state=0
)  # 120 rows to train on: three minibatches, too


def classifier(**settings):
    """Alike in nearly all tests, with three minibatches an epoch, so that they share a compiled program."""
    defaults = {"hidden_layer_sizes": (8,), "batch_size": 50, "max_iter": 8, "learning_rate_init": 0.05}
    return MLPClassifier(**({"random_state": 0} | defaults | settings))


@pytest.fixture(scope="module")
def fitted():
    return classifier().fit(X, y)


def same(a, b):
    """Whether two networks are the same, to the bit."""
    pairs = zip((*a.coefs_, *a.intercepts_), (*b.coefs_, *b.intercepts_), strict=True)
    return all(np.array_equal(p, q) for p, q in pairs)


# ---- searches


@pytest.mark.parametrize("jobs", [1, 2])
def test_grid_search_in_this_process_and_in_others(jobs):
    search = GridSearchCV(classifier(), RATES, cv=FOLDS, n_jobs=jobs).fit(X, y)
    assert search.best_params_ == {"learning_rate_init": 0.05}
    assert search.best_score_ > 0.8
    assert same(search.best_estimator_, classifier().fit(X, y))


def test_halving_search():
    search = HalvingGridSearchCV(
        classifier(), RATES, cv=FOLDS, factor=2, resource="max_iter", max_resources=8, min_resources=4
    )
    assert search.fit(X, y).best_params_ == {"learning_rate_init": 0.05, "max_iter": 8}


def test_cross_validation_of_a_pipeline():
    pipe = make_pipeline(StandardScaler(), classifier())
    assert cross_val_score(pipe, X * 1000, y, cv=FOLDS).mean() > 0.8
    search = GridSearchCV(pipe, {"mlpclassifier__learning_rate_init": [1e-5, 0.05]}, cv=FOLDS).fit(X, y)
    assert search.best_params_ == {"mlpclassifier__learning_rate_init": 0.05}


def test_workers_take_an_optax_optimizer():
    model = classifier(optimizer=optax.sgd(0.2))
    results = cross_validate(model, X, y, cv=FOLDS, n_jobs=2, return_estimator=True)
    assert results["test_score"].mean() > 0.8
    assert all(hasattr(network, "coefs_") for network in results["estimator"])  # which came back


def test_optuna():
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))

    def objective(trial):
        rate = trial.suggest_float("learning_rate_init", 1e-5, 0.1, log=True)
        return cross_val_score(classifier(learning_rate_init=rate), X, y, cv=FOLDS).mean()

    study.optimize(objective, n_trials=3)
    assert 0 <= study.best_value <= 1


# ---- wrappers


def test_voting(fitted):
    vote = VotingClassifier([("a", classifier()), ("b", classifier(alpha=1.0))], voting="soft").fit(X, y)
    assert vote.score(X, y) > 0.8
    np.testing.assert_array_equal(vote.named_estimators_["a"].predict_proba(X), fitted.predict_proba(X))


def test_calibration():
    model = CalibratedClassifierCV(classifier(), cv=FOLDS).fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)
    assert model.score(X, y) > 0.8


def test_permutation_importance():
    signal = np.hstack([X[:, 2:3], np.random.default_rng(0).normal(size=(150, 3))])
    model = classifier().fit(signal, y)
    importances = permutation_importance(model, signal, y, n_repeats=3, random_state=0).importances_mean
    assert importances.argmax() == 0


def test_regressor_in_a_pipeline_with_a_transformed_target():
    model = MLPRegressor(hidden_layer_sizes=(8,), max_iter=60, learning_rate_init=0.05, random_state=0)
    pipe = make_pipeline(StandardScaler(), TransformedTargetRegressor(model, transformer=StandardScaler()))
    Y = 1000 * X[:, 2:]  # two outputs
    pipe.fit(X, Y)
    assert pipe.predict(X).shape == (150, 2)
    assert pipe.score(X, Y) > 0.9


# ---- sample weights and their routing


def test_rows_of_weight_0_teach_nothing():
    weight = np.r_[np.ones(100), np.zeros(50)]
    other_y = np.r_[y[:100], np.roll(y[100:], 7) % 2]
    other_X = np.r_[X[:100], 9 - X[100:]]
    one = classifier(n_iter_no_change=99).fit(X, y, sample_weight=weight)
    other = classifier(n_iter_no_change=99).fit(
        other_X, np.where(np.arange(150) == 149, 2, other_y), sample_weight=weight
    )
    assert same(one, other)
    assert not same(one, classifier(n_iter_no_change=99).fit(X, y))


@pytest.mark.parametrize("class_weight", ["balanced", {0: 1, 1: 5, 2: 0.5}])
def test_class_weights_are_weights_of_their_rows(class_weight):
    rows = np.r_[:60, 100:150]  # 50, 10 and 50 of the classes
    weight = compute_sample_weight(class_weight, y[rows])
    model = classifier(class_weight=class_weight).fit(X[rows], y[rows])
    assert same(model, classifier().fit(X[rows], y[rows], sample_weight=weight))
    assert not same(model, classifier().fit(X[rows], y[rows]))
    both = classifier(class_weight=class_weight).fit(X[rows], y[rows], sample_weight=weight)
    assert same(both, classifier().fit(X[rows], y[rows], sample_weight=weight**2))


def test_balanced_classes_raise_the_recall_of_the_rare_one():
    rows = np.r_[:105]  # 50, 50 and 5 of the classes
    plain, balanced = (classifier(class_weight=w).fit(X[rows], y[rows]) for w in (None, "balanced"))
    rare = X[105:]
    assert np.mean(balanced.predict(rare) == 2) > np.mean(plain.predict(rare) == 2)


def test_metadata_routing():
    weight = np.where(y == 1, 4.0, 1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        pipe = make_pipeline(
            StandardScaler().set_fit_request(sample_weight=False),
            classifier().set_fit_request(sample_weight=True).set_score_request(sample_weight=True),
        )
        routed = pipe.fit(X, y, sample_weight=weight)
        scores = cross_val_score(pipe, X, y, cv=FOLDS, params={"sample_weight": weight})
    assert same(routed[-1], classifier().fit(routed[0].transform(X), y, sample_weight=weight))
    assert scores.mean() > 0.7


def test_validation_rows_through_a_pipeline():
    with sklearn.config_context(enable_metadata_routing=True):
        pipe = make_pipeline(
            StandardScaler(), classifier().set_fit_request(X_val=True, y_val=True), transform_input=["X_val"]
        )
        rows = np.arange(150) % 4 > 0
        pipe.fit(1000 * X[rows], y[rows], X_val=1000 * X[~rows], y_val=y[~rows])
    loss = pipe[-1].validation_loss_curve_[-1]
    assert loss == pytest.approx(log_loss(y[~rows], pipe.predict_proba(1000 * X[~rows])), rel=1e-4)


# ---- tables, names, labels


def test_pandas_frame(fitted):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=COLUMNS)
    model = classifier().fit(frame, y)
    assert model.feature_names_in_.tolist() == COLUMNS
    assert same(model, fitted)
    np.testing.assert_array_equal(model.predict(frame), fitted.predict(X))
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[COLUMNS[::-1]])


def test_polars_frame(fitted):
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(X, schema=COLUMNS)
    model = classifier().fit(frame, polars.Series(y))
    assert model.feature_names_in_.tolist() == COLUMNS
    assert same(model, fitted)


def test_pyarrow_table(fitted):
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({name: X[:, j] for j, name in enumerate(COLUMNS)})
    model = classifier().fit(table, y)
    assert same(model, fitted)
    np.testing.assert_array_equal(model.predict(table), fitted.predict(X))


def test_set_output_gives_the_network_names():
    pd = pytest.importorskip("pandas")
    pipe = make_pipeline(StandardScaler(), classifier()).set_output(transform="pandas")
    pipe.fit(pd.DataFrame(X, columns=COLUMNS), y)
    assert pipe[-1].feature_names_in_.tolist() == COLUMNS


@pytest.mark.parametrize("kind", [str, object])
def test_string_labels(kind, fitted):
    model = classifier().fit(X, NAMES.astype(kind)[y])
    assert model.classes_.tolist() == NAMES.tolist()
    np.testing.assert_array_equal(model.predict(X), NAMES[fitted.predict(X)])


def test_several_labels_a_row(tmp_path):
    Y = np.stack([y == 0, y > 0, X[:, 0] > 0], axis=1).astype(int)
    model = classifier(max_iter=40).fit(X, Y)
    assert model.out_activation_ == "logistic"
    assert model.predict_proba(X).shape == (150, 3)
    assert model.score(X, Y) > 0.7  # all three of a row
    with pytest.raises(mlpax.InputError, match="one label a row"):
        model.save(tmp_path / "model.safetensors")


# ---- copies and files


def test_clone_has_the_parameters_and_no_network(fitted):
    copy = clone(classifier(dropout=0.1, activation=["mish"], class_weight={0: 2}))
    assert not hasattr(copy, "coefs_")
    assert copy.get_params()["dropout"] == 0.1
    assert same(clone(fitted).fit(X, y), fitted)


def test_pickle(fitted):
    copy = pickle.loads(pickle.dumps(fitted))  # noqa: S301 - our own bytes
    np.testing.assert_array_equal(copy.predict_proba(X), fitted.predict_proba(X))
    assert copy.loss_curve_ == fitted.loss_curve_


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_partial_fit_goes_on_after_unpickling(solver):
    model = classifier(solver=solver)
    for _ in range(2):
        model.partial_fit(X, y, classes=[0, 1, 2])
    copy = pickle.loads(pickle.dumps(model))  # noqa: S301 - our own bytes
    for one in (model, copy):
        one.partial_fit(X, y)
    assert same(copy, model)
    assert copy.t_ == 3 * 150
    assert copy.loss_curve_[2] < copy.loss_curve_[0]


def test_saved_and_loaded(fitted, tmp_path):
    model = classifier().fit(X, NAMES[y])
    model.save(tmp_path / "iris.safetensors")
    loaded = mlpax.load(tmp_path / "iris.safetensors")
    np.testing.assert_allclose(loaded.predict_proba(X), model.predict_proba(X), atol=1e-6)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


def test_html_for_notebooks(fitted):
    html = fitted._repr_html_()
    assert "MLPClassifier" in html
    assert "learning_rate_init" in html


# ---- validation and callbacks


def test_stops_by_a_scorer_and_keeps_the_best():
    rows, target = np.arange(150) % 4 > 0, (y == 1).astype(int)
    model = classifier(early_stopping=True, scoring="roc_auc", max_iter=4)
    model.fit(X[rows], target[rows], X_val=X[~rows], y_val=target[~rows])
    assert len(model.validation_scores_) == len(model.validation_loss_curve_) == 4
    assert model.best_validation_score_ == pytest.approx(max(model.validation_scores_))
    kept = roc_auc_score(target[~rows], model.predict_proba(X[~rows])[:, 1])
    assert model.best_validation_score_ == pytest.approx(kept)


class Recorder:
    """What a callback of scikit-learn's hears; at an epoch's end it answers by `act`."""

    def __init__(self, act=None):
        self.act, self.said, self.losses = act, [], []

    def setup(self, estimator, context):
        self.said.append("setup")

    def teardown(self, estimator, context):
        self.said.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.said.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        self.said.append(f"end {context.task_name}")
        if context.task_name == "epoch":
            self.losses.append(log_loss(y, fitted_estimator.predict_proba(X)))
            return self.act and self.act(len(self.losses))
        return None


def test_callback_hears_of_every_epoch(fitted):
    recorder = Recorder()
    model = classifier().set_callbacks(recorder).fit(X, y)
    epochs = ["begin epoch", "end epoch"] * 8
    assert recorder.said == ["setup", "begin fit", *epochs, "end fit", "teardown"]
    assert recorder.losses[-1] == pytest.approx(log_loss(y, model.predict_proba(X)))
    assert recorder.losses[-1] < recorder.losses[0]
    np.testing.assert_allclose(model.coefs_[0], fitted.coefs_[0], rtol=1e-5)


def test_callback_stops_the_fit():
    model = classifier().set_callbacks(Recorder(lambda epoch: epoch == 3)).fit(X, y)
    assert model.n_iter_ == len(model.loss_curve_) == 3


def test_ctrl_c_keeps_the_network():
    def interrupt(epoch):
        if epoch == 3:
            raise KeyboardInterrupt

    recorder = Recorder(interrupt)
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        model = classifier().set_callbacks(recorder).fit(X, y)
    assert model.n_iter_ == len(model.loss_curve_) == 3
    assert log_loss(y, model.predict_proba(X)) == pytest.approx(recorder.losses[-1])
    assert recorder.said[-1] == "teardown"


def test_progress_bar(capsys):
    classifier().set_callbacks(ProgressBar()).fit(X, y)
    assert "MLPClassifier - fit" in capsys.readouterr().out


def test_progress_bar_of_a_search(capsys):
    GridSearchCV(classifier(), RATES, cv=FOLDS).set_callbacks(ProgressBar(max_propagation_depth=None)).fit(
        X, y
    )
    assert "MLPClassifier" in capsys.readouterr().out


FIT = """
import jax
hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name.endswith("/cache_hits")))
import mlpax, numpy as np
X = np.arange(40.0).reshape(10, 4) / 40
model = mlpax.MLPClassifier((3,), max_iter=5, random_state=0).fit(X, X[:, 0] > 0.5)
print(sum(hits), model.loss_)
"""


@pytest.mark.slow
def test_jax_keeps_the_program_for_the_next_process(tmp_path):
    kept = {
        "MLPAX_BACKEND": "xla",
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    command = [sys.executable, "-W", "ignore", "-c", FIT]
    first, second = (subprocess.check_output(command, text=True, env=os.environ | kept) for _ in range(2))
    assert first.split()[0] == "0"
    assert second.split()[0] == "1"
    assert first.split()[1] == second.split()[1]
