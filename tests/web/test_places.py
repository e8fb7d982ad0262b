"""Where sessions are: looked up at the sign-in, kept, and shown as what it is, a guess."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from idp.cli.sessions import _described
from idp.events.catalogue import PasswordChanged
from idp.policy import network
from idp.sessions import queries
from idp.sessions.atlas import CHECK_EVERY
from idp.sessions.model import Session
from idp.sessions.place import Place
from idp.users.rules import set_rule
from tests.harness import mmdb
from tests.harness.mails import owed
from tests.harness.provider import ADMIN, ISSUER, Idp, Registered, Templates, settings_for
from tests.harness.workbench import ManualClock
from tests.web.conftest import Somebody, begin, sign_in
from tests.web.factors import page_of
from tests.web.html import Page

LYON, HOME, NOWHERE = "203.0.113.7", "192.0.2.1", "198.51.100.9"
CITIES = {
    "203.0.113.0/24": mmdb.city("Lyon", "FR", region="Rhône", at=(45.748, 4.85), radius=20),
    "198.51.100.0/28": mmdb.city(None, "JP", region="Kyoto"),
    "198.51.100.16/28": mmdb.city(None, "DE"),
    "198.51.100.32/28": mmdb.city("evil.example", None),
    "198.51.100.48/28": mmdb.city("<b>Lyon</b>", "FR"),
}
NETWORKS = {"203.0.113.0/24": mmdb.network(64496, "Orange")}
LINK = '<a href="https://db-ip.com" rel="noreferrer noopener">IP Geolocation by DB-IP</a>'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "geo"
    made.mkdir()
    mmdb.write(made / "dbip-city.mmdb", CITIES)
    mmdb.write(made / "asn.mmdb", NETWORKS)
    return made


@pytest.fixture
def idp(tmp_path: Path, templates: Templates, clock: ManualClock, folder: Path) -> Iterator[Idp]:
    """A provider that knows some places."""
    url = templates.sqlite(tmp_path / "idp.db")
    made = Idp(settings_for(url, geo={"folder": str(folder)}), clock)
    yield made
    made.close()


def signed_in_from(idp: Idp, address: str, app: Registered) -> tuple[TestClient, Session]:
    """Somebody new who signs in from an address; their browser and their session."""
    user = idp.person(f"somebody-{idp.count('users')}")
    browser = TestClient(idp.app, base_url=ISSUER, client=(address, 4711), follow_redirects=False)
    response = sign_in(browser, Page(begin(browser, app)), username=user.username)
    assert response.status_code == 303
    with idp.work.read() as unit:
        (session,) = queries.running_of(unit, user.id)
    return browser, session


def kept(idp: Idp, session: Session) -> Place:
    with idp.work.read() as unit:
        return queries.details(unit, unit.orm.get_one(Session, session.id)).place


def test_a_session_keeps_where_it_was_begun(idp: Idp, app: Registered) -> None:
    _, session = signed_in_from(idp, LYON, app)
    assert (session.address, session.asn, session.country) == (network.key(LYON), 64496, "FR")
    assert kept(idp, session) == Place("FR", "Rhône", "Lyon", 45.748, 4.85, 20, 64496, "Orange")
    for hidden in ("Lyon", "Orange", "45.7"):
        assert hidden not in session.details


def test_a_row_says_where_and_that_it_is_a_guess(idp: Idp, alice: Somebody) -> None:
    shown = {
        LYON: "Lyon, France (approximate) · 203.0.113.7 · Orange Active",
        "198.51.100.1": "Kyoto, Japan (approximate) · 198.51.100.1 Active",
        "198.51.100.17": "Germany (approximate) · 198.51.100.17 Active",
        "198.51.100.33": "evil.example (approximate) · 198.51.100.33 Active",
        "198.51.100.49": "<b>Lyon</b>, France (approximate) · 198.51.100.49 Active",
        "192.168.1.1": "Place unknown · 192.168.1.1 Active",
    }
    for address in shown:
        alice.elsewhere(ip=address)
    text = alice.sessions().text
    for words in shown.values():
        assert words in text
    guessed = "We guess the place from the IP address; VPNs and mobile networks move it."
    assert text.count(guessed) == 5
    assert text.count("Unknown: the address does not tell us.") == 2  # and alice's own


def test_ended_sessions_and_suspects_have_a_place_too(idp: Idp, alice: Somebody) -> None:
    ended, suspect = alice.elsewhere(ip=LYON), alice.elsewhere(ip=LYON)
    idp.end(ended)
    for page in (
        alice.sessions("?tab=ended"),
        page_of(alice, f"/account/security/not-me?session={suspect}"),
        page_of(alice, "/account/security/not-me"),
    ):
        assert "Lyon, France (approximate) · 203.0.113.7 · Orange" in page.text
        assert "IP Geolocation by DB-IP" in page.text


def test_the_data_is_named_where_a_place_is_shown_and_nowhere_else(
    idp: Idp, alice: Somebody
) -> None:
    assert LINK not in alice.browser.get("/account/sessions").text
    alice.elsewhere(ip=LYON)
    assert LINK in alice.browser.get("/account/sessions").text
    assert LINK not in alice.browser.get("/account/sessions?tab=ended").text


def test_apps_see_the_place_or_that_there_is_none(
    idp: Idp, alice: Somebody, app: Registered
) -> None:
    alice.elsewhere(ip=LYON)
    token = alice.use(app, scope="openid sessions")["access_token"]
    answer = idp.browser().get(
        "/api/v1/users/sessions", headers={"authorization": f"Bearer {token}"}
    )
    places = {one["ip"]: one["place"] for one in answer.json()["sessions"]}
    assert places == {
        HOME: None,
        LYON: {"country": "FR", "region": "Rhône", "city": "Lyon", "network": "Orange"},
    }


@pytest.mark.parametrize(
    ("address", "city", "country"),
    [
        (LYON, "Lyon", "FR"),
        ("198.51.100.17", None, "DE"),
        (NOWHERE, None, "JP"),
        (HOME, None, None),
    ],
)
def test_a_notice_says_where_its_cause_was(
    idp: Idp, alice: Somebody, address: str, city: str | None, country: str | None
) -> None:
    there = alice.elsewhere(ip=address)
    with idp.work.begin() as unit:
        unit.record(PasswordChanged(actor="user", actor_id=there, user_id=alice.user.id))
    (mail,) = owed(idp, "password_changed")
    assert (mail.values["ip"], mail.values["city"], mail.values["country"]) == (
        address,
        city,
        country,
    )


def test_a_notice_of_another_address_says_no_place(idp: Idp, alice: Somebody) -> None:
    there = alice.elsewhere(ip=LYON)
    with idp.work.begin() as unit:
        unit.record(
            PasswordChanged(actor="user", actor_id=there, user_id=alice.user.id, ip=NOWHERE)
        )
    (mail,) = owed(idp, "password_changed")
    assert (mail.values["ip"], mail.values["city"], mail.values["country"]) == (NOWHERE, None, None)


def test_rules_hold_by_country_and_by_network_from_the_first_moment(
    idp: Idp, app: Registered
) -> None:
    with idp.work.begin() as unit:
        set_rule(unit, "timeouts", {"country": "FR"}, {"idle": 300}, ADMIN)
        set_rule(unit, "timeouts", {"network": "AS64496"}, {"absolute": 900}, ADMIN)
    _, there = signed_in_from(idp, LYON, app)
    _, here = signed_in_from(idp, HOME, app)
    assert there.idle_timeout == 300_000_000
    assert there.expires_at - there.created_at == 900_000_000
    assert here.idle_timeout == 3_600_000_000


@pytest.mark.parametrize("content", [None, b"", b"x" * 500, mmdb.made(CITIES)[:-60]])
def test_broken_files_keep_nobody_out_and_what_is_known_stays_known(
    idp: Idp, app: Registered, folder: Path, content: bytes | None
) -> None:
    _, before = signed_in_from(idp, LYON, app)
    for file in folder.iterdir():
        file.unlink()
        if content is not None:
            file.write_bytes(content)
    idp.clock.advance(CHECK_EVERY)
    browser, after = signed_in_from(idp, LYON, app)
    assert kept(idp, before).city == "Lyon"
    assert kept(idp, after) == Place()
    assert "Place unknown · 203.0.113.7" in Page(browser.get("/account/sessions")).text


def test_a_session_from_before_there_were_places_is_shown(idp: Idp, alice: Somebody) -> None:
    with idp.work.begin() as unit:
        session = unit.orm.get_one(Session, alice.id)
        details: dict[str, Any] = queries.details_of(unit, session)
        del details["place"]
        session.details = queries.sealed_details(unit, session.id, details)
    assert "Place unknown · 192.0.2.1" in alice.sessions().text


def test_administrators_read_the_place_in_one_line(idp: Idp, alice: Somebody) -> None:
    there = alice.elsewhere(ip=LYON)
    with idp.work.read() as unit:
        lines = {
            one: _described(unit, unit.orm.get_one(Session, one))["place"]
            for one in (there, alice.id)
        }
    assert lines == {there: "Lyon, Rhône, FR, AS64496, Orange", alice.id: None}


def test_a_new_name_leaves_the_place(idp: Idp, alice: Somebody) -> None:
    there = alice.elsewhere(ip=LYON)
    alice.browser.post(
        f"/account/sessions/{there}/rename",
        data={"csrf": alice.sessions().form(button="end-others").fields["csrf"], "name": "Hotel"},
    )
    text = alice.sessions().text
    assert "Hotel" in text
    assert "Lyon, France (approximate)" in text
