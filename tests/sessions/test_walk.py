"""A random walk over sign-in and step-up: no path leads to a level without its proofs.

People, browsers, thieves: every step tries something, right or wrong, with whatever ceremony or
cookie lies about, also those of other browsers, of other people, and old ones. What the walk itself
handed in is the truth; after every step each session's level is compared with what that truth earns,
worked out here by other means.
"""

import os
import random
from collections import defaultdict
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import pyotp
import pytest

from idp import ids
from idp.clock import MINUTE, SECOND, Instant
from idp.events.actor import SYSTEM
from idp.policy import assurance
from idp.sessions import ceremony as ceremonies
from idp.sessions import lifecycle, sign_in, step_up
from idp.sessions.device import Visit
from idp.sessions.model import Session
from idp.sessions.sign_in import Entry, SecondFactor, SignedIn
from idp.storage.unit_of_work import Work
from idp.users import passkeys, recovery_codes, totp
from idp.users import queries as users
from idp.users.credentials import Passkey, Totp
from idp.users.model import User
from idp.users.throttle import forgive
from tests.harness.authenticator import UP, Authenticator
from tests.harness.provider import Idp, Templates, settings_for
from tests.harness.workbench import ManualClock

# By hand: WALK_STEPS=100000. In the run, what takes a few seconds.
STEPS = int(os.environ.get("WALK_STEPS", "2500"))


class Plain:
    """Passwords as they are: what argon2 does is not walked over here."""

    def place(self, of: str) -> AbstractContextManager[None]:
        return nullcontext()

    def verify(self, stored: str | None, password: str) -> bool:
        return stored == f"plain:{password}"

    def needs_rehash(self, stored: str) -> bool:
        return False


@dataclass
class Given:
    """A proof that the walk handed in rightly."""

    kind: str
    # Of a password, what it was.
    credential: str | None
    at: Instant
    verified: bool = False
    bound: bool = False
    # It counts only together with another: shown where nothing was proved, with a second factor.
    lone: bool = False


@dataclass
class Person:
    name: str
    id: str
    password: str
    totps: dict[str, str] = field(default_factory=dict)
    passkeys: dict[str, Authenticator] = field(default_factory=dict)
    codes: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    is_active: bool = True
    # Since when nothing that was kept in a browser before counts any more.
    forgotten_at: Instant = 0

    @property
    def has_second(self) -> bool:
        return bool(self.totps or self.passkeys)


@dataclass
class Tab:
    """A browser: its number, its session, what it proved on the way, and whom it was trusted by."""

    device: str = field(default_factory=ids.new_secret)
    session: str | None = None
    trust: str | None = None
    trusted_by: str | None = None
    # The cookies by which it stayed signed in, the newest last: whose, since when, and whether it may
    # still be any good.
    kept: list[str] = field(default_factory=list)
    kept_for: str | None = None
    kept_at: Instant = 0
    is_kept: bool = False
    # What it was earned by.
    kept_by: list[Given] = field(default_factory=list)

    def visit(self) -> Visit:
        trust = ids.digest(self.trust) if self.trust else None
        return Visit(ip="192.0.2.1", device_hash=ids.digest(self.device), trust_hash=trust)


