"""A grid search whose fits are trained side by side."""

import copy
import time
import warnings
from collections.abc import Generator, Hashable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from numbers import Integral
from traceback import format_exc
from typing import Any, ClassVar, Self

import numpy as np
from sklearn import base, model_selection
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import _search, _validation
from sklearn.pipeline import Pipeline
from sklearn.utils import indexable, metaestimators, validation
from sklearn.utils._param_validation import Interval  # pyright: ignore[reportPrivateUsage]

from mlpax.engine.rows import Data
from mlpax.engine.search import Candidate, Outcome, Race
from mlpax.engine.state import State, diverged
from mlpax.estimators.fitting import Perceptron, Ready

__all__ = ["PopulationSearchCV"]

# Parameters that are numbers of the training: fits that differ in these alone share all else.
NUMBERS = frozenset({
    "alpha", "learning_rate_init", "momentum", "beta_1", "beta_2", "epsilon", "power_t", "tol",
    "n_iter_no_change", "weight_decay", "label_smoothing",
})  # fmt: skip

# scikit-learn has no types.
Searching: Any = _search.BaseSearchCV  # pyright: ignore[reportPrivateUsage]
clone: Any = base.clone
splitting: Any = model_selection
scoring: Any = _validation
rows_at: Any = metaestimators._safe_split  # pyright: ignore[reportPrivateUsage]
params_at: Any = validation._check_method_params  # pyright: ignore[reportPrivateUsage]


