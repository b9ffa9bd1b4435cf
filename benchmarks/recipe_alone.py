"""Fit mlpax's table estimators on the splits of one table, in this process: a line of JSON for each seed.

It runs in any commit's tree (see `benchmarks.recipe`), and so uses nothing but the estimators.
"""

import argparse
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn.model_selection import train_test_split

import mlpax

FLOOR = 1e-7  # of a probability


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", help="a CSV with a column `target`")
    parser.add_argument("--task", default="classification")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--options", default="{}", help="of the estimator, as JSON")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    frame = pl.read_csv(Path(options.table), infer_schema_length=None)
    regression = options.task == "regression"
    y = frame["target"].to_numpy()
    y = y.astype(np.float64) if regression else np.asarray(y.tolist())
    X, make = frame.drop("target"), mlpax.TableRegressor if regression else mlpax.TableClassifier
    seeds = [int(seed) for seed in options.seeds.split(",")]
    for turn, seed in enumerate([seeds[0], *seeds]):  # the first compiles
        stratify = None if regression else y
        train, test = train_test_split(np.arange(len(y)), test_size=0.2, random_state=seed, stratify=stratify)
        model: Any = make(random_state=seed, **json.loads(options.options))
        start = time.perf_counter()
        model.fit(X[train], y[train])
        seconds = time.perf_counter() - start
        if turn:
            print(json.dumps({"seed": seed, "fit_seconds": seconds} | scores(model, X[test], y[test])))
            sys.stdout.flush()


def scores(model: Any, X: pl.DataFrame, y: np.ndarray) -> dict[str, float]:
    """Return the error rate and log-loss; or the root mean squared error, also over the deviation."""
    if not hasattr(model, "classes_"):
        error = float(np.sqrt(np.mean((model.predict(X) - y) ** 2)))
        return {"error": error, "nrmse": error / float(y.std())}
    column = {label: i for i, label in enumerate(model.classes_)}
    p = np.asarray(model.predict_proba(X), np.float64)
    of_truth = p[np.arange(len(y)), [column[label] for label in y]]
    log_loss = float(-np.log(np.clip(of_truth, FLOOR, 1)).mean())
    return {"error": float(np.mean(model.predict(X) != y)), "log_loss": log_loss}


if __name__ == "__main__":
    main()
