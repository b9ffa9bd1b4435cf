"""The native library beside XLA: the same weights, losses and figures, for any number of threads."""

import functools
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpax.data.dataset import Dataset
from mlpax.engine import training
from mlpax.engine.metrics import measure
from mlpax.engine.native import epoch as native
from mlpax.engine.native import library
from mlpax.engine.plan import ACTIVATIONS, Hyper, Objective, Plan
from mlpax.engine.rows import orders_of, place
from mlpax.engine.table_network import initial_table_params
from mlpax.engine.training import Training, backend_for
from mlpax.engine.weights import draw_weights
from mlpax.engine.xla import epoch as xla
from mlpax.engine.xla.losses import LOSSES, METRICS
from mlpax.errors import DivergedError, InputError
from mlpax.model.fit_model import fit_model
from mlpax.recipes import Recipe

pytestmark = pytest.mark.skipif(library.missing() != "", reason=library.missing())

SIZES, ROWS, BATCH, EPOCHS = (9, 40, 21, 4), 90, 16, 3
BY_ADAM = ("adam", "adamw", "rmsprop", "lion")


@functools.cache
def data_for(loss, sizes=SIZES, pixels=False, classes=()):
    """Rows, the last minibatch of them padded; some weigh nothing."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((ROWS, sizes[0])).astype(np.float32)
    scaling = {}
    if pixels:
        X = rng.integers(0, 256, (ROWS, sizes[0]), np.uint8)
        scaling = {"shift": 100.0, "scale": 1 / 60}
    match loss:
        case "cross_entropy":
            y = rng.integers(0, classes or sizes[-1], (ROWS, len(classes)) if classes else ROWS)
        case "binary_cross_entropy":
            y = rng.integers(0, 2, (ROWS, sizes[-1])).astype(np.float32)
        case _:
            y = rng.poisson(2, (ROWS, sizes[-1])).astype(np.float32)
    weight = rng.random(ROWS).astype(np.float32) * (np.arange(ROWS) % 7 > 0)
    return place(X, y, batch_size=BATCH, weight=weight, **scaling)


def plan_and_hyper(**settings):
    names = set(Plan.__dataclass_fields__)
    plan = Plan(
        **{"batch_size": BATCH, "schedule": "cosine"} | {k: v for k, v in settings.items() if k in names}
    )
    rate = 0.003 if plan.optimizer in BY_ADAM else 0.005 if "poisson" in plan.loss else 0.05
    hyper = Hyper(
        learning_rate=rate, momentum=0.9, beta_2=0.99, epsilon=1e-4, penalty=0.3, weight_decay=0.01,
        clip_norm=0.5, label_smoothing=0.1, epochs=EPOCHS, warmup=0.2, dropout=0.3,
    )  # fmt: skip
    return plan, hyper


def trained_natively(plan, hyper, data, sizes=SIZES, seed=0):
    state = native.initial_state(draw_weights(sizes, np.random.default_rng(1), "he"), plan, seed)
    call = native.caller(data, None, plan, hyper, orders_of(data, 3), state)
    history = []
    while int(state.epoch) < hyper.epochs:
        state, figures, _ = call(state, hyper.epochs - int(state.epoch))
        history += [dict(zip(figures, row, strict=True)) for row in zip(*figures.values(), strict=True)]
    return state, history


def trained_by_xla(plan, hyper, data, sizes=SIZES, dtype=np.float32):
    def of_dtype(a):
        return a.astype(dtype) if a.dtype == np.float32 else a

    with jax.enable_x64(dtype == np.float64):
        run = jax.jit(functools.partial(xla.epoch, plan=plan))
        params = jax.tree.map(of_dtype, draw_weights(sizes, np.random.default_rng(1), "he"))
        state, history = xla.initial_state(params, plan, dtype=dtype), []
        rows = jax.tree.map(of_dtype, data)
        for k in range(hyper.epochs):
            state, figures = run(state, rows, None, orders_of(data, 3)(k, 1)[0], hyper)
            history.append({name: float(value) for name, value in figures.items()})
        return jax.device_get(state), history


def assert_same(settings, sizes=SIZES, pixels=False, dtype=np.float32):
    """The native library's float32 beside XLA's arithmetic."""
    plan, hyper = plan_and_hyper(**settings)
    data = data_for(plan.loss, sizes, pixels, plan.classes)
    ours, our_history = trained_natively(plan, hyper, data, sizes)
    theirs, their_history = trained_by_xla(plan, hyper, data, sizes, dtype)
    for (W, b), (V, c) in zip(ours.params, theirs.params, strict=True):
        np.testing.assert_allclose(W, V, rtol=2e-4, atol=5e-5)
        np.testing.assert_allclose(b, c, rtol=2e-4, atol=5e-5)
    for row, other in zip(our_history, their_history, strict=True):
        assert row == pytest.approx(other, rel=2e-5, abs=2e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation):
    assert_same({"activation": (activation, "relu"), "optimizer": "nesterov"})


@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_losses(loss, summed):
    summed &= loss != "cross_entropy"
    assert_same({"loss": loss, "summed": summed, "activation": "tanh", "optimizer": "momentum",
                 "figures": ("train_loss",)})  # fmt: skip


@pytest.mark.parametrize("classes", [(4, 2, 3), (2,) * 9, (20, 33, 2)], ids=str)
def test_several_targets_of_classes(classes):
    figures = ("train_loss", "train_accuracy", "train_log_loss")
    sizes = (9, 40, sum(classes))
    assert_same(
        {"classes": classes, "activation": "tanh", "optimizer": "momentum", "figures": figures}, sizes
    )
    assert_same({"classes": classes, "optimizer": "sgd", "penalty": True}, (9, sum(classes)))


def test_a_label_beyond_the_classes_of_its_target_is_refused():
    plan, hyper = plan_and_hyper(classes=(2, 3))
    params = draw_weights((4, 5), np.random.default_rng(0), "he")
    y = np.tile([[1, 2], [2, 1]], (BATCH, 1))
    data = place(np.zeros((len(y), 4), np.float32), y, batch_size=BATCH)
    with pytest.raises(InputError, match="labels 1 to 2; the network has 2 classes"):
        library.fit_of(data, plan, hyper, params, 0, 1)


TERMS = ({}, {"penalty": True}, {"decay": True}, {"clipping": True},
         {"penalty": True, "decay": True, "clipping": True})  # fmt: skip


@pytest.mark.parametrize("terms", TERMS, ids=str)
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop", "lion"])
def test_optimizers(optimizer, terms):
    assert_same({"optimizer": optimizer, "activation": "gelu", **terms})


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "adam", "epsilon_hat": True, "penalty": True},
        {"optimizer": "momentum", "sums_steps": True, "penalty": True},
        {"optimizer": "nesterov", "sums_steps": True},
        {"schedule": "one_cycle"},
        {"schedule": "linear"},
        {"schedule": "cosine_log"},
        {"schedule": "invscaling"},
        {"schedule": "plateau", "monitor": "train_accuracy", "figures": ("train_accuracy",)},
        {"stopping": "tolerance", "keeps_best": False},
    ],
    ids=str,
)
def test_scikit_learns_forms_and_courses_of_the_rate(settings):
    assert_same(settings)


@pytest.mark.parametrize("sizes", [(64, 32, 10), (63, 32, 10), (7, 4), (5, 3, 2, 3, 2)], ids=str)
def test_shapes_and_pixels(sizes):
    assert_same({"optimizer": "nesterov", "penalty": True}, sizes, pixels=True)
    assert_same({"optimizer": "sgd"}, sizes)


@st.composite
def plans(draw):
    """A network's sizes and a plan for it. Lion is left out: its step is a sign, which rounding may turn."""
    hidden = draw(st.lists(st.integers(1, 40), max_size=3))
    loss = draw(st.sampled_from(sorted(LOSSES)))
    names = ("penalty", "decay", "clipping", "epsilon_hat", "sums_steps")
    chosen = {name: draw(st.booleans()) for name in names} | {
        "loss": loss,
        "summed": loss != "cross_entropy" and draw(st.booleans()),
        "activation": tuple(draw(st.sampled_from(ACTIVATIONS)) for _ in hidden),
        "optimizer": draw(st.sampled_from(["sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop"])),
        "schedule": draw(st.sampled_from(["constant", "linear", "one_cycle", "invscaling"])),
    }
    return chosen, (draw(st.integers(1, 30)), *hidden, draw(st.integers(1, 20))), draw(st.booleans())


