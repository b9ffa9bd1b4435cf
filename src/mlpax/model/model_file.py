"""Read a model file: check every field before use, and never execute anything from the file."""

import itertools
import json
import math
import struct
from pathlib import Path
from typing import cast

import numpy as np
import safetensors.numpy

from mlpax.data.columns import Columns, from_json_1
from mlpax.data.numerals import Numerals
from mlpax.engine.forward import Network
from mlpax.engine.rows import Scaling
from mlpax.errors import ModelFileError
from mlpax.model.model import Calibration, Model, Target
from mlpax.model.schema import FORMAT, Classes, Header, NetworkRecord, TargetRecord, checked

__all__ = ["format_of", "load"]

HEADER_LIMIT = 10**8  # bytes, the format's own; ours are a few thousand, and the names of the levels

Record = dict[str, object]
Arrays = dict[str, np.ndarray]


def load(path: str | Path, *, device: str | None = None) -> Model:
    """Read a model file and check it whole. Nothing in it is ever run.

    Parameters
    ----------
    path : path
        A file written by `Model.save`, or a run directory that holds `model.safetensors`.
    device : str, optional
        Where the model predicts, see `Model`.

    Raises
    ------
    ModelFileError
        If the file is missing, damaged, no model of mlpax, or of a newer format.
    """
    path = _file(path)
    try:
        version, header, arrays = _read(path)
        if version == 1:
            header = _from_format_1(header, arrays)
            arrays = {f"networks.0.{name}": array for name, array in arrays.items()}
        return _model(checked(header), arrays, device)
    except FileNotFoundError:
        raise ModelFileError(f"no model at {path}; give a run directory or a .safetensors file") from None
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror or error}") from None
    except (safetensors.SafetensorError, ValueError, OverflowError, RecursionError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(f"{path} is damaged: {str(error).splitlines()[0][:200]}") from None


def format_of(path: str | Path) -> int:
    """Return the format version of a file that `load` has read."""
    return _read(_file(path))[0]


def _file(path: str | Path) -> Path:
    path = Path(path)
    return path / "model.safetensors" if path.is_dir() else path


def _read(path: Path) -> tuple[int, Record, Arrays]:
    """Return the format version, the header, and the arrays."""
    if path.exists() and not path.is_file():  # reading from a pipe could wait for ever
        raise ModelFileError(f"{path} is no file; give a run directory or a .safetensors file")
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(HEADER_LIMIT, size - 8):
            raise ModelFileError(f"{path} is no model file: its header does not fit its {size} bytes")
        entries = _record(json.loads(file.read(length)))
    text = _record(entries.pop("__metadata__", None)).get("mlpax")
    if not isinstance(text, str):
        raise ModelFileError(f"{path} is a safetensors file, but no model of mlpax")
    header = _record(json.loads(text))
    version = header.get("format")
    if type(version) is not int or version < 1:
        raise ModelFileError(f"{path} is damaged: its format version is {version!r}")
    if version > FORMAT:
        raise ModelFileError(
            f"{path} has format {version}, this mlpax reads up to {FORMAT}; upgrade with"
            " pip install --upgrade mlpax"
        )
    for name, entry in entries.items():  # NumPy has no arrays of some other types
        if _record(entry).get("dtype") != "F32":
            raise ModelFileError(f"{path} is damaged: array {name!r} is not float32")
    return version, header, safetensors.numpy.load_file(str(path))  # pyright: ignore[reportUnknownMemberType]


def _record(value: object) -> Record:
    """Return an object of JSON; of anything else, an empty one."""
    return cast(Record, value) if isinstance(value, dict) else {}


def _from_format_1(header: Record, arrays: Arrays) -> Record:
    """Return the header of format 2 for one of format 1, whose fields are not checked yet."""
    target = {name: header.get(name) for name in ("task", "classes")} | {
        "name": header.get("target"),
        "link": header.get("link", "identity"),  # which the first files did not state
    }
    last = arrays.get(f"b{sum(name.startswith('b') for name in arrays) - 1}", np.empty(1))
    columns = header.get("columns")
    same = ("scaling", "image_shape", "recipe", "metrics", "provenance")
    return {name: header.get(name) for name in same} | {
        "format": FORMAT,
        "backend": "xla",
        "networks": [{name: header.get(name) for name in ("sizes", "activation", "embeddings")}],
        "targets": [target] * (last.size if target["task"] == "regression" else 1),
        "columns": None if columns is None else from_json_1(columns).to_json(),
        "calibration": None,  # the weights of the last layer hold it
    }


def _model(header: Header, arrays: Arrays, device: str | None) -> Model:
    """Return the model of a header that follows the schema, after the checks that go beyond it."""
    columns = None if header["columns"] is None else Columns.from_json(header["columns"])
    shapes = {
        f"networks.{i}.{name}": shape
        for i, record in enumerate(header["networks"])
        for name, shape in _shapes(record).items()
    }
    _require(arrays.keys() == shapes.keys(), "its arrays are not those of its networks")
    for name, shape in shapes.items():
        _require(arrays[name].shape == shape, f"{name} has shape {arrays[name].shape}, not {shape}")
        _require(bool(np.isfinite(arrays[name]).all()), f"{name} holds NaN or infinite values")
    for record in header["networks"]:
        _check_network(record, columns, header["image_shape"])
        _check_targets(header["targets"], record["sizes"][-1])
    return Model(
        networks=tuple(_network(record, arrays, i) for i, record in enumerate(header["networks"])),
        targets=tuple(_target(record) for record in header["targets"]),
        scaling=Scaling(**header["scaling"]),
        image_shape=None if header["image_shape"] is None else tuple(header["image_shape"]),
        columns=columns,
        calibration=header["calibration"] and Calibration(**header["calibration"]),
        backend=header["backend"],
        recipe=header["recipe"],
        metrics=header["metrics"],
        provenance=header["provenance"],
        device=device,
    )


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(what)


def _shapes(network: NetworkRecord) -> dict[str, tuple[int, ...]]:
    """The shape of each of a network's arrays."""
    shapes: dict[str, tuple[int, ...]] = {}
    for i, (m, n) in enumerate(itertools.pairwise(network["sizes"])):
        shapes |= {f"W{i}": (m, n), f"b{i}": (n,)}
    return shapes | {f"E{i}": tuple(shape) for i, shape in enumerate(network["embeddings"])}


def _check_network(network: NetworkRecord, columns: Columns | None, image_shape: list[int] | None) -> None:
    sizes, embedded, activation = network["sizes"], network["embeddings"], network["activation"]
    _require(
        isinstance(activation, str) or len(activation) == len(sizes) - 2,
        f"its activation is {activation!r}, which does not fit its sizes {sizes}",
    )
    _require(
        image_shape is None or math.prod(image_shape) == sizes[0], "its image shape does not fit its inputs"
    )
    if columns is None:
        _require(not embedded, "it has embeddings without columns")
        return
    _require(
        columns.embeddings == tuple(codes for codes, _ in embedded), "its columns do not fit its embeddings"
    )
    inputs = columns.dense + sum(size for _, size in embedded)
    _require(inputs == sizes[0], "its columns do not fit its inputs")


def _check_targets(targets: list[TargetRecord], outputs: int) -> None:
    first = targets[0]
    if first["task"] == "classification":
        _require(len(targets) == 1, "it has other targets beside a classification")
        _require(len(first["classes"]) == outputs, "its classes do not fit its outputs")
        _require(first["link"] == "identity", f"its link is {first['link']!r}")
        return
    _require(len(targets) == outputs, "its targets do not fit its outputs")
    for target in targets:
        _require(target["task"] == "regression", "it has other targets beside a classification")
        _require(not target["classes"], "its classes do not fit its outputs")
        _require(target["link"] == first["link"], "its targets have different links")


def _network(record: NetworkRecord, arrays: Arrays, i: int) -> Network:
    found = {name: arrays[f"networks.{i}.{name}"] for name in _shapes(record)}
    activation = record["activation"]
    return Network(
        params=[(found[f"W{k}"], found[f"b{k}"]) for k in range(len(record["sizes"]) - 1)],
        activation=activation if isinstance(activation, str) else tuple(activation),
        embeddings=[found[f"E{k}"] for k in range(len(record["embeddings"]))],
    )


def _target(record: TargetRecord) -> Target:
    classes = cast(Classes, tuple(record["classes"]))
    numerals = Numerals.from_json(record.get("numerals", Numerals().to_json()))
    return Target(record["name"], record["task"], classes, record["link"], numerals)
