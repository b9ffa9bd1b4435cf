"""What a user can name as data: a known set, a table, or pictures; with rows to train, score and predict."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from mlpax import hosts
from mlpax.data import images, named_sets, tables
from mlpax.data.arrays import is_arrays, labels_beside, read_arrays, read_rows
from mlpax.data.chunks import dataset_in_chunks, user_cache
from mlpax.data.columns import Category, Columns
from mlpax.data.dataset import Dataset, HoldOut, Split, split, validated
from mlpax.data.frames import Frames
from mlpax.data.kinds import memory_of_texts, tell_kinds
from mlpax.data.memory import memory_limit, written
from mlpax.data.named_sets import NAMES
from mlpax.data.numerals import Numerals
from mlpax.data.packed import INPUT, is_input
from mlpax.data.parts import is_pattern
from mlpax.data.reading import Reading
from mlpax.data.targets import (
    cells_of_target,
    check_column,
    classes_of,
    encode,
    from_frame,
    truth_of,
    weights_of,
)
from mlpax.errors import InputError, Notice, counted, listed, shortened, unknown
from mlpax.recipes import QUALITIES, RECIPES, Recipe, named
from mlpax.stages import Clock, ahead

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "MEMORY",
    "InMemory",
    "Named",
    "Pictures",
    "Ready",
    "Source",
    "Table",
    "ToTrain",
    "Wanted",
    "check_streamed",
    "short_name",
    "source",
    "table_to_train",
]

Arrays = tuple[np.ndarray, np.ndarray | None]  # X and, where there are labels, y
MEMORY = "rows in memory"  # the name of a data set that no file holds
UNREAD = {"-": "stdin", MEMORY: "memory"}  # what cannot be read again, and its name in a run's folder
AHEAD = 4  # batches that are read before they are asked for
ALWAYS = {"memory", "folds", "fold"}  # options of `Reading` for any data
WHOLE = {"folds", "fold", "time_ordered", "group", "valid_data"}  # for tables in memory
LEAST = 1 << 24  # bytes of memory with which a table is trained in chunks
OF_FOLDERS = {"size", "colour", "skip_bad", "invert"}  # options of `Reading` for folders of pictures


class Predicted(Protocol):
    """What a trained network says of a column that it predicts."""

    @property
    def name(self) -> str: ...
    @property
    def classes(self) -> tuple[Any, ...]: ...
    @property
    def numerals(self) -> Numerals: ...


class Trained(Protocol):
    """What a trained network, `mlpax.Model`, says of the rows it takes."""

    @property
    def classes(self) -> tuple[Any, ...]: ...
    @property
    def image_shape(self) -> tuple[int, ...] | None: ...
    @property
    def columns(self) -> Columns | None: ...
    @property
    def targets(self) -> Sequence[Predicted]: ...
    @property
    def provenance(self) -> dict[str, str]: ...
    def inputs(self, X: Any) -> np.ndarray: ...


@dataclass(frozen=True)
class Wanted:
    """The recipe that a user asks for, whose values may depend on the number of training rows.

    Attributes
    ----------
    recipe : str or Recipe, optional
        A name, or the recipe itself. By default `table` for tables and `default` for images.
    changes : mapping
        Fields of the recipe to change.
    quality : {"usual", "best"}
        See `recipes.named`.
    folds : int, default 0
        Also split the training and validation rows into so many folds.
    """

    recipe: str | Recipe | None = None
    changes: Mapping[str, Any] = field(default_factory=dict[str, Any])
    quality: str = "usual"
    folds: int = 0

    def __post_init__(self) -> None:
        known = self.recipe is None or isinstance(self.recipe, Recipe)
        if not known and self.recipe not in [*RECIPES]:
            raise unknown("recipe", self.recipe, RECIPES)  # before anything is read
        if self.quality not in QUALITIES:
            raise unknown("quality", self.quality, QUALITIES)

    def name(self, otherwise: str) -> str:
        """Return the recipe's name, or `otherwise`."""
        return self.recipe if isinstance(self.recipe, str) else otherwise

    def resolved(
        self, otherwise: str, rows: int, task: str = "classification", validated: bool = True
    ) -> Recipe:
        """Return the recipe for so many training rows."""
        if isinstance(self.recipe, Recipe):
            return self.recipe
        name, changes = self.name(otherwise), self.changes
        return named(name, rows, task, validated=validated, quality=self.quality, **changes)


