"""Broken and hostile files of tables and arrays: `attack` makes one, reads it, and says what came of it.

`python tests/data/mutants.py FIRST LAST` attacks with these seeds, under a limit of memory and of time.

Each starts from a small valid file. Bytes of it are flipped, cut, inserted or repeated, a number in it is
made huge, or the file is packed. What is read must be what another reader finds in the file.
"""

import collections
import csv
import gzip
import io
import json
import random
import shutil
import signal
import struct
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import polars as pl
import sklearn.datasets  # noqa: F401 - now, and not within the seconds of an attack
from PIL import Image

from mlpax.data.arrays import read_arrays, read_idx
from mlpax.data.csv_files import FileOptions
from mlpax.data.images import read_image_folder
from mlpax.data.packed import zstd
from mlpax.data.tables import read_table
from mlpax.data.targets import from_frame
from mlpax.errors import InputError
from workbook import sheet, workbook

__all__ = ["attack"]

MEMORY = "300M"  # what data may take
LONGEST = 500  # characters of an error
HUGE = (2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1)
ROWS = 40
SPACE = 2 * 2**30  # bytes that the process may take
SECONDS = 10  # that reading may take


def attack(rng: random.Random, folder: Path) -> str:
    """Make one mutated file in a folder, read it, and return "a value" or "our error".

    Parameters
    ----------
    rng : random.Random
    folder : path
        An existing folder, which is emptied first.

    Raises
    ------
    AssertionError
        If another error came, one of several lines or of over 500 characters, or a value that is not the
        file's.
    """
    for old in folder.iterdir():
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    kind = rng.choice([*MAKERS])
    path = folder / kind
    content = MAKERS[kind](rng)
    if kind == "pictures":
        _draw(rng, path)
        return _outcome(kind, lambda: _read_pictures(path))
    for _ in range(rng.choice((0, 0, 1, 1, 1, 2, 5))):
        content = rng.choice((flipped, cut, inserted, repeated, enlarged))(rng, content)
    if kind.endswith((".gz", ".zst", ".zip")):
        content = PACK[kind.rpartition(".")[2]](content)
        if rng.random() < 0.3:
            content = rng.choice((flipped, cut, inserted, repeated))(rng, content)
    path.write_bytes(content)
    return _outcome(kind, lambda: _read(path))


def _outcome(kind: str, read: Callable[[], None]) -> str:
    signal.alarm(SECONDS)  # which ends the process, whatever code is running
    try:
        read()
    except InputError as error:
        text = str(error)
        one_line = len(text) <= LONGEST and not {"\n", "\r"} & {*text}
        assert one_line, f"{kind}: the error {text[:600]!r}"
        return "our error"
    except AssertionError:
        raise
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        raise AssertionError(f"{kind}: {type(error).__name__}: {str(error)[:300]}") from error
    finally:
        signal.alarm(0)
    return "a value"


# Bytes


def flipped(rng: random.Random, content: bytes) -> bytes:
    """Replace a few bytes."""
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 3, 10))):
        if found:
            found[rng.randrange(len(found))] = rng.choice((0, 255, rng.randrange(256)))
    return bytes(found)


def cut(rng: random.Random, content: bytes) -> bytes:
    """Leave out bytes at the end, or within."""
    start = rng.randrange(len(content) + 1)
    return (
        content[:start] if rng.random() < 0.5 else content[:start] + content[start + rng.randrange(1, 50) :]
    )


def inserted(rng: random.Random, content: bytes) -> bytes:
    """Insert a few bytes."""
    start = rng.randrange(len(content) + 1)
    odd = (b"\0", b"\xff\xfe", b'"', b"\n", b",", b"\r", b"\x1b[2J", "\u202e".encode(), rng.randbytes(9))
    return content[:start] + rng.choice(odd) + content[start:]


def repeated(rng: random.Random, content: bytes) -> bytes:
    """Repeat some bytes, at times often."""
    start = rng.randrange(len(content) + 1)
    some = content[start : start + rng.randrange(1, 200)]
    return content[:start] + some * rng.choice((2, 3, 1000)) + content[start:]


def enlarged(rng: random.Random, content: bytes) -> bytes:
    """State a huge number where the file may state one."""
    value, width = rng.choice(HUGE), rng.choice((2, 4, 8))
    start = rng.randrange(max(1, min(len(content), rng.choice((64, len(content) or 1)))))
    number = (value & (2 ** (8 * width) - 1)).to_bytes(width, rng.choice(("little", "big")))
    return content[:start] + number + content[start + width :]


# Files


