"""Files that an administrator has fetched: bounded, guarded, redirected with care."""

import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from idp.sections import OutboundSettings
from idp.work.outbound import REDIRECTIONS, Outbound, OutboundFailed, OutboundRefused
from tests.harness.receivers import Receivers, babbling, closing, dripping, pouring, saying
from tests.harness.workbench import LOOPBACK

LIMIT = 0.4
PLENTY = 20.0

Fetch = Callable[..., bytes]


@pytest.fixture
def fetch() -> Iterator[Fetch]:
    made: list[Outbound] = []

    def one(
        url: str,
        *,
        maximum: int = 1_000,
        seconds: float = PLENTY,
        resolve: Callable[[str, int], Sequence[str]] | None = None,
        **settings: Any,
    ) -> bytes:
        values = OutboundSettings(**({"timeout": LIMIT} | LOOPBACK | settings))
        made.append(Outbound(values, resolve=resolve) if resolve else Outbound(values))
        file = io.BytesIO()
        made[-1].download(url, file, maximum=maximum, seconds=seconds)
        return file.getvalue()

    yield one
    for client in made:
        client.close()


def to(url: str, status: str = "302 Found") -> Any:
    return saying(status, headers=f"Location: {url}\r\n")


def test_a_file_is_fetched_whole(fetch: Fetch, receivers: Receivers) -> None:
    content = bytes(range(256)) * 1_000
    app = receivers.add(saying("200 OK", body=content))
    assert fetch(app.uri, maximum=len(content)) == content


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirection_is_followed(fetch: Fetch, receivers: Receivers, status: int) -> None:
    there = receivers.add(saying("200 OK", body=b"file"))
    here = receivers.add(to(there.uri, f"{status} There"))
    assert fetch(here.uri) == b"file"
    assert there.requests[0].head.startswith("GET /backchannel ")


@pytest.mark.attack("SS-02")
def test_a_redirection_inside_is_refused(fetch: Fetch, receivers: Receivers) -> None:
    inside = receivers.add(saying("200 OK", body=b"secret"), host="127.0.0.2")
    for where in (f"http://127.0.0.2:{inside.port}/", f"http://inside.example:{inside.port}/"):
        here = receivers.add(to(where))
        with pytest.raises(OutboundRefused):
            fetch(
                here.uri, allow_networks=["127.0.0.1/32"], resolve=lambda host, port: ["127.0.0.2"]
            )
    assert inside.connections == 0


@pytest.mark.attack("SS-02")
def test_by_default_nothing_inside_and_nothing_without_tls_is_fetched(
    fetch: Fetch, receivers: Receivers
) -> None:
    app = receivers.add(saying("200 OK", body=b"file"))
    for url in (app.uri, f"https://127.0.0.1:{app.port}/", "file:///etc/passwd", "ftp://x/y"):
        with pytest.raises(OutboundRefused):
            fetch(url, allow_networks=[], allow_http=False)
    assert app.connections == 0


@pytest.mark.parametrize(
    "where", ["", "http://[", "file:///etc/passwd", "http://user@127.0.0.1/", "//", "\x00"]
)
def test_a_redirection_to_nonsense_is_refused(
    fetch: Fetch, receivers: Receivers, where: str
) -> None:
    here = receivers.add(to(where))
    with pytest.raises((OutboundRefused, OutboundFailed)):
        fetch(here.uri)


def test_circles_end(fetch: Fetch, receivers: Receivers) -> None:
    here = receivers.add()
    here.answering = to(here.uri)
    with pytest.raises(OutboundFailed, match="too often"):
        fetch(here.uri)
    assert here.connections == 1 + REDIRECTIONS


@pytest.mark.attack("SS-10")
def test_no_more_is_taken_than_the_limit(fetch: Fetch, receivers: Receivers) -> None:
    with pytest.raises(OutboundFailed, match="longer than 1,000 bytes"):
        fetch(receivers.add(pouring).uri)
    assert fetch(receivers.add(saying("200 OK", body=b"x" * 1_000)).uri) == b"x" * 1_000
    with pytest.raises(OutboundFailed, match="longer"):
        fetch(receivers.add(saying("200 OK", body=b"x" * 1_001)).uri)


@pytest.mark.attack("SS-10")
def test_the_time_is_for_the_whole_file(fetch: Fetch, receivers: Receivers) -> None:
    slow = dripping(prologue=b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
    with pytest.raises(OutboundFailed, match="not whole within"):
        fetch(receivers.add(slow).uri, seconds=LIMIT)


@pytest.mark.parametrize(
    "answering",
    [
        closing,
        babbling,
        saying("404 Not Found", body=b"nothing"),
        saying("200 OK", body=b"x", headers="Transfer-Encoding: chunked\r\n"),
    ],
    ids=["closes", "babbles", "404", "cut off"],
)
def test_what_does_not_come_whole_is_a_failure(
    fetch: Fetch, receivers: Receivers, answering: Any
) -> None:
    with pytest.raises(OutboundFailed) as failed:
        fetch(receivers.add(answering).uri)
    assert failed.value.reason.isprintable()
