"""Dates and times as people write them: read right, or refused with both readings."""

import datetime
import random

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpax.data.dates import date_parts, is_date_format, read_clock, read_dates, tell_clock, tell_dates
from mlpax.errors import Guess, InputError


def column(cells) -> pl.Series:
    return pl.Series("c", cells, dtype=pl.String)


def told(cells, order=None, **options):
    """What is told of a column of dates, and the dates."""
    found = tell_dates(column(cells), order, **options)
    assert found is not None
    return found, read_dates(column(cells), found.format).to_list()


DAY = datetime.datetime(2023, 6, 22)
NOON = datetime.datetime(2023, 6, 22, 12)
EVENING = datetime.datetime(2023, 6, 22, 21, 5)


@pytest.mark.parametrize(
    ("cell", "date"),
    [
        ("2023-06-22", DAY), ("2023/6/22", DAY), ("2023.06.22", DAY), ("2023-06-22T12:00", NOON),
        ("2023/06/22 12:00:00", NOON), ("2023-06-22 12:00:00.000", NOON), ("2023-06-22T12:00:00Z", NOON),
        ("2023-06-22 14:00+02:00", NOON), ("2023-06-22 07:30:00 -0430", NOON), ("2023-06-22 12:00 UTC", NOON),
        ("20230622T120000", NOON), ("20230622", DAY), ("22/06/2023", DAY), ("22-6-2023", DAY),
        ("22.06.2023", DAY),
        ("22/06/2023 12:00:00", NOON), ("6/22/2023 9:05 PM", EVENING), ("6/22/2023 9:05:00 p.m.", EVENING),
        ("06/22/2023 12:00 AM", DAY), ("22.6.2023 21:05", EVENING), ("22/06/23", DAY), ("6/22/23", DAY),
        ("22-Jun-23", DAY), ("22-JUN-2023", DAY), ("22 June 2023", DAY), ("22nd June 2023", DAY),
        ("Jun 22, 2023", DAY), ("June 22 2023", DAY), ("22. June 2023", DAY), ("22Jun2023", DAY),
        ("Thu, 22 Jun 2023 12:00:00 +0000", NOON), ("Thursday, June 22, 2023", DAY),
        ("Thu Jun 22 12:00:00 2023", NOON), ("Thu Jun 22 2023 14:00:00 GMT+0200 (CEST)", NOON),
        ("2023-06", DAY.replace(day=1)), ("06/2023", DAY.replace(day=1)), ("June 2023", DAY.replace(day=1)),
        ("Jun-23", DAY.replace(day=1)), ("2023-Q3", datetime.datetime(2023, 7, 1)),
    ],
)  # fmt: skip
def test_the_date_of_each_form(cell, date):
    assert told([cell, None])[1] == [date, None]


@pytest.mark.parametrize(
    "cells",
    [["2.10.7", "1.2.3"], ["10.11.12", "10.12.13"], ["3-11-20", "4-1-7"], ["192.168.1.1"], ["555-12-34"],
     ["red"],
     ["12:30"], ["2023-02-30", "2023-13-01"], ["1/2", "3/4"], ["A-1-2023"], [None]],
)  # fmt: skip
def test_what_is_no_column_of_dates(cells):
    assert tell_dates(column(cells * 3)) is None


def test_what_cells_settle_is_said():
    found, dates = told(["03/04/2023", "22/06/2023"])
    assert dates[0] == datetime.datetime(2023, 4, 3)
    assert found.notices == ["column 'c' holds dates, read as day/month/year: '22/06/2023' is 2023-06-22"]
    assert found.notices[0].option == "--dates day-first"
    found, dates = told(["03/04/2023", "06/22/2023"])
    assert dates[0] == datetime.datetime(2023, 3, 4)
    assert found.notices[0].option == "--dates month-first"
    assert told(["03/04/2023", "06/22/2023"], "month-first")[0].notices == []


def test_what_no_cell_settles_is_refused():
    says = (
        r"column 'c' holds '03/04/2023' in row 2, which may be 2023-04-03 \(--dates day-first\) or 2023-03-04"
        r" \(--dates month-first\)"
    )
    with pytest.raises(InputError, match=says):
        tell_dates(column(["05/05/2023", "03/04/2023"]))
    assert told(["03/04/2023"], "day-first")[1] == [datetime.datetime(2023, 4, 3)]
    assert told(["03/04/2023"], "month-first")[1] == [datetime.datetime(2023, 3, 4)]
    assert told(["05/05/2023"])[1] == [datetime.datetime(2023, 5, 5)]
    assert told(["3.4.2023"])[1] == [datetime.datetime(2023, 4, 3)]  # by points the day is first everywhere


def test_two_orders_in_one_column_are_refused():
    with pytest.raises(
        InputError, match=r"'22/06/2023' in row 1 and '06-22-2023' in row 2; write all one way"
    ):
        tell_dates(column(["22/06/2023", "06-22-2023"]))


def test_years_of_two_digits_are_said():
    found, dates = told(["22/06/23", "22/06/69"])
    assert [date.year for date in dates] == [2023, 1969]
    text = found.notices[-1]
    assert text == "column 'c' has years of two digits: '22/06/23' is read as 2023-06-22"
    assert text.option == "--column c=date"


