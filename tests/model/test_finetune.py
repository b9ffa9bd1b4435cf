"""A network begins with the weights of another where they fit: before its first epoch it answers alike."""

import dataclasses
import hashlib
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

import mlpax
from mlpax import Recipe, TableClassifier
from mlpax.data.dataset import Dataset, HoldOut
from mlpax.data.reading import Reading
from mlpax.data.targets import from_frame
from mlpax.errors import InputError, MlpaxWarning
from mlpax.model.finetune import Origin, kept_of
from mlpax.model.fit_model import fit_model, prepare

RECIPE = Recipe(
    hidden=(6, 5), epochs=4, batch_size=16, optimizer="adam", learning_rate=0.01, inputs="raw", members=2,
    activation="tanh",
)  # fmt: skip


def frame(rows=120, seed=0):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, rows))
    city, sex = rng.choice(["bern", "genf", "basel"], rows), rng.choice(["f", "m"], rows)
    many = rng.choice([f"level {i}" for i in range(70)], rows * 2)[:rows]
    days = np.datetime64("2024-01-01") + rng.integers(0, 400, rows)
    y = np.where(a + (city == "bern") > 0.5, "yes", "no")
    made = pl.DataFrame({"a": a, "b": 50 + 9 * b, "city": city, "sex": sex, "many": many, "day": days})
    return made.with_columns(y=pl.Series(y), price=pl.Series(1000 + 30 * a + 5 * (sex == "f")))


def dataset(table, target="y"):
    return from_frame(table, Reading(target=target), HoldOut(validation=0.0))


def trained(table, target="y", recipe=RECIPE):
    return fit_model(dataset(table, target), recipe)[0]


def begun(data, recipe, model):
    """Return the model of the weights to begin with."""
    problem = prepare(data, recipe, origin=Origin(model, "runs/a"))
    return problem.model(problem.params)


@pytest.mark.parametrize("target", ["y", "price"])
def test_on_the_same_data_it_answers_as_before(target):
    """With levels of many columns an embedding is used, and dates have parts."""
    table = frame(600).drop("price" if target == "y" else "y")
    table = table.with_columns(many=pl.Series(np.repeat([f"level {i}" for i in range(100)], 6)))
    model, data = trained(table, target), dataset(table, target)
    assert data.columns.embeddings
    again = begun(data, RECIPE, model)
    np.testing.assert_allclose(again.forward(data.X_train), model.forward(data.X_train), rtol=2e-4, atol=2e-4)
    said = kept_of(data, RECIPE, Origin(model, "runs/a")).line
    word = "classes 'no', 'yes'" if target == "y" else "targets 'price'"
    names = "'a', 'b', 'city', 'sex', 'many', 'day'"
    assert said == f"kept of runs/a: 2 of 2 hidden layers, columns {names}, {word}"


def test_a_value_counts_as_before_in_other_units_of_the_column():
    """The new rows have another median and spread; inputs are nearly linear, so that the answers stay."""
    table = frame()[["a", "b", "y"]].with_columns(pl.col("a") * 0.05, pl.col("b") * 0.05)
    wide = table.with_columns(a=pl.col("a") * 20, b=pl.col("b") * 20)  # quartiles 20 times as far
    model = trained(wide)
    data = dataset(table)
    again = begun(data, RECIPE, model)
    ours = again.forward(data.X_train)
    theirs = model.forward(model.columns(table))
    np.testing.assert_allclose(ours, theirs, atol=0.02)


def test_levels_of_the_same_name_are_kept():
    table = frame()[["a", "city", "sex", "y"]]
    other = table.with_columns(
        city=pl.col("city").replace("genf", "zug"), sex=pl.col("sex").replace("m", "x")
    )
    model, data = trained(table), dataset(other)
    kept = kept_of(data, RECIPE, Origin(model, "runs/a"))
    assert "'city' (2 of 3 levels)" in kept.line
    again = begun(data, RECIPE, model)
    W, own = again.networks[0].params[0][0], model.networks[0].params[0][0]
    levels, before = (m.columns.columns[1].levels for m in (again, model))
    assert (levels, before) == (("basel", "bern", "zug"), ("basel", "bern", "genf"))
    np.testing.assert_allclose(W[1:3], own[1:3], rtol=1e-5)
    assert not np.allclose(W[3], own[3])
    np.testing.assert_allclose(W[4], own[4], rtol=1e-5)  # "f" is -1 in both


