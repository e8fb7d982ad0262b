"""What only a real browser can show: its policy on forms, scripts, dialogs, and pages kept."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlencode

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect

from idp.clock import SystemClock
from tests.harness.browser import PATIENCE, Watch, chromium
from tests.harness.provider import PASSWORD, Flow, Idp, Registered, Templates, settings_for
from tests.harness.server_process import reserved_port
from tests.web.conftest import PHONE

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def port() -> Iterator[int]:
    with reserved_port() as reserved:
        yield reserved


@pytest.fixture
def served(tmp_path: Path, templates: Templates, port: int) -> Iterator[Idp]:
    """A provider that a browser can reach."""
    settings = settings_for(templates.sqlite(tmp_path / "idp.db"))
    settings = settings.model_copy(update={"url": f"http://localhost:{port}"})
    idp = Idp(settings, SystemClock())  # type: ignore[arg-type]
    config = uvicorn.Config(idp.app, port=port, log_level="warning", ws="none", proxy_headers=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
        yield idp
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """An app's address that sends people on to another origin, as many apps do."""

    class Landing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/callback"):
                self.send_response(302)
                self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/home")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>home</title>")

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Landing)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://localhost:{server.server_port}/callback"
    server.shutdown()
    thread.join()
    server.server_close()


def opened(browser: Browser, url: str, complaints: list[str]) -> Page:
    page = browser.new_context().new_page()
    page.set_default_timeout(PATIENCE)
    Watch(page, complaints)
    page.goto(url)
    return page


def fill_in(page: Page) -> None:
    page.fill("#username", "alice")
    page.fill("#password", PASSWORD)
    page.click("#login-submit")


def request_of(idp: Idp, client: Registered) -> str:
    return f"{idp.settings.issuer}/authorize?{urlencode(Flow(client).parameters())}"


@pytest.mark.parametrize("answer", ["login", "cancel", "consent-allow", "consent-deny"])
def test_an_app_may_send_people_on_to_an_origin_we_never_heard_of(
    answer: str, served: Idp, browser: Browser, elsewhere: str
) -> None:
    served.person("alice")
    client = served.register(
        redirect_uris=[elsewhere], first_party=int(not answer.startswith("consent"))
    )
    complaints: list[str] = []
    page = opened(browser, request_of(served, client), complaints)
    if answer == "cancel":
        page.click("#login-cancel")
    else:
        fill_in(page)
    if answer.startswith("consent"):
        page.click(f"#{answer}")
    expect(page).to_have_title("home")
    assert complaints == []
    page.context.close()


def test_the_page_is_complete_under_its_own_policy(served: Idp, browser: Browser) -> None:
    alice = served.person("alice")
    served.session(alice, agent=PHONE)
    complaints: list[str] = []
    page = opened(browser, f"{served.settings.issuer}/account/sessions", complaints)
    # The password shows on request, and never when it is sent.
    page.fill("#password", PASSWORD)
    page.click(".reveal")
    assert page.get_attribute("#password", "type") == "text"
    page.click(".reveal")
    assert page.get_attribute("#password", "type") == "password"
    fill_in(page)
    expect(page.locator("li.row")).to_have_count(2)

    # Renaming in place, by the pencil.
    page.locator(".rename").first.click()
    page.keyboard.type("Kitchen")
    page.keyboard.press("Enter")
    expect(page.locator("h2").first).to_contain_text("Kitchen")

    # Selecting counts, the question is a dialog, Escape takes it back, focus is on "Cancel".
    assert page.locator("#end-selected").is_disabled()
    page.locator("[name^='select.']").nth(1).check()
    expect(page.locator("[data-count]")).to_have_text("1 selected")
    page.click("#end-selected")
    expect(page.locator("dialog[open]")).to_contain_text("Sign out this session?")
    assert page.evaluate("document.activeElement.id") == "ask-cancel"
    page.keyboard.press("Escape")
    expect(page.locator("dialog[open]")).to_have_count(0)
    page.click("#end-selected")
    page.click("#end-confirm")
    expect(page.locator("#receipts")).to_contain_text("Signed out.")
    expect(page.locator("li.row")).to_have_count(1)
    assert complaints == []
    page.context.close()


def test_the_back_button_shows_nothing_after_the_farewell(served: Idp, browser: Browser) -> None:
    served.person("alice")
    complaints: list[str] = []
    page = opened(browser, f"{served.settings.issuer}/account/sessions", complaints)
    fill_in(page)
    expect(page.locator("li.row")).to_have_count(1)
    page.click("#sign-out")
    expect(page).to_have_title("Signed out · idp")
    page.go_back()
    expect(page.locator("#login-submit")).to_be_visible()
    expect(page.locator("li.row")).to_have_count(0)
    page.context.close()


def test_the_error_takes_the_focus(served: Idp, browser: Browser) -> None:
    page = opened(browser, f"{served.settings.issuer}/account/sign-in", [])
    page.fill("#username", "nobody")
    page.fill("#password", "wrong password")
    page.click("#login-submit")
    expect(page.locator("#error")).to_be_focused()
    assert page.input_value("#username") == "nobody"
    page.context.close()
