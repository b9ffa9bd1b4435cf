"""Figures, by what is drawn in them: lines, bars, cells, images and their texts."""

import io
import os
import warnings
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.container import BarContainer, ErrorbarContainer
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from mlpax import plots
from mlpax.errors import InputError


def history(epochs, metrics=("accuracy",), valid=True):
    rows = []
    for i in range(1, epochs + 1):
        row = {"epoch": i, "loss": 1.5 / i}
        for k, metric in enumerate(metrics):
            row[f"train_{metric}"] = 1 - 0.2 / i + k
            if valid:
                row[f"valid_{metric}"] = 1 - 0.3 / i + k
        rows.append(row | {"seconds": 0.5 + 0.01 * i})
    return rows


def column(rows, name):
    return [row[name] for row in rows]


def drawn(figure):
    """Draw the figure, so that whatever drawing would warn of or fail at happens; returns its axes."""
    figure.draw_without_rendering()
    return figure.axes


def texts(labels):
    return [label.get_text() for label in labels]


def ticks(axis):
    low, high = sorted(axis.get_view_interval())
    return [tick for tick in axis.get_ticklocs() if low <= tick <= high]


# ---- names, which are the user's

LONG = "a name that somebody gave with much to tell and no thought of pictures, number "
ODD = [
    "$_$ x",
    "gain_$_$_z",
    r"\$a",
    "$",
    "_hidden",
    "caf\udce9",
    "two\nlines",
    "bell\a",
    "\x1b[7m\u202e",
    "猫",
    "",
    LONG + "1",
]


def everything(names):
    """Each figure that has names in it."""
    k = len(names)
    rows = {name: history(3) for name in names}
    probabilities = np.eye(k)[::-1] if k % 2 == 0 else np.eye(k)[(np.arange(k) + 1) % k]
    yield plots.comparison(rows)
    yield plots.confusion_matrix(np.arange(k), np.arange(k), names)
    yield plots.worst_mistakes(np.eye(k, 4), np.arange(k), probabilities, names, (2, 2))
    yield plots.importance([(name, 0.5, 0.1) for name in names], "loss")
    yield plots.epoch_times({name: [0.5, 0.6] for name in names})
    yield plots.partial_dependence([(names[0], np.array(names, object), np.eye(k))], names, names[0])
    yield plots.curves(history(3), names[0])


def seen(figure):
    """The texts as they are drawn: without what keeps them from being mathematics."""
    from matplotlib.text import Text

    return {text._preprocess_math(text.get_text())[0].strip() for text in figure.findobj(Text)}


def test_every_name_is_drawn_as_it_stands(tmp_path):
    for number, figure in enumerate(everything(ODD)):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            plots.save(figure, tmp_path / f"{number}.svg")
        ElementTree.parse(tmp_path / f"{number}.svg")  # which a control character would break
        assert not said
    places = np.arange(len(ODD))
    confusion = seen(plots.confusion_matrix(places, places, ODD))
    escaped = {r"caf\udce9", r"two\nlines", r"bell\x07", r"\x1b[7m\u202e"}
    assert confusion >= {*ODD[:5], *escaped, "猫", ""}


def test_long_names_are_told_apart_and_lose_their_middle():
    names = [LONG + str(i) for i in range(6)]
    legend = texts(plots.comparison({name: history(3) for name in names}).legends[0].get_texts())
    assert legend == [f"a name that…es, number {i}" for i in range(6)]


@pytest.mark.parametrize(
    "names", [[LONG + str(i) for i in range(6)], ["n" * 149 + "ab"[i] for i in range(2)]]
)
def test_long_names_stay_inside_and_leave_room(names):
    for figure in everything(names):
        first = drawn(figure)[0].get_window_extent()
        assert min(first.width / figure.bbox.width, first.height / figure.bbox.height) > 0.12
        box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
        assert min(box.x0, box.y0, width - box.x1, height - box.y1) >= 0


