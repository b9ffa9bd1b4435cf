"""Named data sets, at their public path."""

from mlpax.data.dataset import Dataset
from mlpax.data.named_sets import NAMES, Entry, catalogue, fetch, load

__all__ = ["NAMES", "Dataset", "Entry", "catalogue", "fetch", "load"]
