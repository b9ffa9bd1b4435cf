"""Count requests, and tell the counts in the text format of Prometheus."""

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import generate_latest

__all__ = ["Figures"]

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Figures:
    """What a server counts.

    Parameters
    ----------
    waiting : callable
        Returns how many requests wait for the model.
    """

    def __init__(self, waiting: Callable[[], int]) -> None:
        self.registry = own = CollectorRegistry()
        self.requests = Counter("mlpax_requests", "Answered requests", ["path", "status"], registry=own)
        self.seconds = Histogram(
            "mlpax_request_seconds", "Seconds from the headers of a request to the end of its answer",
            ["path"], buckets=SECONDS, registry=own,
        )  # fmt: skip
        self.rows = Counter("mlpax_rows", "Rows that the model has answered", registry=own)
        self.loads = Counter("mlpax_model_loads", "New model files, taken up or refused", ["outcome"],
                             registry=own)  # fmt: skip
        self.loaded = Gauge("mlpax_model_loaded_timestamp_seconds", "When the model was loaded", registry=own)
        Gauge("mlpax_waiting_requests", "Requests that wait for the model", registry=own).set_function(
            waiting
        )
        ProcessCollector(registry=own)
        for outcome in ("taken", "refused"):
            self.loads.labels(outcome)
        self.loaded.set(time.time())
        self._requests = dict[tuple[str, int], Counter]()
        self._seconds = dict[str, Histogram]()

    def count(self, path: str, status: int, seconds: float) -> None:
        """Count an answered request. `path` is one of the server's, so that no request makes a new series."""
        own = self._requests.get((path, status))
        if own is None:
            own = self._requests[path, status] = self.requests.labels(path, str(status))
            self._seconds[path] = self.seconds.labels(path)
        own.inc()
        self._seconds[path].observe(seconds)

    def text(self) -> bytes:
        return generate_latest(self.registry)
