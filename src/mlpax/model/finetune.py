"""Fine-tune a network on other data: which of its weights fit, and the weights to begin with."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from mlpax.data.columns import Category, Columns, Date, Input, Number, Text
from mlpax.data.dataset import Dataset
from mlpax.engine.forward import Network
from mlpax.engine.plan import Pytree
from mlpax.engine.rows import Scaling
from mlpax.engine.table_network import TableParams, embedding_size, fold, unfold
from mlpax.errors import InputError, listed
from mlpax.model.model import Model
from mlpax.recipes import Recipe

__all__ = ["Origin", "begun_dense", "begun_table", "kept_of", "shape_of"]

Layers = list[tuple[np.ndarray, np.ndarray]]  # (W, b) each
FARTHEST = 1e6  # spreads between two medians


class Origin(NamedTuple):
    """The trained network that another network begins with."""

    model: Model
    name: str  # for messages


class Kept(NamedTuple):
    """What a network takes over."""

    layers: int  # hidden layers, from the inputs
    columns: dict[str, tuple[Input, Input]]  # the column as it is now, and as it was
    outputs: dict[int, int]  # the number of an output unit now, and what it was
    line: str  # for the user


def shape_of(model: Model) -> dict[str, Any]:
    """Return the settings of a recipe that shape the networks of a model."""
    network = model.networks[0]
    return {
        "hidden": network.sizes[1:-1], "activation": network.activation, "members": len(model.networks)
    }  # fmt: skip


def kept_of(dataset: Dataset, recipe: Recipe, origin: Origin) -> Kept:
    """Return what a network for a data set takes over.

    Hidden layers are kept up to the first that has other units. Columns are kept by their name and kind,
    classes by their name and that of their target. If both networks have one target, its name may differ,
    unless the classes are whole numbers or booleans.

    Raises
    ------
    InputError
        If one network is for tables and the other for pictures, the activations differ, or nothing fits.
    """
    model, name = origin
    if model.fold_columns:
        raise InputError(f"{name} holds networks of several folds; name the run of one, such as fold-1")
    if (model.columns is None) != (dataset.columns is None):
        kinds = ("tables", "pictures") if model.columns else ("pictures", "tables")
        raise InputError(f"{name} is a network for {kinds[0]}, and the data are {kinds[1]}; name another run")
    if model.image_shape != dataset.image_shape:
        shapes = f"{dataset.image_shape}, and those of {name} {model.image_shape}"
        raise InputError(f"the pictures have the shape {shapes}; no layer fits; give pictures of one size")
    before, now = model.networks[0].sizes[1:-1], recipe.hidden
    if model.networks[0].activation != recipe.activation:
        raise InputError(
            f"activation {recipe.activation!r} differs from {model.networks[0].activation!r} of {name}; leave"
            " it out"
        )
    same = [a == b for a, b in zip(before, now, strict=False)]
    layers = same.index(False) if False in same else len(same)
    if not layers:
        raise InputError(f"hidden {now} and {before} of {name} differ in the first layer; no layer fits")
    columns = _columns(dataset.columns, model.columns)
    if dataset.columns and model.columns and not columns:
        there = listed(repr(c.name) for c in model.columns.varying)
        raise InputError(f"{name} knows none of the columns, but {there}; no weights of inputs fit")
    outputs = _outputs(dataset, model) if layers == len(before) == len(now) else {}
    return Kept(layers, columns, outputs, _line(dataset, recipe, name, layers, columns, outputs))


def _columns(now: Columns | None, before: Columns | None) -> dict[str, tuple[Input, Input]]:
    """Return the columns that both have, of one kind."""
    if now is None or before is None:
        return {}
    known = {column.name: column for column in before.varying}
    found: dict[str, tuple[Input, Input]] = {}
    for column in now.varying:
        was = known.get(column.name)
        if was is None or was.kind != column.kind or isinstance(column, Text):
            continue
        if isinstance(column, Category) and isinstance(was, Category):
            same = bool(column.codes) == bool(was.codes) and {*column.levels} & {*was.levels}
            found |= {column.name: (column, was)} if same else {}
            continue
        found[column.name] = column, was
    return found


def _outputs(dataset: Dataset, model: Model) -> dict[int, int]:
    """Return which output units are the same: the number of a unit now, and its number before."""
    if bool(dataset.classes) != bool(model.classes):
        return {}
    names = [target.name for target in model.targets]
    if not dataset.classes:
        return {i: names.index(name) for i, name in enumerate(dataset.targets) if name in names}
    any_name = len(names) == len(dataset.targets) == 1
    before = _units(names, [target.classes for target in model.targets])
    found: dict[int, int] = {}
    for (target, label), now in _units(dataset.targets, dataset.each_classes).items():
        there = names[0] if any_name and isinstance(label, str) else target
        if (there, label) in before:
            found[now] = before[there, label]
    return found


def _units(names: Sequence[str], classes: Sequence[Sequence[object]]) -> dict[tuple[str, object], int]:
    """Return the number of the output unit of each class, by the names of target and class."""
    pairs = [(name, label) for name, own in zip(names, classes, strict=True) for label in own]
    return {pair: i for i, pair in enumerate(pairs)}


def _line(
    dataset: Dataset, recipe: Recipe, name: str, layers: int, columns: dict[str, tuple[Input, Input]],
    outputs: dict[int, int],
) -> str:  # fmt: skip
    """Return the line that says what is kept and what is new."""
    kept = [f"{layers} of {len(recipe.hidden)} hidden layers"]
    new: list[str] = []
    if dataset.columns:
        others = [repr(c.name) for c in dataset.columns.varying if c.name not in columns]
        kept += [f"columns {listed(_shown(*both) for both in columns.values())}"]
        new += [f"columns {listed(others)}"] if others else []
    for found, there in ((kept, True), (new, False)):
        found += _answers(dataset, outputs, there)
    fresh = f"; new: {', '.join(new)}" if new else ""
    return f"kept of {name}: {', '.join(kept)}{fresh}"


def _answers(dataset: Dataset, outputs: dict[int, int], kept: bool) -> list[str]:
    """Return the targets and classes whose output units are kept, or new, in words."""
    if len(dataset.each_classes) == 1:
        own = [repr(label) for i, label in enumerate(dataset.classes) if (i in outputs) == kept]
        return [f"classes {listed(own)}"] if own else []
    whole, parts, end = list[str](), list[str](), 0
    for name, classes in itertools.zip_longest(dataset.targets, dataset.each_classes, fillvalue=("",)):
        units = range(end, end := end + len(classes))
        own = [repr(label) for i, label in zip(units, classes, strict=True) if (i in outputs) == kept]
        if len(own) == len(classes):
            whole.append(repr(name))
        elif own:
            parts.append(f"classes {listed(own)} of {name!r}")
    return [*([f"targets {listed(whole)}"] if whole else []), *parts]


def _shown(now: Input, was: Input) -> str:
    if not (isinstance(now, Category) and isinstance(was, Category)):
        return repr(now.name)
    both = len({*now.levels} & {*was.levels})
    of = f" ({both} of {len(now.levels)} levels)" if both < len(now.levels) else ""
    return f"{now.name!r}{of}"


def begun_table(
    start: TableParams,
    columns: Columns,
    kept: Kept,
    network: Network,
    before: Columns,
    target: tuple[np.ndarray, np.ndarray],
) -> TableParams:
    """Return the parameters to begin with: those drawn, with the weights that are kept in their place.

    The columns are scaled by the new rows. The kept weights are converted to this scale, so that a value
    near the new median counts as before. The bias takes the difference of the medians.

    Parameters
    ----------
    start : TableParams
        As drawn.
    columns, before : Columns
        Of the new network, and of the one that was trained.
    kept : Kept
    network : Network
        The one that was trained.
    target : tuple of arrays of shape (outputs,)
        Shift and scale of a regression's new values.
    """
    embeddings, layers = fold(start, target)
    layers, embeddings = [(W.copy(), b.copy()) for W, b in layers], [E.copy() for E in embeddings]
    (W, b), (W_before, b_before) = layers[0], network.params[0]
    b[:] = b_before
    rows, rows_before = _rows(columns), _rows(before)
    numbers, numbers_before = ([c.name for c in own.varying if c.codes] for own in (columns, before))
    for name, (now, was) in kept.columns.items():
        own = W_before[rows_before[name]]
        if now.codes and isinstance(now, Category) and isinstance(was, Category):
            W[rows[name]] = own
            E = embeddings[numbers.index(name)]
            _take_levels(E, now, network.embeddings[numbers_before.index(name)], was)
            continue
        found, more = _converted(W[rows[name]], now, own, was)
        W[rows[name]] = found
        b += more
    _take_others(layers, kept, network)
    return unfold(embeddings, layers, target)


def begun_dense(start: Pytree, kept: Kept, network: Network, now: Scaling, before: Scaling) -> Pytree:
    """Return the layers to begin with: those drawn, with the weights that are kept in their place.

    The first layer is converted to the scale of the new pictures.
    """
    layers = [(np.array(W), np.array(b)) for W, b in cast(Layers, start)]
    W, b = network.params[0]
    ratio, shift = before.scale / now.scale, (now.shift - before.shift) * before.scale
    layers[0] = np.float32(ratio) * W, b + np.float32(shift) * W.sum(axis=0)
    _take_others(layers, kept, network)
    return layers


def _take_others(layers: Layers, kept: Kept, network: Network) -> None:
    """Take over the hidden layers behind the first, and the outputs."""
    for i in range(1, kept.layers):
        layers[i] = network.params[i][0].copy(), network.params[i][1].copy()
    (W, b), (W_before, b_before) = layers[-1], network.params[-1]
    for now, was in kept.outputs.items():
        W[:, now], b[now] = W_before[:, was], b_before[was]


def _rows(columns: Columns) -> dict[str, slice]:
    """Return which rows of the first layer's weights are of each column: numbers first, then embeddings."""
    found, at = dict[str, slice](), 0
    for coded in (False, True):
        for column in columns.varying:
            if bool(column.codes) == coded:
                size = embedding_size(column.codes) if coded else column.features
                found[column.name] = slice(at, at + size)
                at += size
    return found


