"""What a user names as data (a known set, a table, a folder of pictures) as a data set and its recipe."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpax.errors import InputError, counted, unknown
from mlpax.recipes import RECIPES, TASKS, Recipe, named

if TYPE_CHECKING:
    import numpy as np

    from mlpax.data.dataset import Dataset
    from mlpax.data.images import Images

__all__ = ["Reading", "check_data", "open_data", "short_name"]

Notice = Callable[[str], object]


def _option(default: Any, help: str, *options: str) -> Any:
    return field(default=default, metadata={"help": help, "options": options})


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How data are read, beside the recipe: the command's options of these names."""

    target: str | None = _option(None, "a table's column to predict [target, label, class, y, or the last]")
    task: str | None = _option(None, "what a table's target sets [as its values say]", *TASKS)
    valid_data: str | None = _option(None, "a table whose rows validate, in place of held-out ones")
    test: float = _option(0.0, "share of the rows held out for the final score")
    time_ordered: bool = _option(False, "hold out a table's last rows instead of random ones")
    group: str | None = _option(None, "a table's column no value of which is both trained on and held out")
    weight: str | None = _option(None, "a table's column of the rows' weights")
    class_weight: str | None = _option(None, "weigh a table's classes as if all had as many rows", "balanced")
    size: int = _option(28, "side in pixels that pictures are resized to")
    colour: bool = _option(False, "keep the pictures' colours")
    skip_bad: bool = _option(False, "leave out pictures that cannot be read")

    def given(self) -> dict[str, Any]:
        """Those that are not the default, as they hold in any folder."""
        given = {f.name: v for f in dataclasses.fields(self) if (v := getattr(self, f.name)) != f.default}
        return given | ({"valid_data": str(Path(self.valid_data).resolve())} if self.valid_data else {})


def short_name(data: str) -> str:
    """A name for a run's folder: of a file or folder its own, without endings."""
    return Path(data).name.split(".")[0] or "data"


def check_data(data: str) -> None:
    """Refuse what is neither a known set's name nor a path."""
    from mlpax.data.named_sets import NAMES

    if data in NAMES or Path(data).exists():
        return
    if "/" in data or "." in data:
        raise InputError(f"there is no file or folder {data}")
    said = str(unknown("data set", data, NAMES))
    raise InputError(said if said.endswith("?") else f"{said}, or give a table or a folder of pictures")


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
        A name of `named_sets.NAMES`, or the path of a table or of a folder of pictures.
    recipe : str or Recipe, optional
        Its name, by default `table` for tables and `default` for images; or the recipe itself.
    changes : dict
        Fields of the recipe to change.
    reading : Reading
    data_dir : path, optional
        See `named_sets.load`.
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
    from mlpax.data import named_sets
    from mlpax.data.named_sets import NAMES

    if isinstance(recipe, str) and recipe not in RECIPES:
        raise unknown("recipe", recipe, RECIPES)  # before anything is read
    if not 0 <= reading.test < 1:
        raise InputError(f"test {reading.test} is outside [0, 1)")
    path = Path(data)
    check_data(data)
    arrays = _picture_arrays(path) if data not in NAMES and path.is_file() else None
    if data not in NAMES and path.is_file() and arrays is None:
        for name in ("size", "colour", "skip_bad"):
            if name in reading.given():
                raise InputError(
                    f"{name} is an option for folders of pictures, which {data} is not; leave it out"
                )
        return _table(path, recipe or "table", changes, reading, notice)
    allowed = set[str]() if data in NAMES else {"test"} if arrays else {"size", "colour", "skip_bad", "test"}
    strange = sorted(reading.given().keys() - allowed)
    if strange:
        kind = "folders of pictures" if strange[0] in ("size", "colour", "skip_bad") else "tables"
        raise InputError(f"{strange[0]} is an option for {kind}, which {data} is not; leave it out")
    name = recipe if isinstance(recipe, str) else "default"
    if name == "table":
        raise InputError(
            f"recipe 'table' is for tables, which {data} is not; choose another, or leave it out"
        )
    if data in NAMES:
        dataset = named_sets.load(data, data_dir, progress=progress)
    else:
        changes = {"validation": 0.2} | changes
        whole = recipe if isinstance(recipe, Recipe) else named(name, 1, **changes)
        images = arrays or _pictures(path, reading, notice, progress)
        dataset = _held_out(str(path.resolve()), images, reading.test, whole, notice)
    if not isinstance(recipe, Recipe):
        recipe = named(name, len(dataset.X_train), **changes)
    return dataset, recipe, name


