"""`Dataset`, and the one place that holds out rows: by class, by group or by time."""

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np

from mlpax.data.columns import Columns
from mlpax.data.numerals import Numerals
from mlpax.errors import InputError
from mlpax.seeds import rng

__all__ = ["ARRAYS", "Chunk", "Chunks", "Dataset", "HoldOut", "Split", "combined", "fold_numbers",
           "from_arrays", "held_out", "split", "split_as_scikit_learn", "stratified",
           "validated"]  # fmt: skip


ARRAYS = ("X_train", "y_train", "X_test", "y_test", "X_valid", "y_valid", "weight", "weight_valid")
OF_COLUMNS = "columns."  # before the names of the columns' arrays


class Chunk(NamedTuple):
    """Some training rows: inputs of the network, labels or values, and weights."""

    X: np.ndarray  # (rows, features), float32
    y: np.ndarray  # (rows,) int32, or (rows, targets) float64
    weight: np.ndarray  # (rows,) float32; 0 of rows that only fill the chunk up


class Chunks(Protocol):
    """Training rows that are read chunk by chunk, because they do not fit in memory."""

    @property
    def cache(self) -> str:
        """The folder in which the encoded rows are kept."""
        ...

    @property
    def rows(self) -> int:
        """All training rows."""
        ...

    @property
    def count(self) -> int:
        """Chunks of a pass over the rows."""
        ...

    @property
    def digest(self) -> str:
        """A hash of what determines the chunks."""
        ...

    @property
    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Weighted mean and deviation of each target of a regression; 0 and 1 of classes."""
        ...

    @property
    def class_counts(self) -> list[list[int]]:
        """Training rows of each class, for each target."""
        ...

    @property
    def codes(self) -> np.ndarray:
        """The codes of the embeddings that occur in training rows: (rows, embeddings)."""
        ...

    def chunk(self, number: int, share: int = 0, shares: int = 1) -> Chunk:
        """Return the rows of a chunk, or one of several equal shares of them.

        The chunks of all passes are numbered one after another, from 0. All chunks, and all shares, have as
        many rows.
        """
        ...


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test rows: images as they came, or a table's rows as inputs of a network.

    Attributes
    ----------
    name : str
    X_train, X_test : arrays of shape (rows, features), uint8 or float32
    y_train, y_test : arrays of shape (rows,), int32, or (rows, targets), int32 or float64
        Labels in 0 .. len(classes) - 1, or those of several targets, or a regression's values.
    classes : tuple of int, str or bool
        What each label stands for, of several targets those of the first; empty for a regression.
    image_shape : tuple of int, optional
        (height, width) of a row, or (height, width, 3).
    X_valid, y_valid : arrays, optional
        Validation rows held out already.
    weight, weight_valid : arrays of shape (rows,), float32, optional
        Of the training and the validation rows.
    weight_held : array of shape (rows,), float32, optional
        Of the rows in `held_out`, if a column holds weights; without those of the classes.
    columns : Columns, optional
        The transform that made a table's inputs.
    targets : tuple of str
        A table's columns to predict.
    numerals : tuple of Numerals
        How text writes the numbers of each target.
    more_classes : tuple of tuples
        What the labels of the second and later targets stand for, if they are classes.
    chunks : Chunks, optional
        The training rows, if they do not fit in memory; `X_train` and `y_train` have no rows then.
    """

    name: str
    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    classes: tuple[int, ...] | tuple[str, ...]
    image_shape: tuple[int, ...] | None = None
    X_valid: np.ndarray | None = None
    y_valid: np.ndarray | None = None
    weight: np.ndarray | None = None
    weight_valid: np.ndarray | None = None
    weight_held: np.ndarray | None = None
    columns: Columns | None = None
    targets: tuple[str, ...] = ("",)
    numerals: tuple[Numerals, ...] = (Numerals(),)
    more_classes: tuple[tuple[int, ...] | tuple[str, ...], ...] = ()
    chunks: Chunks | None = None

    @property
    def each_classes(self) -> tuple[tuple[int, ...] | tuple[str, ...], ...]:
        """The classes of each target; empty for a regression."""
        return (self.classes, *self.more_classes) if self.classes else ()

    @property
    def rows_trained(self) -> int:
        """The number of training rows."""
        return len(self.y_train) if self.chunks is None else self.chunks.rows

    @property
    def class_counts(self) -> list[list[int]]:
        """The number of training rows of each class, for each target."""
        if self.chunks is not None:
            return self.chunks.class_counts
        each = self.y_train.reshape(len(self.y_train), -1).T
        return [
            np.bincount(y, minlength=len(classes)).tolist()
            for y, classes in zip(each, self.each_classes, strict=False)
        ]

    @property
    def held_out(self) -> tuple[np.ndarray, np.ndarray]:
        """The test rows and their labels; where there are none, those of validation, if any."""
        if len(self.y_test) == 0 and self.X_valid is not None and self.y_valid is not None:
            return self.X_valid, self.y_valid
        return self.X_test, self.y_test

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the arrays' names, types, shapes and bytes."""
        digest = hashlib.sha256(b"" if self.chunks is None else self.chunks.digest.encode())
        for name in ARRAYS:
            if getattr(self, name) is None:
                continue
            array = np.ascontiguousarray(getattr(self, name))
            digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
            digest.update(array.data)
        return digest.hexdigest()

    def to_arrays(self) -> tuple[dict[str, np.ndarray], str]:
        """Return the arrays, and all else as JSON: what `from_arrays` takes, on another machine, too."""
        arrays = {name: array for name in ARRAYS if (array := getattr(self, name)) is not None}
        if self.columns is not None:
            arrays |= {f"{OF_COLUMNS}{name}": array for name, array in self.columns.arrays.items()}
        about = {
            name: getattr(self, name)
            for name in ("name", "classes", "image_shape", "targets", "more_classes")
        }
        about["columns"] = None if self.columns is None else self.columns.to_json()
        about["numerals"] = [numerals.to_json() for numerals in self.numerals]
        return arrays, json.dumps(about)


