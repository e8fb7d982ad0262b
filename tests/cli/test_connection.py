"""What strangers may do to a connection before anything of ours is asked (groups DS and WB)."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from idp.cli import connection as bounds
from idp.cli import serving
from idp.cli.connection import ARRIVES_WITHIN, MOST_AHEAD, UNHEARD_MAXIMUM, Connection
from tests.harness.provider import settings_for

HOST = b"Host: id.example.test\r\n"
GET = b"GET /nothing HTTP/1.1\r\n" + HOST
CHUNKED = b"POST /token HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
PIECE = b"a" * 16_384


class _Timer:
    def __init__(self, seconds: float, rings: Callable[[], None]) -> None:
        self.seconds, self.rings, self.is_cancelled = seconds, rings, False

    def cancel(self) -> None:
        self.is_cancelled = True


class _Loop:
    """Keeps what was to be done, and does nothing."""

    def __init__(self) -> None:
        self.timers: list[_Timer] = []

    def call_later(self, seconds: float, rings: Callable[[], None]) -> _Timer:
        self.timers.append(_Timer(seconds, rings))
        return self.timers[-1]

    def create_task(self, work: Coroutine[Any, Any, None], **_: Any) -> "_Loop":
        work.close()
        return self

    def add_done_callback(self, done: Callable[[Any], None]) -> None:
        """Nothing is ever done."""


class _Transport:
    """The other end of the wire, as the server sees it."""

    def __init__(self) -> None:
        self.said = b""
        self.ended: str | None = None

    def write(self, data: bytes) -> None:
        self.said += data

    def close(self) -> None:
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = "cut"

    def is_closing(self) -> bool:
        return self.ended is not None

    def get_extra_info(self, name: str) -> None:
        return None

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class _Client:
    """A client, and the connection that the server has with it."""

    def __init__(self) -> None:
        self.loop, self.transport = _Loop(), _Transport()
        config = uvicorn.Config(_app, http=Connection, ws="none", log_config=None)
        self.connection = Connection(
            config=config,
            server_state=ServerState(),
            app_state={},
            _loop=self.loop,  # type: ignore[arg-type]
        )
        self.connection.connection_made(self.transport)  # type: ignore[arg-type]

    def says(self, *pieces: bytes) -> None:
        for piece in pieces:
            if self.transport.ended is None:
                self.connection.data_received(piece)

    def is_answered(self) -> None:
        self.connection.cycle.response_complete = True
        self.connection.on_response_complete()

    def waits(self) -> None:
        """Says nothing more for as long as it takes."""
        for timer in list(self.loop.timers):
            if timer.seconds == ARRIVES_WITHIN and not timer.is_cancelled:
                timer.rings()


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    """Never runs."""


@pytest.fixture
def client() -> _Client:
    return _Client()


@pytest.mark.attack("DS-07")
@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"GET /", PIECE),
        (GET + b"X: ", PIECE),
        (GET, b"x: y\r\n" * 2_000),
        (b"", b"\r\n" * 8_000),
        (CHUNKED + b"0\r\nX: ", PIECE),
        (CHUNKED + b"0\r\n", b"x: y\r\n" * 2_000),
        (CHUNKED + b"5;x=", PIECE),
    ],
    ids=["address", "header", "headers", "empty lines", "trailer", "trailers", "chunk extension"],
)
def test_what_says_nothing_is_bounded(client: _Client, start: bytes, piece: bytes) -> None:
    pieces = 2 + UNHEARD_MAXIMUM // len(piece)
    client.says(start, *[piece] * (pieces - 3))
    assert client.transport.ended is None
    client.says(*[piece] * 4)
    assert client.transport.ended is not None
    if start.startswith(b"GET"):
        assert client.transport.said.startswith(b"HTTP/1.1 400 ")


def test_a_body_is_not_bounded_by_the_connection(client: _Client) -> None:
    client.says(
        b"POST /token HTTP/1.1\r\n" + HOST + b"Content-Length: 327680\r\n\r\n", *[PIECE] * 20
    )
    assert client.transport.ended is None
    assert not client.connection.cycle.more_body


@pytest.mark.attack("DS-10")
@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET / HT",
        GET,
        b"\r\n",
        b"POST /token HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\n\r\nshort",
        CHUNKED + b"5\r\nshort\r\n",
    ],
)
def test_who_does_not_say_the_whole_of_a_request_is_cut_off(client: _Client, said: bytes) -> None:
    client.says(said)
    assert client.transport.ended is None
    client.waits()
    assert client.transport.ended == "cut"


@pytest.mark.attack("DS-10")
@pytest.mark.parametrize("more", [b"\r\n", GET])
def test_a_second_request_is_waited_for_as_long_as_the_first(client: _Client, more: bytes) -> None:
    client.says(GET + b"\r\n")
    client.is_answered()
    client.waits()
    assert client.transport.ended is None
    client.says(more)
    client.waits()
    assert client.transport.ended == "cut"


def test_an_answer_may_take_as_long_as_it_takes(client: _Client) -> None:
    client.says(GET + b"\r\n")
    client.waits()
    assert client.transport.ended is None


def test_who_is_not_listened_to_is_not_cut_off(client: _Client) -> None:
    client.says(
        b"POST /token HTTP/1.1\r\n" + HOST + b"Content-Length: 327680\r\n\r\n", *[PIECE] * 5
    )
    client.waits()
    assert client.transport.ended is None
    client.connection.flow.resume_reading()
    client.waits()
    assert client.transport.ended == "cut"


@pytest.mark.attack("DS-10")
def test_few_requests_may_be_sent_ahead(client: _Client) -> None:
    whole = GET + b"\r\n"
    client.says(whole * (1 + MOST_AHEAD))
    assert client.transport.ended is None
    client.says(whole * 1_000)
    assert client.transport.ended == "closed"
    assert client.transport.said.startswith(b"HTTP/1.1 400 ")
    assert client.transport.said.endswith(b"Too many requests at once.")
    assert len(client.connection.pipeline) == MOST_AHEAD


@pytest.mark.attack("DS-10")
def test_connections_leave_files_to_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    assert bounds.most_connections() > 100
    monkeypatch.setattr(bounds, "most_connections", lambda: 0)
    assert _Client().transport.ended == "cut"


@pytest.mark.attack("WB-08", "OP-01")
def test_a_trailer_is_no_header(client: _Client) -> None:
    client.says(
        CHUNKED.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"),
        b"1\r\na\r\n0\r\nX-Forwarded-For: 198.51.100.6\r\n\r\n",
    )
    assert not client.connection.cycle.more_body
    found = [value for name, value in client.connection.headers if name == b"x-forwarded-for"]
    assert found == [b"192.0.2.1"]


@pytest.mark.attack("WB-08")
@pytest.mark.parametrize(
    "said",
    [
        CHUNKED.replace(b"Transfer", b"Content-Length: 5\r\nTransfer") + b"0\r\n\r\n" + GET,
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5, 5\r\n\r\nabcde",
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +5\r\n\r\nabcde",
        CHUNKED.replace(b"chunked", b"xchunked") + b"0\r\n\r\n",
        CHUNKED.replace(b"chunked", b"chunked, identity") + b"0\r\n\r\n",
        CHUNKED.replace(b"Encoding:", b"Encoding :") + b"0\r\n\r\n",
        GET + b"X-A: b\r\n c: d\r\n\r\n",
        GET + b"X-A: b\rX-B: c\r\n\r\n",
        GET + b"X-A: b\0c\r\n\r\n",
        CHUNKED + b'5;a="\r\n"\r\nabcde\r\n0\r\n\r\n',
        CHUNKED + b"5;a\nabcde\r\n0\r\n\r\n",
        CHUNKED + b"5\nabcde\n0\n\n",
        GET.replace(b"\r", b"") + b"\n",
        GET + UPGRADE + b"Content-Length: 5\r\n\r\n",
        CHUNKED.replace(HOST, HOST + UPGRADE),
        b"CONNECT id.example.test:443 HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\n",
    ],
)
def test_what_a_proxy_may_read_otherwise_is_refused(client: _Client, said: bytes) -> None:
    client.says(said)
    assert client.transport.ended == "closed"
    assert client.transport.said.startswith(b"HTTP/1.1 400 ")
    assert client.transport.said.count(b"HTTP/1.1") == 1


def test_a_server_of_ours_has_these_bounds(tmp_path: Path) -> None:
    settings = settings_for(f"sqlite:///{tmp_path}/idp.db")
    config = serving._config(_app, "127.0.0.1", 0, settings)
    config.load()
    assert config.http_protocol_class is Connection
    assert config.ws_protocol_class is None


@pytest.mark.parametrize("no_body", [b"", b"Content-Length: 0\r\n"])
def test_another_protocol_is_not_spoken(
    client: _Client, monkeypatch: pytest.MonkeyPatch, no_body: bytes
) -> None:
    logged: list[str] = []
    monkeypatch.setattr(client.connection.logger, "warning", logged.append)
    client.says(GET + UPGRADE + no_body + b"\r\n")
    assert client.transport.ended is None
    assert logged == []
    assert client.connection.cycle.scope["type"] == "http"
