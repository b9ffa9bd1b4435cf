"""The network for tables: embeddings and a learned scale in front of the layers, folded into them after."""

import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mlpax.engine.xla.losses import LOSSES, METRICS, Objective, cross_entropy
from mlpax.engine.xla.network import Params, forward

__all__ = ["fold", "initial_table_params", "table_features", "table_objective", "temperature",
           "with_new_codes"]  # fmt: skip

TableParams = dict[str, Any]  # "embeddings": [(codes, size)], "scale": (features,), "layers", "target"

# Adam moves every parameter by the rate, so a parameter stored as p / c moves c times as fast as p.
SCALE_PACE, BIAS_PACE = 6.0, 0.1  # of Holzmüller et al. 2024 (RealMLP), relative to the weights


def embedding_size(codes: int) -> int:
    """fastai's rule of thumb, held to what tables of thousands of rows can fill."""
    return min(16, round(1.6 * codes**0.56))


def initial_table_params(
    dense: int, codes: tuple[int, ...], hidden: tuple[int, ...], outputs: int, target: tuple[float, float],
    rng: np.random.Generator,
) -> TableParams:  # fmt: skip
    """The network before training: neural-tangent parametrisation, the last layer 0 (RealMLP's).

    Parameters
    ----------
    dense : int
        Inputs that are no codes.
    codes : tuple of int
        Rows of each embedding.
    hidden : tuple of int
    outputs : int
    target : tuple of float
        Shift and scale of a regression's targets: the network learns `(y - shift) / scale`.
    rng : numpy.random.Generator
    """
    sizes = [embedding_size(n) for n in codes]
    units = (dense + sum(sizes), *hidden, outputs)
    layers: list[tuple[np.ndarray, np.ndarray]] = [
        (_normal(rng, (m, n)), _normal(rng, (n,)) / np.float32(BIAS_PACE))
        for m, n in itertools.pairwise(units[:-1])
    ]
    layers.append((np.zeros(units[-2:], np.float32), np.zeros(outputs, np.float32)))
    return {
        "embeddings": [_normal(rng, (n, size)) for n, size in zip(codes, sizes, strict=True)],
        "scale": np.full(units[0], 1 / SCALE_PACE, np.float32),
        "layers": layers,
        "target": np.asarray(target, np.float32),
    }


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


def table_features(embeddings: list[Array], X: Array) -> Array:
    """Inputs of the first layer: the dense ones, then each code's row of its embedding."""
    if not embeddings:
        return X
    dense = X.shape[1] - len(embeddings)
    rows = [E[X[:, dense + i].astype(jnp.int32)] for i, E in enumerate(embeddings)]
    return jnp.concatenate([X[:, :dense], *rows], axis=1)  # (batch, features)


def _layers(params: TableParams) -> Params:
    """The layers as plain (W, b), the scale and the parametrisation folded in."""
    layers = [(W / math.sqrt(W.shape[0]), BIAS_PACE * b) for W, b in params["layers"]]
    W, b = layers[0]
    layers[0] = SCALE_PACE * params["scale"][:, None] * W, b
    return layers


@functools.cache
def table_objective(activation: str, loss: str, metrics: tuple[str, ...]) -> Objective:
    """The objective of a network for tables; a regression's metrics are in the target's units."""

    def outputs(params: TableParams, X: Array, dropout: Any = None, key: Array | None = None) -> Array:
        features = table_features(params["embeddings"], X)
        return forward(_layers(params), features, activation=activation, dropout=dropout, key=key)

    def per_example(params: TableParams, X: Array, y: Array, key: Array | None, hyper: Any) -> Array:
        out = outputs(params, X, hyper.dropout, key)
        if loss == "cross_entropy":
            return cross_entropy(out, y, hyper.label_smoothing)
        shift, scale = jax.lax.stop_gradient(params["target"])
        return LOSSES[loss](out, (y - shift) / scale)

    def predict(params: TableParams, X: Array) -> Array:
        shift, scale = params["target"]
        return outputs(params, X) * scale + shift

    assert all(name in METRICS for name in metrics)
    return Objective(per_example, predict, metrics)


def fold(params: TableParams, temperature: float = 1.0) -> tuple[list[np.ndarray], Params]:
    """The trained network as embeddings and a plain list of (W, b), in the target's units."""
    *layers, (W, b) = jax.tree.map(np.asarray, _layers(params))
    shift, scale = np.asarray(params["target"]) / (1.0, np.float32(temperature))
    layers.append((W * scale, b * scale + shift))
    to_float32 = functools.partial(np.asarray, dtype=np.float32)
    return jax.tree.map(to_float32, (params["embeddings"], layers))


def with_new_codes(embeddings: list[np.ndarray], codes: np.ndarray) -> list[np.ndarray]:
    """Embeddings that answer for levels no training row had, whose rows nothing has moved: by the mean.

    Parameters
    ----------
    embeddings : list of arrays of shape (codes, size)
    codes : array of shape (rows, embeddings)
        Of the training rows.
    """
    seen = [np.isin(np.arange(len(E)), of) for E, of in zip(embeddings, codes.T, strict=True)]
    return [np.where(s[:, None], E, E[s].mean(axis=0)) for E, s in zip(embeddings, seen, strict=True)]


def temperature(logits: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> float:
    """The divisor of the logits that makes held-out rows likeliest (Guo et al. 2017), 0.2 to 5.

    One row more than there are, of their mean weight, is taken to be of any class, lest a few rows all
    right make it too sure.
    """
    import scipy.optimize
    import scipy.special

    logits = np.asarray(logits, np.float64)
    rows = np.arange(len(y))
    share = np.full(len(y), 1 / len(y)) if weight is None else weight / weight.sum(dtype=np.float64)

    def loss(log_t: float) -> float:
        values = -scipy.special.log_softmax(logits * math.exp(-log_t), axis=1)
        return float(share @ (len(y) * values[rows, y] + values.mean(axis=1)))

    found = scipy.optimize.minimize_scalar(loss, bounds=(-math.log(5), math.log(5)), method="bounded")
    return math.exp(found.x)
