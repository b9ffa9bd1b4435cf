"""Run folders that the first version wrote: each command answers, and `resume` goes on or refuses."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

OLD = Path(__file__).parent / "format_1"
RUNS = sorted(folder.name for folder in OLD.iterdir() if folder.is_dir())
INTERRUPTED = [name for name in RUNS if name.startswith("interrupted")]
HOUSES = "/tmp/format-1/houses.csv"  # where the table lay


@pytest.fixture
def old(tmp_path):
    """Copy a run to a folder of its own, its table beside it; return its path."""

    def copy(name):
        run = tmp_path / "runs" / name
        shutil.copytree(OLD / name, run)
        table = shutil.copy(OLD / "houses.csv", tmp_path)
        config = run / "config.json"
        config.write_text(config.read_text().replace(HOUSES, str(table)))
        return run

    return copy


def contents(folder):
    """The bytes of every file, by path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def history(file):
    """The figures of each epoch, without its seconds: names, and an array (epochs, figures)."""
    rows = list(csv.DictReader(file.read_text().splitlines()))
    names = [name for name in rows[0] if name != "seconds"]
    return names, np.array([[float(row[name]) for name in names] for row in rows])


def data_of(run, tmp_path):
    return "digits" if "table" not in run.name else tmp_path / "houses.csv"


def test_runs_lists_them(mlpax, old, tmp_path):
    for name in RUNS:
        old(name)
    code, out, err = mlpax("runs", "--json")
    assert (code, err) == (0, "")
    assert len(json.loads(out)) == len(RUNS)
    code, out, _ = mlpax("runs")
    assert code == 0
    assert out.count("interrupted") >= len(INTERRUPTED)


@pytest.mark.parametrize("name", ["finished_digits", "interrupted_digits", "interrupted_table"])
def test_commands_answer(mlpax, old, tmp_path, name):
    run = old(name)
    kept = contents(run)
    code, out, err = mlpax("evaluate", run, "--json")
    assert code == 0, err
    recorded = json.loads((run / "result.json").read_text())["metrics"]
    assert json.loads(out)["accuracy"] == pytest.approx(recorded["test_accuracy"])
    code, _, err = mlpax("predict", run, data_of(run, tmp_path), "--out", "predictions.csv")
    assert code == 0, err
    assert (tmp_path / "predictions.csv").read_text().count("\n") > 100
    code, _, err = mlpax("plot", run, "--out", "figures")
    assert code == 0, err
    drawn = {path.name for path in (tmp_path / "figures").iterdir()}
    assert drawn >= {"curves.png", "confusion.png", "calibration.png"}
    assert contents(run) == kept  # looking changes nothing


@pytest.mark.parametrize("name", INTERRUPTED)
def test_resume_goes_on_or_refuses(mlpax, old, name):
    """Going on, a run comes to its end by the figures of an unbroken one, which another mlpax wrote."""
    run = old(name)
    kept = contents(run)
    code, _, err = mlpax("resume", run)
    if code:
        assert code == 2
        assert len(err.splitlines()) == 1
        assert contents(run) == kept
        return
    assert json.loads((run / "result.json").read_text())["state"] == "finished"
    names, figures = history(run / "metrics.csv")
    whole_names, whole = history(OLD / f"{name}.whole.csv")
    assert names[: len(whole_names)] == whole_names
    np.testing.assert_allclose(figures[:, : len(whole_names)], whole, rtol=0.02, atol=0.005)
    newest = max((run / "checkpoints").iterdir())
    if len([*(run / "checkpoints").iterdir()]) > 1:  # from an earlier checkpoint of this mlpax
        newest.unlink()
        (run / "result.json").unlink()
        code, _, err = mlpax("resume", run)
        assert code == 0, err
        assert history(run / "metrics.csv")[0] == names