@pytest.mark.parametrize("more", [True, False])
def test_two_levels_become_three_and_three_two(more):
    """An input of -1 and 1 is converted to one for each level, and back."""
    table = frame()[["city", "y"]]
    two = table.filter(pl.col("city") != "genf")
    model = trained(table if not more else two)
    again = begun(dataset(table if more else two), RECIPE, model)
    for ours, theirs in zip(*(m.predict_proba(two, members=True) for m in (again, model)), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_other_columns_and_classes_are_told():
    table = frame()[["a", "b", "y"]]
    rng = np.random.default_rng(1)
    y = rng.choice(["maybe", "yes"], 120)
    other = table.drop("b").with_columns(c=pl.Series(rng.normal(size=120)), y=pl.Series(y))
    model, data = trained(table), dataset(other)
    kept = kept_of(data, RECIPE, Origin(model, "runs/a"))
    assert kept.line == (
        "kept of runs/a: 2 of 2 hidden layers, columns 'a', classes 'yes'; new: columns 'c', classes 'maybe'"
    )
    again = begun(data, RECIPE, model)
    assert kept.outputs == {1: 1}
    for ours, theirs in zip(again.networks, model.networks, strict=True):
        np.testing.assert_allclose(ours.params[1][0], theirs.params[1][0], rtol=1e-5)
        np.testing.assert_allclose(ours.params[2][0][:, 1], theirs.params[2][0][:, 1], rtol=1e-5)
        assert not ours.params[2][0][:, 0].any()


def test_layers_are_kept_up_to_the_first_of_other_units():
    table = frame()[["a", "b", "y"]]
    model, data = trained(table), dataset(table)
    kept = kept_of(data, RECIPE.replace(hidden=(6, 7)), Origin(model, "runs/a"))
    assert (kept.layers, kept.outputs) == (1, {})
    assert kept.line.endswith("1 of 2 hidden layers, columns 'a', 'b'; new: classes 'no', 'yes'")


def test_numbers_are_the_same_classes_only_of_the_same_target():
    table = frame()[["a", "b", "y"]].with_columns(y=(pl.col("y") == "yes").cast(int))
    model = trained(table)
    same, other = dataset(table), dataset(table.rename({"y": "z"}), "z")
    assert kept_of(same, RECIPE, Origin(model, "a")).outputs == {0: 0, 1: 1}
    assert kept_of(other, RECIPE, Origin(model, "a")).outputs == {}


def three_targets(rows=120):
    table, rng = frame(rows)[["a", "city", "y"]], np.random.default_rng(2)
    return table.with_columns(
        sold=pl.Series(rng.integers(0, 2, rows)), size=pl.Series(rng.choice(["s", "m", "l"], rows))
    )


def test_of_several_targets_each_class_keeps_its_unit():
    """Units stand one behind another: those of "y", "sold" and "size" before, in another order now."""
    table, rng = three_targets(), np.random.default_rng(3)
    model = trained(table, "y,sold,size")
    other = table.drop("y").with_columns(
        size=pl.Series(rng.choice(["l", "m", "xl"], 120)), kind=pl.Series(rng.choice(["no", "yes"], 120))
    )
    data = dataset(other, "size,kind,sold")
    assert data.each_classes == (("l", "m", "xl"), ("no", "yes"), (0, 1))
    kept = kept_of(data, RECIPE, Origin(model, "runs/a"))
    assert kept.outputs == {0: 4, 1: 5, 5: 2, 6: 3}
    assert kept.line == (
        "kept of runs/a: 2 of 2 hidden layers, columns 'a', 'city', targets 'sold', classes 'l', 'm' of"
        " 'size'; new: targets 'kind', classes 'xl' of 'size'"
    )
    again = begun(data, RECIPE, model)
    for ours, theirs in zip(again.networks, model.networks, strict=True):
        (W, b), (W_before, b_before) = ours.params[-1], theirs.params[-1]
        np.testing.assert_allclose(W[:, [0, 1, 5, 6]], W_before[:, [4, 5, 2, 3]], rtol=1e-5)
        np.testing.assert_allclose(b[[0, 1, 5, 6]], b_before[[4, 5, 2, 3]], rtol=1e-5)
        assert not W[:, [2, 3, 4]].any()


def test_one_target_of_several_is_kept_and_several_of_one():
    table = three_targets()
    of_three, one = trained(table, "y,sold,size"), trained(table.drop("sold", "y"), "size")
    assert kept_of(dataset(table.drop("y", "size"), "sold"), RECIPE, Origin(of_three, "a")).outputs == {
        0: 2,
        1: 3,
    }
    kept = kept_of(dataset(table, "y,sold,size"), RECIPE, Origin(one, "a"))
    assert kept.outputs == {4: 0, 5: 1, 6: 2}
    assert kept.line.endswith("targets 'size'; new: targets 'y', 'sold'")
    # The word "yes" of another of several targets means something else.
    renamed = dataset(table.rename({"y": "rented"}), "rented")
    assert kept_of(renamed, RECIPE, Origin(of_three, "a")).outputs == {}


def test_of_several_numbers_each_keeps_its_unit():
    """The units of the new targets are other ones, and their means and deviations are."""
    table = frame()[["a", "b", "price"]].with_columns(rent=pl.col("price") * 0.01 + pl.col("b"))
    model = trained(table, "price,rent")
    data = dataset(table.with_columns(cost=pl.col("b") ** 2), "rent,cost,price")
    kept = kept_of(data, RECIPE, Origin(model, "runs/a"))
    assert kept.outputs == {0: 1, 2: 0}
    assert kept.line.endswith("columns 'a', 'b', targets 'rent', 'price'; new: targets 'cost'")
    again = begun(data, RECIPE, model)
    ours, theirs = again.forward(data.X_train), model.forward(data.X_train)
    np.testing.assert_allclose(ours[:, [0, 2]], theirs[:, [1, 0]], rtol=1e-4)


def pictures(classes=("a", "b", "c"), shape=(3, 3), bright=0):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 120, (60, 9)).astype(np.uint8) + np.uint8(bright)
    y = np.arange(60, dtype=np.int32) % len(classes)
    return Dataset("pictures", X, y, X[:0], y[:0], classes, shape)


