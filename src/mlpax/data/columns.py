"""Turn a table's columns into inputs of a network: one class for each kind of column."""

import difflib
import itertools
import math
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np

from mlpax.data.kinds import (
    DATE_FORMATS,
    DATE_PARTS,
    Kind,
    date_parts,
    is_constant,
    kind_of,
    tidied,
    tidy_numbers,
)
from mlpax.data.tables import as_frame, as_text
from mlpax.errors import InputError, listed

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Category", "Column", "Columns", "Constant", "Date", "Number", "Text", "as_frame", "fit_columns",
           "from_json_1"]  # fmt: skip


ONE_HOT = 64  # levels; a category of more is embedded
MOST_LEVELS = 10_000  # the most frequent; all others are one
RARE = 2  # a level of fewer training rows is "other"
LARGEST = float(np.finfo(np.float64).max)


Record = dict[str, object]  # a JSON object of a model file


@dataclass(frozen=True)
class Number:
    """A column of numbers.

    Attributes
    ----------
    name : str
    median, scale : float
        What is subtracted from each number, and what the difference is multiplied by.
    missing : bool
        Whether training rows lacked the number. A second input then says which rows lack it.
    """

    name: str
    median: float
    scale: float
    missing: bool = False
    kind: ClassVar[str] = "number"
    codes: ClassVar[int] = 0

    @staticmethod
    def fit(values: "pl.Series") -> "Number | Constant":
        """Learn median and scale; a column without spread is constant."""
        median, scale = _robust(tidy_numbers(values))
        missing = values.null_count() > 0
        return Number(values.name, median, scale, missing) if scale or missing else Constant(values.name)

    @property
    def features(self) -> int:
        return 1 + self.missing

    def apply(self, values: "pl.Series") -> np.ndarray:
        """Return the inputs of the network: (rows, features), float32."""
        return _scaled(tidy_numbers(values)[:, None], (self.median,), (self.scale,), self.missing)

    def to_json(self) -> Record:
        return {"kind": self.kind, **asdict(self)}

    @staticmethod
    def from_json(record: Record) -> "Number":
        _check_fields(record, Number)
        median, scale = _floats(record, [record["median"], record["scale"]])
        return Number(_text(record, "name"), median, scale, _flag(record, "missing"))


@dataclass(frozen=True)
class Date:
    """A column of dates, times or lengths of time.

    Attributes
    ----------
    name : str
    format : str
        How dates in text are written, such as "%Y-%m-%d"; empty if the training rows were no text.
    medians, scales : tuple of float
        As of `Number`, for each part of a date, see `kinds.DATE_PARTS`.
    missing : bool
        Whether training rows lacked the date.
    """

    name: str
    format: str
    medians: tuple[float, ...]
    scales: tuple[float, ...]
    missing: bool = False
    kind: ClassVar[str] = "date"
    codes: ClassVar[int] = 0

    @staticmethod
    def fit(values: "pl.Series", date_format: str) -> "Date":
        """Learn median and scale of each part of the dates."""
        parts = date_parts(values, date_format, values.name)
        medians, scales = zip(*(_robust(part) for part in parts.T), strict=True)
        return Date(values.name, date_format, medians, scales, values.null_count() > 0)

    @property
    def features(self) -> int:
        return len(self.medians) + self.missing

    def apply(self, values: "pl.Series") -> np.ndarray:
        """Return the inputs of the network: (rows, features), float32."""
        parts = date_parts(values, self.format, self.name)
        return _scaled(parts, self.medians, self.scales, self.missing)

    def to_json(self) -> Record:
        return {"kind": self.kind, **asdict(self)}

    @staticmethod
    def from_json(record: Record) -> "Date":
        _check_fields(record, Date)
        medians, scales = (_floats(record, _items(record, name)) for name in ("medians", "scales"))
        written = _text(record, "format")
        if not (len(medians) == len(scales) == len(DATE_PARTS) and written in ("", *DATE_FORMATS)):
            raise ValueError(f"column {record['name']!r} does not fit its kind")
        return Date(_text(record, "name"), written, medians, scales, _flag(record, "missing"))