def _take_levels(E: np.ndarray, now: Category, E_before: np.ndarray, was: Category) -> None:
    """Take over the embeddings of the levels that both have, of "other", and of a missing cell."""
    position = {level: i for i, level in enumerate(was.levels)}
    for i, level in enumerate(now.levels):
        if level in position:
            E[i] = E_before[position[level]]
    E[-2:] = E_before[-2:]


def _converted(drawn: np.ndarray, now: Input, own: np.ndarray, was: Input) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of a column's weights for its new inputs, and what is added to the bias.

    Parameters
    ----------
    drawn, own : arrays of shape (features, units)
        The weights as drawn for the new network, and those of the trained one.
    now, was : Number, Date or Category
    """
    found, more = drawn.copy(), np.zeros(drawn.shape[1], np.float32)
    if isinstance(now, Category) and isinstance(was, Category):
        return _of_levels(found, now, own, was)
    if isinstance(now, Number) and isinstance(was, Number):
        scales = [(now.median, now.scale, was.median, was.scale)]
        bounds = now.numerals.bounds and was.numerals.bounds
        if bounds:
            found[-1] = own[-1]
    else:
        assert isinstance(now, Date)
        assert isinstance(was, Date)
        scales = list(zip(now.medians, now.scales, was.medians, was.scales, strict=True))
    for i, of_part in enumerate(scales):
        slope, shift = _affine(*of_part)
        found[i] = np.float32(slope) * own[i]
        more += np.float32(shift) * own[i]
    if now.missing and was.missing:
        found[len(scales)] = own[len(scales)]
    return found, more


def _affine(median: float, scale: float, median_before: float, scale_before: float) -> tuple[float, float]:
    """Return slope and shift: an input `x` now was about `slope * x + shift` before.

    Inputs are clipped smoothly, see `Columns`. The slope is that at the new median.
    """
    z = max(-FARTHEST, min(FARTHEST, (median - median_before) * scale_before))
    root = math.sqrt(1 + (z / 3) ** 2)
    return (scale_before / scale / root**3 if scale else 0.0), z / root


def _of_levels(
    found: np.ndarray, now: Category, own: np.ndarray, was: Category
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights of one-hot inputs, or of the input of two levels, and what the bias gets."""
    none = np.zeros(found.shape[1], np.float32)
    each = [-own[0], own[0]] if was.two_sided else [*own]
    known = dict(zip(was.levels, each, strict=False))
    if now.two_sided:
        first, second = (known.get(level) for level in now.levels)
        if first is None or second is None:
            one = second if first is None else first
            assert one is not None  # one level is shared
            return np.array([one if first is None else -one]), none
        return np.array([(second - first) / 2]), (first + second) / 2
    for i, level in enumerate(now.levels):
        if level in known:
            found[i] = known[level]
    if now.missing and was.missing:
        found[-1] = own[-1]
    return found, none
