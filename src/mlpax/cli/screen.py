"""What a person sees on the terminal: epoch lines, a progress bar, tables."""

import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlpax.runs.run_files import Summary

__all__ = ["bar", "epoch_line", "figure", "line", "say", "table", "table_of_runs"]


def epoch_line(record: dict[str, float], epochs: int) -> str:
    """Return the article's line: `Epoch 1/25: loss: 1.5768, train acc.: 0.818, ..., time: 0.24 sec.`

    Beside both accuracies the log losses are left out, so that the line fits 80 columns. `metrics.csv` has
    them.
    """
    left_out = {"epoch", "seconds"}
    if {"train_accuracy", "valid_accuracy"} <= record.keys():
        left_out |= {"train_log_loss", "valid_log_loss"}
    figures = [
        f"{name.replace('_', ' ').replace('accuracy', 'acc.')}: {_decimal(value, 4 if name == 'loss' else 3)}"
        for name, value in record.items()
        if name not in left_out
    ]
    return f"Epoch {record['epoch']}/{epochs}: {', '.join(figures)}, time: {record['seconds']:.2f} sec."


def _decimal(value: float, digits: int) -> str:
    """With so many digits after the point, where that says something."""
    return f"{value:.4g}" if 0 < abs(value) < 1e-3 or abs(value) >= 1e6 else f"{value:.{digits}f}"


def line(row: dict[str, float], epochs: int) -> None:
    print(epoch_line(row, epochs), flush=True)


def say(text: str) -> None:
    """A line for the person, beside the answer."""
    print(f"mlpax: {text}", file=sys.stderr)


def figure(name: str, value: float) -> str:
    """A figure in words: `test accuracy 98.10%`, `valid rmse 0.5231`."""
    return f"{name.replace('_', ' ')} {f'{value:.2%}' if name.endswith('accuracy') else _decimal(value, 4)}"


class bar:  # noqa: N801 - used as a function
    """A progress bar with the epochs' lines above it."""

    def __init__(self, epochs: int):
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.progress = Progress(
            TextColumn("epoch {task.completed:.0f}/{task.total:.0f}"), BarColumn(), TimeRemainingColumn(),
            transient=True,
        )  # fmt: skip
        self.task = self.progress.add_task("", total=epochs)

    def __enter__(self) -> Callable[[dict[str, float], int], None]:
        self.progress.start()
        return self.show

    def __exit__(self, *error: object) -> None:
        self.progress.stop()

    def show(self, row: dict[str, float], epochs: int) -> None:
        self.progress.console.print(epoch_line(row, epochs), highlight=False, soft_wrap=True)
        self.progress.update(self.task, completed=row["epoch"])


def table_of_runs(rows: "list[Summary]", as_json: bool) -> None:
    if as_json:
        print(json.dumps([row._asdict() for row in rows]))
        return
    titles = ("run", "data", "recipe", "state", "epochs", "best", "of", "seconds")
    # A run that has no epoch yet has no best.
    cells = [
        row._replace(metric=row.metric.replace("_", " "), best="" if row.best is None else row.best)
        for row in rows
    ]
    table([titles, *cells])


def table(rows: Sequence[Sequence[object]]) -> None:
    """Print rows in columns as wide as their widest cell."""
    cells = [[_decimal(c, 4) if isinstance(c, float) else str(c) for c in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
