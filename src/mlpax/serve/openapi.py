"""Describe the HTTP interface of a model: as an OpenAPI document, and as a page made from the document."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from shlex import quote
from typing import cast

from mlpax import __version__
from mlpax.data.columns import Category, Date, Input, Number, Text
from mlpax.data.kinds import LARGEST_INPUT
from mlpax.serve.options import Options
from mlpax.serve.served import Served

__all__ = ["docs_page", "document"]

EXAMPLES = 20  # levels of a category that are shown
Json = dict[str, object]

ERRORS = {
    "400": "The body is no JSON, or the request is malformed.",
    "401": "The token is missing or wrong.",
    "408": "The body came too slowly.",
    "413": "The body is too large, or has too many rows.",
    "415": "The content type is not read.",
    "422": "A value does not fit the model. The error names the field.",
    "429": "The client sends too many requests.",
    "503": "Too many requests are waiting. Send this one again after the seconds of Retry-After.",
}


def document(served: Served, options: Options) -> Json:
    """Return the OpenAPI 3.1 document of a model.

    Parameters
    ----------
    served : Served
        The columns or the shape of the model become the schema of a request.
    options : Options
        The limits of the server.
    """
    text: Json = {"type": "string"}
    anything: Json = {"type": "object"}
    gets: Json = {
        "/model": _get("Tell what the model takes and answers", options, _ref("Model")),
        "/samples": _get("Show rows that the model was not trained on", options, anything, "404"),
        "/report": _get("Show the report of the run", options, text, "404", media="text/html"),
        "/health": _get("Tell whether the server answers", options, _ref("Health"), open=True),
        "/metrics": _get("Count requests, for Prometheus", options, text, media="text/plain"),
        "/openapi.json": _get("Describe this interface for programs", options, anything),
    }
    errors = ERRORS | {"404": "There is none."}
    found: Json = {
        "openapi": "3.1.0",
        "info": {
            "title": f"mlpax serve: {served.name}",
            "version": __version__,
            "description": _about(served),
        },
        "paths": {
            "/predict": {"post": _predict(served, options)},
            **{path: {"get": operation} for path, operation in gets.items()},
        },
        "components": {
            "schemas": _schemas(served),
            "responses": {status: _answer(about, _ref("Error")) for status, about in errors.items()},
        },
    }
    if options.token:
        components = cast(Json, found["components"])
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        found["security"] = [{"token": []}]
    return found


def _schemas(served: Served) -> Json:
    """Return the schemas of all that is sent and answered."""
    text: Json = {"type": "string"}
    explanation: Json = {
        "method": text | {"description": "How the contributions are computed."},
        "base": {"type": "number", "description": "The answer without any of the contributions."},
        "contributions": {"type": "array", "description": "What each input added to the answer."},
    }
    error = {"field": {"type": ["string", "null"]}, "message": text}
    return {
        **_rows(served),
        "Prediction": _prediction(served),
        "Explanation": _object(explanation),
        "Model": {"type": "object", "required": ["name", "task", "input"]},
        "Health": _object({"status": {"const": "ok"}, "model": text}),
        "Error": _object({"error": _object(error)}),
    }


def _about(served: Served) -> str:
    model = served.model
    if model.task == "regression":
        names = " and ".join(target.name for target in model.targets)
        return f"A regression of {names if model.target else 'a number'}, from {served.a_kind}."
    if len(model.targets) > 1:
        each = [
            f"{name} into {len(own.classes)}" for name, own in zip(model.names, model.targets, strict=True)
        ]
        return f"A classification of {' and '.join(each)} classes, from {served.a_kind}."
    return f"A classification into {len(model.classes)} classes, from {served.a_kind}."


def _ref(name: str, kind: str = "schemas") -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}


def _object(properties: Mapping[str, object], required: list[str] | None = None) -> Json:
    """Return the schema of an object that has no other properties; by default all are required."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties) if required is None else required,
        "additionalProperties": False,
    }


def _answer(about: str, schema: Json, media: str = "application/json") -> Json:
    return {"description": about, "content": {media: {"schema": schema}}}


