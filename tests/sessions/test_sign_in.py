import threading
from collections.abc import Callable

import pytest
from sqlalchemy import select

from idp.clock import MINUTE, SECOND
from idp.errors import Unavailable
from idp.events.actor import Actor
from idp.events.model import EventRow
from idp.sections import PasswordSettings
from idp.sessions import lifecycle, prove, sign_in
from idp.sessions.device import Visit
from idp.sessions.model import Session
from idp.sessions.sign_in import Entry, Rejected, SecondFactor, SignedIn
from idp.storage.unit_of_work import Work
from idp.users import queries as users
from idp.users import rules
from idp.users.model import Throttle, User
from idp.users.passwords import PasswordHasher
from tests.harness.workbench import ManualClock

# For what rests on locks, upserts or the order of transactions.
on_either_database = pytest.mark.parametrize(
    "work", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)
PASSWORD = "correct horse battery"
ADMIN = Actor("admin", "cli")
AT_HOME = Visit(ip="192.0.2.1", agent="curl/8.17.0", device_hash="d" * 64)
ELSEWHERE = Visit(ip="198.51.100.7")


def create(
    work: Work, hasher: PasswordHasher, username: str, password: str | None = PASSWORD
) -> str:
    hashed = hasher.hash(password) if password is not None else None
    with work.begin() as unit:
        user = users.create_user(
            unit, username=username, email=f"{username}@example.com", password_hash=hashed
        )
        return user.id


def set_status(work: Work, user_id: str, status: str) -> None:
    with work.begin() as unit:
        user = users.by_id(unit, user_id)
        assert user is not None
        users.set_status(unit, user, status, ADMIN)


@pytest.fixture
def anna(work: Work, hasher: PasswordHasher) -> str:
    return create(work, hasher, "anna")


@pytest.fixture
def attempt(work: Work, hasher: PasswordHasher) -> Callable[..., SignedIn | Rejected]:
    def attempt(
        name: str,
        password: str = PASSWORD,
        *,
        visit: Visit = AT_HOME,
        current: str | None = None,
    ) -> SignedIn | Rejected:
        outcome = sign_in.with_password(
            work, hasher, name=name, password=password, entry=Entry(visit, current)
        )
        assert not isinstance(outcome, SecondFactor)
        return outcome

    return attempt


Attempt = Callable[..., SignedIn | Rejected]


def signed_in(outcome: SignedIn | Rejected) -> SignedIn:
    assert isinstance(outcome, SignedIn), outcome
    return outcome


def events(work: Work, of_type: str) -> list[EventRow]:
    with work.read() as unit:
        return list(
            unit.orm.scalars(select(EventRow).where(EventRow.type == of_type).order_by(EventRow.id))
        )


def running(work: Work, user_id: str) -> list[Session]:
    with work.read() as unit:
        return list(
            unit.orm.scalars(
                select(Session).where(Session.user_id == user_id, Session.ended_at.is_(None))
            )
        )


@pytest.mark.parametrize("name", ["anna", "ANNA", " anna ", "anna@example.com", "Anna@EXAMPLE.com"])
def test_the_right_password_starts_a_session(
    work: Work, anna: str, attempt: Attempt, name: str
) -> None:
    outcome = signed_in(attempt(name))
    assert (outcome.user_id, outcome.is_new_session) == (anna, True)
    with work.begin() as unit:
        session = lifecycle.resume(unit, outcome.secret)
        assert session is not None
        assert (session.id, session.user_id, session.acr) == (outcome.session_id, anna, "aal1")
        assert session.authentications[-1]["amr"] == ["pwd"]


@on_either_database
def test_the_same_person_in_the_same_browser_goes_on_in_their_session(
    work: Work, anna: str, attempt: Attempt, clock: ManualClock
) -> None:
    first = signed_in(attempt("anna"))
    clock.advance(60 * SECOND)
    again = signed_in(attempt("anna", current=first.secret))
    assert (again.session_id, again.is_new_session) == (first.session_id, False)
    assert again.secret != first.secret
    with work.begin() as unit:
        # Fixation: the secret from before the sign-in is dead at once.
        assert lifecycle.resume(unit, first.secret) is None
        session = lifecycle.resume(unit, again.secret)
        assert session is not None
        assert session.auth_time == clock.now()
    assert len(events(work, "session.reauthenticated")) == 1


