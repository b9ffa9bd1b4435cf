"""One compiled evaluation, and the best epoch so far by it."""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from mlpax.engine.xla.batches import Data, minibatch
from mlpax.engine.xla.losses import METRICS, Objective
from mlpax.errors import unknown
from mlpax.recipes import Hyper, Recipe

__all__ = ["Watch", "evaluate", "follow", "monitored", "watched"]

PyTree = Any  # of arrays


@partial(jax.jit, static_argnames=("objective", "recipe"))
def evaluate(params: PyTree, data: Data, *, objective: Objective, recipe: Recipe) -> dict[str, Array]:
    """Weighted mean of each of the objective's metrics over the rows, in batches of one shape."""
    batches = data.X.shape[0] // recipe.batch_size
    chunk = recipe.batch_size * math.gcd(batches, 2 ** int(math.log2(max(1, 8192 // recipe.batch_size))))

    last = jnp.minimum(data.n, data.steps * recipe.batch_size)  # drop_last leaves its rows out here too

    def measure(i: Array, sums: dict[str, Array]) -> dict[str, Array]:
        X, y, w = minibatch(data, i, chunk)
        w = jnp.where(i * chunk + jnp.arange(chunk) < last, w, 0)
        outputs = objective.predict(params, X)
        values = {name: METRICS[name].values(outputs, y) for name in objective.metrics}
        return {"weight": sums["weight"] + jnp.sum(w)} | {
            name: sums[name] + jnp.sum(w * v) for name, v in values.items()
        }

    zeros = {name: jnp.float32(0) for name in ("weight", *objective.metrics)}
    sums = lax.fori_loop(0, (last + chunk - 1) // chunk, measure, zeros)
    return {name: METRICS[name].finish(sums[name] / sums["weight"]) for name in objective.metrics}


def monitored(recipe: Recipe, columns: tuple[str, ...]) -> str:
    """The column of the record that early stopping and the best epoch go by.

    Raises
    ------
    InputError
        If the recipe's `monitor` is not recorded.
    """
    if not recipe.monitor:
        return next((c for c in columns if c.startswith("valid_")), "loss")
    if recipe.monitor not in columns:
        raise unknown("monitor", recipe.monitor, columns)
    return recipe.monitor


def watched(record: dict[str, Array], recipe: Recipe) -> Array:
    """The monitored figure of an epoch's record, turned so that larger is better."""
    column = monitored(recipe, tuple(record))
    metric = METRICS.get(column.partition("_")[2])
    return record[column] if metric and metric.larger_is_better else -record[column]


class Watch(NamedTuple):
    """The best epoch so far by the monitored metric."""

    params: PyTree
    value: Any  # () float32, larger is better
    epoch: Any  # () int32, 0 before the first improvement
    waited: Any  # () int32, epochs since


def follow(watch: Watch, params: PyTree, epoch: Array, value: Array, hyper: Hyper) -> Watch:
    """The watch after an epoch of this value, larger being better; NaN never is."""
    better = value > watch.value + hyper.min_delta
    return Watch(
        params=jax.tree.map(partial(jnp.where, better), params, watch.params),
        value=jnp.where(better, value, watch.value),
        epoch=jnp.where(better, epoch, watch.epoch),
        waited=jnp.where(better, 0, watch.waited + 1),
    )
