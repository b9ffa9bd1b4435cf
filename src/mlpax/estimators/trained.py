"""A fitted perceptron's answers, in NumPy, and the perceptron as a model file."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.special
from sklearn.base import is_classifier
from sklearn.utils.extmath import safe_sparse_dot

from mlpax.errors import InputError
from mlpax.model.model import Model

__all__ = ["answer", "as_model"]

# Nothing is compiled for them, whatever the number of rows.
ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "logistic": scipy.special.expit,
    "gelu": lambda x: x * scipy.special.ndtr(x),
    "silu": lambda x: x * scipy.special.expit(x),
    "selu": lambda x: (
        1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0)))
    ),
    "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "identity": lambda x: x,
    "exp": np.exp,
    "softmax": lambda x: scipy.special.softmax(x, axis=1),
}


def answer(
    coefs: Sequence[np.ndarray], intercepts: Sequence[np.ndarray], names: Sequence[str], X: Any
) -> np.ndarray:
    """The network's output for rows, dense or sparse, with the name of every layer's activation."""
    for W, b, name in zip(coefs, intercepts, names, strict=True):
        X = ACTIVATIONS[name](safe_sparse_dot(X, W) + b)
    return X


def as_model(estimator: Any, activation: str | tuple[str, ...]) -> Model:
    """A fitted estimator as `Model`; see `Perceptron.save`."""
    layers = [
        (np.asarray(W, np.float32), np.asarray(b, np.float32))
        for W, b in zip(estimator.coefs_, estimator.intercepts_, strict=True)
    ]
    classes: tuple[Any, ...] = ()
    if is_classifier(estimator):
        if estimator.out_activation_ == "logistic":
            if estimator.n_outputs_ > 1:
                raise InputError("a model file holds one label a row, not several; keep the estimator")
            W, b = layers[-1]  # a logit of z is a softmax of 0 and z
            layers[-1] = np.hstack([0 * W, W]), np.hstack([0 * b, b])
        if len(estimator.classes_) < 2:
            raise InputError("a model file holds two classes or more, not one; keep the estimator")
        classes = tuple(int(c) if isinstance(c, float) else c for c in estimator.classes_.tolist())
    parameters = estimator.get_params().items()
    return Model(
        params=layers,
        classes=classes,
        task="classification" if classes else "regression",
        activation=activation,
        link="exp" if estimator.out_activation_ == "exp" else "identity",
        recipe={k: v for k, v in parameters if isinstance(v, (str, int, float)) and v != math.inf},
        metrics={"loss": float(estimator.loss_)},
    )
