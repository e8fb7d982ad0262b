"""The self-service API (row K5)."""

from collections.abc import Callable
from typing import Any

import pytest
from httpx2 import Response

from idp.clock import HOUR, MINUTE, SECOND
from idp.sessions.prove import PASSWORD
from idp.users import rules, totp
from tests.harness.enrolled import with_totp
from tests.harness.provider import ADMIN, Idp, Registered
from tests.web.conftest import PHONE, Somebody

PATH = "/api/v1/users/sessions"


class Caller:
    """An app with an access token of somebody's session."""

    def __init__(self, one: Somebody, client: Registered, scope: str = "openid sessions") -> None:
        self.token = one.use(client, scope=scope)["access_token"]
        self._browser = one.idp.browser()

    def __call__(self, method: str, path: str = "", **given: Any) -> Response:
        headers = {"authorization": f"Bearer {self.token}"} | given.pop("headers", {})
        return self._browser.request(method, PATH + path, headers=headers, **given)


@pytest.fixture
def call(alice: Somebody, app: Registered) -> Caller:
    return Caller(alice, app)


def problem(response: Response) -> tuple[int, str]:
    """The status and code of a problem, after a look at its form."""
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    body = response.json()
    assert body.keys() - {"reason", "ended_at"} == {"type", "title", "status", "detail", "code"}
    assert body["status"] == response.status_code
    return response.status_code, body["code"]


def test_the_list_says_everything_of_every_session(
    idp: Idp, alice: Somebody, call: Caller, app: Registered
) -> None:
    idp.clock.advance(MINUTE)
    other = alice.elsewhere(agent=PHONE, ip="198.51.100.7")
    response = call("GET")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    first, second = response.json()["sessions"]
    assert first == {
        "id": alice.id,
        "name": "Chrome 156 on Windows",
        "default_name": "Chrome 156 on Windows",
        "device": {"type": "desktop", "browser": "Chrome 156", "os": "Windows"},
        "current": True,
        "kept": False,
        "on_trusted_device": False,
        "origin": "browser",
        "ip": "192.0.2.1",
        "place": None,
        "created_at": "2027-01-15T08:00:00Z",
        "last_active_at": "2027-01-15T08:00:00Z",
        "idle_expires_at": "2027-01-15T09:00:00Z",
        "expires_at": "2027-01-16T08:00:00Z",
        "method": "password",
        "acr": "aal1",
        "remembered": False,
        "apps": [{"client_id": app.id, "name": "Notes", "state": "active"}],
    }
    assert second["id"] == other
    assert second["current"] is False
    assert second["device"]["type"] == "phone"


def test_a_session_is_renamed(alice: Somebody, call: Caller) -> None:
    response = call("PATCH", f"/{alice.id}", json={"name": "Work laptop"})
    assert response.status_code == 200
    assert response.json()["name"] == "Work laptop"
    assert "Work laptop" in alice.sessions().text
    for empty in (None, ""):
        response = call("PATCH", f"/{alice.id}", json={"name": empty})
        assert response.json()["name"] == response.json()["default_name"]


def test_a_session_is_kept_and_let_go_again(idp: Idp, alice: Somebody, call: Caller) -> None:
    other = alice.elsewhere()
    response = call("PATCH", f"/{other}", json={"kept": True, "name": "Phone"})
    assert (response.json()["kept"], response.json()["name"]) == (True, "Phone")
    # What is not named stays as it is.
    assert call("PATCH", f"/{other}", json={"name": "Old phone"}).json()["kept"] is True
    response = call("PATCH", f"/{other}", json={"kept": False})
    assert (response.json()["kept"], response.json()["name"]) == (False, "Old phone")
    call("PATCH", f"/{other}", json={"kept": False})
    assert [one["data"] for one in idp.events("session.marked")] == [
        '{"kept":true}',
        '{"kept":false}',
    ]


