"""The story of the product: one sign-in, two apps, one click, and everything is over."""

import time

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import People
from tests.browser.person import Person, has_noticed, is_signed_in, rows
from tests.harness.servers import Product
from tests.harness.stopwatch import least

pytestmark = pytest.mark.browser


def test_signing_out_on_the_account_page_reaches_both_apps_and_every_token(
    people: People, world: Product
) -> None:
    """And within a second, on a machine that has nothing else to do."""
    assert least(1.0, lambda: _told_after(people.new(), world)) < 1.0


def _told_after(alice: Person, world: Product) -> float:
    """The story once; gives the seconds from the click until both apps say so."""
    one = alice.sign_in_to(world.app_one)
    two = alice.open_app(world.app_two)
    is_signed_in(two)  # nobody was asked for a password
    tokens = [alice.tokens_of("app-one"), alice.tokens_of("app-two")]
    for held in tokens:
        status, answer = world.post("/introspect", "protected-api", token=held.access)
        assert (status, answer["active"], answer["username"]) == (200, True, "alice")

    page = alice.sessions_page()
    expect(rows(page)).to_have_count(1)
    apps = rows(page).get_by_role("list", name="Apps in this session").first
    expect(apps).to_contain_text("App One")
    expect(apps).to_contain_text("App Two")

    clicked = time.monotonic()
    rows(page).locator(".end button").click()
    has_noticed(one)
    has_noticed(two)
    told_after = time.monotonic() - clicked

    for held in tokens:
        assert world.post("/introspect", "protected-api", token=held.access)[1] == {"active": False}
        status, answer = world.post(
            "/token", held.client, grant_type="refresh_token", refresh_token=held.refresh
        )
        assert (status, answer["error"]) == (400, "invalid_grant")
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    expect(page.locator("#receipts")).to_contain_text("2 apps were told")
    return told_after


def test_the_apps_ask_for_a_password_again_after_the_sign_out(
    alice: Person, world: Product
) -> None:
    one = alice.sign_in_to(world.app_one)
    page = alice.sessions_page()
    rows(page).locator(".end button").click()
    has_noticed(one)
    one.locator("#sign-in").click()
    alice.fill_in(one)
    is_signed_in(one)


def test_an_app_that_signs_out_signs_out_the_other_one(alice: Person, world: Product) -> None:
    one = alice.sign_in_to(world.app_one)
    two = alice.open_app(world.app_two)
    is_signed_in(two)
    one.locator("#sign-out").click()
    has_noticed(two)
    expect(one.locator("#notice")).to_have_text("You have signed out.")
    assert one.url.startswith(f"{world.app_one}/signed-out")
    page = alice.sessions_page()
    expect(page.locator("#login-submit")).to_be_visible()


def test_the_api_knows_who_is_asking_until_the_session_ends(alice: Person, world: Product) -> None:
    one = alice.sign_in_to(world.app_one)
    one.locator("#call-api").click()
    expect(one.locator("#api-answer")).to_contain_text('"username": "alice"')
    # The page behind is not told: the answer of the API is what it learns from.
    world.execute("DELETE FROM deliveries")
    world.execute("UPDATE clients SET backchannel_logout_uri = NULL WHERE id = 'app-one'")
    try:
        page = alice.sessions_page()
        rows(page).locator(".end button").click()
        expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
        one.locator("#call-api").click()
        expect(one.locator("#notice")).to_have_text("You were signed out.")
    finally:
        world.execute(
            "UPDATE clients SET backchannel_logout_uri = ? WHERE id = 'app-one'",
            f"{world.app_one}/backchannel-logout",
        )
