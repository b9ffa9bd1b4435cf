"""One writer a folder, and signals that wait."""

import fcntl
import os
import signal
import socket
import threading

import pytest

from mlpax.errors import InputError
from mlpax.runs import locks
from mlpax.runs.locks import LOCK, holder, locked, signals


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
def test_the_first_signal_is_collected_and_a_later_one_kills(number, monkeypatch):
    before = signal.getsignal(number)
    killed = []
    monkeypatch.setattr(signal, "raise_signal", lambda n: killed.append((n, signal.getsignal(n))))
    with signals() as caught:
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)  # at once: the same
        assert (caught, killed) == ([number], [])
        monkeypatch.setattr(locks, "MOMENT", -1)
        os.kill(os.getpid(), number)
        assert (caught, killed) == ([number], [(number, signal.SIG_DFL)])
    assert signal.getsignal(number) == before


def test_what_the_process_ignores_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with signals() as caught:
            os.kill(os.getpid(), signal.SIGINT)
            assert caught == []
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_torn_lock_file_names_nobody(tmp_path):
    (tmp_path / LOCK).write_bytes(b"\xff\x00\x00")
    said = []
    with locked(tmp_path, said.append):
        pass
    assert said == []


def test_a_look_refuses_no_start(tmp_path):
    with locked(tmp_path):
        pass
    with open(tmp_path / LOCK) as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        release = threading.Timer(0.03, lambda: fcntl.flock(file, fcntl.LOCK_UN))
        release.start()
        with locked(tmp_path):
            pass
        release.join()


def test_the_lock_tells_when_the_folder_was_replaced(tmp_path):
    with locked(tmp_path / "run") as still_ours:
        still_ours()
        (tmp_path / "run").rename(tmp_path / "old")
        with locked(tmp_path / "run"), pytest.raises(FileNotFoundError):
            still_ours()


def test_a_thread_has_no_signals():
    seen = []

    def work():
        with signals() as caught:
            seen.append(caught)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [[]]
