"""Runs killed with SIGKILL, or stopped by a full disk, and resumed: does each end as the unbroken run ended?

The kinds of runs are small networks on digits (dropout, every kind of schedule, early stopping, optimizers
with state), MNIST, a table with early stopping, and pictures. Each is killed at up to three moments drawn
over the time that an unbroken run takes; one that no kill struck begins anew. A large network (52 MB a
checkpoint) is killed up to twice while a checkpoint is being written: when its temporary file is there, and
a moment drawn later; that the kill struck is seen from the temporary file that is left. Other runs lie on a
small file system in memory (`mount` needs root), which is filled at a moment drawn, but for a few bytes, and
emptied when the run has stopped with its error of one line. Then each is resumed to its end.

A run passes when its parameters, last checkpoint and metrics (but for the times) have the bits of the
unbroken run, metrics.csv has each epoch once, and no temporary file is left. The script fails if one
does not. benchmarks/results/kill-cpu.json holds the seed, the counts and the commit.
`python -m benchmarks.kill [--seed N] [--kills 300] [--large 10] [--full 20]`
"""

import argparse
import itertools
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.record import Record, commit
from mlpax.runs import run_files

Words = tuple[str, ...]

DIGITS = ("digits", "--hidden", "64,32", "--batch-size", "32", "--epochs", "400")
SETTINGS = (
    ("--dropout", "0.2", "--optimizer", "adam"),
    ("--schedule", "plateau", "--min-delta", "0.001"),
    ("--optimizer", "lion", "--schedule", "cosine", "--clip-norm", "1"),
    ("--validation", "0.2", "--patience", "150", "--optimizer", "adamw", "--weight-decay", "0.01"),
)
LARGE = ("digits", "--hidden", "2048,2048", "--batch-size", "128", "--epochs", "8")
ROOM = 30_000_000  # bytes of the file system that is filled


def kinds(folder: Path) -> list[Words]:
    """Return the words of `mlpax train` for each kind of run; its data are written into the folder."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1500, 4)).round(4)
    y = X[:, 0] * X[:, 1] + rng.standard_normal(1500) * 0.3 > 0
    rows = [
        f"{','.join(map(str, row))},{'red' if row[2] > 0 else 'blue'},{label}"
        for row, label in zip(X, y, strict=True)
    ]
    (folder / "table.csv").write_text("a,b,c,d,colour,target\n" + "\n".join(rows) + "\n")
    for name, shape in (("wide", (10, 20)), ("tall", (20, 10))):
        (folder / "pictures" / name).mkdir(parents=True)
        for n in range(60):
            pixels = np.zeros((28, 28), np.uint8)
            top, left = rng.integers(0, 8, 2)
            pixels[top : top + shape[0], left : left + shape[1]] = 255
            Image.fromarray(pixels).save(folder / "pictures" / name / f"{n}.png")
    return [
        *(DIGITS + settings for settings in SETTINGS),
        ("mnist", "--epochs", "16"),
        (str(folder / "table.csv"), "--epochs", "200", "--patience", "100"),
        (str(folder / "pictures"), "--hidden", "64,64", "--epochs", "1500", "--validation", "0.2"),
    ]


def start(*words: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mlpax", *map(str, words), "--quiet"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def begin(path: Path, words: Words) -> subprocess.Popen[bytes]:
    """Start the run, or go on with it where it has begun."""
    return start("resume", path) if (path / "config.json").exists() else start("train", *words, "--out", path)


def finish(path: Path, words: Words) -> None:
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


def kill_at(path: Path, words: Words, moment: float) -> bool:
    """Kill after `moment` seconds; whether it still ran."""
    process = begin(path, words)
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        process.kill()
    process.communicate()
    return process.returncode == -9


def kill_in_write(path: Path, words: Words, later: float, write: int) -> bool:
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


def kill_three_times(words: Words, rng: random.Random, path: Path, seconds: float) -> int:
    return sum(kill_at(path, words, rng.uniform(0.3, seconds)) for _ in range(3))


def kill_two_writes(rng: random.Random, path: Path, seconds: float) -> int:
    moments = [(rng.uniform(0, 0.04), rng.randint(1, 2)) for _ in range(2)]
    return sum(kill_in_write(path, LARGE, *moment) for moment in moments)


@contextmanager
def small_disk(place: Path) -> Generator[Path]:
    """Mount a file system of `ROOM` bytes."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def fill_at(path: Path, words: Words, moment: float, left: int) -> bool:
    """Fill the disk after `moment` seconds but for `left` bytes; whether the run stopped with one line."""
    process, filler = begin(path, words), path.parent / "filler"
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        free = shutil.disk_usage(path.parent).free
        with suppress(OSError), open(filler, "wb") as file:  # the run may have taken the room meanwhile
            file.write(bytes(max(free - left, 0)))
    error = process.communicate()[1].decode()
    filler.unlink(missing_ok=True)
    if process.returncode and (process.returncode != 1 or len(error.splitlines()) != 1):
        sys.exit(f"{path.name}: exit code {process.returncode}: {error}")
    return process.returncode == 1


