"""The answer that brings a session's new secret is lost, as when the server dies before it leaves."""

import pytest

from idp.clock import HOUR, MINUTE, SECOND, Duration
from idp.sessions.rotation import ROTATE_EVERY, ROTATION_OVERLAP
from tests.harness.provider import Flow, Idp, Started
from tests.harness.workbench import ManualClock

pytestmark = pytest.mark.crash

PAGE = "/account/sessions"


def loses_its_new_cookie(idp: Idp) -> Started:
    """A session whose secret was changed by time, and the answer with the new one was lost."""
    started = idp.session(idp.person())
    idp.clock.advance(ROTATE_EVERY + SECOND)
    lost = idp.signed_in_browser(started).get(PAGE)
    assert "idp_session=" in lost.headers["set-cookie"]
    return started


@pytest.mark.parametrize("then", [(30 * SECOND, 2 * MINUTE), (5 * MINUTE,)], ids=["busy", "idle"])
def test_a_person_whose_new_cookie_never_arrived_stays_signed_in(
    either_idp: Idp, then: tuple[Duration, ...]
) -> None:
    """I11: nobody is signed out by a fault that is meant to be survived.

    The person goes on after half a minute, or comes back after five; on pages and at /authorize.
    """
    idp = either_idp
    started = loses_its_new_cookie(idp)
    browser = idp.signed_in_browser(started)
    flow = Flow(idp.register())
    for pause in (*then, ROTATE_EVERY):
        idp.clock.advance(pause)
        page = browser.get(PAGE)
        assert page.status_code == 200
        # A copied cookie must not be able to follow its owner from secret to secret.
        assert "idp_session=" not in page.headers.get("set-cookie", "")
        silent = browser.get("/authorize", params=flow.parameters(prompt="none"))
        assert "code=" in silent.headers["location"]
        assert "idp_session=" not in silent.headers.get("set-cookie", "")


@pytest.mark.parametrize("where", ["page", "authorize"])
def test_the_old_secret_dies_a_minute_after_the_new_one_was_seen(
    either_idp: Idp, where: str
) -> None:
    idp = either_idp
    flow = Flow(idp.register())
    started = idp.session(idp.person())
    idp.clock.advance(ROTATE_EVERY + SECOND)
    old, owner = idp.signed_in_browser(started), idp.signed_in_browser(started)
    assert "idp_session=" in owner.get(PAGE).headers["set-cookie"]
    idp.clock.advance(MINUTE // 2)
    if where == "page":
        assert owner.get(PAGE).status_code == 200
    else:
        seen = owner.get("/authorize", params=flow.parameters(prompt="none"))
        assert "code=" in seen.headers["location"]
    idp.clock.advance(ROTATION_OVERLAP - SECOND)
    assert old.get(PAGE).status_code == 200
    idp.clock.advance(SECOND)
    assert old.get(PAGE).status_code == 303
    refused = old.get("/authorize", params=flow.parameters(prompt="none"))
    assert "error=login_required" in refused.headers["location"]
    assert owner.get(PAGE).status_code == 200


def test_an_old_secret_that_was_never_replaced_ends_with_its_session(
    idp: Idp, clock: ManualClock
) -> None:
    started = loses_its_new_cookie(idp)
    browser = idp.signed_in_browser(started)
    clock.advance(2 * HOUR)
    assert browser.get(PAGE).status_code == 303
