"""The epoch as a pure function: under vmap and shard_map, and under the user's own JAX settings."""

import contextlib
import dataclasses
import os
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mlpax
from conftest import assert_close, in_float64
from mlpax.engine.plan import Hyper, Plan
from mlpax.engine.rows import place, row_order
from mlpax.engine.weights import draw_weights
from mlpax.engine.xla.epoch import PROGRAMS, epoch, initial_state, let_go

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 3)).astype(np.float32)
Y = (X @ RNG.normal(size=(3, 3))).argmax(axis=1)
SIZES = (3, 5, 3)
PLAN = Plan(
    batch_size=16, optimizer="adam", schedule="plateau", stopping="patience", decay=True,
    figures=("train_accuracy", "valid_accuracy", "valid_log_loss"), monitor="valid_log_loss",
)  # fmt: skip
HYPER = Hyper(epochs=4, patience=2.0, weight_decay=0.01)


def params_of(seed):
    return draw_weights(SIZES, np.random.default_rng(seed), "he")


def rows(n=50, batch_size=16):
    return place(X[:n], Y[:n], batch_size=batch_size)


# ---- many networks in one program


def test_members_that_share_rows_and_order_train_as_they_do_alone():
    """`jit(vmap(epoch))`: data and order unbatched, so that no member copies them."""
    rates, data, valid = (0.01, 0.1, 0.3), rows(), rows(20)
    states = [initial_state(params_of(seed), PLAN) for seed in range(3)]
    hypers = [HYPER._replace(learning_rate=rate) for rate in rates]

    def one(state, order, hyper):
        return epoch(state, data, valid, order, hyper, plan=PLAN)

    alone, together = jax.jit(one), jax.jit(jax.vmap(one, in_axes=(0, None, 0)))
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    numbers = jax.tree.map(lambda *leaves: jnp.asarray(leaves, jnp.float32), *hypers)
    for number in (1, 2):
        order = row_order(data, 0, number)
        stacked, figures = together(stacked, order, numbers)
        for k, (state, hyper) in enumerate(zip(states, hypers, strict=True)):
            states[k], of_one = alone(state, order, hyper)
            assert {name: float(v[k]) for name, v in figures.items()} == pytest.approx(
                {name: float(v) for name, v in of_one.items()}, rel=1e-4
            )
    for k, state in enumerate(states):
        member = jax.tree.map(lambda leaf: leaf[k], stacked)  # noqa: B023 - used at once
        assert_close(member.params, in_float64(state.params), rtol=1e-4, atol=1e-5)
        assert int(member.watch.epoch) == int(state.watch.epoch)


def test_rows_shared_by_members_are_not_copied():
    """The program of eight members holds the rows once."""
    data = place(np.zeros((4096, 64), np.float32), np.zeros(4096, int), batch_size=512)
    plan = Plan(batch_size=512)
    state = initial_state(draw_weights((64, 4, 2), RNG, "he"), plan)
    states = jax.tree.map(lambda leaf: jnp.stack([leaf] * 8), state)

    def one(state, data, order):
        return epoch(state, data, None, order, Hyper(), plan=plan)

    program = jax.jit(jax.vmap(one, in_axes=(0, None, None))).lower(states, data, row_order(data, 0, 1))
    memory = program.compile().memory_analysis()
    assert memory.temp_size_in_bytes < data.X.nbytes


# ---- over several devices


SHARDED = """
import jax, numpy as np
from jax.sharding import PartitionSpec as P
from functools import partial
from mlpax.engine.plan import Hyper, Plan
from mlpax.engine.rows import place
from mlpax.engine.weights import draw_weights
from mlpax.engine.xla.epoch import PROGRAMS, epoch, initial_state, let_go

assert len(jax.devices()) == 2
rng = np.random.default_rng(0)
X, y = rng.normal(size=(64, 3)).astype(np.float32), rng.integers(0, 3, 64)
weight = rng.uniform(0, 2, 64)
hyper = Hyper(learning_rate=0.3, penalty=0.1, clip_norm=1.0)
options = dict(figures=("train_accuracy", "train_log_loss"), penalty=True, clipping=True)
params = draw_weights((3, 5, 3), rng, "he")

def halves(a):  # minibatch i is row block i of both halves
    return np.ascontiguousarray(a.reshape(4, 2, 8, *a.shape[1:]).swapaxes(0, 1)).reshape(a.shape)

whole, split = Plan(batch_size=16, **options), Plan(batch_size=8, **options)
data = place(X, y, batch_size=16, weight=weight)
expected, figures = jax.jit(partial(epoch, plan=whole))(initial_state(params, whole), data, None, None, hyper)

mesh = jax.sharding.Mesh(np.array(jax.devices()), ("rows",))
shared = place(halves(X), halves(y), batch_size=16, weight=halves(weight))._replace(
    steps=np.int32(4), n=np.int32(64), counted=np.int32(32))
specs = jax.tree.map(lambda _: P(), shared)._replace(X=P("rows"), y=P("rows"), weight=P("rows"))
program = jax.jit(jax.shard_map(
    partial(epoch, plan=split, axis="rows"), mesh=mesh, in_specs=(P(), specs, None, None, P()),
    out_specs=(P(), P()), check_vma=False))
state, found = program(initial_state(params, split), shared, None, None, hyper)
for one, other in zip(jax.tree.leaves(state.params), jax.tree.leaves(expected.params), strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
for name, value in figures.items():
    np.testing.assert_allclose(found[name], value, rtol=1e-4)
"""


