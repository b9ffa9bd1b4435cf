"""Tables as polars frames: from CSV, Parquet, Arrow and files of arrays, whole or in batches; from memory."""

import contextlib
import functools
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from mlpax.data.arrays import is_arrays, read_arrays
from mlpax.data.csv_files import is_packed, read_csv, scan_csv, starts
from mlpax.data.memory import COLUMN, refuse_beyond
from mlpax.data.reading import FileOptions
from mlpax.errors import InputError, Notice, listed

if TYPE_CHECKING:
    import polars as pl

__all__ = ["SUFFIXES", "as_frame", "frame_of", "is_table", "read_batches", "read_table"]

TEXT = (".csv", ".tsv", ".txt")
PACKED = tuple(text + packed for packed in (".gz", ".bz2", ".xz") for text in TEXT)
SUFFIXES = (*TEXT, *PACKED, ".parquet", ".arrow", ".feather", ".ipc", ".npz", ".npy")
UNREAD = {  # what else tables come in
    ".xlsx": "Excel", ".xls": "Excel", ".ods": "OpenDocument", ".json": "JSON", ".jsonl": "JSON lines",
    ".ndjson": "JSON lines", ".zip": "zip", ".zst": "zstd", ".7z": "7-Zip", ".svm": "LIBSVM",
    ".libsvm": "LIBSVM", ".arff": "ARFF", ".sqlite": "SQLite", ".db": "SQLite", ".h5": "HDF5",
    ".pkl": "pickle", ".sav": "SPSS", ".dta": "Stata", ".sas7bdat": "SAS", ".html": "HTML", ".xml": "XML",
    ".orc": "ORC",
}  # fmt: skip
TYPED = 24  # bytes that a cell of a typed file takes until it is an input of the network
SLICE = 1 << 20  # cells looked at together
STREAMED = 1 << 26  # bytes of the smallest file that `read_batches` reads in parts


def is_table(path: str | Path) -> bool:
    return Path(path).name.lower().endswith(SUFFIXES)


def read_table(
    path: str | Path, options: FileOptions = FileOptions(), notice: Notice = lambda text: None
) -> "pl.DataFrame":
    """The table in a file.

    Parameters
    ----------
    path : path
        CSV or TSV (separator, header and encoding are told from its start; gzipped or not), Parquet,
        Arrow or Feather; NPZ of `X` (rows, features) and perhaps `y`; NPY or IDX of (rows, features), and
        perhaps `y` in the file of the labels beside it, see `arrays.labels_beside`.
    options : FileOptions, optional
        What the user says of a text file.
    notice : callable, optional
        Called with a line for what was guessed of a text file.

    Returns
    -------
    polars.DataFrame
        Columns of a CSV are text, whose kind `kinds.tell_kinds` tells from all rows. Text has no blanks
        around, and empty cells are null.

    Raises
    ------
    InputError
        If the file is missing, empty, not what its name says, has rows of unequal length (with the
        line's number), columns of one name, or no row.
    """
    import polars as pl

    path = Path(path)
    kind = _kind(path)
    try:
        _file_size(path)
        if kind == "csv":
            frame = read_csv(path, options, notice)
        elif kind == "parquet":
            _refuse_large(path, pl.scan_parquet(path, glob=False, hive_partitioning=False), options.memory)
            frame = pl.read_parquet(path, glob=False, hive_partitioning=False)
            frame = frame.with_columns(_as_categories(frame, _categories(path)))
        elif kind == "arrow":
            is_file = starts(path, b"ARROW1")
            if is_file:  # a stream states its rows only as they come
                _refuse_large(path, pl.scan_ipc(path, glob=False, hive_partitioning=False), options.memory)
            frame = pl.read_ipc(path) if is_file else pl.read_ipc_stream(path)
        else:
            frame = frame_of(*read_arrays(path, options.memory), path=path, memory=options.memory)
    except (Exception, pl.exceptions.PanicException) as error:
        raise _refusal(path, kind, error) from None
    frame = _stored(frame) if kind in ("parquet", "arrow") else frame
    if frame.width == 0 or frame.height == 0:
        raise InputError(
            f"{path} has {frame.height} rows of {frame.width} columns; a table needs some of both"
        )
    return frame


