"""Whether a presented token is good now, and whose it is: one answer for every endpoint that asks.

Introspection, revocation, userinfo and our own API read a token here. An access token or a refresh
token of ours leads to its facts; `standing` decides.
"""

from dataclasses import dataclass
from typing import Any, Literal

from idp.clock import Instant
from idp.oauth import access_token, refresh_token, standing
from idp.oauth.access_token import AccessToken
from idp.oauth.facts import TokenFacts
from idp.oauth.provider import Provider
from idp.oauth.refresh_token import RefreshToken


@dataclass(frozen=True, slots=True)
class PresentedToken:
    """A token that was read, before anything was asked of the database."""

    kind: Literal["access_token", "refresh_token"]
    access: AccessToken | None = None
    refresh: RefreshToken | None = None

    def facts_parameters(self) -> dict[str, Any]:
        """What selects the facts of this token in `facts.BY_AUTHORIZATION`."""
        if self.access is not None:
            return {
                "authorization_id": self.access.authorization_id or "",
                "owner_id": self.access.client_id,
                "jti": self.access.jti,
            }
        name = self.refresh.authorization_id if self.refresh else ""
        return {"authorization_id": name, "owner_id": "", "jti": ""}


def read(text: str, provider: Provider, now: Instant) -> PresentedToken | None:
    """Takes a token apart; None when it is not one of ours, was altered, or has expired."""
    found = refresh_token.parse(text)
    if found is not None:
        return PresentedToken("refresh_token", refresh=found)
    access = access_token.read(
        text,
        vault=provider.vault,
        keyring=provider.keyring,
        issuer=provider.settings.issuer,
        now=now,
    )
    return PresentedToken("access_token", access=access) if access is not None else None


def is_good(token: PresentedToken, facts: TokenFacts, provider: Provider, now: Instant) -> bool:
    """Whether the token is honoured at this moment."""
    if token.access is not None:
        return _access_is_good(token.access, facts, now)
    if token.refresh is None or not belongs(token, facts, provider) or not facts.authorization:
        return False
    grace = provider.settings.tokens.refresh_grace
    state = refresh_token.state(token.refresh, facts.authorization, grace=grace, now=now)
    return state == "current" and standing.refusal(facts, now) is None


def belongs(token: PresentedToken, facts: TokenFacts, provider: Provider) -> bool:
    """Whether the token was really made for the authorization in `facts`, good or not."""
    if token.access is not None:
        # Its seal or signature was checked when it was read.
        return facts.authorization is not None or token.access.authorization_id is None
    return (
        token.refresh is not None
        and facts.authorization is not None
        and token.refresh.is_authentic(facts.authorization, provider.vault)
    )


def _access_is_good(token: AccessToken, facts: TokenFacts, now: Instant) -> bool:
    if facts.access_token_revoked or facts.owner_disabled:
        return False
    if token.authorization_id is None:
        return token.generation >= facts.owner_generation and set(token.scope.split()) <= set(
            facts.owner_scope.split()
        )
    return standing.refusal(facts, now) is None
