"""Commands that only read: data, trained networks, runs."""

import csv
import time
from pathlib import Path
from shlex import quote
from typing import Annotated, cast

import typer

from mlpax.cli.options import COLUMNS, FILE, Setting, fields_of, reading_of, with_options
from mlpax.cli.screen import output, say, show, show_json, table, table_of_runs
from mlpax.data.reading import Reading
from mlpax.errors import InputError, counted, listed, options_of
from mlpax.wording import between, rates

__all__ = ["DataDir", "Json", "Moved", "RunArgument", "compare", "describe", "evaluate", "importance",
           "inspect", "list_runs", "plot", "predict", "report"]  # fmt: skip

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, made by mlpax train.")]
DataDir = Annotated[
    Path | None, typer.Option(help="Folder with the IDX files of data sets, or with one folder per set.",
                              envvar="MLPAX_DATA_DIR")
]  # fmt: skip
Moved = Annotated[
    Path | None, typer.Option("--data", help="Where the run's own data are now, if they have moved.")
]
OF_OTHER_ROWS = {
    "Text and Excel files": fields_of(Reading, FILE),
    "Pictures": fields_of(Reading, ("invert", "skip_bad")),
    "Data": fields_of(Reading, ("memory",)),
}
LONG = 10  # seconds from which predictions tell the rates of their stages
Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]


@with_options(
    {
        "Data": fields_of(Reading, ("target", "task", "memory")),
        "Columns of a table": fields_of(Reading, COLUMNS),
        "Text and Excel files": fields_of(Reading, FILE),
    }
)
def describe(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A table: a file, a folder or pattern of parts, or -.")
    ],
    *,
    json_: Json = False,
    **settings: Setting | None,
) -> None:
    """Show a table's columns, their kinds, and the target; and the command that trains on them."""
    from mlpax.data import describe, tables
    from mlpax.runs.command import words_of

    reading = reading_of(settings)
    notices: list[str] = []
    notice = reading.told(notices.append)
    frame = tables.read_table(file, reading.file, notice)
    found = describe.describe(frame, reading, notice)
    command = " ".join(["mlpax train", quote(str(file)), *words_of(reading), *options_of(notices)])
    if json_:
        columns = [fact._asdict() for fact in found.facts]
        target = found.targets[0] if len(found.targets) == 1 else found.targets
        facts = {"rows": frame.height, "target": target, "task": found.task, "columns": columns}
        show_json(facts | {"notices": notices, "command": command})
        return
    size = f"{counted(frame.height, 'row')}, {counted(frame.width, 'column')}"
    are = "target is" if len(found.targets) == 1 else "targets are"
    task = f", a {found.task}" if found.task else ""
    show(f"{size}; the {are} {' and '.join(map(repr, found.targets))}{task}")
    table([found.facts[0]._fields, *found.facts])
    for text in notices:
        say(text)
    show("", "To train on what is said here:", command)


@with_options(OF_OTHER_ROWS)
def evaluate(
    run: RunArgument,
    data: Annotated[
        str | None,
        typer.Argument(
            help="A table, labelled pictures, or a named data set (its test rows) [the run's held-out rows]."
        ),
    ] = None,
    *,
    moved: Moved = None,
    data_dir: DataDir = None,
    json_: Json = False,
    **settings: Setting | None,
) -> None:
    """Score a trained network on rows it was not trained on.

    Behind each score stands its 95 % interval over resamples of the rows. If the run was trained with
    --weight, the rows count by that column.
    """
    from mlpax.model.model_file import load
    from mlpax.runs.examples import examples, scores_of
    from mlpax.scores import titled

    model = load(run)
    found = scores_of(model, examples(model, run, data, data_dir, moved, reading_of(settings), say), say)
    figures, intervals = found.figures, found.intervals
    if json_:
        show_json({**figures, "intervals": intervals})
        return
    numbers = [(name, value) for name, value in figures.items() if isinstance(value, (int, float))]
    table([(titled(name), value, between(intervals.get(name))) for name, value in numbers])
    if "targets" in figures:
        names = ("accuracy", "log_loss", "roc_auc", "ece") if model.classes else ("rmse", "mae", "r2")
        of_one = [(name, *map(own.get, names)) for name, own in figures["targets"].items()]
        table([("target", *map(titled, names)), *of_one], names=(0,))
    if "confusion" in figures and len(model.classes) <= 20:
        show("", "F1, and the number of rows predicted as each class:")
        counts = zip(model.classes, figures["f1"].items(), figures["confusion"], strict=True)
        rows: list[tuple[object, ...]] = [("true", "F1", "", *model.classes)]
        rows += [(c, f1, between(intervals.get(f"f1/{name}")), *row) for c, (name, f1), row in counts]
        table(rows, names=(0, *range(3, len(rows[0]))))


