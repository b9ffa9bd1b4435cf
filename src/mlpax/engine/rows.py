"""Rows made ready for minibatches: scaled, padded, in the order of each epoch."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mlpax.errors import InputError
from mlpax.seeds import member_seeds, rng

__all__ = ["Data", "Orders", "Scaling", "aligned", "all_finite", "bucket", "dealt", "fit_scaling",
           "orders_of", "orders_of_devices", "orders_of_members", "place", "place_shares", "row_order",
           "without_rows"]  # fmt: skip

# `orders(done, count)` gives the row orders of the `count` epochs after the first `done`, as (count, bucket);
# of members that have orders of their own as (count, members, bucket), and of devices that share the rows as
# (count, devices, bucket of a device).
Orders = Callable[[int, int], np.ndarray]


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


class Data(NamedTuple):
    """Rows ready for minibatches, padded to a bucket with rows of weight 0.

    The network sees `(X - shift) * scale` in float32. `n`, `steps` and `counted` are traced: all row counts
    of one bucket share one program. The arrays lie on the host until training uploads them.
    """

    X: np.ndarray  # (bucket, features), uint8 or float32; or uint32 of four pixels each, quicker to gather
    y: np.ndarray  # (bucket,) or (bucket, targets) int32 labels, or (bucket, outputs) float32
    weight: np.ndarray  # (bucket,) float32
    n: np.int32  # rows before the padding
    steps: np.int32  # minibatches of an epoch
    counted: (
        np.int32
    )  # rows that an evaluation counts: without those that `drop_last` leaves out; see `place_shares`
    variance: np.ndarray  # (outputs,) of the targets, for R²; () of labels
    shift: np.ndarray  # () or (features,) float32
    scale: np.ndarray  # () or (features,) float32


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
    dtype: npt.DTypeLike = np.float32,
) -> Data:
    """Make rows ready for minibatches: checked, in the arithmetic's type, padded to their bucket.

    Parameters
    ----------
    X : array of shape (rows, features), uint8 or float
        uint8 stays as it is, a byte a pixel; all other types become `dtype`.
    y : array of shape (rows,) or (rows, targets), int, or (rows, outputs), float
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
    counted = min(rows, steps * batch_size)
    padding = bucket(rows, batch_size) - rows

    def padded(a: np.ndarray) -> np.ndarray:
        out = aligned((rows + padding, *a.shape[1:]), a.dtype)
        out[:rows] = a
        out[rows:] = a[-1]  # a loss that is finite on every row is finite on these, and 0 times it is 0
        return out

    return Data(
        X=padded(X),
        y=padded(y),
        weight=np.append(weight, np.zeros(padding, dtype)),
        n=np.int32(rows),
        steps=np.int32(steps),
        counted=np.int32(counted),
        variance=np.zeros((), dtype)
        if y.ndim < 2
        else _variance(y[:counted], weight[:counted]).astype(dtype),
        shift=np.asarray(shift, dtype),
        scale=np.asarray(scale, dtype),
    )


def place_shares(
    shares: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    devices: int,
    *,
    batch_size: int,
    variance: np.ndarray,
    drop_last: bool = False,
) -> Data:
    """Make the rows of this process's devices ready for minibatches; other processes hold the other rows.

    Parameters
    ----------
    shares : sequence of (X, y, weight)
        The rows of each device of this process, as `place` takes them. All devices, also those of other
        processes, have as many rows. The weights of one may all be 0.
    devices : int
        The devices of all processes together.
    batch_size : int
        Rows of a minibatch of all devices together.
    variance : array of shape (outputs,), or () of labels
        Of the targets of all rows.
    drop_last : bool, default False

    Returns
    -------
    Data
        `X`, `y` and `weight` have the padded rows of this process's devices one after the other. `n` and
        `steps` are of all devices together, and `counted` is an array of shape (devices,).

    Raises
    ------
    InputError
        If a value is NaN or infinite.
    """
    held, each = len(shares[0][1]), batch_size // devices
    size = bucket(held, each)
    steps = held // each if drop_last else math.ceil(held / each)
    X, y, weight = (aligned((len(shares) * size, *a.shape[1:]), _type_of(a)) for a in shares[0])
    for k, share in enumerate(shares):
        for to, rows in zip((X, y, weight), share, strict=True):
            if rows.dtype.kind == "f" and not all_finite(rows):
                raise InputError("the rows hold NaN or infinite values; all must be finite")
            own = to[k * size : (k + 1) * size]
            own[:held] = rows
            own[held:] = 0 if to is weight else rows[-1]
    counted: Any = np.full(devices, min(held, steps * each), np.int32)
    whole = np.int32(held * devices), np.int32(steps), counted, variance.astype(np.float32)
    return Data(X, y, weight, *whole, np.zeros((), np.float32), np.ones((), np.float32))


