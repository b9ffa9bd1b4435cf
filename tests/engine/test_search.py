"""A search over candidates: each as it would be alone, and the best go on."""

import functools
import math

import numpy as np
import pytest

from mlpax.engine import training
from mlpax.engine.native import library
from mlpax.engine.plan import Hyper
from mlpax.engine.rows import orders_of, orders_of_members, place
from mlpax.engine.search import Candidate, Race, rungs_of
from mlpax.engine.state import diverged
from mlpax.engine.training import Training
from mlpax.engine.trees import member, named_leaves
from mlpax.engine.weights import draw_weights
from mlpax.seeds import member_seeds
from small_data import plan_of

NATIVE = pytest.mark.skipif(library.missing() != "", reason=library.missing())
BACKENDS = [pytest.param("native", marks=NATIVE), "xla"]
RATES = (0.3, 0.03, 0.1, 0.003, 0.2)


@functools.cache
def rows(batch_size=32):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 6)).astype(np.float32)
    y = (X[:, :3] + 0.7 * rng.standard_normal((300, 3))).argmax(axis=1)
    return place(X[:200], y[:200], batch_size=batch_size), place(X[200:], y[200:], batch_size=batch_size)


def candidate(backend, rate, *, epochs=9, units=12, seed=0, members=1, own_orders=False, data=None, **plan):
    """A candidate, its own orders and weights from `seed`."""
    data, valid = data or rows()
    hyper = Hyper(learning_rate=rate, momentum=0.9, epochs=epochs, patience=3)
    seeds = member_seeds(seed, members)
    orders = orders_of_members(data, seeds) if own_orders else orders_of(data, seed)
    how = Training(plan_of(**plan), hyper, orders, backend, members=members)
    params = [draw_weights((6, units, 3), np.random.default_rng(k), "he") for k in seeds]
    state = training.initial_state(params if members > 1 else params[0], how, seed)
    return Candidate(lambda: state, data, valid, how, seed)


def alone(one):
    """The state and the figures of a candidate's training by itself."""
    history = []
    for state, records in training.epochs(one.start(), one.data, one.valid, one.training):
        history += records
    return state, history


def last(candidates, *shares):
    """The outcomes of a race to the end, in which the better third goes on after each share."""
    race, left = Race(candidates), range(len(candidates))
    for share in (*shares, 1.0):
        for _ in race.run(share, left):
            pass
        if share < 1:
            best = sorted(left, key=lambda k: np.nan_to_num(race.outcomes[k].score, nan=np.inf))
            left = best[: math.ceil(len(left) / 3)]
    return race.outcomes


def assert_same(ours, theirs, backend):
    limits = {"rtol": 0, "atol": 0} if backend == "native" else {"rtol": 1e-3, "atol": 1e-5}
    for (name, one), other in zip(named_leaves(ours).items(), named_leaves(theirs).values(), strict=True):
        np.testing.assert_allclose(one, other, err_msg=name, **limits)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("stopping", ["never", "patience"])
