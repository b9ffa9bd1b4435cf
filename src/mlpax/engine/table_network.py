"""The network for tables: embeddings, and a scale of the inputs that is folded into the layers."""

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["TableParams", "fold", "initial_table_params", "plain_layers", "temperature", "unfold",
           "with_new_codes"]  # fmt: skip


class TableParams(TypedDict):
    """The network while it trains."""

    embeddings: list[np.ndarray]  # (codes, size) each
    scale: np.ndarray  # (features,)
    layers: list[tuple[np.ndarray, np.ndarray]]
    target: np.ndarray  # (2,), or (2, outputs) of several: a regression learns (y - shift) / scale


# Adam moves every parameter by the rate, so a parameter stored as p / c moves c times as fast as p.
SCALE_PACE, BIAS_PACE = 6.0, 0.1  # relative to the weights; Holzmüller et al. 2024 (RealMLP)


def embedding_size(codes: int) -> int:
    """Return fastai's rule of thumb for an embedding's size, limited to what thousands of rows can fill."""
    return min(16, round(1.6 * codes**0.56))


def initial_table_params(
    dense: int,
    codes: Sequence[int],
    hidden: Sequence[int],
    outputs: int,
    target: tuple[ArrayLike, ArrayLike],
    generator: np.random.Generator,
) -> TableParams:
    """Return the network before training: neural-tangent parametrisation, the last layer 0 (RealMLP's).

    Parameters
    ----------
    dense : int
        Inputs that are no codes.
    codes : sequence of int
        Rows of each embedding.
    hidden : sequence of int
        Units of each hidden layer.
    outputs : int
    target : tuple of float, or of arrays of shape (outputs,)
        Shift and scale of a regression's targets: the network learns `(y - shift) / scale`.
    generator : numpy.random.Generator
    """
    sizes = [embedding_size(n) for n in codes]
    units = (dense + sum(sizes), *hidden, outputs)
    layers: list[tuple[np.ndarray, np.ndarray]] = [
        (_normal(generator, (m, n)), _normal(generator, (n,)) / np.float32(BIAS_PACE))
        for m, n in itertools.pairwise(units[:-1])
    ]
    layers.append((np.zeros(units[-2:], np.float32), np.zeros(outputs, np.float32)))
    return {
        "embeddings": [_normal(generator, (n, size)) for n, size in zip(codes, sizes, strict=True)],
        "scale": np.full(units[0], 1 / SCALE_PACE, np.float32),
        "layers": layers,
        "target": _of_outputs(target, np.float32),
    }


def _normal(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return generator.standard_normal(shape, np.float32)


def _of_outputs(target: tuple[ArrayLike, ArrayLike], kind: type) -> np.ndarray:
    """Return shift and scale as one array, (2, outputs); of one output, (2,)."""
    found = np.asarray(target, kind)
    return found[:, 0] if found.shape[1:] == (1,) else found


def plain_layers(params: TableParams) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the layers as plain (W, b), with the scale and the parametrisation folded in."""
    layers = [(W / math.sqrt(W.shape[0]), BIAS_PACE * b) for W, b in params["layers"]]
    W, b = layers[0]
    layers[0] = SCALE_PACE * params["scale"][:, None] * W, b
    return layers


def fold(
    params: TableParams, target: tuple[ArrayLike, ArrayLike]
) -> tuple[list[np.ndarray], list[tuple[np.ndarray, np.ndarray]]]:
    """Return the trained network as embeddings and a plain list of (W, b), in the target's units.

    Parameters
    ----------
    params : TableParams
    target : tuple of float, or of arrays of shape (outputs,)
        Shift and scale that turn the network's outputs into the target's units.
    """
    host: TableParams = {
        "embeddings": [np.asarray(E) for E in params["embeddings"]],
        "scale": np.asarray(params["scale"]),
        "layers": [(np.asarray(W), np.asarray(b)) for W, b in params["layers"]],
        "target": _of_outputs(target, np.float64),
    }
    *layers, (W, b) = plain_layers(host)
    shift, scale = host["target"]  # in float64: float32 has few digits left far from 0
    layers.append((W * scale, b * scale + shift))
    return host["embeddings"], [(np.asarray(W, np.float32), np.asarray(b, np.float32)) for W, b in layers]


def unfold(
    embeddings: list[np.ndarray],
    layers: list[tuple[np.ndarray, np.ndarray]],
    target: tuple[ArrayLike, ArrayLike],
) -> TableParams:
    """Return the parameters of a network that `fold` has returned, to train it on."""
    shift, scale = _of_outputs(target, np.float64)
    *hidden, (W, b) = layers
    plain = [*hidden, (W / scale, (b - shift) / scale)]
    return {
        "embeddings": embeddings,
        "scale": np.full(len(layers[0][0]), 1 / SCALE_PACE, np.float32),
        "layers": [
            (np.float32(math.sqrt(len(W))) * W.astype(np.float32), (b / BIAS_PACE).astype(np.float32))
            for W, b in plain
        ],
        "target": _of_outputs((np.zeros_like(target[1]), target[1]), np.float32),
    }


def with_new_codes(embeddings: list[np.ndarray], codes: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Replace the embeddings of levels that never occur in the training set by the trained embeddings' mean.

    Their own rows were never updated.

    Parameters
    ----------
    embeddings : list of arrays of shape (codes, size)
    codes : iterable of arrays of shape (rows,)
        Codes of the training rows, for each embedding.
    """
    seen = [np.isin(np.arange(len(E)), of) for E, of in zip(embeddings, codes, strict=True)]
    return [np.where(s[:, None], E, E[s].mean(axis=0)) for E, s in zip(embeddings, seen, strict=True)]


def temperature(logits: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Return the divisor of the logits, 0.2 to 5, that makes held-out rows likeliest (Guo et al. 2017).

    One pseudo-row with the average weight and a uniform class distribution is added. Without it, a small
    held-out set that is classified perfectly would drive the temperature to its lower bound.

    Parameters
    ----------
    logits : array of shape (rows, classes)
    y : array of shape (rows,), int
    weight : array of shape (rows,), optional
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
