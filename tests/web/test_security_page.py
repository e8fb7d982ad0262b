"""The security page: what it says of an account, and every change that is made from it."""

import json
import re
from collections.abc import Callable
from urllib.parse import quote

import pytest
from httpx2 import Response

from idp import ids
from idp.clock import DAY, MINUTE, SECOND
from idp.events.actor import Actor
from idp.users import passkeys, queries, recovery_codes, totp, trusted_devices
from idp.users.model import User
from tests.harness.authenticator import Authenticator
from tests.harness.provider import Idp
from tests.web.conftest import LAPTOP, Somebody
from tests.web.factors import (
    BY_CODE,
    BY_PASSKEY,
    SECURITY,
    add_passkey,
    add_totp,
    code_of,
    options_of,
    page_of,
    prove_again,
    secret_of,
)
from tests.web.html import Page

BACK = "/step-up?for=change_factors&next=%2Faccount%2Fapps"


@pytest.fixture
def with_app(alice: Somebody) -> tuple[Somebody, str]:
    """Alice with an authenticator app, who has just proved everything; and its secret."""
    response, secret = add_totp(alice)
    assert "Keep these codes" in response.text
    prove_again(alice, *BY_CODE)
    return alice, secret


# --- What it says -----------------------------------------------------------------------------


def test_a_lonely_password_is_called_that(alice: Somebody) -> None:
    text = page_of(alice).text
    assert "Only a password protects your account. Add a passkey:" in text
    assert "You get ten with your first passkey or authenticator app." in text
    assert "alice@example.com Not confirmed" in text


def test_it_says_what_to_add_next(idp: Idp, with_app: tuple[Somebody, str]) -> None:
    alice, _ = with_app
    assert "Two proofs protect your account. Add a passkey: it is quicker" in page_of(alice).text
    assert add_passkey(alice).status_code == 303
    text = page_of(alice).text
    assert "Your account is well protected. There is nothing you need to do." in text
    idp.execute("UPDATE recovery_codes SET used_at = 1")
    assert "Make recovery codes" in page_of(alice).text
    idp.execute("UPDATE passkeys SET suspended_at = :t", t=idp.clock.now())
    text = page_of(alice).text
    assert "One of your passkeys is not taken any more" in text
    assert "Not taken any more Its counter went backwards" in text


def test_looking_needs_no_fresh_proof(idp: Idp, alice: Somebody) -> None:
    idp.clock.advance(30 * MINUTE)
    page_of(alice)


def test_somebody_without_a_password_is_told_what_that_means(idp: Idp, alice: Somebody) -> None:
    assert add_passkey(alice).status_code == 200
    idp.execute("UPDATE users SET password_hash = NULL")
    text = page_of(alice).text
    assert "Your passkey protects your account. There is no password to steal." in text
    assert "Add a second passkey" in text
    assert "Set a password" in text


# --- Passkeys ---------------------------------------------------------------------------------


def test_a_passkey_is_added_and_named_after_the_device(idp: Idp, alice: Somebody) -> None:
    agent = {"user-agent": LAPTOP}
    page = Page(alice.browser.get(f"{SECURITY}/passkeys/new", headers=agent))
    assert page.element("passkey-name").attributes["value"] == "Chrome 156 on Windows"
    assert add_passkey(alice, name="  My   phone ").status_code == 200
    text = page_of(alice).text
    assert "My phone Only on this device or key Added" in text
    assert "not used yet" in text
    (added,) = idp.events("factor.added")
    assert (added["actor"], added["actor_id"]) == ("user", alice.id)


def test_a_synced_passkey_is_called_so(alice: Somebody) -> None:
    add_passkey(alice, Authenticator(backup="done"), name="Everywhere")
    assert "Everywhere Synced" in page_of(alice).text


def test_the_first_second_factor_brings_recovery_codes_once(idp: Idp, alice: Somebody) -> None:
    response = add_passkey(alice)
    codes = re.findall(r"<code>([a-z0-9-]{19})</code>", response.text)
    assert len(set(codes)) == 10
    assert response.headers["cache-control"] == "no-store"
    with idp.work.begin() as unit:
        assert recovery_codes.burn(unit, alice.user.id, codes[0]) is not None
    prove_again(alice, BY_PASSKEY)
    assert add_passkey(alice).status_code == 303
    assert idp.count("recovery_codes") == 10
    assert "9 of 10 left." in page_of(alice).text
    assert codes[1] not in alice.browser.get(SECURITY).text


