"""A model file gives back the network that was saved, and nothing else gets through."""

import dataclasses
import json
import struct
import warnings

import numpy as np
import polars as pl
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from mlpax.engine.rows import Scaling, fit_scaling
from mlpax.errors import InputError, ModelFileError
from mlpax.model.model import Model
from mlpax.model.model_file import load

RNG = np.random.default_rng(0)


def small(**changes) -> Model:
    """A 6-4-3 network with random weights."""
    layers = [(6, 4), (4, 3)]
    params = [
        (RNG.normal(size=shape).astype(np.float32), RNG.normal(size=shape[1]).astype(np.float32))
        for shape in layers
    ]
    settings = {
        "params": params,
        "classes": ("cat", "dog", "owl"),
        "activation": "tanh",
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
    monkeypatch.setattr("mlpax.model.model.CHUNK", 8)
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
        model = dataclasses.replace(model, classes=classes)
        model.write_predictions([RNG.normal(size=(5, 6))], tmp_path / "p[1].parquet")
        frame = pl.read_parquet(tmp_path / "p[1].parquet", glob=False)
        assert frame.dtypes == [kind, pl.Float32, pl.Float32, pl.Float32]
        model.write_predictions([], tmp_path / "none.parquet")
        assert pl.read_parquet(tmp_path / "none.parquet").schema == frame.schema


def test_pictures_of_another_scale_are_refused():
    model = Model(
        params=[(np.ones((4, 2), np.float32), np.zeros(2, np.float32))], classes=(0, 1), image_shape=(2, 2)
    )
    model.outputs(np.full((1, 2, 2), 255.0))
    with pytest.raises(InputError, match=r"pictures of 0 to 0.5; this model takes pixels of 0 to 255"):
        model.outputs(np.full((1, 2, 2), 0.5))


def test_no_rows_give_no_predictions():
    assert small().predict(np.zeros((0, 6))).shape == (0,)


def test_a_regression():
    W = np.array([[2.0], [3.0]], np.float32)
    model = Model(params=[(W, np.array([1.0], np.float32))], task="regression")
    np.testing.assert_allclose(model.predict(np.array([[1.0, 1.0], [0.0, 2.0]])), [6.0, 7.0])
    figures = model.evaluate(np.array([[1.0, 1.0], [0.0, 2.0]]), np.array([6.0, 9.0]))
    assert figures["rmse"] == pytest.approx(np.sqrt(2))
    assert figures["mae"] == pytest.approx(1)
    with pytest.raises(InputError, match="no probabilities"):
        model.predict_proba(np.zeros((1, 2)))


def test_a_model_is_told_in_one_line():
    assert repr(Model([(np.zeros((3, 4)), np.zeros(4)), (np.zeros((4, 2)), np.zeros(2))], ("a", "b"))) == (
        "Model(classification, 3 - 4 - 2, relu)"
    )


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


def altered(tmp_path, **changes):
    """A file whose header says something else."""
    path = tmp_path / "m.safetensors"
    small().save(path)
    arrays = safetensors.numpy.load_file(path)
    with safetensors.safe_open(path, "np") as file:
        header = json.loads(file.metadata()["mlpax"]) | changes
    safetensors.numpy.save_file(arrays, path, {"mlpax": json.dumps(header)})
    return path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 2}, "upgrade"),
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
        ({"scaling": {"shift": float("nan"), "scale": 1}}, "scaling"),
        ({"scaling": {"shift": 1}}, "scaling"),
        ({"scaling": {"shift": 1, "scale": 10**400}}, "damaged"),
        ({"image_shape": [2, 4]}, "image shape"),
        ({"metrics": {"a": "b"}}, "metrics"),
        ({"recipe": []}, "recipe"),
    ],
)
def test_headers_that_do_not_fit_are_refused(tmp_path, changes, words):
    with pytest.raises(ModelFileError, match=words):
        load(altered(tmp_path, **changes))


def test_weights_that_are_not_finite_are_refused(tmp_path):
    model = small()
    model.params[0][0][0, 0] = np.nan
    model.save(tmp_path / "m.safetensors")
    with pytest.raises(ModelFileError, match="NaN"):
        load(tmp_path / "m.safetensors")


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
