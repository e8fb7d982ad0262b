"""What no honest browser sends to the pages of a sign-in, a step-up and an enrolment.

Every answer is a refusal with a sentence, costs little, says nothing about the account and takes
nothing from it: no factor is suspended, no code used up, no session begun (attack group MF).
"""

import json
import re
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from idp.clock import MINUTE
from idp.users.model import User
from tests.attacks.ceremonies import CREDENTIALS, EXTENSIONS, OBJECTS, Json, altered
from tests.harness.authenticator import AT, ED, UP, UV, Authenticator
from tests.harness.enrolled import Factors, with_passkey, with_totp
from tests.harness.provider import PASSWORD, Flow, Idp, Registered, Templates, settings_for
from tests.harness.workbench import ManualClock
from tests.web.factors import BY_CODE, BY_PASSKEY, BY_PASSWORD, SECURITY
from tests.web.html import Page

# Ten milliseconds are meant; a machine that does other things as well needs room.
MOST_SECONDS = 0.025
FOR_FACTORS = "/step-up?for=change_factors&next=%2Faccount%2Fapps"


@pytest.fixture
def idp(tmp_path: Path, templates: Templates, clock: ManualClock) -> Iterator[Idp]:
    """Attempts are counted, but nobody is stopped for their number."""
    many = {"per_address": 100_000, "per_account": 100, "per_account_device": 100}
    made = Idp(settings_for(templates.sqlite(tmp_path / "idp.db"), throttle=many), clock)
    yield made
    made.close()


@dataclass
class Alice:
    """Somebody with every factor there is, and what of it must still be there afterwards."""

    idp: Idp
    user: User
    device: Authenticator
    factors: Factors
    before: list[object] = field(default_factory=list)

    def state(self) -> list[object]:
        tables = {
            "passkeys": "id, suspended_at, sign_count, last_used_at",
            "totps": "id, last_step, last_used_at",
            "recovery_codes": "code_hash, used_at",
            "sessions": "id, acr, ended_at",
            "trusted_devices": "id",
        }
        with self.idp.work.read() as unit:
            return [
                [tuple(row) for row in unit.connection.exec_driver_sql(
                    f"SELECT {columns} FROM {table} ORDER BY 1"
                )]
                for table, columns in tables.items()
            ]  # fmt: skip

    def forget_attempts(self) -> None:
        self.idp.execute("DELETE FROM throttles")


@pytest.fixture
def alice(idp: Idp) -> Alice:
    user = idp.person("alice")
    return Alice(idp, user, with_passkey(idp, user), with_totp(idp, user))


@pytest.fixture
def app(idp: Idp) -> Registered:
    return idp.register(name="Notes")


@dataclass
class Door:
    """A page that takes an answer: a browser in front of it, and the form it was shown last."""

    name: str
    alice: Alice
    browser: TestClient
    address: str
    page: Page

    @property
    def creates(self) -> bool:
        return self.name == "enrol"

    @property
    def options(self) -> str:
        return next(
            one.attributes["data-options"]
            for one in self.page.elements
            if "data-options" in one.attributes
        )

    @property
    def fields(self) -> dict[str, str]:
        form = next(one for one in self.page.forms if "ceremony" in one.fields)
        return {**form.fields, "action": "passkey"}

    @property
    def action(self) -> str:
        return next(one.action for one in self.page.forms if "ceremony" in one.fields)

    def answer(self, **changes: Any) -> str:
        """What a good browser with Alice's device would send now, but for `changes`."""
        if self.creates:
            return Authenticator().create(self.options, **changes)
        return self.alice.device.get(self.options, **changes)

    def send(self, credential: str, **fields: str) -> Response:
        """Posts it; what the page shows afterwards is the next form, where there is one."""
        sent = {**self.fields, "credential": credential, **fields}
        response = self.browser.post(self.action, data=sent)
        if 'name="ceremony"' in response.text:
            self.page = Page(response)
        elif response.status_code >= 400:
            self.again()
        return response

    def again(self) -> None:
        self.page = open_page(self.name, self.alice, self.browser, self.address)


