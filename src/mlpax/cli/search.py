"""Commands that train many settings and compare them: `sweep` and `lr-find`."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from mlpax.cli.look import DataDir, Json, check_out
from mlpax.cli.options import PANELS_OF_DATA, Setting, panels, reading_of, with_options
from mlpax.cli.screen import say, show, show_json, table
from mlpax.data.reading import Reading
from mlpax.errors import counted
from mlpax.recipes import QUALITIES, RECIPES
from mlpax.space import parsed, written
from mlpax.wording import figure

if TYPE_CHECKING:
    from mlpax.runs.sweep import Progress, Sweep
    from mlpax.runs.trials import Standing

__all__ = ["lr_find", "sweep"]

SHOWN = 10  # trials of the leaderboard
OWN = ("folds", "refit")  # options of a sweep that mean something else
PANELS = {panel: [field for field in fields if field.name not in OWN] for panel, fields in panels().items()}


@with_options(PANELS, several=PANELS.keys() - PANELS_OF_DATA.keys())
def sweep(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="A known set, a table or pictures, as of `mlpax train`.")
    ] = "digits",
    *,
    recipe: Annotated[
        str | None,
        typer.Option(help=f"Settings that all trials have [{', '.join(RECIPES)}]; default as of train."),
    ] = None,
    quality: Annotated[str, typer.Option(help=f"As of train [{', '.join(QUALITIES)}].")] = QUALITIES[0],
    trials: Annotated[
        int | None,
        typer.Option(help="How many to try [all combinations of lists; 32 where there is a range]."),
    ] = None,
    folds: Annotated[
        int, typer.Option(help="Train each trial on so many folds, and compare the means [0: no folds].")
    ] = 0,
    seeds: Annotated[int, typer.Option(help="Train each trial so often, and compare the means.")] = 1,
    halving: Annotated[
        bool, typer.Option("--halving", help="Again and again, go on with the better third of the trials.")
    ] = False,
    refit: Annotated[bool, typer.Option(help="Train the best again as a run, in the folder best.")] = True,
    all_rows: Annotated[
        bool, typer.Option("--all-rows", help="Then train it on all rows, as --refit of train does.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder [sweeps/<data>-<recipe>-<n>].")] = None,
    executor: Annotated[
        str, typer.Option(help="Where groups of trials are trained [local, dask].")
    ] = "local",
    address: Annotated[
        str | None, typer.Option(help="Of the dask scheduler, as tcp://10.0.0.1:8786.")
    ] = None,
    data_dir: DataDir = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only the sweep's folder.")] = False,
    json_: Json = False,
    **settings: Setting | None,
) -> None:
    """Train many settings side by side, and tell which are best.

    A setting of the network or the training may be several: a list, --optimizer adam,nesterov; a range,
    --epochs 4:40; or a range on a log scale, --learning-rate 0.001:1:log. --hidden is given again for each.
    The same command goes on with an interrupted sweep.
    """
    from mlpax.runs import sweep as sweeps

    reading, swept = _settings(settings)
    silent = quiet or json_

    def on_progress(progress: "Progress") -> None:
        if not silent:
            show(_line(progress))

    found = sweeps.sweep(
        data, out=out, recipe=recipe, quality=quality, trials=trials, folds=folds, seeds=seeds,
        halving=halving, refit=refit, all_rows=all_rows, executor=executor, address=address,
        data_dir=data_dir, on_progress=on_progress, notice=(lambda text: None) if silent else say,
        **reading.given(), **swept,
    )  # fmt: skip
    if json_:
        show_json(_as_json(found))
    elif quiet:
        show(found.path)
    else:
        _show(found)


@with_options(PANELS)
def lr_find(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="A known set, a table or pictures, as of `mlpax train`.")
    ] = "digits",
    *,
    recipe: Annotated[
        str | None, typer.Option(help=f"Settings to start from [{', '.join(RECIPES)}]; default as of train.")
    ] = None,
    low: Annotated[float | None, typer.Option(help="Smallest rate [a thousandth of the recipe's].")] = None,
    high: Annotated[float | None, typer.Option(help="Largest rate [a hundred times the recipe's].")] = None,
    points: Annotated[int, typer.Option(help="Number of rates.")] = 32,
    steps: Annotated[int, typer.Option(help="Updates of each training.")] = 300,
    out: Annotated[Path | None, typer.Option(help="The picture [<data>-learning-rates.png].")] = None,
    data_dir: DataDir = None,
    json_: Json = False,
    **settings: Setting | None,
) -> None:
    """Train at many learning rates for a few hundred steps, side by side, and tell which is best.

    The recipe decides every setting that you do not give.
    """
    from mlpax import plots
    from mlpax.data.sources import short_name
    from mlpax.runs.rates import find_learning_rate

    path = out or Path(f"{short_name(data)}-learning-rates.png")
    check_out(path)
    plots.kind_of(path)  # before the work begins
    reading, fixed = _settings(settings)
    fixed = {name: parsed(name, value) if isinstance(value, str) else value for name, value in fixed.items()}
    found = find_learning_rate(
        data, recipe=recipe, low=low, high=high, points=points, steps=steps, data_dir=data_dir,
        notice=(lambda text: None) if json_ else say, **reading.given(), **fixed,
    )  # fmt: skip
    rates, losses = found.rates.tolist(), found.losses.tolist()
    plots.save(plots.learning_rates(rates, losses, found.best, found.usual, found.metric), path)
    if json_:
        show_json(found._asdict() | {"rates": rates, "losses": losses, "picture": str(path)})
        return
    shown = [*range(0, len(rates), max(1, len(rates) // 16))]
    table([("learning_rate", found.metric), *((f"{rates[k]:.4g}", losses[k]) for k in shown)])
    show(f"best: {found.best:g}, after {found.steps} steps; the recipe's rate is {found.usual:g}; see {path}")


def _settings(given: dict[str, Setting | None]) -> tuple[Reading, dict[str, object]]:
    """Return how to read the data, and the settings, those of several values as `space_of` takes them."""
    changes: dict[str, object] = {name: value for name, value in given.items() if value not in (None, [])}
    reading = {f.name: changes.pop(f.name) for f in dataclasses.fields(Reading) if f.name in changes}
    for name, value in changes.items():
        if name == "hidden" and isinstance(value, list):
            layers = [parsed(name, one) for one in cast("list[str]", value)]
            changes[name] = layers if len(layers) > 1 else layers[0]
    return reading_of(reading), changes


def _line(progress: "Progress") -> str:
    """Return a line about how far a sweep is."""
    rung = f"rung {progress.rung}/{progress.rungs}, " if progress.rungs > 1 else ""
    best = f"best {figure(progress.metric, progress.best.score)}, {_in_words(progress.best)}"
    return f"{rung}{progress.done}/{progress.trials} trials: {best}"


def _in_words(standing: "Standing") -> str:
    return ", ".join(f"{name} {_value(value)}" for name, value in standing.settings.items())


def _value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else written(value)


def _show(found: "Sweep") -> None:
    """Print the best trials, and where the rest is."""
    several = len(found.standings[0].scores) > 1
    names = ["trial", found.metric, *(["spread"] if several else []), "trained", *found.space]
    rows = [cast(list[object], names)]
    for s in found.standings[:SHOWN]:
        score = [s.score, s.spread] if several else [s.score]
        rows.append([s.trial, *score, s.epochs, *(_value(s.settings[name]) for name in found.space)])
    table(rows)
    if (left := len(found.standings) - SHOWN) > 0:
        show(f"and {left} more in {found.path / 'leaderboard.csv'}")
    if found.best is None:
        show(f"{found.path}: the best is trial {found.standings[0].trial}")
        return
    scores = [n for n in found.best.metrics if n.startswith("test_")]
    scores = scores or [n for n in found.best.metrics if n.startswith("valid_")]
    refit = found.best.refit
    on = f", then {counted(refit, 'epoch')} on all rows" if refit else ""
    before = " before" if refit else ""  # the rows that validated are now trained on
    figures = "".join(
        f"; {figure(n, found.best.metrics[n])}{before if n.startswith('valid_') else ''}" for n in scores
    )
    show(f"{found.path / 'best'}: the best, trained again{on}{figures}")


def _as_json(found: "Sweep") -> dict[str, object]:
    rows = [{"trial": s.trial, "score": s.score, "spread": s.spread, "epochs": s.epochs, "seconds": s.seconds,
             "settings": s.settings} for s in found.standings]  # fmt: skip
    best = found.best._asdict() if found.best else None
    return {"sweep": str(found.path), "metric": found.metric, "trials": rows, "best": best}
