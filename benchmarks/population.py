"""Many networks at once: the time of a member among K, beside K fits one after another.

Every network has its own initial weights; all see the same minibatches of the same rows, in an order that is
drawn for each epoch. The contestants train K = 1, 4, 16 and 64 of them: on each backend together
(`Recipe(members=K)`), on each backend one after another, and by scikit-learn's MLPClassifier in two processes
(joblib's loky, `n_jobs=2`). On a GPU only XLA trains, and K goes to 1,024.

The clock goes around all K trainings, from the initial weights to the trained ones, and what is shown is its
seconds divided by K and by the epochs. It excludes reading and scaling the rows, drawing weights, compiling
(a training of each contestant comes first), the start of joblib's processes and evaluation. The contestants
take turns in each round, each round beginning with another one; ratios are taken within a round. Every single
time is in the JSON.
"""

import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from joblib import Parallel, delayed
from sklearn import neural_network
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from benchmarks import common
from benchmarks.record import Record, ratios, summary
from mlpax.data import named_sets
from mlpax.engine import training
from mlpax.engine.rows import Data, fit_scaling, place
from mlpax.recipes import Backend, Recipe

Classifier: Any = neural_network.MLPClassifier  # scikit-learn has no types
MEMBERS = (1, 4, 16, 64)
ON_A_GPU = (*MEMBERS, 256, 1024)
ROWS = 12_000  # of MNIST
# Name, hidden units, rows of a minibatch, epochs.
SETS = (("digits", (32,), 64, 20), ("mnist", (32,), 256, 2), ("mnist", (128,), 256, 2))


def together(data: Data, recipe: Recipe, sizes: tuple[int, ...]) -> Callable[[], object]:
    """Return the training of the recipe's members as one population; of one network as it is."""
    how = training.training_of(recipe, data, None, "dense", ())
    params = [training.initial_params(sizes, recipe.replace(seed=k)) for k in range(recipe.members)]
    start = training.initial_state(params if recipe.members > 1 else params[0], how, 0)
    return lambda: list(training.epochs(start, data, None, how, timed=False))[-1][0].params


def one_after_another(
    data: Data, recipe: Recipe, sizes: tuple[int, ...], members: int
) -> Callable[[], object]:
    """Return as many trainings alone."""
    alone = together(data, recipe, sizes)
    return lambda: [alone() for _ in range(members)]


def scikit_learn(X: np.ndarray, y: np.ndarray, recipe: Recipe, members: int) -> Callable[[], object]:
    """Return as many fits of scikit-learn in two processes of a thread each."""

    def fit(seed: int) -> float:
        model = Classifier(
            recipe.hidden, solver="sgd", alpha=0, batch_size=recipe.batch_size, learning_rate_init=0.1,
            max_iter=recipe.epochs, n_iter_no_change=recipe.epochs, tol=0, random_state=seed,
        )  # fmt: skip
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return float(model.fit(X, y).loss_)

    return lambda: Parallel(n_jobs=2)(delayed(fit)(seed) for seed in range(members))


def contestants(
    name: str, hidden: tuple[int, ...], batch: int, epochs: int
) -> dict[Any, Callable[[], object]]:
    """Return each contestant's work for each number of members."""
    rows = named_sets.load(name)
    X, y = rows.X_train[:ROWS], rows.y_train[:ROWS]
    scaling = fit_scaling(X, "standardize")
    data = place(X, y, batch_size=batch, **scaling._asdict())
    scaled = (X.astype(np.float32) - scaling.shift) * scaling.scale
    recipe = Recipe(
        hidden=hidden, batch_size=batch, epochs=epochs, learning_rate=0.1, schedule="constant",
        label_smoothing=0.0, train_metrics=False,
    )  # fmt: skip
    sizes = X.shape[1], *hidden, len(rows.classes)
    on_gpu = jax.default_backend() != "cpu"
    backends: tuple[Backend, ...] = ("xla",) if on_gpu else ("native", "xla")
    work: dict[Any, Callable[[], object]] = {}
    for members in ON_A_GPU if on_gpu else MEMBERS:
        for backend in backends:
            own = recipe.replace(backend=backend)
            work[f"{backend}, together", members] = together(data, own.replace(members=members), sizes)
            if members <= MEMBERS[-1]:
                work[f"{backend}, one after another", members] = one_after_another(data, own, sizes, members)
        if not on_gpu:
            work["scikit-learn, n_jobs=2", members] = scikit_learn(scaled, y, recipe, members)
    return work


def main() -> None:
    options = common.settings(__doc__, rounds=7)
    with Record("population", options) as results:
        results["sets"] = []
        for name, hidden, batch, epochs in SETS:
            work = contestants(name, hidden, batch, epochs)
            for one in work.values():
                common.clock(one)
            times = common.interleave(work, options.rounds)
            figures: dict[str, Any] = {"name": name, "hidden": hidden, "batch": batch, "contestants": []}
            for (contestant, members), seconds in times.items():
                each = [1000 * t / members / epochs for t in seconds]
                ours = next(key for key in work if key[1] == members)  # the first: native, or XLA on a GPU
                entry = {
                    "contestant": contestant,
                    "members": members,
                    "milliseconds": summary(each, 3),
                    "times_ours": ratios(seconds, times[ours]),
                }
                figures["contestants"].append(entry)
                ms, ratio = entry["milliseconds"]["median"], entry["times_ours"]["median"]
                print(
                    f"{name} {hidden} {contestant:28} K={members:4} {ms:9.3f} ms  x {ratio:.2f}", flush=True
                )
            results["sets"].append(figures)


if __name__ == "__main__":
    main()
