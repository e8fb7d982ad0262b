"""Everybody is signed out between two steps of a request that is under way, on both databases."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import pytest

from idp.errors import Refused
from idp.sessions import beginning
from idp.web import new_password
from idp.web.factor_changes import changing
from idp.web.visitor import Visitor
from tests.harness.device_app import decide, device_app, open_code
from tests.harness.provider import PASSWORD, Idp
from tests.harness.qr_browser import asker, let_in, on_a_phone
from tests.sessions.test_epoch import marked, order
from tests.sessions.test_remember import enter, stays
from tests.web.html import Page


class Moment:
    """Signs everybody out, from elsewhere, right before the next session is put into the database."""

    def __init__(self, idp: Idp, pool: ThreadPoolExecutor) -> None:
        self._idp, self._pool = idp, pool
        self.arm: Callable[[], None] = lambda: None
        self.asked: Future[Any] | None = None

    def strike(self) -> None:
        self.asked = self._pool.submit(order, self._idp)
        # It is over by now, or it waits for whoever is in the middle.
        wait([self.asked], timeout=0.5)

    def leaves_nobody(self) -> bool:
        assert self.asked is not None
        self.asked.result()
        marked(self._idp)
        return bool(self._idp.count("sessions WHERE ended_at IS NULL") == 0)


@pytest.fixture
def moment(either_idp: Idp, monkeypatch: pytest.MonkeyPatch) -> Iterator[Moment]:
    start = beginning.start
    with ThreadPoolExecutor(1) as pool:
        made = Moment(either_idp, pool)

        def struck(*args: Any, **values: Any) -> Any:
            monkeypatch.setattr(beginning, "start", start)
            made.strike()
            return start(*args, **values)

        made.arm = lambda: monkeypatch.setattr(beginning, "start", struck)
        yield made


@pytest.mark.attack("RT-07")
def test_a_browser_that_stays_signed_in_gets_no_session_that_outlives_the_moment(
    either_idp: Idp, moment: Moment
) -> None:
    _, cookie = stays(either_idp)
    moment.arm()
    enter(either_idp, cookie)
    assert moment.leaves_nobody()


@pytest.mark.attack("XD-04")
def test_nor_does_a_browser_that_was_let_in_before(either_idp: Idp, moment: Moment) -> None:
    alice, new = on_a_phone(either_idp), asker(either_idp)
    let_in(alice.browser, new)
    moment.arm()
    new.press("handoff-finish")
    assert moment.leaves_nobody()


@pytest.mark.attack("XD-04")
def test_nor_an_app_on_a_device_that_was_allowed_before(either_idp: Idp, moment: Moment) -> None:
    alice, app = on_a_phone(either_idp), device_app(either_idp)
    app.ask(scope="openid offline_access")
    decide(alice.browser, open_code(alice.browser, app.user_code), "device-allow")
    moment.arm()
    app.wait()
    assert moment.leaves_nobody()


def test_a_form_that_was_on_its_way_changes_no_factor(either_idp: Idp) -> None:
    alice = on_a_phone(either_idp)
    visitor = Visitor(alice.session.session, alice.user, "token")
    with either_idp.work.begin() as unit:
        assert changing(unit, visitor, "change_factors").id == alice.user.id
    order(either_idp)
    with either_idp.work.begin() as unit, pytest.raises(Refused, match="session_ended"):
        changing(unit, visitor, "change_factors")


def test_nor_the_password(either_idp: Idp, monkeypatch: pytest.MonkeyPatch) -> None:
    """To hash the new one takes a while, and whoever waits for it may be who is signed out."""
    alice, choose = on_a_phone(either_idp), new_password.chosen
    page = Page(alice.browser.get("/account/security/password"))

    def signed_out_meanwhile(*args: Any, **values: Any) -> Any:
        chosen = choose(*args, **values)
        order(either_idp)
        return chosen

    monkeypatch.setattr(new_password, "chosen", signed_out_meanwhile)
    another = "another long passphrase"
    response = page.press(
        alice.browser, "password-submit", current_password=PASSWORD, new_password=another
    )
    assert response.status_code == 403, response.text
    assert either_idp.events("password.changed") == []
