"""How far somebody is on the way back to a safe account: the facts, as they are now.

Owns when each step of "This wasn't me" counts as done. A password counts as changed when it is newer
than everything that was disowned, because whoever signed in since knows it; before anything was
disowned, when this very session changed it: a change by somebody else is what people come here for.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from idp.clock import DAY, Duration, Instant
from idp.events import queries as events
from idp.events.model import EventRow
from idp.oauth.authorizations import offline_of
from idp.sessions import epoch, life, queries
from idp.sessions.model import Session
from idp.sessions.place import Place
from idp.storage.unit_of_work import UnitOfWork
from idp.users import passkeys, recovery_codes, totp, trusted_devices
from idp.users.credentials import Passkey, Totp, TrustedDevice
from idp.users.model import User
from idp.web.visitor import Visitor

# What happened before is another story.
REMEMBERED: Duration = DAY
STEPS = 4
_READ = 20


@dataclass(frozen=True, slots=True)
class Suspect:
    """A session that may not be the person's."""

    id: str
    name: str
    device_type: str
    ip: str | None
    place: Place
    created_at: Instant
    last_active_at: Instant
    ended_at: Instant | None
    end_reason: str | None
    is_current: bool

    @property
    def is_over(self) -> bool:
        return self.end_reason is not None

    @property
    def is_disowned(self) -> bool:
        return self.end_reason == "disowned"


@dataclass(frozen=True, slots=True)
class State:
    """The four steps: what each is about, and whether it is done."""

    suspect: Suspect | None
    disowned: Sequence[Suspect]
    others: Sequence[Suspect]
    offline: int
    has_password: bool
    password_changed_at: Instant | None
    passkeys: Sequence[Passkey]
    totps: Sequence[Totp]
    devices: Sequence[TrustedDevice]
    codes_left: int
    email: str | None
    is_session_done: bool
    is_password_done: bool
    is_review_done: bool

    @property
    def are_others_done(self) -> bool:
        return not self.others and not self.offline

    @property
    def has_factors(self) -> bool:
        return bool(self.passkeys or self.totps or self.devices)

    @property
    def done(self) -> int:
        """How many of the four steps."""
        return sum(
            (
                self.is_session_done,
                self.is_password_done,
                self.is_review_done,
                self.are_others_done,
            )
        )


def state(
    unit: UnitOfWork, visitor: Visitor, session_id: str | None, reviewed_at: Instant
) -> State:
    """Where the visitor stands; `session_id` is the session in question, if one is."""
    user = unit.orm.get_one(User, visitor.user.id)
    asked = queries.one_of(unit, user.id, session_id) if session_id is not None else None
    suspect = _suspect(unit, asked, visitor) if asked is not None else None
    said = _said(unit, user.id)
    disowned = _disowned(unit, visitor, said)
    others = [
        _suspect(unit, one, visitor)
        for one in queries.running_of(unit, user.id)
        if one.id != visitor.session.id
    ]
    mine = passkeys.of(unit, user.id)
    apps = totp.of(unit, user.id)
    devices = trusted_devices.of(unit, user.id)
    is_over = suspect.is_over if suspect is not None else bool(disowned or not others)
    return State(
        suspect=suspect,
        disowned=disowned,
        others=others,
        offline=len(offline_of(unit, user.id)),
        has_password=user.password_hash is not None,
        password_changed_at=user.password_changed_at,
        passkeys=mine,
        totps=apps,
        devices=devices,
        codes_left=recovery_codes.left(unit, user.id),
        email=user.email,
        is_session_done=is_over,
        is_password_done=user.password_hash is None
        or _is_password_new(unit, visitor, user, said, disowned),
        is_review_done=_is_reviewed(unit, reviewed_at, [*mine, *apps, *devices]),
    )


def is_under_way(unit: UnitOfWork, user_id: str) -> bool:
    """Whether somebody disowned a session lately and is not through with all steps, so that other
    pages show the way back here."""
    told = events.newest_of(unit, "user.secured", user_id=user_id)
    return any(not told or row.id > told[0].id for row in _said(unit, user_id))


def _said(unit: UnitOfWork, user_id: str) -> list[EventRow]:
    rows = events.newest_of(unit, "session.disowned", user_id=user_id, limit=_READ)
    return [row for row in rows if row.at > unit.now - REMEMBERED]


def _suspect(unit: UnitOfWork, session: Session, visitor: Visitor) -> Suspect:
    details = queries.details(unit, session)
    end = life.end_of(session, epoch.present(unit), unit.now)
    return Suspect(
        id=session.id,
        name=details.name,
        device_type=session.device_type,
        ip=details.ip,
        place=details.place,
        created_at=session.created_at,
        last_active_at=session.last_active_at,
        ended_at=end.at if end is not None else None,
        end_reason=end.reason if end is not None else None,
        is_current=session.id == visitor.session.id,
    )


def _disowned(unit: UnitOfWork, visitor: Visitor, said: Sequence[EventRow]) -> list[Suspect]:
    found = [queries.one_of(unit, visitor.user.id, row.session_id or "") for row in said]
    return [_suspect(unit, one, visitor) for one in found if one is not None]


def _is_password_new(
    unit: UnitOfWork,
    visitor: Visitor,
    user: User,
    said: Sequence[EventRow],
    disowned: Sequence[Suspect],
) -> bool:
    if said:
        begun = min(row.at for row in said)
        newest = max((one.created_at for one in disowned), default=begun)
        return (user.password_changed_at or 0) >= max(begun, newest)
    changes = events.newest_of(unit, "credential.changed", user_id=user.id)
    return any(
        row.actor_id == visitor.session.id and row.at > unit.now - REMEMBERED for row in changes
    )


def _is_reviewed(
    unit: UnitOfWork, at: Instant, theirs: Sequence[Passkey | Totp | TrustedDevice]
) -> bool:
    if not theirs:
        return True
    is_recent = unit.now - REMEMBERED < at <= unit.now
    return is_recent and all(one.created_at <= at for one in theirs)
