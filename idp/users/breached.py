"""Passwords known from breaches, in a file that the operator provides.

The file is that of Have I Been Pwned: the SHA-1 of each password in hexadecimal, one a line,
sorted, each with an optional count behind a colon. It has tens of gigabytes, so it is searched where
it lies, by bisection: some forty short reads. Nothing about a password leaves this machine.

A file that cannot be read when the server starts keeps it from starting (`idp.settings`). One that
is gone later is logged and left out: the other rules still hold, and nobody is kept from changing a
password because a disk is missing (ASVS 6.2.12).
"""

import hashlib
import logging
from typing import BinaryIO

_log = logging.getLogger(__name__)


def is_listed(file: str, password: bytes) -> bool:
    """Whether the file at this path lists a password; False, and logged, if it cannot be read."""
    # What the list is made of, and no secret of ours: SHA-1 is no weakness here.
    wanted = hashlib.sha1(password, usedforsecurity=False).hexdigest().upper().encode()
    try:
        with open(file, "rb") as listed:
            return _found(listed, wanted)
    except OSError as error:
        _log.warning("the file of known passwords cannot be read and was left out: %s", error)
        return False


def _found(listed: BinaryIO, wanted: bytes) -> bool:
    """Bisection by byte: the first line that begins at or behind `low` is never too late."""
    low, high = 0, listed.seek(0, 2)
    while low < high:
        middle = (low + high) // 2
        line = _line_from(listed, middle)
        if line is None or line >= wanted:
            high = middle
        else:
            low = middle + 1
    return _line_from(listed, low) == wanted


def _line_from(listed: BinaryIO, offset: int) -> bytes | None:
    """The digest of the first line that begins at `offset` or behind it; None at the end."""
    if offset == 0:
        listed.seek(0)
    else:
        listed.seek(offset - 1)
        listed.readline(200)
    # An empty line is one behind the last.
    return listed.readline(200).partition(b":")[0].strip().upper() or None
