"""Losses and metrics, at their public path."""

from mlpax.engine.xla.losses import LOSSES, METRICS, Objective, dense_objective

__all__ = ["LOSSES", "METRICS", "Objective", "dense_objective"]
