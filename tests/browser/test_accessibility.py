"""Every page holds to WCAG 2.2 AA as far as axe can tell, light and dark, and fits 320 pixels."""

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.person import Person
from tests.harness.servers import Product

pytestmark = pytest.mark.browser

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# Nobody listens there: these tests look at the pages before.
CALLBACK = "http://127.0.0.1:9/callback"


def sign_in_form(alice: Person, world: Product) -> Page:
    page = alice.open_app(world.app_one)
    expect(page.locator("#login-submit")).to_be_visible()
    return page


def sign_in_refused(alice: Person, world: Product) -> Page:
    page = alice.open_app(world.app_one)
    alice.fill_in(page, password="wrong password")
    expect(page.locator("#error")).to_be_visible()
    return page


def consent(alice: Person, world: Product) -> Page:
    scope = "openid profile email offline_access sessions"
    page = alice.open(alice.authorize_url("command-line", CALLBACK, scope=scope))
    alice.fill_in(page)
    expect(page.locator("#consent-allow")).to_be_visible()
    return page


def sessions(alice: Person, world: Product) -> Page:
    alice.sign_in_to(world.app_one)
    page = alice.sessions_page()
    page.locator("summary").first.click()
    return page


def question(alice: Person, world: Product) -> Page:
    page = sessions(alice, world)
    page.locator("#end-everywhere").click()
    expect(page.locator("#end-confirm")).to_be_visible()
    return page


def ended(alice: Person, world: Product) -> Page:
    alice.sign_in_to(world.app_one).locator("#sign-out").click()
    alice.sign_in_to(world.app_one)
    return alice.open(f"{world.issuer}/account/sessions?tab=ended")


def connected_apps(alice: Person, world: Product) -> Page:
    page = consent(alice, world)
    with page.expect_request(f"{CALLBACK}?*"):
        page.locator("#consent-allow").click()
    return alice.open(f"{world.issuer}/account/apps")


def sign_out_question(alice: Person, world: Product) -> Page:
    alice.sign_in_to(world.app_one)
    return alice.open(f"{world.issuer}/logout")


def farewell(alice: Person, world: Product) -> Page:
    page = sessions(alice, world)
    page.locator("#sign-out").click()
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    return page


def error(alice: Person, world: Product) -> Page:
    page = alice.open(f"{world.issuer}/authorize?client_id=nobody")
    expect(page.locator("#error")).to_be_visible()
    return page


def app_signed_out(alice: Person, world: Product) -> Page:
    return alice.open(world.app_one)


def app_signed_in(alice: Person, world: Product) -> Page:
    page = alice.sign_in_to(world.app_two)
    page.locator("#call-api").click()
    return page


PAGES: list[Callable[[Person, Product], Page]] = [
    sign_in_form,
    sign_in_refused,
    consent,
    sessions,
    question,
    ended,
    connected_apps,
    sign_out_question,
    farewell,
    error,
    app_signed_out,
    app_signed_in,
]


def require_accessible(page: Page) -> None:
    """Looks at a page in both themes, and then on the narrowest screen."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found = Axe().run(page, options={"runOnly": RULES, "resultTypes": ["violations"]})
        assert found.violations_count == 0, f"{scheme}: {found.generate_report()}"
    page.set_viewport_size({"width": 320, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


@pytest.mark.parametrize("reach", PAGES, ids=lambda reach: reach.__name__)
def test_a_page_is_accessible_and_fits_a_narrow_screen(
    reach: Callable[[Person, Product], Page], alice: Person, world: Product
) -> None:
    require_accessible(reach(alice, world))
