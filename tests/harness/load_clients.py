"""Clients that know what they do not know: apps and browsers over their own connections.

A request ends in an answer, in `NotSent` (nobody took the connection, so nothing can have happened)
or in `Lost` (sent, and no whole answer: it may have happened or not). `burst` sends many requests at
one moment.
"""

import base64
import re
import select
import selectors
import socket
import time
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import orjson

from idp.web import csrf
from tests.bench import wire
from tests.bench.wire import Answer, Cookies, Reader
from tests.harness.provider import Flow, Registered, answer_of

TIMEOUT = 20.0
AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36"
SIGN_IN = "/account/sign-in"
SESSIONS = "/account/sessions"


class NotSent(Exception):
    """Nobody took the connection."""


class Lost(Exception):
    """The request left, and its answer did not come."""


class Wire:
    """A keep-alive connection to each node of a deployment, opened when it is needed.

    The nodes take turns, request by request: nothing may stick to one of them. Where nobody takes
    the connection the next node is asked, and it is its turn after a lost answer, too. Nodes in
    `leaving` are sent nothing, as by a proxy that they told.
    """

    def __init__(self, *ports: int, leaving: Collection[int] = ()) -> None:
        self._turns = deque(ports)
        self._leaving = leaving
        self._sockets: dict[int, socket.socket] = {}

    def exchange(self, request: bytes) -> Answer:
        """The answer to a request; raises `NotSent` or `Lost`."""
        port = self._taken()
        connection, reader = self._sockets[port], Reader()
        try:
            connection.sendall(request)
            while True:
                data = connection.recv(262_144)
                if not data:
                    raise ConnectionResetError("the server hung up")
                answer = reader.feed(data)
                if answer is not None:
                    break
        except OSError as problem:
            self._hang_up(port)
            raise Lost(str(problem)) from None
        if b"\r\nconnection: close" in answer.head.lower():
            self._hang_up(port)
        return answer

    def close(self) -> None:
        for port in tuple(self._sockets):
            self._hang_up(port)

    def _taken(self) -> int:
        """The node whose turn it is, and that has taken a connection."""
        for _ in range(len(self._turns)):
            port = self._turns[0]
            self._turns.rotate(-1)
            if port in self._leaving:
                continue
            kept = self._sockets.get(port)
            if kept is not None and select.select([kept], [], [], 0)[0]:
                self._hang_up(port)  # nothing is awaited on it: the other end has closed it
            try:
                if port not in self._sockets:
                    self._sockets[port] = connect(port)
            except NotSent:
                continue
            return port
        raise NotSent(f"nobody at {sorted(self._turns)}")

    def _hang_up(self, port: int) -> None:
        self._sockets.pop(port).close()


def connect(port: int) -> socket.socket:
    """A connection; raises `NotSent` when nobody takes it."""
    try:
        made = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
    except OSError as problem:
        raise NotSent(str(problem)) from None
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


@dataclass(frozen=True, slots=True)
class Burst:
    """What became of requests sent at one moment: None for an answer that never came."""

    answers: list[Answer | None]
    # When the first was let go, and when each answer had come.
    begun: float
    finished: list[float]

    @property
    def statuses(self) -> list[int]:
        return [answer.status if answer is not None else 0 for answer in self.answers]


def burst(ports: Sequence[int], requests: Sequence[bytes], *, within: float = 60.0) -> Burst:
    """Sends requests at one moment, each on its own connection, in turn to each of the ports.

    The last byte of each is held back until every connection stands.
    """
    connections = [connect(ports[number % len(ports)]) for number in range(len(requests))]
    answers: list[Answer | None] = [None] * len(requests)
    finished = [0.0] * len(requests)
    with selectors.DefaultSelector() as selector:
        for number, (connection, request) in enumerate(zip(connections, requests, strict=True)):
            connection.sendall(request[:-1])
            selector.register(connection, selectors.EVENT_READ, (number, Reader()))
        begun = time.monotonic()
        for connection, request in zip(connections, requests, strict=True):
            connection.sendall(request[-1:])
        waiting = len(requests)
        while waiting and time.monotonic() - begun < within:
            for key, _ in selector.select(1.0):
                number, reader = key.data
                try:
                    data = connections[number].recv(262_144)
                except OSError:
                    data = b""
                answer = reader.feed(data) if data else None
                if data and answer is None:
                    continue
                answers[number], finished[number] = answer, time.monotonic()
                selector.unregister(connections[number])
                waiting -= 1
    for connection in connections:
        connection.close()
    return Burst(answers, begun, finished)


