"""Training on a table larger than the memory: how much does it take, how fast is each pass, is it ever lost?

A table of so many GB of Parquet is generated (numbers, categories, a target), and `mlpax train --memory`
trains on it for one pass, in a control group of so many GB (Linux, as root; `--group 0` for none). The
record holds the largest resident set of the process, the largest memory of the group, which counts the files'
pages, the rows a second of each pass, and the share of the time that the program waited for rows. The
script fails if the program waited more than a tenth of the time. The training's own start and compilation
are in `seconds` alone.

Then the command is killed `--kills` times on a smaller table, at random moments of statistics, encoding and
training, each time in a new folder. It goes on, and the bits of the model must be those of a whole training.

`python -m benchmarks.larger [--gb 8] [--memory 1GB] [--group 2] [--kills 20] [--kills-gb 0.1] [--seed 0]
[--folder DIR] [--quick]`
"""

import argparse
import csv
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from safetensors.numpy import load_file

from benchmarks.record import Record, commit

ROWS = 1 << 18  # of a file
GROUP = 1 << 16  # of a row group
LIMITS = ("memory.limit_in_bytes", "memory.max")  # of control groups of version 1 and 2
PEAKS = ("memory.max_usage_in_bytes", "memory.peak")
LEVELS = (5, 20, 100, 1000, 5000)


def write(folder: Path, size: float) -> int:
    """Write so many bytes of Parquet, and return the rows."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    weights, direction = rng.standard_normal((25, 16)) / 5, rng.standard_normal(16)
    names, written, rows = pl.Series([f"k{k}" for k in range(max(LEVELS))]), 0, 0
    while written < size:
        g = np.random.default_rng(rows)
        x = g.standard_normal((ROWS, 25)).astype(np.float32)
        codes = g.integers(0, LEVELS, (ROWS, len(LEVELS)))
        z = np.tanh(x @ weights) @ direction + 0.3 * (codes[:, 0] - 2) + 0.3 * g.standard_normal(ROWS)
        columns = {f"x{i}": x[:, i] for i in range(25)}
        columns |= {f"c{i}": names.gather(codes[:, i]) for i in range(len(LEVELS))}
        path = folder / f"{rows // ROWS:05d}.parquet"
        pl.DataFrame(columns | {"y": np.where(z > 0, "yes", "no")}).write_parquet(path, row_group_size=GROUP)
        written, rows = written + path.stat().st_size, rows + ROWS
    return rows


def command(data: Path, folder: Path, memory: str, *more: str) -> list[str]:
    words = ["train", data, "--target", "y", "--memory", memory, "--cache", folder / "cache", "--epochs", 1,
             "--members", 1, "--out", folder / "run", *more]  # fmt: skip
    return [sys.executable, "-m", "mlpax", *map(str, words)]


@contextmanager
def group(size: float) -> Generator[Path | None]:
    """Make a control group that may take so many GB of memory; none if it is 0."""
    if not size:
        yield None
        return
    root = Path("/sys/fs/cgroup")
    root = root / "memory" if (root / "memory").is_dir() else root  # of version 1, else 2
    folder = root / f"mlpax-{os.getpid()}"
    folder.mkdir()
    try:
        limit = next(folder / name for name in LIMITS if (folder / name).exists())
        limit.write_text(str(int(size * 2**30)))
        yield folder
    finally:
        folder.rmdir()


def measured(words: list[str], log: Path, inside: Path | None = None) -> tuple[float, int]:
    """Return the seconds of a command, and the largest resident set of its process in bytes."""

    def enter() -> None:
        if inside is not None:
            (inside / "cgroup.procs").write_text(str(os.getpid()))

    start = time.perf_counter()
    with open(log, "wb") as file:
        process = subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT, preexec_fn=enter)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"exit code {process.returncode}: {log.read_text()[-1000:]}")
    return time.perf_counter() - start, usage.ru_maxrss * 1024


def bits(folder: Path) -> dict[str, bytes]:
    """Return the arrays of a run's model."""
    return {name: a.tobytes() for name, a in load_file(folder / "run" / "model.safetensors").items()}


