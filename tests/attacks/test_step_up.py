"""Step-up that cannot be talked around (MF-02, MF-04), and no way in for who may not sign in (BF-05).

What the pages show is in `tests/web`; here is what an attacker with a password, a cookie or an idea
sends instead.
"""

import ast
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

import idp as product
from idp import ids
from idp.clock import MINUTE, SECOND
from idp.sessions import ceremony as ceremonies
from idp.sessions import epoch, sign_in, step_up
from idp.sessions.ceremony import Ceremony
from idp.sessions.device import Visit
from idp.sessions.model import Session
from idp.sessions.prove import PASSWORD as BY_PASSWORD
from idp.sessions.sign_in import Entry, Rejected, SecondFactor, SignedIn
from idp.users import passkeys, queries, totp, trusted_devices
from idp.users.model import ACTIVE, User
from tests.flows.pages import Person
from tests.harness.authenticator import UP, Authenticator
from tests.harness.enrolled import Factors, with_passkey, with_totp
from tests.harness.provider import ADMIN, PASSWORD, Flow, Idp, Registered, Started

HERE = Visit(ip="192.0.2.1", agent="curl/8.17.0", device_hash="d" * 43)


@pytest.fixture
def app(idp: Idp) -> Registered:
    return idp.register()


@pytest.fixture
def alice(idp: Idp) -> Factors:
    """A person with a code generator."""
    return with_totp(idp, idp.person("alice"))


def error(idp: Idp, browser: TestClient, app: Registered, **parameters: str) -> str | None:
    """What an app that must not show a page is told; None for a code."""
    flow = Flow(app).parameters(prompt="none", acr_values="aal2", **parameters)
    return idp.authorize(browser, flow).get("error")


# --- MF-02: freshness is not strength, and nothing said is proved --------------------------------


@pytest.mark.attack("MF-02")
def test_signing_in_again_a_second_ago_is_no_second_factor(
    idp: Idp, app: Registered, alice: Factors
) -> None:
    started = idp.session(alice.user)
    idp.clock.advance(MINUTE)
    for _ in range(3):
        started = idp.prove(started, BY_PASSWORD)
    idp.clock.advance(SECOND)
    browser = idp.signed_in_browser(started)
    assert error(idp, browser, app) == "interaction_required"
    assert error(idp, browser, app, max_age="10") == "interaction_required"


@pytest.mark.attack("MF-02")
@pytest.mark.parametrize(
    "said",
    [
        {"acr": "aal3"},
        {"amr": "mfa otp"},
        {"auth_time": "99999999999"},
        {"aal": "3"},
        {"mfa": "true", "step_up": "done", "session": "deadbeef"},
        {"claims": '{"id_token": {"acr": {"value": "aal1"}, "amr": {"value": "mfa"}}}'},
        {"login_hint": "alice", "acr": "aal2"},
    ],
    ids=str,
)
def test_what_a_request_says_of_itself_is_nothing(
    idp: Idp, app: Registered, alice: Factors, said: dict[str, str]
) -> None:
    browser = idp.signed_in_browser(idp.session(alice.user))
    assert error(idp, browser, app, **said) == "interaction_required"


@pytest.mark.attack("MF-02")
def test_cookies_that_nobody_set_are_nothing(idp: Idp, app: Registered, alice: Factors) -> None:
    browser = idp.signed_in_browser(idp.session(alice.user))
    for name in ("session", "acr", "mfa", "idp_trust", "idp_device", "idp_acr", "idp_step_up"):
        browser.cookies.set(name, "deadbeef", domain="localhost.local")
    assert error(idp, browser, app) == "interaction_required"
    page = Person(idp)
    page.browser.cookies.set("idp_trust", "deadbeef", domain="localhost.local")
    assert page.open("/account/sessions").sign_in("alice").at == "/account/sign-in"


@pytest.mark.attack("MF-02")
@pytest.mark.parametrize(
    "form",
    [
        {"method": "password", "password": PASSWORD},
        {"method": "none"},
        {"method": ""},
        {"method": "totp", "code": ""},
        {"method": "totp", "code": "000000", "acr": "aal2", "verified": "true"},
        {"method": "recovery_code", "code": "0000-0000-0000-0000"},
        {"method": "passkey", "credential": "{}"},
        {"method": "passkey", "credential": ""},
        {"action": "done"},
        {"action": "use-nothing"},
        {"ceremony": ""},
    ],
    ids=str,
)
def test_no_answer_but_a_proof_leads_on(
    idp: Idp, app: Registered, alice: Factors, form: dict[str, str]
) -> None:
    person = Person(idp)
    person.browser = idp.signed_in_browser(idp.session(alice.user))
    person.open("/authorize", Flow(app).parameters(acr_values="aal2"))
    assert person.at == "/step-up"
    person.press("factor-submit", **form)
    assert person.sent_to is None
    assert level(idp) == "aal1"


