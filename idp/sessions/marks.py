"""What a person says of a session of theirs: that it shall be kept, that its browser is trusted or
stays signed in.

A kept session is the last to give way at a limit (row L4), and so is one on a trusted device while
that is trusted; it lasts no longer for it.
"""

from sqlalchemy import update

from idp.events.actor import Actor
from idp.events.catalogue import SessionMarked
from idp.sessions.model import Session
from idp.storage.unit_of_work import UnitOfWork


def keep(unit: UnitOfWork, session: Session, actor: Actor) -> None:
    """Makes the session one of the last to give way."""
    _mark(unit, session, 1, actor)


def let_go(unit: UnitOfWork, session: Session, actor: Actor) -> None:
    """Takes the mark away again; on a trusted device the session stays one of the last."""
    _mark(unit, session, 0, actor)


def note_trusted_device(unit: UnitOfWork, session_id: str, device_id: str) -> None:
    """The session is on a device that was trusted just now."""
    unit.orm.execute(
        update(Session).where(Session.id == session_id).values(trusted_device_id=device_id)
    )


def note_series(unit: UnitOfWork, session_id: str, series_id: str) -> None:
    """The session is in a browser that stays signed in by this series."""
    unit.orm.execute(
        update(Session).where(Session.id == session_id).values(remembered_id=series_id)
    )


def _mark(unit: UnitOfWork, session: Session, kept: int, actor: Actor) -> None:
    if session.kept == kept:
        return
    session.kept = kept
    unit.record(
        SessionMarked(
            actor=actor.kind,
            actor_id=actor.id,
            user_id=session.user_id,
            session_id=session.id,
            kept=bool(kept),
        )
    )
