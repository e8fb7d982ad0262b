"""Pairing: one device asks for a session, and one on which its person is signed in approves.

One primitive for three things. `device`: an app asks and shows a code, a browser opens it (RFC 8628).
`sign_in`: a browser asks and shows a QR code, a signed-in device opens it. `move`: the signed-in
device shows the QR code, and the browser that opens it asks by that.

    pending ──claim──▶ claimed ──approve──▶ approved ──consume──▶ consumed
                          │                    │
                          └──── deny, report ──┴──▶ denied, reported

Each arrow is one conditional UPDATE, so that of two who take it one does; denied, reported and
consumed are final. A pairing that ran out takes no arrow. The first to open a code has it (`claim`,
where a session opens it; `take`, where a browser that wants one does): nobody else approves, denies
or comes for it, and a second try by others is told to the first (XD-01, XD-07). What a code is worth
ends there: a session is made by `consume`, in the transaction of whoever makes it, and goes to the
device that asked, which proves itself by its device code or its browser's cookie.

What becomes of an approval is decided in `idp.sessions.handoff` (browsers) and `idp.oauth.devices`
(apps). What is shown of a pairing is its stage (`pairing_stage`); how many may wait is `pairing_room`.
Specs: RFC 8628, RFC 10027 (BCP 247).
"""

from typing import Any, Literal

from sqlalchemy import ColumnElement, select, update

from idp.clock import DAY, Duration, Instant
from idp.errors import Refused
from idp.events.actor import Actor
from idp.events.catalogue import (
    PairingApproved,
    PairingClaimed,
    PairingContested,
    PairingDenied,
    PairingReported,
)
from idp.sessions import pairing_details as details
from idp.sessions import user_code
from idp.sessions.model import Pairing, Session
from idp.storage.unit_of_work import UnitOfWork
from idp.storage.vault import Vault
from idp.users.throttle import network_of

Kind = Literal["device", "sign_in", "move"]
# The states from which there is another way yet.
UNDECIDED = ("pending", "claimed", "approved")
# How long a network that was reported stays out of this account's sight.
BLOCKED: Duration = DAY

NOT_THIS_CODE = (
    "This code is not known, has run out, or was opened before. "
    "Please look at the other device again, and start there once more if it shows no code."
)


def network_hash(vault: Vault, ip: str | None) -> str:
    """What is stored of the asking device's network: enough to know it again."""
    return vault.mac(network_of(ip).encode(), "pairing network").hex()


def by_typed(unit: UnitOfWork, typed: str, kinds: tuple[Kind, ...]) -> Pairing | None:
    """The pairing of a code that was typed, if it is of these kinds and has not run out."""
    code = user_code.canonical(typed)
    if code is None:
        return None
    return unit.orm.scalar(
        select(Pairing).where(
            Pairing.user_code_hash == user_code.digest(code, unit.vault),
            Pairing.kind.in_(kinds),
            Pairing.expires_at > unit.now,
        )
    )


def of_approver(unit: UnitOfWork, pairing_id: str, session: Session) -> Pairing | None:
    """The pairing with this id if this very session opened it, or showed its code."""
    return unit.orm.scalar(
        select(Pairing).where(Pairing.id == pairing_id, Pairing.session_id == session.id)
    )


def claim(unit: UnitOfWork, pairing: Pairing, session: Session, **values: Any) -> bool:
    """Ties a pairing to the first session that opens its code; False when that was another.

    Raises `Refused` (`origin_blocked`) when this person reported the asking network of late.
    """
    if pairing.session_id == session.id:
        return True
    if _is_blocked(unit, session.user_id, pairing.network_hash):
        raise Refused(
            "origin_blocked",
            "You reported a request from that network as not yours, so nothing from there is "
            "taken for a day. If it is yours after all, sign in there another way.",
            403,
        )
    claimed = _become(
        unit,
        pairing,
        "claimed",
        Pairing.state == "pending",
        session_id=session.id,
        user_id=session.user_id,
        **values,
    )
    if not claimed:
        # The same button pressed twice is no contest.
        unit.orm.refresh(pairing)
        if pairing.session_id == session.id:
            return True
        contest(unit, pairing)
        return False
    unit.record(PairingClaimed(**_about(pairing), **_by(session), kind=pairing.kind))
    return True


def take(
    unit: UnitOfWork,
    pairing: Pairing,
    *,
    browser_hash: str,
    network: str,
    ip: str | None,
    **values: Any,
) -> bool:
    """Ties a code that a session shows to the first browser that opens it; False when it has another.

    Also when the person who shows it reported the network of that browser of late: a stranger is not
    told so. `values` come with it, unless the code was replaced since it was read.
    """
    if pairing.browser_hash == browser_hash:
        return True
    if pairing.user_id is None or _is_blocked(unit, pairing.user_id, network):
        return False
    taken = _become(
        unit,
        pairing,
        "claimed",
        Pairing.state == "pending",
        Pairing.code_hash == pairing.code_hash,
        browser_hash=browser_hash,
        network_hash=network,
        **values,
    )
    if not taken:
        # The same button pressed twice is no contest.
        unit.orm.refresh(pairing)
        if pairing.browser_hash == browser_hash:
            return True
        contest(unit, pairing)
        return False
    unit.record(
        PairingClaimed(
            **_about(pairing),
            user_id=pairing.user_id,
            session_id=pairing.session_id,
            ip=ip,
            kind=pairing.kind,
        )
    )
    return True


