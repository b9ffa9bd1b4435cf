"""One epoch of the article's network by its own loop and by other libraries, from given weights.

Each function returns two: one that runs an epoch, and one that tells the weights as list of (W, b).
`X` is (batches, rows, features) float32 in [0, 1], `y` (batches, rows) int32.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from mlpax.engine.xla.network import Params

Contestant = tuple[Callable[[], object], Callable[[], Params]]


def article(weights: Params, X: Any, y: Any, update: Callable[..., Any]) -> Contestant:
    """The article's loop: `update` on one batch after another, jitted or not."""
    batches = list(zip(X, y, strict=True))
    state = [weights]

    def epoch() -> Any:
        params, losses = state[0], []
        for X, y in batches:
            params, loss = update(params, X, y)
            losses.append(loss)
        state[0] = params
        return params, losses

    return epoch, lambda: state[0]


def pytorch(weights: Params, X: np.ndarray, y: np.ndarray, threads: int) -> Contestant:
    """PyTorch, eager, on the CPU."""
    import torch  # pyright: ignore[reportMissingImports]
    from torch import nn  # pyright: ignore[reportMissingImports]

    batches = list(zip(torch.from_numpy(X), torch.from_numpy(y.astype(np.int64)), strict=True))
    layers = [nn.Linear(*W.shape) for W, _ in weights]
    with torch.no_grad():
        for layer, (W, b) in zip(layers, weights, strict=True):
            layer.weight.copy_(torch.from_numpy(np.array(W.T)))
            layer.bias.copy_(torch.from_numpy(np.array(b)))
    model = nn.Sequential(layers[0], nn.ReLU(), layers[1])
    loss, optimizer = nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), lr=0.01)

    def epoch() -> None:
        torch.set_num_threads(threads)
        for X, y in batches:
            optimizer.zero_grad()
            loss(model(X), y).backward()
            optimizer.step()

    return epoch, lambda: [(m.weight.detach().numpy().T, m.bias.detach().numpy()) for m in layers]


def scikit_learn(weights: Params, X: np.ndarray, y: np.ndarray, threads: int) -> Contestant:
    """scikit-learn's `partial_fit` on all rows, BLAS held to `threads`, without its check for NaN."""
    import sklearn
    from sklearn.neural_network import MLPClassifier
    from threadpoolctl import threadpool_limits

    size, X, y = X.shape[1], X.reshape(-1, X.shape[-1]), y.ravel()
    model = MLPClassifier(
        (weights[0][1].size,), solver="sgd", momentum=0, nesterovs_momentum=False, alpha=0,
        learning_rate_init=0.01, batch_size=size, shuffle=False,
    )  # fmt: skip
    model.partial_fit(X[:size], y[:size], classes=np.arange(10))  # makes the arrays, overwritten below
    for W, b, (W0, b0) in zip(model.coefs_, model.intercepts_, weights, strict=True):
        W[...], b[...] = W0, b0

    def epoch() -> None:
        with threadpool_limits(threads), sklearn.config_context(assume_finite=True):
            model.partial_fit(X, y)

    return epoch, lambda: list(zip(model.coefs_, model.intercepts_, strict=True))


def flax(weights: Params, X: Any, y: Any, cached: bool) -> Contestant:
    """Flax NNX with `nnx.jit` around the step, or that under `nnx.cached_partial`."""
    import optax
    from flax import nnx  # pyright: ignore[reportMissingImports]

    layers: list[Any] = [nnx.Linear(*W.shape, rngs=nnx.Rngs(0)) for W, _ in weights]
    for layer, (W, b) in zip(layers, weights, strict=True):
        layer.kernel[...], layer.bias[...] = jnp.array(W), jnp.array(b)
    model = nnx.Sequential(layers[0], nnx.relu, layers[1])
    optimizer = nnx.Optimizer(model, optax.sgd(0.01), wrt=nnx.Param)

    def step(model: Any, optimizer: Any, X: Any, y: Any) -> Any:
        def mean_loss(model: Any) -> Any:
            return optax.softmax_cross_entropy_with_integer_labels(model(X), y).mean()

        loss, gradients = nnx.value_and_grad(mean_loss)(model)
        optimizer.update(model, gradients)
        return loss

    if cached:
        with nnx.set_graph_mode(True), nnx.set_graph_updates(True):
            run = nnx.cached_partial(nnx.jit(step, graph=True, graph_updates=True), model, optimizer)
    else:
        jitted = nnx.jit(step)
        run = lambda X, y: jitted(model, optimizer, X, y)  # noqa: E731
    batches = list(zip(X, y, strict=True))

    def epoch() -> Any:
        losses = [run(X, y) for X, y in batches]
        return losses, nnx.state(model)

    return epoch, lambda: [(layer.kernel[...], layer.bias[...]) for layer in layers]


def keras(weights: Params, X: np.ndarray, y: np.ndarray, steps: int) -> Contestant:
    """Keras on JAX: one epoch of `model.fit`, `steps` batches to a program."""
    import keras  # pyright: ignore[reportMissingImports]

    size, X, y = X.shape[1], X.reshape(-1, X.shape[-1]), y.ravel()
    hidden, out = (keras.layers.Dense(b.size) for _, b in weights)
    model = keras.Sequential([keras.Input((X.shape[1],)), hidden, keras.layers.ReLU(), out])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01), loss, steps_per_execution=steps)
    for layer, (W, b) in zip((hidden, out), weights, strict=True):
        layer.set_weights([np.asarray(W), np.asarray(b)])

    def epoch() -> None:
        model.fit(X, y, batch_size=size, epochs=1, shuffle=False, verbose=0)

    return epoch, lambda: [tuple(layer.get_weights()) for layer in (hidden, out)]
