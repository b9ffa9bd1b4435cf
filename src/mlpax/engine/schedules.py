"""The course of the learning rate, for NumPy and for JAX."""

from typing import TYPE_CHECKING, Any

from mlpax.engine.plan import Hyper, Plan

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["schedule"]

Numbers = Any  # a number or an array, of NumPy or of JAX


def schedule(plan: Plan, hyper: Hyper, t: "Numbers", xp: "ModuleType") -> "Numbers":
    """Return the learning rate's factor, 0 to 1, at share `t` of the run.

    - "constant", "plateau", "adaptive", "invscaling": 1. The last three change the rate from epoch to epoch,
      by `stopping.follow` and the epoch.
    - "linear", "cosine": up from 0 over `warmup`, then down to 0, straight or as half a cosine wave.
    - "one_cycle": by half waves from 1/25 up to 1 over `warmup`, then down to 1/250,000 (Smith & Topin 2018).
    - "cosine_log": four waves, each twice as long as the one before (Holzmüller et al. 2024).

    `t` and what is returned are numbers or arrays, of NumPy or of JAX as `xp` says.
    """
    if plan.schedule in ("constant", "plateau", "adaptive", "invscaling"):
        return 1.0
    tiny = xp.finfo(xp.float32).tiny
    warmup = xp.maximum(hyper.warmup, 1e-6 if plan.schedule == "one_cycle" else 0)  # which begins low
    falling = xp.clip((t - warmup) / xp.maximum(1 - warmup, tiny), 0, 1)  # share of the way down
    rising = xp.minimum(t / xp.maximum(warmup, tiny), 1)  # of the way up
    match plan.schedule:
        case "linear":
            return xp.where(t < warmup, rising, 1 - falling)
        case "cosine":
            return xp.where(t < warmup, rising, _half_wave(falling, xp))
        case "one_cycle":
            low, last = 1 / 25, 1 / 25 / 1e4
            up = low + (1 - low) * (1 - _half_wave(rising, xp))
            return xp.where(t < warmup, up, last + (1 - last) * _half_wave(falling, xp))
        case _:  # cosine_log
            return 0.5 - 0.5 * xp.cos(2 * xp.pi * xp.log2(1 + 15 * t))


def _half_wave(share: "Numbers", xp: "ModuleType") -> "Numbers":
    """From 1 down to 0."""
    return 0.5 + 0.5 * xp.cos(xp.pi * share)