class Ready(NamedTuple):
    """Rows and the recipe to train on them."""

    dataset: Dataset
    recipe: Recipe
    name: str  # the recipe's
    folds: tuple[Dataset, ...] = ()  # each has the validation rows of one fold


class Scored(NamedTuple):
    """Inputs of a network and the truth: labels by the model's classes, or values (rows, targets)."""

    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None = None  # (rows,)


class Unlabelled(NamedTuple):
    """Rows to predict, in batches, and for pictures the file of each row; `clock` gets the stage "read"."""

    batches: Iterable[Any]
    files: list[str] | None = None
    clock: Clock | None = None


@dataclass(frozen=True)
class Named:
    """A known data set, see `named_sets.load`."""

    name: str
    data_dir: str | Path | None = None

    def to_train(
        self, wanted: Wanted, reading: Reading, notice: Notice = lambda text: None, progress: bool = False
    ) -> Ready:
        """Read the training and test rows, and settle the recipe."""
        _check_options(self.name, reading, set())
        recipe = _recipe_of_images(self.name, wanted)
        dataset = named_sets.load(self.name, self.data_dir, progress=progress)
        settled = wanted.resolved(recipe, len(dataset.X_train))
        if reading.fold:
            hold = _hold(settled, reading)
            dataset = _parted(dataset, dataset.X_train, dataset.y_train, split(dataset.y_train, hold))
        folds = [
            validated(dataset, split(dataset.y_train, replace(hold, seed=settled.seed)))
            for hold in _folds(HoldOut(), wanted)
        ]
        return Ready(dataset, settled, recipe, tuple(folds))

    def to_score(self, model: Trained, notice: Notice, reading: Reading = Reading()) -> Scored:
        """Return the test rows, with labels by what the model's classes mean."""
        import polars as pl

        dataset = named_sets.load(self.name, self.data_dir)
        return Scored(
            dataset.X_test, encode(pl.Series("class", dataset.classes), model.classes)[dataset.y_test]
        )

    def to_predict(self, model: Trained, notice: Notice, reading: Reading = Reading()) -> Unlabelled:
        """Return the test rows."""
        return Unlabelled([named_sets.load(self.name, self.data_dir).X_test])