@pytest.mark.parametrize("count", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_random_plans_beside_float64(count):
    @settings(max_examples=count)
    @given(plans())
    def check(case):
        assert_same(*case, dtype=np.float64)

    check()


@pytest.mark.parametrize(("loss", "metrics"), [
    ("cross_entropy", ("accuracy", "log_loss")), ("binary_cross_entropy", ("subset_accuracy",)),
    ("squared_error", ("rmse", "mae", "r2")), ("poisson_deviance", ("mae", "r2")),
])  # fmt: skip
def test_figures(loss, metrics):
    assert_same({"loss": loss, "figures": tuple(f"train_{name}" for name in metrics)})


def test_every_metric_has_a_twin():
    data = data_for("squared_error")
    plan, _ = plan_and_hyper(loss="squared_error")
    outputs = np.zeros((int(data.counted), SIZES[-1]), np.float32)
    for name in METRICS:
        of = data_for("cross_entropy") if name in ("accuracy", "log_loss") else data
        assert np.isfinite(measure(name, outputs, of, plan))


@pytest.mark.parametrize("settings", [
    {"optimizer": "adam", "penalty": True, "clipping": True, "dropout": True}, {"optimizer": "sgd"},
], ids=["all terms", "sgd"])  # fmt: skip
@pytest.mark.parametrize("sizes", [(30, 40, 24, 6), (9, 5), (20, 200, 3), (20, 24, 12)], ids=str)
def test_bits_do_not_depend_on_the_threads(monkeypatch, sizes, settings):
    plan, hyper = plan_and_hyper(**settings)
    data, found = data_for("cross_entropy", sizes), set()
    for threads in (1, 2, 3, 8):
        monkeypatch.setattr(library, "threads_for", lambda *of, threads=threads: threads)
        state, history = trained_natively(plan, hyper, data, sizes, seed=5)
        bits = b"".join(array.tobytes() for array in native.arrays_of(state).values())
        found.add((bits, str(history)))
    assert len(found) == 1


def test_dropout_drops_the_share_that_it_should():
    """The hidden units are all 1: each is 0, or 1 / (1 - share), and its gradient is the minibatch's mean."""
    rows, share = 4096, 0.25
    plan = Plan(dropout=True, loss="squared_error", activation="identity", batch_size=rows, keeps_best=False)
    hyper = Hyper(dropout=share, learning_rate=1.0)
    data = place(np.ones((rows, 1), np.float32), np.zeros((rows, 1), np.float32), batch_size=rows)
    hidden = np.ones((1, 64), np.float32), np.zeros(64, np.float32)
    last = np.zeros((64, 1), np.float32), np.ones(1, np.float32)
    state = native.initial_state([hidden, last], plan, 1)
    state, *_ = native.caller(data, None, plan, hyper, None, state)(state, 1)
    means = -state.params[1][0]
    assert means.mean() == pytest.approx(1, abs=0.01)
    assert means.std() == pytest.approx((share / (1 - share) / rows) ** 0.5, rel=0.3)


def test_outputs_are_the_forward_pass(monkeypatch):
    for sizes in ((5, 3), (9, 40, 21, 4)):
        data = data_for("cross_entropy", sizes)
        params = draw_weights(sizes, np.random.default_rng(1), "he")
        plan, hyper = plan_and_hyper(activation="mish")
        for threads in (1, 3):
            fit = library.fit_of(data, plan, hyper, params, 0, threads)
            found, expected = library.outputs(params, fit, ROWS), oracle(params, data.X[:ROWS])
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def oracle(params, X):
    """The outputs in float64."""
    X = X.astype(np.float64)
    for W, b in params[:-1]:
        z = X @ W + b
        X = z * np.tanh(np.logaddexp(0, z))
    W, b = params[-1]
    return X @ W + b


# ---- the choice of the backend


def test_a_fit_needs_no_jax():
    alone = (
        "import sys; from mlpax import MLPClassifier; import numpy as np;"
        "X = np.random.default_rng(0).normal(size=(60, 4)); y = (X[:, 0] > 0).astype(int);"
        "m = MLPClassifier(max_iter=3, tol=0).fit(X, y); m.predict(X); m.predict_proba(X);"
        "sys.exit(' '.join({'jax', 'optax', 'polars', 'matplotlib'} & set(sys.modules)) or None)"
    )
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", alone], capture_output=True, text=True,
                         env=os.environ | {"MLPAX_BACKEND": "auto"})  # fmt: skip
    assert (run.returncode, run.stderr) == (0, "")


