"""Write a report of a run, or of a sweep, for people who were not there: one HTML file."""

import dataclasses
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from mlpax import __version__, plots
from mlpax.bootstrap import intervals_of_classes, intervals_of_targets
from mlpax.data.columns import Category, Column, Date, LeftOut, Number, Text
from mlpax.data.dataset import Dataset
from mlpax.data.sources import short_name
from mlpax.errors import InputError, Notice, counted, listed
from mlpax.model.dependence import Dependence, partial_dependence
from mlpax.model.model import Model
from mlpax.model.model_file import load
from mlpax.recipes import Recipe
from mlpax.runs.command import anywhere, command_of, differing, without_folders
from mlpax.runs.figures import answers, figures_of
from mlpax.runs.own_rows import Held, held_out, own_rows
from mlpax.runs.run_files import (
    Config,
    Result,
    Summary,
    read_config,
    read_history,
    read_json,
    read_result,
    summary,
)
from mlpax.runs.sweep import Sweep, pictures, read_sweep
from mlpax.scores import Importance, classification, several_classes, titled
from mlpax.serve.document import (
    Html,
    Section,
    bullets,
    code,
    figure,
    page,
    paragraph,
    section,
    shown,
    subtitle,
    table,
    tiles,
)
from mlpax.space import Range, written

__all__ = ["report"]

ROWS = 1000  # held-out rows that importance and dependence are measured on
TINY = 1e-12  # a loss that rounding makes
REPEATS = 3  # shuffles of each column
MOST_COLUMNS = 300  # of which the importance is measured: more would take minutes
SHOWN = 30  # columns in the table of importance
DRAWN = 6  # columns whose dependence is drawn
LINES = 8  # classes in it
CLASSES = 20  # in a table
LISTED = 100  # columns in the table of what was read as what
LEVELS = 6  # of a category in it
WORST = 10  # predictions in a table
COLUMNS = 4  # beside them
TRIALS = 50  # of a sweep
ACROSS = 2  # panels of the curves beside each other


def report(
    run: str | Path,
    *,
    data_dir: Path | None = None,
    moved: Path | None = None,
    notice: Notice = lambda text: None,
    model: Model | None = None,
) -> str:
    """Return a report of a run, or of a sweep with its best run, as the text of one HTML file.

    The file needs no other file, runs no script and loads nothing. The same run gives the same text. It names
    files and folders without the folders around them, because it is made to be sent to others.

    Parameters
    ----------
    run : path
        The folder of a run or of a sweep.
    data_dir : path, optional
        Folder of the known sets' files. By default the folder that the run was trained with.
    moved : path, optional
        Where the run's own data are now, if they have moved.
    notice : callable, optional
        Called with a line if the data are not there any more, or have changed. The report then says so, and
        lacks what needs the rows.
    model : Model, optional
        The network of the run. By default the one in the folder, which may have been replaced.

    Raises
    ------
    InputError
        If the folder holds neither a run nor a sweep, or a file in it is damaged.

    Examples
    --------
    >>> Path("report.html").write_text(report("runs/digits-default-1"))
    """
    run = Path(run)
    name = run.resolve().name
    foot = f"Written by mlpax {__version__}."
    if os.path.lexists(run / "config.json"):
        known = _known(run, data_dir, moved, notice, model)
        return page(name, _lead(known), _sections(known), foot)
    if not os.path.lexists(run / "sweep.json"):
        raise InputError(
            f"no run and no sweep at {run}; give a folder that mlpax train or mlpax sweep has made"
        )
    found, asked = read_sweep(run)
    best = run / "best"
    known = _known(best, data_dir, moved, notice) if os.path.lexists(best / "config.json") else None
    sections = [*_of_sweep(found, asked), *([] if known is None else _sections(known, "best-"))]
    return page(name, _lead_of_sweep(found, asked, known), sections, foot)


# ---- what is known


@dataclass(frozen=True)
class _Known:
    """What is known of a run.

    Attributes
    ----------
    path, config, summary, result
        As `run_files` reads them.
    started, python : str
        From config.json: when the run was begun, and by which Python.
    model, dataset : optional
        None where there are none.
    held : list of Held
        The rows that the run held out; empty without data.
    notices : list of str
        What reading the data tells.
    lacks : str
        Why the data are not there; empty if they are.
    """

    path: Path
    config: Config
    summary: Summary
    result: Result | None
    started: str
    python: str
    model: Model | None
    dataset: Dataset | None
    held: list[Held]
    notices: list[str]
    lacks: str

    @property
    def folds(self) -> int:
        """The folds of a training on folds; 0 of a run."""
        return 0 if self.config.options.fold else self.config.options.folds

    @property
    def rows(self) -> int | None:
        """The training rows by which the recipe was settled, if they are known."""
        if self.folds:
            return self.held[0].trained if self.held else None
        return None if self.dataset is None else self.dataset.rows_trained

    @property
    def task(self) -> str | None:
        if self.model is not None:
            return self.model.task
        if self.dataset is None:
            return self.config.options.task
        return "classification" if self.dataset.classes else "regression"

    @property
    def data(self) -> str:
        """The name of the data, without the folders above."""
        return Path(self.config.dataset).name