@dataclass(frozen=True)
class Table:
    """A table: a file, a folder or pattern of parts, or standard input.

    `arrays` are those of the file, if they have been read already.
    """

    path: Path
    arrays: Arrays | None = None

    def to_train(
        self, wanted: Wanted, reading: Reading, notice: Notice = lambda text: None, progress: bool = False
    ) -> Ready:
        """Read the table, hold out rows, and settle the recipe."""
        _check_options(self.shown, reading, reading.given().keys() - OF_FOLDERS)
        notice = reading.told(notice)
        name = str(self.path if is_input(self.path) else self.path.resolve())
        files = tables.streamed_files(self.path) if self.arrays is None else []
        if _is_larger(self.shown, files, reading):
            tables.tell_others(self.path, notice)
            return _in_chunks(self.path, files, wanted, reading, notice, name)
        valid = _valid_frame(reading, notice)
        return table_to_train(
            self._frame(reading, notice), wanted, reading, name=name, valid_frame=valid, notice=notice
        )

    def to_score(self, model: Trained, notice: Notice, reading: Reading = Reading()) -> Scored:
        """Return inputs and truth of the rows that have a target."""
        frame = self._like_the_model(self._frame(reading, notice), model)
        names = [target.name for target in model.targets]
        rows = frame
        for target in model.targets:
            check_column(rows, target.name)
            cells = cells_of_target(rows[target.name], target.classes, target.numerals)
            rows = rows.filter(cells.is_not_null())
        if rows.height == 0:
            shown = listed(map(repr, names))
            raise InputError(f"{self.shown} has no row with a target {shown}; there is nothing to score by")
        if rows.height < frame.height:
            notice(f"dropped {counted(frame.height - rows.height, 'row')} without a target")
        weight, named = None, reading.weight
        if named is not None and named in rows.columns:
            weight = weights_of(rows, named, tell_kinds(rows.select(named), reading))
        elif named is not None:
            notice(f"{self.shown} has no column {named!r} of weights; all rows count the same")
        _tell_unknown_columns(model, rows.drop(named, strict=False) if named else rows, notice)
        known = [(target.name, target.classes, target.numerals) for target in model.targets]
        return Scored(model.inputs(rows), truth_of(rows, known), weight)

    def to_predict(self, model: Trained, notice: Notice, reading: Reading = Reading()) -> Unlabelled:
        """Return the rows, read in batches where the file is large, by a thread that reads ahead."""

        plain = model.columns.plain if model.columns else []

        def batches() -> "Iterator[pl.DataFrame]":
            read = tables.read_batches(self.path, options=reading.file, notice=notice, plain=plain)
            unknown, rows = dict[str, tuple[int, str]](), 0
            for number, batch in enumerate(read):
                if number == 0:
                    _tell_unknown_columns(model, batch, notice)
                frame, rows = self._like_the_model(batch, model), rows + batch.height
                _count_unknown_levels(model, frame, unknown)
                yield frame
            for name, (count, level) in unknown.items():
                notice(
                    f"{name!r} holds a level that the model does not know in {count:,} of"
                    f" {counted(rows, 'row')}, such as {shortened(level)!r}"
                )

        clock = Clock()
        return Unlabelled(ahead(batches(), AHEAD, clock, "read"), clock=clock)

    def _frame(self, reading: Reading, notice: Notice) -> "pl.DataFrame":
        if self.arrays is None:
            return tables.read_table(self.path, reading.file, notice)
        return tables.frame_of(*self.arrays, path=self.path, memory=reading.memory)

    @property
    def shown(self) -> str:
        """The path, for messages."""
        return str(INPUT if is_input(self.path) else self.path)

    def _like_the_model(self, frame: "pl.DataFrame", model: Trained) -> "pl.DataFrame":
        """Return the rows with zeros in the model's numbered columns that a LIBSVM file ends before."""
        import polars as pl

        if not tables.is_sparse(self.path) or model.columns is None:
            return frame
        names = [c.name for c in model.columns.columns if re.fullmatch(r"x\d+", c.name)]
        return frame.with_columns(pl.lit(0.0).alias(name) for name in names if name not in frame.columns)


def _count_unknown_levels(model: Trained, frame: "pl.DataFrame", unknown: dict[str, tuple[int, str]]) -> None:
    """Add to the cells of each category that hold none of its levels, each with one of these."""
    for column in model.columns.columns if model.columns else ():
        if isinstance(column, Category) and column.name in frame.columns:
            count, level = column.unknown(frame[column.name])
            before, first = unknown.get(column.name, (0, level))
            if before + count:
                unknown[column.name] = before + count, first


def check_streamed(reading: Reading) -> None:
    """Raise an error if an option does not go with frames that come one by one."""
    if others := sorted(reading.given().keys() & WHOLE):
        raise InputError(
            f"{others[0]} is an option for tables in memory, and the frames come one by one; leave it out, or"
            " join them with polars.concat"
        )


def _is_larger(shown: str, files: list[Path], reading: Reading) -> bool:
    """Whether a table, whose files can be read in batches, is trained in chunks. The first process decides.

    Raises
    ------
    InputError
        If the user asks for a cache, and the table or an option does not go with one.
    """

    def decide() -> bytes:
        return b"1" if _is_larger_here(shown, files, reading) else b""

    return hosts.exchanged(decide)[0] == b"1"


