"""Training in a run directory: atomic checkpoints, exact resume."""

import dataclasses
import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlpax.atomic import TEMPORARY
from mlpax.data.dataset import Dataset
from mlpax.engine.training import Record, arrays_of, chosen, device_kind, epochs, initial_state, state_of
from mlpax.errors import DivergedError, InputError, InterruptedRun
from mlpax.model.fit_model import Problem, prepare
from mlpax.recipes import Recipe
from mlpax.runs import checkpoints
from mlpax.runs.locks import LOCK, holder, locked, signals
from mlpax.runs.run_files import Config, Result, read_config, write_config, write_history, write_json

if TYPE_CHECKING:
    from mlpax.engine.xla.epoch import State

__all__ = ["Every", "new_folder", "train"]


class Every(NamedTuple):
    """How often to write a checkpoint: when both so many epochs and so many seconds have passed."""

    epochs: int = 1
    seconds: float = 0.0


def new_folder(parent: Path, dataset: str, recipe: str) -> Path:
    """The first free `<parent>/<dataset>-<recipe>-<n>`."""
    n = 1
    while (path := parent / f"{dataset}-{recipe}-{n}").exists():
        n += 1
    return path


def train(
    path: str | Path,
    dataset: Dataset,
    recipe: Recipe,
    *,
    recipe_name: str = "default",
    data_dir: str | None = None,
    options: dict[str, Any] | None = None,
    resume: bool = False,
    every: Every = Every(),  # noqa: B008 - frozen
    on_epoch: Callable[[Record], object] = lambda record: None,
    notice: Callable[[str], object] = lambda text: None,
) -> Result:
    """Train in a run directory; with `resume`, go on from its newest whole checkpoint.

    A resumed run ends with the bits of an unbroken one. Ctrl-C and SIGTERM finish the epoch in hand,
    write everything and raise, and so does an error of `on_epoch`; a second signal leaves at once, which
    damages nothing either.

    Parameters
    ----------
    path : path
        The directory, made where missing.
    dataset : Dataset
    recipe : Recipe
    recipe_name, data_dir, options
        What the data were read by; recorded in `config.json`, so that a run is resumed by its path alone.
    resume : bool, default False
        Go on with the run that `path` holds.
    every : Every, optional
        How often to write a checkpoint; after each epoch by default. One still being written lets the
        next pass.
    on_epoch : callable, optional
        Called with each epoch's record; on resuming, with the earlier ones' too.
    notice : callable, optional
        Called with a line for what the user should know: a changed version, a damaged checkpoint.

    Returns
    -------
    Result

    Raises
    ------
    InputError
        If `path` is a file, cannot be written, holds a run (without `resume`) or none (with it), is
        in use by another process, or was started with another recipe or other data.
    DivergedError
        If the loss became NaN or infinite; the best weights before are kept in the directory.
    InterruptedRun
        After Ctrl-C or SIGTERM.
    OSError
        If the disk is full or the directory vanished; the last checkpoint is whole.
    """
    path = Path(path)
    problem = prepare(dataset, recipe)
    state = initial_state(problem.params, problem.training, recipe.seed)
    config = Config(
        dataset=dataset.name,
        data_dir=data_dir,
        fingerprint=dataset.fingerprint,
        recipe_name=recipe_name,
        recipe=recipe,
        versions={name: metadata.version(name) for name in ("mlpax", "jax", "jaxlib", "numpy", "optax")},
        device=device_kind(),
        options=options or {},
    )
    if process := holder(path):
        raise InputError(f"{path} is being written by {process}; wait for it, or choose another folder")
    _check_folder(path, resume)
    with locked(path, notice) as still_ours, signals() as caught:
        checkpoints.sweep(path)
        if resume:
            _same(path, read_config(path), config, notice)
        else:
            _check_folder(path, resume)  # again, now that no other process can start one here
            write_config(path, config)
        arrays, record, damaged = checkpoints.latest(path / "checkpoints", arrays_of(state), config.identity)
        if record.get("format") == 1:  # which did not say whether patience had ended the run
            arrays["watch/stopped"] = np.array(0 < recipe.patience <= int(arrays["watch/waited"]))
            notice(
                "the run was begun by an earlier version of mlpax; its last digits may come out differently"
            )
        state = state_of(arrays, state)
        for line in damaged:
            notice(f"passed over {line}; going on from epoch {record['epoch']}")
        history: list[Record] = list(record.get("history", []))
        for row in history:
            on_epoch(row)
        ended, unheard = "", None
        try:
            with _Writer(path, config, every, len(history), still_ours) as writer:
                for state, records in epochs(state, problem.data, problem.valid, problem.training):
                    history += records
                    try:
                        for row in records:
                            on_epoch(row)
                    except Exception as error:  # nobody listens: what was learned is kept first
                        unheard = error
                    writer.offer(state, history)
                    over = len(history) == recipe.epochs or not math.isfinite(history[-1]["loss"])
                    if (unheard or caught) and not over:
                        ended = "interrupted"
                        break
                writer.settle(state, history)
        except DivergedError:  # the writer has ended: nobody else writes the files
            still_ours()
            _finish(path, config, problem, dataset, state, history, "diverged", notice)
            raise
        ended = ended or ("finished" if len(history) == recipe.epochs else "stopped early")
        still_ours()
        if resume and len(history) == len(record.get("history", [])):
            notice(f"{path} had come to its end; no epoch was left to train")
        result = _finish(path, config, problem, dataset, state, history, ended, notice)
        if caught and ended == "interrupted":
            raise InterruptedRun(caught[0], f"interrupted after epoch {len(history)}; nothing is lost")
        if unheard:
            raise unheard
    return result


