"""Walk through the article: from a list of `(W, b)` to 94.7 % on MNIST, and to one compiled epoch.

python examples/article.py                 # MNIST, downloaded once and checked
python examples/article.py --data digits   # bundled with scikit-learn, no download

The last part times one epoch in three ways. The ways take turns: each round runs all three, after a first
round of warm-up that is not counted. The clock covers the updates of one epoch. It excludes compiling,
evaluation and loading the data.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlpax import (
    accuracy,
    batch_forward,
    cross_entropy_loss,
    dense_objective,
    fit,
    forward,
    initialize_weights,
    place,
    softmax,
    update,
)
from mlpax.data.named_sets import load
from mlpax.plots import curves, save
from mlpax.recipes import article
from mlpax.wording import epoch_line

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--data", default="mnist", help="a data set (mnist)")
parser.add_argument("--data-dir", help="folder of the IDX files")
parser.add_argument("--epochs", type=int, default=25, help="epochs to train (25)")
parser.add_argument("--rounds", type=int, default=5, help="timed rounds (5)")
parser.add_argument("--figure", default="article.png", help="where to draw the curves (article.png)")
options = parser.parse_args()

print("# The data: images as rows of pixels from 0 to 1, labels as integers")
data = load(options.data, options.data_dir)
largest = np.float32(data.X_train.max())
X_train, X_valid = (np.float32(X) / largest for X in (data.X_train, data.X_test))
y_train, y_valid = data.y_train, data.y_test
print(f"X_train {X_train.shape} {X_train.dtype}, y_train {y_train.shape} {y_train.dtype}")

print("\n# The network: a list of (W, b)")
sizes = (X_train.shape[1], 128, 10)
with jax.threefry_partitionable(False):  # the random numbers of the article's day
    params = initialize_weights(sizes, jax.random.PRNGKey(516), scale=0.02)
for i, (W, b) in enumerate(params):
    print(f"layer {i}: W {W.shape}, b {b.shape}")
print(f"one image in:     forward(params, X[0])        -> {forward(params, X_train[0]).shape}")
X, y = X_train[:64], y_train[:64]
print(f"a minibatch in:   batch_forward(params, X)     -> {batch_forward(params, X).shape}")

print("\n# Softmax: the naive one overflows, the stable one does not")
large = jnp.array([1000.0, 2000.0, 3000.0])
print(f"exp(z) / sum(exp(z)) = {jnp.exp(large) / jnp.sum(jnp.exp(large))}")
print(f"softmax(z)           = {softmax(large)}")

print("\n# Loss and gradient")
loss, gradient = jax.value_and_grad(cross_entropy_loss)(params, X, y)
print(f"loss {loss:.4f}, near ln 10 = {np.log(10):.4f} as an untrained network's should be")
print(f"the gradient has the network's shapes: {[(g.shape, h.shape) for g, h in gradient]}")

print("\n# One update: every parameter a step down its gradient")
stepped, loss = update(params, X, y, lr=0.01)
print(f"loss on this minibatch: {loss:.4f} -> {cross_entropy_loss(stepped, X, y):.4f}")
print(f"accuracy on it: {accuracy(batch_forward(stepped, X), y):.3f}")

print("\n# Training: mlpax runs each epoch as one program")
recipe = article(len(X_train)).replace(epochs=options.epochs)
rows = {"batch_size": 64, "drop_last": True, "scale": 1 / largest}
train_rows = place(data.X_train, y_train, **rows)
valid_rows = place(data.X_test, y_valid, **rows)
trained, history = fit(
    params,
    train_rows,
    valid_rows,
    objective=dense_objective(),
    recipe=recipe,
    on_epoch=lambda record: print(epoch_line(record, recipe.epochs)),
)
save(curves(history, title=f"{data.name}, the article's network"), options.figure)
print(f"The curves are in {options.figure}")

print("\n# One epoch, three ways, in turn")
batches = [(X_train[i : i + 64], y_train[i : i + 64]) for i in range(0, len(X_train) // 64 * 64, 64)]
few = batches[: max(1, len(batches) // 50)]  # without JIT an epoch takes many seconds
jitted = jax.jit(update)


def loop(step: Callable[..., tuple[Any, Any]], batches: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Return the seconds of one update for each minibatch."""
    network = params
    start = time.perf_counter()
    for X, y in batches:
        network, _ = step(network, X, y)
    jax.block_until_ready(network)
    return time.perf_counter() - start


def one_program() -> float:
    """Return the seconds of one epoch of `fit`. Its clock excludes compiling."""
    plain = recipe.replace(epochs=1, train_metrics=False)  # nothing to evaluate
    _, history = fit(params, train_rows, objective=dense_objective(), recipe=plain)
    return history[0]["seconds"]


ways: dict[str, Callable[[], float]] = {
    "without JIT": lambda: loop(update, few) * len(batches) / len(few),
    "JIT per update": lambda: loop(jitted, batches),
    "one compiled epoch": one_program,
}
rounds: list[list[float]] = []
for number in range(options.rounds + 1):
    rounds.append([way() for way in ways.values()])
    if number:  # the first round warms up
        print(f"round {number}: {', '.join(f'{seconds:.4f}' for seconds in rounds[-1])} s")
medians = np.median(rounds[1:], axis=0)
for name, seconds in zip(ways, medians, strict=True):
    times = medians[0] / seconds
    print(f"{name:20} {seconds:8.4f} s an epoch, {times:7.1f} times as fast as without JIT")
