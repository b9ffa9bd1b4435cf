"""Load the native library, and call it with arrays of NumPy."""

import ctypes
import functools
import itertools
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlpax.engine.plan import Hyper, Plan
from mlpax.engine.rows import Data
from mlpax.errors import InputError

__all__ = ["Fit", "Layers", "Moments", "available", "damaged", "fit_of", "initial_moments", "instructions",
           "missing", "outputs", "threads_for", "train", "unsupported"]  # fmt: skip

VERSION = 1  # of the interface in native.h
MAX_LAYERS = 64

# The numbers of native.h.
ACTIVATION = ("identity", "relu", "tanh", "logistic", "gelu", "silu", "selu", "mish")
LOSS = ("cross_entropy", "binary_cross_entropy", "squared_error", "absolute_error", "huber", "poisson",
        "poisson_deviance")  # fmt: skip
OPTIMIZER = ("sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop", "lion")
MOMENTS = {"sgd": (), "momentum": (0,), "nesterov": (0,), "lion": (0,), "rmsprop": (1,)}  # of the others both
NO_MEMORY = 2

SMALL_STEP = 2e7  # floating-point operations of a step; below it a second thread costs more than it helps

Layers = Sequence[tuple[np.ndarray, np.ndarray]]  # (W, b) of each layer
Moments = tuple[Layers, Layers]  # what the update rule remembers; empty if it needs none


class _Network(ctypes.Structure):
    _fields_ = [
        ("layers", ctypes.c_int32),
        ("sizes", ctypes.c_int32 * (MAX_LAYERS + 1)),
        ("activation", ctypes.c_int32 * MAX_LAYERS),
        ("W", ctypes.c_void_p * MAX_LAYERS),
        ("b", ctypes.c_void_p * MAX_LAYERS),
    ]


class _Rows(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("X", "y", "weight", "shift", "scale")),
        ("bytes", ctypes.c_int32),
        ("per_feature", ctypes.c_int32),
    ]


class _Settings(ctypes.Structure):
    _fields_ = [
        *((n, ctypes.c_int32) for n in ("loss", "optimizer", "batch", "summed", "epsilon_hat", "sums_steps")),
        *((n, ctypes.c_float) for n in ("momentum", "beta_1", "beta_2", "epsilon", "decay", "penalty",
                                        "smoothing", "clip", "dropout")),
        ("seed", ctypes.c_uint64),
    ]  # fmt: skip


class _Course(ctypes.Structure):
    _fields_ = [
        ("epochs", ctypes.c_int32),
        ("steps", ctypes.c_int32),
        ("updates", ctypes.c_int64),
        ("rates", ctypes.c_void_p),
        ("order", ctypes.c_void_p),
        ("orders", ctypes.c_int64),
        ("moment", ctypes.c_void_p * (2 * MAX_LAYERS) * 2),
    ]


class Fit(NamedTuple):
    """What stays the same from call to call of a fit."""

    data: Data  # whose arrays `rows` points into
    rows: _Rows
    settings: _Settings
    activation: str | tuple[str, ...]
    bucket: int  # rows of the data
    threads: int


class _Loaded(NamedTuple):
    library: ctypes.CDLL | None
    missing: str  # why there is none
    built: bool = True


@functools.cache
def _loaded() -> _Loaded:
    """Load the library that was built when mlpax was installed."""
    files = sorted(Path(__file__).parent.glob("_library*.so"))
    if not files:
        why = "it was not built, since there was no C++ compiler when mlpax was installed"
        return _Loaded(None, why, built=False)
    try:
        library = ctypes.CDLL(os.fspath(files[0]))
        version = library.mlpax_version()
        library.mlpax_instructions.restype = ctypes.c_char_p
        network, rows = ctypes.POINTER(_Network), ctypes.POINTER(_Rows)
        stop, array = ctypes.POINTER(ctypes.c_int32), ctypes.c_void_p
        library.mlpax_train.argtypes = [network, rows, ctypes.POINTER(_Settings), ctypes.POINTER(_Course),
                                        ctypes.c_int32, stop, array]  # fmt: skip
        library.mlpax_outputs.argtypes = [network, rows, ctypes.c_int64, ctypes.c_int32, array]
    except (OSError, AttributeError) as error:
        return _Loaded(None, f"it cannot be loaded: {' '.join(str(error).split())[:200]}")
    if version != VERSION:
        return _Loaded(None, f"it is of version {version}, not {VERSION}; install mlpax again")
    return _Loaded(library, "")


