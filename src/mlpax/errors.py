"""The errors that mlpax raises on purpose, its warnings, and helpers that word their messages."""

import difflib
import re
from collections.abc import Callable, Iterable

__all__ = [
    "DataWarning",
    "DivergedError",
    "Guess",
    "InputError",
    "InterruptedRun",
    "MlpaxError",
    "MlpaxWarning",
    "ModelFileError",
    "Notice",
    "RowError",
    "TrainingWarning",
]

# Characters that move a terminal's cursor, break the line, change the order of reading, or are not seen:
# controls, line separators, marks of direction, zero-width characters, tags; and bytes of a file name that
# are not UTF-8. The joiners U+200C and U+200D stay: Persian, Hindi and emoji are written with them.
UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)

LONGEST_CELL = 60  # characters of a cell or a name that a message shows

Notice = Callable[[str], object]  # is called with each line that tells the user what was done


class Guess(str):
    """A notice of something that was guessed from the data.

    Attributes
    ----------
    option : str
        What the user types to be sure, such as `--column zip=category`. Nothing is guessed then. Empty if
        only a change of the data makes it sure.
    """

    option: str

    def __new__(cls, text: str, option: str = "") -> "Guess":
        guess = super().__new__(cls, text)
        guess.option = option
        return guess


def options_of(notices: Iterable[str]) -> list[str]:
    """Return the options that make sure what notices say was guessed, each once."""
    return list(dict.fromkeys(text.option for text in notices if isinstance(text, Guess) and text.option))


def strictly(notice: Notice) -> Notice:
    """Return a notice that refuses each guess, and passes on all else."""

    def refuse(text: str) -> None:
        if isinstance(text, Guess):
            remedy = f"; give {text.option}" if text.option else ""
            raise InputError(f"{text}; strict reading guesses nothing{remedy}")
        notice(text)

    return refuse


class MlpaxWarning(UserWarning):
    """Base class of the warnings that mlpax gives: a choice that it made, or something to look at.

    Examples
    --------
    >>> import warnings
    >>> warnings.filterwarnings("ignore", category=MlpaxWarning)  # silences mlpax, and nothing else
    """


class DataWarning(MlpaxWarning):
    """What mlpax guessed of a table, and the argument that makes it sure."""


class TrainingWarning(MlpaxWarning, RuntimeWarning):
    """Something went wrong in a training that went on, such as a member of an ensemble that diverged."""


def escaped(text: str) -> str:
    """Return a text as one line in which every character is seen: an escape character as `\\x1b`."""
    return UNSEEN.sub(lambda match: match.group().encode("unicode_escape", "surrogatepass").decode(), text)


class MlpaxError(Exception):
    """Base class of all errors that mlpax raises on purpose. The message is one line for the user."""

    def __str__(self) -> str:
        return escaped(super().__str__())  # names in it may hold anything


class InputError(MlpaxError, ValueError):
    """An input is wrong. The message names the value, the valid range and the remedy."""


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
    """A model file is damaged, foreign or from a newer mlpax. Nothing in the file was executed."""


class DivergedError(MlpaxError, ArithmeticError):
    """The loss became NaN or infinite. The message names the epoch, the learning rate and a remedy."""


class InterruptedRun(MlpaxError):  # noqa: N818 - not a mistake of anyone
    """Ctrl-C or SIGTERM ended a run after a complete epoch. Everything is written."""

    def __init__(self, signal: int, text: str):
        super().__init__(text)
        self.signal = signal


def listed(names: Iterable[str]) -> str:
    """Return names for a message, separated by commas and cut to one line of 200 characters."""
    text = ", ".join(names)
    return text if len(text) <= 200 else f"{text[:197]}..."


def counted(n: int, thing: str) -> str:
    """Return a number with its noun: `1 row`, `2 rows`."""
    return f"{n} {thing}" if n == 1 else f"{n} {thing}s"


def shortened(text: str, most: int = LONGEST_CELL) -> str:
    """Return a text of at most this many characters; a longer one loses its middle.

    Names of runs differ at the end, names of columns at the start.
    """
    return text if len(text) <= most else f"{text[: (most - 1) // 2]}…{text[-(most // 2) :]}"


def unknown(kind: str, value: object, options: Iterable[str]) -> InputError:
    """Return the error for a name that is not among `options`. It suggests the most similar option."""
    options = list(options)
    near = difflib.get_close_matches(str(value), options, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"choose one of: {', '.join(options)}"
    return InputError(f"unknown {kind} {value!r}; {hint}")
