"""The forward pass in NumPy and on a device, beside float64."""

import gc
import itertools
from typing import get_args

import numpy as np
import pytest
import scipy.sparse
import scipy.special

from conftest import NUMPY_ACTIVATIONS, in_float64, numpy_forward
from mlpax.engine import forward
from mlpax.engine.forward import Network
from mlpax.engine.rows import Scaling
from mlpax.engine.xla import prediction
from mlpax.recipes import Activation

RNG = np.random.default_rng(0)
SCALING = Scaling(1.5, 0.5)


def layers(*sizes, dtype=np.float32):
    return [
        (RNG.normal(size=(m, n)).astype(dtype), RNG.normal(size=n).astype(dtype))
        for m, n in itertools.pairwise(sizes)
    ]


def on_cpu(network, X, scaling):
    return prediction.outputs(network, X, scaling, "cpu")


def test_every_activation_of_a_recipe_is_known():
    assert {*get_args(Activation)} < {*forward.ACTIVATIONS}


@pytest.mark.parametrize("name", NUMPY_ACTIVATIONS)
def test_activations_match_their_formulas(name):
    """Far out, too: nothing overflows, and no warning is raised."""
    x = np.r_[np.linspace(-8, 8, 1001), -1e4, -100, -0.0, 100, 1e4]
    expected = NUMPY_ACTIVATIONS[name](x)
    np.testing.assert_allclose(forward.ACTIVATIONS[name](x.copy()), expected, rtol=1e-12, atol=1e-15)
    single = x.astype(np.float32)
    found = forward.ACTIVATIONS[name](single.copy())
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, NUMPY_ACTIVATIONS[name](single.astype(float)), rtol=2e-6, atol=4e-7)


def test_softmax_is_scipys():
    logits = RNG.normal(size=(50, 7)).astype(np.float32) * 100
    before = logits.copy()
    np.testing.assert_allclose(forward.softmax(logits), scipy.special.softmax(logits, axis=1), rtol=1e-6)
    np.testing.assert_allclose(
        forward.softmax(logits[:1]), scipy.special.softmax(logits[:1], axis=1), rtol=1e-6
    )
    np.testing.assert_array_equal(logits, before)


@pytest.mark.parametrize("outputs", [forward.outputs, on_cpu])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64])
def test_outputs_match_float64(outputs, dtype):
    network, X = Network(layers(6, 4, 5, 3), "tanh"), RNG.integers(0, 9, (300, 6)).astype(dtype)
    expected = numpy_forward(in_float64(network.params), (X.astype(float) - 1.5) * 0.5, "tanh")
    np.testing.assert_allclose(outputs(network, X, SCALING), expected, rtol=1e-5, atol=1e-5)
    assert outputs(network, X[:0], SCALING).shape == (0, 3)


@pytest.mark.parametrize("outputs", [forward.outputs, on_cpu])
def test_rows_in_blocks(outputs, monkeypatch):
    monkeypatch.setattr(forward, "BLOCK", 50)
    monkeypatch.setattr(prediction, "CHUNK", 8)
    network, X = Network(layers(6, 4, 3)), RNG.normal(size=(21, 6))
    expected = numpy_forward(in_float64(network.params), X)
    np.testing.assert_allclose(outputs(network, X, Scaling()), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("outputs", [forward.outputs, on_cpu])
def test_codes_become_their_embeddings(outputs):
    embeddings = [RNG.normal(size=shape).astype(np.float32) for shape in ((5, 2), (70, 3))]
    network = Network(layers(4 + 5, 8, 2), ("mish",), embeddings)
    assert (network.features, network.sizes) == (6, (9, 8, 2))
    codes = np.stack([RNG.integers(0, 5, 40), RNG.integers(0, 70, 40)], axis=1)
    X = np.hstack([RNG.normal(size=(40, 4)), codes]).astype(np.float32)
    inputs = np.hstack([X[:, :4], *(E[code] for E, code in zip(embeddings, codes.T, strict=True))])
    expected = numpy_forward(in_float64(network.params), inputs.astype(float), "mish")
    np.testing.assert_allclose(outputs(network, X, Scaling()), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [np.array, scipy.sparse.csr_array, scipy.sparse.csc_matrix])
@pytest.mark.parametrize("last", ["softmax", "logistic", "identity", "exp"])
def test_layers_of_an_estimator(kind, last):
    """In the type of the layers, with the last one's own function, sparse rows included."""
    X, params = RNG.normal(size=(20, 6)) * (RNG.random((20, 6)) < 0.3), layers(6, 4, 3, dtype=np.float64)
    functions = {"softmax": lambda x: scipy.special.softmax(x, axis=1), "exp": np.exp} | NUMPY_ACTIVATIONS
    found = forward.forward(params, kind(X), ("silu", last))
    np.testing.assert_allclose(found, functions[last](numpy_forward(params, X, "silu")), rtol=1e-12)
    assert found.dtype == np.float64


def test_a_device_forgets_the_weights_with_the_network():
    gc.collect()
    before = len(prediction._UPLOADED)
    network = Network(layers(6, 3))
    on_cpu(network, np.zeros((1, 6), np.float32), Scaling())
    assert len(prediction._UPLOADED) == before + 1
    del network
    gc.collect()
    assert len(prediction._UPLOADED) == before
