"""Run the application: its socket, slow clients, new model files, and an end without a lost answer."""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from threadpoolctl import threadpool_limits
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from mlpax.errors import InputError, Notice
from mlpax.model.model_file import load
from mlpax.serve.app import Service, application
from mlpax.serve.batches import is_quick
from mlpax.serve.door import error_body
from mlpax.serve.options import Options
from mlpax.serve.served import Served

__all__ = ["run"]

HEAD = 2**16  # bytes of the request line and the headers
CONNECTIONS = 5000  # clients that may be connected at once
IDLE = 75  # seconds that a connection without a request stays open
LAST = 1.0  # seconds at the end in which open connections may still send a request
UNFINISHED = 30  # seconds at the end that a request may take
LOOK = 1.0  # seconds between two looks at the model file


def run(path: Path, options: Options, notice: Notice, log: Notice, ready: Callable[[str], object]) -> None:
    """Serve a model until SIGTERM or Ctrl-C. Requests that have arrived are answered first.

    Parameters
    ----------
    path : Path
        A run's folder or a model file. If the file is replaced, new requests get the new model.
    options : Options
    notice : callable
        Is told in a line of new model files and of faults.
    log : callable
        Is called with a line of JSON for each request, if `options.log` is set.
    ready : callable
        Is called with the address when the server listens.

    Raises
    ------
    ModelFileError
        If the file is no model.
    InputError
        If the port cannot be taken.
    """
    seen = _stamp(Served.file_of(path))  # before the file is read: a later change is noticed
    served = Served(load(path), path)
    with listening(options) as sock, threadpool_limits(1, "blas"), warnings.catch_warnings():
        # Pillow warns of oddities in pictures that it reads nonetheless.
        warnings.simplefilter("ignore")
        logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it warns of damaged forms
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # and it of damaged requests
        gc.collect()
        gc.freeze()  # a collection that looks at all that was loaded takes 50 ms
        sys.setswitchinterval(0.001)  # seconds for which the model's thread may keep the event loop waiting
        service = Service(served, options, notice, log)
        config = uvicorn.Config(
            application(service), http=Protocol, ws="none", log_config=None, access_log=False,
            server_header=False, proxy_headers=False, timeout_keep_alive=IDLE,
            timeout_graceful_shutdown=UNFINISHED,
        )  # fmt: skip
        host, port = options.host, sock.getsockname()[1]
        ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")
        Server(config, service, seen).run(sockets=[sock])
        service.calls.thread.shutdown()
        service.calls.explaining.shutdown()


def listening(options: Options) -> socket.socket:
    """Return a socket that listens.

    Raises
    ------
    InputError
        If the address is not this machine's, or the port is in use or not allowed.
    """
    where = f"{options.host} port {options.port}"
    try:
        kind, *_, address = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(kind, socket.SOCK_STREAM)
        if os.name == "posix":  # Windows would let two servers have the port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(CONNECTIONS)
    except (OSError, OverflowError, UnicodeError) as error:
        said = str(getattr(error, "strerror", None) or error)
        raise InputError(
            f"cannot listen on {where}: {said}; choose another --port, or 0 for a free one"
        ) from None
    return sock


