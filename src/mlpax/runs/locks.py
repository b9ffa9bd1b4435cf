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
from contextlib import contextmanager, suppress
from pathlib import Path

from mlpax.atomic import own
from mlpax.errors import InputError

__all__ = ["LOCK", "holder", "locked", "signals"]

LOCK = "run.lock"
LEASE = 30.0  # seconds after which a lock that another machine does not renew is taken over
UNKNOWN = "unknown"  # the boot of a machine that has no such file
BOOT = Path("/proc/sys/kernel/random/boot_id")
NAMED = re.compile(r"(process \d{1,10}) on ([!-~]{1,253}?)(?:, boot ([0-9a-z-]{1,40}))?")
MOMENT = 0.5  # seconds within which a repeated signal is the same one
SHOW_CURSOR = b"\x1b[?25h"
BEHIND = 1 << 20  # where Windows locks a byte: behind the text, which others may then read
_PLACE = threading.Lock()  # of a file's position; Windows has neither pread nor pwrite


@contextmanager
def locked(path: Path, notice: Callable[[str], object] = lambda text: None) -> Generator[Callable[[], None]]:
    """Lock the directory `path` for this process. Create the directory if it does not exist.

    The operating system releases the lock when the process ends, even after a crash. The lock file names the
    process that holds it, and the boot of its machine. On some shared disks a machine does not see the locks
    of another. Therefore the holder also renews the time of the lock file every few seconds. If a process on
    another machine has left the lock, this one watches the file for half a minute. It takes over if nobody
    renews it.

    Parameters
    ----------
    path : Path
    notice : callable, optional
        Called with one line if an earlier process ended without releasing the lock.

    Yields
    ------
    still_ours : callable
        Call it before a write. It raises FileNotFoundError if the locked directory was removed, even if
        another run has created a directory of the same name, and InputError if another process has taken
        over.

    Raises
    ------
    InputError
        If another process holds the lock, the directory cannot be written, or the lock file is a link.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        file = own(path / LOCK, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise InputError(f"cannot write to {path}: {error.strerror}; choose another folder") from None
    us = f"process {os.getpid()} on {socket.gethostname()}, boot {_boot()}"

    def still_ours() -> None:
        if not os.path.samestat(os.fstat(file), os.stat(path / LOCK)):
            raise FileNotFoundError(errno.ENOENT, "the folder was removed under the run", str(path))
        if (now := _named(file)) != us:
            raise InputError(f"{path} was taken over by {_shown(now)}")

    try:
        for _ in range(5):
            if _locks(file, shared=False):
                break
            time.sleep(0.02)  # `holder` may be looking at this moment
        else:
            raise InputError(f"{path} is being written by {_shown(_named(file))}; wait for it")
        if last := _named(file):
            _take_over(path, last, notice)
        _write(file, us)
        over = threading.Event()
        renewed = file if os.utime in os.supports_fd else path / LOCK  # the latter on Windows
        thread = threading.Thread(target=_renew, args=(renewed, over), daemon=True)
        thread.start()
        try:
            yield still_ours
        finally:
            over.set()
            thread.join()
            if _named(file) == us:
                _write(file, "")  # do not remove it: another process may already wait for this very file
    finally:
        os.close(file)


def _take_over(path: Path, last: str, notice: Callable[[str], object]) -> None:
    """Return if the process that a lock file names has ended; raise an InputError if it may still write."""
    _, host, boot = _parts(last)
    ours = host == socket.gethostname() or boot == _boot() != UNKNOWN
    if not ours:
        if not boot:  # an earlier version, which did not renew its lock
            raise InputError(f"{path} was left by {_shown(last)}; if that is over, remove {path / LOCK}")
        notice(f"watching for {LEASE:.0f} seconds whether {_shown(last)} still writes {path}")
        before, until = _renewed(path), time.monotonic() + LEASE
        while time.monotonic() < until:
            time.sleep(LEASE / 30)
            if _renewed(path) != before:
                raise InputError(f"{path} is being written by {_shown(last)}; wait for it")
    notice(f"taking over from {_shown(last)}, which has ended without finishing")


def _renewed(path: Path) -> int:
    """Return when a lock was last renewed; opening the file anew asks the disk's server."""
    file = own(path / LOCK)
    try:
        return os.fstat(file).st_mtime_ns
    finally:
        os.close(file)


def _renew(file: int | Path, over: threading.Event) -> None:
    while not over.wait(LEASE / 6):
        with suppress(OSError):
            os.utime(file)


def _boot() -> str:
    """Return what tells this run of this machine's kernel from all others; containers share it."""
    try:
        return BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return UNKNOWN


def _locks(file: int, *, shared: bool) -> bool:
    """Lock a file, unless another process holds it; return whether that succeeded."""
    try:
        if sys.platform == "win32":  # which has no shared locks, and lets nobody read the bytes of a lock
            import msvcrt

            with _PLACE:
                os.lseek(file, BEHIND, os.SEEK_SET)
                msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _write(file: int, text: str) -> None:
    with _PLACE:
        os.ftruncate(file, 0)
        os.lseek(file, 0, os.SEEK_SET)
        os.write(file, text.encode())


def _named(file: int) -> str:
    """Return the process that a lock file names; "" if the file is empty or damaged."""
    with _PLACE:
        os.lseek(file, 0, os.SEEK_SET)
        text = os.read(file, 400).decode(errors="replace")
    return text if NAMED.fullmatch(text) else ""


def _parts(named: str) -> tuple[str, str, str]:
    """Return the process, the host and the boot that `_named` found."""
    found = NAMED.fullmatch(named)
    return (found[1], found[2], found[3] or "") if found else ("another process", "", "")


def _shown(named: str) -> str:
    process, host, _ = _parts(named)
    return f"{process} on {host}" if host else process


def holder(path: Path) -> str:
    """Return the process of this machine that is writing the directory `path`; "" if there is none."""
    try:
        file = own(path / LOCK)
    except (OSError, InputError):
        return ""
    try:
        return "" if _locks(file, shared=True) else _shown(_named(file))
    finally:
        os.close(file)


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
