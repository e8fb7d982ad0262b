"""Our own APIs as resource servers: bearer token in, who is asking out, and how surely it is them.

Specs: RFC 6750, RFC 9470.
"""

from dataclasses import dataclass

from idp.clock import Instant, to_rfc3339
from idp.oauth import standing, token_state
from idp.oauth.facts import BY_AUTHORIZATION, TokenFacts, token_facts
from idp.oauth.provider import Provider
from idp.oauth.userinfo import BearerError, invalid_token, require
from idp.policy import assurance
from idp.policy.assurance import Demand
from idp.sessions import endings


@dataclass(frozen=True, slots=True)
class Caller:
    """The person an API call is made for, and through which session and app.

    `acr` and `auth_time` are what the person had proved for this token: what their session proved
    since is no concern of an app that did not ask for it.
    """

    user_id: str
    session_id: str
    client_id: str
    scope: frozenset[str]
    acr: str
    auth_time: Instant


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
    try:
        require(token, facts, provider, now, scope=scope)
    except BearerError as error:
        is_ours = provider.settings.issuer in token.access.audience
        if error.code == "invalid_token" and is_ours and scope in token.access.scope.split():
            raise _with_the_end(error, facts, now) from None
        raise
    if facts.authorization is None:
        raise invalid_token()
    return Caller(
        user_id=facts.authorization.user_id,
        session_id=facts.authorization.session_id,
        client_id=facts.authorization.client_id,
        scope=frozenset(token.access.scope.split()),
        acr=facts.authorization.acr,
        auth_time=facts.authorization.auth_time,
    )


def _with_the_end(error: BearerError, facts: TokenFacts, now: Instant) -> BearerError:
    """The refusal of a token that is bad only because its session is over says so."""
    session = facts.session
    if session is None or facts.access_token_revoked:
        return error
    if standing.refusal(facts, now) not in ("session_ended", "session_expired"):
        return error
    reason = endings.reason_of(session, now) or ""
    members = {"reason": reason, "ended_at": to_rfc3339(endings.ended_at(session))}
    return BearerError(401, "invalid_token", endings.told_to_app(reason), members=members)


def require_proof(caller: Caller, demand: Demand, *, max_age: int | None) -> None:
    """Lets pass who proved enough; raises the challenge of RFC 9470 section 3, with `max_age` if any.

    `auth_time` is the moment of the oldest proof that `acr` needs, so the two are looked at singly.
    """
    if assurance.reaches(caller.acr, demand.acr) and caller.auth_time >= demand.since:
        return
    raise BearerError(
        401,
        "insufficient_user_authentication",
        "This needs a surer or a more recent sign-in.",
        {"acr_values": demand.acr} | ({"max_age": str(max_age)} if max_age is not None else {}),
    )
