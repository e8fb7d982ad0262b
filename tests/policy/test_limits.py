from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.policy import limits
from idp.policy.limits import BEHAVIOURS, Blocked, Ends, Limit, MustChoose, Room, Running
from idp.policy.network import key
from idp.policy.selection import Rule, Subject

HOME, OFFICE = key("192.0.2.1"), key("198.51.100.7")
NURSE = ("nurse",)


def rule(applies_to: dict[str, str], maximum: int, **value: str) -> Rule:
    return Rule(applies_to, {"maximum": maximum, **value})


def said(found: list[Limit]) -> set[tuple[int, str, str, str | None]]:
    return {
        (
            one.maximum,
            one.at_limit,
            " ".join(f"{name}={wanted}" for name, wanted in sorted(one.kind.items())),
            one.per,
        )
        for one in found
    }


@pytest.mark.parametrize(
    "rules, roles, found",
    [
        ([], (), {(15, "end_oldest", "", None)}),
        ([rule({}, 3)], (), {(3, "end_oldest", "", None)}),
        ([rule({}, 50, at_limit="ask")], (), {(50, "ask", "", None)}),
        # One for a role takes the place of the one for everybody, whichever is lower.
        ([rule({}, 3), rule({"role": "nurse"}, 9)], NURSE, {(9, "end_oldest", "", None)}),
        ([rule({}, 3), rule({"role": "nurse"}, 9)], (), {(3, "end_oldest", "", None)}),
        # Two roles, two limits: both hold, so the lower is met first.
        (
            [rule({"role": "nurse"}, 9), rule({"role": "admin"}, 2, at_limit="block")],
            ("nurse", "admin"),
            {(9, "end_oldest", "", None), (2, "block", "", None)},
        ),
        # What counts something else stands beside it: in total, for each address, of phones.
        (
            [
                rule({}, 10),
                rule({}, 3, per="ip"),
                rule({"device_type": "phone"}, 2, at_limit="ask"),
            ],
            (),
            {
                (10, "end_oldest", "", None),
                (3, "end_oldest", "", "ip"),
                (2, "ask", "device_type=phone", None),
            },
        ),
        # And the default holds beside it too.
        (
            [rule({"country": "FR"}, 2)],
            (),
            {(15, "end_oldest", "", None), (2, "end_oldest", "country=FR", None)},
        ),
        # A role's exception is one to what counts the same, and to nothing else.
        (
            [
                rule({}, 5),
                rule({}, 3, per="ip"),
                rule({"role": "nurse"}, 9, per="ip"),
                rule({"role": "nurse", "device_type": "tv"}, 1),
                rule({"device_type": "tv"}, 4),
            ],
            NURSE,
            {
                (5, "end_oldest", "", None),
                (9, "end_oldest", "", "ip"),
                (1, "end_oldest", "device_type=tv", None),
            },
        ),
    ],
)  # fmt: skip
def test_the_limits_of_somebody(
    rules: list[Rule], roles: tuple[str, ...], found: set[tuple[int, str, str, str | None]]
) -> None:
    assert said(limits.possible(rules, roles)) == found


NETWORK = Limit(1, kind={"network": "192.0.2.0/24"})
PER_IP, PER_TYPE = Limit(1, per="ip"), Limit(1, per="device_type")
FRENCH_PER_IP = Limit(1, kind={"country": "FR"}, per="ip")
SIX, SIX_TOO, SIX_NEXT = (
    Subject(address=key(one)) for one in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")
)
FRENCH_HOME = Subject(address=HOME, country="FR")
TV_IN_FRANCE = Limit(1, kind={"device_type": "tv", "country": "FR"})


