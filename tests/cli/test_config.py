"""Options from a TOML file: as on the command line, or one line that names the place."""

import json

import pytest


def test_a_file_gives_options_and_the_command_line_wins(mlpax, tmp_path):
    (tmp_path / "run.toml").write_text(
        """
epochs = 3
hidden = [12, 8]
learning-rate = 1
shuffle = false
target = "y"
missing = ["none", "x y"]
[column]
zip = "category"
"""
    )
    rows = [f"{i:05},{i % 7},{'ab'[i % 2]}" for i in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["zip,x,y", *rows]))
    status, _, err = mlpax("train", "t.csv", "--config", "run.toml", "--epochs", 2, "--out", "run", "--quiet")
    assert (status, err) == (0, "")
    config = json.loads((tmp_path / "run/config.json").read_text())
    wanted = {"epochs": 2, "hidden": [12, 8], "learning_rate": 1.0, "shuffle": False}
    assert wanted.items() <= config["recipe"].items()
    assert config["options"] == {"target": "y", "missing": ["none", "x y"], "column": {"zip": "category"}}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("\nepoch = 3", "run.toml, line 2: unknown option 'epoch'; did you mean 'epochs'?"),
        ('a = 1\nepochs = "many"', "run.toml, line 1: unknown option 'a'"),
        ('# epochs\n\nepochs = "many"', "run.toml, line 3: epochs is 'many'; write a whole number"),
        ("epochs = true", "epochs is True; write a whole number"),
        ("epochs = 2.5", "epochs is 2.5; write a whole number"),
        ("shuffle = 1", "shuffle is 1; write true or false"),
        ("learning-rate = 'fast'", "learning-rate is 'fast'; write a number"),
        ("hidden = [[3]]", "hidden is nested too deeply"),
        ("epochs = 2020-01-01", "write a whole number"),
        ("epochs = = 3", "run.toml is no TOML: Invalid value (at line 1, column 10)"),
        ("x = " + "[" * 5000, "run.toml is no TOML"),
        ("epochs = 0", "epochs 0"),
    ],
)
def test_what_a_file_cannot_say(mlpax, tmp_path, text, says):
    (tmp_path / "run.toml").write_text(text)
    status, out, err = mlpax("train", "digits", "--config", "run.toml")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert says in err


def test_a_file_that_is_not_there_or_no_text(mlpax, tmp_path):
    assert "run.toml cannot be read: No such file" in mlpax("train", "--config", "run.toml")[2]
    (tmp_path / "run.toml").write_bytes(b"\xff\xfe")
    assert "run.toml is not UTF-8" in mlpax("train", "--config", "run.toml")[2]
