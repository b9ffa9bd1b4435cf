"""Rows on the device as they came, padded to a bucket, and their order in an epoch's minibatches."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from mlpax.errors import InputError
from mlpax.recipes import Recipe
from mlpax.seeds import rng

__all__ = ["Data", "aligned", "all_finite", "bucket", "inputs", "minibatch", "place", "row_order"]


class Data(NamedTuple):
    """Rows on the device as they came, padded to a bucket with rows of weight 0.

    The network sees `(X - shift) * scale` in float32. `n` (rows before the padding) and `steps`
    (minibatches an epoch) are traced: row counts of one bucket share one program.
    """

    X: Array  # (bucket, features), uint8 or float32; or uint32 of four pixels each, quicker to gather
    y: Array  # (bucket,) int32 labels, or (bucket, outputs) float32
    weight: Array  # (bucket,) float32
    n: Any  # () int32
    steps: Any  # () int32
    shift: Any  # () or (features,) float32
    scale: Any  # () or (features,) float32


def bucket(rows: int, batch_size: int) -> int:
    """Rows after padding: a batch times s times 1 to 8, s a power of two."""
    steps = math.ceil(rows / batch_size)
    s = 2 ** max(0, math.ceil(math.log2(steps / 8)))
    return batch_size * s * math.ceil(steps / s)


def place(
    X: np.ndarray,
    y: np.ndarray,
    *,
    batch_size: int,
    drop_last: bool = False,
    weight: np.ndarray | None = None,
    shift: float | np.ndarray = 0.0,
    scale: float | np.ndarray = 1.0,
    dtype: Any = np.float32,
) -> Data:
    """Put rows on the device, padded to their bucket.

    Parameters
    ----------
    X : array of shape (rows, features), uint8 or float
        uint8 stays as it is, a byte a pixel; all else becomes `dtype`.
    y : array of shape (rows,), int, or (rows, outputs), float
        Labels, or targets of a regression.
    batch_size : int
        Rows of a minibatch.
    drop_last : bool, default False
        Leave out the last partial minibatch, in evaluation too.
    weight : array of shape (rows,), optional
        Weight of each row in every mean, >= 0; 1 each by default.
    shift, scale : float or array of shape (features,)
        The network sees `(X - shift) * scale`.
    dtype : numpy dtype, default float32
        Of the arithmetic; float64 needs `jax.enable_x64`.

    Raises
    ------
    InputError
        If there are no rows, lengths differ, a value or weight is NaN or infinite, a label or weight
        is negative, or float targets are not (rows, outputs).
    """
    rows = len(X)
    if rows == 0 or X.ndim != 2:
        raise InputError(f"X has shape {X.shape}; training needs (rows, features) with at least one row")
    if len(y) != rows:
        raise InputError(f"X has {rows} rows but y has {len(y)}; they must be equal")
    weight = np.ones(rows, dtype) if weight is None else np.asarray(weight, dtype)
    if weight.shape != (rows,) or not np.all((weight >= 0) & np.isfinite(weight)) or not weight.any():
        raise InputError(f"weights must be {rows} finite numbers >= 0, at least one above 0")
    if X.dtype == np.uint8:
        X = np.ascontiguousarray(X).view(np.uint8 if X.shape[1] % 4 else np.uint32)
    else:
        X = np.asarray(X, dtype)
        if not all_finite(X):
            row, column = np.argwhere(~np.isfinite(X))[0]
            raise InputError(f"X holds {X[row, column]} at row {row}, column {column}; all must be finite")
    labels = y.dtype.kind in "iub"
    if y.ndim < 2 and not labels:  # against outputs of (batch, 1) they would make a square
        raise InputError(f"y has shape {y.shape}; float targets need (rows, outputs), as y[:, None]")
    if y.ndim < 2 and not (y.min() >= 0 and y.max() < 2**31):
        raise InputError(f"y holds labels {y.min()} to {y.max()}; they must be 0 .. classes - 1")
    y = np.asarray(y, np.int32 if labels else dtype)
    if not np.isfinite(y).all():
        raise InputError("y holds NaN or infinite values; all must be finite")
    steps = rows // batch_size if drop_last else math.ceil(rows / batch_size)
    padding = bucket(rows, batch_size) - rows

    def padded(a: np.ndarray) -> Array:
        out = aligned((rows + padding, *a.shape[1:]), a.dtype)
        out[:rows] = a
        out[rows:] = a[-1]  # a loss that is finite on every row is so on these, and 0 times it is 0
        return jax.device_put(out)

    return Data(
        X=padded(X),
        y=padded(y),
        weight=jax.device_put(np.append(weight, np.zeros(padding, dtype))),
        n=np.int32(rows),
        steps=np.int32(steps),
        shift=np.asarray(shift, dtype),
        scale=np.asarray(scale, dtype),
    )


def aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An empty array that starts where XLA wants it to, so that a CPU takes it as it lies, without a copy."""
    size, step = math.prod(shape) * np.dtype(dtype).itemsize, 64
    memory = np.empty(size + step, np.uint8)
    start = -memory.ctypes.data % step
    return memory[start : start + size].view(dtype).reshape(shape)


def all_finite(X: np.ndarray) -> bool:
    """Whether no value is NaN or infinite: their sum tells, unless it overflows, without another array."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(X.sum()) or np.isfinite(X).all())


def inputs(data: Data, X: Array) -> Array:
    """What the network sees of rows of `data.X`: (batch, features), in the arithmetic's dtype."""
    if X.dtype == jnp.uint32:
        X = lax.bitcast_convert_type(X, jnp.uint8).reshape(len(X), -1)
    return (X.astype(data.scale.dtype) - data.shift) * data.scale


def minibatch(data: Data, i: Any, size: int, order: Array | None = None) -> tuple[Array, Array, Array]:
    """Inputs, targets and weights of minibatch `i` of `size` rows, in the given order or as they lie."""
    if order is None:
        X, y, weight = (lax.dynamic_slice_in_dim(a, i * size, size) for a in (data.X, data.y, data.weight))
    else:
        rows = lax.dynamic_slice_in_dim(order, i * size, size)
        X, y, weight = data.X[rows], data.y[rows], data.weight[rows]
    return inputs(data, X), y, weight


def row_order(data: Data, recipe: Recipe, epoch: int) -> np.ndarray | None:
    """Row numbers, of shape (bucket,), in the order of epoch `epoch` (1 the first), padding last.

    None, which is as they lie, where the recipe does not shuffle.
    """
    if not recipe.shuffle:
        return None
    order = np.arange(data.X.shape[0], dtype=np.int32)
    order[: data.n] = rng(recipe.seed, "order", epoch).permutation(int(data.n))
    return order
