"""A person at a browser, as far as our pages go: opens addresses, fills in forms, presses buttons.

Inside the test process, so that the clock stands still; without JavaScript, as every page works.
"""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urlsplit

import httpx2
from starlette.testclient import TestClient

from tests.harness.provider import ISSUER, PASSWORD, Idp, answer_of


@dataclass
class Form:
    """A form of a page: where it goes, what it carries along, and the buttons by their ids."""

    action: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: dict[str, tuple[str, str]] = field(default_factory=dict)


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[Form] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.found.append(Form(given.get("action", "")))
        elif tag == "input" and self.found and given.get("name") and _is_sent(given):
            self.found[-1].fields[given["name"]] = given.get("value", "")
        elif tag == "button" and self.found and given.get("id"):
            self.found[-1].buttons[given["id"]] = (given.get("name", ""), given.get("value", ""))


def _is_sent(given: dict[str, str]) -> bool:
    """A box that is not ticked is not sent."""
    return given.get("type") not in ("checkbox", "radio") or "checked" in given


class Person:
    """Somebody with one browser."""

    def __init__(self, idp: Idp) -> None:
        self.browser: TestClient = idp.browser()
        self.page: httpx2.Response | None = None
        # Where our pages sent the browser in the end, when that is not a page of ours.
        self.sent_to: str | None = None

    def open(self, path: str, parameters: dict[str, str] | None = None) -> "Person":
        """Goes to an address of ours and follows where it leads, as long as it is ours."""
        return self._follow(self.browser.get(path, params=parameters))

    def press(self, button: str, **typed: str) -> "Person":
        """Presses a button of the page after typing into the fields of its form."""
        assert self.page is not None, f"sent away, to {self.sent_to}"
        parser = _Forms()
        parser.feed(self.page.text)
        form = next((one for one in parser.found if button in one.buttons), None)
        assert form is not None, f"no {button} on {self.page.url}: {self.page.text}"
        name, value = form.buttons[button]
        data = {**form.fields, **typed, **({name: value} if name else {})}
        headers = {"Origin": ISSUER, "Sec-Fetch-Site": "same-origin"}
        return self._follow(self.browser.post(form.action, data=data, headers=headers))

    def sign_in(self, username: str, password: str = PASSWORD) -> "Person":
        """On the sign-in page."""
        return self.press("login-submit", username=username, password=password)

    @property
    def at(self) -> str:
        """The path of the page that is shown."""
        assert self.page is not None, f"sent away, to {self.sent_to}"
        return self.page.url.path

    @property
    def answer(self) -> dict[str, str]:
        """What the app was told."""
        assert self.sent_to is not None, f"still at {self.at}: {self.page and self.page.text}"
        return answer_of(self.sent_to)

    def _follow(self, response: httpx2.Response) -> "Person":
        self.page = self.sent_to = None
        for _ in range(10):
            location = response.headers.get("location")
            if location is None:
                self.page = response
                return self
            if urlsplit(location).netloc not in ("", urlsplit(ISSUER).netloc):
                self.sent_to = location
                return self
            response = self.browser.get(location)
        raise AssertionError(f"a loop: {response.url}")
