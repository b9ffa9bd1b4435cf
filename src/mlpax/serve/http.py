"""Run the application: the socket, clients that are slow, a new model file, and an end without a lost answer."""

import asyncio
import socket
from pathlib import Path

import uvicorn

from mlpax.errors import InputError, Notice
from mlpax.serve.app import Service, application
from mlpax.serve.options import Options
from mlpax.serve.served import serve_model

__all__ = ["run"]


def run(path: Path, options: Options, notice: Notice, ready) -> None:
    served = serve_model(path)
    sock = listening(options)
    service = Service(served, options, notice)
    config = uvicorn.Config(application(service), log_config=None, log_level="critical", ws="none", loop="uvloop", http="httptools",
                            server_header=False, access_log=False, timeout_keep_alive=75)
    ready(f"http://{options.host}:{sock.getsockname()[1]}")
    asyncio.set_event_loop_policy(None)
    uvicorn.Server(config).run(sockets=[sock])


def listening(options: Options) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    sock = socket.socket(family)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((options.host, options.port))
    except OSError as error:
        raise InputError(f"port {options.port} cannot be taken: {error.strerror}; choose another with --port, or 0 for a free one") from None
    return sock
