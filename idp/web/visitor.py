"""Who is behind the session cookie, and routes that only they may use.

Owns resuming, touching and rotating a session at page loads, and the way to the sign-in page for
those who have none. A request that changes something must carry a token made for this very session.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from sqlalchemy import or_, select
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from idp import ids
from idp.clock import Duration, Instant
from idp.sessions import lifecycle
from idp.sessions.model import Session
from idp.storage.unit_of_work import UnitOfWork
from idp.users.model import ACTIVE, User
from idp.web import cookies, csrf, elevation
from idp.web.errors import refuse
from idp.web.http import FORM, Handler, Kind, PageRequest, WebContext, route
from idp.web.local_path import ACCOUNT

SIGN_IN = "/account/sign-in"


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody signed in, and the token for the forms they are shown."""

    session: Session
    user: User
    csrf: str
    # A new secret for the browser's cookie, when the old one has served its time.
    new_secret: str | None = None


@dataclass(frozen=True, slots=True)
class EndedSession:
    """A session that the browser's cookie belonged to, and why and by whom it is over."""

    reason: str
    by: str
    ended_at: Instant
    idle_timeout: Duration


VisitorHandler = Callable[[WebContext, PageRequest, Visitor], Response]
Otherwise = Callable[[WebContext, PageRequest], Response]


def find(context: WebContext, request: PageRequest) -> Visitor | None:
    """The person whose session the request carries; changes nothing but an overdue end."""
    if request.session_secret is None:
        return None
    with context.work.begin() as unit:
        return _resumed(unit, request)


def to_sign_in(context: WebContext, request: PageRequest) -> Response:
    """Where somebody goes who must sign in first; after it, back to the page they wanted."""
    del context
    wanted = request.path if request.method in ("GET", "HEAD") else ACCOUNT
    if request.query and wanted == request.path:
        wanted += "?" + urlencode(dict(request.query))
    return RedirectResponse(f"{SIGN_IN}?{urlencode({'next': wanted})}", 303)


def visitor_route(
    context: WebContext,
    path: str,
    handlers: Mapping[str, VisitorHandler],
    *,
    otherwise: Otherwise = to_sign_in,
    operation: elevation.Operation | None = None,
) -> Route:
    """A route for people who are signed in; others are answered by `otherwise`.

    A sensitive `operation` needs a fresh proof of who they are, also for seeing its form.
    """
    kind = Kind(FORM, _guard_origin, refuse)
    if operation is not None:
        handlers = {method: _elevated(handler, operation) for method, handler in handlers.items()}
    guarded = {method: _for_visitor(handler, otherwise) for method, handler in handlers.items()}
    return route(context, path, kind, guarded)


def ended_session(unit: UnitOfWork, secret: str | None) -> EndedSession | None:
    """Why the session of this secret is over; None when it lives or never was."""
    if secret is None:
        return None
    hashed = ids.digest(secret)
    row = unit.orm.execute(
        select(Session.end_reason, Session.ended_by, Session.ended_at, Session.idle_timeout).where(
            or_(Session.secret_hash == hashed, Session.previous_secret_hash == hashed),
            Session.ended_at.is_not(None),
        )
    ).first()
    if row is None:
        return None
    return EndedSession(row.end_reason, row.ended_by, row.ended_at, row.idle_timeout)


def _guard_origin(context: WebContext, request: PageRequest) -> None:
    csrf.require_same_origin(request.headers, context.settings)


def _for_visitor(handler: VisitorHandler, otherwise: Otherwise) -> Handler:
    def answer(context: WebContext, request: PageRequest) -> Response:
        reading = request.method in ("GET", "HEAD")
        visitor = _visit(context, request) if reading else find(context, request)
        if visitor is None:
            return otherwise(context, request)
        if not reading:
            csrf.require_session(context.work.vault, request.form, visitor.session)
        response = handler(context, request, visitor)
        if visitor.new_secret is not None:
            cookies.keep_session(response, context.settings, visitor.new_secret)
        return response

    return answer


def _elevated(handler: VisitorHandler, operation: elevation.Operation) -> VisitorHandler:
    def answer(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
        held = elevation.ask(context, request, visitor.session, operation)
        return held if held is not None else handler(context, request, visitor)

    return answer


def _visit(context: WebContext, request: PageRequest) -> Visitor | None:
    """Resumes the session for a page load: that is activity, and a time to change its secret."""
    if request.session_secret is None:
        return None
    with context.work.begin() as unit:
        visitor = _resumed(unit, request)
        if visitor is None:
            return None
        lifecycle.touch(unit, visitor.session)
        secret = lifecycle.rotate_if_old(unit, visitor.session, request.session_secret)
        return Visitor(visitor.session, visitor.user, visitor.csrf, secret)


def _resumed(unit: UnitOfWork, request: PageRequest) -> Visitor | None:
    session = lifecycle.resume(unit, request.session_secret)
    if session is None:
        return None
    user = unit.orm.get(User, session.user_id)
    if user is None or user.status != ACTIVE:
        return None
    return Visitor(session, user, csrf.for_session(unit.vault, session))