@pytest.mark.parametrize(
    "limit, one, newcomer, is_counted",
    [
        (Limit(1), Subject(), Subject(), True),
        (Limit(1, kind={"device_type": "phone"}), Subject(device_type="phone"), Subject(), True),
        (Limit(1, kind={"device_type": "phone"}), Subject(device_type="tv"), Subject(), False),
        (NETWORK, Subject(address=HOME), Subject(), True),
        (NETWORK, Subject(address=OFFICE), Subject(), False),
        (NETWORK, Subject(), Subject(), False),
        (Limit(1, kind={"network": "AS64496"}), Subject(asn=64_496), Subject(), True),
        (TV_IN_FRANCE, Subject(device_type="tv", country="FR"), Subject(), True),
        (TV_IN_FRANCE, Subject(device_type="tv"), Subject(), False),
        (PER_IP, Subject(address=HOME), Subject(address=HOME), True),
        (PER_IP, Subject(address=HOME), Subject(address=OFFICE), False),
        # IPv6: one /64 is one address, because one person is given that.
        (PER_IP, SIX, SIX_TOO, True),
        (PER_IP, SIX, SIX_NEXT, False),
        # The unknown is not one place.
        (PER_IP, Subject(), Subject(), False),
        (Limit(1, per="country"), Subject(), Subject(), False),
        (Limit(1, per="country"), Subject(country="FR"), Subject(country="FR"), True),
        (Limit(1, per="country"), Subject(country="FR"), Subject(country="DE"), False),
        (PER_TYPE, Subject(device_type="tv"), Subject(device_type="tv"), True),
        (PER_TYPE, Subject(device_type="tv"), Subject(device_type="phone"), False),
        (FRENCH_PER_IP, FRENCH_HOME, FRENCH_HOME, True),
        (FRENCH_PER_IP, Subject(address=HOME), Subject(address=HOME), False),
    ],
)  # fmt: skip
def test_which_sessions_a_limit_counts(
    limit: Limit, one: Subject, newcomer: Subject, is_counted: bool
) -> None:
    assert limit.counts(one, newcomer) is is_counted


def running(text: str) -> list[Running]:
    """Sessions such as "a1 b2* c3/phone d4@office e5?": id, last active, kept, device type, address,
    nothing proved."""
    made = []
    for one in text.split():
        name, _, place = one.rstrip("?").partition("@")
        name, _, device_type = name.partition("/")
        made.append(
            Running(
                id=name[0],
                subject=Subject(
                    device_type=device_type or "laptop", address=OFFICE if place else HOME
                ),
                last_active_at=int(name[1:].rstrip("*")),
                created_at=0,
                is_kept=name.endswith("*"),
                is_proved=not one.endswith("?"),
            )
        )
    return made


def test_whoever_lets_the_newcomer_in_gives_way_last() -> None:
    one, *others = running("a1 b2* c1")
    beside = [replace(one, is_host=True), *others]
    newcomer = Subject(device_type="laptop", address=HOME)
    for maximum, leaving in ((3, "c"), (2, "cb"), (1, "cba")):
        decision = limits.decide([Limit(maximum)], beside, newcomer)
        assert isinstance(decision, Ends)
        assert "".join(decision.ids) == leaving


PHONE_HERE = Subject(device_type="phone", address=HOME)
PHONES = Limit(2, kind={"device_type": "phone"})


@pytest.mark.parametrize(
    "found, beside, leaving",
    [
        ([Limit(1)], "", ""),
        ([Limit(2)], "a1", ""),
        ([Limit(1)], "a1", "a"),
        # The one that rested longest goes first.
        ([Limit(2)], "a5 b2", "b"),
        # A limit that was lowered ends as many as are too many.
        ([Limit(2)], "c3 a1 b2", "ab"),
        # Who is kept goes last, however long they rested; among themselves the longest first.
        ([Limit(3)], "a1* b2 c3", "b"),
        ([Limit(2)], "a1* b2 c3*", "ba"),
        ([Limit(1)], "a1* b2* c3*", "abc"),
        # A limit of a kind ends sessions of that kind only.
        ([PHONES], "a1 b2/phone c3/phone", "b"),
        ([PHONES], "a1 b2 c3/phone", ""),
        ([Limit(1, per="ip")], "a1@office b2 c3@office", "b"),
        # Several at once: each holds afterwards.
        ([Limit(3), PHONES], "a1 b2/phone c3/phone d4", "ab"),
        # And nobody goes in vain: the phone that must go makes room in total too.
        ([Limit(3), PHONES], "a1 b2/phone c3/phone", "b"),
        ([Limit(2), Limit(1, per="ip")], "a1@office b2", "b"),
    ],
)
def test_who_gives_way(found: list[Limit], beside: str, leaving: str) -> None:
    decision = limits.decide(found, running(beside), PHONE_HERE)
    assert (decision.ids if isinstance(decision, Ends) else ()) == tuple(leaving)
    assert isinstance(decision, Ends if leaving else Room)


@pytest.mark.parametrize(
    "found, beside, decision",
    [
        ([Limit(2)], "a1", Room()),
        # Where somebody works who proved who they are, a cookie signs nobody out.
        ([Limit(2)], "a1 b2", Blocked(Limit(2), ("a", "b"))),
        # Two of its own kind: as ever, and past those who are spared.
        ([Limit(2)], "a1? b2?", Ends(Limit(2), ("a",))),
        ([Limit(2)], "a1 b2?", Ends(Limit(2), ("b",))),
        # Not enough of them: nobody goes at all.
        ([Limit(2)], "a1 b2? c3", Blocked(Limit(2), ("a", "b", "c"))),
        ([Limit(3), PHONES], "a1? b2/phone c3/phone", Blocked(PHONES, ("a", "b", "c"))),
    ],
)
def test_who_proves_nothing_pushes_out_nobody_who_did(
    found: list[Limit], beside: str, decision: limits.Decision
) -> None:
    assert limits.decide(found, running(beside), PHONE_HERE, proving="nothing") == decision


