"""Work in stages that overlap: each item in its order, in bounded memory; and the seconds of each stage."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import TypeVar

__all__ = ["Clock", "ahead", "in_order"]

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Clock:
    """The seconds that each stage has worked, over all threads.

    Attributes
    ----------
    seconds : dict
        By the stage's name.
    """

    seconds: dict[str, float] = field(default_factory=dict[str, float])
    _lock: Lock = field(default_factory=Lock)

    @contextmanager
    def of(self, stage: str) -> Generator[None]:
        """Add the seconds of the block to a stage. Several threads may do so at a time."""
        start = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[stage] = self.seconds.get(stage, 0) + time.perf_counter() - start


def ahead(items: Iterable[Item], most: int, clock: Clock | None = None, stage: str = "") -> Iterator[Item]:
    """Yield items that a thread of its own makes: up to `most` of them before they are asked for.

    Parameters
    ----------
    items : iterable
    most : int
        Items that wait at a time, at least 1.
    clock : Clock, optional
        Gets the seconds that the thread works, under the name `stage`.
    stage : str

    Raises
    ------
    Exception
        Whatever making an item raises, where the item would have come.
    """
    made, end = iter(items), object()

    def make() -> object:
        if clock is None:
            return next(made, end)
        with clock.of(stage):
            return next(made, end)

    coming: deque[Future[object]] = deque()
    with ThreadPoolExecutor(1) as thread:
        try:
            coming += [thread.submit(make) for _ in range(most)]
            while (item := coming.popleft().result()) is not end:
                coming.append(thread.submit(make))
                yield item  # type: ignore[misc]
        finally:
            for future in coming:
                future.cancel()


def in_order(work: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """Yield what `work` returns for each item, in the items' order. So many threads work at a time.

    Only as many items are in memory as two for each thread. If some items fail, the error of the first of
    them is raised.
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
