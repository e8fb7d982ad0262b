"""Where the outbound client may go: the rules for URLs and for addresses, without any I/O.

Everything that is not plainly a public address is refused: loopback, private, link-local (cloud
metadata lives there), carrier NAT, multicast, reserved and documentation blocks, and the IPv6 forms
that carry an IPv4 address inside (mapped, 6to4, Teredo, NAT64), because the inner one may be
private. `allow_networks` opens single blocks. The lists are written out, because what Python's
`is_global` says changed between patch releases.

Specs: RFC 6890 with the IANA special-purpose registries, RFC 3986, RFC 3056, RFC 4380, RFC 6052.
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from idp.hosts import is_loopback_host
from idp.sections import OutboundSettings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

URL_MAXIMUM = 2_000
_URI_CHARACTERS = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")
_DNS_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
_LOOKS_LIKE_A_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")

_NOT_PUBLIC_V4 = tuple(
    ipaddress.IPv4Network(block)
    for block in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24",
        "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15",
        "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    )
)  # fmt: skip
# The only IPv6 space that is handed out, and what of it leads elsewhere.
_PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = tuple(
    ipaddress.IPv6Network(block)
    for block in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)


class OutboundRefused(Exception):  # noqa: N818 - a refusal is an answer
    """The call is not allowed; nothing was sent. `reason` says why, for logs and receipts."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Destination:
    """A URL taken apart: what to resolve, what to connect to, what to ask for."""

    scheme: str
    host: str
    port: int
    # Path and query, as they are sent.
    target: str
    # Host and port as they stood in the URL: the Host header.
    authority: str
    # The address itself when the host is one.
    literal: Address | None


@dataclass(frozen=True, slots=True)
class Rules:
    """Which addresses may be called."""

    allowed: tuple[Network, ...]
    allow_http: bool

    @classmethod
    def of(cls, settings: OutboundSettings) -> "Rules":
        networks = tuple(ipaddress.ip_network(block) for block in settings.allow_networks)
        return cls(allowed=networks, allow_http=settings.allow_http)

    def problem_with(self, address: Address, scheme: str) -> str | None:
        """Why `address` may not be called with `scheme`, or None when it may."""
        inner = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        plain = inner or address
        if any(plain.version == block.version and plain in block for block in self.allowed):
            if scheme == "http" and not self.allow_http:
                return "plain http is not allowed"
            return None
        if not is_public(plain):
            return f"{address} is not a public address"
        if scheme == "http":
            return "plain http is only allowed to the networks that are opened for it"
        return None


def is_public(address: Address) -> bool:
    """Whether an address is plainly one of the public Internet."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in block for block in _NOT_PUBLIC_V4)
    return address in _PUBLIC_V6 and not any(address in block for block in _NOT_PUBLIC_V6)


def parse(url: str) -> Destination:
    """Takes a URL apart; raises `OutboundRefused` for one that could mean two things.

    Names stay as they are: whoever connects checks the addresses they lead to.
    """
    if len(url) > URL_MAXIMUM:
        raise OutboundRefused(f"the URL is longer than {URL_MAXIMUM} characters")
    # urlsplit drops tabs and line ends without a word, so they are refused before it sees them.
    if not _URI_CHARACTERS.fullmatch(url):
        raise OutboundRefused("the URL has characters that no URL may have (RFC 3986)")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise OutboundRefused(f"the URL cannot be read: {error}") from None
    if parts.scheme not in ("https", "http"):
        raise OutboundRefused("the URL must begin with https://")
    if "@" in parts.netloc:
        raise OutboundRefused("the URL must not hold a user name or password")
    if "#" in url:
        raise OutboundRefused("the URL must not have a fragment")
    if port == 0:
        raise OutboundRefused("port 0 cannot be called")
    host = (parts.hostname or "").lower().removesuffix(".")
    literal = _literal(host, bracketed="[" in parts.netloc)
    if literal is None and (len(host) > 253 or not _DNS_NAME.fullmatch(host)):
        raise OutboundRefused("the URL has no valid host name")
    return Destination(
        scheme=parts.scheme,
        host=host,
        port=port or (443 if parts.scheme == "https" else 80),
        target=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        authority=parts.netloc.lower(),
        literal=literal,
    )


def problem_with_url(url: str, settings: OutboundSettings) -> str | None:
    """Why a URL cannot be registered for calls, as a sentence, or None when it can.

    The same rules as at the call, without asking DNS: a name may lead elsewhere tomorrow, so the
    call checks again what it leads to then.
    """
    rules = Rules.of(settings)
    try:
        destination = parse(url)
    except OutboundRefused as refusal:
        return refusal.reason
    if destination.literal is not None:
        return rules.problem_with(destination.literal, destination.scheme)
    if is_loopback_host(destination.host):
        return _problem_with_all(rules, destination.scheme, ("127.0.0.1", "::1"))
    if destination.scheme == "http" and not (rules.allow_http and rules.allowed):
        return "the URL must begin with https://"
    return None


def _problem_with_all(rules: Rules, scheme: str, addresses: Sequence[str]) -> str | None:
    problems = [rules.problem_with(ipaddress.ip_address(one), scheme) for one in addresses]
    return None if None in problems else problems[0]


def _literal(host: str, *, bracketed: bool) -> Address | None:
    """The address a host stands for, None for a name.

    A last label that is a number makes the host an IPv4 address (WHATWG URL section 3.5), and then
    only four decimal parts are taken: the C library also reads `2130706433`, `0x7f.1`, `0177.1`.
    """
    try:
        if bracketed:
            return ipaddress.IPv6Address(host if "%" not in host else "")
        if _LOOKS_LIKE_A_NUMBER.fullmatch(host.rpartition(".")[2]):
            return ipaddress.IPv4Address(host)
    except ValueError:
        raise OutboundRefused("the URL's address must be written in its usual form") from None
    return None
