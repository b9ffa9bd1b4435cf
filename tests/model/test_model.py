"""A model file gives back the network that was saved, and nothing else gets through."""

import dataclasses
import itertools
import json
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import numpy as np
import polars as pl
import pytest
import safetensors.numpy
import scipy.special
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from mlpax.engine.rows import Scaling, fit_scaling
from mlpax.errors import InputError, ModelFileError
from mlpax.model.model import Calibration, Model, Network, Target
from mlpax.model.model_file import format_of, load

RNG = np.random.default_rng(0)


def network(*sizes: int, activation="tanh") -> Network:
    """A network with random weights."""
    params = [
        (RNG.normal(size=shape).astype(np.float32), RNG.normal(size=shape[1]).astype(np.float32))
        for shape in itertools.pairwise(sizes)
    ]
    return Network(params, activation)


def small(classes=("cat", "dog", "owl"), **changes) -> Model:
    """A 6-4-3 network with random weights."""
    settings = {
        "networks": (network(6, 4, 3),),
        "targets": (Target(classes=classes),),
        "scaling": Scaling(2.0, 0.5),
        "image_shape": (2, 3),
        "recipe": {"hidden": [4]},
        "metrics": {"valid_accuracy": 0.5},
        "provenance": {"dataset": "made up"},
    }
    return Model(**settings | changes)


def oracle(model: Model, X: np.ndarray) -> np.ndarray:
    """The outputs in float64."""
    hidden = (X.reshape(len(X), -1).astype(np.float64) - model.scaling.shift) * model.scaling.scale
    for W, b in model.params[:-1]:
        hidden = np.tanh(hidden @ W + b)
    W, b = model.params[-1]
    return hidden @ W + b


@pytest.mark.parametrize("rows", [1, 2, 5, 300])
def test_outputs_and_probabilities_match_float64(rows):
    model, X = small(), RNG.normal(size=(rows, 6)).astype(np.float32)
    expected = oracle(model, X)
    np.testing.assert_allclose(model.outputs(X), expected, rtol=1e-5, atol=1e-5)
    p = np.exp(expected) / np.exp(expected).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict_proba(X), p, rtol=1e-5, atol=1e-6)
    assert model.predict(X).tolist() == [model.classes[i] for i in expected.argmax(axis=1)]


def test_more_rows_than_a_chunk(monkeypatch):
    monkeypatch.setattr("mlpax.engine.forward.BLOCK", 50)
    model, X = small(), RNG.normal(size=(21, 6)).astype(np.float32)
    np.testing.assert_allclose(model.outputs(X), oracle(model, X), rtol=1e-5, atol=1e-5)


def test_images_and_integer_pixels():
    model, X = small(), RNG.integers(0, 256, (7, 2, 3)).astype(np.uint8)
    np.testing.assert_allclose(model.outputs(X), oracle(model, X), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (np.zeros(6), r"\(6,\).*6 features"),
        (np.zeros((2, 5)), "X has rows of 5 features; this model takes rows of 6 features"),
        (np.array([["a"] * 6]), "type <U1; this model takes pixels of 0 to 255"),
        (np.ones((1, 6), bool), "type bool; this model takes pixels of 0 to 255"),
        (np.zeros((1, 3, 2), np.uint8), r"pictures of \(3, 2\); this model takes \(2, 3\)"),
        (np.array([[0, 0, np.nan, 0, 0, 0]]), "nan at row 0, column 2"),
        (np.array([[0, 0, 0, np.inf, 0, 0]]), "inf at row 0, column 3"),
    ],
)
def test_bad_rows_are_named(X, words):
    with pytest.raises(InputError, match=words):
        small().outputs(X)


def test_predictions_beside_the_files_they_are_of(tmp_path, monkeypatch):
    monkeypatch.setattr("mlpax.model.model.CHUNK", 2)
    model, X, files = small(), RNG.normal(size=(5, 6)), [f"{i}.png" for i in range(5)]
    for name in ("p.csv", "p.parquet"):
        assert model.write_predictions([X[:3], X[3:]], tmp_path / name, files=files) == 5
    for frame in (pl.read_csv(tmp_path / "p.csv"), pl.read_parquet(tmp_path / "p.parquet")):
        assert frame.columns[:2] == ["file", "prediction"]
        assert frame["file"].to_list() == files
        assert frame["prediction"].to_list() == model.predict(X).tolist()


