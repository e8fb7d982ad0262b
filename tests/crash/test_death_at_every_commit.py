"""A server that dies at each of its commits, just before, just after, and before the answer (FT-02).

For every flow every commit is found by trying, so that a commit that is added later is killed at
too. After the restart the flow has happened as a whole or not at all, with its audit rows and what
is owed, and whoever tries again gets what README says.
"""

from secrets import token_urlsafe

import pytest

from idp.policy import management
from tests.crash import ledger
from tests.crash.conftest import MORTAL, Say
from tests.crash.failpoints import dying
from tests.harness.deployment import SCOPE, Deployment, Grant, authorize_path
from tests.harness.load_clients import Browser, Lost, claims_of, error_of, json_of
from tests.harness.provider import PASSWORD
from tests.harness.receivers import Receiver, Receivers
from tests.harness.server_process import until

MOST_COMMITS = 8


class Flow:
    """Something that is done with one request. `prepare` makes it ready, again for each death."""

    def __init__(self, on: Deployment, receiver: Receiver) -> None:
        self.on = on
        self.receiver = receiver
        on.person("alice")
        # Room for the sessions of every death.
        on.limit_sessions(1_000)
        self.app = on.app("App", receiver=receiver)

    def prepare(self) -> bytes:
        """Everything up to the request, which is given."""
        raise NotImplementedError

    def has_happened(self) -> bool:
        """Whether the database says that it was done."""
        raise NotImplementedError

    def try_again(self, *, happened: bool) -> None:
        """What the client does next, and what it must get."""
        raise NotImplementedError

    def granted(self) -> Grant:
        return self.on.grant(self.on.signed_in("alice"), self.app, scope=SCOPE)

    def are_active(self, grant: Grant) -> set[bool]:
        tokens = (grant.access_token, grant.refresh_token)
        return {self.on.is_active(grant.app, token) for token in tokens}


class SignIn(Flow):
    """Who gets no answer signs in again; a session that nobody holds is on the account page."""

    def prepare(self) -> bytes:
        self.browser = self.on.browser()
        self.before = self.count()
        return self.browser.signing_in("alice", PASSWORD)

    def count(self) -> int:
        return int(self.on.scalar("SELECT count(*) FROM sessions"))

    def has_happened(self) -> bool:
        return self.count() == self.before + 1

    def try_again(self, *, happened: bool) -> None:
        found = self.on.signed_in("alice").session_form()
        assert found is not None
        assert len(found[1]) == self.count() == self.before + (2 if happened else 1)


class Authorize(Flow):
    """A code that never arrived is worth nothing to anybody; the next request brings another."""

    def prepare(self) -> bytes:
        self.browser = self.on.signed_in("alice")
        self.before = int(self.on.scalar("SELECT count(*) FROM authorizations"))
        return self.browser.getting(authorize_path(self.app.flow().parameters()))

    def has_happened(self) -> bool:
        return bool(self.on.scalar("SELECT count(*) FROM authorizations") == self.before + 1)

    def try_again(self, *, happened: bool) -> None:
        assert self.on.is_active(self.app, self.on.grant(self.browser, self.app).access_token)


class Redeem(Flow):
    """A code has no grace (AC-01): whoever asks again after it was redeemed ends the grant."""

    def prepare(self) -> bytes:
        self.code, self.flow = self.on.code(self.on.signed_in("alice"), self.app)
        self.before = self.on.count_events("token.issued")
        return self.app.redeeming(self.flow, self.code)

    def has_happened(self) -> bool:
        return self.on.count_events("token.issued") == self.before + 1

    def try_again(self, *, happened: bool) -> None:
        ended = self.on.count_events("authorization.ended")
        answer = self.on.ask(self.app.redeeming(self.flow, self.code))
        if happened:
            assert error_of(answer) == "invalid_grant"
            assert self.on.count_events("authorization.ended") == ended + 1
        else:
            assert self.on.is_active(self.app, str(json_of(answer)["access_token"]))


class RedeemAgain(Flow):
    """The replay that ends a grant: until it is committed it has not ended it."""

    def prepare(self) -> bytes:
        self.code, flow = self.on.code(self.on.signed_in("alice"), self.app)
        self.request = self.app.redeeming(flow, self.code)
        self.tokens = json_of(self.on.ask(self.request))
        return self.request

    def has_happened(self) -> bool:
        return not self.on.is_active(self.app, str(self.tokens["access_token"]))

    def try_again(self, *, happened: bool) -> None:
        assert error_of(self.on.ask(self.request)) == "invalid_grant"
        assert not self.on.is_active(self.app, str(self.tokens["access_token"]))