def _cells(rng: random.Random) -> dict[str, list[object]]:
    return {
        "a": [rng.randrange(1000) for _ in range(ROWS)],
        "b": [round(rng.random(), 3) for _ in range(ROWS)],
        "c": [rng.choice(("red", "green", "blue")) for _ in range(ROWS)],
        "y": [i % 2 for i in range(ROWS)],
    }


def _csv(rng: random.Random) -> bytes:
    return pl.DataFrame(_cells(rng)).write_csv(separator=rng.choice(",;\t")).encode()


def _csv_bomb(rng: random.Random) -> bytes:
    """Return a text that is small when packed."""
    return _csv(rng) + b"1,2,3,4\n" * rng.choice((*[1] * 12, 10**7))


def _typed(rng: random.Random, arrow: bool) -> bytes:
    file = io.BytesIO()
    frame = pl.DataFrame(_cells(rng)).with_columns(pl.col("c").cast(pl.Categorical))
    if arrow:
        frame.write_ipc(file, compression=rng.choice(("uncompressed", "lz4", "zstd")))
    else:
        frame.write_parquet(file, compression=rng.choice(("uncompressed", "snappy", "gzip", "zstd")))
    return file.getvalue()


def _array(rng: random.Random) -> np.ndarray:
    dtype = rng.choice(("<f4", ">f8", "u1", "<i4", "<i8"))
    shape = rng.choice(((ROWS, 3), (ROWS, 4, 4), (ROWS,)))
    return np.array([rng.randrange(100) for _ in range(int(np.prod(shape)))]).reshape(shape).astype(dtype)


def _npy(rng: random.Random) -> bytes:
    file = io.BytesIO()
    np.save(file, _array(rng))
    content = file.getvalue()
    return (
        content.replace(b"(40", rng.choice((b"(40", b"(99999999999", b"(-4", b"(4000000")))
        if rng.random() < 0.5
        else content
    )


