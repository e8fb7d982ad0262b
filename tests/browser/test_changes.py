"""A session that was used on another device meanwhile, in its person's own browser: a proof, and on.

What the other device left in the session's row is written there; the browser is a real one.
"""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import People
from tests.browser.person import Person, is_signed_in, rows
from tests.browser.test_accessibility import require_accessible
from tests.browser.test_strong_sign_in import FACTORS, code_of, enrol_app
from tests.harness.servers import PASSWORD, Product

pytestmark = pytest.mark.browser


def used_elsewhere(world: Product) -> None:
    """As if somebody had the session's cookie in Safari on a Mac, and used it there last."""
    assert world.execute(
        "UPDATE sessions SET browser = 'Safari 26', os = 'macOS 26' WHERE ended_at IS NULL"
    )


def asked(page: Page) -> None:
    expect(page.locator("main .lead").first).to_contain_text(
        "on another device or in another browser"
    )


def prove(page: Page, **typed: Any) -> None:
    for field, value in typed.items():
        page.locator(f"#{field}").fill(value)
    page.locator("#factor-submit").click()


@pytest.mark.attack("SE-16")
def test_a_change_of_device_is_asked_about_and_everything_goes_on_where_it_was(
    people: People, world: Product
) -> None:
    alice = people.new()
    try:
        _walk(alice, world)
    finally:
        for table in FACTORS:
            world.execute(f"DELETE FROM {table}")


def _walk(alice: Person, world: Product) -> None:
    page = alice.sessions_page()
    alice.fill_in(page)
    expect(rows(page)).to_have_count(1)
    # A page with a place in it: after the proof it is this one and no other.
    used_elsewhere(world)
    wanted = f"{world.issuer}/account/sessions?tab=ended"
    page.goto(wanted)
    asked(page)
    require_accessible(page)
    page.set_viewport_size({"width": 1280, "height": 720})
    prove(page, password="not the password")
    expect(page.locator("#error")).to_be_visible()
    prove(page, password=PASSWORD)
    page.wait_for_url(wanted)
    # An app: single sign-on waits for the proof, and ends in the app.
    used_elsewhere(world)
    app = alice.open_app(world.app_two)
    asked(app)
    prove(app, password=PASSWORD)
    is_signed_in(app)
    # Somebody with a second factor shows both; what they had typed is offered again and then done.
    page.goto(f"{world.issuer}/account/security")
    secret, _ = enrol_app(page)
    page.goto(f"{world.issuer}/account/sessions")
    own = page.locator("li.row.current")
    own.locator("a.rename").click()
    own.get_by_label("Name", exact=True).fill("Kitchen tablet")
    used_elsewhere(world)
    own.get_by_role("button", name="Save").click()
    page.locator("#step-up-begin").click()
    asked(page)
    prove(page, password=PASSWORD)
    asked(page)
    prove(page, code=code_of(world, secret))
    page.locator("#step-up-continue").click()
    expect(page.locator("li.row.current h2")).to_contain_text("Kitchen tablet")
