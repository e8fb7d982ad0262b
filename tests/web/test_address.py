"""The address a request is taken to come from."""

import pytest

from idp.web.address import client_address, networks

PROXIES = networks(["10.0.0.0/8", "2001:db8:1::/48"])


@pytest.mark.attack("OP-01")
def test_without_a_trusted_proxy_the_header_is_not_believed() -> None:
    assert client_address("198.51.100.9", ["203.0.113.1"], PROXIES) == "198.51.100.9"
    assert client_address("127.0.0.1", ["203.0.113.1"], ()) == "127.0.0.1"


@pytest.mark.attack("OP-01")
@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        (["203.0.113.1"], "203.0.113.1"),
        (["203.0.113.1:4711"], "203.0.113.1"),
        (["[2001:db8:9::1]:4711"], "2001:db8:9::1"),
        (["2001:DB8:9::1"], "2001:db8:9::1"),
        (["::ffff:203.0.113.1"], "203.0.113.1"),
        # Only the hop our own proxy saw counts; what stands left of it, the client wrote.
        (["192.0.2.66, 203.0.113.1"], "203.0.113.1"),
        (["192.0.2.66", "203.0.113.1"], "203.0.113.1"),
        (["garbage, 203.0.113.1"], "203.0.113.1"),
        (["203.0.113.1, 10.1.2.3, 10.9.9.9"], "203.0.113.1"),
        (["203.0.113.1,10.1.2.3,2001:db8:1::5"], "203.0.113.1"),
        # Everybody is trusted: the furthest of them.
        (["10.4.4.4, 10.5.5.5"], "10.4.4.4"),
        ([], "10.0.0.1"),
        (["203.0.113.1, " + ", ".join(["10.1.1.1"] * 100)], "203.0.113.1"),
    ],
)
def test_behind_trusted_proxies_the_nearest_stranger_is_the_client(
    forwarded: list[str], expected: str
) -> None:
    assert client_address("10.0.0.1", forwarded, PROXIES) == expected


@pytest.mark.attack("OP-01")
@pytest.mark.parametrize(
    "garbage",
    [
        "", " ", "unknown", "_hidden", "203.0.113.1, ", "203.0.113.256", "203.0.113.1 ; drop",
        "1.2.3", "0x7f000001", "fe80::1%eth0", "[::1", "203.0.113.1:999999", "'; --", "\x00",
        "203.0.113.1\t203.0.113.2", "localhost", "203.0.113.1/32", "203.0.113.01",
        "203.0.113.1, 10.1.1.1, nonsense",
    ],
)  # fmt: skip
def test_a_chain_that_cannot_be_followed_leaves_the_peer(garbage: str) -> None:
    assert client_address("10.0.0.1", [garbage], PROXIES) == "10.0.0.1"


def test_a_peer_without_an_address_is_nobody() -> None:
    assert client_address(None, ["203.0.113.1"], PROXIES) is None
    assert client_address("testclient", ["203.0.113.1"], PROXIES) is None
