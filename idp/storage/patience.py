"""A psycopg connection whose waits end: a call that nobody answers is given up.

Only imported where psycopg is installed. `statement_timeout` is the server's promise; this one is ours,
and kept also when the server, or the way to it, is frozen.
"""

import time
from typing import Any

from psycopg import Connection, OperationalError
from psycopg.abc import RV, PQGen
from psycopg.pq import TransactionStatus


class PatientConnection(Connection[Any]):
    """Closed when it was waited for in vain: what became of the statement is not known."""

    # Seconds for one trip to the server; None while nobody has said how many.
    patience: float | None = None
    # When it was last answered, by the monotonic clock.
    answered_at = 0.0

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """What the call gives; raises `OperationalError` when it takes longer than `patience`."""
        try:
            found = super().wait(gen, interval, self.patience if timeout is None else timeout)
        except OperationalError:
            # What the server refused is over there. What it is still at was given up by us.
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.pgconn.finish()
            raise
        self.answered_at = time.monotonic()
        return found