@dataclass(frozen=True)
class Category:
    """A column of categories.

    Up to `ONE_HOT` levels are one-hot inputs, and two levels are one input of -1 and 1. More levels are
    one code, which selects a row of an embedding.

    Attributes
    ----------
    name : str
    levels : tuple of str
        The levels seen in training, sorted. All other levels are one, "other".
    missing : bool
        Whether training rows lacked the category. A missing cell is then a level of its own.
    """

    name: str
    levels: tuple[str, ...]
    missing: bool = False
    kind: ClassVar[str] = "category"

    @staticmethod
    def fit(values: "pl.Series") -> "Category | Text":
        """Learn the levels; a column is text if nearly every row has a level of its own."""
        missing = values.null_count() > 0
        counts: list[tuple[str, int]] = as_text(values).drop_nulls().value_counts().rows()
        counts.sort(key=lambda row: (-row[1], row[0]))
        kept = [level for level, count in counts if count >= RARE][:MOST_LEVELS]
        if len(kept) + missing < 2:  # all are rare, or there is but one beside them
            kept = [level for level, _ in counts] if len(counts) <= ONE_HOT else kept
        return Category(values.name, tuple(sorted(kept)), missing) if kept else Text(values.name)

    @property
    def codes(self) -> int:
        """Rows of the embedding: the levels, "other", and missing; 0 if the inputs are one-hot."""
        return len(self.levels) + 2 if len(self.levels) > ONE_HOT else 0

    @property
    def two_sided(self) -> bool:
        return len(self.levels) == 2 and not self.missing

    @property
    def features(self) -> int:
        if self.codes:
            return 0
        return 1 if self.two_sided else len(self.levels) + self.missing

    def apply(self, values: "pl.Series") -> np.ndarray:
        """Return the inputs of the network, (rows, features), or the codes, (rows, 1); float32."""
        codes = self._numbered(values)[:, None]
        if self.codes:
            return codes.astype(np.float32)
        if self.two_sided:
            return np.where(codes < 2, 2.0 * codes - 1, 0).astype(np.float32)
        n = len(self.levels)
        return (codes == np.array([*range(n), *([n + 1] if self.missing else [])])).astype(np.float32)

    def _numbered(self, values: "pl.Series") -> np.ndarray:
        """Return the number of each row's level: 0 .. levels - 1, then "other", then missing."""
        import polars as pl

        text = as_text(values)
        numbered = {other: i for i, level in enumerate(self.levels) for other in _spellings(level)}
        numbered |= {level: i for i, level in enumerate(self.levels)}
        found = text.replace_strict(numbered, default=len(self.levels), return_dtype=pl.Int64)
        codes = found.to_numpy().copy()
        codes[text.is_null().to_numpy()] = len(self.levels) + 1
        return codes

    def to_json(self) -> Record:
        return {"kind": self.kind, **asdict(self)}

    @staticmethod
    def from_json(record: Record) -> "Category":
        _check_fields(record, Category)
        levels = tuple(level for level in _items(record, "levels") if isinstance(level, str))
        if len(levels) < len(_items(record, "levels")):
            raise ValueError(f"column {record['name']!r} is of wrong types")
        if len(set(levels)) < len(levels):
            raise ValueError(f"column {record['name']!r} does not fit its kind")
        return Category(_text(record, "name"), levels, _flag(record, "missing"))


@dataclass(frozen=True)
class _LeftOut:
    """What columns share that are no input of the network."""

    name: str
    features: ClassVar[int] = 0
    codes: ClassVar[int] = 0

    def apply(self, values: "pl.Series") -> np.ndarray:
        """Return no inputs: (rows, 0), float32."""
        return np.zeros((len(values), 0), np.float32)


@dataclass(frozen=True)
class Text(_LeftOut):
    """A column of text that differs in nearly every row, such as names or identifiers."""

    kind: ClassVar[str] = "text"

    def to_json(self) -> Record:
        return {"kind": self.kind, "name": self.name}

    @staticmethod
    def from_json(record: Record) -> "Text":
        _check_fields(record, Text)
        return Text(_text(record, "name"))


@dataclass(frozen=True)
class Constant(_LeftOut):
    """A column of one value."""

    kind: ClassVar[str] = "constant"

    def to_json(self) -> Record:
        return {"kind": self.kind, "name": self.name}

    @staticmethod
    def from_json(record: Record) -> "Constant":
        _check_fields(record, Constant)
        return Constant(_text(record, "name"))


Column = Number | Date | Category | Text | Constant


# Records of a model file, which may hold anything


