"""The management port: health for balancers and orchestrators, and figures for Prometheus.

A port of its own (`IDP_MANAGEMENT__PORT`), because neither is for the public. `live` says that the
process answers; `ready` that requests may be sent to it: database reached, schema right, clock in
step with the database's, and not on its way out. A Redis that is away is said and changes nothing:
the node goes on. Everything a node of several needs is asked of the database at most once a second.
"""

import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

import orjson
from anyio.to_thread import run_sync
from sqlalchemy import BigInteger, cast, func, select
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from idp.clock import SECOND, Duration
from idp.errors import Refused
from idp.oauth.provider import REALM
from idp.storage import migrations
from idp.storage.store import Store
from idp.storage.unit_of_work import Work
from idp.web.measures import Measures

# A node whose clock is further off than this from the database's serves nobody (FT-09).
SKEW_TOLERATED: Duration = 5 * SECOND
KEPT_SECONDS = 1.0
_TEXT = "text/plain; version=0.0.4; charset=utf-8"


def skew(work: Work) -> Duration:
    """How far our clock is from the database's; 0 where both are one machine's (SQLite)."""
    if work.database.is_sqlite:
        return 0
    micros = cast(func.extract("epoch", func.clock_timestamp()) * SECOND, BigInteger)
    with work.database.read() as connection:
        return abs(int(connection.scalar(select(micros)) or 0) - work.clock.now())


@dataclass(slots=True)
class Readiness:
    """Whether requests may be sent to this node, and what speaks against it."""

    work: Work
    store: Store
    is_leaving: bool = False
    _lock: Lock = field(default_factory=Lock)
    _until: float = 0.0
    _found: dict[str, str] = field(default_factory=dict)

    def checks(self) -> dict[str, str]:
        """Each check with "ok", "degraded", or a sentence that says why not."""
        if self.is_leaving:
            return {"node": "It is being stopped."}
        with self._lock:
            if time.monotonic() >= self._until:
                self._found = self._looked()
                self._until = time.monotonic() + KEPT_SECONDS
            return self._found

    def _looked(self) -> dict[str, str]:
        found = {"node": "ok"}
        try:
            is_right = migrations.may_go_on(self.work.database)
            found["database"] = "ok"
            found["schema"] = "ok" if is_right else "Run: idp db upgrade"
            apart = skew(self.work)
        except Refused as refused:
            return found | {"database": refused.sentence}
        off = f"It is {apart / SECOND:.1f} seconds away from the database's."
        found["clock"] = off if apart > SKEW_TOLERATED else "ok"
        if self.work.settings.redis_url.get_secret_value():
            found["redis"] = "ok" if self.store.is_reachable() else "degraded"
        return found


def management(readiness: Readiness, measures: Measures, token: str) -> Starlette:
    """The app of the management port; `token`, if there is one, must be shown for the figures."""

    async def live(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(_: Request) -> Response:
        found = await run_sync(readiness.checks)
        good = all(said in ("ok", "degraded") for said in found.values())
        body = orjson.dumps({"status": "ready" if good else "not ready", "checks": found})
        return Response(body, 200 if good else 503, media_type="application/json")

    async def metrics(request: Request) -> Response:
        if token and not _shows(request, token):
            return PlainTextResponse(
                "A token is needed.\n",
                401,
                headers={"WWW-Authenticate": f'Bearer realm="{REALM}"'},
            )
        return Response(await run_sync(measures.exposition), media_type=_TEXT)

    endpoints: dict[str, Callable[..., object]] = {
        "/health/live": live,
        "/health/started": live,
        "/health/ready": ready,
        "/metrics": metrics,
    }
    return Starlette(
        routes=[Route(path, endpoint, methods=["GET"]) for path, endpoint in endpoints.items()]
    )


def _shows(request: Request, token: str) -> bool:
    # Bytes, because comparing texts that are not ASCII raises; in constant time (OP-04).
    sent = request.headers.get("authorization", "").encode("latin-1", "replace")
    return hmac.compare_digest(sent, f"Bearer {token}".encode())
