"""Start runs as a user asks for them: on rows, from an earlier run, or again. Command and Python share it."""

import dataclasses
import math
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mlpax import hosts
from mlpax.data.packed import is_input
from mlpax.data.reading import Reading
from mlpax.data.sources import MEMORY, InMemory, Ready, Table, ToTrain, Wanted, short_name, source
from mlpax.engine.devices import backend_on, on_device
from mlpax.errors import InputError, Notice
from mlpax.model.finetune import shape_of
from mlpax.model.model_file import load
from mlpax.recipes import Recipe
from mlpax.runs.folds import train_folds
from mlpax.runs.own_rows import rows_of
from mlpax.runs.parent import child_of, model_file
from mlpax.runs.run import Every, check_free, new_folder, train
from mlpax.runs.run_files import Result, read_config
from mlpax.wording import figure

__all__ = ["Prepared", "again", "check_out", "fold_line", "folder", "folds_again", "folds_of", "from_parent",
           "like", "often", "on_rows", "options_of", "tuned"]  # fmt: skip

OF_ONE_FILE = ("valid_data", "fold")  # options of reading that other data do not take over


class Prepared(NamedTuple):
    """A run that is ready to train."""

    path: Path
    recipe: Recipe
    train: Callable[..., Result]  # `run.train`; it takes `every`, `on_epoch` and `notice`
    begun: int = 0  # epochs that an earlier run has trained


def often(text: str | int) -> Every:
    """Return how often to write a checkpoint: `5` is epochs, `30s` seconds, `5m` minutes.

    Raises
    ------
    InputError
        If the text is none of these.
    """
    word = str(text)
    number, unit = (word[:-1], word[-1]) if word[-1:] in ("s", "m") else (word, "")
    try:
        value = float(number) if unit else int(number)
    except ValueError:
        value = 0
    if not 1 <= value < math.inf:
        raise InputError(f"checkpoint_every {text!r} is no time; write 5 for epochs, or 30s, or 5m")
    return Every(1, value * {"s": 1, "m": 60}[unit]) if unit else Every(int(value))


def check_out(out: Path | None, resume: bool) -> None:
    """Raise an error unless a run can start, or resume, in a folder, before its data are read.

    Several processes go on with a run by the command that started it; see `on_rows`.
    """
    if out is not None and hosts.count() == 1:
        check_free(out, resume)


@contextmanager
def folder(out: Path | None, data: str, recipe: str) -> Generator[Path]:
    """Yield the folder of a run: `out`, or a new one in `runs`, which is removed if it stays empty."""
    if out is not None:
        yield out
        return
    if hosts.count() > 1:
        raise InputError("several processes train one run; name its folder with --out (in Python out=)")
    parent = Path("runs")
    there = parent.exists()
    path = new_folder(parent, data, recipe)
    try:
        yield path
    finally:
        with suppress(OSError):  # the usual case: it is not empty
            path.rmdir()
            if not there:
                parent.rmdir()


@contextmanager
def on_rows(
    ready: Ready, reading: Reading, out: Path | None, *, data: str, data_dir: str | Path | None = None,
    resume: bool = False, device: str | None = None, finetune: Path | None = None,
) -> Generator[Prepared]:  # fmt: skip
    """Yield a run on rows that are ready, in `out` or a new folder named by `data`."""
    if ready.dataset.chunks is not None:  # resuming must not depend on the memory that is free then
        reading = dataclasses.replace(reading, cache=ready.dataset.chunks.cache)
    with on_device(device), folder(out, short_name(data), ready.name) as path:
        begin = partial(
            train, path, ready.dataset, ready.recipe, recipe_name=ready.name, data_dir=_absolute(data_dir),
            options=reading, resume=resume, finetune=finetune,
        )  # fmt: skip
        yield Prepared(path, ready.recipe, begin)


