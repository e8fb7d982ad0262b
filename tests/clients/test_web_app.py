"""The example app's own sessions, and its tokens when many requests come at once."""

import asyncio
import math
import time
from collections.abc import Iterator
from typing import Any

import pytest
from authlib.integrations.starlette_client import OAuthError
from starlette.applications import Starlette
from starlette.testclient import TestClient

from clients.web_app import sessions
from clients.web_app.api import Api, SignedOut
from clients.web_app.app import create_app
from clients.web_app.sessions import Session, Sessions, Trips

ENVIRONMENT = {
    "APP_NAME": "App One",
    "APP_PORT": "8001",
    "ISSUER": "https://id.example.com",
    "CLIENT_ID": "app",
    "CLIENT_SECRET": "secret",
    "API_URL": "https://api.example.com",
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


class TokenEndpoint:
    """Stands for the provider: a refresh token is good once, and takes a moment."""

    def __init__(self, good: str) -> None:
        self.good = good
        self.calls = 0

    async def fetch_access_token(self, *, grant_type: str, refresh_token: str) -> dict[str, Any]:
        assert grant_type == "refresh_token"
        self.calls += 1
        await asyncio.sleep(0)
        if refresh_token != self.good:
            raise OAuthError("invalid_grant")
        self.good = f"refresh-{self.calls}"
        return {
            "access_token": f"access-{self.calls}",
            "refresh_token": self.good,
            "expires_at": time.time() + 300,
        }


def session(*, sid: str | None = "ses_1", sub: str = "usr_1", expires_in: int = 300) -> Session:
    tokens = {
        "access_token": "access-0",
        "refresh_token": "refresh-0",
        "expires_at": time.time() + expires_in,
    }
    return Session(sub=sub, sid=sid, name="Alice", tokens=tokens, id_token="x")


@pytest.fixture
def api() -> Api:
    return Api(TokenEndpoint("refresh-0"), ENVIRONMENT["API_URL"])


def tokens_for_many(api: Api, of: Session, **asked: Any) -> list[str]:
    async def ask() -> list[str]:
        return await asyncio.gather(*(api.access_token(of, **asked) for _ in range(20)))

    return asyncio.run(ask())


def test_a_token_that_lasts_is_used_as_it_is(api: Api) -> None:
    assert set(tokens_for_many(api, session())) == {"access-0"}
    assert api.provider.calls == 0


def test_parallel_requests_refresh_an_expired_token_once(api: Api) -> None:
    assert set(tokens_for_many(api, session(expires_in=5))) == {"access-1"}
    assert api.provider.calls == 1


def test_parallel_requests_replace_a_refused_token_once(api: Api) -> None:
    assert set(tokens_for_many(api, session(), refused="access-0")) == {"access-1"}
    assert api.provider.calls == 1


def test_a_refused_refresh_means_signed_out(api: Api) -> None:
    api.provider.good = "another"
    with pytest.raises(SignedOut):
        asyncio.run(api.access_token(session(expires_in=0)))


def test_a_logout_ends_the_session_it_names_and_no_other() -> None:
    mine, other = session(sid="ses_1"), session(sid="ses_2")
    kept = Sessions()
    assert kept.start(mine)
    assert kept.start(other)
    assert kept.end_by(sid="ses_1", sub="usr_1") == 1
    assert kept.find(mine.id) is None
    assert mine.ended.is_set()
    assert kept.find(other.id) is other


def test_a_logout_without_a_session_ends_all_of_the_person() -> None:
    kept = Sessions()
    for one in (session(sid="ses_1"), session(sid="ses_2"), session(sid="ses_3", sub="usr_2")):
        assert kept.start(one)
    assert kept.end_by(sid=None, sub="usr_1") == 2


def test_a_logout_that_overtakes_its_sign_in_wins() -> None:
    kept = Sessions()
    kept.end_by(sid="ses_1", sub="usr_1")
    assert not kept.start(session(sid="ses_1"))


def test_a_session_does_not_outlast_a_day() -> None:
    kept, old = Sessions(), session()
    old.signed_in_at -= sessions.LASTING
    assert kept.start(old)
    assert kept.find(old.id) is None


def test_a_session_ends_with_the_provider_s_at_the_latest() -> None:
    kept, mine = Sessions(), session()
    mine.session_expiry = time.time() + 60
    assert kept.start(mine)
    assert kept.find(mine.id) is mine
    mine.session_expiry = time.time()
    assert kept.find(mine.id) is None
    assert mine.ended.is_set()


def test_the_latest_token_response_says_how_long_the_session_may_rest(api: Api) -> None:
    mine = session(expires_in=5)
    assert mine.rests_until == math.inf, "a provider that does not say so"
    before = time.time()
    mine.took({**mine.tokens, "refresh_token_timeout": 3_600})
    assert before + 3_600 <= mine.rests_until <= time.time() + 3_600
    tokens_for_many(api, mine)
    assert mine.tokens["access_token"] == "access-1"


def test_staying_signed_in_needs_the_app_s_own_page(site: TestClient) -> None:
    assert site.get("/stay").status_code == 405
    refused = site.post("/stay", headers={"Sec-Fetch-Site": "cross-site"})
    assert refused.status_code == 403
    nobody = site.post("/stay", follow_redirects=False)
    assert nobody.headers["location"] == "/"


def test_trips_of_two_tabs_do_not_meet_in_another_browser() -> None:
    trips = Trips()
    first, data = trips.of(None)
    data["state"] = "s"
    assert trips.of(first) == (first, {"state": "s"})
    second, other = trips.of("made up by somebody else")
    assert second != "made up by somebody else"
    assert other == {}


@pytest.fixture
def site() -> Iterator[TestClient]:
    made: Starlette = create_app()
    with TestClient(made, base_url="http://localhost:8001") as client:
        yield client


@pytest.mark.parametrize("form", [{}, {"logout_token": ""}, {"other": "x"}], ids=str)
def test_a_logout_request_without_a_token_is_refused(
    site: TestClient, form: dict[str, str]
) -> None:
    answer = site.post("/backchannel-logout", data=form)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert answer.headers["cache-control"] == "no-store"


def test_an_open_page_of_nobody_learns_it_at_once(site: TestClient) -> None:
    assert site.get("/session").json() == {"signed_in": False}
    assert "event: signed-out" in site.get("/events").text


def test_signing_out_needs_the_app_s_own_page(site: TestClient) -> None:
    assert site.get("/logout").status_code == 405
    refused = site.post("/logout", headers={"Sec-Fetch-Site": "cross-site"})
    assert refused.status_code == 403


def test_an_answer_nobody_asked_for_is_refused(site: TestClient) -> None:
    answer = site.get("/callback?code=x&state=y")
    assert answer.status_code == 400
    assert "Please try again" in answer.text
    mixed_up = site.get("/callback?code=x&state=y&iss=https://evil.example.com")
    assert mixed_up.status_code == 400
