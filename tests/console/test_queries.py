"""Searches and reports under a name, on the administrators' pages."""

import re

from idp.console import feed
from idp.events import log
from idp.events.catalogue import SessionDisowned
from tests.console.conftest import Enter, send, text_of
from tests.harness.provider import Idp

PATH = "/admin/queries"
NEW = f"{PATH}/new"


def only(page: str) -> tuple[str, str]:
    """The id of the query on the page, and the tag its forms were made from."""
    (query_id,) = re.findall(r'<tr id="(qry_[0-9a-f]+)"', page)
    return query_id, re.findall(r'name="tag" value="([^"]+)"', page)[0].replace("&#34;", '"')


def test_a_search_is_saved_from_its_page_and_opened_by_its_address(enter: Enter) -> None:
    browser = enter()
    page = browser.get("/admin/sessions?q=device:phone").text
    assert '<input type="hidden" name="q" value="device:phone">' in page
    sent = {"name": "Phones", "kind": "sessions", "q": "device:phone", "key": "k" * 43}
    assert send(browser, NEW, **sent) == (303, PATH)
    assert send(browser, NEW, **sent) == (303, PATH)
    query_id, tag = only(browser.get(PATH).text)
    opened = browser.get(f"{PATH}/{query_id}")
    assert opened.headers["location"] == "/admin/sessions?q=device%3Aphone"
    assert browser.get(opened.headers["location"]).status_code == 200
    changed = {"name": "Phones in France", "q": "device:phone country:FR", "tag": tag}
    assert send(browser, f"{PATH}/{query_id}/change", **changed) == (303, PATH)
    assert "country%3AFR" in browser.get(f"{PATH}/{query_id}").headers["location"]
    # A mistake of one's own brings the form back as it was made, not as though this had been seen.
    status, page = send(browser, f"{PATH}/{query_id}/change", **changed | {"name": ""})
    assert (status, only(page)[1]) == (400, tag)
    status, page = send(browser, f"{PATH}/{query_id}/change", **changed)
    assert status == 412
    assert 'value="Phones in France"' in page
    _, tag = only(page)
    assert send(browser, f"{PATH}/{query_id}/remove", reason="", tag=tag)[0] == 400
    assert send(browser, f"{PATH}/{query_id}/remove", reason="done", tag=tag) == (303, PATH)
    assert browser.get(f"{PATH}/{query_id}").status_code == 404
    assert send(browser, f"{PATH}/{query_id}/remove", reason="x", tag=tag)[0] == 404


def test_a_report_is_of_so_many_days_until_the_day_it_is_opened(enter: Enter) -> None:
    browser = enter()
    assert 'name="q" value="days:7"' in browser.get("/admin/reports/usage?days=7").text
    send(browser, NEW, name="Week", kind="usage", q="days:7", key="k" * 43)
    query_id, _ = only(browser.get(PATH).text)
    where = browser.get(f"{PATH}/{query_id}").headers["location"]
    assert where == "/admin/reports/usage?q=days%3A7"
    assert '?days=7" aria-current="true"' in browser.get(where).text
    assert browser.get("/admin/reports/usage?q=days:7&days=7").status_code == 400


def test_what_was_typed_wrongly_stands_there_again(enter: Enter) -> None:
    browser = enter()
    for wrong in ({"q": "colour:red"}, {"name": ""}, {"kind": "secrets"}):
        sent = {"name": "Red", "kind": "sessions", "q": "device:tv", "key": "k" * 43} | wrong
        status, page = send(browser, NEW, **sent)
        assert status == 400
        assert f'value="{sent["q"]}"' in page
    assert "Nothing is saved yet" in text_of(browser.get(PATH).text)


def test_who_may_only_look_has_no_form_and_who_may_not_ask_no_row(enter: Enter) -> None:
    root = enter()
    send(root, NEW, name="Anna", kind="sessions", q="user:anna", key="k" * 43)
    reader = enter("queries:read", "sessions:read", username="reader")
    page = reader.get(PATH).text
    assert "user:anna" in page
    for form in ("/new", "/change", "/remove"):
        assert f'{form}"' not in page
    assert f'href="{PATH}"' in reader.get("/admin/sessions").text
    assert "Save this search" not in reader.get("/admin/sessions").text
    query_id, tag = only(root.get(PATH).text)
    assert send(reader, NEW, name="x", kind="sessions", q="")[0] == 404
    assert send(reader, f"{PATH}/{query_id}/remove", reason="x", tag=tag)[0] == 404
    other = enter("queries:read", "queries:write", "events:read", username="other")
    assert "user:anna" not in other.get(PATH).text
    assert other.get(f"{PATH}/{query_id}").status_code == 404
    blind = enter("sessions:read", username="blind")
    assert PATH not in blind.get("/admin/sessions").text


def test_the_name_of_a_person_is_for_whoever_may_read_users(idp: Idp, enter: Enter) -> None:
    """In the audit log, its events, the reports, and the rows of what administrators did."""
    root = enter()
    send(root, NEW, name="Week", kind="usage", q="days:7", key="k" * 43)
    anna = idp.person("anna-of-accounts")
    session = idp.session(anna).session.id
    idp.end(session)
    with idp.work.begin() as unit:
        unit.record(SessionDisowned(actor="user", user_id=anna.id, session_id=session))
    rights = ("events:read", "sessions:read", "queries:read", "rules:read")
    clerk = enter(*rights, username="clerk")
    reader = enter(*rights, "users:read", username="reader")
    log.seal(idp.work)
    (number,) = [
        one["position"] for one in idp.events("session.ended") if one["session_id"] == session
    ]
    for path in (
        "/admin/events",
        f"/admin/events/{number}",
        "/admin",
        "/admin/reports/incidents",
        "/admin/reports/incidents?format=csv",
    ):
        assert "anna-of-accounts" in reader.get(path).text, path
        page = clerk.get(path).text
        assert "anna-of-accounts" not in page, path
        assert anna.id in page, path
    with idp.work.read() as unit:
        happened = next(one for one in feed.latest(unit, limit=20) if one.user_id == anna.id)
    assert b"anna-of-accounts" in happened.told(0, frozenset({"events:read", "users:read"}))
    assert b"anna-of-accounts" not in happened.told(0, frozenset({"events:read"}))
    assert "root" in text_of(reader.get(PATH).text.partition("<main")[2])
    assert "root" not in text_of(clerk.get(PATH).text.partition("<main")[2])
