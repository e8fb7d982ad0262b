"""Signing out many on the administrators' pages: looked at, confirmed, proved, followed."""

import re
from html import unescape

import pytest
from starlette.testclient import TestClient

from idp.admin import bulk
from idp.clock import MINUTE
from idp.policy import management
from idp.sessions import beginning
from idp.sessions.device import Visit
from idp.sessions.prove import PASSWORD as BY_PASSWORD
from idp.users import queries
from tests.console.conftest import Enter, send, text_of, token_of
from tests.harness.provider import Idp
from tests.harness.workbench import ManualClock

PATH = "/admin/sessions/sign-out"
NETWORK = "ip:10.0.0.0/8"


def crowd(idp: Idp, people: int, *, ip: str = "10.1.1.1", name: str = "p") -> list[str]:
    """So many people with a session each; gives the sessions' ids."""
    with idp.work.begin() as unit:
        return [
            beginning.start(
                unit,
                queries.create_user(unit, username=f"{name}{number}"),
                [BY_PASSWORD],
                Visit(ip=ip),
            ).session_id
            for number in range(people)
        ]


def form_of(browser: TestClient, text: str) -> dict[str, str]:
    """The hidden fields of the form that confirms."""
    page = browser.get(PATH, params={"q": text}).text
    form = page[page.index('id="sign-out-form"') :]
    fields = re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', form)
    return {name: unescape(value) for name, value in fields if name != "csrf"}


def running(idp: Idp) -> int:
    return idp.count("sessions WHERE ended_at IS NULL")


@pytest.mark.attack("AD-08")
def test_a_few_are_looked_at_confirmed_and_signed_out(idp: Idp, enter: Enter) -> None:
    app = idp.register(name="Wiki", backchannel_logout_uri="http://127.0.0.1:9/l")
    ids = crowd(idp, 3)
    crowd(idp, 1, ip="192.0.2.77", name="elsewhere")
    alice = idp.person("alice")
    started = idp.session(alice, ip="10.2.2.2")
    tokens = idp.grant(app, started)
    browser = enter()
    page = text_of(browser.get(PATH, params={"q": NETWORK}).text)
    assert "Sign out 4 sessions?" in page
    assert "Nothing has been done yet." in page
    assert "Type" not in page, "few enough to be seen at once"
    assert running(idp) == 6
    status, where = send(browser, PATH, **form_of(browser, NETWORK), reason="network was breached")
    assert status == 303
    progress = text_of(browser.get(where).text)
    assert "4 sessions signed out" in progress
    assert "All that matched ip:10.0.0.0/8" in progress
    assert "network was breached" in progress
    assert "root" in progress
    assert re.search(r"Wiki 1 0 1 0 0", progress), "one session, being told"
    assert running(idp) == 2
    assert not idp.is_active(app, tokens["access_token"])
    ended = idp.events("session.ended")
    assert {one["session_id"] for one in ended} == {*ids, started.session.id}
    assert all(one["actor"] == "admin" and "network was breached" in one["data"] for one in ended)
    assert "network was breached" in browser.get("/admin/operations").text


def test_many_are_signed_out_only_when_their_number_is_typed(idp: Idp, enter: Enter) -> None:
    crowd(idp, 21)
    browser = enter()
    fields = form_of(browser, NETWORK)
    assert fields["matched"] == "21"
    assert "Type 21 to confirm" in text_of(browser.get(PATH, params={"q": NETWORK}).text)
    for typed in ("", "20", "2١", "yes"):
        status, page = send(browser, PATH, **fields, reason="because", typed=typed)
        assert status == 400
        assert "Type 21 to confirm." in page
        assert 'value="because"' in page, "what was typed is kept"
    # Whoever leaves out what they saw has confirmed nothing.
    for lie in ({"matched": "1"}, {"matched": "x"}, {"matched": ""}):
        status, page = send(browser, PATH, **{**fields, **lie}, reason="because", typed="1")
        assert (status, "There are 21 now." in page) == (409, True)
    assert running(idp) == 22
    status, _ = send(browser, PATH, **fields, reason="because", typed=" 21 ")
    assert status == 303
    assert running(idp) == 1


def test_when_there_are_many_more_than_were_seen_it_is_asked_again(idp: Idp, enter: Enter) -> None:
    crowd(idp, 2)
    browser = enter()
    fields = form_of(browser, NETWORK)
    crowd(idp, 6, name="later")
    status, page = send(browser, PATH, **fields, reason="because")
    assert status == 409
    assert "There are 8 now." in page
    assert running(idp) == 9
    (shown,) = re.findall(r'name="matched" value="(\d+)"', page)
    assert shown == "8"


def test_without_a_reason_or_a_filter_nothing_ends(idp: Idp, enter: Enter) -> None:
    crowd(idp, 1)
    browser = enter()
    fields = form_of(browser, NETWORK)
    assert send(browser, PATH, **fields, reason="  ")[0] == 400
    assert send(browser, PATH, **{**fields, "q": ""}, reason="x")[0] == 400
    assert send(browser, PATH, **{**fields, "q": "state:ended"}, reason="x")[0] == 400
    assert send(browser, PATH, **{**fields, "q": "planet:mars"}, reason="x")[0] == 400
    assert send(browser, PATH, **{**fields, "key": ""}, reason="x")[0] == 400
    assert browser.get(PATH).status_code == 400
    assert running(idp) == 2