def test_captions_of_mistakes_do_not_meet():
    names = [LONG + str(i) for i in range(4)]
    figure = plots.worst_mistakes(np.eye(4), np.arange(4), np.eye(4)[::-1], names, (2, 2))
    figure.draw_without_rendering()
    boxes = [axes.title.get_window_extent() for axes in figure.axes]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_columns_of_one_name_have_a_bar_each():
    figure = plots.importance([("a" * 50 + "b" * 50, 0.5, 0), ("a" * 50 + "c" + "b" * 50, 0.25, 0)], "loss")
    assert [bar.get_width() for bar in figure.axes[0].patches] == [0.25, 0.5]
    assert len({bar.get_y() for bar in figure.axes[0].patches}) == 2


# ---- curves


@pytest.mark.parametrize("epochs", [1, 30, 31, 300])
def test_curves_are_the_history(epochs):
    rows = history(epochs)
    figure = plots.curves(rows, "A run")
    loss, metric, seconds = drawn(figure)
    assert figure.get_suptitle() == "A run"
    assert texts([axes.title for axes in figure.axes]) == ["Training loss", "Accuracy", "Time per epoch"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["epoch"] * 3
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "accuracy", "seconds"]
    assert_array_equal(loss.lines[0].get_xydata(), [(row["epoch"], row["loss"]) for row in rows])
    for line, part in zip(metric.lines, ("train", "valid"), strict=True):
        assert_array_equal(line.get_xydata(), [(row["epoch"], row[f"{part}_accuracy"]) for row in rows])
    assert texts(metric.get_legend().get_texts()) == ["training", "validation"]
    assert metric.lines[0].get_color() != metric.lines[1].get_color()
    assert metric.lines[0].get_linestyle() != metric.lines[1].get_linestyle()  # also without colours
    assert_allclose([bar.get_height() for bar in seconds.patches], column(rows, "seconds"))
    assert_allclose([bar.get_x() + bar.get_width() / 2 for bar in seconds.patches], column(rows, "epoch"))
    markers = {line.get_marker() for line in (*loss.lines, *metric.lines)}
    assert markers == ({"o"} if epochs <= 30 else {""})  # of one epoch a line alone shows nothing
    for axes in figure.axes:
        low, high = axes.get_xlim()
        assert (low, high) == (0.4, epochs + 0.6)
        assert all(tick == round(tick) for tick in ticks(axes.xaxis))
        assert ticks(axes.xaxis)


def test_the_kept_epoch_is_marked():
    figure = plots.curves(history(10), kept=4)
    loss, metric, _ = drawn(figure)
    for axes in (loss, metric):
        assert_array_equal(axes.lines[-1].get_xdata(), [4, 4])
    assert texts(loss.get_legend().get_texts()) == ["kept: epoch 4"]
    assert texts(metric.get_legend().get_texts()) == ["training", "validation"]
    assert loss.get_xlim() == (0.4, 10.6)


def test_curves_have_round_epochs_below():
    for epochs, expected in [(1, [1]), (4, [1, 2, 3, 4]), (25, [5, 10, 15, 20, 25])]:
        assert ticks(drawn(plots.curves(history(epochs)))[0].xaxis) == expected


def test_curves_without_validation():
    _, metric, _ = drawn(plots.curves(history(5, valid=False)))
    assert len(metric.lines) == 1
    assert texts(metric.get_legend().get_texts()) == ["training"]


def test_curves_of_several_metrics():
    rows = history(4, ("accuracy", "f1", "top_5_accuracy"))
    _, *middle, _ = drawn(plots.curves(rows))
    assert texts([axes.title for axes in middle]) == ["Accuracy", "F1", "Top 5 accuracy"]
    for axes, metric in zip(middle, ("accuracy", "f1", "top_5_accuracy"), strict=True):
        assert_array_equal(axes.lines[0].get_ydata(), column(rows, f"train_{metric}"))
        assert_array_equal(axes.lines[1].get_ydata(), column(rows, f"valid_{metric}"))


def test_curves_without_metrics():
    loss, seconds = drawn(plots.curves(history(3, metrics=())))
    assert (len(loss.lines), len(seconds.patches)) == (1, 3)


