"""Train in a folder that loses nothing."""

from mlpax.runs.run import Every, new_folder, train

__all__ = ["Every", "new_folder", "train"]