@pytest.mark.attack("MF-02")
def test_a_trusted_device_excuses_from_being_asked_and_proves_nothing(
    idp: Idp, app: Registered, alice: Factors
) -> None:
    with idp.work.begin() as unit:
        user = unit.orm.get_one(User, alice.user.id)
        trusted_devices.trust(unit, user, device_hash="t" * 43, name="Laptop", actor=ADMIN)
    visit = Visit(ip="192.0.2.1", agent="x", trust_hash="t" * 43)
    outcome = sign_in.with_password(
        idp.work, idp.hasher, name="alice", password=PASSWORD, entry=Entry(visit, None)
    )
    assert isinstance(outcome, SignedIn)
    browser = holder(idp, outcome.secret)
    assert level(idp) == "aal1"
    assert error(idp, browser, app) == "interaction_required"


# --- MF-04: neither with a lesser factor nor with one that was made for the occasion --------------


@pytest.mark.attack("MF-04")
def test_the_code_that_enrolled_a_generator_proves_nothing_again(idp: Idp, app: Registered) -> None:
    bob = idp.person("bob")
    started = idp.session(bob)
    factors = with_totp(idp, bob)
    browser = idp.signed_in_browser(started)
    assert error(idp, browser, app) == "interaction_required"
    idp.clock.advance(-31 * SECOND)
    assert isinstance(step_up_by_code(idp, started, factors.code()), Rejected)
    assert level(idp) == "aal1"


@pytest.mark.attack("MF-04")
def test_a_passkey_that_did_not_verify_its_user_is_one_factor(idp: Idp, app: Registered) -> None:
    bob = idp.person("bob")
    device = with_passkey(idp, bob)
    started = idp.session(bob)
    idp.clock.advance(10 * MINUTE)
    browser = holder(idp, step_up_by_passkey(idp, started, device, flags=UP))
    # Beside a password it is the second factor, but not where the password is too old.
    assert error(idp, browser, app) is None
    assert error(idp, browser, app, max_age="300") == "interaction_required"


@pytest.mark.attack("MF-04")
def test_a_copied_passkey_gives_no_level(idp: Idp) -> None:
    bob = idp.person("bob")
    device = with_passkey(idp, bob)
    started = idp.session(bob)
    device.sign_count = 50
    assert not isinstance(step_up_by_passkey(idp, started, device), Rejected)
    assert level(idp) == "aal3"
    device.sign_count = 10
    assert isinstance(step_up_by_passkey(idp, started, device), Rejected)
    # What the copy may have proved before counts no longer either.
    assert level(idp) == "aal1"


@pytest.mark.attack("MF-04")
def test_a_removed_generator_takes_its_level_along(
    idp: Idp, app: Registered, alice: Factors
) -> None:
    started = idp.session(alice.user)
    browser = holder(idp, step_up_by_code(idp, started, alice.code()))
    assert error(idp, browser, app) is None
    with idp.work.begin() as unit:
        for generator in totp.of(unit, alice.user.id):
            totp.remove(unit, generator, ADMIN)
    assert error(idp, browser, app) == "interaction_required"


# --- BF-05: every way to prove oneself asks whether one may -------------------------------------


@dataclass
class World:
    """Somebody with every factor, a session of theirs, and a sign-in that is half done."""

    idp: Idp
    factors: Factors
    device: Authenticator
    started: Started
    half: Ceremony

    @property
    def user_id(self) -> str:
        return self.factors.user.id


@pytest.fixture
def world(idp: Idp, alice: Factors) -> World:
    started = idp.session(alice.user)
    device = with_passkey(idp, alice.user)
    outcome = sign_in.with_password(
        idp.work, idp.hasher, name="alice", password=PASSWORD, entry=Entry(HERE, None)
    )
    assert isinstance(outcome, SecondFactor)
    return World(idp, alice, device, started, outcome.ceremony)


def in_by_password(world: World) -> Any:
    return sign_in.with_password(
        world.idp.work, world.idp.hasher, name="alice", password=PASSWORD, entry=Entry(HERE, None)
    )


def in_by_code(world: World) -> Any:
    return sign_in.with_code(
        world.idp.work,
        ceremony=world.half,
        method="totp",
        code=world.factors.code(),
        entry=Entry(HERE, None),
        trust="device",
    )


def in_by_recovery_code(world: World) -> Any:
    return sign_in.with_code(
        world.idp.work,
        ceremony=world.half,
        method="recovery_code",
        code=world.factors.codes[0],
        entry=Entry(HERE, None),
        trust=None,
    )


