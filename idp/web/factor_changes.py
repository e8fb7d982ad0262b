"""What changes of passkeys and authenticator apps share: naming, removing, and what follows.

Owns the question before a removal, the way back to the security page, and where somebody goes on who
was sent here to add something. What a removal means is decided in `idp.users`.
Specs: OWASP ASVS 5.0 sections 7.4.3 and 7.5.1.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from idp.clock import Instant
from idp.errors import Refused
from idp.events.actor import Actor
from idp.sessions import life, lifecycle, queries
from idp.sessions.model import Session
from idp.storage.columns import LOCKED
from idp.storage.unit_of_work import UnitOfWork
from idp.users import factors, recovery_codes
from idp.users.model import ACTIVE, User
from idp.web import elevation
from idp.web.http import PageRequest, WebContext
from idp.web.local_path import local_path
from idp.web.visitor import Visitor, visitor_route

SECURITY = "/account/security"
# Of the checkbox that also signs out the other devices.
END_OTHERS = "end"


class Factor(Protocol):
    """What the pages show of a factor of any kind."""

    id: str
    name: str


Of = TypeVar("Of", bound=Factor)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why nothing was changed."""

    sentence: str
    status: int = 403


@dataclass(frozen=True, slots=True)
class Kind(Generic[Of]):
    """A kind of factor: where its pages are, and how one is found, named and removed."""

    name: str
    path: str
    one_of: Callable[[UnitOfWork, str, str], Of | None]
    rename: Callable[[UnitOfWork, Of, str, Actor], None]
    remove: Callable[[UnitOfWork, Of, Actor], None]


def routes_of(context: WebContext, kind: Kind[Of]) -> list[Route]:
    """…/{id}/rename and …/{id}/remove of one kind."""

    def rename(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
        return _rename(context, request, visitor, kind)

    def ask(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
        return _ask(context, request, visitor, kind)

    def remove(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
        return _remove(context, request, visitor, kind)

    one = f"{kind.path}/{{id}}"
    return [
        visitor_route(context, f"{one}/rename", {"POST": rename}, operation="change_factors"),
        visitor_route(
            context, f"{one}/remove", {"GET": ask, "POST": remove}, operation="change_factors"
        ),
    ]


def changing(unit: UnitOfWork, visitor: Visitor, operation: elevation.Operation) -> User:
    """The visitor's user, held until this transaction is over; raises `Refused`.

    Session and proof are looked at once more: one that ended (`session_ended`), or that grew too old
    or was taken away (`proof_lost`) while a form was on its way, changes nothing.
    """
    user = unit.orm.get(User, visitor.user.id, with_for_update=LOCKED)
    session = unit.orm.get(Session, visitor.session.id, with_for_update=LOCKED)
    if user is None or user.status != ACTIVE or session is None or life.is_over(unit, session):
        raise Refused(
            "session_ended", "Your session has ended meanwhile, so nothing was changed.", 403
        )
    wanted = elevation.demand(unit, user.id, operation)
    if not elevation.is_met(session, wanted):
        raise Refused(
            "proof_lost",
            "What you proved no longer counts, so nothing was changed. Please try again.",
            403,
        )
    return user


def by(visitor: Visitor) -> Actor:
    """The person, by the session they act from."""
    return Actor("user", visitor.session.id)


def first_codes(unit: UnitOfWork, user: User, actor: Actor, *, had: Mapping[str, str]) -> list[str]:
    """After a factor was added to those in `had`: recovery codes, where it is the first second one."""
    if factors.has_second(dict(had)) or recovery_codes.left(unit, user.id):
        return []
    return recovery_codes.make(unit, user, actor)


def end_others(unit: UnitOfWork, visitor: Visitor) -> None:
    """Signs the person out wherever they are not now."""
    lifecycle.end_all_of(
        unit,
        visitor.user.id,
        reason="signed_out_everywhere",
        actor=by(visitor),
        keeping=visitor.session.id,
    )


def others(unit: UnitOfWork, visitor: Visitor) -> int:
    """How many further sessions the person has."""
    running = queries.running_of(unit, visitor.user.id)
    return sum(one.id != visitor.session.id for one in running)


def back_of(fields: Mapping[str, str]) -> str | None:
    """Where somebody was when they were sent here to add a factor: a step-up page, or nowhere."""
    back = local_path(fields.get("back"), otherwise="")
    is_step_up = back == elevation.STEP_UP or back.startswith(f"{elevation.STEP_UP}?")
    return back if is_step_up else None


def address(path: str, *, back: str | None, done: Instant | None = None) -> str:
    """A page with what it must remember; `done` is the instant of a change it tells of."""
    query = {"done": str(done)} if done is not None else {}
    if back is not None:
        query["back"] = back
    return f"{path}?{urlencode(query)}" if query else path


def _rename(
    context: WebContext, request: PageRequest, visitor: Visitor, kind: Kind[Of]
) -> Response:
    """POST …/{id}/rename"""
    with context.work.begin() as unit:
        changing(unit, visitor, "change_factors")
        factor = _own(unit, request, visitor, kind)
        kind.rename(unit, factor, request.form.get("name", ""), by(visitor))
        at = unit.now
    return RedirectResponse(f"{address(SECURITY, back=None, done=at)}#{factor.id}", 303)


def _ask(context: WebContext, request: PageRequest, visitor: Visitor, kind: Kind[Of]) -> Response:
    """GET …/{id}/remove: the question, which changes nothing."""
    return _question(context, request, visitor, kind, None)


def _remove(
    context: WebContext, request: PageRequest, visitor: Visitor, kind: Kind[Of]
) -> Response:
    """POST …/{id}/remove"""
    try:
        with context.work.begin() as unit:
            changing(unit, visitor, "change_factors")
            kind.remove(unit, _own(unit, request, visitor, kind), by(visitor))
            if request.form.get("others") == END_OTHERS:
                end_others(unit, visitor)
            at = unit.now
    except Refused as refused:
        if refused.code != "last_factor":
            raise
        problem = Problem(refused.sentence, refused.status)
        return _question(context, request, visitor, kind, problem)
    return RedirectResponse(address(SECURITY, back=None, done=at), 303)


def _question(
    context: WebContext,
    request: PageRequest,
    visitor: Visitor,
    kind: Kind[Of],
    problem: Problem | None,
) -> Response:
    with context.work.read() as unit:
        factor = _own(unit, request, visitor, kind)
        able = factors.enrolled(unit, visitor.user.id)
        elsewhere = others(unit, visitor)
    return context.renderer.page(
        f"{kind.name}_remove.html",
        language=request.language,
        status=problem.status if problem is not None else 200,
        visitor=visitor,
        factor=factor,
        able=able,
        others=elsewhere,
        end_others=END_OTHERS,
        action=f"{kind.path}/{factor.id}/remove",
        problem=problem,
    )


def _own(unit: UnitOfWork, request: PageRequest, visitor: Visitor, kind: Kind[Of]) -> Of:
    factor = kind.one_of(unit, visitor.user.id, request.params["id"])
    if factor is None:
        raise Refused("factor_not_found", "You have nothing of that name any more.", 404)
    return factor
