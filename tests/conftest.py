"""What all tests share: checked shapes, `--slow`, the data directory, and a network in float64 NumPy."""

import os
import shutil
import tempfile
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import scipy.special
from beartype import BeartypeConf, beartype
from hypothesis import HealthCheck, settings

# From here on beartype checks the shapes in the annotations of the modules that have any. Not of the
# others: it would refuse a wrong value before they say what is wrong with it. As in PEP 484, an int is a
# float.
SHAPED = ("mlpax.engine.xla.losses", "mlpax.engine.xla.network")
checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
jaxtyping.install_import_hook(SHAPED, "conftest.checked")

PROGRAMS = pytest.StashKey[str]()  # the folder of this session's compiled programs

# `jax_numpy_rank_promotion` stays at "allow", because `X @ W + b` adds a vector to a matrix on purpose;
# the per-example losses, where such a sum would be a mistake, are tested under "raise" (test_losses.py).
# `jax_debug_nans` likewise: a block of epochs marks those not run with NaN, losses must never make one.


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the tests marked slow, too")


def pytest_configure(config):
    """The same mutated files each time; 10,000 of each kind with `--slow`, and programs as users have them.

    Else the compiler's optimiser stays off, in processes begun by tests as well: a third of the time.
    The workers and the processes that tests start share one folder of compiled programs, which lasts as long
    as the session. Each program is then compiled once a session.
    """
    if not hasattr(config, "workerinput"):  # a worker inherits these
        config.stash[PROGRAMS] = folder = tempfile.mkdtemp(prefix="mlpax-tests-")
        os.environ |= {
            "JAX_COMPILATION_CACHE_DIR": folder,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
        }
    if not config.getoption("--slow"):
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"--xla_backend_optimization_level=0 {flags}"
    settings.register_profile(
        "mlpax",
        max_examples=10_000 if config.getoption("--slow") else 300,
        derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    settings.load_profile("mlpax")


def pytest_unconfigure(config):
    if folder := config.stash.get(PROGRAMS, None):
        shutil.rmtree(folder, ignore_errors=True)


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--slow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow; run with --slow"))


@pytest.fixture(autouse=True)
def numbers_of_its_own(request):
    """A module's generator starts anew for each test: no other test, nor their order, decides its numbers."""
    if hasattr(request.module, "RNG"):
        request.module.RNG.bit_generator.state = np.random.default_rng(0).bit_generator.state


@pytest.fixture(scope="session")
def data_dir():
    """The folder of the downloaded data sets, of which some tests read MNIST."""
    path = os.environ.get("MLPAX_DATA_DIR")
    if not path:
        pytest.skip("needs the downloaded data sets; set MLPAX_DATA_DIR")
    return Path(path)


@pytest.fixture
def mlpax(capsys, monkeypatch, tmp_path):
    """Run a command in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLPAX_DATA_DIR", raising=False)

    def run(*words):
        from mlpax.cli import main

        with pytest.raises(SystemExit) as exit_:
            main.main([str(word) for word in words])
        out, err = capsys.readouterr()
        return exit_.value.code, out, err

    return run


SELU = 1.0507009873554805, 1.6732632423543772
NUMPY_ACTIVATIONS = {
    "relu": lambda x: x * (x > 0),
    "tanh": np.tanh,
    "logistic": scipy.special.expit,
    "gelu": lambda x: x * scipy.special.ndtr(x),
    "silu": lambda x: x * scipy.special.expit(x),
    "selu": lambda x: SELU[0] * np.where(x > 0, x, SELU[1] * np.expm1(np.minimum(x, 0))),
    "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "identity": lambda x: x,
}


def in_float64(params):
    """The same network in float64 NumPy."""
    return [(np.asarray(W, np.float64), np.asarray(b, np.float64)) for W, b in params]


def numpy_forward(params, X, activation="relu"):
    for W, b in params[:-1]:
        X = NUMPY_ACTIVATIONS[activation](X @ W + b)
    W, b = params[-1]
    return X @ W + b


def numpy_step(params, X, y, w, lr, kept=1.0):
    """One step of gradient descent on the weighted cross-entropy of a relu network, by hand.

    `kept` multiplies the hidden units: 0 for one dropped, else 1 / (1 - rate).
    """
    layers = [X]  # each layer's inputs
    for W, b in params[:-1]:
        layers.append(np.maximum(0, layers[-1] @ W + b) * kept)
    log_p = scipy.special.log_softmax(layers[-1] @ params[-1][0] + params[-1][1], axis=1)
    rows = np.arange(len(y))
    share = w / (w.sum() or 1)
    loss = -np.sum(share * log_p[rows, y])
    delta = np.exp(log_p)
    delta[rows, y] -= 1
    delta *= share[:, None]
    stepped = []
    for (W, b), Z in zip(reversed(params), reversed(layers), strict=True):
        stepped.append((W - lr * Z.T @ delta, b - lr * delta.sum(axis=0)))
        delta = (delta @ W.T) * (Z > 0) * (kept if Z is not X else 1)
    return stepped[::-1], loss


def assert_close(params, expected, rtol=1e-5, atol=1e-6):
    assert len(params) == len(expected)
    for layer, oracle in zip(params, expected, strict=True):
        for p, q in zip(layer, oracle, strict=True):
            np.testing.assert_allclose(p, q, rtol=rtol, atol=atol)
