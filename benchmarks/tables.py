"""Tables: what mlpax and four peers get wrong, each with its defaults, and how long they take.

For each table of MLPAX_DATA_DIR/tables (its columns' types in manifest.json) and each seed, which is a
round, the rows are split 80/20, stratified by class, at random for a regression. The methods take turns
on the same split, and each seed begins with another one. mlpax is given the raw table and finds the
types itself; the peers are told them. `--tables a,b` and `--methods "a;b"` choose some, and `--record NAME`
another results file. All of it takes many hours: `--add` keeps what the results file holds and measures the
tables and seeds that are due beside it, on whatever machine; each seed of a table says on which, and all
methods of it ran there in turns.

The clock of a fit goes around `fit` alone and includes each method's own preprocessing; the clock of a
prediction goes around `predict` alone. Excluded are reading, splitting, imports and a warm-up of every
method on the smallest table. What the warm-up compiled is dropped: compiling for a new table's shapes is
inside mlpax's seconds, in the seed that meets them first. OpenMP's threads sleep while they wait, for
everyone: left to spin, on cores that anything else uses, small boosted tables take a hundred times as long.

The peers, each with its defaults but for the threads:
- scikit-learn's MLP: medians and indicators for missing numbers, standardised; one-hot categories, with
  missing as one of them; a regression's target standardised, without which it hardly learns.
- HistGradientBoosting: categories as ordinals and named as such, the rarest of more than 254 as one; no
  column without a value, at which it fails.
- LightGBM: categories as pandas', with the training rows' levels.
- RealMLP-TD-S (pytabkit): medians for missing numbers, missing as a category; holds out a fifth of its
  rows to choose its epoch. It smooths its labels, which its log-loss pays for.
- Not measured by default: mlpax's best quality; RealMLP-TD and TabM (pytabkit) with the same inputs;
  CatBoost with its own categories; XGBoost with pandas' categories.

Figures: the error rate, or the root of the mean squared error; the log-loss of a classification, where
no probability counts for less than 1e-7 (float32 holds no finer one beside 1). A table's are means over
seeds. Ranks go by these means, ties share theirs; who fails at any seed of a table is last on it. A total
of seconds adds the mean fits of the tables on which a method did not fail, and a ratio and a comparison
with mlpax take those on which neither did.
"""

import argparse
import importlib.metadata
import json
import logging
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
import polars as pl
from scipy.stats import rankdata, wilcoxon
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from benchmarks import common
from benchmarks.record import Record, hardware, results_file

FLOOR = 1e-7  # of a probability
FIGURES = ("error", "log_loss", "fit_seconds", "predict_seconds")
Table = dict[str, Any]
Figures = dict[str, Any]


class Levels(TransformerMixin, BaseEstimator):
    """Columns of text as pandas categories with the levels of the rows it was fitted on."""

    def __init__(self, columns: list[str]) -> None:
        self.columns = columns

    def fit(self, X: pd.DataFrame, y: object = None) -> "Levels":
        self.levels_ = {name: sorted(X[name].dropna().unique()) for name in self.columns}
        return self

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        return X.assign(**{name: X[name].astype(pd.CategoricalDtype(v)) for name, v in self.levels_.items()})


def our(table: Table, seed: int, threads: int) -> Any:
    import mlpax

    make = mlpax.TableRegressor if table["task"] == "regression" else mlpax.TableClassifier
    return make(random_state=seed)


def scikit_learn_mlp(table: Table, seed: int, threads: int) -> Any:
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    text = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="missing"), OneHotEncoder(handle_unknown="ignore")
    )
    inputs = ColumnTransformer([("n", numbers, table["numeric"]), ("c", text, table["categorical"])])
    if table["task"] != "regression":
        return make_pipeline(inputs, MLPClassifier(random_state=seed))
    mlp = TransformedTargetRegressor(MLPRegressor(random_state=seed), transformer=StandardScaler())
    return make_pipeline(inputs, mlp)


