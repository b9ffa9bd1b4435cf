"""Writing a file so that it is whole or not there, whatever happens to the process."""

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["TEMPORARY", "atomic"]

TEMPORARY = ".mlpax-tmp"  # ends the name of a file not yet whole; what dead processes left is swept by it


@contextmanager
def atomic(path: str | Path) -> Generator[BinaryIO]:
    """Open a file for writing that takes the name `path` only when it is whole and on the disk.

    The bytes go to a temporary name in the same folder, are fsynced, and renamed; after an error
    nothing is left of them and a file that `path` named before is as it was.
    """
    path = Path(path)
    if not path.parent.is_dir():  # else the temporary name would be blamed
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(path.parent))
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        if os.name == "posix":  # the name, too, must outlive a power cut
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
