"""Text tables as people write them: no row is lost, or one line says where reading cannot be sure."""

import bz2
import gzip
import lzma
import random

import polars as pl
import pytest

from mlpax.data import csv_files, encodings, tables
from mlpax.data.csv_files import read_csv
from mlpax.data.reading import FileOptions
from mlpax.errors import Guess, InputError

ROWS = "".join(f"{i},{i / 2},n{i % 3}\n" for i in range(30))
TABLE = f"a,b,c\n{ROWS}"


def write(folder, content, name="t.csv"):
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(folder, content, **options):
    """Names, rows, and what is said of a file."""
    said: list[str] = []
    frame = read_csv(write(folder, content), FileOptions(**options), said.append)
    return frame.columns, frame.rows(), said


def says(folder, content, **options) -> str:
    with pytest.raises(InputError) as caught:
        read(folder, content, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Quotes


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('a,b\n"x ""y""",1\nz,2\n', [('x "y"', "1"), ("z", "2")]),
        ('a,b\n"x \\"y\\"",1\nz,2\n', [('x "y"', "1"), ("z", "2")]),  # by backslashes
        ('a,b\n"27\\"",1\n"5\\" wide, red",2\nz,3\n', [('27"', "1"), ('5" wide, red', "2"), ("z", "3")]),
        ('a,b\n27",1\n32",2\n15",3\n', [('27"', "1"), ('32"', "2"), ('15"', "3")]),  # inches
        ('a,b\n1,"x, y"\n2,5" disk\n', [("1", "x, y"), ("2", '5" disk')]),
        ('a, b\n1, "x, y"\n2, "z"\n', [("1", "x, y"), ("2", "z")]),  # blanks before quotes
        ("'a','b'\n'1','x, y'\n'2','z'\n", [("1", "x, y"), ("2", "z")]),
        ("name,b\nO'Neil,1\nBob,2\n", [("O'Neil", "1"), ("Bob", "2")]),
        ('a,b\n"x\ny",1\nz,2\n', [("x\ny", "1"), ("z", "2")]),
        ('a,b\n"x, y\nz",1\nz,2\n', [("x, y\nz", "1"), ("z", "2")]),
        ('a,b\r\n"x\r\ny",1\r\nz,2\r\n', [("x\r\ny", "1"), ("z", "2")]),
        ('a,b\n"",1\n"""",2\n', [(None, "1"), ('"', "2")]),
    ],
)
def test_quotes_as_they_are_meant(tmp_path, text, rows):
    assert read(tmp_path, text)[1] == rows


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f'a,b,c\n1,"x,3\n{ROWS}', 2),
        (f'{TABLE}1,"x,3\n{ROWS}4,"y",5\n', 32),
        (f'{TABLE}"31,2,n\n{ROWS}', 32),
        ('a,b\n1,2\n"x,1\nq,2\nz",3\n', 3),  # which swallows rows
    ],
)
def test_a_quote_that_does_not_close_is_named_where_it_opens(tmp_path, text, line):
    assert f"has a quote in line {line} that opens a cell which does not close" in says(tmp_path, text)


def test_as_many_rows_as_are_counted_apart(tmp_path, monkeypatch):
    """If polars lost a row, another reader reads."""
    rows = read(tmp_path, TABLE)[1]
    whole = pl.read_csv
    monkeypatch.setattr(pl, "read_csv", lambda *args, **more: whole(*args, **more)[:-1])
    assert read(tmp_path, TABLE)[1] == rows


def test_regular_lines_take_no_census(tmp_path, monkeypatch):
    names, rows, _ = read(tmp_path, TABLE)
    monkeypatch.setattr(csv_files, "_census", lambda *_: pytest.fail("a census was taken"))
    assert read(tmp_path, TABLE)[:2] == (names, rows)
    assert len(rows) == 30


