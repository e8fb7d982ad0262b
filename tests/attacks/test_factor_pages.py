"""The pages that change how somebody signs in, attacked: enrolment, replay, forgery, markup."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from idp import ids
from idp.clock import MINUTE, SECOND
from idp.errors import Refused
from idp.events.actor import Actor
from idp.sessions.model import Session
from idp.users import passkeys, totp, trusted_devices
from idp.users.model import User
from idp.web import csrf, elevation
from idp.web.factor_changes import changing
from idp.web.visitor import Visitor
from tests.harness.authenticator import Authenticator
from tests.harness.provider import Idp
from tests.web.conftest import Somebody
from tests.web.factors import (
    BY_CODE,
    BY_PASSKEY,
    BY_PASSWORD,
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

ENROLMENT = (f"{SECURITY}/passkeys/new", f"{SECURITY}/totp/new")
MARKER = "\"'><script src=//evil.example></script><img src=x onerror=alert(1)>"


@pytest.fixture
def somebody(idp: Idp) -> Callable[[str], Somebody]:
    """Makes people who have just signed in with their password."""

    def make(username: str) -> Somebody:
        user = idp.person(username)
        session = idp.session(user)
        return Somebody(idp, user, session, idp.signed_in_browser(session))

    return make


@pytest.fixture
def alice(somebody: Callable[[str], Somebody]) -> Somebody:
    return somebody("alice")


def passkey_form(one: Somebody) -> tuple[dict[str, str], str]:
    """The fields of a form for a new passkey, and its options."""
    page = page_of(one, ENROLMENT[0])
    return page.form(action=f"{SECURITY}/passkeys").fields, options_of(page)


def factors_of(idp: Idp) -> int:
    return idp.count("passkeys") + idp.count("totps")


def changes(idp: Idp, one: Somebody) -> list[tuple[str, dict[str, str]]]:
    """Every form that changes something about how `one` signs in, filled in."""
    with idp.work.begin() as unit:
        user = unit.orm.get_one(User, one.user.id)
        device = trusted_devices.trust(
            unit,
            user,
            device_hash=ids.digest(ids.new_secret()),
            name="Laptop",
            actor=Actor("user", one.id),
        )
        (passkey,) = passkeys.of(unit, user.id)
        (app,) = totp.of(unit, user.id)
    return [
        (f"{SECURITY}/passkeys", {"credential": "{}", "ceremony": "x"}),
        (f"{SECURITY}/passkeys/{passkey.id}/rename", {"name": "Mine"}),
        (f"{SECURITY}/passkeys/{passkey.id}/remove", {"others": "end"}),
        (f"{SECURITY}/totp", {"code": "123456", "proposal": "x"}),
        (f"{SECURITY}/totp/{app.id}/rename", {"name": "Mine"}),
        (f"{SECURITY}/totp/{app.id}/remove", {"others": "end"}),
        (f"{SECURITY}/codes", {}),
        (f"{SECURITY}/devices/{device.id}/rename", {"name": "Mine"}),
        (f"{SECURITY}/devices/{device.id}/forget", {}),
        (f"{SECURITY}/devices/forget", {}),
    ]


CHANGED = (
    "factor.added", "factor.renamed", "factor.removed", "recovery_codes.made", "device.forgotten",
    "device.renamed", "session.ended", "session.disowned",
)  # fmt: skip


@pytest.fixture
def guarded(idp: Idp, alice: Somebody) -> Somebody:
    """Alice with a passkey and an app, who has just proved everything."""
    add_totp(alice)
    prove_again(alice, *BY_CODE)
    assert add_passkey(alice).status_code == 303
    alice.elsewhere()
    return alice


@pytest.mark.attack("MF-13")
def test_without_a_sign_in_nothing_can_be_enrolled(idp: Idp, alice: Somebody) -> None:
    """MF-13: having no factor yet gives a stranger nothing."""
    fields, options = passkey_form(alice)
    stranger = idp.browser()
    for path in (*ENROLMENT, SECURITY):
        assert stranger.get(path).headers["location"].startswith("/account/sign-in?")
    response = stranger.post(
        f"{SECURITY}/passkeys", data=fields | {"credential": Authenticator().create(options)}
    )
    assert response.headers["location"].startswith("/account/sign-in?")
    assert factors_of(idp) == 0


@pytest.mark.attack("MF-13")
def test_a_first_factor_needs_a_fresh_proof(idp: Idp, alice: Somebody) -> None:
    """MF-13: a session that was left open is not enough to enrol a factor in."""
    fields, options = passkey_form(alice)
    page = page_of(alice, ENROLMENT[1])
    typed = page.form(button="totp-submit").fields | {"code": code_of(idp, secret_of(page))}
    idp.clock.advance(5 * MINUTE + SECOND)
    for path in ENROLMENT:
        response = alice.browser.get(path)
        assert response.headers["location"].startswith("/step-up?for=change_factors&")
    credential = Authenticator().create(options)
    for path, form in (
        (f"{SECURITY}/passkeys", fields | {"credential": credential}),
        (f"{SECURITY}/totp", typed),
    ):
        response = alice.browser.post(path, data=form)
        assert Page(response).has("step-up-begin")
    assert factors_of(idp) == 0


def test_every_change_needs_a_fresh_proof_of_all_there_is(idp: Idp, guarded: Somebody) -> None:
    """ASVS 7.5.1: a password alone changes nothing where there is a second factor."""
    forms = changes(idp, guarded)
    before = len(idp.events(*CHANGED))
    idp.clock.advance(5 * MINUTE + SECOND)
    prove_again(guarded, BY_PASSWORD)
    token = page_of(guarded).forms[0].fields["csrf"]
    for path, values in forms:
        response = guarded.browser.post(path, data=values | {"csrf": token})
        assert Page(response).has("step-up-begin"), path
    for path in (*ENROLMENT, *(path for path, _ in forms if path.endswith("/remove"))):
        assert guarded.browser.get(path).headers["location"].startswith("/step-up?"), path
    assert len(idp.events(*CHANGED)) == before


def test_a_session_from_before_the_factor_gets_no_further_without_it(
    idp: Idp, alice: Somebody
) -> None:
    """SE-11: enrolling a second factor leaves other sessions without its powers, at once."""
    started = idp.session(alice.user)
    other = Somebody(idp, alice.user, started, idp.signed_in_browser(started))
    page_of(other, ENROLMENT[0])
    add_totp(alice)
    for path in ENROLMENT:
        assert other.browser.get(path).headers["location"].startswith("/step-up?")
    token = page_of(other).forms[0].fields["csrf"]
    made = len(idp.events("recovery_codes.made"))
    response = other.browser.post(f"{SECURITY}/codes", data={"csrf": token})
    assert Page(response).has("step-up-begin")
    assert len(idp.events("recovery_codes.made")) == made


def test_a_new_factor_comes_with_the_offer_to_end_other_sessions(idp: Idp, alice: Somebody) -> None:
    """ASVS 7.4.3 (SE-11): offered beside the recovery codes, and on the page after them."""
    other = alice.elsewhere()
    response, _ = add_totp(alice)
    codes = Page(response)
    # From now on that takes a code.
    prove_again(alice, *BY_CODE)
    following = page_of(alice, codes.element("codes-kept").attributes["href"])
    for page, button in ((codes, "kept-end-others"), (following, "end-others")):
        form = page.form(button=button)
        assert form.action == "/account/sessions/end"
        question = Page(page.press(alice.browser, button))
        assert alice.is_running(other)
    assert question.press(alice.browser, "end-confirm").status_code == 303
    assert not alice.is_running(other)
    assert alice.is_running(alice.id)


def test_a_removal_ends_other_sessions_unless_told_not_to(idp: Idp, guarded: Somebody) -> None:
    """ASVS 7.4.3: ticked from the start, because a lost device may be signed in."""
    with idp.work.read() as unit:
        (app,) = totp.of(unit, guarded.user.id)
    page = page_of(guarded, f"{SECURITY}/totp/{app.id}/remove")
    assert "checked" in page.element("also-others").attributes


def test_an_answer_counts_once_right_or_wrong(idp: Idp, alice: Somebody) -> None:
    """MF-14: of one form, a second answer is refused, also a right one after a wrong one."""
    fields, options = passkey_form(alice)
    path = f"{SECURITY}/passkeys"
    assert alice.browser.post(path, data=fields | {"credential": "{}"}).status_code == 400
    right = fields | {"credential": Authenticator().create(options)}
    response = alice.browser.post(path, data=right)
    assert response.status_code == 403
    assert "no longer current" in Page(response).text
    assert factors_of(idp) == 0


def test_a_form_is_good_only_in_the_session_that_saw_it(
    idp: Idp, alice: Somebody, somebody: Callable[[str], Somebody]
) -> None:
    """MF-14: neither ceremony nor secret passes to another session, of hers or of anybody."""
    mallory = somebody("mallory")
    again = idp.session(alice.user)
    second = Somebody(idp, alice.user, again, idp.signed_in_browser(again))
    fields, options = passkey_form(mallory)
    page = page_of(mallory, ENROLMENT[1])
    proposal = page.form(button="totp-submit").fields["proposal"]
    code = code_of(idp, secret_of(page))
    for one in (alice, second):
        # Even at the very computer where mallory began.
        device = mallory.browser.cookies["idp_device"]
        one.browser.cookies.set("idp_device", device, domain="localhost.local", path="/")
        token = page_of(one).forms[0].fields["csrf"]
        response = one.browser.post(
            f"{SECURITY}/passkeys",
            data={
                "csrf": token,
                "ceremony": fields["ceremony"],
                "credential": Authenticator().create(options),
            },
        )
        assert response.status_code == 403
        response = one.browser.post(
            f"{SECURITY}/totp", data={"csrf": token, "proposal": proposal, "code": code}
        )
        assert response.status_code == 403
        assert secret_of(Page(response)) != secret_of(page)
    assert factors_of(idp) == 0


def test_a_form_is_good_only_in_the_browser_that_saw_it(idp: Idp, alice: Somebody) -> None:
    """MF-14: a stolen session secret alone does not finish an enrolment that another browser began."""
    fields, options = passkey_form(alice)
    thief = idp.signed_in_browser(alice.session)
    response = thief.post(
        f"{SECURITY}/passkeys", data=fields | {"credential": Authenticator().create(options)}
    )
    assert response.status_code == 403
    assert factors_of(idp) == 0


def test_a_form_of_long_ago_enrols_nothing(idp: Idp, alice: Somebody) -> None:
    """MF-14: ceremony and secret run out, also where the proof is fresh again."""
    fields, options = passkey_form(alice)
    page = page_of(alice, ENROLMENT[1])
    typed = page.form(button="totp-submit").fields
    idp.clock.advance(31 * MINUTE)
    prove_again(alice, BY_PASSWORD)
    token = page_of(alice).forms[0].fields["csrf"]
    credential = Authenticator().create(options)
    for path, form in (
        (f"{SECURITY}/passkeys", fields | {"credential": credential}),
        (f"{SECURITY}/totp", typed | {"code": code_of(idp, secret_of(page))}),
    ):
        assert alice.browser.post(path, data=form | {"csrf": token}).status_code == 403, path
    assert factors_of(idp) == 0


def test_the_code_that_enrolled_an_app_enrols_no_second_one(idp: Idp, alice: Somebody) -> None:
    """MF-14: the form sent twice is one app."""
    page = page_of(alice, ENROLMENT[1])
    code = code_of(idp, secret_of(page))
    assert page.press(alice.browser, "totp-submit", code=code).status_code == 200
    prove_again(alice, *BY_CODE)
    token = page_of(alice).forms[0].fields["csrf"]
    form = page.form(button="totp-submit").fields | {"csrf": token, "code": code}
    assert alice.browser.post(f"{SECURITY}/totp", data=form).status_code == 409
    assert idp.count("totps") == 1


def test_a_secret_is_not_chosen_by_whoever_sends_the_form(idp: Idp, alice: Somebody) -> None:
    """MF-14: only a secret that was made here, and sealed, can be enrolled."""
    token = page_of(alice).forms[0].fields["csrf"]
    secret = "A" * 32
    for proposal in ("", secret, "x" * 3_000, f'{{"secret":"{secret}"}}', "é"):
        response = alice.browser.post(
            f"{SECURITY}/totp",
            data={"csrf": token, "proposal": proposal, "secret": secret, "code": "123456"},
        )
        assert response.status_code == 403
    assert factors_of(idp) == 0


def test_a_session_that_ended_meanwhile_changes_nothing(idp: Idp, alice: Somebody) -> None:
    """MF-13: "This wasn't me" on one device beats a form that is under way on another."""
    visitor = Visitor(alice.session.session, alice.user, "token")
    with idp.work.begin() as unit:
        assert changing(unit, visitor, "change_factors").id == alice.user.id
    idp.end(alice.id, "disowned")
    with idp.work.begin() as unit, pytest.raises(Refused, match="session_ended"):
        changing(unit, visitor, "change_factors")


@pytest.mark.attack("MF-02")
@pytest.mark.parametrize("lost", ["too old", "taken away"])
def test_a_proof_that_is_lost_while_a_form_is_on_its_way_changes_nothing(
    idp: Idp, guarded: Somebody, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    """MF-02: it is asked about again in the transaction of the change, not only before."""
    forms = changes(idp, guarded)
    idp.clock.advance(SECOND)
    before = len(idp.events(*CHANGED))
    ask, asked = elevation.ask, []

    def then_lost(*arguments: Any) -> Any:
        held = ask(*arguments)
        asked.append(held)
        if lost == "too old":
            idp.clock.advance(5 * MINUTE + SECOND)
        else:
            idp.execute("UPDATE sessions SET authentications = '[]'")
        return held

    monkeypatch.setattr(elevation, "ask", then_lost)
    for path, values in forms:
        if "ceremony" in values or "proposal" in values:
            continue  # refused for what they are, before anything would change
        prove_again(guarded, *BY_CODE)
        token = csrf.for_session(idp.work.vault, session_of(guarded))
        response = guarded.browser.post(path, data=values | {"csrf": token})
        assert response.status_code == 403, path
        assert "no longer counts" in Page(response).text, path
    assert set(asked) == {None}
    assert len(idp.events(*CHANGED)) == before


def session_of(one: Somebody) -> Session:
    with one.idp.work.read() as unit:
        return unit.orm.get_one(Session, one.id)


def test_another_persons_factors_are_unknown(
    idp: Idp, guarded: Somebody, somebody: Callable[[str], Somebody]
) -> None:
    """AD-02: neither renamed, removed nor forgotten, and no difference to ids that never were."""
    forms = changes(idp, guarded)
    mallory = somebody("mallory")
    token = page_of(mallory).forms[0].fields["csrf"]
    before = len(idp.events(*CHANGED))
    of_one = [(path, form) for path, form in forms if path.count("/") == 5]
    assert len(of_one) == 6
    for path, values in of_one:
        theirs = mallory.browser.post(path, data=values | {"csrf": token})
        *start, _, end = path.split("/")
        never = mallory.browser.post("/".join([*start, "x", end]), data=values | {"csrf": token})
        assert (theirs.status_code, never.status_code) == (404, 404), path
        assert Page(theirs).text == Page(never).text
    assert len(idp.events(*CHANGED)) == before


def test_every_form_needs_its_token(
    idp: Idp, guarded: Somebody, somebody: Callable[[str], Somebody]
) -> None:
    """WB-02: none, a wrong one, another session's; and a right one that another site sent."""
    prove_again(guarded, *BY_CODE)
    stolen = page_of(somebody("mallory")).forms[0].fields["csrf"]
    right = page_of(guarded).forms[0].fields["csrf"]
    forms = [
        *changes(idp, guarded),
        (f"{SECURITY}/not-me", {"step": "others"}),
        (f"{SECURITY}/not-me", {"step": "session", "end": guarded.elsewhere()}),
    ]
    before = len(idp.events(*CHANGED))
    for path, values in forms:
        for token in ({}, {"csrf": ""}, {"csrf": "A" * 43}, {"csrf": stolen}):
            assert guarded.browser.post(path, data=values | token).status_code == 403, path
        for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}):
            response = guarded.browser.post(path, data=values | {"csrf": right}, headers=headers)
            assert response.status_code == 403, path
    assert len(idp.events(*CHANGED)) == before


