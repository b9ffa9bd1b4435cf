"""What MLPClassifier and MLPRegressor share: scikit-learn's checks around our solvers."""

import inspect
import operator
import warnings
from contextlib import ExitStack
from numbers import Integral
from pathlib import Path
from typing import Any

import jax
import numpy as np
import scipy.optimize
from sklearn.base import _fit_context, is_classifier  # pyright: ignore[reportPrivateUsage]
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import check_scoring
from sklearn.utils import check_random_state
from sklearn.utils.validation import (
    _check_sample_weight,  # pyright: ignore[reportPrivateUsage]
    check_is_fitted,
    validate_data,
)

from mlpax.engine.forward import forward
from mlpax.engine.xla.batches import bucket
from mlpax.engine.xla.network import each_layer
from mlpax.engine.xla.passes import is_small
from mlpax.engine.xla.solvers import (
    Knobs,
    Optimizer,
    Orders,
    Plan,
    Progress,
    advance,
    judge,
    layers_of,
    loss_and_gradient,
    start,
    unpack,
)
from mlpax.estimators.callbacks import Tell
from mlpax.estimators.rows import (
    NOT_FINITE,
    Rows,
    device_of,
    held,
    placed,
    split,
    validation_rows,
    weights_of,
)
from mlpax.estimators.trained import as_model

__all__ = ["SCHEDULES", "Perceptron"]

EPOCHS_A_CALL = 100  # of a small epoch
MANY_ORDERS = 2**22  # row numbers a call, 16 MB
SMALL_NETWORK = 2**14  # parameters
SCHEDULES = ("linear", "cosine", "one_cycle")  # of optax, for any solver

Callbacks: Any = CallbackSupportMixin  # scikit-learn has no types


