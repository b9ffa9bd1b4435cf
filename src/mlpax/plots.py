"""Draw figures from plain histories and arrays."""

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from mlpax.atomic import atomic
from mlpax.errors import InputError, escaped, shortened
from mlpax.scores import calibration_error, regression, titled
from mlpax.space import written

if TYPE_CHECKING:  # matplotlib takes half a second to import
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

__all__ = ["calibration", "comparison", "confusion_matrices", "confusion_matrix", "curves", "drawn",
           "epoch_times", "importance", "kind_of", "learning_rates", "partial_dependence", "precision_recall",
           "predicted", "residuals", "roc", "save", "sweep_curves", "sweep_scores", "weights",
           "worst_mistakes"]  # fmt: skip

History = Sequence[Mapping[str, float]]
Classes = Sequence[str] | Sequence[int]

# The colours of Okabe and Ito, which colour-blind readers can tell apart.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
COLORS = (BLUE, RED, GREEN, ORANGE, PURPLE, SKY, "#000000")
STYLES = ("-", "--", ":")
PARTS = {"train": ("training", "-", BLUE), "valid": ("validation", "--", RED)}


def _name(text: object, most: int = 24) -> str:
    """Return a text of the user's as one short line that matplotlib draws literally."""
    text = shortened(escaped(str(text)).strip(), most)
    text = f" {text}" if text.startswith("_") else text  # a legend skips labels that start with "_"
    return text.replace("$", r"\$")  # text between two $ would be mathematics


def _figure(
    width: float,
    height: float,
    rows: int = 1,
    columns: int = 1,
    heights: Sequence[float] | None = None,
    widths: Sequence[float] | None = None,
) -> tuple["Figure", list["Axes"]]:
    """Return a figure and its axes. pyplot is not used: its state is global and its import is slow."""
    from mlpax.shown import ShownFigure  # which imports matplotlib

    figure = ShownFigure(figsize=(width, height), layout="constrained", dpi=150)
    axes = figure.subplots(rows, columns, squeeze=False, height_ratios=heights, width_ratios=widths)
    return figure, list(axes.ravel())


def _plain(
    axes: "Axes", x: str = "", y: str = "", title: str = "", grid: Literal["x", "y", "both"] = "both"
) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, alpha=0.3, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set(xlabel=x, ylabel=y)
    axes.set_title(title, fontsize=11)


def _over_epochs(axes: "Axes", last: int, y: str, title: str) -> None:
    """Label axes whose x is the epoch, with whole numbers from 1 to `last`."""
    _plain(axes, "epoch", y, title)
    axes.locator_params("x", nbins=10, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])
    axes.set_xlim(0.4, last + 0.6)


def _line(
    axes: "Axes", history: History, name: str, style: str, color: str, marker: str, label: str | None = None
) -> None:
    """Draw one column of a history. Values that are not finite are gaps."""
    epochs = [row["epoch"] for row in history]
    values = [row[name] if math.isfinite(row[name]) else math.nan for row in history]
    axes.plot(epochs, values, style, color=color, marker=marker, markersize=3, label=label)


def save(figure: "Figure", path: str | Path) -> None:
    """Write a figure as PNG, SVG or PDF, by the suffix of the path. A failed write leaves the old file.

    Raises
    ------
    InputError
        If the path has another suffix.
    """
    kind = kind_of(path)
    with atomic(path) as file:
        _write(figure, file, kind)


def drawn(figure: "Figure", kind: Literal["png", "svg"]) -> bytes:
    """Return a figure as the bytes of a file: the same bytes for the same figure. In SVG, text stays text."""
    from matplotlib import rc_context

    file = io.BytesIO()
    with rc_context({"svg.hashsalt": "mlpax", "svg.fonttype": "none"}):
        _write(figure, file, kind, metadata={"Date": None} if kind == "svg" else None)
    return file.getvalue()


def _write(figure: "Figure", file: IO[bytes], kind: str, **more: Any) -> None:
    with warnings.catch_warnings():
        # matplotlib draws a box for a letter that the font lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing|Matplotlib currently does not support")
        figure.savefig(file, format=kind, **more)


def kind_of(path: str | Path) -> str:
    """Return the kind of picture that a path names: "png", "svg" or "pdf".

    Raises
    ------
    InputError
        If it names none of them.
    """
    kind = Path(path).suffix[1:].lower()
    if kind not in ("png", "svg", "pdf"):
        raise InputError(f"{path} does not name a picture; end it with .png, .svg or .pdf")
    return kind


