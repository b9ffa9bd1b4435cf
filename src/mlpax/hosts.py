"""Several processes, perhaps on several hosts, that train one network together by JAX's distributed runtime.

A process alone takes part in nothing here, and none of these functions then loads JAX.
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256

import numpy as np

from mlpax.errors import InputError, MlpaxError, Notice, unknown

__all__ = ["AGAIN", "HEARTBEAT", "all_equal", "alone", "any_of", "count", "exchanged", "from_first", "index",
           "join", "leading", "leave", "told_of_the_lost"]  # fmt: skip

AGAIN = "start all processes again by the same command"
HEARTBEAT = 10  # seconds after which a silent host is taken for dead
TASKS = {  # how launchers tell a process that it is one of several
    "SLURM": ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
    "Open MPI": ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
}
_ALONE: list[bool] = []  # whether this process has failed to meet the others
_APART: list[bool] = []  # whether this process does something that the others do not, see `alone`
_WELL, _ILL = b"\x01", b"\x00"


def count() -> int:
    """Return the number of processes that JAX knows, 1 for a process alone."""
    jax = sys.modules.get("jax")
    return jax.process_count() if jax and not _APART and jax.distributed.is_initialized() else 1


def index() -> int:
    """Return the number of this process, 0 for the first and for a process alone."""
    return sys.modules["jax"].process_index() if count() > 1 else 0


@contextmanager
def alone() -> Generator[None]:
    """Let this process do something without the others, which do not wait for it."""
    _APART.append(True)
    try:
        yield
    finally:
        _APART.pop()


def join(
    distributed: str | None = None, coordinator: str | None = None, processes: int | None = None,
    process: int | None = None, *, wait: int = 300, notice: Notice = lambda text: None,
) -> None:  # fmt: skip
    """Meet the other processes of this training; without arguments, stay alone.

    Parameters
    ----------
    distributed : {"auto"}, optional
        Take coordinator, number of processes and number of this process from the launcher: SLURM, Open MPI or
        Kubernetes.
    coordinator : str, optional
        Address of the first process, `HOST:PORT`; with `processes` and `process`.
    processes : int, optional
        How many there are. With `distributed` it is only checked.
    process : int, optional
        Which of them this one is, from 0.
    wait : int, default 300
        Seconds to wait for the others.
    notice : callable, optional
        Called with one line if a launcher has started several processes and nothing says that they train
        together.

    Raises
    ------
    InputError
        If the arguments do not fit, there are more or fewer processes than named, the coordinator does not
        answer, or the other hosts could not reach this one.
    """
    if distributed is None and coordinator is None:
        if processes is not None or process is not None:
            raise InputError(
                "processes and process need the address of process 0, as --coordinator HOST:PORT"
            )
        _tell_of_launcher(notice)
        return
    if distributed is not None:
        if distributed != "auto":
            raise unknown("distributed", distributed, ["auto"])
        if coordinator is not None or process is not None:
            raise InputError("distributed auto asks the launcher; leave out coordinator and process")
        _initialize({}, wait)
    else:
        _initialize(_as_told(str(coordinator), processes, process, wait), wait)
    found = count()
    if processes not in (None, found):
        raise InputError(f"processes {processes}, but the launcher has started {found}; make them equal")
    if found == 1:
        raise InputError("one process is no several; leave out distributed, or let the launcher start more")


def _as_told(address: str, processes: int | None, process: int | None, wait: int) -> dict[str, object]:
    """Return the arguments for JAX, after a look at whether they can work."""
    if processes is None or process is None:
        raise InputError(f"coordinator {address} needs the number of processes, and which one this is")
    if processes < 2:
        raise InputError(f"processes {processes} are not several; leave out coordinator to train with one")
    if not 0 <= process < processes:
        raise InputError(f"process {process} of {processes} is none; choose 0 to {processes - 1}")
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise InputError(f"coordinator {address!r} is no address; write HOST:PORT, as 10.0.0.1:1234")
    host = host.strip("[]")
    try:
        ip = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0][4][0]
    except OSError:
        raise InputError(f"coordinator {address}: no host {host!r} is known here") from None
    here = _is_here(str(ip))
    if process == 0:
        if not here:
            raise InputError(
                f"process 0 is the coordinator, and {host} is not this host; choose process 1 up"
            )
        _check_free(int(port))
    else:
        _check_reachable(here)
        _wait_for(host, int(port), wait)
    return {"coordinator_address": address, "num_processes": processes, "process_id": process}


def _initialize(how: Mapping[str, object], wait: int) -> None:
    import jax

    # It would take SIGTERM for itself; a run ends by its own rules, see `any_of`.
    jax.config.update("jax_enable_preemption_service", False)
    times = {"heartbeat_timeout_seconds": HEARTBEAT, "shutdown_timeout_seconds": HEARTBEAT}
    failed: list[Exception] = []

    def meet() -> None:
        try:
            # JAX aborts the process when the time is over; it gets more than we wait.
            jax.distributed.initialize(**how, **times, initialization_timeout=wait + 60)  # type: ignore[arg-type]
            with _silenced():  # gloo prints to stdout when it connects
                any_of(False)  # all processes meet here once more
        except Exception as error:  # JAX and the launchers' libraries raise many kinds
            failed.append(error)

    thread = threading.Thread(target=meet, daemon=True)
    thread.start()
    thread.join(wait)
    if not failed and not thread.is_alive():
        return
    _ALONE.append(True)
    said = " ".join(str(failed[0]).split()) if failed else ""
    if not said:
        raise InputError(
            f"not all processes came within {wait} seconds; start all, with the same address and number"
        )
    if "coordinator_address" in said or "process" in said[:40]:
        raise InputError(
            "distributed auto finds no launcher: neither SLURM, Open MPI (before 5) nor Kubernetes has"
            " started this process; use coordinator, processes and process"
        )
    raise InputError(f"the processes cannot meet: {said[:200]}{_trap()}")


@contextmanager
def _silenced() -> Generator[None]:
    """Drop what foreign code prints to stdout, below Python."""
    sys.stdout.flush()
    kept = os.dup(1)
    dropped = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(dropped, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(dropped)


def _is_here(ip: str) -> bool:
    """Return whether an address is one of this host's."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((ip, 0))
        except OSError:
            return False
    return True