def test_a_form_that_is_sent_twice_is_one_operation(idp: Idp, enter: Enter) -> None:
    crowd(idp, 2)
    browser = enter()
    fields = form_of(browser, NETWORK)
    first = send(browser, PATH, **fields, reason="because")
    crowd(idp, 1, name="later")
    second = send(browser, PATH, **fields, reason="because")
    assert first == second
    assert running(idp) == 2, "who came later stays"
    assert idp.count("bulk_sign_outs") == 1
    assert send(browser, PATH, **fields, reason="something else")[0] == 422


def test_a_proof_is_asked_for_and_the_form_waits(
    idp: Idp, enter: Enter, clock: ManualClock
) -> None:
    crowd(idp, 2)
    browser = enter()
    fields = form_of(browser, NETWORK)
    clock.advance(6 * MINUTE)
    status, page = send(browser, PATH, **fields, reason="because")
    assert status == 200
    assert 'name="for" value="administer"' in page
    assert 'name="kept"' in page
    assert running(idp) == 3


def test_everybody_is_said_so_and_includes_whoever_asks(idp: Idp, enter: Enter) -> None:
    crowd(idp, 2)
    browser = enter()
    page = browser.get(f"{PATH}?all=yes").text
    assert "The session you are in is among them" in page
    fields = dict(re.findall(r'type="hidden" name="(all|key|matched)" value="([^"]*)"', page))
    assert fields["matched"] == "3"
    assert send(browser, PATH, **fields, reason="x")[0] == 400, "also a few are typed"
    status, where = send(browser, PATH, **fields, reason="stolen database", typed="3")
    assert status == 303
    assert browser.get(where).status_code == 303, "they must sign in again"
    page = enter(username="another").get(where).text
    assert "Everybody is signed out already" in page
    while bulk.carry_on(idp.work):
        pass
    assert running(idp) == 1
    (done,) = idp.events("bulk_sign_out.done")
    assert done["actor"] == "admin"


def test_everybody_beside_a_filter_is_refused_and_never_means_everybody(
    idp: Idp, enter: Enter
) -> None:
    """A link or form that was changed by hand, or came half: there is nothing to confirm."""
    crowd(idp, 2)
    browser = enter()
    for text in (NETWORK, "garbage", "planet:mars"):
        answer = browser.get(PATH, params={"all": "yes", "q": text})
        assert answer.status_code == 400
        assert "not both" in answer.text
        assert "sign-out-confirm" not in answer.text
    page = browser.get(f"{PATH}?all=yes").text
    fields = dict(re.findall(r'type="hidden" name="(all|key|matched)" value="([^"]*)"', page))
    assert send(browser, PATH, **fields, q=NETWORK, reason="x", typed="3")[0] == 400
    assert running(idp) == 3


@pytest.mark.attack("AD-04")
def test_sessions_of_people_above_are_left_alone(idp: Idp, enter: Enter) -> None:
    crowd(idp, 1)
    with idp.work.begin() as unit:
        queries.define_role(unit, "chief", management.SCOPES)
    idp.session(idp.person("chief", roles=["chief"]), ip="10.3.3.3")
    support = enter("sessions:read", "sessions:revoke", username="support")
    fields = form_of(support, NETWORK)
    assert fields["matched"] == "1"
    assert send(support, PATH, **fields, reason="x")[0] == 303
    assert running(idp) == 2


@pytest.mark.attack("WB-02")
def test_looking_ends_nobody_and_a_stranger_s_form_neither(idp: Idp, enter: Enter) -> None:
    crowd(idp, 1)
    mine, theirs = enter(), enter(username="other")
    nearly = enter(*(o for o in management.SCOPES if o != "sessions:revoke"), username="nearly")
    fields = form_of(mine, NETWORK)
    before = running(idp)
    mine.get(PATH, params={**fields, "reason": "x"})
    assert mine.post(PATH, data={**fields, "reason": "x"}).status_code == 403
    sent = {**fields, "reason": "x", "csrf": token_of(theirs)}
    assert mine.post(PATH, data=sent).status_code == 403
    assert send(nearly, PATH, **fields, reason="x")[0] == 404
    assert running(idp) == before
    assert mine.get("/admin/operations/blk_nothing").status_code == 404


def test_people_are_named_where_a_filter_has_their_id(idp: Idp, enter: Enter) -> None:
    alice = idp.person("alice")
    idp.session(alice)
    browser = enter()
    status, where = send(browser, PATH, **form_of(browser, "user:alice"), reason="lost")
    assert status == 303
    for path in (where, "/admin/operations"):
        page = text_of(browser.get(path).text)
        assert "user:alice" in page
        assert alice.id not in page
