"""One epoch of the article's network: 784-128-10, batch 64, SGD at 0.01, float32, 937 batches.

The clock runs from the weights before the epoch to the weights after it: every forward and backward
pass and update, the waiting for the last one, and the slicing of batches where a library does it
itself. It excludes loading, scaling and batching the data, compiling (a whole epoch of warm-up comes
first), shuffling (there is none) and evaluation.

All start from the same weights, see the same 59,968 rows in file order, and have the same cores, two by
default; after the first epoch their accuracies on the 10,000 test images must agree within a point,
else the script fails. The others are handed float32 pixels in [0, 1], in batches where they take
batches; mlpax the uint8 pixels, which it scales inside. Who has several honest forms runs in all of
them, and the one of the lowest median counts. Everyone runs three epochs in a row each round, whose
mean counts, each round beginning with another one; ratios are taken within a round. Op by op, without
jit, 50 batches a round are timed and scaled to 937. PyTorch and scikit-learn run on the CPU whatever
the device. Hardware, versions, other load, n and every single time are in the JSON: median, quartiles,
no outlier dropped.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import common, peers
from benchmarks.record import Record, ratios, summary
from mlpax.engine.xla.losses import update
from mlpax.recipes import article

SLICE = 50  # batches of an epoch that are timed op by op
TURNS = 3  # epochs in a row


def main() -> None:
    options = common.settings(__doc__, rounds=15)
    with Record("epoch", options) as results:
        data = common.mnist()
        X, y = common.article_batches(data)
        count = len(X)
        on_device = [jnp.asarray(a) for a in X], [jnp.asarray(a) for a in y]

        recipe = article(len(data.X_train))
        ours, by_xla = common.Trainer(data, recipe), common.Trainer(data, recipe, backend="xla")
        weights = jax.tree.map(np.array, ours.params)
        jitted = jax.jit(update)
        forms: dict[tuple[str, str], peers.Contestant] = {
            ("mlpax", ours.backend): (ours.epoch, lambda: ours.params),
            ("mlpax", "xla"): (by_xla.epoch, lambda: by_xla.params),
            ("article, jit per update", "batches on the device"): peers.article(weights, *on_device, jitted),
            ("article, jit per update", "NumPy batches"): peers.article(weights, X, y, jitted),
            ("article, op by op", "no jit"): peers.article(weights, *on_device, update),
            ("Flax NNX", "nnx.jit"): peers.flax(weights, *on_device, cached=False),
            ("Flax NNX", "nnx.cached_partial"): peers.flax(weights, *on_device, cached=True),
            ("Keras on JAX", "fit"): peers.keras(weights, X, y, steps=1),
            ("Keras on JAX", "fit, 16 steps a program"): peers.keras(weights, X, y, steps=16),
        }
        for threads in sorted({1, options.threads}, reverse=True):
            forms["PyTorch", f"eager, threads: {threads}"] = peers.pytorch(weights, X, y, threads)
            forms["scikit-learn", f"BLAS threads: {threads}"] = peers.scikit_learn(weights, X, y, threads)

        accuracies = {}
        for form, (epoch, read) in forms.items():  # the warm-up, and the proof that all do the same work
            print(f"warm-up: {', '.join(form)}", flush=True)
            common.clock(epoch)
            accuracies[form] = common.share_right(read(), data)
        gap = max(accuracies.values()) - min(accuracies.values())
        assert gap <= 0.01, f"not the same work: test accuracies {accuracies}"

        by_op = ("article, op by op", "no jit")
        part = peers.article(weights, on_device[0][:SLICE], on_device[1][:SLICE], update)[0]
        runs = {form: epoch for form, (epoch, _) in forms.items()} | {by_op: part}
        times = common.interleave(runs, options.rounds, TURNS)
        times[by_op] = [t * count / SLICE for t in times[by_op]]

        results["batches"] = count
        contestants: list[dict[str, Any]] = [
            {
                "name": name,
                "form": form,
                "milliseconds": summary([1000 * t for t in times[name, form]], 2),
                "times_mlpax": ratios(times[name, form], times["mlpax", ours.backend]),
                "test_accuracy": accuracies[name, form],
            }
            | ({"scaled_from_batches": SLICE} if (name, form) == by_op else {})
            for name, form in forms
        ]
        results["contestants"] = contestants
        for entry in contestants:
            ms, ratio = entry["milliseconds"]["median"], entry["times_mlpax"]["median"]
            print(f"{entry['name']:24} {entry['form']:24} {ms:9.1f} ms  × {ratio:.2f}")


if __name__ == "__main__":
    main()
