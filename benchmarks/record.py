"""The record of a benchmark: hardware, versions, other load and results, as one JSON file."""

import argparse
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("mlpax", "jax", "jaxlib", "optax", "numpy", "scikit-learn", "torch", "flax", "keras")


def summary(values: Sequence[float], digits: int = 4) -> dict[str, Any]:
    """Median, spread and every single value."""
    q1, median, q3 = (round(float(q), digits) for q in np.percentile(values, (25, 50, 75)))
    each = [round(float(v), digits) for v in values]
    low, high = min(each), max(each)
    return {"n": len(each), "median": median, "min": low, "max": high, "q1": q1, "q3": q3, "values": each}


def ratios(theirs: Sequence[float], ours: Sequence[float]) -> dict[str, Any]:
    """How many times ours goes into theirs, round by round."""
    return summary([t / o for t, o in zip(theirs, ours, strict=True)], 3)


def in_lines(content: object) -> str:
    """Return JSON with a line for each list of numbers."""
    text = json.dumps(content, indent=1)
    return re.sub(r"\[[-\d.,\s]+\]", lambda found: " ".join(found[0].split()), text) + "\n"


def hardware() -> dict[str, Any]:
    """What it ran on, without anything that names the machine."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    simd = ""
    if info.exists():
        text = info.read_text()
        found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
        cpu = found[1] if found else cpu
        simd = next((name for name in ("avx512f", "avx2", "avx", "asimd") if f" {name}" in text), "")
    device = jax.devices()[0]
    return {
        "cpu": cpu,
        "simd": simd,
        "cores": os.cpu_count(),
        "device": "cpu" if device.platform == "cpu" else device.device_kind,
        "os": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def commit() -> str:
    """The short hash of the commit that runs."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, cwd=RESULTS, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def processor_time() -> tuple[float, float, float]:
    """Seconds of all cores so far: passed, worked, and worked for this process and its children."""
    ticks = [int(t) for t in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle, second = ticks[3] + ticks[4], os.sysconf("SC_CLK_TCK")
    own = os.times()
    mine = own.user + own.system + own.children_user + own.children_system
    return sum(ticks) / second, (sum(ticks) - idle) / second, mine


def results_file(name: str, device: str) -> Path:
    device = re.sub(r"\W+", "-", device.lower()).strip("-")
    return RESULTS / f"{name}-{device}.json"


class Record:
    """Around a benchmark: `with Record(name, options) as results: results[...] = ...`."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        self.name, self.options = name, options
        self.results: dict[str, Any] = {}

    def __enter__(self) -> dict[str, Any]:
        self.load = [round(v, 2) for v in os.getloadavg()]
        self.before = processor_time() if Path("/proc/stat").exists() else None
        return self.results

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.write()

    def write(self) -> None:
        """Write the file; a long benchmark may before its end, to keep what it has."""
        share = None  # of all cores' time, taken by other processes during the run
        if self.before:
            passed, worked, own = (b - a for a, b in zip(self.before, processor_time(), strict=True))
            share = round(max(0.0, worked - own) / max(passed, 0.01), 3)  # a clock of hundredths
        machine = hardware()
        content = {
            "benchmark": self.name,
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "hardware": machine,
            "threads": self.options.threads,
            "load": {
                "average_before": self.load,
                "average_after": [round(v, 2) for v in os.getloadavg()],
                "other_processes": share,
            },
            "results": self.results,
        }
        text = in_lines(content)
        if not self.options.quick:
            RESULTS.mkdir(exist_ok=True)
            path = results_file(self.name, machine["device"])
            path.write_text(text)
            print(f"benchmarks/results/{path.name}")