def _table(
    path: Path, recipe: str | Recipe, changes: dict[str, Any], reading: Reading, notice: Notice
) -> tuple["Dataset", Recipe, str]:
    from mlpax.data.tables import read_table
    from mlpax.data.targets import from_frame, guess_target, index_of, infer_task

    frame = read_table(path)
    target = guess_target(frame, reading.target, notice)
    if (index := index_of(frame, target)) is not None:
        notice("the first column has no name and is left out, as an index; name it to keep it")
        frame = frame.drop(index)
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
        validated = bool(reading.valid_data or whole.validation)
        recipe = named(name, len(dataset.X_train), task, validated=validated, **changes)
    return dataset, recipe, name


def _pictures(path: Path, reading: Reading, notice: Notice, progress: bool) -> "Images":
    from mlpax.data.images import read_image_folder

    return read_image_folder(
        path,
        size=reading.size,
        colour=reading.colour,
        skip_bad=reading.skip_bad,
        progress=progress,
        notice=notice,
    )


def _picture_arrays(path: Path) -> "Images | None":
    """The pictures of an IDX, .npy or .npz file and their labels; None where the file is a table."""
    import numpy as np

    from mlpax.data.arrays import is_arrays, labels_beside, read_arrays
    from mlpax.data.images import Images

    if not is_arrays(path):
        return None
    X, y = read_arrays(path)
    if X.ndim == 4 and X.shape[3] == 1:
        X = X[..., 0]
    if X.dtype != np.uint8 or not (X.ndim == 3 or (X.ndim == 4 and X.shape[3] == 3)):
        return None
    if y is None:
        beside = labels_beside(path) if path.suffix.lower() != ".npz" else "an array y in it"
        raise InputError(
            f"{path} has pictures without labels; give them as {beside or 'images.npy, labels.npy'}"
        )
    import polars as pl

    from mlpax.data.targets import classes_of, encode

    labels = pl.Series("y", y)
    classes = classes_of(labels)
    return Images(X.reshape(len(X), -1), encode(labels, classes), classes, X.shape[1:])


def _held_out(name: str, images: "Images", test: float, recipe: Recipe, notice: Notice) -> "Dataset":
    """Pictures with the test and the validation rows held out, each class in its proportion."""
    import numpy as np

    from mlpax.data.dataset import Dataset, held_out
    from mlpax.seeds import rng  # and with it JAX

    X, y, seed, validation = images.X, images.y, recipe.seed, recipe.validation
    tested, validated = np.zeros((2, len(y)), bool)
    if test:
        tested = held_out(y, test, rng(seed, "test"), classes=True)
    if validation:
        rest = np.flatnonzero(~tested)
        validated[rest[held_out(y[rest], validation, rng(seed, "validation"), classes=True)]] = True
    train = ~tested & ~validated
    classes: tuple[Any, ...] = images.classes
    if len(classes) < 2:
        raise InputError(
            f"all pictures of {name} are of the class {', '.join(map(str, classes))}; it takes two"
        )
    _tell_repeats(X, train, notice)
    return Dataset(
        name, X[train], y[train], X[tested], y[tested], images.classes, images.shape,
        X_valid=X[validated] if validation else None, y_valid=y[validated] if validation else None,
    )  # fmt: skip


def _tell_repeats(X: "np.ndarray", train: "np.ndarray", notice: Notice) -> None:
    known = {hash(picture.tobytes()) for picture in X[train]}
    if repeats := sum(hash(picture.tobytes()) in known for picture in X[~train]):
        notice(
            f"{counted(repeats, 'held-out picture')} with an exact double among the training ones:"
            " scores may flatter"
        )
