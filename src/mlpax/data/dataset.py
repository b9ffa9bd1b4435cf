"""`Dataset`, and the functions that choose which rows are held out."""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlpax.errors import InputError

if TYPE_CHECKING:
    from mlpax.data.columns import Columns

__all__ = ["Dataset", "held_out", "stratified"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test rows: images as they came, or a table's rows as inputs of a network.

    Attributes
    ----------
    name : str
    X_train, X_test : arrays of shape (rows, features), uint8 or float32
    y_train, y_test : arrays of shape (rows,), int32, or (rows, 1), float64
        Labels in 0 .. len(classes) - 1, or a regression's values.
    classes : tuple of int, str or bool
        What each label stands for; empty for a regression.
    image_shape : tuple of int, optional
        (height, width) of a row, or (height, width, 3).
    X_valid, y_valid : arrays, optional
        Validation rows held out already.
    weight, weight_valid : arrays of shape (rows,), float32, optional
        Of the training and the validation rows.
    columns : Columns, optional
        The transform that made a table's inputs.
    target : str
        A table's column to predict.
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
    columns: "Columns | None" = None
    target: str = ""

    @property
    def held_out(self) -> tuple[np.ndarray, np.ndarray]:
        """The test rows and their labels; where there are none, those of validation, if any."""
        if len(self.y_test) == 0 and self.X_valid is not None and self.y_valid is not None:
            return self.X_valid, self.y_valid
        return self.X_test, self.y_test

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the arrays' names, types, shapes and bytes."""
        digest = hashlib.sha256()
        for name in (
            "X_train", "y_train", "X_test", "y_test", "X_valid", "y_valid", "weight", "weight_valid",
        ):  # fmt: skip
            if getattr(self, name) is None:
                continue
            array = np.ascontiguousarray(getattr(self, name))
            digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
            digest.update(array.data)
        return digest.hexdigest()


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
