"""Read a model file: check every field before use, and never execute anything from the file."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np

from mlpax.data.columns import Columns, from_json_1
from mlpax.data.numerals import Numerals
from mlpax.engine.forward import Network
from mlpax.engine.rows import Scaling
from mlpax.errors import ModelFileError
from mlpax.model.model import Calibration, Intervals, Model, Target, check_weights
from mlpax.model.schema import (
    FORMAT,
    CalibrationRecord,
    Classes,
    Header,
    IntervalsRecord,
    NetworkRecord,
    TargetRecord,
    checked,
    columns_of,
    parsed,
    shapes_of,
)
from mlpax.model.tensors import Arrays, Record, opened, record_of

__all__ = ["format_of", "load"]


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
    with _told(path) as path, opened(path) as (text, read):
        version, header = _header(text)
        arrays = read()
        if version == 1:
            header = _from_format_1(header, arrays)
            arrays = {f"networks.0.{name}": array for name, array in arrays.items()}
        return _model(checked(header), arrays, device)


def format_of(path: str | Path) -> int:
    """Return the format version of a file, without reading its arrays; it raises what `load` raises."""
    with _told(path) as path, opened(path) as (text, _):
        return _header(text)[0]


@contextmanager
def _told(path: str | Path) -> Generator[Path]:
    """Yield the path of the model file, and turn what goes wrong with it into one line."""
    path = Path(path)
    of_a_run = path.is_dir()
    path = path / "model.safetensors" if of_a_run else path
    if of_a_run and path.is_symlink():  # a run of somebody else's could lead to any file
        raise ModelFileError(f"{path} is a link, which is not followed; name the file itself")
    try:
        yield path
    except ModelFileError:
        raise
    except FileNotFoundError:
        raise ModelFileError(f"no model at {path}; give a run directory or a .safetensors file") from None
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror or error}") from None
    except MemoryError:
        raise ModelFileError(f"{path} does not fit the memory of this machine") from None
    except (ValueError, OverflowError, RecursionError) as error:
        raise ModelFileError(f"{path} is damaged: {str(error).splitlines()[0][:200]}") from None


def _header(text: str) -> tuple[int, Record]:
    """Return the format version and the header."""
    header = record_of(parsed(text))
    version = header.get("format")
    if type(version) is not int or version < 1:
        raise ValueError(f"its format version is {version!r}")
    if version > FORMAT:
        raise ModelFileError(
            f"the model has format {version}, this mlpax reads up to {FORMAT}; upgrade with"
            " pip install --upgrade mlpax"
        )
    return version, header


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
    shapes = shapes_of(header)
    if arrays.keys() != shapes.keys():
        raise ValueError("its arrays are not those of its networks")
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise ValueError(f"{name} has shape {arrays[name].shape}, not {shape}")
    columns, intervals = _columns(header, arrays), header.get("intervals")
    networks = tuple(_network(record, arrays, i) for i, record in enumerate(header["networks"]))
    for network in networks:
        check_weights(network)
    return Model(
        networks=networks,
        targets=tuple(_target(record) for record in header["targets"]),
        scaling=Scaling(**header["scaling"]),
        image_shape=None if header["image_shape"] is None else tuple(header["image_shape"]),
        columns=columns[0] if columns else None,
        fold_columns=columns[1:],
        calibration=header["calibration"] and _calibration(header["calibration"]),
        intervals=None if intervals is None else _intervals(intervals),
        backend=header["backend"],
        recipe=header["recipe"],
        metrics=header["metrics"],
        provenance=header["provenance"],
        device=device,
    )


def _columns(header: Header, arrays: Arrays) -> tuple[Columns, ...]:
    """Return the columns as each fold has them, with their arrays."""
    found: list[Columns] = []
    for k, columns in enumerate(columns_of(header)):
        own = {name: arrays[f"columns.{k}.{name}"] for name in columns.shapes}
        found.append(columns.with_arrays(own))
    return tuple(found)


def _calibration(record: CalibrationRecord) -> Calibration:
    found = record["temperature"]
    return Calibration(tuple(found) if isinstance(found, list) else found, record["fitted_on"])


def _intervals(record: IntervalsRecord) -> Intervals:
    scores, levels, spreads = (tuple(record[name]) for name in ("scores", "levels", "spreads"))
    return Intervals(record["folds"], record["rows"], scores, levels, spreads, record["slope"])


def _network(record: NetworkRecord, arrays: Arrays, i: int) -> Network:
    activation, of = record["activation"], f"networks.{i}"
    return Network(
        params=[(arrays[f"{of}.W{k}"], arrays[f"{of}.b{k}"]) for k in range(len(record["sizes"]) - 1)],
        activation=activation if isinstance(activation, str) else tuple(activation),
        embeddings=[arrays[f"{of}.E{k}"] for k in range(len(record["embeddings"]))],
    )


def _target(record: TargetRecord) -> Target:
    classes = cast(Classes, tuple(record["classes"]))
    numerals = Numerals.from_json(record["numerals"]) if "numerals" in record else Numerals()
    return Target(record["name"], record["task"], classes, record["link"], numerals)
