"""Where a page may send a browser next: a path of our own, and nothing else (RU-11).

`next=` comes from the address bar, so anybody may write it. Browsers forgive much (`/\\host`, tabs,
`///`), so forms are not refused one by one: what is allowed is spelled out, the rest falls back.
"""

import re

ACCOUNT = "/account/sessions"

_SEGMENT = r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*"
_PATH = re.compile(
    rf"/(?:{_SEGMENT}(?:/{_SEGMENT})*)?(?:\?(?:[A-Za-z0-9._~=&-]|%[0-9A-Fa-f]{{2}})*)?"
)
_LONGEST = 500


def local_path(text: str | None, *, otherwise: str = ACCOUNT) -> str:
    """`text` when it is an absolute path on this server, else `otherwise`."""
    if text is None or len(text) > _LONGEST or not _PATH.fullmatch(text):
        return otherwise
    return text
