"""Train and look at runs from Python: `train`, `load_run`, and the `Run` that both return."""

import dataclasses
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from mlpax.data.chunks import user_cache
from mlpax.data.frames import frames_of, is_one_shot, spooled
from mlpax.data.reading import Reading
from mlpax.data.sources import MEMORY, InMemory, Table, ToTrain, Wanted, check_streamed, short_name, source
from mlpax.data.tables import as_frame
from mlpax.engine.devices import on_device, settings_on
from mlpax.errors import InputError, unknown
from mlpax.model.model import Model
from mlpax.model.model_file import load
from mlpax.notices import in_python, told
from mlpax.recipes import QUALITIES, Recipe
from mlpax.runs import start
from mlpax.runs.examples import Scores, examples, scores_of
from mlpax.runs.figures import drawings_of
from mlpax.runs.logs import logger
from mlpax.runs.own_rows import held_out, own_rows
from mlpax.runs.run import Every
from mlpax.runs.run_files import Config, Result, read_config, read_history, read_result, summary
from mlpax.runs.start import Prepared
from mlpax.wording import epoch_line, table_in_html

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure

__all__ = ["Run", "load_run", "train"]

Epoch = Mapping[str, float]  # the record of an epoch, a row of `Run.history`
Callbacks = Iterable[Callable[[Epoch], object]]

Target = str | tuple[str, ...] | None  # the columns to predict


@dataclass(frozen=True)
class Run:
    """A training and its folder, as `train` and `load_run` return it.

    Attributes
    ----------
    path : Path
        The folder.
    config : Config
        The settings that the run was started with. `config.recipe` is the `Recipe`.
    history : polars.DataFrame
        A row for each epoch: `epoch`, `loss`, the metrics and `seconds`. Of a training on folds there is also
        a column `fold`.
    result : Result or None
        How the run ended: `state`, `epochs`, `best_epoch`, `seconds` and `metrics`. None if the run has not
        ended.
    model : Model
        The trained network. It is read from the folder once.
    moved
        Where the run's data are now, if they have moved, or the rows themselves.

    Examples
    --------
    >>> run = mlpax.load_run("runs/digits-default-1")
    >>> run.result.metrics["valid_accuracy"]
    0.9722222222222222
    """

    path: Path
    moved: Path | InMemory | None = field(default=None, repr=False, compare=False)

    @property
    def config(self) -> Config:
        return read_config(self.path)

    @property
    def history(self) -> "pl.DataFrame":
        import polars as pl

        folds = _folds_of(self.config)
        if not folds:
            return _frame(self.path)
        frames = [_frame(self.path / f"fold-{fold}") for fold in range(1, folds + 1)]
        numbered = [f.with_columns(fold=pl.lit(i)) for i, f in enumerate(frames, 1) if f.height]
        return pl.concat(numbered) if numbered else pl.DataFrame()

    @property
    def result(self) -> Result | None:
        return read_result(self.path)

    @cached_property
    def model(self) -> Model:
        return load(self.path)

    def plot(self, what: str = "curves") -> "Figure":
        """Return a figure of the run, which a notebook shows.

        Parameters
        ----------
        what : str, default "curves"
            The name of a picture that `mlpax plot` writes: "curves"; of a classification "confusion",
            "calibration", "roc" and "precision_recall"; of a regression "predicted" and "residuals"; of
            pictures "mistakes" and "weights".

        Raises
        ------
        InputError
            If the run has no such figure, or its data cannot be read.
        """
        config = self.config
        if what == "curves":
            drawings = drawings_of(self.path, config, None)
            if not drawings:
                raise InputError(f"{self.path} has no epochs yet; train it for one")
            return drawings[what]()
        dataset = own_rows(self.path, None, self.moved)
        held = held_out(self.path, self.model, dataset, None, self.moved)
        drawings = drawings_of(self.path, config, self.model, held)
        if what not in drawings:
            raise unknown("figure", what, drawings)
        return drawings[what]()

    def evaluate(self, data: str | Path | None = None) -> Scores:
        """Return the scores of the network and their 95 % intervals, as `mlpax evaluate` does.

        Parameters
        ----------
        data : str or path, optional
            A table, labelled pictures, or a named set (its test rows). By default the rows that the run held
            out.

        Returns
        -------
        Scores
            `figures` is a dict of scores, see `Model.evaluate`; `intervals` the ends of each.
        """
        named = None if data is None else str(data)
        rows = examples(self.model, self.path, named, None, self.moved, Reading(), told)
        return scores_of(self.model, rows, told)

    def resume(
        self, *, checkpoint_every: int | str = 1, device: str | None = None, verbose: bool = False,
        callbacks: Callbacks = (),
    ) -> "Run":  # fmt: skip
        """Go on with an interrupted run, and return it as it is afterwards.

        It ends with the same bits as an uninterrupted run.

        Parameters
        ----------
        checkpoint_every, device, verbose, callbacks
            See `train`.

        Raises
        ------
        InputError
            If the data are not as they were, or cannot be read.
        """
        every, moved = start.often(checkpoint_every), self.moved
        if folds := _folds_of(self.config):
            with on_device(device):
                return _folded(self.path, start.folds_again(self.path, moved), folds, every, verbose, moved)
        log = "tensorboard" if (self.path / "tensorboard").is_dir() else None
        with start.again(self.path, moved, device) as prepared:
            return _trained(prepared, every, log, verbose, callbacks, moved)

    def _repr_html_(self) -> str:
        found = summary(self.path)
        rows = [
            ("run", self.path),
            ("data", found.data),
            ("recipe", found.recipe),
            ("state", found.state),
            ("epochs", found.epochs),
            ("kept epoch", found.kept or ""),
            (found.metric.replace("_", " ") or "score", "" if found.score is None else f"{found.score:.4g}"),
            ("seconds", f"{found.seconds:.1f}"),
        ]
        return table_in_html(rows)


