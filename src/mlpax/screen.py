"""The article's epoch line, at its public path."""

from mlpax.cli.screen import epoch_line

__all__ = ["epoch_line"]
