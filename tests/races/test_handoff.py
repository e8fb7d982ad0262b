"""Everybody at one QR code at one moment: one claim, one answer, one session (FT-14, FT-15).

`RACE_ROUNDS=85` is the long run: 510 rounds on each database.
"""

import re
from collections import Counter
from collections.abc import Callable

import pytest

from idp.sessions import pairing_details
from idp.sessions.model import Pairing
from tests.harness.deployment import Deployment
from tests.harness.load_clients import Browser, burst
from tests.races.conftest import LONGER
from tests.races.test_device_grant import person_at

ROUNDS = 3 * LONGER
FETCHES = 8
SECRET = re.compile(rb"idp_session=[\w-]{20}")


def asking(deployment: Deployment) -> tuple[Browser, str]:
    """A browser that shows a code, and the address of its page."""
    browser = deployment.browser()
    return browser, browser.post("/handoff", browser.sign_in_form()).path()


def scanned(deployment: Deployment, page: str) -> str:
    """The path that the code on this page leads to."""
    with deployment.work.read() as unit:
        asked = unit.orm.get_one(Pairing, page.rpartition("/")[2])
        return f"/qr/{pairing_details.of(unit, asked).qr}"


def opening(browser: Browser, code: str) -> bytes:
    """The bytes that open a scanned code."""
    return browser.posting(code, browser.get(code).hidden_fields())


def number_on(browser: Browser, page: str) -> str:
    found = re.search(r'id="number">(\d\d)<', browser.get(page).body.decode())
    assert found is not None
    return found[1]


def showing(deployment: Deployment, name: str) -> tuple[Browser, str]:
    """Somebody who just signed in shows a code to move their session, and the address of its page."""
    person = deployment.signed_in(name)
    form, _ = person.session_form() or ({}, [])
    return person, person.post("/account/move", form).path()


def state(deployment: Deployment) -> str:
    """How the youngest pairing stands."""
    query = "SELECT state FROM pairings ORDER BY created_at DESC, id LIMIT 1"
    return str(deployment.scalar(query))


@pytest.mark.attack("XD-07")
def test_of_two_people_who_scan_one_code_at_once_one_has_it(deployment: Deployment) -> None:
    people = [person_at(deployment, name) for name in ("alice", "bob")]
    for _ in range(ROUNDS):
        deployment.forget_attempts()
        asker, page = asking(deployment)
        code = scanned(deployment, page)
        made = burst(deployment.ports, [opening(one, code) for one in people * 3])
        led = [{made.statuses[n] for n in range(who, 6, 2)} for who in (0, 1)]
        assert sorted(map(sorted, led)) == [[303], [404]]
        asker.close()


@pytest.mark.attack("XD-02")
def test_yes_no_and_many_that_come_for_it_at_once_leave_one_session_or_none(
    deployment: Deployment, say: Callable[[str], None]
) -> None:
    alice = person_at(deployment, "alice")
    deployment.limit_sessions(1_000)
    outcomes: Counter[str] = Counter()
    for number in range(ROUNDS):
        deployment.forget_attempts()
        before = deployment.scalar("SELECT count(*) FROM sessions")
        asker, page = asking(deployment)
        opened = deployment.ask(opening(alice, scanned(deployment, page)))
        assert opened.status == 303, opened
        address = opened.path()
        fields = alice.get(address).hidden_fields()
        yes = alice.posting(address, fields | {"action": f"allow-{number_on(asker, page)}"})
        no = alice.posting(address, fields | {"action": "deny"})
        form = asker.get(page).hidden_fields()
        finish = asker.posting(page, form | {"action": "finish"})
        storm = [yes, yes, *([no] if number % 2 else []), *[finish] * FETCHES]
        made = burst(deployment.ports, storm)
        assert set(made.statuses) <= {303}, Counter(made.statuses)
        last = [*made.answers, deployment.ask(finish)]
        secrets = [one for one in last if one and b"idp_session=" in one.head]
        outcomes[state(deployment)] += 1
        new_sessions = deployment.scalar("SELECT count(*) FROM sessions") - before
        if state(deployment) == "consumed":
            assert (len(secrets), new_sessions) == (1, 1)
        else:
            assert (state(deployment), len(secrets), new_sessions) == ("denied", 0, 0)
        asker.close()
    assert deployment.count_events("pairing.consumed") == outcomes["consumed"]
    say(f"QR code: n={ROUNDS}x{FETCHES + 3}, {dict(outcomes)}, two sessions 0")