def test_a_form_that_waited_for_a_proof_begins_its_ceremony_again(alice: Somebody) -> None:
    page = page_of(alice, f"{SECURITY}/passkeys/new?back={quote(BACK)}")
    form = page.form(action=f"{SECURITY}/passkeys")
    response = alice.browser.post(form.action, data=form.fields | {"credential": ""})
    assert response.headers["location"] == f"{SECURITY}/passkeys/new?back={quote(BACK, safe='')}"


def test_a_refused_passkey_is_answered_with_a_form_that_works(idp: Idp, alice: Somebody) -> None:
    page = page_of(alice, f"{SECURITY}/passkeys/new")
    form = page.form(action=f"{SECURITY}/passkeys")
    refused = alice.browser.post(form.action, data=form.fields | {"credential": "{}"})
    assert refused.status_code == 400
    again = Page(refused)
    assert again.has("error")
    fields = again.form(action=form.action).fields
    credential = Authenticator().create(options_of(again))
    assert (
        alice.browser.post(form.action, data=fields | {"credential": credential}).status_code == 200
    )


def test_renaming_and_removing_tell_the_authenticators(idp: Idp, alice: Somebody) -> None:
    key, other = Authenticator(), Authenticator()
    add_passkey(alice, key, name="Old")
    prove_again(alice, BY_PASSKEY)
    add_passkey(alice, other, name="Other")
    with idp.work.read() as unit:
        first, second = passkeys.of(unit, alice.user.id)
    page = page_of(alice)
    form = page.form(action=f"{SECURITY}/passkeys/{first.id}/rename")
    response = alice.browser.post(form.action, data=form.fields | {"name": "New"})
    page = page_of(alice, response.headers["location"])
    assert "Now called “New”." in page.text
    assert signalled(page)["accepted"] == [first.credential_id, second.credential_id]
    question = page_of(alice, f"{SECURITY}/passkeys/{first.id}/remove")
    assert "Remove “New”?" in question.text
    page = page_of(alice, question.press(alice.browser, "remove-confirm").headers["location"])
    assert "“New” removed." in page.text
    said = signalled(page)
    assert said["accepted"] == [second.credential_id]
    assert said["rpId"] == "localhost"
    assert said["name"] == "alice"
    idp.clock.advance(6 * MINUTE)
    page = page_of(alice)
    assert not [one for one in page.elements if "data-passkey-signal" in one.attributes]


def signalled(page: Page) -> dict[str, object]:
    (found,) = [one for one in page.elements if "data-passkey-signal" in one.attributes]
    return json.loads(found.attributes["data-passkey-signal"])


def test_a_claim_of_a_change_that_never_was_shows_nothing(idp: Idp, alice: Somebody) -> None:
    for query in ("?done=1", f"?done={idp.clock.now()}", "?done=x", "?done=²", "?changed=password"):
        idp.execute("UPDATE users SET password_changed_at = NULL")
        assert not page_of(alice, SECURITY + query).has("changed")
    add_passkey(alice)
    assert page_of(alice, f"{SECURITY}?done={idp.clock.now()}").has("changed")
    assert not page_of(alice, f"{SECURITY}?done={idp.clock.now() - SECOND}").has("changed")


def test_the_last_way_to_sign_in_stays(idp: Idp, alice: Somebody) -> None:
    add_passkey(alice)
    idp.execute("UPDATE users SET password_hash = NULL")
    with idp.work.read() as unit:
        (passkey,) = passkeys.of(unit, alice.user.id)
    prove_again(alice, BY_PASSKEY)
    question = page_of(alice, f"{SECURITY}/passkeys/{passkey.id}/remove")
    response = question.press(alice.browser, "remove-confirm")
    assert response.status_code == 409
    assert "This passkey is all you can sign in with." in Page(response).text
    assert idp.count("passkeys") == 1


# --- Authenticator apps -----------------------------------------------------------------------


