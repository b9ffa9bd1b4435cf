"""What is guessed from a file is said, and the command that `describe` prints says it all."""

import json
import random
import shlex

import numpy as np
import polars as pl
import pytest
from PIL import Image

from mlpax import load

QUICK = ("--epochs", 3, "--hidden", 8, "--quiet")


def table(rows=240, **columns):
    """A classification whose cells are those given, by row."""
    draw = random.Random(0)
    lines = [["x", *columns, "sold"]]
    for i in range(rows):
        x = draw.gauss(0, 1)
        cells = [cell(i, draw) for cell in columns.values()]
        lines.append([f"{x:.3f}", *cells, "yes" if x > 0 else "no"])
    return "\n".join(",".join(f'"{cell}"' if "," in cell else cell for cell in line) for line in lines) + "\n"


CELLS = {
    "price": lambda i, draw: f"${draw.randrange(1000, 9999):,}.{i % 100:02}",
    "share": lambda i, draw: f"{draw.random() * 100:.1f}%",
    "age": lambda i, draw: "n/a" if i % 12 == 0 else str(draw.randrange(18, 90)),
    "zip": lambda i, draw: draw.choice(["00501", "07302", "99501", "20095"]),
    "day": lambda i, draw: f"{draw.randrange(1, 28):02}/{draw.randrange(1, 13):02}/2023",
    "short": lambda i, draw: f"{draw.randrange(1, 28)}-Jun-23",
    "count": lambda i, draw: f"{draw.randrange(10, 99)},{draw.randrange(100, 999)}",
    "odd": lambda i, draw: "oops" if i == 7 else str(draw.random())[:6],
    "name": lambda i, draw: f"person {i}",
    "limit": lambda i, draw: "<0.5" if i % 9 == 0 else f"{draw.random() + 0.5:.2f}",
    "id": lambda i, draw: str(10**17 + draw.randrange(10**6)),
    "clock": lambda i, draw: f"{draw.randrange(24):02}:{draw.randrange(60):02}",
    "level": lambda i, draw: draw.choice(["NA", "a", "b"]),
    "day8": lambda i, draw: f"2023{draw.randrange(1, 13):02}{draw.randrange(1, 28):02}",
    "size": lambda i, draw: draw.choice(["5 MB", "2 GB", "7 MB"]),
}


@pytest.mark.parametrize(
    "names", [[name] for name in CELLS] + [list(CELLS), ["age", "price"], ["zip", "level"]]
)
def test_the_command_that_describe_prints_guesses_nothing(mlpax, tmp_path, names):
    (tmp_path / "t.csv").write_text(table(**{name: CELLS[name] for name in names}))
    code, out, err = mlpax("describe", "t.csv", "--json")
    assert (code, err) == (0, "")
    facts = json.loads(out)
    words = shlex.split(facts["command"])
    assert words[:3] == ["mlpax", "train", "t.csv"]
    for name in names:
        assert any(f"'{name}'" in text for text in facts["notices"]) or name in ("day8",), (
            name,
            facts["notices"],
        )
    code, _, err = mlpax("train", "t.csv", *QUICK, "--strict", "--out", "none")
    assert code == 2
    assert "strict reading guesses nothing" in err
    code, _, err = mlpax(*words[1:], *QUICK, "--strict", "--out", "run")
    assert (code, err) == (0, "")
    again = json.loads(mlpax("describe", *words[2:], "--strict", "--json")[1])
    kinds = [(c["column"], c["kind"], c["missing"]) for c in facts["columns"] if c["column"] != "name"]
    assert [
        (c["column"], c["kind"], c["missing"]) for c in again["columns"] if c["column"] != "name"
    ] == kinds
    assert mlpax("resume", "run")[0] == 0
    assert mlpax("evaluate", "run", "t.csv")[0] == 0
    assert mlpax("predict", "run", "t.csv", "--out", "p.csv")[1] == "p.csv: 240 predictions\n"


def test_describe_on_the_screen(mlpax, tmp_path):
    (tmp_path / "t.csv").write_text("# by a tool\n" + table(zip=CELLS["zip"], age=CELLS["age"]))
    code, out, err = mlpax("describe", "t.csv")
    assert code == 0
    assert out.splitlines()[-2:] == [
        "To train on what is said here:",
        "mlpax train t.csv --header 2 --target sold --column zip=category --missing n/a"
        " --task classification",
    ]
    assert err.count("mlpax: ") == 5


