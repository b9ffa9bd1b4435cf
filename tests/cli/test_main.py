"""Each command on real input, and one clear line for each thing that can be wrong."""

import csv
import dataclasses
import gzip
import json
import math
import os
import re
import struct
import subprocess
import sys

import numpy as np
import pytest

from mlpax.cli import main
from mlpax.cli.screen import show_json
from mlpax.model.model_file import load

LINE = r"Epoch 1/3: loss: \d\.\d{4}, train acc\.: \d\.\d{3}, valid acc\.: \d\.\d{3}, time: \d+\.\d\d sec\."


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    """A run on the bundled digits that several tests read."""
    path = tmp_path_factory.mktemp("runs") / "digits"
    with pytest.raises(SystemExit) as exit_:
        main.main(["train", "--out", str(path), "--quiet"])
    assert exit_.value.code == 0
    return path


def test_train_tells_and_keeps(mlpax, tmp_path):
    code, out, err = mlpax("train", "--epochs", 3, "--hidden", "16,8")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) == 4
    assert re.fullmatch(LINE, lines[0])
    assert re.match(
        r"runs/digits-default-1: finished; best epoch \d of 3, test accuracy \d\d\.\d\d%", lines[3]
    )
    run = tmp_path / "runs/digits-default-1"
    assert {"config.json", "metrics.csv", "curves.png", "model.safetensors", "result.json"} <= set(
        os.listdir(run)
    )
    rows = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))
    assert list(rows[0]) == ["epoch", "loss", "train_accuracy", "valid_accuracy", "valid_log_loss", "seconds"]
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert json.loads((run / "config.json").read_text())["recipe"]["hidden"] == [16, 8]
    mlpax("train", "--epochs", 1, "--quiet")
    assert (tmp_path / "runs/digits-default-2").is_dir()


def test_the_last_line_fits_a_terminal_of_80_columns(mlpax, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = mlpax("train", "--epochs", 2)
    *_, ended, figures = out.splitlines()
    assert code == 0
    assert ended.endswith("runs/digits-default-1: finished; best epoch 2 of 2,")  # behind the removed bar
    assert re.fullmatch(r"  test accuracy \d\d\.\d\d%, trained in \d+\.\d\d sec\.", figures)


def test_digits_reach_96_percent(digits_run):
    figures = json.loads((digits_run / "result.json").read_text())["metrics"]
    assert figures["valid_accuracy"] >= 0.96


def test_json_is_one_object(mlpax):
    code, out, _ = mlpax("train", "--epochs", 2, "--json", "--out", "here")
    answer = json.loads(out)
    assert (code, answer["run"], answer["epochs"], answer["state"]) == (0, "here", 2, "finished")


def test_quiet_prints_the_folder_alone(mlpax):
    assert mlpax("train", "--epochs", 1, "--quiet") == (0, "runs/digits-default-1\n", "")
    code, out, _ = mlpax("resume", "runs/digits-default-1", "--quiet")
    assert (code, out) == (0, "runs/digits-default-1\n")


def test_evaluate(mlpax, digits_run):
    code, out, _ = mlpax("evaluate", digits_run, "--json")
    figures = json.loads(out)
    assert code == 0
    assert (
        figures["accuracy"]
        == json.loads((digits_run / "result.json").read_text())["metrics"]["test_accuracy"]
    )
    of_rows = {"accuracy", "balanced_accuracy", "log_loss", "roc_auc", "ece", "f1_macro"}
    assert set(figures) == of_rows | {"f1", "confusion", "intervals"}
    assert set(figures["intervals"]) == of_rows | {f"f1/{digit}" for digit in range(10)}
    code, out, _ = mlpax("evaluate", digits_run)
    low, high = figures["intervals"]["accuracy"]
    assert low < figures["accuracy"] < high
    assert out.splitlines()[0].split() == [
        "accuracy",
        f"{figures['accuracy']:.4f}",
        f"({low:.4f}",
        "to",
        f"{high:.4f})",
    ]


def test_predict(mlpax, digits_run, tmp_path):
    from mlpax.data.named_sets import load
    from mlpax.model.model_file import load as load_model

    digits = load("digits")
    code, out, _ = mlpax("predict", digits_run, "digits", "--out", "p.csv")
    assert (code, out) == (0, "p.csv: 359 predictions\n")
    rows = list(csv.reader((tmp_path / "p.csv").read_text().splitlines()))
    assert rows[0] == ["prediction", *(f"probability_{i}" for i in range(10))]
    predicted = [int(row[0]) for row in rows[1:]]
    assert predicted == load_model(digits_run).predict(digits.X_test).tolist()
    np.testing.assert_allclose(np.array([row[1:] for row in rows[1:]], float).sum(axis=1), 1, atol=1e-4)
    np.save(tmp_path / "x.npy", digits.X_test)
    mlpax("predict", digits_run, "x.npy", "--out", "q.csv")
    assert (tmp_path / "q.csv").read_bytes() == (tmp_path / "p.csv").read_bytes()


def test_plot(mlpax, digits_run, tmp_path):
    code, out, _ = mlpax("plot", digits_run, "--out", "pictures")
    assert code == 0
    names = ("curves", "confusion", "calibration", "roc", "precision_recall", "mistakes", "weights")
    assert out.splitlines() == [f"pictures/{n}.png" for n in names]
    for name in out.splitlines():
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("out", ["file", "file/pictures"])
def test_plot_refuses_a_file_for_its_folder(mlpax, digits_run, tmp_path, out):
    (tmp_path / "file").write_text("")
    assert mlpax("plot", digits_run, "--out", out) == (2, "", "mlpax: file is a file; --out takes a folder\n")


def test_report(mlpax, digits_run, tmp_path):
    assert mlpax("report", digits_run, "--out", "r.html") == (0, "r.html\n", "")
    assert (tmp_path / "r.html").read_text().startswith("<!DOCTYPE html>\n<html lang=")
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]
    for out, says in ((".", ". is a folder; --out takes a file"), ("no/r.html", "no is no folder; make it")):
        code, _, err = mlpax("report", digits_run, "--out", out)
        assert (code, err.count("\n")) == (2, 1)
        assert says in err


