"""Initial access tokens: leave that an administrator gives for apps to register themselves.

A token is good so many times and so long, and bounds what registers with it: scopes, grant types, and
the hosts of every address that it names. The bounds outlive the token: they hold for each later
change of those apps. Only a digest of a token is kept. Specs: RFC 7591 sections 1.2 and 3.
"""

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from sqlalchemy import select, update

from idp import ids
from idp.clock import SECOND
from idp.errors import Refused
from idp.events.actor import Actor
from idp.events.catalogue import InitialAccessAllowed, InitialAccessRevoked
from idp.oauth.clients import NAME_MAXIMUM
from idp.oauth.model import InitialAccessToken
from idp.oauth.server import GRANT_TYPES
from idp.policy import management as rights
from idp.storage.unit_of_work import UnitOfWork

USES_MAXIMUM = 1_000
SECONDS_MAXIMUM = 366 * 86_400
HOSTS_MAXIMUM = 50
PREFIX = "idp_ini_"
# A host; with a dot in front also what stands below it; a scheme of a native app with its colon.
_HOST = re.compile(r"\.?[a-z0-9-]+(\.[a-z0-9-]+)*|\[[0-9a-f:.]+\]")
_SCHEME = re.compile(r"[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+:")


def allow(
    unit: UnitOfWork,
    *,
    name: str,
    scope: str,
    grant_types: Sequence[str],
    redirect_hosts: Sequence[str],
    uses: int,
    seconds: int,
    actor: Actor,
) -> tuple[InitialAccessToken, str]:
    """Makes an initial access token; gives it and its text, which is shown only now.

    Raises `Refused` (`invalid_initial_access`).
    """
    problem = _problem(name, scope, grant_types, redirect_hosts, uses, seconds)
    if problem is not None:
        raise Refused("invalid_initial_access", problem)
    text = PREFIX + ids.new_secret()
    made = InitialAccessToken(
        id=ids.new("ini"),
        name=name,
        token_hash=ids.digest(text),
        scope=" ".join(dict.fromkeys(scope.split())),
        grant_types=list(dict.fromkeys(grant_types)),
        redirect_hosts=list(dict.fromkeys(redirect_hosts)),
        uses=uses,
        uses_left=uses,
        created_at=unit.now,
        created_by=(actor.id or actor.kind)[:64],
        expires_at=unit.now + seconds * SECOND,
    )
    unit.orm.add(made)
    unit.record(
        InitialAccessAllowed(
            actor=actor.kind,
            actor_id=actor.id,
            token=made.id,
            scope=made.scope,
            grant_types=made.grant_types,
            redirect_hosts=made.redirect_hosts,
            uses=uses,
        )
    )
    return made, text


def is_known(unit: UnitOfWork, text: str) -> bool:
    """Whether a token is good now; whoever spends it asks again."""
    wanted = select(InitialAccessToken).where(InitialAccessToken.token_hash == ids.digest(text))
    token = unit.orm.scalar(wanted)
    return token is not None and is_good(token, unit.now)


def spend(unit: UnitOfWork, text: str) -> InitialAccessToken | None:
    """Takes one use of a token, in the transaction that registers the app; None if it is not good."""
    spent = unit.connection.scalar(
        update(InitialAccessToken)
        .where(
            InitialAccessToken.token_hash == ids.digest(text),
            InitialAccessToken.uses_left > 0,
            InitialAccessToken.expires_at > unit.now,
            InitialAccessToken.revoked_at.is_(None),
        )
        .values(uses_left=InitialAccessToken.uses_left - 1)
        .returning(InitialAccessToken.id)
    )
    return unit.orm.get_one(InitialAccessToken, spent) if spent is not None else None


def revoke(unit: UnitOfWork, token: InitialAccessToken, actor: Actor) -> None:
    """Lets nobody register with a token any more; apps that did so stay."""
    if token.revoked_at is not None:
        return
    token.revoked_at = unit.now
    unit.record(InitialAccessRevoked(actor=actor.kind, actor_id=actor.id, token=token.id))


def all_of(unit: UnitOfWork) -> list[InitialAccessToken]:
    """Every token that was ever made, the newest first."""
    newest = (InitialAccessToken.created_at.desc(), InitialAccessToken.id)
    return list(unit.orm.scalars(select(InitialAccessToken).order_by(*newest)))


def is_good(token: InitialAccessToken, now: int) -> bool:
    """Whether another app may be registered with it."""
    return token.uses_left > 0 and token.expires_at > now and token.revoked_at is None


def allows_address(token: InitialAccessToken, address: str) -> bool:
    """Whether an app may name this address: its host is listed, or below one with a dot in front.

    Compared label by label, so that `.example.com` allows neither `badexample.com` nor itself (CL-02).
    """
    try:
        parts = urlsplit(address)
        host = parts.hostname
    except ValueError:
        return False
    if host is None or parts.scheme not in ("https", "http"):
        # A scheme of its own is where the address leads, whatever it calls a host.
        return f"{parts.scheme}:" in token.redirect_hosts
    named = f"[{host}]" if ":" in host else host
    return any(
        named.endswith(one) and named != one[1:] if one.startswith(".") else named == one
        for one in token.redirect_hosts
    )


def _problem(
    name: str,
    scope: str,
    grant_types: Sequence[str],
    redirect_hosts: Sequence[str],
    uses: int,
    seconds: int,
) -> str | None:
    if not name.strip() or len(name) > NAME_MAXIMUM or not name.isprintable():
        return f"The name of an initial access token has 1 to {NAME_MAXIMUM} visible characters."
    if rights.rights_in(scope.split()):
        return "An app that registers itself may have no scopes of the management API."
    unknown = [one for one in grant_types if one not in GRANT_TYPES]
    if unknown or not grant_types:
        return f"Its grant types are some of: {', '.join(GRANT_TYPES)}."
    odd = [one for one in redirect_hosts if not (_HOST.fullmatch(one) or _SCHEME.fullmatch(one))]
    if odd or len(redirect_hosts) > HOSTS_MAXIMUM:
        return (
            "A host is written as app.example.com, as .example.com for all below example.com, or "
            "as com.example.app: for a native app; there are no wildcards."
        )
    if "authorization_code" in grant_types and not redirect_hosts:
        return "Say at which hosts apps may be that sign people in by a redirect."
    if not 1 <= uses <= USES_MAXIMUM:
        return f"An initial access token is good for 1 to {USES_MAXIMUM} apps."
    if not 60 <= seconds <= SECONDS_MAXIMUM:
        return "An initial access token is good for a minute to a year."
    return None