@contextmanager
def from_parent(
    parent: Path,
    changes: Mapping[str, object],
    out: Path | None,
    *,
    data: str | Path | InMemory | None = None,
    data_dir: str | Path | None = None,
    device: str | None = None,
) -> Generator[Prepared]:
    """Yield a run that goes on from the last state of another. `data` are its own, if they have moved."""
    config, recipe = child_of(parent, changes)
    if config.dataset == "-" and data is None:
        raise InputError(f"standard input is gone; name a file of its rows: mlpax train FILE --from {parent}")
    where = None if data_dir is None else Path(data_dir)
    if data is None:
        dataset = rows_of(config, where)
    elif isinstance(data, InMemory):
        dataset = dataclasses.replace(rows_of(config, where, data), name=MEMORY)
    else:
        moved = Path(data).resolve()
        dataset = dataclasses.replace(rows_of(config, where, moved), name=str(moved))
    with on_device(device), folder(out, short_name(config.dataset), config.recipe_name) as path:
        begin = partial(
            train, path, dataset, recipe, recipe_name=config.recipe_name, data_dir=config.data_dir,
            options=config.options, parent=parent,
        )  # fmt: skip
        yield Prepared(path, recipe, begin, recipe.epochs - int(str(changes["epochs"])))


@contextmanager
def again(run: Path, moved: Path | InMemory | None = None, device: str | None = None) -> Generator[Prepared]:
    """Yield a run that goes on where it was interrupted."""
    config = read_config(run)
    backend_on(device, config.backend)  # which may refuse
    begin = partial(
        train, run, rows_of(config, moved=moved), config.recipe, recipe_name=config.recipe_name,
        data_dir=config.data_dir, options=config.options, resume=True,
    )  # fmt: skip
    with on_device(device):
        yield Prepared(run, config.recipe, begin, config.parent.epochs if config.parent else 0)


def options_of(run: Path) -> Reading:
    """Return how the data of a run were read."""
    return read_config(run).options


def like(run: Path, changes: Mapping[str, object], reading: Reading) -> tuple[Wanted, Reading]:
    """Return the settings of a run, with others in their place."""
    config = read_config(run)
    options = {name: value for name, value in config.options.given().items() if name not in OF_ONE_FILE}
    recipe = config.recipe.replace(**changes)
    return Wanted(recipe), Reading(**{**options, **reading.given()})


def tuned(origin: Path, wanted: Wanted) -> Wanted:
    """Return the settings with the shape of a trained network, where they name no other.

    Raises
    ------
    InputError
        If there is no model.
    """
    model_file(origin)  # says more of a missing file than `load`
    return dataclasses.replace(wanted, changes={**shape_of(load(origin)), **wanted.changes})


def folds_of(
    found: ToTrain,
    wanted: Wanted,
    options: Reading,
    *,
    data_dir: str | Path | None = None,
    resume: bool = False,
    notice: Notice = lambda text: None,
) -> Callable[..., Result]:
    """Return the function that trains on folds; it takes the path, `every`, `on_fold` and `notice`.

    Only the first reading of the data gives notices.

    Raises
    ------
    InputError
        If the data are read from standard input.
    """
    if hosts.count() > 1:
        raise InputError("folds are trained by one process; leave out folds, or start one process")
    if isinstance(found, Table) and is_input(found.path):
        raise InputError("each fold reads the data, and standard input can be read once; save it to a file")
    said = list[bool]()

    def read(own: Reading, recipe: Recipe | None) -> Ready:
        heard: Notice = (lambda _: None) if said else notice
        said.append(True)
        whole = wanted if recipe is None else dataclasses.replace(wanted, recipe=recipe, changes={})
        return found.to_train(whole, own, heard)

    return partial(train_folds, read=read, options=options, data_dir=_absolute(data_dir), resume=resume)


def folds_again(run: Path, moved: Path | InMemory | None = None) -> Callable[..., Result]:
    """Return the function that goes on with a training on folds; see `folds_of`."""
    config = read_config(run)
    found: ToTrain = moved if isinstance(moved, InMemory) else source(
        str(moved or config.dataset), config.data_dir, memory=config.options.memory
    )  # fmt: skip
    return folds_of(found, Wanted(config.recipe), config.options, data_dir=config.data_dir, resume=True)


def fold_line(fold: int, folds: int, result: Result) -> str:
    """Return the line that tells how the training of a fold ended."""
    scores = [name for name in result.metrics if name.startswith("test_")]
    figures = ", ".join(figure(f"its rows' {name[5:]}", result.metrics[name]) for name in scores)
    return f"fold {fold} of {folds}: best epoch {result.best_epoch} of {result.epochs}, {figures}"


def _absolute(folder: str | Path | None) -> str | None:
    """Return a folder by its whole path: a run may go on from elsewhere."""
    return None if folder is None else str(Path(folder).resolve())
