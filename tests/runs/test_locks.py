"""One writer a folder, and signals that wait."""

import fcntl
import os
import signal
import socket
import sys
import threading
import time
import types

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


@pytest.mark.parametrize("host", [socket.gethostname(), f"another-container, boot {locks._boot()}"])
def test_a_dead_processs_lock_is_taken_over_and_said(tmp_path, host):
    """Within a boot of a machine, the kernel knows whether a lock is held, in whatever container."""
    (tmp_path / LOCK).write_text(f"process 12345 on {host}")
    said = []
    with locked(tmp_path, said.append):
        this = f"process {os.getpid()} on {socket.gethostname()}, boot {locks._boot()}"
        assert (tmp_path / LOCK).read_text() == this
    name = host.partition(",")[0]
    assert said == [f"taking over from process 12345 on {name}, which has ended without finishing"]
    with locked(tmp_path, said.append):  # left in order: nothing to say
        pass
    assert len(said) == 1


def test_another_hosts_lock_is_not_ours_to_judge(tmp_path):
    (tmp_path / LOCK).write_text("process 1 on elsewhere")
    with pytest.raises(InputError, match=f"process 1 on elsewhere.*remove .*{LOCK}"), locked(tmp_path):
        pass
    assert (tmp_path / LOCK).read_text() == "process 1 on elsewhere"


def test_another_machines_lock_is_taken_over_if_nobody_renews_it(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "LEASE", 0.3)
    (tmp_path / LOCK).write_text("process 1 on elsewhere, boot 8e9a")
    said = []
    with locked(tmp_path, said.append):
        pass
    assert [text.split(" process")[0] for text in said] == [
        "watching for 0 seconds whether",
        "taking over from",
    ]


def test_another_machines_lock_that_is_renewed_is_respected(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "LEASE", 0.6)
    lock = tmp_path / LOCK
    lock.write_text("process 1 on elsewhere, boot 8e9a")
    renew = threading.Timer(0.1, os.utime, [lock])
    renew.start()
    with pytest.raises(InputError, match="is being written by process 1 on elsewhere"), locked(tmp_path):
        pass
    renew.join()
    assert lock.read_text() == "process 1 on elsewhere, boot 8e9a"


def test_a_holder_renews_its_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "LEASE", 0.3)
    with locked(tmp_path):
        before = (tmp_path / LOCK).stat().st_mtime_ns
        deadline = time.monotonic() + 5
        while (tmp_path / LOCK).stat().st_mtime_ns == before:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_holder_that_was_replaced_writes_no_more(tmp_path):
    with locked(tmp_path) as still_ours:
        (tmp_path / LOCK).write_text("process 7 on elsewhere, boot 8e9a")
        with pytest.raises(InputError, match="taken over by process 7 on elsewhere"):
            still_ours()
    assert (tmp_path / LOCK).read_text() == "process 7 on elsewhere, boot 8e9a"


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_lock_that_is_another_file_is_refused_and_left(tmp_path, link):
    diary, run = tmp_path / "diary", tmp_path / "run"
    diary.write_text("dear diary")
    run.mkdir()
    link(diary, run / LOCK)
    with pytest.raises(InputError, match=f"{LOCK} is a "), locked(run):
        pass
    assert holder(run) == ""
    assert diary.read_text() == "dear diary"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_lock_that_is_no_file_is_refused(tmp_path, make):
    make(tmp_path / LOCK)
    with pytest.raises(InputError, match=f"{LOCK} is no file; remove it"), locked(tmp_path):
        pass


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


class Msvcrt(types.ModuleType):
    """Windows's locks of bytes, as far as they are used: one for each byte of a file, in any descriptor."""

    LK_NBLCK = 2

    def __init__(self):
        super().__init__("msvcrt")
        self.held = {}

    def locking(self, file, mode, count):
        byte = os.fstat(file).st_ino, os.lseek(file, 0, os.SEEK_CUR)
        assert (mode, count) == (self.LK_NBLCK, 1)
        assert byte[1] > 1000  # Windows lets nobody read a byte that is locked
        if self.held.get(byte, file) != file and is_open(
            self.held[byte]
        ):  # closing a file releases its locks
            raise PermissionError(13, "Permission denied")
        self.held[byte] = file


def is_open(file):
    try:
        os.fstat(file)
    except OSError:
        return False
    return True


def test_windows_locks_a_byte_behind_the_text(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "msvcrt", Msvcrt())
    monkeypatch.setattr(sys, "platform", "win32")
    this = f"process {os.getpid()} on {socket.gethostname()}"
    with locked(tmp_path) as still_ours:
        still_ours()
        assert holder(tmp_path) == this
        with pytest.raises(InputError, match=f"is being written by {this}"), locked(tmp_path):
            pass
    assert (tmp_path / LOCK).read_text() == ""
    assert holder(tmp_path) == ""
    with locked(tmp_path):
        pass


def test_a_system_without_times_of_descriptors_renews_by_the_path(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "supports_fd", os.supports_fd - {os.utime})
    test_a_holder_renews_its_lock(tmp_path, monkeypatch)
