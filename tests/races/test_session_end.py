"""One session that many try to end at one moment: one of them does, and the apps hear of it once."""

from collections.abc import Callable

import pytest

from idp.oauth import consent
from tests.harness.deployment import SCOPE, Deployment
from tests.harness.load_clients import burst, claims_of
from tests.harness.provider import PASSWORD
from tests.harness.receivers import Receivers
from tests.harness.server_process import until
from tests.races.conftest import LONGER

ROUNDS = 4 * LONGER


@pytest.mark.attack("LO-11")
def test_thirty_parallel_ends_of_one_session_have_one_owner_and_owe_one_set_of_deliveries(
    deployment: Deployment, receivers: Receivers, say: Callable[[str], None]
) -> None:
    deployment.person("alice")
    told = [receivers.add() for _ in range(3)]
    apps = [deployment.app(f"App {one}", receiver=receiver) for one, receiver in enumerate(told)]
    for round_ in range(1, ROUNDS + 1):
        browser = deployment.signed_in("alice")
        grants = [deployment.grant(browser, app) for app in apps]
        session_id = str(claims_of(grants[0].id_token)["sid"])
        found = browser.session_form()
        assert found is not None
        ways = [
            browser.posting(f"/account/sessions/{session_id}/end", found[0]),
            browser.posting(
                "/account/sessions/end", {**found[0], "what": "everywhere", "confirmed": "yes"}
            ),
            apps[0].asking(
                "DELETE", f"/api/v1/users/sessions/{session_id}", grants[0].access_token
            ),
            browser.getting(f"/logout?id_token_hint={grants[1].id_token}"),
            browser.posting("/logout", found[0]),
        ]
        made = burst(deployment.ports, ways * 6)
        assert None not in made.answers
        # Who comes too late is told that the session is over, or that it is gone.
        assert set(made.statuses) <= {200, 303, 401, 403}, made.statuses
        assert deployment.count_events("session.ended") == round_
        rows = deployment.rows(
            "SELECT receiver FROM deliveries WHERE session_id = :id", id=session_id
        )
        assert sorted(row["receiver"] for row in rows) == sorted(a.registered.id for a in apps)
        for grant in grants:
            assert not deployment.is_active(grant.app, grant.access_token)
    for receiver in told:
        receiver.wait_for(ROUNDS)
    until(
        lambda: not deployment.scalar("SELECT count(*) FROM deliveries WHERE state = 'owed'"),
        "every receipt is written",
    )
    for receiver in told:
        tokens = [claims_of(request.form["logout_token"][0]) for request in receiver.requests]
        assert len({token["jti"] for token in tokens}) == len(tokens) == ROUNDS
        assert len({token["sid"] for token in tokens}) == ROUNDS
    say(f"ends of one session: n={ROUNDS}x30, owners 1 each, deliveries 1 per app")


@pytest.mark.attack("LO-11")
def test_apps_that_redeem_while_the_session_ends_are_told_if_they_were_given_tokens(
    deployment: Deployment, receivers: Receivers, say: Callable[[str], None]
) -> None:
    """I5 as an app sees it: whoever was told 200 is told of the end."""
    deployment.person("alice")
    told = receivers.add()
    apps = [deployment.app(f"App {one}", receiver=told) for one in range(12)]
    given = 0
    for _ in range(ROUNDS):
        browser = deployment.signed_in("alice")
        codes = [deployment.code(browser, app) for app in apps]
        found = browser.session_form()
        assert found is not None
        end = browser.posting(f"/account/sessions/{found[1][0]}/end", found[0])
        redeeming = [
            app.redeeming(flow, code) for app, (code, flow) in zip(apps, codes, strict=True)
        ]
        made = burst(deployment.ports, [*redeeming[:4], end, *redeeming[4:]])
        statuses = made.statuses[:4] + made.statuses[5:]
        assert made.statuses[4] == 303
        assert set(statuses) <= {200, 400}
        rows = deployment.rows(
            "SELECT receiver FROM deliveries WHERE session_id = :id", id=found[1][0]
        )
        owed = {str(row["receiver"]) for row in rows}
        held = {
            app.registered.id for app, status in zip(apps, statuses, strict=True) if status == 200
        }
        assert owed == held
        given += len(held)
    told.wait_for(given)
    say(f"redemptions against the end: n={ROUNDS}x12, given tokens {given}, not told 0")


def test_every_way_to_end_sessions_at_once_answers_everybody(
    deployment: Deployment, receivers: Receivers, say: Callable[[str], None]
) -> None:
    """Whoever locks several rows locks them in one order: no deadlock, so nobody is sent away."""
    alice = deployment.person("alice")
    deployment.limit_sessions(8)
    told = receivers.add()
    apps = [deployment.app(f"App {one}", receiver=told) for one in range(2)]
    rounds = 2 * LONGER
    for _ in range(rounds):
        browsers = [deployment.signed_in("alice") for _ in range(8)]
        requests: list[bytes] = []
        for browser in browsers:
            grants = [deployment.grant(browser, app, scope=SCOPE) for app in apps]
            found = browser.session_form()
            assert found is not None
            everything = {**found[0], "what": "everywhere", "confirmed": "yes"}
            requests.append(browser.posting("/account/sessions/end", everything))
            own = claims_of(grants[0].id_token)["sid"]
            requests.append(browser.posting(f"/account/sessions/{own}/end", found[0]))
            requests += [grant.app.revoking(grant.refresh_token) for grant in grants]
            requests += [grant.app.refreshing(grant.refresh_token) for grant in grants]
            removing = {**found[0], "client_id": apps[0].registered.id, "confirmed": "yes"}
            requests.append(browser.posting("/account/apps", removing))
        with deployment.work.begin() as unit:
            consent.grant(
                unit, user_id=alice, session_id="", client_id=apps[0].registered.id, scope=SCOPE
            )
        fresh = [deployment.browser() for _ in range(8)]
        requests += [browser.signing_in("alice", PASSWORD) for browser in fresh]
        made = burst(deployment.ports, requests)
        assert not [status for status in made.statuses if status in (0, 500, 503)], made.statuses
        for browser in (*browsers, *fresh):
            browser.close()
    ended = deployment.scalar("SELECT count(*) FROM sessions WHERE ended_at IS NOT NULL")
    assert deployment.count_events("session.ended") == ended
    say(f"every way to end sessions at once: n={rounds}x{len(requests)}, turned away 0")