def from_arrays(arrays: dict[str, np.ndarray], about: str) -> Dataset:
    """Return the data set of `Dataset.to_arrays`."""
    found = json.loads(about)
    shape, columns = found["image_shape"], found["columns"]
    own = {name.removeprefix(OF_COLUMNS): array for name, array in arrays.items() if name not in ARRAYS}
    rows: dict[str, Any] = {name: array for name, array in arrays.items() if name in ARRAYS}
    return Dataset(
        **rows,
        name=found["name"],
        classes=tuple(found["classes"]),
        image_shape=None if shape is None else tuple(shape),
        columns=None if columns is None else Columns.from_json(columns).with_arrays(own),
        targets=tuple(found["targets"]),
        more_classes=tuple(map(tuple, found["more_classes"])),
        numerals=tuple(map(Numerals.from_json, found["numerals"])),
    )


def stratified(y: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """A mask of `share` of the rows, each class in its proportion, and of each a row is left.

    What whole rows leave over goes to the largest remainders, drawn among equals.
    """
    classes = [generator.permutation(np.flatnonzero(y == label)) for label in np.unique(y)]
    most = np.array([len(rows) - 1 for rows in classes])
    fair = share * (most + 1)
    counts = np.minimum(np.floor(fair).astype(int), most)
    drawn = generator.permutation(len(classes))
    by_remainder = drawn[np.argsort((counts - fair)[drawn], kind="stable")]
    over = max(0, round(share * len(y)) - counts.sum())
    counts[by_remainder[(counts < most)[by_remainder]][:over]] += 1
    held = np.zeros(len(y), bool)
    held[np.concatenate([rows[:count] for rows, count in zip(classes, counts, strict=True)])] = True
    return held


def held_out(
    y: np.ndarray, share: float, generator: np.random.Generator, *, classes: bool,
    groups: np.ndarray | None = None, time_ordered: bool = False,
) -> np.ndarray:  # fmt: skip
    """A mask of the rows to hold out.

    Parameters
    ----------
    y : array of shape (rows,)
    share : float in (0, 1)
    generator : numpy.random.Generator
    classes : bool
        Whether y holds classes, to be held out in proportion.
    groups : array of shape (rows,), optional
        No group is on both sides.
    time_ordered : bool, default False
        Hold out the last rows.

    Raises
    ------
    InputError
        If the share is no share, either side would be empty, or groups are to be held out in time.
    """
    rows = len(y)
    if not 0 < share < 1:
        raise InputError(f"the share {share} to hold out is outside (0, 1)")
    if time_ordered and groups is not None:
        raise InputError("the last rows do not keep groups whole; give time_ordered or group, not both")
    if time_ordered:
        held = np.arange(rows) >= rows - round(share * rows)
    elif groups is not None:
        held = np.zeros(rows, bool)
        _, numbers = np.unique(groups, return_inverse=True)
        sizes = np.bincount(numbers)
        if len(sizes) < 2:
            raise InputError(f"all {rows} rows are of one group; choose another column")
        for group in generator.permutation(len(sizes)):
            if held.sum() + sizes[group] / 2 <= share * rows:
                held |= numbers == group
        if not held.any():
            held = numbers == sizes.argmin()
    elif classes:
        held = stratified(y, share, generator)
    else:
        held = np.zeros(rows, bool)
        held[generator.permutation(rows)[: round(share * rows)]] = True
    if held.all() or not held.any():
        raise InputError(f"holding out {share:g} of {rows} rows leaves one side empty; choose another share")
    return held


def fold_numbers(
    y: np.ndarray, folds: int, generator: np.random.Generator, *, classes: bool,
    groups: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """Return each row's fold, 0 .. folds - 1, of about as many rows each.

    Parameters
    ----------
    y : array of shape (rows,)
    folds : int
    generator : numpy.random.Generator
    classes : bool
        Whether y holds classes, each to be dealt evenly.
    groups : array of shape (rows,), optional
        The rows of a group are in one fold.

    Raises
    ------
    InputError
        If there are fewer than 2 folds, or more of them than rows, groups, or rows of the largest class.
    """
    rows, fold = len(y), np.zeros(len(y), np.int64)
    kinds = np.arange(rows) if groups is None and not classes else y if groups is None else groups
    _, numbers = np.unique(kinds, return_inverse=True)
    sizes = np.bincount(numbers)
    what = "groups" if groups is not None else "rows of the largest class" if classes else "rows"
    most = int(sizes.max()) if what.endswith("class") else len(sizes)
    if not 2 <= folds <= most:
        raise InputError(f"folds {folds} is outside [2, {most}], the number of {what}")
    if groups is not None:  # the largest first, each to the smallest fold
        filled = np.zeros(folds, np.int64)
        drawn = generator.permutation(len(sizes))
        for group in drawn[np.argsort(-sizes[drawn], kind="stable")]:
            smallest = int(filled.argmin())
            fold[numbers == group] = smallest
            filled[smallest] += sizes[group]
        return fold
    order = generator.permutation(rows)
    if classes:  # dealt one after another
        order = order[np.argsort(numbers[order], kind="stable")]
    fold[order] = np.arange(rows) % folds
    return fold


@dataclass(frozen=True, kw_only=True)
class HoldOut:
    """Which rows are held out.

    Attributes
    ----------
    validation : float in [0, 1)
        Share of the rows that choose the epoch to keep, of the rows that are left by `test`.
    test : float in [0, 1)
        Share of the rows for the final score.
    seed : int
        Seed of the random choices.
    time_ordered : bool
        Hold out the last rows: first the test rows, before them the validation rows.
    group : str, optional
        A table's column. Rows of one value stay together: all are trained on, or all held out.
    fold : (int, int), optional
        Which fold is held out, from 0, and of how many; of the rows that are left by `test`.
    fold_tests : bool, default False
        Whether the fold holds the test rows, and those of `test` are left out, instead of validating.
    """

    validation: float = 0.2
    test: float = 0.0
    seed: int = 0
    time_ordered: bool = False
    group: str | None = None
    fold: tuple[int, int] | None = None
    fold_tests: bool = False


def combined(y: np.ndarray) -> np.ndarray:
    """Return one label for each row of labels of several targets, (rows,), by which rows can be held out.

    A label is a combination of classes. A row whose combination has no other row gets the label of the class
    that is rarest among its classes, and what has no other row even so gets one common label.

    Parameters
    ----------
    y : array of shape (rows, targets), int

    Examples
    --------
    >>> combined(np.array([[0, 1], [1, 1], [0, 1], [1, 0]]))
    array([0, 7, 0, 7])
    """
    places = np.cumsum([0, *(y.max(axis=0)[:-1] + 1)])  # every class of every target has a number of its own
    own = y + places
    counts = np.bincount(own.ravel())
    rarest = own[np.arange(len(y)), counts[own].argmin(axis=1)]
    _, found, sizes = np.unique(y, axis=0, return_inverse=True, return_counts=True)
    found = found.reshape(len(y))
    alone = sizes[found] == 1
    found = np.where(alone, len(sizes) + rarest, found)
    alone &= np.bincount(found)[found] == 1
    return np.where(alone, len(sizes) + len(counts), found)


class Split(NamedTuple):
    """Masks of the rows: none is in two of them."""

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


def split(
    y: np.ndarray, hold: HoldOut, *, classes: bool = True, groups: np.ndarray | None = None
) -> Split:  # fmt: skip
    """Choose which rows train, which validate and which test.

    Parameters
    ----------
    y : array of shape (rows,) or (rows, targets)
        Labels, or a regression's values.
    hold : HoldOut
    classes : bool, default True
        Whether y holds classes. Each class is then held out in proportion; of several targets each
        combination of classes, see `combined`.
    groups : array of shape (rows,), optional
        Each row's value of the column `hold.group`.

    Raises
    ------
    InputError
        See `held_out`; or if the test rows leave one group only.
    """
    y = combined(y) if classes and y.ndim > 1 else y
    valid, test = np.zeros((2, len(y)), bool)
    if hold.test:
        test = held_out(
            y,
            hold.test,
            rng(hold.seed, "test"),
            classes=classes,
            groups=groups,
            time_ordered=hold.time_ordered,
        )
    out = test.copy()
    if hold.fold:
        if hold.time_ordered:
            raise InputError("folds mix the rows in time; give time_ordered or folds, not both")
        rest, (number, folds) = np.flatnonzero(~test), hold.fold
        left = None if groups is None else groups[rest]
        fold = fold_numbers(y[rest], folds, rng(hold.seed, "folds"), classes=classes, groups=left)
        held = rest[fold == number]
        if hold.fold_tests:
            test = np.zeros(len(y), bool)
            test[held] = out[held] = True
        else:
            valid[held] = True
    if hold.validation and not valid.any():
        rest = np.flatnonzero(~out)
        left = None if groups is None else groups[rest]
        if groups is not None and len(set(groups[rest])) == 1 < len(set(groups)):
            raise InputError(
                f"the test rows leave one group of {hold.group!r}, and validation needs another; give a third"
                " group, or validation 0"
            )
        share = held_out(
            y[rest],
            hold.validation,
            rng(hold.seed, "validation"),
            classes=classes,
            groups=left,
            time_ordered=hold.time_ordered,
        )
        valid[rest[share]] = True
    return Split(~out & ~valid, valid, test)


def validated(dataset: Dataset, parts: Split) -> Dataset:
    """Return a data set whose training rows are split into those to train on and those of validation."""
    X, y = dataset.X_train, dataset.y_train
    return replace(
        dataset,
        X_train=X[parts.train],
        y_train=y[parts.train],
        X_valid=X[parts.valid],
        y_valid=y[parts.valid],
    )


def split_as_scikit_learn(
    rows: int, share: float, generator: np.random.RandomState | int | None, y: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the rows to train on and to hold out, as scikit-learn's estimators draw them.

    With labels `y`, each class is held out in proportion.
    """
    from sklearn import model_selection

    draw: Any = model_selection  # scikit-learn has no types
    train, held = draw.train_test_split(np.arange(rows), random_state=generator, test_size=share, stratify=y)
    return train, held
