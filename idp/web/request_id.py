"""A number for each request, in its answer (`X-Request-Id`) and in every log line written for it.

Always ours, never what was sent: what a stranger writes into a header does not go into our logs.
"""

import secrets
from contextvars import ContextVar

from starlette.types import Message, Send

# Threads that work for a request take it along: they run in a copy of its context.
_current: ContextVar[str | None] = ContextVar("request_id", default=None)


def begin() -> str:
    """Numbers the request that begins now, for as long as its task runs."""
    number = secrets.token_hex(8)
    _current.set(number)
    return number


def current() -> str | None:
    """The number of the request that this line is written for, if it is for one."""
    return _current.get()


def telling(number: str, send: Send) -> Send:
    """`send` that puts the number into the answer."""
    header = (b"x-request-id", number.encode())

    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), header]
        await send(message)

    return told
