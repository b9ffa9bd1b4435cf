"""The table network: its plain form, its objective, its temperature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from mlpax.engine.plan import Hyper, Plan
from mlpax.engine.table_network import (
    embedding_size,
    fold,
    initial_table_params,
    temperature,
    with_new_codes,
)
from mlpax.engine.xla.network import forward
from mlpax.engine.xla.objective import objective_of, table_features

RNG = np.random.default_rng(0)


def made(outputs=3, target=(0.0, 1.0), seed=0):
    """Parameters as after some training: none of them 0."""
    rng = np.random.default_rng(seed)
    params = initial_table_params(4, (70, 100), (8, 6), outputs, target, rng)
    tree = {k: params[k] for k in ("embeddings", "scale", "layers")}
    moved = jax.tree.map(lambda p: p + rng.normal(size=p.shape).astype(np.float32) / 10, tree)
    return on_device(params | moved)


def table_objective(activation, loss):
    return objective_of(Plan(network="table", activation=activation, loss=loss))


def on_device(params):
    return jax.tree.map(jnp.asarray, params)


def rows(n=20):
    codes = np.stack([RNG.integers(0, 70, n), RNG.integers(0, 100, n)], axis=1)
    return np.hstack([RNG.normal(size=(n, 4)), codes]).astype(np.float32)


def by_hand(params, X):
    """RealMLP's network in float64, as its paper writes it."""
    E = [np.asarray(e, np.float64) for e in params["embeddings"]]
    Z = np.hstack([X[:, :4], E[0][X[:, 4].astype(int)], E[1][X[:, 5].astype(int)]])
    Z = Z * (6 * np.asarray(params["scale"], np.float64))
    for i, (W, b) in enumerate(params["layers"]):
        Z = Z @ np.asarray(W, np.float64) / np.sqrt(W.shape[0]) + 0.1 * np.asarray(b, np.float64)
        if i < 2:
            Z = np.maximum(0, Z)
    return Z


def test_embedding_sizes():
    assert [embedding_size(n) for n in (2, 10, 66, 10**6)] == [2, 6, 16, 16]


def test_starts_at_the_mean_with_a_scale_of_one():
    params = initial_table_params(4, (70,), (8,), 1, (50.0, 10.0), np.random.default_rng(0))
    objective = table_objective("mish", "squared_error")
    start = objective.predict(on_device(params), jnp.asarray(rows()[:, :5]))
    np.testing.assert_allclose(start, np.full((20, 1), 50.0))
    np.testing.assert_allclose(6 * params["scale"], 1)
    assert {W.shape for W, _ in params["layers"]} == {(4 + 16, 8), (8, 1)}


def test_the_objective_is_the_papers_network():
    params, X = made(), rows()
    objective = table_objective("relu", "cross_entropy")
    np.testing.assert_allclose(objective.predict(params, X), by_hand(params, X), rtol=2e-4, atol=1e-4)
    y = RNG.integers(0, 3, 20)
    losses = objective.loss(params, X, jnp.asarray(y), None, Hyper())
    expected = -scipy.special.log_softmax(by_hand(params, X), axis=1)[np.arange(20), y]
    np.testing.assert_allclose(losses, expected, rtol=1e-3, atol=1e-4)


def test_a_regression_learns_standardised_and_answers_in_units():
    params, X, y = made(1, (100.0, 7.0)), rows(), RNG.normal(size=(20, 1)).astype(np.float32) * 7 + 100
    objective = table_objective("relu", "squared_error")
    np.testing.assert_allclose(objective.predict(params, X), 100 + 7 * by_hand(params, X), rtol=2e-4)
    losses = objective.loss(params, X, jnp.asarray(y), None, Hyper())
    np.testing.assert_allclose(
        losses, (by_hand(params, X) - (y - 100) / 7)[:, 0] ** 2 / 2, rtol=2e-3, atol=1e-4
    )
    gradients = jax.grad(lambda p: jnp.sum(objective.loss(p, X, y, None, Hyper())))(params)
    assert not gradients["target"].any()  # which is no parameter


@pytest.mark.parametrize("target", [(0.0, 1.0), (100.0, 7.0)])
def test_folding_changes_no_answer(target):
    params, X = made(3, target), rows()
    embeddings, layers = fold(params, target)
    plain = forward(on_device(layers), table_features(embeddings, jnp.asarray(X)))
    objective = table_objective("relu", "squared_error")
    np.testing.assert_allclose(plain, objective.predict(params, X), rtol=2e-4, atol=1e-4)
    assert all(p.dtype == np.float32 for p in jax.tree.leaves((embeddings, layers)))
    cooler = forward(on_device(fold(params, (0.0, 0.5))[1]), table_features(embeddings, jnp.asarray(X)))
    if target == (0.0, 1.0):
        np.testing.assert_allclose(cooler, plain / 2, rtol=2e-4, atol=1e-4)


def test_levels_of_no_training_row_are_the_mean_of_those_of_some():
    embeddings = [RNG.normal(size=(4, 3)).astype(np.float32), RNG.normal(size=(2, 5)).astype(np.float32)]
    first, second = with_new_codes(embeddings, np.array([[0, 0], [2, 1], [0, 1]], np.float32).T)
    np.testing.assert_array_equal(first[[0, 2]], embeddings[0][[0, 2]])
    np.testing.assert_allclose(first[[1, 3]], np.tile(embeddings[0][[0, 2]].mean(axis=0), (2, 1)))
    np.testing.assert_array_equal(second, embeddings[1])
    assert first.dtype == second.dtype == np.float32


def test_temperature_finds_the_one_that_was_there():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(20_000, 3)) * 2
    p = scipy.special.softmax(logits, axis=1)
    y = (p.cumsum(axis=1) > rng.random((20_000, 1))).argmax(axis=1)
    for t in (0.5, 1.0, 3.0):
        assert temperature(logits * t, y) == pytest.approx(t, rel=0.05)


def test_temperature_takes_a_weight_as_so_many_rows():
    rng = np.random.default_rng(2)
    logits, times = rng.normal(size=(300, 3)), rng.integers(0, 4, 300)
    y = (logits + rng.normal(size=(300, 3))).argmax(axis=1)
    many, weighed = np.repeat(np.arange(300), times), temperature(logits, y, 5.0 * times)
    assert weighed == pytest.approx(temperature(logits[many], y[many]), rel=0.01)
    assert weighed != pytest.approx(temperature(logits, y), rel=0.01)


def test_temperature_stays_sane_when_every_row_is_right():
    logits, y = np.array([[4.0, -4.0], [-4.0, 4.0]]), np.array([0, 1])
    assert 0.3 < temperature(logits, y) <= 5