class Protocol(HttpToolsProtocol):
    """A connection, which also refuses headers that are large or slow. Every error is JSON."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.leaving = False  # the server ends: close after the next answer
        self.refused = False  # an error was sent; what still comes is thrown away
        self.refusal: tuple[int, str] | None = None  # an error that follows the answers in progress
        self.ended = False  # a request has ended among the bytes that came last
        self.head: int | None = 0  # bytes of an unfinished head; None between heads
        self.since = self.unsent_since = self.loop.time()
        self.unsent = 0
        if len(self.connections) > CONNECTIONS:
            self._refuse(503, "too many clients are connected; try again later", b"retry-after: 1\r\n")
            self.transport.close()  # not even a moment longer

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing() or self.refused or self.refusal:
            return
        self.ended = False
        super().data_received(data)
        if self.head is not None and not self.ended:  # else most of the bytes may be of the request before
            self.head += len(data)
            if self.head > HEAD:
                self._refuse(431, f"the headers are larger than {HEAD} bytes; send shorter ones")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.head, self.since = 0, self.loop.time()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self.head = None
        if self.leaving:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.ended = True

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.refusal and not self._answering():
            self._refuse(*self.refusal)

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "the request is no HTTP/1.1; send it with an HTTP client")

    def leave(self) -> None:
        """Close the connection after the answer to the request that is in progress, or to the next one."""
        self.leaving = True
        if self._answering():
            self.cycle.keep_alive = False

    def _answering(self) -> bool:
        """Return whether a request is in progress, or several that the client sent without waiting."""
        return self.cycle is not None and not self.cycle.response_complete  # pyright: ignore[reportUnnecessaryComparison]

    def sweep(self, seconds: float) -> None:
        """End the connection of a client that takes longer to send headers, or to read any of its answer."""
        if self.transport.is_closing():
            return
        now, unsent = self.loop.time(), self.transport.get_write_buffer_size()
        if unsent == 0 or unsent != self.unsent:
            self.unsent, self.unsent_since = unsent, now
        elif now - self.unsent_since > seconds:
            self.transport.abort()
        if self.refused and now - self.since > seconds:
            self.transport.close()
        elif self.head is not None and now - self.since > seconds:
            self._refuse(408, f"the headers took longer than {seconds:g} seconds; send them faster")

    def _refuse(self, status: int, message: str, header: bytes = b"") -> None:
        """Answer with an error, after the answers to the requests that came before.

        The client closes the connection, or `sweep`. If the server closed it while the client still sends,
        the client would see a reset in place of the error.
        """
        if self.transport.is_closing() or self.refused:
            return
        if self._answering():
            if self.cycle.more_body:  # what is wrong is the body of the request in progress
                self.transport.close()
            self.refusal = status, message
            return
        text = error_body(message)
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n" % len(text)
        self.transport.write(STATUS_LINE[status] + head + header + b"\r\n" + text)
        self.transport.write_eof()
        self.refused, self.since = True, self.loop.time()


class Server(uvicorn.Server):
    """uvicorn's server, which also looks after its connections and the model file, and ends in two steps."""

    def __init__(self, config: uvicorn.Config, service: Service, seen: "Stamp | None") -> None:
        super().__init__(config)
        self.service, self.seen = service, seen

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.watching = asyncio.create_task(_watch(self.service, self.seen))

    async def on_tick(self, counter: int) -> bool:
        if counter % 10 == 0:  # each second
            for connection in self._connections():
                connection.sweep(self.service.options.timeout)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no new connections, and answer what open ones still send for a moment; then close them.

        A client that keeps a connection open may have sent a request just now. If the connection were closed
        at once, the client would get no answer.
        """
        self.watching.cancel()
        for server in self.servers:
            server.close()
        end = asyncio.get_running_loop().time() + LAST
        while self._connections() and asyncio.get_running_loop().time() < end and not self.force_exit:
            for connection in self._connections():
                connection.leave()
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)

    def _connections(self) -> list[Protocol]:
        return [one for one in self.server_state.connections if isinstance(one, Protocol)]

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Let the signals end the server, and not the process: its exit code is 0."""
        old = {sign: signal.signal(sign, self.handle_exit) for sign in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for sign, handler in old.items():
                signal.signal(sign, handler)


# The model file

Stamp = tuple[int, int, int]


def _stamp(file: Path) -> Stamp | None:
    """Return what changes when a file is replaced; None if there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


async def _watch(service: Service, seen: Stamp | None) -> None:
    """Take up each new model file. Keep the old model if the file is damaged or does not fit."""
    while True:
        await asyncio.sleep(LOOK)
        old = service.served
        stamp = await asyncio.to_thread(_stamp, old.file)
        if stamp in (seen, None):
            continue
        seen = stamp
        try:
            new, quick = await asyncio.to_thread(_successor, old)
        except InputError as error:
            service.figures.loads.labels("refused").inc()
            service.notice(f"the new model is not taken, and the old one stays: {error}")
        else:
            service.take(new, quick=quick)
            service.figures.loads.labels("taken").inc()
            service.notice(f"took up the new model in {old.file}")


def _successor(old: Served) -> tuple[Served, bool]:
    """Return the new model of a file, and whether the event loop may call it."""
    model = load(old.path)
    old.check_successor(model)
    new = Served(model, old.path)
    return new, is_quick(new)
