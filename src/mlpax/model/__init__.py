"""What training leaves behind: a network that answers, and its file."""

from mlpax.model.model import Model
from mlpax.model.model_file import load

__all__ = ["Model", "load"]
