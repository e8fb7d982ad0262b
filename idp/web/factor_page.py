"""The page that asks for one factor: after a password, and in a step-up.

Owns what it shows: the method that is tried first, the others as choices, and the ceremony that an
answer belongs to. It works without JavaScript, but for passkeys, which need it anywhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.responses import Response

from idp.sessions import ceremony as ceremonies
from idp.sessions.ceremony import Ceremony
from idp.sessions.prove import Rejected
from idp.users import passkeys
from idp.web.http import PageRequest, WebContext

if TYPE_CHECKING:
    from idp.web.visitor import Visitor

FIELD = "ceremony"


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for, for what (`why` is a code of words.html), and where the answer goes.

    `trust` is "offered" where the browser may be trusted.
    """

    action: str
    hidden: Mapping[str, str]
    methods: Sequence[str]
    method: str
    username: str
    why: str
    app: str | None
    ceremony: Ceremony
    trust: str = "not_offered"
    form_actions: tuple[str, ...] = ()
    # In a session that runs: whose it is.
    visitor: "Visitor | None" = None


def ceremony_in(context: WebContext, request: PageRequest, *, purpose: str) -> Ceremony | None:
    """The ceremony that a form of this browser carried for this purpose, if it has not run out."""
    return ceremonies.opened(
        request.form.get(FIELD, ""),
        context.work.vault,
        purpose=purpose,
        browser_hash=request.browser_hash,
        now=context.work.clock.now(),
    )


def chosen(wanted: str | None, methods: Sequence[str]) -> str:
    """The method to show: the wanted one where it is offered, else the best."""
    return wanted if wanted is not None and wanted in methods else methods[0]


def show(
    context: WebContext, request: PageRequest, asked: Asked, problem: Rejected | None = None
) -> Response:
    """The page for one method."""
    options = None
    if asked.method == "passkey":
        with context.work.read() as unit:
            options = passkeys.request_options(
                unit,
                challenge=ceremonies.challenge(asked.ceremony, context.work.vault),
                user_id=asked.ceremony.user_id,
            )
    sealed = ceremonies.seal(asked.ceremony, context.work.vault)
    watched = {"visitor": asked.visitor} if asked.visitor is not None else {}
    response = context.renderer.page(
        "factor.html",
        language=request.language,
        status=problem.status if problem is not None else 200,
        form_actions=asked.form_actions,
        asked=asked,
        **watched,
        hidden={**asked.hidden, FIELD: sealed, "method": asked.method},
        options=options,
        problem=problem,
    )
    if problem is not None and problem.retry_after is not None:
        response.headers["Retry-After"] = str(problem.retry_after)
    return response