def _metrics(history: History) -> list[str]:
    """Return the names of the recorded metrics, without `train_` and `valid_`."""
    if not history:
        raise InputError("the history has no epochs; train at least one before drawing it")
    names = (c.partition("_") for c in history[0] if c.startswith(("train_", "valid_")))
    return list(dict.fromkeys(metric for _, _, metric in names))


def curves(history: History, title: str = "", kept: int = 0, columns: int = 0) -> "Figure":
    """Draw the article's figure: training loss, metrics of training and validation rows, epoch times.

    Parameters
    ----------
    history : sequence of mappings
        One row per epoch: `epoch, loss, train_<metric>, valid_<metric>, ..., seconds`. Values that are
        not finite are not drawn.
    title : str, optional
        One line of plain text. A long title loses its middle.
    kept : int, default 0
        The epoch whose weights were kept, which a vertical line marks; 0 marks none.
    columns : int, default 0
        The number of panels in a row; 0 puts all in one.
    """
    metrics, epochs = _metrics(history), len(history)
    panels = 2 + len(metrics)
    columns = columns or panels
    rows = math.ceil(panels / columns)
    figure, every = _figure(3.7 * columns, 3.4 * rows, rows, columns)
    loss, *middle, times = every[:panels]
    for axis in every[panels:]:
        axis.set_visible(False)
    marker = "o" if epochs <= 30 else ""
    _line(loss, history, "loss", "-", BLUE, marker)
    _over_epochs(loss, epochs, "loss", "Training loss")
    for axis, metric in zip(middle, metrics, strict=True):
        for part, (label, style, color) in PARTS.items():
            if f"{part}_{metric}" in history[0]:
                _line(axis, history, f"{part}_{metric}", style, color, marker, label)
        axis.legend(frameon=False)
        name = titled(metric)
        _over_epochs(axis, epochs, name, name[0].upper() + name[1:])
    width = 0.8 if epochs <= 30 else 1  # gaps narrower than a pixel would look like stripes
    times.bar([row["epoch"] for row in history], [row["seconds"] for row in history], width, color=SKY)
    _over_epochs(times, epochs, "seconds", "Time per epoch")
    if kept:
        for axis in (loss, *middle):
            axis.axvline(kept, color=GREEN, linewidth=1, zorder=0.9)
        loss.legend(loss.lines[-1:], [f"kept: epoch {kept}"], frameon=False)
    figure.suptitle(_name(title, 60))
    return figure


def comparison(histories: Mapping[str, History]) -> "Figure":
    """Draw the loss and the first metric of several runs, one colour per run.

    Parameters
    ----------
    histories : mapping of str to history
        The history of each run, as in `curves`, by the name to show. All runs are drawn. The legend names
        as many runs as colours and line styles can tell apart.
    """
    if not histories:
        raise InputError("there are no runs to compare; name at least one")
    if empty := [name for name, history in histories.items() if not history]:
        raise InputError(f"{empty[0]} has no epochs yet; train it for one, or leave it out")
    metric = next((m for h in histories.values() for m in _metrics(h)), "")
    words = metric.replace("_", " ")
    validated = any(f"valid_{metric}" in h[0] for h in histories.values())
    column = f"valid_{metric}" if validated else f"train_{metric}"
    longest = max(len(h) for h in histories.values())
    named = min(len(histories), len(COLORS) * len(STYLES))
    figure, (left, right) = _figure(9, 3.6 + 0.2 * math.ceil(named / 3), 1, 2)
    for i, (name, history) in enumerate(histories.items()):
        style, color = STYLES[i // len(COLORS) % len(STYLES)], COLORS[i % len(COLORS)]
        lacks = "" if column in history[0] else f", without {words}"
        label = f"{_name(name)}{lacks}" if i < named else None
        marker = "o" if longest <= 30 or len(history) == 1 else ""  # one epoch makes no line
        _line(left, history, "loss", style, color, marker, label)
        if column in history[0]:
            _line(right, history, column, style, color, marker)
    if others := len(histories) - named:
        left.plot([], [], " ", label=f"and {others} more")
    _over_epochs(left, longest, "loss", "Training loss")
    _over_epochs(right, longest, words, f"{'Validation' if validated else 'Training'} {words}")
    figure.legend(loc="outside lower center", ncols=min(3, len(histories)), frameon=False)
    return figure


def learning_rates(
    rates: Sequence[float], losses: Sequence[float], best: float, usual: float, metric: str
) -> "Figure":
    """Draw the loss that each learning rate leads to.

    Parameters
    ----------
    rates, losses : sequences of float
        Losses that are not finite are not drawn.
    best, usual : float
        Rates that vertical lines mark: the best one, and that of the recipe.
    metric : str
        The losses' name.
    """
    figure, (axis,) = _figure(6.4, 4)
    found = np.where(np.isfinite(losses), losses, np.nan)
    axis.plot(rates, found, "-o", color=BLUE, markersize=3.5)
    axis.axvline(best, color=RED, linewidth=1.2, label=f"best: {best:g}")
    axis.axvline(usual, color=GREEN, linewidth=1.2, linestyle="--", label=f"recipe: {usual:g}")
    axis.set_xscale("log")
    _plain(axis, "learning rate", _name(metric.replace("_", " ")))
    low, high = np.nanmin(found), np.nanmax(found)
    first = found[np.isfinite(found)][0]  # a network that has hardly learned
    high = min(high, max(first, low) + 0.3 * (first - low) + 1e-9)
    axis.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low) + 1e-9)
    axis.legend(frameon=False)
    return figure


