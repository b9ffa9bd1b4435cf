"""Rows made ready for minibatches."""

from typing import NamedTuple

import numpy as np

__all__ = ["Scaling", "fit_scaling"]


class Scaling(NamedTuple):
    """What the network sees of its inputs: `(X - shift) * scale`, in float32."""

    shift: float = 0.0
    scale: float = 1.0


def fit_scaling(X: np.ndarray, inputs: str) -> Scaling:
    """The scaling of a recipe's `inputs`, one shift and one scale for all features.

    Parameters
    ----------
    X : array of shape (rows, features)
        The training rows.
    inputs : {"standardize", "unit", "raw"}
        To mean 0 and deviation 1 over all values; divided by the largest value; as they are.
        A set without spread is only shifted.
    """
    if inputs == "raw":
        return Scaling()
    if inputs == "unit":
        return Scaling(0.0, 1 / (float(np.abs(X).max(initial=0)) or 1.0))
    if X.dtype == np.uint8:  # moments from the 256 counts: no float copy of the pixels
        counts = np.bincount(X.ravel(), minlength=256) / max(X.size, 1)
        mean = float(counts @ np.arange(256))
        deviation = float(counts @ (np.arange(256) - mean) ** 2) ** 0.5
    else:
        mean, deviation = float(X.mean(dtype=np.float64)), float(X.std(dtype=np.float64))
    return Scaling(mean, 1 / (deviation or 1.0))
