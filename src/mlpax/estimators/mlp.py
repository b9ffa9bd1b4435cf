"""scikit-learn's MLPClassifier and MLPRegressor on compiled epochs: change one import."""

from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from sklearn import neural_network
from sklearn.utils._param_validation import (  # pyright: ignore[reportPrivateUsage]
    HasMethods,
    Interval,
    StrOptions,
)
from sklearn.utils.validation import check_is_fitted

from mlpax.engine.plan import ACTIVATIONS, BACKENDS
from mlpax.estimators.fitting import SCHEDULES, Perceptron
from mlpax.estimators.rows import ClassWeight, RandomState

if TYPE_CHECKING:
    import optax

__all__ = ["MLPClassifier", "MLPRegressor"]

# Of the parameters that are more, or take more, than scikit-learn's.
CONSTRAINTS: dict[str, object] = {
    "activation": [StrOptions(set(ACTIVATIONS)), list, tuple],
    "solver": [StrOptions({"lbfgs", "sgd", "adam", "adamw"})],
    "learning_rate": [StrOptions({"constant", "invscaling", "adaptive", *SCHEDULES})],
    "dropout": [Interval(Real, 0, 1, closed="left")],
    "weight_decay": [Interval(Real, 0, None, closed="left")],
    "scoring": [str, callable, None],
    "optimizer": [HasMethods(["init", "update"]), None],  # optax.GradientTransformation, without importing it
    "dtype": [StrOptions({"float32", "float64"})],
    "device": [str, None],
    "backend": [StrOptions(set(BACKENDS))],
    "threads": [Interval(Integral, 1, None, closed="left"), None],
    "members": [Interval(Integral, 1, None, closed="left")],
    "refit": ["boolean"],
}

# scikit-learn has no types.
Classifier: Any = neural_network.MLPClassifier
Regressor: Any = neural_network.MLPRegressor


class MLPClassifier(Perceptron, Classifier):
    """Multi-layer perceptron classifier: scikit-learn's, on compiled epochs.

    Every parameter, attribute and method of `sklearn.neural_network.MLPClassifier`, with its name, default,
    order and meaning; what follows `max_fun` is beyond it. The arithmetic is float32 (`lbfgs`: float64);
    `coefs_` are of X's dtype. With the same `random_state` the initial weights and the order of the rows
    are scikit-learn's own.

    Parameters
    ----------
    hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate, learning_rate_init, power_t, \
max_iter, shuffle, random_state, tol, verbose, warm_start, momentum, nesterovs_momentum, early_stopping, \
validation_fraction, beta_1, beta_2, epsilon, n_iter_no_change, max_fun
        As scikit-learn's. `activation` is also gelu, silu, selu or mish, or a list with a name for each
        hidden layer; `solver` also "adamw"; `learning_rate` also "linear", "cosine" or "one_cycle", which
        rise over a tenth of `max_iter` and fall to 0 at its end, for any solver but lbfgs.
    dropout : float in [0, 1), default 0
        Share of hidden units dropped in each step of training (Srivastava et al. 2014); not for lbfgs.
    weight_decay : float >= 0, default 0.01
        AdamW's pull of the weights to 0, in shares of the rate (Loshchilov & Hutter 2019).
    label_smoothing : float in [0, 1), default 0
        Share of each target spread over all classes (Szegedy et al. 2016).
    class_weight : dict or "balanced", optional
        Weights of the classes, as in scikit-learn's other classifiers.
    scoring : str or callable, optional
        What `early_stopping` goes by: one of scikit-learn's scorers, or "loss"; accuracy by default.
    optimizer : optax.GradientTransformation, optional
        An update rule of your own instead of `solver`'s; it is told the minibatch's loss as `value`.
    dtype : {"float32", "float64"}, default "float32"
        Of the arithmetic.
    device : str, optional
        Where to train, as "cpu", "gpu" or "gpu:1"; JAX's default otherwise.
    backend : {"auto", "native", "xla"}, default "auto"
        What trains: the native library, which is written for CPUs and needs no JAX, or XLA. "auto" takes the
        native one where it can train what is asked.
    threads : int, optional
        Most threads of the native backend; the results do not depend on it. By default all that the process
        may use. A small step runs in one.
    members : int, default 1
        Number of networks to train side by side on the same minibatches, from weights of their own. They
        answer with their mean probability. `coefs_` and `intercepts_` are then lists with a list for each
        member. `loss_curve_` is the mean over the members that were trained in an epoch, the validation
        scores are those of all together. A member that diverges is left out. Not with lbfgs, `warm_start`,
        `partial_fit`, callbacks, or `scoring` by one of scikit-learn's scorers.
    refit : bool, default False
        With `early_stopping`: then fit once more from the start, on all rows, for the epochs that were
        best. A `learning_rate` with a course runs the whole course over these epochs. Curves, scores and
        `n_iter_` stay those of the first fit. Not with lbfgs, `warm_start`, or `learning_rate="adaptive"`.

    Attributes
    ----------
    classes_, coefs_, intercepts_, loss_, best_loss_, loss_curve_, validation_scores_, \
best_validation_score_, t_, n_iter_, n_layers_, n_outputs_, out_activation_, n_features_in_, feature_names_in_
        As scikit-learn's.
    validation_loss_curve_ : list of float or None
        Loss of the validation rows after each epoch, where there are some.
    refit_epochs_ : int or list of int
        With `refit` the epochs on all rows, of each member.
    """

    _parameter_constraints: ClassVar[dict[str, object]] = {
        **Classifier._parameter_constraints,
        **CONSTRAINTS,
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }
    loss = "log_loss"

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str | Sequence[str] = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: RandomState = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dropout: float = 0.0,
        weight_decay: float = 0.01,
        label_smoothing: float = 0.0,
        class_weight: ClassWeight = None,
        scoring: "str | Callable[..., float] | None" = None,
        optimizer: "optax.GradientTransformation | None" = None,
        dtype: str = "float32",
        device: str | None = None,
        backend: str = "auto",
        threads: int | None = None,
        members: int = 1,
        refit: bool = False,
    ):
        self._hold(locals())

    def predict_proba(self, X: Any, *, members: bool = False) -> Any:
        """Probability of each class, of shape (rows, classes).

        With `members` those of each network: (members, rows, classes).
        """
        check_is_fitted(self)
        found = self._answers(X) if members else self._forward_pass_fast(X)
        return np.concatenate([1 - found, found], axis=-1) if self.n_outputs_ == 1 else found


class MLPRegressor(Perceptron, Regressor):
    """Multi-layer perceptron regressor: scikit-learn's, on compiled epochs.

    Parameters, attributes
        As of `MLPClassifier`, without those of classes, and `loss` first: "squared_error", "poisson",
        and beyond scikit-learn "absolute_error" and "huber" (with delta 1). `scoring` is R² by default.
    """

    _parameter_constraints: ClassVar[dict[str, object]] = {
        **Regressor._parameter_constraints,
        **CONSTRAINTS,
        "loss": [StrOptions({"squared_error", "poisson", "absolute_error", "huber"})],
    }

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str | Sequence[str] = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: RandomState = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dropout: float = 0.0,
        weight_decay: float = 0.01,
        scoring: "str | Callable[..., float] | None" = None,
        optimizer: "optax.GradientTransformation | None" = None,
        dtype: str = "float32",
        device: str | None = None,
        backend: str = "auto",
        threads: int | None = None,
        members: int = 1,
        refit: bool = False,
    ):
        self._hold(locals())
