"""Losses and metrics of rows in NumPy, as `xla.losses` has them in JAX."""

from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpax.engine.plan import Plan
from mlpax.engine.rows import Data

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["joined", "measure"]

Numbers = Any  # an array of NumPy or of JAX


def measure(name: str, outputs: np.ndarray, data: Data, plan: Plan) -> np.ndarray:
    """Return the weighted mean of a metric over the rows that count.

    Parameters
    ----------
    name : str
        "loss", which is the plan's without smoothing or penalty, or a name of `xla.losses.METRICS`.
    outputs : array of shape (..., counted, outputs), float32
        Of the last layer. Axes before the rows, such as members, are kept.
    data : Data
        The rows, of which the first `counted` count.
    """
    rows = outputs.shape[-2]
    y, weight = data.y[:rows], data.weight[:rows]
    if plan.loss == "poisson_deviance" and name != "loss":
        outputs = np.exp(outputs)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # a diverged network's
        metric = plan.loss if name == "loss" else name
        if plan.classes:
            parts = np.split(outputs, [*accumulate(plan.classes[:-1])], axis=-1)
            values = np.mean([_values(metric, z, y[:, k]) for k, z in enumerate(parts)], axis=0)
        else:
            values = _values(metric, outputs, y)
        total = weight.sum(dtype=np.float64)
        if name == "r2":
            mean = (values * weight[:, None]).sum(axis=-2, dtype=np.float64) / total
            varied = data.variance > 0
            share = mean / np.where(varied, data.variance, 1)
            return np.mean(np.where(varied, 1 - share, mean == 0), axis=-1)
        mean = (values * weight).sum(axis=-1, dtype=np.float64) / total
        return np.sqrt(2 * mean) if name == "rmse" else mean


def _values(name: str, z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return a loss or a metric of each row: (..., rows), and for "r2" (..., rows, outputs)."""
    match name:
        case "accuracy":
            return (z.argmax(axis=-1) == y).astype(np.float64)
        case "subset_accuracy":
            return ((z > 0) == (y > 0.5)).all(axis=-1).astype(np.float64)
        case "cross_entropy" | "log_loss":
            z = np.moveaxis(z, -1, 0).copy()  # NumPy reduces a short last axis at a fifth of the speed
            z -= z.max(axis=0)
            of_truth = np.moveaxis(z[y, ..., np.arange(len(y))], 0, -1)
            return np.log(np.exp(z, out=z).sum(axis=0)) - of_truth
        case "binary_cross_entropy":
            return (np.logaddexp(0, z) - y * z).sum(axis=-1)
        case "squared_error" | "rmse":
            return ((z - y) ** 2).mean(axis=-1) / 2
        case "absolute_error" | "mae":
            return np.abs(z - y).mean(axis=-1)
        case "huber":
            error = np.abs(z - y)
            return np.where(error <= 1, error**2 / 2, error - 0.5).mean(axis=-1)
        case "poisson":
            return (np.exp(z) - y * z).mean(axis=-1)
        case "poisson_deviance":
            return (y * np.log(np.where(y > 0, y, 1)) - y * z - y + np.exp(z)).sum(axis=-1)
        case "r2":
            return (z - y) ** 2
        case _:
            raise AssertionError(name)


def joined(outputs: "Numbers", alive: "Numbers", plan: Plan, xp: "ModuleType") -> "Numbers":
    """Return an ensemble's outputs: those of the members' mean probability, or of their mean value.

    Parameters
    ----------
    outputs : array of shape (members, ..., outputs), of NumPy or of JAX
        Of the last layer.
    alive : array of shape (members,), bool
        Which members count; at least one.
    plan : Plan
    xp : module
        `numpy` or `jax.numpy`.
    """
    which = alive.reshape((-1,) + (1,) * (outputs.ndim - 1))

    def mean(values: "Numbers") -> "Numbers":
        return xp.where(which, values, 0).sum(axis=0) / alive.sum()

    tiny = xp.finfo(xp.float32).tiny

    def of_classes(logits: "Numbers") -> "Numbers":
        p = xp.exp(logits - logits.max(axis=-1, keepdims=True))
        return xp.log(xp.maximum(mean(p / p.sum(axis=-1, keepdims=True)), tiny))

    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # of those that do not count
        match plan.loss:
            case "cross_entropy":
                ends = [*accumulate(plan.classes[:-1])]
                return xp.concatenate([of_classes(z) for z in xp.split(outputs, ends, axis=-1)], axis=-1)
            case "binary_cross_entropy":
                yes, no = (mean(xp.exp(-xp.logaddexp(0, -side * outputs))) for side in (1, -1))
                return xp.log(xp.maximum(yes, tiny)) - xp.log(xp.maximum(no, tiny))
            case "poisson" | "poisson_deviance":
                return xp.log(xp.maximum(mean(xp.exp(outputs)), tiny))
            case _:
                return mean(outputs)
