"""Who may enter which page, and how a page calls what the management API calls.

A page asks for the same right as the operation that it shows (`idp.policy.management`); whoever has
it not is told that there is nothing, as everybody is. What a page changes it changes by the API's own
operations, called for the person in front of it, so that there is one law for both: nobody above
oneself, a fresh proof for what is dangerous, a reason in every event.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from idp.admin.operation import Call, Operation
from idp.admin.schemas import Model
from idp.errors import Refused
from idp.oauth.protected import Caller, Manager
from idp.policy import assurance, management
from idp.policy.management import Scope
from idp.storage.unit_of_work import UnitOfWork
from idp.web import elevation
from idp.web.http import PageRequest, WebContext
from idp.web.visitor import Visitor, visitor_route

ADMIN = "/admin"
Room = Callable[[WebContext, PageRequest, Visitor], Response]


def room(context: WebContext, path: str, scope: Scope, handlers: Mapping[str, Room]) -> Route:
    """The route of a page for people who hold a right."""
    return visitor_route(
        context, path, {method: _let_in(scope, one) for method, one in handlers.items()}
    )


def rights(visitor: Visitor) -> frozenset[str]:
    """What the person may do over this product."""
    return management.rights_in(visitor.user.permissions)


def carry_out(
    context: WebContext,
    request: PageRequest,
    visitor: Visitor,
    operation: Operation,
    sent: Model | None,
    **params: str,
) -> Any:
    """Carries an operation of the API out for the person, in a transaction of its own.

    Raises `Refused` like the API. A proof that the operation needs has been asked for before
    (`elevation.ask`).
    """
    if operation.scope not in rights(visitor):
        raise nothing_here()
    work = context.work
    opened: AbstractContextManager[UnitOfWork] = work.read() if operation.reads else work.begin()
    with opened as unit:
        call = Call(unit, _manager(visitor), context.provider, operation, params, request.headers)
        unit.because = getattr(sent, "reason", None)
        return operation.carry_out(call, sent)


def nothing_here() -> Refused:
    """What somebody without the right is told, and everybody of an address that is none."""
    return Refused("not_found", "There is nothing at this address.", 404)


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
        return handler(context, request, visitor)

    return answer
