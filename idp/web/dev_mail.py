"""/dev/mail: what would have been sent, for whoever tries the product out without a mail server.

There only while mail is kept (`idp.notify.mailbox`); else the address does not exist. The links in
these mails let whoever reads them sign in, so another site must not reach the page through a name
that it points at this machine (DNS rebinding): the name asked for must be one of loopback.
"""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from markupsafe import Markup, escape
from starlette.responses import Response
from starlette.routing import Route

from idp.clock import Instant
from idp.errors import Refused
from idp.hosts import is_loopback_host
from idp.notify import mailbox
from idp.web import errors
from idp.web.http import PageRequest, WebContext, route

PATH = "/dev/mail"


@dataclass(frozen=True, slots=True)
class MailRow:
    """A mail as the page shows it: its text in paragraphs, with our links to follow."""

    id: str
    to: str
    subject: str
    at: Instant
    paragraphs: list[Markup]


def routes(context: WebContext) -> list[Route]:
    """/dev/mail."""
    return [route(context, PATH, errors.PUBLIC, {"GET": show})]


def show(context: WebContext, request: PageRequest) -> Response:
    """GET /dev/mail"""
    if not mailbox.is_open(context.settings) or not _asked_on_loopback(request):
        raise Refused("not_found", "There is no page at this address.", 404)
    with context.work.read() as unit:
        kept = mailbox.newest(unit)
    rows = [
        MailRow(
            id=one.id,
            to=one.to,
            subject=one.letter.subject,
            at=one.at,
            paragraphs=_paragraphs(one.letter.text, context.settings.issuer),
        )
        for one in kept
    ]
    return context.renderer.page("dev_mail.html", language=request.language, mails=rows)


def _asked_on_loopback(request: PageRequest) -> bool:
    try:
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname
    except ValueError:
        return False
    return host is not None and is_loopback_host(host)


def _paragraphs(text: str, issuer: str) -> list[Markup]:
    """The text of a mail as HTML; only our own addresses become links."""
    ours = re.compile(rf"({re.escape(issuer)}/[^\s<>\"]*)")
    return [
        Markup("<br>").join(_linked(line, ours) for line in paragraph.splitlines())
        for paragraph in text.split("\n\n")
        if paragraph.strip()
    ]


def _linked(line: str, ours: re.Pattern[str]) -> Markup:
    # Split by a pattern with one group: every second piece is an address.
    return Markup("").join(
        Markup('<a href="{}">{}</a>').format(piece, piece) if number % 2 else escape(piece)
        for number, piece in enumerate(ours.split(line))
    )
