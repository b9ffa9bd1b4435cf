"""The whole train state in one atomic npz, and reading it back without trusting the file."""

import io
import json
import math
import os
import zipfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mlpax.atomic import TEMPORARY, atomic
from mlpax.errors import InputError

__all__ = ["latest", "prune", "save", "snapshot", "sweep"]

FORMAT = 1
PyTree = Any
Arrays = dict[str, np.ndarray]


def snapshot(state: PyTree) -> Arrays:
    """The state's arrays by their key paths, copied to the host: the next epoch reuses the originals."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.array(leaf) for path, leaf in leaves}


def save(folder: Path, arrays: Arrays, record: dict[str, Any]) -> Path:
    """Write `epoch-<n>.npz`, n being `record["epoch"]`, whole or not at all.

    Parameters
    ----------
    folder : Path
    arrays : dict of arrays
        From `snapshot`.
    record : dict
        What else the run needs to go on, as JSON: `epoch`, `history`, `run` (whose it is).
    """
    folder.mkdir(exist_ok=True)
    path = folder / f"epoch-{record['epoch']:06d}.npz"
    text = json.dumps({"format": FORMAT} | record).encode()  # NaN too: figures may overflow
    with atomic(path) as file:
        np.savez(file, allow_pickle=False, record=np.frombuffer(text, np.uint8), **arrays)  # type: ignore[arg-type]
    return path


def _paths(folder: Path) -> list[Path]:
    """The checkpoints, oldest first."""
    return sorted(folder.glob("epoch-*.npz"), key=_order)


def _order(path: Path) -> tuple[int, str]:
    return len(path.name), path.name  # epoch 1000000 has a digit more


def prune(folder: Path, epoch: int, best: int) -> None:
    """Keep the last two checkpoints up to `epoch`, just written, and that of epoch `best`.

    Later ones were passed over as damaged; they must not stand for whole ones.
    """
    paths, now = _paths(folder), _order(folder / f"epoch-{epoch:06d}.npz")
    keep = [path for path in paths if _order(path) <= now][-2:]
    for path in paths:
        if path not in keep and path.name != f"epoch-{best:06d}.npz":
            path.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove the temporary files that killed processes left; one that lives may be writing its own."""
    for path in folder.rglob(f".*{TEMPORARY}"):
        process = path.name.removesuffix(TEMPORARY).rpartition(".")[2]
        if not process.isdigit() or int(process) == os.getpid() or not _lives(int(process)):
            path.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def latest(folder: Path, template: PyTree, run: str) -> tuple[PyTree, dict[str, Any], list[str]]:
    """The newest checkpoint that is whole and of this run.

    Parameters
    ----------
    folder : Path
    template : pytree of arrays
        A state of the same settings; the checkpoint must have its key paths, shapes and dtypes.
    run : str
        Whose checkpoints count: `record["run"]`.

    Returns
    -------
    state : pytree of arrays
        `template` itself where there is no checkpoint yet.
    record : dict
        As given to `save`; empty where there is none.
    damaged : list of str
        One line for each newer checkpoint that was passed over.

    Raises
    ------
    InputError
        If there are checkpoints and none is whole.
    """
    damaged: list[str] = []
    for path in reversed(_paths(folder)):
        try:
            state, record = _read(path, template, run)
        except (InputError, OSError) as error:
            damaged.append(f"{path.name}: {error}")
        else:
            return state, record, damaged
    if damaged:
        raise InputError(
            f"no checkpoint in {folder} can be read ({damaged[0]}); train anew into another folder"
        )
    return template, {}, []


def _read(path: Path, template: PyTree, run: str) -> tuple[PyTree, dict[str, Any]]:
    leaves, tree = jax.tree_util.tree_flatten_with_path(template)
    names = [jax.tree_util.keystr(key, simple=True, separator="/") for key, _ in leaves]
    try:
        with zipfile.ZipFile(path) as archive:
            record = json.loads(bytes(_array(archive, "record", path.stat().st_size)))
            if not isinstance(record, dict) or record.get("format") != FORMAT:
                raise InputError("of another format")
            if record.get("run") != run:
                raise InputError("of another run: its recipe or data differ")
            if not isinstance(record.get("history"), list) or type(record.get("epoch")) is not int:
                raise InputError("its record lacks the history")
            arrays = [_array(archive, name, path.stat().st_size) for name in names]
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"damaged ({str(error)[:100]})") from None
    for name, array, (_, leaf) in zip(names, arrays, leaves, strict=True):
        if array.shape != np.shape(leaf) or array.dtype != np.asarray(leaf).dtype:
            raise InputError(f"{name} is {array.dtype}{array.shape}, not this run's")
    return jax.tree.unflatten(tree, [jax.numpy.array(array) for array in arrays]), record


def _array(archive: zipfile.ZipFile, name: str, limit: int) -> np.ndarray:
    """One member as an array; nothing larger than the file itself is ever allocated."""
    info = archive.getinfo(f"{name}.npy")
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > limit:
        raise ValueError(f"{name} claims {info.file_size} bytes")
    content = io.BytesIO(archive.read(info))  # which checks its CRC
    version = np.lib.format.read_magic(content)
    if version != (1, 0):
        raise ValueError(f"{name} has npy version {version}")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(content)
    payload = content.read()
    if fortran or dtype.hasobject or math.prod(shape) * dtype.itemsize != len(payload):
        raise ValueError(f"{name} claims shape {shape} of {dtype}")
    return np.frombuffer(payload, dtype).reshape(shape)
