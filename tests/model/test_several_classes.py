"""A model of several targets of classes: each target as a model of its own would answer."""

import dataclasses
import json
import re

import numpy as np
import polars as pl
import pytest
import scipy.special

from mlpax import load
from mlpax.bootstrap import intervals_of_classes
from mlpax.engine.forward import Network
from mlpax.errors import InputError, ModelFileError
from mlpax.model.dependence import partial_dependence
from mlpax.model.explain import explain
from mlpax.model.folds import joined
from mlpax.model.model import Calibration, Model, Target
from mlpax.model.model_file import load as load_file
from mlpax.model.onnx_graph import difference, to_onnx
from mlpax.model.tensors import head
from mlpax.scores import classification

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 4)).astype(np.float32)
COLOURS, YEARS = ("blue", "green", "red"), (1990, 2000)
TEMPERATURES = 1.5, 0.7
COLOUR, YEAR = np.arange(40) % 3, np.arange(40) % 2
TRUTH = np.stack([np.array(COLOURS, object)[COLOUR], np.array(YEARS, object)[YEAR]], axis=1)


def network(seed=1):
    rng = np.random.default_rng(seed)
    W = rng.normal(size=(4, 5)).astype(np.float32)
    return Network([(W, rng.normal(size=5).astype(np.float32))])


def model(*networks, temperature=TEMPERATURES, names=("colour", "year")):
    targets = Target(names[0], classes=COLOURS), Target(names[1], classes=YEARS)
    return Model(networks or (network(),), targets, calibration=Calibration(temperature))


def alone(k, *networks):
    """The model of one target, of whose network the other outputs are cut off."""
    own = (slice(0, 3), slice(3, 5))[k]
    parts = [Network([(W[:, own], b[own])]) for W, b in (of.params[0] for of in networks or (network(),))]
    return Model(tuple(parts), (model().targets[k],), calibration=Calibration(TEMPERATURES[k]))


def test_a_row_by_hand():
    W, b = np.zeros((1, 5), np.float32), np.log(np.array([2, 1, 1, 3, 1], np.float32))
    own = dataclasses.replace(model(Network([(W, b)])), calibration=None)
    np.testing.assert_allclose(own.predict_proba(np.zeros((1, 1))), [[0.5, 0.25, 0.25, 0.75, 0.25]])
    assert own.predict(np.zeros((1, 1))).tolist() == [["blue", 1990]]
    figures = own.evaluate(np.zeros((2, 1)), np.array([["blue", 2000], ["red", 1990]], object))
    assert (figures["accuracy"], figures["subset_accuracy"]) == (0.5, 0)
    assert figures["log_loss"] == pytest.approx((np.log(2) + np.log(4) + np.log(4) + np.log(4 / 3)) / 4)


@pytest.mark.parametrize("networks", [(), (network(1), network(2), network(3))], ids=["one", "ensemble"])
def test_each_target_is_answered_as_alone(networks):
    both = model(*networks)
    p = both.by_target(both.predict_proba(X))
    members = both.by_target(both.predict_proba(X, members=True))
    figures, intervals = both.evaluate(X, TRUTH), both.score_intervals(both.outputs(X), TRUTH)
    for k, name in enumerate(("colour", "year")):
        one = alone(k, *networks)
        np.testing.assert_allclose(p[k], one.predict_proba(X), rtol=1e-5)
        np.testing.assert_allclose(members[k], one.predict_proba(X, members=True), rtol=1e-5)
        assert both.predict(X)[:, k].tolist() == one.predict(X).tolist()
        for score, value in one.evaluate(X, TRUTH[:, k]).items():
            assert figures["targets"][name][score] == (
                value if score in ("f1", "confusion") else pytest.approx(value)
            )
        of_one = intervals_of_classes((COLOUR, YEAR)[k], p[k], one.classes)
        assert {f"{score}/{name}": found for score, found in of_one.items()}.items() <= intervals.items()
    assert set(intervals) > {"accuracy", "log_loss", "subset_accuracy"}
    hits = (both.predict(X) == TRUTH).all(axis=1)
    assert figures["subset_accuracy"] == pytest.approx(hits.mean())
    score = both.score(both.outputs(X), np.stack([COLOUR, YEAR], axis=1))
    assert score == pytest.approx({"accuracy": figures["accuracy"]})


