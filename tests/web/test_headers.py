"""What every answer says to browsers."""

import pytest
from starlette.testclient import TestClient

from idp import app as application
from idp.web.headers import policy, source_of
from tests.harness.provider import Idp, Registered, Templates, settings_for
from tests.harness.workbench import ManualClock
from tests.web.conftest import Somebody, begin

STRICT = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


def test_every_page_carries_the_policy_and_its_companions(alice: Somebody) -> None:
    for path in ("/account/sessions", "/account/apps", "/nowhere", "/logout", "/login?request=x"):
        headers = alice.browser.get(path).headers
        assert headers["content-security-policy"] == STRICT, path
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"
        assert "camera=()" in headers["permissions-policy"]
        assert "Sec-CH-UA-Platform-Version" in headers["accept-ch"]
        assert "strict-transport-security" not in headers


def test_only_the_page_on_which_codes_are_scanned_may_ask_for_a_camera(alice: Somebody) -> None:
    headers = alice.browser.get("/device").headers
    assert headers["content-security-policy"] == STRICT
    assert "camera=(self), microphone=()" in headers["permissions-policy"]


def test_answers_that_are_no_pages_can_do_nothing_in_a_browser(alice: Somebody) -> None:
    headers = alice.browser.get("/api/v1/users/sessions").headers
    assert headers["content-security-policy"] == (
        "default-src 'none'; frame-ancestors 'none'; sandbox"
    )
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"


def test_the_sign_in_page_names_where_its_app_is(idp: Idp) -> None:
    client = idp.register(
        redirect_uris=["https://app.example/callback", "https://beta.app.example/callback"],
        client_uri="https://www.app.example/start",
    )
    policy = begin(idp.browser(), client).headers["content-security-policy"]
    (directive,) = [one.strip() for one in policy.split(";") if "form-action" in one]
    assert directive == (
        "form-action 'self' https://app.example https://beta.app.example https://www.app.example"
    )


@pytest.mark.parametrize(
    ("uri", "source"),
    [
        ("https://app.example/callback?x=1", "https://app.example"),
        ("https://app.example:8443/callback", "https://app.example:8443"),
        ("HTTPS://APP.example/callback", "https://app.example"),
        ("http://127.0.0.1:49152/callback", "http://127.0.0.1:49152"),
        # The grammar of sources has no IPv6 literals and no private schemes with hosts.
        ("http://[::1]:49152/callback", "http:"),
        ("com.example.app:/callback", "com.example.app:"),
        ("javascript:alert(1)", None),
        ("data:text/html,x", None),
        ("https://evil.example;script-src", None),
        ("https://evil.example 'unsafe-inline'", None),
        ("https://app.example:99999/", None),
        ("", None),
        ("/local", None),
    ],
)
def test_only_a_clean_origin_enters_the_policy(uri: str, source: str | None) -> None:
    assert source_of(uri) == source
    assert policy([uri]).count("'self'") == 5


@pytest.mark.attack("WB-07")
def test_a_page_under_the_name_of_a_static_file_does_not_exist(alice: Somebody) -> None:
    for path in (
        "/account/x.css", "/account/sessions/x.css", "/account/sessions.css", "/account/apps/a.js",
        "/account/sessions/", "/account/sessions;x.css", "/account/sessions%2Fx.css",
        "/account/sessions%3Fx.css", "/static/..%2faccount%2fsessions", "/api/v1/users/sessions/x.css",
    ):  # fmt: skip
        response = alice.browser.get(path)
        assert response.status_code in (401, 404, 405), path
        assert response.headers["cache-control"] == "no-store"
        assert "alice" not in response.text


def test_static_files_are_kept_for_ever_under_the_name_of_their_content(alice: Somebody) -> None:
    page = alice.sessions()
    links = [
        one.attributes.get("href") or one.attributes["src"]
        for one in page.elements
        if one.tag in ("link", "script")
    ]
    assert len(links) >= 4
    for link in links:
        response = alice.browser.get(link, headers={"range": "bytes=0-3"})
        assert response.status_code == 200, link
        assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert len(response.content) > 4
        name, digest, suffix = link.rsplit(".", 2)
        missing = alice.browser.get(f"{name}.{digest[::-1]}.{suffix}")
        assert missing.status_code == 404
        assert missing.headers["cache-control"] == "no-store"


def test_over_https_cookies_carry_the_host_prefix_and_transport_is_strict(
    tmp_path, templates: Templates, clock: ManualClock
) -> None:
    settings = settings_for(templates.sqlite(tmp_path / "idp.db"))
    settings = settings.model_copy(update={"url": "https://id.example"})
    app = application.create_app(settings, clock=clock)
    browser = TestClient(app, base_url="https://id.example", follow_redirects=False)
    response = browser.get("/account/sign-in")
    assert response.headers["set-cookie"].startswith("__Host-idp_device=")
    assert "; Secure" in response.headers["set-cookie"]
    assert "max-age=63072000" in response.headers["strict-transport-security"]
    app.provider.outbound.close()
    app.work.database.close()


def test_the_error_page_of_authorize_is_as_guarded_as_any(idp: Idp, app: Registered) -> None:
    response = idp.browser().get("/authorize?client_id=nobody")
    assert response.status_code == 400
    assert response.headers["content-security-policy"] == STRICT
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["referrer-policy"] == "no-referrer"
