"""/admin/webhooks: where events are sent; what each receiver answered, and sending again.

Every form carries out one operation of the API. A secret is on the page that answers its form, and
nowhere else.
"""

from collections.abc import Callable

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from idp.admin import webhooks
from idp.admin.answering import dumped, tag_of
from idp.admin.events import position_of
from idp.admin.schemas import Because, Model
from idp.clock import DAY
from idp.console import rooms
from idp.console.rooms import Act
from idp.errors import Refused
from idp.notify.webhook_outbox import HORIZON
from idp.web.http import PageRequest, WebContext
from idp.web.visitor import Visitor

PATH = f"{rooms.ADMIN}/webhooks"
_ONE = f"{PATH}/{{id}}"


def routes(context: WebContext) -> list[Route]:
    """/admin/webhooks, /admin/webhooks/{id} and an address for each of its forms"""
    return [
        rooms.room(context, PATH, "events:read", {"GET": show_all}),
        rooms.form(context, f"{PATH}/new", "events:export", create, on=PATH),
        rooms.room(context, _ONE, "events:read", {"GET": show}),
        _route(context, "change", webhooks.change_webhook, _change),
        _route(context, "test", webhooks.send_test, _test),
        _route(context, "replay", webhooks.replay_webhook, _replay),
        _route(context, "enable", webhooks.enable_webhook, _because),
        _route(context, "disable", webhooks.disable_webhook, _because),
        _route(context, "remove", webhooks.remove_webhook, _because),
        rooms.form(context, f"{_ONE}/secret", "events:export", rotate, on=_ONE),
    ]


def show_all(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /admin/webhooks"""
    return _list(context, request, visitor)


def create(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /admin/webhooks/new: the secret is on the page that answers."""
    held = rooms.prove(context, request, visitor, webhooks.create_webhook)
    if held is not None:
        return held
    key = request.form.get("key")
    try:
        new = rooms.taken(webhooks.NewWebhook, _fields(request))
        made = rooms.carry_out(context, visitor, webhooks.create_webhook, new, key=key).found
    except Refused as refused:
        return _list(context, request, visitor, refused)
    return _secret(context, request, visitor, made.id, made.secret)


def rotate(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /admin/webhooks/{id}/secret"""
    act = webhooks.rotate_webhook_secret
    held = rooms.prove(context, request, visitor, act)
    if held is not None:
        return held
    webhook_id = request.params["id"]
    wanted = webhooks.WebhookRotation(overlap=request.form.get("overlap") != "none")
    key = request.form.get("key")
    made = rooms.carry_out(context, visitor, act, wanted, key=key, id=webhook_id).found
    return _secret(context, request, visitor, webhook_id, made.secret)


def show(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /admin/webhooks/{id}"""
    return _page(context, request, visitor)


def _route(
    context: WebContext, name: str, act: Act, makes: Callable[[PageRequest], Model]
) -> Route:
    def send(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
        held = rooms.prove(context, request, visitor, act)
        if held is not None:
            return held
        webhook_id = request.params["id"]
        match, key = request.form.get("tag"), request.form.get("key")
        try:
            rooms.carry_out(
                context, visitor, act, makes(request), match=match, key=key, id=webhook_id
            )
        except Refused as refused:
            if refused.code == "webhook_not_found":
                raise
            return _page(context, request, visitor, refused, form=name)
        where = PATH if act is webhooks.remove_webhook else f"{PATH}/{webhook_id}?done={name}"
        return RedirectResponse(where, 303)

    return rooms.form(context, f"{_ONE}/{name}", "events:export", send, on=_ONE)


def _list(
    context: WebContext, request: PageRequest, visitor: Visitor, problem: Refused | None = None
) -> Response:
    return rooms.page(
        context,
        request,
        visitor,
        "webhooks.html",
        status=problem.status if problem is not None else 200,
        found=rooms.carry_out(context, visitor, webhooks.list_webhooks).found,
        typed=request.form,
        key=rooms.new_key(),
        problem=problem.sentence if problem is not None else None,
    )


def _page(
    context: WebContext,
    request: PageRequest,
    visitor: Visitor,
    problem: Refused | None = None,
    *,
    form: str = "",
) -> Response:
    webhook_id = request.params["id"]
    webhook = rooms.carry_out(context, visitor, webhooks.get_webhook, id=webhook_id).found
    typed = request.form if form == "change" else None
    is_conflict = problem is not None and problem.code == "precondition_failed"
    # What was typed goes on from where it was made; after a conflict, from what stands now.
    made_from = typed.get("tag") if typed is not None and not is_conflict else None
    return rooms.page(
        context,
        request,
        visitor,
        "webhook.html",
        status=problem.status if problem is not None else 200,
        webhook=webhook,
        sent=rooms.carry_out(context, visitor, webhooks.list_sent, id=webhook_id).found,
        tag=made_from or tag_of(dumped(webhook)),
        values={
            "url": typed.get("url", "") if typed else webhook.url,
            "types": typed.get("types", "") if typed else "\n".join(webhook.types),
        },
        days=HORIZON // DAY,
        typed=request.form,
        form=form,
        done=request.query.get("done", ""),
        key=rooms.new_key(),
        problem=problem.sentence if problem is not None else None,
    )


def _secret(
    context: WebContext, request: PageRequest, visitor: Visitor, webhook_id: str, secret: str
) -> Response:
    webhook = rooms.carry_out(context, visitor, webhooks.get_webhook, id=webhook_id).found
    return rooms.page(
        context, request, visitor, "webhook_secret.html", webhook=webhook, secret=secret
    )


def _fields(request: PageRequest) -> dict[str, object]:
    form = request.form
    return {"url": form.get("url", "").strip(), "types": form.get("types", "").split()}


def _change(request: PageRequest) -> Model:
    return rooms.taken(webhooks.WebhookChange, _fields(request))


def _test(request: PageRequest) -> Because:
    del request
    return Because(reason="a test, from the page")


def _replay(request: PageRequest) -> Model:
    form = request.form
    wanted: dict[str, object] = {"reason": form.get("reason", "").strip()}
    after = form.get("after", "").strip()
    if after:
        wanted["after"] = position = position_of(after)
        if position is None:
            raise Refused("invalid_field", "An event is named by its position, a number.", 400)
    if form.get("since", "").strip():
        wanted["since"] = form["since"].strip()
    return rooms.taken(webhooks.Replay, wanted)


def _because(request: PageRequest) -> Because:
    return rooms.taken(Because, {"reason": request.form.get("reason", "").strip()})
