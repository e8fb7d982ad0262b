"""Apps on other devices: what must be proved to let one in, and what it gets (RFC 8628).

Owns the person's side of a pairing of kind `device`: the demand, the consent that comes with the
answer, and the session and grant that are made of an approval when the app comes for them. Every
condition is asked again then (XD-04): between the answer and the next poll an account may be locked,
a session ended, a consent revoked, a rule changed.
"""

from dataclasses import replace

from sqlalchemy import select

from idp import ids
from idp.clock import Instant
from idp.errors import Refused, Unavailable
from idp.events.actor import Actor
from idp.events.catalogue import AuthorizationEnded, AuthorizationIssued
from idp.oauth import consent
from idp.oauth.model import Authorization, Client, Consent
from idp.policy import assurance, limits, reauthentication
from idp.policy.assurance import Demand
from idp.sessions import admission, beginning, lifecycle, pairing, pairing_details, queries
from idp.sessions import approval as approvals
from idp.sessions.approval import Approval
from idp.sessions.beginning import Started
from idp.sessions.device import Visit, describe
from idp.sessions.endings import EndReason
from idp.sessions.model import Pairing, Session
from idp.sessions.origin import Origin
from idp.sessions.subject import arriving, subject
from idp.storage.columns import LOCKED
from idp.storage.unit_of_work import UnitOfWork, Work
from idp.users import roles, rules
from idp.users.model import User

# Everything else that asks by a code is shown as a terminal, whatever its HTTP library says of itself.
_SHOWN_AS_THEY_ARE = ("tv", "phone", "tablet")


def least(unit: UnitOfWork, asked: Pairing, session: Session, user: User) -> str:
    """The least level that the app itself, its scopes and the rules ask for."""
    client = unit.orm.get_one(Client, asked.client_id)
    of = subject(session, user.roles, client.id)
    book = rules.book(unit)
    ruled = assurance.least(book, of, scopes=asked.scope.split())
    # Whoever must prove themselves again and again lets nothing in by less than they then prove.
    due = reauthentication.period(book, of)
    levels = (asked.acr, client.minimum_acr, ruled, due.acr if due is not None else None)
    return assurance.highest([one for one in levels if one])


def type_of(asker: Visit) -> str:
    """The kind of device an app asks from, as its icon."""
    kind = describe(asker).type
    return kind if kind in _SHOWN_AS_THEY_ARE else "terminal"


def approve(unit: UnitOfWork, asked: Pairing, session: Session, wanted: Demand) -> bool:
    """The person allows the app what it asks for, and lets it in; False when it was too late."""
    _hold_person(unit, session)
    if not pairing.approve(unit, asked, session, proved_since=wanted.since):
        return False
    consent.grant(
        unit,
        user_id=session.user_id,
        session_id=session.id,
        client_id=asked.client_id or "",
        scope=asked.scope,
    )
    return True


def at_limit(unit: UnitOfWork, asked: Pairing, session: Session, user: User) -> limits.Full | None:
    """The limit of sessions that keeps the device out until its person signed out elsewhere."""
    asker = pairing_details.of(unit, asked).asker or Visit()
    client = unit.orm.get_one(Client, asked.client_id)
    return beginning.foreseen(unit, user, asker, _origin(unit, client, session, asker))


def deny(unit: UnitOfWork, asked: Pairing, session: Session) -> None:
    """The person says no to the app, or takes a yes back before it came."""
    allowed_at = _allowed_at(unit, asked, session)
    if pairing.deny(unit, asked, session, reason="denied"):
        consent.deny(
            unit,
            user_id=session.user_id,
            session_id=session.id,
            client_id=asked.client_id or "",
        )
        _take_back(unit, asked, session, allowed_at)


def report(unit: UnitOfWork, asked: Pairing, session: Session) -> None:
    """The person says that they did not start this; see `pairing.report`."""
    allowed_at = _allowed_at(unit, asked, session)
    if pairing.report(unit, asked, session):
        _take_back(unit, asked, session, allowed_at)


def issue(work: Work, *, pairing_id: str) -> None:
    """Makes the session and the grant of an approved request, or turns it into a refusal.

    Of several that try at once one makes them. The grant is worth nothing until the device code is
    redeemed (`grants.device_code`).
    """
    try:
        with work.begin() as unit:
            asked = unit.orm.get(Pairing, pairing_id)
            if asked is not None and asked.state == "approved":
                _issue(unit, asked)
    except Unavailable:
        raise
    except Refused as refused:
        with work.begin() as unit:
            pairing.refuse(unit, pairing_id, reason=refused.code)


# Why the session of an app is over whose grant was ended, where that leaves nothing of it.
_ENDS_WITH_GRANT: dict[str, EndReason] = {
    "revoked_by_client": "client_logout",
    "consent_revoked": "signed_out",
    "signed_out": "signed_out",
    "admin": "admin",
}


def end_with_grant(unit: UnitOfWork, event: AuthorizationEnded) -> None:
    """Subscriber: the session that was made for one app ends with that app's grant."""
    reason = _ENDS_WITH_GRANT.get(event.reason or "")
    if reason is None or event.session_id is None:
        return
    session = unit.orm.get(Session, event.session_id)
    if session is not None and session.origin == "device":
        lifecycle.end(unit, [session.id], reason=reason, actor=Actor(event.actor, event.actor_id))


