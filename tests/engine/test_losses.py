"""Losses and metrics against hand-made figures, scikit-learn, SciPy in float64 and finite differences."""

import itertools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import sklearn.metrics

from conftest import assert_close, in_float64, numpy_forward
from mlpax.engine.plan import larger_is_better
from mlpax.engine.xla.losses import (
    LOSSES,
    METRICS,
    accuracy,
    cross_entropy,
    cross_entropy_loss,
    log_softmax,
    of_targets,
    softmax,
    weighted_mean,
)
from mlpax.engine.xla.network import initialize_weights
from mlpax.engine.xla.objective import dense_objective
from mlpax.errors import InputError

LOGITS = np.random.default_rng(0).normal(0, 3, (7, 4))
LABELS = np.random.default_rng(1).integers(0, 4, 7)
RATES = np.random.default_rng(2).poisson(2.0, (7, 4)).astype(float)
YES_NO = np.random.default_rng(3).integers(0, 2, (7, 4)).astype(float)


@pytest.fixture(autouse=True)
def _strict():
    """A NaN, or a (batch,) against a (batch, 1) broadcast to a square, fails the test."""
    with jax.debug_nans(True), jax.numpy_rank_promotion("raise"):
        yield


def f32(*arrays):
    return [jnp.asarray(a, jnp.float32) for a in arrays]


# Each loss once more, in float64 NumPy, one value per example.
ORACLES = {
    "cross_entropy": lambda o, y: -scipy.special.log_softmax(o, axis=1)[np.arange(len(y)), y],
    "binary_cross_entropy": lambda o, y: (
        -np.sum(y * scipy.special.log_expit(o) + (1 - y) * scipy.special.log_expit(-o), axis=1)
    ),
    "squared_error": lambda o, y: np.mean((o - y) ** 2, axis=1) / 2,
    "absolute_error": lambda o, y: np.mean(np.abs(o - y), axis=1),
    "huber": lambda o, y: np.mean(scipy.special.huber(1, o - y), axis=1),
    "poisson": lambda o, y: np.mean(np.exp(o) - y * o, axis=1),
    "poisson_deviance": lambda o, y: np.sum(scipy.special.xlogy(y, y) - y * o - y + np.exp(o), axis=1),
}
TARGETS = {"cross_entropy": LABELS, "binary_cross_entropy": YES_NO, "poisson": RATES,
           "poisson_deviance": RATES}  # fmt: skip


def targets(loss, width=4):
    y = TARGETS.get(loss, LOGITS[::-1])
    return y % width if y.ndim == 1 else y[:, :width]


def on_device(y):
    return jnp.asarray(y, jnp.int32 if y.ndim == 1 else jnp.float32)


# ---- softmax


def test_softmax_by_hand():
    np.testing.assert_allclose(softmax(jnp.log(jnp.array([1.0, 2.0, 5.0]))), [1 / 8, 2 / 8, 5 / 8], rtol=1e-6)
    np.testing.assert_allclose(log_softmax(jnp.zeros((1, 4))), np.full((1, 4), -np.log(4)), rtol=1e-6)


def test_softmax_equals_scipy():
    (logits,) = f32(LOGITS)
    np.testing.assert_allclose(softmax(logits), scipy.special.softmax(LOGITS, axis=1), rtol=2e-6)
    np.testing.assert_allclose(
        log_softmax(logits), scipy.special.log_softmax(LOGITS, axis=1), rtol=1e-6, atol=1e-6
    )
    np.testing.assert_array_equal(softmax(logits)[3], softmax(logits[3]))  # one example as in a stack


@pytest.mark.parametrize("row", [[3000.0, -3000, 0], [-3000.0, -3000, -3000], [3000.0, 3000, 2999]])
def test_softmax_at_logits_of_3000(row):
    logits = jnp.array([row])
    np.testing.assert_allclose(
        log_softmax(logits), scipy.special.log_softmax(np.array([row]), axis=1), rtol=1e-6
    )
    np.testing.assert_allclose(softmax(logits), scipy.special.softmax(np.array([row]), axis=1), rtol=1e-6)
    gradient = jax.grad(lambda o: cross_entropy(o, jnp.array([1]))[0])(logits)
    expected = scipy.special.softmax(np.array([row]), axis=1) - [[0, 1, 0]]
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-7)


# ---- one value per example


