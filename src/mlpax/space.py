"""What a sweep tries: lists and ranges of values for the settings of a recipe."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Protocol, cast, runtime_checkable

from mlpax.errors import InputError, unknown
from mlpax.recipes import Recipe

__all__ = ["Range", "Space", "Values", "check_whole", "combinations", "is_list", "parsed", "space_of",
           "written"]  # fmt: skip

TRIALS = 32  # where a range has no end of values
FIXED = ("validation", "monitor", "seed", "train_metrics")  # of all trials, or they could not be compared


@dataclass(frozen=True)
class Range:
    """Values from `low` to `high`; with `log` as many between 0.01 and 0.1 as between 0.1 and 1."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not (self.low < self.high < math.inf):
            raise InputError(f"'{self}' is an empty range; the first number must be below the second")
        if self.log and self.low <= 0:
            raise InputError(
                f"'{self}' is on a log scale, which begins above 0; write 1e-4:{self.high:g}:log"
            )

    def at(self, share: float) -> float:
        """Return the value at a share of the range in [0, 1)."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        found = low + share * (high - low)
        return math.exp(found) if self.log else found

    def __str__(self) -> str:
        return f"{self.low:g}:{self.high:g}{':log' if self.log else ''}"


Values = Range | tuple[Any, ...]
Space = dict[str, Values]
Trial = dict[str, Any]  # a value of each setting


def parsed(name: str, text: str) -> object:
    """Return what a word of the command line says of a setting: a value, a tuple of several, or a range.

    Parameters
    ----------
    name : str
        A field of `Recipe`.
    text : str
        Such as "0.1", "0.01,0.1", "0.001:1:log" or "adam,nesterov"; of `hidden` the units of each layer.

    Raises
    ------
    InputError
        If there is no such setting, or it takes no such value.
    """
    kind = _field(name).type
    if name == "hidden":
        return _layers(text)
    if kind in (int, float) and ":" in text:
        return _range(name, text)
    found = tuple(_value(name, kind, word.strip()) for word in text.split(",") if word.strip())
    return found[0] if len(found) == 1 else found


def _layers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(units) for units in text.split(",") if units.strip())
    except ValueError:
        raise InputError(f"hidden {text!r} is no list of whole numbers; write 128,64") from None


def _field(name: str) -> "dataclasses.Field[Any]":
    fields = {field.name: field for field in dataclasses.fields(Recipe)}
    if name not in fields:
        raise unknown("setting", name, fields)
    return fields[name]


def _value(name: str, kind: object, word: str) -> object:
    if kind is bool:
        if word.lower() not in ("true", "false"):
            raise InputError(f"{name} {word!r} is neither true nor false")
        return word.lower() == "true"
    try:
        return int(word) if kind is int else float(word) if kind is float else word
    except ValueError:
        what = "whole number" if kind is int else "number"
        raise InputError(f"{name} {word!r} is no {what}; write 0.1, or 0.01,0.1, or 0.01:1:log") from None


def _range(name: str, text: str) -> Range:
    low, high, *log = text.split(":")
    if log not in ([], ["log"]):
        raise InputError(f"{name} {text!r} is no range; write low:high or low:high:log")
    try:
        ends = float(low), float(high)
    except ValueError:
        raise InputError(f"{name} {text!r} is no range; write low:high or low:high:log") from None
    try:
        return Range(*ends, log == ["log"])
    except InputError as error:
        raise InputError(f"{name} {error}") from None


def space_of(given: Mapping[str, object], base: Recipe) -> Space:
    """Return the settings to try, and the values of each.

    Parameters
    ----------
    given : mapping
        For each setting a `Range`, a list of values, or a word as `parsed` takes it. `hidden` is a list of
        tuples.
    base : Recipe
        Whose other settings all trials have.

    Raises
    ------
    InputError
        If there is no setting of a name or none at all, a list is empty, a value is outside its range, or
        trials of other values could not be compared.
    """
    space: Space = {}
    for name, values in given.items():
        field = _field(name)
        if name in FIXED:
            remedy = "; --seeds trains each trial several times" if name == "seed" else ""
            raise InputError(f"{name} must be the same for all trials; give it one value{remedy}")
        values = parsed(name, values) if isinstance(values, str) else values
        values = values.tolist() if isinstance(values, _Array) else values
        if not isinstance(values, Range):
            values = tuple(cast(Sequence[object], values)) if is_list(values) else (values,)
            values = (values,) if name == "hidden" and not any(map(is_list, values)) else values
            if not values:
                raise InputError(f"{name} has no value to try; give some, or leave it out")
        elif field.type not in (int, float):
            raise InputError(f"{name} takes no range; give a list of values")
        ends = (values.low, values.high) if isinstance(values, Range) else values
        checked = [_checked(base, name, field, value) for value in ends]
        space[name] = values if isinstance(values, Range) else tuple(dict.fromkeys(checked))
    if not any(isinstance(values, Range) or len(values) > 1 for values in space.values()):
        raise InputError("there is nothing to compare; give a setting several values, such as"
                         " learning_rate 0.001:1:log")  # fmt: skip
    return space


@runtime_checkable
class _Array(Protocol):
    """An array, without importing NumPy."""

    def tolist(self) -> object: ...


def is_list(value: object) -> bool:
    """Return whether a value is a list, a tuple, a range or an array."""
    return isinstance(value, (tuple, list, range, _Array))


def written(value: object) -> str:
    """Return a setting's value as the command line takes it."""
    return ",".join(map(str, cast(Sequence[object], value))) if is_list(value) else str(value)