def test_the_list_says_which_limits_the_sessions_count_for(
    idp: Idp, alice: Somebody, call: Caller
) -> None:
    assert call("GET").json()["limits"] == [
        {"maximum": 15, "used": 1, "at_limit": "end_oldest", "per": None}
    ]
    alice.elsewhere(agent=PHONE)
    with idp.work.begin() as unit:
        phones = {"device_type": "phone"}
        rules.set_rule(unit, "limits", {}, {"maximum": 5, "at_limit": "ask"}, ADMIN)
        rules.set_rule(unit, "limits", {}, {"maximum": 3, "per": "ip"}, ADMIN)
        rules.set_rule(unit, "limits", phones, {"maximum": 2, "at_limit": "block"}, ADMIN)
    found = call("GET").json()["limits"]
    assert sorted(found, key=lambda one: one["maximum"]) == [
        {"maximum": 2, "used": 1, "at_limit": "block", "per": None, "device_type": "phone"},
        {"maximum": 3, "used": 1, "at_limit": "end_oldest", "per": "ip"},
        {"maximum": 5, "used": 2, "at_limit": "ask", "per": None},
    ]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"kept": 1}', "invalid_field"),
        (b'{"kept": null}', "invalid_field"),
        (b'{"kept": "yes"}', "invalid_field"),
        (b'{"name": "x", "trusted": true}', "invalid_field"),
        (b'{"label": "x"}', "invalid_field"),
        (b"{}", "invalid_field"),
        (b'{"name": 7}', "invalid_field"),
        (b'{"name": ["x"]}', "invalid_field"),
        (b'{"name": "' + b"x" * 61 + b'"}', "invalid_label"),
        (b'{"name": "a\\u0000b"}', "malformed_json"),
        (b'{"name": "a\\u202eb"}', "invalid_label"),
        (b'{"name": "\\ud800"}', "malformed_json"),
        (b'{"name": "x", "name": "y"}', "malformed_json"),
        (b'{"name": NaN}', "malformed_json"),
        (b'{"name": "x"', "malformed_json"),
        (b"", "malformed_json"),
        (b"null", "malformed_json"),
        (b"[]", "malformed_json"),
        (b"[" * 60_000, "malformed_json"),
        (b"\xff\xfe", "malformed_json"),
        (b'{"name": ' + b"9" * 10_000 + b"}", "malformed_json"),
    ],
)
def test_a_body_that_is_not_exactly_right_is_refused(
    body: bytes, code: str, alice: Somebody, call: Caller
) -> None:
    response = call(
        "PATCH", f"/{alice.id}", content=body, headers={"content-type": "application/json"}
    )
    assert problem(response) == (400, code)


def test_other_media_types_are_refused(alice: Somebody, call: Caller) -> None:
    for media_type in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "",
    ):
        response = call(
            "PATCH",
            f"/{alice.id}",
            content=b'{"name": "x"}',
            headers={"content-type": media_type},
        )
        assert problem(response) == (415, "unsupported_media_type"), media_type
    response = call(
        "PATCH",
        f"/{alice.id}",
        content=b'{"name": "x"}',
        headers={"content-type": "application/json; charset=utf-8"},
    )
    assert response.status_code == 200


def test_a_body_over_the_limit_is_refused(alice: Somebody, call: Caller) -> None:
    response = call(
        "PATCH",
        f"/{alice.id}",
        content=b" " * 65_537,
        headers={"content-type": "application/json"},
    )
    assert problem(response) == (413, "too_large")


def test_ending_a_session_says_what_it_did(
    idp: Idp, alice: Somebody, call: Caller, app: Registered
) -> None:
    other_session = idp.session(alice.user)
    other = Somebody(idp, alice.user, other_session, idp.signed_in_browser(other_session))
    tokens = other.use(app, scope="openid sessions")
    payroll = idp.register(name="Payroll")
    other.use(payroll)
    response = call("DELETE", f"/{other.id}")
    assert response.status_code == 200
    assert response.json() == {
        "ended": [other.id],
        "apps": [
            {"client_id": app.id, "name": "Notes", "state": "telling"},
            {"client_id": payroll.id, "name": "Payroll", "state": "no_address"},
        ],
    }
    dead = idp.browser().get(PATH, headers={"authorization": f"Bearer {tokens['access_token']}"})
    assert problem(dead) == (401, "invalid_token")
    ended = {"reason": "signed_out", "ended_at": "2027-01-15T08:00:00Z"}
    assert dead.json().items() >= ended.items()
    assert call("DELETE", f"/{other.id}").json() == {"ended": [], "apps": []}
    for method, path, given in (
        ("PATCH", f"/{other.id}", {"json": {"name": "x"}}),
        ("POST", f"/{other.id}/extend", {}),
    ):
        late = call(method, path, **given)
        assert problem(late) == (409, "session_ended")
        assert late.json().items() >= ended.items()


