"""The account page: what it shows of sessions, and their names."""

from collections.abc import Callable
from typing import get_args

import pytest
from sqlalchemy import event

from idp.clock import DAY, HOUR, MINUTE, SECOND
from idp.events.actor import Actor
from idp.events.catalogue import ReuseDetected
from idp.sessions import lifecycle
from idp.sessions.endings import EndReason
from idp.users import rules
from tests.harness.provider import ADMIN, Idp, Registered
from tests.web.conftest import PHONE, Somebody
from tests.web.html import Page


def row_ids(page: Page) -> list[str]:
    return [
        one.attributes["id"]
        for one in page.elements
        if one.tag == "li" and one.attributes.get("id", "").startswith(("ses_", "azn_"))
    ]


def test_the_present_session_comes_first_then_the_most_active(idp: Idp, alice: Somebody) -> None:
    first, second = alice.elsewhere(), alice.elsewhere()
    idp.clock.advance(5 * MINUTE)
    third = alice.elsewhere()
    page = alice.sessions()
    assert row_ids(page)[:2] == [alice.id, third]
    assert set(row_ids(page)[2:]) == {first, second}


def test_a_row_says_what_is_known(idp: Idp, alice: Somebody, app: Registered) -> None:
    alice.use(app)
    alice.elsewhere(agent=PHONE, ip="2001:db8::7")
    text = alice.sessions().text
    for words in (
        "Chrome 156 on Windows",
        "This device",
        "Place unknown · 192.0.2.1",
        "Active now · signed in 15 Jan, 08:00 UTC with password · 1 app",
        "Notes",
        "after 60 minutes without activity, at the latest 16 Jan, 08:00 UTC",
        "Level 1: one proof",
        "Windows NT 10.0; Win64; x64",
        f"…{alice.id[-6:]}",
        "Opened Notes",
        "Signed in with password",
        "Safari 19 on iPhone",
        "2001:db8::7",
        "no apps yet",
    ):
        assert words in text, words


def test_times_are_readable_by_machines(alice: Somebody) -> None:
    times = [one.attributes["datetime"] for one in alice.sessions().elements if one.tag == "time"]
    assert "2027-01-15T08:00:00Z" in times


def test_activity_is_said_in_minutes_hours_and_days(idp: Idp, alice: Somebody) -> None:
    other = alice.elsewhere()
    idp.execute("UPDATE sessions SET idle_at = :t, expires_at = :t", t=idp.clock.now() + 9 * DAY)
    for ago, words in (
        (90 * SECOND, "Active now"),
        (3 * MINUTE, "Active 3 minutes ago"),
        (5 * HOUR, "Active 5 hours ago"),
        (3 * DAY, "Active 3 days ago"),
    ):
        at = idp.clock.now() - ago
        idp.execute("UPDATE sessions SET last_active_at = :t WHERE id = :i", t=at, i=other)
        assert words in alice.sessions().text


def test_looking_at_the_page_is_activity(idp: Idp, alice: Somebody) -> None:
    for _ in range(4):
        idp.clock.advance(50 * MINUTE)
        alice.sessions()


def test_asking_for_receipts_is_no_activity(idp: Idp, alice: Somebody) -> None:
    idp.clock.advance(50 * MINUTE)
    assert alice.browser.get("/account/sessions/receipts?done=1").status_code == 204
    idp.clock.advance(20 * MINUTE)
    assert alice.browser.get("/account/sessions").status_code == 303


def test_the_secret_changes_from_time_to_time(idp: Idp, alice: Somebody) -> None:
    alice.sessions()
    assert alice.browser.cookies.get("idp_session") == alice.session.secret
    idp.clock.advance(16 * MINUTE)
    alice.sessions()
    assert alice.browser.cookies.get("idp_session") != alice.session.secret
    # Another tab may still send the old one for a moment, and gets no third.
    tab = idp.signed_in_browser(alice.session)
    assert "set-cookie" not in {
        name: value
        for name, value in tab.get("/account/sessions").headers.items()
        if "idp_session" in value
    }
    alice.sessions()
    idp.clock.advance(2 * MINUTE)
    assert tab.get("/account/sessions").status_code == 303


