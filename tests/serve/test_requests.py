"""What is answered, and what is refused: by the application, without a network."""

import asyncio
import io
import json
import random
import struct
import threading
import time
import zlib

import httpx2 as httpx
import numpy as np
import polars as pl
import pytest
from PIL import Image
from served_models import (
    CITIES,
    ROW,
    array_model,
    client,
    folds_model,
    labels_model,
    linear,
    picture_model,
    table_model,
    text_model,
)

from mlpax.data.columns import Columns, Date, Number
from mlpax.data.numerals import Numerals
from mlpax.model.model import Model, Network, Target
from mlpax.serve import app as app_module
from mlpax.serve.app import Service, application
from mlpax.serve.batches import Calls
from mlpax.serve.options import Options
from mlpax.serve.requests import Asked, Refusal, answer, asked_in_json, frame_of
from mlpax.serve.served import Served

JSON = {"content-type": "application/json"}


def post(app, body, **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return app.post("/predict", content=content, headers={**JSON, **headers})


def predictions(response):
    assert response.status_code == 200, response.text
    return [one["prediction"] for one in response.json()["predictions"]]


def refused(response, status, field, *parts):
    """Check that an error is JSON, names the field, and says each of these parts."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert error.keys() == {"field", "message"}
    assert error["field"] == field, error
    for part in parts:
        assert part in error["message"], error
    assert "\n" not in error["message"]


# Answers


def test_records_are_answered_by_column_name():
    """The age 42 is 2 above the median: smoothly clipped to 2 / sqrt(1 + 4/9), times 10; Ulm adds 3."""
    app = client(table_model())
    rows = [ROW, ROW | {"age": 42}, {"since": None, "city": "Köln", "age": 40}, ROW | {"city": "Paris"}]
    assert predictions(post(app, {"records": rows})) == pytest.approx(
        [103, 103 + 20 / np.sqrt(1 + 4 / 9), 102, 100], rel=1e-6
    )


def test_answers_are_those_of_the_model():
    model, rng = table_model(), random.Random(0)
    rows = [
        {"age": rng.choice([None, rng.uniform(0, 90), rng.randrange(90)]), "name": "x",
         "city": rng.choice([None, "Ulm", "Rom"]), "since": rng.choice([None, "2024-05-06", "6 May 2024"])}
        for _ in range(50)
    ]  # fmt: skip
    frame = pl.DataFrame(
        rows, schema={"age": pl.Float64, "city": pl.String, "since": pl.String, "name": pl.String}
    )
    assert predictions(post(client(model), {"records": rows})) == pytest.approx(
        model.predict(frame), rel=1e-6
    )


def test_numbers_and_booleans_are_levels_as_a_table_writes_them():
    served = Served(table_model(), None)
    bodies = [{"records": [ROW | {"city": value}]} for value in (3, 3.0, 2.5, True, "x", None)]
    cells = [asked_in_json(served, json.dumps(body).encode(), 10).rows["city"] for body in bodies]
    assert cells == [["3"], ["3"], ["2.5"], ["true"], ["x"], [None]]


def test_levels_that_the_model_does_not_know_are_told():
    """The levels are texts that begin with a capital. A missing one is known, also as a mark such as NA."""
    app = client(table_model())
    rows = [ROW, ROW | {"city": "ulm"}, ROW | {"city": None}, ROW | {"city": "NA"}, ROW | {"city": True}]
    found = post(app, {"records": rows}).json()
    assert found["unknown"] == ["records[1].city", "records[4].city"]
    assert post(app, {"records": [ROW]}).json().keys() == {"predictions"}
    assert len(post(app, {"records": [ROW | {"city": "x"}] * 200}).json()["unknown"]) == 100


def test_a_range_for_models_of_folds():
    """The mean of 103 and 105; 91 of 100 scores (0, 1, ...) lie below 90, and the spread is 1."""
    found = post(client(folds_model()), {"records": [ROW], "interval": 0.9}).json()["predictions"][0]
    assert found == {"prediction": 104.0, "low": 14.0, "high": 194.0}


def read_as_numbers(column, *cells):
    """Return what a column reads of cells of JSON that share a request."""
    model = Model((linear(*[0] * column.features),), (Target("y", "regression"),), columns=Columns((column,)))
    served = Served(model, None)
    body = {"records": [{column.name: cell} for cell in cells]}
    frame = frame_of(served, asked_in_json(served, json.dumps(body).encode(), 10).rows)
    return column.read(frame[column.name])[:, 0].tolist()


def test_numbers_beside_texts_are_the_same_numbers():
    """Seconds beside a time of day, and numbers beside a bound in a column with decimal commas."""
    clock = Number("at", 43200.0, 3600.0, clock=True)
    assert read_as_numbers(clock, 43200, "12:30", -1.5, 1e9) == [43200, 45000, -1.5, 1e9]
    bounds = Number("dose", 1.0, 1.0, numerals=Numerals(decimal=",", thousands=".", bounds=True))
    assert read_as_numbers(bounds, 1.234, "<0,5", 1e-7, 12345.5) == [1.234, 0.5, 1e-7, 12345.5]


def test_boolean_classes_have_the_names_of_json():
    columns = Columns((Number("age", 40.0, 1.0),))
    network = Network([(np.array([[0, 1]], np.float32), np.zeros(2, np.float32))])
    model = Model((network,), (Target("y", "classification", (False, True)),), columns=columns)
    app = client(model)
    found = post(app, {"records": [{"age": 41}]}).json()["predictions"][0]
    assert found["prediction"] is True
    assert found["probabilities"].keys() == {"false", "true"}
    schema = app.get("/openapi.json").json()["components"]["schemas"]["Prediction"]
    assert schema["properties"]["probabilities"]["required"] == ["false", "true"]


def test_rows_of_arrays():
    app = client(array_model())
    assert predictions(post(app, {"rows": [[1, 2, 3], [0.5, 0, -1e30]]})) == [6, pytest.approx(-1e30)]


@pytest.mark.parametrize(
    "row", [[200, 0, 0, 0, 0, 0], [[200, 0, 0], [0, 0, 0]], [[[200], [0], [0]], [[0], [0], [0]]]]
)
def test_pictures_as_rows(row):
    """The logits are 2 and 0."""
    found = post(client(picture_model()), {"rows": [row]}).json()["predictions"][0]
    share = 1 / (1 + np.exp(-2))
    assert found == {
        "prediction": "bright",
        "probabilities": pytest.approx({"bright": share, "dark": 1 - share}, abs=1e-6),
    }


def test_what_each_column_contributed():
    """From 100 for a typical row; the columns of a linear model add up."""
    found = post(client(table_model()), {"records": [ROW | {"age": 42}], "explain": True}).json()
    age = 20 / np.sqrt(1 + 4 / 9)
    assert found["explanation"]["base"] == pytest.approx(100)
    assert found["explanation"]["contributions"][:2] == [
        {"column": "age", "value": 42, "contribution": pytest.approx(age, rel=1e-5)},
        {"column": "city", "value": "Ulm", "contribution": pytest.approx(3, rel=1e-5)},
    ]
    assert found["predictions"][0]["prediction"] == pytest.approx(103 + age, rel=1e-5)


def test_what_each_number_of_an_array_contributed():
    found = post(client(array_model()), {"rows": [[1, -3, 2]], "explain": True}).json()
    assert [(one["column"], one["value"]) for one in found["explanation"]["contributions"]] == [
        ("x1", -3), ("x2", 2), ("x0", 1)
    ]  # fmt: skip


def test_several_targets_of_classes():
    app = client(labels_model())
    found = post(app, {"records": [{"x": 1.0}, {"x": 3.0}], "explain": False}).json()["predictions"]
    assert [one["prediction"] for one in found] == [{"size": "s", "new": n} for n in (False, True)]
    assert found[0]["probabilities"] == {
        "size": {"s": 0.5, "m": 0.25, "l": 0.25},
        "new": {"false": 0.5, "true": 0.5},
    }
    assert app.get("/model").json()["classes"] == {"size": ["s", "m", "l"], "new": [False, True]}
    assert "size into 3 and new into 2 classes" in app.get("/openapi.json").json()["info"]["description"]
    explained = post(app, {"records": [{"x": 3.0}], "explain": True}).json()["explanation"]
    assert explained["base"] == 0.5  # of the first target, which no input moves
    refused = post(app, {"records": [{"x": 1.0}], "interval": 0.9})
    assert refused.status_code == 422


def test_an_explanation_keeps_no_prediction_waiting(monkeypatch):
    model = Service(Served(array_model(), None), Options(), print, print)
    plain, started, goes_on = app_module._explanation, threading.Event(), threading.Event()

    def slow(*asked):
        started.set()
        assert goes_on.wait(10)
        return plain(*asked)

    async def ask_both():
        transport = httpx.ASGITransport(application(model))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as own:
            first = asyncio.create_task(own.post("/predict", json={"rows": [[1, 2, 3]], "explain": True}))
            while not started.is_set():
                await asyncio.sleep(0.01)
            second = await own.post("/predict", json={"rows": [[1, 2, 3]] * 100})
            goes_on.set()
            return await first, second

    monkeypatch.setattr(app_module, "_explanation", slow)
    first, second = asyncio.run(ask_both())
    assert predictions(second) == [6] * 100
    assert first.json()["explanation"]["base"] == 0


def test_too_many_columns_to_explain():
    """3000 columns would take 18 million inputs."""
    app = client(Model((linear(*[1] * 3000),), (Target("", "regression"),)))
    start = time.monotonic()
    refused(post(app, {"rows": [[0] * 3000], "explain": True}), 422, "explain", "3000 columns")
    assert time.monotonic() - start < 2
    app = client(Model((linear(*[1] * 1000),), (Target("", "regression"),)))
    found = post(app, {"rows": [[*range(1000)]], "explain": True}).json()["explanation"]
    assert found["contributions"][0]["contribution"] == pytest.approx(999, rel=1e-5)
    assert "16 random orders" in found["method"]


def test_what_each_pixel_contributed():
    """Hiding the first pixel takes the class from 1 / (1 + 1/e^2) to 1/2."""
    found = post(client(picture_model()), {"rows": [[200, 0, 0, 0, 0, 0]], "explain": True}).json()
    each = np.array(found["explanation"]["contributions"])
    assert each.shape == (2, 3)
    assert each[0, 0] == pytest.approx(1 / (1 + np.exp(-2)) - 0.5, abs=1e-6)
    assert each[1, 2] == pytest.approx(0, abs=1e-6)


def test_many_rows_are_answered_in_their_order():
    rows = [[i, 0, 0] for i in range(2000)]
    assert predictions(post(client(array_model()), {"rows": rows})) == list(range(2000))


def picture_file(format, size=(3, 2), mode="L"):
    image = Image.new(mode, size)
    image.putpixel((0, 0), 200 if mode == "L" else (200, 200, 200))
    file = io.BytesIO()
    image.save(file, format, **({"quality": 100} if format == "JPEG" else {}))
    return file.getvalue()


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_an_uploaded_picture_is_shown_as_the_network_sees_it(mode):
    app = client(picture_model())
    for found in (
        app.post("/predict", content=picture_file("PNG", mode=mode), headers={"content-type": "image/png"}),
        app.post("/predict", files={"file": ("a.png", picture_file("PNG", mode=mode), "image/png")}),
    ):
        assert found.json()["pixels"] == [[200, 0, 0], [0, 0, 0]]
        assert predictions(found) == ["bright"]
    found = app.post("/predict", content=picture_file("JPEG"), headers={"content-type": "image/jpeg"})
    assert np.abs(np.array(found.json()["pixels"]) - [[200, 0, 0], [0, 0, 0]]).max() < 10


def test_other_sizes_are_resized():
    found = client(picture_model()).post(
        "/predict", content=picture_file("PNG", (30, 20)), headers={"content-type": "image/png"}
    )
    assert np.array(found.json()["pixels"]).shape == (2, 3)


def test_requests_that_share_a_call_fail_alone():
    """One date that the model does not read leaves the others their answers."""
    served = Served(table_model(), None)
    bodies = [{"records": [ROW | {"since": since}]} for since in ("2024-05-06", "soon", "2024-05-07")]
    asked = [asked_in_json(served, json.dumps(body).encode(), 10) for body in bodies]
    first, second, third = answer(served, asked)
    assert first == third == {"predictions": [{"prediction": 103.0}]}
    assert isinstance(second, Refusal)
    assert second.field == "records[0].since"
    assert "'soon'" in str(second)


def test_free_text_is_text_or_missing():
    app = client(text_model())
    notes = ["GOOD!", "rather bad", "good and bad", "", None, "neither"]
    assert predictions(post(app, {"records": [{"note": note} for note in notes]})) == [3, -3, 0, 5, 5, 0]
    refused(post(app, {"records": [{"note": 5}]}), 422, "records[0].note", "holds 5", "a text, or null")
    told = app.get("/model").json()["input"]["columns"]
    assert told == [{"name": "note", "kind": "text", "default": "", "missing": True}]


# What the server tells


def test_the_model_tells_its_columns():
    found = client(table_model()).get("/model").json()
    assert (found["name"], found["task"], found["target"]) == ("own", "regression", "price")
    assert found["input"] == {
        "kind": "table",
        "columns": [
            {"name": "age", "kind": "number", "default": 40.0, "missing": True},
            {"name": "city", "kind": "category", "levels": [*CITIES], "default": "Bonn", "missing": False},
            {"name": "since", "kind": "date", "default": "1970-01-01", "missing": False},
        ],
    }  # fmt: skip
    assert [found[name] for name in ("report", "samples", "intervals")] == [False] * 3


def test_the_model_tells_no_folders():
    model = table_model(provenance={"dataset": "/home/ann/secret/houses.csv"})
    assert client(model).get("/model").json()["provenance"] == {"dataset": "houses.csv"}


def test_times_and_bounds_are_typed_as_text():
    """The default of a time is a time, and the model answers it."""
    columns = Columns((
        Number("at", 45000.0, 3600.0, clock=True), Number("took", 360_000_001.0, 1.0, clock=True),
        Number("before", -61.0, 1.0, clock=True),
        Number("dose", 0.5, 1.0, numerals=Numerals(bounds=True)),
    ))  # fmt: skip
    model = Model((linear(*[0] * 5),), (Target("y", "regression"),), columns=columns)
    told = client(model).get("/model").json()["input"]["columns"]
    assert [(one["default"], one["text"]) for one in told] == [
        ("12:30", "time"), ("PT360000001S", "time"), ("-00:01:01", "time"), (0.5, "bound")
    ]  # fmt: skip
    cells = {one["name"]: one["default"] for one in told}
    assert predictions(post(client(model), {"records": [cells]})) == [0]
    refused(
        post(client(model), {"records": [cells | {"at": "soon"}]}), 422, "records[0].at", "12:30, seconds"
    )
    refused(post(client(model), {"records": [cells | {"dose": "0.5 mg"}]}), 422, "records[0].dose", "<0.5")


def test_a_mark_before_the_body_is_no_fault():
    """Some programs begin UTF-8 with a byte order mark."""
    body = b"\xef\xbb\xbf" + json.dumps({"rows": [[1, 2, 3]]}).encode()
    assert predictions(post(client(array_model()), body)) == [6]


def test_the_kinds_of_inputs():
    assert client(array_model()).get("/model").json()["input"] == {"kind": "array", "features": 3}
    found = client(picture_model((2, 3, 3))).get("/model").json()["input"]
    assert found == {
        "kind": "picture",
        "height": 2,
        "width": 3,
        "channels": 3,
        "background": "",
        "highest": 255,
    }


def test_counts_for_prometheus():
    app = client(array_model())
    post(app, {"rows": [[1, 2, 3], [1, 2, 3]]})
    post(app, {"rows": [[1, 2]]})
    app.get("/a/path/of/many")
    lines = app.get("/metrics").text.splitlines()
    for line in (
        'mlpax_requests_total{path="/predict",status="200"} 1.0',
        'mlpax_requests_total{path="/predict",status="422"} 1.0',
        'mlpax_requests_total{path="other",status="404"} 1.0',
        "mlpax_rows_total 2.0",
        "mlpax_waiting_requests 0.0",
        'mlpax_request_seconds_count{path="/predict"} 2.0',
    ):
        assert line in lines


def test_a_line_of_json_for_each_request():
    lines = []
    app = client(array_model(), lines=lines, log="json")
    post(app, {"rows": [[1, 2]]})
    line = json.loads(lines[0])
    assert (line["method"], line["path"], line["status"]) == ("POST", "/predict", 422)
    assert line.keys() == {"time", "client", "method", "path", "status", "ms"}


def test_every_answer_has_the_headers_that_browsers_heed():
    app = client(array_model())
    for path in ("/health", "/nothing"):
        headers = app.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "unsafe-inline" not in headers["content-security-policy"]


# What is refused


def record(**changes):
    return {"records": [ROW, ROW | changes]}


LONG = 10**400
FAULTS = {  # a body for a table, the status, the field, and what the message says
    "no JSON": (b"{", 400, None, "no JSON", "line 1, column 2"),
    "empty": (b"", 400, None, "no JSON"),
    "not UTF-8": (b'{"records": "\xff"}', 400, None, "UTF-8"),
    "NaN": (b'{"records": [{"age": NaN}]}', 400, None, "NaN", "null"),
    "infinite": (b'{"records": [{"age": -Infinity}]}', 400, None, "-Infinity"),
    "a name twice": (b'{"records": [{"age": 1, "age": 2}]}', 400, "age", '"age"', "twice"),
    "deep lists": (b"[" * 100_000, 400, None, "nested too deeply"),
    "deep objects": (b'{"records": ' * 100_000, 400, None, "nested too deeply"),
    "many digits": (b'{"records": [{"age": ' + b"1" * 5000 + b"}]}", 400, None, "digits"),
    "a list": ([], 422, None, "a JSON list", "JSON object"),
    "nothing in it": ({}, 422, "records", "no rows", '{"records": [{...}]}'),
    "another field": ({"records": [ROW], "row": 1}, 422, "row", '"row"'),
    "rows of an array": ({"rows": [[1]]}, 422, "rows", "takes a table"),
    "both": ({"rows": [[1]], "records": [ROW]}, 422, "rows", "not rows"),
    "no records": ({"records": []}, 422, "records", "empty"),
    "records of text": ({"records": "x"}, 422, "records", '"x"'),
    "too many rows": ({"records": [ROW] * 11}, 413, "records", "11 rows", "at most 10"),
    "a record of numbers": ({"records": [ROW, [1]]}, 422, "records[1]", "a JSON list"),
    "text in a number": (record(age="41"), 422, "records[1].age", '"41"', "without quotes"),
    "a boolean": (record(age=True), 422, "records[1].age", "true"),
    "a list in a cell": (record(age=[1]), 422, "records[1].age", "a JSON list"),
    "beyond float32": (record(age=1e39), 422, "records[1].age", "1e+39", "3.4e+38"),
    "a long number": (record(age=LONG), 422, "records[1].age", "3.4e+38"),
    "an object in a cell": (record(city={}), 422, "records[1].city", "a JSON object"),
    "a number as a date": (record(since=5), 422, "records[1].since", "5", "a date as text"),
    "no date": (record(since="soon"), 422, "records[1].since", "'soon'", "no date; give a date such as"),
    "one of two dates": (record(since="03/04/2024"), 422, "records[1].since", "2024-04-03 or 2024-03-04"),
    "a misspelled column": (
        {"records": [{"agge": 1, "city": "Ulm", "since": None}]}, 422, "records[0].age", '"agge"'),
    "a column is missing": ({"records": [{"age": 1, "since": None}]}, 422, "records[0].city", "null"),
    "an unknown column": (record(colour="red"), 422, "records[1].colour", '"colour"', "age, city, since"),
    "the target": (record(price=1), 422, "records[1].price", "predicts"),
    "half a character": (b'{"records": [{"\\ud800": 1}]}', 422, "records[0].age", "missing"),
    "an interval without folds": ({"records": [ROW], "interval": 0.9}, 422, "interval", "folds"),
    "an interval of text": ({"records": [ROW], "interval": "0.9"}, 422, "interval", '"0.9"'),
    "explain is a number": ({"records": [ROW], "explain": 1}, 422, "explain", "true or false"),
    "explain several": ({"records": [ROW, ROW], "explain": True}, 422, "explain", "one row"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_table_refuses(fault):
    body, status, field, *parts = FAULTS[fault]
    app = client(table_model(), max_rows=10)
    refused(post(app, body), status, field, *parts)
    assert predictions(post(app, {"records": [ROW]})) == [103]  # the service goes on


ROW_FAULTS = {
    "short": ([[0] * 5], "rows[0]", "5 numbers", "6 numbers, or nested lists of 2 x 3"),
    "two lengths": ([[0] * 6, [0]], "rows[1]", "1 number"),
    "other lists": ([[[0, 0], [0, 0], [0, 0]]], "rows[0]", "other lengths"),
    "deep": ([[[[[0]]]]], "rows[0][0][0][0]", "a JSON list"),
    "text": ([[0, 0, "7", 0, 0, 0]], "rows[0][2]", '"7"', "without quotes"),
    "a boolean": ([[0, 0, False, 0, 0, 0]], "rows[0][2]", "false"),
    "null": ([[0, 0, None, 0, 0, 0]], "rows[0][2]", "null"),
    "too bright": ([[0, 0, 256, 0, 0, 0]], "rows[0][2]", "256", "0 to 255"),
    "negative": ([[0] * 6, [-1, 0, 0, 0, 0, 0]], "rows[1][0]", "-1"),
    "huge": ([[LONG, 0, 0, 0, 0, 0]], "rows[0][0]", "3.4e+38"),
    "no lists": ([0], "rows[0]", "0"),
}  # fmt: skip


@pytest.mark.parametrize("fault", ROW_FAULTS)
def test_pictures_refuse(fault):
    rows, field, *parts = ROW_FAULTS[fault]
    refused(post(client(picture_model()), {"rows": rows}), 422, field, *parts)


def test_hostile_names_take_no_time():
    """Neither a name that stands twice among many, nor many unknown ones, nor a long one in the answer."""
    app, start = client(table_model()), time.monotonic()
    names = [f'"{i}": 1' for i in range(200_000)]
    twice = f'{{"records": [{{{", ".join([*names, names[-1]])}}}]}}'.encode()
    refused(post(app, twice), 400, "199999", "twice")
    refused(post(app, f'{{"records": [{{{", ".join(names)}}}]}}'.encode()), 422, "records[0].age", "missing")
    found = post(app, {"x" * 1_000_000: 1})
    assert found.status_code == 422
    assert len(found.content) < 1000
    assert time.monotonic() - start < 10


def test_a_fault_in_the_last_of_many_rows_is_found_soon():
    """Each cell by itself would take 12 seconds."""
    numbers = [Number(f"n{i}", 0.0, 1.0) for i in range(40)]
    columns = Columns((*numbers, Date("since", "", (0.0,) * 6, (1.0,) * 6)))
    served = Served(Model((linear(*[0] * 46),), (Target("y", "regression"),), columns=columns), None)
    cells = {column.name: [1.0] * 10_000 for column in numbers}
    asked = Asked(cells | {"since": ["2024-01-01"] * 9_999 + ["soon"]}, 10_000)
    start = time.monotonic()
    (found,) = answer(served, [asked])
    assert (found.field, time.monotonic() - start < 5) == ("records[9999].since", True)
    assert "'soon', which is no date" in str(found)
    assert "row" not in str(found)


def test_texts_among_numbers_take_no_memory():
    """NumPy would make an array of texts, each as long as the longest."""
    refused(post(client(picture_model()), {"rows": [[0, 0, "x" * 1_000_000, 0, 0, 0]]}), 422, "rows[0][2]")


def test_an_interval_beyond_the_rows_of_the_folds():
    refused(
        post(client(folds_model()), {"records": [ROW], "interval": 0.999}), 422, "interval", "0.999", "999"
    )
    refused(post(client(folds_model()), {"records": [ROW], "interval": 1}), 422, "interval", "(0, 1)")
    long = post(client(folds_model()), {"records": [ROW], "interval": LONG})
    refused(long, 422, "interval", "(0, 1)")
    assert len(long.content) < 300


def test_rows_that_the_model_refuses():
    """Large weights make an output infinite."""
    app = client(array_model())
    refused(post(app, {"rows": [[1, 2, 3], [3e38, 3e38, 3e38]]}), 422, "rows[1]", "inf")


def bomb(side):
    """Return a PNG file of black pixels, a thousandth of their size."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    body = zlib.compress(bytes((side // 8 + 1) * side), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "kind", "part"),
    [
        (picture_file("PNG")[:45], "image/png", "whole PNG"),
        (picture_file("PNG"), "image/jpeg", "not JPEG"),
        (b"", "image/png", "not PNG"),
        (b"GIF89a", "image/png", "not PNG"),
        (bomb(8000), "image/png", "8000 x 8000"),
        (bomb(30_000), "image/png", "too many pixels"),
    ],
)
def test_pictures_that_cannot_be_read(content, kind, part):
    app = client(picture_model())
    refused(app.post("/predict", content=content, headers={"content-type": kind}), 422, None, part)