def test_weights_of_rows_and_intervals_of_the_means():
    weight = np.arange(40.0)
    found = model().evaluate(X, TRUTH, weight=weight)
    p = alone(0).predict_proba(X)
    assert found["targets"]["colour"] == classification(COLOUR, p, COLOURS, weight)
    hits = (model().predict(X) == TRUTH).all(axis=1)
    assert found["subset_accuracy"] == pytest.approx(np.average(hits, weights=weight))
    low, high = model().score_intervals(model().outputs(X), TRUTH)["subset_accuracy"]
    assert low <= hits.mean() <= high


def test_a_truth_that_does_not_fit_is_refused():
    with pytest.raises(InputError, match=r"y has shape \(40,\); the model answers with \(40, 2\)"):
        model().evaluate(X, COLOUR)
    wrong = TRUTH.copy()
    wrong[3, 1] = 1995
    with pytest.raises(InputError, match=r"y holds 1995, which is none .* of 'year' \(1990, 2000\)"):
        model().evaluate(X, wrong)


def test_predictions_have_columns_by_target(tmp_path):
    own = model(network(1), network(2))
    own.write_predictions([X[:30], X[30:]], tmp_path / "p.csv", disagreement=True)
    found = pl.read_csv(tmp_path / "p.csv")
    assert found.columns == [
        "prediction_colour", "prediction_year", "probability_colour=blue", "probability_colour=green",
        "probability_colour=red", "probability_year=1990", "probability_year=2000", "disagreement",
    ]  # fmt: skip
    assert found.select("prediction_colour", "prediction_year").rows() == [
        *map(tuple, own.predict(X).tolist())
    ]
    np.testing.assert_allclose(found[:, 2:7].to_numpy(), own.predict_proba(X), atol=1e-6)
    each = own.by_target(own.predict_proba(X, members=True))
    deviations = [p.std(axis=0)[np.arange(40), own.by_target(own.outputs(X))[k].argmax(axis=1)]
                  for k, p in enumerate(each)]  # fmt: skip
    np.testing.assert_allclose(found["disagreement"], np.mean(deviations, axis=0), atol=1e-6)
    confused = model(names=("a=b", "a"))
    confused.write_predictions([X], tmp_path / "n.csv")
    assert pl.read_csv(tmp_path / "n.csv").columns[:3] == [
        "prediction_0",
        "prediction_1",
        "probability_0=blue",
    ]


def test_intervals_are_of_one_target():
    with pytest.raises(InputError, match="intervals are of one target, and this model has several"):
        model().predict_set(X)


