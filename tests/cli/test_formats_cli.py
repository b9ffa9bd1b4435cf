"""Commands on tables of other formats: sheets, parts, standard input and standard output."""

import io
import json
import shlex
import sys

import polars as pl
import pytest

from small_data import classified
from workbook import sheet, workbook

QUICK = ("--epochs", 3, "--hidden", 8)


@pytest.fixture
def csv(tmp_path):
    classified(200).write_csv(tmp_path / "t.csv")
    return (tmp_path / "t.csv").read_text()


@pytest.fixture
def given(monkeypatch):
    """Make a text the standard input."""

    def give(text):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    return give


def test_a_table_from_standard_input(mlpax, tmp_path, csv, given):
    given(csv)
    code, out, _ = mlpax("describe", "-")
    assert code == 0
    assert out.splitlines()[-1].startswith("mlpax train - --target ")
    given(csv)
    code, out, err = mlpax("train", "-", *QUICK, "--quiet")
    assert (code, out, err) == (0, "runs/stdin-table-1\n", "")
    run = out.strip()
    assert json.loads((tmp_path / run / "config.json").read_text())["dataset"] == "-"
    for command in ("evaluate", "resume", "plot", "importance"):
        code, out, err = mlpax(command, run)
        remedy = "the rows came from standard input, which is gone; name a file of them with --data FILE"
        assert (code, out, err) == (2, "", f"mlpax: {remedy}\n")
        assert mlpax(command, run, "--data", "t.csv")[0] == 0
    code, _, err = mlpax("train", "--from", run, "--epochs", "+1")
    remedy = f"standard input is gone; name a file of its rows: mlpax train FILE --from {run}"
    assert (code, err) == (2, f"mlpax: {remedy}\n")
    assert mlpax("train", "t.csv", "--from", run, "--epochs", "+1", "--out", "child")[0] == 0
    assert json.loads((tmp_path / "child" / "config.json").read_text())["dataset"] == str(tmp_path / "t.csv")
    given("")
    assert mlpax("describe", "-")[::2] == (2, "mlpax: standard input is empty\n")
    given(csv)
    code, _, err = mlpax("train", "-", *QUICK, "--folds", 2)
    assert (code, err) == (
        2, "mlpax: each fold reads the data, and standard input can be read once; save it to a file\n"
    )  # fmt: skip
    assert not (tmp_path / "runs" / "stdin-folds-1").exists()


def test_predictions_to_standard_output(mlpax, tmp_path, csv, given):
    mlpax("train", "t.csv", *QUICK, "--quiet", "--out", "run")
    assert mlpax("predict", "run", "t.csv", "--out", "p.csv")[0] == 0
    given(csv)
    code, out, err = mlpax("predict", "run", "-", "--out", "-")
    assert (code, out, err) == (0, (tmp_path / "p.csv").read_text(), "mlpax: 200 predictions\n")
    assert not (tmp_path / "-").exists()
    given("z\n1\n2\n")
    code, out, err = mlpax("predict", "run", "-", "--out", "-")
    assert code == 2
    assert "is missing" in err
    given(csv)
    code, _, err = mlpax("evaluate", "run", "-", "--json")
    assert (code, err) == (0, "")


def test_the_terminal_sees_predictions_escaped(mlpax, monkeypatch, tmp_path):
    frame = classified(60)
    target = frame.columns[-1]
    names = {v: f"{v}\x1b[2J" for v in frame[target].unique()}
    frame.with_columns(pl.col(target).replace_strict(names)).write_csv(tmp_path / "t.csv")
    mlpax("train", "t.csv", *QUICK, "--quiet", "--out", "run")
    assert "\x1b" in mlpax("predict", "run", "t.csv", "--out", "-")[1]  # bytes for another program
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    code, out, _ = mlpax("predict", "run", "t.csv", "--out", "-")
    assert code == 0
    assert "\x1b" not in out
    assert "\\x1b[2J" in out
    assert len(out.splitlines()) == 61


@pytest.mark.parametrize("named", ["parts", "parts/", "parts/*.csv"])
def test_parts(mlpax, tmp_path, monkeypatch, named, csv):
    header, *rows = csv.splitlines(keepends=True)
    (tmp_path / "parts").mkdir()
    for k in range(4):
        (tmp_path / "parts" / f"{k}.csv").write_text(header + "".join(rows[50 * k : 50 * k + 50]))
    for data, out in (("t.csv", "whole"), (named, "parted")):
        assert mlpax("train", data, *QUICK, "--quiet", "--out", out)[0] == 0
    whole, parted = (json.loads((tmp_path / run / "config.json").read_text()) for run in ("whole", "parted"))
    assert whole["fingerprint"] == parted["fingerprint"]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert mlpax("evaluate", "../parted")[0] == 0
    monkeypatch.chdir(tmp_path)
    mlpax("predict", "whole", "t.csv", "--out", "whole.csv")
    assert mlpax("predict", "parted", named, "--out", "parted.csv")[:2] == (
        0,
        "parted.csv: 200 predictions\n",
    )
    assert (tmp_path / "whole.csv").read_text() == (tmp_path / "parted.csv").read_text()
    assert mlpax("train", named, *QUICK, "--quiet")[1] == "runs/parts-table-1\n"
    (tmp_path / "parts" / "4.csv").write_text(f"other,{header}1,{rows[0]}")
    code, out, err = mlpax("train", named, *QUICK)
    assert (code, out) == (2, "")
    assert err == (
        "mlpax: parts/0.csv lacks the column 'other', which parts/4.csv has; parts of a table have the same"
        " columns\n"
    )


def test_no_part(mlpax):
    assert mlpax("train", "parts/*.csv", *QUICK) == (
        2,
        "",
        "mlpax: there is no file that matches parts/*.csv\n",
    )


def test_a_sheet_is_named_by_the_command_that_describe_prints(mlpax, tmp_path, csv):
    frame = classified(200)
    part = sheet([frame.columns, *map(list, frame.rows())])
    (tmp_path / "t.xlsx").write_bytes(workbook({"Notes": sheet([["see"]]), "The rows": part}))
    code, out, err = mlpax("train", "t.xlsx", *QUICK, "--out", "run")
    assert code == 2
    code, out, err = mlpax("describe", "t.xlsx", "--sheet", "The rows", "--json")
    assert (code, err) == (0, "")
    words = shlex.split(json.loads(out)["command"])
    assert words[:5] == ["mlpax", "train", "t.xlsx", "--sheet", "The rows"]
    assert mlpax(*words[1:], *QUICK, "--strict", "--out", "run", "--quiet")[::2] == (0, "")
    assert mlpax("train", "t.csv", *QUICK, "--out", "csv", "--quiet")[0] == 0
    runs = (json.loads((tmp_path / run / "config.json").read_text()) for run in ("run", "csv"))
    assert len({run["fingerprint"] for run in runs}) == 1
    assert mlpax("evaluate", "run")[0] == 0
    assert mlpax("predict", "run", "t.xlsx", "--sheet", "2", "--out", "p.csv")[0] == 0
    code, out, err = mlpax("predict", "run", "t.xlsx", "--sheet", "3", "--out", "p.csv")
    assert (code, out) == (2, "")
    assert err == "mlpax: t.xlsx has no sheet '3'; --sheet takes one of 'Notes', 'The rows'\n"