@pytest.mark.parametrize("name", LOSSES)
def test_loss_of_each_example_equals_float64(name):
    y = targets(name)
    values = LOSSES[name](*f32(LOGITS), on_device(y))
    assert values.shape == (7,)
    np.testing.assert_allclose(values, ORACLES[name](LOGITS, y), rtol=2e-6, atol=1e-6)


def test_every_loss_has_its_oracle():
    assert set(LOSSES) == set(ORACLES)


def test_losses_by_hand():
    outputs, y = jnp.array([[0.0, 3.0]]), jnp.array([[0.5, 1.0]])  # errors of .5 and 2
    assert LOSSES["squared_error"](outputs, y)[0] == pytest.approx((0.25 + 4) / 2 / 2)
    assert LOSSES["absolute_error"](outputs, y)[0] == pytest.approx(1.25)
    assert LOSSES["huber"](outputs, y)[0] == pytest.approx((0.125 + 1.5) / 2)
    assert LOSSES["poisson"](outputs, y)[0] == pytest.approx((1 + np.exp(3) - 3) / 2, rel=1e-6)
    assert LOSSES["binary_cross_entropy"](jnp.zeros((1, 2)), jnp.array([[0.0, 1.0]]))[0] == pytest.approx(
        2 * np.log(2), rel=1e-6
    )
    uniform = cross_entropy(jnp.zeros((2, 10)), jnp.array([0, 9]))
    np.testing.assert_allclose(uniform, np.full(2, np.log(10)), rtol=1e-6)


def test_losses_equal_scikit_learn():
    logits, rates, yes_no, other = f32(LOGITS, RATES, YES_NO, LOGITS[::-1])
    p = scipy.special.softmax(LOGITS, axis=1)
    assert jnp.mean(cross_entropy(logits, jnp.asarray(LABELS))) == pytest.approx(
        sklearn.metrics.log_loss(LABELS, p, labels=range(4)), rel=1e-5
    )
    each = [
        sklearn.metrics.log_loss(YES_NO[:, i], scipy.special.expit(LOGITS[:, i]), labels=[0, 1])
        for i in range(4)
    ]
    assert jnp.mean(LOSSES["binary_cross_entropy"](logits, yes_no)) == pytest.approx(sum(each), rel=1e-5)
    squared = sklearn.metrics.mean_squared_error(LOGITS[::-1], LOGITS)
    assert 2 * jnp.mean(LOSSES["squared_error"](logits, other)) == pytest.approx(squared, rel=1e-5)
    # The deviance is twice the loss, less what the loss is at the best rate, the target itself.
    least = np.mean(RATES - scipy.special.xlogy(RATES, RATES))
    deviance = sklearn.metrics.mean_poisson_deviance(RATES.ravel(), np.exp(LOGITS).ravel())
    assert 2 * (jnp.mean(LOSSES["poisson"](logits, rates)) - least) == pytest.approx(deviance, rel=1e-5)


def test_binary_cross_entropy_is_stable():
    """Sure and right costs nothing, sure and wrong the logit itself; neither is NaN."""
    loss = LOSSES["binary_cross_entropy"](jnp.array([[3000.0], [-3000.0]]), jnp.array([[1.0], [1.0]]))
    assert loss.tolist() == [0, 3000]


def test_label_smoothing_is_cross_entropy_against_the_smoothed_target():
    target = 0.9 * np.eye(4)[LABELS] + 0.1 / 4
    expected = -np.sum(target * scipy.special.log_softmax(LOGITS, axis=1), axis=1)
    smoothed = cross_entropy(*f32(LOGITS), jnp.asarray(LABELS), 0.1)
    np.testing.assert_allclose(smoothed, expected, rtol=2e-6)
    traced = jax.jit(cross_entropy)(*f32(LOGITS), jnp.asarray(LABELS), jnp.float32(0.1))
    np.testing.assert_allclose(traced, expected, rtol=2e-6)


# ---- means and metrics


def test_several_targets_of_classes_by_hand():
    """Probabilities 1/2, 1/4, 1/4 of the first target, and 3/4, 1/4 of the second."""
    logits = jnp.log(jnp.array([[2.0, 1.0, 1.0, 3.0, 1.0]]))
    labels = jnp.array([[0, 1]])
    loss = of_targets(cross_entropy, (3, 2))
    np.testing.assert_allclose(loss(logits, labels), [(np.log(2) + np.log(4)) / 2], rtol=1e-6)
    gradient = jax.grad(lambda z: loss(z, labels)[0])(logits)
    np.testing.assert_allclose(gradient, [[-0.25, 0.125, 0.125, 0.375, -0.375]], rtol=1e-6)  # (p - truth) / 2
    assert of_targets(METRICS["accuracy"].values, (3, 2))(logits, labels).tolist() == [0.5]


