"""How the server's log lines look: for people, or as JSON lines for whatever collects them.

Owns the form only. What is logged holds no secret: addresses are logged without their query, and
sentences are constants.
"""

import json
import logging
import sys
from datetime import UTC, datetime

from idp.settings import Settings
from idp.web import request_id


class _Numbered(logging.Filter):
    """Adds the number of the request a line is written for."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.current()
        return True


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        number = getattr(record, "request_id", None)
        line = super().format(record)
        # One line each: whatever came from outside must not look like a line of ours.
        first, *rest = [_plain(one) for one in line.splitlines()] or [""]
        shown = "\n".join([first, *(f"    {one}" for one in rest)])
        return f"{shown} [{number}]" if number and not rest else shown


def _plain(line: str) -> str:
    """A line that a terminal shows as it is: what would steer it is spelled out."""
    if line.isprintable():
        return line
    return "".join(
        one if one.isprintable() or one == "\t" else one.encode("unicode_escape").decode()
        for one in line
    )


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        values = {
            "at": datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": getattr(record, "request_id", None),
        }
        if record.exc_info:
            values["exception"] = self.formatException(record.exc_info)
        return json.dumps({name: one for name, one in values.items() if one is not None})


def set_up(settings: Settings) -> None:
    """Sends every line of this process to standard error, in the form that the settings say."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_Numbered())
    handler.setFormatter(
        _Json()
        if settings.log_format == "json"
        else _Text("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    )
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    # They say what they are asked, with addresses and their queries in it.
    # And alembic names each of its parts.
    for chatty in ("httpx2", "httpcore2", "asyncio", "alembic.runtime.plugins"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