ASK, BLOCK = Limit(2, "ask"), Limit(2, "block")


def test_at_a_limit_that_asks_all_that_would_make_room_are_offered() -> None:
    assert limits.decide([ASK], running("a1"), PHONE_HERE) == Room()
    assert limits.decide([ASK], running("c3 a1* b2"), PHONE_HERE) == MustChoose(
        ASK, candidates=("b", "c", "a"), suggested=("b", "c")
    )


def test_at_a_limit_that_blocks_nobody_gives_way() -> None:
    assert limits.decide([BLOCK], running("a1"), PHONE_HERE) == Room()
    assert limits.decide([BLOCK], running("b2 a1"), PHONE_HERE) == Blocked(BLOCK, ("a", "b"))


@pytest.mark.parametrize(
    "found, beside, outcome",
    [
        # The strictest of those that are met.
        ([Limit(1), ASK, BLOCK], "a1 b2", Blocked),
        ([Limit(1), ASK], "a1 b2", MustChoose),
        ([Limit(1), ASK, Limit(3, "block")], "a1 b2", MustChoose),
        # One that is not met has nothing to say.
        ([Limit(1), ASK, BLOCK], "a1", Ends),
        ([Limit(1), Limit(1, "block", {"device_type": "tv"})], "a1", Ends),
    ],
)
def test_of_several_limits_the_strictest_behaviour_counts(
    found: list[Limit], beside: str, outcome: type
) -> None:
    assert isinstance(limits.decide(found, running(beside), PHONE_HERE), outcome)


def test_what_is_asked_is_only_what_the_limit_that_asks_needs() -> None:
    """The other limit takes its own by itself, once there has been a choice."""
    phones = Limit(1, "ask", {"device_type": "phone"})
    beside = running("a1 b2/phone c3/phone")
    asked = limits.decide([Limit(2), phones], beside, PHONE_HERE)
    assert asked == MustChoose(phones, candidates=("b", "c"), suggested=("b", "c"))
    left = [one for one in beside if one.id not in ("b", "c")]
    assert limits.decide([Limit(2), phones], left, PHONE_HERE) == Room()
    left = [one for one in beside if one.id != "b"]
    assert isinstance(limits.decide([Limit(2), phones], left, PHONE_HERE), MustChoose)


def test_the_limit_that_is_told_is_the_lowest_of_those_that_decide() -> None:
    decision = limits.decide([Limit(3), Limit(2), Limit(1)], running("a1 b2 c3"), PHONE_HERE)
    assert isinstance(decision, Ends)
    assert decision.limit == Limit(1)


# --- whatever the limits and sessions -------------------------------------------------------------

subjects = st.builds(
    Subject,
    device_type=st.sampled_from(["phone", "laptop"]),
    address=st.sampled_from([HOME, OFFICE, None]),
    country=st.sampled_from(["FR", "DE", None]),
)
sessions = st.lists(
    st.builds(
        Running,
        id=st.uuids().map(str),
        subject=subjects,
        last_active_at=st.integers(0, 9),
        created_at=st.integers(0, 9),
        is_kept=st.booleans(),
        is_proved=st.booleans(),
    ),
    max_size=12,
    unique_by=lambda one: one.id,
)
kinds = st.sampled_from(
    [{}, {"device_type": "phone"}, {"country": "FR"}, {"network": "192.0.2.0/24"}]
)
some_limits = st.lists(
    st.builds(
        Limit,
        maximum=st.integers(1, 6),
        at_limit=st.sampled_from(BEHAVIOURS),
        kind=kinds,
        per=st.sampled_from([None, *limits.PERS]),
    ),
    max_size=4,
)


def holds(limit: Limit, beside: list[Running], newcomer: Subject) -> bool:
    """Whether the limit is kept by these and the newcomer together."""
    counted = [one for one in beside if limit.counts(one.subject, newcomer)]
    return not limit.concerns(newcomer) or len(counted) + 1 <= limit.maximum


def gone(decision: limits.Decision) -> set[str]:
    if isinstance(decision, MustChoose):
        return set(decision.suggested)
    return set(decision.ids) if isinstance(decision, Ends) else set()