def test_pictures_of_another_scale():
    recipe = RECIPE.replace(inputs="standardize", members=1)
    model, other = fit_model(pictures(), recipe)[0], pictures(("c", "a"), bright=90)
    again = begun(other, recipe, model)
    assert again.scaling != model.scaling
    ours, theirs = again.forward(other.X_train), model.forward(other.X_train)
    np.testing.assert_allclose(ours, theirs[:, [2, 0]], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("data", "changes", "message"),
    [
        (lambda: pictures(shape=None), {}, "a is a network for tables, and the data are pictures"),
        (lambda: dataset(frame()[["day", "y"]]), {}, "a knows none of the columns, but 'a', 'b'; no weights"),
        (lambda: dataset(frame()[["a", "y"]]), {"hidden": (7,)}, r"hidden \(7,\) and \(6, 5\) of a differ"),
        (lambda: dataset(frame()[["a", "y"]]), {"activation": "relu"}, "'relu' differs from 'tanh' of a"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line(data, changes, message):
    model = trained(frame()[["a", "b", "y"]])
    with pytest.raises(InputError, match=message) as error:
        prepare(data(), RECIPE.replace(**changes), origin=Origin(model, "a"))
    assert "\n" not in str(error.value)


def test_a_network_of_pictures_is_none_for_a_table():
    model = fit_model(pictures(), RECIPE.replace(inputs="standardize"))[0]
    with pytest.raises(InputError, match="a is a network for pictures, and the data are tables"):
        prepare(dataset(frame()[["a", "y"]]), RECIPE, origin=Origin(model, "a"))
    other = dataclasses.replace(pictures(), image_shape=(9, 1))
    with pytest.raises(InputError, match=r"pictures have the shape \(9, 1\), and those of a \(3, 3\)"):
        prepare(other, RECIPE, origin=Origin(model, "a"))


def test_a_run_begins_with_another(tmp_path, monkeypatch):
    table, hashed = frame(), []
    settings = {"epochs": 6, "patience": 3, "members": 2, "hidden": (6, 5), "validation": 0.2}
    settings["task"] = "classification"
    one = mlpax.train(table.drop("price"), target="y", out=tmp_path / "a", **settings)
    other = table.select("a", "city", z=pl.Series(np.where(table["a"] > 0, "yes", "perhaps")))
    options = {"target": "z", "task": "classification", "epochs": 3, "refit": True, "out": tmp_path / "b"}
    counting = SimpleNamespace(sha256=lambda data: hashed.append(len(data)) or hashlib.sha256(data))
    monkeypatch.setattr("mlpax.runs.parent.hashlib", counting)
    with pytest.warns(
        MlpaxWarning, match="kept of a: 2 of 2 hidden layers, columns 'a', 'city', classes 'yes'"
    ):
        two = mlpax.train(other, finetune=one, **options)
    monkeypatch.undo()
    assert hashed == [(tmp_path / "a" / "model.safetensors").stat().st_size]  # once
    assert two.config.recipe.hidden == (6, 5)
    assert two.config.recipe.members == 2
    assert two.config.finetune.path == str(tmp_path / "a")
    assert two.model.provenance["finetuned"] == str(tmp_path / "a")
    bits = (tmp_path / "b" / "model.safetensors").read_bytes()
    for part in ("checkpoints", "refit"):
        for file in (tmp_path / "b" / part).rglob("*.npz"):
            file.unlink()
    with pytest.warns(MlpaxWarning, match="kept of a: "):
        mlpax.load_run(tmp_path / "b", other).resume()
    assert (tmp_path / "b" / "model.safetensors").read_bytes() == bits
    (tmp_path / "a" / "model.safetensors").write_bytes(bits)
    with pytest.raises(InputError, match=r"the model of .*a has changed since this run began with it"):
        mlpax.load_run(tmp_path / "b", other).resume()
    with pytest.raises(InputError, match="holds no model to fine-tune"):
        mlpax.train(other, finetune=tmp_path, target="z")


def test_the_estimator_begins_with_another():
    table = frame()
    X, y = table[["a", "city"]], table["y"].to_numpy()
    settings = {"hidden": (6, 5), "epochs": 4}
    one = TableClassifier(random_state=0, members=2, settings=settings).fit(X, y)
    with pytest.warns(MlpaxWarning, match="kept of the given model: 2 of 2 hidden layers"):
        two = TableClassifier(random_state=0, finetune=one, settings={"epochs": 2}).fit(X, y)
    assert two.model_.networks[0].sizes == one.model_.networks[0].sizes
