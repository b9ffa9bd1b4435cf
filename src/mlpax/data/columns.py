"""Turn a table's columns into inputs of a network: one class for each kind of column."""

import difflib
import functools
import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from shlex import quote
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np

from mlpax.data import date_graph
from mlpax.data.dates import DATE_PARTS, date_parts, is_date_format
from mlpax.data.graph import ROWS, Value
from mlpax.data.kinds import LARGEST_INPUT, Kind, as_text, is_constant, numbers, tell_kinds, typed
from mlpax.data.numerals import MISSING, Numerals, bounds_of, counts_of
from mlpax.data.tables import SLICE, as_frame
from mlpax.data.text import Vocabulary, directions_of, sampled
from mlpax.errors import InputError, listed

if TYPE_CHECKING:
    import polars as pl

    from mlpax.data.graph import Graph

__all__ = ["Category", "Column", "Columns", "Date", "Input", "LeftOut", "Number", "Text", "as_frame",
           "checked", "fit_column", "fit_columns", "from_json_1", "inputs_beside", "robust_of"]  # fmt: skip


PART = 1 << 26  # bytes of inputs; of fewer malloc would keep the memory when they are freed
BLOCK = 8192  # rows whose inputs are computed at a time, so that they stay in the cache
ONE_HOT = 64  # levels; a category of more is embedded
MOST_LEVELS = 10_000  # the most frequent; all others are one
FEW = 1000  # cells; polars takes a fraction of a millisecond to prepare, and is faster from here
RARE = 2  # a level of fewer training rows is "other"
LARGEST = float(np.finfo(np.float64).max)
CLIPPED = 1 - 1e-7  # the largest share of the bound of an input that tells a number
DAYS = -700_000, 2_900_000  # of the years 54 to 9909, from 1970


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
    numerals : Numerals
        How text writes the numbers. If some are bounds, such as `<0.5`, a last input says so: -1 for `<`,
        1 for `>`, else 0.
    clock : bool
        Whether the numbers are times of day or lengths of time, in seconds.
    """

    name: str
    median: float
    scale: float
    missing: bool = False
    numerals: Numerals = Numerals()
    clock: bool = False
    kind: ClassVar[str] = "number"
    codes: ClassVar[int] = 0

    @staticmethod
    def fit(values: "pl.Series", kind: Kind) -> "Number | LeftOut":
        """Learn median and scale; a column without spread is constant."""
        x = typed(values, kind).to_numpy()
        return Number.of(values.name, kind, _robust(x), missing=bool(np.isnan(x).any()))

    @staticmethod
    def of(name: str, kind: Kind, robust: tuple[float, float], *, missing: bool) -> "Number | LeftOut":
        """Return the column of a median and a scale, see `robust_of`."""
        median, scale = robust
        if not (scale or missing or kind.numerals.bounds):
            return LeftOut(name, "constant")
        return Number(name, median, scale, missing, kind.numerals, kind.clock)

    @property
    def features(self) -> int:
        return 1 + self.missing + self.numerals.bounds

    @property
    def reading(self) -> Kind:
        """How the cells are read."""
        return Kind("number", self.numerals, self.clock)

    def read(self, values: "pl.Series") -> np.ndarray:
        """Return the cells as numbers, and behind them their bounds if there are some: (rows, 1 or 2)."""
        x = numbers(values, self.reading)[:, None]
        return np.hstack([x, bounds_of(values, self.numerals)[:, None]]) if self.numerals.bounds else x

    def inputs(self, cells: np.ndarray) -> np.ndarray:
        """Return the inputs of the network for cells that were read: (rows, features), float32."""
        found = _scaled(cells[:, :1], (self.median,), (self.scale,), self.missing)
        return np.hstack([found, cells[:, 1:].astype(np.float32)]) if self.numerals.bounds else found

    @staticmethod
    def to_onnx(graph: "Graph", columns: "Sequence[Number]") -> Value:
        """Add columns that stand beside each other to a graph, and return what `inputs` does.

        Each is an input of float64, NaN where missing. A column of which some cells are bounds has a second
        one, `<name>_bound`.
        """
        x = [graph.input(c.name, "float64", (ROWS, 1), "seconds" if c.clock else "number") for c in columns]
        medians, scales = [c.median for c in columns], [c.scale for c in columns]
        scaled, lacks = _scaled_in(graph, graph("Concat", *x, axis=1), medians, scales)
        each, places, others = len(columns), list[int](), list[Value]()
        for k, column in enumerate(columns):
            places += [k, *([each + k] if column.missing else [])]
            if column.numerals.bounds:
                places.append(2 * each + len(others))
                note = "-1 for a bound such as <5, 1 for one such as >5, 0 for a number"
                others.append(graph.input(f"{column.name}_bound", "float32", (ROWS, 1), note))
        whole = graph("Concat", scaled, graph.cast(lacks, "float32"), *others, axis=1)
        return graph("Gather", whole, graph.constant(places, "int64"), axis=1)

    def undo(self, inputs: np.ndarray) -> np.ndarray:
        """Return the numbers that inputs stand for, (rows,), NaN where missing; see `_unscaled`."""
        return _unscaled(inputs, self.median, self.scale, self.missing)

    def to_json(self) -> Record:
        return {"kind": self.kind, **asdict(self), "numerals": self.numerals.to_json()}

    @staticmethod
    def from_json(record: Record) -> "Number":
        record = {"numerals": Numerals().to_json(), "clock": False} | record  # which few files state
        _check_fields(record, Number)
        median, scale = _floats(record, [record["median"], record["scale"]])
        numerals = Numerals.from_json(record["numerals"])
        return Number(
            _text(record, "name"), median, scale, _flag(record, "missing"), numerals, _flag(record, "clock")
        )


@dataclass(frozen=True)
class Date:
    """A column of dates, times or lengths of time.

    Attributes
    ----------
    name : str
    format : str
        How text writes dates, see `dates.read_dates`.
    medians, scales : tuple of float
        As of `Number`, for each part of a date, see `dates.DATE_PARTS`.
    missing : bool
        Whether training rows lacked the date.
    marks : tuple of str
        More spellings of a missing date.
    lenient : bool
        Whether every cell that is no date is missing, as the user says.
    """

    name: str
    format: str
    medians: tuple[float, ...]
    scales: tuple[float, ...]
    missing: bool = False
    marks: tuple[str, ...] = ()
    lenient: bool = False
    kind: ClassVar[str] = "date"
    codes: ClassVar[int] = 0

    @staticmethod
    def fit(values: "pl.Series", kind: Kind) -> "Date":
        """Learn median and scale of each part of the dates."""
        parts = date_parts(typed(values, kind))
        robust = [_robust(part) for part in parts.T]
        return Date.of(values.name, kind, robust, missing=bool(np.isnan(parts).any()))

    @staticmethod
    def of(name: str, kind: Kind, robust: Sequence[tuple[float, float]], *, missing: bool) -> "Date":
        """Return the column of a median and a scale for each part of the dates, see `robust_of`."""
        medians, scales = zip(*robust, strict=True)
        return Date(name, kind.format, medians, scales, missing, kind.missing, kind.lenient)

    @property
    def features(self) -> int:
        return len(self.medians) + self.missing

    @property
    def reading(self) -> Kind:
        """How the cells are read."""
        return Kind("date", format=self.format, missing=self.marks, lenient=self.lenient)

    def read(self, values: "pl.Series") -> np.ndarray:
        """Return the calendar parts of the cells: (rows, 6)."""
        return date_parts(typed(values, self.reading))

    def inputs(self, cells: np.ndarray) -> np.ndarray:
        """Return the inputs of the network for cells that were read: (rows, features), float32."""
        return _scaled(cells, self.medians, self.scales, self.missing)

    def to_onnx(self, graph: "Graph") -> Value:
        """Add the column to a graph, and return what `inputs` does.

        It is an input of text, or of whole microseconds since 1970, of which the smallest int64 is missing.
        """
        if graph.dates == "text":
            text = graph.input(self.name, "str", (ROWS, 1), "date, such as 2024-12-31 or 2024-12-31 12:30:59")
            time = date_graph.read_dates(graph, text, self.format, self.marks, lenient=self.lenient)
        else:
            time = graph.input(self.name, "int64", (ROWS, 1), "microseconds since 1970")
        scaled, lacks = _scaled_in(graph, date_graph.date_parts(graph, time), self.medians, self.scales)
        if not self.missing:
            return scaled
        first = graph("Gather", graph.cast(lacks, "float32"), graph.constant([0], "int64"), axis=1)
        return graph("Concat", scaled, first, axis=1)

    def undo(self, inputs: np.ndarray) -> np.ndarray:
        """Return the dates that inputs stand for, (rows,) of datetime64, NaT where missing.

        They are whole hours, or whole days of a column whose hours are all the same.
        """
        parts = [DATE_PARTS.index("days"), *([-1] if self.missing else [])]
        days = _unscaled(inputs[:, parts], self.medians[0], self.scales[0], self.missing)
        unit = 24 if self.scales[DATE_PARTS.index("hour")] else 1
        hours = 24 // unit * np.round(np.clip(days, *DAYS) * unit)
        return np.where(np.isnan(hours), np.iinfo(np.int64).min, hours).astype("int64").view("datetime64[h]")

    def to_json(self) -> Record:
        return {"kind": self.kind, **asdict(self)}

    @staticmethod
    def from_json(record: Record) -> "Date":
        record = {"marks": list[object](), "lenient": False} | record
        _check_fields(record, Date)
        medians, scales = (_floats(record, _items(record, name)) for name in ("medians", "scales"))
        written = _text(record, "format")
        if not (len(medians) == len(scales) == len(DATE_PARTS) and is_date_format(written)):
            raise ValueError(f"column {record['name']!r} does not fit its kind")
        marks = _texts(record, "marks")
        return Date(
            _text(record, "name"),
            written,
            medians,
            scales,
            _flag(record, "missing"),
            marks,
            _flag(record, "lenient"),
        )


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
    marks : tuple of str
        The texts that stand for a missing cell.
    """

    name: str
    levels: tuple[str, ...]
    missing: bool = False
    marks: tuple[str, ...] = MISSING
    kind: ClassVar[str] = "category"

    @staticmethod
    def fit(values: "pl.Series", kind: Kind) -> "Category | LeftOut":
        """Learn the levels; a column is text if nearly every row has a level of its own."""
        import polars as pl

        if values.dtype != pl.Boolean:
            values = as_text(values)
        counts, missing = Counter[str](), False
        for start in range(0, len(values), SLICE):  # what is read of all cells would take much memory
            cells = as_text(typed(values[start : start + SLICE], kind))
            missing |= cells.null_count() > 0
            counts.update(dict(counts_of(cells.drop_nulls())))
        return Category.of(values.name, kind, [*counts.items()], missing=missing)

    @staticmethod
    def of(name: str, kind: Kind, counts: list[tuple[str, int]], *, missing: bool) -> "Category | LeftOut":
        """Return the column of levels and how often each occurs."""
        counts = sorted(counts, key=lambda row: (-row[1], row[0]))
        kept = [level for level, count in counts if count >= RARE][:MOST_LEVELS]
        if len(kept) + missing < 2:  # all are rare, or there is but one beside them
            kept = [level for level, _ in counts] if len(counts) <= ONE_HOT else kept
        return Category(name, tuple(sorted(kept)), missing, kind.missing) if kept else LeftOut(name, "text")

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

    @property
    def reading(self) -> Kind:
        """How the cells are read. The levels and marks of a fold do not change it."""
        return Kind("category")

    def read(self, values: "pl.Series") -> "pl.Series":
        """Return the cells as text."""
        return as_text(values)

    def inputs(self, cells: "pl.Series") -> np.ndarray:
        """Return the inputs for cells that were read, (rows, features), or the codes, (rows, 1); float32."""
        codes = self.numbered(cells)
        return codes[:, None].astype(np.float32) if self.codes else self.inputs_of_codes.take(codes, axis=0)

    @functools.cached_property
    def inputs_of_codes(self) -> np.ndarray:
        """The inputs for each code that is no embedding's: (levels + 2, features), float32."""
        n = len(self.levels)
        if self.two_sided:
            return np.array([[-1], [1], [0], [0]], np.float32)
        codes = np.array([*range(n), *([n + 1] if self.missing else [])])
        return (np.arange(n + 2)[:, None] == codes).astype(np.float32)

    def to_onnx(self, graph: "Graph") -> Value:
        """Add the column to a graph, and return what `inputs` does; of codes as int64.

        It is an input of text, empty where missing.
        """
        text = graph.input(self.name, "str", (ROWS, 1), f"category: {listed(self.levels)}")
        known = {"" if cell is None else cell: number for cell, number in self._numbers.items()}
        codes = graph(
            "LabelEncoder", text, keys_strings=[*known], values_int64s=[*known.values()],
            default_int64=len(self.levels),
        )  # fmt: skip
        if self.codes:
            return codes
        flat = graph("Reshape", codes, graph.constant([-1], "int64"))
        return graph("Gather", graph.constant(self.inputs_of_codes, "float32"), flat, axis=0)

    def undo(self, inputs: np.ndarray) -> np.ndarray:
        """Return the levels that inputs stand for, (rows,) of text, empty where they stand for none."""
        codes = inputs[:, 0].astype(int)
        if not self.codes:
            n, one = len(self.levels), inputs[:, : len(self.levels)]
            codes = np.where(one.any(axis=1), one.argmax(axis=1), n)
            if self.two_sided:
                codes = np.where(inputs[:, 0] == 0, n, inputs[:, 0] > 0)
        return np.array([*self.levels, "", ""], object)[codes]

    @functools.cached_property
    def known(self) -> frozenset[str | None]:
        """The texts that are not "other": levels, other spellings of them, and those of a missing cell."""
        return frozenset(self._numbers)

    @functools.cached_property
    def _numbers(self) -> dict[str | None, int]:
        """The number of each text that is known: 0 .. levels - 1, and levels + 1 if a cell is missing."""
        levels = list(enumerate(self.levels))
        spelled = {text: i for i, level in levels for text in _spellings(level)}
        missing = dict.fromkeys((None, *self.marks), len(self.levels) + 1)
        return spelled | missing | {level: i for i, level in levels}

    def unknown(self, values: "pl.Series") -> tuple[int, str]:
        """Return how many cells hold a level that training has not taught, and one such level."""
        counts = counts_of(self.read(values).drop_nulls())
        others = [(text, count) for text, count in counts if text not in self.known]
        return sum(count for _, count in others), min((text for text, _ in others), default="")

    def numbered(self, text: "pl.Series") -> np.ndarray:
        """Return the number of each row's level: 0 .. levels - 1, then "other", then missing."""

        other = len(self.levels)
        if len(text) <= FEW:
            return np.array([self._numbers.get(cell, other) for cell in text.to_list()], np.int64)
        known, numbers = self._places
        codes = numbers[text.cast(known, strict=False).to_physical().fill_null(len(numbers) - 1).to_numpy()]
        codes[text.is_null().to_numpy()] = other + 1
        return codes

    @functools.cached_property
    def _places(self) -> "tuple[pl.Enum, np.ndarray]":
        """The known texts as a type of polars, and the number of each; last that of all others."""
        import polars as pl

        known = {cell: number for cell, number in self._numbers.items() if cell is not None}
        return pl.Enum([*known]), np.array([*known.values(), len(self.levels)])

    def to_json(self) -> Record:
        return {"kind": self.kind, **asdict(self)}

    @staticmethod
    def from_json(record: Record) -> "Category":
        record = {"marks": list(MISSING)} | record
        _check_fields(record, Category)
        levels, marks = _texts(record, "levels"), _texts(record, "marks")
        if len(set(levels)) < len(levels):
            raise ValueError(f"column {record['name']!r} does not fit its kind")
        return Category(_text(record, "name"), levels, _flag(record, "missing"), marks)


