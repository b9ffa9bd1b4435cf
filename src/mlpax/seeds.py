"""Random generators that depend only on a seed, a purpose and an epoch."""

import numpy as np

__all__ = ["member_seeds", "rng"]


def rng(seed: int, purpose: str, epoch: int = 0) -> np.random.Generator:
    """Return a NumPy generator for one purpose of a run, such as "order" or "weights".

    The generator depends only on the arguments, so a resumed run draws the same numbers as an uninterrupted
    run.
    """
    return np.random.default_rng([seed, *purpose.encode(), epoch])


def member_seeds(seed: int, members: int) -> list[int]:
    """Return a seed for each of several networks. The first has the seed of a network alone."""
    return [seed, *rng(seed, "members").integers(2**32, size=members - 1).tolist()]
