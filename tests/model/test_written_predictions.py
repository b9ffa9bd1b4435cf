"""Predictions of files: in parts, by several threads, and some of their columns."""

import io
import itertools

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from mlpax.data import csv_files, tables
from mlpax.data.columns import fit_columns
from mlpax.data.reading import Reading
from mlpax.data.sources import Table
from mlpax.engine.native import library, prediction
from mlpax.engine.rows import Scaling
from mlpax.errors import InputError
from mlpax.model import model as of_model
from mlpax.model.model import Model, Network, Target

RNG = np.random.default_rng(0)
native = pytest.mark.skipif(bool(library.missing()), reason="there is no native library")
CELLS = {  # awkward ones: quotes, blanks, marks of missing cells, unknown levels, dates
    "size": ["1.5", "", '" 2"', "-3e2", "NA", '"4.25"', "+7", "0.1", "1e-300", "123456789.123456789"],
    "count": ["1", "2", "30", "4", "", "6", "007", "8", "9", "10"],
    "town": ["Bern", '"Basel, Stadt"', "?", "", '"a ""b"""', "Chur", '"two\nlines"', "none", "Bern ", "Chur"],
    "day": ["2024-01-03", "03.01.2024", "", "2023-07-30 12:30", "NA", *["2024-02-29"] * 5],
    "free": ["a"] * 10,
}


def text_of(rows: int, plain: int = 0) -> str:
    """A CSV with awkward cells; the first rows, `plain` of them, have only plain numbers."""
    lines = [",".join(CELLS)]
    for i in range(rows):
        k = i % 10 if i >= plain else 0
        lines.append(
            ",".join(cells[(k * (1 + j)) % 10 if i >= plain else 0] for j, cells in enumerate(CELLS.values()))
        )
    return "\n".join(lines) + "\n"


def table_model(classes=("no", "yes"), backend="native", members=2) -> Model:
    frame = pl.DataFrame(
        {
            "size": ["1.5", "2", None, "-3", "4.25", "0.1"] * 10,
            "count": ["1", "2", "30", "4", "5", "6"] * 10,
            "town": ["Bern", "Basel, Stadt", 'a "b"', "Chur", None, "two\nlines"] * 10,
            "day": ["2024-01-03", "2023-07-30", "2024-02-29", None, "2024-05-05", "2024-12-31"] * 10,
        }
    )
    columns = fit_columns(frame)
    sizes = columns.dense, 7, 5, len(classes)
    networks = tuple(
        Network([(RNG.normal(size=s).astype("f4"), RNG.normal(size=s[1]).astype("f4"))
                 for s in itertools.pairwise(sizes)], "selu") for _ in range(members)
    )  # fmt: skip
    return Model(networks, (Target("kind", classes=classes),), columns=columns, backend=backend)


@pytest.fixture
def streaming(monkeypatch):
    monkeypatch.setattr(tables, "STREAMED", 1)
    monkeypatch.setattr(csv_files, "SAMPLE", 300)


def predictions(model, path, **options) -> bytes:
    file = io.BytesIO()
    found = Table(path).to_predict(model, lambda text: None, Reading())
    model.write_predictions(found.batches, file, clock=found.clock, **options)
    return file.getvalue()


def test_levels_that_the_model_does_not_know_are_told(tmp_path, streaming):
    path, lines = tmp_path / "t.csv", []
    towns = ["Bern", "BERN", "Chur", "", "NA", "Aarau"] * 50
    path.write_text("size,count,town,day\n" + "".join(f"1,2,{town},2024-01-03\n" for town in towns))
    model = table_model()
    found = Table(path).to_predict(model, lines.append, Reading())
    assert model.write_predictions(found.batches, io.BytesIO(), clock=found.clock) == 300
    assert lines == ["'town' holds a level that the model does not know in 100 of 300 rows, such as 'Aarau'"]


@pytest.mark.parametrize("plain", [0, 30, 90])
@pytest.mark.parametrize("piece", [200, 1000, 1 << 24])
def test_inputs_of_a_file_in_pieces_are_those_of_the_whole_text(
    tmp_path, streaming, monkeypatch, piece, plain
):
    path, model = tmp_path / "t.csv", table_model()
    path.write_text(text_of(100, plain))
    monkeypatch.setattr(csv_files, "PIECE", piece)
    read = [*tables.read_batches(path, 60, plain=model.columns.plain)]
    if plain == 90 and piece < 1 << 24:  # some pieces have never been text
        assert {frame["size"].dtype for frame in read} == {pl.Float64, pl.String}
    whole = tables.read_table(path)
    assert sum(frame.height for frame in read) == whole.height == 100
    found = np.concatenate([model.inputs(frame) for frame in read])
    np.testing.assert_array_equal(found.view(np.int32), model.inputs(whole).view(np.int32))
    others = ["town", "day", "free"]
    assert_frame_equal(pl.concat([frame.select(others) for frame in read]), whole.select(others))


@native
@pytest.mark.parametrize("chunk", [1, 7, 8192])
def test_a_file_of_predictions_does_not_depend_on_its_parts(tmp_path, streaming, monkeypatch, chunk):
    path, model = tmp_path / "t.csv", table_model()
    path.write_text(text_of(100, 40))
    whole = predictions(model, path)
    assert whole.count(b"\n") == 101
    monkeypatch.setattr(csv_files, "PIECE", 400)
    monkeypatch.setattr(of_model, "CHUNK", chunk)
    assert predictions(model, path) == whole
    monkeypatch.setenv("MLPAX_THREADS", "1")
    assert predictions(model, path) == whole


