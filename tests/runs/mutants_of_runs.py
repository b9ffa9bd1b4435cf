"""Run folders and checkpoints, each with something wrong in it, opened by our functions."""

import csv
import functools
import io
import json
import os
import random
import shutil
import zipfile
from pathlib import Path

import numpy as np

from mlpax import plots
from mlpax.errors import InputError
from mlpax.runs import checkpoints, run_files

RUN = Path(__file__).parent / "format_1" / "interrupted_digits"
TEXTS = ("config.json", "metrics.csv", "result.json")
ODD = [None, True, -1, 0, 2**70, 1e308, -1e-320, float("nan"), float("inf"), "", "NaN", "../../x", "\x1b[2J",
       "\u202e", "a\nb", [], {}, [[]], {"a": None}, "9" * 300, 5, 0.5, "article", [128]]  # fmt: skip


def bytes_of(rng: random.Random, content: bytes) -> bytes:
    """Flip, cut, insert or repeat some bytes."""
    found = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(found) + 1)
        match rng.randrange(5):
            case 0 if at < len(found):
                found[at] ^= 1 << rng.randrange(8)
            case 1:
                del found[at : at + rng.choice((1, 2, 50, len(found)))]
            case 2:
                found[at:at] = rng.choice(
                    (b"\0", b"-", b"9" * 200_000, b"[" * 5000, b'"', b",", b"\r", b"\xff", b"NaN")
                )
            case 3:
                found[at:at] = found[at : at + rng.choice((1, 30, 3000))]
            case _:
                found[at : at + 1] = rng.randbytes(rng.choice((1, 8)))
    return bytes(found)


def value_of(rng: random.Random, value: object) -> object:
    """Change, remove or add one thing at some depth of a value of JSON."""
    inside = (
        list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    )
    if not inside or rng.random() < 0.1:
        return rng.choice(ODD)
    key = rng.choice(inside)
    copy = dict(value) if isinstance(value, dict) else list(value)
    match rng.randrange(6):
        case 0:
            del copy[key]
        case 1 if isinstance(copy, dict):
            copy[str(rng.choice(ODD))[:40]] = rng.choice(ODD)
        case 1:
            copy.append(rng.choice([*copy, *ODD]))
        case _:
            copy[key] = value_of(rng, copy[key])
    return copy


def folder(rng: random.Random, place: Path) -> str:
    """Damage a file of a run, and look at it beside a whole one."""
    for name in ("bad", "whole"):
        shutil.copytree(RUN, place / name)
    path = place / "bad" / rng.choice(TEXTS)
    match rng.randrange(8):
        case 0:
            path.unlink()
            rng.choice(
                [os.mkfifo, os.mkdir, lambda p: p.symlink_to("nothing"), lambda p: p.symlink_to(RUN / p.name)]
            )(path)
        case 1 | 2 | 3:
            path.write_bytes(bytes_of(rng, path.read_bytes()))
        case 4 | 5 if path.suffix == ".csv":
            rows = list(csv.reader(path.read_text().splitlines()))
            path.write_text("\n".join(map(",".join, _cells(rng, rows))) + "\n", errors="surrogatepass")
        case _ if path.suffix == ".json":
            path.write_text(json.dumps(value_of(rng, json.loads(path.read_text()))))
        case _:
            path.write_bytes(
                rng.choice((b"", b"[" * 100_000, b"1", b'{"format": 1}', b"epoch\n", b"\xfe\xff"))
            )
    said: list[str] = []
    rows = run_files.summaries(place, said.append)
    by_name = {row.run: row for row in rows}
    assert by_name["whole"].state == "interrupted", "the whole run is hidden"
    whole = [path for path in (place / "bad", place / "whole") if by_name.get(path.name)]
    readable = run_files.undamaged(whole, said.append)
    assert place / "whole" in readable, "the whole run is hidden from compare"
    for line in said:
        one_line(line)
    if place / "bad" not in readable:
        return "our error"
    _same_as_the_files(place / "bad")
    if rng.random() < 0.05:
        histories = {str(path): run_files.read_history(path) for path in readable}
        plots.comparison({name: history for name, history in histories.items() if history})
    return "a value"


