"""Tables as polars frames: from files of any format that is read, whole or in batches; and from memory."""

import contextlib
import functools
import json
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from mlpax.data.arff import read_arff
from mlpax.data.arrays import is_arrays, read_arrays
from mlpax.data.csv_files import scan_csv, table_of_text
from mlpax.data.encodings import as_utf8
from mlpax.data.excel import read_excel
from mlpax.data.json_files import read_json
from mlpax.data.libsvm import read_libsvm
from mlpax.data.memory import CELL, COLUMN, TYPED, refuse_beyond
from mlpax.data.packed import INPUT, PACKED, TEXT, is_input, is_packed, starts, unpacked
from mlpax.data.parts import Schema, parts_of
from mlpax.data.reading import FileOptions
from mlpax.errors import InputError, Notice, listed

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "OF_PARTS",
    "SLICE",
    "SUFFIXES",
    "as_frame",
    "frame_of",
    "has_parts",
    "is_parquet",
    "is_sparse",
    "is_table",
    "memory_needed",
    "read_batches",
    "read_parts",
    "read_table",
    "sample_of",
    "streamed_files",
    "tell_others",
]

TEXTS = {
    ".csv": "CSV", ".tsv": "CSV", ".txt": "CSV", ".json": "JSON", ".jsonl": "JSON", ".ndjson": "JSON",
    ".arff": "ARFF", ".svm": "LIBSVM", ".libsvm": "LIBSVM",
}  # fmt: skip
FILES = {".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow", ".ipc": "arrow", ".xlsx": "Excel",
         ".xlsm": "Excel"}  # fmt: skip
OF_PARTS = (*TEXTS, *(text + packed for packed in PACKED for text in TEXTS), ".zip", *FILES)
SUFFIXES = (*OF_PARTS, ".npz", ".npy")
UNREAD = {  # what else tables come in
    ".xls": "old Excel", ".xlsb": "binary Excel", ".ods": "OpenDocument", ".7z": "7-Zip", ".sqlite": "SQLite",
    ".db": "SQLite", ".h5": "HDF5", ".pkl": "pickle", ".sav": "SPSS", ".dta": "Stata", ".sas7bdat": "SAS",
    ".html": "HTML", ".xml": "XML", ".orc": "ORC",
}  # fmt: skip
SLICE = 1 << 20  # cells looked at together
MANY = 10_000  # rows from which it pays to look whether a column must be cleaned
LEVELS = 1000  # rows that tell whether a column repeats its cells
LARGE = 100_000  # rows from which text is looked at twice rather than copied
STREAMS = ("CSV", "parquet", "arrow")  # kinds of files that are read in parts
STREAMED = 1 << 26  # bytes of the smallest file that `read_batches` reads in parts


def is_table(path: str | Path) -> bool:
    return Path(path).name.lower().endswith(SUFFIXES)


def is_parquet(path: str | Path) -> bool:
    return Path(path).suffix.lower() == ".parquet"


def is_sparse(path: str | Path) -> bool:
    """Whether a column that a file lacks is 0 in its rows: of LIBSVM."""
    return _kind_of_text(Path(path).name) == "LIBSVM"


def has_parts(path: str | Path) -> bool:
    """Whether a path is a folder with files of tables, or a pattern of files."""
    return bool(parts_of(Path(path), OF_PARTS)[0])


