"""Train in a run directory: atomic checkpoints, exact resume."""

import dataclasses
import itertools
import math
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlpax.atomic import TEMPORARY, check_folder
from mlpax.data import images
from mlpax.data.dataset import Dataset
from mlpax.data.reading import Reading
from mlpax.data.sources import short_name
from mlpax.engine.native.library import instructions
from mlpax.engine.plan import Pytree
from mlpax.engine.population import lost_members
from mlpax.engine.state import best_epoch
from mlpax.engine.training import Record, arrays_of, chosen, device_kind, initial_state, state_of
from mlpax.engine.trees import member
from mlpax.errors import DivergedError, InputError, InterruptedRun
from mlpax.model.fit_model import Problem, prepare
from mlpax.model.model import Model, whole_text
from mlpax.recipes import Recipe
from mlpax.runs import checkpoints
from mlpax.runs.locks import LOCK, holder, locked, signals
from mlpax.runs.parent import check_child, parent_of, restarted, state_of_parent
from mlpax.runs.run_files import Config, Result, read_config, write_config, write_history, write_json

__all__ = ["Every", "check_run_folder", "check_same", "config_of", "new_folder", "tell_versions", "train"]


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
    every: Every = Every(),  # noqa: B008 - frozen
    on_epoch: Callable[[Record], object] = lambda record: None,
    notice: Callable[[str], object] = lambda text: None,
) -> Result:
    """Train in a run directory. With `resume`, continue from its newest intact checkpoint.

    A resumed run ends with the same bits as an uninterrupted run. After Ctrl-C, SIGTERM or an error of
    `on_epoch`, the run finishes the current epoch, writes everything and raises. A second signal ends the
    process at once; this does not damage the run either.

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
    every : Every, optional
        How often to write a checkpoint; after each epoch by default. An epoch is skipped while the previous
        checkpoint is still being written.
    on_epoch : callable, optional
        Called with the record of each epoch. A resumed run first repeats the earlier records.
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
    begun = read_config(path) if resume and (path / "config.json").exists() else None
    origin, before = (begun and begun.parent), begun
    if parent is not None and not resume:
        before, origin = parent_of(parent)
    # A run goes on by the backend that it began with.
    backend = before.backend if before and recipe.backend == "auto" else recipe.backend
    problem = prepare(dataset, recipe.replace(backend=backend))
    config = config_of(dataset, recipe, recipe_name, data_dir, options, problem.training.backend)
    config = dataclasses.replace(config, parent=origin)
    if origin:
        problem = problem._replace(training=restarted(problem.training, origin))
    if process := holder(path):
        raise InputError(f"{path} is being written by {process}; wait for it, or choose another folder")
    check_run_folder(path, resume)
    with locked(path, notice) as still_ours, signals() as caught:
        checkpoints.sweep(path)
        if resume:
            check_same(path, read_config(path), config, notice)
        else:
            check_run_folder(path, resume)  # again, now that no other process can start one here
            if before:
                check_child(before, config, notice)
                tell_versions(before, config, notice)
            write_config(path, config)
        run = _Run(path, config, dataset, problem, still_ours, notice)
        repeated = len(run.history)
        for row in run.history[origin.epochs if origin else 0 :]:
            on_epoch(row)
        try:
            interrupted, unheard = run.train(every, on_epoch, caught)
        except DivergedError:  # the writer has ended: nobody else writes the files
            run.finish("diverged")
            raise
        if resume and len(run.history) == repeated:
            notice(f"{path} had come to its end; no epoch was left to train")
        over = "finished" if len(run.history) == recipe.epochs else "stopped early"
        result = run.finish("interrupted" if interrupted else over)
        if caught and interrupted:
            remedy = f"nothing is lost; go on with: mlpax resume {path}"
            raise InterruptedRun(caught[0], f"interrupted after epoch {len(run.history)}; {remedy}")
        if unheard:
            raise unheard
    return result


@dataclasses.dataclass
class _Run:
    """A run directory that is being written: what was given, and how far the training is."""

    path: Path
    config: Config
    dataset: Dataset
    problem: Problem
    still_ours: Callable[[], None]  # raises if the lock was taken away
    notice: Callable[[str], object]

    def __post_init__(self) -> None:
        """Start at the newest whole checkpoint, or before the first epoch."""
        (self.path / "checkpoints").mkdir(exist_ok=True)
        recipe, training = self.config.recipe, self.problem.training
        start = initial_state(self.problem.params, training, recipe.seed)
        arrays, record, damaged = checkpoints.latest(
            self.path / "checkpoints", arrays_of(start, training), self.config.identity
        )
        if not record and self.config.parent:
            arrays, record = state_of_parent(self.config.parent, arrays, self.notice)
        if record.get("format") == 1:  # which did not say whether patience had ended the run
            arrays["watch/stopped"] = np.array(0 < recipe.patience <= int(arrays["watch/waited"]))
            self.notice(
                "the run was begun by an earlier version of mlpax; its last digits may come out differently"
            )
        if history := record.get("history"):  # a file has one set of columns, which earlier versions chose
            recorded = tuple(n for n in history[0] if n.startswith(("train_", "valid_")))
            plan = dataclasses.replace(training.plan, figures=recorded)
            self.problem = self.problem._replace(training=training._replace(plan=plan))
        for line in damaged:
            self.notice(f"passed over {line}; going on from epoch {record['epoch']}")
        self.state, self.history = state_of(arrays, start, training), list[Record](record.get("history", []))

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
                last = self.history[-1]
                over = last["epoch"] == self.config.recipe.epochs or not math.isfinite(last["loss"])
                if (unheard or caught) and not over:
                    writer.settle()
                    return True, unheard
            writer.settle()
        return False, unheard

    def write_checkpoint(self, arrays: checkpoints.Arrays, history: list[Record], best: int) -> None:
        """Write a checkpoint and `metrics.csv`. Remove old checkpoints, but not that of epoch `best`."""
        self.still_ours()
        folder = self.path / "checkpoints"
        record = {"epoch": len(history), "run": self.config.identity, "history": history}
        checkpoints.save(folder, arrays, record)
        checkpoints.prune(folder, len(history), best)
        write_history(self.path, history)

    def finish(self, ended: str) -> Result:
        """Write the model of the parameters that are kept, the result, and the curves."""
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
            if len(self.dataset.X_test):
                metrics |= self._of_test(model)
            metrics = {k: v for k, v in metrics.items() if math.isfinite(v)}  # JSON has no NaN
            config = self.config
            provenance = {
                "dataset": whole_text(config.dataset),
                "fingerprint": config.fingerprint,
                **config.versions,
            }
            if shape := self.dataset.image_shape:
                provenance["background"] = images.background(self.dataset.X_train, shape)
            model = dataclasses.replace(model, metrics=metrics, provenance=provenance)
            model.save(self.path / "model.safetensors")
        result = Result(ended, len(history), best, sum(row["seconds"] for row in history), metrics)
        write_json(self.path / "result.json", result._asdict())
        if kept:
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
            of_test = model.score(model.forward(self.dataset.X_test), self.dataset.y_test)
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
        if was != now:
            raise InputError(
                f"this run was started with {field.name} {was}, not {now}; to continue with {was}:"
                f" mlpax resume {path}"
            )
    if old.fingerprint != new.fingerprint:
        raise InputError(f"the arrays of {old.dataset!r} have changed since this run was started")
    tell_versions(old, new, notice)


def tell_versions(old: Config, new: Config, notice: Callable[[str], object]) -> None:
    """Give notice of what differs between two runs and may change the last bits."""
    before, after = ({**config.versions, "the device": config.device} for config in (old, new))
    for name in sorted(before.keys() | after.keys()):
        was, now = before.get(name), after.get(name)
        if was != now:
            notice(f"{name} was {was} and is {now}: the last bits may differ")