def load_run(path: str | Path, data: object = None, y: object = None) -> Run:
    """Return the run in a folder that `mlpax train` or `mlpax.train` has made.

    Parameters
    ----------
    path : path
    data, y : optional
        The run's own data, as `train` takes them, if they have moved, or if they were in memory. `Run.plot`
        and `Run.resume` read them.

    Raises
    ------
    InputError
        If there is no run, or its settings are damaged.

    Examples
    --------
    >>> run = mlpax.load_run("runs/digits-default-1")
    >>> run.history["valid_accuracy"].max()
    0.9722222222222222
    """
    config = read_config(Path(path))
    return Run(Path(path), _moved(config, data, y))


def train(
    data: object = None,
    y: object = None,
    *,
    target: Target = None,
    recipe: str | None = None,
    quality: str = QUALITIES[0],
    out: str | Path | None = None,
    resume: bool = False,
    from_run: str | Path | Run | None = None,
    like: str | Path | Run | None = None,
    finetune: str | Path | Run | None = None,
    checkpoint_every: int | str = 1,
    log: str | None = None,
    data_dir: str | Path | None = None,
    device: str | None = None,
    devices: int | str | None = None,
    verbose: bool = False,
    callbacks: Callbacks = (),
    **options: Any,
) -> Run:
    """Train a network and keep everything about the run in a folder, as the command `mlpax train` does.

    The recipe decides every setting that you do not give. What mlpax guessed of the data is told by warnings
    of the category `MlpaxWarning`, and on the logger "mlpax".

    Parameters
    ----------
    data : str, path, frame or array, optional
        What the command takes: the name of a known set, a table, or a folder of pictures. Without, "digits".
        Or a list of the files of a table. Or a table in memory: a polars, pandas or pyarrow frame, a dict of
        columns, or an array (rows, columns). Or pictures: an array of uint8, (rows, height, width) or
        (rows, height, width, 3). Or a table that need not fit in memory: a `pyarrow.dataset`, an iterable of
        frames, or a function that returns an iterator of frames. An iterator is written to the folder
        `cache` first.
    y : array of shape (rows,) or (rows, targets), optional
        The classes or values, if `data` are in memory and the target is no column of them.
    target : str or tuple of str, optional
        The column to predict.
    recipe, quality : str, optional
        The settings to start from, see `mlpax train`.
    out : path, optional
        The folder of the run. By default a new one, `runs/<data>-<recipe>-<n>`.
    resume : bool, default False
        Continue the run in `out`.
    from_run : path or Run, optional
        Go on from this run, which has ended, for `epochs` more; as a new run on the same data. Give `data` if
        they have moved, or if they were in memory.
    like : path or Run, optional
        Take the settings of this run.
    finetune : path or Run, optional
        Begin with the network of this run, or model file. The data may have other columns or classes. What
        fits is kept, and a warning says what. It must stay until the new run has ended.
    checkpoint_every : int or str, default 1
        Time between checkpoints: epochs, or "30s" or "5m".
    log : {"tensorboard"}, optional
        Also write the epochs to a log.
    data_dir : path, optional
        Folder of the known sets' files.
    device : str, optional
        Where to train: "cpu", "gpu", or one of several, "gpu:1". By default the first of JAX's devices.
    devices : int or "all", optional
        Devices of this process that train together; by default one. If `jax.distributed` has joined several
        processes, they train one network together, by default on all devices; give `out`, too.
    verbose : bool, default False
        Print a line for each epoch.
    callbacks : iterable of callables, optional
        Each is called with the record of each epoch, a row of `Run.history`. If one raises an error, the run
        is kept up to this epoch, and can go on.
    **options
        The other options of the command by their names, with `_` for `-`: fields of `Recipe`, such as
        `hidden=(128, 64)` or `epochs=20`, and how to read the data, such as `test=0.2`,
        `column={"zip": "category"}` or `drop=["id"]`.

    Returns
    -------
    Run

    Raises
    ------
    InputError
        If an option is unknown or outside its range, or the data cannot be read.
    DivergedError
        If the loss became NaN or infinite. The folder keeps the best weights before that.
    InterruptedRun
        After Ctrl-C. Nothing is lost: `mlpax.load_run(path).resume()` goes on.

    Examples
    --------
    >>> run = mlpax.train("digits", epochs=2, out="runs/example")
    >>> run.history["epoch"].to_list()
    [1, 2]
    """
    every, out = start.often(checkpoint_every), None if out is None else Path(out)
    reading, changes = _settings(options, target)
    changes |= settings_on(device, devices, changes.get("backend", "auto"))
    if resume and out is None:
        raise InputError("resume needs the run's folder; name it with out=")
    if from_run is not None:
        chosen = like is not None, finetune is not None, recipe, quality != QUALITIES[0], resume
        if any(chosen) or reading != Reading():
            raise InputError("from_run takes recipe and options from the run; give only numbers to change")
        parent = from_run if isinstance(from_run, Run) else load_run(from_run)
        moved = parent.moved if data is None else _moved(parent.config, data, y)
        with start.from_parent(
            parent.path, changes, out, data=moved, data_dir=data_dir, device=device
        ) as prepared:
            return _trained(prepared, every, log, verbose, callbacks, moved)
    wanted, tuned = Wanted(recipe, changes, quality), None if finetune is None else _path_of(finetune)
    if like is not None:
        if tuned or recipe or quality != QUALITIES[0]:
            raise InputError("like takes the recipe from the run; leave out recipe, quality and finetune")
        wanted, reading = start.like(_path_of(like), changes, reading)
    wanted = start.tuned(tuned, wanted) if tuned else wanted
    found, reading, name = _source("digits" if data is None else data, y, reading, data_dir)
    rows = found if isinstance(found, InMemory) else None
    if reading.folds:
        if log or tuned or [*callbacks]:
            raise InputError(
                "log and callbacks are of one run, as finetune is, and folds are several; leave them out"
            )
        folds = start.folds_of(found, wanted, reading, data_dir=data_dir, resume=resume, notice=told)
        with on_device(device), start.folder(out, short_name(name), wanted.name("folds")) as path:
            return _folded(path, folds, reading.folds, every, verbose, rows)
    start.check_out(out, resume)
    with _in_python():
        ready = found.to_train(wanted, reading, told)
    where: Any = {"data": name, "data_dir": data_dir, "device": device, "finetune": tuned}
    with start.on_rows(ready, reading, out, resume=resume, **where) as prepared:
        return _trained(prepared, every, log, verbose, callbacks, rows)


