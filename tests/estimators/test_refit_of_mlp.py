"""`refit=True` of the perceptrons: a fit on all rows for the epochs found, as one asked for with max_iter."""

import numpy as np
import pytest
import scipy.sparse
from sklearn.exceptions import ConvergenceWarning

from mlpax import MLPClassifier, MLPRegressor

SETTINGS = {"hidden_layer_sizes": (6,), "random_state": 0, "n_iter_no_change": 4, "learning_rate_init": 0.02}


def rows(n=120):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 4)).astype(np.float32)
    return X, np.where(X[:, 0] + X[:, 1] ** 2 + 0.3 * rng.normal(size=n) > 0.7, "yes", "no")


def alone(kind, X, y, epochs, **settings):
    """Return a fit on all rows for so many epochs, which nothing stops before."""
    model = kind(**SETTINGS | {"n_iter_no_change": np.inf}, max_iter=epochs, **settings)
    with pytest.warns(ConvergenceWarning):
        return model.fit(X, y)


@pytest.mark.parametrize("backend", ["native", "xla"])
@pytest.mark.parametrize(
    "settings", [{}, {"solver": "sgd", "learning_rate": "cosine"}], ids=["adam", "cosine"]
)
def test_it_is_a_fit_on_all_rows_for_the_epochs_found(backend, settings):
    X, y = rows()
    settings = settings | {"backend": backend}
    first = MLPClassifier(**SETTINGS, early_stopping=True, **settings).fit(X, y)
    model = MLPClassifier(**SETTINGS, early_stopping=True, refit=True, **settings).fit(X, y)
    assert model.refit_epochs_ == int(np.argmax(first.validation_scores_)) + 1
    theirs = alone(MLPClassifier, X, y, model.refit_epochs_, **settings)
    for W, W_alone in zip(model.coefs_, theirs.coefs_, strict=True):
        np.testing.assert_allclose(W, W_alone, rtol=1e-5, atol=1e-6)
    for name in ("n_iter_", "validation_scores_", "best_validation_score_", "loss_curve_", "t_"):
        assert getattr(model, name) == getattr(first, name)


def test_each_member_is_fitted_for_its_own_epochs():
    X, y = rows()
    settings = {"members": 3, "backend": "native"}
    model = MLPClassifier(**SETTINGS, early_stopping=True, refit=True, **settings).fit(X, y)
    for k, epochs in enumerate(model.refit_epochs_):
        theirs = alone(MLPClassifier, X, y, epochs, **settings)
        np.testing.assert_allclose(model.coefs_[k][0], theirs.coefs_[k][0], rtol=1e-4, atol=1e-5)


def test_validation_rows_of_the_caller_are_fitted_on():
    X, _ = rows()
    values = X[:, 0] * 2 + X[:, 1]
    model = MLPRegressor(**SETTINGS, early_stopping=True, refit=True)
    model.fit(scipy.sparse.csr_array(X[:90]), values[:90], X_val=X[90:], y_val=values[90:])
    theirs = alone(MLPRegressor, X, values, model.refit_epochs_)
    np.testing.assert_allclose(model.coefs_[0], theirs.coefs_[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"early_stopping": False}, "set early_stopping=True"),
        ({"solver": "lbfgs"}, "set early_stopping=True"),
        ({"warm_start": True}, "warm_start=True goes on; choose one"),
        ({"learning_rate": "adaptive", "solver": "sgd"}, "'adaptive' goes by validation rows"),
    ],
)
def test_what_it_cannot_be_combined_with(settings, message):
    X, y = rows()
    with pytest.raises(ValueError, match=message):
        MLPClassifier(**SETTINGS | {"early_stopping": True, "refit": True} | settings).fit(X, y)
