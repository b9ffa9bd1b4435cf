"""scikit-learn's own tests of its MLP, with our classes in place of its own."""

import importlib.util
from unittest import mock

import pytest
from sklearn import neural_network

import mlpax

# What they test that is not ours to have, each with the reason.
EXCEPTIONS = {
    "test_gradient": "calls the private _loss_grad_lbfgs; test_full_batch.py compares our gradients",
}


def collected():
    """The tests of scikit-learn's file, which finds our classes where it imports its own."""
    package = importlib.util.find_spec("sklearn.neural_network.tests")
    path = f"{package.submodule_search_locations[0]}/test_mlp.py"
    spec = importlib.util.spec_from_file_location("scikit_learns_test_mlp", path)
    module = importlib.util.module_from_spec(spec)
    with mock.patch.multiple(
        neural_network, MLPClassifier=mlpax.MLPClassifier, MLPRegressor=mlpax.MLPRegressor
    ):
        spec.loader.exec_module(module)
    assert module.MLPClassifier is mlpax.MLPClassifier
    return {name: test for name, test in vars(module).items() if name.startswith("test_")}


TESTS = collected()
globals().update({name: test for name, test in TESTS.items() if name not in EXCEPTIONS})

pytestmark = pytest.mark.filterwarnings("default")  # they warn where scikit-learn's do


@pytest.fixture
def global_random_seed():
    return 42
