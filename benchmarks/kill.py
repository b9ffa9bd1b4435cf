"""Fifty runs killed with SIGKILL and resumed until done: does each end as the unbroken run ended?

Forty are of a small network, under settings that cover dropout, every kind of schedule, early stopping
and optimizers with state; each is killed at up to three moments drawn over the time that an unbroken run
takes. Ten are of a large one (52 MB a checkpoint), each killed up to twice while a checkpoint is being
written: when its temporary file is there, and a moment drawn later; that the kill struck is seen from the
temporary file that is left. One that no kill struck begins anew. Then each is resumed to its end.

A run passes when its parameters, last checkpoint and metrics (but for the times) have the bits of the
unbroken run, metrics.csv has each epoch once, and no temporary file is left. The script fails if one
does not. `python -m benchmarks.kill [--seed N] [--runs 40] [--large 10]`
"""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from mlpax.runs import run_files

SMALL = ("digits", "--hidden", "64,32", "--batch-size", "32", "--epochs", "400")
SETTINGS = (
    ("--dropout", "0.2", "--optimizer", "adam"),
    ("--schedule", "plateau", "--min-delta", "0.001"),
    ("--optimizer", "lion", "--schedule", "cosine", "--clip-norm", "1"),
    ("--validation", "0.2", "--patience", "150", "--optimizer", "adamw", "--weight-decay", "0.01"),
)
LARGE = ("digits", "--hidden", "2048,2048", "--batch-size", "128", "--epochs", "8")


def start(*words: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mlpax", *map(str, words), "--quiet"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def begin(path: Path, words: tuple[str, ...]) -> subprocess.Popen[bytes]:
    """Start the run, or go on with it where it has begun."""
    return start("resume", path) if (path / "config.json").exists() else start("train", *words, "--out", path)


def finish(path: Path, words: tuple[str, ...]) -> None:
    process = begin(path, words)
    _, error = process.communicate()
    if process.returncode:
        sys.exit(f"{path.name}: exit code {process.returncode}: {error.decode()}")


def outcome(path: Path) -> tuple[object, ...]:
    history = [{k: v for k, v in row.items() if k != "seconds"} for row in run_files.read_history(path)]
    assert [row["epoch"] for row in history] == list(range(1, len(history) + 1)), f"{path}: gap or double row"
    assert not list(path.rglob("*.mlpax-tmp")), f"{path}: temporary files are left"
    last = max((path / "checkpoints").iterdir())
    with np.load(last) as arrays:
        state = {name: arrays[name].tobytes() for name in arrays.files if name != "record"}
    return history, last.name, state, (path / "model.safetensors").read_bytes()


def kill_at(path: Path, words: tuple[str, ...], moment: float) -> bool:
    """Kill after `moment` seconds; whether it still ran."""
    process = begin(path, words)
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        process.kill()
    process.communicate()
    return process.returncode == -9


def kill_in_write(path: Path, words: tuple[str, ...], later: float, write: int) -> bool:
    """Kill in the given checkpoint's write; whether its temporary file was there when the process died."""
    process, seen, before = begin(path, words), 0, False
    while process.poll() is None:
        writing = bool(list((path / "checkpoints").glob(".*.mlpax-tmp")))
        seen += writing and not before
        before = writing
        if seen == write:
            time.sleep(later)
            process.kill()
            break
        time.sleep(0.001)
    process.communicate()
    return process.returncode == -9 and bool(list((path / "checkpoints").glob(".*.mlpax-tmp")))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments, 0 by default")
    parser.add_argument("--runs", type=int, default=40, help="runs of the small network")
    parser.add_argument("--large", type=int, default=10, help="runs killed while they write a checkpoint")
    options = parser.parse_args()
    rng, same = random.Random(options.seed), 0
    with tempfile.TemporaryDirectory() as folder:
        whole = {}
        for n, settings in enumerate((*SETTINGS, LARGE)):
            words = settings if settings is LARGE else SMALL + settings
            path, began = Path(folder) / f"whole-{n}", time.perf_counter()
            finish(path, words)
            whole[words] = outcome(path), time.perf_counter() - began
        small = [words for words in whole if words is not LARGE]
        for n in range(options.runs + options.large):
            path = Path(folder) / f"run-{n}"
            words = small[n % len(small)] if n < options.runs else LARGE
            expected, seconds = whole[words]
            hits = 0
            while not hits:  # a run that ended before its first moment begins anew
                shutil.rmtree(path, ignore_errors=True)
                if n < options.runs:
                    hits = sum(kill_at(path, words, rng.uniform(0.3, seconds)) for _ in range(3))
                else:
                    moments = [(rng.uniform(0, 0.04), rng.randint(1, 2)) for _ in range(2)]
                    hits = sum(kill_in_write(path, words, *moment) for moment in moments)
            finish(path, words)
            right = outcome(path) == expected
            same += right
            print(f"run {n}: killed {hits} times, {'the same bits' if right else 'DIFFERS'}", flush=True)
    total = options.runs + options.large
    print(f"{same} of {total} end with the bits of the unbroken run: {options.runs} killed at random moments,"
          f" {options.large} in a checkpoint's write")  # fmt: skip
    sys.exit(same < total)


if __name__ == "__main__":
    main()
