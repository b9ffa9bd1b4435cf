"""Lock a run directory for one writer, and hold back signals until the end of an epoch."""

import errno
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from mlpax.errors import InputError

__all__ = ["LOCK", "holder", "locked", "signals"]

LOCK = "run.lock"
MOMENT = 0.5  # seconds within which a repeated signal is the same one
SHOW_CURSOR = b"\x1b[?25h"


@contextmanager
def locked(path: Path, notice: Callable[[str], object] = lambda text: None) -> Generator[Callable[[], None]]:
    """Lock the directory `path` for this process. Create the directory if it does not exist.

    The operating system releases the lock when the process ends, even after a crash. The lock file names the
    process that holds it.

    Parameters
    ----------
    path : Path
    notice : callable, optional
        Called with one line if an earlier process ended without releasing the lock.

    Yields
    ------
    still_ours : callable
        Call it before a write. It raises FileNotFoundError if the locked directory was removed, even if
        another run has created a directory of the same name.

    Raises
    ------
    InputError
        If another process holds the lock, or the directory cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        file = open(path / LOCK, "a+", errors="replace")  # noqa: SIM115 - stays open during the run
    except OSError as error:
        raise InputError(f"cannot write to {path}: {error.strerror}; choose another folder") from None

    def still_ours() -> None:
        if not os.path.samestat(os.fstat(file.fileno()), os.stat(path / LOCK)):
            raise FileNotFoundError(errno.ENOENT, "the folder was removed under the run", str(path))

    with file:
        for _ in range(5):
            if _locks(file, shared=False):
                break
            time.sleep(0.02)  # `holder` may be looking at this moment
        else:
            who = _named(file) or "another process"
            raise InputError(f"{path} is being written by {who}; wait for it")
        last, host = _named(file), socket.gethostname()
        if last and not last.endswith(f" on {host}"):  # this machine may not see the locks of another
            raise InputError(f"{path} was left by {last}; if that is over, remove {path / LOCK}")
        if last:
            notice(f"taking over from {last}, which has ended without finishing")
        file.truncate(0)
        file.write(f"process {os.getpid()} on {host}")
        file.flush()
        try:
            yield still_ours
        finally:
            file.truncate(0)  # do not remove it: another process may already wait for this very file


def _locks(file: TextIO, *, shared: bool) -> bool:
    """Lock a file, unless another process holds it; return whether that succeeded."""
    import fcntl  # not on Windows

    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _named(file: TextIO) -> str:
    """Return the process that a lock file names; "" if the file is empty or damaged."""
    file.seek(0)
    found = re.fullmatch(r"process \d+ on \S+", file.read(300))
    return found[0] if found else ""


def holder(path: Path) -> str:
    """Return the process of this machine that is writing the directory `path`; "" if there is none."""
    try:
        with open(path / LOCK, errors="replace") as file:
            return "" if _locks(file, shared=True) else _named(file) or "another process"
    except OSError:
        return ""


@contextmanager
def signals() -> Generator[list[int]]:
    """Yield a list that collects the first SIGINT or SIGTERM. A second signal ends the process as usual.

    A second signal within half a second does not count: `timeout` and some launchers send each signal twice.
    A signal that the process was started to ignore, for example in a shell's background, stays ignored.
    """
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    before = {s: handler for s, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    first = 0.0

    def catch(number: int, frame: object) -> None:
        nonlocal first
        if not caught:
            caught.append(number)
            first = time.monotonic()
        elif time.monotonic() - first > MOMENT:
            if sys.stdout and sys.stdout.isatty():
                os.write(sys.stdout.fileno(), SHOW_CURSOR)  # a progress bar hides the cursor
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    for s in before:
        signal.signal(s, catch)
    try:
        yield caught
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
