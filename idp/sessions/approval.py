"""What an approval is worth when somebody comes for it: its person, its session, its proofs, today.

Asked in the transaction that makes what was approved, for apps and for browsers alike (XD-04): since
the answer an account may have been locked, a session ended, a passkey lost.
"""

from dataclasses import dataclass

from idp.errors import Refused
from idp.events.catalogue import PairingConsumed
from idp.policy import assurance
from idp.policy.assurance import PAIRING, Authentication, Standing
from idp.sessions import epoch, life, queries
from idp.sessions.device import Visit
from idp.sessions.model import Pairing, Session
from idp.storage.columns import LOCKED
from idp.storage.unit_of_work import UnitOfWork
from idp.users.model import ACTIVE, User

# The reason when somebody else came for it first, or the same person a moment ago.
TOO_LATE = "too_late"


@dataclass(frozen=True, slots=True)
class Approval:
    """Whoever approved, and what they had proved for it."""

    user: User
    session: Session
    standing: Standing
    # The approving device, by its own name and not by one that somebody gave it.
    via: str

    def proof(self, acr: str) -> Authentication:
        """What the other device's session rests on, at a level of at most what was proved.

        It falls with the credential that the approval rests on (`aftermath`), and is as old as that.
        """
        return Authentication(
            method=PAIRING,
            amr=(assurance.LET_IN,),
            acr=min(acr, self.standing.acr, key=assurance.LADDER.index),
            credential=self.standing.credential,
            at=self.standing.auth_time,
        )


def of(unit: UnitOfWork, asked: Pairing) -> Approval:
    """The approval behind a pairing; raises `Refused` with the reason why it counts no longer."""
    # The person first, then their session: as everywhere (no deadlock on PostgreSQL).
    user = unit.orm.get(User, asked.user_id, with_for_update=LOCKED)
    session = unit.orm.get(Session, asked.session_id, with_for_update=LOCKED)
    epoch.hold(unit)
    if user is None or user.status != ACTIVE:
        raise refused("user_not_active")
    if session is None or not life.is_alive(unit, session.id):
        raise refused("session_ended")
    if session.challenged_at is not None:
        # Whoever holds it must prove who they are: until then it gives nobody anything.
        raise refused("challenged")
    proofs = [one for one in assurance.proofs(session.authentications) if one.method != PAIRING]
    standing = assurance.standing(proofs, since=asked.proved_since or unit.now)
    if standing is None:
        raise refused("assurance")
    return Approval(user, session, standing, queries.details(unit, session).default_label)


def record(
    unit: UnitOfWork, asked: Pairing, approval: Approval, asker: Visit, *, made: Session, name: str
) -> None:
    """Records that the other device, called `name`, was signed in by the session `made`."""
    unit.record(
        PairingConsumed(
            actor="client" if asked.client_id is not None else "user",
            actor_id=asked.client_id or made.id,
            user_id=approval.user.id,
            session_id=made.id,
            client_id=asked.client_id,
            ip=asker.ip,
            pairing=asked.id,
            kind=asked.kind,
            device=name,
            approver=approval.session.id,
        )
    )


def refused(reason: str) -> Refused:
    """The refusal of what was approved; `reason` is for the log."""
    return Refused(reason, "This device cannot be let in any more. Please start again.", 403)
