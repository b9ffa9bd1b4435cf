"""Training on a device by its name."""

import json
import os
import subprocess
import sys

import pytest

from mlpax.engine.devices import backend_on, on_device
from mlpax.errors import InputError


def test_only_xla_trains_elsewhere_than_on_the_cpu():
    assert [backend_on(None), backend_on("cpu"), backend_on("cpu", "native")] == ["auto", "auto", "native"]
    assert [backend_on("gpu"), backend_on("cpu:1"), backend_on("gpu", "xla")] == ["xla"] * 3
    with pytest.raises(InputError, match="backend 'native' trains on the cpu, not on gpu:1; leave out one"):
        backend_on("gpu:1", "native")


def test_a_device_that_is_not_there_is_told():
    with pytest.raises(InputError, match="JAX has no 'gpu' here; it has cpu"), on_device("gpu"):
        pass


def test_the_cpu_alone_does_not_load_jax():
    code = """
import sys
from mlpax.engine.devices import on_device
with on_device("cpu"):
    print("jax" in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


def test_a_run_trains_on_the_second_device_to_the_same_weights(tmp_path):
    """Two devices of the CPU; where the arrays of the training lie is recorded by a callback."""
    code = """
import json, jax, mlpax
jax.config.update("jax_compilation_cache_dir", None)
where, runs = set(), {}
def look(record):
    where.update(d.id for array in jax.live_arrays() for d in array.devices())
for device in ("cpu:1", "cpu:0"):
    seen = len(where)
    run = mlpax.train("digits", hidden=8, epochs=2, device=device, out=device[-1], callbacks=[look])
    if device == "cpu:1":
        first = sorted(where)
    runs[device] = (run.path / "model.safetensors").read_bytes()
print(json.dumps([first, sorted(where), runs["cpu:1"] == runs["cpu:0"], run.config.backend]))
"""
    env = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=env)
    assert json.loads(ran.stdout) == [[1], [0, 1], True, "xla"], ran.stderr
