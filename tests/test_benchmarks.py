"""The benchmarks import, their parts work on tiny data, and their figures are gathered."""

import argparse
import importlib
import json
import subprocess
import sys
import types
from pathlib import Path

import jax
import numpy as np
import pytest
from benchmarks import against, alone, common, estimators, memory, peers, readme, record, startup

from mlpax.recipes import article

ROOT = Path(__file__).parents[1]
NAMES = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py") if path.stem != "__main__")


@pytest.fixture
def digits_like():
    """A hundred and thirty rows of four pixels, and as many to test on."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, 130).astype(np.int32)
    X = rng.integers(0, 256, (130, 4)).astype(np.uint8)
    return types.SimpleNamespace(X_train=X, y_train=y, X_test=X, y_test=y)


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A folder of its own for the results."""
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    monkeypatch.setattr(against, "RESULTS", tmp_path)
    return tmp_path


def options(**changes):
    return argparse.Namespace(**{"rounds": 1, "quick": False, "threads": 2} | changes)


@pytest.mark.parametrize("name", NAMES)
def test_module_imports(name):
    """Without the other libraries, which a script imports where it runs them."""
    module = importlib.import_module(f"benchmarks.{name}")
    if name not in ("common", "record", "peers", "__init__"):
        assert callable(module.main)
        assert module.__doc__


def test_contestants_train_from_the_same_weights(digits_like):
    """The trainer and the article's loop do the same work."""
    recipe = article(len(digits_like.X_train))
    ours = common.Trainer(digits_like, recipe)
    weights = [(np.array(W), np.array(b)) for W, b in ours.state.params]
    X, y = common.article_batches(digits_like)
    assert (X.shape, y.shape) == ((2, 64, 4), (2, 64))
    update = jax.jit(importlib.import_module("benchmarks.epoch").update)
    theirs, read = peers.article(weights, X, y, update)
    common.interleave({"ours": ours.epoch, "theirs": theirs}, 1)
    for layer, other in zip(ours.state.params, read(), strict=True):
        for one, two in zip(layer, other, strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)
    assert 0 <= ours.accuracy(digits_like) <= 1


def test_rounds_begin_in_turn(monkeypatch):
    monkeypatch.setattr(common, "PAUSE", 0)
    seen = []
    work = {name: lambda name=name: seen.append(name) for name in "abc"}
    times = common.interleave(work, rounds=2, turns=2)
    assert "".join(seen) == "aabbcc" + "bbccaa"
    assert [len(seconds) for seconds in times.values()] == [2, 2, 2]


def test_summary_and_ratios():
    assert record.summary([3, 1, 2]) == {
        "n": 3, "median": 2, "min": 1, "max": 3, "q1": 1.5, "q3": 2.5, "values": [3, 1, 2],
    }  # fmt: skip
    assert record.ratios([2, 9], [1, 3])["values"] == [2, 3]


def test_a_record_is_written_unless_it_is_a_trial(results):
    with record.Record("tiny", options(quick=True)) as found:
        found["seconds"] = record.summary([1.0])
    assert list(results.iterdir()) == []
    with record.Record("tiny", options()) as found:
        found["seconds"] = record.summary([1.0, 2.0])
    (file,) = results.iterdir()
    content = json.loads(file.read_text())
    assert content["results"]["seconds"]["values"] == [1, 2]
    assert content["hardware"]["versions"]["jax"]


def test_estimators_are_measured(monkeypatch):
    monkeypatch.setattr(common, "PAUSE", 0)
    X, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 3
    with pytest.warns(Warning, match="converge"):
        seconds, scores = estimators.measure(X, y, 2, 1, False, max_iter=2)
    assert [*seconds] == ["mlpax", "scikit-learn, BLAS threads: 1"]
    found = estimators.compared(seconds, scores)
    assert found["ratio"]["n"] == 2


def test_the_tables_of_the_readme_come_from_the_results():
    for name in ("epoch", "startup", "estimators", "time_to_accuracy", "peak", "article"):
        (result, *_) = readme.results(name)
        assert getattr(readme, name)(result).count("|") > 4


@pytest.mark.slow
def test_the_first_epoch_of_a_process():
    """The script that `startup` runs, on digits in place of MNIST."""
    code = startup.FIRST_EPOCH.replace('"mnist"', '"digits"').replace("784", "64")
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- a commit against another


def test_figures_are_found_by_their_place():
    seconds = record.summary([2.0, 4.0])
    found = against.figures(
        {
            "sets": {"iris": {"seconds": {"mlpax": seconds}, "ratio": seconds, "score": {"mlpax": 0.9}}},
            "contestants": [
                {"name": "mlpax", "form": "jit", "milliseconds": seconds, "times_mlpax": seconds}
            ],
        }
    )
    assert found == {"sets, iris, seconds, mlpax": 3, "contestants, mlpax jit, milliseconds": 3}


