"""Wall time of fresh processes: `import mlpax`, `mlpax --help`, the first epoch, whole trainings.

The clock runs from starting the interpreter to its exit, so it includes everything: Python's own
start, imports, loading the data, compiling and writing files; nothing is excluded and no compilation
cache is set. `mlpax train` includes its evaluation, checkpoints, curves and saved model; `first epoch`
loads MNIST, places it and trains one epoch of the default recipe. MNIST's files must be on the disk
before. Bare Python, `import numpy` and `import jax` run too, for scale. Every process runs n times, all
taking turns after one round of warm-up for the disk's cache. Hardware, versions, other load and every
single time are in the JSON: median, least, most.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import common
from benchmarks.record import Record, summary

FIRST_EPOCH = """
from mlpax import datasets, recipes
from mlpax.engine import training
from mlpax.engine.rows import fit_scaling, place
data = datasets.load("mnist")
recipe = recipes.default(len(data.X_train)).replace(epochs=1)
scaling = fit_scaling(data.X_train, recipe.inputs)
rows = place(data.X_train, data.y_train, batch_size=recipe.batch_size, **scaling._asdict())
params = training.initial_params((784, *recipe.hidden, 10), recipe)
how = training.training_of(recipe, rows, None, "dense", ())
training.train(params, rows, None, how, recipe.seed)
"""

TRAIN = ("-m", "mlpax", "train", "--quiet")  # and after --out a new folder each time
COMMANDS = {
    "python": ("-c", "pass"),
    "import numpy": ("-c", "import numpy"),
    "import jax": ("-c", "import jax"),
    "import mlpax": ("-c", "import mlpax"),
    "mlpax --help": ("-m", "mlpax", "--help"),
    "first epoch on MNIST": ("-c", FIRST_EPOCH),
    "mlpax train digits": (*TRAIN, "digits", "--out"),
    "mlpax train mnist --recipe quick": (*TRAIN, "mnist", "--recipe", "quick", "--out"),
}


def main() -> None:
    options = common.settings(__doc__, rounds=10)
    with Record("startup", options) as results, tempfile.TemporaryDirectory() as folder:
        common.mnist()
        made = 0

        def run(arguments: tuple[str, ...]) -> None:
            nonlocal made
            if arguments[-1] == "--out":
                made += 1
                arguments = (*arguments, str(Path(folder) / f"run-{made}"))
            done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{' '.join(arguments[:4])} failed:\n{done.stderr}")

        runs = {name: lambda a=arguments: run(a) for name, arguments in COMMANDS.items()}
        for work in runs.values():
            work()
        times = common.interleave(runs, options.rounds)
        results["seconds"] = {name: summary(values, 3) for name, values in times.items()}
        for name, entry in results["seconds"].items():
            print(f"{name:34} {entry['median']:6.2f} s ({entry['min']:.2f} to {entry['max']:.2f})")


if __name__ == "__main__":
    main()
