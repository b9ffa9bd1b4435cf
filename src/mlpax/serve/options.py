"""How a server listens, and what it refuses."""

from dataclasses import dataclass, field

__all__ = ["Options"]

LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Options:
    """How a server listens, and what it refuses.

    Attributes
    ----------
    host, port
        Where it listens; port 0 is any that is free.
    max_body : int
        Bytes of a request's body.
    max_rows : int
        Rows of a request.
    rate : float
        Requests a second that one client may send; 0 is any number.
    queue : int
        Requests that may wait for the model.
    timeout : float
        Seconds that a client may take to send a request.
    token : str
        What requests must bear; empty if nothing.
    cors : str
        An origin whose pages may read the answers, such as `https://example.org`.
    names : tuple of str
        More names under which clients may address the server.
    log : {"", "json"}
        Whether to write a line for each request on stderr.
    report : bool
        Whether to show the report of the run, and pictures that were held out.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    max_body: int = 10_000_000
    max_rows: int = 10_000
    rate: float = 0
    queue: int = 1000
    timeout: float = 10
    token: str = field(default="", repr=False)
    cors: str = ""
    names: tuple[str, ...] = ()
    log: str = ""
    report: bool = True

    @property
    def is_loopback(self) -> bool:
        return self.host in LOOPBACK or self.host.startswith("127.")