def test_what_the_user_says_of_columns(mlpax, tmp_path):
    (tmp_path / "t.csv").write_text(table(zip=CELLS["zip"], name=CELLS["name"], age=CELLS["age"]))
    words = ("train", "t.csv", *QUICK, "--target", "sold", "--task", "classification")
    kinds = ("--column", "zip=number", "--id", "name", "--drop", "age")
    assert mlpax(*words, *kinds, "--out", "run")[0] == 0
    model = load(tmp_path / "run")
    assert [(c.name, c.kind) for c in model.columns.columns] == [
        ("x", "number"), ("zip", "number"), ("name", "id"), ("age", "drop"),
    ]  # fmt: skip
    options = json.loads((tmp_path / "run/config.json").read_text())["options"]
    assert options["column"] == {"zip": "number"}
    assert (options["id"], options["drop"]) == ("name", ["age"])
    mlpax("predict", "run", "t.csv", "--out", "p.csv")
    predictions = pl.read_csv("p.csv")
    assert predictions.columns[:2] == ["name", "prediction"]
    assert predictions["name"].to_list() == [f"person {i}" for i in range(240)]
    pl.read_csv("t.csv").drop("age", "name").write_csv("less.csv")
    assert mlpax("evaluate", "run", "less.csv")[0] == 0  # what is left out may lack
    code, _, err = mlpax("predict", "run", "less.csv", "--out", "q.csv")
    assert (code, err) == (2, "mlpax: column 'name', which names the rows, is missing\n")
    for wrong, says in (
        (("--column", "zip"), "column 'zip' has no kind; write zip=number|category|date|text|id|drop"),
        (("--column", "zip=word"), "unknown kind of column 'zip' 'word'"),
        (("--column", "zap=number"), "no column 'zap' in the data; did you mean 'zip'?"),
        (("--drop", "sold"), "column 'sold' is the target, which is not left out"),
        (("--dates", "year-first"), "unknown dates 'year-first'"),
        (("--decimal", ";"), "decimal ';' is none of '.' ','"),
        (("--decimal", ",", "--thousands", ","), "decimal and thousands are both ','"),
        (("--column", "name=number"), "column 'name' holds no number"),
        (("--column", "name=date"), "column 'name' holds no dates, as 'person 0'"),
    ):
        code, _, err = mlpax(*words, *wrong, "--out", "wrong")
        assert (code, says in err, err.count("\n")) == (2, True, 1), (wrong, err)
        assert not (tmp_path / "wrong").exists()


def test_the_same_rows_in_another_encoding_predict_the_same(mlpax, tmp_path):
    text = table(city=lambda i, draw: draw.choice(["Köln", "Zürich", "Málaga"]))
    (tmp_path / "t.csv").write_bytes(text.encode("cp1252"))
    (tmp_path / "u.csv").write_text(text)
    _, _, err = mlpax("train", "t.csv", "--epochs", 3, "--hidden", 8, "--out", "run")
    assert "t.csv is not UTF-8, and is read as cp1252" in err
    for name in ("t", "u"):
        assert mlpax("predict", "run", f"{name}.csv", "--out", f"{name}p.csv")[0] == 0
    assert (tmp_path / "tp.csv").read_bytes() == (tmp_path / "up.csv").read_bytes()
    (tmp_path / "v.csv").write_bytes(text.encode("cp850"))
    assert mlpax("predict", "run", "v.csv", "--encoding", "cp850", "--out", "vp.csv")[0] == 0
    assert (tmp_path / "vp.csv").read_bytes() == (tmp_path / "up.csv").read_bytes()


def test_data_that_have_moved(mlpax, tmp_path):
    (tmp_path / "t.csv").write_text(table())
    assert mlpax("train", "t.csv", *QUICK, "--test", 0.2, "--out", "run")[0] == 0
    (tmp_path / "t.csv").rename(tmp_path / "u.csv")
    for words in (("evaluate", "run"), ("plot", "run"), ("resume", "run"), ("importance", "run")):
        code, _, err = mlpax(*words)
        assert (code, "there is no file or folder" in err) == (2, True)
        assert mlpax(*words, "--data", "u.csv")[0] == 0
    (tmp_path / "u.csv").write_text(table(200))
    code, _, err = mlpax("evaluate", "run", "--data", "u.csv")
    assert (code, "u.csv is not as it was when run was trained" in err) == (2, True)


def test_a_target_is_read_as_in_training(mlpax, tmp_path):
    draw = np.random.default_rng(0)
    x = draw.normal(size=200)
    rows = "".join(f'{v:.3f},"${1000 + 500 * v:,.2f}"\n' for v in x)
    (tmp_path / "t.csv").write_text(f"x,price\n{rows}0.1,unknown\n")
    words = ("train", "t.csv", "--epochs", 60, "--hidden", 16, "--test", 0.2, "--out", "run")
    code, _, err = mlpax(*words)
    assert code == 0
    assert "column 'price' is read as numbers: '$1," in err
    assert "dropped 1 row without a target" in err
    assert "the task is regression" in err
    figures = json.loads(mlpax("evaluate", "run", "t.csv", "--json")[1])
    assert figures["r2"] > 0.9


def pictures(folder, light):
    for label, place in (("a", 4), ("b", 20)):
        for i in range(12):
            pixels = np.zeros((28, 28), np.uint8)
            pixels[place : place + 4, 4 + i : 10 + i] = 255
            (folder / label).mkdir(parents=True, exist_ok=True)
            Image.fromarray(255 - pixels if light else pixels).save(folder / label / f"{i}.png")


def test_pictures_of_another_background_are_told(mlpax, tmp_path):
    pictures(tmp_path / "dark", light=False)
    pictures(tmp_path / "light", light=True)
    mlpax("train", "dark", "--epochs", 20, "--hidden", 16, "--batch-size", 4, "--quiet", "--out", "run")
    says = (
        "the pictures have a light background, and the network was trained on a dark one; --invert exchanges"
    )
    for words in (("evaluate", "run", "light"), ("predict", "run", "light", "--out", "p.csv")):
        code, _, err = mlpax(*words)
        assert (code, says in err) == (0, True)
        code, _, err = mlpax(*words, "--invert")
        assert (code, says in err) == (0, False)
    assert json.loads(mlpax("evaluate", "run", "light", "--invert", "--json")[1])["accuracy"] == 1
    assert says not in mlpax("evaluate", "run", "dark")[2]
    code, _, err = mlpax("train", "light", "--invert", "--epochs", 2, "--quiet", "--out", "other")
    assert load(tmp_path / "other").provenance["background"] == "dark"
