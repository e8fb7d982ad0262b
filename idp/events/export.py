"""Webhooks as events: the part of the `catalogue` about receivers of the audit log."""

from dataclasses import dataclass
from typing import Any, ClassVar

from idp.events.event import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookCreated(Event):
    """An address was given to which events are sent."""

    type: ClassVar[str] = "webhook.created"
    webhook: str
    after: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookChanged(Event):
    """A webhook was changed, given a new secret, or enabled; `changed` names what."""

    type: ClassVar[str] = "webhook.changed"
    webhook: str
    changed: list[str]
    before: dict[str, Any]
    after: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRemoved(Event):
    """A webhook was removed; what it was still owed is not sent."""

    type: ClassVar[str] = "webhook.removed"
    webhook: str
    before: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookDisabled(Event):
    """A webhook is sent nothing any more: an administrator said so, or it did not answer for days."""

    type: ClassVar[str] = "webhook.disabled"
    webhook: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookTested(Event):
    """An administrator had this event sent to a webhook, as a test."""

    type: ClassVar[str] = "webhook.tested"
    webhook: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookReplayed(Event):
    """An administrator had events sent to a webhook again, from behind position `behind`."""

    type: ClassVar[str] = "webhook.replayed"
    webhook: str
    behind: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookGivenUp(Event):
    """A webhook did not take one event within days; `refused` is its id."""

    type: ClassVar[str] = "webhook.given_up"
    webhook: str
    refused: str