def test_a_candidate_is_as_it_would_be_alone(backend, stopping):
    """Whatever else is tried: other rates, widths, lengths, seeds and rows."""
    others = rows(64)
    candidates = [candidate(backend, rate, stopping=stopping) for rate in RATES]
    candidates += [candidate(backend, 0.1, units=5, stopping=stopping)]
    candidates += [candidate(backend, 0.1, epochs=4, stopping=stopping)]
    candidates += [candidate(backend, 0.1, seed=7, stopping=stopping)]
    candidates += [candidate(backend, 0.05, data=others, stopping=stopping, batch_size=64)]
    for one, outcome in zip(candidates, last(candidates), strict=True):
        state, history = alone(one)
        assert len(outcome.curve) == len(history)
        assert_same(outcome.state.params, state.params, backend)
        assert_same(outcome.state.best, state.best, backend)
        for row, record in zip(outcome.curve, history, strict=True):
            assert row["loss"] == pytest.approx(record["loss"], rel=1e-5)
        if stopping == "never":
            assert outcome.score == pytest.approx(history[-1]["valid_log_loss"], rel=1e-4)
        else:  # the figure of the weights that are kept
            assert outcome.score == pytest.approx(min(row["valid_log_loss"] for row in history), rel=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("own_orders", [False, True])
def test_a_candidate_may_be_an_ensemble(backend, own_orders):
    candidates = [
        candidate(backend, rate, members=3, own_orders=own_orders, seed=seed, stopping="patience")
        for rate, seed in ((0.1, 0), (0.03, 0), (0.1, 5))
    ]
    for one, outcome in zip(candidates, last(candidates), strict=True):
        state, history = alone(one)
        assert len(outcome.curve) == len(history)
        assert_same(outcome.state.params, state.params, backend)
        for row, record in zip(outcome.curve, history, strict=True):
            assert row["valid_log_loss"] == pytest.approx(record["valid_log_loss"], rel=1e-5)
            assert row["valid_accuracy"] == pytest.approx(record["valid_accuracy"], rel=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_best_third_goes_on_at_each_rung(backend):
    rates = np.geomspace(0.0003, 1, 12)
    candidates = [candidate(backend, float(rate)) for rate in rates]
    every = last(candidates)
    assert rungs_of(12) == pytest.approx([1 / 9, 1 / 3])
    found = last(candidates, *rungs_of(12))
    assert sorted(len(outcome.curve) for outcome in found) == [1] * 8 + [3] * 2 + [9] * 2
    first = sorted(range(12), key=lambda k: every[k].curve[0]["valid_log_loss"])
    assert {k for k in range(12) if len(found[k].curve) > 1} == {*first[:4]}
    for outcome, whole in zip(found, every, strict=True):
        for row, other in zip(outcome.curve, whole.curve, strict=False):
            assert row == pytest.approx(other, rel=1e-5)
        assert int(outcome.state.epoch) == len(outcome.curve)
        if len(outcome.curve) == 9:
            assert_same(outcome.state.params, whole.state.params, backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_that_diverges_is_last_and_changes_nothing(backend):
    candidates = [candidate(backend, rate) for rate in (0.1, 1e30, 0.03)]
    found = last(candidates, 0.4)
    assert diverged(last(candidates)[1].state).all()
    assert math.isnan(found[1].score)
    (winner,) = [k for k in range(3) if len(found[k].curve) == 9]
    assert_same(found[winner].state.params, alone(candidates[winner])[0].params, backend)


def test_rungs():
    assert rungs_of(1) == rungs_of(3) == ()
    assert rungs_of(4) == pytest.approx([1 / 3])
    assert rungs_of(64) == pytest.approx([1 / 27, 1 / 9, 1 / 3])
    assert rungs_of(64, least=9) == pytest.approx([1 / 9, 1 / 3])


def test_what_is_known_grows_from_call_to_call():
    race = Race([candidate("xla", 0.1, epochs=25)])
    assert [len(race.outcomes[0].curve) for _ in race.run(0.5)] == [10, 13]
    assert [len(race.outcomes[0].curve) for _ in race.run()] == [23, 25]


@pytest.mark.parametrize("backend", BACKENDS)
def test_those_in_file_order_are_not_shuffled_with_others(backend):
    """Nor do ensembles with orders of their own share one."""
    plain = candidate(backend, 0.1)
    candidates = [plain, plain._replace(training=plain.training._replace(orders=None)), plain]
    for one, outcome in zip(candidates, last(candidates), strict=True):
        assert_same(outcome.state.params, alone(one)[0].params, backend)
    shared, own = (
        candidate(backend, 0.1, members=2, own_orders=own)._replace(order=own) for own in (False, True)
    )
    for pair in ([shared, own], [own, shared]):
        for one, outcome in zip(pair, last(pair), strict=True):
            assert_same(outcome.state.params, alone(one)[0].params, backend)


@NATIVE
def test_members_by_name():
    assert member(last([candidate("native", 0.1, members=2)])[0].state.epoch, 1) == 9
