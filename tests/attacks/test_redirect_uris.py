"""Redirect URIs: where an answer may go, and where never (attack group RU)."""

from collections.abc import Callable
from itertools import permutations

import pytest

from idp.errors import Refused
from idp.oauth.clients import problem_with_query, problem_with_redirect_uri
from tests.attacks.wire import Answer, Wire, cookie
from tests.harness.provider import Flow, Idp, Registered

CALLBACK = "https://a.example/cb"
# What a loose comparison would take for CALLBACK, by what it would overlook.
LOOKALIKES = {
    "more behind it": (
        "https://a.example/cbx", "https://a.example/cb/", "https://a.example/cb/x",
        "https://a.example/cb?", "https://a.example/cb?x=1", "https://a.example/cb&x=1",
        "https://a.example/cb;", "https://a.example/cb;x=1", "https://a.example/cb.",
        "https://a.example/cb#", "https://a.example/cb#x", "https://a.example/cb,",
    ),
    "another host": (
        "https://a.example.evil.test/cb", "https://evil.test/cb", "https://a.example./cb",
        "https://aa.example/cb", "https://xa.example/cb", "https://evil.test/https://a.example/cb",
        "https://a.example@evil.test/cb", "https://a.example:pw@evil.test/cb",
        "https://x@y@a.example/cb", "https://evil.test#@a.example/cb",
        "https://evil.test?@a.example/cb", "https://evil.test\\@a.example/cb",
        "https://a.example%2eevil.test/cb", "https://a.example%00.evil.test/cb",
        "https://a\u0251.example/cb", "https://а.example/cb", "https://ａ.example/cb",
        "//a.example/cb", "https:a.example/cb", "https:///a.example/cb", "https:/a.example/cb",
        "https://user@a.example/cb", "https://a.example:443/cb", "https://a.example:/cb",
        "https://a.example:8443/cb", "https://[::ffff:1.2.3.4]/cb",
    ),
    "case": (
        "HTTPS://a.example/cb", "Https://a.example/cb", "https://A.example/cb",
        "https://A.EXAMPLE/cb", "https://a.example/CB", "https://a.example/Cb",
    ),
    "scheme": (
        "http://a.example/cb", "javascript://a.example/cb", "data:a.example/cb",
        "a.example/cb", "/cb", "cb", "app://a.example/cb",
    ),
    "white space and control characters": (
        "https://a.example/cb ", " https://a.example/cb", "\thttps://a.example/cb",
        "https://a.example/cb\n", "https://a.example/cb\r\nx: y", "https://a.example/ cb",
        "https://a.example/cb\x0b", "https://a.example/cb\u2028", "https://a.example/cb\x7f",
    ),
    "another way to write the path": (
        "https://a.example/%63b", "https://a.example/c%62", "https://a.example/%2fcb",
        "https://a.example//cb", "https://a.example/./cb", "https://a.example/x/../cb",
        "https://a.example/cb/.", "https://a.example/cb/..", "https://a.example/cb/../cb",
        "https://a.example/cb%2f", "https://a.example/cb%20", "https://a.example/cb%00",
        "https://a.example\\cb", "https://a.example/cb\\",
    ),
}  # fmt: skip
TRAVERSALS = (
    "https://a.example/cb/..;/x", "https://a.example/cb/;/../x", "https://a.example/cb;/../x",
    "https://a.example/cb/%2e%2e/x", "https://a.example/cb/%2E%2E/x", "https://a.example/cb/.%2e/x",
    "https://a.example/cb/%252e%252e/x", "https://a.example/cb%252f..%252fx",
    "https://a.example/cb\\..\\x", "https://a.example/cb/\\..\\x", "https://a.example/cb%5c..%5cx",
    "https://a.example/cb/..%2fx", "https://a.example/cb/..%c0%afx", "https://a.example/../cb",
)  # fmt: skip
UNREGISTRABLE = (
    "javascript:alert(1)", "JaVaScRiPt:alert(1)", "\tjavascript:alert(1)", "java\tscript:alert(1)",
    "data:text/html,x", "vbscript:x", "blob:https://a.example/x", "file:///etc/passwd",
    "about:blank", "view-source:https://a.example/", "ftp://a.example/cb", "ws://a.example/cb",
    "http://a.example/cb", "https://", "https:///cb", "https:a.example/cb", "//a.example/cb", "/cb",
    "https://user@a.example/cb", "https://u:p@a.example/cb", "https://a@b@a.example/cb",
    "https://a.example/cb#x", "https://a.example/cb#", "https://a.example/cb ",
    " https://a.example/cb", "https://a.example/c b", "https://a.example/cb\n",
    "https://a.example\\cb", "https://a.example/\\cb", "https://ä.example/cb",
    "https://a.example/ü", "https://A.example/cb", "HTTPS://a.example/cb",
    "https://a.example/cb/../x", "https://a.example/cb/%2e%2e/x", "https://a.example/cb/..;/x",
    "https://a.example/cb?iss=https://evil.test", "https://a.example/cb?x=1&%63ode=y",
    "https://a.example/cb?state=", "https://a.example/cb?error",
    "https://a.example/cb;x", "https://[::1/cb", "https://a.example:99999/cb",
    "https://a.example:x/cb", "https://a.example/" + "x" * 2_048, "com.example.app:/cb", "",
)  # fmt: skip
WILDCARDS = (
    "https://app.example.com*", "https://*.example.com/cb", "https://app.example.com/*",
    "https://app.example.com/cb*", "*", "https://*", "https://app.example.com/cb?*",
    "^https://app.example.com/cb$", "https://app.example.com/{path}", "https://app.example.com/[a]|b",
)  # fmt: skip


