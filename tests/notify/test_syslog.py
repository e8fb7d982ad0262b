"""Syslog: well-formed messages, in order, none lost however the receiver behaves."""

import json
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from idp.clock import MINUTE
from idp.events import log
from idp.events.catalogue import LoginFailed, ReuseDetected
from idp.notify import syslog
from idp.notify.syslog import Forwarder
from idp.sections import SyslogSettings
from idp.work.syslog import Receiver
from tests.harness.certificates import Authority
from tests.harness.provider import Idp
from tests.harness.workbench import ManualClock

# RFC 5424 section 6, as far as what we send may vary.
MESSAGE = re.compile(
    rb"<(?P<pri>[0-9]{1,3})>1 (?P<at>[0-9-]{10}T[0-9:]{8}\.[0-9]{6}Z) (?P<host>[!-~]{1,255}) idp - "
    rb'(?P<kind>[!-~]{1,32}) \[meta sequenceId="(?P<sequence>[0-9]+)"\] (?P<event>\{.*\})'
)
Answering = Callable[[socket.socket], bytes]


def reading(channel: socket.socket) -> bytes:
    """Reads to the end, and then closes: what receivers do."""
    found = b""
    while part := channel.recv(4_096):
        found += part
    return found


def resetting(channel: socket.socket) -> bytes:
    """Everything has arrived at the machine, and then its process dies."""
    reading(channel)
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return b""


