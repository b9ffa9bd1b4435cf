"""Training on a table larger than the memory: how much does it take, how fast is each pass, is it ever lost?

A table of so many GB of Parquet is generated (numbers, categories, a target), and `mlpax train --memory`
trains on it for one pass. The script prints the largest resident set of the process, the rows a second of
each pass, and the share of the time that the program waited for rows. It fails if the process takes more
than the memory and `--beside`, or waits more than a tenth of the time.

With `--kills N`, the command is killed N times at random moments of statistics, encoding and training, each
time in a new folder, then goes on, and the bits of the model are compared with those of a whole training.

`python -m benchmarks.larger [--gb 8] [--memory 1GB] [--beside 1.0] [--kills 0] [--seed 0] [--folder DIR]`
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
from pathlib import Path

import numpy as np
import polars as pl
from safetensors.numpy import load_file

ROWS = 1 << 18  # of a file
GROUP = 1 << 16  # of a row group
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


def measured(words: list[str], log: Path) -> tuple[float, int]:
    """Return the seconds of a command, and the largest resident set of its process in bytes."""
    start = time.perf_counter()
    with open(log, "wb") as file:
        process = subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT)
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gb", type=float, default=8, help="of Parquet")
    parser.add_argument("--memory", default="1GB", help="of the data")
    parser.add_argument("--beside", type=float, default=1.0, help="GB that the process may take beside")
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--folder", help="where the files go for the time being")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        data, whole = Path(name) / "data", Path(name) / "whole"
        rows = write(data, options.gb * 2**30)
        whole.mkdir()
        seconds, peak = measured(command(data, whole, options.memory), whole / "log")
        said = (whole / "log").read_text()
        passes = re.search(r"statistics in ([\d.]+) s, encoded in ([\d.]+) s", said)
        assert passes is not None, said
        with open(whole / "run" / "metrics.csv") as file:
            history = list(csv.DictReader(file))
        trained = sum(float(row["seconds"]) for row in history)
        waited = sum(float(row["waited"]) for row in history)
        figures = {
            "rows": rows, "seconds": round(seconds, 1), "peak GB": round(peak / 2**30, 2),
            "statistics, rows/s": round(rows / float(passes[1])),
            "encoding, rows/s": round(rows / float(passes[2])), "training, rows/s": round(rows / trained),
            "waited": round(waited / (waited + trained), 4), "chunks": len(history),
        }  # fmt: skip
        print(json.dumps(figures), flush=True)
        expected, chance, stages = bits(whole), random.Random(options.seed), dict[str, int]()
        for k in range(options.kills):
            folder = Path(name) / f"killed-{k}"
            stage = killed(data, folder, options.memory, chance.uniform(1, seconds))
            stages[stage] = stages.get(stage, 0) + 1
            if bits(folder) != expected:
                sys.exit(f"kill {k} in {stage} (seed {options.seed}): other bits")
            shutil.rmtree(folder)
        if options.kills:
            print(json.dumps({"seed": options.seed, "kills": options.kills, "the same bits": stages}))
        unit = {"K": 2**10, "M": 2**20, "G": 2**30}[options.memory.upper().removesuffix("B")[-1]]
        limit = float(options.memory.upper().removesuffix("B")[:-1]) * unit + options.beside * 2**30
        if peak > limit or figures["waited"] > 0.1:
            sys.exit("more memory than it may take, or more than a tenth of the time waited")


if __name__ == "__main__":
    main()
