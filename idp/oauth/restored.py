"""After a database was put back from a backup: nothing that was revoked since may live again.

What was revoked between the backup and now is not in the backup, so it cannot be told apart: every
session and grant ends, and with them their tokens; apps are told. Tokens of clients themselves die
by a jump of their generation. What people changed meanwhile (passwords, passkeys, used recovery
codes, client secrets) is as it was, and only its owner knows: `idp backup restore` says so.
"""

from sqlalchemy import delete, select, update

from idp.events.actor import SYSTEM
from idp.oauth.model import Authorization, Client
from idp.sessions import life, lifecycle
from idp.sessions.model import RememberedBrowser, Session
from idp.storage.unit_of_work import Work
from idp.users import trusted_devices
from idp.users.model import ActionToken, User

# People whose sessions end in one transaction.
BATCH = 100
# Further than any deployment has counted since its backup.
_JUMP = 1_000_000


def revoke_everything(work: Work) -> int:
    """Ends every session and grant; gives how many sessions that were. Safe to repeat."""
    ended = 0
    with work.begin() as unit:
        # Links that were used since would be good again.
        unit.connection.execute(delete(ActionToken))
        unit.connection.execute(
            update(Client).values(token_generation=Client.token_generation + _JUMP)
        )
    last = ""
    while True:
        with work.begin() as unit:
            people = unit.connection.scalars(
                select(User.id).where(User.id > last).order_by(User.id).limit(BATCH)
            ).all()
            for person in people:
                ended += len(lifecycle.end_all_of(unit, person, reason="restored", actor=SYSTEM))
                trusted_devices.forget_all(unit, person, SYSTEM)
            if not people:
                break
            last = people[-1]
    return ended


def is_clean(work: Work) -> bool:
    """Whether nothing lives: no session, no grant that outlived one, no remembered browser."""
    with work.read() as unit:
        running = unit.connection.scalar(select(Session.id).where(life.unmarked()).limit(1))
        granted = unit.connection.scalar(
            select(Authorization.id)
            .where(Authorization.ended_at.is_(None), Authorization.offline == 1)
            .limit(1)
        )
        staying = unit.connection.scalar(
            select(RememberedBrowser.id).where(RememberedBrowser.revoked_at.is_(None)).limit(1)
        )
    return running is None and granted is None and staying is None
