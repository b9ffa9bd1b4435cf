"""Fit candidates one after another by `mlpax.fit`, whenever a line of JSON asks for it.

It runs in any commit's tree (see `benchmarks.search`), and so uses nothing but the public functions.
"""

import json
import sys
from contextlib import suppress
from typing import Any

from sklearn import datasets, model_selection

import mlpax

HIDDEN, EPOCHS = 32, 41
sets: Any = datasets  # scikit-learn has no types
splitting: Any = model_selection


class Loop:
    """The rows of a round, and its fits."""

    def __init__(self, seed: int):
        X, y = sets.load_digits(return_X_y=True)
        split = splitting.train_test_split(
            X.astype("float32"), y, test_size=0.2, random_state=seed, stratify=y
        )
        X, X_valid, y, y_valid = split
        self.train, self.valid = (X, y), (X_valid, y_valid)
        self.scaling: dict[str, Any] = {"shift": float(X.mean()), "scale": 1 / float(X.std())}

    def recipe(self, own: dict[str, float]) -> dict[str, Any]:
        """Return the settings of a candidate."""
        return {
            "hidden": (HIDDEN,), "batch_size": 64, "epochs": EPOCHS, "train_metrics": False,
            "monitor": "valid_log_loss", **own,
        }  # fmt: skip

    def __call__(self, candidates: list[dict[str, float]]) -> None:
        rows = [mlpax.place(X, y, batch_size=64, **self.scaling) for X, y in (self.train, self.valid)]
        objective = mlpax.dense_objective(metrics=("accuracy", "log_loss"))
        for own in candidates:
            recipe = mlpax.Recipe(**self.recipe(own))
            params = mlpax.initial_params((64, HIDDEN, 10), recipe)
            with suppress(mlpax.DivergedError):
                mlpax.fit(params, *rows, objective=objective, recipe=recipe)


def main() -> None:
    for line in sys.stdin:
        seed, candidates = json.loads(line)
        Loop(seed)(candidates)
        print("done", flush=True)


if __name__ == "__main__":
    main()
