"""`idp sessions`: who is signed in, which browsers stay so, and ending it."""

from typing import Annotated, Any

import typer

from idp.admin import bulk, session_filter, session_search
from idp.admin.session_search import Sort
from idp.cli.opened import ADMIN, change, look, product
from idp.cli.terminal import AsJson, Confirmed, answer, confirm, fields, moment, table
from idp.cli.user import Name, found
from idp.errors import Refused
from idp.policy import management
from idp.sessions import epoch, forgetting, life, lifecycle, queries, remembering
from idp.sessions.model import Session
from idp.sessions.place import Place
from idp.storage.unit_of_work import UnitOfWork

app = typer.Typer(
    no_args_is_help=True,
    help="Sessions: search, list, show; end one or many; browsers that stay signed in.",
)

Terms = Annotated[list[str] | None, typer.Argument(help="What they must be like; all must hold.")]


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
def search(
    terms: Terms = None,
    sort: Annotated[
        Sort | None, typer.Option(help="Such as -last_active_at, created_at or -ended_at.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    as_json: AsJson = False,
) -> None:
    """Find sessions of anybody: `ip:10.0.0.0/8 country:FR device:phone acr<aal2 state:ended`.

    The terms are those of the management API: user, ip, asn, country, device, client, acr, origin,
    state, reason; and created, active, ended compared with a moment, as in `created>2026-11-01`.
    """
    meant = session_filter.parse(" ".join(terms or ()))
    with look() as unit:
        meant = session_search.resolved(unit, meant)
        found: list[Session] = []
        after = None
        # A page may be short although more follow.
        while len(found) < limit:
            page = session_search.page(
                unit, meant, sort=sort, after=after, limit=limit - len(found)
            )
            found += page.sessions
            after = page.next_key
            if after is None:
                break
        data = [_described(unit, session) for session in found]
    shown = ("id", "user_id", "name", "ip", "country", "acr", "last_active_at", "ended_at")
    rows = [[one[column] for column in shown] for one in data]
    heads = ("ID", "USER", "NAME", "IP", "COUNTRY", "ACR", "LAST ACTIVE", "ENDED")
    answer(data, table(heads, rows), as_json=as_json)


@app.command()
def revoke(
    reason: Annotated[str, typer.Option(help="Why; it is kept in the audit log.")],
    terms: Terms = None,
    everybody: Annotated[
        bool, typer.Option("--all", help="Everybody's sessions; takes no terms.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them.")] = False,
    yes: Confirmed = False,
    as_json: AsJson = False,
) -> None:
    """End every running session that the terms mean; see `idp sessions search` for terms."""
    if everybody == bool(terms):
        raise typer.BadParameter("say which sessions, or --all")
    with product() as work:
        with work.read() as unit:
            meant = session_filter.SessionFilter()
            if not everybody:
                meant = session_search.resolved(unit, session_filter.parse(" ".join(terms or ())))
                bulk.matching(meant)
            count = session_search.count(unit, meant, management.ALL)
        data: dict[str, Any] = {"filter": meant.text or bulk.EVERYBODY, "matched": count}
        if not dry_run:
            confirm(f"End {count} sessions ({data['filter']})?", confirmed=yes)
            with work.begin() as unit:
                order = bulk.begin(unit, meant, reason=reason, actor=ADMIN, rights=management.ALL)
            while order.finished_at is None:
                order = bulk.next_step(work, order.id)
            data |= {"operation": order.id, "ended": order.ended}
    answer(data, fields(data), as_json=as_json)


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
    end = life.end_of(session, epoch.present(unit), unit.now)
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
        "country": session.country,
        "user_agent": details.user_agent,
        "acr": session.acr,
        "remembered": bool(session.remembered),
        "auth_time": moment(session.auth_time),
        "created_at": moment(session.created_at),
        "last_active_at": moment(session.last_active_at),
        "idle_at": moment(session.idle_at),
        "expires_at": moment(session.expires_at),
        "challenged_at": moment(session.challenged_at),
        "challenged_for": session.challenged_for,
        "ended_at": moment(end.at if end is not None else None),
        "end_reason": end.reason if end is not None else None,
        "ended_by": end.by if end is not None else None,
        "ended_by_id": end.by_id if end is not None else None,
    }
