"""Warnings and log lines: what mlpax tells a Python program about the choices that it made."""

import logging
import re
import shlex
import sys
import warnings

from mlpax.errors import DataWarning, Guess, MlpaxWarning

__all__ = ["LOGGER", "in_python", "told", "warn"]

LOGGER = logging.getLogger("mlpax")
LOGGER.addHandler(logging.NullHandler())  # a program that wants the lines adds a handler of its own

WITHIN = ("mlpax.", "sklearn.")  # modules that no warning points at


def warn(text: str, category: type[Warning] = MlpaxWarning) -> None:
    """Warn with the line of the user's program that called mlpax, and log the text at level INFO."""
    LOGGER.info("%s", text)
    level, frame = 1, sys._getframe(0)  # pyright: ignore[reportPrivateUsage]
    while frame.f_back and str(frame.f_globals.get("__name__", "")).startswith(WITHIN):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, category, stacklevel=level)


def told(text: str, column: str = "column") -> None:
    """Warn of a notice: a guess as `DataWarning`, with the argument that makes it sure; see `in_python`."""
    if not isinstance(text, Guess):
        warn(in_python(text, column))
        return
    remedy = in_python(f"; {text.option} makes sure" if text.option else "", column, exact=True)
    warn(f"{in_python(text, column)}{remedy}", DataWarning)


VALUED = "column|drop|id|missing|dates|decimal|thousands"  # options that messages name with a value
WORD = r"((?:'[^']*'|\"'\"|[^\s;'])+)"


def in_python(text: str, column: str, *, exact: bool = False) -> str:
    """Return a message with options of the command line as arguments: `--id a` as `id='a'`.

    Parameters
    ----------
    text : str
    column : str
        The argument for the kinds of columns. `TableClassifier` takes those to drop there, too.
    exact : bool, default False
        Whether every option in the text has a value. Otherwise `--target names another` has none.
    """

    def argument(match: re.Match[str]) -> str:
        name, word = match[1].replace("-", "_"), shlex.split(match[2])[0]
        if name == "column":
            word, _, name = word.rpartition("=")
        elif name == "missing":
            return f"missing={word.split(',')!r}"
        elif name not in ("drop", "id") or column == "column":
            return f"{name}={[word] if name == 'drop' else word!r}"
        return f"{column}={{{word!r}: {name!r}}}"

    said = re.sub(rf"--({'[a-z-]+' if exact else VALUED}) {WORD}", argument, text)
    return re.sub(r"--([a-z]+(?:-[a-z]+)*)", lambda match: f"{match[1].replace('-', '_')}=", said)
