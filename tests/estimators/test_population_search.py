"""PopulationSearchCV beside GridSearchCV over the same estimators."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlpax import MLPClassifier, MLPRegressor, PopulationSearchCV

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
GRID = {"alpha": [1e-4, 1e-1], "learning_rate_init": [0.003, 0.02]}
X, y = load_iris(return_X_y=True)


def network(**settings):
    return MLPClassifier(**{"hidden_layer_sizes": (8,), "max_iter": 25, "random_state": 3} | settings)


def compare(estimator, grid, X=X, y=y, fit=(), **settings):
    """Both searches; the same scores, to the bit on the native backend."""
    ours = PopulationSearchCV(estimator, grid, **settings).fit(X, y, **dict(fit))
    theirs = GridSearchCV(estimator, grid, **settings).fit(X, y, **dict(fit))
    assert ours.cv_results_.keys() == theirs.cv_results_.keys()
    for name, values in theirs.cv_results_.items():
        if "time" not in name and name != "params":
            np.testing.assert_allclose(
                np.ma.filled(ours.cv_results_[name].astype(float), -1) if values.dtype != object else 0,
                np.ma.filled(values.astype(float), -1) if values.dtype != object else 0,
                rtol=1e-6, err_msg=name,
            )  # fmt: skip
    assert str(ours.cv_results_["params"]) == str(theirs.cv_results_["params"])
    for name in ("best_params_", "best_index_", "multimetric_", "n_splits_"):
        assert str(getattr(ours, name)) == str(getattr(theirs, name))
    return ours, theirs


@pytest.mark.parametrize("settings", [
    {}, {"solver": "sgd", "learning_rate": "adaptive"}, {"early_stopping": True, "n_iter_no_change": 4},
    {"dropout": 0.2}, {"members": 2}, {"batch_size": 100}, {"solver": "lbfgs"}, {"dtype": "float64"},
    {"shuffle": False}, {"learning_rate": "one_cycle"}, {"backend": "xla"},
], ids=str)  # fmt: skip
def test_the_scores_are_those_of_the_grid_search(settings):
    ours, theirs = compare(network(**settings), GRID, cv=3)
    assert ours.best_score_ == pytest.approx(theirs.best_score_)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-6)


def test_what_shapes_a_network_may_be_searched():
    grid = [
        {"hidden_layer_sizes": [(4,), (8, 4)], "alpha": [1e-3, 1]},
        {"activation": ["tanh"], "batch_size": [20, 100]},
    ]
    compare(network(), grid, cv=KFold(3, shuffle=True, random_state=0))


def test_a_regression_with_weights_and_several_scores():
    X, y = load_diabetes(return_X_y=True)
    regressor = MLPRegressor(hidden_layer_sizes=(8,), max_iter=15, random_state=0, learning_rate_init=0.02)
    weight = np.random.default_rng(0).uniform(size=len(y))
    compare(
        regressor, {"alpha": [0.1, 10.0]}, X, y, {"sample_weight": weight}.items(), cv=3,
        scoring=["r2", "neg_mean_absolute_error"], refit="r2", return_train_score=True,
    )  # fmt: skip


def test_a_pipeline_whose_other_steps_are_searched_too():
    grid = {"standardscaler__with_mean": [True, False], "mlpclassifier__alpha": [1e-4, 1.0]}
    ours, theirs = compare(make_pipeline(StandardScaler(), network()), grid, cv=3)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-6)
    assert "mean_" in vars(ours.best_estimator_[0])


def test_groups_and_a_callable_refit():
    groups = np.arange(len(y)) % 5
    compare(
        network(), GRID, fit={"groups": groups}.items(), cv=GroupKFold(5),
        refit=lambda results: int(np.argmin(results["mean_test_score"])),
    )  # fmt: skip


def test_random_combinations():
    from scipy.stats import loguniform

    space = {"alpha": loguniform(1e-5, 1), "hidden_layer_sizes": [(4,), (8,)]}
    ours = PopulationSearchCV(network(), space, n_iter=4, random_state=1, cv=3).fit(X, y)
    theirs = RandomizedSearchCV(network(), space, n_iter=4, random_state=1, cv=3).fit(X, y)
    assert ours.best_params_ == theirs.best_params_
    np.testing.assert_allclose(ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"])


@pytest.mark.filterwarnings("ignore:One or more of the test scores")
def test_fits_that_fail_are_counted_as_scikit_learn_counts_them():
    grid = {"learning_rate_init": [0.01, 1e30], "alpha": [1e-4, -1.0]}
    with pytest.warns(FitFailedWarning, match="8 fits failed out of a total of 12|9 fits failed"):
        ours = PopulationSearchCV(network(), grid, cv=3).fit(X, y)
    assert np.isfinite(ours.cv_results_["mean_test_score"]).tolist() == [True, False, False, False]
    with pytest.raises(ValueError, match="alpha"):
        PopulationSearchCV(network(), {"alpha": [-1.0]}, cv=3, error_score="raise").fit(X, y)
    with pytest.raises(ValueError, match="All the 3 fits failed"):
        PopulationSearchCV(network(), {"alpha": [-1.0]}, cv=3).fit(X, y)


def test_another_estimator_is_refused():
    with pytest.raises(TypeError, match="LogisticRegression; GridSearchCV takes any"):
        PopulationSearchCV(LogisticRegression(), {"C": [1]}).fit(X, y)


def test_one_warning_tells_how_many_have_not_converged():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        PopulationSearchCV(network(), GRID, cv=3, refit=False).fit(X, y)
    said = [str(w.message) for w in caught if issubclass(w.category, ConvergenceWarning)]
    assert said == ["12 of 12 fits reached the maximum of iterations and have not converged yet"]


def test_without_a_random_state_fits_differ():
    search = PopulationSearchCV(network(random_state=None), {"alpha": [1e-4, 1e-4]}, cv=3, refit=False).fit(
        X, y
    )
    losses = [search.cv_results_[f"split{k}_test_score"] for k in range(3)]
    assert not all(one == other for one, other in losses)


def test_the_order_of_the_rows_may_be_searched():
    compare(network(batch_size=20, learning_rate_init=0.05), {"shuffle": [False, True]}, cv=3)


def test_a_scorer_of_several_scores_and_a_bad_refit():
    def scoring(estimator, X, y):
        return {"acc": estimator.score(X, y)}

    compare(network(), GRID, cv=3, scoring=scoring, refit="acc")
    with pytest.raises(ValueError, match="refit must be set to a scorer key"):
        PopulationSearchCV(network(), GRID, cv=3, scoring=scoring).fit(X, y)
    with pytest.raises(ValueError, match="refit"):
        PopulationSearchCV(network(), GRID, cv=3, refit=3).fit(X, y)
    with pytest.raises(ValueError, match="n_iter"):
        PopulationSearchCV(network(), GRID, cv=3, n_iter=0).fit(X, y)


def test_a_grid_may_replace_the_network():
    pipe = make_pipeline(StandardScaler(), network())
    grid = {"mlpclassifier": [network(), LogisticRegression()]}
    ours, theirs = compare(pipe, grid, cv=3)
    assert type(ours.best_estimator_[-1]) is type(theirs.best_estimator_[-1])
    assert np.isfinite(ours.cv_results_["mean_test_score"]).all()


def test_steps_before_the_network_are_fitted_once_a_fold():
    fitted = []

    class Counting(StandardScaler):
        def fit(self, X, y=None, sample_weight=None):
            fitted.append(len(X))
            return super().fit(X, y)

    grid = {"mlpclassifier__hidden_layer_sizes": [(4,), (8,)], "mlpclassifier__alpha": [1e-4, 1.0]}
    PopulationSearchCV(make_pipeline(Counting(), network()), grid, cv=3, refit=False, n_jobs=2).fit(X, y)
    assert fitted == [100] * 3