def _is_larger_here(shown: str, files: list[Path], reading: Reading) -> bool:
    others = sorted(reading.given().keys() & WHOLE, reverse=True)  # `folds` before `fold`
    if reading.cache is None:
        if others or not files or (limit := memory_limit(reading.memory)) < LEAST:
            return False
        return _memory_needed(files, reading) > limit
    if others:
        option = "--folds" if others[0] == "fold" else "--" + others[0].replace("_", "-")
        raise InputError(f"{option} is for tables in memory; leave out --cache or {option}")
    if not files:
        raise InputError(
            f"{shown} is read whole; --cache takes Parquet, Arrow and CSV files that are not packed"
        )
    return True


def _memory_needed(files: list[Path], reading: Reading) -> int:
    """Return about how much memory a table would take: its cells, and the inputs of its columns of text."""
    needed = tables.memory_needed(files, reading.file)
    try:
        sample, rows = tables.sample_of(files, reading.file)
        kinds = tell_kinds(sample, reading, refused={})
    except InputError:  # whoever reads the file says more
        return needed
    return needed + memory_of_texts(sample, kinds, rows)


def _in_chunks(
    path: Path, files: list[Path] | Frames, wanted: Wanted, reading: Reading, notice: Notice, name: str
) -> Ready:
    """Encode a table that does not fit in memory. Its recipe counts each chunk of rows as an epoch."""
    cache = Path(reading.cache) if reading.cache is not None else user_cache()
    if isinstance(files, Frames):
        notice(f"frames that come one by one are trained in chunks, from a cache in {cache}")
    elif reading.cache is None:
        needed = written(_memory_needed(files, reading))
        notice(
            f"{path} would take about {needed} of memory, and the limit is"
            f" {written(memory_limit(reading.memory))}: it is trained in chunks, from a cache in {cache}"
        )
    if wanted.folds:
        raise InputError(
            f"folds {wanted.folds} are for tables in memory, which {path} is not; leave them out"
        )
    hold = _hold(wanted.resolved("table", 1), reading)
    dataset = dataset_in_chunks(path, files, reading, hold, name=name, cache=cache, notice=notice)
    chunks = dataset.chunks
    assert chunks is not None
    task = "classification" if dataset.classes else "regression"
    recipe = wanted.resolved("table", chunks.rows, task, hold.validation > 0)
    if chunks.count > 1:
        notice(
            f"{chunks.rows:,} training rows are {chunks.count} chunks, and each epoch below is of one chunk:"
            f" {recipe.epochs} passes over the rows are {recipe.epochs * chunks.count} of them"
        )
        recipe = recipe.replace(epochs=recipe.epochs * chunks.count, patience=recipe.patience * chunks.count)
    return Ready(dataset, recipe, wanted.name("table"))


def table_to_train(
    frame: "pl.DataFrame",
    wanted: Wanted,
    reading: Reading,
    *,
    name: str = "table",
    valid_frame: "pl.DataFrame | None" = None,
    notice: Notice = lambda text: None,
) -> Ready:
    """Hold out rows of a table in memory, and settle the recipe for the rows that are left.

    If the caller holds no reference to the frame, its columns are freed while they are encoded.
    """
    whole = wanted.resolved("table", frame.height)
    hold = _hold(whole, reading)
    if wanted.folds and valid_frame is not None:
        raise InputError("folds validate on the rows of the table; give folds or valid_data, not both")
    holds = _folds(hold, wanted)
    frames = [frame] * (1 + len(holds))  # each call takes one, so that the last call holds the only reference
    del frame
    dataset = from_frame(frames.pop(), reading, hold, name=name, valid_frame=valid_frame, notice=notice)
    folds = [from_frame(frames.pop(), reading, own, name=name) for own in holds]
    task = "classification" if dataset.classes else "regression"
    validated = valid_frame is not None or whole.validation > 0
    rows = min(len(part.X_train) for part in (dataset, *folds))
    recipe = wanted.resolved("table", rows, task, validated)
    return Ready(dataset, recipe, wanted.name("table"), tuple(folds))


def _valid_frame(reading: Reading, notice: Notice) -> "pl.DataFrame | None":
    """Return the table with the validation rows that the user names."""
    return tables.read_table(reading.valid_data, reading.file, notice) if reading.valid_data else None