def _known(
    run: Path, data_dir: Path | None, moved: Path | None, notice: Notice, model: Model | None = None
) -> _Known:
    config, about = read_config(run), read_json(run / "config.json")
    if model is None and os.path.lexists(run / "model.safetensors"):
        model = load(run)
    notices, held, dataset, lacks = list[str](), list[Held](), None, ""
    try:
        dataset = own_rows(run, data_dir, moved, notices.append)
        if model is not None:
            _check_fit(run, model, dataset)
            held = held_out(run, model, dataset, data_dir, moved)
    except (InputError, OSError) as error:
        dataset, held, lacks = None, [], str(error)
        notice(f"{lacks}; the report lacks what needs the rows")
    paths = [run, data_dir, moved, config.dataset, config.data_dir, config.options.valid_data]
    told = [without_folders(text, paths) for text in notices]
    return _Known(
        run, anywhere(config), summary(run), read_result(run), str(about.get("started", "")),
        str(about.get("python", "")), model, dataset, held, told, without_folders(lacks, paths),
    )  # fmt: skip


def _check_fit(run: Path, model: Model, dataset: Dataset) -> None:
    """Raise an error if a model was not trained on these data: somebody has exchanged the files."""
    names = [c.name for c in dataset.columns.columns] if dataset.columns else []
    own = [c.name for c in model.columns.columns] if model.columns else []
    classes = tuple(target.classes for target in model.targets if target.classes)
    if (classes, model.image_shape, own) != (dataset.each_classes, dataset.image_shape, names):
        raise InputError(f"{run / 'model.safetensors'} was trained on other data than {dataset.name}")


# ---- the start of the page


def _lead(known: _Known) -> Iterator[Html]:
    """Yield what a reader should know first."""
    yield paragraph(_in_words(known), kind="lead")
    if known.lacks:
        yield paragraph(
            f"The data could not be read again: {known.lacks}. This report lacks what needs the rows.",
            kind="note",
        )
    if known.model is None:
        yield paragraph(
            "The run has no model yet. This report holds the settings and the epochs so far.", kind="note"
        )
    yield tiles(_glance(known))


def _in_words(known: _Known) -> str:
    """Return what the network does, in two sentences."""
    model, config = known.model, known.config
    if model is None:
        return f"A training of the recipe {config.recipe_name} on {known.data}. State: {known.summary.state}."
    several = f"{len(model.networks)} networks" if len(model.networks) > 1 else "A network"
    predict = "predict" if len(model.networks) > 1 else "predicts"
    names = " and ".join(f"“{target.name}”" for target in model.targets)
    what = f"the column{'s' * (len(model.targets) > 1)} {names}" if model.target else "the class"
    if model.columns:
        rows = f"from {counted(len(model.columns.varying), 'column')} of {known.data}"
    elif model.image_shape:
        height, width, *colours = model.image_shape
        rows = f"of pictures of {width} × {height} pixels{' in colour' if colours else ''}, from {known.data}"
    else:
        rows = f"from {counted(model.sizes[0], 'number')}, from {known.data}"
    kind = "a number" if len(model.targets) == 1 else "numbers"
    if model.classes:
        kind = f"{' and '.join(str(len(target.classes)) for target in model.targets)} classes"
    return f"{several} that {predict} {what} ({kind}) {rows}. {_trained_on(known)}".strip()


def _trained_on(known: _Known) -> str:
    if known.dataset is None:
        return ""
    rows = f"{known.dataset.rows_trained:,} rows"
    if known.folds:
        return f"Training used {rows} in {known.folds} folds. Each network was trained without one fold."
    return f"Training used {rows}."


def _glance(known: _Known) -> Iterator[tuple[str, object]]:
    """Yield the figures that matter most."""
    metrics = {} if known.result is None else known.result.metrics
    start = next((start for start in PARTS if any(name.startswith(start) for name in metrics)), None)
    for name, value in metrics.items():
        if start and name.startswith(start):
            yield _titled(name), f"{value:.2%}" if name.endswith("_accuracy") else value
    yield "state", known.summary.state
    yield "epochs", known.summary.epochs
    yield "training time", f"{known.summary.seconds:.2f} s"
    if known.model is not None:
        yield "parameters", sum(network.parameters for network in known.model.networks)


