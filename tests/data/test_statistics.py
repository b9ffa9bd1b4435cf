"""Quartiles from several passes: those of numpy, for any numbers, orders, cuts and numbers of processes."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from mlpax.data.columns import _robust
from mlpax.data.kinds import Kind
from mlpax.data.statistics import LEVELS, Quartiles, in_groups, statistic_of


def numbers(rows):
    """Columns, each with the passes that it takes."""
    g = np.random.default_rng(rows)
    u, days = g.random(rows), 19844.5
    return {
        "normal": (g.standard_normal(rows), 4),
        "whole": (g.integers(-5, 9, rows).astype(float), 2),
        "lacking": (np.where(u < 0.3, np.nan, u), 4),
        "infinite": (np.where(u < 0.1, -np.inf, np.where(u > 0.8, np.inf, 2.0)), 2),
        "all missing": (np.full(rows, np.nan), 1),
        "timestamps": (days + np.arange(rows) / 86_400e3, 4),
        "epoch": (np.arange(rows) * 1000.0 + days * 86_400e6, 4),
        "eans": (g.integers(4e12, 5e12, rows).astype(float), 4),
        "near": (1000 + 1e-4 * u, 4),
        "single": (g.standard_normal(rows).astype(np.float32), 2),
        "single subnormal": ((g.standard_normal(rows) * 1e-40).astype(np.float32), 2),
        "subnormal of float32": (g.standard_normal(rows) * 1e-41, 4),
        "subnormal": (g.standard_normal(rows) * 1e-310, 4),
        "zeros": (np.where(u < 0.5, -0.0, 0.0), 2),
        "zeros and some": (np.where(u < 0.5, -0.0, g.integers(-1, 2, rows) * 1e-320), 4),
        "huge": (g.standard_normal(rows) * 1e307, 4),
        "two sizes": (np.where(u < 0.8, 0.1, -1e8 * u), 4),
        "late": (np.where(np.arange(rows) < rows - 1, np.arange(rows) - rows // 2, 1e-9), 4),
        "equal": (np.full(rows, 0.1), 4),
        "equal whole": (np.full(rows, -3.0), 2),
    }


def found(x, processes, g, shuffled):
    """What several processes find, with other cuts in each pass, and the number of passes."""
    own, passes, settled = [Quartiles() for _ in range(processes)], 0, {False}
    while settled == {False}:
        rows = g.permutation(x) if shuffled else x
        for quartiles, part in zip(own, np.array_split(rows, processes), strict=True):
            for piece in np.split(part, np.sort(g.integers(0, len(part) + 1, 4))):
                quartiles.add(piece)
        if processes > 1:
            every = [quartiles.counted() for quartiles in own]
            for quartiles in own:
                quartiles.add_up(every)
        settled, passes = {quartiles.settle() for quartiles in own}, passes + 1
    assert settled == {quartiles.settle() for quartiles in own} == {True}  # asked again beside other columns
    assert len({np.array(quartiles.robust()).tobytes() for quartiles in own}) == 1
    assert {quartiles.lacking for quartiles in own} == {np.isnan(x).sum()}
    return own[0].robust(), passes


@pytest.mark.parametrize("rows", [1, 2, 1001])
@pytest.mark.parametrize("name", [*numbers(1)])
def test_quartiles_are_those_of_numpy_in_any_order_and_in_any_cuts(name, rows):
    x, most = numbers(rows)[name]
    g = np.random.default_rng(5)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = _robust(x.astype(np.float64))
    for processes, shuffled in ((1, True), (1, False), (3, True), (3, False)):
        robust, passes = found(x, processes, g, shuffled)
        assert np.array(robust).tobytes() == np.array(expected).tobytes() or robust == expected == (0, 0)
        assert passes == most if rows > 2 else passes <= most


def test_columns_are_learned_together_by_the_bytes_of_their_counts():
    few = pl.Series("few", ["a", "b"] * 50)
    columns = {
        "number": pl.Series("number", [1.5]),
        "date": pl.Series("date", [date(2024, 1, 1)]),
        "category": few,
    }
    sizes = {name: statistic_of(Kind(name), values).size for name, values in columns.items()}
    assert sizes["number"] == 6 * 2**16 * 8
    assert sizes["date"] == 6 * sizes["number"]
    assert sizes["category"] < 1e5
    many = statistic_of(Kind("category"), pl.Series("many", [f"{k:0100d}" for k in range(100)]))
    assert many.size > LEVELS * 200
    of = {name: statistic_of(Kind(name), columns[name]) for name in ("date", "number", "category")}
    assert [*in_groups({**of, "many": many}, 8 * sizes["number"])] == [
        ["date", "number", "category"],
        ["many"],
    ]
    assert [*in_groups({}, 1)] == []
