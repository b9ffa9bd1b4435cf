"""The update rule of a plan, from optax's transformations, and the course of the learning rate."""

from functools import partial

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from mlpax.engine.plan import Hyper, Plan

__all__ = ["adam_hat", "schedule", "update_rule"]

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


def schedule(plan: Plan, hyper: Hyper, t: Scalar) -> Scalar:
    """Return the learning rate's factor, 0 to 1, at share `t` of the run.

    - "constant", "plateau", "adaptive", "invscaling": 1. The last three change the rate from epoch to epoch,
      by `stopping.follow` and `epoch.train_pass`.
    - "linear", "cosine": up from 0 over `warmup`, then down to 0, straight or as half a cosine wave.
    - "one_cycle": by half waves from 1/25 up to 1 over `warmup`, then down to 1/250,000 (Smith & Topin 2018).
    - "cosine_log": four waves, each twice as long as the one before (Holzmüller et al. 2024).
    """
    tiny = jnp.finfo(jnp.float32).tiny
    warmup = jnp.maximum(hyper.warmup, 1e-6 if plan.schedule == "one_cycle" else 0)  # which begins low
    falling = jnp.clip((t - warmup) / jnp.maximum(1 - warmup, tiny), 0, 1)  # share of the way down
    rising = jnp.minimum(t / jnp.maximum(warmup, tiny), 1)  # of the way up
    match plan.schedule:
        case "linear":
            return jnp.where(t < warmup, rising, 1 - falling)
        case "cosine":
            return jnp.where(t < warmup, rising, _half_wave(falling))
        case "one_cycle":
            low, last = 1 / 25, 1 / 25 / 1e4
            up = low + (1 - low) * (1 - _half_wave(rising))
            return jnp.where(t < warmup, up, last + (1 - last) * _half_wave(falling))
        case "cosine_log":
            return 0.5 - 0.5 * jnp.cos(2 * jnp.pi * jnp.log2(1 + 15 * t))
        case _:
            return 1.0


def _half_wave(share: Scalar) -> Array:
    """From 1 down to 0."""
    return 0.5 + 0.5 * jnp.cos(jnp.pi * share)
