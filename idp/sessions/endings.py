"""Every way a session ends: its code, what its person reads, what it means to an app, what outlives it.

The one table of it (row T10). Pages take `title` and `sentence`, apps get `code` with `meaning` in
the problems of our API and in `error_description` of the token endpoint, README documents both, and
a test holds the four together. `spares` names what does not end with the session; everything else
does: its tokens, its codes, and what was approved in it and not fetched. What ends a session, and
with which code, is `lifecycle`.

Sentences go through gettext where they are shown. They are constants with named places: `%(by)s` is
the device or app that ended it, `%(span)s` the idle time, `%(lasted)s` how long it had lasted.
`meaning` is in the characters that RFC 6749 section 5.2 allows, and names nobody.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, cast

from idp.clock import Instant
from idp.policy import timeouts

EndReason = Literal[
    "signed_out",  # by the person, from the session itself or their account page
    "signed_out_everywhere",
    "client_logout",  # RP-initiated logout
    "replaced",  # somebody else signed in with this browser
    "renewed",  # its person signed in again shortly before its end
    "limit",  # gave way to a newer session
    "idle_timeout",
    "absolute_timeout",
    "temporary",  # it was to last so long and no longer, whatever happened
    "hours",  # closing time
    "password_changed",
    "elsewhere",  # used from elsewhere or on another device, and a rule ends that
    "network",  # used from a network it may not be used from
    "disowned",  # "This wasn't me"
    "factor_removed",  # it rested on a passkey or code that is taken no more
    "remember_copied",  # the cookie by which its browser stays signed in was copied
    "user_disabled",
    "restored",  # the database was put back from a backup
    "admin",
    "parent_ended",  # the session that let it in ended, and its person had wished so
    "moved",  # it went on on another device
]
# What may outlive a session: those that it let in, access that apps keep without it
# (`offline_access`), and that its browser stays signed in.
Dependant = Literal["let_in", "offline", "browser"]
# Time alone ended it: what was allowed to go on goes on until somebody ends it.
_ALL: frozenset[Dependant] = frozenset({"let_in", "offline", "browser"})
# Nobody meant the browser: it may come back by itself, as it was told.
_BROWSER: frozenset[Dependant] = frozenset({"browser"})
_NOTHING: frozenset[Dependant] = frozenset()


@dataclass(frozen=True, slots=True)
class Ending:
    """One way to end. `named` is the sentence for when it is known what ended it."""

    title: str
    sentence: str
    meaning: str
    named: str | None = None
    spares: frozenset[Dependant] = _NOTHING


ENDINGS: dict[EndReason, Ending] = {
    "signed_out": Ending(
        "You signed out",
        "This session was signed out from your account.",
        "Its person signed it out.",
        "You signed this session out from “%(by)s”.",
    ),
    "signed_out_everywhere": Ending(
        "You signed out everywhere",
        "You signed out of every session of yours, or of all others.",
        "Its person signed out everywhere, or everywhere else.",
        "You signed out of your other sessions from “%(by)s”.",
    ),
    "client_logout": Ending(
        "An app signed you out",
        "You signed out in an app, which signs you out of all of them.",
        "Its person signed out in an app, which asked for the logout.",
        "You signed out in %(by)s, which signs you out of every app.",
    ),
    "replaced": Ending(
        "Somebody else is signed in",
        "Somebody else signed in with this browser.",
        "Somebody else signed in with its browser.",
        spares=_BROWSER,
    ),
    "renewed": Ending(
        "You signed in again",
        "You signed in again in this browser, which began a new session.",
        "Its person signed in again before it ran out; there is a new session.",
        spares=_BROWSER,
    ),
    "limit": Ending(
        "You signed in on too many devices",
        "Your session ended because you signed in on another device and had reached the limit.",
        "Its person reached the number of sessions they may have.",
        "You signed this session out to make room for “%(by)s”.",
        spares=_BROWSER,
    ),
    "idle_timeout": Ending(
        "You were away for a while",
        "Your session ended after %(span)s without activity.",
        "It was not used for its idle time.",
        spares=_ALL,
    ),
    "absolute_timeout": Ending(
        "Your session is over",
        "Your session reached its longest time: it had lasted %(lasted)s.",
        "It reached the longest time it may last.",
        spares=_ALL,
    ),
    "temporary": Ending(
        "Your time is over",
        "Your session was temporary: it was to end after %(lasted)s, whatever happened.",
        "It was temporary, and its time is over.",
        spares=_BROWSER,
    ),
    "hours": Ending(
        "It is closing time",
        "Your session ended because the hours in which you may be signed in were over.",
        "The hours in which its person may be signed in are over.",
        spares=_BROWSER,
    ),
    "password_changed": Ending(
        "Your password was changed",
        "Your session ended because your password was changed. Please use the new one.",
        "The password of its person was changed.",
    ),
    "elsewhere": Ending(
        "Used from somewhere else",
        "Your session ended because it was used from somewhere else, or on another device.",
        "It was used from somewhere else, or on another device.",
    ),
    "network": Ending(
        "Not from this network",
        "Your session ended because it was used from a network it may not be used from.",
        "It was used from a network it may not be used from.",
    ),
    "disowned": Ending(
        "You said it wasn’t you",
        "Your session ended because you said that it wasn’t you.",
        "Its person said that it was not them.",
    ),
    "factor_removed": Ending(
        "What you signed in with is gone",
        "Your session ended because what it was begun with is not taken any more.",
        "It rested on a passkey or code that is not taken any more.",
    ),
    "remember_copied": Ending(
        "This browser’s cookie was copied",
        "Your session ended because a copy of the cookie that keeps this browser signed in was used.",
        "The cookie that keeps its browser signed in was copied.",
    ),
    "user_disabled": Ending(
        "Your account was disabled",
        "Your session was ended by an administrator, who disabled your account.",
        "Its person may not sign in any more.",
    ),
    "parent_ended": Ending(
        "You signed out where you let this device in",
        "Your session ended together with the one that had let this device in, as you had wished.",
        "The session that let it in ended, and its person had wished that it ends too.",
    ),
    "moved": Ending(
        "You moved this session",
        "You moved this session to another device, and are signed out here.",
        "Its person went on on another device, in a session of its own.",
        "You moved this session to “%(by)s”, and are signed out here.",
    ),
    "restored": Ending(
        "Please sign in again",
        "Your session ended because this service was put back from a backup.",
        "The database was restored from a backup, which ends every session.",
    ),
    "admin": Ending(
        "An administrator signed you out",
        "Your session was ended by an administrator.",
        "An administrator ended it.",
    ),
}


# Why sessions end that were given a nearer end (`expiry.end_soon`).
ENDS_SOON: Literal["password_changed"] = "password_changed"
# Ends by time alone.
EXPIRY: frozenset[str] = frozenset(code for code, one in ENDINGS.items() if one.spares == _ALL)


def takes(reason: str | None, what: Dependant) -> bool:
    """Whether this end takes `what` along; one that is not known does."""
    ending = ENDINGS.get(cast("EndReason", reason))
    return ending is None or what not in ending.spares


def told_to_app(reason: str) -> str:
    """What an app reads of its session's end: the code in parentheses, then its meaning."""
    known = {str(code): ending.meaning for code, ending in ENDINGS.items()}
    return f"The session has ended ({reason}). {known.get(reason, '')}".rstrip()


