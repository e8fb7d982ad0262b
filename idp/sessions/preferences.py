"""How a person wants the pages of a session: their language, and light or dark (row U7).

They are of the session, and so of one browser; the next session of the same person in that browser
takes them over, so nobody chooses every day. They prove and open nothing, so choosing them is no
event and needs no proof.
"""

from dataclasses import dataclass

from sqlalchemy import bindparam, literal_column, select, update

from idp import languages
from idp.errors import Refused
from idp.sessions import life
from idp.sessions.model import Session
from idp.storage.database import HotStatement
from idp.storage.unit_of_work import UnitOfWork

THEMES = ("light", "dark")

_OF_THE_LAST = HotStatement(
    select(Session.language, Session.theme)
    .where(Session.device_hash == bindparam("device"), Session.user_id == bindparam("person"))
    .order_by(Session.created_at.desc())
    .limit(literal_column("1"))
)


@dataclass(frozen=True, slots=True)
class Preferences:
    """What was chosen; None leaves it to the browser, and the language to the person's `locale`."""

    language: str | None = None
    theme: str | None = None


def chosen(language: str, theme: str) -> Preferences:
    """What a form says, where "" is no choice; raises `Refused` for what there is not."""
    if language not in ("", *languages.SHIPPED) or theme not in ("", *THEMES):
        raise Refused("malformed_request", "This request cannot be understood.", 400)
    return Preferences(language or None, theme or None)


def prefer(unit: UnitOfWork, session: Session, wanted: Preferences) -> None:
    """Notes what the person chose, while the session lives."""
    unit.orm.execute(
        update(Session)
        .where(Session.id == session.id, life.alive(unit.now))
        .values(language=wanted.language, theme=wanted.theme)
    )


def of_the_last(unit: UnitOfWork, user_id: str, device_hash: str | None) -> Preferences:
    """Those of the person's last session in this browser; none where it is not known."""
    if device_hash is None:
        return Preferences()
    found = unit.run(_OF_THE_LAST, {"device": device_hash, "person": user_id})
    return Preferences(*found[0]) if found else Preferences()