def _check_free(port: int) -> None:
    """Raise an error if another program listens at a port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            raise InputError(f"port {port} of this host: {error.strerror}; choose another port") from None


def _trap() -> str:
    """Return what to say if this host announces itself by a loopback address; "" if it does not."""
    name = socket.gethostname()
    try:
        ip = socket.gethostbyname(name)
    except OSError:
        return f"; this host's own name {name!r} is unknown to it: write it into /etc/hosts, with its address"
    if not ip.startswith("127."):
        return ""
    return (
        f"; this host's own name {name!r} means {ip} to it, where no other host can reach it: write its real"
        " address into /etc/hosts"
    )


def _check_reachable(coordinator_is_here: bool) -> None:
    """Raise an error if the coordinator is elsewhere, and this host would announce a loopback address."""
    if not coordinator_is_here and (trap := _trap()):
        raise InputError(f"the other hosts cannot reach this one{trap}")


def _wait_for(host: str, port: int, wait: int) -> None:
    """Return as soon as something listens at an address; raise an error if nothing does in time."""
    until, said = time.monotonic() + wait, "no answer"
    while True:
        try:
            socket.create_connection((host, port), timeout=max(0.1, min(5, until - time.monotonic()))).close()
            return
        except OSError as error:
            said = error.strerror or said
        if time.monotonic() >= until:
            raise InputError(
                f"coordinator {host}:{port} did not answer within {wait} seconds ({said}); start process 0"
                " there, and let the network pass the port"
            )
        time.sleep(min(0.2, max(0.0, until - time.monotonic())))


def _tell_of_launcher(notice: Notice) -> None:
    """Give notice if a launcher has started several processes, and each would train for itself."""
    for launcher, (size, rank) in TASKS.items():
        tasks = os.environ.get(size, "1")
        if tasks.isdecimal() and int(tasks) > 1 and count() == 1:
            notice(
                f"{launcher} has started {tasks} processes, and this one, {os.environ.get(rank, '?')}, trains"
                " a network of its own; to train one together, add --distributed auto"
            )


# What processes tell each other


def any_of(flag: bool) -> bool:
    """Return whether the flag of any process is set."""
    if count() == 1:
        return flag
    return bool(np.any(_gathered(np.array([flag], np.uint8))))


def all_equal(parts: Mapping[str, str]) -> None:
    """Raise an error on all processes if one of them has other texts than the first; it names the parts."""
    if count() == 1:
        return
    digests = [np.frombuffer(sha256(text.encode()).digest(), np.uint8) for text in parts.values()]
    of_all = _gathered(np.stack(digests))  # (processes, parts, 32)
    differ = (of_all != of_all[0]).any(axis=2)
    if differ.any():
        process, part = (int(k) for k in np.argwhere(differ)[0])
        raise InputError(
            f"process {process} has other {list(parts)[part]} than process 0; give all processes the same"
            " command, files and versions"
        )


def exchanged(work: Callable[[], bytes]) -> list[bytes]:
    """Return what `work` returns in each process. All wait for the slowest.

    Parameters
    ----------
    work : callable
        Called once.

    Raises
    ------
    Exception
        That of `work`.
    InputError
        In the other processes if `work` fails in one, with its number and message.
    """
    if count() == 1:
        return [work()]
    failed: Exception | None = None
    try:
        content = _WELL + work()
    except Exception as error:
        failed, content = error, _ILL + str(error).encode()
    with _interruptible():
        sizes = _gathered(np.array([len(content)], np.int32)).ravel().tolist()
        sent = np.zeros(
            1 << max(sizes).bit_length(), np.uint8
        )  # few different sizes: each compiles a program
        sent[: len(content)] = np.frombuffer(content, np.uint8)
        rows = zip(_gathered(sent), sizes, strict=True)
    if failed:
        raise failed
    return [_heard(row[:size].tobytes(), process) for process, (row, size) in enumerate(rows)]


@contextmanager
def _interruptible() -> Generator[None]:
    """Let Ctrl-C end this process while it waits in foreign code, in which Python hears nothing."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def from_first(content: bytes = b"") -> bytes:
    """Return what the first process gives, on all processes.

    Raises
    ------
    InputError
        On the others, if the first one failed (see `leading`), with its message.
    """
    if count() == 1:
        return content
    from jax.experimental import multihost_utils

    sent = np.frombuffer(_WELL + content, np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(sent))))
    held = sent if index() == 0 else np.zeros(size, np.uint8)
    return _heard(np.asarray(multihost_utils.broadcast_one_to_all(held), np.uint8).tobytes())


