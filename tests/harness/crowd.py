"""Very many sessions, put into a database as fast as its driver takes them.

A quarter as many people as sessions; three sessions in five run, the others ended within ninety days.
Devices, countries, levels and apps come as they do in life: a few are common, some are rare. The same
seed makes the same crowd, but for its ids.
"""

import random
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import insert

from idp.clock import DAY, HOUR, MINUTE, Instant
from idp.oauth.model import Authorization, Client
from idp.sessions.model import Session
from idp.storage import postgresql
from idp.storage.database import HotStatement
from idp.storage.unit_of_work import Work
from idp.users.model import User, UserIdentifier

BATCH = 20_000
PER_PERSON = 4
APPS = 40
DEVICES = ("desktop", "laptop", "phone", "tablet", "terminal", "tv")
DEVICE_WEIGHTS = (45, 25, 24, 5, 0.9, 0.1)
COUNTRIES = ("FR", "DE", "US", "GB", "ES", "IT", "PL", "SE", "JP", "BR", "IS", "LI")
COUNTRY_WEIGHTS = (30, 20, 15, 10, 8, 6, 4, 3, 2, 1.9, 0.09, 0.01)
LEVELS = ("aal1", "aal2", "aal3")
LEVEL_WEIGHTS = (60, 35, 5)
ORIGINS = ("browser", "device", "handoff")
ORIGIN_WEIGHTS = (95, 4, 1)
ENDINGS = ("signed_out", "idle_timeout", "absolute_timeout", "admin")
_SEALED = "A" * 300


@dataclass(slots=True)
class Crowd:
    """Who was made, to ask questions about."""

    people: list[str] = field(default_factory=list)
    running: list[str] = field(default_factory=list)
    apps: list[str] = field(default_factory=list)


