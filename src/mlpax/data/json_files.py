"""Read records of JSON: one in each line, or one array of them."""

import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mlpax.data.memory import CELL, COLUMN, refuse_beyond
from mlpax.data.packed import TEXT
from mlpax.errors import InputError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["read_json"]

AT_ONCE = 1 << 14  # records that are Python's objects at one time
EXAMPLE = '{"size": 120, "colour": "red"}'
BLANK = re.compile(r"[ \t\r\n]*")

Record = dict[str, object]


def read_json(path: Path, data: bytes, memory: str | None = None) -> "pl.DataFrame":
    """Return the table of records, which may be one array or stand one in each line.

    A column of numbers is of numbers, and one of texts is of text. A column that holds several types is of
    text, spelled as JSON spells them. A key that a record lacks is null in its row.

    Parameters
    ----------
    path : path
        For messages.
    data : bytes
        The text in UTF-8.
    memory : str, optional
        The most memory that the table may take.

    Raises
    ------
    InputError
        If a record is none, has a key twice or a nested value, or the table takes too much memory; with the
        line, or the number of the record in an array.
    """
    import polars as pl

    text = data.decode()
    start = _behind_blanks(text, 0)
    records = (_of_array if text[start : start + 1] == "[" else _of_lines)(path, text)
    frames: list[pl.DataFrame] = []
    names: dict[str, None] = {}
    rows = 0
    while batch := list(islice(records, AT_ONCE)):
        for _, record in batch:
            names |= dict.fromkeys(record)
        rows += len(batch)
        size = TEXT * len(data) + CELL * rows * len(names) + COLUMN * len(names)
        refuse_beyond(path, size, memory, least=True)
        found = {name: [record.get(name) for _, record in batch] for name in names}
        frames.append(
            pl.DataFrame({name: _series(path, name, cells, batch) for name, cells in found.items()})
        )
    if not frames:
        raise InputError(f"{path} holds no record")
    types = {name: _type([f[name].dtype for f in frames if name in f.columns]) for name in names}
    lacking = [f.with_columns(pl.lit(None).alias(n) for n in names if n not in f.columns) for f in frames]
    return pl.concat([f.select(pl.col(name).cast(types[name]) for name in names) for f in lacking])


def _of_lines(path: Path, text: str) -> Iterator[tuple[str, Record]]:
    """Yield the record of each line that is not blank, with its place."""
    decoder = json.JSONDecoder(object_pairs_hook=_unique)
    for number, line in enumerate(text.split("\n"), 1):
        if line := line.strip():
            value, end = _decoded(path, decoder, line, 0, f"line {number}")
            if end < len(line):
                raise InputError(f"{path} has more than a record in line {number}; write one record a line")
            yield f"line {number}", value


def _of_array(path: Path, text: str) -> Iterator[tuple[str, Record]]:
    """Yield the records of an array, with their places. They are read one by one."""
    decoder = json.JSONDecoder(object_pairs_hook=_unique)
    number, place = 0, _behind_blanks(text, text.index("[") + 1)
    ended = text[place : place + 1] == "]"
    while not ended:
        number += 1
        value, place = _decoded(path, decoder, text, place, f"record {number}")
        yield f"record {number}", value
        place = _behind_blanks(text, place)
        ended = text[place : place + 1] == "]"
        if not ended and text[place : place + 1] != ",":
            raise InputError(f"{path} is no whole array of records: behind record {number} must be , or ]")
        place = place if ended else _behind_blanks(text, place + 1)
    if text[place + 1 :].strip():
        raise InputError(f"{path} goes on behind its array of records; write one array, or one record a line")


def _behind_blanks(text: str, start: int) -> int:
    found = BLANK.match(text, start)
    return found.end() if found else start


def _decoded(path: Path, decoder: json.JSONDecoder, text: str, start: int, place: str) -> tuple[Record, int]:
    """Return the record that begins at `start`, and where it ends."""
    try:
        value, end = decoder.raw_decode(text, start)
    except RecursionError:
        raise InputError(f"{path} has values nested too deeply in {place}; write columns") from None
    except ValueError as error:
        said = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise InputError(f"{path} has no whole record in {place}: {said}; it is as {EXAMPLE}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} has {json.dumps(value)[:60]} in {place}, and no record as {EXAMPLE}")
    return cast(Record, value), end


def _unique(pairs: list[tuple[str, object]]) -> Record:
    found = dict(pairs)
    if len(found) < len(pairs):
        double = next(name for i, (name, _) in enumerate(pairs) if name in dict(pairs[:i]))
        raise ValueError(f"the key {double[:80]!r} stands twice")
    return found


def _series(path: Path, name: str, cells: list[object], batch: list[tuple[str, Record]]) -> "pl.Series":
    """Return the cells as a column of one type."""
    import polars as pl

    types = {*map(type, cells)} - {type(None)}
    if nested := types & {dict, list}:
        place, value = next((place, r[name]) for place, r in batch if type(r.get(name)) in nested)
        raise InputError(
            f"{path} has the nested value {json.dumps(value)[:60]} of {name[:80]!r} in {place}; write its"
            " parts as columns"
        )
    if not types:
        return pl.Series(name, cells, pl.Null)
    if types == {int} and all(v is None or abs(cast(int, v)) < 2**63 for v in cells):
        return pl.Series(name, cells, pl.Int64)
    if types <= {int, float} and all(type(v) is not int or abs(v) < 2**63 for v in cells):
        return pl.Series(name, [None if v is None else float(cast(float, v)) for v in cells], pl.Float64)
    if types == {bool}:
        return pl.Series(name, cells, pl.Boolean)
    texts = [v if v is None or isinstance(v, str) else json.dumps(v) for v in cells]
    return pl.Series(name, texts, pl.String)


def _type(types: "list[pl.DataType]") -> "pl.DataType":
    """Return the type that holds the values of several batches of a column."""
    import polars as pl

    found = {*types} - {pl.Null()}
    if found == {pl.Int64(), pl.Float64()}:
        return pl.Float64()
    return found.pop() if len(found) == 1 else pl.String()
