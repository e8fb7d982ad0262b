"""Who would be affected now, if a rule were changed (row L7).

Owns the question, for the command line and the management API; changes nothing. Each running session
is judged by the rules as they are and as they would be, by the same pure functions that carry them
out, and what differs is counted. Rules that speak only of what happens later (`changes`, `remember`)
affect nobody now.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sqlalchemy import select

from idp.clock import Instant
from idp.policy import admission, assurance, limits, reauthentication
from idp.policy.assurance import Demand
from idp.policy.limits import Running
from idp.policy.selection import Book, Rule, Subject
from idp.sessions import life
from idp.sessions.model import Session
from idp.sessions.review import nearer
from idp.sessions.subject import subject
from idp.storage.unit_of_work import UnitOfWork
from idp.users import rules
from idp.users.model import User

# Sessions that are looked at; of more, these are the first.
EXAMINED = 20_000
SAMPLE = 20
Effect = Literal[
    "ends",  # within seconds
    "ends_sooner",
    "rests_shorter",  # its idle timeout
    "ends_when_used",  # from where it is now
    "is_refused",  # where it is now, and goes on elsewhere
    "must_prove",  # before an app, or a page, gives anything more
    "is_one_too_many",  # its person is over a limit: at the next sign-in some give way
    "cannot_sign_in",  # its person, from there, now
]
EFFECTS: tuple[Effect, ...] = get_args(Effect)
# What nobody should do to themselves by mistake.
LOCKS_OUT: frozenset[Effect] = frozenset({"ends", "ends_when_used", "is_refused", "cannot_sign_in"})


@dataclass(frozen=True, slots=True)
class Proposed:
    """A rule as it would be set; without a value, taken away: of limits the one `per` something."""

    kind: str
    applies_to: Mapping[str, str]
    value: Mapping[str, Any] | None
    per: str | None = None


@dataclass(frozen=True, slots=True)
class Affected:
    """One session, and what the change would do to it."""

    session_id: str
    user_id: str
    effects: tuple[Effect, ...]


@dataclass(frozen=True, slots=True)
class Simulation:
    """What would happen: sessions by effect, the people behind them, and some of the sessions.

    `is_complete` is False where more than `EXAMINED` sessions run.
    """

    examined: int
    is_complete: bool
    sessions: Mapping[Effect, int]
    people: int
    sample: tuple[Affected, ...]


def of(unit: UnitOfWork, proposed: Proposed) -> Simulation:
    """Simulates a change; raises `Refused` as `rules.set_rule` does."""
    if proposed.value is not None:
        rules.check(unit, proposed.kind, proposed.applies_to, proposed.value)
    before = rules.book(unit)
    after = _with(before, proposed)
    found = unit.connection.execute(_running(unit.now).limit(EXAMINED + 1)).all()
    rows, affected = found[:EXAMINED], []
    over = _over_limit(rows, before, after) if proposed.kind == "limits" else {}
    for row in rows:
        effects = effects_on(row, before, after, proposed, unit.now)
        if row.id in over:
            effects = (*effects, "is_one_too_many")
        if effects:
            affected.append(Affected(row.id, row.user_id, effects))
    counted = Counter(effect for one in affected for effect in one.effects)
    return Simulation(
        examined=len(rows),
        is_complete=len(found) <= EXAMINED,
        sessions={effect: counted[effect] for effect in EFFECTS},
        people=len({one.user_id for one in affected}),
        sample=tuple(affected[:SAMPLE]),
    )


def on_session(unit: UnitOfWork, proposed: Proposed, session_id: str) -> tuple[Effect, ...]:
    """What a change would do to one session: that of the administrator who is about to make it."""
    before = rules.book(unit)
    row = unit.connection.execute(_running(unit.now).where(Session.id == session_id)).one_or_none()
    if row is None:
        return ()
    return effects_on(row, before, _with(before, proposed), proposed, unit.now)


def effects_on(
    row: Any, before: Book, after: Book, proposed: Proposed, now: Instant
) -> tuple[Effect, ...]:
    """What would be otherwise for one session."""
    of_session = subject(row, row.roles, proposed.applies_to.get("client"))
    found: list[Effect] = []
    if proposed.kind in ("timeouts", "hours"):
        found += _by_time(row, after, now)
    if proposed.kind in ("hours", "networks"):
        # People sign in to no app; what is for one holds where that one is opened.
        whose = subject(row, row.roles)
        is_barred = admission.barred(after, whose, now) is not None
        if is_barred and admission.barred(before, whose, now) is None:
            found.append("cannot_sign_in")
    if proposed.kind == "networks":
        outside = admission.outside(after, of_session)
        if outside is not None and outside != admission.outside(before, of_session):
            found.append("ends_when_used" if outside == "end" else "is_refused")
    if proposed.kind in ("assurance", "reauthentication"):
        scopes = (proposed.value or {}).get("scopes", {})
        proofs = assurance.proofs(row.authentications)
        if _meets(proofs, before, of_session, scopes, now) and not _meets(
            proofs, after, of_session, scopes, now
        ):
            found.append("must_prove")
    return tuple(found)


def _by_time(row: Any, after: Book, now: Instant) -> Iterable[Effect]:
    idle, end = nearer(after, row, now)
    ends = end is not None and end[0] <= now
    if ends or (idle is not None and row.last_active_at + idle <= now):
        return ["ends"]
    sooner: list[Effect] = ["ends_sooner"] if end is not None else []
    return [*sooner, "rests_shorter"] if idle is not None else sooner


def _meets(
    proofs: Sequence[assurance.Proof],
    book: Book,
    whose: Subject,
    scopes: Iterable[str],
    now: Instant,
) -> bool:
    """Whether proofs are enough for an app of the rule's, that asks for the scopes it names."""
    due = reauthentication.demand(book, whose, now) or Demand(assurance.LADDER[0])
    least = assurance.least(book, whose, scopes=scopes)
    return assurance.meets(proofs, Demand(assurance.highest([due.acr, least]), due.since))


