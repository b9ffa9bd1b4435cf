"""Parts of a table that write times in several ways."""

from datetime import date, datetime, time
from pathlib import Path

import polars as pl
import pytest

from mlpax.data.parts import Schema
from mlpax.data.tables import read_table
from mlpax.errors import InputError

NOON = pl.Series("t", [datetime(2024, 6, 1, 10), datetime(2024, 12, 1, 11)])


def joined(*columns):
    schema = Schema()
    return schema.joined([schema.checked(Path(f"{k}"), t.to_frame("t")) for k, t in enumerate(columns)])["t"]


def test_times_of_several_zones_stay_the_instants_that_they_are(tmp_path):
    utc = NOON.dt.replace_time_zone("UTC")
    berlin = utc.dt.convert_time_zone("Europe/Berlin").dt.cast_time_unit("ms")
    none = pl.Series([None, None])
    assert berlin[0].hour == berlin[1].hour == 12
    expected = pl.concat([NOON, NOON]).to_list()
    for parts in ((utc, berlin), (berlin, utc), (berlin, berlin)):
        found = joined(none, *parts)
        assert found[2:].dt.convert_time_zone("UTC").dt.replace_time_zone(None).to_list() == expected
        assert found[:2].null_count() == 2
    berlin.to_frame("t").write_parquet(tmp_path / "0.parquet")
    utc.to_frame("t").write_parquet(tmp_path / "1.parquet")
    assert read_table(tmp_path)["t"].to_list() == utc.to_list() * 2


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            NOON,
            "1 holds times of no zone in column 't', and 0 of a zone; write all parts with a zone, or none",
        ),
        (pl.Series([date(2024, 6, 1)]), "1 holds times of no zone in column 't', and 0 of a zone"),
        (
            pl.Series([time(12)]),
            "1 holds times of day in column 't', and 0 holds dates; write all parts alike",
        ),
    ],
)
def test_times_that_are_none_of_the_others_name_the_files_and_the_column(other, message):
    with pytest.raises(InputError, match=message):
        joined(NOON.dt.replace_time_zone("Europe/Berlin"), other)
