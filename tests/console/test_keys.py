"""The signing keys, on the administrators' pages."""

import re

from idp.clock import DAY, MINUTE
from tests.console.conftest import Enter, send, text_of
from tests.harness.provider import Idp
from tests.harness.workbench import ManualClock

PATH = "/admin/keys"


def kids(page: str, state: str) -> set[str]:
    """The keys that the page shows in a state."""
    rows = re.findall(r'<tr id="key-([^"]+)">(.*?)</tr>', page, re.DOTALL)
    return {kid for kid, row in rows if f">{state}</span>" in row}


def test_keys_are_listed_and_rotated_and_old_ones_are_told(
    idp: Idp, enter: Enter, clock: ManualClock
) -> None:
    browser = enter()
    before = browser.get(PATH).text
    assert "It is time" not in before
    assert len(kids(before, "Active")) == len(kids(before, "Next")) == 2
    assert send(browser, f"{PATH}/rotate", reason="")[0] == 400
    status, where = send(browser, f"{PATH}/rotate", reason="yearly", key="k" * 43)
    assert status == 303
    after = browser.get(where).text
    assert kids(after, "Active") == kids(before, "Next")
    assert kids(after, "Retired") == kids(before, "Active")
    assert "published while its tokens live" in after
    # The same form sent twice rotates once; another one is too soon.
    assert send(browser, f"{PATH}/rotate", reason="yearly", key="k" * 43)[0] == 303
    assert kids(browser.get(PATH).text, "Active") == kids(after, "Active")
    status, page = send(browser, f"{PATH}/rotate", reason="again", key="l" * 43)
    assert status == 409
    assert "rotated just now" in text_of(page)
    assert '"because":"yearly"' in idp.events("keys.rotated")[0]["data"]
    clock.advance(200 * DAY)
    old = enter("keys:read", username="reader").get(PATH).text
    assert "It is time" in old
    assert "no longer published" in old


def test_rotating_asks_for_a_fresh_proof_and_the_right(enter: Enter, clock: ManualClock) -> None:
    reader = enter("keys:read", username="reader")
    assert f"{PATH}/rotate" not in reader.get(PATH).text
    assert send(reader, f"{PATH}/rotate", reason="x", key="k" * 43)[0] == 404
    browser = enter()
    before = kids(browser.get(PATH).text, "Active")
    clock.advance(6 * MINUTE)
    _, page = send(browser, f"{PATH}/rotate", reason="x", key="k" * 43)
    assert "/step-up" in page
    assert kids(browser.get(PATH).text, "Active") == before
