"""Who is behind the session cookie, and routes that only they may use.

Owns resuming, touching and rotating a session at page loads, and the way to the sign-in page for
those who have none. A request that changes something must carry a token made for this very session.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from idp.errors import Refused
from idp.languages import DEFAULT
from idp.sessions import lifecycle, notices, rotation
from idp.sessions.model import Session
from idp.sessions.notices import NewSession
from idp.storage.unit_of_work import UnitOfWork
from idp.users.model import ACTIVE, User
from idp.web import cookies, csrf, elevation, hold, kept_form, session_over, stray_form
from idp.web.errors import refuse
from idp.web.hold import Ended, Hold
from idp.web.http import FORM, Handler, Kind, PageRequest, WebContext, refusal, route
from idp.web.language import choose
from idp.web.local_path import ACCOUNT

SIGN_IN = "/account/sign-in"
SIGNED_OUT = "/signed-out"
# Sent by our scripts that ask for a page again by themselves: an open page is no activity.
LOOKING = "x-looking"


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody signed in, and the token for the forms they are shown."""

    session: Session
    user: User
    csrf: str
    # Why nothing of theirs is shown before they prove who they are, if so.
    hold: Hold | None = None
    # A new secret for the browser's cookie, when the old one has served its time.
    new_secret: str | None = None
    # The page that was asked for, or the one that has the form that was sent: where to come back to.
    here: str = ACCOUNT
    # What their pages speak.
    language: str = DEFAULT
    # What the page tells of the person's other sessions.
    notices: tuple[NewSession, ...] = ()


VisitorHandler = Callable[[WebContext, PageRequest, Visitor], Response]
Otherwise = Callable[[WebContext, PageRequest], Response]


def find(context: WebContext, request: PageRequest) -> Visitor | None:
    """The person whose session the request carries, to be shown what is theirs; no activity."""
    found = recognised(context, request)
    return found if found is not None and found.hold is None else None


def recognised(context: WebContext, request: PageRequest) -> Visitor | None:
    """The same, also where the session is held: for signing in anew, and for signing out."""
    if request.session_secret is None:
        return None
    with context.work.begin() as unit:
        return _resumed(context, unit, request)


def to_sign_in(context: WebContext, request: PageRequest) -> Response:
    """Where somebody goes who must sign in first; after it, back to the page they wanted.

    Whoever sent a form learns why their session is over, and is offered the form again afterwards.
    """
    if request.method not in ("GET", "HEAD"):
        return _with_a_form(context, request)
    return _sign_in_to(kept_form.page_for(request))


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
    guarded = {
        method: _for_visitor(kind, handler, otherwise) for method, handler in handlers.items()
    }
    return route(context, path, kind, guarded)


def _sign_in_to(wanted: str) -> Response:
    return RedirectResponse(f"{SIGN_IN}?{urlencode({'next': wanted})}", 303)


def _with_a_form(context: WebContext, request: PageRequest) -> Response:
    made = csrf.made_for(context.work.vault, request.form)
    with context.work.read() as unit:
        over = session_over.by_secret(unit, request.session_secret)
        if made is not None and (over is None or over.session_id != made.session_id):
            # Signed out in another tab, the cookie is gone; the form says whose it was.
            over = session_over.by_id(unit, made.session_id)
            if over is not None and over.device_hash != request.browser_hash:
                over = None
    if made is None or over is None:
        return _sign_in_to(ACCOUNT)
    if request.path == f"{ACCOUNT}/{over.session_id}/end":
        # They wanted to be signed out, and are.
        response = RedirectResponse(SIGNED_OUT, 303)
        cookies.forget_session(response, context.settings)
        return response
    return _sign_in_to(kept_form.address(context, request, over))


def _guard_origin(context: WebContext, request: PageRequest) -> None:
    csrf.require_same_origin(request.headers, context.settings)


def _for_visitor(kind: Kind, handler: VisitorHandler, otherwise: Otherwise) -> Handler:
    def answer(context: WebContext, request: PageRequest) -> Response:
        reading = request.method in ("GET", "HEAD")
        is_activity = reading and LOOKING not in request.headers
        visitor = _visit(context, request) if is_activity else recognised(context, request)
        if visitor is None:
            return otherwise(context, request)
        request = replace(request, language=visitor.language, theme=visitor.session.theme)
        try:
            response = _answer(context, request, visitor, handler)
        except Refused as refused:
            # Here, because what is said of it looks like the pages of the session, too.
            response = refusal(context, kind, request, refused)
        if visitor.new_secret is not None:
            cookies.keep_session(response, context.settings, visitor.new_secret)
        return response

    return answer


def _answer(
    context: WebContext, request: PageRequest, visitor: Visitor, handler: VisitorHandler
) -> Response:
    if request.method not in ("GET", "HEAD"):
        made = csrf.made_for(context.work.vault, request.form)
        if not csrf.is_for(made, visitor.session):
            if visitor.hold is not None:
                raise csrf.refusal()
            return stray_form.answer(context, request, visitor, made)
    held = hold.answer(context, request, visitor.session, visitor.hold)
    return held if held is not None else handler(context, request, visitor)


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
        visitor = _resumed(context, unit, request)
        if visitor is None or visitor.hold is not None:
            # Whoever has not proved themselves keeps nothing alive, and gets no new secret.
            return visitor
        lifecycle.touch(unit, visitor.session)
        secret = rotation.rotate_if_old(unit, visitor.session, request.session_secret)
        told = tuple(notices.unseen(unit, visitor.session))
        return replace(visitor, new_secret=secret, notices=told)


def _resumed(context: WebContext, unit: UnitOfWork, request: PageRequest) -> Visitor | None:
    session = lifecycle.resume(unit, request.session_secret)
    if session is None:
        return None
    user = unit.orm.get(User, session.user_id)
    if user is None or user.status != ACTIVE:
        return None
    held = hold.of(unit, session, user, request.visit, context.provider.rules.current())
    if isinstance(held, Ended):
        return None
    token, here = csrf.for_session(unit.vault, session), kept_form.page_for(request)
    return Visitor(session, user, token, held, here=here, language=_spoken(request, session, user))


def _spoken(request: PageRequest, session: Session, user: User) -> str:
    """What was asked for with this page, what the session or the person prefers, what the browser."""
    return choose(
        request.query.get("ui_locales"),
        session.language,
        user.locale,
        request.headers.get("accept-language"),
    )
