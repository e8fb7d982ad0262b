"""The truth about a sign-out: what ended, and which apps were told of it (row U2).

Everything a person ends with one click ends at one instant, so that instant names the outcome; it
can be asked for again while deliveries are still under way. The person's own pages ask by their
session. Whoever just ended the session they are in asks by a ticket: sealed, for this browser, for
a quarter of an hour.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import orjson
from sqlalchemy import select

from idp.clock import MINUTE, Duration, Instant
from idp.events.delivery import Receipt, receipts_for
from idp.events.model import DELIVERED, GIVEN_UP, OWED
from idp.oauth.authorizations import AppInSession, apps_in
from idp.oauth.model import Authorization, Client
from idp.sessions.model import Session
from idp.storage.unit_of_work import UnitOfWork
from idp.storage.vault import Unreadable, Vault

TICKET_LASTS: Duration = 15 * MINUTE

# told: it accepted the message · telling: not yet, we keep trying · not_told: given up
# no_address: it has none; its tokens are dead, and it stops when it next asks.
State = Literal["told", "telling", "not_told", "no_address"]


@dataclass(frozen=True, slots=True)
class AppTold:
    """One app of what ended, and whether it knows."""

    client_id: str
    name: str
    state: State
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one sign-out did."""

    at: Instant
    session_ids: tuple[str, ...]
    apps: tuple[AppTold, ...]
    # Apps that lost access which had outlived its session.
    offline: tuple[str, ...]

    @property
    def is_settled(self) -> bool:
        """Whether nothing will change any more."""
        return all(app.state != "telling" for app in self.apps)

    def count(self, state: State) -> int:
        return sum(app.state == state for app in self.apps)


def outcome_at(unit: UnitOfWork, user_id: str, at: Instant) -> Outcome | None:
    """What a person's sign-out at this instant did; None when nothing of theirs ended then."""
    session_ids = unit.orm.scalars(
        select(Session.id).where(Session.user_id == user_id, Session.ended_at == at)
    ).all()
    offline = unit.orm.scalars(
        select(Client.name)
        .join(Authorization, Authorization.client_id == Client.id)
        .where(
            Authorization.user_id == user_id,
            Authorization.ended_at == at,
            Authorization.session_id.not_in(session_ids),
        )
        .order_by(Client.name)
    ).all()
    if not session_ids and not offline:
        return None
    return Outcome(
        at=at,
        session_ids=tuple(session_ids),
        apps=apps_told(unit, session_ids),
        offline=tuple(offline),
    )


def apps_told(unit: UnitOfWork, session_ids: Sequence[str]) -> tuple[AppTold, ...]:
    """The apps of ended sessions, by name; one in several sessions is told when all were said."""
    by_session = told_by_session(unit, session_ids)
    found: dict[str, list[AppTold]] = {}
    for apps in by_session.values():
        for app in apps:
            found.setdefault(app.client_id, []).append(app)
    return tuple(sorted((_worst(apps) for apps in found.values()), key=lambda app: app.name))


def told_by_session(unit: UnitOfWork, session_ids: Sequence[str]) -> dict[str, tuple[AppTold, ...]]:
    """The apps of each ended session, and whether they know."""
    receipts = receipts_for(unit, session_ids)
    apps = apps_in(unit, session_ids)
    return {
        session_id: tuple(
            _told(app, [one for one in receipts[session_id] if one.receiver == app.client_id])
            for app in apps.get(session_id, [])
        )
        for session_id in session_ids
    }


def ticket(vault: Vault, *, user_id: str, at: Instant, browser_hash: str) -> str:
    """Lets this browser ask for one outcome without a session."""
    body = orjson.dumps({"user_id": user_id, "at": at}).decode()
    return vault.seal_text(body, f"signed_out:{browser_hash}")


def outcome_of_ticket(unit: UnitOfWork, text: str, *, browser_hash: str) -> Outcome | None:
    """The outcome a ticket is for; None for an old one, another browser's, or none of ours."""
    try:
        body = orjson.loads(unit.vault.open_text(text, f"signed_out:{browser_hash}"))
    except (Unreadable, UnicodeError):
        return None
    if unit.now - body["at"] > TICKET_LASTS:
        return None
    return outcome_at(unit, body["user_id"], body["at"])


def _told(app: AppInSession, receipts: Sequence[Receipt]) -> AppTold:
    states = {receipt.state for receipt in receipts}
    state: State
    if OWED in states:
        state = "telling"
    elif GIVEN_UP in states:
        state = "not_told"
    elif DELIVERED in states:
        state = "told"
    else:
        state = "no_address"
    attempts = max((receipt.attempts for receipt in receipts), default=0)
    return AppTold(app.client_id, app.name, state, attempts)


def _worst(apps: Iterable[AppTold]) -> AppTold:
    order: tuple[State, ...] = ("telling", "not_told", "no_address", "told")
    return min(apps, key=lambda app: order.index(app.state))