def _hold(recipe: Recipe, reading: Reading) -> HoldOut:
    """Return which rows are held out. Of several folds together every row trains some of the networks."""
    return HoldOut(
        validation=0.0 if reading.folds and not reading.fold else recipe.validation,
        test=reading.test,
        seed=recipe.seed,
        time_ordered=reading.time_ordered,
        group=reading.group,
        fold=(reading.fold - 1, reading.folds) if reading.fold else None,
        fold_tests=True,
    )


def _parted(dataset: Dataset, X: np.ndarray, y: np.ndarray, parts: Split) -> Dataset:
    """Return a data set of these rows, split into parts."""
    train, valid, test = parts
    return replace(
        dataset, X_train=X[train], y_train=y[train], X_test=X[test], y_test=y[test],
        X_valid=X[valid] if valid.any() else None, y_valid=y[valid] if valid.any() else None,
    )  # fmt: skip


def _folds(hold: HoldOut, wanted: Wanted) -> list[HoldOut]:
    """Return how to hold out each fold."""
    if wanted.folds in (1,) or wanted.folds < 0:
        raise InputError(f"folds {wanted.folds} is below 2; choose 5, say")
    return [replace(hold, fold=(k, wanted.folds), fold_tests=False) for k in range(wanted.folds)]


@dataclass(frozen=True)
class Pictures:
    """Pictures: a folder with a sub-folder for each class, or a file of arrays; to predict, a picture, too.

    `arrays` are those of the file, if they have been read already.
    """

    path: Path
    arrays: Arrays | None = None

    def to_train(
        self, wanted: Wanted, reading: Reading, notice: Notice = lambda text: None, progress: bool = False
    ) -> Ready:
        """Read the pictures, hold out rows of each class in proportion, and settle the recipe."""
        _check_options(str(self.path), reading, {"test", "invert"} | (set() if self.arrays else OF_FOLDERS))
        recipe = _recipe_of_images(str(self.path), wanted)
        wanted = replace(wanted, changes={"validation": 0.2, **wanted.changes})
        whole = wanted.resolved(recipe, 1)
        found = self._labelled(reading, notice, progress)
        hold = _hold(whole, reading)
        train, valid, test = split(found.y, hold)
        parts = [split(found.y, own) for own in _folds(hold, wanted)]
        name, classes = str(self.path.resolve()), found.classes
        if len(classes) < 2:
            raise InputError(
                f"all pictures of {name} are of the class {', '.join(map(str, classes))}; it takes two"
            )
        _tell_repeats(found.X, train, notice)
        X, y = 255 - found.X if reading.invert else found.X, found.y
        dataset = Dataset(
            name, X[train], y[train], X[test], y[test], classes, found.shape,
            X_valid=X[valid] if whole.validation else None, y_valid=y[valid] if whole.validation else None,
        )  # fmt: skip
        whole_set = replace(dataset, X_train=X, y_train=y)
        folds = tuple(validated(whole_set, own) for own in parts)
        return Ready(dataset, wanted.resolved(recipe, len(dataset.X_train)), recipe, folds)

    def to_score(self, model: Trained, notice: Notice, reading: Reading = Reading()) -> Scored:
        """Return the pictures as the model takes them, with labels by what its classes mean."""
        import polars as pl

        if self.path.is_dir():
            size, colour = (model.image_shape or ())[:2], len(model.image_shape or ()) == 3
            found = images.read_image_folder(
                self.path,
                size=size,
                colour=colour,
                skip_bad=reading.skip_bad,
                notice=notice,
                memory=reading.memory,
            )
            labels = encode(pl.Series("class", found.classes), model.classes)
            X = _inverted(found.X, model, reading, notice)
            return Scored(model.inputs(X), labels[found.y])
        _check_arrays(self.path)
        X, y = self.arrays or read_arrays(self.path, reading.memory)
        if y is None:
            raise InputError(f"{self.path} has no labels beside it; there is nothing to score by")
        X = _inverted(X, model, reading, notice)
        return Scored(model.inputs(X), encode(pl.Series("y", y), model.classes))

    def to_predict(self, model: Trained, notice: Notice, reading: Reading = Reading()) -> Unlabelled:
        """Return the pictures without labels."""
        is_picture = str(self.path).lower().endswith(images.SUFFIXES + images.UNREAD)
        if model.image_shape and (self.path.is_dir() or is_picture):
            X, files = images.read_pictures(
                self.path,
                model.image_shape,
                skip_bad=reading.skip_bad,
                notice=notice,
                memory=reading.memory,
            )
            return Unlabelled([_inverted(X, model, reading, notice)], files)
        _check_arrays(self.path)
        return Unlabelled([_inverted(read_rows(self.path, memory=reading.memory), model, reading, notice)])

    def _labelled(self, reading: Reading, notice: Notice, progress: bool) -> images.Images:
        """Return the pictures with their classes."""
        if self.arrays is None:
            return images.read_image_folder(
                self.path, size=reading.size, colour=reading.colour, skip_bad=reading.skip_bad,
                progress=progress, notice=notice, memory=reading.memory,
            )  # fmt: skip
        import polars as pl

        X, y = self.arrays
        if y is None:
            beside = labels_beside(self.path) if self.path.suffix.lower() != ".npz" else "an array y in it"
            raise InputError(
                f"{self.path} has pictures without labels; give them as {beside or 'images.npy, labels.npy'}"
            )
        labels = pl.Series("y", y)
        classes = classes_of(labels)
        return images.Images(X.reshape(len(X), -1), encode(labels, classes), classes, X.shape[1:])


