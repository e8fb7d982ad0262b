"""At which stage a pairing is for those who look at it: one word each, for pages and scripts.

A stage is the state of its row as time leaves it; who may move it on is `idp.sessions.pairing`.

| stage | the device that asks | the one that approves |
|---|---|---|
| `pending` | shows a code | shows the code, in a move |
| `claimed` | shows the number | is asked |
| `approved` | may come for its session | has said yes |
| `consumed` | came for it | is told so |
| `denied` | is told so | has said no, or took it back |
| `reported` | is told `denied`: a stranger need not know more | has said that it was not them |
| `expired` | is told so | is told so |
"""

from typing import Literal, cast

from idp.clock import MINUTE, Duration, Instant
from idp.sessions.model import Pairing
from idp.sessions.pairing import UNDECIDED

# A page that shows a code replaces it by itself, for as long as this.
WAITING: Duration = 10 * MINUTE

Stage = Literal["pending", "claimed", "approved", "consumed", "denied", "reported", "expired"]


def of(asked: Pairing, now: Instant) -> Stage:
    """The stage at which a pairing is, for its approver."""
    until = asked.expires_at
    if asked.state == "pending":
        until = max(until, asked.created_at + WAITING)
    is_late = asked.state in UNDECIDED and now >= until
    return "expired" if is_late else cast("Stage", asked.state)


def for_asker(asked: Pairing, now: Instant) -> Stage:
    """The same for the device that asks."""
    found = of(asked, now)
    return "denied" if found == "reported" else found
