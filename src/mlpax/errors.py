"""The errors a user can meet, and the one sentence each of them says."""

import difflib
from collections.abc import Iterable

__all__ = ["DivergedError", "InputError", "InterruptedRun", "MlpaxError", "ModelFileError", "RowError"]


class MlpaxError(Exception):
    """Base of every error mlpax raises on purpose; its text is one line for the user."""


class InputError(MlpaxError, ValueError):
    """Something the user gave is wrong; the text names the value, the range and the remedy."""


class RowError(InputError):
    """A value in one row of the data is wrong.

    Attributes
    ----------
    before, after : str
        The text around the row's number.
    row : int
        The row's number within the rows that were given.
    """

    def __init__(self, before: str, row: int, after: str = ""):
        super().__init__(f"{before} row {row}{after}")
        self.before, self.row, self.after = before, row, after

    def shifted(self, rows: int) -> "RowError":
        """Return the same error where `rows` rows come before those that were given."""
        return RowError(self.before, self.row + rows, self.after)


class ModelFileError(InputError):
    """A model file is damaged, foreign or from a newer mlpax; nothing of it was run."""


class DivergedError(MlpaxError, ArithmeticError):
    """The loss became NaN or infinite; the text names the epoch, the rate and what to try."""


class InterruptedRun(MlpaxError):  # noqa: N818 - no error of anyone's
    """Ctrl-C or SIGTERM ended a run after a whole epoch; everything is written."""

    def __init__(self, signal: int, text: str):
        super().__init__(text)
        self.signal = signal


def listed(names: Iterable[str]) -> str:
    """Names for a message, which is one line: of many the first."""
    text = ", ".join(names)
    return text if len(text) <= 200 else f"{text[:197]}..."


def counted(n: int, thing: str) -> str:
    """1 row, 2 rows."""
    return f"{n} {thing}" if n == 1 else f"{n} {thing}s"


def unknown(kind: str, value: object, options: Iterable[str]) -> InputError:
    """The error for a name that is not among `options`, with the nearest one suggested."""
    options = list(options)
    near = difflib.get_close_matches(str(value), options, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"choose one of: {', '.join(options)}"
    return InputError(f"unknown {kind} {value!r}; {hint}")
