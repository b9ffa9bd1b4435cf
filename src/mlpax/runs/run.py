"""Train in a run directory: atomic checkpoints, exact resume."""

import dataclasses
import io
import itertools
import json
import math
import os
import signal
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlpax import hosts
from mlpax.atomic import TEMPORARY, check_folder
from mlpax.data import images
from mlpax.data.dataset import Dataset
from mlpax.data.reading import Reading
from mlpax.data.sources import short_name
from mlpax.engine.native.library import instructions
from mlpax.engine.plan import Pytree
from mlpax.engine.population import lost_members
from mlpax.engine.state import State, best_epoch
from mlpax.engine.training import (
    Record,
    Training,
    arrays_of,
    cannot_pay,
    chosen,
    device_kind,
    initial_state,
    state_of,
)
from mlpax.engine.trees import member
from mlpax.errors import DivergedError, InputError, InterruptedRun
from mlpax.model.finetune import Origin, kept_of
from mlpax.model.fit_model import Problem, prepare, refit_of, refitted
from mlpax.model.model import Model, whole_text
from mlpax.recipes import Recipe
from mlpax.runs import checkpoints
from mlpax.runs.locks import LOCK, holder, locked, signals
from mlpax.runs.parent import (
    begin_with,
    check_child,
    origin_of,
    parent_of,
    restarted,
    state_of_parent,
)
from mlpax.runs.run_files import (
    Config,
    Parent,
    Result,
    Tuned,
    read_config,
    write_config,
    write_history,
    write_json,
)

__all__ = ["Every", "check_free", "check_run_folder", "check_same", "config_of", "new_folder",
           "tell_versions", "train"]  # fmt: skip


REFIT = "refit"  # the folder of the training on all rows, in that of its run


class Every(NamedTuple):
    """How often to write a checkpoint: after at least this many epochs and at least this many seconds."""

    epochs: int = 1
    seconds: float = 0.0