PARTS = {"fold_": "out-of-fold", "test_": "test", "valid_": "validation", "train_": "training"}


def _titled(name: str) -> str:
    """Return the name of a recorded figure for a reader: "validation accuracy" for valid_accuracy."""
    for start, word in (("members_", "mean of the members: "), ("spread_", "spread of the members: ")):
        if name.startswith(start):
            return f"{word}{_titled(name.removeprefix(start))}"
    start = next((start for start in PARTS if name.startswith(start)), "")
    return f"{PARTS.get(start, '')} {titled(name.removeprefix(start))}".strip()


# ---- the sections of a run


def _sections(known: _Known, prefix: str = "") -> list[Section]:
    """Return the sections of a run. `prefix` begins their ids."""
    figures = figures_of(known.path, known.config, known.model, known.held, ACROSS)
    pictures = {
        name: figure(f"{prefix}figure-{name}", drawing, *CAPTIONS[name]) for name, drawing in figures.items()
    }
    columns, sample = _varying(known), _sample(known.held)
    important = _importance(sample) if 0 < columns <= MOST_COLUMNS and sample else []
    found = [
        _scores(known),
        section("training", "Training", _times(known), pictures.get("curves")),
        section("predictions", "Predictions", *_predictions(known, pictures, important)),
        section("columns", "Which columns matter", *_columns_that_matter(columns, sample, important, prefix)),
        _data(known),
        _network(known, pictures.get("weights")),
        _settings(known),
        _reproduce(known),
    ]
    return [part._replace(id=prefix + part.id) for part in found if part and part.body]


CAPTIONS = {  # what a figure shows, and what a reader should know of it
    "curves": (
        "Training loss, metrics of the training and validation rows, and seconds of each epoch",
        "Loss and metrics after each epoch. A green line marks the epoch whose weights were kept, if they are"
        " of one epoch.",
    ),
    "confusion": (
        "Confusion matrix: how often each class was predicted as each other",
        "Held-out rows by true and predicted class. A perfect network has all rows on the diagonal.",
    ),
    "calibration": (
        "Share of correct predictions over their confidence",
        "How often predictions of each confidence are correct, and how many rows there are of it. If the"
        " probabilities are right, the line follows the diagonal.",
    ),
    "roc": (
        "ROC curve of each class against the others",
        "The share of a class's rows that are found, over the share of other rows that are taken for the"
        " class, for each threshold of its probability. The curve of a perfect network runs through the upper"
        " left corner.",
    ),
    "precision_recall": (
        "Precision over recall of each class against the others",
        "The share of the rows taken for a class that are of it, over the share of its rows that are found."
        " It shows more than the ROC curve if a class is rare.",
    ),
    "mistakes": (
        "The held-out pictures that the network got most wrong",
        "Pictures whose true class had the lowest probability, with the class that was predicted instead.",
    ),
    "predicted": (
        "Predicted over true values of the held-out rows",
        "Each point is a held-out row. A perfect network has all points on the line.",
    ),
    "residuals": (
        "Residuals over the predictions of the held-out rows",
        "How far the truth is above or below each prediction. If the network is off in one direction for"
        " small or large values, the line of medians leaves zero.",
    ),
    "weights": (
        "Weights of the first layer's units, drawn as pictures",
        "Each tile is a unit of the first layer: what it looks for in a picture. Red pixels raise its output,"
        " blue ones lower it.",
    ),
}


def _scores(known: _Known) -> Section | None:
    if not known.held or known.model is None:
        return _recorded(known)
    truth, found = answers(known.held)
    rows, weight = len(truth), _weight(known.held)
    if weight is not None and not weight.any():
        return _recorded(known)
    model = known.model
    if model.classes and len(model.targets) > 1:
        parts, classes = model.by_target(found), [target.classes for target in model.targets]
        figures = several_classes(truth, parts, classes, model.names, weight)
        intervals = intervals_of_targets(truth, parts, classes, model.names, weight)
        by_class = _by_target(figures["targets"], ("accuracy", "log_loss", "roc_auc", "ece", "f1_macro"))
    elif model.classes:
        figures = classification(truth, found, model.classes, weight)
        intervals = intervals_of_classes(truth, found, model.classes, weight)
        by_class = _by_class(model.classes, truth, figures["f1"])
    else:
        figures, by_class = model.figures(found, truth, weight=weight), None
        intervals = model.score_intervals(found, truth, weight=weight)
        if "targets" in figures:
            by_class = _by_target(figures["targets"], ("rmse", "mae", "r2"))
    lines = [
        (titled(name), value, " to ".join(map(shown, intervals.get(name, ()))))
        for name, value in figures.items()
        if isinstance(value, float)
    ]
    return section(
        "scores",
        "Scores",
        paragraph(_which_rows(known)),
        None if weight is None else paragraph(_by_weight(known)),
        table(f"Scores of {_rows(rows)}", ("score", "value", "95 % interval"), lines),
        by_class,
    )


