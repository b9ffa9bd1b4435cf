"""Files with faults, thousands of each kind, opened under a limit of memory and time.

Each attack changes a file and opens it. The answer must be a value, equal to what the file says, or an error
of ours in one line. Attacks run in worker processes of 2 GB; one that dies or takes more than 10 seconds is a
failure, and another worker goes on. The script writes seed, count, seconds, outcomes and commit; it fails if
an attack had another end.

`python -m benchmarks.hostile --what models [--count 20000] [--seed 0] [--workers 2]`
"""

import argparse
import collections
import importlib
import multiprocessing
import queue
import random
import resource
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.record import Record, commit

ROOT = Path(__file__).parents[1]
KINDS = {  # the function of a rng and a folder that returns "a value" or "our error"; the usual count
    "models": ("tests/model", "mutants_of_models", "attack", 20_000),
    "runs": ("tests/runs", "mutants_of_runs", "folder", 5_000),
    "checkpoints": ("tests/runs", "mutants_of_runs", "checkpoint", 5_000),
    "tables": ("tests/data", "mutants", "attack", 5_000),
}
MEMORY = 2 * 1024**3  # bytes of data that a worker may hold; threads' untouched stacks are no data
SECONDS = 10
PATIENCE = 60  # seconds in which a worker starts


def serve(pipe: Connection, what: str) -> None:
    """Answer each seed with how its attack ended, until there are no more."""
    folder, module, name, _ = KINDS[what]
    sys.path[:0] = [str(ROOT / folder), str(ROOT / "tests")]
    attack: Any = getattr(importlib.import_module(module), name)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    pipe.send("ready")
    while (seed := pipe.recv()) is not None:
        with tempfile.TemporaryDirectory() as place:
            try:
                pipe.send((str(attack(random.Random(seed), Path(place))), ""))
            except AssertionError as error:
                pipe.send(("wrong", str(error)[:500]))
            except BaseException as error:  # an attack asserts what it finds; whatever else it raises is one
                pipe.send(("wrong", f"{type(error).__name__}: {error}"[:500]))


class Worker:
    """A process that attacks, and is replaced when it dies or hangs."""

    def __init__(self, what: str):
        self.what = what
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, self.what), daemon=True)
        self.process.start()
        theirs.close()
        if not self.pipe.poll(PATIENCE):
            raise RuntimeError("a worker does not start")
        self.pipe.recv()

    def attack(self, seed: int) -> tuple[str, str]:
        """Return how the attack of a seed ended, and what is to be said of it."""
        self.pipe.send(seed)
        try:
            if self.pipe.poll(SECONDS):
                end = self.pipe.recv()
                if self.memory() > MEMORY // 4:
                    self.stop()
                    self.start()
                return end
            why = f"more than {SECONDS} seconds"
        except (EOFError, ConnectionError):
            self.process.join(SECONDS)
            why = f"the process died with {self.process.exitcode}"
        self.process.kill()
        self.process.join()
        self.start()
        return "wrong", why

    def memory(self) -> int:
        """Return the bytes of its data; polars keeps some of each file that it refuses."""
        facts = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(facts.partition("VmData:")[2].split()[0]) * 1024

    def stop(self) -> None:
        self.pipe.send(None)
        self.process.join(SECONDS)


def run(what: str, seeds: range, workers: int) -> tuple[collections.Counter[str], list[str]]:
    """Attack with each seed, and return the outcomes and what went wrong."""
    from concurrent.futures import ThreadPoolExecutor

    free: queue.Queue[Worker] = queue.Queue()
    for _ in range(workers):
        free.put(Worker(what))

    def one(seed: int) -> tuple[int, str, str]:
        worker = free.get()
        try:
            return seed, *worker.attack(seed)
        finally:
            free.put(worker)

    ends, wrong = collections.Counter[str](), list[str]()
    with ThreadPoolExecutor(workers) as pool:
        for seed, how, why in pool.map(one, seeds):
            ends[how] += 1
            if how == "wrong":
                wrong.append(f"{seed}: {why}")
    for _ in range(workers):
        free.get().stop()
    return ends, wrong


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--what", choices=KINDS, required=True)
    parser.add_argument("--count", type=int, help="attacks; 20,000 models or 5,000 of the others by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="write no record")
    options = parser.parse_args()
    options.threads = options.workers
    count = options.count or KINDS[options.what][3]
    start = time.perf_counter()
    with Record(f"hostile_{options.what}", options) as results:
        ends, wrong = run(options.what, range(options.seed, options.seed + count), options.workers)
        results |= {
            "seed": options.seed,
            "count": sum(ends.values()),
            "seconds": round(time.perf_counter() - start, 1),
            "commit": commit(),
            "limits": {"memory_bytes": MEMORY, "seconds": SECONDS},
            "outcomes": dict(ends),
            "wrong": wrong,
        }
    print(f"{count} {options.what}: {dict(ends)}")
    if wrong:
        sys.exit("\n".join(wrong[:20]))


if __name__ == "__main__":
    main()
