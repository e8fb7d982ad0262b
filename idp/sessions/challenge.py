"""Sessions whose person must prove who they are before anything goes on in them (B2, B3).

Owns setting a challenge and when it is met. It stands in the session's row: whoever goes back to
where they were, or waits, still has it, and only proofs that are newer end it. Why one is set is
`idp.sessions.movement`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from idp.events.catalogue import SessionChallenged
from idp.policy import assurance, network
from idp.policy.assurance import Demand, Proof
from idp.policy.changes import CHANGES, Answer, Change
from idp.sessions import life, place, queries
from idp.sessions.device import Visit, describe
from idp.sessions.model import Session
from idp.storage.columns import LOCKED
from idp.storage.unit_of_work import UnitOfWork
from idp.users import factors


@dataclass(frozen=True, slots=True)
class Challenge:
    """Which change it is for, and what must be proved before the session goes on."""

    change: Change
    demand: Demand


def set_on(
    unit: UnitOfWork,
    session_id: str,
    *,
    seen_generation: int,
    change: Change,
    answer: Answer,
    visit: Visit,
) -> None:
    """Challenges a session, unless it is already, or its person proved themselves meanwhile.

    `seen_generation` is of the secret, when it was decided: every proof changes it.
    """
    session = locked(unit, session_id)
    if session is None or session.secret_generation != seen_generation:
        return
    if session.challenged_at is not None:
        return
    session.challenged_at = unit.now
    session.challenge = answer
    session.challenged_for = change
    unit.record(
        SessionChallenged(
            user_id=session.user_id,
            session_id=session.id,
            ip=visit.ip,
            reason=change,
            answer=answer,
        )
    )


def of(unit: UnitOfWork, session: Session) -> Challenge | None:
    """The challenge of a session, if there is one."""
    if session.challenged_at is None:
        return None
    change = next(one for one in CHANGES if one == session.challenged_for)
    return Challenge(change, Demand(_acr(unit, session), session.challenged_at + 1))


def settle(unit: UnitOfWork, session: Session, visit: Visit, proved: Sequence[Proof]) -> None:
    """After `proved` was recorded: ends the challenge if it is met, and takes the session to where,
    and to what, it is now."""
    if session.challenged_at is None:
        return
    since = session.challenged_at
    older = assurance.proofs(session.authentications[: -len(proved)])
    counting = [proof for proof in older if proof.at > since] + list(proved)
    if not assurance.meets(counting, Demand(_acr(unit, session))):
        return
    session.challenged_at = session.challenge = session.challenged_for = None
    take_to(unit, session, visit)
    device = describe(visit)
    session.browser = device.browser or session.browser
    session.os = device.os or session.os
    session.device_hash = visit.device_hash or session.device_hash


def take_to(unit: UnitOfWork, session: Session, visit: Visit) -> None:
    """Notes where a session is now; what is not known stays as it was."""
    address = network.key(visit.ip)
    if address is None:
        return
    at = visit.place
    details = queries.details_of(unit, session)
    details |= {"ip": visit.ip, "place": place.sealed(at)}
    session.details = queries.sealed_details(unit, session.id, details)
    session.address, session.asn, session.country = address, at.asn, at.country
    session.relocated_at = unit.now


def locked(unit: UnitOfWork, session_id: str) -> Session | None:
    """A running session, read anew and kept from others until the end of this unit of work."""
    session = unit.orm.get(Session, session_id, with_for_update=LOCKED, populate_existing=True)
    return session if session is not None and not life.is_marked(session) else None


def _acr(unit: UnitOfWork, session: Session) -> str:
    if session.challenge == "mfa":
        return "aal2"
    return "aal2" if factors.has_second(factors.enrolled(unit, session.user_id)) else "aal1"