def test_smoothing_of_several_targets_is_over_the_classes_of_each():
    logits, y = f32(LOGITS)[0], jnp.stack([jnp.asarray(LABELS % 3), jnp.zeros(7, int)], axis=1)
    mean = of_targets(cross_entropy, (3, 1))(logits, y, 0.3)
    np.testing.assert_allclose(
        mean, cross_entropy(logits[:, :3], y[:, 0], 0.3) / 2, rtol=1e-6
    )  # one class alone has no loss


def test_weighted_mean():
    values, weights = f32([1, 2, 6], [1, 0, 3])
    assert weighted_mean(values) == 3
    assert weighted_mean(values, weights) == 19 / 4
    assert weighted_mean(values, 1e-3 * weights) == pytest.approx(19 / 4)
    assert weighted_mean(values, jnp.zeros(3)) == 0
    np.testing.assert_allclose(jax.grad(weighted_mean)(values, weights), [1 / 4, 0, 3 / 4])
    np.testing.assert_array_equal(jax.grad(weighted_mean)(values, jnp.zeros(3)), np.zeros(3))


def test_accuracy():
    logits = jnp.array([[0.0, 1.0], [2.0, 1.0], [0.0, 5.0], [3.0, 1.0]])
    labels = jnp.array([1, 0, 0, 1])
    assert accuracy(logits, labels) == 0.5
    assert accuracy(logits, labels, weights=jnp.array([1.0, 1, 0, 2])) == 0.5
    assert accuracy(logits, labels, weights=jnp.array([3.0, 3, 1, 1])) == 0.75


@pytest.mark.parametrize(
    ("name", "oracle"),
    [
        ("accuracy", lambda y, o: sklearn.metrics.accuracy_score(y, o.argmax(axis=1))),
        ("log_loss", lambda y, o: sklearn.metrics.log_loss(y, scipy.special.softmax(o, axis=1))),
        ("rmse", sklearn.metrics.root_mean_squared_error),
        ("mae", sklearn.metrics.mean_absolute_error),
        ("r2", sklearn.metrics.r2_score),
        ("subset_accuracy", lambda y, o: sklearn.metrics.accuracy_score(y, o > 0)),
    ],
)
def test_metric_equals_scikit_learn(name, oracle):
    outputs = LOGITS[:, :1] if name in ("rmse", "mae") else LOGITS[:, :2] if name == "r2" else LOGITS
    y = {"r2": RATES[:, :2], "subset_accuracy": YES_NO, "rmse": RATES[:, :1], "mae": RATES[:, :1]}
    y = y.get(name, LABELS)
    metric = METRICS[name]
    values = metric.values(*f32(outputs), on_device(y))
    assert len(values) == 7
    mean = jnp.mean(values.astype(jnp.float32), axis=0)
    found = metric.finish(mean, jnp.asarray(y.var(axis=0), jnp.float32))
    assert found == pytest.approx(oracle(y, outputs), rel=1e-5)
    larger = ("accuracy", "subset_accuracy", "r2")
    assert larger_is_better(f"valid_{name}") == (name in larger)


def test_r2_of_constant_targets_is_scikit_learns():
    """1 where every target is met, 0 where one is missed."""
    for error in (0.0, 0.5):
        y, outputs = np.ones((4, 1)), np.ones((4, 1)) + error
        mean = jnp.mean(METRICS["r2"].values(*f32(outputs, y)), axis=0)
        assert METRICS["r2"].finish(mean, jnp.zeros(1)) == sklearn.metrics.r2_score(y, outputs)


def test_every_metric_is_tested():
    assert set(METRICS) == {"accuracy", "subset_accuracy", "log_loss", "rmse", "mae", "r2"}


# ---- gradients, by finite differences of the float64 oracles


def network_and_rows(outputs=3):
    rng = np.random.default_rng(4)
    params = initialize_weights([5, 6, 4, outputs], rng, 0.7)
    return params, rng.normal(size=(7, 5))


