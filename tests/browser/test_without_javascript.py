"""Everything a person must be able to do, in a browser that runs no scripts."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import People
from tests.browser.person import NativeApp, Person, is_signed_in, rows
from tests.harness.server_process import until
from tests.harness.servers import Product

pytestmark = pytest.mark.browser


@pytest.fixture
def plain(people: People) -> Person:
    """A browser without scripts."""
    return people.new(java_script_enabled=False)


def test_signing_in_and_out(plain: Person, world: Product) -> None:
    one = plain.sign_in_to(world.app_one)
    two = plain.open_app(world.app_two)
    is_signed_in(two)
    one.locator("#sign-out").click()
    expect(one.locator("#notice")).to_have_text("You have signed out.")
    # The other app is told a moment later, and its page says so only when it is asked again.
    until(lambda: is_signed_out(two), "App Two was told")


def is_signed_out(page: Page) -> bool:
    page.reload()
    return page.locator("#sign-in").is_visible()


def test_a_wrong_password_is_said_and_can_be_corrected(plain: Person, world: Product) -> None:
    page = plain.open_app(world.app_one)
    plain.fill_in(page, password="not this one")
    expect(page.locator("#error")).to_be_visible()
    expect(page.locator("#username")).to_have_value("alice")
    plain.fill_in(page)
    is_signed_in(page)


def test_giving_and_refusing_consent(plain: Person, native_app: NativeApp) -> None:
    address = plain.authorize_url("command-line", native_app.callback)
    page = plain.open(address)
    plain.fill_in(page)
    page.locator("#consent-deny").click()
    expect(page).to_have_title("back at the app")
    page.goto(address)
    page.locator("#consent-allow").click()
    expect(page).to_have_title("back at the app")
    assert native_app.answers[0]["error"] == "access_denied"
    assert native_app.answers[1].keys() >= {"code", "state", "iss"}


def test_ending_sessions(plain: Person, people: People, world: Product) -> None:
    people.new().sign_in_to(world.app_one)
    plain.sign_in_to(world.app_one)
    page = plain.sessions_page()
    expect(rows(page)).to_have_count(2)
    page.locator("li.row:not(.current) input[type=checkbox]").check()
    page.locator("#end-selected").click()
    page.locator("#end-confirm").click()
    expect(rows(page)).to_have_count(1)
    rows(page).locator(".end button").click()
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()


def test_signing_out_where_no_app_has_asked_for_it(plain: Person, world: Product) -> None:
    plain.sign_in_to(world.app_one)
    page = plain.open(f"{world.issuer}/logout")
    page.locator("#logout-confirm").click()
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