class Walk:
    def __init__(self, work: Work, clock: ManualClock, seed: int) -> None:
        self.work, self.clock, self.random = work, clock, random.Random(seed)
        self.people = [self.person(f"person{n}") for n in range(4)]
        self.tabs = [Tab() for _ in range(5)]
        # Sealed ceremonies that were ever shown, with what was rightly proved in each.
        self.shown: list[tuple[str, list[Given], Person | None]] = []
        self.truth: defaultdict[str, list[Given]] = defaultdict(list)
        self.owner: dict[str, str] = {}
        self.taken: defaultdict[str, int] = defaultdict(int)
        # The browser each ceremony was shown in, and those a session came of.
        self.shown_in: dict[str, str] = {}
        self.spent: set[str] = set()

    def person(self, name: str) -> Person:
        with self.work.begin() as unit:
            user = users.create_user(unit, username=name, password_hash="plain:first")
            return Person(name, user.id, "first")

    def run(self, steps: int) -> None:
        moves = [
            (self.by_password, 10), (self.by_code, 14), (self.by_passkey, 10),
            (self.step_up, 16), (self.enrol_totp, 2), (self.enrol_passkey, 2), (self.remove, 2),
            (self.make_codes, 1), (self.new_password, 4), (self.toggle, 1), (self.wait, 8),
            (self.sign_out, 2), (self.close, 4), (self.come_back, 6), (self.steal, 1),
        ]  # fmt: skip
        kinds, weights = [m for m, _ in moves], [w for _, w in moves]
        for _ in range(steps):
            (move,) = self.random.choices(kinds, weights)
            move(self.random.choice(self.tabs), self.random.choice(self.people))
            self.check()

    # --- moves --------------------------------------------------------------------------------

    def by_password(self, tab: Tab, person: Person) -> None:
        is_right = self.random.random() < 0.7
        password = person.password if is_right else "wrong"
        outcome = sign_in.with_password(
            self.work, Plain(), name=person.name, password=password, entry=self.entry(tab)
        )
        proof = Given("password", person.password, self.clock.now())
        if isinstance(outcome, SecondFactor):
            assert is_right
            assert person.is_active
            assert person.has_second
            sealed = ceremonies.seal(outcome.ceremony, self.work.vault)
            self.shown.append((sealed, [proof], person))
            self.shown_in[outcome.ceremony.key] = tab.device
        elif isinstance(outcome, SignedIn):
            assert is_right
            assert person.is_active
            assert not person.has_second or tab.trusted_by == person.id
            self.entered(tab, person, outcome, [proof])

    def by_code(self, tab: Tab, _: Person) -> None:
        found = self.opened(tab, "sign_in")
        if found is None or found[0].user_id is None:
            return
        ceremony, given, person = found
        assert person is not None
        method, code, proof = self.code(person)
        outcome = sign_in.with_code(
            self.work, ceremony=ceremony, method=method, code=code, entry=self.entry(tab),
            trust=self.random.choice(["device", None]),
        )  # fmt: skip
        if isinstance(outcome, SignedIn):
            assert proof is not None
            assert person.is_active
            self.completed(tab, ceremony)
            self.entered(tab, person, outcome, [*given, proof])
        if proof is not None and proof.kind == "recovery_code" and isinstance(outcome, SignedIn):
            person.codes.remove(code)

    def by_passkey(self, tab: Tab, person: Person) -> None:
        found = self.opened(tab, "sign_in")
        if found is None:
            begun = ceremonies.begin(
                self.clock.now(), purpose="sign_in", browser_hash=ids.digest(tab.device)
            )
            found = (begun, [], None)
            self.shown_in[begun.key] = tab.device
            self.shown.append((ceremonies.seal(begun, self.work.vault), [], None))
        ceremony, given, whose = found
        if not person.passkeys:
            return
        credential, proof, holder = self.assertion(ceremony, person)
        outcome = sign_in.with_passkey(
            self.work, ceremony=ceremony, credential=credential, entry=self.entry(tab), trust=None
        )
        if isinstance(outcome, SignedIn):
            assert holder is not None
            assert proof is not None
            assert holder.is_active
            assert whose is None or whose is holder
            self.completed(tab, ceremony)
            self.entered(tab, holder, outcome, [*given, proof])

    def step_up(self, tab: Tab, other: Person) -> None:
        session = self.present(tab)
        if session is None:
            return
        person = next(one for one in self.people if one.id == session.user_id)
        # Whoever tries may be somebody else with proofs of their own.
        trying = self.random.choice([person, person, other])
        ceremony = ceremonies.begin(
            self.clock.now(), purpose="step_up", browser_hash=ids.digest(tab.device),
            user_id=person.id, session_id=session.id,
        )  # fmt: skip
        if self.random.random() < 0.2:
            old = self.opened(tab, "step_up")
            if old is not None and old[0].session_id == session.id:
                ceremony = old[0]
        self.shown.append((ceremonies.seal(ceremony, self.work.vault), [], person))
        kind = self.random.choice(["password", "code", "passkey"])
        proof: Given | None
        common: dict[str, Any] = {
            "session": session, "visit": tab.visit(), "note": lambda unit, session: None,
        }  # fmt: skip
        if kind == "password":
            is_right = self.random.random() < 0.7
            proof = Given("password", None, self.clock.now()) if is_right else None
            outcome = step_up.with_password(
                self.work, Plain(), name=trying.name,
                password=trying.password if is_right else "wrong", **common,
            )  # fmt: skip
        elif kind == "code":
            method, code, proof = self.code(trying)
            outcome = step_up.with_code(
                self.work, ceremony=ceremony, method=method, code=code, **common
            )
            if isinstance(outcome, str) and method == "recovery_code":
                trying.codes.remove(code)
        elif trying.passkeys:
            credential, proof, _ = self.assertion(ceremony, trying)
            outcome = step_up.with_passkey(
                self.work, ceremony=ceremony, credential=credential, **common
            )
        else:
            return
        if isinstance(outcome, str):
            assert proof is not None
            assert trying is person
            assert person.is_active
            is_bare = earned(self.truth[session.id]) == "0"
            proof.lone = is_bare and person.has_second and not proof.verified
            self.note(proof)
            self.truth[session.id].append(proof)
            tab.session = outcome

    def enrol_totp(self, _: Tab, person: Person) -> None:
        if len(person.totps) >= 2:
            return
        with self.work.begin() as unit:
            user = unit.orm.get_one(User, person.id)
            proposal = totp.propose(self.work.settings, user)
            code = pyotp.TOTP(proposal.secret).at(self.clock.now() // SECOND)
            made = totp.enrol(
                unit, user, secret=proposal.secret, code=code, name="App", actor=SYSTEM
            )
            person.totps[made.id] = proposal.secret
            person.used.add(code + made.id)

    def enrol_passkey(self, _: Tab, person: Person) -> None:
        if len(person.passkeys) >= 2:
            return
        device = Authenticator(backup=self.random.choice(["none", "eligible"]))
        with self.work.begin() as unit:
            user = unit.orm.get_one(User, person.id)
            challenge = os.urandom(32)
            options = passkeys.registration_options(unit, user, challenge=challenge)
            made = passkeys.register(
                unit, user, credential=device.create(options), challenge=challenge, name="Key",
                actor=SYSTEM,
            )  # fmt: skip
            person.passkeys[made.id] = device

    def remove(self, _: Tab, person: Person) -> None:
        mine = [*person.totps, *person.passkeys]
        if not mine:
            return
        gone = self.random.choice(mine)
        with self.work.begin() as unit:
            if gone in person.totps:
                totp.remove(unit, unit.orm.get_one(Totp, gone), SYSTEM)
            else:
                passkeys.remove(unit, unit.orm.get_one(Passkey, gone), SYSTEM)
        person.totps.pop(gone, None)
        person.passkeys.pop(gone, None)
        if not person.has_second:
            person.codes.clear()
            for tab in self.tabs:
                tab.trusted_by = None if tab.trusted_by == person.id else tab.trusted_by
        for given in self.truth.values():
            for one in given:
                if one.credential == gone:
                    one.kind, one.verified, one.bound = "revoked", False, False

    def make_codes(self, _: Tab, person: Person) -> None:
        if person.has_second:
            with self.work.begin() as unit:
                person.codes = recovery_codes.make(unit, unit.orm.get_one(User, person.id), SYSTEM)

    def close(self, tab: Tab, _: Person) -> None:
        """The browser is closed; its session runs on for a while."""
        tab.session = None

    def come_back(self, tab: Tab, _: Person) -> None:
        if not tab.kept or self.present(tab) is not None:
            return
        is_newest = self.random.random() < 0.8
        cookie = tab.kept[-1] if is_newest else self.random.choice(tab.kept)
        outcome = sign_in.with_cookie(self.work, cookie=cookie, visit=tab.visit())
        if outcome is None:
            # Worth nothing any more, or one that was spent: then neither is the newest.
            tab.is_kept = False
            return
        assert isinstance(outcome, SignedIn)
        person = next(one for one in self.people if one.id == tab.kept_for)
        assert outcome.user_id == person.id
        assert person.is_active
        assert tab.is_kept
        assert tab.kept_at > person.forgotten_at
        assert all(one.kind != "revoked" for one in tab.kept_by)
        assert outcome.keepsake is not None
        if outcome.session_id not in self.owner:
            self.owner[outcome.session_id] = person.id
            self.truth[outcome.session_id] = [Given("remembered", None, tab.kept_at)]
            self.taken["remembered"] += 1
        assert self.owner[outcome.session_id] == person.id
        tab.kept.append(outcome.keepsake.cookie)
        # Most often its answer arrives.
        if self.random.random() < 0.8:
            tab.session = outcome.secret
            self.present(tab)

    def steal(self, tab: Tab, _: Person) -> None:
        """A cookie is good in the browser it was made for, and ends when it is shown elsewhere."""
        other = self.random.choice([one for one in self.tabs if one is not tab])
        if not other.kept:
            return
        cookie = self.random.choice(other.kept)
        assert sign_in.with_cookie(self.work, cookie=cookie, visit=tab.visit()) is None
        other.is_kept = False

    def new_password(self, _: Tab, person: Person) -> None:
        person.password = ids.new_secret()
        person.forgotten_at = self.clock.now()
        self.clock.advance(1)
        with self.work.begin() as unit:
            user = unit.orm.get_one(User, person.id)
            users.set_password(unit, user, f"plain:{person.password}", SYSTEM)

    def toggle(self, _: Tab, person: Person) -> None:
        person.is_active = not person.is_active
        person.forgotten_at = self.clock.now()
        self.clock.advance(1)
        with self.work.begin() as unit:
            user = unit.orm.get_one(User, person.id)
            users.set_status(unit, user, "active" if person.is_active else "locked", SYSTEM)

    def wait(self, _: Tab, person: Person) -> None:
        self.clock.advance(self.random.choice([SECOND, 31 * SECOND, 3 * MINUTE, 12 * MINUTE]))
        with self.work.begin() as unit:
            forgive(unit, user_id=person.id)

    def sign_out(self, tab: Tab, _: Person) -> None:
        session = self.present(tab)
        if session is not None:
            with self.work.begin() as unit:
                lifecycle.end(unit, [session.id], reason="signed_out", actor=SYSTEM)
            if session.user_id == tab.kept_for:
                tab.is_kept = False

    # --- what the walk knows ------------------------------------------------------------------

    def entry(self, tab: Tab) -> Entry:
        wish = self.random.choice(["stay", "leave", "leave"])
        kept = tab.kept[-1] if tab.kept else None
        return Entry(tab.visit(), tab.session, remembered=kept, wish=wish)

    def present(self, tab: Tab) -> Session | None:
        with self.work.begin() as unit:
            return lifecycle.resume(unit, tab.session)

    def opened(self, tab: Tab, purpose: str) -> Any:
        """Any ceremony that was ever shown, as a form of this tab would be read."""
        if not self.shown:
            return None
        sealed, given, person = self.random.choice(self.shown[-12:])
        found = ceremonies.opened(
            sealed, self.work.vault, purpose=purpose, browser_hash=ids.digest(tab.device),
            now=self.clock.now(),
        )  # fmt: skip
        return None if found is None else (found, given, person)

    def code(self, person: Person) -> tuple[Any, str, Given | None]:
        now = self.clock.now()
        if person.codes and self.random.random() < 0.3:
            code = self.random.choice(person.codes)
            return "recovery_code", code, Given("recovery_code", None, now)
        if person.totps and self.random.random() < 0.8:
            generator, secret = self.random.choice(list(person.totps.items()))
            code = pyotp.TOTP(secret).at(now // SECOND)
            if code + generator in person.used:
                return "totp", code, None
            return "totp", code, Given("totp", generator, now)
        return "totp", "000000", None

    def assertion(
        self, ceremony: ceremonies.Ceremony, person: Person
    ) -> tuple[str, Given | None, Person | None]:
        passkey_id, device = self.random.choice(list(person.passkeys.items()))
        with self.work.read() as unit:
            options = passkeys.request_options(
                unit,
                challenge=ceremonies.challenge(ceremony, self.work.vault),
                user_id=ceremony.user_id,
            )
        kind = self.random.choice(["right", "right", "right", "no_uv", "other_challenge"])
        if kind == "other_challenge":
            return device.get(options, challenge=ids.new_secret()), None, None
        verified = kind == "right"
        changes = {} if verified else {"flags": UP | device.backup_flags}
        proof = Given(
            "passkey", passkey_id, self.clock.now(), verified, verified and not device.backup_flags
        )
        return device.get(options, **changes), proof, person

    def completed(self, tab: Tab, ceremony: ceremonies.Ceremony) -> None:
        """A ceremony led somewhere: once, and in its own browser."""
        assert self.shown_in[ceremony.key] == tab.device
        assert ceremony.key not in self.spent
        self.spent.add(ceremony.key)

    def entered(self, tab: Tab, person: Person, outcome: SignedIn, given: list[Given]) -> None:
        """Somebody is in: by the rules, and under their own name."""
        assert outcome.user_id == person.id
        now = self.clock.now()
        assert all(one.credential == person.password for one in given if one.kind == "password")
        fresh = [Given(one.kind, one.credential, now, one.verified, one.bound) for one in given]
        if person.has_second and tab.trusted_by != person.id:
            assert earned(fresh) != "aal1", given
        for one in given:
            self.note(one)
        if outcome.is_new_session:
            assert outcome.session_id not in self.owner
            self.owner[outcome.session_id] = person.id
        assert self.owner[outcome.session_id] == person.id
        self.truth[outcome.session_id] += fresh
        tab.session = outcome.secret
        if outcome.trust is not None:
            tab.trust, tab.trusted_by = outcome.trust, person.id
        if outcome.keepsake is not None:
            tab.kept, tab.kept_by, tab.is_kept = [outcome.keepsake.cookie], fresh, True
            tab.kept_for, tab.kept_at = person.id, now

    def note(self, given: Given) -> None:
        self.taken[given.kind] += 1
        for person in self.people:
            if given.kind == "totp" and given.credential in person.totps:
                code = pyotp.TOTP(person.totps[given.credential]).at(given.at // SECOND)
                person.used.add(code + given.credential)

    def check(self) -> None:
        with self.work.read() as unit:
            for session in unit.orm.query(Session).filter(Session.ended_at.is_(None)):
                given = self.truth[session.id]
                assert self.owner[session.id] == session.user_id
                assert session.acr == earned(given), (session.authentications, given)
                proofs = assurance.proofs(session.authentications)
                assert len(proofs) == min(len(given), lifecycle.PROOFS_KEPT)


def earned(given: list[Given]) -> str:
    """The level of proofs, worked out by hand; what a session keeps is the last of them."""
    kept = [one for one in given[-lifecycle.PROOFS_KEPT :] if one.kind != "revoked"]
    kinds = {one.kind for one in kept}
    if any(one.bound for one in kept):
        return "aal3"
    both = "password" in kinds and kinds & {"totp", "recovery_code", "passkey"}
    if both or any(one.verified for one in kept):
        return "aal2"
    return "aal1" if any(one.kind != "remembered" and not one.lone for one in kept) else "0"


@pytest.mark.timeout(300 + STEPS // 20)
@pytest.mark.parametrize("seed", [1, 2])
def test_no_path_leads_to_a_level_without_its_proofs(
    templates: Templates, tmp_path: Any, clock: ManualClock, seed: int
) -> None:
    url = templates.sqlite(tmp_path / "walk.db")
    idp = Idp(settings_for(url, throttle={"per_address": 100_000, "per_account_codes": 20}), clock)
    walk = Walk(idp.work, clock, seed)
    try:
        walk.run(STEPS)
    finally:
        idp.close()
    assert {"password", "totp", "passkey", "recovery_code", "remembered"} <= set(walk.taken)