def _get(
    summary: str,
    options: Options,
    schema: Json,
    *errors: str,
    media: str = "application/json",
    open: bool = False,
) -> Json:
    """Return an operation that tells something; `open` says that it needs no token."""
    statuses = [*errors, *(["429"] if options.rate else []), *(["401"] if options.token and not open else [])]
    responses = {status: _ref(status, "responses") for status in statuses}
    found: Json = {
        "summary": summary,
        "responses": {"200": _answer("The answer.", schema, media), **responses},
    }
    return found | ({"security": []} if open else {})


def _predict(served: Served, options: Options) -> Json:
    """Return the operation that answers rows."""
    content: Json = {"application/json": {"schema": _ref("Request"), "example": served.example}}
    if served.kind == "picture":
        file: Json = {"type": "string", "format": "binary"}
        content |= {media: {"schema": file} for media in ("image/png", "image/jpeg")}
        content["multipart/form-data"] = {"schema": _object({"file": file})}
    answer = _object(
        {
            "predictions": {"type": "array", "items": _ref("Prediction")},
            "unknown": {
                "type": "array",
                "items": {"type": "string"},
                "description": "The fields of the first 100 categories that the model does not know.",
            },
            "pixels": {"type": "array", "description": "An uploaded picture as the network sees it."},
            "explanation": _ref("Explanation"),
        },
        ["predictions"],
    )
    left_out = ({"401"} if not options.token else set[str]()) | ({"429"} if not options.rate else set[str]())
    return {
        "summary": "Predict rows",
        "description": f"At most {options.max_rows} rows and {options.max_body} bytes in a request.",
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": _answer("A prediction for each row.", answer),
            **{status: _ref(status, "responses") for status in ERRORS if status not in left_out},
        },
    }  # fmt: skip


def _rows(served: Served) -> Json:
    """Return the schema of a request, and of a record."""
    more: Json = {"explain": {"type": "boolean", "description": "Explain the answer, for a single row."}}
    if served.model.intervals is not None:
        more["interval"] = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1, "examples": [0.9]}
    if served.kind == "table":
        columns = {name: _column(column) for name, column in served.inputs.items()}
        ignored: Json = {name: {"description": "No input of the model."} for name in sorted(served.ignored)}
        record = _object(columns | ignored, list(columns))
        rows = {"records": {"type": "array", "minItems": 1, "items": _ref("Record")}}
        return {"Record": record, "Request": _object(rows | more, ["records"])}
    highest = served.highest if served.kind == "picture" else LARGEST_INPUT
    number: Json = {
        "type": "number",
        "minimum": 0 if served.kind == "picture" else -highest,
        "maximum": highest,
    }
    row: Json = {"type": "array", "items": number, "minItems": served.features, "maxItems": served.features}
    if served.model.image_shape:
        row = {"anyOf": [row, _nested(number, served.model.image_shape)]}
    return {"Request": _object({"rows": {"type": "array", "minItems": 1, "items": row}} | more, ["rows"])}


def _nested(item: Json, shape: tuple[int, ...]) -> Json:
    for side in reversed(shape):
        item = {"type": "array", "items": item, "minItems": side, "maxItems": side}
    return item


def _column(column: Input) -> Json:
    """Return the schema of a column's cells; null says that a cell is missing."""
    match column:
        case Number():
            limits: Json = {"minimum": -LARGEST_INPUT, "maximum": LARGEST_INPUT}
            text = ["string"] if column.clock or column.numerals.bounds else []
            return {"type": ["number", *text, "null"], **limits, "examples": [float(f"{column.median:.6g}")]}
        case Date():
            order = f", {column.format} where the order matters" if column.format else ""
            return {"type": ["string", "null"], "description": f"A date, such as 2024-12-31{order}."}
        case Text():
            return {"type": ["string", "null"], "description": "Free text."}
        case Category():
            about = f"One of {len(column.levels)} levels; every other value counts as one more level."
            types = ["string", "number", "boolean", "null"]
            return {"type": types, "description": about, "examples": list(column.levels[:EXAMPLES])}


