"""What a sweep tries: lists and ranges of values."""

import numpy as np
import pytest

from mlpax.errors import InputError
from mlpax.recipes import Recipe
from mlpax.space import Range, combinations, parsed, space_of

BASE = Recipe()


@pytest.mark.parametrize(("name", "text", "found"), [
    ("learning_rate", "0.1", 0.1), ("learning_rate", "0.01,0.1", (0.01, 0.1)), ("epochs", "3, 4", (3, 4)),
    ("learning_rate", "1e-3:1:log", Range(0.001, 1, True)), ("epochs", "2:9", Range(2, 9)),
    ("optimizer", "adam,sgd", ("adam", "sgd")), ("hidden", "64,32", (64, 32)),
    ("shuffle", "true,False", (True, False)),
])  # fmt: skip
def test_what_a_word_says(name, text, found):
    assert parsed(name, text) == found


@pytest.mark.parametrize(("given", "said"), [
    ({"learning_rat": "0.1,1"}, "learning_rate"),
    ({"learning_rate": "1:0.1"}, "'1:0.1' is an empty range; the first number must be below"),
    ({"learning_rate": "1:1"}, "is an empty range"),
    ({"learning_rate": "0:1:log"}, "on a log scale, which begins above 0; write 1e-4:1:log"),
    ({"learning_rate": "0:1"}, r"learning_rate 0.0 is outside \(0, inf\)"),
    ({"momentum": "0.5:1"}, r"momentum 1.0 is outside \[0, 1\)"),
    ({"learning_rate": "0.1:nan"}, "is an empty range"),
    ({"learning_rate": "0.1:1:lin"}, "is no range; write low:high or low:high:log"),
    ({"learning_rate": "a:b"}, "is no range"),
    ({"learning_rate": "0.1;0.2"}, "is no number; write 0.1, or 0.01,0.1, or 0.01:1:log"),
    ({"epochs": "2.5,3"}, "epochs '2.5' is no whole number"),
    ({"optimizer": "adam,sdg"}, "sgd"),
    ({"optimizer": Range(0, 1)}, "optimizer takes no range"),
    ({"learning_rate": []}, "learning_rate has no value to try"),
    ({"learning_rate": [0.1]}, "there is nothing to compare"),
    ({}, "there is nothing to compare"),
    ({"seed": [1, 2]}, "seed must be the same for all trials"),
    ({"monitor": ["loss", "valid_accuracy"]}, "monitor must be the same"),
    ({"hidden": [(32,), (0,)]}, "hidden 0 is outside"),
    ({"shuffle": "yes,no"}, "'yes' is neither true nor false"),
])  # fmt: skip
def test_what_cannot_be_tried_is_one_clear_error(given, said):
    with pytest.raises(InputError, match=said):
        space_of(given, BASE)


def test_lists_give_all_combinations():
    space = space_of({"learning_rate": [0.1, 0.2, 0.1], "hidden": [(8,), [4, 4]]}, BASE)
    assert space == {"learning_rate": (0.1, 0.2), "hidden": ((8,), (4, 4))}
    every = combinations(space, None, 0)
    assert every[:2] == [{"learning_rate": 0.1, "hidden": (8,)}, {"learning_rate": 0.1, "hidden": (4, 4)}]
    assert len(every) == len(combinations(space, 99, 0)) == 4
    some = combinations(space, 3, 0)
    assert len(some) == 3
    assert all(trial in every for trial in some)
    assert len({str(trial) for trial in some}) == 3


@pytest.mark.parametrize("count", [1, 7, 64])
def test_a_sample_covers_each_range_evenly(count):
    given = {"learning_rate": "0.001:1:log", "momentum": "0.5:0.9", "epochs": "2:5", "optimizer": "adam,sgd"}
    trials = combinations(space_of(given, BASE), count, 0)
    assert len(trials) == count
    logs = np.sort([np.log(trial["learning_rate"] / 0.001) / np.log(1000) for trial in trials])
    plain = np.sort([(trial["momentum"] - 0.5) / 0.4 for trial in trials])
    for shares in (logs, plain):
        assert np.all(np.abs(shares - (np.arange(count) + 0.5) / count) <= 0.51 / count + 1e-3)
    epochs = [trial["epochs"] for trial in trials]
    assert all(type(epoch) is int and 2 <= epoch <= 5 for epoch in epochs)
    if count == 64:
        assert np.bincount(epochs)[2:].tolist() == [16, 16, 16, 16]
        assert sum(trial["optimizer"] == "adam" for trial in trials) == 32


def test_few_whole_numbers_are_tried_once_each():
    found = combinations(space_of({"epochs": "1:3"}, BASE), None, 0)
    assert sorted(trial["epochs"] for trial in found) == [1, 2, 3]


def test_values_stay_in_the_range():
    found = combinations(space_of({"beta_2": "0.999:0.99999"}, BASE), 20, 0)
    assert all(0.999 <= trial["beta_2"] <= 0.99999 for trial in found)
    assert len(found) == 20


def test_arrays_and_ranges_of_python():
    space = space_of({"learning_rate": np.array([0.1, 0.2]), "epochs": range(1, 3)}, BASE)
    assert space == {"learning_rate": (0.1, 0.2), "epochs": (1, 2)}
    with pytest.raises(InputError, match="'5:1' is an empty range"):
        Range(5, 1)


def test_a_seed_decides_the_sample():
    space = space_of({"learning_rate": "0.001:1:log"}, BASE)
    assert combinations(space, 5, 0) == combinations(space, 5, 0) != combinations(space, 5, 1)
    assert len(combinations(space, None, 0)) == 32
    with pytest.raises(InputError, match="trials 0 is below 1"):
        combinations(space, 0, 0)