@with_options(OF_OTHER_ROWS)
def predict(
    run: RunArgument,
    data: Annotated[
        str,
        typer.Argument(
            help="A table, or - for one from standard input; pictures or arrays; a named set (its test rows)."
        ),
    ],
    *,
    out: Annotated[
        Path,
        typer.Option(
            help="CSV or Parquet file to write: predictions and probabilities; - for standard output."
        ),
    ],
    safe_csv: Annotated[
        bool,
        typer.Option(
            "--safe-csv", help="Write ' before texts of a CSV file that a spreadsheet would run as a formula."
        ),
    ] = False,
    disagreement: Annotated[
        bool,
        typer.Option(
            "--disagreement", help="Add a column that tells how far the members of an ensemble disagree."
        ),
    ] = False,
    interval: Annotated[
        float | None,
        typer.Option(
            help="Add a range for each value, or a set of classes, that holds the truth this often, as 0.9."
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Write only these columns, as prediction,probability_yes, in this order [all]."),
    ] = None,
    data_dir: DataDir = None,
    **settings: Setting | None,
) -> None:
    """Predict each row of a file, with class probabilities.

    Of a table that takes long it also prints how many rows a second each stage handles.
    """
    from mlpax.data.sources import source
    from mlpax.model.model_file import load
    from mlpax.stages import Clock

    model = load(run)
    to_stdout = str(out) == "-"
    _check_predictions(out, data, to_stdout=to_stdout)
    found = source(data, data_dir, model=model).to_predict(model, say, reading_of(settings))
    clock, start = found.clock or Clock(), time.perf_counter()
    rows = model.write_predictions(
        found.batches, output() if to_stdout else out, files=found.files, safe_csv=safe_csv,
        disagreement=disagreement, interval=interval, clock=clock,
        columns=None if columns is None else next(csv.reader([columns], skipinitialspace=True)),
    )  # fmt: skip
    if to_stdout:
        say(f"{rows} predictions")
    else:
        show(f"{out}: {rows} predictions")
    if (seconds := time.perf_counter() - start) >= LONG:
        say(rates(rows, seconds, clock.seconds))


def _check_predictions(out: Path, data: str, *, to_stdout: bool) -> None:
    """Raise an error if the predictions of `data` cannot be written to `out`."""
    if not to_stdout:
        check_out(out)
    if not to_stdout and out.suffix not in (".csv", ".parquet"):
        raise InputError(f"{out} is no name for predictions; end it with .csv or .parquet")
    if out.exists() and Path(data).exists() and out.samefile(data):
        raise InputError(f"{out} holds the rows to predict; --out takes another file")


def check_out(out: Path) -> None:
    """Raise an error if `out` cannot be written, before the work begins."""
    if out.is_dir():
        raise InputError(f"{out} is a folder; --out takes a file")
    if not out.parent.is_dir():
        raise InputError(f"{out.parent} is no folder; make it first, or choose another --out")


@with_options({"Text and Excel files": fields_of(Reading, FILE), "Data": fields_of(Reading, ("memory",))})
def importance(
    run: RunArgument,
    data: Annotated[str | None, typer.Argument(help="A table [the run's held-out rows].")] = None,
    *,
    repeats: Annotated[int, typer.Option(help="Number of shuffles per column.")] = 5,
    score: Annotated[
        str | None,
        typer.Option(help="What to measure: log_loss or accuracy of classes [log_loss], rmse of values."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Picture to write [importance.png in the run].")] = None,
    moved: Moved = None,
    json_: Json = False,
    **settings: Setting | None,
) -> None:
    """Show how much worse the score gets when a column is shuffled."""
    from mlpax import plots
    from mlpax.model.model_file import load
    from mlpax.runs.examples import examples

    model = load(run)
    if not model.columns:
        raise InputError(f"{run} was trained on images, which have no columns; give a run on a table")
    out = out or (run if run.is_dir() else run.parent) / "importance.png"
    check_out(out)
    X, y, *_ = examples(model, run, data, None, moved, reading_of(settings), say)
    rows = model.importance_of(X, y, repeats=repeats, score=score)
    name = model.score_name if score is None else score
    what = f"{'loss' if name in ('accuracy', 'r2') else 'rise'} of {name.replace('_', ' ')}"
    plots.save(plots.importance(rows, what), out)
    if json_:
        show_json([row._asdict() for row in rows])
        return
    table([("column", what, "deviation"), *rows])
    show(out)


def plot(
    run: RunArgument,
    *,
    out: Annotated[Path | None, typer.Option(help="Folder for the pictures [the run's folder].")] = None,
    moved: Moved = None,
    data_dir: DataDir = None,
) -> None:
    """Draw the curves and pictures of the predictions.

    A classification gets its confusion matrix and calibration. Pictures also get the worst mistakes and the
    first layer's weights. A regression gets its predictions against the true values.
    """
    from mlpax import plots
    from mlpax.model.model_file import load
    from mlpax.runs.figures import figures_of
    from mlpax.runs.own_rows import held_out, own_rows
    from mlpax.runs.run_files import read_config

    config, model, folder = read_config(run), load(run), out or run
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        raise InputError(f"{there} is a file; --out takes a folder")
    dataset = own_rows(run, data_dir, moved)
    figures = figures_of(run, config, model, held_out(run, model, dataset, data_dir, moved))
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        plots.save(figure, folder / f"{name}.png")
        show(folder / f"{name}.png")


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, or of a sweep.")],
    *,
    out: Annotated[Path | None, typer.Option(help="HTML file to write [report.html in the folder].")] = None,
    moved: Moved = None,
    data_dir: DataDir = None,
) -> None:
    """Write a report of a run or a sweep for others: one HTML file.

    It holds the data and how they were read, scores, curves, pictures of the predictions, which columns
    matter, the settings, and the command that trains the same network.
    """
    from mlpax.atomic import atomic
    from mlpax.serve import report as reports

    path = out or run / "report.html"
    if out:
        check_out(out)
    text = reports.report(run, data_dir=data_dir, moved=moved, notice=say)
    with atomic(path) as file:
        file.write(text.encode())
    show(path)


def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A model file, or a run's folder.")],
    *,
    json_: Json = False,
) -> None:
    """Show what a model file holds, without running it."""
    from mlpax.model.model_file import format_of, load

    model = load(file)
    facts: dict[str, object] = {
        "format": format_of(file),
        "task": model.task,
        "members": len(model.networks),
        "layers": list(model.sizes),
        "parameters": sum(network.parameters for network in model.networks),
        "activation": model.activation,
        "classes": model.named_classes,
        "image": list(model.image_shape or ()),
    }
    claims = {"metrics": model.metrics, "provenance": model.provenance, "recipe": model.recipe}
    if json_:
        show_json(facts | claims)
        return
    between = {"layers": " - ", "image": "x"}
    for name, value in facts.items():
        if isinstance(value, dict):
            each = cast("dict[str, list[object]]", value).items()
            facts[name] = "; ".join(f"{target}: {', '.join(map(str, own))}" for target, own in each)
        if isinstance(value, (list, tuple)):
            facts[name] = between.get(name, ", ").join(map(str, cast("list[object]", value)))
    table([(name, value) for name, value in facts.items() if value != ""])
    if said := [
        (name.replace("_", " "), value)
        for part in ("metrics", "provenance")
        for name, value in claims[part].items()
    ]:
        show("", "What the file says of itself:")
        table(said)


def list_runs(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that contains the runs.")] = Path(
        "runs"
    ),
    *,
    json_: Json = False,
) -> None:
    """List the runs in a folder, with their scores."""
    from mlpax.runs import run_files

    rows = run_files.summaries(folder, say)
    if json_:
        show_json([row._asdict() for row in rows])
        return
    table_of_runs(rows)


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Folders of runs, made by mlpax train.")],
    *,
    out: Annotated[Path, typer.Option(help="Picture to write.")] = Path("comparison.png"),
    json_: Json = False,
) -> None:
    """Compare runs: their scores, different settings, and curves."""
    from mlpax import plots
    from mlpax.runs import run_files

    check_out(out)
    whole = run_files.undamaged(runs, say)
    configs = [run_files.read_config(run) for run in whole]
    rows = [run_files.summary(run) for run in whole]
    histories = {str(run): run_files.read_history(run) for run in whole}
    begun = {run: history for run, history in histories.items() if history}  # the others have no curve
    plots.save(plots.comparison(begun or histories), out)
    if len({(config.dataset, config.fingerprint) for config in configs}) > 1:
        names = listed(sorted({config.dataset for config in configs}))
        say(f"the runs have different data or held-out rows, so their scores are not comparable: {names}")
    settings = [config.settings() for config in configs]
    differing = [name for name, value in settings[0].items() if any(one[name] != value for one in settings)]
    if json_:
        own = [{"settings": {name: one[name] for name in differing}} for one in settings]
        show_json([row._asdict() | more for row, more in zip(rows, own, strict=True)])
        return
    table_of_runs(rows)
    if differing:
        show("", "Settings that differ:")
        lines = [(name, *(_shown(one[name]) for one in settings)) for name in differing]
        table([("", *(row.run for row in rows)), *lines], names=range(1, len(rows) + 1))
    show("", out)


def _shown(value: object) -> str:
    """Return a setting as the command line takes it: `128,64` for a tuple."""
    return "" if value is None else str(value).strip("(,)").replace(", ", ",")
