"""A trained network with what it needs to answer."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
import scipy.special
from jaxtyping import Array

from mlpax import scores
from mlpax.atomic import atomic
from mlpax.data.columns import Columns, as_frame, to_json_1
from mlpax.engine.rows import Scaling
from mlpax.engine.xla.network import Params, forward
from mlpax.engine.xla.table_network import table_features
from mlpax.errors import InputError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["FORMAT", "Model"]

Layers = list[tuple[np.ndarray, np.ndarray]]  # network.Params on the host

FORMAT = 1
CHUNK = 8192  # rows a program: bounds the memory of a prediction


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A trained network.

    Attributes
    ----------
    params : list of (W, b)
        The layers, float32.
    task : {"classification", "regression"}
    classes : tuple of str, int or bool
        What each output of a classification stands for; empty for a regression.
    activation : str or tuple of str
        A name of `mlpax.network.ACTIVATIONS`, or one for each hidden layer.
    link : {"identity", "exp"}
        What makes a regression's values of the network's outputs.
    scaling : Scaling
        What was done to the inputs in training.
    image_shape : tuple of int, optional
        (height, width), or (height, width, 3), where a row is an image.
    columns : Columns, optional
        The transform of a table's columns.
    embeddings : list of arrays of shape (codes, size), float32
        Of a table's larger categories.
    target : str
        A table's predicted column.
    recipe : dict
        The settings it was trained with.
    metrics : dict
        Figures of the run: `train_accuracy`, `valid_accuracy`, ...
    provenance : dict
        Data set, versions and date, as text.
    """

    params: Layers
    classes: tuple[Any, ...] = ()
    task: str = "classification"
    activation: str | tuple[str, ...] = "relu"
    link: str = "identity"
    scaling: Scaling = field(default_factory=Scaling)
    image_shape: tuple[int, ...] | None = None
    columns: Columns | None = None
    embeddings: list[np.ndarray] = field(default_factory=list[np.ndarray])
    target: str = ""
    recipe: dict[str, Any] = field(default_factory=dict[str, Any])
    metrics: dict[str, float] = field(default_factory=dict[str, float])
    provenance: dict[str, str] = field(default_factory=dict[str, str])

    def __repr__(self) -> str:
        return f"Model({self.task}, {' - '.join(map(str, self.sizes))}, {self.activation})"

    @property
    def sizes(self) -> tuple[int, ...]:
        """Units of each layer, the inputs first."""
        return (self.params[0][0].shape[0], *(b.shape[0] for _, b in self.params))

    def outputs(self, X: Any) -> np.ndarray:
        """The network's outputs: before any softmax, a regression's in its target's units.

        Parameters
        ----------
        X : array of shape (rows, features) or (rows, height, width), uint8 or float, or frame
            Of a table: a polars, pandas or pyarrow table, or a dict, with the model's columns; or an array
            of them in their order.

        Returns
        -------
        array of shape (rows, outputs), float32

        Raises
        ------
        InputError
            If the shape does not fit the network, a column is missing, or a value is not of its kind, NaN
            or infinite.
        """
        return self.forward(self.inputs(X))

    def inputs(self, X: Any) -> np.ndarray:
        """What `forward` takes, of rows as in `outputs`: of a table, as its columns' transform makes it."""
        if self.columns:
            return self.columns(self._frame(X))
        X = np.asarray(X)
        if self.image_shape:
            if X.dtype.kind not in "uif":
                raise InputError(f"X is of type {X.dtype}; this model takes pixels of 0 to 255")
            if X.ndim > 2 and X.shape[1:] not in (self.image_shape, (*self.image_shape, 1)):
                raise InputError(f"X has pictures of {X.shape[1:]}; this model takes {self.image_shape}")
            if X.dtype.kind == "f" and X.size and 0 < X.max() <= 1:
                raise InputError(f"X holds pictures of 0 to {X.max():g}; this model takes pixels of 0 to 255")
        return X

    def _frame(self, X: Any) -> "pl.DataFrame":
        return as_frame(X, [c.name for c in self.columns.columns] if self.columns else None)

    def forward(self, X: np.ndarray) -> np.ndarray:
        """The outputs of the network's inputs: of a table, as `columns` makes them; else see `outputs`."""
        features = self.columns.dense + len(self.embeddings) if self.columns else self.sizes[0]
        if X.ndim < 2 or math.prod(X.shape[1:]) != features:
            found = f"rows of {math.prod(X.shape[1:])} features" if X.ndim > 1 else f"shape {X.shape}"
            raise InputError(f"X has {found}; this model takes rows of {features} features")
        if X.dtype.kind not in "buif":
            raise InputError(f"X is of type {X.dtype}; this model takes numbers")
        X = X.reshape(len(X), features)
        if not np.isfinite(X).all():
            row, column = np.argwhere(~np.isfinite(X))[0]
            raise InputError(f"X holds {X[row, column]} at row {row}, column {column}; all must be finite")
        if X.dtype != np.uint8:
            X = X.astype(np.float32)
        params, embeddings = jax.device_put((self.params, self.embeddings))
        outputs = np.empty((len(X), self.sizes[-1]), np.float32)
        for start in range(0, len(X), CHUNK):
            rows = X[start : start + CHUNK]
            # Row counts round up to powers of two, so that a handful of programs serves them all.
            padded = np.zeros((min(CHUNK, 2 ** math.ceil(math.log2(len(rows)))), features), X.dtype)
            padded[: len(rows)] = rows
            answer = _outputs(params, embeddings, padded, *self.scaling, activation=self.activation)
            outputs[start : start + CHUNK] = np.asarray(answer)[: len(rows)]
        return np.exp(outputs) if self.link == "exp" else outputs

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each class, of shape (rows, classes); see `outputs` for X and errors."""
        if self.task != "classification":
            raise InputError("a regression has no probabilities; use predict")
        return scipy.special.softmax(self.outputs(X), axis=1)  # where JAX would compile for each shape

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest class of each row, or a regression's values; see `outputs`."""
        outputs = self.outputs(X)
        if self.task == "classification":
            return np.asarray(self.classes)[outputs.argmax(axis=1)]
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    def score(self, outputs: np.ndarray, y: np.ndarray) -> dict[str, float]:
        """Accuracy of outputs by labels (rows,), or the RMSE by a regression's values (rows, outputs)."""
        if self.task == "regression":
            return {"rmse": float(np.sqrt(np.mean((outputs - y.reshape(outputs.shape)) ** 2)))}
        return {"accuracy": float(np.mean(outputs.argmax(axis=1) == y))}

    def evaluate(self, X: Any, y: np.ndarray) -> dict[str, Any]:
        """Score predictions against the truth.

        Parameters
        ----------
        X : array or frame
            See `outputs`.
        y : array of shape (rows,)
            The true classes, of `classes`; or a regression's values.

        Returns
        -------
        dict
            See `scores.classification` and `scores.regression`.

        Raises
        ------
        InputError
            If there are no rows, lengths differ, or a class is not one of the model's.
        """
        return self.figures(self.outputs(X), y)

    def figures(self, outputs: np.ndarray, y: np.ndarray) -> dict[str, Any]:
        """Score outputs; see `evaluate`."""
        rows, y = len(outputs), np.asarray(y)
        if rows == 0 or rows != len(y):
            raise InputError(f"X has {rows} rows and y {len(y)}; they must be equal and at least one")
        if self.task == "regression":
            return scores.regression(y, outputs[:, 0] if outputs.shape[1] == 1 else outputs)
        return scores.classification(self._labels(y), scipy.special.softmax(outputs, axis=1), self.classes)

    def _labels(self, y: np.ndarray) -> np.ndarray:
        """Positions of true classes among the model's."""
        position = {label: i for i, label in enumerate(self.classes)}
        for value in y.tolist():
            if value not in position:
                raise InputError(f"y holds {value!r}, which is none of the model's classes {self.classes}")
        return np.array([position[value] for value in y.tolist()])

    @property
    def score_name(self) -> str:
        """The figure that `importance` goes by."""
        return "accuracy" if self.task == "classification" else "rmse"

    def importance(
        self, X: Any, y: np.ndarray, *, repeats: int = 5, seed: int = 0
    ) -> list[scores.Importance]:
        """How much worse the score gets when a column is shuffled (Breiman 2001), largest first.

        Parameters
        ----------
        X : frame
            With the columns the model was trained on.
        y : array of shape (rows,)
            The true classes, or values.
        repeats : int, default 5
            Shuffles of each column; mean and deviation are over them.
        seed : int, default 0

        Raises
        ------
        InputError
            If the model takes no table, or repeats are fewer than one; and see `outputs`.
        """
        return self.importance_of(self.inputs(X), y, repeats=repeats, seed=seed)

    def importance_of(
        self, inputs: np.ndarray, y: np.ndarray, *, repeats: int = 5, seed: int = 0
    ) -> list[scores.Importance]:
        """The same of a table's `inputs`."""
        if self.columns is None:
            raise InputError("this model takes no table, and so has no columns")
        if repeats < 1:
            raise InputError(f"repeats {repeats} is outside [1, inf)")
        truth = self._labels(np.asarray(y)) if self.classes else np.asarray(y, np.float32)
        name, sign = self.score_name, 1 if self.classes else -1
        return scores.importance(
            inputs,
            self.columns.places,
            lambda inputs: sign * self.score(self.forward(inputs), truth)[name],
            repeats=repeats,
            seed=seed,
        )

    def write_predictions(
        self, batches: Iterable[Any], path: str | Path, *, files: Sequence[str] | None = None
    ) -> int:
        """Write predictions and each class's probability, a line a row, in order, in bounded memory.

        Parameters
        ----------
        batches : iterable
            Of rows, see `outputs`.
        path : path
            A CSV file, or by its name Parquet.
        files : sequence of str, optional
            What each row was read from, for a first column `file`.

        Returns
        -------
        int
            Rows written.
        """
        from polars.io.plugins import register_io_source

        path, rows, empty = Path(path), 0, self._predictions(None, files, 0)

        def frames(*_: object) -> "Iterator[pl.DataFrame]":
            nonlocal rows
            for batch in batches:
                # An array is in memory as it is, and what it holds is told of all its rows.
                for piece in self._frame(batch).iter_slices(CHUNK) if self.columns else [batch]:
                    try:
                        frame = self._predictions(piece, files, rows)
                    except InputError as error:
                        counted = f" (rows counted from row {rows + 1})" if rows else ""
                        raise InputError(f"{error}{counted}") from None
                    rows += frame.height
                    yield frame

        with atomic(path) as file:
            if path.suffix == ".parquet":
                register_io_source(frames, schema=empty.schema).sink_parquet(file)
            else:
                empty.write_csv(file)
                for frame in frames():
                    frame.write_csv(file, include_header=False)
        return rows

    def _predictions(self, X: Any, files: Sequence[str] | None, start: int) -> "pl.DataFrame":
        """A frame of the predictions of rows, which `files` names from `start` on; of None, its header."""
        import polars as pl

        outputs = np.empty((0, self.sizes[-1]), np.float32) if X is None else self.outputs(X)
        of_rows = [] if files is None else [pl.Series("file", files[start : start + len(outputs)], pl.String)]
        if self.task == "regression":
            return pl.DataFrame([*of_rows, pl.Series("prediction", outputs[:, 0])])
        p = scipy.special.softmax(outputs, axis=1)
        of_kind = pl.Series(self.classes).dtype
        predicted = [self.classes[i] for i in outputs.argmax(axis=1).tolist()]
        shares = [pl.Series(f"probability_{c}", np.round(p[:, i], 6)) for i, c in enumerate(self.classes)]
        return pl.DataFrame([*of_rows, pl.Series("prediction", predicted, of_kind), *shares])

    def save(self, path: str | Path) -> None:
        """Write the model as safetensors, whole or not at all."""
        header = {
            "format": FORMAT,
            "task": self.task,
            "sizes": self.sizes,
            "activation": self.activation,
            "link": self.link,
            "classes": self.classes,
            "scaling": self.scaling._asdict(),
            "image_shape": self.image_shape,
            "columns": self.columns and to_json_1(self.columns),
            "embeddings": [E.shape for E in self.embeddings],
            "target": self.target,
            "recipe": self.recipe,
            "metrics": self.metrics,
            "provenance": self.provenance,
        }
        arrays = {
            f"{name}{i}": np.ascontiguousarray(array)
            for i, layer in enumerate(self.params)
            for name, array in zip("Wb", layer, strict=True)
        } | {f"E{i}": np.ascontiguousarray(E) for i, E in enumerate(self.embeddings)}
        with atomic(path) as file:
            file.write(safetensors.numpy.save(arrays, {"mlpax": json.dumps(header, allow_nan=False)}))


@partial(jax.jit, static_argnames="activation")
def _outputs(
    params: Params, embeddings: list[Array], X: Array, shift: float, scale: float, *,
    activation: str | tuple[str, ...],
) -> Array:  # fmt: skip
    X = table_features(embeddings, (X.astype(jnp.float32) - shift) * scale)
    return forward(params, X, activation=activation)
