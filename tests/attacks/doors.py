"""The pages that take an answer of a ceremony, somebody with every factor in front of them, and what a
refusal there must be like.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from httpx2 import Response
from starlette.testclient import TestClient

from idp.users.model import User
from tests.harness.authenticator import Authenticator
from tests.harness.enrolled import Factors, with_passkey, with_totp
from tests.harness.provider import PASSWORD, Flow, Idp, Registered, settings_for
from tests.harness.workbench import ManualClock
from tests.web.factors import BY_PASSKEY, BY_PASSWORD, SECURITY
from tests.web.html import Page

# Ten milliseconds are meant; a machine that does other things as well needs room.
MOST_SECONDS = 0.025
FOR_FACTORS = "/step-up?for=change_factors&next=%2Faccount%2Fapps"


@contextmanager
def generous(url: str, clock: ManualClock) -> Iterator[Idp]:
    """A provider that counts attempts, and stops nobody for their number."""
    many = {"per_address": 100_000, "per_account": 100, "per_account_device": 100}
    made = Idp(settings_for(url, throttle=many), clock)
    yield made
    made.close()


@dataclass
class Alice:
    """Somebody with every factor there is, and what of it must still be there afterwards."""

    idp: Idp
    user: User
    device: Authenticator
    factors: Factors
    before: list[object] = field(default_factory=list)

    def state(self) -> list[object]:
        tables = {
            "passkeys": "id, suspended_at, sign_count, last_used_at",
            "totps": "id, last_step, last_used_at",
            "recovery_codes": "code_hash, used_at",
            "sessions": "id, acr, ended_at",
            "trusted_devices": "id",
        }
        with self.idp.work.read() as unit:
            return [
                [tuple(row) for row in unit.connection.exec_driver_sql(
                    f"SELECT {columns} FROM {table} ORDER BY 1"
                )]
                for table, columns in tables.items()
            ]  # fmt: skip

    def forget_attempts(self) -> None:
        self.idp.execute("DELETE FROM throttles")


def make_alice(idp: Idp) -> Alice:
    user = idp.person("alice")
    return Alice(idp, user, with_passkey(idp, user), with_totp(idp, user))


@dataclass
class Door:
    """A page that takes an answer: a browser in front of it, and the form it was shown last."""

    name: str
    alice: Alice
    browser: TestClient
    address: str
    page: Page

    @property
    def creates(self) -> bool:
        return self.name == "enrol"

    @property
    def options(self) -> str:
        return next(
            one.attributes["data-options"]
            for one in self.page.elements
            if "data-options" in one.attributes
        )

    @property
    def fields(self) -> dict[str, str]:
        form = next(one for one in self.page.forms if "ceremony" in one.fields)
        return {**form.fields, "action": "passkey"}

    @property
    def action(self) -> str:
        return next(one.action for one in self.page.forms if "ceremony" in one.fields)

    def answer(self, **changes: Any) -> str:
        """What a good browser with Alice's device would send now, but for `changes`."""
        if self.creates:
            return Authenticator().create(self.options, **changes)
        return self.alice.device.get(self.options, **changes)

    def send(self, credential: str, **fields: str) -> Response:
        """Posts it; what the page shows afterwards is the next form, where there is one."""
        sent = {**self.fields, "credential": credential, **fields}
        response = self.browser.post(self.action, data=sent)
        was_sent_back = self.name == "second" and 'id="login-submit"' in response.text
        if 'name="ceremony"' in response.text and not was_sent_back:
            self.page = Page(response)
        elif response.status_code >= 400:
            self.again()
        return response

    def again(self) -> None:
        self.page = open_page(self.name, self.alice, self.browser, self.address)


def open_page(name: str, alice: Alice, browser: TestClient, address: str) -> Page:
    page = Page(browser.get(address))
    if name == "second":
        sent = page.form(button="login-submit").fields | {
            "username": "alice", "password": PASSWORD
        }  # fmt: skip
        page = Page(browser.post("/account/sign-in", data=sent))
    return page


DOORS = ("login", "account", "second", "step-up", "enrol")


def door_of(name: str, alice: Alice, app: Registered, *, device: str = "d") -> Door:
    """A door of this kind, in a browser of its own that bears this number."""
    idp, address = alice.idp, "/account/sign-in"
    browser = idp.browser()
    if name == "step-up":
        # The password alone is not enough for what is asked.
        browser, address = idp.signed_in_browser(idp.session(alice.user)), FOR_FACTORS
    elif name == "enrol":
        session = idp.session(alice.user, proved=(BY_PASSWORD, BY_PASSKEY))
        browser, address = idp.signed_in_browser(session), f"{SECURITY}/passkeys/new"
    browser.cookies.set("idp_device", device * 43, domain="localhost.local")
    if name == "login":
        begun = browser.get("/authorize", params=Flow(app).parameters())
        address = begun.headers["location"]
    return Door(name, alice, browser, address, open_page(name, alice, browser, address))


def require_refusal(door: Door, response: Response, what: str) -> None:
    """A refusal with a sentence, by which Alice lost nothing."""
    assert 400 <= response.status_code < 500, (what, response.status_code)
    alerts = [
        one for one in Page(response).elements
        if one.attributes.get("role") == "alert" and one.attributes.get("id") == "error"
    ]  # fmt: skip
    assert len(alerts) == 1, what
    assert "idp_session=" not in response.headers.get("set-cookie", ""), what
    assert door.alice.state() == door.alice.before, what


def require_taken(response: Response) -> None:
    """Either all is proved, or the next factor is asked for."""
    assert response.status_code in (200, 303), response.status_code
    assert 'id="error"' not in response.text


def cost(call: Callable[[], Response]) -> tuple[float, Response]:
    """Seconds of processor time of all threads, and the answer."""
    before = time.process_time()
    response = call()
    return time.process_time() - before, response
