"""What this provider says of itself (OpenID Connect Discovery 1.0, RFC 8414).

Made once at start-up and served as ready bytes. It names only what is there.
"""

from typing import Any

from idp.languages import SHIPPED
from idp.oauth import claims, lifetimes
from idp.oauth.client_auth import ASSERTION_ALGORITHMS, METHODS
from idp.oauth.keys import ALGORITHMS
from idp.oauth.server import GRANT_TYPES
from idp.policy.assurance import LADDER
from idp.settings import Settings

SCOPES = (
    "openid", "profile", "email", "address", "phone", "offline_access", "roles", "sessions",
)  # fmt: skip


def document(settings: Settings) -> dict[str, Any]:
    """The metadata for both well-known locations."""
    issuer = settings.issuer
    registering = {"registration_endpoint": f"{issuer}/register"} if settings.registration else {}
    confidential = [method for method in METHODS if method != "none"]
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "userinfo_endpoint": f"{issuer}/userinfo",
        "jwks_uri": f"{issuer}/jwks",
        "introspection_endpoint": f"{issuer}/introspect",
        "revocation_endpoint": f"{issuer}/revoke",
        "end_session_endpoint": f"{issuer}/logout",
        "device_authorization_endpoint": f"{issuer}/device_authorization",
        **registering,
        "scopes_supported": list(SCOPES),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": list(GRANT_TYPES),
        "acr_values_supported": list(LADDER),
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": list(ALGORITHMS),
        "token_endpoint_auth_methods_supported": METHODS,
        "token_endpoint_auth_signing_alg_values_supported": ASSERTION_ALGORITHMS,
        "introspection_endpoint_auth_methods_supported": confidential,
        "introspection_endpoint_auth_signing_alg_values_supported": ASSERTION_ALGORITHMS,
        "revocation_endpoint_auth_methods_supported": METHODS,
        "revocation_endpoint_auth_signing_alg_values_supported": ASSERTION_ALGORITHMS,
        "display_values_supported": ["page"],
        "claim_types_supported": ["normal"],
        "claims_supported": [
            "sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "sid", "at_hash",
            "session_expiry",
            *claims.SUPPORTED,
        ],
        "claims_parameter_supported": True,
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
        "ui_locales_supported": list(SHIPPED),
        "prompt_values_supported": ["none", "login", "consent", "select_account"],
        "code_challenge_methods_supported": ["S256"],
        "refresh_token_expiration_types_supported": list(lifetimes.TYPES_SUPPORTED),
        "authorization_response_iss_parameter_supported": True,
        "backchannel_logout_supported": True,
        "backchannel_logout_session_supported": True,
    }  # fmt: skip
