"""Reports, read as a browser reads them: what they say, that nothing in them runs, that all is one file."""

import dataclasses
import itertools
import json
import re
import shutil
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest
from served_models import client
from sklearn.metrics import r2_score, root_mean_squared_error

import mlpax
from mlpax.cli import main
from mlpax.data.named_sets import load as load_set
from mlpax.errors import InputError, MlpaxWarning
from mlpax.model.model_file import load
from mlpax.runs.figures import answers
from mlpax.runs.own_rows import held_out, own_rows
from mlpax.serve.document import figure, shown, table
from mlpax.serve.report import report

# Elements without an end tag, and all that a report may hold: nothing that runs or loads.
VOID = {"meta", "img", "br"}
HTML = {
    "html", "head", "meta", "title", "style", "body", "header", "h1", "h2", "h3", "p", "nav", "ol", "ul",
    "li", "a", "main", "section", "dl", "dt", "dd", "div", "span", "table", "caption", "thead", "tbody", "tr",
    "th", "td", "pre", "code", "figure", "figcaption", "img", "footer",
}  # fmt: skip
SVG = {
    "svg",
    "g",
    "path",
    "defs",
    "use",
    "text",
    "tspan",
    "clippath",
    "rect",
    "image",
    "lineargradient",
    "stop",
}


class Page(HTMLParser):
    """A page as a tree is built from it: its elements, its texts by the element around, its tables."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self.open, self.tables = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open, "an element is not closed"

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data

    def text(self, *tags):
        return " ".join(data for tag, data in self.texts if tag in tags)

    def row(self, name, within=""):
        """The cells beside a name, of the first row that has it, or the first of a table with this head."""
        found = [table for table in self.tables if not within or within in table[0]]
        return next(row[1:] for table in found for row in table if row[0] == name)


def checked(text):
    """Read a report, after a look at what must hold of any."""
    page = Page(text)
    assert {tag for tag, _ in page.elements} <= HTML | SVG
    ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert [id for id, count in ids.items() if count > 1] == []
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("href", "src", "xlink:href"):
            where = attributes.get(name, "#")
            assert where.startswith(("#", "data:image/png;base64,")), where
            assert len(where) < 2 or not where.startswith("#") or where[1:] in ids, f"{where} leads nowhere"
        assert tag != "img" or attributes["alt"]
        assert tag != "svg" or attributes["aria-label"]
    for used in re.findall(r"url\(#([^)]+)\)", text):
        assert used in ids
    assert "url(" not in re.sub(r"url\(#[^)]+\)", "", text)
    assert "default-src 'none'" in next(a["content"] for t, a in page.elements if "http-equiv" in a)
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    return page


def train(path, *words):
    with pytest.raises(SystemExit) as exit_:
        main.main([*map(str, words), "--out", str(path), "--quiet"])
    assert exit_.value.code == 0
    return path


def houses(rows=300):
    rng = np.random.default_rng(0)
    size, kind = rng.uniform(20, 200, rows).round(1), rng.integers(0, 4, rows)
    day = np.datetime64("2024-01-01") + rng.integers(0, 300, rows)
    price = 3 * size + 50 * kind + rng.normal(0, 5, rows)
    noise = rng.normal(0, 1, rows).round(3)
    names = ["a", "b", "<script>alert(1)</script>", '"><img src=x onerror=alert(2)>']
    frame = pl.DataFrame({"size": size, "kind": [names[k] for k in kind], "sold": day, "noise": noise,
                          "same": ["x"] * rows, "price": price.round(2)})  # fmt: skip
    return frame.with_columns(
        pl.when(pl.int_range(rows) % 50 == 7).then(None).otherwise("price").alias("price")
    )


SHORT = ("--epochs", "20", "--patience", "20", "--members", "2", "--hidden", "16")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two tables: a regression whose names are hostile, and a classification with gaps."""
    folder = tmp_path_factory.mktemp("tables")
    houses().write_csv(folder / "houses.csv")
    frame = houses().drop_nulls().with_columns(
        pl.when(pl.int_range(pl.len()) % 9 == 0).then(None).otherwise("size").alias("size"),
        pl.when(pl.col("price") > 400).then(pl.lit("$dear$ <b>")).otherwise(pl.lit("cheap")).alias("price"),
    )  # fmt: skip
    frame.write_csv(folder / "dear.csv")
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory, files):
    folder = tmp_path_factory.mktemp("runs")
    train(folder / "digits", "train", "digits", "--epochs", 3)
    train(folder / "houses", "train", files / "houses.csv", "--target", "price", *SHORT)
    train(folder / "dear", "train", files / "dear.csv", "--target", "price", "--test", 0.3, *SHORT)
    train(folder / "folds", "train", files / "houses.csv", "--target", "price", "--folds", 3, *SHORT)
    train(folder / "sweep", "sweep", "digits", "--epochs", 2, "--learning-rate", "0.01:1:log", "--trials", 60,
          "--hidden", "8", "--hidden", "16")  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def pages(runs):
    return {name: report(runs / name) for name in ("digits", "houses", "dear", "folds", "sweep")}


