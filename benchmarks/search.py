"""A search by one program beside loops of fits: 64 candidates on digits, and a grid of 20 on five folds.

python -m benchmarks.search [--rounds 10] [--against REV]

`candidates` are 64 networks of 64-32-10 with random rates, momenta, decays and label smoothings, batches
of 64, 41 epochs, compared by the log-loss of a fifth of the rows. They are trained side by side (`Race`),
with and without halving; one after another by `mlpax.fit` of this commit and, if `--against` names one, of an
earlier one, in a process of its own that waits between its turns; and by scikit-learn's MLPClassifier in two
processes (joblib's loky, `n_jobs=2`), which has a penalty instead of the decay, and measures nothing on the
way. `grid` is the search of `benchmarks.estimators`: 20 pairs of alpha and learning_rate_init, 5 folds, 20
epochs a fit, without the fit of the best; by `PopulationSearchCV`, by `GridSearchCV` of mlpax's estimator
with `n_jobs` 1 and 2, and by scikit-learn's estimator with both.

The clock goes from the candidates' settings to their scores: drawing weights, placing rows, training and
measuring are inside; importing, compiling (a turn of each comes first) and starting processes outside. Each
round is another split and other candidates; contestants take turns, each round beginning with another one.
Ratios are taken within a round. `behind` is the accuracy of the whole search's winner less that of halving's,
in points, on the same rows. Every single time is in the JSON.
"""

import json
import math
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn import neural_network
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from threadpoolctl import threadpool_limits

import mlpax
from benchmarks import common
from benchmarks.against import checkout, commit_of, python_of
from benchmarks.estimators import GRID
from benchmarks.record import Record, ratios, summary
from benchmarks.search_alone import EPOCHS, HIDDEN, Loop
from mlpax import recipes
from mlpax.engine import training
from mlpax.engine.rows import place
from mlpax.engine.search import KEEP, Candidate, Outcome, Race, rungs_of

COUNT = 64
Classifier: Any = neural_network.MLPClassifier  # scikit-learn has no types


def candidates(seed: int) -> list[dict[str, float]]:
    """Return the settings to compare."""
    rng = np.random.default_rng(seed)
    columns = {
        "learning_rate": 10 ** rng.uniform(-3, 0.3, COUNT),
        "momentum": rng.uniform(0.5, 0.98, COUNT),
        "weight_decay": 10 ** rng.uniform(-6, -2, COUNT),
        "label_smoothing": rng.uniform(0, 0.2, COUNT),
    }
    return [dict(zip(columns, map(float, row), strict=True)) for row in zip(*columns.values(), strict=True)]


def side_by_side(rungs: tuple[float, ...], seed: int, settings: list[dict[str, float]]) -> list[Outcome]:
    """Train the candidates as one population, and leave the worse ones behind after each rung."""
    loop = Loop(seed)
    data, valid = (place(X, y, batch_size=64, **loop.scaling) for X, y in (loop.train, loop.valid))
    every: list[Candidate] = []
    for own in settings:
        recipe = recipes.Recipe(**loop.recipe(own))
        metrics = ("accuracy", "log_loss")
        how = training.training_of(recipe, data, valid, "dense", metrics)
        params = training.initial_params((64, HIDDEN, 10), recipe)
        every.append(Candidate(partial(training.initial_state, params, how, 0), data, valid, how, 0))
    race, left = Race(every), range(COUNT)
    for share in (*rungs, 1.0):
        for _ in race.run(share, left):
            pass
        ranked = sorted(left, key=lambda k: np.nan_to_num(race.outcomes[k].score, nan=math.inf))
        left = ranked[: math.ceil(len(left) / KEEP)]
    return race.outcomes


def winner(outcomes: list[Outcome]) -> float:
    """Return the accuracy of the candidate with the least log-loss among those trained to the end."""
    whole = [o for o in outcomes if len(o.curve) == EPOCHS and not math.isnan(o.score)]
    return min(whole, key=lambda outcome: outcome.score).curve[-1]["valid_accuracy"]


def scikit_learn(seed: int, settings: list[dict[str, float]]) -> None:
    """Fit the candidates in two processes of a thread each."""
    loop = Loop(seed)
    X = ((loop.train[0] - loop.scaling["shift"]) * loop.scaling["scale"]).astype(np.float32)

    def fit(own: dict[str, float]) -> float:
        model = Classifier(
            (HIDDEN,), solver="sgd", batch_size=64, max_iter=EPOCHS, n_iter_no_change=EPOCHS, tol=0,
            learning_rate_init=own["learning_rate"], momentum=own["momentum"], alpha=own["weight_decay"],
            random_state=0,
        )  # fmt: skip
        with threadpool_limits(1), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                return float(model.fit(X, loop.train[1]).loss_)
            except ValueError:  # it diverged
                return math.inf

    Parallel(n_jobs=2)(delayed(fit)(own) for own in settings)


