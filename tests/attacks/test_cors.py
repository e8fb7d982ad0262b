"""Pages of other origins that call the protocol from a browser (WB-05, RFC 9700 section 2.6)."""

import pytest

from idp.errors import Refused
from tests.attacks.wire import Request, Wire
from tests.harness.provider import Flow, Idp

ALLOWED = "https://spa.example"
STRANGERS = (
    "null", "https://spa.example.evil.test", "https://evil-spa.example", "http://spa.example",
    "https://spa.example:8443", "https://spa.example/", "https://SPA.example", "https://spa.exampl",
    "https://spa.example.", "https://a.spa.example", "https://spa.example evil", "",
    "https://user@spa.example", "https://spa.example,https://evil.test", "*", "file://",
    "https://spa.example\x00", "http://localhost.evil.test", "http://localhost:8000",
)  # fmt: skip
TOKEN_SIDE = ("/token", "/introspect", "/revoke", "/userinfo")
ALLOW_ORIGIN = "access-control-allow-origin"


def answers(wire: Wire, path: str, origin: str) -> list[tuple[str, str | None]]:
    """What an origin is allowed for each way to ask, errors of every kind included."""
    requests = {
        "preflight": Request("OPTIONS", path),
        "no credentials": Request("POST", path, form={"token": "x"}),
        "a body of another kind": Request(
            "POST", path, form=b"{}", headers={"content-type": "a/b"}
        ),
        "a parameter twice": Request("POST", path, form=b"a=1&a=2"),
        "too large": Request("POST", path, form=b"a" * 70_000),
        "bad credentials": Request("POST", path, form={}, headers={"authorization": "Basic !"}),
    }
    found = []
    for name, request in requests.items():
        headers = {**request.headers, "origin": origin}
        answer = wire.send(Request(request.method, path, form=request.form, headers=headers))
        assert answer.header("access-control-allow-credentials") is None
        assert answer.status < 500
        found.append((name, answer.header(ALLOW_ORIGIN)))
    return found


@pytest.mark.attack("WB-05")
@pytest.mark.parametrize("path", TOKEN_SIDE)
def test_a_registered_origin_may_read_every_answer(idp: Idp, wire: Wire, path: str) -> None:
    idp.register(allowed_origins=[ALLOWED])
    assert {allowed for _, allowed in answers(wire, path, ALLOWED)} == {ALLOWED}
    preflight = wire.send(Request("OPTIONS", path, headers={"origin": ALLOWED}))
    assert preflight.header("vary") == "Origin"
    assert "authorization" in (preflight.header("access-control-allow-headers") or "")
    # What a script must read to know which scope or level it lacks.
    refused = wire.post(path, {}, origin=ALLOWED)
    assert refused.header("www-authenticate")
    assert refused.header("access-control-expose-headers") == "WWW-Authenticate"


@pytest.mark.attack("WB-05")
@pytest.mark.parametrize("path", TOKEN_SIDE)
def test_no_other_origin_may_read_anything(idp: Idp, wire: Wire, path: str) -> None:
    idp.register(allowed_origins=[ALLOWED], redirect_uris=["https://b.example/cb"])
    disabled = idp.register(allowed_origins=["https://disabled.example"])
    idp.execute("UPDATE clients SET disabled_at = 1 WHERE id = :id", id=disabled.id)
    for origin in (*STRANGERS, "https://disabled.example", "https://b.example"):
        assert {allowed for _, allowed in answers(wire, path, origin)} == {None}, origin
    assert {allowed for _, allowed in answers(wire, path, ALLOWED)} == {ALLOWED}


@pytest.mark.attack("WB-05")
def test_an_origin_named_in_a_token_is_not_believed(idp: Idp, wire: Wire) -> None:
    """The other way round as well: nothing but the registration says which origin may read."""
    app = idp.register(client_uri="https://evil.test")
    tokens = idp.grant(app, idp.session(idp.person()))
    answer = wire.get(
        "/userinfo", origin="https://evil.test", authorization=f"Bearer {tokens['access_token']}"
    )
    assert (answer.status, answer.header(ALLOW_ORIGIN)) == (200, None)
    assert answer.header("vary") == "Origin"


@pytest.mark.attack("WB-05")
def test_the_authorization_endpoint_and_the_pages_allow_no_origin(idp: Idp, wire: Wire) -> None:
    app = idp.register(allowed_origins=[ALLOWED])
    query = Flow(app).parameters()
    for path in ("/authorize", "/login", "/consent", "/logout", "/account/sessions"):
        for method in ("GET", "OPTIONS"):
            answer = wire.send(Request(method, path, headers={"origin": ALLOWED}))
            assert answer.header(ALLOW_ORIGIN) is None, path
    assert wire.get("/authorize", query, origin=ALLOWED).header(ALLOW_ORIGIN) is None


@pytest.mark.attack("WB-05")
def test_what_is_public_anyway_may_be_read_from_everywhere(wire: Wire) -> None:
    for path in (
        "/jwks",
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server",
    ):
        answer = wire.get(path, origin="https://anybody.example")
        assert answer.header(ALLOW_ORIGIN) == "*"
        assert answer.header("access-control-allow-credentials") is None


@pytest.mark.attack("WB-05")
def test_only_a_plain_https_origin_can_be_registered(idp: Idp) -> None:
    for origin in (
        "*", "null", "https://*.example", "https://spa.example/", "https://spa.example/path",
        "https://spa.example?x", "https://spa.example#", "http://spa.example", "spa.example",
        "https://user@spa.example", "https://[", "https://spa.example:x", "https://SPA.example",
        "https://ä.example", "https://spa.example ", "javascript:x", "", "https://a, https://b",
    ):  # fmt: skip
        with pytest.raises(Refused):
            idp.register(allowed_origins=[origin])
    assert idp.register(allowed_origins=[ALLOWED, "http://localhost:3000"]).id
