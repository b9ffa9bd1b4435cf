"""Numbers as people write them: read right, or refused with both readings."""

import math
import random

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpax.data.numerals import (
    MARKS,
    PLAIN,
    Doubtful,
    Numerals,
    bounds_of,
    decimal_shown,
    read_numerals,
    tell_lost_digits,
    tell_numerals,
    without,
)
from mlpax.errors import Guess, InputError


def column(cells) -> pl.Series:
    return pl.Series("c", cells, dtype=pl.String)


def tell(values, **options):
    values = column(values)
    return tell_numerals(values, without(values, options.get("missing", ())), **options)


def told(cells, **options):
    """What is told of a column of numbers, and the numbers."""
    values = column(cells)
    found = tell(cells, **options)
    assert found is not None
    assert found.numerals is not None
    return found, read_numerals(values, found.numerals).to_list()


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (["1", "-2.5", "+3", "1e3", ".5", "5."], [1, -2.5, 3, 1000, 0.5, 5]),
        (["12.5%", "3 %", "-0,5%".replace(",", ".")], [12.5, 3, -0.5]),
        (["€ 5", "1.234,50 €", "-€7"], [5, 1234.5, -7]),
        (["R$ 1.234,56", "R$ 7,00"], [1234.56, 7]),
        (["USD 5", "7.25 USD"], [5, 7.25]),
        (["$(1,234.50)".replace("$(", "($"), "$5"], [-1234.5, 5]),
        (["(1,234.5)", "12"], [-1234.5, 12]),
        (["1 234 567", "812"], [1234567, 812]),
        (["1\u00a0234,5", "2\u202f345,25"], [1234.5, 2345.25]),
        (["1'234.50", "1’000’000"], [1234.5, 1000000]),
        (["12_345", "7"], [12345, 7]),
        (["12,34,567", "1,234"], [1234567, 1234]),
        (["−5", "–3.5", "2"], [-5, -3.5, 2]),
        (["123.45-", "7"], [-123.45, 7]),
        (["'4.2'", '"5"', "“6”"], [4.2, 5, 6]),
        (["71.9 kg", "80kg", "75 KG"], [71.9, 80, 75]),
        (["3 hrs", "1 hr", "2 hrs."], [3, 1, 2]),
        (["12 m²", "7.5 m²"], [12, 7.5]),
        (["20°C", "-3.5 °C"], [20, -3.5]),
        (["5 km/h", "7 km/h"], [5, 7]),
        (["1.2K", "500", "3M", "1B"], [1200, 500, 3e6, 1e9]),
        (["$1.5M", "$200k"], [1.5e6, 2e5]),
        (["１２", "３.５"], [12, 3.5]),
        (["1,5E+03", "2,5"], [1500, 2.5]),
        (["1.234.567,8", "1.234"], [1234567.8, 1234]),
        (["1,234", "0,5"], [1.234, 0.5]),
        (["1,234", "1234,5"], [1.234, 1234.5]),
        (["1.234", "2.345"], [1.234, 2.345]),
    ],
)
def test_the_value_of_each_form(cells, numbers):
    assert told([*cells, None])[1] == [*numbers, None]


@pytest.mark.parametrize("mark", sorted(MARKS))
def test_marks_of_missing_cells(mark):
    numbers = [str(i / 4) for i in range(50)]
    found, x = told([*numbers, mark, mark.upper()])
    assert x == [*(i / 4 for i in range(50)), None, None]
    assert found.notices[0].startswith("'c' has ")
    assert found.notices[0].endswith("taken as missing")
    assert told([*numbers, mark], missing=(mark,))[0].notices == []


def test_more_marks_are_the_users_word():
    cells = [*(str(i) for i in range(30)), "keine Angabe", "XX"]
    found, x = told(cells, missing=("keine angabe", "xx"))
    assert (x[-2:], found.notices) == ([None, None], [])
    assert read_numerals(column(["XX", "7"]), found.numerals).to_list() == [None, 7]


def test_what_is_said_of_a_form_ends_with_the_users_word():
    found, _ = told(["$1,234.50", "n/a", "$7"])
    form = next(text for text in found.notices if "is read as numbers" in text)
    assert (
        form == "column 'c' is read as numbers: '$1,234.50' is 1234.5 $; --column c=category reads categories"
    )
    assert isinstance(form, Guess)
    assert form.option == "--column c=number"
    forced, x = told(["$1,234.50", "n/a", "$7"], forced=True)
    assert x == [1234.5, None, 7]
    assert not any(isinstance(text, Guess) for text in forced.notices)