def test_forms_without_a_picture():
    app = client(picture_model())
    kind = {"content-type": "multipart/form-data; boundary=x"}
    refused(app.post("/predict", content=b"abc", headers=kind), 400, "file", "form")
    refused(app.post("/predict", content=b"--x--", headers=kind), 422, "file", "no file")
    refused(app.post("/predict", content=b"", headers={"content-type": "multipart/form-data"}), 400, "file")
    files = [("file", ("a", b"1", "image/png")), ("file", ("b", b"2", "image/png"))]
    refused(app.post("/predict", files=files), 400, "file")


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "image/gif", "image/png"]
)
def test_other_content_types(kind):
    app = client(table_model())
    refused(
        app.post("/predict", content=b"{}", headers={"content-type": kind}),
        415,
        "content-type",
        "application/json",
    )


def test_a_compressed_body():
    refused(post(client(table_model()), b"", **{"content-encoding": "gzip"}), 415, "content-encoding", "gzip")


def test_a_large_body():
    app = client(table_model(), max_body=1000)
    refused(post(app, b" " * 1001), 413, None, "1000 bytes")
    chunks = (b" " * 100 for _ in range(20))
    refused(app.post("/predict", content=chunks, headers=JSON), 413, None, "1000 bytes")


def test_paths_and_methods():
    app = client(table_model())
    refused(app.get("/predict"), 405, None, "POST")
    assert app.get("/predict").headers["allow"] == "POST"
    refused(app.get("/nothing"), 404, None)
    for path in (
        "/page/../app.py",
        "/page/%2e%2e%2fapp.py",
        "/page/.hidden",
        "/page/none.css",
        "/report",
        "/samples",
    ):
        refused(app.get(path), 404, None)


