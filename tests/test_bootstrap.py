"""Intervals of scores against SciPy's bootstrap, the binomial distribution, and scikit-learn's scores."""

import numpy as np
import pytest
import scipy.stats

from mlpax import bootstrap, scores

RNG = np.random.default_rng(0)
NAMES = ("a", "b", "c")


def classified(rows, classes, sure=3.0):
    labels = RNG.integers(0, classes, rows)
    logits = RNG.normal(size=(rows, classes)) + sure * np.eye(classes)[labels] * RNG.random((rows, 1))
    p = np.exp(logits)
    return labels, p / p.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_scores_of_a_resample_are_scikit_learns(monkeypatch, classes, weighted):
    labels, p = classified(80, classes)
    weight = RNG.integers(1, 4, 80).astype(float) if weighted else np.ones(80)
    monkeypatch.setattr(bootstrap, "_intervals", lambda weigh, rows, weight, seed: weigh(weight))
    found = bootstrap.intervals_of_classes(labels, p, NAMES[:classes], weight)
    of_classes = scores.classification(labels, p, NAMES[:classes], weight)
    of_classes |= {f"f1/{c}": value for c, value in of_classes.pop("f1").items()}
    del of_classes["confusion"]
    assert found == pytest.approx(of_classes)
    y, predicted = RNG.normal(size=80), RNG.normal(size=80)
    found = bootstrap.intervals_of_values(y, predicted, weight)
    assert found == pytest.approx(scores.regression(y, predicted, weight))


def test_a_weight_counts_as_so_many_rows():
    labels, p = classified(40, 3)
    weight = RNG.integers(1, 4, 40)
    repeated = np.repeat(np.arange(40), weight)
    weighted = scores.classification(labels, p, NAMES, weight.astype(float))
    whole = scores.classification(labels[repeated], p[repeated], NAMES)
    for name in ("accuracy", "balanced_accuracy", "log_loss", "roc_auc", "ece", "f1_macro", "f1"):
        assert weighted[name] == pytest.approx(whole[name])


def test_the_interval_of_the_accuracy_is_the_binomials():
    labels, p = classified(300, 2)
    accuracy = (p.argmax(axis=1) == labels).mean()
    expected = scipy.stats.binom.ppf([0.025, 0.975], 300, accuracy) / 300
    assert bootstrap.intervals_of_classes(labels, p, NAMES[:2])["accuracy"] == pytest.approx(
        expected, abs=0.01
    )


def test_the_intervals_of_a_regression_are_scipys():
    y = RNG.normal(size=200)
    predicted = y + RNG.normal(size=200)
    found = bootstrap.intervals_of_values(y, predicted)

    def rmse(errors, axis):
        return np.sqrt(np.mean(errors**2, axis=axis))

    for name, score in {"rmse": rmse, "mae": lambda e, axis: np.abs(e).mean(axis=axis)}.items():
        oracle = scipy.stats.bootstrap([predicted - y], score, method="percentile", rng=1, n_resamples=4000)
        assert found[name] == pytest.approx(tuple(oracle.confidence_interval), abs=0.01)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    """95 of 100 of networks that are right in 80 of 100 rows: at least 88 of 100 in 200 tries of 200 rows."""
    held = 0
    for _ in range(200):
        right = RNG.random(200) < 0.8
        p = np.where(right[:, None], [0.9, 0.1], [0.1, 0.9])
        low, high = bootstrap.intervals_of_classes(np.zeros(200, int), p, ("x", "y"))["accuracy"]
        held += bool(low <= 0.8 <= high)
    assert held / 200 > 0.88


def test_the_same_rows_have_the_same_intervals():
    labels, p = classified(50, 3)
    found = [bootstrap.intervals_of_classes(labels, p, NAMES) for _ in range(2)]
    assert found[0] == found[1]


def test_many_distinct_probabilities_are_binned_without_harm(monkeypatch):
    labels, p = classified(3000, 2)
    exact = bootstrap.intervals_of_classes(labels, p, NAMES[:2])["roc_auc"]
    monkeypatch.setattr(bootstrap, "MOST_RANKS", 500)
    assert bootstrap.intervals_of_classes(labels, p, NAMES[:2])["roc_auc"] == pytest.approx(exact, abs=1e-3)


def test_one_row_and_a_class_that_does_not_occur():
    found = bootstrap.intervals_of_classes(np.array([0]), np.array([[0.75, 0.25]]), ("x", "y"))
    assert found["accuracy"] == (1, 1)
    assert found["log_loss"] == pytest.approx((-np.log(0.75),) * 2)
    assert "roc_auc" not in found
    assert bootstrap.intervals_of_values(np.array([1.0]), np.array([3.0])) == {"rmse": (2, 2), "mae": (2, 2)}
