"""Training seconds to an accuracy on MNIST: three recipes against the article's 25 epochs.

The clock of a recipe runs over all its epochs: drawing the order of the rows, every minibatch's
gradient and update, and one wait an epoch. It excludes loading the data, placing it on the device,
drawing the initial weights, compiling (one epoch of warm-up a recipe comes first) and evaluation. The
article's clock runs over `jit(update)` on batches that lie ready on the device, no shuffling.

n seeds (3000, 3001, ...) of each recipe take turns; among them the article's 25 epochs run as they
stand in its loop, an equal share of them beside each seed. `seconds` of the article is the sum of all
25; a recipe's ratio is, seed by seed, 25 times the mean of the epochs beside it over its own seconds.
Accuracies are of the last epoch's weights on the 10,000 test images; none was used to choose an epoch
or a seed. Hardware, versions, other load and every value are in the JSON: median, quartiles, least.
"""

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import common, peers
from benchmarks.record import Record, ratios, summary
from mlpax.engine.training import initial_params
from mlpax.engine.xla.losses import update
from mlpax.recipes import article, default, quick

FIRST_SEED = 3000  # used for no choice of a setting


def main() -> None:
    options = common.settings(__doc__, rounds=10)
    with Record("time_to_accuracy", options) as results:
        data = common.mnist()
        count = len(data.X_train)
        recipes = {
            "quick": quick(count),
            "one epoch": default(count).replace(hidden=(96,), batch_size=64, learning_rate=0.05, epochs=1),
            "default": default(count),
        }

        theirs = article(count)
        if options.rounds > theirs.epochs:
            sys.exit(f"--rounds {options.rounds}: at most {theirs.epochs}, the article's epochs")
        X, y = common.article_batches(data)
        on_device = [jnp.asarray(a) for a in X], [jnp.asarray(a) for a in y]
        weights = initial_params((X.shape[-1], *theirs.hidden, 10), theirs)
        jitted = jax.jit(update)
        common.clock(peers.article(weights, *on_device, jitted)[0])
        epoch, read = peers.article(weights, *on_device, jitted)

        placed = {}
        for name, recipe in recipes.items():
            warm = common.Trainer(data, recipe)
            common.clock(warm.epoch)
            placed[name] = warm.rows

        seconds: dict[str, list[float]] = {name: [] for name in recipes}
        accuracies: dict[str, list[float]] = {name: [] for name in recipes}
        article_seconds: list[float] = []
        beside: list[float] = []
        for i in range(options.rounds):
            share = theirs.epochs * (i + 1) // options.rounds - theirs.epochs * i // options.rounds
            epochs = [common.clock(epoch) for _ in range(share)]
            article_seconds += epochs
            beside.append(theirs.epochs * float(np.mean(epochs)))
            for name, recipe in recipes.items():
                trainer = common.Trainer(data, recipe.replace(seed=FIRST_SEED + i), placed[name])
                seconds[name].append(sum(common.clock(trainer.epoch) for _ in range(recipe.epochs)))
                accuracies[name].append(trainer.accuracy(data))
            print(f"seed {FIRST_SEED + i}: {', '.join(f'{n} {a[-1]:.2%}' for n, a in accuracies.items())}")

        results["article"] = {
            "settings": "784-128-10, batch 64, SGD 0.01, 25 epochs, jit per update",
            "seconds": round(sum(article_seconds), 3),
            "epochs": summary(article_seconds),
            "test_accuracy": common.share_right(read(), data),
        }
        entries: list[dict[str, Any]] = [
            {
                "name": name,
                "settings": f"784-{'-'.join(map(str, recipe.hidden))}-10, batch {recipe.batch_size},"
                f" rate {recipe.learning_rate:g}, {recipe.epochs} epoch{'s' * (recipe.epochs > 1)}",
                "seconds": summary(seconds[name]),
                "test_accuracy": summary(accuracies[name]),
                "article_times": ratios(beside, seconds[name]),
            }
            for name, recipe in recipes.items()
        ]
        results["recipes"] = entries
        print(f"article: {results['article']['seconds']} s, {results['article']['test_accuracy']:.2%}")
        for entry in entries:
            accuracy = entry["test_accuracy"]
            print(
                f"{entry['name']:10} {entry['seconds']['median']:.3f} s, {accuracy['median']:.2%},"
                f" least {accuracy['min']:.2%}, × {entry['article_times']['median']:.1f}"
            )


if __name__ == "__main__":
    main()