def _weight(held: Sequence[Held]) -> np.ndarray | None:
    """Return the weight of each held-out row, if the run was trained with weights."""
    found = [part.weight for part in held if part.weight is not None]
    return np.concatenate(found) if found else None


def _by_weight(known: _Known) -> str:
    """Return a sentence about what counts by the weights of rows."""
    return (
        f"Each row counts by its weight in the column “{known.config.options.weight}”, as in the training."
        " Figures, numbers of rows and the importance of columns count each row once."
    )


def _by_target(figures: Mapping[str, Mapping[str, object]], names: Sequence[str]) -> Html:
    rows = [(name, *map(own.get, names)) for name, own in figures.items()]
    return table("Scores of each target", ("target", *map(titled, names)), rows)


def _rows(n: int) -> str:
    return f"{n:,} held-out row{'' if n == 1 else 's'}"


def _recorded(known: _Known) -> Section | None:
    """Return the figures that the training itself has recorded."""
    if known.result is None or not known.result.metrics:
        return None
    lines = [(_titled(name), value) for name, value in known.result.metrics.items()]
    return section("scores", "Scores", table("Figures of the training, as result.json has them", (), lines))


def _which_rows(known: _Known) -> str:
    """Return a sentence about the rows that the scores are of, and how far to trust them."""
    if known.folds:
        return (
            "Every row was scored by the networks that were trained without it (out-of-fold). No row that"
            " chose an epoch is among them."
        )
    if known.held[0].new:
        used = " They were watched during the training but chose nothing." if _watched(known) else ""
        return f"These are test rows. The network was not trained on them.{used}"
    text = "These are validation rows. The network was not trained on them."
    if known.config.recipe.patience:
        text += " They chose the epoch to keep, so new rows may score a little worse."
    if known.model is not None and known.model.calibration:
        text += " The temperature of the probabilities was fitted on them; the scores leave it out."
    return text


def _watched(known: _Known) -> bool:
    """Return whether the test rows were the validation rows of the training, as of a known set."""
    dataset = known.dataset
    if dataset is None or dataset.columns:
        return False
    return dataset.X_valid is None and not known.config.recipe.validation


def _by_class(classes: Sequence[object], truth: np.ndarray, f1: dict[str, float]) -> Html:
    counts = np.bincount(truth, minlength=len(classes)).tolist()
    rows = list(zip(map(str, classes), counts, f1.values(), strict=True))
    frequent = sorted(rows, key=lambda row: -row[1])[:CLASSES] if len(rows) > CLASSES else rows
    more = f", the most frequent {CLASSES} of {len(rows)}" if len(rows) > CLASSES else ""
    return table(f"Held-out rows and F1 of each class{more}", ("class", "rows", "F1"), frequent)


def _times(known: _Known) -> Html:
    config, result, result_of = known.config, known.result, known.summary
    lines: list[tuple[str, object]] = [
        ("state", result_of.state),
        ("epochs, of those planned", result_of.epochs),
    ]
    if known.folds:
        lines.append(("folds", known.folds))
    elif config.recipe.members > 1:
        lines.append(("kept weights", f"of each of {config.recipe.members} networks its own epoch"))
    elif result_of.kept:
        lines.append(("kept weights", f"of epoch {result_of.kept}"))
    if result is not None and result.refit:
        lines.append(("then trained on all rows", f"from the start, {counted(result.refit, 'epoch')}"))
    lines.append(("begun", known.started.replace("T", " ").replace("+00:00", " UTC")))
    lines.append(("training time, without compiling and evaluation", f"{result_of.seconds:.2f} s"))
    seconds = [row["seconds"] for row in read_history(known.path)]
    if seconds:
        lines.append(("median time of an epoch", f"{1000 * float(np.median(seconds)):.4g} ms"))
    lines += [("device", config.device), ("backend", config.backend)]
    tables = table("The training", (), lines)
    if result is None or not result.metrics:
        return tables
    figures = [(_titled(name), value) for name, value in result.metrics.items()]
    return (
        Html(tables + table("Figures of the weights that were kept", (), figures)) if known.held else tables
    )