def finite_differences(loss, params, h=1e-6):
    """The gradient of `loss(params)` by central differences."""
    params = [[W.copy(), b.copy()] for W, b in in_float64(params)]
    gradients = [[np.empty_like(p) for p in layer] for layer in params]
    for p, g in zip(itertools.chain(*params), itertools.chain(*gradients), strict=True):
        for i in np.ndindex(p.shape):
            kept = p[i]
            p[i] = kept + h
            above = loss(params)
            p[i] = kept - h
            g[i] = (above - loss(params)) / (2 * h)
            p[i] = kept
    return gradients


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_of_every_loss(name):
    """Two hidden layers, weights among the rows, one of 0."""
    params, X = network_and_rows()
    y, w = targets(name, 3), np.array([1, 0, 2, 1, 0.5, 1, 1])
    activation = "tanh" if name == "absolute_error" else "relu"  # elsewhere its kinks would meet

    def oracle(params):
        return np.sum(w * ORACLES[name](numpy_forward(params, X, activation), y)) / np.sum(w)

    objective = dense_objective(activation, name)
    hyper = SimpleNamespace(dropout=None, label_smoothing=0.0)

    @jax.jit
    @jax.value_and_grad
    def loss(params):
        return weighted_mean(objective.loss(params, *f32(X), on_device(y), None, hyper), *f32(w))

    with jax.numpy_rank_promotion("allow"):  # the biases
        value, gradients = loss(params)
    assert value == pytest.approx(oracle(in_float64(params)), rel=1e-5)
    assert_close(gradients, finite_differences(oracle, params), rtol=1e-4, atol=1e-5)


def test_cross_entropy_loss_and_its_gradients():
    params, X = network_and_rows()
    y, w = LABELS % 3, np.array([1, 0, 2, 1, 0.5, 1, 1])

    def oracle(params, e=0.1, w=w):
        log_p = scipy.special.log_softmax(numpy_forward(params, X, "tanh"), axis=1)
        target = (1 - e) * np.eye(3)[y] + e / 3
        return -np.sum(w[:, None] * target * log_p) / np.sum(w)

    with jax.numpy_rank_promotion("allow"):  # the biases
        value, gradients = jax.jit(
            lambda p: jax.value_and_grad(cross_entropy_loss)(
                p, *f32(X), jnp.asarray(y), weights=f32(w)[0], activation="tanh", label_smoothing=0.1
            )
        )(params)
        plain = cross_entropy_loss(params, *f32(X), jnp.asarray(y), activation="tanh")
    assert value == pytest.approx(oracle(in_float64(params)), rel=1e-5)
    assert plain == pytest.approx(oracle(in_float64(params), 0, np.ones(7)), rel=1e-5)
    assert_close(gradients, finite_differences(oracle, params), rtol=1e-4, atol=1e-5)


def test_rows_of_weight_zero_change_nothing():
    """Whatever stands in the padding, the loss and its gradient are those of the true rows."""
    params, X = network_and_rows()
    y, w = jnp.asarray(LABELS % 3), jnp.array([1.0, 1, 1, 1, 1, 0, 0])
    gradient = jax.jit(jax.grad(lambda p, X: cross_entropy_loss(p, X, y, weights=w)))
    with jax.numpy_rank_promotion("allow"):
        one = gradient(params, *f32(X))
        other = gradient(params, *f32(np.where(np.arange(7)[:, None] < 5, X, 1e6)))
    for p, q in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(p, q)


# ---- the dense objective


def test_dense_objective_is_the_same_for_the_same_names():
    """Compiled programs are found again by the identity of its functions."""
    assert dense_objective("tanh", "huber", ("rmse",)) is dense_objective("tanh", "huber", ("rmse",))
    assert dense_objective("tanh").metrics == ("accuracy",)


def test_dense_objective_predicts_with_its_activation_and_smooths_labels():
    params, X = network_and_rows()
    objective = dense_objective("tanh", "cross_entropy", ("accuracy", "log_loss"))
    hyper = SimpleNamespace(dropout=None, label_smoothing=0.2)
    with jax.numpy_rank_promotion("allow"):
        outputs = objective.predict(params, *f32(X))
        loss = objective.loss(params, *f32(X), jnp.asarray(LABELS % 3), None, hyper)
    expected = numpy_forward(in_float64(params), X, "tanh")
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        loss, cross_entropy(*f32(expected), jnp.asarray(LABELS % 3), 0.2), rtol=1e-5, atol=1e-5
    )


def test_unknown_names_get_the_nearest():
    with pytest.raises(InputError, match="unknown loss 'hubre'; did you mean 'huber'"):
        dense_objective(loss="hubre")
    with pytest.raises(InputError, match="unknown metric 'acuracy'; did you mean 'accuracy'"):
        dense_objective(metrics=("acuracy",))
