"""Draw the figures of a run: its curves, its predictions of held-out rows, its weights."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlpax import plots
from mlpax.data.sources import short_name
from mlpax.model.model import Model
from mlpax.runs.own_rows import Held
from mlpax.runs.run_files import Config, read_history, summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["answers", "drawings_of", "figures_of"]

Drawings = dict[str, Callable[[], "Figure"]]


def figures_of(
    run: Path, config: Config, model: Model | None, held: Sequence[Held] = (), columns: int = 0
) -> dict[str, "Figure"]:
    """Return the figures of a run by name, in the order to show them; see `drawings_of`."""
    return {name: draw() for name, draw in drawings_of(run, config, model, held, columns).items()}


def drawings_of(
    run: Path, config: Config, model: Model | None, held: Sequence[Held] = (), columns: int = 0
) -> Drawings:
    """Return the functions that draw the figures of a run by name, in the order to show them.

    Parameters
    ----------
    run : path
    config : Config
    model : Model, optional
        The run's model, if there is one.
    held : sequence of Held, optional
        The rows that the run held out.
    columns : int, optional
        See `plots.curves`.

    Returns
    -------
    dict
        "curves", if an epoch was trained; of a classification "confusion" and, of one target, "calibration",
        "roc" and "precision_recall", and of pictures also "mistakes"; of a regression "predicted" and, of one
        target, "residuals"; and "weights" of a network for grey pictures.
    """
    drawings = _curves(run, config, columns)
    if model is None:
        return drawings
    if held:
        drawings |= _of_classes(model, held) if model.classes else _of_values(model, held)
    if model.image_shape and len(model.image_shape) == 2:
        drawings["weights"] = partial(plots.weights, model.params[0][0], model.image_shape)
    return drawings


def _curves(run: Path, config: Config, columns: int) -> Drawings:
    if config.options.folds and not config.options.fold:  # each fold has curves of its own
        folders = [run / f"fold-{fold}" for fold in range(1, config.options.folds + 1)]
        found = {folder.name: history for folder in folders if (history := read_history(folder))}
        return {"curves": partial(plots.comparison, found)} if found else {}
    if not (history := read_history(run)):
        return {}
    kept = summary(run).kept if config.recipe.members == 1 else 0  # of several each has its own
    title = f"{short_name(config.dataset)}, {config.recipe_name}"
    return {"curves": partial(plots.curves, history, title, kept, columns)}


def answers(held: Sequence[Held]) -> tuple[np.ndarray, np.ndarray]:
    """Return the truth of held-out rows and what their models answer.

    Returns
    -------
    truth : array of shape (rows,), int, or (rows, targets)
        Labels, or a regression's values.
    answers : array of shape (rows, classes) or (rows, targets)
        Probabilities, those of several targets beside each other; or values. The temperature of the
        probabilities is left out for rows that it was fitted on.
    """
    found: list[np.ndarray] = []
    for part in held:
        model, outputs = part.model, part.model.forward(part.X)
        found.append(model.probabilities(outputs, calibrated=part.new) if model.classes else outputs)
    return np.concatenate([part.y for part in held]), np.concatenate(found)


def _of_classes(model: Model, held: Sequence[Held]) -> Drawings:
    y, probabilities = answers(held)
    if len(model.targets) > 1:
        best = np.stack([p.argmax(axis=1) for p in model.by_target(probabilities)], axis=1)
        every = [target.classes for target in model.targets]
        return {"confusion": partial(plots.confusion_matrices, y, best, every, model.names)}
    drawings: Drawings = {
        "confusion": partial(plots.confusion_matrix, y, probabilities.argmax(axis=1), model.classes),
        "calibration": partial(plots.calibration, y, probabilities),
    }
    if len(np.unique(y)) > 1:
        drawings["roc"] = partial(plots.roc, y, probabilities, model.classes)
        drawings["precision_recall"] = partial(plots.precision_recall, y, probabilities, model.classes)
    if model.image_shape:
        X, shape = np.concatenate([part.X for part in held]), model.image_shape
        drawings["mistakes"] = partial(plots.worst_mistakes, X, y, probabilities, model.classes, shape)
    return drawings


def _of_values(model: Model, held: Sequence[Held]) -> Drawings:
    truth, predicted = answers(held)
    names = [target.name for target in model.targets]
    drawings: Drawings = {"predicted": partial(plots.predicted, truth, predicted, names)}
    if len(names) == 1:
        drawings["residuals"] = partial(plots.residuals, truth[:, 0], predicted[:, 0], names[0])
    return drawings