def _prediction(served: Served) -> Json:
    model = served.model
    if model.task == "regression":
        number: Json = {"type": "number"}
        value = number if len(model.targets) == 1 else {"type": "object", "additionalProperties": number}
        return _object({"prediction": value, "low": number, "high": number}, ["prediction"])
    enums: list[Json] = [{"enum": list(target.classes)} for target in model.targets]
    number = {"type": "number", "minimum": 0, "maximum": 1}
    shares = [_object(dict.fromkeys(labels, number)) for labels in served.labels]
    if len(enums) > 1:
        each = {"prediction": enums, "probabilities": shares}
        return _object({name: _object(dict(zip(model.names, of, strict=True))) for name, of in each.items()})
    found = {"prediction": enums[0], "probabilities": shares[0], "set": {"type": "array", "items": enums[0]}}
    return _object(found, ["prediction", "probabilities"])


# The page


def docs_page(served: Served, found: Json, address: str, options: Options) -> str:
    """Return the HTML page of an OpenAPI document, without scripts or foreign files.

    Parameters
    ----------
    served : Served
    found : dict
        As `document` returns.
    address : str
        Of the server, for the examples.
    options : Options
    """
    info, paths = cast(Json, found["info"]), cast("dict[str, dict[str, Json]]", found["paths"])
    title = escape(str(info["title"]))
    body = [
        f"<h1>{title}</h1>",
        f"<p>{escape(str(info['description']))}</p>",
        _calls(served, address, options),
    ]
    if served.kind == "table":
        body.append(_columns(served))
    rows = [
        (f"<code>{method.upper()} {escape(path)}</code>", escape(str(operation["summary"])))
        for path, methods in paths.items()
        for method, operation in methods.items()
    ]
    body += ["<h2>Paths</h2>", _table(("path", "what it does"), rows)]
    body.append("<h2>Errors</h2><p>An error is JSON: "
                '<code>{"error": {"field": "records[3].age", "message": "..."}}</code>.</p>')  # fmt: skip
    body.append(_table(("status", "meaning"), [(status, escape(text)) for status, text in ERRORS.items()]))
    body.append('<p>The whole interface, for programs: <a href="/openapi.json">openapi.json</a>.</p>')
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f'<link rel="stylesheet" href="/page/docs.css"></head>'
        f"<body><main>{''.join(body)}</main></body></html>"
    )


def _calls(served: Served, address: str, options: Options) -> str:
    """Return example calls."""
    call = f"curl {quote(address + '/predict')}"
    if options.token:
        call += ' \\\n  -H "authorization: Bearer $MLPAX_TOKEN"'
    calls = [f"{call} \\\n  -H 'content-type: application/json' \\\n  -d '{_short_example(served)}'"]
    if served.kind == "picture":
        calls.insert(0, f"{call} \\\n  -H 'content-type: image/png' --data-binary @picture.png")
    more = '<p>Also in the body: <code>"explain": true</code> tells what each input added to the answer'
    if served.model.intervals is not None:
        more += ', and <code>"interval": 0.9</code> gives a range that holds the truth so often'
    blocks = "".join(f"<pre><code>{escape(text)}</code></pre>" for text in calls)
    return f"<h2>Predict</h2>{blocks}{more}.</p>"


def _short_example(served: Served) -> str:
    if served.kind == "table":
        text = json.dumps(served.example, indent=2, ensure_ascii=False)
        return text.replace("'", "'\\''")  # as a shell takes it
    return f'{{"rows": [[... {served.features} numbers ...]]}}'


def _columns(served: Served) -> str:
    rows: list[tuple[str, ...]] = []
    for name, column in served.inputs.items():
        levels = column.levels if isinstance(column, Category) else ()
        more = f" and {len(levels) - EXAMPLES} more" if len(levels) > EXAMPLES else ""
        shown = ", ".join(levels[:EXAMPLES]) + more
        rows.append((f"<code>{escape(name)}</code>", column.kind, escape(shown)))
    return "<h2>Columns of a record</h2>" + _table(("column", "kind", "levels"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of cells that are HTML already."""
    line = "".join(f'<th scope="col">{name}</th>' for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{line}</tr></thead><tbody>{body}</tbody></table></div>'
