"""Our own APIs as resource servers: bearer token in, who is asking out, and how surely it is them.

A token of the self-service API speaks for a person. One of the management API may also speak for an
app by itself (client credentials), but only for an app that was registered for management.
Specs: RFC 6750, RFC 9470.
"""

from dataclasses import dataclass

from idp.clock import Instant, to_rfc3339
from idp.oauth import standing, token_state
from idp.oauth.facts import BY_AUTHORIZATION, AuthorizationFacts, TokenFacts, token_facts
from idp.oauth.provider import Provider
from idp.oauth.token_state import PresentedToken
from idp.oauth.userinfo import BearerError, insufficient_scope, invalid_token, require
from idp.policy import assurance, management
from idp.policy.assurance import Demand
from idp.sessions import endings


@dataclass(frozen=True, slots=True)
class Caller:
    """The person an API call is made for, and through which session and app.

    `acr`, `auth_time` and `amr` are what the person had proved for this token, and how: what their
    session proved since is no concern of an app that did not ask for it.
    """

    user_id: str
    session_id: str
    client_id: str
    scope: frozenset[str]
    acr: str
    auth_time: Instant
    amr: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Manager:
    """Who calls the management API: an app for itself, or for the `person` behind its token.

    `rights` are the scopes of the token, which for a person are some of what their roles give.
    """

    client_id: str
    rights: frozenset[str]
    person: Caller | None


def authenticate(provider: Provider, text: str, *, scope: str) -> Caller:
    """Who calls with this access token; raises `BearerError` when it is not good or lacks `scope`."""
    now = provider.work.clock.now()
    token, facts = _presented(provider, text, now)
    try:
        require(token, facts, provider, now, scope=scope)
    except BearerError as error:
        is_meant = token.access is not None and scope in token.access.scope.split()
        raise (_with_the_end(error, token, facts, provider) if is_meant else error) from None
    if facts.authorization is None:
        raise invalid_token()
    return _caller(facts.authorization, token)


def authenticate_manager(provider: Provider, text: str, *, scope: str) -> Manager:
    """Who calls the management API with this access token; raises `BearerError` as above."""
    return _manager(provider, text, scope=scope, read_at=provider.work.clock.now())


def is_still_manager(provider: Provider, text: str, *, scope: str, since: Instant) -> bool:
    """Whether an answer that was begun at `since` may go on: everything is asked again but for how
    long the token lives, which is for beginning one.
    """
    try:
        _manager(provider, text, scope=scope, read_at=since)
    except BearerError:
        return False
    return True


def _manager(provider: Provider, text: str, *, scope: str, read_at: Instant) -> Manager:
    now = provider.work.clock.now()
    token, facts = _presented(provider, text, read_at)
    access, client = token.access, facts.client
    if access is None or client is None or not token_state.is_good(token, facts, provider, now):
        raise _with_the_end(invalid_token(), token, facts, provider)
    if provider.settings.issuer not in access.audience:
        raise invalid_token()
    # A client of before these scopes had a meaning may have some of these names: they open nothing.
    granted = access.scope.split() if client.management else []
    if scope not in granted:
        raise insufficient_scope(scope)
    person = _caller(facts.authorization, token) if facts.authorization is not None else None
    if person is not None:
        # A browser that is only remembered is no administrator.
        require_proof(person, Demand(assurance.PROVED), max_age=None)
    return Manager(client.id, management.rights_in(granted), person)


def _presented(provider: Provider, text: str, now: Instant) -> tuple[PresentedToken, TokenFacts]:
    """An access token that we made, with its facts."""
    token = token_state.read(text, provider, now)
    if token is None or token.access is None:
        raise invalid_token()
    row = provider.work.database.query(
        BY_AUTHORIZATION,
        token.facts_parameters() | {"client_id": token.access.client_id, "assertion_jti": ""},
    )
    return token, token_facts(row)


def _caller(authorization: AuthorizationFacts, token: PresentedToken) -> Caller:
    return Caller(
        user_id=authorization.user_id,
        session_id=authorization.session_id,
        client_id=authorization.client_id,
        scope=frozenset(token.access.scope.split() if token.access is not None else ()),
        acr=authorization.acr,
        auth_time=authorization.auth_time,
        amr=tuple(authorization.amr),
    )


def _with_the_end(
    error: BearerError, token: PresentedToken, facts: TokenFacts, provider: Provider
) -> BearerError:
    """The refusal of a token for us that is bad only because its session is over says so."""
    session, now = facts.session, provider.work.clock.now()
    if error.code != "invalid_token" or session is None or facts.access_token_revoked:
        return error
    if token.access is None or provider.settings.issuer not in token.access.audience:
        return error
    if standing.refusal(facts, now) != "session_ended":
        return error
    reason = endings.reason_of(session, now) or ""
    members = {"reason": reason, "ended_at": to_rfc3339(endings.ended_at(session))}
    return BearerError(401, "invalid_token", endings.told_to_app(reason), members=members)


def require_proof(caller: Caller, demand: Demand, *, max_age: int | None) -> None:
    """Lets pass who proved enough; raises the challenge of RFC 9470 section 3, with `max_age` if any.

    `auth_time` is the moment of the oldest proof that `acr` needs, so the two are looked at singly.
    A grant keeps what was proved as `amr`: one that rests on another device's approval, in part too,
    proves nothing where that does not count. A new proof does, so the challenge wants one of now.
    """
    let_in = assurance.PAIRING in demand.excluded and assurance.LET_IN in caller.amr
    is_fresh = caller.auth_time >= demand.since
    if assurance.reaches(caller.acr, demand.acr) and is_fresh and not let_in:
        return
    if let_in and max_age is not None:
        max_age = 0
    raise BearerError(
        401,
        "insufficient_user_authentication",
        "This needs a surer or a more recent sign-in.",
        {"acr_values": demand.acr} | ({"max_age": str(max_age)} if max_age is not None else {}),
    )
