"""`mlpax export`: the files that it writes, and what it refuses."""

import numpy as np
import onnxruntime
import pytest


@pytest.fixture
def run(mlpax, tmp_path):
    """A run on a table, whose cells are of three kinds."""
    lines = ["size,when,kind,price"]
    lines += [f"{i % 9 + 0.5},2024-{i % 12 + 1:02}-{i % 28 + 1:02},{'ab'[i % 2]},{i}.5" for i in range(90)]
    (tmp_path / "homes.csv").write_text("\n".join(lines))
    mlpax("train", "homes.csv", "--out", "run", "--epochs", 2, "--members", 2)
    return tmp_path / "run"


def test_the_file_is_in_the_run_and_its_ends_are_shown(mlpax, run):
    _, shown, _ = mlpax("export", "run")
    assert "when   text     (rows, 1)  date, such as 2024-12-31" in shown
    assert "prediction  float32  (rows)" in shown
    assert shown.splitlines()[-1].startswith("run/model.onnx: on made-up rows its answers differ from")
    session = onnxruntime.InferenceSession(run / "model.onnx")
    rows = {
        "size": np.array([[3.5]]),
        "when": np.array([["2024-02-03"]], object),
        "kind": np.array([["a"]], object),
    }
    assert session.run(None, rows)[0].shape == (1,)


def test_stablehlo(mlpax, run):
    _, out, err = mlpax("export", "run", "--to", "stablehlo", "--out", "homes.stablehlo")
    assert out.startswith("homes.stablehlo: on made-up rows")
    assert "StableHLO has no text" in err
    assert (run.parent / "homes.stablehlo").stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to", "onx"], "unknown format 'onx'; did you mean 'onnx'?"),
        (["--dates", "iso"], "unknown way to write dates 'iso'; choose one of: text, epoch"),
        (["--interval", "0.9"], "this model was not trained on folds"),
        (["--to", "stablehlo", "--interval", "0.9"], "--interval and --dates are for ONNX; leave them out"),
        (["--out", "nowhere/model.onnx"], "nowhere is no folder"),
    ],
)
def test_what_is_refused(mlpax, run, words, message):
    status, _, err = mlpax("export", "run", *words)
    assert status == 2
    assert message in err
    assert err.count("\n") == 1
    assert not list(run.glob("*.onnx"))
