"""What is said of a table: each column's kind, what to look at, and what training would refuse."""

import math

import numpy as np
import polars as pl
import pytest

from mlpax.data.describe import describe as describe_
from mlpax.data.reading import Reading
from mlpax.data.tables import as_frame
from mlpax.errors import Guess, InputError, options_of
from small_data import classified, dataset_of


def describe(frame, reading=Reading(), notice=lambda text: None):
    return describe_(as_frame(frame), reading, notice)


def test_describe():
    frame = pl.DataFrame(
        {
            "row": range(1, 9), "id": [f"i{i}" for i in range(8)], "same": ["k"] * 8,
            "size": [1.5, None, 2.0, math.nan, 1.5, 3.0, 1.5, 2.0], "when": ["2020-01-01", "2020-01-02"] * 4,
            "kind": ["a", "b", "a", "a"] * 2,
        }
    )  # fmt: skip
    notices: list[str] = []
    targets, task, facts = describe(frame, notice=notices.append)
    assert (targets, task) == (("kind",), "classification")
    assert facts == [
        ("row", "number", 0, 8, "may number the rows"),
        ("id", "category", 0, 8, ""),
        ("same", "constant", 0, 1, "left out, being constant"),
        ("size", "number", 2, 3, ""),
        ("when", "date", 0, 2, ""),
        ("kind", "category", 0, 2, "target of a classification: a 75%, b 25%"),
    ]
    assert options_of(notices) == ["--target kind", "--task classification"]
    assert [text.option for text in notices if isinstance(text, Guess)] == options_of(notices)
    sized = describe(frame, Reading(target="size"))
    assert (sized.task, sized.facts) == ("regression", [*facts[:3], facts[3]._replace(
        remark="target of a regression"), facts[4], facts[5]._replace(remark="")])  # fmt: skip
    with pytest.raises(InputError, match=r"no column 'kinds' in the data; did you mean 'kind'\?"):
        describe(frame, Reading(target="kinds"))


def test_describe_tells_what_training_will_refuse():
    frame = pl.DataFrame(
        {
            "size": [1.5, math.inf, 2.0], "price": ["1,234", "2", "3"],
            "when": ["13/01/2020", "02/01/2020", None], "kind": ["a", "b", "a"],
        }
    )  # fmt: skip
    assert [fact.remark for fact in describe(frame)[2]] == [
        "refused: column 'size' holds inf in row 2; numbers lie within ±3.4e+38",
        "refused: column 'price' holds '1,234' in row 1, which may be 1234 or 1.234; say --thousands , or"
        " --decimal ,",
        "",
        "target of a classification: a 67%, b 33%; refused: class 'b' of target 'kind' has one row; give it"
        " more, or drop it",
    ]
    assert describe(frame, Reading(target="size"))[2][0].remark == (
        "target of a regression; refused: column 'size' holds inf in row 2; numbers lie within ±3.4e+38"
    )
    frame = classified(2000, y=[str(i % 20) for i in range(1990)] + ["other"] * 10)
    assert "refused" not in describe(frame)[2][1].remark  # though one of the classes is no number
    dataset_of(frame)
    frame = pl.DataFrame({"a": [1, 2, 3], "kind": ["x", "x", None]})
    assert describe(frame)[2][1].remark == (
        "target of a classification: x 100%; refused: target 'kind' holds one class only, 'x'; there is"
        " nothing to learn"
    )


def test_describe_shows_eight_classes():
    frame = pl.DataFrame({"row": [3, 1, 2, 5, 4, 6, 8, 7, 9, 0], "kind": list("abcdefghij")})
    frame = pl.concat([frame, frame.with_columns(pl.col("row") + 10)])
    assert [fact.remark for fact in describe(frame)[2]] == [
        "may number the rows",
        "target of a classification: a 10%, b 10%, c 10%, d 10%, e 10%, f 10%, g 10%, h 10% and 2 more",
    ]


def test_an_index_is_told():
    frame = classified(20).select(pl.Series("", range(20)), pl.all())
    assert describe(frame)[2][0] == ("", "drop", 0, 20, "left out")
    notices: list[str] = []
    describe(frame, notice=notices.append)
    assert "--column =drop" in options_of(notices)


def test_several_targets_of_classes():
    frame = classified(20, a=["x", "y"] * 10, b=[True, True, False, False] * 5, c=np.arange(20) * 1.5)
    said = []
    targets, task, facts = describe(frame, Reading(target=("a", "b")), said.append)
    assert (targets, task) == (("a", "b"), "classification")
    remarks = {fact.column: fact.remark for fact in facts}
    assert remarks["a"] == "target of a classification: x 50%, y 50%"
    assert "the task is classification: 'a' has 2 distinct classes, 'b' 2; --task says otherwise" in said
    remarks = {fact.column: fact.remark for fact in describe(frame, Reading(target=("a", "c")))[2]}
    assert "refused: target 'a' is of classes, and 'c' of numbers; train a run for each" in remarks["c"]


def test_a_target_that_is_refused_has_no_task():
    frame = pl.DataFrame({"size": [1, 2, 3, 4], "price": ["1,234", "2,345", "3,456", "4,567"]})
    targets, task, facts = describe(frame, Reading(target="price"))
    assert (targets, task) == (("price",), "")
    assert facts[1].remark.startswith("target; refused: column 'price' holds '1,234' in row 1, which may be")
    assert describe(frame, Reading(target="price", thousands=","))[1] == "regression"