def _npz(rng: random.Random) -> bytes:
    """Return an archive, whose members may be small packed and state more than they hold."""
    file = io.BytesIO()
    y = io.BytesIO()
    np.save(y, np.arange(ROWS) % 2)
    with zipfile.ZipFile(file, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        X = _npy(rng)
        if rng.random() < 0.1:
            X += bytes(rng.choice((10, 2 * 10**8)))
        archive.writestr("X.npy", X)
        archive.writestr(rng.choice(("y.npy", "y.npy", "y", "../y.npy")), y.getvalue())
    return file.getvalue()


def _idx(rng: random.Random) -> bytes:
    stated = rng.choice((*[ROWS] * 20, 140_000, 2**32 - 1))
    held = stated if stated < 2**32 - 1 else ROWS
    return struct.pack(">HBBIII", 0, 8, 3, stated, 28, 28) + bytes(held * 784)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _png(rng: random.Random) -> bytes:
    """Return a picture, at times with a chunk that unpacks to much, or of more pixels than it is large."""
    file = io.BytesIO()
    side = rng.choice((*[8] * 30, 20, 20, 3000))
    pixels = rng.randbytes(64 * 3) if side == 8 else bytes(side * side * 3)
    Image.frombytes("RGB", (side, side), pixels).save(
        file, rng.choice(("PNG", "PNG", "GIF", "BMP", "JPEG", "WEBP"))
    )
    content = file.getvalue()
    if content.startswith(b"\x89PNG") and rng.random() < 0.4:
        packed = zlib.compress(bytes(rng.choice((100, 10**6, 10**7))), 9)
        bomb = rng.choice((_chunk(b"zTXt", b"k\0\0" + packed), _chunk(b"iCCP", b"k\0\0" + packed),
                           _chunk(b"iTXt", b"k\0\1\0\0\0" + packed)))  # fmt: skip
        content = content[:33] + bomb + content[33:]
    return content


def _lines(rng: random.Random) -> bytes:
    """Return records of JSON, in lines or in an array, some of which are odd."""
    records = pl.DataFrame(_cells(rng)).to_dicts()
    odd = (
        {"a": "x"},
        {"new": 1},
        {"a": [1]},
        {"b": 1e300},
        {"a": 2**70},
        {"a": None},
        {"c": "\ud800"},
        {"": 1},
    )
    for _ in range(rng.choice((0, 0, 0, 1, 3))):
        records[rng.randrange(ROWS)] |= rng.choice(odd)
    if rng.random() < 0.02:
        records += [{f"k{i}": 1} for i in range(3000)]
    lines = [json.dumps(record) for record in records]
    nested = ["[" * 10**5, '{"a":' * 10**5, "[" * 10**5 + "]" * 10**5]
    lines += [rng.choice(nested)] if rng.random() < 0.03 else []
    return ("\n".join(lines) if rng.random() < 0.7 else f"[{', '.join(lines)}]").encode()


def _arff(rng: random.Random) -> bytes:
    cells = _cells(rng)
    cells["c"] = [rng.choice(("red", "green", "'dark blue'", "?")) for _ in range(ROWS)]
    head = "@relation r\n@attribute a integer\n@attribute b real\n@attribute c {red, green, 'dark blue'}\n"
    rows = "".join(",".join(map(str, row)) + "\n" for row in zip(*cells.values(), strict=True))
    blanks = " " * rng.choice((0, 0, 0, 10**5)) + "'"
    return f"{head}@attribute y {{0,1}}\n@data\n{rows}{blanks * (rng.random() < 0.1)}".encode()


def _libsvm(rng: random.Random) -> bytes:
    last = rng.choice((*[7] * 20, 10**4, 10**9, 2**31, 2**63, -1))
    return "".join(f"{i % 2} 1:{i} 3:{rng.random()} {last}:1\n" for i in range(ROWS)).encode()


def _excel(rng: random.Random) -> bytes:
    """Return a workbook, of which at times the sheet is mutated before it is packed."""
    cells = _cells(rng)
    part = sheet([list(cells), *map(list, zip(*cells.values(), strict=True))])
    odd = (
        '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>', "&amp;", "<a>" * 10**5, "<f/>", "&x;",
        '<row r="50"><c r="A50" t="s"><v>99999</v></c></row>', '<row r="50"><c t="e"><v>#N/A</v></c></row>',
        '<row r="50"><c s="1"><v>1e300</v></c><c s="3"><v>-1</v></c><c s="2"><v>2958465.99999</v></c></row>',
    )  # fmt: skip
    if rng.random() < 0.2:
        part = part.replace("</sheetData>", f"{rng.choice(odd)}</sheetData>")
    if rng.random() < 0.05:
        entities = "".join(f'<!ENTITY x{i} "{f"&x{i - 1};" * 10 if i else "x"}">' for i in range(10))
        part = part.replace("?>", f"?><!DOCTYPE w [{entities}]>").replace("</sheetData>", "&x9;</sheetData>")
    if rng.random() < 0.3:
        part = rng.choice((flipped, cut, inserted, repeated))(rng, part.encode()).decode("latin-1")
    part += " " * rng.choice((*[0] * 30, 10**8))
    return workbook({"One": part, "Two": part[: rng.randrange(len(part)) if rng.random() < 0.1 else None]})


def _zip(content: bytes) -> bytes:
    """Return an archive of a table, at times with odd names beside it, or in one more archive."""
    file = io.BytesIO()
    rng = random.Random(len(content))
    with zipfile.ZipFile(file, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        archive.writestr(rng.choice(("t.csv", "../t.csv", "/etc/t", "a\nb.csv")), content)
        for name in rng.choice(((), (), (), ("x.csv",), ("__MACOSX/t.csv",), ("y/",))):
            archive.writestr(name, b"?")
    return _zip(file.getvalue()) if rng.random() < 0.1 else file.getvalue()


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gz": lambda content: gzip.compress(content, mtime=0),
    "zst": zstd.compress,
    "zip": _zip,
}
MAKERS: dict[str, Callable[[random.Random], bytes]] = {
    "t.csv": _csv,
    "t.tsv": _csv,
    "t.csv.gz": _csv_bomb,
    "t.parquet": lambda rng: _typed(rng, arrow=False),
    "t.feather": lambda rng: _typed(rng, arrow=True),
    "t.npy": _npy,
    "t.npz": _npz,
    "t-idx3-ubyte": _idx,
    "t-idx3-ubyte.gz": _idx,
    "pictures": lambda rng: b"",
    "t.csv.zst": _csv_bomb,
    "t.csv.zip": _csv_bomb,
    "t.jsonl": _lines,
    "t.json": _lines,
    "t.arff": _arff,
    "t.svm": _libsvm,
    "t.xlsx": _excel,
}


# Reading, beside another reader


def _read(path: Path) -> None:
    if "idx" in path.name:
        X = read_idx(path, MEMORY)
        _like(X, _plain_idx(path), path)
    elif path.suffix in (".npy", ".npz"):
        X, _ = read_arrays(path, MEMORY)
        found = np.load(path, allow_pickle=False)
        _like(X, found if path.suffix == ".npy" else found["X"], path)
    frame = read_table(path, FileOptions(memory=MEMORY))
    if path.suffix in (".csv", ".tsv"):
        _like_the_csv(frame, path)
    elif path.suffix == ".jsonl":
        _like_the_records(frame, path)
    elif path.suffix == ".svm":
        _like_the_pairs(frame, path)
    from_frame(frame)


def _like(X: np.ndarray, other: np.ndarray, path: Path) -> None:
    same = X.shape == other.shape and np.array_equal(X, other, equal_nan=X.dtype.kind == "f")
    assert same, f"{path.name}: {X.shape} {X.dtype} was read for {other.shape} {other.dtype}"


def _plain_idx(path: Path) -> np.ndarray:
    content = path.read_bytes()
    content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    sides = struct.unpack(f">{content[3]}I", content[4 : 4 + 4 * content[3]])
    kinds = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
    return np.frombuffer(content, kinds[content[2]], offset=4 + 4 * len(sides)).reshape(sides)


def _like_the_csv(frame: "pl.DataFrame", path: Path) -> None:
    """Each number that Python's reader finds below the header is in the table, if the text is a usual one."""
    content = path.read_bytes()
    odd = b"\"'\r#\0\x1b" + b"\x1c\x1d\x1e\x1f"  # the last four are white space to Python alone
    if not content.isascii() or set(content) & set(odd):
        return
    first = content.splitlines()[0].decode()
    separator = max(",;\t", key=first.count)
    rows = [
        row for row in csv.reader(content.decode().split("\n"), delimiter=separator) if "".join(row).strip()
    ]
    if first.count(separator) and len({len(row) for row in rows}) == 1:
        found = set(frame.iter_rows())
        below = [tuple(cell.strip() or None for cell in row) for row in rows[1:]]
        header = tuple(cell.strip() or None for cell in rows[0])
        lost = [row for row in below if row not in found and row != header]
        assert frame.width != len(rows[0]) or not lost, (
            f"{path.name}: the row {lost[0]!r} is not in the table"
        )


def _like_the_records(frame: "pl.DataFrame", path: Path) -> None:
    """Each value that Python's reader finds in a line is in the row, as it is or as text."""
    content = path.read_bytes()
    if not content.isascii() or b"\0" in content or content.lstrip().startswith(b"["):
        return
    rows = [json.loads(line) for line in content.decode().split("\n") if line.strip()]
    for row, record in zip(frame.iter_rows(named=True), rows, strict=True):
        for name, value in record.items():
            text = value.strip() if isinstance(value, str) else json.dumps(value)
            same = (
                row[name] == value or row[name] == text or (row[name] is None and text in ("", "NaN", "null"))
            )
            assert same, f"{path.name}: {row[name]!r} was read for {value!r}"


def _like_the_pairs(frame: "pl.DataFrame", path: Path) -> None:
    lines = [line.split(b"#")[0].split() for line in path.read_bytes().split(b"\n")]
    for row, (y, *pairs) in zip(frame.iter_rows(named=True), filter(None, lines), strict=True):
        found = {f"x{int(pair.split(b':')[0])}": float(pair.split(b":")[1]) for pair in pairs} | {
            "y": float(y)
        }
        assert found.items() <= row.items(), f"{path.name}: {row} was read for {found}"


def _draw(rng: random.Random, path: Path) -> None:
    damaged = rng.randrange(6)
    for k in range(6):
        content = _png(rng)
        if k == damaged:
            for _ in range(rng.choice((0, 1, 1, 3))):
                content = rng.choice((flipped, cut, inserted, repeated, enlarged))(rng, content)
        file = path / "ab"[k % 2] / f"{k}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def _read_pictures(path: Path) -> None:
    with mock.patch.dict("os.environ", {"XDG_CACHE_HOME": str(path / ".cache")}):
        found = read_image_folder(path, size=8, colour=True, memory=MEMORY)
    for row, file in zip(found.X, sorted(path.glob("*/*.png")), strict=True):
        with Image.open(file) as image:
            if image.size == (8, 8) and image.mode == "RGB" and not image.getexif():
                assert np.array_equal(row, np.asarray(image).reshape(-1)), f"{file.name} has other pixels"


def main(first: int, last: int) -> None:
    """Attack with the seeds from `first`; print the outcomes. Whatever is wrong ends the process.

    It ends before `last` when polars has kept memory of files that it refused.
    """
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (SPACE, SPACE))
    outcomes: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, last):
            print(f"seed {seed}", file=sys.stderr, flush=True)
            outcomes[attack(random.Random(seed), Path(folder))] += 1
            facts = Path("/proc/self/status").read_text(encoding="utf-8")
            if int(facts.partition("VmData:")[2].split()[0]) * 1024 > SPACE // 4:
                break
    print(dict(outcomes))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
