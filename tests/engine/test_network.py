"""The network against float64 NumPy, and its initial weights against the article's and the papers'."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conftest import NUMPY_ACTIVATIONS, in_float64, numpy_forward
from mlpax.engine.weights import INITIAL_SCALES
from mlpax.engine.xla.network import ACTIVATIONS, batch_forward, forward, initialize_weights
from mlpax.errors import InputError


def network(*sizes, seed=0):
    return initialize_weights(sizes, np.random.default_rng(seed), 0.5)


# ---- initial weights


def test_weights_have_the_shapes_of_the_sizes_in_float32():
    params = initialize_weights([5, 4, 3, 2], np.random.default_rng(0))
    assert [(W.shape, b.shape) for W, b in params] == [((5, 4), (4,)), ((4, 3), (3,)), ((3, 2), (2,))]
    assert {p.dtype for layer in params for p in layer} == {jnp.dtype(jnp.float32)}
    assert all(isinstance(p, jax.Array) for layer in params for p in layer)


def article_key(seed):
    """The PRNG of the article's day, for which the draws below are compiled once."""
    return jax.threefry_partitionable(False), jax.random.PRNGKey(seed)


def test_article_weights_to_the_digit():
    """The numbers behind the article's table: PRNGKey(516) in the PRNG's layout of its day."""
    layout, key = article_key(516)
    with layout:
        (W1, b1), (W2, b2) = initialize_weights([784, 128, 10], key)
    assert [p.shape for p in (W1, b1, W2, b2)] == [(784, 128), (128,), (128, 10), (10,)]
    assert {p.dtype for p in (W1, b1, W2, b2)} == {jnp.dtype(jnp.float32)}
    pinned = [
        (W1[0, :3], [0.01338089, -0.0104435, -0.00511735]),
        (W1[-1, -3:], [-0.01153246, 0.00069915, 0.00886624]),
        (b1[:3], [0.02316761, -0.02788246, -0.00347702]),
        (W2[0, :3], [0.00981952, 0.00737226, 0.01899498]),
        (W2[-1, -3:], [0.00442941, 0.02239691, -0.00871585]),
        (b2[:3], [0.01331777, -0.01181004, 0.01159968]),
    ]
    for drawn, expected in pinned:
        np.testing.assert_allclose(drawn, expected, rtol=0, atol=6e-9)


def test_article_layout_of_keys():
    """One key a layer, split in two: weights, biases."""
    layout, key = article_key(7)
    with layout:
        params = initialize_weights([3, 3, 3], key, 0.5)
        for (W, b), layer_key in zip(params, jax.random.split(key, 2), strict=True):
            w_key, b_key = jax.random.split(layer_key)
            np.testing.assert_array_equal(W, 0.5 * jax.random.normal(w_key, W.shape))
            np.testing.assert_array_equal(b, 0.5 * jax.random.normal(b_key, b.shape))


@pytest.mark.parametrize(
    ("scale", "deviation"),
    [
        ("he", (2 / 784) ** 0.5),
        ("glorot", (2 / 912) ** 0.5),
        ("lecun", (1 / 784) ** 0.5),
        (0.02, 0.02),
    ],
)
def test_deviation_of_weights(scale, deviation):
    layout, jax_key = article_key(1)
    for key in (jax_key, np.random.default_rng(1)):
        with layout:
            ((W, b),) = initialize_weights([784, 128], key, scale)
        # 100,352 draws: the deviation's standard error is .2 % of it, the mean's .3 % of the deviation.
        assert np.std(W) == pytest.approx(deviation, rel=0.01)
        assert abs(np.mean(W)) < 0.015 * deviation
        if isinstance(scale, str):
            np.testing.assert_array_equal(b, np.zeros(128))
        else:
            assert np.std(b) == pytest.approx(deviation, rel=0.3)


def test_numpy_generator_is_read_in_order_and_reproducibly():
    rng = np.random.default_rng(3)
    expected = [np.float32(0.5) * rng.standard_normal(s, np.float32) for s in ((4, 3), (3,), (3, 2), (2,))]
    params = initialize_weights([4, 3, 2], np.random.default_rng(3), 0.5)
    for p, e in zip(itertools.chain(*params), expected, strict=True):
        np.testing.assert_array_equal(p, e)


def test_scale_of_zero_is_all_zeros():
    for p in itertools.chain(*initialize_weights([4, 3], np.random.default_rng(0), 0.0)):
        assert not np.any(p)


@pytest.mark.parametrize("sizes", [[], [784], [784, 0], [784, -1, 10]])
def test_sizes_of_no_network(sizes):
    with pytest.raises(InputError, match=r"layer sizes .* at least two, each 1 or more"):
        initialize_weights(sizes, np.random.default_rng(0))


@pytest.mark.parametrize("scale", [-0.1, float("nan"), float("inf")])
def test_impossible_scale(scale):
    with pytest.raises(InputError, match=rf"initial scale {scale} is outside \[0, inf\)"):
        initialize_weights([2, 2], np.random.default_rng(0), scale)


def test_unknown_scale_gets_the_nearest_name():
    with pytest.raises(InputError, match="unknown initial scale 'xglorot'; did you mean 'glorot'"):
        initialize_weights([2, 2], np.random.default_rng(0), "xglorot")
    assert set(INITIAL_SCALES) == {"he", "glorot", "lecun"}


