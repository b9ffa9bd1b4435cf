"""Train in a run directory, with checkpoints and exact resume."""

from mlpax.runs.run import Every, new_folder, train

__all__ = ["Every", "new_folder", "train"]
