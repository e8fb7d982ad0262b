"""An app's API asks for more, and its person comes back to the very request (RFC 9470)."""

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.person import Person, is_signed_in
from tests.browser.test_accessibility import RULES
from tests.browser.test_strong_sign_in import FACTORS, Authenticator, enrol_passkey
from tests.harness.servers import Product

pytestmark = pytest.mark.browser


@pytest.fixture(autouse=True)
def _nobody_has_factors(world: Product) -> Iterator[None]:
    yield
    for table in FACTORS:
        world.execute(f"DELETE FROM {table}")


def pay(page: Page, note: str = "Rent & heating") -> None:
    page.locator("#amount").fill("20.00")
    page.locator("#note").fill(note)
    page.locator("#pay").click()


def test_a_payment_waits_until_its_person_has_a_passkey_and_used_it(
    alice: Person, world: Product
) -> None:
    page = alice.sign_in_to(world.app_one)
    Authenticator(page)
    pay(page)
    # A password is all she has; the page says what is missing, and where to get it.
    page.locator("#set-up").click()
    enrol_passkey(page)
    page.locator("#go-on").click()
    # Having it proves nothing yet: it is asked for.
    page.locator("#factor-submit").click()
    expect(page.locator("#payment-answer")).to_contain_text('"note": "Rent & heating"')
    expect(page.locator("#payment-answer")).to_contain_text('"acr": "aal3"')
    is_signed_in(page)
    # Fresh as it is, the next one asks for nothing.
    pay(page, "Again")
    expect(page.locator("#payment-answer")).to_contain_text('"note": "Again"')


def test_who_cancels_finds_the_form_as_it_was(alice: Person, world: Product) -> None:
    page = alice.sign_in_to(world.app_one)
    other = alice.open(world.app_one)
    pay(page)
    page.locator("#factor-cancel").click()
    expect(page.locator("#error")).to_contain_text("Nothing was paid")
    expect(page.locator("#amount")).to_have_value("20.00")
    expect(page.locator("#note")).to_have_value("Rent & heating")
    is_signed_in(page)
    is_signed_in(other)
    found = Axe().run(page, options={"runOnly": RULES})
    assert found.violations_count == 0, found.generate_report()
