"""The refresh token grant (RFC 6749 section 6, RFC 9700 section 4.14, rows K2 to K4).

Every use rotates. Whoever lost the answer may ask again within the grace and gets the same
successor; whoever presents an older token has stolen it, or was stolen from, and the family ends.
"""

from typing import TYPE_CHECKING

from authlib.oauth2.rfc6749 import InvalidGrantError, InvalidScopeError
from authlib.oauth2.rfc6749 import grants as authlib_grants

from idp.events.catalogue import TokenRefreshed
from idp.oauth import authorizations, refresh_token, standing
from idp.oauth.client_auth import METHODS
from idp.oauth.facts import AuthorizationFacts, ClientFacts, UserFacts
from idp.sessions import hot

if TYPE_CHECKING:
    from idp.oauth.server import Server


class RefreshTokenGrant(authlib_grants.RefreshTokenGrant):
    """Rotates a refresh token on preloaded facts."""

    TOKEN_ENDPOINT_AUTH_METHODS = METHODS
    INCLUDE_NEW_REFRESH_TOKEN = True
    server: "Server"

    def authenticate_refresh_token(self, text: str) -> AuthorizationFacts | None:
        server = self.server
        provider = server.provider
        client: ClientFacts = self.request.client
        presented, found = refresh_token.parse(text), server.facts.authorization
        if presented is None or found is None or found.client_id != client.id:
            return None
        if not presented.is_authentic(found, provider.vault):
            return None
        self.state = refresh_token.state(
            presented, found, grace=provider.settings.tokens.refresh_grace, now=server.now
        )
        if self.state == "reused":
            server.decision.consequence = lambda unit: authorizations.end_reused(
                unit,
                found.id,
                kind="refresh_token",
                reason="refresh_reused",
                client_id=client.id,
            )
        if self.state not in ("current", "retry"):
            return None
        server.refresh_salt = found.refresh_salt
        server.refresh_generation = presented.generation + 1
        return found

    def _validate_token_scope(self, token: AuthorizationFacts) -> None:
        """A refresh may ask for less, never for more (RT-13); authlib lets blanks through."""
        scope = self.request.payload.scope
        if scope is not None and not set(scope.split(" ")) <= set(token.scope.split()):
            raise InvalidScopeError("The scope is more than was granted.")

    def authenticate_user(self, refresh_token: AuthorizationFacts) -> UserFacts:
        facts = self.server.facts
        if standing.refusal(facts, self.server.now) is not None or facts.user is None:
            raise InvalidGrantError(standing.in_words(facts, self.server.now))
        withheld = standing.withheld(facts, self.server.provider.rules.current(), self.server.now)
        if withheld is not None:
            raise withheld
        if facts.session is not None:
            # A retry is no further activity.
            after = hot.idle_at_after(facts.session, self.server.now)
            self.server.idle_at = after if self.state == "current" else facts.session.idle_at
            self.server.refresh_expires_at = refresh_token.refresh_expires_at
        return facts.user

    def revoke_old_credential(self, refresh_token: AuthorizationFacts) -> None:
        if self.state == "retry":
            return
        server, found = self.server, refresh_token
        # The session before the authorization, as where a session ends (no deadlock).
        server.writes.extend(hot.touching(server.facts.session, server.now))
        server.writes.append(
            authorizations.rotate(found.id, found.refresh_generation, now=server.now)
        )
        server.record(
            TokenRefreshed(
                actor="client",
                actor_id=found.client_id,
                user_id=found.user_id,
                session_id=found.session_id,
                client_id=found.client_id,
                authorization_id=found.id,
                generation=server.refresh_generation,
            )
        )
