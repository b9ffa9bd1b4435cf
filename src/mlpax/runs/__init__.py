"""Train in a run directory, with checkpoints and exact resume."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlpax.runs.run import Every, new_folder, train

__all__ = ["Every", "new_folder", "train"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'mlpax.runs' has no attribute {name!r}")
    from mlpax.runs import run  # which imports much that reading a run's files does not need

    return getattr(run, name)
