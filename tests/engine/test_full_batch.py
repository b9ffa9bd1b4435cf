"""The penalised loss over all rows and its gradient beside NumPy in float64."""

import jax
import numpy as np
import pytest
import scipy.special

from conftest import numpy_forward
from mlpax.engine.plan import Hyper, Plan
from mlpax.engine.rows import place
from mlpax.engine.xla.full_batch import loss_and_gradient, unpack

RNG = np.random.default_rng(0)
SIZES = (4, 5, 3)
X = RNG.normal(size=(6, 4))
W = np.array([1.0, 2, 0, 0.5, 1, 3])  # weights of the rows
HYPER = Hyper(penalty=0.3, label_smoothing=0.2)
TARGETS = {
    "cross_entropy": np.array([0, 1, 2, 2, 1, 0]),
    "binary_cross_entropy": RNG.integers(0, 2, (6, 3)).astype(float),
    "squared_error": RNG.normal(size=(6, 3)),
    "poisson_deviance": RNG.integers(0, 4, (6, 3)).astype(float),
    "huber": 2 * RNG.normal(size=(6, 3)),
}


def by_hand(loss, vector, activation):
    """scikit-learn's penalised loss, in NumPy."""
    params = unpack(vector, SIZES)
    o, y, e = numpy_forward(params, X, activation), TARGETS[loss], HYPER.label_smoothing
    if loss == "cross_entropy":
        each = -np.sum(((1 - e) * np.eye(3)[y] + e / 3) * scipy.special.log_softmax(o, axis=1), axis=1)
    elif loss == "binary_cross_entropy":
        each = np.sum(np.logaddexp(0, o) - ((1 - e) * y + e / 2) * o, axis=1)
    elif loss == "poisson_deviance":
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
        summed = loss in ("squared_error", "huber")
        plan = Plan(loss=loss, activation=(activation,), summed=summed, penalty=True)
        value, gradient = loss_and_gradient(vector, data, HYPER, plan=plan, sizes=SIZES)
    steps = 1e-6 * np.eye(len(vector))
    numeric = [
        (by_hand(loss, vector + s, activation) - by_hand(loss, vector - s, activation)) / 2e-6 for s in steps
    ]
    np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-7)
    penalty = 0.15 * sum((V**2).sum() for V, _ in unpack(vector, SIZES)) / W.sum()
    share = 1 / 3 if loss in ("squared_error", "huber") else 1  # their value is the outputs' mean
    expected = share * (by_hand(loss, vector, activation) - penalty) + penalty
    np.testing.assert_allclose(value, expected, rtol=1e-12)
