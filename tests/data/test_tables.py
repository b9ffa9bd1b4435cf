"""A table comes whole from its file, or one line says where it is not one."""

import datetime
import gzip

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from mlpax.data import csv_files, tables
from mlpax.data.dataset import Dataset
from mlpax.data.tables import is_table, read_batches, read_table
from mlpax.errors import InputError
from small_data import dataset_of, encoded


def says(function, *args, **kwargs) -> str:
    """The one line with which a call is refused."""
    with pytest.raises(InputError) as caught:
        function(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write(folder, content, name="t.csv"):
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(folder, content, name="t.csv"):
    """Column names and rows of a file of this content."""
    frame = read_table(write(folder, content, name))
    return frame.columns, frame.rows()


NAMES, ROWS = ["a", "b"], [("1", "x"), ("2", "y")]


# CSV


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_separators_and_ends_of_lines(tmp_path, separator, end):
    text = end.join(separator.join(row) for row in (NAMES, *ROWS))
    assert read(tmp_path, text) == read(tmp_path, text + end) == (NAMES, ROWS)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_quoted_cells_may_hold_anything(tmp_path, separator):
    cells = [f"1{separator}2", 'he said ""yes""', "two\nlines", "plain"]
    text = f"a{separator}b\n" + "".join(f'"{c}"{separator}{i}\n' for i, c in enumerate(cells))
    expected = [(c.replace('""', '"'), str(i)) for i, c in enumerate(cells)]
    assert read(tmp_path, text) == (NAMES, expected)


def test_a_name_may_be_of_two_lines(tmp_path):
    assert read(tmp_path, '"a\nb",c\n1,2\n') == (["a\nb", "c"], [("1", "2")])


@pytest.mark.parametrize(
    ("encoding", "cell"),
    [("utf-8", "Zürich"), ("utf-8-sig", "Zürich"), ("utf-16", "Zürich"), ("cp1252", "Zürich – €")],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_encodings(tmp_path, encoding, cell, pack):
    content = f"a,b\n1,{cell}\n".encode(encoding)
    for name in ("t.csv", "t.csv.gz"):  # the first bytes decide, not the name
        assert read(tmp_path, pack(content), name) == (NAMES, [("1", cell)])


def test_another_encoding_may_show_late(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_files, "SAMPLE", 12)
    assert read(tmp_path, "a,b\n1,plain\n2,é\n".encode("cp1252"))[1] == [("1", "plain"), ("2", "é")]
    for size in range(8, 14):  # a sample cut within é is still UTF-8
        monkeypatch.setattr(csv_files, "SAMPLE", size)
        assert read(tmp_path, "a,b\n1,xéé\n")[1] == [("1", "xéé")]


@pytest.mark.parametrize(
    ("text", "names", "rows"),
    [
        ("1,2\n3,4\n", ["x0", "x1"], [("1", "2"), ("3", "4")]),
        ("1,2\n", ["x0", "x1"], [("1", "2")]),
        ("5.1,?,setosa\n4.9,1,setosa\n", ["x0", "x1", "x2"],
         [("5.1", "?", "setosa"), ("4.9", "1", "setosa")]),
        ("id,2019,2020\n7,1.5,2\n", ["id", "2019", "2020"], [("7", "1.5", "2")]),
        (" a , b \n 1 ,\t2 \n", NAMES, [("1", "2")]),
        ("a\n1\n2\n", ["a"], [("1",), ("2",)]),
        (",b\n1,2\n", ["", "b"], [("1", "2")]),
    ],
)  # fmt: skip
def test_headers(tmp_path, text, names, rows):
    assert read(tmp_path, text) == (names, rows)


@pytest.mark.parametrize(
    "text",
    [
        "0,1,2\n5.1,3.5,1\n",  # as pandas writes an array
        ",0,1,2\n0,5.1,3.5,1\n",
        "0,1\n0.5,1\n",
        "0,1,2,3\n0,0,1,1\n",
        "0,1,species\n5.1,3.5,setosa\n4.9,3,setosa\n",
        "region,2019,2020\nnorth,1.5,2\n",
        "region,2019,2020\nnorth,150,2005\n",
        "depth,10,20,30\nx,1.5,2,3\n",
    ],
)
def test_numbers_may_be_names(tmp_path, text):
    header, first, *_ = text.split("\n")
    names, rows = read(tmp_path, text)
    assert (names, rows[0]) == (header.split(","), tuple(first.split(",")))


@pytest.mark.parametrize(
    "text",
    [
        "1,2,3\n4,5,6\n",  # counts on
        "0,1,2,3\n",
        "0,1\n1,0\n0,0\n",
        "M,63,180\nF,25,160\n",
        "Anna,1990,2010\nBob,1985,2005\n",
        "39,State,77516,13\n50,Self,83311,13\n28,State,338409,9\n",
        "5,3,setosa\n7,2,virginica\n",
    ],
)
def test_numbers_of_a_first_row_are_data(tmp_path, text):
    assert len(read(tmp_path, text)[1]) == text.count("\n")


def test_a_row_may_be_long(tmp_path):
    row = ";".join(["0.1234567"] * 15_000)  # more than the csv module lets a cell have
    assert read_table(write(tmp_path, f"{row}\n{row}\n")).shape == (2, 15_000)


def test_decimal_commas_are_no_numbers_in_a_header(tmp_path):
    assert read(tmp_path, "1,5;2\n3,5;4\n") == (["x0", "x1"], [("1,5", "2"), ("3,5", "4")])
    assert read(tmp_path, "name;2020\n1,5;7\n")[0] == ["name", "2020"]
    assert read(tmp_path, 'a\tb\n1,234\t"5,6"\n')[1] == [("1,234", "5,6")]


def test_blanks_may_separate(tmp_path):
    assert read(tmp_path, "x y kind\n1 2 a\n3 4 b\n") == (
        ["x", "y", "kind"],
        [("1", "2", "a"), ("3", "4", "b")],
    )
    said = "has its columns separated by several blanks; write commas, semicolons, tabs or |"
    assert said in says(read_table, write(tmp_path, "1.5  2\n3  4.5\n5  6\n"))
    for text in ("said it\ncall me\nnot now\n", "a\n1\n2\n", "size\n1 m\n2 m\n", "phone\n5 2\n3 4\n"):
        assert len(read(tmp_path, text)[1]) == 2


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_blank_lines_are_left_out(tmp_path, end):
    for text in ("\na,b\n1,x\n\n2,y\n\n\n", " \na,b\n1,x\n   \n2,y\n  ", ",\na,b\n\n1,x\n2,y\n"):
        assert read(tmp_path, text.replace("\n", end)) == (NAMES, ROWS)
    assert read(tmp_path, "a\n1\n\n2\n")[1] == [("1",), (None,), ("2",)]  # here it is a missing cell


def test_rows_without_a_value_are_rows(tmp_path):
    text = "a,b\n1,x\n,\n \xa0, \n\n2,y\n"
    assert read(tmp_path, text)[1] == [ROWS[0], (None, None), (None, None), ROWS[1]]
    assert read(tmp_path, "\n,\n1,2\n\n3,4\n")[1] == [(None, None), ("1", "2"), ("3", "4")]


def test_a_separator_at_the_end_of_each_line(tmp_path):
    assert read(tmp_path, "a;b;\n1;x;\n2;y; \n") == (NAMES, ROWS)
    assert read(tmp_path, "a;b\n1;x;\n2;y; \n") == (NAMES, ROWS)  # but not of the header
    assert read(tmp_path, "a;b;\n1;x;\n2;y;z\n")[0] == ["a", "b", "column_3"]


def test_excel_states_its_separator(tmp_path):
    for text in ("sep=;\r\na;b\r\n1;x\r\n2;y\r\n", '\ufeff"sep=|"\na|b\n1|x\n2|y\n', "SEP=,\ra,b\r1,x\r2,y"):
        assert read(tmp_path, text) == (NAMES, ROWS)
    assert "line 4" in says(read_table, write(tmp_path, "sep=;\na;b\n1;2\n3\n"))


def test_a_comma_may_stand_in_each_cell(tmp_path):
    names, rows = read(tmp_path, "Preis, netto;Menge, kg;Klasse, A\n1,5;2,5;3,0\n")
    assert (names, rows) == (["Preis, netto", "Menge, kg", "Klasse, A"], [("1,5", "2,5", "3,0")])
    assert read(tmp_path, "1,a|b\n2,c|d\n")[1] == [("1", "a|b"), ("2", "c|d")]
    assert read(tmp_path, "a, b;c, d\ne, f;g, h\n")[0] == ["a, b", "c, d"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("sep=;\n", "is empty"),
        ("\n \n", "is empty"),
        ("\ufeff", "is empty"),
        (",,\n,,\n", "is empty"),
        ('""\n', "is empty"),
        ("a,b\n", "has 0 rows of 2 columns"),
        ("a,b,a\n1,2,3\n", "has two columns named 'a' in line 1; rename one"),
        ("a, a\n1,2\n", "has two columns named 'a' in line 1; rename one"),
        ("a,b\n1,2\n1,2,3\n", "has 3 cells in line 3, but 2 columns"),
        ("a,b\n1,2\n\n1\n", "has 1 cell in line 4, but 2 columns"),
        ('a,b,c\n"x\ny",2,3\n1,2\n', "has 2 cells in line 4, but 3 columns"),
        ("1,2\n3,4,5\n", "has 3 cells in line 2, but 2 columns"),
        ("0,1\n3\n", "has 1 cell in line 2, but 2 columns"),
        ('a,b\n"1,2\n', "has a quote in line 2 that opens a cell which does not close"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_what_is_no_csv_is_refused(tmp_path, text, reason, encoding):
    path = write(tmp_path, text.encode(encoding) if text else b"")
    line = says(read_table, path)
    assert line.startswith(f"{path} ")
    assert reason in line


def parquet(path):
    pl.DataFrame({"a": [1, 2]}).write_parquet(path)
    return path


def test_one_line_for_each_wrong_file(tmp_path):
    path = tmp_path / "t.csv"
    assert says(read_table, parquet(path)) == (
        f"{path} is no text table, but a Parquet file; let its name end in .parquet"
    )
    path.write_bytes(bytes(range(256)))
    assert says(read_table, path) == f"{path} is no text; is it a CSV file?"
    path.write_bytes(gzip.compress(b"a,b\n1,2\n" * 100)[:-9])
    assert f"{path} is no whole CSV file: " in says(read_table, path)
    for name, kind in (("t.parquet", "parquet"), ("t.arrow", "arrow"), ("t.npy", ".npy"), ("t.npz", ".npz")):
        path = write(tmp_path, "a,b\n1,2\n", name)
        line = says(read_table, path)
        assert line.startswith(f"{path} is no ")
        assert kind in line
        path.write_bytes(b"")
        assert says(read_table, path) == f"{path} is empty"
    folder = tmp_path / "folder.csv"
    folder.mkdir()
    absent = tmp_path / "absent.csv"
    for function in (read_table, lambda path: next(read_batches(path))):
        assert says(function, folder) == f"{folder} cannot be read: it is a folder"
        assert says(function, absent) == f"{absent} cannot be read: there is no such file"
        path = tmp_path / "t.xls"
        assert f"{path} is a file of old Excel, which mlpax does not read; save the table as CSV" in says(
            function, path
        )
        path = tmp_path / "t.doc"
        assert f"{path} is no table that mlpax reads; give one of .csv, " in says(function, path)
        assert "name too long" in says(function, tmp_path / ("n" * 300 + ".csv"))


def test_a_name_is_no_pattern(tmp_path):
    write(tmp_path, "a,b\n5,6\n", "t1.csv")
    assert read(tmp_path, "a,b\n1,2\n", "t[1].csv")[1] == [("1", "2")]
    parquet(tmp_path / "t1.parquet")
    folder = tmp_path / "c=1"
    folder.mkdir()
    for path in (tmp_path / "t[1].parquet", folder / "t*.parquet"):
        pl.DataFrame({"a": [3]}).write_parquet(path)
        assert read_table(path).to_dict(as_series=False) == {"a": [3]}


def test_a_panic_is_a_line(tmp_path, monkeypatch):
    def panic(*args, **kwargs):
        raise pl.exceptions.PanicException("index out of\nbounds")

    monkeypatch.setattr(pl, "read_csv", panic)
    path = write(tmp_path, "a,b\n1,2\n")
    assert says(read_table, path) == f"{path} is no whole CSV file: index out of bounds"


# Parquet, Arrow, NPZ, NPY


FRAME = pl.DataFrame(
    {
        "number": [1.5, None, -2.0],
        "whole": [1, 2, None],
        "text": ["x", None, "y"],
        "flag": [True, False, None],
        "level": pl.Series(["u", "v", None], dtype=pl.Categorical),
        "day": [datetime.date(2020, 1, 2), None, datetime.date(1999, 12, 31)],
        "time": [datetime.datetime(2020, 1, 2, 3, 4, 5), None, datetime.datetime(1999, 12, 31)],
    }
)


@pytest.mark.parametrize("ending", ["parquet", "arrow", "feather", "ipc"])
def test_types_come_back(tmp_path, ending):
    path = tmp_path / f"t.{ending}"
    (FRAME.write_parquet if ending == "parquet" else FRAME.write_ipc)(path)
    assert_frame_equal(read_table(path), FRAME)
    FRAME.write_ipc_stream(tmp_path / "stream.arrow")
    assert_frame_equal(read_table(tmp_path / "stream.arrow"), FRAME)
    pl.DataFrame({"a": [1.0, float("nan")]}).write_parquet(tmp_path / "nan.parquet")
    assert read_table(tmp_path / "nan.parquet")["a"].to_list() == [1.0, None]
    pl.DataFrame({"a": []}).write_parquet(tmp_path / "none.parquet")
    assert "has 0 rows of 1 columns" in says(read_table, tmp_path / "none.parquet")


@pytest.mark.parametrize("text", [pl.String, pl.Categorical, pl.Enum(["x", " y ", "", "NA"])])
def test_text_of_any_format_is_that_of_a_csv(tmp_path, streaming, text):
    frame = pl.DataFrame({"a": [1, 2, 3, 4, 5], "b": pl.Series(["x", " y ", "", "NA", None], dtype=text)})
    frame.write_parquet(tmp_path / "t.parquet")
    frame.write_ipc(tmp_path / "t.arrow")
    frame.write_csv(tmp_path / "t.csv")
    for name in ("t.parquet", "t.arrow", "t.csv"):
        for read_ in (read_table, lambda path: pl.concat(read_batches(path))):
            assert read_(tmp_path / name)["b"].cast(pl.String).to_list() == ["x", "y", None, "NA", None]


def test_the_index_that_pandas_saves_is_no_column(tmp_path, streaming):
    frame = pl.DataFrame({"a": [1, 2], "__index_level_0__": [5, 7]})
    frame.write_parquet(tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet").columns == ["a"]
    assert next(read_batches(tmp_path / "t.parquet")).columns == ["a"]
    frame.select("__index_level_0__").write_parquet(tmp_path / "t.parquet")
    assert "of 0 columns" in says(read_table, tmp_path / "t.parquet")


def test_arrays(tmp_path):
    X = np.float32([[1, 2], [3, np.nan]])
    rows = [(1.0, 2.0), (3.0, None)]
    np.save(tmp_path / "t.npy", X)
    assert read_table(tmp_path / "t.npy").rows() == rows
    assert read_table(tmp_path / "t.npy").columns == ["x0", "x1"]
    np.savez(tmp_path / "t.npz", X=X)
    assert read_table(tmp_path / "t.npz").rows() == rows
    np.savez_compressed(tmp_path / "t.npz", X=X.astype(">f8"), y=np.array(["u", "v"]))
    frame = read_table(tmp_path / "t.npz")
    assert (frame.columns, frame.rows()) == (["x0", "x1", "y"], [(1.0, 2.0, "u"), (3.0, None, "v")])
    np.savez(tmp_path / "t.npz", X=np.arange(8).reshape(2, 2, 2))
    assert read_table(tmp_path / "t.npz").rows() == [(0, 1, 2, 3), (4, 5, 6, 7)]


@pytest.mark.parametrize(
    ("rows", "labels"),
    [("X.npy", "y.npy"), ("x_train.npy", "y_train.npy"), ("a-images.npy", "a-labels.npy"),
     ("a-images-idx2-ubyte", "a-labels-idx1-ubyte.gz"), ("images.idx2.gz", "labels.idx1")],
)  # fmt: skip
def test_labels_lie_beside_their_rows(tmp_path, rows, labels):
    X, y = np.uint8([[1, 2], [3, 4], [5, 6]]), np.uint8([7, 8, 7])
    for name, array in ((rows, X), (labels, y)):
        assert read_table(write(tmp_path, encoded(X, rows), rows)).columns == ["x0", "x1"]
        write(tmp_path, encoded(array, name), name)
    assert read_table(tmp_path / rows).rows() == [(1, 2, 7), (3, 4, 8), (5, 6, 7)]
    write(tmp_path, encoded(y[:2], labels), labels)
    assert says(read_table, tmp_path / rows) == f"{tmp_path / labels} has y of shape (2,) for 3 rows of X"


def test_labels_may_be_text(tmp_path):
    np.save(tmp_path / "X.npy", np.eye(2))
    np.save(tmp_path / "y.npy", np.array(["a", "b"]))
    assert read_table(tmp_path / "X.npy").rows() == [(1.0, 0.0, "a"), (0.0, 1.0, "b")]


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"Z": np.zeros(2)}, "has no array X; it holds Z"),
        ({"X": np.zeros((2, 2)), "y": np.zeros(3)}, "has y of shape (3,) for 2 rows of X"),
        ({"X": np.array([[1, "a"]], dtype=object)}, "Object arrays cannot be loaded"),
        ({"X": np.zeros((0, 2))}, "has X of shape (0, 2)"),
        ({"X": np.float32(1)}, "has X of shape ()"),
    ],
)
def test_arrays_that_are_no_table_are_refused(tmp_path, arrays, reason):
    np.savez(tmp_path / "t.npz", **arrays)
    assert reason in says(read_table, tmp_path / "t.npz")


def test_pickled_rows_are_refused(tmp_path):
    np.save(tmp_path / "t.npy", np.array([[1, "a"]], dtype=object))
    assert "is no .npy file of numbers" in says(read_table, tmp_path / "t.npy")


def test_names_of_tables():
    assert is_table("a/b.CSV.gz")
    assert is_table("b.parquet")
    assert not is_table("b.png")


# In batches


@pytest.fixture
def streaming(monkeypatch):
    """Every file is large enough to be read in parts."""
    monkeypatch.setattr(tables, "STREAMED", 1)


def many(rows=1000):
    text = "a , b,c\n" + "".join(f' {i},"x, {i % 7}",{"NA" if i % 5 else i}\n' for i in range(rows))
    return text.replace("\n500,", "\n\n500,")


@pytest.mark.parametrize("size", [1, 60, 3000, 2**20])
@pytest.mark.parametrize("streamed", [False, True])
def test_batches_are_the_table(tmp_path, monkeypatch, size, streamed):
    monkeypatch.setattr(tables, "STREAMED", 1 if streamed else 2**26)
    csv = write(tmp_path, many())
    whole = read_table(csv)
    whole.write_parquet(tmp_path / "t.parquet")
    whole.write_ipc(tmp_path / "t.arrow")
    files = (csv, write(tmp_path, gzip.compress(many().encode()), "u.csv"), tmp_path / "t.parquet",
             tmp_path / "t.arrow")  # fmt: skip
    for path in files:
        batches = list(read_batches(path, size))
        assert all(0 < batch.height <= max(1, size // 3) for batch in batches)
        assert_frame_equal(pl.concat(batches), whole)


@pytest.mark.parametrize("size", [1, 9, 2**20])
@pytest.mark.parametrize("end", ["\n", "\r"])
def test_batches_leave_out_the_same_lines(tmp_path, streaming, size, end):
    lines = ["1;2;", ";;", "", "  ", '"";"x\n\ny";', "\xa0; ;", "3;;"]
    text = "sep=;\n\na;b;\n" + "\n".join(lines * 40) + "\n\n"
    path = write(tmp_path, text.replace("\n", end))
    expected = [("1", "2"), (None, None), (None, f"x{end * 2}y"), (None, None), ("3", None)] * 40
    assert read_table(path).rows() == pl.concat(read_batches(path, size)).rows() == expected


def test_batches_of_parquet_keep_types(tmp_path, streaming):
    FRAME.with_columns(number=pl.Series([1.5, float("nan"), -2.0])).write_parquet(tmp_path / "t.parquet")
    assert_frame_equal(pl.concat(read_batches(tmp_path / "t.parquet", 1)), FRAME)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"a,b\n", "has 0 rows"),
        (b"a,a\n1,2\n", "has two columns named 'a'"),
        (b"a,b\n" + b"1,2\n" * 50 + b"1\n", "has 1 cell in line 52, but 2 columns"),
        (b"a,b\n" + b"1,2\n" * 50 + b"1,2,3\n", "has 3 cells in line 52, but 2 columns"),
        (b"PAR1\0\0", "is no text"),
    ],
)
def test_batches_refuse_what_a_table_refuses(tmp_path, streaming, content, reason):
    assert reason in says(lambda path: list(read_batches(path)), write(tmp_path, content))


