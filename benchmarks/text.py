"""Columns of text beside scikit-learn's TfidfVectorizer and LogisticRegression, on three sets of real texts.

python -m benchmarks.text [--sets a,b] [--splits 3] [--quick]

The sets are made of texts that this machine has, 4,000 rows of each at most, drawn by seed 0:

- `packages`: one-line descriptions of Debian's packages (`apt-cache dumpavail`), to tell the section of the
  package, of the 10 with most descriptions.
- `docstrings`: docstrings of the functions and classes of Python's standard library, to tell the top-level
  module, of the 12 with most docstrings. The name of the module is taken out of the texts.
- `errors`: messages of `raise NAME("...")` in the standard library and the installed packages, to tell the
  class of the exception, of the 6 with most messages.

A text occurs once in a set. Each split holds out a fifth of the rows, by class. mlpax is `TableClassifier()`
as it is, on the table of one column. scikit-learn is the vectoriser and the regression as they are; and a
second time, `wide`, with words and pairs of words, sublinear counts and C = 10. The seconds are of the fit.
`row_ms` is the median time of the answer for one row, in milliseconds, and `file_mb` the size of the model
file of mlpax.
"""

import argparse
import ast
import os
import random
import re
import subprocess
import sysconfig
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn import feature_extraction, linear_model, model_selection, pipeline

import mlpax
from benchmarks.record import Record, summary

ROWS = 4000
ONE_ROW = 50  # answers that are timed
extraction: Any = feature_extraction  # scikit-learn has no types
linear: Any = linear_model
splitting: Any = model_selection
joined: Any = pipeline

Labelled = tuple[str, str]  # text, class


def packages() -> Iterator[Labelled]:
    """Yield the one-line description and the section of each package that Debian's lists name."""
    listed = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, text=True, check=True).stdout
    for record in listed.split("\n\n"):
        text, section = (re.search(f"^{name}: (.*)$", record, re.M) for name in ("Description", "Section"))
        if text and section:
            yield text[1], section[1]


def sources(*folders: str) -> Iterator[tuple[Path, ast.Module]]:
    """Yield the Python files of folders, parsed, without tests."""
    for folder in folders:
        root = Path(sysconfig.get_path(folder))
        for path in sorted(root.rglob("*.py")):
            inside = path.relative_to(root).parts
            if {"test", "tests"} & {*inside} or ("site-packages" in inside and folder == "stdlib"):
                continue
            try:
                yield path.relative_to(root), ast.parse(path.read_text(encoding="utf-8"))
            except (SyntaxError, ValueError):  # templates, and samples of old Python
                continue


def docstrings() -> Iterator[Labelled]:
    """Yield the docstrings of the standard library and their top-level module."""
    for path, tree in sources("stdlib"):
        module = path.parts[0].removesuffix(".py")
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                text = " ".join((ast.get_docstring(node) or "").split())
                text = re.sub(rf"\b{module}\b", "", text, flags=re.IGNORECASE)
                if len(text.split()) >= 3:
                    yield text[:1000], module


def errors() -> Iterator[Labelled]:
    """Yield the messages that are raised in Python's library and the packages, and the exception's name."""
    for _, tree in sources("stdlib", "purelib"):
        for node in ast.walk(tree):
            match node:
                case ast.Raise(
                    exc=ast.Call(func=ast.Name(id=name), args=[ast.Constant(value=str(text)), *_])
                ):
                    if len(text.split()) >= 3:
                        yield " ".join(text.split()), name
                case _:
                    pass


SETS = {"packages": (packages, 10), "docstrings": (docstrings, 12), "errors": (errors, 6)}


def made(name: str) -> pl.DataFrame:
    """Return a set: the columns `text` and `label`."""
    found, classes = SETS[name]
    rows = list(dict(found()).items())  # each text once
    kept = {label for label, _ in Counter(label for _, label in rows).most_common(classes)}
    rows = sorted(row for row in rows if row[1] in kept)
    random.Random(0).shuffle(rows)
    return pl.DataFrame(rows[:ROWS], schema=["text", "label"], orient="row")


def peers() -> dict[str, Any]:
    """Return scikit-learn's models."""

    def chain(C: float, **more: Any) -> Any:
        regression = linear.LogisticRegression(C=C, max_iter=1000)
        return joined.make_pipeline(extraction.text.TfidfVectorizer(**more), regression)

    wide = chain(10.0, ngram_range=(1, 2), sublinear_tf=True)
    return {"scikit-learn": chain(1.0), "scikit-learn wide": wide}


def scored(model: Any, X: Any, y: np.ndarray, train: np.ndarray, test: np.ndarray) -> dict[str, float]:
    """Return the accuracy, the seconds of the fit, and the milliseconds of an answer for one row."""
    start = time.perf_counter()
    model.fit(X[train], y[train])
    seconds, row = time.perf_counter() - start, list[float]()
    for i in test[:ONE_ROW]:
        start = time.perf_counter()
        model.predict_proba(X[[i]])
        row.append(1000 * (time.perf_counter() - start))
    return {"accuracy": model.score(X[test], y[test]), "seconds": seconds, "row_ms": float(np.median(row))}


def compared(name: str, splits: int) -> dict[str, Any]:
    """Return the figures of one set: of each model its figures of every split."""
    frame = made(name)
    texts, y = frame["text"].to_numpy(), frame["label"].to_numpy()
    X, found = frame.select("text"), dict[str, list[dict[str, float]]]()
    for seed in range(splits):
        train, test = splitting.train_test_split(
            np.arange(len(y)), test_size=0.2, stratify=y, random_state=seed
        )
        model = mlpax.TableClassifier(random_state=seed)
        own = scored(model, X, y, train, test)
        with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
            model.save(file.name)
            own["file_mb"] = Path(file.name).stat().st_size / 1e6
        found.setdefault("mlpax", []).append(own)
        for peer, of in peers().items():
            found.setdefault(peer, []).append(scored(of, texts, y, train, test))
        shown = {model: round(figures[-1]["accuracy"], 4) for model, figures in found.items()}
        print(f"{name:12} split {seed}: {shown}", flush=True)
    models = {
        model: {key: summary([of[key] for of in figures]) for key in figures[0]}
        for model, figures in found.items()
    }
    lengths, counts = frame["text"].str.len_chars().to_numpy(), Counter(y.tolist())
    largest = max(counts.values()) / len(y)
    about = {"rows": len(y), "classes": len(counts), "characters": float(lengths.mean()), "largest": largest}
    return about | models


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", default=",".join(SETS), help="names, all by default")
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="write no record")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="for the record")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with Record("text", options) as results:
        for name in options.sets.split(","):
            results[name] = compared(name, options.splits)


if __name__ == "__main__":
    main()