def in_by_passkey(world: World) -> Any:
    now = world.idp.clock.now()
    begun = ceremonies.begin(now, purpose="sign_in", browser_hash=HERE.device_hash or "")
    return sign_in.with_passkey(
        world.idp.work,
        ceremony=begun,
        credential=assertion(world.idp, begun, world.device),
        entry=Entry(HERE, None),
        trust=None,
    )


def in_by_passkey_after_the_password(world: World) -> Any:
    return sign_in.with_passkey(
        world.idp.work,
        ceremony=world.half,
        credential=assertion(world.idp, world.half, world.device, flags=UP),
        entry=Entry(HERE, None),
        trust=None,
    )


def in_by_choice(world: World) -> Any:
    """After every proof, at a limit of sessions."""
    with world.idp.work.read() as unit:
        number = epoch.present(unit).number
    proved = replace(world.half, purpose="choose", key=ids.new_secret(), epoch=number)
    return sign_in.with_choice(
        world.idp.work, ceremony=proved, giving_way=[], entry=Entry(HERE, None), trust="device"
    )


def up_by_password(world: World) -> Any:
    return step_up.with_password(
        world.idp.work,
        world.idp.hasher,
        session=session_of(world.idp, world.started),
        name="alice",
        password=PASSWORD,
        visit=HERE,
        note=lambda unit, session: None,
    )


def up_by_code(world: World) -> Any:
    return step_up_by_code(world.idp, world.started, world.factors.code())


def up_by_passkey(world: World) -> Any:
    return step_up_by_passkey(world.idp, world.started, world.device)


# Each way to prove oneself, by the function that takes the proof. One that is added without a row
# here fails the build.
PATHWAYS: dict[str, list[Callable[[World], Any]]] = {
    "sign_in.with_password": [in_by_password],
    "sign_in.with_code": [in_by_code, in_by_recovery_code],
    "sign_in.with_passkey": [in_by_passkey, in_by_passkey_after_the_password],
    "sign_in.with_choice": [in_by_choice],
    "step_up.with_password": [up_by_password],
    "step_up.with_code": [up_by_code],
    "step_up.with_passkey": [up_by_passkey],
    # No proof at all: `test_remember`.
    "sign_in.with_cookie": [],
}
# Whoever begins a session or raises one, and why that is for nobody who may not sign in.
BEGINNERS = {
    "sessions/sign_in.py": "the pathways above",
    "sessions/step_up.py": "the pathways above",
    "sessions/remember.py": "for whom a cookie was made, who is looked at again: `test_remember`",
    "oauth/devices.py": "for who approved, who is looked at again: `test_device_grant`",
    "web/setup.py": "there is no user yet",
    "web/password.py": "for visitors, who are active: see the test below",
    "sessions/handoff.py": "for who approved, who is looked at again: `test_let_in`",
}


@pytest.mark.attack("BF-05")
def test_every_pathway_has_its_row() -> None:
    ways = {
        f"{module.__name__.rpartition('.')[2]}.{name}"
        for module in (sign_in, step_up)
        for name, _ in inspect.getmembers(module, inspect.isfunction)
        if name.startswith("with_")
    }
    assert ways == set(PATHWAYS)


@pytest.mark.attack("BF-05")
def test_nobody_else_begins_or_raises_a_session() -> None:
    folder = Path(product.__file__ or "").parent
    found = {
        str(file.relative_to(folder))
        for file in folder.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in ("start", "reauthenticate")
        and isinstance(node.value, ast.Name)
        and node.value.id in ("beginning", "lifecycle")
    }
    assert found == set(BEGINNERS)


@pytest.mark.attack("BF-05")
@pytest.mark.parametrize("status", queries.STATUSES)
@pytest.mark.parametrize(
    "pathway", [way for ways in PATHWAYS.values() for way in ways], ids=lambda way: way.__name__
)
def test_no_proof_helps_somebody_who_may_not_sign_in(
    world: World, pathway: Callable[[World], Any], status: str
) -> None:
    before = world.idp.count("sessions")
    with world.idp.work.begin() as unit:
        user = unit.orm.get_one(User, world.user_id)
        if status != user.status:
            queries.set_status(unit, user, status, ADMIN)
    outcome = pathway(world)
    if status == ACTIVE:
        assert isinstance(outcome, SignedIn | SecondFactor | str)
        return
    assert isinstance(outcome, Rejected)
    assert world.idp.count("sessions") == before
    assert world.idp.count("trusted_devices") == 0
    assert level(world.idp) == "aal1"
    assert world.idp.events("login.failed")[-1]["reason"] == status


