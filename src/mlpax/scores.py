"""Scores of predictions, and the importance of columns."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NotRequired, TypedDict

import numpy as np

__all__ = ["Classification", "Importance", "Regression", "Several", "SeveralClasses", "calibration_error",
           "classification", "importance", "regression", "several", "several_classes",
           "titled"]  # fmt: skip

TITLES = {"ece": "calibration error (ECE)", "roc_auc": "ROC AUC", "rmse": "RMSE", "mae": "MAE", "r2": "R²",
          "f1_macro": "F1, mean of the classes", "subset_accuracy": "all targets right"}  # fmt: skip


class _RocAuc(TypedDict, total=False):
    roc_auc: float


class Classification(_RocAuc):
    """Figures of a classification, see `classification`."""

    accuracy: float
    balanced_accuracy: float
    log_loss: float
    ece: float
    f1_macro: float
    f1: dict[str, float]
    confusion: list[list[int]]


class Regression(TypedDict):
    """Figures of a regression, see `regression`."""

    rmse: float
    mae: float
    r2: NotRequired[float]


class Several(TypedDict):
    """Figures of a regression of several targets, see `several`."""

    r2: float
    targets: dict[str, Regression]


class SeveralClasses(TypedDict):
    """Figures of a classification of several targets, see `several_classes`."""

    accuracy: float
    log_loss: float
    subset_accuracy: float
    targets: dict[str, Classification]


def titled(name: str) -> str:
    """Return the name of a score for a reader."""
    return TITLES.get(name, name.replace("_", " "))


def classification(
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[object],
    weight: np.ndarray | None = None,
) -> Classification:
    """Return the scores of a classification.

    Parameters
    ----------
    labels : array of shape (rows,), int
        The true classes, as numbers from 0 to classes - 1.
    probabilities : array of shape (rows, classes)
    classes : sequence
        The names of the classes.
    weight : array of shape (rows,), optional
        How much each row counts, in all but `confusion`.

    Returns
    -------
    dict
        `accuracy`, `balanced_accuracy`, `log_loss`, `f1` (a dict by class), `f1_macro` (its mean) and
        `confusion` (one list of rows for each true class), by scikit-learn, and `ece`, see
        `calibration_error`. If every class
        occurs in `labels`, also `roc_auc`; with more than two classes, it is the mean over the classes, each
        against all others.
    """
    from sklearn import metrics  # takes a second

    probabilities = probabilities.astype(np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)  # float32 sums are not exactly 1
    every, predicted = np.arange(len(classes)), probabilities.argmax(axis=1)
    confusion = metrics.confusion_matrix(labels, predicted, labels=every)
    f1_score: Any = metrics.f1_score  # whose types know no score for each class
    f1 = f1_score(labels, predicted, labels=every, average=None, zero_division=0, sample_weight=weight)
    roc_auc: _RocAuc = {}
    present = np.unique(labels if weight is None else labels[weight > 0])
    if len(present) == len(classes) > 1:
        scores = probabilities[:, 1] if len(classes) == 2 else probabilities
        roc_auc["roc_auc"] = float(
            metrics.roc_auc_score(labels, scores, multi_class="ovr", sample_weight=weight)
        )
    with warnings.catch_warnings():  # scikit-learn warns of a predicted class that is no true one
        warnings.simplefilter("ignore", UserWarning)
        balanced = metrics.balanced_accuracy_score(labels, predicted, sample_weight=weight)
    return {
        "accuracy": float(metrics.accuracy_score(labels, predicted, sample_weight=weight)),
        "balanced_accuracy": float(balanced),
        "log_loss": float(metrics.log_loss(labels, probabilities, labels=every, sample_weight=weight)),
        **roc_auc,
        "ece": calibration_error(labels, probabilities, weight=weight),
        "f1_macro": float(np.mean(f1)),
        "f1": dict(zip(map(str, classes), f1.tolist(), strict=True)),
        "confusion": confusion.tolist(),
    }


def regression(y: np.ndarray, predicted: np.ndarray, weight: np.ndarray | None = None) -> Regression:
    """Return `rmse`, `mae` and, for at least two rows, `r2` of a regression, as scikit-learn defines them."""
    from sklearn import metrics

    y, predicted = y.astype(np.float64), predicted.astype(np.float64)  # whose squares do not overflow
    figures: Regression = {
        "rmse": float(metrics.root_mean_squared_error(y, predicted, sample_weight=weight)),
        "mae": float(metrics.mean_absolute_error(y, predicted, sample_weight=weight)),
    }
    if len(y) > 1:
        figures["r2"] = float(metrics.r2_score(y, predicted, sample_weight=weight))
    return figures


def several(
    y: np.ndarray, predicted: np.ndarray, names: Sequence[str], weight: np.ndarray | None = None
) -> Several:
    """Return the scores of a regression of several targets.

    Parameters
    ----------
    y, predicted : arrays of shape (rows, targets)
    names : sequence of str
        The names of the targets.
    weight : array of shape (rows,), optional
        How much each row counts.

    Returns
    -------
    dict
        `targets`, the figures of each, see `regression`; and `r2`, the mean of their R², NaN for one row.
    """
    targets = {
        name: regression(y_true, y_found, weight)
        for name, y_true, y_found in zip(names, y.T, predicted.T, strict=True)
    }
    return {"r2": float(np.mean([own.get("r2", np.nan) for own in targets.values()])), "targets": targets}


def several_classes(
    labels: np.ndarray,
    probabilities: Sequence[np.ndarray],
    classes: Sequence[Sequence[object]],
    names: Sequence[str],
    weight: np.ndarray | None = None,
) -> SeveralClasses:
    """Return the scores of a classification of several targets.

    Parameters
    ----------
    labels : array of shape (rows, targets), int
        The true classes of each target, as numbers from 0.
    probabilities : sequence of arrays of shape (rows, classes)
        Of each target.
    classes : sequence of sequences
        The names of the classes of each target.
    names : sequence of str
        The names of the targets.
    weight : array of shape (rows,), optional
        How much each row counts.

    Returns
    -------
    dict
        `targets`, the figures of each, see `classification`; `accuracy` and `log_loss`, the means over the
        targets; and `subset_accuracy`, the share of rows of which every target is right.
    """
    each = zip(names, labels.T, probabilities, classes, strict=True)
    targets = {name: classification(own, p, of, weight) for name, own, p, of in each}
    right = np.stack([p.argmax(axis=1) for p in probabilities], axis=1) == labels
    return {
        "accuracy": float(np.mean([own["accuracy"] for own in targets.values()])),
        "log_loss": float(np.mean([own["log_loss"] for own in targets.values()])),
        "subset_accuracy": float(np.average(right.all(axis=1), weights=weight)),
        "targets": targets,
    }


def calibration_error(
    labels: np.ndarray, probabilities: np.ndarray, bins: int = 10, weight: np.ndarray | None = None
) -> float:
    """Return the expected calibration error (Guo et al. 2017), between 0 and 1.

    The rows are binned by the probability of their predicted class. The error of a bin is the distance
    between its mean probability and its accuracy. The result is the mean over the bins, weighted by rows.

    Parameters
    ----------
    labels : array of shape (rows,), int
        The true classes, as numbers from 0 to classes - 1.
    probabilities : array of shape (rows, classes)
    bins : int, default 10
    weight : array of shape (rows,), optional

    Examples
    --------
    >>> calibration_error(np.array([0, 1]), np.array([[1.0, 0.0], [1.0, 0.0]]))
    0.5
    """
    sure = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    number = np.minimum((sure * bins).astype(int), bins - 1)
    w = np.ones(len(labels)) if weight is None else weight
    return float(np.abs(np.bincount(number, w * (sure - right), bins)).sum() / w.sum())


class Importance(NamedTuple):
    """The importance of one column: the mean and the deviation of the loss over the shuffles."""

    column: str
    loss: float
    deviation: float


def importance(
    inputs: np.ndarray, places: dict[str, list[int]], score: Callable[[np.ndarray], float], *, repeats: int,
    seed: int,
) -> list[Importance]:  # fmt: skip
    """Return how much a score drops when a column is shuffled (Breiman 2001), the largest drop first.

    Parameters
    ----------
    inputs : array of shape (rows, inputs)
    places : dict of str to list of int
        The inputs that belong to each column.
    score : callable
        Return the score of inputs; larger is better.
    repeats : int
        Number of shuffles of each column.
    seed : int
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
