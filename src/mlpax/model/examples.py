"""Made-up rows of a model, by which an exported file is compared with the model."""

import numpy as np

from mlpax.data.columns import Category, Date, Input, Number, Text
from mlpax.model.model import Model

__all__ = ["made_up", "size_of"]

MISSING = 0.1  # share of the cells
WORDS = 10  # of a text
SECONDS = 2**31  # dates are from 1970 to 2038


def made_up(model: Model, rows: int) -> "np.ndarray | dict[str, np.ndarray]":
    """Return random rows such as the model takes, always the same.

    Returns
    -------
    array or dict of arrays
        Pictures of (rows, height, width) or (rows, height, width, 3), uint8; arrays of (rows, features),
        float32; or the cells of each column, (rows,): float64 with NaN, dates with NaT, text with None.
    """
    generator = np.random.default_rng(0)
    if model.columns is not None:
        every = (model.columns, *model.fold_columns)
        varying = {column.name: column for columns in every for column in columns.varying}
        return {name: _cells(column, rows, generator) for name, column in varying.items()}
    if model.image_shape:
        return generator.integers(0, 256, (rows, *model.image_shape)).astype(np.uint8)
    shift, scale = model.scaling
    return generator.normal(shift, 1 / scale, (rows, model.networks[0].features)).astype(np.float32)


def size_of(values: np.ndarray) -> float:
    """Return by what a difference of values is divided, (rows, outputs).

    It is their deviation, or a hundredth of the largest, if that is more: float32 has seven digits.
    """
    wide = np.abs(values.astype(np.float64))
    return max(float(values.std(axis=0, dtype=np.float64).max()), float(wide.max()) / 100) or 1.0


def _cells(column: Input, rows: int, generator: np.random.Generator) -> np.ndarray:
    """Return cells of a column; a tenth of them is missing."""
    lacks = generator.random(rows) < MISSING
    match column:
        case Number():
            x = column.median + generator.normal(0, 1, rows) / (column.scale or 1.0)
            return np.where(lacks, np.nan, x)
        case Category():
            texts = np.array([*column.levels, "a level that no training row had"], dtype=object)
            cells = texts[generator.integers(0, len(texts), rows)]
            cells[lacks] = None
            return cells
        case Text():
            words = np.array([*column.vocabulary.words, "aword", "thatnorowhad"], dtype=object)
            texts = words[generator.integers(0, len(words), (rows, WORDS))]
            cells = np.array([" ".join(text) for text in texts], dtype=object)
            cells[lacks] = None
            return cells
        case Date():
            times = generator.integers(0, SECONDS, rows).astype("datetime64[s]").astype("datetime64[us]")
            return np.where(lacks, np.datetime64("NaT"), times)
