"""Letting a browser stay signed in: after which sign-in, for whom, and the list of such browsers.

Owns making a series, and what a whole sign-in means for the one its browser has. What its cookie is
worth afterwards is `remember`, and what takes it away `forgetting`.
"""

import secrets
from collections.abc import Sequence
from typing import Literal

from sqlalchemy import select

from idp import ids
from idp.events.actor import Actor
from idp.events.catalogue import RememberMade
from idp.policy.assurance import Authentication
from idp.sessions import epoch, forgetting, marks, remember, remember_cookie
from idp.sessions.device import Visit, describe
from idp.sessions.model import RememberedBrowser
from idp.sessions.remember import Keepsake
from idp.storage.unit_of_work import UnitOfWork
from idp.users.person import Person

# Of one person; the one that was not used for longest gives way.
MAXIMUM = 20
NAME_MAXIMUM = 60
# What somebody wished at sign-in: that their browser stay signed in, nothing of the kind, or, because
# others use the device too, that it does not.
Wish = Literal["stay", "leave", "forget"]


def after_sign_in(
    unit: UnitOfWork,
    user: Person,
    session_id: str,
    proved: Sequence[Authentication],
    *,
    visit: Visit,
    cookie: str | None,
    wish: Wish,
) -> Keepsake | None:
    """What a whole sign-in means for the browser it happened in, which showed `cookie`.

    A new series takes the place of the one there was, whosever it was: there is one cookie. Without
    the wish another person's stays as it is; one's own now belongs to this session, so that signing
    out of it forgets that, too.
    """
    shown = remember.read(unit, cookie, visit)
    series = shown.series if shown is not None and shown.is_good else None
    kept = make(unit, user, session_id, proved, visit) if wish == "stay" else None
    if series is None:
        return kept
    is_own = series.user_id == user.id
    actor = Actor("user", session_id)
    if kept is not None:
        why = "renewed" if is_own else "replaced"
        forgetting.revoke(unit, series.id, reason=why, actor=actor)
    elif is_own and wish == "forget":
        forgetting.revoke(unit, series.id, reason="forgotten", actor=actor)
    elif is_own:
        marks.note_series(unit, session_id, series.id)
    return kept


def make(
    unit: UnitOfWork, user: Person, session_id: str, proved: Sequence[Authentication], visit: Visit
) -> Keepsake | None:
    """Lets the browser of this session stay signed in, after a whole sign-in that `proved` so much.

    None where rules do not allow it, or the browser has no number to bind it to. The caller holds
    the person.
    """
    lasts = remember.allowed(unit, visit, user.roles)
    if lasts == 0 or visit.device_hash is None:
        return None
    _make_room(unit, user.id)
    series = RememberedBrowser(
        id=ids.new("rem"),
        user_id=user.id,
        device_hash=visit.device_hash,
        name=describe(visit).label[:NAME_MAXIMUM],
        salt=secrets.token_bytes(32),
        generation=1,
        auth_time=unit.now,
        credentials=[one.credential for one in proved if one.credential is not None],
        created_at=unit.now,
        last_used_at=unit.now,
        expires_at=unit.now + lasts,
    )
    unit.orm.add(series)
    marks.note_series(unit, session_id, series.id)
    unit.record(
        RememberMade(
            actor="user",
            actor_id=session_id,
            user_id=user.id,
            session_id=session_id,
            ip=visit.ip,
            series=series.id,
            browser=series.name,
        )
    )
    return Keepsake(remember_cookie.make(series, 1, unit.vault), lasts)


def of(unit: UnitOfWork, user_id: str) -> list[RememberedBrowser]:
    """The browsers in which somebody stays signed in, the one used last first."""
    return list(
        unit.orm.scalars(
            select(RememberedBrowser)
            .where(
                RememberedBrowser.user_id == user_id,
                RememberedBrowser.revoked_at.is_(None),
                RememberedBrowser.expires_at > unit.now,
                epoch.is_current(RememberedBrowser),
            )
            .order_by(RememberedBrowser.last_used_at.desc(), RememberedBrowser.id)
        )
    )


def _make_room(unit: UnitOfWork, user_id: str) -> None:
    """So that no more than `MAXIMUM` are left with the next one."""
    for series in of(unit, user_id)[MAXIMUM - 1 :]:
        forgetting.revoke(unit, series.id, reason="limit", actor=Actor("user", user_id))
