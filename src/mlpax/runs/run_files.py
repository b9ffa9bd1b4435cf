"""Read and write the files of a run directory: settings, epochs, result."""

import builtins
import csv
import dataclasses
import datetime
import functools
import hashlib
import io
import json
import os
import platform
import re
import types
import typing
from collections import abc
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mlpax.atomic import atomic, own
from mlpax.data.reading import Reading
from mlpax.engine.plan import direction, monitored
from mlpax.errors import InputError, Notice
from mlpax.recipes import Recipe
from mlpax.runs.locks import holder

__all__ = ["ADDED", "Config", "Parent", "Result", "Summary", "Tuned", "check_history", "read_config",
           "read_history", "read_json", "read_result", "summaries", "undamaged", "write_config",
           "write_history", "write_json"]  # fmt: skip

FORMAT = 1
LIMIT = 2**28  # bytes of a file; the metrics of a million epochs have half as many
NEEDED = {"epoch", "loss", "seconds"}  # figures that every epoch has
FIGURE = re.compile(r"[-+0-9.e]{1,30}|-?inf|nan")
# Settings that the first runs did not have.
ADDED = {"backend", "members", "own_orders", "refit", "devices"}
ENDS = ("finished", "stopped early", "interrupted", "diverged")

_hints = functools.cache(typing.get_type_hints)


@dataclass(frozen=True)
class Parent:
    """The run that another run goes on from."""

    path: str
    identity: str
    epochs: int


@dataclass(frozen=True)
class Tuned:
    """The network that a run has begun with: the folder or file, and the SHA-256 of the model file."""

    path: str
    sha256: str


