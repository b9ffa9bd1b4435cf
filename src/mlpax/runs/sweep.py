"""Train many settings of a recipe side by side, and keep what is known of each in a folder."""

import csv
import dataclasses
import io
import itertools
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from mlpax.atomic import TEMPORARY, atomic, own
from mlpax.data.dataset import Dataset, HoldOut, split, validated
from mlpax.data.reading import Reading
from mlpax.data.sources import Ready, Wanted, short_name, source
from mlpax.engine.search import KEEP, rungs_of
from mlpax.errors import DivergedError, InputError, InterruptedRun, Notice, unknown
from mlpax.model.fit_model import check_in_memory, check_refit, prepare
from mlpax.model.model import Model
from mlpax.model.model_file import load
from mlpax.recipes import Recipe
from mlpax.runs.locks import LOCK, holder, locked, signals
from mlpax.runs.run import train
from mlpax.runs.run_files import ADDED, Result, read_config, read_json, read_result, write_json
from mlpax.runs.trials import Group, Standing, Trials, Workers, leaders, locally, on_dask
from mlpax.space import Range, Space, Values, check_whole, combinations, is_list, parsed, space_of, written

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Progress", "Sweep", "pictures", "read_sweep", "sweep", "with_validation"]

FORMAT = 1
WAVE = 16  # trials that are trained at a time
SHARE = 0.2  # of the training rows that validate, if the recipe holds out none
JOURNAL = "journal.jsonl"
EXECUTORS = ("local", "dask")


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
        check_whole("seeds", self.seeds, 1)
        if self.trials is not None:
            check_whole("trials", self.trials, 1)


