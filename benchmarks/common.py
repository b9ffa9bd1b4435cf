"""What the benchmarks share: their command line, the data, one trainer, and fair timing."""

import argparse
import gc
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from mlpax.data import named_sets
from mlpax.engine import training
from mlpax.engine.native import epoch as native
from mlpax.engine.rows import Data, Scaling, fit_scaling, place
from mlpax.engine.xla.epoch import run_pass
from mlpax.engine.xla.losses import accuracy
from mlpax.engine.xla.network import Params, batch_forward
from mlpax.recipes import Backend, Recipe, article

PAUSE = 0.1  # seconds before each clock, in which the last contestant's waiting threads fall asleep

# They choose OpenBLAS's kernels by hand, and can choose slow ones; NumPy's own choice is its best.
UNSET = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def settings(doc: str | None, rounds: int) -> argparse.Namespace:
    """The command line, obeyed in a process of `threads` cores and threads with a clean environment."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds, help=f"repetitions, {rounds} by default")
    parser.add_argument("--quick", action="store_true", help="a trial: two rounds, printed and not written")
    parser.add_argument("--threads", type=int, default=2, help="cores and threads for everyone, 2 by default")
    options = parser.parse_args()
    if options.rounds < 1 or options.threads < 1:
        parser.error("--rounds and --threads must be 1 or more")
    if options.quick:
        options.rounds = min(options.rounds, 2)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    wanted = {"KERAS_BACKEND": "jax", "OMP_NUM_THREADS": str(options.threads)}
    if not wanted.items() <= os.environ.items() or any(name in os.environ for name in UNSET):
        clean = {name: value for name, value in os.environ.items() if name not in UNSET}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], clean | wanted)
    return options


def mnist() -> Any:
    """MNIST, uint8 pixels (60000, 784), from MLPAX_DATA_DIR or the cache."""
    return named_sets.load("mnist")


def article_batches(data: Any) -> tuple[np.ndarray, np.ndarray]:
    """The article's 937 batches: pixels (937, 64, 784) float32 in [0, 1], labels (937, 64) int32."""
    size = article(len(data.X_train)).batch_size
    count = len(data.X_train) // size
    X = (data.X_train[: count * size] / np.float32(255)).reshape(count, size, -1)
    return X, np.asarray(data.y_train[: count * size], np.int32).reshape(count, size)


def share_right(params: Params, data: Any, scaling: Scaling = Scaling(0.0, 1 / 255)) -> float:  # noqa: B008
    """Accuracy of a network on all the test rows."""
    X = (jnp.asarray(data.X_test, jnp.float32) - scaling.shift) * scaling.scale
    return round(float(accuracy(batch_forward(params, X), jnp.asarray(data.y_test))), 4)


class Trainer:
    """Our side: the epochs of `mlpax.fit` without their evaluation, by either backend."""

    def __init__(
        self, data: Any, recipe: Recipe, rows: Data | None = None, backend: Backend = "auto"
    ) -> None:
        recipe = recipe.replace(backend=backend)
        self.recipe, self.scaling = recipe, fit_scaling(data.X_train, recipe.inputs)
        layout = {"batch_size": recipe.batch_size, "drop_last": recipe.drop_last}
        rows = rows or place(data.X_train, data.y_train, **layout, **self.scaling._asdict())
        self.training = training.training_of(recipe, rows, None, "dense", ())
        sizes = (data.X_train.shape[1], *recipe.hidden, 10)
        params = training.initial_params(sizes, recipe)
        self.state = training.initial_state(params, self.training, recipe.seed)
        plan, hyper, orders, self.backend, *_ = self.training
        self.epochs = 0
        if self.backend == "native":
            self.call = native.caller(rows, None, plan, hyper, orders, self.state)
        else:
            self.rows = jax.device_put(rows)

    def epoch(self) -> None:
        """Draw the order of the rows, run the epoch's program, wait for it."""
        if self.backend == "native":
            self.state, *_ = self.call(self.state, 1)
            return
        plan, hyper, orders, *_ = self.training
        order = orders(self.epochs, 1)[0] if orders else None
        self.epochs += 1
        self.state, loss = run_pass(self.state, self.rows, order, hyper, plan=plan)
        loss.block_until_ready()

    @property
    def params(self) -> Params:
        layers = cast(Params, self.state.params)
        return [(jnp.asarray(W), jnp.asarray(b)) for W, b in layers]

    def accuracy(self, data: Any) -> float:
        return share_right(self.params, data, self.scaling)


def clock(work: Callable[[], object]) -> float:
    """Seconds that `work` takes, until the device is done with what it returns."""
    gc.collect()
    time.sleep(PAUSE)
    start = time.perf_counter()
    jax.block_until_ready(work())
    return time.perf_counter() - start


def interleave(
    contestants: Mapping[Any, Callable[[], object]], rounds: int, turns: int = 1
) -> dict[Any, list[float]]:
    """Seconds of each contestant in each round; each round begins with another one. Warm them before.

    With `turns`, each works so many times in a row, and its seconds are the mean of them.
    """
    names = list(contestants)
    times: dict[Any, list[float]] = {name: [] for name in names}
    for r in range(rounds):
        first = r % len(names)
        for name in names[first:] + names[:first]:
            work = contestants[name]
            times[name].append(clock(lambda work=work: [work() for _ in range(turns)]) / turns)
    return times
