"""Letting another browser in: "Sign in with another device", and "Move this session".

They differ in who shows the code. A browser that asks shows it, and a session that opens it answers;
or a session shows it, and the browser that opens it asks by that. Of the second whoever has the code
may ask, so that a code which was sent to somebody is worth a question to its sender, and no more: from
there on both are the same, and nothing is given before the person of the session has answered.

Owns the codes that are shown (a QR code and one to type, good for a minute and then replaced), the
number that ties the two screens together, and the session that comes of it. That is a session of its
own, never a copy: with a secret of its own, no stronger than what was proved for it and than the rules
allow, temporary, and without a say in how its person signs in (`assurance.PAIRING`).

The number is made of who opened the code, so a picture of the code cannot show it. It is shown where
somebody asks and asked for where somebody answers: whoever was sent a code, or sent one away, has no
screen to read it from.
Specs: RFC 10027 (BCP 247), NIST SP 800-63B-4 section 5.1.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from sqlalchemy import select, update

from idp import ids
from idp.clock import MINUTE, Duration, Instant
from idp.errors import Refused
from idp.events.actor import Actor
from idp.policy import proximity
from idp.policy.assurance import Demand
from idp.policy.limits import Full
from idp.policy.proximity import Relation, Terms
from idp.policy.selection import Subject
from idp.sessions import approval as approvals
from idp.sessions import (
    beginning,
    distance,
    life,
    lifecycle,
    locks,
    pairing,
    pairing_details,
    queries,
    remember,
    user_code,
)
from idp.sessions.beginning import Started
from idp.sessions.device import Visit, describe
from idp.sessions.distance import Distance
from idp.sessions.model import Pairing, Session
from idp.sessions.origin import Origin
from idp.sessions.pairing_details import Details
from idp.sessions.pairing_stage import WAITING
from idp.sessions.place import Place
from idp.sessions.sign_in import SignedIn
from idp.sessions.subject import subject, visiting
from idp.storage.unit_of_work import UnitOfWork
from idp.storage.vault import Vault
from idp.users.model import User
from idp.users.rules import in_force

# A code that is shown lives so long (RFC 10027, short-lived codes), and is replaced while the page
# waits (`pairing_stage.WAITING`).
SHOWN: Duration = MINUTE
# From opening the code to an answer, and from the answer to the session.
DECIDING: Duration = 5 * MINUTE
FETCHING: Duration = 2 * MINUTE

# What becomes of the two sessions: the new one goes on by itself, it ends with the one that let it in,
# or it takes that one's place.
Wish = Literal["alone", "together", "instead"]
# What may be wished, by the kind of pairing; the last is meant where nothing is said.
WISHES: dict[str, tuple[Wish, ...]] = {
    "sign_in": ("together", "alone"),
    "move": ("instead", "together"),
}


@dataclass(frozen=True, slots=True)
class Meeting:
    """How two devices stand to each other, how far apart they are if that is known, and the terms."""

    relation: Relation
    distance: Distance | None
    terms: Terms


def ask_here(
    unit: UnitOfWork, *, browser_hash: str, visit: Visit, onward: Mapping[str, str]
) -> str:
    """A browser asks for a session, to go `onward` with; gives the pairing's id."""
    return _begin(
        unit,
        Pairing(
            kind="sign_in",
            browser_hash=browser_hash,
            network_hash=pairing.network_hash(unit.vault, visit.ip),
        ),
        Details("", asker=visit, onward=onward),
    )


def offer(unit: UnitOfWork, session: Session) -> str:
    """A session shows a code by which another browser may go on; gives the pairing's id."""
    return _begin(
        unit,
        Pairing(kind="move", session_id=session.id, user_id=session.user_id),
        Details(""),
    )


def renew(unit: UnitOfWork, asked: Pairing) -> bool:
    """Replaces the codes that are shown by new ones; False when one was opened, or it waited enough.

    The old ones are worth nothing from then on, so a picture of them is no more (XD-07).
    """
    if unit.now >= asked.created_at + WAITING:
        return False
    shown = _codes(pairing_details.of(unit, asked))
    changed = unit.orm.execute(
        update(Pairing)
        .where(Pairing.id == asked.id, Pairing.state == "pending")
        .values(**_stored(unit, asked.id, shown), expires_at=unit.now + SHOWN)
        .returning(Pairing.id)
        .execution_options(synchronize_session="fetch")
    ).one_or_none()
    return changed is not None