def killed(data: Path, folder: Path, memory: str, seconds: float) -> str:
    """Start a training, kill it after so many seconds, go on to the end; return what was killed."""
    folder.mkdir()
    process = subprocess.Popen(
        command(data, folder, memory, "--quiet"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
    cache = next((folder / "cache").glob("*"), None)
    stage = "training" if (folder / "run" / "config.json").exists() else "encoding"
    if cache is None or not (cache / "statistics.npz").exists():
        stage = "statistics"
    more = ("--quiet", "--resume") if stage == "training" else ("--quiet",)
    if stage != "training":
        shutil.rmtree(folder / "run", ignore_errors=True)
    measured(command(data, folder, memory, *more), folder / "log")
    return stage


def trained(data: Path, rows: int, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Train on a table in a control group, and return the figures."""
    folder.mkdir()
    with group(options.group) as inside:
        seconds, peak = measured(command(data, folder, options.memory), folder / "log", inside)
        most = next((path for name in PEAKS if inside and (path := inside / name).exists()), None)
        whole = None if most is None else round(int(most.read_text()) / 2**30, 2)
    said = (folder / "log").read_text()
    passes = re.search(r"statistics in ([\d.]+) s, encoded in ([\d.]+) s", said)
    assert passes is not None, said
    with open(folder / "run" / "metrics.csv") as file:
        history = list(csv.DictReader(file))
    spent, waited = (sum(float(row[name]) for row in history) for name in ("seconds", "waited"))
    each = [rows / float(passes[1]), rows / float(passes[2]), rows / spent]
    return {
        "gb": options.gb, "rows": rows, "memory": options.memory, "group_gb": options.group, "seconds":
        round(seconds, 1), "resident_gb": round(peak / 2**30, 2), "group_peak_gb": whole, "rows_a_second":
        dict(zip(("statistics", "encoding", "training"), map(round, each), strict=True)),
        "waited": round(waited / (waited + spent), 4), "chunks": len(history),
        "valid_accuracy": float(history[-1]["valid_accuracy"]),
    }  # fmt: skip


def kills(parent: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Kill trainings at random moments; return how often in each stage. All end with the same bits."""
    data, whole = parent / "small", parent / "small-whole"
    rows = write(data, options.kills_gb * 2**30)
    whole.mkdir()
    seconds, _ = measured(command(data, whole, options.memory), whole / "log")
    expected, chance, stages = bits(whole), random.Random(options.seed), Counter[str]()
    for k in range(options.kills):
        folder = parent / f"killed-{k}"
        stage = killed(data, folder, options.memory, chance.uniform(1, seconds))
        stages[stage] += 1
        print(f"kill {k + 1} in {stage}", flush=True)
        if bits(folder) != expected:
            sys.exit(f"kill {k + 1} in {stage} (seed {options.seed}): other bits")
        shutil.rmtree(folder)
    return {"seed": options.seed, "rows": rows, "count": options.kills, "the_same_bits": dict(stages)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gb", type=float, default=8, help="of Parquet")
    parser.add_argument("--memory", default="1GB", help="of the data")
    parser.add_argument("--group", type=float, default=2, help="GB that the process may take")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--kills-gb", type=float, default=0.1, help="of Parquet, of the table of the kills")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--folder", help="where the files go for the time being")
    parser.add_argument("--quick", action="store_true", help="write no record")
    options = parser.parse_args()
    options.threads = os.cpu_count()
    with tempfile.TemporaryDirectory(dir=options.folder) as name, Record("larger", options) as results:
        results["commit"] = commit()
        data = Path(name) / "data"
        if options.gb:
            rows = write(data, options.gb * 2**30)
            results["whole"] = trained(data, rows, Path(name) / "whole", options)
            print(json.dumps(results["whole"]), flush=True)
            shutil.rmtree(data)
        if options.kills:
            results["killed"] = kills(Path(name), options)
            print(json.dumps(results["killed"]))
    if results.get("whole", {"waited": 0})["waited"] > 0.1:
        sys.exit("the program waited more than a tenth of the time")


if __name__ == "__main__":
    main()
