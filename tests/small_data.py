"""Small tables, files of arrays and a plan that several tests share."""

import gzip
import io

import numpy as np
import polars as pl

from mlpax.data.dataset import HoldOut
from mlpax.data.reading import Reading
from mlpax.data.tables import as_frame
from mlpax.data.targets import from_frame
from mlpax.engine.plan import Plan


def encoded(array, name) -> bytes:
    """An array of uint8 as the file of this name."""
    file = io.BytesIO()
    if name.endswith(".npy"):
        np.save(file, array)
    else:
        file.write(bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes())
    return gzip.compress(file.getvalue()) if name.endswith(".gz") else file.getvalue()


def classified(rows=20, **columns):
    """A table whose input is the row's number."""
    y = ["b", "a"] * (rows // 2)
    return pl.DataFrame({"x": np.arange(float(rows)), "y": y} | columns)


def dataset_of(frame, *, valid_frame=None, notice=lambda text: None, **options):
    """The data set of a table, by the fields of `Reading` and `HoldOut`."""
    hold = {name: options.pop(name) for name in HoldOut.__dataclass_fields__ if name in options}
    return from_frame(
        as_frame(frame), Reading(**options), HoldOut(**hold), valid_frame=valid_frame, notice=notice
    )


def plan_of(**settings):
    """The plan of a small classifier that is compared by its log-loss."""
    usual = {
        "batch_size": 32, "optimizer": "nesterov", "figures": ("valid_accuracy", "valid_log_loss"),
        "monitor": "valid_log_loss",
    }  # fmt: skip
    return Plan(**usual | settings)
