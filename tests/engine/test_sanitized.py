"""The native library under the compiler's sanitizers: memory, undefined behaviour, data races."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import mlpax.engine.native

NATIVE = Path(mlpax.engine.native.__file__).parent
DRIVER = Path(__file__).with_name("sanitized.cpp")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler"),
]


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_random_networks(sanitizer, tmp_path):
    program = tmp_path / "sanitized"
    build = ["g++", "-std=c++20", "-g", "-O1", "-fno-math-errno", "-Wno-psabi", "-pthread",
             f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all", f"-I{NATIVE}",
             str(DRIVER), str(NATIVE / "native.cpp"), "-o", str(program)]  # fmt: skip
    subprocess.run(build, check=True, timeout=600)
    for instructions in ("", "avx2", "generic"):
        environment = {k: v for k, v in os.environ.items() if k != "MLPAX_INSTRUCTIONS"}
        environment |= {"MLPAX_INSTRUCTIONS": instructions} if instructions else {}
        done = subprocess.run(
            [str(program), "1000"], env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, f"{instructions}: {done.stderr[-3000:]}"
        assert done.stdout.startswith("1000 networks")