@pytest.mark.attack("XD-07")
def test_of_many_browsers_that_open_a_moving_code_at_once_one_has_it(
    deployment: Deployment, say: Callable[[str], None]
) -> None:
    deployment.person("alice")
    deployment.limit_sessions(1_000)
    browsers = [deployment.browser() for _ in range(4)]
    for _ in range(ROUNDS):
        deployment.forget_attempts()
        alice, page = showing(deployment, "alice")
        code = scanned(deployment, page)
        # Each twice: the second press of one that has it is no other.
        made = burst(deployment.ports, [opening(one, code) for one in browsers * 2])
        led = [{made.statuses[n] for n in (who, who + 4)} for who in range(4)]
        assert sorted(map(sorted, led)) == [[303], [404], [404], [404]]
        assert state(deployment) == "claimed"
        alice.close()
    assert deployment.count_events("pairing.claimed") == ROUNDS
    assert deployment.count_events("pairing.contested") == ROUNDS
    say(f"moving code: n={ROUNDS}x8, two browsers 0")


@pytest.mark.attack("XD-02")
def test_a_session_that_moves_while_it_is_signed_out_goes_on_once_or_is_over(
    deployment: Deployment, say: Callable[[str], None]
) -> None:
    """Its end and its new beginning are one: never both at once, never two of the new."""
    deployment.person("alice")
    deployment.limit_sessions(1_000)
    outcomes: Counter[str] = Counter()
    for number in range(ROUNDS):
        deployment.forget_attempts()
        alice, page = showing(deployment, "alice")
        form, (old, *_) = alice.session_form() or ({}, [""])
        code, asker = scanned(deployment, page), deployment.browser()
        there = deployment.ask(opening(asker, code)).path()
        answering = alice.get(page).path()
        fields = alice.get(answering).hidden_fields() | {"wish": "instead"}
        yes = fields | {"action": f"allow-{number_on(asker, there)}"}
        assert deployment.ask(alice.posting(answering, yes)).status == 303
        finish = asker.posting(there, asker.get(there).hidden_fields() | {"action": "finish"})
        leave = alice.posting(f"/account/sessions/{old}/end", form)
        no = alice.posting(answering, fields | {"action": "deny"})
        meanwhile = ([leave], [no], [leave, no], [])[number % 4]
        storm = [*[finish] * FETCHES, *meanwhile]
        made = burst(deployment.ports, storm[:: 1 if number % 3 else -1])
        assert set(made.statuses) <= {303, 403}, Counter(made.statuses)
        secrets = [one for one in made.answers if one and SECRET.search(one.head)]
        [row] = deployment.rows("SELECT ended_at, end_reason FROM sessions WHERE id = :id", id=old)
        [pairing] = deployment.rows(
            "SELECT state, new_session_id FROM pairings ORDER BY created_at DESC, id LIMIT 1"
        )
        outcomes[f"{pairing['state']}, {row['end_reason']}"] += 1
        if pairing["state"] == "consumed":
            assert (len(secrets), row["end_reason"]) == (1, "moved")
        else:
            assert (len(secrets), pairing["new_session_id"]) == (0, None)
            assert row["end_reason"] in (None, "signed_out")
        alice.close()
        asker.close()
    say(f"moving: n={ROUNDS}, {dict(outcomes)}")
