"""The engine against minibatches in float64 NumPy, and its promises: resume, early stop, one program."""

import gzip
import math
from itertools import islice

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics

from conftest import assert_close, in_float64, numpy_forward, numpy_step
from mlpax.engine import training as loop
from mlpax.engine.plan import Hyper, Objective, Plan, monitored
from mlpax.engine.rows import place, row_order
from mlpax.engine.training import (
    arrays_of,
    chosen,
    epochs,
    fit,
    initial_params,
    initial_state,
    state_of,
    training_of,
)
from mlpax.engine.xla.epoch import evaluate as xla_evaluate
from mlpax.engine.xla.epoch import run_epochs, run_pass
from mlpax.engine.xla.losses import cross_entropy, update
from mlpax.engine.xla.network import forward, initialize_weights
from mlpax.engine.xla.objective import dense_objective
from mlpax.errors import DivergedError, InputError
from mlpax.recipes import Recipe, article
from mlpax.screen import epoch_line

SIZES = (3, 5, 3)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 3)).astype(np.float32)
Y = (X @ RNG.normal(size=(3, 3))).argmax(axis=1)
W = RNG.uniform(0, 2, 64) * (np.arange(64) > 3)  # some rows weigh nothing

OBJECTIVE = dense_objective(metrics=("accuracy", "log_loss"))
# 50 rows in batches of 16: three full ones and one of two rows.
RECIPE = Recipe(
    batch_size=16, epochs=2, optimizer="sgd", learning_rate=0.3, schedule="constant", label_smoothing=0.0
)


@pytest.fixture(params=["an epoch a program", "a block a program"])
def mode(request, monkeypatch):
    """Both ways of running epochs, whatever the data's size."""
    monkeypatch.setattr(loop, "SMALL_EPOCH", math.inf if "block" in request.param else 0)
    return request.param


def rows(n=50, **options):
    return place(X[:n], Y[:n], **{"batch_size": 16} | options)


def how(data, valid=None, recipe=RECIPE, objective=OBJECTIVE):
    return training_of(recipe, data, valid, objective, objective.metrics)


def run(data, valid=None, recipe=RECIPE, objective=OBJECTIVE, params=None):
    """Every record and the last state."""
    params = initial_params(SIZES, recipe) if params is None else params
    training = how(data, valid, recipe, objective)
    history, state = [], initial_state(params, training, recipe.seed)
    for state, records in epochs(state, data, valid, training):
        history += records
    return history, state


