"""Forms that were made for another session than the one that runs in this browser (row T10).

Two tabs, one browser: in one of them somebody signed in again, confirmed that it is them, or is
somebody else by now. The other's form is refused as ever, but says why, and what was typed is not
lost: the same person is offered it again under a token of now, anybody else only sees it. A token
that is not of this browser is a stranger's, and explained to nobody.
"""

from typing import TYPE_CHECKING, Literal

from starlette.responses import Response

from idp.errors import Refused
from idp.sessions.model import Session
from idp.web import csrf, kept_form
from idp.web.csrf import MadeFor
from idp.web.elevation import Kept
from idp.web.http import PageRequest, WebContext
from idp.web.local_path import ACCOUNT

if TYPE_CHECKING:
    from idp.web.visitor import Visitor

# Of the form's person: the session ended meanwhile, they proved more in it, or began another.
Why = Literal["ended", "proved", "again"]
_SENTENCES: dict[Why, str] = {
    "proved": "You confirmed that it’s you in another tab since this page was opened, so nothing "
    "was changed. Please go back, reload it and try again.",
    "again": "You signed in again in another tab since this page was opened, so nothing was "
    "changed. Please go back, reload it and try again.",
}


def answer(
    context: WebContext, request: PageRequest, visitor: "Visitor", made: MadeFor | None
) -> Response:
    """The answer to a form whose token was made for another session, or for an earlier proof."""
    if made is None:
        raise csrf.refusal()
    why: Why = "proved"
    if made.session_id != visitor.session.id:
        with context.work.read() as unit:
            of = unit.orm.get(Session, made.session_id)
        if of is None or of.device_hash != request.browser_hash:
            raise csrf.refusal()
        if of.user_id != visitor.user.id:
            return _somebody_else(context, request, visitor)
        why = "again"
    kept = kept_form.of_request(request)
    if kept is None:
        raise Refused("form_expired", _SENTENCES[why], 403)
    if request.path == f"{ACCOUNT}/{made.session_id}/end":
        # "Sign out" means the session of this browser, whichever that is.
        kept = Kept(f"{ACCOUNT}/{visitor.session.id}/end", {})
    return offer(context, request, visitor, kept, why=why, status=403)


def offer(
    context: WebContext,
    request: PageRequest,
    visitor: "Visitor",
    kept: Kept,
    *,
    why: Why,
    status: int = 200,
) -> Response:
    """The form again, as what it is and with what was typed, to be sent or left."""
    return context.renderer.page(
        "form_again.html",
        language=request.language,
        status=status,
        visitor=visitor,
        why=why,
        does=kept_form.offered(kept),
        typed={name: kept.form[name] for name in kept_form.TYPED if kept.form.get(name)},
        action=kept.path,
        hidden={**kept.form, csrf.FIELD: visitor.csrf},
        back=kept_form.page_of(kept),
    )


def _somebody_else(context: WebContext, request: PageRequest, visitor: "Visitor") -> Response:
    """They sit at the same browser, and have the other's page open: what it says is no secret."""
    return context.renderer.page(
        "form_of_somebody_else.html",
        language=request.language,
        status=403,
        username=visitor.user.username,
        typed={name: request.form[name] for name in kept_form.TYPED if request.form.get(name)},
    )
