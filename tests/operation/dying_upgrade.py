"""`python -m tests.operation.dying_upgrade URL N`: `idp db upgrade`, dead before its Nth statement.

Says how many statements there were where it comes to the end.
"""

import os
import signal
import sys
from typing import Any

from sqlalchemy import event

from idp.storage import migrations
from idp.storage.database import Database


def main() -> None:
    url, last = sys.argv[1], int(sys.argv[2])
    database, count = Database(url), 0

    @event.listens_for(database.writing, "before_cursor_execute")
    def _count(*_: Any) -> None:
        nonlocal count
        count += 1
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)

    migrations.upgrade(database)
    sys.stdout.write(f"{count}\n")


if __name__ == "__main__":
    main()
