"""Webhooks: which addresses are sent events, and of which kinds; their secrets.

Owns the rows of `webhooks` but for how far each is in the chain (`webhook_outbox`). A webhook that
takes nothing for days is disabled and stays before the first event it did not take, so that enabling
it loses none. An address may hold a password, as often in its path as in its query, so events name its
host.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import func, select

from idp import ids
from idp.clock import DAY, Duration
from idp.errors import Refused
from idp.events import catalogue, delivery
from idp.events.actor import Actor
from idp.events.described import described
from idp.events.export import (
    WebhookChanged,
    WebhookCreated,
    WebhookDisabled,
    WebhookGivenUp,
    WebhookRemoved,
    WebhookReplayed,
    WebhookTested,
)
from idp.events.model import EventRow
from idp.notify import webhook_outbox, webhook_signature
from idp.notify.model import Webhook
from idp.storage.exclusive import one_at_a_time
from idp.storage.unit_of_work import UnitOfWork
from idp.work.outbound import problem_with_url

# As many webhooks as anybody needs, and not so many that each event becomes a flood.
MOST = 20
# The secret before signs besides for so long.
OVERLAP: Duration = DAY
# The receiver says that it wants no more (Standard Webhooks, and RFC 9110 section 15.5.11).
GONE = "answered 410"
TYPES = frozenset(one.type for one in catalogue.ALL)
AREAS = frozenset(one.partition(".")[0] + ".*" for one in TYPES)


def create(
    unit: UnitOfWork, *, url: str, types: Sequence[str], actor: Actor
) -> tuple[Webhook, str]:
    """A webhook for what happens from now on, and its secret, which is shown this once.

    Raises `Refused`: `invalid_webhook`, `too_many_webhooks` (409).
    """
    # Before counting: of several who add one at the same moment, each counts those before it.
    one_at_a_time(unit.connection, "webhooks")
    if (unit.connection.scalar(select(func.count()).select_from(Webhook)) or 0) >= MOST:
        raise Refused("too_many_webhooks", f"There are at most {MOST} webhooks.", 409)
    webhook = Webhook(
        id=ids.new("whk"),
        position=webhook_outbox.head(unit),
        created_at=unit.now,
        secret="",
        types=[],
        url="",
    )
    secret = _give_secret(unit, webhook)
    webhook.url, webhook.types = _checked(unit, url, types)
    unit.orm.add(webhook)
    unit.record(
        WebhookCreated(
            actor=actor.kind, actor_id=actor.id, webhook=webhook.id, after=_said(webhook)
        )
    )
    return webhook, secret


def change(
    unit: UnitOfWork, webhook: Webhook, *, url: str, types: Sequence[str], actor: Actor
) -> None:
    """Sends from now on elsewhere, or other kinds; raises `Refused` (`invalid_webhook`)."""
    before, was = _said(webhook), webhook.url
    webhook.url, webhook.types = _checked(unit, url, types)
    after = _said(webhook)
    changed = sorted(
        {name for name in after if after[name] != before[name]}
        | ({"url"} if webhook.url != was else set())
    )
    _record_change(unit, webhook, changed, before, actor)


def rotate_secret(
    unit: UnitOfWork, webhook: Webhook, *, overlap: Duration = OVERLAP, actor: Actor
) -> str:
    """A new secret, shown this once; the present one signs besides for `overlap`."""
    before = _said(webhook)
    present = webhook.secret
    secret = _give_secret(unit, webhook)
    webhook.previous_secret = present if overlap else None
    webhook.previous_until = unit.now + overlap if overlap else None
    _record_change(unit, webhook, ["secret"], before, actor)
    return secret


def enable(unit: UnitOfWork, webhook: Webhook, actor: Actor) -> None:
    """Goes on from where it stopped."""
    if webhook.disabled_at is None:
        return
    before = _said(webhook)
    webhook.disabled_at = webhook.disabled_reason = None
    _record_change(unit, webhook, ["enabled"], before, actor)


def disable(unit: UnitOfWork, webhook: Webhook, actor: Actor, *, reason: str) -> None:
    """Sends nothing any more; its position is before the first event that it has not taken."""
    if webhook.disabled_at is not None:
        return
    webhook.disabled_at, webhook.disabled_reason = unit.now, reason[:64]
    unit.flush()
    webhook.position = webhook_outbox.take_back(unit, webhook)
    unit.record(
        WebhookDisabled(
            actor=actor.kind, actor_id=actor.id, webhook=webhook.id, reason=webhook.disabled_reason
        )
    )


def remove(unit: UnitOfWork, webhook: Webhook, actor: Actor) -> None:
    """Forgets a webhook, with what it was still owed."""
    unit.orm.delete(webhook)
    unit.flush()
    webhook_outbox.take_back(unit, webhook)
    unit.record(
        WebhookRemoved(
            actor=actor.kind, actor_id=actor.id, webhook=webhook.id, before=_said(webhook)
        )
    )


def replay(unit: UnitOfWork, webhook: Webhook, *, behind: int, actor: Actor) -> None:
    """Sends what is meant from behind a position of the chain again, with the ids it had before."""
    webhook.position = max(0, min(behind, webhook_outbox.head(unit)))
    unit.record(
        WebhookReplayed(
            actor=actor.kind, actor_id=actor.id, webhook=webhook.id, behind=webhook.position
        )
    )


def send_test(unit: UnitOfWork, webhook: Webhook, actor: Actor) -> None:
    """Owes one event to the webhook alone, whatever kinds it takes; raises `Refused` (409) for one
    that is disabled.
    """
    if webhook.disabled_at is not None:
        raise Refused("webhook_disabled", "This webhook is disabled; enable it first.", 409)
    event = WebhookTested(actor=actor.kind, actor_id=actor.id, webhook=webhook.id)
    unit.record(event)
    # The newest rows are looked at first, so that this needs no index.
    of_event = select(EventRow).where(EventRow.event_id == event.event_id)
    written = unit.orm.scalars(of_event.order_by(EventRow.id.desc()).limit(1)).one()
    delivery.owe(
        unit,
        [webhook.id],
        event_id=event.event_id,
        channel=webhook_outbox.CHANNEL,
        session_id=None,
        payload={"event": described(written)},
        horizon=webhook_outbox.HORIZON,
    )


def all_of(unit: UnitOfWork) -> list[Webhook]:
    """Every webhook, the oldest first."""
    return list(unit.orm.scalars(select(Webhook).order_by(Webhook.created_at, Webhook.id)))


def give_up(unit: UnitOfWork, event: WebhookGivenUp) -> None:
    """Disables a webhook that took nothing since the event it has not taken was owed, or wants none."""
    webhook = unit.orm.get(Webhook, event.webhook, with_for_update=True)
    if webhook is None:
        return
    has_taken = webhook_outbox.has_taken_since(unit, webhook.id, event.refused)
    if event.reason == GONE or not has_taken:
        disable(unit, webhook, Actor("system"), reason=event.reason or "")


def secrets_of(unit: UnitOfWork, webhook: Webhook) -> list[str]:
    """What signs for a webhook now, the newest first; raises `Unreadable`."""
    context = f"webhook:{webhook.id}"
    found = [unit.vault.open_text(webhook.secret, context)]
    if webhook.previous_secret is not None and (webhook.previous_until or 0) > unit.now:
        found.append(unit.vault.open_text(webhook.previous_secret, context))
    return found


def public_part(url: str) -> str:
    """What whoever reads the log may know of an address: scheme and host, and that there is more."""
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}"
    return origin if url.removeprefix(origin) in ("", "/") else f"{origin}/…"


def _checked(unit: UnitOfWork, url: str, types: Sequence[str]) -> tuple[str, list[str]]:
    problem = problem_with_url(url, unit.settings.outbound)
    if problem is not None:
        raise Refused("invalid_webhook", f"This address cannot be called: {problem}.", 400)
    for one in types:
        if one not in TYPES and one not in AREAS:
            raise Refused(
                "invalid_webhook",
                f"There is no kind of event {one[:48]!r}; write session.ended, or session.* for all "
                "of an area.",
                400,
            )
    return url, sorted(set(types))


def _give_secret(unit: UnitOfWork, webhook: Webhook) -> str:
    secret = webhook_signature.new_secret()
    webhook.secret = unit.vault.seal_text(secret, f"webhook:{webhook.id}")
    return secret


def _said(webhook: Webhook) -> dict[str, Any]:
    return {
        "url": public_part(webhook.url),
        "types": webhook.types,
        "enabled": webhook.disabled_at is None,
    }


def _record_change(
    unit: UnitOfWork, webhook: Webhook, changed: list[str], before: dict[str, Any], actor: Actor
) -> None:
    unit.record(
        WebhookChanged(
            actor=actor.kind,
            actor_id=actor.id,
            webhook=webhook.id,
            changed=changed,
            before=before,
            after=_said(webhook),
        )
    )
