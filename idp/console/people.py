"""/admin/users: finding people, and adding one."""

from dataclasses import dataclass

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from idp.admin import roles, users
from idp.admin.schemas import PAGE_MAXIMUM, PageQuery
from idp.console import rooms
from idp.errors import Refused
from idp.policy import management
from idp.sessions import queries as sessions
from idp.web.http import PageRequest, WebContext
from idp.web.visitor import Visitor

PATH = f"{rooms.ADMIN}/users"
STATUSES = ("active", "disabled", "locked")
ROLE = "role."


@dataclass(frozen=True, slots=True)
class RoleChoice:
    """A role that may be ticked, and whether whoever looks may hand it out."""

    name: str
    permissions: list[str]
    is_grantable: bool


def routes(context: WebContext) -> list[Route]:
    """/admin/users and /admin/users/new"""
    return [
        rooms.room(context, PATH, "users:read", {"GET": show}),
        rooms.room(context, f"{PATH}/new", "users:write", {"GET": ask, "POST": create}),
    ]


def show(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /admin/users?q=ann&status=disabled&role=support"""
    given = {
        name: said
        for name in ("q", "status", "role", "page_token")
        if (said := query(request, name))
    }
    found = rooms.carry_out(
        context, visitor, users.list_users, rooms.taken(users.UserQuery, given)
    ).found
    with context.work.read() as unit:
        activity = sessions.activity_of(unit, [one.id for one in found.items])
    return rooms.page(
        context,
        request,
        visitor,
        "people.html",
        found=found,
        activity=activity,
        given=given,
        statuses=STATUSES,
        choices=role_choices(context, visitor),
    )


def ask(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /admin/users/new"""
    return _form(context, request, visitor)


def create(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /admin/users/new"""
    held = rooms.prove(context, request, visitor, users.create_user)
    if held is not None:
        return held
    key = request.form.get("key") or None
    try:
        new = _new(request, visitor)
        made = rooms.carry_out(context, visitor, users.create_user, new, key=key)
    except Refused as refused:
        return _form(context, request, visitor, refused)
    return RedirectResponse(f"{PATH}/{made.found.id}?done={made.at}", 303)


def query(request: PageRequest, name: str) -> str:
    """A parameter of the address, without the spaces around it."""
    return request.query.get(name, "").strip()


def ticked_roles(request: PageRequest) -> list[str]:
    """The roles that are ticked in a form."""
    return sorted(name.removeprefix(ROLE) for name in request.form if name.startswith(ROLE))


def role_choices(context: WebContext, visitor: Visitor) -> list[RoleChoice]:
    """The roles there are, for whoever may know them."""
    rights = rooms.rights(visitor)
    if "roles:read" not in rights:
        return []
    asked = PageQuery(page_size=PAGE_MAXIMUM)
    found = rooms.carry_out(context, visitor, roles.list_roles, asked).found
    return [
        RoleChoice(
            one.name,
            one.permissions,
            "roles:write" in rights and not management.gives_more(one.permissions, rights),
        )
        for one in found.items
    ]


def _new(request: PageRequest, visitor: Visitor) -> users.NewUser:
    """Who is to be created, from the fields of the form; raises `Refused`."""
    form = request.form
    name, ticked = form.get("name", "").strip(), ticked_roles(request)
    if ticked and "roles:write" not in rooms.rights(visitor):
        raise Refused("above_you", "You may not give anybody a role.", 403)
    wanted = {
        "username": form.get("username", "").strip(),
        "email": form.get("email", "").strip() or None,
        "claims": rooms.taken(users.Claims, {"name": name}) if name else None,
        "roles": ticked,
        "invite": "invite" in form,
    }
    return rooms.taken(users.NewUser, wanted)


def _form(
    context: WebContext, request: PageRequest, visitor: Visitor, problem: Refused | None = None
) -> Response:
    return rooms.page(
        context,
        request,
        visitor,
        "person_new.html",
        status=problem.status if problem is not None else 200,
        typed=request.form,
        key=request.form.get("key") or rooms.new_key(),
        choices=role_choices(context, visitor),
        problem=problem.sentence if problem is not None else None,
    )
