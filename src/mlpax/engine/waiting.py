"""Wait for work so that Ctrl-C is heard."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

__all__ = ["heard"]

Result = TypeVar("Result")

OFTEN = 0.05  # seconds


def heard(work: Callable[[], Result], stop: Callable[[], None] = lambda: None) -> Result:
    """Return what foreign code returns. It runs in a thread. Ctrl-C calls `stop`, and raises after its end.

    Python hears a signal only in the main thread, and only between its own instructions. The system may hand
    the signal to another thread, which does not wake the main one. So it wakes by itself.
    """
    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(work)
        try:
            while not future.done():
                wait([future], OFTEN)
        except BaseException:
            stop()
            raise
        return future.result()
