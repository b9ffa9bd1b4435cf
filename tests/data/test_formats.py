"""Tables in other formats: the same rows as of the CSV, in bounded memory, or one line."""

import bz2
import datetime
import gzip
import io
import json
import lzma
import sys
import zipfile

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import mlpax.data.packed as packed
from mlpax.data.kinds import tell_kinds
from mlpax.data.reading import FileOptions
from mlpax.data.sources import Table, Wanted, source
from mlpax.data.tables import read_batches, read_table
from mlpax.data.targets import from_frame
from mlpax.errors import Guess, InputError
from mlpax.model.model import Target
from workbook import DATE, LENGTH, MOMENT, TIME, sheet, workbook

COLOURS = ("red", "green", "blue")
CODES = [f"{i * 37 % 90:05}" if i % 2 else f"{10_000 + i}" for i in range(40)]
CSV = "zip,size,colour,sold\n" + "".join(
    f"{code},{i / 4},{COLOURS[i % 3]},{i % 2}\n" for i, code in enumerate(CODES)
)


def write(folder, content, name):
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def says(path, **options) -> str:
    with pytest.raises(InputError) as caught:
        read_table(path, FileOptions(**options))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    return str(caught.value)


def zipped(members: dict[str, object], method=zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


# Packed


PACK = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": packed.zstd.compress,
    "zip": lambda data: zipped({"t.csv": data}),
}


@pytest.mark.parametrize("ending", PACK)
def test_a_packed_text_is_the_text(tmp_path, ending):
    expected = read_table(write(tmp_path, CSV, "t.csv"))
    content = PACK[ending](CSV.encode())
    for name in (f"p.csv.{ending}", "misnamed.csv"):
        assert_frame_equal(read_table(write(tmp_path, content, name)), expected)
    assert expected["zip"][1].startswith("0")
    lines = "".join(json.dumps(row) + "\n" for row in expected.to_dicts())
    content = zipped({"a/../t.jsonl": lines}) if ending == "zip" else PACK[ending](lines.encode())
    assert_frame_equal(read_table(write(tmp_path, content, f"p.jsonl.{ending}")), expected)
    twice = PACK[ending](gzip.compress(CSV.encode()))
    assert "is no text table, but within it another archive" in says(write(tmp_path, twice, "misnamed.csv"))
    bomb = PACK[ending](b"a,b\n" + b"1,2\n" * 10**6)
    for name in ("p.csv", f"p.csv.{ending}"):
        assert "would take at least" in (said := says(write(tmp_path, bomb, name), memory="9M")) or (
            ending == "zip" and "would take about 22.9 MB" in said
        )


def test_an_archive_holds_one_table(tmp_path):
    expected = read_table(write(tmp_path, CSV, "t.csv"))
    content = zipped({"x/": "", "__MACOSX/x/._t.csv": "?", "x/.DS_Store": "?", "../../x/t.csv": CSV})
    assert_frame_equal(read_table(write(tmp_path, content, "t.zip")), expected)
    assert [path.name for path in tmp_path.rglob("*")] == ["t.csv", "t.zip"]  # nothing is extracted
    several = zipped({"a.csv": CSV, "b.csv": CSV, "read\nme.txt": "?"})
    said = says(write(tmp_path, several, "t.zip"))
    assert "t.zip holds 3 files: a.csv, b.csv, read\\nme.txt; an archive of one table is read" in said
    assert "t.zip holds 0 files; an archive" in says(write(tmp_path, zipped({}), "t.zip"))
    assert "but an Excel file; let its name end in .xlsx" in says(
        write(tmp_path, workbook({"a": sheet([["x"]])}), "t.csv")
    )
    parquet = io.BytesIO()
    expected.write_parquet(parquet)
    inside = zipped({"t.parquet": parquet.getvalue()})
    assert "but within it a Parquet file; unpack it first" in says(write(tmp_path, inside, "t.zip"))
    locked = bytearray(zipped({"t.csv": CSV}))
    locked[6] |= 1  # the flag of encryption, in the member's header and in the directory
    locked[locked.index(b"PK\x01\x02") + 8] |= 1
    assert "t.zip is encrypted; unpack it with its password first" in says(
        write(tmp_path, bytes(locked), "t.zip")
    )
    broken = zipped({"t.csv": CSV})[:-30]
    assert "is no whole CSV file: File is not a zip file" in says(write(tmp_path, broken, "t.zip"))


