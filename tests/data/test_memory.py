"""What data would take in memory is refused beyond a limit, before it is taken."""

import gzip
import os
import struct
import threading
import time
import tracemalloc
import zipfile

import numpy as np
import polars as pl
import pytest
from PIL import Image

from mlpax.data import memory
from mlpax.data.arrays import read_arrays, read_idx
from mlpax.data.csv_files import FileOptions
from mlpax.data.images import read_image_folder
from mlpax.data.memory import memory_limit, refuse_beyond, shared
from mlpax.data.reading import Reading
from mlpax.data.sources import Wanted, _is_larger, _memory_needed, source
from mlpax.data.tables import memory_needed, read_table
from mlpax.data.text import memory_of
from mlpax.errors import InputError


def says(function, *values, **named):
    with pytest.raises(InputError) as caught:
        function(*values, **named)
    return str(caught.value)


@pytest.mark.parametrize(
    ("said", "size"), [("4G", 4 * 2**30), ("1.5 GB", 3 * 2**29), ("500m", 500 * 2**20), ("7", 7)]
)
def test_a_limit_is_bytes_with_a_unit(said, size):
    assert memory_limit(said) == size


@pytest.mark.parametrize("said", ["", "0", "-1G", "4X", "G", "1e9", "9" * 40, "nan"])
def test_what_is_no_size_is_refused(said):
    assert says(Reading, memory=said).endswith("is no size; write 500M or 4G")


def test_the_limit_is_half_of_what_is_available_to_the_group(tmp_path, monkeypatch):
    machine = memory_limit(None)
    assert 2**26 < machine < 2**45
    monkeypatch.setattr(memory, "_left_in_groups", lambda: [2**26])
    assert memory_limit(None) == 2**25


def test_the_error_names_the_size_the_limit_and_the_option():
    assert says(refuse_beyond, "t.csv", 3 * 2**30, "1G") == (
        "t.csv would take about 3.0 GB of memory, and the limit is 1.0 GB; raise it, as with --memory 3.3GB"
    )


def bomb_of_text(path):
    with gzip.open(path, "wb") as file:
        file.writelines(b"1,2,3\n" * 10**6 for _ in range(10))


def bomb_of_archive(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("X.npy", "w") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f4", "fortran_order": False, "shape": (60, 10**6)}
        )
        file.writelines(bytes(4 * 10**6) for _ in range(60))


def bomb_of_idx(path):
    with gzip.open(path, "wb") as file:
        file.write(struct.pack(">HBBII", 0, 8, 2, 60, 10**6))
        file.writelines(bytes(10**6) for _ in range(60))


def bomb_of_rows(path):
    pl.select(x=pl.repeat("a", 5 * 10**6), y=pl.repeat("b", 5 * 10**6)).write_parquet(path)


def bomb_of_compressed_rows(path):
    pl.select(x=pl.repeat(0.0, 5 * 10**6), y=pl.repeat("b", 5 * 10**6)).write_ipc(path, compression="zstd")


def bomb_of_columns(path):
    path.write_bytes(b",".join(b"c%d" % i for i in range(40_000)) + b"\n" + b"1," * 39_999 + b"1\n")


