"""Rows on the device: buckets, padding, refusals, and the order of an epoch."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlpax.engine.rows import aligned, all_finite, bucket, place, row_order
from mlpax.engine.training import training_of
from mlpax.engine.xla.epoch import inputs, minibatch
from mlpax.errors import InputError
from mlpax.recipes import Recipe
from mlpax.seeds import rng

X = np.arange(15, dtype=np.float32).reshape(5, 3)
Y = np.array([0, 1, 2, 0, 1])


# ---- buckets


@pytest.mark.parametrize(
    ("rows", "batch", "expected"),
    [(1, 32, 32), (32, 32, 32), (33, 32, 64), (256, 32, 256), (257, 32, 320), (1437, 64, 24 * 64),
     (60_000, 64, 1024 * 64), (60_000, 256, 256 * 256), (49_152, 256, 192 * 256), (7, 1, 7), (9, 1, 10)],
)  # fmt: skip
def test_bucket_by_hand(rows, batch, expected):
    assert bucket(rows, batch) == expected


@pytest.mark.parametrize("batch", [1, 7, 64, 256])
def test_bucket_holds_the_rows_and_wastes_little(batch):
    buckets = {}
    for rows in range(1, 5000):
        padded = buckets[rows] = bucket(rows, batch)
        assert padded % batch == 0
        assert rows <= padded < 1.25 * rows + batch
        assert bucket(padded, batch) == padded
    assert sorted(buckets.values()) == list(buckets.values())  # more rows, no smaller a bucket
    # Eight up to 8 batches, then four for each doubling.
    assert len(set(buckets.values())) <= 8 + 4 * max(1, math.ceil(math.log2(5000 / batch / 8)))


@pytest.mark.parametrize("rows", [150, 1437, 1797, 60_001])
def test_folds_of_a_cross_validation_share_a_bucket(rows):
    for k in (5, 10):
        sizes = {rows - len(fold) for fold in np.array_split(np.arange(rows), k)}
        assert len({bucket(size, 32) for size in sizes}) == 1


# ---- place


def test_placed_rows_and_their_padding():
    data = place(X, Y, batch_size=4)
    assert (data.X.shape, data.y.shape, data.weight.shape) == ((8, 3), (8,), (8,))
    np.testing.assert_array_equal(data.X[:5], X)
    np.testing.assert_array_equal(data.y[:5], Y)
    np.testing.assert_array_equal(data.weight, [1, 1, 1, 1, 1, 0, 0, 0])
    assert (data.n, data.steps) == (5, 2)
    assert (data.X.dtype, data.y.dtype, data.weight.dtype) == (jnp.float32, jnp.int32, jnp.float32)
    assert (data.n.dtype, data.steps.dtype) == (np.int32, np.int32)


@pytest.mark.parametrize("dtype", ["uint8", "uint32", "float32", "float64"])
def test_a_cpu_takes_aligned_rows_without_a_copy(dtype):
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        for rows in range(1, 20):
            array = aligned((rows, 3), dtype)
            assert array.shape == (rows, 3)
            assert array.dtype == dtype
            array[:] = 7
            placed = jax.device_put(array)
            assert placed.dtype == dtype
            assert np.shares_memory(np.asarray(placed), array)


def test_variance_of_the_targets_is_weighted():
    y, weight = X[:, :2].astype(np.float64) ** 2, np.array([1.0, 2, 0, 1, 3])
    expected = np.average((y - np.average(y, axis=0, weights=weight)) ** 2, axis=0, weights=weight)
    np.testing.assert_allclose(place(X, y, batch_size=4, weight=weight).variance, expected, rtol=1e-6)
    assert place(X, Y, batch_size=4).variance == 0  # labels have none


def test_padding_repeats_a_row_so_that_no_loss_is_nan_on_it():
    data = place(X + 1, Y, batch_size=4)
    assert np.isfinite(np.log(data.X)).all()
    np.testing.assert_array_equal(data.X[5:], np.repeat(data.X[4:5], 3, axis=0))
    np.testing.assert_array_equal(data.y[5:], np.repeat(data.y[4:5], 3))


def test_drop_last_counts_whole_batches():
    assert place(X, Y, batch_size=4, drop_last=True).steps == 1
    assert place(X, Y, batch_size=5, drop_last=True).steps == 1
    assert place(X, Y, batch_size=4, drop_last=True).counted == 4
    assert place(X, Y, batch_size=4).counted == 5
    assert (
        place(np.zeros((60_000, 1), np.uint8), np.zeros(60_000, int), batch_size=64, drop_last=True).steps
        == 937
    )


@pytest.mark.parametrize("dtype", [np.float64, np.int64, bool, np.uint16])
def test_all_but_pixels_become_float32(dtype):
    assert place(X.astype(dtype), Y, batch_size=4).X.dtype == jnp.float32


def test_pixels_stay_as_they_are():
    pixels = np.array([[0, 127], [128, 255]], np.uint8)
    data = place(pixels, Y[:2], batch_size=2)
    assert data.X.dtype == jnp.uint8
    np.testing.assert_array_equal(data.X, pixels)
    np.testing.assert_array_equal(inputs(data, data.X), pixels.astype(np.float32))


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool])
def test_labels_become_int32(dtype):
    data = place(X, Y.astype(dtype), batch_size=4)
    assert data.y.dtype == jnp.int32
    np.testing.assert_array_equal(data.y[:5], Y.astype(dtype))


def test_targets_of_a_regression_become_float32():
    data = place(X, X[:, :2].astype(np.float64), batch_size=4)
    assert (data.y.shape, data.y.dtype) == ((8, 2), jnp.float32)


def test_weights_are_kept():
    data = place(X, Y, batch_size=4, weight=np.array([0, 1, 2, 3, 0.5]))
    np.testing.assert_array_equal(data.weight, [0, 1, 2, 3, 0.5, 0, 0, 0])


def test_what_is_given_is_not_changed():
    kept = X.copy(), Y.copy()
    data = place(X, Y, batch_size=5)
    del data
    np.testing.assert_array_equal(X, kept[0])
    np.testing.assert_array_equal(Y, kept[1])


def with_value(a, value, *where):
    a = a.astype(np.float64)
    a[where] = value
    return a


@pytest.mark.parametrize(
    ("X", "y", "options", "message"),
    [
        (X[:0], Y[:0], {}, r"X has shape \(0, 3\); training needs \(rows, features\) with at least one row"),
        (X[0], Y[:3], {}, r"X has shape \(3,\); training needs \(rows, features\)"),
        (X[None], Y[:1], {}, r"X has shape \(1, 5, 3\)"),
        (X, Y[:4], {}, "X has 5 rows but y has 4; they must be equal"),
        (with_value(X, np.nan, 3, 1), Y, {}, "X holds nan at row 3, column 1; all must be finite"),
        (with_value(X, np.inf, 0, 2), Y, {}, "X holds inf at row 0, column 2"),
        (with_value(X, -np.inf, 4, 0), Y, {}, "X holds -inf at row 4, column 0"),
        (X, with_value(X, np.nan, 2, 2), {}, "y holds NaN or infinite values"),
        (X, with_value(X, np.inf, 2, 2), {}, "y holds NaN or infinite values"),
        (X, Y - 1, {}, r"y holds labels -1 to 1; they must be 0 .. classes - 1"),
        (X, Y + 2**40, {}, r"y holds labels 1099511627776 to 1099511627778; they must be 0 .. classes - 1"),
        (X, Y.astype(float), {}, r"y has shape \(5,\); float targets need \(rows, outputs\)"),
        (X, Y, {"weight": np.array([1, 1, -1, 1, 1])}, "weights must be 5 finite numbers >= 0"),
        (X, Y, {"weight": np.array([1, 1, np.nan, 1, 1])}, "weights must be 5 finite numbers >= 0"),
        (X, Y, {"weight": np.array([1, 1, np.inf, 1, 1])}, "weights must be 5 finite numbers >= 0"),
        (X, Y, {"weight": np.ones(4)}, "weights must be 5 finite numbers >= 0"),
        (X, Y, {"weight": np.ones((5, 1))}, "weights must be 5 finite numbers >= 0"),
        (X, Y, {"weight": np.zeros(5)}, "at least one above 0"),
    ],
)
def test_refused_rows(X, y, options, message):
    with pytest.raises(InputError, match=message):
        place(X, y, batch_size=4, **options)


def test_negative_whole_numbers_are_fine_as_targets():
    assert place(X, Y[:, None] - 3, batch_size=4).y[:2].tolist() == [[-3], [-2]]


def test_shift_and_scale():
    data = place(X, Y, batch_size=4, shift=2.0, scale=0.5)
    np.testing.assert_array_equal(inputs(data, data.X[:5]), (X - 2) / 2)
    each = place(X.astype(np.uint8), Y, batch_size=4, shift=X.mean(axis=0), scale=np.array([1.0, 2, 4]))
    np.testing.assert_array_equal(inputs(each, each.X[:5]), (X - X.mean(axis=0)) * [1, 2, 4])
    assert inputs(each, each.X).dtype == jnp.float32


# ---- order and randomness


def test_generator_depends_on_seed_purpose_and_epoch():
    draws = [
        rng(*at).random() for at in ((1, "order", 1), (2, "order", 1), (1, "weights", 1), (1, "order", 2))
    ]
    assert len(set(draws)) == 4
    assert rng(1, "order", 2).random() == draws[3]
    assert rng(1, "order").random() == rng(1, "order", 0).random()


def test_order_is_a_permutation_of_the_rows_and_the_padding_last():
    data = place(X, Y, batch_size=4)
    for epoch in (1, 2, 9):
        order = row_order(data, 3, epoch)
        assert (order.shape, order.dtype) == ((8,), np.int32)
        assert sorted(order[:5]) == [0, 1, 2, 3, 4]
        assert order[5:].tolist() == [5, 6, 7]


def test_order_differs_by_epoch_and_seed_alone():
    data = place(np.zeros((1000, 1), np.uint8), np.zeros(1000, int), batch_size=64)
    one = row_order(data, 3, 1)
    np.testing.assert_array_equal(one, row_order(data, 3, 1))
    for other in (row_order(data, 3, 2), row_order(data, 4, 1)):
        assert np.mean(one[:1000] == other[:1000]) < 0.02  # one row in a thousand keeps its place by chance


def test_without_shuffling_minibatches_are_those_of_the_file():
    data = place(X, Y, batch_size=4)
    recipe = Recipe(shuffle=False, seed=3, batch_size=4)
    assert training_of(recipe, data, None, "dense", ()).orders is None
    for order in (None, jnp.arange(8)):
        batch, y, weight = minibatch(data, 1, 4, order)
        np.testing.assert_array_equal(batch, np.repeat(X[4:5], 4, axis=0))
        assert (y.tolist(), weight.tolist()) == ([Y[4]] * 4, [1, 0, 0, 0])


def test_a_minibatch_is_the_rows_of_its_numbers():
    pixels = np.random.default_rng(0).integers(0, 256, (7, 8)).astype(np.uint8)
    for columns in (8, 5):  # four pixels to a word, and one to a byte
        data = place(pixels[:, :columns], np.arange(7), batch_size=4)
        batch, y, _ = minibatch(data, 1, 4, jnp.array([0, 1, 2, 3, 6, 2, 5, 0]))
        assert (batch.dtype, y.tolist()) == (jnp.float32, [6, 2, 5, 0])
        np.testing.assert_array_equal(batch, pixels[[6, 2, 5, 0], :columns])


def test_every_row_comes_first_about_as_often():
    """A uniform shuffle: over 2,000 epochs each of five rows is first 400 times, give or take 18."""
    data = place(X, Y, batch_size=4)
    first = np.bincount([row_order(data, 5, epoch)[0] for epoch in range(1, 2001)])
    assert first.shape == (5,)
    assert np.all(abs(first - 400) < 80)


def test_all_finite_where_the_sum_is_not():
    assert all_finite(np.full((10, 10), 3e38, np.float32))
    for bad in (np.nan, np.inf, -np.inf):
        X = np.ones((10, 10), np.float32)
        X[3, 4] = bad
        assert not all_finite(X)
    assert not all_finite(np.array([[np.inf, -np.inf]]))


def test_the_variance_of_outputs_far_from_0():
    y = np.random.default_rng(0).normal([100, 10_000], size=(100_000, 2))
    data = place(np.zeros((len(y), 1), np.float32), y, batch_size=64)
    np.testing.assert_allclose(data.variance, y.var(axis=0), rtol=1e-3)
    counts = np.arange(100)[:, None]
    data = place(np.zeros((100, 1), np.float32), counts, batch_size=64, drop_last=True)  # 64 rows count
    np.testing.assert_allclose(data.variance, counts[:64].var(axis=0))
