import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from idp.sections import OutboundSettings
from idp.work.outbound import (
    BODY_MAXIMUM,
    FETCHES_AT_ONCE,
    Outbound,
    OutboundFailed,
    OutboundRefused,
)
from tests.harness.certificates import Authority
from tests.harness.receivers import (
    Receivers,
    babbling,
    closing,
    dripping,
    hanging,
    late,
    pouring,
    saying,
)
from tests.harness.workbench import LOOPBACK

FORM = {"logout_token": "a.b.c"}
# Seconds for a whole call: where it must be reached, and where it must not be.
LIMIT = 0.4
PLENTY = 20.0

Make = Callable[..., Outbound]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Outbound] = []

    def one(
        *, resolve: Callable[[str, int], Sequence[str]] | None = None, **settings: Any
    ) -> Outbound:
        values = OutboundSettings(**({"timeout": PLENTY} | LOOPBACK | settings))
        made.append(Outbound(values, resolve=resolve) if resolve else Outbound(values))
        return made[-1]

    yield one
    for client in made:
        client.close()


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """A certificate authority that clients made from here on trust."""
    trusted = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted.file))
    return trusted


def reason(call: Callable[[], object], kind: type[Exception] = OutboundFailed) -> str:
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


def test_a_form_arrives_as_it_was_given_and_nothing_beside_it(
    make: Make, receivers: Receivers
) -> None:
    app = receivers.add(saying("200 OK", body=b"thanks", headers="Set-Cookie: a=b\r\n"))
    client = make()
    answer = client.post_form(app.uri, {"logout_token": "ä&=+ "})
    assert (answer.status, answer.body, answer.whole) == (200, b"thanks", True)
    client.post_form(app.uri, FORM)
    first, second = app.requests
    assert first.form == {"logout_token": ["ä&=+ "]}
    assert first.head.startswith("POST /backchannel HTTP/1.1\r\n")
    headers = first.head.lower()
    assert f"host: 127.0.0.1:{app.port}\r\n" in headers
    assert "content-type: application/x-www-form-urlencoded\r\n" in headers
    assert "cookie" not in second.head.lower()


@pytest.mark.parametrize("status", ["204 No Content", "400 Bad Request", "500 Oh"])
def test_any_status_is_an_answer(make: Make, receivers: Receivers, status: str) -> None:
    app = receivers.add(saying(status))
    assert make().post_form(app.uri, FORM).status == int(status[:3])


@pytest.mark.attack("SS-02")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer_and_is_not_followed(
    make: Make, receivers: Receivers, status: int
) -> None:
    inside = receivers.add()
    app = receivers.add(saying(f"{status} There", headers=f"Location: {inside.uri}\r\n"))
    assert make().post_form(app.uri, FORM).status == status
    assert inside.connections == 0
    assert "302" in reason(
        lambda: make().get_json(
            receivers.add(saying("302 X", headers=f"Location: {inside.uri}\r\n")).uri
        )
    )
    assert inside.connections == 0


@pytest.mark.attack("SS-10")
@pytest.mark.parametrize(
    "answering",
    [
        hanging,
        dripping(prologue=b"HTTP/1.1 200 OK\r\nX-Slow: "),
        dripping(prologue=b""),
        late(2 * PLENTY, saying("200 OK")),
    ],
    ids=["hangs", "drips a header", "drips a status line", "answers late"],
)
def test_the_time_limit_is_for_the_whole_call(
    make: Make, receivers: Receivers, answering: Any
) -> None:
    app = receivers.add(answering)
    began = time.monotonic()
    assert "within 0.4 seconds" in reason(lambda: make(timeout=LIMIT).post_form(app.uri, FORM))
    assert LIMIT <= time.monotonic() - began < PLENTY


