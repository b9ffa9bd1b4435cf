"""The forward pass of a trained network by the native library."""

import numpy as np

from mlpax.engine.forward import Network
from mlpax.engine.native import library
from mlpax.engine.rows import Scaling

__all__ = ["outputs", "serves"]

WIDEST = 256  # units of a layer; of wider ones BLAS is as fast


def serves(network: Network) -> bool:
    """Return whether the library is here, knows a network's activations, and is faster than NumPy."""
    known = len(network.params) <= library.MAX_LAYERS and {*network.activations} <= {*library.ACTIVATION}
    return known and max(network.sizes) <= WIDEST and not library.missing()


def outputs(network: Network, X: np.ndarray, scaling: Scaling, threads: int | None = None) -> np.ndarray:
    """Return a network's outputs for rows of finite numbers.

    A row's outputs are the same bits whatever rows stand beside it and however many threads there are.

    Parameters
    ----------
    network : Network
        One that the library `serves`.
    X : array of shape (rows, features), any type of number
    scaling : Scaling
        The network sees `(X - shift) * scale`.
    threads : int, optional
        By default one if there is little to compute, else all that this process may use.

    Returns
    -------
    array of shape (rows, outputs), float32

    Raises
    ------
    IndexError
        If a code is none of its embedding's.
    """
    X = np.ascontiguousarray(X, np.uint8 if X.dtype == np.uint8 else np.float32)
    _check_codes(network, X)
    layers = [(_plain(W), _plain(b)) for W, b in network.params]
    threads = threads or library.threads_for(network.sizes, len(X))
    return library.answer(
        layers, network.activations[:-1], X, scaling, [_plain(E) for E in network.embeddings], threads
    )


def _plain(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, np.float32)


def _check_codes(network: Network, X: np.ndarray) -> None:
    """Raise an error for a code that there is not: the library would read beyond the embedding."""
    first = X.shape[1] - len(network.embeddings)
    for E, codes in zip(network.embeddings, X.T[first:], strict=True):
        if len(codes) and not (codes.min() >= 0 and codes.max() < len(E)):  # which NaN is not
            raise IndexError(f"codes {codes.min():g} to {codes.max():g} of an embedding of {len(E)} rows")