def test_batches_refuse_a_late_encoding(tmp_path, streaming, monkeypatch):
    path = write(tmp_path, "a,b\n1,2\n3,é\n".encode("cp1252"))
    assert pl.concat(read_batches(path)).rows() == [("1", "2"), ("3", "é")]  # read whole
    monkeypatch.setattr(csv_files, "SAMPLE", 7)
    assert "is not UTF-8" in says(lambda path: list(read_batches(path)), path)


def test_batches_of_a_damaged_parquet_file(tmp_path, streaming):
    path = parquet(tmp_path / "t.parquet")
    path.write_bytes(path.read_bytes()[:-5])
    assert f"{path} is no whole parquet file: " in says(lambda path: list(read_batches(path)), path)


# Mutants


SEED = 'size,colour,when,kind\n' + "".join(
    f'{i / 4},"{("red", "green, dark", "blue")[i % 3]}",2020-01-{i + 1:02},{"ab"[i % 2]}\n' for i in range(12)
)  # fmt: skip
NASTY = [
    b",",
    b",,,",
    b'"',
    b'""',
    b"\n",
    b"\r",
    b"\0",
    b"\xff",
    b"\xe9",
    b"nan",
    b"inf",
    b"1e999",
    b"-1e39",
    b";",
]


@given(
    flips=st.lists(st.tuples(st.integers(0, 10**4), st.integers(1, 255)), max_size=3),
    inserts=st.lists(
        st.tuples(st.integers(0, 10**4), st.sampled_from(NASTY) | st.binary(max_size=4), st.integers(1, 3)),
        max_size=4,
    ),
    cut=st.just(0) | st.integers(0, 10**4),
    pack=st.sampled_from([bytes, bytes, gzip.compress]),
)
def test_any_bytes_are_a_data_set_or_a_line(tmp_path_factory, flips, inserts, cut, pack):
    content = bytearray(SEED.encode())
    for at, mask in flips:
        content[at % len(content)] ^= mask
    for at, what, times in inserts:
        at %= len(content)
        content[at:at] = what * times
    path = tmp_path_factory.getbasetemp() / "mutant.csv"
    path.write_bytes(pack(bytes(content[: len(content) - cut % len(content)])))
    try:
        dataset = dataset_of(read_table(path), validation=0.25)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(dataset, Dataset)
        assert np.isfinite(dataset.X_train).all()
        assert np.isfinite(dataset.y_train).all()
