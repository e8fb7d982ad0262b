"""Browsers that stay signed in (row T4): the credential, its use, and what a copy of it gives away.

One row of `RememberedBrowser` is one series: made when somebody ticks the box and signs in, good for
at most thirty days from then in that one browser, and never for more than saying who was here. Its
cookie changes at every use. The one before is honoured until the answer with the new one has been
seen, which the session it brought shows (`Session.previous_until`), and a minute longer: an answer
that was lost, or five tabs at once, begin one session and cost nobody anything. Any older one, and
any in another browser, is a copy: then nobody can say who is the owner, and the series ends with
every session of its browser.

What is begun here has nothing proved: level 0, as old as the sign-in that earned it. Sessions are
begun by `beginning.start`, so limits and everything else that keeps people out hold here too.
Specs: NIST SP 800-63B-4 sections 2.1.3 and 5.1, OpenID Connect Core section 2 (`acr` 0, `auth_time`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import bindparam, null, select, update

from idp import ids
from idp.clock import Duration, Instant
from idp.errors import Refused
from idp.events.actor import SYSTEM, Actor
from idp.events.catalogue import RememberCopied, RememberUsed
from idp.policy import limits
from idp.policy import remember as policy
from idp.policy.assurance import LADDER, REMEMBERED, Authentication
from idp.policy.selection import Book, chosen
from idp.sessions import beginning, epoch, forgetting, life, lifecycle, remember_cookie
from idp.sessions.device import Visit
from idp.sessions.model import RememberedBrowser, Session
from idp.sessions.subject import visiting
from idp.storage.columns import LOCKED
from idp.storage.database import HotStatement
from idp.storage.unit_of_work import UnitOfWork, Work
from idp.users.model import ACTIVE, User
from idp.users.rules import in_force

# current: the newest cookie · again: the one before, whose answer may have been lost · spent, foreign:
# a copy · over: it was revoked, or has run out
State = Literal["current", "again", "spent", "foreign", "over"]
COPIES: frozenset[State] = frozenset({"spent", "foreign"})


@dataclass(frozen=True, slots=True)
class Shown:
    """An authentic cookie that a browser showed: of which series and person, and where it stands."""

    series: RememberedBrowser
    user: User
    state: State
    # Until when its series is good, by what is allowed now.
    until: Instant

    @property
    def is_good(self) -> bool:
        return self.state in ("current", "again")


@dataclass(frozen=True, slots=True)
class Keepsake:
    """The cookie that a browser is given, and how long it keeps it."""

    cookie: str
    lasts: Duration


@dataclass(frozen=True, slots=True)
class Entered:
    """A session that a cookie began, its secret, and the next cookie."""

    session: Session
    secret: str
    keepsake: Keepsake


def allowed(unit: UnitOfWork, visit: Visit, roles: Sequence[str] = ()) -> Duration:
    """For how long a browser there may stay signed in, for somebody with these roles."""
    return policy.effective(in_force(unit, "remember", visiting(visit, roles)))


def allowed_by(book: Book, visit: Visit) -> Duration:
    """The same by rules that were read before, for whoever comes: nobody knows yet who it is."""
    return policy.effective(chosen(book["remember"], visiting(visit)))


def read(unit: UnitOfWork, cookie: str | None, visit: Visit) -> Shown | None:
    """What a cookie is; None for one that was never made. Changes nothing."""
    token = remember_cookie.parse(cookie) if cookie is not None else None
    if token is None:
        return None
    series = unit.orm.get(RememberedBrowser, token.series_id, populate_existing=True)
    if series is None or not token.is_authentic(series, unit.vault):
        return None
    if token.generation > series.generation:
        # From before a restore of the database: cannot be told from a forgery.
        return None
    user = unit.orm.get_one(User, series.user_id)
    until = min(series.expires_at, series.created_at + allowed(unit, visit, user.roles))
    return Shown(series, user, _state(unit, series, user, token.generation, visit, until), until)


def recognise(work: Work, cookie: str, visit: Visit) -> Shown | None:
    """What a browser's cookie is, as its page is shown; a copy ends its series then and there.

    That is no change of state by looking: the end was due from the moment there were two.
    """
    with work.read() as unit:
        shown = read(unit, cookie, visit)
    if shown is None or shown.state not in COPIES:
        return shown
    with work.begin() as unit:
        shown = read(unit, cookie, visit)
        if shown is not None and shown.state in COPIES:
            end_copied(unit, shown, visit)
        return shown


_NEXT = HotStatement(
    update(RememberedBrowser)
    .where(
        RememberedBrowser.id == bindparam("series_id"),
        RememberedBrowser.generation == bindparam("shown_generation"),
        RememberedBrowser.revoked_at == null(),
    )
    .values(
        generation=bindparam("next_generation"),
        session_id=bindparam("begun"),
        last_used_at=bindparam("now"),
    )
    .returning(RememberedBrowser.id)
)


def enter(unit: UnitOfWork, cookie: str, visit: Visit) -> Entered | limits.Full | None:
    """Begins a session by a cookie, and changes the cookie; None when it is good for nothing.

    The same cookie again is answered with the same session and the same successor. A copy ends its
    series in this transaction. At a limit that does not make room by itself nothing is changed.
    """
    known = read(unit, cookie, visit)
    if known is None:
        return None
    # Everybody who shows a cookie of this person's waits here, and then sees what the last one did.
    unit.orm.get(User, known.user.id, with_for_update=LOCKED, populate_existing=True)
    epoch.hold(unit)
    shown = read(unit, cookie, visit)
    if shown is None or not shown.is_good:
        if shown is not None and shown.state in COPIES:
            end_copied(unit, shown, visit)
        return None
    series, generation = shown.series, shown.series.generation
    if shown.state == "again":
        last = unit.orm.get_one(Session, series.session_id, populate_existing=True)
        secret = remember_cookie.session_secret(series, last.id, unit.vault)
        if last.secret_hash == ids.digest(secret) and life.is_alive(unit, last.id):
            return Entered(last, secret, _keepsake(unit, shown, generation))
        # It ran out before anybody saw it: another one, under the cookie that was never seen either.
        following = generation
    else:
        following = generation + 1
    begun = _begin(unit, shown, visit)
    if isinstance(begun, limits.MustChoose | limits.Blocked):
        return begun
    session, secret = begun
    # Last, because sessions are locked before series (`forgetting`).
    changed = unit.run(
        _NEXT,
        {
            "series_id": series.id,
            "shown_generation": generation,
            "next_generation": following,
            "begun": session.id,
            "now": unit.now,
        },
    )
    if not changed:
        raise Refused(
            "signed_out_meanwhile", "This browser was signed out meanwhile. Please sign in.", 409
        )
    unit.record(
        RememberUsed(
            actor="user",
            actor_id=session.id,
            user_id=series.user_id,
            session_id=session.id,
            ip=visit.ip,
            series=series.id,
            browser=series.name,
        )
    )
    return Entered(session, secret, _keepsake(unit, shown, following))


def end_copied(unit: UnitOfWork, shown: Shown, visit: Visit) -> None:
    """Ends a series whose cookie was copied, with every session of its browser, and says so once."""
    series = shown.series
    unit.orm.get(User, series.user_id, with_for_update=LOCKED, populate_existing=True)
    lifecycle.end(unit, _running_in(unit, series), reason="remember_copied", actor=SYSTEM)
    if forgetting.revoke(unit, series.id, reason="copied", actor=SYSTEM):
        unit.record(
            RememberCopied(
                user_id=series.user_id,
                ip=visit.ip,
                reason=shown.state,
                series=series.id,
                browser=series.name,
            )
        )


def forget(unit: UnitOfWork, cookie: str | None, visit: Visit) -> None:
    """ "Forget this device", said by whoever has its cookie: its series is over, and with it every
    session of its browser, which nobody there could reach any more."""
    known = read(unit, cookie, visit)
    if known is None:
        return
    # As in `enter`: of the two buttons of one page the later sees what the earlier did.
    unit.orm.get(User, known.user.id, with_for_update=LOCKED, populate_existing=True)
    shown = read(unit, cookie, visit)
    if shown is None or not shown.is_good:
        return
    series, actor = shown.series, Actor("user", shown.user.id)
    lifecycle.end(unit, _running_in(unit, series), reason="signed_out", actor=actor)
    forgetting.revoke(unit, series.id, reason="forgotten", actor=actor)


def _running_in(unit: UnitOfWork, series: RememberedBrowser) -> Sequence[str]:
    """The sessions of its browser that are not marked as ended."""
    return unit.connection.scalars(
        select(Session.id).where(
            Session.user_id == series.user_id,
            Session.remembered_id == series.id,
            life.unmarked(),
        )
    ).all()


def _state(
    unit: UnitOfWork,
    series: RememberedBrowser,
    user: User,
    generation: int,
    visit: Visit,
    until: Instant,
) -> State:
    if series.revoked_at is not None or unit.now >= until or user.status != ACTIVE:
        return "over"
    if series.epoch < epoch.present(unit).number:
        return "over"
    if visit.device_hash != series.device_hash:
        return "foreign"
    if generation == series.generation:
        return "current"
    last = (
        unit.orm.get(Session, series.session_id, populate_existing=True)
        if generation == series.generation - 1 and series.session_id is not None
        else None
    )
    # A proof, or a quarter of an hour, changed its secret: the answer that brought it has arrived.
    if last is None or last.secret_generation > 1 or unit.now >= (last.previous_until or 0):
        return "spent"
    return "again"


def _begin(unit: UnitOfWork, shown: Shown, visit: Visit) -> tuple[Session, str] | limits.Full:
    series = shown.series
    cookie = Authentication(REMEMBERED, (), LADDER[0], series.id)
    started = beginning.start(unit, shown.user, [cookie], visit)
    if not isinstance(started, beginning.Started):
        return started
    session = started.row(unit)
    secret = remember_cookie.session_secret(series, session.id, unit.vault)
    session.secret_hash = ids.digest(secret)
    # What came before this secret is the cookie that began the session: honoured until the answer has
    # been seen, as with any change of a secret.
    session.previous_until = shown.until
    session.remembered = 1
    session.remembered_id = series.id
    session.authentications = [one | {"at": series.auth_time} for one in session.authentications]
    session.auth_time = series.auth_time
    if shown.until < session.expires_at:
        session.expires_at, session.expiry_reason = shown.until, None
    unit.flush()
    return session, secret


def _keepsake(unit: UnitOfWork, shown: Shown, generation: int) -> Keepsake:
    cookie = remember_cookie.make(shown.series, generation, unit.vault)
    return Keepsake(cookie, shown.until - unit.now)
