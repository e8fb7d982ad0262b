"""/admin/users/{id}: one person, what they hold, and what an administrator does for them or to them.

Every form carries out one operation of the API and leads back here. What it did is told from the
audit log, by the instant in the address, so that nothing is claimed that is not so. Roles are changed
from what was seen: of two administrators who do so at once the later is shown both.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from idp.admin import credentials, roles_held, sessions, users
from idp.admin.answering import dumped, tag_of
from idp.admin.schemas import Because, Model
from idp.admin.session_schemas import SessionQuery
from idp.console import names, people, rooms
from idp.console.rooms import Act
from idp.errors import Refused
from idp.events import queries as events
from idp.policy import management
from idp.web import receipts
from idp.web.http import PageRequest, WebContext
from idp.web.security import instant
from idp.web.visitor import Visitor

PATH = f"{people.PATH}/{{id}}"
# Lines of the timeline, and events that are looked through for what a form did.
SHOWN = 25
_LOOKED_AT = 200


@dataclass(frozen=True, slots=True)
class Form:
    """A form of the page: the operation it carries out, and what that takes."""

    act: Act
    makes: Callable[[PageRequest], Model | None]


def routes(context: WebContext) -> list[Route]:
    """/admin/users/{id} and an address for each of its forms"""
    return [
        rooms.room(context, PATH, "users:read", {"GET": show}),
        *(_route(context, name, form) for name, form in _FORMS.items()),
    ]


def show(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /admin/users/{id}"""
    return _page(context, request, visitor)


def _route(context: WebContext, name: str, form: Form) -> Route:
    def send(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
        return _send(context, request, visitor, name, form)

    return rooms.form(context, f"{PATH}/{name}", rooms.operation(form.act).scope, send, on=PATH)


def _send(
    context: WebContext, request: PageRequest, visitor: Visitor, name: str, form: Form
) -> Response:
    held = rooms.prove(context, request, visitor, form.act)
    if held is not None:
        return held
    params = {"id": request.params["id"]}
    if form.act is credentials.remove_factor:
        params["factor_id"] = request.form.get("factor", "")
    try:
        sent, tag = form.makes(request), request.form.get("tag")
        done = rooms.carry_out(context, visitor, form.act, sent, match=tag, **params)
    except Refused as refused:
        if refused.code == "user_not_found":
            raise
        return _page(context, request, visitor, refused, form=name)
    return RedirectResponse(f"{people.PATH}/{params['id']}?done={done.at}", 303)


def _page(
    context: WebContext,
    request: PageRequest,
    visitor: Visitor,
    problem: Refused | None = None,
    *,
    form: str = "",
) -> Response:
    user_id = request.params["id"]
    rights = rooms.rights(visitor)
    user = rooms.carry_out(context, visitor, users.get_user, id=user_id).found
    held = rooms.carry_out(context, visitor, roles_held.get_roles_held, id=user_id).found
    factors = rooms.carry_out(context, visitor, credentials.list_factors, id=user_id).found
    running = None
    if "sessions:read" in rights:
        theirs = rooms.taken(SessionQuery, {"user": user_id})
        running = rooms.carry_out(context, visitor, sessions.list_sessions, theirs).found
    at = instant(request.query.get("done"))
    is_conflict = problem is not None and problem.code == "precondition_failed"
    # What was ticked goes on from where it was made; after a conflict, from what stands now.
    made_from = request.form.get("tag") if form == "roles" and not is_conflict else None
    with context.work.read() as unit:
        timeline = events.newest(unit, user_id=user_id, limit=_LOOKED_AT)
        outcome = receipts.outcome_at(unit, user_id, at) if at else None
        apps = names.of_apps(unit, [one.client_id for one in timeline[:SHOWN]])
    return rooms.page(
        context,
        request,
        visitor,
        "person.html",
        status=problem.status if problem is not None else 200,
        user=user,
        factors=factors,
        running=running,
        timeline=timeline[:SHOWN] if "events:read" in rights else None,
        # By whoever looks: what others did at that moment is none of this form's doing.
        done=[one for one in timeline if one.at == at and one.actor_id == visitor.user.id],
        outcome=outcome,
        apps=apps,
        choices=people.role_choices(context, visitor),
        tag=made_from or tag_of(dumped(held)),
        is_conflict=is_conflict,
        is_own=user_id == visitor.user.id,
        is_above=management.is_above(user.permissions, rights),
        typed=request.form,
        form=form,
        problem=problem.sentence if problem is not None else None,
    )


def _because(request: PageRequest) -> Because:
    return rooms.taken(Because, {"reason": request.form.get("reason", "").strip()})


def _nothing(request: PageRequest) -> None:
    del request


def _removal(request: PageRequest) -> Model:
    return rooms.taken(
        credentials.FactorRemoval, {"reason": request.form.get("reason", "").strip()}
    )


def _change(request: PageRequest) -> Model:
    """What the form of the identity changes: the fields that say something else than before."""
    form = request.form
    wanted: dict[str, Any] = {}
    if form.get("email", "").strip() != form.get("email_before", ""):
        wanted["email"] = form.get("email", "").strip() or None
    if form.get("name", "").strip() != form.get("name_before", ""):
        wanted["claims"] = rooms.taken(users.Claims, {"name": form.get("name", "").strip() or None})
    if "verified" in form:
        wanted["email_verified"] = True
    return rooms.taken(users.UserChange, wanted)


def _roles(request: PageRequest) -> Model:
    reason = request.form.get("reason", "").strip()
    wanted = {"roles": people.ticked_roles(request), "reason": reason}
    return rooms.taken(roles_held.RolesWanted, wanted)


_FORMS: Mapping[str, Form] = {
    "change": Form(users.change_user, _change),
    "roles": Form(roles_held.set_roles, _roles),
    "sign-out": Form(users.log_out_user, _because),
    "disable": Form(users.disable_user, _because),
    "enable": Form(users.enable_user, _because),
    "invite": Form(users.invite_user, _nothing),
    "verify": Form(credentials.send_email_verification, _nothing),
    "password-link": Form(credentials.send_password_link, _because),
    "remove-factor": Form(credentials.remove_factor, _removal),
    "reset-factors": Form(credentials.reset_factors, _because),
}
