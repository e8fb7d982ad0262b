"""Everybody at one code at one moment: one answer, one session, one set of tokens (FT-14).

`RACE_ROUNDS=170` is the long run: 510 rounds on each database.
"""

from collections import Counter
from collections.abc import Callable

import pytest

from idp.oauth.grants.device_code import DEVICE_CODE
from tests.harness.deployment import Deployment
from tests.harness.load_clients import AppAt, Browser, burst, error_of, json_of
from tests.races.conftest import LONGER

ROUNDS = 3 * LONGER
POLLS = 20


def device_of(deployment: Deployment) -> AppAt:
    return deployment.app(
        "Terminal",
        token_endpoint_auth_method="none",
        grant_types=[DEVICE_CODE, "refresh_token"],
        redirect_uris=[],
        scope="openid profile",
        application_type="native",
        first_party=0,
    )


def ask(deployment: Deployment, device: AppAt) -> tuple[str, str]:
    """A device code, and the code that people type for it."""
    said = json_of(deployment.ask(device.posting("/device_authorization", scope="openid")))
    return str(said["device_code"]), str(said["user_code"])


def opening(browser: Browser, user_code: str) -> bytes:
    """The bytes that open a code."""
    fields = browser.get("/device").hidden_fields()
    return browser.posting("/device", fields | {"user_code": user_code})


def polling(device: AppAt, device_code: str) -> bytes:
    return device.posting("/token", grant_type=DEVICE_CODE, device_code=device_code)


@pytest.mark.attack("XD-01")
def test_of_two_people_who_open_one_code_at_once_one_has_it(deployment: Deployment) -> None:
    device = device_of(deployment)
    people = [person_at(deployment, name) for name in ("alice", "bob")]
    for _ in range(ROUNDS):
        deployment.forget_attempts()
        _, user_code = ask(deployment, device)
        made = burst(deployment.ports, [opening(one, user_code) for one in people * 3])
        # Whoever has it is led on each time they press the button, the other never is.
        led = [{made.statuses[n] for n in range(who, 6, 2)} for who in (0, 1)]
        assert sorted(map(sorted, led)) == [[303], [404]]


@pytest.mark.attack("XD-02")
def test_yes_no_and_a_storm_of_polls_at_once_leave_one_answer_and_one_set_of_tokens(
    deployment: Deployment, say: Callable[[str], None]
) -> None:
    device = device_of(deployment)
    alice, bob = person_at(deployment, "alice"), person_at(deployment, "bob")
    outcomes: Counter[str] = Counter()
    for number in range(ROUNDS):
        deployment.forget_attempts()
        before = deployment.scalar("SELECT count(*) FROM sessions")
        device_code, user_code = ask(deployment, device)
        claimed = deployment.ask(opening(alice, user_code))
        assert claimed.status == 303, claimed
        address = claimed.path()
        fields = alice.get(address).hidden_fields()
        poll = polling(device, device_code)
        theirs = bob.posting(address, bob.get("/device").hidden_fields() | {"action": "allow"})
        said = ("allow", "deny") if number % 2 else ("allow", "allow")
        answers = [alice.posting(address, fields | {"action": one}) for one in said]
        storm = [*answers, *answers, theirs, opening(bob, user_code), *[poll] * POLLS]
        made = burst(deployment.ports, storm)
        assert set(made.statuses) <= {200, 303, 400, 404}, Counter(made.statuses)
        last = deployment.ask(poll)
        tokens = [json_of(one) for one in (*made.answers, last) if one and one.status == 200]
        state = deployment.scalar("SELECT state FROM pairings ORDER BY created_at DESC, id LIMIT 1")
        outcomes[state] += 1
        new_sessions = deployment.scalar("SELECT count(*) FROM sessions") - before
        if state == "consumed":
            assert (len(tokens), new_sessions) == (1, 1)
            assert deployment.is_active(
                device_introspecting(deployment), str(tokens[0]["access_token"])
            )
        else:
            assert (state, len(tokens), new_sessions) == ("denied", 0, 0)
            assert error_of(last) == "access_denied"
    assert deployment.scalar("SELECT count(*) FROM authorizations") == outcomes["consumed"]
    say(f"device code: n={ROUNDS}x{POLLS + 6}, {dict(outcomes)}, two sets of tokens 0")


def person_at(deployment: Deployment, name: str) -> Browser:
    deployment.person(name)
    return deployment.signed_in(name)


def device_introspecting(deployment: Deployment) -> AppAt:
    return deployment.app(
        "API", grant_types=["client_credentials"], redirect_uris=[], introspects_all=1
    )