def read_table(
    path: str | Path, options: FileOptions = FileOptions(), notice: Notice = lambda text: None
) -> "pl.DataFrame":
    """The table in a file, or in several.

    Parameters
    ----------
    path : path
        CSV or TSV (separator, header and encoding are told from its start), JSON lines or an array of
        records, ARFF, LIBSVM, each of these packed or not; Excel, Parquet, Arrow or Feather; NPZ of `X`
        (rows, features) and perhaps `y`; NPY or IDX of (rows, features), and perhaps `y` in the file of the
        labels beside it, see `arrays.labels_beside`. `-` is a CSV from standard input. A folder or a pattern
        such as `parts/*.csv` is of parts with the same columns, in the order of their names.
    options : FileOptions, optional
        What the user says of a file.
    notice : callable, optional
        Called with a line for what was guessed of a file.

    Returns
    -------
    polars.DataFrame
        Columns of a CSV are text, whose kind `kinds.tell_kinds` tells from all rows. Text has no blanks
        around, and empty cells are null.

    Raises
    ------
    InputError
        If the file is missing, empty, not what its name says, has rows of unequal length (with the
        line's number), columns of one name, or no row; if parts have different columns.
    """
    path = Path(path)
    parts, _ = parts_of(path, OF_PARTS)
    if not parts:
        return _of_file(path, options, notice)
    tell_others(path, notice)
    return read_parts(path, parts, options, notice)


def tell_others(path: Path, notice: Notice) -> None:
    """Say which files of a folder or pattern are left out, being no tables."""
    if others := parts_of(path, OF_PARTS)[1]:
        notice(f"{path}: left out what is no table: {listed(others)}")


def read_parts(path: str | Path, parts: list[Path], options: FileOptions, notice: Notice) -> "pl.DataFrame":
    """Return the table in several files; `path` names them in messages. See `read_table`."""
    _refuse_large_texts(path, parts, options.memory)
    schema, frames, taken = Schema(), list["pl.DataFrame"](), 0
    for part in parts:
        frame = schema.checked(part, _of_file(part, options, notice))
        frames.append(frame)
        taken += int(frame.estimated_size()) + CELL * frame.height * frame.width
        refuse_beyond(path, taken, options.memory)
    return schema.joined(frames)


def _refuse_large_texts(path: str | Path, parts: list[Path], memory: str | None) -> None:
    """Refuse parts by their size on the disk, which is the least that a text takes."""
    refuse_beyond(path, sum(part.stat().st_size for part in parts), memory, least=True)


def _of_file(path: Path, options: FileOptions, notice: Notice) -> "pl.DataFrame":
    import polars as pl

    kind, shown = _kind(path), INPUT if is_input(path) else path
    if options.sheet is not None and kind != "Excel":
        raise InputError(
            f"sheet {options.sheet!r} is an option for Excel files, which {shown} is not; leave it out"
        )
    try:
        if not is_input(path):
            _file_size(path)
        if kind in TEXTS.values():
            frame = _of_text(path, kind, options, notice)
        elif kind == "Excel":
            frame = read_excel(path, options, notice)
        elif kind == "parquet":
            _refuse_large(path, pl.scan_parquet(path, glob=False, hive_partitioning=False), options.memory)
            frame = pl.read_parquet(path, glob=False, hive_partitioning=False)
            frame = _stored(frame.with_columns(_as_categories(frame, _categories(path))))
        elif kind == "arrow":
            frame = _stored(_of_arrow(path, options.memory))
        else:
            frame = frame_of(*read_arrays(path, options.memory), path=path, memory=options.memory)
    except (Exception, pl.exceptions.PanicException) as error:
        raise _refusal(shown, kind, error) from None
    if frame.width == 0 or frame.height == 0:
        raise InputError(
            f"{shown} has {frame.height} rows of {frame.width} columns; a table needs some of both"
        )
    return frame


def _of_text(path: Path, kind: str, options: FileOptions, notice: Notice) -> "pl.DataFrame":
    """Return the table in a text, packed or not. The member of an archive says by its name what it is."""
    name, data = unpacked(path, options.memory)
    shown = INPUT if is_input(path) else path
    kind = _kind_of_text(name) or kind
    if kind == "CSV":
        return table_of_text(shown, data, options, notice)
    if kind == "LIBSVM":
        return read_libsvm(path, data, options.memory)
    data = as_utf8(path, data, options.encoding, notice)
    return _stored((read_json if kind == "JSON" else read_arff)(path, data, options.memory))