def open_page(name: str, alice: Alice, browser: TestClient, address: str) -> Page:
    page = Page(browser.get(address))
    if name == "second":
        sent = page.form(button="login-submit").fields | {
            "username": "alice", "password": PASSWORD
        }  # fmt: skip
        page = Page(browser.post("/account/sign-in", data=sent))
    return page


DOORS = ("login", "account", "second", "step-up", "enrol")


def door_of(name: str, alice: Alice, app: Registered) -> Door:
    idp = alice.idp
    if name == "login":
        browser = idp.browser()
        begun = browser.get("/authorize", params=Flow(app).parameters())
        address = begun.headers["location"]
    elif name in ("account", "second"):
        browser, address = idp.browser(), "/account/sign-in"
    elif name == "step-up":
        # Proved a while ago: the password counts no longer for what is asked.
        browser = idp.signed_in_browser(idp.session(alice.user))
        idp.clock.advance(20 * MINUTE)
        address = FOR_FACTORS
        browser.get("/account/sign-in")
        browser.cookies.set("idp_device", "d" * 43, domain="localhost.local")
    else:
        session = idp.session(alice.user, proved=(BY_PASSWORD, BY_PASSKEY))
        browser, address = idp.signed_in_browser(session), f"{SECURITY}/passkeys/new"
        browser.cookies.set("idp_device", "d" * 43, domain="localhost.local")
    return Door(name, alice, browser, address, open_page(name, alice, browser, address))


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest, alice: Alice, app: Registered) -> Door:
    made = door_of(request.param, alice, app)
    alice.before = alice.state()
    return made


def require_refusal(door: Door, response: Response, what: str) -> None:
    """A refusal with a sentence, by which Alice lost nothing."""
    assert 400 <= response.status_code < 500, (what, response.status_code)
    alerts = [
        one for one in Page(response).elements
        if one.attributes.get("role") == "alert" and one.attributes.get("id") == "error"
    ]  # fmt: skip
    assert len(alerts) == 1, what
    assert "idp_session=" not in response.headers.get("set-cookie", ""), what
    assert door.alice.state() == door.alice.before, what


def require_taken(response: Response) -> None:
    """Either all is proved, or the next factor is asked for."""
    assert response.status_code in (200, 303), response.status_code
    assert 'id="error"' not in response.text


def cost(call: Callable[[], Response]) -> tuple[float, Response]:
    """Seconds of processor time of all threads, and the answer."""
    before = time.process_time()
    response = call()
    return time.process_time() - before, response


def hostile_answers(door: Door) -> Iterator[tuple[str, Callable[[], str]]]:
    """Made when they are sent: each has the challenge of the form it answers."""
    for name, text in CREDENTIALS.items():
        yield name, lambda text=text: text
    if door.creates:
        for name, encoded in OBJECTS.items():
            yield name, lambda encoded=encoded: door.answer(attestation_object=encoded)
    for name, encoded in EXTENSIONS.items():
        flags = UP | UV | ED | (AT if door.creates else 0)
        yield (
            f"extensions: {name}",
            lambda encoded=encoded, flags=flags: door.answer(flags=flags, extensions=encoded),
        )


@pytest.mark.attack("MF-17")
def test_hostile_credentials_are_refused_and_cost_little(door: Door) -> None:
    """MF-17: JSON and CBOR of every wrong shape and size; the median and the most are printed."""
    baseline = statistics.median(cost(lambda: door.browser.get(door.address))[0] for _ in range(9))
    spent: dict[str, float] = {}
    for name, make in hostile_answers(door):
        # The lowest of three, because the collector of garbage may come by at any time.
        costs = []
        for _ in range(3):
            sent = make()
            seconds, response = cost(lambda sent=sent: door.send(sent))
            require_refusal(door, response, name)
            costs.append(seconds - baseline)
        spent[name] = min(costs)
        door.alice.forget_attempts()
    most = max(spent, key=lambda name: spent[name])
    print(
        f"{door.name}: {len(spent)} hostile credentials, median "
        f"{statistics.median(spent.values()) * 1e3:.1f} ms above a GET ({baseline * 1e3:.1f} ms), "
        f"most {spent[most] * 1e3:.1f} ms ({most})"
    )
    assert spent[most] < MOST_SECONDS, most
    # And whoever is honest goes on at the same page.
    require_taken(door.send(door.answer()))


