"""A trained network with what it needs to answer, saved and loaded without running code."""

import itertools
import json
import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
import scipy.special
from jaxtyping import Array

from mlpax import scores
from mlpax.errors import InputError, ModelFileError
from mlpax.files import atomic
from mlpax.network import ACTIVATIONS, Params, forward
from mlpax.preprocessing import Columns, Scaling, as_frame
from mlpax.tabular import table_features

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Model", "load"]

Layers = list[tuple[np.ndarray, np.ndarray]]  # network.Params on the host

FORMAT = 1
HEADER_LIMIT = 2**24  # bytes; ours are a few thousand, and the names of the levels
CHUNK = 8192  # rows a program: bounds the memory of a prediction
TASKS = ("classification", "regression")


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
    activation : str
        A name of `mlpax.network.ACTIVATIONS`.
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
    activation: str = "relu"
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
        """The network's outputs, before any softmax.

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
            raise InputError(f"X has shape {X.shape}; this model takes rows of {features} features")
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
        return outputs

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

    def write_predictions(self, batches: Iterable[Any], path: str | Path) -> int:
        """Write predictions and each class's probability, a line a row, in order, in bounded memory.

        Parameters
        ----------
        batches : iterable
            Of rows, see `outputs`.
        path : path
            A CSV file, or by its name Parquet.

        Returns
        -------
        int
            Rows written.
        """
        import polars as pl

        path = Path(path)
        rows = 0
        parquet = path.suffix == ".parquet"
        table = path.with_suffix(".csv.part") if parquet else path
        try:
            with atomic(table) as file:
                for batch in batches:
                    for start in range(0, len(batch), CHUNK):
                        frame = self._predictions(batch[start : start + CHUNK])
                        frame.write_csv(file, include_header=rows == 0)
                        rows += frame.height
                if rows == 0:
                    self._predictions(None).write_csv(file)
            if parquet:  # which is written column by column: from the rows on the disk
                with atomic(path) as file:
                    pl.scan_csv(table, infer_schema_length=10_000).sink_parquet(file)
        finally:
            if parquet:
                table.unlink(missing_ok=True)
        return rows

    def _predictions(self, X: Any) -> "pl.DataFrame":
        """A frame of the predictions of some rows; of None, its header."""
        import polars as pl

        names = [f"probability_{name}" for name in self.classes]
        if X is None:
            return pl.DataFrame({name: [] for name in ["prediction", *names]})
        outputs = self.outputs(X)
        if self.task == "regression":
            return pl.DataFrame({"prediction": outputs[:, 0]})
        p = scipy.special.softmax(outputs, axis=1)
        columns = {"prediction": [self.classes[i] for i in outputs.argmax(axis=1).tolist()]}
        return pl.DataFrame(columns | {name: np.round(p[:, i], 6) for i, name in enumerate(names)})

    def save(self, path: str | Path) -> None:
        """Write the model as safetensors, whole or not at all."""
        header = {
            "format": FORMAT,
            "task": self.task,
            "sizes": self.sizes,
            "activation": self.activation,
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
    params: Params, embeddings: list[Array], X: Array, shift: float, scale: float, *, activation: str
) -> Array:
    X = table_features(embeddings, (X.astype(jnp.float32) - shift) * scale)
    return forward(params, X, activation=activation)


def load(path: str | Path) -> Model:
    """Read a model file, checking it whole; nothing in it is ever run.

    Parameters
    ----------
    path : path
        A file written by `Model.save`, or a run directory that holds `model.safetensors`.

    Raises
    ------
    ModelFileError
        If the file is missing, damaged, no model of mlpax, or of a newer format.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "model.safetensors"
    try:
        return _model(path, *_read(path))
    except FileNotFoundError:
        raise ModelFileError(f"no model at {path}; give a run directory or a .safetensors file") from None
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror or error}") from None
    except (safetensors.SafetensorError, ValueError, OverflowError, RecursionError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(f"{path} is damaged: {str(error).splitlines()[0][:200]}") from None


def _read(path: Path) -> tuple[Any, dict[str, np.ndarray]]:
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(8)
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    if not 2 <= length <= min(HEADER_LIMIT, size - 8):
        raise ModelFileError(f"{path} is no model file: its header does not fit its {size} bytes")
    with safetensors.safe_open(path, framework="np") as file:
        text = (file.metadata() or {}).get("mlpax")
        if text is None:
            raise ModelFileError(f"{path} is a safetensors file, but no model of mlpax")
        header = json.loads(text)
        version = header.get("format") if isinstance(header, dict) else None
        if not isinstance(version, int) or version < 1:
            raise ModelFileError(f"{path} is damaged: its format version is {version!r}")
        if version > FORMAT:
            raise ModelFileError(
                f"{path} has format {version}, this mlpax reads up to {FORMAT}; upgrade with"
                " pip install --upgrade mlpax"
            )
        names = list(file.keys())
        for name in names:  # before any array is made
            if file.get_slice(name).get_dtype() != "F32":
                raise ModelFileError(f"{path} is damaged: array {name!r} is not float32")
        return header, {name: file.get_tensor(name) for name in names}


def _model(path: Path, header: Any, arrays: dict[str, np.ndarray]) -> Model:
    """The model of a header that may hold anything, checked against the arrays."""

    def require(condition: bool, what: str) -> None:
        if not condition:
            raise ModelFileError(f"{path} is damaged: {what}")

    def integers(value: Any) -> bool:
        return isinstance(value, list) and all(type(v) is int and v > 0 for v in value)

    sizes, classes, scaling = header.get("sizes"), header.get("classes"), header.get("scaling")
    require(integers(sizes) and len(sizes) >= 2, "its sizes are no network's")
    shapes = {
        f"{name}{i}": shape
        for i, (m, n) in enumerate(itertools.pairwise(sizes))
        for name, shape in (("W", (m, n)), ("b", (n,)))
    }
    embedded = header.get("embeddings")
    require(
        isinstance(embedded, list) and all(integers(shape) and len(shape) == 2 for shape in embedded),
        "its embeddings are no list of shapes",
    )
    shapes |= {f"E{i}": tuple(shape) for i, shape in enumerate(embedded)}
    columns = None if header.get("columns") is None else Columns.from_json(header["columns"])
    if columns:
        require(columns.embeddings == tuple(n for n, _ in embedded), "its columns do not fit its embeddings")
        inputs = columns.dense + sum(size for _, size in embedded)
        require(inputs == sizes[0], "its columns do not fit its inputs")
    else:
        require(not embedded, "it has embeddings without columns")
    require(isinstance(header.get("target"), str), "its target is no name")
    require(arrays.keys() == shapes.keys(), f"its arrays are not those of sizes {sizes}")
    for name, shape in shapes.items():
        require(arrays[name].shape == shape, f"{name} has shape {arrays[name].shape}, not {shape}")
        require(bool(np.isfinite(arrays[name]).all()), f"{name} holds NaN or infinite values")
    require(header.get("task") in TASKS, f"its task is {header.get('task')!r}")
    require(header.get("activation") in list(ACTIVATIONS), f"its activation is {header.get('activation')!r}")
    require(
        isinstance(classes, list)
        and len({type(c) for c in classes}) <= 1
        and all(type(c) in (str, int, bool) for c in classes)
        and len(classes) == (sizes[-1] if header["task"] == "classification" else 0),
        "its classes do not fit its outputs",
    )
    require(
        isinstance(scaling, dict)
        and scaling.keys() == set(Scaling._fields)
        and all(type(v) in (int, float) and math.isfinite(v) for v in scaling.values()),
        "its scaling is no pair of finite numbers",
    )
    shape = header.get("image_shape")
    require(
        shape is None or (integers(shape) and len(shape) in (2, 3) and math.prod(shape) == sizes[0]),
        "its image shape does not fit its inputs",
    )
    for name, kinds in (("recipe", object), ("metrics", (int, float)), ("provenance", str)):
        entries = header.get(name)
        require(
            isinstance(entries, dict) and all(isinstance(v, kinds) for v in entries.values()),
            f"its {name} is no record",
        )
    return Model(
        params=[(arrays[f"W{i}"], arrays[f"b{i}"]) for i in range(len(sizes) - 1)],
        task=header["task"],
        classes=tuple(classes),
        activation=header["activation"],
        scaling=Scaling(**scaling),
        image_shape=None if shape is None else tuple(shape),
        columns=columns,
        embeddings=[arrays[f"E{i}"] for i in range(len(embedded))],
        target=header["target"],
        recipe=header["recipe"],
        metrics=header["metrics"],
        provenance=header["provenance"],
    )
