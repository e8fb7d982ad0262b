"""Leave for apps to register themselves, on the administrators' pages."""

import re

from tests.console.conftest import Enter, send, text_of
from tests.harness.provider import Idp

PATH = "/admin/apps/registration"
FORM = {
    "name": "Partners",
    "redirect_hosts": "app.partner.example\n.test.example",
    "scope": "openid email",
    "grant.authorization_code": "on",
    "uses": "2",
    "days": "3",
    "key": "k" * 43,
}


def test_a_token_is_made_shown_once_and_taken_back(idp: Idp, enter: Enter) -> None:
    browser = enter()
    assert "takes no registrations" in text_of(browser.get(PATH).text)
    status, page = send(browser, f"{PATH}/new", **FORM)
    assert status == 200
    (token,) = re.findall(r'<code id="token">(idp_ini_[^<]+)</code>', page)
    assert send(browser, f"{PATH}/new", **FORM)[1].count(token) == 1
    listed = browser.get(PATH).text
    assert token not in listed
    assert "app.partner.example, .test.example" in listed
    assert "2 of 2" in listed
    (token_id,) = re.findall(r'<tr id="(ini_[0-9a-f]+)"', listed)
    assert send(browser, f"{PATH}/{token_id}/revoke", reason="")[0] == 400
    assert send(browser, f"{PATH}/{token_id}/revoke", reason="done") == (303, PATH)
    assert "Take back" not in browser.get(PATH).text
    assert idp.events("initial_access.revoked")[0]["actor"] == "admin"
    assert send(browser, f"{PATH}/ini_none/revoke", reason="x")[0] == 404


def test_what_was_typed_wrongly_stands_there_again(enter: Enter) -> None:
    browser = enter()
    for wrong in ({"redirect_hosts": "*"}, {"uses": "many"}, {"name": ""}, {"days": "400"}):
        status, page = send(browser, f"{PATH}/new", **(FORM | wrong))
        assert status == 400
        assert 'value="openid email"' in page
    assert "Take back" not in browser.get(PATH).text


def test_who_may_only_look_gives_no_leave(enter: Enter) -> None:
    reader = enter("clients:read", username="reader")
    assert "Make a token" not in reader.get(PATH).text
    assert send(reader, f"{PATH}/new", **FORM)[0] == 404
