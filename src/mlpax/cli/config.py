"""Options of a command from a TOML file."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from mlpax.cli.options import SEVERAL, Field
from mlpax.errors import InputError, unknown

__all__ = ["options_in"]

Value = str | int | float | bool | list[str]


def options_in(path: Path, known: Mapping[str, Field]) -> dict[str, Value]:
    """Return the options that a TOML file gives, as the command line would.

    A list is several values: `hidden = [128, 64]`, `drop = ["a", "b"]`. A table is several names with a value
    each: `column = {zip = "category"}`.

    Parameters
    ----------
    path : Path
    known : mapping
        The field of each option by its name. The file may write `-` for `_`.

    Raises
    ------
    InputError
        If the file is missing or no TOML, or an option is unknown or of a wrong type; with the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
        found = tomllib.loads(text)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8, as TOML is; convert it") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"{path} is no TOML: {str(error) or 'it is nested too deeply'}") from None
    options: dict[str, Value] = {}
    for key, value in found.items():
        name = key.replace("-", "_")
        where = f"{path}, line {_line(text, key)}"
        if name not in known:
            raise InputError(f"{where}: {unknown('option', key, known)}")
        try:
            options[name] = _value(known[name], value)
        except ValueError as error:
            raise InputError(f"{where}: {key} is {error}") from None
    return options


def _line(text: str, key: str) -> int:
    """Return the line in which a key is given."""
    start = re.search(rf"^\s*\[?[\"']?{re.escape(key)}[\"']?\s*[].=]", text, re.MULTILINE)
    return text.count("\n", 0, start.end()) + 1 if start else 1


def _value(field: Field, value: object) -> Value:
    """Return a value of TOML as an option takes it."""
    if isinstance(value, dict):
        pairs = cast("dict[str, object]", value)
        found = [f"{own}={text}" for own, text in zip(pairs, _texts([*pairs.values()]), strict=True)]
    elif isinstance(value, list):
        found = _texts(cast("list[object]", value))
    else:
        found = _single(field, value)
    if field.name in SEVERAL:
        return found if isinstance(found, list) else [str(found)]
    return ",".join(found) if isinstance(found, list) else found


def _single(field: Field, value: object) -> str | int | float | bool:
    """Return one value, of the option's type."""
    kind: object = field.type if field.type in (int, float, bool) else str
    if kind is float and type(value) is int:
        return float(value)
    if kind is str and type(value) in (int, float):
        return str(value)
    if not isinstance(value, (str, int, float)) or type(value) is not kind:
        names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text or a list"}
        raise ValueError(f"{value!r}; write {names[cast(type, kind)]}")
    return value


def _texts(values: Sequence[object]) -> list[str]:
    if not all(isinstance(one, (int, float, str)) for one in values):
        raise ValueError("nested too deeply; write a list of numbers or texts")
    return [str(one) for one in values]
