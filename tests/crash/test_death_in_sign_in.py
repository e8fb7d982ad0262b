"""A server that dies at each commit of the last step of a sign-in, just before, just after, and
before its answer.

Afterwards there is a session with every proof, its events and the trusted device, or nothing of it
all; a code is used up if and only if it brought that session, and the person can go on at once.
"""

import time
from typing import Any

import orjson
import pyotp
import pytest

from tests.crash import ledger
from tests.crash.conftest import MORTAL, Say
from tests.crash.failpoints import dying
from tests.harness.deployment import Deployment
from tests.harness.enrolled_at import outcome, person
from tests.harness.load_clients import Browser, Lost

MOST_COMMITS = 8


class LastStep:
    """The request that would finish a sign-in, made ready anew for each death."""

    methods: tuple[str, ...]

    def __init__(self, on: Deployment) -> None:
        self.on = on
        on.limit_sessions(1_000)
        self.alice = person(on, "alice").with_totp()
        self.device = self.alice.with_passkey()
        self.before = 0

    def prepare(self) -> bytes:
        """Everything up to the request, which is given."""
        self.alice.renew()
        self.browser = self.on.browser()
        self.before = self.count("sessions")
        self.request = self.last_step()
        return self.request

    def last_step(self) -> bytes:
        raise NotImplementedError

    def has_happened(self) -> bool:
        """Whether there is a session; then it is a whole one, else nothing was taken for it."""
        made = self.count("sessions") - self.before
        assert made in (0, 1)
        if made:
            newest = "SELECT * FROM sessions ORDER BY created_at DESC, id LIMIT 1"
            [session] = self.on.rows(newest)
            proofs = orjson.loads(as_text(session["authentications"]))
            assert tuple(one["method"] for one in proofs) == self.methods
            assert session["acr"] == ("aal3" if self.methods == ("passkey",) else "aal2")
        self.require_used(happened=bool(made))
        return bool(made)

    def require_used(self, *, happened: bool) -> None:
        """What the proof was made with is used up if it brought a session, and only then."""
        raise NotImplementedError

    def go_on(self, *, happened: bool) -> None:
        """What the person does next, and that it works."""
        raise NotImplementedError

    def sends_it_again(self) -> str:
        return outcome(self.on.ask(self.request))

    def begins_again(self) -> None:
        """The same form once more leads to the sign-in page, and to nothing else."""
        assert outcome(self.on.ask(self.request)) == "again"

    def shows(self, method: str, code: str) -> str:
        """A sign-in from its beginning."""
        browser = Browser(self.on.port)
        page = self.alice.after_password(browser)
        answer = browser.wire.exchange(self.alice.showing(browser, page, method, code))
        browser.close()
        return outcome(answer)

    def count(self, table: str, where: str = "1 = 1") -> int:
        return int(self.on.scalar(f"SELECT count(*) FROM {table} WHERE {where}"))


class ByCode(LastStep):
    """The code of an app; this browser is to be trusted from now on."""

    methods = ("password", "totp")

    def last_step(self) -> bytes:
        self.trusted = self.count("trusted_devices")
        page = self.alice.after_password(self.browser)
        return self.alice.showing(self.browser, page, "totp", self.alice.code(), trust="yes")

    def require_used(self, *, happened: bool) -> None:
        assert (self.on.scalar("SELECT last_step FROM totps") != 0) is happened
        assert self.count("trusted_devices") == self.trusted + happened

    def go_on(self, *, happened: bool) -> None:
        if happened:
            self.begins_again()
            # The next one of the app, which is half a minute ahead of us at most.
            following = pyotp.TOTP(self.alice.secret).at(int(time.time()) + 30)
            assert self.shows("totp", following) == "in"
        else:
            assert self.sends_it_again() == "in"


class ByRecoveryCode(LastStep):
    """One of ten; it cannot be had again, so it must not go for nothing."""

    methods = ("password", "recovery_code")

    def last_step(self) -> bytes:
        self.used = self.count("recovery_codes", "used_at IS NOT NULL")
        self.code = self.alice.codes.pop()
        page = self.alice.after_password(self.browser)
        return self.alice.showing(self.browser, page, "recovery_code", self.code)

    def require_used(self, *, happened: bool) -> None:
        assert self.count("recovery_codes", "used_at IS NOT NULL") == self.used + happened
        assert self.on.count_events("recovery_codes.used") == self.used + happened

    def go_on(self, *, happened: bool) -> None:
        if happened:
            self.begins_again()
            assert self.shows("recovery_code", self.code) == "403"
            assert self.shows("totp", self.alice.code()) == "in"
        else:
            assert self.sends_it_again() == "in"
        assert self.count("recovery_codes", "used_at IS NOT NULL") == self.used + 1


class ByPasskey(LastStep):
    """A passkey alone. Its challenge is spent before it is checked, and a new page has a new one."""

    methods = ("passkey",)

    def last_step(self) -> bytes:
        self.counter = self.on.scalar("SELECT sign_count FROM passkeys")
        return self.alice.with_key(self.browser, self.device)

    def require_used(self, *, happened: bool) -> None:
        assert (self.on.scalar("SELECT sign_count FROM passkeys") != self.counter) is happened
        assert self.on.scalar("SELECT suspended_at FROM passkeys") is None

    def go_on(self, *, happened: bool) -> None:
        before = self.count("sessions")
        again = self.sends_it_again()
        # Taken only if nothing of it was committed, not even that it came.
        assert again == "again" or (again == "in" and not happened)
        assert self.count("sessions") == before + (again == "in")
        self.alice.signed_in_with_key(self.device)
        assert self.on.scalar("SELECT suspended_at FROM passkeys") is None


def as_text(column: Any) -> str | bytes:
    """JSON as the two databases give it."""
    return column if isinstance(column, str | bytes) else orjson.dumps(column)


@pytest.mark.crash
@pytest.mark.parametrize("kind", [ByCode, ByRecoveryCode, ByPasskey])
def test_a_death_in_the_last_step_leaves_a_whole_session_or_a_code_that_is_still_good(
    mortal: Deployment, kind: type[LastStep], say: Say
) -> None:
    """MF-05: all of it or nothing, at every commit that there is."""
    step = kind(mortal)
    before: list[bool] = []
    after: list[bool] = []
    while (happened := _dies(mortal, step, "before-commit", len(before) + 1)) is not None:
        before.append(happened)
        after.append(_dies(mortal, step, "after-commit", len(before)) is True)
        assert len(before) < MOST_COMMITS
    # The session comes with the last commit and with no other.
    assert before == [False] * len(before)
    assert after == [False] * (len(before) - 1) + [True]
    assert _dies(mortal, step, "before-answer", 1) is True
    rows = [mortal.rows(f"SELECT * FROM {table}") for table in ("sessions", "authorizations")]
    assert ledger.audit_is_complete(mortal, *rows) == []
    say(f"{kind.__name__}: {len(before)} commits, {2 * len(before) + 1} deaths, all or nothing")


def _dies(mortal: Deployment, step: LastStep, point: str, number: int) -> bool | None:
    """Whether there was a session when the server died there; None when it did not die."""
    request = step.prepare()
    try:
        mortal.ask(dying(request, point, number))
    except Lost:
        mortal.server.wait_for_death()
    else:
        return None
    mortal.hang_up()
    mortal.server.start(doom=MORTAL)
    happened = step.has_happened()
    step.go_on(happened=happened)
    return happened