def test_predictions_in_parquet_are_of_the_classes_kind(tmp_path):
    model = small()
    for classes, kind in (
        (("1", "2", "3a"), pl.String),
        ((1, 2, 3), pl.Int64),
        (("True", "False", "x"), pl.String),
    ):
        model = dataclasses.replace(model, targets=(Target(classes=classes),))
        model.write_predictions([RNG.normal(size=(5, 6))], tmp_path / "p[1].parquet")
        frame = pl.read_parquet(tmp_path / "p[1].parquet", glob=False)
        assert frame.dtypes == [kind, pl.Float32, pl.Float32, pl.Float32]
        model.write_predictions([], tmp_path / "none.parquet")
        assert pl.read_parquet(tmp_path / "none.parquet").schema == frame.schema


def test_texts_that_a_spreadsheet_would_run_are_marked_if_asked_for(tmp_path):
    """As written by default; with `safe_csv` behind an apostrophe, but numbers as they are."""
    cells = ["=1+1", "+1", "-5", "-5+1", "@x", "\t=1", "\r=1", "a=b", "'q", "＝1"]
    safe = ["'=1+1", "+1", "-5", "'-5+1", "'@x", "'\t=1", "'\r=1", "a=b", "'q", "'＝1"]
    model = dataclasses.replace(small(), targets=(Target(classes=("=a", "-b", "+c")),))
    X = RNG.normal(size=(10, 6))
    predicted = model.predict(X).tolist()
    model.write_predictions([X], tmp_path / "p.csv", files=cells)
    frame = pl.read_csv(tmp_path / "p.csv", infer_schema=False)
    assert (frame["file"].to_list(), frame["prediction"].to_list()) == (cells, predicted)
    model.write_predictions([X[:4], X[4:]], tmp_path / "p.csv", files=cells, safe_csv=True)
    frame = pl.read_csv(tmp_path / "p.csv", infer_schema=False)
    assert frame.columns == ["file", "prediction", "probability_=a", "probability_-b", "probability_+c"]
    assert (frame["file"].to_list(), frame["prediction"].to_list()) == (safe, [f"'{c}" for c in predicted])
    numbers = dataclasses.replace(model, targets=(Target(classes=(-1, -2, 3)),))
    numbers.write_predictions([X], tmp_path / "n.csv", safe_csv=True)
    assert pl.read_csv(tmp_path / "n.csv")["prediction"].to_list() == numbers.predict(X).tolist()
    with pytest.raises(InputError, match=r"safe_csv is for CSV files, and .*p\.parquet is Parquet"):
        model.write_predictions([X], tmp_path / "p.parquet", safe_csv=True)
    assert not (tmp_path / "p.parquet").exists()


def test_pictures_of_another_scale_are_refused():
    params = [(np.ones((4, 2), np.float32), np.zeros(2, np.float32))]
    model = Model((Network(params),), (Target(classes=(0, 1)),), image_shape=(2, 2))
    model.outputs(np.full((1, 2, 2), 255.0))
    with pytest.raises(InputError, match=r"pictures of 0 to 0.5; this model takes pixels of 0 to 255"):
        model.outputs(np.full((1, 2, 2), 0.5))


def test_no_rows_give_no_predictions():
    assert small().predict(np.zeros((0, 6))).shape == (0,)


def test_a_regression():
    W = np.array([[2.0], [3.0]], np.float32)
    model = Model((Network([(W, np.array([1.0], np.float32))]),), (Target(task="regression"),))
    np.testing.assert_allclose(model.predict(np.array([[1.0, 1.0], [0.0, 2.0]])), [6.0, 7.0])
    figures = model.evaluate(np.array([[1.0, 1.0], [0.0, 2.0]]), np.array([6.0, 9.0]))
    assert figures["rmse"] == pytest.approx(np.sqrt(2))
    assert figures["mae"] == pytest.approx(1)
    with pytest.raises(InputError, match="no probabilities"):
        model.predict_proba(np.zeros((1, 2)))


