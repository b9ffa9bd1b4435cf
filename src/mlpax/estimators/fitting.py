"""What MLPClassifier and MLPRegressor share: scikit-learn's checks around our solvers."""

import copy
import inspect
import itertools
import operator
import warnings
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

import numpy as np
import numpy.typing as npt
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
from mlpax.engine.plan import OUTSIDE, Hyper, Plan, each_layer
from mlpax.engine.population import lost_members
from mlpax.engine.rows import Data, bucket
from mlpax.engine.state import State, diverged, without
from mlpax.engine.stopping import due
from mlpax.engine.training import Record, Training, backend_for, chosen, epochs, initial_state, is_small
from mlpax.errors import RowError, TrainingWarning
from mlpax.estimators.callbacks import Tell
from mlpax.estimators.rows import (
    NOT_FINITE,
    Rows,
    Shuffles,
    held,
    joined,
    placed,
    split,
    validation_rows,
    weights_of,
)
from mlpax.estimators.trained import as_model
from mlpax.model.onnx_graph import to_onnx
from mlpax.notices import warn

if TYPE_CHECKING:
    import onnx

__all__ = ["SCHEDULES", "Perceptron"]

EPOCHS_A_CALL = 100  # of a small epoch
MANY_ORDERS = 2**22  # row numbers a call, 16 MB
SMALL_NETWORK = 2**14  # parameters
SCHEDULES = ("linear", "cosine", "one_cycle")  # for any solver
WARMUP = 0.1  # of those
SHARED = (
    "momentum",
    "beta_1",
    "beta_2",
    "epsilon",
    "weight_decay",
    "dropout",
    "power_t",
)  # of Hyper, by name

Validation = tuple[object, object, object]  # X, y and weights of the caller's validation rows
Callbacks: Any = CallbackSupportMixin  # scikit-learn has no types


class Progress(NamedTuple):
    """Where a fit ended, for `partial_fit` to go on from. scikit-learn calls this its optimizer."""

    learning_rate: float  # of the next step
    state: State  # on the host
    of: tuple[object, ...]  # solver, dtype, backend and shapes that the update rule's state is of


class Ready(NamedTuple):
    """A fit as the engine takes it."""

    training: Training
    data: Data
    valid: Data | None
    held_rows: Rows | None  # those of `valid`, as scikit-learn has them


Layers = list[tuple[np.ndarray, np.ndarray]]  # (W, b) each


def _layers(coefs: list[np.ndarray], intercepts: list[np.ndarray], dtype: npt.DTypeLike) -> Layers:
    return [(W.astype(dtype), b.astype(dtype)) for W, b in zip(coefs, intercepts, strict=True)]


def _score(record: Record) -> float:
    """The validation score of an epoch: the caller's scorer's, else accuracy or R²."""
    if OUTSIDE in record:
        return record[OUTSIDE]
    return next(v for name, v in record.items() if name.startswith("valid_") and name != "valid_loss")


