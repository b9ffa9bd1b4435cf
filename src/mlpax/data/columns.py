"""Transforms fitted on training rows only, whose state is plain numbers and text."""

import dataclasses
import difflib
import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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

__all__ = ["Column", "Columns", "as_frame", "fit_columns", "identifiers"]


ONE_HOT = 64  # levels; a category of more is embedded
MOST_LEVELS = 10_000  # the most frequent; all others are one
RARE = 2  # a level of fewer training rows is "other"
LARGEST = float(np.finfo(np.float64).max)


@dataclass(frozen=True)
class Column:
    """One column of a table, and what was learned of it.

    Attributes
    ----------
    name : str
    kind : {"number", "category", "date", "constant"}
    medians, scales : tuple of float
        Of a number, or of each part of a date.
    missing : bool
        Whether training rows lacked it: it then has an indicator (a category, a level of its own).
    levels : tuple of str
        Of a category, those seen in training; all others are "other".
    date_format : str
        Of a date in text.
    """

    name: str
    kind: str
    medians: tuple[float, ...] = ()
    scales: tuple[float, ...] = ()
    missing: bool = False
    levels: tuple[str, ...] = ()
    date_format: str = ""

    @property
    def embedded(self) -> bool:
        return self.kind == "category" and len(self.levels) > ONE_HOT

    @property
    def codes(self) -> int:
        """Rows of its embedding: the levels, "other", and missing."""
        return len(self.levels) + 2

    @property
    def features(self) -> int:
        """Inputs of the network it makes; an embedded one makes a code instead."""
        match self.kind:
            case "number":
                return 1 + self.missing
            case "date":
                return len(self.medians) + self.missing
            case "category" if not self.embedded:
                return 1 if self.two_sided else len(self.levels) + self.missing
            case _:
                return 0

    @property
    def two_sided(self) -> bool:
        """A category of two levels is one input of -1 and 1, 0 for any other."""
        return len(self.levels) == 2 and not self.missing


@dataclass(frozen=True)
class Columns:
    """The transform of a table's columns into inputs of a network.

    Numbers are filled with the median, `(x - median) * scale` with the quartiles' distance, and clipped
    smoothly, `x / sqrt(1 + (x / 3)^2)` (Holzmüller et al. 2024); categories one-hot, of two levels -1
    and 1; larger ones as codes for an embedding; dates as calendar parts.
    """

    columns: tuple[Column, ...]

    def to_json(self) -> list[dict[str, Any]]:
        return [_record(column) for column in self.columns]

    @staticmethod
    def from_json(value: Any) -> "Columns":
        """Return the transform of records as `to_json` makes them."""
        empty = {f.name: () if f.default == () else f.default for f in dataclasses.fields(Column)}
        old: list[dict[str, Any]] = []
        for c in value:
            medians, scales = c.get("medians", []), c.get("scales", [])
            if c["kind"] == "number":
                medians, scales = [c["median"]], [c["scale"]]
            kind = "constant" if c["kind"] == "text" else c["kind"]
            old.append(
                empty
                | {
                    "name": c["name"], "kind": kind, "medians": medians, "scales": scales,
                    "missing": c.get("missing", False), "levels": c.get("levels", []),
                    "date_format": c.get("format", ""),
                }
            )  # fmt: skip
        return Columns.from_json_1(old)

    @staticmethod
    def from_json_1(value: Any) -> "Columns":
        """The transform of a record that may hold anything.

        Raises
        ------
        ValueError
            If it is not what `to_json` gives.
        """

        def require(condition: bool, what: str) -> None:
            if not condition:
                raise ValueError(what)

        fields = {f.name for f in dataclasses.fields(Column)}
        records = isinstance(value, list) and all(isinstance(c, dict) and c.keys() == fields for c in value)
        require(records, "its columns are no list of records")
        columns: list[Column] = []
        for c in value:
            pair = c["medians"], c["scales"]
            require(
                all(isinstance(v, list) for v in (*pair, c["levels"]))
                and all(type(x) in (int, float) and abs(x) <= LARGEST for v in pair for x in v)
                and all(type(level) is str for level in c["levels"])
                and all(type(c[name]) is str for name in ("name", "kind", "date_format"))
                and type(c["missing"]) is bool,
                f"column {c['name']!r} is of wrong types",
            )
            parts = {"number": 1, "date": len(DATE_PARTS), "category": 0, "constant": 0}.get(c["kind"])
            fits = (
                all(len(v) == parts for v in pair)
                and len(set(c["levels"])) == len(c["levels"])
                and (c["kind"] == "category" or not c["levels"])
                and c["date_format"] in ("", *(DATE_FORMATS if c["kind"] == "date" else ()))
            )
            require(fits, f"column {c['name']!r} does not fit its kind")
            columns.append(Column(**(c | {k: tuple(c[k]) for k in ("medians", "scales", "levels")})))
        require(len({c.name for c in columns}) == len(columns), "it has a column twice")
        return Columns(tuple(columns))

    @property
    def embeddings(self) -> tuple[int, ...]:
        """Rows of each embedding, whose codes are the last columns of the inputs."""
        return tuple(c.codes for c in self.columns if c.embedded)

    @property
    def dense(self) -> int:
        """Inputs that are no codes."""
        return sum(c.features for c in self.columns)

    @property
    def places(self) -> dict[str, list[int]]:
        """Where among the inputs each column is that varies."""
        dense = iter(range(self.dense + len(self.embeddings)))
        found = {c.name: list(itertools.islice(dense, c.features)) for c in self._varying if not c.embedded}
        return found | {c.name: [next(dense)] for c in self._varying if c.embedded}

    @property
    def _varying(self) -> list[Column]:
        return [c for c in self.columns if c.kind != "constant"]

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
        cells = tidied(frame.select(c.name for c in self._varying))
        for column, values in zip(self._varying, cells, strict=True):
            if column.embedded:
                codes.append(_codes(column, values)[:, None].astype(np.float32))
            else:
                dense.append(_inputs(column, values))
        return np.hstack(dense + codes)


