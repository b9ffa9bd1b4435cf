"""A trained network as a StableHLO program, for other programs that run JAX or XLA."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Array

from mlpax.engine.forward import Network
from mlpax.engine.rows import Scaling
from mlpax.engine.xla.epoch import settings_of_ours
from mlpax.engine.xla.losses import softmax
from mlpax.engine.xla.network import forward
from mlpax.engine.xla.objective import table_features
from mlpax.errors import InputError

__all__ = ["run", "serialized"]

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def serialized(
    networks: Sequence[Network],
    scaling: Scaling,
    shape: tuple[int, ...],
    dtype: str,
    *,
    folds: int = 1,
    exponential: bool = False,
    classes: Sequence[int] = (),
    temperatures: Sequence[float] = (),
) -> bytes:
    """Return the program from rows to probabilities or values, as `jax.export` serialises it.

    Parameters
    ----------
    networks : sequence of Network
        Several answer with the mean of their probabilities, or of their values.
    scaling : Scaling
    shape : tuple of int
        Of a row.
    dtype : {"float32", "uint8"}
        Of the rows.
    folds : int
        Into which the networks are divided evenly. The inputs of each fold stand beside each other.
    exponential : bool
        Whether values are e to the power of the outputs.
    classes : sequence of int
        The number of classes of each target, whose logits stand beside each other; empty for a regression.
    temperatures : sequence of float
        Of each target, the divisor of the logits before the softmax; by default 1.

    Raises
    ------
    InputError
        If flatbuffers is not installed.
    """
    widths = [network.features for network in networks[:: len(networks) // folds]]
    starts = np.cumsum(widths[:-1]).tolist()
    divisors = np.repeat(temperatures or np.ones(len(classes)), classes).astype(np.float32)

    def of_targets(logits: Array) -> Array:
        parts = jnp.split(logits, np.cumsum(classes[:-1]).astype(int).tolist(), axis=1)
        return jnp.concatenate([softmax(own) for own in parts], axis=1)

    def answer(X: Array) -> Array:
        X = X.reshape(X.shape[0], sum(widths)).astype(jnp.float32)
        parts = jnp.split(X, starts, axis=1)
        found: list[Array] = []
        for k, network in enumerate(networks):
            rows = (parts[k * folds // len(networks)] - scaling.shift) * scaling.scale
            rows = table_features([jnp.asarray(E) for E in network.embeddings], rows)
            params = [(jnp.asarray(W), jnp.asarray(b)) for W, b in network.params]
            found.append(forward(params, rows, activation=network.activation))
        if not classes:
            return jnp.mean(jnp.exp(jnp.stack(found)) if exponential else jnp.stack(found), axis=0)
        logits = found[0]
        if len(found) > 1:
            mean = jnp.mean(jnp.stack([of_targets(own) for own in found]), axis=0)
            logits = jnp.log(jnp.maximum(mean, jnp.finfo(jnp.float32).tiny))
        return of_targets(logits / divisors)

    with settings_of_ours():
        (rows,) = export.symbolic_shape("rows")
        program = export.export(jax.jit(answer), platforms=PLATFORMS)
        whole = program(jax.ShapeDtypeStruct((rows, *shape), dtype))
        try:
            return bytes(whole.serialize())
        except ImportError:
            raise InputError("export to StableHLO needs flatbuffers: pip install 'mlpax[export]'") from None


def run(program: bytes, X: np.ndarray) -> np.ndarray:
    """Return what a serialised program answers for rows."""
    with settings_of_ours():
        return np.asarray(export.deserialize(bytearray(program)).call(X))