def _predictions(known: _Known, pictures: dict[str, Html], important: Sequence[Importance]) -> Iterator[Html]:
    for name in ("confusion", "calibration", "roc", "precision_recall", "mistakes", "predicted", "residuals"):
        if name in pictures:
            yield pictures[name]
    if important:
        texts = _texts_of(known)
        shown = [row.column for row in important if row.column not in texts]
        yield _worst(known.held, shown[:COLUMNS])
    if known.model is not None and known.model.intervals:
        adds = "the classes that may be a row's" if known.model.classes else "a range to each prediction"
        yield paragraph(
            f"The model knows from {known.model.intervals.rows:,} out-of-fold rows how far it errs: mlpax"
            f" predict --interval 0.9 adds {adds}."
        )


def _texts_of(known: _Known) -> set[str]:
    """Return the columns of free text, of which the inputs do not tell the cells."""
    columns = known.model.columns.varying if known.model and known.model.columns else []
    return {column.name for column in columns if isinstance(column, Text)}


def _worst(held: Sequence[Held], columns: Sequence[str]) -> Html:
    """Return the worst predictions of a table's rows, with the values of some columns."""
    truth, found = answers(held)
    model = held[0].model
    if model.classes:
        head, worst, cells = _worst_classes(model, truth, found)
    else:
        error = found - truth
        share = np.abs(error) / np.maximum(truth.std(axis=0), np.finfo(float).tiny)
        of, worst = share.argmax(axis=1), np.argsort(-share.max(axis=1), kind="stable")[:WORST]
        several = len(model.targets) > 1
        head = ("rank", *["target"] * several, "true", "predicted", "error")
        cells = [
            (
                *[model.targets[of[i]].name] * several,
                *(float(part[i, of[i]]) for part in (truth, found, error)),
            )
            for i in worst
        ]
    values = [np.concatenate([_values(part, name) for part in held])[worst] for name in columns]
    rows = [(str(i + 1), *cell, *(_value(column[i]) for column in values)) for i, cell in enumerate(cells)]
    caption = f"The worst predictions of {_rows(len(truth))}, with their values in the most important columns"
    return table(caption, (*head, *columns), rows)


def _worst_classes(
    model: Model, truth: np.ndarray, found: np.ndarray
) -> tuple[tuple[str, ...], np.ndarray, list[tuple[object, ...]]]:
    """Return the head of the table, the rows, and the cells: of each row its worst target."""
    rows, parts, targets = np.arange(len(truth)), model.by_target(found), len(model.targets)
    labels = truth.reshape(len(truth), targets)
    of_truth = np.stack([p[rows, labels[:, k]] for k, p in enumerate(parts)], axis=1)
    best = np.stack([p.argmax(axis=1) for p in parts], axis=1)
    of_wrong = np.where(best == labels, np.inf, of_truth)
    of, order = of_wrong.argmin(axis=1), np.argsort(of_wrong.min(axis=1), kind="stable")
    worst = order[(best != labels).any(axis=1)[order]][:WORST]
    cells: list[tuple[object, ...]] = []
    for i in worst:
        k, classes = int(of[i]), model.targets[of[i]].classes
        names = [model.names[k]] if targets > 1 else []
        names += [str(classes[labels[i, k]]), str(classes[best[i, k]])]
        cells.append((*names, float(of_truth[i, k])))
    head = ("rank", *["target"] * (targets > 1), "true", "predicted", "probability of the true class")
    return head, worst, cells


def _values(part: Held, name: str) -> np.ndarray:
    """Return the values of a column, (rows,), as the inputs of the network tell them."""
    columns = part.model.columns.varying if part.model.columns else []
    for column in columns:
        if column.name == name and part.model.columns and not isinstance(column, Text):
            return column.undo(part.X[:, part.model.columns.places[name]]).astype(object)
    return np.full(len(part.y), "", object)  # constant in the training rows of the fold


def _value(value: object) -> str:
    """Return a value of a column, with all its digits."""
    if isinstance(value, float):
        return "missing" if math.isnan(value) else f"{value:.10g}"
    return "other or missing" if value in ("", None) else str(value).removesuffix(" 00:00:00")


# ---- which columns matter


def _varying(known: _Known) -> int:
    """Return how many columns of a table are inputs."""
    return len(known.model.columns.varying) if known.model and known.model.columns else 0


def _columns_that_matter(
    columns: int, sample: Sequence[Held], important: Sequence[Importance], prefix: str
) -> Iterator[Html]:
    """Yield the importance of the columns, and how the answers depend on the most important ones."""
    if columns > MOST_COLUMNS and sample:
        yield paragraph(f"The importance of {columns:,} columns takes minutes; mlpax importance measures it.")
    if not important:
        return
    model, rows = sample[0].model, sum(len(part.y) for part in sample)
    what = f"{'loss' if model.score_name == 'r2' else 'rise'} of {titled(model.score_name)}"
    yield figure(
        f"{prefix}figure-importance",
        plots.importance(important, what),
        f"Importance of the columns: {what} when a column is shuffled",
        f"How much worse the score of {_rows(rows)} gets when the values of a column are shuffled (mean and"
        f" deviation of {REPEATS} shuffles). Columns that tell the same share their importance.",
    )
    more = "" if len(important) <= SHOWN else f", the first {SHOWN} of {len(important)}"
    yield table(f"Importance of the columns{more}", ("column", what, "deviation"), important[:SHOWN])
    yield from _dependence(sample, important, prefix)


