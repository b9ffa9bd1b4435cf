"""Mutated tables and arrays: a value or our error in one line, in bounded memory and time."""

import ast
import collections
import os
import subprocess
import sys
from pathlib import Path

import pytest

MUTANTS = Path(__file__).with_name("mutants.py")


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of memory is Linux's")
@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_mutants_give_a_value_or_our_error(count):
    path = os.pathsep.join([str(MUTANTS.parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"POLARS_MAX_THREADS": "2", "PYTHONPATH": path}
    outcomes = collections.Counter()
    while (first := outcomes.total()) < count:
        command = [sys.executable, "-W", "ignore", str(MUTANTS), str(first), str(count)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        outcomes.update(ast.literal_eval(done.stdout))
    assert outcomes["a value"] > count // 10
