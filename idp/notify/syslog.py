"""Every event of the audit log to a syslog receiver, in order, each at least once.

Owns the form of a message (RFC 5424) and the position up to which the receiver has taken the log, a row
of `forwards`. The worker's thread for it takes what is behind that position of the chain, hands it
over, and moves on once it was taken: a receiver that is away is where it was when it is back. A crash
between the two sends a batch again; `sequenceId` and the event's id show it. It begins with the first
event there is.
"""

import logging
from collections.abc import Sequence
from functools import partial
from urllib.parse import urlsplit

import orjson
from sqlalchemy import select, text

from idp.clock import SECOND, Duration, Instant, to_datetime
from idp.events.described import described
from idp.events.model import NOTABLE, EventRow
from idp.notify.model import Forward
from idp.storage.unit_of_work import Work
from idp.work.schedule import Job
from idp.work.syslog import NotTaken, Receiver
from idp.work.worker import Worker

NAME = "syslog"
BATCH = 200
# After a batch that was not taken, doubling up to the second.
FIRST_WAIT: Duration = SECOND
LONGEST_WAIT: Duration = 30 * SECOND
# RFC 5424 section 6.2.1.
NOTICE, WARNING = 5, 4
# RFC 5424 section 7.3.1: counts up to here, and then from 1 again.
SEQUENCE_MAXIMUM = 2_147_483_647

_log = logging.getLogger(__name__)
_MOVED = text(
    "INSERT INTO forwards (name, position) VALUES (:name, :to) "
    "ON CONFLICT (name) DO UPDATE SET position = excluded.position "
    "WHERE forwards.position < excluded.position"
)


class SyslogWorker(Worker):
    """The worker that hands the log to a syslog receiver; it carries nothing else, so that one that
    hangs takes nothing from logout. Without an address it has nothing to do.
    """

    def __init__(self, work: Work) -> None:
        receiver = Receiver.of(work.settings.syslog.address)
        forwarder = Forwarder(work, receiver) if receiver is not None else None
        jobs = [Job("send to syslog", SECOND, forwarder.step)] if forwarder is not None else []
        super().__init__(work, channels={}, jobs=jobs)
        self._is_needed = forwarder is not None

    def start(self) -> None:
        if self._is_needed:
            super().start()


class Forwarder:
    """Hands over one batch after another."""

    def __init__(self, work: Work, receiver: Receiver) -> None:
        self._work = work
        self._receiver = receiver
        self._failures = 0
        self._not_before: Instant = 0

    def step(self) -> bool:
        """Hands over what is next; True when there is more to hand over at once."""
        now = self._work.clock.now()
        if now < self._not_before:
            return False
        with self._work.read() as unit:
            forward = unit.orm.get(Forward, NAME)
            rows = list(
                unit.orm.scalars(
                    select(EventRow)
                    .where(EventRow.position > (forward.position if forward is not None else 0))
                    .order_by(EventRow.position)
                    .limit(BATCH)
                )
            )
        if not rows:
            return False
        try:
            self._receiver.hand_over(self._lines(rows))
        except NotTaken as problem:
            if self._failures == 0:  # an outage is said once
                _log.warning("the syslog receiver takes nothing: %s", problem)
            self._not_before = now + min(FIRST_WAIT << min(self._failures, 20), LONGEST_WAIT)
            self._failures += 1
            return False
        if self._failures:
            _log.warning("the syslog receiver takes events again")
        self._failures = 0
        with self._work.begin() as unit:
            unit.connection.execute(_MOVED, {"name": NAME, "to": rows[-1].position})
        return len(rows) == BATCH

    def _lines(self, rows: Sequence[EventRow]) -> list[bytes]:
        settings = self._work.settings
        host = urlsplit(settings.issuer).hostname or "-"
        form = partial(
            line, host=host, facility=settings.syslog.facility, longest=self._receiver.longest
        )
        return [form(row) for row in rows]


def line(row: EventRow, *, host: str, facility: int, longest: int | None = None) -> bytes:
    """A sealed event as a syslog message (RFC 5424 section 6): a header, and the event as JSON.

    `longest` bytes are sent at most; what would be longer goes without its `data`.
    """
    severity = WARNING if row.type in NOTABLE else NOTICE
    at = to_datetime(row.at).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    sequence = ((row.position or 1) - 1) % SEQUENCE_MAXIMUM + 1
    head = (
        f"<{facility * 8 + severity}>1 {at} {host[:255]} idp - {row.type[:32]} "
        f'[meta sequenceId="{sequence}"] '
    ).encode()
    event = described(row)
    made = head + orjson.dumps(event)
    if longest is not None and len(made) > longest:
        return head + orjson.dumps({**event, "data": {}, "is_cut": True})
    return made
