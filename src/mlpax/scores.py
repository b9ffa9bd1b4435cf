"""Figures of predictions against the truth."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, NotRequired, TypedDict

import numpy as np

__all__ = ["Classification", "Importance", "Regression", "calibration_error", "classification", "importance",
           "regression"]  # fmt: skip


class _RocAuc(TypedDict, total=False):
    roc_auc: float


class Classification(_RocAuc):
    """Figures of a classification, see `classification`."""

    accuracy: float
    balanced_accuracy: float
    log_loss: float
    ece: float
    f1: dict[str, float]
    confusion: list[list[int]]


class Regression(TypedDict):
    """Figures of a regression, see `regression`."""

    rmse: float
    mae: float
    r2: NotRequired[float]


def classification(
    labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[object]
) -> Classification:
    """Figures of a classification.

    Parameters
    ----------
    labels : array of shape (rows,), int
        In 0 .. classes - 1.
    probabilities : array of shape (rows, classes)
    classes : sequence
        Names for `f1`.

    Returns
    -------
    dict
        `accuracy`, `balanced_accuracy`, `log_loss`, where every class occurs `roc_auc` (of more than two
        classes: each against the rest, averaged), `f1` by class and `confusion` (a list a true class),
        all as scikit-learn defines them; and `ece`, see `calibration_error`.
    """
    from sklearn import metrics  # takes a second

    probabilities = probabilities.astype(np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)  # to float64's last digit
    every, predicted = np.arange(len(classes)), probabilities.argmax(axis=1)
    confusion = metrics.confusion_matrix(labels, predicted, labels=every)
    both = confusion.sum(axis=0) + confusion.sum(axis=1)
    f1 = 2 * np.diag(confusion) / np.maximum(both, 1)
    figures: Classification = {
        "accuracy": float(metrics.accuracy_score(labels, predicted)),
        "balanced_accuracy": float(
            np.mean([np.mean(predicted[labels == c] == c) for c in np.unique(labels)])
        ),
        "log_loss": float(metrics.log_loss(labels, probabilities, labels=every)),
        **_roc_auc(labels, probabilities),
        "ece": calibration_error(labels, probabilities),
        "f1": dict(zip(map(str, classes), f1.tolist(), strict=True)),
        "confusion": confusion.tolist(),
    }
    return figures


def _roc_auc(labels: np.ndarray, probabilities: np.ndarray) -> _RocAuc:
    from sklearn import metrics

    if not len(np.unique(labels)) == probabilities.shape[1] > 1:
        return {}
    scores = probabilities[:, 1] if probabilities.shape[1] == 2 else probabilities
    return {"roc_auc": float(metrics.roc_auc_score(labels, scores, multi_class="ovr"))}


def regression(y: np.ndarray, predicted: np.ndarray) -> Regression:
    """`rmse`, `mae` and, from two rows on, `r2` of a regression, as scikit-learn defines them."""
    from sklearn import metrics

    figures: Regression = {
        "rmse": float(metrics.root_mean_squared_error(y, predicted)),
        "mae": float(metrics.mean_absolute_error(y, predicted)),
    }
    if len(y) > 1:
        figures["r2"] = float(metrics.r2_score(y, predicted))
    return figures


def calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error (Guo et al. 2017), in [0, 1].

    The distance of confidence from the share that came true, over bins of confidence, weighted by rows.
    """
    sure = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    number = np.minimum((sure * bins).astype(int), bins - 1)
    return float(np.abs(np.bincount(number, sure - right, bins)).sum() / len(labels))


class Importance(NamedTuple):
    """How much of a score a column is worth."""

    column: str
    loss: float
    deviation: float  # over the shuffles


def importance(
    inputs: np.ndarray, places: dict[str, list[int]], score: Callable[[np.ndarray], float], *, repeats: int,
    seed: int,
) -> list[Importance]:  # fmt: skip
    """What a score, larger being better, loses when a column is shuffled (Breiman 2001), largest first.

    `places` are each column's among the inputs.
    """
    whole = score(inputs)
    generator = np.random.default_rng(seed)
    rows: list[Importance] = []
    for name, place in places.items():
        losses: list[float] = []
        for _ in range(repeats):
            shuffled = inputs.copy()
            shuffled[:, place] = inputs[generator.permutation(len(inputs))][:, place]
            losses.append(whole - score(shuffled))
        rows.append(Importance(name, float(np.mean(losses)), float(np.std(losses))))
    return sorted(rows, key=lambda row: -row.loss)
