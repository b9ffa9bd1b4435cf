"""A checkpoint gives back every bit, or says why not."""

import io
import json
import math
import os
import re
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpax.atomic import TEMPORARY
from mlpax.errors import InputError
from mlpax.runs import checkpoints


def state(seed=0):
    rng = np.random.default_rng(seed)
    W, m = rng.standard_normal((2, 3, 2)).astype(np.float32)
    W[0], m[0] = (1e-45, -0.0), (np.inf, np.nan)
    return {"params/0/0": W, "opt_state/0": m, "epoch": np.array(seed, np.int32)}


def record(epoch, run="this"):
    history = [{"epoch": e + 1, "loss": math.nan if e else 0.5, "seconds": 0.1} for e in range(epoch)]
    return {"epoch": epoch, "run": run, "history": history}


def save(folder, epoch, run="this", of=None):
    folder.mkdir(exist_ok=True)
    return checkpoints.save(folder, of or state(epoch), record(epoch, run))


def bits(state):
    return {name: (a.dtype, a.shape, a.tobytes()) for name, a in state.items()}


def test_every_bit_comes_back(tmp_path):
    save(tmp_path / "c", 7)
    back, told, damaged = checkpoints.latest(tmp_path / "c", state(), "this")
    assert bits(back) == bits(state(7))
    assert repr(told) == repr({"format": 2, **record(7)})
    assert damaged == []


def test_none_yet_is_the_template(tmp_path):
    template = state()
    assert checkpoints.latest(tmp_path / "c", template, "this") == (template, {}, [])


def test_the_last_two_and_the_best_stay(tmp_path):
    for epoch in range(1, 12):
        save(tmp_path, epoch)
        checkpoints.prune(tmp_path, epoch, best=3)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"epoch-{e:06d}.npz" for e in (3, 10, 11)]


