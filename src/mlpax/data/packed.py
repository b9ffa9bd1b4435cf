"""Unpack a file in memory: gzip, bzip2, xz, zstd, the one table of a zip archive; and standard input."""

import bz2
import gzip
import io
import lzma
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple, cast

from mlpax.data.memory import ENTRY, read_within, refuse_beyond
from mlpax.errors import InputError, counted, listed

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = [
    "INPUT",
    "PACKED",
    "TEXT",
    "Unpacked",
    "archive",
    "is_input",
    "is_packed",
    "member",
    "starts",
    "unpacked",
]

TEXT = 6  # bytes that one of a text takes while it is read
INPUT = Path("standard input")  # for messages
ZIP = (b"PK\x03\x04", b"PK\x05\x06")
PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip")  # ends of names
OPENERS: dict[bytes, Callable[[IO[bytes]], object]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
    b"\x28\xb5\x2f\xfd": zstd.open,
}
OTHERS = {  # first bytes of files that are no text
    **dict.fromkeys([*ZIP, *(magic for magic in OPENERS if magic != b"BZh")], "another archive"),
    **{b"BZh%d1AY&SY" % level: "another archive" for level in range(1, 10)},
    b"PAR1": "a Parquet file; let its name end in .parquet",
    b"ARROW1": "an Arrow file; let its name end in .arrow",
    b"FEA1": "a Feather file of version 1; write it as version 2, or as Parquet",
    b"SQLite format 3": "an SQLite database; export the table as CSV",
    b"%PDF": "a PDF file; export the table as CSV",
    b"\xd0\xcf\x11\xe0": "an old or an encrypted Excel file; save the table as .xlsx or CSV",
    b"\x89HDF": "an HDF5 file; export the table as CSV or Parquet",
    b"7z\xbc\xaf": "packed by 7-Zip; unpack it first",
}


class Unpacked(NamedTuple):
    """A text file's name, which is that of the member of a zip archive, and its bytes."""

    name: str
    data: bytes


def is_input(path: str | Path) -> bool:
    """Whether a path is `-`, which stands for standard input."""
    return str(path) == "-"


def starts(path: Path, magic: bytes) -> bool:
    """Whether a file starts with these bytes."""
    with open(path, "rb") as file:
        return file.read(len(magic)) == magic


def is_packed(path: Path) -> bool:
    """Whether a file is packed, as its first bytes say."""
    return any(starts(path, magic) for magic in (*OPENERS, *ZIP))


def unpacked(path: Path, memory: str | None) -> Unpacked:
    """Return a text file's bytes. Nothing is written to the disk.

    Parameters
    ----------
    path : path
        A file, packed or not, or `-`.
    memory : str, optional
        The most memory that the table may take.

    Raises
    ------
    InputError
        If the first bytes say that the file is no text, if a zip archive holds none or several, or if the
        text takes too much memory.
    """
    if is_input(path):
        path, raw = INPUT, cast(IO[bytes], io.BytesIO(read_within(INPUT, sys.stdin.buffer, memory, TEXT)))
    else:
        raw = open(path, "rb")  # noqa: SIM115 - closed below
    with raw:
        start = raw.read(max(map(len, OPENERS)))
        raw.seek(0)
        open_ = next((open_ for magic, open_ in OPENERS.items() if start.startswith(magic)), None)
        plain = open_ is None and not start.startswith(ZIP)
        if start.startswith(ZIP):
            found = _only_member(path, raw, memory)
        else:
            if plain and path != INPUT:
                refuse_beyond(path, TEXT * path.stat().st_size, memory)
            file = raw if open_ is None else cast(IO[bytes], open_(raw))
            found = Unpacked(path.name, read_within(path, file, memory, TEXT))
    for magic, what in OTHERS.items():
        if found.data.startswith(magic):
            inside = what if plain else f"within it {what.partition(';')[0]}; unpack it first"
            raise InputError(f"{path} is no text table, but {inside}")
    return found


def _only_member(path: Path, file: IO[bytes], memory: str | None) -> Unpacked:
    """Return the one file of a zip archive, without the hidden ones that some systems add."""
    with archive(path, file, memory) as opened:
        if "[Content_Types].xml" in opened.namelist():
            raise InputError(f"{path} is no text table, but an Excel file; let its name end in .xlsx")
        names = [info.filename for info in opened.infolist() if not info.is_dir()]
        names = [name for name in names if not _is_hidden(PurePosixPath(name))]
        if len(names) != 1:
            shown = f": {listed(names)}" if names else ""
            raise InputError(
                f"{path} holds {counted(len(names), 'file')}{shown}; an archive of one table is read, so take"
                " the table out of it"
            )
        return Unpacked(names[0], member(path, opened, names[0], memory))


def _is_hidden(name: PurePosixPath) -> bool:
    return "__MACOSX" in name.parts or name.name.startswith(".")


def archive(path: Path, file: "IO[bytes] | Path", memory: str | None) -> zipfile.ZipFile:
    """Open a zip archive, unless its list of members alone takes too much memory."""
    size = path.stat().st_size if path != INPUT else len(cast(io.BytesIO, file).getbuffer())
    refuse_beyond(path, ENTRY * size, memory)
    return zipfile.ZipFile(file)


def member(path: Path, opened: zipfile.ZipFile, name: str, memory: str | None) -> bytes:
    """Return the bytes of an archive's member.

    Raises
    ------
    InputError
        If it is encrypted, or takes too much memory by what the archive states or by what it unpacks to.
    """
    info = opened.getinfo(name)
    if info.flag_bits & 1:
        raise InputError(f"{path} is encrypted; unpack it with its password first")
    refuse_beyond(path, TEXT * info.file_size, memory)
    with opened.open(info) as file:
        return read_within(path, file, memory, TEXT)
