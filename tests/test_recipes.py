"""The settings: what is refused and in which words, what is traced, and the named recipes."""

import dataclasses
import math
from typing import get_args

import numpy as np
import pytest

from mlpax import recipes
from mlpax.engine import plan
from mlpax.engine.plan import Hyper, hyper_of, plan_of
from mlpax.engine.rows import place
from mlpax.engine.training import training_of
from mlpax.engine.weights import INITIAL_SCALES
from mlpax.engine.xla.network import ACTIVATIONS
from mlpax.errors import InputError
from mlpax.recipes import BEST, RECIPES, USUAL_RATE, Recipe, named

NAN, INF = math.nan, math.inf

# Field: its range as the message states it, and values just outside.
OUTSIDE = {
    "hidden": ("[1, inf)", [(0,), (128, 0), (-1,)]),
    "epochs": ("[1, 2147483648)", [0, -1, 2**31]),
    "batch_size": ("[1, inf)", [0, -64]),
    "devices": ("[1, 65536)", [0, -1, 2**16]),
    "validation": ("[0, 1)", [1.0, -0.1, 1.5, NAN, INF]),
    "learning_rate": ("(0, inf)", [0.0, -0.1, NAN, INF, -INF]),
    "momentum": ("[0, 1)", [1.0, -0.1, NAN]),
    "beta_1": ("[0, 1)", [1.0, -0.1, NAN]),
    "beta_2": ("[0, 1)", [1.0, -0.1, NAN]),
    "epsilon": ("(0, inf)", [0.0, -1e-8, NAN, INF]),
    "warmup": ("[0, 1)", [1.0, -0.1, NAN]),
    "weight_decay": ("[0, inf)", [-1e-4, NAN, INF]),
    "clip_norm": ("[0, inf)", [-1.0, NAN, INF]),
    "dropout": ("[0, 1)", [1.0, -0.1, NAN]),
    "label_smoothing": ("[0, 1)", [1.0, -0.1, NAN]),
    "patience": ("[0, 2147483648)", [-1, 2**31]),
    "members": ("[1, 65536)", [0, -1, 2**16]),
    "min_delta": ("[0, inf)", [-0.1, NAN, INF]),
    "seed": ("[0, 4294967296)", [-1, 2**32]),
}
OPTIONS = {
    "activation": "rleu",
    "initial_scale": "hee",
    "inputs": "standardise",
    "optimizer": "adm",
    "schedule": "cosin",
    "backend": "natve",
}
NO_RANGE = {"train_metrics", "shuffle", "drop_last", "monitor", "own_orders", "refit"}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, (_, values) in OUTSIDE.items() for value in values]
)
def test_value_outside_its_range(name, value):
    """The message names the setting, the value and the range."""
    bad = value if name != "hidden" else next(v for v in value if v < 1)
    with pytest.raises(InputError) as error:
        Recipe(**{name: value})
    assert str(error.value) == f"{name} {bad} is outside {OUTSIDE[name][0]}"


@pytest.mark.parametrize(("name", "value"), OPTIONS.items())
def test_unknown_option_gets_the_nearest_name(name, value):
    options = next(f for f in dataclasses.fields(Recipe) if f.name == name).metadata["options"]
    with pytest.raises(InputError) as error:
        Recipe(**{name: value})
    near = {"standardise": "standardize", "hee": "he", "rleu": "relu", "adm": "adam", "cosin": "cosine"}
    near |= {"natve": "native"}
    assert near[value] in options
    assert str(error.value) == f"unknown {name} {value!r}; did you mean {near[value]!r}?"


def test_option_like_none_lists_them_all():
    with pytest.raises(InputError, match="unknown schedule 'xyzzy'; choose one of: constant, linear, cosine"):
        Recipe(schedule="xyzzy")


