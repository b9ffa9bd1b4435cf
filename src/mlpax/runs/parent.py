"""The run that another run goes on from: what may change, and the state to begin with."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlpax.engine.plan import Hyper
from mlpax.engine.state import DIVERGED
from mlpax.engine.training import Training
from mlpax.errors import InputError
from mlpax.model.finetune import Origin
from mlpax.model.model_file import load
from mlpax.recipes import Recipe
from mlpax.runs import checkpoints
from mlpax.runs.run_files import Config, Parent, Tuned, read_config, read_history, read_result

__all__ = ["begin_with", "check_child", "child_of", "model_file", "origin_of", "parent_of", "restarted",
           "state_of_parent"]  # fmt: skip

MAY_CHANGE = {*Hyper._fields, "schedule", "monitor", "devices"} & set(Recipe.__dataclass_fields__)
TERMS = ("dropout", "clip_norm", "weight_decay", "patience")  # 0 leaves a part of the state out
COURSES = ("linear", "cosine", "one_cycle", "cosine_log")  # of the rate, which have an end


def parent_of(path: Path) -> tuple[Config, Parent]:
    """Return the settings of a run that has ended, and how another run refers to it.

    Raises
    ------
    InputError
        If there is no run, it has not ended, it diverged, or it is a training on folds.
    """
    config, result = read_config(path), read_result(path)
    if config.options.folds and not config.options.fold:
        raise InputError(f"{path} is a training on folds, which cannot go on; name the run of one fold")
    if result is None:
        raise InputError(f"{path} has not ended; wait for it, or go on with: mlpax resume {path}")
    if result.state == "diverged":
        raise InputError(f"{path} diverged; train anew, with a smaller learning rate")
    epochs = len(read_history(path))
    return config, Parent(str(path.resolve()), config.identity, epochs)


def child_of(path: Path, changes: Mapping[str, object]) -> tuple[Config, Recipe]:
    """Return the settings of a run that has ended, and the recipe of a run that goes on from it.

    Parameters
    ----------
    path : Path
    changes : mapping
        Fields of the recipe. `epochs` counts the epochs that are added.

    Raises
    ------
    InputError
        If no epochs are given, or a value is outside its range; see also `parent_of`.
    """
    config, parent = parent_of(path)
    more = changes.get("epochs", 0)
    if not isinstance(more, int) or more < 1:
        raise InputError(f"epochs +{more} adds nothing to {path}; give the epochs to add, as --epochs +8")
    return config, config.recipe.replace(**{**changes, "epochs": parent.epochs + more})


def check_child(old: Config, new: Config, notice: Callable[[str], object]) -> None:
    """Raise an error for other data, or a setting that cannot change when a run goes on from another.

    Say that a schedule begins a new course.
    """
    if old.fingerprint != new.fingerprint:
        raise InputError(f"the data of {old.dataset!r} have changed since they were trained on; train anew")
    was, now = (dataclasses.asdict(config.recipe) for config in (old, new))
    for name in was:
        if name not in MAY_CHANGE | {"backend"} and was[name] != now[name]:
            raise InputError(
                f"{name} {now[name]} differs from {was[name]}, which cannot change; leave it out"
            )
    for name in TERMS:
        if (was[name] > 0) != (now[name] > 0):
            raise InputError(
                f"{name} {now[name]} differs from {was[name]}; it can change, but not begin or end"
            )
    if new.parent and (schedule := new.recipe.schedule) in COURSES:
        more = new.recipe.epochs - new.parent.epochs
        notice(f"the schedule {schedule!r} begins a new course of {more} epochs, without warm-up")


def model_file(path: Path) -> Path:
    """Return the model file of a run, or the file itself.

    Raises
    ------
    InputError
        If there is no model.
    """
    file = path / "model.safetensors" if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"{path} holds no model to fine-tune; name a run that has ended, or a model file")
    return file


def begin_with(path: Path) -> tuple[Tuned, Origin]:
    """Return how a run refers to the network that it begins with, and the network.

    Raises
    ------
    InputError
        If there is no model.
    """
    tuned = _as_it_is(path)
    return tuned, _network(tuned)


def origin_of(tuned: Tuned) -> Origin:
    """Return the network that a run has begun with.

    Raises
    ------
    InputError
        If the file is gone or another, or no model.
    """
    path = Path(tuned.path)
    if not path.exists():
        raise InputError(f"{path}, with which this run begins, is gone; put it back")
    if _as_it_is(path) != tuned:
        raise InputError(f"the model of {path} has changed since this run began with it; train anew")
    return _network(tuned)


def _as_it_is(path: Path) -> Tuned:
    return Tuned(str(path.resolve()), hashlib.sha256(model_file(path).read_bytes()).hexdigest())


def _network(tuned: Tuned) -> Origin:
    return Origin(load(tuned.path), Path(tuned.path).name)


def restarted(training: Training, parent: Parent) -> Training:
    """Return how to go on training: a schedule with an end begins a new course, without warm-up."""
    if training.plan.schedule not in COURSES:
        return training
    return training._replace(hyper=training.hyper._replace(begun=parent.epochs, warmup=0.0))


def state_of_parent(
    parent: Parent, like: checkpoints.Arrays, notice: Callable[[str], object]
) -> tuple[checkpoints.Arrays, dict[str, Any]]:
    """Return the arrays of the last state of a run, and the record of its epochs.

    If the run had stopped early, its patience begins anew, and all members train as many more epochs.

    Parameters
    ----------
    parent : Parent
    like : dict of arrays
        Those of a state before the first epoch.
    notice : callable
        Called with a line for what the run does not simply go on with.

    Raises
    ------
    InputError
        If the checkpoint is damaged, or the run is gone or another one.
    """
    folder = Path(parent.path) / "checkpoints"
    if not folder.is_dir():
        raise InputError(f"{parent.path}, from which this run goes on, is gone; put it back")
    arrays, record, damaged = checkpoints.latest(folder, like, parent.identity)
    if record.get("epoch") != parent.epochs:
        why = f" ({damaged[0]})" if damaged else ""
        raise InputError(
            f"{parent.path} has no whole checkpoint of its last epoch, {parent.epochs}{why}; train anew"
        )
    stopped, waited = arrays["watch/stopped"], arrays["watch/waited"]
    if stopped.all():
        notice("the run had stopped early; its patience begins anew")
        alive = waited != DIVERGED
        anew = {"watch/stopped": stopped & ~alive, "watch/waited": np.where(alive, 0, waited)}
        for name in ("epoch", "step"):  # members that had stopped before others begin the same course
            anew[name] = np.where(alive, arrays[name].max(), arrays[name])
        arrays |= {name: value.astype(arrays[name].dtype) for name, value in anew.items()}
    return arrays, record