def fill(words: Words, rng: random.Random, path: Path, seconds: float) -> int:
    return fill_at(path, words, rng.uniform(0.3, seconds), rng.choice((0, 4096, 20_000, 100_000)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments, 0 by default")
    parser.add_argument("--kills", type=int, default=300, help="kills at random moments")
    parser.add_argument("--large", type=int, default=10, help="runs killed while they write a checkpoint")
    parser.add_argument("--full", type=int, default=20, help="runs on a disk that is filled")
    parser.add_argument("--quick", action="store_true", help="write no record")
    options = parser.parse_args()
    options.threads = 2
    rng = random.Random(options.seed)
    names = ("runs", "same_bits", "kills", "kills_in_a_write", "full_disks")
    counts: dict[str, int] = dict.fromkeys(names, 0)
    began = time.perf_counter()
    with Record("kill", options) as results, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small, whole = kinds(folder), {}
        for n, words in enumerate((*small, LARGE)):
            path, start = folder / f"whole-{n}", time.perf_counter()
            finish(path, words)
            whole[words] = outcome(path), time.perf_counter() - start

        def broken(path: Path, words: Words, what: str, strike: Callable[[Path, float], int]) -> None:
            """Strike a run until a stroke has hit, resume it to its end, and compare."""
            expected, seconds = whole[words]
            hits = 0
            while not hits:
                shutil.rmtree(path, ignore_errors=True)
                hits = strike(path, seconds)
            finish(path, words)
            same = outcome(path) == expected
            shutil.rmtree(path)
            counts[what] += hits
            counts["runs"] += 1
            counts["same_bits"] += same
            verdict = "the same bits" if same else "DIFFERS"
            print(f"{path.name} {Path(words[0]).name}: {what} {hits}, {verdict}", flush=True)

        for words in itertools.cycle(small):
            if counts["kills"] >= options.kills:
                break
            killed = partial(kill_three_times, words, rng)
            broken(folder / f"run-{counts['runs']}", words, "kills", killed)
        for n in range(options.large):
            broken(folder / f"large-{n}", LARGE, "kills_in_a_write", partial(kill_two_writes, rng))
        if options.full:
            with small_disk(folder / "disk") as disk:
                for n, words in zip(range(options.full), itertools.cycle(small), strict=False):
                    broken(disk / f"full-{n}", words, "full_disks", partial(fill, words, rng))
        seconds = round(time.perf_counter() - began)
        results |= {"seed": options.seed, **counts, "seconds": seconds, "commit": commit()}
    print(", ".join(f"{name} {count}" for name, count in counts.items()))
    sys.exit(counts["same_bits"] < counts["runs"])


if __name__ == "__main__":
    main()