def test_training_needs_no_jax(tmp_path):
    alone = f"""
import sys
from mlpax.cli.main import main
try:
    main(["train", "digits", "--epochs", "2", "--quiet", "--out", {str(tmp_path / "run")!r}])
except SystemExit as end:
    assert not end.code, end.code
sys.exit(" ".join({{"jax", "optax", "polars"}} & set(sys.modules)) or None)
"""
    run = subprocess.run([sys.executable, "-c", alone], capture_output=True, text=True,
                         env=os.environ | {"MLPAX_BACKEND": "auto"})  # fmt: skip
    assert (run.returncode, run.stderr) == (0, "")


def test_auto_takes_what_serves(monkeypatch):
    monkeypatch.delenv("MLPAX_BACKEND", raising=False)
    custom = Objective(lambda *of: of, lambda *of: of)
    assert backend_for("auto", Plan(), 2) == "native"
    assert backend_for("auto", Plan(network="table"), 2) == "native"
    assert backend_for("auto", Plan(network="table", clipping=True), 2) == "xla"
    assert backend_for("auto", Plan(network=custom), 2) == "xla"
    assert backend_for("auto", Plan(), 2, dtype=np.float64) == "xla"
    assert backend_for("auto", Plan(), 2, device="gpu") == "xla"
    assert backend_for("auto", Plan(), 65) == "xla"
    assert backend_for("xla", Plan(), 2) == "xla"
    monkeypatch.setenv("MLPAX_BACKEND", "xla")
    assert backend_for("auto", Plan(), 2) == "xla"
    assert backend_for("native", Plan(), 2) == "native"
    monkeypatch.setenv("MLPAX_BACKEND", "fortran")
    with pytest.raises(InputError, match="unknown MLPAX_BACKEND 'fortran'"):
        backend_for("auto", Plan(), 2)