def hist_gradient_boosting(table: Table, seed: int, threads: int) -> Any:
    make: Any = (
        HistGradientBoostingRegressor if table["task"] == "regression" else HistGradientBoostingClassifier
    )
    ordinals = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=np.nan, max_categories=254
    )  # what is missing stays so

    def filled(X: pd.DataFrame) -> list[str]:  # it cannot bin a column without a value
        return [name for name in table["numeric"] if bool(np.any(X[name].notna()))]

    inputs = ColumnTransformer([("c", ordinals, table["categorical"]), ("n", "passthrough", filled)])
    categorical = list(range(len(table["categorical"])))
    return make_pipeline(inputs, make(random_state=seed, categorical_features=categorical))


def lightgbm(table: Table, seed: int, threads: int) -> Any:
    from lightgbm import LGBMClassifier, LGBMRegressor  # pyright: ignore[reportMissingImports]

    make = LGBMRegressor if table["task"] == "regression" else LGBMClassifier
    return make_pipeline(Levels(table["categorical"]), make(random_state=seed, n_jobs=threads, verbose=-1))


def realmlp(table: Table, seed: int, threads: int, kind: str = "RealMLP_TD_S") -> Any:
    import pytabkit  # pyright: ignore[reportMissingImports]

    for name in ("lightning", "pytorch_lightning", "lightning.pytorch"):  # it goes by either name
        logging.getLogger(name).setLevel(logging.ERROR)
    make = getattr(pytabkit, f"{kind}_{'Regressor' if table['task'] == 'regression' else 'Classifier'}")
    filled = ColumnTransformer(
        [
            ("n", SimpleImputer(strategy="median", keep_empty_features=True), table["numeric"]),
            ("c", SimpleImputer(strategy="constant", fill_value="missing"), table["categorical"]),
        ],
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    mlp = make(random_state=seed, device="cpu", n_threads=threads, verbosity=0)
    return make_pipeline(filled, Levels(table["categorical"]), mlp)


def our_best(table: Table, seed: int, threads: int) -> Any:
    return our(table, seed, threads).set_params(quality="best")


def catboost(table: Table, seed: int, threads: int) -> Any:
    from catboost import CatBoostClassifier, CatBoostRegressor  # pyright: ignore[reportMissingImports]

    make = CatBoostRegressor if table["task"] == "regression" else CatBoostClassifier
    text = SimpleImputer(strategy="constant", fill_value="missing")
    inputs = ColumnTransformer(
        [("c", text, table["categorical"]), ("n", "passthrough", table["numeric"])],
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    model = make(
        random_seed=seed, thread_count=threads, cat_features=table["categorical"], verbose=False,
        allow_writing_files=False,
    )  # fmt: skip
    return make_pipeline(inputs, model)


def xgboost(table: Table, seed: int, threads: int) -> Any:
    from xgboost import XGBClassifier, XGBRegressor  # pyright: ignore[reportMissingImports]

    inputs = Levels(table["categorical"])
    options = {"random_state": seed, "n_jobs": threads, "enable_categorical": True}
    if table["task"] == "regression":
        return make_pipeline(inputs, XGBRegressor(**options))
    return Labelled(make_pipeline(inputs, XGBClassifier(**options)))


class Labelled(BaseEstimator):
    """A classifier of numbers 0, 1, ... as one of the labels."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def fit(self, X: Any, y: np.ndarray) -> "Labelled":
        self.classes_, codes = np.unique(y, return_inverse=True)
        self.model.fit(X, codes)
        return self

    def predict(self, X: Any) -> np.ndarray:
        return self.classes_[np.asarray(self.model.predict(X)).ravel().astype(int)]

    def predict_proba(self, X: Any) -> np.ndarray:
        return self.model.predict_proba(X)


METHODS: dict[str, Callable[[Table, int, int], Any]] = {
    "mlpax": our,
    "mlpax, best": our_best,
    "scikit-learn MLP": scikit_learn_mlp,
    "HistGradientBoosting": hist_gradient_boosting,
    "LightGBM": lightgbm,
    "RealMLP-TD-S": realmlp,
    "RealMLP-TD": partial(realmlp, kind="RealMLP_TD"),
    "TabM": partial(realmlp, kind="TabM_D"),
    "CatBoost": catboost,
    "XGBoost": xgboost,
}
USUAL = (
    "mlpax",
    "scikit-learn MLP",
    "HistGradientBoosting",
    "LightGBM",
    "RealMLP-TD-S",
)  # measured by default


def choice() -> tuple[list[str], list[str], bool, str]:
    """Tables, methods, whether to add, and the record's name, taken out of the command line."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--tables", default="")
    parser.add_argument("--methods", default=";".join(USUAL))
    parser.add_argument("--add", action="store_true")
    parser.add_argument("--record", default="tables")
    chosen, rest = parser.parse_known_args()
    sys.argv[1:] = rest
    tables, methods = (
        [n for n in text.split(mark) if n] for text, mark in ((chosen.tables, ","), (chosen.methods, ";"))
    )
    return tables, methods, chosen.add, chosen.record


def calm() -> None:
    """Let OpenMP's waiting threads sleep. It reads that when it is loaded: `settings` is to start anew."""
    if os.environ.get("OMP_WAIT_POLICY") != "PASSIVE":
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.pop("OMP_NUM_THREADS", None)


def known(names: list[str], choices: Iterable[str]) -> list[str]:
    """The names, or an end with the choices."""
    if wrong := [name for name in names if name not in choices]:
        sys.exit(f"not known: {', '.join(wrong)}; choose from {', '.join(choices)}")
    return names


def read(folder: Path, table: Table) -> tuple[pl.DataFrame, pd.DataFrame, np.ndarray]:
    """A table as it came, as the peers take it (numbers, and text or NaN), and its target."""
    frame = pl.read_csv(folder / f"{table['name']}.csv.gz", infer_schema_length=None)
    y = frame["target"].to_numpy()
    y = y.astype(np.float64) if table["task"] == "regression" else np.asarray(y.tolist())
    frame = frame.drop("target")
    columns = {name: frame[name].cast(pl.Float64).to_numpy() for name in table["numeric"]}
    for name in table["categorical"]:
        text = pd.Series(frame[name].cast(pl.String).to_list(), dtype=object)
        columns[name] = text.where(text.notna(), np.nan)
    return frame, pd.DataFrame(columns), y


def log_loss(model: Any, X: Any, y: np.ndarray) -> float:
    column = {label: i for i, label in enumerate(model.classes_)}
    each = np.asarray(model.predict_proba(X), np.float64)[np.arange(len(y)), [column[v] for v in y]]
    return float(-np.log(np.clip(each, FLOOR, 1)).mean())


def measured(model: Any, train: tuple[Any, np.ndarray], test: tuple[Any, np.ndarray], task: str) -> Figures:
    """Fit and predict on the clock, then judge."""
    found: list[Any] = []

    def fit() -> object:
        model.fit(*train)
        return vars(model)  # arrays to wait for, where `fit` did not

    fit_seconds = common.clock(fit)
    predict_seconds = common.clock(lambda: found.append(model.predict(test[0])) or found)
    predicted, y = np.asarray(found[0]).ravel(), test[1]
    figures = {"fit_seconds": fit_seconds, "predict_seconds": predict_seconds}
    if task == "regression":
        error = float(np.sqrt(np.mean((predicted - y) ** 2)))
    else:
        error = float(np.mean(predicted != y))
        figures["log_loss"] = log_loss(model, test[0], y)
    if not np.isfinite([error, *figures.values()]).all():
        raise ArithmeticError("a figure is not finite")
    return {"error": error, **figures}


def message(error: Exception) -> str:
    """Its kind and first line, without folders of the machine."""
    line = (str(error).strip() or "no message").splitlines()[0][:200]
    return re.sub(r"(/[^/\s]+)+/", "", f"{type(error).__name__}: {line}")


def turn(
    table: Table,
    data: tuple[pl.DataFrame, pd.DataFrame, np.ndarray],
    names: list[str],
    seed: int,
    threads: int,
) -> dict[str, Figures]:
    """Every method on one split of a table."""
    raw, frame, y = data
    train, test = train_test_split(
        np.arange(len(y)),
        test_size=0.2,
        random_state=seed,
        stratify=None if table["task"] == "regression" else y,
    )
    first, out = seed % len(names), {}
    for name in names[first:] + names[:first]:
        ours = name.startswith("mlpax")
        X = (raw[train], raw[test]) if ours else (frame.iloc[train], frame.iloc[test])
        with warnings.catch_warnings():
            if not ours:  # peers warn at most tables: not converged, a loader without workers
                warnings.simplefilter("ignore")
            try:
                model = METHODS[name](table, seed, threads)
                out[name] = measured(model, (X[0], y[train]), (X[1], y[test]), table["task"])
            except Exception as error:
                out[name] = {"failed": message(error)}
    return {name: out[name] for name in names}


def significant(value: float) -> float:
    return float(f"{value:.5g}")


def short(figures: dict[str, Figures]) -> dict[str, Figures]:
    """With five digits, for a line."""
    return {
        name: {key: v if isinstance(v, str) else significant(v) for key, v in f.items()}
        for name, f in figures.items()
    }


def means(turns: list[Figures]) -> Figures:
    """Of one method's seeds on one table, or why it has none."""
    if failed := [t["failed"] for t in turns if "failed" in t]:
        return {"failed": failed[0], "failed_seeds": len(failed)}
    return {key: float(np.mean([t[key] for t in turns])) for key in FIGURES if key in turns[0]}


def ranks(tables: dict[str, dict[str, Figures]], names: list[str], key: str) -> dict[str, float]:
    """Each method's mean rank over the tables that have this figure; one that failed is last."""
    each = [
        rankdata([figures[name].get(key, np.inf) for name in names])
        for figures in tables.values()
        if any(key in f for f in figures.values())
    ]
    return dict(zip(names, np.mean(each, axis=0).tolist(), strict=True)) if each else {}


def against(tables: dict[str, dict[str, Figures]], ours: str, theirs: str) -> Figures:
    """Our errors less theirs, over the mean of both, table by table, and the ratio of the seconds."""
    both = [
        (t[ours], t[theirs]) for t in tables.values() if not any("failed" in t[n] for n in (ours, theirs))
    ]
    if not both:
        return {"tables": 0}
    errors = np.array([[f["error"] for f in pair] for pair in both])
    difference = (errors[:, 0] - errors[:, 1]) / np.maximum(errors.mean(axis=1), np.finfo(float).tiny)
    test: Any = wilcoxon(difference) if difference.any() else None
    seconds = np.sum([[f["fit_seconds"] for f in pair] for pair in both], axis=0)
    return {
        "tables": len(both),
        "better": int((difference < 0).sum()),
        "worse": int((difference > 0).sum()),
        "median_difference": significant(np.median(difference)),
        "wilcoxon_p": significant(test.pvalue) if test else 1.0,
        "seconds_ratio": significant(seconds[1] / seconds[0]),
    }


def overall(tables: dict[str, dict[str, Figures]], names: list[str]) -> dict[str, Figures]:
    """Each method over all tables; mlpax against every other, where it took part."""
    by_error, by_loss = ranks(tables, names, "error"), ranks(tables, names, "log_loss")
    out: dict[str, Figures] = {}
    for name in names:
        done = [t[name] for t in tables.values() if "failed" not in t[name]]
        out[name] = {
            "mean_rank": significant(by_error.get(name, np.inf)) if by_error else None,
            "mean_rank_log_loss": significant(by_loss[name]) if by_loss else None,
            "fit_seconds": significant(sum(f["fit_seconds"] for f in done)),
            "predict_seconds": significant(sum(f["predict_seconds"] for f in done)),
            "failed_tables": len(tables) - len(done),
        }
        if "mlpax" in names and name != "mlpax":
            out[name]["mlpax_against"] = against(tables, "mlpax", name)
    return out


def show(methods: dict[str, Figures]) -> None:
    def cell(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    print(f"{'':22}{'rank':>6}{'by loss':>9}{'fit, s':>9}{'x mlpax':>9}{'p':>9}{'failed':>8}")
    for name, f in methods.items():
        pair = f.get("mlpax_against", {})
        print(
            f"{name:22}{cell(f['mean_rank'], '.2f'):>6}{cell(f['mean_rank_log_loss'], '.2f'):>9}"
            f"{f['fit_seconds']:>9.1f}{cell(pair.get('seconds_ratio'), '.2f'):>9}"
            f"{cell(pair.get('wilcoxon_p'), '.2g'):>9}{f['failed_tables']:>8}"
        )


def warm_up(folder: Path, tables: list[Table], names: list[str], threads: int) -> None:
    """Every method on the smallest table, of classes and of values where there are both."""
    for regression in (False, True):
        some = [t for t in tables if (t["task"] == "regression") == regression]
        for table in sorted(some, key=lambda t: t["rows"])[:1]:
            turn(table, read(folder, table), names, 0, threads)
    jax.clear_caches()  # that table's programs are to be compiled on the clock like every other's


def rounded(turns: list[Figures]) -> Figures:
    """Means and every seed's value of one method on one table."""
    mean = means(turns)
    if "failed" in mean:
        return mean
    each = {f"{key}_values": [significant(t[key]) for t in turns] for key in mean}
    return {key: significant(value) for key, value in mean.items()} | each


def recorded(record: str, names: list[str]) -> dict[str, Any]:
    """The tables of the results file on which all these methods have figures."""
    path = results_file(record, "cpu")
    entries = json.loads(path.read_text())["results"]["tables"] if path.exists() else {}
    return {
        table: entry
        for table, entry in entries.items()
        if set(names) == entry["methods"].keys() and not any("failed" in f for f in entry["methods"].values())
    }


def unrounded(figures: Figures) -> list[Figures]:
    """A method's seeds again, of what `rounded` made of them."""
    keys = [key for key in FIGURES if key in figures]
    return [{key: figures[f"{key}_values"][i] for key in keys} for i in range(len(figures["error_values"]))]


def main() -> None:
    wanted, names, add, name = choice()
    calm()
    options = common.settings(__doc__, rounds=5)
    folder = Path(os.environ.get("MLPAX_DATA_DIR") or ".") / "tables"
    if not (folder / "manifest.json").exists():
        sys.exit("no tables/manifest.json in MLPAX_DATA_DIR")
    manifest = {t["name"]: t for t in json.loads((folder / "manifest.json").read_text())}
    names = known(names, METHODS)
    tables = [manifest[name] for name in known(wanted, manifest) or manifest]
    machine = hardware()
    here = {"cpu": machine["cpu"], "simd": machine["simd"], "date": time.strftime("%Y-%m-%d", time.gmtime())}
    record = Record(name, options)
    with threadpool_limits(options.threads), record as results:
        results["versions"] = {p: importlib.metadata.version(p) for p in ("polars", "pandas", "scipy")}
        for package in ("lightgbm", "pytabkit", "catboost", "xgboost"):
            with suppress(importlib.metadata.PackageNotFoundError):
                results["versions"][package] = importlib.metadata.version(package)
        results["tables"] = recorded(name, names) if add else {}
        warm_up(folder, tables, names, options.threads)
        for table in tables:
            before = results["tables"].get(table["name"], {"on": []})
            by_method = {n: unrounded(before["methods"][n]) if before["on"] else [] for n in names}
            data, places = read(folder, table), list(before["on"])
            for seed in range(len(places), options.rounds):
                found = turn(table, data, names, seed, options.threads)
                for name in names:
                    by_method[name].append(found[name])
                places.append(here)
                # a line of its own for each, so that a run cut short leaves its figures
                print(json.dumps({"table": table["name"], "seed": seed, **short(found)}), flush=True)
            results["tables"][table["name"]] = {
                "task": table["task"],
                "rows": table["rows"],
                "on": places,
                "methods": {name: rounded(each) for name, each in by_method.items()},
            }
            done = {name: entry["methods"] for name, entry in results["tables"].items()}
            results["methods"] = overall(done, names)
            record.write()
        show(results["methods"])


if __name__ == "__main__":
    main()