def _check_fields(record: Record, of: "type[Column]") -> None:
    if record.keys() != {"kind", *(field.name for field in fields(of))}:
        raise ValueError(f"column {record.get('name')!r} does not fit its kind")


def _text(record: Record, name: str) -> str:
    value = record[name]
    if not isinstance(value, str):
        raise ValueError(f"column {record['name']!r} is of wrong types")
    return value


def _flag(record: Record, name: str) -> bool:
    value = record[name]
    if not isinstance(value, bool):
        raise ValueError(f"column {record['name']!r} is of wrong types")
    return value


def _items(record: Record, name: str) -> list[object]:
    value = record[name]
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"column {record['name']!r} is of wrong types")
    return list(cast("list[object]", value))


def _floats(record: Record, values: list[object]) -> tuple[float, ...]:
    """Return finite numbers as floats."""
    found = tuple(float(v) for v in values if type(v) in (int, float) and abs(cast(float, v)) <= LARGEST)  # type: ignore[arg-type]
    if len(found) < len(values):
        raise ValueError(f"column {record['name']!r} is of wrong types")
    return found


def _records(value: object) -> list[Record]:
    """Return a list of JSON objects."""
    items = cast("list[object]", value) if isinstance(value, list) else [None]
    if not all(isinstance(item, dict) for item in items):
        raise ValueError("its columns are no list of records")
    return cast("list[Record]", items)


FIELDS_1 = {"name", "kind", "medians", "scales", "missing", "levels", "date_format"}


def from_json_1(value: object) -> "Columns":
    """Read the columns of a model file of format 1, in which all kinds have the same fields.

    Raises
    ------
    ValueError
        If the value is not what format 1 holds.
    """
    return Columns.from_json([_from_1(record) for record in _records(value)])


def _from_1(record: Record) -> Record:
    """Return a record of format 2 from one of format 1."""
    if record.keys() != FIELDS_1:
        raise ValueError("its columns are no list of records")
    medians, scales, levels = (_items(record, name) for name in ("medians", "scales", "levels"))
    written, missing, name = _text(record, "date_format"), _flag(record, "missing"), _text(record, "name")
    kind = _text(record, "kind")
    parts = {"number": 1, "date": len(DATE_PARTS), "category": 0, "constant": 0}.get(kind)
    unused = (levels and kind != "category") or (written and kind != "date")
    if not len(medians) == len(scales) == parts or unused:
        raise ValueError(f"column {name!r} does not fit its kind")
    common: Record = {"kind": kind, "name": name}
    match kind:
        case "number":
            return common | {"median": medians[0], "scale": scales[0], "missing": missing}
        case "date":
            return common | {"format": written, "medians": medians, "scales": scales, "missing": missing}
        case "category":
            return common | {"levels": levels, "missing": missing}
        case _:
            return common