class Progress(NamedTuple):
    """How far a sweep is."""

    rung: int  # from 1
    rungs: int
    done: int  # trials of this rung
    trials: int
    metric: str
    best: Standing


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
    all_rows: bool = False,
    executor: str = "local",
    address: str | None = None,
    data_dir: str | Path | None = None,
    on_progress: Callable[[Progress], object] | None = None,
    notice: Notice | None = None,
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
    all_rows : bool, default False
        Then train the best trial once more on all rows but the test rows, for the epochs that early stopping
        has found, as `refit=True` of `mlpax.train` does. Trials are compared without this second training.
    executor : {"local", "dask"}, default "local"
        Where groups of 16 trials are trained: in this process, or by the workers of a dask scheduler.
    address : str, optional
        Of the scheduler, such as "tcp://10.0.0.1:8786".
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
    notice = notice or (lambda text: None)
    check_whole("folds", folds, 0)
    asked = Asked(trials=trials, seeds=seeds, halving=halving)
    reading = Reading.taken(settings)
    swept = {name: values for name, values in settings.items() if _several(name, values)}
    fixed = {name: _one(name, value) for name, value in settings.items() if name not in swept}
    wanted = Wanted(recipe, fixed, quality, folds)
    ready = source(str(data), data_dir, memory=reading.memory).to_train(wanted, reading, notice)
    check_in_memory(ready.dataset, "a sweep")
    base = ready.recipe.replace(train_metrics=False)
    space = space_of(swept, base)
    folder = None if data_dir is None else str(Path(data_dir).resolve())
    # Another optimizer would bring its own rate.
    given = {name: fixed[name] for name in ("learning_rate",) if name in fixed and "optimizer" in space}
    each = [given | trial for trial in combinations(space, trials, base.seed)]
    work = _Work(ready, asked, space, each, reading, folder, all_rows)
    if all_rows and not refit:
        raise InputError(
            "all_rows is about the run of the best trial, which refit=False leaves out; give one of them"
        )
    for recipe_of_run in map(work.recipe_of, each):
        if recipe_of_run.refit:
            check_refit(recipe_of_run, "all_rows")
    if refit:
        prepare(ready.dataset, work.recipe_of(each[0]))  # which refuses what it cannot train
    if executor not in EXECUTORS:
        raise unknown("executor", executor, EXECUTORS)
    if (executor == "dask") != (address is not None):
        raise InputError("executor 'dask' and an address belong together; give both, or none")
    datasets = ready.folds or (with_validation(ready.dataset, base, notice),)
    # Workers elsewhere prepare their own trials; the first tells what all are compared by.
    first = None if address is None else [0]
    every = Trials(datasets, base, work.trials, seeds, first)
    config = work.config(every.metric, every.backend)
    path = Path(out) if out else _folder(Path("sweeps"), f"{short_name(str(data))}-{ready.name}", config)
    standings = _compared(
        path, config, work, datasets, every, address, on_progress or (lambda _: None), notice
    )
    best = _refitted(path, work, standings[0], notice) if refit else None
    write_json(path / "sweep.json", config | {"best": standings[0].settings, "score": standings[0].score})
    return Sweep(path, every.metric, standings, space, best)


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
    all_rows: bool

    def recipe_of(self, trial: dict[str, Any]) -> Recipe:
        """Return the recipe of a trial as a run. With patience some rows must choose the epoch."""
        dataset, recipe = self.ready.dataset, self.ready.recipe.replace(**trial)
        lacks = recipe.patience and not recipe.validation and dataset.X_valid is None
        recipe = recipe.replace(validation=SHARE) if lacks else recipe
        held_out = recipe.validation > 0 or dataset.X_valid is not None
        return recipe.replace(refit=self.all_rows and held_out)

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
    path: Path, config: dict[str, Any], work: _Work, datasets: Sequence[Dataset], every: Trials,
    address: str | None, on_progress: Callable[[Progress], object], notice: Notice,
) -> list[Standing]:  # fmt: skip
    """Train the trials in a folder, from where an earlier call was stopped; return them, the best first."""
    trials, metric, seeds = work.trials, every.metric, work.asked.seeds
    if process := holder(path):
        raise InputError(f"{path} is being written by {process}; wait for it, or choose another folder")
    with locked(path, notice) as still_ours, signals() as caught:
        _begin(path, config)
        journal = _Journal(path / JOURNAL, trials)
        shares = (*(rungs_of(len(trials)) if work.asked.halving else ()), 1.0)
        workers = nullcontext(locally(every, caught))
        if address is not None:
            workers = on_dask(address, datasets, work.ready.recipe, trials, seeds, caught)
        with workers as train_groups:
            found = _run(train_groups, journal, len(trials), shares, metric, on_progress, still_ours)
        standings = leaders(found.values(), metric)
        if standings:
            _write_leaderboard(path, standings, metric, work.space)
        if caught:
            done = f"interrupted with {len(standings)} of {len(trials)} trials in {path}"
            raise InterruptedRun(caught[0], f"{done}; nothing is lost, the same command goes on")
        if math.isnan(standings[0].score):
            raise DivergedError(f"all {len(trials)} trials diverged; try smaller learning rates")
        _draw(path, standings, metric, work.space, notice)
    return standings


def pictures(standings: Sequence[Standing], metric: str, space: Space) -> "dict[str, Figure]":
    """Return the figures of a sweep: "scores" over each setting, and the "curves" of all trials.

    Parameters
    ----------
    standings : sequence of Standing
        The best trial first.
    metric : str
    space : dict
        The settings that were tried.
    """
    from mlpax import plots  # matplotlib takes half a second

    log = [name for name, values in space.items() if isinstance(values, Range) and values.log]
    columns = {name: [s.settings[name] for s in standings] for name in space}
    scores, last = [s.score for s in standings], [s.rung == standings[0].rung for s in standings]
    return {
        "scores": plots.sweep_scores(scores, columns, metric, last, log),
        "curves": plots.sweep_curves([s.curve for s in standings], metric),
    }