def test_inspect(mlpax, digits_run):
    code, out, _ = mlpax("inspect", digits_run / "model.safetensors", "--json")
    facts = json.loads(out)
    assert code == 0
    assert (facts["layers"], facts["parameters"], facts["image"]) == ([64, 128, 10], 9610, [8, 8])
    assert (facts["classes"], facts["format"]) == (list(range(10)), 2)
    code, out, _ = mlpax("inspect", digits_run)
    own = {"format", "task", "members", "layers", "parameters", "activation", "classes", "image"}
    assert facts.keys() == own | {"metrics", "provenance", "recipe"}
    for line in ("layers +64 - 128 - 10", "classes +0, 1, 2, 3, 4, 5, 6, 7, 8, 9", "image +8x8", "format +2"):
        assert re.search(f"^{line}$", out, re.MULTILINE)


def test_what_a_file_says_of_itself_is_no_fact(mlpax, digits_run, tmp_path):
    said = {"format": 999.0, "parameters": 1.0}, {"classes": "all safe", "task": "poetry"}
    model = dataclasses.replace(load(digits_run), metrics=said[0], provenance=said[1])
    model.save(tmp_path / "m.safetensors")
    facts = json.loads(mlpax("inspect", tmp_path / "m.safetensors", "--json")[1])
    assert (facts["format"], facts["parameters"], facts["task"]) == (2, 9610, "classification")
    assert (facts["classes"], facts["metrics"], facts["provenance"]) == (list(range(10)), *said)
    facts, claims = mlpax("inspect", tmp_path / "m.safetensors")[1].split("\nWhat the file says of itself:\n")
    assert re.search("^format +2$", facts, re.MULTILINE)
    assert "999" not in facts
    assert "safe" not in facts
    assert re.search("^format +999.0000$", claims, re.MULTILINE)


def test_a_figure_that_is_not_finite_is_null(capsys):
    show_json({"a": math.nan, "b": [math.inf, (1.5, None)], "c": {"d": -math.inf}})
    assert capsys.readouterr().out == '{"a": null, "b": [null, [1.5, null]], "c": {"d": null}}\n'


