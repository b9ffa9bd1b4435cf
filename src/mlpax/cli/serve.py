"""The command that answers over HTTP: `serve`."""

import json
import re
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from mlpax.cli.screen import log, say, show
from mlpax.errors import InputError, unknown

__all__ = ["serve"]

TOKEN = "MLPAX_TOKEN"  # an option would show it to all users of the machine
UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9}


def serve(
    model: Annotated[Path, typer.Argument(metavar="RUN|MODEL", help="A run's folder, or a model file.")],
    *,
    host: Annotated[
        str, typer.Option(help="Where to listen; 0.0.0.0 lets other machines connect.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)
    ] = 8000,
    max_body: Annotated[str, typer.Option(help="Largest body of a request.")] = "10MB",
    max_rows: Annotated[int, typer.Option(help="Most rows of a request.", min=1)] = 10_000,
    queue: Annotated[int, typer.Option(help="Requests that may wait; more get status 503.", min=1)] = 1000,
    rate: Annotated[
        float, typer.Option(help="Requests a second that one client may send [0: any number].", min=0)
    ] = 0.0,
    timeout: Annotated[
        float, typer.Option(help="Seconds that a client may take to send a request.", min=0.1)
    ] = 10,
    cors: Annotated[
        str, typer.Option(help="Origin whose pages may read the answers, as https://example.org.")
    ] = "",
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Another name under which clients address the server.")
    ] = None,
    log_: Annotated[str, typer.Option("--log", help="Write a line for each request on stderr [json].")] = "",
    report: Annotated[
        bool,
        typer.Option(help="Show the report of the run, which holds rows of its data, and held-out pictures."),
    ] = True,
    token: Annotated[str, typer.Option(envvar=TOKEN, hidden=True)] = "",
) -> None:
    """Answer over HTTP with a trained network, and show a page to try it.

    If MLPAX_TOKEN is set, requests must bear that token. A new model file is taken up while the server runs.
    """
    try:
        from mlpax.serve.http import run
        from mlpax.serve.options import Options
    except ModuleNotFoundError as error:
        raise InputError(f"mlpax serve needs {error.name}; pip install 'mlpax[serve]'") from None
    if log_ not in ("", "json"):
        raise unknown("log", log_, ["json"])
    checked = _token(token), _origin(cors), tuple(map(_name, allow_host or ()))
    options = Options(host, port, _bytes(max_body), max_rows, rate, queue, timeout, *checked, log_, report)
    notice = _event if log_ else say

    def ready(address: str) -> None:
        if not options.is_loopback:
            guard = " with the token" if token else f"; set {TOKEN} to ask for a token"
            notice(
                f"--host {host}: whoever reaches this machine may use the model{guard}. The connection is not"
                " encrypted."
            )
        show(f"serving {model} on {address}; the HTTP interface is described on {address}/docs")
        sys.stdout.flush()  # who started the server may wait for the line

    run(model, options, notice, log, ready)


def _event(text: object) -> None:
    log(json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "event": str(text)}))


def _token(text: str) -> str:
    """Return a token without blanks around it."""
    own = text.strip()
    if not (own.isascii() and own.isprintable()) or (text and not own):
        raise InputError(f"{TOKEN} holds characters that no header can bear; use letters, digits and signs")
    return own


def _origin(text: str) -> str:
    """Return an origin as browsers write it."""
    own = text.lower().removesuffix("/")
    if own and not re.fullmatch(r"https?://([a-z0-9._-]+|\[[0-9a-f:]+\])(:\d+)?", own):
        raise InputError(f"--cors {text!r} is no origin; give one, as https://example.org")
    return own


def _name(text: str) -> str:
    """Return the name of a host as the server compares it."""
    own = text.lower().strip("[]")
    if not re.fullmatch(r"[a-z0-9._-]+|[0-9a-f:]*:[0-9a-f:]*:[0-9a-f:.]*", own):
        raise InputError(
            f"--allow-host {text!r} is no name of a host; give the name alone, as models.example"
        )
    return own


def _bytes(text: str) -> int:
    """Return the bytes that a text such as 10MB states."""
    number, unit = (text[:-2], text[-2:].upper()) if text[-2:].upper() in UNITS else (text, "")
    if not (number.isascii() and number.isdigit() and int(number)):
        raise InputError(f"max_body {text!r} is no size; write 500KB, 10MB or a number of bytes")
    return int(number) * UNITS.get(unit, 1)
