"""A table and a folder of pictures, from file to prediction, by the commands alone."""

import csv
import json
import re

import numpy as np
import polars as pl
import pytest
from PIL import Image

from small_data import encoded

QUICK = ("--epochs", 30, "--hidden", "16,16")
ENDED = (0, "run\n", "mlpax: run had come to its end; no epoch was left to train\n")  # of a resume


@pytest.fixture
def houses(tmp_path):
    rng = np.random.default_rng(0)
    rooms, town = rng.integers(1, 8, 300), rng.choice(["a", "b", "c"], 300)
    price = 50_000 * rooms + 80_000 * (town == "b") + rng.normal(size=300) * 5000
    kind = np.where(price > 250_000, "dear", "cheap")
    sold = ["2024-01-03", "2023-07-30"] * 150
    table = pl.DataFrame({"rooms": rooms, "town": town, "sold": sold, "price": price.round(2), "kind": kind})
    table.drop("kind").write_csv(tmp_path / "houses.csv")
    table.drop("price").write_csv(tmp_path / "kinds.csv")
    return tmp_path


def test_several_targets_from_file_to_prediction(mlpax, houses):
    rows = pl.read_csv("houses.csv").with_columns(tax=pl.col("price") * 0.01 + pl.col("rooms"))
    rows = rows.with_columns(tax=pl.when(pl.col("rooms") < 7).then("tax"))  # the others lack one
    rows.write_csv("two.csv")
    code, out, err = mlpax("describe", "two.csv", "--target", "price,tax")
    assert out.startswith("300 rows, 5 columns; the targets are 'price' and 'tax', a regression\n")
    assert out.splitlines()[-1] == "mlpax train two.csv --target price,tax"
    code, out, err = mlpax("train", "two.csv", "--target", "price,tax", *QUICK, "--test", 0.2, "--out", "run")
    lacking = rows["tax"].null_count()
    assert (code, err.splitlines()[-1]) == (0, f"mlpax: dropped {lacking} rows without a target")
    assert "test r2" in out.splitlines()[-1]
    assert (houses / "run/metrics.csv").read_text().startswith("epoch,loss,valid_r2,members_valid_r2,")
    figures = json.loads(mlpax("evaluate", "run", "--json")[1])
    assert figures["r2"] == pytest.approx(np.mean([own["r2"] for own in figures["targets"].values()]))
    assert figures["r2"] > 0.9
    assert figures["targets"]["price"]["rmse"] > 50 * figures["targets"]["tax"]["rmse"]
    assert [line.split()[0] for line in mlpax("evaluate", "run", "two.csv")[1].splitlines()] == [
        "R²", "target", "price", "tax"
    ]  # fmt: skip
    assert mlpax("predict", "run", "two.csv", "--out", "p.csv")[1] == "p.csv: 300 predictions\n"
    found = pl.read_csv("p.csv")
    assert found.columns == ["prediction_price", "prediction_tax"]
    assert np.corrcoef(found["prediction_tax"], rows["price"] * 0.01 + rows["rooms"])[0, 1] > 0.95
    out = mlpax("importance", "run", "two.csv")[1]
    assert re.match(r"column +loss of r2 +deviation\nrooms", out)
    assert mlpax("plot", "run")[0] == mlpax("report", "run")[0] == 0
    page = (houses / "run/report.html").read_text()
    assert "predict the columns “price” and “tax” (numbers)" in page
    assert mlpax("resume", "run", "--quiet") == ENDED


