"""The authorization code grant (RFC 6749 section 4.1, RFC 7636, RFC 9700 section 2.1.1).

A code is redeemed once, by the client it was made for, with the redirect URI and the verifier of
its request. A second redemption, or one by another client, ends the whole grant.
"""

import re
import secrets
from typing import TYPE_CHECKING, Any

from authlib.oauth2.rfc6749 import InvalidGrantError, InvalidRequestError
from authlib.oauth2.rfc6749 import grants as authlib_grants
from authlib.oauth2.rfc7636 import CodeChallenge, create_s256_code_challenge

from idp.events.catalogue import CodeRedeemed
from idp.oauth import authorizations, standing
from idp.oauth.client_auth import METHODS
from idp.oauth.facts import AuthorizationFacts, ClientFacts, UserFacts
from idp.sessions import hot

if TYPE_CHECKING:
    from idp.oauth.server import Server

CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


class AuthorizationCodeGrant(authlib_grants.AuthorizationCodeGrant):
    """Redeems a code on preloaded facts."""

    TOKEN_ENDPOINT_AUTH_METHODS = METHODS
    server: "Server"

    def query_authorization_code(self, code: str, client: ClientFacts) -> AuthorizationFacts | None:
        found = self.server.facts.authorization
        if found is None or found.code_expires_at is None:
            return None
        if found.client_id != client.id:
            # Stolen in transit (AC-02): neither the thief nor the owner may use it any more.
            self._end(found, "code_stolen", client)
            return None
        if found.code_redeemed_at is not None:
            self._end(found, "code_reused", client)
            return None
        if self.server.now >= found.code_expires_at:
            return None
        return found

    def authenticate_user(self, authorization_code: AuthorizationFacts) -> UserFacts:
        facts = self.server.facts
        if standing.refusal(facts, self.server.now) is not None or facts.user is None:
            raise InvalidGrantError(standing.in_words(facts, self.server.now))
        withheld = standing.withheld(facts, self.server.provider.rules.current(), self.server.now)
        if withheld is not None:
            raise withheld
        self.server.begin_refreshing(self.request.client)
        return facts.user

    def delete_authorization_code(self, authorization_code: AuthorizationFacts) -> None:
        server, found = self.server, authorization_code
        client: ClientFacts = self.request.client
        # An app that gets tokens is told of the session's end: neither may miss the other.
        server.writes.extend(hot.holding(server.facts.session))
        server.writes.extend(hot.touching(server.facts.session, server.now))
        server.writes.append(
            authorizations.redeem(
                found.id,
                salt=server.refresh_salt,
                family_expires_at=server.refresh_expires_at,
                now=server.now,
            )
        )
        server.record(
            CodeRedeemed(
                actor="client",
                actor_id=client.id,
                user_id=found.user_id,
                session_id=found.session_id,
                client_id=client.id,
                authorization_id=found.id,
            )
        )

    def _end(
        self, found: AuthorizationFacts, reason: authorizations.EndReason, client: ClientFacts
    ) -> None:
        self.server.decision.consequence = lambda unit: authorizations.end_reused(
            unit, found.id, kind="code", reason=reason, client_id=client.id
        )


class Pkce(CodeChallenge):
    """Proof Key for Code Exchange: S256 only, asked of every client unless its row says otherwise.

    authlib's own extension accepts `plain`, defaults to it, and asks only public clients.
    """

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
        values: dict[str, str] = grant.request.payload.data
        client: ClientFacts = grant.request.client
        challenge, method = values.get("code_challenge"), values.get("code_challenge_method")
        if challenge is None:
            # A nonce is not asked for in its place: it is the app that checks it, or does not, and the
            # certification plans have a request with neither.
            if client.require_pkce or client.is_public or method is not None:
                raise InvalidRequestError("code_challenge is required.")
            return
        if method != "S256":
            raise InvalidRequestError("code_challenge_method must be S256.")
        if not CHALLENGE.fullmatch(challenge):
            raise InvalidRequestError("code_challenge is not a SHA-256 in base64url.")

    def validate_code_verifier(self, grant: Any, result: Any) -> None:
        del result
        verifier = grant.request.form.get("code_verifier")
        found: AuthorizationFacts = grant.request.authorization_code
        client: ClientFacts = grant.request.client
        if found.code_challenge is None:
            if verifier is not None or client.require_pkce:
                # RFC 9700 section 4.8.2: a verifier without a challenge is a downgrade.
                raise InvalidGrantError("code_verifier does not match.")
            return
        if verifier is None:
            raise InvalidGrantError("code_verifier is missing.")
        if not VERIFIER.fullmatch(verifier):
            raise InvalidGrantError("code_verifier does not match.")
        if not secrets.compare_digest(create_s256_code_challenge(verifier), found.code_challenge):
            raise InvalidGrantError("code_verifier does not match.")