@dataclass(frozen=True)
class InMemory:
    """Rows that a program gives: a frame with the target in it, or pictures and their labels.

    Or the files of a table, or frames that are read one by one. A run on them cannot read them again: they
    are given once more to go on, or to draw its predictions.
    """

    frame: "pl.DataFrame | None" = None
    pictures: Arrays | None = None
    files: tuple[Path, ...] = ()
    frames: Frames | None = None

    def to_train(
        self, wanted: Wanted, reading: Reading, notice: Notice = lambda text: None, progress: bool = False
    ) -> Ready:
        """Hold out rows, and settle the recipe."""
        if self.pictures is not None:
            ready = Pictures(Path(MEMORY), self.pictures).to_train(wanted, reading, notice)
            return ready._replace(dataset=replace(ready.dataset, name=MEMORY))
        _check_options(MEMORY, reading, reading.given().keys() - OF_FOLDERS)
        notice = reading.told(notice)
        if self.frames is not None:
            check_streamed(reading)
            return _in_chunks(Path(MEMORY), self.frames, wanted, reading, notice, MEMORY)
        shown = f"{self.files[0]}, ..." if self.files else MEMORY
        files = tables.streamed_files(self.files)
        if _is_larger(shown, files, reading):
            return _in_chunks(Path(shown), files, wanted, reading, notice, MEMORY)
        valid = _valid_frame(reading, notice)
        if self.files:
            return table_to_train(
                tables.read_parts(shown, [*self.files], reading.file, notice), wanted, reading, name=MEMORY,
                valid_frame=valid, notice=notice,
            )  # fmt: skip
        assert self.frame is not None
        return table_to_train(self.frame, wanted, reading, name=MEMORY, valid_frame=valid, notice=notice)


Source = Named | Table | Pictures
ToTrain = Source | InMemory


