"""Two browsers, one person: codes that are looked at, scanned, typed, refused and too late.

What the other screen shows is photographed and read as a camera does, by a reader that is not ours.
"""

import io
from collections.abc import Iterator

import pytest
import zxingcpp
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.conftest import People
from tests.browser.person import Person, is_signed_in
from tests.browser.test_accessibility import require_accessible
from tests.browser.test_strong_sign_in import (
    FACTORS,
    Authenticator,
    enrol_passkey,
    security_page,
    sign_out,
)
from tests.harness.servers import Product

pytestmark = pytest.mark.browser

# Not the name of a phone's browser beside the hints of a desktop's: that is a device that changes.
PHONE = {"viewport": {"width": 390, "height": 844}}
# A code reader such as browsers on phones and Macs have; this one knows what it will see.
READER = """window.BarcodeDetector = class {
  static async getSupportedFormats() { return ["qr_code"]; }
  async detect(view) {
    if (!(view.videoWidth > 0)) return [];
    window.looks = (window.looks ?? 0) + 1;
    return [{ rawValue: window.looks < 3 ? "https://evil.example/qr/x" : window.inView }];
  }
};"""


@pytest.fixture(autouse=True)
def _nobody_has_factors(world: Product) -> Iterator[None]:
    yield
    for table in (*FACTORS, "pairings"):
        world.execute(f"DELETE FROM {table}")


@pytest.fixture
def phone(people: People, world: Product) -> Page:
    """Alice's phone, where she signed in with a passkey."""
    page = security_page(people.new(**PHONE), world)
    Authenticator(page)
    enrol_passkey(page)
    sign_out(page)
    # The authenticator picks the suggestion of the name field.
    page.goto(f"{world.issuer}/account/sign-in?next=%2Faccount%2Fsecurity")
    expect(page.locator("#standing")).to_be_visible()
    return page


def asks(person: Person, world: Product) -> Page:
    """A browser whose person chose to sign in to an app with another device."""
    page = person.open_app(world.app_one)
    page.locator("#login-elsewhere").click()
    expect(page.locator("#qr svg")).to_be_visible()
    return page


def photographed(page: Page) -> str:
    """What the code on a screen says to a camera."""
    picture = Image.open(io.BytesIO(page.locator("#qr").screenshot()))
    (found,) = zxingcpp.read_barcodes(picture)
    return str(found.text)


def scanned(phone: Page, laptop: Page) -> str:
    """The phone opens what it sees there; gives the number that the other screen shows then."""
    phone.goto(photographed(laptop))
    phone.locator("#qr-open").click()
    expect(phone.locator("#device-deny")).to_be_focused()
    return laptop.locator("#number").text_content() or ""


def test_a_phone_lets_a_laptop_in_to_an_app(
    people: People, world: Product, phone: Page, alice: Person
) -> None:
    laptop = asks(alice, world)
    require_accessible(laptop)
    number = scanned(phone, laptop)
    require_accessible(phone)
    require_accessible(laptop)
    phone.locator("#together").press("Enter")
    phone.get_by_role("button", name=number, exact=True).click()
    expect(phone.locator("#outcome")).to_contain_text("Now press “Continue”")
    laptop.locator("#handoff-finish").click()
    is_signed_in(laptop)
    # It is worth what a code is worth: credentials want a proof of its own.
    laptop.goto(f"{world.issuer}/account/security/password")
    expect(laptop).to_have_url(
        f"{world.issuer}/step-up?for=change_password&next=%2Faccount%2Fsecurity%2Fpassword"
    )
    # It goes with the phone that let it in.
    phone.goto(f"{world.issuer}/account/sessions")
    phone.locator("summary").last.click()
    expect(phone.get_by_text("let in by Chromium")).to_be_visible()
    phone.locator("#sign-out").click()
    laptop.goto(f"{world.issuer}/account/sessions")
    expect(laptop.locator("#login-submit")).to_be_visible()


def test_a_no_is_a_no_however_one_goes_back(world: Product, phone: Page, alice: Person) -> None:
    laptop = asks(alice, world)
    number = scanned(phone, laptop)
    phone.locator("#device-deny").click()
    expect(phone.locator("#outcome")).to_contain_text("Nothing was given")
    expect(laptop.locator("#outcome")).to_contain_text("said no")
    require_accessible(phone)
    require_accessible(laptop)
    phone.go_back()
    again = phone.get_by_role("button", name=number, exact=True)
    if again.count():
        again.click()
    expect(phone.locator("#outcome")).to_contain_text("Nothing was given")
    laptop.go_back()
    laptop.go_forward()
    expect(laptop.locator("#outcome")).to_contain_text("said no")
    # A wrong number is a no too.
    laptop = asks(alice, world)
    number = scanned(phone, laptop)
    wrong = phone.locator(f".numbers button:not([value='allow-{number}'])").first
    wrong.click()
    expect(phone.locator("#outcome")).to_contain_text("Nothing was given")
    expect(laptop.locator("#outcome")).to_contain_text("said no")


