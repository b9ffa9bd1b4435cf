"""Arrays of pictures, kept in the user's cache under the content they were read from."""

import hashlib
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from mlpax.atomic import TEMPORARY, atomic, own

__all__ = ["find", "keep", "place"]

FORMAT = 2  # another number makes all that was kept unknown
BOUND = 4 * 2**30  # bytes of the arrays that stay beside a new one


def place(settings: str, names: Sequence[str], fingerprints: Sequence[bytes]) -> Path:
    """Where the array of these files, read with these settings, is kept."""
    import platformdirs

    digest = hashlib.sha256(f"mlpax images {FORMAT}: {settings}".encode())
    for name, fingerprint in zip(names, fingerprints, strict=True):
        digest.update(b"\0%b\0%d\0%b" % (os.fsencode(name), len(fingerprint), fingerprint))
    return Path(platformdirs.user_cache_dir("mlpax")) / "images" / f"{digest.hexdigest()}.npz"


def find(cache: Path, pictures: int, features: int, skip_bad: bool) -> tuple[np.ndarray, np.ndarray] | None:
    """Rows and which pictures they are of; None where nothing whole is kept. Labels are the folders'."""
    try:
        # NumPy leaves open what it opened and then finds damaged.
        with open(own(cache), "rb") as file, np.load(file, allow_pickle=False) as arrays:
            X, kept = arrays["X"], arrays["kept"]
    except Exception:  # a damaged file can raise anything, and is replaced
        return None
    if kept.dtype != np.bool_ or kept.shape != (pictures,) or not (skip_bad or kept.all()):
        return None
    if X.dtype != np.uint8 or X.shape != (np.sum(kept), features):
        return None
    with suppress(OSError, NotImplementedError):  # the latter on Windows
        os.utime(cache, follow_symlinks=False)  # what is used is young
    return X, kept


def keep(cache: Path, X: np.ndarray, kept: np.ndarray) -> None:
    """Write them whole or not at all."""
    with suppress(OSError):  # a full or read-only disk costs time at the next call, and nothing else
        cache.parent.mkdir(parents=True, exist_ok=True)
        if not cache.parent.is_symlink():  # else files elsewhere would be deleted
            _sweep(cache.parent)
            with atomic(cache) as file:
                np.savez(file, X=X, kept=kept)


def _sweep(folder: Path) -> None:
    """Remove what killed processes left, and the arrays unused for longest where all exceed the bound."""
    total, hour_ago = 0, time.time() - 3600
    ours = (file for file in folder.iterdir() if file.suffix in (".npz", TEMPORARY))
    files = [(file, file.lstat()) for file in ours]
    for file, stat in sorted(files, key=lambda pair: pair[1].st_mtime, reverse=True):
        total += stat.st_size
        if total > BOUND or (file.name.endswith(TEMPORARY) and stat.st_mtime < hour_ago):
            file.unlink(missing_ok=True)
