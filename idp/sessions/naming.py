"""Names that people give their sessions (row S1)."""

from idp.errors import Refused
from idp.events.actor import Actor
from idp.events.catalogue import SessionRenamed
from idp.languages import Sentence
from idp.sessions import queries
from idp.sessions.model import Session
from idp.storage.unit_of_work import UnitOfWork

LABEL_MAXIMUM = 60


def rename(unit: UnitOfWork, session: Session, label: str, actor: Actor) -> None:
    """Gives the session a name of the person's own; an empty one brings the default back."""
    label = " ".join(label.split())
    if len(label) > LABEL_MAXIMUM or any(not character.isprintable() for character in label):
        raise Refused(
            "invalid_label",
            Sentence(
                "A name has at most %(most)s characters, all of them visible.", most=LABEL_MAXIMUM
            ),
        )
    details = queries.details_of(unit, session)
    details["label"] = label or None
    session.details = queries.sealed_details(unit, session.id, details)
    unit.record(
        SessionRenamed(
            actor=actor.kind,
            actor_id=actor.id,
            user_id=session.user_id,
            session_id=session.id,
        )
    )
