"""Update rules against their formulas in float64 NumPy, and the courses of the learning rate."""

import dataclasses
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlpax import recipes
from mlpax.engine.plan import Hyper, Plan, hyper_of, plan_of
from mlpax.engine.schedules import schedule
from mlpax.engine.xla.optimizers import adam_hat, update_rule
from mlpax.recipes import Recipe

RATE, MOMENTUM, BETA_1, BETA_2, EPSILON = 0.1, 0.8, 0.7, 0.9, 0.01
RNG = np.random.default_rng(0)
PARAMS = {"W": RNG.normal(size=(2, 3)), "b": RNG.normal(size=3)}
GRADIENTS = [{"W": RNG.normal(size=(2, 3)), "b": RNG.normal(size=3)} for _ in range(3)]


def f32(tree):
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), tree)


def rule_of(recipe, rate=RATE, hyper=None, **changes):
    plan = dataclasses.replace(plan_of(recipe, "dense", (), validated=False), **changes)
    return update_rule(plan, rate, hyper or hyper_of(recipe))


def steps(recipe, gradients=GRADIENTS):
    """The parameters after each step under these gradients."""
    params, rule = f32(PARAMS), rule_of(recipe)
    state = rule.init(params)
    for gradient in gradients:
        updates, state = rule.update(f32(gradient), state, params)
        params = jax.tree.map(jnp.add, params, updates)
        yield params


# Each rule by its paper's formula: f(p, g, t, memory) -> p, memory starting as zeros.


def sgd(p, g, t, m):
    return p - RATE * g


def momentum(p, g, t, m):
    m["v"] = MOMENTUM * m["v"] + g
    return p - RATE * m["v"]


def nesterov(p, g, t, m):
    m["v"] = MOMENTUM * m["v"] + g
    return p - RATE * (g + MOMENTUM * m["v"])


def adam(p, g, t, m):
    m["m"] = BETA_1 * m["m"] + (1 - BETA_1) * g
    m["v"] = BETA_2 * m["v"] + (1 - BETA_2) * g**2
    return p - RATE * m["m"] / (1 - BETA_1**t) / (np.sqrt(m["v"] / (1 - BETA_2**t)) + EPSILON)


def lion(p, g, t, m):
    step = np.sign(BETA_1 * m["m"] + (1 - BETA_1) * g)
    m["m"] = BETA_2 * m["m"] + (1 - BETA_2) * g
    return p - RATE * step


def rmsprop(p, g, t, m):
    m["v"] = BETA_2 * m["v"] + (1 - BETA_2) * g**2
    return p - RATE * g / np.sqrt(m["v"] + EPSILON)


FORMULAS = {
    "sgd": sgd,
    "momentum": momentum,
    "nesterov": nesterov,
    "adam": adam,
    "adamw": adam,
    "lion": lion,
    "rmsprop": rmsprop,
}
DECOUPLED = {"adamw", "lion"}  # their decay acts on the weights themselves, not through the gradient


def recipe_of(name, **changes):
    settings = {"momentum": MOMENTUM, "beta_1": BETA_1, "beta_2": BETA_2, "epsilon": EPSILON}
    return Recipe(optimizer=name, **settings, **changes)


@pytest.mark.parametrize("decay", [0.0, 0.2])
@pytest.mark.parametrize("name", FORMULAS)
def test_three_steps_by_the_formula(name, decay):
    """With decay, the weights are pulled to 0 and the biases are not."""
    expected = {k: p.copy() for k, p in PARAMS.items()}
    memory = {k: {"m": np.zeros_like(p), "v": np.zeros_like(p)} for k, p in PARAMS.items()}
    for t, params in enumerate(steps(recipe_of(name, weight_decay=decay)), start=1):
        for k, p in expected.items():
            pull = decay * p if k == "W" else 0
            g = GRADIENTS[t - 1][k] + (0 if name in DECOUPLED else pull)
            expected[k] = FORMULAS[name](p, g, t, memory[k]) - (RATE * pull if name in DECOUPLED else 0)
            np.testing.assert_allclose(params[k], expected[k], rtol=1e-5, atol=1e-6)


def test_every_optimizer_has_its_formula():
    assert set(FORMULAS) == set(get_args(recipes.Optimizer))


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_clipping_bounds_the_global_norm(factor):
    """Over all parameters together: longer gradients are shortened to it, shorter ones left alone."""
    gradient = GRADIENTS[0]
    norm = np.sqrt(sum(np.sum(g**2) for g in gradient.values()))
    (params,) = steps(recipe_of("sgd", clip_norm=factor * norm), [gradient])
    for k, p in PARAMS.items():
        np.testing.assert_allclose(params[k], p - RATE * min(1, factor) * gradient[k], rtol=1e-5, atol=1e-6)


