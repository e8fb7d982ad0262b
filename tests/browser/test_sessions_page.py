"""The account page: seeing, naming and ending sessions, one and many."""

import re
import time

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import People
from tests.browser.person import Person, has_noticed, is_signed_in, rows
from tests.harness.servers import Product

pytestmark = pytest.mark.browser

AGENT = "Mozilla/5.0 ({}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 {}Safari/537.36"
PHONE = AGENT.format("Linux; Android 10; K", "Mobile ")
WINDOWS = AGENT.format("Windows NT 10.0; Win64; x64", "")


def named(page: Page, text: str) -> Locator:
    """The row of the session with such a name."""
    return rows(page).filter(has=page.locator("h2", has_text=text))


def other(page: Page) -> str:
    """The id of the first session that is not this one."""
    found = page.locator("li.row:not(.current)[id^=ses_]").first.get_attribute("id")
    assert found is not None
    return found


def test_a_session_is_named_after_its_browser_until_it_is_renamed(
    alice: Person, people: People, world: Product
) -> None:
    phone = people.new(user_agent=PHONE)
    phone.sign_in_to(world.app_one)
    alice.sign_in_to(world.app_one)
    page = alice.sessions_page()
    row = page.locator(f"#{other(page)}")
    expect(row.locator("h2")).to_contain_text("156 on Android")

    row.locator("a.rename").click()
    row.get_by_label("Name", exact=True).fill("My old phone")
    row.get_by_role("button", name="Save").click()
    expect(row.locator("h2")).to_contain_text("My old phone")
    seen_there = phone.sessions_page()
    expect(seen_there.locator("li.row.current h2")).to_contain_text("My old phone")

    row.locator("a.rename").click()
    row.get_by_label("Name", exact=True).fill("")
    row.get_by_role("button", name="Save").click()
    expect(row.locator("h2")).to_contain_text("156 on Android")


def test_this_device_stands_first_and_says_so(
    alice: Person, people: People, world: Product
) -> None:
    alice.sign_in_to(world.app_one)
    people.new(user_agent=WINDOWS).sign_in_to(world.app_one)
    page = alice.sessions_page()
    expect(rows(page)).to_have_count(2)
    expect(rows(page).first.locator(".chip.here")).to_have_text("This device")
    expect(page.locator(".chip.here")).to_have_count(1)


def test_one_other_session_is_signed_out_at_once(
    alice: Person, people: People, world: Product
) -> None:
    phone = people.new(user_agent=PHONE)
    theirs = phone.sign_in_to(world.app_one)
    mine = alice.sign_in_to(world.app_one)
    page = alice.sessions_page()
    page.locator(f"#{other(page)} .end button").click()
    has_noticed(theirs)
    expect(page.locator("#receipts")).to_contain_text("App One was told")
    expect(rows(page)).to_have_count(1)
    is_signed_in(mine)


def test_selected_sessions_are_signed_out_together(
    alice: Person, people: People, world: Product
) -> None:
    others = [people.new(user_agent=PHONE), people.new(user_agent=WINDOWS), people.new()]
    apps = [person.sign_in_to(world.app_one) for person in others]
    alice.sign_in_to(world.app_one)
    page = alice.sessions_page()
    expect(rows(page)).to_have_count(4)
    for name in ("on Android", "on Windows"):
        named(page, name).locator("input[type=checkbox]").check()
    page.locator("#end-selected").click()
    page.locator("#end-confirm").click()
    has_noticed(apps[0])
    has_noticed(apps[1])
    expect(rows(page)).to_have_count(2)
    expect(page.locator("#receipts")).to_contain_text("2 sessions signed out")
    is_signed_in(apps[2])


def test_signing_out_other_devices_keeps_this_one(
    alice: Person, people: People, world: Product
) -> None:
    others = [people.new(user_agent=PHONE), people.new(user_agent=WINDOWS)]
    apps = [person.sign_in_to(world.app_two) for person in others]
    mine = alice.sign_in_to(world.app_one)
    page = alice.sessions_page()
    expect(page.locator("#end-others")).to_have_text("Sign out other devices (2)")
    page.locator("#end-others").click()
    page.locator("#end-confirm").click()
    for app in apps:
        has_noticed(app)
    expect(rows(page)).to_have_count(1)
    mine.locator("#call-api").click()
    expect(mine.locator("#api-answer")).to_contain_text('"username": "alice"')


def test_signing_out_everywhere_ends_this_session_too(
    alice: Person, people: People, world: Product
) -> None:
    theirs = people.new(user_agent=PHONE).sign_in_to(world.app_two)
    mine = alice.sign_in_to(world.app_one)
    page = alice.sessions_page()
    page.locator("#end-everywhere").click()
    page.locator("#end-confirm").click()
    has_noticed(theirs)
    has_noticed(mine)
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()


def test_a_person_sees_and_ends_only_their_own_sessions(
    alice: Person, people: People, world: Product
) -> None:
    bob = people.new()
    bobs = bob.open_app(world.app_one)
    bob.fill_in(bobs, username="bob")
    is_signed_in(bobs, "Bob Okafor")
    alice.sign_in_to(world.app_one)
    page = alice.sessions_page()
    expect(rows(page)).to_have_count(1)
    page.locator("#end-everywhere").click()
    page.locator("#end-confirm").click()
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    bobs.locator("#call-api").click()
    expect(bobs.locator("#api-answer")).to_contain_text('"username": "bob"')


def test_a_session_that_expires_ends_at_the_apps_and_says_why(
    alice: Person, world: Product
) -> None:
    one = alice.sign_in_to(world.app_one)
    page = alice.sessions_page()
    # The shortest idle time is a minute: as if it had passed already.
    assert world.execute("UPDATE sessions SET idle_at = ?", time.time_ns() // 1000 - 1) == 1
    page.reload()
    expect(page.locator("#login-submit")).to_be_visible()
    expect(page.get_by_role("status").filter(has_text="without activity")).to_be_visible()
    has_noticed(one)

    alice.fill_in(page)
    expect(rows(page)).to_have_count(1)
    page.get_by_role("link", name="Ended").click()
    expect(page.locator(".why")).to_contain_text(re.compile("Expired after .* without activity"))


def test_the_worker_ends_a_session_that_nobody_comes_back_to(alice: Person, world: Product) -> None:
    one = alice.sign_in_to(world.app_one)
    assert world.execute("UPDATE sessions SET idle_at = ?", time.time_ns() // 1000 - 1) == 1
    # It looks every five seconds.
    has_noticed(one)


def test_what_ended_is_kept_with_who_ended_it(
    alice: Person, people: People, world: Product
) -> None:
    people.new(user_agent=PHONE).sign_in_to(world.app_one)
    alice.sign_in_to(world.app_one)
    page = alice.sessions_page()
    page.locator(f"#{other(page)} .end button").click()
    page.get_by_role("link", name="Ended").click()
    expect(page.locator(".why")).to_contain_text("You signed it out from")
    expect(page.locator("li.row")).to_contain_text("App One was told")