def _over_limit(rows: Sequence[Any], before: Book, after: Book) -> set[str]:
    """The sessions of people who would be over a limit, and are not now."""
    by_person: defaultdict[str, list[Any]] = defaultdict(list)
    for row in rows:
        by_person[row.user_id].append(row)
    found: set[str] = set()
    for theirs in by_person.values():
        running = [
            Running(
                one.id,
                subject(one, one.roles),
                one.last_active_at,
                one.created_at,
            )
            for one in theirs
        ]
        if _is_over(after, theirs[0].roles, running) and not _is_over(
            before, theirs[0].roles, running
        ):
            found.update(one.id for one in theirs)
    return found


def _is_over(book: Book, roles: Sequence[str], running: Sequence[Running]) -> bool:
    possible = limits.possible(book["limits"], roles)
    return any(limits.used(one, running) > one.maximum for one in possible)


def _with(book: Book, proposed: Proposed) -> Book:
    """All rules, with this one in the place of the one it would replace."""
    per = proposed.value.get("per") if proposed.value is not None else proposed.per
    others = [
        rule
        for rule in book.get(proposed.kind, ())
        if rule.applies_to != proposed.applies_to or rule.value.get("per") != per
    ]
    if proposed.value is not None:
        others.append(Rule(proposed.applies_to, proposed.value))
    return {**book, proposed.kind: others}


def _running(now: Instant) -> Any:
    columns: tuple[Any, ...] = (
        Session.id,
        Session.user_id,
        Session.created_at,
        Session.last_active_at,
        Session.expires_at,
        Session.idle_timeout,
        Session.device_type,
        Session.address,
        Session.asn,
        Session.country,
        Session.authentications,
        User.roles,
    )
    joined = select(*columns).join(User, User.id == Session.user_id)
    return joined.where(life.alive(now)).order_by(Session.user_id, Session.id)
