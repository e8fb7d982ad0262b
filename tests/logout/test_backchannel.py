import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Condition
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from idp.clock import SystemClock
from idp.events import delivery
from idp.events.catalogue import SessionEnded
from idp.events.delivery import Claimed, Outcome, Receipt
from idp.events.model import Delivery, EventRow
from idp.logout import backchannel
from idp.logout.backchannel import BackchannelLogout
from idp.oauth import keys
from idp.oauth.model import Authorization, Client
from idp.storage.unit_of_work import Work
from idp.work.outbound import Outbound
from idp.work.worker import Worker
from tests.harness.logouts import Signed, claimed, tokens_sent
from tests.harness.receivers import (
    Answering,
    Receiver,
    Receivers,
    babbling,
    closing,
    hanging,
    pouring,
    saying,
)
from tests.harness.stopwatch import least
from tests.harness.workbench import (
    LOOPBACK,
    add_clients,
    add_session,
    add_user,
    authorize,
    end_session,
    make_work,
)

# Seconds: of a call that nobody answers, and for what comes by itself.
HANGING = 10.0
PATIENCE = 20.0


class Reports:
    """Collects what a channel reports, from whatever thread."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self._came = Condition()

    def __call__(self, one: Claimed, outcome: Outcome) -> None:
        with self._came:
            assert one.receiver not in self.outcomes, "reported twice"
            self.outcomes[one.receiver] = outcome
            self._came.notify_all()

    def wait_for(self, count: int) -> dict[str, Outcome]:
        with self._came:
            assert self._came.wait_for(lambda: len(self.outcomes) >= count, PATIENCE)
        return self.outcomes


def owed(work: Work) -> list[Delivery]:
    with work.read() as unit:
        return list(unit.orm.scalars(select(Delivery).order_by(Delivery.receiver)))


# --- who is owed ------------------------------------------------------------------------------


def test_every_app_of_the_session_is_owed_one_token(work: Work) -> None:
    work.subscribers[SessionEnded].append(backchannel.owe)
    user = add_user(work)
    session, other = add_session(work, user), add_session(work, user)
    with_uri = add_clients(work, ["https://a.example/", "https://b.example/"])
    (without_uri,) = add_clients(work, [None])
    (elsewhere,) = add_clients(work, ["https://c.example/"])
    (unredeemed,) = add_clients(work, ["https://d.example/"])
    authorize(work, session, user, [*with_uri, *with_uri, without_uri])
    authorize(work, session, user, [unredeemed], redeemed="no")
    authorize(work, other, user, [elsewhere])
    event = end_session(work, session, user)
    rows = owed(work)
    assert sorted(row.receiver for row in rows) == sorted(with_uri)
    assert {row.session_id for row in rows} == {session}
    assert {row.event_id for row in rows} == {event.event_id}
    assert {row.channel for row in rows} == {"backchannel_logout"}


def test_an_app_whose_grant_had_ended_is_still_told(work: Work) -> None:
    """Its own session of the person may still stand."""
    work.subscribers[SessionEnded].append(backchannel.owe)
    user = add_user(work)
    session = add_session(work, user)
    clients = add_clients(work, ["https://a.example/"])
    authorize(work, session, user, clients)
    with work.begin() as unit:
        unit.connection.execute(update(Authorization).values(ended_at=unit.now))
    end_session(work, session, user)
    assert [row.receiver for row in owed(work)] == clients


def test_an_end_that_is_rolled_back_owes_nothing(work: Work) -> None:
    work.subscribers[SessionEnded].append(backchannel.owe)
    user = add_user(work)
    session = add_session(work, user)
    authorize(work, session, user, add_clients(work, ["https://a.example/"]))

    def failing() -> None:
        with work.begin() as unit:
            unit.record(SessionEnded(user_id=user, session_id=session))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert owed(work) == []


# --- sending ----------------------------------------------------------------------------------


@pytest.fixture
def channel(sqlite_work: Work, outbound: Outbound) -> BackchannelLogout:
    return BackchannelLogout(sqlite_work, Signed(), outbound)


@pytest.mark.attack("LO-04")
def test_a_token_names_the_one_session_that_ended(
    sqlite_work: Work, channel: BackchannelLogout, receivers: Receivers
) -> None:
    app = receivers.add()
    (client,) = add_clients(sqlite_work, [app.uri])
    reports = Reports()
    channel.send([claimed(client, session_id="ses_7")], reports)
    reports.wait_for(1)
    (token,) = tokens_sent(app)
    assert (token["sid"], token["sub"], token["aud"]) == ("ses_7", "usr_1", client)
    assert token["iss"] == sqlite_work.settings.issuer
    assert list(app.requests[0].form) == ["logout_token"]
    assert app.requests[0].head.startswith("POST ")


@pytest.mark.parametrize(
    ("answering", "expected"),
    [
        (saying("200 OK"), Outcome("accepted", 200)),
        (saying("204 No Content"), Outcome("accepted", 204)),
        (pouring, Outcome("accepted", 200)),
        (saying("202 Accepted"), Outcome("failed", 202, "answered 202")),
        (saying("302 Found"), Outcome("failed", 302, "answered 302")),
        (saying("400 Bad Request"), Outcome("failed", 400, "answered 400")),
        (saying("500 Oh"), Outcome("failed", 500, "answered 500")),
    ],
    ids=["200", "204", "200 and a huge body", "202", "302", "400", "500"],
)
def test_200_and_204_are_acceptance_and_nothing_else_is(
    sqlite_work: Work,
    channel: BackchannelLogout,
    receivers: Receivers,
    answering: Answering,
    expected: Outcome,
) -> None:
    (client,) = add_clients(sqlite_work, [receivers.add(answering).uri])
    reports = Reports()
    channel.send([claimed(client)], reports)
    assert reports.wait_for(1)[client] == expected


@pytest.mark.parametrize("answering", [closing, babbling], ids=["hangs up", "babbles"])
def test_what_is_no_answer_is_a_failure(
    sqlite_work: Work, channel: BackchannelLogout, receivers: Receivers, answering: Answering
) -> None:
    (client,) = add_clients(sqlite_work, [receivers.add(answering).uri])
    reports = Reports()
    channel.send([claimed(client)], reports)
    outcome = reports.wait_for(1)[client]
    assert (outcome.verdict, outcome.status) == ("failed", None)
    assert outcome.error


@pytest.mark.attack("SS-02")
def test_an_address_that_may_not_be_called_is_a_failure_with_its_reason(
    sqlite_work: Work, channel: BackchannelLogout
) -> None:
    (client,) = add_clients(sqlite_work, ["https://169.254.169.254/latest"])
    reports = Reports()
    channel.send([claimed(client)], reports)
    assert reports.wait_for(1)[client] == Outcome(
        "failed", error="169.254.169.254 is not a public address"
    )


def test_an_app_that_is_gone_or_wants_no_logout_is_hopeless(
    sqlite_work: Work, channel: BackchannelLogout
) -> None:
    (without_uri,) = add_clients(sqlite_work, [None])
    reports = Reports()
    channel.send([claimed("removed"), claimed(without_uri)], reports)
    outcomes = reports.wait_for(2)
    assert {one.verdict for one in outcomes.values()} == {"hopeless"}
    assert all(one.error for one in outcomes.values())


def test_one_token_that_cannot_be_signed_stops_no_other(
    sqlite_work: Work, outbound: Outbound, receivers: Receivers
) -> None:
    class Picky(Signed):
        def sign(self, alg: str, claims: dict[str, Any], typ: str = "JWT") -> str:
            if alg == "RS256":
                raise KeyError(alg)
            return super().sign(alg, claims, typ)

    app = receivers.add()
    (bad,) = add_clients(sqlite_work, [app.uri], alg="RS256")
    (good,) = add_clients(sqlite_work, [app.uri])
    reports = Reports()
    BackchannelLogout(sqlite_work, Picky(), outbound).send([claimed(bad), claimed(good)], reports)
    outcomes = reports.wait_for(2)
    assert outcomes[bad] == Outcome("failed", error="not signed: KeyError")
    assert outcomes[good].verdict == "accepted"


# --- from the end of a session to its receipts ------------------------------------------------


class Running:
    """A worker with real keys, sockets and time, and sessions to end."""

    def __init__(self, work: Work, outbound: Outbound) -> None:
        with work.begin() as unit:
            keys.ensure(unit)
        self.work = work
        self.keyring = keys.Keyring(work)
        channel = BackchannelLogout(work, self.keyring, outbound)
        self.worker = Worker(work, channels={backchannel.CHANNEL: channel})
        self.user = add_user(work)
        work.subscribers[SessionEnded] += [
            backchannel.owe,
            lambda unit, _: unit.after_commit(self.worker.wake),
        ]

    def end(self, clients: list[str]) -> tuple[str, float]:
        """A session with these apps, ended; gives it and the seconds the end took."""
        session = add_session(self.work, self.user)
        authorize(self.work, session, self.user, clients)
        began = time.monotonic()
        end_session(self.work, session, self.user)
        return session, time.monotonic() - began

    def receipts(
        self, session: str, until: Callable[[list[Receipt]], bool], *, within: float = PATIENCE
    ) -> list[Receipt]:
        """The receipts of a session, once they are as `until` wants them."""
        deadline = time.monotonic() + within
        while True:
            with self.work.read() as unit:
                found = delivery.receipts_for(unit, [session])[session]
            if until(found) or time.monotonic() > deadline:
                return found


def all_in(state: str, count: int) -> Callable[[list[Receipt]], bool]:
    return lambda found: sum(one.state == state for one in found) == count


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    settings = {"outbound": LOOPBACK | {"timeout": HANGING}}
    work = make_work(f"sqlite:///{tmp_path / 'live.db'}", SystemClock(), **settings)
    outbound = Outbound(work.settings.outbound)
    made = Running(work, outbound)
    made.worker.start()
    yield made
    assert made.worker.stop(20)
    outbound.close()
    work.database.close()


def test_an_end_reaches_the_app_with_a_token_it_can_verify(
    running: Running, receivers: Receivers
) -> None:
    app = receivers.add()
    clients = add_clients(running.work, [app.uri])
    session, _ = running.end(clients)
    (request,) = app.wait_for(1)
    claims = running.keyring.verify(request.form["logout_token"][0], typ="logout+jwt")
    assert claims is not None
    assert (claims["sid"], claims["sub"], claims["aud"]) == (session, running.user, clients[0])
    (receipt,) = running.receipts(session, all_in("delivered", 1))
    assert (receipt.state, receipt.last_status, receipt.attempts) == ("delivered", 200, 1)
    with running.work.read() as unit:
        types = unit.connection.scalars(
            select(EventRow.type).where(EventRow.session_id == session)
        ).all()
    assert sorted(types) == ["logout.delivered", "session.ended"]


@pytest.mark.attack("LO-11")
@pytest.mark.attack("SS-10")
def test_hostile_receivers_delay_neither_the_sign_out_nor_the_others(
    running: Running, receivers: Receivers
) -> None:
    bad = [hanging, closing, babbling, saying("500 Oh"), saying("302 X"), pouring, hanging]
    hostile = [receivers.add(answering).uri for answering in bad]
    good = [receivers.add() for _ in range(5)]
    clients = add_clients(running.work, [*hostile, *(app.uri for app in good)])
    _, took = running.end(clients)
    began = time.monotonic()
    for app in good:
        app.wait_for(1)
    assert took + time.monotonic() - began < HANGING, "it was waited for a call that hangs"


def test_an_app_that_is_away_is_told_when_it_is_back(
    running: Running, receivers: Receivers
) -> None:
    app = receivers.add(saying("503 Away"))
    session, _ = running.end(add_clients(running.work, [app.uri]))
    app.wait_for(1)
    app.answering = saying("204 No Content")
    (receipt,) = running.receipts(session, all_in("delivered", 1))
    assert receipt.attempts == 2
    first, second = tokens_sent(app)
    assert first["jti"] == second["jti"]


def test_what_a_dead_process_had_claimed_is_sent_by_the_next(
    running: Running, receivers: Receivers
) -> None:
    """The claim of a process that was killed is on disk; its lease is all that is left of it."""
    app = receivers.add()
    clients = add_clients(running.work, [app.uri])
    running.worker.stop(20)
    session, _ = running.end(clients)
    with running.work.begin() as unit:
        (one,) = delivery.due(unit, delivery.Reach([backchannel.CHANNEL]), limit=1)
        assert delivery.claim(unit, [one[0]], lease=300_000)
    fresh = Outbound(running.work.settings.outbound)
    channel = BackchannelLogout(running.work, running.keyring, fresh)
    next_process = Worker(running.work, channels={backchannel.CHANNEL: channel})
    next_process.start()
    try:
        (receipt,) = running.receipts(session, all_in("delivered", 1))
    finally:
        next_process.stop(20)
        fresh.close()
    assert receipt.attempts == 2
    assert tokens_sent(app)[0]["jti"] == one[0]


def test_a_client_that_was_removed_is_given_up_and_said_so(
    running: Running, receivers: Receivers
) -> None:
    app = receivers.add()
    clients = add_clients(running.work, [app.uri])
    running.worker.stop(20)
    session, _ = running.end(clients)
    with running.work.begin() as unit:
        unit.connection.execute(delete(Client))
    channel = BackchannelLogout(
        running.work, running.keyring, Outbound(running.work.settings.outbound)
    )
    worker = Worker(running.work, channels={backchannel.CHANNEL: channel})
    worker.start()
    (receipt,) = running.receipts(session, all_in("given_up", 1))
    worker.stop(20)
    assert receipt.last_error == "the app was removed"
    assert app.requests == []


def test_a_hundred_apps_are_told_within_a_second(running: Running, receivers: Receivers) -> None:
    apps: list[Receiver] = [receivers.add() for _ in range(100)]
    clients = add_clients(running.work, [app.uri for app in apps])
    running.end(clients[:1])
    apps[0].wait_for(1)
    ends: list[float] = []

    def told_all() -> float:
        known = [len(app.requests) for app in apps]
        session, took = running.end(clients)
        committed = time.monotonic()
        ends.append(took)
        for app, so_far in zip(apps, known, strict=True):
            app.wait_for(so_far + 1, within=PATIENCE)
        last = max(app.requests[-1].at for app in apps) - committed
        found = running.receipts(session, all_in("delivered", 100))
        assert all_in("delivered", 100)(found)
        return last

    assert least(1.0, told_all) < 1.0
    assert min(ends) < 0.5
