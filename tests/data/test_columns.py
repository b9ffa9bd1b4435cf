"""Transforms against hand-made frames: what is learned, what the network sees, what is refused."""

import copy
import datetime
import json
import math

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpax.data import columns as of_columns
from mlpax.data.columns import (
    Category,
    Columns,
    Date,
    LeftOut,
    Number,
    as_frame,
    fit_columns,
    from_json_1,
)
from mlpax.data.kinds import Kind, numbers, tell_kinds
from mlpax.engine.rows import fit_scaling
from mlpax.errors import InputError


def column(values, **types):
    """One column's record and inputs, fitted on these values."""
    columns = fit_columns(as_frame({"c": pl.Series(values, **types)}))
    return columns.columns[0], columns


def inputs(columns, values, **types):
    return columns(as_frame({"c": pl.Series(values, **types)}))


def kind_of(values) -> Kind:
    return tell_kinds(as_frame({"c": pl.Series(values)}))["c"]


def clipped(x):
    x = np.asarray(x, np.float64)
    return x / np.sqrt(1 + (x / 3) ** 2)


# One shift and one scale


def test_scaling_of_all_features():
    X = np.array([[0, 2], [4, 10]])
    assert fit_scaling(X, "raw") == (0, 1)
    assert fit_scaling(X, "unit") == (0, 0.1)
    assert fit_scaling(X, "standardize") == (4, pytest.approx(1 / math.sqrt(14)))
    assert fit_scaling(X.astype(np.uint8), "standardize") == (4, pytest.approx(1 / math.sqrt(14)))
    assert fit_scaling(np.full((2, 2), 5), "standardize") == (5, 1)


# Numbers


def test_numbers_by_their_quartiles():
    """Of 0, 1, 2, 3, 100 the median is 2, the quartiles are 1 and 3."""
    learned, columns = column([0, 1, 2, 3, 100])
    assert learned == Number("c", 2.0, 0.5)
    assert columns.dense == 1
    X = inputs(columns, [2, 4, -4, 100, None])
    assert X.dtype == np.float32
    expected = [0, 1 / math.sqrt(1 + 1 / 9), -3 / math.sqrt(2), 49 / math.sqrt(1 + (49 / 3) ** 2), 0]
    np.testing.assert_allclose(X[:, 0], expected, rtol=1e-6)
    assert abs(inputs(columns, [1e38])[0, 0] - 3) < 1e-6  # the clip's limit


def test_numbers_without_a_distance_of_quartiles():
    """Then it is half the range that is one."""
    learned, columns = column([5.0] * 8 + [1.0, 9.0])
    assert learned == Number("c", 5.0, 0.25)
    np.testing.assert_allclose(inputs(columns, [9.0, 1.0, 5.0])[:, 0], clipped([1, -1, 0]), rtol=1e-6)


def test_text_of_numbers_is_numbers():
    assert column(["1", "2e0", "-3.5", None])[0].kind == "number"
    assert column(["1", "2", "x"])[0].kind == "category"


@pytest.mark.parametrize("lacking", [None, math.nan])
def test_missing_numbers(lacking):
    learned, columns = column([0.0, 2.0, lacking, 4.0], strict=False)
    assert learned == Number("c", 2.0, 0.5, missing=True)
    np.testing.assert_allclose(inputs(columns, [lacking, 4.0]), [[0, 1], [clipped(1), 0]], rtol=1e-6)
    assert inputs(columns, [None, None]).tolist() == [[0, 1], [0, 1]]


def test_an_indicator_only_where_training_rows_lacked_cells():
    learned, columns = column([0.0, 2.0, 4.0])
    assert not learned.missing
    assert inputs(columns, [math.nan, 2.0]).tolist() == [[0], [0]]


@pytest.mark.parametrize(
    "values", [[3, 3, 3], ["x"] * 3, [True] * 3, [None] * 3, [math.nan] * 3, [0.0, 5e-324, 0.0]]
)
def test_constant_columns_are_dropped(values):
    frame = as_frame({"c": pl.Series(values), "d": [1, 2, 3]})
    columns = fit_columns(frame)
    assert [c.kind for c in columns.columns] == ["constant", "number"]
    assert columns(frame).shape == (3, 1)
    with pytest.raises(InputError, match=r"every column is constant; there is nothing to learn from"):
        fit_columns(frame.select("c"))


