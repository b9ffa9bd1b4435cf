"""What a table holds, column by column, and what training would make of it."""

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from mlpax.data.columns import LeftOut, fit_columns
from mlpax.data.kinds import Kind, numbers, numbers_rows, tell_kinds, typed, with_values
from mlpax.data.numerals import counts_of
from mlpax.data.reading import Reading
from mlpax.data.targets import Labels, infer_task, labels_of, settled, tell_columns, tell_task, tell_tasks
from mlpax.errors import InputError, Notice

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Described", "Fact", "describe"]

LEFT_OUT = {
    "constant": "left out, being constant",
    "drop": "left out",
    "id": "names the rows; left out",
    "text": "left out, being another text in nearly every row",
}


class Fact(NamedTuple):
    """What `describe` tells of a column."""

    column: str
    kind: str
    missing: int
    distinct: int
    remark: str


class Described(NamedTuple):
    """What `describe` tells of a table."""

    targets: tuple[str, ...]
    task: str  # empty if the cells of the target are refused
    facts: list[Fact]


def describe(
    frame: "pl.DataFrame", reading: Reading = Reading(), notice: Notice = lambda text: None
) -> Described:
    """Tell a table's targets and task, and of each column its kind, missing cells and distinct values.

    Parameters
    ----------
    frame : polars.DataFrame
    reading : Reading, optional
        What the user says.
    notice : callable, optional
        Called with the lines that training would print of the columns.
    """
    targets, reading = settled(frame, reading, notice)
    refused: dict[str, InputError] = {}
    kinds = tell_kinds(frame, reading, notice, refused)
    tasks, found = dict.fromkeys(targets, reading.task or ""), dict[str, Labels]()
    for target in (name for name in targets if name not in refused):
        try:
            tasks[target] = reading.task or infer_task(typed(frame[target], kinds[target]))
            found[target] = labels_of(frame[target], tasks[target], kinds[target])
            if len(targets) == 1:
                tell_task(target, found[target], reading, notice)
        except InputError as error:
            refused.setdefault(target, error)
    if len(targets) > 1:
        try:
            tell_tasks(found, reading, notice)
        except InputError as error:
            refused.update(dict.fromkeys(found, error))
    inputs = frame.select(name for name in frame.columns if name not in {*targets, *refused})
    inputs = with_values(inputs, kinds)
    remarks = {target: f"target of a {task}" if task else "target" for target, task in tasks.items()}
    for target in [name for name, task in tasks.items() if task == "classification"]:
        remarks[target] += _shares(frame[target])
    with contextlib.suppress(InputError):  # no column is left
        columns = fit_columns(inputs, kinds)
        tell_columns(inputs, columns, kinds, notice)
        remarks |= {c.name: LEFT_OUT[c.kind] if isinstance(c, LeftOut) else "" for c in columns.columns}
        remarks |= {
            c.name: "may number the rows"
            for c in columns.columns
            if c.kind == "number" and numbers_rows(inputs[c.name], kinds[c.name])
        }
    read = frame.with_columns(inputs)
    facts = [_fact(v, kinds[v.name], remarks.get(v.name, ""), refused.get(v.name)) for v in read]
    task = next(iter(tasks.values()))
    return Described(targets, task, facts)


def _fact(values: "pl.Series", kind: Kind, remark: str, refused: InputError | None) -> Fact:
    read = values
    try:
        read = typed(values, kind)
        if kind.name == "number":
            numbers(values, kind)
    except InputError as error:
        refused = refused or error
    if refused:
        remark = "; ".join(filter(None, (remark, f"refused: {refused}")))
    name = "" if refused and not remark.startswith("target") else kind.name
    return Fact(values.name, name, read.null_count(), read.n_unique() - (read.null_count() > 0), remark)


def _shares(values: "pl.Series") -> str:
    """The classes and their shares of the rows that have one."""
    counts = sorted(counts_of(values.drop_nulls()), key=lambda row: (-row[1], str(row[0])))
    rows = sum(n for _, n in counts)
    more = f" and {len(counts) - 8} more" if len(counts) > 8 else ""
    return ": " + ", ".join(f"{c} {n / rows:.0%}" for c, n in counts[:8]) + more
