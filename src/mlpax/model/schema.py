"""The header of a model file: the schema that it follows, and the check of a header against the schema."""

import functools
import itertools
import json
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NotRequired, TypedDict, cast

import numpy as np

from mlpax.data.columns import Columns

__all__ = ["FORMAT", "CalibrationRecord", "Classes", "Header", "NetworkRecord", "TargetRecord", "checked",
           "columns_of", "parsed", "shapes_of"]  # fmt: skip

FORMAT = 2
MOST_PARTS = 4 * 10**6  # of a JSON text; each takes up to 170 bytes of memory, and a microsecond
LARGEST_32, LEAST_32 = float(np.finfo(np.float32).max), float(np.finfo(np.float32).tiny)
DEEPEST = 20  # levels of the recipe: what reads and writes it recurses

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
    """The temperature of the probabilities, or that of each target."""

    temperature: float | list[float]
    fitted_on: str


class IntervalsRecord(TypedDict):
    """What the rows of the folds tell of new ones."""

    folds: int
    rows: int
    scores: list[float]
    levels: list[float]
    spreads: list[float]
    slope: float


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
    fold_columns: NotRequired[list[list[dict[str, object]]]]
    intervals: NotRequired[IntervalsRecord]
    recipe: dict[str, object]
    metrics: dict[str, float]
    provenance: dict[str, str]


def parsed(text: str) -> object:
    """Return the value of a JSON text, if every reader would find the same value.

    Raises
    ------
    ValueError
        If it is no JSON or has too many parts; if an object has a name twice; if it holds NaN, an infinity,
        an integer of more than 64 bits, or half of a surrogate pair.
    """
    if sum(map(text.count, "[{,:")) > MOST_PARTS:
        raise ValueError(f"its header has more than {MOST_PARTS:,} parts")
    value = _DECODER.decode(text)
    try:
        text.encode()
        if re.search(r"\\u[dD][89a-fA-F]", text):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("its header holds a text with half of a surrogate pair") from None
    return value


def _integer(text: str) -> int:
    value = int(text[:21])
    if not -(2**63) <= value < 2**64:
        raise ValueError(f"its header holds the integer {text[:40]}, which takes more than 64 bits")
    return value


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"its header holds {text[:40]}, which is not a finite number")
    return value


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"its header has an object of {len(pairs)} names, of which some are alike")
    return found


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_number, parse_int=_integer, parse_constant=_number
)


def checked(header: object) -> Header:
    """Return a header if it follows schema.json. Tuples pass for arrays.

    Raises
    ------
    ValueError
        With the first field that does not follow it.
    """
    if fault := _fault(header, _schema(), "its header"):
        raise ValueError(fault)
    return cast(Header, header)


def shapes_of(header: Header) -> dict[str, tuple[int, ...]]:
    """Return the shape of each array of a file."""
    shapes: dict[str, tuple[int, ...]] = {}
    for k, network in enumerate(header["networks"]):
        for i, (m, n) in enumerate(itertools.pairwise(network["sizes"])):
            shapes |= {f"networks.{k}.W{i}": (m, n), f"networks.{k}.b{i}": (n,)}
        for i, shape in enumerate(network["embeddings"]):
            shapes[f"networks.{k}.E{i}"] = tuple(shape)
    for k, columns in enumerate(_every_columns(header)):
        shapes |= {f"columns.{k}.{name}": shape for name, shape in columns.shapes.items()}
    return shapes


