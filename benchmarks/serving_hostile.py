"""`mlpax serve` under malformed requests, new model files and hours of load.

For a model of pictures and one of a table: malformed requests (mutations, and those that schemathesis makes
from the OpenAPI document), then requests of all kinds for a while, in which the model file is replaced again
and again; at the end SIGTERM under load. The script fails if a malformed request had another answer than a
4xx, if any request had a 5xx or none, or if the server's memory grew. It writes seed, counts, seconds,
outcomes, memory and commit.

`python -m benchmarks.serving_hostile [--count 10000] [--minutes 30] [--replace 100] [--seed 0]`
"""

import argparse
import collections
import contextlib
import http.client
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import Record, commit
from benchmarks.serving import free_port, write_table

CLIENTS = 4
GROWTH = 1.15  # times the memory of the first tenth of the load
SAMPLE = 5.0  # seconds between two looks at the memory
TIMEOUT = 20
JSON = "application/json"
Request = tuple[bytes, str, bool]  # a body, its content type, and whether it is surely malformed


def trained(folder: Path) -> dict[str, Path]:
    """Train the models, and return their files."""
    write_table(folder / "table.csv")
    files: dict[str, Path] = {}
    for name, data in (("picture", "digits"), ("table", str(folder / "table.csv"))):
        command = [sys.executable, "-m", "mlpax", "train", data, "--quiet", "--out", str(folder / name)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        files[name] = folder / f"{name}.safetensors"
        shutil.copy(folder / name / "model.safetensors", files[name])
    return files


@contextlib.contextmanager
def server(file: Path, *more: str) -> Generator[tuple[subprocess.Popen[str], int]]:
    port = free_port()
    command = [sys.executable, "-m", "mlpax", "serve", str(file), "--port", str(port), *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield process, port
    finally:
        process.kill()
        process.communicate()


class Client:
    """A connection that is opened again when the server has closed it."""

    def __init__(self, port: int) -> None:
        self.port, self.connection = port, http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)

    def send(self, body: bytes, kind: str, path: str = "/predict", method: str = "POST") -> tuple[str, bool]:
        """Return the status, or what went wrong; and whether the server closes the connection."""
        try:
            self.connection.request(method, path, body, {"content-type": kind})
            answer = self.connection.getresponse()
            text = answer.read()
            if answer.status >= 400 and "message" not in json.loads(text)["error"]:
                return f"{answer.status} without a message", answer.will_close
            return str(answer.status), answer.will_close
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            self.connection.close()
            return type(error).__name__, True


# Requests


def picture(rng: random.Random) -> bytes:
    from PIL import Image

    pixels = np.frombuffer(rng.randbytes(24 * 24), np.uint8).reshape(24, 24)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def valid(rng: random.Random, kind: str) -> Request:
    """Return a request that the model answers."""
    rows = rng.choice((1, 1, 1, 1, 8, 200))
    if kind == "picture":
        draw = rng.random()
        if draw < 0.1:
            return picture(rng), "image/png", False
        if draw < 0.2:
            return form(picture(rng))
        body: dict[str, Any] = {"rows": [[rng.randrange(17) for _ in range(64)] for _ in range(rows)]}
    else:
        body = {"records": [record(rng) for _ in range(rows)]}
    if rows == 1 and rng.random() < 0.05:
        body["explain"] = True
    return json.dumps(body).encode(), JSON, False


def form(content: bytes) -> Request:
    """Return a picture as a browser sends the file of a form."""
    head = b'--x\r\ncontent-disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
    return head + content + b"\r\n--x--\r\n", "multipart/form-data; boundary=x", False


def record(rng: random.Random) -> dict[str, Any]:
    numbers: dict[str, Any] = {name: rng.choice((None, round(rng.gauss(0, 2), 3))) for name in "abcd"}
    return numbers | {"e": rng.choice(("red", "blue", "pink", None)), "f": rng.choice(("yes", "no"))}


WRONG: tuple[Any, ...] = (
    "x",
    "",
    [],
    {},
    [[]],
    True,
    False,
    "12",
    10**400,
    1e39,
    -1e300,
    "\ud800",
    [[[[1]]]],
    {"a": {}},
)


def malformed(rng: random.Random, kind: str) -> Request:
    """Return a request with a fault."""
    faults: tuple[Callable[[random.Random, str], Request], ...] = (
        bytes_changed,
        value_changed,
        question_changed,
        other_kind,
        nonsense,
    )
    return rng.choice(faults)(rng, kind)


def bytes_changed(rng: random.Random, kind: str) -> Request:
    """Return a request with changed, lost or added bytes, which may still be a valid one."""
    content, type, _ = valid(rng, kind)
    changed = bytearray(content)
    for _ in range(rng.randrange(1, 10)):
        where = rng.randrange(len(changed) or 1)
        match rng.randrange(3):
            case 0:
                changed[where : where + 1] = rng.randbytes(1)
            case 1:
                del changed[where : where + rng.randrange(1, 100)]
            case _:
                changed[where:where] = rng.randbytes(rng.randrange(1, 20))
    return bytes(changed), type, False


def value_changed(rng: random.Random, kind: str) -> Request:
    """Return a request with one value of a wrong type or size, or a name too many or too few."""
    wrong = rng.choice(WRONG)
    if kind == "picture":
        row: list[Any] = [rng.randrange(17) for _ in range(64)]
        match rng.randrange(4):
            case 0:
                row[rng.randrange(64)] = wrong
            case 1:
                row = row[: rng.randrange(64)]
            case 2:
                row += [0] * rng.randrange(1, 100)
            case _:
                row[rng.randrange(64)] = rng.choice((None, -1, 17, 255))
        return json.dumps({"rows": [row]}).encode(), JSON, True
    one = record(rng)
    match rng.randrange(3):
        case 0:
            one[rng.choice("abcd")] = wrong
        case 1:
            del one[rng.choice("abcdef")]
        case _:
            one[rng.choice(("g", "y", "aa", ""))] = 1
    records = [record(rng) for _ in range(rng.randrange(3))] + [one]
    return json.dumps({"records": records}).encode(), JSON, True


def question_changed(rng: random.Random, kind: str) -> Request:
    """Return a request that asks what the model does not answer: it was not trained on folds."""
    whole: dict[str, Any] = {"records": [record(rng)] * 2} if kind == "table" else {"rows": [[0] * 64] * 2}
    more = rng.choice(({"interval": 0.9}, {"interval": rng.choice(WRONG)}, {"explain": True}, {"explain": 1}))
    return json.dumps(whole | more).encode(), JSON, True


def other_kind(rng: random.Random, kind: str) -> Request:
    """Return a body that is named as another kind."""
    content = rng.choice((valid(rng, kind)[0], b"", picture(rng)))
    types = (
        "text/plain",
        "",
        "image/gif",
        "application/xml",
        "multipart/form-data",
        "application/json; x",
        "*/*",
    )
    type = rng.choice(types)
    return content, type, "json" not in type


def nonsense(rng: random.Random, kind: str) -> Request:
    """Return a body that is no request at all."""
    n = rng.randrange(1, 3000)
    bodies = (
        b"[" * n, b'{"a":' * n, b"1" * (n + 5000), rng.randbytes(n), b'{"rows": NaN}', b"null", b'"x"', b"",
        b'{"records": [{"a": 1, "a": 1}]}', b'{"rows": [[' + b"1," * (n + 100) + b"1]]}",
        b"\xff\xfe" + b"{\0}\0", b'{"records": ' + b"[{}," * n, b"{" + b" " * n,
    )  # fmt: skip
    return rng.choice(bodies), JSON, True


# Attacks


def attack(port: int, kind: str, seeds: range) -> tuple[collections.Counter[str], list[str]]:
    """Send malformed requests, and return the outcomes and what was wrong."""
    client, ends, wrong = Client(port), collections.Counter[str](), list[str]()
    for seed in seeds:
        content, type, sure = malformed(random.Random(seed), kind)
        status, _ = client.send(content, type)
        ends[status] += 1
        if not (status.startswith("4") and len(status) == 3) and (sure or status != "200"):
            wrong.append(f"{kind} {seed}: {status}")
    return ends, wrong


def from_schema(port: int, kind: str, count: int, seed: int) -> tuple[collections.Counter[str], list[str]]:
    """Send what schemathesis makes to break the OpenAPI document, and return the same."""
    import hypothesis
    import schemathesis  # pyright: ignore[reportMissingImports]

    check = hypothesis.HealthCheck
    slow = (check.too_slow, check.data_too_large, check.filter_too_much)
    ends, wrong = collections.Counter[str](), list[str]()
    schema: Any = schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/openapi.json")
    strategy = schema["/predict"]["POST"].as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)

    @hypothesis.seed(seed)
    @hypothesis.settings(max_examples=count, deadline=None, database=None, suppress_health_check=slow)
    @hypothesis.given(strategy)
    def send(case: Any) -> None:
        status = case.call(base_url=f"http://127.0.0.1:{port}", timeout=TIMEOUT).status_code
        ends[str(status)] += 1
        if status >= 500:
            wrong.append(f"{kind} schemathesis: {status} for {case.body!r}"[:300])

    send()
    return ends, wrong


