"""The forward pass of a trained network in NumPy, which compiles nothing."""

import functools
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from mlpax.engine.rows import Scaling

if TYPE_CHECKING:
    import scipy.sparse
    from threadpoolctl import ThreadpoolController

__all__ = ["ACTIVATIONS", "Layers", "Network", "forward", "has_accelerator", "outputs", "softmax"]

Layers = Sequence[tuple[np.ndarray, np.ndarray]]  # (W, b) of each layer: (fan_in, fan_out) and (fan_out,)

_LOCK = Lock()
BLOCK = 2**18  # values of the widest layer that are in memory at a time, 1 MB: they stay in the cache


@dataclass(frozen=True, eq=False)
class Network:
    """A trained network.

    Attributes
    ----------
    params : list of (W, b)
        The layers, float32.
    activation : str or tuple of str, default "relu"
        One name for all hidden layers, or one for each.
    embeddings : list of arrays of shape (codes, size), float32
        One for each column of codes. The codes are the last columns of the inputs.
    """

    params: Layers
    activation: str | tuple[str, ...] = "relu"
    embeddings: list[np.ndarray] = field(default_factory=list[np.ndarray])

    @property
    def sizes(self) -> tuple[int, ...]:
        """Units of each layer, starting with the inputs."""
        return (self.params[0][0].shape[0], *(b.shape[0] for _, b in self.params))

    @property
    def features(self) -> int:
        """Columns of the inputs: an embedding takes one column of codes."""
        return self.sizes[0] - sum(E.shape[1] - 1 for E in self.embeddings)

    @property
    def parameters(self) -> int:
        """How many numbers training finds: weights, biases and embeddings."""
        return sum(W.size + b.size for W, b in self.params) + sum(E.size for E in self.embeddings)

    @property
    def activations(self) -> tuple[str, ...]:
        """The name of each layer's activation. The last layer has none."""
        hidden = len(self.params) - 1
        names = (self.activation,) * hidden if isinstance(self.activation, str) else self.activation
        return (*names, "identity")


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the probabilities of logits, of shape (rows, classes)."""
    p: np.ndarray = np.array(logits.T, order="C")  # NumPy sums several times faster over the first axis
    with np.errstate(over="ignore", invalid="ignore"):  # e to the power of -inf is 0; of inf, NaN
        p -= p.max(axis=0)
    np.exp(p, out=p)
    p /= p.sum(axis=0)
    return np.ascontiguousarray(p.T)


def _row_of(value: float, x: np.ndarray) -> np.ndarray:
    """Return one row of a value. NumPy compares arrays with a row in half the time of a number."""
    return np.full(x.shape[-1], value, x.dtype)


def _relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, _row_of(0, x))


def _tanh(x: np.ndarray) -> np.ndarray:
    return np.tanh(x, out=x)


def _logistic(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # 1 / inf is 0
        e = np.exp(-x)
    e += 1
    return np.divide(1, e, out=e)


def _gelu(x: np.ndarray) -> np.ndarray:
    import scipy.special  # for this function alone

    return x * scipy.special.ndtr(x)


def _silu(x: np.ndarray) -> np.ndarray:
    x *= _logistic(x)
    return x


def _selu(x: np.ndarray) -> np.ndarray:
    positive = _relu(x)
    x -= positive
    np.exp(x, out=x)
    x -= 1
    x *= 1.6732632423543772
    x += positive
    x *= 1.0507009873554805
    return x


def _mish(x: np.ndarray) -> np.ndarray:
    """Return `x tanh(log(1 + e^x))`, as the quotient of `n = e^x (e^x + 2)` and `n + 2`."""
    e = np.minimum(x, _row_of(20, x))  # beyond 20 the quotient is 1
    np.exp(e, out=e)
    n = e + 2
    n *= e
    x *= n
    n += 2
    x /= n
    return x


# The functions may overwrite their argument.
ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": _relu,
    "tanh": _tanh,
    "logistic": _logistic,
    "gelu": _gelu,
    "silu": _silu,
    "selu": _selu,
    "mish": _mish,
    "identity": lambda x: x,
    "exp": np.exp,
    "softmax": softmax,
}


def forward(
    layers: Layers, X: "np.ndarray | scipy.sparse.sparray | scipy.sparse.spmatrix", activations: Sequence[str]
) -> np.ndarray:
    """Return the outputs of a network's layers. Those that overflow are infinite or NaN; the caller looks.

    Parameters
    ----------
    layers : sequence of (W, b)
        In the arithmetic's type.
    X : array or sparse matrix of shape (rows, features)
    activations : sequence of str
        A name of `ACTIVATIONS` for each layer, the last one included.

    Returns
    -------
    array of shape (rows, outputs)
    """
    with np.errstate(over="ignore", invalid="ignore"):
        for (W, b), name in zip(layers, activations, strict=True):
            Z: np.ndarray = X @ W
            Z += b
            X = ACTIVATIONS[name](Z)
    return X  # pyright: ignore[reportReturnType]


def outputs(network: Network, X: np.ndarray, scaling: Scaling) -> np.ndarray:
    """Return a network's outputs for rows of finite numbers, in blocks of rows that fit the cache.

    Parameters
    ----------
    network : Network
    X : array of shape (rows, features), any type of number
    scaling : Scaling
        The network sees `(X - shift) * scale`.

    Returns
    -------
    array of shape (rows, outputs), float32
    """
    found = np.empty((len(X), network.sizes[-1]), np.float32)
    step, activations = max(1, BLOCK // max(network.sizes)), network.activations

    def answer(start: int) -> None:
        rows = X[start : start + step].astype(np.float32)
        if scaling != (0, 1):
            with np.errstate(over="ignore", invalid="ignore"):
                rows -= scaling.shift
                rows *= scaling.scale
        found[start : start + step] = forward(network.params, _features(network, rows), activations)

    if len(X) <= step:
        answer(0)
    else:
        _in_threads(answer, range(0, len(X), step))
    return found


def _in_threads(work: Callable[[int], None], starts: Iterable[int]) -> None:
    """Call a function for each block of rows, in as many threads as NumPy's BLAS has.

    BLAS itself would split every product in equal parts and wait for the slowest. If other programs keep a
    core busy, that takes several times as long as threads that fetch one block after the other.
    """
    queue = iter(starts)

    def fetch() -> None:
        for start in queue:
            work(start)

    with _LOCK:  # the limit holds for the whole process
        threads = max((library["num_threads"] for library in _blas().info()), default=os.cpu_count() or 1)
        with _blas().limit(limits=1), ThreadPoolExecutor(threads) as pool:
            others = [pool.submit(fetch) for _ in range(threads - 1)]
            fetch()
            for other in others:
                other.result()


@functools.cache
def _blas() -> "ThreadpoolController":
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


@functools.cache
def has_accelerator() -> bool:
    """Return whether JAX's default device is a GPU or a TPU, without importing JAX if it knows only CPUs."""
    if not any(map(find_spec, ("jax_plugins", "libtpu"))):
        return False
    import jax

    return jax.default_backend() != "cpu"


def _features(network: Network, X: np.ndarray) -> np.ndarray:
    """The first layer's inputs: dense columns, then the embedding of each code."""
    if not network.embeddings:
        return X
    dense = X.shape[1] - len(network.embeddings)
    codes = X[:, dense:].astype(np.int32)
    embedded = [E[codes[:, i]] for i, E in enumerate(network.embeddings)]
    return np.concatenate([X[:, :dense], *embedded], axis=1)  # (rows, features)