def contest(unit: UnitOfWork, pairing: Pairing) -> None:
    """Notes that somebody else opened a code that was taken, for the one who has it to see."""
    changed = unit.orm.execute(
        update(Pairing)
        .where(
            Pairing.id == pairing.id,
            Pairing.state.in_(("claimed", "approved")),
            Pairing.contested_at.is_(None),
            Pairing.expires_at > unit.now,
        )
        .values(contested_at=unit.now)
        .returning(Pairing.id)
        .execution_options(synchronize_session="fetch")
    ).one_or_none()
    if changed is not None:
        unit.record(PairingContested(**_about(pairing), kind=pairing.kind))


def approve(
    unit: UnitOfWork, pairing: Pairing, session: Session, *, proved_since: Instant, **values: Any
) -> bool:
    """The person of the session that opened it says yes; False when it was too late for that.

    `proved_since` is from when on proofs counted for it.
    """
    approved = _become(
        unit,
        pairing,
        "approved",
        Pairing.state == "claimed",
        Pairing.session_id == session.id,
        proved_since=proved_since,
        decided_at=unit.now,
        **values,
    )
    if approved:
        unit.record(PairingApproved(**_about(pairing), **_by(session), kind=pairing.kind))
    return approved


def deny(unit: UnitOfWork, pairing: Pairing, session: Session, *, reason: str) -> bool:
    """The same person says no, for good; also after a yes that nobody has used yet."""
    denied = _become(
        unit,
        pairing,
        "denied",
        Pairing.state.in_(UNDECIDED),
        Pairing.session_id == session.id,
        decided_at=unit.now,
    )
    if denied:
        unit.record(
            PairingDenied(**_about(pairing), **_by(session), kind=pairing.kind, reason=reason)
        )
    return denied


def withdraw(unit: UnitOfWork, pairing: Pairing) -> None:
    """The browser that asks does not want any more; the caller knows that it is that browser."""
    is_open = Pairing.state.in_(UNDECIDED)
    if _become(unit, pairing, "denied", is_open, decided_at=unit.now):
        _record_denial(unit, pairing, "withdrawn")


def report(unit: UnitOfWork, pairing: Pairing, session: Session) -> bool:
    """ "I did not start this": no, and nothing from that network for this account for a day."""
    reported = _become(
        unit,
        pairing,
        "reported",
        Pairing.state.in_(("claimed", "approved", "denied")),
        Pairing.session_id == session.id,
        decided_at=unit.now,
    )
    if reported:
        asker = details.of(unit, pairing).asker
        unit.record(
            PairingReported(
                **_about(pairing),
                **_by(session),
                kind=pairing.kind,
                ip=asker.ip if asker is not None else None,
            )
        )
    return reported


def refuse(unit: UnitOfWork, pairing_id: str, *, reason: str) -> None:
    """What was approved may not be given any more: the answer is no, for good."""
    pairing = unit.orm.get(Pairing, pairing_id)
    if pairing is None:
        return
    if _become(unit, pairing, "denied", Pairing.state == "approved", decided_at=unit.now):
        _record_denial(unit, pairing, reason)


def consume(unit: UnitOfWork, pairing: Pairing, **made: str) -> bool:
    """Spends an approval, once, in the transaction that makes what comes of it (invariant 2)."""
    return _become(unit, pairing, "consumed", Pairing.state == "approved", **made)


def is_open(pairing: Pairing, now: Instant) -> bool:
    """Whether anything can still be decided about it."""
    return now < pairing.expires_at and pairing.state in UNDECIDED


def _become(
    unit: UnitOfWork, pairing: Pairing, state: str, *where: ColumnElement[bool], **values: Any
) -> bool:
    """The one way to another state; False when it is not the time for it, or no longer."""
    changed = unit.orm.execute(
        update(Pairing)
        .where(Pairing.id == pairing.id, Pairing.expires_at > unit.now, *where)
        .values(state=state, **values)
        .returning(Pairing.id)
        .execution_options(synchronize_session="fetch")
    ).one_or_none()
    return changed is not None


def _record_denial(unit: UnitOfWork, pairing: Pairing, reason: str) -> None:
    unit.record(
        PairingDenied(
            **_about(pairing),
            user_id=pairing.user_id,
            session_id=pairing.session_id,
            kind=pairing.kind,
            reason=reason,
        )
    )


def _is_blocked(unit: UnitOfWork, user_id: str, network: str | None) -> bool:
    if network is None:
        return False
    return (
        unit.orm.scalar(
            select(Pairing.id)
            .where(
                Pairing.user_id == user_id,
                Pairing.state == "reported",
                Pairing.network_hash == network,
                Pairing.decided_at > unit.now - BLOCKED,
            )
            .limit(1)
        )
        is not None
    )


def _about(pairing: Pairing) -> dict[str, Any]:
    return {"client_id": pairing.client_id, "pairing": pairing.id}


def _by(session: Session) -> dict[str, Any]:
    actor = Actor("user", session.id)
    return {
        "actor": actor.kind,
        "actor_id": actor.id,
        "user_id": session.user_id,
        "session_id": session.id,
    }