def assert_same_bits(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


def without_seconds(history):
    return [{k: v for k, v in record.items() if k != "seconds"} for record in history]


# ---- the article's update


@pytest.mark.parametrize("sizes", [(3, 3), (3, 5, 3), (3, 5, 4, 3)])
def test_update_equals_numpy_at_any_depth(sizes):
    params = initialize_weights(sizes, np.random.default_rng(1), 0.5)
    expected, loss = numpy_step(in_float64(params), X, Y, np.ones(64), 0.7)
    stepped, value = jax.jit(update)(params, jnp.asarray(X), jnp.asarray(Y), 0.7)
    assert value == pytest.approx(loss, rel=1e-5)
    assert_close(stepped, expected)


def test_update_without_jit_at_the_articles_rate():
    params = initialize_weights(SIZES, np.random.default_rng(1), 0.5)
    expected, loss = numpy_step(in_float64(params), X, Y, np.ones(64), 0.01)
    stepped, value = update(params, jnp.asarray(X), jnp.asarray(Y))
    assert value == pytest.approx(loss, rel=1e-5)
    assert_close(stepped, expected)


def test_article_on_mnist_to_the_digit(data_dir):
    """The first two lines of the article's table, by the engine and its recipe."""

    def read(name, offset):
        path = next(p for p in data_dir.rglob(f"{name}*") if "mnist" in str(p) and "fashion" not in str(p))
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        return np.frombuffer(data, np.uint8, offset=offset)

    recipe = article(60_000)
    layout = {"batch_size": recipe.batch_size, "drop_last": recipe.drop_last, "scale": 1 / 255}
    data, valid = (
        place(read(f"{s}-images-idx3", 16).reshape(-1, 784), read(f"{s}-labels-idx1", 8), **layout)
        for s in ("train", "t10k")
    )
    training = training_of(recipe, data, valid, "dense", ("accuracy",))
    state = initial_state(initial_params((784, 128, 10), recipe), training, recipe.seed)
    lines = []
    for state, records in islice(epochs(state, data, valid, training), 2):
        lines += [epoch_line(record, 25).partition(", time")[0] for record in records]
    assert lines == [
        "Epoch 1/25: loss: 1.5768, train acc.: 0.818, valid acc.: 0.824",
        "Epoch 2/25: loss: 0.5859, train acc.: 0.873, valid acc.: 0.881",
    ]


# ---- an epoch


def ordered(data, recipe, epoch):
    """Row numbers in the order of an epoch."""
    return row_order(data, recipe.seed, epoch) if recipe.shuffle else np.arange(64)


def numpy_epochs(data, recipe, weights, factor=lambda share: 1.0):
    """The recipe's epochs of SGD in float64: parameters, and each epoch's loss."""
    params, n, losses, step = in_float64(initial_params(SIZES, recipe)), int(data.n), [], 0
    steps = n // 16 if recipe.drop_last else math.ceil(n / 16)
    for epoch in range(1, recipe.epochs + 1):
        order = ordered(data, recipe, epoch)[:n]
        summed = total = 0.0
        for i in range(steps):
            batch = order[i * 16 : (i + 1) * 16]
            lr = recipe.learning_rate * factor((step + 0.5) / (steps * recipe.epochs))
            params, loss = numpy_step(params, X[batch], Y[batch], weights[batch], lr)
            summed, total, step = summed + loss * weights[batch].sum(), total + weights[batch].sum(), step + 1
        losses.append(summed / total)
    return params, losses


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_epochs_equal_a_loop_of_minibatches(mode, shuffle, drop_last, weighted):
    """Every row once, the last two in a minibatch of their own; and the figures of the record."""
    recipe = RECIPE.replace(shuffle=shuffle, drop_last=drop_last)
    weights = W if weighted else np.ones(64)
    data = rows(drop_last=drop_last, weight=weights[:50])
    history, state = run(data, recipe=recipe)
    params, losses = numpy_epochs(data, recipe, weights)
    assert_close(state.params, params, rtol=1e-4, atol=1e-5)
    assert [record["epoch"] for record in history] == [1, 2]
    assert [record["loss"] for record in history] == pytest.approx(losses, rel=1e-5)
    assert (int(state.step), int(state.epoch)) == (6 if drop_last else 8, 2)

    n = 48 if drop_last else 50  # drop_last leaves the last rows of the file out of the evaluation
    logits = numpy_forward(params, X[:n])
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    accuracy = sklearn.metrics.accuracy_score(Y[:n], logits.argmax(axis=1), sample_weight=weights[:n])
    log_loss = sklearn.metrics.log_loss(Y[:n], p, sample_weight=weights[:n], labels=range(3))
    assert history[-1]["train_accuracy"] == pytest.approx(accuracy, rel=1e-5)
    assert history[-1]["train_log_loss"] == pytest.approx(log_loss, rel=1e-4)


def test_every_row_is_trained_once_an_epoch():
    """A parameter for each row counts its visits: 1/16 in a full minibatch, 1/2 in that of two."""

    def loss(params, X, y, key, hyper):
        return -params["seen"][X[:, 0].astype(jnp.int32)]

    objective = Objective(loss, stand, ())
    data = place(np.arange(50.0)[:, None], np.zeros(50, int), batch_size=16)
    for shuffle in (True, False):
        recipe = RECIPE.replace(learning_rate=1.0, shuffle=shuffle)
        order = ordered(data, recipe, 1)
        state, _ = one_epoch({"seen": jnp.zeros(64)}, data, recipe, objective)
        seen = np.asarray(state.params["seen"])
        np.testing.assert_allclose(seen[order[:48]], np.full(48, 1 / 16))
        np.testing.assert_allclose(seen[order[48:50]], [1 / 2, 1 / 2])
        assert not seen[50:].any()


def one_epoch(params, data, recipe, objective=OBJECTIVE):
    """`train_pass` alone, from the start."""
    training = how(data, None, recipe, objective)
    order = training.orders(0, 1)[0] if training.orders else None
    state = initial_state(params, training, recipe.seed)
    return run_pass(state, data, order, training.hyper, plan=training.plan)


def evaluate(params, data, objective=OBJECTIVE):
    """Every metric of the objective."""
    program = jax.jit(xla_evaluate, static_argnames=("metrics", "plan"))
    return program(params, data, Hyper(), metrics=objective.metrics, plan=Plan(network=objective))


def test_rate_follows_its_schedule_over_the_whole_run():
    """Warm-up over a quarter of the steps, then linear to 0, read in the middle of each step."""
    recipe = RECIPE.replace(schedule="linear", warmup=0.25, epochs=1)
    params = initial_params(SIZES, recipe)
    state, loss = one_epoch(params, rows(), recipe)
    expected = numpy_epochs(
        rows(), recipe, np.ones(64), lambda share: share / 0.25 if share < 0.25 else (1 - share) / 0.75
    )
    assert_close(state.params, expected[0], rtol=1e-4, atol=1e-5)
    assert float(loss) == pytest.approx(expected[1][0], rel=1e-5)
    # In a run so long that its number of steps is no int32, the first ones all but stand still.
    state, _ = one_epoch(params, rows(), recipe.replace(epochs=2**30 + 1))
    assert_close(state.params, in_float64(params))


def test_blocks_equal_single_epochs():
    """`epochs` over ten orders, and ten calls of `train_pass` with the same orders."""
    recipe = RECIPE.replace(epochs=10, backend="xla")
    data = rows()
    training = how(data, None, recipe)
    plan, hyper, *_ = training
    orders = training.orders(0, 10)
    state = initial_state(initial_params(SIZES, recipe), training, recipe.seed)
    block, records = run_epochs(state, data, None, orders, hyper, plan=plan, count=10)
    for k, order in enumerate(orders):
        state, loss = run_pass(state, data, order, hyper, plan=plan)
        assert float(records["loss"][k]) == pytest.approx(float(loss), rel=1e-5)
        for metric, value in evaluate(state.params, data).items():
            assert float(records[f"train_{metric}"][k]) == pytest.approx(float(value), rel=1e-4)
    assert_close(block.params, state.params, rtol=1e-5, atol=1e-6)


def test_a_block_stops_at_the_last_epoch(monkeypatch):
    monkeypatch.setattr(loop, "SMALL_EPOCH", math.inf)
    recipe = RECIPE.replace(epochs=13)
    training, blocks = how(rows(), None, recipe), []
    state = initial_state(initial_params(SIZES, recipe), training, recipe.seed)
    for state, records in epochs(state, rows(), None, training):
        blocks.append([record["epoch"] for record in records])
        assert len({record["seconds"] for record in records}) == 1  # an even share of the program's time
    assert blocks == [list(range(1, 11)), [11, 12, 13]]
    assert (int(state.epoch), int(state.step)) == (13, 52)


def test_epochs_of_few_operations_share_a_program():
    """Without being told, by their arithmetic: 6 × parameters × rows."""
    recipe = RECIPE.replace(epochs=3)
    training = how(rows(), None, recipe)
    state = initial_state(initial_params(SIZES, recipe), training, recipe.seed)
    assert [len(r) for _, r in epochs(state, rows(), None, training)] == [3]
    by_one = epochs(state, rows(), None, training, epochs_a_call=1)
    assert [len(r) for _, r in by_one] == [1, 1, 1]  # unless it is told
    assert 6 * 101_770 * 60_000 > loop.SMALL_EPOCH > 6 * 2_410 * 1437  # MNIST's, and that of digits


# ---- evaluation


@pytest.mark.parametrize(("n", "drop_last"), [(50, False), (50, True), (1, False), (63, False), (64, True)])
def test_evaluate_on_odd_row_counts(n, drop_last):
    params = initial_params(SIZES, RECIPE)
    figures = evaluate(params, rows(n, drop_last=drop_last, weight=W[:n] + 0.1))
    n = n // 16 * 16 if drop_last else n
    logits = numpy_forward(in_float64(params), X[:n])
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    weight = W[:n] + 0.1
    accuracy = np.average(logits.argmax(axis=1) == Y[:n], weights=weight)
    log_loss = np.average(-log_p[np.arange(n), Y[:n]], weights=weight)
    assert figures.keys() == {"accuracy", "log_loss"}
    assert figures["accuracy"] == pytest.approx(accuracy, rel=1e-5)
    assert figures["log_loss"] == pytest.approx(log_loss, rel=1e-5)


def test_evaluate_in_several_chunks():
    """20,000 rows in 313 batches, scaled in the program; with drop_last in 312."""
    pixels = RNG.integers(0, 256, (20_000, 3)).astype(np.uint8)
    y = RNG.integers(0, 3, 20_000)
    params = initial_params(SIZES, RECIPE)
    logits = numpy_forward(in_float64(params), (pixels - 127.5) / 64)
    right = logits.argmax(axis=1) == y
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(20_000), y]
    for drop_last, n in ((False, 20_000), (True, 19_968)):
        data = place(pixels, y, batch_size=64, shift=127.5, scale=1 / 64, drop_last=drop_last)
        figures = evaluate(params, data)
        assert float(figures["accuracy"]) == pytest.approx(np.mean(right[:n]), abs=1e-5)
        assert float(figures["log_loss"]) == pytest.approx(np.mean(losses[:n]), rel=1e-5)