def missing() -> str:
    """Return why the native library is not here; empty if it is."""
    return _loaded().missing


def damaged() -> str:
    """Return why a native library that was built cannot be used; empty if it can, or there is none."""
    return _loaded().missing if _loaded().built else ""


def instructions() -> str:
    """Return the instruction set that the library uses: "avx512", "avx2" or "generic"; "" without it."""
    library = _loaded().library
    return library.mlpax_instructions().decode() if library else ""


def unsupported(plan: Plan, layers: int, dtype: type[np.floating] = np.float32) -> str:
    """Return what of a plan the library cannot do; empty if it can do all of it."""
    if not isinstance(plan.network, str):
        return "it has no objectives of your own"
    if plan.network != "dense":
        return "it has no networks for tables"
    if not isinstance(plan.optimizer, str):
        return "it has none of optax's optimizers"
    if dtype != np.float32:
        return f"it computes in float32, not in {np.dtype(dtype).name}"
    if layers > MAX_LAYERS:
        return f"it has at most {MAX_LAYERS} layers, not {layers}"
    return ""


def threads_for(sizes: Sequence[int], batch: int, most: int | None = None) -> int:
    """Return how many threads a step keeps busy: one if it is small, else `most`, or all that there are."""
    work = 6 * batch * sum(m * n for m, n in itertools.pairwise(sizes))
    return 1 if work < SMALL_STEP else most or available()


def available() -> int:
    """Return the number of threads that this process may use.

    `MLPAX_THREADS` and `OMP_NUM_THREADS` limit it, as do the process's cores and a container's share of them.
    """
    for name in ("MLPAX_THREADS", "OMP_NUM_THREADS"):  # joblib's workers have the second
        text = os.environ.get(name, "")
        if text.isdecimal() and int(text):
            return int(text)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, _quota()))


