"""Intervals of scores by the bootstrap: how far a score would move with other rows of the same kind."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["Interval", "intervals_of_classes", "intervals_of_targets", "intervals_of_values"]

RESAMPLES = 1000
FEWEST = 100  # resamples, of very many rows
WORK = 2 * 10**7  # rows that all resamples together draw at most, beyond `FEWEST`
MOST_RANKS = 2**14  # probabilities that are told apart; so many counts stay in a processor's cache
ENDS = (2.5, 97.5)  # percentiles of a 95 % interval

Weigh = Callable[[np.ndarray], dict[str, float]]  # the scores of rows that count so often


class Interval(NamedTuple):
    """The ends of a 95 % interval."""

    low: float
    high: float


def intervals_of_classes(
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[object],
    weight: np.ndarray | None = None,
    *,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return a 95 % interval of each score of `scores.classification`; of the F1 of class "a" as `f1/a`.

    Rows are drawn with replacement, as many as there are, 1,000 times (of more than 20,000 rows less often).
    The interval holds the middle 95 % of the scores (Efron 1979). It tells of the choice of the scored rows,
    and not of the choice of the rows to train on.

    Parameters
    ----------
    labels : array of shape (rows,), int
    probabilities : array of shape (rows, classes)
    classes : sequence
    weight : array of shape (rows,), optional
    seed : int, default 0
        Seed of the draws. The same rows always have the same intervals.
    """
    k, rows = len(classes), len(labels)
    p = probabilities.astype(np.float64)
    p /= p.sum(axis=1, keepdims=True)
    predicted, sure = p.argmax(axis=1), p.max(axis=1)
    right = predicted == labels
    loss = -np.log(np.maximum(p[np.arange(rows), labels], np.finfo(np.float64).tiny))
    cell, bins = labels * k + predicted, np.minimum((sure * 10).astype(int), 9)
    every = len(np.unique(labels)) == k > 1
    ranked = [_Ranked.of(p[:, c], labels == c) for c in ([1] if k == 2 else range(k))] if every else []

    def weigh(w: np.ndarray) -> dict[str, float]:
        total = w.sum()
        confusion = np.bincount(cell, w, k * k).reshape(k, k)
        hits, true = np.diag(confusion), confusion.sum(axis=1)
        f1 = 2 * hits / np.maximum(true + confusion.sum(axis=0), np.finfo(float).tiny)
        found = {
            "accuracy": float(hits.sum() / total),
            "balanced_accuracy": float(np.mean(hits[true > 0] / true[true > 0])),
            "log_loss": float(w @ loss / total),
            "ece": float(np.abs(np.bincount(bins, w * (sure - right), 10)).sum() / total),
            "f1_macro": float(f1.mean()),
            **{f"f1/{c}": float(value) for c, value in zip(classes, f1, strict=True)},
        }
        if ranked:
            found["roc_auc"] = float(np.mean([one.area(w) for one in ranked]))
        return found

    return _intervals(weigh, rows, weight, seed)


def intervals_of_targets(
    labels: np.ndarray,
    probabilities: Sequence[np.ndarray],
    classes: Sequence[Sequence[object]],
    names: Sequence[str],
    weight: np.ndarray | None = None,
    *,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return a 95 % interval of each score of `scores.several_classes`; see `intervals_of_classes`.

    Those of the target "a" are named `accuracy/a`, `log_loss/a` and so on.
    """
    rows, targets = labels.shape
    right, loss = np.ones((rows, targets)), np.zeros((rows, targets))
    for k, p in enumerate(probabilities):
        of_truth = p[np.arange(rows), labels[:, k]].astype(np.float64) / p.sum(axis=1, dtype=np.float64)
        loss[:, k] = -np.log(np.maximum(of_truth, np.finfo(np.float64).tiny))
        right[:, k] = p.argmax(axis=1) == labels[:, k]
    values = {
        "accuracy": right.mean(axis=1),
        "log_loss": loss.mean(axis=1),
        "subset_accuracy": right.all(axis=1).astype(np.float64),
    }

    def weigh(w: np.ndarray) -> dict[str, float]:
        return {name: float(w @ value / w.sum()) for name, value in values.items()}

    found = _intervals(weigh, rows, weight, seed)
    for k, name in enumerate(names):
        of_one = intervals_of_classes(labels[:, k], probabilities[k], classes[k], weight, seed=seed)
        found |= {f"{score}/{name}": interval for score, interval in of_one.items()}
    return found


def intervals_of_values(
    y: np.ndarray, predicted: np.ndarray, weight: np.ndarray | None = None, *, seed: int = 0
) -> dict[str, Interval]:
    """Return a 95 % interval of each score of `scores.regression`; see `intervals_of_classes`."""
    y, error = y.astype(np.float64), predicted.astype(np.float64) - y.astype(np.float64)

    def weigh(w: np.ndarray) -> dict[str, float]:
        squared, mean = w @ error**2 / w.sum(), w @ y / w.sum()
        found = {"rmse": np.mean(np.sqrt(squared)), "mae": np.mean(w @ np.abs(error) / w.sum())}
        if (spread := w @ (y - mean) ** 2 / w.sum()).all():
            found["r2"] = np.mean(1 - squared / spread)
        return {name: float(value) for name, value in found.items()}

    return _intervals(weigh, len(y), weight, seed)


def _intervals(weigh: Weigh, rows: int, weight: np.ndarray | None, seed: int) -> dict[str, Interval]:
    """Return the middle of the scores of resampled rows, but for resamples that lack a score."""
    generator, found = np.random.default_rng(seed), dict[str, list[float]]()
    for _ in range(min(RESAMPLES, max(FEWEST, WORK // rows))):
        counts = np.bincount(generator.integers(0, rows, rows), minlength=rows).astype(np.float64)
        counts = counts if weight is None else counts * weight
        if counts.any():
            for name, value in weigh(counts).items():
                found.setdefault(name, []).append(value)
    ends = {
        name: np.nanpercentile(values, ENDS) for name, values in found.items() if np.isfinite(values).any()
    }
    return {name: Interval(float(low), float(high)) for name, (low, high) in ends.items()}


class _Ranked(NamedTuple):
    """The rows of a class against all others, by the rank of their probability."""

    ranks: np.ndarray  # of each row among the distinct probabilities, from 0
    positive: np.ndarray  # numbers of the rows of the class
    distinct: int

    @staticmethod
    def of(probability: np.ndarray, positive: np.ndarray) -> "_Ranked":
        values, ranks = np.unique(probability, return_inverse=True)
        if (distinct := len(values)) > MOST_RANKS:
            ranks, distinct = ranks * MOST_RANKS // distinct, MOST_RANKS
        return _Ranked(ranks, np.flatnonzero(positive), distinct)

    def area(self, w: np.ndarray) -> float:
        """Return the area under the ROC curve: the share of pairs in the right order, where ties are half."""
        ups = np.bincount(self.ranks[self.positive], w[self.positive], self.distinct)
        downs = np.bincount(self.ranks, w, self.distinct) - ups
        pairs = ups.sum() * downs.sum()
        return float(ups @ (np.cumsum(downs) - downs / 2) / pairs) if pairs else float("nan")