# ---- early stopping, with a parameter that walks by the rate each epoch and is itself the prediction


def walk(params, X, y, key, hyper):
    return jnp.broadcast_to(-params["p"], y.shape[:1])


def stand(params, X):
    return jnp.full((len(X), 1), params["p"])


WALKER = Objective(walk, stand, ("rmse",))
WALK = RECIPE.replace(batch_size=8, learning_rate=1.0, epochs=12, patience=20)
ON_TRAINING = {"monitor": "train_rmse", "schedule": "plateau"}


def target(value):
    return place(np.zeros((8, 1)), np.full((8, 1), value), batch_size=8)


def walked(valid=5.0, **changes):
    """Where a walk from 0 stopped: its records, its state, and the parameter chosen."""
    recipe = WALK.replace(**changes)
    valid = None if valid is None else target(valid)
    history, state = run(target(3.0), valid, recipe, WALKER, {"p": jnp.zeros(())})
    return history, state, float(chosen(state, how(target(3.0), valid, recipe, WALKER).plan)["p"])


def test_patience_on_the_first_validation_metric(mode):
    """Best in epoch 5, where the walker stands on the target; two worse ones, and it stops."""
    history, state, p = walked(patience=2)
    assert [record["valid_rmse"] for record in history] == [4, 3, 2, 1, 0, 1, 2]
    assert [record["train_rmse"] for record in history] == [2, 1, 0, 1, 2, 3, 4]
    assert (p, int(state.watch.epoch), int(state.watch.waited), float(state.params["p"])) == (5, 5, 2, 7)
    assert history[0].keys() == {"epoch", "loss", "train_rmse", "valid_rmse", "seconds"}