def test_every_field_is_checked_above():
    assert {f.name for f in dataclasses.fields(Recipe)} == OUTSIDE.keys() | OPTIONS.keys() | NO_RANGE


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 2.5),
        ("epochs", "ten"),
        ("batch_size", 32.0),
        ("seed", True),
        ("hidden", (64.5,)),
        ("hidden", 64),
        ("hidden", "128,64"),
        ("learning_rate", "fast"),
        ("learning_rate", None),
        ("dropout", True),
        ("shuffle", "no"),
        ("drop_last", 1),
        ("monitor", 3),
    ],
)
def test_value_of_another_kind(name, value):
    with pytest.raises(InputError, match=rf"^{name} .* is no "):
        Recipe(**{name: value})


def test_limits_that_are_allowed():
    edge = Recipe(
        hidden=(),
        epochs=1,
        batch_size=1,
        validation=0.0,
        momentum=0.0,
        warmup=0.0,
        dropout=0.0,
        seed=2**32 - 1,
        learning_rate=1e-12,
    )
    assert (edge.hidden, edge.seed) == ((), 2**32 - 1)


def test_numbers_take_their_fields_type():
    """1 and 1.0 would compile twice; NumPy's numbers come from a grid, a list from JSON."""
    recipe = Recipe(learning_rate=1, epochs=np.int64(3), dropout=np.float32(0.5), hidden=[np.int32(8), 4])
    assert [type(v) for v in (recipe.learning_rate, recipe.epochs, recipe.dropout)] == [float, int, float]
    assert recipe.hidden == (8, 4)
    assert {type(n) for n in recipe.hidden} == {int}
    assert recipe == Recipe(learning_rate=1.0, epochs=3, dropout=0.5, hidden=(8, 4))
    assert hash(recipe) == hash(dataclasses.replace(recipe))


def test_recipe_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Recipe().epochs = 3


# ---- static and traced


TRACED = {
    "learning_rate": 0.7,
    "momentum": 0.1,
    "beta_1": 0.2,
    "beta_2": 0.3,
    "epsilon": 0.4,
    "weight_decay": 0.5,
    "label_smoothing": 0.6,
    "dropout": 0.8,
    "clip_norm": 0.9,
    "warmup": 0.5,
    "epochs": 17,
    "patience": 18,
    "min_delta": 1.1,
}
STATIC = {
    "batch_size": 8,
    "activation": "tanh",
    "train_metrics": False,
    "optimizer": "lion",
    "schedule": "cosine",
    "monitor": "loss",
}
TERMS = {  # which exist or not; their size is traced
    "dropout": "dropout",
    "clip_norm": "clipping",
    "weight_decay": "decay",
    "patience": "stopping",
}
BEFORE_THE_PROGRAM = {
    "hidden": (3,),
    "initial_scale": "lecun",
    "inputs": "raw",
    "shuffle": False,
    "drop_last": True,
    "validation": 0.3,
    "seed": 9,
    "backend": "xla",
    "members": 5,
    "devices": 5,  # of members; else they share the minibatch
    "own_orders": True,
    "refit": True,
}


def made(**settings):
    return plan_of(Recipe(**settings), "dense", ("accuracy",), validated=True)


def test_hyper_is_exactly_the_traced_settings():
    of_no_recipe = {"penalty", "power_t", "rows_seen", "begun"}
    assert set(Hyper._fields) == TRACED.keys() | of_no_recipe
    assert hyper_of(Recipe(**TRACED)) == Hyper(**TRACED)
    every = TRACED.keys() | STATIC.keys() | BEFORE_THE_PROGRAM.keys()
    assert every == {f.name for f in dataclasses.fields(Recipe)}


@pytest.mark.parametrize(("name", "term"), TERMS.items())
def test_zero_leaves_a_term_out(name, term):
    """The plan says which terms exist, and is blind to their size."""
    without, little, much = (
        made(**{name: value}) for value in (0, 1 if name == "patience" else 0.1, TRACED[name])
    )
    assert getattr(without, term) != getattr(little, term)
    assert little == much
    assert hash(little) == hash(much)


