"""Several processes: what is refused before they meet, and what one process alone does."""

import socket
import subprocess
import sys

import pytest

from mlpax import hosts
from mlpax.errors import InputError


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"processes": 2}, "processes and process need the address of process 0, as --coordinator HOST:PORT"),
        ({"distributed": "slurm"}, "unknown distributed 'slurm'; choose one of: auto"),
        ({"distributed": "auto", "process": 1}, "distributed auto asks the launcher; leave out"),
        ({"coordinator": "127.0.0.1:7"}, "coordinator 127.0.0.1:7 needs the number of processes, and which"),
        ({"coordinator": "127.0.0.1:7", "processes": 1, "process": 0}, "processes 1 are not several"),
        ({"coordinator": "127.0.0.1:7", "processes": 2, "process": 2}, "process 2 of 2 is none; choose 0"),
        ({"coordinator": "127.0.0.1", "processes": 2, "process": 0}, "'127.0.0.1' is no address; write HOST"),
        ({"coordinator": "h.invalid:7", "processes": 2, "process": 1}, "no host 'h.invalid' is known"),
        ({"coordinator": "192.0.2.1:7", "processes": 2, "process": 0}, "192.0.2.1 is not this host"),
    ],
)  # fmt: skip
def test_processes_that_cannot_meet_are_refused(given, said):
    with pytest.raises(InputError) as error:
        hosts.join(**given)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_coordinator_that_does_not_answer_is_named_with_the_seconds():
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(
        InputError, match=rf"{address} did not answer within 1 seconds \(Connection refused\)"
    ):
        hosts.join(coordinator=address, processes=2, process=1, wait=1)


def test_a_port_that_is_taken_is_refused():
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            InputError, match=f"port {port} of this host: Address already in use; choose another"
        ):
            hosts.join(coordinator=f"127.0.0.1:{port}", processes=2, process=0)


def test_a_host_whose_name_means_loopback_is_refused(monkeypatch):
    """gloo would announce 127.0.1.1 to the other hosts."""
    monkeypatch.setattr(socket, "gethostname", lambda: "host1")
    monkeypatch.setattr(socket, "gethostbyname", lambda name: "127.0.1.1")
    with pytest.raises(InputError, match=r"name 'host1' means 127.0.1.1 to it, .* into /etc/hosts"):
        hosts.join(coordinator="192.0.2.1:7", processes=2, process=1, wait=1)


def test_tasks_that_train_each_for_itself_are_told(monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    monkeypatch.setenv("SLURM_PROCID", "2")
    said = []
    hosts.join(notice=said.append)
    assert said == [
        "SLURM has started 4 processes, and this one, 2, trains a network of its own;"
        " to train one together, add --distributed auto"
    ]


def test_without_a_launcher_auto_is_refused():
    """In a process of its own, since JAX can be told only before its first use."""
    code = """
from mlpax import hosts
from mlpax.errors import InputError
try:
    hosts.join("auto", wait=5)
except InputError as error:
    print(error)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout.startswith("distributed auto finds no launcher: neither SLURM"), ran.stderr
    assert ran.stdout.count("\n") == 1


def test_a_process_that_waits_in_vain_says_so_and_ends():
    """JAX would abort the process, with a trace of C++ functions."""
    where = ["--coordinator", f"127.0.0.1:{free_port()}", "--processes", "2", "--process", "0", "--wait", "1"]
    command = [sys.executable, "-m", "mlpax", "train", "digits", "--out", "never-made", *where]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 2
    assert "mlpax: not all processes came within 1 seconds; start all" in ran.stderr


def test_a_process_alone_loads_no_jax():
    code = """
import sys
from mlpax import hosts
hosts.join()
hosts.all_equal({"data": "a"})
with hosts.leading(), hosts.told_of_the_lost(""):
    print(hosts.count(), hosts.index(), hosts.any_of(True), hosts.from_first(b"x"), "jax" in sys.modules)
hosts.leave(2)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ran.stdout, ran.returncode) == ("1 0 True b'x' False\n", 0), ran.stderr