def test_as_good_is_not_better(mode):
    """A walker too slow to be seen to move stops by its patience, its first epoch the best."""
    history, state, _ = walked(patience=2, learning_rate=1e-12)
    assert ({record["valid_rmse"] for record in history}, len(history)) == ({5}, 3)
    assert int(state.watch.epoch) == 1


def test_monitor_of_a_training_metric(mode):
    history, state, p = walked(**ON_TRAINING, patience=2)
    assert (len(history), p) == (5, 3)
    assert float(state.watch.value) == 0


def test_min_delta_is_what_counts_as_better(mode):
    """Of 2, 1, 0, 1, 2: the second is not better by 1.5 than the first, the third is."""
    assert walked(**ON_TRAINING, patience=2, min_delta=1.5)[2] == 3
    assert walked(**ON_TRAINING, patience=1, min_delta=1.5)[2] == 1


def test_rate_halves_on_a_plateau(mode):
    """Best in epoch 3; after 4, 5 and 6 the steps are of a half, after 7, 8 and 9 of a quarter."""
    history, _, _ = walked(**ON_TRAINING)
    assert [r["train_rmse"] for r in history] == [2, 1, 0, 1, 2, 3, 3.5, 4, 4.5, 4.75, 5, 5.25]


def test_loss_is_watched_where_no_rows_validate(mode):
    """A walker's falls without end: never stopped."""
    history, state, p = walked(valid=None, patience=1)
    assert (len(history), p, int(state.watch.epoch)) == (12, 12, 12)
    assert [record["loss"] for record in history] == list(range(0, -12, -1))
    columns = ("loss", "train_rmse", "valid_rmse", "valid_mae")
    assert monitored("", columns) == "valid_rmse"
    assert monitored("", columns[:2]) == "loss"
    assert monitored("loss", columns) == "loss"


