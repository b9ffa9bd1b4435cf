"""A run folder that somebody else made, or that is damaged: nothing outside it is touched, nothing hidden."""

import json
import os
import random
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mutants_of_runs as mutants
import pytest

from mlpax.errors import InputError, ModelFileError
from mlpax.model.model_file import load
from mlpax.runs import run_files
from mlpax.runs.run import new_folder

OLD = Path(__file__).parent / "format_1"
DIARY = b"dear diary"


@pytest.fixture
def runs(tmp_path):
    """Two runs in a folder: `whole`, and `bad`, which tests damage."""
    for name in ("bad", "whole"):
        shutil.copytree(OLD / "interrupted_digits", tmp_path / "runs" / name)
    return tmp_path / "runs"


@pytest.fixture
def elsewhere(tmp_path):
    """A folder outside of every run, with files that must stay as they are."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for name in ("diary", "epoch-000001.npz", f".f.{2**22 + 1}.mlpax-tmp", "events.1"):
        (folder / name).write_bytes(DIARY)
    yield folder
    assert {path.read_bytes() for path in folder.iterdir()} == {DIARY}
    assert len(list(folder.iterdir())) == 4


@pytest.mark.parametrize("link", [os.symlink, os.link])
@pytest.mark.parametrize("name", ["run.lock", "config.json", "metrics.csv", "result.json", "curves.png",
                                  "model.safetensors", "checkpoints/epoch-000004.npz"])  # fmt: skip
def test_no_file_of_a_run_is_reached_through_a_link(mlpax, runs, elsewhere, name, link):
    path = runs / "bad" / name
    path.unlink(missing_ok=True)
    link(elsewhere / "diary", path)
    code, _, err = mlpax("resume", runs / "bad", "--quiet")
    assert code in (0, 2)
    assert len(err.splitlines()) <= 3
    if code:
        assert str(path) in err


@pytest.mark.parametrize("name", ["checkpoints", "tensorboard"])
def test_no_folder_of_a_run_leads_elsewhere(mlpax, runs, elsewhere, name):
    folder = runs / "bad" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.symlink_to(elsewhere)
    code, _, err = mlpax("resume", runs / "bad", "--quiet")
    assert code == 2
    assert err.splitlines()[-1].endswith(
        f"{folder} is a link, which is not followed; put the folder itself there"
    )


def changed(name, change):
    """Return a damage that rewrites a JSON file of a run."""

    def damage(folder):
        value = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(change(value)))

    return damage


def written(name, content):
    def damage(folder):
        (folder / name).write_bytes(content)

    return damage


def replaced(name, make):
    def damage(folder):
        (folder / name).unlink()
        make(folder / name)

    return damage


def with_setting(config, **settings):
    return config | {"recipe": config["recipe"] | settings}


def without_a_setting(config):
    del config["recipe"]["hidden"]
    return config


EPOCHS = b"epoch,loss,seconds\n"
DAMAGES = {
    "empty config": written("config.json", b""),
    "a config of bytes": written("config.json", b"\xff\xfe\0"),
    "a list as config": written("config.json", b"[1]"),
    "a deep config": written("config.json", b"[" * 200_000),
    "an unknown format": changed("config.json", lambda c: c | {"format": [2]}),
    "options that are no mapping": changed("config.json", lambda c: c | {"options": [1, 2]}),
    "an option of a wrong type": changed("config.json", lambda c: c | {"options": {"missing": "abc"}}),
    "an unknown option": changed("config.json", lambda c: c | {"options": {"shell": "rm"}}),
    "a recipe that lacks a setting": changed("config.json", without_a_setting),
    "a recipe that is text": changed("config.json", lambda c: c | {"recipe": "default"}),
    "a setting of a wrong type": changed("config.json", lambda c: with_setting(c, seed=[0])),
    "a setting out of range": changed("config.json", lambda c: with_setting(c, epochs=0)),
    "infinity": written("config.json", b'{"format": Infinity}'),
    "a version that is a list": changed("config.json", lambda c: c | {"versions": {"jax": []}}),
    "a number of many digits": written("config.json", b'{"format": ' + b"1" * 5000 + b"}"),
    "a config that is a pipe": replaced("config.json", os.mkfifo),
    "a config that is a folder": replaced("config.json", os.mkdir),
    "metrics that are a pipe": replaced("metrics.csv", os.mkfifo),
    "metrics that are a folder": replaced("metrics.csv", os.mkdir),
    "metrics of words": written("metrics.csv", EPOCHS + b"1,low,1\n"),
    "a cell of 200,000 digits": written("metrics.csv", EPOCHS + b"1," + b"1" * 200_000 + b",1\n"),
    "metrics that skip an epoch": written("metrics.csv", EPOCHS + b"1,.5,1\n3,.4,1\n"),
    "metrics with a cell too many": written("metrics.csv", EPOCHS + b"1,.5,1,1\n"),
    "metrics with a cell too few": written("metrics.csv", EPOCHS + b"1,.5\n"),
    "metrics without losses": written("metrics.csv", b"epoch,seconds\n1,.5\n"),
    "a result that is a number": written("result.json", b"1"),
    "a result that lacks fields": written("result.json", b"{}"),
    "a result of an unknown state": changed("result.json", lambda r: r | {"state": "\x1b[2J"}),
    "a result with text for a figure": changed("result.json", lambda r: r | {"metrics": {"loss": "low"}}),
    "a result that is a pipe": replaced("result.json", os.mkfifo),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_run_hides_no_other(runs, damage):
    damage(runs / "bad")
    said = []
    rows = run_files.summaries(runs, said.append)
    assert [(row.run, row.state) for row in rows] == [("bad", "unreadable"), ("whole", "interrupted")]
    (line,) = said
    assert line.startswith(f"{runs / 'bad'}")
    assert len(line.splitlines()) == 1
    assert len(line) < 500
    assert run_files.undamaged([runs / "bad", runs / "whole"], said.append) == [runs / "whole"]
    assert said == [line, line]
    with pytest.raises(InputError):
        run_files.undamaged([runs / "bad"], said.append)


def test_runs_and_compare_show_the_others(mlpax, runs):
    DAMAGES["a cell of 200,000 digits"](runs / "bad")
    code, out, err = mlpax("runs", runs)
    assert (code, len(err.splitlines())) == (0, 1)
    assert [line.split()[0] for line in out.splitlines()] == ["run", "bad", "whole"]
    code, out, err = mlpax("compare", runs / "bad", runs / "whole")
    assert (code, len(err.splitlines())) == (0, 1)
    assert "whole" in out
    for command in ("plot", "resume"):
        code, _, err = mlpax(command, runs / "bad")
        assert (code, len(err.splitlines())) == (2, 1) if command == "plot" else (0, 2), err


def test_a_model_of_a_run_is_not_reached_through_a_link(runs, tmp_path):
    model = runs / "bad" / "model.safetensors"
    model.rename(tmp_path / "elsewhere.safetensors")
    model.symlink_to(tmp_path / "elsewhere.safetensors")
    with pytest.raises(ModelFileError, match="is a link, which is not followed"):
        load(runs / "bad")
    assert load(tmp_path / "elsewhere.safetensors").task == "classification"


def test_a_run_that_is_not_there_is_an_error_of_compare(runs):
    with pytest.raises(InputError, match=r"no run at .*typo"):
        run_files.undamaged([runs / "whole", runs / "typo"], print)


def test_folders_are_taken_by_one_each(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: new_folder(tmp_path / "runs", "digits", "quick"), range(24)))
    assert sorted(path.name for path in taken) == sorted(f"digits-quick-{n}" for n in range(1, 25))


def test_trainings_that_start_at_once_get_folders_of_their_own(tmp_path):
    command = [sys.executable, "-m", "mlpax", "train", "digits", "--recipe", "quick", "--quiet"]
    both = [subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = sorted(process.communicate()[0].strip() for process in both)
    assert said == [f"runs/digits-quick-{n}" for n in range(1, 5)]


def test_a_start_that_fails_leaves_no_folder(mlpax, tmp_path):
    code, _, err = mlpax("train", "digits", "--batch-size", "5000")
    assert (code, len(err.splitlines())) == (2, 1)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("count", [300, pytest.param(5_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("attack", [mutants.folder, mutants.checkpoint])
def test_mutants_are_a_value_or_our_error(tmp_path, attack, count):
    """`python -m benchmarks.hostile --what runs` (or checkpoints) does so under limits of memory and time."""
    outcomes = set()
    for seed in range(count):
        place = tmp_path / str(seed)
        place.mkdir()
        outcomes.add(attack(random.Random(seed), place))
        shutil.rmtree(place)
    assert outcomes == {"a value", "our error"}