def test_an_app_is_added_by_a_right_code(idp: Idp, alice: Somebody) -> None:
    response, _ = add_totp(alice, name="Work phone")
    assert "Keep these codes" in response.text
    assert "Work phone Added" in page_of(alice).text


def test_a_wrong_code_shows_the_same_secret_and_picture_again(idp: Idp, alice: Somebody) -> None:
    page = page_of(alice, f"{SECURITY}/totp/new")
    secret = secret_of(page)
    right = code_of(idp, secret)
    wrong = page.press(alice.browser, "totp-submit", code=str((int(right) + 1) % 10**6).zfill(6))
    assert wrong.status_code == 400
    again = Page(wrong)
    assert again.has("error")
    assert secret_of(again) == secret
    assert (
        picture(wrong)
        in alice.browser.post(f"{SECURITY}/totp", data=again.form(button="totp-submit").fields).text
    )
    done = again.press(alice.browser, "totp-submit", code=right)
    assert "Keep these codes" in done.text


def picture(response: Response) -> str:
    return re.search(r"<svg xmlns.*?</svg>", response.text, re.DOTALL)[0]


def test_the_picture_is_new_every_time_the_page_is_opened(alice: Somebody) -> None:
    first, second = (page_of(alice, f"{SECURITY}/totp/new") for _ in range(2))
    assert secret_of(first) != secret_of(second)


def test_removing_asks_back_and_signs_out_elsewhere(
    idp: Idp, with_app: tuple[Somebody, str]
) -> None:
    alice, _ = with_app
    other, third = alice.elsewhere(), alice.elsewhere()
    with idp.work.read() as unit:
        (app,) = totp.of(unit, alice.user.id)
    question = page_of(alice, f"{SECURITY}/totp/{app.id}/remove")
    assert idp.count("totps") == 1
    box = question.element("also-others").attributes
    assert "checked" in box
    assert "2 other devices" in question.text
    response = question.press(alice.browser, "remove-confirm", others=box["value"])
    assert idp.count("totps") == 0
    assert not alice.is_running(other)
    assert not alice.is_running(third)
    text = page_of(alice, response.headers["location"]).text
    assert "“Authenticator app” removed." in text
    assert "Your other devices were signed out." in text


def test_without_the_tick_the_other_devices_stay(idp: Idp, with_app: tuple[Somebody, str]) -> None:
    alice, _ = with_app
    other = alice.elsewhere()
    with idp.work.read() as unit:
        (app,) = totp.of(unit, alice.user.id)
    question = page_of(alice, f"{SECURITY}/totp/{app.id}/remove")
    assert question.press(alice.browser, "remove-confirm").status_code == 303
    assert alice.is_running(other)


# --- Recovery codes and devices -----------------------------------------------------------------


def test_new_codes_replace_the_old_ones(idp: Idp, with_app: tuple[Somebody, str]) -> None:
    alice, _ = with_app
    page = page_of(alice)
    before = idp.events("recovery_codes.made")
    response = page.press(alice.browser, "make-codes")
    assert response.status_code == 200
    assert "Earlier codes are worthless" in Page(response).text
    assert len(idp.events("recovery_codes.made")) == len(before) + 1
    again = alice.browser.get(f"{SECURITY}/codes")
    assert again.headers["location"] == f"{SECURITY}#codes"


def test_there_are_no_codes_without_anything_to_stand_in_for(idp: Idp, alice: Somebody) -> None:
    token = page_of(alice).forms[0].fields["csrf"]
    response = alice.browser.post(f"{SECURITY}/codes", data={"csrf": token})
    assert response.status_code == 409
    assert idp.count("recovery_codes") == 0


def trust(idp: Idp, one: Somebody, name: str) -> tuple[str, str]:
    secret = ids.new_secret()
    with idp.work.begin() as unit:
        user = unit.orm.get_one(User, one.user.id)
        device = trusted_devices.trust(
            unit, user, device_hash=ids.digest(secret), name=name, actor=Actor("user", one.id)
        )
        return device.id, secret


