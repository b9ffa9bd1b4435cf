"""Text tables written with a known truth and read back: as the truth, refused, or otherwise in silence.

The files are those of tests/data/written_files.py, in kinds alone and in pairs. Beside mlpax, pandas' reader
with its defaults, Python's csv with its sniffer and, if it is installed, DuckDB's reader: how often each
finds as many rows as were written, and how often other numbers in silence. They are not asked for values.
The script fails if mlpax reads a file otherwise than it was written. `python -m benchmarks.reading [--files
5000] [--seed 0]`
"""

import argparse
import collections
import csv
import importlib
import importlib.util
import io
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.record import Record, commit

ROOT = Path(__file__).parents[1]


def rows_of_pandas(path: Path) -> int:
    import pandas as pd

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return len(pd.read_csv(path))


def rows_of_csv(path: Path) -> int:
    with open(path, newline="") as file:
        text = file.read()
    dialect = csv.Sniffer().sniff(text[:4096])
    rows = [row for row in csv.reader(io.StringIO(text, newline=""), dialect) if row]
    return len(rows) - csv.Sniffer().has_header(text[:4096])


def rows_of_duckdb(path: Path) -> int:
    duckdb: Any = importlib.import_module("duckdb")
    found = duckdb.sql(f"SELECT count(*) FROM read_csv('{path}', sample_size=-1)")
    return int(found.limit(1).fetchall()[0][0])


ORACLES: dict[str, Callable[[Path], int]] = {
    "pandas": rows_of_pandas,
    "csv": rows_of_csv,
    "duckdb": rows_of_duckdb,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="write no record")
    options = parser.parse_args()
    options.threads = 2
    sys.path[:0] = [str(ROOT / "tests" / "data"), str(ROOT / "tests")]
    written: Any = importlib.import_module("written_files")
    read: Any = importlib.import_module("test_written_files")
    start, ends = time.perf_counter(), collections.Counter[str]()
    kinds: dict[str, collections.Counter[str]] = {kind: collections.Counter() for kind in written.KINDS}
    others = {name: collections.Counter[str]() for name in ORACLES if _is_there(name)}
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder, Record("reading", options) as results:
        for seed in range(options.seed, options.seed + options.files):
            file = written.write(seed)
            how, why = read.outcome(file, Path(folder))
            if how == "wrong":
                wrong.append(f"{seed} {file.kinds}: {why}")
            how = how if file.well_formed else f"{how}, though of more readings"
            ends[how] += 1
            for kind in file.kinds:
                kinds[kind][how] += 1
            if file.well_formed:
                rows = len(file.columns["first"][1])
                for name, counts in others.items():
                    counts[_rows(ORACLES[name], Path(folder) / "t.csv", rows)] += 1
        results |= {
            "seed": options.seed,
            "files": options.files,
            "seconds": round(time.perf_counter() - start, 1),
            "commit": commit(),
            "outcomes": dict(ends),
            "wrong": wrong,
            "kinds": {kind: dict(counts) for kind, counts in kinds.items()},
            "rows_of_others": {name: dict(counts) for name, counts in others.items()},
        }
    print(f"{options.files} files: {dict(ends)}")
    for name, counts in others.items():
        print(f"{name}: {dict(counts)}")
    if wrong:
        sys.exit("\n".join(wrong[:20]))


def _is_there(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _rows(count: Callable[[Path], int], path: Path, rows: int) -> str:
    """How another reader ends, by the number of its rows."""
    try:
        found = count(path)
    except Exception:  # whatever it raises
        return "refused"
    return "as many" if found == rows else "fewer" if found < rows else "more"


if __name__ == "__main__":
    main()