@native
@pytest.mark.parametrize("activation", list(library.ACTIVATION))
def test_the_native_library_predicts_what_numpy_predicts(activation):
    sizes = (9, 33, 16, 3)
    params = [(RNG.normal(size=s).astype("f4") / 4, RNG.normal(size=s[1]).astype("f4"))
              for s in itertools.pairwise(sizes)]  # fmt: skip
    network = Network(params, activation, [RNG.normal(size=(5, 3)).astype("f4")])
    X = RNG.normal(size=(101, 7)).astype("f4")
    X[:, 6] = RNG.integers(0, 5, 101)
    model = Model((network,), (Target(classes=("a", "b", "c")),), backend="native")
    found = prediction.outputs(network, X, Scaling())
    np.testing.assert_allclose(found, model.forward(X), rtol=2e-5, atol=2e-5)
    for threads, rows in ((1, 1), (3, 50), (2, 101)):
        part = prediction.outputs(network, X[:rows], Scaling(), threads)
        np.testing.assert_array_equal(part, found[:rows])
    assert prediction.outputs(network, X[:0], Scaling()).shape == (0, 3)
    X[3, 6] = 5
    with pytest.raises(IndexError, match=r"codes 0 to 5 of an embedding of 5 rows"):
        prediction.outputs(network, X, Scaling())
    pixels = RNG.integers(0, 256, (20, 9), np.uint8)
    plain, scaling = Network(params, activation), Scaling(100.0, 0.01)
    expected = of_model.outputs(plain, pixels, scaling)
    np.testing.assert_allclose(prediction.outputs(plain, pixels, scaling), expected, rtol=2e-5, atol=2e-5)


def test_the_library_leaves_wide_networks_and_others_to_numpy():
    wide = Network([(np.ones((2, 300), np.float32), np.ones(300, np.float32))])
    assert not prediction.serves(wide)
    other = Network([(np.ones((2, 3), np.float32), np.ones(3, np.float32))] * 2, "exp")
    assert not prediction.serves(other)


def test_some_columns_are_written_in_the_order_that_is_asked_for(tmp_path):
    path, model = tmp_path / "t.csv", table_model()
    path.write_text(text_of(20))
    whole = pl.read_csv(io.BytesIO(predictions(model, path)))
    names = ["probability_yes", "prediction"]
    assert_frame_equal(pl.read_csv(io.BytesIO(predictions(model, path, columns=names))), whole.select(names))
    for out in ("p.csv", "p.parquet"):
        with pytest.raises(
            InputError, match="'probability_maybe' is none of the predictions' columns; choose of prediction,"
        ):
            model.write_predictions([], tmp_path / out, columns=["probability_maybe"])
        assert not (tmp_path / out).exists()
    with pytest.raises(InputError, match="columns names none of the predictions' columns; choose of"):
        model.write_predictions([], tmp_path / "p.csv", columns=[])
    with pytest.raises(InputError, match="'prediction' is named twice"):
        model.write_predictions([], tmp_path / "p.csv", columns=["prediction", "prediction"])


def test_columns_that_the_model_does_not_read_are_left_alone_but_named_where_one_lacks(tmp_path):
    path, model = tmp_path / "t.csv", table_model()
    path.write_text(text_of(20))
    frame = tables.read_table(path)
    files = [io.BytesIO() for _ in range(2)]
    model.write_predictions([frame.drop("free")], files[0])
    model.write_predictions([frame.with_columns(pl.lit(["a list"]).alias("free"))], files[1])
    assert files[0].getvalue() == files[1].getvalue() == predictions(model, path)
    with pytest.raises(InputError, match="column 'size' is missing; is it 'sizes'"):
        model.write_predictions([frame.rename({"size": "sizes"})], io.BytesIO())


@pytest.mark.parametrize("out", ["p.csv", "p.parquet"])
def test_an_error_names_the_row_of_the_file_and_leaves_no_file(tmp_path, streaming, monkeypatch, out):
    path, model = tmp_path / "t.csv", table_model()
    lines = text_of(100, 100).splitlines()
    lines[78] = lines[78].replace("1.5", "five", 1)
    lines[91] = lines[91].replace("1.5", "six", 1)
    path.write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(csv_files, "PIECE", 400)
    monkeypatch.setattr(of_model, "CHUNK", 3)
    monkeypatch.setenv("MLPAX_THREADS", "4")
    found = Table(path).to_predict(model, lambda text: None, Reading())
    with pytest.raises(InputError, match="column 'size' holds 'five' in row 78, which is no number"):
        model.write_predictions(found.batches, tmp_path / out)
    assert [file.name for file in tmp_path.iterdir()] == ["t.csv"]


def test_a_repeated_header_is_left_out_of_pieces_of_numbers(tmp_path, streaming, monkeypatch):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "1,2\n" * 40 + "a,b\n" + "3,4\n" * 40)
    monkeypatch.setattr(csv_files, "PIECE", 60)
    found = pl.concat([f.cast(pl.Float64) for f in tables.read_batches(path, plain=["a", "b"])])
    assert found.rows() == [(1.0, 2.0)] * 40 + [(3.0, 4.0)] * 40


def test_each_stage_s_seconds_are_told(tmp_path):
    path, model = tmp_path / "t.csv", table_model()
    path.write_text(text_of(20))
    found = Table(path).to_predict(model, lambda text: None, Reading())
    model.write_predictions(found.batches, tmp_path / "p.csv", clock=found.clock)
    assert [*found.clock.seconds] == ["read", "encode", "predict", "write"]
    assert all(seconds > 0 for seconds in found.clock.seconds.values())
