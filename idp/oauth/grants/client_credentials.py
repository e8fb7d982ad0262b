"""The client credentials grant (RFC 6749 section 4.4): an app acting for itself.

No person, no session, no refresh token, and nothing to write: the token names the client's
generation, which an administrator raises to refuse every token made before.
"""

from typing import TYPE_CHECKING, Any

from authlib.oauth2.rfc6749 import InvalidScopeError, UnauthorizedClientError
from authlib.oauth2.rfc6749 import grants as authlib_grants

from idp.oauth.client_auth import METHODS
from idp.oauth.facts import ClientFacts

if TYPE_CHECKING:
    from idp.oauth.server import Server

# About a person, so never given to an app acting for itself.
_PERSONAL = frozenset(
    {"openid", "profile", "email", "address", "phone", "roles", "sessions", "offline_access"}
)


class ClientCredentialsGrant(authlib_grants.ClientCredentialsGrant):
    """Mints a token for the client itself."""

    TOKEN_ENDPOINT_AUTH_METHODS = METHODS
    server: "Server"

    def validate_requested_scope(self) -> None:
        client: ClientFacts = self.request.client
        if client.is_public:
            raise UnauthorizedClientError("A public client cannot act for itself.")
        registered = [one for one in client.scope.split() if one not in _PERSONAL]
        asked = self.request.payload.scope
        wanted = asked.split(" ") if asked is not None else []
        if not set(wanted) <= set(registered):
            raise InvalidScopeError("The scope is more than the client may have.")
        self.granted = " ".join(dict.fromkeys(wanted)) or " ".join(registered)

    def generate_token(self, **kwargs: Any) -> dict[str, Any]:
        return super().generate_token(**{**kwargs, "scope": self.granted})  # type: ignore[no-any-return]
