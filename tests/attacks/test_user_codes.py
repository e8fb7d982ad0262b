"""Codes that people type: guessing, floods, and links with a code in them (XD-05, XD-11, DS-08)."""

import pytest

from idp import ids
from idp.clock import MINUTE
from idp.sessions import pairing, pairing_room, user_code
from idp.storage.vault import Vault
from idp.web.typed_code import ALARM
from tests.attacks.scene import Scene, somebody
from tests.harness.device_app import device_app, open_code
from tests.harness.provider import Idp
from tests.web.html import Page


@pytest.mark.attack("XD-05")
def test_wrong_codes_are_slowed_before_they_are_looked_at(scene: Scene) -> None:
    for n in range(5):
        page = open_code(scene.mallory.browser, f"BBBB-BBB{'BCDFG'[n]}")
        assert "not known" in page.text
    # The right one now tells nothing either, and is not used up by it.
    page = open_code(scene.mallory.browser, scene.device.user_code)
    assert "Too many wrong codes" in page.text
    again = somebody(scene.idp, "again")
    assert scene.open(again).has("device-allow")
    scene.idp.clock.advance(15 * MINUTE)
    scene.device.ask()
    assert scene.open(scene.mallory).has("device-allow")


@pytest.mark.attack("XD-05")
def test_right_codes_of_ones_own_buy_no_further_guesses(scene: Scene) -> None:
    own = device_app(scene.idp, name="Own")
    guesses = 0
    for _ in range(12):
        own.ask()
        opened = open_code(scene.mallory.browser, own.user_code)
        page = open_code(scene.mallory.browser, "BBBB-BBBB")
        guesses += "not known" in page.text
    assert guesses == 5
    assert opened.has("error")


@pytest.mark.attack("XD-05")
def test_many_accounts_at_one_address_share_its_tries(idp: Idp) -> None:
    looked_at = 0
    for n in range(8):
        browser = somebody(idp, f"mallory{n}").browser
        for _ in range(5):
            looked_at += "not known" in open_code(browser, "BBBB-BBBB").text
    assert looked_at == 20


@pytest.mark.attack("XD-05")
def test_guessing_by_everybody_raises_an_alarm(scene: Scene) -> None:
    idp = scene.idp
    open_code(scene.mallory.browser, "BBBB-BBBB")
    idp.execute("UPDATE throttles SET count = :n WHERE key = 'pairing'", n=ALARM)
    assert not idp.events("pairing.codes_guessed")
    for _ in range(3):
        open_code(scene.mallory.browser, "BBBB-BBBB")
    assert len(idp.events("pairing.codes_guessed")) == 1
    # It stops nobody who knows their code.
    assert scene.open(scene.alice).has("device-allow")


@pytest.mark.attack("XD-05")
def test_a_code_is_taken_however_it_is_typed(scene: Scene) -> None:
    code = scene.device.user_code
    wide = "".join(chr(ord(one) + 0xFEE0) if one.isalpha() else one for one in code)
    for typed in (code, code.lower(), code.replace("-", ""), " ".join(code), f" {code}.", wide):
        with scene.idp.work.read() as unit:
            assert pairing.by_typed(unit, typed, ("device",)) is not None, typed


@pytest.mark.attack("XD-11")
@pytest.mark.parametrize(
    "typed", ["", "AEIO-UAEI", "BBBB-BBB", "BBBB-BBBBB", "<script>alert(1)</script>", "B" * 10_000,
              "’; DROP TABLE pairings", "\u202eBBBB-BBBB"],
)  # fmt: skip
def test_what_is_no_code_is_text_and_nothing_else(scene: Scene, typed: str) -> None:
    response = scene.alice.browser.get("/device", params={"user_code": typed})
    assert response.status_code == 200
    assert "<script>alert" not in response.text
    page = Page(response).press(scene.alice.browser, "device-open", user_code=typed)
    assert page.status_code == 404
    assert "<script>alert" not in page.text


@pytest.mark.attack("LO-10")
def test_a_link_with_the_code_changes_nothing_until_a_button_is_pressed(scene: Scene) -> None:
    """B1, B2: scanners open links in mail; a person who was sent one is told what it means."""
    address = scene.device.codes["verification_uri_complete"]
    for browser in (scene.idp.browser(), scene.alice.browser, scene.mallory.browser):
        for method in ("GET", "HEAD"):
            browser.request(method, address)
    assert scene.idp.events("pairing.claimed") == []
    page = Page(scene.alice.browser.get(address))
    assert page.element("user-code").attributes["value"] == scene.device.user_code
    assert "wants to sign in as you" in page.text
    assert "Terminal" not in page.text


@pytest.mark.attack("DS-08")
def test_an_address_may_ask_for_so_many_codes_and_no_more(scene: Scene) -> None:
    limit = scene.idp.settings.throttle.per_address_pairings
    answers = [scene.device.post("/device_authorization", scope="openid") for _ in range(limit + 1)]
    assert [status for status, _ in answers].count(200) == limit - 1
    assert answers[-1][0] == 429
    # An app that shows its secret stands behind its own address.
    box = device_app(scene.idp, token_endpoint_auth_method="client_secret_basic")
    box.ask(scope="openid")
    scene.idp.clock.advance(15 * MINUTE)
    scene.device.ask()


@pytest.mark.attack("DS-08")
def test_the_table_of_codes_has_a_limit(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairing_room, "WAITING_MAXIMUM", 1)
    store = scene.idp.app.provider.store
    with scene.idp.work.read() as unit:
        assert pairing_room.watch_room(unit, store) == 1
    status, body = scene.device.post("/device_authorization", scope="openid")
    assert (status, body["error"]) == (503, "temporarily_unavailable")
    monkeypatch.setattr(pairing_room, "WAITING_MAXIMUM", 2)
    with scene.idp.work.read() as unit:
        pairing_room.watch_room(unit, store)
    scene.device.ask()


@pytest.mark.attack("XD-05")
def test_a_flood_of_polls_is_answered_without_a_commit_each(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(14):
        scene.device.poll()
    applied = []
    database = scene.idp.work.database
    real = database.try_apply_all
    monkeypatch.setattr(
        database, "try_apply_all", lambda *a, **k: applied.append(1) or real(*a, **k)
    )
    for _ in range(50):
        assert scene.device.poll()[1]["error"] == "slow_down"
    assert applied == []


@pytest.mark.attack("XD-05")
def test_a_copy_of_the_database_shows_no_code(scene: Scene) -> None:
    with scene.idp.work.read() as unit:
        stored = unit.connection.exec_driver_sql("SELECT user_code_hash FROM pairings").scalar_one()
    code = scene.device.user_code
    assert stored == user_code.digest(code, scene.idp.work.vault)
    assert stored not in (ids.digest(code), user_code.digest(code, Vault("another key" * 3)))
