"""The app's own sessions: kept on the server, so that the provider can end them.

The browser holds only a random id. A session in a signed cookie could not be ended from outside:
back-channel logout (OpenID Connect Back-Channel Logout 1.0) reaches this server, not the browser.

This is a dictionary in memory and fits one process. With several processes, or restarts that must
not sign people out, keep the same fields in your database or Redis, found by `sid` and by `sub`.
"""

import math
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

import anyio

from .payments import Payments

LASTING = 24 * 3600
# A logout may arrive while the sign-in it concerns is still being finished.
ENDED_REMEMBERED = 600
MAXIMUM = 10_000


@dataclass(eq=False, slots=True)
class Session:
    """One browser signed in to this app. `sid` is the provider's session it hangs on."""

    sub: str
    sid: str | None
    name: str
    tokens: dict[str, Any]
    id_token: str
    id: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    signed_in_at: float = field(default_factory=time.time)
    # When the provider's session ends at the latest (`session_expiry` of the ID token), and when unless
    # somebody uses it: to warn of. Another app may use it, so that may come later.
    session_expiry: float = math.inf
    rests_until: float = math.inf
    # Held while tokens are refreshed, so that parallel requests refresh once.
    refreshing: anyio.Lock = field(default_factory=anyio.Lock)
    # Set when the session ends: pages that were left open wait for it.
    ended: anyio.Event = field(default_factory=anyio.Event)
    payments: Payments = field(default_factory=Payments)

    def __post_init__(self) -> None:
        self.took(self.tokens)

    @property
    def expires_at(self) -> float:
        """When this one ends at the latest."""
        return min(self.session_expiry, self.signed_in_at + LASTING)

    def took(self, tokens: dict[str, Any]) -> None:
        """Keeps what a token response brought, and until when it is good for without another."""
        self.tokens = tokens
        if "refresh_token_timeout" in tokens:
            self.rests_until = time.time() + tokens["refresh_token_timeout"]


class Sessions:
    """All sessions of this app."""

    def __init__(self) -> None:
        self._by_id: dict[str, Session] = {}
        self._ended: dict[str, float] = {}

    def start(self, session: Session, *, instead_of: Session | None = None) -> bool:
        """Keeps the session; False when the provider has ended it in the meantime.

        The same person's session `instead_of` which it begins goes on in it under the new id: they
        proved more, and their open pages stay signed in. Anybody else's ends.
        """
        if instead_of is not None and instead_of.sub == session.sub:
            session.ended, session.payments = instead_of.ended, instead_of.payments
            self._by_id.pop(instead_of.id, None)
        elif instead_of is not None:
            self.end(instead_of)
        self._forget_old()
        if session.sid in self._ended or session.ended.is_set():
            session.ended.set()
            return False
        self._by_id[session.id] = session
        return True

    def find(self, session_id: str | None) -> Session | None:
        session = self._by_id.get(session_id or "")
        if session is not None and session.expires_at <= time.time():
            self.end(session)
            return None
        return session

    def end(self, session: Session) -> None:
        if self._by_id.pop(session.id, None) is not None:
            session.ended.set()

    def end_by(self, *, sid: str | None, sub: str | None) -> int:
        """Ends what a logout token names: the session `sid`, else every session of `sub`."""
        if sid is not None:
            self._ended[sid] = time.time()
        named = [
            session
            for session in self._by_id.values()
            if (session.sid == sid if sid is not None else session.sub == sub)
        ]
        for session in named:
            self.end(session)
        return len(named)

    def _forget_old(self) -> None:
        now = time.time()
        self._ended = {sid: at for sid, at in self._ended.items() if at > now - ENDED_REMEMBERED}
        for session in list(self._by_id.values()):
            # Sessions are in the order of their start, so the first ones are the oldest.
            if session.expires_at > now and len(self._by_id) < MAXIMUM:
                break
            self.end(session)


class Trips:
    """What must survive a browser's trip to the provider and back: state, nonce, PKCE verifier.

    authlib keeps it in the dictionary it finds as `request.session`. It has a cookie of its own, so
    that nothing from before the sign-in is left in the session that begins after it.
    """

    LASTING = 600

    def __init__(self) -> None:
        self._by_id: dict[str, tuple[float, dict[str, Any]]] = {}

    def of(self, trip_id: str | None) -> tuple[str, dict[str, Any]]:
        """The trips of a browser by its cookie, or a new place for them."""
        now = time.time()
        while self._by_id:
            oldest = next(iter(self._by_id))
            if self._by_id[oldest][0] > now - self.LASTING and len(self._by_id) < MAXIMUM:
                break
            del self._by_id[oldest]
        if trip_id is None or trip_id not in self._by_id:
            trip_id = secrets.token_urlsafe(32)
            self._by_id[trip_id] = (now, {})
        return trip_id, self._by_id[trip_id][1]
