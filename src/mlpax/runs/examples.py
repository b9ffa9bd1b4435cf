"""Rows to score a run by: those of a file, or those that the run held out; and their scores."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlpax.bootstrap import Interval
from mlpax.data.reading import Reading
from mlpax.data.sources import InMemory, source
from mlpax.errors import InputError, Notice
from mlpax.model.model import Figures, Model, whole_text
from mlpax.runs.own_rows import own_rows
from mlpax.runs.run_files import read_config

__all__ = ["Examples", "Scores", "examples", "scores_of"]


class Examples(NamedTuple):
    """Rows whose truth is known."""

    X: np.ndarray  # as `Model.forward` takes it
    y: np.ndarray  # classes, (rows,) or of several targets (rows, targets); or values, (rows, targets)
    new: bool  # whether the temperature of the probabilities was fitted on other rows
    weight: np.ndarray | None  # (rows,), if the run was trained with weights


class Scores(NamedTuple):
    """Scores of a model, and their 95 % intervals."""

    figures: Figures
    intervals: dict[str, Interval]


def examples(
    model: Model,
    run: Path,
    data: str | None,
    data_dir: Path | None,
    moved: Path | InMemory | None,
    reading: Reading,
    notice: Notice,
) -> Examples:
    """Return rows of the data, or else those that the run held out.

    Parameters
    ----------
    model : Model
        That of the run.
    run : path
        The run's folder, or with `data` also a model file.
    data : str, optional
        What a user names as data, see `sources.source`.
    data_dir, moved : path, optional
        See `own_rows.rows_of`.
    reading : Reading
        How the data are read.
    notice : callable
        Called with a line for the user about the rows.

    Raises
    ------
    InputError
        If the run held out no rows, or the data cannot be read.
    """
    config = read_config(run) if (run / "config.json").exists() or data is None else None
    named = config and config.options.weight
    if data is None:
        dataset = own_rows(run, data_dir, moved)
        X, y = dataset.held_out
        new, weight = y is dataset.y_test, dataset.weight_held
        if len(y) == 0:
            remedy = "give a file of others, or train with --test 0.2"
            if config and config.options.folds and not config.options.fold:
                folds = config.options.folds
                remedy = (
                    f"each of {folds} folds trained without some; result.json has the out-of-fold figures"
                )
            raise InputError(f"{run} held out no rows; {remedy}")
        if not new and "refit" in model.provenance:
            raise InputError(
                f"{run} was trained again on all rows, validation rows too (refit); give a file of others, or"
                " train with --test 0.2"
            )
        if not new:
            chose = ", which chose the epoch" if model.recipe.get("patience") else ""
            notice(f"no rows were held out for testing; these are the validation rows{chose}")
    else:
        new = model.provenance.get("dataset") != whole_text(str(Path(data).resolve()))
        if not new:
            notice(f"{run} was trained on rows of {data}: figures of these flatter")
        reading = dataclasses.replace(reading, weight=named)
        X, y, weight = source(data, data_dir, model=model).to_score(model, notice, reading)
    if weight is not None:
        notice(f"the rows count by their weights, column {named!r}")
    return Examples(X, model.named(y) if model.classes else y, new, weight)


def scores_of(model: Model, rows: Examples, notice: Notice) -> Scores:
    """Return the scores of a model, and their intervals."""
    if model.calibration and not rows.new:
        notice("the temperature of the probabilities was fitted on these rows; the figures are without it")
    outputs = model.forward(rows.X)
    figures = model.figures(outputs, rows.y, calibrated=rows.new, weight=rows.weight)
    intervals = model.score_intervals(outputs, rows.y, calibrated=rows.new, weight=rows.weight)
    return Scores(figures, intervals)
