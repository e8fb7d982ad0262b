"""The device authorization endpoint (RFC 8628 sections 3.1 and 3.2): an app asks for a person.

Owns checking the request and making the two codes: the device code, of which only a digest is kept,
and the code that people type. Nothing is given here; a person must answer (`idp.web.device`).
"""

from collections.abc import Mapping
from typing import Any

from authlib.oauth2.rfc6749 import UnauthorizedClientError
from authlib.oauth2.rfc6749.errors import InvalidScopeError
from sqlalchemy import bindparam
from sqlalchemy.dialects import postgresql, sqlite

from idp import ids
from idp.clock import SECOND, Instant
from idp.errors import Refused, Unavailable
from idp.oauth import authorization_request, client_auth
from idp.oauth.client_auth import Presented
from idp.oauth.facts import ClientFacts, TokenFacts
from idp.oauth.grants.device_code import DEVICE_CODE
from idp.oauth.provider import Answer, Decision, Provider, json_answer
from idp.policy.assurance import bar
from idp.sessions import pairing, pairing_details, pairing_room, user_code
from idp.sessions.device import Visit
from idp.sessions.model import Pairing
from idp.sessions.pairing_details import Details
from idp.storage.database import HotStatement, Write
from idp.users.throttle import network_of

# Seconds between two polls (RFC 8628 section 3.2).
INTERVAL = 5


def _begin(dialect: Any) -> HotStatement:
    columns = (
        "id", "kind", "state", "code_hash", "user_code_hash", "client_id", "network_hash",
        "details", "scope", "acr", "poll_interval", "next_poll_at", "created_at", "expires_at",
    )  # fmt: skip
    row = dialect.insert(Pairing).values({name: bindparam(name) for name in columns})
    # Should the short code be taken, another one is drawn.
    return HotStatement(row.on_conflict_do_nothing(), must_change=True)


_BEGIN = {True: _begin(sqlite), False: _begin(postgresql)}


def decide(
    form: Mapping[str, str],
    presented: Presented,
    facts: TokenFacts,
    asker: Visit,
    provider: Provider,
    now: Instant,
) -> Decision:
    """Answers a device authorization request from facts."""
    client, writes = client_auth.verify(presented, facts, provider, now)
    if not client.check_grant_type(DEVICE_CODE):
        raise UnauthorizedClientError("The client may not use the device grant.")
    scope, acr = _scope(form.get("scope"), client), bar(form.get("acr_values", "").split())
    _require_room(client, asker, provider)
    device_code, typed = f"dc_{ids.new_secret()}", user_code.make()
    lifetime = provider.settings.tokens.device_code_lifetime
    pairing_id, vault = ids.new("par"), provider.vault
    begun = Write(
        _BEGIN[provider.work.database.is_sqlite],
        {
            "id": pairing_id,
            "kind": "device",
            "state": "pending",
            "code_hash": ids.digest(device_code),
            "user_code_hash": user_code.digest(typed, vault),
            "client_id": client.id,
            "network_hash": pairing.network_hash(vault, asker.ip),
            "details": pairing_details.sealed(vault, pairing_id, Details(typed, asker=asker)),
            "scope": scope,
            "acr": acr,
            "poll_interval": INTERVAL * SECOND,
            "next_poll_at": 0,
            "created_at": now,
            "expires_at": now + lifetime * SECOND,
        },
    )
    return Decision(_answer(device_code, typed, lifetime, provider), [*writes, begun])


def _answer(device_code: str, typed: str, lifetime: int, provider: Provider) -> Answer:
    address = f"{provider.settings.issuer}/device"
    return json_answer(
        200,
        {
            "device_code": device_code,
            "user_code": typed,
            "verification_uri": address,
            "verification_uri_complete": f"{address}?user_code={typed}",
            "expires_in": lifetime,
            "interval": INTERVAL,
        },
    )


def _scope(asked: str | None, client: ClientFacts) -> str:
    """Nothing is left out in silence: a device cannot show its person what it did not get (RT-13)."""
    scope = authorization_request.requested_scope(asked, client)
    if not set((asked or "").split()) <= {*client.scope.split(), "offline_access"}:
        raise InvalidScopeError("The scope is more than the client may have.")
    return scope


def _require_room(client: ClientFacts, asker: Visit, provider: Provider) -> None:
    """Bounds what can be asked for without a secret: by address, and altogether (DS-08).

    These counts may be lost with the Store: they protect the table's size, and the codes are counted
    elsewhere.
    """
    if not pairing_room.has_room(provider.store):
        raise Unavailable("too many codes are waiting", retry_after=60)
    if not client.is_public:
        return
    limits = provider.settings.throttle
    asked = provider.store.increment(f"pairings:{network_of(asker.ip)}", limits.window * SECOND)
    if asked > limits.per_address_pairings:
        raise Refused(
            "temporarily_unavailable",
            "Too many codes were asked for from this address.",
            429,
            retry_after=limits.window,
        )
