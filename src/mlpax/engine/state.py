"""Everything that the next epoch depends on."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlpax.engine.plan import Pytree
from mlpax.engine.stopping import Watch

if TYPE_CHECKING:
    from jax import Array

__all__ = ["DIVERGED", "Joint", "State", "best_epoch", "diverged", "without"]


class State(NamedTuple):
    """Everything that the next epoch depends on, besides data and settings.

    The state of several networks, the members of a population, has all of its arrays with an axis of the
    members before their own.
    """

    params: Pytree
    opt_state: Pytree
    key: "Array"  # (2,) uint32, of the dropout
    step: "Array"  # () updates done
    epoch: "Array"  # () epochs done
    best: Pytree  # parameters of the best epoch, if the plan keeps them
    watch: Watch


class Joint(NamedTuple):
    """Some epochs of a population."""

    state: State
    losses: np.ndarray  # (epochs, members); NaN of who was not trained, infinite of who diverged
    held: np.ndarray  # (epochs, members): the monitored figure as it would be kept; NaN of who diverged
    figures: dict[str, np.ndarray]  # (epochs, ensembles); NaN if all members of one have diverged
    seconds: float


DIVERGED = -1  # as the epochs that a member has waited, if its loss was not finite


def diverged(state: State) -> np.ndarray:
    """Return which members of a population have diverged."""
    return np.asarray(state.watch.waited) == DIVERGED


def without(state: State, members: np.ndarray) -> State:
    """Return the first state of a population with some members marked as diverged: they are not trained."""
    waited: Any = np.where(members, DIVERGED, np.asarray(state.watch.waited)).astype(np.int32)
    stopped: Any = members
    return state._replace(watch=state.watch._replace(waited=waited, stopped=stopped))


def best_epoch(state: State) -> int:
    """Return the epoch of the best figure so far, 0 before the first; of a population, the latest of them."""
    return int(np.max(np.asarray(state.watch.epoch)))
