"""MLPClassifier of mlpax against scikit-learn's own: its defaults, its stopping, the same splits and seeds.

Each round is a seed: rows split 80/20 by class, standardised by the training rows, then both fit in turns,
each round beginning with another one. The clock goes around `fit` alone, warm: a fit of each set comes
before, so that compiling is outside (`first_fit` and the search have it inside). scikit-learn runs with its
BLAS pinned to one thread and to all of the machine's, and its faster form counts. MNIST's pixels are
divided by 255 and its fits end after 10 epochs, in which neither converges. Scores are accuracies on the
held-out fifth, of the same seeds: `difference` is ours less theirs, with its standard error.

`search` is GridSearchCV over 20 pairs of alpha and learning_rate_init, 5 folds of digits, one process,
20 epochs a fit; ours compiles anew in every round, on the clock. `first_fit` is a fresh process, from its
start until a fit of 10 epochs on digits has returned: Python, imports and compiling are in it, or, where JAX
keeps its programs in a folder (`CACHE`), the reading of the compiled program.
"""

import os
import subprocess
import sys
import tempfile
import time
import warnings
from typing import Any, cast

import jax
import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import mlpax
from benchmarks import common
from benchmarks.record import Record, ratios, summary

MNIST_ROUNDS, SEARCH_ROUNDS, PROCESSES = 7, 4, 5
Rows = tuple[np.ndarray, np.ndarray]  # X, y
GRID = {"alpha": [1e-5, 1e-4, 1e-3, 1e-2, 1e-1], "learning_rate_init": [3e-4, 1e-3, 3e-3, 1e-2]}

FIRST_FIT = """
import warnings
warnings.simplefilter("ignore")
from sklearn.datasets import load_digits
from {package} import MLPClassifier
X, y = load_digits(return_X_y=True)
MLPClassifier(max_iter=10, random_state=0).fit(X / 16, y)
import time
print(time.monotonic())
"""
CACHE = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}


def forms(threads: int) -> dict[str, tuple[Any, int]]:
    """The class of each contestant and the threads of its BLAS."""
    theirs = {f"scikit-learn, BLAS threads: {n}": (MLPClassifier, n) for n in sorted({1, threads})}
    return {"mlpax": (mlpax.MLPClassifier, threads), **theirs}


def measure(X: np.ndarray, y: np.ndarray, rounds: int, threads: int, scaled: bool, **settings: Any) -> Any:
    """Seconds and scores of every contestant in each round."""
    contestants = forms(threads)
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    scores: dict[str, list[float]] = {name: [] for name in contestants}
    names = list(contestants)
    for seed in range(-1, rounds):  # the first warms up
        parts: Any = train_test_split(X, y, test_size=0.2, random_state=max(seed, 0), stratify=y)
        X_train, X_test, y_train, y_test = parts
        if not scaled:
            scaler = StandardScaler().fit(X_train)
            X_train, X_test = scaler.transform(X_train), scaler.transform(X_test)
        first = seed % len(names)
        for name in names[first:] + names[:first]:
            make, blas = contestants[name]
            model = make(random_state=max(seed, 0), **settings)
            with threadpool_limits(blas):
                taken = common.clock(lambda m=model, X=X_train, y=y_train: m.fit(X, y) and None)
            if seed >= 0:
                seconds[name].append(taken)
                scores[name].append(model.score(X_test, y_test))
    return seconds, scores


def compared(seconds: dict[str, list[float]], scores: dict[str, list[float]]) -> dict[str, Any]:
    """Ours against the faster form of theirs."""
    others = [name for name in seconds if name != "mlpax"]
    best = min(others, key=lambda name: float(np.median(seconds[name])))
    difference = np.array(scores["mlpax"]) - scores[best]
    return {
        "seconds": {name: summary(values) for name, values in seconds.items()},
        "peer": best,
        "ratio": ratios(seconds[best], seconds["mlpax"]),
        "score": {name: round(float(np.mean(scores[name])), 5) for name in ("mlpax", best)},
        "difference": round(float(difference.mean()), 5),
        "standard_error": round(float(difference.std(ddof=1) / len(difference) ** 0.5), 5)
        if len(difference) > 1
        else None,
    }


def search(threads: int) -> dict[str, Any]:
    X, y = load_digits(return_X_y=True)
    contestants = forms(threads)
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    scores: dict[str, list[float]] = {name: [] for name in contestants}
    names = list(contestants)
    for r in range(SEARCH_ROUNDS):
        for name in names[r % len(names) :] + names[: r % len(names)]:
            make, blas = contestants[name]
            grid = GridSearchCV(make(max_iter=20, random_state=r), GRID, cv=5, refit=False)
            jax.clear_caches()
            with threadpool_limits(blas):
                seconds[name].append(common.clock(lambda grid=grid: grid.fit(X / 16, y) and None))
            scores[name].append(grid.best_score_)
            print(f"search, {name}: {seconds[name][-1]:.1f} s", flush=True)
    return compared(seconds, scores)


def first_fit() -> dict[str, Any]:
    def seconds(package: str, **variables: str) -> float:
        command, start = [sys.executable, "-c", FIRST_FIT.format(package=package)], time.monotonic()
        ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=os.environ | variables)
        return float(ran.stdout) - start

    found: dict[str, list[float]] = {"mlpax": [], "mlpax, program kept": [], "sklearn.neural_network": []}
    with tempfile.TemporaryDirectory() as folder:
        kept = CACHE | {"JAX_COMPILATION_CACHE_DIR": folder}
        seconds("mlpax", **kept)  # which fills the folder
        for _ in range(PROCESSES):
            found["mlpax"].append(seconds("mlpax"))
            found["mlpax, program kept"].append(seconds("mlpax", **kept))
            found["sklearn.neural_network"].append(seconds("sklearn.neural_network"))
    return {name: summary(values) for name, values in found.items()}


def main() -> None:
    options = common.settings(__doc__, rounds=20)
    warnings.simplefilter("ignore", ConvergenceWarning)
    with Record("estimators", options) as results:
        results["first_fit"] = first_fit()
        sets = {"iris": load_iris, "breast_cancer": load_breast_cancer, "digits": load_digits}
        results["sets"] = {}
        for name, load in sets.items():
            X, y = cast("Rows", load(return_X_y=True))
            results["sets"][name] = compared(*measure(X, y, options.rounds, options.threads, False))
            tell(name, results["sets"][name])
        mnist = common.mnist()
        X = mnist.X_train / np.float32(255)
        rounds = min(options.rounds, MNIST_ROUNDS)
        found = measure(X, mnist.y_train, rounds, options.threads, True, max_iter=10)
        results["sets"]["mnist"] = compared(*found)
        tell("mnist", results["sets"]["mnist"])
        results["search"] = search(options.threads)
        tell("search", results["search"])


def tell(name: str, found: dict[str, Any]) -> None:
    ours, theirs = (found["seconds"][n]["median"] for n in ("mlpax", found["peer"]))
    print(
        f"{name}: mlpax {ours:.3f} s, {found['peer']} {theirs:.3f} s, ratio {found['ratio']['median']:.2f};"
        f" score {found['difference']:+.5f} ± {found['standard_error']}",
        flush=True,
    )


if __name__ == "__main__":
    main()