def copied(runs, name, folder):
    shutil.copytree(runs / name, folder / name)
    return folder / name


@pytest.mark.parametrize("name", ["digits", "houses", "dear", "folds", "sweep"])
def test_a_report_is_one_file_in_which_nothing_runs(pages, runs, files, name):
    page = checked(pages[name])
    assert len(pages[name]) < 1_000_000
    assert str(runs) not in pages[name]
    assert str(files) not in pages[name]
    assert page.text("h1") == name
    assert page.text("title") == name


@pytest.mark.parametrize("name", ["digits", "dear"])
def test_the_same_run_gives_the_same_text(runs, pages, name):
    assert report(runs / name) == pages[name]


def test_names_are_shown_and_do_not_run(pages):
    page = checked(pages["houses"])
    cells = page.text("td")
    assert "<script>alert(1)</script>" in cells
    assert '"><img src=x onerror=alert(2)>' in cells
    assert "$dear$ <b>" in checked(pages["dear"]).text("th")
    assert "$dear$ <b>" in checked(pages["dear"]).text("text")  # in the drawings, too


def test_a_report_of_pictures(runs, pages):
    page, model = checked(pages["digits"]), load(runs / "digits")
    digits = load_set("digits")
    right = float((model.predict(digits.X_test) == digits.y_test).mean())
    assert page.row("accuracy")[0] == shown(right)
    assert page.row("test") == ["359", "held out for the final score"]
    assert page.row("3")[0] == str(int((digits.y_test == 3).sum()))
    assert page.row("kept weights") == ["of epoch 3"]
    drawn = {attributes["id"] for tag, attributes in page.elements if tag == "figure"}
    names = ("curves", "confusion", "calibration", "roc", "precision_recall", "mistakes", "weights")
    assert drawn == {f"figure-{name}" for name in names}
    assert page.row("epochs (changed)")[0] == "3"
    assert page.row("hidden")[0] == "128"
    fingerprint = json.loads((runs / "digits/config.json").read_text())["fingerprint"]
    assert page.row("fingerprint (SHA-256 of all rows)") == [fingerprint]
    assert page.row("numpy") == [np.__version__]
    assert page.text("code").startswith("mlpax train digits --recipe default --epochs 3 --backend ")


def test_a_report_of_a_regression(pages):
    page = checked(pages["houses"])
    assert "6 rows without a target" in page.text("li")
    assert page.row("training")[0] == "235"
    assert page.row("validation") == ["59", "chose the epoch to keep"]
    assert page.row("same", "read as") == ["left out", "the same value in all rows", ""]
    assert page.row("kind", "read as")[1].startswith("4 levels: ")
    assert page.row("sold", "read as")[0] == "date"
    assert re.fullmatch(r"median 2024-\d\d-\d\d", page.row("sold", "read as")[1])
    importances = next(t for t in page.tables if t[0] == ["column", "rise of RMSE", "deviation"])
    assert importances[1][0] == "size"  # which decides the price
    assert {row[0] for row in importances[1:]} == {"size", "kind", "sold", "noise"}
    worst = next(t for t in page.tables if t[0][:4] == ["rank", "true", "predicted", "error"])
    errors = [abs(float(row[3])) for row in worst[1:]]
    assert len(errors) == 10
    assert errors == sorted(errors, reverse=True)
    assert "They chose the epoch to keep" in page.text("p")
    drawn = {attributes["id"] for tag, attributes in page.elements if tag == "figure"}
    assert drawn == {
        f"figure-{name}" for name in ("curves", "predicted", "residuals", "importance", "dependence")
    }


