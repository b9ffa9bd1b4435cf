"""Reading a model file: checked whole, and nothing in it is ever run."""

import itertools
import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from mlpax.data.columns import from_json_1
from mlpax.engine.rows import Scaling
from mlpax.engine.xla.network import ACTIVATIONS
from mlpax.errors import ModelFileError
from mlpax.model.model import FORMAT, Model
from mlpax.recipes import TASKS

__all__ = ["load"]

HEADER_LIMIT = 10**8  # bytes, the format's own; ours are a few thousand, and the names of the levels
LINKS = ("identity", "exp")


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
        if path.exists() and not path.is_file():  # reading from a pipe could wait for ever
            raise ModelFileError(f"{path} is no file; give a run directory or a .safetensors file")
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
        if type(version) is not int or version < 1:
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
    columns = None if header.get("columns") is None else from_json_1(header["columns"])
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
    activation = header.get("activation")
    hidden = len(sizes) - 2
    several = isinstance(activation, list) and len(activation) == hidden
    require(
        all(name in list(ACTIVATIONS) for name in (activation if several else [activation])),
        f"its activation is {activation!r}",
    )
    link = header.get("link", "identity")  # which the first files of this format did not state
    require(link in LINKS and (link == "identity" or header["task"] == "regression"), f"its link is {link!r}")
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
        activation=tuple(activation) if isinstance(activation, list) else activation,
        link=link,
        scaling=Scaling(**scaling),
        image_shape=None if shape is None else tuple(shape),
        columns=columns,
        embeddings=[arrays[f"E{i}"] for i in range(len(embedded))],
        target=header["target"],
        recipe=header["recipe"],
        metrics=header["metrics"],
        provenance=header["provenance"],
    )
