"""A run that goes on from another ends where one long run ends, and leaves its parent alone."""

import shutil

import numpy as np
import pytest
from test_run import RECIPE, Killed, blobs, killing, outcome

from mlpax.engine.native.epoch import rates_of
from mlpax.engine.plan import Hyper, Plan
from mlpax.engine.rows import place
from mlpax.engine.state import State
from mlpax.engine.stopping import Watch
from mlpax.engine.training import Training
from mlpax.errors import InputError
from mlpax.model.model_file import load
from mlpax.runs import run, run_files
from mlpax.runs.parent import child_of, restarted
from mlpax.runs.run_files import Parent


def trained(path, **changes):
    run.train(path, blobs(), RECIPE.replace(epochs=6, **changes))
    return path


def go_on(parent, path, more=5, **options):
    """Train a child for some more epochs; return the lines that were said, and the epochs that were heard."""
    said, heard = [], []
    changes = {"epochs": more, **options.pop("changes", {})}
    _, recipe = child_of(parent, changes)
    options = {"on_epoch": lambda row: heard.append(row["epoch"]), **options}
    run.train(path, options.pop("dataset", blobs()), recipe, parent=parent, notice=said.append, **options)
    return said, heard


@pytest.mark.parametrize("backend", ["native", "xla"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"dropout": 0.3, "own_orders": True, "members": 3},
        {"patience": 50, "validation": 0.2, "schedule": "plateau"},
    ],
    ids=["plain", "members", "patience"],
)
def test_it_ends_with_the_bits_of_one_long_run(tmp_path, backend, changes):
    changes = {"schedule": "constant", "backend": backend} | changes
    before = {p: p.read_bytes() for p in trained(tmp_path / "a", **changes).rglob("*") if p.is_file()}
    said, heard = go_on(tmp_path / "a", tmp_path / "b")
    run.train(tmp_path / "long", blobs(), RECIPE.replace(epochs=11, **changes))
    assert outcome(tmp_path / "b") == outcome(tmp_path / "long")
    assert (said, heard) == ([], [7, 8, 9, 10, 11])
    assert {p: p.read_bytes() for p in (tmp_path / "a").rglob("*") if p.is_file()} == before
    config = run_files.read_config(tmp_path / "b")
    assert config.parent == Parent(str(tmp_path / "a"), run_files.read_config(tmp_path / "a").identity, 6)


@pytest.mark.parametrize("epoch", [0, 8])
def test_a_child_that_was_killed_is_resumed(tmp_path, epoch):
    """Also before its first checkpoint, when its parent's last one is where it begins."""
    trained(tmp_path / "a", schedule="constant")
    go_on(tmp_path / "a", tmp_path / "whole")
    if epoch:
        with pytest.raises(Killed):
            go_on(tmp_path / "a", tmp_path / "b", on_epoch=killing(epoch))
    else:
        shutil.copytree(tmp_path / "whole", tmp_path / "b")
        shutil.rmtree(tmp_path / "b" / "checkpoints")
    config = run_files.read_config(tmp_path / "b")
    run.train(tmp_path / "b", blobs(), config.recipe, resume=True)
    assert outcome(tmp_path / "b") == outcome(tmp_path / "whole")


def test_a_child_has_children(tmp_path):
    trained(tmp_path / "a", schedule="constant")
    go_on(tmp_path / "a", tmp_path / "b", 2)
    go_on(tmp_path / "b", tmp_path / "c", 3)
    run.train(tmp_path / "long", blobs(), RECIPE.replace(epochs=11, schedule="constant"))
    assert outcome(tmp_path / "c") == outcome(tmp_path / "long")


def test_another_rate_is_taken(tmp_path):
    trained(tmp_path / "a", schedule="constant")
    go_on(tmp_path / "a", tmp_path / "b", changes={"learning_rate": 1e-12})
    for (W, b), (W_after, b_after) in zip(
        load(tmp_path / "a").params, load(tmp_path / "b").params, strict=True
    ):
        np.testing.assert_allclose(W_after, W, atol=1e-7)
        np.testing.assert_allclose(b_after, b, atol=1e-7)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "one_cycle", "cosine_log"])
def test_a_schedule_begins_a_new_course(tmp_path, schedule):
    """Its rates are those of a run of the added epochs alone without warm-up, on both backends."""
    X = np.arange(40, dtype=np.float32).reshape(20, 2)
    data = place(X, np.arange(20) % 2, batch_size=4)
    plan = Plan(schedule=schedule, optimizer="sgd", batch_size=4, network="dense")
    training = Training(plan, Hyper(learning_rate=0.5, epochs=9, warmup=0.25), None)
    after = restarted(training, Parent("", "", 6)).hyper

    def rates(hyper, epoch):
        state = State((), (), None, np.int32(5 * epoch), np.int32(epoch), (), Watch.start())
        return rates_of(state, 3, data, hyper, plan)[0]

    alone = rates(Hyper(learning_rate=0.5, epochs=3), 0)
    np.testing.assert_allclose(rates(after, 6), alone, rtol=1e-6)
    assert alone.max() > 0.4
    assert not np.allclose(rates(training.hyper, 6), alone)
    ends = []
    for backend in ("native", "xla"):
        said, _ = go_on(
            trained(tmp_path / backend, schedule=schedule, backend=backend), tmp_path / f"{backend} on"
        )
        assert said == [f"the schedule {schedule!r} begins a new course of 5 epochs, without warm-up"]
        ends.append(load(tmp_path / f"{backend} on").params[0][0])
    np.testing.assert_allclose(*ends, rtol=1e-3, atol=1e-4)


