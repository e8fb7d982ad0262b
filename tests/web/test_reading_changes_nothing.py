"""GET and HEAD change nothing (invariant 13; LO-10): scanners, prefetchers and previews may come."""

import pytest

from tests.harness.provider import Idp, Registered
from tests.web.conftest import Somebody, begin
from tests.web.html import Page

TABLES = ("sessions", "authorizations", "consents", "deliveries", "users", "throttles", "pairings")

pytestmark = pytest.mark.attack("LO-10")


def state(idp: Idp) -> dict[str, list[tuple[object, ...]]]:
    with idp.work.read() as unit:
        return {
            table: sorted(
                map(tuple, unit.connection.exec_driver_sql(f"SELECT * FROM {table}")), key=repr
            )
            for table in (*TABLES, "events", "pending_requests")
        }


def test_no_address_of_any_page_changes_anything_when_it_is_read(
    idp: Idp, alice: Somebody, stranger: Registered, app: Registered
) -> None:
    alice.use(app)
    other = alice.elsewhere()
    question = Page(begin(alice.browser, stranger))
    reference = question.form(button="consent-allow").fields["request"]
    token = question.form(button="consent-allow").fields["csrf"]
    wishes = f"csrf={token}&confirmed=yes&what=everywhere&action=allow&select.{other}=on"
    before = state(idp)
    for path in (
        "/login", f"/login?request={reference}&action=cancel&{wishes}", "/account/sign-in",
        f"/account/sign-in?username=alice&password=x&{wishes}", f"/consent?request={reference}",
        f"/consent?request={reference}&{wishes}", f"/logout?{wishes}", "/signed-out", "/account",
        f"/account/sessions?{wishes}", "/account/sessions?tab=ended", f"/account/sessions/end?{wishes}",
        f"/account/sessions/{other}/end?{wishes}", f"/account/sessions/{other}/rename?name=x&{wishes}",
        f"/account/sessions/{other}/keep?keep=yes&{wishes}", "/login/sessions",
        f"/account/sessions/receipts?done=1&{wishes}", f"/account/apps?client_id={app.id}&{wishes}",
        f"/api/v1/users/sessions/{other}", "/api/v1/users/sessions/revoke-all", "/healthz",
        f"/handoff?{wishes}", f"/account/move?{wishes}", f"/move?user_code=BBBB-BBBB&{wishes}",
        f"/device?user_code=BBBB-BBBB&{wishes}",
    ):  # fmt: skip
        for method in ("GET", "HEAD", "OPTIONS"):
            for headers in ({}, {"purpose": "prefetch", "sec-purpose": "prefetch"}):
                response = alice.browser.request(method, path, headers=headers)
                assert response.status_code < 500, (method, path)
                assert state(idp) == before, (method, path)


def test_a_page_that_was_only_read_can_still_be_used(
    idp: Idp, alice: Somebody, stranger: Registered
) -> None:
    page = Page(begin(alice.browser, stranger))
    for _ in range(3):
        alice.browser.get(f"/consent?request={page.form(button='consent-allow').fields['request']}")
    assert page.press(alice.browser, "consent-allow").status_code == 303
    assert idp.count("consents") == 1