def test_an_archive_that_understates_its_size_is_read_within_the_limit(tmp_path):
    content = bytearray(zipped({"t.csv": b"a,b\n" + b"1,2\n" * 10**6}))
    place = content.index(b"PK\x01\x02") + 24
    content[place : place + 4] = (50).to_bytes(4, "little")
    said = says(write(tmp_path, bytes(content), "t.zip"), memory="9M")
    assert "is no whole CSV file: Bad CRC-32" in said or "would take at least" in said


# Excel


ROWS = [
    ["zip", "size", "when", "at", "for", "good", "note"],
    ["00501", 0.1, (45293, DATE), (0.5, TIME), (1.25, LENGTH), True, "a & b"],
    ["10001", 1e-12, (45294.25, MOMENT), (0.75, TIME), (0.5, LENGTH), False, "two\nlines"],
    ["00502", 1 / 3, None, (0.0, TIME), (2, LENGTH), True, None],
    ["10002", 12, (61, DATE), (0.999, TIME), (0, LENGTH), False, "  "],
]


def test_a_sheet_is_the_table(tmp_path):
    frame = read_table(write(tmp_path, workbook({"One": sheet(ROWS)}), "t.xlsx"))
    day = datetime.datetime
    assert frame.to_dict(as_series=False) == {
        "zip": ["00501", "10001", "00502", "10002"],
        "size": [0.1, 1e-12, 1 / 3, 12.0],
        "when": [day(2024, 1, 2), day(2024, 1, 3, 6), None, day(1900, 3, 1)],
        "at": ["12:00:00", "18:00:00", "00:00:00", "23:58:33.600"],
        "for": ["1 days 06:00:00", "0 days 12:00:00", "2 days 00:00:00", "0 days 00:00:00"],
        "good": ["true", "false", "true", "false"],
        "note": ["a & b", "two lines", None, None],
    }
    kinds = tell_kinds(frame)
    assert [kinds[name].name for name in ("zip", "size", "when", "at", "for")] == [
        "category", "number", "date", "number", "number",
    ]  # fmt: skip
    since_1904 = workbook({"One": sheet(ROWS)}, properties='<workbookPr date1904="1"/>')
    assert read_table(write(tmp_path, since_1904, "t.xlsx"))["when"][0] == day(2028, 1, 3)


def test_numbers_of_a_sheet_are_certain(tmp_path):
    """A text column with decimal commas, which would make 1.234 of a CSV doubtful, says nothing of them."""
    rows = [["a", "b", "c"], ["1,5", 1.234, 20240131], ["2,25", 5.678, 20240201], ["3,5", 9.123, 20240301]]
    frame = read_table(write(tmp_path, workbook({"One": sheet(rows)}), "t.xlsx"))
    assert frame["b"].to_list() == [1.234, 5.678, 9.123]
    assert frame["c"].dtype == pl.Int64
    assert tell_kinds(frame)["b"].numerals.decimal == "."