@pytest.mark.parametrize(("plan", "more", "says"), [
    (Plan(network="table", clipping=True), {}, "clips no gradients of networks for tables"),
    (Plan(network=Objective(lambda *of: of, lambda *of: of)), {}, "no objectives of your own"),
    (Plan(), {"dtype": np.float64}, "not in float64"),
    (Plan(), {"device": "gpu:1"}, "gpu:1"),
])  # fmt: skip
def test_what_native_cannot_do_is_named(plan, more, says):
    with pytest.raises(InputError, match=f"backend 'native' cannot be taken: .*{says}.*'auto' takes XLA"):
        backend_for("native", plan, 2, **more)


@pytest.mark.parametrize("file", [None, b"", b"\x7fELF but torn"])
def test_a_library_that_is_missing_or_damaged_leaves_xla(monkeypatch, tmp_path, file):
    if file is not None:
        (tmp_path / "_library.abi3.so").write_bytes(file)
    monkeypatch.setattr(library, "__file__", str(tmp_path / "library.py"))
    library._loaded.cache_clear()
    try:
        monkeypatch.delenv("MLPAX_BACKEND", raising=False)
        assert library.missing()
        with nullcontext() if file is None else pytest.warns(UserWarning, match="is not used: it cannot be"):
            assert backend_for("auto", Plan(), 2) == "xla"
        with pytest.raises(InputError, match="backend 'native' cannot be taken"):
            backend_for("native", Plan(), 2)
    finally:
        library._loaded.cache_clear()


