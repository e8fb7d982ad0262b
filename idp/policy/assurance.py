"""How surely somebody is who they say: levels, what earns them, and what is asked for.

Pure. A level is never set; it is worked out from the proofs a session recorded (invariant 14), so
that no path leads to a level without its proofs. The ladder is that of NIST SP 800-63B-4 section 2:
`aal1` one factor; `aal2` two different ones, or a passkey that verified its user; `aal3` such a
passkey whose key cannot leave its device. Below it stands `0`: a cookie says that somebody was here
once, and nobody knows who is there now (OpenID Connect Core section 2, `acr`).

A standing is a level together with the age of the oldest proof it needs: a password of this morning
and a code of this minute are aal2 since this morning, and aal1 since this minute. So nobody who
asks for "aal2, and fresh" is answered with one fresh proof and a stale one (MF-02).
Specs: RFC 8176 (`amr`), RFC 9470, OpenID Connect Core section 2 (`acr`, `auth_time`).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from idp.clock import Instant
from idp.policy.selection import Book, Subject, matches

LADDER = ("0", "aal1", "aal2", "aal3")
# The least level that somebody proved anything for.
PROVED = "aal1"
_RANK = {acr: rank for rank, acr in enumerate(LADDER)}

# Something known, and things held. Two of one kind are one factor.
KNOWN = frozenset({"password"})
HELD = frozenset({"totp", "recovery_code", "passkey"})
# What a proof becomes whose credential was removed or suspended.
REVOKED = "revoked"
# What a browser shows that its person told to stay signed in.
REMEMBERED = "remembered"
# Another device of the person let this one in. It says who is there and counts for what it was given
# as (`acr`), but is neither known nor held here: with a code it makes no two factors.
PAIRING = "pairing"
# Its `amr` (RFC 8176): over another channel. What was shown there cannot be shown here.
LET_IN = "mca"
METHODS = ("passkey", "password", "totp", "recovery_code")


@dataclass(frozen=True, slots=True)
class Authentication:
    """One proof of who somebody is: the method, its `amr` values, and what it earns alone.

    `credential` is the id of the passkey or code generator that was used, if it has one; `at` is
    when it was given, if that was not just now.
    """

    method: str
    amr: tuple[str, ...]
    acr: str
    credential: str | None = None
    at: Instant | None = None


@dataclass(frozen=True, slots=True)
class Proof:
    """An authentication as a session recorded it, with its moment."""

    method: str
    amr: tuple[str, ...]
    acr: str
    at: Instant
    credential: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """A level, the moment since which it is proved, by which methods (`amr`), and the passkey or code
    generator that it falls with, if there is one."""

    acr: str
    auth_time: Instant
    amr: tuple[str, ...]
    credential: str | None = None


@dataclass(frozen=True, slots=True)
class Demand:
    """What must be proved: at least this level, by proofs no older than `since`.

    Proofs by `excluded` methods do not count.
    """

    acr: str
    since: Instant = 0
    excluded: frozenset[str] = frozenset()

    def counting(self, found: Iterable[Proof]) -> list[Proof]:
        """Those of the proofs that may count for it, of whatever age."""
        return [proof for proof in found if proof.method not in self.excluded]


def proofs(recorded: Iterable[Mapping[str, Any]]) -> tuple[Proof, ...]:
    """The proofs in a session's `authentications`."""
    return tuple(
        Proof(one["method"], tuple(one["amr"]), one["acr"], one["at"], one.get("credential"))
        for one in recorded
    )


def is_known(acr: str) -> bool:
    """Whether `acr` is a level of ours."""
    return acr in _RANK


def reaches(acr: str, wanted: str) -> bool:
    """Whether a level is at least `wanted`; an unknown one reaches nothing and is not reached."""
    return acr in _RANK and wanted in _RANK and _RANK[acr] >= _RANK[wanted]


def highest(levels: Iterable[str]) -> str:
    """The highest of some levels; the lowest there is, `0`, when there are none."""
    return max((one for one in levels if one in _RANK), key=_RANK.__getitem__, default=LADDER[0])


def standing(found: Sequence[Proof], *, since: Instant = 0) -> Standing | None:
    """The highest level that the proofs since a moment earn; None when there are none.

    Of the ways to that level the freshest counts.
    """
    fresh = [proof for proof in reversed(found) if proof.at >= since]
    standing_still = [proof for proof in fresh if proof.method != REVOKED]
    if not standing_still and since == 0:
        # All that the session rested on is gone: it shows who began it, and proves nothing.
        standing_still = fresh
    newest = sorted(standing_still, key=lambda proof: -proof.at)
    best: Standing | None = None
    # From the newest backwards: each step may earn a higher level, at the price of its age.
    for count, oldest in enumerate(newest, start=1):
        taken = newest[:count]
        acr = earned((proof.method, proof.acr) for proof in taken)
        if best is None or _RANK[acr] > _RANK[best.acr]:
            best = Standing(acr, oldest.at, _amr(taken, acr), _credential(taken, acr))
    return best


