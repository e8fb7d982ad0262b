"""One running provider of ours and one control for all tests of this folder."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.harness.server_process import reserved_port
from tests.interop import processes, provider, registrations

CONTROL_TOKEN = "control-initial-access-0123456789"


@dataclass(frozen=True)
class Stage:
    """A running provider, with what a client script needs to know of it."""

    provider: str
    issuer: str
    app_port: int
    clients: dict[str, dict[str, Any]]
    initial_access_token: str
    user: dict[str, str] = field(
        default_factory=lambda: {"username": "alice", "password": provider.PASSWORD}
    )

    def configuration(self, **more: Any) -> dict[str, Any]:
        return {
            "provider": self.provider,
            "issuer": self.issuer,
            "user": self.user,
            "redirect_uri": registrations.REDIRECT_URI,
            "post_logout_redirect_uri": registrations.POST_LOGOUT_REDIRECT_URI,
            "api": registrations.API,
            "service_scope": provider.API_SCOPE,
            "clients": self.clients,
            "initial_access_token": self.initial_access_token,
            **more,
        }


@pytest.fixture(scope="session")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("ours")
    with reserved_port() as port, reserved_port() as app_port:
        wanted = registrations.clients(app_port)
        registered = provider.prepare(folder, port, people=["alice"], registrations=wanted)
        token = provider.initial_access(folder, port)
        with processes.ours(folder, port, IDP_REGISTRATION="true"):
            yield Stage("idp", provider.issuer(port), app_port, _told(wanted, registered), token)


@pytest.fixture(scope="session")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("control")
    with reserved_port() as port, reserved_port() as app_port:
        wanted = registrations.clients(app_port)
        registered = {one["client_id"]: one for one in registrations.for_control(wanted)}
        configuration = {
            "port": port,
            "api": registrations.API,
            "interactions": "development",
            "clients": list(registered.values()),
            "initial_access_token": CONTROL_TOKEN,
        }
        with processes.control(folder, configuration):
            told = _told(wanted, registered)
            yield Stage("control", provider.issuer(port), app_port, told, CONTROL_TOKEN)


def _told(
    wanted: dict[str, dict[str, Any]], registered: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """What a client knows of itself."""
    return {
        name: {
            "client_id": registered[name]["client_id"],
            "client_secret": registered[name].get("client_secret"),
            "method": metadata["token_endpoint_auth_method"],
            "id_token_signed_response_alg": metadata.get("id_token_signed_response_alg"),
            **({"jwk": registrations.PRIVATE_JWK} if "jwks" in metadata else {}),
        }
        for name, metadata in wanted.items()
    }
