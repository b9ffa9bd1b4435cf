"""Prediction on a file larger than it may be in memory: how much memory and time does `mlpax predict` take?

A CSV of so many GB is generated (numbers, a category, missing cells, the target), a network trained on its
first 5,000 rows, and all of it predicted, to CSV and to Parquet. The memory is the largest resident set of
the process as the kernel counts it, of mapped files what was touched included. Each stage's rate is that of
one thread, for the seconds that it worked; the whole is compared with the slowest stage's rate.

Then a Parquet file of so many rows is read for training, and the memory compared with the arrays.

The script fails if a prediction is missing, if the memory of predictions passes 1 GiB, or if the whole is
slower than 85 % of the slowest stage.
`python -m benchmarks.memory [--gb 5] [--rows 2000000] [--folder /tmp] [--checkout DIR]`

`--checkout` measures another checkout of mlpax, for the figures before a change. It may tell no rates.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

ROWS = 200_000  # a block, repeated with its row numbers
LIMIT = 2**30
SHARE = 0.85  # of the slowest stage's rate
READ = """
import resource, sys
from mlpax.data.sources import Table, Wanted
from mlpax.data.reading import Reading
from pathlib import Path

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
data = Table(Path(sys.argv[1])).to_train(Wanted(), Reading()).dataset
arrays = sum(a.nbytes for a in (data.X_train, data.X_valid, data.y_train, data.y_valid)) / 2**20
peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10
print(f"read for training: {peak:.0f} MiB for arrays of {arrays:.0f} MiB, {peak / arrays:.1f} times as much")
"""


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


def write_parquet(path: Path, rows: int) -> None:
    """So many rows, in a process of its own; see `written`."""
    code = (
        "import sys, polars as pl\n"
        "from benchmarks.memory import ROWS, block\n"
        "frame, rows = block(), int(sys.argv[2])\n"
        "pl.concat([frame] * -(-rows // ROWS)).head(rows).write_parquet(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", code, str(path), str(rows)], check=True)


def written(path: Path) -> int:
    """Predictions in a file, of a CSV its lines counted in blocks.

    The kernel counts a process from the largest size of the one that started it, so this one stays small.
    """
    if path.suffix == ".parquet":
        return pl.scan_parquet(path).select(pl.len()).collect().item()
    with open(path, "rb") as file:
        return sum(part.count(b"\n") for part in iter(lambda: file.read(2**20), b"")) - 1


def measured(*words: object, source: Path | None = None) -> tuple[float, int, str]:
    """Seconds of a command, the largest resident set of its process in bytes, and what it told on stderr."""
    command, start = [sys.executable, "-m", "mlpax", *map(str, words)], time.perf_counter()
    with tempfile.TemporaryFile() as told:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=told, env=_environment(source))
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        told.seek(0)
        text = told.read().decode()
    if process.returncode:
        sys.exit(f"mlpax {words[0]}: exit code {process.returncode}: {text}")
    return seconds, usage.ru_maxrss * 1024, text


def _environment(source: Path | None) -> dict[str, str]:
    return dict(os.environ) if source is None else {**os.environ, "PYTHONPATH": str(source / "src")}


def share(told: str) -> float | None:
    """The whole's rate as a share of the slowest stage's, as the line that `mlpax predict` tells."""
    line = next((line for line in told.splitlines() if "one thread" in line), None)
    if line is None:
        return None
    whole, *stages = (int(text.replace(",", "")) for text in re.findall(r"\d[\d,]*\d|\d", line))
    return whole / min(stages)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gb", type=float, default=5, help="of the CSV, 5 by default")
    parser.add_argument(
        "--rows", type=int, default=2_000_000, help="of the Parquet file, 2,000,000 by default"
    )
    parser.add_argument("--folder", help="where the files go for the time being")
    parser.add_argument("--checkout", type=Path, help="another checkout of mlpax to measure")
    options = parser.parse_args()
    source, failed = options.checkout, False
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        small, large, run = (Path(folder) / name for name in ("small.csv", "large.csv", "run"))
        block().head(5000).write_csv(small)
        measured("train", small, "--epochs", 10, "--out", run, "--quiet", source=source)
        rows = write(large, options.gb * 1e9)
        for ending in ("csv", "parquet"):
            out = Path(folder) / f"predictions.{ending}"
            seconds, memory, told = measured("predict", run, large, "--out", out, source=source)
            found, part = written(out), share(told)
            failed |= found != rows or memory > LIMIT or (part is not None and part < SHARE)
            size = large.stat().st_size
            print(f"{size / 1e9:.1f} GB to {ending}: {found:,} of {rows:,} rows, {memory / 2**20:.0f} MiB,"
                  f" {seconds:.0f} s, {size / 1e6 / seconds:.0f} MB a second", flush=True)  # fmt: skip
            if part is not None:
                print(f"{told.strip()}; the whole is {part:.0%} of the slowest stage", flush=True)
            out.unlink()
        table = Path(folder) / "table.parquet"
        write_parquet(table, options.rows)
        command = [sys.executable, "-c", READ, str(table)]
        print(f"{table.stat().st_size / 1e6:.0f} MB of Parquet,", end=" ", flush=True)
        failed |= subprocess.run(command, check=False, env=_environment(source)).returncode != 0
    sys.exit(failed)


if __name__ == "__main__":
    main()
