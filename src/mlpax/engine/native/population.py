"""Epochs of several networks by the native library: each by one thread, which waits for no other."""

import ctypes
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import numpy as np

from mlpax.engine import population, stopping
from mlpax.engine.metrics import joined, measure
from mlpax.engine.native import library
from mlpax.engine.native.epoch import (
    WAITED,
    Rows,
    copied,
    followed,
    in_units,
    learned,
    measured_rows,
    rates_of,
)
from mlpax.engine.native.library import Fit, Params, Trained
from mlpax.engine.plan import Hyper, Plan, direction
from mlpax.engine.rows import Data, Orders
from mlpax.engine.state import DIVERGED, Joint, State, diverged
from mlpax.engine.stopping import Watch
from mlpax.engine.trees import mapped, member
from mlpax.engine.waiting import heard

__all__ = ["Population", "population_of"]

ROOM = 2**26  # bytes of the parameters and answers that a call returns
CALL = 1e10  # floating-point operations of a thread: a few tenths of a second


def population_of(
    data: Data,
    valid: Data | None,
    plan: Plan,
    hyper: Hyper,
    orders: Orders | None,
    state: State,
    most_threads: int | None = None,
    ensembles: int = 1,
) -> "Population":
    """Return the function that runs up to so many epochs from a population's state.

    Parameters
    ----------
    data, valid : Data
        Rows of all members.
    plan : Plan
    hyper : Hyper
        Of numbers, or of arrays of shape (members,).
    orders : callable, optional
        What it returns may have an axis of the members after that of the epochs.
    state : State
        Any state of the population.
    most_threads : int, optional
    ensembles : int, default 1
        How many the members make up, as many members each.
    """
    params, hypers = cast(Params, member(state.params, 0)), population.hypers_of(hyper, len(state.epoch))
    threads = most_threads or library.available()
    fit = library.fit_of(learned(data, params), plan, hypers[0], params, 0, 1)
    of_valid = partial(library.fit_of, plan=plan, hyper=hypers[0], params=params, seed=0, threads=threads)
    measured = measured_rows(data, valid, plan, fit, lambda rows: of_valid(learned(rows, params)))
    seeds = np.asarray(state.key).view(np.uint32)[:, 1].tolist()
    settings = [library.settings_of(plan, h, seed) for h, seed in zip(hypers, seeds, strict=True)]
    fits = [fit._replace(settings=own) for own in settings]
    return Population(data, plan, hypers, orders, fits, measured, threads, ensembles)