def test_cells_that_are_no_dates():
    days = [f"2021-{1 + i % 12:02}-{1 + i % 28:02}" for i in range(300)]
    found = tell_dates(column([*days, "soon"]))
    assert (found.missing, found.notices) == (
        ("soon",), ["column 'c' holds dates but 'soon' in row 301, taken as missing"]
    )  # fmt: skip
    says = r"column 'c' holds dates but 'later' in row 31 and 1 other cell; --column c=date takes"
    with pytest.raises(InputError, match=says):
        tell_dates(column([*days[:30], "later", "2021-02-30"]))
    forced = tell_dates(column([*days[:30], "later", "2021-02-30"]), forced=True)
    assert not any(isinstance(text, Guess) for text in forced.notices)
    assert read_dates(column(["later"]), forced.format, lenient=True).to_list() == [None]


def test_times_with_and_without_a_zone_are_refused():
    with pytest.raises(
        InputError, match=r"has times of a zone, '2023-01-01 10:00Z', and of none, '2023-01-02'"
    ):
        tell_dates(column(["2023-01-01 10:00Z", "2023-01-02"]))


def test_a_trained_format_reads_what_leaves_no_doubt():
    for format in ("", "day-first", "month-first", "%Y-%m-%d", "%d.%m.%Y"):
        assert is_date_format(format)
        cells = ["2023-06-22", "2023-06-22 00:00:00", "2023/06/22", "22 June 2023", "20230622"]
        assert read_dates(column(cells), format).to_list() == [DAY] * 5
    april, march = datetime.datetime(2023, 4, 3), datetime.datetime(2023, 3, 4)
    for format, date in (
        ("day-first", april),
        ("%d/%m/%Y", april),
        ("month-first", march),
        ("%m/%d/%Y", march),
    ):
        assert read_dates(column(["03/04/2023"]), format).to_list() == [date]
    for format in ("", "%Y-%m-%d"):
        with pytest.raises(
            InputError, match=r"'03/04/2023' in row 1, which may be one of two dates; write 2023"
        ):
            read_dates(column(["03/04/2023"]), format)
    with pytest.raises(InputError, match=r"column 'c' holds 'soon' in row 2, which is no date"):
        read_dates(column([None, "soon"]), "")
    assert not is_date_format("soon")


@pytest.mark.parametrize(
    ("cells", "seconds"),
    [
        (["12:00", "9:05:30"], [43200, 32730]), (["9:05 PM", "12:00 AM"], [75900, 0]),
        (["00:00:01.5", "123:45:10"], [1.5, 445510]), (["2 days 03:04:05", "-1 days +23:00:00"], [183845,
        -3600]),
        (["1 day, 3:04:05", "7 days"], [97445, 604800]), (["PT1H30M", "P1DT2S"], [5400, 86402]),
    ],
)  # fmt: skip
def test_times_are_seconds(cells, seconds):
    assert tell_clock(column([*cells, None]))
    assert read_clock(column([*cells, None])).to_list() == [*seconds, None]


def test_what_is_no_time():
    for cells in (["16:9", "4:3"], ["2:1", "3:0"], ["red"], ["12:75"], [None], ["aa:bb:cc"]):
        assert not tell_clock(column(cells * 2))
    with pytest.raises(InputError, match=r"column 'c' holds 'noon' in row 2, which is no time as 12:30"):
        read_clock(column(["12:00", "noon"]))
    assert read_clock(pl.Series([datetime.time(1, 2)])).to_list() == pytest.approx([3720])
    assert read_clock(pl.Series([datetime.timedelta(days=1)])).to_list() == [86400]


def test_parts_of_dates():
    parts = date_parts(pl.Series([EVENING, None]))
    np.testing.assert_allclose(parts[0], [19530 + (21 * 60 + 5) / 1440, 2023, 6, 22, 4, 21])
    assert np.isnan(parts[1]).all()


FORMATS = ["%Y-%m-%d", "%Y/%m/%d %H:%M", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y %H:%M:%S", "%m/%d/%y",
           "%d/%m/%y", "%d-%b-%Y", "%d %B %Y", "%b %d, %Y", "%a, %d %b %Y %H:%M:%S", "%Y%m%d",
           "%m/%d/%Y %I:%M %p",
           "%Y-%m-%dT%H:%M:%SZ"]  # fmt: skip


@given(seed=st.integers(0, 10**6), format=st.sampled_from(FORMATS), rows=st.integers(1, 40))
def test_any_form_is_read_back_or_refused(seed, format, rows):
    draw = random.Random(seed)
    start = datetime.datetime(1990, 1, 1)
    dates = [start + datetime.timedelta(minutes=draw.randrange(40 * 365 * 1440)) for _ in range(rows)]
    cells = [date.strftime(format) for date in dates]
    truth = [datetime.datetime.strptime(cell, format) for cell in cells]
    order = "month-first" if format.startswith("%m/") else "day-first"
    try:
        found = tell_dates(column(cells))
    except InputError as error:
        assert "--dates" in str(error)  # which no cell settled
        found = tell_dates(column(cells), order)
    assert found is not None
    assert read_dates(column(cells), found.format).to_list() == truth
