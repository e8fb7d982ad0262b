"""A person with a browser, in Python: follows redirects, fills in the pages they are shown."""

from html.parser import HTMLParser
from urllib.parse import urljoin

import httpx2


class _Form(HTMLParser):
    """The form that holds the element with id `wanted`: action, method, hidden fields, button."""

    def __init__(self, wanted: str) -> None:
        super().__init__()
        self._wanted = wanted
        self._form: dict[str, str | None] | None = None
        self._fields: dict[str, str] = {}
        self.action: str | None = None
        self.fields: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "form":
            self._form, self._fields = found, {}
        if self._form is None:
            return
        if tag == "input" and found.get("type") == "hidden" and found.get("name"):
            self._fields[str(found["name"])] = found.get("value") or ""
        if found.get("id") == self._wanted:
            self.action, self.fields = self._form.get("action") or "", self._fields
            if found.get("name"):
                self._fields[str(found["name"])] = found.get("value") or ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None


class Person:
    """Somebody who signs in with a user name and a password and allows what is asked."""

    def __init__(self, username: str, password: str) -> None:
        self._credentials = {"username": username, "password": password}
        self._browser = httpx2.Client(headers={"User-Agent": "Mozilla/5.0 Chrome/140.0"})

    def close(self) -> None:
        self._browser.close()

    def authorize(self, address: str, redirect_uri: str) -> str:
        """Opens an authorization request; gives the address the app is called back with."""
        answer = self._browser.get(address)
        for _ in range(12):
            while answer.is_redirect:
                address = urljoin(str(answer.url), answer.headers["location"])
                if address.startswith(redirect_uri):
                    return address
                answer = self._browser.get(address)
            answer = self._answer(answer)
        raise AssertionError(f"never came back; last at {answer.url}")

    def let_in(self, address: str, user_code: str) -> None:
        """Opens the address that a device shows, types its code, and allows it."""
        page = self._browser.get(address, follow_redirects=True)
        for button, typed in (
            ("login-submit", self._credentials),
            ("device-open", {"user_code": user_code}),
            ("device-allow", {}),
        ):
            answer = self._press(page, button, typed)
            assert answer is not None, page.text
            onward = urljoin(str(answer.url), answer.headers["location"])
            page = self._browser.get(onward, follow_redirects=True)
        assert "goes on by itself" in page.text

    def end_session(self, address: str, name: str) -> None:
        """Signs out the session of this name on the page at `address`."""
        page = self._browser.get(address).text
        row = next(row for row in page.split('<li class="row')[1:] if f"Select {name}" in row)
        session_id = row.partition('id="')[2].partition('"')[0]
        token = page.partition('name="csrf" value="')[2].partition('"')[0]
        answer = self._browser.post(f"{address}/{session_id}/end", data={"csrf": token})
        assert answer.status_code == 303

    def _answer(self, page: httpx2.Response) -> httpx2.Response:
        for button, typed in (("login-submit", self._credentials), ("consent-allow", {})):
            answer = self._press(page, button, typed)
            if answer is not None:
                return answer
        raise AssertionError(f"unexpected page at {page.url} ({page.status_code}): {page.text}")

    def _press(
        self, page: httpx2.Response, button: str, typed: dict[str, str]
    ) -> httpx2.Response | None:
        """Sends the form that holds this button; None when the page has none."""
        form = _Form(button)
        form.feed(page.text)
        if form.action is None:
            return None
        origin = str(page.url.copy_with(raw_path=b"/")).rstrip("/")
        return self._browser.post(
            urljoin(str(page.url), form.action),
            data={**form.fields, **typed},
            headers={"Origin": origin, "Sec-Fetch-Site": "same-origin"},
        )
