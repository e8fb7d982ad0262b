"""The end of a session in open pages: warned of, put off, explained, and come back from.

Deadlines are moved in the database; the provider notices within seconds, as it does what another
node did, and nobody here waits for a timeout.
"""

import re
import time

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Request, expect

from tests.browser.conftest import People
from tests.browser.person import Person, is_signed_in, rows
from tests.browser.test_accessibility import RULES
from tests.harness.servers import Product

pytestmark = pytest.mark.browser

PHONE = (
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/156.0.0.0 Mobile Safari/537.36"
)
# A clock that is hours wrong is no reason to warn too early, or too late.
WRONG_CLOCK = "{ const right = Date.now; Date.now = () => right() + 3 * 3600 * 1000; }"
# Every few seconds the provider looks at what it heard nothing of.
NOTICED = 30_000


def account(person: Person, username: str = "alice") -> Page:
    """The sessions page, after signing in with the password."""
    page = person.sessions_page()
    person.fill_in(page, username=username)
    expect(rows(page).first).to_be_visible()
    return page


def current(page: Page) -> str:
    found = page.locator("#session").get_attribute("data-id")
    assert found is not None
    return found


def leave(world: Product, session_id: str, **seconds: float) -> None:
    """Leaves a session so many seconds until its `idle_at` or `expires_at`."""
    for column, left in seconds.items():
        at = time.time_ns() // 1000 + int(left * 1_000_000)
        world.execute(f"UPDATE sessions SET {column} = ? WHERE id = ?", at, session_id)


def is_accessible(page: Page) -> None:
    found = Axe().run(page, options={"runOnly": RULES, "resultTypes": ["violations"]})
    assert found.violations_count == 0, found.generate_report()


def test_every_tab_warns_and_one_answer_counts_for_all(people: People, world: Product) -> None:
    alice = people.new(reduced_motion="reduce")
    alice.context.add_init_script(WRONG_CLOCK)
    streams: list[str] = []
    alice.context.on("request", lambda request: _note_stream(request, streams))
    first = account(alice)
    second = alice.open(f"{world.issuer}/account/apps")
    leave(world, current(first), idle_at=100)
    for page in (first, second):
        expect(page.locator("#session-idle")).to_be_visible(timeout=NOTICED)
        expect(page.locator("#stay-signed-in")).to_be_focused()
        expect(page).to_have_title(re.compile(r"^\(1:[0-3]\d\) "))
    assert len(streams) == 1, "one tab listens for all: a browser has few connections to a server"
    # Said once, without being looked for (WCAG 4.1.3).
    expect(first.locator("#session-said")).to_contain_text("in 2 minutes")
    is_accessible(first)

    second.bring_to_front()
    second.keyboard.press("Enter")
    for page in (first, second):
        expect(page.locator("#session-idle")).to_be_hidden()
        expect(page).not_to_have_title(re.compile(r"^\("))
    expect(second).to_have_url(f"{world.issuer}/account/apps")

    # Again and again, until the absolute end. Who closes the question with Escape is there, too.
    for _ in range(2):
        leave(world, current(first), idle_at=60)
        expect(first.locator("#session-idle")).to_be_visible(timeout=NOTICED)
        first.bring_to_front()
        first.keyboard.press("Escape")
        expect(first.locator("#session-idle")).to_be_hidden()
    first.reload()
    expect(rows(first)).to_have_count(1)


def test_an_end_from_elsewhere_locks_every_tab_and_leads_back_with_what_was_typed(
    people: People, world: Product
) -> None:
    alice, phone = people.new(reduced_motion="reduce"), people.new(user_agent=PHONE)
    on_phone = account(phone)
    page = account(alice)
    # A place that is returned to exactly, and something typed there.
    page.goto(f"{world.issuer}/account/sessions?tab=active&x=%2F")
    other = alice.open(f"{world.issuer}/account/security")
    row = page.locator("li.row:not(.current)")
    row.locator("a.rename").click()
    row.get_by_label("Name", exact=True).fill("My phone")

    on_phone.reload()
    on_phone.locator("li.row:not(.current) .end button").click()
    expect(on_phone.locator("#receipts")).to_contain_text("Signed out.")
    for tab in (page, other):
        over = tab.locator("#session-over")
        expect(over).to_be_visible(timeout=NOTICED)
        expect(over).to_contain_text(
            "You signed this session out from “Chromium 156 on Android 10”."
        )
        expect(tab.locator("body > :not(dialog)")).to_have_count(0)
        tab.bring_to_front()
        for _ in range(3):
            tab.keyboard.press("Escape")
        expect(over).to_be_visible()
    is_accessible(page)
    expect(page).to_have_title(re.compile("^You signed out"))
    # Deliberate: whoever comes next finds nothing.
    assert page.evaluate("sessionStorage.length") == 0

    # The same by a rule: what was typed stays in this tab.
    page.locator("#session-over-sign-in").click()
    alice.fill_in(page)
    expect(page).to_have_url(f"{world.issuer}/account/sessions?tab=active&x=%2F")
    row.locator("a.rename").click()
    row.get_by_label("Name", exact=True).fill("My phone")
    leave(world, current(page), idle_at=-1)
    over = page.locator("#session-over")
    expect(over).to_contain_text("without activity", timeout=NOTICED)
    expect(over).to_contain_text("What you had typed is kept in this tab")
    page.locator("#session-over-sign-in").click()
    expect(page.locator("#over")).to_contain_text("without activity")
    expect(page.locator("#username")).to_have_value("alice")
    # A wrong try in between loses nothing.
    alice.fill_in(page, password="not this one")
    expect(page.locator("#error")).to_be_visible()
    alice.fill_in(page)
    expect(page).to_have_url(f"{world.issuer}/account/sessions?tab=active&x=%2F")
    expect(row.get_by_label("Name", exact=True)).to_have_value("My phone")
    expect(page.locator("#restored")).to_have_text("What you had typed is here again.")
    assert page.evaluate("sessionStorage.length") == 0, "restored once"
    row.get_by_role("button", name="Save").click()
    expect(row.locator("h2")).to_contain_text("My phone")


