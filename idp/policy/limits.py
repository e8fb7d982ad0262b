"""How many sessions one person may have at once, and what happens at the limit (rows L1-L4, L6, L8).

Pure. A limit counts sessions of one kind, all of them where its rule names none: those of a device
type, in a network, in a country. It is met when a session of its kind begins, and the sessions of
that kind give way; `per` makes it hold for each address, device type or country by itself. Limits
that count different things hold side by side; a rule for a role takes the place of the one that
counts the same for everybody. What is not known (an address, a country) is counted by no limit that
asks for it. A session that proves nothing (a browser that stays signed in) pushes out nobody who did:
else a cookie in a drawer would sign its owner out where they work.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from idp.clock import Instant
from idp.policy import network
from idp.policy.selection import Rule, Subject, chosen, matches

MAXIMUM_DEFAULT = 15

AtLimit = Literal["end_oldest", "ask", "block"]
# From the mildest to the strictest.
BEHAVIOURS: tuple[AtLimit, ...] = get_args(AtLimit)
# What a session that begins has proved.
Proving = Literal["something", "nothing"]
Per = Literal["ip", "device_type", "country"]
PERS: tuple[Per, ...] = get_args(Per)


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `maximum` sessions of a `kind` (selectors; none: of any), or of each value of `per`."""

    maximum: int
    at_limit: AtLimit = "end_oldest"
    kind: Mapping[str, str] = field(default_factory=dict)
    per: Per | None = None

    def counts(self, one: Subject, newcomer: Subject) -> bool:
        """Whether a session takes one of the places that `newcomer` wants."""
        if not matches(self.kind, one):
            return False
        if self.per is None:
            return True
        value = _value(self.per, newcomer)
        return value is not None and _value(self.per, one) == value

    def concerns(self, newcomer: Subject) -> bool:
        """Whether this limit can be met by the beginning of such a session."""
        return self.counts(newcomer, newcomer)


@dataclass(frozen=True, slots=True)
class Running:
    """What the decision needs to know of a running session.

    `is_kept` is last to give way, but for the one that lets the newcomer in (`is_host`): its person
    sits there.
    """

    id: str
    subject: Subject
    last_active_at: Instant
    created_at: Instant
    is_kept: bool = False
    is_host: bool = False
    is_proved: bool = True


@dataclass(frozen=True, slots=True)
class Room:
    """The session may begin."""


@dataclass(frozen=True, slots=True)
class Ends:
    """The session may begin, and these end."""

    limit: Limit
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MustChoose:
    """The session may begin once its person has chosen who gives way: `suggested`, or as many others.

    `candidates` are all that would make room, in the order in which they would give way.
    """

    limit: Limit
    candidates: tuple[str, ...]
    suggested: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Blocked:
    """The session may not begin before one of `counted` is over."""

    limit: Limit
    counted: tuple[str, ...]


Full = MustChoose | Blocked
Decision = Room | Ends | Full


def possible(rules: Iterable[Rule], roles: Iterable[str]) -> list[Limit]:
    """The limits for somebody with these roles; which of them one session meets is another question.

    Where no rule counts all sessions, `MAXIMUM_DEFAULT` does.
    """
    subject = Subject(roles=tuple(roles))
    alike: dict[tuple[tuple[tuple[str, str], ...], Per | None], list[Rule]] = {((), None): []}
    for rule in rules:
        whom = {name: one for name, one in rule.applies_to.items() if name == "role"}
        kind = {name: one for name, one in rule.applies_to.items() if name != "role"}
        key = (tuple(sorted(kind.items())), rule.value.get("per"))
        alike.setdefault(key, []).append(Rule(whom, rule.value))
    limits = [
        Limit(value["maximum"], value.get("at_limit", BEHAVIOURS[0]), dict(kind), per)
        for (kind, per), some in alike.items()
        for value in chosen(some, subject)
    ]
    if not any(not limit.kind and limit.per is None for limit in limits):
        limits.insert(0, Limit(MAXIMUM_DEFAULT))
    return limits


