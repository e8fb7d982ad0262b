"""`idp webhook`: where events of the audit log are sent."""

from typing import Annotated, Any

import typer

from idp.cli.opened import ADMIN, change, look
from idp.cli.terminal import AsJson, Confirmed, answer, confirm, fields, moment, table
from idp.errors import Refused
from idp.notify import webhook_outbox, webhooks
from idp.notify.model import Webhook
from idp.storage.unit_of_work import UnitOfWork

app = typer.Typer(
    no_args_is_help=True, help="Webhooks: addresses to which events are sent (Standard Webhooks)."
)

Id = Annotated[str, typer.Argument(help="The webhook's id (whk_…).")]
Types = Annotated[
    list[str] | None,
    typer.Option(
        "--type", help="Kinds of events: session.ended, or session.*; none: all. Repeatable."
    ),
]


@app.command(name="list")
def list_(as_json: AsJson = False) -> None:
    """List the webhooks."""
    with look() as unit:
        data = [_described(unit, one) for one in webhooks.all_of(unit)]
    shown = ("id", "url", "types", "behind", "disabled_at")
    rows = [[one[column] for column in shown] for one in data]
    answer(data, table(("ID", "ADDRESS", "EVENTS", "BEHIND", "DISABLED"), rows), as_json=as_json)


@app.command()
def create(
    url: Annotated[str, typer.Argument(help="Address that is called; https.")],
    types: Types = None,
    as_json: AsJson = False,
) -> None:
    """Send events to an address, from now on. The secret is shown this once."""
    with change() as unit:
        made, secret = webhooks.create(unit, url=url, types=types or (), actor=ADMIN)
        data = _described(unit, made) | {"secret": secret}
    answer(data, fields(data), as_json=as_json)


@app.command(name="change")
def change_(
    webhook_id: Id,
    url: Annotated[str | None, typer.Option(help="Another address.")] = None,
    types: Types = None,
    as_json: AsJson = False,
) -> None:
    """Send elsewhere, or other kinds of events."""
    with change() as unit:
        webhook = _found(unit, webhook_id)
        webhooks.change(
            unit,
            webhook,
            url=url if url is not None else webhook.url,
            types=types if types is not None else webhook.types,
            actor=ADMIN,
        )
        data = _described(unit, webhook)
    answer(data, fields(data), as_json=as_json)


@app.command()
def secret(
    webhook_id: Id,
    leaked: Annotated[
        bool, typer.Option("--leaked", help="The present one signs nothing any more.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a new secret; the present one signs besides for a day. It is shown this once."""
    with change() as unit:
        overlap = 0 if leaked else webhooks.OVERLAP
        webhook = _found(unit, webhook_id)
        made = webhooks.rotate_secret(unit, webhook, overlap=overlap, actor=ADMIN)
        data = _described(unit, webhook) | {"secret": made}
    answer(data, fields(data), as_json=as_json)


@app.command(name="test")
def send_test(webhook_id: Id, as_json: AsJson = False) -> None:
    """Send one event there; `idp webhook sent` says what it was answered."""
    with change() as unit:
        webhook = _found(unit, webhook_id)
        webhooks.send_test(unit, webhook, ADMIN)
        data = _described(unit, webhook)
    answer(data, fields(data), as_json=as_json)


@app.command()
def sent(webhook_id: Id, as_json: AsJson = False) -> None:
    """List what a webhook was sent lately, and what it answered."""
    with look() as unit:
        if unit.orm.get(Webhook, webhook_id) is None:
            raise _none(webhook_id)
        data = [
            {
                "event_id": one.event_id,
                "state": one.state,
                "attempts": one.attempts,
                "owed_at": moment(one.created_at),
                "finished_at": moment(one.finished_at),
                "last_status": one.last_status,
                "last_error": one.last_error,
            }
            for one in webhook_outbox.sent(unit, webhook_id)
        ]
    rows = [list(one.values()) for one in data]
    heads = ("EVENT", "STATE", "TRIES", "OWED", "FINISHED", "STATUS", "ERROR")
    answer(data, table(heads, rows), as_json=as_json)


@app.command()
def replay(
    webhook_id: Id,
    after: Annotated[int, typer.Option(min=0, help="Behind the event at this position.")],
    as_json: AsJson = False,
) -> None:
    """Send events again, under the ids that they had."""
    with change() as unit:
        webhook = _found(unit, webhook_id)
        webhooks.replay(unit, webhook, behind=after, actor=ADMIN)
        data = _described(unit, webhook)
    answer(data, fields(data), as_json=as_json)


@app.command()
def enable(webhook_id: Id, as_json: AsJson = False) -> None:
    """Go on sending, from the first event that was not taken."""
    with change() as unit:
        webhook = _found(unit, webhook_id)
        webhooks.enable(unit, webhook, ADMIN)
        data = _described(unit, webhook)
    answer(data, fields(data), as_json=as_json)


@app.command()
def disable(webhook_id: Id, as_json: AsJson = False) -> None:
    """Send nothing there until it is enabled again; nothing is lost meanwhile."""
    with change() as unit:
        webhook = _found(unit, webhook_id)
        webhooks.disable(unit, webhook, ADMIN, reason="admin")
        data = _described(unit, webhook)
    answer(data, fields(data), as_json=as_json)


@app.command()
def remove(webhook_id: Id, yes: Confirmed = False, as_json: AsJson = False) -> None:
    """Send nothing there any more, and forget the address."""
    confirm(f"Remove the webhook {webhook_id}?", confirmed=yes)
    with change() as unit:
        webhook = _found(unit, webhook_id)
        data = _described(unit, webhook)
        webhooks.remove(unit, webhook, ADMIN)
    answer(data, fields(data), as_json=as_json)


def _found(unit: UnitOfWork, webhook_id: str) -> Webhook:
    webhook = unit.orm.get(Webhook, webhook_id, with_for_update=True)
    if webhook is None:
        raise _none(webhook_id)
    return webhook


def _none(webhook_id: str) -> Refused:
    return Refused("webhook_not_found", f"There is no webhook {webhook_id!r}.", 404)


def _described(unit: UnitOfWork, webhook: Webhook) -> dict[str, Any]:
    return {
        "id": webhook.id,
        "url": webhook.url,
        "types": webhook.types,
        "behind": webhook_outbox.waiting(unit, webhook),
        "created_at": moment(webhook.created_at),
        "previous_secret_until": moment(webhook.previous_until),
        "disabled_at": moment(webhook.disabled_at),
        "disabled_reason": webhook.disabled_reason,
    }
