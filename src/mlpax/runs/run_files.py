"""Read and write the files of a run directory: settings, epochs, result."""

import csv
import dataclasses
import datetime
import hashlib
import io
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mlpax.atomic import atomic
from mlpax.data.reading import Reading
from mlpax.engine.plan import monitored
from mlpax.engine.stopping import larger_is_better
from mlpax.errors import InputError
from mlpax.recipes import Recipe
from mlpax.runs.locks import holder

__all__ = ["Config", "Result", "Summary", "read_config", "read_history", "read_result", "summaries",
           "write_config", "write_history", "write_json"]  # fmt: skip

FORMAT = 1


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

    @property
    def identity(self) -> str:
        """Return a hash of everything that determines the trained weights. Checkpoints carry it."""
        text = json.dumps([self.fingerprint, dataclasses.asdict(self.recipe)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def kept_epoch(self, state: str, best_epoch: int, epochs: int) -> int:
        """Return the epoch whose weights `model.safetensors` holds; 0 if there is none.

        With patience, and after a divergence, a run keeps the best epoch. Otherwise it keeps the last one.

        Parameters
        ----------
        state : str
            How the run ended; see `Result`.
        best_epoch : int
            The epoch with the best monitored metric; 0 if there is none.
        epochs : int
            Number of epochs trained.
        """
        return best_epoch if state == "diverged" or (self.recipe.patience and best_epoch) else epochs

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


def write_json(path: Path, value: Mapping[str, object]) -> None:
    with atomic(path) as file:
        file.write(json.dumps(value, indent=2).encode() + b"\n")


def write_config(path: Path, config: Config) -> None:
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    value = {"format": FORMAT, "started": started, "python": platform.python_version()}
    write_json(path / "config.json", value | dataclasses.asdict(config) | {"options": config.options.given()})


def read_config(path: Path) -> Config:
    """Return the settings of the run in `path`.

    Raises
    ------
    InputError
        If there is no run, or its config.json is damaged or of a newer format.
    """
    file = path / "config.json"
    try:
        value = {"backend": "xla"} | json.loads(file.read_text())  # the first version recorded none
        if value["format"] > FORMAT:
            raise InputError(f"{file} was written by a newer mlpax; upgrade with pip install --upgrade mlpax")
        fields = {f.name: value[f.name] for f in dataclasses.fields(Config)}
        fields["options"] = Reading(**value["options"])
        fields["recipe"] = Recipe(**value["recipe"] | {"hidden": tuple(value["recipe"]["hidden"])})
        texts = ("dataset", "fingerprint", "recipe_name", "device", "backend")
        if not all(isinstance(fields[name], str) for name in texts) or not isinstance(
            fields["versions"], dict
        ):
            raise ValueError("a field is of the wrong type")
        return Config(**fields)
    except OSError:
        raise InputError(f"no run at {path}; give a folder that mlpax train has made") from None
    except (ValueError, TypeError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file} is damaged: {error}") from None


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
        with open(file, newline="") as lines:
            rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(lines)]
        if rows and not {"epoch", "loss", "seconds"} <= rows[0].keys():
            raise ValueError("it lacks the epochs, their losses or their seconds")
        return rows
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (ValueError, TypeError) as error:
        raise InputError(f"{file} is damaged: {error}") from None


def read_result(path: Path) -> Result | None:
    """Return how the run last ended; None if it has never ended, because it still runs or was killed."""
    try:
        value: dict[str, object] = json.loads((path / "result.json").read_text())
        result = Result(**value)  # type: ignore[arg-type]
        kinds = {"state": str, "epochs": int, "best_epoch": int, "seconds": (int, float), "metrics": dict}
        if not all(isinstance(value[name], kind) for name, kind in kinds.items()):
            raise ValueError("a field is of the wrong type")
        return result
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError) as error:
        raise InputError(f"{path / 'result.json'} is damaged: {error}") from None


class Summary(NamedTuple):
    """One run in one row."""

    run: str
    data: str
    recipe: str
    state: str  # "running", "finished", "stopped early", "interrupted", "diverged" or "unreadable"
    epochs: str  # trained/planned
    kept: int  # the epoch whose weights are kept; 0 before the first epoch
    score: float | None  # the monitored metric of the kept network
    metric: str
    seconds: float


def summaries(folder: Path) -> list[Summary]:
    """Return the runs directly inside a folder, by name. Other folders are skipped.

    Raises
    ------
    InputError
        If the folder does not exist.
    """
    if not folder.is_dir():
        raise InputError(f"no folder {folder}; runs are made by mlpax train")
    return [_summary(path) for path in sorted(folder.iterdir()) if (path / "config.json").is_file()]


def _summary(path: Path) -> Summary:
    """Return the summary of a run, even if it is damaged, so that it does not hide the other runs."""
    try:
        return summary(path)
    except InputError:  # `mlpax compare RUN` says why
        return Summary(path.name, "", "", "unreadable", epochs="", kept=0, score=None, metric="", seconds=0.0)


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


def _best_epoch(history: list[dict[str, float]], metric: str, min_delta: float) -> int:
    """Return the epoch with the best metric, as the training loop chooses it; 0 if there is none."""
    sign = 1 if larger_is_better(metric) else -1
    best, epoch = float("-inf"), 0
    for number, row in enumerate(history, 1):
        if sign * row.get(metric, float("nan")) > best + min_delta:
            best, epoch = sign * row[metric], number
    return epoch
