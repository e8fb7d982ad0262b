"""Who may do what over the management API: scopes, the roles that give them, and who stands above whom.

Pure: a right is the name of a scope, a caller is the set of rights its access token carries. The one
law is that nobody reaches above themselves (AD-04): nobody hands out a right they do not have, and
nobody touches a person or an app that has a right of `POWER` they have not. So no sequence of calls
gives anybody more power than they began with.

Rights that only apps understand (any other permission of a role) are no rights over this product:
whoever may change roles hands them out freely. Spec: RFC 6749 section 3.3.
"""

from collections.abc import Iterable, Mapping
from typing import Literal, get_args

Scope = Literal[
    "users:read",
    "users:write",
    "credentials:write",
    "roles:read",
    "roles:write",
    "clients:read",
    "clients:write",
    "sessions:read",
    "sessions:revoke",
    "rules:read",
    "rules:write",
    "events:read",
    "events:export",
    "queries:read",
    "queries:write",
    "keys:read",
    "keys:rotate",
]
SCOPES: tuple[Scope, ...] = get_args(Scope)
ALL: frozenset[str] = frozenset(SCOPES)
# What puts its holder above whoever lacks it. Not `ALL`: a scope that a later version brings would put
# every administrator above the programs and roles that had everything until then. A scope that gives
# power must stand here all the same, so each is decided upon (`tests/policy/test_management.py`). What
# does not is got at by whoever takes over an account that has it, and must be worth no more than that.
POWER: frozenset[str] = frozenset(
    {
        "users:read",
        "users:write",
        "credentials:write",
        "roles:read",
        "roles:write",
        "clients:read",
        "clients:write",
        "sessions:read",
        "sessions:revoke",
        "rules:read",
        "rules:write",
        "events:read",
        "events:export",
        "keys:read",
        "keys:rotate",
    }
)

ADMINISTRATOR = "administrator"
# The roles every deployment begins with. They are rows like any other and may be changed.
ROLES: Mapping[str, tuple[Scope, ...]] = {
    ADMINISTRATOR: SCOPES,
    "auditor": tuple(scope for scope in SCOPES if scope.endswith(":read")),
    "support": ("users:read", "sessions:read", "sessions:revoke"),
}


def rights_in(permissions: Iterable[str]) -> frozenset[str]:
    """What of these permissions or scopes is a right over this product."""
    return ALL.intersection(permissions)


def is_above(held: Iterable[str], rights: frozenset[str]) -> bool:
    """Whether who holds these permissions has a power that a caller with `rights` has not, so that
    the caller may not act on them.
    """
    return not POWER.intersection(held) <= rights


def gives_more(wanted: Iterable[str], rights: frozenset[str]) -> bool:
    """Whether among these permissions is a right that a caller with `rights` has not, so that the
    caller may not hand them out.
    """
    return not rights_in(wanted) <= rights
