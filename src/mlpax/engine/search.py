"""Candidates trained side by side, so that the best of them get the most epochs."""

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import numpy as np

from mlpax.engine import training
from mlpax.engine.plan import Hyper
from mlpax.engine.population import hypers_of, live
from mlpax.engine.rows import Data, Orders
from mlpax.engine.state import Joint, State
from mlpax.engine.training import Training
from mlpax.engine.trees import leaves, mapped, member, stacked

__all__ = ["KEEP", "Candidate", "Outcome", "Race", "rungs_of"]

KEEP = 3  # one in so many candidates goes on at a rung


class Candidate(NamedTuple):
    """A network, or an ensemble, that is compared with others."""

    start: Callable[[], State]  # returns the state before the first epoch
    data: Data
    valid: Data | None
    training: Training  # of this candidate alone
    order: Hashable  # candidates of equal ones see the rows in the same order


@dataclass
class Outcome:
    """What is known of a candidate.

    Attributes
    ----------
    monitor : str
        The figure that candidates are compared by.
    curve : list of dict
        Of each epoch: `loss`, and the plan's figures as they would be if the training ended there.
    seconds : float
        Its share of the time of the calls that trained it.
    state : State, optional
        After its last epoch, on the host.
    """

    monitor: str
    curve: list[dict[str, float]] = field(default_factory=list[dict[str, float]])
    seconds: float = 0.0
    state: State | None = None

    @property
    def score(self) -> float:
        """The monitored figure so far; NaN before the first epoch, and if it has diverged."""
        found = self.curve[-1][self.monitor] if self.curve else math.nan
        return found if math.isfinite(found) else math.nan


class Race:
    """Candidates that are trained side by side, all of them or some at a time.

    Those that share rows, plan and shapes are one population. The figures of a candidate are those it would
    have alone: natively to the bit, by XLA within rounding.

    Parameters
    ----------
    candidates : sequence of Candidate

    Attributes
    ----------
    candidates
    outcomes : list of Outcome
        One for each candidate.
    """

    def __init__(self, candidates: Sequence[Candidate]):
        self.candidates = candidates
        self.outcomes = [Outcome(candidate.training.plan.monitor) for candidate in candidates]

    def run(self, share: float = 1.0, numbers: Iterable[int] | None = None) -> Iterator[None]:
        """Train candidates to a share of their epochs, and yield after each call of the program.

        Parameters
        ----------
        share : float in (0, 1], default 1
        numbers : iterable of int, optional
            Which candidates; by default all. Each goes on where it was left.
        """
        groups: dict[Hashable, list[int]] = {}
        for number in range(len(self.candidates)) if numbers is None else numbers:
            groups.setdefault(self._kind(number), []).append(number)
        for group in groups.values():
            yield from self._run(group, share)

    def _kind(self, number: int) -> Hashable:
        """Return what candidates share that can be one population."""
        candidate, outcome = self.candidates[number], self.outcomes[number]
        if outcome.state is None:
            outcome.state = candidate.start()
        _, data, valid, how, _ = candidate
        shapes = tuple(np.shape(array) for array in leaves(outcome.state.params))
        same = id(data), id(valid), how.plan, how.backend, how.threads, how.members, how.hyper.epochs
        return *same, how.orders is None, shapes, int(np.max(outcome.state.epoch))

    def _run(self, numbers: list[int], share: float) -> Iterator[None]:
        """Train candidates of one kind."""
        own = [self.candidates[k] for k in numbers]
        first, members = own[0], own[0].training.members
        hyper = _stacked(own)
        every = {"orders": _orders_of(own), "members": members * len(own), "ensembles": len(own)}
        how = first.training._replace(hyper=hyper, **every)
        states = [cast(State, self.outcomes[k].state) for k in numbers]
        states = states if members > 1 else [stacked([state]) for state in states]
        state = mapped(lambda *arrays: np.concatenate(arrays), *states)
        hypers, run = hypers_of(hyper, how.members), None
        end = math.ceil(share * hypers[0].epochs - 1e-9)  # a third of 9 is 3
        while (done := int(np.max(np.asarray(state.epoch)))) < end and live(state, hypers, how.plan):
            run = run or training.together(state, first.data, first.valid, how)
            joint = run(state, end - done)
            state = joint.state
            self._write(joint, numbers, members)
            yield
        state = mapped(np.asarray, state)
        for i, k in enumerate(numbers):
            part = slice(i * members, (i + 1) * members)
            self.outcomes[k].state = (
                member(state, i) if members == 1 else mapped(lambda a, of=part: a[of], state)
            )

    def _write(self, joint: Joint, numbers: list[int], members: int) -> None:
        """Write the figures of some epochs to the candidates that were trained in them."""
        losses = joint.losses.reshape(len(joint.losses), len(numbers), members)
        trained = np.logical_not(np.isnan(losses).all(axis=2))
        for e, k in np.argwhere(trained):
            finite = losses[e, k][np.isfinite(losses[e, k])]
            loss = float(finite.mean()) if finite.size else math.inf
            figures = {name: float(values[e, k]) for name, values in joint.figures.items()}
            self.outcomes[numbers[k]].curve.append({"loss": loss, **figures})
        some = np.flatnonzero(trained.any(axis=0))
        for k in some:
            self.outcomes[numbers[k]].seconds += joint.seconds / len(some)


def _stacked(candidates: Sequence[Candidate]) -> Hyper:
    """Return the numbers of all members."""
    data, how = candidates[0].data, candidates[0].training
    dtype = np.float64 if how.backend == "native" else data.weight.dtype
    kinds = [np.int32 if name == "epochs" else dtype for name in Hyper._fields]
    columns = zip(*(candidate.training.hyper for candidate in candidates), strict=True)
    each: Any = (
        np.repeat(np.asarray(column, kind), how.members) for column, kind in zip(columns, kinds, strict=True)
    )
    return Hyper(*each)


def _orders_of(candidates: Sequence[Candidate]) -> Orders | None:
    """Return the orders of the rows: one for all, or one for each member."""
    every = [orders for candidate in candidates if (orders := candidate.training.orders)]
    if not every:
        return None
    shared = len({candidate.order for candidate in candidates}) == 1
    members = candidates[0].training.members

    def drawn(done: int, count: int) -> np.ndarray:
        found = [own(done, count) for own in (every[:1] if shared else every)]
        if shared and found[0].ndim == 2:
            return found[0]
        each = [own[:, None].repeat(members, axis=1) if own.ndim == 2 else own for own in found]
        return np.concatenate(each * len(every) if shared else each, axis=1)

    return drawn


def rungs_of(candidates: int, least: int = KEEP) -> tuple[float, ...]:
    """Return the shares of the epochs after which the worse candidates should be left behind.

    A third of them goes on, for three times the epochs (successive halving, Jamieson & Talwalkar 2016), until
    at most `least` are left.
    """
    rungs, left = 0, candidates
    while left > least:
        rungs, left = rungs + 1, math.ceil(left / KEEP)
    return tuple(KEEP**-k for k in range(rungs, 0, -1))