def test_a_token():
    app = client(table_model(), token="a secret")
    refused(app.get("/model"), 401, "authorization", "no token")
    refused(app.get("/model", headers={"authorization": "Bearer a Secret"}), 401, "authorization", "wrong")
    assert app.get("/model").headers["www-authenticate"] == "Bearer"
    for scheme in ("Bearer", "bearer"):
        assert app.get("/model", headers={"authorization": f"{scheme} a secret"}).status_code == 200
    refused(app.get("/model", headers={"authorization": "Basic a secret"}), 401, "authorization", "wrong")
    assert app.get("/health").status_code == app.get("/page/docs.css").status_code == 200


def test_a_rate():
    app = client(table_model(), rate=2)
    found = [app.get("/health") for _ in range(4)]
    assert [one.status_code for one in found[:2]] == [200, 200]
    refused(found[3], 429, None, "2 requests a second")
    assert found[3].headers["retry-after"] == "1"
    slow = client(table_model(), rate=0.01)
    assert [slow.get("/health").headers.get("retry-after") for _ in range(2)] == [None, "100"]


def test_a_rate_also_limits_guesses_of_the_token():
    app = client(table_model(), token="a secret", rate=2)
    found = [app.get("/model", headers={"authorization": f"bearer {i}"}) for i in range(4)]
    assert [one.status_code for one in found[:2]] == [401, 401]
    refused(found[3], 429, None, "2 requests a second")