def _heard(message: bytes, process: int = 0) -> bytes:
    if message[:1] == _ILL:
        raise InputError(f"process {process}: {message[1:].decode(errors='replace')}")
    return message[1:]


@contextmanager
def leading() -> Generator[None]:
    """Tell the other processes, which wait in `from_first`, if the first one fails."""
    try:
        yield
    except Exception as error:
        if count() > 1:
            from jax.experimental import multihost_utils

            sent = np.frombuffer(_ILL + str(error).encode(), np.uint8)
            multihost_utils.broadcast_one_to_all(np.int32(len(sent)))
            multihost_utils.broadcast_one_to_all(sent)
        raise


def _gathered(array: np.ndarray) -> np.ndarray:
    """Return the arrays of all processes, (processes, ...)."""
    from jax.experimental import multihost_utils

    found = np.asarray(multihost_utils.process_allgather(array))
    return found.reshape(count(), *array.shape)


# When a process is lost


@contextmanager
def told_of_the_lost(remedy: str) -> Generator[None]:
    """Turn the error of a broken connection into one line with a remedy."""
    if count() == 1:
        yield
        return
    import jax

    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        said = " ".join(str(error).split())
        if isinstance(error, ValueError) and "Gloo" not in said:  # as which JAX raises some errors of gloo
            raise
        raise MlpaxError(f"process {index()} of {count()} lost another ({said[:120]}); {remedy}") from None


def leave(status: int) -> None:
    """End this process at once if it failed and others are left: JAX would wait for all of them.

    The first one, whose end stops all, gives the others a moment to say what they have to say.
    """
    if not status or not (_ALONE or count() > 1):
        return
    if not _ALONE and index() == 0:
        time.sleep(1.0)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(status)