def _type_of(array: np.ndarray) -> npt.DTypeLike:
    return np.int32 if array.dtype.kind in "iub" else np.float32


def without_rows(data: Data) -> Data:
    """Return data of the same shapes, which take no memory: each array repeats one value."""
    arrays = (np.broadcast_to(a.ravel()[:1].copy().reshape((1,) * a.ndim), a.shape) for a in data[:3])
    return data._replace(**dict(zip(("X", "y", "weight"), arrays, strict=True)))


def _variance(y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the variance of each output, (outputs,), in float64: far from 0, float32 has too few digits."""
    weight = weight.astype(np.float64)
    return np.average((y - np.average(y, axis=0, weights=weight)) ** 2, axis=0, weights=weight)


def aligned(shape: tuple[int, ...], dtype: npt.DTypeLike) -> np.ndarray:
    """An empty array that starts where XLA wants it to, so that a CPU takes it as it lies, without a copy."""
    size, step = math.prod(shape) * np.dtype(dtype).itemsize, 64
    memory = np.empty(size + step, np.uint8)
    start = -memory.ctypes.data % step
    return memory[start : start + size].view(dtype).reshape(shape)


def all_finite(X: np.ndarray) -> bool:
    """Whether no value is NaN or infinite: their sum tells, unless it overflows, without another array."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(X.sum()) or np.isfinite(X).all())


def row_order(data: Data, seed: int, epoch: int) -> np.ndarray:
    """Return the random order of the rows in one epoch, padding last.

    The order depends only on the arguments, so a resumed run visits the rows in the same order as an
    uninterrupted one.

    Parameters
    ----------
    data : Data
    seed : int
        Seed of the run's row orders.
    epoch : int
        Number of the epoch, 1 for the first.

    Returns
    -------
    ndarray of shape (bucket,), int32
    """
    order = np.arange(data.X.shape[0], dtype=np.int32)
    order[: data.n] = rng(seed, "order", epoch).permutation(int(data.n))
    return order


def orders_of(data: Data, seed: int) -> Orders:
    """Return the row orders of a run that draws each epoch's order from its seed."""
    return lambda done, count: np.stack([row_order(data, seed, done + 1 + k) for k in range(count)])


def orders_of_members(data: Data, seeds: Sequence[int]) -> Orders:
    """Return the row orders of several networks, each from a seed of its own: (count, members, bucket)."""
    every = [orders_of(data, seed) for seed in seeds]
    return lambda done, count: np.stack([order(done, count) for order in every], axis=1)


def dealt(
    array: np.ndarray, n: int, device: int, devices: int, size: int, *, fill: float | None = None
) -> np.ndarray:
    """Return the rows that one of several devices holds, padded to `size` rows.

    The rows are dealt out like cards: device d holds the rows d, d + devices, d + 2 · devices, and so on.

    Parameters
    ----------
    array : array of shape (bucket, ...)
        An array of `Data`.
    n : int
        Rows before the padding.
    device, devices : int
    size : int
        See `orders_of_devices`.
    fill : float, optional
        What the padding holds; by default the last row.
    """
    own = array[device:n:devices]
    out = aligned((size, *array.shape[1:]), array.dtype)
    out[: len(own)] = own
    out[len(own) :] = array[n - 1] if fill is None else fill
    return out


def orders_of_devices(data: Data, seed: int, devices: int, batch_size: int) -> Orders:
    """Return the row orders of devices that share the rows: (count, devices, bucket of a device).

    Each device walks its own rows in an order of its own; the first one's seed is the run's.

    Parameters
    ----------
    data : Data
        All rows.
    seed : int
        Seed of the run's row orders.
    devices : int
    batch_size : int
        Rows of a minibatch on each device.
    """
    n = int(data.n)
    rest = np.arange(bucket(math.ceil(n / devices), batch_size), dtype=np.int32)
    seeds = member_seeds(seed, devices)

    def order(device: int, epoch: int) -> np.ndarray:
        own = rest.copy()
        held = len(range(device, n, devices))
        own[:held] = rng(seeds[device], "order", epoch).permutation(held)
        return own

    return lambda done, count: np.stack(
        [np.stack([order(d, done + 1 + k) for d in range(devices)]) for k in range(count)]
    )
