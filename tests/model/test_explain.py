"""Contributions are those of a computation by hand, or of one over all subsets of the columns."""

import datetime
import itertools
import math

import numpy as np
import polars as pl
import pytest

from mlpax.data.columns import fit_columns
from mlpax.engine.rows import Scaling
from mlpax.errors import InputError
from mlpax.model import explain as module
from mlpax.model.explain import explain
from mlpax.model.model import Calibration, Model, Network, Target

RNG = np.random.default_rng(0)


def network(*sizes, embeddings=()):
    params = [
        (RNG.normal(size=shape).astype(np.float32), RNG.normal(size=shape[1]).astype(np.float32))
        for shape in itertools.pairwise(sizes)
    ]
    return Network(params, "tanh", list(embeddings))


def shapley(answer, typical, row, places):
    """Shapley values by their definition: the mean over the subsets of the other columns, in their weight."""
    n, found = len(places), {}

    def of(subset):
        mixed = typical.copy()
        for name in subset:
            mixed[places[name]] = row[places[name]]
        return answer(mixed[None])

    for name in places:
        others = [other for other in places if other != name]
        subsets = [s for size in range(n) for s in itertools.combinations(others, size)]
        weights = [
            math.factorial(len(s)) * math.factorial(n - len(s) - 1) / math.factorial(n) for s in subsets
        ]
        found[name] = sum(w * (of((*s, name)) - of(s)) for w, s in zip(weights, subsets, strict=True))
    return found


def by_name(found):
    return dict(zip(found.columns, found.contributions.tolist(), strict=True))


def frame(rows=300):
    """A number, a date, a category of 3 levels, and one of so many levels that they are embedded."""
    first = datetime.date(2020, 1, 1)
    return pl.DataFrame({
        "size": RNG.normal(100, 20, rows),
        "built": [first + datetime.timedelta(days=int(day)) for day in RNG.integers(0, 2000, rows)],
        "kind": [f"kind {i % 3}" for i in range(rows)],
        "street": [f"street {i % 70}" for i in range(rows)],
    })  # fmt: skip


def test_a_linear_network_by_hand():
    columns = fit_columns(pl.DataFrame({"a": [1.0, 2, 3, 4, 5], "b": [0.0, 1, 4, 9, 16]}))
    params = [(np.array([[2.0], [-3.0]], np.float32), np.array([7.0], np.float32))]
    model = Model((Network(params),), (Target(task="regression"),), columns=columns)
    inputs = np.array([[0.5, 1.5]], np.float32)
    found = explain(model, inputs)
    assert found.base == 7  # of the medians, whose inputs are 0
    assert found.columns == ("b", "a")  # the largest first
    assert found.contributions.tolist() == [-4.5, 1.0]
    assert "all 2 orders" in found.method


def test_four_columns_of_two_folds_exactly():
    """Of a classification, with a temperature. The folds have other medians and other levels."""
    table = frame()
    folds = fit_columns(table), fit_columns(table.filter(pl.col("street") != "street 7"))
    widths = [own.dense + 4 for own in folds]
    networks = [
        network(width, 5, 3, embeddings=[RNG.normal(size=(own.embeddings[0], 4)).astype(np.float32)])
        for own, width in zip(folds, widths, strict=True)
    ]
    targets = (Target(classes=("x", "y", "z")),)
    model = Model(
        (*networks,), targets, columns=folds[0], fold_columns=(folds[1],), calibration=Calibration(1.7)
    )
    row = model.inputs(table[5:6])
    best = model.predict_proba(table[5:6])[0].argmax()
    typical = np.concatenate([np.r_[np.zeros(own.dense), len(own.columns[3].levels)] for own in folds])
    assert [len(own.columns[3].levels) for own in folds] == [70, 69]

    def answer(inputs):
        return float(model.probabilities(model.forward(inputs.astype(np.float32)))[0, best])

    places, start = {"size": [], "built": [], "kind": [], "street": []}, 0
    for own in folds:  # of 1 number, 6 parts of a date, 3 levels, and a code
        for name, size in {"size": 1, "built": 6, "kind": 3, "street": 1}.items():
            places[name] += range(start, start + size)
            start += size
        assert own.dense == 10
    found = explain(model, row)
    assert found.base == pytest.approx(answer(typical[None]), abs=1e-6)
    expected = shapley(answer, typical, row[0], places)
    assert by_name(found) == pytest.approx(expected, abs=1e-5)
    assert max(expected.values(), key=abs) == expected[found.columns[0]]


