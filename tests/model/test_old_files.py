"""Model files that the first version wrote: they load, and predict what they predicted then."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mlpax.data import named_sets
from mlpax.model.model_file import load

OLD = Path(__file__).parent / "format_1"
HOUSES = OLD.parents[1] / "runs" / "format_1" / "houses.csv"


def recorded(name):
    return np.load(OLD / f"{name}.npy")


def test_digits():
    model = load(OLD / "digits.safetensors")
    assert len(model.classes) == 10
    outputs = model.forward(named_sets.load("digits").X_test[:20])
    np.testing.assert_allclose(outputs, recorded("digits"), rtol=1e-4, atol=1e-4)


def test_classifier_of_a_table():
    """Its columns are a number with missing cells, a date, categories and a constant."""
    probabilities = load(OLD / "classifier.safetensors").predict_proba(pl.read_csv(HOUSES))
    np.testing.assert_allclose(probabilities, recorded("classifier"), atol=1e-4)


@pytest.mark.parametrize("as_batch", [slice(None), slice(5)])
def test_regressor_of_a_table(as_batch):
    values = load(OLD / "regressor.safetensors").predict(pl.read_csv(HOUSES)[as_batch])
    np.testing.assert_allclose(values, recorded("regressor")[as_batch], rtol=1e-4)


def test_regression_with_two_targets():
    model = load(OLD / "two_targets.safetensors")
    np.testing.assert_allclose(
        model.predict(np.load(OLD / "two_targets_X.npy")), recorded("two_targets"), rtol=1e-4, atol=1e-4
    )