def test_few_cells_that_are_no_numbers_are_missing():
    cells = [str(i) for i in range(200)]
    found, x = told([*cells, "oops"])
    assert x[-1] is None
    assert found.numerals.missing == ("oops",)
    assert found.notices == ["column 'c' holds numbers but 'oops' in row 201, taken as missing"]
    assert found.notices[0].option == "--missing oops"
    found, _ = told([*cells, *cells, "oops", "what", "oops"])
    assert found.notices == [
        "column 'c' holds numbers but 'oops' in row 401 and 2 other cells, taken as missing"
    ]
    assert found.notices[0].option == "--column c=number"


def test_more_of_them_are_refused_with_the_options():
    cells = [str(i) for i in range(100)]
    says = (
        r"column 'c' holds numbers, but 5 of its 105 cells are none, such as 'oops' in row 101; --missing"
        r" oops takes these as missing, --column c=category takes all as categories"
    )
    with pytest.raises(InputError, match=says):
        tell([*cells, *["oops"] * 5])
    many = [*cells * 30, *[f"x{i}" for i in range(21)]]
    with pytest.raises(
        InputError, match=r"21 of its 3021 cells are none, such as 'x0' in row 3001; --column"
    ):
        tell(many)
    assert told(many, forced=True)[1][-1] is None
    with pytest.raises(InputError, match=r"such as '0\.74\.7[0-9.]+…[0-9.]+' in row 101; --column") as error:
        tell([*cells, *["0" + ".74" * 500] * 5])  # no one types such an option
    assert len(str(error.value)) < 300


def test_codes_are_a_category_that_is_told():
    found = tell(["1", "2", "3+", "1", "2"] * 9)
    assert found.numerals is None
    assert found.notices[0].endswith("and is a category; --column c=number reads numbers")
    assert found.notices[0].option == "--column c=category"


def test_different_units_are_refused():
    sizes = [f"{i} MB" for i in range(60)]
    with pytest.raises(InputError, match=r"different units, '0 MB' in row 1 and '2 GB' in row 61"):
        tell([*sizes, "2 GB", "3 GB"])
    shares = [f"{i}%" for i in range(60)]
    with pytest.raises(InputError, match=r"has percentages, '0%' in row 1, beside '0.5' in row 61"):
        tell([*shares, "0.5", "0.25"])
    assert tell(['27"', "24 in", '27"']).numerals is None  # few: a category, told


def test_a_unit_that_some_lack_is_said():
    found, x = told(["71.9 kg", "80 kg", "75"])
    assert x == [71.9, 80, 75]
    assert "and '75' in row 3 is taken for one of the same unit" in found.notices[0]
    assert read_numerals(column(["7 Kg", "8"]), found.numerals).to_list() == [7, 8]
    with pytest.raises(InputError, match=r"column 'c' holds '7 lb' in row 2, which is no number"):
        read_numerals(column(["7 kg", "7 lb"]), found.numerals)
    percent = told(["5%", "7%"])[0].numerals
    with pytest.raises(InputError, match=r"column 'c' holds '0.5' in row 1, which has no %"):
        read_numerals(column(["0.5"]), percent)


def test_bounds_are_the_bound_and_a_sign():
    values = column(["<0.50", "1.2", ">100", "≤ 7", "5"])
    found, x = told(values)
    assert x == [0.5, 1.2, 100, 7, 5]
    assert bounds_of(values, found.numerals).tolist() == [-1, 0, 1, -1, 0]
    assert bounds_of(values, PLAIN).tolist() == [0] * 5


@pytest.mark.parametrize(
    ("cells", "options", "numbers"),
    [
        (["1,234", "2,345"], {"decimal": ","}, [1.234, 2.345]),
        (["1,234", "2,345"], {"thousands": ","}, [1234, 2345]),
        (["1,234", "2,345"], {"decimal": "."}, [1234, 2345]),
        (["1,234", "2,345"], {"shown": "."}, [1234, 2345]),
        (["1,234", "2,345"], {"shown": ","}, [1.234, 2.345]),
        (["1.234", "2.345"], {"decimal": ","}, [1234, 2345]),
        (["1.234", "2.345"], {"thousands": "."}, [1234, 2345]),
        (["1.234", "2.345"], {"decimal": "."}, [1.234, 2.345]),
    ],
)
def test_a_thousand_or_a_fraction_is_decided(cells, options, numbers):
    found, x = told(cells, **options)
    assert x == numbers
    guessed = [
        text.option for text in found.notices if isinstance(text, Guess) and "--decimal" in text.option
    ]
    assert guessed == ([f"--decimal {options['shown']}"] if "shown" in options else [])


