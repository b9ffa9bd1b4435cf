"""Write a file so that it is complete or absent, whatever happens to the process."""

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["TEMPORARY", "atomic"]

TEMPORARY = ".mlpax-tmp"  # suffix of incomplete files, so that a later process can find and delete them


@contextmanager
def atomic(path: str | Path) -> Generator[BinaryIO]:
    """Open a file for writing that appears under `path` only when it is complete and on the disk.

    The bytes go to a temporary file in the same folder, which is flushed to the disk and then renamed. After
    an error the temporary file is deleted, and an earlier file at `path` is unchanged.
    """
    path = Path(path)
    if not path.parent.is_dir():  # otherwise the error would name the temporary file
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(path.parent))
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        if os.name == "posix":  # so that the new name survives a power cut
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
