"""Back-channel logout: telling every app of a session that it has ended.

Owns which apps are owed a logout token and how one is sent. Whatever ends a session records
`SessionEnded`; `owe` is subscribed to it. A grant that ends while its session goes on is not told:
the person is still signed in. Refusals by the receiver and silence are tried again
(`idp.events.delivery`). Specs: OpenID Connect Back-Channel Logout 1.0 sections 2.5 and 2.8.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from sqlalchemy import bindparam, select

from idp.clock import SECOND, to_seconds
from idp.events import delivery
from idp.events.catalogue import LogoutDelivered, LogoutGivenUp, SessionEnded
from idp.events.delivery import Claimed, Outcome, Report
from idp.logout import logout_token
from idp.oauth.model import Authorization, Client
from idp.storage.database import HotStatement
from idp.storage.unit_of_work import UnitOfWork, Work
from idp.work.outbound import Answer, Outbound, OutboundFailed, OutboundRefused

CHANNEL = "backchannel_logout"
# Section 2.8: 200; a receiver with nothing to say may also send 204.
ACCEPTED = frozenset({200, 204})
# Signing and sending contend for the interpreter: a few are signed, then those are sent.
SIGNED_AT_ONCE = 16

_log = logging.getLogger(__name__)


class Signer(Protocol):
    """What signs tokens: `idp.oauth.keys.Keyring`."""

    def sign(self, alg: str, claims: dict[str, Any], typ: str = "JWT") -> str: ...


@dataclass(frozen=True, slots=True)
class _Receiver:
    uri: str | None
    alg: str


_TOLD = HotStatement(
    select(Client.id)
    .join(Authorization, Authorization.client_id == Client.id)
    .where(
        Authorization.session_id == bindparam("ended_session"),
        Authorization.code_redeemed_at.is_not(None),
        Client.backchannel_logout_uri.is_not(None),
    )
    .distinct()
)


def owe(unit: UnitOfWork, event: SessionEnded) -> None:
    """Owes a logout token to each app that redeemed a code in the session and wants to be told.

    Also when its grant has ended since, or the app was disabled: its own session may still stand.
    """
    rows = unit.run(_TOLD, {"ended_session": event.session_id})
    delivery.owe(
        unit,
        [row[0] for row in rows],
        event_id=event.event_id,
        channel=CHANNEL,
        session_id=event.session_id,
        payload={"sub": event.user_id},
    )


class BackchannelLogout:
    """The channel that carries logout tokens; `took` hears the seconds until each was accepted."""

    def __init__(
        self,
        work: Work,
        signer: Signer,
        outbound: Outbound,
        *,
        took: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._work = work
        self._took = took
        self._signer = signer
        self._outbound = outbound

    def send(self, batch: Sequence[Claimed], report: Report) -> None:
        """Posts a freshly signed token for each delivery; reports when its answer has come."""
        receivers = self._receivers({claimed.receiver for claimed in batch})
        for start in range(0, len(batch), SIGNED_AT_ONCE):
            ready: list[tuple[Claimed, str, str]] = []
            for claimed in batch[start : start + SIGNED_AT_ONCE]:
                receiver = receivers.get(claimed.receiver)
                if receiver is None:
                    report(claimed, Outcome("hopeless", error="the app was removed"))
                elif receiver.uri is None:
                    report(claimed, Outcome("hopeless", error="the app gave up its logout address"))
                else:
                    token = self._token(claimed, receiver.alg, report)
                    if token is not None:
                        ready.append((claimed, receiver.uri, token))
            for claimed, uri, token in ready:
                answer = self._outbound.begin_post_form(uri, {"logout_token": token})
                answer.add_done_callback(partial(_judge, claimed, report))

    def delivered(self, claimed: Claimed) -> LogoutDelivered:
        self._took((self._work.clock.now() - claimed.created_at) / SECOND)
        return LogoutDelivered(
            user_id=claimed.payload["sub"],
            session_id=claimed.session_id,
            client_id=claimed.receiver,
            attempts=claimed.attempts,
        )

    def given_up(self, claimed: Claimed, reason: str) -> LogoutGivenUp:
        return LogoutGivenUp(
            user_id=claimed.payload["sub"],
            session_id=claimed.session_id,
            client_id=claimed.receiver,
            attempts=claimed.attempts,
            reason=reason,
        )

    def _receivers(self, client_ids: set[str]) -> dict[str, _Receiver]:
        with self._work.read() as unit:
            rows = unit.connection.execute(
                select(
                    Client.id, Client.backchannel_logout_uri, Client.id_token_signed_response_alg
                ).where(Client.id.in_(client_ids))
            )
            return {row.id: _Receiver(row[1], row[2]) for row in rows}

    def _token(self, claimed: Claimed, alg: str, report: Report) -> str | None:
        claims = logout_token.claims(
            issuer=self._work.settings.issuer,
            client_id=claimed.receiver,
            subject=claimed.payload["sub"],
            session_id=claimed.session_id or "",
            token_id=claimed.id,
            now=to_seconds(self._work.clock.now()),
        )
        try:
            return self._signer.sign(alg, claims, logout_token.TYP)
        except Exception as problem:  # one app's trouble must not stop the others of the batch
            _log.exception("no logout token could be signed for %s", claimed.receiver)
            report(claimed, Outcome("failed", error=f"not signed: {type(problem).__name__}"))
            return None


def _judge(claimed: Claimed, report: Report, future: "Future[Answer]") -> None:
    try:
        answer = future.result()
    except (OutboundRefused, OutboundFailed) as problem:
        report(claimed, Outcome("failed", error=problem.reason))
    except Exception as problem:
        report(claimed, Outcome("failed", error=f"{type(problem).__name__}: {problem}"))
    else:
        if answer.status in ACCEPTED:
            report(claimed, Outcome("accepted", answer.status))
        else:
            report(claimed, Outcome("failed", answer.status, error=f"answered {answer.status}"))
