"""The administrators' pages in Chromium: seen as it happens, done by keyboard alone, on any screen."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import People
from tests.browser.person import Person, has_noticed, is_signed_in
from tests.browser.test_accessibility import require_accessible
from tests.harness.servers import Product

pytestmark = pytest.mark.browser

DESKTOP = {"width": 1200, "height": 900}
# What is waited for comes within a second on a machine that is not busy.
PATIENCE = 30_000
ROUNDS = 8
# Notes, by the browser's own clock, when the row of a session came first, and when it was gone.
NOTE = """() => {
  window.came = {};
  window.went = {};
  const rows = (nodes) => [...nodes].flatMap((one) =>
    one.matches?.("tr[id]") ? [one] : [...(one.querySelectorAll?.("tr[id]") ?? [])]);
  new MutationObserver((changes) => {
    for (const { addedNodes, removedNodes } of changes) {
      for (const row of rows(addedNodes)) came[row.id] ??= Date.now();
      for (const row of rows(removedNodes))
        if (!document.getElementById(row.id)) went[row.id] ??= Date.now();
    }
  }).observe(document.querySelector("#sessions"), { childList: true, subtree: true });
}"""


def administrator(people: People, world: Product) -> Page:
    """The sessions of everybody, before somebody who may end them."""
    ada = people.new(viewport=DESKTOP)
    page = ada.open(f"{world.issuer}/account/sign-in?next=/admin/sessions")
    ada.fill_in(page, username="ada")
    expect(page.get_by_role("heading", name="Sessions", exact=True)).to_be_visible()
    return page


def test_an_event_gets_its_address_when_it_is_sealed_and_else_the_page_says_so(
    people: People, world: Product
) -> None:
    page = administrator(people, world)
    page.goto(f"{world.issuer}/admin/events")
    # Signing in to look was an event, which may not be sealed yet.
    expect(page.locator("[data-unsettled]")).to_have_count(0, timeout=PATIENCE)
    page.locator("#events").get_by_role("link", name="Signed in").first.click()
    expect(page.get_by_role("heading", name="Signed in")).to_be_visible()
    # Where nobody seals it asks for a minute, and then no more.
    asked = []

    def unsealed(route: Route) -> None:
        asked.append(route)
        answer = route.fetch()
        body = re.sub(r'<tr id="(evt_\w+)"', r'<tr id="\1" data-unsettled', answer.text())
        route.fulfill(response=answer, body=body)

    page.route("**/admin/events", unsealed)
    # The stream would have the page look again, too.
    page.route("**/admin/stream", lambda route: route.fulfill(status=204))
    page.clock.install()
    page.goto(f"{world.issuer}/admin/events")
    said = page.get_by_text("Please see whether the worker runs.")
    expect(said).to_be_hidden()
    for _ in range(300):
        if said.is_visible():
            break
        page.clock.run_for(2_000)
        page.wait_for_timeout(20)
    expect(said).to_be_visible()
    until_then = len(asked)
    page.clock.run_for(10 * 60_000)
    assert len(asked) == until_then < 30


def tab_to(page: Page, selector: str) -> None:
    """Goes on with the Tab key until something has the focus."""
    for _ in range(120):
        page.keyboard.press("Tab")
        if page.evaluate("sought => document.activeElement.matches(sought)", selector):
            # Whoever cannot see where they are is nowhere.
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
            return
    raise AssertionError(f"Tab never reaches {selector}")


@dataclass
class Delays:
    """Milliseconds from before a session's transaction until its row came, and until it went."""

    came: list[float] = field(default_factory=list)
    went: list[float] = field(default_factory=list)

    def note(self, page: Page, world: Product) -> None:
        """Takes those of the newest session, by the clock of the one machine."""
        ((session_id, began, ended),) = world.read(
            "SELECT id, created_at, ended_at FROM sessions ORDER BY created_at DESC LIMIT 1"
        )
        self.came.append(page.evaluate("id => came[id]", session_id) - began / 1000)
        self.went.append(page.evaluate("id => went[id]", session_id) - ended / 1000)

    def are_within(self, limit: float) -> bool:
        """Whether a row has come, and one has gone, in no more milliseconds."""
        return min(self.came, default=inf) <= limit and min(self.went, default=inf) <= limit


