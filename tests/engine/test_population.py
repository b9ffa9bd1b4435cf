"""Several networks in one program, on both backends: each as it would be alone, and all of them together."""

import functools
import math

import numpy as np
import pytest
import scipy.special

from mlpax.engine import training
from mlpax.engine.metrics import joined, measure
from mlpax.engine.native import library
from mlpax.engine.plan import Hyper, Plan
from mlpax.engine.population import hypers_of
from mlpax.engine.rows import orders_of, place
from mlpax.engine.state import diverged
from mlpax.engine.training import Training
from mlpax.engine.trees import member, named_leaves
from mlpax.engine.weights import draw_weights
from mlpax.engine.xla import population as xla
from mlpax.errors import DivergedError
from small_data import plan_of

NATIVE = pytest.mark.skipif(library.missing() != "", reason=library.missing())
BACKENDS = [pytest.param("native", marks=NATIVE), "xla"]
SIZES, MEMBERS = (6, 12, 3), 4


@functools.cache
def rows():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 6)).astype(np.float32)
    y = (X[:, :3] + 0.7 * rng.standard_normal((300, 3))).argmax(axis=1)
    return place(X[:200], y[:200], batch_size=32), place(X[200:], y[200:], batch_size=32)


def weights(members=MEMBERS):
    return [draw_weights(SIZES, np.random.default_rng(k), "he") for k in range(members)]


def run(params, plan, hyper, backend, orders="shared", threads=None, seed=0, outcome=None):
    """Train members, or one network, to the end: the last state and all records."""
    data, valid = rows()
    orders = orders_of(data, 3) if orders == "shared" else orders
    members = len(params) if isinstance(params[0], list) else 1
    how = Training(plan, hyper, orders, backend, threads, members)
    state, history = training.initial_state(params, how, seed), []
    try:
        for state, records in training.epochs(state, data, valid if plan.figures else None, how):
            history += records
    except DivergedError as error:
        if outcome is None:
            raise
        outcome.append(str(error))
    return state, history


def assert_same(ours, theirs, **limits):
    for (name, one), other in zip(named_leaves(ours).items(), named_leaves(theirs).values(), strict=True):
        np.testing.assert_allclose(one, other, err_msg=name, **limits)


EXACT = {"rtol": 0, "atol": 0}
CLOSE = {"rtol": 0, "atol": 1e-6}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_member_is_as_it_would_be_alone(backend, optimizer):
    """To the bit natively, since one thread does as several do; by XLA within rounding."""
    plan, hyper = plan_of(optimizer=optimizer), Hyper(learning_rate=0.01, epochs=3)
    together, _ = run(weights(), plan, hyper, backend)
    for k, own in enumerate(weights()):
        alone, _ = run(own, plan, hyper, backend)
        ours = member(together.params, k)
        assert_same(ours, alone.params, **(EXACT if backend == "native" else CLOSE))


