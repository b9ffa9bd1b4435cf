"""The mathematics of a multi-layer perceptron: a network is a list of `(W, b)`."""

import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt32

from mlpax.engine.plan import each_layer
from mlpax.engine.weights import draw_weights, scales_of
from mlpax.errors import InputError

__all__ = ["ACTIVATIONS", "Params", "batch_forward", "forward", "initialize_weights"]

Params = list[tuple[Array, Array]]  # (W, b) a layer: W (fan_in, fan_out), b (fan_out,)
PRNGKey = UInt32[Array, "2"] | Key[Array, ""]


def selu(x: Array) -> Array:
    """Klambauer et al. 2017; by exp instead of expm1, in half the time."""
    return 1.0507009873554805 * jnp.where(x > 0, x, 1.6732632423543772 * (jnp.exp(jnp.minimum(x, 0)) - 1))


def mish(x: Array) -> Array:
    """`x tanh(log(1 + e^x))` (Misra 2019); as a quotient, with one exponential instead of three."""
    e = jnp.exp(jnp.minimum(x, 20))  # beyond which the quotient is 1 in float32
    n = e * (e + 2)
    return x * (n / (n + 2))


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": lambda x: jnp.maximum(0, x),
    "tanh": jnp.tanh,
    "logistic": jax.nn.sigmoid,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "silu": jax.nn.silu,
    "selu": selu,
    "mish": mish,
    "identity": lambda x: x,
}


def initialize_weights(
    sizes: Sequence[int], key: PRNGKey | np.random.Generator, scale: float | str = 0.02
) -> Params:
    """Draw the initial weights of a network from normal distributions.

    Parameters
    ----------
    sizes : sequence of int
        Units of each layer, the inputs first: `[784, 128, 10]`.
    key : JAX PRNG key or numpy.random.Generator
        The source of randomness. NumPy's needs no compiling, which saves seconds at start-up.
    scale : float or {"he", "glorot", "lecun"}, default 0.02
        A number is the standard deviation of weights and biases alike (the article's way);
        a name sets it by the layer's fan-in and fan-out, with biases of 0.

    Returns
    -------
    list of (W, b)
        `W` of shape (fan_in, fan_out) and `b` of shape (fan_out,), float32, for each layer.

    Raises
    ------
    InputError
        If there are fewer than two sizes, one is below 1, or the scale is unknown.
    """
    if isinstance(key, np.random.Generator):
        layers = draw_weights(sizes, key, scale)
        return [(jax.device_put(W), jax.device_put(b)) for W, b in layers]
    params: Params = []
    deviations = scales_of(sizes, scale)
    keys = jax.random.split(key, len(deviations))
    for (m, n), (of_weights, of_biases), layer_key in zip(
        itertools.pairwise(sizes), deviations, keys, strict=True
    ):
        w_key, b_key = jax.random.split(layer_key)
        W = of_weights * jax.random.normal(w_key, (m, n), jnp.float32)
        b = of_biases * jax.random.normal(b_key, (n,), jnp.float32)
        params.append((W, b))
    return params


def forward(
    params: Params,
    X: Float[Array, "*batch features"],
    *,
    activation: str | tuple[str, ...] = "relu",
    dropout: float | Float[Array, ""] | None = None,
    key: PRNGKey | None = None,
) -> Float[Array, "*batch outputs"]:
    """Run the network on one example, or on any stack of them.

    Parameters
    ----------
    params : list of (W, b)
        The layers.
    X : array of shape (..., features), float32
        Inputs.
    activation : str or tuple of str, default "relu"
        A name of `ACTIVATIONS`, applied after every layer but the last; or one name for each of them.
    dropout : float in [0, 1), optional
        Share of hidden units set to 0, the others divided by 1 - dropout (Srivastava et al. 2014).
        None leaves dropout out of the program. Needs `key`.
    key : JAX PRNG key, optional
        Randomness of the dropout.

    Returns
    -------
    array of shape (..., outputs), float32
        The last layer's values before any softmax: the logits, or a regression's predictions.

    Raises
    ------
    InputError
        If an activation is unknown, their number is not the hidden layers', or dropout comes without a key.
    """
    names = each_layer(activation, len(params) - 1)
    if dropout is not None and key is None:
        raise InputError("dropout needs a PRNG key; pass key=jax.random.PRNGKey(0), or dropout=None")
    for i, (W, b) in enumerate(params[:-1]):
        X = ACTIVATIONS[names[i]](X @ W + b)  # (..., units)
        if dropout is not None and key is not None:
            share = jnp.asarray(1 - dropout, X.dtype)
            kept = jax.random.bernoulli(jax.random.fold_in(key, i), share, X.shape)
            X = jnp.where(kept, X / (1 - dropout), 0)
    W, b = params[-1]
    return X @ W + b  # (..., outputs)


batch_forward = jax.vmap(forward, in_axes=(None, 0))
batch_forward.__doc__ = """Run the network on a minibatch: `jax.vmap(forward, in_axes=(None, 0))`.

Parameters
----------
params : list of (W, b)
    The layers.
X : array of shape (batch, features), float32
    Inputs.

Returns
-------
array of shape (batch, outputs), float32
    The logits, or a regression's predictions.
"""