def gather(work: Work, sessions: int, *, seed: int = 1, details: str | None = None) -> Crowd:
    """Puts so many sessions in; `details` is their sealed part, which opens nowhere unless given."""
    draw = random.Random(seed)
    crowd = Crowd(
        people=[f"usr_{secrets.token_hex(16)}" for _ in range(max(1, sessions // PER_PERSON))],
        apps=[f"cli_{secrets.token_hex(16)}" for _ in range(APPS)],
    )
    now = work.clock.now()
    _put(work, User, (_person(one, number, now) for number, one in enumerate(crowd.people)))
    _put(work, UserIdentifier, (_name(one, number) for number, one in enumerate(crowd.people)))
    _put(work, Client, (_app(one, now) for one in crowd.apps))
    left = sessions
    while left:
        count = min(left, BATCH)
        rows = [_session(draw, crowd, now, details or _SEALED) for _ in range(count)]
        _put(work, Session, rows)
        _put(work, Authorization, (_grant(draw, crowd, row) for row in rows))
        left -= count
    return crowd


def join(work: Work, crowd: Crowd, *, people: int, sessions: int, seed: int = 2) -> list[str]:
    """So many more people, each with so many sessions that run and some that ended; gives them."""
    draw = random.Random(seed)
    now = work.clock.now()
    first = len(crowd.people)
    more = [f"usr_{secrets.token_hex(16)}" for _ in range(people)]
    _put(work, User, [_person(one, first + number, now) for number, one in enumerate(more)])
    for one in more:
        own = Crowd(people=[one], apps=crowd.apps)
        rows = []
        while len(own.running) < sessions:
            rows.append(_session(draw, own, now, _SEALED))
        _put(work, Session, rows)
        _put(work, Authorization, [_grant(draw, own, row) for row in rows])
        crowd.running += own.running
    crowd.people += more
    return more


def _put(work: Work, model: Any, rows: Iterator[dict[str, Any]] | Sequence[dict[str, Any]]) -> None:
    rows = sorted(rows, key=lambda row: str(row.get("id") or row["key"]))
    table = model.__table__
    names = [column.name for column in table.columns if column.name in rows[0]]
    statement = HotStatement(insert(table).inline(), columns=names)
    with work.database.write() as connection:
        cursor = connection.connection.cursor()
        if work.database.is_sqlite:
            # Ids are random, so that every row is on a page of its own: keep the pages at hand.
            cursor.execute("PRAGMA cache_size = -400000")
        else:
            postgresql.take_time(connection)
        sql, _ = statement.bound(work.database, rows[0])
        cursor.executemany(sql, [statement.bound(work.database, row)[1] for row in rows])
        cursor.close()


def _person(user_id: str, number: int, now: Instant) -> dict[str, Any]:
    return {
        "id": user_id, "username": f"person{number}", "email_verified": 0, "status": "active",
        "roles": "[]", "permissions": "[]", "created_at": now, "updated_at": now,
    }  # fmt: skip


def _name(user_id: str, number: int) -> dict[str, Any]:
    return {"key": f"person{number}", "kind": "username", "user_id": user_id}


def _app(client_id: str, now: Instant) -> dict[str, Any]:
    return {
        "id": client_id, "name": f"App {client_id[-4:]}", "token_endpoint_auth_method": "none",
        "grant_types": "[]", "redirect_uris": "[]", "post_logout_redirect_uris": "[]",
        "scope": "openid", "audience": "[]", "access_token_format": "opaque",
        "id_token_signed_response_alg": "ES256", "require_pkce": 1, "assertion_audience": "issuer",
        "first_party": 1, "application_type": "web", "introspects_all": 0, "management": 0,
        "allowed_origins": "[]", "token_generation": 1, "created_at": now,
    }  # fmt: skip


def _session(draw: random.Random, crowd: Crowd, now: Instant, details: str) -> dict[str, Any]:
    session_id = f"ses_{secrets.token_hex(16)}"
    created = now - draw.randrange(DAY)
    row = {
        "id": session_id, "user_id": draw.choice(crowd.people), "secret_hash": secrets.token_hex(32),
        "origin": draw.choices(ORIGINS, ORIGIN_WEIGHTS)[0], "secret_generation": 1,
        "secret_changed_at": created, "binding_type": "none", "authentications": "[]",
        "acr": draw.choices(LEVELS, LEVEL_WEIGHTS)[0], "auth_time": created, "created_at": created,
        "last_active_at": max(created, now - draw.randrange(HOUR - MINUTE)), "idle_timeout": HOUR,
        "idle_at": 0, "expires_at": created + DAY + HOUR, "remembered": 0, "kept": 0,
        "temporary": 0, "details": details,
        "device_type": draw.choices(DEVICES, DEVICE_WEIGHTS)[0], "browser": "Firefox 150",
        "os": "Linux", "address": _address(draw), "asn": 64_496 + draw.randrange(500),
        "country": draw.choices(COUNTRIES, COUNTRY_WEIGHTS)[0],
        "ended_at": None, "end_reason": None, "ended_by": None,
    }  # fmt: skip
    if draw.random() < 0.6:
        crowd.running.append(session_id)
    else:
        age = draw.randrange(90 * DAY)
        row |= {
            "created_at": now - age - HOUR, "last_active_at": now - age, "ended_at": now - age,
            "end_reason": draw.choice(ENDINGS), "ended_by": "user",
        }  # fmt: skip
    row["idle_at"] = row["last_active_at"] + HOUR
    return row


def _address(draw: random.Random) -> str:
    """Half of them from an organisation's own network 10.0.0.0/8, the others from anywhere."""
    number = draw.getrandbits(24) | 10 << 24 if draw.random() < 0.5 else draw.getrandbits(32)
    return f"{number | 0xFFFF << 32:032x}"


def _grant(draw: random.Random, crowd: Crowd, session: dict[str, Any]) -> dict[str, Any]:
    # The first app is in every second session, the last in hardly any.
    app = crowd.apps[min(int(draw.expovariate(0.7)), APPS - 1)]
    return {
        "id": f"azn_{secrets.token_hex(16)}", "session_id": session["id"],
        "user_id": session["user_id"], "client_id": app, "scope": "openid", "permission_scope": "",
        "auth_time": session["created_at"], "acr": session["acr"], "amr": '["pwd"]', "offline": 0,
        "created_at": session["created_at"], "last_used_at": session["last_active_at"],
        "code_redeemed_at": session["created_at"], "refresh_generation": 1,
    }  # fmt: skip
