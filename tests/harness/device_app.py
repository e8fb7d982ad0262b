"""An app on a device without a browser: it asks for codes, shows one, and polls (RFC 8628)."""

from dataclasses import dataclass, field
from typing import Any

from starlette.testclient import TestClient

from idp.clock import SECOND
from idp.oauth.grants.device_code import DEVICE_CODE
from tests.harness.provider import Idp, Registered
from tests.web.html import Page

AGENT = "curl/8.14.1"


@dataclass
class DeviceApp:
    """One device; `codes` is what it was given last."""

    idp: Idp
    client: Registered
    codes: dict[str, Any] = field(default_factory=dict)

    def ask(self, **form: str) -> dict[str, Any]:
        """POST /device_authorization."""
        status, body = self.post("/device_authorization", **form)
        assert status == 200, body
        self.codes = body
        return body

    def poll(self, **form: str) -> tuple[int, dict[str, Any]]:
        """POST /token with the device code."""
        return self.post("/token", **self.polling(), **form)

    def polling(self) -> dict[str, str]:
        return {"grant_type": DEVICE_CODE, "device_code": self.codes["device_code"]}

    def wait(self) -> tuple[int, dict[str, Any]]:
        """Waits for the interval, then polls."""
        self.idp.clock.advance(self.codes["interval"] * SECOND)
        return self.poll()

    def post(self, path: str, **form: str) -> tuple[int, dict[str, Any]]:
        auth = (self.client.id, self.client.secret) if self.client.secret else None
        if auth is None:
            form.setdefault("client_id", self.client.id)
        browser = self.idp.browser()
        response = browser.post(path, data=form, auth=auth, headers={"User-Agent": AGENT})
        return response.status_code, response.json()

    @property
    def user_code(self) -> str:
        return str(self.codes["user_code"])


def device_app(idp: Idp, **values: Any) -> DeviceApp:
    """A public app with the device grant."""
    wanted: dict[str, Any] = {
        "name": "Terminal",
        "token_endpoint_auth_method": "none",
        "grant_types": [DEVICE_CODE, "refresh_token"],
        "redirect_uris": [],
        "scope": "openid profile email offline_access sessions",
        "application_type": "native",
        "first_party": 0,
    }
    return DeviceApp(idp, idp.register(**(wanted | values)))


def open_code(browser: TestClient, typed: str) -> Page:
    """Types a code on /device; gives the page it leads to."""
    page = Page(browser.get("/device"))
    response = page.press(browser, "device-open", user_code=typed)
    if response.status_code == 303:
        response = browser.get(response.headers["location"])
    return Page(response)


def decide(browser: TestClient, page: Page, button: str) -> Page:
    """Presses a button of the answering page; gives the page after it."""
    response = page.press(browser, button)
    assert response.status_code == 303, response.text
    return Page(browser.get(response.headers["location"]))