def columns_of(header: Header) -> tuple[Columns, ...]:
    """Return a header's columns as each fold has them, after the checks that no JSON Schema can say.

    Of a model without folds there is one. If the rows come from no table, there is none.

    Raises
    ------
    ValueError
        With the first field that does not fit the others.
    """
    columns = _every_columns(header)
    names = [[column.name for column in own.columns] for own in columns]
    _require(all(own == names[0] for own in names), "its folds have other columns than the first")
    _require(columns or not header.get("fold_columns"), "it has columns of folds without columns")
    networks = header["networks"]
    each = len(networks) // max(len(columns), 1)
    _require(each * max(len(columns), 1) == len(networks), "its networks cannot be divided among its folds")
    for k, record in enumerate(networks):
        _check_network(record, columns[k // each] if columns else None, header["image_shape"])
        plain = header["scaling"] == {"shift": 0, "scale": 1}
        _require(plain or not record["embeddings"], "its scaling changes the codes of its embeddings")
        _check_targets(header["targets"], record["sizes"][-1])
    several = len(header["targets"]) > 1
    _require(not several or header["image_shape"] is None, "its pictures have several targets")
    if intervals := header.get("intervals"):
        folds, found = intervals["folds"], intervals["scores"]
        _require(len(networks) % folds == 0, "its networks cannot be divided among its folds")
        _require(len(columns) in (0, folds), "it has columns of more or fewer folds")
        _require(found == sorted(found) and len(found) <= intervals["rows"], "its scores are no quantiles")
        levels = intervals["levels"]
        _require(levels == sorted(levels), "its levels do not rise")
        _require(len(levels) == len(intervals["spreads"]), "its spreads are not one for each level")
    calibration = header["calibration"]
    temperatures: Sequence[float] = ()
    if calibration:
        temperatures = _temperatures(calibration["temperature"], len(header["targets"]))
    numbers = (*header["scaling"].values(), *temperatures)
    _require(all(abs(v) <= LARGEST_32 for v in numbers), "its scaling or temperature is beyond float32")
    _require(all(v >= LEAST_32 for v in temperatures), "its temperature is 0 as float32")
    _require(_is_flat(header["recipe"], DEEPEST), f"its recipe has more than {DEEPEST} levels")
    return columns


def _every_columns(header: Header) -> tuple[Columns, ...]:
    every = [] if header["columns"] is None else [header["columns"], *header.get("fold_columns", [])]
    return tuple(Columns.from_json(own) for own in every)


def _temperatures(found: float | list[float], targets: int) -> Sequence[float]:
    each = found if isinstance(found, list) else [found]
    _require(len(each) == targets, "its temperatures are not one for each target")
    return each


def _require(condition: object, what: str) -> None:
    if not condition:
        raise ValueError(what)


def _is_flat(value: object, levels: int) -> bool:
    """Return whether a value of JSON has at most this many levels."""
    inside = list(cast("dict[str, object]", value).values()) if isinstance(value, dict) else value
    items = cast("list[object]", inside) if isinstance(inside, list) else []
    return levels >= 0 and all(_is_flat(item, levels - 1) for item in items if type(item) in (dict, list))


def _check_network(network: NetworkRecord, columns: Columns | None, image_shape: list[int] | None) -> None:
    sizes, embedded, activation = network["sizes"], network["embeddings"], network["activation"]
    _require(
        isinstance(activation, str) or len(activation) == len(sizes) - 2,
        f"its activation is {activation!r}, which does not fit its sizes {sizes}",
    )
    _require(
        image_shape is None or math.prod(image_shape) == sizes[0], "its image shape does not fit its inputs"
    )
    if columns is None:
        _require(not embedded, "it has embeddings without columns")
        return
    _require(
        columns.embeddings == tuple(codes for codes, _ in embedded), "its columns do not fit its embeddings"
    )
    inputs = columns.dense + sum(size for _, size in embedded)
    _require(inputs == sizes[0], "its columns do not fit its inputs")


def _check_targets(targets: list[TargetRecord], outputs: int) -> None:
    first = targets[0]
    if first["task"] == "classification":
        _require(
            sum(len(target["classes"]) for target in targets) == outputs, "its classes do not fit its outputs"
        )
        for target in targets:
            _check_classes(target)
        return
    _require(len(targets) == outputs, "its targets do not fit its outputs")
    for target in targets:
        _require(target["task"] == "regression", "it has other targets beside a classification")
        _require(not target["classes"], "its classes do not fit its outputs")
        _require(target["link"] == first["link"], "its targets have different links")


def _check_classes(target: TargetRecord) -> None:
    classes = target["classes"]
    _require(target["task"] == "classification", "it has other targets beside a classification")
    _require(len(classes) > 0, "it has a target without classes")
    _require(len({*classes}) == len(classes), "it has a class twice")
    _require(isinstance(classes[0], str) or _fits_64_bits(classes), "its classes do not fit one type")
    _require(target["link"] == "identity", f"its link is {target['link']!r}")


def _fits_64_bits(classes: Sequence[object]) -> bool:
    """Return whether integers fit one type of NumPy, with or without a sign."""
    return np.asarray(classes).dtype.kind in "biu"


@functools.cache
def _schema() -> Schema:
    return json.loads(Path(__file__).with_name("schema.json").read_bytes())


LARGEST = sys.float_info.max
KINDS: dict[type, str] = {
    list: "array",
    tuple: "array",
    bool: "boolean",
    int: "integer",
    type(None): "null",
    float: "number",
    dict: "object",
    str: "string",
}


def _is_all(kind: type, schema: Schema) -> bool:
    """Return whether a schema asks for a text, a boolean or an integer, for no more, and this is the type."""
    return kind in (str, bool, int) and schema.get("type") == KINDS[kind] and "minimum" not in schema


def _fault(value: object, schema: Schema, where: str) -> str:
    """Return the first place where a value does not follow the schema, or an empty text."""
    if "$ref" in schema:
        schema = _schema().get("$defs", {})[schema["$ref"].removeprefix("#/$defs/")]
    if "anyOf" in schema:
        faults = {_fault(value, option, where): option for option in schema["anyOf"]}
        if "" in faults:
            return ""
        of_its_type = (fault for fault, own in faults.items() if "type" in own and ", not of" not in fault)
        return next(of_its_type, f"{where} is {repr(value)[:80]}, which is none of the things that it may be")
    allowed = [schema["const"]] if "const" in schema else schema.get("enum")
    if allowed is not None:
        if value not in allowed or type(value) is not type(allowed[allowed.index(value)]):  # 1 is True
            return f"{where} is {repr(value)[:80]}, not {' or '.join(map(repr, allowed))}"
        return ""
    kinds, kind = schema.get("type", []), KINDS[type(value)]
    if kind not in kinds and not (kind == "integer" and "number" in kinds):
        wanted = kinds if isinstance(kinds, str) else " or ".join(kinds)
        return f"{where} is {repr(value)[:80]}, not of the type {wanted}"
    if isinstance(value, int | float):
        return _fault_of_number(value, schema, where)
    if isinstance(value, list | tuple):
        return _fault_of_array(cast(Sequence[object], value), schema, where)
    if isinstance(value, dict):
        return _fault_of_object(cast(dict[str, object], value), schema, where)
    return ""


def _fault_of_number(value: float, schema: Schema, where: str) -> str:
    if not abs(value) <= LARGEST:
        return f"{where} is {str(value)[:80]}, not a finite number"
    if value < schema.get("minimum", -LARGEST) or value <= schema.get("exclusiveMinimum", -math.inf):
        return f"{where} is {value}, which is too small"
    return ""


def _fault_of_array(value: Sequence[object], schema: Schema, where: str) -> str:
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", math.inf):
        return f"{where} has {len(value)} entries, which is too many or too few"
    items, kinds = schema.get("items", {}), {*map(type, value)}
    if len(kinds) == 1 and _is_all(kinds.pop(), items):  # levels may be millions
        return ""
    faults = (_fault(item, items, f"{where}[{i}]") for i, item in enumerate(value))
    return next(filter(None, faults), "")


def _fault_of_object(value: dict[str, object], schema: Schema, where: str) -> str:
    known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    for name in schema.get("required", []):
        if name not in value:
            return f"{where} lacks {name!r}"
    if others is True and not known:
        return ""
    for name, item in value.items():
        rule = known.get(name, others)
        if rule is False:
            return f"{where} has an unknown field {name[:80]!r}"
        if not isinstance(rule, bool) and not _is_all(type(item), rule):
            path = name[:80] if where == "its header" else f"{where}.{name[:80]}"
            if fault := _fault(item, rule, path):
                return fault
    return ""