def test_what_is_not_finite_is_a_gap():
    rows = history(6)
    rows[2]["loss"], rows[3]["valid_accuracy"], rows[4]["train_accuracy"] = np.inf, np.nan, -np.inf
    loss, metric, _ = drawn(plots.curves(rows))
    assert np.flatnonzero(np.isnan(loss.lines[0].get_ydata())).tolist() == [2]
    assert np.flatnonzero(np.isnan(metric.lines[0].get_ydata())).tolist() == [4]
    assert np.flatnonzero(np.isnan(metric.lines[1].get_ydata())).tolist() == [3]
    assert np.isfinite(loss.get_ylim()).all()


def test_no_epochs_are_refused():
    with pytest.raises(InputError, match="the history has no epochs"):
        plots.curves([])
    with pytest.raises(InputError, match="b has no epochs yet; train it for one, or leave it out"):
        plots.comparison({"a": history(2), "b": []})


# ---- comparison


def test_comparison_draws_every_run():
    runs = {"one": history(3), "two": history(12), "three": history(40)}
    figure = plots.comparison(runs)
    loss, metric = drawn(figure)
    assert texts([loss.title, metric.title]) == ["Training loss", "Validation accuracy"]
    for left, right, rows in zip(loss.lines, metric.lines, runs.values(), strict=True):
        assert_array_equal(left.get_xydata(), [(row["epoch"], row["loss"]) for row in rows])
        assert_array_equal(right.get_xydata(), [(row["epoch"], row["valid_accuracy"]) for row in rows])
        assert left.get_color() == right.get_color()
        assert left.get_linestyle() == right.get_linestyle()
    assert texts(figure.legends[0].get_texts()) == list(runs)
    assert [axes.get_xlim() for axes in figure.axes] == [(0.4, 40.6)] * 2


@pytest.mark.parametrize(("longest", "markers"), [(30, "ooo"), (31, ["o", "", ""])])
def test_runs_side_by_side_are_marked_alike(longest, markers):
    """But for a run of one epoch, which without a marker would not be seen."""
    figure = plots.comparison({"one": history(1), "short": history(5), "long": history(longest)})
    for axes in drawn(figure):
        assert [str(line.get_marker()) for line in axes.lines] == list(markers)


def test_nine_runs_are_told_apart():
    figure = plots.comparison({f"run {i}": history(5) for i in range(9)})
    for axes in drawn(figure):
        assert len({(to_hex(line.get_color()), line.get_linestyle()) for line in axes.lines}) == 9
    assert len(figure.legends[0].get_texts()) == 9


def test_a_run_is_named_whatever_its_first_letter():
    figure = plots.comparison({"_baseline": history(3), "other": history(3)})
    assert [name.strip() for name in texts(figure.legends[0].get_texts())] == ["_baseline", "other"]


def test_of_forty_runs_all_are_drawn_and_named_as_far_as_they_are_told_apart():
    figure = plots.comparison({f"run {i}": history(5) for i in range(40)})
    left, right = drawn(figure)
    assert len(right.lines) == 40
    names = texts(figure.legends[0].get_texts())
    assert names == [*(f"run {i}" for i in range(21)), "and 19 more"]
    looks = {(to_hex(line.get_color()), line.get_linestyle()) for line in right.lines[:21]}
    assert len(looks) == 21
    assert left.get_window_extent().height > 0.4 * figure.bbox.height


def test_comparison_says_which_runs_lack_its_metric():
    other = [{"epoch": 1, "loss": 1.0, "valid_rmse": 2.0, "seconds": 0.1}]
    legend = plots.comparison({"one": history(3), "two": other}).legends[0]
    assert texts(legend.get_texts()) == ["one", "two, without accuracy"]


def test_comparison_never_draws_training_rows_as_validation():
    mixed = {"without": history(3, valid=False), "with": history(4)}
    _, metric = drawn(plots.comparison(mixed))
    assert metric.get_title() == "Validation accuracy"
    (line,) = metric.lines
    assert_array_equal(line.get_ydata(), column(mixed["with"], "valid_accuracy"))
    _, metric = drawn(plots.comparison({"a": history(3, valid=False), "b": history(4, valid=False)}))
    assert metric.get_title() == "Training accuracy"
    assert_array_equal(metric.lines[1].get_ydata(), column(history(4), "train_accuracy"))


