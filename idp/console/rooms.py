"""Who may enter which page, and how a page calls what the management API calls.

A page asks for the same right as the operation that it shows (`idp.policy.management`); whoever has
it not is told that there is nothing, as everybody is. What a page changes it changes by the API's own
operations, called for the person in front of it, so that there is one law for both: nobody above
oneself, a fresh proof for what is dangerous, a reason in every event.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from pydantic import ValidationError
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from idp import ids
from idp.admin import repeats, routes
from idp.admin.answering import dumped
from idp.admin.operation import Call, Given, Operation
from idp.admin.repeats import Repeatable
from idp.admin.schemas import Model, first_mistake
from idp.clock import Instant
from idp.errors import Refused
from idp.languages import DEFAULT
from idp.oauth.protected import Caller, Manager
from idp.policy import assurance, management
from idp.policy.management import Scope
from idp.sessions import endings
from idp.sessions.model import Session
from idp.sessions.state import states_of
from idp.storage.unit_of_work import UnitOfWork
from idp.users.model import ACTIVE, User
from idp.web import elevation, hold
from idp.web.http import PageRequest, WebContext
from idp.web.visitor import Visitor, visitor_route

ADMIN = "/admin"
Room = Callable[[WebContext, PageRequest, Visitor], Response]
# What carries an operation out; it stands for the operation.
Act = Callable[[Call, Any], Given]
Taken = TypeVar("Taken", bound=Model)
_OPERATIONS: Mapping[Act, Operation] = {one.carry_out: one for one in routes.OPERATIONS}
# What people are told of a field that cannot be taken, by pydantic's name for why.
_WRONG = {
    "missing": "Please fill in “{}”.",
    "string_too_short": "Please fill in “{}”.",
    "string_too_long": "What stands in “{}” is too long.",
    "string_pattern_mismatch": "“{}” has characters that cannot be used there.",
}


@dataclass(frozen=True, slots=True)
class Done:
    """What an operation gave, and the instant at which everything that it did happened."""

    found: Any
    at: Instant


def room(context: WebContext, path: str, scope: Scope, handlers: Mapping[str, Room]) -> Route:
    """The route of a page for people who hold a right."""
    return visitor_route(
        context, path, {method: _let_in(scope, one) for method, one in handlers.items()}
    )


def form(context: WebContext, path: str, scope: Scope, send: Room, *, on: str) -> Route:
    """The route of a form, for people who hold a right; `on` is the address of its page.

    Whoever comes here by a link of the browser's own history is led to that page.
    """

    def back(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
        del context, visitor
        return RedirectResponse(on.format(**request.params), 303)

    return room(context, path, scope, {"GET": back, "POST": send})


def rights(visitor: Visitor) -> frozenset[str]:
    """What the person may do over this product."""
    return management.rights_in(visitor.user.permissions)


def rights_now(context: WebContext, session_id: str) -> frozenset[str]:
    """What the person of a session may do over this product now; nothing once the session is over,
    held, or proves nothing.

    For answers that go on: by the session's id, because the secret that they began with is replaced
    meanwhile. Looking is no activity, and writes nothing.
    """
    with context.work.read() as unit:
        state = states_of(unit, [session_id]).get(session_id)
        session = unit.orm.get(Session, session_id)
        if state is None or session is None or endings.reason_of(state, unit.now) is not None:
            return frozenset()
        user = unit.orm.get_one(User, session.user_id)
        book = context.provider.rules.current()
        if user.status != ACTIVE or hold.of_itself(unit, session, user, book) is not None:
            return frozenset()
        if not elevation.is_proved(session):
            return frozenset()
        return management.rights_in(user.permissions)


def page(
    context: WebContext,
    request: PageRequest,
    visitor: Visitor,
    template: str,
    *,
    status: int = 200,
    **values: Any,
) -> Response:
    """A page of administrators: it knows who looks, and what they may do."""
    return context.renderer.page(
        f"admin/{template}",
        language=request.language,
        status=status,
        visitor=visitor,
        rights=rights(visitor),
        **values,
    )


def operation(act: Act) -> Operation:
    """The operation of the API that a function carries out."""
    return _OPERATIONS[act]


def prove(context: WebContext, request: PageRequest, visitor: Visitor, act: Act) -> Response | None:
    """The way to the proof that an operation needs; None when it needs none, or was given."""
    if operation(act).proof != "fresh":
        return None
    return elevation.ask(context, request, visitor.session, "administer")


def taken(model: type[Taken], values: Mapping[str, Any]) -> Taken:
    """What an operation takes, from the fields of a form; raises `Refused` (`invalid_field`)."""
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        where, kind, _ = first_mistake(error)
        sentence = _WRONG.get(kind, "“{}” cannot be understood.").format(where.replace("_", " "))
        raise Refused("invalid_field", sentence, 400) from None


def carry_out(
    context: WebContext,
    visitor: Visitor,
    act: Act,
    sent: Model | None = None,
    *,
    match: str | None = None,
    key: str | None = None,
    **params: str,
) -> Done:
    """Carries an operation of the API out for the person, in a transaction of its own.

    `match` is the `ETag` that a change was made from. `key` is what a form is known by that is sent
    twice: it is carried out once. Raises `Refused` like the API. A proof that the operation needs has
    been asked for before (`prove`).
    """
    meant = operation(act)
    if meant.scope not in rights(visitor):
        raise nothing_here()
    headers = {name: said for name, said in (("if-match", match), (repeats.HEADER, key)) if said}
    asked = repr((meant.name, sorted(params.items()), sent)).encode()
    repeat = repeats.repeatable(key, caller=visitor.user.id, asked=asked)
    return repeats.answered(
        partial(_once, context, visitor, meant, sent, params, headers, repeat), repeat
    )


def new_key() -> str:
    """What a form is known by when it is sent twice."""
    return ids.new_secret()


def nothing_here() -> Refused:
    """What somebody without the right is told, and everybody of an address that is none."""
    return Refused("not_found", "There is nothing at this address.", 404)


def _once(
    context: WebContext,
    visitor: Visitor,
    meant: Operation,
    sent: Model | None,
    params: Mapping[str, str],
    headers: Mapping[str, str],
    repeat: Repeatable | None,
) -> Done:
    work = context.work
    # A dry run changes nothing, and nothing of it is kept.
    is_looking = meant.reads or getattr(sent, "dry_run", False)
    if is_looking:
        repeat = None
    opened: AbstractContextManager[UnitOfWork] = work.read() if is_looking else work.begin()
    with opened as unit:
        if meant.proof == "fresh" and not is_looking:
            _require_proof(unit, visitor)
        before = repeats.kept(unit, repeat) if repeat is not None else None
        if before is not None and meant.gives is not None:
            return Done(meant.gives.model_validate_json(before[1]), unit.now)
        call = Call(unit, _manager(visitor), context.provider, meant, params, headers)
        unit.because = getattr(sent, "reason", None)
        found = meant.carry_out(call, sent)
        if repeat is not None and isinstance(found, Model):
            unit.flush()
            repeats.keep(unit, repeat, meant.status, dumped(found))
        return Done(found, unit.now)


def _require_proof(unit: UnitOfWork, visitor: Visitor) -> None:
    wanted = elevation.demand(unit, visitor.user.id, "administer")
    if not elevation.is_met(visitor.session, wanted):
        raise Refused("proof_required", "Please confirm first that it’s you.", 403)


def _manager(visitor: Visitor) -> Manager:
    session = visitor.session
    found = assurance.standing(assurance.proofs(session.authentications))
    return Manager(
        client_id="",
        rights=rights(visitor),
        person=Caller(
            user_id=visitor.user.id,
            session_id=session.id,
            client_id="",
            scope=rights(visitor),
            acr=found.acr if found is not None else assurance.LADDER[0],
            auth_time=found.auth_time if found is not None else 0,
            amr=found.amr if found is not None else (),
        ),
    )


def _let_in(scope: Scope, handler: Room) -> Room:
    def answer(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
        if scope not in rights(visitor):
            raise nothing_here()
        if not elevation.is_proved(visitor.session):
            # A browser that is only remembered is no administrator.
            held = elevation.ask(context, request, visitor.session, "administer")
            if held is not None:
                return held
        # These pages speak English, whatever the account's pages do.
        return handler(context, replace(request, language=DEFAULT), visitor)

    return answer
