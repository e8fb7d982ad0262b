"""/admin/sessions: every session of everybody, by one text that says which (rows D1, D3, A5).

The text is the grammar of the API and stands in the address, so a search can be kept and sent. What
cannot be read is answered with a sentence and comes back to be put right. The same list as CSV is cut
at `MOST` rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.responses import Response
from starlette.routing import Route

from idp.admin import session_filter, sessions
from idp.admin.session_filter import SessionFilter
from idp.admin.session_schemas import Session, SessionPage, SessionQuery
from idp.console import rooms, sheets
from idp.console.people import query
from idp.errors import Refused
from idp.web.http import PageRequest, WebContext
from idp.web.visitor import Visitor

PATH = f"{rooms.ADMIN}/sessions"
MOST = 5_000
# A file is made of so many pages at most: each looks at a bounded number of rows.
_PAGES_OF_FILE = 200
_COLUMNS = (
    "session", "user", "device", "browser", "os", "ip", "country", "city", "network", "asn", "apps",
    "level", "signed_in_at", "last_active_at", "state", "ended_at", "reason",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Search:
    """What was asked for, and what it means; `problem` says why it means nothing."""

    given: dict[str, str]
    meant: SessionFilter | None
    problem: Refused | None = None

    @property
    def may_be_ended(self) -> bool:
        """Whether the sessions that are meant run, so that all of them could be signed out."""
        return self.meant is not None and self.meant.state == "active"


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a column that the list may be sorted by: where it leads, and how it is sorted now."""

    href: str
    direction: str | None


def routes(context: WebContext) -> list[Route]:
    """/admin/sessions"""
    return [rooms.room(context, PATH, "sessions:read", {"GET": show})]


def show(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /admin/sessions?q=ip:10.0.0.0/8 country:FR&format=csv"""
    search = read(request)
    if search.meant is not None and request.query.get("format") == "csv":
        return _csv(context, visitor, search)
    found = None
    if search.meant is not None:
        try:
            found = _page(context, visitor, search.given, page_size=50)
        except Refused as refused:
            search = Search(search.given, None, refused)
    return rooms.page(
        context,
        request,
        visitor,
        "sessions.html",
        status=search.problem.status if search.problem is not None else 200,
        search=search,
        key=rooms.new_key(),
        given=search.given,
        found=found,
        sorts=_sorts(search),
        own=visitor.session.id,
        sources=context.provider.atlas.attributions(),
        problem=search.problem.sentence if search.problem is not None else None,
    )


def read(request: PageRequest) -> Search:
    """The search in an address."""
    given = {name: said for name in ("q", "sort", "page_token") if (said := query(request, name))}
    try:
        return Search(given, session_filter.parse(given.get("q", "")))
    except Refused as refused:
        return Search(given, None, refused)


def _sorts(search: Search) -> dict[str, Head]:
    """By column, what its head leads to: the latest first, then the other way round."""
    if not search.may_be_ended:
        return {}
    now = search.given.get("sort", "-last_active_at")
    found = {}
    for column in ("created_at", "last_active_at"):
        turned = column if now == f"-{column}" else f"-{column}"
        asked = {name: said for name, said in search.given.items() if name == "q"}
        found[column] = Head(
            f"{PATH}?{urlencode({**asked, 'sort': turned})}",
            {column: "ascending", f"-{column}": "descending"}.get(now),
        )
    return found


def _page(
    context: WebContext, visitor: Visitor, given: dict[str, str], *, page_size: int
) -> SessionPage:
    asked = rooms.taken(SessionQuery, {**given, "page_size": page_size})
    found: SessionPage = rooms.carry_out(context, visitor, sessions.list_sessions, asked).found
    return found


def _csv(context: WebContext, visitor: Visitor, search: Search) -> Response:
    rows = [_row(one) for one in _all(context, visitor, search)]
    name = "sessions.csv" if len(rows) < MOST else f"sessions-first-{MOST}.csv"
    return sheets.file(sheets.table(_COLUMNS, rows), name, sheets.CSV)


def _all(context: WebContext, visitor: Visitor, search: Search) -> Iterator[Session]:
    given = {name: said for name, said in search.given.items() if name != "page_token"}
    left = MOST
    for _ in range(_PAGES_OF_FILE):
        page = _page(context, visitor, given, page_size=200)
        yield from page.items[:left]
        left -= len(page.items)
        if page.next_page_token is None or left <= 0:
            return
        given["page_token"] = page.next_page_token


def _row(one: Session) -> tuple[object, ...]:
    return (
        one.id,
        one.user.username,
        one.name,
        one.device.browser or "",
        one.device.os or "",
        one.ip or "",
        one.place.country or "",
        one.place.city or "",
        one.place.network or "",
        one.place.asn or "",
        ", ".join(app.name for app in one.apps),
        one.acr,
        one.created_at,
        one.last_active_at,
        "ended" if one.end_reason else "active",
        one.ended_at or "",
        one.end_reason or "",
    )