# ---- tables


def table_case(loss, codes, hidden, **settings):
    """A network for tables as after some training, its rows, and validation rows."""
    rng = np.random.default_rng(0)
    X = np.hstack([rng.standard_normal((ROWS, 7)), *(rng.integers(0, n, (ROWS, 1)) for n in codes)])
    y = rng.integers(0, 3, ROWS) if loss == "cross_entropy" else 5 + 2 * rng.standard_normal((ROWS, 1))
    classes, target = (3, (0.0, 1.0)) if loss == "cross_entropy" else (1, (5.0, 2.0))
    params = initial_table_params(7, codes, hidden, classes, target, rng)
    moved = {key: params[key] for key in ("embeddings", "scale", "layers")}
    moved = jax.tree.map(lambda p: (p + 0.1 * rng.standard_normal(p.shape)).astype(np.float32), moved)
    of_loss = "valid_log_loss" if loss == "cross_entropy" else "valid_rmse"
    plan, hyper = plan_and_hyper(
        network="table", loss=loss, activation="selu", monitor=of_loss, figures=(of_loss,), **settings
    )
    weight = rng.random(ROWS).astype(np.float32)
    data = place(X.astype(np.float32), y, batch_size=BATCH, weight=weight)
    valid = place(X[:30].astype(np.float32), y[:30], batch_size=BATCH)
    return params | moved, data, valid, plan, hyper


@pytest.mark.parametrize("settings", [
    {"optimizer": "adam", "schedule": "cosine_log"},
    {"optimizer": "adamw", "decay": True},
    {"optimizer": "nesterov", "decay": True},
    {"optimizer": "sgd"},
    {"optimizer": "rmsprop"},
    {"optimizer": "lion"},
], ids=str)  # fmt: skip
@pytest.mark.parametrize(
    ("codes", "hidden"), [((), (20, 16)), ((5, 300), (20, 16)), ((70,), (40,)), ((5, 30), ())], ids=str
)
@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_tables(loss, codes, hidden, settings):
    """Embeddings, the learned scale, and the parametrisation, beside XLA."""
    params, data, valid, plan, hyper = table_case(loss, codes, hidden, **settings)
    state = native.initial_state(params, plan)
    call = native.caller(data, valid, plan, hyper, orders_of(data, 3), state)
    run = jax.jit(functools.partial(xla.epoch, plan=plan))
    other = xla.initial_state(params, plan)
    for k in range(EPOCHS):
        state, figures, _ = call(state, 1)
        other, expected = run(other, data, valid, orders_of(data, 3)(k, 1)[0], hyper)
        assert {name: values[0] for name, values in figures.items()} == pytest.approx(
            {name: float(value) for name, value in expected.items()}, rel=2e-5, abs=2e-6
        )
    ours, theirs = training.arrays_of(state, Training(plan, hyper, None, "native")), xla.arrays_of(other)
    for name in theirs:
        if name.startswith("params/"):
            np.testing.assert_allclose(ours[name], theirs[name], rtol=2e-4, atol=5e-5, err_msg=name)


def test_codes_beyond_an_embedding_are_refused():
    params, data, _, plan, hyper = table_case("cross_entropy", (5, 30), (20,))
    data.X[3, -1] = 30
    with pytest.raises(AssertionError, match="codes that there are not"):
        library.fit_of(data, plan, hyper, params, 0, 1)