def sweep_scores(
    scores: Sequence[float],
    settings: Mapping[str, Sequence[Any]],
    metric: str,
    finished: Sequence[bool],
    log: Sequence[str] = (),
) -> "Figure":
    """Draw the score of each trial of a sweep over each setting that was tried.

    Parameters
    ----------
    scores : sequence of float
        Of each trial, the best first; those that are not finite are not drawn.
    settings : mapping
        For each setting its value in each trial: numbers, or anything else as categories.
    metric : str
        The scores' name.
    finished : sequence of bool
        Whether each trial was trained to its end. Those left behind are drawn as rings.
    log : sequence of str, optional
        Settings to draw on a logarithmic axis.
    """
    found = np.asarray(scores, float)
    drawn = np.isfinite(found)
    ended = drawn & np.asarray(finished)
    columns = 2 if len(settings) == 4 else min(len(settings), 3)
    rows = math.ceil(len(settings) / columns)
    figure, axes = _figure(3.9 * columns, 3.4 * rows, rows, columns)
    for axis, (name, values) in zip(axes, settings.items(), strict=False):
        if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
            x = np.asarray(values, float)
            if name in log:
                axis.set_xscale("log")
        else:
            words = [written(value) for value in values]
            levels = list(dict.fromkeys(words))
            x = np.array([levels.index(word) for word in words], float)
            axis.set_xticks(range(len(levels)), [_name(level) for level in levels])
            axis.set_xlim(-0.5, len(levels) - 0.5)
        if not ended.all():
            left = drawn & ~ended
            axis.plot(
                x[left], found[left], "o", color=SKY, markersize=4, fillstyle="none", label="left behind"
            )
        axis.plot(x[ended], found[ended], "o", color=BLUE, markersize=4, alpha=0.7)
        axis.plot(x[:1], found[:1], "o", color=RED, markersize=6, label="best")
        _plain(axis, _name(name.replace("_", " ")), _name(metric.replace("_", " ")))
        _between(axis, found[drawn])
    axes[0].legend(frameon=False)
    for axis in axes[len(settings) :]:
        axis.set_visible(False)
    return figure


def sweep_curves(curves: Sequence[Sequence[float]], metric: str) -> "Figure":
    """Draw the score of each trial of a sweep after each epoch; those left behind end early.

    Parameters
    ----------
    curves : sequence of sequences of float
        The best trial first.
    metric : str
        The scores' name.
    """
    figure, (axis,) = _figure(6.4, 4)
    drawn: list[float] = []
    for curve in reversed(curves[1:]):
        values = [value if math.isfinite(value) else math.nan for value in curve]
        axis.plot(range(1, len(values) + 1), values, "-", color=SKY, linewidth=0.8, alpha=0.6)
        axis.plot(len(values), values[-1], "o", color=SKY, markersize=2.5)
        drawn.append(values[-1])
    axis.plot(range(1, len(curves[0]) + 1), curves[0], "-", color=RED, linewidth=1.6, label="best")
    _over_epochs(axis, max(map(len, curves)), _name(metric.replace("_", " ")), "")
    _between(axis, np.array([*drawn, *curves[0]]))
    axis.legend(frameon=False)
    return figure