def _draw(path: Path, standings: list[Standing], metric: str, space: Space, notice: Notice) -> None:
    """Draw the figures of a sweep. If that fails, say so."""
    from mlpax import plots

    try:
        for name, figure in pictures(standings, metric, space).items():
            plots.save(figure, path / f"{name}.png")
    except Exception as error:  # matplotlib and its backends raise many kinds
        said = " ".join(str(error).split()) or type(error).__name__
        notice(f"the sweep is kept, but its pictures could not be drawn: {said}")


def read_sweep(path: Path) -> tuple[Sweep, dict[str, object]]:
    """Return what is known of the sweep in a folder, and what was asked for: its sweep.json.

    A sweep that is still running, or was interrupted, has the trials that have ended.

    Raises
    ------
    InputError
        If there is no sweep, no trial has ended, or a file is damaged.
    """
    file = path / "sweep.json"
    try:
        config = read_json(file)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"no sweep at {path}; give a folder that mlpax sweep has made") from None
    try:
        trials, metric = cast("list[dict[str, Any]]", config["trials"]), str(config["metric"])
        given = cast("dict[str, str | list[Any]]", config["space"])
        space: Space = {name: _tried(name, values) for name, values in given.items()}
        if config["format"] != FORMAT or not all(trial.keys() >= space.keys() for trial in trials):
            raise ValueError
    except (KeyError, ValueError, TypeError, AttributeError):
        raise InputError(f"{file} is damaged; sweep again, in a new folder") from None
    last: dict[int, Standing] = {}
    for (_, trial), standing in sorted(_read_journal(path / JOURNAL, trials)[0].items()):
        last[trial] = standing
    if not last:
        raise InputError(f"no trial of {path} has ended yet; wait for one")
    ended = read_result(path / "best") if "best" in config else None
    return Sweep(path, metric, leaders(last.values(), metric), space, ended), config


def _tried(name: str, values: object) -> Values:
    """Return the values of a setting, from sweep.json."""
    found = parsed(name, values) if isinstance(values, str) else values
    return found if isinstance(found, Range) else tuple(cast("list[Any]", found))


def _refitted(path: Path, work: _Work, best: Standing, notice: Notice) -> Result:
    """Train the best trial as a run, from where an earlier call was stopped; return how it ended."""
    dataset, _, name, _ = work.ready
    folder, recipe = path / "best", work.recipe_of(best.settings)
    begun = (folder / "config.json").exists()
    if begun and read_config(folder).recipe.refit != recipe.refit:
        how = "without" if recipe.refit else "with"
        raise InputError(
            f"{folder} was trained {how} all_rows; remove this folder to train the best trial anew"
        )
    ended = read_result(folder)
    if ended is not None and ended.state in ("finished", "stopped early"):
        return ended
    return train(
        folder, dataset, recipe, recipe_name=name, data_dir=work.data_dir,
        options=work.reading, resume=begun, notice=notice,
    )  # fmt: skip


def with_validation(dataset: Dataset, recipe: Recipe, notice: Notice) -> Dataset:
    """Return the data set with validation rows. Test rows must not choose."""
    if dataset.X_valid is not None and len(dataset.X_valid):
        return dataset
    if dataset.columns:
        raise InputError("there are no validation rows to compare by; hold some out with validation 0.2")
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
        others = [p.name for p in path.iterdir() if p.name != LOCK and not p.name.endswith(TEMPORARY)]
        if others:
            raise InputError(f"{path} has other things in it; choose an empty or a new folder")
        write_json(file, config)
        return
    if name := _differs(read_json(file), config):
        raise InputError(f"{path} holds another sweep, whose {name} differs; choose another folder")


def _differs(before: dict[str, object], config: dict[str, Any]) -> str:
    """Return the name of what a sweep of before has not in common with this one; empty if it has all."""
    if isinstance(recipe := before.get("recipe"), dict):  # without the settings that came later
        usual = {name: getattr(Recipe(), name) for name in ADDED}
        before = before | {"recipe": usual | cast(dict[str, object], recipe)}
    return next((name for name, value in config.items() if before.get(name) != value), "")