def test_what_is_larger_than_a_form_is_not_read(door: Door) -> None:
    """MF-17: beyond 64 KiB of body nothing is decoded."""
    for size in (64 * 1024, 1_000_000):
        seconds, response = cost(lambda size=size: door.send("A" * size))
        assert response.status_code == 413
        require_refusal(door, response, str(size))
        assert seconds < 2 * MOST_SECONDS


@pytest.mark.attack("MF-16")
def test_a_ceremony_of_elsewhere_is_refused(
    door: Door, alice: Alice, app: Registered, idp: Idp
) -> None:
    """MF-16: of another purpose, browser or person, and with a credential of the other kind."""
    others = {name: door_of(name, alice, app) for name in DOORS if name != door.name}
    others["another browser"] = door_of(door.name, alice, app)
    door.again()
    alice.before = alice.state()
    for name, other in others.items():
        # Their ceremony, with a good answer to it, in our form; then their answer to ours.
        if {door.name, other.name} == {"login", "account"}:
            other = door_of(other.name, alice, app)
            alice.before = alice.state()
        ceremony, credential = other.fields["ceremony"], other.answer()
        response = door.send(credential, ceremony=ceremony)
        require_refused_or_begun_again(door, response, f"{name}: ceremony")
        response = door.send(other.answer())
        require_refusal(door, response, f"{name}: credential")


@pytest.mark.parametrize("how", ["expired", "cut short", "unicode", "altered", "huge", "none"])
def test_a_ceremony_that_is_not_ours_or_over_is_refused(door: Door, idp: Idp, how: str) -> None:
    """MF-16: nothing is read of what does not open."""
    sealed, credential = door.fields["ceremony"], door.answer()
    if how == "expired":
        idp.clock.advance(10 * MINUTE)
        if door.name in ("login", "enrol"):
            pytest.skip("the app's request, or the fresh proof, has run out as well")
    wrong = {
        "expired": sealed,
        "cut short": sealed[:-9],
        "unicode": "ſ" + sealed[1:],
        "altered": sealed[:40] + ("A" if sealed[40] != "A" else "B") + sealed[41:],
        "huge": sealed + "A" * 5_000,
        "none": "",
    }[how]
    seconds, response = cost(lambda: door.send(credential, ceremony=wrong))
    require_refused_or_begun_again(door, response, how)
    assert seconds < 2 * MOST_SECONDS


def require_refused_or_begun_again(door: Door, response: Response, what: str) -> None:
    """Without a ceremony nothing is known of who is at the second page: the password comes first."""
    if door.name == "second" and response.status_code == 303:
        assert response.headers["location"].startswith("/account/sign-in"), what
        assert "idp_session=" not in response.headers.get("set-cookie", ""), what
        assert door.alice.state() == door.alice.before, what
    else:
        require_refusal(door, response, what)


def test_a_nul_in_any_field_is_refused(door: Door) -> None:
    for name in ("credential", "ceremony", "method", "action", "name", "code"):
        require_refusal(door, door.send("{}", **{name: "a\x00b"}), name)


@pytest.mark.attack("MF-16")
def test_an_answer_that_was_taken_is_not_taken_again(door: Door, alice: Alice) -> None:
    """MF-16: neither by the same form, nor by the next one of the same browser."""
    credential, sent = door.answer(), door.fields
    browser, action = door.browser, door.action
    assert browser.post(action, data={**sent, "credential": credential}).status_code in (200, 303)
    alice.before = alice.state()
    if door.name in ("login", "account", "second"):
        browser.cookies.delete("idp_session")
    passkeys_before = alice.idp.count("passkeys")
    for _ in range(3):
        response = browser.post(action, data={**sent, "credential": credential})
        # Whoever stepped up has another form token now: that form is over too.
        assert 400 <= response.status_code < 500 or (
            door.name == "login" and "request_expired" in response.text
        )
        assert alice.state() == alice.before
    assert alice.idp.count("passkeys") == passkeys_before
    assert alice.idp.events("factor.suspended") == []


