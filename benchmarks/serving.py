"""Requests of one row a second: `mlpax serve` beside the same network behind FastAPI and PyTorch.

The network of MNIST's `default` recipe. Both servers are one process of uvicorn on the loopback; wrk sends
from the cores beside them, to one server after the other in each round: first as fast as 32 connections can,
then at half of what the server took, as 64 connections that each wait an exponentially distributed time
before a request (wrk has no rate; its latencies count from the sending). The answers of both are compared
before. The record also has what a call of the model takes for 1 and for 64 rows: why requests share calls.

`python -m benchmarks.serving [--rounds 5] [--seconds 5]`; wrk: `apt-get install wrk`
"""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import mnist, settings
from benchmarks.record import Record, ratios, summary

CONNECTIONS = 32, 64  # at full and at half load
SECONDS = 5
MOST = 20  # milliseconds of the 99th percentile at half load
LEAST = 1.5  # times the peer's requests a second
SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local file = io.open(os.getenv("BODY"), "rb")
wrk.body = file:read("*a")
file:close()
local mean = tonumber(os.getenv("WAIT"))
if mean > 0 then
  function delay() return -math.log(1 - math.random()) * mean end
end
"""
UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def server(command: list[str], port: int) -> Generator[int]:
    """Run a server until it answers, and end it."""
    process = subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/openapi.json").close()
                break
            time.sleep(0.1)
        else:
            raise RuntimeError(f"{' '.join(command)} does not answer after 30 seconds")
        yield process.pid
    finally:
        process.terminate()
        process.wait(60)


def ask(port: int, body: bytes) -> dict[str, Any]:
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/predict", body, headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["predictions"][0]


def wrk(folder: Path, port: int, connections: int, wait: float, seconds: int) -> tuple[float, float, float]:
    """Return the requests a second, and the median and 99th percentile of the latency in milliseconds."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--latency", "-s", str(folder / "post.lua")]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/predict"], capture_output=True, text=True, check=True,
        env=os.environ | {"BODY": str(folder / "body.json"), "WAIT": str(wait)},
    )  # fmt: skip
    text = done.stdout
    if "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(text)
    rate = float(re.findall(r"Requests/sec:\s+([\d.]+)", text)[0])
    latency = dict(re.findall(r"^\s+(50|99)%\s+(\S+)$", text, re.MULTILINE))
    p50, p99 = (
        float(latency[p].rstrip("mus")) * UNITS[latency[p].lstrip("0123456789.")] for p in ("50", "99")
    )
    return rate, p50, p99


def half(folder: Path, port: int, full: float, seconds: int) -> tuple[float, float, float]:
    """Return the same at half of a load."""
    wait = 1000 * CONNECTIONS[1] / (full / 2)  # milliseconds; the answer itself takes little of them
    return wrk(folder, port, CONNECTIONS[1], wait, seconds)


def calls(folder: Path) -> dict[str, dict[str, float]]:
    """Return the microseconds that a call of a picture's and of a table's model takes, for 1 and 64 rows."""
    from threadpoolctl import threadpool_limits

    from mlpax import load
    from mlpax.serve.requests import Asked, answer, asked_in_json
    from mlpax.serve.served import Served

    picture, table = (Served(load(folder / name), folder / name) for name in ("mnist", "table"))
    takes: Any = table.takes
    record = {column["name"]: column["default"] for column in takes["columns"]}
    asked = {
        "picture": (picture, Asked(np.zeros((1, 784), np.float32), 1)),
        "table": (table, asked_in_json(table, json.dumps({"records": [record]}).encode(), 1)),
    }
    found: dict[str, dict[str, float]] = {}
    with threadpool_limits(1, "blas"):
        for name, (served, one) in asked.items():
            for rows in (1, 64):
                times: list[float] = []
                for _ in range(100):
                    start = time.perf_counter()
                    answer(served, [one] * rows)
                    times.append(time.perf_counter() - start)
                found.setdefault(name, {})[str(rows)] = round(float(np.median(times)) * 1e6, 1)
    return found


def write_table(path: Path) -> None:
    """Write a table of 4 numbers and 2 categories."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 4)).round(3)
    lines = ["a,b,c,d,e,f,y"]
    for row in X:
        e, f = rng.choice(["red", "green", "blue"]), rng.choice(["yes", "no"])
        lines.append(f"{','.join(map(str, row))},{e},{f},{row.sum() + (f == 'yes'):.3f}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    options = settings(__doc__, 5)
    seconds = 2 if options.quick else SECONDS
    if not shutil.which("wrk"):
        sys.exit("wrk is missing; apt-get install wrk")
    with tempfile.TemporaryDirectory() as name, Record("serving", options) as results:
        folder = Path(name)
        (folder / "post.lua").write_text(SCRIPT)
        body = json.dumps({"rows": mnist().X_test[:1].tolist()}).encode()
        (folder / "body.json").write_bytes(body)
        write_table(folder / "table.csv")
        for data, run in (("mnist", "mnist"), (folder / "table.csv", "table")):
            command = ["train", str(data), "--out", str(folder / run), "--quiet"]
            subprocess.run([sys.executable, "-m", "mlpax", *command], check=True, stdout=subprocess.DEVNULL)
        ports = {"mlpax": free_port(), "FastAPI and PyTorch": free_port()}
        ours, theirs = ports.values()
        model = str(folder / "mnist")
        found: dict[str, dict[str, list[float]]] = {
            name: {figure: [] for figure in ("rate", "half_rate", "half_p50", "half_p99")} for name in ports
        }
        with (
            server(["mlpax", "serve", model, "--port", str(ours)], ours),
            server(["benchmarks.serving_peer", model, str(theirs)], theirs),
        ):
            one, other = ask(ours, body), ask(theirs, body)
            differ = max(abs(one["probabilities"][k] - p) for k, p in other["probabilities"].items())
            if str(one["prediction"]) != other["prediction"] or differ > 1e-4:
                sys.exit(f"the servers answer differently: {one}, {other}")
            for port in ports.values():
                wrk(folder, port, CONNECTIONS[0], 0, 1)
            for r in range(options.rounds):
                for name, port in list(ports.items())[:: 1 if r % 2 else -1]:
                    full = wrk(folder, port, CONNECTIONS[0], 0, seconds)[0]
                    for figure, value in zip(
                        found[name], (full, *half(folder, port, full, seconds)), strict=True
                    ):
                        found[name][figure].append(value)
        times = ratios(found["mlpax"]["rate"], found["FastAPI and PyTorch"]["rate"])
        for name, figures in found.items():
            results[name] = {figure: summary(values) for figure, values in figures.items()}
        results |= {
            "network": list(map(int, (784, 128, 10))),
            "connections": CONNECTIONS,
            "seconds": seconds,
            "times": times,
            "call_us": calls(folder),
        }
    p99 = results["mlpax"]["half_p99"]["median"]
    for name in ports:
        own = results[name]
        print(f"{name}: {own['rate']['median']:,.0f} requests a second; at {own['half_rate']['median']:,.0f}"
              f" a second 99 % within {own['half_p99']['median']:.1f} ms")  # fmt: skip
    print(f"times FastAPI and PyTorch: {times['median']}; a call, in microseconds: {results['call_us']}")
    if times["median"] < LEAST or p99 > MOST:
        sys.exit(f"wanted: {LEAST} times the requests, and 99 % within {MOST} ms")


if __name__ == "__main__":
    main()
