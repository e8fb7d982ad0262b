"""Levels come of proofs and of nothing else; what is asked for can be done and is not in vain."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from idp.policy import assurance
from idp.policy.assurance import LADDER, METHODS, Demand, Proof
from idp.policy.selection import Rule, Subject

# What each method can earn alone, by what the product records of it: nothing where it counts only
# in company (`idp.sessions.step_up`).
EARNS = {
    "password": ("0", "aal1"),
    "totp": ("0", "aal1"),
    "recovery_code": ("0", "aal1"),
    "passkey": ("0", "aal1", "aal2", "aal3"),
    "remembered": ("0",),
}
AMR = {
    "password": ("pwd",),
    "totp": ("otp",),
    "recovery_code": ("otp",),
    "passkey": ("hwk", "user"),
    # A cookie proves nothing of who is there.
    "remembered": (),
    # A proof whose credential was removed since.
    "revoked": (),
}
moments = st.integers(0, 20)


@st.composite
def made_proofs(draw: st.DrawFn) -> Proof:
    method = draw(st.sampled_from(sorted(EARNS)))
    return Proof(method, AMR[method], draw(st.sampled_from(EARNS[method])), draw(moments))


found = st.lists(made_proofs(), max_size=6)
levels = st.sampled_from(LADDER)
demands = st.builds(Demand, acr=levels, since=moments)
enrolled = st.fixed_dictionaries(
    {}, optional={method: st.sampled_from(EARNS[method]) for method in METHODS}
)


def needs(acr: str, taken: Iterable[Proof]) -> bool:
    """Whether these proofs are what a level asks for, said anew and plainly."""
    taken = list(taken)
    methods = {one.method for one in taken}
    if acr == "0":
        return bool(taken)
    if any(LADDER.index(one.acr) >= LADDER.index(acr) for one in taken):
        return True
    return (
        acr in ("aal1", "aal2")
        and "password" in methods
        and bool(methods & {"totp", "recovery_code", "passkey"})
    )


def every_part(of: Sequence[Any]) -> Iterator[list[Any]]:
    for size in range(len(of) + 1):
        for part in combinations(of, size):
            yield list(part)


def shown_now(able: Mapping[str, str], methods: Iterable[str], *, at: int) -> list[Proof]:
    return [Proof(method, AMR[method], able[method], at) for method in methods]


# --- Levels ---------------------------------------------------------------------------------


@given(found, moments)
def test_no_level_without_its_proofs_and_every_level_with_them(
    recorded: list[Proof], since: int
) -> None:
    """Invariant 14: a level is what the proofs since a moment are enough for, no more, no less."""
    fresh = [one for one in recorded if one.at >= since]
    reached = [acr for acr in LADDER if needs(acr, fresh)]
    standing = assurance.standing(recorded, since=since)
    assert (standing.acr if standing else None) == (reached[-1] if reached else None)


@pytest.mark.attack("MF-02")
@given(found, moments)
@example([Proof("password", ("pwd",), "aal1", 1), Proof("totp", ("otp",), "aal1", 9)], 5)
@example([Proof("passkey", ("hwk",), "aal3", 1), Proof("password", ("pwd",), "aal1", 9)], 5)
def test_a_stale_proof_never_counts_as_fresh(recorded: list[Proof], since: int) -> None:
    """MF-02: what was proved before a moment changes nothing of what is asked since then."""
    fresh = [one for one in recorded if one.at >= since]
    assert assurance.standing(recorded, since=since) == assurance.standing(fresh)
    for acr in LADDER:
        assert assurance.meets(recorded, Demand(acr, since)) == needs(acr, fresh)


@pytest.mark.attack("MF-02")
@given(found)
def test_a_level_is_as_old_as_the_oldest_proof_it_needs(recorded: list[Proof]) -> None:
    """MF-02: `auth_time` is the latest moment since which the level is proved."""
    standing = assurance.standing(recorded)
    if standing is None:
        assert recorded == []
        return
    assert needs(standing.acr, [one for one in recorded if one.at >= standing.auth_time])
    assert not needs(standing.acr, [one for one in recorded if one.at > standing.auth_time])


@pytest.mark.attack("MF-02")
@given(found, moments)
def test_whoever_asks_for_a_level_and_an_age_gets_both_or_neither(
    recorded: list[Proof], since: int
) -> None:
    """MF-02: the level of all proofs and the age of some never answer a demand together."""
    for acr in LADDER:
        whole = assurance.standing(recorded, since=since)
        assert assurance.meets(recorded, Demand(acr, since)) == (
            whole is not None and assurance.reaches(whole.acr, acr) and whole.auth_time >= since
        )


@given(found)
def test_the_methods_told_are_of_proofs_that_were_made(recorded: list[Proof]) -> None:
    """RFC 8176: `amr` names what was used for the level, and `mfa` with aal2 and above only."""
    standing = assurance.standing(recorded)
    if standing is None:
        return
    counted = [one for one in recorded if one.at >= standing.auth_time]
    told = set(standing.amr)
    assert told - {"mfa"} <= {value for one in counted for value in one.amr}
    assert ("mfa" in told) == (standing.acr in ("aal2", "aal3"))
    assert len(told) == len(standing.amr)


@given(found, st.randoms(use_true_random=False))
def test_the_order_proofs_are_listed_in_does_not_change_the_level(
    recorded: list[Proof], chance: Any
) -> None:
    shuffled = list(recorded)
    chance.shuffle(shuffled)
    before, after = assurance.standing(recorded), assurance.standing(shuffled)
    assert (before and (before.acr, before.auth_time)) == (after and (after.acr, after.auth_time))


@given(found, made_proofs(), demands)
def test_one_more_proof_never_takes_a_level_away(
    recorded: list[Proof], another: Proof, demand: Demand
) -> None:
    if assurance.meets(recorded, demand):
        assert assurance.meets([*recorded, another], demand)


@pytest.mark.parametrize(
    "methods, level",
    [
        (["password"], "aal1"),
        (["password", "password"], "aal1"),
        (["totp", "recovery_code"], "aal1"),
        (["totp", "totp"], "aal1"),
        (["password", "totp"], "aal2"),
        (["password", "recovery_code"], "aal2"),
        (["password", "passkey"], "aal2"),
        (["passkey", "totp"], "aal1"),
        (["password", "revoked"], "aal1"),
        (["password", "remembered"], "aal1"),
        (["totp", "remembered"], "aal1"),
        (["revoked"], "0"),
    ],
)
def test_two_factors_are_two_kinds(methods: list[str], level: str) -> None:
    """NIST SP 800-63B-4 section 2.2: something known and something held, not one of them twice."""
    recorded = [
        Proof(method, AMR[method], "0" if method == "remembered" else "aal1", 1)
        for method in methods
    ]
    standing = assurance.standing(recorded)
    assert standing is not None
    assert standing.acr == level


@given(found, st.lists(moments, max_size=3), moments)
def test_what_was_revoked_proves_nothing_that_is_asked_for_now(
    recorded: list[Proof], gone: list[int], since: int
) -> None:
    """SE-11: beside anything else it is as if it had never been; alone it shows who began."""
    revoked = [Proof("revoked", (), "aal1", at) for at in gone]
    whole = assurance.standing([*recorded, *revoked], since=since)
    if recorded or since:
        assert whole == assurance.standing(recorded, since=since)
    else:
        assert (whole is None) == (not revoked)
        assert whole is None or (whole.acr, whole.amr) == ("0", ())


@pytest.mark.parametrize("unknown", ["aal4", "", "AAL3", "urn:aal3", "aal", "2"])
def test_a_level_that_is_none_of_ours_is_reached_by_nothing(unknown: str) -> None:
    best = [Proof("passkey", ("hwk",), "aal3", 1)]
    assert not assurance.meets(best, Demand(unknown))
    assert not assurance.reaches(unknown, "aal1")
    assert assurance.offered([], Demand(unknown), {"passkey": "aal3", "password": "aal1"}) == ()
    # Nor does a row that says so earn anything.
    standing = assurance.standing([Proof("passkey", (), unknown, 1)])
    assert standing is not None
    assert standing.acr == "0"


def test_a_cookie_says_who_was_here_and_since_when_and_nothing_more() -> None:
    """OpenID Connect Core section 2: a long-lived browser cookie is `acr` 0."""
    recorded = [Proof("remembered", (), "0", 3)]
    assert assurance.standing(recorded) == assurance.Standing("0", 3, ())
    assert assurance.meets(recorded, Demand("0"))
    assert not assurance.meets(recorded, Demand(assurance.PROVED))
    assert not assurance.meets(recorded, Demand("0", 4))


@pytest.mark.attack("MF-01")
def test_proofs_that_count_only_in_company_earn_their_level_together_and_nothing_alone() -> None:
    """MF-01: a password in a remembered browser of somebody with a second factor is half a sign-in."""
    password, code = Proof("password", ("pwd",), "0", 1), Proof("totp", ("otp",), "0", 2)
    assert not assurance.meets([password], Demand("aal1"))
    assert not assurance.meets([code, code], Demand("aal1"))
    assert assurance.standing([password, code]) == assurance.Standing(
        "aal2", 1, ("pwd", "otp", "mfa")
    )


@pytest.mark.parametrize(
    "recorded, credential",
    [
        # The newest is not what the level rests on: a passkey alone made it, or a code of before.
        ([("passkey", "aal2", 1, "key"), ("totp", "aal1", 2, "app")], "key"),
        ([("totp", "aal1", 1, "app"), ("password", "aal1", 2, None)], "app"),
        ([("password", "aal1", 1, None), ("totp", "aal1", 2, "app")], "app"),
        ([("totp", "aal1", 1, "old"), ("password", "aal1", 2, None), ("totp", "aal1", 3, "new")],
         "new"),
        ([("totp", "aal1", 1, "app"), ("passkey", "aal3", 2, "key")], "key"),
        ([("password", "aal1", 1, None)], None),
        ([("password", "aal1", 1, None), ("recovery_code", "aal1", 2, None)], None),
    ],
)  # fmt: skip
def test_a_level_falls_with_the_credential_that_it_rests_on(
    recorded: list[tuple[str, str, int, str | None]], credential: str | None
) -> None:
    proofs = [Proof(method, AMR[method], acr, at, used) for method, acr, at, used in recorded]
    standing = assurance.standing(proofs)
    assert standing is not None
    assert standing.credential == credential


# --- What is offered ------------------------------------------------------------------------


@pytest.mark.attack("MF-04")
@given(found, demands, enrolled)
@example([], Demand("aal2"), {"password": "aal1", "totp": "aal1", "recovery_code": "aal1"})
@example([Proof("passkey", ("hwk",), "aal1", 9)], Demand("aal2", 5), {"passkey": "aal2"})
def test_a_method_is_offered_when_and_only_when_it_can_be_needed(
    recorded: list[Proof], demand: Demand, able: dict[str, str]
) -> None:
    """MF-04: of no method a proof is asked that brings nobody closer; none that does is left out.

    A method can be needed if some of what they have is enough with it, and not without it.
    """
    if assurance.meets(recorded, demand):
        return

    def enough(methods: Iterable[str]) -> bool:
        now = max(20, demand.since)
        return assurance.meets([*recorded, *shown_now(able, methods, at=now)], demand)

    needed = {
        method
        for part in every_part(sorted(able))
        for method in part
        if enough(part) and not enough([one for one in part if one != method])
    }
    given_order = assurance.offered(recorded, demand, able)
    assert set(given_order) == needed
    assert list(given_order) == [method for method in METHODS if method in needed]


@pytest.mark.attack("MF-04")
@given(found, demands, enrolled)
def test_something_is_offered_whenever_the_demand_can_be_met(
    recorded: list[Proof], demand: Demand, able: dict[str, str]
) -> None:
    """MF-04: nobody who could do it is sent away, and nobody who could not is asked."""
    if assurance.meets(recorded, demand):
        return
    everything = [*recorded, *shown_now(able, able, at=max(20, demand.since))]
    can = assurance.meets(everything, demand)
    assert bool(assurance.offered(recorded, demand, able)) == can


@given(found, demands, enrolled, st.randoms(use_true_random=False))
def test_whoever_does_what_is_offered_arrives(
    recorded: list[Proof], demand: Demand, able: dict[str, str], chance: Any
) -> None:
    """Any choice, again and again, ends with the demand met, in two steps at most."""
    if assurance.meets(recorded, demand) or not assurance.offered(recorded, demand, able):
        return
    have = list(recorded)
    for _ in range(2):
        choice = chance.choice(assurance.offered(have, demand, able))
        have += shown_now(able, [choice], at=max(20, demand.since))
        if assurance.meets(have, demand):
            return
    pytest.fail(f"two proofs were not enough: {have}")


# --- Rules ----------------------------------------------------------------------------------


ROLES = ["admin", "nurse"]
SCOPES = ["payments", "openid"]
whom = st.fixed_dictionaries({}, optional={"role": st.sampled_from(ROLES)})
what = st.fixed_dictionaries(
    {"acr": levels}, optional={"scopes": st.dictionaries(st.sampled_from(SCOPES), levels)}
)
some_rules = st.lists(st.builds(Rule, whom, what), max_size=5)


@given(some_rules, st.sets(st.sampled_from(ROLES)), st.sets(st.sampled_from(SCOPES)))
def test_the_strictest_rule_that_applies_wins(
    rules: list[Rule], roles: set[str], scopes: set[str]
) -> None:
    assert all(assurance.problem_with(rule.value) is None for rule in rules)
    least = assurance.least({"assurance": rules}, Subject(roles=tuple(roles)), scopes=scopes)
    applying = ["0"]
    for rule in rules:
        if rule.applies_to.get("role") in {None, *roles}:
            applying.append(rule.value["acr"])
            said = rule.value.get("scopes", {}).items()
            applying += [level for scope, level in said if scope in scopes]
    assert least in applying
    assert all(assurance.reaches(least, one) for one in applying)


def test_without_rules_a_remembered_browser_will_do() -> None:
    assert assurance.least({}, Subject(roles=("admin",)), scopes=["openid"]) == "0"


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"acr": "aal4"},
        {"acr": None},
        {"acr": 2},
        {"acr": ["aal2"]},
        {"level": "aal2"},
        {"acr": "aal2", "level": "aal2"},
        {"scopes": ["payments"]},
        {"scopes": {"payments": "high"}},
        {"scopes": {"payments": None}},
        {"scopes": {"payments": {"acr": "aal2"}}},
    ],
)
def test_what_cannot_be_a_rule_is_told_in_a_sentence(value: dict[str, Any]) -> None:
    problem = assurance.problem_with(value)
    assert problem is not None
    assert problem.endswith(".")


@pytest.mark.parametrize(
    "asked, least",
    [
        ([], None),
        (["urn:mace:incommon:iap:silver"], None),
        (["aal2"], "aal2"),
        (["aal3", "aal2"], "aal2"),
        (["urn:unknown", "aal3"], "aal3"),
    ],
)
def test_of_several_levels_an_app_takes_any_will_do(asked: list[str], least: str | None) -> None:
    """OpenID Connect Core section 3.1.2.1: `acr_values` lists what satisfies."""
    assert assurance.bar(asked) == least