@pytest.fixture
def app(idp: Idp) -> Registered:
    return idp.register(redirect_uris=[CALLBACK], post_logout_redirect_uris=[CALLBACK])


def is_page(answer: Answer) -> bool:
    """An error page that leads nowhere by itself."""
    return (
        answer.status == 400
        and answer.location is None
        and answer.header("refresh") is None
        and (answer.header("content-type") or "").startswith("text/html")
    )


Ask = Callable[[Registered, str], Answer]


@pytest.fixture
def ask(idp: Idp, wire: Wire) -> Ask:
    """Asks for a code as somebody who is signed in: only the address can be in the way."""
    signed_in = cookie(idp.session(idp.person()))

    def ask(client: Registered, redirect_uri: str) -> Answer:
        parameters = Flow(client).parameters(redirect_uri=redirect_uri)
        return wire.get("/authorize", parameters, cookie=signed_in)

    return ask


@pytest.mark.attack("RU-01")
@pytest.mark.attack("RU-04")
@pytest.mark.attack("RU-07")
@pytest.mark.attack("RU-08")
def test_only_the_registered_address_byte_for_byte_gets_an_answer(
    ask: Ask, app: Registered
) -> None:
    assert "code" in ask(app, CALLBACK).redirected
    tried = [uri for group in LOOKALIKES.values() for uri in group] + list(TRAVERSALS)
    assert len(set(tried)) >= 75
    assert [uri for uri in tried if not is_page(ask(app, uri))] == []


@pytest.mark.attack("RU-01")
def test_a_registered_query_is_part_of_the_address(idp: Idp, ask: Ask) -> None:
    app = idp.register(redirect_uris=["https://a.example/cb?dummy1=lorem&dummy2=ipsum"])
    found = ask(app, app.redirect_uri)
    assert (found.location or "").startswith(f"{app.redirect_uri}&code=")
    for other in (
        "https://a.example/cb",
        "https://a.example/cb?dummy2=ipsum&dummy1=lorem",
        "https://a.example/cb?dummy1=lorem&dummy2=ipsum&x=1",
        "https://a.example/cb?dummy1=lorem%26dummy2=ipsum",
    ):
        assert is_page(ask(app, other)), other


@pytest.mark.attack("RU-02")
def test_an_address_with_a_wildcard_cannot_be_registered(idp: Idp) -> None:
    for uri in WILDCARDS:
        for field in ("redirect_uris", "post_logout_redirect_uris"):
            with pytest.raises(Refused):
                idp.register(**{field: [uri]})