def test_several_targets_of_classes_from_file_to_prediction(mlpax, houses):
    rows = pl.read_csv("houses.csv").with_columns(large=pl.col("rooms") > 4)
    rows = rows.with_columns(town=pl.when(pl.int_range(300) > 2).then("town"))  # the others lack one
    rows.write_csv("two.csv")
    told = "the task is classification: 'town' has 3 distinct classes, 'large' 2; --task says otherwise"
    code, out, err = mlpax("describe", "two.csv", "--target", "town,large")
    assert out.startswith("300 rows, 5 columns; the targets are 'town' and 'large', a classification\n")
    assert out.splitlines()[-1] == "mlpax train two.csv --target town,large --task classification"
    code, out, err = mlpax(
        "train", "two.csv", "--target", "town,large", *QUICK, "--test", 0.2, "--out", "run"
    )
    assert (code, err.splitlines()[-2:]) == (0, [f"mlpax: {told}", "mlpax: dropped 3 rows without a target"])
    assert "test accuracy" in out.splitlines()[-1]
    figures = json.loads(mlpax("evaluate", "run", "--json")[1])
    for name in ("accuracy", "log_loss"):
        of_each = [own[name] for own in figures["targets"].values()]
        assert figures[name] == pytest.approx(np.mean(of_each))
    assert figures["targets"]["large"]["accuracy"] > 0.9
    assert [line.split()[0] for line in mlpax("evaluate", "run", "two.csv")[1].splitlines()] == [
        "accuracy", "log", "all", "target", "town", "large"
    ]  # fmt: skip
    assert mlpax("predict", "run", "two.csv", "--out", "p.csv")[1] == "p.csv: 300 predictions\n"
    found = pl.read_csv("p.csv")
    assert found.columns[:3] == [
        "prediction_town",
        "prediction_large",
        f"probability_town={rows['town'].min()}",
    ]
    assert (found["prediction_large"] == rows["large"]).mean() > 0.9
    assert json.loads(mlpax("inspect", "run", "--json")[1])["classes"]["large"] == ["false", "true"]
    assert "large: false, true" in mlpax("inspect", "run")[1]
    assert re.match(r"column +rise of log loss +deviation\n", mlpax("importance", "run", "two.csv")[1])
    assert "confusion.png" in mlpax("plot", "run")[1]
    assert mlpax("report", "run")[0] == 0
    page = (houses / "run/report.html").read_text()
    assert "predict the columns “town” and “large” (3 and 2 classes)" in page
    assert "Training rows of each class of large" in page
    assert mlpax("resume", "run", "--quiet") == ENDED


def test_targets_of_two_tasks_are_refused(mlpax, houses):
    remedy = "train a run for each, or say with --task classification or --task regression what all are"
    one = "class_weight 'balanced' is for one target, and there are 2; weigh the rows by a column"
    for options, message in (
        (("--target", "price,town"), f"target 'town' is of classes, and 'price' of numbers; {remedy}"),
        (("--target", "town,sold", "--column", "sold=category", "--class-weight", "balanced"),
         f"{one} (--weight), or train a run for each target"),
        (("--target", "price,room"), "no column 'room' in the data; did you mean 'rooms'?"),
        (("--target", "price,price"), "target 'price' is named twice; name it once"),
    ):  # fmt: skip
        code, _, err = mlpax("train", "houses.csv", *options)
        assert (code, err.splitlines()[-1]) == (2, f"mlpax: {message}")
    assert not (houses / "runs").exists()


def test_a_regression_from_file_to_prediction(mlpax, houses):
    code, out, err = mlpax("train", "houses.csv", "--target", "price", "--test", 0.2, *QUICK, "--out", "run")
    assert code == 0
    assert "the task is regression" in err
    assert "test rmse" in out.splitlines()[-1]
    assert (houses / "run/metrics.csv").read_text().startswith("epoch,loss,valid_rmse,members_valid_rmse,")
    figures = json.loads(mlpax("evaluate", "run", "--json")[1])
    assert set(figures) == {"rmse", "mae", "r2", "intervals"}
    assert figures["r2"] > 0.9
    assert json.loads(mlpax("evaluate", "run", "houses.csv", "--json")[1])["r2"] > 0.9
    assert mlpax("predict", "run", "houses.csv", "--out", "p.csv")[1] == "p.csv: 300 predictions\n"
    predicted = pl.read_csv("p.csv")["prediction"].to_numpy()
    assert np.corrcoef(predicted, pl.read_csv("houses.csv")["price"].to_numpy())[0, 1] > 0.95
    mlpax("predict", "run", "houses.csv", "--out", "p.parquet")
    np.testing.assert_allclose(pl.read_parquet("p.parquet")["prediction"].to_numpy(), predicted)
    code, out, err = mlpax("importance", "run", "houses.csv")
    assert code == 0
    assert err == "mlpax: run was trained on rows of houses.csv: figures of these flatter\n"
    assert out.splitlines()[1].startswith("rooms")
    assert (houses / "run/importance.png").exists()
    code, held, err = mlpax("importance", "run")  # of the 60 rows held out
    assert (code, err) == (0, "")
    assert held.splitlines()[1].startswith("rooms")
    assert held != out
    assert mlpax("plot", "run")[1] == "run/curves.png\nrun/predicted.png\nrun/residuals.png\n"


def test_predictions_of_some_columns_and_their_rates(mlpax, houses, monkeypatch):
    mlpax("train", "kinds.csv", "--target", "kind", *QUICK, "--quiet", "--out", "run")
    assert mlpax("predict", "run", "kinds.csv", "--out", "p.csv") == (0, "p.csv: 300 predictions\n", "")
    whole = pl.read_csv("p.csv")
    monkeypatch.setattr("mlpax.cli.look.LONG", 0)
    columns = ("--columns", '"probability_dear", prediction')
    code, out, err = mlpax("predict", "run", "kinds.csv", "--out", "p.csv", *columns)
    assert (code, out) == (0, "p.csv: 300 predictions\n")
    assert re.fullmatch(
        r"mlpax: [\d,]+ rows a second; one thread reads [\d,]+ rows a second, encodes [\d,]+, predicts [\d,]+"
        r" and writes [\d,]+\n",
        err,
    )
    assert pl.read_csv("p.csv").equals(whole.select("probability_dear", "prediction"))
    code, out, err = mlpax("predict", "run", "kinds.csv", "--out", "p.csv", "--columns", "prediction,odds")
    expected = "mlpax: columns 'odds' is none of the predictions' columns; choose of prediction,"
    assert (code, err) == (2, f"{expected} probability_cheap, probability_dear\n")