def _sample(held: Sequence[Held]) -> list[Held]:
    """Return at most `ROWS` of the rows, always the same."""
    most, found = math.ceil(ROWS / max(1, len(held))), list[Held]()
    for part in held:
        rows = np.sort(np.random.default_rng(0).permutation(len(part.y))[:most])
        found.append(part._replace(X=part.X[rows], y=part.y[rows], weight=None))
    return found


def _importance(held: Sequence[Held]) -> list[Importance]:
    """Return the importance of each column, the mean over the rows of all parts, largest first."""
    found: dict[str, list[tuple[float, float, int]]] = {}
    for part in held:
        truth = part.model.named(part.y) if part.model.classes else part.y
        for column, loss, deviation in part.model.importance_of(part.X, truth, repeats=REPEATS):
            found.setdefault(column, []).append((loss, deviation, len(truth)))
    rows: list[Importance] = []
    for column, parts in found.items():
        losses, deviations, weights = np.array(parts).T
        loss = float(np.average(losses, weights=weights))
        square = np.average(deviations**2 + (losses - loss) ** 2, weights=weights)
        rows.append(Importance(column, loss if abs(loss) > TINY else 0.0, math.sqrt(square)))
    return sorted(rows, key=lambda row: -row.loss)


def _dependence(held: Sequence[Held], rows: Sequence[Importance], prefix: str) -> Iterator[Html]:
    """Yield how the answers depend on the most important columns."""
    parts = [(part.model, part.X) for part in held]
    found: list[Dependence] = []
    for row in rows:
        if len(found) < DRAWN and (one := partial_dependence(parts, row.column)):
            found.append(one)
    if not found:
        return
    model = held[0].model
    lines, what = [""], f"predicted {model.target}"
    of_first = f" ({model.target})" if len(model.targets) > 1 else ""
    panels = [(d.column, d.values, d.means) for d in found]
    if len(model.targets) > 1 and not model.classes:  # in units of their own: the first
        panels = [(column, values, means[:, :1]) for column, values, means in panels]
    if len(model.classes) == 2:
        lines, what = [str(model.classes[1])], f"probability of {model.classes[1]}{of_first}"
    elif model.classes:
        likely = np.sort(np.argsort(-np.concatenate([d.means for d in found]).mean(axis=0))[:LINES])
        lines, what = [str(model.classes[k]) for k in likely], f"probability{of_first}"
        panels = [(column, values, means[:, likely]) for column, values, means in panels]
    yield subtitle("How the predictions depend on them")
    yield figure(
        f"{prefix}figure-dependence",
        plots.partial_dependence(panels, lines, what),
        f"Partial dependence: {what} over the values of {listed(d.column for d in found)}",
        "The mean prediction if all held-out rows had the same value in one column, and kept their others"
        " (partial dependence). Points are quantiles of the rows, or the most frequent levels. Where columns"
        " hang together, such rows may not exist.",
    )


# ---- what the network was trained on


def _data(known: _Known) -> Section:
    model, dataset, config = known.model, known.dataset, known.config
    columns = model.columns if model is not None else dataset.columns if dataset is not None else None
    return section(
        "data",
        "Data",
        table("The data", (), list(_about_data(known))),
        _parts(known),
        *(() if dataset is None else _class_shares(dataset)),
        None if columns is None else _read_as(columns.columns),
        None if dataset is None else _told(known.notices),
        _options(config),
    )


def _about_data(known: _Known) -> Iterator[tuple[str, object]]:
    model, dataset, config = known.model, known.dataset, known.config
    yield "data set", known.data
    targets = [t.name for t in model.targets] if model is not None else dataset.targets if dataset else ()
    if any(targets):
        yield f"column{'s' * (len(targets) > 1)} to predict", listed(targets)
    if known.task:
        yield "task", known.task
    if model is not None and model.image_shape:
        yield "pictures", " × ".join(map(str, model.image_shape))
    yield "fingerprint (SHA-256 of all rows)", config.fingerprint


