"""Several files as one table: the parts in a folder, or those that a pattern matches."""

import glob
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mlpax.errors import InputError, shortened

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Schema", "is_pattern", "parts_of"]


def is_pattern(path: str | Path) -> bool:
    """Whether a path is no file or folder, and has one of the signs `*?[` of a pattern in its last part."""
    return glob.has_magic(Path(path).name) and not Path(path).exists()


def parts_of(path: Path, suffixes: tuple[str, ...]) -> tuple[list[Path], list[str]]:
    """Return the files that are parts of one table, by their names, and the names of those left out.

    Parameters
    ----------
    path : path
        A folder, whose files with one of the suffixes are parts, or a pattern. Hidden files, and those whose
        names begin with an underscore, are none.
    suffixes : tuple of str
        Ends of the names of tables, in lower case.

    Returns
    -------
    parts : list of path
        Empty if the path is one file, or a folder without tables.
    others : list of str
        Names of other files in the folder.

    Raises
    ------
    InputError
        If no file matches the pattern.
    """
    if is_pattern(path):
        folder = glob.escape(str(path.parent)) if path.parent.is_dir() else str(path.parent)
        files = [Path(name) for name in glob.glob(f"{folder}/{path.name}")]
        files = sorted(file for file in files if _is_part(file))
        if not files:
            raise InputError(f"there is no file that matches {path}")
        return files, []
    try:
        if not path.is_dir():
            return [], []
    except OSError:  # a name too long; whoever opens the file says so
        return [], []
    files = sorted(file for file in path.iterdir() if _is_part(file))
    parts = [file for file in files if file.name.lower().endswith(suffixes)]
    return parts, [file.name for file in files if file not in {*parts}]


def _is_part(file: Path) -> bool:
    return not file.name.startswith((".", "_")) and file.is_file()


@dataclass
class Schema:
    """The columns that all parts have: those of `first`, and the part in which the type of each was seen."""

    first: Path = Path()
    types: "dict[str, tuple[pl.DataType, Path]]" = field(
        default_factory=dict[str, "tuple[pl.DataType, Path]"]
    )

    def checked(self, part: Path, frame: "pl.DataFrame") -> "pl.DataFrame":
        """Return a part with its columns in the order of the first part's.

        Raises
        ------
        InputError
            If the part has other columns, or a column of another kind; with both files and the column.
        """
        import polars as pl

        if not self.types:
            self.first = part
            self.types = dict.fromkeys(frame.columns, (pl.Null(), part))
        for one, other, names in (
            (part, self.first, [name for name in self.types if name not in frame.columns]),
            (self.first, part, [name for name in frame.columns if name not in self.types]),
        ):
            if names:
                name = shortened(names[0])
                raise InputError(
                    f"{one} lacks the column {name!r}, which {other} has; parts of a table have the same"
                    " columns"
                )
        for values in frame.get_columns():
            dtype, seen = self.types[values.name]
            if values.null_count() == len(values):
                continue
            if dtype == pl.Null:
                self.types[values.name] = values.dtype, part
            elif _kind(dtype) != _kind(values.dtype):
                name = shortened(values.name)
                raise InputError(
                    f"{part} holds {_kind(values.dtype)} in column {name!r}, and {seen} holds {_kind(dtype)};"
                    " write all parts alike"
                )
            elif _zone(dtype) != _zone(values.dtype):
                name = shortened(values.name)
                raise InputError(
                    f"{part} holds times of {_zone(values.dtype)} in column {name!r}, and {seen} of"
                    f" {_zone(dtype)}; write all parts with a zone, or none"
                )
        return frame.select(list(self.types))

    def joined(self, frames: "list[pl.DataFrame]") -> "pl.DataFrame":
        """Return the rows of all parts, which `checked` returned; times of several zones are in UTC."""
        import polars as pl

        alike = [
            frame.with_columns(
                pl.lit(None, dtype).alias(name)
                for name, (dtype, _) in self.types.items()
                if frame[name].null_count() == frame.height
            )
            for frame in frames
        ]
        zones = {
            name: {getattr(frame.schema[name], "time_zone", None) for frame in alike} for name in self.types
        }
        utc = [pl.col(name).dt.convert_time_zone("UTC") for name, found in zones.items() if len(found) > 1]
        return pl.concat([frame.with_columns(utc) for frame in alike], how="vertical_relaxed")


def _kind(dtype: "pl.DataType") -> str:
    import polars as pl

    if dtype.is_numeric():
        return "numbers"
    if isinstance(dtype, (pl.Date, pl.Datetime)):
        return "dates"
    if dtype.is_temporal():
        return "times of day" if dtype == pl.Time else "lengths of time"
    if isinstance(dtype, (pl.Categorical, pl.Enum)):
        return "categories"
    return "text" if dtype == pl.String else "booleans" if dtype == pl.Boolean else str(dtype)


def _zone(dtype: "pl.DataType") -> str:
    """Return what is to be said of a type's zone; zones are alike, for a time of one is a time of another."""
    return "no zone" if getattr(dtype, "time_zone", None) is None else "a zone"
