"""The command line. Each command parses its arguments, calls one function and prints the result."""

import dataclasses
import os
import shutil
import sys
import typing
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlpax import __version__
from mlpax.cli import look, search
from mlpax.cli import serve as serving
from mlpax.cli.config import options_in
from mlpax.cli.export import export
from mlpax.cli.look import DataDir, Json, Moved, RunArgument
from mlpax.cli.options import (
    TOGETHER,
    InPanels,
    Setting,
    Together,
    fields_of,
    panels,
    reading_of,
    with_options,
)
from mlpax.cli.screen import bar, say, show, show_json, table
from mlpax.data.reading import Reading
from mlpax.errors import DivergedError, InputError, InterruptedRun, MlpaxError, Notice, counted
from mlpax.recipes import QUALITIES, RECIPES, Recipe
from mlpax.wording import epoch_line, figure

if TYPE_CHECKING:
    from mlpax.data.sources import Wanted
    from mlpax.runs.run import Every as Often
    from mlpax.runs.run_files import Result
    from mlpax.runs.start import Prepared

__all__ = ["main"]

app = typer.Typer(
    help="Multi-layer perceptrons in JAX, trained as fast as the machine allows.",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
sets = typer.Typer(help="List the named data sets and where their files are.")
app.add_typer(sets, name="datasets", invoke_without_command=True)

Every = Annotated[
    str, typer.Option(help="Time between checkpoints: epochs (5), seconds (30s) or minutes (5m).")
]
DataArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="DATA",
        help="digits, mnist, fashion_mnist or kmnist; a table (CSV, Excel, ...), a folder or pattern of"
        " its parts, or - for standard input; a folder of pictures [digits].",
    ),
]
RecipeName = Annotated[
    str | None,
    typer.Option(
        help=f"Settings to start from [{', '.join(RECIPES)}]. Default: table for tables, else default."
    ),
]
QualityName = Annotated[
    str, typer.Option(help=f"How much time to spend [{', '.join(QUALITIES)}]; best takes ten times as long.")
]
From = Annotated[
    Path | None,
    typer.Option("--from", help="Go on from this run, which has ended, for --epochs more; as a new run."),
]
Finetune = Annotated[
    Path | None,
    typer.Option(
        help="Begin with the network of this run or model file, on data with other columns or classes."
    ),
]
Like = Annotated[Path | None, typer.Option(help="Take the settings of this run, and train on other data.")]
Config = Annotated[
    Path | None, typer.Option(help="TOML file with options of this command, as learning-rate = 0.1.")
]
Device = Annotated[
    str | None, typer.Option(help="Where to train: cpu, gpu, or one of several, as gpu:1 [JAX's first].")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print only the run's folder.")]


def main(argv: list[str] | None = None) -> typing.NoReturn:
    """Run a command. An error is one line on stderr; `--debug` shows its traceback."""
    argv = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in argv
    warnings.showwarning = _say_warning
    try:
        status = app([a for a in argv if a != "--debug"], prog_name="mlpax", standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except Exception as error:
        if debug:
            raise
        text, status = _verdict(error)
        if text:
            say(text)
        _leave(status)
        sys.exit(status)
    except KeyboardInterrupt:
        sys.exit(130)


def _leave(status: int) -> None:
    """End a process that failed among several; JAX would let it wait for the others."""
    if "jax" in sys.modules:
        from mlpax import hosts

        hosts.leave(status)


def _say_warning(message: Warning | str, *_: object, **__: object) -> None:
    say(message)


def _verdict(error: Exception) -> tuple[str, int]:
    """Return the line to print for an error, and the exit code."""
    match error:
        case BrokenPipeError():  # nobody reads our output any more
            _drop_output()
            return "", 1
        case InterruptedRun():
            return str(error), 128 + error.signal
        case InputError():
            return str(error), 2
        case MlpaxError():
            return str(error), 1
        case MemoryError():
            return "not enough memory; choose smaller layers or less data", 2
        case typer.TyperException():
            return " ".join(error.format_message().split()), error.exit_code
        case typer.Abort():
            return "aborted", 130
        case OSError():
            return f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}", 1
        case _:
            return f"unexpected {type(error).__name__}: {error} (--debug shows where)".splitlines()[0], 1


@app.callback(invoke_without_command=True)
def _options(  # pyright: ignore[reportUnusedFunction]
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    json_: Annotated[
        bool, typer.Option("--json", help="Print the version as JSON, with all others.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    if version:
        from mlpax.engine.native.library import instructions, missing

        native = missing() or f"here, for {instructions()}"
        if json_:
            show_json(_versions() | {"native library": native})
        else:
            show(f"mlpax {__version__}; the native library: {native}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        show(*context.get_help().splitlines())
        raise typer.Exit(2)


def _versions() -> dict[str, str]:
    """Return the versions of mlpax, Python and what mlpax stands on."""
    import platform
    from importlib.metadata import version

    names = ("mlpax", "jax", "jaxlib", "numpy", "optax", "polars", "scikit-learn")
    return {name: version(name) for name in names} | {
        "python": platform.python_version(), "platform": platform.platform()
    }  # fmt: skip


def _settings(given: dict[str, Setting | None]) -> tuple[Reading, dict[str, object]]:
    """Return how to read the data, and the changes to the recipe, from the options of the command line."""
    changes: dict[str, object] = {name: value for name, value in given.items() if value not in (None, [])}
    reading = {f.name: changes.pop(f.name) for f in dataclasses.fields(Reading) if f.name in changes}
    if "hidden" in changes:
        hidden = str(changes["hidden"])
        try:
            changes["hidden"] = tuple(int(units) for units in hidden.split(",") if units.strip())
        except ValueError:
            raise InputError(f"hidden {hidden!r} is no list of whole numbers; write 128,64") from None
    return reading_of(reading), changes


def _choose_devices(changes: dict[str, object], device: str | None) -> None:
    """Meet the other processes, if there are any, and turn the devices into changes of the recipe."""
    from mlpax import hosts
    from mlpax.engine.devices import settings_on

    given: dict[str, Any] = {
        name: changes.pop(name) for f in fields_of(Together) if (name := f.name) in changes
    }
    devices = given.pop("devices", None)
    hosts.join(**given, notice=say)
    changes |= settings_on(device, devices, str(changes.get("backend", "auto")))


def _follows() -> bool:
    """Return whether another process leads the training and prints what is said of it."""
    if "jax" not in sys.modules:
        return False
    from mlpax import hosts

    return hosts.index() > 0


@app.command(cls=InPanels)
@with_options(panels() | TOGETHER)
def train(
    data: DataArgument = None,
    *,
    recipe: RecipeName = None,
    quality: QualityName = QUALITIES[0],
    out: Annotated[Path | None, typer.Option(help="Folder of the run [runs/<data>-<recipe>-<n>].")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    from_: From = None,
    like: Like = None,
    finetune: Finetune = None,
    config: Config = None,
    checkpoint_every: Every = "1",
    log: Annotated[str | None, typer.Option(help="Also write the epochs to a log [tensorboard].")] = None,
    data_dir: DataDir = None,
    device: Device = None,
    quiet: Quiet = False,
    json_: Json = False,
    **settings: Setting | None,
) -> None:
    """Train a network and keep everything about the run in a folder.

    The recipe decides every setting that you do not give.
    """
    from mlpax.data.sources import Wanted, short_name, source
    from mlpax.engine.devices import on_device
    from mlpax.runs import start

    if resume and out is None:
        raise InputError("--resume needs the run's folder; name it with --out")
    if config is not None:
        given = options_in(config, {f.name: f for fields in panels().values() for f in fields})
        settings = {**settings, **given, **{n: v for n, v in settings.items() if v not in (None, [])}}
    reading, changes = _settings(settings)
    _choose_devices(changes, device)
    silent = quiet or json_ or _follows()
    often = start.often(checkpoint_every)
    told: Any = {"every": often, "quiet": quiet, "as_json": json_}
    chosen_recipe = recipe or quality != QUALITIES[0]
    if from_ is not None:
        if like or finetune or chosen_recipe or resume or reading != Reading():
            raise InputError(
                "--from takes recipe and options from the run; leave out all but numbers to change"
            )
        with start.from_parent(from_, changes, out, data=data, data_dir=data_dir, device=device) as prepared:
            _train(prepared, log=log, **told)
        return
    wanted = Wanted(recipe, changes, quality)
    if like is not None or finetune is not None:
        wanted, reading = _as_earlier(wanted, reading, data, like, finetune)
    data = data or "digits"
    if reading.folds and log:
        raise InputError(f"log {log!r} is of one run, and each fold has one of its own; leave it out")
    found = source(data, data_dir, memory=reading.memory)
    heard: Notice = (lambda text: None) if silent else say
    if reading.folds:
        folds = start.folds_of(found, wanted, reading, data_dir=data_dir, resume=resume, notice=heard)
        with on_device(device), start.folder(out, short_name(data), wanted.name("folds")) as path:
            _train_folds(path, folds, reading, **told)
        return
    start.check_out(out, resume)
    ready = found.to_train(wanted, reading, heard, progress=not silent)
    where: Any = {"data": data, "data_dir": data_dir, "device": device, "finetune": finetune}
    with start.on_rows(ready, reading, out, resume=resume, **where) as prepared:
        _train(prepared, log=log, **told)


def _as_earlier(
    wanted: "Wanted", reading: Reading, data: str | None, like: Path | None, finetune: Path | None
) -> "tuple[Wanted, Reading]":
    """Return the settings with those of a run in their place (`like`), or with the shape of its network."""
    from mlpax.runs import start

    if like is not None:
        if data is None or wanted.recipe or wanted.quality != QUALITIES[0] or finetune:
            raise InputError("--like takes the recipe from the run; name data to train on, and no recipe")
        return start.like(like, wanted.changes, reading)
    assert finetune is not None
    if data is None or reading.folds:
        raise InputError("--finetune trains one run on other data; name the data, and leave out --folds")
    return start.tuned(finetune, wanted), reading


@app.command()
def resume(
    run: RunArgument,
    *,
    checkpoint_every: Every = "1",
    moved: Moved = None,
    device: Device = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Continue an interrupted run.

    It ends with the same bits as an uninterrupted run.
    """
    from mlpax.engine.devices import on_device
    from mlpax.runs import start

    often = start.often(checkpoint_every)
    options = start.options_of(run)
    if options.folds and not options.fold:
        with on_device(device):
            _train_folds(run, start.folds_again(run, moved), options, every=often, quiet=quiet, as_json=json_)
        return
    log = "tensorboard" if (run / "tensorboard").is_dir() else None
    with start.again(run, moved, device) as prepared:
        _train(prepared, every=often, log=log, quiet=quiet, as_json=json_)


def _train(prepared: "Prepared", *, every: "Often", log: str | None, quiet: bool, as_json: bool) -> None:
    """Train with epoch lines and a progress bar. Print how the run ended."""
    from mlpax.runs.logs import logger

    path, recipe = prepared.path, prepared.recipe
    logs = logger(log, path) if log else nullcontext()
    silent = quiet or as_json or _follows()
    on_terminal = sys.stdout.isatty() and not silent
    shown = bar(recipe.epochs, prepared.begun) if on_terminal else nullcontext(show)
    with logs as logged, shown as show_epoch:

        def on_epoch(row: dict[str, float]) -> None:
            if logged:
                logged(row)
            if silent:
                return
            try:
                show_epoch(epoch_line(row, recipe.epochs))
                sys.stdout.flush()
            except OSError as error:  # the reader has left, or the disk is full
                _drop_output()
                remedy = f"nothing is lost; go on with: mlpax resume {path}"
                raise MlpaxError(f"cannot write the output: {error.strerror}; {remedy}") from None

        def on_refit(row: dict[str, float], epochs: int) -> None:
            if not silent:
                show(epoch_line(row, epochs).replace("Epoch", "On all rows: epoch", 1))

        with _told(path):
            result = prepared.train(every=every, on_epoch=on_epoch, on_refit=on_refit, notice=say)
    if _follows():
        return
    if as_json:
        show_json({"run": str(path), **result._asdict()})
    elif quiet:
        show(path)
    else:
        show(*_ending(path, recipe, result))


def _train_folds(
    path: Path, folds: "Callable[..., Result]", options: Reading, *, every: "Often", quiet: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Train on folds, with a line for each. Print how it ended."""
    from mlpax.runs.start import fold_line

    def on_fold(fold: int, result: "Result") -> None:
        if not (quiet or as_json):
            show(fold_line(fold, options.folds, result))

    with _told(path):
        result = folds(path, every=every, on_fold=on_fold, notice=say)
    if as_json:
        show_json({"run": str(path), **result._asdict()})
    elif quiet:
        show(path)
    else:
        figures = ", ".join(
            figure(name.replace("fold_", "out-of-fold "), v) for name, v in result.metrics.items()
        )
        show(f"{path}: finished; {figures}, trained in {result.seconds:.2f} sec.")


@contextmanager
def _told(path: Path) -> Generator[None]:
    """Add to an error of training what is left of the run in `path`, and how to continue."""
    try:
        yield
    except DivergedError as error:
        kept = (path / "model.safetensors").exists()
        advice = str(error).replace("clip_norm=", "--clip-norm ")
        raise DivergedError(f"{advice}{f'; the best weights so far are in {path}' if kept else ''}") from None
    except OSError as error:  # a full disk, or a folder that was removed
        kept = (path / "config.json").exists()
        remedy = f"; when there is room again, go on with: mlpax resume {path}" if kept else ""
        raise MlpaxError(f"cannot write to {path}: {error.strerror or error}{remedy}") from None


def _ending(path: Path, recipe: Recipe, result: "Result") -> list[str]:
    """Return the last line of a training: how it ended, and the test figures, or else the validation's.

    If the line is wider than the terminal, the figures are a second line.
    """
    scores = [name for name in result.metrics if name.startswith(("test_", "valid_"))]
    scores = [name for name in scores if name.startswith("test_")] or scores
    last = "" if recipe.patience or result.best_epoch == result.epochs else ", the last kept"
    ended = f"{path}: {result.state}; best epoch {result.best_epoch} of {result.epochs}{last},"
    if recipe.members > 1:
        kept = f", each of {recipe.members} members with its best" if recipe.patience else ""
        ended = f"{path}: {result.state}; epoch {result.epochs} of {recipe.epochs}{kept},"
    ended += f" then {counted(result.refit, 'epoch')} on all rows," if result.refit else ""
    before = " before" if result.refit else ""  # the rows that validated are now trained on
    figures = "".join(
        f"{figure(n, result.metrics[n])}{before if n.startswith('valid_') else ''}, " for n in scores
    )
    figures += f"trained in {result.seconds:.2f} sec."
    wide = sys.stdout.isatty() and len(f"{ended} {figures}") > shutil.get_terminal_size().columns
    return [ended, f"  {figures}"] if wide else [f"{ended} {figures}"]


def _drop_output() -> None:
    """Discard the remaining output. Otherwise Python would report an error when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


for command in (
    look.describe, look.evaluate, look.predict, look.importance, look.plot, look.report,
    look.inspect, look.compare,
):  # fmt: skip
    app.command()(command)
app.command("runs")(look.list_runs)
app.command()(export)
app.command(cls=InPanels)(search.sweep)
app.command("lr-find", cls=InPanels)(search.lr_find)
app.command()(serving.serve)


@sets.callback()
def _sets(context: typer.Context, data_dir: DataDir = None, json_: Json = False) -> None:  # pyright: ignore[reportUnusedFunction]
    if context.invoked_subcommand is None:
        from mlpax.data import named_sets

        rows = named_sets.catalogue(data_dir)
        if json_:
            show_json([row._asdict() for row in rows])
            return
        table(rows)


@sets.command("fetch")
def fetch(name: Annotated[str, typer.Argument(help="fashion_mnist, kmnist or mnist.")]) -> None:
    """Download a data set into the user's cache and check its SHA-256."""
    from mlpax.data import named_sets

    show(named_sets.fetch(name, progress=sys.stdout.isatty()))