# ---- forward


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_forward_equals_numpy(activation):
    """Every activation, with no hidden layer to three; inputs large enough to reach every branch."""
    X = jnp.asarray(np.random.default_rng(1).normal(0, 3, (6, 5)), jnp.float32)
    for sizes in ([5, 3], [5, 4, 3], [5, 4, 4, 3], [5, 4, 4, 4, 3]):
        params = network(*sizes)
        expected = numpy_forward(in_float64(params), np.asarray(X, np.float64), activation)
        np.testing.assert_allclose(forward(params, X, activation=activation), expected, rtol=2e-5, atol=2e-5)


def test_every_activation_has_its_oracle():
    assert set(ACTIVATIONS) == set(NUMPY_ACTIVATIONS)


def test_forward_by_hand():
    """relu([1, -1] W + b) = relu([0, 3.5]) = [0, 3.5]; times [[1], [2]], plus 1, is 8."""
    params = [
        (jnp.array([[1.0, 2.0], [1.0, -1.0]]), jnp.array([0.0, 0.5])),
        (jnp.array([[1.0], [2.0]]), jnp.array([1.0])),
    ]
    assert forward(params, jnp.array([1.0, -1.0])).tolist() == [8.0]
    assert forward(params, jnp.array([[1.0, -1.0], [-4.0, 0.0]])).tolist() == [[8.0], [1.0]]


def test_forward_takes_one_example_and_any_stack():
    params = network(5, 4, 3)
    X = jnp.asarray(np.random.default_rng(2).normal(size=(2, 6, 5)), jnp.float32)
    stacked = forward(params, X)
    assert stacked.shape == (2, 6, 3)
    np.testing.assert_allclose(forward(params, X[1]), stacked[1], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(forward(params, X[1, 2]), stacked[1, 2], rtol=1e-6, atol=1e-6)


def test_batch_forward_equals_forward_of_each_row_and_of_the_stack():
    params = network(5, 4, 3)
    X = jnp.asarray(np.random.default_rng(2).normal(size=(6, 5)), jnp.float32)
    rows = np.stack([forward(params, x) for x in X])
    np.testing.assert_allclose(batch_forward(params, X), rows, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(batch_forward(params, X), forward(params, X), rtol=1e-6, atol=1e-6)


def test_unknown_activation_gets_the_nearest_name():
    with pytest.raises(InputError, match="unknown activation 'rleu'; did you mean 'relu'"):
        forward(network(2, 2), jnp.zeros(2), activation="rleu")


# ---- dropout


UNITS = 500
ONES = jnp.ones((100, UNITS), jnp.float32)
PASS = [(jnp.eye(UNITS, dtype=jnp.float32), jnp.zeros(UNITS))]  # a layer that changes nothing


def test_dropout_drops_its_share_and_keeps_the_expectation():
    out = np.asarray(forward(PASS * 2, ONES, dropout=0.3, key=jax.random.PRNGKey(0)))
    np.testing.assert_allclose(np.unique(out), [0, 1 / 0.7], rtol=1e-6)
    assert np.mean(out == 0) == pytest.approx(0.3, abs=0.01)  # 50,000 draws: 5 standard errors
    assert np.mean(out) == pytest.approx(1, abs=0.015)
    share = np.mean(out == 0, axis=0)  # of each unit
    assert share.min() > 0.1
    assert share.max() < 0.5


def test_dropout_follows_its_key_and_differs_between_layers():
    once = forward(PASS * 2, ONES, dropout=0.5, key=jax.random.PRNGKey(0))
    again = forward(PASS * 2, ONES, dropout=0.5, key=jax.random.PRNGKey(0))
    other = forward(PASS * 2, ONES, dropout=0.5, key=jax.random.PRNGKey(1))
    np.testing.assert_array_equal(once, again)
    assert np.mean(np.asarray(once) != np.asarray(other)) == pytest.approx(0.5, abs=0.02)
    # Two layers with one mask would keep half of the units, with masks of their own a quarter.
    twice = forward(PASS * 3, ONES, dropout=0.5, key=jax.random.PRNGKey(0))
    assert np.mean(np.asarray(twice) != 0) == pytest.approx(0.25, abs=0.02)


def test_dropout_spares_inputs_and_outputs():
    out = forward(PASS, ONES, dropout=0.9, key=jax.random.PRNGKey(0))
    np.testing.assert_array_equal(out, ONES)


def test_dropout_of_zero_changes_nothing():
    out = forward(PASS * 2, ONES, dropout=0.0, key=jax.random.PRNGKey(0))
    np.testing.assert_array_equal(out, ONES)


def test_dropout_needs_a_key():
    with pytest.raises(InputError, match="dropout needs a PRNG key"):
        forward(PASS * 2, ONES, dropout=0.5)


def test_dropout_rate_may_be_traced():
    rate = jax.jit(lambda r: forward(PASS * 2, ONES, dropout=r, key=jax.random.PRNGKey(0)))
    np.testing.assert_array_equal(
        rate(jnp.float32(0.3)), forward(PASS * 2, ONES, dropout=0.3, key=jax.random.PRNGKey(0))
    )


def test_each_layer_may_have_an_activation_of_its_own():
    rng = np.random.default_rng(0)
    params = initialize_weights([3, 4, 5, 2], rng, "he")
    X = jnp.asarray(rng.normal(size=(6, 3)), jnp.float32)
    (A, a), (B, b), (C, c) = in_float64(params)
    expected = np.maximum(np.tanh(X @ A + a) @ B + b, 0) @ C + c
    np.testing.assert_allclose(
        forward(params, X, activation=("tanh", "relu")), expected, rtol=1e-5, atol=1e-6
    )
    with pytest.raises(InputError, match="1 activations do not fit 2 hidden layers"):
        forward(params, X, activation=("tanh",))
    with pytest.raises(InputError, match="unknown activation 'tan'; did you mean 'tanh'"):
        forward(params, X, activation=("tan", "relu"))
