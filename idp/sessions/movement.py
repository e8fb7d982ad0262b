"""A session that is used: as it was, from elsewhere, or on another device (B2, B3, C3, SE-16).

Owns what becomes of it. `judge` decides on values, for pages and for /authorize alike; `carry_out`
does what was decided. Only where the person's own browser is: an app that refreshes or introspects
comes from an address of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from idp.clock import MINUTE, Duration, Instant
from idp.events.actor import SYSTEM
from idp.events.catalogue import SessionRelocated
from idp.policy import admission, changes, network
from idp.policy.changes import Judged, Surroundings
from idp.policy.selection import Book
from idp.sessions import challenge, endings, lifecycle, subject
from idp.sessions.device import Visit, describe
from idp.storage.unit_of_work import UnitOfWork

# A session that goes to and fro between two addresses is written down so often, and no oftener.
RELOCATE_EVERY: Duration = MINUTE

# "refused": not from here, and nothing about the session changes.
Fate = Literal["as_before", "relocated", "challenged", "refused", "ended"]


class Used(subject.Placed, Protocol):
    """What `judge` needs to know of a session, however it was read."""

    @property
    def id(self) -> str: ...
    @property
    def browser(self) -> str | None: ...
    @property
    def os(self) -> str | None: ...
    @property
    def device_hash(self) -> str | None: ...
    @property
    def relocated_at(self) -> Instant | None: ...
    @property
    def challenged_at(self) -> Instant | None: ...
    @property
    def secret_generation(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Found:
    """What becomes of a session; `judged` is the change that it was for, if there was one.

    `generation` and `relocated_at` are the session's, as they were when it was decided.
    """

    fate: Fate
    judged: Judged | None
    generation: int
    relocated_at: Instant | None


def judge(
    session: Used,
    roles: tuple[str, ...],
    visit: Visit,
    book: Book,
    now: Instant,
    *,
    client_id: str | None = None,
) -> Found:
    """What becomes of a session of a person with `roles` that is used now, for an app or for us."""
    before, present = _surroundings(session, visit)
    of = subject.subject(session, roles, client_id)
    outside = None
    if book.get("networks"):
        here = replace(of, address=present.address, asn=present.asn, country=present.country)
        outside = admission.outside(book, here)
    found = changes.judged(book, of, before, present)
    fate: Fate = "as_before"
    if outside is not None:
        found, fate = None, "ended" if outside == "end" else "refused"
    elif found is not None and found.answer == "end":
        fate = "ended"
    elif found is not None and found.answer != "continue":
        fate = "challenged"
    elif session.challenged_at is not None:
        found, fate = None, "challenged"
    elif present.address not in (None, before.address) and (
        session.relocated_at is None or now - session.relocated_at >= RELOCATE_EVERY
    ):
        fate = "relocated"
    return Found(fate, found, session.secret_generation, session.relocated_at)


def consequence(session_id: str, found: Found, visit: Visit) -> Callable[[UnitOfWork], None] | None:
    """What is to be done, for whoever decides without a unit of work; None: nothing."""
    if found.fate in ("as_before", "refused") or (found.fate == "challenged" and not found.judged):
        return None
    return lambda unit: carry_out(unit, session_id, found, visit)


def carry_out(unit: UnitOfWork, session_id: str, found: Found, visit: Visit) -> None:
    """Does what was decided of a session, unless it was overtaken."""
    if found.fate == "ended":
        reason: endings.EndReason = "elsewhere" if found.judged is not None else "network"
        lifecycle.end(unit, [session_id], reason=reason, actor=SYSTEM)
    elif found.fate == "challenged" and found.judged is not None:
        challenge.set_on(
            unit,
            session_id,
            seen_generation=found.generation,
            change=found.judged.change,
            answer=found.judged.answer,
            visit=visit,
        )
    elif found.fate == "relocated":
        _relocate(unit, session_id, found, visit)


def _relocate(unit: UnitOfWork, session_id: str, found: Found, visit: Visit) -> None:
    session = challenge.locked(unit, session_id)
    if (
        session is None
        or session.relocated_at != found.relocated_at
        or session.challenged_at is not None
    ):
        return
    challenge.take_to(unit, session, visit)
    unit.record(
        SessionRelocated(
            actor="user",
            actor_id=session.id,
            user_id=session.user_id,
            session_id=session.id,
            ip=visit.ip,
            reason=found.judged.change if found.judged is not None else "ip",
        )
    )


def _surroundings(session: Used, visit: Visit) -> tuple[Surroundings, Surroundings]:
    """Where and on what the session was used last, and is used now."""
    device = describe(visit)
    before = Surroundings(
        session.address, session.asn, session.country, session.browser, session.os,
        session.device_hash,
    )  # fmt: skip
    address, asn, country = network.key(visit.ip), session.asn, session.country
    if address != session.address:
        # Files are asked only for an address that is new.
        at = visit.place
        asn, country = at.asn, at.country
    now = Surroundings(address, asn, country, device.browser, device.os, visit.device_hash)
    return before, now
