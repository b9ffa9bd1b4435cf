"""Train many settings of a recipe side by side, and keep what is known of each in a folder."""

import csv
import dataclasses
import io
import itertools
import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from mlpax.atomic import atomic, own
from mlpax.data.dataset import Dataset, HoldOut, split, validated
from mlpax.data.reading import Reading
from mlpax.data.sources import Ready, Wanted, short_name, source
from mlpax.engine.plan import direction
from mlpax.engine.search import KEEP, Candidate, Outcome, Race, rungs_of
from mlpax.engine.training import initial_state
from mlpax.errors import DivergedError, InputError, InterruptedRun, Notice
from mlpax.model.fit_model import Placed, prepare
from mlpax.model.model import Model
from mlpax.model.model_file import load
from mlpax.recipes import Recipe
from mlpax.runs.locks import holder, locked, signals
from mlpax.runs.run import train
from mlpax.runs.run_files import Result, read_json, read_result, write_json
from mlpax.space import Range, Space, combinations, is_list, parsed, space_of

__all__ = ["Progress", "Standing", "Sweep", "leaders", "sweep"]

FORMAT = 1
WAVE = 16  # trials that are trained at a time
SHARE = 0.2  # of the training rows that validate, if the recipe holds out none
JOURNAL = "journal.jsonl"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a sweep is asked to try.

    Attributes
    ----------
    trials : int, optional
        How many combinations, see `space.combinations`.
    seeds : int, default 1
        How often each is trained, with seeds of their own. Its score is the mean.
    halving : bool, default False
        Train all for a share of the epochs, and go on with the better third, again and again.
    """

    trials: int | None = None
    seeds: int = 1
    halving: bool = False

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise InputError(f"seeds {self.seeds} is below 1; choose 3, say")


class Standing(NamedTuple):
    """How a trial stands: a row of the leaderboard."""

    trial: int
    rung: int  # from 1, to which it was trained
    settings: dict[str, Any]
    scores: list[float]  # of each fold and seed; NaN if it diverged
    other: float  # the mean of the figure that decides between equal scores
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


class Progress(NamedTuple):
    """How far a sweep is."""

    rung: int  # from 1
    rungs: int
    done: int  # trials of this rung
    trials: int
    metric: str
    best: Standing


def leaders(standings: Iterable[Standing], metric: str) -> list[Standing]:
    """Return the trials: those of the last rung first, and of a rung the best by a metric first."""

    def place(standing: Standing) -> tuple[float, ...]:
        score = direction(metric) * standing.score
        if math.isnan(score):
            return math.inf, 0.0, 0.0, standing.trial
        return -standing.rung, -score, standing.other, standing.trial

    return sorted(standings, key=place)


class Sweep(NamedTuple):
    """What a sweep has found.

    Attributes
    ----------
    path : Path
        Its folder.
    metric : str
        What the scores are.
    standings : list of Standing
        The trials, the best first.
    space : dict
        The settings that were tried, and the values of each.
    best : Result, optional
        How the run of the best trial ended, which is in the folder `best`.
    """

    path: Path
    metric: str
    standings: list[Standing]
    space: Space
    best: Result | None = None

    @property
    def model(self) -> Model:
        """The network of the best trial, if it was trained again as a run."""
        return load(self.path / "best" / "model.safetensors")


def sweep(
    data: str | Path,
    *,
    out: str | Path | None = None,
    recipe: str | None = None,
    quality: str = "usual",
    trials: int | None = None,
    folds: int = 0,
    seeds: int = 1,
    halving: bool = False,
    refit: bool = True,
    data_dir: str | Path | None = None,
    on_progress: Callable[[Progress], object] = lambda progress: None,
    notice: Notice = lambda text: None,
    **settings: Any,
) -> Sweep:
    """Train many settings of a recipe side by side, and tell which are best.

    Parameters
    ----------
    data : str or path
        What `mlpax train` takes: the name of a known set, a table, or pictures.
    out : path, optional
        The folder of the sweep. It gets `sweep.json`, what was asked for; `journal.jsonl`, each finished
        group of trials; `leaderboard.csv`; and `best`, the run of the best trial. By default
        `sweeps/<data>-<recipe>-<n>`: an unfinished one of the same sweep, or else a new one.
    recipe, quality
        The settings that all trials have, see `mlpax train`.
    trials : int, optional
        How many combinations of the values to try. By default all combinations of lists, and 32 where there
        is a range.
    folds : int, default 0
        Train each trial on so many folds. Its score is the mean over the folds. Without folds all trials have
        the same validation rows.
    seeds : int, default 1
        Train each trial so often, with other weights and orders. Its score is the mean.
    halving : bool, default False
        Train all trials for a share of their epochs, and go on with the better third, again and again.
    refit : bool, default True
        Train the best trial again as a run, in the folder `best`.
    data_dir : path, optional
        Folder of the known sets' files.
    on_progress, notice : callable, optional
        Called after each group of trials, and with a line about a choice that was made.
    **settings
        Fields of `Recipe`: one value for all trials; a list of values to try; or a range of numbers as text,
        "0.001:1:log" or "1:100". `hidden` is a tuple, or a list of tuples. And how to read the data, as of
        `mlpax train`: `target`, `task`, `time_ordered` and so on.

    Returns
    -------
    Sweep

    Raises
    ------
    InputError
        If there is no such setting, a value is outside its range, nothing is to be compared, or the folder
        holds another sweep.
    DivergedError
        If all trials diverged.
    InterruptedRun
        After Ctrl-C or SIGTERM. What is done is kept; the same call goes on.

    Examples
    --------
    >>> import mlpax
    >>> found = mlpax.sweep("digits", learning_rate="0.01:1:log", hidden=[(16,), (32,)], trials=4, epochs=2,
    ...                     out="sweeps/example", refit=False)
    >>> found.metric, len(found.standings)
    ('valid_accuracy', 4)
    """
    asked = Asked(trials=trials, seeds=seeds, halving=halving)
    readings = {field.name for field in dataclasses.fields(Reading)}
    reading = Reading(**{name: settings.pop(name) for name in readings & settings.keys()})
    swept = {name: values for name, values in settings.items() if _several(name, values)}
    fixed = {name: _one(name, value) for name, value in settings.items() if name not in swept}
    wanted = Wanted(recipe, fixed, quality, folds)
    ready = source(str(data), data_dir, memory=reading.memory).to_train(wanted, reading, notice)
    base = ready.recipe.replace(train_metrics=False)
    space = space_of(swept, base)
    folder = None if data_dir is None else str(Path(data_dir).resolve())
    work = _Work(ready, asked, space, combinations(space, trials, base.seed), reading, folder)
    if refit:
        prepare(ready.dataset, ready.recipe.replace(**work.trials[0]))  # which refuses what it cannot train
    race, metric = work.race(notice)
    config = work.config(metric, race.candidates[0].training.backend)
    path = Path(out) if out else _folder(Path("sweeps"), f"{short_name(str(data))}-{ready.name}", config)
    standings = _compared(path, config, work, race, metric, on_progress, notice)
    found = Sweep(path, metric, standings, space)
    return found._replace(best=_refitted(path, work, standings[0], notice)) if refit else found


def _several(name: str, values: object) -> bool:
    """Return whether a setting is given several values."""
    if isinstance(values, str):
        values = parsed(name, values)
        return isinstance(values, Range) or (isinstance(values, tuple) and name != "hidden")
    if name == "hidden":
        return isinstance(values, (list, tuple)) and any(map(is_list, cast(Sequence[object], values)))
    return isinstance(values, Range) or is_list(values)


def _one(name: str, value: object) -> object:
    return parsed(name, value) if isinstance(value, str) else value


@dataclass
class _Work:
    """What a sweep trains."""

    ready: Ready
    asked: Asked
    space: Space
    trials: list[dict[str, Any]]
    reading: Reading
    data_dir: str | None

    def race(self, notice: Notice) -> tuple[Race, str]:
        """Return the candidates, those of a trial together, and the figure that they are compared by."""
        base = self.ready.recipe.replace(train_metrics=False)
        datasets = self.ready.folds or (_with_validation(self.ready.dataset, base, notice),)
        placed: list[Placed] = [{} for _ in datasets]
        candidates, metric = list[Candidate](), ""
        for trial in self.trials:
            recipe = base.replace(**trial)
            for dataset, rows in zip(datasets, placed, strict=True):
                for seed in range(recipe.seed, recipe.seed + self.asked.seeds):
                    _, valid, how, params, _ = problem = prepare(dataset, recipe.replace(seed=seed), rows)
                    start = partial(initial_state, params, how, seed)
                    candidates.append(Candidate(start, problem.data, valid, how, seed))
                    metric = how.plan.monitor
        if not metric.startswith("valid_"):
            raise InputError(
                f"a sweep compares trials by a figure of validation rows, and {metric!r} is none"
            )
        return Race(candidates), metric

    def config(self, metric: str, backend: str) -> dict[str, Any]:
        """Return what decides the sweep: one that differs may not go on in its folder."""
        shown = {name: str(v) if isinstance(v, Range) else list(v) for name, v in self.space.items()}
        dataset, recipe, name, folds = self.ready
        found = {
            "format": FORMAT, "dataset": dataset.name, "data_dir": self.data_dir,
            "fingerprint": dataset.fingerprint, "options": self.reading.given(), "recipe_name": name,
            "recipe": dataclasses.asdict(recipe), "space": shown, "folds": len(folds),
            **dataclasses.asdict(self.asked), "metric": metric, "backend": backend, "trials": self.trials,
        }  # fmt: skip
        return cast(dict[str, Any], json.loads(json.dumps(found)))


def _folder(parent: Path, name: str, config: dict[str, Any]) -> Path:
    """Return the folder of an unfinished sweep of the same settings, or a new one."""
    for n in itertools.count(1):
        path = parent / f"{name}-{n}"
        if not os.path.lexists(path):
            return path
        with suppress(InputError, FileNotFoundError):
            before = read_json(path / "sweep.json")
            if "best" not in before and not _differs(before, config):
                return path
    raise AssertionError


def _compared(
    path: Path, config: dict[str, Any], work: _Work, race: Race, metric: str,
    on_progress: Callable[[Progress], object], notice: Notice,
) -> list[Standing]:  # fmt: skip
    """Train the trials in a folder, from where an earlier call was stopped; return them, the best first."""
    trials = work.trials
    if process := holder(path):
        raise InputError(f"{path} is being written by {process}; wait for it, or choose another folder")
    with locked(path, notice) as still_ours, signals() as caught:
        _begin(path, config)
        journal = _Journal(path / JOURNAL, trials)
        under_way = _UnderWay(race, journal, trials, metric, on_progress, still_ours, caught)
        rungs = rungs_of(len(trials)) if work.asked.halving else ()
        ended = under_way.run((*rungs, 1.0))
        standings = leaders(under_way.standings.values(), metric)
        if standings:
            _write_leaderboard(path, standings, metric, work.space)
        if not ended:
            done = f"interrupted with {len(standings)} of {len(trials)} trials in {path}"
            raise InterruptedRun(caught[0], f"{done}; nothing is lost, the same command goes on")
        if math.isnan(standings[0].score):
            raise DivergedError(f"all {len(trials)} trials diverged; try smaller learning rates")
        best = standings[0]
        _draw(path, standings, metric, work.space, notice)
        write_json(path / "sweep.json", config | {"best": best.settings, "score": best.score})
    return standings


def _draw(path: Path, standings: list[Standing], metric: str, space: Space, notice: Notice) -> None:
    """Draw the scores over each setting, and the curves of all trials. If that fails, say so."""
    from mlpax import plots  # matplotlib takes half a second

    log = [name for name, values in space.items() if isinstance(values, Range) and values.log]
    columns = {name: [s.settings[name] for s in standings] for name in space}
    scores, last = [s.score for s in standings], [s.rung == standings[0].rung for s in standings]
    try:
        plots.save(plots.sweep_scores(scores, columns, metric, last, log), path / "scores.png")
        plots.save(plots.sweep_curves([s.curve for s in standings], metric), path / "curves.png")
    except Exception as error:  # matplotlib and its backends raise many kinds
        said = " ".join(str(error).split()) or type(error).__name__
        notice(f"the sweep is kept, but its pictures could not be drawn: {said}")


def _refitted(path: Path, work: _Work, best: Standing, notice: Notice) -> Result:
    """Train the best trial as a run, from where an earlier call was stopped; return how it ended."""
    dataset, recipe, name, _ = work.ready
    folder = path / "best"
    ended = read_result(folder)
    if ended is not None and ended.state in ("finished", "stopped early"):
        return ended
    return train(
        folder, dataset, recipe.replace(**best.settings), recipe_name=name, data_dir=work.data_dir,
        options=work.reading, resume=(folder / "config.json").exists(), notice=notice,
    )  # fmt: skip


def _with_validation(dataset: Dataset, recipe: Recipe, notice: Notice) -> Dataset:
    """Return the data set with validation rows. Test rows must not choose."""
    if dataset.X_valid is not None and len(dataset.X_valid):
        return dataset
    if dataset.columns:
        raise InputError("a sweep compares trials by validation rows; hold some out with validation 0.2")
    share = recipe.validation
    if not share:
        share = SHARE
        notice(
            f"trials are compared on {share:.0%} of the training rows; --validation or --folds changes that"
        )
    return validated(dataset, split(dataset.y_train, HoldOut(validation=share, seed=recipe.seed)))


def _begin(path: Path, config: dict[str, Any]) -> None:
    """Write what is asked for, or check that the folder holds the same sweep."""
    file = path / "sweep.json"
    if not os.path.lexists(file):
        others = [p.name for p in path.iterdir() if p.name != "run.lock"]
        if others:
            raise InputError(f"{path} has other things in it; choose an empty or a new folder")
        write_json(file, config)
        return
    if name := _differs(read_json(file), config):
        raise InputError(f"{path} holds another sweep, whose {name} differs; choose another folder")


def _differs(before: dict[str, object], config: dict[str, Any]) -> str:
    """Return the name of what a sweep of before has not in common with this one; empty if it has all."""
    return next((name for name, value in config.items() if before.get(name) != value), "")


class _Journal:
    """The finished trials of each rung, a line a group, on the disk before the next group begins."""

    def __init__(self, file: Path, trials: list[dict[str, Any]]):
        self.file, self.found = file, dict[tuple[int, int], Standing]()
        if not os.path.lexists(file):
            return
        with open(own(file), "rb") as opened:
            lines = opened.read().split(b"\n")
        for number, line in enumerate(lines[:-1], 1):  # what follows the last end of a line was cut off
            try:
                entry = json.loads(line)
                for row in entry["standings"]:
                    figures = [math.nan if score is None else float(score) for score in row["scores"]]
                    curve = [math.nan if score is None else float(score) for score in row["curve"]]
                    trial = int(row["trial"])
                    standing = Standing(
                        trial, int(row["rung"]), trials[trial], figures, float(row["other"]),
                        int(row["epochs"]), float(row["seconds"]), curve,
                    )  # fmt: skip
                    self.found[standing.rung, trial] = standing
            except (ValueError, KeyError, TypeError, IndexError, RecursionError):
                raise InputError(
                    f"{file} is damaged in line {number}; remove the folder to begin anew"
                ) from None

    def write(self, standings: list[Standing]) -> None:
        """Add a line, and wait until it is on the disk."""
        rows = [{**s._asdict(), "scores": _plain(s.scores), "curve": _plain(s.curve)} for s in standings]
        text = json.dumps({"standings": rows}) + "\n"
        file = own(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            os.write(file, text.encode())
            os.fsync(file)
        finally:
            os.close(file)
        self.found |= {(standing.rung, standing.trial): standing for standing in standings}


def _plain(scores: list[float]) -> list[float | None]:
    return [score if math.isfinite(score) else None for score in scores]  # JSON has no NaN


@dataclass
class _UnderWay:
    """A sweep that is under way."""

    race: Race
    journal: _Journal
    trials: list[dict[str, Any]]
    metric: str
    on_progress: Callable[[Progress], object]
    still_ours: Callable[[], None]
    caught: list[int]  # signals

    def __post_init__(self) -> None:
        self.standings: dict[int, Standing] = {}

    def run(self, shares: Sequence[float]) -> bool:
        """Train to each share of the epochs those that are left; return False if a signal stopped it."""
        left = [*range(len(self.trials))]
        for rung, share in enumerate(shares, 1):
            for wave in (left[k : k + WAVE] for k in range(0, len(left), WAVE)):
                if not self._trained(rung, share, wave):
                    return False
                self.standings |= {trial: self.journal.found[rung, trial] for trial in wave}
                best = leaders(self.standings.values(), self.metric)[0]
                done = left.index(wave[-1]) + 1
                self.on_progress(Progress(rung, len(shares), done, len(left), self.metric, best))
            ranked = leaders([self.standings[trial] for trial in left], self.metric)
            left = sorted(s.trial for s in ranked[: math.ceil(len(left) / KEEP)])
        return True

    def _trained(self, rung: int, share: float, trials: list[int]) -> bool:
        """Train some trials unless the journal has them; return False if a signal came before the end."""
        if all((rung, trial) in self.journal.found for trial in trials):
            return True
        each = len(self.race.candidates) // len(self.trials)
        numbers = [trial * each + k for trial in trials for k in range(each)]
        for _ in self.race.run(share, numbers):
            if self.caught:
                return False
        self.still_ours()
        outcomes = self.race.outcomes
        found = [self._standing(t, rung, outcomes[t * each : (t + 1) * each]) for t in trials]
        self.journal.write(found)
        return True

    def _standing(self, trial: int, rung: int, outcomes: list[Outcome]) -> Standing:
        epochs = max(len(outcome.curve) for outcome in outcomes)
        curves = np.full((len(outcomes), epochs), np.nan)
        other = next((n for n in outcomes[0].curve[0] if n.startswith("valid_") and n != self.metric), "")
        others = [direction(other) * outcome.curve[-1][other] for outcome in outcomes] if other else [0.0]
        for curve, outcome in zip(curves, outcomes, strict=True):
            curve[: len(outcome.curve)] = [row[self.metric] for row in outcome.curve]
            curve[len(outcome.curve) :] = outcome.score
        mean = -float(np.mean(others))
        return Standing(
            trial, rung, self.trials[trial], [outcome.score for outcome in outcomes],
            mean if math.isfinite(mean) else 0.0, epochs,
            sum(outcome.seconds for outcome in outcomes), curves.mean(axis=0).tolist(),
        )  # fmt: skip


def _write_leaderboard(path: Path, standings: list[Standing], metric: str, space: Space) -> None:
    """Write the trials as a table, the best first."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["rank", "trial", metric, "spread", "rung", "epochs", "seconds", *space])
    for rank, s in enumerate(standings, 1):
        score, spread = ("" if math.isnan(value) else f"{value:.9g}" for value in (s.score, s.spread))
        values = [_written(s.settings[name]) for name in space]
        writer.writerow([rank, s.trial, score, spread, s.rung, s.epochs, f"{s.seconds:.3f}", *values])
    with atomic(path / "leaderboard.csv") as file:
        file.write(text.getvalue().encode())


def _written(value: object) -> str:
    """Return a setting's value as the command line takes it."""
    return ",".join(map(str, cast(Sequence[object], value))) if is_list(value) else str(value)