def _parts(known: _Known) -> Html | None:
    """Return how the rows were divided."""
    dataset, recipe = known.dataset, known.config.recipe
    if dataset is None:
        return None
    rows: list[tuple[str, int, str]] = [("training", dataset.rows_trained, "")]
    if known.folds:
        rows = [("training", dataset.rows_trained, f"in {known.folds} folds, each held out once")]
    elif dataset.X_valid is not None and len(dataset.X_valid):
        chose = "chose the epoch to keep" if recipe.patience else "watched during the training"
        then = ", then trained on" if recipe.refit else ""
        rows.append(("validation", len(dataset.X_valid), f"{chose}{then}"))
    elif recipe.validation and not dataset.columns:
        rows = [("training", dataset.rows_trained, f"{recipe.validation:.0%} of them validated")]
    if len(dataset.X_test):
        rows.append(("test", len(dataset.X_test), "held out for the final score"))
    return table("The rows", ("part", "rows", "what for"), rows)


def _class_shares(dataset: Dataset) -> Iterator[Html]:
    """Yield a table of the classes of each target."""
    for target, classes, counts in zip(
        dataset.targets, dataset.each_classes, dataset.class_counts, strict=False
    ):
        rows = [
            (str(name), n, f"{n / max(1, sum(counts)):.1%}") for name, n in zip(classes, counts, strict=True)
        ]
        more = f", the most frequent {CLASSES} of {len(rows)}" if len(rows) > CLASSES else ""
        frequent = sorted(rows, key=lambda row: -row[1])[:CLASSES] if len(rows) > CLASSES else rows
        of = f" of {target}" if len(dataset.targets) > 1 else ""
        yield table(f"Training rows of each class{of}{more}", ("class", "rows", "share"), frequent)


def _read_as(columns: Sequence[Column]) -> Html:
    """Return what each column was read as."""
    rows = [(column.name, column.kind if not isinstance(column, LeftOut) else "left out", *_of(column))
            for column in columns[:LISTED]]  # fmt: skip
    more = f", the first {LISTED} of {len(columns):,}" if len(columns) > LISTED else ""
    head = ("column", "read as", "in the training rows", "missing cells")
    caption = (
        f"The columns{more}. The spread of numbers is the distance of their quartiles, or half the range if"
        " the quartiles are the same."
    )
    return table(caption, head, rows)


LEFT_OUT = {
    "constant": "the same value in all rows",
    "drop": "as the options say",
    "id": "names the rows",
    "text": "another text in nearly every row",
}


def _of(column: Column) -> tuple[str, str]:
    """Return what is known of a column's values, and of its missing cells."""
    match column:
        case LeftOut():
            return LEFT_OUT[column.kind], ""
        case Number():
            unit = " seconds" if column.clock else ""
            spread = f", spread {shown(1 / column.scale)}" if column.scale else ""
            values = f"median {shown(column.median)}{spread}{unit}"
        case Date():
            day = column.undo(np.zeros((1, 1 + column.missing), np.float32)).astype("datetime64[D]")[0]
            values = f"median {day}"
        case Text():
            many = counted(len(column.vocabulary.words), "word")
            values = f"free text: {many}, such as {listed(column.vocabulary.words[-LEVELS:])}"
        case Category():
            first = listed(column.levels[:LEVELS])
            more = ", …" if len(column.levels) > LEVELS else ""
            values = f"{counted(len(column.levels), 'level')}: {first}{more}"
    return values, "yes" if column.missing else "no"


def _told(notices: Sequence[str]) -> Html:
    """Return what reading the data tells: what was left out, and what was guessed."""
    title = subtitle("Rows left out, and what was not obvious")
    if not notices:
        text = "All rows were used, and nothing in the data was in doubt."
        return Html(title + paragraph(text))
    return Html(title + bullets(notices))


def _options(config: Config) -> Html | None:
    """Return the options that the data were read with."""
    given = config.options.given()
    rows = [(name.replace("_", " "), _setting(value)) for name, value in given.items()]
    return table("Options of reading", (), rows) if rows else None


def _setting(value: object) -> str:
    """Return a setting as a person writes it."""
    if isinstance(value, dict):
        kinds = cast("dict[str, str]", value)
        return ", ".join(f"{column}: {kind}" for column, kind in kinds.items())
    return shown(value) if isinstance(value, (bool, str)) or value is None else _number(value)


def _number(value: object) -> str:
    """Return numbers with all their digits."""
    return (
        ", ".join(map(str, cast("Sequence[object]", value)))
        if isinstance(value, (tuple, list))
        else str(value)
    )


# ---- the network, its settings, and how to train it again


