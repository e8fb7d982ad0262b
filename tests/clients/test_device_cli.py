"""The command line that signs in by a code, against a provider in this process."""

import io
import stat
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
import zxingcpp
from PIL import Image

from clients.device_cli import __main__ as cli
from clients.device_cli.keeping import Tokens
from clients.device_cli.provider import Code, Denied, Provider, Unreachable
from clients.device_cli.screen import drawn, show_code
from idp.clock import MINUTE, SECOND
from tests.harness.device_app import decide, device_app, open_code
from tests.harness.provider import ISSUER, Idp
from tests.web.conftest import Somebody


class Terminal:
    """The program at a provider, and whatever happens while it waits."""

    def __init__(self, idp: Idp, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.idp = idp
        self.file = folder / "kept" / "tokens.json"
        self.client_id = device_app(idp).client.id
        browser = idp.browser()
        self.provider = Provider(ISSUER, self.client_id, transport=Through(browser))
        self._capsys = capsys

    def run(self, *command: str) -> tuple[int, str]:
        code = cli.main(["--tokens-file", str(self.file), *command], provider=self.provider)
        said = self._capsys.readouterr()
        return code, said.out + said.err


class Through(httpx2.BaseTransport):
    """Requests that go to the provider of the test."""

    def __init__(self, browser: object) -> None:
        self._browser = browser

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        request.read()
        answer = self._browser.request(  # type: ignore[attr-defined]
            request.method, str(request.url), content=request.content, headers=request.headers
        )
        return httpx2.Response(answer.status_code, headers=answer.headers, content=answer.content)


@pytest.fixture
def terminal(idp: Idp, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(idp, tmp_path, capsys)


@pytest.fixture
def alice(idp: Idp) -> Somebody:
    user = idp.person("alice")
    session = idp.session(user)
    return Somebody(idp, user, session, idp.signed_in_browser(session))


def answering(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, answer: Callable[[str], None]
) -> None:
    """While the program sleeps, time passes and somebody answers."""
    shown: list[str] = []

    def show(code: Code) -> None:
        shown.append(code.user_code)

    def wait(self: Provider, code: Code, **_: object) -> object:
        def sleep(seconds: float) -> None:
            terminal.idp.clock.advance(int(seconds * SECOND))
            if shown:
                answer(shown.pop())

        return real(self, code, sleep=sleep)

    real = Provider.wait
    monkeypatch.setattr(cli, "show_code", show)
    monkeypatch.setattr(Provider, "wait", wait)
    monkeypatch.setattr(cli.time, "time", lambda: terminal.idp.clock.now() / SECOND)


def test_it_signs_in_stays_so_and_says_when_it_was_signed_out(
    terminal: Terminal, alice: Somebody, monkeypatch: pytest.MonkeyPatch
) -> None:
    idp = terminal.idp

    def allow(user_code: str) -> None:
        decide(alice.browser, open_code(alice.browser, user_code), "device-allow")

    answering(terminal, monkeypatch, allow)
    assert terminal.run("whoami") == (1, "Not signed in. Sign in with: login\n")
    assert terminal.run("login") == (0, "Signed in as alice\n")
    assert stat.S_IMODE(terminal.file.stat().st_mode) == 0o600
    # The access token has run out by then, and is refreshed.
    idp.clock.advance(10 * MINUTE)
    assert terminal.run("whoami") == (0, "Signed in as alice\n")
    page = alice.sessions()
    (path,) = {
        form.action
        for form in page.forms
        if form.action.endswith("/end")
        and form.action.count("/") == 4
        and alice.id not in form.action
    }
    alice.browser.post(path, data={"csrf": page.form(action=path).fields["csrf"]})
    code, said = terminal.run("whoami")
    assert code == 1
    assert said.startswith("You were signed out. The session has ended (signed_out).")
    assert terminal.run("whoami")[1].startswith("Not signed in.")


def test_it_is_refused_in_words(
    terminal: Terminal, alice: Somebody, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(
        terminal,
        monkeypatch,
        lambda code: decide(alice.browser, open_code(alice.browser, code), "device-deny"),
    )
    assert terminal.run("login") == (1, "Not signed in. The other device said no.\n")
    assert not terminal.file.exists()


def test_a_code_that_nobody_opens_runs_out(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(terminal, monkeypatch, lambda _: None)
    assert terminal.run("login") == (1, "Not signed in. The code has run out.\n")


def test_signing_out_ends_the_session_of_this_device(
    terminal: Terminal, alice: Somebody, monkeypatch: pytest.MonkeyPatch
) -> None:
    def allow(user_code: str) -> None:
        decide(alice.browser, open_code(alice.browser, user_code), "device-allow")

    answering(terminal, monkeypatch, allow)
    terminal.run("login", "--stay")
    assert terminal.run("logout") == (0, "Signed out.\n")
    assert not terminal.file.exists()
    (ended,) = terminal.idp.events("session.ended")
    assert (ended["reason"], ended["actor"]) == ("client_logout", "client")
    assert "the only place where you are signed in" in alice.sessions().text


def test_a_provider_that_is_not_there_is_no_sign_out(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    Tokens(terminal.file).write({"access_token": "x", "refresh_token": "y", "expires_at": 0})

    def gone(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused")

    terminal.provider = Provider(ISSUER, "x", transport=httpx2.MockTransport(gone))
    assert terminal.run("whoami")[0] == 3
    assert terminal.file.exists()


def test_an_answer_that_is_lost_is_asked_for_again_later() -> None:
    asked: list[float] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path.startswith("/.well-known/"):
            return httpx2.Response(200, json={"issuer": ISSUER, "token_endpoint": f"{ISSUER}/t"})
        if len(asked) < 3:
            raise httpx2.ReadTimeout("lost")
        return httpx2.Response(200, json={"access_token": "a", "expires_in": 300})

    provider = Provider(ISSUER, "x", transport=httpx2.MockTransport(answer))
    code = Code("d", "u", "a", "b", expires_at=float("inf"), interval=5)
    assert provider.wait(code, sleep=asked.append)["access_token"] == "a"
    assert asked == [5, 10, 20]


def test_another_issuers_metadata_is_not_believed() -> None:
    transport = httpx2.MockTransport(
        lambda _: httpx2.Response(
            200, json={"issuer": "https://evil.example", "token_endpoint": "x"}
        )
    )
    with pytest.raises(Unreachable, match="another issuer"):
        Provider(ISSUER, "x", transport=transport).ask_for_code("openid")


def test_an_unknown_client_is_told_so(idp: Idp) -> None:
    with pytest.raises(Denied, match="invalid_client"):
        Provider(ISSUER, "nobody", transport=Through(idp.browser())).ask_for_code("openid")


def test_the_picture_in_the_terminal_leads_to_the_page_with_the_code() -> None:
    address = f"{ISSUER}/device?user_code=WDJB-MJHT"
    (found,) = zxingcpp.read_barcodes(_as_image(drawn(address)))
    assert found.text == address


def test_a_pipe_gets_the_words_alone() -> None:
    screen = io.StringIO()
    show_code(Code("d", "WDJB-MJHT", "https://a", "https://a?x", 0, 5), screen)
    assert "WDJB-MJHT" in screen.getvalue()
    assert "█" not in screen.getvalue()


def _as_image(drawing: str) -> Image.Image:
    """The half blocks of a terminal with light letters on a dark ground."""
    halves = {" ": (0, 0), "\xa0": (0, 0), "▀": (255, 0), "▄": (0, 255), "█": (255, 255)}
    lines = drawing.splitlines()
    image = Image.new("L", (max(map(len, lines)), 2 * len(lines)))
    for y, line in enumerate(lines):
        for x, letter in enumerate(line):
            for half in (0, 1):
                image.putpixel((x, 2 * y + half), halves[letter][half])
    return image.resize((image.width * 8, image.height * 8), Image.Resampling.NEAREST)
