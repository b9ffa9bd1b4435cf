"""What a person reads."""

import csv
import json
import os
import subprocess
import sys
import unicodedata

import pytest
from rich.cells import cell_len

from mlpax.cli import main, screen
from mlpax.errors import UNSEEN, InputError, escaped
from mlpax.runs.run_files import Summary
from mlpax.screen import epoch_line

RUN = Summary("r", "xor", "table", "finished", "9/9", kept=4, score=0.0, metric="valid_rmse", seconds=1.5)


def test_a_score_of_zero_is_a_score(capsys):
    screen.table_of_runs([RUN, RUN._replace(kept=0, score=None, state="running")])
    _, first, second = capsys.readouterr().out.splitlines()
    assert first.split() == ["r", "xor", "finished", "9/9", "4", "0.0000", "rmse", "1.5", "s"]
    assert second.split() == ["r", "xor", "running", "9/9", "rmse", "1.5", "s"]


def test_runs_fit_in_a_narrow_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    name = "fashion_mnist-default-with-dropout-and-"
    runs = [
        RUN._replace(run=f"{name}{i}", data="/home/ann/a_table_of_many_houses.csv", state="stopped early",
                     epochs="256/256", kept=200, score=7185.16, metric="valid_log_loss", seconds=1234.5)
        for i in range(2)
    ]  # fmt: skip
    screen.table_of_runs(runs)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) == 80
    assert [line.split()[0][-1] for line in lines[1:]] == ["0", "1"]  # names differ at their ends
    monkeypatch.delenv("COLUMNS")
    screen.table_of_runs(runs)  # into a pipe or a file: in whole
    assert f"{name}1  a_table_of_many_houses.csv  stopped early" in capsys.readouterr().out


def record(epoch, seconds=0.2, **figures):
    return {"epoch": epoch, "loss": 0.2887, **figures, "seconds": seconds}


def test_the_articles_line_is_as_printed():
    figures = {"train_accuracy": 0.8181, "valid_accuracy": 0.8242, "valid_log_loss": 0.5}
    line = "Epoch 25/25: loss: 0.2887, train acc.: 0.818, valid acc.: 0.824, time: "
    assert epoch_line(record(25, 0.24, **figures), 25) == f"{line}0.24 sec."
    assert epoch_line(record(25, 12.34, **figures), 25) == f"{line}12.34 sec."


@pytest.mark.parametrize(
    ("figures", "line"),
    [
        (
            {"valid_accuracy": 0.984, "valid_log_loss": 0.122},
            "Epoch 7/256: loss: 0.2887, acc.: 0.984, log loss: 0.122, 0.20 s",
        ),
        (
            {
                "train_accuracy": 0.945,
                "valid_accuracy": 0.984,
                "train_log_loss": 0.1541,
                "valid_log_loss": 0.1,
            },
            "Epoch 7/256: loss: 0.2887, acc.: 0.945/0.984, 0.20 s",
        ),
        ({"valid_rmse": 7185.161}, "Epoch 7/256: loss: 0.2887, valid rmse: 7185.161, time: 0.20 sec."),
    ],
)
def test_lines_of_tables_fit_in_80_columns(figures, line):
    assert epoch_line(record(7, **figures), 256) == line
    assert len(epoch_line(record(256, **figures), 256)) <= 80


# Colours, a cleared screen, a window's title, C1, direction, line breaks, what is not seen, no UTF-8.
HOSTILE = (
    "a\x1b[31m\x1b[2J\x1b]0;t\x07\r\n\t\x7f\x9bm\u202e\u2066\u061c\u200f\u200b\u2028\ufeff\xad"
    "\U000e0041\udc80z"
)
ESCAPED = (
    r"a\x1b[31m\x1b[2J\x1b]0;t\x07\r\n\t\x7f\x9bm\u202e\u2066\u061c\u200f\u200b\u2028\ufeff\xad"
    r"\U000e0041\udc80z"
)
DIRECTIONS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
PLAIN = [
    "数量",
    "naïve",
    "سن",
    "می\u200cخواهم",
    "👩\u200d👧",
    "❤\ufe0f",
    "e\u0301",
    "ひらがな",
    r"C:\new\x1b",
    "a b",
]