def test_no_name_and_no_parameter_becomes_markup(idp: Idp, guarded: Somebody) -> None:
    """WB-01: names of factors, devices and sessions, and whatever stands in an address."""
    prove_again(guarded, BY_PASSKEY)
    changes(idp, guarded)
    other = idp.session(guarded.user, agent=f"Mozilla {MARKER}").session.id
    for table in ("passkeys", "totps", "trusted_devices"):
        idp.execute(f"UPDATE {table} SET name = :n", n=MARKER[:60])
    idp.execute("UPDATE users SET username = :n, email = :e", n=MARKER, e=f"{MARKER}@x.example")
    with idp.work.read() as unit:
        (passkey,) = passkeys.of(unit, guarded.user.id)
        (app,) = totp.of(unit, guarded.user.id)
    names = ("back", "done", "changed", "session", "reviewed", "name", "credential")
    for path in (
        SECURITY,
        f"{SECURITY}?done={idp.clock.now()}",
        *ENROLMENT,
        f"{SECURITY}/passkeys/{passkey.id}/remove",
        f"{SECURITY}/totp/{app.id}/remove",
        f"{SECURITY}/not-me",
        f"{SECURITY}/not-me?session={other}",
    ):
        further = [f"{name}={quote(MARKER, safe='')}" for name in names if f"{name}=" not in path]
        response = guarded.browser.get(f"{path}{'&' if '?' in path else '?'}{'&'.join(further)}")
        assert response.status_code == 200, path
        for dangerous in ("<script src=//evil", "<img src=x", "\"'><"):
            assert dangerous not in response.text, path
        for element in Page(response).elements:
            assert "onerror" not in element.attributes
            assert element.attributes.get("src", "/").startswith("/")
            assert element.attributes.get("href", "/").startswith(("/", "#", "otpauth://"))