def test_a_session_is_renamed_and_gets_its_old_name_back(idp: Idp, alice: Somebody) -> None:
    page = alice.sessions()
    path = f"/account/sessions/{alice.id}/rename"
    token = page.form(action=path).fields["csrf"]
    response = alice.browser.post(path, data={"csrf": token, "name": "  Work   laptop "})
    assert response.headers["location"] == f"/account/sessions#{alice.id}"
    page = alice.sessions()
    assert "Work laptop" in page.text
    assert page.element(f"name-{alice.id}").attributes["value"] == "Work laptop"
    alice.browser.post(path, data={"csrf": token, "name": ""})
    page = alice.sessions()
    assert "Work laptop" not in page.text
    assert page.element(f"name-{alice.id}").attributes["placeholder"] == "Chrome 156 on Windows"


def test_a_session_is_kept_and_let_go_again(idp: Idp, alice: Somebody) -> None:
    other = alice.elsewhere()
    path = f"/account/sessions/{other}/keep"
    page = alice.sessions()
    assert "Kept" not in page.text
    form = page.form(action=path)
    assert form.buttons == [("", "keep", "yes")]
    response = alice.browser.post(path, data=form.fields | {"keep": "yes"})
    assert response.headers["location"] == f"/account/sessions#{other}"
    page = alice.sessions()
    assert "Kept" in page.text
    assert "At your limit it is the last to be signed out." in page.text
    assert "Kept signed in" in page.text
    form = page.form(action=path)
    assert form.buttons == [("", "keep", "no")]
    alice.browser.post(path, data=form.fields | {"keep": "no"})
    assert "At your limit it is the last to be signed out." not in alice.sessions().text
    assert alice.browser.post(path, data=form.fields | {"keep": "x"}).status_code == 400


def test_the_rules_in_force_are_said_in_plain_words(idp: Idp, alice: Somebody) -> None:
    """Row L7."""
    text = alice.sessions().text
    assert "You may be signed in on at most 15 devices at once; now it is 1." in text
    assert "At the limit the one that rested longest is signed out." in text
    assert (
        "A session ends after 60 minutes without activity, and after 24 hours whatever you do."
        in text
    )
    alice.elsewhere(agent=PHONE)
    with idp.work.begin() as unit:
        rules.set_rule(unit, "timeouts", {}, {"idle": 600, "absolute": 43_200}, ADMIN)
        rules.set_rule(unit, "limits", {}, {"maximum": 5, "at_limit": "ask"}, ADMIN)
        rules.set_rule(unit, "limits", {}, {"maximum": 3, "per": "ip"}, ADMIN)
        where = {"device_type": "phone", "country": "FR"}
        rules.set_rule(unit, "limits", where, {"maximum": 1, "at_limit": "block"}, ADMIN)
    text = alice.sessions().text
    assert "on at most 5 devices at once; now it is 2. At the limit you choose" in text
    assert "on at most 3 devices at once (from one address); now it is 1." in text
    assert "on at most 1 device at once (phones, in France); now it is 0." in text
    assert "At the limit nobody can sign in as you before you sign out on one." in text
    assert "after 10 minutes without activity, and after 12 hours whatever you do." in text