@dataclass(frozen=True)
class Text:
    """A column of free text, whose words and parts of words are inputs.

    The weights of the terms (TF-IDF) are projected on a few directions, see `text.Vocabulary`.

    Attributes
    ----------
    name : str
    vocabulary : Vocabulary
        The terms that are told apart.
    means : tuple of float
        What is subtracted from the weight in each direction.
    missing : bool
        Whether training rows lacked the text. A last input then says which rows lack it.
    marks : tuple of str
        The texts that stand for a missing cell.
    directions : array of shape (terms, directions), float32
        Beside the JSON record, see `Columns.arrays`.
    """

    name: str
    vocabulary: Vocabulary
    means: tuple[float, ...]
    missing: bool = False
    marks: tuple[str, ...] = MISSING
    directions: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32), compare=False)
    kind: ClassVar[str] = "text"
    codes: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if not np.isfinite(self.directions).all():
            raise ValueError(f"column {self.name!r} holds a number that is not finite")

    @staticmethod
    def fit(values: "pl.Series", kind: Kind) -> "Text | LeftOut":
        """Learn terms and directions; without a term that two rows share, the column is left out."""
        values = as_text(typed(values, kind))
        texts = sampled(values.drop_nulls().to_list())
        vocabulary = Vocabulary.of(texts)
        directions, means = directions_of(vocabulary, texts)
        if not len(means):
            return LeftOut(values.name, "text")
        missing = values.null_count() > 0
        return Text(values.name, vocabulary, _floats_of(means), missing, kind.missing, directions)

    @property
    def shape(self) -> tuple[int, int]:
        """The shape of the directions."""
        return len(self.vocabulary.counts), len(self.means)

    @property
    def features(self) -> int:
        return len(self.means) + self.missing

    @property
    def reading(self) -> Kind:
        """How the cells are read. The marks of a fold do not change it."""
        return Kind("text")

    def read(self, values: "pl.Series") -> "pl.Series":
        """Return the cells as text."""
        return as_text(values)

    def inputs(self, cells: "pl.Series") -> np.ndarray:
        """Return the inputs of the network for cells that were read: (rows, features), float32.

        A text without a known term, and a missing one, are 0 in all directions, as the mean text is.
        """
        texts = [None if cell in self._marked else cell for cell in cells.to_list()]
        weights = self.vocabulary.projected([text or "" for text in texts], self.directions)
        found = np.where(weights.any(axis=1, keepdims=True), weights - self.means, 0)
        found = np.clip(found, -LARGEST_INPUT, LARGEST_INPUT)  # which a file could exceed
        lacks = np.array([[text is None] for text in texts], bool).reshape(-1, 1)
        return np.hstack([found, lacks] if self.missing else [found]).astype(np.float32)

    @functools.cached_property
    def _marked(self) -> frozenset[str]:
        return frozenset(self.marks)

    def to_onnx(self, graph: "Graph") -> Value:
        """Refuse: the operators of ONNX split texts in other ways."""
        raise InputError(
            f"column {self.name!r} is free text, which this export cannot compute; train without it:"
            f" --column {quote(f'{self.name}=drop')}"
        )

    def to_json(self) -> Record:
        own: Record = {"kind": self.kind, "name": self.name, **asdict(self.vocabulary)}
        return own | {"means": self.means, "missing": self.missing, "marks": self.marks}

    @staticmethod
    def from_json(record: Record) -> "Text | LeftOut":
        """Read a record. With a name alone it is a column that was left out."""
        if record.keys() == {"kind", "name"}:
            return LeftOut.from_json(record)
        if record.keys() != {
            "kind",
            "name",
            "means",
            "missing",
            "marks",
            *(f.name for f in fields(Vocabulary)),
        }:
            raise ValueError(f"column {record.get('name')!r} does not fit its kind")
        words, parts, counts = _texts(record, "words"), _texts(record, "parts"), _items(record, "counts")
        rows = record["rows"]
        whole = [n for n in (*counts, rows) if type(n) is int]
        means = _floats(record, _items(record, "means"))
        if len(whole) <= len(counts) or not all(1 <= n <= whole[-1] < 2**53 for n in whole):
            raise ValueError(f"column {record['name']!r} counts no rows")
        if not 1 <= len(means) <= len(counts) == len({*words}) + len({*parts}) or len(counts) != len(
            words
        ) + len(parts):
            raise ValueError(f"column {record['name']!r} does not fit its kind")
        vocabulary = Vocabulary(words, parts, tuple(whole[:-1]), whole[-1])
        return Text(
            _text(record, "name"), vocabulary, means, _flag(record, "missing"), _texts(record, "marks")
        )


