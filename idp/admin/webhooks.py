"""Webhooks over the management API: given, changed, tested, sent again.

Whoever sends the audit log elsewhere must be able to read it. What a webhook is and how far each is
stands in `idp.notify.webhooks` and `webhook_outbox`.
"""

from typing import Annotated, Literal

from pydantic import Field

from idp.admin import event_search, grammar
from idp.admin.answering import require_match
from idp.admin.events import DIGITS_MAXIMUM
from idp.admin.operation import Call, Operation
from idp.admin.schemas import (
    Because,
    Model,
    Moment,
    Nothing,
    Reason,
    When,
    changes,
    moment,
    moment_or_none,
)
from idp.errors import Refused
from idp.notify import webhook_outbox, webhooks
from idp.notify.model import Webhook as Row
from idp.work.destination import URL_MAXIMUM

Url = Annotated[str, Field(min_length=1, max_length=URL_MAXIMUM)]
Kinds = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=48)]],
    Field(
        max_length=100,
        description="Kinds of events: `session.ended`, or `session.*` for an area; none: every one.",
    ),
]


class WebhookChange(Model):
    """What is changed of a webhook; what is left out stays."""

    url: Url = ""
    types: Kinds = Field(default=[])


class NewWebhook(WebhookChange):
    """An address to which events are sent from now on."""

    url: Url


class Webhook(Model):
    """An address to which events are sent; its secret is shown when it is made, and never again."""

    id: str
    url: str
    types: list[str]
    created_at: Moment
    previous_secret_until: Moment | None
    disabled_at: Moment | None
    disabled_reason: str | None


class MadeWebhook(Webhook):
    """A webhook with the secret that signs what it is sent (Standard Webhooks)."""

    secret: str


class Webhooks(Model):
    """Every webhook, the oldest first."""

    items: list[Webhook]


class WebhookRotation(Model):
    """How the secret is replaced."""

    overlap: bool = Field(
        default=True,
        description="The present secret signs besides for a day; false if it has leaked.",
    )


class WebhookSecret(Model):
    """A webhook's new secret."""

    secret: str


class Sent(Model):
    """One event that a webhook was sent, or is owed; what it answered last."""

    event_id: str
    state: Literal["owed", "delivered", "given_up"]
    attempts: int
    owed_at: Moment
    next_attempt_at: Moment | None
    finished_at: Moment | None
    last_status: int | None
    last_error: str | None


class SentList(Model):
    """The latest that a webhook was sent or is owed, and how many events it is behind."""

    behind: int
    items: list[Sent]


class Replay(Model):
    """From where events are sent again: behind an event, or from a moment on."""

    after: (
        Annotated[
            int,
            Field(ge=0, lt=10**DIGITS_MAXIMUM, description="Behind this `position`."),
        ]
        | Nothing
    ) = None
    since: When | Nothing = None
    reason: Reason


def list_webhooks(call: Call, _: None) -> Webhooks:
    """List the webhooks."""
    return Webhooks(items=[_described(call, one) for one in webhooks.all_of(call.unit)])


def create_webhook(call: Call, new: NewWebhook) -> MadeWebhook:
    """Have events sent to an address, from now on; the secret is shown this once."""
    _require_insight(call)
    made, secret = webhooks.create(call.unit, url=new.url, types=new.types, actor=call.actor)
    return MadeWebhook(**dict(_described(call, made)), secret=secret)


def get_webhook(call: Call, _: None) -> Webhook:
    """Show one webhook."""
    return _described(call, _found(call))


def change_webhook(call: Call, change: WebhookChange) -> Webhook:
    """Send elsewhere, or other kinds of events."""
    webhook = _held(call)
    require_match(call, _described(call, webhook))
    given = changes(change)
    webhooks.change(
        call.unit,
        webhook,
        url=given.get("url", webhook.url),
        types=given.get("types", webhook.types),
        actor=call.actor,
    )
    return _described(call, webhook)


def remove_webhook(call: Call, _: Because) -> Webhook:
    """Send nothing there any more, and forget the address."""
    webhook = _held(call)
    gone = _described(call, webhook)
    webhooks.remove(call.unit, webhook, call.actor)
    return gone


def enable_webhook(call: Call, _: Because) -> Webhook:
    """Go on sending, from the first event that was not taken."""
    webhook = _held(call)
    webhooks.enable(call.unit, webhook, call.actor)
    return _described(call, webhook)


def disable_webhook(call: Call, _: Because) -> Webhook:
    """Send nothing there until it is enabled again; nothing is lost meanwhile."""
    webhook = _held(call)
    webhooks.disable(call.unit, webhook, call.actor, reason="admin")
    return _described(call, webhook)


def rotate_webhook_secret(call: Call, rotation: WebhookRotation) -> WebhookSecret:
    """Make a new secret for a webhook; it is shown this once."""
    overlap = webhooks.OVERLAP if rotation.overlap else 0
    secret = webhooks.rotate_secret(call.unit, _held(call), overlap=overlap, actor=call.actor)
    return WebhookSecret(secret=secret)


