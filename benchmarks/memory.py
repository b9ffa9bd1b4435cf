"""Prediction on a file larger than it may be in memory: how much memory does `mlpax predict` take?

A CSV of so many GB is generated (numbers, a category, missing cells, the target), a network trained on its
first 5,000 rows, and all of it predicted, to CSV and to Parquet. The memory is the largest resident set of
the process as the kernel counts it, of mapped files what was touched included.

The script fails if a prediction is missing, or if the memory passes 1 GiB.
`python -m benchmarks.memory [--gb 5] [--folder /tmp]`
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

ROWS = 200_000  # a block, repeated with its row numbers
LIMIT = 2**30


def block() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 8)).round(4)
    frame = pl.DataFrame({f"x{i}": x[:, i] for i in range(8)})
    return frame.with_columns(
        pl.when(pl.int_range(ROWS) % 11 > 0).then("x0").alias("x0"),
        pl.Series("town", rng.choice(["Bern", "Basel", "Genève", "Chur"], ROWS)),
        pl.Series("kind", np.where(x[:, 1] + x[:, 2] > 0, "yes", "no")),
    )


def write(path: Path, size: float) -> int:
    """So many bytes of CSV; its rows."""
    frame, rows = block(), 0
    with open(path, "wb") as file:
        while file.tell() < size:
            frame.write_csv(file, include_header=rows == 0)
            rows += ROWS
    return rows


def written(path: Path) -> int:
    """Predictions in a file, of a CSV its lines counted in blocks.

    The kernel counts a process from the largest size of the one that started it, so this one stays small.
    """
    if path.suffix == ".parquet":
        return pl.scan_parquet(path).select(pl.len()).collect().item()
    with open(path, "rb") as file:
        return sum(part.count(b"\n") for part in iter(lambda: file.read(2**20), b"")) - 1


def measured(*words: object) -> tuple[float, int]:
    """Seconds of a command, and the largest resident set of its process in bytes."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "mlpax", *map(str, words)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"mlpax {words[0]}: exit code {process.returncode}")
    return time.perf_counter() - start, usage.ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gb", type=float, default=5, help="of the CSV, 5 by default")
    parser.add_argument("--folder", help="where the files go for the time being")
    options = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        small, large, run = (Path(folder) / name for name in ("small.csv", "large.csv", "run"))
        block().head(5000).write_csv(small)
        measured("train", small, "--epochs", 10, "--out", run, "--quiet")
        rows = write(large, options.gb * 1e9)
        for ending in ("csv", "parquet"):
            out = Path(folder) / f"predictions.{ending}"
            seconds, memory = measured("predict", run, large, "--out", out)
            found = written(out)
            failed |= found != rows or memory > LIMIT
            print(f"{large.stat().st_size / 1e9:.1f} GB to {ending}: {found:,} of {rows:,} rows,"
                  f" {memory / 2**20:.0f} MiB, {seconds:.0f} s", flush=True)  # fmt: skip
            out.unlink()
    sys.exit(failed)


if __name__ == "__main__":
    main()
