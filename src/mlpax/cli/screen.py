"""Print what a person sees on the terminal: answers, notices, epoch lines, a progress bar, tables.

All that the commands print leaves through `show`, `show_json`, `output`, `say` or `bar`. A name from a file,
whatever characters it holds, can therefore neither move the cursor nor begin a line.
"""

import io
import json
import shutil
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, TextIO, cast

from rich.cells import cell_len

from mlpax.errors import escaped, shortened
from mlpax.wording import decimal

if TYPE_CHECKING:
    from mlpax.runs.run_files import Summary

__all__ = ["bar", "output", "say", "show", "show_json", "table", "table_of_runs"]

SHORTEST = 8  # columns that a shortened name keeps
LONGEST = 480  # characters of a notice or an error: a line of 500 with "mlpax: ", however "…" is encoded


def _seen(text: str, stream: TextIO) -> str:
    """Return a text as one line that a stream can encode, with all else escaped."""
    encoding = stream.encoding or "utf-8"
    return escaped(text).encode(encoding, "backslashreplace").decode(encoding)


def show(*lines: object) -> None:
    """Print lines of the answer on stdout."""
    for line in lines:
        print(_seen(str(line), sys.stdout))


class _Terminal(io.RawIOBase):
    """Shows the lines of a file on the terminal."""

    def write(self, data: bytes) -> int:  # type: ignore[override]
        show(*data.decode().splitlines())
        return len(data)


def output() -> IO[bytes]:
    """Return stdout for the bytes of a file, which are exact; on a terminal they are shown as by `show`."""
    sys.stdout.flush()
    return cast(IO[bytes], _Terminal()) if sys.stdout.isatty() else sys.stdout.buffer


def show_json(answer: object) -> None:
    """Print the answer as JSON on stdout. Texts are exact: JSON has escapes of its own. NaN becomes null."""
    print(json.dumps(json.loads(json.dumps(answer), parse_constant=lambda name: None)))


def say(text: object) -> None:
    """Print a line for the user on stderr, so that stdout holds only the answer.

    A line of more than 500 characters loses its middle. What is wrong stands at its start, the remedy at
    its end.
    """
    line = shortened(_seen(str(text), sys.stderr), LONGEST)
    print(_seen(f"mlpax: {line}", sys.stderr), file=sys.stderr)


def log(line: str) -> None:
    """Print a line of JSON on stderr. If nobody reads stderr any more, drop the line."""
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)


@contextmanager
def bar(epochs: int, begun: int = 0) -> Generator[Callable[[str], None]]:
    """Show a progress bar, with the epoch lines above it. Yield a function that takes each epoch's line.

    An earlier run has trained the first `begun` epochs.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    count = TextColumn("epoch {task.completed:.0f}/{task.total:.0f}")
    with Progress(count, BarColumn(), TimeRemainingColumn(), transient=True) as progress:
        task = progress.add_task("", total=epochs, completed=begun)

        def show_above(text: str) -> None:
            line = _seen(text, sys.stdout)
            progress.console.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)
            progress.advance(task)

        yield show_above


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
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    space = shutil.get_terminal_size((sys.maxsize, 24)).columns - 2 * (len(widths) - 1)
    while sum(widths) > space and (long := [i for i in names if widths[i] > SHORTEST]):
        widths[max(long, key=lambda i: widths[i])] -= 1
    for row in cells:
        show("  ".join(map(_fitted, row, widths)).rstrip())


def _cell(value: object) -> str:
    return decimal(value, 4) if isinstance(value, float) else _seen(str(value), sys.stdout)


def _fitted(text: str, width: int) -> str:
    """Return a text that takes this many columns of the terminal, of which a Chinese letter takes two."""
    most = width
    while cell_len(text) > width:
        text, most = shortened(text, most), most - 1
    return text + " " * (width - cell_len(text))
