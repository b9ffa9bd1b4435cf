"""Initial weights of a dense network, drawn by NumPy."""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

from mlpax.errors import InputError, unknown

__all__ = ["INITIAL_SCALES", "draw_weights", "scales_of"]

# Standard deviation of a layer's weights. The biases start at 0.
INITIAL_SCALES: dict[str, Callable[[int, int], float]] = {
    "he": lambda fan_in, fan_out: math.sqrt(2 / fan_in),  # He et al. 2015, for relu
    "glorot": lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out)),  # Glorot & Bengio 2010
    "lecun": lambda fan_in, fan_out: math.sqrt(1 / fan_in),  # LeCun et al. 1998
}


def scales_of(sizes: Sequence[int], scale: float | str) -> list[tuple[float, float]]:
    """Return the standard deviations of each layer's weights and biases.

    Parameters
    ----------
    sizes : sequence of int
        Units of each layer, the inputs first.
    scale : float or {"he", "glorot", "lecun"}
        A number is the deviation of weights and biases alike. A name sets the weights' by the layer's
        fan-in and fan-out, and the biases to 0.

    Raises
    ------
    InputError
        If there are fewer than two sizes, one is below 1, or the scale is unknown or out of range.
    """
    if len(sizes) < 2 or min(sizes) < 1:
        raise InputError(f"layer sizes {list(sizes)} are no network; give at least two, each 1 or more")
    layers = list(itertools.pairwise(sizes))
    if isinstance(scale, str):
        if scale not in INITIAL_SCALES:
            raise unknown("initial scale", scale, INITIAL_SCALES)
        return [(INITIAL_SCALES[scale](m, n), 0.0) for m, n in layers]
    if not 0 <= scale < math.inf:
        raise InputError(f"initial scale {scale} is outside [0, inf)")
    return [(scale, scale)] * len(layers)


def draw_weights(
    sizes: Sequence[int], generator: np.random.Generator, scale: float | str
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Draw normally distributed weights; see `scales_of` for the arguments and errors.

    Returns
    -------
    list of (W, b)
        `W` of shape (fan_in, fan_out) and `b` of shape (fan_out,), float32, for each layer.
    """
    deviations = scales_of(sizes, scale)
    return [
        (_normal(generator, (m, n), of_weights), _normal(generator, (n,), of_biases))
        for (m, n), (of_weights, of_biases) in zip(itertools.pairwise(sizes), deviations, strict=True)
    ]


def _normal(generator: np.random.Generator, shape: tuple[int, ...], scale: float) -> np.ndarray:
    if scale == 0:
        return np.zeros(shape, np.float32)
    return np.float32(scale) * generator.standard_normal(shape, np.float32)
