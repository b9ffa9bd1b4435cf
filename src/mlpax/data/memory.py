"""How much memory data may take, and the refusal of more before it is allocated."""

import os
import re
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import Condition
from typing import IO

from mlpax.errors import InputError

__all__ = [
    "CELL",
    "CHUNK",
    "COLUMN",
    "ENTRY",
    "TYPED",
    "memory_limit",
    "read_within",
    "refuse_beyond",
    "shared",
    "written",
]

UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
CELL = 64  # bytes that a cell of a table takes, beside its text, until it is an input of the network
TYPED = 24  # and one of a typed file
COLUMN = 4096  # and each column, however few its rows
ENTRY = 16  # bytes that one of a zip archive's directory takes
SHARE = 0.5  # of the memory that is available
UNKNOWN = 4 * 2**30  # available memory where the system does not say
CHUNK = 1 << 20  # bytes that are unpacked at a time
CGROUPS = Path("/sys/fs/cgroup")


def memory_limit(memory: str | None) -> int:
    """Return the bytes that data may take: as many as said, else half of what is available.

    Parameters
    ----------
    memory : str, optional
        A number of bytes, or with a unit such as 500M or 4G.

    Raises
    ------
    InputError
        If the text is no such number.
    """
    if memory is None:
        return int(SHARE * _available())
    said = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([KMGT]?)B?", memory.upper())
    size = int(float(said[1]) * UNITS.get(said[2], 1)) if said else 0
    if size < 1:
        raise InputError(f"memory {memory[:50]!r} is no size; write 500M or 4G")
    return size


def refuse_beyond(path: str | Path, size: int, memory: str | None, *, least: bool = False) -> None:
    """Refuse a file whose data would take more memory than `memory_limit`.

    Parameters
    ----------
    path : path
    size : int
        Bytes that the data would take, as an estimate.
    memory : str, optional
    least : bool
        Whether the data may take more than `size`, because nobody looked further.

    Raises
    ------
    InputError
        With the estimate, the limit, and the option that raises it.
    """
    limit = memory_limit(memory)
    if size > limit:
        about = "at least" if least else "about"
        enough = written(min(size, 2**60) * (2.0 if least else 1.1), "")
        raise InputError(
            f"{path} would take {about} {written(size)} of memory, and the limit is {written(limit)};"
            f" raise it, as with --memory {enough}"
        )


def read_within(path: str | Path, file: IO[bytes], memory: str | None, factor: int) -> bytes:
    """Read a file to its end, unless its bytes, taken `factor` times, pass the limit.

    Raises
    ------
    InputError
        If they do; see `refuse_beyond`. No more than the limit is in memory then.
    """
    most = memory_limit(memory) // factor
    found = bytearray()
    while data := file.read(CHUNK):
        found += data
        if len(found) > most:
            refuse_beyond(path, max(len(found) * factor, memory_limit(memory) + 1), memory, least=True)
    return bytes(found)


def shared(most: int) -> Callable[[int], AbstractContextManager[None]]:
    """Return a context that threads enter with a number: all numbers inside sum to at most `most`.

    A larger number waits until it is alone.
    """
    inside, changed = 0, Condition()

    @contextmanager
    def enter(size: int) -> Generator[None]:
        nonlocal inside
        with changed:
            changed.wait_for(lambda: inside == 0 or inside + size <= most)
            inside += size
        try:
            yield
        finally:
            with changed:
                inside -= size
                changed.notify_all()

    return enter


def written(size: float, blank: str = " ") -> str:
    """Return a size as text, rounded up: `1.5 GB`."""
    if size >= 1000 * UNITS["T"]:
        return f"over{blank}1000{blank}TB" if blank else "1000TB"
    unit = next((unit for unit in "TGM" if size >= UNITS[unit]), "K")
    tenths = -int(-size * 10 // UNITS[unit])
    return f"{tenths // 10}{blank}{unit}B" if tenths >= 1000 else f"{tenths / 10}{blank}{unit}B"


def _available() -> int:
    """Return the bytes that this process can still take: of the machine, and of its control group."""
    try:
        facts = Path("/proc/meminfo").read_text(encoding="ascii")
        free = int(facts.partition("MemAvailable:")[2].split()[0]) * 1024
    except (OSError, ValueError, IndexError):  # no Linux
        try:
            free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (AttributeError, ValueError, OSError):
            free = UNKNOWN
    return max(0, min([free, *_left_in_groups()]))


def _left_in_groups() -> list[int]:
    """Return the bytes that the control group of this process, and each above it, can still take."""
    left: list[int] = []
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return left
    for line in lines:
        _, controllers, name = line.split(":", 2)
        first = "memory" in controllers.split(",")
        if controllers and not first:
            continue
        root = CGROUPS / "memory" if first else CGROUPS
        names = (
            ("memory.limit_in_bytes", "memory.usage_in_bytes") if first else ("memory.max", "memory.current")
        )
        group = root / name.lstrip("/")
        for folder in (group, *group.parents):
            if not folder.is_relative_to(root):
                break
            try:
                most, used = ((folder / one).read_text(encoding="ascii") for one in names)
                cached = re.search(
                    r"^(?:total_)?inactive_file (\d+)", (folder / "memory.stat").read_text(), re.M
                )
                left.append(int(most) - int(used) + (int(cached[1]) if cached else 0))
            except (OSError, ValueError):  # no such file, or "max"
                continue
    return left
