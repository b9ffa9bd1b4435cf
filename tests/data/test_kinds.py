"""What a column holds, told of many columns together."""

import random

import polars as pl
import pytest

from mlpax.data import kinds
from mlpax.data.kinds import tell_kinds

NUMBERS = ["0", "1", "7", "-3", "2.5", "1e5", "0.25", "+4", "12", "19000100", ".5", "1.234"]
WORDS = ["red", "green", "Blue sky", "a,b", "c-d", "yes", "no", "x/y", "March", "kg", "May", "Monday"]
ODD = ["NA", "nan", "inf", "?", "007", "20240131", "1,234", "1.234,5", "2024-01-31", "12:30", "5 kg", "½",
       "³", "9007199254740993", "é", "unknown", "<5", "(3)", "Ⅷ", "01", "-", "12 March", "3%"]  # fmt: skip


def told(frame):
    """What is told, said and refused of each column."""
    notices, refused = [], {}
    return (
        tell_kinds(frame, notice=notices.append, refused=refused),
        notices,
        {k: str(e) for k, e in refused.items()},
    )


@pytest.mark.parametrize("seed", range(20))
def test_columns_looked_at_together_are_told_as_one_by_one(seed, monkeypatch):
    rng = random.Random(seed)
    pools = [NUMBERS, WORDS, NUMBERS + WORDS, NUMBERS[:1], WORDS[:1], [*NUMBERS, None], [*WORDS, None]]
    pools += [[*rng.choice((NUMBERS, WORDS)), odd] for odd in ODD] + [[rng.choice(NUMBERS), rng.choice(ODD)]]
    rows = rng.choice((1, 2, 5, 30))
    frame = pl.DataFrame(
        {
            f"c{i}": pl.Series([rng.choice(pool) for _ in range(rows)], dtype=pl.String)
            for i, pool in enumerate(pools)
        }
    )
    together = told(frame)
    monkeypatch.setattr(kinds, "_plainly", lambda frame, reading: {})
    assert together == told(frame)


def test_most_columns_are_looked_at_together(monkeypatch):
    """A look at one column takes as long as one at thousands of cells, so that wide tables took minutes."""
    looked = []
    monkeypatch.setattr(kinds, "_tell", lambda values, *rest: looked.append(values.name))
    rng = random.Random(0)
    columns = {f"c{i}": [rng.choice((NUMBERS, WORDS)[i % 2]) for _ in range(20)] for i in range(500)}
    tell_kinds(pl.DataFrame(columns))
    assert looked == []