def test_the_present_session_may_end_itself(alice: Somebody, call: Caller) -> None:
    assert call("DELETE", f"/{alice.id}").json()["ended"] == [alice.id]
    assert problem(call("GET")) == (401, "invalid_token")


def test_only_a_token_that_was_good_here_tells_of_the_end(
    idp: Idp, alice: Somebody, app: Registered
) -> None:
    callers = [
        Caller(alice, app, scope="openid profile"),
        revoked := Caller(alice, app),
        good := Caller(alice, app),
    ]
    assert idp.post("/revoke", app, token=revoked.token)[0] == 200
    idp.end(alice.id, "admin")
    for caller in callers:
        answer = caller("GET")
        assert problem(answer) == (401, "invalid_token")
        assert ("reason" in answer.json()) is (caller is good)
    assert (
        'error_description="The session has ended (admin).'
        in (good("GET").headers["www-authenticate"])
    )


def test_revoke_all_keeps_the_session_that_asks(
    idp: Idp, alice: Somebody, call: Caller, app: Registered
) -> None:
    others = {alice.elsewhere(), alice.elsewhere()}
    gone_session = idp.session(alice.user)
    gone = Somebody(idp, alice.user, gone_session, idp.signed_in_browser(gone_session))
    offline = gone.use(app, scope="openid offline_access")
    idp.end(gone.id, "idle_timeout")
    response = call("POST", "/revoke-all")
    assert response.status_code == 200
    assert set(response.json()["ended"]) == others
    assert [one["id"] for one in call("GET").json()["sessions"]] == [alice.id]
    status, _ = idp.token(app, grant_type="refresh_token", refresh_token=offline["refresh_token"])
    assert status == 400
    assert call("POST", "/revoke-all", json={}).json()["ended"] == []
    assert problem(call("POST", "/revoke-all", json={"keep": "x"})) == (400, "invalid_field")


def test_an_offline_grant_that_calls_is_not_cut_off_by_its_own_call(
    idp: Idp, alice: Somebody, app: Registered
) -> None:
    gone_session = idp.session(alice.user)
    gone = Somebody(idp, alice.user, gone_session, idp.signed_in_browser(gone_session))
    caller = Caller(gone, app, scope="openid sessions offline_access")
    idp.end(gone.id, "absolute_timeout")
    assert caller("POST", "/revoke-all").json()["ended"] == [alice.id]
    assert caller("GET").json()["sessions"] == []


def test_sessions_of_others_do_not_exist(
    alice: Somebody, call: Caller, somebody: Callable[..., Somebody]
) -> None:
    bob = somebody("bob")
    for session_id in (bob.id, "ses_" + "0" * 32, "x", "%00", "..%2f"):
        for method, given in (("PATCH", {"json": {"name": "x"}}), ("DELETE", {})):
            response = call(method, f"/{session_id}", **given)
            assert problem(response)[0] == 404
    assert bob.is_running(bob.id)
    assert bob.id not in call("GET").text


def test_without_a_good_token_nothing_is_said(idp: Idp, alice: Somebody, app: Registered) -> None:
    browser = idp.browser()
    refresh = alice.use(app, scope="openid sessions offline_access")["refresh_token"]
    for header, code, challenge in (
        (None, "token_required", "Bearer"),
        ("Basic eDp5", "token_required", "Bearer"),
        ("Bearer", "token_required", "Bearer"),
        ("Bearer nonsense", "invalid_token", 'error="invalid_token"'),
        (f"Bearer {refresh}", "invalid_token", 'error="invalid_token"'),
        (f"Bearer {'x' * 20_000}", "invalid_token", 'error="invalid_token"'),
    ):
        response = browser.get(PATH, headers={"authorization": header} if header else {})
        assert problem(response) == (401, code), header
        assert challenge in response.headers["www-authenticate"]
    token = Caller(alice, app).token
    assert problem(browser.get(f"{PATH}?access_token={token}"))[0] == 401


