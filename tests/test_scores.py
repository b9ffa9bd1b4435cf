"""Figures of predictions against scikit-learn's and hand-computed ones."""

import numpy as np
import pytest
import sklearn.metrics

from mlpax import scores


def test_classification_is_scikit_learns():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    p = rng.dirichlet([1, 1, 1], 200)
    figures = scores.classification(labels, p, ("a", "b", "c"))
    predicted = p.argmax(axis=1)
    assert figures["accuracy"] == sklearn.metrics.accuracy_score(labels, predicted)
    assert figures["balanced_accuracy"] == pytest.approx(
        sklearn.metrics.balanced_accuracy_score(labels, predicted)
    )
    assert figures["log_loss"] == pytest.approx(sklearn.metrics.log_loss(labels, p))
    assert figures["roc_auc"] == pytest.approx(sklearn.metrics.roc_auc_score(labels, p, multi_class="ovr"))
    f1 = sklearn.metrics.f1_score(labels, predicted, average=None)
    assert list(figures["f1"].values()) == pytest.approx(f1.tolist())
    assert figures["confusion"] == sklearn.metrics.confusion_matrix(labels, predicted).tolist()


def test_a_class_that_does_not_occur():
    figures = scores.classification(np.array([0, 1]), np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1]]), (1, 2, 3))
    assert "roc_auc" not in figures
    assert figures["f1"] == {"1": 1.0, "2": 1.0, "3": 0.0}
    assert figures["confusion"] == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_regression_is_scikit_learns():
    y, predicted = np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 3.0])
    assert scores.regression(y, predicted) == pytest.approx(
        {"rmse": np.sqrt(2 / 3), "mae": 2 / 3, "r2": 1 - 2 / (14 / 3)}
    )


def test_calibration_error_by_hand():
    """Four sure at .9 of which three are right: |.9 - .75|; one at .6 that is right: |.6 - 1|."""
    p = np.array([[0.9, 0.1]] * 4 + [[0.6, 0.4]])
    assert scores.calibration_error(np.array([0, 0, 0, 1, 0]), p) == pytest.approx((4 * 0.15 + 0.4) / 5)
    assert scores.calibration_error(np.array([0, 1]), np.array([[1.0, 0.0], [0.0, 1.0]])) == 0


def test_importance_finds_the_column_that_counts():
    inputs = np.stack([np.arange(100.0)[::-1], np.arange(100.0), np.ones(100)], axis=1)
    places = {"not": [0], "matters": [1, 2]}

    def score(other):
        return -float(np.mean(np.abs(other[:, 1] - inputs[:, 1])))

    first, second = scores.importance(inputs, places, score, repeats=3, seed=0)
    assert (first.column, second.column) == ("matters", "not")
    assert 20 < first.loss < 45  # a third of the range, on average
    assert (second.loss, second.deviation) == (0, 0)
    assert scores.importance(inputs, places, score, repeats=3, seed=0) == [first, second]