def test_shared_texts_errors_and_formulas(tmp_path):
    texts = "<si><t>x_x000D_</t></si><si><r><t>ri</t></r><r><t>ch</t></r><rPh><t>no</t></rPh></si>"
    shared, error = '<c PLACE t="s"><v>{}</v></c>', '<c PLACE t="e"><v>#N/A</v></c>'
    value = "<c PLACE><f>A1+1</f><v>7</v></c>"
    rows = [["a", "b", "c"], [shared.format(0), error, value], [shared.format(1), 5, value]]
    path = write(tmp_path, workbook({"One": sheet(rows)}, texts), "t.xlsx")
    assert read_table(path).to_dict(as_series=False) == {"a": ["x", "rich"], "b": ["#N/A", "5"], "c": [7, 7]}
    rows[2][0] = shared.format(2)
    path = write(tmp_path, workbook({"One": sheet(rows)}, texts), "t.xlsx")
    assert "cell A3 of sheet 'One' has the text '2' of none" in says(path)
    rows[2][0] = "<c PLACE><f>A1+1</f><v></v></c>"
    path = write(tmp_path, workbook({"One": sheet(rows)}, texts), "t.xlsx")
    assert "has a formula without a value in cell A3 of sheet 'One'; open the file in Excel and save" in says(
        path
    )


def test_titles_gaps_and_merged_cells_are_told(tmp_path):
    rows = [
        ["Prices"],
        [],
        [None, "size", None, "y"],
        [None, 1, 5, "n"],
        [],
        [None, 2, 6, "n"],
        [None, 3, 7, "m"],
    ]
    after = '<mergeCells><mergeCell ref="A1:D1"/><mergeCell ref="D4:D5"/></mergeCells>'
    path = write(tmp_path, workbook({"One": sheet(rows, after)}), "t.xlsx")
    said: list[str] = []
    frame = read_table(path, notice=said.append)
    assert frame.columns == ["", "size", "column_3", "y"]
    assert frame["size"].to_list() == [1, 2, 3]
    assert said == [
        "t.xlsx: 1 merged range in sheet 'One', such as D4:D5; only the first cell of each has a value, and"
        " the others are missing",
        "t.xlsx: 1 line above the table left out, such as '\"Prices\",,,'",
    ]
    assert read_table(path, FileOptions(header="none", sheet="One")).columns == ["x0", "x1", "x2", "x3"]


def test_a_sheet_is_chosen(tmp_path):
    one, two = sheet([["a"], [1], [2]]), sheet([["b"], [3], [4]])
    path = write(
        tmp_path, workbook({"Empty": sheet([]), "Not": one, "It's": two, "2": one}, hidden="Not"), "t.xlsx"
    )
    said: list[str] = []
    assert read_table(path, notice=said.append).columns == ["b"]
    assert said == ["t.xlsx: sheet \"It's\" is read, and not '2'; --sheet takes another"]
    assert isinstance(said[0], Guess)
    assert said[0].option == "--sheet 3"
    for name, column in (("Not", "a"), ("3", "b"), ("2", "a"), ("It's", "b")):  # a name goes before a number
        assert read_table(path, FileOptions(sheet=name)).columns == [column]
    for name in ("5", "0", "x"):
        assert f"t.xlsx has no sheet '{name}'; --sheet takes one of 'Empty', 'Not', \"It's\", '2'" in says(
            path, sheet=name
        )
    assert "has no cell in sheet 'Empty'" in says(path, sheet="1")
    assert "has no cell in a sheet that is not hidden" in says(
        write(tmp_path, workbook({"a": sheet([])}), "t.xlsx")
    )
    assert "sheet '1' is an option for Excel files, which" in says(write(tmp_path, CSV, "t.csv"), sheet="1")


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (
            '<!DOCTYPE a [<!ENTITY x "boom">]><worksheet/>',
            "declares a document type in xl/worksheets/sheet1.xml",
        ),
        ("<worksheet>&x;</worksheet>", "is no whole Excel file: undefined entity"),
        ("<worksheet>", "is no whole Excel file: no element found"),
        ('<w><row r="1"/><row r="1"/></w>', "its row '1' comes after row 1"),
        ('<w><row r="1048577"/></w>', "its row '1048577' comes after row 0"),
        ('<w><row><c r="XFE1"/></row></w>', "its cell 'XFE1' stands in row 1"),
        ('<w><row><c r="A2"/></row></w>', "its cell 'A2' stands in row 1"),
        ("<w><row><c><v>nan</v></c></row></w>", "cell A1 of sheet 'One' has the number 'nan'"),
        ('<w><row><c s="99"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>2</v></c></row></w>', ""),
    ],
)
def test_hostile_sheets_are_one_line(tmp_path, part, said):
    assert said in says(write(tmp_path, workbook({"One": part}), "t.xlsx"), memory="20M")


