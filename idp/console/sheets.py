"""Lists as files: CSV that a spreadsheet opens, and takes no cell of for a formula."""

import csv
import io
from collections.abc import Iterable, Sequence

from starlette.responses import Response

CSV = "text/csv; charset=utf-8"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """A list as CSV (RFC 4180)."""
    out = io.StringIO(newline="")
    written = csv.writer(out)
    written.writerow(head)
    written.writerows([plain(str(cell)) for cell in row] for row in rows)
    return out.getvalue().encode()


def plain(text: str) -> str:
    """A cell that is text whatever it begins with."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def file(body: bytes, name: str, media_type: str) -> Response:
    """A file to be saved under a name."""
    return Response(
        body,
        media_type=media_type,
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