def _of_arrow(path: Path, memory: str | None) -> "pl.DataFrame":
    import polars as pl

    if starts(path, b"FEA1"):
        raise InputError(f"{path} is a Feather file of version 1; write it as version 2, or as Parquet")
    if not starts(path, b"ARROW1"):  # a stream states its rows only as they come
        return pl.read_ipc_stream(path)
    _refuse_large(path, pl.scan_ipc(path, glob=False, hive_partitioning=False), memory)
    return pl.read_ipc(path)


def read_batches(
    path: str | Path,
    cells: int = SLICE,
    options: FileOptions = FileOptions(),
    notice: Notice = lambda text: None,
    *,
    plain: Collection[str] = (),
    smallest: int | None = None,
    only: Collection[str] | None = None,
) -> Iterator["pl.DataFrame"]:
    """The same table in batches of about so many cells, in order, in bounded memory; see `read_table`.

    CSV, Parquet and Arrow files of at least `smallest` bytes, by default `STREAMED`, are read in parts;
    others, and packed ones, are read whole, one by one. Of a large CSV the columns that `plain` names may
    come as float64; see `csv_files.scan_csv`.
    """
    path = Path(path)
    parts, _ = parts_of(path, OF_PARTS)
    if not parts:
        yield from _batches_of_file(path, cells, options, notice, smallest, plain, only)
        return
    schema = Schema()
    for part in parts:
        for batch in _batches_of_file(part, cells, options, notice, smallest):
            yield schema.checked(part, batch)


def streamed_files(path: Path | tuple[Path, ...]) -> list[Path]:
    """Return the files of a table if all can be read in batches, in bounded memory; else none.

    A tuple names the files themselves.
    """
    if isinstance(path, Path) and is_input(path):
        return []
    files = (parts_of(path, OF_PARTS)[0] or [path]) if isinstance(path, Path) else [*path]
    try:
        alike = all(_kind(file) in STREAMS and not is_packed(file) for file in files)
    except (InputError, OSError):  # whoever reads the file says so
        return []
    return files if alike and all(_starts_as_named(file) for file in files) else []


def _starts_as_named(file: Path) -> bool:
    """Whether an Arrow file is none of the streams, which state their rows only as they come."""
    return _kind(file) != "arrow" or starts(file, b"ARROW1")


def memory_needed(files: list[Path], options: FileOptions) -> int:
    """Return about how much memory the table in these files would take; see `memory.refuse_beyond`.

    Of a damaged file it is 0: whoever reads the file says what is wrong.
    """
    import polars as pl

    size = 0
    for file in files:
        try:
            if _kind(file) == "CSV":
                with open(file, "rb") as opened:
                    start = opened.read(SLICE)
                separators = max(start.count(mark) for mark in (b",", b";", b"\t", b"|"))
                cells = (separators + start.count(b"\n")) / max(1, len(start))  # for each byte
                size += int(file.stat().st_size * (TEXT + CELL * cells))
            else:
                lazy = _lazy(file)
                width = len(lazy.collect_schema())
                size += TYPED * int(lazy.select(pl.len()).collect().item()) * width + COLUMN * width
        except (Exception, pl.exceptions.PanicException):
            return 0
    return size


def sample_of(files: list[Path], options: FileOptions) -> "tuple[pl.DataFrame, int]":
    """Return the first rows of a table that can be read in batches, and about how many rows it has.

    Raises
    ------
    InputError
        If the first file is damaged, or the start of a text is no whole table.
    """
    import polars as pl

    try:
        if _kind(files[0]) != "CSV":
            rows = sum(int(_lazy(file).select(pl.len()).collect().item()) for file in files)
            return next(_streamed(files[0], SLICE)), rows
        with open(files[0], "rb") as opened:
            start = opened.read(SLICE)
        start = start if len(start) < SLICE else start[: start.rfind(b"\n") + 1]
        frame = table_of_text(files[0], start, replace(options, memory=None), lambda text: None)
        return frame, sum(file.stat().st_size for file in files) * frame.height // max(1, len(start))
    except (Exception, pl.exceptions.PanicException) as error:
        raise _refusal(files[0], _kind(files[0]), error) from None


