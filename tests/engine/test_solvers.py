"""The solvers' losses, gradients and rules beside NumPy in float64, and their stopping rule by hand."""

import jax
import numpy as np
import optax
import pytest
import scipy.special

from conftest import numpy_forward
from mlpax.engine.xla.batches import place
from mlpax.engine.xla.solvers import (
    Knobs,
    Orders,
    Plan,
    Progress,
    adam,
    judge,
    loss_and_gradient,
    start,
    unpack,
)

RNG = np.random.default_rng(0)
SIZES = (4, 5, 3)
X = RNG.normal(size=(6, 4))
W = np.array([1.0, 2, 0, 0.5, 1, 3])  # weights of the rows
KNOBS = Knobs(
    alpha=0.3, learning_rate_init=0.1, power_t=0.5, momentum=0.9, beta_1=0.9, beta_2=0.999, epsilon=1e-8,
    weight_decay=0.0, label_smoothing=0.2, dropout=None, tol=1e-4, n_iter_no_change=2.0, max_iter=10,
)  # fmt: skip
TARGETS = {
    "cross_entropy": np.array([0, 1, 2, 2, 1, 0]),
    "binary_cross_entropy": RNG.integers(0, 2, (6, 3)).astype(float),
    "squared_error": RNG.normal(size=(6, 3)),
    "poisson": RNG.integers(0, 4, (6, 3)).astype(float),
    "huber": 2 * RNG.normal(size=(6, 3)),
}


def by_hand(loss, vector, activation):
    """scikit-learn's penalised loss, in NumPy."""
    params = unpack(vector, SIZES)
    o, y, e = numpy_forward(params, X, activation), TARGETS[loss], KNOBS.label_smoothing
    if loss == "cross_entropy":
        each = -np.sum(((1 - e) * np.eye(3)[y] + e / 3) * scipy.special.log_softmax(o, axis=1), axis=1)
    elif loss == "binary_cross_entropy":
        each = np.sum(np.logaddexp(0, o) - ((1 - e) * y + e / 2) * o, axis=1)
    elif loss == "poisson":
        each = np.sum(scipy.special.xlogy(y, y) - y * o - y + np.exp(o), axis=1)
    else:  # whose gradient is that of the sum over the outputs
        error = o - y
        small = (error**2 / 2) if loss == "squared_error" else scipy.special.huber(1, error)
        each = np.sum(small, axis=1)
    return np.average(each, weights=W) + 0.15 * sum((V**2).sum() for V, _ in params) / W.sum()


@pytest.mark.parametrize("activation", ["tanh", "silu"])
@pytest.mark.parametrize("loss", TARGETS)
def test_the_gradient_is_that_of_finite_differences(loss, activation):
    vector = RNG.normal(size=4 * 5 + 5 + 5 * 3 + 3)
    with jax.enable_x64(True):
        data = place(X, TARGETS[loss], batch_size=8, weight=W, dtype=np.float64)
        plan = Plan(loss=loss, activation=(activation,), solver="lbfgs")
        value, gradient = loss_and_gradient(vector, data, KNOBS, plan=plan, sizes=SIZES)
    steps = 1e-6 * np.eye(len(vector))
    numeric = [
        (by_hand(loss, vector + s, activation) - by_hand(loss, vector - s, activation)) / 2e-6 for s in steps
    ]
    np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-7)
    penalty = 0.15 * sum((V**2).sum() for V, _ in unpack(vector, SIZES)) / W.sum()
    share = 1 / 3 if loss in ("squared_error", "huber") else 1  # their value is the outputs' mean
    expected = share * (by_hand(loss, vector, activation) - penalty) + penalty
    np.testing.assert_allclose(value, expected, rtol=1e-12)


def test_adam_is_the_papers_with_epsilon_outside():
    rule = adam(0.8, 0.9, 0.05)
    p = {"a": np.zeros(3, np.float32)}
    state, m, v = rule.init(p), 0.0, 0.0
    for t in range(1, 5):
        g = RNG.normal(size=3).astype(np.float32)
        m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g**2
        steps, state = rule.update({"a": g}, state)
        expected = np.sqrt(1 - 0.9**t) / (1 - 0.8**t) * m / (np.sqrt(v) + 0.05)
        np.testing.assert_allclose(steps["a"], expected, rtol=1e-5)


def test_a_rule_starts_at_what_it_says():
    params = [(np.ones((2, 3), np.float32), np.ones(3, np.float32))]
    for solver in ("sgd", "adam", "adamw"):
        state = start(Plan(loss="", activation=(), solver=solver), params, KNOBS)
        assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(state))
    state = start(Plan(loss="", activation=(), solver=optax.ema(0.5, debias=False)), params, KNOBS)
    assert [leaf.shape for leaf in jax.tree.leaves(state)] == [(), (2, 3), (3,)]


def follow(values, watch, **changes):
    """Epochs waited and best value, as `judge` counts them."""
    params = [(np.zeros((1, 1), np.float32), np.zeros(1, np.float32))]
    progress = Progress(
        params=params, opt_state=(), key=None, step=0, rate=np.float32(0.1), seen=np.float32(8),
        epoch=np.int32(0), best=np.float32(-np.inf if watch == "score" else np.inf), best_params=params,
        waited=np.int32(0), stopped=np.False_,
    )  # fmt: skip
    plan = Plan(loss="", activation=(), solver="sgd", watch=watch, **changes)
    seen = []
    for value in values:
        progress = judge(plan, KNOBS._replace(tol=0.1), progress, np.float32(value))
        seen.append((int(progress.waited), float(progress.best), bool(progress.stopped)))
    return progress, seen


def test_a_loss_must_fall_by_more_than_tol():
    values = [1.0, 0.5, 0.45, 0.46, 0.44, np.nan, 0.1]
    _, seen = follow(values, "loss")
    assert [waited for waited, _, _ in seen] == [0, 0, 1, 2, 3, 0, 0]
    np.testing.assert_allclose([best for _, best, _ in seen], [1, 0.5, 0.45, 0.45, 0.44, 0.44, 0.1])
    assert [stopped for *_, stopped in seen] == [False] * 4 + [True, False, False]


def test_a_score_must_rise_by_tol():
    _, seen = follow([0.5, 0.65, 0.7, 0.6], "score")
    assert [waited for waited, _, _ in seen] == [0, 0, 1, 2]
    np.testing.assert_allclose([best for _, best, _ in seen], [0.5, 0.65, 0.7, 0.7])


def test_the_rate_falls_as_scikit_learns():
    progress, _ = follow([1.0], "loss", learning_rate="invscaling")
    np.testing.assert_allclose(progress.rate, 0.1 / 3, rtol=1e-6)  # 0.1 / (8 + 1)^0.5
    progress, seen = follow([1.0] * 5, "loss", learning_rate="adaptive")
    assert [waited for waited, _, _ in seen] == [0, 1, 2, 0, 1]
    np.testing.assert_allclose(progress.rate, 0.02, rtol=1e-6)
    assert not progress.stopped


def test_orders_rewound_are_drawn_again():
    whole, parts = (Orders(np.random.RandomState(0), 5, 8) for _ in range(2))
    expected = whole.next(4, 4)
    np.testing.assert_array_equal(np.sort(expected[:, :5]), np.tile(np.arange(5), (4, 1)))
    np.testing.assert_array_equal(expected[:, 5:], np.tile([5, 6, 7], (4, 1)))
    first = parts.next(4, 3)
    np.testing.assert_array_equal(first[:3], expected[:3])
    parts.rewind(1)
    np.testing.assert_array_equal(parts.next(3, 3)[:3], expected[1:])
