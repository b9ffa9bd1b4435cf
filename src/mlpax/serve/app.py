"""The application: what is answered at which path."""

import asyncio
import dataclasses
import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
from starlette.datastructures import FormData, Headers
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from mlpax.data.images import decoded
from mlpax.errors import InputError, MlpaxError, Notice
from mlpax.runs.command import without_folders
from mlpax.runs.run_files import read_config
from mlpax.serve.batches import Calls, is_quick
from mlpax.serve.bodies import Body, Held, shown
from mlpax.serve.door import door
from mlpax.serve.figures import Figures
from mlpax.serve.openapi import docs_page, document
from mlpax.serve.options import Options
from mlpax.serve.requests import Asked, Record, Refusal, asked_in_json, inputs_of
from mlpax.serve.served import Served

__all__ = ["Service", "application"]

PAGE = Path(__file__).parent / "page"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
PICTURES = {"image/png": "PNG", "image/jpeg": "JPEG"}
REPORT = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'self'"
MOST_PIXELS = 25_000_000  # of an uploaded picture, which takes 500 MB while it is decoded
FEW = 2**16  # bytes of a body that the event loop reads itself; more would keep other requests waiting
FEW_ROWS = 500  # whose answers it writes itself


class Service:
    """What all requests share.

    Attributes
    ----------
    served : Served
        The model. It is replaced as a whole, so a request has one model to its end.
    """

    def __init__(self, served: Served, options: Options, notice: Notice, log: Notice) -> None:
        self.options, self.notice, self.log = options, notice, log
        self.calls, self.held = Calls(options.queue), Held()
        self.figures = Figures(lambda: self.calls.waiting)
        self.made = dict[str, "asyncio.Task[Response]"]()  # answers that take long and stay the same
        self.take(served, quick=is_quick(served))

    def take(self, served: Served, *, quick: bool) -> None:
        """Answer new requests with another model; see `is_quick`."""
        self.served, self.calls.quick = served, quick
        self.made.clear()
        self.figures.loaded.set_to_current_time()


Handler = Callable[[Service, Request], Awaitable[Response]]


@dataclass(frozen=True)
class Endpoint:
    """A handler as an application. Starlette's own wrapping handles exceptions, as the door does already."""

    service: Service
    handler: Handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self.handler(self.service, Request(scope, receive))
        await response(scope, receive, send)


def application(service: Service) -> ASGIApp:
    """Return the application of a service, as a server of ASGI takes it."""
    methods = {"/predict": ["POST"]}
    handlers: dict[str, Handler] = {
        "/predict": _predict,
        "/health": _health,
        "/model": _model,
        "/": _page,
        "/page/{name}": _page,
        "/samples": _samples,
        "/report": _report,
        "/metrics": _metrics,
        "/openapi.json": _openapi,
        "/docs": _docs,
    }
    routes = [
        Route(path, Endpoint(service, handler), methods=methods.get(path, ["GET"]))
        for path, handler in handlers.items()
    ]
    router = Router(routes, redirect_slashes=False)
    options = service.options
    app = door(router, options, service.figures, frozenset(handlers), service.notice, service.log)
    if options.cors:
        return CORSMiddleware(
            app, allow_origins=[options.cors], allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type"],
        )  # fmt: skip
    return app


def _json(answer: object) -> Response:
    text = json.dumps(answer, allow_nan=False, separators=(",", ":"))
    return Response(text, media_type="application/json")


# Predictions


async def _predict(service: Service, request: Request) -> Response:
    body: Body = request.scope["body"]
    try:
        return await _predictions(service, request, body)
    finally:
        service.held.bytes -= body.taken


async def _predictions(service: Service, request: Request, own: Body) -> Response:
    served = service.served
    kind, _, _ = own.headers.get(b"content-type", b"").decode("latin-1").partition(";")
    kind = kind.strip().lower()
    content = await own.read(service.options, service.held)
    if kind == "application/json":
        read = partial(asked_in_json, served, content, service.options.max_rows)
        asked = read() if len(content) <= FEW else await service.calls.run(read)
    else:
        asked = await _uploaded(service, served, request, kind, content)
    found = await service.calls.answer(served, asked)
    service.figures.rows.inc(asked.count)
    if asked.explain:
        explain = partial(_explanation, served, asked)
        found["explanation"] = await service.calls.run(explain, service.calls.explaining)
    if asked.pixels and isinstance(asked.rows, np.ndarray):
        found["pixels"] = asked.rows.reshape(served.model.image_shape or (-1,)).tolist()
    return _json(found) if asked.count <= FEW_ROWS else await service.calls.run(partial(_json, found))


async def _uploaded(service: Service, served: Served, request: Request, kind: str, content: bytes) -> Asked:
    """Return what the upload of a picture asks."""
    shape = served.model.image_shape
    if shape is None:
        raise Refusal(415, f"content-type {shown(kind.encode())} is not read; send application/json",
                      "content-type")  # fmt: skip
    if kind == "multipart/form-data":
        content = await service.calls.run(partial(_file_of, request.headers, content))
        formats = (*PICTURES.values(),)
    elif kind in PICTURES:
        formats = (PICTURES[kind],)
    else:
        raise Refusal(415, f"content-type {shown(kind.encode())} is not read; send application/json,"
                      f" {', '.join(PICTURES)} or multipart/form-data", "content-type")  # fmt: skip
    row = await service.calls.run(partial(decoded, content, shape, formats=formats, most_pixels=MOST_PIXELS))
    pixels = row[None].astype(np.float32) * (served.highest / 255)
    return Asked(pixels, 1, pixels=True)