class Load:
    """Clients that send requests of all kinds until they are stopped."""

    def __init__(self, port: int, kind: str, seed: int) -> None:
        self.ends, self.wrong, self.stop = collections.Counter[str](), list[str](), threading.Event()
        self.threads = [
            threading.Thread(target=self._run, args=(port, kind, seed * CLIENTS + k)) for k in range(CLIENTS)
        ]

    def _run(self, port: int, kind: str, seed: int) -> None:
        rng, client = random.Random(seed), Client(port)
        while not self.stop.is_set():
            draw = rng.random()
            if draw < 0.01:
                path = rng.choice(("/", "/model", "/metrics", "/health", "/docs", "/openapi.json"))
                status, last = client.send(b"", "", path, "GET")
                if status != "200":
                    self.wrong.append(f"{kind}: {status} for {path}")
            else:
                content, type, sure = valid(rng, kind) if draw < 0.9 else malformed(rng, kind)
                status, last = client.send(content, type)
                if draw < 0.9 and status != "200":
                    self.wrong.append(f"{kind}: {status} for a valid request")
                elif draw >= 0.9 and sure and not status.startswith("4"):
                    self.wrong.append(f"{kind}: {status} for a malformed request")
            self.ends[status] += 1
            if not (status == "200" or (status.startswith("4") and len(status) == 3)):
                self.wrong.append(f"{kind}: {status}")
            if last and self.stop.is_set():
                return

    def __enter__(self) -> "Load":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()


