"""A file is whole or not there, and is never another."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from mlpax.atomic import TEMPORARY, atomic, check_folder, own
from mlpax.errors import InputError


def test_the_name_appears_with_the_whole_content(tmp_path):
    path = tmp_path / "f"
    with atomic(path) as file:
        file.write(b"one")
        file.flush()
        assert [p.name.endswith(TEMPORARY) for p in tmp_path.iterdir()] == [True]
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "f"
    path.write_bytes(b"old")

    def write():
        with atomic(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        write()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match=r"there is no such folder: '.*nowhere'"),
        atomic(tmp_path / "nowhere" / "f"),
    ):
        pass


def test_threads_that_save_under_one_name_leave_one_whole_file(tmp_path):
    path = tmp_path / "f"

    def save(n):
        with atomic(path) as file:
            for _ in range(50):
                file.write(bytes([n]) * 1000)
                file.flush()

    def whole():
        with open(path, "rb") as file:
            return len(set(file.read())) == 1

    save(0)
    with ThreadPoolExecutor(4) as pool:
        saves = [pool.submit(save, n) for n in range(60)]
        assert all(whole() for _ in range(200))
        for done in saves:
            done.result()
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_has_the_mode_of_the_one_before(tmp_path):
    def mode_after(mask):
        before = os.umask(mask)
        try:
            with atomic(tmp_path / "f") as file:
                file.write(b"x")
        finally:
            os.umask(before)
        return stat.S_IMODE((tmp_path / "f").stat().st_mode)

    assert mode_after(0o027) == 0o640
    (tmp_path / "f").chmod(0o600)
    assert mode_after(0o022) == 0o600


def test_nothing_that_lies_in_wait_is_written_to(tmp_path, monkeypatch):
    """A temporary name that can be guessed, as earlier ones could, may be a link to another file."""
    (tmp_path / "diary").write_text("dear diary")
    (tmp_path / "f").symlink_to("diary")
    monkeypatch.setattr("secrets.token_hex", lambda n: "guessed")
    (tmp_path / f".guessed.{os.getpid()}{TEMPORARY}").symlink_to("diary")
    with pytest.raises(FileExistsError), atomic(tmp_path / "f") as file:
        file.write(b"x")
    monkeypatch.undo()
    with atomic(tmp_path / "f") as file:
        file.write(b"x")
    assert (tmp_path / "diary").read_text() == "dear diary"
    assert (tmp_path / "f").read_bytes() == b"x"
    assert not (tmp_path / "f").is_symlink()


def test_a_name_of_any_length_is_written(tmp_path):
    with atomic(tmp_path / ("n" * 255)) as file:
        file.write(b"x")
    assert [len(p.name) for p in tmp_path.iterdir()] == [255]


def test_own_opens_the_file_itself_alone(tmp_path):
    (tmp_path / "file").write_bytes(b"ours")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    with open(own(tmp_path / "file"), "rb") as file:
        assert file.read() == b"ours"
    for name, words in (("link", "is a link"), ("pipe", "is no file"), (".", "is no file")):
        with pytest.raises(InputError, match=words):
            own(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        own(tmp_path / "nothing")
    os.link(tmp_path / "file", tmp_path / "second")
    os.close(own(tmp_path / "second"))  # reading harms no other name
    with pytest.raises(InputError, match="second name"):
        own(tmp_path / "second", os.O_RDWR)


def test_a_link_is_refused_where_the_system_would_follow_it(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "O_NOFOLLOW")  # as on Windows
    test_own_opens_the_file_itself_alone(tmp_path)


def test_a_folder_that_is_a_link_or_a_file_is_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    (tmp_path / "file").write_bytes(b"")
    check_folder(tmp_path / "folder")
    check_folder(tmp_path / "nothing")
    with pytest.raises(InputError, match="is a link"):
        check_folder(tmp_path / "link")
    with pytest.raises(InputError, match="is no folder"):
        check_folder(tmp_path / "file")