def used(limit: Limit, running: Sequence[Running]) -> int:
    """How many places of a limit are taken; of one `per` something by whoever takes most."""
    counted = [one.subject for one in running if matches(limit.kind, one.subject)]
    if limit.per is None:
        return len(counted)
    values = [_value(limit.per, one) for one in counted]
    return max(Counter(one for one in values if one is not None).values(), default=0)


def decide(
    limits: Iterable[Limit],
    running: Sequence[Running],
    newcomer: Subject,
    *,
    proving: Proving = "something",
) -> Decision:
    """What the beginning of `newcomer` beside `running` leads to.

    Of several limits that are met at once the strictest behaviour counts. For one that proves nothing
    only sessions give way in which nothing is proved either; where that is not enough, it is blocked.
    """
    met = [one for one in limits if one.concerns(newcomer) and _excess(one, running, newcomer) > 0]
    if not met:
        return Room()
    at_limit = max((one.at_limit for one in met), key=BEHAVIOURS.index)
    deciding = [one for one in met if one.at_limit == at_limit]
    # What people are told: of several the one that lets them have least.
    limit = min(deciding, key=lambda one: one.maximum)
    if at_limit == "end_oldest":
        spared = () if proving == "something" else [one for one in running if one.is_proved]
        leaving = _give_way(met, running, newcomer, sparing=spared)
        left = [one for one in running if one.id not in leaving]
        if not any(_excess(one, left, newcomer) > 0 for one in met):
            return Ends(limit, leaving)
    counted = tuple(
        one.id
        for one in _in_order(running)
        if any(each.counts(one.subject, newcomer) for each in deciding)
    )
    if at_limit == "ask":
        return MustChoose(limit, counted, _give_way(deciding, running, newcomer))
    return Blocked(limit, counted)


def problem_with(value: Mapping[str, Any]) -> str | None:
    """Why `value` cannot be a limits rule, as a sentence; None when it can."""
    if "maximum" not in value or not set(value) <= {"maximum", "per", "at_limit"}:
        return "A limits rule has 'maximum', a whole number, and may have 'per' and 'at_limit'."
    maximum = value["maximum"]
    if not isinstance(maximum, int) or isinstance(maximum, bool):
        return "'maximum' must be a whole number."
    if not 1 <= maximum <= 1_000:
        return "'maximum' must be between 1 and 1000."
    if "per" in value and value["per"] not in PERS:
        return f"'per' is one of: {', '.join(PERS)}."
    if "at_limit" in value and value["at_limit"] not in BEHAVIOURS:
        return f"'at_limit' is one of: {', '.join(BEHAVIOURS)}."
    return None


def _in_order(running: Iterable[Running]) -> list[Running]:
    """In the order of giving way: host and kept come last, before that who rested longest is first."""
    return sorted(
        running,
        key=lambda one: (one.is_host, one.is_kept, one.last_active_at, one.created_at, one.id),
    )


def _excess(limit: Limit, running: Iterable[Running], newcomer: Subject) -> int:
    """By how many sessions the limit would be passed."""
    return sum(limit.counts(one.subject, newcomer) for one in running) + 1 - limit.maximum


def _give_way(
    limits: Sequence[Limit],
    running: Sequence[Running],
    newcomer: Subject,
    *,
    sparing: Collection[Running] = (),
) -> tuple[str, ...]:
    """Who goes so that each of the limits holds: in the order of giving way, and nobody in vain.

    Nobody in `sparing` goes, so that there may be too few.
    """
    over = [_excess(limit, running, newcomer) for limit in limits]
    leaving: list[tuple[Running, list[int]]] = []
    for one in _in_order(one for one in running if one not in sparing):
        counting = [at for at, each in enumerate(limits) if each.counts(one.subject, newcomer)]
        if any(over[at] > 0 for at in counting):
            leaving.append((one, counting))
            for at in counting:
                over[at] -= 1
    # Somebody who went for a wide limit may be spared by who went for a narrow one afterwards.
    for one, counting in reversed(leaving[:]):
        if all(over[at] < 0 for at in counting):
            leaving.remove((one, counting))
            for at in counting:
                over[at] += 1
    return tuple(one.id for one, _ in leaving)


def _value(per: Per, subject: Subject) -> str | None:
    if per == "device_type":
        return subject.device_type
    if per == "country":
        return subject.country
    return network.counted_as(subject.address)
