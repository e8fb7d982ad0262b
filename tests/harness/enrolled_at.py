"""People with more than a password at a deployment: real servers, and the clock of the machine."""

import html
import os
import re
import time
from dataclasses import dataclass, field

import pyotp
import sqlalchemy as sa

from idp.events.actor import SYSTEM
from idp.users import passkeys, recovery_codes, totp
from idp.users.model import User
from tests.bench.wire import Answer
from tests.harness.authenticator import Authenticator
from tests.harness.deployment import Deployment
from tests.harness.load_clients import Browser
from tests.harness.provider import PASSWORD

SECOND = "/login/second"
_OPTIONS = re.compile(rb'data-options="([^"]*)"')


@dataclass
class Person:
    """Somebody at a deployment, and what they prove themselves by."""

    on: Deployment
    id: str
    name: str
    secret: str = ""
    codes: list[str] = field(default_factory=list)

    # --- what they have -----------------------------------------------------------------------

    def with_totp(self) -> "Person":
        """Adds a code generator, whose present code is still good, and recovery codes."""
        with self.on.work.begin() as unit:
            user = unit.orm.get_one(User, self.id)
            self.secret = totp.propose(self.on.work.settings, user).secret
            code = pyotp.TOTP(self.secret).at(int(time.time()))
            totp.enrol(unit, user, secret=self.secret, code=code, name="App", actor=SYSTEM)
            self.codes = recovery_codes.make(unit, user, SYSTEM)
        self.renew()
        return self

    def with_passkey(self, *, backup: str = "none") -> Authenticator:
        """Adds a passkey."""
        device, challenge = Authenticator(backup=backup), os.urandom(32)
        with self.on.work.begin() as unit:
            user = unit.orm.get_one(User, self.id)
            options = passkeys.registration_options(unit, user, challenge=challenge)
            answer = device.create(options)
            passkeys.register(
                unit, user, credential=answer, challenge=challenge, name="Key", actor=SYSTEM
            )
        # Enrolled from here, and used in pages of the server.
        device.origin = self.on.server.issuer
        return device

    def without_password(self) -> None:
        self._change("UPDATE users SET password_hash = NULL WHERE id = :id")

    def renew(self) -> None:
        """As if no code had been shown for a while, and none had been wrong."""
        self._change("UPDATE totps SET last_step = 0 WHERE user_id = :id")
        self._change("DELETE FROM throttles WHERE key LIKE '%' || :id || '%'")

    def code(self) -> str:
        """The code that their generator shows now, for some seconds more."""
        if time.time() % 30 > 25:
            time.sleep(30 - time.time() % 30)
        return pyotp.TOTP(self.secret).at(int(time.time()))

    def _change(self, statement: str) -> None:
        with self.on.work.begin() as unit:
            unit.connection.execute(sa.text(statement), {"id": self.id})

    # --- what they do -------------------------------------------------------------------------

    def after_password(self, browser: Browser) -> Answer:
        """The second page, to which the right password leads."""
        answer = browser.wire.exchange(browser.signing_in(self.name, PASSWORD))
        browser.keep(answer)
        assert answer.status == 200, answer
        return answer

    def showing(self, browser: Browser, page: Answer, method: str, code: str, **more: str) -> bytes:
        """The bytes that answer the second page with a code."""
        fields = page.hidden_fields() | {"method": method, "code": code, "action": "prove"}
        return browser.posting(SECOND, fields | more)

    def with_key(self, browser: Browser, device: Authenticator) -> bytes:
        """The bytes that sign in with a passkey alone."""
        page = browser.get("/account/sign-in")
        credential = device.get(options_in(page))
        fields = page.hidden_fields() | {"action": "passkey", "credential": credential}
        return browser.posting("/account/sign-in", fields)

    def signed_in_with_key(self, device: Authenticator) -> Browser:
        """A browser in which they have just signed in with a passkey."""
        browser = self.on.browser()
        answer = browser.wire.exchange(self.with_key(browser, device))
        browser.keep(answer)
        assert answer.status == 303, answer
        return browser


def person(on: Deployment, name: str) -> Person:
    """Somebody new with `PASSWORD`."""
    return Person(on, on.person(name), name)


def outcome(answer: Answer | None) -> str:
    """What became of a sign-in: "in", "again" (from its beginning), or the status of a refusal."""
    if answer is None:
        return "lost"
    if answer.status == 400 and b'id="login-submit"' in answer.body:
        return "again"
    if answer.status != 303:
        return str(answer.status)
    assert b"idp_session=" in answer.head
    return "in"


def options_in(page: Answer) -> str:
    """What the page asks an authenticator for."""
    found = _OPTIONS.search(page.body)
    assert found is not None, page
    return html.unescape(found[1].decode())
