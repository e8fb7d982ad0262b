"""What is counted for operators, in the form that Prometheus reads (row P5).

Owns the names and labels of every metric. Labels come from lists of ours and never from a request,
so that nobody outside can make more of them. Counts are of this process; gauges that stand for the
whole deployment are asked of the database, at most every few seconds however often somebody looks.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import Message, Send

KEPT_SECONDS = 5.0
_GRANTS = frozenset(
    {
        "authorization_code",
        "refresh_token",
        "client_credentials",
        "urn:ietf:params:oauth:grant-type:device_code",
    }
)
_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_SLOW = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 600.0)

_CLASSES = {1: "1xx", 2: "2xx", 3: "3xx", 4: "4xx", 5: "5xx"}

# A gauge's name, what it says, its labels, and how to ask for it.
Gauge = tuple[str, str, tuple[str, ...], Callable[[], Mapping[tuple[str, ...], float]]]


class Measures:
    """The metrics of this process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.logins = self._counter("idp_logins", "Sign-ins", "result", "method")
        self.ended = self._counter("idp_session_revocations", "Sessions that ended", "reason")
        self.tokens = self._counter(
            "idp_token_requests", "Requests at the token endpoint", "grant", "result"
        )
        self.reuse = self._counter("idp_token_reuse_detected", "Copied tokens that came back")
        self.deliveries = self._counter("idp_deliveries", "Deliveries", "kind", "result")
        self.requests = Histogram(
            "idp_request_seconds",
            "Time to answer, by endpoint and class of status",
            ("endpoint", "status"),
            buckets=_FAST,
            registry=self.registry,
        )
        self.hashes = Histogram(
            "idp_password_hash_seconds",
            "Time in the queue and for one password hash",
            buckets=_FAST,
            registry=self.registry,
        )
        self.logouts = Histogram(
            "idp_logout_delivery_seconds",
            "From the end of a session until its app accepted the logout token",
            buckets=_SLOW,
            registry=self.registry,
        )

    def timing(self, endpoint: str, send: Send) -> Send:
        """`send` that notes how long the answer took to begin; `endpoint` is a name of ours."""
        began = time.perf_counter()

        async def timed(message: Message) -> None:
            if message["type"] == "http.response.start":
                label = _CLASSES[message["status"] // 100]
                self.requests.labels(endpoint, label).observe(time.perf_counter() - began)
            await send(message)

        return timed

    def token(self, grant: str | None, status: int) -> None:
        """Counts an answer of the token endpoint."""
        known = grant if grant in _GRANTS else "other"
        self.tokens.labels(known or "other", _result(status)).inc()

    def gauges(self, asked: Iterable[Gauge]) -> None:
        """Adds gauges that are asked for when somebody looks."""
        self.registry.register(_Asked(list(asked)))

    def exposition(self) -> bytes:
        """Everything, as text (Prometheus exposition format 0.0.4)."""
        return generate_latest(self.registry)

    def _counter(self, name: str, said: str, *labels: str) -> Counter:
        return Counter(name, said, labels, registry=self.registry)


class _Asked(Collector):
    """Gauges whose values are asked for, and kept for a few seconds."""

    def __init__(self, asked: list[Gauge]) -> None:
        self._asked = asked
        self._lock = threading.Lock()
        self._until = 0.0
        self._found: list[Metric] = []

    def describe(self) -> Iterator[Metric]:
        # Or the registry would ask the database at start, for their names.
        return iter(())

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            if time.monotonic() >= self._until:
                self._found = [_family(*one) for one in self._asked]
                self._until = time.monotonic() + KEPT_SECONDS
            return iter(self._found)


def _family(name: str, said: str, labels: tuple[str, ...], ask: Callable[[], Any]) -> Metric:
    family = GaugeMetricFamily(name, said, labels=labels)
    for values, number in ask().items():
        family.add_metric(values, number)
    return family


def _result(status: int) -> str:
    if status < 400:
        return "ok"
    return "refused" if status < 500 else "failed"