class Perceptron(Callbacks):
    """Mixin that replaces scikit-learn's training loop.

    List it before `sklearn.neural_network.MLPClassifier` in the bases, so that its methods win.
    """

    coefs_: Any  # a list of arrays, or of several members a list of lists
    intercepts_: Any

    def _hold(self, parameters: dict[str, object]) -> None:
        """Keep the constructor's parameters, as its `locals()` name them."""
        for name, value in parameters.items():
            if name != "self":
                setattr(self, name, value)

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: object,
        y: object,
        sample_weight: object = None,
        *,
        X_val: object = None,
        y_val: object = None,
        sample_weight_val: object = None,
    ) -> Self:
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
        self, X: Any, y: Any, sample_weight: object = None, incremental: bool = False,
        validation: Validation | None = None,
    ) -> Self:  # fmt: skip
        self._check_settings(incremental, validation)
        rows = self._begun(X, y, sample_weight, incremental)
        context = None if incremental else self._init_callback_context(max_subtasks=self.max_iter)
        tell = Tell(self, context, rows.X, y) if context and getattr(self, "_skl_callbacks", None) else None
        if self.solver == "lbfgs":
            with self._on_its_device():
                self._minimise(rows, tell)
        else:
            self._descend(rows, incremental, validation, tell)
            if self.refit:
                self._refit(rows, validation)
        if tell:
            tell.end()
        if not all(np.isfinite(p).all() for layers in self._networks() for layer in layers for p in layer):
            raise ValueError(NOT_FINITE)
        return self

    def _begun(self, X: Any, y: Any, sample_weight: object, incremental: bool) -> Rows:
        """Check the rows, and draw the initial weights unless the fit goes on from earlier ones."""
        hidden, given = self._hidden(), y
        first = not hasattr(self, "coefs_") or (not self.warm_start and not incremental)
        X, y = self._validate_input(X, y, incremental, reset=first)
        weight = None if sample_weight is None else _check_sample_weight(sample_weight, X)
        weight = weights_of(given, weight, getattr(self, "class_weight", None), incremental)
        rows = Rows(X, y.reshape(len(y), -1), weight)
        if not first and isinstance(self.coefs_[0], list):
            raise ValueError("several networks were fitted, which cannot go on; call fit without warm_start")
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
        return rows

    def _hidden(self) -> list[int]:
        """Return the units of each hidden layer, checked."""
        hidden = self.hidden_layer_sizes
        hidden = [operator.index(n) for n in (hidden if hasattr(hidden, "__iter__") else [hidden])]
        if any(n <= 0 for n in hidden):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {hidden}.")
        each_layer(self._activation(), len(hidden))  # which refuses what does not fit
        return hidden

    def _check_settings(self, incremental: bool, validation: Validation | None) -> None:
        """Refuse settings that do not go together."""
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        if self.learning_rate in SCHEDULES and incremental:
            raise ValueError(f"partial_fit does not support learning_rate={self.learning_rate!r}, which ends")
        self._check_members(incremental)
        if self.refit:
            self._check_refit()
        if self.solver == "lbfgs" and validation is not None:
            raise ValueError("lbfgs stops by its gradient and takes no X_val; choose adam or sgd")

    def _check_refit(self) -> None:
        """Refuse what a second fit for the epochs found cannot be combined with."""
        if not self.early_stopping or self.solver == "lbfgs":
            raise ValueError(
                "refit=True fits for the epochs that early stopping finds; set early_stopping=True, and"
                " solver='adam' or 'sgd'"
            )
        if self.warm_start:
            raise ValueError("refit=True starts anew, and warm_start=True goes on; choose one of them")
        if self.learning_rate == "adaptive":
            raise ValueError(
                "learning_rate='adaptive' goes by validation rows, which refit=True fits on; choose another"
            )

    def _check_members(self, incremental: bool) -> None:
        """Refuse what several networks cannot be combined with."""
        scorer = self.early_stopping and self.scoring not in (None, "loss")
        others = {
            "solver='lbfgs'": self.solver == "lbfgs",
            "warm_start=True": self.warm_start,
            "partial_fit": incremental,
            f"scoring={self.scoring!r}": scorer,
            "callbacks": bool(getattr(self, "_skl_callbacks", None)),
        }
        if self.members > 1 and (name := next((name for name, given in others.items() if given), "")):
            raise ValueError(f"members={self.members} cannot be combined with {name}; choose members=1")

    def _on_its_device(self) -> ExitStack:
        """Return the context of the fit: JAX's arithmetic and device."""
        import jax

        from mlpax.engine.xla.prediction import device_of

        contexts = ExitStack()
        if self._arithmetic is np.float64:
            contexts.enter_context(jax.enable_x64(True))
        if self.device is not None:
            contexts.enter_context(jax.default_device(device_of(self.device)))
        return contexts

    def _activation(self) -> str | tuple[str, ...]:
        return self.activation if isinstance(self.activation, str) else tuple(self.activation)

    @property
    def _arithmetic(self) -> type[np.floating]:
        return np.float64 if self.dtype == "float64" or self.solver == "lbfgs" else np.float32

    def _plan(self, batch_size: int, *, validated: bool = False) -> Plan:
        """Return the plan: scikit-learn's rules of updating and stopping are values of its fields."""
        loss, score = "poisson_deviance" if getattr(self, "loss", "") == "poisson" else self.loss, "r2"
        if is_classifier(self):
            several = self.out_activation_ == "softmax"
            loss = "cross_entropy" if several else "binary_cross_entropy"
            score = "accuracy" if several else "subset_accuracy"
        sgd = "nesterov" if self.nesterovs_momentum else "momentum"
        parameters = sum(p.size for p in (*self.coefs_, *self.intercepts_))
        return Plan(
            activation=each_layer(self._activation(), len(self.coefs_) - 1),
            loss=loss,
            summed=not is_classifier(self) and loss != "poisson_deviance" and self.n_outputs_ > 1,
            figures=(f"valid_{score}", "valid_loss") if validated else (),
            monitor=self._monitor(score),
            stopping="tolerance",
            keeps_best=bool(self.early_stopping),
            optimizer=self.optimizer or (sgd if self.solver == "sgd" else self.solver),
            epsilon_hat=True,
            sums_steps=True,
            schedule=self._schedule(),
            batch_size=batch_size,
            dropout=self.dropout > 0,
            decay=self.solver == "adamw",
            penalty=True,
            flat=parameters < SMALL_NETWORK,
        )

    def _monitor(self, score: str) -> str:
        """Return the figure that stops the fit."""
        if not self.early_stopping:
            return "loss"
        if self.scoring is None:
            return f"valid_{score}"
        return "valid_loss" if self.scoring == "loss" else OUTSIDE

    def _hyper(self, incremental: bool) -> Hyper:
        # As Python's floats: NumPy's would bring their dtype. A regressor smooths no labels.
        shared = {name: float(getattr(self, name)) for name in Hyper._fields if name in SHARED}
        return Hyper(
            **shared,
            learning_rate=float(self.learning_rate_init),
            penalty=float(self.alpha),
            label_smoothing=float(getattr(self, "label_smoothing", 0.0)),
            warmup=WARMUP,
            rows_seen=float(self.t_),
            epochs=1 if incremental else int(self.max_iter),
            patience=float(self.n_iter_no_change),
            min_delta=float(self.tol),
        )

    def _start_curves(self) -> None:
        """Empty curves, as scikit-learn starts them for its own solvers."""
        self.loss_curve_: list[float] = []
        self.validation_scores_ = [] if self.early_stopping else None
        self.validation_loss_curve_: list[float] | None = None
        self._start_best()

    def _start_best(self) -> None:
        """Nothing was measured yet by what is watched now."""
        self._no_improvement_count = 0
        self.best_validation_score_: float | None = -np.inf if self.early_stopping else None
        self.best_loss_: float | None = None if self.early_stopping else np.inf
        self._best_coefs = self._best_intercepts = None
        self._watched = self.early_stopping, self.scoring

    def _check_solver(self) -> bool:
        """Whether there is `partial_fit`."""
        if self.solver == "lbfgs":
            raise AttributeError(
                "partial_fit is only available for stochastic optimizers. lbfgs is not stochastic."
            )
        return True

    def _descend(
        self, rows: Rows, incremental: bool, validation: Validation | None, tell: Tell | None
    ) -> None:
        """Fit by minibatches, through the engine's loop."""
        ready = self._ready(rows, incremental, validation)
        training, shuffles, n = ready.training, ready.training.orders, int(ready.data.n)
        with self._on_its_device() if training.backend == "xla" else nullcontext():
            state, history = self._run(ready, incremental, tell)
            if isinstance(shuffles, Shuffles):
                shuffles.rewind(len(history))
            elif self.shuffle and not isinstance(self.random_state, Integral):
                for _ in history:  # a generator of the caller's goes on as if the rows had been shuffled
                    self._random_state.shuffle(np.arange(n))
            self._record(training, state, history, len(history) * n, rows.X.dtype)

    def _refit(self, rows: Rows, validation: Validation | None) -> None:
        """Fit from the start on all rows, for the best epoch of each member, and keep the weights."""
        found, lost = self._ended
        again, dtype = copy.copy(self), rows.X.dtype
        again.early_stopping, again.n_iter_no_change = False, np.inf
        again.max_iter = int(found.max())
        if validation is not None:
            rows = joined(rows, validation_rows(self, *validation))
        again._random_state = check_random_state(self.random_state)
        again._initialize(rows.y, [rows.X.shape[1], *self._hidden(), self.n_outputs_], dtype)
        again._start_curves()
        ready = again._ready(rows, False, None)
        training = ready.training
        if self.members > 1:
            training = training._replace(hyper=training.hyper._replace(epochs=cast(int, found)))
        with self._on_its_device() if training.backend == "xla" else nullcontext():
            state = again._state(training, False)
            state = without(state, lost) if lost.any() else state
            for state, _ in epochs(state, ready.data, None, training, timed=False):
                pass
            kept = chosen(state, training.plan)
            self._keep(kept, dtype)
        self.refit_epochs_ = found.tolist()

    def _ready(self, rows: Rows, incremental: bool, validation: Validation | None) -> Ready:
        """Return the fit as the engine takes it."""
        rows, held_rows = self._held_out(rows, validation)
        n = rows.X.shape[0]
        batch_size = self._batch_size(n)
        whole = batch_size == n  # one minibatch of all rows: padded to share a program, whatever their order
        plan = self._plan(bucket(n, 8) if whole else batch_size, validated=held_rows is not None)
        data = placed(rows, plan.batch_size, plan.loss, self._arithmetic)
        valid = None if held_rows is None else held(held_rows, plan.loss, self._arithmetic)
        shuffles = Shuffles(self._random_state, n, data.X.shape[0]) if self.shuffle and not whole else None
        layers, dtype = len(self.coefs_), self._arithmetic
        backend = backend_for(self.backend, plan, layers, dtype=dtype, device=self.device)
        hyper, members = self._hyper(incremental), int(self.members)
        training = Training(plan, hyper, shuffles, backend, self.threads, members)
        return Ready(training, data, valid, held_rows)

    def _run(self, ready: Ready, incremental: bool, tell: Tell | None) -> tuple[State, list[Record]]:
        """Train to the end, or until a callback or Ctrl-C stops it, and say why it ended."""
        training, data, valid, held_rows = ready
        plan, dtype = training.plan, self.coefs_[0].dtype
        state = self._state(training, incremental)
        outside = self._scorer(held_rows, dtype) if held_rows and plan.monitor == OUTSIDE else None
        many = EPOCHS_A_CALL * data.X.shape[0] > MANY_ORDERS
        small = is_small(sum(p.size for p in (*self.coefs_, *self.intercepts_)), int(data.n))
        alone = tell or outside or many or not small
        loop = epochs(
            state,
            data,
            valid,
            training,
            epochs_a_call=1 if alone else EPOCHS_A_CALL,
            timed=False,
            outside=outside,
        )
        history: list[Record] = []
        try:
            while due(len(history), bool(np.asarray(state.watch.stopped).all()), 0.0, training.hyper, plan):
                if tell:
                    tell.begin()
                state, records = next(loop)
                history += records
                self._say(records)
                if tell:
                    self._keep(state.params, dtype)
                    if tell.done():
                        break
            else:
                self._say_why_it_ended(state, len(history), incremental)
            if diverged(state).all():
                raise ValueError(NOT_FINITE)
            if lost := lost_members(state):
                warn(lost, TrainingWarning)
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=6)
        return state, history

    def _held_out(self, rows: Rows, validation: Validation | None) -> tuple[Rows, Rows | None]:
        """Return the rows to train on, and validation rows: the caller's, or held out to stop early."""
        if validation is not None:
            return rows, validation_rows(self, *validation)
        if not self.early_stopping:
            return rows, None
        by_class = is_classifier(self) and self.n_outputs_ == 1  # as in scikit-learn
        return split(rows, self.validation_fraction, self._random_state, by_class)

    def _say_why_it_ended(self, state: State, done: int, incremental: bool) -> None:
        if np.asarray(state.watch.stopped).all():
            if self.verbose:
                what = "Validation score" if self.early_stopping else "Training loss"
                long = f"for {self.n_iter_no_change} consecutive epochs"
                print(f"{what} did not improve more than tol={self.tol:f} {long}. Stopping.")
        elif done == self.max_iter and not incremental:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the"
                " optimization hasn't converged yet.",
                ConvergenceWarning,
                stacklevel=7,
            )

    def _batch_size(self, rows: int) -> int:
        if self.batch_size == "auto":
            return min(200, rows)
        if self.batch_size > rows:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped",
                stacklevel=6,
            )
        return int(np.clip(self.batch_size, 1, rows))

    def _schedule(self) -> str:
        """The rate's course; scikit-learn's own are of its sgd alone."""
        ours = self.learning_rate in SCHEDULES or self.solver == "sgd"
        return self.learning_rate if ours else "constant"

    def _scorer(self, held_rows: Rows, dtype: npt.DTypeLike) -> Callable[[State], float]:
        """Return the function that scores an epoch's network by `scoring`."""
        scorer: Any = check_scoring(self, scoring=self.scoring)

        def score(state: State) -> float:
            self._keep(state.params, dtype)
            return self._scored(scorer, held_rows)

        return score

    def _scored(self, scorer: Callable[..., float], rows: Rows) -> float:
        X, y, weight = rows
        y = self._label_binarizer.inverse_transform(y) if is_classifier(self) else y
        y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
        takes = inspect.signature(scorer).parameters
        options = {"sample_weight": weight} if weight is not None and "sample_weight" in takes else {}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="X does not have valid feature names")
            return float(scorer(self, X, y, **options))

    def _state(self, training: Training, incremental: bool) -> State:
        """Return where the fit begins: at the start, or where the last `partial_fit` ended."""
        plan, hyper, *_ = training
        dtype = self._arithmetic
        params = _layers(self.coefs_, self.intercepts_, dtype)
        kept: Progress | None = getattr(self, "_optimizer", None) if incremental else None
        seed = self._random_state.randint(2**31) if plan.dropout and kept is None else 0
        if training.members > 1:
            return initial_state([params, *self._other_members(training, params)], training, seed, dtype)
        state = initial_state(params, training, seed, dtype)
        rate = 1.0
        if kept is not None:
            opt_state = kept.state.opt_state if kept.of == self._rule(training) else state.opt_state
            state = state._replace(opt_state=opt_state, key=kept.state.key, step=kept.state.step)
            rate = kept.learning_rate / hyper.learning_rate
        best = self.best_validation_score_ if self.best_loss_ is None else -self.best_loss_
        if self.early_stopping and self._best_coefs and self._best_intercepts:
            state = state._replace(best=_layers(self._best_coefs, self._best_intercepts, dtype))
        waited = np.int32(self._no_improvement_count)
        return state._replace(watch=state.watch._replace(value=dtype(best), waited=waited, rate=dtype(rate)))

    def _other_members(self, training: Training, first: Layers) -> list[Layers]:
        """Return the initial weights of all members but the first, whose fit is as it would be alone."""
        sizes, dtype = [len(first[0][0]), *(len(b) for _, b in first)], self.coefs_[0].dtype
        own, others = self._random_state, list[Layers]()
        self._random_state = np.random.RandomState(copy.deepcopy(own).randint(2**31))  # for `_init_coef`
        for _ in range(training.members - 1):
            drawn = [self._init_coef(m, n, dtype) for m, n in itertools.pairwise(sizes)]
            others.append([(W.astype(self._arithmetic), b.astype(self._arithmetic)) for W, b in drawn])
        self._random_state = own
        return others

    def _keep(self, params: Any, dtype: npt.DTypeLike) -> None:
        """Keep the network as scikit-learn does: in the dtype of X. Of several, a list for each."""
        if self.members > 1:
            self.coefs_ = [[np.asarray(W, dtype) for W, _ in own] for own in params]
            self.intercepts_ = [[np.asarray(b, dtype) for _, b in own] for own in params]
            return
        self.coefs_ = [np.asarray(W, dtype) for W, _ in params]
        self.intercepts_ = [np.asarray(b, dtype) for _, b in params]

    def _rule(self, training: Training) -> tuple[object, ...]:
        """Return the update rule, and the dtype, the backend and the shapes that its state is of."""
        shapes = [np.shape(W) for W in self.coefs_]
        return self.optimizer or self.solver, self._arithmetic.__name__, training.backend, *shapes

    def _record(
        self, training: Training, state: State, history: list[Record], seen: int, dtype: npt.DTypeLike
    ) -> None:
        """Set every attribute that scikit-learn's fit leaves, and the validation loss."""
        if training.backend == "xla":
            import jax

            state = jax.device_get(state)
        self.n_iter_ = len(history)
        self.t_ += seen
        self._ended = np.maximum(np.asarray(state.watch.epoch), 1), diverged(state)
        self._record_curves(history)
        if training.members > 1:
            self._keep(chosen(state, training.plan), dtype)
            values = np.asarray(state.watch.value)[~diverged(state)]
            self.best_loss_ = None if self.early_stopping else -float(values.mean())
            return
        self._keep(state.params, dtype)
        rate = training.hyper.learning_rate * float(state.watch.rate)
        if training.plan.schedule == "invscaling":  # the same in float64
            rate = self.learning_rate_init / (self.t_ + 1) ** self.power_t
        self._optimizer = Progress(rate, state._replace(params=(), best=()), self._rule(training))
        self._no_improvement_count = int(state.watch.waited)
        if self.early_stopping:
            self._keep(state.best, dtype)
            self._best_coefs, self._best_intercepts = self.coefs_, self.intercepts_
        else:
            self.best_loss_ = -float(state.watch.value)

    def _record_curves(self, history: list[Record]) -> None:
        """Set the losses and scores of the epochs."""
        self.loss_curve_ += [record["loss"] for record in history]
        if history:
            self.loss_ = history[-1]["loss"]
        scores = [_score(record) for record in history if "valid_loss" in record]
        losses = [record["valid_loss"] for record in history if "valid_loss" in record]
        if scores:
            self.validation_scores_ = [*(self.validation_scores_ or []), *scores]
            self.validation_loss_curve_ = [*(self.validation_loss_curve_ or []), *losses]
        if self.early_stopping:
            watched = [-loss for loss in losses] if self.scoring == "loss" else scores
            before = -np.inf if self.best_validation_score_ is None else self.best_validation_score_
            self.best_validation_score_ = max([before, *(v for v in watched if np.isfinite(v))])

    def _say(self, records: list[Record]) -> None:
        if not self.verbose:
            return
        for record in records:
            print(f"Iteration {record['epoch']}, loss = {record['loss']:.8f}")
            if self.early_stopping:
                print(f"Validation score: {_score(record):f}")

    def _minimise(self, rows: Rows, tell: Tell | None) -> None:
        """Fit by SciPy's L-BFGS-B with JAX's gradient, in float64."""
        import scipy.optimize

        from mlpax.engine.xla.epoch import let_go, settings_of_ours
        from mlpax.engine.xla.full_batch import loss_and_gradient, unpack

        let_go(loss_and_gradient)
        sizes = (rows.X.shape[1], *(len(b) for b in self.intercepts_))
        plan = self._plan(bucket(rows.X.shape[0], 8))
        data = placed(rows, plan.batch_size, plan.loss, np.float64)
        hyper = self._hyper(False)
        layers = zip(self.coefs_, self.intercepts_, strict=True)
        vector = np.concatenate([p.ravel() for pair in layers for p in pair]).astype(np.float64)

        def fun(vector: np.ndarray) -> tuple[float, np.ndarray]:
            with settings_of_ours():
                value, gradient = loss_and_gradient(vector, data, hyper, plan=plan, sizes=sizes)
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
                stacklevel=5,
            )
        self.n_iter_ = min(result.nit, self.max_iter)
        self.loss_ = float(result.fun)
        self._keep(unpack(result.x, sizes), rows.X.dtype)

    def _forward_pass_fast(self, X: Any, check_input: bool = True) -> np.ndarray:
        return self._answers(X, check_input).mean(axis=0)

    def _answers(self, X: Any, check_input: bool = True) -> np.ndarray:
        """Return the answers of each network, (members, rows, outputs)."""
        if check_input:
            X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        names = (*each_layer(self._activation(), self.n_layers_ - 2), self.out_activation_)
        found = np.stack([forward(layers, X, names) for layers in self._networks()])
        if not np.isfinite(found).all():
            row = int(np.argwhere(~np.isfinite(found))[0, 1])
            raise RowError(
                "the network's answer is not finite for", row, ": the fit diverged, or the row is far from"
                " the training rows; scale X, or choose a smaller learning_rate_init",
            )  # fmt: skip
        return found

    def _networks(self) -> list[Layers]:
        """Return the layers of each network."""
        if isinstance(self.coefs_[0], list):
            return [list(zip(*own, strict=True)) for own in zip(self.coefs_, self.intercepts_, strict=True)]
        return [list(zip(self.coefs_, self.intercepts_, strict=True))]

    def save(self, path: str | Path) -> None:
        """Write the network as a safetensors file; `mlpax.load` reads it, and it runs no code.

        Raises
        ------
        InputError
            If it answers with several labels a row, which a model file does not hold.
        """
        check_is_fitted(self)
        as_model(self, self._networks(), self._activation()).save(path)

    def to_onnx(self) -> "onnx.ModelProto":
        """Return the network as an ONNX graph, whose input `X` is (rows, features), float32.

        See `mlpax.to_onnx` for its outputs.

        Raises
        ------
        InputError
            If it answers with several labels a row; or if onnx is not installed.
        """
        check_is_fitted(self)
        return to_onnx(as_model(self, self._networks(), self._activation()))
