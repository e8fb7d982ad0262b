"""Where browsers and password managers are told to look."""

from collections.abc import Callable, Iterator

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from idp.web import well_known
from idp.web.headers import PageHeaders
from idp.web.http import web_context
from tests.harness.provider import ISSUER, Idp, Templates, settings_for
from tests.harness.workbench import ManualClock

Browsing = Callable[..., TestClient]


@pytest.fixture
def browsing(tmp_path_factory: pytest.TempPathFactory, templates: Templates,
             clock: ManualClock) -> Iterator[Browsing]:  # fmt: skip
    made: list[Idp] = []

    def begin(**passkeys: object) -> TestClient:
        folder = tmp_path_factory.mktemp("idp")
        settings = settings_for(templates.sqlite(folder / "idp.db"), passkeys=passkeys)
        idp = Idp(settings, clock)
        made.append(idp)
        pages = Starlette(routes=well_known.routes(web_context(idp.app.provider, idp.hasher)))
        app = PageHeaders(pages, settings=settings)
        return TestClient(app, base_url=ISSUER, follow_redirects=False)

    yield begin
    for idp in made:
        idp.close()


def test_further_origins_are_named_for_browsers(browsing: Browsing) -> None:
    """WebAuthn section 5.11.1: JSON with `origins`; what is no web origin is not asked for here."""
    further = ["https://shop.example", "android:apk-key-hash:abc", "https://other.example:8443"]
    answer = browsing(origins=further).get("/.well-known/webauthn")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"origins": ["https://shop.example", "https://other.example:8443"]}


def test_without_further_origins_none_is_named(browsing: Browsing) -> None:
    assert browsing().get("/.well-known/webauthn").json() == {"origins": []}


def test_password_managers_are_told_where_passkeys_are_kept(browsing: Browsing) -> None:
    answer = browsing().get("/.well-known/passkey-endpoints")
    page = f"{ISSUER}/account/security"
    assert answer.json() == {"enroll": page, "manage": page}
    assert answer.headers["access-control-allow-origin"] == "*"


def test_password_managers_are_led_to_the_password(browsing: Browsing) -> None:
    answer = browsing().get("/.well-known/change-password")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/account/security/password"


@pytest.mark.parametrize("name", ["webauthn", "passkey-endpoints", "change-password"])
def test_nobody_is_recognised_there(browsing: Browsing, name: str) -> None:
    browser = browsing()
    answer = browser.get(f"/.well-known/{name}")
    assert "set-cookie" not in answer.headers
    assert browser.post(f"/.well-known/{name}").status_code == 405
    assert browser.head(f"/.well-known/{name}").status_code == answer.status_code