def test_what_a_terminal_obeys_is_escaped_and_all_else_is_shown(capsys):
    screen.show(HOSTILE, *PLAIN)
    screen.say(HOSTILE)
    screen.table([("name", "n"), (HOSTILE, 1)])
    out, err = capsys.readouterr()
    assert out.split("\n")[:-1] == [ESCAPED, *PLAIN, "name".ljust(len(ESCAPED)) + "  n", f"{ESCAPED}  1"]
    assert err == f"mlpax: {ESCAPED}\n"
    assert not UNSEEN.search((out + err).replace("\n", ""))


def test_every_character_that_moves_or_reorders_is_escaped():
    """By Unicode's own classes: controls, separators, surrogates, and of the formats all but the joiners."""
    kept = set()
    for code in range(sys.maxunicode + 1):
        kind, char = unicodedata.category(chr(code)), chr(code)
        if kind in ("Cc", "Zl", "Zp", "Cs") or unicodedata.bidirectional(char) in DIRECTIONS:
            assert escaped(char) == char.encode("unicode_escape", "surrogatepass").decode()
        elif kind == "Cf" and escaped(char) == char:
            kept.add(unicodedata.name(char).split()[0])
    # The joiners, and signs that are seen: Arabic and Kaithi numbers, hieroglyphs, shorthand, music.
    assert kept == {"ZERO", "ARABIC", "SYRIAC", "KAITHI", "EGYPTIAN", "SHORTHAND", "MUSICAL"}


def test_a_line_for_the_user_has_at_most_500_characters(capsys):
    screen.say(f"column '{'x' * 100_000}' is empty; leave it out with --drop")
    (line,) = capsys.readouterr().err.splitlines()
    assert 400 < len(line) <= 500
    assert line.startswith("mlpax: column 'xxx")
    assert line.endswith("xxx' is empty; leave it out with --drop")


def test_columns_align_though_letters_are_wide(capsys, monkeypatch):
    names = ["数量", "naïve", "e\u0301", "한국", "abc", "한"]
    screen.table([("name", "n"), *((name, 7) for name in names)])
    lines = capsys.readouterr().out.splitlines()
    assert {cell_len(line[: line.rindex("7")]) for line in lines[1:]} == {7}
    monkeypatch.setenv("COLUMNS", "14")
    screen.table([("数" * 30, 7), ("x" * 30, 7)], names=(0,))
    assert capsys.readouterr().out.splitlines() == ["数数…数数数  7", "xxxxx…xxxxx  7"]


def test_an_answer_in_json_is_exact_and_always_json(capsys):
    screen.show_json({HOSTILE: [float("nan"), float("-inf"), 0.1, PLAIN]})
    out = capsys.readouterr().out
    assert out.isascii()
    assert json.loads(out, parse_constant=pytest.fail) == {HOSTILE: [None, None, 0.1, PLAIN]}