def rows_of_many_columns(path):
    np.save(path, np.zeros((2, 50_000), np.uint8))


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("t.csv.gz", bomb_of_text),
        ("t.npz", bomb_of_archive),
        ("t-idx2-ubyte.gz", bomb_of_idx),
        ("t.parquet", bomb_of_rows),
        ("t.feather", bomb_of_compressed_rows),
        ("t.csv", bomb_of_columns),
        ("t.npy", rows_of_many_columns),
    ],
)
def test_a_small_file_of_large_data_is_refused_before_it_is_read(tmp_path, name, make):
    make(tmp_path / name)
    tracemalloc.start()
    line = says(read_table, tmp_path / name, FileOptions(memory="100M"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert f"{name} would take " in line
    assert "and the limit is 100 MB; raise it, as with --memory" in line
    assert peak < 100 * 2**20


def prose(rows, path):
    """A small table whose texts take 400 bytes of inputs in each row, and more while their terms are told."""
    words = np.random.default_rng(0).choice([f"{a}{b}" for a in "abcde" for b in "xyz"], (rows, 4))
    said, number = [" ".join(row) for row in words], np.arange(rows) * 0.5
    table = pl.DataFrame({"said": said, "n": number, "y": np.arange(rows) % 2})
    (table.write_parquet if path.suffix == ".parquet" else table.write_csv)(path)
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_the_inputs_of_texts_count(tmp_path, name):
    """By hand: 4 bytes for each of 100 inputs, 24 while they are told, and 50 for each of 11 characters."""
    file = prose(12_000, tmp_path / name)
    expected = 12_000 * (4 * 100 + 24 * 100 + 50 * 11)
    assert memory_of(12_000, [11.0]) == expected
    assert memory_of(10**6, [5.0, 11.0]) == 2 * 400 * 10**6 + 50_000 * (2400 + 550)
    plain, reading = memory_needed([file], FileOptions()), Reading(target="y")
    assert _memory_needed([file], reading) - plain == pytest.approx(expected, rel=0.01)
    without = Reading(target="y", column={"said": "drop"})
    assert _memory_needed([file], without) == plain
    limit = f"{plain + expected // 2}"
    assert not _is_larger("t", [file], Reading(target="y", memory="100M"))
    assert _is_larger("t", [file], Reading(target="y", memory=limit))
    assert not _is_larger("t", [file], Reading(target="y", memory=limit, column={"said": "drop"}))


def test_texts_that_take_too_much_memory_are_refused(tmp_path):
    file = prose(4000, tmp_path / "t.csv")
    line = says(source(str(file)).to_train, Wanted(), Reading(target="y", memory="10M"))
    assert line.startswith("with the words of 'said' as inputs, the table would take about 13.")
    assert line.endswith(
        "MB of memory, and the limit is 10.0 MB; leave out a column, as with --drop said, or raise the limit,"
        " as with --memory 14.4MB"
    )
    ready = source(str(file)).to_train(Wanted(), Reading(target="y", memory="10M", column={"said": "drop"}))
    assert ready.dataset.columns.dense == 1


def test_a_member_holds_what_its_header_states(tmp_path):
    with zipfile.ZipFile(tmp_path / "t.npz", "w") as archive, archive.open("X.npy", "w") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f4", "fortran_order": False, "shape": (2, 10**13)}
        )
        file.write(bytes(100))
    line = says(read_arrays, tmp_path / "t.npz")
    assert "X.npy states the shape (2, 10000000000000), 80000000000000 bytes, but holds 100" in line


def test_the_option_reaches_every_reader(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    np.save(tmp_path / "t.npy", np.zeros((1000, 1000), np.uint8))
    assert "limit is 1.0 MB" in says(source, str(tmp_path / "t.npy"), memory="1M")
    read_idx_of = tmp_path / "t-idx2-ubyte"
    read_idx_of.write_bytes(struct.pack(">HBBII", 0, 8, 2, 1000, 1000) + bytes(10**6))
    assert "limit is 1.0 MB" in says(read_idx, read_idx_of, "1M")
    for k in range(4):
        file = tmp_path / "pictures" / "ab"[k % 2] / f"{k}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (1000, 1000), k).save(file)
    pictures = source(str(tmp_path / "pictures"))
    line = says(pictures.to_train, Wanted(), Reading(memory="5M"))
    assert "0.png would take about 19.1 MB of memory, and the limit is 5.0 MB" in line
    read_image_folder(tmp_path / "pictures", memory="30M")


def test_threads_share_the_room():
    inside, most, room = [0], [0], shared(10)

    def work(size):
        with room(size):
            inside[0] += size
            most[0] = max(most[0], inside[0])
            time.sleep(0.005)
            inside[0] -= size

    threads = [threading.Thread(target=work, args=(size,)) for size in [4, 3, 6, 25, 5] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 25  # larger than all, and alone


@pytest.mark.skipif(not os.path.exists("/proc/self/cgroup"), reason="control groups are Linux's")
def test_the_groups_of_this_machine_are_read():
    assert all(left > 0 for left in memory._left_in_groups())