@pytest.mark.attack("RU-02")
def test_a_wildcard_that_got_into_the_database_matches_only_itself(idp: Idp, ask: Ask) -> None:
    app = idp.register(redirect_uris=["https://app.example.com/"])
    idp.execute(
        "UPDATE clients SET redirect_uris = :uris",
        uris='["https://app.example.com*", "https://*.example.com/", ".*"]',
    )
    for uri in (
        "https://app.example.com.other/",
        "https://app.example.com/",
        "https://evil.example.com/",
    ):
        assert is_page(ask(app, uri)), uri


@pytest.mark.attack("RU-07")
@pytest.mark.attack("RU-10")
def test_an_address_of_an_odd_form_cannot_be_registered(idp: Idp) -> None:
    taken = [
        uri
        for uri in UNREGISTRABLE
        if problem_with_redirect_uri(uri) is None and problem_with_query(uri) is None
    ]
    assert taken == []
    for field in ("redirect_uris", "post_logout_redirect_uris"):
        with pytest.raises(Refused):
            idp.register(**{field: ["javascript:alert(1)"]})
    with pytest.raises(Refused):
        idp.register(redirect_uris=["https://a.example/cb?state="])


@pytest.mark.attack("RU-10")
def test_a_native_app_may_use_a_scheme_of_its_own_but_none_that_means_something() -> None:
    def problem(uri: str) -> str | None:
        return problem_with_redirect_uri(uri, application_type="native")

    assert problem("com.example.app:/cb") is None
    for uri in ("javascript:alert(1)", "data:text/html,x", "myapp:/cb", "JAVASCRIPT:x", "blob:x"):
        assert problem(uri) is not None, uri


@pytest.mark.attack("RU-05")
def test_only_the_port_of_a_native_apps_loopback_address_may_vary(idp: Idp, ask: Ask) -> None:
    app = idp.register(
        application_type="native",
        token_endpoint_auth_method="none",
        first_party=0,
        grant_types=["authorization_code"],
        redirect_uris=[
            "http://127.0.0.1/cb", "http://[::1]:4000/six?x=1", "https://a.example/cb",
            "http://localhost:4000/name", "http://127.0.0.2:4000/two",
        ],
    )  # fmt: skip
    for uri in (
        "http://127.0.0.1/cb", "http://127.0.0.1:1/cb", "http://127.0.0.1:54321/cb",
        "http://127.0.0.1:65535/cb", "http://[::1]/six?x=1", "http://[::1]:9/six?x=1",
        "http://localhost:4000/name", "http://127.0.0.2:4000/two",
    ):  # fmt: skip
        assert (ask(app, uri).location or "").startswith("/consent?"), uri
    for uri in (
        "http://127.0.0.1:54321/cb/", "http://127.0.0.1:54321/cbx", "http://127.0.0.1:54321/cb?x=1",
        "http://127.0.0.1:54321/", "http://127.0.0.1:54321", "http://127.0.0.2:54321/cb",
        "http://127.0.0.1.evil.test:54321/cb", "http://localhost:54321/cb", "http://[::1]:54321/cb",
        "http://[::1]:9/six", "http://[::1]:9/six?x=2", "http://[::2]:9/six?x=1",
        "http://[0:0:0:0:0:0:0:1]:9/six?x=1", "http://127.1:54321/cb", "http://2130706433:54321/cb",
        "http://0x7f.0.0.1:54321/cb", "https://127.0.0.1:54321/cb", "HTTP://127.0.0.1:54321/cb",
        "http://127.0.0.1:0/cb", "http://127.0.0.1:65536/cb", "http://127.0.0.1:99999/cb",
        "http://127.0.0.1:123456/cb", "http://127.0.0.1:/cb", "http://127.0.0.1:+80/cb",
        "http://127.0.0.1:8_0/cb", "http://127.0.0.1:\u0661/cb", "http://127.0.0.1:80@evil.test/cb",
        "http://127.0.0.1:80:80/cb", "http://user@127.0.0.1:80/cb", "http://127.0.0.1:80/cb#x",
        "http://127.0.0.1:80/cb\n", "https://a.example:1/cb", "http://localhost:4001/name",
        "http://127.0.0.2:4001/two",
    ):  # fmt: skip
        assert is_page(ask(app, uri)), uri