def test_without_patience_the_last_weights_are_kept():
    history, state, p = walked()
    assert (len(history), p, int(state.watch.epoch)) == (12, 5, 5)
    assert float(chosen(state, how(target(3.0), None, WALK.replace(patience=0), WALKER).plan)["p"]) == 12


def test_fit_returns_the_best_weights_and_tells_of_every_epoch(mode):
    seen = []
    params, history = fit(
        {"p": jnp.zeros(())},
        target(3.0),
        target(5.0),
        objective=WALKER,
        recipe=WALK.replace(patience=2),
        on_epoch=seen.append,
    )
    assert float(params["p"]) == 5
    assert seen == history
    assert [record["epoch"] for record in seen] == [1, 2, 3, 4, 5, 6, 7]


def test_unknown_monitor_is_refused_at_the_call():
    recipe = RECIPE.replace(monitor="valid_acuracy")
    with pytest.raises(InputError, match="unknown monitor 'valid_acuracy'; did you mean 'valid_accuracy'"):
        how(rows(), rows(20), recipe)
    with pytest.raises(InputError, match="unknown monitor 'valid_acuracy'"):
        monitored(recipe.monitor, ("loss", "train_accuracy"))


def test_batches_larger_than_the_data_are_refused_at_the_call():
    with pytest.raises(InputError, match="batch_size 16 is larger than the training data; choose 1 to 8"):
        how(rows(8))
    how(rows(9))  # all rows, as sets of 10 to 16 have it
    with pytest.raises(InputError, match="batch_size 16 is larger than the validation data; choose 1 to 10"):
        how(rows(), rows(10, drop_last=True), RECIPE.replace(drop_last=True))
    how(rows(), rows(10))  # else padding makes up for it


# ---- divergence


def test_divergence_is_raised_after_its_epoch_was_told(mode):
    """After epoch 2 all is NaN, and `argmax` of NaN would be right: the best weights are still those of 1."""

    def loss(params, X, y, key, hyper):
        p = params["p"]
        return jnp.broadcast_to(p * jnp.where(p > 1.5, jnp.nan, -1.0), y.shape[:1])

    def predict(params, X):
        return jnp.broadcast_to(jnp.stack([params["p"] - 9, 0.0]), (len(X), 2))

    data = place(np.zeros((8, 1)), np.zeros(8, int), batch_size=8)
    recipe = WALK.replace(monitor="train_accuracy", patience=9)
    training = how(data, None, recipe, Objective(loss, predict))
    state, history = initial_state({"p": jnp.zeros(())}, training, recipe.seed), []

    def train():
        nonlocal state, history
        for state, records in epochs(state, data, None, training):
            history += records

    with pytest.raises(DivergedError) as error:
        train()
    assert str(error.value) == (
        "the loss became inf in epoch 2 at a learning rate of 1; try 0.1, or clip_norm=1"
    )
    assert [record["epoch"] for record in history] == [1, 2]
    assert [math.isfinite(record["loss"]) for record in history] == [True, False]
    assert (int(state.watch.epoch), float(state.best["p"])) == (1, 1)