@dataclass(frozen=True)
class LeftOut:
    """A column that is no input of the network.

    Attributes
    ----------
    name : str
    kind : {"constant", "text", "id", "drop"}
        Why: it has one value; or another text in nearly every row; it names the rows; or the user says so.
    """

    name: str
    kind: str
    features: ClassVar[int] = 0
    codes: ClassVar[int] = 0

    def to_json(self) -> Record:
        return asdict(self)

    @staticmethod
    def from_json(record: Record) -> "LeftOut":
        _check_fields(record, LeftOut)
        return LeftOut(_text(record, "name"), _text(record, "kind"))


Input = Number | Date | Category | Text  # a column that is an input of the network
Column = Input | LeftOut
KINDS = {of.kind: of for of in (Number, Date, Category, Text)} | dict.fromkeys(
    ("constant", "id", "drop"), LeftOut
)


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


def _texts(record: Record, name: str) -> tuple[str, ...]:
    items = _items(record, name)
    found = tuple(item for item in items if isinstance(item, str))
    if len(found) < len(items):
        raise ValueError(f"column {record['name']!r} is of wrong types")
    return found


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
    and 1; larger ones as codes for an embedding; dates as calendar parts; text as weights of its terms.
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
        columns: list[Column] = []
        for record in _records(value):
            kind = record.get("kind")
            if not isinstance(kind, str) or kind not in KINDS:
                raise ValueError(f"column {record.get('name')!r} does not fit its kind")
            columns.append(KINDS[kind].from_json(record))
        if len({c.name for c in columns}) < len(columns):
            raise ValueError("it has a column twice")
        return Columns(tuple(columns))

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays that a file holds beside the records, by `<number of the column>.directions`."""
        return {f"{i}.directions": c.directions for i, c in enumerate(self.columns) if isinstance(c, Text)}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes that the records ask of the arrays."""
        return {f"{i}.directions": c.shape for i, c in enumerate(self.columns) if isinstance(c, Text)}

    def with_arrays(self, arrays: Mapping[str, np.ndarray]) -> "Columns":
        """Return the columns of records with their arrays, whose shapes have been checked."""
        columns = list(self.columns)
        for i, column in enumerate(columns):
            if isinstance(column, Text):
                columns[i] = replace(column, directions=arrays[f"{i}.directions"])
        return Columns(tuple(columns))

    @property
    def embeddings(self) -> tuple[int, ...]:
        """Rows of each embedding, whose codes are the last columns of the inputs."""
        return tuple(c.codes for c in self.columns if c.codes)

    @property
    def dense(self) -> int:
        """Inputs that are no codes."""
        return sum(c.features for c in self.columns)

    @functools.cached_property
    def places(self) -> dict[str, list[int]]:
        """Where among the inputs each column is that varies."""
        dense = iter(range(self.dense + len(self.embeddings)))
        found = {c.name: list(itertools.islice(dense, c.features)) for c in self.varying if not c.codes}
        return found | {c.name: [next(dense)] for c in self.varying if c.codes}

    @property
    def varying(self) -> list[Input]:
        """The columns that are inputs of the network."""
        return [c for c in self.columns if not isinstance(c, LeftOut)]

    @property
    def plain(self) -> list[str]:
        """The columns of numbers that a file writes plainly; a reader may give them as numbers."""
        return [c.name for c in self.columns if isinstance(c, Number) and c.reading == Kind("number")]

    @property
    def id(self) -> str | None:
        """The column that names the rows."""
        return next((c.name for c in self.columns if c.kind == "id"), None)

    def __call__(
        self, frame: "pl.DataFrame | dict[str, pl.Series]", order: np.ndarray | None = None
    ) -> np.ndarray:
        """Inputs of the rows of a frame: (rows, dense + embeddings), float32.

        With `order`, the numbers of rows, they are those rows' in that order. A dictionary of columns is
        emptied; see `inputs_beside`.

        Raises
        ------
        InputError
            If a column is missing (with the nearest name) or a cell is not of its kind (with its row).
        """
        return inputs_beside([self], frame, order)

    def to_onnx(self, graph: "Graph") -> tuple[Value, list[Value]]:
        """Add all columns to a graph: its inputs have their names.

        Returns
        -------
        dense : Value
            The inputs of the network that are no codes, (rows, dense), float32.
        codes : list of Value
            The codes for each embedding, (rows, 1), int64.
        """
        dense, codes = list[Value](), list[Value]()
        for of_numbers, columns in itertools.groupby(self.varying, lambda c: isinstance(c, Number)):
            if of_numbers:
                dense.append(Number.to_onnx(graph, [c for c in columns if isinstance(c, Number)]))
                continue
            for column in columns:
                if not isinstance(column, Number):
                    (codes if column.codes else dense).append(column.to_onnx(graph))
        return graph("Concat", *dense, axis=1) if dense else "", codes

    def check_names(self, found: Sequence[str]) -> None:
        """Raise an error if a column is missing."""
        names, there = [c.name for c in self.columns], set(found)
        for name in (c.name for c in self.varying):
            if name not in there:
                near = difflib.get_close_matches(name, [c for c in found if c not in names], n=1)
                hint = f"; is it {near[0]!r}?" if near else f"; the data has {listed(found)}"
                raise InputError(f"column {name!r} is missing{hint}")