def memory(pid: int) -> int:
    """Return the bytes of a process that are in memory."""
    facts = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(facts.partition("VmRSS:")[2].split()[0]) * 1024


def endure(
    process: "subprocess.Popen[str]", port: int, kind: str, file: Path, options: Any
) -> dict[str, Any]:
    """Load the server for a while, replace its model meanwhile, and end it under load."""
    seconds = options.minutes * 60 / 2
    samples, replaced, start = list[int](), 0, time.monotonic()
    with Load(port, kind, options.seed) as load:
        while (passed := time.monotonic() - start) < seconds or replaced < options.replace:
            if replaced < options.replace and passed >= replaced * seconds / max(options.replace, 1):
                new = file.with_suffix(".new")
                shutil.copy(file, new)
                os.replace(new, file)
                replaced += 1
                time.sleep(1.1)  # the server looks once a second
            if not samples or passed >= len(samples) * SAMPLE:
                samples.append(memory(process.pid))
            time.sleep(0.05)
        counts = metrics(port)
        load.stop.set()
    tenth = samples[len(samples) // 20 : len(samples) // 10 + 1] or samples
    growth = max(samples[-max(1, len(samples) // 10) :]) / max(tenth)
    if growth > GROWTH:
        load.wrong.append(f"{kind}: the memory grew to {growth:.2f} times that of the start")
    taken = int(counts['mlpax_model_loads_total{outcome="taken"}'])
    if taken != replaced:
        load.wrong.append(f"{kind}: {taken} of {replaced} new models were taken up")
    ends, wrong = at_the_end(process, port, kind, options.seed)
    return {
        "outcomes": dict(load.ends),
        "replaced": replaced,
        "memory_mb": [round(sample / 1e6, 1) for sample in samples],
        "growth": round(growth, 3),
        "sigterm": dict(ends),
        "wrong": load.wrong + wrong,
    }


def metrics(port: int) -> dict[str, float]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    pairs = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


def at_the_end(
    process: "subprocess.Popen[str]", port: int, kind: str, seed: int
) -> tuple[collections.Counter[str], list[str]]:
    """Send SIGTERM while clients keep connections open, and return how their requests ended."""
    ends, wrong, started = collections.Counter[str](), list[str](), threading.Barrier(17)

    def run(k: int) -> None:
        rng, client = random.Random(seed + k), Client(port)
        client.send(*valid(rng, kind)[:2])
        started.wait()
        while True:
            status, last = client.send(*valid(rng, kind)[:2])
            ends[status] += 1
            if status != "200":
                wrong.append(f"{kind}: {status} after SIGTERM")
            if last:
                return

    threads = [threading.Thread(target=run, args=(k,)) for k in range(16)]
    for thread in threads:
        thread.start()
    started.wait()
    time.sleep(0.5)
    process.terminate()
    for thread in threads:
        thread.join()
    if (code := process.wait(TIMEOUT)) != 0:
        wrong.append(f"{kind}: exit code {code}")
    return ends, wrong


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=10_000, help="malformed requests")
    parser.add_argument("--schemathesis", type=int, default=2000, help="of them by schemathesis")
    parser.add_argument("--minutes", type=float, default=30, help="of load")
    parser.add_argument(
        "--replace", type=int, default=100, help="times that the model is replaced under load"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="write no record")
    options = parser.parse_args()
    options.threads = CLIENTS
    start, wrong = time.perf_counter(), list[str]()
    with tempfile.TemporaryDirectory() as name, Record("serving_hostile", options) as results:
        for kind, file in trained(Path(name)).items():
            with server(file) as (process, port):
                half = (options.count - options.schemathesis) // 2
                ends, bad = attack(port, kind, range(options.seed, options.seed + half))
                made, worse = from_schema(port, kind, options.schemathesis // 2, options.seed)
                found = endure(process, port, kind, file, options)
            found["wrong"] += bad + worse
            wrong += found["wrong"]
            results[kind] = found | {"malformed": dict(ends), "schemathesis": dict(made)}
            print(kind, {name: value for name, value in results[kind].items() if name != "memory_mb"})
        results |= {
            "seed": options.seed,
            "count": options.count,
            "seconds": round(time.perf_counter() - start, 1),
            "commit": commit(),
        }
    if wrong:
        sys.exit("\n".join(wrong[:20]))


if __name__ == "__main__":
    main()
