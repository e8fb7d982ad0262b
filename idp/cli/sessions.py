"""`idp sessions`: who is signed in, which browsers stay so, and ending it."""

from typing import Annotated, Any

import typer

from idp.cli.opened import ADMIN, change, look
from idp.cli.terminal import AsJson, Confirmed, answer, confirm, fields, moment, table
from idp.cli.user import Name, found
from idp.errors import Refused
from idp.sessions import forgetting, lifecycle, queries, remembering
from idp.sessions.model import Session
from idp.sessions.place import Place
from idp.storage.unit_of_work import UnitOfWork

app = typer.Typer(
    no_args_is_help=True, help="Sessions: list, show, end; browsers that stay signed in."
)


@app.command(name="list")
def list_(
    name: Name,
    ended: Annotated[
        bool, typer.Option("--ended", help="Those that ended, not those that run.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List a user's sessions, the most recently active first."""
    with look() as unit:
        user = found(unit, name)
        if ended:
            sessions = queries.ended_of(unit, user.id, days=unit.settings.history_days)
        else:
            sessions = queries.running_of(unit, user.id)
        data = [_described(unit, session) for session in sessions]
    shown = ("id", "name", "acr", "last_active_at", "ended_at", "end_reason")
    rows = [[one[column] for column in shown] for one in data]
    answer(
        data,
        table(("ID", "NAME", "ACR", "LAST ACTIVE", "ENDED", "REASON"), rows),
        as_json=as_json,
    )


@app.command()
def show(
    session_id: Annotated[str, typer.Argument(help="The session (ses_…).")], as_json: AsJson = False
) -> None:
    """Show one session."""
    with look() as unit:
        session = unit.orm.get(Session, session_id)
        if session is None:
            raise _unknown(session_id)
        data = _described(unit, session)
    answer(data, fields(data), as_json=as_json)


@app.command()
def end(
    session_id: Annotated[list[str], typer.Argument(help="Sessions (ses_…).")],
    as_json: AsJson = False,
) -> None:
    """End sessions; their tokens die with them and their apps are told."""
    with change() as unit:
        for one in session_id:
            if unit.orm.get(Session, one) is None:
                raise _unknown(one)
        ended = lifecycle.end(unit, session_id, reason="admin", actor=ADMIN)
    data = {"ended": ended, "had_ended": [one for one in session_id if one not in ended]}
    answer(data, fields(data), as_json=as_json)


@app.command(name="end-all")
def end_all(name: Name, yes: Confirmed = False, as_json: AsJson = False) -> None:
    """End every session of a user."""
    confirm(f"End every session of {name}?", confirmed=yes)
    with change() as unit:
        user = found(unit, name)
        ended = lifecycle.end_all_of(unit, user.id, reason="admin", actor=ADMIN)
    data = {"ended": ended}
    answer(data, fields(data), as_json=as_json)


@app.command()
def remembered(name: Name, as_json: AsJson = False) -> None:
    """List the browsers in which a user stays signed in."""
    with look() as unit:
        user = found(unit, name)
        data = [
            {
                "id": one.id,
                "name": one.name,
                "created_at": moment(one.created_at),
                "last_used_at": moment(one.last_used_at),
                "expires_at": moment(one.expires_at),
                "uses": one.generation - 1,
            }
            for one in remembering.of(unit, user.id)
        ]
    rows = [list(one.values()) for one in data]
    answer(
        data,
        table(("ID", "NAME", "SINCE", "LAST USED", "UNTIL", "USES"), rows),
        as_json=as_json,
    )


@app.command()
def forget(
    name: Name,
    series: Annotated[
        list[str] | None, typer.Argument(help="Browsers (rem_…); all of them when left out.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Let a user not stay signed in in a browser; sessions that run there are not ended."""
    with change() as unit:
        user = found(unit, name)
        theirs = [one.id for one in remembering.of(unit, user.id)]
        for one in series or ():
            if one not in theirs:
                raise Refused("unknown_browser", f"{name} does not stay signed in by {one!r}.", 404)
        forgotten = sorted(series or theirs)
        for one in forgotten:
            forgetting.revoke(unit, one, reason="admin", actor=ADMIN)
    data = {"id": user.id, "forgotten": forgotten}
    answer(data, fields(data), as_json=as_json)


def _unknown(session_id: str) -> Refused:
    return Refused("unknown_session", f"There is no session {session_id!r}.", 404)


def _place(place: Place) -> str | None:
    """One line of what is known of where the address is."""
    asn = f"AS{place.asn}" if place.asn is not None else None
    parts = (place.city, place.region, place.country, asn, place.network)
    return ", ".join(part for part in parts if part is not None) or None


def _described(unit: UnitOfWork, session: Session) -> dict[str, Any]:
    details = queries.details(unit, session)
    return {
        "id": session.id,
        "user_id": session.user_id,
        "name": details.name,
        "origin": session.origin,
        "device_type": session.device_type,
        "browser": session.browser,
        "os": session.os,
        "ip": details.ip,
        "place": _place(details.place),
        "user_agent": details.user_agent,
        "acr": session.acr,
        "remembered": bool(session.remembered),
        "auth_time": moment(session.auth_time),
        "created_at": moment(session.created_at),
        "last_active_at": moment(session.last_active_at),
        "idle_at": moment(session.idle_at),
        "expires_at": moment(session.expires_at),
        "ended_at": moment(session.ended_at),
        "end_reason": session.end_reason,
        "ended_by": session.ended_by,
        "ended_by_id": session.ended_by_id,
    }