@functools.cache
def _quota() -> int:
    """Return the cores that a control group grants, rounded up; many if there is no limit."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return math.ceil(int(quota) / int(period))
    except (OSError, ValueError):
        return 1 << 16


def train(
    params: Layers,
    moments: Moments,
    of: Fit,
    order: np.ndarray | None,
    rates: np.ndarray,
    updates: int,
    stop: ctypes.c_int32 | None = None,
) -> np.ndarray:
    """Train some epochs in place, and return their losses.

    Parameters
    ----------
    params, moments
        Contiguous float32 arrays, which are changed. See `initial_moments`.
    of : Fit
        What stays the same from call to call.
    order : array of shape (epochs, bucket), int32, or None
        The rows in the order of their minibatches.
    rates : array of shape (epochs, steps), float32
        The learning rate of each step.
    updates : int
        Steps done before.
    stop : ctypes.c_int32, optional
        A number above 0 ends the training after the present step; the arrays are of no use then.

    Returns
    -------
    array of shape (epochs,), float64
        Infinite if a parameter is not finite after the epoch; the later ones are 0 then.
    """
    if order is not None:
        order = np.ascontiguousarray(order, np.int32)
        _require(order.shape == (len(rates), of.bucket), "orders of another shape")
        _require(0 <= order.min() <= order.max() < of.bucket, "an order with rows that there are not")
    rates = np.ascontiguousarray(rates, np.float32)
    _require(rates.shape[1] * of.settings.batch <= of.bucket, "more steps than there are rows")
    course = _Course(
        epochs=len(rates),
        steps=rates.shape[1],
        updates=updates,
        rates=_address(rates),
        order=_address(order),
        orders=of.bucket,
    )
    flat = [p for layer in params for p in layer]
    for slot, layers in enumerate(moments):
        for i, array in enumerate(p for layer in layers for p in layer):
            _require(array.shape == flat[i].shape and array.dtype == np.float32, "moments of another shape")
            course.moment[slot][i] = _address(array)
    losses = np.zeros(len(rates))
    network = _network(params, of.activation)
    _call("mlpax_train", network, of.rows, of.settings, course, of.threads, stop, losses.ctypes.data)
    return losses


def outputs(params: Layers, of: Fit, count: int) -> np.ndarray:
    """Return the outputs of the last layer for the first `count` rows, (count, outputs), float32."""
    network = _network(params, of.activation)
    found = np.empty((count, network.sizes[network.layers]), np.float32)
    _call("mlpax_outputs", network, of.rows, count, of.threads, found.ctypes.data)
    return found


def fit_of(data: Data, plan: Plan, hyper: Hyper, sizes: Sequence[int], seed: int, threads: int) -> Fit:
    """Return what stays the same from call to call, checked: the library itself checks nothing.

    Parameters
    ----------
    data : Data
    plan, hyper
    sizes : sequence of int
        Units of each layer, the inputs first.
    seed : int
        Of the dropout.
    threads : int
    """
    X = data.X.view(np.uint8) if data.X.dtype == np.uint32 else data.X  # pixels in fours
    features = X.shape[1:] if max(data.shift.ndim, data.scale.ndim) else ()
    shift, scale = (
        np.ascontiguousarray(np.broadcast_to(a, features), np.float32) for a in (data.shift, data.scale)
    )
    data = data._replace(X=X, shift=shift, scale=scale)
    labels = plan.loss == "cross_entropy"
    _require(X.shape[1] == sizes[0] and X.dtype.name in ("uint8", "float32"), "other inputs")
    _require(data.weight.shape == (len(X),) and data.weight.dtype == np.float32, "other weights")
    shape, kind = ((len(X),), np.int32) if labels else ((len(X), sizes[-1]), np.float32)
    _require(data.y.shape == shape and data.y.dtype == kind, "other targets")
    if labels and not 0 <= data.y.min() <= data.y.max() < sizes[-1]:
        raise InputError(
            f"y holds labels {data.y.min()} to {data.y.max()}; the network has {sizes[-1]} classes"
        )
    rows = _Rows(
        **{name: _address(getattr(data, name)) for name in ("X", "y", "weight", "shift", "scale")},
        bytes=X.dtype == np.uint8,
        per_feature=bool(features),
    )
    settings = _Settings(
        loss=LOSS.index(plan.loss),
        optimizer=OPTIMIZER.index(str(plan.optimizer)),
        batch=plan.batch_size,
        **{name: getattr(plan, name) for name in ("summed", "epsilon_hat", "sums_steps")},
        **{name: getattr(hyper, name) for name in ("momentum", "beta_1", "beta_2", "epsilon")},
        decay=hyper.weight_decay if plan.decay else 0,
        penalty=hyper.penalty if plan.penalty else 0,
        smoothing=hyper.label_smoothing,
        clip=hyper.clip_norm if plan.clipping else 0,
        dropout=hyper.dropout if plan.dropout else 0,
        seed=seed,
    )
    return Fit(data, rows, settings, plan.activation, len(X), threads)


def initial_moments(params: Layers, optimizer: str) -> Moments:
    """Return what an update rule remembers before the first step: zeros for each moment that it has."""
    wanted = MOMENTS.get(optimizer, (0, 1))

    def moment(k: int) -> Layers:
        return [(np.zeros_like(W), np.zeros_like(b)) for W, b in params] if k in wanted else []

    return moment(0), moment(1)


def _network(params: Layers, activation: str | tuple[str, ...]) -> _Network:
    names = (activation,) * (len(params) - 1) if isinstance(activation, str) else activation
    network = _Network(layers=len(params))
    network.sizes[0] = params[0][0].shape[0]
    for i, (W, b) in enumerate(params):
        network.sizes[i + 1] = b.shape[0]
        _require(W.shape == (network.sizes[i], network.sizes[i + 1]), "weights of another shape")
        _require(W.dtype == b.dtype == np.float32, "weights of another type")
        network.activation[i] = ACTIVATION.index(names[i]) if i < len(names) else 0
        network.W[i], network.b[i] = _address(W), _address(b)
    return network


def _require(condition: bool | np.bool, what: str) -> None:
    """Raise an error of ours, also under `python -O`: the library would read or write beyond its arrays."""
    if not condition:
        raise AssertionError(f"the native library was given {what}")


def _address(array: np.ndarray | None) -> int | None:
    if array is None:
        return None
    _require(array.flags.c_contiguous, "an array that is not contiguous")
    return array.ctypes.data


def _call(name: str, *arguments: object) -> None:
    library = _loaded().library
    assert library is not None
    if getattr(library, name)(*arguments) == NO_MEMORY:
        raise MemoryError