@dataclass(frozen=True)
class Columns:
    """The transform of a table's columns into inputs of a network.

    Numbers are filled with the median, `(x - median) * scale` with the quartiles' distance, and clipped
    smoothly, `x / sqrt(1 + (x / 3)^2)` (Holzmüller et al. 2024); categories one-hot, of two levels -1
    and 1; larger ones as codes for an embedding; dates as calendar parts.
    """

    columns: tuple[Column, ...]

    def to_json(self) -> list[Record]:
        return [column.to_json() for column in self.columns]

    @staticmethod
    def from_json(value: object) -> "Columns":
        """Read the columns of a record that may hold anything.

        Raises
        ------
        ValueError
            If the value is not what `to_json` gives.
        """
        kinds = {of.kind: of for of in (Number, Date, Category, Text, Constant)}
        columns: list[Column] = []
        for record in _records(value):
            kind = record.get("kind")
            if not isinstance(kind, str) or kind not in kinds:
                raise ValueError(f"column {record.get('name')!r} does not fit its kind")
            columns.append(kinds[kind].from_json(record))
        if len({c.name for c in columns}) < len(columns):
            raise ValueError("it has a column twice")
        return Columns(tuple(columns))

    @property
    def embeddings(self) -> tuple[int, ...]:
        """Rows of each embedding, whose codes are the last columns of the inputs."""
        return tuple(c.codes for c in self.columns if c.codes)

    @property
    def dense(self) -> int:
        """Inputs that are no codes."""
        return sum(c.features for c in self.columns)

    @property
    def places(self) -> dict[str, list[int]]:
        """Where among the inputs each column is that varies."""
        dense = iter(range(self.dense + len(self.embeddings)))
        found = {c.name: list(itertools.islice(dense, c.features)) for c in self.varying if not c.codes}
        return found | {c.name: [next(dense)] for c in self.varying if c.codes}

    @property
    def varying(self) -> list[Number | Date | Category]:
        """The columns that are inputs of the network."""
        return [c for c in self.columns if not isinstance(c, (Text, Constant))]

    def __call__(self, frame: "pl.DataFrame") -> np.ndarray:
        """Inputs of the rows of a frame: (rows, dense + embeddings), float32.

        Raises
        ------
        InputError
            If a column is missing (with the nearest name) or a cell is not of its kind (with its row).
        """
        names = [c.name for c in self.columns]
        for name in names:
            if name not in frame.columns:
                near = difflib.get_close_matches(name, [c for c in frame.columns if c not in names], n=1)
                hint = f"; is it {near[0]!r}?" if near else f"; the data has {listed(frame.columns)}"
                raise InputError(f"column {name!r} is missing{hint}")
        dense: list[np.ndarray] = [np.zeros((frame.height, 0), np.float32)]
        codes: list[np.ndarray] = []
        cells = tidied(frame.select(c.name for c in self.varying))
        for column, values in zip(self.varying, cells, strict=True):
            (codes if column.codes else dense).append(column.apply(values))
        return np.hstack(dense + codes)


def fit_columns(frame: "pl.DataFrame", kinds: "dict[str, Kind] | None" = None) -> Columns:
    """Learn each column's transform from training rows.

    Parameters
    ----------
    frame : polars.DataFrame
        The training rows.
    kinds : dict, optional
        Each column's kind, as `kind_of` tells it of all rows: a column of text is none of numbers or of
        dates in one format because its training rows happen to be. By default it is told of these rows.
    """
    kinds = kinds or {}
    columns = tuple(_fit(values, kinds.get(values.name)) for values in tidied(frame))
    found = Columns(columns)
    if not found.varying:
        if texts := [c.name for c in columns if isinstance(c, Text)]:
            raise InputError(f"no column is left: nearly every row has another text in {listed(texts)}")
        raise InputError("every column is constant; there is nothing to learn from")
    return found


def _fit(values: "pl.Series", told: Kind | None) -> Column:
    if is_constant(values):
        return Constant(values.name)
    kind, date_format = told or kind_of(values)
    match kind:
        case "constant":  # as its other rows are
            return Constant(values.name)
        case "number":
            return Number.fit(values)
        case "category":
            return Category.fit(values)
        case _:
            return Date.fit(values, date_format)


def _robust(x: np.ndarray) -> tuple[float, float]:
    """Median, and one over the quartiles' distance (else half the range; 0 where there is no spread)."""
    x = x[np.isfinite(x)]
    if x.size == 0:
        return 0.0, 0.0
    low, median, high = np.percentile(x, (25, 50, 75))
    over, spread = (1, high - low) if high > low else (2, x.max() - x.min())
    with np.errstate(over="ignore"):  # of a spread too small to be one
        scale = over / spread if spread > 0 else 0.0
    return float(median), float(scale) if math.isfinite(scale) else 0.0


def _scaled(
    x: np.ndarray, medians: tuple[float, ...], scales: tuple[float, ...], missing: bool
) -> np.ndarray:
    """Return numbers centred, scaled and clipped smoothly, and with `missing` which of them were NaN."""
    lacks = np.isnan(x[:, :1])
    x = np.where(np.isnan(x), medians, x)
    with np.errstate(over="ignore"):
        x = (x - np.array(medians)) * np.array(scales)
    x = np.clip(x, -1e100, 1e100)  # its square is finite
    x = x / np.sqrt(1 + (x / 3) ** 2)
    return np.hstack([x, lacks] if missing else [x]).astype(np.float32)


def _spellings(level: str) -> list[str]:
    """How else a file or a frame may write the level."""
    word, whole = level.lower(), level.removesuffix(".0")
    if word in ("true", "false"):
        return [word, word.title(), word.upper(), str(int(word == "true"))]
    return [whole, f"{whole}.0"] if whole.removeprefix("-").isdecimal() else []
