"""The check of a header is JSON Schema's own, as far as the schema goes."""

import copy
import functools
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpax.engine.forward import ACTIVATIONS
from mlpax.model import schema
from mlpax.model.schema import checked
from mlpax.recipes import TASKS

SCHEMA = json.loads(Path(schema.__file__).with_name("schema.json").read_text())
PAGE = (Path(__file__).parents[2] / "docs" / "model-file.md").read_text()
HEADER = {
    "format": 2,
    "backend": "xla",
    "networks": [
        {"sizes": [9, 4, 3], "activation": "relu", "embeddings": [[67, 4]]},
        {"sizes": [9, 4, 2, 3], "activation": ["relu", "selu"], "embeddings": []},
    ],
    "targets": [{"name": "y", "task": "classification", "classes": ["a", "b", "c"], "link": "identity"}],
    "scaling": {"shift": 0, "scale": 1.5},
    "image_shape": [3, 3],
    "columns": [
        {"kind": "number", "name": "a", "median": 1.5, "scale": 2, "missing": True},
        {
            "kind": "date",
            "name": "b",
            "format": "%Y",
            "medians": [0] * 6,
            "scales": [1.5] * 6,
            "missing": False,
        },
        {"kind": "category", "name": "c", "levels": ["x", "y"], "missing": False},
        {"kind": "text", "name": "d"},
        {
            "kind": "text",
            "name": "f",
            "words": ["ab", "cd"],
            "parts": [" ab"],
            "counts": [2, 1, 2],
            "rows": 2,
            "means": [0.5],
            "missing": False,
            "marks": ["NA"],
        },
        {"kind": "constant", "name": "e"},
    ],
    "calibration": {"temperature": 1.25, "fitted_on": "validation"},
    "recipe": {"hidden": [4], "seed": None},
    "metrics": {"loss": 0.5},
    "provenance": {"mlpax": "0.1.0"},
}


def places(value, path=()):
    """Every place in a value, as the keys that lead there."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inside:
        yield (*path, key)
        yield from places(part, (*path, key))


PLACES = list(places(HEADER))
# Whole numbers as floats are left out: to JSON Schema 4.0 is an integer.
VALUES = st.sampled_from(
    [None, True, 0, -1, 1, 7, 0.5, -0.5, "", "x", "relu", "exp", "regression", "xla", "number", [], [1],
     [1, 2], [1, 2, 3], ["a"], ["a", 1], [True], {}, {"a": 1}, {"a": "b"}, {"kind": "text", "name": "z"}]
)  # fmt: skip


@functools.cache
def validator():
    jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema")
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    return jsonschema.Draft202012Validator(SCHEMA)


def test_a_header_follows_the_schema():
    assert checked(copy.deepcopy(HEADER)) == HEADER
    assert validator().is_valid(HEADER)


@given(data=st.data())
def test_the_check_is_that_of_json_schema(data):
    header = copy.deepcopy(HEADER)
    for _ in range(data.draw(st.integers(1, 2))):
        *path, last = data.draw(st.sampled_from(PLACES))
        record = header
        try:
            for key in path:
                record = record[key]
            match data.draw(st.sampled_from(["put", "drop", "add"])):
                case "put":
                    record[last] = data.draw(VALUES)
                case "drop":
                    del record[last]
                case "add":
                    record["more"] = data.draw(VALUES)
        except (IndexError, KeyError, TypeError):  # the first change took the second one's place away
            continue
    try:
        checked(header)
        valid = True
    except ValueError as error:
        valid = False
        assert "\n" not in str(error)
        assert len(str(error)) < 250
    assert valid == validator().is_valid(header)


@pytest.mark.parametrize("header", [None, [], "header", 2])
def test_what_is_no_object_is_refused(header):
    with pytest.raises(ValueError, match=r"its header is .*, not of the type object"):
        checked(header)


def test_names_are_those_of_the_code():
    definitions = SCHEMA["$defs"]
    assert {*definitions["activation"]["enum"]} == ACTIVATIONS.keys() - {"softmax", "exp"}
    assert definitions["target"]["properties"]["task"]["enum"] == list(TASKS)
    assert SCHEMA["properties"]["format"]["const"] == schema.FORMAT


def test_the_page_describes_every_field_and_kind_of_column():
    cells = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    stated = [d["properties"]["kind"] for d in SCHEMA["$defs"].values() if "kind" in d.get("properties", {})]
    kinds = {kind for one in stated for kind in one.get("enum", [one.get("const")])}
    assert cells == SCHEMA["properties"].keys() | kinds
    for definition in SCHEMA["$defs"].values():
        for name in definition.get("properties", {}):
            assert f"`{name}`" in PAGE, name
