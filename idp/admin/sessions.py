"""Sessions over the management API: searched, seen with what happened in them, ended."""

from idp.admin import access, paging, session_search
from idp.admin.operation import Call, Operation
from idp.admin.outcomes import AppTold, SignedOut, signed_out
from idp.admin.schemas import Because, moment
from idp.admin.session_schemas import (
    Happening,
    SessionDetail,
    SessionPage,
    SessionQuery,
    described,
    details,
)
from idp.errors import Refused
from idp.sessions import life, lifecycle
from idp.sessions.model import Session
from idp.web import receipts, timeline


def list_sessions(call: Call, query: SessionQuery) -> SessionPage:
    """Search sessions; without terms, those that run, the latest active first."""
    after = paging.after(call, query)
    meant = query.meant
    try:
        meant = session_search.resolved(call.unit, meant)
    except Refused:
        return SessionPage(items=[], next_page_token=None)  # nobody has such a name
    found = session_search.page(
        call.unit, meant, sort=query.sort, after=after, limit=query.page_size
    )
    return SessionPage(
        items=described(call.unit, found.sessions),
        next_page_token=paging.next_token(call, query, found.next_key),
    )


def get_session(call: Call, _: None) -> SessionDetail:
    """Show one session, with what happened in it."""
    session = call.unit.orm.get(Session, call.params["id"])
    if session is None:
        raise _no_such_session()
    (shown,) = described(call.unit, [session])
    told = receipts.apps_told(call.unit, [session.id]) if life.is_marked(session) else ()
    return SessionDetail(
        **dict(shown),
        user_agent=details(call.unit, session).user_agent,
        timeline=[
            Happening(
                type=one.type,
                at=moment(one.at),
                client_id=one.client_id,
                reason=one.reason,
                times=one.times,
            )
            for one in timeline.of_sessions(call.unit, [session.id])[session.id]
        ],
        apps_told=[
            AppTold(client_id=one.client_id, name=one.name, state=one.state) for one in told
        ],
    )


def end_session(call: Call, _: Because) -> SignedOut:
    """End one session; its tokens are dead when the answer is sent."""
    session = call.unit.orm.get(Session, call.params["id"])
    if session is None:
        raise _no_such_session()
    access.person_below(call, session.user_id)
    ended = lifecycle.end(call.unit, [session.id], reason="admin", actor=call.actor)
    return signed_out(call.unit, ended)


def _no_such_session() -> Refused:
    return Refused("session_not_found", "There is no such session.", 404)


OPERATIONS = (
    Operation(
        method="GET", path="/sessions", scope="sessions:read", carry_out=list_sessions,
        takes=SessionQuery, gives=SessionPage,
    ),
    Operation(
        method="GET", path="/sessions/{id}", scope="sessions:read", carry_out=get_session,
        gives=SessionDetail,
    ),
    Operation(
        method="POST", path="/sessions/{id}/end", scope="sessions:revoke", carry_out=end_session,
        takes=Because, gives=SignedOut,
    ),
)  # fmt: skip
