"""The OpenAPI document follows from the model, and tells what the server does."""

import json

import jsonschema
import pytest
from openapi_spec_validator import validate
from served_models import (
    ROW,
    array_model,
    client,
    folds_model,
    labels_model,
    picture_model,
    table_model,
    text_model,
)

MODELS = {"table": table_model, "folds": folds_model, "picture": picture_model, "array": array_model,
          "text": text_model, "labels": labels_model}  # fmt: skip


@pytest.mark.parametrize("token", ["", "secret"])
@pytest.mark.parametrize("kind", MODELS)
def test_the_document_is_valid(kind, token):
    headers = {"authorization": "Bearer secret"}
    found = client(MODELS[kind](), token=token, rate=100).get("/openapi.json", headers=headers).json()
    validate(found)
    assert ("security" in found) == bool(token)


@pytest.mark.parametrize("kind", MODELS)
def test_the_example_is_answered_and_the_answer_is_as_told(kind):
    app = client(MODELS[kind]())
    document = app.get("/openapi.json").json()
    predict = document["paths"]["/predict"]["post"]
    example = predict["requestBody"]["content"]["application/json"]["example"]
    answer = app.post("/predict", json=example)
    assert answer.status_code == 200
    schema = predict["responses"]["200"]["content"]["application/json"]["schema"]
    parts = {"components": document["components"]}
    jsonschema.validate(answer.json(), schema | parts)
    jsonschema.validate(example, document["components"]["schemas"]["Request"] | parts)
    error = app.post("/predict", json={}).json()
    jsonschema.validate(error, document["components"]["schemas"]["Error"] | parts)


def test_the_columns_are_the_properties():
    document = client(table_model()).get("/openapi.json").json()
    record = document["components"]["schemas"]["Record"]
    assert record["required"] == ["age", "city", "since"]
    assert record["properties"].keys() == {"age", "city", "since", "name"}
    assert record["properties"]["age"]["type"] == ["number", "null"]
    assert record["properties"]["city"]["examples"] == ["Bonn", "Köln", "Ulm"]
    check = jsonschema.Draft202012Validator(record)
    assert check.is_valid(ROW)
    assert not any(check.is_valid(ROW | change) for change in ({"age": "4"}, {"colour": 1}, {"since": 5}))


def test_the_page_shows_names_as_text():
    """A column may have any name."""
    model = table_model()
    columns = model.columns.columns
    object.__setattr__(columns[0], "name", "<script>alert(1)</script>")
    page = client(model).get("/docs").text
    assert "<script" not in page
    for text in ("&lt;script&gt;", "<code>POST /predict</code>", "Bonn, Köln, Ulm"):
        assert text in page
    assert json.dumps("city") in page.replace("&quot;", '"')


def test_the_examples_bear_the_token():
    headers = {"authorization": "Bearer secret"}
    text = client(table_model(), token="secret").get("/docs", headers=headers).text
    assert "authorization: Bearer $MLPAX_TOKEN" in text
    assert "Bearer secret" not in text
    assert "authorization" not in client(table_model()).get("/docs").text
