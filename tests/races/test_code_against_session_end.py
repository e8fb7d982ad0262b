"""A code is redeemed at the moment its session ends.

An app that was given tokens has a session of its own to end, so it must be among those that are
told; an app that comes too late must get nothing. The end is held between its last statement and
its commit, which is where a redemption could slip by.
"""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from idp.sessions import lifecycle
from tests.harness.provider import ADMIN, Flow, Idp, Registered
from tests.harness.server_process import until

HOOK = "https://app.example/backchannel"


@pytest.fixture
def app(either_idp: Idp) -> Registered:
    return either_idp.register(backchannel_logout_uri=HOOK)


@pytest.mark.attack("LO-11")
@pytest.mark.parametrize("scope", ["openid", "openid offline_access"])
def test_an_app_either_gets_nothing_or_is_told_of_the_end(
    either_idp: Idp, app: Registered, scope: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = either_idp.session(either_idp.person())
    flow = Flow(app)
    browser = either_idp.signed_in_browser(started)
    code = either_idp.authorize(browser, flow.parameters(scope=scope))["code"]
    writing = _announced(either_idp, monkeypatch)
    outcome: list[tuple[int, dict[str, Any]]] = []

    def redeem() -> None:
        outcome.append(
            either_idp.token(
                app,
                grant_type="authorization_code",
                code=code,
                redirect_uri=app.redirect_uri,
                code_verifier=flow.verifier,
            )
        )

    redeeming = threading.Thread(target=redeem)
    with either_idp.work.begin() as unit:
        lifecycle.end(unit, [started.session.id], reason="signed_out", actor=ADMIN)
        redeeming.start()
        until(lambda: writing.is_set() or outcome, "the redemption is about to write")
    redeeming.join(20)

    status, body = outcome[0]
    owed = either_idp.count("deliveries")
    assert (status, body.get("error"), owed) == (400, "invalid_grant", 0)


def _announced(idp: Idp, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when a request has read its facts and is about to write."""
    writing = threading.Event()
    real: Callable[..., list[bool] | None] = idp.work.database.try_apply_all

    def announcing(*args: Any, **more: Any) -> list[bool] | None:
        writing.set()
        return real(*args, **more)

    monkeypatch.setattr(idp.work.database, "try_apply_all", announcing)
    return writing
