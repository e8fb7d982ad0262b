"""The pages on SQLite and on PostgreSQL: one story through all of them."""

from tests.harness.provider import Idp
from tests.web.conftest import Somebody, begin
from tests.web.html import Page
from tests.web.test_api import Caller


def test_the_pages_work_on_every_database(either_idp: Idp) -> None:
    idp = either_idp
    app = idp.register(name="Notes", backchannel_logout_uri="http://127.0.0.1:1/logout")
    stranger = idp.register(name="Stranger", first_party=0)
    user = idp.person("alice")
    session = idp.session(user)
    alice = Somebody(idp, user, session, idp.signed_in_browser(session))

    page = Page(begin(alice.browser, stranger, scope="openid offline_access"))
    assert page.press(alice.browser, "consent-allow").status_code == 303
    alice.use(app)
    gone_session = idp.session(user)
    gone = Somebody(idp, user, gone_session, idp.signed_in_browser(gone_session))
    gone.use(app, scope="openid offline_access")
    idp.end(gone.id, "idle_timeout")
    idp.clock.advance(1)
    others = [alice.elsewhere() for _ in range(3)]

    page = alice.sessions()
    assert "Sign out other devices (4)" in page.text
    assert "Opened Notes" in page.text
    caller = Caller(alice, app)
    assert len(caller("GET").json()["sessions"]) == 4
    assert caller("DELETE", f"/{others[0]}").json()["ended"] == [others[0]]
    token = page.forms[0].fields["csrf"]
    path = f"/account/sessions/{others[1]}/rename"
    alice.browser.post(path, data={"csrf": token, "name": "Kitchen"})
    assert "Kitchen" in alice.sessions().text

    idp.clock.advance(1)
    question = Page(alice.sessions().press(alice.browser, "end-others"))
    location = question.press(alice.browser, "end-confirm").headers["location"]
    page = Page(alice.browser.get(location))
    assert "2 sessions signed out." in page.text
    assert "Notes has lost its offline access" in page.text
    assert "Kitchen" in alice.sessions("?tab=ended").text
    assert "Stranger" in Page(alice.browser.get("/account/apps")).text
    location = alice.sessions().press(alice.browser, "sign-out").headers["location"]
    assert "1 app is being told" in Page(alice.browser.get(location)).text