def test_an_infinite_rate_of_a_network_diverges(mode):
    recipe = RECIPE.replace(learning_rate=1e30, epochs=12)
    with pytest.raises(DivergedError, match=r"epoch 1 at a learning rate of 1e\+30; try 1e\+29"):
        fit(initial_params(SIZES, recipe), rows(), objective=OBJECTIVE, recipe=recipe)


def test_a_last_update_that_diverges_is_not_returned(mode):
    """The loss was read before the update, and is fine; the weights after it are not."""
    with pytest.raises(DivergedError, match=r"the loss became inf in epoch 1"):
        walked(epochs=2, learning_rate=3e38)


@pytest.mark.parametrize(("validated", "large"), [(False, 1), (True, 1e30)])
def test_a_last_update_whose_outputs_overflow_diverges(mode, validated, large):
    """Every weight is finite; the outputs are not, and no later epoch would show it."""
    recipe = RECIPE.replace(
        learning_rate=1e10 if validated else 1e20, epochs=1, optimizer="adam", batch_size=64
    )
    recipe = recipe.replace(train_metrics=False)
    valid = place(X * np.float32(large), Y, batch_size=64) if validated else None
    objective = dense_objective(metrics=("log_loss",))
    with pytest.raises(DivergedError, match="the loss became inf in epoch 1"):
        fit(
            initial_params(SIZES, recipe), place(X, Y, batch_size=64), valid,
            objective=objective, recipe=recipe,
        )  # fmt: skip


# ---- other networks, other losses


def test_regression_finds_a_linear_map():
    """To the least squares' own solution."""
    rng = np.random.default_rng(3)
    y = X @ [[1.0, -2], [0.5, 0], [3, 1]] + [4, -1] + 0.01 * rng.normal(size=(64, 2))
    solution = np.linalg.lstsq(np.c_[X, np.ones(64)], y, rcond=None)[0]
    recipe = Recipe(batch_size=64, epochs=300, optimizer="momentum", learning_rate=0.1, schedule="constant")
    objective = dense_objective("relu", "squared_error", ("rmse", "mae"))
    params, history = fit(
        initial_params((3, 2), recipe), place(X, y, batch_size=64), objective=objective, recipe=recipe
    )
    ((W, b),) = params
    np.testing.assert_allclose(np.r_[W, b[None]], solution, atol=2e-4)
    residual = y - np.c_[X, np.ones(64)] @ solution
    assert history[-1]["train_rmse"] == pytest.approx(np.sqrt(np.mean(residual**2)), rel=1e-2)
    assert history[-1]["train_mae"] == pytest.approx(np.mean(abs(residual)), rel=5e-2)
    assert history[-1]["loss"] == pytest.approx(np.mean(residual**2) / 2, rel=5e-2)


def test_any_pytree_under_any_loss():
    """A dictionary with a table of embeddings before its layers."""
    ids = RNG.integers(0, 6, 50)
    data = place(ids[:, None].astype(float), ids % 3, batch_size=16)

    def predict(params, X):
        return forward(params["layers"], params["table"][X[:, 0].astype(jnp.int32)])

    def loss(params, X, y, key, hyper):
        return cross_entropy(predict(params, X), y, hyper.label_smoothing)

    rng = np.random.default_rng(5)
    params = {"table": jnp.asarray(rng.normal(size=(6, 2)), jnp.float32)}
    params["layers"] = initialize_weights([2, 5, 3], rng, "he")
    recipe = RECIPE.replace(epochs=60, optimizer="momentum")
    trained, history = fit(params, data, objective=Objective(loss, predict), recipe=recipe)
    assert history[-1]["train_accuracy"] == 1
    assert jax.tree.structure(trained) == jax.tree.structure(params)
    assert np.all(np.any(np.asarray(trained["table"]) != np.asarray(params["table"]), axis=1))


