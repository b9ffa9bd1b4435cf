"""The header of a model file: the schema that it follows, and the check of a header against the schema."""

import functools
import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NotRequired, TypedDict, cast

__all__ = ["FORMAT", "CalibrationRecord", "Classes", "Header", "NetworkRecord", "TargetRecord", "checked"]

FORMAT = 2

Classes = tuple[str, ...] | tuple[int, ...]  # or of booleans, which are integers
Schema = TypedDict(  # the keywords of JSON Schema that schema.json uses
    "Schema",
    {
        "$defs": dict[str, "Schema"],
        "$ref": str,
        "anyOf": list["Schema"],
        "const": object,
        "enum": list[object],
        "type": str | list[str],
        "minimum": float,
        "exclusiveMinimum": float,
        "minItems": int,
        "maxItems": int,
        "items": "Schema",
        "properties": dict[str, "Schema"],
        "required": list[str],
        "additionalProperties": "bool | Schema",
    },
    total=False,
)


class NetworkRecord(TypedDict):
    """A network's shape; its numbers are arrays of the file."""

    sizes: list[int]
    activation: str | list[str]
    embeddings: list[list[int]]


class TargetRecord(TypedDict):
    """What a network predicts."""

    name: str
    task: str
    classes: list[str] | list[int]
    link: str
    numerals: NotRequired[dict[str, object]]


class CalibrationRecord(TypedDict):
    """The temperature of the probabilities."""

    temperature: float
    fitted_on: str


class Header(TypedDict):
    """The fields of schema.json, which says what they mean."""

    format: int
    backend: str
    networks: list[NetworkRecord]
    targets: list[TargetRecord]
    scaling: dict[str, float]
    image_shape: list[int] | None
    columns: list[dict[str, object]] | None
    calibration: CalibrationRecord | None
    recipe: dict[str, object]
    metrics: dict[str, float]
    provenance: dict[str, str]


def checked(header: object) -> Header:
    """Return a header if it follows schema.json. Tuples pass for arrays.

    Raises
    ------
    ValueError
        With the first field that does not follow it.
    """
    for fault in _faults(header, _schema(), "its header"):
        raise ValueError(fault)
    return cast(Header, header)


@functools.cache
def _schema() -> Schema:
    return json.loads(Path(__file__).with_name("schema.json").read_bytes())


LARGEST = sys.float_info.max
TYPES: dict[str, tuple[type, ...]] = {
    "array": (list, tuple),
    "boolean": (bool,),
    "integer": (int,),
    "null": (type(None),),
    "number": (int, float),
    "object": (dict,),
    "string": (str,),
}


def _faults(value: object, schema: Schema, where: str) -> Iterator[str]:
    """Yield each place where a value does not follow the schema: as much of JSON Schema as ours uses."""
    if reference := schema.get("$ref"):
        schema = _schema().get("$defs", {})[reference.removeprefix("#/$defs/")]
    shown = repr(value)[:80]
    if "anyOf" in schema:
        if all(any(_faults(value, option, where)) for option in schema["anyOf"]):
            yield f"{where} is {shown}, which is none of the things that it may be"
        return
    allowed = [schema["const"]] if "const" in schema else schema.get("enum")
    if allowed is not None:
        if not any(type(value) is type(option) and value == option for option in allowed):
            yield f"{where} is {shown}, not {' or '.join(map(repr, allowed))}"
        return
    kinds = schema.get("type", [])
    names = [kinds] if isinstance(kinds, str) else kinds
    if not any(type(value) in TYPES[name] for name in names):
        yield f"{where} is {shown}, not of the type {' or '.join(names)}"
    elif isinstance(value, int | float):
        yield from _faults_of_number(value, schema, where)
    elif isinstance(value, list | tuple):
        yield from _faults_of_array(cast(Sequence[object], value), schema, where)
    elif isinstance(value, dict):
        yield from _faults_of_object(cast(dict[str, object], value), schema, where)


def _faults_of_number(value: float, schema: Schema, where: str) -> Iterator[str]:
    if not abs(value) <= LARGEST:
        yield f"{where} is {str(value)[:80]}, not a finite number"
    elif value < schema.get("minimum", -LARGEST) or value <= schema.get("exclusiveMinimum", -math.inf):
        yield f"{where} is {value}, which is too small"


def _faults_of_array(value: Sequence[object], schema: Schema, where: str) -> Iterator[str]:
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", math.inf):
        yield f"{where} has {len(value)} entries, which is too many or too few"
    for i, item in enumerate(value):
        yield from _faults(item, schema.get("items", {}), f"{where}[{i}]")


def _faults_of_object(value: dict[str, object], schema: Schema, where: str) -> Iterator[str]:
    known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    for name in schema.get("required", []):
        if name not in value:
            yield f"{where} lacks {name!r}"
    for name, item in value.items():
        path = name if where == "its header" else f"{where}.{name}"
        if name in known:
            yield from _faults(item, known[name], path)
        elif others is False:
            yield f"{where} has an unknown field {name[:80]!r}"
        elif not isinstance(others, bool):
            yield from _faults(item, others, path)
