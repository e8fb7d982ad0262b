"""Codes of every wrong look, and codes that were used, at every page that takes one (group MF)."""

import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.doors import (
    MOST_SECONDS,
    Alice,
    Door,
    cost,
    door_of,
    generous,
    make_alice,
    require_refusal,
    require_taken,
)
from tests.harness.enrolled import with_totp
from tests.harness.provider import Idp, Registered, Templates
from tests.harness.workbench import ManualClock
from tests.web.factors import BY_CODE, SECURITY
from tests.web.html import Page

CODES = {
    "too short": "12345", "too long": "1234567", "letters": "abcdef", "sign": "-12345",
    "other digits": "１２３４５６", "arabic digits": "٠١٢٣٤٥", "exponent": "1e5000", "blank": " ",
    "list": "[123456]", "quotes": "' OR 1=1 --", "long": "1" * 5_000, "longest": "9" * 60_000,
    "emoji": "💥" * 6, "separators": "\u2028\u2029" * 3, "surrogate": "%ED%A0%80",
    "dashes": "-" * 64, "spaces between": " ".join("000000"), "look-alikes": "oooo-llll-iiii-oooo",
}  # fmt: skip


@pytest.fixture
def idp(tmp_path: Path, templates: Templates, clock: ManualClock) -> Iterator[Idp]:
    with generous(templates.sqlite(tmp_path / "idp.db"), clock) as made:
        yield made


@pytest.fixture
def alice(idp: Idp) -> Alice:
    return make_alice(idp)


@pytest.fixture
def app(idp: Idp) -> Registered:
    return idp.register(name="Notes")


@pytest.mark.parametrize("method", ["totp", "recovery_code"])
@pytest.mark.parametrize("name", ["second", "step-up"])
def test_hostile_codes_are_refused_and_use_up_none(
    alice: Alice, app: Registered, idp: Idp, name: str, method: str
) -> None:
    """MF-05: a wrong code of any look costs an attempt, and never a code."""
    door = door_of(name, alice, app)
    alice.before = alice.state()
    spent = []
    baseline = statistics.median(
        cost(lambda: door.browser.get("/account/sign-in"))[0] for _ in range(5)
    )
    theirs = with_totp(idp, idp.person("mallory"))
    alice.before = alice.state()
    cases = CODES | {
        "of somebody else": theirs.code(), "another's": theirs.codes[0],
        "the other kind": alice.factors.codes[0] if method == "totp" else alice.factors.code(),
    }  # fmt: skip
    answers: set[str] = set()
    for what, code in cases.items():
        seconds, response = cost(
            lambda code=code: door.send("", action="prove", method=method, code=code)
        )
        require_refusal(door, response, what)
        answers.add(Page(response).text)
        spent.append(seconds - baseline)
        alice.forget_attempts()
    # One sentence for all, on one page.
    assert len(answers) == 1
    print(f"{name}, {method}: median {statistics.median(spent) * 1e3:.1f} ms above a GET")
    assert statistics.median(spent) < MOST_SECONDS
    good = alice.factors.code() if method == "totp" else alice.factors.codes[0]
    require_taken(door.send("", action="prove", method=method, code=good))


@pytest.mark.attack("MF-05")
@pytest.mark.parametrize("method", ["totp", "recovery_code"])
def test_a_code_that_was_taken_at_one_door_is_refused_at_every_other(
    alice: Alice, app: Registered, idp: Idp, method: str
) -> None:
    """MF-05: a code is used up for the account, not for a page."""
    doors = [door_of(name, alice, app) for name in ("step-up", "second", "second")]
    code = alice.factors.code() if method == "totp" else alice.factors.codes[0]
    first = doors.pop()
    require_taken(first.send("", action="prove", method=method, code=code))
    alice.before = alice.state()
    for door in doors:
        response = door.send("", action="prove", method=method, code=code)
        require_refusal(door, response, door.name)


def test_hostile_proposals_of_an_authenticator_app_are_refused(alice: Alice, idp: Idp) -> None:
    """MF-05, MF-13: neither another's secret, nor one of the browser's making, nor one twice."""
    path = f"{SECURITY}/totp"
    browser = idp.signed_in_browser(idp.session(alice.user, proved=BY_CODE))
    other = idp.signed_in_browser(idp.session(alice.user, proved=BY_CODE))
    theirs = Page(other.get(f"{path}/new")).form(action=path).fields["proposal"]
    page = Page(browser.get(f"{path}/new"))
    fields = page.form(action=path).fields
    proposal = fields["proposal"]
    wrong = {
        "another session's": theirs, "empty": "", "cut short": proposal[:-4], "unicode": "é" * 50,
        "huge": "A" * 10_000, "of a ceremony": door_of("enrol", alice, None).fields["ceremony"],
    }  # fmt: skip
    alice.before = alice.state()
    door = Door("totp", alice, browser, f"{path}/new", page)
    for what, sealed in wrong.items():
        seconds, response = cost(
            lambda sealed=sealed: browser.post(
                path, data={**fields, "proposal": sealed, "code": "123456"}
            )
        )
        require_refusal(door, response, what)
        # A new QR code is drawn for the next try.
        assert seconds < 4 * MOST_SECONDS
    for what, code in CODES.items():
        response = browser.post(path, data={**fields, "code": code})
        require_refusal(door, response, what)
