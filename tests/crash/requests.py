"""One request of each kind, and what becomes of them while a database is in trouble (I9)."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.bench.wire import Answer
from tests.harness.deployment import SCOPE, Deployment, authorize_path
from tests.harness.load_clients import Burst, Wire, burst, claims_of
from tests.harness.provider import PASSWORD

# What each request is answered with when all is well.
WELL = {
    "refresh": 200,
    "revoke a grant": 200,
    "revoke a token": 200,
    "sign in": 303,
    "authorize": 303,
    "end by API": 200,
    "end by page": 303,
}
READS = {"introspect": 200, "userinfo": 200, "keys": 200}


@dataclass
class Requests:
    """One request of each kind, each about a grant or session of its own."""

    on: Deployment
    writes: dict[str, bytes] = field(default_factory=dict)
    reads: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        on = self.on
        on.person("alice")
        on.limit_sessions(100)
        self.app = on.app("App")
        browsers = [on.signed_in("alice") for _ in range(7)]
        grants = [on.grant(browser, self.app, scope=SCOPE) for browser in browsers]
        self.ended = [grants[1], grants[4], grants[5]]
        stranger = on.browser()
        found = browsers[5].session_form()
        assert found is not None
        sids = [str(claims_of(grant.id_token)["sid"]) for grant in grants]
        path = "/api/v1/users/sessions"
        self.writes = {
            "refresh": self.app.refreshing(grants[0].refresh_token),
            "revoke a grant": self.app.revoking(grants[1].refresh_token),
            "revoke a token": self.app.revoking(grants[2].access_token),
            "sign in": stranger.signing_in("alice", PASSWORD),
            "authorize": browsers[3].getting(authorize_path(self.app.flow().parameters())),
            "end by API": self.app.asking("DELETE", f"{path}/{sids[4]}", grants[4].access_token),
            "end by page": browsers[5].posting(f"/account/sessions/{sids[5]}/end", found[0]),
        }
        self.living = grants[6].access_token
        self.reads = {
            "introspect": self.app.introspecting(self.living),
            "userinfo": self.app.asking("GET", "/userinfo", self.living),
            "keys": stranger.getting("/jwks"),
        }

    def all_refused(self, *, within: float) -> float:
        """Sends every write at once: each is told 503 and when to come back; gives the slowest."""
        made = burst(self.on.ports, list(self.writes.values()))
        answers = dict(zip(self.writes, made.answers, strict=True))
        said = {name: _said(answer) for name, answer in answers.items()}
        assert said == dict.fromkeys(self.writes, "503, Retry-After")
        slowest = _slowest(made)
        assert slowest < within
        return slowest

    def reads_answered(self, expected: dict[str, int]) -> None:
        made = burst(self.on.ports, list(self.reads.values()))
        assert dict(zip(self.reads, made.statuses, strict=True)) == expected
        assert _slowest(made) < 2

    def nothing_was_done(self) -> None:
        for grant in self.ended:
            assert self.on.is_active(self.app, grant.access_token)
        assert self.on.count_events("session.ended") == 0
        assert self.on.count_events("authorization.ended") == 0

    def all_done(self) -> None:
        """The outage is over: the same requests, to the same process, are carried out."""
        made = burst(self.on.ports, list(self.writes.values()))
        assert dict(zip(self.writes, made.statuses, strict=True)) == WELL
        for grant in self.ended:
            assert not self.on.is_active(self.app, grant.access_token)
        assert self.on.verify_chain()[1] is None


@dataclass
class Reads:
    count: int = 0
    slowest: float = 0.0


@contextmanager
def slowest_read(port: int, request: bytes) -> Iterator[Reads]:
    """Sends a reading request again and again meanwhile."""
    reads, over = Reads(), threading.Event()

    def look() -> None:
        wire = Wire(port)
        while not over.wait(0.03):
            begun = time.monotonic()
            assert wire.exchange(request).status == 200
            reads.count += 1
            reads.slowest = max(reads.slowest, time.monotonic() - begun)
        wire.close()

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield reads
    finally:
        over.set()
        looking.join()


def _said(answer: Answer | None) -> str:
    if answer is None:
        return "nothing"
    after = b"\r\nretry-after:" in answer.head.lower()
    return f"{answer.status}, Retry-After" if after else str(answer.status)


def status_of(port: int, request: bytes) -> int:
    wire = Wire(port)
    try:
        return wire.exchange(request).status
    finally:
        wire.close()


def _slowest(made: Burst) -> float:
    return max(made.finished) - made.begun
