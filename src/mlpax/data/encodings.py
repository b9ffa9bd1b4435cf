"""Tell the encoding of a text, and turn it into UTF-8."""

import codecs
import re
from pathlib import Path

import numpy as np

from mlpax.errors import Guess, InputError, Notice

__all__ = ["as_utf8"]

MARKS = {  # a byte order mark says the encoding; the longer ones first
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
ZEROS = {  # which of four bytes of ASCII text are zero
    (0, 1, 0, 1): "utf-16-le",
    (1, 0, 1, 0): "utf-16-be",
    (0, 1, 1, 1): "utf-32-le",
    (1, 1, 1, 0): "utf-32-be",
}
OTHER_SCRIPTS = [
    "cp1251",
    "koi8_r",
    "cp1253",
    "cp1255",
    "cp1256",
    "gb18030",
    "big5",
    "cp932",
    "euc_jp",
    "cp949",
]
# First bytes of Japanese letters in Shift JIS, which hardly occur in Western text
JAPANESE = [*range(0x81, 0x85), *range(0x88, 0x91), *range(0x98, 0xA0)]
SAMPLE = 1 << 16  # bytes of lines with other than ASCII that tell the encoding


def as_utf8(path: Path, data: bytes, encoding: str | None, notice: Notice) -> bytes:
    """Return a file's bytes in UTF-8, without a byte order mark.

    Parameters
    ----------
    path : path
        For messages.
    data : bytes
    encoding : str, optional
        What the user says.
    notice : callable
        Called with the encoding if it is not UTF-8.

    Raises
    ------
    InputError
        If the bytes are no text, or none in this encoding, with the line.
    """
    if encoding is not None:
        return _decoded(path, data, encoding)
    for mark, name in MARKS.items():
        if data.startswith(mark):
            if name != "utf-8-sig":
                notice(f"{path.name} is {name.upper()}, as its first bytes say")
            return _decoded(path, data, name)
    if b"\0" in data:
        return _with_zeros(path, data, notice)
    if data.isascii():
        return data
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return _guessed(path, data, error.start, notice)
    return data


def _decoded(path: Path, data: bytes, encoding: str) -> bytes:
    try:
        return data.decode(encoding).removeprefix("\ufeff").encode()
    except LookupError:
        raise InputError(
            f"there is no encoding {encoding!r}; --encoding takes names such as cp1252, utf-16 or gb18030"
        ) from None
    except UnicodeError as error:
        place = getattr(error, "start", 0)
        raise InputError(
            f"{path} is not {encoding}: its line {_line(data, place)} does not decode; --encoding takes"
            " another, and without it the encoding is told from the bytes"
        ) from None


def _line(data: bytes, place: int) -> int:
    return data.count(b"\n", 0, place) + 1


def _with_zeros(path: Path, data: bytes, notice: Notice) -> bytes:
    """Decode UTF-16 or UTF-32 without a byte order mark: the zeros of its ASCII characters show it."""
    start = np.frombuffer(data[: SAMPLE // 4 * 4][: len(data) // 4 * 4], np.uint8).reshape(-1, 4)
    zeros = tuple(int(share > 0.3) for share in (start == 0).mean(axis=0)) if len(start) else ()
    name = ZEROS.get(zeros)  # type: ignore[arg-type]
    if name is None and data.count(b"\0") < len(data) / 100 and not re.search(rb"[\x01-\x08]", data[:SAMPLE]):
        line = _line(data, data.index(b"\0"))
        raise InputError(f"{path} has a zero byte in line {line}, as text has none; mend the file")
    if name is None:
        raise InputError(f"{path} is no text; is it a CSV file?")
    notice(Guess(f"{path.name} is read as {name.upper()}", f"--encoding {name}"))
    return _decoded(path, data, name)


def _guessed(path: Path, data: bytes, place: int, notice: Notice) -> bytes:
    """Decode bytes that are not UTF-8, by what their lines with other than ASCII look like."""
    from charset_normalizer import from_bytes

    text = data.decode(errors="replace")
    wrong = text.count("\ufffd")
    if _others(text) - wrong > 3 * wrong:
        raise InputError(
            f"{path} is UTF-8, but not in line {_line(data, place)}; mend the line, or name the encoding, as"
            " --encoding cp1252"
        )
    lines = [line for line in data.splitlines() if not line.isascii()]
    sample = b"\n".join(lines[:: max(1, sum(map(len, lines)) // SAMPLE)])
    others: list[str] = []
    if not _is_latin(sample):
        others = [match.encoding for match in from_bytes(sample, cp_isolation=OTHER_SCRIPTS)]
        others = others or ["cp932" if _is_japanese(sample) else "gb18030", "big5", "cp949", "cp1251"]
    for name in [*others, "cp1250" if _is_central(sample) else "cp1252", "cp1250"]:
        try:
            decoded = data.decode(name)
        except UnicodeError:
            continue
        notice(Guess(f"{path.name} is not UTF-8, and is read as {name}", f"--encoding {name}"))
        return decoded.encode()
    raise InputError(f"{path} is in no encoding that is known; name it, as --encoding cp1252")


def _is_latin(sample: bytes) -> bool:
    """Whether many bytes beyond ASCII stand alone, as accented letters do; of other scripts few do."""
    x = np.frombuffer(b"\0" + sample + b"\0", np.uint8)
    high = x >= 0x80
    alone = high[1:-1] & ~high[:-2] & ~high[2:]
    return bool(alone.sum() > 0.3 * high.sum()) and not _is_japanese(sample)


def _is_japanese(sample: bytes) -> bool:
    """Whether many bytes beyond ASCII begin a letter in Shift JIS."""
    x = np.frombuffer(sample, np.uint8)
    return bool(np.isin(x[x >= 0x80], JAPANESE).mean() >= 0.2)


def _is_central(sample: bytes) -> bool:
    """Whether signs stand within words if the bytes are Western European: then they are letters of cp1250."""
    return re.search(r"[a-z][¹³¿¼¾¥£œ]|[¹³¿¼¾£¥][a-z]", sample.decode("cp1252", "replace")) is not None


def _others(text: str) -> int:
    """Return how many characters are not ASCII."""
    return len(text) - len(text.encode("ascii", "ignore"))