@pytest.mark.parametrize(
    ("kind", "value", "says"),
    [
        (
            "hours",
            {"timezone": "Europe/Paris", "from": "08:00", "to": "18:00", "grace": 300,
             "holidays": ["2027-01-14", "2027-01-17", "2027-01-18"]},
            "You may be signed in from 08:00 to 18:00, Monday to Friday (Europe/Paris). The next day "
            "off is Monday, 18 January. You are signed out 5 minutes after closing time.",
        ),
        (
            "hours",
            {"timezone": "UTC", "from": "06:00", "to": "02:00", "days": "fri,sat", "grace": 0},
            "You may be signed in from 06:00 to 02:00, Friday, Saturday (UTC). That is over midnight, "
            "and belongs to the day it begins on. You are signed out at closing time.",
        ),
        (
            "networks",
            {"allow": ["192.0.2.0/24"]},
            "You may be signed in from certain networks only; this is one of them. Elsewhere a "
            "session is refused, and goes on when you are back.",
        ),
        (
            "networks",
            {"deny": ["AS64496"], "outside": "end"},
            "From some networks you may not be signed in; this is none of them. A session that is "
            "used elsewhere ends.",
        ),
    ],
)  # fmt: skip
def test_hours_and_networks_are_said_in_plain_words(
    idp: Idp, kind: str, value: dict[str, object], says: str
) -> None:
    with idp.work.begin() as unit:
        rules.set_rule(unit, kind, {}, value, ADMIN)
    user = idp.person("alice")
    session = idp.session(user)
    browser = idp.signed_in_browser(session, ip="192.0.2.1")
    page = Page(browser.get("/account/sessions"))
    assert says in page.text
    # Whoever sits there in their place does not learn where else it would work.
    assert "192.0.2.0/24" not in page.text
    assert "64496" not in page.text


def test_without_a_rule_nothing_is_said_of_hours_and_networks(alice: Somebody) -> None:
    text = alice.sessions().text
    assert "You may be signed in from" not in text
    assert "networks" not in text


@pytest.mark.parametrize("name", ["x" * 61, "a\x07b", "\u202egnp.exe", "a\u200bb"])
def test_a_name_that_misleads_is_refused(name: str, alice: Somebody) -> None:
    token = alice.sessions().forms[0].fields["csrf"]
    response = alice.browser.post(
        f"/account/sessions/{alice.id}/rename", data={"csrf": token, "name": name}
    )
    assert response.status_code == 400
    assert "at most 60 characters" in Page(response).text


def test_a_copied_token_is_reported_for_a_week(idp: Idp, alice: Somebody, app: Registered) -> None:
    other = alice.elsewhere()
    with idp.work.begin() as unit:
        unit.record(
            ReuseDetected(
                user_id=alice.user.id,
                session_id=other,
                client_id=app.id,
                authorization_id="azn_x",
                kind="refresh_token",
            )
        )
    page = alice.sessions()
    assert "A copied token of Notes was used" in page.text
    assert "Needs attention" in page.text
    assert "sign out the session marked below" in page.text
    idp.end(other)
    assert "marked below" not in alice.sessions().text
    never = idp.clock.now() + 9 * DAY
    idp.execute("UPDATE sessions SET idle_at = :t, expires_at = :t", t=never)
    idp.clock.advance(7 * DAY)
    assert "copied token" not in alice.sessions().text


def test_ended_sessions_say_who_and_why(idp: Idp, alice: Somebody, app: Registered) -> None:
    reasons = {
        "client_logout": (Actor("client", app.id), "Signed out by Notes"),
        "limit": (lifecycle.SYSTEM, "by the limit of your sessions: it had rested longest"),
        "idle_timeout": (lifecycle.SYSTEM, "Expired after 60 minutes without activity"),
        "admin": (Actor("admin", "ops"), "Signed out by an administrator"),
        "password_changed": (Actor("user", alice.user.id), "because your password was changed"),
        "user_disabled": (Actor("admin", "ops"), "because your account was disabled"),
        "replaced": (Actor("user", "usr_x"), "Somebody else signed in with this browser"),
        "signed_out": (Actor("user", alice.id), "You signed it out from Chrome 156 on Windows"),
        "signed_out_everywhere": (Actor("user", alice.user.id), "You signed out everywhere"),
    }
    for reason, (actor, _) in reasons.items():
        session_id = alice.elsewhere()
        with idp.work.begin() as unit:
            lifecycle.end(unit, [session_id], reason=reason, actor=actor)
    alone = alice.elsewhere()
    with idp.work.begin() as unit:
        lifecycle.end(unit, [alone], reason="signed_out", actor=Actor("user", alone))
    page = alice.sessions("?tab=ended")
    for reason, (_, words) in reasons.items():
        assert words in page.text, reason
    assert "You signed out on this device" in page.text
    assert len(row_ids(page)) == len(reasons) + 1


