"""Prediction on a file larger than it may be in memory: time and memory of `mlpax predict`, stage by stage.

python -m benchmarks.memory [--gb 5] [--rows 7600000] [--folder /tmp] [--against REV]

A CSV of so many GB is generated (numbers, a category, missing cells, the target), a network trained on its
first 5,000 rows, and all of it predicted, to CSV and to Parquet. The memory is the largest resident set of
the process as the kernel counts it, of mapped files what was touched included.

The stages (read, encode, predict, write) also work alone, each after the other on rows in memory, of a CSV of
0.2 GB at most: by one thread, and by as many as there are cores. Their memory is that of a process that ends
with the stage, libraries included. Three shares are told of the whole:

- of the slowest stage by one thread: more than 100 % means that the other stages cost no time;
- of the slowest stage by all cores: the whole cannot reach 100 %, as the other stages need the cores, too;
- of what the cores can do: all of them busy with nothing but the stages. This is the measure of the overlap.

Then a Parquet file of so many rows is read for training, and the memory beyond the libraries' compared with
the arrays'. With `--against` all of it is measured on an earlier commit, too, in an environment of its own.

The script fails if a prediction is missing, if the memory of predictions passes 1 GiB, if the whole is slower
than 85 % of the slowest stage by one thread or of what the cores can do, or if reading for training takes
more than 3 times the memory of the arrays.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

ROWS = 200_000  # a block, repeated with its row numbers
LIMIT = 2**30
SHARE = 0.85  # of the slowest stage's rate
ARRAYS = 3  # times the arrays that reading for training takes at most
PART = 0.2  # GB of the CSV on which the stages work alone
READ = """
import json, resource, sys, time
import polars, sklearn.utils
from mlpax.data.sources import Table, Wanted
from mlpax.data.reading import Reading
from pathlib import Path

before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
data = Table(Path(sys.argv[1])).to_train(Wanted(), Reading()).dataset
arrays = sum(a.nbytes for a in (data.X_train, data.X_valid, data.y_train, data.y_valid)) / 2**20
peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10
print(json.dumps({"seconds": time.perf_counter() - start, "peak_mib": peak, "arrays_mib": arrays}))
"""
STAGES = """
import io, itertools, json, resource, sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from mlpax.data import tables
from mlpax.model.model_file import load

