"""A trained network with what it needs to answer."""

import json
import math
from collections.abc import Iterable, Sequence
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
from mlpax.errors import InputError
from mlpax.files import atomic
from mlpax.network import Params, forward
from mlpax.preprocessing import Columns, Scaling, as_frame
from mlpax.tabular import table_features

if TYPE_CHECKING:
    import polars as pl

__all__ = ["FORMAT", "Model"]

Layers = list[tuple[np.ndarray, np.ndarray]]  # network.Params on the host

FORMAT = 1
CHUNK = 8192  # rows a program: bounds the memory of a prediction


@dataclass(frozen=True, eq=False)
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

    @property
    def sizes(self) -> tuple[int, ...]:
        """Units of each layer, the inputs first."""
        return (self.params[0][0].shape[0], *(b.shape[0] for _, b in self.params))

    def outputs(self, X: Any) -> np.ndarray:
        """The network's outputs: before any softmax, a regression's in its target's units.

        Parameters
        ----------
        X : array of shape (rows, features) or (rows, height, width), uint8 or float, or frame
            Of a table: a polars, pandas or pyarrow table, or a dict, with the model's columns; or its
            inputs, float32, as `columns` makes them.

        Returns
        -------
        array of shape (rows, outputs), float32

        Raises
        ------
        InputError
            If the shape does not fit the network, a column is missing, or a value is not of its kind, NaN
            or infinite.
        """
        if self.columns and not isinstance(X, np.ndarray):
            X = self.columns(as_frame(X))
        X = np.asarray(X)
        features = self.columns.dense + len(self.embeddings) if self.columns else self.sizes[0]
        if X.ndim < 2 or math.prod(X.shape[1:]) != features:
            found = f"rows of {math.prod(X.shape[1:])} features" if X.ndim > 1 else f"shape {X.shape}"
            raise InputError(f"X has {found}; this model takes rows of {features} features")
        if X.dtype.kind not in ("uif" if self.image_shape else "buif"):
            takes = "pixels of 0 to 255" if self.image_shape else "numbers"
            raise InputError(f"X is of type {X.dtype}; this model takes {takes}")
        if self.image_shape and X.ndim > 2 and X.shape[1:] not in (self.image_shape, (*self.image_shape, 1)):
            raise InputError(f"X has pictures of {X.shape[1:]}; this model takes {self.image_shape}")
        X = X.reshape(len(X), features)
        if self.image_shape and X.dtype.kind == "f" and X.size and 0 < X.max() <= 1:
            raise InputError(f"X holds pictures of 0 to {X.max():g}; this model takes pixels of 0 to 255")
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

    def score(self, X: Any, y: np.ndarray) -> dict[str, float]:
        """Accuracy by labels (rows,), or the RMSE of a regression's values (rows, 1)."""
        outputs = self.outputs(X)
        if self.task == "regression":
            return {"rmse": float(np.sqrt(np.mean((outputs - y) ** 2)))}
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
        if len(X) == 0 or len(X) != len(y):
            raise InputError(f"X has {len(X)} rows and y {len(y)}; they must be equal and at least one")
        if self.task == "regression":
            return scores.regression(y, self.predict(X))
        return scores.classification(self._labels(y), self.predict_proba(X), self.classes)

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
        """
        if self.columns is None:
            raise InputError("this model takes images, which have no columns")
        truth = self._labels(y) if self.classes else np.asarray(y, np.float32)[:, None]
        name, sign = self.score_name, 1 if self.classes else -1
        names = [c.name for c in self.columns.columns if c.kind != "constant"]
        return scores.importance(
            as_frame(X),
            names,
            lambda frame: sign * self.score(frame, truth)[name],
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
        import polars as pl

        path = Path(path)
        rows, frame = 0, self._predictions(None)
        parquet = path.suffix == ".parquet"
        table = path.with_suffix(".csv.part") if parquet else path
        try:
            with atomic(table) as file:
                for batch in batches:
                    # An array is in memory as it is, and what it holds is told of all its rows.
                    pieces = batch.iter_slices(CHUNK) if isinstance(batch, pl.DataFrame) else [batch]
                    for piece in pieces:
                        frame = self._predictions(piece)
                        if files is not None:
                            part = files[rows : rows + frame.height]
                            frame.insert_column(0, pl.Series("file", part, pl.String))
                        frame.write_csv(file, include_header=rows == 0 and not parquet)
                        rows += frame.height
                if rows == 0:
                    frame.write_csv(file, include_header=not parquet)
            if parquet:  # which is written column by column: from the rows on the disk
                with atomic(path) as file:
                    read: Any = {"has_header": False, "raise_if_empty": False, "glob": False}
                    pl.scan_csv(table, schema=frame.schema, **read).sink_parquet(file)
        finally:
            if parquet:
                table.unlink(missing_ok=True)
        return rows

    def _predictions(self, X: Any) -> "pl.DataFrame":
        """A frame of the predictions of some rows; of None, its header."""
        import polars as pl

        outputs = np.empty((0, self.sizes[-1]), np.float32) if X is None else self.outputs(X)
        if self.task == "regression":
            return pl.DataFrame({"prediction": outputs[:, 0]})
        p = scipy.special.softmax(outputs, axis=1)
        of_kind = pl.Series(self.classes).dtype
        predicted = pl.Series(
            "prediction", [self.classes[i] for i in outputs.argmax(axis=1).tolist()], of_kind
        )
        shares = [pl.Series(f"probability_{c}", np.round(p[:, i], 6)) for i, c in enumerate(self.classes)]
        return pl.DataFrame([predicted, *shares])

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
            "columns": self.columns and self.columns.to_json(),
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
