"""A model as an ONNX graph answers what the model answers, from the same raw cells."""

import datetime
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import polars as pl
import pytest

import mlpax
from mlpax.data.columns import Category, Date, Number, fit_columns
from mlpax.data.dates import date_parts, read_dates
from mlpax.data.graph import Graph
from mlpax.data.kinds import tell_kinds
from mlpax.data.numerals import Numerals
from mlpax.data.reading import Reading
from mlpax.data.sources import Wanted, source
from mlpax.errors import InputError, MlpaxError
from mlpax.model import onnx_graph
from mlpax.model.fit_model import fit_model
from mlpax.model.model import Calibration, Model, Network, Target

DATA = os.environ.get("MLPAX_DATA_DIR")
TABLES = sorted(Path(DATA, "tables").glob("*.csv.gz")) if DATA else []


def run(model, feeds):
    """Return the outputs of a graph by their names."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip((o.name for o in session.get_outputs()), session.run(None, feeds), strict=True))


def column(cells, dtype=object):
    return np.array(cells, dtype)[:, None]


def layers(sizes, seed=0):
    generator = np.random.default_rng(seed)
    return [
        (generator.normal(0, 1, (n, m)).astype(np.float32), generator.normal(0, 1, m).astype(np.float32))
        for n, m in itertools.pairwise(sizes)
    ]


def of_table(columns, task="classification", members=2):
    """Return a model of columns with random networks."""
    sizes = [3] * len(columns.embeddings)
    networks = []
    for seed in range(members):
        generator = np.random.default_rng(seed)
        tables = [generator.normal(0, 1, (codes, 3)).astype(np.float32) for codes in columns.embeddings]
        last = 3 if task == "classification" else 1
        networks.append(Network(layers([columns.dense + sum(sizes), 8, last], seed), "mish", tables))
    target = Target("y", task, ("a", "b", "c") if task == "classification" else ())
    return Model(tuple(networks), (target,), columns=columns)


# ---- columns


def test_cells_of_every_kind_are_read_as_the_model_reads_them():
    levels = [f"level {i % 80}" for i in range(400)]
    frame = pl.DataFrame(
        {
            "size": [float(i % 7) if i % 5 else None for i in range(400)],
            "dose": [f"<{i % 9}" if i % 4 == 0 else str(i % 9) for i in range(400)],
            "sex": ["m" if i % 2 else "f" for i in range(400)],
            "colour": [["red", "green", "blue", None, "?"][i % 5] for i in range(400)],
            "many": levels,
            "flag": [i % 3 == 0 for i in range(400)],
            "code": [f"{i % 4}" if i % 3 else "01" for i in range(400)],
            "weight": [float(i) for i in range(400)],
            "same": [1.0] * 400,
        }
    )
    columns = fit_columns(frame, tell_kinds(frame, Reading(column={"code": "category"})))
    assert [c.kind for c in columns.columns] == [
        "number", "number", "category", "category", "category", "category", "category", "number", "constant",
    ]  # fmt: skip
    assert columns.columns[1].numerals.bounds
    model = of_table(columns)
    rows = {
        "size": [1.5, None, -3e30, 7.0],
        "dose": ["<3", "4", ">5", None],
        "sex": ["m", "f", "x", None],
        "colour": ["red", "?", None, "violet"],
        "many": ["level 3", "level 79", "new", None],
        "flag": ["true", "0", "False", None],
        "code": ["01", "2.0", "1", "NA"],
        "weight": [1.0, 2.0, 3.0, None],
    }
    feeds = {name: column(["" if cell is None else cell for cell in cells]) for name, cells in rows.items()}
    for name in ("size", "weight"):
        feeds[name] = column(rows[name], np.float64)
    feeds |= {"dose": column([3, 4, 5, np.nan], np.float64), "dose_bound": column([-1, 0, 1, 0], np.float32)}
    found = run(onnx_graph.to_onnx(model), feeds)
    wanted = model.predict_proba(pl.DataFrame(rows))
    np.testing.assert_allclose(found["probabilities"], wanted, atol=1e-6)
    assert found["prediction"].tolist() == model.predict(pl.DataFrame(rows)).tolist()
    assert len({tuple(row) for row in wanted.round(6).tolist()}) == 4


DATES = {
    "": ["2024-02-29", "1969-12-31 23:59:59", "2024/3/1", "31.12.1999", "25/12/2020", "20240229",
         "20141013T000000", "2024-02-29T10:20", "2024-02-29 10:20:30.25", "0001-01-01", "9999-12-31",
         "12/25/2020", "07/07/2021", "1.2.2003 4:05", "25.12.68", "25.12.69", None, "n/a", "NULL", "-"],
    "day-first": ["03/04/2024", "03-04-24", "3.4.2024", "2024-04-03"],
    "month-first": ["03/04/2024", "03-04-24 00:00:01", "2024-04-03"],
}  # fmt: skip
NO_DATES = ["2023-02-29", "2024-13-01", "2024-01-01 24:00", "2024-01-01 10:60", "3/4/2024", "Jan 3, 2024",
            "x", "2024-01-01 10:00Z", "20241301", "2024-01-01T10:00 11:00"]  # fmt: skip


def parts_of(format, texts, marks=(), lenient=False):
    """Return the calendar parts that a graph finds in texts."""
    from mlpax.data import date_graph

    graph = Graph()
    text = graph.input("when", "str", ("rows", 1))
    time = date_graph.read_dates(graph, text, format, marks, lenient=lenient)
    graph.output("parts", date_graph.date_parts(graph, time), "float64", ("rows", 6))
    cells = column(["" if text is None else text for text in texts])
    return run(graph.model("dates", {}), {"when": cells})["parts"]


@pytest.mark.parametrize("format", DATES)
def test_dates_as_text(format):
    present = [None if text in ("n/a", "NULL", "-") else text for text in DATES[format]]
    wanted = date_parts(read_dates(pl.Series("when", present), format))
    np.testing.assert_array_equal(parts_of(format, DATES[format]), wanted)
    assert np.isfinite(wanted).any(axis=0).all()


@pytest.mark.parametrize("text", NO_DATES)
def test_a_text_that_is_no_date_is_an_error_of_the_runtime(text):
    with pytest.raises(Exception, match="sto"):
        parts_of("", ["2024-01-01", text])


def test_a_lenient_column_takes_other_texts_as_missing():
    found = parts_of(
        "day-first", ["unknown soon", "2023-02-29", "01/02/2003", "never"], ["never"], lenient=True
    )
    assert np.isnan(found[:, 1]).tolist() == [True, True, False, True]
    assert found[2].tolist()[1:4] == [2003, 2, 1]


def test_dates_as_microseconds():
    at = datetime.datetime
    days = [at(1, 1, 1), at(1900, 2, 28, 23), at(2000, 2, 29), None, at(9999, 12, 31, 23, 59, 59)]
    frame = pl.DataFrame({"when": pl.Series(days * 8, dtype=pl.Datetime("us"))})
    columns = fit_columns(frame)
    model = of_table(columns, "regression")
    feeds = {"when": frame["when"].to_numpy().astype("datetime64[us]").astype(np.int64)[:, None]}
    found = run(onnx_graph.to_onnx(model, dates="epoch"), feeds)["prediction"]
    np.testing.assert_allclose(found, model.predict(frame), rtol=1e-5)
    text = column(["" if day is None else f"{day.year:04}-{day:%m-%d %H:%M:%S}" for day in days * 8])
    np.testing.assert_allclose(run(onnx_graph.to_onnx(model), {"when": text})["prediction"], found, rtol=1e-6)


def test_an_input_and_an_output_of_one_name():
    columns = fit_columns(pl.DataFrame({"prediction": [1.0, 2.0, 3.0, 5.0]}))
    exported = onnx_graph.to_onnx(of_table(columns, "regression"))
    assert [output.name for output in exported.graph.output] == ["prediction_"]


def test_a_column_without_a_name_is_refused():
    columns = fit_columns(pl.DataFrame({"": [1.0, 2.0, 3.0, 5.0], "b": ["x", "y", "x", "y"]}))
    with pytest.raises(InputError, match="a column has no name"):
        onnx_graph.to_onnx(of_table(columns))


def test_two_inputs_of_one_name_are_refused():
    bounds = Number("x", 0.0, 1.0, numerals=Numerals(bounds=True))
    columns = fit_columns(pl.DataFrame({"x": [1.0, 2.0, 4.0], "x_bound": [1.0, 2.0, 4.0]}))
    with pytest.raises(InputError, match="the name 'x_bound'"):
        onnx_graph.to_onnx(of_table(type(columns)((bounds, columns.columns[1]))))


# ---- networks


@pytest.mark.parametrize("activation", sorted({*onnx_graph.OPS, "silu", "identity"} - {"softmax", "exp"}))
def test_activations(activation):
    model = Model((Network(layers([5, 7, 4]), activation),), (Target(classes=("a", "b", "c", "d")),))
    X = np.random.default_rng(0).normal(0, 3, (50, 5)).astype(np.float32)
    found = run(onnx_graph.to_onnx(model), {"X": X})
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(X), atol=2e-6)


@pytest.mark.parametrize("classes", [("no", "yes", "ü"), (3, -1, 7), (False, True)])
def test_classes_of_each_type(classes):
    model = Model(
        (Network(layers([2, len(classes)])),), (Target(classes=classes),), calibration=Calibration(2.5)
    )
    X = np.random.default_rng(0).normal(0, 3, (50, 2)).astype(np.float32)
    found = run(onnx_graph.to_onnx(model), {"X": X})
    assert found["prediction"].tolist() == model.predict(X).tolist()
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(X), atol=1e-6)


def test_classes_of_several_types_are_refused():
    model = Model((Network(layers([2, 2])),), (Target(classes=("a", 1)),))
    with pytest.raises(InputError, match="of several types"):
        onnx_graph.to_onnx(model)


def test_several_values_and_a_link():
    targets = tuple(Target(name, "regression", link="exp") for name in "uv")
    model = Model((Network(layers([3, 4, 2], 1), "tanh"), Network(layers([3, 6, 2], 2), "relu")), targets)
    X = np.random.default_rng(0).normal(0, 0.5, (20, 3)).astype(np.float32)
    found = run(onnx_graph.to_onnx(model), {"X": X})["prediction"]
    np.testing.assert_allclose(found, model.outputs(X), rtol=1e-5)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)])
def test_pictures(shape):
    scaling = mlpax.model.model.Scaling(100.0, 0.01)
    network = Network(layers([int(np.prod(shape)), 6, 3]))
    model = Model((network,), (Target(classes=("a", "b", "c")),), scaling=scaling, image_shape=shape)
    X = np.random.default_rng(0).integers(0, 256, (30, *shape)).astype(np.uint8)
    found = run(onnx_graph.to_onnx(model), {"pixels": X})
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(X), atol=1e-6)


def folded(task):
    """Return a model of three folds and two members, trained for a moment, and its rows."""
    generator = np.random.default_rng(0)
    frame = pl.DataFrame({"x": generator.normal(size=150), "c": generator.choice(["u", "v", "w"], 150)})
    y = frame["x"].to_numpy() * 3 + generator.normal(size=150)
    settings = {"epochs": 3, "hidden": (8,)}
    estimator = mlpax.TableRegressor if task == "regression" else mlpax.TableClassifier
    own = estimator(folds=3, members=2, settings=settings, random_state=0)
    return own.fit(frame, y if task == "regression" else np.where(y > 0, "up", "down")), frame


def test_ranges_of_values():
    own, frame = folded("regression")
    feeds = {"x": frame["x"].to_numpy()[:, None], "c": column(frame["c"].to_list())}
    exported = own.to_onnx(interval=0.8)
    found = run(exported, feeds)
    wanted = own.predict_interval(frame, 0.8)
    np.testing.assert_allclose(np.stack([found["low"], found["high"]], 1), wanted, atol=1e-5)
    assert onnx_graph.difference(own.model_, exported, interval=0.8) < 1e-5


def test_sets_of_classes():
    own, frame = folded("classification")
    feeds = {"x": frame["x"].to_numpy()[:, None], "c": column(frame["c"].to_list())}
    found = run(own.to_onnx(interval=0.7), feeds)
    wanted = own.predict_set(frame, 0.7)
    assert wanted.any(axis=0).all()
    assert not wanted.all()
    np.testing.assert_array_equal(found["set"], wanted)


def test_intervals_need_folds():
    model = Model((Network(layers([2, 1])),), (Target(task="regression"),))
    with pytest.raises(InputError, match="train with --folds 5"):
        onnx_graph.to_onnx(model, interval=0.9)


def test_estimators_export_themselves():
    X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    y = (X[:, 0] > 0).astype(int)
    classifier = mlpax.MLPClassifier(
        (8,), max_iter=20, early_stopping=True, random_state=0, activation="tanh"
    ).fit(X, y)
    found = run(classifier.to_onnx(), {"X": X})
    np.testing.assert_allclose(found["probabilities"], classifier.predict_proba(X), atol=1e-6)
    assert found["prediction"].tolist() == classifier.predict(X).tolist()
    regressor = mlpax.MLPRegressor(hidden_layer_sizes=(8,), tol=1.0, n_iter_no_change=3).fit(X, X[:, :2])
    np.testing.assert_allclose(
        run(regressor.to_onnx(), {"X": X})["prediction"], regressor.predict(X), atol=1e-5
    )


# ---- the check, and what it needs


def test_a_graph_that_differs_from_its_model_is_told():
    model = Model((Network(layers([3, 2])),), (Target(classes=("a", "b")),))
    other = Model((Network(layers([3, 2], 1)),), (Target(classes=("a", "b")),))
    assert onnx_graph.difference(model, onnx_graph.to_onnx(model)) < 1e-6
    with pytest.raises(MlpaxError, match="an error in mlpax"):
        onnx_graph.difference(model, onnx_graph.to_onnx(other))


def test_a_graph_that_names_other_classes_is_told():
    """The probabilities are right: only the labels are swapped, or the sets are empty."""
    model = Model((Network(layers([3, 2])),), (Target(classes=("a", "b")),))
    exported = onnx_graph.to_onnx(model)
    labels = next(one for one in exported.graph.initializer if list(one.string_data) == [b"a", b"b"])
    labels.string_data[:] = [b"b", b"a"]
    with pytest.raises(MlpaxError, match="names other classes"):
        onnx_graph.difference(model, exported)
    own, _ = folded("classification")
    exported = own.to_onnx(interval=0.7)
    assert onnx_graph.difference(own.model_, exported, interval=0.7) < 1e-5
    with pytest.raises(MlpaxError, match="names other classes"):
        onnx_graph.difference(own.model_, exported, interval=0.9)


def test_values_far_from_zero_are_compared_as_float32_holds_them():
    model = Model(
        (Network([(np.ones((3, 1), np.float32), np.full(1, 1e7, np.float32))]),), (Target(task="regression"),)
    )
    assert onnx_graph.difference(model, onnx_graph.to_onnx(model)) < 1e-4


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named(monkeypatch, missing):
    model = Model((Network(layers([3, 2])),), (Target(classes=("a", "b")),))
    exported = onnx_graph.to_onnx(model)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(InputError, match=r"needs onnx.*pip install 'mlpax\[export\]'"):
        onnx_graph.to_onnx(model) and onnx_graph.difference(model, exported)


def test_unknown_way_to_write_dates():
    model = Model((Network(layers([3, 2])),), (Target(classes=("a", "b")),))
    with pytest.raises(InputError, match="did you mean 'epoch'"):
        onnx_graph.to_onnx(model, dates="epochs")


ALONE = """
import sys
import numpy as np
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
feeds = {name: value[:, None] for name, value in np.load(sys.argv[2]).items()}
feeds = {name: value.astype(object) if value.dtype.kind == "U" else value for name, value in feeds.items()}
found = {o.name: x for o, x in zip(session.get_outputs(), session.run(None, feeds))}
np.savez(sys.argv[3], **{name: x.astype(str) if x.dtype == object else x for name, x in found.items()})
assert not [name for name in sys.modules if name.startswith(("mlpax", "jax", "polars"))]
"""


def run_alone(exported, feeds, folder):
    """Return the outputs of a graph, from a process that has onnxruntime and NumPy alone."""
    onnx.save(exported, folder / "model.onnx")
    np.savez(folder / "rows.npz", **feeds)
    paths = [folder / name for name in ("model.onnx", "rows.npz", "found.npz")]
    subprocess.run([sys.executable, "-I", "-c", ALONE, *paths], check=True)
    return dict(np.load(paths[-1], allow_pickle=False))


def cells_of(frame, exported):
    """Return the raw cells of a table, typed by polars alone, as the inputs of a graph."""
    feeds = {}
    for node in exported.graph.input:
        values = frame[node.name]
        if node.type.tensor_type.elem_type == onnx.TensorProto.STRING:
            feeds[node.name] = values.cast(pl.String).fill_null("").to_numpy().astype(str)
        else:
            feeds[node.name] = values.cast(pl.Float64).fill_null(np.nan).to_numpy()
    return feeds


def small_csv(folder):
    lines = ["size,when,kind,y"]
    lines += [f"{i % 9 + 0.5},2024-{i % 12 + 1:02}-{i % 28 + 1:02},{'ab'[i % 2]},{i % 3}" for i in range(90)]
    (folder / "small.csv").write_text("\n".join(lines))
    return folder / "small.csv"


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=pytest.mark.slow) for path in TABLES] or [None],
    ids=lambda p: p and p.stem,
)
def test_tables_from_raw_rows(path, tmp_path):
    """In a process without mlpax: probabilities within 1e-5, values within 1e-5 of their deviation."""
    path = path or small_csv(tmp_path)
    text = {}
    if DATA:
        facts = {fact["name"]: fact for fact in json.loads(Path(DATA, "tables/manifest.json").read_text())}
        text = dict.fromkeys(facts[path.name.split(".")[0]]["categorical"], pl.String)
    changes = {"epochs": 2, "members": 3, "validation": 0.2}
    ready = source(str(path)).to_train(Wanted("table", changes), Reading())
    model, _ = fit_model(ready.dataset, ready.recipe)
    frame = pl.read_csv(path, schema_overrides=text, infer_schema_length=None, null_values=[])
    exported = onnx_graph.to_onnx(model)
    found = run_alone(exported, cells_of(frame, exported), tmp_path)
    if model.classes:
        wanted = model.predict_proba(frame)
        np.testing.assert_allclose(found["probabilities"], wanted, rtol=0, atol=1e-5)
        first, second = np.sort(wanted, axis=1)[:, :-3:-1].T
        sure = first - second > 1e-4
        assert found["prediction"][sure].tolist() == model.predict(frame)[sure].tolist()
    else:
        values = model.predict(frame)
        np.testing.assert_allclose(found["prediction"], values, rtol=0, atol=1e-5 * values.std())


def test_the_header_says_what_the_inputs_are():
    columns = type(fit_columns(pl.DataFrame({"x": [1.0, 2.0]})))((
        Number("n", 0.0, 1.0, clock=True), Category("c", ("u", "v")), Date("d", "", (0.0,) * 6, (1.0,) * 6),
    ))  # fmt: skip
    inputs, outputs = onnx_graph.ends_of(onnx_graph.to_onnx(of_table(columns)))
    assert inputs == [
        ("n", "float64", "(rows, 1)", "seconds"),
        ("c", "text", "(rows, 1)", "category: u, v"),
        ("d", "text", "(rows, 1)", "date, such as 2024-12-31 or 2024-12-31 12:30:59"),
    ]
    assert [output[:3] for output in outputs] == [
        ("prediction", "text", "(rows)"), ("probabilities", "float32", "(rows, 3)"),
    ]  # fmt: skip
