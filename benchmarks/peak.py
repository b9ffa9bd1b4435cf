"""Share of the machine's matrix-product peak that a whole epoch reaches, by batch size.

An epoch (784-128-10, and once 784-512-256-10; SGD, MNIST, as in epoch.py) is counted as 2mnk operations for
each matrix product it needs: forward, weight gradients, and input gradients of all layers but the first;
activations, losses, updates, slicing and the scaling of the pixels count nothing, but their time is on the
clock.
The peak is the best rate, in the same round, of square float32 products under `jax.numpy` at JAX's
default precision, the larger sizes on an accelerator. Compiling, loading and evaluation are excluded;
sizes take turns, each round beginning with another one. n, hardware, versions and other load are in
the JSON: medians and quartiles of the paired shares, no outlier dropped.
"""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import common
from benchmarks.record import Record, summary
from mlpax.recipes import article

NETWORKS = [((128,), size) for size in (64, 128, 256, 512, 1024)] + [((512, 256), 128)]
SQUARES = {"cpu": (1024, 2048)}  # sides of the products that stand for the peak
ACCELERATOR_SQUARES = (4096, 8192, 16384)


def operations(sizes: tuple[int, ...], rows: int) -> int:
    """Of one epoch's matrix products."""
    products = [m * n for m, n in itertools.pairwise(sizes)]
    return 2 * rows * (2 * sum(products) + sum(products[1:]))


def main() -> None:
    options = common.settings(__doc__, rounds=20)
    with Record("peak", options) as results:
        data = common.mnist()
        recipe = article(len(data.X_train))
        trainers = {
            (hidden, size): common.Trainer(data, recipe.replace(hidden=hidden, batch_size=size))
            for hidden, size in NETWORKS
        }
        squares = SQUARES.get(jax.devices()[0].platform, ACCELERATOR_SQUARES)
        product = jax.jit(jnp.matmul)
        matrices = {n: jax.device_put(np.random.default_rng(n).random((n, n), np.float32)) for n in squares}

        runs = {("epoch", case): trainer.epoch for case, trainer in trainers.items()}
        runs |= {("product", n): lambda A=A: product(A, A) for n, A in matrices.items()}
        for run in runs.values():
            common.clock(run)
        times = common.interleave(runs, options.rounds)

        rates = {("product", n): [2 * n**3 / t / 1e9 for t in times["product", n]] for n in squares}
        peak = [max(by_side) for by_side in zip(*rates.values(), strict=True)]
        results["peak_gflops"] = summary(peak, 1)
        results["peak_from_sides"] = list(squares)
        results["batch_sizes"] = []
        for case, trainer in trainers.items():
            hidden, size = case
            rows = len(data.X_train) // size * size
            work = operations((784, *hidden, 10), rows) / 1e9
            rate = [work / t for t in times["epoch", case]]
            entry: dict[str, Any] = {
                "hidden": list(hidden),
                "batch_size": size,
                "backend": trainer.backend,
                "milliseconds": summary([1000 * t for t in times["epoch", case]], 2),
                "gflops": summary(rate, 1),
                "share_of_peak": summary([r / p for r, p in zip(rate, peak, strict=True)], 3),
            }
            results["batch_sizes"].append(entry)
            share, ms, rate = (entry[name]["median"] for name in ("share_of_peak", "milliseconds", "gflops"))
            print(f"{hidden} batch {size:5}: {ms:7.1f} ms, {rate:7.1f} GFLOP/s, {share:.0%}")
        print(f"peak: {results['peak_gflops']['median']} GFLOP/s")


if __name__ == "__main__":
    main()