def test_cells_far_apart_take_memory_only_within_the_limit(tmp_path):
    names = [chr(65 + i // 676) + chr(65 + i // 26 % 26) + chr(65 + i % 26) for i in range(3000)]
    rows = "".join(f'<row><c r="{name}{i}"><v>1</v></c></row>' for i, name in enumerate(names, 1))
    path = write(tmp_path, workbook({"One": f"<w>{rows}</w>"}), "t.xlsx")
    assert "would take about 612 MB of memory" in says(path, memory="200M")
    stray = '<row><c r="A1" t="str"><v>a</v></c></row><row><c r="A2"><v>5</v></c></row>{}</w>'
    far = stray.format('<row r="1048576"><c r="A1048576"><v>6</v></c><c r="XFD1048576"><v>7</v></c></row>')
    frame = read_table(write(tmp_path, workbook({"One": f"<w>{far}"}), "t.xlsx"), FileOptions(header="1"))
    assert frame.rows() == [(5, None), (6, 7)]
    bomb = workbook({"One": "<w>" + " " * 10**7 + "</w>"})
    assert "would take about 57.3 MB" in says(write(tmp_path, bomb, "t.xlsx"), memory="20M")


def test_no_workbook(tmp_path):
    assert "t.xlsx is no Excel workbook: it has no xl/" in says(write(tmp_path, zipped({"a": "b"}), "t.xlsx"))
    assert "t.xlsx is no whole Excel file: File is not a zip file" in says(write(tmp_path, CSV, "t.xlsx"))


# JSON


def test_records(tmp_path):
    lines = '{"a": 1, "t": "5", "b": 1.5, "f": true}\n\n{"t": "x", "b": 2, "f": null, "n": null}\r\n{"a": -3}'
    expected = pl.DataFrame(
        {"a": [1, None, -3], "t": ["5", "x", None], "b": [1.5, 2.0, None], "f": [True, None, None],
         "n": [None, None, None]},
        schema_overrides={"n": pl.String},
    )  # fmt: skip
    found = read_table(write(tmp_path, lines, "t.jsonl"))
    assert_frame_equal(found, expected)
    array = ",".join(line for line in lines.split("\n") if line.strip())
    for text in (f"[{array}]", f" [\n{array} ]\n", lines):
        assert_frame_equal(read_table(write(tmp_path, text, "t.json")), expected)


def test_several_types_in_a_column_are_text_as_written(tmp_path, monkeypatch):
    monkeypatch.setattr("mlpax.data.json_files.AT_ONCE", 2)
    cells = ["1", '"x"', "2.5", "12345678901234567890", "true", "null", "7", "8"]
    frame = read_table(write(tmp_path, "".join(f'{{"a": {cell}}}\n' for cell in cells), "t.jsonl"))
    assert frame["a"].to_list() == ["1", "x", "2.5", "12345678901234567890", "true", None, "7", "8"]
    text = '{"a": 1}\n{"a": 2}\n{"a": 9007199254740993}\n{"a": 0.5}\n{"b": "é"}\n'
    frame = read_table(write(tmp_path, text, "t.jsonl"))
    assert frame.rows() == [(1.0, None), (2.0, None), (9007199254740992.0, None), (0.5, None), (None, "é")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1}\n{"a": [1]}\n', "has the nested value [1] of 'a' in line 2; write its parts as columns"),
        ('{"a": 1}\n[{"a": 1}]\n', 'has [{"a": 1}] in line 2, and no record'),
        ('{"a": 1, "a": 2}\n', "has no whole record in line 1: the key 'a' stands twice"),
        ('{"a": 1}\n{"a": 1\n', "has no whole record in line 2: "),
        ('{"a": 1} {"a": 2}\n', "has more than a record in line 1"),
        ('[{"a": 1}, 5]', "has 5 in record 2, and no record"),
        ('[{"a": 1} {"a": 2}]', "is no whole array of records: behind record 1 must be , or ]"),
        ('[{"a": 1},', "has no whole record in record 2: "),
        ('[{"a": 1}] x', "goes on behind its array of records"),
        ("[]", "holds no record"),
        ('{"a": ' + "[" * 100_000, "has values nested too deeply in line 1"),
        ('{"a": ' + "9" * 5000 + "}", "has no whole record in line 1: Exceeds the limit"),
    ],
)
def test_what_is_no_record_is_one_line(tmp_path, text, said):
    assert said in says(write(tmp_path, text, "t.json"))