def test_the_name_of_another_host():
    """A foreign page could have its name lead to this machine."""
    app = client(table_model(), names=("models.example",))
    for host in ("localhost", "127.0.0.1:8000", "[::1]:8000", "models.example"):
        assert app.get("/health", headers={"host": host}).status_code == 200
    refused(
        app.get("/health", headers={"host": "evil.example:8000"}), 400, "host", "evil.example", "--allow-host"
    )
    assert client(table_model(), host="0.0.0.0").get("/health", headers={"host": "a"}).status_code == 200


def test_other_origins_only_by_an_option():
    origin = {"origin": "https://example.org"}
    assert "access-control-allow-origin" not in client(table_model()).get("/model", headers=origin).headers
    app = client(table_model(), cors="https://example.org")
    assert app.get("/model", headers=origin).headers["access-control-allow-origin"] == "https://example.org"
    other = app.get("/model", headers={"origin": "https://evil.example"})
    assert other.headers.get("access-control-allow-origin") != "https://evil.example"


def test_more_than_may_wait(monkeypatch):
    monkeypatch.setattr(Calls, "waiting", 3)
    found = post(client(table_model(), queue=3), {"records": [ROW]})
    refused(found, 503, None, "3 requests")
    assert found.headers["retry-after"] == "1"


def test_bodies_count_until_their_answers(monkeypatch):
    """While one waits for the model, another that would take more than may be held is refused."""
    monkeypatch.setattr("mlpax.serve.bodies.HELD", 1)
    model = Service(Served(array_model(), None), Options(max_body=1000), print, print)
    answered, waiting = model.calls.answer, asyncio.Event()

    async def slow(*asked):
        await waiting.wait()
        return await answered(*asked)

    async def ask_three():
        transport = httpx.ASGITransport(application(model))
        body = json.dumps({"rows": [[1, 2, 3]]}).ljust(600)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=JSON) as own:
            first = asyncio.create_task(own.post("/predict", content=body))
            while not model.held.bytes:
                await asyncio.sleep(0.01)
            second = await own.post("/predict", content=body)
            waiting.set()
            return [await first, second, await own.post("/predict", content=body)]

    monkeypatch.setattr(model.calls, "answer", slow)
    first, second, third = asyncio.run(ask_three())
    assert predictions(first) == predictions(third) == [6]
    refused(second, 503, None, "large requests")
    assert model.held.bytes == 0


