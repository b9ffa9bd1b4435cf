"""Choose some of the pictures that a run has held out, for the page to show."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlpax.model.model import Model
from mlpax.model.model_file import load
from mlpax.runs.own_rows import own_rows
from mlpax.seeds import rng

__all__ = ["Sample", "samples"]

COUNT = 24
WRONG = 8  # of them, if the network is wrong about so many
SEED = 0

Pixel = float | list[float]


@dataclass(frozen=True)
class Sample:
    """A picture that the network was not trained on, and its prediction.

    Attributes
    ----------
    pixels : nested lists of shape (height, width) or (height, width, 3)
        As `POST /predict` takes them.
    label, prediction : str
        The true class and the predicted one.
    right : bool
        Whether they are the same.
    """

    pixels: list[list[Pixel]]
    label: str
    prediction: str
    right: bool


def samples(run: Path, model: Model | None = None) -> list[Sample]:
    """Return up to 24 of the pictures that a run has held out, in random order.

    A third of them are the surest mistakes of the network, if it made so many. The others are a random
    choice of the pictures that it is right about. The same run always gives the same pictures. A training
    on folds has held out no rows from its network, and gives none.

    Parameters
    ----------
    run : path
    model : Model, optional
        What predicts. By default the model in the folder.

    Raises
    ------
    InputError
        If the data of the run have moved, or changed since the training.
    """
    model, dataset = model or load(run), own_rows(run)
    X, y = dataset.held_out
    if not len(y):
        return []
    found = model.probabilities(model.forward(X))
    best = found.argmax(axis=1)
    wrong = np.flatnonzero(best != y)
    wrong = wrong[np.argsort(-found[wrong, best[wrong]], kind="stable")][:WRONG]
    others = rng(SEED, "samples").permutation(np.flatnonzero(best == y))[: COUNT - len(wrong)]
    chosen = rng(SEED, "order of samples").permutation(np.concatenate([wrong, others]))
    shape = model.image_shape or (1, X.shape[1])
    return [
        Sample(
            X[i].reshape(shape).tolist(),
            str(model.classes[y[i]]),
            str(model.classes[best[i]]),
            bool(best[i] == y[i]),
        )
        for i in chosen
    ]