@pytest.mark.parametrize("backend", BACKENDS)
def test_members_stop_in_the_epoch_in_which_they_would_alone(backend):
    plan = plan_of(stopping="patience")
    hyper = Hyper(learning_rate=0.3, momentum=0.9, epochs=60, patience=4)
    together, history = run(weights(), plan, hyper, backend)
    ends = []
    for k, own in enumerate(weights()):
        alone, records = run(own, plan, hyper, backend)
        ends.append(len(records))
        assert int(together.epoch[k]) == len(records)
        assert int(together.watch.epoch[k]) == int(alone.watch.epoch)
        assert_same(member(together.best, k), alone.best, rtol=0, atol=1e-5)
    assert len({*ends}) > 1
    assert len(history) == max(ends)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_neighbour_that_diverges_changes_nothing(backend):
    plan = plan_of()
    rates = np.array([0.05, 1e30, 0.05, 0.1], np.float32)
    alone, _ = run(weights(), plan, Hyper(learning_rate=0.05, epochs=4), backend)
    beside, history = run(weights(), plan, Hyper(learning_rate=rates, epochs=4), backend)
    assert diverged(beside).tolist() == [False, True, False, False]
    assert len(history) == 4
    for k in (0, 2):
        assert_same(member(beside.params, k), member(alone.params, k), **EXACT)
    assert len(training.chosen(beside, plan)) == 3
    assert all(np.isfinite(p).all() for p in named_leaves(beside.params).values())
    assert all(math.isfinite(value) for record in history for value in record.values())
    _, others = run(
        [weights()[k] for k in (0, 2, 3)], plan, Hyper(learning_rate=rates[[0, 2, 3]], epochs=4), backend
    )
    for row, other in zip(history[1:], others[1:], strict=True):  # it had a loss in the first
        assert {**row, "seconds": 0} == pytest.approx({**other, "seconds": 0}, rel=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_if_all_diverge_it_is_an_error(backend):
    outcome = []
    state, history = run(weights(), plan_of(), Hyper(learning_rate=1e30, epochs=4), backend, outcome=outcome)
    assert outcome == ["the loss of every member became inf in epoch 1 at a learning rate of 1e+30;"
                       " try 1e+29, or clip_norm=1"]  # fmt: skip
    assert diverged(state).all()
    assert len(history) == 1
    assert training.chosen(state, plan_of()) == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_figures_are_those_of_the_members_together(backend):
    """Of the parameters that would be kept: recomputed from the members' states, epoch for epoch."""
    data, valid = rows()
    plan = plan_of(stopping="patience", figures=("train_accuracy", "valid_accuracy", "valid_log_loss"))
    hyper = Hyper(learning_rate=0.3, momentum=0.9, epochs=8, patience=3, min_delta=0.01)
    how = Training(plan, hyper, orders_of(data, 3), backend, members=MEMBERS)
    state = training.initial_state(weights(), how, 0)
    for state, records in training.epochs(state, data, valid, how, epochs_a_call=1):
        assert [*records[-1]][2:5] == [*plan.figures]
        for part, of in (("train", data), ("valid", valid)):
            each = [forward(layers, of.X[: int(of.n)]) for layers in training.chosen(state, plan)]
            p = np.mean([scipy.special.softmax(z, axis=1) for z in each], axis=0)
            y = of.y[: int(of.n)]
            assert records[-1][f"{part}_accuracy"] == pytest.approx(np.mean(p.argmax(axis=1) == y))
        log_losses = [-scipy.special.log_softmax(z, axis=1)[np.arange(len(y)), y].mean() for z in each]
        assert records[-1]["valid_log_loss"] == pytest.approx(
            -np.log(p[np.arange(len(y)), y]).mean(), rel=1e-5
        )
        assert records[-1]["members_valid_log_loss"] == pytest.approx(np.mean(log_losses), rel=1e-5)
        assert records[-1]["spread_valid_log_loss"] == pytest.approx(np.std(log_losses), rel=1e-3, abs=1e-6)
    assert len({int(epoch) for epoch in state.watch.epoch}) > 1


def forward(layers, X):
    for i, (W, b) in enumerate(layers):
        X = X @ np.asarray(W, np.float64) + b
        X = np.maximum(X, 0) if i < len(layers) - 1 else X
    return X


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_member_may_have_an_order_of_its_own(backend):
    data, _ = rows()
    plan, hyper = plan_of(optimizer="sgd"), Hyper(learning_rate=0.05, epochs=3)
    every = [orders_of(data, seed) for seed in range(MEMBERS)]

    def own(done, count):
        return np.stack([one(done, count) for one in every], axis=1)

    together, _ = run(weights(), plan, hyper, backend, orders=own)
    for k in range(MEMBERS):
        alone, _ = run(weights()[k], plan, hyper, backend, orders=every[k])
        assert_same(member(together.params, k), alone.params, **CLOSE)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_numbers_of_members_may_differ(backend):
    """Rates, decays, smoothing, epochs and patience."""
    plan = plan_of(optimizer="adamw", decay=True, dropout=False, schedule="one_cycle", stopping="patience")
    hyper = Hyper(
        learning_rate=np.float32([0.001, 0.01, 0.03, 0.1]), weight_decay=np.float32([0, 0.1, 0.01, 0]),
        label_smoothing=np.float32([0, 0.1, 0, 0.2]), warmup=np.float32([0, 0.3, 0.1, 0.2]),
        epochs=np.int32([3, 9, 7, 9]), patience=np.float32([9, 9, 9, 2]),
    )  # fmt: skip
    together, history = run(weights(), plan, hyper, backend)
    for k, own in enumerate(hypers_of(hyper, MEMBERS)):
        alone, records = run(weights()[k], plan, own, backend)
        assert int(together.epoch[k]) == len(records)
        assert_same(member(together.params, k), alone.params, rtol=1e-3, atol=1e-4)
    assert len(history) == int(max(together.epoch))


def test_members_of_other_numbers_share_a_program():
    params = weights(64)
    rates = np.linspace(0.001, 0.1, 64, dtype=np.float32)
    xla.run_members.clear_cache()
    for shift in (1, 0.5):
        run(params, plan_of(), Hyper(learning_rate=rates * shift, epochs=2), "xla")
    assert xla.run_members._cache_size() == 1


@NATIVE
def test_the_bits_do_not_depend_on_the_threads():
    plan = plan_of(dropout=True, stopping="patience")
    hyper = Hyper(learning_rate=0.1, momentum=0.9, epochs=30, patience=5, dropout=0.2)
    one, history = run(weights(), plan, hyper, "native", threads=1)
    for threads in (2, 3, 8):
        other, records = run(weights(), plan, hyper, "native", threads=threads)
        assert_same(one, other, **EXACT)
        assert [{**row, "seconds": 0} for row in records] == [{**row, "seconds": 0} for row in history]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("stopping", ["never", "patience"])
def test_it_goes_on_from_any_epoch_to_the_same_bits(backend, stopping):
    data, valid = rows()
    plan = plan_of(stopping=stopping, dropout=True)
    hyper = Hyper(learning_rate=0.2, momentum=0.9, epochs=23, patience=5, min_delta=0.01, dropout=0.1)
    how = Training(plan, hyper, orders_of(data, 3), backend, members=MEMBERS)
    start = training.initial_state(weights(), how, 0)
    whole, history = run(weights(), plan, hyper, backend)
    for state, begun in training.epochs(start, data, valid, how, epochs_a_call=3):
        break
    again = training.state_of(training.arrays_of(state, how), start, how)
    for last, records in training.epochs(again, data, valid, how):
        begun += records
    assert_same(last.best, whole.best, **EXACT)
    assert_same(last.params, whole.params, **EXACT)
    without = [{k: v for k, v in row.items() if k != "seconds"} for row in begun]
    assert without == [{k: v for k, v in row.items() if k != "seconds"} for row in history]


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy", "squared_error",
                                  "poisson_deviance"])  # fmt: skip