def test_plan_is_blind_to_every_other_setting():
    usual = {name: getattr(Recipe(), name) or 0.1 for name in TRACED} | {"patience": 1}
    one = made(**STATIC, **usual)
    other = made(**STATIC, **TRACED, **BEFORE_THE_PROGRAM)
    assert one == other
    assert hash(one) == hash(other)


@pytest.mark.parametrize("name", STATIC)
def test_plan_sees_every_static_setting(name):
    assert made(**{name: STATIC[name]}) != made()


# ---- names


def test_names_are_those_of_the_modules_that_know_them():
    assert set(get_args(recipes.Activation)) == set(ACTIVATIONS) == set(plan.ACTIVATIONS)
    assert set(get_args(recipes.InitialScale)) == {*INITIAL_SCALES, "article"}
    assert set(get_args(recipes.Optimizer)) == set(USUAL_RATE)


# ---- recipes


@pytest.mark.parametrize("rows", [1, 2, 31, 100, 1437, 60000])
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_builds_for_any_number_of_rows(name, rows):
    recipe = named(name, rows)
    assert 1 <= recipe.epochs <= 1000
    if name != "article":  # whose batches are of 64 whatever the rows
        assert recipe.batch_size < 2 * rows or rows == 1
        data = place(np.zeros((rows, 1), np.uint8), np.zeros(rows, np.int64), batch_size=recipe.batch_size)
        training_of(recipe, data, data, "dense", ("accuracy", "log_loss"))  # which refuses a batch too large


def test_recipes_for_mnist():
    article, default, quick = (named(name, 60_000) for name in ("article", "default", "quick"))
    assert (article.hidden, article.epochs, article.batch_size) == ((128,), 25, 64)
    assert (article.optimizer, article.learning_rate, article.schedule) == ("sgd", 0.01, "constant")
    assert (article.seed, article.shuffle, article.drop_last, article.inputs) == (516, False, True, "unit")
    assert (article.initial_scale, article.label_smoothing) == ("article", 0.0)
    assert (default.hidden, default.epochs, default.batch_size) == ((128,), 4, 256)
    assert default.learning_rate == 0.2
    assert (quick.hidden, quick.epochs, quick.batch_size) == ((32,), 1, 256)


def test_default_takes_as_many_steps_on_small_sets():
    for rows in (100, 1437, 60_000):
        recipe = named("default", rows)
        assert 900 <= recipe.epochs * math.ceil(rows / recipe.batch_size) <= 1000


def test_named_takes_changes_and_checks_them():
    assert named("default", 1000, epochs=3, hidden=(7,)).hidden == (7,)
    with pytest.raises(InputError, match=r"dropout 2.0 is outside \[0, 1\)"):
        named("default", 1000, dropout=2.0)
    with pytest.raises(InputError, match="unknown recipe 'artcle'; did you mean 'article'"):
        named("artcle", 1000)


def test_another_optimizer_brings_its_usual_rate():
    recipe = Recipe(learning_rate=0.3)
    assert recipe.replace(optimizer="adam").learning_rate == 0.001
    assert recipe.replace(optimizer="adam", learning_rate=0.3).learning_rate == 0.3
    assert recipe.replace(optimizer=recipe.optimizer).learning_rate == 0.3
    assert recipe.replace(epochs=9).learning_rate == 0.3
    with pytest.raises(InputError, match="unknown optimizer 'adamm'; did you mean 'adam'"):
        recipe.replace(optimizer="adamm")


@pytest.mark.parametrize("name", BEST)
def test_the_best_quality_changes_what_it_says(name):
    usual, best = named(name, 500), named(name, 500, quality="best")
    assert best == BEST[name](usual)
    assert best.members > usual.members
    assert named(name, 500, quality="best", members=3, hidden=(9,)).members == 3


def test_no_such_quality():
    with pytest.raises(InputError, match="unknown quality 'bset'; did you mean 'best'"):
        named("table", 500, quality="bset")
    with pytest.raises(InputError, match="recipe 'article' has no best quality; default and table have one"):
        named("article", 500, quality="best")
