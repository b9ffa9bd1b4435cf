"""Two processes, over loopback, train the run that one process with two devices trains."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import polars as pl
import pytest

SETTINGS = ["digits", "--hidden", "16", "--epochs", "20", "--quiet"]


def command(*words):
    return [sys.executable, "-m", "mlpax", "train", *words]


def start(folder, *words, out="run", own=((), ())):
    """Return the processes, the first one first; `own` are the words that one of them alone gets."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    where = ["--coordinator", address, "--processes", str(len(own)), "--out", out]
    return [
        subprocess.Popen(command(*words, *where, *more, "--process", str(k)), cwd=folder, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for k, more in enumerate(own)
    ]  # fmt: skip


def ended(processes):
    """Return the exit codes, and what the processes have printed to stdout and to stderr."""
    try:
        said = [process.communicate(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [p.returncode for p in processes], [out for out, _ in said], [err for _, err in said]


def losses(run, names=("loss", "train_accuracy")):
    with open(run / "metrics.csv") as file:
        return [[float(row[name]) for name in names] for row in csv.DictReader(file)]


@pytest.mark.slow
def test_two_processes_train_as_one_with_two_devices(tmp_path):
    codes, printed, said = ended(start(tmp_path, *SETTINGS))
    assert codes == [0, 0], said
    assert printed == ["run\n", ""]  # the first one alone speaks
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    one = command(*SETTINGS, "--devices", "2", "--out", "one")
    subprocess.run(one, cwd=tmp_path, check=True, capture_output=True, env=os.environ | {"XLA_FLAGS": flags})
    together, alone = losses(tmp_path / "run"), losses(tmp_path / "one")
    assert len(together) == 20
    assert (
        max(abs(a - b) for x, y in zip(together, alone, strict=True) for a, b in zip(x, y, strict=True))
        < 1e-6
    )


@pytest.mark.slow
def test_two_processes_train_on_chunks_as_one_with_two_devices(tmp_path):
    g, parts = np.random.default_rng(0), tmp_path / "parts"
    parts.mkdir()
    for k in range(2):
        x = g.standard_normal((20_000, 8))
        frame = pl.DataFrame(
            {f"x{i}": x[:, i] for i in range(8)} | {"y": np.where(x[:, 0] > x[:, 1], "a", "b")}
        )
        frame.write_parquet(parts / f"{k}.parquet")
    settings = ["parts", "--target", "y", "--members", "1", "--epochs", "2", "--hidden", "8", "--batch-size",
                "512", "--memory", "4MB", "--quiet"]  # fmt: skip
    codes, printed, said = ended(start(tmp_path, *settings, "--cache", "shared"))
    assert codes == [0, 0], said
    assert printed == ["run\n", ""]
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    one = command(*settings, "--devices", "2", "--out", "one", "--cache", "own")
    subprocess.run(one, cwd=tmp_path, check=True, capture_output=True, env=os.environ | {"XLA_FLAGS": flags})
    names = ("loss", "valid_accuracy", "valid_log_loss")
    together, alone = (losses(tmp_path / run, names) for run in ("run", "one"))
    assert len(together) == len(alone) > 2  # several chunks a pass
    assert np.abs(np.subtract(together, alone)).max() < 1e-6
    assert len(list((tmp_path / "shared").glob("*/part-*/train-floats.bin"))) == 2
    fingerprints = [
        json.loads((tmp_path / run / "config.json").read_text())["fingerprint"] for run in ("run", "one")
    ]
    assert fingerprints[0] == fingerprints[1]


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_other_and_the_same_command_goes_on(tmp_path, victim):
    settings = [*SETTINGS, "--epochs", "300"]
    processes = start(tmp_path, *settings)
    checkpoints = tmp_path / "run" / "checkpoints"
    until = time.monotonic() + 240
    while not any(checkpoints.glob("epoch-*.npz")) and time.monotonic() < until:
        time.sleep(0.05)
    processes[victim].send_signal(signal.SIGKILL)
    codes, _, said = ended(processes)
    assert codes[victim] == -signal.SIGKILL
    assert codes[1 - victim] != 0
    if victim == 1:
        assert "mlpax: process 0 of 2 lost another" in said[0]
        assert said[0].rstrip().endswith("start all processes again by the same command")
    codes, _, said = ended(start(tmp_path, *settings))
    assert codes == [0, 0], said
    assert ended(start(tmp_path, *settings, out="whole"))[0] == [0, 0]
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    weights = [(tmp_path / run / "model.safetensors").read_bytes() for run in ("run", "whole")]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_what_one_process_refuses_all_refuse(tmp_path):
    codes, _, said = ended(start(tmp_path, *SETTINGS, own=[["--seed", "0"], ["--seed", "1"]]))
    assert codes == [2, 2], said
    for line in said:
        assert "process 1 has other settings than process 0; give all processes the same command" in line
    assert not (tmp_path / "run").exists()
