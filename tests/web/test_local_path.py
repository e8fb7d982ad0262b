"""Where `next=` may lead: paths of our own (RU-11)."""

import pytest

from idp.web.local_path import ACCOUNT, local_path
from tests.web.conftest import Somebody

OURS = [
    "/", "/account", "/account/sessions", "/account/sessions?tab=ended", "/account/apps",
    "/account/sessions?done=1800000000000000&tab=ended", "/account/a-b_c~d.e?x=%2F%3A",
]  # fmt: skip

FOREIGN = [
    "", " ", "account", "account/sessions", "//evil.example", "///evil.example", "////evil.example",
    "/\\evil.example", "\\\\evil.example", "\\/evil.example", "/\\/evil.example", "/\t/evil.example",
    "/\n/evil.example", "/\r/evil.example", "\t//evil.example", " //evil.example", "\x00//evil",
    "/ /evil.example", "https://evil.example", "https:evil.example", "https:/evil.example",
    "HTTPS://evil.example", "http://localhost:8000/account", "javascript:alert(1)",
    "JaVaScRiPt:alert(1)", "data:text/html,x", "vbscript:x", "//evil.example/account/sessions",
    "/account//evil.example", "/./evil", "/../evil", "/account/../..//evil.example",
    "/.//evil.example", "/account/.", "/account#x", "/account;x", "/account@evil.example",
    "/%2f%2fevil.example", "/%5cevil.example", "/%09/evil.example", "/account%0d%0aSet-Cookie:x",
    "/account?next=//evil.example", "/account?a=%zz", "/аccount", "/account\u2028", "/\uff0fevil",
    "/account?x=\r\nLocation: https://evil.example", "/" + "a" * 600, "?next=/account", "#x", ".",
    "//localhost:8000", "/:80", "//\\evil.example", "/.evil",
]  # fmt: skip


@pytest.mark.parametrize("path", OURS)
def test_a_path_of_ours_is_kept(path: str) -> None:
    assert local_path(path) == path


@pytest.mark.attack("RU-11")
@pytest.mark.parametrize("path", FOREIGN)
def test_anything_else_falls_back(path: str) -> None:
    assert local_path(path) == ACCOUNT


@pytest.mark.attack("RU-11")
def test_the_sign_in_page_sends_nobody_to_a_foreign_place(alice: Somebody) -> None:
    for path in FOREIGN:
        response = alice.browser.get("/account/sign-in", params={"next": path})
        if response.status_code == 400:  # a NUL character is refused before anybody looks at it
            continue
        assert response.headers["location"] == ACCOUNT, path


def test_missing_means_the_sessions_page() -> None:
    assert local_path(None) == ACCOUNT
