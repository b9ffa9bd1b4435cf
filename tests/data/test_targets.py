"""From a table to arrays: the target and its task, what is held out, what is said, what is refused."""

import datetime
import math

import numpy as np
import polars as pl
import pytest

from mlpax.data.kinds import tell_kinds, typed
from mlpax.data.reading import Reading
from mlpax.data.tables import as_frame
from mlpax.data.targets import classes_of, encode, index_of, infer_task, targets_of
from mlpax.errors import InputError, options_of
from small_data import classified, dataset_of


def rows_of(X, dataset):
    """The rows' numbers behind scaled inputs: the clip and the scale undone."""
    learned = dataset.columns.columns[0]
    z = X[:, 0].astype(np.float64)
    return np.round(z / np.sqrt(1 - (z / 3) ** 2) / learned.scale + learned.median).astype(int).tolist()


# The target


@pytest.mark.parametrize(
    ("columns", "chosen", "why"),
    [
        (["a", "b"], "b", "the last column"),
        (["a", "y", "b"], "y", "by its name"),
        (["y", "Class", "b"], "Class", "by its name"),
        (["class", "LABEL", "b"], "LABEL", "by its name"),
        (["label", "target", "b"], "target", "by its name"),
    ],
)
def test_the_target_is_guessed_and_said(columns, chosen, why):
    said = []
    assert targets_of(pl.DataFrame({name: [1] for name in columns}), None, said.append) == (chosen,)
    assert said == [f"the target is {chosen!r}, {why}; --target names another"]


def test_the_target_that_is_named():
    frame = pl.DataFrame({"price": [1], "y": [2]})
    said = []
    assert targets_of(frame, "price", said.append) == ("price",)
    assert targets_of(frame, "y,price", said.append) == targets_of(frame, ("y", "price"), said.append)
    assert targets_of(frame.rename({"y": "y,price"}), "y,price", said.append) == ("y,price",)
    assert said == []
    with pytest.raises(InputError, match=r"no column 'prize' in the data; did you mean 'price'\?"):
        targets_of(frame, "prize", said.append)
    with pytest.raises(InputError, match=r"no column 'zzz' in the data; there are price, y"):
        targets_of(frame, "y,zzz", said.append)
    with pytest.raises(InputError, match=r"target 'y' is named twice; name it once"):
        targets_of(frame, "y,y", said.append)


@pytest.mark.parametrize("name", ["target", "group", "weight"])
def test_a_misnamed_column_is_refused_with_the_nearest(name):
    frame = classified(house=["a"] * 20)
    with pytest.raises(InputError, match=r"no column 'hause' in the data; did you mean 'house'\?"):
        dataset_of(frame, **{name: "hause"})


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["a", "b", "c"], "classification"),
        ([True, False], "classification"),
        ([0, 1, 1], "classification"),
        ([-1, 1, 1], "classification"),
        ([5, 90], "classification"),
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, None], "classification"),
        ([1.0, 2.0, math.nan], "classification"),
        (list(range(10)), "classification"),
        (["0", "1", None, "2"], "classification"),
        (list(range(20)), "classification"),
        (list(range(21)), "regression"),
        (list(range(0, 101, 10)), "regression"),
        ([*range(27), 30], "regression"),
        ([0.5, 1.0], "regression"),
        (["1.5", "2", "3"], "regression"),
        ([1, 2, 3, 4, 5, 7] * 2, "classification"),  # a few that lack are no matter
        ([1, 2, 3, 4, 5, 7], "regression"),  # each a class of one row
        ([0, 5, 6, 7, 8] * 5, "regression"),
    ],
)
def test_the_task_is_what_the_values_say(values, task):
    for cells in (values, values[::-1]):
        frame = as_frame({"x": range(len(cells)), "y": pl.Series("y", cells, strict=False)})
        assert infer_task(typed(frame["y"], tell_kinds(frame, Reading(target="y"))["y"])) == task