# ---- dropout


def test_key_of_dropout_is_the_seeds_folded_with_the_step():
    """The loss's slope is a number drawn with the key, so the parameter adds up what was drawn."""

    def loss(params, X, y, key, hyper):
        return jnp.broadcast_to(params["p"] * jax.random.uniform(key), y.shape)

    recipe = RECIPE.replace(dropout=0.5, seed=2**31 + 7, learning_rate=1.0)
    state, _ = one_epoch({"p": jnp.zeros(())}, rows(), recipe, Objective(loss, stand, ()))
    key = jax.random.PRNGKey(2**31 + 7)
    drawn = [float(jax.random.uniform(jax.random.fold_in(key, step))) for step in range(4)]
    assert len(set(drawn)) == 4
    assert float(state.params["p"]) == pytest.approx(-sum(drawn), rel=1e-5)


def test_dropout_is_in_the_training_and_not_in_the_evaluation():
    recipe = RECIPE.replace(dropout=0.4, shuffle=False)
    params, data = initial_params(SIZES, recipe), rows(16)
    key = jax.random.fold_in(jax.random.fold_in(jax.random.PRNGKey(0), 0), 0)  # step 0, layer 0
    kept = np.asarray(jax.random.bernoulli(key, 0.6, (16, 5))) / 0.6
    expected, loss = numpy_step(in_float64(params), X[:16], Y[:16], np.ones(16), 0.3, kept)
    state, mean = one_epoch(params, data, recipe)
    assert float(mean) == pytest.approx(loss, rel=1e-5)
    assert_close(state.params, expected)
    _, whole = numpy_step(in_float64(params), X[:16], Y[:16], np.ones(16), 0.3)
    assert abs(loss - whole) > 0.01  # it did drop something
    figures = evaluate(params, data)
    assert float(figures["log_loss"]) == pytest.approx(whole, rel=1e-5)


# ---- the same run again, and the rest of one


def test_same_seed_same_bits_another_seed_others(mode):
    """Weights, order and so the whole history; the parameters given are left as they were."""
    params = initial_params(SIZES, RECIPE)
    kept = jax.device_get(params)
    one, other = (fit(params, rows(), objective=OBJECTIVE, recipe=RECIPE) for _ in range(2))
    assert_same_bits(one[0], other[0])
    assert without_seconds(one[1]) == without_seconds(other[1])
    assert_same_bits(params, kept)
    reordered, _ = fit(params, rows(), objective=OBJECTIVE, recipe=RECIPE.replace(seed=1))
    assert not np.array_equal(reordered[0][0], one[0][0][0])


def test_initial_params_are_a_function_of_the_seed():
    assert_same_bits(initial_params(SIZES, RECIPE), initial_params(SIZES, RECIPE.replace(epochs=9)))
    others = initial_params(SIZES, RECIPE.replace(seed=1))
    assert not np.array_equal(initial_params(SIZES, RECIPE)[0][0], others[0][0])
    assert [(W.shape, b.shape) for W, b in others] == [((3, 5), (5,)), ((5, 3), (3,))]


def test_initial_params_of_the_article():
    """Of its size, on every axis, by the PRNG of its day."""
    recipe = article(60_000)
    with jax.threefry_partitionable(False):
        expected = initialize_weights((3, 3), jax.random.PRNGKey(516), 0.02)
    assert_same_bits(initial_params((3, 3), recipe), expected)


@pytest.mark.parametrize("seed", [0, 516, 2**32 - 1])
def test_initial_state(seed):
    params = initial_params(SIZES, RECIPE)
    state = initial_state(params, how(rows()), seed)
    np.testing.assert_array_equal(state.key, jax.random.PRNGKey(seed))
    assert_same_bits(state.params, params)
    assert (int(state.step), int(state.epoch), int(state.watch.epoch)) == (0, 0, 0)
    assert_same_bits(state.best, params)


