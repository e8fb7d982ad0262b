"""What this app asks the provider: for a code, for tokens, and who it is signed in as."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx2

DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
# Seconds that are added to the interval when the provider says so (RFC 8628 section 3.5).
SLOWER = 5
AGENT = "idp-device-cli/1.0"

Tokens = dict[str, Any]


class Denied(Exception):  # noqa: N818 - an answer, not a fault
    """Nobody let this device in; the message says why."""


class SignedOut(Exception):  # noqa: N818 - a state, not a fault
    """The session of this device is over; the message is the provider's reason."""


class Unreachable(Exception):  # noqa: N818
    """The provider did not answer, or not as one does."""


@dataclass(frozen=True, slots=True)
class Code:
    """What the person needs to let this device in, and what it polls with."""

    device_code: str
    user_code: str
    address: str
    address_with_code: str
    expires_at: float
    interval: float


class Provider:
    """One provider, for one client; the endpoints come from its metadata."""

    def __init__(
        self, issuer: str, client_id: str, *, transport: httpx2.BaseTransport | None = None
    ) -> None:
        self.issuer = issuer.rstrip("/")
        self.client_id = client_id
        self._http = httpx2.Client(timeout=10, transport=transport, headers={"User-Agent": AGENT})
        self._metadata: dict[str, Any] | None = None

    def ask_for_code(self, scope: str) -> Code:
        """Begins a sign-in (section 3.1)."""
        status, said = self._post("device_authorization_endpoint", scope=scope)
        if status != 200:
            raise Denied(_words(said))
        return Code(
            device_code=said["device_code"],
            user_code=said["user_code"],
            address=said["verification_uri"],
            address_with_code=said.get("verification_uri_complete", said["verification_uri"]),
            expires_at=time.time() + said["expires_in"],
            interval=said.get("interval", 5),
        )

    def wait(self, code: Code, *, sleep: Callable[[float], None] = time.sleep) -> Tokens:
        """Polls until somebody has answered (section 3.4); raises `Denied`.

        A provider that does not answer is asked again, each time a little later.
        """
        interval = code.interval
        while time.time() < code.expires_at:
            sleep(interval)
            try:
                status, said = self._post(
                    "token_endpoint", grant_type=DEVICE_CODE, device_code=code.device_code
                )
            except Unreachable:
                interval *= 2
                continue
            if status == 200:
                return _kept(said)
            if said.get("error") == "slow_down":
                interval += SLOWER
            elif said.get("error") != "authorization_pending":
                break
        else:
            said = {"error": "expired_token"}
        raise Denied(_words(said))

    def refresh(self, tokens: Tokens) -> Tokens:
        """New tokens for old; raises `SignedOut` when the session is over."""
        status, said = self._post(
            "token_endpoint",
            grant_type="refresh_token",
            refresh_token=tokens.get("refresh_token", ""),
        )
        if status == 200:
            return {**tokens, **_kept(said)}
        if said.get("error") == "invalid_grant":
            raise SignedOut(said.get("error_description", ""))
        raise Unreachable(_words(said))

    def person(self, access_token: str) -> dict[str, Any] | None:
        """Who is signed in (OpenID Connect Core section 5.3); None when the token is not taken."""
        answer = self._send(
            "GET",
            self._endpoint("userinfo_endpoint"),
            headers={"Authorization": f"Bearer {access_token}"},
        )
        if answer.status_code == 401:
            return None
        return _object(answer)

    def give_back(self, tokens: Tokens) -> None:
        """Ends the grant (RFC 7009)."""
        self._post("revocation_endpoint", token=tokens.get("refresh_token", ""))

    def _post(self, endpoint: str, **form: str) -> tuple[int, dict[str, Any]]:
        values = {"client_id": self.client_id, **form}
        answer = self._send("POST", self._endpoint(endpoint), data=values)
        return answer.status_code, _object(answer) if answer.content else {}

    def _endpoint(self, name: str) -> str:
        if self._metadata is None:
            address = f"{self.issuer}/.well-known/openid-configuration"
            found = _object(self._send("GET", address))
            # OpenID Connect Discovery section 4.3: whoever answers must be the one that was asked.
            if found.get("issuer") != self.issuer:
                raise Unreachable(f"{self.issuer} names another issuer: {found.get('issuer')}")
            self._metadata = found
        return str(self._metadata[name])

    def _send(self, method: str, address: str, **values: Any) -> httpx2.Response:
        try:
            return self._http.request(method, address, **values)
        except httpx2.HTTPError as error:
            raise Unreachable(f"{self.issuer} does not answer ({error}).") from None


def _object(answer: httpx2.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict) or answer.status_code >= 500:
        raise Unreachable(f"{answer.url} answered {answer.status_code}.")
    return found


def _kept(said: dict[str, Any]) -> Tokens:
    """The part of a token response that is kept."""
    kept = {name: said[name] for name in ("access_token", "refresh_token") if name in said}
    return {**kept, "expires_at": time.time() + said.get("expires_in", 0)}


def _words(said: dict[str, Any]) -> str:
    known = {
        "access_denied": "The other device said no.",
        "expired_token": "The code has run out.",
        "temporarily_unavailable": "The provider has too much to do. Please try again later.",
    }
    error = str(said.get("error", "unknown"))
    return known.get(error) or f"{error}: {said.get('error_description', '')}".rstrip(": ")
