"""Handing lines to a syslog receiver: over TCP, TLS or UDP.

Syslog has no answer, so a receiver that dies may have lost what lay in its buffers. Over TCP and TLS a
batch therefore has a connection of its own: everything is written, our half is closed, and the batch
counts only once the receiver has closed the other half, which it does when it has read to the end. A
connection that breaks otherwise means that the batch is sent again. UDP promises nothing.

The receiver is named by the operator, not by anybody who uses the product: no address is refused.
Specs: RFC 6587 section 3.4.1 and RFC 5425 section 4.3 (octet counting), RFC 5425 section 4.4
(closing), RFC 5426.
"""

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

# For everything that one batch needs, in seconds.
TIMEOUT = 5.0
# RFC 5426 section 3.2: more fits into no datagram.
DATAGRAM_MAXIMUM = 65_000


class NotTaken(Exception):  # noqa: N818
    """The receiver did not take a batch, or not surely; it says why."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """Who takes the lines: scheme is `tcp+tls`, `tcp` or `udp`."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, address: str) -> "Receiver | None":
        """The receiver at an address of the settings; None for an empty one."""
        if not address:
            return None
        parts = urlsplit(address)
        return cls(parts.scheme, parts.hostname or "", parts.port or 0)

    @property
    def longest(self) -> int | None:
        """How many bytes a line may have; None where it does not matter."""
        return DATAGRAM_MAXIMUM if self.scheme == "udp" else None

    def hand_over(self, lines: Sequence[bytes]) -> None:
        """Sends a batch; raises `NotTaken`, and then any part of it may have arrived."""
        try:
            if self.scheme == "udp":
                self._datagrams(lines)
            else:
                self._stream(b"".join(b"%d %s" % (len(line), line) for line in lines))
        except OSError as problem:  # also what TLS refuses
            raise NotTaken(f"{type(problem).__name__}: {problem}") from None

    def _datagrams(self, lines: Sequence[bytes]) -> None:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(
            self.host, self.port, type=socket.SOCK_DGRAM
        )
        with socket.socket(family, kind, protocol) as channel:
            channel.settimeout(TIMEOUT)
            # Connected, so that a machine where nobody listens can say so.
            channel.connect(address)
            for line in lines:
                channel.send(line)

    def _stream(self, body: bytes) -> None:
        deadline = time.monotonic() + TIMEOUT
        with self._connected(deadline) as channel:
            channel.settimeout(_left(deadline))
            channel.sendall(body)
            if isinstance(channel, ssl.SSLSocket):
                # Says that nothing follows, and waits for the same: RFC 5425 section 4.4.
                channel.settimeout(_left(deadline))
                channel = _unwrapped(channel)
            channel.shutdown(socket.SHUT_WR)
            while True:
                channel.settimeout(_left(deadline))
                if not channel.recv(4_096):
                    return

    @contextlib.contextmanager
    def _connected(self, deadline: float) -> Iterator[socket.socket]:
        with contextlib.ExitStack() as stack:
            plain = socket.create_connection((self.host, self.port), timeout=_left(deadline))
            stack.callback(plain.close)
            if self.scheme == "tcp":
                yield plain
                return
            plain.settimeout(_left(deadline))
            # The system's authorities, or those of SSL_CERT_FILE.
            context = ssl.create_default_context()
            secure = stack.enter_context(context.wrap_socket(plain, server_hostname=self.host))
            yield secure


def _unwrapped(channel: ssl.SSLSocket) -> socket.socket:
    """The plain connection once both sides said that nothing follows.

    Many a receiver closes the connection without a word of TLS, when it has read ours: that counts,
    because ours stands behind everything that was sent.
    """
    try:
        return channel.unwrap()
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError):
        return channel


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError(f"not done within {TIMEOUT:g} seconds")
    return left
