"""Train in a run directory: atomic checkpoints, exact resume."""

import dataclasses
import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import jax

from mlpax.atomic import TEMPORARY
from mlpax.data.dataset import Dataset
from mlpax.data.sources import Reading
from mlpax.engine.xla.training import Record, TrainState, chosen, epochs, initial_state
from mlpax.errors import DivergedError, InputError, InterruptedRun
from mlpax.model.fit_model import Problem, prepare
from mlpax.recipes import Recipe
from mlpax.runs import checkpoints
from mlpax.runs.locks import LOCK, holder, locked, signals
from mlpax.runs.run_files import Config, Result, read_config, write_config, write_history, write_json

__all__ = ["Every", "new_folder", "train"]


class Every(NamedTuple):
    """How often to write a checkpoint: after at least this many epochs and at least this many seconds."""

    epochs: int = 1
    seconds: float = 0.0


def new_folder(parent: Path, dataset: str, recipe: str) -> Path:
    """Return the first path `<parent>/<dataset>-<recipe>-<n>` that does not exist yet."""
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
    options: Reading = Reading(),  # noqa: B008 - frozen
    resume: bool = False,
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
        `resume` is True; if another process uses it; if the run has another recipe or other data.
    DivergedError
        If the loss became NaN or infinite. The directory keeps the best weights before that.
    InterruptedRun
        After Ctrl-C or SIGTERM.
    OSError
        If the disk is full or the directory was removed. The last checkpoint is intact.
    """
    path = Path(path)
    problem = prepare(dataset, recipe)
    state = initial_state(problem.params, recipe)
    loop = epochs  # checked before anything is written
    loop(state, problem.data, problem.valid, objective=problem.objective, recipe=recipe)
    config = Config(
        dataset=dataset.name,
        data_dir=data_dir,
        fingerprint=dataset.fingerprint,
        recipe_name=recipe_name,
        recipe=recipe,
        versions={name: metadata.version(name) for name in ("mlpax", "jax", "jaxlib", "numpy", "optax")},
        device=jax.devices()[0].device_kind,
        options=options,
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
        state, record, damaged = checkpoints.latest(path / "checkpoints", state, config.identity)
        for line in damaged:
            notice(f"passed over {line}; going on from epoch {record['epoch']}")
        history: list[Record] = list(record.get("history", []))
        for row in history:
            on_epoch(row)
        ended, unheard = "", None
        try:
            with _Writer(path, config, every, len(history), still_ours) as writer:
                for state, records in loop(
                    state, problem.data, problem.valid, objective=problem.objective, recipe=recipe
                ):
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
    """Write checkpoints and metrics in a background thread, so that training does not wait for the disk."""

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

    def offer(self, state: TrainState, history: list[Record]) -> None:
        """Write this epoch, unless it is too early, the last write is not finished, or the loss is NaN."""
        if self.pending and not self.pending.done():
            return
        self._written()
        due = len(history) - self.written >= self.every.epochs
        due = due and time.monotonic() - self.time >= self.every.seconds
        if due and math.isfinite(history[-1]["loss"]):
            self._submit(state, history)

    def settle(self, state: TrainState, history: list[Record]) -> None:
        """Write the last epoch, and wait until it is on the disk."""
        self._written()
        if history and self.written != len(history):
            self._submit(state, history)
            self._written()

    def _written(self) -> None:
        """Wait for the last write, and raise its error if it failed."""
        if self.pending:
            self.pending.result()
            self.pending = None

    def _submit(self, state: TrainState, history: list[Record]) -> None:
        self.written, self.time = len(history), time.monotonic()
        self.pending = self.pool.submit(
            self._write, checkpoints.snapshot(state), list(history), int(state.watch.epoch)
        )

    def _write(self, arrays: checkpoints.Arrays, history: list[Record], best: int) -> None:
        self.still_ours()
        folder = self.path / "checkpoints"
        record = {"epoch": len(history), "run": self.config.identity, "history": history}
        checkpoints.save(folder, arrays, record)
        checkpoints.prune(folder, len(history), best)
        write_history(self.path, history)


def _finish(
    path: Path, config: Config, problem: Problem, dataset: Dataset, state: TrainState,
    history: list[Record], ended: str, notice: Callable[[str], object],
) -> Result:  # fmt: skip
    """Write the model of the kept parameters, the result, and the curves."""
    recipe = config.recipe
    best = int(state.watch.epoch)
    kept = config.kept_epoch(ended, best, len(history))
    params = state.watch.params if ended == "diverged" else chosen(state, recipe)
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
        _draw(path, config, history, kept, notice)
    return result


def _draw(
    path: Path, config: Config, history: list[Record], kept: int, notice: Callable[[str], object]
) -> None:
    """Draw the curves. If that fails, say so; the run is complete without the picture."""
    from mlpax import plots  # matplotlib takes half a second

    try:
        title = f"{Path(config.dataset).stem}, {config.recipe_name}"
        plots.save(plots.curves(history, title, kept), path / "curves.png")
    except Exception as error:  # matplotlib and its backends raise many kinds
        said = " ".join(str(error).split()) or type(error).__name__
        notice(f"the run is kept, but its curves.png could not be drawn: {said}")


def _check_folder(path: Path, resume: bool) -> None:
    """Raise an error unless a run can start, or resume, in `path`. Write nothing."""
    exists = (path / "config.json").exists()
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; a run takes a folder")
    if resume and not exists:
        raise InputError(f"{path} holds no run to resume; start one without resume")
    if exists and not resume:
        raise InputError(f"{path} already holds a run; resume it, or choose another folder")
    others = path.iterdir() if path.is_dir() and not exists else ()
    if any(p.name != LOCK and not p.name.endswith(TEMPORARY) for p in others):  # a killed start leaves these
        raise InputError(f"{path} has other things in it; choose an empty or a new folder")


def _same(path: Path, old: Config, new: Config, notice: Callable[[str], object]) -> None:
    """Compare the settings of the run with those of the resumption.

    Raise an error for a difference that changes the result. Give notice of one that may change the last bits.
    """
    if old.dataset != new.dataset:
        raise InputError(f"this run's data set is {old.dataset!r}, not {new.dataset!r}")
    for field in dataclasses.fields(Recipe):
        was, now = getattr(old.recipe, field.name), getattr(new.recipe, field.name)
        if was != now:
            raise InputError(
                f"this run was started with {field.name} {was}, not {now}; to continue with {was}:"
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