class Refresh(Flow):
    """A lost answer is fetched again inside the grace: one successor, one rotation, no logout."""

    def prepare(self) -> bytes:
        self.grant = self.granted()
        self.before = self.on.count_events("token.refreshed")
        return self.app.refreshing(self.grant.refresh_token)

    def has_happened(self) -> bool:
        return self.on.count_events("token.refreshed") == self.before + 1

    def try_again(self, *, happened: bool) -> None:
        answers = [self.on.ask(self.app.refreshing(self.grant.refresh_token)) for _ in range(2)]
        assert [answer.status for answer in answers] == [200, 200]
        successors = {str(json_of(answer)["refresh_token"]) for answer in answers}
        assert len(successors) == 1
        assert self.on.is_active(self.app, successors.pop())
        assert self.on.count_events("token.refreshed") == self.before + 1


class RevokeGrant(Flow):
    """A revocation that was committed is in effect, whether or not its 200 arrived."""

    def prepare(self) -> bytes:
        self.grant = self.granted()
        self.before = self.on.count_events("authorization.ended")
        return self.app.revoking(self.grant.refresh_token)

    def has_happened(self) -> bool:
        active = self.are_active(self.grant)
        assert len(active) == 1
        return active == {False}

    def try_again(self, *, happened: bool) -> None:
        assert self.on.ask(self.app.revoking(self.grant.refresh_token)).status == 200
        assert self.are_active(self.grant) == {False}
        assert self.on.count_events("authorization.ended") == self.before + 1


class RevokeAccessToken(Flow):
    """One access token, and nothing else of its grant."""

    def prepare(self) -> bytes:
        self.grant = self.granted()
        self.before = self.on.count_events("token.revoked")
        return self.app.revoking(self.grant.access_token)

    def has_happened(self) -> bool:
        return not self.on.is_active(self.app, self.grant.access_token)

    def try_again(self, *, happened: bool) -> None:
        assert self.on.ask(self.app.revoking(self.grant.access_token)).status == 200
        assert not self.on.is_active(self.app, self.grant.access_token)
        assert self.on.is_active(self.app, self.grant.refresh_token)
        assert self.on.count_events("token.revoked") == self.before + 1


class EndSession(Flow):
    """An end that was committed is in effect, and its apps are told by whichever process runs."""

    def prepare(self) -> bytes:
        self.grant = self.granted()
        self.session_id = str(claims_of(self.grant.id_token)["sid"])
        return self.ending()

    def ending(self) -> bytes:
        path = f"/api/v1/users/sessions/{self.session_id}"
        return self.app.asking("DELETE", path, self.grant.access_token)

    def has_happened(self) -> bool:
        active = self.are_active(self.grant)
        assert len(active) == 1
        return active == {False}

    def try_again(self, *, happened: bool) -> None:
        if not happened:
            assert self.on.ask(self.ending()).status in (200, 303)
        assert self.are_active(self.grant) == {False}
        until(lambda: self.times_told() >= 1, "the app is told")
        ended = self.on.rows(
            "SELECT id FROM events WHERE type = 'session.ended' AND session_id = :id",
            id=self.session_id,
        )
        assert len(ended) == 1

    def times_told(self) -> int:
        tokens = [claims_of(one.form["logout_token"][0]) for one in self.receiver.requests]
        mine = [token["jti"] for token in tokens if token["sid"] == self.session_id]
        assert len(set(mine)) <= 1
        return len(mine)


class EndByPage(EndSession):
    """The same from the account page."""

    def ending(self) -> bytes:
        found = self.grant.browser.session_form()
        assert found is not None
        return self.grant.browser.posting(f"/account/sessions/{self.session_id}/end", found[0])


class EndByApp(EndSession):
    """The same by RP-initiated logout."""

    def ending(self) -> bytes:
        return Browser(self.on.port).getting(f"/logout?id_token_hint={self.grant.id_token}")


