"""One connection of a client: how much it may send before it has said something, and for how long.

The parser of the server takes a head of any size and waits for it for ever, so one stranger's line of
50 MB keeps everybody waiting, and open connections that say nothing use up the files of the process.
A proxy in front of us usually bounds both; we do not count on it. Bodies are bounded where they are
read (`idp.web.http`, `idp.web.wire`), because only there can the client be told.

Fields after a chunked body (trailers) are dropped: the parser would add them to the head of the
request, where one that says `X-Forwarded-For` would pass for our proxy's (RFC 9110 section 6.5.1).
So would a request inside the body of one that asks for another protocol, whose body the parser does
not read as such: whoever asks for one may have no body.
"""

import asyncio
import resource
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Bytes that are neither part of a body nor end a head.
UNHEARD_MAXIMUM = 64 * 1024
# Seconds in which a request must be here, with its body: 64 KiB over a bad line take ten.
ARRIVES_WITHIN = 30.0
# Requests that may wait behind the one being answered. Browsers and proxies send none ahead.
MOST_AHEAD = 16


class Connection(HttpToolsProtocol):
    """The protocol of `uvicorn`, within these bounds."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._most = most_connections()
        self._deadline: asyncio.TimerHandle | None = None
        self._in_head = False
        # What is said of a request that we refuse and the parser would not.
        self._why: str | None = None
        # Of what came last, whether it said something, and how much came since the last that did.
        self._was_heard = False
        self._unheard = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._most:
            transport.abort()
            return
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_longer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._was_heard = False
        super().data_received(data)
        if self.transport.is_closing():
            return
        self._unheard = 0 if self._was_heard else self._unheard + len(data)
        if self._unheard > UNHEARD_MAXIMUM:
            self._refuse()
        elif self._deadline is None and self._is_idle:
            # Bytes that begin nothing, such as empty lines, do not keep a connection open.
            self._wait()

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MOST_AHEAD:
            # Raised, it stops the parser, which would go on to the end of what came.
            self._why = "Too many requests at once."
            raise ValueError(self._why)
        super().on_message_begin()
        self._in_head = True
        if self._deadline is None:
            self._wait()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head, self._was_heard = False, True
        if self.parser.should_upgrade() and any(_announces_a_body(*one) for one in self.headers):
            self._why = "A request for another protocol may have no body."
            raise ValueError(self._why)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._was_heard = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._was_heard = True
        self._wait_no_longer()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        super().send_400_response(self._why or msg)

    def _unsupported_upgrade_warning(self) -> None:
        """Whoever asks for another protocol gets this one, and no lines in the log (RFC 9110 7.8)."""

    @property
    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _wait(self) -> None:
        self._deadline = self.loop.call_later(ARRIVES_WITHIN, self._give_up)

    def _wait_no_longer(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if self.flow.read_paused:
            # It is we who do not listen, busy with what came before.
            self._wait()
            return
        self.transport.abort()

    def _refuse(self) -> None:
        if self._in_head and self._is_idle:
            self.send_400_response("The head of this request is too long.")
        else:
            self.transport.abort()


def _announces_a_body(name: bytes, value: bytes) -> bool:
    # Some clients announce that there is none.
    return name == b"transfer-encoding" or (name == b"content-length" and value.strip() != b"0")


def most_connections() -> int:
    """A connection is a file; a quarter of those the process may open stays for everything else.

    Of each port: the one for management is not for strangers, and would hardly use its own up.
    """
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1_000_000 if most == resource.RLIM_INFINITY else most * 3 // 4
