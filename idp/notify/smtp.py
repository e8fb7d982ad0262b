"""Handing a message to the mail server.

Owns the connection: one for each message, encrypted with a verified certificate (row B8) unless the
server is on this very machine, and over when the time for a whole mail is over, however the server
behaves. What a server says is never repeated but for its codes: its sentences hold addresses.
Specs: RFC 5321, RFC 3207 (STARTTLS), RFC 8314 (TLS from the start), RFC 3463 (codes).
"""

import re
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from urllib.parse import unquote, urlsplit

from idp.events.delivery import Outcome
from idp.sections import MailSettings

_PORTS = {"smtp": 587, "smtps": 465, "smtp+plain": 25}
_ENHANCED = re.compile(rb"[245]\.\d{1,3}\.\d{1,3}\b")


@dataclass(frozen=True, slots=True)
class Server:
    """Where mail is handed over, as `IDP_MAIL__SERVER` says; `scheme` is one of its three."""

    scheme: str
    host: str
    port: int
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, settings: MailSettings) -> "Server | None":
        """The server of the settings, which have been checked; None when none is set."""
        address = settings.server.get_secret_value()
        if not address:
            return None
        parts = urlsplit(address)
        return cls(
            scheme=parts.scheme,
            host=parts.hostname or "",
            port=parts.port or _PORTS[parts.scheme],
            user=None if parts.username is None else unquote(parts.username),
            password=None if parts.password is None else unquote(parts.password),
        )


class Smtp:
    """Our side of the conversation with one server; `name` is what we call ourselves."""

    def __init__(self, server: Server, *, name: str) -> None:
        self._server = server
        self._name = name
        # Not smtplib's own, which accepts any certificate.
        self._tls = ssl.create_default_context()

    def hand_over(self, message: EmailMessage, *, seconds: float) -> Outcome:
        """Sends one message; gives what became of it, whatever happens.

        Refused for good (5xx) is what the server says of this recipient or this message. All else
        may be put right, here or there, and is tried again.
        """
        try:
            with self._connected(seconds) as connection:
                connection.send_message(message)
        except smtplib.SMTPRecipientsRefused as problem:
            code, said = next(iter(problem.recipients.values()))
            return _refused("the recipient", code, said)
        except smtplib.SMTPDataError as problem:
            return _refused("the message", problem.smtp_code, problem.smtp_error)
        except (OSError, smtplib.SMTPException, UnicodeError) as problem:
            return Outcome("failed", error=reason(problem))
        return Outcome("accepted", 250)

    def try_out(self, *, seconds: float) -> None:
        """Goes as far as a mail could be sent; raises what `reason` explains."""
        with self._connected(seconds) as connection:
            connection.noop()

    @contextmanager
    def _connected(self, seconds: float) -> Iterator[smtplib.SMTP]:
        """The server's attention, encrypted as it must be and signed in, until `seconds` are over.

        The limit of a socket is for each call, and a server that drips would never meet it. So a
        second handle of the connection is shut down then, whatever wraps the first by that time.
        """
        deadline = time.monotonic() + seconds
        with _reached(self._server, deadline) as plain, plain.dup() as handle:
            left = max(0.0, deadline - time.monotonic())
            plain.settimeout(left + 1)
            late = threading.Event()
            watch = threading.Timer(left, _hang_up, [handle, late])
            watch.daemon = True
            watch.start()
            connection = None
            try:
                connection = self._greeted(plain)
                self._admitted(connection)
                yield connection
                # What was accepted is accepted, whether or not the server says goodbye.
                with suppress(OSError, smtplib.SMTPException):
                    connection.quit()
            except (OSError, smtplib.SMTPException):
                if late.is_set():
                    raise TimeoutError from None
                raise
            finally:
                watch.cancel()
                if connection is not None:
                    connection.close()

    def _greeted(self, plain: socket.socket) -> smtplib.SMTP:
        server = self._server
        if server.scheme != "smtps":
            return _Connection(server, plain, self._name)
        return _Connection(
            server, self._tls.wrap_socket(plain, server_hostname=server.host), self._name
        )

    def _admitted(self, connection: smtplib.SMTP) -> None:
        server = self._server
        connection.ehlo_or_helo_if_needed()
        if server.scheme == "smtp":
            connection.starttls(context=self._tls)
            connection.ehlo_or_helo_if_needed()
        if server.user is not None:
            connection.login(server.user, server.password or "")


class _Connection(smtplib.SMTP):
    """Speaks over a socket that was opened before."""

    def __init__(self, server: Server, opened: socket.socket, name: str) -> None:
        self._opened = opened
        super().__init__(server.host, server.port, local_hostname=name)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        del host, port, timeout
        return self._opened


def reason(problem: Exception) -> str:
    """Why a server could not be used, without anything it said but its codes."""
    if isinstance(problem, smtplib.SMTPAuthenticationError):
        return f"the mail server refused our user name or password ({problem.smtp_code})"
    if isinstance(problem, smtplib.SMTPResponseException):
        return f"the mail server refused ({_codes(problem.smtp_code, problem.smtp_error)})"
    if isinstance(problem, smtplib.SMTPNotSupportedError):
        lacking = next(
            (one for one in ("STARTTLS", "AUTH", "SMTPUTF8") if one in str(problem)), "something"
        )
        return f"the mail server does not offer {lacking}, which is needed"
    if isinstance(problem, ssl.SSLCertVerificationError):
        return f"the certificate of the mail server: {problem.verify_message}"
    if isinstance(problem, ssl.SSLError):
        return f"no encryption with the mail server: {problem.reason or 'it hung up'}"
    if isinstance(problem, TimeoutError):
        return "the mail server did not answer in time"
    if isinstance(problem, smtplib.SMTPServerDisconnected):
        return "the mail server hung up"
    if isinstance(problem, smtplib.SMTPException | UnicodeError):
        return f"the mail server cannot take this mail ({type(problem).__name__})"
    said = getattr(problem, "strerror", None) or type(problem).__name__
    return f"the mail server cannot be reached: {said}"


def _reached(server: Server, deadline: float) -> socket.socket:
    """Connects to the first address that answers; all of them together have until `deadline`."""
    problem: OSError = OSError("no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(
        server.host, server.port, type=socket.SOCK_STREAM
    ):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError from None
        opened = socket.socket(family, kind, protocol)
        try:
            opened.settimeout(left)
            opened.connect(address)
        except OSError as failed:
            opened.close()
            problem = failed
        else:
            return opened
    raise problem


def _hang_up(handle: socket.socket, late: threading.Event) -> None:
    late.set()
    with suppress(OSError):
        handle.shutdown(socket.SHUT_RDWR)


def _refused(what: str, code: int, said: bytes | str) -> Outcome:
    error = f"the mail server refused {what} ({_codes(code, said)})"
    return Outcome("hopeless" if code >= 500 else "failed", code, error)


def _codes(code: int, said: bytes | str) -> str:
    text = said if isinstance(said, bytes) else said.encode("ascii", "replace")
    enhanced = _ENHANCED.match(text)
    return f"{code} {enhanced[0].decode()}" if enhanced else str(code)
