"""Losses and metrics, one value per example, and the weighted mean that all of them share."""

from collections.abc import Callable
from itertools import accumulate
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mlpax.engine.xla.network import Params, forward

__all__ = [
    "LOSSES",
    "METRICS",
    "SMOOTHED",
    "Metric",
    "accuracy",
    "cross_entropy",
    "cross_entropy_loss",
    "log_softmax",
    "of_targets",
    "softmax",
    "update",
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
    logits: Float[Array, "batch outputs"], y: Float[Array, "batch outputs"], label_smoothing: Scalar = 0.0
) -> Float[Array, " batch"]:
    """Cross-entropy of independent yes/no outputs, targets 0 or 1, summed over the outputs.

    With `label_smoothing` e in [0, 1), the targets are e / 2 and 1 - e / 2.
    """
    y = y * (1 - label_smoothing) + label_smoothing / 2
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


def poisson_deviance(
    outputs: Float[Array, "batch outputs"], y: Float[Array, "batch outputs"]
) -> Float[Array, " batch"]:
    """Half the Poisson deviance of the log-rate, summed over the outputs (scikit-learn's `poisson`)."""
    entropy = y * jnp.log(jnp.where(y > 0, y, 1))
    return jnp.sum(entropy - y * outputs - y + jnp.exp(outputs), axis=1)


SMOOTHED = ("cross_entropy", "binary_cross_entropy")  # losses that take `label_smoothing`
LOSSES: dict[str, Callable[..., Float[Array, " batch"]]] = {
    "cross_entropy": cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
    "squared_error": squared_error,
    "absolute_error": absolute_error,
    "huber": huber,
    "poisson": poisson,
    "poisson_deviance": poisson_deviance,
}


def correct(logits: Float[Array, "batch classes"], labels: Int[Array, " batch"]) -> Bool[Array, " batch"]:
    """Whether the largest logit is the label's."""
    return jnp.argmax(logits, axis=1) == labels


def all_correct(
    logits: Float[Array, "batch outputs"], y: Float[Array, "batch outputs"]
) -> Bool[Array, " batch"]:
    """Whether every yes/no output is on its target's side of 0."""
    return jnp.all((logits > 0) == (y > 0.5), axis=1)


def squared_distance(
    outputs: Float[Array, "batch outputs"], y: Float[Array, "batch outputs"]
) -> Float[Array, "batch outputs"]:
    """Squared error of each output."""
    return (outputs - y) ** 2


def r2(error: Float[Array, " outputs"], variance: Float[Array, " outputs"]) -> Float[Array, ""]:
    """R², averaged over the outputs. Of constant targets it is 1 if all are met, else 0."""
    varied = variance > 0
    return jnp.mean(jnp.where(varied, 1 - error / jnp.where(varied, variance, 1), error == 0))


class Metric(NamedTuple):
    """A metric: a value per example, and what makes the figure of their mean and the targets' variance."""

    values: Callable[[Array, Array], Array]
    finish: Callable[[Array, Array], Array] = lambda mean, variance: mean


def of_targets(function: Callable[..., Array], classes: tuple[int, ...]) -> Callable[..., Array]:
    """Return a loss or metric of several targets of classes: its mean over the targets.

    Parameters
    ----------
    function : callable
        `function(logits, labels, *more) -> (batch,)` of one target.
    classes : tuple of int
        The number of classes of each target, whose logits stand beside each other; the labels are (batch,
        targets). Empty for one target: then the function itself is returned.
    """
    if not classes:
        return function

    def mean(logits: Array, y: Array, *more: Scalar) -> Array:
        parts = jnp.split(logits, [*accumulate(classes[:-1])], axis=1)
        each = [function(own, y[:, k], *more).astype(logits.dtype) for k, own in enumerate(parts)]
        return sum(each[1:], each[0]) / len(classes)

    return mean


METRICS: dict[str, Metric] = {
    "accuracy": Metric(correct),
    "subset_accuracy": Metric(all_correct),
    "log_loss": Metric(cross_entropy),
    "rmse": Metric(squared_error, lambda mean, variance: jnp.sqrt(2 * mean)),
    "mae": Metric(absolute_error),
    "r2": Metric(squared_distance, r2),
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


def update(
    params: Params, X: Float[Array, "batch features"], y: Int[Array, " batch"], lr: float | Array = 0.01
) -> tuple[Params, Float[Array, ""]]:
    """One step of stochastic gradient descent on the cross-entropy.

    Parameters
    ----------
    params : list of (W, b)
        The network, of any depth.
    X : array of shape (batch, features), float32
    y : array of shape (batch,), int
        Labels in 0 .. classes - 1.
    lr : float, default 0.01
        Learning rate.

    Returns
    -------
    params : list of (W, b)
        `p - lr * gradient` for each parameter.
    loss : array of shape ()
        Mean cross-entropy before the step.
    """
    loss, gradients = jax.value_and_grad(cross_entropy_loss)(params, X, y)
    return jax.tree.map(lambda p, g: p - lr * g, params, gradients), loss
