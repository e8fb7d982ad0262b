"""A browser that asks another device to let it in, without JavaScript: as every page works."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from httpx2 import Response
from starlette.testclient import TestClient

from idp.sessions import pairing_details
from idp.sessions.model import Pairing
from tests.harness import mmdb
from tests.harness.provider import Idp, Templates, settings_for
from tests.harness.workbench import ManualClock
from tests.web.conftest import LAPTOP, PHONE, Somebody
from tests.web.html import Page

# One household, somebody in the same country, and somebody far away.
HOME, ELSEWHERE, ABROAD = "192.0.2.1", "198.51.100.9", "203.0.113.7"


def knowing(
    places: Mapping[str, dict[str, Any]], folder: Path, templates: Templates, clock: ManualClock
) -> Idp:
    """A provider on SQLite that knows where addresses are; who asked for it closes it."""
    geo = folder / "geo"
    geo.mkdir()
    mmdb.write(geo / "city.mmdb", places)
    url = templates.sqlite(folder / "idp.db")
    return Idp(settings_for(url, geo={"folder": str(geo)}), clock)


def on_a_phone(idp: Idp, username: str = "alice", *, ip: str = HOME) -> Somebody:
    """Somebody who is signed in on their phone."""
    user = idp.person(username)
    session = idp.session(user, agent=PHONE, ip=ip)
    browser = idp.signed_in_browser(session, ip=ip)
    browser.headers["User-Agent"] = PHONE
    return Somebody(idp, user, session, browser)


@dataclass
class Asker:
    """One browser and the page on which it waits."""

    idp: Idp
    browser: TestClient
    path: str

    @property
    def pairing_id(self) -> str:
        return self.path.rpartition("/")[2]

    def page(self) -> Page:
        return Page(self.browser.get(self.path))

    @property
    def stage(self) -> str:
        return self.page().element("stage").attributes["data-stage"]

    @property
    def scanned(self) -> str:
        """The path that the QR code leads to."""
        with self.idp.work.read() as unit:
            asked = unit.orm.get_one(Pairing, self.pairing_id)
            return f"/qr/{pairing_details.of(unit, asked).qr}"

    @property
    def user_code(self) -> str:
        with self.idp.work.read() as unit:
            return pairing_details.of(unit, unit.orm.get_one(Pairing, self.pairing_id)).user_code

    @property
    def number(self) -> int:
        """The two digits that it shows once its code was opened."""
        return int(self.browser.get(self.path).text.partition('id="number">')[2].partition("<")[0])

    def press(self, button: str) -> Response:
        return self.page().press(self.browser, button)

    @property
    def is_signed_in(self) -> bool:
        return self.browser.get("/account/sessions").status_code == 200


def asker(idp: Idp, *, agent: str = LAPTOP, at: str = "/account/sign-in", ip: str = HOME) -> Asker:
    """A browser on the sign-in page, where somebody chose "Sign in with another device"."""
    browser = idp.browser(ip=ip)
    browser.headers["User-Agent"] = agent
    response = Page(browser.get(at)).press(browser, "login-elsewhere")
    assert response.status_code == 303, response.text
    return Asker(idp, browser, urlsplit(response.headers["location"]).path)


@dataclass
class Shown:
    """The page on which a signed-in device shows a code, to move its session."""

    idp: Idp
    by: Somebody
    path: str

    @property
    def pairing_id(self) -> str:
        return self.path.rpartition("/")[2]

    def page(self) -> Page:
        """This page, or the answering one once the code was opened."""
        response = self.by.browser.get(self.path)
        if response.status_code == 303:
            response = self.by.browser.get(response.headers["location"])
        return Page(response)

    @property
    def scanned(self) -> str:
        return Asker(self.idp, self.by.browser, self.path).scanned

    @property
    def user_code(self) -> str:
        return Asker(self.idp, self.by.browser, self.path).user_code

    def press(self, button: str) -> Response:
        return self.page().press(self.by.browser, button)


def showing(by: Somebody) -> Shown:
    """Somebody presses "Move this session" on their list."""
    response = by.sessions().press(by.browser, "move")
    assert response.status_code == 303, response.text
    return Shown(by.idp, by, urlsplit(response.headers["location"]).path)


def a_browser(idp: Idp, *, agent: str = PHONE, ip: str = HOME) -> TestClient:
    """A browser in which nobody is signed in."""
    browser = idp.browser(ip=ip)
    browser.headers["User-Agent"] = agent
    return browser


def goes_on(shown: Shown, browser: TestClient | None = None, *, ip: str = HOME) -> Asker:
    """A browser opens the code that is shown, and its person presses the button."""
    new = browser if browser is not None else a_browser(shown.idp, ip=ip)
    response = Page(new.get(shown.scanned)).press(new, "qr-open")
    assert response.status_code == 303, response.text
    return Asker(shown.idp, new, urlsplit(response.headers["location"]).path)


def scan(browser: TestClient, path: str) -> Page:
    """A camera opens the code, and its person presses the button; gives the page after it."""
    page = Page(browser.get(path))
    if not page.has("qr-open"):
        return page
    response = page.press(browser, "qr-open")
    if response.status_code == 303:
        response = browser.get(response.headers["location"])
    return Page(response)


def let_in(approver: TestClient, asked: Asker) -> None:
    """The whole way but for the last button: scanned, the right number, yes."""
    page = scan(approver, asked.scanned)
    answer(approver, page, asked.number)


def answer(
    approver: TestClient, page: Page, number: int, *, together: bool = True, wish: str = ""
) -> Page:
    """Picks or types a number on the approving device; gives the page after it."""
    values = {"wish": wish or "together"} if together or wish else {}
    if page.has("number"):
        response = page.press(approver, "device-allow", number=str(number), **values)
    else:
        form = page.form(button="device-deny")
        values = form.fields | values | {"action": f"allow-{number}"}
        response = approver.post(form.action, data=values)
    assert response.status_code == 303, response.text
    return Page(approver.get(response.headers["location"]))