def test_a_row_comes_within_a_second_of_its_sign_in_and_goes_within_one_of_its_end(
    people: People, world: Product, say: Callable[[str], None]
) -> None:
    """The fastest of a few rounds counts: a machine that is busy with other tests is no fault here."""
    page = administrator(people, world)
    rows = page.locator("#sessions tbody tr")
    expect(rows).to_have_count(1)
    page.evaluate(NOTE)
    bob, delays = people.new(), Delays()
    while not delays.are_within(1_000) and len(delays.came) < ROUNDS:
        own = bob.open(f"{world.issuer}/account/sign-in?next=/account/sessions")
        bob.fill_in(own, username="bob")
        expect(rows.filter(has_text="bob")).to_have_count(1, timeout=PATIENCE)
        own.locator("#sign-out").click()
        expect(rows.filter(has_text="bob")).to_have_count(0, timeout=PATIENCE)
        own.close()
        delays.note(page, world)
    for what, took in (("came", delays.came), ("went", delays.went)):
        say(f"a row {what} after {', '.join(f'{one:.0f}' for one in sorted(took))} ms")
    assert delays.are_within(1_000)


def test_many_are_signed_out_by_keyboard_and_seen_to_go(
    people: People, alice: Person, world: Product
) -> None:
    page = administrator(people, world)
    table = page.locator("#sessions tbody tr")
    expect(table).to_have_count(1)
    apps = [alice.sign_in_to(world.app_one), people.new().sign_in_to(world.app_two)]
    expect(table.filter(has_text="alice")).to_have_count(2, timeout=PATIENCE)
    tab_to(page, "#q")
    page.keyboard.type("user:alice device:desktop")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{world.issuer}/admin/sessions?q=user%3Aalice+device%3Adesktop")
    expect(table).to_have_count(2)
    tab_to(page, "#sign-out-all")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Sign out 2 sessions?")).to_be_visible()
    # It was a look: nobody was signed out by it.
    for one in apps:
        is_signed_in(one)
    tab_to(page, "#reason")
    page.keyboard.type("the laptops were lost")
    tab_to(page, "#sign-out-confirm")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="2 sessions signed out")).to_be_visible(
        timeout=PATIENCE
    )
    for one in apps:
        has_noticed(one, within=PATIENCE)
    for name in ("App One", "App Two"):
        row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=name))
        expect(row.locator("td").nth(1)).to_have_text("1", timeout=PATIENCE)
    require_accessible(page)

    page.set_viewport_size(DESKTOP)
    page.goto(f"{world.issuer}/admin/events?q=type:session.ended+by:ada")
    page.locator("tbody a").first.click()
    expect(page.locator("main")).to_contain_text("the laptops were lost")


def test_charts_have_tables_and_every_page_fits_in_light_and_dark(
    people: People, alice: Person, world: Product
) -> None:
    alice.sign_in_to(world.app_one)
    page = administrator(people, world)
    page.goto(f"{world.issuer}/admin")
    charts = page.locator("figure.chart")
    assert charts.count() >= 2
    for chart in charts.all():
        if chart.locator("svg").count():
            assert chart.locator("svg").get_attribute("aria-label")
            chart.locator("summary").click()
            expect(chart.locator("table tbody th").first).to_be_visible()
    # The ticker is told of what happens while one looks.
    before = page.locator("#ticker li").first.get_attribute("data-id")
    alice.open(f"{world.issuer}/account/sessions").locator("#sign-out").click()
    expect(page.locator("#ticker li").first).not_to_have_attribute(
        "data-id", before or "", timeout=PATIENCE
    )
    require_accessible(page)
    page.set_viewport_size(DESKTOP)
    page.goto(f"{world.issuer}/admin/users?q=alice")
    page.locator("tbody a").first.click()
    for path in (
        None,
        "/admin/events",
        "/admin/webhooks",
        "/admin/rules/new?kind=networks",
        "/admin/queries",
        "/admin/keys",
        "/admin/reports/compliance",
    ):
        if path is not None:
            page.set_viewport_size(DESKTOP)
            page.goto(f"{world.issuer}{path}")
        require_accessible(page)