def test_runs_and_compare(mlpax, tmp_path):
    mlpax("train", "--epochs", 2, "--quiet")
    mlpax("train", "--epochs", 3, "--hidden", 8, "--quiet")
    (tmp_path / "runs/digits-default-2/result.json").unlink()  # as if it had been killed
    (tmp_path / "runs/notes").mkdir()
    code, out, _ = mlpax("runs")
    assert code == 0
    title, first, second = out.splitlines()
    assert title.split() == ["run", "data", "state", "epochs", "kept", "score", "metric", "time"]
    assert first.split()[:5] == ["digits-default-1", "digits", "finished", "2/2", "2"]
    assert second.split()[:5] == ["digits-default-2", "digits", "interrupted", "3/3", "3"]
    (tmp_path / "runs/broken").mkdir()
    (tmp_path / "runs/broken/config.json").write_text("{")
    code, out, _ = mlpax("runs")
    assert (code, out.splitlines()[1].split()) == (0, ["broken", "unreadable", "0.0", "s"])
    assert len(out.splitlines()) == 4
    code, out, _ = mlpax("compare", "runs/digits-default-1", "runs/digits-default-2", "--json")
    assert [row["epochs"] for row in json.loads(out)] == ["2/2", "3/3"]
    assert [row["settings"] for row in json.loads(out)] == [
        {"hidden": [128], "epochs": 2}, {"hidden": [8], "epochs": 3},
    ]  # fmt: skip
    assert (tmp_path / "comparison.png").read_bytes().startswith(b"\x89PNG")
    code, out, err = mlpax("compare", "runs/digits-default-1", "runs/digits-default-2")
    assert (code, err) == (0, "")  # the data are the same
    _, _, _, _, told, names, *settings, _, picture = out.splitlines()
    assert (told, picture) == ("Settings that differ:", "comparison.png")
    assert names.split() == ["digits-default-1", "digits-default-2"]
    assert [line.split() for line in settings] == [["hidden", "128", "8"], ["epochs", "2", "3"]]


def test_runs_and_compare_tell_of_the_network_that_was_kept(mlpax):
    """Not of the best epoch: without patience a run keeps the last one."""
    mlpax("train", "--quiet", "--out", "runs/last")
    mlpax("train", "--quiet", "--validation", 0.2, "--patience", 5, "--out", "runs/best")
    for command in (("runs",), ("compare", "runs/best", "runs/last")):
        best, last = json.loads(mlpax(*command, "--json")[1])
        for row in (best, last):
            metrics = json.loads(mlpax("inspect", f"runs/{row['run']}", "--json")[1])["metrics"]
            assert row["score"] == pytest.approx(metrics["valid_accuracy"])
        assert last["kept"] == 41
    with open("runs/last/metrics.csv") as file:
        seen = [float(row["valid_accuracy"]) for row in csv.DictReader(file)]
    assert last["score"] == seen[-1] < max(seen)


def test_compare_says_that_the_data_differ(mlpax):
    words = ("--epochs", 1, "--hidden", 4, "--quiet")
    np.savez("pixels.npz", X=np.tile(np.arange(40, dtype=np.uint8)[:, None, None], (1, 3, 3)), y=[0, 1] * 20)
    for name, share in (("one", 0.2), ("two", 0.3)):
        assert mlpax("train", "pixels.npz", *words, "--test", share, "--out", name)[0] == 0
    mlpax("train", *words, "--out", "three")
    told = "mlpax: the runs have different data or held-out rows, so their scores are not comparable: "
    assert re.fullmatch(rf"{told}\S+/pixels.npz\n", mlpax("compare", "one", "two")[2])
    assert re.fullmatch(rf"{told}\S+/pixels.npz, digits\n", mlpax("compare", "one", "three")[2])


def test_versions_as_json_and_short_help(mlpax):
    status, out, _ = mlpax("--version", "--json")
    found = json.loads(out)
    assert status == 0
    assert found["python"] == sys.version.split()[0]
    assert found["numpy"] == np.__version__
    assert mlpax("train", "-h") == mlpax("train", "--help")


