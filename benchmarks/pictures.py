"""A folder of 10,000 pictures, made from MNIST: does one command train on it, and does the next one wait?

The pictures are the first 1,000 of each digit of the training set as PNG files, a sub-folder a digit.
`mlpax train FOLDER --test 0.2` is run twice in processes of their own with an empty cache; then the folder is
read once more in a process that has imported everything, as `train` reads it, which is the time that the
cache is for: looking for the files, hashing them, and reading the array that is kept.

The script fails if the runs differ, the accuracy is less than 90 %, or the read takes a second.
`python -m benchmarks.pictures [--pictures 10000]`
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import common
from mlpax.data.images import read_image_folder


def write(folder: Path, count: int) -> None:
    data = common.mnist()
    for digit in range(10):
        (folder / str(digit)).mkdir(parents=True)
        for row in np.flatnonzero(data.y_train == digit)[: count // 10].tolist():
            picture = Image.fromarray(data.X_train[row].reshape(28, 28))
            picture.save(folder / str(digit) / f"{row:05}.png")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=10_000, help="in all, 10,000 by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder) / "pictures"
        write(pictures, options.pictures)
        os.environ["XDG_CACHE_HOME"] = folder  # of this process and of those to come
        metrics = []
        for start in ("first", "second"):
            began, run = time.perf_counter(), Path(folder) / start
            command = ["train", pictures, "--test", "0.2", "--out", run, "--json"]
            done = subprocess.run(
                [sys.executable, "-m", "mlpax", *map(str, command)], stdout=subprocess.PIPE, check=True
            )
            metrics.append(json.loads(done.stdout)["metrics"])
            accuracy = metrics[-1]["test_accuracy"]
            print(
                f"{start} start: {time.perf_counter() - began:.1f} s, test accuracy {accuracy:.2%}",
                flush=True,
            )
        began = time.perf_counter()
        images = read_image_folder(pictures)
        seconds = time.perf_counter() - began
    print(f"{len(images.X):,} pictures from the cache: {seconds:.2f} s")
    sys.exit(metrics[0] != metrics[1] or accuracy < 0.9 or seconds >= 1)


if __name__ == "__main__":
    main()