@given(some_limits, sessions, subjects)
def test_a_session_begins_only_where_every_limit_holds_afterwards(
    found: list[Limit], beside: list[Running], newcomer: Subject
) -> None:
    decision = limits.decide(found, beside, newcomer)
    left = [one for one in beside if one.id not in gone(decision)]
    if isinstance(decision, Room | Ends):
        assert all(holds(limit, left, newcomer) for limit in found)
    elif isinstance(decision, MustChoose):
        assert all(holds(one, left, newcomer) for one in found if one.at_limit == "ask")
        after = limits.decide(found, left, newcomer)
        assert isinstance(after, Room | Ends)
    else:
        assert not holds(decision.limit, beside, newcomer)


@given(some_limits, sessions, subjects)
def test_nobody_goes_in_vain(found: list[Limit], beside: list[Running], newcomer: Subject) -> None:
    decision = limits.decide(found, beside, newcomer)
    asking = [one for one in found if one.at_limit == "ask" or isinstance(decision, Ends)]
    for spared in gone(decision):
        left = [one for one in beside if one.id not in gone(decision) or one.id == spared]
        assert not all(holds(limit, left, newcomer) for limit in asking)


@given(some_limits, sessions, subjects)
def test_who_proves_nothing_is_let_in_by_no_end_of_somebody_who_did(
    found: list[Limit], beside: list[Running], newcomer: Subject
) -> None:
    decision = limits.decide(found, beside, newcomer, proving="nothing")
    if isinstance(decision, Ends):
        assert not [one for one in beside if one.id in decision.ids and one.is_proved]
        left = [one for one in beside if one.id not in decision.ids]
        assert all(holds(limit, left, newcomer) for limit in found)


@given(st.integers(1, 6), st.sampled_from(BEHAVIOURS), sessions, subjects)
def test_of_one_limit_nobody_stays_before_whom_somebody_goes(
    maximum: int, at_limit: limits.AtLimit, beside: list[Running], newcomer: Subject
) -> None:
    """Row L4: those that are kept last, and among equals those that rested longest first."""
    decision = limits.decide([Limit(maximum, at_limit)], beside, newcomer)
    goes = [(one.is_kept, one.last_active_at) for one in beside if one.id in gone(decision)]
    stays = [(one.is_kept, one.last_active_at) for one in beside if one.id not in gone(decision)]
    if goes and stays:
        assert max(goes) <= min(stays)
    if not isinstance(decision, Blocked):
        assert len(stays) == min(len(beside), maximum - 1)


@given(some_limits, sessions, subjects)
def test_the_order_they_are_listed_in_does_not_matter(
    found: list[Limit], beside: list[Running], newcomer: Subject
) -> None:
    assert limits.decide(found, beside, newcomer) == limits.decide(found, beside[::-1], newcomer)


@given(some_limits, sessions, subjects, st.sampled_from(BEHAVIOURS))
def test_a_further_limit_never_lets_more_happen(
    found: list[Limit], beside: list[Running], newcomer: Subject, at_limit: limits.AtLimit
) -> None:
    strictness = {Room: 0, Ends: 1, MustChoose: 2, Blocked: 3}
    before = limits.decide(found, beside, newcomer)
    after = limits.decide([*found, Limit(2, at_limit)], beside, newcomer)
    assert strictness[type(after)] >= strictness[type(before)]


# --- what can be a rule ---------------------------------------------------------------------------


@given(
    st.integers(1, 1_000),
    st.sampled_from([{}, *({"per": one} for one in limits.PERS)]),
    st.sampled_from([{}, *({"at_limit": one} for one in BEHAVIOURS)]),
)
def test_a_number_a_per_and_a_behaviour_are_a_rule(
    maximum: int, per: dict[str, str], at_limit: dict[str, str]
) -> None:
    assert limits.problem_with({"maximum": maximum, **per, **at_limit}) is None


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"maximum": 0},
        {"maximum": -1},
        {"maximum": 1_001},
        {"maximum": 2.0},
        {"maximum": "2"},
        {"maximum": None},
        {"maximum": True},
        {"maximum": 2, "minimum": 1},
        {"minimum": 1},
        {"per": "ip"},
        {"maximum": 2, "per": "planet"},
        {"maximum": 2, "per": None},
        {"maximum": 2, "at_limit": "explode"},
        {"maximum": 2, "at_limit": ["ask"]},
    ],
)
def test_what_cannot_be_a_rule_is_told_in_a_sentence(value: dict[str, Any]) -> None:
    problem = limits.problem_with(value)
    assert problem is not None
    assert problem.endswith(".")