class Perceptron(Callbacks):
    """To stand before scikit-learn's class among the bases."""

    def _hold(self, parameters: dict[str, Any]) -> None:
        """Keep the constructor's parameters, as its `locals()` name them."""
        for name, value in parameters.items():
            if name != "self":
                setattr(self, name, value)

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Any:
        """Fit to data X and targets y.

        Parameters
        ----------
        X : array or sparse matrix of shape (n_samples, n_features)
        y : array of shape (n_samples,) or (n_samples, n_outputs)
            Classes, 0/1 indicators of several labels, or values.
        sample_weight : array of shape (n_samples,), optional
            At least 0.
        X_val, y_val, sample_weight_val : arrays, optional
            Validation rows of your own; lbfgs takes none. With `early_stopping` they decide instead of a
            held-out share; in any case `validation_scores_` and `validation_loss_curve_` tell of them.

        Returns
        -------
        self
        """
        if (X_val is None) != (y_val is None) or (X_val is None and sample_weight_val is not None):
            raise ValueError(
                "X_val and y_val come together, and sample_weight_val with them; give both or none"
            )
        validation = None if X_val is None else (X_val, y_val, sample_weight_val)
        return self._fit(X, y, sample_weight=sample_weight, incremental=False, validation=validation)

    def _fit(
        self, X: Any, y: Any, sample_weight: Any = None, incremental: bool = False, validation: Any = None
    ) -> Any:
        hidden = self.hidden_layer_sizes
        hidden = [operator.index(n) for n in (hidden if hasattr(hidden, "__iter__") else [hidden])]
        if any(n <= 0 for n in hidden):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {hidden}.")
        each_layer(self._activation(), len(hidden))  # which refuses what does not fit
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        if self.learning_rate in SCHEDULES and incremental:
            raise ValueError(f"partial_fit does not support learning_rate={self.learning_rate!r}, which ends")
        if self.solver == "lbfgs" and validation is not None:
            raise ValueError("lbfgs stops by its gradient and takes no X_val; choose adam or sgd")
        given = y
        first = not hasattr(self, "coefs_") or (not self.warm_start and not incremental)
        X, y = self._validate_input(X, y, incremental, reset=first)
        weight = None if sample_weight is None else _check_sample_weight(sample_weight, X)
        weight = weights_of(given, weight, getattr(self, "class_weight", None), incremental)
        rows = Rows(X, y.reshape(len(y), -1), weight)
        if not first and rows.y.shape[1] != self.n_outputs_:
            raise ValueError(f"y has {rows.y.shape[1]} outputs, but the network has {self.n_outputs_}")
        self.n_outputs_ = rows.y.shape[1]
        self._random_state = check_random_state(self.random_state)
        if first:
            self._initialize(rows.y, [X.shape[1], *hidden, self.n_outputs_], X.dtype)
            if self.solver != "lbfgs":
                self._start_curves()
        elif getattr(self, "_watched", None) != (self.early_stopping, self.scoring):
            self._start_best()  # a warm start that watches something else
        with ExitStack() as contexts:
            if self._arithmetic is np.float64:
                contexts.enter_context(jax.enable_x64(True))
            if self.device is not None:
                contexts.enter_context(jax.default_device(device_of(self.device)))
            context = None if incremental else self._init_callback_context(max_subtasks=self.max_iter)
            tell = (
                Tell(self, context, X, given) if context and getattr(self, "_skl_callbacks", None) else None
            )
            if self.solver == "lbfgs":
                self._minimise(rows, tell)
            else:
                self._descend(rows, incremental, validation, tell)
            if tell:
                tell.end()
        if not all(np.isfinite(p).all() for p in (*self.coefs_, *self.intercepts_)):
            raise ValueError(NOT_FINITE)
        return self

    def _activation(self) -> str | tuple[str, ...]:
        return self.activation if isinstance(self.activation, str) else tuple(self.activation)

    @property
    def _arithmetic(self) -> Any:
        return np.float64 if self.dtype == "float64" or self.solver == "lbfgs" else np.float32

    @property
    def _rule(self) -> tuple[Any, str]:
        """The update rule and the dtype that its state is of."""
        return self.optimizer or self.solver, self._arithmetic.__name__

    def _plan(self, **more: Any) -> Plan:
        loss = (
            self.loss
            if not is_classifier(self)
            else ("cross_entropy" if self.out_activation_ == "softmax" else "binary_cross_entropy")
        )
        return Plan(loss=loss, activation=each_layer(self._activation(), len(self.coefs_) - 1), **more)

    def _knobs(self, incremental: bool) -> Knobs:
        # As Python's floats, since NumPy's would bring their dtype. A regressor smooths no labels.
        knobs: Any = {name: float(getattr(self, name, 0.0)) for name in Knobs._fields}
        max_iter = 1 if incremental else int(self.max_iter)
        return Knobs(**knobs | {"dropout": float(self.dropout) or None, "max_iter": max_iter})

    def _start_curves(self) -> None:
        """Empty curves, as scikit-learn starts them for its own solvers."""
        self.loss_curve_: list[float] = []
        self.validation_scores_ = [] if self.early_stopping else None
        self.validation_loss_curve_: list[float] | None = None
        self._start_best()

    def _start_best(self) -> None:
        """Nothing was measured yet by what is watched now."""
        self._no_improvement_count = 0
        self.best_validation_score_: Any = -np.inf if self.early_stopping else None
        self.best_loss_: Any = None if self.early_stopping else np.inf
        self._best_coefs = self._best_intercepts = None
        self._watched = self.early_stopping, self.scoring

    def _check_solver(self) -> bool:
        """Whether there is `partial_fit`."""
        if self.solver == "lbfgs":
            raise AttributeError(
                "partial_fit is only available for stochastic optimizers. lbfgs is not stochastic."
            )
        return True

    def _descend(self, rows: Rows, incremental: bool, validation: Any, tell: Tell | None) -> None:
        """Fit by minibatches, many small epochs to a call."""
        held_rows = None
        if validation is not None:
            held_rows = validation_rows(self, *validation)
        elif self.early_stopping:
            by_class = is_classifier(self) and self.n_outputs_ == 1  # as scikit-learn has it
            rows, held_rows = split(rows, self.validation_fraction, self._random_state, by_class)
        n, dtype = rows.X.shape[0], rows.X.dtype
        knobs = self._knobs(incremental)
        batch_size = self._batch_size(n)
        whole = batch_size == n  # a minibatch is all rows: padded to share a program, whatever their order
        watch, scorer = self._watch()
        size = sum(p.size for p in (*self.coefs_, *self.intercepts_))
        plan = self._plan(
            solver=self._rule[0],
            learning_rate=self._schedule(),
            nesterov=bool(self.nesterovs_momentum),
            batch_size=bucket(n, 8) if whole else batch_size,
            flat=size < SMALL_NETWORK,
            watch=watch,
        )
        data = placed(rows, plan.batch_size, plan.loss, self._arithmetic)
        valid = None if held_rows is None else held(held_rows, plan.loss, self._arithmetic)
        progress = self._progress(plan, knobs, incremental)
        many = EPOCHS_A_CALL * data.X.shape[0] > MANY_ORDERS
        alone = tell or scorer or many or not is_small(progress.params, n)
        epochs = 1 if alone else EPOCHS_A_CALL
        drawn = Orders(self._random_state, n, data.X.shape[0]) if self.shuffle and not whole else None
        curves: dict[str, list[float]] = {"loss": [], "score": [], "validation_loss": []}
        done = 0
        try:
            while done < knobs.max_iter:
                if tell:
                    tell.begin()
                orders = drawn.next(epochs, min(epochs, knobs.max_iter - done)) if drawn else None
                ahead, figures = advance(progress, data, valid, orders, knobs, plan=plan, epochs=epochs)
                ran = int(ahead.epoch) - done  # where Ctrl-C is heard, and `progress` is still what it was
                progress, done = ahead, done + ran
                figures = {name: np.asarray(v)[:ran].tolist() for name, v in jax.device_get(figures).items()}
                if scorer:
                    self._keep(progress.params, dtype)
                    figures["score"] = [self._scored(scorer, held_rows)]
                    progress = judge(plan, knobs, progress, figures["score"][0])
                if drawn:
                    drawn.rewind(ran)
                for name, values in figures.items():
                    curves[name] += values
                self._say(figures, done)
                if tell:
                    self._keep(progress.params, dtype)
                    if tell.done():
                        break
                if bool(progress.stopped):
                    if self.verbose:
                        what = "Validation score" if self.early_stopping else "Training loss"
                        long = f"for {self.n_iter_no_change} consecutive epochs"
                        print(f"{what} did not improve more than tol={self.tol:f} {long}. Stopping.")
                    break
                if done == self.max_iter and not incremental:
                    warnings.warn(
                        f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the"
                        " optimization hasn't converged yet.",
                        ConvergenceWarning,
                        stacklevel=4,
                    )
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=4)
        if whole and self.shuffle and not isinstance(self.random_state, Integral):
            for _ in range(done):  # a generator of the caller's goes on as if the rows had been shuffled
                self._random_state.shuffle(np.arange(n))
        self._record(jax.device_get(progress), curves, done * n, dtype)

    def _batch_size(self, rows: int) -> int:
        if self.batch_size == "auto":
            return min(200, rows)
        if self.batch_size > rows:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped",
                stacklevel=5,
            )
        return int(np.clip(self.batch_size, 1, rows))

    def _schedule(self) -> str:
        """The rate's course; scikit-learn's own are of its sgd alone."""
        ours = self.learning_rate in SCHEDULES or self.solver == "sgd"
        return self.learning_rate if ours else "constant"

    def _watch(self) -> tuple[str, Any]:
        """What stops the fit, and the scorer where it is one of scikit-learn's."""
        if not self.early_stopping:
            return "loss", None
        if self.scoring is None:
            return "score", None
        if self.scoring == "loss":
            return "validation_loss", None
        return "host", check_scoring(self, scoring=self.scoring)

    def _scored(self, scorer: Any, rows: Any) -> float:
        X, y, weight = rows
        y = self._label_binarizer.inverse_transform(y) if is_classifier(self) else y
        y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
        takes = inspect.signature(scorer).parameters
        options = {"sample_weight": weight} if weight is not None and "sample_weight" in takes else {}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="X does not have valid feature names")
            return float(scorer(self, X, y, **options))

    def _progress(self, plan: Plan, knobs: Knobs, incremental: bool) -> Progress:
        """Where the fit begins: at the start, or at the last `partial_fit`'s end."""
        dtype = self._arithmetic
        params = layers_of(self.coefs_, self.intercepts_, dtype)
        kept: Optimizer | None = getattr(self, "_optimizer", None) if incremental else None
        if kept is None:
            seed = self._random_state.randint(2**31) if knobs.dropout else 0
            key, step = np.array([0, seed], np.uint32), np.int32(0)
            kept = Optimizer(self.learning_rate_init, start(plan, params, knobs), key, step, self._rule)
        elif kept.of != self._rule:
            kept = kept._replace(state=start(plan, params, knobs))
        best = self.best_validation_score_ if self.early_stopping else self.best_loss_
        if plan.watch == "validation_loss":
            best = -best
        best_params = params  # until an epoch is better
        if self.early_stopping and self._best_coefs:
            best_params = layers_of(self._best_coefs, self._best_intercepts, dtype)
        return Progress(
            params=params,
            opt_state=kept.state,
            key=kept.key,
            step=kept.step,
            rate=dtype(kept.learning_rate),
            seen=dtype(self.t_),
            epoch=np.int32(0),
            best=dtype(best),
            best_params=best_params,
            waited=np.int32(self._no_improvement_count),
            stopped=np.False_,
        )

    def _keep(self, params: Any, dtype: Any) -> None:
        """The network as scikit-learn holds it: in the dtype of X."""
        params = jax.device_get(params)
        self.coefs_ = [np.asarray(W, dtype) for W, _ in params]
        self.intercepts_ = [np.asarray(b, dtype) for _, b in params]

    def _record(self, progress: Progress, curves: dict[str, list[float]], seen: int, dtype: Any) -> None:
        """Every attribute that scikit-learn's fit leaves, and the validation loss."""
        self._keep(progress.params, dtype)
        self.n_iter_ = len(curves["loss"])
        self.t_ += seen
        rate = float(progress.rate)
        if self._schedule() == "invscaling":
            rate = self.learning_rate_init / (self.t_ + 1) ** self.power_t  # in double precision
        self._optimizer = Optimizer(rate, progress.opt_state, progress.key, progress.step, self._rule)
        self._no_improvement_count = int(progress.waited)
        self.loss_curve_ += curves["loss"]
        if curves["loss"]:
            self.loss_ = curves["loss"][-1]
        if curves["score"]:
            self.validation_scores_ = [*(self.validation_scores_ or []), *curves["score"]]
            self.validation_loss_curve_ = [*(self.validation_loss_curve_ or []), *curves["validation_loss"]]
        if self.early_stopping:
            scores = [-v for v in curves["validation_loss"]] if self.scoring == "loss" else curves["score"]
            before = -np.inf if self.best_validation_score_ is None else self.best_validation_score_
            self.best_validation_score_ = max([before, *(v for v in scores if np.isfinite(v))])
            self._keep(progress.best_params, dtype)
            self._best_coefs, self._best_intercepts = self.coefs_, self.intercepts_
        else:
            self.best_loss_ = float(progress.best)

    def _say(self, figures: dict[str, list[float]], done: int) -> None:
        if not self.verbose:
            return
        losses = figures["loss"]
        for k, loss in enumerate(losses):
            print(f"Iteration {done - len(losses) + k + 1}, loss = {loss:.8f}")
            if self.early_stopping:
                print(f"Validation score: {figures['score'][k]:f}")

    def _minimise(self, rows: Rows, tell: Tell | None) -> None:
        """Fit by SciPy's L-BFGS-B with JAX's gradient, in float64."""
        sizes = (rows.X.shape[1], *(len(b) for b in self.intercepts_))
        plan = self._plan(solver="lbfgs")
        data = placed(rows, bucket(rows.X.shape[0], 8), plan.loss, np.float64)
        knobs = self._knobs(False)._replace(dropout=None)  # a line search needs one function
        layers = zip(self.coefs_, self.intercepts_, strict=True)
        vector = np.concatenate([p.ravel() for pair in layers for p in pair]).astype(np.float64)

        def fun(vector: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = loss_and_gradient(vector, data, knobs, plan=plan, sizes=sizes)
            return float(value), np.asarray(gradient)

        def callback(vector: np.ndarray) -> None:
            if tell:
                tell.begin()
                self._keep(unpack(vector, sizes), rows.X.dtype)
                if tell.done():
                    raise StopIteration

        result = scipy.optimize.minimize(
            fun,
            vector,
            method="L-BFGS-B",
            jac=True,
            callback=callback,
            options={"maxfun": self.max_fun, "maxiter": self.max_iter, "gtol": self.tol},
        )
        if result.status not in (0, 99):  # converged, or ended by a callback
            warnings.warn(
                f"lbfgs failed to converge after {result.nit} iteration(s) (status={result.status}):\n"
                f"{result.message}\n\n"
                f"Increase the number of iterations to improve the convergence (max_iter={self.max_iter}).",
                ConvergenceWarning,
                stacklevel=4,
            )
        self.n_iter_ = min(result.nit, self.max_iter)
        self.loss_ = float(result.fun)
        self._keep(unpack(result.x, sizes), rows.X.dtype)

    def _forward_pass_fast(self, X: Any, check_input: bool = True) -> np.ndarray:
        if check_input:
            X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        names = (*each_layer(self._activation(), len(self.coefs_) - 1), self.out_activation_)
        return forward(list(zip(self.coefs_, self.intercepts_, strict=True)), X, names)

    def save(self, path: str | Path) -> None:
        """Write the network as a safetensors file; `mlpax.load` reads it, and it runs no code.

        Raises
        ------
        InputError
            If it answers with several labels a row, which a model file does not hold.
        """
        check_is_fitted(self)
        as_model(self, self._activation()).save(path)