def test_an_infinite_target_is_refused_with_its_row():
    with pytest.raises(InputError, match=r"column 'y' holds inf in row 3"):
        dataset_of(pl.DataFrame({"x": [1, 2, 3, 4, 5], "y": [None, 1.5, math.inf, 2, 3]}))


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (["b", "a"], ("a", "b")),
        ([7, 3], (3, 7)),
        ([2.0, 1.0], (1, 2)),
        (["10", "9"], (9, 10)),
        (["2.0", "1.0"], (1, 2)),
        (["012", "007"], ("007", "012")),
        (["1", "01"], ("01", "1")),
        ([2**53 + 1, 2**53], (2**53, 2**53 + 1)),
        ([str(2**53 + 1), str(2**53)], (2**53, 2**53 + 1)),
        (pl.Series([2**64 - 1, 2**64 - 2], dtype=pl.UInt64), (2**64 - 2, 2**64 - 1)),
        ([True, False], (False, True)),
        (pl.Series(["v", "u"], dtype=pl.Categorical), ("u", "v")),
    ],
)
def test_classes_keep_their_type(values, classes):
    said = []
    dataset = dataset_of(classified(y=list(values) * 10), notice=said.append)
    assert dataset.classes == classes
    assert [type(c) for c in dataset.classes] == [type(c) for c in classes]
    assert dataset.y_train.dtype == np.int32
    assert sorted(set(dataset.y_train.tolist())) == [0, 1]
    assert said[0] == "the target is 'y', by its name; --target names another"
    assert "the task is classification: 'y' has 2 distinct classes; --task says otherwise" in said


def test_labels_and_values():
    assert classes_of(pl.Series(["1", "0"], dtype=pl.Categorical)) == ("0", "1")  # text, not digits in a file
    assert encode(pl.Series(["b", "a", "b"]), ("a", "b")).tolist() == [1, 0, 1]
    assert encode(pl.Series(["3", "7"]), (3, 7)).tolist() == [0, 1]
    assert encode(pl.Series([7.0, 3.0]), (3, 7)).tolist() == [1, 0]
    for values in ([True, False], ["true", "False"]):
        for classes in ((False, True), ("False", "True"), ("FALSE", "true")):
            assert encode(pl.Series(values), classes).tolist() == [1, 0]
    y = encode(pl.Series([1, 2.5], strict=False), ())
    assert (y.dtype, y.tolist()) == (np.float64, [[1.0], [2.5]])


@pytest.mark.parametrize(
    ("values", "classes", "says"),
    [
        (["a", "c"], ("a", "b"), r"target 'y' holds 'c', none of the model's classes \('a', 'b'\)"),
        ([3, 4], (3, 7), r"target 'y' holds 4, none of"),
        ([3.5], (3, 7), r"target 'y' holds 3.5, none of"),
        ([str(2**53 + 1)], (2**53, 7), r"target 'y' holds '9007199254740993', none of"),
        (["x"], (3, 7), r"column 'y' holds 'x' in row 1, which is no number"),
        (["maybe"], (False, True), r"target 'y' holds 'maybe', none of"),
        (["a", None], ("a", "b"), r"target 'y' is missing in 1 rows; fill or drop them"),
        ([1.0, math.nan], (1, 2), r"target 'y' is missing in 1 rows; fill or drop them"),
        (["1.5", "nan"], (), r"target 'y' is NaN in row 2; drop it"),
        (["1.5", "x"], (), r"column 'y' holds 'x' in row 2, which is no number"),
        ([1e39], (), r"column 'y' holds 1e\+39 in row 1"),
    ],
)
def test_what_is_no_label_is_refused(values, classes, says):
    with pytest.raises(InputError, match=says):
        encode(pl.Series("y", values), classes)


# Rows without a target, and classes without rows


def test_rows_without_a_target_are_dropped_and_said():
    said = []
    y = [1.5, None, math.nan, *range(17)]
    dataset = dataset_of(classified(y=y), validation=0.5, notice=said.append)
    assert "dropped 2 rows without a target" in said
    kept = sorted(rows_of(dataset.X_train, dataset) + rows_of(dataset.X_valid, dataset))
    assert kept == [0, *range(3, 20)]
    pairs = zip(rows_of(dataset.X_train, dataset), dataset.y_train[:, 0].tolist(), strict=True)
    assert all(y[row] == value for row, value in pairs)