Found = dict[tuple[int, int], Standing]  # the finished trials, by rung and trial


def _read_journal(file: Path, trials: list[dict[str, Any]]) -> tuple[Found, int]:
    """Return the finished trials of each rung, and the bytes of their lines.

    What follows the last end of a line was cut off.
    """
    found: Found = {}
    if not os.path.lexists(file):
        return found, 0
    with open(own(file), "rb") as opened:
        lines = opened.read().split(b"\n")[:-1]
    for number, line in enumerate(lines, 1):
        try:
            standings = [Standing.from_json(record, trials) for record in json.loads(line)]
        except (ValueError, KeyError, TypeError, IndexError, RecursionError):
            raise InputError(f"{file} is damaged in line {number}; remove the folder to begin anew") from None
        found |= {(standing.rung, standing.trial): standing for standing in standings}
    return found, sum(len(line) + 1 for line in lines)


class _Journal:
    """The finished trials of each rung, a line a group, on the disk before the next group begins."""

    def __init__(self, file: Path, trials: list[dict[str, Any]]):
        self.file = file
        self.found, whole = _read_journal(file, trials)
        if os.path.lexists(file) and file.stat().st_size > whole:
            os.truncate(file, whole)

    def write(self, standings: list[Standing]) -> None:
        """Add a line, and wait until it is on the disk."""
        text = json.dumps([standing.to_json() for standing in standings]) + "\n"
        file = own(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            os.write(file, text.encode())
            os.fsync(file)
        finally:
            os.close(file)
        self.found |= {(standing.rung, standing.trial): standing for standing in standings}


def _run(
    work: Workers, journal: _Journal, trials: int, shares: Sequence[float], metric: str,
    on_progress: Callable[[Progress], object], still_ours: Callable[[], None],
) -> dict[int, Standing]:  # fmt: skip
    """Train to each share of the epochs the trials that are left; return the last standing of each.

    After a signal some trials of the last share may lack.
    """
    left, found = [*range(trials)], dict[int, Standing]()
    for rung, share in enumerate(shares, 1):
        groups = [Group(rung, share, left[k : k + WAVE]) for k in range(0, len(left), WAVE)]
        done = 0
        for standings in _finished(groups, work, journal, still_ours):
            found |= {standing.trial: standing for standing in standings}
            done += len(standings)
            best = leaders(found.values(), metric)[0]
            on_progress(Progress(rung, len(shares), done, len(left), metric, best))
        if done < len(left):
            break
        ranked = leaders([found[trial] for trial in left], metric)
        left = sorted(s.trial for s in ranked[: math.ceil(len(left) / KEEP)])
    return found


def _finished(
    groups: Sequence[Group], work: Workers, journal: _Journal, still_ours: Callable[[], None]
) -> Iterator[list[Standing]]:
    """Yield the standings of each group: of those in the journal, then of those that are trained now."""
    missing: list[Group] = []
    for group in groups:
        known = [
            journal.found[key] for trial in group.trials if (key := (group.rung, trial)) in journal.found
        ]
        if len(known) == len(group.trials):
            yield known
        else:
            missing.append(group)
    for standings in work(missing):
        still_ours()
        journal.write(standings)
        yield standings


def _write_leaderboard(path: Path, standings: list[Standing], metric: str, space: Space) -> None:
    """Write the trials as a table, the best first."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["rank", "trial", metric, "spread", "rung", "epochs_trained", "seconds", *space])
    for rank, s in enumerate(standings, 1):
        score, spread = ("" if math.isnan(value) else f"{value:.9g}" for value in (s.score, s.spread))
        values = [written(s.settings[name]) for name in space]
        writer.writerow([rank, s.trial, score, spread, s.rung, s.epochs, f"{s.seconds:.3f}", *values])
    with atomic(path / "leaderboard.csv") as file:
        file.write(text.getvalue().encode())
