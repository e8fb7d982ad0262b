"""Token revocation (RFC 7009). A 200 means: durable, and refused everywhere from now on.

A refresh token ends its whole grant, with the access tokens of it; an access token ends alone. A
token that is unknown, foreign, or dead already gets the same 200 and changes nothing.
"""

from typing import Any

from authlib.oauth2.rfc6749 import InvalidRequestError, OAuth2Error
from sqlalchemy import bindparam
from sqlalchemy.dialects import postgresql, sqlite

from idp.clock import SECOND, Instant
from idp.events.actor import Actor
from idp.events.catalogue import TokenRevoked
from idp.events.log import hot_write
from idp.oauth import authorizations, client_auth, token_state
from idp.oauth.access_token import AccessToken
from idp.oauth.client_auth import Presented
from idp.oauth.facts import TokenFacts
from idp.oauth.model import RevokedAccessToken
from idp.oauth.provider import Decision, Provider, json_answer
from idp.oauth.server import error_answer
from idp.oauth.token_state import PresentedToken
from idp.storage.database import HotStatement, Write
from idp.storage.unit_of_work import UnitOfWork


def decide(
    form: dict[str, str],
    presented: Presented,
    token: PresentedToken | None,
    facts: TokenFacts,
    provider: Provider,
    now: Instant,
) -> Decision:
    """Answers a revocation request from facts."""
    try:
        client, writes = client_auth.verify(presented, facts, provider, now)
        if "token" not in form:
            raise InvalidRequestError("The parameter token is missing.")
    except OAuth2Error as error:
        return Decision(error_answer(error))
    decision = Decision(json_answer(200, {}), writes)
    if token is None or not token_state.belongs(token, facts, provider):
        return decision
    if token.access is not None:
        if token.access.client_id == client.id:
            decision.writes.extend(_revoking(token.access, facts, provider, now))
        return decision
    authorization = facts.authorization
    if authorization is not None and authorization.client_id == client.id:
        decision.consequence = lambda unit: _end(unit, authorization.id, client.id)
    return decision


def _end(unit: UnitOfWork, authorization_id: str, client_id: str) -> None:
    authorizations.end(
        unit, [authorization_id], reason="revoked_by_client", actor=Actor("client", client_id)
    )


def _insert(module: Any) -> HotStatement:
    return HotStatement(
        module.insert(RevokedAccessToken)
        .values(jti=bindparam("jti"), expires_at=bindparam("expires_at"))
        .on_conflict_do_nothing(),
        # Of two that revoke one token at once, one writes it, and the event beside it.
        must_change=True,
    )


_REVOKE = {True: _insert(sqlite), False: _insert(postgresql)}


def _revoking(
    token: AccessToken, facts: TokenFacts, provider: Provider, now: Instant
) -> list[Write]:
    if facts.access_token_revoked:
        return []
    authorization = facts.authorization
    event = TokenRevoked(
        actor="client",
        actor_id=token.client_id,
        client_id=token.client_id,
        user_id=authorization.user_id if authorization else None,
        session_id=authorization.session_id if authorization else None,
        jti=token.jti,
    )
    revoke = Write(
        _REVOKE[provider.work.database.is_sqlite],
        {"jti": token.jti, "expires_at": (token.expires_at + 60) * SECOND},
    )
    return [revoke, hot_write(event, now)]