def _lazy(path: Path) -> "pl.LazyFrame":
    """Return a Parquet or Arrow file, to be read in parts."""
    import polars as pl

    if is_parquet(path):
        return pl.scan_parquet(path, low_memory=True, glob=False, hive_partitioning=False)
    return pl.scan_ipc(path, glob=False, hive_partitioning=False)


def _batches_of_file(
    path: Path,
    cells: int,
    options: FileOptions,
    notice: Notice,
    smallest: int | None,
    plain: Collection[str] = (),
    only: Collection[str] | None = None,
) -> Iterator["pl.DataFrame"]:
    import polars as pl

    kind = _kind(path)
    try:
        whole = (
            kind not in STREAMS
            or is_input(path)
            or _file_size(path) < (STREAMED if smallest is None else smallest)
        )
        whole = whole or is_packed(path) or not _starts_as_named(path)
    except OSError as error:
        raise _refusal(path, kind, error) from None
    if whole:
        frame = _of_file(path, options, notice)
        yield from frame.iter_slices(max(1, cells // frame.width))
        return
    empty = True
    csv = kind == "CSV"
    streamed = scan_csv(path, options, notice, plain) if csv else _streamed(path, cells, only)
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
    if is_input(path):
        return "CSV"
    if is_arrays(path):
        return "array"
    if what := UNREAD.get(path.suffix.lower()):
        raise InputError(
            f"{path} is a file of {what}, which mlpax does not read; save the table as CSV or Parquet"
        )
    if not name.endswith(SUFFIXES):
        known = listed([*TEXTS, ".zip", *FILES, ".npz", ".npy"])
        raise InputError(f"{path} is no table that mlpax reads; give one of {known}")
    return FILES.get(path.suffix.lower()) or _kind_of_text(name) or "CSV"


def _kind_of_text(name: str) -> str | None:
    """Return what a text is by its name, which may have the end of a packed file behind."""
    path = Path(name.lower())
    return TEXTS.get(Path(path.stem).suffix if path.suffix in PACKED else path.suffix)


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


def _streamed(path: Path, cells: int, only: Collection[str] | None = None) -> Iterator["pl.DataFrame"]:
    names, lazy = _categories(path) if is_parquet(path) else [], _lazy(path)
    rows = max(1, cells // max(1, len(lazy.collect_schema())))
    lazy = lazy if only is None else lazy.select(only)
    for batch in lazy.collect_batches(chunk_size=rows, maintain_order=True, engine="streaming"):
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


def _cleaned(frame: "pl.DataFrame") -> "pl.DataFrame":
    """Return cells as those of a CSV: text without blanks around, null where empty or NaN."""
    if frame.height < MANY:
        return frame.with_columns(_cleaning())
    rest = frame.select([values for values in frame if not _is_clean(values)])  # so only these are copied
    return frame.with_columns(rest.with_columns(_cleaning()).get_columns())


def _is_clean(values: "pl.Series") -> bool:
    """Whether a column is known to stay as it is."""
    import polars as pl

    if values.dtype.is_float():
        return not math.isnan(values.sum() or 0)  # a sum with a NaN is one
    if values.dtype != pl.String:
        return not isinstance(values.dtype, pl.Categorical | pl.Enum)
    if 2 * values.head(LEVELS).n_unique() > LEVELS:  # to look takes as long as to clean
        return len(values) > LARGE and _is_bare(values)
    return _is_bare(values.unique().drop_nulls())


def _is_bare(text: "pl.Series") -> bool:
    """Whether no cell is empty or has blanks around: looked at in parts, as a copy would take memory."""
    parts = (text[start : start + SLICE] for start in range(0, len(text), SLICE))
    return not any((part == "").any() or (part != part.str.strip_chars()).any() for part in parts)


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