@on_either_database
def test_signing_in_in_the_last_minutes_of_a_session_begins_a_new_one(
    work: Work, anna: str, attempt: Attempt, clock: ManualClock
) -> None:
    """Whoever proves themselves again would else be signed out all the same, minutes later."""
    with work.begin() as unit:
        rules.set_rule(unit, "limits", {}, {"maximum": 1}, ADMIN)
        rules.set_rule(unit, "timeouts", {}, {"idle": 3_600, "absolute": 3_600}, ADMIN)
    first = signed_in(attempt("anna"))
    clock.advance(49 * MINUTE)
    again = signed_in(attempt("anna", current=first.secret))
    assert again.session_id == first.session_id
    clock.advance(MINUTE)
    second = signed_in(attempt("anna", current=again.secret))
    assert second.is_new_session
    (only,) = running(work, anna)
    assert (only.id, only.expires_at) == (second.session_id, clock.now() + 60 * MINUTE)
    (ended,) = events(work, "session.ended")
    assert (ended.session_id, ended.reason) == (first.session_id, "renewed")
    assert not events(work, "session.limit_reached")


@on_either_database
def test_another_person_in_the_same_browser_replaces_the_session(
    work: Work, hasher: PasswordHasher, anna: str, attempt: Attempt
) -> None:
    bob = create(work, hasher, "bob")
    first = signed_in(attempt("anna"))
    second = signed_in(attempt("bob", current=first.secret))
    assert second.is_new_session
    assert second.session_id != first.session_id
    assert running(work, anna) == []
    assert [one.id for one in running(work, bob)] == [second.session_id]
    (ended,) = events(work, "session.ended")
    assert (ended.session_id, ended.reason) == (first.session_id, "replaced")
    assert (ended.actor, ended.actor_id) == ("user", bob)


@pytest.mark.parametrize("current", ["", "made up", "x" * 10_000])
def test_a_secret_that_is_no_sessions_changes_nothing(
    anna: str, attempt: Attempt, current: str
) -> None:
    outcome = signed_in(attempt("anna", current=current))
    assert outcome.is_new_session
    assert outcome.secret != current


def test_an_ended_session_is_not_taken_up_again(work: Work, anna: str, attempt: Attempt) -> None:
    first = signed_in(attempt("anna"))
    with work.begin() as unit:
        lifecycle.end(unit, [first.session_id], reason="signed_out", actor=Actor("user", anna))
    again = signed_in(attempt("anna", current=first.secret))
    assert again.is_new_session
    assert again.session_id != first.session_id


def test_a_failed_sign_in_leaves_the_browsers_session_alone(
    work: Work, hasher: PasswordHasher, anna: str, attempt: Attempt
) -> None:
    create(work, hasher, "bob")
    first = signed_in(attempt("anna"))
    assert isinstance(attempt("bob", "wrong", current=first.secret), Rejected)
    with work.begin() as unit:
        assert lifecycle.resume(unit, first.secret) is not None


@pytest.fixture
def people(work: Work, hasher: PasswordHasher, anna: str) -> dict[str, tuple[str, str | None]]:
    """Every kind of account: the name to type, and what the audit log says of a failure."""
    set_status(work, create(work, hasher, "disabled"), "disabled")
    set_status(work, create(work, hasher, "locked"), "locked")
    create(work, hasher, "passkeyonly", None)
    broken = create(work, hasher, "broken")
    with work.begin() as unit:
        user = users.by_id(unit, broken)
        assert user is not None
        user.password_hash = "$argon2id$v=19$m=1048576,t=1,p=1$c2FsdHNhbHRzYWx0$" + "A" * 43
    return {
        "anna": ("anna", "wrong_password"),
        "by e-mail": ("anna@example.com", "wrong_password"),
        "missing": ("nobody", "unknown_name"),
        "missing e-mail": ("nobody@example.com", "unknown_name"),
        "not a name": ("no\x00body \u202e", "unknown_name"),
        "empty": ("", "unknown_name"),
        "huge": ("x" * 5_120, "unknown_name"),
        "disabled": ("disabled", "disabled"),
        "locked": ("locked", "locked"),
        "without password": ("passkeyonly", "no_password"),
        "planted hash": ("broken", "wrong_password"),
    }