def test_comparison_takes_the_first_metric():
    figure = plots.comparison({"a": history(3, ("f1", "accuracy"))})
    assert drawn(figure)[1].get_ylabel() == "f1"


def test_an_empty_comparison_is_refused():
    with pytest.raises(InputError, match="no runs"):
        plots.comparison({})


# ---- confusion matrix


def cells(axes, k):
    counts = np.zeros((k, k), int)
    for text in axes.texts:
        x, y = text.get_position()
        counts[int(y), int(x)] = int(text.get_text())
    return counts


def test_confusion_matrix_is_scikit_learns():
    from sklearn.metrics import confusion_matrix

    generator = np.random.default_rng(0)
    y_true = generator.integers(0, 4, 500)
    y_pred = np.where(generator.random(500) < 0.7, y_true, generator.integers(0, 3, 500))
    expected = confusion_matrix(y_true, y_pred)
    axes = drawn(plots.confusion_matrix(y_true, y_pred, ("cat", "dog", "elephant", "newt")))[0]
    assert_array_equal(cells(axes, 4), expected)
    assert len(axes.texts) == np.count_nonzero(expected)
    assert_allclose(axes.images[0].get_array(), expected / expected.sum(axis=1, keepdims=True))
    assert (
        texts(axes.get_xticklabels()) == texts(axes.get_yticklabels()) == ["cat", "dog", "elephant", "newt"]
    )
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert axes.get_title() == f"{np.sum(y_true != y_pred)} of 500 wrong"


def test_confusion_matrix_of_whole_numbers_and_an_absent_class():
    axes = drawn(plots.confusion_matrix(np.array([0, 1, 1]), np.array([0, 1, 0]), range(3)))[0]
    assert texts(axes.get_xticklabels()) == ["0", "1", "2"]
    assert_array_equal(cells(axes, 3), [[1, 0, 0], [1, 1, 0], [0, 0, 0]])
    assert np.isfinite(axes.images[0].get_array()).all()


def test_confusion_matrix_texts_are_seen_on_their_cells():
    y_true = np.repeat([0, 1], 100)
    y_pred = np.where(np.arange(200) % 100 < 10, 1 - y_true, y_true)
    axes = drawn(plots.confusion_matrix(y_true, y_pred, (0, 1)))[0]
    image = axes.images[0]
    for text in axes.texts:
        x, y = text.get_position()
        cell = image.cmap(image.norm(image.get_array()[int(y), int(x)]))[:3]
        assert text.get_color() == ("white" if np.mean(cell) < 0.5 else "black")


@pytest.mark.parametrize(("k", "shown", "named"), [(20, True, True), (30, False, True), (60, False, False)])
def test_confusion_matrix_of_many_classes(k, shown, named):
    y = np.arange(k)
    axes = drawn(plots.confusion_matrix(y, y, range(k)))[0]
    assert len(axes.texts) == (k if shown else 0)
    assert (texts(axes.get_yticklabels()) == [str(i) for i in range(k)]) == named


def test_confusion_matrix_of_unequal_or_no_rows_is_refused():
    for y_true, y_pred in (([0, 1], [0]), ([], [])):
        with pytest.raises(InputError, match="must be equal, at least one"):
            plots.confusion_matrix(np.array(y_true, int), np.array(y_pred, int), (0, 1))


# ---- worst mistakes

ORDER = "lowest probability of the true class first"


def answers():
    """Four images of 2x3; all but the second are mistakes."""
    X = np.arange(24, dtype=np.uint8).reshape(4, 6)
    y_true = np.array([0, 1, 2, 0])
    probabilities = np.array([[0.3, 0.7, 0], [0, 1, 0], [0.95, 0, 0.05], [0.1, 0.3, 0.6]])
    return X, y_true, probabilities


