"""What a checkpoint after every epoch costs: MNIST, the default recipe.

`mlpax.runs.train` with a checkpoint every epoch, and with the last epoch's alone, take turns. The clock
of a run goes from its first epoch's record to its last one's: training, evaluation and the checkpoints
between them. It excludes loading, compiling, the first epoch, and what both do after the last one (its
checkpoint, model, curves). To measure more than a moment the recipe runs 12 epochs instead of 4. The
cost is the difference within a round, over the seconds of the training alone (metrics.csv's). Hardware,
versions, other load and every value are in the JSON: median and quartiles.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import common
from benchmarks.record import Record, summary
from mlpax.recipes import default
from mlpax.runs import run

EVERY = {"every epoch": run.Every(), "the last alone": run.Every(epochs=10**9)}


def seconds(data: Any, every: run.Every) -> tuple[float, float]:
    """From the first record to the last, and of the training in it."""
    moments: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        run.train(
            Path(folder) / "run", data, default(len(data.X_train)).replace(epochs=12), every=every,
            on_epoch=lambda row: moments.append((time.perf_counter(), row["seconds"])),
        )  # fmt: skip
    return moments[-1][0] - moments[0][0], sum(s for _, s in moments[1:])


def main() -> None:
    options = common.settings(__doc__, rounds=10)
    with Record("checkpointing", options) as results:
        data = common.mnist()
        seconds(data, run.Every())  # warm-up
        spans: dict[str, list[float]] = {name: [] for name in EVERY}
        costs: list[float] = []
        for r in range(options.rounds):
            training = 0.0
            for name in sorted(EVERY, reverse=bool(r % 2)):
                span, training = seconds(data, EVERY[name])
                spans[name].append(span)
            costs.append((spans["every epoch"][-1] - spans["the last alone"][-1]) / training)
        results["seconds"] = {name: summary(values) for name, values in spans.items()}
        results["cost"] = summary(costs)
        print(f"a checkpoint every epoch costs {results['cost']['median']:.1%} of the training time")


if __name__ == "__main__":
    main()
