"""Partial dependence against answers by hand."""

import numpy as np
import polars as pl
import pytest

from mlpax.data.columns import fit_columns
from mlpax.model.dependence import partial_dependence
from mlpax.model.model import Model, Network, Target


def linear(columns, W, classes=()):
    """A network without hidden units."""
    W = np.asarray(W, np.float32).reshape(columns.dense, -1)
    task = "classification" if classes else "regression"
    network = Network([(W, np.zeros(W.shape[1], np.float32))])
    return Model((network,), (Target("y", task, classes),), columns=columns)


@pytest.fixture
def frame():
    return pl.DataFrame({"x": [0.0, 1.0, 2.0, 3.0, 4.0] * 4, "c": ["a", "b", "b", "b", "a"] * 4})


def test_a_linear_model_depends_as_its_weights_say(frame):
    columns = fit_columns(frame)
    model = linear(columns, [2.0, 10.0])  # c is -1 or 1
    X = model.inputs(frame)
    of_x, of_c = partial_dependence([(model, X)], "x"), partial_dependence([(model, X)], "c")
    t = (np.arange(5.0) - 2) / 2  # the quartiles are 1 and 3
    clipped = t / np.sqrt(1 + (t / 3) ** 2)
    assert of_x.values.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(of_x.means[:, 0], 2 * clipped + 10 * 0.2, rtol=1e-5)  # 12 of 20 rows are b
    assert of_c.values.tolist() == ["b", "a"]  # the most frequent first
    np.testing.assert_allclose(of_c.means[:, 0], [10, -10], atol=1e-5)


def test_of_two_classes_the_second_and_of_three_all(frame):
    columns = fit_columns(frame)
    two = linear(columns, [[0, 1], [0, 0]], ("n", "y"))
    found = partial_dependence([(two, two.inputs(frame))], "x")
    t = (found.values - 2) / 2
    np.testing.assert_allclose(found.means[:, 0], 1 / (1 + np.exp(-t / np.sqrt(1 + (t / 3) ** 2))), rtol=1e-5)
    three = linear(columns, [[0, 1, 2], [0, 0, 0]], (0, 1, 2))
    found = partial_dependence([(three, three.inputs(frame))], "x")
    assert found.means.shape == (5, 3)
    np.testing.assert_allclose(found.means.sum(axis=1), 1, rtol=1e-6)


def test_folds_answer_with_the_mean_over_all_rows(frame):
    parts = [(model, model.inputs(rows)) for rows, W in ((frame, 1.0), (frame.head(10), 4.0))
             for model in [linear(fit_columns(rows), [W, 0.0])]]  # fmt: skip
    each = [partial_dependence([part], "x") for part in parts]
    both = partial_dependence(parts, "x")
    assert both.values.tolist() == each[0].values.tolist() == each[1].values.tolist()
    np.testing.assert_allclose(both.means, (20 * each[0].means + 10 * each[1].means) / 30, rtol=1e-5)


def test_many_values_are_quantiles_and_a_rare_value_is_looked_at():
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"x": rng.lognormal(0, 2, 1000), "rare": [0.0] * 990 + [1.0] * 10})
    model = linear(fit_columns(frame), [1.0, 1.0])
    found = partial_dependence([(model, model.inputs(frame))], "x")
    expected = np.quantile(frame["x"].to_numpy(), np.linspace(0.02, 0.98, 20))
    assert len(found.values) == 20
    np.testing.assert_allclose(found.values, expected, rtol=0.1)
    assert partial_dependence([(model, model.inputs(frame))], "rare").values.tolist() == [0, 1]


def test_dates_and_gaps():
    days = np.datetime64("2024-01-01") + np.arange(40)
    frame = pl.DataFrame({"d": days, "x": [None, 1.0, 2.0, 3.0] * 10})
    columns = fit_columns(frame)
    model = linear(columns, np.ones(columns.dense))
    found = partial_dependence([(model, model.inputs(frame))], "d")
    assert found.values.astype("datetime64[D]").astype(str)[0] == "2024-01-02"
    assert len(found.values) == 20
    assert partial_dependence([(model, model.inputs(frame))], "x").values.tolist() == [1, 2, 3]


def test_one_value_is_no_dependence(frame):
    model = linear(fit_columns(frame), [1.0, 1.0])
    assert partial_dependence([(model, model.inputs(frame.head(1)))], "x") is None
    assert partial_dependence([(model, model.inputs(frame))], "z") is None