def test_the_census_reads_and_refuses_the_same(tmp_path, monkeypatch):
    """Texts of random cells and marks, of which some are regular, with and without the shortcut."""
    random_ = random.Random(0)
    regular = csv_files._regular_rows
    seen = set()
    for _ in range(200):
        cells = [random_.choice(["1", "2.5", "", " x", "é", '"q"', "#", "\n", "\r", ","]) for _ in range(12)]
        cells = [cell if random_.random() < 0.2 else "7" for cell in cells]
        lines = [",".join(cells[i : i + 3]) for i in range(0, 12, 3)]
        text = f"{TABLE}{chr(10).join(lines)}{random_.choice(['', chr(10)])}"
        found: list[object] = []
        for shortcut in (regular, lambda *_: None):
            monkeypatch.setattr(csv_files, "_regular_rows", shortcut)
            try:
                found.append(read(tmp_path, text))
            except InputError as error:
                found.append(str(error))
        assert found[0] == found[1], text
        seen.add(isinstance(found[0], str))
    assert seen == {True, False}  # some were refused, others read


# Lines that are no rows


@pytest.mark.parametrize(
    ("above", "option"),
    [
        ("# by a tool\n# of 2024\n", "--header 3"),
        ("Sales of 2023\n", "--header 2"),
        ("Sales;;\n".replace(";", ","), "--header 2"),
        ("% by a tool\n\n", "--header 3"),
        ("// by a tool\n", "--header 2"),
    ],
)
def test_lines_above_the_names_are_said(tmp_path, above, option):
    names, rows, said = read(tmp_path, above + TABLE)
    assert (names, len(rows)) == (["a", "b", "c"], 30)
    (guess,) = [text for text in said if isinstance(text, Guess)]
    assert "above the table left out" in guess
    assert guess.option == option
    header = option.split()[1]
    assert read(tmp_path, above + TABLE, header=header) == (names, rows, [])


def test_a_header_behind_a_comment_sign(tmp_path):
    assert read(tmp_path, f"# a,b,c\n{ROWS}")[:1] == (["a", "b", "c"],)
    assert read(tmp_path, f"#,b,c\n{ROWS}")[:1] == (["#", "b", "c"],)  # a name
    assert read(tmp_path, "#tag,n\n#x,1\n#y,2\n")[1] == [("#x", "1"), ("#y", "2")]


def test_comments_among_rows_are_said(tmp_path):
    _, rows, said = read(tmp_path, f"{TABLE}# half, of\n{ROWS}# the end\n")
    assert len(rows) == 60
    assert said == ["t.csv: 2 comment lines left out, such as '# half, of'"]
    assert len(read(tmp_path, "a,b\n#N/A,1\n2,3\n")[1]) == 2


def test_repeated_headers_and_totals_are_said(tmp_path):
    _, rows, said = read(tmp_path, f"{TABLE}a,b,c\n{ROWS}")
    assert (len(rows), said) == (60, ["t.csv: 1 repeated header left out"])
    for total in ("Total", "Grand Total", "SUM:", "Summe"):
        _, rows, said = read(tmp_path, f"{TABLE}{total},435,\n")
        assert len(rows) == 30
        assert said == [f"t.csv: the last row, {total!r}, left out, as a total of the others"]
    assert len(read(tmp_path, "kind,b\ntotal,1\nsum,2\ntotal,3\n")[1]) == 3  # a level


def test_names_of_rows_as_r_writes_them(tmp_path):
    assert read(tmp_path, '"a" "b"\n"1" 5.1 3\n"2" 4.9 3\n')[:2] == (
        ["", "a", "b"], [("1", "5.1", "3"), ("2", "4.9", "3")]
    )  # fmt: skip
    assert read(tmp_path, "a\tb\nr1\t5\t3\nr2\t4\t3\n")[0] == ["", "a", "b"]
    assert read(tmp_path, "a,b\n1,2,\n3,4,\n")[:2] == (["a", "b"], [("1", "2"), ("3", "4")])