def test_every_way_to_end_has_words_in_the_list(idp: Idp, alice: Somebody) -> None:
    codes = get_args(EndReason)
    for reason in codes:
        idp.end(alice.elsewhere(), reason)
    answer = alice.browser.get("/account/sessions?tab=ended")
    assert len(row_ids(Page(answer))) == len(codes)
    assert [one for one in codes if f'"why">{one} ' in answer.text] == [], "a code is no sentence"


def test_history_is_shown_as_long_as_it_is_kept(idp: Idp, alice: Somebody) -> None:
    gone = alice.elsewhere()
    idp.end(gone)
    never = idp.clock.now() + 99 * DAY
    idp.execute("UPDATE sessions SET idle_timeout = :t, idle_at = :t, expires_at = :t", t=never)
    idp.clock.advance(89 * DAY)
    assert gone in row_ids(alice.sessions("?tab=ended"))
    idp.clock.advance(2 * DAY)
    page = alice.sessions("?tab=ended")
    assert row_ids(page) == []
    assert "No session of yours has ended in this time" in page.text


def test_a_long_run_of_refreshes_is_one_line(idp: Idp, alice: Somebody, app: Registered) -> None:
    tokens = alice.use(app, scope="openid offline_access")
    for _ in range(30):
        _, tokens = idp.token(
            app, grant_type="refresh_token", refresh_token=tokens["refresh_token"]
        )
        idp.clock.advance(SECOND)
    text = alice.sessions().text
    assert "Notes renewed its access ×30" in text
    assert "Signed in with password" in text


def test_nobody_sees_the_sessions_of_another(
    idp: Idp, alice: Somebody, somebody: Callable[..., Somebody]
) -> None:
    bob = somebody("bob")
    theirs = bob.elsewhere()
    assert theirs not in alice.browser.get("/account/sessions").text
    token = alice.sessions().forms[0].fields["csrf"]
    for path in (
        f"/account/sessions/{theirs}/end",
        f"/account/sessions/{theirs}/rename",
        f"/account/sessions/{theirs}/keep",
    ):
        response = alice.browser.post(path, data={"csrf": token, "name": "x", "keep": "yes"})
        assert response.status_code == 404
    for unknown in ("ses_x", "ses_" + "0" * 32, "%00", "ses_" + "0" * 31 + "%00", "a" * 500):
        response = alice.browser.post(f"/account/sessions/{unknown}/end", data={"csrf": token})
        assert response.status_code == 404
    response = alice.browser.post(
        "/account/sessions/end",
        data={"csrf": token, "what": "selected", "confirmed": "yes", f"select.{theirs}": "on"},
    )
    assert bob.is_running(theirs)
    assert bob.is_running(bob.id)


def test_the_page_costs_the_same_few_statements_however_many_sessions(
    idp: Idp, alice: Somebody
) -> None:
    seen: list[str] = []
    for engine in (idp.work.database.reading, idp.work.database.writing):
        event.listen(engine, "before_cursor_execute", lambda *given: seen.append(given[2]))

    def statements() -> int:
        seen.clear()
        alice.sessions()
        # The rules are read once a second, however long this takes, in a transaction of their own.
        return sum(one != "BEGIN" and "FROM rules" not in one for one in seen)

    statements()  # reads the timeline, which is kept
    few = statements()
    for _ in range(12):
        alice.elsewhere()
    assert statements() == few + 1, "one for all of the timelines that are new"
    assert statements() == few
