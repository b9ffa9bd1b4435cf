"""The options that say how data are read."""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from mlpax.data.memory import memory_limit
from mlpax.errors import InputError, Notice, strictly, unknown
from mlpax.recipes import TASKS

__all__ = ["COLUMN_KINDS", "FileOptions", "Reading", "columns_named"]

COLUMN_KINDS = ("number", "category", "date", "text", "id", "drop")
DATE_ORDERS = ("day-first", "month-first")
MARKS = {"decimal": (".", ","), "thousands": (",", ".", " ", "'", "_")}


def _option(default: Any, help: str, *options: str, **more: Any) -> Any:
    return field(default=default, metadata={"help": help, "options": options, **more})


@dataclass(frozen=True)
class FileOptions:
    """What the user says of a text file, or of any file.

    Attributes
    ----------
    encoding : str, optional
        A name that Python knows, such as "cp1252".
    separator : str, optional
        What stands between cells, one character; or "tab".
    header : str, optional
        The number of the line with the names of the columns, from 1; or "none".
    sheet : str, optional
        The sheet of an Excel file: its name, or its number from 1.
    memory : str, optional
        The most memory that data may take, such as "4G"; by default half of what is available.
    """

    encoding: str | None = None
    separator: str | None = None
    header: str | None = None
    sheet: str | None = None
    memory: str | None = None

    def __post_init__(self) -> None:
        if self.separator is not None and not (len(self.separator_) == 1 and self.separator_.isascii()):
            raise InputError(f"separator {self.separator!r} is not one character of ASCII, nor tab")
        if self.header not in (None, "none") and not re.fullmatch("[1-9][0-9]{0,5}", str(self.header)):
            raise InputError(f"header {self.header!r} is no line number from 1, nor none")

    @property
    def separator_(self) -> str:
        """The separator as one character; empty if none is given."""
        word = self.separator or ""
        return "\t" if word in ("tab", "\\t") else word


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The options that say how data are read. The commands offer them under these names.

    Raises
    ------
    InputError
        If a value is none of the option's.
    """

    target: str | tuple[str, ...] | None = _option(
        None,
        "column to predict, or columns of numbers, as a,b [one named target, label, class or y; else the"
        " last]",
    )
    task: str | None = _option(None, "kind of target [decided from its values]", *TASKS)
    column: Mapping[str, str] = field(
        default_factory=dict[str, str],
        metadata={"help": "NAME=KIND, what a column holds; may be given again", "options": COLUMN_KINDS},
    )
    drop: tuple[str, ...] = _option((), "columns to leave out, as a,b")
    id: str | None = _option(None, "column that names the rows: not trained on, written beside predictions")
    missing: tuple[str, ...] = _option((), "more spellings of a missing cell, as x,y")
    dates: str | None = _option(None, "order of 03/04/2024", *DATE_ORDERS)
    decimal: str | None = _option(None, "decimal mark of numbers, . or ,")
    thousands: str | None = _option(None, "mark between thousands, one of , . ' _ or a blank")
    strict: bool = _option(False, "refuse what would be guessed")
    encoding: str | None = _option(None, "encoding of a text file, as cp1252 [told from its bytes]")
    separator: str | None = _option(None, "separator of a text file's cells, as ';' or tab [told]")
    header: str | None = _option(None, "line of the column names, or none [told]")
    sheet: str | None = _option(None, "sheet of an Excel file, its name or number [the first with cells]")
    valid_data: str | None = _option(None, "another table with the validation rows, instead of held-out rows")
    test: float = _option(0.0, "share of the rows that is held out for the final score")
    folds: int = _option(
        0, "train on so many folds, each without the rows of one, and join the networks [0: on all rows]"
    )
    fold: int = _option(0, "which of the folds to hold out, from 1, and train without")
    time_ordered: bool = _option(False, "hold out the last rows of a table instead of random rows")
    group: str | None = _option(
        None, "column of groups; a group is either trained on or held out, never both"
    )
    weight: str | None = _option(None, "column that holds the weight of each row")
    class_weight: str | None = _option(
        None, "weights of the classes, as a=2,b=1 (1 for the others); or balanced: all count the same"
    )
    size: int = _option(28, "side length in pixels to which pictures are resized")
    colour: bool = _option(False, "keep the colours of pictures")
    invert: bool = _option(False, "turn black on white into white on black, or the other way round")
    skip_bad: bool = _option(False, "leave out pictures that cannot be read")
    memory: str | None = _option(
        None, "most memory that data may take while they are read, as 4G [half of what is available]"
    )
    cache: str | None = _option(
        None, "train in chunks, and keep the encoded rows in this folder [if the table passes the memory]"
    )

    def __post_init__(self) -> None:
        for name in ("drop", "missing", "target"):  # lists in JSON
            if isinstance(value := getattr(self, name), list | tuple):
                object.__setattr__(self, name, tuple(cast("Iterable[str]", value)))
        for name, kind in self.column.items():
            if kind not in COLUMN_KINDS:
                raise unknown(f"kind of column {name!r}", kind, COLUMN_KINDS)
        if self.dates not in (None, *DATE_ORDERS):
            raise unknown("dates", self.dates, DATE_ORDERS)
        for name, allowed in MARKS.items():
            mark = getattr(self, name)
            if mark not in (None, *allowed):
                raise InputError(f"{name} {mark!r} is none of {' '.join(map(repr, allowed))}")
        if self.memory is not None:
            memory_limit(self.memory)
        if (self.folds or self.fold) and not (self.folds >= 2 and 0 <= self.fold <= self.folds):
            raise InputError(f"folds {self.folds} and fold {self.fold} do not fit; choose 2 folds or more")
        if self.decimal is not None and self.decimal == self.thousands:
            raise InputError(f"decimal and thousands are both {self.decimal!r}; they must differ")

    @staticmethod
    def taken(settings: dict[str, Any]) -> "Reading":
        """Take the options that are fields of `Reading` out of settings, and return them."""
        names = {f.name for f in dataclasses.fields(Reading)} & settings.keys()
        return Reading(**{name: settings.pop(name) for name in names})

    @property
    def file(self) -> FileOptions:
        """What is said of a file of a table."""
        return FileOptions(
            encoding=self.encoding, separator=self.separator, header=self.header, sheet=self.sheet,
            memory=self.memory,
        )  # fmt: skip

    @property
    def targets(self) -> tuple[str, ...]:
        """The columns to predict, if the user names them."""
        return self.target if isinstance(self.target, tuple) else (self.target,) if self.target else ()

    @property
    def kinds(self) -> dict[str, str]:
        """The columns whose kind the user names."""
        left_out = dict.fromkeys(self.drop, "drop") | ({} if self.id is None else {self.id: "id"})
        return {**self.column, **left_out}

    def told(self, notice: Notice) -> Notice:
        """Return the notice, or if reading is strict one that refuses each guess."""
        return strictly(notice) if self.strict else notice

    def given(self) -> dict[str, Any]:
        """Return the options that differ from their default, with paths made absolute."""
        plain = Reading()
        given = {
            f.name: v
            for f in dataclasses.fields(self)
            if (v := getattr(self, f.name)) != getattr(plain, f.name)
        }
        paths = {name: given[name] for name in ("valid_data", "cache") if name in given}
        return given | {name: str(Path(path).resolve()) for name, path in paths.items()}


def columns_named(words: Iterable[str]) -> dict[str, str]:
    """Return each column's kind, from NAME=KIND.

    Raises
    ------
    InputError
        If a word has no `=`.
    """
    found: dict[str, str] = {}
    for word in words:
        name, equals, kind = word.rpartition("=")
        if not equals:
            raise InputError(f"column {word!r} has no kind; write {word}={'|'.join(COLUMN_KINDS)}")
        found[name] = kind
    return found
