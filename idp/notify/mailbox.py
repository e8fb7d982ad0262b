"""The mailbox of a deployment that is being tried out: mail that no server was there to take.

Open only when no mail server is set and we are plain http, which the settings allow on loopback
alone. Mail is sealed here as everywhere; the newest are kept.
"""

from dataclasses import dataclass

import orjson
from sqlalchemy import delete, select

from idp.clock import Instant
from idp.hosts import is_loopback_host
from idp.notify.letters import Letter
from idp.notify.model import Mail
from idp.settings import Settings
from idp.storage.unit_of_work import UnitOfWork, Work
from idp.storage.vault import Unreadable

KEPT = 200
SHOWN = 50
BATCH = 500


@dataclass(frozen=True, slots=True)
class Kept:
    """A mail as it would have arrived."""

    id: str
    to: str
    letter: Letter
    at: Instant


def is_open(settings: Settings) -> bool:
    """Whether mail is kept here instead of being sent: where nobody else can come to read it."""
    return (
        not settings.mail.server.get_secret_value()
        and not settings.is_secure
        and is_loopback_host(settings.host)
    )


def put(work: Work, mail_id: str, letter: Letter, *, to: str) -> None:
    """Keeps a mail; once, however often its delivery is tried."""
    content = {"to": to, "subject": letter.subject, "text": letter.text, "html": letter.html}
    with work.begin() as unit:
        if unit.orm.get(Mail, mail_id) is None:
            sealed = unit.vault.seal_text(orjson.dumps(content).decode(), _context(mail_id))
            unit.orm.add(Mail(id=mail_id, content=sealed, created_at=unit.now))


def newest(unit: UnitOfWork, *, limit: int = SHOWN) -> list[Kept]:
    """The last mails, the newest first; one whose key is gone is left out."""
    found: list[Kept] = []
    for row in unit.orm.scalars(
        select(Mail).order_by(Mail.created_at.desc(), Mail.id).limit(limit)
    ):
        try:
            content = orjson.loads(unit.vault.open_text(row.content, _context(row.id)))
        except Unreadable:
            continue
        letter = Letter(content["subject"], content["text"], content["html"])
        found.append(Kept(row.id, content["to"], letter, row.created_at))
    return found


def forget_old(unit: UnitOfWork) -> int:
    """Deletes all but the newest; gives how many. The worker calls it."""
    old = unit.connection.scalars(
        select(Mail.id).order_by(Mail.created_at.desc(), Mail.id).offset(KEPT).limit(BATCH)
    ).all()
    if old:
        unit.connection.execute(delete(Mail).where(Mail.id.in_(old)))
    return len(old)


def _context(mail_id: str) -> str:
    return f"mail:{mail_id}"
