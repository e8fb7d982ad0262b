"""Signing out: all of it, nothing but it, and only for who may (LO, SE-02, SE-07, RU-17)."""

import re
from pathlib import Path
from urllib.parse import urlencode

import pytest
from starlette.testclient import TestClient

from idp.policy.timeouts import ABSOLUTE_DEFAULT, IDLE_DEFAULT
from idp.sessions import expiry, lifecycle
from idp.sessions.device import Visit
from idp.sessions.prove import PASSWORD as BY_PASSWORD
from tests.harness.provider import CALLBACK, Flow, Idp, Registered, Started, Templates, settings_for
from tests.harness.workbench import ManualClock

AFTER = "https://app.example/signed-out"
LOGOUT_URI = "http://127.0.0.1:9/backchannel"


def app_of(idp: Idp, **values: object) -> Registered:
    return idp.register(
        post_logout_redirect_uris=[AFTER], backchannel_logout_uri=LOGOUT_URI, **values
    )


def logout(browser: TestClient, **values: str) -> tuple[int, str, str]:
    """GET /logout; gives status, where it leads, and the page."""
    response = browser.get(f"/logout?{urlencode(values)}")
    return response.status_code, response.headers.get("location", ""), response.text


def is_running(idp: Idp, started: Started) -> bool:
    with idp.work.read() as unit:
        return lifecycle.resume(unit, started.secret) is not None


@pytest.mark.attack("LO-01")
def test_signing_out_kills_every_artefact(either_idp: Idp) -> None:
    idp = either_idp
    app, api = app_of(idp), idp.register(name="API", introspects_all=1)
    started = idp.session(idp.person())
    plain = idp.grant(app, started)
    offline = idp.grant(app, started, scope="openid offline_access sessions")
    flow = Flow(app)
    browser = idp.signed_in_browser(started)
    unspent = idp.authorize(browser, flow.parameters())["code"]

    idp.end(started.session.id)

    for token in (plain["access_token"], offline["access_token"]):
        assert not idp.is_active(api, token)
        assert idp.userinfo(token)[0] == 401
    bearer = {"Authorization": f"Bearer {offline['access_token']}"}
    assert idp.browser().get("/api/v1/users/sessions", headers=bearer).status_code == 401
    for token in (plain["refresh_token"], offline["refresh_token"]):
        assert not idp.is_active(app, token)
        assert idp.refresh(app, token)[1]["error"] == "invalid_grant"
    code = {"grant_type": "authorization_code", "redirect_uri": CALLBACK}
    refused = idp.token(app, **code, code=unspent, code_verifier=flow.verifier)
    assert refused[1]["error"] == "invalid_grant"
    assert idp.authorize(browser, flow.parameters(prompt="none"))["error"] == "login_required"
    assert browser.get("/account/sessions").headers["location"].startswith("/account/sign-in")


@pytest.mark.attack("LO-02")
@pytest.mark.parametrize(
    ("passed", "reason"),
    [(IDLE_DEFAULT, "idle_timeout"), (ABSOLUTE_DEFAULT, "absolute_timeout")],
)
def test_a_session_that_runs_out_is_told_to_its_apps(
    either_idp: Idp, passed: int, reason: str
) -> None:
    idp = either_idp
    idp.grant(app_of(idp), idp.session(idp.person()))
    idp.clock.advance(passed)
    with idp.work.begin() as unit:
        assert expiry.end_expired(unit) == 1
    assert [event["reason"] for event in idp.events("session.ended")] == [reason]
    assert idp.count("deliveries") == 1


@pytest.mark.attack("LO-07")
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"state": "s"},
        {"post_logout_redirect_uri": AFTER},
        {"client_id": "the app", "post_logout_redirect_uri": AFTER, "state": "s"},
    ],
)
def test_without_a_hint_a_person_is_asked_and_nobody_is_sent_anywhere(
    idp: Idp, values: dict[str, str]
) -> None:
    app, started = app_of(idp), idp.session(idp.person())
    if "client_id" in values:
        values = values | {"client_id": app.id}
    browser = idp.signed_in_browser(started)
    status, location, page = logout(browser, **values)
    assert (status, location) == (200, "")
    assert 'id="logout-confirm"' in page
    assert is_running(idp, started)

    form = dict(re.findall(r'name="([a-z_]+)" value="([^"]*)"', page))
    assert browser.post("/logout", data=form | {"csrf": "forged"}).status_code == 403
    assert is_running(idp, started)
    answer = browser.post("/logout", data=form)
    assert answer.headers["location"] == "/signed-out"
    assert not is_running(idp, started)


@pytest.mark.attack("LO-07")
def test_another_site_cannot_post_a_sign_out(idp: Idp) -> None:
    started = idp.session(idp.person())
    browser = idp.signed_in_browser(started)
    answer = browser.post("/logout", data={}, headers={"Sec-Fetch-Site": "cross-site"})
    # It becomes a question, which a person answers.
    assert (answer.status_code, answer.headers["location"]) == (303, "/logout?")
    assert is_running(idp, started)


@pytest.mark.attack("LO-08")
def test_a_hint_of_this_session_ends_it_also_when_it_has_expired(either_idp: Idp) -> None:
    idp = either_idp
    app, started = app_of(idp), idp.session(idp.person())
    hint = idp.grant(app, started)["id_token"]
    idp.clock.advance(IDLE_DEFAULT - 1)
    browser = idp.signed_in_browser(started)
    status, location, _ = logout(
        browser, id_token_hint=hint, post_logout_redirect_uri=AFTER, state="a b&c"
    )
    assert (status, location) == (303, f"{AFTER}?state=a+b%26c")
    assert not is_running(idp, started)
    assert [event["reason"] for event in idp.events("session.ended")] == ["client_logout"]