def read_batches(
    path: str | Path,
    cells: int = SLICE,
    options: FileOptions = FileOptions(),
    notice: Notice = lambda text: None,
) -> Iterator["pl.DataFrame"]:
    """The same table in batches of about so many cells, in order, in bounded memory; see `read_table`.

    Arrow, NPZ and NPY files, and gzipped ones, are read whole.
    """
    import polars as pl

    path = Path(path)
    kind = _kind(path)
    try:
        whole = kind not in ("csv", "parquet") or _file_size(path) < STREAMED or is_packed(path)
    except OSError as error:
        raise _refusal(path, kind, error) from None
    if whole:
        frame = read_table(path, options, notice)
        yield from frame.iter_slices(max(1, cells // frame.width))
        return
    empty = True
    streamed = scan_csv(path, options, notice) if kind == "csv" else _streamed_parquet(path, cells)
    try:
        for batch in streamed:
            empty = empty and batch.height == 0
            yield from batch.iter_slices(max(1, cells // max(1, batch.width)))
    except (Exception, pl.exceptions.PanicException) as error:
        raise _refusal(path, kind, error) from None
    if empty:
        raise InputError(f"{path} has 0 rows; a table needs some")


def _refuse_large(path: Path, lazy: "pl.LazyFrame", memory: str | None) -> None:
    """Refuse a typed file by its number of rows, which a few bytes can state, before a cell is read."""
    import polars as pl

    width = len(lazy.collect_schema())
    rows = int(lazy.select(pl.len()).collect().item())
    refuse_beyond(path, TYPED * rows * width + COLUMN * width, memory)


def _refusal(path: Path, kind: str, error: BaseException) -> InputError:
    """The one line for whatever a reader raised: polars' have kinds of their own, and panic."""
    if isinstance(error, InputError):
        return error
    if isinstance(error, MemoryError):
        return InputError(f"{path} is larger than the memory, or states a size that is")
    said = " ".join(str(error).split())[:160] or type(error).__name__
    return InputError(f"{path} is no whole {kind} file: {said}")


def _file_size(path: Path) -> int:
    if path.is_dir() or not path.exists():
        raise InputError(
            f"{path} cannot be read: {'it is a folder' if path.is_dir() else 'there is no such file'}"
        )
    size = path.stat().st_size
    if size == 0:
        raise InputError(f"{path} is empty")
    return size


def _kind(path: Path) -> str:
    name = path.name.lower()
    if is_arrays(path):
        return "array"
    if what := UNREAD.get(path.suffix.lower()):
        raise InputError(
            f"{path} is a file of {what}, which mlpax does not read; save the table as CSV or Parquet"
        )
    if not name.endswith(SUFFIXES):
        raise InputError(f"{path} is no table that mlpax reads; give one of {', '.join(SUFFIXES)}")
    if name.endswith(".parquet"):
        return "parquet"
    return "arrow" if name.endswith((".arrow", ".feather", ".ipc")) else "csv"


def frame_of(
    X: np.ndarray, y: np.ndarray | None, *, path: Path = Path("X"), memory: str | None = None
) -> "pl.DataFrame":
    """Return a table of arrays: columns x0, x1, ... and, where there are labels, y.

    Raises
    ------
    InputError
        If the table of the arrays, which `path` holds, takes too much memory.
    """
    import polars as pl

    X = X.reshape(len(X), -1)
    refuse_beyond(path, TYPED * X.size + COLUMN * X.shape[1], memory)
    columns = {f"x{i}": X[:, i] for i in range(X.shape[1])}
    return _stored(pl.DataFrame(columns if y is None else columns | {"y": y}))


def _streamed_parquet(path: Path, cells: int) -> Iterator["pl.DataFrame"]:
    import polars as pl

    lazy = pl.scan_parquet(path, low_memory=True, glob=False, hive_partitioning=False)
    names = _categories(path)
    for batch in _collected(lazy, cells):
        yield _stored(batch.with_columns(_as_categories(batch, names)))


def _categories(path: Path) -> list[str]:
    """Return the columns of a Parquet file that were pandas' categories, which may be stored as numbers."""
    import polars as pl

    with contextlib.suppress(KeyError, TypeError, ValueError):
        columns = json.loads(pl.read_parquet_metadata(path)["pandas"])["columns"]
        return [str(column["name"]) for column in columns if column["pandas_type"] == "categorical"]
    return []


def _as_categories(frame: "pl.DataFrame", names: list[str]) -> "list[pl.Series]":
    """Return those columns of a frame as categories."""
    import polars as pl

    return [frame[name].cast(pl.String).cast(pl.Categorical) for name in names if name in frame.columns]


def _collected(lazy: "pl.LazyFrame", cells: int) -> Iterator["pl.DataFrame"]:
    rows = max(1, cells // max(1, len(lazy.collect_schema())))
    return lazy.collect_batches(chunk_size=rows, maintain_order=True, engine="streaming")


def _cleaned(frame: "pl.DataFrame") -> "pl.DataFrame":
    """Return cells as those of a CSV: text without blanks around, null where empty or NaN."""
    return frame.with_columns(_cleaning())


@functools.cache  # to write the expressions down takes longer than to compute those of a few rows
def _cleaning() -> "list[pl.Expr]":
    import polars as pl

    levels = pl.selectors.categorical() | pl.selectors.enum()
    text, level = (cells.cast(pl.String).str.strip_chars() for cells in (pl.selectors.string(), levels))
    return [
        pl.selectors.float().fill_nan(None),
        pl.when(text != "").then(text).name.keep(),
        pl.when(level != "").then(level).cast(pl.Categorical).name.keep(),
    ]


def _stored(frame: "pl.DataFrame") -> "pl.DataFrame":
    """The columns of a typed file, or of pyarrow's table; pandas' index, saved beside, is none."""
    import polars as pl

    return _cleaned(frame.select(pl.exclude(r"^__index_level_\d+__$")))


# From memory


def as_frame(X: Any, names: Sequence[str] | None = None) -> "pl.DataFrame":
    """A polars frame of a polars, pandas or pyarrow table, a dict of columns, or a 2-D array.

    Raises
    ------
    InputError
        If it is none of these.
    """
    try:
        return _cleaned(_as_frame(X, names))
    except InputError:
        raise
    except Exception as error:  # whatever the makers of frames raise
        said = " ".join(str(error).split())[:160] or type(error).__name__
        raise InputError(f"X is no table: {said}") from None


def _as_frame(X: Any, names: Sequence[str] | None) -> "pl.DataFrame":
    import polars as pl

    if isinstance(X, pl.DataFrame):
        return X
    if hasattr(X, "toarray"):
        raise InputError("X is sparse, which tables are not; give X.toarray()")
    if isinstance(X, pl.LazyFrame):
        return X.collect()
    if hasattr(X, "column_names") and hasattr(X, "schema"):  # pyarrow's
        return _stored(cast(Any, pl).from_arrow(X))
    if hasattr(X, "columns") and hasattr(X, "iloc"):  # pandas', without needing pyarrow
        return pl.DataFrame([_from_pandas(str(name), X.iloc[:, i]) for i, name in enumerate(X.columns)])
    if isinstance(X, dict):
        columns = cast("dict[object, Any]", X)
        if single := [name for name, column in columns.items() if _is_single(column)]:
            raise InputError(f"X holds one value for column {single[0]!r}; give lists, a cell for each row")
        return pl.DataFrame([_from_any(str(name), column) for name, column in columns.items()])
    array = np.asarray(X)
    if array.dtype.kind == "c":
        raise InputError(f"Complex data not supported: X is of type {array.dtype}; give its real part")
    if array.ndim != 2:
        raise InputError(
            f"X has shape {array.shape}; a table is a frame, or an array of (rows, columns). Reshape your"
            " data"
        )
    names = names or [f"x{i}" for i in range(array.shape[1])]
    if len(names) != array.shape[1]:
        raise InputError(
            f"X has {array.shape[1]} features, but mlpax is expecting {len(names)} features as input:"
            f" {listed(names)}"
        )
    if array.dtype.kind in "US" and not isinstance(X, np.ndarray):
        array = np.array(X, dtype=object)  # None and NaN stay what they are
    return pl.DataFrame([_from_any(name, array[:, i]) for i, name in enumerate(names)])


def _is_single(column: Any) -> bool:
    text = isinstance(column, (str, bytes))
    return text or getattr(column, "ndim", 1) == 0 or not hasattr(column, "__iter__")


def _from_any(name: str, column: Any) -> "pl.Series":
    import polars as pl

    if isinstance(column, pl.Series):
        return column.alias(name)
    if hasattr(column, "iloc"):
        return _from_pandas(name, column)
    dtype: Any = getattr(column, "dtype", None)
    if isinstance(column, np.ndarray) and dtype.kind in "biufMm":
        return _from_numpy(name, cast(np.ndarray, column))
    return _from_objects(name, list(cast("Iterable[Any]", column)))


def _from_numpy(name: str, column: np.ndarray) -> "pl.Series":
    import polars as pl

    if column.dtype.kind in "mM" and np.datetime_data(column.dtype)[0] not in ("D", "ms", "us", "ns"):
        column = column.astype(f"{column.dtype.kind}8[us]")  # polars knows no others
    return pl.Series(name, column, nan_to_null=True)


def _from_pandas(name: str, column: Any) -> "pl.Series":
    import polars as pl

    dtype: Any = column.dtype
    if isinstance(dtype, np.dtype) and column.dtype.kind in "iufbmM":
        return _from_numpy(name, column.to_numpy())
    cells = [None if lacks else v for v, lacks in zip(column.tolist(), column.isna(), strict=True)]
    if getattr(column.dtype, "categories", None) is not None:  # levels, even where they are numbers
        return pl.Series(name, _written(cells), dtype=pl.Categorical)
    return _from_objects(name, cells)


def _from_objects(name: str, cells: list[Any]) -> "pl.Series":
    import polars as pl

    cells = [v.as_py() if hasattr(v, "as_py") else v for v in cells]  # pyarrow's
    cells = [v.item() if isinstance(v, np.generic) else v for v in cells]
    cells = [v.decode() if isinstance(v, bytes) else v for v in cells]
    cells = [None if type(v).__name__ in ("NAType", "NaTType") else v for v in cells]  # pandas'
    cells = [None if isinstance(v, float) and math.isnan(v) else v for v in cells]
    if all(v is None or (isinstance(v, (int, float)) and not isinstance(v, bool)) for v in cells):
        cells = [None if v is None else float(v) for v in cells]
        return pl.Series(name, cells, dtype=pl.Float64)
    try:
        return pl.Series(name, cells, strict=True)
    except Exception:  # of several types: as text
        return pl.Series(name, _written(cells), dtype=pl.String)


def _written(cells: list[Any]) -> list[str | None]:
    """As text, where 1.0, which pandas makes of a 1 beside missing cells, is 1."""
    import polars as pl

    cells = [int(v) if isinstance(v, float) and v.is_integer() and abs(v) < 2**63 else v for v in cells]
    floats = list({v for v in cells if isinstance(v, float)})
    words = pl.Series(floats, dtype=pl.Float64).cast(pl.String)  # as a column of numbers spells them
    spelled = dict(zip(floats, words, strict=True))
    return [None if v is None else spelled[v] if isinstance(v, float) else str(v) for v in cells]