RESUMED = RECIPE.replace(
    epochs=23,
    optimizer="adam",
    learning_rate=0.02,
    schedule="plateau",
    dropout=0.2,
    monitor="valid_log_loss",
    patience=20,
)


def test_a_resumed_run_is_the_unbroken_one(mode):
    """From a copy of the state after any yield, bit by bit: Adam's moments, dropout's key, the plateau."""
    data, valid = rows(), rows(20)
    unbroken, whole = run(data, valid, RESUMED)
    assert len(unbroken) == 23
    for k in (1, 2):
        training, history = how(data, valid, RESUMED), []
        start = initial_state(initial_params(SIZES, RESUMED), training, RESUMED.seed)
        for state, records in islice(epochs(start, data, valid, training), k):
            history += records
        state = state_of(arrays_of(state, training), start, training)
        for state, records in epochs(state, data, valid, training):
            history += records
        assert_same_bits(state, whole)
        assert without_seconds(history) == without_seconds(unbroken)


def test_a_finished_run_has_nothing_to_resume(mode):
    for changes in ({"patience": 2}, {"epochs": 3}):
        _, state, _ = walked(**changes)
        training = how(target(3.0), target(5.0), WALK.replace(**changes), WALKER)
        assert list(epochs(state, target(3.0), target(5.0), training)) == []


# ---- one program


class Counted:
    """The dense objective, and how often it was traced."""

    def __init__(self):
        self.traces = 0
        self.objective = Objective(self.loss, self.predict, ("accuracy",))

    def loss(self, *arguments):
        self.traces += 1
        return OBJECTIVE.loss(*arguments)

    def predict(self, *arguments):
        self.traces += 1
        return OBJECTIVE.predict(*arguments)


def test_traced_settings_seeds_and_rows_of_a_bucket_share_one_program(mode, monkeypatch):
    """Ten epochs, then other rates, seeds, row counts and every other traced setting: traced once."""
    monkeypatch.setattr("mlpax.engine.xla.epoch.PROGRAMS", math.inf)  # other tests have left many
    counted = Counted()
    recipe = RECIPE.replace(
        epochs=10, optimizer="momentum", schedule="plateau", patience=10, weight_decay=0.01
    )
    run(rows(), rows(20), recipe, counted.objective)
    first, programs = counted.traces, run_pass._cache_size()
    assert first > 0
    for learning_rate in (0.01, 1, np.float32(0.1)):
        for seed in (1, 2):
            changed = recipe.replace(learning_rate=learning_rate, seed=seed)
            run(rows(), rows(20), changed, counted.objective)
    for changes in (
        {"momentum": 0.0, "beta_1": 0.5, "beta_2": 0.5, "epsilon": 1},
        {"weight_decay": 0.1, "label_smoothing": 0.1},
        {"epochs": 3, "patience": 2, "min_delta": 0.1},
        {"drop_last": True},
        {"hidden": (9,), "activation": "tanh", "inputs": "raw", "validation": 0.5},  # not read in here
    ):
        run(rows(), rows(20), recipe.replace(**changes), counted.objective)
    for n in (51, 64):
        run(rows(n, weight=W[:n] + 1, shift=0.5, scale=2.0), rows(17), recipe, counted.objective)
    ended = run(rows(), rows(20), recipe, counted.objective)[1]
    longer = how(rows(), rows(20), recipe.replace(epochs=12), counted.objective)
    resumed = state_of(arrays_of(ended, longer), ended, longer)
    list(epochs(resumed, rows(), rows(20), longer))
    assert counted.traces == first
    assert run_pass._cache_size() == programs


def test_members_are_of_our_own_networks():
    data = place(np.zeros((8, 2), np.float32), np.zeros(8, np.int32), batch_size=8)
    recipe = Recipe(members=2, batch_size=8)
    with pytest.raises(InputError, match="members 2 are of mlpax's own networks"):
        loop.fit({}, data, objective=dense_objective(), recipe=recipe)
