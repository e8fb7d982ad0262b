"""Webhooks on the administrators' pages: added, tested, sent again, switched off."""

import re
from html import unescape

from idp.notify.model import Webhook
from tests.console.conftest import Enter, send, text_of
from tests.harness.provider import Idp

URL = "https://siem.example.com/in"


def add(enter: Enter, idp: Idp) -> tuple:
    browser = enter()
    status, page = send(browser, "/admin/webhooks/new", url=URL, types="session.*\nlogin.failed")
    assert status == 200, text_of(page)
    with idp.work.read() as unit:
        (webhook,) = unit.orm.query(Webhook).all()
    return browser, page, webhook.id


def field(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found is not None
    return unescape(found[1])


def test_a_secret_is_on_the_page_that_answers_and_nowhere_else(idp: Idp, enter: Enter) -> None:
    browser, page, webhook_id = add(enter, idp)
    secret = re.search(r'id="secret">(whsec_[^<]+)<', page)
    assert secret is not None
    pages = browser.get("/admin/webhooks").text + browser.get(f"/admin/webhooks/{webhook_id}").text
    assert secret[1] not in pages
    assert URL in pages
    status, again = send(browser, f"/admin/webhooks/{webhook_id}/secret", overlap="keep")
    assert status == 200
    assert "signs besides until" in text_of(again)


def test_a_test_is_owed_once_however_often_its_form_is_sent(idp: Idp, enter: Enter) -> None:
    browser, _, webhook_id = add(enter, idp)
    page = browser.get(f"/admin/webhooks/{webhook_id}").text
    for _ in range(2):
        path = f"/admin/webhooks/{webhook_id}/test"
        assert send(browser, path, key=field(page, "key"))[0] == 303
    assert idp.count("deliveries WHERE channel = 'webhook'") == 1
    assert "On its way" in text_of(browser.get(f"/admin/webhooks/{webhook_id}").text)


def test_it_is_changed_from_what_was_seen(idp: Idp, enter: Enter) -> None:
    browser, _, webhook_id = add(enter, idp)
    path = f"/admin/webhooks/{webhook_id}"
    tag = field(browser.get(path).text, "tag")
    values = {"url": URL, "types": "user.*", "tag": tag}
    assert send(browser, f"{path}/change", **values)[0] == 303
    assert "Takes user.*." in text_of(browser.get(path).text)
    # A mistake of one's own brings the form back as it was made, not as though this had been seen.
    status, page = send(browser, f"{path}/change", **values | {"url": ""})
    assert (status, field(page, "tag")) == (400, tag)
    status, page = send(browser, f"{path}/change", **values)
    assert status == 412
    assert "changed by somebody else" in text_of(page)
    assert field(page, "tag") != tag


def test_it_is_switched_off_and_on_and_removed(idp: Idp, enter: Enter) -> None:
    browser, _, webhook_id = add(enter, idp)
    path = f"/admin/webhooks/{webhook_id}"
    assert send(browser, f"{path}/disable", reason="too loud")[0] == 303
    assert "Nothing is lost" in text_of(browser.get(path).text)
    assert send(browser, f"{path}/enable", reason="ready")[0] == 303
    assert send(browser, f"{path}/replay", after="0", reason="they lost it")[0] == 303
    status, page = send(browser, f"{path}/replay", after="x", reason="they lost it")
    assert (status, "named by its position" in page) == (400, True)
    assert send(browser, f"{path}/remove", reason="gone") == (303, "/admin/webhooks")
    assert browser.get(path).status_code == 404


def test_what_cannot_be_a_webhook_is_said_and_stands_there(idp: Idp, enter: Enter) -> None:
    for fields in ({"url": "https://10.0.0.1/"}, {"url": URL, "types": "nothing.much"}):
        status, page = send(enter(username=f"u{len(fields)}"), "/admin/webhooks/new", **fields)
        assert status == 400
        assert 'id="error"' in page
        assert f'value="{fields["url"]}"' in page
    assert idp.count("webhooks") == 0


def test_whoever_only_reads_sees_no_forms(idp: Idp, enter: Enter) -> None:
    _, _, webhook_id = add(enter, idp)
    auditor = enter("events:read", username="auditor")
    assert "/test" not in auditor.get(f"/admin/webhooks/{webhook_id}").text
    assert 'id="add"' not in auditor.get("/admin/webhooks").text
    assert send(auditor, "/admin/webhooks/new", url=URL)[0] == 404
