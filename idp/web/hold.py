"""Sessions that are held: what their person must prove before any page of theirs is shown.

Owns the reasons (a challenge, a proof that is due by rule, a network they may not come from) and what
a page answers. Pages of strangers are shown as ever; so is the way out.
"""

from dataclasses import dataclass
from typing import Literal

from starlette.responses import Response

from idp.errors import Refused
from idp.policy import assurance, reauthentication
from idp.policy.assurance import Demand
from idp.policy.changes import Change
from idp.policy.selection import Book
from idp.sessions import admission, challenge, movement
from idp.sessions.device import Visit
from idp.sessions.endings import ENDINGS
from idp.sessions.model import Session
from idp.sessions.subject import subject
from idp.storage.unit_of_work import UnitOfWork
from idp.users.model import User
from idp.web import elevation, errors, kept_form
from idp.web.elevation import STEP_UP
from idp.web.http import PageRequest, WebContext

Why = Literal[Change, "due", "network_not_allowed"]


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a session is held, and what ends it; without a demand nothing does that is done here."""

    why: Why
    demand: Demand | None


@dataclass(frozen=True, slots=True)
class Ended:
    """The session is over for having been used so."""


def of(
    unit: UnitOfWork, session: Session, user: User, visit: Visit, book: Book
) -> Hold | Ended | None:
    """What holds a session that is used by a page now; None: nothing, and the page is shown."""
    found = movement.judge(session, tuple(user.roles), visit, book, unit.now)
    movement.carry_out(unit, session.id, found, visit)
    if found.fate == "ended":
        return Ended()
    if found.fate == "refused":
        return Hold("network_not_allowed", None)
    return of_itself(unit, session, user, book)


def of_itself(unit: UnitOfWork, session: Session, user: User, book: Book) -> Hold | None:
    """What holds a session wherever it is used."""
    challenged = challenge.of(unit, session)
    if challenged is not None:
        return Hold(challenged.change, challenged.demand)
    due = reauthentication.demand(book, subject(session, user.roles), unit.now)
    # Of any level: whoever has to enrol a second factor first does that here.
    wanted = Demand(assurance.PROVED, due.since) if due is not None else None
    if wanted is None or elevation.is_met(session, wanted):
        return None
    return Hold("due", wanted)


def is_over(session: Session, hold: Hold) -> bool:
    """Whether a challenge that held this session has been met since, as its row says."""
    return hold.why != "due" and session.challenged_at is None


def answer(
    context: WebContext, request: PageRequest, session: Session, hold: Hold | None
) -> Response | None:
    """What is answered instead of a page of a held session; None: the page itself.

    The step-up page is where a hold is ended. Where they may not come from, nobody ends it; signing out
    is open to them.
    """
    if hold is None:
        return None
    if hold.demand is None:
        return errors.page(
            context,
            Refused("network_not_allowed", admission.NOT_FROM_HERE, 403),
            language=request.language,
            theme=request.theme,
            title=ENDINGS["network"].title,
            links=[("Try again", kept_form.page_for(request)), ("Sign out", "/logout")],
        )
    if request.path == STEP_UP:
        return None
    return elevation.lead(context, request, session, "go_on")
