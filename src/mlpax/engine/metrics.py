"""Losses and metrics of rows in NumPy, as `xla.losses` has them in JAX."""

import numpy as np

from mlpax.engine.plan import Plan
from mlpax.engine.rows import Data

__all__ = ["measure"]


def measure(name: str, outputs: np.ndarray, data: Data, plan: Plan) -> float:
    """Return the weighted mean of a metric over the rows that count.

    Parameters
    ----------
    name : str
        "loss", which is the plan's without smoothing or penalty, or a name of `xla.losses.METRICS`.
    outputs : array of shape (counted, outputs), float32
        Of the last layer.
    data : Data
        The rows, of which the first `counted` count.
    """
    rows = len(outputs)
    y, weight = data.y[:rows], data.weight[:rows]
    if plan.loss == "poisson_deviance" and name != "loss":
        outputs = np.exp(outputs)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # a diverged network's
        values = _values(plan.loss if name == "loss" else name, outputs, y)
        mean = weight @ values / weight.sum(dtype=np.float64)
        if name == "rmse":
            return float(np.sqrt(2 * mean))
        if name == "r2":
            varied = data.variance > 0
            share = mean / np.where(varied, data.variance, 1)
            return float(np.mean(np.where(varied, 1 - share, mean == 0)))
    return float(mean)


def _values(name: str, z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return a loss or a metric of each row: (rows,), and for "r2" (rows, outputs)."""
    match name:
        case "accuracy":
            return (z.argmax(axis=1) == y).astype(np.float64)
        case "subset_accuracy":
            return ((z > 0) == (y > 0.5)).all(axis=1).astype(np.float64)
        case "cross_entropy" | "log_loss":
            shifted = z - z.max(axis=1, keepdims=True)
            return np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(y)), y]
        case "binary_cross_entropy":
            return (np.logaddexp(0, z) - y * z).sum(axis=1)
        case "squared_error" | "rmse":
            return ((z - y) ** 2).mean(axis=1) / 2
        case "absolute_error" | "mae":
            return np.abs(z - y).mean(axis=1)
        case "huber":
            error = np.abs(z - y)
            return np.where(error <= 1, error**2 / 2, error - 0.5).mean(axis=1)
        case "poisson":
            return (np.exp(z) - y * z).mean(axis=1)
        case "poisson_deviance":
            return (y * np.log(np.where(y > 0, y, 1)) - y * z - y + np.exp(z)).sum(axis=1)
        case "r2":
            return (z - y) ** 2
        case _:
            raise AssertionError(name)