def _trained(
    prepared: Prepared, every: Every, log: str | None, verbose: bool, callbacks: Callbacks,
    moved: Path | InMemory | None = None,
) -> Run:  # fmt: skip
    """Train a run, and tell the callbacks of each epoch."""
    heard = [*callbacks]
    if strange := [call for call in heard if not callable(call)]:
        raise InputError(f"callbacks hold {strange[0]!r}, which cannot be called; give functions of a record")
    if verbose:
        heard.append(lambda record: print(epoch_line(dict(record), prepared.recipe.epochs), flush=True))
    with logger(log, prepared.path) if log else nullcontext() as logged:
        heard += [logged] if logged else []

        def on_epoch(record: dict[str, float]) -> None:
            for call in heard:
                call(record)

        def on_refit(record: dict[str, float], epochs: int) -> None:
            if verbose:
                print(epoch_line(record, epochs).replace("Epoch", "On all rows: epoch", 1), flush=True)

        prepared.train(every=every, on_epoch=on_epoch, on_refit=on_refit, notice=told)
    return Run(prepared.path, moved)


def _folded(
    path: Path, folds: Callable[..., Result], count: int, every: Every, verbose: bool,
    moved: Path | InMemory | None = None,
) -> Run:  # fmt: skip
    """Train on folds."""

    def on_fold(fold: int, result: Result) -> None:
        if verbose:
            print(start.fold_line(fold, count, result), flush=True)

    folds(path, every=every, on_fold=on_fold, notice=told)
    return Run(path, moved)


@contextmanager
def _in_python() -> Generator[None]:
    """Let errors name the arguments of `train` instead of the options of the command."""
    try:
        yield
    except InputError as error:
        error.args = (in_python(str(error), "column"),)
        raise


