"""The rows of the table: what is done in each, and what is made beforehand, uncounted.

A row prepares a batch for a target and gives the operations of that batch. Batches are small where
they use things made beforehand: codes live a minute, and `oidc-provider` in memory keeps only the
last thousand or two of its artifacts.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.bench.load import Operation
from tests.bench.target import Target
from tests.bench.wire import Cookies

FAMILIES = 50


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `count` operations a round in full mode, in batches of `batch`."""

    name: str
    prepare: Callable[[Target, int], Iterable[Operation]]
    count: int
    batch: int
    # Whether it signs in, so that the server without password hash is used where there is one.
    hashless: bool = False


def _same(make: Callable[[Target], bytes], status: int = 200) -> Callable[[Target, int], object]:
    """A row that sends the same bytes again and again."""

    def prepare(target: Target, count: int) -> Iterable[Operation]:
        sent = make(target)

        def call() -> Operation:
            answer = yield sent
            answer.expect(status)

        return (call() for _ in range(count))

    return prepare


def _client_credentials(client: str) -> Callable[[Target, int], Iterable[Operation]]:
    return _same(
        lambda target: target.token(
            target.clients[client], {"grant_type": "client_credentials", "scope": "api:read"}
        )
    )


def _introspection(target: Target, count: int) -> Iterable[Operation]:
    client = target.clients["opaque"]
    path = target.path("introspection_endpoint")
    sent = [
        target.post(path, {"token": grant["access_token"]}, client.authorization)
        for grant in target.grants(client, FAMILIES)
    ]

    def call(index: int) -> Operation:
        answer = yield sent[index % FAMILIES]
        if b'"active":true' not in answer.expect(200).body.replace(b" ", b""):
            raise RuntimeError(f"not active: {answer.body!r}")

    return (call(index) for index in range(count))


def _userinfo(target: Target, count: int) -> Iterable[Operation]:
    path = target.path("userinfo_endpoint")
    sent = [
        target.get(path, {"Authorization": f"Bearer {grant['access_token']}"})
        for grant in target.grants(target.clients["opaque"], FAMILIES)
    ]

    def call(index: int) -> Operation:
        answer = yield sent[index % FAMILIES]
        answer.expect(200)

    return (call(index) for index in range(count))


def _refresh(name: str) -> Callable[[Target, int], Iterable[Operation]]:
    """Many families take turns: each token is used once, and none is refreshed twice at a time."""

    def prepare(target: Target, count: int) -> Iterable[Operation]:
        client = target.clients[name]
        families = deque(grant["refresh_token"] for grant in target.grants(client, FAMILIES))

        def call() -> Operation:
            token = families.popleft()
            answer = yield target.token(
                client, {"grant_type": "refresh_token", "refresh_token": token}
            )
            families.append(_refresh_token(answer.expect(200).body))

        return (call() for _ in range(count))

    return prepare


def _refresh_token(body: bytes) -> str:
    # Cheaper than parsing all of it: the generator shares the machine with what it measures.
    start = body.index(b'"', body.index(b":", body.index(b'"refresh_token"'))) + 1
    return body[start : body.index(b'"', start)].decode()


def _code_exchange(target: Target, count: int) -> Iterable[Operation]:
    client = target.clients["opaque"]

    def call(code: str) -> Operation:
        yield from target.redeem(client, code)

    return [call(code) for code in target.codes(client, count)]


def _silent(target: Target, count: int) -> Iterable[Operation]:
    browsers = target.sessions(FAMILIES)

    def call(index: int) -> Operation:
        yield from target.silent(browsers[index % FAMILIES], target.clients["opaque"])

    return (call(index) for index in range(count))


def _login_flow(target: Target, count: int) -> Iterable[Operation]:
    client = target.clients["opaque"]

    def call() -> Operation:
        code = yield from target.signed_in(Cookies(), client)
        yield from target.redeem(client, code)

    return (call() for _ in range(count))


ROWS = [
    Row("discovery", _same(lambda t: t.get("/.well-known/openid-configuration")), 4000, 4000),
    Row("JWKS", _same(lambda t: t.get(t.path("jwks_uri"))), 4000, 4000),
    Row("client credentials, opaque", _client_credentials("opaque"), 2000, 2000),
    Row("client credentials, JWT ES256", _client_credentials("jwt"), 2000, 2000),
    Row("introspection", _introspection, 2000, 2000),
    Row("userinfo", _userinfo, 2000, 2000),
    Row("refresh, opaque + ID token", _refresh("opaque"), 2000, 2000),
    Row("refresh, JWT ES256 + ID token", _refresh("jwt"), 2000, 2000),
    Row("silent authorize (single sign-on)", _silent, 2000, 2000),
    Row("code exchange", _code_exchange, 2000, 200),
    Row("login flow, 5 requests, no hash", _login_flow, 400, 400, hashless=True),
]
# The control checks no password in either login row: this one shows what the hash adds to ours,
# and no ratio.
HASHED = Row("login flow, 5 requests, argon2id", _login_flow, 60, 60)
