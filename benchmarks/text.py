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
as it is, on the table of one column. scikit-learn is the vectoriser and the regression as they are, and a second
time with words, pairs of words and C chosen by 5 folds. The seconds are of the fit; the clock does not
include the making of the sets. `row` is the median time of the answer for one row, in milliseconds.
"""

import argparse
import ast
import json
import random
import re
import subprocess
import sysconfig
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
from benchmarks.record import hardware, in_lines, results_file, summary

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