def test_the_millionth_epoch_follows_the_one_before(tmp_path):
    for epoch in (999_999, 1_000_000):  # whose histories would take a minute to make
        checkpoints.save(tmp_path, state(), record(0) | {"epoch": epoch})
    with pytest.raises(InputError, match=r"epoch-1000000.npz: its history has 0 epochs, not 1000000"):
        checkpoints.latest(tmp_path, state(), "this")
    checkpoints.save(tmp_path, state(), record(0) | {"epoch": 1_000_001})
    checkpoints.prune(tmp_path, 1_000_001, best=1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["epoch-1000000.npz", "epoch-1000001.npz"]


def test_sweep_takes_temporary_files_alone(tmp_path):
    save(tmp_path / "checkpoints", 1)
    dead, alive = 2**22 + 1, os.getppid()  # the first above any process's number on Linux
    (tmp_path / "checkpoints" / f".epoch-000002.npz.{dead}{TEMPORARY}").write_bytes(b"half")
    (tmp_path / f".metrics.csv.{os.getpid()}{TEMPORARY}").write_bytes(b"half")  # of one that had our number
    (tmp_path / f".curves.png.{alive}{TEMPORARY}").write_bytes(b"half")
    checkpoints.sweep(tmp_path)
    left = sorted(p.name for p in tmp_path.rglob("*") if p.is_file())
    assert left == [f".curves.png.{alive}{TEMPORARY}", "epoch-000001.npz"]


def test_on_windows_no_process_is_asked_whether_it_lives(tmp_path, monkeypatch):
    """There `os.kill(process, 0)` is Ctrl-C. A file that a process has open is not removed."""
    (tmp_path / f".curves.png.{os.getppid()}{TEMPORARY}").write_bytes(b"half")
    refused = []

    def unlink(path, missing_ok):
        refused.append(path.name)
        raise PermissionError(13, "The process cannot access the file")

    with monkeypatch.context() as patch:
        patch.setattr(os, "kill", None)
        patch.setattr(type(tmp_path), "unlink", unlink)
        patch.setattr(checkpoints.os, "name", "nt")
        checkpoints.sweep(tmp_path)
    assert refused == [f".curves.png.{os.getppid()}{TEMPORARY}"]


def npz(path, **members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)


def npy(array, allow_pickle=False):
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def as_record(value):
    return npy(np.frombuffer(json.dumps(value).encode(), np.uint8))


def with_figure(name, value):
    whole = {"format": 2} | record(2)
    whole["history"][1][name] = value
    return whole


WHOLE = {
    "record": as_record({"format": 2} | record(2)),
    "params/0/0": npy(state(2)["params/0/0"]),
    "opt_state/0": npy(state(2)["opt_state/0"]),
    "epoch": npy(np.int32(2)),
}
HEADER = b"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 99999999999), }"
TOKENS = b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': '<f4', 'shape': ((".ljust(117) + b"\n"  # no end
BOMB = b"\x93NUMPY\x01\x00\x76\x00" + HEADER.ljust(117) + b"\n"


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({}, "no item named 'record.npy'"),
        ({"record": as_record({"format": 3})}, "of another format"),
        ({"record": as_record([])}, "of another format"),
        ({"record": as_record({"format": 2} | record(2, run="other"))}, "of another run"),
        ({"record": as_record({"format": 2, "run": "this", "epoch": 2})}, "lacks the history"),
        ({"record": as_record({"format": 2, "run": "this", "epoch": "2", "history": []})}, "lacks the hist"),
        ({"record": npy(np.frombuffer(b"{", np.uint8))}, "damaged"),
        ({"record": as_record({"format": 2} | record(2) | {"epoch": -1})}, "its record is of epoch -1"),
        ({"record": as_record({"format": 2} | record(1))}, "its record is of epoch 1"),
        ({"record": as_record({"format": 2} | record(3) | {"epoch": 2})}, "3 epochs, not 2"),
        ({"record": as_record({"format": 2} | record(2) | {"history": [None, None]})}, "row 1 of its hist"),
        ({"record": as_record({"format": 2} | record(2) | {"history": record(1)["history"] * 2})}, "row 2"),
        ({"record": as_record(with_figure("loss", "low"))}, "row 2 of its history holds what is no number"),
        ({"record": as_record(with_figure("extra", 1.0))}, "row 2 of its history lacks figures, or has"),
        ({"record": npy(np.frombuffer(b"[" * 100_000, np.uint8))}, "damaged"),
        ({"epoch": b"no array"}, "damaged"),
        ({"epoch": npy(np.int64(2))}, "epoch is int64"),
        ({"epoch": npy(np.int32(1))}, "its state is of epoch 1, its record of epoch 2"),
        ({"params/0/0": npy(np.zeros((3, 3), np.float32))}, r"params/0/0 is float32\(3, 3\)"),
        ({"params/0/0": npy(np.full((3, 2), np.nan, np.float32))}, "params/0/0 holds NaN"),
        ({"params/0/0": npy(np.asfortranarray(state()["params/0/0"]))}, "is no array"),
        ({"params/0/0": npy(np.array([object]), allow_pickle=True)}, "is no array"),
        ({"params/0/0": npy(np.zeros(3, "<f4,<i8"))}, "is no array"),
        ({"params/0/0": BOMB + b"\0" * 24}, "claims shape"),
        ({"params/0/0": TOKENS + b"\0" * 24}, "is no array"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_and_the_one_before_is_used(tmp_path, members, says):
    save(tmp_path, 1)
    npz(tmp_path / "epoch-000002.npz", **(WHOLE | members if members else {}))
    back, told, damaged = checkpoints.latest(tmp_path, state(), "this")
    assert (told["epoch"], bits(back)) == (1, bits(state(1)))
    assert len(damaged) == 1
    assert re.search(says, damaged[0])


def test_the_rest_of_these_is_right(tmp_path):
    npz(tmp_path / "epoch-000002.npz", **WHOLE)
    told = checkpoints.latest(tmp_path, state(), "this")[1]
    assert repr(told) == repr({"format": 2, **record(2)})


def test_a_compressed_member_is_refused_unread(tmp_path):
    with zipfile.ZipFile(tmp_path / "epoch-000001.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("record.npy", npy(np.zeros(10**7, np.uint8)))
    with pytest.raises(InputError, match="claims 10000128 bytes"):
        checkpoints.latest(tmp_path, state(), "this")


@pytest.mark.parametrize("content", [b"", b"PK", b"\x80\x04pickle", b"\0" * 1000])
def test_none_good_is_an_error(tmp_path, content):
    (tmp_path / "epoch-000001.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"no checkpoint in .* can be read.*train anew"):
        checkpoints.latest(tmp_path, state(), "this")


@given(
    flips=st.lists(st.tuples(st.integers(0, 10**4), st.integers(1, 255)), max_size=3),
    cut=st.one_of(st.just(0), st.integers(0, 10**4)),
    insert=st.tuples(st.integers(0, 10**4), st.binary(max_size=5)),
)
def test_mutants_are_a_state_or_our_error(tmp_path_factory, flips, cut, insert):
    folder = tmp_path_factory.getbasetemp() / "mutants"
    path = save(folder, 1)
    content = bytearray(path.read_bytes())
    for at, mask in flips:
        content[at % len(content)] ^= mask
    at = insert[0] % len(content)
    content[at:at] = insert[1]
    content = bytes(content[: len(content) - cut % len(content)])
    path.write_bytes(content)
    try:
        back, _, _ = checkpoints.latest(folder, state(), "this")
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert bits(back) == bits(state(1))  # each array has its checksum