def test_the_worst_predictions_are_the_rows_of_the_table(pages, files):
    """What a report says of a row is what the file says of it."""
    rows = {(f"{row['price']:.4g}", f"{row['size']:.10g}", row["kind"], f"{row['noise']:.10g}")
            for row in houses().drop_nulls("price").iter_rows(named=True)}  # fmt: skip
    page = checked(pages["houses"])
    head, *worst = next(t for t in page.tables if t[0][:4] == ["rank", "true", "predicted", "error"])
    for row in worst:
        cells = dict(zip(head, row, strict=True))
        assert (cells["true"], cells["size"], cells["kind"], cells["noise"]) in rows
        assert re.fullmatch(r"2024-\d\d-\d\d", cells["sold"])


@pytest.mark.parametrize(
    ("words", "scores"),
    [
        (("--target", "price"), {"RMSE": "test_rmse"}),
        (("--target", "kind"), {"accuracy": "test_accuracy"}),
        (("--target", "price", "--folds", 3), {"RMSE": "fold_rmse"}),
        (("--target", "price,size"), {"R²": "test_r2"}),
    ],
)
def test_rows_count_by_the_weights_of_the_run(tmp_path, words, scores):
    """Rows of a small price count a thousandth: the scores are nearly those of the others alone."""
    table = houses().drop_nulls("price")
    dear = pl.col("price") > table["price"].median()
    table.with_columns(w=pl.when(dear).then(1.0).otherwise(0.001)).write_csv(tmp_path / "t.csv")
    more = () if "--folds" in words else ("--test", 0.3)
    run = train(tmp_path / "run", "train", tmp_path / "t.csv", "--weight", "w", *words, *more, *SHORT)
    page, result = checked(report(run)), json.loads((run / "result.json").read_text())
    assert "counts by its weight in the column “w”, as in the training" in page.text("p")
    held = held_out(run, load(run), own_rows(run))
    truth, found = answers(held)
    weight = np.concatenate([part.weight for part in held])
    assert {*weight.tolist()} == {1.0, np.float32(0.001)}
    if "kind" in words:
        plain, expected = (np.average(found.argmax(axis=1) == truth, weights=w) for w in (None, weight))
    elif "price,size" in words:
        plain, expected = (r2_score(truth, found, sample_weight=w) for w in (None, weight))
    else:
        plain, expected = (root_mean_squared_error(truth, found, sample_weight=w) for w in (None, weight))
    for title, name in scores.items():
        assert page.row(title, "value")[0] == shown(float(expected)) != shown(float(plain))
        assert result["metrics"][name] == pytest.approx(expected, rel=1e-5)
    if more:
        with pytest.warns(MlpaxWarning, match="the rows count by their weights, column 'w'"):
            of_run = mlpax.load_run(run).evaluate().figures
        assert of_run[name.removeprefix("test_")] == pytest.approx(expected, rel=1e-5)


def test_a_report_of_classes(runs, pages):
    page, model = checked(pages["dear"]), load(runs / "dear")
    (held,) = held_out(runs / "dear", model, own_rows(runs / "dear"))
    accuracy = float((model.forward(held.X).argmax(axis=1) == held.y).mean())
    assert held.new
    assert held.trained == int(page.row("training")[0])
    assert page.row("accuracy")[0] == shown(accuracy)
    assert page.row("size", "read as")[2] == "yes"  # cells are missing
    assert "missing" in page.text("td")
    assert page.row("test") == ["88", "held out for the final score"]