def test_clipping_comes_before_the_decay():
    """It is the loss's gradient that is clipped, not the pull to 0."""
    gradient = GRADIENTS[0]
    norm = np.sqrt(sum(np.sum(g**2) for g in gradient.values()))
    (params,) = steps(recipe_of("sgd", clip_norm=norm / 4, weight_decay=0.3), [gradient])
    expected = PARAMS["W"] - RATE * (gradient["W"] / 4 + 0.3 * PARAMS["W"])
    np.testing.assert_allclose(params["W"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", FORMULAS)
def test_rate_and_settings_may_be_traced(name):
    """And the state begun outside the program is the one the program goes on with."""
    recipe = recipe_of(name, weight_decay=0.2, clip_norm=1.0)
    params, gradient = f32(PARAMS), f32(GRADIENTS[0])
    state = rule_of(recipe).init(params)

    @jax.jit
    def step(rate, hyper, state):
        return rule_of(recipe, rate, hyper).update(gradient, state, params)

    traced, after = step(RATE, hyper_of(recipe), state)
    plain, _ = rule_of(recipe).update(gradient, state, params)
    for one, other in zip(jax.tree.leaves(traced), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
    assert jax.tree.map(jnp.result_type, after) == jax.tree.map(jnp.result_type, state)


# ---- scikit-learn's rules


def test_adam_with_epsilon_outside_is_the_papers():
    rule = adam_hat(0.8, 0.9, 0.05)
    state, m, v = rule.init({"a": np.zeros(3, np.float32)}), 0.0, 0.0
    for t in range(1, 5):
        g = RNG.normal(size=3).astype(np.float32)
        m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g**2
        steps, state = rule.update({"a": g}, state)
        expected = np.sqrt(1 - 0.9**t) / (1 - 0.8**t) * m / (np.sqrt(v) + 0.05)
        np.testing.assert_allclose(steps["a"], expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["momentum", "nesterov"])
def test_summed_steps_remember_the_rates_they_were_made_with(name):
    """scikit-learn's velocity holds steps, so a lower rate slows only the new ones."""
    recipe, velocity = recipe_of(name), np.zeros((2, 3))
    state = rule_of(recipe, sums_steps=True).init(f32(PARAMS))
    for gradient, rate in zip(GRADIENTS, (0.1, 0.02, 0.02), strict=True):
        rule = rule_of(recipe, rate, sums_steps=True)
        updates, state = rule.update(f32(gradient), state, f32(PARAMS))
        velocity = MOMENTUM * velocity - rate * gradient["W"]
        expected = MOMENTUM * velocity - rate * gradient["W"] if name == "nesterov" else velocity
        np.testing.assert_allclose(updates["W"], expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["nesterov", "adam", "adamw"])
def test_one_vector_of_all_parameters_takes_the_same_steps(name):
    recipe, params = recipe_of(name, weight_decay=0.2), f32(PARAMS)
    whole, flat = (rule_of(recipe, flat=flat) for flat in (False, True))
    one, other = (rule.update(f32(GRADIENTS[0]), rule.init(params), params)[0] for rule in (whole, flat))
    for key in PARAMS:
        np.testing.assert_allclose(one[key], other[key], rtol=1e-6)


# ---- schedules


def course_of(name, warmup=0.0, **numbers):
    """The rate's factor as a function of the share of the run."""
    hyper = Hyper(warmup=warmup, **numbers)
    return lambda t: schedule(Plan(schedule=name), hyper, t, jnp)


def test_cosine_log_is_four_waves_each_twice_as_long():
    factor = course_of("cosine_log")
    for zero in (0, 1, 3, 7, 15):
        assert float(factor(jnp.float32(zero / 15))) == pytest.approx(0, abs=1e-5)
    for peak in (1, 3, 7, 15):  # half an octave on
        share = (2 ** (np.log2(peak + 1) - 0.5) - 1) / 15
        assert float(factor(jnp.float32(share))) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "warmup", "course"),  # {share of the run: factor of the peak rate}
    [
        ("constant", 0.25, {0: 1, 0.1: 1, 0.5: 1, 1: 1}),  # warm-up is not of it, nor of plateau
        ("plateau", 0.25, {0: 1, 0.1: 1, 0.5: 1, 1: 1}),
        ("linear", 0.25, {0: 0, 0.125: 0.5, 0.25: 1, 0.625: 0.5, 1: 0}),
        ("linear", 0.0, {0: 1, 0.25: 0.75, 1: 0}),
        ("cosine", 0.2, {0: 0, 0.1: 0.5, 0.2: 1, 0.6: 0.5, 0.4: (1 + np.cos(np.pi / 4)) / 2, 1: 0}),
        ("cosine", 0.0, {0: 1, 0.5: 0.5, 1: 0}),
        ("one_cycle", 0.3, {0: 1 / 25, 0.15: (1 + 1 / 25) / 2, 0.3: 1, 0.65: 0.5, 1: 0}),
        ("one_cycle", 0.0, {0: 1 / 25, 0.5: 0.5, 1: 0}),
    ],
)
def test_course_of_the_rate(name, warmup, course):
    factor = course_of(name, warmup)
    for share, expected in course.items():
        assert factor(jnp.float32(share)) == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("warmup", [0.0, 1e-7, 0.999])
@pytest.mark.parametrize("name", ["linear", "cosine", "one_cycle"])
def test_factor_stays_within_0_and_1(name, warmup):
    factor = course_of(name, warmup)
    factors = np.asarray(jax.jit(jax.vmap(factor))(jnp.linspace(0, 1, 1001)))
    assert np.all((factors >= 0) & (factors <= 1 + 1e-6))
    assert factors.max() == pytest.approx(1, abs=0.01)
