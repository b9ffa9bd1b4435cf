"""Training on several devices equals training on one that gets the same minibatches."""

import json
import os
import re
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from mlpax.engine.devices import devices_of
from mlpax.engine.rows import dealt, orders_of_devices, place
from mlpax.engine.training import training_of
from mlpax.errors import InputError
from mlpax.recipes import Recipe

RNG = np.random.default_rng(0)
X = RNG.normal(size=(203, 5)).astype(np.float32)
Y = (X @ RNG.normal(size=(5, 3))).argmax(axis=1)

SETUP = """
import json
import jax, numpy as np
from mlpax.engine.rows import orders_of_devices, place
from mlpax.engine.training import epochs, initial_state, training_of
from mlpax.engine.weights import draw_weights
from mlpax.recipes import Recipe

RNG = np.random.default_rng(0)
X = RNG.normal(size=(203, 5)).astype(np.float32)
Y = (X @ RNG.normal(size=(5, 3))).argmax(axis=1)
WEIGHT = RNG.uniform(0, 2, 203)

def interleaved(data, devices, batch):
    '''The orders that give one device the minibatches of several.'''
    each, n = batch // devices, int(data.n)
    of_devices = orders_of_devices(data, 0, devices, each)
    def orders(done, count):
        found = np.tile(np.arange(data.X.shape[0], dtype=np.int32), (count, 1))
        for k, order in enumerate(of_devices(done, count)):
            found[k, :n] = [
                d + devices * int(r) for i in range(0, order.shape[1], each) for d in range(devices)
                for r in order[d, i : i + each] if r < len(range(d, n, devices))
            ]
        return found
    return orders

def trained(devices, like=None, a_call=None, **settings):
    recipe = Recipe(hidden=(8,), epochs=4, batch_size=16, devices=devices, backend="xla", **settings)
    rows = {"batch_size": 16, "drop_last": recipe.drop_last}
    data, valid = place(X, Y, weight=WEIGHT, **rows), place(X[:37], Y[:37], **rows)
    training = training_of(recipe, data, valid, "dense", ("accuracy",), valid_metrics=("log_loss",))
    if like and recipe.shuffle:
        training = training._replace(orders=interleaved(data, like, 16))
    state = initial_state(draw_weights((5, 8, 3), np.random.default_rng(1), "he"), training, 0)
    records = []
    for state, new in epochs(state, data, valid, training, epochs_a_call=a_call):
        records += new
    return state, records
"""


