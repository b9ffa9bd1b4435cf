"""Random generators that depend only on a seed, a purpose and an epoch."""

import numpy as np

__all__ = ["rng"]


def rng(seed: int, purpose: str, epoch: int = 0) -> np.random.Generator:
    """Return a NumPy generator for one purpose of a run, such as "order" or "weights".

    The generator depends only on the arguments, so a resumed run draws the same numbers as an uninterrupted
    run.
    """
    return np.random.default_rng([seed, *purpose.encode(), epoch])