def test_every_output_of_a_regression_is_written(tmp_path):
    for names, columns in (
        (("", ""), ["prediction_0", "prediction_1"]),
        (("price", "rent"), ["prediction_price", "prediction_rent"]),
    ):
        targets = tuple(Target(name, "regression") for name in names)
        model, X = Model((network(6, 4, 2),), targets), RNG.normal(size=(5, 6))
        assert model.write_predictions([X[:3], X[3:]], tmp_path / "p.csv") == 5
        frame = pl.read_csv(tmp_path / "p.csv")
        assert frame.columns == columns
        np.testing.assert_allclose(frame.to_numpy(), model.predict(X), rtol=1e-6)


def test_the_row_in_an_error_counts_from_the_first_row_of_all(tmp_path, monkeypatch):
    model, X = small(image_shape=None), np.zeros((5, 6))
    X[4, 2] = np.inf
    with pytest.raises(InputError, match="X holds inf at row 4, column 2;"):
        model.write_predictions([X[:2], X[2:]], tmp_path / "p.csv")
    monkeypatch.setattr("mlpax.model.model.CHUNK", 2)
    table, told = load(FORMAT_1 / "table.safetensors"), json.loads((FORMAT_1 / "table.json").read_text())
    cells = told["X"] | {"size": ["1", "2", "3", "4", "five"]}
    with pytest.raises(InputError, match="column 'size' holds 'five' in row 5, which is no number"):
        table.write_predictions([pl.DataFrame(cells)], tmp_path / "p.csv")
    cells = told["X"] | {"day": ["2024-01-01", "2024-01-02", "2024-01-03", "spring", "2024-01-05"]}
    with pytest.raises(InputError, match="column 'day' holds 'spring' in row 4, which is no date"):
        table.write_predictions([pl.DataFrame(cells)[:3], pl.DataFrame(cells)[3:]], tmp_path / "p.csv")
    cells = told["X"] | {"size": [1.0, 2.0, 1e39, 4.0, 5.0]}
    with pytest.raises(InputError, match=r"column 'size' holds 1e\+39 in row 3; numbers lie within"):
        table.write_predictions([pl.DataFrame(cells)], tmp_path / "p.parquet")


