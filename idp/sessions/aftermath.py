"""What a change of their person does to running sessions.

Subscribers only; the changes themselves are made in `idp.users`.
"""

from sqlalchemy import select, update

from idp.events.actor import Actor
from idp.events.catalogue import FactorRemoved, FactorSuspended, UserChanged
from idp.policy.assurance import LADDER, REVOKED
from idp.sessions import life, lifecycle
from idp.sessions.model import Session
from idp.storage.unit_of_work import UnitOfWork


def rotate_soon(unit: UnitOfWork, event: UserChanged) -> None:
    """Subscriber: a change of roles changes the secret of every session at its next use (row T7).

    Not now: the browsers that hold the present secrets could not be told the new ones.
    """
    if "roles" in event.changed:
        unit.connection.execute(
            update(Session)
            .where(Session.user_id == event.user_id, life.unmarked())
            .values(secret_changed_at=0)
        )


def void_proofs(unit: UnitOfWork, event: FactorRemoved | FactorSuspended) -> None:
    """Subscriber: what a lost or removed credential proved counts for the lowest level from now on.

    A session goes on at what its other proofs earn. One that rests on nothing else ends, but for
    the one in which somebody removes the credential themselves: whoever began it may be the thief.
    """
    bare = []
    for session in unit.orm.scalars(
        select(Session)
        .where(Session.user_id == event.user_id, life.unmarked())
        .order_by(Session.id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ):
        if any(one.get("credential") == event.credential for one in session.authentications):
            session.authentications = [
                one | {"method": REVOKED, "acr": LADDER[0], "amr": []}
                if one.get("credential") == event.credential
                else one
                for one in session.authentications
            ]
            session.acr = lifecycle.level_of(session.authentications)
            if all(one["method"] == REVOKED for one in session.authentications):
                bare.append(session.id)
    unit.flush()
    leaving = [one for one in bare if (event.actor, event.actor_id) != ("user", one)]
    lifecycle.end(unit, leaving, reason="factor_removed", actor=Actor(event.actor, event.actor_id))