def by_code(unit: UnitOfWork, code: str) -> Pairing | None:
    """The pairing whose QR code holds this, while it can still be opened or decided."""
    found = unit.orm.scalar(select(Pairing).where(Pairing.code_hash == ids.digest(code)))
    if found is None or found.kind == "device" or not pairing.is_open(found, unit.now):
        return None
    return found


def of_browser(unit: UnitOfWork, pairing_id: str, browser_hash: str) -> Pairing | None:
    """The pairing with this id if this very browser asks for a session by it."""
    return unit.orm.scalar(
        select(Pairing).where(Pairing.id == pairing_id, Pairing.browser_hash == browser_hash)
    )


def open_for(unit: UnitOfWork, asked: Pairing, session: Session, *, from_browser: str) -> bool:
    """A session opens the code of a browser that asks; see `pairing.claim`.

    Raises `Refused` too when both are one browser: it asks itself nothing (RFC 10027 section 5).
    """
    if asked.browser_hash == from_browser:
        raise Refused(
            "same_browser",
            "This is the very browser that asks. Please open the code on another device, "
            "or sign in here as usual.",
            409,
        )
    return pairing.claim(unit, asked, session, expires_at=unit.now + DECIDING)


def take(
    unit: UnitOfWork, asked: Pairing, *, browser_hash: str, visit: Visit, current: str | None
) -> bool:
    """A browser opens the code that a session shows, and asks by that; see `pairing.take`.

    `current` is its session's secret. Raises `Refused` where that is the very session that shows it.
    """
    present = lifecycle.resume(unit, current)
    if present is not None and present.id == asked.session_id:
        raise Refused(
            "same_browser",
            "This is the very browser that shows the code. Please open it on the device on which "
            "you want to go on.",
            409,
        )
    if asked.session_id is None or not life.is_alive(unit, asked.session_id):
        return False
    found = replace(pairing_details.of(unit, asked), asker=visit)
    return pairing.take(
        unit,
        asked,
        browser_hash=browser_hash,
        network=pairing.network_hash(unit.vault, visit.ip),
        ip=visit.ip,
        details=pairing_details.sealed(unit.vault, asked.id, found),
        expires_at=unit.now + DECIDING,
    )


def number(vault: Vault, asked: Pairing) -> int:
    """The two digits on the asking device's screen; they are those of one claim."""
    return 10 + _drawn(vault, asked)[0] % 90


def choices(vault: Vault, asked: Pairing) -> tuple[int, ...]:
    """The number and two others, in an order that says nothing; the same at every look."""
    drawn, right = _drawn(vault, asked), number(vault, asked)
    others = [10 + byte % 90 for byte in drawn[1:]]
    found = list(dict.fromkeys([right, *others]))[:3]
    return tuple(sorted(found))


def meeting(unit: UnitOfWork, asked: Pairing, user: User, approver: Visit) -> Meeting:
    """How near the asking device is to the approving one, and what the rules ask and allow for it."""
    asker = pairing_details.of(unit, asked).asker or Visit()
    return _meeting(unit, asker, visiting(approver, user.roles), approver.place)


def _meeting(unit: UnitOfWork, asker: Visit, here: Subject, place: Place) -> Meeting:
    there = visiting(asker, here.roles)
    found, apart = proximity.relation(there, here), distance.between(asker.place, place)
    terms = proximity.terms(
        in_force(unit, "handoff", there),
        found,
        apart_km=apart.at_least if apart is not None else None,
    )
    return Meeting(found, apart if found != "same_network" else None, terms)


def approve(
    unit: UnitOfWork,
    asked: Pairing,
    session: Session,
    *,
    wanted: Demand,
    shown: int | None,
    wish: Wish,
) -> None:
    """The person lets the browser in that shows this number; a wrong one ends it, for good."""
    if shown != number(unit.vault, asked):
        pairing.deny(unit, asked, session, reason="wrong_number")
        return
    found = replace(pairing_details.of(unit, asked), wish=wish)
    pairing.approve(
        unit,
        asked,
        session,
        proved_since=wanted.since,
        details=pairing_details.sealed(unit.vault, asked.id, found),
        expires_at=unit.now + FETCHING,
    )