def _between(axes: "Axes", values: np.ndarray) -> None:
    """Leave out of the axis what is far beyond most values: a few bad scores would flatten the others."""
    values = values[np.isfinite(values)]
    if not values.size:
        return
    low, middle, high = np.quantile(values, [0, 0.5, 1])
    reach = 6 * max(np.quantile(values, 0.75) - np.quantile(values, 0.25), 1e-12)
    low, high = max(low, middle - reach), min(high, middle + reach)
    margin = 0.05 * (high - low) or 0.01 * abs(high) or 0.01
    axes.set_ylim(low - margin, high + margin)


def confusion_matrix(y_true: np.ndarray, y_pred: np.ndarray, classes: Classes) -> "Figure":
    """Draw how often each class was predicted as each other, coloured by the share of the true class.

    Parameters
    ----------
    y_true, y_pred : arrays of shape (rows,), int
        Positions in `classes`.
    classes : sequence of str or int
    """
    if len(y_true) != len(y_pred) or len(y_true) == 0:
        raise InputError(
            f"{len(y_true)} labels and {len(y_pred)} predictions; they must be equal, at least one"
        )
    longest = max(len(_name(name)) for name in classes)
    side = max(4.0, 0.5 * min(len(classes), 40) + 2) + 0.07 * longest
    figure, (axes,) = _figure(side + 0.8, side)
    image = _confusion(axes, y_true, y_pred, classes)
    figure.colorbar(
        image, ax=axes, label="share of the true class", ticks=[0, 0.01, 0.1, 0.3, 0.6, 1], shrink=0.8
    )
    return figure


def _confusion(
    axes: "Axes", y_true: np.ndarray, y_pred: np.ndarray, classes: Classes, target: str = ""
) -> "AxesImage":
    """Draw a confusion matrix on axes."""
    from matplotlib.colors import PowerNorm

    k, names = len(classes), [_name(name) for name in classes]
    counts = np.bincount(k * np.asarray(y_true, int) + y_pred, minlength=k * k).reshape(k, k)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # On a square-root scale, a share of 1 % is visible beside the 98 % of the diagonal.
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1))
    if k <= 20:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                color = "white" if shares[row, column] > 0.35 else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=color, fontsize=8)
    if k <= 40:
        long = max(map(len, names)) > 3
        axes.set_xticks(range(k), names, rotation=45 if long else 0, ha="right" if long else "center")
        axes.set_yticks(range(k), names)
    axes.set(xlabel=f"predicted {target}".strip(), ylabel=f"true {target}".strip())
    wrong = len(y_true) - int(np.trace(counts))
    axes.set_title(f"{wrong:,} of {len(y_true):,} wrong", fontsize=11)
    return image


def confusion_matrices(
    y_true: np.ndarray, y_pred: np.ndarray, classes: Sequence[Classes], targets: Sequence[str]
) -> "Figure":
    """Draw the confusion matrix of each of several targets, in panels.

    Parameters
    ----------
    y_true, y_pred : arrays of shape (rows, targets), int
        Positions in the classes of each target.
    classes : sequence of sequences
    targets : sequence of str
    """
    across = min(len(targets), 3)
    down = -(-len(targets) // across)
    largest = max(map(len, classes))
    side = max(3.4, 0.5 * min(largest, 20) + 2)
    figure, panels = _figure(side * across, side * down, down, across)
    for k, (axes, name) in enumerate(zip(panels, targets, strict=False)):
        _confusion(axes, y_true[:, k], y_pred[:, k], classes[k], _name(name))
    for axes in panels[len(targets) :]:
        axes.set_axis_off()
    return figure


def worst_mistakes(
    X: np.ndarray,
    y_true: np.ndarray,
    probabilities: np.ndarray,
    classes: Classes,
    image_shape: tuple[int, ...],
    count: int = 25,
) -> "Figure":
    """Draw the images that the model got most wrong: lowest probability of the true class first.

    Parameters
    ----------
    X : array of shape (rows, height * width)
    y_true : array of shape (rows,), int
        Positions in `classes`.
    probabilities : array of shape (rows, classes)
    classes : sequence of str or int
    image_shape : tuple of int
        (height, width).
    count : int, default 25
        The largest number of images to show.
    """
    _check_shape(X.shape[1], image_shape)
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != y_true)
    worst = wrong[np.argsort(probabilities[wrong, y_true[wrong]], kind="stable")][:count]
    if not len(worst):
        figure, (axes,) = _figure(4, 2)
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no mistakes", ha="center", va="center")
        return figure
    columns = min(5, len(worst))
    rows = math.ceil(len(worst) / columns)
    said = [
        f"true {_name(classes[true])}\npredicted {_name(classes[taken])} ({probabilities[row, taken]:.0%})"
        for row, true, taken in zip(worst, y_true[worst], predicted[worst], strict=True)
    ]
    wide = max(1.9, 0.07 * max(len(line) for caption in said for line in caption.split("\n")))
    figure, grid = _figure(max(wide * columns, 3.2), 2.1 * rows + 0.5, rows, columns)  # the title needs room
    for axes in grid[len(worst) :]:
        axes.set_axis_off()
    for axes, row, caption in zip(grid, worst.tolist(), said, strict=False):
        # One scale, so that pictures keep their brightness.
        axes.imshow(X[row].reshape(image_shape), cmap="gray", vmin=0, vmax=X.max())
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color("#cccccc")  # without an edge, a blank margin would run into the next caption
        axes.set_title(caption, fontsize=8)
    title = f"The worst {len(worst)} of {len(wrong):,} mistakes" if len(wrong) > 1 else "The one mistake"
    order = "\nlowest probability of the true class first" if len(worst) > 1 else ""
    figure.suptitle(f"{title}{order}", fontsize=11)
    return figure


