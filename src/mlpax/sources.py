"""What a user names as data (a known set, a table, a folder of pictures) as a data set and its recipe."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpax.errors import InputError, unknown
from mlpax.recipes import RECIPES, Recipe, named

if TYPE_CHECKING:
    from mlpax.datasets import Dataset

__all__ = ["Reading", "open_data", "short_name"]

Notice = Callable[[str], object]
TASKS = ("classification", "regression")


def _option(default: Any, help: str, *options: str) -> Any:
    return field(default=default, metadata={"help": help, "options": options})


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How data are read, beside the recipe: the command's options of these names."""

    target: str | None = _option(None, "the column to predict [target, label, class, y, or the last]")
    task: str | None = _option(None, "what the target sets [as its values say]", *TASKS)
    valid_data: str | None = _option(None, "a table whose rows validate, in place of held-out ones")
    test: float = _option(0.0, "share of the rows held out for the final score")
    time_ordered: bool = _option(False, "hold out the last rows instead of random ones")
    group: str | None = _option(None, "a column no value of which is both trained on and held out")
    weight: str | None = _option(None, "a column of the rows' weights")
    class_weight: str | None = _option(None, "weigh classes as if all had as many rows", "balanced")
    size: int = _option(28, "side in pixels that pictures are resized to")
    colour: bool = _option(False, "keep the pictures' colours")
    skip_bad: bool = _option(False, "leave out pictures that cannot be read")

    def given(self) -> dict[str, Any]:
        """Those that are not the default."""
        return {f.name: v for f in dataclasses.fields(self) if (v := getattr(self, f.name)) != f.default}


def short_name(data: str) -> str:
    """A name for a run's folder: of a file or folder its own, without endings."""
    return Path(data).name.split(".")[0] or "data"


def open_data(
    data: str,
    recipe: str | Recipe | None,
    changes: dict[str, Any],
    reading: Reading,
    *,
    data_dir: str | Path | None = None,
    notice: Notice = lambda text: None,
    progress: bool = False,
) -> tuple["Dataset", Recipe, str]:
    """Read data and settle the recipe for it.

    Parameters
    ----------
    data : str
        A name of `datasets.NAMES`, or the path of a table or of a folder of pictures.
    recipe : str or Recipe, optional
        Its name, by default `table` for tables and `default` for images; or the recipe itself.
    changes : dict
        Fields of the recipe to change.
    reading : Reading
    data_dir : path, optional
        See `datasets.load`.
    notice : callable, optional
        Called with a line for each choice made.
    progress : bool, default False
        Whether to show bars.

    Returns
    -------
    dataset : Dataset
    recipe : Recipe
    name : str
        The recipe's.

    Raises
    ------
    InputError
        If the data cannot be read or trained on, or an option does not fit them.
    """
    from mlpax import datasets
    from mlpax.datasets import NAMES

    if isinstance(recipe, str) and recipe not in RECIPES:
        raise unknown("recipe", recipe, RECIPES)  # before anything is read
    if not 0 <= reading.test < 1:
        raise InputError(f"test {reading.test} is outside [0, 1)")
    path = Path(data)
    if data not in NAMES and not path.exists():
        if "/" in data or "." in data:
            raise InputError(f"there is no file or folder {data}")
        raise InputError(f"{unknown('data set', data, NAMES)}; or give a table or a folder of pictures")
    if data not in NAMES and path.is_file():
        return _table(path, recipe or "table", changes, reading, notice)
    strange = sorted(
        reading.given().keys() - ({"size", "colour", "skip_bad", "test"} if data not in NAMES else set())
    )
    if strange:
        raise InputError(f"{strange[0]} is an option for tables, which {data} is not; leave it out")
    name = recipe if isinstance(recipe, str) else "default"
    if data in NAMES:
        dataset = datasets.load(data, data_dir, progress=progress)
    else:
        dataset = _pictures(
            path, reading, 0 if isinstance(recipe, Recipe) else changes.get("seed", 0), notice, progress
        )
        changes = {"validation": 0.2} | changes
    if not isinstance(recipe, Recipe):
        recipe = named(name, len(dataset.X_train), **changes)
    return dataset, recipe, name


def _table(
    path: Path, recipe: str | Recipe, changes: dict[str, Any], reading: Reading, notice: Notice
) -> tuple["Dataset", Recipe, str]:
    from mlpax.tables import read_table
    from mlpax.targets import from_frame, guess_target, infer_task

    frame = read_table(path)
    target = guess_target(frame, reading.target, notice)
    task = reading.task or infer_task(frame[target])
    name = "table" if isinstance(recipe, Recipe) else recipe
    whole = recipe if isinstance(recipe, Recipe) else named(name, frame.height, task, **changes)
    dataset = from_frame(
        frame, name=str(path.resolve()), target=target, task=reading.task, validation=whole.validation,
        test=reading.test, seed=whole.seed, time_ordered=reading.time_ordered, group=reading.group,
        weight=reading.weight, class_weight=reading.class_weight,
        valid_frame=read_table(reading.valid_data) if reading.valid_data else None, notice=notice,
    )  # fmt: skip
    if not isinstance(recipe, Recipe):  # for the rows that are left to train on
        recipe = named(name, len(dataset.X_train), task, **changes)
    return dataset, recipe, name


def _pictures(path: Path, reading: Reading, seed: int, notice: Notice, progress: bool) -> "Dataset":
    import numpy as np

    from mlpax.batches import rng  # and with it JAX
    from mlpax.datasets import Dataset
    from mlpax.images import read_image_folder
    from mlpax.splits import stratified

    images = read_image_folder(
        path,
        size=reading.size,
        colour=reading.colour,
        skip_bad=reading.skip_bad,
        progress=progress,
        notice=notice,
    )
    tested = np.zeros(len(images.y), bool)
    if reading.test:
        tested = stratified(images.y, reading.test, rng(seed, "test"))
    name = str(path.resolve())
    X, y = images.X, images.y
    return Dataset(name, X[~tested], y[~tested], X[tested], y[tested], images.classes, images.shape)