def _record(column: Column) -> dict[str, Any]:
    record: dict[str, Any] = {"kind": column.kind, "name": column.name}
    if column.kind == "number":
        record |= {"median": column.medians[0], "scale": column.scales[0]}
    elif column.kind == "date":
        record |= {"format": column.date_format, "medians": [*column.medians], "scales": [*column.scales]}
    elif column.kind == "category":
        record["levels"] = [*column.levels]
    return record if column.kind == "constant" else record | {"missing": column.missing}


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
    if all(c.kind == "constant" for c in columns):
        if texts := identifiers(columns, frame, kinds):
            raise InputError(f"no column is left: nearly every row has another text in {listed(texts)}")
        raise InputError("every column is constant; there is nothing to learn from")
    return Columns(columns)


def identifiers(
    columns: "Iterable[Column]", frame: "pl.DataFrame", kinds: "dict[str, Kind] | None" = None
) -> list[str]:
    """Those of the columns that are left out for having another text in nearly every training row."""
    left_out = [frame[c.name] for c in columns if c.kind == "constant" and not is_constant(frame[c.name])]
    return [v.name for v in left_out if ((kinds or {}).get(v.name) or kind_of(v)).name == "category"]


def _fit(values: "pl.Series", told: Kind | None) -> Column:
    name = values.name
    kind, date_format = Kind("constant") if is_constant(values) else told or kind_of(values)
    missing = values.null_count() > 0
    if kind == "constant":
        return Column(name, kind)
    if kind == "category":
        counts = sorted(as_text(values).drop_nulls().value_counts().rows(), key=lambda row: (-row[1], row[0]))
        kept = [level for level, count in counts if count >= RARE][:MOST_LEVELS]
        if len(kept) + missing < 2:  # all are rare, or there is but one beside them
            kept = [level for level, _ in counts] if len(counts) <= ONE_HOT else kept
        return Column(name, kind if kept else "constant", missing=missing, levels=tuple(sorted(kept)))
    if kind == "number":
        median, scale = _robust(tidy_numbers(values))
        if scale == 0 and not missing:
            return Column(name, "constant")
        return Column(name, kind, (median,), (scale,), missing)
    robust = [_robust(part) for part in date_parts(values, date_format, name).T]
    medians, scales = zip(*robust, strict=True)
    return Column(name, kind, medians, scales, missing, date_format=date_format)


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


def _inputs(column: Column, values: "pl.Series") -> np.ndarray:
    """The dense inputs of a column: (rows, features), float32."""
    if column.kind == "category":
        codes = _codes(column, values)
        if column.two_sided:
            return np.where(codes < 2, 2.0 * codes - 1, 0)[:, None].astype(np.float32)
        hot = codes[:, None] == np.arange(len(column.levels) + 2)
        keep = [*range(len(column.levels)), *([len(column.levels) + 1] if column.missing else [])]
        return hot[:, keep].astype(np.float32)
    x = (
        tidy_numbers(values)[:, None]
        if column.kind == "number"
        else date_parts(values, column.date_format, column.name)
    )
    lacks = np.isnan(x[:, :1])
    x = np.where(np.isnan(x), column.medians, x)
    with np.errstate(over="ignore"):
        x = (x - np.array(column.medians)) * np.array(column.scales)
    x = np.clip(x, -1e100, 1e100)  # its square is finite
    x = x / np.sqrt(1 + (x / 3) ** 2)
    return np.hstack([x, lacks] if column.missing else [x]).astype(np.float32)


def _codes(column: Column, values: "pl.Series") -> np.ndarray:
    """Level of each row: 0 .. levels - 1, then "other", then missing."""
    import polars as pl

    text, levels = as_text(values), column.levels
    numbered = {other: i for i, level in enumerate(levels) for other in _spellings(level)}
    numbered |= {level: i for i, level in enumerate(levels)}
    codes = text.replace_strict(numbered, default=len(levels), return_dtype=pl.Int64).to_numpy().copy()
    codes[text.is_null().to_numpy()] = len(levels) + 1
    return codes


def _spellings(level: str) -> list[str]:
    """How else a file or a frame may write the level."""
    word, whole = level.lower(), level.removesuffix(".0")
    if word in ("true", "false"):
        return [word, word.title(), word.upper(), str(int(word == "true"))]
    return [whole, f"{whole}.0"] if whole.removeprefix("-").isdecimal() else []
