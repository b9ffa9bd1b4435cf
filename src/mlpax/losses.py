"""Losses and metrics, at their public path."""

from mlpax.engine.plan import Objective
from mlpax.engine.xla.losses import LOSSES, METRICS
from mlpax.engine.xla.objective import dense_objective

__all__ = ["LOSSES", "METRICS", "Objective", "dense_objective"]