def test_records_of_many_keys_take_memory_only_within_the_limit(tmp_path):
    text = "".join(f'{{"k{i}": 1}}\n' for i in range(20_000))
    assert "would take at least" in says(write(tmp_path, text, "t.jsonl"), memory="100M")


# ARFF


ARFF = r"""% a comment
@RELATION houses

@attribute size numeric
@attribute 'the zip' {501, '10 001', "x\"y"}
@ATTRIBUTE rooms INTEGER
@attribute note string
@attribute day date "dd.MM.yyyy"
@attribute moment DATE
@attribute other date 'MMM yyyy'
@attribute class{yes,no}
@data
1.5, 501, 3, 'it''s', 02.01.2024, '2024-01-02T03:04:05', 'Jan 2024', yes
%
?,'10 001',?,'a, \'b\'',?,?,?,no
-2e3,"x\"y",4,plain,31.12.1999,2000-01-01T00:00:00,?,?
""".replace("'it''s'", "it")


def test_arff(tmp_path):
    frame = read_table(write(tmp_path, ARFF, "t.arff"))
    day = datetime.datetime
    assert frame.to_dict(as_series=False) == {
        "size": [1.5, None, -2000.0],
        "the zip": ["501", "10 001", 'x"y'],
        "rooms": [3, None, 4],
        "note": ["it", "a, 'b'", "plain"],
        "day": [datetime.date(2024, 1, 2), None, datetime.date(1999, 12, 31)],
        "moment": [day(2024, 1, 2, 3, 4, 5), None, day(2000, 1, 1)],
        "other": ["Jan 2024", None, None],
        "class": ["yes", "no", None],
    }
    assert [frame[name].dtype for name in ("the zip", "class", "rooms")] == [pl.Categorical] * 2 + [pl.Int64]
    digits = (
        "@relation r\n@attribute level {1,2,3}\n@attribute y numeric\n@data\n" + "1,5\n2,6\n3,7.5\n2,8\n" * 9
    )
    kinds = tell_kinds(read_table(write(tmp_path, digits, "t.arff")))
    assert (kinds["level"].name, kinds["y"].name) == ("category", "number")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("-2e3", "big", "has 'big' of 'size' in line 16, which is not a number"),
        ("plain,31.12", "plain,32.12", "has '32.12.1999' of 'day' in line 16, which is not a date"),
        ("501, 3,", "502, 3,", "has '502' of 'the zip' in line 13, which is not one of 10 001, 501, x\"y"),
        ("plain,", "", "has 7 cells in line 16, but 8 attributes"),
        ("plain,", "'plain,", "has a quote in line 16 that opens or closes within a cell"),
        ("plain,", "pl'ain,", "has a quote in line 16 that opens or closes within a cell"),
        ("-2e3,", "{0 1}\n-2e3,", "has sparse rows, from line 16 on"),
        ("?,?\n", "?,?,{5}\n", "has the weight of a row in line 16"),
        (
            "size numeric",
            "size relational",
            "has '@attribute size relational' in line 4; attributes that are",
        ),
        ("size numeric", "note string", "has two attributes named 'note', in line 7"),
        ("@data", "data", "has 'data' in line 12, where ARFF has @attribute or @data"),
        (ARFF[ARFF.index("@data") :], "", "has no line @data"),
    ],
)
def test_what_is_no_arff_names_the_line(tmp_path, old, new, said):
    assert old in ARFF
    assert said in says(write(tmp_path, ARFF.replace(old, new), "t.arff"))


