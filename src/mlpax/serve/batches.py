"""Call the model: requests that wait share a call, and only so many may wait."""

import asyncio
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from mlpax.errors import InputError
from mlpax.serve.requests import Asked, Record, Refusal, answer, asked_in_json
from mlpax.serve.served import Served

__all__ = ["Calls", "is_quick"]

ROWS = 1024  # that share a call at most
AT_ONCE = 64  # rows that the event loop answers itself, if the model is quick
QUICK = 300e-6  # seconds; to hand a call to a thread and its answer back takes about 100 microseconds
Result = TypeVar("Result")
Answers = list[Record | Refusal] | Exception


@dataclass(frozen=True)
class Job:
    """A request that waits for the model, and where its answer goes."""

    served: Served
    asked: Asked
    future: "asyncio.Future[Record | Refusal]"


class Calls:
    """The calls of the model.

    A call of many rows takes less time than many calls: for a table, 64 rows take 2.6 milliseconds, and one
    takes 1.8; for MNIST, 64 rows take 0.7, and one takes 0.08. Therefore all requests that have gathered
    share the next call. No request waits for others: while the model is idle, the call begins
    when the event loop has read what has arrived.

    Parameters
    ----------
    most : int
        Requests that may wait.
    """

    def __init__(self, most: int) -> None:
        self.most, self.others = most, 0
        self.jobs = list[Job]()
        self.thread = ThreadPoolExecutor(1, "model")
        self.explaining = ThreadPoolExecutor(1, "explanations")  # which take a hundred times longer
        self.quick = self.busy = self.planned = False

    @property
    def waiting(self) -> int:
        return len(self.jobs) + self.others

    async def answer(self, served: Served, asked: Asked) -> Record:
        """Return the answer to a request.

        Raises
        ------
        Refusal
            If the model refuses the rows; with status 503 if too many requests wait.
        """
        self._check()
        loop = asyncio.get_running_loop()
        job = Job(served, asked, loop.create_future())
        self.jobs.append(job)
        if not (self.busy or self.planned):
            self.planned = True
            loop.call_soon(self._start)
        found = await job.future
        if isinstance(found, Refusal):
            raise found
        return found

    async def run(self, function: Callable[[], Result], thread: ThreadPoolExecutor | None = None) -> Result:
        """Return what a function returns that takes long, from the thread of the calls or another."""
        self._check()
        self.others += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(thread or self.thread, function)
        finally:
            self.others -= 1

    def _check(self) -> None:
        if self.waiting >= self.most:
            raise Refusal(503, f"{self.most} requests are waiting already; send this one again in a second")

    def _start(self) -> None:
        """Answer what has gathered."""
        self.planned = False
        while self.jobs and not self.busy:
            jobs, self.jobs = _together(self.jobs)
            if self.quick and sum(job.asked.count for job in jobs) <= AT_ONCE:
                _deliver(jobs, _answers(jobs))
            else:
                self.busy = True
                running = asyncio.get_running_loop().run_in_executor(self.thread, _answers, jobs)
                running.add_done_callback(lambda done, jobs=jobs: self._end(jobs, done.result()))

    def _end(self, jobs: list[Job], found: Answers) -> None:
        self.busy = False
        _deliver(jobs, found)
        self._start()


def _together(jobs: list[Job]) -> tuple[list[Job], list[Job]]:
    """Return the first jobs, which can share a call, and the others."""
    rows = 0
    for k, job in enumerate(jobs):
        rows += job.asked.count
        if k and (rows > ROWS or job.served is not jobs[0].served):
            return jobs[:k], jobs[k:]
    return jobs, []


def _answers(jobs: list[Job]) -> Answers:
    try:
        return answer(jobs[0].served, [job.asked for job in jobs])
    except Exception as error:  # a fault of ours, which the door tells
        return error


def _deliver(jobs: list[Job], found: Answers) -> None:
    for k, job in enumerate(jobs):
        if job.future.done():  # the client has left
            continue
        if isinstance(found, Exception):
            job.future.set_exception(found)
        else:
            job.future.set_result(found[k])


def is_quick(served: Served) -> bool:
    """Return whether a call of the model takes so little time that the event loop should make it itself.

    The calls that are timed also load what the first call of a process loads.
    """
    times: list[float] = []
    try:
        asked = asked_in_json(served, json.dumps(served.example).encode(), 1)
        for _ in range(5):
            start = time.perf_counter()
            answer(served, [asked])
            times.append(time.perf_counter() - start)
    except InputError:
        return False
    return min(times) < QUICK
