"""What a table holds, column by column, and what training would make of it."""

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from mlpax.data.kinds import date_order, kind_of, numbers_rows, with_nulls
from mlpax.data.targets import guess_target, index_of, infer_task, labels_of
from mlpax.errors import InputError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Fact", "describe"]


class Fact(NamedTuple):
    """What `describe` tells of a column."""

    column: str
    kind: str
    missing: int
    distinct: int
    remark: str


def describe(frame: "pl.DataFrame", target: str | None = None) -> tuple[str, str, list[Fact]]:
    """Target, task, and each column's kind, missing cells, distinct values and what to look at."""
    target = guess_target(frame, target, lambda text: None)
    task = "regression"
    with contextlib.suppress(InputError):  # of an infinite value, told below
        task = infer_task(with_nulls(frame[target]))
    index = index_of(frame, target)
    facts: list[Fact] = []
    for name in frame.columns:
        values = with_nulls(frame[name])
        kind, remark = _target_told(values, task) if name == target else _input_told(values, name == index)
        facts.append(Fact(name, kind, values.null_count(), values.drop_nulls().n_unique(), remark))
    return target, task, facts


def _target_told(values: "pl.Series", task: str) -> tuple[str, str]:
    """Kind of the target, and its classes, or why training refuses it."""
    kind = "number" if task == "regression" else "category"
    remark = f"target of a {task}{_shares(values) if task == 'classification' else ''}"
    with contextlib.suppress(InputError):  # of what is no slip among classes
        kind = kind_of(values).name
    try:
        labels_of(values, None)
    except InputError as error:
        remark += f"; refused: {error}"
    return kind, remark


def _input_told(values: "pl.Series", is_index: bool) -> tuple[str, str]:
    """Kind of another column, and what to look at."""
    try:
        kind, date_format = kind_of(values)
        numbered = kind == "number" and numbers_rows(values)
    except InputError as error:
        return "", f"refused: {error}"
    if is_index:
        return kind, "no name: taken for an index, and left out"
    if numbered:
        return kind, "looks like a row number"
    if kind == "category" and values.n_unique() == len(values):
        return kind, "looks like an identifier"
    order = date_order(date_format)
    return kind, "will be left out" if kind == "constant" else f"read as {order}" if order else ""


def _shares(values: "pl.Series") -> str:
    """The classes and their shares of the rows that have one."""
    counts = values.drop_nulls().value_counts().rows()
    counts.sort(key=lambda row: (-row[1], str(row[0])))
    rows = sum(n for _, n in counts)
    more = f" and {len(counts) - 8} more" if len(counts) > 8 else ""
    return ": " + ", ".join(f"{c} {n / rows:.0%}" for c, n in counts[:8]) + more