# LIBSVM


def test_libsvm(tmp_path):
    text = "1 1:0.5 3:7 # a comment\n-1 2:1e-3\n1\n"
    frame = read_table(write(tmp_path, text, "t.svm"))
    assert frame.to_dict(as_series=False) == {
        "x1": [0.5, 0, 0], "x2": [0, 1e-3, 0], "x3": [7, 0, 0], "y": [1, -1, 1]
    }  # fmt: skip
    from_0 = read_table(write(tmp_path, "1.5 0:2 1:3\n2 1:4\n", "t.libsvm"))
    assert from_0.to_dict(as_series=False) == {"x0": [2, 0], "x1": [3, 4], "y": [1.5, 2]}
    assert "groups its rows by qid in line 2" in says(write(tmp_path, "1 1:2\n1 qid:3 1:2\n", "t.svm"))
    assert "is no LIBSVM text, which has lines such as 1 3:0.5 7:2: " in says(write(tmp_path, CSV, "t.svm"))
    assert "would take about" in says(write(tmp_path, "1 1:1 999999999:1\n", "t.svm"))


def test_a_column_that_a_libsvm_file_ends_before_is_zero(tmp_path):
    """As of many test sets, whose largest number is smaller than that of the training set."""
    rows = "".join(f"{i % 2} 1:{i} 2:{i % 5} 3:{i % 7}\n" for i in range(1, 40))
    data = source(str(write(tmp_path, rows, "t.svm"))).to_train(Wanted(), _plain()).dataset
    model = _Model(data)
    short = source(str(write(tmp_path, "1 1:3 2:4\n0 1:1\n", "s.svm")), model=model)
    (batch,) = short.to_predict(model, print).batches
    assert batch.to_dict(as_series=False) == {"x1": [3, 1], "x2": [4, 0], "y": [1, 0], "x3": [0, 0]}


class _Model:
    """What `Table` asks of a model."""

    def __init__(self, dataset):
        self.columns = dataset.columns
        self.targets = [Target(name) for name in dataset.targets]


def _plain():
    from mlpax.data.reading import Reading

    return Reading()


# Feather V1


def test_feather_of_version_1_is_refused(tmp_path):
    """pyarrow, which alone reads it, ends the process for some damaged files."""
    path = write(tmp_path, b"FEA1\0\0\0\0" + bytes(40), "t.feather")
    assert says(path) == f"{path} is a Feather file of version 1; write it as version 2, or as Parquet"


# Parts


def test_parts_are_one_table(tmp_path):
    header, *rows = CSV.splitlines(keepends=True)
    expected = read_table(write(tmp_path, CSV, "t.csv"))
    folder = tmp_path / "parts"
    folder.mkdir()
    write(folder, header + "".join(rows[:9]), "part-0.csv")
    write(folder, PACK["zst"]((header + "".join(rows[9:20])).encode()), "part-1.csv.zst")
    names = header.strip().split(",")
    turned = expected[20:].select(names[::-1]).write_csv()  # in another order
    write(folder, turned, "part-2.csv")
    for name in ("_SUCCESS", ".hidden.csv", "notes.doc"):
        write(folder, "?", name)
    said: list[str] = []
    for path in (folder, folder / "*.csv*", f"{folder}/part-?.*"):
        assert_frame_equal(read_table(path, notice=said.append), expected)
        assert_frame_equal(pl.concat(read_batches(path)), expected)
    assert said == [f"{folder}: left out what is no table: notes.doc"]
    assert f"there is no file that matches {folder}/*.tsv" in says(folder / "*.tsv")
    assert isinstance(source(str(folder)), Table)


