"""What a run directory tells: its settings, its epochs, how it ended."""

import csv
import dataclasses
import datetime
import hashlib
import io
import json
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mlpax.atomic import atomic
from mlpax.errors import InputError
from mlpax.recipes import Recipe
from mlpax.runs.locks import holder

__all__ = [
    "Config",
    "Result",
    "Summary",
    "read_config",
    "read_history",
    "read_result",
    "summaries",
    "write_config",
    "write_history",
    "write_json",
]

FORMAT = 1


@dataclass(frozen=True)
class Config:
    """What a run was started with: `config.json`."""

    dataset: str
    data_dir: str | None
    fingerprint: str
    recipe_name: str
    recipe: Recipe
    versions: dict[str, str]
    device: str
    options: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])  # how the data were read

    @property
    def identity(self) -> str:
        """Hash of what the bits of the result depend on; checkpoints carry it."""
        text = json.dumps([self.fingerprint, dataclasses.asdict(self.recipe)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


class Result(NamedTuple):
    """How a run ended: `result.json`."""

    state: str  # "finished", "stopped early", "interrupted" or "diverged"
    epochs: int
    best_epoch: int
    seconds: float  # of training alone, its parts added: neither compiling nor evaluation
    metrics: dict[str, float]  # of the kept parameters: loss, train_..., valid_..., test_accuracy


def write_json(path: Path, value: Any) -> None:
    with atomic(path) as file:
        file.write(json.dumps(value, indent=2).encode() + b"\n")


def write_config(path: Path, config: Config) -> None:
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    value = {"format": FORMAT, "started": started, "python": platform.python_version()}
    write_json(path / "config.json", value | dataclasses.asdict(config))


def read_config(path: Path) -> Config:
    """The settings of the run in `path`.

    Raises
    ------
    InputError
        If there is no run, or its config.json is damaged or of a newer format.
    """
    file = path / "config.json"
    try:
        value = json.loads(file.read_text())
        if value["format"] > FORMAT:
            raise InputError(f"{file} is of a newer mlpax; upgrade with pip install --upgrade mlpax")
        recipe = value["recipe"] | {"hidden": tuple(value["recipe"]["hidden"])}
        names = {f.name for f in dataclasses.fields(Config)} - {"recipe"}
        return Config(recipe=Recipe(**recipe), **{name: value[name] for name in names})
    except OSError:
        raise InputError(f"no run at {path}; give a folder that mlpax train has made") from None
    except (ValueError, TypeError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file} is damaged: {error}") from None


def write_history(path: Path, history: Iterable[dict[str, float]]) -> None:
    text = io.StringIO()
    writer: Any = None
    for row in history:
        if writer is None:
            writer = csv.DictWriter(text, row, lineterminator="\n")
            writer.writeheader()
        writer.writerow({k: v if k == "epoch" else f"{v:.9g}" for k, v in row.items()})
    with atomic(path / "metrics.csv") as file:
        file.write(text.getvalue().encode())


def read_history(path: Path) -> list[dict[str, float]]:
    """The rows of the run's metrics.csv; none before its first epoch."""
    file = path / "metrics.csv"
    try:
        with open(file, newline="") as lines:
            return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(lines)]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError) as error:
        raise InputError(f"{file} is damaged: {error}") from None


def read_result(path: Path) -> Result | None:
    """How the run ended last; None if it never did: it runs, or was killed."""
    try:
        return Result(**json.loads((path / "result.json").read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise InputError(f"{path / 'result.json'} is damaged: {error}") from None


class Summary(NamedTuple):
    """A run at a glance."""

    run: str
    data: str
    recipe: str
    state: str  # "running", "finished", "stopped early", "interrupted", "diverged" or "unreadable"
    epochs: str  # done/due
    best: float | None  # of the monitored metric
    metric: str
    seconds: float


def summaries(folder: Path) -> list[Summary]:
    """The runs directly inside a folder, by name; folders that are no runs are passed over.

    Raises
    ------
    InputError
        If the folder does not exist.
    """
    if not folder.is_dir():
        raise InputError(f"no folder {folder}; runs are made by mlpax train")
    return [_summary(path) for path in sorted(folder.iterdir()) if (path / "config.json").is_file()]


def _summary(path: Path) -> Summary:
    try:
        return summary(path)
    except InputError:  # a damaged run hides no other; naming it alone says why
        return Summary(path.name, "", "", "unreadable", epochs="", best=None, metric="", seconds=0.0)


def summary(path: Path) -> Summary:
    """The run in `path` at a glance; see `summaries`."""
    config, history, result = read_config(path), read_history(path), read_result(path)
    if holder(path):
        state = "running"
    elif result is None or len(history) > result.epochs:  # killed, perhaps after having been resumed
        state = "interrupted"
    else:
        state = result.state
    columns = list(history[0]) if history else []
    metric = config.recipe.monitor or next((c for c in columns if c.startswith("valid_")), "loss")
    values = [row[metric] for row in history if metric in row]
    best = (max if metric.endswith("accuracy") else min)(values) if values else None
    return Summary(
        run=path.name,
        data=config.dataset,
        recipe=config.recipe_name,
        state=state,
        epochs=f"{len(history)}/{config.recipe.epochs}",
        best=best,
        metric=metric,
        seconds=sum(row["seconds"] for row in history),
    )
