"""A real rsyslogd takes every event, over TCP and TLS: in order, and none is lost or made up."""

import json
from pathlib import Path

import pytest

from idp.clock import MINUTE
from idp.events import log
from idp.events.catalogue import LoginFailed
from idp.notify import syslog
from idp.notify.syslog import Forwarder
from idp.work.syslog import Receiver
from tests.harness import rsyslog
from tests.harness.available import SKIPPED
from tests.harness.certificates import Authority
from tests.harness.provider import Idp, Templates, settings_for
from tests.harness.rsyslog import Input
from tests.harness.workbench import ManualClock

pytestmark = pytest.mark.rsyslog

EVENTS = 700


@pytest.fixture
def product(tmp_path: Path, templates: Templates) -> Idp:
    return Idp(settings_for(templates.sqlite(tmp_path / "idp.db")), ManualClock())


def happen(idp: Idp, count: int) -> None:
    with idp.work.begin() as unit:
        for number in range(count):
            unit.record(LoginFailed(reason=f"wrong_password № {number}", ip="2001:db8::7"))
    log.seal(idp.work)


def hand_over(idp: Idp, scheme: str, port: int) -> None:
    """Everything there is, by a forwarder that knows nothing of those before it."""
    forwarder = Forwarder(idp.work, Receiver(scheme, "127.0.0.1", port))
    with idp.work.read() as unit:
        wanted = log.head(unit)[0]
    for _ in range(100):
        while forwarder.step():
            pass
        with idp.work.read() as unit:
            forward = unit.orm.get(syslog.Forward, syslog.NAME)
        if forward is not None and forward.position == wanted:
            return
        idp.clock.advance(MINUTE)
    raise AssertionError("the receiver does not take what it is handed")


def taken(found: rsyslog.Rsyslog) -> list[int]:
    """The positions of the events in its file, after a look at what became of each message."""
    positions = []
    for line in found.lines():
        head, _, body = line.partition(b"] ")
        event = json.loads(body)
        assert f'sequenceId="{event["position"]}"'.encode() in head
        positions.append(event["position"])
    return positions


def in_order(positions: list[int]) -> list[int]:
    """Without what came twice: at least once is what is promised."""
    return list(dict.fromkeys(positions))


@pytest.mark.parametrize("kind", ["imtcp", "imptcp"])
def test_every_event_is_in_its_file_once_and_in_order(
    product: Idp, kind: Input, tmp_path: Path
) -> None:
    happen(product, EVENTS)
    with rsyslog.running(tmp_path, kind) as first:
        hand_over(product, "tcp", first.port)
    happen(product, 50)
    with rsyslog.running(tmp_path, kind) as second:
        hand_over(product, "tcp", second.port)
    assert taken(second) == list(range(1, product.count("events") + 1))


@pytest.mark.parametrize("kind", ["gtls", "ossl"])
def test_over_tls_as_well(
    product: Idp, kind: Input, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not rsyslog.has(f"lmnsd_{kind}"):
        pytest.skip(f"{SKIPPED}rsyslog-{'gnutls' if kind == 'gtls' else 'openssl'}")
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    happen(product, EVENTS)
    with rsyslog.running(tmp_path, kind, certificate=authority.certificate("127.0.0.1")) as found:
        hand_over(product, "tcp+tls", found.port)
    assert in_order(taken(found)) == list(range(1, product.count("events") + 1))


def test_what_it_did_not_take_while_it_was_away_comes_when_it_is_back(
    product: Idp, tmp_path: Path
) -> None:
    happen(product, 300)
    with rsyslog.running(tmp_path, "imtcp") as first:
        Forwarder(product.work, Receiver("tcp", "127.0.0.1", first.port)).step()
    assert len(first.lines()) == syslog.BATCH
    away = Forwarder(product.work, Receiver("tcp", "127.0.0.1", first.port))
    assert not away.step()
    with rsyslog.running(tmp_path, "imtcp") as second:
        hand_over(product, "tcp", second.port)
    assert taken(second) == list(range(1, product.count("events") + 1))