def test_folds_are_scored_by_networks_that_have_not_seen_the_rows(runs, pages):
    result = json.loads((runs / "folds/result.json").read_text())
    page = checked(pages["folds"])
    assert page.row("RMSE")[0] == shown(result["metrics"]["fold_rmse"])
    assert page.row("training") == ["294", "in 3 folds, each held out once"]
    truth, found = answers(held_out(runs / "folds", load(runs / "folds"), own_rows(runs / "folds")))
    assert len(truth) == len(found) == 294
    assert "--folds 3" in page.text("code")
    one = checked(report(runs / "folds/fold-2"))
    assert "This run is fold 2 of 3; the line trains all folds." in one.text("p")
    assert "--folds 3" in one.text("code")
    assert "--fold " not in one.text("code")


def test_a_report_of_a_sweep(runs, pages):
    page = checked(pages["sweep"])
    lines = (runs / "sweep/leaderboard.csv").read_text().splitlines()
    board = page.tables[0]
    assert board[0] == [
        "trial",
        "validation accuracy",
        "epochs trained",
        "seconds",
        "hidden",
        "learning rate",
    ]
    assert len(board) == 51
    assert [row[0] for row in board[1:4]] == [line.split(",")[1] for line in lines[1:4]]
    assert "And 10 more, in leaderboard.csv." in page.text("p")
    drawn = {attributes["id"] for tag, attributes in page.elements if tag == "figure"}
    assert {"sweep-figure-scores", "sweep-figure-curves", "best-figure-confusion"} <= drawn
    best = json.loads((runs / "sweep/sweep.json").read_text())["best"]
    assert f"--learning-rate {best['learning_rate']}" in page.text("code")


def test_a_sweep_that_was_interrupted(runs, tmp_path):
    path = copied(runs, "sweep", tmp_path)
    shutil.rmtree(path / "best")
    config = json.loads((path / "sweep.json").read_text())
    del config["best"], config["score"]
    (path / "sweep.json").write_text(json.dumps(config))
    journal = (path / "journal.jsonl").read_bytes().splitlines(keepends=True)
    half = journal[0] + journal[1][:50]
    (path / "journal.jsonl").write_bytes(half)
    page = checked(report(path))
    assert "The sweep has not come to its end: 16 of 60 trials have a score." in page.text("p")
    assert "The best trial was not trained again as a run." in page.text("p")
    assert (path / "journal.jsonl").read_bytes() == half  # a report only reads


def test_a_run_that_was_killed(runs, tmp_path):
    path = copied(runs, "digits", tmp_path)
    for name in ("result.json", "model.safetensors"):
        (path / name).unlink()
    page = checked(report(path))
    assert "The run has no model yet." in page.text("p")
    assert page.row("state") == ["interrupted"]
    assert [a["id"] for tag, a in page.elements if tag == "figure"] == ["figure-curves"]
    for name in ("metrics.csv", "curves.png"):
        (path / name).unlink()
    assert not [tag for tag, _ in checked(report(path)).elements if tag == "figure"]


@pytest.mark.parametrize("change", ["moved", "changed"])
def test_data_that_are_not_there_any_more(mlpax, runs, files, tmp_path, change):
    path = copied(runs, "houses", tmp_path)
    config = json.loads((path / "config.json").read_text())
    config["dataset"] = str(tmp_path / "houses.csv")
    (path / "config.json").write_text(json.dumps(config))
    if change == "changed":
        houses(200).write_csv(tmp_path / "houses.csv")
    code, out, err = mlpax("report", path)
    assert (code, out) == (0, f"{path}/report.html\n")
    assert err.count("\n") == 1
    assert err.endswith("; the report lacks what needs the rows\n")
    page = checked((path / "report.html").read_text())
    assert "This report lacks what needs the rows." in page.text("p")
    assert page.row("validation RMSE")  # what the run has recorded
    assert not [a["id"] for tag, a in page.elements if tag == "figure" and a["id"] != "figure-curves"]
    assert "--epochs 20" in page.text("code")  # which the number of rows no longer tells
    code, _, err = mlpax("report", path, "--data", files / "houses.csv", "--out", "whole.html")
    assert (code, err) == (0, "")
    assert "figure-predicted" in (tmp_path / "whole.html").read_text()


