"""Groups of a sweep's trials, trained in this process or by the workers of dask."""

import dataclasses
import json
import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np

from mlpax.data.dataset import Dataset, from_arrays
from mlpax.data.memory import memory_limit, written
from mlpax.engine.plan import direction
from mlpax.engine.search import Candidate, Outcome, Race
from mlpax.engine.training import initial_state
from mlpax.engine.trees import leaves
from mlpax.errors import InputError, MlpaxError
from mlpax.model.fit_model import COPIES, Placed, prepare
from mlpax.recipes import Recipe

__all__ = ["Group", "Standing", "Trials", "Workers", "leaders", "locally", "on_dask", "train_group"]

WAIT = 10  # seconds for a scheduler to answer
RETRIES = 3  # of a group whose worker was lost
LOOK = 0.05  # seconds between two looks at the workers

Settings = dict[str, Any]  # of one trial


class Standing(NamedTuple):
    """How a trial stands: a row of the leaderboard."""

    trial: int
    rung: int  # from 1, to which it was trained
    settings: Settings
    scores: list[float]  # of each fold and seed; NaN if it diverged
    other: float  # the figure that decides between equal scores, smaller being better
    epochs: int
    seconds: float
    curve: list[float]  # the mean score after each epoch

    @property
    def score(self) -> float:
        """The mean over folds and seeds; NaN if one diverged."""
        return float(np.mean(self.scores))

    @property
    def spread(self) -> float:
        """The standard deviation over folds and seeds; NaN of a single one."""
        return float(np.std(self.scores, ddof=1)) if len(self.scores) > 1 else math.nan

    def to_json(self) -> dict[str, Any]:
        """Return the standing without its settings, and None for what is not finite, which JSON has not."""
        found = self._asdict() | {"scores": _plain(self.scores), "curve": _plain(self.curve)}
        return {name: value for name, value in found.items() if name != "settings"}

    @staticmethod
    def from_json(record: dict[str, Any], trials: Sequence[Settings]) -> "Standing":
        """Return the standing that `to_json` gave.

        Raises
        ------
        ValueError, KeyError, TypeError, IndexError
            If the record is damaged.
        """
        scores, curve = (
            [math.nan if v is None else float(v) for v in record[n]] for n in ("scores", "curve")
        )
        trial = int(record["trial"])
        return Standing(
            trial, int(record["rung"]), trials[trial], scores, float(record["other"]), int(record["epochs"]),
            float(record["seconds"]), curve,
        )  # fmt: skip


def _plain(values: list[float]) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values]


def leaders(standings: Iterable[Standing], metric: str) -> list[Standing]:
    """Return the trials: those of the last rung first, and of a rung the best by a metric first."""

    def place(standing: Standing) -> tuple[float, ...]:
        score = direction(metric) * standing.score
        if math.isnan(score):
            return math.inf, 0.0, 0.0, standing.trial
        return -standing.rung, -score, standing.other, standing.trial

    return sorted(standings, key=place)


class Group(NamedTuple):
    """Trials to train to a rung."""

    rung: int  # from 1
    share: float  # of the epochs
    trials: list[int]


# Train groups, and yield the standings of each that has finished, in any order. After a signal they stop.
Workers = Callable[[list[Group]], Iterator[list[Standing]]]


class Trials:
    """Trials that are trained side by side, each on all data sets and with all seeds.

    Parameters
    ----------
    datasets : sequence of Dataset
        The folds, with validation rows.
    base : Recipe
        The settings that all trials have.
    settings : sequence of dict
        The other settings of each trial.
    seeds : int
    numbers : sequence of int, optional
        Which trials; by default all.

    Attributes
    ----------
    metric : str
        What the trials are compared by.
    backend : str
        What trains them.
    """

    def __init__(
        self,
        datasets: Sequence[Dataset],
        base: Recipe,
        settings: Sequence[Settings],
        seeds: int,
        numbers: Sequence[int] | None = None,
    ):
        self.settings, self.each = settings, len(datasets) * seeds
        self.numbers = [*range(len(settings))] if numbers is None else [*numbers]
        placed: list[Placed] = [{} for _ in datasets]
        candidates, taken = list[Candidate](), 0
        for number in self.numbers:
            recipe = base.replace(train_metrics=False, **settings[number])
            if recipe.devices > 1:
                raise InputError(
                    f"devices {recipe.devices} train one network, and here are many; leave it out"
                )
            for dataset, rows in zip(datasets, placed, strict=True):
                for seed in range(recipe.seed, recipe.seed + seeds):
                    data, valid, how, params, *_ = prepare(dataset, recipe.replace(seed=seed), rows)
                    start = partial(initial_state, params, how, seed)
                    candidates.append(Candidate(start, data, valid, how, (seed, recipe.own_orders)))
                    taken += COPIES * 4 * sum(np.size(array) for array in leaves(params))
                    _check_memory(taken, len(candidates))
        self.metric = candidates[0].training.plan.monitor
        self.backend = candidates[0].training.backend
        if not self.metric.startswith("valid_"):
            raise InputError(
                f"trials are compared by a figure of validation rows, and {self.metric!r} is none"
            )
        self.race = Race(candidates)

    def train(self, group: Group) -> Iterator[None]:
        """Train a group, and yield after each call of the program."""
        places = [self.numbers.index(trial) * self.each for trial in group.trials]
        yield from self.race.run(group.share, [place + k for place in places for k in range(self.each)])

    def standings(self, group: Group) -> list[Standing]:
        """Return how the trials of a trained group stand."""
        found = [self._standing(trial, group.rung) for trial in group.trials]
        if group.share >= 1:  # nothing goes on from these
            for trial in group.trials:
                for outcome in self._outcomes(trial):
                    outcome.state = None
        return found

    def _outcomes(self, trial: int) -> list[Outcome]:
        place = self.numbers.index(trial) * self.each
        return self.race.outcomes[place : place + self.each]

    def _standing(self, trial: int, rung: int) -> Standing:
        outcomes = self._outcomes(trial)
        epochs = max(len(outcome.curve) for outcome in outcomes)
        curves = np.full((len(outcomes), epochs), np.nan)
        for curve, outcome in zip(curves, outcomes, strict=True):
            curve[: len(outcome.curve)] = [row[self.metric] for row in outcome.curve]
            curve[len(outcome.curve) :] = outcome.score
        return Standing(
            trial, rung, self.settings[trial], [outcome.score for outcome in outcomes],
            self._other(outcomes), epochs, sum(outcome.seconds for outcome in outcomes),
            curves.mean(axis=0).tolist(),
        )  # fmt: skip

    def _other(self, outcomes: Sequence[Outcome]) -> float:
        """Return the mean of another validation figure, smaller being better; 0 if there is none."""
        figures = outcomes[0].curve[-1]
        name = next((n for n in figures if n.startswith("valid_") and n != self.metric), "")
        mean = -direction(name) * float(np.mean([o.curve[-1][name] for o in outcomes])) if name else 0.0
        return mean if math.isfinite(mean) else 0.0