def test_the_worst_mistake_comes_first():
    X, y_true, probabilities = answers()
    figure = plots.worst_mistakes(X, y_true, probabilities, ("a", "b", "c"), (2, 3))
    axes = [axes for axes in drawn(figure) if axes.images]
    for image, row in zip(axes, [2, 3, 0], strict=True):
        assert_array_equal(image.images[0].get_array(), X[row].reshape(2, 3))
    assert [image.get_title() for image in axes] == [
        "true c\npredicted a (95%)", "true a\npredicted c (60%)", "true a\npredicted b (70%)",
    ]  # fmt: skip
    assert figure.get_suptitle() == f"The worst 3 of 3 mistakes\n{ORDER}"
    assert all(image.images[0].get_clim() == (0, 23) for image in axes)
    assert all(image.images[0].get_cmap().name == "gray" for image in axes)  # no negative


def test_the_title_of_one_mistake_has_room():
    X, y_true, probabilities = answers()
    figure = plots.worst_mistakes(X[:2], y_true[:2], probabilities[:2], ("a", "b", "c"), (2, 3))
    figure.draw_without_rendering()
    assert figure.get_suptitle() == "The one mistake"
    assert figure._suptitle.get_window_extent().width < figure.bbox.width


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (2, 2), (25, 7)])
def test_no_more_mistakes_than_asked_for(count, expected):
    y_true = np.zeros(7, int)
    probabilities = np.tile([0.2, 0.8], (7, 1))
    figure = plots.worst_mistakes(np.eye(7, 4), y_true, probabilities, (0, 1), (2, 2), count)
    assert sum(len(axes.images) for axes in drawn(figure)) == expected
    assert figure.get_suptitle().split("\n")[0] == f"The worst {expected} of 7 mistakes"
    assert figure.get_suptitle().endswith(ORDER) == (expected > 1)
    assert all(bool(axes.images) == axes.axison for axes in figure.axes)  # the places left over are blank


def test_no_mistakes():
    X, y_true, _ = answers()
    (axes,) = drawn(plots.worst_mistakes(X, y_true, np.eye(3)[y_true], ("a", "b", "c"), (2, 3)))
    assert texts(axes.texts) == ["no mistakes"]
    assert not axes.images


def test_images_of_another_shape_are_refused():
    X, y_true, probabilities = answers()
    with pytest.raises(InputError, match="6 features are no image of 2 x 2"):
        plots.worst_mistakes(X, y_true, probabilities, ("a", "b", "c"), (2, 2))
    with pytest.raises(InputError, match="9 features are no image of 3 x 4"):
        plots.weights(np.zeros((9, 5)), (3, 4))


# ---- weights


