"""Whatever happens to a run, it goes on to the same bits, or says why not."""

import dataclasses
import errno
import json
import math
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from mlpax import plots
from mlpax.data.dataset import Dataset
from mlpax.data.reading import Reading
from mlpax.engine import training
from mlpax.errors import DivergedError, InputError, InterruptedRun
from mlpax.model.model_file import load
from mlpax.recipes import Recipe
from mlpax.runs import checkpoints, run, run_files
from mlpax.runs.locks import LOCK, MOMENT


def blobs(seed=0, rows=100):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, rows).astype(np.int32)
    X = (rng.normal(size=(rows, 8)) * 20 + 60 + 40 * y[:, None]).clip(0, 255).astype(np.uint8)
    return Dataset("blobs", X[:80], y[:80], X[80:], y[80:], ("a", "b", "c"))


RECIPE = Recipe(hidden=(6,), epochs=24, batch_size=16, optimizer="adam", learning_rate=0.01)


@pytest.fixture(params=["native", "an epoch a program", "ten epochs a program"])
def mode(request, monkeypatch):
    monkeypatch.setenv("MLPAX_BACKEND", "native" if request.param == "native" else "xla")
    if request.param == "an epoch a program":
        monkeypatch.setattr(training, "SMALL_EPOCH", 0)


def outcome(path):
    """All that must be the same: model file, last checkpoint, metrics without their times."""
    history = [{k: v for k, v in row.items() if k != "seconds"} for row in run_files.read_history(path)]
    last = max((path / "checkpoints").iterdir())
    with np.load(last) as arrays:
        state = {name: arrays[name].tobytes() for name in arrays.files if name != "record"}
    return history, last.name, state, (path / "model.safetensors").read_bytes()


class Killed(BaseException):
    pass


def killing(epoch):
    def on_epoch(row):
        if row["epoch"] == epoch:
            raise Killed

    return on_epoch


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"dropout": 0.3, "clip_norm": 0.5, "schedule": "cosine"},
        {"schedule": "plateau", "optimizer": "nesterov", "min_delta": 0.1},
        {"validation": 0.2, "patience": 12, "monitor": "valid_accuracy", "weight_decay": 0.01},
        {"shuffle": False, "drop_last": True, "initial_scale": "article", "optimizer": "lion"},
        {"members": 3, "dropout": 0.2},
        {"members": 3, "own_orders": True, "validation": 0.2, "patience": 5},
    ],
)
def test_a_broken_run_ends_with_the_bits_of_an_unbroken_one(tmp_path, mode, settings):
    recipe = RECIPE.replace(**settings)
    run.train(tmp_path / "whole", blobs(), recipe)
    for epoch in (11, 15, 21):
        with pytest.raises(Killed):
            run.train(tmp_path / "broken", blobs(), recipe, resume=epoch > 11, on_epoch=killing(epoch))
    seen = []
    result = run.train(tmp_path / "broken", blobs(), recipe, resume=True, on_epoch=seen.append)
    assert outcome(tmp_path / "broken") == outcome(tmp_path / "whole")
    assert [row["epoch"] for row in seen] == list(range(1, result.epochs + 1))
    assert result._replace(seconds=0) == run_files.read_result(tmp_path / "whole")._replace(seconds=0)


def test_members_that_diverge_are_told_and_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "initial_params", _one_of_them_too_large(training.initial_params))
    monkeypatch.setattr("mlpax.model.fit_model.initial_params", training.initial_params)
    said = []
    result = run.train(tmp_path, blobs(), RECIPE.replace(members=3), notice=said.append)
    assert said == ["1 of 3 members diverged; the others answer without them"]
    assert len(load(tmp_path).networks) == 2
    assert result.state == "finished"
    assert run.train(tmp_path, blobs(), RECIPE.replace(members=3), resume=True) == result


def _one_of_them_too_large(initial_params):
    drawn = []

    def draw(sizes, recipe):
        drawn.append([(W * 1e30 if len(drawn) == 1 else W, b) for W, b in initial_params(sizes, recipe)])
        return drawn[-1]

    return draw


