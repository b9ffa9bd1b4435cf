"""Print what a person sees on the terminal: epoch lines, a progress bar, tables."""

import json
import math
import shutil
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from mlpax.errors import shortened

if TYPE_CHECKING:
    from mlpax.runs.run_files import Summary

__all__ = ["answer", "bar", "epoch_line", "figure", "say", "table", "table_of_runs"]

WIDTH = 80  # columns of the narrowest terminal that our lines should fit
SHORTEST = 8  # characters that a shortened name keeps


def epoch_line(record: dict[str, float], epochs: int) -> str:
    """Return the article's line: `Epoch 1/25: loss: 1.5768, train acc.: 0.818, ..., time: 0.24 sec.`

    Beside both accuracies, the log losses are left out; `metrics.csv` has them. If the line would still be
    wider than 80 columns, a metric of both training and validation rows is named once, as in
    `acc.: 0.945/0.984`, and the time is `0.24 s`.
    """
    left_out = {"epoch", "seconds"}
    if {"train_accuracy", "valid_accuracy"} <= record.keys():
        left_out |= {"train_log_loss", "valid_log_loss"}
    names = [name for name in record if name not in left_out]
    start, time = f"Epoch {record['epoch']}/{epochs}: ", f"{record['seconds']:.2f}"
    figures = ", ".join(f"{_words(name)}: {_digits(name, record[name])}" for name in names)
    # The longest epoch number and a usual time decide, so that all lines of a run look alike.
    if len(f"Epoch {epochs}/{epochs}: {figures}, time: 0.00 sec.") <= WIDTH:
        return f"{start}{figures}, time: {time} sec."
    pairs: dict[str, list[str]] = {}  # both figures of a metric, by its name without "train" and "valid"
    for name in names:
        metric = name.removeprefix("train_").removeprefix("valid_")
        pairs.setdefault(metric, []).append(_digits(name, record[name]))
    figures = ", ".join(f"{_words(metric)}: {'/'.join(values)}" for metric, values in pairs.items())
    return f"{start}{figures}, {time} s"


def _words(name: str) -> str:
    return name.replace("_", " ").replace("accuracy", "acc.")


def _digits(name: str, value: float) -> str:
    """Return a figure with the article's digits: four decimals for the loss, three for the rest."""
    return _decimal(value, 4 if name == "loss" else 3)


def _decimal(value: float, digits: int) -> str:
    """Return a number with this many decimals, or with four digits if it is very small or very large."""
    return f"{value:.4g}" if 0 < abs(value) < 1e-3 or abs(value) >= 1e6 else f"{value:.{digits}f}"


def say(text: str) -> None:
    """Print a line for the user on stderr, so that stdout holds only the answer."""
    print(f"mlpax: {text}", file=sys.stderr)


def answer(value: object) -> None:
    """Print an answer as JSON. A figure that is not finite, for which JSON has no number, is null."""
    print(json.dumps(_without_nan(value), allow_nan=False))


def _without_nan(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _without_nan(item) for name, item in cast("dict[str, object]", value).items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in cast("list[object]", value)]
    return value


def figure(name: str, value: float) -> str:
    """Return a metric in words: `test accuracy 98.10%`, `valid rmse 0.5231`."""
    return f"{name.replace('_', ' ')} {f'{value:.2%}' if name.endswith('accuracy') else _decimal(value, 4)}"


@contextmanager
def bar(epochs: int) -> Generator[Callable[[str], None]]:
    """Show a progress bar, with the epoch lines above it. Yield a function that takes each epoch's line."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    count = TextColumn("epoch {task.completed:.0f}/{task.total:.0f}")
    with Progress(count, BarColumn(), TimeRemainingColumn(), transient=True) as progress:
        task = progress.add_task("", total=epochs)

        def show(text: str) -> None:
            progress.console.print(text, highlight=False, soft_wrap=True)
            progress.advance(task)

        yield show


def table_of_runs(rows: "list[Summary]") -> None:
    """Print one line per run: how it ended, and the score of the network that was kept."""
    cells = [
        (
            row.run,
            row.data.rstrip("/").rpartition("/")[2],  # the file's name; the whole path is in --json
            row.state,
            row.epochs,
            row.kept or "",
            "" if row.score is None else row.score,
            row.metric.removeprefix("valid_").replace("_", " "),
            f"{row.seconds:.1f} s",
        )
        for row in rows
    ]
    table([("run", "data", "state", "epochs", "kept", "score", "metric", "time"), *cells], names=(0, 1))


def table(rows: Sequence[Sequence[object]], names: Sequence[int] = ()) -> None:
    """Print rows in columns as wide as their widest cell.

    Parameters
    ----------
    rows : sequence of rows
    names : sequence of int, optional
        Columns that may be shortened if the table is wider than the terminal. Output that goes to a file or
        a pipe is never shortened.
    """
    cells = [[_decimal(c, 4) if isinstance(c, float) else str(c) for c in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    space = shutil.get_terminal_size((sys.maxsize, 24)).columns - 2 * (len(widths) - 1)
    while sum(widths) > space and (long := [i for i in names if widths[i] > SHORTEST]):
        widths[max(long, key=lambda i: widths[i])] -= 1
    for row in cells:
        shown = [shortened(cell, width).ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(shown).rstrip())
