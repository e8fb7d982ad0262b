"""Kinds of apps that can be added in a minute: what each is registered with, and asks for.

Pure. What each is called, and the configuration to paste, are in the pages' templates.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from idp.oauth.grants.device_code import DEVICE_CODE

Asks = Literal["address", "rights"]


@dataclass(frozen=True, slots=True)
class Template:
    """A kind of app.

    `asks` is what must be known besides its name: where it is, or which rights it shall have. Paths
    are behind its address: where people come back to, after signing in and out, and where it is told
    of an end (None: it takes no messages).
    """

    key: str
    icon: str
    asks: Asks | None = None
    callback: str | None = None
    signed_out: str | None = None
    backchannel: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def made(self, *, name: str, address: str, callback: str, backchannel: str) -> dict[str, Any]:
        """The metadata of an app of this kind at an address."""
        values: dict[str, Any] = {"name": name, **self.metadata}
        if self.asks == "address":
            base = address.rstrip("/")
            values["client_uri"] = base
            values["redirect_uris"] = [base + callback]
            values["post_logout_redirect_uris"] = [base + (self.signed_out or "/")]
            if backchannel:
                values["backchannel_logout_uri"] = base + backchannel
            if values.get("token_endpoint_auth_method") == "none":
                # Its scripts call us from the browser.
                values["allowed_origins"] = [base]
        return values


_PEOPLE = "openid profile email"
TEMPLATES: tuple[Template, ...] = (
    Template("web", "laptop", "address", callback="/callback", signed_out="/signed-out",
             backchannel="", metadata={"scope": _PEOPLE}),
    Template("grafana", "apps", "address", callback="/login/generic_oauth", signed_out="/login",
             metadata={"scope": f"{_PEOPLE} roles"}),
    Template("nextcloud", "cloud", "address", callback="/apps/user_oidc/code",
             backchannel="/apps/user_oidc/backchannel-logout/idp",
             # It sends the secret in the form wherever a provider takes that from anybody.
             metadata={"scope": _PEOPLE, "token_endpoint_auth_method": "client_secret_post"}),
    Template("oauth2-proxy", "shield", "address", callback="/oauth2/callback",
             metadata={"scope": _PEOPLE}),
    Template("spa", "desktop", "address", callback="/callback",
             metadata={"scope": _PEOPLE, "token_endpoint_auth_method": "none"}),
    Template("native", "phone", metadata={
        "scope": f"{_PEOPLE} offline_access", "token_endpoint_auth_method": "none",
        # RFC 8252 section 7.3: on whichever port it finds free.
        "application_type": "native", "redirect_uris": ["http://127.0.0.1/callback"],
    }),
    Template("device", "terminal", metadata={
        "scope": f"{_PEOPLE} offline_access", "token_endpoint_auth_method": "none",
        "application_type": "native", "grant_types": [DEVICE_CODE, "refresh_token"],
    }),
    Template("service", "agent", metadata={"grant_types": ["client_credentials"], "scope": ""}),
    Template("api", "lock", metadata={
        "grant_types": ["client_credentials"], "scope": "", "introspects_all": True,
    }),
    Template("management", "key", "rights", metadata={
        "grant_types": ["client_credentials"], "management": True,
    }),
)  # fmt: skip
BY_KEY: Mapping[str, Template] = {one.key: one for one in TEMPLATES}
