"""Random generators that depend only on a seed, a purpose and an epoch."""

import numpy as np

__all__ = ["member_seeds", "rng", "row_draws"]


def rng(seed: int, purpose: str, epoch: int = 0) -> np.random.Generator:
    """Return a NumPy generator for one purpose of a run, such as "order" or "weights".

    The generator depends only on the arguments, so a resumed run draws the same numbers as an uninterrupted
    run.
    """
    return np.random.default_rng([seed, *purpose.encode(), epoch])


def member_seeds(seed: int, members: int) -> list[int]:
    """Return a seed for each of several networks. The first has the seed of a network alone."""
    return [seed, *rng(seed, "members").integers(2**32, size=members - 1).tolist()]


def row_draws(seed: int, purpose: str, rows: np.ndarray) -> np.ndarray:
    """Return a random number in [0, 1) for each of some rows of a table.

    The number of a row depends only on the seed, the purpose and the row, so a table can be read in pieces of
    any size. The generator is SplitMix64 (Steele et al. 2014).

    Parameters
    ----------
    seed : int
    purpose : str
    rows : array of shape (rows,), int
        Numbers of the rows in the table, from 0.

    Returns
    -------
    array of shape (rows,), float64

    Examples
    --------
    >>> rows = np.arange(10)
    >>> bool((row_draws(0, "validation", rows)[4:] == row_draws(0, "validation", rows[4:])).all())
    True
    """
    start = rng(seed, purpose).integers(2**64, dtype=np.uint64)
    z = start + (rows.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)  # modulo 2^64
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)) * 2.0**-53
