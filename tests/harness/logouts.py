"""What tests of back-channel logout share: a signer that can be read, claims, tokens received."""

import base64
from typing import Any

import orjson

from idp import ids
from idp.clock import DAY
from idp.events.delivery import Claimed
from tests.harness.receivers import Receiver


class Signed:
    """Stands in for the keyring: the token is its claims in base64url, and a word instead of a
    signature. What the keys do is tested with the keys."""

    def __init__(self) -> None:
        self.made: list[tuple[str, dict[str, Any], str]] = []

    def sign(self, alg: str, claims: dict[str, Any], typ: str = "JWT") -> str:
        self.made.append((alg, claims, typ))
        body = base64.urlsafe_b64encode(orjson.dumps(claims)).decode()
        return f"header.{body}.signature"


def claimed(client_id: str, *, session_id: str = "ses_1", attempts: int = 1) -> Claimed:
    return Claimed(
        id=ids.new("dlv"),
        event_id=ids.new("evt"),
        channel="backchannel_logout",
        receiver=client_id,
        session_id=session_id,
        payload={"sub": "usr_1"},
        attempts=attempts,
        created_at=0,
        give_up_at=DAY,
        claimed_until=0,
    )


def claims_of(token: str) -> dict[str, Any]:
    """The claims of a compact JWT, unverified."""
    body = token.split(".")[1]
    found: dict[str, Any] = orjson.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return found


def tokens_sent(app: Receiver) -> list[dict[str, Any]]:
    """The claims of the logout tokens an app received, in order."""
    return [claims_of(request.form["logout_token"][0]) for request in app.requests]
