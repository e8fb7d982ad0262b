"""How near two devices seem to be that are to share a sign-in, and what is asked for it.

Pure. An address says little: a phone on its mobile network is "elsewhere" beside the laptop it lies
on. So a relation is shown to the person who decides, and what is far needs more, by rule: the number
on the other screen is picked out of three, or typed, or nothing helps and a passkey must do. Of what
network, country and distance ask for the strictest counts. One network is one place, whatever a file
says of it.

It is judged when the page of the answer is shown, when the answer comes, and when the browser comes
for its session (`sessions.handoff`), when only "refuse" still counts: each time by where the browser is
then, and the approving session as its row has it, a minute old at most. Opening the code decides
nothing; that somebody was near once is no proof that they are.
Specs: RFC 10027 (BCP 247), establishing proximity, limited scope, request initiation verification.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from idp.clock import DAY, HOUR, MINUTE, SECOND, Duration
from idp.policy import assurance
from idp.policy.selection import Subject

Relation = Literal["same_network", "other_network", "other_country", "unknown"]
# What the person of the approving device does: choose one of three numbers, type it, or nothing.
Ask = Literal["pick", "type", "refuse"]

_MAPPED = "0" * 20 + "ffff"
_NETWORK_OF_SIX = 16  # hexadecimal digits of a /64, which is what one household is given
# From the mildest to the strictest.
_ASKS: tuple[Ask, ...] = get_args(Ask)
_DEFAULTS: dict[str, Ask] = {
    "same_network": "pick",
    "other_network": "type",
    "other_country": "refuse",
    "far": "refuse",
}
# From here on two devices are not beside each other, wherever a network's exit may be.
FAR_KM = 500
LASTING_DEFAULT = 8 * HOUR
# Other people's proofs are not one's own: whatever needs more is proved on the device itself.
ACR_DEFAULT = "aal1"


@dataclass(frozen=True, slots=True)
class Terms:
    """What a browser that another device lets in gets, and what must be done for it.

    `acr` is the most its session may stand at, `lasting` its whole life.
    """

    ask: Ask
    acr: str = ACR_DEFAULT
    lasting: Duration = LASTING_DEFAULT


def relation(asker: Subject, approver: Subject) -> Relation:
    """How two devices stand to each other by their addresses and, where known, their countries."""
    if asker.address is None or approver.address is None:
        return "unknown"
    if _network(asker.address) == _network(approver.address):
        return "same_network"
    if asker.country and approver.country and asker.country != approver.country:
        return "other_country"
    return "other_network"


def terms(
    said: Iterable[Mapping[str, Any]], found: Relation, *, apart_km: float | None = None
) -> Terms:
    """The terms by the rules in force; of several the strictest of each value.

    `apart_km` is how far the devices are from each other at least, where that is known.
    """
    rules = list(said)
    # What is not known is not near.
    meets: list[str] = ["other_network" if found == "unknown" else found]
    if apart_km is not None and apart_km >= FAR_KM and found != "same_network":
        meets.append("far")
    return Terms(
        ask=max((_asked(rules, one) for one in meets), key=_ASKS.index),
        acr=min(
            (rule["acr"] for rule in rules if "acr" in rule),
            key=assurance.LADDER.index,
            default=ACR_DEFAULT,
        ),
        lasting=min(
            (rule["lasting"] * SECOND for rule in rules if "lasting" in rule),
            default=LASTING_DEFAULT,
        ),
    )


def effective(said: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """All that the rules in force say, written as one rule."""
    rules = list(said)
    found = terms(rules, "same_network")
    asked = {name: _asked(rules, name) for name in _DEFAULTS}
    return asked | {"acr": found.acr, "lasting": found.lasting // SECOND}


def problem_with(value: Mapping[str, Any]) -> str | None:
    """Why a value cannot be a handoff rule, as a sentence; None when it can."""
    if not value or not set(value) <= {*_DEFAULTS, "acr", "lasting"}:
        return f"A handoff rule has one or more of: {', '.join([*_DEFAULTS, 'acr', 'lasting'])}."
    if not all(value[name] in _ASKS for name in _DEFAULTS if name in value):
        return f"What is asked for is one of: {', '.join(_ASKS)}."
    if value.get("acr", ACR_DEFAULT) not in ("aal1", "aal2"):
        return "'acr' is aal1 or aal2."
    seconds = value.get("lasting", 3600)
    if not isinstance(seconds, int) or isinstance(seconds, bool):
        return "'lasting' must be a whole number of seconds."
    if not 5 * MINUTE <= seconds * SECOND <= DAY:
        return "'lasting' must be between 300 and 86400 seconds."
    return None


def _asked(rules: Iterable[Mapping[str, Any]], name: str) -> Ask:
    asks: list[Ask] = [rule[name] for rule in rules if name in rule]
    return max(asks, key=_ASKS.index, default=_DEFAULTS[name])


def _network(address: str) -> str:
    return address if address.startswith(_MAPPED) else address[:_NETWORK_OF_SIX]