def test_a_constant_rate_has_no_course():
    training = Training(Plan(schedule="constant", network="dense"), Hyper(epochs=9), None)
    assert restarted(training, Parent("", "", 6)) == training


def test_after_an_early_stop_the_patience_begins_anew(tmp_path):
    settings = {"patience": 2, "min_delta": 0.5, "validation": 0.2, "schedule": "constant"}
    parent = trained(tmp_path / "a", **settings)
    assert run_files.read_result(parent).state == "stopped early"
    said, heard = go_on(parent, tmp_path / "b", 6)
    assert said == ["the run had stopped early; its patience begins anew"]
    assert len(heard) == 2  # nothing improves by half
    assert run_files.read_result(tmp_path / "b").state == "stopped early"


@pytest.mark.parametrize("backend", ["native", "xla"])
def test_members_that_stopped_at_different_epochs_begin_the_same_course(tmp_path, backend):
    """Before, the course of those that had stopped first began below 0, and they diverged."""
    settings = {"patience": 2, "validation": 0.2, "schedule": "cosine_log", "members": 4, "own_orders": True}
    run.train(tmp_path / "a", blobs(), RECIPE.replace(epochs=60, backend=backend, **settings))
    last = max((tmp_path / "a" / "checkpoints").iterdir())
    with np.load(last) as arrays:
        ended = arrays["epoch"]
    assert len(set(ended.tolist())) > 1
    said, heard = go_on(tmp_path / "a", tmp_path / "b", 6)
    assert said[-1] == "the run had stopped early; its patience begins anew"
    assert heard[0] == ended.max() + 1
    with np.load(max((tmp_path / "b" / "checkpoints").iterdir())) as arrays:
        assert arrays["epoch"].min() > ended.max()
    assert len(load(tmp_path / "b").networks) == 4  # none has diverged


def parent_that(tmp_path, what):
    """Return a run that cannot go on."""
    parent = trained(tmp_path / "a", schedule="constant")
    if what == "runs":
        (parent / "result.json").unlink()
    if what == "lost its checkpoint":
        max((parent / "checkpoints").iterdir()).unlink()
    if what == "is damaged":
        max((parent / "checkpoints").iterdir()).write_bytes(b"PK")
    return parent


@pytest.mark.parametrize(
    ("what", "options", "message"),
    [
        ("runs", {}, "has not ended; wait for it, or go on with: mlpax resume"),
        ("lost its checkpoint", {}, "no whole checkpoint of its last epoch, 6; train anew"),
        # Whether an older one is there depends on how fast the disk was.
        ("is damaged", {}, r"no (whole )?checkpoint .*\(epoch-000006.npz: damaged.*; train anew"),
        ("is whole", {"more": 0}, r"epochs \+0 adds nothing"),
        ("is whole", {"dataset": blobs(1)}, "the data of 'blobs' have changed"),
        ("is whole", {"changes": {"hidden": (7,)}}, r"hidden \(7,\) differs from \(6,\), which cannot"),
        ("is whole", {"changes": {"batch_size": 8}}, "batch_size 8 differs from 16, which cannot change"),
        ("is whole", {"changes": {"dropout": 0.1}}, "dropout 0.1 differs from 0.0; it can change, but"),
    ],
)  # fmt: skip
def test_what_cannot_go_on_is_told(tmp_path, what, options, message):
    parent = parent_that(tmp_path, what)
    with pytest.raises(InputError, match=message):
        go_on(parent, tmp_path / "b", **options)
    assert not (tmp_path / "b" / "model.safetensors").exists()


def test_a_diverged_run_does_not_go_on(tmp_path):
    with pytest.raises(ArithmeticError):
        trained(tmp_path / "a", learning_rate=1e30, optimizer="sgd")
    with pytest.raises(InputError, match="diverged; train anew"):
        child_of(tmp_path / "a", {"epochs": 2})


def test_a_parent_that_is_gone_is_told(tmp_path):
    trained(tmp_path / "a", schedule="constant")
    go_on(tmp_path / "a", tmp_path / "b")
    shutil.rmtree(tmp_path / "a")
    shutil.rmtree(tmp_path / "b" / "checkpoints")
    with pytest.raises(InputError, match="from which this run goes on, is gone"):
        run.train(tmp_path / "b", blobs(), run_files.read_config(tmp_path / "b").recipe, resume=True)
