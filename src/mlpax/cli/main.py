"""The command line: each command parses, calls one function, prints."""

import dataclasses
import json
import math
import os
import sys
import typing
from collections.abc import Callable
from contextlib import nullcontext
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlpax import __version__
from mlpax.cli import look, screen
from mlpax.cli.look import DataDir, Json, RunArgument
from mlpax.cli.screen import bar, line, table
from mlpax.data.reading import Reading
from mlpax.errors import DivergedError, InputError, InterruptedRun, MlpaxError
from mlpax.recipes import RECIPES, Recipe

if TYPE_CHECKING:
    from mlpax.data.dataset import Dataset

__all__ = ["main"]

app = typer.Typer(
    help="Multi-layer perceptrons in JAX, trained as fast as the machine allows.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
sets = typer.Typer(help="Say which data sets there are and where they lie.")
app.add_typer(sets, name="datasets", invoke_without_command=True)

Every = Annotated[
    str, typer.Option(help="Time between checkpoints: epochs, as 5, or seconds or minutes, as 30s or 5m.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print neither progress nor epochs.")]


def main(argv: list[str] | None = None) -> typing.NoReturn:
    """Run the command; errors are one line on stderr, `--debug` shows their traceback."""
    argv = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in argv
    try:
        status = app([a for a in argv if a != "--debug"], prog_name="mlpax", standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except Exception as error:
        if debug:
            raise
        text, status = _verdict(error)
        if text:
            print(f"mlpax: {text}", file=sys.stderr)
        sys.exit(status)
    except KeyboardInterrupt:
        sys.exit(130)


def _verdict(error: Exception) -> tuple[str, int]:
    """The line to print for an error, and the exit code."""
    match error:
        case BrokenPipeError():  # the reader of our output has left
            _drop_output()
            return "", 1
        case InterruptedRun():
            return str(error), 128 + error.signal
        case InputError():
            return str(error), 2
        case MlpaxError():
            return str(error), 1
        case MemoryError():
            return "this takes more memory than there is; choose smaller layers or less data", 2
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
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    if version:
        print(f"mlpax {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)


def _with_options(settings: type, panel: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option for each field of a dataclass of settings, into its `**settings`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        parameters = list(signature(command).parameters.values())
        hints = typing.get_type_hints(command, include_extras=True)
        for field in dataclasses.fields(settings):
            kind = field.type if field.type in (int, float, bool) else str
            options = field.metadata["options"]
            text = field.metadata["help"] + (f" [{', '.join(options)}]" if options else "")
            flag = f"--{field.name.replace('_', '-')}"
            names = [f"{flag}/--no-{flag[2:]}" if kind is bool and field.default is True else flag]
            names += ["--valid"] if field.name == "validation" else []
            option = typer.Option(*names, help=f"{text[0].upper()}{text[1:]}.", rich_help_panel=panel)
            hints[field.name] = Annotated[kind | None, option]
            parameters.append(Parameter(field.name, Parameter.KEYWORD_ONLY, default=None))
        parameters = [
            p if p.kind == p.VAR_KEYWORD else p.replace(annotation=hints[p.name], kind=p.KEYWORD_ONLY)
            for p in parameters
        ]
        last = settings is Recipe  # the outermost: nothing is left for **settings
        parameters = sorted(parameters, key=lambda p: p.kind == p.VAR_KEYWORD)
        command.__signature__ = Signature(parameters[:-1] if last else parameters)  # type: ignore[attr-defined]
        command.__annotations__ = hints
        return command

    return decorate


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings given on the command line, as Recipe's fields."""
    given = {name: value for name, value in settings.items() if value is not None}
    if "hidden" in given:
        try:
            given["hidden"] = tuple(int(units) for units in given["hidden"].split(",") if units.strip())
        except ValueError:
            raise InputError(f"hidden {given['hidden']!r} is no list of whole numbers; as 128,64") from None
    return given


@app.command()
@_with_options(Recipe, "Recipe")
@_with_options(Reading, "Tables and pictures")
def train(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="digits, mnist, fashion_mnist, kmnist; a table (CSV, Parquet, ...); a folder of pictures.",
        ),
    ] = "digits",
    *,
    recipe: Annotated[
        str | None,
        typer.Option(help=f"Settings to start from [{', '.join(RECIPES)}]; table for tables, else default."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run [runs/<data>-<recipe>-<n>].")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    checkpoint_every: Every = "1",
    log: Annotated[
        str | None, typer.Option(help="Also log the epochs for another program [tensorboard].")
    ] = None,
    data_dir: DataDir = None,
    quiet: Quiet = False,
    json_: Json = False,
    **settings: Any,
) -> None:
    """Train a network and keep everything about it in a folder."""
    from mlpax.data.sources import Wanted, short_name, source
    from mlpax.runs import run

    if resume and out is None:
        raise InputError("--resume needs the run's folder; name it with --out")
    given = {name: value for name, value in settings.items() if value is not None}
    names = {f.name for f in dataclasses.fields(Reading)}
    reading = Reading(**{name: value for name, value in given.items() if name in names})
    changes = _given({name: value for name, value in given.items() if name not in names})
    silent = quiet or json_
    wanted = Wanted(recipe, changes)
    dataset, chosen, recipe = source(data, data_dir).to_train(
        wanted, reading, (lambda text: None) if silent else screen.say, progress=not silent
    )
    path = out or run.new_folder(Path("runs"), short_name(data), recipe)
    _train(
        path, dataset, chosen, quiet=quiet, as_json=json_, log=log, every=checkpoint_every, resume=resume,
        recipe_name=recipe, data_dir=None if data_dir is None else str(data_dir.resolve()),
        options=reading.given(),
    )  # fmt: skip


@app.command()
def resume(
    run: RunArgument, *, checkpoint_every: Every = "1", quiet: Quiet = False, json_: Json = False
) -> None:
    """Go on with an interrupted run, to the same bits."""
    from mlpax.data.sources import Wanted, source
    from mlpax.runs import run_files

    config = run_files.read_config(run)
    dataset, _, _ = source(config.dataset, config.data_dir).to_train(
        Wanted(config.recipe), Reading(**config.options)
    )
    log = "tensorboard" if (run / "tensorboard").is_dir() else None
    _train(
        run, dataset, config.recipe, quiet=quiet, as_json=json_, log=log, every=checkpoint_every, resume=True,
        recipe_name=config.recipe_name, data_dir=config.data_dir, options=config.options,
    )  # fmt: skip


def _every(text: str) -> tuple[int, float]:
    """Epochs and seconds of a `--checkpoint-every`."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in ("s", "m") else (text, "")
    try:
        value = float(number) if unit else int(number)
    except ValueError:
        value = 0
    if not 1 <= value < math.inf:
        raise InputError(f"checkpoint_every {text!r} is no time; give epochs, as 5, or 30s, or 5m")
    return (1, value * {"s": 1, "m": 60}[unit]) if unit else (int(value), 0.0)


def _train(
    path: Path,
    dataset: "Dataset",
    recipe: Recipe,
    *,
    quiet: bool,
    as_json: bool,
    log: str | None,
    every: str,
    **options: Any,
) -> None:
    """Train with an epoch line or a bar; say how it ended."""
    from mlpax.runs import run
    from mlpax.runs.logs import logger

    options["every"] = run.Every(*_every(every))
    logs = logger(log, path) if log else nullcontext(lambda row: None)
    silent = quiet or as_json
    on_terminal = sys.stdout.isatty() and not silent
    with logs as logged, bar(recipe.epochs) if on_terminal else nullcontext(line) as show:

        def on_epoch(row: dict[str, float]) -> None:
            logged(row)
            if not silent:
                try:
                    show(row, recipe.epochs)
                    sys.stdout.flush()
                except OSError as error:  # the reader has left, or a file is full
                    _drop_output()
                    raise MlpaxError(
                        f"cannot write the output: {error.strerror}; nothing is lost; go on with:"
                        f" mlpax resume {path}"
                    ) from None

        try:
            result = run.train(
                path,
                dataset,
                recipe,
                on_epoch=on_epoch,
                notice=screen.say,
                **options,
            )
        except InterruptedRun as error:
            raise InterruptedRun(error.signal, f"{error}; go on with: mlpax resume {path}") from None
        except DivergedError as error:
            kept = (path / "model.safetensors").exists()
            raise DivergedError(
                f"{error}{f'; the best weights so far are in {path}' if kept else ''}"
            ) from None
        except OSError as error:  # a full disk, a folder that went away
            kept = (path / "config.json").exists()
            remedy = f"; when there is room again, go on with: mlpax resume {path}" if kept else ""
            raise MlpaxError(f"cannot write to {path}: {error.strerror or error}{remedy}") from None
    if as_json:
        print(json.dumps({"run": str(path), **result._asdict()}))
    elif not quiet:
        scores = [name for name in result.metrics if name.startswith(("test_", "valid_"))]
        figures = "".join(f", {screen.figure(name, result.metrics[name])}" for name in _shown(scores))
        last = "" if recipe.patience or result.best_epoch == result.epochs else ", the last kept"
        best = f"best epoch {result.best_epoch} of {result.epochs}{last}"
        print(f"{path}: {result.state}; {best}{figures}, trained in {result.seconds:.2f} sec.")


def _drop_output() -> None:
    """Send what is still to be printed nowhere, or Python would complain of it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _shown(scores: list[str]) -> list[str]:
    """The test's figures, or without test rows the validation's."""
    return [name for name in scores if name.startswith("test_")] or scores


for command in (
    look.describe, look.evaluate, look.predict, look.importance, look.plot, look.inspect,
    look.compare,
):  # fmt: skip
    app.command()(command)
app.command("runs")(look.list_runs)


@sets.callback()
def _sets(context: typer.Context, data_dir: DataDir = None, json_: Json = False) -> None:  # pyright: ignore[reportUnusedFunction]
    if context.invoked_subcommand is None:
        from mlpax.data import named_sets

        rows = named_sets.catalogue(data_dir)
        if json_:
            print(json.dumps([row._asdict() for row in rows]))
            return
        table(rows)


@sets.command("fetch")
def fetch(name: Annotated[str, typer.Argument(help="fashion_mnist, kmnist or mnist.")]) -> None:
    """Download a data set into the user's cache, checking its SHA-256."""
    from mlpax.data import named_sets

    print(named_sets.fetch(name, progress=sys.stdout.isatty()))