def test_outputs_together(loss):
    """They are those of the mean probability, rate or value, and members that are not alive do not count."""
    import jax.numpy as jnp

    z = np.random.default_rng(0).normal(size=(5, 7, 3)).astype(np.float32)
    z[1] = np.nan
    alive = np.array([True, False, True, True, False])
    some = z[alive].astype(np.float64)
    link, back = {
        "cross_entropy": (functools.partial(scipy.special.softmax, axis=-1), np.log),
        "binary_cross_entropy": (scipy.special.expit, scipy.special.logit),
        "squared_error": (np.asarray, np.asarray),
        "poisson_deviance": (np.exp, np.log),
    }[loss]
    expected = back(link(some).mean(axis=0))
    for xp in (np, jnp):
        np.testing.assert_allclose(
            joined(xp.asarray(z), alive, Plan(loss=loss), xp), expected, rtol=1e-4, atol=1e-5
        )


def test_outputs_together_of_several_targets_of_classes():
    import jax.numpy as jnp

    z, alive = np.random.default_rng(0).normal(size=(3, 7, 5)).astype(np.float32), np.ones(3, bool)
    for xp in (np, jnp):
        found = joined(xp.asarray(z), alive, Plan(classes=(3, 2)), xp)
        parts = [joined(xp.asarray(part), alive, Plan(), xp) for part in (z[..., :3], z[..., 3:])]
        np.testing.assert_array_equal(found, np.concatenate(parts, axis=-1))


@pytest.mark.parametrize("metric", ["accuracy", "log_loss"])
def test_figures_keep_the_axes_before_the_rows(metric):
    data, _ = rows()
    z = np.random.default_rng(0).normal(size=(2, 5, 200, 3)).astype(np.float32)
    found = measure(metric, z, data, Plan())
    assert found.shape == (2, 5)
    assert found[1, 3] == measure(metric, z[1, 3], data, Plan())


@pytest.mark.parametrize("orders", ["shared", "own"])
def test_members_in_turns_are_those_of_one_turn(monkeypatch, orders):
    """Three members fit the cache, and the fourth waits."""
    data, _ = rows()
    every = [orders_of(data, seed) for seed in range(MEMBERS)]

    def own(done, count):
        return np.stack([one(done, count) for one in every], axis=1)

    plan = plan_of(stopping="patience", optimizer="adam")
    hyper = Hyper(learning_rate=np.float32([0.01, 0.02, 0.05, 0.01]), epochs=12, patience=3)
    orders = own if orders == "own" else orders
    whole, history = run(weights(), plan, hyper, "xla", orders=orders)
    size = 4 * (
        1 + 3 * sum(p.size for layer in weights()[0] for p in layer)
    )  # with Adam's moments and its count
    monkeypatch.setattr(xla, "CACHE", 3 * size)
    assert xla.members_at_a_time(whole) == 3
    turns, records = run(weights(), plan, hyper, "xla", orders=orders)
    assert_same(turns.params, whole.params, **CLOSE)
    for row, other in zip(records, history, strict=True):
        assert {**row, "seconds": 0} == pytest.approx({**other, "seconds": 0}, rel=1e-5)