def test_going_on_takes_all_from_the_run(mlpax, tmp_path):
    mlpax("train", "digits", "--recipe", "article", "--epochs", 2, "--out", "a", "--quiet")
    status, out, err = mlpax("train", "--from", "a", "--epochs", "+2", "--out", "b")
    assert (status, err) == (0, "")
    assert [line.split(":")[0] for line in out.splitlines()] == ["Epoch 3/4", "Epoch 4/4", "b"]
    assert json.loads((tmp_path / "b/config.json").read_text())["parent"]["epochs"] == 2
    status, out, err = mlpax("resume", "b")
    assert out.splitlines()[-1].startswith("b: finished; best epoch 4 of 4")


def test_like_trains_on_other_data(mlpax, tmp_path):
    for name, first in (("old", 0), ("new", 50)):
        lines = ["size,kind,price", *(f"{i % 9},{'ab'[i % 2]},{i}.5" for i in range(first, first + 60))]
        (tmp_path / f"{name}.csv").write_text("\n".join(lines))
    options = ("--target", "size", "--task", "regression", "--hidden", "5", "--epochs", 3)
    mlpax("train", "old.csv", *options, "--out", "a")
    status, _, _ = mlpax("train", "new.csv", "--like", "a", "--epochs", 2, "--out", "b")
    assert status == 0
    old, new = (json.loads((tmp_path / run / "config.json").read_text()) for run in "ab")
    assert new["options"] == old["options"] == {"target": "size", "task": "regression"}
    assert new["recipe"] == old["recipe"] | {"epochs": 2}
    assert new["dataset"] == str(tmp_path / "new.csv")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--recipe", "quick", "--from", "a"), "--from takes recipe and options from the run"),
        (("--from", "a"), "epochs +0 adds nothing to a"),
        (("--from", "b", "--epochs", "+2"), "no run at b"),
        (("--like", "a"), "--like takes the recipe from the run; name data"),
        (("digits", "--like", "a", "--recipe", "quick"), "--like takes the recipe from the run"),
    ],
)
def test_what_cannot_go_on_is_one_line(mlpax, words, says):
    mlpax("train", "digits", "--recipe", "article", "--epochs", 1, "--out", "a", "--quiet")
    status, out, err = mlpax("train", *words)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert says in err


def test_tensorboard_gets_every_epoch_once(mlpax, tmp_path):
    from tensorboardX.proto.event_pb2 import Event

    code, _, err = mlpax("train", "--epochs", 3, "--log", "tensorboard", "--out", "run", "--quiet")
    assert (code, err) == (0, "")
    (file,) = (tmp_path / "run/tensorboard").iterdir()
    content, at, seen = file.read_bytes(), 0, []
    while at < len(content):  # length, its checksum, an event, its checksum
        length = int.from_bytes(content[at : at + 8], "little")
        event = Event.FromString(content[at + 12 : at + 12 + length])
        seen += [(value.tag, event.step) for value in event.summary.value]
        at += 16 + length
    tags = ["loss", "accuracy/train", "accuracy/valid", "log_loss/valid", "seconds"]
    assert sorted(seen) == sorted((tag, step) for tag in tags for step in (1, 2, 3))


def test_datasets(mlpax):
    code, out, _ = mlpax("datasets")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["digits", "mnist", "fashion_mnist", "kmnist"]
    code, out, _ = mlpax("datasets", "--json")
    assert json.loads(out)[0]["state"] == "bundled"


