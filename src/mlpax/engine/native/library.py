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
from mlpax.engine.rows import Data, Scaling
from mlpax.engine.table_network import BIAS_PACE, SCALE_PACE, TableParams
from mlpax.engine.trees import leaves, mapped
from mlpax.errors import InputError

__all__ = ["Fit", "Layers", "Moments", "Params", "Trained", "answer", "available", "damaged", "fit_of",
           "initial_moments", "instructions", "layers_of", "missing", "outputs", "settings_of", "sizes_of",
           "threads_for", "train", "train_members", "trained_arrays", "unsupported",
           "with_trained"]  # fmt: skip

VERSION = 3  # of the interface in native.h
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
Params = Layers | TableParams
Moments = tuple[Params, Params]  # what the update rule remembers; empty if it needs none


class _Network(ctypes.Structure):
    alive: tuple[object, ...] = ()  # what its addresses point to; ctypes keeps none of it
    _fields_ = [
        ("layers", ctypes.c_int32),
        ("sizes", ctypes.c_int32 * (MAX_LAYERS + 1)),
        ("activation", ctypes.c_int32 * MAX_LAYERS),
        ("W", ctypes.c_void_p * MAX_LAYERS),
        ("b", ctypes.c_void_p * MAX_LAYERS),
        ("gain", ctypes.c_float * MAX_LAYERS),
        ("bias_gain", ctypes.c_float * MAX_LAYERS),
        ("scale", ctypes.c_void_p),
        ("scale_gain", ctypes.c_float),
        ("embeddings", ctypes.c_int32),
        *((name, ctypes.c_void_p) for name in ("codes", "widths", "E")),
    ]


class _Rows(ctypes.Structure):
    alive: tuple[object, ...] = ()
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("X", "y", "weight", "shift", "scale", "classes")),
        *((name, ctypes.c_int32) for name in ("targets", "bytes", "per_feature")),
    ]


class _Settings(ctypes.Structure):
    _fields_ = [
        *((n, ctypes.c_int32) for n in ("loss", "optimizer", "batch", "summed", "epsilon_hat", "sums_steps")),
        *((n, ctypes.c_float) for n in ("momentum", "beta_1", "beta_2", "epsilon", "decay", "penalty",
                                        "smoothing", "clip", "dropout")),
        ("seed", ctypes.c_uint64),
    ]  # fmt: skip


class _Course(ctypes.Structure):
    alive: tuple[object, ...] = ()
    _fields_ = [
        ("epochs", ctypes.c_int32),
        ("steps", ctypes.c_int32),
        ("updates", ctypes.c_int64),
        ("rates", ctypes.c_void_p),
        ("order", ctypes.c_void_p),
        ("orders", ctypes.c_int64),
        ("moment", ctypes.c_void_p * (2 * MAX_LAYERS) * 2),
        ("scale_moment", ctypes.c_void_p * 2),
        ("E_moment", ctypes.c_void_p * 2),
    ]


class _Member(ctypes.Structure):
    _fields_ = [
        ("net", ctypes.POINTER(_Network)),
        ("settings", ctypes.POINTER(_Settings)),
        ("course", ctypes.POINTER(_Course)),
        ("losses", ctypes.c_void_p),
        ("kept", ctypes.c_void_p),
        ("outputs", ctypes.c_void_p * 2),
    ]


class _Measured(ctypes.Structure):
    _fields_ = [("rows", ctypes.POINTER(_Rows)), ("count", ctypes.c_int64)]


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
        library.mlpax_train_members.argtypes = [ctypes.c_int32, ctypes.POINTER(_Member), rows,
                                                ctypes.POINTER(_Measured), ctypes.c_int32, stop]  # fmt: skip
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
    if plan.network == "table" and plan.clipping:
        return "it clips no gradients of networks for tables"
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

    Raises
    ------
    InputError
        If `MLPAX_THREADS` is no whole number above 0.
    """
    for name in ("MLPAX_THREADS", "OMP_NUM_THREADS"):  # joblib's workers have the second
        text = os.environ.get(name, "").partition(",")[0]  # OpenMP's may be a list for nested teams
        if text.isdecimal() and int(text):
            return int(text)
        if text and name == "MLPAX_THREADS":
            raise InputError(f"{name} {text!r} is no number of threads; write a whole number above 0")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, _quota()))


@functools.cache
def _quota() -> int:
    """Return the cores that a control group grants, rounded up; many if there is no limit."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return math.ceil(int(quota) / int(period))
    except (OSError, ValueError):
        return 1 << 16


