"""The security page in tests: adding factors as a browser does, and proving them again."""

import re

import pyotp
from httpx2 import Response

from idp.clock import SECOND
from idp.policy.assurance import Authentication
from idp.sessions import lifecycle
from idp.sessions.device import Visit
from idp.sessions.model import Session
from tests.harness.authenticator import Authenticator
from tests.harness.provider import Idp
from tests.web.conftest import Somebody
from tests.web.html import Page

SECURITY = "/account/security"
BY_PASSWORD = Authentication("password", ("pwd",), "aal1")
BY_CODE = (BY_PASSWORD, Authentication("totp", ("otp",), "aal1"))
BY_PASSKEY = Authentication("passkey", ("hwk", "user"), "aal3")


def page_of(one: Somebody, path: str = SECURITY) -> Page:
    response = one.browser.get(path)
    assert response.status_code == 200, (response.status_code, response.headers.get("location"))
    return Page(response)


def options_of(page: Page) -> str:
    (form,) = [one for one in page.elements if one.attributes.get("data-passkey") == "create"]
    return form.attributes["data-options"]


def add_passkey(
    one: Somebody, key: Authenticator | None = None, *, query: str = "", **typed: str
) -> Response:
    """Fills in and sends the form as a browser with an authenticator would."""
    page = page_of(one, f"{SECURITY}/passkeys/new{query}")
    form = page.form(action=f"{SECURITY}/passkeys")
    credential = (key or Authenticator()).create(options_of(page))
    return one.browser.post(form.action, data=form.fields | {"credential": credential} | typed)


def secret_of(page: Page) -> str:
    found = re.search(r"Or type this key ((?:[A-Z2-7]{4} ){8})", page.text)
    assert found, page.text
    return found[1].replace(" ", "")


def code_of(idp: Idp, secret: str) -> str:
    return pyotp.TOTP(secret).at(idp.clock.now() // SECOND)


def add_totp(one: Somebody, *, query: str = "", **typed: str) -> tuple[Response, str]:
    page = page_of(one, f"{SECURITY}/totp/new{query}")
    secret = secret_of(page)
    typed = {"code": code_of(one.idp, secret)} | typed
    return page.press(one.browser, "totp-submit", **typed), secret


def prove_again(one: Somebody, *proofs: Authentication) -> None:
    """As if the person had just shown these proofs, which have pages of their own."""
    with one.idp.work.begin() as unit:
        session = unit.orm.get_one(Session, one.id)
        renewed = lifecycle.reauthenticate(unit, session, proofs, Visit())
    one.browser.cookies.delete("idp_session")
    one.browser.cookies.set("idp_session", renewed, domain="localhost.local", path="/")