@dataclass(frozen=True)
class Config:
    """The settings a run was started with: `config.json`."""

    dataset: str
    data_dir: str | None
    fingerprint: str
    recipe_name: str
    recipe: Recipe
    versions: dict[str, str]
    device: str
    options: Reading = Reading()  # how the data were read
    backend: str = "xla"  # what trained the network
    parent: Parent | None = None
    finetune: Tuned | None = None

    @property
    def identity(self) -> str:
        """Return a hash of everything that determines the trained weights. Checkpoints carry it."""
        recipe = dataclasses.asdict(self.recipe)
        del recipe["backend"]  # `self.backend` says what it came to; the first runs have none
        if self.backend != "xla":
            recipe["backend"] = self.backend
        if self.recipe.members == 1:  # nor do they have these
            del recipe["members"], recipe["own_orders"]
        if not self.recipe.refit:
            del recipe["refit"]
        if self.recipe.devices == 1:
            del recipe["devices"]
        before = [self.parent.identity, self.parent.epochs] if self.parent else []
        before += [self.finetune.sha256] if self.finetune else []
        text = json.dumps([self.fingerprint, recipe, *before], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def kept_epoch(self, state: str, best_epoch: int, epochs: int) -> int:
        """Return the epoch whose weights `model.safetensors` holds; 0 if there is none.

        With patience, and after a divergence, a run keeps the best epoch. Otherwise it keeps the last one.
        Of several members each keeps its own, and the last figures are those of what is kept.

        Parameters
        ----------
        state : str
            How the run ended; see `Result`.
        best_epoch : int
            The epoch with the best monitored metric; 0 if there is none.
        epochs : int
            Number of epochs trained.
        """
        one_is_kept = self.recipe.members == 1 and self.recipe.patience and best_epoch
        return best_epoch if state == "diverged" or one_is_kept else epochs

    def settings(self) -> dict[str, object]:
        """Return all settings that a user can choose, by name."""
        return {
            "recipe": self.recipe_name,
            **dataclasses.asdict(self.options),
            **dataclasses.asdict(self.recipe),
        }


class Result(NamedTuple):
    """How a run ended: `result.json`."""

    state: str  # "finished", "stopped early", "interrupted" or "diverged"
    epochs: int
    best_epoch: int
    seconds: float  # sum over the epochs; includes neither compilation nor evaluation
    metrics: dict[str, float]  # of the kept network: loss, train_..., valid_..., test_...
    refit: int = 0  # epochs that the kept network was then trained for, on all rows; of members the most


def write_json(path: Path, value: Mapping[str, object]) -> None:
    with atomic(path) as file:
        file.write(json.dumps(value, indent=2).encode() + b"\n")


def read_json(file: Path) -> dict[str, object]:
    """Return the object that a file of ours holds.

    Raises
    ------
    InputError
        If the file is damaged, or cannot be read.
    """
    with _named(file):
        return _read_json(file)


def write_config(path: Path, config: Config) -> None:
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    value = {"format": FORMAT, "started": started, "python": platform.python_version()}
    write_json(path / "config.json", value | dataclasses.asdict(config) | {"options": config.options.given()})


def _read(file: Path) -> str:
    """Return the text of a run's own file."""
    with open(own(file), "rb") as opened:
        if (size := os.fstat(opened.fileno()).st_size) > LIMIT:
            raise ValueError(f"it has {size:,} bytes; a run writes at most {LIMIT:,}")
        return opened.read(size).decode()


def _read_json(file: Path) -> dict[str, object]:
    def refuse(token: str) -> typing.NoReturn:
        raise ValueError(f"it holds {token}, which is no number")

    value: object = json.loads(_read(file), parse_constant=refuse)
    if not isinstance(value, dict):
        raise ValueError("it is no object")
    return typing.cast(dict[str, object], value)


@contextmanager
def _named(file: Path) -> Generator[None]:
    """Turn whatever a damaged file raises into one error that names the file."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}") from None
    except (ValueError, TypeError, KeyError, RecursionError, csv.Error) as error:
        if isinstance(error, InputError) and str(error).startswith(str(file)):
            raise
        lacks = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        said = "nested too deeply" if isinstance(error, RecursionError) else lacks
        raise InputError(f"{file} is damaged: {' '.join(said.split())[:200]}") from None


def read_config(path: Path) -> Config:
    """Return the settings of the run in `path`.

    Raises
    ------
    InputError
        If there is no run, or its config.json is damaged or of a newer format.
    """
    file = path / "config.json"
    try:
        with _named(file):
            # The first runs had none of these.
            value = {"backend": "xla", "parent": None, "finetune": None} | _read_json(file)
            if value["format"] != FORMAT:
                newer = isinstance(value["format"], int) and value["format"] > FORMAT
                remedy = "; upgrade with pip install --upgrade mlpax" if newer else ""
                raise InputError(f"{file} has format {value['format']!r}, not {FORMAT}{remedy}")
            fields = {f.name: value[f.name] for f in dataclasses.fields(Config)}
            for name, kind in _hints(Config).items():
                if name == "recipe":
                    fields[name] = Recipe(**_fields(fields[name], Recipe, whole=True))
                elif name == "options":
                    fields[name] = Reading(**_fields(fields[name], Reading))
                elif name == "parent" and fields[name] is not None:
                    fields[name] = Parent(**_fields(fields[name], Parent, whole=True))
                elif name == "finetune" and fields[name] is not None:
                    fields[name] = Tuned(**_fields(fields[name], Tuned, whole=True))
                else:
                    _check(name, fields[name], kind)
            return Config(**fields)  # type: ignore[arg-type]
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"no run at {path}; give a folder that mlpax train has made") from None


def _fields(value: object, of: type, *, whole: bool = False) -> dict[str, typing.Any]:
    """Return the fields of a dataclass from JSON, each of its type; if `whole`, all but those added later."""
    if not isinstance(value, dict):
        raise ValueError(f"its {of.__name__.lower()} is {value!r:.50}, not an object")
    hints, given = _hints(of), typing.cast(dict[str, typing.Any], value)
    for name, one in given.items():
        if name not in hints:
            raise ValueError(f"it has an unknown setting {name!r:.50}")
        _check(name, one, hints[name])
    if whole and (lacking := hints.keys() - given.keys() - ADDED):
        raise ValueError(f"it lacks the setting {min(lacking)!r}")
    return given


def _check(name: str, value: object, hint: object) -> None:
    if not _fits(value, hint):
        raise ValueError(f"its {name} is {value!r:.50}, which is of the wrong type")


def _fits(value: object, hint: typing.Any) -> bool:
    """Return whether a value of JSON is of a field's type; a list stands for a tuple."""
    found = type(value)
    if found is hint:
        return True
    inside = typing.get_args(hint)
    values = typing.cast(dict[str, object], value).values() if found is dict else ()
    match typing.get_origin(hint) or hint:
        case types.UnionType | typing.Union:
            return any(_fits(value, one) for one in inside)
        case typing.Literal:
            return value in inside
        case builtins.tuple:
            return found is list and all(_fits(one, inside[0]) for one in typing.cast(list[object], value))
        case builtins.dict | abc.Mapping:
            return found is dict and all(_fits(one, inside[1]) for one in values)
        case builtins.float:
            return found in (int, float)
        case kind:
            return found is kind


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, history[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: v if k == "epoch" else f"{v:.9g}" for k, v in row.items()} for row in history)
    with atomic(path / "metrics.csv") as file:
        file.write(text.getvalue().encode())


def read_history(path: Path) -> list[dict[str, float]]:
    """Return the rows of the run's metrics.csv; an empty list before the first epoch."""
    file = path / "metrics.csv"
    try:
        with _named(file):
            lines = io.StringIO(_read(file), newline="")
            rows = [{k: _figure(v) for k, v in row.items()} for row in csv.DictReader(lines, strict=True)]
            check_history(rows)
            return rows
    except (FileNotFoundError, NotADirectoryError):
        return []


def check_history(rows: Sequence[object]) -> None:
    """Raise an error unless each row has the same figures, and the epochs are 1, 2, and so on."""
    names: list[str] = []
    for epoch, found in enumerate(rows, 1):
        row = typing.cast(dict[str, object], found if isinstance(found, dict) else {})
        names = names or [*row]
        if row.get("epoch") != epoch:
            raise InputError(f"row {epoch} of its history is not of epoch {epoch}")
        if [*row] != names or not row.keys() >= NEEDED:
            raise InputError(f"row {epoch} of its history lacks figures, or has others than the first")
        if not all(type(value) in (int, float) for value in row.values()):
            raise InputError(f"row {epoch} of its history holds what is no number")