def send_test(call: Call, _: Because) -> Webhook:
    """Send one event to a webhook now; what it answers is among what it was sent."""
    webhook = _held(call)
    webhooks.send_test(call.unit, webhook, call.actor)
    return _described(call, webhook)


def replay_webhook(call: Call, wanted: Replay) -> Webhook:
    """Send events again, under the ids that they had."""
    webhook = _held(call)
    webhooks.replay(call.unit, webhook, behind=_position(call, wanted), actor=call.actor)
    return _described(call, webhook)


def list_sent(call: Call, _: None) -> SentList:
    """List what a webhook was sent lately, and what it answered."""
    webhook = _found(call)
    return SentList(
        behind=webhook_outbox.waiting(call.unit, webhook),
        items=[
            Sent(
                event_id=one.event_id,
                state=one.state,  # type: ignore[arg-type]
                attempts=one.attempts,
                owed_at=moment(one.created_at),
                next_attempt_at=moment(one.next_attempt_at) if one.state == "owed" else None,
                finished_at=moment_or_none(one.finished_at),
                last_status=one.last_status,
                last_error=one.last_error,
            )
            for one in webhook_outbox.sent(call.unit, webhook.id)
        ],
    )


def _position(call: Call, wanted: Replay) -> int:
    """The position behind which events are sent again."""
    if (wanted.after is None) == (wanted.since is None):
        raise Refused("invalid_field", "Say either `after` or `since`.", 400)
    if wanted.since is None:
        return wanted.after or 0
    at = grammar.narrowed(grammar.ALWAYS, "since", ">=", wanted.since).since or 0
    return event_search.position_before(call.unit, at)


def _found(call: Call) -> Row:
    webhook = call.unit.orm.get(Row, call.params["id"])
    if webhook is None:
        raise Refused("webhook_not_found", "There is no such webhook.", 404)
    return webhook


def _held(call: Call) -> Row:
    webhook = call.unit.orm.get(Row, call.params["id"], with_for_update=True)
    if webhook is None:
        raise Refused("webhook_not_found", "There is no such webhook.", 404)
    _require_insight(call)
    return webhook


def _require_insight(call: Call) -> None:
    """Raises `Refused` (`above_you`) for whoever may not read what they would have sent away."""
    if "events:read" not in call.rights:
        raise Refused("above_you", "Events are sent by those who may read them.", 403)


def _described(call: Call, webhook: Row) -> Webhook:
    """The webhook; its address may hold a password, which is for those who may change it."""
    may_change = "events:export" in call.rights
    return Webhook(
        id=webhook.id,
        url=webhook.url if may_change else webhooks.public_part(webhook.url),
        types=webhook.types,
        created_at=moment(webhook.created_at),
        previous_secret_until=moment_or_none(webhook.previous_until),
        disabled_at=moment_or_none(webhook.disabled_at),
        disabled_reason=webhook.disabled_reason,
    )


_ONE = "/webhooks/{id}"
OPERATIONS = (
    Operation(
        method="GET", path="/webhooks", scope="events:read", carry_out=list_webhooks,
        gives=Webhooks,
    ),
    Operation(
        method="POST", path="/webhooks", scope="events:export", carry_out=create_webhook,
        takes=NewWebhook, gives=MadeWebhook, status=201, proof="fresh", repeat="keyed",
    ),
    Operation(
        method="GET", path=_ONE, scope="events:read", carry_out=get_webhook, gives=Webhook,
        tag="shown",
    ),
    Operation(
        method="PATCH", path=_ONE, scope="events:export", carry_out=change_webhook,
        takes=WebhookChange, gives=Webhook, proof="fresh", tag="required",
    ),
    Operation(
        method="DELETE", path=_ONE, scope="events:export", carry_out=remove_webhook,
        takes=Because, gives=Webhook, proof="fresh",
    ),
    Operation(
        method="GET", path=f"{_ONE}/deliveries", scope="events:read", carry_out=list_sent,
        gives=SentList,
    ),
    Operation(
        method="POST", path=f"{_ONE}/enable", scope="events:export", carry_out=enable_webhook,
        takes=Because, gives=Webhook, proof="fresh",
    ),
    Operation(
        method="POST", path=f"{_ONE}/disable", scope="events:export", carry_out=disable_webhook,
        takes=Because, gives=Webhook,
    ),
    Operation(
        method="POST", path=f"{_ONE}/secret", scope="events:export",
        carry_out=rotate_webhook_secret, takes=WebhookRotation, gives=WebhookSecret,
        proof="fresh", repeat="keyed",
    ),
    Operation(
        method="POST", path=f"{_ONE}/test", scope="events:export", carry_out=send_test,
        takes=Because, gives=Webhook, repeat="keyed",
    ),
    Operation(
        method="POST", path=f"{_ONE}/replay", scope="events:export", carry_out=replay_webhook,
        takes=Replay, gives=Webhook, proof="fresh",
    ),
)  # fmt: skip
