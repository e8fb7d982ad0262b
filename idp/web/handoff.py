"""The browser that asks another device to let it in: the code it shows, the number, the way in.

Owns /handoff, the page of a browser that asks, from the code to its session. The page is only for
that browser; what a QR code holds is an address (`idp.web.scanned`) and nothing that is worth anything
by itself. A browser that opened the code of a session (`idp.web.move`) comes in when its number is
shown. Works without JavaScript, with a button to look again.
"""

from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from idp.clock import SECOND
from idp.errors import Refused, Unavailable
from idp.oauth import pushed
from idp.sessions import (
    approval,
    handoff,
    pairing,
    pairing_details,
    pairing_room,
    pairing_stage,
)
from idp.sessions.model import Pairing
from idp.storage.unit_of_work import UnitOfWork
from idp.users import queries as users
from idp.users.throttle import network_of
from idp.web import csrf, device, entry, errors, scanned
from idp.web.http import PageRequest, WebContext, route
from idp.web.local_path import local_path
from idp.web.pending import asks_anew, back_to_authorize, find_pending, speaking

PATH = "/handoff"


def routes(context: WebContext) -> list[Route]:
    """/handoff"""
    return [
        route(context, PATH, errors.PUBLIC, {"POST": begin}),
        route(context, f"{PATH}/{{id}}", errors.PUBLIC, {"GET": show, "POST": go_on}),
        route(context, f"{PATH}/{{id}}/stage", errors.PUBLIC, {"GET": tell}),
    ]


def begin(context: WebContext, request: PageRequest) -> Response:
    """POST /handoff: "Sign in with another device", for an app's request or for the account."""
    require_room(context, request)
    onward = {
        name: request.form[name][:500] for name in ("request", "next") if name in request.form
    }
    with context.work.begin() as unit:
        pairing_id = handoff.ask_here(
            unit, browser_hash=request.browser_hash, visit=request.visit, onward=onward
        )
    return RedirectResponse(f"{PATH}/{pairing_id}", 303)


def show(context: WebContext, request: PageRequest) -> Response:
    """GET /handoff/{id}: the code, then the number, then the way in."""
    with context.work.read() as unit:
        asked = _own(unit, request)
        details = pairing_details.of(unit, asked)
        stage = pairing_stage.for_asker(asked, unit.now)
        person = users.by_id(unit, asked.user_id or "") if stage == "approved" else None
    pending = find_pending(context, request, details.onward)
    if pending is not None:
        request = speaking(request, pending)
    return context.renderer.page(
        "handoff.html",
        language=request.language,
        asked=asked,
        stage=stage,
        issuer_device=f"{context.settings.issuer}{device.PATH}".partition("://")[2],
        qr=scanned.drawn(context, request, details) if stage == "pending" else "",
        user_code=details.user_code,
        number=handoff.number(context.work.vault, asked) if stage == "claimed" else None,
        left=max(asked.expires_at - context.work.clock.now(), 0) // SECOND,
        username=person.username if person is not None else "",
        again=entry.first_page(details.onward),
        csrf=csrf.for_browser(context.work.vault, request.browser),
    )


def tell(context: WebContext, request: PageRequest) -> Response:
    """GET /handoff/{id}/stage: for the page's script, which looks again when it changes."""
    with context.work.read() as unit:
        asked = _own(unit, request)
        return JSONResponse({"stage": pairing_stage.for_asker(asked, unit.now)})


def go_on(context: WebContext, request: PageRequest) -> Response:
    """POST /handoff/{id}: `action` is renew, finish or cancel."""
    if request.form.get("action") == "finish":
        return _finish(context, request)
    with context.work.begin() as unit:
        asked = _own(unit, request)
        onward = pairing_details.of(unit, asked).onward
        if request.form.get("action") == "renew":
            handoff.renew(unit, asked)
        else:
            pairing.withdraw(unit, asked)
            return RedirectResponse(entry.first_page(onward), 303)
    return RedirectResponse(f"{PATH}/{asked.id}", 303)


def _finish(context: WebContext, request: PageRequest) -> Response:
    """ "Continue as …": the session that was approved, in this browser."""
    with context.work.read() as unit:
        asked = _own(unit, request)
        onward = pairing_details.of(unit, asked).onward
    # Of this browser and still open; what the form said when it began proves neither.
    pending = find_pending(context, request, onward)
    try:
        with context.work.begin() as unit:
            asked = _own(unit, request)
            if pairing_stage.for_asker(asked, unit.now) != "approved":
                return RedirectResponse(f"{PATH}/{asked.id}", 303)
            signed_in = handoff.fetch(
                unit, asked, request.visit, request.session_secret, request.remembered
            )
            if pending is not None and not asks_anew(pending):
                pushed.note_authentication(unit, pending.id, signed_in.session_id)
    except Unavailable:
        raise
    except Refused as refused:
        if refused.code == approval.TOO_LATE:
            # The button was pressed twice; the page says what became of the first.
            return RedirectResponse(f"{PATH}/{asked.id}", 303)
        with context.work.begin() as unit:
            pairing.refuse(unit, asked.id, reason=refused.code)
        raise
    if pending is not None:
        response = back_to_authorize(context, request, pending)
    else:
        response = RedirectResponse(local_path(onward.get("next")), 303)
    return entry.keeping(context, request, signed_in, response)


def _own(unit: UnitOfWork, request: PageRequest) -> Pairing:
    """The pairing of the address, if this very browser asks by it; anybody else's is unknown."""
    asked = handoff.of_browser(unit, request.params["id"], request.browser_hash)
    if asked is None:
        raise Refused("code_not_found", pairing.NOT_THIS_CODE, 404)
    return asked


def require_room(context: WebContext, request: PageRequest) -> None:
    """Anybody may ask, so how often is bounded, as for apps (DS-08)."""
    store, limits = context.provider.store, context.settings.throttle
    if not pairing_room.has_room(store):
        raise Unavailable("too many codes are waiting", retry_after=60)
    asked = store.increment(f"pairings:{network_of(request.visit.ip)}", limits.window * SECOND)
    if asked > limits.per_address_pairings:
        raise Refused(
            "too_many_codes",
            "Too many codes were asked for from here. Please sign in another way, or wait a while.",
            429,
            retry_after=limits.window,
        )
