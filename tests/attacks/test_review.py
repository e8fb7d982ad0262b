"""What a review of the protocol side found, each as the sequence of requests that showed it."""

import asyncio
import json
import logging
import threading
import time

import pytest

from idp.clock import DAY, SECOND
from idp.errors import Unavailable
from idp.events.actor import Actor
from idp.oauth import authorizations, clients, consent, keys, pushed
from idp.web.decisions import _GroupCommit
from tests.harness.provider import ADMIN, Flow, Idp, answer_of

PERSON = Actor("user", "test")


def _allow(idp: Idp, user_id: str, client_id: str) -> None:
    with idp.work.begin() as unit:
        consent.grant(unit, user_id=user_id, session_id="ses", client_id=client_id, scope="openid")


def test_a_code_asked_for_while_its_consent_is_taken_back_is_not_issued(either_idp: Idp) -> None:
    idp = either_idp
    alice, app = idp.person(), idp.register(first_party=0)
    _allow(idp, alice.id, app.id)
    browser, flow = idp.signed_in_browser(idp.session(alice)), Flow(app)
    got: list[str] = []

    def ask() -> None:
        answer = browser.get("/authorize", params=flow.parameters())
        got.append(answer.headers["location"])

    asking = threading.Thread(target=ask)
    with idp.work.begin() as unit:
        consent.revoke(unit, alice.id, app.id, actor=PERSON)
        asking.start()
        time.sleep(0.5)  # the request has read its facts and waits for the writer, or for the row
    asking.join()
    assert got[0].startswith("/consent?request="), got
    assert idp.count("authorizations") == 0


def test_an_answer_whose_consent_was_taken_back_before_its_code_is_asked_again(idp: Idp) -> None:
    alice, app = idp.person(), idp.register(first_party=0)
    started = idp.session(alice)
    browser = idp.signed_in_browser(started)
    location = browser.get("/authorize", params=Flow(app).parameters()).headers["location"]
    reference = location.partition("request=")[2]
    _allow(idp, alice.id, app.id)
    with idp.work.begin() as unit:
        pushed.note_consent(unit, reference, started.session.id)
        consent.revoke(unit, alice.id, app.id, actor=PERSON)
    back = pushed.return_url(reference, app.id)
    assert browser.get(back).headers["location"] == location
    _allow(idp, alice.id, app.id)
    assert "code" in answer_of(browser.get(back).headers["location"])


def test_one_requests_bad_write_does_not_fail_those_that_wait_with_it(idp: Idp) -> None:
    alice, app = idp.person(), idp.register()
    idp.grant(app, idp.session(alice))
    issued = next(event for event in idp.events("authorization.issued"))
    good = authorizations.rotate(
        json.loads(issued["data"])["authorization_id"], 1, now=idp.clock.now()
    )
    values = dict.fromkeys(authorizations._ISSUED) | {
        "id": "azn_" + "0" * 32, "session_id": "gone", "user_id": alice.id, "client_id": app.id,
        "scope": "", "permission_scope": "", "auth_time": 0, "acr": "", "amr": "[]", "offline": 0,
        "created_at": 0, "last_used_at": 0, "refresh_generation": 0,
    }  # fmt: skip
    bad = authorizations.issue(values)

    async def both_while_a_page_writes() -> list[object]:
        commits = _GroupCommit(idp.work.database, idp.app.protocol.shell.hop)
        held, release = threading.Event(), threading.Event()

        def hold() -> None:
            with idp.work.begin():
                held.set()
                release.wait(5)

        holding = threading.Thread(target=hold)
        holding.start()
        held.wait(5)
        waiting = asyncio.gather(
            commits.apply([good]), commits.apply([bad]), return_exceptions=True
        )
        await asyncio.sleep(0.1)
        release.set()
        outcomes = await waiting
        holding.join()
        return list(outcomes)

    first, second = asyncio.run(both_while_a_page_writes())
    assert first is True
    assert isinstance(second, Exception)


def test_a_path_cannot_write_a_line_of_its_own_into_the_log(
    idp: Idp, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "idp.web")
    answer = idp.browser().post(
        "/account/sessions/a%0aforged/end", headers={"Sec-Fetch-Site": "cross-site"}
    )
    said = [record.getMessage() for record in caplog.records if record.name == "idp.web"]
    assert answer.status_code == 403
    assert said
    assert not any("\n" in line for line in said)


def test_a_claim_asked_for_singly_goes_when_the_app_loses_its_scope(idp: Idp) -> None:
    app = idp.register()
    asked = json.dumps({"userinfo": {"email": None}})
    tokens = idp.grant(app, idp.session(idp.person()), scope="openid", claims=asked)
    assert "email" in idp.userinfo(tokens["access_token"])[1]
    with idp.work.begin() as unit:
        client = clients.by_id(unit, app.id)
        assert client is not None
        clients.change(unit, client, scope="openid", actor=ADMIN)
    status, body = idp.userinfo(tokens["access_token"])
    assert (status, "email" in body) == (200, False)


def test_keys_are_given_out_and_not_read_at_every_request_while_the_database_is_gone(
    idp: Idp, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def gone() -> None:
        tried.append(1)
        raise Unavailable("gone")

    idp.clock.advance(20 * SECOND)
    monkeypatch.setattr(idp.work.database, "read", gone)
    assert [idp.browser().get("/jwks").status_code for _ in range(3)] == [200, 200, 200]
    assert len(tried) == 1


@pytest.mark.attack("DS-08")
def test_what_anybody_may_leave_behind_is_bounded(idp: Idp) -> None:
    flow, browser = Flow(idp.register()), idp.browser()
    assert browser.get("/authorize", params=flow.parameters(junk="j" * 9_000)).status_code == 400
    assert idp.count("pending_requests") == 0
    assert browser.get("/authorize", params=flow.parameters(junk="j" * 4_000)).status_code == 303
    with idp.work.read() as unit:
        kept = unit.connection.exec_driver_sql("SELECT parameters FROM pending_requests").scalar()
    assert len(str(kept)) < 1_500


def test_a_full_waiting_room_is_answered_503_until_there_is_room(
    idp: Idp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushed, "WAITING_MAXIMUM", 1)
    flow, store = Flow(idp.register()), idp.app.provider.store
    assert idp.browser().get("/authorize", params=flow.parameters()).status_code == 303
    with idp.work.begin() as unit:
        pushed.watch_room(unit, store)
    refused = idp.browser().get("/authorize", params=flow.parameters())
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    idp.clock.advance(3_600_000_000)
    with idp.work.begin() as unit:
        pushed.delete_expired(unit)
        pushed.watch_room(unit, store)
    assert idp.browser().get("/authorize", params=flow.parameters()).status_code == 303


def test_a_leaked_secret_can_be_refused_at_once(idp: Idp) -> None:
    app = idp.register()
    with idp.work.begin() as unit:
        client = clients.by_id(unit, app.id)
        assert client is not None
        clients.rotate_secret(unit, client, actor=ADMIN, overlap="none")
    assert idp.token(app, grant_type="client_credentials")[1]["error"] == "invalid_client"


def test_a_hint_is_known_for_as_long_as_its_session_may_last(idp: Idp) -> None:
    app, started = idp.register(), idp.session(idp.person())
    hint = idp.grant(app, started)["id_token"]
    with idp.work.begin() as unit:
        keys.rotate(unit)
    idp.clock.advance(20 * DAY)
    answer = idp.authorize(idp.browser(), Flow(app).parameters(prompt="none", id_token_hint=hint))
    assert answer["error"] == "login_required"