def source(
    data: str,
    data_dir: str | Path | None = None,
    *,
    model: Trained | None = None,
    memory: str | None = None,
) -> Source:
    """Return what a user names as data.

    Parameters
    ----------
    data : str
        A name of `named_sets.NAMES`, or the path of a table, of a folder of pictures or of a file of arrays;
        a folder or a pattern such as `parts/*.csv` of the parts of a table; `-` for a table from standard
        input.
    data_dir : path, optional
        See `named_sets.load`.
    model : Trained, optional
        The network that will score or predict the rows. It decides whether a file is a table or pictures;
        without a model the file's contents decide.
    memory : str, optional
        See `arrays.read_arrays`.

    Raises
    ------
    InputError
        If there is no such data, or a file of arrays cannot be read.
    """
    path = Path(data)
    if model is not None and model.columns is not None:
        return Table(path)
    if is_input(path):
        if model is not None:
            raise InputError("standard input is read as a table, which this model does not take; give a file")
        return Table(path)
    _check_data(data)
    if data in NAMES:
        return Named(data, data_dir)
    if model is None and (
        is_pattern(path) or (path.is_dir() and tables.has_parts(path) and not images.holds_pictures(path))
    ):
        return Table(path)
    if path.is_dir() or model is not None:
        return Pictures(path)
    if not is_arrays(path):
        return Table(path)
    X, y = read_arrays(path, memory)
    if X.ndim == 4 and X.shape[3] == 1:
        X = X[..., 0]
    pictures = X.dtype == np.uint8 and (X.ndim == 3 or (X.ndim == 4 and X.shape[3] == 3))
    return Pictures(path, (X, y)) if pictures else Table(path, (X, y))


def short_name(data: str) -> str:
    """A name for a run's folder: of a file or folder its own, without endings; of a pattern its folder's."""
    if data in UNREAD:
        return UNREAD[data]
    path = Path(data).parent if is_pattern(data) else Path(data)
    return path.name.split(".")[0] or "data"


def _check_data(data: str) -> None:
    """Refuse what is neither a known set's name nor a path."""
    if data in NAMES or Path(data).exists() or is_pattern(data):
        return
    if "/" in data or "." in data:
        raise InputError(f"there is no file or folder {data}")
    said = str(unknown("data set", data, NAMES))
    raise InputError(said if said.endswith("?") else f"{said}, or give a table or a folder of pictures")


def _check_options(data: str, reading: Reading, allowed: set[str]) -> None:
    """Refuse options that are for other kinds of data."""
    if not 0 <= reading.test < 1:
        raise InputError(f"test {reading.test} is outside [0, 1)")
    if strange := sorted(reading.given().keys() - allowed - ALWAYS):
        kind = "folders of pictures" if strange[0] in OF_FOLDERS else "tables"
        raise InputError(f"{strange[0]} is an option for {kind}, which {data} is not; leave it out")


def _recipe_of_images(data: str, wanted: Wanted) -> str:
    """Return the recipe's name."""
    name = wanted.name("default")
    if name == "table":
        raise InputError(
            f"recipe 'table' is for tables, which {data} is not; choose another, or leave it out"
        )
    return name


def _check_arrays(path: Path) -> None:
    if not is_arrays(path):
        raise InputError(f"{path} holds no array as this model takes; give IDX, .npy, .npz or pictures")


def _tell_unknown_columns(model: Trained, frame: "pl.DataFrame", notice: Notice) -> None:
    """Say which columns the model ignores."""
    if model.columns is None:
        return
    inputs, known = ({c.name for c in model.columns.columns}, {target.name for target in model.targets})
    extra = [c for c in frame.columns if c and c not in inputs | known]  # an index has no name
    if extra and inputs - known <= set(frame.columns):  # else the error to come says more
        notice(f"ignored columns that the model does not know: {listed(extra)}")


def _inverted(X: np.ndarray, model: Trained, reading: Reading, notice: Notice) -> np.ndarray:
    """Return pictures with dark and light exchanged if the user says so; tell if they seem to need it."""
    if model.image_shape is None or X.dtype != np.uint8:
        return X
    X = 255 - X if reading.invert else X
    own, found = model.provenance.get("background", ""), images.background(X, model.image_shape)
    if own and found and own != found:
        remedy = "leave out --invert" if reading.invert else "--invert exchanges dark and light"
        notice(
            f"the pictures have a {found} background, and the network was trained on a {own} one; {remedy}"
        )
    return X


def _tell_repeats(X: np.ndarray, train: np.ndarray, notice: Notice) -> None:
    known = {hash(picture.tobytes()) for picture in X[train]}
    if repeats := sum(hash(picture.tobytes()) in known for picture in X[~train]):
        notice(
            f"{counted(repeats, 'held-out picture')} with an exact double among the training ones:"
            " scores may flatter"
        )