def earned(taken: Iterable[tuple[str, str]]) -> str:
    """The level that proofs earn together, each as (method, what it earns alone)."""
    known = held = False
    levels = [LADDER[0]]
    for method, acr in taken:
        known = known or method in KNOWN
        held = held or method in HELD
        if method != REVOKED:
            levels.append(acr)
    if known and held:
        levels.append("aal2")
    return highest(levels)


def meets(found: Sequence[Proof], demand: Demand) -> bool:
    """Whether proofs meet a demand."""
    best = standing(demand.counting(found), since=demand.since)
    return best is not None and reaches(best.acr, demand.acr)


def wants_whole_sign_in(found: Sequence[Proof], demand: Demand) -> bool:
    """Whether all proofs are too old for a demand: then somebody signs in anew, with every factor there
    is, and one of them alone must not stand for it."""
    return standing(found, since=demand.since) is None


def offered(found: Sequence[Proof], demand: Demand, enrolled: Mapping[str, str]) -> tuple[str, ...]:
    """The methods by which somebody can come closer to meeting a demand, the best first.

    `enrolled` is what they have: method to the most it can earn alone. Empty when nothing they have
    would do, so that a page does not ask for proofs in vain (MF-04).
    """
    counting = demand.counting(found)
    fresh = [(proof.method, proof.acr) for proof in counting if proof.at >= demand.since]
    used = {method for method, _ in fresh}
    able = dict(enrolled)
    if not reaches(earned([*fresh, *able.items()]), demand.acr):
        return ()
    useful = []
    for method in METHODS:
        if method not in able:
            continue
        alone = reaches(earned([*fresh, (method, able[method])]), demand.acr)
        others = [one for one in able.items() if one[0] != method]
        needed = method not in used and any(
            reaches(earned([*fresh, (method, able[method]), other]), demand.acr)
            and not reaches(earned([*fresh, other]), demand.acr)
            for other in others
        )
        if alone or needed:
            useful.append(method)
    return tuple(useful)


def bar(acr_values: Collection[str]) -> str | None:
    """The least level that satisfies `acr_values` (any of them does); None when none is ours."""
    known = [one for one in acr_values if one in _RANK]
    return min(known, key=_RANK.__getitem__) if known else None


def _amr(taken: Sequence[Proof], acr: str) -> tuple[str, ...]:
    values = dict.fromkeys(value for proof in reversed(taken) for value in proof.amr)
    if reaches(acr, "aal2"):
        values["mfa"] = None
    return tuple(values)


def _credential(taken: Sequence[Proof], acr: str) -> str | None:
    """The credential that a level rests on, of proofs of which the last one completed it.

    There is one at most: two that are held are one factor, so the other of a pair is the password.
    """
    completing = taken[-1]
    if completing.method in HELD or reaches(completing.acr, acr):
        return completing.credential
    return next((one.credential for one in taken if one.method in HELD), None)


# --- Rules: what administrators ask for -----------------------------------------------------


def least(book: Book, subject: Subject, *, scopes: Iterable[str]) -> str:
    """The least level for somebody who gives these scopes, by the rules of kind "assurance".

    All that match count: a level is never lowered by another.
    """
    asked = set(scopes)
    levels = [LADDER[0]]
    for rule in book.get("assurance", ()):
        if matches(rule.applies_to, subject):
            levels.append(rule.value.get("acr", LADDER[0]))
            by_scope = rule.value.get("scopes", {})
            levels += [level for scope, level in by_scope.items() if scope in asked]
    return highest(levels)


def problem_with(value: Mapping[str, Any]) -> str | None:
    """Why a value cannot be an assurance rule, as a sentence; None when it can.

    `{"acr": "aal2"}` for all sign-ins, `{"scopes": {"payments": "aal2"}}` for those that give a scope.
    """
    if not value or not set(value) <= {"acr", "scopes"}:
        return 'An assurance rule has "acr" and "scopes".'
    levels = [value.get("acr", LADDER[0])]
    scopes = value.get("scopes", {})
    if not isinstance(scopes, dict):
        return '"scopes" is a list of scopes with their levels.'
    levels += scopes.values()
    if not all(isinstance(level, str) and is_known(level) for level in levels):
        return f"A level is one of: {', '.join(LADDER)}."
    return None