def test_the_cookie_of_the_pages_opens_nothing(alice: Somebody) -> None:
    for method, path in (("GET", ""), ("POST", "/revoke-all"), ("DELETE", f"/{alice.id}")):
        assert problem(alice.browser.request(method, PATH + path))[0] == 401
    assert alice.is_running(alice.id)


def test_a_token_without_the_scope_is_not_enough(alice: Somebody, app: Registered) -> None:
    caller = Caller(alice, app, scope="openid profile")
    for method, path in (("GET", ""), ("POST", "/revoke-all"), ("DELETE", f"/{alice.id}")):
        response = caller(method, path)
        assert problem(response) == (403, "insufficient_scope")
        assert 'scope="sessions"' in response.headers["www-authenticate"]


def test_a_client_by_itself_is_nobody(idp: Idp) -> None:
    robot = idp.register(scope="sessions reports")
    assert idp.token(robot, grant_type="client_credentials", scope="sessions")[0] == 400
    _, body = idp.token(robot, grant_type="client_credentials", scope="reports")
    headers = {"authorization": f"Bearer {body['access_token']}"}
    assert problem(idp.browser().get(PATH, headers=headers)) == (401, "invalid_token")


def test_unknown_parameters_methods_and_paths_are_refused(alice: Somebody, call: Caller) -> None:
    assert problem(call("GET", "?limit=5")) == (400, "invalid_parameter")
    assert problem(call("DELETE", f"/{alice.id}", json={"x": 1})) == (400, "invalid_field")
    for method, path, allowed in (
        ("PUT", "", {"GET", "HEAD"}),
        ("POST", f"/{alice.id}", {"PATCH", "DELETE"}),
        ("GET", "/revoke-all", {"POST"}),
    ):
        response = call(method, path)
        assert problem(response) == (405, "method_not_allowed")
        assert set(response.headers["allow"].replace(" ", "").split(",")) == allowed
    assert problem(call("GET", "/x/y")) == (404, "not_found")


def test_the_audit_log_knows_by_which_session(idp: Idp, alice: Somebody, call: Caller) -> None:
    other = alice.elsewhere()
    call("DELETE", f"/{other}")
    (event,) = idp.events("session.ended")
    assert (event["actor"], event["actor_id"]) == ("user", alice.id)
    assert (event["user_id"], event["session_id"]) == (alice.user.id, other)


# --- the session of the token itself --------------------------------------------------------------


def test_every_app_may_know_when_its_session_ends_and_put_it_off(
    idp: Idp, alice: Somebody, app: Registered
) -> None:
    call = Caller(alice, idp.register(access_token_lifetime=3_600), scope="openid profile")
    idp.clock.advance(10 * MINUTE)
    before = {
        "id": alice.id,
        "now": "2027-01-15T08:10:00Z",
        "idle_expires_at": "2027-01-15T09:00:00Z",
        "expires_at": "2027-01-16T08:00:00Z",
    }
    for _ in range(3):
        assert call("GET", "/current").json() == before, "asking is no activity"
    after = before | {"idle_expires_at": "2027-01-15T09:10:00Z"}
    for _ in range(3):
        assert call("POST", "/current/extend").json() == after
        assert call("GET", "/current").json() == after
    assert len(idp.events("session.extended")) == 1, "again at once, it is so already"
    # Nothing else of the person's sessions: that is another scope.
    for method, path in (("GET", ""), ("POST", f"/{alice.id}/extend")):
        assert problem(call(method, path)) == (403, "insufficient_scope")


