"""The administrators' pages in Chromium: seen as it happens, done by keyboard alone, on any screen."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import People
from tests.browser.person import Person, has_noticed, is_signed_in
from tests.browser.test_accessibility import require_accessible
from tests.harness.servers import Product

pytestmark = pytest.mark.browser

DESKTOP = {"width": 1200, "height": 900}
# What is waited for comes within a second on a machine that is not busy.
PATIENCE = 15_000


def administrator(people: People, world: Product) -> Page:
    """The sessions of everybody, before somebody who may end them."""
    ada = people.new(viewport=DESKTOP)
    page = ada.open(f"{world.issuer}/account/sign-in?next=/admin/sessions")
    ada.fill_in(page, username="ada")
    expect(page.get_by_role("heading", name="Sessions", exact=True)).to_be_visible()
    return page


def tab_to(page: Page, selector: str) -> None:
    """Goes on with the Tab key until something has the focus."""
    for _ in range(120):
        page.keyboard.press("Tab")
        if page.evaluate("sought => document.activeElement.matches(sought)", selector):
            # Whoever cannot see where they are is nowhere.
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
            return
    raise AssertionError(f"Tab never reaches {selector}")


def test_many_are_signed_out_by_keyboard_and_seen_to_go(
    people: People, alice: Person, world: Product
) -> None:
    page = administrator(people, world)
    table = page.locator("#sessions tbody tr")
    expect(table).to_have_count(1)
    # A row comes by itself, and goes.
    first = people.new()
    app = first.open_app(world.app_one)
    first.fill_in(app, username="bob")
    expect(table.filter(has_text="bob")).to_have_count(1, timeout=PATIENCE)
    app.locator("#sign-out").click()
    expect(table.filter(has_text="bob")).to_have_count(0, timeout=PATIENCE)

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
    for path in (None, "/admin/events", "/admin/webhooks", "/admin/rules/new?kind=networks"):
        if path is not None:
            page.set_viewport_size(DESKTOP)
            page.goto(f"{world.issuer}{path}")
        require_accessible(page)