def test_a_fault_of_the_server_tells_nothing(monkeypatch):
    said = []
    app = client(table_model(), said=said)
    monkeypatch.setattr("mlpax.serve.batches.answer", lambda *_: 1 / 0)
    refused(post(app, {"records": [ROW]}), 500, None, "the server failed")
    assert said == ["unexpected ZeroDivisionError: division by zero"]


# Another model


def test_a_new_model_answers_at_once():
    model = table_model()
    served = Served(model, None)
    served.check_successor(table_model(5.0))
    for other in (array_model(), picture_model()):
        with pytest.raises(ValueError, match="takes a"):
            served.check_successor(other)
    with pytest.raises(ValueError, match="other classes"):
        served.check_successor(
            Served(table_model(), None).model.__class__(model.networks, columns=model.columns)
        )
    with pytest.raises(ValueError, match="values"):
        Served(picture_model(), None).check_successor(picture_model((3, 3)))


def test_requests_for_two_models_do_not_share_a_call():
    async def both():
        calls = Calls(10)
        served = [Served(array_model(), None), Served(folds_model(), None)]
        asked = [
            Asked(np.ones((1, 3), np.float32), 1),
            asked_in_json(served[1], json.dumps({"records": [ROW]}).encode(), 1),
        ]
        return await asyncio.gather(*(calls.answer(s, a) for s, a in zip(served, asked, strict=True)))

    assert asyncio.run(both()) == [
        {"predictions": [{"prediction": 3.0}]},
        {"predictions": [{"prediction": 104.0}]},
    ]
