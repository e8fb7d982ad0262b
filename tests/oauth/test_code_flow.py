"""The code flow and what its tokens are worth, on both databases."""

import logging

import pytest

from tests.harness.provider import Flow, Idp


def test_an_app_gets_tokens_for_a_signed_in_person(either_idp: Idp) -> None:
    idp = either_idp
    alice, app = idp.person(), idp.register()
    tokens = idp.grant(app, idp.session(alice), scope="openid profile email")
    assert tokens["token_type"] == "Bearer"
    assert tokens["scope"] == "openid profile email"
    status, claims = idp.userinfo(tokens["access_token"])
    assert (status, claims["sub"], claims["preferred_username"]) == (200, alice.id, "alice")


def test_ending_the_session_ends_every_token_at_once(either_idp: Idp) -> None:
    idp = either_idp
    started, app = idp.session(idp.person()), idp.register()
    tokens = idp.grant(app, started)
    assert idp.is_active(app, tokens["access_token"])
    assert idp.end(started.session.id) == [started.session.id]
    assert not idp.is_active(app, tokens["access_token"])
    assert not idp.is_active(app, tokens["refresh_token"])
    assert idp.userinfo(tokens["access_token"])[0] == 401
    assert idp.refresh(app, tokens["refresh_token"]) == (
        400,
        {
            "error": "invalid_grant",
            "error_description": "The session has ended (signed_out). Its person signed it out.",
        },
    )


def test_a_refresh_rotates_and_a_lost_answer_can_be_fetched_again(either_idp: Idp) -> None:
    idp = either_idp
    app = idp.register()
    first = idp.grant(app, idp.session(idp.person()))["refresh_token"]
    second = idp.refresh(app, first)[1]["refresh_token"]
    assert second != first
    assert idp.refresh(app, first)[1]["refresh_token"] == second
    assert idp.refresh(app, second)[0] == 200
    # The successor was used: whoever still has the first one stole it, or was stolen from.
    assert idp.refresh(app, first)[0] == 400
    assert idp.refresh(app, second)[0] == 400
    assert [event["reason"] for event in idp.events("token.reuse_detected")] == ["refresh_reused"]


def test_a_person_who_is_not_signed_in_is_sent_to_the_sign_in_page(either_idp: Idp) -> None:
    idp = either_idp
    flow = Flow(idp.register())
    response = idp.browser().get("/authorize", params=flow.parameters())
    assert response.status_code == 303
    assert response.headers["location"].startswith("/login?request=req_")


def test_prompt_none_answers_login_required_without_a_page(either_idp: Idp) -> None:
    idp = either_idp
    flow = Flow(idp.register())
    answer = idp.authorize(idp.browser(), flow.parameters(prompt="none"))
    assert answer["error"] == "login_required"
    assert answer["state"] == flow.state
    assert answer["iss"] == idp.settings.issuer


def test_an_address_that_is_not_registered_is_named_in_the_log_and_on_no_page(
    idp: Idp, caplog: pytest.LogCaptureFixture
) -> None:
    flow = Flow(idp.register())
    asked = "https://evil.example/cb\nINFO all is well " + "x" * 3_000
    with caplog.at_level(logging.INFO):
        page = idp.browser().get("/authorize", params=flow.parameters(redirect_uri=asked))
    assert page.status_code == 400
    assert "evil.example" not in page.text
    (line,) = [one.message for one in caplog.records if "asked to return to" in one.message]
    assert flow.client.id in line
    assert "'https://evil.example/cb\\nINFO" in line, (
        "a line that somebody made up is not one of ours"
    )
    assert len(line) < 400
