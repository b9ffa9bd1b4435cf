"""Read the data of a run again, with the rows that the run held out."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlpax import hosts
from mlpax.data.columns import Text
from mlpax.data.dataset import Dataset
from mlpax.data.sources import MEMORY, InMemory, Wanted, source
from mlpax.errors import InputError, Notice
from mlpax.model.model import Model
from mlpax.model.model_file import load
from mlpax.runs.run_files import Config, read_config

__all__ = ["Held", "held_out", "own_rows", "rows_of"]


class Held(NamedTuple):
    """Rows that a run held out, with the model to score them by."""

    model: Model
    X: np.ndarray  # as `Model.forward` takes it
    y: np.ndarray  # labels, (rows,) or of several targets (rows, targets); or values, (rows, targets)
    new: bool  # whether the temperature of the probabilities was fitted on other rows
    trained: int  # rows that the model was trained on
    weight: np.ndarray | None = None  # (rows,), if the run was trained with a column of weights


def rows_of(
    config: Config,
    data_dir: Path | None = None,
    moved: Path | InMemory | None = None,
    notice: Notice = lambda text: None,
) -> Dataset:
    """Return the data set of a run as it is now.

    Parameters
    ----------
    config : Config
        The settings of the run.
    data_dir : path, optional
        Folder of the known sets' files. By default the folder that the run was trained with.
    moved : path or InMemory, optional
        Where the data are now, if they have moved; or the rows themselves.
    notice : callable, optional
        Called with the lines that training printed about the data.

    Raises
    ------
    InputError
        If there are no such data, they cannot be read, or they came from standard input.
    """
    if config.dataset == "-" and moved is None:
        raise InputError(
            "the rows came from standard input, which is gone; name a file of them with --data FILE"
        )
    if config.dataset == MEMORY and moved is None:
        raise InputError(
            "the rows came from a program's memory; give them as data=, or name a file of them with --data"
        )
    if isinstance(moved, InMemory):
        data = moved
    else:
        data = source(str(moved or config.dataset), data_dir or config.data_dir, memory=config.options.memory)
    options, lines = dataclasses.replace(config.options, strict=False), list[str]()
    dataset = data.to_train(Wanted(config.recipe), options, lines.append).dataset
    columns = dataset.columns.columns if dataset.columns else ()
    texts = [c.name for c in columns if isinstance(c, Text) and c.name not in options.kinds]
    if texts and dataset.fingerprint != config.fingerprint:  # the run may be older than columns of text
        options = dataclasses.replace(options, column={**options.column, **dict.fromkeys(texts, "category")})
        earlier = list[str]()
        without = data.to_train(Wanted(config.recipe), options, earlier.append).dataset
        if without.fingerprint == config.fingerprint:
            dataset, lines = without, earlier
    for text in lines:
        notice(text)
    return dataclasses.replace(dataset, name=config.dataset)


def own_rows(
    run: Path,
    data_dir: Path | None = None,
    moved: Path | InMemory | None = None,
    notice: Notice = lambda text: None,
) -> Dataset:
    """Return the data set that a run was trained on; see `rows_of`.

    Raises
    ------
    InputError
        If the data are not as they were; see also `rows_of`.
    """
    config = read_config(run)
    with hosts.alone():  # one of several processes may look at a run
        dataset = rows_of(config, data_dir, moved, notice)
    if dataset.fingerprint != config.fingerprint:  # then other rows would be held out than were
        data = moved if isinstance(moved, Path) else config.dataset
        raise InputError(
            f"{data} is not as it was when {run} was trained; train again, or evaluate on a file of rows it"
            " has not seen"
        )
    return dataset


def held_out(
    run: Path,
    model: Model,
    dataset: Dataset,
    data_dir: Path | None = None,
    moved: Path | InMemory | None = None,
) -> list[Held]:
    """Return the rows that a run held out; those of each fold, if it was trained on folds.

    Parameters
    ----------
    run : path
    model : Model
        That of the run.
    dataset : Dataset
        What `own_rows` returns.
    data_dir, moved : path, optional
        See `rows_of`.

    Returns
    -------
    list of Held
        Empty if the run held out no rows, or was then trained on them (`refit`). The rows of a fold come with
        the model of the fold, which has not seen them.

    Raises
    ------
    InputError
        See `own_rows`.
    """
    X, y = dataset.held_out
    if y is not dataset.y_test and "refit" in model.provenance:
        return []
    if len(y):
        return [Held(model, X, y, y is dataset.y_test, dataset.rows_trained, dataset.weight_held)]
    options, found = read_config(run).options, list[Held]()
    for fold in range(1, 1 + (0 if options.fold else options.folds)):
        folder = run / f"fold-{fold}"
        of_fold = own_rows(folder, data_dir, moved)
        rows = of_fold.X_test, of_fold.y_test, True, of_fold.rows_trained, of_fold.weight_held
        found.append(Held(load(folder), *rows))
    return found
