"""A person who may have no further session, and another device that asks for one (row L3).

Where the rule is `end_oldest` room is made as at any sign-in. Where their person is asked (`ask`) or
nobody is let in (`block`), the one who answers is told before they answer, and the code waits; nothing
of theirs ends for it that they did not choose. On both databases.
"""

from collections.abc import Callable

import pytest

from idp.sessions import queries
from idp.users import rules
from tests.flows.test_move import on_a_laptop
from tests.harness.device_app import DeviceApp, device_app
from tests.harness.provider import ADMIN, Idp
from tests.harness.qr_browser import Asker, answer, asker, goes_on, on_a_phone, scan, showing
from tests.web.conftest import Somebody
from tests.web.html import Page


def limit(idp: Idp, at_limit: str, maximum: int = 2) -> None:
    with idp.work.begin() as unit:
        rules.set_rule(unit, "limits", {}, {"maximum": maximum, "at_limit": at_limit}, ADMIN)


def running(idp: Idp, one: Somebody) -> set[str]:
    with idp.work.read() as unit:
        return {found.id for found in queries.running_of(unit, one.user.id)}


def by_code(idp: Idp, phone: Somebody) -> tuple[Page, Callable[[], Page], DeviceApp]:
    """An app on another device asks; the page on which it is answered, and how to look again."""
    app = device_app(idp)
    app.ask()
    page = Page(phone.browser.get("/device"))
    response = page.press(phone.browser, "device-open", user_code=app.user_code)
    path = response.headers["location"]
    return Page(phone.browser.get(path)), lambda: Page(phone.browser.get(path)), app


def says_yes(phone: Somebody, page: Page, asked: Asker) -> Page:
    return answer(phone.browser, page, asked.number)


@pytest.mark.parametrize("at_limit", ["ask", "block"])
def test_a_browser_waits_until_its_person_signed_out_on_another_device(
    either_idp: Idp, at_limit: str
) -> None:
    idp = either_idp
    phone = on_a_phone(idp)
    other = phone.elsewhere()
    limit(idp, at_limit)
    asked = asker(idp)
    page = scan(phone.browser, asked.scanned)
    assert "at most 2 devices at once" in page.text
    assert page.has("limit")
    # Said all the same, it is no answer: the code can still be answered.
    says_yes(phone, page, asked)
    assert asked.stage == "claimed"
    assert running(idp, phone) == {phone.id, other}
    idp.end(other)
    page = Page(phone.browser.get(page.form(button="device-deny").action))
    assert not page.has("limit")
    says_yes(phone, page, asked)
    asked.press("handoff-finish")
    assert asked.is_signed_in
    assert len(running(idp, phone)) == 2


@pytest.mark.parametrize("at_limit", ["ask", "block"])
def test_a_limit_that_is_met_after_the_yes_keeps_the_browser_out_and_ends_nothing(
    either_idp: Idp, at_limit: str
) -> None:
    idp = either_idp
    phone, asked = on_a_phone(idp), asker(idp)
    limit(idp, at_limit)
    page = scan(phone.browser, asked.scanned)
    says_yes(phone, page, asked)
    other = phone.elsewhere()
    response = asked.press("handoff-finish")
    assert response.status_code == 403
    assert not asked.is_signed_in
    assert asked.stage == "denied"
    assert running(idp, phone) == {phone.id, other}
    assert [one["reason"] for one in idp.events("pairing.denied")] == ["session_limit"]


def test_where_the_oldest_gives_way_it_does_so_for_a_browser_too(either_idp: Idp) -> None:
    idp = either_idp
    phone = on_a_phone(idp)
    other = phone.elsewhere()
    idp.execute("UPDATE sessions SET last_active_at = last_active_at - 1 WHERE id = :id", id=other)
    limit(idp, "end_oldest")
    asked = asker(idp)
    page = scan(phone.browser, asked.scanned)
    assert not page.has("limit")
    says_yes(phone, page, asked)
    assert other in running(idp, phone)
    asked.press("handoff-finish")
    assert asked.is_signed_in
    assert other not in running(idp, phone)
    assert phone.id in running(idp, phone)


def test_whoever_lets_another_device_in_is_the_last_to_give_way_for_it(either_idp: Idp) -> None:
    """When their last activity was written down says little: they are at it."""
    idp = either_idp
    phone = on_a_phone(idp)
    others = {phone.elsewhere(), phone.elsewhere()}
    assert running(idp, phone) == {phone.id, *others}
    idp.execute("UPDATE sessions SET kept = 1 WHERE id <> :id", id=phone.id)
    idp.execute(
        "UPDATE sessions SET last_active_at = last_active_at - 1 WHERE id = :id", id=phone.id
    )
    limit(idp, "end_oldest", maximum=3)
    asked = asker(idp)
    says_yes(phone, scan(phone.browser, asked.scanned), asked)
    asked.press("handoff-finish")
    assert asked.is_signed_in
    page, _, app = by_code(idp, phone)
    page.press(phone.browser, "device-allow")
    assert app.poll()[0] == 200
    left = running(idp, phone)
    assert phone.id in left
    assert len(left) == 3
    # Where there may be one alone, it is the new one.
    limit(idp, "end_oldest", maximum=1)
    asked = asker(idp)
    says_yes(phone, scan(phone.browser, asked.scanned), asked)
    asked.press("handoff-finish")
    assert asked.is_signed_in
    assert phone.id not in running(idp, phone)


@pytest.mark.parametrize("at_limit", ["ask", "block"])
def test_an_app_on_another_device_waits_too(either_idp: Idp, at_limit: str) -> None:
    idp = either_idp
    phone = on_a_phone(idp)
    other = phone.elsewhere()
    limit(idp, at_limit)
    page, look_again, app = by_code(idp, phone)
    assert page.has("limit")
    page.press(phone.browser, "device-allow")
    assert app.wait()[1]["error"] == "authorization_pending"
    idp.end(other)
    look_again().press(phone.browser, "device-allow")
    assert app.wait()[0] == 200
    assert len(running(idp, phone)) == 2


@pytest.mark.parametrize("at_limit", ["ask", "block"])
def test_a_moved_session_takes_the_place_of_the_one_it_was(either_idp: Idp, at_limit: str) -> None:
    idp = either_idp
    laptop = on_a_laptop(idp)
    limit(idp, at_limit, maximum=1)
    shown = showing(laptop)
    phone = goes_on(shown)
    page = shown.page()
    # Staying signed in on both is not offered, and not taken.
    assert page.has("instead")
    assert not page.has("together")
    assert "so you are signed out here for it" in page.text
    answer(laptop.browser, page, phone.number, wish="together")
    assert phone.stage == "claimed"
    answer(laptop.browser, page, phone.number, wish="instead")
    phone.press("handoff-finish")
    assert phone.is_signed_in
    assert len(running(idp, laptop)) == 1
    assert laptop.id not in running(idp, laptop)
    assert {one["reason"] for one in idp.events("session.ended")} == {"moved"}
    assert not idp.events("session.limit_reached")