@pytest.mark.attack("BF-10")
@pytest.mark.attack("BF-11")
@pytest.mark.parametrize("password", ["wrong", "", "\x00", "x" * 5_120, "\ud800"])
def test_every_failure_gives_the_same_answer_after_exactly_one_hash(
    work: Work,
    hasher: PasswordHasher,
    people: dict[str, tuple[str, str]],
    attempt: Attempt,
    password: str,
) -> None:
    answers = {}
    for number, (kind, (name, _)) in enumerate(people.items()):
        before = hasher.computed
        answers[kind] = attempt(name, password, visit=Visit(ip=f"192.0.2.{number}"))
        assert hasher.computed == before + 1, kind
    assert set(answers.values()) == {Rejected("The user name or password is wrong.", 403)}
    failures = events(work, "login.failed")
    assert [one.reason for one in failures] == [reason for _, reason in people.values()]
    assert all((one.user_id is None) == (one.reason == "unknown_name") for one in failures)
    assert [one.ip for one in failures] == [f"192.0.2.{number}" for number in range(len(people))]


@pytest.mark.attack("BF-10")
@pytest.mark.parametrize("name", ["disabled", "locked"])
def test_the_right_password_of_a_disabled_account_is_answered_like_a_wrong_one(
    people: dict[str, tuple[str, str]], hasher: PasswordHasher, attempt: Attempt, name: str
) -> None:
    before = hasher.computed
    assert attempt(name, PASSWORD) == Rejected(prove.NOT_THEM, 403)
    assert hasher.computed == before + 1


@pytest.mark.attack("BF-10")
def test_refusal_comes_at_the_same_attempt_with_the_same_words_for_every_account(
    people: dict[str, tuple[str, str]], hasher: PasswordHasher, attempt: Attempt
) -> None:
    series = {}
    for number, name in enumerate(("anna", "nobody", "disabled", "passkeyonly", "a\x00b")):
        visit = Visit(ip=f"192.0.2.{number}", device_hash="f" * 64)
        before = hasher.computed
        series[name] = [attempt(name, "wrong", visit=visit) for _ in range(13)]
        assert hasher.computed == before + 10
    assert len({tuple(answers) for answers in series.values()}) == 1
    refused = series["anna"][-1]
    assert refused == Rejected("Too many attempts. Please wait 15 minutes and try again.", 429, 900)


