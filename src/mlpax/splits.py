"""Which rows are held out: at random by class, by group, or the last in time."""

import numpy as np

from mlpax.errors import InputError

__all__ = ["held_out", "stratified"]


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