def new_folder(parent: Path, dataset: str, recipe: str) -> Path:
    """Create the first folder `<parent>/<dataset>-<recipe>-<n>` that does not exist yet, and return its path.

    Processes that start at once get folders of their own.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for n in itertools.count(1):
        path = parent / f"{dataset}-{recipe}-{n}"
        if not os.path.lexists(path):
            with suppress(FileExistsError):  # made by another process at this moment
                path.mkdir()
                return path
    raise AssertionError


def train(
    path: str | Path,
    dataset: Dataset,
    recipe: Recipe,
    *,
    recipe_name: str = "default",
    data_dir: str | None = None,
    options: Reading = Reading(),
    resume: bool = False,
    parent: Path | None = None,
    finetune: Path | None = None,
    every: Every = Every(),  # noqa: B008 - frozen
    on_epoch: Callable[[Record], object] = lambda record: None,
    on_refit: Callable[[Record, int], object] = lambda record, epochs: None,
    notice: Callable[[str], object] = lambda text: None,
) -> Result:
    """Train in a run directory. With `resume`, continue from its newest intact checkpoint.

    A resumed run ends with the same bits as an uninterrupted run. After Ctrl-C, SIGTERM or an error of
    `on_epoch`, the run finishes the current epoch, writes everything and raises. A second signal ends the
    process at once; this does not damage the run either.

    If several processes train together (`hosts`), the first one writes the directory. They resume a
    run without `resume`, because a launcher starts them again by the same command.

    Parameters
    ----------
    path : path
        The directory. It is created if it does not exist.
    dataset : Dataset
    recipe : Recipe
    recipe_name, data_dir, options
        How the data were read. `config.json` records them, so that the path alone is enough to resume.
    resume : bool, default False
        Continue the run in `path`.
    parent : path, optional
        The run to go on from. The new run begins at its last state, and `recipe.epochs` counts its epochs,
        too. Numbers of the recipe may differ; what shapes the network may not. The parent is not changed.
    finetune : path, optional
        The run, or the model file, whose network the new run begins with where it fits; see
        `finetune.kept_of`. It must stay until the new run has ended.
    every : Every, optional
        How often to write a checkpoint; after each epoch by default. An epoch is skipped while the previous
        checkpoint is still being written.
    on_epoch : callable, optional
        Called with the record of each epoch. A resumed run first repeats the earlier records.
    on_refit : callable, optional
        With `recipe.refit`: called with the record of each epoch on all rows, and their number.
    notice : callable, optional
        Called with one line for the user, for example about a changed version or a damaged checkpoint.

    Returns
    -------
    Result

    Raises
    ------
    InputError
        If `path` is a file or cannot be written; if it holds a run and `resume` is False, or no run and
        `resume` is True; if another process uses it; if the run has another recipe or other data; or if it
        cannot go on from `parent`.
    DivergedError
        If the loss became NaN or infinite. The directory keeps the best weights before that.
    InterruptedRun
        After Ctrl-C or SIGTERM.
    OSError
        If the disk is full or the directory was removed. The last checkpoint is intact.
    """
    path = Path(path)
    resume = resume or (hosts.count() > 1 and (path / "config.json").exists())
    begun = read_config(path) if resume and (path / "config.json").exists() else None
    if begun:  # which also chose the backend
        _check_setting(path, "devices", begun.recipe.devices, recipe.devices)
    origin, before = (begun and begun.parent), begun
    if parent is not None and not resume:
        before, origin = parent_of(parent)
    # A run goes on by the backend that it began with.
    backend = before.backend if before and recipe.backend == "auto" else recipe.backend
    tuned, network = _begun_with(begun, finetune)
    problem = prepare(dataset, recipe.replace(backend=backend), origin=network)
    config = config_of(dataset, recipe, recipe_name, data_dir, options, problem.training.backend)
    config = dataclasses.replace(config, parent=origin, finetune=tuned)
    if origin:
        problem = problem._replace(training=restarted(problem.training, origin))
    if recipe.refit and hosts.count() > 1:
        raise InputError("refit is for one process; leave it out, or train in one process")
    hosts.all_equal(
        {"data": config.fingerprint, "settings": config.identity, "versions": str(config.versions)}
    )
    with hosts.told_of_the_lost(f"nothing is lost; {hosts.AGAIN}"):
        if hosts.index() > 0:
            return _follow(problem, config)
        with _writing(path, config, dataset, problem, network, resume, before, notice) as (run, caught):
            for row in run.history[origin.epochs if origin else 0 :]:
                on_epoch(row)
            return _lead(run, every, on_epoch, on_refit, caught, resume)


def _lead(
    run: "_Run", every: Every, on_epoch: Callable[[Record], object],
    on_refit: Callable[[Record, int], object], caught: list[int], resume: bool,
) -> Result:  # fmt: skip
    """Train to the end and write the run; other processes may train with this one."""
    try:
        again, trained, interrupted, unheard = run.train_both(every, on_epoch, on_refit, caught)
    except DivergedError:  # the writer has ended: nobody else writes the files
        with hosts.leading():
            run.finish("diverged")
        hosts.from_first()  # the others wait for it
        raise
    if resume and not trained:
        run.notice(f"{run.path} had come to its end; no epoch was left to train")
    over = "finished" if len(run.history) == run.config.recipe.epochs else "stopped early"
    with hosts.leading():
        result = run.finish("interrupted" if interrupted else over, None if interrupted else again)
    hosts.from_first(json.dumps(result._asdict()).encode())
    if interrupted and (caught or not unheard):
        where = f"{len(again.history)} on all rows" if again else str(len(run.history))
        raise _interruption(caught, where, run.path)
    if unheard:
        raise unheard
    return result


def _begun_with(begun: Config | None, finetune: Path | None) -> tuple[Tuned | None, Origin | None]:
    """Return how a run refers to the network that it begins with, and the network."""
    if begun:
        return begun.finetune, origin_of(begun.finetune) if begun.finetune else None
    return begin_with(finetune) if finetune else (None, None)


@contextmanager
def _writing(
    path: Path, config: Config, dataset: Dataset, problem: Problem, network: Origin | None, resume: bool,
    before: Config | None, notice: Callable[[str], object],
) -> Generator[tuple["_Run", list[int]]]:  # fmt: skip
    """Yield the run in a directory that this process has locked, and the list of the signals it gets."""
    with ExitStack() as stack:
        with hosts.leading():
            check_free(path, resume)
            still_ours = stack.enter_context(locked(path, notice))
            caught = stack.enter_context(signals())
            checkpoints.sweep(path)
            if resume:
                check_same(path, read_config(path), config, notice)
            else:
                check_run_folder(path, resume)  # again, now that no other process can start one here
                if before:
                    check_child(before, config, notice)
                    tell_versions(before, config, notice)
                write_config(path, config)
            start = initial_state(problem.params, problem.training, config.recipe.seed)
            run = _Run(path, config, dataset, problem, start, config.parent, network, still_ours, notice)
            if slower := cannot_pay(problem.params, problem.training):
                notice(slower)
        if hosts.count() > 1:
            hosts.from_first(_packed(run.state, run.history, problem.training))
        yield run, caught


def _follow(problem: Problem, config: Config) -> Result:
    """Train with a first process, which writes the run; return how it ended."""
    start = initial_state(problem.params, problem.training, config.recipe.seed)
    state, history = _unpacked(hosts.from_first(), start, problem.training)
    problem = _as_recorded(problem, history)
    with signals() as caught:
        try:
            for _, records in problem.epochs(state):
                if not _is_over(records[-1], config.recipe) and hosts.any_of(bool(caught)):
                    break
        except DivergedError:
            hosts.from_first()
            raise
        result = Result(**json.loads(hosts.from_first()))
    if result.state == "interrupted":
        raise _interruption(caught, str(result.epochs))
    return result


def _packed(state: State, history: list[Record], training: Training) -> bytes:
    """Return a state and the records before it as bytes, for the other processes."""
    packed = io.BytesIO()
    checkpoints.write(packed, arrays_of(state, training), {"history": history})
    return packed.getvalue()


def _unpacked(content: bytes, like: State, training: Training) -> tuple[State, list[Record]]:
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in arrays_of(like, training)}
        return state_of(arrays, like, training), json.loads(stored["record"].tobytes())["history"]


def _as_recorded(problem: Problem, history: list[Record]) -> Problem:
    """Return the problem with the figures that a run has recorded so far.

    A file has one set of columns, which earlier versions chose.
    """
    if not history:
        return problem
    recorded = tuple(n for n in history[0] if n.startswith(("train_", "valid_")))
    plan = dataclasses.replace(problem.training.plan, figures=recorded)
    return problem._replace(training=problem.training._replace(plan=plan))


def _is_over(last: Record, recipe: Recipe) -> bool:
    return last["epoch"] == recipe.epochs or not math.isfinite(last["loss"])


def _interruption(caught: list[int], where: str, path: Path | None = None) -> InterruptedRun:
    """Return the error of a run that a signal has ended; another process may have got it."""
    number = caught[0] if caught else int(signal.SIGTERM)
    remedy = hosts.AGAIN if hosts.count() > 1 else f"go on with: mlpax resume {path}"
    return InterruptedRun(number, f"interrupted after epoch {where}; nothing is lost; {remedy}")


@dataclasses.dataclass
class _Run:
    """A run directory that is being written: what was given, and how far the training is."""

    path: Path
    config: Config
    dataset: Dataset
    problem: Problem
    start: State | None  # before the first epoch; None for that of the problem
    origin: Parent | None  # the run to go on from
    network: Origin | None  # the network to begin with
    still_ours: Callable[[], None]  # raises if the lock was taken away
    notice: Callable[[str], object]

    def __post_init__(self) -> None:
        """Start at the newest whole checkpoint, or before the first epoch."""
        (self.path / "checkpoints").mkdir(exist_ok=True)
        recipe, training = self.config.recipe, self.problem.training
        start = self.start or initial_state(self.problem.params, training, recipe.seed)
        arrays, record, damaged = checkpoints.latest(
            self.path / "checkpoints", arrays_of(start, training), self.config.identity
        )
        if not record and self.origin:
            arrays, record = state_of_parent(self.origin, arrays, self.notice)
        if record.get("format") == 1:  # which did not say whether patience had ended the run
            arrays["watch/stopped"] = np.array(0 < recipe.patience <= int(arrays["watch/waited"]))
            self.notice(
                "the run was begun by an earlier version of mlpax; its last digits may come out differently"
            )
        self.problem = _as_recorded(self.problem, record.get("history", []))
        if self.network and not record:
            self.notice(kept_of(self.dataset, recipe, self.network).line)
        for line in damaged:
            self.notice(f"passed over {line}; going on from epoch {record['epoch']}")
        self.state, self.history = state_of(arrays, start, training), list[Record](record.get("history", []))

    def train_both(
        self,
        every: Every,
        on_epoch: Callable[[Record], object],
        on_refit: Callable[[Record, int], object],
        caught: list[int],
    ) -> tuple["_Run | None", int, bool, Exception | None]:
        """Train to the end, and then, if the recipe says `refit`, on all rows.

        Returns
        -------
        again : _Run or None
            The second training.
        trained : int
            Epochs of both.
        interrupted, unheard
            As of `train`.
        """
        before = len(self.history)
        interrupted, unheard = self.train(every, on_epoch, caught)
        trained = len(self.history) - before
        if not self.config.recipe.refit:
            return None, trained, interrupted, unheard
        if interrupted or unheard or caught:
            return None, trained, True, unheard
        again = self.on_all_rows()
        before, epochs = len(again.history), again.config.recipe.epochs
        for row in again.history:
            on_refit(row, epochs)
        interrupted, unheard = again.train(every, lambda row: on_refit(row, epochs), caught)
        return again, trained + len(again.history) - before, interrupted, unheard

    def train(
        self, every: Every, on_epoch: Callable[[Record], object], caught: list[int]
    ) -> tuple[bool, Exception | None]:
        """Train to the end, or until a signal or an error of `on_epoch`, and write checkpoints on the way.

        Returns
        -------
        interrupted : bool
            Whether epochs are left that were not run.
        unheard : Exception or None
            The error of `on_epoch`.
        """
        unheard = None
        with ThreadPoolExecutor(1) as thread:
            writer = _Writer(self, every, thread)
            for self.state, records in self.problem.epochs(self.state):
                self.history += records
                try:
                    for row in records:
                        on_epoch(row)
                except Exception as error:  # nobody listens: what was learned is kept first
                    unheard = error
                writer.offer()
                over = _is_over(self.history[-1], self.config.recipe)
                if not over and hosts.any_of(bool(unheard or caught)):
                    writer.settle()
                    return True, unheard
            writer.settle()
        return False, unheard

    def on_all_rows(self) -> "_Run":
        """Return the second training, from the start on all rows, in a folder of its own; see `refit_of`."""
        recipe, training = self.config.recipe, self.problem.training
        problem, start = refit_of(self.dataset, recipe, training, self.state, self.network)
        folder, epochs = self.path / REFIT, int(np.max(problem.training.hyper.epochs))
        recipe = recipe.replace(epochs=epochs, refit=False, patience=0)
        own = Parent(str(self.path.resolve()), self.config.identity, epochs)
        config = dataclasses.replace(self.config, recipe=recipe, parent=own)
        check_folder(folder)
        folder.mkdir(exist_ok=True)
        checkpoints.sweep(folder)
        return _Run(folder, config, self.dataset, problem, start, None, None, self.still_ours, self.notice)

    def write_checkpoint(self, arrays: checkpoints.Arrays, history: list[Record], best: int) -> None:
        """Write a checkpoint and `metrics.csv`. Remove old checkpoints, but not that of epoch `best`."""
        self.still_ours()
        folder = self.path / "checkpoints"
        record = {"epoch": len(history), "run": self.config.identity, "history": history}
        checkpoints.save(folder, arrays, record)
        checkpoints.prune(folder, len(history), best)
        write_history(self.path, history)

    def finish(self, ended: str, again: "_Run | None" = None) -> Result:
        """Write the model of the parameters that are kept, the result, and the curves.

        With `again`, the second training, the model is the one on all rows. The validation figures are those
        of the first.
        """
        self.still_ours()
        history, best = self.history, best_epoch(self.state)
        if lost := lost_members(self.state):
            self.notice(lost)
        kept = self.config.kept_epoch(ended, best, len(history))
        metrics: dict[str, float] = {}
        write_history(self.path, history)
        if history and "waited" in history[-1]:  # the rows came in chunks
            waited = sum(row["waited"] for row in history)
            share = waited / (waited + sum(row["seconds"] for row in history))
            self.notice(f"the program waited for rows during {share:.1%} of the time")
        if kept:
            diverged = ended == "diverged"
            params = self._best() if diverged else chosen(self.state, self.problem.training.plan)
            model = self.problem.model(params)
            metrics = {k: v for k, v in history[kept - 1].items() if k not in ("epoch", "seconds", "waited")}
            if again:
                trained = chosen(again.state, again.problem.training.plan)
                model = refitted(model, again.problem.model(trained), again.problem)
                write_history(again.path, again.history)
                metrics |= {k: v for k, v in again.history[-1].items() if k in metrics}
            if len(self.dataset.X_test):
                metrics |= self._of_test(model)
            metrics = {k: v for k, v in metrics.items() if math.isfinite(v)}  # JSON has no NaN
            config = self.config
            provenance = model.provenance | {
                "dataset": whole_text(config.dataset),
                "fingerprint": config.fingerprint,
                **config.versions,
            }
            if config.finetune:
                provenance["finetuned"] = whole_text(config.finetune.path)
            if shape := self.dataset.image_shape:
                provenance["background"] = images.background(self.dataset.X_train, shape)
            model = dataclasses.replace(model, metrics=metrics, provenance=provenance)
            model.save(self.path / "model.safetensors")
        seconds = sum(row["seconds"] for row in history + (again.history if again else []))
        result = Result(ended, len(history), best, seconds, metrics, len(again.history) if again else 0)
        write_json(self.path / "result.json", result._asdict())
        if kept and (
            hosts.count() == 1 or ended != "interrupted"
        ):  # a launcher may wait for a few seconds only
            self._draw(kept)
        return result

    def _best(self) -> Pytree:
        """Return the best parameters before a divergence; of several members those that had a best epoch."""
        if self.config.recipe.members == 1:
            return self.state.best
        epochs = np.asarray(self.state.watch.epoch)
        return [member(self.state.best, int(k)) for k in np.flatnonzero(epochs > 0)]

    def _of_test(self, model: Model) -> dict[str, float]:
        """Return the figures of the test rows; say so if there are none, and go on without them."""
        try:
            rows = self.dataset
            of_test = model.score(model.forward(rows.X_test), rows.y_test, rows.weight_held)
        except InputError as error:  # an output that is not finite
            self.notice(f"the run is kept without figures of its test rows: {error}")
            return {}
        return {f"test_{name}": value for name, value in of_test.items()}

    def _draw(self, kept: int) -> None:
        """Draw the curves. If that fails, say so; the run is complete without the picture."""
        from mlpax import plots  # matplotlib takes half a second

        try:
            title = f"{short_name(self.config.dataset)}, {self.config.recipe_name}"
            marked = kept if self.config.recipe.members == 1 else 0  # of several each has its own
            plots.save(plots.curves(self.history, title, marked), self.path / "curves.png")
        except Exception as error:  # matplotlib and its backends raise many kinds
            said = " ".join(str(error).split()) or type(error).__name__
            self.notice(f"the run is kept, but its curves.png could not be drawn: {said}")


class _Writer:
    """Write checkpoints in a background thread, so that training does not wait for the disk."""

    def __init__(self, run: _Run, every: Every, thread: ThreadPoolExecutor):
        self.run, self.every, self.thread = run, every, thread
        self.written, self.time = len(run.history), time.monotonic()
        self.pending: Future[None] = Future()  # the last write; its result raises the error of a failed one
        self.pending.set_result(None)

    def offer(self) -> None:
        """Write this epoch, unless it is too early, the last write is not finished, or the loss is NaN."""
        if not self.pending.done():
            return
        self.pending.result()
        history = self.run.history
        due = len(history) - self.written >= self.every.epochs
        due = due and time.monotonic() - self.time >= self.every.seconds
        if due and math.isfinite(history[-1]["loss"]):
            self._submit()

    def settle(self) -> None:
        """Write the last epoch, and wait until it is on the disk."""
        self.pending.result()
        if self.written != len(self.run.history):
            self._submit()
            self.pending.result()

    def _submit(self) -> None:
        state, history = self.run.state, list(self.run.history)
        self.written, self.time = len(history), time.monotonic()
        best = best_epoch(state)
        arrays = arrays_of(state, self.run.problem.training)
        self.pending = self.thread.submit(self.run.write_checkpoint, arrays, history, best)


def _versions(backend: str) -> dict[str, str]:
    """Return the versions of what decides the bits."""
    found = {name: metadata.version(name) for name in ("mlpax", "jax", "jaxlib", "numpy", "optax")}
    return found | ({"native instructions": instructions()} if backend == "native" else {})


def config_of(
    dataset: Dataset, recipe: Recipe, name: str, data_dir: str | None, options: Reading, backend: str
) -> Config:
    """Return what `config.json` says of a run."""
    return Config(
        dataset=dataset.name,
        data_dir=data_dir,
        fingerprint=dataset.fingerprint,
        recipe_name=name,
        recipe=recipe,
        versions=_versions(backend),
        device=device_kind(backend),
        options=options,
        backend=backend,
    )


def check_free(path: Path, resume: bool) -> None:
    """Raise an error if a process writes a run in `path`, or none can start, or resume, there."""
    if process := holder(path):
        raise InputError(f"{path} is being written by {process}; wait for it, or choose another folder")
    check_run_folder(path, resume)


def check_run_folder(path: Path, resume: bool) -> None:
    """Raise an error unless a run can start, or resume, in `path`. Write nothing."""
    exists = os.path.lexists(path / "config.json")
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; a run takes a folder")
    if resume and not exists:
        raise InputError(f"{path} holds no run to resume; start one without resume")
    if exists and not resume:
        raise InputError(f"{path} already holds a run; resume it, or choose another folder")
    check_folder(path / "checkpoints")
    others = path.iterdir() if path.is_dir() and not exists else ()
    if any(p.name != LOCK and not p.name.endswith(TEMPORARY) for p in others):  # a killed start leaves these
        raise InputError(f"{path} has other things in it; choose an empty or a new folder")


def check_same(path: Path, old: Config, new: Config, notice: Callable[[str], object]) -> None:
    """Compare the settings of the run with those of the resumption.

    Raise an error for a difference that changes the result. Give notice of one that may change the last bits.
    """
    if old.dataset != new.dataset:
        raise InputError(f"this run's data set is {old.dataset!r}, not {new.dataset!r}")
    for field in dataclasses.fields(Recipe):
        was, now = getattr(old.recipe, field.name), getattr(new.recipe, field.name)
        if field.name == "backend":
            was, now = old.backend, new.backend
        _check_setting(path, field.name, was, now)
    if old.fingerprint != new.fingerprint:
        raise InputError(f"the arrays of {old.dataset!r} have changed since this run was started")
    tell_versions(old, new, notice)


def _check_setting(path: Path, name: str, was: object, now: object) -> None:
    if was != now:
        raise InputError(
            f"this run was started with {name} {was}, not {now}; to continue with {was}: mlpax resume {path}"
        )


def tell_versions(old: Config, new: Config, notice: Callable[[str], object]) -> None:
    """Give notice of what differs between two runs and may change the last bits."""
    before, after = ({**config.versions, "the device": config.device} for config in (old, new))
    for name in sorted(before.keys() | after.keys()):
        was, now = before.get(name), after.get(name)
        if was != now:
            notice(f"{name} was {was} and is {now}: the last bits may differ")