def test_names(tmp_path):
    assert read(tmp_path, ",a,,b\n1,2,3,4\n5,6,7,8\n")[0] == ["", "a", "column_3", "b"]
    assert "has two columns named 'a' in line 1; rename one" in says(tmp_path, "a,b,a\n1,2,3\n")
    names, rows, said = read(tmp_path, "1,2\n3,4\n")
    assert (names, len(rows), said[0].option) == (["x0", "x1"], 2, "--header none")
    assert read(tmp_path, "yes,x\nno,x\nyes,y\nyes,x\n")[0] == ["x0", "x1"]  # names occur once
    assert read(tmp_path, "yes,no\n1,2\n", header="none")[1] == [("yes", "no"), ("1", "2")]
    assert "has no line 9, which --header names" in says(tmp_path, TABLE[:6], header="9")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{TABLE}1,2\n", "has 2 cells in line 32, but 3 columns; cells are separated by commas"),
        (f"{TABLE}1,2,3,4\n{ROWS}", "has 4 cells in line 32, but 3 columns"),
        (f'{TABLE}"x\ny",1,2\n1\n{ROWS}', "has 1 cell in line 34, but 3 columns"),
        ("a,b\n1,2\r3,4\n5,6\n", "has a carriage return within line 2"),
        ("a,b\n1,\x002\n" + "1,2\n" * 300, "has a zero byte in line 2"),
        ("1 1:0.5 3:7\n0 2:1 3:2\n", "looks like LIBSVM text (label index:value ...)"),
        ('{"a": 1}\n{"a": 2}\n', "looks like JSON lines"),
        ("[{\n", "looks like JSON"),
        ("<html>\n", "looks like HTML or XML"),
        ("@relation x\n@data\n1,2\n", "looks like ARFF"),
        (b"SQLite format 3\0", "is no text table, but an SQLite database"),
    ],
)
def test_what_is_refused_names_the_line_or_the_format(tmp_path, text, said):
    assert said in says(tmp_path, text)


def test_packed_texts(tmp_path):
    for pack in (gzip.compress, bz2.compress, lzma.compress):
        assert len(read(tmp_path, pack(TABLE.encode()))[1]) == 30


def test_blank_lines_take_no_memory(tmp_path):
    """A million blank lines in a table of 4000 columns would be 4 billion cells."""
    names = ",".join(f"c{i}" for i in range(4000))
    row = ",".join(["1"] * 4000)
    path = write(tmp_path, f"{names}\n\n{row}\n" + "\n \r\n" * 500_000 + f"{row}\n\n")
    assert read_csv(path, FileOptions(memory="300M")).shape == (2, 4000)
    with pytest.raises(InputError, match="has 2 cells in line 1000006, but 4000 columns"):
        read_csv(write(tmp_path, path.read_text() + "1,2\n"))


# Encodings


TEXTS = {
    "cp1252": "name,größe\nMüller,5 €\nGarcía,España\nÅse,Smørrebrød\nÉlise,Besançon\n",
    "cp1250": "miasto,imię\nŁódź,Michał\nGdańsk,Wałęsa\nKraków,Żaneta\n",
    "cp1251": "город,имя\nМосква,Иван\nКазань,Мария\nОмск,Пётр\n",
    "gb18030": "年龄,城市,结果\n42,北京,是\n33,上海,否\n35,广州,是\n",
    "cp932": "名前,都市,結果\n田中,東京,はい\nテスト,大阪,いいえ\n",
    "big5": "年齡,城市\n42,臺北\n33,高雄\n",
    "cp949": "이름,도시\n김철수,서울\n이영희,부산\n",
    "utf-16-le": "a,b\n1,x\n2,y\n",
    "utf-16-be": "a,b\n1,x\n2,y\n",
    "utf-32-le": "a,b\n1,x\n2,y\n",
}