class Earlier:
    """The loop of fits of an earlier commit, in a process of its own."""

    def __init__(self, revision: str):
        tree = checkout(commit_of(revision))
        shutil.copy(Path(__file__).with_name("search_alone.py"), tree / "benchmarks")
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        command = [python_of(tree), "-m", "benchmarks.search_alone"]
        self.process = subprocess.Popen(
            command, cwd=tree, env=clean, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __call__(self, seed: int, settings: list[dict[str, float]]) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps([seed, settings]), file=self.process.stdin, flush=True)
        if not self.process.stdout.readline():
            sys.exit("the earlier commit's process has ended")


def grids() -> dict[str, Callable[[int], Any]]:
    """Return the contestants of the grid search, each of a round's seed."""
    X, y = load_digits(return_X_y=True)

    def contestant(search: Any, estimator: Any, **more: Any) -> Callable[[int], Any]:
        def fitted(r: int) -> Any:
            return search(estimator(max_iter=20, random_state=r), GRID, cv=5, refit=False, **more).fit(
                X / 16, y
            )

        return fitted

    return {
        "PopulationSearchCV": contestant(mlpax.PopulationSearchCV, mlpax.MLPClassifier),
        "GridSearchCV": contestant(GridSearchCV, mlpax.MLPClassifier),
        "GridSearchCV, n_jobs=2": contestant(GridSearchCV, mlpax.MLPClassifier, n_jobs=2),
        "scikit-learn": contestant(GridSearchCV, Classifier),
        "scikit-learn, n_jobs=2": contestant(GridSearchCV, Classifier, n_jobs=2),
    }


def clocked(
    work: dict[str, Callable[[int], Any]], rounds: int, ours: str
) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Return the times of contestants that take turns, and what they returned in each round."""
    found: dict[str, list[Any]] = {name: [] for name in work}
    seconds: dict[str, list[float]] = {name: [] for name in work}
    names = list(work)
    for r in range(-1, rounds):  # the first is warm-up
        for name in names[r % len(names) :] + names[: r % len(names)]:
            kept: list[Any] = []
            taken = common.clock(lambda name=name, r=r, kept=kept: kept.append(work[name](max(r, 0))))
            if r >= 0:
                seconds[name].append(taken)
                found[name] += kept
    figures = {
        name: {"seconds": summary(values, 3), "times_ours": ratios(values, seconds[ours])}
        for name, values in seconds.items()
    }
    for name, of in figures.items():
        print(f"{name:28} {of['seconds']['median']:7.3f} s  x {of['times_ours']['median']:.2f}", flush=True)
    return figures, found


def main() -> None:
    revision = ""
    if "--against" in sys.argv:
        at = sys.argv.index("--against")
        revision = sys.argv[at + 1]
        del sys.argv[at : at + 2]
        sys.orig_argv = [*sys.orig_argv[:3], *sys.argv[1:], "--against", revision]
    options = common.settings(__doc__, rounds=10)
    warnings.simplefilter("ignore", ConvergenceWarning)
    with Record("search", options) as results:
        every = [candidates(r) for r in range(max(options.rounds, 1))]
        work: dict[str, Callable[[int], Any]] = {
            "halving": lambda r: side_by_side(rungs_of(COUNT), r, every[r]),
            "side by side": lambda r: side_by_side((), r, every[r]),
            "one after another": lambda r: Loop(r)(every[r]),
            "scikit-learn, n_jobs=2": lambda r: scikit_learn(r, every[r]),
        }
        if revision:
            earlier = Earlier(revision)
            work[f"one after another, {revision}"] = lambda r: earlier(r, every[r])
        figures, found = clocked(work, options.rounds, "halving")
        pairs = zip(found["side by side"], found["halving"], strict=True)
        behind = [100 * (winner(whole) - winner(half)) for whole, half in pairs]
        print(f"halving's winner is behind by {np.mean(behind):.2f} points, at most by {max(behind):.2f}")
        results["candidates"] = {"contestants": figures, "behind": summary(behind, 3)}
        figures, found = clocked(grids(), options.rounds, "PopulationSearchCV")
        scores = {name: [float(search.best_score_) for search in all_] for name, all_ in found.items()}
        same = np.abs(np.subtract(scores["PopulationSearchCV"], scores["GridSearchCV"])).max()
        less = np.subtract(scores["PopulationSearchCV"], scores["scikit-learn"])
        print(f"scores: {same:.6f} from GridSearchCV's at most, {less.mean():+.5f} from scikit-learn's")
        results["grid"] = {
            "contestants": figures, "scores": scores, "largest_difference": float(same),
            "difference_to_scikit_learn": float(less.mean()),
        }  # fmt: skip


if __name__ == "__main__":
    main()