def test_a_finished_run_resumes_to_itself(tmp_path):
    run.train(tmp_path, blobs(), RECIPE)
    before = outcome(tmp_path)
    assert run.train(tmp_path, blobs(), RECIPE, resume=True).state == "finished"
    assert outcome(tmp_path) == before


def test_killed_before_the_first_checkpoint(tmp_path):
    run.train(tmp_path / "whole", blobs(), RECIPE)
    with pytest.raises(Killed):
        run.train(tmp_path / "broken", blobs(), RECIPE, on_epoch=killing(1))
    shutil.rmtree(tmp_path / "broken" / "checkpoints", ignore_errors=True)
    run.train(tmp_path / "broken", blobs(), RECIPE, resume=True)
    assert outcome(tmp_path / "broken") == outcome(tmp_path / "whole")


def test_killed_while_the_folder_was_made(tmp_path):
    (tmp_path / LOCK).write_text(f"process 99999 on {socket.gethostname()}")
    (tmp_path / ".config.json.99999.mlpax-tmp").write_text("{")
    with pytest.raises(InputError, match="no run to resume; start one without resume"):
        run.train(tmp_path, blobs(), RECIPE, resume=True)
    run.train(tmp_path, blobs(), RECIPE)
    assert not list(tmp_path.glob("*mlpax-tmp"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_epoch_and_loses_nothing(tmp_path, mode, number):
    run.train(tmp_path / "whole", blobs(), RECIPE)

    def on_epoch(row):
        if row["epoch"] == 7:
            os.kill(os.getpid(), number)

    with pytest.raises(InterruptedRun, match=r"interrupted after epoch (7|10); nothing is lost") as error:
        run.train(tmp_path / "broken", blobs(), RECIPE, on_epoch=on_epoch)
    assert error.value.signal == number
    assert run_files.summary(tmp_path / "broken").state == "interrupted"
    assert load(tmp_path / "broken").predict(blobs().X_test).shape == (20,)
    run.train(tmp_path / "broken", blobs(), RECIPE, resume=True)
    assert outcome(tmp_path / "broken") == outcome(tmp_path / "whole")
    assert run_files.summary(tmp_path / "broken").state == "finished"


def test_checkpoints_by_epochs_and_by_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SMALL_EPOCH", 0)
    written = []
    original = run.checkpoints.save
    monkeypatch.setattr(
        run.checkpoints, "save", lambda *a: [original(*a), written.append(a[2]["epoch"]), time.sleep(0)]
    )
    run.train(
        tmp_path / "a", blobs(), RECIPE, every=run.Every(epochs=10), on_epoch=lambda r: time.sleep(0.01)
    )
    assert written == [10, 20, 24]
    written.clear()
    run.train(tmp_path / "b", blobs(), RECIPE, every=run.Every(seconds=3600))
    assert written == [24]


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04", None])
def test_damaged_checkpoints_are_passed_over_and_said(tmp_path, monkeypatch, damage):
    monkeypatch.setattr(training, "SMALL_EPOCH", 0)
    run.train(tmp_path / "whole", blobs(), RECIPE)
    with pytest.raises(Killed):
        run.train(tmp_path / "broken", blobs(), RECIPE, on_epoch=lambda r: [time.sleep(0.01), killing(15)(r)])
    older, newest = sorted((tmp_path / "broken" / "checkpoints").iterdir())[-2:]
    content = newest.read_bytes()
    newest.write_bytes(content[: len(content) // 2] if damage is None else damage)
    said = []
    run.train(tmp_path / "broken", blobs(), RECIPE, resume=True, notice=said.append)
    assert len(said) == 1
    assert said[0].startswith(f"passed over {newest.name}: ")
    assert said[0].endswith(f"going on from epoch {int(older.stem[6:])}")
    assert outcome(tmp_path / "broken") == outcome(tmp_path / "whole")


def test_no_good_checkpoint_is_an_error_that_changes_nothing(tmp_path):
    run.train(tmp_path, blobs(), RECIPE)
    for path in (tmp_path / "checkpoints").iterdir():
        path.write_bytes(b"PK")
    before = (tmp_path / "metrics.csv").read_bytes(), (tmp_path / "model.safetensors").read_bytes()
    with pytest.raises(InputError, match=r"no checkpoint in .* can be read"):
        run.train(tmp_path, blobs(), RECIPE, resume=True)
    assert before == ((tmp_path / "metrics.csv").read_bytes(), (tmp_path / "model.safetensors").read_bytes())


def test_what_changed_is_refused_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setenv("MLPAX_BACKEND", "native")
    run.train(tmp_path, blobs(), RECIPE)
    before = outcome(tmp_path)
    for field in dataclasses.fields(Recipe):
        other = {
            "hidden": (7,), "activation": "tanh", "initial_scale": "lecun", "inputs": "raw",
            "shuffle": False, "train_metrics": False, "drop_last": True, "validation": 0.5,
            "optimizer": "adamw", "schedule": "cosine",
            "monitor": "loss", "epochs": 25, "batch_size": 8, "seed": 5, "backend": "xla",
            "members": 3, "own_orders": True, "devices": 2,
        }.get(field.name, 0.123)  # fmt: skip
        if field.name in ("patience", "refit"):  # which need validation rows, refused first
            continue
        with pytest.raises(InputError, match=rf"started with {field.name} .*: mlpax resume {tmp_path}$"):
            run.train(
                tmp_path, blobs(), RECIPE.replace(**{"learning_rate": 0.01, field.name: other}), resume=True
            )
    with pytest.raises(InputError, match="the arrays of 'blobs' have changed"):
        run.train(tmp_path, blobs(seed=1), RECIPE, resume=True)
    with pytest.raises(InputError, match="data set is 'blobs', not 'other'"):
        run.train(tmp_path, dataclasses.replace(blobs(), name="other"), RECIPE, resume=True)
    assert outcome(tmp_path) == before


def test_the_best_members_before_a_divergence_of_all_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("MLPAX_BACKEND", "native")
    settings = {"optimizer": "sgd", "learning_rate": 3e3, "warmup": 0.99, "schedule": "linear", "members": 3}
    with pytest.raises(DivergedError, match="the loss of every member became inf"):
        run.train(tmp_path, blobs(), RECIPE.replace(**settings), notice=pytest.fail)
    result = run_files.read_result(tmp_path)
    assert result.state == "diverged"
    assert result.best_epoch >= 1
    assert len(load(tmp_path).networks) >= 1


@pytest.mark.parametrize("name", ["/home/ann/pay $_and_$_ off", "/data/caf\udce9.csv"])
def test_no_name_of_data_costs_a_run(tmp_path, name):
    said = []
    data = dataclasses.replace(blobs(), name=name)
    result = run.train(tmp_path, data, RECIPE, notice=said.append)
    assert (result.state, said) == ("finished", [])
    assert (tmp_path / "curves.png").stat().st_size > 1000
    assert run.train(tmp_path, data, RECIPE, resume=True).state == "finished"


def test_the_curves_are_called_by_the_datas_own_name(tmp_path, monkeypatch):
    titles, curves = [], plots.curves
    monkeypatch.setattr(plots, "curves", lambda *words: [titles.append(words[1]), curves(*words)][1])
    run.train(tmp_path, dataclasses.replace(blobs(), name="/home/ann/adult.csv"), RECIPE)
    assert titles == ["adult, default"]


def test_a_picture_that_fails_is_told_and_the_run_is_whole(tmp_path, monkeypatch):
    def fail(*args):
        raise ValueError("no\nfont")

    said = []
    with monkeypatch.context() as patch:
        patch.setattr(plots, "save", fail)
        assert run.train(tmp_path, blobs(), RECIPE, notice=said.append).state == "finished"
    assert said == ["the run is kept, but its curves.png could not be drawn: no font"]
    assert run_files.summary(tmp_path).state == "finished"
    run.train(tmp_path, blobs(), RECIPE, resume=True)
    assert (tmp_path / "curves.png").exists()


def test_another_version_or_device_is_told(tmp_path):
    run.train(tmp_path, blobs(), RECIPE)
    config = json.loads((tmp_path / "config.json").read_text())
    config["versions"]["jax"] = "0.0.1"
    config["device"] = "abacus"
    (tmp_path / "config.json").write_text(json.dumps(config))
    said = []
    run.train(tmp_path, blobs(), RECIPE, resume=True, notice=said.append)
    assert len(said) == 3  # that it had ended, too
    assert said[0].startswith("jax was 0.0.1 and is ")
    assert said[1].startswith("the device was abacus and is ")
    assert all(text.endswith(": the last bits may differ") for text in said[:2])


def test_a_full_disk_stops_the_run_and_spares_the_checkpoint(tmp_path, monkeypatch):
    """Files above a limit fail as on a full disk: OSError from write()."""
    monkeypatch.setattr(training, "SMALL_EPOCH", 0)
    run.train(tmp_path / "whole", blobs(), RECIPE)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def on_epoch(row):
        time.sleep(0.01)
        if row["epoch"] == 9:
            resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))

    try:
        with pytest.raises(OSError, match="File too large"):
            run.train(tmp_path / "broken", blobs(), RECIPE, on_epoch=on_epoch)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert 1 <= len(run_files.read_history(tmp_path / "broken")) <= 9
    assert not list((tmp_path / "broken").rglob("*mlpax-tmp"))
    run.train(tmp_path / "broken", blobs(), RECIPE, resume=True)
    assert outcome(tmp_path / "broken") == outcome(tmp_path / "whole")


def test_a_folder_removed_under_the_run_stops_it(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SMALL_EPOCH", 0)

    def on_epoch(row):
        time.sleep(0.01)
        if row["epoch"] == 5:
            shutil.rmtree(tmp_path / "run")

    with pytest.raises(FileNotFoundError):
        run.train(tmp_path / "run", blobs(), RECIPE, on_epoch=on_epoch)


def test_the_best_weights_before_a_divergence_are_kept(tmp_path, mode):
    recipe = RECIPE.replace(optimizer="sgd", schedule="linear", warmup=0.9, learning_rate=1e4)
    with pytest.raises(DivergedError, match=r"in epoch \d+ at a learning rate of 10000"):
        run.train(tmp_path, blobs(), recipe)
    result = run_files.read_result(tmp_path)
    assert result.state == "diverged"
    assert result.best_epoch >= 1
    best = run_files.read_history(tmp_path)[result.best_epoch - 1]
    assert load(tmp_path).metrics["valid_accuracy"] == pytest.approx(best["valid_accuracy"])


def test_a_divergence_waits_for_the_checkpoint_being_written(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SMALL_EPOCH", 0)
    save = checkpoints.save
    monkeypatch.setattr(checkpoints, "save", lambda *args: (time.sleep(0.5), save(*args)))
    recipe = RECIPE.replace(optimizer="sgd", schedule="linear", warmup=0.9, learning_rate=1e4)
    seen = []
    with pytest.raises(DivergedError):
        run.train(tmp_path, blobs(), recipe, on_epoch=seen.append)
    assert len(run_files.read_history(tmp_path)) == len(seen) > 1


def test_a_signal_in_the_epoch_that_diverges_keeps_the_best_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SMALL_EPOCH", 0)
    recipe = RECIPE.replace(optimizer="sgd", schedule="linear", warmup=0.9, learning_rate=1e4)

    def on_epoch(row):
        if not math.isfinite(row["loss"]):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(DivergedError):
        run.train(tmp_path, blobs(), recipe, on_epoch=on_epoch)
    assert run_files.read_result(tmp_path).state == "diverged"
    assert load(tmp_path).predict(blobs().X_test).shape == (20,)


def test_a_signal_in_the_last_epoch_changes_nothing(tmp_path):
    def on_epoch(row):
        if row["epoch"] == RECIPE.epochs:
            os.kill(os.getpid(), signal.SIGTERM)

    assert run.train(tmp_path, blobs(), RECIPE, on_epoch=on_epoch).state == "finished"
    assert run_files.summary(tmp_path).state == "finished"


def test_what_was_learned_is_kept_when_nobody_listens(tmp_path, mode):
    run.train(tmp_path / "whole", blobs(), RECIPE)

    def on_epoch(row):
        if row["epoch"] == 7:
            raise BrokenPipeError

    rare = run.Every(seconds=600)
    with pytest.raises(BrokenPipeError):
        run.train(tmp_path / "broken", blobs(), RECIPE, on_epoch=on_epoch, every=rare)
    assert run_files.summary(tmp_path / "broken").state == "interrupted"
    assert len(run_files.read_history(tmp_path / "broken")) >= 7
    run.train(tmp_path / "broken", blobs(), RECIPE, resume=True)
    assert outcome(tmp_path / "broken") == outcome(tmp_path / "whole")


def test_a_failed_write_is_said_with_the_next_epoch(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SMALL_EPOCH", 0)
    save, seen = checkpoints.save, []

    def full(folder, arrays, record):
        if record["epoch"] == 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        return save(folder, arrays, record)

    def on_epoch(row):
        seen.append(row["epoch"])
        time.sleep(0.05)

    monkeypatch.setattr(checkpoints, "save", full)
    with pytest.raises(OSError, match="No space left"):
        run.train(tmp_path, blobs(), RECIPE, every=run.Every(epochs=10), on_epoch=on_epoch)
    assert seen[-1] in (11, 12)


def test_damaged_checkpoints_do_not_push_out_whole_ones(tmp_path):
    state = {"W": np.zeros(3)}
    history = [{"epoch": n, "loss": 1.0, "seconds": 0.1} for n in range(1, 31)]
    for epoch in (10, 20, 30):
        checkpoints.save(tmp_path, state, {"epoch": epoch, "run": "r", "history": history[:epoch]})
    for epoch in (20, 30):
        (tmp_path / f"epoch-{epoch:06d}.npz").write_bytes(b"torn")
    _, record, damaged = checkpoints.latest(tmp_path, state, "r")
    assert (record["epoch"], len(damaged)) == (10, 2)
    checkpoints.save(tmp_path, state, {"epoch": 11, "run": "r", "history": history[:11]})
    checkpoints.prune(tmp_path, 11, best=5)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["epoch-000010.npz", "epoch-000011.npz"]


def test_a_run_whose_folder_another_took_writes_no_more(tmp_path):
    def on_epoch(row):
        if row["epoch"] == 5:
            (tmp_path / "run").rename(tmp_path / "away")  # at once, while a checkpoint may be written
            (tmp_path / "run").mkdir()
            (tmp_path / "run" / LOCK).write_text("")

    with pytest.raises(FileNotFoundError):  # told by the lock, or by the system if a write has begun
        run.train(tmp_path / "run", blobs(), RECIPE, on_epoch=on_epoch)
    # A write that was between the look at the lock and its first byte may still come; no other.
    assert {p.name for p in (tmp_path / "run").iterdir()} in ({LOCK}, {LOCK, "metrics.csv"})


@pytest.mark.parametrize("options", [{}, {"target": "price", "test": 0.2}])
def test_the_settings_of_an_earlier_versions_run_are_read(tmp_path, options):
    """Its options are those given, by name."""
    run.train(tmp_path, blobs(), RECIPE)
    file = tmp_path / "config.json"
    value = json.loads(file.read_text())
    assert value["options"] == {}
    file.write_text(json.dumps(value | {"options": options}))
    assert run_files.read_config(tmp_path).options == Reading(**options)
    file.write_text(json.dumps(value | {"options": {"tarjet": "price"}}))
    with pytest.raises(InputError, match="is damaged"):
        run_files.read_config(tmp_path)


def test_a_run_that_was_killed_tells_of_what_it_would_keep(tmp_path):
    run.train(tmp_path, blobs(), RECIPE.replace(validation=0.2, patience=24, monitor="valid_accuracy"))
    result = run_files.read_result(tmp_path)
    ended = run_files.summary(tmp_path)
    assert ended.kept == result.best_epoch
    (tmp_path / "result.json").unlink()
    assert run_files.summary(tmp_path) == ended._replace(state="interrupted")


# ---- as a process


def command(*words):
    return subprocess.Popen(
        [sys.executable, "-m", "mlpax", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


LONG = ("train", "digits", "--hidden", "1500,1500", "--epochs", "50")  # of a large part of a second each


def after_the_first_epoch(process):
    assert process.stdout.readline().startswith("Epoch 1/50")
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_command_in_order(tmp_path, number):
    process = after_the_first_epoch(command(*LONG, "--out", tmp_path / "run"))
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert err.strip().endswith(f"nothing is lost; go on with: mlpax resume {tmp_path / 'run'}")
    assert len(err.splitlines()) == 1
    assert run_files.summary(tmp_path / "run").state == "interrupted"


def test_a_signal_that_is_sent_twice_at_once_is_one(tmp_path):
    """As `timeout` and some launchers send it."""
    process = after_the_first_epoch(command(*LONG, "--out", tmp_path / "run"))
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "nothing is lost" in err
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_the_run_is_kept_when_the_reader_of_the_output_leaves(tmp_path):
    process = after_the_first_epoch(command(*LONG, "--checkpoint-every", "9m", "--out", tmp_path / "run"))
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=60)
    remedy = f"nothing is lost; go on with: mlpax resume {tmp_path / 'run'}"
    assert (process.returncode, err) == (1, f"mlpax: cannot write the output: Broken pipe; {remedy}\n")
    assert run_files.summary(tmp_path / "run").state == "interrupted"
    assert (tmp_path / "run" / "checkpoints").is_dir()


def test_a_second_ctrl_c_leaves_at_once_and_damages_nothing(tmp_path):
    process = after_the_first_epoch(command(*LONG, "--out", tmp_path / "run"))
    process.send_signal(signal.SIGINT)
    time.sleep(MOMENT + 0.1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode in (-signal.SIGINT, 130)
    resumed = after_the_first_epoch(command("resume", tmp_path / "run"))
    resumed.send_signal(signal.SIGINT)
    _, err = resumed.communicate(timeout=60)
    assert "nothing is lost" in err


def test_the_second_process_is_refused_by_the_name_of_the_first(mlpax, tmp_path):
    first = after_the_first_epoch(command(*LONG, "--out", tmp_path / "run"))
    for words in (("train", "--out", tmp_path / "run"), ("resume", tmp_path / "run")):
        code, out, err = mlpax(*words)
        assert (code, out) == (2, "")
        assert f"is being written by process {first.pid} on " in err
        assert len(err.splitlines()) == 1
    first.kill()
    first.communicate()


def test_a_full_disk_is_one_line(tmp_path):
    limited = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000));"
        f"from mlpax.cli.main import main; main(['train', '--out', {str(tmp_path / 'run')!r}, '--quiet'])"
    )  # config.json fits, a checkpoint does not
    alone = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    process = subprocess.run(
        [sys.executable, "-c", limited], capture_output=True, text=True, timeout=60, env=alone
    )
    assert (process.returncode, process.stdout) == (1, "")
    assert f"cannot write to {tmp_path / 'run'}: File too large" in process.stderr
    assert process.stderr.endswith(f"go on with: mlpax resume {tmp_path / 'run'}\n")
    assert len(process.stderr.splitlines()) == 1
