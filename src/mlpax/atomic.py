"""Write a file so that it is complete or absent, and open a file of ours without following a link."""

import errno
import os
import secrets
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from mlpax.errors import InputError

__all__ = ["TEMPORARY", "atomic", "check_folder", "own"]

TEMPORARY = ".mlpax-tmp"  # suffix of incomplete files, so that a later process can find and delete them


@contextmanager
def atomic(path: str | Path) -> Generator[BinaryIO]:
    """Open a file for writing that appears under `path` only when it is complete and on the disk.

    The bytes go to a temporary file in the same folder, which is flushed to the disk and then renamed. After
    an error the temporary file is deleted, and an earlier file at `path` is unchanged. A new file gets the
    permissions of the one that it replaces. A link at `path` is replaced, not followed.
    """
    path = Path(path)
    if not path.parent.is_dir():  # otherwise the error would name the temporary file
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(path.parent))
    # One for each call, since threads may save under one name; nobody can guess it and put a link there.
    temporary = path.with_name(f".{secrets.token_hex(8)}.{os.getpid()}{TEMPORARY}")
    try:
        with open(temporary, "xb") as file:
            with suppress(FileNotFoundError):
                before = os.lstat(path)
                if stat.S_ISREG(before.st_mode) and os.name == "posix":
                    os.fchmod(file.fileno(), before.st_mode & 0o777)
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


def own(path: str | Path, flags: int = os.O_RDONLY) -> int:
    """Open a file of a run folder or a cache, and return its descriptor.

    It must be the file itself: a link could lead to any file of the user's, and a pipe would be waited for.

    Parameters
    ----------
    path : path
    flags : int, optional
        See `os.open`.

    Raises
    ------
    InputError
        If `path` is a link, a folder, a pipe or a device, or a file that has a second name elsewhere and
        would be written.
    OSError
        If it does not exist, or cannot be opened.
    """
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    linked = InputError(f"{path} is a link, which is not followed; put the file itself there")
    if not hasattr(os, "O_NOFOLLOW") and os.path.islink(path):
        raise linked
    try:
        file = os.open(path, flags, 0o666)
    except OSError as error:
        if os.path.islink(path):
            raise linked from None
        if error.errno in (errno.EISDIR, errno.ENXIO):  # a folder; a pipe or socket that nobody reads
            raise InputError(f"{path} is no file; remove it") from None
        raise
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode):
        os.close(file)
        raise InputError(f"{path} is no file; remove it")
    if found.st_nlink > 1 and flags & (os.O_WRONLY | os.O_RDWR):
        os.close(file)
        raise InputError(f"{path} is a file with a second name elsewhere, which stays as it is; remove it")
    return file


def check_folder(path: Path) -> None:
    """Raise an InputError if a folder inside a run or a cache is a link, or is something else.

    What is written and deleted in it would be elsewhere.
    """
    if path.is_symlink():
        raise InputError(f"{path} is a link, which is not followed; put the folder itself there")
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is no folder; remove it")