def test_a_value_now_and_then_is_told_by_the_indicator():
    learned, columns = column([7.0, None, 7.0])
    assert learned == Number("c", 7.0, 0.0, missing=True)
    assert inputs(columns, [7.0, None, 9.0]).tolist() == [[0, 0], [0, 1], [0, 0]]


@pytest.mark.parametrize(("cell", "said"), [(math.inf, "inf"), (-math.inf, "-inf"), (1e39, r"1e\+39")])
def test_what_float32_cannot_hold_is_refused(cell, said):
    says = rf"column 'c' holds {said} in row 3; numbers lie within ±3.4e\+38"
    with pytest.raises(InputError, match=says):
        inputs(column([1.0, 2.0])[1], [1.0, 2.0, cell])
    with pytest.raises(InputError, match=says):
        inputs(column(["1", "2", "3"])[1], ["1", "2", str(cell)])


def test_text_among_numbers_is_refused():
    _, columns = column([1.0, 2.0, 3.0])
    with pytest.raises(InputError, match=r"column 'c' holds 'many' in row 2, which is no number"):
        inputs(columns, ["1", "many", None])
    assert inputs(columns, ["2", None]).tolist() == [[0], [0]]
    cells = [str(i) for i in range(200)]
    cells[120] = "12O"
    learned, columns = column(cells)
    assert (learned.missing, learned.numerals.missing) == (True, ("12O",))
    assert inputs(columns, ["12O", "100"])[:, 1].tolist() == [1, 0]
    with pytest.raises(
        InputError, match=r"column 'c' holds numbers, but 1 of its 60 cells are none, such as"
    ):
        column([str(i / 7) for i in range(59)] + ["oops"])
    codes = [str(i % 9) for i in range(95)] + ["9a"] * 5
    assert column(codes)[0].kind == "category"


def test_kinds_may_be_told_of_more_rows():
    """As of a code whose one letter is no training row's, or of days that could be months."""
    frame = pl.DataFrame({"code": ["1", "2", "1", "2"], "day": ["01/02/2020", "02/02/2020"] * 2})
    others = pl.DataFrame({"code": ["A"], "day": ["13/02/2020"]})
    kinds = tell_kinds(pl.concat([frame, others]))
    columns = fit_columns(frame, kinds)
    assert [(c.kind, getattr(c, "format", "")) for c in columns.columns] == [
        ("category", ""),
        ("date", "day-first"),
    ]
    assert columns(others)[0, 0] == 0