@pytest.mark.parametrize("encoding", TEXTS)
def test_encodings_are_told_and_said(tmp_path, encoding):
    text = TEXTS[encoding]
    expected = read(tmp_path, text)[:2]
    *found, said = read(tmp_path, text.encode(encoding))
    assert tuple(found) == expected
    assert said[0].option.lower() == f"--encoding {encoding}"
    assert read(tmp_path, text.encode(encoding), encoding=encoding) == (*expected, [])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_mark_says_the_encoding(tmp_path, encoding):
    names, rows, said = read(tmp_path, "é,b\n1,ü\n".encode(encoding))
    assert (names, rows) == (["é", "b"], [("1", "ü")])
    assert not any(isinstance(text, Guess) for text in said)


def test_bytes_that_do_not_fit_are_never_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_files, "SAMPLE", 100)
    late = TABLE + "31,1,é\n"
    assert read(tmp_path, late.encode("cp1252"))[1][-1] == ("31", "1", "é")
    broken = (TABLE + "1,2,éüöä\n" * 9).encode() + b"1,2,\xe9\n"
    assert "is UTF-8, but not in line 41; mend the line, or name the encoding" in says(tmp_path, broken)
    assert "is not utf-8: its line 41 does not decode" in says(tmp_path, broken, encoding="utf-8")
    assert "there is no encoding 'utf-9'" in says(tmp_path, TABLE, encoding="utf-9")
    assert encodings.as_utf8(tmp_path, b"plain", None, print) == b"plain"


def test_lines_keep_their_numbers_behind_comments(tmp_path):
    assert "has 2 cells in line 33, but 3 columns" in says(tmp_path, TABLE + "# half, of\n1,2\n")


def test_a_cell_too_long_for_any_reader_is_refused(tmp_path):
    assert "has no row whose cells are under 131,072 characters" in says(tmp_path, "a,b\n" + "x" * 200_000)


# The user's word


def test_a_separator_that_is_named(tmp_path):
    assert read(tmp_path, "a:b\n1:2\n", separator=":")[1] == [("1", "2")]
    assert read(tmp_path, "a,b\tc\n1,5\t2\n", separator="tab")[0] == ["a,b", "c"]
    for wrong in ("::", "", "§"):
        with pytest.raises(InputError, match=r"separator .* is not one character of ASCII, nor tab"):
            FileOptions(separator=wrong)
    for wrong in ("0", "first", "-1"):
        with pytest.raises(InputError, match=r"header .* is no line number from 1, nor none"):
            FileOptions(header=wrong)


# In parts


@pytest.mark.parametrize("size", [40, 333, 1 << 20])
@pytest.mark.parametrize("quoted", ['"x, y"', '"two\nlines"', '"a ""b"""', "plain"])
def test_pieces_of_a_large_file_are_the_table(tmp_path, monkeypatch, size, quoted):
    draw = random.Random(0)
    rows = [f"{i},{draw.choice([quoted, 'z', ''])},{i % 7}\n" for i in range(200)]
    path = write(tmp_path, "# by a tool\na,b,c\n" + "".join(rows) + "Total,,\n")
    whole = read_csv(path)
    monkeypatch.setattr(csv_files, "PIECE", size)
    monkeypatch.setattr(csv_files, "SAMPLE", 60)
    monkeypatch.setattr(tables, "STREAMED", 1)
    batches = list(tables.read_batches(path, 9))
    assert pl.concat(batches).equals(whole)
    assert max(batch.height for batch in batches) <= 3


def test_each_piece_is_checked(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_files, "PIECE", 50)
    monkeypatch.setattr(csv_files, "SAMPLE", 20)
    monkeypatch.setattr(tables, "STREAMED", 1)
    path = write(tmp_path, TABLE + "1,2\r,x\n")
    with pytest.raises(InputError, match=r"has a carriage return within line 32"):
        list(tables.read_batches(path))
