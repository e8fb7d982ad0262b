"""Sensitive operations: the fresh proof each needs, and keeping a form while it is given (row T5).

Owns which operations there are and what they demand. Proving itself is `idp.web.step_up`. A form
that came without a fresh enough proof is sealed, shown to nobody, and offered again afterwards; what
was typed into password fields is left out of it.

Going on at all ("go_on") demands nothing by itself: what a held session needs is `idp.web.hold`.
Everything else that changes an account ("manage_account") demands that somebody proved anything at
all in this session: whoever merely sits at a remembered browser sees, and signs themselves out.
Specs: OWASP ASVS 5.0 sections 7.5.1, 7.5.2 and 7.5.3.
"""

from dataclasses import dataclass, replace
from typing import Literal, get_args
from urllib.parse import urlencode

import orjson
from starlette.responses import RedirectResponse, Response

from idp.clock import SECOND
from idp.oauth import devices
from idp.policy import assurance
from idp.policy.assurance import PAIRING, Demand
from idp.sessions.model import Pairing, Session
from idp.storage.unit_of_work import UnitOfWork
from idp.storage.vault import Unreadable, Vault
from idp.users import factors
from idp.users.model import User
from idp.web import csrf
from idp.web.http import PageRequest, WebContext

Operation = Literal[
    "change_password",
    "change_email",
    "change_factors",
    "see_secrets",
    "end_everything",
    "let_in",
    "manage_account",
    "administer",
    "go_on",
]
OPERATIONS: tuple[Operation, ...] = get_args(Operation)
STEP_UP = "/step-up"
# Longer forms are not kept: nothing of ours has them.
KEPT_MAXIMUM = 8_192


@dataclass(frozen=True, slots=True)
class Kept:
    """A form that waits for a proof: where it goes, and its fields."""

    path: str
    form: dict[str, str]


def demand(unit: UnitOfWork, user_id: str, operation: Operation) -> Demand:
    """What an operation demands: everything the person can be asked for, and recently.

    On this very device: that another one let it in proves nothing here.
    """
    if operation == "go_on":
        return Demand(assurance.LADDER[0])
    if operation == "manage_account":
        return Demand(assurance.PROVED)
    able = factors.enrolled(unit, user_id)
    acr = "aal2" if factors.has_second(able) else "aal1"
    since = unit.now - unit.settings.assurance.elevation * SECOND
    return Demand(acr, since, frozenset({PAIRING}))


def for_pairing(unit: UnitOfWork, asked: Pairing, session: Session, user: User) -> Demand:
    """What must be proved to let another device in: the same, and what its app asks for."""
    own = demand(unit, user.id, "let_in")
    if asked.kind != "device":
        return own
    acr = assurance.highest([own.acr, devices.least(unit, asked, session, user)])
    return replace(own, acr=acr)


def is_met(session: Session, wanted: Demand) -> bool:
    """Whether what was proved in a session is enough: every page asks it here."""
    return assurance.meets(assurance.proofs(session.authentications), wanted)


def is_proved(session: Session) -> bool:
    """Whether anybody proved who they are in this session, at any time."""
    return is_met(session, Demand(assurance.PROVED))


def ask(
    context: WebContext, request: PageRequest, session: Session, operation: Operation
) -> Response | None:
    """The way to the step-up page, or None when the session's proofs are good enough."""
    with context.work.read() as unit:
        wanted = demand(unit, session.user_id, operation)
    if is_met(session, wanted):
        return None
    return lead(context, request, session, operation)


def lead(
    context: WebContext, request: PageRequest, session: Session, operation: Operation
) -> Response:
    """The way to the step-up page and back again, with the form that was sent."""
    where = {"for": operation, "next": request.path}
    if request.method == "POST":
        kept = _keep(context.work.vault, session, Kept(request.path, dict(request.form)))
        if kept is None:
            return RedirectResponse(f"{STEP_UP}?{urlencode(where)}", 303)
        # A form, not an address, carries it: addresses are logged.
        return context.renderer.page(
            "step_up_first.html",
            language=request.language,
            action=STEP_UP,
            hidden={
                **where,
                "kept": kept,
                csrf.FIELD: csrf.for_session(context.work.vault, session),
            },
        )
    if request.query:
        where["next"] += "?" + urlencode(dict(request.query))
    return RedirectResponse(f"{STEP_UP}?{urlencode(where)}", 303)


def opened(vault: Vault, session_id: str, sealed: str) -> Kept | None:
    """A form that was kept for this very session."""
    try:
        values = orjson.loads(vault.open_text(sealed, _context(session_id)))
    except Unreadable:
        return None
    return Kept(values["path"], values["form"])


def _keep(vault: Vault, session: Session, kept: Kept) -> str | None:
    form = {name: value for name, value in kept.form.items() if not is_private(name)}
    text = orjson.dumps({"path": kept.path, "form": form}).decode()
    return vault.seal_text(text, _context(session.id)) if len(text) <= KEPT_MAXIMUM else None


def is_private(name: str) -> bool:
    """Whether a field of this name holds what is kept nowhere."""
    return name == csrf.FIELD or "password" in name or name in ("code", "credential")


def _context(session_id: str) -> str:
    return f"kept:{session_id}"
