"""One provider under measurement: its addresses, its test clients, how to sign in to it.

Owns what the rows need to build requests. Sessions and tokens that a row needs beforehand are made
here through the public endpoints, uncounted.
"""

import base64
import hashlib
import itertools
import json
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.bench import wire
from tests.bench.load import Operation, drive
from tests.bench.wire import Answer, Cookies

VERIFIER = "a-code-verifier-that-is-long-enough-0123456789"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode()[:43]
REDIRECT_URI = "http://localhost:18599/callback"

Steps = Generator[bytes, Answer, Any]


@dataclass(frozen=True, slots=True)
class RegisteredClient:
    """A registered client as the benchmark uses it."""

    client_id: str
    secret: str
    scope: str

    @property
    def authorization(self) -> dict[str, str]:
        return {"Authorization": wire.basic(self.client_id, self.secret)}


@dataclass(slots=True)
class Target:
    """A running provider. `clients` has "opaque", "jwt" (format of its access tokens) and "api"."""

    label: str
    port: int
    clients: dict[str, RegisteredClient]
    # The fields of the login page for one person, beside the hidden ones.
    login_fields: Callable[[str], dict[str, str]]
    usernames: list[str]
    # Whether a session made now is still there after the next row (the control forgets in memory).
    keeps_sessions: bool
    metadata: dict[str, Any] = field(default_factory=dict)
    _sessions: list[Cookies] = field(default_factory=list)
    _names: Iterator[str] | None = None

    @property
    def host(self) -> str:
        return f"localhost:{self.port}"

    def discover(self) -> None:
        """Reads the addresses of the endpoints (OpenID Connect Discovery 1.0)."""
        kept: list[Answer] = []
        drive(self.port, [_one(self.get("/.well-known/openid-configuration"), kept)])
        self.metadata = json.loads(kept[0].expect(200).body)

    def path(self, endpoint: str) -> str:
        return urlsplit(self.metadata[endpoint]).path

    def get(self, path: str, headers: dict[str, str] | None = None) -> bytes:
        return wire.request("GET", path, host=self.host, headers=headers)

    def post(self, path: str, fields: dict[str, str], headers: dict[str, str]) -> bytes:
        body = urlencode(fields)
        return wire.request("POST", path, host=self.host, headers=headers, body=body)

    def token(self, client: RegisteredClient, fields: dict[str, str]) -> bytes:
        """A request to the token endpoint, authenticated as `client`."""
        return self.post(self.path("token_endpoint"), fields, client.authorization)

    def authorize(self, client: RegisteredClient) -> str:
        """Path and query of an authorization request."""
        query = {
            "response_type": "code",
            "client_id": client.client_id,
            "redirect_uri": REDIRECT_URI,
            "scope": client.scope,
            "state": "state-0123456789",
            "nonce": "nonce-0123456789",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        }
        return f"{self.path('authorization_endpoint')}?{urlencode(query)}"

    def next_username(self) -> str:
        """People take turns, so that no limit per account is met."""
        if self._names is None:
            self._names = itertools.cycle(self.usernames)
        return next(self._names)

    def silent(self, cookies: Cookies, client: RegisteredClient) -> Steps:
        """An authorization request in a signed-in browser; gives the code."""
        path = self.authorize(client)
        answer = yield self.get(path, cookies.header(path))
        cookies.keep(answer.expect(302, 303))
        return code_in(answer)

    def signed_in(self, cookies: Cookies, client: RegisteredClient) -> Steps:
        """Four requests: authorize, the login page, the login, authorize again; gives the code."""
        path = self.authorize(client)
        answer = yield self.get(path, cookies.header(path))
        cookies.keep(answer.expect(302, 303))
        path = answer.path()
        answer = yield self.get(path, cookies.header(path))
        cookies.keep(answer.expect(200))
        fields = answer.hidden_fields() | self.login_fields(self.next_username())
        headers = cookies.header(path) | {
            "Origin": f"http://{self.host}",
            "Sec-Fetch-Site": "same-origin",
        }
        answer = yield self.post(path, fields, headers)
        cookies.keep(answer.expect(302, 303))
        path = answer.path()
        answer = yield self.get(path, cookies.header(path))
        cookies.keep(answer.expect(302, 303))
        return code_in(answer)

    def redeem(self, client: RegisteredClient, code: str) -> Steps:
        """The code exchange; gives the token response."""
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT_URI,
            "code_verifier": VERIFIER,
        }
        answer = yield self.token(client, fields)
        return json.loads(answer.expect(200).body)

    def sessions(self, count: int) -> list[Cookies]:
        """Browsers that are signed in; made as a person would."""
        kept = self._sessions if self.keeps_sessions else []

        def sign_in() -> Operation:
            cookies = Cookies()
            yield from self.signed_in(cookies, self.clients["opaque"])
            kept.append(cookies)

        missing = count - len(kept)
        drive(self.port, (sign_in() for _ in range(missing)), connections=2)
        return kept[:count]

    def codes(self, client: RegisteredClient, count: int) -> list[str]:
        """Fresh authorization codes, spread over sessions."""
        found: list[str] = []

        def silent(cookies: Cookies) -> Operation:
            found.append((yield from self.silent(cookies, client)))

        browsers = itertools.cycle(self.sessions(min(count, 50)))
        drive(self.port, (silent(cookies) for cookies in itertools.islice(browsers, count)))
        return found

    def grants(self, client: RegisteredClient, count: int) -> list[dict[str, str]]:
        """Token responses, one authorization each."""
        found: list[dict[str, str]] = []

        def redeem(code: str) -> Operation:
            found.append((yield from self.redeem(client, code)))

        drive(self.port, (redeem(code) for code in self.codes(client, count)))
        return found


def code_in(answer: Answer) -> str:
    """The code of an authorization response."""
    query = parse_qs(urlsplit(answer.header("location")).query)
    if "code" not in query:
        raise RuntimeError(f"no code in {answer.header('location')}")
    return query["code"][0]


def _one(sent: bytes, kept: list[Answer]) -> Operation:
    kept.append((yield sent))