def test_a_session_moves_to_a_browser_that_scans_it(
    people: People, world: Product, phone: Page
) -> None:
    phone.clock.install()

    def show() -> None:
        phone.goto(f"{world.issuer}/account/sessions")
        phone.locator("li.row.current summary").click()
        phone.locator("#move").click()
        expect(phone.locator("#qr svg")).to_be_visible()

    def opens(address: str) -> Page:
        page = people.new().open(address)
        require_accessible(page)
        page.locator("#qr-open").click()
        expect(page.locator("#number")).to_be_visible()
        return page

    show()
    require_accessible(phone)
    picture, shown = photographed(phone), phone.locator("#user-code").text_content() or ""
    phone.clock.fast_forward(61_000)
    expect(phone.locator("#user-code")).not_to_have_text(shown)
    expect(people.new().open(picture).locator("#error")).to_be_visible()

    # Whoever opened it is shown here by itself; a wrong number is the end of it, also going back.
    other = opens(photographed(phone))
    phone.clock.fast_forward(3_000)
    expect(phone.locator("#device-deny")).to_be_focused()
    require_accessible(phone)
    number = other.locator("#number").text_content() or ""
    phone.locator(f".numbers button:not([value='allow-{number}'])").first.click()
    expect(phone.locator("#outcome")).to_contain_text("Nothing was given")
    expect(other.locator("#outcome")).to_contain_text("said no")
    phone.go_back()
    again = phone.get_by_role("button", name=number, exact=True)
    if again.count():
        again.click()
    expect(phone.locator("#outcome")).to_contain_text("Nothing was given")
    other.reload()
    expect(other.locator("#outcome")).to_contain_text("said no")

    # Typed on a device without a camera, allowed, and gone from here.
    show()
    typed = phone.locator("#user-code").text_content() or ""
    laptop = people.new().open(f"{world.issuer}/move")
    laptop.locator("#user-code").fill(typed.lower())
    laptop.locator("#qr-open").click()
    number = laptop.locator("#number").text_content() or ""
    phone.clock.fast_forward(3_000)
    expect(phone.locator("#instead")).to_be_checked()
    phone.locator("#instead").press("Enter")
    phone.get_by_role("button", name=number, exact=True).click()
    expect(phone.locator("#outcome")).to_contain_text("Now press “Continue”")
    require_accessible(phone)
    laptop.locator("#handoff-finish").click()
    expect(laptop.locator("li.row.current")).to_contain_text("Temporary")
    expect(phone.locator("body")).to_contain_text("You moved this session to")
    laptop.goto(f"{world.issuer}/account/sessions?tab=ended")
    expect(laptop.locator("#main")).to_contain_text("You moved this session")


def test_a_code_is_replaced_in_the_page_and_an_old_picture_opens_nothing(
    world: Product, phone: Page, alice: Person
) -> None:
    laptop = alice.context.new_page()
    laptop.clock.install()
    laptop.goto(f"{world.issuer}/account/sign-in")
    laptop.locator("#login-elsewhere").click()
    picture, typed = photographed(laptop), laptop.locator("#user-code").text_content()
    laptop.clock.fast_forward(61_000)
    expect(laptop.locator("#user-code")).not_to_have_text(typed or "")
    assert photographed(laptop) != picture
    phone.goto(picture)
    expect(phone.locator("#error")).to_be_visible()
    # Opened in time and answered too late.
    scanned(phone, laptop)
    world.execute("UPDATE pairings SET expires_at = 1")
    phone.locator("#number-1").click()
    expect(phone.locator("#outcome")).to_contain_text("has run out")
    laptop.reload()
    expect(laptop.locator("#outcome")).to_contain_text("before you answered")


def test_the_page_scans_by_itself_where_the_browser_can(
    people: People, world: Product, alice: Person
) -> None:
    laptop = asks(alice, world)
    person = people.new(**PHONE, permissions=["camera"])
    person.context.add_init_script(READER + f"window.inView = {photographed(laptop)!r};")
    phone = person.open(f"{world.issuer}/device")
    person.fill_in(phone)
    phone.locator("#scan-start").click()
    expect(phone.locator("#scan-said")).to_have_text("That is not a code of ours.")
    expect(phone.locator("#qr-open")).to_be_visible()
    # Where no camera is given, the code is typed.
    other = people.new(**PHONE)
    other.context.add_init_script(READER)
    page = other.open(f"{world.issuer}/device")
    other.fill_in(page)
    page.locator("#scan-start").click()
    expect(page.locator("#scan-said")).to_contain_text("Type the code instead")
    require_accessible(page)
    # Without a reader nothing is offered.
    page = alice.open(f"{world.issuer}/device")
    alice.fill_in(page)
    expect(page.locator("#scan")).to_be_hidden()
    page.locator("#user-code").fill(laptop.locator("#user-code").text_content() or "")
    page.locator("#device-open").click()
    expect(page.locator("#error")).to_contain_text("very browser that asks")


# Of a computer whose browser reaches phones; the suggestions of the name field are not waited for.
REACHES_PHONES = """
PublicKeyCredential.getClientCapabilities = async () => ({ hybridTransport: true });
PublicKeyCredential.isConditionalMediationAvailable = async () => false;
const get = navigator.credentials.get.bind(navigator.credentials);
navigator.credentials.get = (asked) => {
  sessionStorage.setItem("hints", asked.publicKey.hints.join());
  return get(asked);
};"""


def test_a_passkey_on_a_phone_is_offered_before_a_code_where_the_browser_reaches_one(
    world: Product, phone: Page, alice: Person
) -> None:
    sign_out(phone)
    # Here it is a computer that has its passkey by another way.
    phone.context.add_init_script(REACHES_PHONES)
    phone.goto(f"{world.issuer}/account/sign-in")
    buttons = phone.locator(".elsewhere button:visible")
    expect(buttons).to_have_count(2)
    expect(buttons.first).to_have_text("Use a passkey on your phone")
    require_accessible(phone)
    buttons.first.click()
    expect(phone.locator("#sign-out")).to_be_visible()
    assert phone.evaluate("sessionStorage.hints") == "hybrid"
    # Chromium without Bluetooth says that it reaches none.
    page = alice.open(f"{world.issuer}/account/sign-in")
    expect(page.locator("#login-passkey")).to_be_visible()
    expect(page.locator("#login-phone")).to_be_hidden()
