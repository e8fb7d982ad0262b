"""The channel that carries events to webhooks: Standard Webhooks 1.0 over the one guarded client.

Accepted is any 2xx; 410 says that no more is wanted, and disables the webhook; everything else is tried
again. A message keeps the event's id however often it is sent, so that a receiver knows it again.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

import orjson
from sqlalchemy import select

from idp.clock import to_seconds
from idp.events.delivery import Claimed, Outcome, Report
from idp.events.described import described
from idp.events.export import WebhookGivenUp
from idp.events.model import EventRow
from idp.notify import webhook_signature, webhooks
from idp.notify.model import Webhook
from idp.storage.unit_of_work import Work
from idp.storage.vault import Unreadable
from idp.work.outbound import Answer, Outbound, OutboundFailed, OutboundRefused

# Receivers that are no longer to be called; what they were owed is nobody's loss.
_NOT_MEANT = "the webhook was removed or disabled"


class WebhookChannel:
    """Posts each event, freshly signed for every attempt."""

    def __init__(self, work: Work, outbound: Outbound) -> None:
        self._work = work
        self._outbound = outbound

    def send(self, batch: Sequence[Claimed], report: Report) -> None:
        """Begins to send; reports when each answer has come."""
        receivers, events = self._facts(batch)
        timestamp = to_seconds(self._work.clock.now())
        for claimed in batch:
            found = receivers.get(claimed.receiver)
            event = claimed.payload.get("event") or events.get(claimed.payload.get("position", 0))
            if found is None:
                report(claimed, Outcome("hopeless", error=_NOT_MEANT))
            elif event is None:
                report(claimed, Outcome("hopeless", error="the event is no longer in the log"))
            elif not found[1]:
                report(claimed, Outcome("failed", error="its secret is sealed with a lost key"))
            else:
                url, secrets = found
                body = orjson.dumps(
                    {"type": event["type"], "timestamp": event["at"], "data": event}
                )
                signed = webhook_signature.headers(claimed.event_id, timestamp, body, secrets)
                answer = self._outbound.begin_post(url, body, "application/json", headers=signed)
                answer.add_done_callback(partial(_judge, claimed, report))

    def delivered(self, claimed: Claimed) -> None:
        """Its receipt is enough: an event for each event sent would never end."""

    def given_up(self, claimed: Claimed, reason: str) -> WebhookGivenUp | None:
        if reason == _NOT_MEANT:
            return None
        return WebhookGivenUp(webhook=claimed.receiver, refused=claimed.event_id, reason=reason)

    def _facts(
        self, batch: Sequence[Claimed]
    ) -> tuple[dict[str, tuple[str, list[str]]], Mapping[int, dict[str, Any]]]:
        """Address and secrets of each webhook that is enabled, and the events by position."""
        positions = {claimed.payload.get("position") for claimed in batch}
        with self._work.read() as unit:
            enabled = unit.orm.scalars(
                select(Webhook).where(
                    Webhook.id.in_({claimed.receiver for claimed in batch}),
                    Webhook.disabled_at.is_(None),
                )
            )
            receivers: dict[str, tuple[str, list[str]]] = {}
            for webhook in enabled:
                try:
                    receivers[webhook.id] = webhook.url, webhooks.secrets_of(unit, webhook)
                except Unreadable:
                    receivers[webhook.id] = webhook.url, []
            rows = unit.orm.scalars(
                select(EventRow).where(EventRow.position.in_([one for one in positions if one]))
            )
            events = {row.position: described(row) for row in rows if row.position is not None}
        return receivers, events


def _judge(claimed: Claimed, report: Report, future: "Future[Answer]") -> None:
    try:
        answer = future.result()
    except (OutboundRefused, OutboundFailed) as problem:
        report(claimed, Outcome("failed", error=problem.reason))
    except Exception as problem:
        report(claimed, Outcome("failed", error=f"{type(problem).__name__}: {problem}"))
    else:
        said = f"answered {answer.status}"
        if 200 <= answer.status < 300:
            report(claimed, Outcome("accepted", answer.status))
        elif said == webhooks.GONE:
            report(claimed, Outcome("hopeless", answer.status, error=said))
        else:
            report(claimed, Outcome("failed", answer.status, error=said))