class PopulationSearchCV(Searching):
    """Search over the parameters of an `MLPClassifier` or `MLPRegressor`, all fits side by side.

    It has the parameters, attributes and scores of `sklearn.model_selection.GridSearchCV`, in a fraction of
    its time. On a CPU each thread trains one network; on a GPU those of the same layers are one program.
    Fits that cannot be trained with others, such as those of lbfgs, are trained one after another.

    Parameters
    ----------
    estimator : MLPClassifier, MLPRegressor or Pipeline
        One of mlpax's own; a pipeline ends with one.
    param_grid : dict or list of dict
        Values of each parameter to try, as in `GridSearchCV`. With `n_iter` they may be distributions.
    n_iter : int, optional
        Try so many random combinations instead of all, as `RandomizedSearchCV` does.
    random_state : int or RandomState, optional
        Of the random combinations.
    n_jobs : int, optional
        It is taken, and has no effect: the fits share all cores.
    scoring, refit, cv, verbose, error_score, return_train_score
        As of `GridSearchCV`.

    Attributes
    ----------
    best_estimator_, best_params_, best_score_, best_index_, cv_results_, scorer_, n_splits_, \
refit_time_, multimetric_, classes_, n_features_in_, feature_names_in_
        As of `GridSearchCV`. In `cv_results_` the time of a fit is its share of that of all.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from mlpax import MLPClassifier, PopulationSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> grid = {"alpha": [1e-4, 1e-2], "learning_rate_init": [0.01, 0.03]}
    >>> search = PopulationSearchCV(MLPClassifier((32,), max_iter=60, random_state=0), grid, cv=3).fit(X, y)
    >>> search.best_params_
    {'alpha': 0.0001, 'learning_rate_init': 0.03}
    """

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        n_iter: int | None = None,
        random_state: Any = None,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        error_score: Any = np.nan,
        return_train_score: bool = False,
    ):
        super().__init__(
            estimator, scoring=scoring, n_jobs=n_jobs, refit=refit, cv=cv, verbose=verbose,
            error_score=error_score, return_train_score=return_train_score,
        )  # fmt: skip
        self.param_grid = param_grid
        self.n_iter = n_iter
        self.random_state = random_state

    _parameter_constraints: ClassVar[dict[str, object]] = {
        **Searching._parameter_constraints,
        "param_grid": [dict, list, tuple],
        "n_iter": [Interval(Integral, 1, None, closed="left"), None],
        "random_state": ["random_state"],
    }

    @base._fit_context(prefer_skip_nested_validation=False)  # pyright: ignore[reportPrivateUsage]
    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Fit every combination on every fold, and the best on all rows.

        Parameters
        ----------
        X, y
            As of the estimator's `fit`.
        **params
            Of the estimator's `fit`, such as `sample_weight`, which is split with the rows; and `groups`
            for `cv`.
        """
        _check(self.estimator)
        scorers, metric = self._get_scorers()
        X, y = indexable(X, y)
        routed = self._get_routed_params_for_fit(params_at(X, params=params))
        cv = splitting.check_cv(self.cv, y, classifier=base.is_classifier(self.estimator))
        splits = [*cv.split(X, y, **routed.splitter.split)]
        if self.n_iter is None:
            candidates = [*splitting.ParameterGrid(self.param_grid)]
        else:
            candidates = [
                *splitting.ParameterSampler(self.param_grid, self.n_iter, random_state=self.random_state)
            ]
        self.n_splits_ = len(splits)
        if self.verbose > 0:
            fits = len(candidates) * len(splits)
            print(
                f"Fitting {len(splits)} folds for each of {len(candidates)} candidates, totalling {fits} fits"
            )
        fits = _Fits(self.estimator, X, y, splits, routed.estimator.fit, self.error_score == "raise")
        params = routed.scorer.score
        found = [self._scored(fit, X, y, scorers, params) for fit in fits.of(candidates)]
        if not found:
            raise ValueError("No fits were performed; give at least one fold and one value of each parameter")
        scoring._warn_or_raise_about_fit_failures(found, self.error_score)
        if callable(self.scoring):
            scoring._insert_error_scores(found, self.error_score)
        self.cv_results_ = self._format_results(candidates, len(splits), found)
        self.multimetric_ = isinstance(found[0]["test_scores"], dict)
        if callable(self.scoring) and self.multimetric_:
            self._check_refit_for_multimetric(found[0]["test_scores"])
            metric = self.refit
        if self.refit or not self.multimetric_:
            self.best_index_ = self._select_best_index(self.refit, metric, self.cv_results_)
            self.best_params_ = candidates[self.best_index_]
            if not callable(self.refit):
                self.best_score_ = self.cv_results_[f"mean_test_{metric}"][self.best_index_]
        if self.refit:
            self.best_estimator_ = clone(self.estimator).set_params(**clone(self.best_params_, safe=False))
            started = time.time()
            self.best_estimator_.fit(X, y, **routed.estimator.fit)
            self.refit_time_ = time.time() - started
            with suppress(AttributeError):
                self.feature_names_in_ = self.best_estimator_.feature_names_in_
        self.scorer_ = getattr(scorers, "_scorers", scorers)
        return self

    def _scored(self, fit: "_Fit", X: Any, y: Any, scorers: Any, params: dict[str, Any]) -> dict[str, Any]:
        """Return the scores of a fit, as scikit-learn's function of this purpose does."""
        found: dict[str, Any] = {"fit_error": fit.error, "fit_time": fit.seconds, "score_time": 0.0}
        names = getattr(scorers, "_scorers", None)
        missing = self.error_score if names is None else dict.fromkeys(names, self.error_score)
        for part in ("test", "train") if self.return_train_score else ("test",):
            found[f"{part}_scores"] = missing
            if fit.error is None:
                started, numbers = time.time(), fit.test if part == "test" else fit.train
                rows = rows_at(fit.estimator, X, y, numbers, fit.train)
                own = params_at(X, params=params, indices=numbers)
                found[f"{part}_scores"] = scoring._score(fit.estimator, *rows, scorers, own, self.error_score)
                found["score_time"] += (time.time() - started) * (part == "test")
        return found


def _last(estimator: Any) -> Any:
    """Return the network: the estimator itself, or a pipeline's last step."""
    return estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator


def _check(estimator: Any) -> None:
    if not isinstance(_last(estimator), Perceptron):
        raise TypeError(
            f"PopulationSearchCV searches MLPClassifier, MLPRegressor or a Pipeline that ends with one, not"
            f" {type(_last(estimator)).__name__}; GridSearchCV takes any estimator"
        )


