"""The browsers in which somebody stays signed in, on their own pages: seeing them, forgetting them.

Owns /account/security/remembered, and what the pages say of a cookie that was copied. Forgetting a
browser ends no session; it only does not come back by itself any more.
"""

from dataclasses import dataclass

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from idp.clock import DAY, Duration, Instant
from idp.errors import Refused
from idp.events import queries as events
from idp.sessions import forgetting, remember, remembering
from idp.storage.unit_of_work import UnitOfWork
from idp.web.factor_changes import SECURITY, address, by, changing
from idp.web.http import PageRequest, WebContext
from idp.web.visitor import Visitor, visitor_route

PATH = f"{SECURITY}/remembered"
COPIES_SHOWN: Duration = 7 * DAY


@dataclass(frozen=True, slots=True)
class Browser:
    """A browser that stays signed in, until when."""

    id: str
    name: str
    created_at: Instant
    last_used_at: Instant
    until: Instant
    is_here: bool


@dataclass(frozen=True, slots=True)
class Copy:
    """A cookie that was copied: when that was noticed, and what its browser is called."""

    at: Instant
    browser: str


def routes(context: WebContext) -> list[Route]:
    """Everything under /account/security/remembered."""
    return [
        visitor_route(context, f"{PATH}/forget", {"POST": forget_all}, operation="manage_account"),
        visitor_route(
            context, f"{PATH}/{{id}}/forget", {"POST": forget}, operation="manage_account"
        ),
    ]


def browsers(unit: UnitOfWork, request: PageRequest, visitor: Visitor) -> list[Browser]:
    """Those of a visitor, the one used last first."""
    lasts = remember.allowed(unit, request.visit, visitor.user.roles)
    found = [
        Browser(
            id=one.id,
            name=one.name,
            created_at=one.created_at,
            last_used_at=one.last_used_at,
            until=min(one.expires_at, one.created_at + lasts),
            is_here=one.device_hash == request.visit.device_hash,
        )
        for one in remembering.of(unit, visitor.user.id)
    ]
    return [one for one in found if one.until > unit.now]


def copies(unit: UnitOfWork, user_id: str) -> list[Copy]:
    """Cookies that were found to be copied lately, the latest first."""
    rows = events.newest_of(unit, "remember.reuse_detected", user_id=user_id, limit=10)
    return [Copy(row.at, row.data["browser"]) for row in rows if row.at > unit.now - COPIES_SHOWN]


def forget(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /account/security/remembered/{id}/forget"""
    with context.work.begin() as unit:
        changing(unit, visitor, "manage_account")
        mine = {one.id for one in remembering.of(unit, visitor.user.id)}
        if request.params["id"] not in mine:
            raise Refused("browser_not_found", "You stay signed in on no such device.", 404)
        forgetting.revoke(unit, request.params["id"], reason="forgotten", actor=by(visitor))
        at = unit.now
    return RedirectResponse(address(SECURITY, back=None, done=at), 303)


def forget_all(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /account/security/remembered/forget"""
    del request
    with context.work.begin() as unit:
        changing(unit, visitor, "manage_account")
        forgetting.revoke_all_of(unit, visitor.user.id, reason="forgotten", actor=by(visitor))
        at = unit.now
    return RedirectResponse(address(SECURITY, back=None, done=at), 303)
