"""The beginning of a session, where there is room for it (rows L1, L3, L8).

Parallel sign-ins of one person come one after the other: each locks their row first and sees what
those before it began. What ends is ended by `lifecycle`, in the same transaction, so that no more
sessions run at any moment than the limits allow (SE-13).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import orjson
from sqlalchemy import insert

from idp import ids
from idp.errors import Refused
from idp.events.actor import SYSTEM, Actor
from idp.events.catalogue import LimitReached, SessionStarted
from idp.policy import assurance, deadlines, limits, network
from idp.policy.assurance import LADDER, Authentication
from idp.policy.deadlines import Deadlines, Ownership
from idp.sessions import admission, expiry, lifecycle, locks, place, preferences, queries, room
from idp.sessions.device import Visit, describe
from idp.sessions.model import Session
from idp.sessions.origin import BROWSER, Origin
from idp.sessions.subject import arriving
from idp.storage.database import HotStatement
from idp.storage.unit_of_work import UnitOfWork
from idp.users import rules, trusted_devices
from idp.users.model import ACTIVE
from idp.users.person import Person


@dataclass(frozen=True, slots=True)
class Started:
    """A session that began, and the secret its browser must keep, which is not stored."""

    session_id: str
    secret: str

    def row(self, unit: UnitOfWork) -> Session:
        """The session itself, for whoever changes it in the transaction that began it."""
        return unit.orm.get_one(Session, self.session_id)


# Every sign-in writes one; through the ORM that is the dearest statement of them all. The epoch is
# what its column says: read, and shared, by the statement itself.
_INSERT = HotStatement(
    insert(Session).inline(),
    columns=(
        "id", "user_id", "parent_id", "origin", "secret_hash", "secret_generation",
        "secret_changed_at", "binding_type", "authentications", "acr", "auth_time", "created_at",
        "last_active_at", "idle_timeout", "idle_at", "expires_at", "expiry_reason", "temporary",
        "remembered", "kept", "trusted_device_id", "details", "device_type", "browser", "os",
        "address", "asn", "country", "device_hash", "language", "theme",
    ),
)  # fmt: skip


def start(
    unit: UnitOfWork,
    user: Person,
    proved: Sequence[Authentication],
    visit: Visit,
    origin: Origin = BROWSER,
    *,
    ownership: Ownership = "own",
    giving_way: Collection[str] = (),
    instead_of: str | None = None,
) -> Started | limits.Full:
    """Begins a session for `user`, who `proved` it, where there is room for it.

    At a limit room is made as the rule says: those that rested longest end, or those of `giving_way`
    if they are enough; for a session in which nothing is proved, none ends in which something is. Else
    nothing begins or ends, and what comes back says why. `instead_of` is a
    session that the caller ends if this one begins: it takes no place any more. On a device that
    others use too (`ownership`) the session is temporary, and the device is not known for it.
    Raises `Refused`: `user_not_active`, or what `admission` says.
    """
    if locks.person(unit, user.id) != ACTIVE:
        raise Refused("user_not_active", "This account cannot sign in.", 403)
    book = rules.book(unit)
    device = origin.naming(describe(visit))
    subject = arriving(device, visit.ip, visit.place, user.roles)
    admission.require(book, subject, unit.now)
    over = [instead_of] if instead_of is not None else []
    # They take no place, and end for the reason they have.
    expiry.end_expired_of(unit, user.id)
    earned = assurance.earned((one.method, one.acr) for one in proved)
    proving: limits.Proving = "nothing" if earned == LADDER[0] else "something"
    host = origin.approver_id
    met = decision = room.decide(
        unit, book, user, subject, proving=proving, host=host, without=over
    )
    chosen: list[str] = []
    if isinstance(met, limits.MustChoose) and giving_way:
        chosen = [one for one in met.candidates if one in giving_way]
        decision = room.decide(
            unit, book, user, subject, proving=proving, host=host, without=[*over, *chosen]
        )
    if isinstance(decision, limits.MustChoose | limits.Blocked):
        # All that was met, not only what is still missing: nothing of the choice is carried out.
        full = met if isinstance(met, limits.MustChoose) else decision
        _note_limit(unit, user, full.limit, session_id=None, ended=0)
        return full
    lasting = deadlines.of(
        book,
        subject,
        begun=unit.now,
        now=unit.now,
        ownership=ownership,
        longest=origin.longest,
    )
    started = _begin(unit, user, proved, visit, origin, lasting, ownership)
    new = started.session_id
    if isinstance(met, limits.MustChoose):
        lifecycle.end(unit, chosen, reason="limit", actor=Actor("user", new), sparing=new)
        _note_limit(unit, user, met.limit, session_id=new, ended=len(chosen))
    if isinstance(decision, limits.Ends):
        lifecycle.end(unit, decision.ids, reason="limit", actor=SYSTEM, sparing=new)
        _note_limit(unit, user, decision.limit, session_id=new, ended=len(decision.ids))
    return started


def foreseen(
    unit: UnitOfWork,
    user: Person,
    visit: Visit,
    origin: Origin = BROWSER,
    *,
    instead_of: str | None = None,
) -> limits.Full | None:
    """What would keep such a session from beginning as things stand, for a page that asks before.

    Decided anew when it begins. `instead_of` is as for `start`.
    """
    subject = arriving(origin.naming(describe(visit)), visit.ip, visit.place, user.roles)
    over = [instead_of] if instead_of is not None else []
    # Whoever lets it in has proved enough for it.
    decision = room.decide(unit, rules.book(unit), user, subject, proving="something", without=over)
    return decision if isinstance(decision, limits.MustChoose | limits.Blocked) else None


def _begin(
    unit: UnitOfWork,
    user: Person,
    proved: Sequence[Authentication],
    visit: Visit,
    origin: Origin,
    lasting: Deadlines,
    ownership: Ownership,
) -> Started:
    device, at = origin.naming(describe(visit)), visit.place
    recorded = [lifecycle.recorded_proof(one, unit.now) for one in proved]
    session_id, secret = ids.new("ses"), ids.new_secret()
    acr = lifecycle.level_of(recorded)
    device_hash = visit.device_hash if ownership == "own" else None
    preferred = preferences.of_the_last(unit, user.id, device_hash)
    details = {
        "label": None,
        "default_label": device.label,
        "ip": visit.ip,
        "user_agent": visit.agent,
        "place": place.sealed(at),
        "via": origin.via,
        "approver_id": origin.approver_id,
    }
    unit.run(
        _INSERT,
        {
            "id": session_id,
            "user_id": user.id,
            "parent_id": origin.parent_id,
            "origin": origin.kind,
            "secret_hash": ids.digest(secret),
            "secret_generation": 1,
            "secret_changed_at": unit.now,
            "binding_type": "none",
            "authentications": orjson.dumps(recorded).decode(),
            "acr": acr,
            "auth_time": max(one["at"] for one in recorded),
            "created_at": unit.now,
            "last_active_at": unit.now,
            "idle_timeout": lasting.idle,
            "idle_at": unit.now + lasting.idle,
            "expires_at": lasting.expires_at,
            "expiry_reason": lasting.reason,
            "temporary": int(lasting.is_temporary),
            "remembered": 0,
            "kept": 0,
            "trusted_device_id": trusted_devices.in_browser(unit, user.id, visit.trust_hash),
            "details": queries.sealed_details(unit, session_id, details),
            "device_type": device.type,
            "browser": device.browser,
            "os": device.os,
            "address": network.key(visit.ip),
            "asn": at.asn,
            "country": at.country,
            "device_hash": device_hash,
            "language": preferred.language,
            "theme": preferred.theme,
        },
    )
    unit.record(
        SessionStarted(
            actor="user",
            actor_id=user.id,
            user_id=user.id,
            session_id=session_id,
            ip=visit.ip,
            method=recorded[-1]["method"],
            acr=acr,
            device=device.label,
        )
    )
    return Started(session_id, secret)


def _note_limit(
    unit: UnitOfWork, user: Person, limit: limits.Limit, *, session_id: str | None, ended: int
) -> None:
    unit.record(
        LimitReached(
            actor="user",
            actor_id=user.id,
            user_id=user.id,
            session_id=session_id,
            limit=limit.maximum,
            at_limit=limit.at_limit,
            ended=ended,
        )
    )
