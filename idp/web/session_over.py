"""The end of a session, for whoever finds themselves signed out by it (row T6).

Owns finding the session that a browser was in, and its end in words: why, when, and by which device
or app. Who may know: a browser that holds the session's secret, or one that it was begun in and that
shows a form which was made for it.
"""

from dataclasses import dataclass
from functools import partial

from sqlalchemy import select

from idp.clock import Duration, Instant
from idp.languages import said
from idp.oauth.model import Client
from idp.sessions import epoch, life, queries
from idp.sessions.endings import ENDINGS
from idp.sessions.life import End
from idp.sessions.model import Session
from idp.sessions.state import session_of
from idp.storage.unit_of_work import UnitOfWork
from idp.users.model import User
from idp.web import language

# The person wanted it so: nothing of theirs is left in the browser for the next one.
DELIBERATE = frozenset(
    {"signed_out", "signed_out_everywhere", "client_logout", "disowned", "moved"}
)


@dataclass(frozen=True, slots=True)
class Over:
    """A session that is over. `by_name` is what ended it, if that has a name."""

    session_id: str
    user_id: str
    username: str
    device_hash: str | None
    reason: str
    ended_at: Instant
    idle_timeout: Duration
    lasted: Duration
    by_name: str | None


@dataclass(frozen=True, slots=True)
class Words:
    """What a person reads of it, in their language."""

    title: str
    sentence: str


def by_secret(unit: UnitOfWork, secret: str | None) -> Over | None:
    """The session of this secret, if it is over; None when it lives or never was."""
    return by_id(unit, session_of(unit, secret)) if secret is not None else None


def by_id(unit: UnitOfWork, session_id: str | None) -> Over | None:
    """The session with this id, if it is over."""
    row = unit.orm.execute(
        select(Session, User.username)
        .join(User, User.id == Session.user_id)
        .where(Session.id == (session_id or ""))
    ).one_or_none()
    if row is None:
        return None
    session, username = row
    end = life.end_of(session, epoch.present(unit), unit.now)
    if end is None:
        return None
    ended_at = life.met_at(session, end)
    return Over(
        session_id=session.id,
        user_id=session.user_id,
        username=username,
        device_hash=session.device_hash,
        reason=end.reason,
        ended_at=ended_at,
        idle_timeout=session.idle_timeout,
        lasted=ended_at - session.created_at,
        by_name=_by_name(unit, session, end),
    )


def in_words(over: Over | None, tag: str) -> Words:
    """The end in the language `tag`; said plainly where nothing is known of it."""
    say = partial(said, tag=tag)
    ending = next((one for code, one in ENDINGS.items() if over and code == over.reason), None)
    if over is None or ending is None:
        return Words(say("Your session is over"), say("Your session has ended."))
    sentence = ending.sentence if ending.named is None or not over.by_name else ending.named
    places = {
        "by": over.by_name,
        "span": language.length(over.idle_timeout, language=tag),
        "lasted": language.length(over.lasted, language=tag),
    }
    return Words(say(ending.title), say(sentence) % places)


def told(over: Over | None, tag: str, now: Instant, *, reason: str) -> dict[str, object]:
    """The end as a page's script is told it; `reason` and `now` where nothing is known of it."""
    words = in_words(over, tag)
    return {
        "reason": over.reason if over is not None else reason,
        "title": words.title,
        "sentence": words.sentence,
        "ended_at": (over.ended_at if over is not None else now) // 1_000,
        "is_deliberate": over is None or over.reason in DELIBERATE,
    }


def _by_name(unit: UnitOfWork, session: Session, end: End) -> str | None:
    """The name of the app, or of the other session of the same person, that ended it."""
    if end.by == "client":
        return unit.orm.scalar(select(Client.name).where(Client.id == end.by_id))
    if end.by != "user" or end.by_id in (None, session.id):
        return None
    other = queries.one_of(unit, session.user_id, end.by_id or "")
    return queries.details(unit, other).name if other is not None else None
