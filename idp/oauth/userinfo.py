"""The userinfo endpoint (OpenID Connect Core section 5.3) and bearer tokens at our own endpoints.

Bearer errors as RFC 6750 section 3 names them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from idp.clock import Instant
from idp.oauth import claims, token_state
from idp.oauth.facts import TokenFacts
from idp.oauth.provider import REALM, Answer, Decision, Provider, json_answer
from idp.oauth.token_state import PresentedToken


@dataclass(eq=False)
class BearerError(Exception):
    """Why a bearer token was not accepted; `code` is None when none was sent.

    `asked` is what would be enough: `scope`, or `acr_values` and `max_age` (RFC 9470 section 3).
    `members` are what else our API says of it.
    """

    status: int
    code: str | None
    description: str
    asked: Mapping[str, str] = field(default_factory=dict)
    members: Mapping[str, str] = field(default_factory=dict)

    def challenge(self) -> str:
        """The value of `WWW-Authenticate`; without a code it says no more than how to ask."""
        told: dict[str, str] = {"realm": REALM}
        if self.code is not None:
            told |= {"error": self.code, "error_description": self.description, **self.asked}
        return "Bearer " + ", ".join(f'{name}="{value}"' for name, value in told.items())


def bearer_token(headers: Mapping[str, str], form: Mapping[str, str] | None = None) -> str:
    """The token of a request, from one place only (RFC 6750 section 2)."""
    header = headers.get("authorization", "")
    scheme, _, value = header.partition(" ")
    in_form = (form or {}).get("access_token")
    if header and scheme.lower() != "bearer":
        raise BearerError(401, None, "A bearer token is required.")
    if header and in_form:
        raise BearerError(400, "invalid_request", "The token was sent twice.")
    token = value.strip() or in_form
    if not token:
        raise BearerError(401, None, "A bearer token is required.")
    return token


def invalid_token() -> BearerError:
    return BearerError(401, "invalid_token", "The access token is not valid.")


def insufficient_scope(scope: str) -> BearerError:
    return BearerError(
        403, "insufficient_scope", f"The scope {scope} is required.", {"scope": scope}
    )


def require(
    token: PresentedToken | None,
    facts: TokenFacts,
    provider: Provider,
    now: Instant,
    *,
    scope: str,
) -> None:
    """Lets a request pass whose access token is good, meant for us, and has `scope`."""
    access = token.access if token is not None else None
    if token is None or access is None or not token_state.is_good(token, facts, provider, now):
        raise invalid_token()
    if provider.settings.issuer not in access.audience or facts.user is None:
        raise invalid_token()
    if scope not in access.scope.split():
        raise insufficient_scope(scope)


def decide(
    token: PresentedToken | None, facts: TokenFacts, provider: Provider, now: Instant
) -> Decision:
    """Answers a userinfo request from facts."""
    try:
        require(token, facts, provider, now, scope="openid")
    except BearerError as error:
        return Decision(bearer_answer(error))
    if token is None or token.access is None or not facts.user or not facts.authorization:
        raise RuntimeError("require() has let through a token without a person")
    # Of what was asked for singly, only what the app's scopes give still.
    asked = claims.within(facts.authorization.claims, facts.owner_scope)
    body = claims.for_userinfo(facts.user, token.access.scope, asked, vault=provider.vault)
    return Decision(json_answer(200, body))


def bearer_answer(error: BearerError) -> Answer:
    """The error as an HTTP answer."""
    body = {"error": error.code or "invalid_request", "error_description": error.description}
    return json_answer(error.status, body, (("WWW-Authenticate", error.challenge()),))
