"""The train state as one atomic npz file of named arrays, read back without trusting the file."""

import json
import math
import os
import re
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from mlpax.atomic import TEMPORARY, atomic, check_folder, own
from mlpax.errors import InputError
from mlpax.runs.run_files import check_history

__all__ = ["Arrays", "latest", "prune", "save", "sweep", "write"]

FORMAT = 2
NPY = re.compile(  # the header of an array as np.savez writes it
    rb"\x93NUMPY\x01\x00(?P<length>..)\{'descr': '(?P<dtype>[<|][biuf]\d)', 'fortran_order': False,"
    rb" 'shape': \((?P<shape>[\d, ]{0,200})\), \} *\n",
    re.DOTALL,
)
Arrays = dict[str, np.ndarray]


def save(folder: Path, arrays: Arrays, record: dict[str, Any]) -> Path:
    """Write `epoch-<n>.npz`, n being `record["epoch"]`, whole or not at all.

    Parameters
    ----------
    folder : Path
        It exists. Made here, it would also be made in the folder of a run that has taken this one's place.
    arrays : dict of arrays
        The state's arrays by name.
    record : dict
        What else the run needs to go on, as JSON: `epoch`, `history`, `run` (whose it is).
    """
    check_folder(folder)
    path = folder / f"epoch-{record['epoch']:06d}.npz"
    with atomic(path) as file:
        write(file, arrays, {"format": FORMAT} | record)
    return path


def write(file: IO[bytes], arrays: Arrays, record: dict[str, Any]) -> None:
    """Write arrays, and what else belongs to them, as one npz file."""
    text = json.dumps(record).encode()  # NaN too: figures may overflow
    np.savez(file, allow_pickle=False, record=np.frombuffer(text, np.uint8), **arrays)  # type: ignore[arg-type]


def _paths(folder: Path) -> list[Path]:
    """The checkpoints, oldest first."""
    check_folder(folder)
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


def sweep(run: Path) -> None:
    """Remove the temporary files that killed processes left; one that lives may be writing its own."""
    for folder in (run, run / "checkpoints"):
        check_folder(folder)
        for path in folder.glob(f".*{TEMPORARY}"):
            process = path.name.removesuffix(TEMPORARY).rpartition(".")[2]
            if not process.isdigit() or int(process) == os.getpid() or not _lives(int(process)):
                with suppress(PermissionError):  # Windows removes no file that a process has open
                    path.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    """Return whether a process lives; False on Windows, where the question would interrupt the process."""
    if os.name == "nt":
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def latest(folder: Path, like: Arrays, run: str) -> tuple[Arrays, dict[str, Any], list[str]]:
    """Return the newest checkpoint that is whole and of this run.

    Parameters
    ----------
    folder : Path
    like : dict of arrays
        The arrays of the state before the first epoch, of the same settings. The checkpoint must have their
        names, shapes and dtypes. A checkpoint of format 1 lacks some of the watch's; `like` gives them.
    run : str
        Whose checkpoints count: `record["run"]`.

    Returns
    -------
    arrays : dict of arrays
        `like` itself where there is no checkpoint yet.
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
            arrays, record = _read(path, like, run)
        except (InputError, OSError) as error:
            damaged.append(f"{path.name}: {error}")
        else:
            return arrays, record, damaged
    if damaged:
        raise InputError(
            f"no checkpoint in {folder} can be read ({damaged[0]}); train anew into another folder"
        )
    return like, {}, []


def _read(path: Path, like: Arrays, run: str) -> tuple[Arrays, dict[str, Any]]:
    with open(own(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            with zipfile.ZipFile(file) as archive:
                record = _record(json.loads(bytes(_array(archive, "record", size))), path, run)
                stored = _names_of_format_1(archive, like) if record["format"] == 1 else {n: n for n in like}
                arrays = {
                    name: _array(archive, stored[name], size) if stored[name] else start
                    for name, start in like.items()
                }
        except InputError:
            raise
        except Exception as error:  # a damaged archive can raise anything
            raise InputError(f"damaged ({' '.join(str(error).split())[:100]})") from None
    for name, array in arrays.items():
        if array.shape != like[name].shape or array.dtype != like[name].dtype:
            raise InputError(f"{name} is {array.dtype}{array.shape}, not this run's")
        if name.startswith(("params/", "best/")) and not np.isfinite(array).all():
            raise InputError(f"{name} holds NaN or infinite values, which no run writes")
    if "epoch" in arrays and (reached := arrays["epoch"].max()) != record["epoch"]:  # of the members
        raise InputError(f"its state is of epoch {reached}, its record of epoch {record['epoch']}")
    return arrays, record


def _record(found: object, path: Path, run: str) -> dict[str, Any]:
    """Return a checkpoint's record, if it is whole, of this run, and of the epoch that the name states."""
    record = cast(dict[str, Any], found if isinstance(found, dict) else {})
    if record.get("format") not in (1, FORMAT):
        raise InputError("of another format")
    if record.get("run") != run:
        raise InputError("of another run: its recipe or data differ")
    epoch, history = record.get("epoch"), record.get("history")
    if not isinstance(history, list) or type(epoch) is not int:
        raise InputError("its record lacks the history or the epoch")
    if path.name != f"epoch-{epoch:06d}.npz":
        raise InputError(f"its record is of epoch {epoch}")
    rows = cast(list[object], history)
    if len(rows) != epoch or epoch < 1:
        raise InputError(f"its history has {len(rows)} epochs, not {epoch}")
    check_history(rows)
    return record


def _names_of_format_1(archive: zipfile.ZipFile, like: Arrays) -> dict[str, str]:
    """Return where a checkpoint of format 1 keeps each array of the state; "" for those it does not keep.

    The arrays of the update rule had other names, in the same order.
    """
    members = [name.removesuffix(".npy") for name in archive.namelist()]
    rule, before = ([n for n in names if n.startswith("opt_state/")] for names in (like, members))
    if len(rule) != len(before):
        raise InputError(f"its update rule has {len(before)} arrays, this run's has {len(rule)}")
    moved = dict(zip(rule, before, strict=True))
    moved |= {"watch/rate": "plateau/scale", "watch/stalled": "plateau/plateau_count"}
    stored = {n: moved.get(n, n.replace("best/", "watch/params/") if n[:5] == "best/" else n) for n in like}
    added = {"watch/rate", "watch/stalled", "watch/stopped"}
    return {n: "" if n in added and old not in members else old for n, old in stored.items()}


def _array(archive: zipfile.ZipFile, name: str, limit: int) -> np.ndarray:
    """One member as an array; nothing larger than the file itself is ever allocated."""
    info = archive.getinfo(f"{name}.npy")
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > limit:
        raise ValueError(f"{name} claims {info.file_size} bytes")
    content = archive.read(info)  # which checks its CRC
    header = NPY.match(content)  # NumPy's parser would take other headers too, and evaluates them
    if not header or header.end() != 10 + int.from_bytes(header["length"], "little"):
        raise ValueError(f"{name} is no array")
    dtype = np.dtype(header["dtype"].decode())
    shape = tuple(int(n) for n in header["shape"].split(b",") if n.strip())
    if math.prod(shape) * dtype.itemsize != len(content) - header.end():
        raise ValueError(f"{name} claims shape {shape} of {dtype}")
    return np.frombuffer(content, dtype, offset=header.end()).reshape(shape)