@dataclass
class Population:
    """Members that share rows and plan, and what is known of them from call to call."""

    data: Data
    plan: Plan
    hypers: Sequence[Hyper]
    orders: Orders | None
    fits: list[Fit]
    measured: dict[str, Rows]
    threads: int
    ensembles: int = 1
    # Of each part, (members, rows, outputs): what the members answer that would be kept now.
    answers: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])

    def __call__(self, state: State, due: int) -> Joint:
        """Run up to so many epochs, fewer if the stopping rule may end a member's training before."""
        if not self.answers:
            self.answers = self._kept_so_far(state)
        live = population.live(state, self.hypers, self.plan)
        count = self._count(state, live, due)
        started = time.perf_counter()
        before, (state, found) = state, self._trained(state, live, count)
        seconds = time.perf_counter() - started
        losses, figures = self._figures(state, found, live)
        state, held, answers = self._followed(before, state, found, losses, figures, live)
        self.answers = {part: every[:, -1] for part, every in answers.items()}
        return Joint(state, losses, held, self._of_ensembles(state, answers, ~np.isnan(held)), seconds)

    def _kept_so_far(self, state: State) -> dict[str, np.ndarray]:
        """Return the answers of the parameters that would be kept: of a state that a run goes on from."""
        best = [self.plan.answers_with_best and epoch > 0 for epoch in np.asarray(state.watch.epoch)]
        kept = [cast(Params, member(state.best if b else state.params, k)) for k, b in enumerate(best)]
        return {
            part: np.stack([library.outputs(params, rows.fit, rows.counted) for params in kept])
            for part, rows in self.measured.items()
        }

    def _count(self, state: State, live: list[int], due: int) -> int:
        """Return how many epochs share a call: none of them can end a training, but the last."""
        numbers = sum(p.size for p in library.trained_arrays(cast(Params, member(state.params, 0))))
        numbers += sum(answers[0].size for answers in self.answers.values())
        most = int(max(1, min(ROOM / (4 * numbers * len(live)), CALL / self._work(state, len(live)))))
        if self.plan.schedule in ("plateau", "adaptive"):  # the rate changes by the figures
            most = 1
        for k in live:
            left = self.hypers[k].epochs - int(state.epoch[k])
            due = min(due, most, left, stopping.sure(_watch(state, k), self.hypers[k], self.plan))
        return due

    def _work(self, state: State, members: int) -> float:
        """Return the floating-point operations of a thread in an epoch."""
        weights = sum(W[0].size for W, _ in library.layers_of(cast(Params, state.params)))
        return 6.0 * int(self.data.n) * weights * math.ceil(members / self.threads)

    def _trained(self, state: State, live: list[int], count: int) -> tuple[State, Trained]:
        """Run epochs from a state, which stays as it is; return the state after them."""
        params, moments = copied(cast(Params, state.params)), copied(cast(Params, state.opt_state))
        step, epoch, rate = (np.array(a) for a in (state.step, state.epoch, state.watch.rate))
        order = self.orders(int(np.max(epoch)), count) if self.orders else None
        members: list[Any] = []
        for k in live:
            rates, factors = rates_of(member(state, k), count, self.data, self.hypers[k], self.plan)
            rows = order if order is None or order.ndim == 2 else order[:, k]
            members.append((member(params, k), member(moments, k), self.fits[k], rows, rates, int(step[k])))
            step[k] += count * int(self.data.steps)
            epoch[k] += count
            rate[k] = factors[count]
        stop = ctypes.c_int32(0)
        measured = [(rows.fit, rows.counted) for rows in self.measured.values()]
        train = partial(
            library.train_members, members, measured, self.threads, stop, keeps=self.plan.keeps_best
        )
        waits = count * self._work(state, len(live)) > WAITED
        found = heard(train, lambda: setattr(stop, "value", 1)) if waits else train()
        new: Any = {"params": params, "opt_state": moments, "step": step, "epoch": epoch}
        return state._replace(**new, watch=state.watch._replace(rate=cast(Any, rate))), found

    def _figures(self, state: State, found: Trained, live: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return each member's losses and monitored figures, (epochs, members); see `Joint`."""
        losses, params = found.losses, cast(Params, member(state.params, 0))
        outputs = dict(zip(self.measured, found.outputs, strict=True))
        if self.plan.stopping != "tolerance":
            for answers in outputs.values():
                losses = np.where(np.isfinite(answers).all(axis=(2, 3)), losses, math.inf)
        lost = np.maximum.accumulate(~np.isfinite(losses), axis=1)
        losses = figures = np.where(lost, math.inf, losses)
        part, _, metric = self.plan.monitor.partition("_")
        if metric:
            figures = measure(metric, in_units(outputs[part], params), self.measured[part].data, self.plan)
        every = np.full((2, losses.shape[1], len(self.hypers)), np.nan)
        every[0][:, live], every[1][:, live] = losses.T, figures.T
        return every[0], every[1]

    def _followed(
        self,
        before: State,
        state: State,
        found: Trained,
        losses: np.ndarray,
        figures: np.ndarray,
        live: list[int],
    ) -> tuple[State, np.ndarray, dict[str, np.ndarray]]:
        """Show the stopping rule each member's figures.

        A member that diverges gets back the parameters that it had before the call.

        Returns
        -------
        state : State
        held : array of shape (epochs, members)
            See `Joint`.
        answers : dict
            For each part and epoch what the members answer that would be kept then: (members, epochs, rows,
            outputs).
        """
        count, plan = len(losses), self.plan
        answers = {part: np.repeat(a[:, None], count, axis=1) for part, a in self.answers.items()}
        sign = direction(plan.monitor)
        held = np.where(diverged(state), np.nan, sign * np.asarray(state.watch.value, np.float64))
        held = np.repeat(held[None], count, axis=0)
        watches = [_watch(state, k) for k in range(len(self.hypers))]
        best = copied(cast(Params, state.best)) if plan.keeps_best else ()
        epoch, first = np.array(state.epoch), np.asarray(before.epoch)
        for i, k in enumerate(live):
            last = -1  # of the epochs that were better
            for e in range(count):
                number = int(first[k]) + e + 1
                if not math.isfinite(losses[e, k]):
                    mark: Any = {"waited": np.int32(DIVERGED), "stopped": np.True_}
                    watches[k] = watches[k]._replace(**mark)
                    held[e:, k], epoch[k] = np.nan, number
                    for name in ("params", "opt_state"):
                        mapped(np.copyto, *(member(getattr(of, name), k) for of in (state, before)))
                    break
                figure = figures[e, k]
                watches[k], better = followed(watches[k], figure, losses[e, k], number, self.hypers[k], plan)
                last = e if better else last
                held[e:, k] = figure if plan.stopping == "never" else sign * float(watches[k].value)
                if better or not plan.answers_with_best:
                    for part, outputs in zip(answers, found.outputs, strict=True):
                        answers[part][k, e:] = outputs[i, e]
            if plan.keeps_best and last >= 0:
                kept = library.with_trained(cast(Params, member(state.params, k)), found.kept[i, last])
                mapped(np.copyto, member(best, k), kept)
        columns: Any = (np.stack(column) for column in zip(*watches, strict=True))
        return state._replace(watch=Watch(*columns), best=best, epoch=cast(Any, epoch)), held, answers

    def _of_ensembles(
        self, state: State, answers: dict[str, np.ndarray], alive: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Return the figures of each ensemble, (epochs, ensembles); NaN if all its members have diverged."""
        params, plan = cast(Params, member(state.params, 0)), self.plan
        found = {name: np.full((len(alive), self.ensembles), np.nan) for name in plan.figures}
        for part, rows in self.measured.items():
            names = {name: name.partition("_")[2] for name in found if name.startswith(f"{part}_")}
            if not names:
                continue
            if self.ensembles == len(self.hypers):  # of one member each
                together = in_units(answers[part], params)
                for name, metric in names.items():
                    found[name][:] = np.where(alive, measure(metric, together, rows.data, plan).T, np.nan)
                continue
            size = len(self.hypers) // self.ensembles
            for k in range(self.ensembles):
                own = slice(k * size, (k + 1) * size)
                for members in np.unique(alive[:, own], axis=0):
                    which = (alive[:, own] == members).all(axis=1)
                    if members.any():
                        together = joined(answers[part][own, which], members, plan, np)
                        together = in_units(together, params)
                        for name, metric in names.items():
                            found[name][which, k] = measure(metric, together, rows.data, plan)
        return found


def _watch(state: State, k: int) -> Watch:
    """Return the watch of a member, as scalars."""
    return Watch(*(np.asarray(array)[k] for array in state.watch))
