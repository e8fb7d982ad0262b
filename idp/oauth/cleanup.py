"""Removing what no decision needs any more, in bounded batches (row T9).

Kept: everything a living token, a running session or the history shown to people rests on.
"""

from collections.abc import Sequence

from sqlalchemy import delete, exists, or_, select
from sqlalchemy.orm import aliased

from idp.clock import DAY, HOUR
from idp.oauth.model import Authorization, RevokedAccessToken, UsedAssertion
from idp.sessions.model import Session
from idp.storage.unit_of_work import UnitOfWork, Work

BATCH = 500
# No access token lives longer than a day (settings, client metadata), so an authorization without
# refresh tokens that was not used for two days gives nothing any more.
_UNUSED = 2 * DAY


def delete_spent(unit: UnitOfWork) -> int:
    """Spent assertions, and revoked tokens past their time; gives how many."""
    count = 0
    for table in (UsedAssertion, RevokedAccessToken):
        expired = select(table).where(table.expires_at <= unit.now).limit(BATCH)
        for row in unit.orm.scalars(expired):
            unit.orm.delete(row)
            count += 1
    return count


def delete_unused_grants(work: Work) -> bool:
    """Codes never redeemed and grants that gave way to newer ones; True when there is more.

    Looked for outside the write transaction: there is no index for it, which every commit would
    have to keep, so it reads the whole table.
    """
    with work.read() as unit:
        unused = [*_never_redeemed(unit), *_superseded(unit)]
    if unused:
        with work.begin() as unit:
            unit.connection.execute(delete(Authorization).where(Authorization.id.in_(unused)))
    return len(unused) >= BATCH


def delete_history(unit: UnitOfWork) -> int:
    """Sessions that ended before the history period, with their grants; gives how many.

    One whose offline grants still live stays: they are shown with it.
    """
    before = unit.now - unit.settings.history_days * DAY
    living = exists().where(
        Authorization.session_id == Session.id,
        Authorization.offline == 1,
        Authorization.ended_at.is_(None),
        Authorization.refresh_expires_at > unit.now,
    )
    old = unit.connection.scalars(
        select(Session.id).where(Session.ended_at < before, ~living).limit(BATCH)
    ).all()
    if old:
        unit.connection.execute(delete(Session).where(Session.id.in_(old)))
    return len(old)


def _never_redeemed(unit: UnitOfWork) -> Sequence[str]:
    return unit.connection.scalars(
        select(Authorization.id)
        .where(
            Authorization.code_redeemed_at.is_(None),
            Authorization.code_expires_at <= unit.now - HOUR,
        )
        .limit(BATCH)
    ).all()


def _superseded(unit: UnitOfWork) -> list[str]:
    """Grants that give nothing any more while a newer one stands for the same app and session.

    The newest is kept as long as the session: the app may still have to be told of its end.
    """
    newer = aliased(Authorization)
    return list(
        unit.connection.scalars(
            select(Authorization.id)
            .where(
                Authorization.last_used_at <= unit.now - _UNUSED,
                Authorization.code_redeemed_at.is_not(None),
                or_(
                    Authorization.ended_at.is_not(None),
                    Authorization.refresh_expires_at.is_(None),
                    Authorization.refresh_expires_at <= unit.now,
                ),
                exists().where(
                    newer.session_id == Authorization.session_id,
                    newer.client_id == Authorization.client_id,
                    newer.code_redeemed_at.is_not(None),
                    newer.created_at > Authorization.created_at,
                ),
            )
            .limit(BATCH)
        )
    )
