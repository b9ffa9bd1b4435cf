"""The command line that trains a run again."""

import dataclasses
import itertools
from collections.abc import Iterable
from pathlib import Path, PureWindowsPath
from shlex import quote
from typing import cast

from mlpax.data.named_sets import SOURCES
from mlpax.data.reading import Reading
from mlpax.recipes import BEST, QUALITIES, RECIPES, TASKS, Recipe, named
from mlpax.runs.run_files import Config
from mlpax.space import written

__all__ = ["anywhere", "command_of", "differing", "without_folders", "words_of"]

MOST = 10**9  # training rows; no recipe changes beyond


def words_of(reading: Reading) -> list[str]:
    """Return the words of a command line that give these options."""
    words: list[str] = []
    for name, value in reading.given().items():
        flag = f"--{name.replace('_', '-')}"
        match value:
            case bool():
                words.append(flag)
            case tuple():
                words += [flag, quote(",".join(cast("tuple[str, ...]", value)))]
            case dict():
                kinds = cast("dict[str, str]", value)
                words += [word for c, kind in kinds.items() for word in (flag, quote(f"{c}={kind}"))]
            case _:
                words += [flag, quote(str(value))]
    return words


def differing(
    config: Config, rows: int | None = None, task: str | None = None
) -> tuple[str, dict[str, object]]:
    """Return the quality of a recipe, and the settings of a run that the recipe does not decide.

    Parameters
    ----------
    config : Config
    rows : int, optional
        Number of training rows. Without, every setting that depends on the number is among the settings.
    task : {"classification", "regression"}, optional
        Likewise.

    Returns
    -------
    quality : {"usual", "best"}
        The one that leaves fewer settings.
    settings : dict
        By name, without the backend.
    """
    name, found = base_of(config), list[tuple[str, dict[str, object]]]()
    validated = bool(config.recipe.validation or config.options.valid_data)
    given = [1, MOST] if rows is None else [rows], TASKS if task is None else [task]
    for quality in QUALITIES if name in BEST else QUALITIES[:1]:
        bases = [named(name, *one, validated=validated, quality=quality) for one in itertools.product(*given)]
        fields = [field.name for field in dataclasses.fields(Recipe) if field.name != "backend"]
        own = {field: getattr(config.recipe, field) for field in fields}
        found.append(
            (quality, {n: v for n, v in own.items() if any(getattr(base, n) != v for base in bases)})
        )
    return min(found, key=lambda one: len(one[1]))


def base_of(config: Config) -> str:
    """Return the name of the recipe that a run was started from; a run from Python may name none."""
    return config.recipe_name if config.recipe_name in RECIPES else "default"


def command_of(config: Config, rows: int | None = None, task: str | None = None) -> str:
    """Return the command line that trains the same network, on the same backend; see `differing`.

    Of the run of a fold, it trains all folds.

    Examples
    --------
    >>> command_of(read_config(Path("runs/houses-table-1")), 160, "regression")
    'mlpax train /home/ann/houses.csv --recipe table --target price --seed 3 --backend native'
    """
    quality, settings = differing(config, rows, task)
    if "optimizer" in settings:  # which would bring its own rate
        settings["learning_rate"] = config.recipe.learning_rate
    words = ["mlpax", "train", quote(config.dataset), "--recipe", base_of(config)]
    if config.data_dir is not None and config.dataset in SOURCES:  # the digits are bundled
        words += ["--data-dir", quote(config.data_dir)]
    words += ["--finetune", quote(config.finetune.path)] if config.finetune else []
    words += [] if quality == QUALITIES[0] else ["--quality", quality]
    words += words_of(dataclasses.replace(config.options, fold=0))
    for name, value in settings.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", quote(written(value))]
    return " ".join([*words, "--backend", config.backend])


def anywhere(config: Config) -> Config:
    """Return the settings of a run with files and folders named by their last part, to be shown to others."""
    dataset = _last_part(config.dataset)
    if dataset in SOURCES and dataset != config.dataset:
        dataset = f"./{dataset}"  # a file or folder, not the known set of this name
    valid = config.options.valid_data
    return dataclasses.replace(
        config,
        dataset=dataset,
        data_dir=config.data_dir and _last_part(config.data_dir),
        options=dataclasses.replace(config.options, valid_data=valid and _last_part(valid)),
        finetune=config.finetune
        and dataclasses.replace(config.finetune, path=_last_part(config.finetune.path)),
    )


def without_folders(text: str, paths: Iterable[str | Path | None]) -> str:
    """Return a text with each of these paths as its last part.

    Examples
    --------
    >>> without_folders("no file or folder /home/ann/houses.csv", ["/home/ann/houses.csv"])
    'no file or folder houses.csv'
    """
    for path in sorted({str(path) for path in paths if path}, key=len, reverse=True):
        for whole in (str(Path(path).resolve()), path):
            text = text.replace(whole, _last_part(path)) if "/" in whole or "\\" in whole else text
    return text


def _last_part(path: str) -> str:
    return PureWindowsPath(path).name or path
