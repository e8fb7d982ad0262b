"""The private secret of a session, as time changes it: when, and how long the one before is honoured.

Owns the change itself, and what a secret that comes back says of the one before it. When a proof
changes it is `lifecycle.reauthenticate`; the protocol endpoints write the same by `hot`.
"""

from functools import partial

from sqlalchemy import bindparam, update

from idp import ids
from idp.clock import MINUTE, Duration, Instant
from idp.sessions import life
from idp.sessions.model import Session
from idp.storage.database import HotStatement
from idp.storage.unit_of_work import UnitOfWork

# The secret also changes from time to time. The last one is honoured until the new one was seen, so
# that a lost answer signs nobody out, and a minute longer, because other tabs may still send it.
# Whoever sends the old one gets no new one: a copied cookie must not outlive its owner's next visit.
ROTATE_EVERY: Duration = 15 * MINUTE
ROTATION_OVERLAP: Duration = MINUTE

# The new secret was seen: the old one dies at `until`.
CONFIRMED = (
    update(Session)
    .where(
        Session.id == bindparam("session_id"),
        Session.secret_generation == bindparam("generation"),
        Session.previous_until > bindparam("until"),
    )
    .values(previous_until=bindparam("until"))
)
_CONFIRM = HotStatement(CONFIRMED)


def rotate_if_old(unit: UnitOfWork, session: Session, presented: str) -> str | None:
    """A new secret when the present one is older than `ROTATE_EVERY`; None when it stays.

    `presented` is the secret that was sent.
    """
    if ids.digest(presented) != session.secret_hash:
        return None
    if unit.now - session.secret_changed_at < ROTATE_EVERY:
        return None
    return rotate(unit, session, previous_until=session.expires_at)


def confirm(unit: UnitOfWork, session: Session, presented: str) -> None:
    """The secret with the digest `presented` came back: if it is the new one, the old one may go."""
    until = unit.now + ROTATION_OVERLAP
    if session.secret_hash == presented and (session.previous_until or 0) > until:
        seen = {"session_id": session.id, "generation": session.secret_generation, "until": until}
        # Last of all: whoever had the session now might still want its person (`locks`).
        unit.before_commit(partial(unit.run, _CONFIRM, seen))


def rotate(unit: UnitOfWork, session: Session, *, previous_until: Instant | None) -> str | None:
    """Changes the secret; the old one is honoured until `previous_until` (None: dead at once), or
    a minute after the new one was seen.

    None when another request changed it first, or the session ended: nothing was changed then.
    """
    unit.flush()
    secret = ids.new_secret()
    changed = unit.orm.execute(
        update(Session)
        .where(
            Session.id == session.id,
            Session.secret_generation == session.secret_generation,
            life.alive(unit.now),
        )
        .values(
            previous_secret_hash=Session.secret_hash if previous_until is not None else None,
            previous_until=previous_until,
            secret_hash=ids.digest(secret),
            secret_generation=Session.secret_generation + 1,
            secret_changed_at=unit.now,
        )
        .returning(Session.id)
        .execution_options(synchronize_session="fetch")
    ).one_or_none()
    return secret if changed is not None else None
