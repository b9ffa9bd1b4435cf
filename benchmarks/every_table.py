"""Every table of MLPAX_DATA_DIR/tables through the commands: do all end, and are the columns what they are?

For each table of its manifest.json, in processes of their own: `mlpax train TABLE --target target`, then
`mlpax evaluate RUN` (on the validation rows) and `mlpax predict RUN TABLE`, with no other option but where
the files lie. A table passes when all three end with 0, there is a prediction for every row, and the task
and the classes are the manifest's.

The kinds are those that `mlpax describe` tells: a number is numeric, a category or a boolean categorical.
Left out of the count are categories coded as whole numbers, which nothing in the file tells from numbers;
dates; and columns of one value.

The script fails if a table does, or if fewer than 95 % of the columns are of the manifest's kind.
`python -m benchmarks.every_table [--tables a,b] [--epochs N]`
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl

from mlpax import load
from mlpax.data import describe
from mlpax.data.reading import Reading
from mlpax.data.tables import read_table

KINDS = {"number": "numeric", "category": "categorical"}


def mlpax(*words: object) -> str:
    """What a command prints; its error ends the table."""
    command = [sys.executable, "-m", "mlpax", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"mlpax {words[0]}: exit code {done.returncode}: {done.stderr.splitlines()[-1]}")
    return done.stdout


def differing(file: Path, facts: dict[str, Any]) -> tuple[int, list[str]]:
    """How many columns count, and those whose kind is not the manifest's."""
    frame = read_table(file)
    counted, wrong = 0, []
    for name, kind, *_ in describe.describe(frame, Reading(target="target")).facts:
        if name == "target" or kind not in KINDS:
            continue
        x = frame[name].drop_nulls().cast(pl.Float64, strict=False)
        coded = name in facts["categorical"] and not x.null_count() and (x == x.round(0)).all()
        counted += not coded
        if not coded and name not in facts[KINDS[kind]]:
            wrong.append(f"{name} is a {kind}")
    return counted, wrong


def through(file: Path, facts: dict[str, Any], folder: Path, more: list[str]) -> str:
    """Train, evaluate and predict; the figures, in a line."""
    run, predictions, start = folder / facts["name"], folder / "predictions.csv", time.perf_counter()
    result = json.loads(mlpax("train", file, "--target", "target", "--out", run, "--json", *more))
    held = json.loads(mlpax("evaluate", run, "--json"))
    mlpax("predict", run, file, "--out", predictions)
    rows = pl.read_csv(predictions, infer_schema=False)
    model = load(run)
    if rows.height != facts["rows"]:
        raise RuntimeError(f"{rows.height} predictions for {facts['rows']} rows")
    if (model.task == "regression") != (facts["task"] == "regression"):
        raise RuntimeError(f"the task is {model.task}, but {facts['task']} in the manifest")
    if sorted(map(str, model.classes)) != sorted(map(str, facts["classes"] or ())):
        raise RuntimeError(f"the classes are {model.classes}, but {facts['classes']} in the manifest")
    name = "r2" if facts["task"] == "regression" else "accuracy"
    seconds = time.perf_counter() - start
    return f"{name} {held[name]:.3f}, {result['epochs']} epochs, {seconds:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", help="some, as a,b; all by default")
    parser.add_argument("--epochs", type=int, help="for a trial; the recipe's by default")
    options = parser.parse_args()
    home = Path(os.environ["MLPAX_DATA_DIR"]) / "tables"
    more = ["--epochs", str(options.epochs)] if options.epochs else []
    passed = counted = wrong = total = 0
    with tempfile.TemporaryDirectory() as folder:
        for facts in json.loads((home / "manifest.json").read_text()):
            if options.tables and facts["name"] not in options.tables.split(","):
                continue
            file, total = home / f"{facts['name']}.csv.gz", total + 1
            try:
                columns, differ = differing(file, facts)
                said = through(file, facts, Path(folder), more)
                counted, wrong, passed = counted + columns, wrong + len(differ), passed + 1
                said += f"; of {columns} columns, {', '.join(differ)}" if differ else ""
            except RuntimeError as error:
                said = f"FAILS: {error}"
            print(f"{facts['name']}: {said}", flush=True)
    share = 1 - wrong / max(counted, 1)
    print(f"{passed} of {total} tables; {counted - wrong} of {counted} columns ({share:.1%}) of their kind")
    sys.exit(passed < total or share < 0.95)


if __name__ == "__main__":
    main()
