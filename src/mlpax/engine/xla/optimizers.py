"""The update rule of a plan, from optax's transformations."""

from functools import partial

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from mlpax.engine.plan import Hyper, Plan

__all__ = ["adam_hat", "update_rule"]

Scalar = float | Array
DECOUPLED = ("adamw", "lion")  # they decay the weights themselves, not through the gradient


def adam_hat(beta_1: Scalar, beta_2: Scalar, epsilon: Scalar) -> optax.GradientTransformation:
    """Adam with epsilon outside the bias correction: the end of section 2 of Kingma & Ba 2015."""

    def update(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        assert isinstance(state, optax.ScaleByAdamState)
        t = state.count + 1
        mu = optax.tree.update_moment(updates, state.mu, beta_1, 1)
        nu = optax.tree.update_moment(updates, state.nu, beta_2, 2)
        pace = jnp.sqrt(1 - beta_2 ** (1.0 * t)) / (1 - beta_1 ** (1.0 * t))
        steps = jax.tree.map(lambda m, v: pace * m / (jnp.sqrt(v) + epsilon), mu, nu)
        return steps, optax.ScaleByAdamState(t, mu, nu)

    return optax.GradientTransformation(optax.scale_by_adam().init, update)


def update_rule(plan: Plan, rate: Scalar, hyper: Hyper) -> optax.GradientTransformationExtraArgs:
    """Return optax's update rule for one step at this learning rate.

    Weight decay pulls the weights, not the biases. AdamW and Lion decay the weights themselves (Loshchilov
    & Hutter 2019); the other rules add the decay to the gradient, after clipping.
    """
    if not isinstance(plan.optimizer, str):
        return optax.with_extra_args_support(plan.optimizer)
    rule = _steps(plan, rate, hyper)
    parts = [optax.flatten(rule) if plan.flat else rule]
    decay = [optax.add_decayed_weights(hyper.weight_decay, _weights)] if plan.decay else []
    if plan.optimizer in DECOUPLED:
        parts += [*decay, optax.scale(-1.0 * rate)]
    else:
        parts = decay + parts
    if plan.clipping:
        parts = [optax.clip_by_global_norm(hyper.clip_norm), *parts]
    return optax.with_extra_args_support(optax.chain(*parts))


_weights = partial(jax.tree.map, lambda p: jnp.ndim(p) > 1)


def _steps(plan: Plan, rate: Scalar, hyper: Hyper) -> optax.GradientTransformation:
    """What the gradient becomes; of the rules that decay by themselves, before the rate."""
    pace = optax.scale(-1.0 * rate)
    adam = adam_hat if plan.epsilon_hat else optax.scale_by_adam
    match plan.optimizer:
        case "sgd":
            return pace
        case "momentum" | "nesterov":
            velocity = optax.trace(hyper.momentum, plan.optimizer == "nesterov")
            return optax.chain(pace, velocity) if plan.sums_steps else optax.chain(velocity, pace)
        case "adam":
            return optax.chain(adam(hyper.beta_1, hyper.beta_2, hyper.epsilon), pace)
        case "adamw":
            return adam(hyper.beta_1, hyper.beta_2, hyper.epsilon)
        case "lion":
            return optax.scale_by_lion(hyper.beta_1, hyper.beta_2)
        case "rmsprop":
            return optax.chain(optax.scale_by_rms(hyper.beta_2, hyper.epsilon), pace)
        case other:
            raise AssertionError(other)