class EndEverywhere(EndSession):
    """Three sessions end with one click, together."""

    others: list[Grant]

    def ending(self) -> bytes:
        self.others = [self.granted() for _ in range(2)]
        found = self.grant.browser.session_form()
        assert found is not None
        everything = {**found[0], "what": "everywhere", "confirmed": "yes"}
        return self.grant.browser.posting("/account/sessions/end", everything)

    def has_happened(self) -> bool:
        active = {self.on.is_active(self.app, one.access_token) for one in self.others}
        assert len(active) == 1
        assert active == self.are_active(self.grant)
        return active == {False}


class EndEverybody(EndSession):
    """Everybody at once: over with the commit, marked and told by whichever process runs."""

    def __init__(self, on: Deployment, receiver: Receiver) -> None:
        super().__init__(on, receiver)
        rights = " ".join(management.SCOPES)
        self.console = on.app(
            "Console", management=1, scope=rights, grant_types=["client_credentials"]
        )

    def ending(self) -> bytes:
        granted = self.on.ask(self.console.posting("/token", grant_type="client_credentials"))
        body = '{"filter": {"all": true}, "reason": "stolen"}'
        lines = (
            "POST /api/v1/admin/sessions/revoke HTTP/1.1",
            f"Host: localhost:{self.on.port}",
            f"Authorization: Bearer {json_of(granted)['access_token']}",
            f"Idempotency-Key: {token_urlsafe()}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        )
        return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()

    def try_again(self, *, happened: bool) -> None:
        # What is over is not good, whoever marks it when; the dead process has the job for 30 seconds.
        with self.on.work.begin() as unit:
            unit.connection.exec_driver_sql("DELETE FROM leases")
        super().try_again(happened=happened)
        until(
            lambda: not self.on.scalar("SELECT count(*) FROM sessions WHERE ended_at IS NULL"),
            "every session is marked",
        )


FLOWS = (
    SignIn, Authorize, Redeem, RedeemAgain, Refresh, RevokeGrant, RevokeAccessToken, EndSession,
    EndByPage, EndByApp, EndEverywhere, EndEverybody,
)  # fmt: skip


# On PostgreSQL those whose outcome rests on how a commit is made there.
ON_POSTGRES = (Redeem, Refresh, RevokeGrant, EndSession)
CASES = [
    *(pytest.param("sqlite", kind, id=f"sqlite-{kind.__name__}") for kind in FLOWS),
    *(
        pytest.param("postgres", kind, id=f"postgres-{kind.__name__}", marks=pytest.mark.postgres)
        for kind in ON_POSTGRES
    ),
]


@pytest.mark.crash
@pytest.mark.parametrize(("database_url", "kind"), CASES, indirect=["database_url"])
def test_a_death_at_any_commit_leaves_all_of_it_or_nothing(
    mortal: Deployment, receivers: Receivers, kind: type[Flow], say: Say
) -> None:
    receiver = receivers.add()
    flow = kind(mortal, receiver)
    before: list[bool] = []
    after: list[bool] = []
    while (happened := _dies(mortal, flow, "before-commit", len(before) + 1)) is not None:
        before.append(happened)
        after.append(_dies(mortal, flow, "after-commit", len(before)) is True)
        assert len(before) < MOST_COMMITS
    # The last commit is the one that counts, and the answer comes after it.
    assert (before[-1], after[-1]) == (False, True)
    assert _dies(mortal, flow, "before-answer", 1) is True
    until(
        lambda: not mortal.scalar("SELECT count(*) FROM deliveries WHERE state = 'owed'"),
        "every logout is delivered",
    )
    rows = [mortal.rows(f"SELECT * FROM {table}") for table in ("sessions", "authorizations")]
    assert ledger.audit_is_complete(mortal, *rows) == []
    say(
        f"{kind.__name__}: {len(before)} commits, {2 * len(before) + 1} deaths, "
        f"of them done {sum(before) + sum(after) + 1}; each all or nothing"
    )


def _dies(mortal: Deployment, flow: Flow, point: str, number: int) -> bool | None:
    """Whether the flow had happened when the server died there; None when it did not die."""
    request = flow.prepare()
    try:
        mortal.ask(dying(request, point, number))
    except Lost:
        mortal.server.wait_for_death()
    else:
        return None
    mortal.hang_up()
    mortal.server.start(doom=MORTAL)
    happened = flow.has_happened()
    flow.try_again(happened=happened)
    return happened