@pytest.mark.parametrize("at_once", [10, module.AT_ONCE])
def test_many_columns_are_near_and_add_up(monkeypatch, at_once):
    monkeypatch.setattr(module, "AT_ONCE", at_once)
    model = Model((network(7, 6, 1),), (Target(task="regression"),), scaling=Scaling(3.0, 0.5))
    row = RNG.normal(3, 2, (1, 7)).astype(np.float32)
    found = explain(model, row)
    expected = shapley(
        lambda X: float(model.forward(X)[0, 0]), np.full(7, 3.0), row[0], {f"x{i}": [i] for i in range(7)}
    )
    assert by_name(found) == pytest.approx(expected, abs=0.15)
    assert max(map(abs, expected.values())) > 0.5
    assert found.base + found.contributions.sum() == pytest.approx(float(model.forward(row)[0, 0]), abs=1e-6)
    assert "64 random orders" in found.method
    assert by_name(explain(model, row)) == by_name(found)


def test_columns_of_a_wide_table_take_fewer_orders(monkeypatch):
    monkeypatch.setattr(module, "ROWS", 30)
    model = Model((network(6, 1),), (Target(task="regression"),))
    found = explain(model, np.ones((1, 6), np.float32))
    assert "over 4 random orders" in found.method
    np.testing.assert_allclose(
        [by_name(found)[f"x{i}"] for i in range(6)], model.params[0][0][:, 0], rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("deep", [(), (3,)])
def test_pixels_by_hand(deep):
    """Of a linear network, a patch contributes its weights times what it differs from the edge."""
    shape = (5, 6, *deep)
    model = Model((network(math.prod(shape), 1),), (Target(task="regression"),), image_shape=shape)
    picture = np.full(shape, 9, np.uint8)
    picture[1:4, 1:5] = RNG.integers(0, 256, (3, 4, *deep))
    W, b = model.params[0]
    found = explain(model, picture.reshape(1, -1))
    assert found.base == pytest.approx(9 * W.sum() + b[0], rel=1e-5)
    assert found.columns == ()
    change = (W.reshape(shape) * (picture - 9.0)).reshape(5, 6, -1).sum(axis=2)
    expected = [
        [change[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].sum() for x in range(6)] for y in range(5)
    ]
    np.testing.assert_allclose(found.contributions, expected, rtol=1e-4, atol=1e-2)
    assert "3 × 3" in found.method


def test_pixels_of_a_large_picture_share_a_contribution(monkeypatch):
    monkeypatch.setattr(module, "MOST_HIDDEN", 30 * 30 // 4)
    model = Model((network(30, 1),), (Target(task="regression"),), image_shape=(5, 6))
    picture = np.zeros((5, 6), np.float32)
    picture[2, 3] = 200
    found = explain(model, picture.reshape(1, -1)).contributions
    own = 200 * model.params[0][0].reshape(5, 6)[2, 3]
    expected = np.zeros((5, 6))
    expected[0:4, 2:6] = own  # blocks of 2 x 2, with a pixel around
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def test_pixels_for_the_class_are_positive():
    """A network that says "bright" if the pixel in the middle is."""
    W = np.zeros((25, 2), np.float32)
    W[12] = -0.05, 0.05
    model = Model((Network([(W, np.array([5.0, -5], np.float32))]),), (Target(classes=("dark", "bright")),),
                  image_shape=(5, 5))  # fmt: skip
    picture = np.zeros((1, 25), np.uint8)
    picture[0, 12] = 200
    found = explain(model, picture)
    assert found.base < 0.01
    assert (found.contributions[1:4, 1:4] > 0.9).all()
    assert found.contributions[0].tolist() == [0] * 5


def test_one_row_at_a_time():
    model = Model((network(3, 1),), (Target(task="regression"),))
    with pytest.raises(InputError, match="X has 2 rows; explain one row at a time"):
        explain(model, np.zeros((2, 3)))