@on_either_database
@pytest.mark.attack("BF-02")
def test_sixty_parallel_guesses_get_no_more_hashes_than_the_limit(
    work: Work, hasher: PasswordHasher, anna: str, attempt: Attempt
) -> None:
    before = hasher.computed
    answers: list[SignedIn | Rejected] = []
    together = threading.Barrier(60)

    def guess(number: int) -> None:
        together.wait()
        try:
            answers.append(attempt("anna", f"guess {number}", visit=Visit(ip=f"192.0.2.{number}")))
        except Unavailable as busy:
            answers.append(Rejected(busy.sentence, busy.status))

    threads = [threading.Thread(target=guess, args=(number,)) for number in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert hasher.computed - before == 10
    statuses = [answer.status for answer in answers if isinstance(answer, Rejected)]
    # Who finds no place in the queue is told so before anything is counted.
    assert len(statuses) == 60
    assert statuses.count(403) == 10
    assert set(statuses) <= {403, 429, 503}
    # The right password is not tried either, while the limit holds.
    assert isinstance(attempt("anna", visit=ELSEWHERE), Rejected)


@pytest.mark.attack("BF-04")
def test_guesses_by_name_and_by_address_are_counted_together(
    hasher: PasswordHasher, anna: str, attempt: Attempt
) -> None:
    spelled = ["anna", "ANNA", "anna@example.com", "Anna@Example.com", "ａｎｎａ"] * 3
    before = hasher.computed
    answers = [attempt(name, "wrong", visit=ELSEWHERE) for name in spelled]
    assert [answer.status for answer in answers if isinstance(answer, Rejected)] == (
        [403] * 10 + [429] * 5
    )
    assert hasher.computed == before + 10


@on_either_database
@pytest.mark.attack("BF-07")
def test_the_owner_gets_in_from_a_known_device_while_an_attacker_is_locked_out(
    anna: str, attempt: Attempt
) -> None:
    signed_in(attempt("anna", visit=AT_HOME))
    for _ in range(20):
        attempt("anna", "wrong", visit=ELSEWHERE)
    assert isinstance(attempt("anna", visit=ELSEWHERE), Rejected)
    assert isinstance(attempt("anna", visit=Visit(ip="203.0.113.5")), Rejected)
    signed_in(attempt("anna", visit=AT_HOME))
    # The owner's success does not give the attacker new guesses.
    assert isinstance(attempt("anna", visit=ELSEWHERE), Rejected)


@pytest.mark.attack("BF-07")
def test_a_device_is_known_only_to_the_account_it_signed_in_to(
    work: Work, hasher: PasswordHasher, anna: str, attempt: Attempt
) -> None:
    create(work, hasher, "bob")
    attackers = Visit(ip="198.51.100.7", device_hash="a" * 64)
    signed_in(attempt("bob", visit=attackers))
    answers = [attempt("anna", "wrong", visit=attackers) for _ in range(11)]
    assert isinstance(answers[-1], Rejected)
    assert answers[-1].status == 429
    assert isinstance(attempt("anna", visit=Visit(ip="203.0.113.5")), Rejected)


@on_either_database
@pytest.mark.attack("BF-01")
def test_an_attackers_own_success_does_not_clear_their_address(
    work: Work, hasher: PasswordHasher, anna: str, attempt: Attempt
) -> None:
    create(work, hasher, "mallory")
    for number in range(99):
        attempt(f"name {number}", "wrong", visit=ELSEWHERE)
    signed_in(attempt("mallory", visit=ELSEWHERE))
    assert attempt("name 99", "wrong", visit=ELSEWHERE) == Rejected(prove.NOT_THEM, 403)
    refused = attempt("anna", visit=ELSEWHERE)
    assert isinstance(refused, Rejected)
    assert refused.status == 429
    (noted,) = events(work, "login.throttled")
    assert (noted.data["scope"], noted.ip) == ("address", "198.51.100.7")


@on_either_database
def test_waiting_out_the_window_lets_the_owner_in(
    anna: str, attempt: Attempt, clock: ManualClock
) -> None:
    for _ in range(10):
        attempt("anna", "wrong", visit=ELSEWHERE)
    refused = attempt("anna", visit=ELSEWHERE)
    assert isinstance(refused, Rejected)
    assert refused.retry_after is not None
    clock.advance((refused.retry_after - 1) * SECOND)
    assert attempt("anna", visit=ELSEWHERE) == Rejected(
        "Too many attempts. Please wait 1 minute and try again.", 429, 1
    )
    clock.advance(SECOND)
    signed_in(attempt("anna", visit=ELSEWHERE))


@on_either_database
def test_a_success_gives_the_account_its_attempts_back(anna: str, attempt: Attempt) -> None:
    for _ in range(3):
        for _ in range(9):
            assert attempt("anna", "wrong", visit=ELSEWHERE) == Rejected(prove.NOT_THEM, 403)
        signed_in(attempt("anna", visit=ELSEWHERE))


def test_an_attempt_that_found_the_queue_full_is_not_counted(
    work: Work, hasher: PasswordHasher, anna: str, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(of: str) -> None:
        raise Unavailable("full")

    with monkeypatch.context() as patched:
        patched.setattr(hasher, "place", busy)
        for _ in range(15):
            with pytest.raises(Unavailable):
                attempt("anna", visit=ELSEWHERE)
    with work.read() as unit:
        assert set(unit.orm.scalars(select(Throttle.count))) == set()
    signed_in(attempt("anna", visit=ELSEWHERE))


@on_either_database
@pytest.mark.attack("BF-05")
@pytest.mark.parametrize("status", ["disabled", "locked"])
def test_who_is_disabled_while_the_password_is_checked_does_not_get_in(
    work: Work,
    hasher: PasswordHasher,
    anna: str,
    attempt: Attempt,
    monkeypatch: pytest.MonkeyPatch,
    status: str,
) -> None:
    verify = hasher.verify

    def disabled_meanwhile(stored: str | None, password: str) -> bool:
        set_status(work, anna, status)
        return verify(stored, password)

    monkeypatch.setattr(hasher, "verify", disabled_meanwhile)
    assert attempt("anna") == Rejected(prove.NOT_THEM, 403)
    assert running(work, anna) == []


@on_either_database
def test_a_password_that_was_replaced_while_it_was_checked_does_not_get_in(
    work: Work, hasher: PasswordHasher, anna: str, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify = hasher.verify
    newer = hasher.hash("another password")

    def replaced_meanwhile(stored: str | None, password: str) -> bool:
        with work.begin() as unit:
            user = users.by_id(unit, anna)
            assert user is not None
            users.set_password(unit, user, newer, ADMIN)
        return verify(stored, password)

    monkeypatch.setattr(hasher, "verify", replaced_meanwhile)
    assert attempt("anna") == Rejected(prove.NOT_THEM, 403)
    assert running(work, anna) == []


@on_either_database
def test_who_is_deleted_while_the_password_is_checked_does_not_get_in(
    work: Work, hasher: PasswordHasher, anna: str, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify = hasher.verify

    def deleted_meanwhile(stored: str | None, password: str) -> bool:
        with work.begin() as unit:
            user = users.by_id(unit, anna)
            assert user is not None
            users.delete_user(unit, user, ADMIN)
        return verify(stored, password)

    monkeypatch.setattr(hasher, "verify", deleted_meanwhile)
    assert attempt("anna") == Rejected(prove.NOT_THEM, 403)


def stored_hash(work: Work, user_id: str) -> str | None:
    with work.read() as unit:
        return unit.orm.scalar(select(User.password_hash).where(User.id == user_id))


@on_either_database
def test_a_hash_of_an_older_cost_is_renewed_at_sign_in_and_only_by_the_right_password(
    work: Work, hasher: PasswordHasher, anna: str
) -> None:
    dearer = PasswordHasher(PasswordSettings(memory_kib=9_216, time_cost=1, workers=2))
    before = stored_hash(work, anna)
    outcomes = [
        sign_in.with_password(
            work, dearer, name="anna", password=password, entry=Entry(AT_HOME, None)
        )
        for password in ("wrong", PASSWORD, PASSWORD)
    ]
    assert [type(outcome) for outcome in outcomes] == [Rejected, SignedIn, SignedIn]
    renewed = stored_hash(work, anna)
    assert renewed != before
    assert renewed is not None
    assert "m=9216" in renewed
    # One for the wrong one, two for the right one, one for the right one that was renewed.
    assert dearer.computed == 4
    assert events(work, "credential.changed") == []


def test_what_was_typed_is_in_no_event(work: Work, anna: str, attempt: Attempt) -> None:
    for _ in range(12):
        attempt("my-canary-typed-as-name", "my-canary-password", visit=ELSEWHERE)
    attempt("anna", "my-canary-password")
    with work.read() as unit:
        rows = unit.orm.scalars(select(EventRow)).all()
    assert rows
    for row in rows:
        shown = {column.name: getattr(row, column.name) for column in EventRow.__table__.columns}
        assert "canary" not in repr(shown)


def test_repeated_refusals_do_not_fill_the_audit_log(
    work: Work, anna: str, attempt: Attempt
) -> None:
    for number in range(60):
        attempt("anna", "wrong", visit=Visit(ip=f"192.0.2.{number}"))
    assert [one.reason for one in events(work, "login.throttled")] == ["attempt 11"]
