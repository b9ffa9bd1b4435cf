"""The article's table: `mlpax train mnist --recipe article`, beside the article's loop on this machine.

The figures are those of the command's own metrics.csv. Its seconds are of the training alone, see
`mlpax.engine.training.epochs`: they exclude compiling, evaluation, checkpoints and loading. The loop's clock
runs over `jit(update)` on the same minibatches, which lie ready on the device, after an epoch of
warm-up; op by op it is scaled from the first 50 of 937 minibatches of its epoch. The article's own
times are of its author's machine and are not compared.
"""

import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp

from benchmarks import common, peers
from benchmarks.record import Record
from mlpax.engine.training import initial_params
from mlpax.engine.xla.losses import update
from mlpax.recipes import article
from mlpax.runs import run, run_files

SLICE = 50  # minibatches of an epoch that are timed op by op


def main() -> None:
    options = common.settings(__doc__, rounds=1)
    with Record("article", options) as results, tempfile.TemporaryDirectory() as folder:
        data = common.mnist()
        recipe = article(len(data.X_train))
        if options.quick:
            recipe = recipe.replace(epochs=2)
        run.train(folder, data, recipe, recipe_name="article")
        results["epochs"] = run_files.read_history(Path(folder))

        X, y = common.article_batches(data)
        on_device = [jnp.asarray(a) for a in X], [jnp.asarray(a) for a in y]
        weights = initial_params((784, *recipe.hidden, 10), recipe)
        jitted = jax.jit(update)
        common.clock(peers.article(weights, *on_device, jitted)[0])
        epoch, _ = peers.article(weights, *on_device, jitted)
        part, _ = peers.article(weights, on_device[0][:SLICE], on_device[1][:SLICE], update)
        common.clock(part)
        for row in results["epochs"]:
            row["seconds_with_jit"] = common.clock(epoch)
            row["seconds_without_jit"] = common.clock(part) * len(X) / SLICE
            print(row, flush=True)


if __name__ == "__main__":
    main()