def _file_of(headers: Headers, content: bytes) -> bytes:
    """Return the one file of a form. A hostile form takes seconds, and must not stop the event loop."""

    async def stream() -> AsyncGenerator[bytes, None]:
        yield content

    async def read() -> bytes:
        parser = MultiPartParser(headers, stream(), max_files=1, max_fields=0)
        parser.spool_max_size = len(content) + 1  # nothing goes to the disk
        return await _only_file(await parser.parse())

    try:
        return asyncio.run(read())
    except (MultiPartException, LookupError, UnicodeError) as error:
        text = f"the form cannot be read: {error}; send one file in the field 'file'"
        raise Refusal(400, text, "file") from None


async def _only_file(form: FormData) -> bytes:
    try:
        file = form.get("file")
        if file is None or isinstance(file, str):
            raise Refusal(422, "the form has no file; send one in the field 'file'", "file")
        return await file.read()
    finally:
        await form.close()


def _explanation(served: Served, asked: Asked) -> Record:
    """Return what each input of the one row contributed."""
    from mlpax.model.explain import explain

    try:
        found = explain(served.model, inputs_of(served, [asked]))
    except InputError as error:
        raise Refusal(422, str(error), "explain") from None
    each: list[object] = found.contributions.tolist()
    if found.columns:
        if isinstance(asked.rows, dict):
            row: Record = {name: cells[0] for name, cells in asked.rows.items()}
        else:
            row = {f"x{i}": value for i, value in enumerate(asked.rows[0].tolist())}
        each = [
            {"column": name, "value": row[name], "contribution": own}
            for name, own in zip(found.columns, found.contributions.tolist(), strict=True)
        ]
    return {"method": found.method, "base": found.base, "contributions": each}


# What is told


async def _health(service: Service, request: Request) -> Response:
    return _json({"status": "ok", "model": service.served.name})


async def _model(service: Service, request: Request) -> Response:
    facts = service.served.facts(report=_has_report(service), samples=_has_samples(service))
    return _json(facts)


async def _metrics(service: Service, request: Request) -> Response:
    return Response(service.figures.text(), media_type="text/plain; version=0.0.4")


def _has_report(service: Service) -> bool:
    return service.options.report and service.served.path.is_dir()


def _has_samples(service: Service) -> bool:
    return _has_report(service) and service.served.kind == "picture"


async def _samples(service: Service, request: Request) -> Response:
    served = service.served
    if not _has_samples(service):
        raise Refusal(404, "there are no samples; give the folder of a run that was trained on pictures")

    def made() -> Response:
        from mlpax.serve.samples import samples

        return _json({"samples": [dataclasses.asdict(one) for one in samples(served.path, served.model)]})

    return await _once(service, "samples", made)


async def _report(service: Service, request: Request) -> Response:
    served = service.served
    if not _has_report(service):
        why = (
            "give the folder of a run, not a model file" if service.options.report else "--no-report hides it"
        )
        raise Refusal(404, f"there is no report; {why}")

    def made() -> Response:
        from mlpax.serve.report import report

        return Response(
            report(served.path, model=served.model),
            media_type="text/html",
            headers={"content-security-policy": REPORT},
        )

    return await _once(service, "report", made)


async def _once(service: Service, name: str, make: Callable[[], Response]) -> Response:
    """Return an answer that takes long to make. It is made once for a model, in a thread of its own.

    Raises
    ------
    Refusal
        If the answer cannot be made, for example because the data of the run have moved.
    """
    task = service.made.get(name)
    if task is None:
        task = service.made[name] = asyncio.create_task(asyncio.to_thread(make))
    try:
        return await asyncio.shield(task)
    except Exception as error:
        service.made.pop(name, None)  # the data may be back at the next request
        if isinstance(error, MlpaxError):
            text = without_folders(str(error), _paths(service.served.path))
            raise Refusal(404, text) from None
        raise


def _paths(run: Path) -> list[str | Path | None]:
    """Return the folders and files of a run that an error may name."""
    with suppress(InputError):
        config = read_config(run)
        return [run, config.dataset, config.data_dir, config.options.valid_data]
    return [run]


async def _openapi(service: Service, request: Request) -> Response:
    return _json(document(service.served, service.options))


async def _docs(service: Service, request: Request) -> Response:
    found = document(service.served, service.options)
    return Response(
        docs_page(service.served, found, str(request.base_url).rstrip("/"), service.options),
        media_type="text/html",
    )


async def _page(service: Service, request: Request) -> Response:
    name = cast(str, request.path_params.get("name", "index.html"))
    file = PAGE / name
    if not re.fullmatch(r"[A-Za-z0-9_-]+\.(html|css|js|svg)", name) or not file.is_file():
        raise Refusal(404, "the page has no such file")
    return Response(file.read_bytes(), media_type=TYPES[file.suffix])
