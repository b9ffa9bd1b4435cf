"""One writer for a run directory, and signals that wait for the end of an epoch."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from mlpax.errors import InputError

__all__ = ["LOCK", "holder", "locked", "signals"]

LOCK = "run.lock"


@contextmanager
def locked(path: Path, notice: Callable[[str], object] = lambda text: None) -> Generator[None]:
    """Be the one writer of the directory `path`, made where missing.

    The system releases the lock when the process dies, however it does; the file names its holder.

    Raises
    ------
    InputError
        If another process holds it, named in the text, or the directory cannot be written.
    """
    import fcntl  # not on Windows

    try:
        path.mkdir(parents=True, exist_ok=True)
        file = open(path / LOCK, "a+")  # noqa: SIM115 - held as long as the run
    except OSError as error:
        raise InputError(f"cannot write to {path}: {error.strerror}; choose another --out") from None
    with file:
        file.seek(0)
        last = file.read(200)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"{path} is being written by {last or 'another process'}; wait for it") from None
        host = socket.gethostname()
        if last and not last.endswith(f" on {host}"):  # whose locks we may not see
            raise InputError(f"{path} was left by {last}; if that is over, remove {path / LOCK}")
        if last:
            notice(f"taking over from {last}, which has ended without finishing")
        file.truncate(0)
        file.write(f"process {os.getpid()} on {host}")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)  # not removed: another process may already wait on this very file


def holder(path: Path) -> str:
    """The process of this machine that is writing the directory `path`; empty where none is."""
    import fcntl

    try:
        with open(path / LOCK) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read(200) or "another process"
    except OSError:
        pass
    return ""


@contextmanager
def signals() -> Generator[list[int]]:
    """Collect the first SIGINT or SIGTERM; the second takes its usual course at once."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

    def catch(number: int, frame: object) -> None:
        caught.append(number)
        for s in before:
            signal.signal(s, signal.SIG_DFL)

    for s in before:
        signal.signal(s, catch)
    try:
        yield caught
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