@pytest.mark.attack("RU-05")
def test_a_web_apps_loopback_address_has_its_port(idp: Idp, ask: Ask) -> None:
    app = idp.register(redirect_uris=["http://127.0.0.1:8001/cb"])
    assert "code" in ask(app, "http://127.0.0.1:8001/cb").redirected
    assert is_page(ask(app, "http://127.0.0.1:8002/cb"))
    assert is_page(ask(app, "http://127.0.0.1/cb"))


@pytest.mark.attack("RU-13")
def test_no_response_type_but_code_gives_anything(idp: Idp, wire: Wire, app: Registered) -> None:
    signed_in = cookie(idp.session(idp.person()))
    kinds = ("code", "token", "id_token", "none")
    every = {" ".join(some) for size in range(5) for some in permutations(kinds, size)}
    every |= {"Code", "code code", " code", "code ", "CODE", "device_code", "code,token"}
    for response_type in sorted(every - {"code"}):
        parameters = Flow(app).parameters(response_type=response_type)
        answer = wire.get("/authorize", parameters, cookie=signed_in)
        expected = "unsupported_response_type" if response_type else "invalid_request"
        assert answer.error == expected, response_type
        assert set(answer.redirected) == {"error", "error_description", "state", "iss"}
        assert "#" not in (answer.location or "")
    assert idp.count("authorizations") == 0


@pytest.mark.attack("RU-14")
def test_the_answer_comes_in_the_query_and_in_no_other_way(
    idp: Idp, wire: Wire, app: Registered
) -> None:
    signed_in = cookie(idp.session(idp.person()))
    for mode in ("fragment", "form_post", "web_message", "jwt", "query.jwt", "Query", "query "):
        answer = wire.get("/authorize", Flow(app).parameters(response_mode=mode), cookie=signed_in)
        assert answer.error == "invalid_request", mode
        assert "#" not in (answer.location or "")
    answer = wire.get("/authorize", Flow(app).parameters(response_mode="query"), cookie=signed_in)
    assert "code" in answer.redirected


@pytest.mark.attack("RU-16")
def test_nobody_is_redirected_for_an_app_that_is_not_proven(
    idp: Idp, wire: Wire, app: Registered
) -> None:
    gone = idp.register(name="Disabled")
    idp.execute("UPDATE clients SET disabled_at = 1 WHERE id = :id", id=gone.id)
    good = Flow(app).parameters(prompt="none")
    for changed in (
        {"client_id": "cli_unknown"},
        {"client_id": ""},
        {"client_id": gone.id, "redirect_uri": gone.redirect_uri},
        {"redirect_uri": "https://evil.test/"},
        {"redirect_uri": ""},
        {"client_id": "cli_unknown", "redirect_uri": "https://evil.test/"},
        {"client_id": app.id.upper()},
        {"client_id": f"{app.id} "},
        {"request_uri": "urn:ietf:params:oauth:request_uri:req_unknown"},
    ):
        assert is_page(wire.get("/authorize", good | changed)), changed
        assert is_page(wire.get("/authorize", good | changed | {"prompt": "login"})), changed
    assert idp.count("pending_requests") == 0


@pytest.mark.attack("RU-16")
def test_an_error_of_prompt_none_goes_only_to_a_proven_address(
    idp: Idp, wire: Wire, app: Registered
) -> None:
    answer = wire.get("/authorize", Flow(app).parameters(prompt="none"))
    assert (answer.location or "").startswith(f"{CALLBACK}?error=login_required&")


@pytest.mark.attack("RU-17")
def test_signing_out_leads_only_to_a_registered_address(idp: Idp, app: Registered) -> None:
    started = idp.session(idp.person())
    hint = idp.grant(app, started)["id_token"]
    browser = idp.signed_in_browser(started)
    tried = [uri for group in LOOKALIKES.values() for uri in group] + list(TRAVERSALS)
    for uri in (*tried, *UNREGISTRABLE):
        if uri:
            response = browser.get(
                "/logout", params={"id_token_hint": hint, "post_logout_redirect_uri": uri}
            )
            assert response.headers.get("location", "/signed-out") == "/signed-out", uri
    response = browser.get(
        "/logout", params={"id_token_hint": hint, "post_logout_redirect_uri": CALLBACK}
    )
    assert response.headers["location"] == CALLBACK