# ---- safety


def test_labels_beyond_the_outputs_are_refused():
    """The library would read beyond the outputs."""
    data = data_for("cross_entropy", (9, 7))
    plan, hyper = plan_and_hyper()
    with pytest.raises(InputError, match="labels 0 to 6; the network has 4 classes"):
        library.fit_of(data, plan, hyper, draw_weights(SIZES, np.random.default_rng(1), "he"), 0, 1)


def test_orders_beyond_the_rows_are_refused():
    data = data_for("cross_entropy")
    plan, hyper = plan_and_hyper()
    state = native.initial_state(draw_weights(SIZES, np.random.default_rng(1), "he"), plan)
    for odd in (len(data.X), -1):
        order = np.full((1, len(data.X)), odd)
        call = native.caller(data, None, plan, hyper, lambda done, count, order=order: order, state)
        with pytest.raises(AssertionError):
            call(state, 1)


def test_a_divergence_is_found():
    recipe = Recipe(hidden=(8,), epochs=3, batch_size=16, learning_rate=1e20, backend="native")
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (80, 8), np.uint8), rng.integers(0, 3, 80).astype(np.int32)
    with pytest.raises(DivergedError, match=r"the loss became (inf|nan) in epoch 1"):
        fit_model(Dataset("blobs", X[:60], y[:60], X[60:], y[60:], ("a", "b", "c")), recipe)


def test_ctrl_c_is_heard_at_once():
    """The first epoch would take minutes."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((20_000, 512)).astype(np.float32), rng.integers(0, 10, 20_000)
    data = place(X, y, batch_size=100)
    sizes = (512, 2048, 2048, 10)
    plan, hyper = plan_and_hyper(optimizer="adam", batch_size=100)
    state = native.initial_state(draw_weights(sizes, rng, "he"), plan)
    call = native.caller(data, None, plan, hyper, None, state)
    sent = []

    def interrupt():
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(0.5, interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        call(state, 1)
    assert time.monotonic() - sent[0] < 1  # a step, and slack for a busy machine
    assert np.isfinite(state.params[0][0]).all()


def test_a_forked_process_trains():
    """joblib's multiprocessing forks a process that has trained by several threads."""
    alone = """
import os, signal
import numpy as np
from mlpax import MLPClassifier
X = np.random.default_rng(0).normal(size=(600, 300))
y = (X[:, 0] > 0).astype(int)
fit = lambda: MLPClassifier(300, max_iter=2, tol=0, random_state=0).fit(X, y).loss_
loss = fit()
child = os.fork()
if not child:
    signal.alarm(30)
    os._exit(fit() != loss)
os._exit(os.waitpid(child, 0)[1])
"""
    environment = os.environ | {"MLPAX_BACKEND": "native", "MLPAX_THREADS": "2"}
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", alone], env=environment)
    assert run.returncode == 0


def test_the_number_of_threads(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("MLPAX_THREADS", "3")
    assert library.available() == 3
    assert library.threads_for((784, 128, 10), 64) == 3
    assert library.threads_for((784, 128, 10), 64, 2) == 2
    assert library.threads_for((64, 100, 10), 200) == 1  # a step of 9 million operations
    monkeypatch.delenv("MLPAX_THREADS")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as joblib sets it for its workers
    assert library.available() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")  # OpenMP's list for nested teams
    assert library.available() == 4
    monkeypatch.setenv("MLPAX_THREADS", "two")
    with pytest.raises(InputError, match="MLPAX_THREADS 'two' is no number of threads"):
        library.available()


def test_denormals_are_flushed_and_the_mode_is_restored():
    tiny = np.float32(1e-39)
    before = tiny * np.float32(0.5)
    plan, hyper = plan_and_hyper()
    trained_natively(plan, hyper, data_for("cross_entropy"))
    assert tiny * np.float32(0.5) == before != 0
    assert training.device_kind("native") == "cpu"