def test_epoch_lines_above_the_bar_are_not_markup(capsys):
    with screen.bar(1) as show:
        show(f"[bold]x[/bold] :smile: {HOSTILE}")
    assert f"[bold]x[/bold] :smile: {ESCAPED}\n" in capsys.readouterr().out


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A folder with a table whose name, columns and classes are hostile, and a run on the table."""
    folder = tmp_path_factory.mktemp("hostile")
    name = "t\x1b[2J\u202e\n.csv"
    classes = [f"{HOSTILE.replace(chr(0xDC80), '')}{i}" for i in range(2)] + ["=1+1", "类"]
    rows = [(i % 4 + 0.1 * (i % 3), i % 5 / 3, classes[i % 4]) for i in range(80)]
    with open(folder / name, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("size\x1b[7m\u202e", "数", "y\r\n\x9b"), *rows])
    run = folder / "run\x1b[7m\n"
    with pytest.raises(SystemExit) as exit_:
        main.main(
            ["train", str(folder / name), "--epochs", "1", "--hidden", "4", "--quiet", "--out", str(run)]
        )
    assert exit_.value.code == 0
    return folder / name, run


@pytest.mark.parametrize(
    "words",
    [
        ["describe", "TABLE"],
        ["train", "TABLE", "--epochs", "1", "--hidden", "4", "--test", "0.2", "--out", "a\x1b[7m\n"],
        ["train", "TABLE", "--epochs", "1", "--hidden", "4", "--quiet", "--out", "a\x1b[7m\n"],
        ["resume", "RUN"],
        ["evaluate", "RUN"],
        ["evaluate", "RUN", "TABLE"],
        ["predict", "RUN", "TABLE", "--out", "p\x1b[7m\n.csv"],
        ["importance", "RUN", "TABLE", "--out", "p\x1b[7m\n.png"],
        ["inspect", "RUN"],
        ["runs", "FOLDER"],
        ["compare", "RUN", "RUN"],
        ["plot", "RUN"],
    ],
    ids=lambda words: " ".join(words[:4:3]),
)
def test_hostile_names_in_answers(mlpax, hostile, words):
    table, run = hostile
    places = {"TABLE": table, "RUN": run, "FOLDER": table.parent}
    code, out, err = mlpax(*(places.get(word, word) for word in words))
    assert code == 0
    assert out
    lines = (out + err).split("\n")
    assert not [line for line in lines if UNSEEN.search(line)]
    assert any(r"\x1b" in line for line in lines)
    for line in err.splitlines():  # no line begins with a part of a name
        assert line.startswith("mlpax: ")


@pytest.mark.parametrize(
    "words",
    [
        ["train", f"no/{HOSTILE[:-2]}.csv"],
        ["train", f"{'x' * 3000}.csv"],  # an OSError: File name too long
        ["train", "--recipe", HOSTILE[:-2]],
        ["train", "--epochs", HOSTILE[:-2]],
        ["train", f"--{HOSTILE[:-2]}"],
        ["train", "--hidden", HOSTILE[:-2] * 100],
        [HOSTILE[:-2]],
        ["resume", f"no/{HOSTILE[:-2]}"],
        ["inspect", "x" * 3000],
        ["runs", HOSTILE[:-2]],
        ["predict", "no", HOSTILE[:-2], "--out", HOSTILE[:-2]],
    ],
    ids=lambda words: ascii(" ".join(words))[:30],
)
def test_an_error_is_one_line_whatever_it_names(mlpax, words):
    code, out, err = mlpax(*words)
    assert (code in (1, 2), out) == (True, "")
    assert err.startswith("mlpax: ")
    assert len(err) <= 501
    assert err.endswith("\n")
    assert not UNSEEN.search(err[:-1])


def test_the_message_of_an_error_is_one_line_in_python_too():
    assert ascii(str(InputError(f"no run at {HOSTILE}"))) == ascii(f"no run at {ESCAPED}")
    assert str(InputError("数 \u200d")) == "数 \u200d"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_an_encoding_that_lacks_a_letter(hostile, encoding):
    table, _ = hostile
    for words in (["describe", table], ["inspect", f"no{'数' * 80}"], ["--help"]):
        ran = subprocess.run(
            [sys.executable, "-m", "mlpax", *words],
            capture_output=True, env=os.environ | {"PYTHONIOENCODING": encoding},
        )  # fmt: skip
        out, err = ran.stdout.decode(encoding), ran.stderr.decode(encoding)
        assert ran.returncode in (0, 2)
        assert r"\u6570" in out + err or words == ["--help"]
        assert "Error" not in err
        assert max(map(len, err.splitlines()), default=0) <= 500
