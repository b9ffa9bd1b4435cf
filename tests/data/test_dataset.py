"""Rows held out: each class in proportion, groups whole, or the last in time."""

import numpy as np
import pytest
import scipy.sparse
from sklearn.model_selection import train_test_split

from mlpax.data.dataset import (
    Dataset,
    HoldOut,
    combined,
    from_arrays,
    held_out,
    split,
    split_as_scikit_learn,
    stratified,
)
from mlpax.errors import InputError
from mlpax.seeds import rng


def generator(seed=0):
    return np.random.default_rng(seed)


def test_each_class_in_proportion_to_the_nearest_row():
    y = np.repeat([0, 1, 2], [10, 7, 3])  # a quarter: 2.5 (to even), 1.75, 0.75
    for seed in range(5):
        held = stratified(y, 0.25, generator(seed))
        assert np.bincount(y[held]).tolist() == [2, 2, 1]
    labels = np.array(["a", "b"])[np.arange(20) % 2]
    assert sorted(labels[held_out(labels, 0.2, generator(), classes=True)]) == ["a", "a", "b", "b"]


def test_the_seed_settles_the_rows():
    y = np.arange(100) % 3
    for classes in (True, False):
        first, again, other = (held_out(y, 0.3, generator(s), classes=classes) for s in (0, 0, 1))
        assert (first == again).all()
        assert (first != other).any()
        assert first.sum() == 30


@pytest.mark.parametrize("sizes", [[10] * 10, [90, 4, 3, 2, 1], [50, 50], [1] * 30, [30, 1]])
def test_groups_stay_whole(sizes):
    groups = generator().permutation(np.repeat([f"g{i}" for i in range(len(sizes))], sizes))
    for seed in range(20):
        held = held_out(groups, 0.2, generator(seed), classes=True, groups=groups)
        assert not set(groups[held]) & set(groups[~held])
        assert 0 < held.sum() <= max(0.3 * len(held), min(sizes))
    if len(sizes) == 10:
        assert held.sum() == 20


def test_the_last_rows_in_time():
    y = np.zeros(10)
    for classes in (True, False):
        held = held_out(y, 0.25, generator(), classes=classes, time_ordered=True)
        assert held.tolist() == [False] * 8 + [True] * 2


@pytest.mark.parametrize("options", [{}, {"time_ordered": True}, {"classes": True}])
@pytest.mark.parametrize(("rows", "share"), [(2, 0.1), (2, 0.9), (1, 0.4)])
def test_neither_side_is_empty(options, rows, share):
    if options.get("classes") and share == 0.9:  # of each class a row is left
        assert held_out(np.zeros(rows), share, generator(), classes=True).sum() == 1
        return
    with pytest.raises(InputError, match=rf"holding out {share} of {rows} rows leaves one side empty"):
        held_out(np.zeros(rows), share, generator(), **{"classes": False, **options})


@pytest.mark.parametrize(
    ("sizes", "share", "count"),
    [([2] * 40, 0.2, 16), ([5] * 40, 0.1, 20), ([1, 50], 0.6, 31), ([1] * 9, 0.5, 0)],
)
def test_small_classes_share_what_whole_rows_leave_over(sizes, share, count):
    y = np.repeat(np.arange(len(sizes)), sizes)
    held = stratified(y, share, generator())
    each = np.bincount(y[held], minlength=len(sizes))
    assert held.sum() == count
    assert (each < sizes).all()
    assert np.abs(each - share * np.array(sizes)).max() <= 1
    if count and len(sizes) == 40:  # drawn, not the first
        assert y[held].max() > 20


@pytest.mark.parametrize("share", [0, 1, -0.2, 1.5, float("nan")])
def test_a_share_is_between_0_and_1(share):
    with pytest.raises(InputError, match=rf"the share {share} to hold out is outside \(0, 1\)"):
        held_out(np.zeros(9), share, generator(), classes=False)


def test_groups_that_cannot_be_held_out():
    with pytest.raises(InputError, match=r"all 9 rows are of one group; choose another column"):
        held_out(np.zeros(9), 0.2, generator(), classes=False, groups=np.zeros(9))
    with pytest.raises(InputError, match=r"give time_ordered or group, not both"):
        held_out(np.zeros(9), 0.2, generator(), classes=False, groups=np.arange(9), time_ordered=True)


def test_each_row_is_in_one_part():
    y = np.repeat([0, 1], [60, 40])
    train, valid, test = split(y, HoldOut(validation=0.25, test=0.2, seed=3))
    assert (train.astype(int) + valid + test == 1).all()
    assert [np.bincount(y[part]).tolist() for part in (train, valid, test)] == [[36, 24], [12, 8], [12, 8]]
    np.testing.assert_array_equal(test, stratified(y, 0.2, rng(3, "test")))
    alone = split(y, HoldOut(validation=0.25, seed=3))
    np.testing.assert_array_equal(alone.valid, stratified(y, 0.25, rng(3, "validation")))
    assert split(y, HoldOut(validation=0)).train.all()


def test_combinations_of_classes_are_held_out_in_proportion():
    y = np.repeat([[0, 0], [0, 1], [1, 0], [1, 1]], [40, 30, 20, 10], axis=0)
    _, valid, test = split(y, HoldOut(validation=0.25, test=0.2, seed=3))
    for part, counts in ((valid, [8, 6, 4, 2]), (test, [8, 6, 4, 2])):
        assert np.unique(y[part], axis=0, return_counts=True)[1].tolist() == counts


def test_rows_of_a_combination_of_their_own_are_told_by_their_rarest_class():
    """Of 30 rows each has another combination, but every class of the first target has ten rows."""
    y = np.stack([np.arange(30) % 3, np.arange(30) // 2, np.arange(30) // 3], axis=1)
    labels = combined(y)
    assert (np.bincount(labels)[labels] == 2).all()  # of the second target each class has two rows
    assert split(y, HoldOut(validation=0.2)).valid.sum() == 6
    alone = np.stack([np.arange(9), np.arange(9)], axis=1)
    assert len({*combined(alone).tolist()}) == 1


def test_the_classes_of_several_targets_travel():
    rows = np.zeros((2, 1), np.float32), np.zeros((2, 2), np.int32)
    own = Dataset("made up", *rows, *rows, ("a", "b"), targets=("x", "y"), more_classes=((False, True),))
    assert from_arrays(*own.to_arrays()).each_classes == own.each_classes == (("a", "b"), (False, True))


@pytest.mark.parametrize("by_class", [True, False])
def test_rows_are_drawn_as_scikit_learn_draws_them(by_class):
    X, y = np.arange(60.0).reshape(30, 2), np.arange(30) % 3
    stratify = y if by_class else None
    ours, theirs = np.random.RandomState(5), np.random.RandomState(5)
    train, held = split_as_scikit_learn(30, 0.2, ours, stratify)
    for rows in (X, scipy.sparse.csr_matrix(X)):
        theirs.seed(5)
        left, right = train_test_split(rows, random_state=theirs, test_size=0.2, stratify=stratify)
        for part, expected in ((rows[train], left), (rows[held], right)):
            assert (part != expected).sum() == 0
    assert ours.randint(2**31) == theirs.randint(2**31)