def _network(known: _Known, weights: Html | None) -> Section | None:
    model = known.model
    if model is None:
        return None
    network = model.networks[0]
    rows = [
        (str(k), W.shape[0], W.shape[1], W.size + b.size, activation)
        for k, ((W, b), activation) in enumerate(zip(network.params, network.activations, strict=True), 1)
    ]
    several = f" of each of {len(model.networks)} networks" if len(model.networks) > 1 else ""
    head = ("layer", "inputs", "units", "parameters", "activation")
    return section(
        "network", "The network", table(f"The layers{several}", head, rows), _embeddings(model), weights
    )


def _embeddings(model: Model) -> Html | None:
    """Return the embeddings of categories of many levels."""
    if not model.embeddings or model.columns is None:
        return None
    names = [c.name for c in model.columns.varying if c.codes]
    rows = [(name, *E.shape) for name, E in zip(names, model.embeddings, strict=True)]
    return table("Categories of many levels are embedded", ("column", "rows", "numbers"), rows)


def _settings(known: _Known) -> Section:
    config = known.config
    changed = {} if known.rows is None else differing(config, known.rows, known.task)[1]
    rows = [
        (f"{f.name.replace('_', ' ')}{' (changed)' if f.name in changed else ''}",
         _setting(getattr(config.recipe, f.name)), f.metadata["help"])
        for f in dataclasses.fields(Recipe)
    ]  # fmt: skip
    text = f"The settings are those of the recipe {config.recipe_name}"
    text += ", but for those marked as changed." if changed else "."
    if known.rows is None:
        text = f"The run began from the recipe {config.recipe_name}."
    return section(
        "settings", "Settings", paragraph(text), table("All settings", ("setting", "value", "meaning"), rows)
    )


def _reproduce(known: _Known) -> Section:
    config = known.config
    rows = [("Python", known.python), *config.versions.items()]
    rows += [("backend", config.backend), ("device", config.device)]
    promise = (
        "The native backend gives the same bits with any number of threads of one build and instruction set."
        if config.backend == "native"
        else "The XLA backend gives the same bits on one machine, with the same devices and threads."
    )
    fold = config.options.fold
    of_fold = (
        f" This run is fold {fold} of {config.options.folds}; the line trains all folds." if fold else ""
    )
    return section(
        "reproduce",
        "How to reproduce",
        paragraph(
            f"This line trains the same network on the same data, in the folder that holds the data.{of_fold}"
        ),
        code(command_of(config, known.rows, known.task)),
        paragraph(f"{promise} Other versions of the packages may change the last digits."),
        table("Versions", (), rows),
    )


# ---- a sweep


def _lead_of_sweep(found: Sweep, asked: dict[str, object], best: _Known | None) -> Iterator[Html]:
    trials = len(cast("list[object]", asked["trials"]))
    metric, data = _titled(found.metric), short_name(str(asked.get("dataset", "")))
    yield paragraph(
        f"A sweep of {counted(trials, 'trial')} on {data}, compared by {metric}. The best reaches"
        f" {shown(found.standings[0].score)}.",
        kind="lead",
    )
    if "best" not in asked:
        ended = f"{len(found.standings)} of {counted(trials, 'trial')}"
        yield paragraph(f"The sweep has not come to its end: {ended} have a score.", kind="note")
    if best is None:
        yield paragraph("The best trial was not trained again as a run.", kind="note")
    else:
        yield from _lead(best)


def _of_sweep(found: Sweep, asked: dict[str, object]) -> list[Section]:
    several, first = len(found.standings[0].scores) > 1, found.standings[:TRIALS]
    metric = _titled(found.metric)
    head = (
        "trial",
        metric,
        *(["spread"] if several else []),
        "epochs trained",
        "seconds",
        *map(_words, found.space),
    )
    rows = [
        (f"{s.trial}", s.score, *([s.spread] if several else []), s.epochs, s.seconds,
         *(s.settings[name] for name in found.space))
        for s in first
    ]  # fmt: skip
    rest = len(found.standings) - len(first)
    drawings = pictures(found.standings, found.metric, found.space)
    scores = figure(
        "sweep-figure-scores", drawings["scores"], f"The {metric} of each trial over each setting",
        "Each point is a trial. Rings are trials that were left behind.",
    )  # fmt: skip
    curves = figure(
        "sweep-figure-curves", drawings["curves"], f"The {metric} of each trial after each epoch",
        "Each line is a trial. A line that ends early was left behind.",
    )  # fmt: skip
    tried = [
        (_words(name), str(v) if isinstance(v, Range) else listed(map(written, v)))
        for name, v in found.space.items()
    ]
    more = [paragraph(f"And {rest:,} more, in leaderboard.csv.")] if rest else []
    return [
        section("leaderboard", "Leaderboard", table("The trials, the best first", head, rows), *more),
        section("tried", "What was tried", table("Settings and their values", (), tried), scores, curves),
    ]


def _words(name: str) -> str:
    return name.replace("_", " ")
