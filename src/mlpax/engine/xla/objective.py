"""What training minimises and measures: the objective of a plan, or one of your own."""

import functools
from collections.abc import Sequence
from typing import cast

import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array

from mlpax.engine.plan import Hyper, Objective, Plan
from mlpax.engine.table_network import TableParams, plain_layers
from mlpax.engine.xla.losses import LOSSES, METRICS, SMOOTHED, of_targets
from mlpax.engine.xla.network import Params, forward
from mlpax.errors import unknown

__all__ = ["dense_objective", "objective_of", "table_features"]


@functools.lru_cache(maxsize=256)
def dense_objective(
    activation: str = "relu", loss: str = "cross_entropy", metrics: tuple[str, ...] = ("accuracy",)
) -> Objective:
    """Return the objective of a dense network: `forward` under one of `LOSSES`.

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
    return objective_of(Plan(activation=activation, loss=loss))._replace(metrics=metrics)


@functools.lru_cache(maxsize=256)  # one objective a plan, so that jit finds its programs again
def objective_of(plan: Plan) -> Objective:
    """Return the objective that a plan names."""
    if isinstance(plan.network, Objective):
        return plan.network
    return _table(plan) if plan.network == "table" else _dense(plan)


def _dense(plan: Plan) -> Objective:
    def loss(params: Params, X: Array, y: Array, key: Array | None, hyper: Hyper) -> Array:
        dropout = None if key is None else hyper.dropout
        outputs = forward(params, X, activation=plan.activation, dropout=dropout, key=key)
        return per_example(plan, outputs, y, hyper)

    def predict(params: Params, X: Array) -> Array:
        outputs = forward(params, X, activation=plan.activation)
        return jnp.exp(outputs) if plan.loss == "poisson_deviance" else outputs

    return Objective(loss, predict)


def per_example(plan: Plan, outputs: Array, y: Array, hyper: Hyper) -> Array:
    """The plan's loss of each row, of shape (batch,)."""
    function = of_targets(LOSSES[plan.loss], plan.classes)
    values = function(outputs, y, hyper.label_smoothing) if plan.loss in SMOOTHED else function(outputs, y)
    if plan.summed:  # the value of the mean over the outputs, with the gradient of their sum
        total = outputs.shape[1] * values
        return total + lax.stop_gradient(values - total)
    return values


def _table(plan: Plan) -> Objective:
    """A regression's metrics are in the target's units; its loss is of standardised targets."""

    def outputs(
        params: TableParams, X: Array, dropout: float | None = None, key: Array | None = None
    ) -> Array:
        features = table_features(params["embeddings"], X)
        layers = cast(Params, plain_layers(params))
        return forward(layers, features, activation=plan.activation, dropout=dropout, key=key)

    def loss(params: TableParams, X: Array, y: Array, key: Array | None, hyper: Hyper) -> Array:
        found = outputs(params, X, None if key is None else hyper.dropout, key)
        if plan.loss != "cross_entropy":
            shift, scale = lax.stop_gradient(params["target"])
            y = (y - shift) / scale
        return per_example(plan, found, y, hyper)

    def predict(params: TableParams, X: Array) -> Array:
        shift, scale = params["target"]
        return outputs(params, X) * scale + shift

    return Objective(loss, predict)


def table_features(embeddings: Sequence[ArrayLike], X: Array) -> Array:
    """Return the first layer's inputs: the dense ones, then the row of each code's embedding."""
    if not embeddings:
        return X
    dense = X.shape[1] - len(embeddings)
    rows = [jnp.asarray(E)[X[:, dense + i].astype(jnp.int32)] for i, E in enumerate(embeddings)]
    return jnp.concatenate([X[:, :dense], *rows], axis=1)  # (batch, features)
