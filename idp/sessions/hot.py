"""What the protocol endpoints write of a session: activity, a new secret, a hold on it.

The part of `lifecycle` that works on preloaded facts and gives writes instead of making them. A
write that finds the session ended loses, and the request is decided again.
"""

from typing import Protocol

from sqlalchemy import bindparam, update

from idp import ids
from idp.clock import Duration, Instant
from idp.sessions import endings, life
from idp.sessions.lifecycle import TOUCH_EVERY
from idp.sessions.model import Session
from idp.sessions.rotation import CONFIRMED, ROTATE_EVERY, ROTATION_OVERLAP
from idp.storage.database import HotStatement, Write


class Touchable(endings.Endable, Protocol):
    """What `touching` needs to know of a session, however it was read."""

    @property
    def id(self) -> str: ...
    @property
    def idle_timeout(self) -> Duration: ...
    @property
    def last_active_at(self) -> Instant: ...


class Rotatable(Protocol):
    """What `rotating` and `confirming` need to know of a session."""

    @property
    def id(self) -> str: ...
    @property
    def expires_at(self) -> Instant: ...
    @property
    def secret_hash(self) -> str: ...
    @property
    def previous_until(self) -> Instant | None: ...
    @property
    def secret_generation(self) -> int: ...
    @property
    def secret_changed_at(self) -> Instant: ...


_TOUCH = HotStatement(
    update(Session)
    .where(Session.id == bindparam("session_id"), life.alive(bindparam("now")))
    .values(last_active_at=bindparam("now"), idle_at=bindparam("next_idle_at")),
    must_change=True,
)


def touching(session: Touchable | None, now: Instant) -> list[Write]:
    """`touch` for the hot path: what to write, if anything.

    A session that ended meanwhile makes the write lose, and the request is decided again.
    """
    if session is None or endings.reason_of(session, now) is not None:
        return []
    idle_at = idle_at_after(session, now)
    if idle_at == session.idle_at:
        return []
    return [Write(_TOUCH, {"session_id": session.id, "now": now, "next_idle_at": idle_at})]


def idle_at_after(session: Touchable, now: Instant) -> Instant:
    """The idle deadline of a living session after activity at `now`; see `TOUCH_EVERY`."""
    is_due = now - session.last_active_at >= TOUCH_EVERY
    return now + session.idle_timeout if is_due else session.idle_at


# Changes nothing; that it finds the row running, and locks it, is what it is for.
_HOLD = HotStatement(
    update(Session)
    .where(Session.id == bindparam("session_id"), life.unmarked())
    .values(origin=Session.origin),
    must_change=True,
)


def holding(session: Touchable | None) -> list[Write]:
    """What must be written, first, beside anything that whoever ends the session has to know of.

    It loses against an end that was there before, and makes a later one wait. First, because an end
    takes the session before its authorizations too: two orders would be a deadlock on PostgreSQL.
    """
    if session is None or life.is_marked(session):
        return []
    return [Write(_HOLD, {"session_id": session.id})]


_ROTATE = HotStatement(
    update(Session)
    .where(
        Session.id == bindparam("session_id"),
        Session.secret_generation == bindparam("generation"),
        life.unmarked(),
    )
    .values(
        previous_secret_hash=Session.secret_hash,
        previous_until=bindparam("until"),
        secret_hash=bindparam("next_hash"),
        secret_generation=bindparam("next_generation"),
        secret_changed_at=bindparam("now"),
    ),
    must_change=True,
)


_CONFIRM = HotStatement(CONFIRMED)


def confirming(session: Rotatable, presented: str, now: Instant) -> list[Write]:
    """`resume`'s part of rotation for the hot path: the new secret came back, so the old one may go.

    `presented` is the digest of the secret that was sent. Several tabs may write it; one is enough.
    """
    until = now + ROTATION_OVERLAP
    if presented != session.secret_hash or (session.previous_until or 0) <= until:
        return []
    values = {"session_id": session.id, "generation": session.secret_generation, "until": until}
    return [Write(_CONFIRM, values)]


def rotating(session: Rotatable, presented: str, now: Instant) -> tuple[str, Write] | None:
    """`rotate_if_old` for the hot path: the new secret and the write; None when it stays."""
    if presented != session.secret_hash or now - session.secret_changed_at < ROTATE_EVERY:
        return None
    secret = ids.new_secret()
    values = {
        "session_id": session.id,
        "generation": session.secret_generation,
        "next_generation": session.secret_generation + 1,
        "next_hash": ids.digest(secret),
        "until": session.expires_at,
        "now": now,
    }
    return secret, Write(_ROTATE, values)
