"""What every request passes: hosts, tokens and rates before; headers, counts and a line of the log after."""

import hmac
import json
import math
import time
from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlpax.errors import MlpaxError, Notice, escaped, listed
from mlpax.serve.bodies import Body, drain, shown
from mlpax.serve.figures import Figures
from mlpax.serve.options import LOOPBACK, Options
from mlpax.serve.requests import Refusal

__all__ = ["door", "error_body"]

OPEN = ("/", "/health")  # paths that need no token; the files of the page need none either
SMALL = 2**16  # bytes of a body that is read before an error is sent, so that the connection stays open
CLIENTS = 10_000  # whose rates are remembered
POLICY = b"content-security-policy"
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]
POLICIES = (
    b"default-src 'self'; img-src 'self' data: blob:; frame-src 'self'; frame-ancestors 'self';"
    b" base-uri 'none'; form-action 'self'; object-src 'none'"
)

Check = Callable[[Scope], None]


def error_body(message: str, where: str | None = None) -> bytes:
    """Return the JSON of an error."""
    text = json.dumps({"error": {"field": where, "message": message}}, ensure_ascii=False)
    return text.encode(errors="backslashreplace")  # half a surrogate pair becomes JSON's escape for it


def door(
    app: ASGIApp, options: Options, figures: Figures, paths: frozenset[str], notice: Notice, log: Notice
) -> ASGIApp:
    """Return an application around another, which refuses, counts and logs requests.

    Parameters
    ----------
    app : application
        May raise `Refusal` and Starlette's exceptions.
    options : Options
    figures : Figures
    paths : frozenset of str
        The paths that are counted each by itself.
    notice : callable
        Is told of faults of the server.
    log : callable
        Is called with a line of JSON for each request, if `options.log` is set.
    """
    checks = _checks(options)

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await app(scope, receive, send)
        if scope["type"] != "http":
            return
        start, status, body = time.perf_counter(), 0, Body(scope, receive)

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message["headers"], *HEADERS]
                message["headers"] = headers
                if all(name != POLICY for name, _ in headers):
                    headers.append((POLICY, POLICIES))
            await send(message)

        scope["app"] = app  # so that Starlette raises an exception for an unknown path
        scope["body"] = body
        try:
            for check in checks:
                check(scope)
            await app(scope, body.receive, sending)
        except ClientDisconnect:
            status = 499  # nobody reads an answer
        except Exception as error:
            if status:  # the answer has begun
                raise
            await _refuse(*_refusal(error, notice), body, sending, options)
        seconds = time.perf_counter() - start
        figures.count(scope["path"] if scope["path"] in paths else "other", status, seconds)
        if options.log:
            log(_line(scope, status, seconds))

    return handle


def _line(scope: Scope, status: int, seconds: float) -> str:
    """Return the line of the log for a request."""
    return json.dumps({
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "client": (scope["client"] or ("",))[0],
        "method": scope["method"],
        "path": scope["path"][:200],
        "status": status,
        "ms": round(seconds * 1000, 2),
    })  # fmt: skip


def _checks(options: Options) -> list[Check]:
    """Return what to check of every request before it is read."""
    found: list[Check] = []
    if options.is_loopback or options.names:
        found.append(_host_check(options))
    if options.rate:
        found.append(_rate_check(options.rate))
    if options.token:  # after the rate, which so limits how often a client may guess
        found.append(_token_check(options.token))
    return found


def _host_check(options: Options) -> Check:
    """Refuse other names of the host.

    Otherwise a foreign page could have its own name lead to this machine, and read the answers.
    """
    names = {*LOOPBACK, options.host.lower(), *(name.lower() for name in options.names)}
    known = listed(sorted(name for name in names if name not in ("0.0.0.0", "::")))

    def check(scope: Scope) -> None:
        host = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1")
        name = host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host
        name, (address, _) = name.strip("[]").lower(), scope.get("server") or ("", None)
        if name not in names and name != address:  # a page cannot have an address lead elsewhere
            raise Refusal(400, f"the host {shown(host.encode('latin-1'))} is not this server's; address it as"
                          f" one of {known}, or allow the name with --allow-host", "host")  # fmt: skip

    return check


def _token_check(token: str) -> Check:
    wanted = token.encode()

    def check(scope: Scope) -> None:
        if scope["path"] in OPEN or scope["path"].startswith("/page/"):
            return
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, own = given.partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(own.strip(), wanted):
            said = "the token is wrong" if given else "the request bears no token"
            raise Refusal(401, f"{said}; send the header Authorization: Bearer TOKEN", "authorization")

    return check


def _rate_check(rate: float) -> Check:
    """Refuse requests of a client beyond a rate: each has a bucket that a second fills with `rate` tokens."""
    buckets: dict[str, tuple[float, float]] = {}  # of a client: tokens, and when they were counted
    most = max(1.0, rate)

    def check(scope: Scope) -> None:
        now, client = time.monotonic(), (scope["client"] or ("",))[0]
        tokens, before = buckets.pop(client, (most, now))
        tokens = min(most, tokens + (now - before) * rate)
        if len(buckets) >= CLIENTS:  # the client that was seen least recently stands first
            buckets.pop(next(iter(buckets)))
        buckets[client] = (tokens - 1 if tokens >= 1 else tokens, now)
        if tokens < 1:
            text = f"a client may send {rate:g} requests a second; wait a moment"
            raise Refusal(429, text, wait=math.ceil((1 - tokens) / rate))

    return check


def _refusal(error: Exception, notice: Notice) -> tuple[Refusal, list[tuple[bytes, bytes]]]:
    """Return the refusal that an error means, and headers for it."""
    match error:
        case Refusal(status=429 | 503):
            return error, [(b"retry-after", b"%d" % error.wait)]
        case Refusal(status=401):
            return error, [(b"www-authenticate", b"Bearer")]
        case Refusal():
            return error, []
        case HTTPException(status_code=405):
            allowed = (error.headers or {}).get("Allow", "")
            return Refusal(405, f"the path takes {allowed}; use that method"), [(b"allow", allowed.encode())]
        case HTTPException(status_code=404):
            return Refusal(404, "there is nothing at this path; GET /docs lists the paths"), []
        case MlpaxError():
            return Refusal(422, str(error)), []
        case _:
            notice(f"unexpected {type(error).__name__}: {escaped(str(error))[:300]}")
            return Refusal(500, "the server failed; its log says why"), []


async def _refuse(
    refusal: Refusal, headers: list[tuple[bytes, bytes]], body: Body, send: Send, options: Options
) -> None:
    """Answer with an error, and throw away what is left of the body."""
    if body.stated <= SMALL:
        await drain(body, options)
    text = error_body(str(refusal), refusal.field)
    own = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(text)), *headers]
    own += [(b"connection", b"close")] if body.left else []
    await send({"type": "http.response.start", "status": refusal.status, "headers": own})
    await send({"type": "http.response.body", "body": text, "more_body": body.left})
    if body.left:
        await drain(body, options)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