def test_a_model_of_other_data_is_not_scored(runs, tmp_path):
    path, notices = copied(runs, "houses", tmp_path), []
    shutil.copy(runs / "dear/model.safetensors", path)
    page = checked(report(path, notice=notices.append))
    assert len(notices) == 1
    assert "was trained on other data than " in notices[0]
    assert "figure-predicted" not in {a.get("id") for _, a in page.elements}


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("digits/config.json", "{", "config.json is damaged"),
        ("digits/metrics.csv", "epoch,loss,seconds\n1,x,1\n", "metrics.csv is damaged"),
        ("digits/result.json", "[]", "result.json is damaged"),
        ("digits/model.safetensors", "none", "is no model file"),
        ("sweep/sweep.json", "{}", "sweep.json is damaged"),
        ("sweep/journal.jsonl", "[1]\n", "journal.jsonl is damaged in line 1"),
        ("sweep/journal.jsonl", "", "has ended yet"),
    ],
)
def test_a_damaged_file_is_one_line(mlpax, runs, tmp_path, file, text, says):
    path = copied(runs, file.split("/")[0], tmp_path)
    (tmp_path / file).write_text(text)
    code, out, err = mlpax("report", path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert says in err
    assert not (path / "report.html").exists()


def test_what_is_no_run_is_one_line(mlpax, tmp_path):
    message = "mlpax: no run and no sweep at x; give a folder that mlpax train or mlpax sweep has made\n"
    assert mlpax("report", "x") == (2, "", message)


def test_words_and_numbers_for_a_reader():
    assert [shown(v) for v in (0.98764, 17604.05, 1e-9, 12345, True, None, "a", (8, 16))] == [
        "0.9876", "17,604", "1e-09", "12,345", "yes", "", "a", "8,16"
    ]  # fmt: skip
    html = table("a <b>", ("x", "\x1b"), [("<i>", 0.5)])
    assert "a &lt;b&gt;" in html
    assert r'<th scope="col">\x1b</th>' in html
    assert '<th scope="row">&lt;i&gt;</th><td class="number">0.5</td>' in html


def test_a_large_drawing_becomes_a_picture():
    from mlpax import plots

    rng = np.random.default_rng(0)
    many = {f"run {k}": [{"epoch": i + 1, "loss": x, "valid_rmse": x, "seconds": 1}
                         for i, x in enumerate(rng.uniform(size=900))] for k in range(30)}  # fmt: skip
    html = figure("many", plots.comparison(many), 'the "label"')
    assert html.count("<img ") == 1
    assert 'alt="the &quot;label&quot;"' in html
    few = figure("few", plots.comparison(dict(list(many.items())[:1])), "label")
    assert "<svg " in few
    assert "<metadata" not in few


def test_a_report_needs_no_network_and_prints(pages):
    for text in pages.values():
        assert "http://" not in re.sub(r'xmlns(:xlink)?="[^"]+"', "", text)
        assert "https://" not in text
        assert "@media print" in text


def test_an_error_of_the_run_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="no run and no sweep at"):
        report(tmp_path)


def test_settings_are_all_there(pages):
    from mlpax.recipes import Recipe

    page = checked(pages["digits"])
    names = [row[0].removesuffix(" (changed)") for t in page.tables if t[0][0] == "setting" for row in t[1:]]
    assert names == [f.name.replace("_", " ") for f in dataclasses.fields(Recipe)]


def test_a_service_reports_the_model_that_answers_and_names_no_folder(runs, files, tmp_path):
    """The file in the folder is damaged, and later the table is moved."""
    folder = copied(runs, "houses", tmp_path)
    model = load(folder)
    (folder / "model.safetensors").write_bytes(b"damaged")
    app = client(model, path=folder)
    assert app.get("/report").status_code == 200
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace(str(files), "/home/ann/secret"))
    found = client(model, path=folder).get("/report").text
    assert "no file or folder houses.csv" in found
    assert "mlpax train houses.csv" in found
    assert "secret" not in found
    hidden = client(model, path=folder, report=False)
    assert hidden.get("/model").json()["report"] is False
    assert "--no-report" in hidden.get("/report").json()["error"]["message"]
    (folder / "config.json").write_text("{")
    found = client(model, path=folder).get("/report")
    assert found.status_code == 404
    assert str(tmp_path) not in found.text
