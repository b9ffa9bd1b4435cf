"""The article's epoch line, at its public path."""

from mlpax.wording import epoch_line

__all__ = ["epoch_line"]
