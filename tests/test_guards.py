"""One writer a folder, and signals that wait."""

import os
import signal
import socket
import threading

import pytest

from mlpax.errors import InputError
from mlpax.guards import LOCK, holder, locked, signals


def test_one_writer_at_a_time(tmp_path):
    path = tmp_path / "new" / "run"
    this = f"process {os.getpid()} on {socket.gethostname()}"
    assert holder(path) == ""
    with locked(path):
        assert holder(path) == this
        with (
            pytest.raises(InputError, match=this),
            locked(path),
        ):
            pass
        assert holder(path) == this
    assert holder(path) == ""
    with locked(path):
        pass


def test_a_dead_processs_lock_is_taken_over_and_said(tmp_path):
    (tmp_path / LOCK).write_text(f"process 12345 on {socket.gethostname()}")
    said = []
    with locked(tmp_path, said.append):
        assert (tmp_path / LOCK).read_text() == f"process {os.getpid()} on {socket.gethostname()}"
    assert said == [
        f"taking over from process 12345 on {socket.gethostname()}, which has ended without finishing"
    ]
    with locked(tmp_path, said.append):  # left in order: nothing to say
        pass
    assert len(said) == 1


def test_another_hosts_lock_is_not_ours_to_judge(tmp_path):
    (tmp_path / LOCK).write_text("process 1 on elsewhere")
    with pytest.raises(InputError, match=f"process 1 on elsewhere.*remove .*{LOCK}"), locked(tmp_path):
        pass
    assert (tmp_path / LOCK).read_text() == "process 1 on elsewhere"


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write to .*file"), locked(tmp_path / "file" / "run"):
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_collected_and_the_second_kills(number):
    before = signal.getsignal(number)
    with signals() as caught:
        os.kill(os.getpid(), number)
        assert caught == [number]
        assert signal.getsignal(number) == signal.SIG_DFL
    assert signal.getsignal(number) == before


def test_a_thread_has_no_signals():
    seen = []

    def work():
        with signals() as caught:
            seen.append(caught)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [[]]
