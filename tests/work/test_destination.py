import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.sections import OutboundSettings
from idp.work.destination import OutboundRefused, Rules, is_public, parse, problem_with_url

CLOSED = OutboundSettings()
LOOPBACK_OPEN = OutboundSettings(allow_networks=("127.0.0.0/8", "::1/128"), allow_http=True)

INTERNAL_HOSTS = [
    "169.254.169.254",
    "127.0.0.1",
    "127.8.8.8",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "0.0.0.0",
    "0.1.2.3",
    "198.18.0.1",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "[::1]",
    "[::]",
    "[::127.0.0.1]",
    "[fd00::1]",
    "[fe80::1]",
    "[fec0::1]",
    "[ff02::1]",
    "[::ffff:7f00:1]",
    "[::ffff:10.0.0.1]",
    "[::ffff:0:7f00:1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2001::1]",
    "[2001:db8::1]",
    "[100::1]",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "app.localhost",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "127.1",
    "127.0.0.1.",
    "1",
]


@pytest.mark.attack("SS-02")
@pytest.mark.parametrize("host", INTERNAL_HOSTS)
def test_an_internal_address_cannot_be_registered(host: str) -> None:
    assert problem_with_url(f"https://{host}/logout", CLOSED)


@pytest.mark.parametrize("host", ["8.8.8.8", "[2606:4700::1111]", "app.example", "1.example"])
def test_a_public_address_or_a_name_can_be_registered(host: str) -> None:
    assert problem_with_url(f"https://{host}:8443/logout?x=1", CLOSED) is None


@pytest.mark.attack("SS-02")
@pytest.mark.parametrize(
    "url",
    [
        "",
        "app.example/logout",
        "//app.example/logout",
        "ftp://app.example/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_SET",
        "https:/app.example/",
        "https:///logout",
        "https://user@app.example/",
        "https://user:pass@app.example/",
        "https://app.example@127.0.0.1/",
        "https://app.example#@127.0.0.1/",
        "https://app.example/#",
        "https://app.example/#part",
        "https://app.example\\@127.0.0.1/",
        "https://app.example/a b",
        "https://app.example/\n",
        "https://app.exa\tmple/",
        "https://app.example/é",
        "https://１２７.0.0.1/",
        "https://app.example:99999/",
        "https://app.example:0/",
        "https://app.example:x/",
        "https://[::1/",
        "https://[fe80::1%25eth0]/",
        "https://[app.example]/",
        "https://-app.example/",
        "https://app..example/",
        "https://app_-.example/",
        "https://" + "a" * 64 + ".example/",
        "https://app.example/" + "x" * 2_000,
        "http://app.example/",
    ],
)
def test_a_url_that_could_mean_two_things_cannot_be_registered(url: str) -> None:
    assert problem_with_url(url, CLOSED)


@pytest.mark.attack("SS-05")
@pytest.mark.parametrize("placeholder", ["{sid}", "${host}", "<host>", "%{host}", "`id`"])
def test_a_url_cannot_hold_a_placeholder_that_somebody_might_fill_in(placeholder: str) -> None:
    assert problem_with_url(f"https://app.example/{placeholder}", CLOSED)


def test_plain_http_needs_both_the_switch_and_an_opened_network() -> None:
    only_switch = OutboundSettings(allow_http=True)
    only_network = OutboundSettings(allow_networks=("127.0.0.0/8",))
    assert problem_with_url("http://127.0.0.1:8001/logout", LOOPBACK_OPEN) is None
    assert problem_with_url("http://localhost:8001/logout", LOOPBACK_OPEN) is None
    assert problem_with_url("http://127.0.0.1/", only_switch)
    assert problem_with_url("http://127.0.0.1/", only_network)
    assert problem_with_url("https://127.0.0.1/", only_network) is None
    assert problem_with_url("http://8.8.8.8/", LOOPBACK_OPEN)


def test_an_opened_network_opens_its_mapped_form_and_nothing_beside_it() -> None:
    rules = Rules.of(OutboundSettings(allow_networks=("10.1.0.0/16",)))
    assert rules.problem_with(ipaddress.ip_address("10.1.2.3"), "https") is None
    assert rules.problem_with(ipaddress.ip_address("::ffff:10.1.2.3"), "https") is None
    assert rules.problem_with(ipaddress.ip_address("10.2.0.1"), "https")
    assert rules.problem_with(ipaddress.ip_address("2002:a01:203::"), "https")


@given(st.ip_addresses())
def test_no_address_is_public_that_the_standard_library_calls_special(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    special = (
        address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
    )
    assert not (special and is_public(address))


@given(st.text(max_size=40))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        destination = parse("https://" + text)
    except OutboundRefused:
        return
    assert destination.host
    assert "@" not in destination.authority
    assert destination.target.startswith(("/", "?"))


def test_a_url_is_taken_apart_as_it_is_sent() -> None:
    destination = parse("https://App.Example.:8443/a/b?c=d&e=%20")
    assert (destination.host, destination.port) == ("app.example", 8443)
    assert destination.target == "/a/b?c=d&e=%20"
    assert parse("https://app.example").target == "/"
    assert parse("https://app.example").port == 443
    assert parse("http://app.example").port == 80