def _cells(rng: random.Random, rows: list[list[str]]) -> list[list[str]]:
    row = rng.choice(rows)
    at = rng.randrange(len(row))
    match rng.randrange(5):
        case 0:
            rows.remove(row)
        case 1:
            row.insert(at, "1")
        case 2:
            rows.insert(rng.randrange(len(rows)), list(row))
        case 3:
            del row[at]
        case _:
            row[at] = str(
                rng.choice(["", "x", "1e999", "nan", "-1", "1" * 200_000, "1,5", '"', "0x10", "１", "1_0"])
            )
    return rows


def _same_as_the_files(run: Path) -> None:
    """Compare what was read with an independent reading."""
    config, stated = run_files.read_config(run), json.loads((run / "config.json").read_text())
    assert config.dataset == stated["dataset"], "another data set than the file's"
    assert config.recipe.learning_rate == stated["recipe"]["learning_rate"], "another rate than the file's"
    assert config.recipe.hidden == tuple(stated["recipe"]["hidden"]), "other layers than the file's"
    history = run_files.read_history(run)
    if history:
        found = np.loadtxt(run / "metrics.csv", delimiter=",", skiprows=1, ndmin=2)
        np.testing.assert_array_equal(found, [list(row.values()) for row in history])
    result = run_files.read_result(run)
    if result:
        told = json.loads((run / "result.json").read_text())
        assert result._asdict() == {"refit": 0} | {n: told[n] for n in result._fields if n in told}


@functools.cache
def _checkpoint() -> tuple[dict[str, np.ndarray], dict[str, object]]:
    rng = np.random.default_rng(0)
    shapes = {"params/0/0": (5, 3), "params/0/1": (3,), "opt_state/0": (5, 3), "best/0/0": (5, 3)}
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    arrays["epoch"] = np.array(3, np.int32)
    history = [{"epoch": n, "loss": 1 / n, "seconds": 0.1} for n in (1, 2, 3)]
    return arrays, {"epoch": 3, "run": "this", "history": history}


def checkpoint(rng: random.Random, place: Path) -> str:
    """Damage or forge a checkpoint, and read it back."""
    arrays, record = _checkpoint()
    path = checkpoints.save(place, arrays, record)
    if rng.random() < 0.5:
        path.write_bytes(bytes_of(rng, path.read_bytes()))
    else:
        _forge(rng, path)
    try:
        back, told, _ = checkpoints.latest(place, arrays, "this")
    except InputError as error:
        one_line(str(error))
        return "our error"
    if told.get("epoch") != 3:
        raise AssertionError(f"epoch {told.get('epoch')} is read")
    with np.load(path, allow_pickle=False) as stored:
        assert told == json.loads(bytes(stored["record"])), "another record than the file's"
        for name, array in back.items():
            np.testing.assert_array_equal(array, stored[name], err_msg=f"{name} is another than the file's")
            assert array.dtype == arrays[name].dtype
            if name.startswith(("params/", "best/")):
                assert np.isfinite(array).all(), f"{name} is not finite"
    return "a value"


def _forge(rng: random.Random, path: Path) -> None:
    """Write the archive anew, its checksums right, with one member changed."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice([*members, "record.npy"])
    if name == "record.npy":
        value = json.loads(np.load(io.BytesIO(members[name])).tobytes())
        members[name] = _npy(np.frombuffer(json.dumps(value_of(rng, value)).encode(), np.uint8))
    else:
        array = np.load(io.BytesIO(members[name]))
        filler = np.nan if array.dtype.kind == "f" else -9
        odd = [np.full_like(array, 7), np.full_like(array, filler), array.astype(np.float64)]
        odd += [array.astype(object), array[..., None], array.T]
        members[name] = rng.choice([_npy(rng.choice(odd)), bytes_of(rng, members[name]), b""])
    method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
    with zipfile.ZipFile(path, "w", method) as archive:
        for member, content in members.items():
            archive.writestr(member, content)


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def one_line(text: str) -> None:
    assert len(text.splitlines()) == 1, f"an error of {len(text.splitlines())} lines"
    assert len(text) <= 500 + len(str(RUN)), f"an error of {len(text)} characters"