def weights(W: np.ndarray, image_shape: tuple[int, ...], count: int = 64) -> "Figure":
    """Draw the weights of each unit of the first layer as an image, largest norm first.

    Parameters
    ----------
    W : array of shape (height * width, units)
    image_shape : tuple of int
        (height, width).
    count : int, default 64
        The largest number of units to show.
    """
    W = np.asarray(W)
    _check_shape(W.shape[0], image_shape)
    units = np.argsort(-np.linalg.norm(W, axis=0), kind="stable")[:count]
    columns = min(8, len(units))
    rows = math.ceil(len(units) / columns)
    figure, (axes,) = _figure(0.95 * columns + 1.2, 0.95 * rows + 0.5)
    # With the maximum as the limit, one outlier would make the rest pale.
    limit = float(np.quantile(np.abs(W[:, units]), 0.999)) or 1.0
    height, width = (side + max(1, side // 10) for side in image_shape)  # with the gap to the next tile
    # All units in one image, since axes for each unit would take seconds.
    tiles = np.full((rows * height, columns * width), np.nan)
    for i, unit in enumerate(units):
        top, left = height * (i // columns), width * (i % columns)
        tiles[top : top + image_shape[0], left : left + image_shape[1]] = W[:, unit].reshape(image_shape)
    image = axes.imshow(tiles, cmap="RdBu_r", vmin=-limit, vmax=limit)
    axes.set_axis_off()
    figure.colorbar(image, ax=axes, shrink=0.6, label="weight")
    figure.suptitle(f"First layer: {len(units)} of {W.shape[1]} units", fontsize=11)
    return figure


def _check_shape(features: int, image_shape: tuple[int, ...]) -> None:
    if features != math.prod(image_shape):
        raise InputError(f"{features} features are no image of {' x '.join(map(str, image_shape))}")


def epoch_times(times: Mapping[str, Sequence[float]]) -> "Figure":
    """Draw the median seconds per epoch of each implementation, fastest first, with the range as whiskers.

    Parameters
    ----------
    times : mapping of str to sequence of float
        The seconds of each round, by the name of the implementation.
    """
    if not times or not all(len(values) for values in times.values()):
        raise InputError("there are no times to draw; measure each implementation at least once")
    ordered = sorted(times.items(), key=lambda item: -float(np.median(item[1])))
    medians = np.array([float(np.median(values)) for _, values in ordered])
    spread = np.array([[m - min(v), max(v) - m] for m, (_, v) in zip(medians, ordered, strict=True)]).T
    figure, (axes,) = _figure(7, 0.42 * len(ordered) + 1)
    colors = [RED if "mlpax" in name else SKY for name, _ in ordered]
    places = range(len(ordered))
    bars = axes.barh(places, medians, color=colors, xerr=spread, ecolor="#444444", capsize=2)
    axes.set_yticks(places, [_name(name, 48) for name, _ in ordered])
    texts = [f" {median:.2f} s" if median >= 1 else f" {median * 1000:.0f} ms" for median in medians]
    axes.bar_label(bars, texts, fontsize=9)
    axes.set_xlim(0, max(map(max, times.values())) * 1.12)  # room for the last number
    _plain(axes, "seconds per epoch", grid="x")
    return figure


def importance(rows: Sequence[tuple[str, float, float]], what: str) -> "Figure":
    """Draw how much of a score is lost when a column is shuffled, the most important column first.

    Parameters
    ----------
    rows : sequence of (column, loss, deviation)
        Most important first. The first 30 are drawn.
    what : str
        Label of the axis, such as "loss of accuracy".
    """
    shown = list(rows)[:30][::-1]
    figure, (axes,) = _figure(7, 0.3 * len(shown) + 1.5)
    places = range(len(shown))  # two columns may have the same shortened name
    axes.barh(places, [r[1] for r in shown], xerr=[r[2] for r in shown], color=SKY, capsize=2)
    axes.set_yticks(places, [_name(r[0]) for r in shown])
    title = f"The {len(shown)} most important of {len(rows)} columns"
    _plain(axes, f"{what} when the column is shuffled", title=title, grid="x")
    return figure


def partial_dependence(
    panels: Sequence[tuple[str, np.ndarray, np.ndarray]], lines: Sequence[str], what: str
) -> "Figure":
    """Draw the mean prediction over the values of each column, a panel for each.

    Parameters
    ----------
    panels : sequence of (column, values, means)
        The values are numbers, dates (datetime64) or levels (text), of shape (values,); the means are of
        shape (values, lines).
    lines : sequence of str
        What each line of means stands for; a legend names them if there are several.
    what : str
        Label of the vertical axis, such as "probability of yes". All panels share the axis.
    """
    columns = min(2, len(panels))
    rows, width = math.ceil(len(panels) / columns), 3.4 * columns + 0.4
    across = max(1, min(4, int(width / (0.8 + 0.1 * max(len(_name(line)) for line in lines)))))
    legend = 0.25 * math.ceil(len(lines) / across) if len(lines) > 1 else 0
    figure, axes = _figure(width, 2.8 * rows + 0.3 + legend, rows, columns)
    means = np.concatenate([means for _, _, means in panels])
    low, high = float(means.min()), float(means.max())
    margin = 0.05 * (high - low) or 0.01 * abs(high) or 0.01
    figure.supylabel(_name(what, 32), fontsize=10)
    for axis, (column, values, means) in zip(axes, panels, strict=False):
        levels = values.dtype.kind in "OU"
        x = np.arange(len(values)) if levels else values
        for k, name in enumerate(lines):
            color = COLORS[k % len(COLORS)]
            style = "o" if levels else f"{STYLES[k // len(COLORS)]}o"
            axis.plot(x, means[:, k], style, color=color, markersize=5 if levels else 2.5, label=_name(name))
        _plain(axis, _name(column))
        if levels:
            names = [_name(level, 18) for level in values]
            long = sum(map(len, names)) > 24
            axis.set_xticks(
                x, names, rotation=45 if long else 0, ha="right" if long else "center", fontsize=8
            )
            axis.set_xlim(-0.5, len(names) - 0.5)
        elif values.dtype.kind == "M":
            _over_dates(axis)
        else:
            axis.locator_params("x", nbins=5)
            axis.xaxis.set_major_formatter("{x:,.9g}")
        axis.set_ylim(low - margin, high + margin)
        axis.yaxis.set_major_formatter("{x:,.9g}")
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    if len(lines) > 1:
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=across, frameon=False)
    return figure


def _over_dates(axes: "Axes") -> None:
    """Label an axis of dates with few, short words."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(maxticks=5)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def predicted(y_true: np.ndarray, y_pred: np.ndarray, targets: Sequence[str] = ("",)) -> "Figure":
    """Draw the predictions of a regression against the true values, in a panel for each target.

    Parameters
    ----------
    y_true, y_pred : arrays of shape (rows, targets)
    targets : sequence of str, optional
        What is predicted, for the labels of the axes.
    """
    across = min(len(targets), 3)
    down = -(-len(targets) // across)
    figure, panels = _figure(
        5 if across == 1 else 4 * across, 4.6 if across == 1 else 3.8 * down, down, across
    )
    for axes, name, true, found in zip(panels, targets, y_true.T, y_pred.T, strict=False):
        _predicted(axes, true, found, name)
    for axes in panels[len(targets) :]:
        axes.set_axis_off()
    return figure


def _predicted(axes: "Axes", y_true: np.ndarray, y_pred: np.ndarray, target: str) -> None:
    from matplotlib.ticker import MaxNLocator

    figures = regression(y_true, y_pred)
    ends = [min(y_true.min(), y_pred.min()), max(y_true.max(), y_pred.max())]
    axes.plot(ends, ends, color="0.7", linestyle="--", label="perfect")
    alpha = min(0.7, max(0.2, 200 / len(y_true)))  # where points overlap, the darkness shows their number
    many = len(y_true) > 1000  # as many marks would make a large SVG
    axes.scatter(
        y_true, y_pred, s=14, color=BLUE, alpha=alpha, linewidths=0, label="this network", rasterized=many
    )
    title = f"RMSE {_number(figures['rmse'])}, MAE {_number(figures['mae'])}"
    title += f", R² {_number(figures['r2'])}" if "r2" in figures else ""
    _plain(axes, f"true {_name(target)}".strip(), f"predicted {_name(target)}".strip(), title)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,.9g}")
        axis.set_major_locator(MaxNLocator(4))  # long numbers need room
    for handle in axes.legend(frameon=False, fontsize=9).legend_handles:
        if handle:
            handle.set_alpha(1)


def residuals(y_true: np.ndarray, y_pred: np.ndarray, target: str = "") -> "Figure":
    """Draw how far the predictions of a regression are off, over the predictions; and how often.

    A line of medians shows whether the network is off in one direction for small or large predictions.

    Parameters
    ----------
    y_true, y_pred : arrays of shape (rows,)
    target : str, optional
        What is predicted, for the labels of the axes.
    """
    from matplotlib.ticker import MaxNLocator

    off = y_true - y_pred
    figure, (axes, beside) = _figure(6.8, 4.2, 1, 2, widths=(3, 1))
    alpha = min(0.7, max(0.2, 200 / len(off)))
    axes.axhline(0, color="0.7", linestyle="--")
    axes.scatter(y_pred, off, s=14, color=BLUE, alpha=alpha, linewidths=0, rasterized=len(off) > 1000)
    groups = np.array_split(np.argsort(y_pred, kind="stable"), max(1, min(10, len(off) // 20)))
    if len(groups) > 1:
        x, y = ([float(np.median(values[group])) for group in groups] for values in (y_pred, off))
        axes.plot(x, y, "-o", color=RED, markersize=3.5, label="medians")
        axes.legend(frameon=False, fontsize=9)
    name = _name(target)
    _plain(axes, f"predicted {name}".strip(), "true − predicted", f"Mean residual {_number(off.mean())}")
    beside.hist(off, bins=min(40, max(5, math.isqrt(len(off)))), orientation="horizontal", color=SKY)
    _plain(beside, "rows", grid="x")
    beside.sharey(axes)
    beside.tick_params(labelleft=False)
    reach = 1.05 * float(np.abs(off).max()) or 1.0
    axes.set_ylim(-reach, reach)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,.9g}")
        axis.set_major_locator(MaxNLocator(4))
    beside.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    return figure


def roc(y_true: np.ndarray, probabilities: np.ndarray, classes: Classes) -> "Figure":
    """Draw the ROC curve of each class against all others; of two classes that of the second.

    Parameters
    ----------
    y_true : array of shape (rows,), int
        Positions in `classes`.
    probabilities : array of shape (rows, classes)
    classes : sequence of str or int

    Raises
    ------
    InputError
        If all rows are of one class.
    """
    from sklearn import metrics

    found: list[_Curve] = []
    for k, name in _against_others(y_true, classes):
        wrong, right, _ = metrics.roc_curve(y_true == k, probabilities[:, k])
        found.append(_Curve(name, np.asarray(wrong), np.asarray(right), float(metrics.auc(wrong, right))))
    figure, (axes,) = _figure(5.4, 4.6)
    axes.plot([0, 1], [0, 1], color="0.7", linestyle="--", label="by chance")
    _of_classes(axes, found, "AUC")
    _plain(axes, "share of the other rows taken for the class", "share of its rows found", "ROC curve")
    return figure


def precision_recall(y_true: np.ndarray, probabilities: np.ndarray, classes: Classes) -> "Figure":
    """Draw the precision over the recall of each class against all others; see `roc`.

    Precision is the share of the rows taken for the class that are of it. Recall is the share of its rows
    that are found.
    """
    from sklearn import metrics

    found: list[_Curve] = []
    for k, name in _against_others(y_true, classes):
        precision, recall, _ = metrics.precision_recall_curve(y_true == k, probabilities[:, k])
        area = float(metrics.average_precision_score(y_true == k, probabilities[:, k]))
        found.append(_Curve(name, np.asarray(recall), np.asarray(precision), area))
    figure, (axes,) = _figure(5.4, 4.6)
    if len(found) == 1:
        share = float((y_true == 1).mean())
        axes.axhline(share, color="0.7", linestyle="--", label=f"by chance: {share:.3f}")
    _of_classes(axes, found, "average precision", drawstyle="steps-post")
    _plain(axes, "recall", "precision", "Precision over recall")
    return figure


class _Curve(NamedTuple):
    """A curve of one class against the others."""

    name: str
    x: np.ndarray
    y: np.ndarray
    score: float


NAMED = 10  # curves that a legend names


def _against_others(y_true: np.ndarray, classes: Classes) -> list[tuple[int, str]]:
    """Return the number and the name of each class that some rows have and some have not."""
    there = [k for k in range(len(classes)) if 0 < (y_true == k).sum() < len(y_true)]
    if not there:
        raise InputError("all rows are of one class; curves of a class against others need both")
    return [(k, _name(classes[k])) for k in (there[1:] if len(classes) == 2 else there)]


def _of_classes(axes: "Axes", found: Sequence[_Curve], what: str, **style: str) -> None:
    """Draw a curve of each class, and name those with the smallest score."""
    worst = sorted(found, key=lambda curve: curve.score)[:NAMED]
    for curve in found:
        if not any(curve is one for one in worst):
            axes.plot(curve.x, curve.y, color="0.85", linewidth=0.8, **style)  # type: ignore[arg-type]
    shown = [curve for curve in found if any(curve is one for one in worst)]
    for i, curve in enumerate(shown):
        line = STYLES[i // len(COLORS) % len(STYLES)]
        label = f"{curve.name}: {what} {curve.score:.3f}"
        axes.plot(curve.x, curve.y, line, color=COLORS[i % len(COLORS)], label=label, **style)  # type: ignore[arg-type]
    if others := len(found) - len(shown):
        axes.plot([], [], color="0.85", label=f"{others} others, which are better")
    axes.legend(frameon=False, fontsize=8)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))


def _number(value: float) -> str:
    """Return a number with four digits, or in whole if it is larger: 0.1234, 53,151."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"


def calibration(y_true: np.ndarray, probabilities: np.ndarray, bins: int = 10) -> "Figure":
    """Draw how often predictions of each confidence are correct, and below it how many rows those are.

    Parameters
    ----------
    y_true : array of shape (rows,), int
    probabilities : array of shape (rows, classes)
    bins : int, default 10
        Number of bins of equal width between 0 and 1.
    """
    sure = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == y_true
    number = np.minimum((sure * bins).astype(int), bins - 1)
    counts = np.bincount(number, minlength=bins)
    there = counts > 0
    mean = np.bincount(number, sure, bins)[there] / counts[there]
    share = np.bincount(number, right, bins)[there] / counts[there]
    figure, (axes, below) = _figure(5, 5.4, 2, 1, heights=(3, 1))
    axes.plot([0, 1], [0, 1], color="0.7", linestyle="--", label="perfect")
    axes.plot(mean, share, marker="o", color=BLUE, label="this network")
    error = calibration_error(y_true, probabilities, bins)
    _plain(axes, "", "share that is correct", f"Expected calibration error {error:.3f}")
    axes.legend(frameon=False, fontsize=9)
    below.bar((np.arange(bins) + 0.5) / bins, counts, 0.9 / bins, color=SKY)
    for place, count in enumerate(counts):
        if count:
            below.annotate(f"{count:,}", ((place + 0.5) / bins, count), (0, 2), textcoords="offset points",
                           ha="center", fontsize=7)  # fmt: skip
    _plain(below, "confidence of the prediction", "rows", grid="y")
    below.set_ylim(0, 1.2 * counts.max())
    for axis in (axes, below):
        axis.set_xlim(-0.03, 1.03)
    return figure