def test_help_and_version(mlpax):
    from mlpax import __version__

    code, out, _ = mlpax("--help")
    assert code == 0
    assert all(name in out for name in ("train", "resume", "evaluate", "predict", "plot", "datasets"))
    code, out, _ = mlpax("train", "--help")
    assert all(
        option in out for option in ("--hidden", "--learning-rate", "--no-shuffle", "--label-smoothing")
    )
    assert "train [OPTIONS] [DATA]\n" in out
    assert "runs [OPTIONS] [DIR]\n" in mlpax("runs", "--help")[1]
    assert "compare [OPTIONS] {RUN}...\n" in mlpax("compare", "--help")[1]
    assert "Update rule [sgd, momentum, nesterov," in " ".join(out.split())
    assert [line for line in out.splitlines() if line.endswith(":") and not line.startswith(" ")] == [
        "Arguments:", "Options:", "Data:", "Columns of a table:", "Text and Excel files:", "Pictures:",
        "Network:",        "Update rule:", "Validation and early stopping:", "Training:",
        "Several devices and hosts:",
    ]  # fmt: skip
    code, out, err = mlpax()  # the help, in its lines
    assert (code, out.splitlines()[0], err) == (2, "Usage: mlpax [OPTIONS] COMMAND [ARGS]...", "")
    code, out, err = mlpax("--version")
    assert (code, err) == (0, "")
    assert out.startswith(f"mlpax {__version__}; the native library: ")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["trian"], "'train'"),
        (["train", "mnits"], "unknown data set 'mnits'; did you mean 'mnist'?\n"),
        (["train", "houses"], "fashion_mnist, kmnist, or give a table or a folder of pictures\n"),
        (["train", "--recipe", "articel"], "unknown recipe 'articel'; did you mean 'article'?"),
        (["train", "--optimizer", "adm"], "unknown optimizer 'adm'; did you mean 'adam'?"),
        (["train", "--activation", "rleu"], "unknown activation 'rleu'; did you mean 'relu'?"),
        (["train", "--schedule", "cosin"], "unknown schedule 'cosin'; did you mean 'cosine'?"),
        (["train", "--epchs", "3"], "--epochs"),
        (["train", "--epochs", "0"], "epochs 0 is outside [1, "),
        (["train", "--epochs", "three"], "--epochs"),
        (["train", "--learning-rate", "-0.1"], "learning_rate -0.1 is outside (0, inf)"),
        (["train", "--learning-rate", "nan"], "learning_rate nan is outside (0, inf)"),
        (["train", "--dropout", "1"], "dropout 1.0 is outside [0, 1)"),
        (["train", "--hidden", "12,x"], "hidden '12,x' is no list of whole numbers"),
        (["train", "--hidden", "0"], "hidden 0 is outside [1, inf)"),
        (
            ["train", "--batch-size", "5000"],
            "batch_size 5000 is larger than the training data; choose 1 to 1438",
        ),
        (["train", "--monitor", "valid_acuracy"], "did you mean 'valid_accuracy'?"),
        (["train", "--patience", "3"], "validation 0.1"),
        (["train", "--resume"], "--out"),
        (["train", "--resume", "--out", "nothing"], "nothing holds no run to resume"),
        (["train", "--out", "file"], "file is a file"),
        (["train", "--out", "full"], "full has other things in it"),
        (["train", "mnist", "--data-dir", "damaged"], "is no whole IDX file"),
        (["train", "mnist", "--data-dir", "three"], "lacks t10k-labels-idx1-ubyte.gz"),
        (["train", "--device", "gpu"], "device='gpu', but JAX has no 'gpu' here; it has cpu"),
        (["train", "--device", "cpu:7"], "device='cpu:7', but the numbers of 'cpu' here are 0 to"),
        (
            ["train", "--device", "gpu", "--backend", "native"],
            "backend 'native' trains on the cpu, not on gpu",
        ),
        (["train", "--checkpoint-every", "0"], "checkpoint_every '0' is no time"),
        (["train", "--checkpoint-every", "5h"], "checkpoint_every '5h' is no time"),
        (["train", "--log", "tensorbord"], "did you mean 'tensorboard'?"),
        (["evaluate", "nothing"], "no model at nothing"),
        (["inspect", "file"], "is no model file"),
        (["inspect", "nothing"], "no model at nothing"),
        (["runs", "nothing"], "no folder nothing"),
        (["compare", "nothing"], "no run at nothing"),
        (["predict", "nothing", "digits", "--out", "p.csv"], "no model at nothing"),
        (["plot", "nothing"], "no run at nothing"),
        (["report", "nothing"], "no run and no sweep at nothing"),
        (["resume", "nothing"], "no run at nothing"),
        (["datasets", "fetch", "digits"], "bundled"),
        (["datasets", "fetch", "mnits"], "did you mean 'mnist'?"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_2(mlpax, tmp_path, words, says):
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("")
    for folder, files in (("damaged", 4), ("three", 3)):
        (tmp_path / folder).mkdir()
        for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")[
            :files
        ]:
            content = struct.pack(">HBB", 0, 8, 1) + b"\0"
            (tmp_path / folder / f"{name}-ubyte.gz").write_bytes(gzip.compress(content))
    before = sorted(str(p) for p in tmp_path.rglob("*"))
    code, out, err = mlpax(*words)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("mlpax: ")
    assert says in err
    assert "Traceback" not in err
    assert sorted(str(p) for p in tmp_path.rglob("*")) == before, "something was half-written"


