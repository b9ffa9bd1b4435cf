"""Small tables and files of arrays that several tests read."""

import gzip
import io

import numpy as np
import polars as pl


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