def _allowed_at(unit: UnitOfWork, asked: Pairing, session: Session) -> Instant | None:
    """When the app was allowed what nobody has come for; None: it was not."""
    _hold_person(unit, session)
    unit.orm.refresh(asked)  # another tab may have said yes until now
    return asked.decided_at if asked.state == "approved" else None


def _hold_person(unit: UnitOfWork, session: Session) -> None:
    """Before pairing and consent, wherever an answer is given or fetched: else two are a deadlock."""
    unit.orm.get(User, session.user_id, with_for_update=LOCKED)


def _take_back(
    unit: UnitOfWork, asked: Pairing, session: Session, allowed_at: Instant | None
) -> None:
    """The consent that came with a yes goes with it: what is left is what the app holds.

    What it was allowed before, and holds nothing by any more, goes as well: of a yes that was a
    mistake too little is better left than too much, and the app asks again.
    """
    key = (session.user_id, asked.client_id or "")
    given = unit.orm.get(Consent, key, with_for_update=LOCKED)
    if given is None or given.granted_at != allowed_at:
        return
    grants = select(Authorization.scope).where(
        Authorization.user_id == session.user_id,
        Authorization.client_id == given.client_id,
        Authorization.ended_at.is_(None),
    )
    held = {one for scope in unit.orm.scalars(grants) for one in scope.split()}
    if held:
        given.scope = " ".join(one for one in given.scope.split() if one in held)
    else:
        by = Actor("user", session.id)
        consent.revoke(unit, session.user_id, given.client_id, actor=by)


def _issue(unit: UnitOfWork, asked: Pairing) -> None:
    """Raises `Refused` with the reason why nothing is given any more."""
    approval = approvals.of(unit, asked)
    user, standing = approval.user, approval.standing
    client = unit.orm.get(Client, asked.client_id)
    if client is None or client.disabled_at is not None:
        raise approvals.refused("client_disabled")
    if not assurance.reaches(standing.acr, least(unit, asked, approval.session, user)):
        raise approvals.refused("assurance")
    scope, permission_scope = _granted(unit, asked.scope, client, user)
    if not scope:
        raise approvals.refused("nothing_granted")
    if not _is_allowed(unit, user, client, asked.scope):
        raise approvals.refused("consent_revoked")
    made = _session(unit, asked, client, approval)
    grant_id = _grant(unit, asked, client, made, (scope, permission_scope))
    if not pairing.consume(unit, asked, new_session_id=made.id, authorization_id=grant_id):
        # Another poll was quicker, or the person changed their mind: nothing of this stays.
        raise approvals.refused(approvals.TOO_LATE)


def _session(unit: UnitOfWork, asked: Pairing, client: Client, approval: Approval) -> Session:
    asker = pairing_details.of(unit, asked).asker or Visit()
    proof = approval.proof(approval.standing.acr)
    origin = _origin(unit, client, approval.session, asker)
    # Whether its person may be where it is, `beginning` asks; here, whether they may with this app.
    there = arriving(origin.naming(describe(asker)), asker.ip, asker.place, approval.user.roles)
    admission.require(rules.book(unit), replace(there, client_id=client.id), unit.now)
    started = beginning.start(unit, approval.user, [proof], asker, origin)
    if not isinstance(started, Started):
        # Whoever allowed it was told so before (`at_limit`); the app comes when nobody is there.
        raise approvals.refused("session_limit")
    made = started.row(unit)
    approvals.record(unit, asked, approval, asker, made=made, name=client.name)
    return made


def _origin(unit: UnitOfWork, client: Client, approver: Session, asker: Visit) -> Origin:
    return Origin(
        kind="device",
        via=queries.details(unit, approver).default_label,
        approver_id=approver.id,
        label=client.name,
        device_type=type_of(asker),
    )


def _grant(
    unit: UnitOfWork, asked: Pairing, client: Client, made: Session, scopes: tuple[str, str]
) -> str:
    own = assurance.standing(assurance.proofs(made.authentications))
    if own is None:
        raise RuntimeError("a session rests on a proof")
    grant = Authorization(
        id=ids.new("azn"),
        session_id=made.id,
        user_id=made.user_id,
        client_id=client.id,
        scope=scopes[0],
        permission_scope=scopes[1],
        auth_time=own.auth_time,
        acr=own.acr,
        amr=list(own.amr),
        offline=int("offline_access" in scopes[0].split()),
        created_at=unit.now,
        last_used_at=unit.now,
        code_expires_at=asked.expires_at,
    )
    unit.orm.add(grant)
    unit.record(
        AuthorizationIssued(
            actor="user",
            actor_id=made.user_id,
            user_id=made.user_id,
            session_id=made.id,
            client_id=client.id,
            authorization_id=grant.id,
            scope=grant.scope,
        )
    )
    return grant.id


def _granted(unit: UnitOfWork, scope: str, client: Client, user: User) -> tuple[str, str]:
    """What of `scope` the app still may have of this person, and which part of it rests on roles."""
    registered = set(client.scope.split())
    left = " ".join(one for one in scope.split() if one in registered)
    return roles.given(left, user.permissions, roles.governed(unit))


def _is_allowed(unit: UnitOfWork, user: User, client: Client, scope: str) -> bool:
    """Whether what the person allowed with their answer is still allowed; nobody takes it back now."""
    found = unit.orm.get(Consent, (user.id, client.id), with_for_update=LOCKED)
    return found is not None and set(scope.split()) <= set(found.scope.split())
