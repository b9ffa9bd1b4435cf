"""The loss over all rows and its gradient, for optimizers that take no minibatches (L-BFGS)."""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mlpax.engine.plan import Hyper, Plan
from mlpax.engine.rows import Data
from mlpax.engine.xla.epoch import inputs, mean_loss

__all__ = ["loss_and_gradient", "unpack"]

Vector = TypeVar("Vector", Array, np.ndarray)


@partial(jax.jit, static_argnames=("plan", "sizes"))
def loss_and_gradient(
    vector: Array, data: Data, hyper: Hyper, *, plan: Plan, sizes: tuple[int, ...]
) -> tuple[Array, Array]:
    """Return the penalised loss over all rows and its gradient.

    Parameters
    ----------
    vector : array of shape (parameters,)
        All parameters; see `unpack`.
    data : Data
    hyper, plan
    sizes : tuple of int
        Units of each layer, the inputs first.
    """

    def loss(vector: Array) -> Array:
        X, y, weight = (jnp.asarray(a) for a in (data.X, data.y, data.weight))
        return mean_loss(unpack(vector, sizes), inputs(data, X), y, weight, None, hyper, plan=plan)

    return jax.value_and_grad(loss)(vector)


def unpack(vector: Vector, sizes: Sequence[int]) -> list[tuple[Vector, Vector]]:
    """Return (W, b) of each layer, out of one vector of all parameters: W, b, W, b, ..."""
    params: list[tuple[Vector, Vector]] = []
    start = 0
    for m, n in itertools.pairwise(sizes):
        middle, end = start + m * n, start + (m + 1) * n
        params.append((vector[start:middle].reshape(m, n), vector[middle:end]))
        start = end
    return params