def test_the_end_of_the_session_is_not_put_off(idp: Idp, alice: Somebody) -> None:
    end = alice.session.session.expires_at
    idp.execute("UPDATE sessions SET idle_at = :at", at=end + HOUR)
    idp.clock.advance(end - idp.clock.now() - MINUTE)
    call = Caller(alice, idp.register(), scope="openid")
    idp.clock.advance(MINUTE - SECOND)
    assert call("POST", "/current/extend").json()["idle_expires_at"] == "2027-01-16T08:00:00Z"
    idp.clock.advance(SECOND)
    for method, path in (("GET", "/current"), ("POST", "/current/extend")):
        answer = call(method, path)
        assert problem(answer) == (401, "invalid_token")
        assert answer.json()["reason"] == "absolute_timeout"


def test_a_grant_that_has_outlived_its_session_has_none_to_put_off(
    idp: Idp, alice: Somebody, app: Registered
) -> None:
    call = Caller(alice, app, scope="openid offline_access")
    idp.end(alice.id, "idle_timeout")
    for method, path in (("GET", "/current"), ("POST", "/current/extend")):
        answer = call(method, path)
        assert problem(answer) == (409, "session_ended")
        assert answer.json()["reason"] == "idle_timeout"
    assert not idp.events("session.extended")


# --- what needs a fresh proof ---------------------------------------------------------------------

STALE = 301 * SECOND


def asks_for(response: Response, acr: str) -> bool:
    """Whether a problem is the challenge of RFC 9470 section 3 for this level."""
    assert problem(response) == (401, "insufficient_user_authentication")
    return response.headers["www-authenticate"] == (
        'Bearer realm="idp", error="insufficient_user_authentication", '
        'error_description="This needs a surer or a more recent sign-in.", '
        f'acr_values="{acr}", max_age="300"'
    )


@pytest.fixture
def patient(idp: Idp) -> Registered:
    """An app whose access tokens outlive a fresh proof."""
    return idp.register(access_token_lifetime=3_600)


def test_ending_everything_long_after_the_sign_in_is_challenged(
    idp: Idp, alice: Somebody, patient: Registered
) -> None:
    call, other = Caller(alice, patient), alice.elsewhere()
    idp.clock.advance(STALE)
    for method, path in (("POST", "/revoke-all"), ("DELETE", f"/{alice.id}")):
        assert asks_for(call(method, path), "aal1")
    assert alice.is_running(alice.id)
    assert alice.is_running(other)
    # One of the others is ended at once: that is what helps when a device was lost.
    assert call("DELETE", f"/{other}").json()["ended"] == [other]


def test_a_proof_counts_for_the_token_that_was_asked_for_after_it(
    idp: Idp, alice: Somebody, patient: Registered
) -> None:
    call = Caller(alice, patient)
    idp.clock.advance(STALE)
    alice.session = idp.prove(alice.session, PASSWORD)
    assert asks_for(call("POST", "/revoke-all"), "aal1")
    alice.browser = idp.signed_in_browser(alice.session)
    assert Caller(alice, patient)("DELETE", f"/{alice.id}").status_code == 200


def test_who_has_a_second_factor_must_have_shown_it(
    idp: Idp, alice: Somebody, patient: Registered
) -> None:
    """MF-02: a password of this moment does not stand for two proofs."""
    factors = with_totp(idp, alice.user)
    alice.session = idp.prove(alice.session, PASSWORD)
    alice.browser = idp.signed_in_browser(alice.session)
    call = Caller(alice, patient)
    assert asks_for(call("POST", "/revoke-all"), "aal2")
    with idp.work.begin() as unit:
        shown = totp.verify(unit, alice.user.id, factors.code())
    assert shown is not None
    alice.session = idp.prove(alice.session, shown)
    alice.browser = idp.signed_in_browser(alice.session)
    assert Caller(alice, patient)("POST", "/revoke-all").status_code == 200
    # Both proofs must be fresh: a code of now does not renew the password of then.
    idp.clock.advance(STALE)
    alice.session = idp.prove(alice.session, shown)
    alice.browser = idp.signed_in_browser(alice.session)
    assert asks_for(Caller(alice, patient)("POST", "/revoke-all"), "aal2")
