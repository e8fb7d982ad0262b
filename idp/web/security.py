"""/account/security: what protects an account, how strong its sign-in is, and what to add next.

Looking needs no fresh proof; every change does, and has a page of its own. Owns also the trusted
devices, which are named and forgotten here. What has just changed is told from the audit log, by the
instant that the address names, so that nothing is claimed that is not so.
"""

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from idp.clock import Instant
from idp.errors import Refused
from idp.storage.unit_of_work import UnitOfWork
from idp.users import trusted_devices
from idp.users.credentials import TrustedDevice
from idp.web import not_me_view, remembered, security_view
from idp.web.factor_changes import SECURITY, address, back_of, by, changing
from idp.web.http import PageRequest, WebContext
from idp.web.visitor import Visitor, visitor_route

DEVICES = f"{SECURITY}/devices"
_INSTANT_DIGITS = 18


def routes(context: WebContext) -> list[Route]:
    """/account/security, and everything under /account/security/devices."""
    return [
        visitor_route(context, SECURITY, {"GET": show}),
        visitor_route(
            context, f"{DEVICES}/forget", {"POST": forget_all}, operation="change_factors"
        ),
        visitor_route(
            context, f"{DEVICES}/{{id}}/forget", {"POST": forget}, operation="change_factors"
        ),
        visitor_route(
            context, f"{DEVICES}/{{id}}/rename", {"POST": rename}, operation="change_factors"
        ),
    ]


def show(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /account/security"""
    with context.work.read() as unit:
        overview = security_view.overview(unit, visitor)
        changed = security_view.changed_at(
            unit, visitor, instant(request.query.get("done")), request.query.get("changed")
        )
        is_securing = not_me_view.is_under_way(unit, visitor.user.id)
        signal = security_view.signal(unit, visitor, overview) if changed.passkeys else None
        browsers = remembered.browsers(unit, request, visitor)
        copies = remembered.copies(unit, visitor.user.id)
    back = back_of(request.query)
    return context.renderer.page(
        "security.html",
        language=request.language,
        visitor=visitor,
        overview=overview,
        changed=changed,
        is_securing=is_securing,
        signal=signal,
        browsers=browsers,
        copies=copies,
        back=back,
        new_passkey=address(f"{SECURITY}/passkeys/new", back=back),
        new_totp=address(f"{SECURITY}/totp/new", back=back),
        this_device=request.visit.trust_hash,
    )


def forget(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /account/security/devices/{id}/forget"""
    with context.work.begin() as unit:
        changing(unit, visitor, "change_factors")
        trusted_devices.forget(unit, _own(unit, request, visitor), by(visitor))
        at = unit.now
    return RedirectResponse(address(SECURITY, back=None, done=at), 303)


def rename(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /account/security/devices/{id}/rename"""
    with context.work.begin() as unit:
        changing(unit, visitor, "change_factors")
        device = _own(unit, request, visitor)
        trusted_devices.rename(unit, device, request.form.get("name", ""), by(visitor))
        at = unit.now
    return RedirectResponse(f"{address(SECURITY, back=None, done=at)}#{device.id}", 303)


def forget_all(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /account/security/devices/forget"""
    del request
    with context.work.begin() as unit:
        changing(unit, visitor, "change_factors")
        trusted_devices.forget_all(unit, visitor.user.id, by(visitor))
        at = unit.now
    return RedirectResponse(address(SECURITY, back=None, done=at), 303)


def _own(unit: UnitOfWork, request: PageRequest, visitor: Visitor) -> TrustedDevice:
    device = trusted_devices.one_of(unit, visitor.user.id, request.params["id"])
    if device is None:
        raise Refused("device_not_found", "You trust no such device any more.", 404)
    return device


def instant(text: str | None) -> Instant:
    """An instant in an address; 0 where there is none."""
    is_number = text is not None and text.isascii() and text.isdigit()
    return int(text) if text and is_number and len(text) <= _INSTANT_DIGITS else 0
