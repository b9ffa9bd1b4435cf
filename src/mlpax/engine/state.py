"""Everything that the next epoch depends on."""

from typing import TYPE_CHECKING, NamedTuple

from mlpax.engine.plan import Pytree
from mlpax.engine.stopping import Watch

if TYPE_CHECKING:
    from jax import Array

__all__ = ["State"]


class State(NamedTuple):
    """Everything that the next epoch depends on, besides data and settings."""

    params: Pytree
    opt_state: Pytree
    key: "Array"  # (2,) uint32, of the dropout
    step: "Array"  # () updates done
    epoch: "Array"  # () epochs done
    best: Pytree  # parameters of the best epoch, if the plan keeps them
    watch: Watch
