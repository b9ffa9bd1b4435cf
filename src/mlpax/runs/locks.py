"""One writer for a run directory, and signals that wait for the end of an epoch."""

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
MOMENT = 0.5  # seconds
SHOW_CURSOR = b"\x1b[?25h"


@contextmanager
def locked(path: Path, notice: Callable[[str], object] = lambda text: None) -> Generator[Callable[[], None]]:
    """Be the one writer of the directory `path`, made where missing.

    The system releases the lock when the process dies, however it does; the file names its holder. What
    is yielded checks, before a write, that the directory is still the one that was locked: it raises
    FileNotFoundError where that was removed, though another run may have begun under its name.

    Raises
    ------
    InputError
        If another process holds it, named in the text, or the directory cannot be written.
    """
    import fcntl  # not on Windows

    try:
        path.mkdir(parents=True, exist_ok=True)
        file = open(path / LOCK, "a+", errors="replace")  # noqa: SIM115 - held as long as the run
    except OSError as error:
        raise InputError(f"cannot write to {path}: {error.strerror}; choose another folder") from None

    def still_ours() -> None:
        if not os.path.samestat(os.fstat(file.fileno()), os.stat(path / LOCK)):
            raise FileNotFoundError(errno.ENOENT, "the folder was removed under the run", str(path))

    with file:
        for attempt in reversed(range(5)):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if not attempt:
                    who = _named(file) or "another process"
                    raise InputError(f"{path} is being written by {who}; wait for it") from None
                time.sleep(0.02)  # `holder` may just look
        last, host = _named(file), socket.gethostname()
        if last and not last.endswith(f" on {host}"):  # whose locks we may not see
            raise InputError(f"{path} was left by {last}; if that is over, remove {path / LOCK}")
        if last:
            notice(f"taking over from {last}, which has ended without finishing")
        file.truncate(0)
        file.write(f"process {os.getpid()} on {host}")
        file.flush()
        try:
            yield still_ours
        finally:
            file.truncate(0)  # not removed: another process may already wait on this very file


def _named(file: TextIO) -> str:
    """The holder that a lock file names; empty where it names none, as one that a power cut has torn."""
    file.seek(0)
    found = re.fullmatch(r"process \d+ on \S+", file.read(300))
    return found[0] if found else ""


def holder(path: Path) -> str:
    """The process of this machine that is writing the directory `path`; empty where none is."""
    import fcntl

    try:
        with open(path / LOCK, errors="replace") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _named(file) or "another process"
    except OSError:
        pass
    return ""


@contextmanager
def signals() -> Generator[list[int]]:
    """Collect the first SIGINT or SIGTERM; a second takes its usual course at once.

    One that follows in a moment is the first again: `timeout` and some launchers send it twice. What the
    process was started to ignore, as in a shell's background, stays ignored.
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
                os.write(sys.stdout.fileno(), SHOW_CURSOR)  # which a progress bar hides
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    for s in before:
        signal.signal(s, catch)
    try:
        yield caught
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