def check_whole(name: str, value: object, least: int) -> None:
    """Raise an error unless a value is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InputError(f"{name} {value!r} is no whole number")
    if value < least:
        raise InputError(f"{name} {value} is below {least}; choose {least} or more")


def _checked(base: Recipe, name: str, field: "dataclasses.Field[Any]", value: Any) -> Any:
    """Return a value as the recipe has it."""
    value = round(value) if field.type is int and isinstance(value, float) and value.is_integer() else value
    return getattr(base.replace(**{name: value}), name)


def combinations(space: Space, trials: int | None, seed: int) -> list[Trial]:
    """Return the trials: all combinations of lists, or random ones.

    A random sample covers each range evenly: it is cut into as many parts as there are trials, and each has
    one value of every part (Latin hypercube sampling, McKay et al. 1979).

    Parameters
    ----------
    space : dict
        See `space_of`.
    trials : int, optional
        How many. By default all combinations of lists, and 32 where there is a range. There are fewer if the
        ranges have fewer whole numbers.
    seed : int

    Raises
    ------
    InputError
        If trials are below 1.
    """
    from mlpax.seeds import rng  # NumPy would double the time of `mlpax --help`

    if trials is not None:
        check_whole("trials", trials, 1)
    lists = {name: values for name, values in space.items() if not isinstance(values, Range)}
    generator = rng(seed, "sweep")
    if len(lists) == len(space):
        every = [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]
        if trials is None or trials >= len(every):
            return every
        return [every[k] for k in sorted(generator.permutation(len(every))[:trials].tolist())]
    count = TRIALS if trials is None else trials
    columns: dict[str, list[Any]] = {}
    for name, values in space.items():
        shares = ((generator.permutation(count) + generator.random(count)) / count).tolist()
        if not isinstance(values, Range):
            columns[name] = [values[int(share * len(values))] for share in shares]
        elif _field(name).type is int:
            low, high = math.ceil(values.low), math.floor(values.high)
            whole = Range(low - 0.5 + 1e-9, high + 0.5 - 1e-9, values.log)
            columns[name] = [min(max(round(whole.at(share)), low), high) for share in shares]
        else:
            drawn = [float(f"{values.at(share):.6g}") for share in shares]
            columns[name] = [min(max(value, values.low), values.high) for value in drawn]
    found = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return [trial for k, trial in enumerate(found) if trial not in found[:k]]  # of few whole numbers
