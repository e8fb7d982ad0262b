"""The test clients, described once for our provider and for the control."""

from typing import Any

from joserfc.jwk import ECKey

from idp.oauth.grants.device_code import DEVICE_CODE
from tests.interop.provider import API_SCOPE

REDIRECT_URI = "http://localhost:18599/callback"
POST_LOGOUT_REDIRECT_URI = "http://localhost:18599/signed-out"
API = "http://localhost:18598/api"
# How the control is given secrets; ours makes its own.
CONTROL_SECRET = "control-client-secret-0123456789abcdef"

_KEY = ECKey.generate_key("P-256", {"alg": "ES256", "use": "sig", "kid": "interop"})
PRIVATE_JWK = {**_KEY.as_dict(private=True), "alg": "ES256", "kid": "interop"}
_PUBLIC_JWK = {**_KEY.as_dict(private=False), "alg": "ES256", "kid": "interop", "use": "sig"}

_WEB: dict[str, Any] = {
    "redirect_uris": [REDIRECT_URI],
    "post_logout_redirect_uris": [POST_LOGOUT_REDIRECT_URI],
    "grant_types": ["authorization_code", "refresh_token"],
    "token_endpoint_auth_method": "client_secret_basic",
    "scope": "openid profile email",
}


def clients(app_port: int) -> dict[str, dict[str, Any]]:
    """Metadata by name; `app_port` is where the Express app listens."""
    app = f"http://localhost:{app_port}"
    return {
        "web": _WEB,
        "post": {**_WEB, "token_endpoint_auth_method": "client_secret_post"},
        "public": {**_WEB, "token_endpoint_auth_method": "none"},
        "rs256": {**_WEB, "id_token_signed_response_alg": "RS256"},
        "jwt": {
            **_WEB,
            "scope": f"openid {API_SCOPE}",
            "access_token_format": "jwt",
            "audience": [API],
        },
        "keyed": {
            **_WEB,
            "scope": f"openid profile email {API_SCOPE}",
            "grant_types": ["authorization_code", "refresh_token", "client_credentials"],
            "token_endpoint_auth_method": "private_key_jwt",
            "jwks": {"keys": [_PUBLIC_JWK]},
        },
        "service": {
            "grant_types": ["client_credentials"],
            "token_endpoint_auth_method": "client_secret_basic",
            "scope": API_SCOPE,
        },
        "device": {
            "grant_types": [DEVICE_CODE, "refresh_token"],
            "token_endpoint_auth_method": "none",
            "application_type": "native",
            "scope": "openid profile email offline_access",
        },
        "express": {
            **_WEB,
            "redirect_uris": [f"{app}/callback"],
            "post_logout_redirect_uris": [app],
            "backchannel_logout_uri": f"{app}/backchannel-logout",
        },
    }


def for_control(registrations: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The same as RFC 7591 metadata with ids and secrets, as the control is configured."""
    return [_for_control(name, metadata) for name, metadata in registrations.items()]


def _for_control(name: str, metadata: dict[str, Any]) -> dict[str, Any]:
    metadata = {"id_token_signed_response_alg": "ES256", "redirect_uris": [], **metadata}
    metadata.pop("audience", None)
    has_code = "authorization_code" in metadata["grant_types"]
    return {
        **metadata,
        "client_id": name,
        "response_types": ["code"] if has_code else [],
        # Otherwise its ID tokens have no `sid`.
        **(
            {"backchannel_logout_session_required": True}
            if "backchannel_logout_uri" in metadata
            else {}
        ),
        **(
            {"client_secret": CONTROL_SECRET}
            if metadata["token_endpoint_auth_method"].startswith("client_secret")
            else {}
        ),
    }
