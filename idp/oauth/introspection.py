"""Token introspection (RFC 7662): the truth about a token, at once after every revocation.

A caller sees a token that is its own, an access token that is meant for it (audience), or any access
token when it is registered as a resource server (`introspects_all`). To everybody else every token is
inactive: a refresh token that somebody shows to an API must not pass for an access token there.
"""

from typing import Any

from authlib.oauth2.rfc6749 import InvalidClientError, InvalidRequestError, OAuth2Error

from idp.clock import Instant, to_seconds
from idp.oauth import client_auth, token_state
from idp.oauth.client_auth import Presented
from idp.oauth.facts import ClientFacts, TokenFacts
from idp.oauth.provider import Decision, Provider, json_answer
from idp.oauth.server import error_answer
from idp.oauth.token_state import PresentedToken

_INACTIVE = {"active": False}


def decide(
    form: dict[str, str],
    presented: Presented,
    token: PresentedToken | None,
    facts: TokenFacts,
    provider: Provider,
    now: Instant,
) -> Decision:
    """Answers an introspection request from facts."""
    try:
        client, writes = client_auth.verify(presented, facts, provider, now)
        if client.is_public:
            raise InvalidClientError("A public client cannot introspect.", status_code=401)
        if "token" not in form:
            raise InvalidRequestError("The parameter token is missing.")
    except OAuth2Error as error:
        return Decision(error_answer(error))
    body: dict[str, Any] = _INACTIVE
    if (
        token is not None
        and _may_see(client, token, facts)
        and token_state.is_good(token, facts, provider, now)
    ):
        body = _describe(token, facts, provider)
    return Decision(json_answer(200, body), writes)


def _may_see(client: ClientFacts, token: PresentedToken, facts: TokenFacts) -> bool:
    if token.access is not None:
        is_meant = client.id == token.access.client_id or client.id in token.access.audience
        return is_meant or bool(client.introspects_all)
    return facts.authorization is not None and client.id == facts.authorization.client_id


def _describe(token: PresentedToken, facts: TokenFacts, provider: Provider) -> dict[str, Any]:
    body: dict[str, Any] = {"active": True, "iss": provider.settings.issuer}
    if token.access is not None:
        body |= {
            "token_type": "Bearer",
            "client_id": token.access.client_id,
            "aud": list(token.access.audience),
            "iat": token.access.issued_at,
            "exp": token.access.expires_at,
            "jti": token.access.jti,
        }
        if token.access.scope:
            # A scope of none is no scope (RFC 6749 section 3.3).
            body["scope"] = token.access.scope
        if token.access.authorization_id is None:
            return body | {"sub": token.access.client_id}
    authorization, user = facts.authorization, facts.user
    if authorization is None or user is None:
        raise RuntimeError("a good token has its authorization and its person")
    if token.refresh is not None:
        body |= {"scope": authorization.scope, "client_id": authorization.client_id}
        if authorization.refresh_expires_at is not None:
            body["exp"] = to_seconds(authorization.refresh_expires_at)
    return body | {
        "sub": user.id,
        "username": user.username,
        "sid": authorization.session_id,
        "auth_time": to_seconds(authorization.auth_time),
        "acr": authorization.acr,
        "amr": authorization.amr,
    }