def test_an_ensemble_from_file_to_prediction(mlpax, houses):
    """One file holds all members; a column tells how far they disagree."""
    for file, target in (("houses.csv", "price"), ("kinds.csv", "kind")):
        words = ("--target", target, "--test", 0.2, "--members", 3, *QUICK)
        code, out, _ = mlpax("train", file, *words, "--out", target)
        assert code == 0
        assert "members" not in out.splitlines()[0]  # the lines are those of one network
        assert re.search(r"epoch \d+ of 30, each of 3 members with its best, test", out)
        first = (houses / target / "metrics.csv").read_text().splitlines()[0]
        monitored = "valid_rmse" if target == "price" else "valid_log_loss"
        assert first.endswith(f"members_{monitored},spread_{monitored},seconds")
        assert json.loads(mlpax("inspect", target, "--json")[1])["members"] == 3
        code, out, err = mlpax("predict", target, file, "--out", "p.csv", "--disagreement")
        assert (code, out, err) == (0, "p.csv: 300 predictions\n", "")
        assert pl.read_csv("p.csv")["disagreement"].max() > 0
        assert mlpax("evaluate", target)[0] == 0
        assert mlpax("plot", target)[0] == 0
        assert mlpax("resume", target)[0] == 0
    mlpax("train", "kinds.csv", "--target", "kind", *QUICK, "--members", 1, "--out", "one")
    code, _, err = mlpax("predict", "one", "kinds.csv", "--out", "q.csv", "--disagreement")
    assert (code, err) == (2, "mlpax: one network does not disagree; train several, as with --members 8\n")
    assert not (houses / "q.csv").exists()


def test_a_column_that_names_the_rows_as_predictions_are_named(mlpax, houses):
    table = pl.read_csv("kinds.csv").with_columns(disagreement=pl.int_range(pl.len()).cast(pl.String))
    table.write_csv("named.csv")
    words = ("--target", "kind", "--id", "disagreement", "--members", 2, *QUICK)
    assert mlpax("train", "named.csv", *words, "--out", "run")[0] == 0
    assert mlpax("predict", "run", "named.csv", "--out", "p.csv")[0] == 0
    code, _, err = mlpax("predict", "run", "named.csv", "--out", "q.csv", "--disagreement")
    assert (code, "column 'disagreement' names the rows" in err) == (2, True)
    assert not (houses / "q.csv").exists()


@pytest.mark.parametrize(("members", "says"), [
    (0, "members 0 is outside [1, 65536)"),
    (-3, "members -3 is outside [1, 65536)"),
    (65536, "members 65536 is outside [1, 65536)"),
])  # fmt: skip
def test_no_members(mlpax, houses, members, says):
    code, _, err = mlpax("train", "kinds.csv", "--target", "kind", "--members", members)
    assert (code, err.splitlines()[-1]) == (2, f"mlpax: {says}")
    assert not (houses / "runs").exists()


def test_members_that_memory_does_not_hold(mlpax, houses):
    words = ("--target", "kind", "--members", 60000, "--hidden", "4000,4000")
    code, _, err = mlpax("train", "kinds.csv", *words)
    said = r"members 60000 of 16,\d{3},\d{3} parameters, on 60 measured rows, would take about [\d.]+ TB of"
    said += " memory, and the limit is"
    assert code == 2
    assert re.match(rf"mlpax: {said} [\d.]+ .B; choose \d+ or fewer$", err.splitlines()[-1])
    assert not (houses / "runs").exists()


def test_the_index_of_pandas_is_no_input(mlpax, houses):
    """Of a CSV, whose file without it is then as good."""
    table = pl.read_csv("kinds.csv")
    table.select(pl.int_range(pl.len()).alias(""), pl.all()).write_csv("indexed.csv")
    code, _, err = mlpax("train", "indexed.csv", "--valid-data", "kinds.csv", *QUICK, "--out", "run")
    assert code == 0
    assert "the first column, '', numbers the rows and is left out; --column =number keeps it" in err
    for name in ("kinds", "indexed"):
        code, _, err = mlpax("predict", "run", f"{name}.csv", "--out", f"{name}-predicted.csv")
        assert (code, err) == (0, "")
    assert (houses / "kinds-predicted.csv").read_text() == (houses / "indexed-predicted.csv").read_text()


