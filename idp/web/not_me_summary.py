"""The end of "This wasn't me": what was done in one run of it, told once by mail (row U8).

Owns when a run is over, and what counts as done in it. A run is all that was done to secure an
account within a day and since the last one was over; it is over when somebody with all four steps
done says so, or does the last of them on this very page. Nothing is stored of it but its event.
"""

from dataclasses import dataclass

from sqlalchemy import select

from idp.clock import Instant
from idp.events import queries as events
from idp.events.catalogue import AccountSecured
from idp.events.model import EventRow
from idp.storage.unit_of_work import UnitOfWork
from idp.web.factor_changes import by
from idp.web.not_me_view import REMEMBERED
from idp.web.visitor import Visitor

# Of sessions that ended: why, where it was to keep somebody out.
_ENDS = ("disowned", "signed_out_everywhere", "password_changed", "factor_removed")
_MOST = 1_000


@dataclass(frozen=True, slots=True)
class Summary:
    """How often each thing was done since `begun`, which is None when nothing was; and when the
    last summary was sent, if that is not long ago."""

    begun: Instant | None
    sessions: int
    grants: int
    passwords: int
    passkeys: int
    totps: int
    devices: int
    told_at: Instant | None


def so_far(unit: UnitOfWork, user_id: str) -> Summary:
    """What was done in the run that is under way."""
    since = unit.now - REMEMBERED
    told = events.newest_of(unit, AccountSecured.type, user_id=user_id)
    rows = unit.connection.execute(
        select(EventRow.type, EventRow.reason, EventRow.at, EventRow.data)
        .where(
            EventRow.user_id == user_id,
            EventRow.id > (told[0].id if told else 0),
            EventRow.at > since,
            EventRow.type.in_(
                (
                    "session.ended",
                    "authorization.ended",
                    "credential.changed",
                    "factor.removed",
                    "device.forgotten",
                )
            ),
        )
        .order_by(EventRow.id)
        .limit(_MOST)
    ).all()
    done = [row for row in rows if row.type != "session.ended" or row.reason in _ENDS]

    def count(of: str, kind: str | None = None) -> int:
        return sum(row.type == of and kind in (None, row.data.get("kind")) for row in done)

    return Summary(
        begun=done[0].at if done else None,
        sessions=count("session.ended"),
        grants=count("authorization.ended"),
        passwords=count("credential.changed"),
        passkeys=count("factor.removed", "passkey"),
        totps=count("factor.removed", "totp"),
        devices=count("device.forgotten"),
        told_at=told[0].at if told and told[0].at > since else None,
    )


def finish(unit: UnitOfWork, visitor: Visitor) -> None:
    """Ends the run and tells of it; once: where nothing was done since, there is nothing to tell."""
    summary = so_far(unit, visitor.user.id)
    if summary.begun is None:
        return
    actor = by(visitor)
    unit.record(
        AccountSecured(
            actor=actor.kind,
            actor_id=actor.id,
            user_id=visitor.user.id,
            begun=summary.begun,
            sessions=summary.sessions,
            grants=summary.grants,
            passwords=summary.passwords,
            passkeys=summary.passkeys,
            totps=summary.totps,
            devices=summary.devices,
        )
    )