def inputs_beside(
    transforms: Sequence[Columns],
    frame: "pl.DataFrame | dict[str, pl.Series]",
    order: np.ndarray | None = None,
) -> np.ndarray:
    """Return the inputs of several transforms of one table, beside each other; see `Columns`.

    The transforms are those of folds. They read most columns in the same way, so each is read once. Beside
    the inputs only one column's cells are in memory, and some rows of what is computed from them.

    A dictionary of columns is emptied while they are read. If nothing else holds the columns, the whole table
    and all inputs are then never in memory together.
    """
    import polars as pl

    table = frame if isinstance(frame, dict) else {values.name: values for values in frame.get_columns()}
    rows = len(next(iter(table.values()), ())) if order is None else len(order)
    widths = [transform.dense + len(transform.embeddings) for transform in transforms]
    emptied = table is frame
    # Column by column, the memory of the inputs grows as that of an emptied table shrinks. If the inputs lay
    # row by row, all their memory would be needed from the first column on.
    step = max(1, PART // (4 * BLOCK * max(1, sum(widths)))) * BLOCK if emptied else max(1, rows)
    parts = [
        np.empty((min(step, rows - start), sum(widths)), np.float32, order="F" if emptied else "C")
        for start in range(0, rows, step)
    ]
    firsts = [sum(widths[:k]) for k in range(len(widths))]
    for transform in transforms:
        transform.check_names([*table])
    places = [transform.places for transform in transforms]
    for versions in zip(*(transform.columns for transform in transforms), strict=True):
        read: dict[Kind, np.ndarray | pl.Series] = {}
        for k, column in enumerate(versions):
            if isinstance(column, LeftOut):
                continue
            if column.reading not in read:
                read[column.reading] = column.read(table[column.name])
            cells, place = read[column.reading], places[k][column.name]
            for start in range(0, rows if place else 0, BLOCK):
                part = slice(start, start + BLOCK)
                some = cells[part] if order is None else cells[order[part]]
                if isinstance(column, Category | Text):
                    inputs = column.inputs(cast("pl.Series", some))
                else:
                    inputs = column.inputs(cast(np.ndarray, some))
                to, first = parts[start // step], firsts[k] + place[0]
                to[start % step : start % step + BLOCK, first : first + len(place)] = inputs
        table.pop(versions[0].name, None)
    if not emptied and parts:
        return parts[0]
    found = np.empty((rows, sum(widths)), np.float32)
    for start in range(0, rows, step):
        found[start : start + step] = parts.pop(0)
    return found


def fit_columns(
    frame: "pl.DataFrame", kinds: dict[str, Kind] | None = None, rows: "pl.Series | None" = None
) -> Columns:
    """Learn each column's transform from training rows.

    Parameters
    ----------
    frame : polars.DataFrame
        The training rows, or all.
    kinds : dict, optional
        Each column's kind, as `tell_kinds` tells it of all rows: a column of text is none of numbers or of
        dates in one format because its training rows happen to be. By default it is told of these rows.
    rows : polars.Series of bool, optional
        Which rows of the frame are training rows.
    """
    kinds = tell_kinds(frame) if kinds is None else kinds
    trained = (values if rows is None else values.filter(rows) for values in frame.get_columns())
    return checked(tuple(fit_column(values, kinds[values.name]) for values in trained))


def checked(columns: tuple[Column, ...]) -> Columns:
    """Return the transform of these columns.

    Raises
    ------
    InputError
        If none of them is an input of the network.
    """
    found = Columns(columns)
    if not found.varying:
        if texts := [c.name for c in columns if isinstance(c, LeftOut) and c.kind == "text"]:
            raise InputError(f"no column is left: nearly every row has another text in {listed(texts)}")
        raise InputError("every column is constant; there is nothing to learn from")
    return found


def fit_column(values: "pl.Series", kind: Kind) -> Column:
    """Learn the transform of one column from its training rows."""
    if kind.name in ("id", "drop"):
        return LeftOut(values.name, kind.name)
    if kind.name == "constant" or is_constant(values):
        return LeftOut(values.name, "constant")
    match kind.name:
        case "number":
            return Number.fit(values, kind)
        case "date":
            return Date.fit(values, kind)
        case "text":
            return Text.fit(values, kind)
        case _:
            return Category.fit(values, kind)


def _floats_of(values: np.ndarray) -> tuple[float, ...]:
    return tuple(map(float, values))


def _robust(x: np.ndarray) -> tuple[float, float]:
    """Median, and one over the quartiles' distance (else half the range; 0 where there is no spread)."""
    x = x[np.isfinite(x)]
    if x.size == 0:
        return 0.0, 0.0
    low, median, high = np.percentile(x, (25, 50, 75), overwrite_input=True)  # of a copy, above
    return robust_of(low, median, high, x.min(), x.max())


def robust_of(
    low: np.float64, median: np.float64, high: np.float64, least: np.float64, largest: np.float64
) -> tuple[float, float]:
    """Return median and scale of a column with these quartiles and this range, see `_robust`."""
    over, spread = (1, high - low) if high > low else (2, largest - least)
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


def _scaled_in(
    graph: "Graph", x: Value, medians: Sequence[float], scales: Sequence[float]
) -> tuple[Value, Value]:
    """Return what `_scaled` does in a graph, float32, and which numbers are NaN, both (rows, columns)."""

    def constant(values: object) -> Value:
        return graph.constant(values, "float64")

    lacks = graph("IsNaN", x)
    x = graph("Mul", graph("Sub", x, constant(medians)), constant(scales))
    x = graph("Where", lacks, constant(0.0), graph("Clip", x, constant(-1e100), constant(1e100)))
    third = graph("Div", x, constant(3.0))
    smooth = graph("Sqrt", graph("Add", constant(1.0), graph("Mul", third, third)))
    return graph.cast(graph("Div", x, smooth), "float32"), lacks


def _unscaled(inputs: np.ndarray, median: float, scale: float, missing: bool) -> np.ndarray:
    """Return the numbers behind the inputs of `_scaled`, NaN where missing.

    They have the digits that float32 keeps: some are left of a number far beyond the quartiles.
    """
    found = np.full(len(inputs), median)
    if scale:
        x = np.clip(inputs[:, 0].astype(np.float64) / 3, -CLIPPED, CLIPPED)
        digits = min(max(math.floor(math.log10(scale)) + 5, -250), 250)
        found = np.round(3 * x / np.sqrt(1 - x**2) / scale + median, digits)
    return np.where(inputs[:, 1] == 1, np.nan, found) if missing else found


def _spellings(level: str) -> list[str]:
    """How else a file or a frame may write the level."""
    word, whole = level.lower(), level.removesuffix(".0")
    if word in ("true", "false"):
        return [word, word.title(), word.upper(), str(int(word == "true"))]
    return [whole, f"{whole}.0"] if whole.removeprefix("-").isdecimal() else []