def two_kinds(rows=60, **changes):
    """A table of two targets of classes, `a` of three and `b` of two."""
    frame = pl.DataFrame(
        {"size": np.arange(rows) * 2.0, "a": list("xyz") * (rows // 3), "b": [0, 1] * (rows // 2)}
    )
    return frame.with_columns(**changes)


def test_several_targets_of_classes():
    said = []
    frame = two_kinds(a=pl.when(pl.int_range(60) > 4).then("a"))
    dataset = dataset_of(frame, target=("a", "b"), notice=said.append)
    assert dataset.each_classes == (("x", "y", "z"), (0, 1))
    assert dataset.y_train.dtype == np.int32
    kept = rows_of(np.concatenate([dataset.X_train, dataset.X_valid]), dataset)
    truth = np.concatenate([dataset.y_train, dataset.y_valid])
    assert sorted(kept) == list(range(10, 120, 2))
    for size, (a, b) in zip(kept, truth.tolist(), strict=True):
        assert (a, b) == (size // 2 % 3, size // 2 % 2)
    assert said[:2] == [
        "the task is classification: 'a' has 3 distinct classes, 'b' 2; --task says otherwise",
        "dropped 5 rows without a target",
    ]
    assert options_of(said) == ["--task classification"]


@pytest.mark.parametrize(
    ("changes", "options", "says"),
    [
        (
            {"b": pl.col("size") * 1.25}, {},
            "target 'a' is of classes, and 'b' of numbers; train a run for each",
        ),
        ({"b": pl.lit(1)}, {"task": "classification"}, "target 'b' holds one class only, 1"),
        ({}, {"class_weight": "balanced"}, "class_weight 'balanced' is for one target, and there are 2"),
        ({"b": pl.when(pl.int_range(60) > 29).then("b"), "a": pl.when(pl.int_range(60) < 40).then("a")}, {},
         "a target is missing in 50 of 60 rows, more than half; name fewer targets"),
        ({"b": pl.when(pl.int_range(60) == 3).then(2).otherwise("b")}, {},
         "class 2 of target 'b' has one row; give it more, or drop it"),
    ],
)  # fmt: skip
def test_several_targets_of_classes_that_cannot_be_learned(changes, options, says):
    with pytest.raises(InputError, match=says):
        dataset_of(two_kinds(**changes), target=("a", "b"), **options)


def test_several_targets_of_numbers_may_be_classes_if_the_user_says_so():
    frame = two_kinds(a=pl.int_range(60) % 3 * 100)
    reading = {"target": ("a", "b"), "task": "classification"}
    assert dataset_of(frame, **reading).each_classes == ((0, 100, 200), (0, 1))
    values = dataset_of(frame, target=("a", "b"), task="regression")
    assert values.each_classes == ()
    assert values.y_train.dtype == np.float64


def test_several_targets_of_classes_of_a_table_to_validate_on():
    reading = {"target": ("a", "b"), "task": "classification"}
    held = dataset_of(two_kinds(), **reading, valid_frame=two_kinds(12))
    assert held.y_valid.tolist() == [[i % 3, i % 2] for i in range(12)]


def test_half_of_the_targets_may_lack_not_more():
    frame = pl.DataFrame({"x": np.arange(8.0), "y": [1, 2, 1, 2, None, None, None, None]})
    assert len(dataset_of(frame, validation=0.5).y_train) == 2
    frame = frame.with_columns(y=pl.Series([1, 2, 1] + [None] * 5))
    with pytest.raises(InputError, match=r"target 'y' is missing in 5 of 8 rows, more than half"):
        dataset_of(frame)


@pytest.mark.parametrize(
    ("y", "options", "says"),
    [
        (["a"] * 20, {}, r"target 'y' holds one class only, 'a'; there is nothing to learn"),
        ([3.5] * 20, {}, r"target 'y' holds one value only, 3.5; there is nothing to learn"),
        (
            [1.7e9 + 100 * i for i in range(20)],
            {},
            r"target 'y' deviates by 577 from its mean 1700000950, too little for predictions of 7 digits",
        ),
        (["a"] * 19 + ["b"], {}, r"class 'b' of target 'y' has one row; give it more, or drop it"),
        (
            [0.5, 1.5] * 10,
            {"task": "classification"},
            r"target 'y' holds 0.5, which is continuous and no class; its task is regression",
        ),
        (["a", "b"] * 10, {"task": "regression"}, r"column 'y' holds 'a' in row 1, which is no number"),
        (["a", "b"] * 10, {"task": "regresion"}, r"unknown task 'regresion'; did you mean 'regression'\?"),
        (["a", "b"] * 10, {"class_weight": "even"}, r"class_weight 'even' is no weight; write a=2,b=1"),
        (["a", "b"] * 10, {"class_weight": "a=2,d=1"}, r"unknown class 'd'"),
        (["a", "b"] * 10, {"class_weight": "a=-1"}, r"class_weight 'a=-1' is no number from 0"),
        (["a", "b"] * 10, {"class_weight": "a=much"}, r"class_weight 'a=much' is no number from 0"),
        (
            [*range(10), *range(30, 40)],
            {"class_weight": "balanced"},
            r"class_weight 'balanced' is for classes",
        ),
        (["a"] * 18 + ["b"] * 2, {"time_ordered": True}, r"class 'b' has no training row after the split"),
        (["a", "b"] * 10, {"group": "y"}, r"column 'y' is the target; group and weight are other columns"),
        (["a", "b"] * 10, {"weight": "x", "target": "y", "group": "x"}, r"no column beside 'y'"),
        (["a", "b"] * 10, {"validation": -0.5}, r"the share -0.5 to hold out is outside"),
    ],
)
def test_what_cannot_be_learned_is_refused(y, options, says):
    with pytest.raises(InputError, match=says) as caught:
        dataset_of(classified(y=y), **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(5))
def test_refused_cells_are_named_by_their_row_in_the_table(seed):
    """Whichever rows are trained on, and though two have no target."""
    frame = classified(300, y=[None, None, *["a", "b"] * 149])
    for at, cell in ((250, math.inf), (1, math.inf)):
        x = [i / 7 for i in range(300)]
        x[at] = cell
        with pytest.raises(InputError, match=rf"column 'x' holds inf in row {at + 1};"):
            dataset_of(frame.with_columns(x=pl.Series(x)), seed=seed)
    text = [str(i) for i in range(300)]
    for row in (120, 130, 140, 150):
        text[row] = f"{row}O"
    with pytest.raises(InputError, match=r"4 of its 300 cells are none, such as '120O' in row 121"):
        dataset_of(frame.with_columns(x=pl.Series(text)), seed=seed)


# Weights


def test_balanced_classes_weigh_the_same():
    """Of 16 training rows 4 are of the one class, 12 of the other: 16 / (2 * 4) and 16 / (2 * 12)."""
    dataset = dataset_of(classified(y=["a"] * 5 + ["b"] * 15), class_weight="balanced")
    assert np.bincount(dataset.y_train).tolist() == [4, 12]
    np.testing.assert_allclose(dataset.weight, np.where(dataset.y_train == 0, 2, 2 / 3), rtol=1e-6)


def test_weights_of_classes_by_name():
    dataset = dataset_of(
        classified(y=["no"] * 5 + ["yes"] * 10 + ["may be"] * 5), class_weight="yes=2.5, no=0.5"
    )
    named = np.array(dataset.classes)[dataset.y_train]
    wanted = np.select([named == "yes", named == "no"], [2.5, 0.5], 1)
    np.testing.assert_array_equal(dataset.weight, wanted.astype(np.float32))
    assert {*named} == {"yes", "no", "may be"}


def test_a_column_of_weights_is_no_input():
    dataset = dataset_of(classified(w=[i / 2 for i in range(20)]), weight="w")
    assert [c.name for c in dataset.columns.columns] == ["x"]
    assert dataset.weight.dtype == np.float32
    assert dataset.weight.tolist() == [i / 2 for i in rows_of(dataset.X_train, dataset)]
    assert dataset_of(classified()).weight.tolist() == [1] * 16
    both = dataset_of(classified(w=[3] * 20), weight="w", class_weight="balanced")
    assert both.weight.tolist() == [3] * 16


def test_validation_rows_have_weights_too():
    frame = classified(w=[i / 2 for i in range(20)])
    dataset = dataset_of(frame, weight="w")
    assert dataset.weight_valid.tolist() == [i / 2 for i in rows_of(dataset.X_valid, dataset)]
    valid = pl.DataFrame({"x": [1.0, 2.0], "y": ["a", "b"], "w": [7, 8]})
    assert dataset_of(frame, weight="w", valid_frame=valid).weight_valid.tolist() == [7, 8]
    assert dataset_of(frame, weight="w", valid_frame=valid.drop("w")).weight_valid.tolist() == [1, 1]
    frame = frame.with_columns(y=pl.Series(["a"] * 5 + ["b"] * 15))
    options = {"class_weight": "balanced", "weight": "w"}
    assert dataset_of(frame, valid_frame=valid, **options).weight_valid.tolist() == pytest.approx(
        [7 * 20 / 2 / 5, 8 * 20 / 2 / 15]
    )
    dataset = dataset_of(frame, class_weight="balanced")
    np.testing.assert_allclose(dataset.weight_valid, np.where(dataset.y_valid == 0, 2, 2 / 3), rtol=1e-6)
    with pytest.raises(InputError, match=r"weight 'w' is zero in every validation row"):
        dataset_of(frame, weight="w", valid_frame=valid.with_columns(w=pl.lit(0)))


@pytest.mark.parametrize(
    ("cell", "says"),
    [(-1.0, r"weight 'w' is -1.0 in row 20"),
     (None, r"weight 'w' is nan in row 20"), (math.inf, r"'w' holds inf")],
)  # fmt: skip
def test_weights_are_numbers_from_0(cell, says):
    with pytest.raises(InputError, match=says):
        dataset_of(classified(w=[1.0] * 19 + [cell]), weight="w")
    with pytest.raises(InputError, match=r"weight 'w' is zero in every training row"):
        dataset_of(classified(w=[0.0] * 20), weight="w")
    with pytest.raises(InputError, match=r"weight 'w' is zero in every test row"):
        dataset_of(classified(w=[1.0] * 16 + [0.0] * 4), weight="w", time_ordered=True, test=0.2)


# What is held out


def test_shares_of_each_class():
    dataset = dataset_of(classified(40, y=["a"] * 30 + ["b"] * 10), validation=0.25, test=0.2)
    assert np.bincount(dataset.y_test).tolist() == [6, 2]
    assert np.bincount(dataset.y_valid).tolist() == [6, 2]  # a quarter of the 24 and 8 that are left
    assert np.bincount(dataset.y_train).tolist() == [18, 6]
    parts = [rows_of(X, dataset) for X in (dataset.X_train, dataset.X_valid, dataset.X_test)]
    assert sorted(row for part in parts for row in part) == list(range(40))


def test_the_seed_settles_the_split():
    def held(seed):
        return dataset_of(classified(), seed=seed, validation=0.25, test=0.2)

    assert held(3).fingerprint == held(3).fingerprint
    assert len({held(seed).fingerprint for seed in range(4)}) == 4


def test_the_last_rows_in_time():
    dataset = dataset_of(classified(), validation=0.25, test=0.2, time_ordered=True)
    assert rows_of(dataset.X_train, dataset) == list(range(12))
    assert rows_of(dataset.X_valid, dataset) == list(range(12, 16))
    assert rows_of(dataset.X_test, dataset) == list(range(16, 20))


@pytest.mark.parametrize("kind", ["text", "whole", "lacking", "date"])
def test_a_group_is_never_on_two_sides(kind):
    numbered = [i // 4 % 10 for i in range(80)]
    group = {
        "text": [f"g{i}" for i in numbered],
        "whole": numbered,
        "lacking": [f"g{i}" if i else None for i in numbered],
        "date": [datetime.date(2020, 1, 1 + i) for i in numbered],
    }[kind]
    for seed in range(5):
        dataset = dataset_of(classified(80, g=group), group="g", test=0.2, seed=seed)
        assert [c.name for c in dataset.columns.columns] == ["x"]
        parts = [rows_of(X, dataset) for X in (dataset.X_train, dataset.X_valid, dataset.X_test)]
        groups = [{numbered[row] for row in part} for part in parts]
        assert sum(map(len, groups)) == 10
        assert all(groups)
        assert len(groups[2]) == 2


def test_each_side_needs_a_group():
    frame = classified(g=["u"] * 10 + ["v"] * 10)
    with pytest.raises(InputError, match=r"the test rows leave one group of 'g', .* give a third group, or"):
        dataset_of(frame, group="g", test=0.4)
    for options in ({"test": 0.4, "validation": 0.0}, {"validation": 0.4}):
        assert len(dataset_of(frame, group="g", **options).X_train) == 10
    with pytest.raises(InputError, match=r"all 20 rows are of one group; choose another column"):
        dataset_of(frame.with_columns(g=pl.lit("u")), group="g")


def test_a_table_to_validate_on():
    frame, valid = classified(), pl.DataFrame({"extra": [1, 2], "y": ["a", "b"], "x": [9.5, 30]})
    dataset = dataset_of(frame, valid_frame=valid)
    assert len(dataset.X_train) == 20
    assert dataset.y_valid.tolist() == [0, 1]
    np.testing.assert_allclose(dataset.X_valid[0], 0)  # 9.5 is the median of 0 .. 19
    assert dataset.columns.columns[0].median == 9.5
    with pytest.raises(InputError, match=r"target 'y' holds 'c', none of the model's classes"):
        dataset_of(frame, valid_frame=valid.with_columns(y=pl.Series(["a", "c"])))
    with pytest.raises(InputError, match=r"column 'x' is missing"):
        dataset_of(frame, valid_frame=valid.drop("x"))
    with pytest.raises(InputError, match=r"no column 'y' in the data"):
        dataset_of(frame, valid_frame=valid.drop("y"))


def test_the_transform_is_of_training_rows_alone():
    """The last rows are far off, of a new level, and lack cells: nothing is learned of that."""
    x = [*range(16), 10**6, 10**6, 10**6, 10**6]
    level = ["u", "v", "w", "u", "v", "w"] * 2 + ["u", "v", "w", "u"] + ["new"] * 4
    lacking = [float(i) for i in range(16)] + [None] * 4
    frame = classified(x=x, level=level, lacking=lacking)
    dataset = dataset_of(frame, validation=0.2, time_ordered=True)
    number, category, other = dataset.columns.columns
    assert number.median == other.median == 7.5
    assert number.scale == 1 / 7.5
    assert category.levels == ("u", "v", "w")
    assert not other.missing
    assert dataset.X_valid[:, 1:].tolist() == [[0, 0, 0, 0]] * 4
    np.testing.assert_allclose(dataset.X_valid[:, 0], 3, atol=1e-6)


def test_exact_doubles_across_the_split_are_counted_and_said():
    x = [*range(16), 0, 1, 3, 99]  # of the last four, rows 0 and 1 again; 3 with the other class
    y = ["b", "a"] * 8 + ["b", "a", "b", "a"]
    said = []
    dataset_of(classified(x=x, y=y, w=[1.0] * 20), time_ordered=True, weight="w", notice=said.append)
    assert said[-1] == "2 held-out rows with an exact double among the training rows: scores may flatter"
    said.clear()
    dataset_of(classified(), notice=said.append)
    assert not any("double" in line for line in said)
    other = pl.DataFrame({"y": ["b", "a", "a"], "x": [0.0, 1.0, 2.5], "more": [1, 2, 3]})
    dataset_of(classified(), valid_frame=other, notice=said.append)
    assert said[-1].startswith("2 held-out rows with an exact double")
    frame = classified(x=[float(v) for v in x], y=y)
    dataset_of(frame, time_ordered=True, test=0.2, valid_frame=other, notice=said.append)
    assert said[-1].startswith("4 held-out rows with an exact double")


@pytest.mark.parametrize("seed", range(5))
def test_a_kind_is_that_of_all_rows(seed):
    """Wherever the only letter among codes falls, in training or not."""
    codes = [str(i % 4) for i in range(19)] + ["A"]
    dataset = dataset_of(classified(code=codes), seed=seed)
    assert dataset.columns.columns[1].kind == "category"


def test_columns_left_out_are_said():
    said = []
    frame = classified(100, same=["k"] * 100, id=[f"i{i}" for i in range(100)])
    dataset_of(frame, notice=said.append)
    assert said[2:] == [
        "columns left out, being constant: same",
        "'x' may number the rows, which says nothing of new ones; --drop x leaves it out",
        "'id' is left out, being another text in nearly every row; --id id writes it beside predictions",
    ]
    said.clear()
    rows = 60_000
    names = [f"u{i % 12_000}" for i in range(rows)]
    dataset_of(classified(rows, name=names, id=[f"i{i}" for i in range(rows)]), notice=said.append)
    assert said[-2:] == [
        "of the levels of 'name' the 10,000 most frequent are told apart",
        "'id' is left out, being another text in nearly every row; --id id writes it beside predictions",
    ]


def test_constant_in_training_alone_is_constant():
    said = []
    dataset_of(classified(100, flag=["a"] * 99 + ["b"]), time_ordered=True, notice=said.append)
    assert "columns left out, being constant: flag" in said


@pytest.mark.parametrize(
    "ids", [range(100), range(5, 105), [i * i for i in range(100)], [*range(50, 100), *range(50)]]
)
def test_row_numbers_are_said(ids):
    said = []
    dataset_of(classified(100, id=list(ids)), notice=said.append)
    assert [line.split()[0] for line in said if "may number the rows" in line] == ["'x'", "'id'"]


@pytest.mark.parametrize("cells", [[i // 2 for i in range(100)], [i * i % 101 for i in range(100)],
                                   [i + 0.5 for i in range(100)], [None, *range(99)]])  # fmt: skip
def test_other_whole_numbers_are_no_row_numbers(cells):
    said = []
    dataset_of(classified(100, id=cells), notice=said.append)
    assert [line.split()[0] for line in said if "may number the rows" in line] == ["'x'"]


def test_the_index_of_pandas_is_no_input():
    """Of a CSV; that of a Parquet file is told by its name."""
    frame = classified(20)
    for index in (range(20), [7, 3, *range(100, 118)], [str(i) for i in range(20)]):
        indexed = frame.select(pl.Series("", index), pl.all())
        assert index_of(indexed, "y") == ""
    days = [datetime.date(2024, 1, 1 + i) for i in range(20)]
    for cells in ([1, *range(19)], [i / 2 for i in range(20)], [None, *range(19)], days, ["a"] * 20):
        assert index_of(frame.select(pl.Series("", cells), pl.all()), "y") is None
    assert index_of(frame, "y") is index_of(frame.select(pl.col("x").alias(""), "y"), "y") is None


@pytest.mark.parametrize(
    ("cells", "values"),
    [(["1.286.595", "3.552", "12"], [1286595, 3552, 12]), (["2,552,022", "3,552", None], [2552022, 3552]),
     (["1,5", "2", "3"], [1.5, 2, 3])],
)  # fmt: skip
def test_numbers_by_commas_and_thousands_are_numbers(cells, values):
    """Not left out as so many different texts, nor taken for classes."""
    cells = (cells * 7)[:20]
    assert dataset_of(classified(20, price=cells)).columns.columns[1].kind == "number"
    dataset = dataset_of(pl.DataFrame({"a": range(20), "kind": cells}), task="regression", validation=0.0)
    assert sorted(set(dataset.y_train[:, 0].tolist())) == sorted(values)


def test_a_target_of_numbers_but_for_a_slip_is_no_set_of_classes():
    said = []
    cells = [None, *(str(i / 7) for i in range(297)), "unknown", "12O"]
    dataset = dataset_of(classified(300, y=cells), validation=0.0, notice=said.append)
    assert dataset.y_train[:, 0].tolist() == [i / 7 for i in range(297)]
    assert "'y' has 'unknown' in 1 cell, taken as missing" in said
    assert "column 'y' holds numbers but '12O' in row 300, taken as missing" in said
    assert "dropped 3 rows without a target" in said
    with pytest.raises(InputError, match=r"class '0.0' of target 'y' has one row"):
        dataset_of(classified(300, y=cells), task="classification")


def test_refused_targets_are_named_by_their_row_in_the_table():
    frame = classified(20, y=[None, None, "1,234"] + ["2"] * 17)
    with pytest.raises(InputError, match=r"column 'y' holds '1,234' in row 3, which may be 1234 or 1.234"):
        dataset_of(frame)