def train(
    params: Params,
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
    order = None if order is None else _checked_order(order, of, len(rates))
    rates = np.ascontiguousarray(rates, np.float32)
    losses = np.zeros(len(rates))
    course, network = _course(params, moments, of, order, rates, updates), _network(params, of.activation)
    _call("mlpax_train", network, of.rows, of.settings, course, of.threads, stop, losses.ctypes.data)
    return losses


class Trained(NamedTuple):
    """What some epochs of several members left."""

    losses: np.ndarray  # (members, epochs), as of `train`
    kept: np.ndarray  # (members, epochs, parameters): after each epoch, see `native.h`
    outputs: list[np.ndarray]  # (members, epochs, count, outputs) of each of the measured rows


def train_members(
    members: Sequence[tuple[Params, Moments, Fit, np.ndarray | None, np.ndarray, int]],
    measured: Sequence[tuple[Fit, int]],
    threads: int,
    stop: ctypes.c_int32 | None = None,
    *,
    keeps: bool = True,
) -> Trained:
    """Train some epochs of several networks in place, each by one thread.

    Parameters
    ----------
    members : sequence
        Of each what `train` takes. All have the same rows, the same shapes and as many epochs.
    measured : sequence
        Up to two sets of rows that are answered after each epoch, and the number of their first rows that
        count.
    threads : int
        How many networks train at a time.
    stop : ctypes.c_int32, optional
        As of `train`.
    keeps : bool, default True
        Whether to return the parameters after each epoch.
    """
    epochs = len(members[0][4])
    sizes = sizes_of(members[0][0])
    losses = np.zeros((len(members), epochs))
    parameters = sum(p.size for p in trained_arrays(members[0][0])) if keeps else 0
    kept = np.zeros((len(members), epochs, parameters), np.float32)
    found = [np.zeros((len(members), epochs, count, sizes[-1]), np.float32) for _, count in measured]
    structures, alive = (_Member * len(members))(), list[object]()
    checked: dict[int, np.ndarray] = {}  # members may share an order
    for k, (params, moments, of, order, rates, updates) in enumerate(members):
        _require(
            of.rows is members[0][2].rows and rates.shape == members[0][4].shape, "members of other rows"
        )
        if order is not None and id(order) not in checked:
            checked[id(order)] = _checked_order(order, of, epochs)
        order = None if order is None else checked[id(order)]
        rates = np.ascontiguousarray(rates, np.float32)
        network = _network(params, of.activation)
        course = _course(params, moments, of, order, rates, updates)
        alive += [network, course, rates]
        structures[k] = _Member(
            ctypes.pointer(network), ctypes.pointer(of.settings), ctypes.pointer(course),
            losses[k].ctypes.data, kept[k].ctypes.data if keeps else None,
        )  # fmt: skip
        for part, answers in enumerate(found):
            structures[k].outputs[part] = answers[k].ctypes.data
    rows = (_Measured * 2)(*(_Measured(ctypes.pointer(of.rows), count) for of, count in measured))
    _call("mlpax_train_members", len(members), structures, members[0][2].rows, rows, threads, stop)
    return Trained(losses, kept, found)


def _checked_order(order: np.ndarray, of: Fit, epochs: int) -> np.ndarray:
    order = np.ascontiguousarray(order, np.int32)
    _require(order.shape == (epochs, of.bucket), "orders of another shape")
    _require(0 <= order.min() <= order.max() < of.bucket, "an order with rows that there are not")
    return order


def _course(
    params: Params, moments: Moments, of: Fit, order: np.ndarray | None, rates: np.ndarray, updates: int
) -> _Course:
    _require(rates.shape[1] * of.settings.batch <= of.bucket, "more steps than there are rows")
    course = _Course(
        epochs=len(rates),
        steps=rates.shape[1],
        updates=updates,
        rates=_address(rates),
        order=_address(order),
        orders=of.bucket,
    )
    own = leaves(params)
    for slot, moment in enumerate(moments):
        if not moment:
            continue
        arrays = leaves(moment)
        for array, other in zip(arrays, own, strict=True):
            _require(array.shape == other.shape and array.dtype == np.float32, "moments of another shape")
        for i, array in enumerate(leaves(moment["layers"]) if isinstance(moment, dict) else arrays):
            course.moment[slot][i] = _address(array)
        if isinstance(moment, dict):
            course.scale_moment[slot] = _address(moment["scale"])
            course.alive += (pointers := _pointers(moment["embeddings"]),)
            course.E_moment[slot] = ctypes.addressof(pointers)
    return course


def outputs(params: Params, of: Fit, count: int) -> np.ndarray:
    """Return the outputs of the last layer for the first `count` rows, (count, outputs), float32."""
    network = _network(params, of.activation)
    found = np.empty((count, network.sizes[network.layers]), np.float32)
    _call("mlpax_outputs", network, of.rows, count, of.threads, found.ctypes.data)
    return found


def answer(
    layers: Layers,
    activations: Sequence[str],
    X: np.ndarray,
    scaling: Scaling,
    embeddings: Sequence[np.ndarray],
    threads: int,
) -> np.ndarray:
    """Return the outputs of a trained network, (rows, outputs), float32; see `prediction.outputs`."""
    network = _network(layers, tuple(activations))
    columns = network.sizes[0] - sum(E.shape[1] - 1 for E in embeddings)
    _require(X.shape[1] == columns and X.dtype.name in ("uint8", "float32"), "other inputs")
    _require(not embeddings or X.dtype == np.float32, "codes of another type")
    _add_embeddings(network, embeddings)
    shift, scale = np.array([scaling.shift], np.float32), np.array([scaling.scale], np.float32)
    rows = _Rows(X=_address(X), shift=_address(shift), scale=_address(scale), bytes=X.dtype == np.uint8)
    found = np.empty((len(X), network.sizes[network.layers]), np.float32)
    if len(X):
        _call("mlpax_outputs", network, rows, len(X), threads, found.ctypes.data)
    return found


def fit_of(data: Data, plan: Plan, hyper: Hyper, params: Params, seed: int, threads: int) -> Fit:
    """Return what stays the same from call to call, checked: the library itself checks nothing.

    Parameters
    ----------
    data : Data
        A regression's targets as the network learns them.
    plan, hyper
    params : list of (W, b), or TableParams
        Any of the network's shapes.
    seed : int
        Of the dropout.
    threads : int
    """
    sizes, embeddings = sizes_of(params), params["embeddings"] if isinstance(params, dict) else []
    X = data.X.view(np.uint8) if data.X.dtype == np.uint32 else data.X  # pixels in fours
    columns = sizes[0] - sum(E.shape[1] - 1 for E in embeddings)
    features = (columns,) if max(data.shift.ndim, data.scale.ndim) else ()
    shift, scale = (
        np.ascontiguousarray(np.broadcast_to(a, features), np.float32) for a in (data.shift, data.scale)
    )
    data = data._replace(X=X, shift=shift, scale=scale)
    labels = plan.loss == "cross_entropy"
    _require(X.shape[1] == columns and X.dtype.name in ("uint8", "float32"), "other inputs")
    for E, codes in zip(embeddings, X.T[columns - len(embeddings) :], strict=True):
        _require(
            X.dtype == np.float32 and 0 <= codes.min() <= codes.max() < len(E), "codes that there are not"
        )
    _require(data.weight.shape == (len(X),) and data.weight.dtype == np.float32, "other weights")
    classes = np.array(plan.classes or sizes[-1:], np.int32)
    widths = ((len(plan.classes),) if plan.classes else ()) if labels else (sizes[-1],)
    kind = np.int32 if labels else np.float32
    _require(data.y.shape == (len(X), *widths) and data.y.dtype == kind, "other targets")
    _require(classes.min() > 0 and classes.sum() == sizes[-1], "other classes")
    for y, count in zip(data.y.reshape(len(X), -1).T, classes, strict=True) if labels else ():
        if not 0 <= y.min() <= y.max() < count:
            raise InputError(f"y holds labels {y.min()} to {y.max()}; the network has {count} classes")
    rows = _Rows(
        **{name: _address(getattr(data, name)) for name in ("X", "y", "weight", "shift", "scale")},
        classes=_address(classes),
        targets=len(classes),
        bytes=X.dtype == np.uint8,
        per_feature=bool(features),
    )
    rows.alive = (classes,)
    return Fit(data, rows, settings_of(plan, hyper, seed), plan.activation, len(X), threads)


def settings_of(plan: Plan, hyper: Hyper, seed: int) -> _Settings:
    """Return the library's settings of a plan and its numbers."""
    return _Settings(
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


def sizes_of(params: Params) -> tuple[int, ...]:
    """Return the units of each layer, the inputs first."""
    layers = layers_of(params)
    return (layers[0][0].shape[0], *(b.shape[0] for _, b in layers))


def initial_moments(params: Params, optimizer: str) -> Moments:
    """Return what an update rule remembers before the first step: zeros for each moment that it has."""
    wanted = MOMENTS.get(optimizer, (0, 1))
    first, second = (mapped(np.zeros_like, params) if k in wanted else [] for k in range(2))
    return first, second


def layers_of(params: Params) -> Layers:
    """Return the layers of a dense network, or of one for tables."""
    return params["layers"] if isinstance(params, dict) else params


def trained_arrays(params: Params) -> list[np.ndarray]:
    """Return the arrays that are trained, in the order of `Member.kept`."""
    layers = leaves(layers_of(params))
    return [*layers, params["scale"], *params["embeddings"]] if isinstance(params, dict) else layers


def with_trained(params: Params, vector: np.ndarray) -> Params:
    """Return parameters like these of a vector of `Trained.kept`, as views."""
    places, start = dict[int, np.ndarray](), 0
    for array in trained_arrays(params):
        places[id(array)] = vector[start : start + array.size].reshape(array.shape)
        start += array.size
    return mapped(lambda array: places.get(id(array), array), params)


def _network(params: Params, activation: str | tuple[str, ...]) -> _Network:
    layers = layers_of(params)
    names = (activation,) * (len(layers) - 1) if isinstance(activation, str) else activation
    network = _Network(layers=len(layers))
    network.sizes[0] = layers[0][0].shape[0]
    for i, (W, b) in enumerate(layers):
        network.sizes[i + 1] = b.shape[0]
        _require(W.shape == (network.sizes[i], network.sizes[i + 1]), "weights of another shape")
        _require(W.dtype == b.dtype == np.float32, "weights of another type")
        network.activation[i] = ACTIVATION.index(names[i]) if i < len(names) else 0
        network.W[i], network.b[i] = _address(W), _address(b)
        network.gain[i], network.bias_gain[i] = 1, 1
    if isinstance(params, dict):
        _add_inputs(network, params)
    return network


def _add_inputs(network: _Network, params: TableParams) -> None:
    """Add what a network for tables has besides its layers."""
    for i in range(network.layers):
        network.gain[i], network.bias_gain[i] = 1 / math.sqrt(network.sizes[i]), BIAS_PACE
    scale, embeddings = params["scale"], params["embeddings"]
    _require(scale.shape == (network.sizes[0],) and scale.dtype == np.float32, "a scale of another shape")
    network.scale, network.scale_gain = _address(scale), SCALE_PACE
    _add_embeddings(network, embeddings)


def _add_embeddings(network: _Network, embeddings: Sequence[np.ndarray]) -> None:
    _require(all(E.dtype == np.float32 for E in embeddings), "embeddings of another type")
    network.embeddings = len(embeddings)
    shapes = np.array([E.shape for E in embeddings], np.int32).reshape(-1, 2).T.copy()
    network.codes, network.widths = shapes[0].ctypes.data, shapes[1].ctypes.data
    pointers = _pointers(embeddings)
    network.E = ctypes.addressof(pointers)
    network.alive = shapes, pointers


def _pointers(arrays: Sequence[np.ndarray]) -> "ctypes.Array[ctypes.c_void_p]":
    return (ctypes.c_void_p * len(arrays))(*map(_address, arrays))


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