class _Writer:
    """Writes checkpoints and metrics in the background, the training not waiting for the disk."""

    def __init__(
        self, path: Path, config: Config, every: Every, written: int, still_ours: Callable[[], None]
    ):
        self.path, self.config, self.every, self.still_ours = path, config, every, still_ours
        self.written, self.time = written, time.monotonic()
        self.pool = ThreadPoolExecutor(1)
        self.pending: Future[None] | None = None

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *error: object) -> None:
        self.pool.shutdown(wait=True)

    def offer(self, state: "State", history: list[Record]) -> None:
        """Write this epoch unless it is too early, the last write still runs, or the loss is NaN."""
        if self.pending and not self.pending.done():
            return
        self._written()
        due = len(history) - self.written >= self.every.epochs
        due = due and time.monotonic() - self.time >= self.every.seconds
        if due and math.isfinite(history[-1]["loss"]):
            self._submit(state, history)

    def settle(self, state: "State", history: list[Record]) -> None:
        """Write the last epoch, and wait until it is on the disk."""
        self._written()
        if history and self.written != len(history):
            self._submit(state, history)
            self._written()

    def _written(self) -> None:
        """Wait for the last write; its error is raised here."""
        if self.pending:
            self.pending.result()
            self.pending = None

    def _submit(self, state: "State", history: list[Record]) -> None:
        self.written, self.time = len(history), time.monotonic()
        self.pending = self.pool.submit(self._write, arrays_of(state), list(history), int(state.watch.epoch))

    def _write(self, arrays: checkpoints.Arrays, history: list[Record], best: int) -> None:
        self.still_ours()
        folder = self.path / "checkpoints"
        record = {"epoch": len(history), "run": self.config.identity, "history": history}
        checkpoints.save(folder, arrays, record)
        checkpoints.prune(folder, len(history), best)
        write_history(self.path, history)


def _finish(
    path: Path, config: Config, problem: Problem, dataset: Dataset, state: "State",
    history: list[Record], ended: str, notice: Callable[[str], object],
) -> Result:  # fmt: skip
    """Write the model and the result of the parameters that are kept, and the curves."""
    recipe = config.recipe
    best = int(state.watch.epoch)
    kept = best if ended == "diverged" or (recipe.patience and best) else len(history)
    params = state.best if ended == "diverged" else chosen(state, problem.training.plan)
    metrics: dict[str, float] = {}
    write_history(path, history)
    if kept:
        metrics = {k: v for k, v in history[kept - 1].items() if k not in ("epoch", "seconds")}
        model = problem.model(params)
        provenance = {"dataset": config.dataset, "fingerprint": config.fingerprint, **config.versions}
        if len(dataset.X_test):
            metrics |= {
                f"test_{name}": value
                for name, value in model.score(model.forward(dataset.X_test), dataset.y_test).items()
            }
        metrics = {k: v for k, v in metrics.items() if math.isfinite(v)}  # JSON has no NaN
        model = dataclasses.replace(model, metrics=metrics, provenance=provenance)
        model.save(path / "model.safetensors")
    result = Result(ended, len(history), best, sum(row["seconds"] for row in history), metrics)
    write_json(path / "result.json", result._asdict())
    if kept:
        _draw(path, config, history, notice)
    return result


def _draw(path: Path, config: Config, history: list[Record], notice: Callable[[str], object]) -> None:
    """Draw the curves; without a picture the run is as whole."""
    from mlpax import plots  # matplotlib takes half a second

    try:
        title = f"{Path(config.dataset).stem}, {config.recipe_name}"
        plots.save(plots.curves(history, title), path / "curves.png")
    except Exception as error:  # whatever a library of pictures raises
        said = " ".join(str(error).split()) or type(error).__name__
        notice(f"the run is kept, but its curves.png could not be drawn: {said}")


def _check_folder(path: Path, resume: bool) -> None:
    """Whether a run may start, or go on, in `path`; nothing is written yet."""
    exists = (path / "config.json").exists()
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; a run takes a folder")
    if resume and not exists:
        raise InputError(f"{path} holds no run to resume; start one without resume")
    if exists and not resume:
        raise InputError(f"{path} already holds a run; resume it, or choose another folder")
    others = path.iterdir() if path.is_dir() and not exists else ()
    if any(p.name != LOCK and not p.name.endswith(TEMPORARY) for p in others):  # what a killed start left
        raise InputError(f"{path} has other things in it; choose an empty or a new folder")


def _same(path: Path, old: Config, new: Config, notice: Callable[[str], object]) -> None:
    """Refuse what would change the result; tell of what might change its last bits."""
    if old.dataset != new.dataset:
        raise InputError(f"this run's data set is {old.dataset!r}, not {new.dataset!r}")
    for field in dataclasses.fields(Recipe):
        was, now = getattr(old.recipe, field.name), getattr(new.recipe, field.name)
        if was != now:
            raise InputError(
                f"this run was started with {field.name} {was}, not {now}; as it was, it goes on with:"
                f" mlpax resume {path}"
            )
    if old.fingerprint != new.fingerprint:
        raise InputError(f"the arrays of {old.dataset!r} have changed since this run was started")
    for name in sorted(old.versions.keys() | new.versions.keys()):
        was, now = old.versions.get(name), new.versions.get(name)
        if was != now:
            notice(f"{name} was {was} and is {now}: the last bits may differ")
    if old.device != new.device:
        notice(f"the device was {old.device} and is {new.device}: the last bits may differ")