def test_the_file_keeps_everything(tmp_path):
    own = model(network(1), network(2))
    own.save(tmp_path / "m.safetensors")
    found = load(tmp_path / "m.safetensors")
    assert (found.targets, found.calibration) == (own.targets, own.calibration)
    np.testing.assert_array_equal(found.predict_proba(X), own.predict_proba(X))


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("targets", 0, "classes"), ["a", "b"], "its classes do not fit its outputs"),
        (("targets", 0, "classes"), ["a", "b", "a"], "it has a class twice"),
        (("targets", 1, "classes"), ["a", 1], "classes"),
        (("targets", 1, "link"), "exp", "its link is 'exp'"),
        (("targets", 1, "task"), "regression", "other targets beside a classification"),
        (("targets", 0, "task"), "regression", "its targets do not fit its outputs"),
        (
            ("targets", 0),
            {"name": "", "task": "classification", "classes": [], "link": "identity"},
            "classes",
        ),
        (("calibration", "temperature"), 1.5, "its temperatures are not one for each target"),
        (("calibration", "temperature"), [1.5, 1, 1], "its temperatures are not one for each target"),
        (("calibration", "temperature"), [1.5, 0], "temperature"),
        (("calibration", "temperature"), [1.5, 1e-40], "its temperature is 0 as float32"),
        (("calibration", "temperature"), [1e39, 1.5], "beyond float32"),
        (("image_shape",), [2, 2], "its pictures have several targets"),
    ],
    ids=str,
)
def test_headers_that_do_not_fit_are_refused(tmp_path, place, value, words):
    path = tmp_path / "m.safetensors"
    model().save(path)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["mlpax"])
    record = header
    for key in place[:-1]:
        record = record[key]
    record[place[-1]] = value
    shapes = {name: array.shape for name, array in model()._arrays().items()}
    path.write_bytes(head(json.dumps(header), shapes) + content[8 + length :])
    with pytest.raises(ModelFileError, match=re.escape(words)) as caught:
        load_file(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("networks", [(), (network(1), network(2))], ids=["one", "ensemble"])
def test_an_onnx_graph_has_outputs_by_target(networks):
    own = model(*networks)
    graph = to_onnx(own)
    assert [output.name for output in graph.graph.output] == [
        "prediction_colour", "probabilities_colour", "prediction_year", "probabilities_year"
    ]  # fmt: skip
    assert difference(own, graph) < 1e-6


@pytest.mark.parametrize("networks", [(), (network(1), network(2))], ids=["one", "ensemble"])
def test_stablehlo(networks):
    pytest.importorskip("flatbuffers")
    from mlpax.model import stablehlo

    own = model(*networks)
    assert stablehlo.difference(own, stablehlo.to_stablehlo(own)) < 1e-6


def test_folds_are_joined_by_target():
    models = [model(network(k), temperature=(2.0**k, 1.0)) for k in range(2)]
    truth = np.stack([COLOUR, YEAR], axis=1)
    whole, figures = joined(models, [(X[:20], truth[:20]), (X[20:], truth[20:])])
    assert whole.calibration == Calibration((pytest.approx(2**0.5), pytest.approx(1)))
    assert whole.intervals is None
    p = np.concatenate([models[0].predict_proba(X[:20]), models[1].predict_proba(X[20:])])
    hits = [p[:, :3].argmax(axis=1) == COLOUR, p[:, 3:].argmax(axis=1) == YEAR]
    of_truth = [p[np.arange(40), COLOUR], p[np.arange(40), 3 + YEAR]]
    expected = {"fold_accuracy": np.mean(hits), "fold_log_loss": -np.mean(np.log(of_truth))}
    assert figures == pytest.approx(expected, rel=1e-5)


def test_rows_count_by_their_weights():
    """By hand: the second target of rows 0 and 1 is wrong; row 1 counts three times."""
    own, labels = model(network(0)), np.stack([COLOUR, YEAR], axis=1)[:3]
    probabilities = np.full((3, 5), 1e-3, np.float32)
    for row, (colour, year) in enumerate(labels):
        probabilities[row, [colour, 3 + (year if row == 2 else 1 - year)]] = 1
    outputs = np.log(probabilities)
    assert own.score(outputs, labels) == pytest.approx({"accuracy": 4 / 6})
    assert own.score(outputs, labels, np.array([1, 3, 1])) == pytest.approx({"accuracy": 3 / 5})
    with pytest.raises(InputError, match="weight is 0 in all of 3 rows to score; give some of them a weight"):
        own.score(outputs, labels, np.zeros(3))
    with pytest.raises(InputError, match=r"weight has shape \(2,\); give each of 3 rows a number >= 0"):
        own.score(outputs, labels, np.ones(2))


def test_the_first_target_is_explained():
    found, of_first = (explain(own, X[:1]) for own in (model(), alone(0)))
    assert found.columns == of_first.columns
    np.testing.assert_allclose(found.contributions, of_first.contributions, atol=1e-6)
    assert partial_dependence([(model(), X)], "x0") is None  # of arrays, which have no columns


def test_probabilities_are_scipys_softmax_of_each_target():
    z = model().outputs(X) / np.repeat(TEMPERATURES, (3, 2)).astype(np.float32)
    wanted = [scipy.special.softmax(part, axis=1) for part in (z[:, :3], z[:, 3:])]
    np.testing.assert_allclose(model().predict_proba(X), np.concatenate(wanted, axis=1), rtol=1e-5)