def fetch(
    unit: UnitOfWork, asked: Pairing, visit: Visit, current: str | None, remembered: str | None
) -> SignedIn:
    """The session that was approved, for the browser that asked, with its cookies as they are.

    `current` is its present secret, `remembered` what it is remembered by: where that is this person's,
    whoever signs out of this session means it too. Raises `Refused` when nothing is given any more;
    the caller turns the approval into a refusal.
    """
    locks.people_meeting(unit, [asked.user_id] if asked.user_id else [], current)
    present = lifecycle.resume(unit, current)
    approval = approvals.of(unit, asked)
    # Once more: what was shown as near when it asked may be anywhere when it comes.
    here = subject(approval.session, approval.user.roles)
    met = _meeting(unit, visit, here, queries.details(unit, approval.session).place)
    if met.terms.ask == "refuse":
        raise approvals.refused("too_far")
    # What it may get, the rules of this moment say of where it asked.
    there = visiting(pairing_details.of(unit, asked).asker or Visit(), approval.user.roles)
    terms = proximity.terms(in_force(unit, "handoff", there), "same_network")
    wish = pairing_details.of(unit, asked).wish
    instead_of = approval.session.id if wish == "instead" else None
    if present is not None:
        lifecycle.end(unit, [present.id], reason="replaced", actor=Actor("user", present.id))
    origin = Origin(
        kind="handoff",
        parent_id=approval.session.id if wish == "together" else None,
        via=approval.via,
        approver_id=approval.session.id,
        longest=_longest(terms, approval.session, unit.now),
    )
    # Not a device that somebody signed in on before: nothing was proved here.
    started = beginning.start(
        unit,
        approval.user,
        [approval.proof(terms.acr)],
        replace(visit, device_hash=None),
        origin,
        instead_of=instead_of,
    )
    if not isinstance(started, Started):
        # Whoever let it in was told so before (`at_limit`).
        raise approvals.refused("session_limit")
    made = started.row(unit)
    shown = remember.read(unit, remembered, visit)
    if shown is not None and shown.is_good and shown.user.id == approval.user.id:
        made.remembered_id = shown.series.id
    approvals.record(unit, asked, approval, visit, made=made, name=describe(visit).label)
    if not pairing.consume(unit, asked, new_session_id=made.id):
        raise approvals.refused(approvals.TOO_LATE)
    if instead_of is not None:
        lifecycle.end(unit, [instead_of], reason="moved", actor=Actor("user", made.id))
    return SignedIn(made.id, approval.user.id, started.secret, is_new_session=True)


def at_limit(unit: UnitOfWork, asked: Pairing, user: User, wish: Wish) -> Full | None:
    """The limit of sessions that keeps the browser out until its person signed out elsewhere."""
    asker = pairing_details.of(unit, asked).asker or Visit()
    instead_of = asked.session_id if wish == "instead" else None
    return beginning.foreseen(unit, user, asker, Origin(kind="handoff"), instead_of=instead_of)


def _longest(terms: Terms, approver: Session, now: Instant) -> Duration:
    """A temporary session lets nobody in for longer than it lasts itself."""
    return min(terms.lasting, approver.expires_at - now) if approver.temporary else terms.lasting


def _begin(unit: UnitOfWork, asked: Pairing, details: Details) -> str:
    asked.id = ids.new("par")
    asked.created_at = unit.now
    asked.expires_at = unit.now + SHOWN
    for column, value in _stored(unit, asked.id, _codes(details)).items():
        setattr(asked, column, value)
    unit.orm.add(asked)
    unit.flush()
    return asked.id


def _codes(details: Details) -> Details:
    return replace(details, user_code=user_code.make(), qr=ids.new_public())


def _stored(unit: UnitOfWork, pairing_id: str, details: Details) -> dict[str, str]:
    return {
        "code_hash": ids.digest(details.qr or ""),
        "user_code_hash": user_code.digest(details.user_code, unit.vault),
        "details": pairing_details.sealed(unit.vault, pairing_id, details),
    }


def _drawn(vault: Vault, asked: Pairing) -> bytes:
    """Bytes for the number and the wrong ones: of this claim, and not to be foreseen from any code."""
    claim = f"{asked.id}:{asked.session_id}:{asked.browser_hash}"
    return vault.mac(claim.encode(), "pairing number")
