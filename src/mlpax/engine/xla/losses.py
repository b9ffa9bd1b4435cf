"""Losses and metrics, one value per example, and the weighted mean that all of them share."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mlpax.engine.xla.network import Params, forward
from mlpax.errors import unknown

__all__ = [
    "LOSSES",
    "METRICS",
    "Metric",
    "Objective",
    "accuracy",
    "cross_entropy",
    "cross_entropy_loss",
    "dense_objective",
    "log_softmax",
    "softmax",
    "weighted_mean",
]

Scalar = float | Float[Array, ""]


def weighted_mean(
    values: Float[Array, " batch"], weights: Float[Array, " batch"] | None = None
) -> Float[Array, ""]:
    """Mean of one value per example, `sum(w v) / sum(w)`; 0 where all weights are 0."""
    if weights is None:
        return jnp.mean(values)
    return jnp.sum(weights * values) / jnp.maximum(jnp.sum(weights), jnp.finfo(jnp.float32).tiny)


def log_softmax(logits: Float[Array, "*batch classes"]) -> Float[Array, "*batch classes"]:
    """Logarithm of the softmax along the last axis, exact where the naive form overflows.

    Subtracting the largest logit changes nothing in the quotient, and keeps every exponent <= 0.
    """
    shifted = logits - jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
    return shifted - jnp.log(jnp.sum(jnp.exp(shifted), axis=-1, keepdims=True))


def softmax(logits: Float[Array, "*batch classes"]) -> Float[Array, "*batch classes"]:
    """Probabilities of the classes along the last axis; they sum to 1 at logits of any size."""
    return jnp.exp(log_softmax(logits))


# One value per example: (batch, outputs) and targets in, (batch,) out.


def cross_entropy(
    logits: Float[Array, "batch classes"], y: Int[Array, " batch"], label_smoothing: Scalar = 0.0
) -> Float[Array, " batch"]:
    """Cross-entropy of integer labels: `-log_softmax(logits)[y]`.

    With `label_smoothing` e in [0, 1), the target is 1 - e on the label plus e spread evenly over
    all classes (Szegedy et al. 2016).
    """
    classes = logits.shape[1]
    hit = y[:, None] == jnp.arange(classes)[None]  # (batch, classes); a gather's gradient would be a scatter
    target = hit + label_smoothing * (1 / classes - hit)
    shifted = logits - jax.lax.stop_gradient(jnp.max(logits, axis=1, keepdims=True))
    # Targets sum to 1: this is -sum(target * log_softmax), and its gradient is softmax less target at once.
    return jnp.log(jnp.sum(jnp.exp(shifted), axis=1)) - jnp.sum(target * shifted, axis=1)


def binary_cross_entropy(
    logits: Float[Array, "batch outputs"], y: Float[Array, "batch outputs"]
) -> Float[Array, " batch"]:
    """Cross-entropy of independent yes/no outputs, targets 0 or 1, summed over the outputs."""
    return jnp.sum(jax.nn.softplus(logits) - y * logits, axis=1)


def squared_error(
    outputs: Float[Array, "batch outputs"], y: Float[Array, "batch outputs"]
) -> Float[Array, " batch"]:
    """Half the squared error, averaged over the outputs (scikit-learn's `squared_error`)."""
    return jnp.mean((outputs - y) ** 2, axis=1) / 2


def absolute_error(
    outputs: Float[Array, "batch outputs"], y: Float[Array, "batch outputs"]
) -> Float[Array, " batch"]:
    """Absolute error, averaged over the outputs."""
    return jnp.mean(jnp.abs(outputs - y), axis=1)


def huber(outputs: Float[Array, "batch outputs"], y: Float[Array, "batch outputs"]) -> Float[Array, " batch"]:
    """Huber's loss (1964) with delta 1: half the squared error up to 1, linear beyond."""
    error = jnp.abs(outputs - y)
    return jnp.mean(jnp.where(error <= 1, error**2 / 2, error - 0.5), axis=1)


def poisson(
    outputs: Float[Array, "batch outputs"], y: Float[Array, "batch outputs"]
) -> Float[Array, " batch"]:
    """Poisson loss of the log-rate, `exp(o) - y o`, averaged over the outputs; targets >= 0."""
    return jnp.mean(jnp.exp(outputs) - y * outputs, axis=1)


LOSSES: dict[str, Callable[..., Float[Array, " batch"]]] = {
    "cross_entropy": cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
    "squared_error": squared_error,
    "absolute_error": absolute_error,
    "huber": huber,
    "poisson": poisson,
}


def correct(logits: Float[Array, "batch classes"], labels: Int[Array, " batch"]) -> Bool[Array, " batch"]:
    """Whether the largest logit is the label's."""
    return jnp.argmax(logits, axis=1) == labels


class Metric(NamedTuple):
    """A metric: one value per example, and what makes the figure of their mean."""

    values: Callable[[Array, Array], Array]
    finish: Callable[[Array], Array] = lambda mean: mean
    larger_is_better: bool = False


METRICS: dict[str, Metric] = {
    "accuracy": Metric(correct, larger_is_better=True),
    "log_loss": Metric(cross_entropy),
    "rmse": Metric(squared_error, lambda mean: jnp.sqrt(2 * mean)),
    "mae": Metric(absolute_error),
}


def accuracy(
    logits: Float[Array, "batch classes"],
    labels: Int[Array, " batch"],
    *,
    weights: Float[Array, " batch"] | None = None,
) -> Float[Array, ""]:
    """Share of examples whose largest logit is the label's, in [0, 1]."""
    return weighted_mean(correct(logits, labels).astype(jnp.float32), weights)


def cross_entropy_loss(
    params: Params,
    X: Float[Array, "batch features"],
    y: Int[Array, " batch"],
    *,
    weights: Float[Array, " batch"] | None = None,
    activation: str = "relu",
    label_smoothing: Scalar = 0.0,
) -> Float[Array, ""]:
    """Mean cross-entropy of a network on a batch.

    Parameters
    ----------
    params : list of (W, b)
        The network.
    X : array of shape (batch, features), float32
        Inputs.
    y : array of shape (batch,), int
        Labels in 0 .. classes - 1; no one-hot.
    weights : array of shape (batch,), float32, optional
        Weight of each example in the mean; 1 each by default.
    activation : str, default "relu"
        A name of `mlpax.network.ACTIVATIONS`.
    label_smoothing : float in [0, 1), default 0
        See `cross_entropy`.

    Returns
    -------
    array of shape (), float32
    """
    logits = forward(params, X, activation=activation)
    return weighted_mean(cross_entropy(logits, y, label_smoothing), weights)


class Objective(NamedTuple):
    """What training minimises and measures, for parameters that may be any pytree.

    Attributes
    ----------
    loss : callable
        `loss(params, X, y, key, hyper) -> (batch,)`, differentiable; `key` is None without dropout.
    predict : callable
        `predict(params, X) -> (batch, outputs)`.
    metrics : tuple of str
        Names of `METRICS`, recorded each epoch on training and validation rows.
    """

    loss: Callable[..., Array]
    predict: Callable[..., Array]
    metrics: tuple[str, ...] = ("accuracy",)


@functools.cache  # the same functions for the same names, so that compiled programs are found again
def dense_objective(
    activation: str = "relu", loss: str = "cross_entropy", metrics: tuple[str, ...] = ("accuracy",)
) -> Objective:
    """The objective of a dense network: `forward` under one of `LOSSES`.

    Raises
    ------
    InputError
        If the loss or a metric is unknown.
    """
    if loss not in LOSSES:
        raise unknown("loss", loss, LOSSES)
    for name in metrics:
        if name not in METRICS:
            raise unknown("metric", name, METRICS)

    def per_example(params: Params, X: Array, y: Array, key: Array | None, hyper: Any) -> Array:
        outputs = forward(params, X, activation=activation, dropout=hyper.dropout, key=key)
        if loss == "cross_entropy":
            return cross_entropy(outputs, y, hyper.label_smoothing)
        return LOSSES[loss](outputs, y)

    def predict(params: Params, X: Array) -> Array:
        return forward(params, X, activation=activation)

    return Objective(per_example, predict, metrics)
