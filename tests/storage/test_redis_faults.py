"""Redis as operators meet it: slow, cut off, locked, read-only, moved to another server (FT-05, FT-06).

Whatever happens, a value is right or none, a count never falls, and hardly anybody waits.
"""

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from idp.clock import SECOND
from idp.events.actor import SYSTEM
from idp.sessions import lifecycle
from idp.storage import redis as of_redis
from idp.storage.redis import PREFIX, RedisStore
from idp.storage.redis_address import parse
from idp.storage.vault import Vault
from tests.harness import redis_sets
from tests.harness.fault_proxy import Fault, FaultProxy, bad_way_to
from tests.harness.provider import PASSWORD, Idp, Templates, settings_for
from tests.harness.redis_server import RedisServer, running
from tests.harness.redis_sets import until
from tests.harness.workbench import SECRET, ManualClock
from tests.web.html import Page

pytestmark = pytest.mark.redis
Make = Callable[[str], RedisStore]
FAULTS: tuple[Fault, ...] = ("slow", "black hole", "cut")


@pytest.fixture(autouse=True)
def used_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that nobody waits for the second in which Redis is left alone; a test may set it back."""
    monkeypatch.setattr(of_redis, "LEFT_ALONE_SECONDS", 0.05)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with running() as started:
        yield started


@pytest.fixture
def way(server: RedisServer) -> Iterator[FaultProxy]:
    with bad_way_to(server.socket_path) as proxy:
        yield proxy


@pytest.fixture
def node(clock: ManualClock) -> Iterator[Make]:
    made: list[RedisStore] = []

    def make(url: str) -> RedisStore:
        made.append(RedisStore(parse(url), Vault(SECRET), clock))
        return made[-1]

    yield make
    for store in made:
        store.close()


def works(store: RedisStore, others: RedisStore, clock: ManualClock, key: str) -> bool:
    """Whether what one node keeps is found by another."""
    store.set(key, b"value", 60 * SECOND)
    clock.advance(SECOND)
    return others.get(key) == b"value"


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_way_costs_few_waits_and_no_wrong_answer(
    way: FaultProxy,
    node: Make,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
    fault: Fault,
) -> None:
    one, other = node(way.url), node(way.url)
    values = {f"key {number}": b"value" * number for number in range(40)}
    one.set_many(values, 60 * SECOND)
    assert other.get_many(values) == values
    assert [one.increment("n", 60 * SECOND) for _ in range(3)] == [1, 2, 3]
    monkeypatch.setattr(of_redis, "LEFT_ALONE_SECONDS", 1.0)
    clock.advance(SECOND)
    way.fault = fault
    begun = time.monotonic()
    for number in range(40):
        assert one.get(f"key {number}") == values[f"key {number}"], "its own copy"
    assert one.get_many(["none"]) == {}
    assert one.increment("n", 60 * SECOND) == 4
    elapsed = time.monotonic() - begun
    assert one.failures <= 1 + elapsed, "of those who ask within a second, one waits"
    way.fault = "none"
    monkeypatch.setattr(of_redis, "LEFT_ALONE_SECONDS", 0.05)
    until(one.is_reachable)
    until(lambda: works(one, other, clock, "again"))


def test_people_sign_in_while_nothing_comes_through_to_redis(
    tmp_path: Path,
    templates: Templates,
    clock: ManualClock,
    way: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(of_redis, "LEFT_ALONE_SECONDS", 1.0)
    way.fault = "black hole"
    url = templates.sqlite(tmp_path / "idp.db")
    idp = Idp(settings_for(url, redis_url=way.url), clock)
    person, app = idp.person(), idp.register()
    browser = idp.browser()
    page = Page(browser.get("/account/sign-in"))
    signed_in = page.press(browser, "login-submit", username=person.username, password=PASSWORD)
    assert signed_in.status_code == 303
    assert browser.get("/account/sessions").status_code == 200
    tokens = idp.grant(app, idp.session(person))
    assert idp.is_active(app, tokens["access_token"])
    checks = idp.app.readiness.checks()
    assert checks["redis"] == "degraded"
    assert all(said in ("ok", "degraded") for said in checks.values()), "the node serves"
    idp.close()


@pytest.mark.attack("OP-04")
def test_a_password_that_is_wrong_or_was_changed_is_an_outage_and_stands_in_no_log(
    server: RedisServer, node: Make, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    one, other = (node(f"{server.url}?password=the-one-secret") for _ in range(2))
    server.told("CONFIG SET requirepass the-other-secret")
    one.set("key", b"value", 60 * SECOND)
    assert not one.is_reachable()
    assert one.get("key") == b"value"
    assert "Redis failed" in caplog.text
    assert "secret" not in caplog.text
    assert server.told("AUTH the-other-secret\r\nCONFIG SET requirepass the-one-secret")
    until(lambda: works(one, other, clock, "again"))


def test_a_redis_that_became_a_replica_is_read_and_is_used_again_as_primary(
    server: RedisServer, node: Make, clock: ManualClock
) -> None:
    one, other = node(server.url), node(server.url)
    one.set("before", b"value", 60 * SECOND)
    server.told("REPLICAOF 127.0.0.1 1")
    one.set("key", b"value", 60 * SECOND)
    other.set_many({"key": b"other", "more": b"value"}, 60 * SECOND)
    assert one.failures == other.failures == 1, "it is left alone after the first refusal"
    assert one.get("key") == b"value", "its own copy"
    clock.advance(SECOND)
    other.flush()
    until(lambda: other.get("key") is None and other.get("before") == b"value")
    assert [one.increment("n", 60 * SECOND) for _ in range(2)] == [1, 2], "it counts by itself"
    server.told("REPLICAOF NO ONE")
    until(lambda: works(one, other, clock, "again"))


def test_a_redis_without_room_loses_what_is_new_and_nothing_else(
    server: RedisServer, node: Make, clock: ManualClock
) -> None:
    one, other = node(server.url), node(server.url)
    server.told("CONFIG SET maxmemory 1")
    one.set("key", b"value", 60 * SECOND)
    assert one.failures == 1
    assert one.get("key") == b"value"
    assert other.get("key") is None
    server.told("CONFIG SET maxmemory 0")
    until(lambda: works(one, other, clock, "again"))


def test_a_cluster_is_followed_where_it_moves(node: Make, clock: ManualClock) -> None:
    with redis_sets.cluster() as cluster:
        one, other = node(cluster.url), node(cluster.url)
        heard: list[bytes] = []
        other.subscribe("channel", heard.append)
        values = {f"key{number}": b"value %d" % number for number in range(50)}
        one.set_many(values, 60 * SECOND)
        assert other.get_many(values) == values
        assert [one.increment("n", SECOND), other.increment("n", SECOND)] == [1, 2]
        assert one.failures == other.failures == 0
        for number in range(4):
            cluster.move(f"{PREFIX}key{number}")
        one.set_many(values, 60 * SECOND)
        one.set("key1", b"changed", 60 * SECOND)
        clock.advance(SECOND)
        assert other.get_many(values) == values | {"key1": b"changed"}
        one.publish("channel", b"message")
        until(lambda: heard == [b"message"])
        assert one.failures == other.failures == 0
        one.flush()
        clock.advance(SECOND)
        assert other.get_many(values) == {}


def test_a_fail_over_by_sentinel_is_followed(node: Make, clock: ManualClock) -> None:
    with redis_sets.watched() as watched:
        one, other = node(watched.url), node(watched.url)
        heard: list[bytes] = []
        other.subscribe("channel", heard.append)
        one.set("before", b"value", 600 * SECOND)
        clock.advance(SECOND)
        assert other.get("before") == b"value"
        watched.fail_over()
        watched.servers[0].kill()
        until(lambda: works(one, other, clock, "after"))

        def is_heard() -> bool:
            one.publish("channel", b"message")
            return b"message" in heard

        until(is_heard)


def sign_in(idp: Idp, name: str, password: str) -> int:
    browser = idp.browser()
    page = Page(browser.get("/account/sign-in"))
    return page.press(browser, "login-submit", username=name, password=password).status_code


def test_what_a_promoted_replica_never_heard_of_ends_nobodys_session_and_revives_nothing(
    tmp_path: Path, templates: Templates, clock: ManualClock
) -> None:
    """The tail of the primary is lost: sign-outs and wrong passwords, of which SQL knows."""
    with redis_sets.followed() as (primary, replica), bad_way_to(primary.socket_path) as way:
        url = templates.sqlite(tmp_path / "idp.db")
        settings = settings_for(url, redis_url=way.url, throttle={"per_account": 3})
        one, other = Idp(settings, clock), Idp(settings, clock)
        alice, app = one.person("alice"), one.register()
        one.person("bob")
        kept, ended = one.session(alice), one.session(alice)
        living, revoked = (one.grant(app, started) for started in (kept, ended))
        reader = other.signed_in_browser(kept)
        assert ended.session.id in reader.get("/account/sessions").text
        until(lambda: replica.count_keys() == primary.count_keys() and any(replica.count_keys()))
        # From here on it hears nothing more.
        replica.told("REPLICAOF NO ONE")
        assert [sign_in(one, "bob", f"wrong {number}") for number in range(3)] == [403, 403, 403]
        with one.work.begin() as unit:
            lifecycle.end(unit, [ended.session.id], reason="signed_out", actor=SYSTEM)
        reader.get("/account/sessions")
        primary.kill()
        way.lead_to(replica.socket_path)
        clock.advance(2 * SECOND)
        until(one.app.provider.store.is_reachable)
        for node in (one, other):
            assert sign_in(node, "bob", PASSWORD) == 429, "the wrong passwords are still counted"
            assert not node.is_active(app, revoked["access_token"])
            assert node.refresh(app, revoked["refresh_token"])[0] == 400
            assert node.is_active(app, living["access_token"])
            page = node.signed_in_browser(kept).get("/account/sessions")
            assert page.status_code == 200
            assert f"/account/sessions/{ended.session.id}/end" not in page.text
        one.close()
        other.close()
