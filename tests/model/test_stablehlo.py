"""A model as a StableHLO program answers what the model answers."""

import itertools

import jax
import numpy as np
import polars as pl
import pytest

from mlpax.data.columns import fit_columns
from mlpax.engine.forward import Network
from mlpax.engine.rows import Scaling
from mlpax.errors import InputError, MlpaxError
from mlpax.model import stablehlo
from mlpax.model.model import Calibration, Model, Target


def network(inputs, outputs, embeddings=(), seed=0):
    generator = np.random.default_rng(seed)
    tables = [generator.normal(0, 1, (codes, 3)).astype(np.float32) for codes in embeddings]
    sizes = inputs + 2 * len(tables), 6, outputs
    params = [
        (generator.normal(0, 1, (n, m)).astype(np.float32), generator.normal(0, 1, m).astype(np.float32))
        for n, m in itertools.pairwise(sizes)
    ]
    return Network(params, "silu", tables)


def answered(model, X):
    """Return what the program answers, read back as a user would."""
    return np.asarray(jax.export.deserialize(bytearray(stablehlo.to_stablehlo(model))).call(X))


def test_pictures_of_any_number():
    target = Target(classes=("a", "b", "c"))
    networks = tuple(network(20, 3, seed=seed) for seed in range(3))
    model = Model(
        networks, (target,), scaling=Scaling(120.0, 0.02), image_shape=(4, 5), calibration=Calibration(1.7)
    )
    for rows in (1, 7):
        X = np.random.default_rng(rows).integers(0, 256, (rows, 4, 5)).astype(np.uint8)
        np.testing.assert_allclose(answered(model, X), model.predict_proba(X), atol=1e-6)


def test_values_and_a_link():
    targets = tuple(Target(name, "regression", link="exp") for name in "uv")
    model = Model((network(4, 2), network(4, 2, seed=1)), targets)
    X = np.random.default_rng(0).normal(0, 0.3, (9, 4)).astype(np.float32)
    np.testing.assert_allclose(answered(model, X), model.outputs(X), rtol=1e-5)


def test_the_inputs_of_a_table_with_embeddings_and_folds():
    frame = pl.DataFrame({"x": [float(i) for i in range(300)], "c": [f"level {i % 90}" for i in range(300)]})
    columns = fit_columns(frame)
    networks = tuple(network(2, 2, columns.embeddings, seed) for seed in range(4))
    model = Model(networks, (Target(classes=("n", "y")),), columns=columns, fold_columns=(columns,))
    X = model.inputs(frame[:20])
    assert X.shape == (20, 4)
    np.testing.assert_allclose(answered(model, X), model.predict_proba(frame[:20]), atol=1e-6)
    assert stablehlo.difference(model, stablehlo.to_stablehlo(model)) < 1e-5


def test_a_program_that_differs_from_its_model_is_told():
    first, other = (Model((network(4, 1, seed=seed),), (Target(task="regression"),)) for seed in (0, 1))
    with pytest.raises(MlpaxError, match="an error in mlpax"):
        stablehlo.difference(first, stablehlo.to_stablehlo(other))


def test_a_missing_package_is_named(monkeypatch):
    def serialize(self):
        raise ImportError("flatbuffers")

    monkeypatch.setattr(jax.export.Exported, "serialize", serialize)
    with pytest.raises(InputError, match=r"pip install 'mlpax\[export\]'"):
        stablehlo.to_stablehlo(Model((network(4, 1),), (Target(task="regression"),)))
