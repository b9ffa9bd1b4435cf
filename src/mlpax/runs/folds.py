"""Train on folds: a run for each, and one model of all their networks, which knows how far it errs."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mlpax.data.reading import Reading
from mlpax.data.sources import Ready
from mlpax.errors import InputError, InterruptedRun, Notice
from mlpax.model.fit_model import prepare
from mlpax.model.folds import Rows, joined
from mlpax.model.model import Model
from mlpax.model.model_file import load
from mlpax.recipes import Recipe
from mlpax.runs.locks import holder, locked
from mlpax.runs.run import Every, check_run_folder, check_same, config_of, train
from mlpax.runs.run_files import Result, read_config, read_result, write_config, write_json

__all__ = ["train_folds"]

Data = Callable[[Reading, Recipe | None], Ready]  # reads the data and settles the recipe, unless it is given


def train_folds(
    path: Path,
    read: Data,
    options: Reading,
    *,
    data_dir: str | None = None,
    resume: bool = False,
    every: Every = Every(),  # noqa: B008 - frozen
    on_fold: Callable[[int, Result], object] = lambda fold, result: None,
    notice: Notice = lambda text: None,
) -> Result:
    """Train on each fold in a run of its own, `fold-1` and so on, and join the networks to one model.

    Each network is trained without the rows of its fold. The joined model answers with the mean of all
    networks. What the networks say of the rows of their fold gives the out-of-fold figures and the intervals.
    Rows that chose an epoch are never among them.

    Parameters
    ----------
    path : path
        The directory. It gets the files of a run, but for the epochs, which are in those of the folds.
    read : callable
        Returns the data and the recipe for options, whose `fold` says which rows are held out.
    options : Reading
        With `folds`.
    data_dir, resume, every, notice
        As of `run.train`.
    on_fold : callable, optional
        Called with the number of a fold and how its run ended. A resumed training first repeats the earlier
        ones.

    Returns
    -------
    Result
        With the figures `fold_accuracy` and `fold_log_loss`, or `fold_rmse`, of the rows of all folds, and
        those of the test rows.

    Raises
    ------
    InputError, DivergedError, InterruptedRun, OSError
        As of `run.train`.
    """
    first = read(dataclasses.replace(options, fold=1), None)
    if first.dataset.columns and options.test:
        raise InputError(f"with folds every row is scored; leave out test {options.test}")
    whole = read(options, first.recipe).dataset
    if process := holder(path):
        raise InputError(f"{path} is being written by {process}; wait for it, or choose another folder")
    check_run_folder(path, resume)
    backend = prepare(first.dataset, first.recipe).training.backend
    config = config_of(whole, first.recipe, first.name, data_dir, options, backend)
    with locked(path, notice) as still_ours:
        if resume:
            check_same(path, read_config(path), config, notice)
        else:
            write_config(path, config)
        results, models, held, weights = list[Result](), list[Model](), list[Rows](), list[np.ndarray]()
        for fold in range(1, options.folds + 1):
            own, folder = dataclasses.replace(options, fold=fold), path / f"fold-{fold}"
            dataset = (first if fold == 1 else read(own, first.recipe)).dataset
            ended = read_result(folder)
            if ended is None or ended.state not in ("finished", "stopped early"):
                begun = (folder / "config.json").exists()
                try:
                    ended = train(
                        folder, dataset, first.recipe, recipe_name=first.name, data_dir=data_dir, options=own,
                        resume=begun, every=every, notice=notice,
                    )  # fmt: skip
                except InterruptedRun as error:
                    raise InterruptedRun(error.signal, str(error).replace(str(folder), str(path))) from None
            on_fold(fold, ended)
            results.append(ended)
            models.append(load(folder))
            held.append((dataset.X_test, dataset.y_test))
            if dataset.weight_held is not None:
                weights.append(dataset.weight_held)
        still_ours()
        model, figures = joined(models, held, np.concatenate(weights) if weights else None)
        if len(whole.X_test):
            found = model.score(model.forward(whole.X_test), whole.y_test)
            figures |= {f"test_{name}": value for name, value in found.items()}
        about = model.provenance | {"fingerprint": config.fingerprint}
        dataclasses.replace(model, metrics=figures, provenance=about).save(path / "model.safetensors")
        best, seconds = max(r.best_epoch for r in results), sum(r.seconds for r in results)
        result = Result("finished", max(r.epochs for r in results), best, seconds, figures)
        write_json(path / "result.json", result._asdict())
    return result
