"""The edge of the pages: sizes, forms, methods, outages, bugs."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from idp.errors import Unavailable
from idp.storage.database import Database
from idp.web import session_view
from tests.harness.provider import Idp, Registered, Templates, settings_for
from tests.harness.workbench import ManualClock
from tests.web.conftest import Somebody, begin
from tests.web.html import Page

FORMS = ["/login", "/account/sign-in", "/consent", "/account/sessions/end", "/account/apps"]


@pytest.mark.parametrize("path", FORMS)
def test_only_forms_of_the_usual_kind_are_read(path: str, alice: Somebody) -> None:
    for media_type in ("multipart/form-data; boundary=x", "application/json", "text/plain", ""):
        response = alice.browser.post(
            path, content=b"username=x", headers={"content-type": media_type}
        )
        assert response.status_code == 415, media_type
        assert Page(response).has("error")


@pytest.mark.parametrize("path", FORMS)
def test_a_body_over_the_limit_is_refused(path: str, alice: Somebody) -> None:
    def drip() -> Iterator[bytes]:
        for _ in range(70):
            yield b"a" * 1_024

    headers = {"content-type": "application/x-www-form-urlencoded"}
    for content in (b"a=" + b"x" * 65_536, drip()):
        response = alice.browser.post(path, content=content, headers=headers)
        assert response.status_code == 413


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize(
    "body",
    [
        b"csrf=a&csrf=b",
        b"csrf=a&csrf=a",
        b"username=%ff%fe",
        b"username=%00",
        b"us%00ername=x",
        b"username=\xff",
        b"&".join(b"a%d=1" % number for number in range(2_001)),
    ],
)
def test_a_form_that_is_ambiguous_or_no_text_is_refused(
    path: str, body: bytes, alice: Somebody
) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    response = alice.browser.post(path, content=body, headers=headers)
    assert response.status_code == 400
    assert "malformed_request" in response.text


def test_a_query_is_read_as_strictly(alice: Somebody) -> None:
    for query in ("tab=ended&tab=ended", "done=%ff", "done=%00", "done=1&done=2"):
        assert alice.browser.get(f"/account/sessions?{query}").status_code == 400, query


def test_methods_that_a_page_does_not_know_are_named(alice: Somebody) -> None:
    for method, path, allowed in (
        ("PUT", "/login", {"GET", "HEAD", "POST"}),
        ("DELETE", "/account/sessions", {"GET", "HEAD"}),
        ("POST", "/account/sessions", {"GET", "HEAD"}),
        ("GET", "/account/sessions/end", {"POST"}),
        ("GET", f"/account/sessions/{alice.id}/end", {"POST"}),
        ("TRACE", "/account/apps", {"GET", "HEAD", "POST"}),
    ):
        response = alice.browser.request(method, path)
        assert response.status_code == 405, (method, path)
        assert set(response.headers["allow"].replace(" ", "").split(",")) == allowed
        assert Page(response).has("error")


def test_head_is_get_without_a_body(alice: Somebody) -> None:
    response = alice.browser.head("/account/sessions")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")


def test_a_path_that_does_not_exist_is_a_page_or_a_problem(alice: Somebody) -> None:
    page = alice.browser.get("/nowhere")
    assert (page.status_code, Page(page).has("error")) == (404, True)
    problem = alice.browser.get("/api/nowhere")
    assert problem.status_code == 404
    assert json.loads(problem.text)["code"] == "not_found"


def test_a_bug_is_answered_without_details(
    alice: Somebody, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("a secret of the inside")

    monkeypatch.setattr(session_view, "running", broken)
    response = alice.browser.get("/account/sessions")
    assert response.status_code == 500
    assert "Something went wrong on our side" in Page(response).text
    assert "secret of the inside" not in response.text
    assert "ZeroDivision" not in response.text
    assert "secret of the inside" in caplog.text


@pytest.mark.attack("SE-17")
def test_a_database_that_is_busy_signs_nobody_out(
    idp: Idp, alice: Somebody, app: Registered, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: Any, **__: Any) -> None:
        raise Unavailable("database: locked")

    token = alice.sessions().forms[0].fields["csrf"]
    with monkeypatch.context() as patched:
        patched.setattr(Database, "write", busy)
        for response in (
            alice.browser.get("/account/sessions"),
            alice.browser.get("/account/sign-in"),
            alice.browser.post("/account/sessions/end", data={"csrf": token, "what": "others"}),
            begin_anything(alice.browser),
        ):
            assert response.status_code == 503
            assert int(response.headers["retry-after"]) >= 1
            assert "idp_session" not in response.headers.get("set-cookie", "")
            assert "Nothing was changed" in Page(response).text
    assert alice.browser.get("/account/sessions").status_code == 200


def begin_anything(browser: TestClient) -> Any:
    return browser.get("/logout")


@pytest.mark.attack("OP-01")
def test_the_address_of_a_sign_in_is_that_of_the_client_behind_the_proxy(
    tmp_path: Any, templates: Templates, clock: ManualClock
) -> None:
    settings = settings_for(templates.sqlite(tmp_path / "idp.db"), trusted_proxies=("10.0.0.0/8",))
    idp = Idp(settings, clock)
    client = idp.register()
    for peer, forwarded, shown in (
        ("10.0.0.1", "192.0.2.66, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "garbage", "10.0.0.1"),
        ("203.0.113.7", "198.51.100.1", "203.0.113.7"),
    ):
        name = f"user-{shown.replace('.', '-')}"
        idp.person(name)
        browser = TestClient(
            idp.app, base_url=settings.url, client=(peer, 4711), follow_redirects=False
        )
        browser.headers["x-forwarded-for"] = forwarded
        page = Page(begin(browser, client))
        page.press(browser, "login-submit", username=name, password="correct horse battery staple")
        assert f"Place unknown · {shown}" in Page(browser.get("/account/sessions")).text
    idp.close()


def test_strange_headers_break_no_page(alice: Somebody) -> None:
    for headers in (
        {"host": "["},
        {"host": "evil.example"},
        {"host": ""},
        {"cookie": "idp_session=" + "x" * 5_000},
        {"cookie": ";;;=;idp_session;idp_device=%00"},
        {"accept-language": "x" * 5_000},
        {"accept-language": "en;q=nan, *;q=inf, ;;;,,"},
        {"user-agent": "\u00e9\u00ff"},
    ):
        encoded = {name: value.encode("latin-1") for name, value in headers.items()}
        response = alice.browser.get("/account/sign-in", headers=encoded)
        assert response.status_code in (200, 303), headers
        location = response.headers.get("location", "/")
        assert location.startswith("/"), headers


def test_of_two_cookies_with_one_name_the_first_counts(idp: Idp, alice: Somebody) -> None:
    browser = idp.browser()
    cookie = f"idp_session={alice.session.secret}; idp_session={'A' * 43}"
    assert browser.get("/account/sessions", headers={"cookie": cookie}).status_code == 200
    cookie = f"idp_session={'A' * 43}; idp_session={alice.session.secret}"
    assert browser.get("/account/sessions", headers={"cookie": cookie}).status_code == 303
