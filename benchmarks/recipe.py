"""The recipe for tables beside that of an earlier commit: every table and split, paired, and its time.

python -m benchmarks.recipe REV [--seeds 0,1,2,3,4] [--tables a,b] [--options JSON] [--name NAME]

For each table of MLPAX_DATA_DIR/tables a process of each commit fits the splits of all seeds, 80/20,
stratified by class, after one fit that is not counted, in which JAX compiles. The commits take turns in
beginning, one process at a time. The clock goes around `fit`. `--options` are those of this commit's
estimator, `--name` is of the record.

A gain is the mean over a table's splits of the logarithm of a figure's ratio, this commit's by the earlier
one's. The figure is the log-loss plus 0.001 for a classification, since the smallest are nearly 0, and the
root mean squared error for a regression. The mean over the tables has a 95 % interval by a bootstrap over
tables (10,000 draws). The times are added over all tables.

Ranks are among mlpax and the other learners on the same splits, whose figures `benchmarks.tables` has
recorded. A table's ranks are means over its splits; their mean over the tables has an interval as above.

Commit what is to be measured: changes that are not committed are not in the record.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from benchmarks.against import ROOT, checkout, commit_of, python_of
from benchmarks.record import hardware, in_lines, results_file

LEAST = 1e-3  # added to a log-loss
DRAWS = 10_000
Split = dict[str, float]


def fits(
    tree: Path, python: Path, table: dict[str, Any], folder: Path, seeds: str, options: str
) -> list[Split]:
    """Return the figures of one commit's fits of a table."""
    script = Path(__file__).with_name("recipe_alone.py")
    target = tree / "benchmarks" / script.name
    if target != script:
        shutil.copy(script, target)
    command = [python, "-m", "benchmarks.recipe_alone", folder / f"{table['name']}.csv.gz", "--seeds", seeds,
               "--task", table["task"], "--options", options]  # fmt: skip
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=tree, env=clean, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{table['name']} failed in {tree}:\n{done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def gain(then: list[Split], now: list[Split]) -> float:
    """Return the mean logarithm of the ratios; below 0 is better than then."""
    name, least = ("nrmse", 0.0) if "nrmse" in now[0] else ("log_loss", LEAST)
    return float(
        np.mean([np.log((b[name] + least) / (a[name] + least)) for a, b in zip(then, now, strict=True)])
    )


def interval(values: list[float]) -> dict[str, Any]:
    """Return the mean ratio over tables with its interval."""
    if not values:
        return {"tables": 0}
    draws = np.random.default_rng(0).choice(values, (DRAWS, len(values))).mean(axis=1)
    low, high = np.exp(np.percentile(draws, (2.5, 97.5)))
    return {
        "tables": len(values),
        "better": int(np.sum(np.array(values) < 0)),
        "ratio": round(float(np.exp(np.mean(values))), 4),
        "interval": [round(float(low), 4), round(float(high), 4)],
    }


def overall(tables: dict[str, Any]) -> dict[str, Any]:
    """Return the gains of both tasks, and the ratio of the times."""
    gains: dict[str, list[float]] = {"log_loss": [], "nrmse": []}
    for of in tables.values():
        gains["nrmse" if "nrmse" in of["now"][0] else "log_loss"].append(gain(of["then"], of["now"]))
    seconds = {
        side: [sum(s["fit_seconds"] for s in of[side]) for of in tables.values()] for side in ("then", "now")
    }
    each = np.array(seconds["now"]) / np.array(seconds["then"])
    found = {name: interval(values) for name, values in gains.items()}
    return found | {
        "seconds": {side: round(sum(values), 2) for side, values in seconds.items()},
        "time_ratio": round(sum(seconds["now"]) / sum(seconds["then"]), 3),
        "time_ratio_of_a_table": [round(float(q), 3) for q in np.percentile(each, (0, 25, 50, 75, 100))],
    }


def ranks(tables: dict[str, Any], seeds: list[int]) -> dict[str, Any]:
    """Return each learner's mean rank by error and by log-loss, with its interval."""
    path = results_file("tables", "cpu")
    peers = json.loads(path.read_text())["results"]["tables"] if path.exists() else {}
    both = [name for name in tables if name in peers]
    found: dict[str, Any] = {}
    for key in ("error", "log_loss"):
        each: list[np.ndarray] = []
        names: list[str] = []
        for table in both:
            methods = peers[table]["methods"]
            if key not in tables[table]["now"][0]:
                continue
            names = ["mlpax", *(name for name in methods if name != "mlpax")]
            ours = [split[key] for split in tables[table]["now"]]
            of_peers = [[methods[name][f"{key}_values"][seed] for seed in seeds] for name in names[1:]]
            each.append(rankdata([ours, *of_peers], axis=0).mean(axis=1))
        if each:
            draws = np.random.default_rng(0).integers(len(each), size=(DRAWS, len(each)))
            means = np.percentile(np.array(each)[draws].mean(axis=1), (2.5, 97.5), axis=0)
            found[key] = {
                name: {"mean": round(float(mean), 3), "interval": [round(float(q), 3) for q in means[:, i]]}
                for i, (name, mean) in enumerate(zip(names, np.mean(each, axis=0), strict=True))
            }
    return found


def write(content: dict[str, Any], name: str) -> None:
    a_split = r"\{[^{}]*\"seed\"[^{}]*\}"  # in a line, too
    text = re.sub(a_split, lambda found: " ".join(found[0].split()), in_lines(content))
    results_file(name, "cpu").write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.recipe",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("revision", metavar="REV", help="the earlier commit, branch or tag")
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--tables", default="")
    parser.add_argument("--options", default="{}", help="of this commit's estimator, as JSON")
    parser.add_argument("--name", default="recipe", help="of the record")
    options = parser.parse_args()
    folder = Path(os.environ["MLPAX_DATA_DIR"]) / "tables"
    wanted = [name for name in options.tables.split(",") if name]
    every = [
        t for t in json.loads((folder / "manifest.json").read_text()) if not wanted or t["name"] in wanted
    ]
    every.sort(key=lambda table: table["rows"])
    commits = {"then": commit_of(options.revision), "now": commit_of("HEAD")}
    old = checkout(commits["then"])
    sides = {"then": (old, python_of(old), "{}"), "now": (ROOT, Path(sys.executable), options.options)}
    tables: dict[str, Any] = {}
    seeds = [int(seed) for seed in options.seeds.split(",")]
    for turn, table in enumerate(every):
        figures: dict[str, list[Split]] = {}
        for side in ("then", "now") if turn % 2 == 0 else ("now", "then"):
            tree, python, given = sides[side]
            figures[side] = fits(tree, python, table, folder, options.seeds, given)
        tables[table["name"]] = {side: figures[side] for side in sides}
        content = {
            "benchmark": options.name,
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "commits": commits,
            "options": options.options,
            "hardware": hardware(),
            "results": overall(tables) | {"ranks": ranks(tables, seeds), "tables": tables},
        }
        write(content, options.name)
        seconds = [sum(s["fit_seconds"] for s in figures[side]) for side in sides]
        ratio = np.exp(gain(figures["then"], figures["now"]))
        print(f"{table['name']:20} {ratio:6.3f}  {seconds[0]:7.2f} s  {seconds[1]:7.2f} s", flush=True)
    print(json.dumps(overall(tables), indent=1))


if __name__ == "__main__":
    main()