def _figure(cell: str) -> float:
    """Return a cell as a number; Python's own reading would also take 1_0 and digits of other scripts."""
    if not FIGURE.fullmatch(cell):
        raise ValueError(f"{cell!r:.50} is no number")
    return float(cell)


def read_result(path: Path) -> Result | None:
    """Return how the run last ended; None if it has never ended, because it still runs or was killed."""
    file = path / "result.json"
    try:
        with _named(file):
            value = {"refit": 0} | _read_json(file)  # which the first runs did not have
            hints = _hints(Result)
            for name, hint in hints.items():
                _check(name, value[name], hint)
            result = Result(**{name: value[name] for name in hints})  # type: ignore[arg-type]
            if (
                result.state not in ENDS
                or min(result.epochs, result.best_epoch, result.seconds, result.refit) < 0
            ):
                raise ValueError(f"its state is {result.state!r:.50}, or it counts below 0")
            return result
    except (FileNotFoundError, NotADirectoryError):
        return None


class Summary(NamedTuple):
    """One run in one row."""

    run: str
    data: str = ""
    recipe: str = ""
    state: str = ""  # "running", "finished", "stopped early", "interrupted", "diverged" or "unreadable"
    epochs: str = ""  # trained/planned
    kept: int = 0  # the epoch whose weights are kept; 0 before the first epoch
    score: float | None = None  # the monitored metric of the kept network
    metric: str = ""
    seconds: float = 0.0


def summaries(folder: Path, notice: Notice = lambda text: None) -> list[Summary]:
    """Return the runs directly inside a folder, by name. Other folders are skipped.

    A damaged run does not hide the others: it is listed as "unreadable".

    Parameters
    ----------
    folder : Path
    notice : callable, optional
        Called with one line for each damaged run.

    Raises
    ------
    InputError
        If the folder does not exist.
    """
    if not folder.is_dir():
        raise InputError(f"no folder {folder}; runs are made by mlpax train")
    found: list[Summary] = []
    for path in sorted(folder.iterdir()):
        if os.path.lexists(path / "config.json"):
            try:
                found.append(summary(path))
            except InputError as error:
                notice(str(error))
                found.append(Summary(path.name, state="unreadable"))
    return found


def undamaged(paths: Sequence[Path], notice: Notice) -> list[Path]:
    """Return the runs that can be read. Give notice of the others in one line each.

    Raises
    ------
    InputError
        If a folder holds no run, or no run can be read.
    """
    found: list[Path] = []
    for path in paths:
        try:
            summary(path)
            found.append(path)
        except InputError as error:
            if (path is paths[-1] and not found) or not os.path.lexists(path / "config.json"):
                raise
            notice(str(error))
    return found


def summary(path: Path) -> Summary:
    """Return the summary of the run in `path`; see `summaries`.

    While no model of the latest epochs is written, `kept` is the epoch that would be kept now.
    """
    config, history, result = read_config(path), read_history(path), read_result(path)
    if result and len(history) > result.epochs:  # resumed afterwards, and killed or still running
        result = None
    state = "running" if holder(path) else result.state if result else "interrupted"
    metric = config.recipe.monitor or monitored("", tuple(history[0]) if history else ())
    best = result.best_epoch if result else _best_epoch(history, metric, config.recipe.min_delta)
    kept = config.kept_epoch(state, best, len(history))
    if config.options.folds and not config.options.fold:  # its runs are those of the folds
        return _of_folds(path, config, result, state)
    return Summary(
        run=path.name,
        data=config.dataset,
        recipe=config.recipe_name,
        state=state,
        epochs=f"{len(history)}/{config.recipe.epochs}",
        kept=kept,
        score=history[kept - 1].get(metric) if 0 < kept <= len(history) else None,
        metric=metric,
        seconds=sum(row["seconds"] for row in history),
    )


def _of_folds(path: Path, config: Config, result: Result | None, state: str) -> Summary:
    """Return the summary of a training on folds: its score is the first of the out-of-fold figures."""
    figures = {} if result is None else result.metrics
    metric = next((name for name in figures if name.startswith("fold_")), "")
    return Summary(
        run=path.name,
        data=config.dataset,
        recipe=config.recipe_name,
        state=state,
        epochs=f"{0 if result is None else result.epochs}/{config.recipe.epochs}",
        kept=0 if result is None else result.best_epoch,
        score=figures.get(metric),
        metric=metric.replace("fold_", "out-of-fold "),
        seconds=0.0 if result is None else result.seconds,
    )


def _best_epoch(history: list[dict[str, float]], metric: str, min_delta: float) -> int:
    """Return the epoch with the best metric, as the training loop chooses it; 0 if there is none."""
    sign = direction(metric)
    best, epoch = float("-inf"), 0
    for number, row in enumerate(history, 1):
        if sign * row.get(metric, float("nan")) > best + min_delta:
            best, epoch = sign * row[metric], number
    return epoch
