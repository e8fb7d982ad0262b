"""Token responses say how long what they hand out will last (refresh-token-expiration draft)."""

from typing import Any

import pytest

from idp.clock import DAY, HOUR, MINUTE, SECOND
from tests.harness.device_app import decide, device_app, open_code
from tests.harness.provider import Idp, Registered


def told(tokens: dict[str, Any]) -> tuple[int, int]:
    return tokens["refresh_token_timeout"], tokens["authorization_expires_in"]


def test_the_idle_deadline_and_the_end_of_the_session_are_told_in_seconds(either_idp: Idp) -> None:
    idp = either_idp
    app = idp.register()
    tokens = idp.grant(app, idp.session(idp.person()))
    assert told(tokens) == (3_600, 86_400)
    idp.clock.advance(10 * SECOND)
    # Within half a minute nothing is written, and the deadline that is told is the one that holds.
    tokens = idp.refresh(app, tokens["refresh_token"])[1]
    assert told(tokens) == (3_590, 86_390)
    idp.clock.advance(20 * MINUTE)
    tokens = idp.refresh(app, tokens["refresh_token"])[1]
    assert told(tokens) == (3_600, 86_400 - 1_210)
    idp.clock.advance(HOUR - SECOND)
    assert idp.refresh(app, tokens["refresh_token"])[0] == 200


def test_a_device_is_told_so_with_its_first_tokens_too(idp: Idp) -> None:
    app = device_app(idp)
    app.ask(scope="openid")
    browser = idp.signed_in_browser(idp.session(idp.person()))
    decide(browser, open_code(browser, app.user_code), "device-allow")
    status, tokens = app.wait()
    assert (status, told(tokens)) == (200, (3_600, 86_400))


def test_what_was_told_is_what_happens(idp: Idp) -> None:
    app = idp.register()
    tokens = idp.grant(app, idp.session(idp.person()))
    idp.clock.advance(told(tokens)[0] * SECOND)
    status, body = idp.refresh(app, tokens["refresh_token"])
    assert (status, body["error"]) == (400, "invalid_grant")
    assert body["error_description"] == (
        "The session has ended (idle_timeout). It was not used for its idle time."
    )


def test_a_retry_is_told_what_the_session_has_left(idp: Idp) -> None:
    app = idp.register()
    first = idp.grant(app, idp.session(idp.person()))
    idp.clock.advance(25 * SECOND)
    assert told(idp.refresh(app, first["refresh_token"])[1])[0] == 3_575
    idp.clock.advance(8 * SECOND)
    # 33 seconds after the last activity: a refresh would slide the deadline, a retry does not.
    assert told(idp.refresh(app, first["refresh_token"])[1])[0] == 3_567


def test_near_its_end_both_are_the_end(idp: Idp) -> None:
    app, started = idp.register(), idp.session(idp.person())
    tokens = idp.grant(app, started)
    for _ in range(47):
        idp.clock.advance(30 * MINUTE)
        tokens = idp.refresh(app, tokens["refresh_token"])[1]
    assert told(tokens) == (1_800, 1_800)


def test_offline_access_lasts_as_long_as_its_family(idp: Idp) -> None:
    app, started = idp.register(), idp.session(idp.person())
    tokens = idp.grant(app, started, scope="openid offline_access")
    assert told(tokens) == (2_592_000, 2_592_000)
    idp.clock.advance(2 * DAY)
    tokens = idp.refresh(app, tokens["refresh_token"])[1]
    assert told(tokens) == (2_419_200, 2_419_200)


def test_a_short_family_ends_before_its_session(idp: Idp) -> None:
    app = idp.register(refresh_token_lifetime=600)
    assert told(idp.grant(app, idp.session(idp.person()))) == (600, 600)


def test_without_a_refresh_token_nothing_is_told(idp: Idp) -> None:
    app = idp.register(grant_types=["authorization_code", "client_credentials"])
    tokens = idp.grant(app, idp.session(idp.person()))
    assert not tokens.keys() & {"refresh_token_timeout", "authorization_expires_in"}
    _, own = idp.token(app, grant_type="client_credentials")
    assert not own.keys() & {"refresh_token_timeout", "authorization_expires_in"}


@pytest.mark.parametrize("reason", ["admin", "limit", "password_changed", "disowned"])
def test_the_app_learns_why_its_session_ended(reason: str, idp: Idp) -> None:
    app, started = idp.register(), idp.session(idp.person())
    tokens = idp.grant(app, started)
    idp.end(started.session.id, reason)
    status, body = idp.refresh(app, tokens["refresh_token"])
    assert (status, body["error"]) == (400, "invalid_grant")
    assert body["error_description"].startswith(f"The session has ended ({reason}). ")


def end_of(idp: Idp, app: Registered | None, **form: str) -> dict[str, Any]:
    return idp.post("/token", app, grant_type="refresh_token", **form)[1]


def test_nobody_but_the_client_of_the_grant_learns_of_its_session(idp: Idp) -> None:
    app, other, started = idp.register(), idp.register(name="Other"), idp.session(idp.person())
    token = idp.grant(app, started)["refresh_token"]
    idp.end(started.session.id, "admin")
    wrong = Registered(app.id, "not its secret", app.redirect_uri)
    for answer in (
        end_of(idp, other, refresh_token=token),
        end_of(idp, wrong, refresh_token=token),
        end_of(idp, None, refresh_token=token),
        # The right client, but not its token.
        end_of(idp, app, refresh_token=token[:-4] + "AAAA"),
    ):
        assert "session" not in str(answer), answer


def test_the_end_of_a_grant_alone_says_nothing_of_the_session(idp: Idp) -> None:
    app, started = idp.register(), idp.session(idp.person())
    tokens = idp.grant(app, started)
    assert (
        idp.browser()
        .post("/revoke", data={"token": tokens["refresh_token"]}, auth=(app.id, app.secret))
        .is_success
    )
    body = idp.refresh(app, tokens["refresh_token"])[1]
    assert body["error_description"] == "The authorization is no longer valid."