def of_four(code):
    """Return what Python prints, as JSON, in a process that sees the CPU as four devices."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
    whole = SETUP + textwrap.dedent(code)
    ran = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True,
                         env=os.environ | {"XLA_FLAGS": flags})  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_four_devices_train_as_one():
    """Within 1e-6: rows that do not divide evenly, weights, an update rule with a norm, early stopping."""
    found = of_four("""
        ADAM = {"optimizer": "adam", "learning_rate": 0.01, "clip_norm": 1.0, "weight_decay": 0.1}
        worst = {}
        for name, settings in {
            "epoch by epoch": {"a_call": 1},
            "adam": {**ADAM, "patience": 2, "monitor": "valid_log_loss"},
            "full minibatches": {"shuffle": False, "drop_last": True},
        }.items():
            (state, records), (one, of_one) = trained(4, **settings), trained(1, like=4, **settings)
            pairs = [(a[n], b[n]) for a, b in zip(records, of_one, strict=True) for n in a if n != "seconds"]
            leaves = zip(jax.tree.leaves(state.params), jax.tree.leaves(one.params), strict=True)
            worst[name] = [max(abs(a - b) for a, b in pairs), max(float(abs(a - b).max()) for a, b in leaves)]
        print(json.dumps(worst))
    """)
    assert len(found) == 3
    assert max(map(max, found.values())) < 1e-6, found


def test_members_spread_over_devices_train_as_on_one():
    found = of_four("""
        def members_trained(devices):
            recipe = Recipe(hidden=(8,), epochs=4, batch_size=32, members=4, own_orders=True, patience=2,
                            devices=devices, backend="xla", monitor="valid_log_loss")
            data, valid = place(X, Y, batch_size=32), place(X[:37], Y[:37], batch_size=32)
            training = training_of(recipe, data, valid, "dense", ("accuracy",), valid_metrics=("log_loss",))
            weights = [draw_weights((5, 8, 3), np.random.default_rng(k), "he") for k in range(4)]
            records = []
            for state, new in epochs(initial_state(weights, training, 0), data, valid, training):
                records += new
            return state, records
        (state, records), (one, of_one) = members_trained(2), members_trained(1)
        pairs = [(a[n], b[n]) for a, b in zip(records, of_one, strict=True) for n in a if n != "seconds"]
        leaves = zip(jax.tree.leaves(state.params), jax.tree.leaves(one.params), strict=True)
        apart = max(float(abs(np.asarray(a) - np.asarray(b)).max()) for a, b in leaves)
        print(json.dumps([len(state.params[0][0].devices()), apart, max(abs(a - b) for a, b in pairs)]))
    """)
    assert found[0] == 2
    assert max(found[1:]) < 1e-6


def test_devices_that_hold_shares_of_chunks_train_as_one():
    """Each chunk of 203 rows, of which a share has 51 with a padding of weight 0, is one epoch."""
    found = of_four("""
        from mlpax.engine.rows import place_shares
        from mlpax.engine.training import epochs_of_chunks

        ends = [0, 51, 102, 153, 203]
        ROWS = [X[::-1], X, X[::-1] / 2]  # of the chunks

        def share(number, k):
            rows = slice(ends[k], ends[k + 1])
            some = ROWS[number][rows], Y[rows], WEIGHT[rows]
            more = 51 - len(some[1])
            return [np.concatenate([a, a[:more] * (0 if a is some[2] else 1)]) for a in some]

        def trained_on_chunks(devices):
            recipe = Recipe(hidden=(8,), epochs=3, batch_size=16, devices=devices, backend="xla",
                            optimizer="adam")
            def chunk(number):
                number = min(number, 2)
                shares = [share(number, k) for k in range(4)]
                if devices > 1:
                    return place_shares(shares, 4, batch_size=16, variance=np.zeros(()))
                dealt = [np.stack(part, axis=1).reshape(204, *part[0].shape[1:]) for part in zip(*shares)]
                return place(*dealt[:2], weight=dealt[2], batch_size=16)
            data, valid = chunk(0), place(X[:37], Y[:37], batch_size=16)
            training = training_of(recipe, data, valid, "dense", ("accuracy",), valid_metrics=("log_loss",))
            if devices == 1:
                training = training._replace(orders=interleaved(data, 4, 16))
            state = initial_state(draw_weights((5, 8, 3), np.random.default_rng(1), "he"), training, 0)
            records = []
            for state, new in epochs_of_chunks(state, chunk, valid, training):
                records += new
            return state, records

        (state, records), (one, of_one) = trained_on_chunks(4), trained_on_chunks(1)
        names = [n for n in records[0] if n not in ("seconds", "waited")]
        pairs = [(a[n], b[n]) for a, b in zip(records, of_one, strict=True) for n in names]
        leaves = zip(jax.tree.leaves(state.params), jax.tree.leaves(one.params), strict=True)
        apart = max(float(abs(np.asarray(a) - np.asarray(b)).max()) for a, b in leaves)
        print(json.dumps([len(records), apart, max(abs(a - b) for a, b in pairs)]))
    """)
    assert found[0] == 3
    assert max(found[1:]) < 1e-6, found


def test_a_step_sends_one_message():
    """All parameters and the loss are one array; the weights of all minibatches are summed before."""
    found = of_four("""
        from mlpax.engine.plan import Hyper, Plan
        from mlpax.engine.xla import mesh
        from mlpax.engine.xla.epoch import initial_state as initial
        plan, devices = Plan(batch_size=4, stopping="tolerance"), mesh.mesh_of(4)
        data = mesh.place(place(X, Y, batch_size=16), devices, 4)
        state = initial(draw_weights((5, 8, 3), np.random.default_rng(1), "he"), plan)
        lowered = mesh._pass.lower(state, data, None, Hyper(), plan=plan, mesh=devices)
        print(json.dumps(lowered.as_text()))
    """)
    loop = found[found.index("stablehlo.while") :]
    assert found.count("stablehlo.all_reduce") == 2
    assert loop.count("stablehlo.all_reduce") == 1
    assert re.search(r"tensor<76xf32>\) -> tensor<76xf32>", loop)  # 5 · 8 + 8 + 8 · 3 + 3 parameters, a loss


def test_rows_are_dealt_like_cards():
    rows = np.arange(1, 9)  # seven, and one of the padding
    assert [dealt(rows, 7, d, 3, 4).tolist() for d in range(3)] == [[1, 4, 7, 7], [2, 5, 7, 7], [3, 6, 7, 7]]
    assert dealt(rows, 7, 2, 3, 4, fill=0).tolist() == [3, 6, 0, 0]


def test_each_device_walks_its_own_rows():
    order = orders_of_devices(place(X[:7], Y[:7], batch_size=6), seed=0, devices=3, batch_size=2)
    first, again = order(0, 2), order(1, 1)
    assert first.shape == (2, 3, 4)
    assert [sorted(own[:held].tolist()) for own, held in zip(first[0], (3, 2, 2), strict=True)] == [
        [0, 1, 2], [0, 1], [0, 1]
    ]  # fmt: skip
    assert first[0, :, 3].tolist() == [3, 3, 3]  # padding last
    assert (first[1] == again[0]).all()


def test_a_minibatch_that_cannot_be_shared_is_refused():
    data = place(X, Y, batch_size=16)
    with pytest.raises(
        InputError, match="batch_size 16 cannot be shared evenly by 3 devices; choose 15 or 18"
    ):
        training_of(Recipe(batch_size=16, devices=3), data, None, "dense", ())
    with pytest.raises(InputError, match="members 2 cannot be shared evenly by 4 devices; choose 4"):
        training_of(Recipe(members=2, batch_size=16, devices=4), data, None, "dense", ())
    with pytest.raises(InputError, match="backend 'native' cannot be taken: train on 2 devices"):
        training_of(Recipe(batch_size=16, devices=2, backend="native"), data, None, "dense", ())


def test_devices_that_are_not_there_are_refused():
    assert [devices_of(None), devices_of("1"), devices_of("all")] == [None, 1, 1]
    with pytest.raises(InputError, match="devices 2, but JAX has 1 cpu device here; choose 1"):
        devices_of(2)
    with pytest.raises(InputError, match="devices 'two' is neither a number nor all; write 2, or all"):
        devices_of("two")
    with pytest.raises(InputError, match="device gpu:1 is one, and devices 2 are several; name their kind"):
        devices_of("2", "gpu:1")
