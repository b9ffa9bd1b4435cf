"""Read LIBSVM's text: a target in each line, and the columns that are not 0 by their numbers."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from mlpax.data.memory import COLUMN, TYPED, refuse_beyond
from mlpax.errors import InputError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["read_libsvm"]


def read_libsvm(path: Path, data: bytes, memory: str | None = None) -> "pl.DataFrame":
    """Return the table: a column `x3` for the number 3, for example, and the target `y`, which comes last.

    Columns are named as the file numbers them, from 1 or from 0. A number that a line lacks is 0 in its row.

    Parameters
    ----------
    path : path
        For messages.
    data : bytes
    memory : str, optional
        The most memory that the table may take.

    Raises
    ------
    InputError
        If the text is none of LIBSVM, groups its rows by `qid`, or the table takes too much memory.
    """
    import polars as pl
    from sklearn.datasets import load_svmlight_file  # pyright: ignore[reportUnknownVariableType]

    if grouped := re.search(rb"^[^#\n]*\bqid:", data, re.MULTILINE):
        line = data.count(b"\n", 0, grouped.start()) + 1
        raise InputError(
            f"{path} groups its rows by qid in line {line}, as rankings do; remove qid, or write a column"
        )
    try:
        load = cast("Callable[..., tuple[Any, np.ndarray]]", load_svmlight_file)
        X, y = load(io.BytesIO(data), zero_based=True)
    except (ValueError, OverflowError) as error:
        said = " ".join(str(error).split())[:160]
        raise InputError(f"{path} is no LIBSVM text, which has lines such as 1 3:0.5 7:2: {said}") from None
    rows, width = cast("tuple[int, int]", X.shape)
    refuse_beyond(path, TYPED * rows * width + COLUMN * width, memory)
    dense = np.asarray(X.toarray())
    first = 0 if X.getcol(0).nnz or width == 1 else 1
    whole = np.array_equal(y, np.round(y)) and bool((np.abs(y) < 2**53).all())
    columns = {f"x{i}": dense[:, i] for i in range(first, width)}
    return pl.DataFrame(columns | {"y": y.astype(np.int64) if whole else y})
