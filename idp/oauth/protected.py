"""Our own APIs as resource servers: bearer token in, who is asking out."""

from dataclasses import dataclass

from idp.oauth import token_state
from idp.oauth.facts import BY_AUTHORIZATION, token_facts
from idp.oauth.provider import Provider
from idp.oauth.userinfo import invalid_token, require


@dataclass(frozen=True, slots=True)
class Caller:
    """The person an API call is made for, and through which session and app."""

    user_id: str
    session_id: str
    client_id: str
    scope: frozenset[str]


def authenticate(provider: Provider, text: str, *, scope: str) -> Caller:
    """Who calls with this access token; raises `BearerError` when it is not good or lacks `scope`."""
    now = provider.work.clock.now()
    token = token_state.read(text, provider, now)
    if token is None or token.access is None:
        raise invalid_token()
    row = provider.work.database.query(
        BY_AUTHORIZATION,
        token.facts_parameters() | {"client_id": "", "assertion_jti": ""},
    )
    facts = token_facts(row)
    require(token, facts, provider, now, scope=scope)
    if facts.authorization is None:
        raise invalid_token()
    return Caller(
        user_id=facts.authorization.user_id,
        session_id=facts.authorization.session_id,
        client_id=facts.authorization.client_id,
        scope=frozenset(token.access.scope.split()),
    )
