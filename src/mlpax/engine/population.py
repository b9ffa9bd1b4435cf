"""The host's loop over the epochs of networks that answer together, on either backend."""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from mlpax.engine.plan import Hyper, Plan
from mlpax.engine.state import Joint, State, diverged
from mlpax.engine.stopping import due
from mlpax.errors import DivergedError

__all__ = ["Record", "Run", "divergence", "epochs", "hypers_of", "live", "lost_members"]

Record = dict[str, float]  # one epoch's row of metrics.csv, in its column order
Run = Callable[[State, int], Joint]  # runs up to so many epochs of all members


def epochs(state: State, plan: Plan, hyper: Hyper, run: Run) -> Iterator[tuple[State, list[Record]]]:
    """Train an ensemble from a state to the end of its last member, and yield between calls of `run`.

    Parameters
    ----------
    state : State
        Of a population.
    plan : Plan
    hyper : Hyper
        Of numbers, or of arrays of shape (members,).
    run : callable
        A backend's.

    Yields
    ------
    state : State
        After the epochs just run. A member whose loss was not finite is marked, see `state.diverged`.
    records : list of dict
        The figures are those of the members together, as they would be kept now; members that have diverged
        are left out. `loss` is the mean of the members that were trained in the epoch. If a figure of
        validation rows is monitored, `members_<figure>` and `spread_<figure>` are its mean and standard
        deviation over the members, each as it would be kept now.

    Raises
    ------
    DivergedError
        After yielding, when all members have diverged.
    """
    hypers, loss = hypers_of(hyper, len(state.epoch)), 0.0
    while live(state, hypers, plan):
        done = int(np.max(np.asarray(state.epoch)))
        state, losses, held, figures, seconds = run(state, max(hyper.epochs for hyper in hypers) - done)
        records: list[Record] = []
        for e, of_members in enumerate(losses):
            finite = of_members[np.isfinite(of_members)]
            loss = float(finite.mean()) if finite.size else math.inf
            record = {"epoch": done + 1 + e, "loss": loss}
            record |= {name: float(figures[name][e, 0]) for name in plan.figures}
            if plan.monitor.startswith("valid_"):
                record |= _over_members(plan.monitor, held[e][np.isfinite(held[e])])
            records.append(record | {"seconds": seconds / len(losses)})
            if not finite.size:
                break
        yield state, records
    if diverged(state).all():
        raise divergence("the loss of every member", loss, int(np.max(np.asarray(state.epoch))), hyper)


def _over_members(name: str, held: np.ndarray) -> Record:
    """Return the mean and the standard deviation of a figure over the members; infinite if there is none."""
    if not held.size:
        return {f"members_{name}": math.inf, f"spread_{name}": math.inf}
    return {f"members_{name}": held.mean().item(), f"spread_{name}": held.std().item()}


def live(state: State, hypers: Sequence[Hyper], plan: Plan) -> list[int]:
    """Return the members whose training has not ended."""
    each = zip(np.asarray(state.epoch), np.asarray(state.watch.stopped), hypers, strict=True)
    return [
        k for k, (epoch, stopped, own) in enumerate(each) if due(int(epoch), bool(stopped), 0.0, own, plan)
    ]


def hypers_of(hyper: Hyper, members: int) -> list[Hyper]:
    """Return each member's numbers."""
    values = [np.asarray(value).tolist() if np.ndim(value) else [value] * members for value in hyper]
    return [Hyper(*own) for own in zip(*values, strict=True)]


def lost_members(state: State) -> str:
    """Return a line about the members that have diverged; empty if none or all have, or for one network."""
    if not np.ndim(state.epoch) or not 0 < (lost := int(diverged(state).sum())) < len(state.epoch):
        return ""
    return f"{lost} of {len(state.epoch)} members diverged; the others answer without them"


def divergence(what: str, loss: float, epoch: int, hyper: Hyper) -> DivergedError:
    """Return the error of a loss that is not finite."""
    rate = float(np.max(hyper.learning_rate))
    return DivergedError(
        f"{what} became {loss} in epoch {epoch} at a learning rate of {rate:g};"
        f" try {rate / 10:g}, or clip_norm=1"
    )