def test_what_one_typed_is_not_shown_to_another(alice: Person, world: Product) -> None:
    page = account(alice)
    row = page.locator("li.row.current")
    row.locator("a.rename").click()
    row.get_by_label("Name", exact=True).fill("Alice's")
    leave(world, current(page), idle_at=-1)
    page.locator("#session-over-sign-in").click(timeout=NOTICED)
    alice.fill_in(page, username="bob")
    expect(rows(page)).to_have_count(1)
    expect(page.locator("#restored")).to_have_count(0)
    assert "Alice" not in page.content()
    assert page.evaluate("sessionStorage.length") == 0


def test_before_the_absolute_end_signing_in_again_goes_on_here(
    people: People, world: Product
) -> None:
    alice = people.new(reduced_motion="reduce", color_scheme="dark")
    page = account(alice)
    page.goto(f"{world.issuer}/account/sessions?tab=ended")
    before = current(page)
    leave(world, before, expires_at=290)
    end = page.locator("#session-end")
    expect(end).to_be_visible(timeout=NOTICED)
    expect(page.locator("#sign-in-again")).to_be_focused()
    is_accessible(page)
    page.get_by_role("button", name="Not now").click()
    expect(end).to_be_hidden()
    # Put off once, it asks again in the last minute.
    leave(world, before, expires_at=50)
    expect(end).to_be_visible(timeout=NOTICED)
    page.locator("#sign-in-again").click()
    expect(page.get_by_role("heading", name="Sign in again")).to_be_visible()
    alice.fill_in(page)
    expect(page).to_have_url(f"{world.issuer}/account/sessions?tab=ended")
    assert current(page) != before
    expect(page.locator(f"#{before}")).to_contain_text("You signed in again")


def test_a_new_sign_in_rings_a_bell_and_is_seen_once(people: People, world: Product) -> None:
    alice, phone = people.new(reduced_motion="reduce"), people.new(user_agent=PHONE)
    page = account(alice)
    expect(page.locator("#bell summary")).to_have_count(0)
    page.locator(".current summary").click()
    on_phone = account(phone)
    # The list is true without a reload, and what was open in it stays open.
    expect(rows(page)).to_have_count(2, timeout=NOTICED)
    expect(page.locator(".current details")).to_have_attribute("open", "")
    expect(page.locator(".current summary")).to_be_focused()
    expect(page.locator("#end-others")).to_have_text("Sign out other devices (1)")
    expect(page.locator("#bell .count")).to_have_text("1", timeout=NOTICED)
    expect(page.locator("#session-said")).to_have_text("New sign-in: Chromium 156 on Android 10")
    page.locator("#bell summary").click()
    expect(page.locator("#bell")).to_contain_text("New sign-in: Chromium 156 on Android 10")
    is_accessible(page)
    page.locator("#notices-seen").click()
    expect(page.locator("#bell summary")).to_have_count(0)
    page.reload()
    expect(page.locator("#bell summary")).to_have_count(0)
    # While somebody chooses, the list under their hands does not change.
    box = page.locator("li.row:not(.current) input[type=checkbox]")
    box.check()
    leave(world, current(on_phone), idle_at=-1)
    on_phone.locator("#session-over").wait_for(timeout=NOTICED)
    expect(box).to_be_checked()
    expect(rows(page)).to_have_count(2)


def test_an_app_warns_too_and_its_answer_counts_for_the_whole_session(
    people: People, world: Product
) -> None:
    alice = people.new(reduced_motion="reduce")
    page = alice.context.new_page()
    page.clock.install()
    page.goto(world.app_one)
    page.locator("#sign-in").click()
    alice.fill_in(page)
    is_signed_in(page)
    page.wait_for_load_state("load")
    expect(page.locator("#ending")).to_be_hidden()
    account_page = alice.sessions_page()
    leave(world, current(account_page), idle_at=100)
    expect(account_page.locator("#session-idle")).to_be_visible(timeout=NOTICED)

    page.clock.fast_forward("58:30")
    expect(page.locator("#ending")).to_contain_text(re.compile(r"Your session ends in 1:[0-3]\d"))
    expect(page.locator("#ending-said")).to_have_text("Your session ends in 120 seconds.")
    is_accessible(page)
    page.locator("#stay").click()
    expect(page.locator("#ending")).to_be_hidden()
    expect(account_page.locator("#session-idle")).to_be_hidden(timeout=NOTICED)


def _note_stream(request: Request, streams: list[str]) -> None:
    if "/account/session/stream" in request.url:
        streams.append(request.url)
