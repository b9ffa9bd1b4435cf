"""Read the body of a request: only so much of it, and only for so long."""

import asyncio
import math
from contextlib import suppress
from dataclasses import dataclass

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope

from mlpax.errors import escaped, shortened
from mlpax.serve.options import Options
from mlpax.serve.requests import Refusal

__all__ = ["Body", "Held", "drain", "shown"]

HELD = 20  # bodies of the largest size that may be in memory at once


def shown(value: bytes) -> str:
    """Return a header's value for a message."""
    return repr(shortened(escaped(value.decode("latin-1"))))


@dataclass
class Held:
    """The bytes of all bodies that are read or wait for their answers. Their rows take several times more."""

    bytes: int = 0


class Body:
    """The body of a request.

    Attributes
    ----------
    headers : dict
        Of the request, in lower case.
    stated : float
        Bytes that the headers state; infinity if the body comes in chunks.
    left : bool
        Whether there is more to come.
    awaited : bool
        Whether the client waits for a word before it sends the body (`Expect: 100-continue`).
    taken : int
        Bytes that `read` has added to `Held`. Who reads the body takes them off when its rows are gone.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.headers = dict(scope["headers"])
        stated = self.headers.get(b"content-length", b"0")
        chunked = b"transfer-encoding" in self.headers or not stated.isdigit()
        self.stated = math.inf if chunked else int(stated)
        self.left = self.stated > 0
        self.awaited = self.left and b"expect" in self.headers
        self.taken = 0
        self._receive = receive

    async def receive(self) -> Message:
        """Return the next message of the application's server."""
        self.awaited = False
        message = await self._receive()
        self.left = self.left and bool(message.get("more_body"))
        return message

    async def read(self, options: Options, held: Held) -> bytes:
        """Return the whole body.

        Raises
        ------
        Refusal
            If the body is compressed, too large or too slow, or if too many bodies are in memory.
        """
        encoding = self.headers.get(b"content-encoding", b"identity")
        if encoding != b"identity":
            raise Refusal(415, f"content-encoding {shown(encoding)} is not read; send the body without"
                          " compression", "content-encoding")  # fmt: skip
        if self.stated > options.max_body and self.stated < math.inf:
            raise _too_large(options)
        chunks = list[bytes]()
        try:
            async with asyncio.timeout(options.timeout):
                while self.left or not chunks:
                    message = await self.receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnect
                    chunk: bytes = message.get("body", b"")
                    self.taken, held.bytes = self.taken + len(chunk), held.bytes + len(chunk)
                    if self.taken > options.max_body:
                        raise _too_large(options)
                    if held.bytes > HELD * options.max_body:
                        raise Refusal(503, "too many large requests are waiting; send this one again later")
                    chunks.append(chunk)
        except TimeoutError:
            raise Refusal(408, f"the body took longer than {options.timeout:g} seconds; send it faster, or"
                          " fewer rows in a request") from None  # fmt: skip
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(options: Options) -> Refusal:
    return Refusal(413, f"the body is larger than {options.max_body} bytes; send fewer rows in a request, or"
                   " a smaller picture")  # fmt: skip


async def drain(body: Body, options: Options, most: float = math.inf) -> None:
    """Throw away what is left of a body, for a while.

    If the connection were closed with a body unread, the client would see a reset in place of the answer.
    """
    most = min(most, HELD * options.max_body)
    with suppress(TimeoutError):
        async with asyncio.timeout(options.timeout):
            while body.left and not body.awaited and most > 0:
                message = await body.receive()
                most -= len(message.get("body", b""))