@pytest.mark.attack("SS-10")
def test_an_answer_stands_although_its_body_never_ends(make: Make, receivers: Receivers) -> None:
    app = receivers.add(dripping(prologue=b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"))
    began = time.monotonic()
    # Longer than elsewhere: on a busy machine, too, its status has come by then.
    answer = make(timeout=2 * LIMIT).post_form(app.uri, FORM)
    assert (answer.status, answer.whole) == (200, False)
    assert time.monotonic() - began < PLENTY


@pytest.mark.attack("SS-10")
def test_no_more_is_read_than_the_limit(make: Make, receivers: Receivers) -> None:
    app = receivers.add(pouring)
    answer = make().post_form(app.uri, FORM)
    assert (answer.status, len(answer.body), answer.whole) == (200, BODY_MAXIMUM, False)


@pytest.mark.attack("SS-10")
def test_headers_without_end_are_a_failure(make: Make, receivers: Receivers) -> None:
    app = receivers.add(saying("200 OK", headers="X-Long: " + "x" * 200_000 + "\r\n"))
    assert reason(lambda: make().post_form(app.uri, FORM))


def test_hanging_up_and_babbling_are_failures_told_in_one_printable_line(
    make: Make, receivers: Receivers
) -> None:
    for answering in (closing, babbling):
        app = receivers.add(answering)
        said = reason(lambda app=app: make().post_form(app.uri, FORM))
        assert said.isprintable()
        assert len(said) <= 200


def test_nobody_listening_is_a_failure(make: Make) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        assert reason(lambda: make().post_form(f"http://127.0.0.1:{port}/", FORM))


def test_after_a_broken_off_call_no_connection_is_left(make: Make, receivers: Receivers) -> None:
    left = threading.Event()

    async def noticing(reader: Any, writer: Any) -> None:
        await reader.read()
        left.set()

    app = receivers.add(noticing)
    reason(lambda: make(timeout=LIMIT).post_form(app.uri, FORM))
    assert left.wait(PLENTY)


@pytest.mark.attack("SS-02")
@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://2130706433:{port}/",
        "https://127.0.0.1:{port}/",
        "https://localhost:{port}/",
        "https://localhost.:{port}/",
        "https://[::ffff:7f00:1]:{port}/",
        "https://user@127.0.0.1:{port}/",
        "https://169.254.169.254/latest/meta-data",
        "https://0.0.0.0:{port}/",
        "https://[::]:{port}/",
        "https://0x7f.1:{port}/",
    ],
)
def test_an_internal_address_is_not_connected_to(
    make: Make, receivers: Receivers, url: str
) -> None:
    app = receivers.add()
    client = make(allow_networks=(), allow_http=True)
    reason(lambda: client.post_form(url.format(port=app.port), FORM), OutboundRefused)
    assert app.connections == 0


@pytest.mark.attack("SS-02")
@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["10.0.0.5", "::1"], ["::ffff:127.0.0.1"], [], ["nonsense"]]
)
def test_a_name_that_leads_inside_is_not_connected_to(
    make: Make, receivers: Receivers, addresses: list[str]
) -> None:
    app = receivers.add()
    client = make(allow_networks=(), resolve=lambda host, port: addresses)
    url = f"https://app.example:{app.port}/"
    reason(lambda: client.post_form(url, FORM), OutboundRefused)
    assert app.connections == 0


@pytest.mark.attack("SS-02")
def test_of_a_names_addresses_only_those_allowed_are_tried(
    make: Make, receivers: Receivers
) -> None:
    wanted = receivers.add()
    inside = receivers.add(host="127.0.0.2", port=wanted.port)
    client = make(
        allow_networks=("127.0.0.1/32",), resolve=lambda host, port: ["127.0.0.2", "127.0.0.1"]
    )
    assert client.post_form(f"http://app.example:{wanted.port}/", FORM).status == 200
    assert (wanted.connections, inside.connections) == (1, 0)


@pytest.mark.attack("SS-04")
def test_a_name_is_resolved_once_and_the_checked_address_is_called(
    make: Make, receivers: Receivers
) -> None:
    checked = receivers.add()
    inside = receivers.add(host="127.0.0.2", port=checked.port)
    asked: list[str] = []

    def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.2"]

    client = make(allow_networks=("127.0.0.1/32",), resolve=rebinding)
    url = f"http://app.example:{checked.port}/backchannel"
    assert client.post_form(url, FORM).status == 200
    assert asked == ["app.example"]
    assert "host: app.example:" in checked.requests[0].head.lower()
    reason(lambda: client.post_form(url, FORM), OutboundRefused)
    assert inside.connections == 0


@pytest.mark.attack("SS-04")
def test_a_certificate_is_asked_for_the_name_although_an_address_is_called(
    make: Make, receivers: Receivers, authority: Authority
) -> None:
    app = receivers.add(tls=authority.server("app.example"))
    client = make(resolve=lambda host, port: ["127.0.0.1"])
    assert client.post_form(f"https://app.example:{app.port}/", FORM).status == 200
    assert "CERTIFICATE_VERIFY_FAILED" in reason(
        lambda: client.post_form(f"https://other.example:{app.port}/", FORM)
    )
    assert "CERTIFICATE_VERIFY_FAILED" in reason(
        lambda: client.post_form(f"https://127.0.0.1:{app.port}/", FORM)
    )
    assert len(app.requests) == 1


def test_a_certificate_nobody_vouches_for_is_a_failure(
    make: Make, receivers: Receivers, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "stranger").mkdir()
    stranger = Authority(tmp_path / "stranger")
    app = receivers.add(tls=stranger.server("127.0.0.1"))
    said = reason(lambda: make().post_form(f"https://127.0.0.1:{app.port}/", FORM))
    assert "CERTIFICATE_VERIFY_FAILED" in said
    assert app.requests == []


def test_a_handshake_that_hangs_is_broken_off(make: Make, receivers: Receivers) -> None:
    app = receivers.add(hanging)
    began = time.monotonic()
    reason(lambda: make(timeout=LIMIT).post_form(f"https://127.0.0.1:{app.port}/", FORM))
    assert time.monotonic() - began < PLENTY


