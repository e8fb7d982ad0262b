"""Signing out everything that a filter means: how many, some of them, a reason, and how far it is.

Looking costs nothing and changes nothing (D2). Before it is done the person proves who they are, says
why and, of more than `TYPED_FROM` sessions, types the number that they saw; if there are many more by
then, they are asked again. What was asked for goes on without this page.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from idp.admin import bulk_sessions, session_filter, session_search
from idp.admin.bulk_sessions import Meant, OperationState, Revocation, Revoked
from idp.admin.schemas import PageQuery
from idp.console import names, rooms, session_list
from idp.console.people import query
from idp.errors import Refused
from idp.storage.unit_of_work import UnitOfWork
from idp.web.http import PageRequest, WebContext
from idp.web.visitor import Visitor

PATH = f"{session_list.PATH}/sign-out"
OPERATIONS = f"{rooms.ADMIN}/operations"
TYPED_FROM = 21
_USER = re.compile(r"user:(usr_[0-9a-f]{32})")
# A dry run has no reason yet.
_NONE_YET = "dry run"
# Of one's own sessions, so many are looked through for this one.
_OWN = 200


def routes(context: WebContext) -> list[Route]:
    """/admin/sessions/sign-out, /admin/operations and /admin/operations/{id}"""
    return [
        rooms.room(context, PATH, "sessions:revoke", {"GET": ask, "POST": carry_out}),
        rooms.room(context, OPERATIONS, "sessions:read", {"GET": show_all}),
        rooms.room(context, f"{OPERATIONS}/{{id}}", "sessions:read", {"GET": show_one}),
    ]


def ask(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /admin/sessions/sign-out?q=… or ?all=yes"""
    return _ask(context, request, visitor, query(request, "q"), request.query.get("all") == "yes")


def carry_out(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /admin/sessions/sign-out"""
    held = rooms.prove(context, request, visitor, bulk_sessions.revoke_sessions)
    if held is not None:
        return held
    form = request.form
    text, is_all = form.get("q", "").strip(), form.get("all") == "yes"
    try:
        wanted = _wanted(text, is_all=is_all, reason=form.get("reason", "").strip())
        _require_number(_dry_run(context, visitor, text, is_all), form, is_all=is_all)
        done = rooms.carry_out(
            context, visitor, bulk_sessions.revoke_sessions, wanted, key=form.get("key")
        )
    except Refused as refused:
        return _ask(context, request, visitor, text, is_all, refused)
    return RedirectResponse(f"{OPERATIONS}/{done.found.operation.id}", 303)


def show_all(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /admin/operations"""
    given = {"page_token": said} if (said := query(request, "page_token")) else {}
    asked = rooms.taken(PageQuery, given)
    found = rooms.carry_out(context, visitor, bulk_sessions.list_operations, asked).found
    with context.work.read() as unit:
        people = _named(unit, visitor, *found.items)
    return rooms.page(
        context, request, visitor, "operations.html", found=found, given=given, people=people
    )


def show_one(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /admin/operations/{id}"""
    found = rooms.carry_out(
        context, visitor, bulk_sessions.get_operation, id=request.params["id"]
    ).found
    with context.work.read() as unit:
        people = _named(unit, visitor, found)
    return rooms.page(context, request, visitor, "operation.html", found=found, people=people)


def _named(unit: UnitOfWork, visitor: Visitor, *operations: OperationState) -> dict[str, str]:
    """The names of who asked, and of those whom the filters name by id."""
    meant = [one for operation in operations for one in _USER.findall(operation.filter)]
    asked = [operation.asked_by for operation in operations]
    return names.of_people(unit, rooms.rights(visitor), [*meant, *asked])


def _wanted(text: str, *, is_all: bool, reason: str, dry_run: bool = False) -> Revocation:
    if is_all and text:
        # Whoever changed the address by hand must not get everybody for a part.
        raise Refused("invalid_filter", "Say a filter or everybody, not both.", 400)
    terms = {"all": True} if is_all else {"q": text or None}
    meant = rooms.taken(Meant, terms)
    return rooms.taken(Revocation, {"filter": meant, "reason": reason, "dry_run": dry_run})


def _dry_run(context: WebContext, visitor: Visitor, text: str, is_all: bool) -> Revoked:
    wanted = _wanted(text, is_all=is_all, reason=_NONE_YET, dry_run=True)
    found: Revoked = rooms.carry_out(context, visitor, bulk_sessions.revoke_sessions, wanted).found
    return found


def _require_number(now: Revoked, form: Mapping[str, str], *, is_all: bool) -> None:
    """Lets pass what was confirmed: not many more than the person saw, and typed where it matters."""
    shown = form.get("matched", "")
    seen = int(shown) if shown.isascii() and shown.isdigit() and len(shown) < 10 else 0
    # While somebody reads, people go on signing in: a tenth more is still what was meant.
    if now.matched > seen + max(5, seen // 10):
        raise Refused(
            "more_than_shown", f"There are {now.matched} now. Please look and confirm again.", 409
        )
    if (is_all or seen >= TYPED_FROM) and form.get("typed", "").strip() != str(seen):
        raise Refused("not_confirmed", f"Type {seen} to confirm.", 400)


def _ask(
    context: WebContext,
    request: PageRequest,
    visitor: Visitor,
    text: str,
    is_all: bool,
    problem: Refused | None = None,
) -> Response:
    found = None
    try:
        found = _dry_run(context, visitor, text, is_all)
    except Refused as refused:
        problem = refused
    return rooms.page(
        context,
        request,
        visitor,
        "sign_out.html",
        status=problem.status if problem is not None else 200,
        q=text,
        is_all=is_all,
        found=found,
        is_own_meant=found is not None and _is_own_meant(context, visitor, text),
        typed_from=TYPED_FROM,
        typed=request.form,
        key=rooms.new_key(),
        problem=problem.sentence if problem is not None else None,
    )


def _is_own_meant(context: WebContext, visitor: Visitor, text: str) -> bool:
    """Whether the session that asks is among those that are meant."""
    with context.work.read() as unit:
        meant = session_search.resolved(unit, session_filter.parse(text))
        if meant.user not in (None, visitor.user.id):
            return False
        own = session_search.page(unit, replace(meant, user=visitor.user.id), limit=_OWN)
    return any(one.id == visitor.session.id for one in own.sessions)