def run_in_a_process(code, **environment):
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=os.environ | environment, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    return ran.stdout


def test_two_devices_that_share_the_rows_train_one_network():
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
    run_in_a_process(SHARDED, XLA_FLAGS=flags, JAX_PLATFORMS="cpu")


# ---- under the user's JAX settings


def under(setting):
    stack = contextlib.ExitStack()
    match setting:
        case "debug_nans":
            stack.enter_context(jax.debug_nans(True))
        case "x64":
            stack.enter_context(jax.enable_x64(True))
        case "strict promotion":
            stack.enter_context(jax.numpy_dtype_promotion("strict"))
        case "rank promotion":
            stack.enter_context(jax.numpy_rank_promotion("raise"))
        case "rbg":
            stack.enter_context(jax.default_prng_impl("rbg"))
    return stack


SETTINGS = ["debug_nans", "x64", "strict promotion", "rank promotion", "rbg"]


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(
    "changes",
    [{}, {"dropout": 0.3, "patience": 2, "validation": 0.2}, {"initial_scale": "article"},
     {"optimizer": "adam", "schedule": "one_cycle", "weight_decay": 0.1, "clip_norm": 1.0}],
    ids=["plain", "dropout", "article", "adam"],
)  # fmt: skip
def test_recipes_train_under(setting, changes):
    from mlpax.data.dataset import Dataset
    from mlpax.model.fit_model import fit_model

    dataset = Dataset("own", X, Y, X[:8], Y[:8], classes=("a", "b", "c"))
    recipe = mlpax.Recipe(batch_size=16, epochs=13, hidden=(5,), **changes)
    plain, expected = fit_model(dataset, recipe)
    with under(setting):
        model, history = fit_model(dataset, recipe)
        probabilities = model.predict_proba(X)
        on_device = dataclasses.replace(model, device="cpu").predict_proba(X)
    assert [record["loss"] for record in history] == pytest.approx([r["loss"] for r in expected], rel=1e-3)
    np.testing.assert_allclose(probabilities, plain.predict_proba(X), atol=1e-3)
    np.testing.assert_allclose(on_device, probabilities, atol=1e-4)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(
    "options",
    [{}, {"solver": "sgd", "learning_rate": "adaptive"}, {"early_stopping": True}, {"solver": "lbfgs"},
     {"dropout": 0.2, "solver": "adamw"}, {"dtype": "float64"}],
    ids=["adam", "sgd", "early", "lbfgs", "adamw", "float64"],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_estimators_train_under(setting, options):
    def fitted():
        return mlpax.MLPClassifier((5,), max_iter=13, random_state=0, **options).fit(X, Y)

    expected = fitted()
    with under(setting):
        model = fitted()
        found = model.predict_proba(X)
    np.testing.assert_allclose(found, expected.predict_proba(X), atol=1e-3)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_regressions_train_under(setting):
    """Several outputs, R², and Poisson's deviance."""
    targets = np.abs(X[:, :2])

    def fitted(loss):
        model = mlpax.MLPRegressor(loss, (5,), max_iter=13, random_state=0)
        return model.fit(X, targets, X_val=X[:9], y_val=targets[:9])

    for loss in ("squared_error", "poisson"):
        expected = fitted(loss)
        with under(setting):
            model = fitted(loss)
            found = model.predict(X)
        np.testing.assert_allclose(found, expected.predict(X), atol=1e-3)
        assert model.validation_scores_ == pytest.approx(expected.validation_scores_, rel=1e-3)


def test_programs_of_many_shapes_are_let_go():
    """Each takes some MB, and a process that fits many data sets kept them all."""
    double = jax.jit(lambda x: 2 * x)
    for n in range(1, PROGRAMS + 1):
        double(np.zeros(n, np.float32))
        let_go(double)
    assert double._cache_size() == PROGRAMS  # a search over fewer never compiles twice
    double(np.zeros(1000, np.float32))
    let_go(double)
    assert double._cache_size() == 0