def _check_memory(taken: int, candidates: int) -> None:
    """Raise an error if the networks that are trained side by side would take more memory than they may."""
    if taken > (limit := memory_limit(None)):
        raise InputError(
            f"the first {candidates} networks would take {written(taken)} of memory, and the limit is"
            f" {written(limit)}; give fewer trials, folds or seeds, or smaller layers"
        )


def locally(trials: Trials, caught: Sequence[int]) -> Workers:
    """Return the workers that train one group after another in this process, until a signal is caught."""

    def work(groups: list[Group]) -> Iterator[list[Standing]]:
        for group in groups:
            for _ in trials.train(group):
                if caught:
                    return
            yield trials.standings(group)

    return work


def train_group(datasets: list[tuple[dict[str, np.ndarray], str]], task: str) -> str:
    """Train a group of trials from the start, and return its standings as JSON.

    This is what a worker on another machine runs. It gets arrays and JSON, and nothing that is code.

    Parameters
    ----------
    datasets : list of (arrays, JSON)
        See `data.dataset.to_arrays`.
    task : str
        JSON: the group, the recipe, the settings of the trials, and the number of seeds.
    """
    asked = cast(dict[str, Any], json.loads(task))
    group = Group(*asked["group"])
    recipe: dict[str, Any] = asked["recipe"]
    recipe["hidden"] = tuple(recipe["hidden"])
    own = [from_arrays(arrays, about) for arrays, about in datasets]
    trials = Trials(own, Recipe(**recipe), asked["settings"], asked["seeds"], group.trials)
    for _ in trials.train(group):
        pass
    return json.dumps([standing.to_json() for standing in trials.standings(group)])


@contextmanager
def on_dask(
    address: str,
    datasets: Sequence[Dataset],
    base: Recipe,
    settings: Sequence[Settings],
    seeds: int,
    caught: Sequence[int],
) -> Generator[Workers]:
    """Yield the workers that a dask scheduler has.

    A group whose worker is lost goes to another one. dask sends arrays by pickle: trust the network between
    the machines.

    Raises
    ------
    InputError
        If dask is not installed, or no scheduler answers.
    MlpaxError
        If a group failed, or its workers were lost again and again.
    """
    try:
        from dask.distributed import Client
    except ImportError:
        raise InputError("executor 'dask' needs dask: pip install 'mlpax[dask]'") from None
    try:
        client: Any = Client(address, timeout=WAIT)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if isinstance(error, ValueError) else f"waited {WAIT} seconds"
        raise InputError(
            f"no dask scheduler answers at {address!r} ({reason}); start one, or correct it"
        ) from None
    with client:
        packed = [dataset.to_arrays() for dataset in datasets]
        shared = client.scatter([packed], broadcast=True)[0]
        asked = {"recipe": dataclasses.asdict(base), "settings": settings, "seeds": seeds}

        def submitted(groups: Sequence[Group]) -> dict[Any, Group]:
            texts = [json.dumps(asked | {"group": group}) for group in groups]
            futures = [client.submit(train_group, shared, t, pure=False, retries=RETRIES) for t in texts]
            return dict(zip(futures, groups, strict=True))

        def work(groups: list[Group]) -> Iterator[list[Standing]]:
            nonlocal shared
            left, losses = submitted(groups), 0
            while left and not caught:
                for future in [future for future in left if future.status in ("finished", "error")]:
                    del left[future]
                    try:
                        found = json.loads(future.result())
                    except Exception as error:
                        raise MlpaxError(f"a group of trials failed on dask: {error}") from None
                    yield [Standing.from_json(record, settings) for record in found]
                # The only worker that had the data was lost: dask cancels all that needs them.
                if lost := [group for future, group in left.items() if future.cancelled()]:
                    losses += 1
                    if losses > RETRIES:
                        raise MlpaxError(f"dask's workers were lost {losses} times, and the data with them")
                    shared = client.scatter([packed], broadcast=True)[0]
                    kept = {future: group for future, group in left.items() if not future.cancelled()}
                    left = kept | submitted(lost)
                time.sleep(LOOK)
            client.cancel([*left])

        yield work
