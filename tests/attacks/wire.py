"""Requests as bytes, straight into the application: what a well-behaved client library cannot send.

One event loop for all of them, as in the server, and no thread a request, so that a test can send
thousands. `together` has many under way at once.
"""

import asyncio
import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.types import ASGIApp, Message

from tests.harness.provider import Registered, Started

FORM = "application/x-www-form-urlencoded"
Pairs = Mapping[str, str] | Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Request:
    """One request; `form` is encoded, or sent as it is when it is bytes."""

    method: str
    path: str
    query: bytes = b""
    form: Pairs | bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        if self.form is None or isinstance(self.form, bytes):
            return self.form or b""
        return urlencode(self.form).encode()

    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        given = {name.lower(): value for name, value in self.headers.items()}
        if self.form is not None:
            given.setdefault("content-type", FORM)
        return [(name.encode(), value.encode()) for name, value in given.items()]


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    @property
    def location(self) -> str | None:
        return self.header("location")

    @property
    def json(self) -> dict[str, Any]:
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found

    @property
    def redirected(self) -> dict[str, str]:
        """The parameters of a redirect; none comes twice."""
        pairs = parse_qsl(urlsplit(self.location or "").query, keep_blank_values=True)
        assert len(dict(pairs)) == len(pairs), self.location
        return dict(pairs)

    @property
    def error(self) -> str | None:
        """The error code, in the JSON body or in the redirect."""
        code = self.json["error"] if self.location is None else self.redirected.get("error")
        assert code is None or isinstance(code, str)
        return code


class Wire:
    """Sends requests to one application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._loop = asyncio.new_event_loop()

    def close(self) -> None:
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def send(self, request: Request) -> Answer:
        return self._loop.run_until_complete(self._one(request))

    def together(self, requests: Sequence[Request]) -> list[Answer]:
        """All of them at once; answers in the order of the requests."""

        async def every() -> list[Answer]:
            return list(await asyncio.gather(*(self._one(request) for request in requests)))

        return self._loop.run_until_complete(every())

    def get(self, path: str, query: Pairs | bytes = b"", **headers: str) -> Answer:
        encoded = query if isinstance(query, bytes) else urlencode(query).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.send(Request("GET", path, encoded, headers=named))

    def post(self, path: str, form: Pairs | bytes, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.send(Request("POST", path, form=form, headers=named))

    async def _one(self, request: Request) -> Answer:
        body = request.body
        # In pieces, as a server hands a body over.
        pieces = [body[start : start + 32_768] for start in range(0, len(body), 32_768)] or [b""]
        sent: list[Message] = []

        async def receive() -> Message:
            piece = pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

        async def send(message: Message) -> None:
            sent.append(message)

        await self._app(
            {
                "type": "http",
                "asgi": {"version": "3.0"},
                "http_version": "1.1",
                "method": request.method,
                "scheme": "http",
                "path": request.path,
                "raw_path": request.path.encode(),
                "query_string": request.query,
                "root_path": "",
                "headers": [(b"host", b"localhost:8000"), *request.raw_headers],
                "client": ("192.0.2.1", 50_000),
                "server": ("127.0.0.1", 8000),
            },
            receive,
            send,
        )
        headers = [
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in sent[0]["headers"]
        ]
        content = b"".join(message.get("body", b"") for message in sent[1:])
        return Answer(sent[0]["status"], headers, content)


@contextmanager
def wired(app: ASGIApp) -> Iterator[Wire]:
    made = Wire(app)
    try:
        yield made
    finally:
        made.close()


def basic(client: Registered) -> str:
    """The Authorization header of a client with a secret."""
    return "Basic " + base64.b64encode(f"{client.id}:{client.secret}".encode()).decode()


def cookie(started: Started) -> str:
    """The Cookie header of a browser in which this session runs."""
    return f"idp_session={started.secret}"