def test_parts_of_other_columns_name_file_and_column(tmp_path):
    a, b = write(tmp_path, "x,y\n1,a\n2,b\n", "a.csv"), write(tmp_path, "x,z\n1,a\n2,b\n", "b.csv")
    assert f"{b} lacks the column 'y', which {a} has; parts of a table have the same columns" in says(
        tmp_path
    )
    with pytest.raises(InputError, match="lacks the column 'y'"):
        list(read_batches(tmp_path))
    write(tmp_path, "x,y,z\n1,a,5\n2,b,6\n", "b.csv")
    assert f"{a} lacks the column 'z', which {b} has" in says(tmp_path)
    b.unlink()
    c = write(tmp_path, '{"x": 1, "y": "c"}\n', "c.jsonl")
    assert f"{c} holds numbers in column 'x', and {a} holds text; write all parts alike" in says(tmp_path)
    write(tmp_path, '{"x": null, "y": "c"}\n', "c.jsonl")
    assert read_table(tmp_path)["x"].to_list() == ["1", "2", None]


def test_parts_together_are_within_the_limit(tmp_path):
    for k in range(8):
        write(tmp_path, "a,b\n" + "1,2\n" * 5000, f"{k}.csv")
    assert "would take about" in says(tmp_path, memory="2M")
    assert read_table(tmp_path, FileOptions(memory="9M")).height == 40_000


# Standard input


@pytest.mark.parametrize("pack", [bytes, gzip.compress, PACK["zip"]])
def test_standard_input_is_a_table(tmp_path, monkeypatch, pack):
    expected = read_table(write(tmp_path, CSV, "t.csv"))

    def given(content):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(pack(content.encode()))))

    given(CSV)
    assert_frame_equal(read_table("-"), expected)
    given(CSV)
    assert_frame_equal(pl.concat(read_batches("-")), expected)
    given("a,b\n1,2\n3\n")
    assert says("-").startswith("standard input has 1 cell in line 3, but 2 columns")
    given("a,b\n" + "1,2\n" * 10**6)
    assert "standard input would take" in says("-", memory="9M")


# Every format


@pytest.mark.parametrize("name", ["t.json", "t.arff", "t.svm", "t.xlsx", "t.csv.zip", "t.csv.zst"])
def test_the_same_rows_make_the_same_data_set(tmp_path, name):
    rows = [(i, i % 7, i % 2) for i in range(1, 50)]
    csv = write(tmp_path, "x1,x2,y\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows), "t.csv")
    text = {
        "t.json": json.dumps([{"x1": a, "x2": b, "y": c} for a, b, c in rows]),
        "t.arff": "@relation r\n@attribute x1 numeric\n@attribute x2 real\n@attribute y {0,1}\n@data\n"
        + "".join(f"{a},{b},{c}\n" for a, b, c in rows),
        "t.svm": "".join(f"{c} 1:{a} 2:{b}\n" for a, b, c in rows),
        "t.xlsx": workbook({"One": sheet([["x1", "x2", "y"], *map(list, rows)])}),
        "t.csv.zip": zipped({"t.csv": csv.read_text()}),
        "t.csv.zst": packed.zstd.compress(csv.read_bytes()),
    }[name]
    found, expected = (from_frame(read_table(path)) for path in (write(tmp_path, text, name), csv))
    assert (found.X_train == expected.X_train).all()
    assert (found.y_train == expected.y_train).all()
    assert list(map(str, found.classes)) == list(map(str, expected.classes))
