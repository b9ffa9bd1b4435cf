"""What a person reads."""

import pytest

from mlpax.cli import screen
from mlpax.runs.run_files import Summary

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
    assert screen.epoch_line(record(25, 0.24, **figures), 25) == f"{line}0.24 sec."
    assert screen.epoch_line(record(25, 12.34, **figures), 25) == f"{line}12.34 sec."


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
    assert screen.epoch_line(record(7, **figures), 256) == line
    assert len(screen.epoch_line(record(256, **figures), 256)) <= 80
