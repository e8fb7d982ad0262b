"""Mail as a channel of the outbox (`idp.events.delivery`): retried, backed off, receipted as others.

Owns a few threads, each with one mail in hand, because a conversation with a mail server takes its
time and the worker must not wait for it. That worker carries nothing else, so that a mail server
that hangs takes nothing from logout; it claims no more than there are threads.
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from queue import SimpleQueue

from idp.clock import HOUR
from idp.errors import Refused
from idp.events.catalogue import MailDelivered, MailGivenUp
from idp.events.delivery import Claimed, Outcome, Report
from idp.notify import mailbox, messages
from idp.notify.composing import compose, domain_of
from idp.notify.letters import Letters
from idp.notify.smtp import Server, Smtp
from idp.storage.unit_of_work import Work
from idp.storage.vault import Unreadable
from idp.work.schedule import Job
from idp.work.worker import Worker

# Mail servers count the connections of one client, too.
THREADS = 12

_log = logging.getLogger(__name__)

_Task = tuple[Claimed, Report]


class MailWorker(Worker):
    """The worker that sends mail, and clears the mailbox of those who try the product out."""

    def __init__(self, work: Work) -> None:
        self._channel = MailChannel(work)
        super().__init__(
            bounded(work),
            channels={messages.CHANNEL: self._channel},
            jobs=[Job("delete old mail", HOUR, partial(_forget_old, work))],
        )

    def stop(self, timeout: float = 5.0) -> bool:
        self._channel.close()
        return super().stop(timeout)


class MailChannel:
    """The channel that carries letters. Its threads begin with the first mail."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._letters = Letters(work.settings)
        server = Server.of(work.settings.mail)
        self._smtp = None if server is None else Smtp(server, name=domain_of(work.settings))
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._closed = threading.Event()

    def send(self, batch: Sequence[Claimed], report: Report) -> None:
        """Begins to send; reports from a thread when the server has answered."""
        for claimed in batch:
            self._tasks.put((claimed, report))
        while len(self._threads) < THREADS:
            # Daemons: a process that ends need not wait for a mail server; its claims run out.
            thread = threading.Thread(target=self._run, name="mail", daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """Begins nothing any more; what was not begun is given back by the worker."""
        self._closed.set()
        for _ in self._threads:
            self._tasks.put(None)

    def delivered(self, claimed: Claimed) -> MailDelivered:
        return MailDelivered(
            user_id=claimed.payload["user_id"],
            message=claimed.payload["message"],
            attempts=claimed.attempts,
        )

    def given_up(self, claimed: Claimed, reason: str) -> MailGivenUp:
        return MailGivenUp(
            user_id=claimed.payload["user_id"],
            message=claimed.payload["message"],
            attempts=claimed.attempts,
            reason=reason,
        )

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            if self._closed.is_set():
                continue
            claimed, report = task
            try:
                outcome = self._outcome(claimed)
            except Exception as problem:
                # Without the traceback: what broke may hold the address or a link.
                _log.error("mail %s could not be sent: %s", claimed.id, type(problem).__name__)
                outcome = Outcome("failed", error=f"not sent: {type(problem).__name__}")
            report(claimed, outcome)

    def _outcome(self, claimed: Claimed) -> Outcome:
        settings = self._work.settings
        if self._smtp is None and not mailbox.is_open(settings):
            return Outcome("hopeless", error="no mail server is set")
        try:
            owed = messages.opened(self._work.vault, claimed)
        except Unreadable:
            return Outcome("hopeless", error="sealed with a key that is gone")
        letter = self._letters.write(owed.message, owed.values, language=owed.language)
        if self._smtp is None:
            mailbox.put(self._work, claimed.id, letter, to=owed.to)
            return Outcome("accepted")
        try:
            message = compose(
                letter, settings, to=owed.to, delivery_id=claimed.id, at=claimed.created_at
            )
        except Refused:
            return Outcome("hopeless", error="not an address that mail can be sent to")
        return self._smtp.hand_over(message, seconds=settings.mail.timeout)


def bounded(work: Work) -> Work:
    """`work` for a worker that sends mail: what it takes from `outbound` is mail's own here.

    A claim outlasts a mail, so that nobody else sends it meanwhile.
    """
    settings = work.settings
    outbound = settings.outbound.model_copy(
        update={"concurrency": THREADS, "timeout": settings.mail.timeout}
    )
    return replace(work, settings=settings.model_copy(update={"outbound": outbound}))


def _forget_old(work: Work) -> bool:
    with work.begin() as unit:
        return mailbox.forget_old(unit) >= mailbox.BATCH
