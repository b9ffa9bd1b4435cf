"""A file is whole or not there."""

import pytest

from mlpax.atomic import TEMPORARY, atomic


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