def test_a_folder_with_a_run_is_not_written_over(mlpax, digits_run):
    before = (digits_run / "metrics.csv").read_bytes()
    code, _, err = mlpax("train", "--out", digits_run)
    assert code == 2
    assert "already holds a run" in err
    assert (digits_run / "metrics.csv").read_bytes() == before


def test_data_that_do_not_fit_the_model(mlpax, digits_run, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((3, 9)))
    code, _, err = mlpax("predict", digits_run, "x.npy", "--out", "p.csv")
    assert (code, err) == (2, "mlpax: X has rows of 9 features; this model takes rows of 64 features\n")
    assert not (tmp_path / "p.csv").exists()


@pytest.mark.parametrize("data", ["nope.npy", "nope.png", "nope/pictures"])
def test_data_that_are_not_there(mlpax, digits_run, data):
    missing = (2, "", f"mlpax: there is no file or folder {data}\n")
    assert mlpax("predict", digits_run, data, "--out", "p.csv") == missing
    assert mlpax("evaluate", digits_run, data) == missing


def test_a_loss_that_explodes_stops_with_advice(mlpax, tmp_path):
    code, out, err = mlpax("train", "--learning-rate", 1e6, "--optimizer", "sgd", "--out", "run", "--quiet")
    assert (code, out) == (1, "")
    assert re.match(r"mlpax: the loss became \S+ in epoch \d+ at a learning rate of 1e\+06; try 100000", err)
    assert "or --clip-norm 1" in err
    assert json.loads((tmp_path / "run/result.json").read_text())["state"] == "diverged"


@pytest.mark.parametrize("more", [(), ("--validation", 0.1, "--patience", 2)])
def test_a_divergence_of_the_last_update_is_no_end(mlpax, tmp_path, more):
    """The loss was measured before the update; the weights after it are finite, and answer NaN."""
    rows = 1290 if more else 1438
    code, out, err = mlpax(
        "train", "--epochs", 1, "--batch-size", rows, "--learning-rate", "1e20", "--out", "run", *more
    )
    assert code == 1
    assert "finished" not in out
    assert re.fullmatch(
        r"mlpax: the loss became (nan|inf) in epoch 1 at a learning rate of 1e\+20; .*\n", err
    )
    assert json.loads((tmp_path / "run/result.json").read_text())["state"] == "diverged"


def test_debug_shows_the_traceback(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "mlpax", "train", "--epochs", "0", "--debug"], capture_output=True, text=True
    )
    assert "Traceback" in result.stderr
    assert "InputError" in result.stderr


def test_the_article_to_the_digit(mlpax, data_dir, tmp_path):
    """Its first epochs as printed: loss to four decimals, accuracies to three."""
    code, out, _ = mlpax(
        "train", "mnist", "--recipe", "article", "--data-dir", data_dir, "--out", "run", "--epochs", 3
    )
    assert code == 0
    printed = re.findall(r"loss: (\S+), train acc.: (\S+), valid acc.: (\S+),", out)
    assert printed == [
        ("1.5768", "0.818", "0.824"),
        ("0.5859", "0.873", "0.881"),
        ("0.4297", "0.891", "0.896"),
    ]


