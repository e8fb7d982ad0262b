"""Staying signed in, in a real browser: tick, close, one button, and a proof where it matters."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import People
from tests.browser.person import Person, is_signed_in, rows
from tests.browser.test_accessibility import require_accessible
from tests.harness.servers import PASSWORD, Product

pytestmark = pytest.mark.browser


@pytest.fixture(autouse=True)
def _nobody_is_remembered(world: Product) -> Iterator[None]:
    yield
    world.execute("DELETE FROM remembered_browsers")


def close(person: Person) -> None:
    """A browser that is closed forgets the cookies that have no age; here those of apps, too."""
    for page in person.context.pages:
        page.close()
    kept = [
        one
        for one in person.context.cookies()
        if one["name"].startswith("idp_") and one["expires"] > 0
    ]
    person.context.clear_cookies()
    person.context.add_cookies(kept)


def stay(person: Person, page: Page) -> None:
    page.locator("#stay").check()
    person.fill_in(page)


def test_somebody_stays_signed_in_and_is_asked_where_it_matters(
    world: Product, alice: Person
) -> None:
    page = alice.open_app(world.app_one)
    page.locator("#shared").check()
    page.locator("#stay").check()
    expect(page.locator("#shared")).not_to_be_checked()
    require_accessible(page)
    alice.fill_in(page)
    is_signed_in(page)
    close(alice)
    # Back at an app: greeted, one button, and in.
    page = alice.open_app(world.app_one)
    expect(page.get_by_role("heading", name="Welcome back, Alice Martin")).to_be_visible()
    require_accessible(page)
    page.locator("#go-on").click()
    is_signed_in(page)
    # The other app does not even ask.
    is_signed_in(alice.open_app(world.app_two))
    # What they see, and what asks for a proof and leads back.
    page = alice.sessions_page()
    expect(page.locator("#unproved")).to_be_visible()
    expect(rows(page).first).to_contain_text("Remembered")
    require_accessible(page)
    page.get_by_role("link", name="Security", exact=True).click()
    expect(page.locator("#remembered li")).to_have_count(1)
    page.locator("#change-password").click()
    expect(page.get_by_role("heading", name="Enter your password")).to_be_visible()
    page.locator("#password").fill(PASSWORD)
    page.locator("#factor-submit").click()
    expect(page).to_have_url(f"{world.issuer}/account/security/password")
    page.goto(f"{world.issuer}/account/sessions")
    expect(page.locator("#unproved")).to_have_count(0)
    # Signing out forgets the browser as well.
    page.locator("#sign-out").click()
    page = alice.open_app(world.app_one)
    expect(page.locator("#login-submit")).to_be_visible()
    assert "idp_remember" not in [one["name"] for one in alice.context.cookies()]


def test_a_copied_profile_signs_both_out_and_says_so(world: Product, people: People) -> None:
    owner, thief = people.new(), people.new()
    page = owner.open(f"{world.issuer}/account/sessions")
    stay(owner, page)
    expect(rows(page)).to_have_count(1)
    close(owner)
    thief.context.add_cookies(owner.context.cookies())
    page = thief.open(f"{world.issuer}/account/sessions")
    page.locator("#go-on").click()
    expect(rows(page)).to_have_count(2)
    # As if the thief had been there longer ago than a second tab could be.
    world.execute("UPDATE sessions SET previous_until = 1 WHERE remembered = 1")
    page = owner.open(f"{world.issuer}/account/sessions")
    expect(page.locator("#copied")).to_contain_text("A copy of the cookie")
    require_accessible(page)
    owner.fill_in(page)
    expect(page.locator(".banner.warn")).to_contain_text("kept you signed in")
    require_accessible(page)
    thief.context.pages[0].reload()
    expect(thief.context.pages[0].locator("h1")).to_have_text("This browser’s cookie was copied")
