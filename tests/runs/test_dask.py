"""A sweep on dask's workers: the same leaderboard, whoever is killed."""

import csv
import os
import signal
import subprocess
import sys
import time

import pytest

import mlpax
from mlpax.data.dataset import from_arrays
from mlpax.data.reading import Reading
from mlpax.data.sources import Wanted, source
from mlpax.errors import InputError

distributed = pytest.importorskip("distributed")

SWEEP = """
import sys
import mlpax
def on_progress(progress):
    print(progress.rung, progress.done, flush=True)
out, address = sys.argv[1:]
where = {"executor": "dask", "address": address} if address else {}
mlpax.sweep("digits", out=out, learning_rate="0.01:1:log", trials=40, hidden=[(32,), (48,)], epochs=120,
            halving=True, monitor="valid_log_loss", refit=False, on_progress=on_progress, **where)
"""


def start(*words):
    environment = os.environ | {"MLPAX_THREADS": "1", "DASK_DISTRIBUTED__LOGGING__DISTRIBUTED": "error"}
    return subprocess.Popen(
        [sys.executable, *map(str, words)], stdout=subprocess.PIPE, text=True, env=environment
    )


def board(path):
    rows = csv.DictReader((path / "leaderboard.csv").read_text().splitlines())
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.fixture
def cluster(tmp_path):
    """A scheduler on loopback, its address, and two workers of a thread each."""
    file = tmp_path / "scheduler.json"
    loopback = ["--host", "tcp://127.0.0.1", "--no-dashboard"]
    scheduler = start(
        "-m", "distributed.cli.dask_scheduler", "--port", 0, "--scheduler-file", file, *loopback
    )
    own = ["--nthreads", 1, "--no-nanny", *loopback, "--scheduler-file", file, "--local-directory", tmp_path]
    workers = [start("-m", "distributed.cli.dask_worker", *own) for _ in range(2)]
    try:
        with distributed.Client(scheduler_file=str(file), timeout=60) as client:
            client.wait_for_workers(2, timeout=60)
            yield client.scheduler.address, workers, lambda: start("-m", "distributed.cli.dask_worker", *own)
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.communicate()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    path = tmp_path_factory.mktemp("sweep") / "local"
    process = start("-c", SWEEP, path, "")
    process.communicate()
    assert process.returncode == 0
    return board(path)


def test_a_killed_worker_loses_nothing(cluster, tmp_path, unbroken):
    address, workers, _ = cluster
    process = start("-c", SWEEP, tmp_path / "s", address)
    assert process.stdout.readline() == "1 16\n"
    workers[0].send_signal(signal.SIGKILL)
    lines = process.communicate(timeout=120)[0].splitlines()
    assert process.returncode == 0
    assert [line.split()[0] for line in lines] == ["1", "1", "2", "3", "4"]
    assert board(tmp_path / "s") == unbroken
    journal = (tmp_path / "s" / "journal.jsonl").read_text().splitlines()
    assert len(journal) == 6


def test_data_that_all_their_workers_have_lost_are_sent_again(cluster, tmp_path, unbroken):
    address, workers, another = cluster
    process = start("-c", SWEEP, tmp_path / "s", address)
    process.stdout.readline()
    for worker in workers:
        worker.send_signal(signal.SIGKILL)
    workers.append(another())
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert board(tmp_path / "s") == unbroken


def test_driver_and_workers_killed(cluster, tmp_path, unbroken):
    """The same command goes on, and runs no finished group again."""
    address, workers, another = cluster
    process = start("-c", SWEEP, tmp_path / "s", address)
    process.stdout.readline()
    for killed in (process, *workers):
        killed.send_signal(signal.SIGKILL)
    process.communicate()
    before = (tmp_path / "s" / "journal.jsonl").read_bytes()
    workers.append(another())
    again = start("-c", SWEEP, tmp_path / "s", address)
    again.communicate(timeout=120)
    assert again.returncode == 0
    assert board(tmp_path / "s") == unbroken
    after = (tmp_path / "s" / "journal.jsonl").read_bytes()
    assert after.startswith(before)
    assert len(after.splitlines()) == 6


def test_a_scheduler_that_does_not_answer_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("mlpax.runs.trials.WAIT", 1)
    usual = {"out": tmp_path / "s", "learning_rate": [0.1, 0.2], "executor": "dask"}
    begun = time.monotonic()
    with pytest.raises(InputError, match=r"no dask scheduler answers at 'tcp://127\.0\.0\.1:9' \(waited 1 s"):
        mlpax.sweep("digits", address="tcp://127.0.0.1:9", **usual)
    assert time.monotonic() - begun < 20
    with pytest.raises(InputError, match="no dask scheduler answers at 'nowhere'"):
        mlpax.sweep("digits", address="nowhere", **usual)
    with pytest.raises(InputError, match="executor 'dask' and an address belong together"):
        mlpax.sweep("digits", **usual)
    with pytest.raises(InputError, match="executor"):
        mlpax.sweep("digits", **usual | {"executor": "dusk"})
    monkeypatch.setitem(sys.modules, "dask.distributed", None)
    with pytest.raises(InputError, match=r"needs dask: pip install 'mlpax\[dask\]'"):
        mlpax.sweep("digits", address="tcp://127.0.0.1:9", **usual)


def test_a_data_set_goes_to_another_machine_as_arrays_and_json(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b,y\n" + "".join(f"{i},{'xyz'[i % 3]},{i % 2}\n" for i in range(40)))
    for data in (str(path), "digits"):
        dataset = source(data).to_train(Wanted(), Reading()).dataset
        again = from_arrays(*dataset.to_arrays())
        assert again.fingerprint == dataset.fingerprint
        assert (again.columns is None) == (dataset.columns is None)
        assert again.classes == dataset.classes
        assert repr(again.columns) == repr(dataset.columns)
