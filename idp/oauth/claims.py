"""Which facts about a person an app receives (OpenID Connect Core sections 5.1, 5.4, 5.5; row K6).

By scope at userinfo; singly by the `claims` parameter, at userinfo or in the ID token. A claim that
has no value is left out: never null, never empty.
"""

from typing import Any

import orjson

from idp.clock import to_seconds
from idp.oauth.facts import UserFacts
from idp.storage.vault import Vault

BY_SCOPE: dict[str, tuple[str, ...]] = {
    "profile": (
        "name",
        "given_name",
        "family_name",
        "middle_name",
        "nickname",
        "preferred_username",
        "profile",
        "picture",
        "website",
        "gender",
        "birthdate",
        "zoneinfo",
        "locale",
        "updated_at",
    ),
    "email": ("email", "email_verified"),
    "address": ("address",),
    "phone": ("phone_number", "phone_number_verified"),
    "roles": ("roles", "permissions"),
}
SUPPORTED = tuple(name for names in BY_SCOPE.values() for name in names)
PARAMETER_MAXIMUM = 4_096


def for_userinfo(
    user: UserFacts, scope: str, requested: dict[str, Any], *, vault: Vault
) -> dict[str, Any]:
    """The userinfo claims of a token with `scope`; always `sub`."""
    names = {name for one in scope.split() for name in BY_SCOPE.get(one, ())}
    names |= _asked(requested, "userinfo") & set(SUPPORTED)
    return {"sub": user.id} | _values(user, names, vault)


def for_id_token(user: UserFacts, requested: dict[str, Any], *, vault: Vault) -> dict[str, Any]:
    """The claims of the person that the `claims` parameter asked into the ID token."""
    names = _asked(requested, "id_token") & set(SUPPORTED)
    return _values(user, names, vault) if names else {}


def parse_parameter(text: str) -> dict[str, Any] | None:
    """The `claims` request parameter (section 5.5), or None when it is not valid.

    Kept are only the names asked for, so that nothing else of it can matter later.
    """
    if len(text) > PARAMETER_MAXIMUM:
        return None
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(value, dict):
        return None
    kept: dict[str, Any] = {}
    for place in ("userinfo", "id_token"):
        asked = value.get(place)
        if asked is None:
            continue
        if not isinstance(asked, dict):
            return None
        if any(one is not None and not isinstance(one, dict) for one in asked.values()):
            return None
        kept[place] = sorted(name for name in asked if name in SUPPORTED)
    return kept


def behind(requested: dict[str, Any]) -> list[str]:
    """The scopes that stand for the claims asked for singly; a person must have allowed these too."""
    names = {name for place in requested.values() for name in place}
    return [scope for scope, given in BY_SCOPE.items() if names & set(given)]


def within(requested: dict[str, Any], scope: str) -> dict[str, Any]:
    """What of `requested` the scopes of `scope` could give as well (JW-10): no way around them."""
    given = {name for one in scope.split() for name in BY_SCOPE.get(one, ())}
    return {place: [name for name in names if name in given] for place, names in requested.items()}


def essential_acr(text: str) -> frozenset[str] | None:
    """The `acr` values of which one is demanded (section 5.5.1.1); None when none is.

    `text` is a `claims` parameter that `parse_parameter` has accepted.
    """
    asked = (orjson.loads(text).get("id_token") or {}).get("acr")
    if not asked or asked.get("essential") is not True:
        return None
    return _values_of(asked) or None


def demanded_sub(text: str) -> frozenset[str] | None:
    """Whose answer alone will do (section 5.5.1, and 3.1.2.2 for what that means); None: anybody's.

    `text` as above. Values that name nobody leave nobody: they are no reason to let anybody in.
    """
    asked = (orjson.loads(text).get("id_token") or {}).get("sub") or {}
    return _values_of(asked) if {"value", "values"} & set(asked) else None


def _values_of(asked: dict[str, Any]) -> frozenset[str]:
    values = asked.get("values", [asked.get("value")])
    wanted = values if isinstance(values, list) else [values]
    return frozenset(one for one in wanted if isinstance(one, str))


def _asked(requested: dict[str, Any], place: str) -> set[str]:
    return set(requested.get(place) or ())


def _values(user: UserFacts, names: set[str], vault: Vault) -> dict[str, Any]:
    if not names:
        return {}
    stored: dict[str, Any] = {}
    if user.sealed_claims:
        stored = orjson.loads(vault.open_text(user.sealed_claims, f"user.claims:{user.id}"))
    known: dict[str, Any] = {
        **stored,
        "preferred_username": user.username,
        "email": user.email,
        "email_verified": bool(user.email_verified) if user.email else None,
        "updated_at": to_seconds(user.updated_at),
        "roles": user.roles,
        "permissions": list(user.permissions),
    }
    values = {name: known.get(name) for name in names}
    return {name: value for name, value in values.items() if value not in (None, "", [], {})}
