"""At a limit of sessions a person chooses who makes room, in a real browser and without scripts."""

import json
from collections.abc import Callable, Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from idp.users.rules import rule_id
from tests.browser.conftest import People
from tests.browser.person import has_noticed, is_signed_in
from tests.browser.test_accessibility import RULES
from tests.browser.test_sessions_page import PHONE, WINDOWS
from tests.harness.servers import Product

pytestmark = pytest.mark.browser

Limit = Callable[[int, str], None]


@pytest.fixture
def limit(world: Product) -> Iterator[Limit]:
    """Sets the rule for everybody; there is none afterwards."""
    limits = rule_id("limits", {})

    def set_(maximum: int, at_limit: str) -> None:
        value = json.dumps({"maximum": maximum, "at_limit": at_limit})
        world.execute("DELETE FROM rules WHERE id = ?", limits)
        world.execute(
            "INSERT INTO rules (id, kind, applies_to, value, version, changed_at, changed_by) "
            "VALUES (?, 'limits', '{}', ?, 1, 1, 'test')",
            limits,
            value,
        )

    yield set_
    world.execute("DELETE FROM rules WHERE id = ?", limits)


def is_accessible(page: Page) -> None:
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found = Axe().run(page, options={"runOnly": RULES, "resultTypes": ["violations"]})
        assert found.violations_count == 0, found.generate_report()


def test_a_person_chooses_with_the_keyboard_which_device_makes_room(
    people: People, world: Product, limit: Limit
) -> None:
    phone, laptop = people.new(user_agent=PHONE), people.new(user_agent=WINDOWS)
    on_phone, on_laptop = phone.sign_in_to(world.app_one), laptop.sign_in_to(world.app_two)
    limit(2, "ask")
    alice = people.new(viewport={"width": 390, "height": 844})
    page = alice.open_app(world.app_one)
    alice.fill_in(page)
    expect(page.get_by_role("heading", name="Sign out one device first")).to_be_visible()
    expect(page.get_by_text("Choose, and continue to App One")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    is_accessible(page)

    rested = page.get_by_role("radio", name="156 on Android")
    other = page.get_by_role("radio", name="156 on Windows")
    expect(rested).to_be_checked()
    page.get_by_role("heading", name="Sign out one device first").click()
    page.keyboard.press("Tab")
    expect(rested).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(other).to_be_checked()
    page.keyboard.press("Tab")
    expect(page.locator("#choose-submit")).to_be_focused()
    page.keyboard.press("Enter")
    is_signed_in(page)
    has_noticed(on_laptop)
    is_signed_in(on_phone)
    sessions = alice.open(f"{world.issuer}/account/sessions?tab=ended")
    expect(sessions.locator(".why")).to_contain_text("You signed it out to make room for")


def test_choosing_and_being_refused_work_without_scripts(
    people: People, world: Product, limit: Limit
) -> None:
    people.new(user_agent=PHONE).sign_in_to(world.app_one)
    people.new(user_agent=WINDOWS).sign_in_to(world.app_one)
    plain = people.new(java_script_enabled=False)
    limit(2, "block")
    page = plain.open_app(world.app_one)
    plain.fill_in(page)
    expect(page.get_by_role("heading", name="You cannot sign in here now")).to_be_visible()
    limit(1, "ask")
    page.locator("#full-again").click()
    plain.fill_in(page)
    expect(page.get_by_role("heading", name="Sign out 2 devices first")).to_be_visible()
    page.get_by_role("checkbox", name="156 on Windows").uncheck()
    page.locator("#choose-submit").click()
    # Nothing of it was carried out; what was chosen is still chosen.
    expect(page.locator("#error")).to_be_visible()
    expect(page.get_by_role("checkbox", name="156 on Android")).to_be_checked()
    page.get_by_role("checkbox", name="156 on Windows").check()
    page.locator("#choose-submit").click()
    is_signed_in(page)


def test_the_page_of_a_refusal_is_accessible(people: People, world: Product, limit: Limit) -> None:
    people.new(user_agent=PHONE).sign_in_to(world.app_one)
    limit(1, "block")
    alice = people.new(viewport={"width": 320, "height": 640})
    page = alice.open_app(world.app_one)
    alice.fill_in(page)
    expect(page.locator("#full-again")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    is_accessible(page)
