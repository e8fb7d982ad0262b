"""Proving more in a session that runs (row T5).

Each proof is recorded in the session at once and changes its secret; whether it is enough is asked
again wherever something was demanded. Enrolling a factor proves nothing: it must be used (MF-04).
In a session in which nobody has proved anything yet, because a remembered browser began it, it is as
at sign-in: whoever has a second factor needs it, and one proof alone earns nothing (MF-01).
"""

from collections.abc import Callable
from dataclasses import replace

from idp.policy import assurance
from idp.policy.assurance import LADDER, Authentication, Demand
from idp.sessions import life, lifecycle, prove
from idp.sessions.ceremony import Ceremony
from idp.sessions.device import Visit
from idp.sessions.model import Session
from idp.sessions.prove import Rejected as Rejected
from idp.storage.columns import LOCKED
from idp.storage.unit_of_work import UnitOfWork, Work
from idp.users import factors
from idp.users.passwords import PasswordHasher
from idp.users.person import Account

# Done with the session in the transaction that records the proof.
Note = Callable[[UnitOfWork, Session], None]


def able(unit: UnitOfWork, session: Session) -> dict[str, str]:
    """The methods that the session's person has, each with the most it can earn alone in it."""
    enrolled = factors.enrolled(unit, session.user_id)
    if not _as_at_sign_in(session, enrolled):
        return enrolled
    return {method: _in_company(acr) for method, acr in enrolled.items()}


def with_password(
    work: Work,
    hasher: PasswordHasher,
    *,
    session: Session,
    name: str,
    password: str,
    visit: Visit,
    note: Note,
) -> str | Rejected:
    """Records a password of the session's person, called `name`; gives the session's new secret."""
    return prove.password(
        work,
        hasher,
        name=name,
        password=password,
        visit=visit,
        then=_recorded_in(session, visit, note),
    )


def with_code(
    work: Work,
    *,
    session: Session,
    ceremony: Ceremony,
    method: prove.Code,
    code: str,
    visit: Visit,
    note: Note,
) -> str | Rejected:
    """Records a one-time or recovery code; gives the session's new secret."""
    return prove.code(
        work,
        ceremony=ceremony,
        method=method,
        code=code,
        visit=visit,
        then=_recorded_in(session, visit, note),
    )


def with_passkey(
    work: Work,
    *,
    session: Session,
    ceremony: Ceremony,
    credential: str,
    visit: Visit,
    note: Note,
) -> str | Rejected:
    """Records a passkey; gives the session's new secret."""
    return prove.passkey(
        work,
        ceremony=ceremony,
        credential=credential,
        visit=visit,
        then=_recorded_in(session, visit, note),
    )


def _recorded_in(
    session: Session, visit: Visit, note: Note
) -> Callable[[UnitOfWork, Account, Authentication], str | Rejected]:
    def then(unit: UnitOfWork, user: Account, proof: Authentication) -> str | Rejected:
        present = unit.orm.get(Session, session.id, with_for_update=LOCKED)
        if present is None or present.user_id != user.id or life.is_over(unit, present):
            return Rejected(prove.NO_LONGER_CURRENT, 403)
        if _as_at_sign_in(present, factors.enrolled(unit, user.id)):
            proof = replace(proof, acr=_in_company(proof.acr))
        secret = lifecycle.reauthenticate(unit, present, [proof], visit)
        note(unit, present)
        return secret

    return then


def _as_at_sign_in(session: Session, enrolled: dict[str, str]) -> bool:
    """Whether nothing is proved yet, by somebody who has a second factor."""
    found = assurance.proofs(session.authentications)
    return factors.has_second(enrolled) and not assurance.meets(found, Demand(assurance.PROVED))


def _in_company(acr: str) -> str:
    """What a proof earns that counts only together with another, unless it is two in one."""
    return acr if assurance.reaches(acr, "aal2") else LADDER[0]