class Siem:
    """A receiver on loopback; `answering` may be changed between connections."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.answering: Answering = reading
        self.taken: list[bytes] = []
        self.connections = 0
        self._tls = tls
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                channel, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            try:
                if self._tls is not None:
                    channel = self._tls.wrap_socket(channel, server_side=True)
                self.taken += messages(self.answering(channel))
            except OSError:
                pass  # what was not read to the end was not taken
            finally:
                channel.close()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(20)


def messages(stream: bytes) -> list[bytes]:
    """The messages of a stream, by their counted octets (RFC 6587 section 3.4.1)."""
    found = []
    while stream:
        length, _, stream = stream.partition(b" ")
        assert len(stream) >= int(length)
        found.append(stream[: int(length)])
        stream = stream[int(length) :]
    return found


def said(message: bytes) -> dict[str, Any]:
    """The event in a message, after a look at its form."""
    found = MESSAGE.fullmatch(message)
    assert found is not None, message
    event: dict[str, Any] = json.loads(found["event"])
    assert event["type"].encode() == found["kind"]
    assert event["position"] == int(found["sequence"])
    return event


@pytest.fixture
def siem() -> Iterator[Siem]:
    made = Siem()
    yield made
    made.close()


def happen(idp: Idp, count: int = 1, **values: Any) -> None:
    with idp.work.begin() as unit:
        for _ in range(count):
            unit.record(LoginFailed(**{"reason": "wrong_password"} | values))
    log.seal(idp.work)


def to(siem: Siem, idp: Idp, scheme: str = "tcp", host: str = "127.0.0.1") -> Forwarder:
    return Forwarder(idp.work, Receiver(scheme, host, siem.port))


def run(forwarder: Forwarder) -> None:
    while forwarder.step():
        pass


def positions(siem: Siem) -> list[int]:
    return [said(one)["position"] for one in siem.taken]


def test_every_event_is_a_message_in_the_order_of_the_chain(either_idp: Idp, siem: Siem) -> None:
    idp = either_idp
    happen(idp, 5, ip="192.0.2.7")
    with idp.work.begin() as unit:
        unit.record(ReuseDetected(authorization_id="azn_x", kind="refresh_token"))
    log.seal(idp.work)
    run(to(siem, idp))
    assert positions(siem) == list(range(1, idp.count("events") + 1))
    first, last = MESSAGE.fullmatch(siem.taken[-2]), MESSAGE.fullmatch(siem.taken[-1])
    assert first is not None
    assert last is not None
    assert (first["pri"], last["pri"]) == (b"109", b"108"), "log audit: notice, warning"
    assert first["host"] == b"localhost"
    assert said(siem.taken[-2])["ip"] == "192.0.2.7"
    happen(idp)
    run(to(siem, idp))  # another process goes on where this one was
    assert positions(siem) == list(range(1, idp.count("events") + 1))


def test_what_is_not_sealed_yet_waits(idp: Idp, siem: Siem) -> None:
    with idp.work.begin() as unit:
        unit.record(LoginFailed(reason="wrong_password"))
    forwarder = to(siem, idp)
    run(forwarder)
    before = len(siem.taken)
    log.seal(idp.work)
    run(forwarder)
    assert len(siem.taken) > before


def test_a_receiver_that_is_away_loses_nothing(
    idp: Idp, siem: Siem, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syslog, "BATCH", 4)
    happen(idp, 9)
    forwarder = to(siem, idp)
    away = Forwarder(idp.work, Receiver("tcp", "127.0.0.1", unused_port()))
    for _ in range(3):
        run(away)
        clock.advance(MINUTE)
    assert siem.taken == []
    siem.answering = resetting
    run(forwarder)
    assert idp.count("forwards") == 0
    happen(idp, 2)
    siem.answering = reading
    run(forwarder)
    assert siem.taken == [], "it is asked again after a pause"
    clock.advance(MINUTE)
    run(forwarder)
    assert positions(siem) == list(range(1, idp.count("events") + 1))


def test_an_end_between_taken_and_noted_sends_again_and_skips_none(
    idp: Idp, siem: Siem, monkeypatch: pytest.MonkeyPatch
) -> None:
    happen(idp, 3)
    forwarder = to(siem, idp)
    with monkeypatch.context() as patched:
        patched.setattr(type(idp.work), "begin", dying)
        with pytest.raises(ConnectionAbortedError):
            forwarder.step()
    happen(idp)
    run(to(siem, idp))
    everything = list(range(1, idp.count("events") + 1))
    assert positions(siem) == [*everything[:-1], *everything]


def dying(work: object) -> None:
    raise ConnectionAbortedError


def test_a_node_that_was_frozen_does_not_move_the_place_back(idp: Idp, siem: Siem) -> None:
    happen(idp, 3)
    frozen = to(siem, idp)
    seen: list[bytes] = []

    class Slow:
        longest = None

        def hand_over(self, lines: list[bytes]) -> None:
            seen.extend(lines)
            happen(idp, 3)
            run(to(siem, idp))

    frozen._receiver = Slow()  # type: ignore[assignment]
    frozen.step()
    newest = idp.count("events")
    with idp.work.read() as unit:
        assert unit.orm.get_one(syslog.Forward, syslog.NAME).position == newest
    assert seen


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    made = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.file))
    return made


def test_over_tls_the_receiver_must_be_who_it_is(idp: Idp, authority: Authority) -> None:
    happen(idp, 3)
    good, wrong = Siem(authority.server("127.0.0.1")), Siem(authority.server("192.0.2.1"))
    try:
        run(to(wrong, idp, "tcp+tls"))
        assert wrong.taken == []
        assert idp.count("forwards") == 0
        run(to(good, idp, "tcp+tls"))
        assert positions(good) == list(range(1, idp.count("events") + 1))
    finally:
        good.close()
        wrong.close()


def test_a_stranger_with_a_certificate_of_their_own_gets_nothing(
    idp: Idp, authority: Authority, tmp_path: Path
) -> None:
    happen(idp)
    other = tmp_path / "other"
    other.mkdir()
    stranger = Siem(Authority(other).server("127.0.0.1"))
    try:
        run(to(stranger, idp, "tcp+tls"))
        assert stranger.connections == 1
        assert stranger.taken == []
    finally:
        stranger.close()


def test_over_udp_each_event_is_a_datagram_that_fits(
    idp: Idp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("idp.work.syslog.DATAGRAM_MAXIMUM", 700)
    happen(idp, 2)
    with idp.work.begin() as unit:
        unit.because = "x" * 600
        unit.record(LoginFailed(reason="wrong_password"))
    log.seal(idp.work)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(10)
        receiver = Receiver("udp", "127.0.0.1", listening.getsockname()[1])
        run(Forwarder(idp.work, receiver))
        found = [said(listening.recv(65_535)) for _ in range(idp.count("events"))]
    assert [one["position"] for one in found] == list(range(1, len(found) + 1))
    assert (found[-1]["is_cut"], found[-1]["data"]) == (True, {})


@pytest.mark.parametrize(
    "address",
    ["siem.example.com", "http://siem:514", "tcp://siem", "tcp://u:p@siem:1", "tcp://siem:99999",
     "udp://siem:514/path", "tcp+tls://:6514"],
)  # fmt: skip
def test_an_address_that_is_none_refuses_to_start(address: str) -> None:
    with pytest.raises(ValidationError):
        SyslogSettings(address=address)


@pytest.mark.parametrize("address", ["", "tcp+tls://siem:6514", "udp://[2001:db8::1]:514"])
def test_an_address_is_read(address: str) -> None:
    SyslogSettings(address=address)
    assert (Receiver.of(address) is None) == (address == "")


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
