"""The choice among optax's update rules and learning-rate schedules."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from mlpax.recipes import Hyper, Recipe

__all__ = ["TICKS", "optimizer", "plateau", "schedule"]

TICKS = 1_000_000  # a run on the schedule's clock: its true length in steps stays traced


def optimizer(recipe: Recipe, rate: Any, hyper: Hyper) -> optax.GradientTransformationExtraArgs:
    """optax's update rule at this step's rate."""
    decays = partial(jax.tree.map, lambda p: jnp.ndim(p) > 1)  # weights, not biases
    rule = {
        "sgd": lambda: optax.sgd(rate),
        "momentum": lambda: optax.sgd(rate, hyper.momentum),
        "nesterov": lambda: optax.sgd(rate, hyper.momentum, nesterov=True),
        "adam": lambda: optax.adam(rate, hyper.beta_1, hyper.beta_2, hyper.epsilon),
        "adamw": lambda: optax.adamw(
            rate, hyper.beta_1, hyper.beta_2, hyper.epsilon, weight_decay=hyper.weight_decay, mask=decays
        ),
        "lion": lambda: optax.lion(
            rate, hyper.beta_1, hyper.beta_2, weight_decay=hyper.weight_decay, mask=decays
        ),
        "rmsprop": lambda: optax.rmsprop(rate, hyper.beta_2, hyper.epsilon),
    }[recipe.optimizer]()
    if recipe.optimizer not in ("adamw", "lion"):  # which decay the weights themselves, apart from the rate
        rule = optax.chain(optax.add_decayed_weights(hyper.weight_decay, decays), rule)
    if hyper.clip_norm is not None:
        rule = optax.chain(optax.clip_by_global_norm(hyper.clip_norm), rule)
    return optax.with_extra_args_support(rule)


def schedule(recipe: Recipe) -> optax.Schedule:
    """optax's schedule of the rate's factor, 0 to 1, on a clock of `TICKS` a run."""
    warmup = int(recipe.warmup * TICKS)
    rise = optax.linear_schedule(0.0, 1.0, warmup)
    match recipe.schedule:
        case "linear":
            return optax.join_schedules([rise, optax.linear_schedule(1.0, 0.0, TICKS - warmup)], [warmup])
        case "cosine":
            return optax.join_schedules([rise, optax.cosine_decay_schedule(1.0, TICKS - warmup)], [warmup])
        case "one_cycle":
            return optax.cosine_onecycle_schedule(TICKS, 1.0, max(recipe.warmup, 2 / TICKS))
        case "cosine_log":  # four waves, each twice as long as the one before (Holzmüller et al. 2024)
            return lambda t: 0.5 - 0.5 * jnp.cos(2 * jnp.pi * jnp.log2(1 + 15 * t / TICKS))
        case "constant" | "plateau":
            return optax.constant_schedule(1.0)


def plateau() -> optax.GradientTransformationExtraArgs:
    return optax.contrib.reduce_on_plateau(factor=0.5, patience=3, rtol=0.0, atol=1e-8)
