"""Ranges of 90 % on the regression tables: how often they hold the truth, and how wide they are.

python -m benchmarks.intervals [--tables a,b] [--rows 20000] [--quick]

Each table of MLPAX_DATA_DIR/tables is split 80/20 by seed 0; of more than `--rows` training rows the first
are taken. `TableRegressor(folds=5)` gives ranges by its scores of the folds. scikit-learn's
HistGradientBoostingRegressor with quantiles of 0.05 and 0.95 is fitted on the same folds and conformalised by
the errors on them (CQR, Romano et al. 2019); its ranges are the means over the folds. Coverage and widths are
of the 20 % that neither has seen. `ratio` is the mean width of mlpax's ranges by that of the others'.
The seconds are of all fits of a table, and no clock is compared.
"""

import argparse
import json
import os
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn import ensemble, model_selection

import mlpax
from benchmarks.record import hardware, in_lines, results_file
from mlpax.data.dataset import fold_numbers
from mlpax.seeds import rng

COVERAGE, FOLDS = 0.9, 5
forests: Any = ensemble  # scikit-learn has no types
splitting: Any = model_selection


def as_numbers(frame: pl.DataFrame) -> np.ndarray:
    """Return the columns as numbers; of text the rank of each level."""
    columns = [c if c.dtype.is_numeric() else c.cast(pl.String).rank("dense").fill_null(0) for c in frame]
    return np.column_stack([c.to_numpy().astype(np.float64) for c in columns])


def conformalised(X: np.ndarray, y: np.ndarray, fold: np.ndarray, X_test: np.ndarray) -> np.ndarray:
    """Return the ranges of the quantile forests for the test rows, (rows, 2)."""
    own, new = np.zeros((2, len(y))), np.zeros((2, len(X_test)))
    for k in range(FOLDS):
        for side, quantile in enumerate(((1 - COVERAGE) / 2, (1 + COVERAGE) / 2)):
            model = forests.HistGradientBoostingRegressor(loss="quantile", quantile=quantile, random_state=0)
            model.fit(X[fold != k], y[fold != k])
            own[side, fold == k] = model.predict(X[fold == k])
            new[side] += model.predict(X_test) / FOLDS
    scores = np.sort(np.maximum(own[0] - y, y - own[1]))
    reach = scores[min(len(y), int(np.ceil((len(y) + 1) * COVERAGE))) - 1]
    return np.stack([new[0] - reach, new[1] + reach], axis=1)


def figures(bounds: np.ndarray, y: np.ndarray, seconds: float) -> dict[str, float]:
    inside = (y >= bounds[:, 0]) & (y <= bounds[:, 1])
    width = float(np.mean(bounds[:, 1] - bounds[:, 0]))
    return {"coverage": round(float(inside.mean()), 4), "width": width, "seconds": round(seconds, 2)}


def compared(path: Path, rows: int) -> dict[str, Any]:
    """Return the figures of one table."""
    frame = pl.read_csv(path, infer_schema_length=None)
    y, X = frame["target"].to_numpy().astype(np.float64), frame.drop("target")
    train, test = splitting.train_test_split(np.arange(len(y)), test_size=0.2, random_state=0)
    train = train[:rows]
    start = time.perf_counter()
    model = mlpax.TableRegressor(folds=FOLDS, random_state=0).fit(X[train], y[train])
    ours = figures(model.predict_interval(X[test], COVERAGE), y[test], time.perf_counter() - start)
    fold = fold_numbers(y[train], FOLDS, rng(0, "folds"), classes=False)
    start, numbers = time.perf_counter(), as_numbers(X)
    bounds = conformalised(numbers[train], y[train], fold, numbers[test])
    theirs = figures(bounds, y[test], time.perf_counter() - start)
    return {"rows": len(train), "ratio": round(ours["width"] / theirs["width"], 4), "mlpax": ours,
            "HistGradientBoosting": theirs}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", default="", help="names, all by default")
    parser.add_argument("--rows", type=int, default=20_000, help="most training rows of a table")
    parser.add_argument("--quick", action="store_true", help="write no record")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    folder = Path(os.environ["MLPAX_DATA_DIR"]) / "tables"
    wanted = {name for name in options.tables.split(",") if name}
    every = [t for t in json.loads((folder / "manifest.json").read_text()) if t["task"] == "regression"]
    every = sorted((t for t in every if not wanted or t["name"] in wanted), key=lambda table: table["rows"])
    tables: dict[str, Any] = {}
    for table in every:
        found = tables[table["name"]] = compared(folder / f"{table['name']}.csv.gz", options.rows)
        ours, theirs = found["mlpax"]["coverage"], found["HistGradientBoosting"]["coverage"]
        print(f"{table['name']:20} {ours:.3f}, width x {found['ratio']:.2f} of {theirs:.3f}", flush=True)
    coverage = [of["mlpax"]["coverage"] for of in tables.values()]
    large = [of["mlpax"]["coverage"] for of in tables.values() if of["rows"] > 1000]
    overall = {
        "mean_coverage": round(float(np.mean(coverage)), 4),
        "least_coverage_of_more_than_1000_rows": min(large, default=1.0),
        "median_ratio": float(np.median([of["ratio"] for of in tables.values()])),
    }
    print(json.dumps(overall, indent=1))
    if not options.quick:
        date = time.strftime("%Y-%m-%d", time.gmtime())
        content = {"benchmark": "intervals", "date": date, "hardware": hardware()}
        results = overall | {"tables": tables}
        results_file("intervals", "cpu").write_text(in_lines(content | {"results": results}))


if __name__ == "__main__":
    main()
