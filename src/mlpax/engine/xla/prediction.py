"""The forward pass of a trained network on a device, which holds the network's weights."""

import math
from functools import partial
from weakref import WeakKeyDictionary

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mlpax.engine.forward import Network
from mlpax.engine.rows import Scaling
from mlpax.engine.xla.epoch import let_go, settings_of_ours
from mlpax.engine.xla.network import Params, forward
from mlpax.engine.xla.objective import table_features
from mlpax.errors import InputError

__all__ = ["device_of", "outputs"]

CHUNK = 8192  # rows a call, which bounds the memory

Uploaded = tuple[Params, list[Array]]  # layers, embeddings
_UPLOADED: WeakKeyDictionary[Network, dict[object, Uploaded]] = WeakKeyDictionary()


def device_of(name: str) -> object:
    """Return JAX's device of a name like "gpu" or "gpu:1".

    Raises
    ------
    InputError
        If this machine has no such device.
    """
    kind, _, number = name.partition(":")
    try:
        found = jax.local_devices(backend=kind)
    except RuntimeError:
        here = ", ".join(sorted({device.platform for device in jax.local_devices()}))
        raise InputError(f"device={name!r}, but JAX has no {kind!r} here; it has {here}") from None
    if number and not (number.isdecimal() and int(number) < len(found)):
        raise InputError(f"device={name!r}, but the numbers of {kind!r} here are 0 to {len(found) - 1}")
    return found[int(number or 0)]


def outputs(network: Network, X: np.ndarray, scaling: Scaling, device: str | None) -> np.ndarray:
    """Return a network's outputs; see `mlpax.engine.forward.outputs`.

    The first call for a network and a device uploads the weights. They stay there as long as the network
    lives.
    """
    if X.dtype != np.uint8:
        X = X.astype(np.float32)
    params, embeddings = _uploaded(network, device_of(device) if device else jax.local_devices()[0])
    let_go(_outputs)
    found = np.empty((len(X), network.sizes[-1]), np.float32)
    for start in range(0, len(X), CHUNK):
        rows = X[start : start + CHUNK]
        # Row counts round up to powers of two, so that a handful of programs serves them all.
        padded = np.zeros((min(CHUNK, 2 ** math.ceil(math.log2(len(rows)))), X.shape[1]), X.dtype)
        padded[: len(rows)] = rows
        with settings_of_ours():
            answer = _outputs(params, embeddings, padded, *scaling, activation=network.activation)
        found[start : start + CHUNK] = np.asarray(answer)[: len(rows)]
    return found


def _uploaded(network: Network, device: object) -> Uploaded:
    by_device = _UPLOADED.setdefault(network, {})
    if device not in by_device:
        by_device[device] = jax.device_put((list(network.params), network.embeddings), device)
    return by_device[device]


@partial(jax.jit, static_argnames="activation")
def _outputs(
    params: Params, embeddings: list[Array], X: Array, shift: float, scale: float, *,
    activation: str | tuple[str, ...],
) -> Array:  # fmt: skip
    X = table_features(embeddings, (X.astype(jnp.float32) - shift) * scale)
    return forward(params, X, activation=activation)
