"""What a person does with the product, in their own words."""

import base64
import hashlib
import secrets
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlencode, urlsplit

from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.harness.browser import PATIENCE, Watch
from tests.harness.servers import PASSWORD, Product


@dataclass(frozen=True, slots=True)
class Tokens:
    """What an app holds of a session."""

    client: str
    access: str
    refresh: str


class Person:
    """One person at one browser."""

    def __init__(self, world: Product, context: BrowserContext) -> None:
        self.world = world
        self.context = context
        self.complaints: list[str] = []
        context.set_default_timeout(PATIENCE)
        context.on("page", lambda page: Watch(page, self.complaints))

    def open(self, url: str) -> Page:
        """Opens an address in a new tab."""
        page = self.context.new_page()
        page.goto(url)
        return page

    def open_app(self, url: str) -> Page:
        """Opens an app in a new tab and clicks "Sign in"."""
        page = self.open(url)
        page.locator("#sign-in").click()
        return page

    def fill_in(self, page: Page, *, username: str = "alice", password: str = PASSWORD) -> None:
        """Fills the provider's sign-in form and sends it."""
        page.locator("#username").fill(username)
        page.locator("#password").fill(password)
        page.locator("#login-submit").click()

    def sign_in_to(self, url: str, *, username: str = "alice") -> Page:
        """Signs in to an app with the password, and sees that the app knows it."""
        page = self.open_app(url)
        self.fill_in(page, username=username)
        is_signed_in(page)
        return page

    def sessions_page(self) -> Page:
        """Opens the account page in a new tab."""
        return self.open(f"{self.world.issuer}/account/sessions")

    def tokens_of(self, client: str) -> Tokens:
        """Gets tokens of this browser's session as the app would, by a code of its own."""
        verifier = secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
        callback = self.world.demo.clients[client]["redirect_uris"][0]
        address = self.authorize_url(
            client, callback, code_challenge=challenge.decode().rstrip("=")
        )
        # The browser itself asks: a request that only has its cookie looks like another device.
        page = self.context.new_page()
        page.route(f"{callback}?**", lambda route: route.fulfill(body="an app's own code"))
        page.goto(address)
        assert page.url.startswith(callback), page.url
        answer = parse_qs(urlsplit(page.url).query)
        page.close()
        status, body = self.world.post(
            "/token",
            client,
            grant_type="authorization_code",
            code=answer["code"][0],
            redirect_uri=callback,
            code_verifier=verifier,
        )
        assert status == 200, body
        return Tokens(client, body["access_token"], body["refresh_token"])

    def authorize_url(self, client: str, callback: str, **parameters: str) -> str:
        """The address an app sends the browser to."""
        query = {
            "response_type": "code",
            "client_id": client,
            "redirect_uri": callback,
            "scope": "openid profile",
            "state": "s",
            "code_challenge": "A" * 43,
            "code_challenge_method": "S256",
            **parameters,
        }
        return f"{self.world.issuer}/authorize?{urlencode(query)}"


class NativeApp:
    """An app on this machine that listens on loopback for its answer (RFC 8252 section 7.3)."""

    def __init__(self) -> None:
        answers: list[dict[str, str]] = []
        self.answers = answers

        class Callback(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                # Browsers also ask for an icon.
                if self.path.startswith("/callback?"):
                    query = parse_qs(urlsplit(self.path).query)
                    answers.append({name: values[0] for name, values in query.items()})
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(b"<!doctype html><title>back at the app</title>")

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self._server = HTTPServer(("127.0.0.1", 0), Callback)
        self.callback = f"http://127.0.0.1:{self._server.server_port}/callback"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def is_signed_in(page: Page, name: str = "Alice Martin") -> None:
    """Sees that an app says who is signed in."""
    expect(page.locator("#signed-in-as")).to_have_text(f"Signed in as {name}")


def has_noticed(page: Page, *, within: int = PATIENCE) -> None:
    """Sees that an app's open page says, within so many milliseconds, that it was signed out."""
    expect(page.locator("#signed-out-notice")).to_be_visible(timeout=within)


def rows(page: Page) -> Locator:
    """The sessions that the account page shows."""
    return page.locator("[id^=ses_]")