@pytest.mark.attack("BF-05")
@pytest.mark.parametrize("status", [one for one in queries.STATUSES if one != ACTIVE])
def test_a_session_of_somebody_who_may_not_sign_in_opens_no_page(
    idp: Idp, alice: Factors, status: str
) -> None:
    browser = idp.signed_in_browser(idp.session(alice.user))
    assert browser.get("/account/security").status_code == 200
    with idp.work.begin() as unit:
        queries.set_status(unit, unit.orm.get_one(User, alice.user.id), status, ADMIN)
    for path in ("/account/sessions", "/account/security", "/account/security/password"):
        location = browser.get(path).headers["location"]
        assert location.startswith("/account/sign-in"), path


# --- BF-14: what is asked before a sign-in shows nothing of who exists -----------------------------


@pytest.mark.attack("BF-14")
def test_parameters_before_a_sign_in_show_nothing_of_who_exists(idp: Idp) -> None:
    app = idp.register(scope="openid profile payments")
    started = idp.session(idp.person("alice"))
    known = idp.grant(app, started)["id_token"]
    gone = idp.session(idp.person("gone"))
    unknown = idp.grant(app, gone)["id_token"]
    with idp.work.begin() as unit:
        queries.delete_user(unit, unit.orm.get_one(User, gone.session.user_id), ADMIN)
    subject = '{{"id_token": {{"sub": {{"value": "{}"}}}}}}'
    pairs: list[tuple[dict[str, str], dict[str, str]]] = [
        ({"id_token_hint": known}, {"id_token_hint": unknown}),
        ({"login_hint": "alice"}, {"login_hint": "nobody"}),
        (
            {"claims": subject.format(started.session.user_id)},
            {"claims": subject.format("usr_" + "0" * 32)},
        ),
        (
            {"login_hint": "alice", "acr_values": "aal2", "scope": "openid payments"},
            {"login_hint": "nobody", "acr_values": "aal2", "scope": "openid payments"},
        ),
    ]
    for existing, missing in pairs:
        assert begun(idp, app, existing) == begun(idp, app, missing), existing
        for hint in (existing, missing):
            answer = idp.authorize(idp.browser(), Flow(app).parameters(**hint, prompt="none"))
            assert answer["error"] == "login_required"


def begun(idp: Idp, app: Registered, parameters: dict[str, str]) -> tuple[int, str, int]:
    """Status and page of a request by somebody who is not signed in, and how many writes it cost."""
    writes = idp.count("pending_requests")
    response = idp.browser().get("/authorize", params=Flow(app).parameters(**parameters))
    path = response.headers["location"].partition("?")[0]
    return response.status_code, path, idp.count("pending_requests") - writes


# --- what these tests share -------------------------------------------------------------------


def session_of(idp: Idp, started: Started) -> Session:
    with idp.work.read() as unit:
        return unit.orm.get_one(Session, started.session.id)


def level(idp: Idp) -> str:
    """The level of the one session there is."""
    with idp.work.read() as unit:
        (row,) = unit.connection.exec_driver_sql("SELECT acr FROM sessions").all()
    return str(row[0])


def holder(idp: Idp, proved: str | Rejected) -> TestClient:
    """A browser that holds the session's new secret, which a proof led to."""
    assert isinstance(proved, str)
    browser = idp.browser()
    browser.cookies.set("idp_session", proved, domain="localhost.local")
    return browser


def stepping(idp: Idp, started: Started) -> Ceremony:
    return ceremonies.begin(
        idp.clock.now(),
        purpose="step_up",
        browser_hash=HERE.device_hash or "",
        user_id=started.session.user_id,
        session_id=started.session.id,
    )


def step_up_by_code(idp: Idp, started: Started, code: str) -> str | Rejected:
    return step_up.with_code(
        idp.work,
        session=session_of(idp, started),
        ceremony=stepping(idp, started),
        method="totp",
        code=code,
        visit=HERE,
        note=lambda unit, session: None,
    )


def step_up_by_passkey(
    idp: Idp, started: Started, device: Authenticator, **changes: Any
) -> str | Rejected:
    ceremony = stepping(idp, started)
    return step_up.with_passkey(
        idp.work,
        session=session_of(idp, started),
        ceremony=ceremony,
        credential=assertion(idp, ceremony, device, **changes),
        visit=HERE,
        note=lambda unit, session: None,
    )


def assertion(idp: Idp, ceremony: Ceremony, device: Authenticator, **changes: Any) -> str:
    with idp.work.read() as unit:
        options = passkeys.request_options(
            unit,
            challenge=ceremonies.challenge(ceremony, idp.work.vault),
            user_id=ceremony.user_id,
        )
    return device.get(options, **changes)