def test_a_resolver_that_hangs_is_not_waited_for(make: Make) -> None:
    go_on = threading.Event()

    def stuck(host: str, port: int) -> list[str]:
        go_on.wait(3 * PLENTY)
        return ["127.0.0.1"]

    began = time.monotonic()
    try:
        reason(lambda: make(resolve=stuck, timeout=LIMIT).post_form("https://app.example/", FORM))
        assert time.monotonic() - began < PLENTY
    finally:
        go_on.set()


def test_a_name_that_does_not_exist_is_a_failure(make: Make) -> None:
    def unknown(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    said = reason(lambda: make(resolve=unknown).post_form("https://app.example/", FORM))
    assert "cannot be resolved" in said


def test_an_address_that_swallows_packets_leaves_time_for_the_next(
    make: Make, receivers: Receivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("idp.work.route.CONNECT_SECONDS", 0.1)
    app = receivers.add()
    with socket.socket() as full:
        # A listener whose queue is full takes no further connection, and says nothing.
        full.bind(("127.0.0.3", app.port))
        full.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.3", app.port))
        try:
            client = make(resolve=lambda host, port: ["127.0.0.3", "127.0.0.1"], timeout=PLENTY)
            answer = client.post_form(f"http://app.example:{app.port}/", FORM)
        finally:
            for filler in fillers:
                filler.close()
    assert answer.status == 200


@pytest.mark.attack("SS-02")
def test_a_proxy_of_the_environment_is_not_used(
    make: Make, receivers: Receivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = receivers.add(saying("200 OK", body=b"proxied"))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv(name.upper(), f"http://127.0.0.1:{proxy.port}")
    app = receivers.add(saying("200 OK", body=b"direct"))
    assert make().post_form(app.uri, FORM).body == b"direct"
    assert proxy.connections == 0


@pytest.mark.attack("SS-10")
def test_many_that_hang_do_not_hold_up_one_that_answers(make: Make, receivers: Receivers) -> None:
    stuck = receivers.add(hanging)
    good = receivers.add()
    before = set(threading.enumerate())
    client = make(timeout=30)
    for _ in range(200):
        client.begin_post_form(stuck.uri, FORM)
    stuck.wait_for(200)
    threads = set(threading.enumerate()) - before
    began = time.monotonic()
    assert client.post_form(good.uri, FORM).status == 200
    assert time.monotonic() - began < PLENTY
    # Other tests of this process leave threads of their own: only new ones are counted.
    assert len(threads) < 20


def test_closing_answers_every_call_that_is_under_way(make: Make, receivers: Receivers) -> None:
    stuck = receivers.add(hanging)
    client = make(timeout=30)
    calls = [client.begin_post_form(stuck.uri, FORM) for _ in range(5)]
    stuck.wait_for(5)
    calls.append(client.begin_post_form(stuck.uri, FORM))
    client.close()
    for call in calls:
        assert reason(lambda call=call: call.result(PLENTY)) == "the client was closed"
    assert client.post_form(receivers.add().uri, FORM).status == 200


def test_a_json_document_is_fetched(make: Make, receivers: Receivers) -> None:
    app = receivers.add(saying("200 OK", body=b'{"keys": []}'))
    assert make().get_json(app.uri) == {"keys": []}
    assert app.requests[0].head.startswith("GET /backchannel HTTP/1.1\r\n")


@pytest.mark.attack("SS-08")
@pytest.mark.parametrize(
    "answering",
    [
        saying("404 Not Found", body=b"{}"),
        saying("200 OK", body=b"<html>"),
        saying("200 OK", body=b""),
        saying("200 OK", body=b"{}" + b" " * BODY_MAXIMUM),
        saying("200 OK", body=b"{}", headers="Transfer-Encoding: chunked\r\n"),
        dripping(prologue=b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"),
        pouring,
    ],
    ids=["404", "not JSON", "empty", "too long", "cut off", "never whole", "a gigabyte"],
)
def test_a_document_that_is_not_whole_or_not_json_is_a_failure(
    make: Make, receivers: Receivers, answering: Any
) -> None:
    app = receivers.add(answering)
    assert reason(lambda: make(timeout=LIMIT).get_json(app.uri))


@pytest.mark.attack("SS-10")
def test_only_so_many_documents_are_fetched_at_once(make: Make, receivers: Receivers) -> None:
    stuck = receivers.add(hanging)
    client = make(timeout=30)
    threads = [
        threading.Thread(target=lambda: reason(lambda: client.get_json(stuck.uri)))
        for _ in range(FETCHES_AT_ONCE)
    ]
    for thread in threads:
        thread.start()
    stuck.wait_for(FETCHES_AT_ONCE)
    began = time.monotonic()
    assert "too many" in reason(lambda: client.get_json(stuck.uri))
    assert time.monotonic() - began < PLENTY
    client.close()
    for thread in threads:
        thread.join(PLENTY)