@pytest.mark.attack("BF-10")
@pytest.mark.parametrize("name", ["login", "account"])
def test_the_answer_to_a_hostile_passkey_is_the_same_for_everybody(
    idp: Idp, alice: Alice, app: Registered, name: str
) -> None:
    """BF-10: byte for byte, whether the user name, the credential or its owner is known."""
    locked, suspended = idp.person("locks"), idp.person("susps")
    keys = [with_passkey(idp, one) for one in (locked, suspended)]
    idp.execute("UPDATE users SET status = 'locked' WHERE id = :id", id=locked.id)
    idp.execute("UPDATE passkeys SET suspended_at = 1 WHERE user_id = :id", id=suspended.id)
    stranger = Authenticator()
    stranger.user_handle = alice.user.id.encode()
    seen: dict[bytes, list[str]] = {}
    for username in ("alice", "nobod", "locks"):
        for kind, device in (("enrolled", alice.device), ("unknown", stranger),
                             ("locked", keys[0]), ("suspended", keys[1])):  # fmt: skip
            door = door_of(name, alice, app)
            credential = device.get(door.options, signed_by=Authenticator())
            response = door.send(credential, username=username)
            assert response.status_code == 400
            seen.setdefault(stripped(response, username), []).append(f"{username}, {kind}")
    assert len(seen) == 1, [who[0] for who in seen.values()]


def stripped(response: Response, username: str) -> bytes:
    """The answer without what is new in every form, and the name that was typed."""
    text = re.sub(r'(name="(?:csrf|ceremony|request)" value=)"[^"]*"', r"\1", response.text)
    text = re.sub(r"(challenge&#34;: &#34;)[^&]*", r"\1", text)
    headers = sorted(
        (key, value) for key, value in response.headers.items() if key not in ("set-cookie",)
    )
    assert username in text
    return (text.replace(username, "NAME") + repr(headers)).encode()


# --- Codes ------------------------------------------------------------------------------------

CODES = {
    "too short": "12345", "too long": "1234567", "letters": "abcdef", "sign": "-12345",
    "other digits": "１２３４５６", "arabic digits": "٠١٢٣٤٥", "exponent": "1e5000", "blank": " ",
    "list": "[123456]", "quotes": "' OR 1=1 --", "long": "1" * 5_000, "longest": "9" * 60_000,
    "emoji": "💥" * 6, "separators": "\u2028\u2029" * 3, "surrogate": "%ED%A0%80",
    "dashes": "-" * 64, "spaces between": " ".join("000000"), "look-alikes": "oooo-llll-iiii-oooo",
}  # fmt: skip


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


# --- Whatever else ----------------------------------------------------------------------------


@settings(
    max_examples=200,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(change=Json.changes(), elsewhere=st.booleans())
@pytest.mark.parametrize("name", ["account", "enrol"])
def test_no_change_of_a_credential_is_more_than_refused(
    alice: Alice, app: Registered, idp: Idp, name: str, change: Json, elsewhere: bool
) -> None:
    """MF-08, MF-17: any member replaced, added or taken away, at any depth; and any text at all."""
    doors: dict[str, Door] = alice.__dict__.setdefault("doors", {})
    if name not in doors:
        doors[name] = door_of(name, alice, app)
        alice.before = alice.state()
    door = doors[name]
    # All is right but one thing that is looked at last, so that every other check is reached.
    good = (
        door.answer(challenge="A" * 43) if door.creates else door.answer(signed_by=Authenticator())
    )
    response = door.send(altered(json.loads(good), change))
    assert 400 <= response.status_code < 500
    assert Page(response).has("error")
    assert alice.state() == alice.before
    alice.forget_attempts()
