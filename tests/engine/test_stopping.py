"""The stopping rule by hand, in NumPy and in JAX: one function, the same figures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlpax.engine.plan import Hyper, Plan, larger_is_better
from mlpax.engine.stopping import Watch, due, follow


def numpy_follow(watch, value, epoch, hyper, plan):
    return follow(watch, np.float32(value), epoch, hyper, plan, np)[0]


def jax_follow(watch, value, epoch, hyper, plan):
    rule = jax.jit(lambda watch, value, epoch, hyper: follow(watch, value, epoch, hyper, plan, jnp)[0])
    return rule(watch, jnp.float32(value), jnp.int32(epoch), hyper)


@pytest.fixture(params=[numpy_follow, jax_follow])
def watched(request):
    """What the rule remembers after each of some figures, larger being better."""

    def run(values, hyper, **plan):
        watch, seen = Watch.start(), []
        for epoch, value in enumerate(values, start=1):
            watch = request.param(watch, value, epoch, hyper, Plan(**plan))
            seen.append(watch)
        return seen

    return run


LIKE_SCIKIT_LEARN = {"stopping": "tolerance"}
HYPER = Hyper(learning_rate=0.1, patience=2, min_delta=0.1)


def test_a_loss_must_fall_by_more_than_the_tolerance(watched):
    losses = [1.0, 0.5, 0.45, 0.46, 0.44, np.nan, 0.1]
    seen = watched([-loss for loss in losses], HYPER, **LIKE_SCIKIT_LEARN)
    assert [int(watch.waited) for watch in seen] == [0, 0, 1, 2, 3, 0, 0]
    best = [-float(watch.value) for watch in seen]
    np.testing.assert_allclose(best, [1, 0.5, 0.45, 0.45, 0.44, 0.44, 0.1])
    assert [bool(watch.stopped) for watch in seen] == [False] * 4 + [True, False, False]


def test_a_score_must_rise_by_the_tolerance(watched):
    seen = watched([0.5, 0.65, 0.7, 0.6], HYPER, **LIKE_SCIKIT_LEARN)
    assert [int(watch.waited) for watch in seen] == [0, 0, 1, 2]
    np.testing.assert_allclose([float(watch.value) for watch in seen], [0.5, 0.65, 0.7, 0.7])
    assert [int(watch.epoch) for watch in seen] == [1, 2, 3, 3]


def test_an_adaptive_rate_falls_instead_of_stopping(watched):
    seen = watched([-1.0] * 5, HYPER, schedule="adaptive", **LIKE_SCIKIT_LEARN)
    assert [int(watch.waited) for watch in seen] == [0, 1, 2, 0, 1]
    np.testing.assert_allclose(float(seen[-1].rate), 0.2, rtol=1e-6)
    assert not any(bool(watch.stopped) for watch in seen)


def test_an_adaptive_rate_stops_where_it_is_too_small(watched):
    seen = watched([-1.0] * 4, HYPER._replace(learning_rate=1e-6), schedule="adaptive", **LIKE_SCIKIT_LEARN)
    assert [bool(watch.stopped) for watch in seen] == [False, False, False, True]
    assert float(seen[-1].rate) == 1


def test_patience_counts_epochs_without_a_better_one(watched):
    seen = watched([1, 2, 2, 2.05, 3], HYPER, stopping="patience")
    assert [int(watch.waited) for watch in seen] == [0, 0, 1, 2, 0]
    assert [bool(watch.stopped) for watch in seen] == [False, False, False, True, False]
    assert [int(watch.epoch) for watch in seen] == [1, 2, 2, 2, 5]


def test_without_patience_nothing_stops(watched):
    assert not any(bool(watch.stopped) for watch in watched([1] * 5, HYPER, stopping="never"))


def test_plateau_halves_the_rate_after_three_epochs_without_improvement(watched):
    losses = (1.0, 0.5, 0.5, 0.6, 0.5, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4)
    seen = watched([-loss for loss in losses], Hyper(), schedule="plateau")
    rates = [float(watch.rate) for watch in seen]
    assert rates == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]


def test_types_stay_so_that_nothing_compiles_again(watched):
    start = Watch.start()
    for watch in watched([1.0, 2.0], HYPER, **LIKE_SCIKIT_LEARN):
        assert [n.dtype for n in watch] == [n.dtype for n in start]


def test_an_epoch_is_due_until_the_last_a_stop_or_a_loss_that_is_not_finite():
    hyper = Hyper(epochs=3)
    for xp in (np, jnp):
        cases = [(2, False, 1.0), (3, False, 1.0), (2, True, 1.0), (2, False, np.inf), (2, False, np.nan)]
        for rule, after_nan in (("patience", False), ("tolerance", True)):
            plan = Plan(stopping=rule)
            found = [bool(due(xp.int32(e), xp.bool_(s), xp.float32(v), hyper, plan)) for e, s, v in cases]
            assert found == [True, False, False, after_nan, after_nan]


@pytest.mark.parametrize(
    ("column", "larger"),
    [("loss", False), ("valid_accuracy", True), ("train_accuracy", True), ("valid_log_loss", False),
     ("valid_loss", False), ("valid_r2", True), ("valid_subset_accuracy", True), ("valid_rmse", False),
     ("outside", True)],
)  # fmt: skip
def test_which_figures_are_better_when_larger(column, larger):
    assert larger_is_better(column) == larger