@dataclass
class _Fit:
    """One combination of parameters on one fold."""

    estimator: Any  # fitted, but for the network
    network: Any  # its last step, or the estimator itself
    train: np.ndarray  # numbers of rows
    test: np.ndarray
    seconds: float = 0.0
    error: str | None = None  # the traceback
    candidate: Candidate | None = None  # if it is trained with others

    @contextmanager
    def clock(self, raises: bool) -> Generator[None]:
        """Add to the seconds, and keep an error unless it shall be raised."""
        started = time.time()
        try:
            yield
        except Exception:
            if raises:
                raise
            self.error = format_exc()
        finally:
            self.seconds += time.time() - started


class _Fits:
    """All fits of a search: begun one after another, trained side by side."""

    def __init__(
        self, estimator: Any, X: Any, y: Any, splits: list[Any], params: dict[str, Any], raises: bool
    ):
        self.estimator, self.X, self.y, self.splits, self.params = estimator, X, y, splits, params
        self.raises = raises
        self.prefix = f"{estimator.steps[-1][0]}__" if isinstance(estimator, Pipeline) else ""
        self.begun: dict[Hashable, _Fit] = {}  # the first of those that differ in `NUMBERS` alone
        self.inputs: dict[Hashable, tuple[Any, Any]] = {}  # fitted steps of a pipeline, and their answers
        self.placed: dict[Hashable, list[Data]] = {}

    def of(self, candidates: list[dict[str, Any]]) -> list[_Fit]:
        """Return the fits of all combinations, each on all folds."""
        fits = [self._begun(own, fold) for own in candidates for fold in range(len(self.splits))]
        joined = [fit for fit in fits if fit.candidate]
        race = Race([fit.candidate for fit in joined if fit.candidate])
        for _ in race.run():
            pass
        outcomes = race.outcomes
        for fit, outcome in zip(joined, outcomes, strict=True):
            self._end(fit, outcome)
        short = sum(len(o.curve) == fit.network.max_iter for fit, o in zip(joined, outcomes, strict=True))
        if short:
            warnings.warn(
                f"{short} of {len(fits)} fits reached the maximum of iterations and have not converged yet",
                ConvergenceWarning,
                stacklevel=3,
            )
        return fits

    def _begun(self, parameters: dict[str, Any], fold: int) -> _Fit:
        """Return a fit that is ready to train, or, if it cannot be trained with others, the trained one."""
        numbers = {f"{self.prefix}{name}" for name in NUMBERS}
        others = {name: value for name, value in parameters.items() if name not in numbers}
        kind = fold, _key(others)
        train, test = self.splits[fold]
        if (first := self.begun.get(kind)) and first.candidate:
            fit = _Fit(copy.copy(first.estimator), copy.copy(first.network), train, test)
            with fit.clock(self.raises):
                self._follow(fit, first.candidate, parameters)
            return fit
        own = clone(self.estimator).set_params(**clone(parameters, safe=False))
        fit = _Fit(own, _last(own), train, test)
        with fit.clock(self.raises):
            self._begin(fit, fold, others)
        if getattr(fit.network, "random_state", None) is not None:  # else each fit draws anew
            self.begun.setdefault(kind, fit)
        return fit

    def _follow(self, fit: _Fit, first: Candidate, parameters: dict[str, Any]) -> None:
        """Make a fit ready that shares all but numbers with an earlier one."""
        own = {name.removeprefix(self.prefix): parameters[name] for name in parameters}
        fit.network.set_params(**{name: value for name, value in own.items() if name in NUMBERS})
        fit.network._validate_params()
        fit.network._start_curves()
        if self.prefix:
            fit.estimator.steps = [*fit.estimator.steps[:-1], (self.prefix[:-2], fit.network)]
        else:
            fit.estimator = fit.network
        how = first.training._replace(hyper=fit.network._hyper(False))
        fit.candidate = first._replace(training=how)

    def _begin(self, fit: _Fit, fold: int, others: dict[str, Any]) -> None:
        """Make a fit ready to train, or train it if it must be alone."""
        network, params = fit.network, params_at(self.X, params=self.params, indices=fit.train)
        X, y = rows_at(fit.estimator, self.X, self.y, fit.train)
        own = {name.removeprefix(self.prefix): value for name, value in params.items()}
        if (
            not _joins(network)
            or own.keys() - {"sample_weight"}
            or not all(name.startswith(self.prefix) for name in params)
        ):
            fit.estimator.fit(X, y, **params)
            return
        if self.prefix:
            before = {name: value for name, value in others.items() if not name.startswith(self.prefix)}
            X = self._through(fit, X, y, (fold, _key(before)))
        network._validate_params()
        network._check_settings(False, None)
        rows = network._begun(X, y, own.get("sample_weight"), False)
        ready: Ready = network._ready(rows, False, None)
        state: State = network._state(ready.training, False)
        data, valid = (self._shared(fold, data) for data in (ready.data, ready.valid))
        assert data is not None
        order = _key(network._random_state.get_state()) if network.random_state is not None else id(fit)
        fit.candidate = Candidate(lambda: state, data, valid, ready.training, order)

    def _through(self, fit: _Fit, X: Any, y: Any, kind: Hashable) -> Any:
        """Return what the network of a pipeline sees; steps of equal parameters are fitted once a fold."""
        if kind not in self.inputs:
            before = fit.estimator[:-1]
            self.inputs[kind] = before, before.fit_transform(X, y) if len(before) else X
        before, X = self.inputs[kind]
        fit.estimator.steps = [*before.steps, fit.estimator.steps[-1]]
        return X

    def _shared(self, fold: int, data: Data | None) -> Data | None:
        """Return rows that are equal to these and already here, or else these."""
        if data is None:
            return None
        here = self.placed.setdefault((fold, data.X.shape, data.y.shape), [])
        same = (o for o in here if all(np.array_equal(a, b) for a, b in zip(o, data, strict=True)))
        found = next(same, data)
        if found is data:
            here.append(data)
        return found

    def _end(self, fit: _Fit, outcome: Outcome) -> None:
        """Give the network what its training left, as `fit` does."""
        network, candidate, state = fit.network, fit.candidate, outcome.state
        assert candidate is not None
        assert state is not None
        fit.seconds += outcome.seconds
        with fit.clock(self.raises):
            if diverged(state).all():  # `fit` knows which of its epochs can be kept, and what to say
                params = params_at(self.X, params=self.params, indices=fit.train)
                X, y = rows_at(fit.estimator, self.X, self.y, fit.train)
                fit.estimator = clone(fit.estimator).fit(X, y, **params)
                return
            seen = len(outcome.curve) * int(candidate.data.n)
            network._record(candidate.training, state, outcome.curve, seen, network.coefs_[0].dtype)


def _key(value: Any) -> Hashable:
    """Return what equal values share: of numbers, names, arrays, estimators, and lists or dicts of them."""
    if isinstance(value, np.ndarray):
        return (
            value.shape,
            value.dtype.str,
            _key(value.tolist()) if value.dtype == object else value.tobytes(),
        )
    if isinstance(value, dict):
        return tuple((name, _key(one)) for name, one in sorted(value.items(), key=str))
    if isinstance(value, (list, tuple)):
        return type(value), *map(_key, value)
    if hasattr(value, "get_params") and not isinstance(value, type):
        return type(value), _key(value.get_params(deep=False))
    return (type(value), value) if isinstance(value, Hashable) else id(value)


def _joins(estimator: object) -> bool:
    """Return whether an estimator is a network that can be trained with others."""
    network: Any = estimator
    if not isinstance(estimator, Perceptron):  # a grid may replace a pipeline's last step
        return False
    scorer = network.early_stopping and network.scoring not in (None, "loss")
    alone = (
        network.solver == "lbfgs"
        or network.warm_start
        or network.refit
        or scorer
        or getattr(network, "_skl_callbacks", None)
    )
    return not alone and network.dtype == "float32" and network.device is None