@pytest.mark.attack("LO-10")
def test_whoever_only_looks_at_the_link_signs_nobody_out(idp: Idp) -> None:
    app, started = app_of(idp), idp.session(idp.person())
    hint = idp.grant(app, started)["id_token"]
    for browser in (idp.signed_in_browser(started), idp.browser()):
        answer = browser.head("/logout", params={"id_token_hint": hint})
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")
        assert "idp_session" not in answer.headers.get("set-cookie", "")
    assert is_running(idp, started)


@pytest.mark.attack("LO-08")
def test_a_hint_of_another_persons_session_is_only_a_question(idp: Idp) -> None:
    app = app_of(idp)
    mine, other = idp.session(idp.person("alice")), idp.session(idp.person("mallory"))
    hint = idp.grant(app, other)["id_token"]
    status, location, page = logout(
        idp.signed_in_browser(mine), id_token_hint=hint, post_logout_redirect_uri=AFTER
    )
    assert (status, location) == (200, "")
    assert 'id="logout-confirm"' in page
    assert is_running(idp, mine)
    assert is_running(idp, other)


@pytest.mark.attack("LO-08")
def test_a_hint_that_was_altered_or_is_no_id_token_changes_nothing(idp: Idp) -> None:
    app, started = app_of(idp), idp.session(idp.person())
    tokens = idp.grant(app, started)
    jwt_app = app_of(idp, access_token_format="jwt", name="JWT")
    head, body, signature = tokens["id_token"].split(".")
    forged = [
        f"{head}.{body}.{'A' * len(signature)}",
        f"{head}.{body}.",
        "eyJhbGciOiJub25lIn0." + body + ".",
        tokens["access_token"],
        idp.grant(jwt_app, started)["access_token"],
        "x" * 20_000,
        "",
    ]
    browser = idp.signed_in_browser(started)
    for hint in forged[:-1]:
        status, location, _ = logout(browser, id_token_hint=hint, post_logout_redirect_uri=AFTER)
        assert (status, location) == (400, ""), hint[:40]
    assert is_running(idp, started)


@pytest.mark.attack("RU-17")
@pytest.mark.parametrize(
    "uri",
    [
        f"{AFTER}/",
        f"{AFTER}?x=1",
        AFTER.replace("https", "http"),
        AFTER.upper(),
        "https://app.example.evil.test/signed-out",
        "javascript:alert(1)",
        "//app.example/signed-out",
    ],
)
def test_after_sign_out_only_a_registered_address_is_gone_to(idp: Idp, uri: str) -> None:
    app, started = app_of(idp), idp.session(idp.person())
    hint = idp.grant(app, started)["id_token"]
    status, location, _ = logout(
        idp.signed_in_browser(started), id_token_hint=hint, post_logout_redirect_uri=uri
    )
    assert (status, location) == (400, "")


@pytest.mark.attack("SE-02")
def test_proving_oneself_again_changes_the_secret_and_the_old_one_is_dead(
    either_idp: Idp,
) -> None:
    idp = either_idp
    started = idp.session(idp.person())
    with idp.work.begin() as unit:
        session = lifecycle.resume(unit, started.secret)
        assert session is not None
        fresh = lifecycle.reauthenticate(unit, session, [BY_PASSWORD], Visit())
    assert fresh != started.secret
    flow = Flow(idp.register())
    old = idp.authorize(idp.signed_in_browser(started), flow.parameters(prompt="none"))
    assert old["error"] == "login_required"
    browser = idp.signed_in_browser(Started(started.session, fresh))
    assert "code" in idp.authorize(browser, flow.parameters(prompt="none"))


@pytest.mark.attack("SE-07")
def test_over_https_every_cookie_is_bound_to_this_host(
    tmp_path: Path, templates: Templates, clock: ManualClock
) -> None:
    settings = settings_for(templates.sqlite(tmp_path / "idp.db")).model_copy(
        update={"url": "https://id.example"}
    )
    idp = Idp(settings, clock)
    try:
        browser = TestClient(idp.app, base_url="https://id.example", follow_redirects=False)
        answer = browser.get("/authorize", params=Flow(idp.register()).parameters())
        page = browser.get("/account/sign-in")
    finally:
        idp.close()
    set_cookies = [*answer.headers.get_list("set-cookie"), *page.headers.get_list("set-cookie")]
    assert set_cookies
    for cookie in set_cookies:
        attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert cookie.startswith("__Host-")
        assert {"secure", "httponly", "path=/", "samesite=lax"} <= attributes
        assert not any(attribute.startswith("domain") for attribute in attributes)
    assert "max-age=" in page.headers["strict-transport-security"]


@pytest.mark.attack("SS-01")
def test_a_request_uri_of_the_clients_is_never_fetched(idp: Idp) -> None:
    flow = Flow(idp.register())
    answer = idp.authorize(
        idp.browser(), flow.parameters(request_uri="https://app.example/request.jwt")
    )
    assert answer["error"] == "request_uri_not_supported"


@pytest.mark.attack("BF-14")
def test_what_is_asked_before_signing_in_shows_nothing_of_who_exists(idp: Idp) -> None:
    alice = idp.person("alice")
    app = app_of(idp)
    pages = []
    for hint in ("alice", "alice@example.com", "nobody", alice.id):
        browser = idp.browser()
        begun = browser.get("/authorize", params=Flow(app).parameters(login_hint=hint))
        page = browser.get(begun.headers["location"])
        text = re.sub(r'data-options="[^"]*"', "", page.text.replace(hint, "HINT"))
        text = re.sub(r'(value|request)="?[^"\s>]*"?', "", text)
        pages.append((begun.status_code, page.status_code, text))
    assert len(set(pages)) == 1