def test_rounds_are_paired_by_name():
    found = against.compared([{"a": 2.0, "gone": 1.0}, {"a": 4.0}], [{"a": 1.0}, {"a": 4.0, "new": 1.0}])
    assert [*found] == ["a"]
    assert found["a"]["ratio"]["values"] == [0.5, 1]
    assert found["a"]["then"]["median"] == 3


def test_two_commits_take_turns(monkeypatch, results, capsys):
    order = []

    def measure(tree, script, given):
        order.append(tree)
        seconds = record.summary([1.0 if tree == "old" else 2.0])
        return {"results": {"seconds": {"work": seconds}}, "hardware": {"given": given}}

    monkeypatch.setattr(against, "commit_of", {"HEAD~1": "old", "HEAD": "new"}.get)
    monkeypatch.setattr(against, "checkout", lambda commit: commit)
    monkeypatch.setattr(against, "measure", measure)
    words = ["against", "HEAD~1", "startup", "--rounds", "3", "--", "--threads", "1"]
    monkeypatch.setattr(sys, "argv", words)
    against.main()
    assert order == ["old", "new", "new", "old", "old", "new"]
    content = json.loads((results / "against_startup.json").read_text())
    assert content["commits"] == {"then": "old", "now": "new"}
    assert content["hardware"]["now"] == {"given": ["--threads", "1"]}
    assert content["figures"]["seconds, work"]["ratio"]["values"] == [2, 2, 2]
    assert capsys.readouterr().out.splitlines()[-1].split()[:5] == ["seconds,", "work", "1", "2", "2.000"]


def test_alone_needs_no_other_library(monkeypatch, results, digits_like):
    """The epoch's script with one contestant."""
    monkeypatch.setattr(common, "settings", lambda doc, rounds: options())
    monkeypatch.setattr(common, "mnist", lambda: digits_like)
    monkeypatch.setattr(common, "PAUSE", 0)
    monkeypatch.setattr(sys, "argv", ["alone", "epoch", "--rounds", "1"])
    alone.main()
    (file,) = results.iterdir()
    assert [*against.figures(json.loads(file.read_text())["results"])] == ["milliseconds"]


def test_alone_measures_our_estimators_only(monkeypatch, results, digits_like):
    script = types.SimpleNamespace(**vars(estimators))
    script.main = lambda: [script.forms(1), script.compared({"mlpax": [1.0]}, {}), script.PROCESSES]
    said = []
    script.main = lambda main=script.main: said.extend(main())
    alone.estimators(script)
    assert [*said[0]] == ["mlpax"]
    assert [*against.figures(said[1])] == ["seconds, mlpax"]
    assert said[2] == 1


def figures_of_memory() -> dict:
    """Stages of 1000, 500, 100 and 1000 rows a second, which two cores can pass at 2 / 0.014."""
    rates = {"read": 1000.0, "encode": 500.0, "predict": 100.0, "write": 1000.0}
    stages = {n: {"one_thread": r, "all_cores": 2 * r, "peak_mib": 200.0} for n, r in rates.items()}
    csv = {"seconds": 10.0, "rate": 140.0, "peak_mib": 300.0, "missing": 0, "told": ""}
    training = {"seconds": 1.0, "peak_mib": 290.0, "arrays_mib": 100.0}
    return {"stages": stages, "predictions": {"csv": csv}, "training": training}


def test_shares_of_the_slowest_stage_and_of_the_cores():
    found = figures_of_memory()
    found["shares"] = memory.shares(found, 2)
    assert found["shares"] == pytest.approx(
        {"of_one_thread": 1.4, "of_all_cores": 0.7, "of_the_cores": 140 * 0.014 / 2}
    )
    assert memory.faults(found) == []
    found["predictions"]["csv"] |= {"missing": 1}
    found["shares"]["of_the_cores"] = 0.8
    found["training"]["arrays_mib"] = 90.0
    assert [text.split(":")[0] for text in memory.faults(found)] == [
        "predictions to csv", "the whole has 80% of_the_cores", "training takes 3.22 times its arrays",
    ]  # fmt: skip


def test_the_table_of_large_files_names_both_commits(results):
    found = figures_of_memory()
    found["shares"] = memory.shares(found, 2)
    with record.Record("memory", options()) as content:
        content |= {"gb": 5.0, "rows": 1400, "parquet_mb": 195.0, "then": found, "now": found}
    text = readme.memory(json.loads(next(results.glob("memory-*.json")).read_text()))
    assert "| predict | 100 | 200 | 200 | 100 | 200 | 200 |" in text
    assert "140% of the slowest stage's rate by one thread, 70% of its rate by all cores, and 98% of" in text
    assert "before 290 MiB, 2.9 times the arrays, in 1.0 s; now 290 MiB" in text