model, path, last, threads = load(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
plain = getattr(model.columns, "plain", None)  # which an earlier commit has not
predict = getattr(model, "_of_part", lambda X, start: model.of_members(X))

def written(each):
    file = io.BytesIO()
    model._predictions(each, [], False, None).write_csv(file, include_header=False)
    return file.getvalue()

work = {"encode": model.inputs, "predict": lambda X: predict(X, 0), "write": written}
names = ["read", *work]
seconds, rows = dict.fromkeys(names[: names.index(last) + 1], 0.0), 0
batches = iter(tables.read_batches(path, **({} if plain is None else {"plain": plain})))
with ThreadPoolExecutor(threads) as pool:
    while True:
        start = time.perf_counter()
        some = list(itertools.islice(batches, 4))
        seconds["read"] += time.perf_counter() - start
        if not some:
            break
        rows += sum(batch.height for batch in some)
        items = [part for batch in some for part in batch.iter_slices(8192)]
        for name in [*seconds][1:]:
            start = time.perf_counter()
            items = [*pool.map(work[name], items)]
            seconds[name] += time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
print(json.dumps({"rates": {name: rows / s for name, s in seconds.items()}, "peak_mib": peak}))
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


def process(command: list[str], environment: dict[str, str]) -> tuple[float, float, str, str]:
    """Run a process; return its seconds, its largest resident set in MiB, its output and its errors."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as told:
        running = subprocess.Popen(command, stdout=printed, stderr=told, env=environment)
        _, status, usage = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        printed.seek(0)
        told.seek(0)
        out, err = printed.read().decode(), told.read().decode()
    if running.returncode:
        sys.exit(f"{' '.join(command[1:4])}: exit code {running.returncode}: {err}")
    return seconds, usage.ru_maxrss / 1024, out, err


def limited(threads: int) -> dict[str, str]:
    """Return the environment of a process with so many threads, on as many cores."""
    names = ("MLPAX_THREADS", "POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return clean | dict.fromkeys(names, str(threads))


def stages(python: str, source: Path, run: Path, table: Path, threads: int) -> dict[str, Any]:
    """Return the rate of each stage alone, by one thread and by all, and the memory up to each."""

    def alone(last: str, count: int) -> dict[str, Any]:
        environment = limited(count) | {"PYTHONPATH": str(source)}
        _, _, out, _ = process([python, "-c", STAGES, str(run), str(table), last, str(count)], environment)
        return json.loads(out)

    names = ["read", "encode", "predict", "write"]
    each = {name: alone(name, threads) for name in names}
    one, every = alone("write", 1)["rates"], each["write"]["rates"]
    return {
        name: {"one_thread": one[name], "all_cores": every[name], "peak_mib": each[name]["peak_mib"]}
        for name in names
    }


def predictions(python: str, source: Path, run: Path, table: Path, rows: int, threads: int) -> dict[str, Any]:
    """Return seconds and memory of `mlpax predict`, to CSV and to Parquet, and the rates that it tells."""
    found: dict[str, Any] = {}
    for ending in ("csv", "parquet"):
        out, environment = table.with_name(f"predictions.{ending}"), limited(threads)
        command = [python, "-m", "mlpax", "predict", str(run), str(table), "--out", str(out)]
        seconds, peak, _, told = process(command, environment | {"PYTHONPATH": str(source)})
        line = next((line for line in told.splitlines() if "one thread" in line), "")
        found[ending] = {
            "seconds": seconds, "rate": rows / seconds, "peak_mib": peak, "missing": rows - written(out),
            "told": re.sub("^mlpax: ", "", line),
        }  # fmt: skip
        out.unlink()
    return found


def shares(found: dict[str, Any], threads: int) -> dict[str, float]:
    """Return the whole's rate as a share of the slowest stage's, and of what the cores can do."""
    rate, each = found["predictions"]["csv"]["rate"], found["stages"].values()
    return {
        "of_one_thread": rate / min(stage["one_thread"] for stage in each),
        "of_all_cores": rate / min(stage["all_cores"] for stage in each),
        "of_the_cores": rate * sum(1 / stage["one_thread"] for stage in each) / threads,
    }


def measured(python: str, source: Path, files: dict[str, Path], rows: int, threads: int) -> dict[str, Any]:
    """Return all figures of one checkout."""
    with tempfile.TemporaryDirectory(dir=files["large"].parent) as folder:
        run, environment = Path(folder) / "run", limited(threads) | {"PYTHONPATH": str(source)}
        train = ["train", str(files["small"]), "--epochs", "10", "--out", str(run), "--quiet"]
        process([python, "-m", "mlpax", *train], environment)
        found = {
            "stages": stages(python, source, run, files["part"], threads),
            "predictions": predictions(python, source, run, files["large"], rows, threads),
        }
        _, _, out, _ = process([python, "-c", READ, str(files["table"])], environment)
    return found | {"shares": shares(found, threads), "training": json.loads(out)}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Write the files, and measure each checkout."""
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        files = {name: Path(folder) / f"{name}.csv" for name in ("small", "part", "large")}
        files["table"] = Path(folder) / "table.parquet"
        block().head(5000).write_csv(files["small"])
        write(files["part"], min(options.gb, PART) * 1e9)
        rows = write(files["large"], options.gb * 1e9)
        write_parquet(files["table"], options.rows)
        results: dict[str, Any] = {
            "gb": files["large"].stat().st_size / 1e9, "rows": rows,
            "parquet_mb": files["table"].stat().st_size / 1e6,
        }  # fmt: skip
        for name, python, source in options.checkout:
            results[name] = measured(python, Path(source), files, rows, options.threads)
    return results


def faults(now: dict[str, Any]) -> list[str]:
    """Return what is not as it should be."""
    found = [
        f"predictions to {ending}: {of['missing']} are missing, {of['peak_mib']:.0f} MiB"
        for ending, of in now["predictions"].items()
        if of["missing"] or of["peak_mib"] > LIMIT / 2**20
    ]
    found += [
        f"the whole has {now['shares'][share]:.0%} {share}"
        for share in ("of_one_thread", "of_the_cores")
        if now["shares"][share] < SHARE
    ]
    training = now["training"]
    if training["peak_mib"] > ARRAYS * training["arrays_mib"]:
        found.append(f"training takes {training['peak_mib'] / training['arrays_mib']:.2f} times its arrays")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gb", type=float, default=5, help="of the CSV, 5 by default")
    parser.add_argument(
        "--rows", type=int, default=7_600_000, help="of the Parquet file, 7,600,000 by default"
    )
    parser.add_argument("--folder", help="where the files go for the time being")
    parser.add_argument("--against", metavar="REV", help="an earlier commit to measure, too")
    parser.add_argument("--threads", type=int, default=2, help="cores and threads, 2 by default")
    parser.add_argument("--quick", action="store_true", help="a trial: printed and not written")
    # Of the inner process: the file for its figures, and the name, interpreter and sources of each checkout.
    parser.add_argument("--into", help=argparse.SUPPRESS)
    parser.add_argument("--checkout", nargs=3, action="append", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.into:
        Path(options.into).write_text(json.dumps(measure(options)))
        return
    from benchmarks.against import checkout, commit_of, python_of
    from benchmarks.record import Record

    checkouts = [("now", sys.executable, str(Path(__file__).parents[1] / "src"))]
    if options.against:
        tree = checkout(commit_of(options.against))
        checkouts.insert(0, ("then", str(python_of(tree)), str(tree / "src")))
    # A process of its own measures: the kernel counts a process from the size of the one that started it.
    with Record("memory", options) as results, tempfile.TemporaryDirectory() as folder:
        into = Path(folder) / "figures.json"
        command = [sys.executable, "-m", "benchmarks.memory", *sys.argv[1:], "--into", str(into)]
        command += [word for each in checkouts for word in ("--checkout", *each)]
        subprocess.run(command, check=True)
        results.update(json.loads(into.read_text()))
    print(json.dumps(results, indent=1))
    if found := faults(results["now"]):
        sys.exit("; ".join(found))


if __name__ == "__main__":
    main()
