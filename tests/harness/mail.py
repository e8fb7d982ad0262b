"""A real SMTP server on loopback that collects what it is given, well-behaved and not.

`delivering` makes a provider's owed mail go out through it; `owed` reads what is owed without any
server, for tests that only want a link.
"""

import asyncio
import contextlib
import ssl
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP as MAIL_POLICY
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from sqlalchemy import select

from idp.events.delivery import Claimed
from idp.events.model import Delivery
from idp.notify import messages
from idp.notify.channel import MailChannel, bounded
from idp.notify.letters import Letter, Letters
from idp.sections import MailSettings
from idp.settings import Settings
from idp.storage.unit_of_work import Work
from idp.work.dispatch import Dispatch

USER, PASSWORD = "mailer", "p@ss:word/%"


@dataclass(frozen=True)
class Received:
    """One mail as the server took it."""

    sender: str
    recipients: list[str]
    raw: bytes
    encrypted: bool
    user: str | None

    @property
    def message(self) -> EmailMessage:
        parsed = message_from_bytes(self.raw, policy=MAIL_POLICY)
        assert isinstance(parsed, EmailMessage)
        assert parsed.defects == []
        return parsed

    def part(self, kind: str) -> str:
        """The text of the part "plain" or "html"."""
        body = self.message.get_body((kind,))
        assert body is not None
        return str(body.get_content())


@dataclass
class MailServer:
    """A listening server; what it says may be changed at any time."""

    host: str = "127.0.0.1"
    port: int = 0
    received: list[Received] = field(default_factory=list)
    # Said instead of "250 OK", one for each time it is asked; accepted when there is none left.
    at_recipient: list[str] = field(default_factory=list)
    at_data: list[str] = field(default_factory=list)
    # Takes connections and says nothing; or a byte of a greeting now and then.
    hangs: bool = False
    drips: bool = False
    connections: int = 0
    _arrived: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, count: int, *, within: float = 20.0) -> list[Received]:
        """The mails, once `count` of them have arrived."""
        with self._arrived:
            came = self._arrived.wait_for(lambda: len(self.received) >= count, within)
        assert came, f"{len(self.received)} of {count} mails arrived"
        return list(self.received)

    def to(self, address: str) -> Received:
        """The one mail to this address."""
        (found,) = [one for one in self.received if one.recipients == [address]]
        return found

    # --- what aiosmtpd calls ------------------------------------------------------------------

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.at_recipient:
            return self.at_recipient.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.at_data:
            return self.at_data.pop(0)
        assert isinstance(envelope.content, bytes)
        assert envelope.mail_from is not None
        user = session.auth_data
        with self._arrived:
            self.received.append(
                Received(
                    envelope.mail_from,
                    list(envelope.rcpt_tos),
                    envelope.content,
                    session.ssl is not None
                    or server.transport.get_extra_info("ssl_object") is not None,
                    user.login.decode() if isinstance(user, LoginPassword) else None,
                )
            )
            self._arrived.notify_all()
        return "250 OK"


class _Silent(asyncio.Protocol):
    """Never greets; `drips` sends a byte of a greeting every now and then."""

    def __init__(self, drips: bool) -> None:
        self._drips = drips

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if self._drips:
            self._drip(transport, asyncio.get_running_loop())

    def _drip(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        if not transport.is_closing():
            transport.write(b"2")
            loop.call_later(0.02, self._drip, transport, loop)


@contextlib.contextmanager
def mail_server(
    *,
    starttls: ssl.SSLContext | None = None,
    tls: ssl.SSLContext | None = None,
    with_password: bool = False,
    host: str = "127.0.0.1",
) -> Iterator[MailServer]:
    """A server on a free port: plain, with STARTTLS, or encrypted from the start."""
    made = MailServer(host=host)
    loop = asyncio.new_event_loop()

    def check(_: SMTP, __: Session, ___: Envelope, mechanism: str, data: Any) -> AuthResult:
        right = isinstance(data, LoginPassword) and (data.login, data.password) == (
            USER.encode(),
            PASSWORD.encode(),
        )
        return AuthResult(success=right, handled=False, auth_data=data)

    def connected() -> asyncio.Protocol:
        made.connections += 1
        if made.hangs or made.drips:
            return _Silent(made.drips)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that AUTH without TLS is unwise, we know
            return SMTP(
                made,
                loop=loop,
                hostname="mail.test",
                enable_SMTPUTF8=True,
                tls_context=starttls,
                require_starttls=starttls is not None,
                auth_required=with_password,
                auth_require_tls=starttls is not None,
                authenticator=check if with_password else None,
            )

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    listening = asyncio.run_coroutine_threadsafe(
        loop.create_server(connected, host, 0, ssl=tls), loop
    ).result(20)
    made.port = listening.sockets[0].getsockname()[1]
    try:
        yield made
    finally:

        async def end() -> None:
            listening.close()
            others = [one for one in asyncio.all_tasks() if one is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            for one in list(getattr(loop, "_transports", {}).values()):
                one.close()
            await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(end(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


class Post:
    """Sends what is owed, when told to: a worker that goes by hand."""

    def __init__(self, work: Work) -> None:
        self._woken = threading.Event()
        self._channel = MailChannel(work)
        self._dispatch = Dispatch(
            bounded(work), {messages.CHANNEL: self._channel}, wake=self._woken.set
        )

    def send(self, *, within: float = 20.0) -> None:
        """Sends everything that is due now, and waits for its receipts."""
        deadline = time.monotonic() + within
        self._dispatch.news()
        while True:
            self._woken.clear()
            pause = self._dispatch.step()
            busy = self._dispatch._under_way or self._dispatch._answers
            if not busy and pause > 0:
                return
            assert time.monotonic() < deadline, "mail is still under way"
            self._woken.wait(0.01 if busy else 0)

    def close(self) -> None:
        self._channel.close()


@contextlib.contextmanager
def delivering(work: Work) -> Iterator[Post]:
    """A post for the mail that is owed in `work`."""
    post = Post(work)
    try:
        yield post
    finally:
        post.close()


@dataclass(frozen=True)
class OwedMail:
    """A mail that is owed: to whom, which, and how it would read."""

    to: str
    message: str
    values: dict[str, Any]
    letter: Letter
    state: str


def owed(work: Work) -> list[OwedMail]:
    """Every mail there is a delivery of, in any state, the oldest first."""
    letters = Letters(work.settings)
    with work.read() as unit:
        rows = unit.orm.scalars(
            select(Delivery)
            .where(Delivery.channel == messages.CHANNEL)
            .order_by(Delivery.created_at, Delivery.id)
        ).all()
    found = []
    for row in rows:
        one = messages.opened(work.vault, _claimed(row))
        letter = letters.write(one.message, one.values, language=one.language)
        found.append(OwedMail(one.to, one.message, one.values, letter, row.state))
    return found


def _claimed(row: Delivery) -> Claimed:
    return Claimed(
        id=row.id, event_id=row.event_id, channel=row.channel, receiver=row.receiver,
        session_id=row.session_id, payload=row.payload, attempts=row.attempts,
        created_at=row.created_at, give_up_at=row.give_up_at, claimed_until=row.claimed_until,
    )  # fmt: skip


def with_server(settings: Settings, server: MailServer, **values: Any) -> Settings:
    """Settings whose mail goes to `server`, which is plain on loopback."""
    address = f"smtp+plain://{server.host}:{server.port}"
    mail = MailSettings(**({"server": address} | values))
    return settings.model_copy(update={"mail": mail})