@pytest.mark.parametrize(("units", "count", "expected"), [(1, 64, 1), (5, 64, 5), (20, 10, 10)])
def test_weights_are_images_by_their_norm(units, count, expected):
    W = np.random.default_rng(0).normal(size=(6, units)) * np.arange(1, units + 1)
    figure = plots.weights(W, (2, 3), count)
    (image,) = drawn(figure)[0].images
    tiles = np.ma.filled(image.get_array(), np.nan)
    order = np.argsort(-np.linalg.norm(W, axis=0))[:expected]
    for i, unit in enumerate(order):
        tile = tiles[3 * (i // 8) :, 4 * (i % 8) :][:3, :4]  # eight a row, a line between
        assert_array_equal(tile[:2, :3], W[:, unit].reshape(2, 3))
        assert np.isnan(tile[2]).all()
        assert np.isnan(tile[:, 3]).all()
    assert np.isfinite(tiles).sum() == 6 * expected
    low, high = image.get_clim()
    assert low == -high < 0
    assert figure.get_suptitle() == f"First layer: {expected} of {units} units"


def test_weights_of_nothing_but_zeros():
    (image,) = drawn(plots.weights(np.zeros((4, 3)), (2, 2)))[0].images
    assert image.get_clim() == (-1.0, 1.0)


# ---- epoch times


def test_epoch_times_from_least_to_most():
    times = {"slow": [8.0, 9.0, 9.5], "mlpax (CPU)": [0.25, 0.24, 0.26], "middle": [0.5, 0.7, 0.9, 0.6]}
    figure = plots.epoch_times(times)
    (axes,) = drawn(figure)
    bars = next(c for c in axes.containers if isinstance(c, BarContainer))
    assert_allclose([bar.get_width() for bar in bars], [9.0, 0.65, 0.25])
    assert texts(axes.get_yticklabels()) == ["slow", "middle", "mlpax (CPU)"]  # upwards: the least is on top
    assert not axes.yaxis.get_inverted()
    (whiskers,) = next(c for c in axes.containers if isinstance(c, ErrorbarContainer)).lines[2]
    for segment, values in zip(whiskers.get_segments(), ([8, 9.5], [0.5, 0.9], [0.24, 0.26]), strict=True):
        assert_allclose(segment[:, 0], values)
    assert [text.strip() for text in texts(axes.texts)] == ["9.00 s", "650 ms", "250 ms"]
    colors = [to_hex(bar.get_facecolor()) for bar in bars]
    assert colors[0] == colors[1] != colors[2]  # the one this is about stands out
    assert axes.get_xscale() == "linear"
    assert [bar.get_x() for bar in bars] == [0, 0, 0]
    low, high = axes.get_xlim()
    assert low == 0
    assert all(text.get_window_extent().x1 < figure.bbox.x1 for text in axes.texts)  # the numbers have room
    labels = dict(zip(axes.get_xticks(), texts(axes.get_xticklabels()), strict=True))
    assert [label for tick, label in labels.items() if low <= tick <= high] == ["0", "2", "4", "6", "8", "10"]


def test_epoch_times_of_one_round():
    (axes,) = drawn(plots.epoch_times({"mlpax": [0.0312]}))
    assert [text.strip() for text in texts(axes.texts)] == ["31 ms"]
    assert ticks(axes.xaxis)


def test_no_times_are_refused():
    for times in ({}, {"mlpax": []}, {"mlpax": [1.0], "other": []}):
        with pytest.raises(InputError, match="no times"):
            plots.epoch_times(times)


# ---- save


@pytest.mark.parametrize(
    ("name", "start"),
    [("a.png", b"\x89PNG\r\n\x1a\n"), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF-"), ("a.PNG", b"\x89PNG")],
)
def test_save(tmp_path, name, start):
    plots.save(plots.epoch_times({"mlpax": [0.25]}), tmp_path / name)
    content = (tmp_path / name).read_bytes()
    assert content.startswith(start)
    assert name.endswith(".pdf") or len(content) > 1000
    assert os.listdir(tmp_path) == [name]
    if start.startswith(b"<?xml"):
        assert b"<svg" in content


def test_a_saved_picture_is_as_large_as_the_figure(tmp_path):
    from matplotlib.image import imread

    figure = plots.weights(np.eye(4), (2, 2))
    plots.save(figure, str(tmp_path / "a.png"))
    width, height = figure.get_size_inches() * figure.dpi
    pixels = imread(tmp_path / "a.png")
    assert_allclose(pixels.shape[:2], (height, width), atol=1)
    assert pixels.std() > 0.05  # something is drawn


@pytest.mark.parametrize("name", ["a.jpg", "a", "a.png.txt", ".png"])
def test_another_suffix_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=r"end it with \.png, \.svg or \.pdf"):
        plots.save(plots.epoch_times({"mlpax": [1.0]}), tmp_path / name)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_failing_save_leaves_the_old_picture(tmp_path, monkeypatch, error):
    figure = plots.epoch_times({"mlpax": [1.0]})
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def fail(file, **settings):
        file.write(b"half")
        raise error

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(error):
        plots.save(figure, path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.png"]


def test_pictures_need_no_pyplot():
    """Its import is slow, and it picks a window system."""
    import subprocess
    import sys

    code = (
        "import sys; from mlpax import plots; assert 'matplotlib' not in sys.modules;"
        "plots.epoch_times({'mlpax': [1.0]}); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- importance and calibration


def test_importance_has_the_largest_on_top_and_thirty_bars():
    rows = [(f"c{i}", 1 - i / 50, 0.01) for i in range(40)]
    (axes,) = drawn(plots.importance(rows, "loss of accuracy"))
    labels = texts(axes.get_yticklabels())
    assert (labels[-1], labels[0], len(labels)) == ("c0", "c29", 30)
    bars = next(c for c in axes.containers if isinstance(c, BarContainer))
    assert_allclose([bar.get_width() for bar in bars], [row[1] for row in rows[:30][::-1]])
    assert axes.get_title() == "The 30 most important of 40 columns"
    (axes,) = drawn(plots.importance(rows[:3], "loss of accuracy"))
    assert axes.get_title() == "The 3 most important of 3 columns"
    assert [bar.get_x() for bar in axes.patches] == [0, 0, 0]


def test_predictions_lie_beside_the_truth():
    y, out = np.array([1.0, 2.0, 4.0]), np.array([1.5, 2.0, 3.0])
    (axes,) = drawn(plots.predicted(y[:, None], out[:, None], ["price"]))
    assert_allclose(axes.collections[0].get_offsets(), np.stack([y, out], axis=1))
    assert_allclose(axes.lines[0].get_xydata(), [[1, 1], [4, 4]])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("true price", "predicted price")
    assert axes.get_title() == "RMSE 0.6455, MAE 0.5, R² 0.7321"


def test_large_predictions_are_written_in_whole_and_seen():
    y = np.linspace(40_000, 450_000, 20_000)
    (axes,) = drawn(plots.predicted(y[:, None], y[:, None] + 53_151, ["price"]))
    assert axes.get_title().startswith("RMSE 53,151, MAE 53,151")
    assert "300,000" in texts(axes.get_xticklabels())
    assert not any("e" in label for label in texts([*axes.get_xticklabels(), *axes.get_yticklabels()]))
    points = axes.collections[0]
    assert points.get_alpha() >= 0.2
    assert points.get_sizes()[0] >= 14


def test_calibration_by_hand():
    p = np.array([[0.9, 0.1]] * 4 + [[0.6, 0.4]])
    axes, below = drawn(plots.calibration(np.array([0, 0, 0, 1, 0]), p))
    assert_allclose(axes.lines[1].get_xydata(), [[0.6, 1.0], [0.9, 0.75]])
    assert axes.get_title() == "Expected calibration error 0.200"
    assert not axes.texts  # the counts are below, away from the lines
    assert [bar.get_height() for bar in below.patches] == [0, 0, 0, 0, 0, 0, 1, 0, 0, 4]
    assert texts(below.texts) == ["1", "4"]
    assert below.get_ylim()[0] == 0
    assert axes.get_xlim() == below.get_xlim()


# ---- partial dependence


def test_partial_dependence_has_a_panel_for_each_column_and_one_scale():
    levels, days = np.array(["low", "high"], object), np.array(["2024-01-01", "2024-06-01"], "datetime64[h]")
    panels = [
        ("size", np.array([1.0, 2.0, 4.0]), np.array([[10.0], [20.0], [40.0]])),
        ("kind", levels, np.array([[12.0], [18.0]])),
        ("sold", days, np.array([[15.0], [16.0]])),
    ]
    figure = plots.partial_dependence(panels, [""], "price")
    size, kind, sold, empty = drawn(figure)
    assert_array_equal(size.lines[0].get_xydata(), [[1, 10], [2, 20], [4, 40]])
    assert texts(kind.get_xticklabels()) == ["low", "high"]
    assert kind.lines[0].get_linestyle() == "None"  # nothing lies between two levels
    assert (size.get_xlabel(), figure.get_supylabel()) == ("size", "price")
    assert "Mar" in texts(sold.get_xticklabels())
    assert size.get_ylim() == kind.get_ylim() == sold.get_ylim()
    assert not empty.get_visible()


def test_partial_dependence_names_several_lines():
    panels = [("size", np.array([1.0, 2.0]), np.array([[0.1, 0.9], [0.4, 0.6]]))]
    figure = plots.partial_dependence(panels, ["no", "yes"], "probability")
    assert texts(figure.legends[0].get_texts()) == ["no", "yes"]
    assert_array_equal([line.get_ydata() for line in drawn(figure)[0].lines], [[0.1, 0.4], [0.9, 0.6]])


def test_curves_in_rows_have_the_same_panels():
    wide, tall = (drawn(plots.curves(history(3, ("accuracy", "loss_2", "f1")), columns=n)) for n in (0, 2))
    titles = [axis.get_title() for axis in wide]
    assert [axis.get_title() for axis in tall[:5]] == titles
    assert not tall[5].get_visible()


def test_the_same_figure_gives_the_same_bytes():
    one, two = (plots.drawn(plots.curves(history(3), "a & b"), "svg") for _ in range(2))
    assert one == two
    assert b">a &amp; b</text>" in one  # text stays text
    assert plots.drawn(plots.curves(history(3)), "png").startswith(b"\x89PNG")


# ---- curves of classes, residuals, and figures in a notebook


def test_roc_and_precision_recall_by_hand():
    """The positive rows have the probabilities 0.9 and 0.4, the others 0.6 and 0.2."""
    y, p = np.array([1, 1, 0, 0]), np.array([0.9, 0.4, 0.6, 0.2])
    (axes,) = drawn(plots.roc(y, np.stack([1 - p, p], axis=1), ("no", "yes")))
    curve = axes.lines[1]
    assert curve.get_label() == "yes: AUC 0.750"
    np.testing.assert_allclose(curve.get_xydata(), [[0, 0], [0, 0.5], [0.5, 0.5], [0.5, 1], [1, 1]])
    (axes,) = drawn(plots.precision_recall(y, np.stack([1 - p, p], axis=1), ("no", "yes")))
    chance, curve = axes.lines
    assert chance.get_label() == "by chance: 0.500"
    assert curve.get_label() == "yes: average precision 0.833"  # 1/2 * 1 + 1/2 * 2/3
    found = [[1, 1 / 2], [1, 2 / 3], [0.5, 1 / 2], [0.5, 1], [0, 1]]
    np.testing.assert_allclose(curve.get_xydata(), found)


@pytest.mark.parametrize(("draw", "chance"), [(plots.roc, 1), (plots.precision_recall, 0)])
def test_of_many_classes_the_worst_are_named(draw, chance):
    """Class 0 is told from the others by chance, and class 30 occurs in no row."""
    y = np.repeat(np.arange(30), 20)
    p = np.random.default_rng(0).random((600, 31)) + 0.8 * np.eye(31)[y]
    p[:, 0] = np.random.default_rng(1).random(600)
    (axes,) = drawn(draw(y, p / p.sum(axis=1, keepdims=True), [f"c{i}" for i in range(31)]))
    assert len(axes.lines) == 30 + chance + 1  # all are drawn, and the legend has a line for the others
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert len(labels) == 10 + chance + 1
    assert labels[chance].startswith("c0: ")
    assert labels[-1] == "20 others, which are better"


def test_rows_of_one_class_have_no_curve():
    with pytest.raises(InputError, match="all rows are of one class"):
        plots.roc(np.zeros(3, int), np.full((3, 2), 0.5), ("a", "b"))


def test_residuals_by_hand():
    y, predicted = np.array([1.0, 2.0, 6.0]), np.array([2.0, 2.0, 4.0])
    axes, beside = drawn(plots.residuals(y, predicted, "price"))
    np.testing.assert_array_equal(axes.collections[0].get_offsets(), [[2, -1], [2, 0], [4, 2]])
    assert axes.get_title() == "Mean residual 0.3333"
    assert sum(bar.get_width() for bar in beside.patches) == 3
    assert axes.get_ylim() == beside.get_ylim() == (-2.1, 2.1)


def test_the_line_of_medians_tells_a_bend():
    x = np.linspace(0, 1, 400)
    axes, _ = drawn(plots.residuals(x**2, x))  # predicted too much in the middle
    medians = axes.lines[1].get_ydata()
    assert len(medians) == 10
    assert medians.min() == medians[[4, 5]].min() == pytest.approx(-0.25, abs=0.01)


def test_a_notebook_shows_a_figure():
    """IPython asks a value for its picture; without pyplot matplotlib's own figures have none."""
    figure = plots.calibration(np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]]))
    picture, size = figure._repr_png_()
    width, height = Image.open(io.BytesIO(picture)).size
    assert width / size["width"] == pytest.approx(150 / 96, rel=0.01)
    assert height / size["height"] == pytest.approx(150 / 96, rel=0.01)
