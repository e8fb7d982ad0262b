"""Who may sign in here and now, in words (C2, C3).

The rules' answer is `idp.policy.admission`. Every session begins in `beginning.start`, which asks here;
`sign_in` asks before, so that a refusal is recorded and nobody else's session makes way for nothing.
"""

import logging
from zoneinfo import ZoneInfo

from idp.clock import Instant, to_datetime
from idp.errors import Refused
from idp.languages import Moment, Sentence
from idp.policy import admission
from idp.policy.admission import Barred
from idp.policy.selection import Book, Subject

NOT_FROM_HERE = (
    "Your account may not be used from this network. "
    "If you have a VPN for it, switch it on and try again."
)
_CLOSED = "You cannot sign in at this time."

_log = logging.getLogger(__name__)


def barred(book: Book, subject: Subject, now: Instant) -> Barred | None:
    """What keeps somebody from signing in; None when nothing does."""
    found = admission.barred(book, subject, now)
    if found is not None and found.why == "outside_hours" and found.timezone is None:
        _log.error("an hours rule cannot be read, so nobody may sign in whom it is for")
    return found


def require(book: Book, subject: Subject, now: Instant) -> None:
    """Raises `Refused` for somebody who may not sign in: `outside_hours`, `network_not_allowed`."""
    found = barred(book, subject, now)
    if found is not None:
        raise Refused(found.why, sentence(found), 403)


def sentence(found: Barred) -> str:
    """What somebody is told who may not sign in."""
    if found.why == "network_not_allowed":
        return NOT_FROM_HERE
    if found.opens_at is None or found.timezone is None:
        return _CLOSED
    opens = to_datetime(found.opens_at).astimezone(ZoneInfo(found.timezone))
    return Sentence(
        "You cannot sign in at this time. You can again from %(when)s (%(timezone)s).",
        when=Moment(opens),
        timezone=found.timezone,
    )
