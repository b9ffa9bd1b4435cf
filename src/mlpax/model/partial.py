"""Train a table's network part by part: an epoch on each part that comes."""

from dataclasses import dataclass

import numpy as np

from mlpax.data.dataset import Dataset
from mlpax.engine.table_network import unfold
from mlpax.engine.training import Record, arrays_of, chosen, epochs, initial_state, state_of
from mlpax.errors import InputError
from mlpax.model.fit_model import Before, codes_of, prepare, target_scale
from mlpax.model.model import Model
from mlpax.recipes import Recipe, power_of_two

__all__ = ["Partial", "trained_on"]


@dataclass(frozen=True)
class Partial:
    """How far a training part by part has come.

    Attributes
    ----------
    recipe : Recipe
    before : Before
        Scale of the targets, and the codes seen.
    arrays : dict of arrays
        The state, see `training.arrays_of`.
    """

    recipe: Recipe
    before: Before
    arrays: dict[str, np.ndarray]


def trained_on(
    part: Dataset, recipe: Recipe, partial: Partial | None = None, model: Model | None = None
) -> tuple[Model, Record, Partial]:
    """Train an epoch on a part of the rows.

    Parameters
    ----------
    part : Dataset
        Its columns and classes are those of the first part.
    recipe : Recipe
        Of the first part; later ones go by `partial`.
    partial : Partial, optional
        What the last call has returned.
    model : Model, optional
        A trained network to go on from, if there is no `partial`.

    Returns
    -------
    model : Model
    record : dict
        Of the epoch.
    partial : Partial

    Raises
    ------
    InputError
        If the recipe stops early, or its learning rate has a course.
    DivergedError
        If the loss is not finite.
    """
    recipe = partial.recipe if partial else recipe
    if recipe.schedule != "constant":  # others have an end, or go by figures
        raise InputError(
            f"partial_fit has no last epoch, which schedule {recipe.schedule!r} needs; leave it out"
        )
    whole = partial.before if partial else Before(*target_scale(part), _all_codes(part, model))
    before = whole._replace(codes=codes_of(part, whole))
    own = recipe.replace(batch_size=min(recipe.batch_size, power_of_two(len(part.y_train))))
    problem = prepare(part, own, before=before)
    params = problem.params
    if model is not None and partial is None:
        target = before.mean, before.deviation
        begun = [unfold([*one.embeddings], list(one.params), target) for one in model.networks]
        params = begun if recipe.members > 1 else begun[0]
    done = int(partial.arrays["epoch"].max()) if partial else 0
    training = problem.training._replace(hyper=problem.training.hyper._replace(epochs=done + 1))
    start = initial_state(params, training, recipe.seed)
    state, record = state_of(partial.arrays, start, training) if partial else start, Record()
    for state, records in epochs(state, problem.data, None, training):
        record = records[-1]
    after = Partial(recipe.replace(backend=training.backend), before, arrays_of(state, training))
    return problem.model(chosen(state, training.plan)), record, after


def _all_codes(part: Dataset, model: Model | None) -> list[np.ndarray]:
    """Return no codes for each embedding; of a trained network all of them."""
    assert part.columns is not None
    return [np.arange(n if model else 0, dtype=np.float32) for n in part.columns.embeddings]