def test_sweep_tells_and_keeps(mlpax, tmp_path):
    words = ["sweep", "--learning-rate", "0.001:1:log", "--hidden", "8", "--hidden", "8,4", "--trials", 5]
    code, out, err = mlpax(*words, "--epochs", 2, "--halving")
    assert code == 0
    assert err == (
        "mlpax: trials are compared on 20% of the training rows; --validation or --folds changes that\n"
    )
    lines = out.splitlines()
    assert re.fullmatch(
        r"rung 1/2, 5/5 trials: best valid accuracy \d\d\.\d\d%, hidden [8,4]+, learning_rate [\d.]+",
        lines[0],
    )
    assert lines[2].split() == ["trial", "valid_accuracy", "trained", "hidden", "learning_rate"]
    assert re.fullmatch(
        r"sweeps/digits-default-1/best: the best, trained again; test accuracy \d\d\.\d\d%", lines[-1]
    )
    code, out, _ = mlpax("runs", "sweeps/digits-default-1")
    assert (code, out.splitlines()[1].split()[0]) == (0, "best")


def test_a_sweep_tells_that_its_best_was_trained_on_all_rows(mlpax):
    words = [
        "sweep",
        "--learning-rate",
        "0.1,0.2",
        "--hidden",
        8,
        "--epochs",
        3,
        "--patience",
        2,
        "--all-rows",
    ]
    lines = mlpax(*words)[1].splitlines()
    assert re.search(
        r"/best: the best, trained again, then 3 epochs on all rows; test accuracy \d\d\.\d\d%$", lines[-1]
    )


def test_sweep_as_json_and_quiet(mlpax):
    words = ["sweep", "--optimizer", "adam,nesterov", "--epochs", 1, "--no-refit"]
    code, out, err = mlpax(*words, "--json")
    answer = json.loads(out)
    assert (code, err, answer["metric"], answer["best"]) == (0, "", "valid_accuracy", None)
    assert {trial["settings"]["optimizer"] for trial in answer["trials"]} == {"adam", "nesterov"}
    assert mlpax(*words, "--quiet") == (0, "sweeps/digits-default-2\n", "")


@pytest.mark.parametrize(("words", "said"), [
    (["--learning-rate", "1:0.1"], "'1:0.1' is an empty range; the first number must be below the second"),
    (["--learning-rate", "0:1:log"], "is on a log scale, which begins above 0"),
    (["--optimizer", "adam,sdg"], "optimizer"),
    ([], "there is nothing to compare; give a setting several values, such as learning_rate 0.001:1:log"),
    (["--learning-rate", "0.1,0.2", "--trials", "0"], "trials 0 is below 1"),
    (["--learning-rate", "0.1,0.2", "--folds", "1"], "folds 1 is below 2"),
    (["--hidden", "8", "--hidden", "a"], "hidden 'a' is no list of whole numbers; write 128,64"),
    (["--learning-rat", "0.1,0.2"], "No such option: --learning-rat"),
])  # fmt: skip
def test_a_sweep_that_cannot_be_is_one_line(mlpax, words, said):
    code, out, err = mlpax("sweep", *words)
    assert (code, out) == (2, "")
    assert err.startswith("mlpax: ")
    assert said in err
    assert err.count("\n") == 1
    assert not os.path.lexists("sweeps")


def test_lr_find_tells_and_draws(mlpax, tmp_path):
    code, out, err = mlpax("lr-find", "digits", "--points", 4, "--steps", 20, "--hidden", "8")
    assert code == 0
    assert err.count("\n") == 1
    lines = out.splitlines()
    assert lines[0].split() == ["learning_rate", "valid_log_loss"]
    assert re.fullmatch(
        r"best: [\d.e-]+, after \d+ steps; the recipe's rate is 0.1; see digits-learning-rates.png", lines[-1]
    )
    assert (tmp_path / "digits-learning-rates.png").read_bytes().startswith(b"\x89PNG")
    code, out, err = mlpax("lr-find", "--points", 3, "--steps", 20, "--json", "--out", "a.svg")
    answer = json.loads(out)
    assert (code, err, len(answer["losses"]), answer["usual"]) == (0, "", 3, 0.1)
    for words, said in [
        (["--low", "1", "--high", "0.1"], "the rates 1 to 0.1 are no range"),
        (["--points", "1"], "points 1 is below 3"),
        (["--out", "none/a.png"], "none is no folder"),
        (["--out", "a.txt"], "end it with .png, .svg or .pdf"),
    ]:
        code, out, err = mlpax("lr-find", *words)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert said in err