def test_the_temperature_divides_the_outputs(tmp_path):
    plain, X = small(), RNG.normal(size=(50, 6))
    model = dataclasses.replace(plain, calibration=Calibration(2.5))
    expected = scipy.special.softmax(oracle(model, X) / 2.5, axis=1)
    np.testing.assert_allclose(model.predict_proba(X), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(model.outputs(X), plain.outputs(X))
    np.testing.assert_array_equal(model.predict_proba(X, calibrated=False), plain.predict_proba(X))
    y = np.array(model.classes)[RNG.integers(0, 3, 50)]
    assert model.evaluate(X, y, calibrated=False) == plain.evaluate(X, y)
    assert model.evaluate(X, y)["log_loss"] != plain.evaluate(X, y)["log_loss"]
    model.save(tmp_path / "m.safetensors")
    assert load(tmp_path / "m.safetensors").calibration == Calibration(2.5, "validation")
    model.write_predictions([X], tmp_path / "p.csv")
    shares = pl.read_csv(tmp_path / "p.csv")[:, 1:].to_numpy()
    np.testing.assert_allclose(shares, model.predict_proba(X), atol=1e-6)


def test_several_networks_answer_with_their_mean(tmp_path):
    members = network(6, 4, 3), network(6, 5, 7, 3, activation=("relu", "mish"))
    model, X = small(networks=members), RNG.normal(size=(20, 6)).astype(np.float32)
    model.save(tmp_path / "m.safetensors")
    model = load(tmp_path / "m.safetensors")
    assert [n.sizes for n in model.networks] == [(6, 4, 3), (6, 5, 7, 3)]
    each = [small(networks=(member,)).predict_proba(X) for member in members]
    np.testing.assert_allclose(model.predict_proba(X), np.mean(each, axis=0), rtol=1e-4)
    targets = (Target("a", "regression"), Target("b", "regression"))
    members = network(6, 4, 2), network(6, 2)
    values = [Model((member,), targets).predict(X) for member in members]
    np.testing.assert_allclose(Model(members, targets).predict(X), np.mean(values, axis=0), rtol=1e-5)
    np.testing.assert_array_equal(Model(members, targets).predict(X, members=True), values)


def test_outputs_of_members_are_finite():
    W = np.full((6, 3), 3e38, np.float32)
    model = small(networks=(network(6, 3), Network([(W, np.zeros(3, np.float32))])))
    for answer in (model.predict, model.predict_proba, lambda X: model.predict_proba(X, members=True)):
        with pytest.raises(InputError, match="the model answers inf for row 0, output 0"):
            answer(np.full((2, 6), 255))


def test_how_far_networks_disagree(tmp_path):
    members = network(6, 4, 3), network(6, 5, 3), network(6, 3)
    model, X = small(networks=members), RNG.normal(size=(200, 6)).astype(np.float32)
    each = [small(networks=(member,)) for member in members]
    shares = model.predict_proba(X, members=True)
    np.testing.assert_allclose(shares, [one.predict_proba(X) for one in each], rtol=1e-5)
    model.write_predictions([X[:150], X[150:]], tmp_path / "p.parquet", disagreement=True)
    frame = pl.read_parquet(tmp_path / "p.parquet")
    best = model.predict_proba(X).argmax(axis=1)
    np.testing.assert_allclose(frame["disagreement"], shares[:, np.arange(200), best].std(axis=0), rtol=1e-4)
    target = (Target("a", "regression"),)
    values = Model((network(6, 4, 1), network(6, 1)), target)
    values.write_predictions([X], tmp_path / "v.csv", disagreement=True)
    frame = pl.read_csv(tmp_path / "v.csv")
    np.testing.assert_allclose(frame["disagreement"], values.predict(X, members=True).std(axis=0), rtol=1e-4)
    with pytest.raises(InputError, match="one network does not disagree"):
        each[0].write_predictions([X], tmp_path / "q.csv", disagreement=True)
    assert not (tmp_path / "q.csv").exists()


def test_a_device_holds_the_weights_from_the_first_call_on(monkeypatch):
    model, X = small(device="cpu"), RNG.normal(size=(5, 6)).astype(np.float32)
    uploads, device_put = [], jax.device_put
    monkeypatch.setattr(jax, "device_put", lambda *args: uploads.append(args) or device_put(*args))
    expected = dataclasses.replace(model, device=None).outputs(X)
    assert not uploads
    for _ in range(3):
        np.testing.assert_allclose(model.outputs(X), expected, rtol=1e-5, atol=1e-5)
    assert len(uploads) == 1
    dataclasses.replace(model, device="cpu:0").outputs(X)  # another name of the same device
    assert len(uploads) == 1
    with pytest.raises(InputError, match="device='cpu:7', but the numbers of 'cpu' here are 0 to 0"):
        dataclasses.replace(model, device="cpu:7").outputs(X)


def test_a_loaded_model_predicts_without_heavy_libraries(tmp_path):
    """In a process of its own: JAX, scikit-learn and SciPy take seconds to import."""
    table = json.loads((FORMAT_1 / "table.json").read_text())["X"]
    code = f"""
import sys
import mlpax
model = mlpax.load({str(FORMAT_1 / "table.safetensors")!r})
assert model.predict_proba({table!r}).shape == (5, 2)
model.write_predictions([{table!r}], {str(tmp_path / "p.csv")!r})
model = mlpax.load({str(FORMAT_1 / "dense.safetensors")!r})
assert len(model.predict([[0, 1, 2, 3, 4, 255]])) == 1
model.save({str(tmp_path / "m.safetensors")!r})
heavy = {{"jax", "jaxlib", "sklearn", "scipy", "optax", "matplotlib"}}
assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_model_is_told_in_one_line():
    model = Model((network(3, 4, 2, activation="relu"),), (Target(classes=("a", "b")),))
    assert repr(model) == "Model(classification, 3 - 4 - 2, relu)"


def test_evaluate_is_scikit_learns():
    model, X = small(), RNG.normal(size=(200, 6))
    y = np.array(model.classes)[RNG.integers(0, 3, 200)]
    p = model.predict_proba(X).astype(np.float64)
    p /= p.sum(axis=1, keepdims=True)
    figures = model.evaluate(X, y)
    assert figures["accuracy"] == pytest.approx(metrics.accuracy_score(y, model.predict(X)))
    assert figures["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(y, model.predict(X)))
    assert figures["log_loss"] == pytest.approx(metrics.log_loss(y, p))
    assert figures["roc_auc"] == pytest.approx(metrics.roc_auc_score(y, p, multi_class="ovr"))
    with pytest.raises(InputError, match="'cow'"):
        model.evaluate(X, np.array(["cow"] * 200))


def test_saved_and_loaded(tmp_path):
    model = small()
    model.save(tmp_path / "m.safetensors")
    again = load(tmp_path / "m.safetensors")
    for (W, b), (V, c) in zip(model.params, again.params, strict=True):
        assert W.tobytes() == V.tobytes()
        assert b.tobytes() == c.tobytes()
    for name in (
        "targets",
        "backend",
        "calibration",
        "classes",
        "task",
        "activation",
        "scaling",
        "image_shape",
        "recipe",
        "metrics",
        "provenance",
    ):
        assert getattr(again, name) == getattr(model, name), name
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


def test_classes_keep_their_type(tmp_path):
    small(classes=(3, 5, 9)).save(tmp_path / "m.safetensors")
    assert load(tmp_path / "m.safetensors").predict(np.zeros((1, 6))).dtype.kind == "i"


FORMAT_1 = Path(__file__).with_name("format_1")


def altered(source, path, change):
    """A copy of a file whose header says something else."""
    arrays = safetensors.numpy.load_file(source)
    with safetensors.safe_open(source, "np") as file:
        header = json.loads(file.metadata()["mlpax"])
    header = change(header)
    safetensors.numpy.save_file(arrays, path, {"mlpax": json.dumps(header)})
    return path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 3}, "upgrade"),
        ({"format": "1"}, "version"),
        ({"sizes": [6, 3]}, "arrays"),
        ({"sizes": [6, 5, 3]}, "shape"),
        ({"sizes": [6, -4, 3]}, "sizes"),
        ({"sizes": None}, "sizes"),
        ({"task": "poetry"}, "task"),
        ({"activation": "__import__('os')"}, "activation"),
        ({"activation": []}, "activation"),
        ({"classes": ["a", "b"]}, "classes"),
        ({"classes": ["a", "b", 3]}, "classes"),
        ({"scaling": {"shift": float("nan"), "scale": 1}}, "NaN, which is not a finite number"),
        ({"scaling": {"shift": 1}}, "scaling"),
        ({"scaling": {"shift": 1, "scale": 10**400}}, "damaged"),
        ({"image_shape": [2, 4]}, "image shape"),
        ({"metrics": {"a": "b"}}, "metrics"),
        ({"recipe": []}, "recipe"),
        ({"embeddings": [[3, 2]]}, "arrays"),
        ({"link": "exp"}, "link"),
        ({"target": 3}, "name"),
        ({"columns": [{"name": "a"}]}, "column"),
    ],
)
def test_headers_of_format_1_that_do_not_fit_are_refused(tmp_path, changes, words):
    path = altered(
        FORMAT_1 / "dense.safetensors", tmp_path / "m.safetensors", lambda header: header | changes
    )
    with pytest.raises(ModelFileError, match=words):
        load(path)


def put(header, place, value):
    """The header with a value at a place such as "networks.0.sizes"; the value `DROP` removes the field."""
    *path, last = (int(step) if step.isdecimal() else step for step in place.split("."))
    record = header
    for step in path:
        record = record[step]
    if value is DROP:
        del record[last]
    else:
        record[last] = value
    return header


DROP = object()
TARGET = {"name": "", "task": "classification", "classes": ["cat", "dog", "owl"], "link": "identity"}


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("format", 3, "upgrade"),
        ("format", "1", "version"),
        ("backend", "abacus", "backend is 'abacus', not 'native' or 'xla'"),
        ("networks", [], "networks has 0 entries"),
        ("networks.0", None, r"networks\[0\] is None, not of the type object"),
        ("networks.0.sizes", [6, 3], "arrays"),
        ("networks.0.sizes", [6, 5, 3], "shape"),
        ("networks.0.sizes", [6, -4, 3], r"networks\[0\].sizes\[1\] is -4"),
        ("networks.0.sizes", [6, 4.0, 3], "sizes"),
        ("networks.0.sizes", None, "sizes"),
        ("networks.0.sizes", DROP, "lacks 'sizes'"),
        ("networks.0.activation", "__import__('os')", "activation"),
        ("networks.0.activation", [], "activation"),
        ("networks.0.embeddings", [[3, 2]], "arrays"),
        ("networks.0.more", 1, "unknown field 'more'"),
        ("more", 1, "unknown field 'more'"),
        ("targets.0.task", "poetry", "task"),
        ("targets.0.classes", ["a", "b"], "classes"),
        ("targets.0.classes", ["a", "b", 3], "classes"),
        ("targets.0.link", "exp", "link"),
        ("targets.0.name", 3, "name"),
        ("targets", [TARGET, TARGET], "its classes do not fit its outputs"),
        ("scaling", {"shift": float("nan"), "scale": 1}, "NaN, which is not a finite number"),
        ("scaling", {"shift": 1}, "scaling"),
        ("scaling", {"shift": 1, "scale": 10**400}, "damaged"),
        ("image_shape", [2, 4], "image shape"),
        ("image_shape", [6], "image_shape"),
        ("columns", [{"kind": "number", "name": "a"}], r"columns\[0\]"),
        ("columns", [{"kind": "constant", "name": "a"}], "inputs"),
        (
            "calibration",
            {"temperature": 0, "fitted_on": "validation"},
            "temperature is 0, which is too small",
        ),
        ("calibration", {"temperature": 1.5, "fitted_on": "test"}, "fitted_on"),
        ("metrics", {"a": "b"}, "metrics"),
        ("metrics", {"a": True}, "metrics"),
        ("provenance", {"a": 1}, "provenance"),
        ("recipe", [], "recipe"),
    ],
)
def test_headers_that_do_not_fit_are_refused(tmp_path, place, value, words):
    path = tmp_path / "m.safetensors"
    small().save(path)
    with pytest.raises(ModelFileError, match=words) as caught:
        load(altered(path, path, lambda header: put(header, place, value)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["dense", "table", "regression"])
def test_files_of_format_1_predict_what_they_did(name):
    """Their writer, with XLA, wrote the predictions down."""
    model, told = load(FORMAT_1 / f"{name}.safetensors"), json.loads((FORMAT_1 / f"{name}.json").read_text())
    X = told["X"] if model.columns else np.array(told["X"])
    if name == "regression":
        np.testing.assert_allclose(model.predict(X), told["predictions"], rtol=1e-5)
    else:
        np.testing.assert_allclose(model.predict_proba(X), told["probabilities"], rtol=1e-5, atol=1e-7)
    assert format_of(FORMAT_1 / f"{name}.safetensors") == 1


@pytest.mark.parametrize("name", ["dense", "table", "regression"])
def test_files_of_format_1_are_saved_in_format_2(name, tmp_path):
    model = load(FORMAT_1 / f"{name}.safetensors")
    model.save(tmp_path / "m.safetensors")
    again = load(tmp_path / "m.safetensors")
    assert format_of(tmp_path / "m.safetensors") == 2
    assert (again.targets, again.columns, again.recipe) == (model.targets, model.columns, model.recipe)
    for one, other in zip(model.networks, again.networks, strict=True):
        assert one.activation == other.activation
        for E, F in zip(one.embeddings, other.embeddings, strict=True):
            assert E.tobytes() == F.tobytes()


@pytest.mark.parametrize(
    ("value", "words"), [(np.nan, "NaN"), (1e30, "so large that its outputs are not finite")]
)
def test_weights_of_which_no_answer_comes_are_refused(tmp_path, value, words):
    path = tmp_path / "m.safetensors"
    small().save(path)
    arrays = {name: np.full_like(array, value) for name, array in safetensors.numpy.load_file(path).items()}
    text = safetensors.safe_open(path, "np").metadata()
    text["mlpax"] = text["mlpax"].replace("tanh", "relu")
    safetensors.numpy.save_file(arrays, path, text)
    with pytest.raises(ModelFileError, match=words):
        load(path)
    layers = [(np.full((6, 4), value, np.float32),) * 2, (np.full((4, 3), value, np.float32),) * 2]
    network = Network([(W, W[0]) for W, _ in layers])
    with pytest.raises(InputError, match=words):
        small(networks=(network,)).save(path)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "m.safetensors"
    with pytest.raises(ModelFileError, match="no model at"):
        load(path)
    for content in (b"", b"\x00" * 7, struct.pack("<Q", 2**62) + b"{}", b"PK\x03\x04" + b"\x00" * 100):
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match="header does not fit"):
            load(path)
    safetensors.numpy.save_file({"a": np.zeros(3, np.float32)}, path)
    with pytest.raises(ModelFileError, match="no model of mlpax"):
        load(path)
    with pytest.raises(ModelFileError, match="no model at"):
        load(tmp_path)


def test_a_save_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "m.safetensors"
    small().save(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        small(metrics={"loss": float("nan")}).save(path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@given(data=st.data())
def test_mutated_files_give_a_model_or_our_error(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "mutated.safetensors"
    small().save(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "insert"])):
            case "flip":
                content[at] ^= 1 << data.draw(st.integers(0, 7))
            case "cut":
                del content[max(1, at) :]
            case "insert":
                content[at:at] = data.draw(st.binary(min_size=1, max_size=9))
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            assert load(path).sizes[0] > 0
        except ModelFileError as error:
            assert "\n" not in str(error)


def test_scaling_of_inputs():
    X = RNG.integers(0, 256, (50, 4)).astype(np.uint8)
    assert fit_scaling(X, "raw") == (0, 1)
    assert fit_scaling(X, "unit") == (0, pytest.approx(1 / X.max()))
    for same in (X, X.astype(np.float32)):
        shift, scale = fit_scaling(same, "standardize")
        assert shift == pytest.approx(X.mean(dtype=np.float64))
        assert scale == pytest.approx(1 / X.std(dtype=np.float64))
    assert fit_scaling(np.zeros((3, 2), np.uint8), "unit") == (0, 1)
    assert fit_scaling(np.full((3, 2), 7, np.uint8), "standardize") == (7, 1)


def test_numpy_numbers_in_the_metrics_are_saved(tmp_path):
    network = Network([(np.eye(2, dtype=np.float32), np.zeros(2, np.float32))])
    model = Model((network,), (Target(classes=("a", "b")),), metrics={"accuracy": np.float64(0.5)})
    model.save(tmp_path / "m.safetensors")
    assert load(tmp_path / "m.safetensors").metrics == {"accuracy": 0.5}


def test_a_device_that_is_not_there_is_refused():
    network = Network([(np.eye(2, dtype=np.float32), np.zeros(2, np.float32))])
    model = Model((network,), (Target(classes=("a", "b")),), device="tpu")
    with pytest.raises(InputError, match=r"device='tpu', but JAX has no 'tpu' here; it has cpu"):
        model.predict(np.zeros((1, 2)))


def test_a_notebook_shows_a_model_as_a_table():
    model = load(FORMAT_1 / "table.safetensors")
    html = dataclasses.replace(model, metrics={"valid_accuracy": 0.91234})._repr_html_()
    parameters = sum(W.size + b.size for W, b in model.networks[0].params)
    parameters += sum(E.size for E in model.networks[0].embeddings)
    assert f"<th>parameters</th><td>{parameters:,}</td>" in html
    assert "<th>valid accuracy</th><td>0.9123</td>" in html
    many = dataclasses.replace(model, targets=(Target(classes=tuple(f"<{i}>" for i in range(12))),))
    assert "&lt;8&gt;, &lt;9&gt;, …</td>" in many._repr_html_()
