"""The answer that brings a session's new secret is lost, as when the server dies before it leaves."""

import pytest

from idp.clock import MINUTE, SECOND, Duration
from idp.sessions.lifecycle import ROTATE_EVERY
from tests.harness.provider import Idp
from tests.harness.workbench import ManualClock


@pytest.mark.crash
@pytest.mark.xfail(
    strict=True,
    reason="the old secret dies a minute after the change, whether or not the new one ever arrived",
)
@pytest.mark.parametrize("then", [(30 * SECOND, 2 * MINUTE), (5 * MINUTE,)], ids=["busy", "idle"])
def test_a_person_whose_new_cookie_never_arrived_stays_signed_in(
    idp: Idp, clock: ManualClock, then: tuple[Duration, ...]
) -> None:
    """I11: nobody is signed out by a fault that is meant to be survived.

    The person goes on after half a minute, or comes back after five.
    """
    started = idp.session(idp.person())
    clock.advance(ROTATE_EVERY + SECOND)
    lost = idp.signed_in_browser(started).get("/account/sessions")
    assert "idp_session=" in lost.headers["set-cookie"]

    browser = idp.signed_in_browser(started)
    for pause in then:
        clock.advance(pause)
        assert browser.get("/account/sessions").status_code == 200