def test_a_file_that_changed_is_no_test(mlpax, houses):
    """Other rows would be held out than were, among them some that the network has learned."""
    assert mlpax("train", "kinds.csv", "--test", 0.2, *QUICK, "--out", "run")[0] == 0
    assert mlpax("evaluate", "run")[0] == 0
    with open("kinds.csv", "a") as file:
        file.write("3,a,2024-01-03,cheap\n")
    for words in (("evaluate", "run"), ("plot", "run")):
        code, _, err = mlpax(*words)
        assert code == 2
        assert (
            "kinds.csv is not as it was when run was trained; train again, or evaluate on a file of rows"
            in err
        )
    assert mlpax("evaluate", "run", "kinds.csv")[0] == 0


def test_pictures_of_one_class_are_refused(mlpax, tmp_path):
    np.savez("p.npz", X=np.zeros((40, 3, 3), np.uint8), y=np.zeros(40, int))
    code, _, err = mlpax("train", "p.npz", "--out", "run")
    assert (code, "are of the class 0; it takes two" in err) == (2, True)
    assert not (tmp_path / "run").exists()


def test_a_figure_that_overflows_ends_no_run(mlpax, tmp_path):
    X = np.random.default_rng(0).normal(size=(400, 3))
    y = X @ [1, 2, 3]
    y[::40] = 3e19
    pl.DataFrame({"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "y": y}).write_csv("huge.csv")
    code, out, _ = mlpax("train", "huge.csv", *QUICK, "--out", "run")
    assert code == 0
    assert out.splitlines()[-1].startswith("run: finished")
    history = (tmp_path / "run/metrics.csv").read_text()
    assert "nan" in history or "inf" in history
    result = json.loads((tmp_path / "run/result.json").read_text(), parse_constant=pytest.fail)
    assert result["metrics"]["loss"] > 0
    assert mlpax("resume", "run")[0] == 0
    assert mlpax("inspect", "run")[0] == 0


def test_a_classification_its_confusion_and_its_pictures(mlpax, houses):
    code, out, err = mlpax("train", "kinds.csv", *QUICK, "--out", "run", "--class-weight", "balanced")
    assert code == 0
    assert "the target is 'kind', the last column" in err
    figures = json.loads(mlpax("evaluate", "run", "--json")[1])
    assert figures["accuracy"] > 0.9
    assert set(figures["f1"]) == {"cheap", "dear"}
    code, out, err = mlpax("evaluate", "run")
    assert "these are the validation rows" in err
    assert "confusion" not in out
    assert "true" in out
    names = ("curves", "confusion", "calibration", "roc", "precision_recall")
    assert mlpax("plot", "run")[1].split() == [f"run/{n}.png" for n in names]
    mlpax("predict", "run", "kinds.csv", "--out", "p.csv")
    rows = list(csv.DictReader((houses / "p.csv").read_text().splitlines()))
    assert list(rows[0]) == ["prediction", "probability_cheap", "probability_dear"]
    assert {row["prediction"] for row in rows} == {"cheap", "dear"}


def test_a_table_run_resumes_to_the_same_bits(mlpax, houses):
    words = ("--target", "price", *QUICK, "--seed", 3, "--group", "town", "--quiet")
    mlpax("train", "houses.csv", *words, "--out", "one")
    mlpax("train", "houses.csv", *words, "--out", "two")
    assert mlpax("resume", "two")[0] == 0
    assert (houses / "one/model.safetensors").read_bytes() == (houses / "two/model.safetensors").read_bytes()
    assert json.loads((houses / "two/config.json").read_text())["options"] == {
        "target": "price",
        "group": "town",
    }
    text = (houses / "houses.csv").read_text()
    (houses / "houses.csv").write_text(text.replace("2024-01-03", "2024-01-04", 1))
    code, _, err = mlpax("resume", "two")
    assert code == 2
    assert "have changed since this run was started" in err


def test_a_run_on_free_text_goes_on_to_the_same_bits(mlpax, tmp_path):
    words = ["sunny", "warm", "rainy", "cold"]
    cells = [f"a {words[i % 4]} day, the one of number {i}" for i in range(200)]
    table = pl.DataFrame({"note": cells, "kind": ["good", "good", "bad", "bad"] * 50})
    table.write_csv("notes.csv")
    told = "mlpax: column 'note' holds free text, whose words are inputs; --column note=drop says otherwise\n"
    for out in ("one", "two"):
        code, _, err = mlpax("train", "notes.csv", *QUICK, "--seed", 3, "--out", out)
        assert code == 0
        assert told in err
    (tmp_path / "two/model.safetensors").unlink()
    (tmp_path / "two/result.json").unlink()
    (tmp_path / "two/checkpoints/epoch-000030.npz").unlink()
    assert mlpax("resume", "two", "--quiet")[0] == 0
    assert (tmp_path / "one/model.safetensors").read_bytes() == (
        tmp_path / "two/model.safetensors"
    ).read_bytes()
    assert json.loads(mlpax("evaluate", "two", "--json")[1])["accuracy"] == 1
    described = mlpax("describe", "notes.csv")[1]
    assert re.search(r"^note +text +0 +200$", described, re.MULTILINE)
    assert "--column note=text" in described
    assert mlpax("importance", "two")[1].splitlines()[1].startswith("note")
    code, _, err = mlpax("export", "two")
    assert (code, err.count("\n")) == (2, 1)
    assert "column 'note' is free text" in err
    code, _, err = mlpax("train", "notes.csv", "--column", "note=drop", "--out", "three")
    assert code == 2
    assert mlpax("report", "two")[0] == 0
    assert "free text: " in (tmp_path / "two/report.html").read_text()


@pytest.mark.parametrize("words", [("kinds.csv",), ("houses.csv", "--target", "price")])
def test_a_table_trains_without_validation_rows(mlpax, houses, words):
    code, out, _ = mlpax("train", *words, "--valid", 0, "--epochs", 3, "--hidden", 8, "--out", "run")
    assert code == 0
    assert "run: finished; epoch 3 of 3" in out
    recipe = json.loads((houses / "run/config.json").read_text())["recipe"]
    assert (recipe["patience"], recipe["monitor"]) == (0, "")
    assert mlpax("resume", "run", "--quiet") == ENDED
    assert json.loads(mlpax("runs", ".", "--json")[1])[0]["metric"] == "loss"
    assert mlpax("evaluate", "run")[::2] == (
        2, "mlpax: run held out no rows; give a file of others, or train with --test 0.2\n"
    )  # fmt: skip
    code, _, err = mlpax("train", *words, "--valid", 0, "--patience", 5)
    assert (code, err.splitlines()[-1]) == (
        2, "mlpax: patience 5 needs validation rows; hold some out with validation 0.2",
    )  # fmt: skip
    mlpax("train", *words, "--valid", 0, "--valid-data", words[0], "--epochs", 3, "--out", "two", "--quiet")
    assert json.loads((houses / "two/config.json").read_text())["recipe"]["patience"] > 0


def test_describe(mlpax, houses):
    code, out, _ = mlpax("describe", "houses.csv", "--target", "price")
    assert code == 0
    assert out.startswith("300 rows, 4 columns; the target is 'price', a regression\n")
    facts = json.loads(mlpax("describe", "kinds.csv", "--json")[1])
    assert {c["column"]: c["kind"] for c in facts["columns"]} == {
        "rooms": "number", "town": "category", "sold": "date", "kind": "category",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ("train", "houses.csv", "--target", "prise"),
            "no column 'prise' in the data; did you mean 'price'?",
        ),
        (("train", "houses.csv", "--target", "town", "--task", "regression"), "which is no number"),
        (("train", "houses.csv", "--weight", "weigth"), "no column 'weigth' in the data"),
        (("train", "nowhere/houses.csv"), "there is no file or folder nowhere/houses.csv"),
        (("train", "digits", "--target", "x"), "target is an option for tables, which digits is not"),
        (("train", "houses.csv", "--test", 1), "test 1.0 is outside [0, 1)"),
        (("describe", "p.csv"), "there is no such file"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_2(mlpax, houses, words, says):
    code, out, err = mlpax(*words)
    assert (code, out) == (2, "")
    assert says in err.splitlines()[-1]
    assert not list(houses.glob("runs/*"))


def test_columns_that_do_not_fit_at_prediction(mlpax, houses):
    mlpax("train", "houses.csv", "--target", "price", *QUICK, "--out", "run", "--quiet")
    table = pl.read_csv("houses.csv")
    for other, says in (
        (table.rename({"rooms": "roms"}), "column 'rooms' is missing; is it 'roms'?"),
        (
            table.with_columns(rooms=pl.lit("many")),
            "column 'rooms' holds 'many' in row 1, which is no number",
        ),
    ):
        other.write_csv("other.csv")
        code, out, err = mlpax("predict", "run", "other.csv", "--out", "p.csv")
        assert (code, out) == (2, "")
        assert says in err
        assert not (houses / "p.csv").exists()
    table.with_columns(more=pl.lit(1)).write_csv("other.csv")
    code, out, err = mlpax("predict", "run", "other.csv", "--out", "p.csv")
    assert code == 0
    assert "ignored columns that the model does not know: more" in err


def test_where_predictions_cannot_go_is_said_before_the_work(mlpax, houses):
    mlpax("train", "houses.csv", "--target", "price", *QUICK, "--out", "run", "--quiet")
    before = (houses / "houses.csv").read_bytes()
    for out, says in (
        ("houses.csv", "houses.csv holds the rows to predict; --out takes another file"),
        ("p.xlsx", "p.xlsx is no name for predictions; end it with .csv or .parquet"),
        ("nowhere/p.csv", "nowhere is no folder; make it first, or choose another --out"),
        ("run", "run is a folder; --out takes a file"),
    ):
        assert mlpax("predict", "run", "houses.csv", "--out", out) == (2, "", f"mlpax: {says}\n")
    assert mlpax("importance", "run", "houses.csv", "--out", "nowhere/i.png")[0] == 2
    assert (houses / "houses.csv").read_bytes() == before
    assert not (houses / "p.xlsx").exists()


def test_rows_without_a_target_are_not_scored(mlpax, houses):
    mlpax("train", "houses.csv", "--target", "price", *QUICK, "--out", "run", "--quiet")
    table = pl.read_csv("houses.csv")
    table.with_row_index().with_columns(price=pl.when(pl.col("index") > 9).then("price")).write_csv(
        "some.csv"
    )
    code, _, err = mlpax("evaluate", "run", "some.csv")
    assert code == 0
    assert "dropped 10 rows without a target" in err
    table.with_columns(price=pl.lit(None)).write_csv("none.csv")
    code, out, err = mlpax("evaluate", "run", "none.csv")
    assert (code, out) == (2, "")
    assert err == "mlpax: none.csv has no row with a target 'price'; there is nothing to score by\n"


def test_options_hold_in_another_folder(mlpax, houses, monkeypatch):
    words = ("--target", "price", "--valid-data", "houses.csv", *QUICK, "--quiet")
    mlpax("train", "houses.csv", *words, "--out", "run")
    (houses / "elsewhere").mkdir()
    monkeypatch.chdir(houses / "elsewhere")
    assert mlpax("resume", "../run", "--quiet")[0] == 0


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    import platformdirs

    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for name, light in (("day", 200), ("night", 30)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(40):
            pixels = rng.normal(light, 20, (12, 10)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{i}.png")
    return tmp_path


@pytest.mark.parametrize("words", [(), ("--test", 0.25)])
def test_rows_held_out_of_pictures_are_so_whatever_the_seed(mlpax, pictures, words):
    mlpax("train", "pictures", "--size", 8, "--seed", 3, *words, "--epochs", 2, "--out", "run", "--quiet")
    assert mlpax("resume", "run", "--quiet") == ENDED
    code, out, err = mlpax("evaluate", "run", "--json")
    assert code == 0
    assert np.sum(json.loads(out)["confusion"]) == (20 if words else 16)
    assert ("these are the validation rows" in err) != bool(words)
    assert "run/confusion.png" in mlpax("plot", "run")[1]


def test_the_recipe_of_tables_is_not_for_pictures(mlpax, pictures):
    code, out, err = mlpax("train", "pictures", "--recipe", "table")
    assert (code, out) == (2, "")
    assert (
        err == "mlpax: recipe 'table' is for tables, which pictures is not; choose another, or leave it out\n"
    )


@pytest.mark.parametrize("kind", ["idx", "npy", "npz"])
def test_arrays_of_pictures(mlpax, tmp_path, kind):
    rng, y = np.random.default_rng(0), np.arange(80, dtype=np.uint8) % 2
    X = rng.normal(30 + 170 * y[:, None, None], 20, (80, 5, 4)).clip(0, 255).astype(np.uint8)
    names = {"idx": ("images-idx3-ubyte", "labels-idx1-ubyte.gz"), "npy": ("X.npy", "y.npy")}
    if kind == "npz":
        rows = "set.npz"
        np.savez(rows, X=X, y=np.array(["night", "day"])[y])
    else:
        rows, labels = names[kind]
        (tmp_path / rows).write_bytes(encoded(X, rows))
        code, out, err = mlpax("train", rows)
        assert (code, out) == (2, "")
        assert err.endswith(f"has pictures without labels; give them as {labels.removesuffix('.gz')}\n")
        (tmp_path / labels).write_bytes(encoded(y, labels))
    words = ("--test", 0.25, "--seed", 1, "--epochs", 5)
    code, out, _ = mlpax("train", rows, *words, "--out", "run")
    assert code == 0
    assert "test accuracy 100.00%" in out
    assert json.loads(mlpax("evaluate", "run", "--json")[1])["accuracy"] == 1
    assert json.loads(mlpax("evaluate", "run", rows, "--json")[1])["accuracy"] == 1
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    for command in (("evaluate", "run", "table.csv"), ("predict", "run", "table.csv", "--out", "p.csv")):
        assert mlpax(*command) == (
            2, "", "mlpax: table.csv holds no array as this model takes; give IDX, .npy, .npz or pictures\n"
        )  # fmt: skip
    assert "run/mistakes.png" in mlpax("plot", "run")[1]
    assert mlpax("predict", "run", rows, "--out", "p.csv")[1] == "p.csv: 80 predictions\n"
    predicted = pl.read_csv("p.csv")["prediction"].to_list()
    assert predicted[:2] == (["night", "day"] if kind == "npz" else [0, 1])
    code, _, err = mlpax("train", rows, "--size", 3)
    assert code == 2
    assert f"size is an option for folders of pictures, which {rows} is not" in err


def test_a_folder_of_pictures(mlpax, pictures, tmp_path):
    code, out, _ = mlpax("train", "pictures", "--size", 8, "--test", 0.25, "--epochs", 5, "--out", "run")
    assert code == 0
    assert "test accuracy 100.00%" in out
    assert json.loads(mlpax("evaluate", "run", "--json")[1])["accuracy"] == 1
    assert json.loads(mlpax("evaluate", "run", "pictures", "--json")[1])["accuracy"] == 1
    assert mlpax("predict", "run", "pictures/night", "--out", "p.csv")[1] == "p.csv: 40 predictions\n"
    predicted = pl.read_csv("p.csv")
    assert set(predicted["prediction"]) == {"night"}
    assert predicted.columns == ["file", "prediction", "probability_day", "probability_night"]
    assert predicted["file"].to_list() == sorted(f"{i}.png" for i in range(40))
    assert mlpax("predict", "run", "pictures/day/3.png", "--out", "p.csv")[1] == "p.csv: 1 predictions\n"
    (tmp_path / "pictures/day/bad.png").write_bytes(b"no picture")
    code, _, err = mlpax("train", "pictures", "--out", "other")
    assert code == 2
    assert "bad.png" in err
    code, _, err = mlpax("train", "pictures", "--skip-bad", "--epochs", 1, "--out", "other")
    assert code == 0
    assert mlpax("evaluate", "run", "pictures")[0] == 2
    assert mlpax("predict", "run", "pictures", "--out", "q.csv")[0] == 2
    for words in (("evaluate", "run", "pictures"), ("predict", "run", "pictures", "--out", "q.csv")):
        code, _, err = mlpax(*words, "--skip-bad")
        assert code == 0
        assert "left out 1 of 81 pictures that cannot be read" in err
    assert len(pl.read_csv("q.csv")) == 80


def test_pictures_by_the_articles_recipe_split_alike_ever_after(mlpax, pictures):
    """Its seed is its own, and what is held out goes by it."""
    words = ("--recipe", "article", "--batch-size", 8, "--epochs", 2, "--test", 0.2, "--size", 8)
    assert mlpax("train", "pictures", *words, "--out", "run", "--quiet")[0] == 0
    assert mlpax("resume", "run", "--quiet") == ENDED
    assert mlpax("evaluate", "run")[0] == 0
    assert mlpax("plot", "run")[0] == 0


def test_doubles_among_held_out_pictures_are_told(mlpax, pictures):
    for i in range(40):
        for name in ("day", "night"):
            copy = (pictures / "pictures" / name / f"{i}.png").read_bytes()
            (pictures / "pictures" / name / f"again-{i}.png").write_bytes(copy)
    code, _, err = mlpax("train", "pictures", "--size", 8, "--epochs", 1, "--out", "run")
    assert code == 0
    assert "held-out pictures with an exact double among the training ones: scores may flatter" in err


def test_evaluation_goes_by_what_the_classes_mean(mlpax, tmp_path):
    for label in range(3):
        (tmp_path / "numbered" / str(label)).mkdir(parents=True)
        (tmp_path / "named" / "abc"[label]).mkdir(parents=True)
        for i in range(20):
            pixels = np.full((4, 6), 40 + 80 * label + i, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "numbered" / str(label) / f"{i}.png")
            Image.fromarray(pixels).save(tmp_path / "named" / "abc"[label] / f"{i}.png")
    X = np.concatenate([np.full((20, 4, 6), 40 + 80 * label, np.uint8) for label in range(3)])
    np.savez("set.npz", X=X, y=np.repeat(np.arange(3), 20))
    assert mlpax("train", "set.npz", "--epochs", 20, "--out", "run", "--quiet")[0] == 0
    # Whole numbers are a folder's names, and pictures need not be square.
    assert json.loads(mlpax("evaluate", "run", "numbered", "--json")[1])["accuracy"] == 1
    code, out, err = mlpax("evaluate", "run", "named")
    assert (code, out) == (2, "")
    assert err.startswith("mlpax: ")
    assert "'a'" in err
    (tmp_path / "mine").mkdir()
    for name in ("x", "y"):
        (tmp_path / "mine" / name).mkdir()
        for i in range(10):
            Image.fromarray(np.full((8, 8), 20 * i + (name == "y"), np.uint8)).save(f"mine/{name}/{i}.png")
    assert mlpax("train", "mine", "--size", 8, "--epochs", 1, "--out", "two", "--quiet")[0] == 0
    code, out, err = mlpax("evaluate", "two", "digits")
    assert (code, out) == (2, "")
    assert "none of the model's classes ('x', 'y')" in err


def test_pictures_options_are_not_for_tables(mlpax, houses):
    code, out, err = mlpax("train", "houses.csv", "--colour")
    assert (code, out) == (2, "")
    assert (
        err == "mlpax: colour is an option for folders of pictures, which houses.csv is not; leave it out\n"
    )


def test_small_figures_are_not_rounded_away_and_odd_classes_are_kept(mlpax, tmp_path):
    x = np.arange(200.0)
    pl.DataFrame({"x": x, "y": 1e-7 * x}).write_csv("tiny.csv")
    code, out, _ = mlpax("train", "tiny.csv", "--target", "y", "--test", 0.2, "--epochs", 5, "--out", "run")
    assert code == 0
    assert "rmse  0.0000" not in mlpax("evaluate", "run")[1]
    assert "rmse: 0.000," not in out
    kind = np.where(x > 99, 'the 12" pipe', "a,b")
    pl.DataFrame({"x": x, "kind": kind}).write_csv("odd.csv")
    assert mlpax("train", "odd.csv", "--target", "kind", "--epochs", 5, "--out", "two", "--quiet")[0] == 0
    for name in ("p.csv", "p.parquet"):
        assert mlpax("predict", "two", "odd.csv", "--out", name)[0] == 0
    with open("p.csv", newline="") as file:
        assert pl.read_parquet("p.parquet").columns == next(csv.reader(file))
    assert 'probability_the 12" pipe' in pl.read_parquet("p.parquet").columns


@pytest.mark.parametrize("kind", ["scalar.npy", "scalar.npz", "member.npz", "complex.npz"])
def test_arrays_that_are_no_rows_are_refused(mlpax, houses, kind):
    import zipfile

    X = np.zeros((20, 4, 4), np.uint8)
    np.savez("set.npz", X=X + np.arange(20, dtype=np.uint8)[:, None, None], y=np.arange(20) % 2)
    assert mlpax("train", "set.npz", "--epochs", 1, "--out", "run", "--quiet")[0] == 0
    match kind:
        case "scalar.npy":
            np.save(kind, np.array(1.0))
        case "scalar.npz":
            np.savez(kind, X=np.array(1.0))
        case "complex.npz":
            np.savez(kind, X=X, y=np.ones(20, complex))
        case _:
            with zipfile.ZipFile(kind, "w") as file:
                file.writestr("X", b"no array")
    for words in (("predict", "run", kind, "--out", "p.csv"), ("evaluate", "run", kind)):
        code, out, err = mlpax(*words)
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert "unexpected" not in err


def test_rows_are_scored_by_the_weights_of_the_run(mlpax, tmp_path):
    """One row in four is wrong. It has the weight 3, as the three others together."""
    rows = ["x,w,y", *(f"{i % 2},{1 + 2 * (i % 4 == 0)},{'ab'[i % 2]}" for i in range(200))]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    words = ("--target", "y", "--weight", "w", "--epochs", 40, "--members", 1, "--out", "run", "--quiet")
    assert mlpax("train", "t.csv", *words)[0] == 0
    odd = ["x,w,y", *(f"{i % 2},{1 + 2 * (i % 4 == 0)},{'ba'[i % 2] if i % 4 == 0 else 'ab'[i % 2]}"
                      for i in range(200))]  # fmt: skip
    (tmp_path / "odd.csv").write_text("\n".join(odd))
    code, out, err = mlpax("evaluate", "run", "odd.csv", "--json")
    assert code == 0
    assert json.loads(out)["accuracy"] == 0.5
    assert "the rows count by their weights, column 'w'" in err
    (tmp_path / "plain.csv").write_text("\n".join(",".join(r.split(",")[::2]) for r in odd))
    code, out, err = mlpax("evaluate", "run", "plain.csv", "--json")
    assert json.loads(out)["accuracy"] == 0.75
    assert "plain.csv has no column 'w' of weights; all rows count the same" in err
    assert "count by their weights, column 'w'" in mlpax("evaluate", "run")[2]