def test_text_from_memory_is_that_of_a_csv():
    for dtype in (pl.String, pl.Categorical):
        learned, columns = column(pl.Series(["u", " v ", "u ", "v", "NA", ""], dtype=dtype))
        assert (learned.levels, learned.missing) == (("u", "v"), True)
        assert inputs(columns, ["v", " v", "NA"]).tolist() == [[0, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert column([" 1", "2.5 ", "", "NA"])[0].kind == "number"
    assert numbers(as_frame({"c": [" 1", "N/A"]})["c"], Kind("number")).tolist()[0] == 1


def test_numbers_of_a_series():
    assert numbers(pl.Series([True, None, False]), Kind("number")).tolist()[::2] == [1, 0]
    x = numbers(pl.Series(["1", None, "-2e3"]), Kind("number"))
    np.testing.assert_array_equal(x, [1, math.nan, -2000])


@pytest.mark.parametrize("values", [[[1], [2]], [b"a", b"\xff"], [{"a": 1}, {"a": 2}]])
def test_cells_that_are_no_single_values_are_refused(values):
    with pytest.raises(InputError, match=r"column 'c' is of type .*; give numbers, text or dates"):
        column(values)


# Categories


def test_two_levels_are_two_sides():
    learned, columns = column(["u", "v", "v", "u"])
    assert (learned.levels, learned.missing) == (("u", "v"), False)
    assert inputs(columns, ["v", "u", "w", None]).tolist() == [[1], [-1], [0], [0]]


def test_booleans_are_two_sides_in_any_spelling():
    for values in ([True, False, True], ["True", "False", "True"], ["TRUE", "FALSE", "FALSE"]):
        _, columns = column(values)
        for cells in ([False, True, None], ["false", "true", None], ["False", "True", None]):
            assert inputs(columns, cells).tolist() == [[-1], [1], [0]]


def test_a_truth_is_the_same_level_in_any_type():
    for values in (["True", None, "True"], [True, None, True]):
        learned, columns = column(values)
        assert learned.missing
        for cells in (
            [True, False, None],
            ["true", "False", ""],
            [1, 0, None],
            [1.0, 0.0, None],
            ["1", "0", "NA"],
        ):
            assert inputs(columns, cells).tolist() == [[1, 0], [0, 0], [0, 1]]
    _, columns = column([True, False, True])
    assert inputs(columns, [1, 0, 2]).tolist() == [[1], [-1], [0]]
    frame = as_frame({"c": [True, False, "unknown"] * 2})
    _, columns = column(frame["c"])
    assert (
        inputs(columns, [True, False]).tolist()
        == inputs(columns, ["True", "false"]).tolist()
        == [[0, 1, 0], [1, 0, 0]]
    )
    _, columns = column(["TRUE", "true", "x"] * 2)  # which are told apart stay so
    assert inputs(columns, ["TRUE", "true"]).tolist() == [[1, 0, 0], [0, 1, 0]]


def test_one_input_a_level():
    learned, columns = column(["b", "a", "c", "b", "a", "c", "rare"])
    assert (learned.levels, learned.missing) == (("a", "b", "c"), False)
    expected = [[1, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert inputs(columns, ["a", "c", "rare", "new", None]).tolist() == expected


def test_a_level_for_missing():
    learned, columns = column(["a", "a", "b", "b", None])
    assert (learned.levels, learned.missing) == (("a", "b"), True)
    assert inputs(columns, ["a", "b", None, "new"]).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]


def test_where_all_levels_are_rare_they_stay():
    assert column(["a", "b", "c"])[0].levels == ("a", "b", "c")
    assert column(["a", "a", "a", "b"])[0].levels == ("a", "b")


def test_identifiers_are_constant_but_not_the_level_beside_them():
    with pytest.raises(InputError, match=r"no column is left: nearly every row has another text in c"):
        column([f"id{i}" for i in range(100)])
    learned, columns = column(["none"] * 50 + [f"id{i}" for i in range(100)])
    assert (learned.levels, learned.missing) == (("none",), False)
    assert inputs(columns, ["none", "id1"]).tolist() == [[1], [0]]


def test_whole_numbers_are_the_same_level_in_any_type():
    _, columns = column(pl.Series(["1", "2", "3"] * 2, dtype=pl.Categorical))
    for cells in ([2.0, 9.0], [2, 9], ["2", "9"]):
        assert inputs(columns, cells).tolist() == [[0, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize("levels", [3, 64, 245, 246, 247, 248, 249, 9999])
def test_many_cells_have_the_numbers_of_few(levels):
    """polars numbers known texts in one byte or two; all others and missing cells are told apart."""
    names = [f"v{i}" for i in range(levels)]
    learned = Category("c", tuple(sorted(names)), missing=True)
    cells = [*names, "new", None, "", "NA", "v1 "] * (1 + 5000 // levels)
    numbers = {name: i for i, name in enumerate(learned.levels)}
    missing = {cell for cell in learned.known if cell not in numbers}
    expected = [levels + 1 if cell in missing else numbers.get(cell, levels) for cell in cells]
    assert learned.numbered(pl.Series("c", cells, pl.String)).tolist() == expected


@pytest.mark.parametrize("rows", [1, 5, 8, 23])
def test_a_dictionary_of_columns_is_emptied_and_has_the_same_inputs(monkeypatch, rows):
    monkeypatch.setattr(of_columns, "BLOCK", 2)
    monkeypatch.setattr(of_columns, "PART", 60)  # bytes, some blocks of rows
    frame = pl.DataFrame(
        {"n": [1.0, None, 3.0, 7.5] * 6, "c": ["u", "v", "w", None] * 6, "m": [*range(24)], "k": ["k"] * 24}
    )
    columns = fit_columns(frame)
    order = np.random.default_rng(0).permutation(24)[:rows]
    cells = {name: frame[name] for name in ("m", "c", "n")}
    X = columns(cells, order)
    assert cells == {}
    assert X.flags.c_contiguous
    np.testing.assert_array_equal(X.view(np.int32), columns(frame[order]).view(np.int32))


def test_many_levels_are_codes_in_the_last_columns():
    levels = [f"l{i:02}" for i in range(65)]
    frame = pl.DataFrame({"c": levels * 2, "n": [float(i % 5) for i in range(130)]})
    columns = fit_columns(frame)
    assert columns.columns[0].codes == 67
    assert (columns.dense, columns.embeddings) == (1, (67,))
    X = columns(pl.DataFrame({"c": ["l00", "l64", "new", None], "n": [2.0, 2.0, 2.0, 4.0]}))
    assert X[:, 1].tolist() == [0, 64, 65, 66]  # then other, then missing
    np.testing.assert_allclose(X[:, 0], [0, 0, 0, clipped(1)], rtol=1e-6)
    assert column(levels[:64] * 2)[0].codes == 0


# Dates


WHEN = [datetime.datetime(2021, 3, 14, 15, 9), datetime.datetime(2021, 3, 16, 17, 9)]
PARTS = [
    [18700 + (15 * 60 + 9) / 1440, 2021, 3, 14, 7, 15],
    [18702 + (17 * 60 + 9) / 1440, 2021, 3, 16, 2, 17],
]


def check_dates(values, parts):
    """Of two rows the median is between, half of the distance that of the quartiles."""
    learned, columns = column(values)
    low, high = parts
    np.testing.assert_allclose(learned.medians, np.add(low, high) / 2)
    distance = np.abs(np.subtract(high, low)) / 2
    scales = [1 / d if d else 0 for d in distance]
    np.testing.assert_allclose(learned.scales, scales)
    x = (np.array(parts) - learned.medians) * scales
    np.testing.assert_allclose(columns(pl.DataFrame({"c": values})), clipped(x), rtol=1e-5)
    return learned


@pytest.mark.parametrize(
    "text",
    ["%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y%m%dT%H%M%S", "%d.%m.%Y", "%m/%d/%Y",
     "%Y/%m/%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S.%f", "%d/%m/%Y", "%Y-%m-%dT%H:%M:%S.%fZ",
     "%d.%m.%Y %H:%M",
     "%m/%d/%Y %I:%M %p", "%d-%b-%y", "%B %d, %Y"],
)  # fmt: skip
def test_dates_in_text(text):
    hours = "%H" in text or "%I" in text
    parts = [[*([p[0]] if hours else [math.floor(p[0])]), *p[1:5], p[5] if hours else 0] for p in PARTS]
    assert check_dates([when.strftime(text) for when in WHEN], parts).kind == "date"


def test_dates_of_polars():
    assert check_dates(pl.Series(WHEN), PARTS).kind == "date"
    check_dates(pl.Series(WHEN).cast(pl.Datetime("ns")), PARTS)
    check_dates(pl.Series(WHEN).dt.date(), [[math.floor(p[0]), *p[1:5], 0] for p in PARTS])


def test_dates_at_prediction():
    _, columns = column(["2020-01-01", "2020-01-03", None])
    X = inputs(columns, ["2020-01-02", None])
    assert X.tolist() == [[0] * 7, [0] * 6 + [1]]
    assert inputs(columns, [datetime.date(2020, 1, 2), None]).tolist() == X.tolist()
    for cells in ([None], pl.Series([None], dtype=pl.Float64), pl.Series([None], dtype=pl.Boolean)):
        assert inputs(columns, cells).tolist() == [[0] * 6 + [1]]
    with pytest.raises(InputError, match=r"holds '2.1.200' in row 2, which is no date"):
        inputs(columns, ["2020-01-02", "2.1.200"])
    with pytest.raises(InputError, match=r"column 'c' is of type Float64, not a date"):
        inputs(columns, [1.5])


def test_dates_of_polars_may_come_as_text():
    _, columns = column([datetime.date(2020, 1, 1), datetime.date(2020, 1, 3)])
    expected = inputs(columns, [datetime.date(2020, 1, 3)])
    for text in ("2020-01-03", "03.01.2020"):
        np.testing.assert_array_equal(inputs(columns, [text]), expected)
    with pytest.raises(InputError, match=r"holds 'soon' in row 1, which is no date"):
        inputs(columns, ["soon"])
    says = r"holds '03/04/2024' in row 2, which may be one of two dates; write 2024-04-03 or 2024-03-04"
    with pytest.raises(InputError, match=says):
        inputs(columns, ["05/05/2024", "03/04/2024", None])
    april = inputs(columns, [datetime.date(2024, 4, 3)])
    np.testing.assert_array_equal(inputs(columns, ["2024-04-03", "25/06/2024"])[:1], april)
    _, columns = column(["25/06/2020", "01/02/2020"])  # text in one format is read by it
    np.testing.assert_array_equal(
        inputs(columns, ["03/04/2024"]), inputs(columns, [datetime.date(2024, 4, 3)])
    )


# All columns


def test_a_missing_column_is_named_with_the_nearest():
    columns = fit_columns(pl.DataFrame({"length": [1, 2], "width": [1, 2]}))
    with pytest.raises(InputError, match=r"column 'width' is missing; is it 'widht'\?"):
        columns(pl.DataFrame({"length": [1], "widht": [2]}))
    with pytest.raises(InputError, match=r"column 'width' is missing; the data has length, z"):
        columns(pl.DataFrame({"length": [1], "z": [2]}))


FRAME = pl.DataFrame(
    {
        "n": [1.0, 2.5, None, 4.0] * 40,
        "t": ["u", "v", None, "w"] * 40,
        "d": ["2020-01-01", "2021-05-06", "2020-01-01", None] * 40,
        "k": [0] * 160,
        "e": [f"l{i % 80}" for i in range(160)],
    }
)


def test_records_come_back():
    columns = fit_columns(FRAME)
    back = Columns.from_json(json.loads(json.dumps(columns.to_json(), allow_nan=False)))
    assert back == columns
    np.testing.assert_array_equal(back(FRAME), columns(FRAME))
    assert columns(FRAME).shape == (160, columns.dense + 1) == (160, 2 + 4 + 7 + 1)
    assert columns(FRAME.clear()).shape == (0, 14)
    assert columns(FRAME.select(reversed(FRAME.columns))).tolist() == columns(FRAME).tolist()


RECORD = fit_columns(FRAME).to_json()


def of_format_1(name, kind, **given):
    """A record as model files of format 1 have it."""
    empty = {"medians": [], "scales": [], "missing": False, "levels": [], "date_format": ""}
    return {"name": name, "kind": kind} | empty | given


RECORD_1 = [
    of_format_1("n", "number", medians=[2.5], scales=[2 / 3], missing=True),
    of_format_1("t", "category", levels=["u", "v"], missing=True),
    of_format_1("d", "date", medians=[1, 2, 3, 4, 5, 6.5], scales=[1.0] * 6, date_format="%Y-%m-%d"),
    of_format_1("k", "constant"),
    of_format_1("e", "category", levels=["a", "b"]),
]


def test_records_of_format_1_are_read():
    columns = from_json_1(RECORD_1)
    assert columns.columns == (
        Number("n", 2.5, 2 / 3, missing=True),
        Category("t", ("u", "v"), missing=True),
        Date("d", "%Y-%m-%d", (1, 2, 3, 4, 5, 6.5), (1,) * 6),
        LeftOut("k", "constant"),
        Category("e", ("a", "b")),
    )


def test_a_record_has_the_fields_of_its_kind():
    columns = (Number("n", 2.5, 2.0), Date("d", "", (0.0,) * 6, (1.0,) * 6, missing=True),
               Category("t", ("u",)), LeftOut("e", "text"), LeftOut("k", "constant"))  # fmt: skip
    numerals = {
        "decimal": ".",
        "thousands": "",
        "unit": "",
        "multipliers": False,
        "bounds": False,
        "missing": [],
        "lenient": False,
    }
    assert json.loads(json.dumps(Columns(columns).to_json())) == [
        {
            "kind": "number",
            "name": "n",
            "median": 2.5,
            "scale": 2.0,
            "missing": False,
            "numerals": numerals,
            "clock": False,
        },
        {
            "kind": "date",
            "name": "d",
            "format": "",
            "medians": [0] * 6,
            "scales": [1] * 6,
            "missing": True,
            "marks": [],
            "lenient": False,
        },
        {
            "kind": "category",
            "name": "t",
            "levels": ["u"],
            "missing": False,
            "marks": ["NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?"],
        },
        {"kind": "text", "name": "e"},
        {"kind": "constant", "name": "k"},
    ]


@pytest.mark.parametrize(
    ("where", "value", "says"),
    [
        ((), {}, r"no list of records"),
        ((0,), 1, r"no list of records"),
        ((0, "more"), 1, r"'n' does not fit its kind"),
        ((0, "name"), 1, r"of wrong types"),
        ((0, "median"), True, r"of wrong types"),
        ((0, "median"), math.nan, r"of wrong types"),
        ((0, "scale"), 10**400, r"of wrong types"),
        ((0, "kind"), "text", r"'n' does not fit its kind"),
        ((0, "kind"), "word", r"'n' does not fit its kind"),
        ((0, "kind"), [], r"'n' does not fit its kind"),
        ((1, "levels"), ["u", "u"], r"'t' does not fit its kind"),
        ((1, "levels"), ["u", 1], r"'t' is of wrong types"),
        ((1, "missing"), 1, r"of wrong types"),
        ((2, "scales"), [], r"'d' does not fit its kind"),
        ((2, "format"), "Q", r"'d' does not fit its kind"),
        ((0, "numerals"), {}, r"numerals {} are none"),
        ((0, "numerals", "decimal"), ";", r"numerals .* are none"),
        ((0, "clock"), 1, r"of wrong types"),
        ((1, "marks"), [1], r"of wrong types"),
        ((1, "name"), "n", r"it has a column twice"),
    ],
)
def test_damaged_records_are_refused(where, value, says):
    with pytest.raises(ValueError, match=says):
        Columns.from_json(changed(RECORD, where, value))


@pytest.mark.parametrize(
    ("where", "value", "says"),
    [
        ((), {}, r"no list of records"),
        ((0,), 1, r"no list of records"),
        ((0, "more"), 1, r"no list of records"),
        ((0, "name"), 1, r"of wrong types"),
        ((0, "medians"), [True], r"of wrong types"),
        ((0, "medians"), [math.nan], r"of wrong types"),
        ((0, "scales"), [10**400], r"of wrong types"),
        ((0, "scales"), [], r"'n' does not fit its kind"),
        ((0, "kind"), "text", r"'n' does not fit its kind"),
        ((0, "levels"), ["u"], r"'n' does not fit its kind"),
        ((0, "date_format"), "%Y", r"'n' does not fit its kind"),
        ((1, "levels"), ["u", "u"], r"'t' does not fit its kind"),
        ((1, "missing"), 1, r"of wrong types"),
        ((2, "date_format"), "Q", r"'d' does not fit its kind"),
        ((1, "name"), "n", r"it has a column twice"),
    ],
)
def test_damaged_records_of_format_1_are_refused(where, value, says):
    with pytest.raises(ValueError, match=says):
        from_json_1(changed(RECORD_1, where, value))


def changed(record, where, value):
    record = copy.deepcopy(json.loads(json.dumps(record)))
    if not where:
        return value
    place = record
    for step in where[:-1]:
        place = place[step]
    place[where[-1]] = value
    return record


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


@pytest.mark.parametrize(("records", "read"), [(RECORD, Columns.from_json), (RECORD_1, from_json_1)])
@given(at=st.integers(0, 4), field=st.integers(0, 6), deep=st.booleans(), value=JSON)
def test_any_record_is_columns_or_a_value_error(records, read, at, field, deep, value):
    names = sorted(records[at])
    where = (at, names[field % len(names)])
    if deep and isinstance(records[at][where[1]], (list, tuple)) and records[at][where[1]]:
        where = (*where, 0)
    for record in (changed(records, where, value), value, [value]):
        try:
            columns = read(record)
        except ValueError:
            continue
        assert Columns.from_json(json.loads(json.dumps(columns.to_json()))) == columns


# Frames of anything


def test_frames_pass():
    assert as_frame(FRAME).equals(FRAME)
    assert as_frame(FRAME.lazy()).equals(FRAME)


def test_columns_of_dicts_may_be_any_iterable():
    frame = as_frame({"a": {"k": 1, "l": 2}.values(), "b": ("x" * 100_000, "y")})
    assert frame.rows() == [(1, "x" * 100_000), (2, "y")]


def test_single_values_are_no_columns():
    for value in (1.5, "x", None, np.float64(2), np.array(3)):
        with pytest.raises(
            InputError, match=r"X holds one value for column 'b'; give lists, a cell for each row"
        ):
            as_frame({"a": [1.0], "b": value})


def test_frames_of_dicts():
    frame = as_frame({"a": [1, None, 3], "b": np.array([1.0, np.nan, 2.0]), "c": ["x", None, "y"],
                      "d": [True, False, None], "e": [1, "x", None], "f": [math.nan, "x", "y"],
                      "g": list(np.array([1, 2, 3]))})  # fmt: skip
    assert frame.to_dict(as_series=False) == {
        "a": [1, None, 3], "b": [1.0, None, 2.0], "c": ["x", None, "y"], "d": [True, False, None],
        "e": ["1", "x", None], "f": [None, "x", "y"], "g": [1, 2, 3],
    }  # fmt: skip
    assert frame["d"].dtype == pl.Boolean


def test_frames_of_arrays():
    frame = as_frame(np.array([[1, 2], [3, np.nan]]))
    assert (frame.columns, frame.rows()) == (["x0", "x1"], [(1.0, 2.0), (3.0, None)])
    assert as_frame(np.eye(2, dtype=bool)).dtypes == [pl.Boolean, pl.Boolean]
    objects = np.array([[1, "x", None], [np.float32(np.nan), "y", True]], dtype=object)
    frame = as_frame(objects, ["a", "b", "c"])
    assert frame.to_dict(as_series=False) == {"a": [1.0, None], "b": ["x", "y"], "c": [None, True]}
    for cells in (np.array([["x", "1"]]), np.array([[b"x", b"1"]]), [["x", "1"]]):
        assert as_frame(cells).rows() == [("x", "1")]
    assert as_frame([[1.5, "x"], [math.nan, None]]).rows() == [(1.5, "x"), (None, None)]
    assert as_frame(np.array([["2020-01-01"]], "M8[s]")).rows() == [(datetime.datetime(2020, 1, 1),)]


@pytest.mark.parametrize(
    ("X", "says"),
    [
        (np.zeros(3), r"X has shape \(3,\); a table is a frame, or an array of \(rows, columns\)"),
        (7, r"X has shape \(\)"),
        ([[1], [1, 2]], r"X is no table: "),
        ({"a": [1, 2], "b": [1]}, r"X is no table: "),
        ({"a": 1}, r"X holds one value for column 'a'"),
    ],
)
def test_what_is_no_table_is_refused(X, says):
    with pytest.raises(InputError, match=says) as caught:
        as_frame(X)
    assert "\n" not in str(caught.value)


def test_names_must_be_as_many_as_columns():
    with pytest.raises(
        InputError, match=r"X has 3 features, but mlpax is expecting 2 features as input: a, b"
    ):
        as_frame(np.zeros((1, 3)), ["a", "b"])


def test_frames_of_pandas():
    pd = pytest.importorskip("pandas")
    days = pd.to_datetime(["2020-01-02", None])
    table = pd.DataFrame(
        {
            "float": [1.5, np.nan], "object": pd.Series(["x", None], dtype=object), "text": ["x", None],
            "mixed": pd.Series([1, "x"], dtype=object), "level": pd.Categorical(["u", None]),
            "number level": pd.Categorical([3, None]), "whole": pd.array([1, None], dtype="Int64"),
            "flag": pd.array([True, None], dtype="boolean"), "bool": [True, False], "day": days,
            "second": pd.Series(days).astype("datetime64[s]"), "zone": pd.Series(days).dt.tz_localize("UTC"),
            7: np.int8([1, 2]),
        }
    )  # fmt: skip
    table.index = [5, 5]
    frame = as_frame(table)
    day = datetime.datetime(2020, 1, 2)
    assert frame.drop("zone").to_dict(as_series=False) == {
        "float": [1.5, None], "object": ["x", None], "text": ["x", None], "mixed": ["1", "x"],
        "level": ["u", None], "number level": ["3", None], "whole": [1, None], "flag": [True, None],
        "bool": [True, False], "day": [day, None], "second": [day, None], "7": [1, 2],
    }  # fmt: skip
    assert frame["zone"].to_list() == [day.replace(tzinfo=datetime.UTC), None]
    assert frame["flag"].dtype == pl.Boolean
    levels = as_frame(pd.DataFrame({"c": pd.Categorical([1, 2, 3, 1, 2, 3])}))
    assert fit_columns(levels).columns[0].levels == ("1", "2", "3")
    with pytest.raises(InputError, match=r"X is no table: .*a"):
        as_frame(pd.DataFrame([[1, 2]], columns=["a", "a"]))


def test_missing_cells_of_pandas_in_an_array():
    pd = pytest.importorskip("pandas")
    cells = np.array([[1, "x", pd.NaT], [pd.NA, pd.NA, datetime.date(2020, 1, 2)]], dtype=object)
    assert as_frame(cells).rows() == [(1.0, "x", None), (None, None, datetime.date(2020, 1, 2))]


def test_whole_floats_are_written_as_whole_numbers():
    """As pandas makes them of whole numbers beside missing ones."""
    assert as_frame({"a": [1.0, "x", None, 1.5]})["a"].to_list() == ["1", "x", None, "1.5"]
    pd = pytest.importorskip("pandas")
    frame = as_frame(pd.DataFrame({"c": pd.Categorical([1, 2, None, 2, 1])}))
    assert frame["c"].to_list() == ["1", "2", None, "2", "1"]
    _, columns = column(frame["c"])
    for cells in ([2.0, None], [2, None], ["2", None], ["2.0", None], [2.0, 1.5]):
        assert inputs(columns, cells)[0].tolist() == [0, 1, 0]


def test_frames_of_pyarrow():
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"a": [1, None], "b": pa.array(["x", "y"]).dictionary_encode()})
    assert as_frame(table).rows() == as_frame(table.to_batches()[0]).rows() == [(1, "x"), (None, "y")]
    assert as_frame({"y": pa.array(["u", None])})["y"].to_list() == ["u", None]


def test_levels_that_are_fractions_are_spelled_alike_everywhere():
    values = [0.0, 1e-7, 2e-7, 0.1, 1e20]
    learned = as_frame(pd.DataFrame({"c": pd.Categorical(values * 4)}))
    columns = fit_columns(learned)
    expected = columns(learned)[: len(values)]
    assert (expected.sum(axis=1) == 1).all()
    np.testing.assert_array_equal(columns(pl.DataFrame({"c": values})), expected)
    cents = as_frame(pd.DataFrame({"c": pd.Categorical([0.5, 1.25] * 4)}))
    decimals = pl.DataFrame({"c": pl.Series(["0.50", "1.25"]).cast(pl.Decimal(10, 2))})
    np.testing.assert_array_equal(fit_columns(cents)(decimals), fit_columns(cents)(cents)[:2])


# ---- values back from inputs


def test_inputs_tell_the_values_behind_them():
    frame = pl.DataFrame(
        {
            "whole": [*range(20), 1000], "gaps": [None, *map(float, range(20))],
            "far": [1e6 + k / 100 for k in range(21)], "two": ["n", "y"] * 10 + ["n"],
            "three": ["a", "b", "c"] * 7, "day": [datetime.date(2024, 1, 1 + k) for k in range(21)],
            "hour": [datetime.datetime(2024, 1, 1 + k % 9, k) if k else None for k in range(21)],
            "many": [f"l{k % 70}" for k in range(21)],
        }
    )  # fmt: skip
    frame = pl.concat([frame] * 3 + [frame.with_columns(many=pl.format("m{}", pl.int_range(21)))] * 8)
    columns = fit_columns(frame)
    X = columns(frame)
    back = {c.name: c.undo(X[:, columns.places[c.name]]) for c in columns.varying}
    assert back.keys() == set(frame.columns)
    assert back["whole"][:20].tolist() == [*range(20)]
    assert back["whole"][20] == pytest.approx(1000, rel=1e-3)  # far beyond the quartiles
    assert math.isnan(back["gaps"][0])
    assert back["gaps"][1:21].tolist() == [*range(20)]
    np.testing.assert_allclose(back["far"][:21], frame["far"][:21].to_numpy(), rtol=0, atol=1e-6)
    for name in ("two", "three", "many"):
        assert back[name].tolist() == frame[name].to_list()
    assert back["day"].astype("datetime64[D]").tolist() == frame["day"].to_list()
    assert back["hour"].astype(object).tolist() == frame["hour"].to_list()


def test_inputs_of_no_level_stand_for_none():
    for levels in (["n", "y"], ["a", "b", "c"]):
        _, columns = column(pl.Series("c", levels * 4))
        X = columns(pl.DataFrame({"c": [levels[0], "other"]}))
        assert columns.columns[0].undo(X).tolist() == [levels[0], ""]