def test_or_refused_with_both_readings():
    says = r"column 'c' holds '1,234' in row 2, which may be 1234 or 1.234; say --thousands , or --decimal ,"
    with pytest.raises(Doubtful, match=says):
        tell(["812", "1,234", None])
    says = (
        r"column 'c' holds '1.234' in row 1, which may be 1234 or 1.234; say --thousands \. or --decimal \."
    )
    with pytest.raises(Doubtful, match=says):
        tell((["1.234", "812"]), shown=",")
    with pytest.raises(InputError, match=r"holds numbers, but"):  # 1,5 and 1,234.5 contradict each other
        tell([*(f"{i},5" for i in range(30)), *(f"{i},234.5" for i in range(1, 31))])


@pytest.mark.parametrize(
    "cells",
    [["red", "blue"], ["10-20", "20-30"], ["555-1234", "555-9876"], ["A12", "B7"], ["1/2", "3/4"],
     ["5'11", "6'2"], ["2.10.7", "1.2.3"], ["10.0.0.1", "10.0.0.2"], ["2020-01-02"], ["0x1F"], ["3 of 5"],
     ["12:30"],
     ["12 Main St", "7 High Rd", "3 Elm Ave", "9 Oak Ln", "4 Bay Ct", "5 Hill Dr"]],
)  # fmt: skip
def test_what_is_no_column_of_numbers(cells):
    assert tell(cells * 3) is None


def test_a_column_shows_its_decimal_mark():
    assert decimal_shown(column(["1.5", "2"]), PLAIN) == "."
    assert decimal_shown(column(["1.234", "2"]), PLAIN) is None
    assert decimal_shown(column(["0.125"]), PLAIN) == "."
    assert decimal_shown(column(["1,5"]), Numerals(",")) == ","


def test_digits_that_are_lost_are_said():
    assert tell_lost_digits(column(["1", "2.5"])) == []
    (text,) = tell_lost_digits(column(["1", "90071992547409931"]))
    assert text.startswith("column 'c' holds '90071992547409931' in row 2, of whose digits the last are lost")


def test_numerals_come_back_from_json():
    for numerals in (PLAIN, Numerals(",", ".", "€", multipliers=True, bounds=True, missing=("oops",))):
        assert Numerals.from_json(numerals.to_json()) == numerals
    for wrong in ({}, None, PLAIN.to_json() | {"decimal": ";"}, PLAIN.to_json() | {"missing": [1]},
                  PLAIN.to_json() | {"bounds": 1}, PLAIN.to_json() | {"more": 1}):  # fmt: skip
        with pytest.raises(ValueError, match="numerals"):
            Numerals.from_json(wrong)


def written(x: float, decimal: str, thousands: str, digits: int) -> str:
    """A number with these marks and so many decimals."""
    text = f"{x:,.{digits}f}".replace(",", "t").replace(".", decimal)
    return text.replace("t", thousands)


@given(
    seed=st.integers(0, 10**6), decimal=st.sampled_from(".,"),
    thousands=st.sampled_from(["", " ", "'", "_", ",", "."]),
    unit=st.sampled_from(["", "{}%", "${}", "{} kg", "EUR {}", "{}€"]), digits=st.integers(0, 4),
    mark=st.sampled_from(["", "n/a", "-", "NULL", "#N/A"]), size=st.sampled_from([10, 10**4, 10**7]),
)  # fmt: skip
def test_any_form_is_read_back_or_refused_as_doubtful(seed, decimal, thousands, unit, digits, mark, size):
    draw = random.Random(seed)
    if thousands == decimal:
        thousands = ""
    numbers = [round(draw.uniform(-size, size), digits) for _ in range(40)]
    cells = [(unit or "{}").format(written(x, decimal, thousands, digits)) for x in numbers]
    cells = [*cells, *[mark or None] * 3]
    try:
        _, x = told(cells)
    except Doubtful:
        assert digits in (0, 3)  # elsewhere the marks leave no doubt
        _, x = told(cells, decimal=decimal, thousands=thousands or None)
    expected = [value + 0.0 for value in numbers]
    if digits == 0 and thousands in (",", "."):
        _, x = told(cells, decimal=decimal, thousands=thousands)
    if digits == 3 and decimal == "," and not thousands and all(abs(v) < 1000 for v in numbers):
        _, x = told(cells, decimal=decimal)
    np.testing.assert_allclose(np.array(x[:40], float), expected)
    assert x[40:] == [None] * 3


def test_a_million_names_are_soon_told():
    assert tell([f"name {i}" for i in range(10**5)]) is None
    assert not math.isnan(told(["1"] * 10)[1][0])
