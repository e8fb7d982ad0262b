"""The device code grant (RFC 8628 sections 3.4 and 3.5): an app asks until a person has answered.

Owns what each state of the request answers, and how often may be asked. An approval is turned into a
session and a grant by `idp.oauth.devices`; from there a device code is redeemed as an authorization
code is: once, by the client it was made for, after the one check of whether the grant stands.

A device code that comes back after that is refused and ends nothing: clients poll, and one whose
answer was lost asks again, as section 3.5 wants it to.
"""

from functools import partial
from typing import TYPE_CHECKING, Any

from authlib.oauth2.rfc6749 import InvalidGrantError
from authlib.oauth2.rfc6749.errors import AccessDeniedError
from authlib.oauth2.rfc8628 import (
    DEVICE_CODE_GRANT_TYPE,
    AuthorizationPendingError,
    ExpiredTokenError,
    SlowDownError,
)
from authlib.oauth2.rfc8628 import DeviceCodeGrant as AuthlibDeviceCodeGrant
from sqlalchemy import bindparam, update

from idp.clock import SECOND, Instant
from idp.events.catalogue import CodeRedeemed
from idp.oauth import authorizations, devices, standing
from idp.oauth.client_auth import METHODS
from idp.oauth.facts import PairingFacts, UserFacts
from idp.oauth.provider import NeedsSession
from idp.sessions import hot
from idp.sessions.model import Pairing
from idp.storage.database import HotStatement, Write

if TYPE_CHECKING:
    from idp.oauth.server import Server

DEVICE_CODE = DEVICE_CODE_GRANT_TYPE
# Section 3.5: each answer "slow_down" makes it longer by this much; beyond the longest it stays.
SLOWER = 5 * SECOND
SLOWEST = 60 * SECOND
# Clients wait for the interval and then connect; the network makes some of them a little early.
EARLY = SECOND // 2

_ASKED = HotStatement(
    update(Pairing)
    .where(Pairing.id == bindparam("pairing_id"))
    .values(poll_interval=bindparam("interval"), next_poll_at=bindparam("next"))
)


class DeviceCodeGrant(AuthlibDeviceCodeGrant):
    """Answers a poll on preloaded facts."""

    TOKEN_ENDPOINT_AUTH_METHODS = METHODS
    server: "Server"

    def query_device_credential(self, device_code: str) -> PairingFacts:
        found, client = self.server.facts.pairing, self.server.facts.client
        if found is None or client is None or found.client_id != client.id:
            # Another client's is as unknown as none, and stays as it was.
            raise InvalidGrantError("The device code is not known.")
        return found

    def validate_device_credential(self, credential: PairingFacts) -> UserFacts:
        now = self.server.now
        if credential.state in ("denied", "reported"):
            raise AccessDeniedError("The request was denied.")
        if credential.state == "consumed":
            return self._of_grant()
        if now >= credential.expires_at:
            raise ExpiredTokenError("The device code has expired.")
        if credential.state == "approved":
            raise NeedsSession(partial(devices.issue, pairing_id=credential.id))
        self._note(credential, now)
        if now < credential.next_poll_at - EARLY:
            raise SlowDownError("Too many requests: wait five seconds longer between them.")
        raise AuthorizationPendingError("The person has not answered yet.")

    def generate_token(self, **kwargs: Any) -> dict[str, Any]:
        """What was granted, which may be less than was asked for."""
        found = self.server.facts.authorization
        scope = found.scope if found is not None else ""
        return super().generate_token(**{**kwargs, "scope": scope})  # type: ignore[no-any-return]

    def save_token(self, token: dict[str, Any]) -> None:
        server, facts = self.server, self.server.facts
        found, client = facts.authorization, self.request.client
        if found is None:
            raise RuntimeError("tokens need a grant")
        server.writes.extend(hot.holding(facts.session))
        server.writes.extend(hot.touching(facts.session, server.now))
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

    def _of_grant(self) -> UserFacts:
        """The person of the grant that was made for this code, while it may be redeemed."""
        server, facts = self.server, self.server.facts
        found = facts.authorization
        if found is None or found.code_expires_at is None or found.code_redeemed_at is not None:
            raise InvalidGrantError("The device code was used before.")
        if server.now >= found.code_expires_at:
            raise ExpiredTokenError("The device code has expired.")
        if standing.refusal(facts, server.now) is not None or facts.user is None:
            raise InvalidGrantError("The authorization is no longer valid.")
        withheld = standing.withheld(facts, server.provider.rules.current(), server.now)
        if withheld is not None:
            raise withheld
        if facts.client is not None:
            server.begin_refreshing(facts.client)
        return facts.user

    def _note(self, credential: PairingFacts, now: Instant) -> None:
        """Remembers when it was asked, and makes those wait longer who ask too soon."""
        interval = credential.poll_interval
        if now < credential.next_poll_at - EARLY:
            if interval >= SLOWEST:
                return  # a flood must not cost a commit each
            interval = min(interval + SLOWER, SLOWEST)
        values = {"pairing_id": credential.id, "interval": interval, "next": now + interval}
        self.server.writes.append(Write(_ASKED, values))
