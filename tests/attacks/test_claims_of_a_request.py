"""What a request claims of where it came in, and what stands in addresses (OP-02, OP-08, AC-10)."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from idp.notify import recovery
from tests.harness.mails import linked
from tests.harness.provider import PASSWORD, Flow, Idp, Templates, settings_for
from tests.harness.workbench import SECRET, ManualClock
from tests.web.conftest import begin
from tests.web.html import Page

EVIL = "evil.example"
CLAIMS = {
    "host": EVIL,
    "x-forwarded-host": EVIL,
    "x-forwarded-proto": "http",
    "x-forwarded-port": "8080",
    "x-forwarded-prefix": f"//{EVIL}",
    "x-forwarded-server": EVIL,
    "x-original-url": f"https://{EVIL}/admin",
    "x-rewrite-url": "/admin",
    "x-http-method-override": "DELETE",
    "forwarded": f"for=192.0.2.1;host={EVIL};proto=http",
    "front-end-https": "off",
}
PATHS = (
    "/account/sessions", "/account/sign-in", "/recover", "/login?request=x", "/logout", "/nowhere",
    "/authorize", "/jwks", "/.well-known/openid-configuration", "/.well-known/change-password",
    "/.well-known/oauth-authorization-server", "/api/v1/users/sessions", "/static/x.css", "/admin",
)  # fmt: skip


@pytest.fixture(params=[[], ["10.0.0.0/8"]], ids=["no proxy", "a trusted proxy"])
def deployed(
    request: pytest.FixtureRequest, tmp_path: Path, templates: Templates, clock: ManualClock
) -> Iterator[Idp]:
    """A provider under https, asked by what it takes for its proxy, or by anybody."""
    url = templates.sqlite(tmp_path / "idp.db")
    settings = settings_for(url, trusted_proxies=request.param)
    made = Idp(settings.model_copy(update={"url": "https://id.example"}), clock)
    yield made
    made.close()


def shown(response: Response) -> tuple[int, str | None, list[str]]:
    """What an answer says but for what is drawn anew each time."""
    kept = [
        one.partition("=")[0] + one.partition(";")[2]
        for one in response.headers.get_list("set-cookie")
    ]
    return response.status_code, response.headers.get("location"), kept


@pytest.mark.attack("OP-02")
def test_host_and_scheme_are_never_taken_from_a_request(deployed: Idp) -> None:
    for path in PATHS:
        plain = deployed.browser(ip="10.0.0.1").get(path)
        claimed = deployed.browser(ip="10.0.0.1").get(path, headers=CLAIMS)
        assert shown(claimed) == shown(plain), path
        assert EVIL not in claimed.text + str(claimed.headers), path
    cookie = deployed.browser(ip="10.0.0.1").get("/recover", headers=CLAIMS).headers["set-cookie"]
    assert cookie.startswith("__Host-")
    assert "; Secure" in cookie


@pytest.mark.attack("OP-02")
def test_a_mail_leads_to_us_whatever_the_request_claimed(idp: Idp) -> None:
    """The classic: a reset link of the victim's that leads to the host the attacker wrote."""
    idp.person("alice", email="alice@example.com")
    browser = idp.browser()
    page = Page(browser.get("/recover", headers=CLAIMS))
    asked = browser.post(
        "/recover",
        data=page.form(button="recover-submit").fields | {"identifier": "alice"},
        headers=CLAIMS,
    )
    assert asked.status_code == 202
    recovery.answer(idp.work)
    assert linked(idp, "reset_password").startswith("/recover/reset?token=")


@pytest.mark.attack("OP-08")
def test_what_somebody_writes_is_no_template_and_names_no_secret(
    idp: Idp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings are read from the environment; nothing that is stored or sent ever is."""
    monkeypatch.setenv("IDP_SECRET_KEY", SECRET)
    names = [
        "${IDP_SECRET_KEY}", "$IDP_SECRET_KEY", "%IDP_SECRET_KEY%", "{{ settings.secret_key }}",
        "%(secret_key)s", "{settings.secret_key}", "${env:IDP_SECRET_KEY}", "file:///etc/passwd",
    ]  # fmt: skip
    for name in names:
        app = idp.register(
            name=name, first_party=0, client_uri="https://a.example/${IDP_SECRET_KEY}"
        )
        browser = idp.browser()
        for text in (
            begin(browser, app, login_hint=name, state=name).text,
            browser.get(f"/recover?identifier={name}", headers={"user-agent": name}).text,
        ):
            assert SECRET not in text
        assert Page(begin(browser, app)).text.count(name)


@pytest.mark.attack("AC-10")
def test_no_address_holds_what_a_browser_is_known_by(idp: Idp) -> None:
    """Neither a redirect nor a link of a page has a secret of a cookie; a `sid` is none."""
    idp.person("alice")
    app = idp.register(first_party=0)
    browser = idp.browser()
    response = begin(browser, app, state="of the app")
    seen = [response]
    page = Page(response)
    seen.append(page.press(browser, "login-submit", username="alice", password=PASSWORD))
    while (onward := seen[-1].headers.get("location", "")).startswith("/"):
        seen.append(browser.get(onward))
    seen += [browser.get(path) for path in ("/account/sessions", "/account/security", "/logout")]
    secrets = known_by(browser)
    assert {"idp_session", "idp_device"} <= secrets.keys()
    for one in seen:
        for name, secret in secrets.items():
            assert secret not in one.headers.get("location", "") + one.text, (str(one.url), name)
            assert secret not in str(one.url), name


@pytest.mark.attack("AC-10")
def test_a_session_named_in_an_address_is_not_believed(idp: Idp) -> None:
    """Nor in a form: only the cookie says who is there (invariant 8)."""
    started = idp.session(idp.person("alice"))
    app = idp.register()
    for name in ("idp_session", "session", "sid", "session_id", "jsessionid", "token"):
        for value in (started.secret, started.session.id):
            browser = idp.browser()
            page = browser.get("/account/sessions", params={name: value})
            assert page.status_code == 303
            page = browser.get(f"/account/sessions;{name}={value}")
            assert page.status_code == 404
            asked = Flow(app).parameters(prompt="none") | {name: value}
            assert idp.authorize(browser, asked)["error"] == "login_required"


def known_by(browser: TestClient) -> dict[str, str]:
    return {one.name: one.value or "" for one in browser.cookies.jar}
