"""The command that writes a model for other programs: `export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlpax.atomic import atomic
from mlpax.cli.look import check_out
from mlpax.cli.screen import say, show, table
from mlpax.errors import InputError, unknown

if TYPE_CHECKING:
    from mlpax.model.model import Model

__all__ = ["export"]

DATES = ("text", "epoch")
FORMATS = {"onnx": ".onnx", "stablehlo": ".stablehlo"}
SHOWN = 20  # inputs of the graph


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, or a model file.")],
    *,
    to: Annotated[str, typer.Option(help=f"The format [{', '.join(FORMATS)}].")] = "onnx",
    out: Annotated[Path | None, typer.Option(help="File to write [model.onnx in the run].")] = None,
    dates: Annotated[
        str,
        typer.Option(help=f"How ONNX takes dates [{', '.join(DATES)}]; epoch: microseconds since 1970."),
    ] = DATES[0],
    interval: Annotated[
        float | None,
        typer.Option(
            help="Add a range for each value, or a set of classes, that holds the truth this often."
        ),
    ] = None,
) -> None:
    """Write a model as ONNX or StableHLO, and compare the file with the model.

    An ONNX graph takes the columns of a table, or pixels. It needs no mlpax: onnxruntime and others run it.
    """
    from mlpax.model.model_file import load

    if to not in FORMATS:
        raise unknown("format", to, FORMATS)
    out = out or (run if run.is_dir() else run.parent) / f"model{FORMATS[to]}"
    check_out(out)
    model = load(run)
    write = _onnx if to == "onnx" else _stablehlo
    largest = write(model, out, dates, interval)
    show(f"{out}: on made-up rows its answers differ from the model's by at most {largest:.0e}")


def _onnx(model: "Model", out: Path, dates: str, interval: float | None) -> float:
    """Write the graph, and show its inputs and outputs. Return the largest difference."""
    from mlpax.model.onnx_graph import difference, ends_of, to_onnx

    exported = to_onnx(model, dates=dates, interval=interval)
    largest = difference(model, exported, interval=interval)
    with atomic(out) as file:
        file.write(exported.SerializeToString())
    inputs, outputs = ends_of(exported)
    table([("input", "type", "shape", ""), *inputs[:SHOWN]], names=(0, 3))
    if len(inputs) > SHOWN:
        show(f"and {len(inputs) - SHOWN} more")
    show("")
    table([("output", "type", "shape"), *(end[:3] for end in outputs)])
    show("")
    return largest


def _stablehlo(model: "Model", out: Path, dates: str, interval: float | None) -> float:
    """Write the program. Return the largest difference."""
    from mlpax.model.stablehlo import difference, to_stablehlo

    if interval is not None or dates != DATES[0]:
        raise InputError("--interval and --dates are for ONNX; leave them out")
    program = to_stablehlo(model)
    largest = difference(model, program)
    with atomic(out) as file:
        file.write(program)
    if model.columns:
        say("StableHLO has no text: the program takes what Model.inputs returns for the rows of a table")
    return largest
