"""Passkeys, codes and the security page in a real browser, with a virtual authenticator.

The authenticator is Chromium's own, driven by the DevTools protocol ("WebAuthn" domain).
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pyotp
import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import People
from tests.browser.person import Person, rows
from tests.browser.test_accessibility import require_accessible
from tests.harness.server_process import until
from tests.harness.servers import Product

pytestmark = pytest.mark.browser

FACTORS = ("passkeys", "totps", "recovery_codes", "trusted_devices", "spent")


@pytest.fixture(autouse=True)
def _nobody_has_factors(world: Product) -> Iterator[None]:
    yield
    for table in FACTORS:
        world.execute(f"DELETE FROM {table}")


class Authenticator:
    """A virtual authenticator of one page: a platform's own, whose user is always there."""

    def __init__(self, page: Page, **options: Any) -> None:
        self._cdp = page.context.new_cdp_session(page)
        self._cdp.send("WebAuthn.enable", {"enableUI": False})
        wanted = {
            "protocol": "ctap2",
            "ctap2Version": "ctap2_1",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
            **options,
        }
        made = self._cdp.send("WebAuthn.addVirtualAuthenticator", {"options": wanted})
        self._id = made["authenticatorId"]

    def ask(self, method: str, **values: Any) -> dict[str, Any]:
        found: dict[str, Any] = self._cdp.send(
            f"WebAuthn.{method}", {"authenticatorId": self._id, **values}
        )
        return found

    @property
    def credentials(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("getCredentials")["credentials"]
        return found

    def is_there(self, present: str) -> None:
        """Whether somebody touches it when asked: "yes" or "no"."""
        self.ask("setAutomaticPresenceSimulation", enabled=present == "yes")

    def roll_back(self, count: int) -> None:
        """As if this were a copy that was made when the counter stood there."""
        (credential,) = self.credentials
        self.ask("removeCredential", credentialId=credential["credentialId"])
        self.ask("addCredential", credential={**credential, "signCount": count})


def security_page(alice: Person, world: Product) -> Page:
    """Signs in with the password, to the security page."""
    page = alice.open(f"{world.issuer}/account/security")
    alice.fill_in(page)
    expect(page.locator("#standing")).to_be_visible()
    return page


def enrol_passkey(page: Page, name: str = "My key") -> list[str]:
    """Adds a first passkey; gives the recovery codes that come with it."""
    page.locator("#add-passkey").click()
    page.locator("#passkey-name").fill(name)
    page.locator("#passkey-create").click()
    expect(page.locator("#recovery-codes li")).to_have_count(10)
    codes = page.locator("#recovery-codes code").all_text_contents()
    page.locator("#codes-kept").click()
    expect(page.locator("#changed")).to_contain_text(f"Passkey “{name}” added.")
    return codes


def enrol_app(page: Page) -> tuple[str, list[str]]:
    """Adds a first authenticator app; gives its secret and the recovery codes."""
    page.locator("#add-totp").click()
    secret = re.sub(r"\s", "", page.locator("#totp-secret").text_content() or "")
    page.locator("#totp-code").fill(pyotp.TOTP(secret).now())
    page.locator("#totp-submit").click()
    codes = page.locator("#recovery-codes code").all_text_contents()
    page.locator("#codes-kept").click()
    return secret, codes


def code_of(world: Product, secret: str) -> str:
    """A code as if no other had been shown in this half minute."""
    world.execute("UPDATE totps SET last_step = 0")
    return pyotp.TOTP(secret).now()


def sign_out(page: Page) -> None:
    page.locator("#sign-out").click()
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()


def sign_in_page(page: Page, world: Product) -> None:
    page.goto(f"{world.issuer}/account/sign-in?next=%2Faccount%2Fsecurity")
    expect(page.locator("#login-passkey")).to_be_visible()


# --- Passkeys ---------------------------------------------------------------------------------


def test_a_passkey_signs_in_from_the_suggestions_of_the_name_field(
    alice: Person, world: Product
) -> None:
    page = security_page(alice, world)
    key = Authenticator(page)
    enrol_passkey(page)
    assert len(key.credentials) == 1
    sign_out(page)
    # Nothing is clicked: choosing the suggestion is all, and the authenticator does that.
    page.goto(f"{world.issuer}/account/sign-in?next=%2Faccount%2Fsecurity")
    expect(page.locator("#standing")).to_have_text("Your account is well protected.")
    expect(page.locator("#passkeys .items")).to_contain_text("My key")
    expect(page.locator("#passkeys .items")).to_contain_text("used now")


def test_a_passkey_signs_in_by_the_button_of_a_page_that_was_open_for_long(
    alice: Person, world: Product
) -> None:
    """The page takes a new ceremony before its own runs out, and keeps what was typed."""
    page = security_page(alice, world)
    key = Authenticator(page)
    enrol_passkey(page)
    sign_out(page)
    key.is_there("no")
    page.clock.install()
    sign_in_page(page, world)
    page.locator("#username").fill("alice@exam")
    form, ceremony = page.locator("form[data-passkey]"), page.locator("input[name=ceremony]")
    first, asked = ceremony.input_value(), form.get_attribute("data-options")
    page.clock.fast_forward("08:00")
    assert ceremony.input_value() == first
    page.clock.fast_forward("52:00")
    expect(ceremony).not_to_have_value(first)
    expect(form).not_to_have_attribute("data-options", asked or "")
    expect(page.locator("#username")).to_have_value("alice@exam")
    key.is_there("yes")
    page.locator("#login-passkey").click()
    expect(page.locator("#passkeys .items")).to_contain_text("used now")
    page.goto(f"{world.issuer}/account/sessions")
    expect(rows(page)).to_contain_text("with passkey")


def test_a_passkey_whose_user_was_not_verified_is_refused(alice: Person, world: Product) -> None:
    """User verification is asked of the browser, and checked whatever the browser did."""
    page = security_page(alice, world)
    key = Authenticator(page)
    enrol_passkey(page)
    sign_out(page)
    key.is_there("no")
    sign_in_page(page, world)
    key.ask("setUserVerified", isUserVerified=False)
    key.is_there("yes")
    # A browser that does what it was asked for gives nothing away.
    page.locator("#login-passkey").click()
    expect(page.locator("#login-passkey")).to_be_enabled()
    expect(page).to_have_url(re.compile("/account/sign-in"))
    # One that was talked out of it gets this far.
    key.is_there("no")
    sign_in_page(page, world)
    page.evaluate(
        """() => {
            const form = document.querySelector("form[data-passkey]");
            const asked = JSON.parse(form.dataset.options);
            asked.userVerification = "discouraged";
            form.dataset.options = JSON.stringify(asked);
        }"""
    )
    key.is_there("yes")
    page.locator("#login-passkey").click()
    expect(page.locator("#error")).to_have_text(
        "This passkey could not be used to sign in. Please try again."
    )


def test_a_copy_of_a_passkey_is_refused_and_shown(alice: Person, world: Product) -> None:
    page = security_page(alice, world)
    key = Authenticator(page)
    codes = enrol_passkey(page)
    sign_out(page)
    page.goto(f"{world.issuer}/account/sign-in?next=%2Faccount%2Fsecurity")
    expect(page.locator("#standing")).to_be_visible()
    sign_out(page)
    key.is_there("no")
    sign_in_page(page, world)
    key.roll_back(0)

    def once(route: Route) -> None:
        # The page that answers would be answered in turn, without anybody's touch, and so on.
        key.is_there("no")
        route.continue_()

    page.route("**/account/sign-in", once)
    key.is_there("yes")
    page.locator("#login-passkey").click()
    expect(page.locator("#error")).to_contain_text("There may be a copy of this passkey")
    page.unroute("**/account/sign-in")
    sign_in_page(page, world)
    alice.fill_in(page)
    # The password alone is not enough: what was suspended was the second factor.
    page.locator("#code").fill(codes[0])
    page.locator("#factor-submit").click()
    expect(page.locator("#passkeys .items")).to_contain_text("Not taken any more")
    expect(page.locator(".standing")).to_contain_text("Remove it and add a new one.")


def test_a_removed_passkey_is_forgotten_by_the_authenticator(alice: Person, world: Product) -> None:
    """Signal API: whatever was removed here is offered nowhere any more."""
    page = security_page(alice, world)
    key = Authenticator(page)
    enrol_passkey(page)
    # Adding proved nothing (MF-04): the passkey must be used for what follows.
    page.get_by_role("link", name="Remove My key").click()
    page.locator("#factor-submit").click()
    page.locator("#remove-confirm").click()
    expect(page.locator("#changed")).to_contain_text("“My key” removed.")
    until(lambda: key.credentials == [], "the authenticator forgets the passkey")
    expect(page.locator("#standing")).to_have_text("Only a password protects your account.")


def test_a_rename_reaches_the_page_in_place(alice: Person, world: Product) -> None:
    page = security_page(alice, world)
    Authenticator(page)
    enrol_passkey(page)
    item = page.locator("#passkeys .items li")
    item.locator("summary").click()
    item.get_by_label("Name", exact=True).fill("Blue key")
    item.get_by_role("button", name="Save").click()
    # The form waits while the passkey is used, and goes on by one click.
    page.locator("#step-up-begin").click()
    page.locator("#factor-submit").click()
    page.locator("#step-up-continue").click()
    expect(page.locator("#changed")).to_contain_text("Now called “Blue key”.")
    expect(item).to_contain_text("Blue key")


def test_a_device_that_has_a_passkey_already_says_so(alice: Person, world: Product) -> None:
    page = security_page(alice, world)
    key = Authenticator(page)
    enrol_passkey(page)
    page.locator("#add-passkey").click()
    page.locator("#factor-submit").click()
    page.locator("#passkey-create").click()
    expect(page.locator("[data-passkey-problem]")).to_have_text(
        "This device has a passkey for your account already."
    )
    assert len(key.credentials) == 1


# --- Codes ------------------------------------------------------------------------------------


def test_an_app_a_trusted_device_and_a_recovery_code(alice: Person, world: Product) -> None:
    page = security_page(alice, world)
    secret, codes = enrol_app(page)
    assert len(codes) == 10
    sign_out(page)

    sign_in_page(page, world)
    alice.fill_in(page)
    page.locator("input[name=trust]").check()
    page.locator("#code").fill(code_of(world, secret))
    page.locator("#factor-submit").click()
    expect(page.locator("#devices .items")).to_contain_text("This device")
    sign_out(page)

    sign_in_page(page, world)
    alice.fill_in(page)
    expect(page.locator("#standing")).to_be_visible()
    page.locator("#forget-devices").click()
    page.locator("#step-up-begin").click()
    page.locator("#code").fill(code_of(world, secret))
    page.locator("#factor-submit").click()
    page.locator("#step-up-continue").click()
    expect(page.locator("#changed")).to_contain_text("Device forgotten.")
    sign_out(page)

    sign_in_page(page, world)
    alice.fill_in(page)
    page.locator("#use-recovery_code").click()
    page.locator("#code").fill(codes[3].replace("-", " ").upper())
    page.locator("#factor-submit").click()
    expect(page.locator("#codes")).to_contain_text("9 of 10 left.")
    sign_out(page)

    sign_in_page(page, world)
    alice.fill_in(page)
    page.locator("#use-recovery_code").click()
    page.locator("#code").fill(codes[3])
    page.locator("#factor-submit").click()
    expect(page.locator("#error")).to_contain_text("This code is wrong, or was used before.")


def test_codes_can_be_copied(people: People, world: Product) -> None:
    alice = people.new(permissions=["clipboard-read", "clipboard-write"])
    page = security_page(alice, world)
    enrol_app_up_to_codes(page)
    page.locator("#codes-copy").click()
    expect(page.locator("#codes-copy")).to_have_text("Copied")
    shown = page.locator("#recovery-codes code").all_text_contents()
    assert page.evaluate("navigator.clipboard.readText()") == "\n".join(shown)


def enrol_app_up_to_codes(page: Page) -> str:
    """Adds a first authenticator app, up to the page of codes; gives its secret."""
    page.locator("#add-totp").click()
    secret = re.sub(r"\s", "", page.locator("#totp-secret").text_content() or "")
    page.locator("#totp-code").fill(pyotp.TOTP(secret).now())
    page.locator("#totp-submit").click()
    expect(page.locator("#recovery-codes li")).to_have_count(10)
    return secret


# --- "This wasn't me" -----------------------------------------------------------------------------


def test_the_way_back_to_a_safe_account_needs_no_scripts(people: People, world: Product) -> None:
    stranger, phone = people.new(), people.new()
    alice = people.new(java_script_enabled=False)
    theirs = stranger.sign_in_to(world.app_one)
    phone.sign_in_to(world.app_two)
    page = security_page(alice, world)
    secret = enrol_app_up_to_codes(page)
    page.goto(f"{world.issuer}/account/sessions")
    row = page.locator("li.row:not(.current)").filter(has_text="App One")
    row.locator("summary").click()
    row.get_by_role("link", name="This wasn’t me").click()
    expect(page.locator(".step.done")).to_have_count(0)
    page.locator("#end-it").click()
    expect(page.locator("#step-1")).to_have_class("step done")
    page.locator("#all-mine").click()
    expect(page.locator("#step-3")).to_have_class("step done")
    page.locator("#wizard-others").click()
    # A factor was added above: from now on this takes it.
    page.locator("#step-up-begin").click()
    page.locator("#code").fill(code_of(world, secret))
    page.locator("#factor-submit").click()
    page.locator("#step-up-continue").click()
    expect(page.locator("#step-4")).to_have_class("step done")
    expect(page.get_by_text("3 of 4 steps done.")).to_be_visible()
    theirs.reload()
    expect(theirs.locator("#sign-in")).to_be_visible()


# --- Every page -----------------------------------------------------------------------------------


def bare(alice: Person, world: Product) -> Page:
    return security_page(alice, world)


def full(alice: Person, world: Product) -> Page:
    page = security_page(alice, world)
    Authenticator(page)
    enrol_passkey(page)
    world.execute("UPDATE passkeys SET suspended_at = created_at")
    world.execute(
        "INSERT INTO trusted_devices SELECT 'dev_1', user_id, 'x', 'Laptop', created_at, "
        "created_at, created_at + 90000000000 FROM passkeys"
    )
    page.reload()
    page.locator("#passkeys summary").click()
    expect(page.locator("#forget-devices")).to_be_visible()
    return page


def new_passkey(alice: Person, world: Product) -> Page:
    page = security_page(alice, world)
    page.locator("#add-passkey").click()
    expect(page.locator("#passkey-create")).to_be_visible()
    return page


def new_app(alice: Person, world: Product) -> Page:
    page = security_page(alice, world)
    page.locator("#add-totp").click()
    page.locator("#totp-code").fill("12345")
    page.locator("#totp-submit").click()
    expect(page.locator("#error")).to_be_visible()
    return page


def codes(alice: Person, world: Product) -> Page:
    page = security_page(alice, world)
    enrol_app_up_to_codes(page)
    return page


def removal(alice: Person, world: Product) -> Page:
    page = security_page(alice, world)
    secret, _ = enrol_app(page)
    page.get_by_role("link", name="Remove Authenticator app").click()
    page.locator("#code").fill(code_of(world, secret))
    page.locator("#factor-submit").click()
    expect(page.locator("#remove-confirm")).to_be_visible()
    return page


def not_me(alice: Person, world: Product) -> Page:
    page = security_page(alice, world)
    enrol_app(page)
    page.locator("#not-me").click()
    expect(page.locator("#step-4")).to_be_visible()
    return page


PAGES: list[Callable[[Person, Product], Page]] = [
    bare, full, new_passkey, new_app, codes, removal, not_me,
]  # fmt: skip


@pytest.mark.parametrize("reach", PAGES, ids=lambda reach: reach.__name__)
def test_a_page_is_accessible_and_fits_a_narrow_screen(
    reach: Callable[[Person, Product], Page], alice: Person, world: Product
) -> None:
    require_accessible(reach(alice, world))
