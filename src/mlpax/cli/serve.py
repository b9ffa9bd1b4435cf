"""The command that answers over HTTP: `serve`."""

from pathlib import Path
from typing import Annotated

import typer

from mlpax.cli.screen import say, show
from mlpax.errors import InputError

__all__ = ["serve"]


def serve(
    model: Annotated[Path, typer.Argument(metavar="RUN|MODEL", help="A run's folder, or a model file.")],
    *,
    port: Annotated[int, typer.Option(help="Where to listen; 0 for a free port.")] = 8000,
) -> None:
    """Answer over HTTP with a trained network, and show a page to try it."""
    try:
        from mlpax.serve.http import run
        from mlpax.serve.options import Options
    except ModuleNotFoundError as error:
        raise InputError(f"serve needs {error.name}; pip install 'mlpax[serve]'") from None
    run(model, Options(port=port), say, show)