def _settings(options: dict[str, Any], target: Target) -> tuple[Reading, dict[str, Any]]:
    """Return how to read the data, and the changes to the recipe."""
    names = [f.name for kind in (Reading, Recipe) for f in dataclasses.fields(kind)]
    for name in options:
        if name not in names:
            raise unknown("option", name, names)
    changes = dict(options)
    reading = dataclasses.replace(Reading.taken(changes), target=target)
    if isinstance(changes.get("hidden"), (int, np.integer)):
        changes["hidden"] = (int(changes["hidden"]),)
    return reading, changes


def _source(
    data: object, y: object, reading: Reading, data_dir: str | Path | None
) -> tuple[ToTrain, Reading, str]:
    """Return the rows to train on, how they are read, and the name of the data."""
    if isinstance(data, (str, Path)):
        if y is not None:
            raise InputError(f"y is for data in memory, and {data} is read from a file; give target=")
        return source(str(data), data_dir, memory=reading.memory), reading, str(data)
    if is_one_shot(data):
        _check_frames(y, reading.target)
        cache = user_cache() if reading.cache is None else Path(reading.cache)
        with _in_python():
            check_streamed(reading)
            reading = dataclasses.replace(reading, cache=str(cache))
            return Table(spooled(cast("Iterable[object]", data), cache, told)), reading, MEMORY
    rows, target = _in_memory(data, y, reading.target)
    return rows, dataclasses.replace(reading, target=target), MEMORY


def _moved(config: Config, data: object, y: object) -> Path | InMemory | None:
    """Return where the data of a run are, unless they are where they were."""
    if data is None or isinstance(data, (str, Path)):
        return None if data is None else Path(data)
    return _in_memory(data, y, config.options.target)[0]


def _in_memory(data: object, y: object, target: Target) -> tuple[InMemory, Target]:
    """Return rows in memory, and the names of their targets if they are known."""
    if isinstance(data, np.ndarray) and (X := np.asarray(cast(Any, data))).ndim > 2:
        return _pictures(X, y), None
    given = cast(object, data)
    if files := _files(given):
        _check_frames(y, target)
        return InMemory(files=files), target
    if (frames := frames_of(given)) is not None:
        _check_frames(y, target)
        return InMemory(frames=frames), target
    frame = as_frame(data)
    if y is None:
        return InMemory(frame), target
    if len(np.shape(cast(Any, y))) == 2:  # an array's columns are called x0, x1, ...
        values = as_frame(y)
        values = values if hasattr(y, "columns") else values.rename(lambda name: f"y{name.lstrip('x')}")
    else:
        values = as_frame({str(target or getattr(y, "name", None) or "y"): y})
    for name in values.columns:
        if name in frame.columns:
            raise InputError(
                f"the target {name!r} is a column of data, and y is given, too; give one of them"
            )
    if values.height != frame.height:
        raise InputError(f"data have {frame.height} rows but y has {values.height}; they must be equal")
    names = tuple(values.columns)
    return InMemory(frame.with_columns(values.get_columns())), names


def _files(data: object) -> tuple[Path, ...]:
    """Return the files that a list names; none if it is another list, or no list."""
    items = cast("list[object]", data) if isinstance(data, list | tuple) else []
    if not items or not all(isinstance(item, str | Path) for item in items):
        return ()
    files = tuple(Path(str(item)).resolve() for item in items)
    for file in files:
        if not file.is_file():
            raise InputError(f"there is no file {file}; a list as data names the files of a table")
    return files


def _check_frames(y: object, target: Target) -> None:
    """Raise an error if the target is given beside data that come in parts."""
    if y is not None:
        raise InputError(
            "y is for data in memory, and these come in parts; give the target as a column, and name it with"
            f" target={target or 'y'!r}"
        )


def _pictures(X: np.ndarray, y: Any) -> InMemory:
    """Return pictures in memory."""
    if y is None:
        raise InputError("pictures need their labels; give them as y=")
    if X.dtype != np.uint8 or X.shape[3:] not in ((), (3,)):
        raise InputError(
            f"X has shape {X.shape} and type {X.dtype}; pictures are of uint8, (rows, height, width) or"
            " (rows, height, width, 3)"
        )
    if np.shape(y) != (len(X),):
        raise InputError(f"X has {len(X)} pictures but y has shape {np.shape(y)}; give a label for each")
    return InMemory(pictures=(X, np.asarray(y)))


def _frame(path: Path) -> "pl.DataFrame":
    """Return the history of a run; empty before its first epoch."""
    import polars as pl

    history = read_history(path)
    return pl.DataFrame(history).cast({"epoch": pl.Int64}) if history else pl.DataFrame()


def _folds_of(config: Config) -> int:
    """Return the folds of a training on folds; 0 of a run."""
    return 0 if config.options.fold else config.options.folds


def _path_of(run: str | Path | Run) -> Path:
    return run.path if isinstance(run, Run) else Path(run)
