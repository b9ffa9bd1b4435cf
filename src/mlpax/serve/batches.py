"""One thread that answers requests: those that wait share a call of the model, and only so many may wait."""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from mlpax.errors import InputError
from mlpax.serve.requests import Asked, Record, Refusal, answer
from mlpax.serve.served import Served

__all__ = ["Worker", "answers_at_once"]

ROWS = 1024  # that share a call at most
QUICK = 300e-6  # seconds of a call that the event loop may make itself
Result = TypeVar("Result")


@dataclass(frozen=True)
class Job:
    """What waits for the thread: a request to answer, or a function to call."""

    future: "asyncio.Future[object]"
    served: Served | None = None
    asked: Asked | None = None
    call: Callable[[], object] | None = None


class Worker:
    """The thread, and the queue in front of it.

    Parameters
    ----------
    most : int
        Jobs that may wait.
    """

    def __init__(self, most: int) -> None:
        self.jobs = queue.Queue[Job | None](most)
        self.thread = threading.Thread(target=self._work, name="answers", daemon=True)
        self.thread.start()

    @property
    def waiting(self) -> int:
        return self.jobs.qsize()

    async def answer(self, served: Served, asked: Asked) -> Record | Refusal:
        """Return the answer to a request. Requests that wait share a call.

        Raises
        ------
        Refusal
            With status 503 if too many wait.
        """
        found = await self._wait(served, asked, None)
        assert isinstance(found, (dict, Refusal))
        return found  # pyright: ignore[reportUnknownVariableType]

    async def call(self, function: Callable[[], Result]) -> Result:
        """Return what a function returns, and raise what it raises."""
        return await self._wait(None, None, function)  # pyright: ignore[reportReturnType]

    def _wait(
        self, served: Served | None, asked: Asked | None, call: Callable[[], object] | None
    ) -> "asyncio.Future[object]":
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        try:
            self.jobs.put_nowait(Job(future, served, asked, call))
        except queue.Full:
            text = f"{self.jobs.maxsize} requests are waiting already; send this one again in a second"
            raise Refusal(503, text) from None
        return future

    def stop(self) -> None:
        """End the thread after the jobs that wait."""
        self.jobs.put(None)
        self.thread.join()

    def _work(self) -> None:
        """Take what has gathered, answer it, and begin again; waiting for more would only delay."""
        while (job := self.jobs.get()) is not None:
            if job.asked is None:
                _deliver([(job, _called(job))])
                continue
            together, rows, other = [job], job.asked.count, None
            while rows < ROWS and other is None:
                try:
                    other = self.jobs.get_nowait()
                except queue.Empty:
                    break
                if other is not None and other.asked and other.served is job.served:
                    together.append(other)
                    rows, other = rows + other.asked.count, None
                elif other is None:  # the end; it comes again
                    self.jobs.put(None)
                    break
            _deliver(_answered(together))
            if other is not None:
                done = [(other, _called(other))] if other.asked is None else _answered([other])
                _deliver(done)


def _called(job: Job) -> object:
    try:
        return job.call() if job.call else None
    except Exception as error:  # the request's handler says what it means
        return error


def _answered(jobs: list[Job]) -> list[tuple[Job, object]]:
    """Return each job with its answer. All are requests for the same model."""
    served = jobs[0].served
    asked = [job.asked for job in jobs if job.asked]
    assert served is not None
    try:
        return list(zip(jobs, answer(served, asked), strict=True))
    except Exception as error:  # a fault of ours, which ends no thread
        return [(job, error) for job in jobs]


def _deliver(done: list[tuple[Job, object]]) -> None:
    """Hand results to the event loop: one call for all."""

    def settle(done: Iterable[tuple[Job, object]] = tuple(done)) -> None:
        for job, result in done:
            if job.future.done():
                continue
            if isinstance(result, Exception) and not (isinstance(result, Refusal) and job.asked):
                job.future.set_exception(result)
            else:
                job.future.set_result(result)

    done[0][0].future.get_loop().call_soon_threadsafe(settle)


def answers_at_once(served: Served) -> bool:
    """Return whether the event loop should answer requests for a model of a few rows itself.

    To hand a row to the thread and back takes about 100 microseconds. A small network on an array takes less.
    """
    if served.kind == "table":
        return False
    asked = Asked(np.zeros((1, served.features), np.float32), 1)
    times: list[float] = []
    for _ in range(5):
        start = time.perf_counter()
        try:
            answer(served, [asked])
        except InputError:
            return False
        times.append(time.perf_counter() - start)
    return min(times) < QUICK
