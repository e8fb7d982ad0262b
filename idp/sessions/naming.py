"""Names that people give their sessions (row S1)."""

from idp.events.actor import Actor
from idp.events.catalogue import SessionRenamed
from idp.sessions import queries
from idp.sessions.model import Session
from idp.storage.unit_of_work import UnitOfWork
from idp.users import labels


def rename(unit: UnitOfWork, session: Session, label: str, actor: Actor) -> None:
    """Gives the session a name of the person's own; an empty one brings the default back.

    Raises `Refused` as `labels.label` does.
    """
    named = labels.label(label, default="") or None
    details = queries.details_of(unit, session)
    details["label"] = named
    session.details = queries.sealed_details(unit, session.id, details)
    unit.record(
        SessionRenamed(
            actor=actor.kind,
            actor_id=actor.id,
            user_id=session.user_id,
            session_id=session.id,
        )
    )