class Browser:
    """A person's browser: cookies, the sign-in form, the account page.

    It speaks to `port` by name, and to the nodes at `others` in turn with it.
    """

    def __init__(self, port: int, *others: int, leaving: Collection[int] = ()) -> None:
        self.port = port
        self.wire = Wire(port, *others, leaving=leaving)
        self.cookies = Cookies()

    def get(self, path: str) -> Answer:
        return self._exchange(self.getting(path))

    def post(self, path: str, form: dict[str, str]) -> Answer:
        return self._exchange(self.posting(path, form))

    def getting(self, path: str) -> bytes:
        """The bytes of a GET with this browser's cookies."""
        headers = {"User-Agent": AGENT, **self.cookies.header(path)}
        return wire.request("GET", path, host=f"localhost:{self.port}", headers=headers)

    def posting(self, path: str, form: dict[str, str]) -> bytes:
        """The bytes of a form post with this browser's cookies."""
        headers = {
            "User_Agent": AGENT, "Sec_Fetch_Site": "same-origin", **self.cookies.header(path)
        }  # fmt: skip
        return wire.form(path, form, host=f"localhost:{self.port}", **headers)

    def sign_in_form(self) -> dict[str, str]:
        """What the sign-in page wants sent back; the browser is numbered after it."""
        page = self.get(SIGN_IN)
        if page.status != 200:
            raise Lost(f"the sign-in page answered {page.status}")
        return page.hidden_fields()

    def signing_in(self, name: str, password: str, form: dict[str, str] | None = None) -> bytes:
        """The bytes that send the sign-in form."""
        fields = form if form is not None else self.sign_in_form()
        return self.posting(SIGN_IN, {**fields, "username": name, "password": password})

    def keep(self, answer: Answer) -> None:
        self.cookies.keep(answer)

    @property
    def session_secret(self) -> str | None:
        """The secret in the session cookie."""
        header = self.cookies.header("/").get("Cookie", "")
        found = re.search(r"idp_session=([A-Za-z0-9_-]+)", header)
        return found[1] if found else None

    def session_form(self) -> tuple[dict[str, str], list[str]] | None:
        """The account page's form token and the sessions on it; None when nobody is signed in."""
        page = self.get(SESSIONS)
        if page.status != 200:
            return None
        listed = re.findall(r"/account/sessions/(ses_[a-z0-9]+)/end", page.body.decode())
        return {csrf.FIELD: page.hidden_fields()[csrf.FIELD]}, list(dict.fromkeys(listed))

    def close(self) -> None:
        self.wire.close()

    def _exchange(self, request: bytes) -> Answer:
        answer = self.wire.exchange(request)
        self.keep(answer)
        return answer


@dataclass(frozen=True, slots=True)
class AppAt:
    """An app and the provider it talks to: the bytes of its requests."""

    port: int
    registered: Registered

    def flow(self) -> Flow:
        return Flow(self.registered)

    def posting(self, path: str, **form: str) -> bytes:
        """The bytes of a form post to a token-side endpoint."""
        known = self.registered
        if known.secret is None:
            return wire.form(path, form | {"client_id": known.id}, host=self._host)
        authorization = wire.basic(known.id, known.secret)
        return wire.form(path, form, host=self._host, authorization=authorization)

    def redeeming(self, flow: Flow, code: str) -> bytes:
        return self.posting(
            "/token",
            grant_type="authorization_code",
            code=code,
            redirect_uri=self.registered.redirect_uri,
            code_verifier=flow.verifier,
        )

    def refreshing(self, refresh_token: str) -> bytes:
        return self.posting("/token", grant_type="refresh_token", refresh_token=refresh_token)

    def introspecting(self, token: str) -> bytes:
        return self.posting("/introspect", token=token)

    def revoking(self, token: str) -> bytes:
        return self.posting("/revoke", token=token)

    def asking(self, method: str, path: str, access_token: str) -> bytes:
        """The bytes of a request with a bearer token."""
        headers = {"Authorization": f"Bearer {access_token}"}
        return wire.request(method, path, host=self._host, headers=headers)

    @property
    def _host(self) -> str:
        return f"localhost:{self.port}"


def json_of(answer: Answer | None) -> dict[str, object]:
    """The JSON object of an answer; empty for none."""
    if answer is None or not answer.body:
        return {}
    found = orjson.loads(answer.body)
    return found if isinstance(found, dict) else {}


def error_of(answer: Answer | None) -> str | None:
    """The `error` of a token-side refusal."""
    found = json_of(answer).get("error")
    return str(found) if found is not None else None


def code_of(answer: Answer) -> str | None:
    """The code in a redirect back to an app; None when it leads elsewhere."""
    if answer.status != 303:
        return None
    return answer_of(answer.header("location")).get("code")


def claims_of(token: str) -> dict[str, object]:
    """What a JWT says, unverified."""
    payload = token.split(".")[1]
    found: dict[str, object] = orjson.loads(
        base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    )
    return found