def test_trusted_devices_are_shown_and_forgotten(idp: Idp, with_app: tuple[Somebody, str]) -> None:
    alice, _ = with_app
    (_laptop, secret), (phone, _), (_tablet, _) = (
        trust(idp, alice, name) for name in ("Laptop", "Phone", "Tablet")
    )
    alice.browser.cookies.set("idp_trust", secret, domain="localhost.local", path="/")
    page = page_of(alice)
    assert "Laptop This device Until" in page.text
    assert "Phone Until" in page.text
    form = page.form(action=f"{SECURITY}/devices/{phone}/forget")
    response = alice.browser.post(form.action, data=form.fields)
    page = page_of(alice, response.headers["location"])
    assert "Device forgotten." in page.text
    assert "Phone Until" not in page.text
    idp.clock.advance(SECOND)
    page = page_of(alice, page.press(alice.browser, "forget-devices").headers["location"])
    assert "2 devices forgotten." in page.text
    assert idp.count("trusted_devices") == 0
    assert alice.browser.post(form.action, data=form.fields).status_code == 404


def test_a_trusted_device_gets_a_name_of_its_persons_own(
    idp: Idp, with_app: tuple[Somebody, str], somebody: Callable[..., Somebody]
) -> None:
    """AD-02: and nobody else's does."""
    alice, _ = with_app
    phone, _ = trust(idp, alice, "Safari 19 on iPhone")
    path = f"{SECURITY}/devices/{phone}/rename"
    form = page_of(alice).form(action=path)
    response = alice.browser.post(path, data=form.fields | {"name": "  Kitchen   tablet "})
    assert response.headers["location"].endswith(f"#{phone}")
    page = page_of(alice, response.headers["location"].partition("#")[0])
    assert "Now called “Kitchen tablet”." in page.text
    assert "Kitchen tablet Until" in page.text
    (event,) = idp.events("device.renamed")
    assert (event["user_id"], event["actor_id"]) == (alice.user.id, alice.id)
    # The name it has is no change, and nothing that cannot be seen is a name.
    assert (
        alice.browser.post(path, data=form.fields | {"name": "Kitchen tablet"}).status_code == 303
    )
    assert alice.browser.post(path, data=form.fields | {"name": "\u202eevil"}).status_code == 400
    bob = somebody("bob")
    fields = {"csrf": bob.sessions().forms[0].fields["csrf"], "name": "Bob was here"}
    assert bob.browser.post(path, data=fields).status_code == 404
    assert len(idp.events("device.renamed")) == 1


# --- Being sent here from a step-up ---------------------------------------------------------------


def test_somebody_who_was_sent_here_finds_the_way_back(alice: Somebody) -> None:
    page = page_of(alice, f"{SECURITY}?back={quote(BACK)}")
    assert "then you can go on with what you were doing" in page.text
    assert not page.has("go-on")
    (link,) = [
        one.attributes["href"] for one in page.elements if one.attributes.get("id") == "add-totp"
    ]
    response, _ = add_totp(alice, query=link.partition("/new")[2])
    page = page_of(alice, Page(response).element("codes-kept").attributes["href"])
    assert page.element("go-on").attributes["href"] == BACK


@pytest.mark.parametrize(
    "back",
    ["https://evil.example/step-up", "//evil.example", "/account", "/step-upper", "/step-up/../x",
     "/step-up\\@evil.example", "javascript:alert(1)"],
)  # fmt: skip
def test_the_way_back_leads_to_a_step_up_or_nowhere(back: str, alice: Somebody) -> None:
    page = page_of(alice, f"{SECURITY}?back={quote(back, safe='')}")
    assert "what you were doing" not in page.text
    page = page_of(alice, f"{SECURITY}?back={quote(back, safe='')}")
    # Whoever is signed out comes back to this very address, which is ours and asks again.
    led = [one.attributes.get("href", "") for one in page.elements if one.tag == "a"]
    led = [one for one in led if not one.startswith("/account/sign-in?next=/account/security")]
    assert "evil" not in "".join([*led, *(form.action for form in page.forms)])


def test_a_new_password_is_confirmed(idp: Idp, alice: Somebody) -> None:
    with idp.work.begin() as unit:
        user = unit.orm.get_one(User, alice.user.id)
        queries.set_password(unit, user, user.password_hash, Actor("user", alice.id))
    assert "Your password was changed." in page_of(alice, f"{SECURITY}?changed=password").text
    idp.clock.advance(DAY // 48)
    assert not page_of(alice, f"{SECURITY}?changed=password").has("changed")
