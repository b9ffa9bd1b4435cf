"""One pass over the rows: every minibatch's gradient and update, in one loop of a program."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array

from mlpax.engine.xla.batches import Data, minibatch

__all__ = ["QUICK", "is_small", "one_pass"]

PyTree = Any  # of arrays

# jaxlib 0.10 hands matrix products on a CPU to YNNPACK; at batches up to 128 Eigen takes a quarter less.
QUICK: Any = {"xla_cpu_experimental_ynn_fusion_type": ""} if jax.__version__[:5] == "0.10." else {}

SMALL_EPOCH = 2e8  # floating-point operations: a few milliseconds


def is_small(params: PyTree, rows: int) -> bool:
    """Whether an epoch's dispatch costs about as much as its arithmetic, so that many should share a call."""
    return 6 * sum(p.size for p in jax.tree.leaves(params)) * rows < SMALL_EPOCH


def one_pass(
    params: PyTree,
    opt_state: PyTree,
    step: Array,
    data: Data,
    order: Array | None,
    batch_size: int,
    mean_loss: Callable[..., Array],
    rule: Callable[[Array], Any],
) -> tuple[PyTree, PyTree, Array, Array]:
    """Every minibatch's gradient and update, in one loop of a program.

    Parameters
    ----------
    params, opt_state : pytrees of arrays
    step : array of shape (), int32
        Updates done before.
    data, order, batch_size
        See `batches.minibatch`.
    mean_loss : callable
        `mean_loss(params, X, y, w, step) -> ()` of a minibatch with weights `w`.
    rule : callable
        `rule(step)` is optax's update rule at that step.

    Returns
    -------
    params, opt_state, step
    loss : array of shape ()
        Mean over the rows of the loss of the minibatch they were in.
    """

    def step_on(i: Array, carry: Any) -> Any:
        params, opt_state, summed, weights = carry
        X, y, w = minibatch(data, i, batch_size, order)  # (batch, features), ...
        loss, gradients = jax.value_and_grad(mean_loss)(params, X, y, w, step + i)
        updates, opt_state = rule(step + i).update(gradients, opt_state, params, value=loss)
        weight = jnp.sum(w)
        return (
            optax.apply_updates(params, updates),
            opt_state,
            summed + weight * loss,
            weights + weight,
        )

    zero = jnp.zeros((), data.weight.dtype)
    params, opt_state, summed, weights = lax.fori_loop(
        0, data.steps, step_on, (params, opt_state, zero, zero)
    )
    return params, opt_state, step + data.steps, summed / jnp.maximum(weights, jnp.finfo(zero.dtype).tiny)