def why_over(ran: timeouts.Ran, expiry_reason: str | None) -> EndReason:
    """Why a session ends whose deadline has passed.

    One that was only left a while for a new password ends for that, also where it rested too long
    before: else the access that apps keep without it would outlive the password.
    """
    if expiry_reason == ENDS_SOON:
        return ENDS_SOON
    if ran == "absolute_timeout" and expiry_reason is not None:
        return cast("EndReason", expiry_reason)
    return ran


class Endable(Protocol):
    """What `reason_of` needs to know of a session, however it was read."""

    @property
    def ended_at(self) -> Instant | None: ...
    @property
    def end_reason(self) -> str | None: ...
    @property
    def idle_at(self) -> Instant: ...
    @property
    def expires_at(self) -> Instant: ...
    @property
    def expiry_reason(self) -> str | None: ...


def reason_of(session: Endable, now: Instant) -> str | None:
    """Why a session is over at `now`, also before the worker has said so; None while it lives."""
    if session.ended_at is not None:
        return session.end_reason
    ran = timeouts.ran_out(idle_at=session.idle_at, expires_at=session.expires_at, now=now)
    return why_over(ran, session.expiry_reason) if ran is not None else None


def deadline(session: Endable) -> Instant:
    """When time ends a session that nothing else ends."""
    return min(session.idle_at, session.expires_at)


def ended_at(session: Endable) -> Instant:
    """When a session that is over ended: at the deadline it met, which may be noticed later."""
    met = deadline(session)
    return met if session.ended_at is None else min(met, session.ended_at)
