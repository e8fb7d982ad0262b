"""A disk that forgets the newest commits, as one does that only says it has written them.

The control of the checker: a server on such a disk breaks its word, and the checker must see that.
"""

import struct
from pathlib import Path

_HEADER = 32
_FRAME_HEADER = 24


def forget_newest_commits(database: Path, count: int) -> int:
    """Cuts the newest commits off SQLite's write-ahead log; gives how many are left.

    Only while no process has the database open. A frame is (page number, size of the database after
    a commit or 0, two salts, checksum) and a page; those with other salts are of an older log.
    """
    log = database.with_name(database.name + "-wal")
    data = log.read_bytes() if log.exists() else b""
    if len(data) < _HEADER:
        return 0
    page = struct.unpack(">I", data[8:12])[0]
    salts = data[16:24]
    ends = []
    at = _HEADER
    while data[at + 8 : at + 16] == salts and at + _FRAME_HEADER + page <= len(data):
        is_commit = data[at + 4 : at + 8] != b"\0\0\0\0"
        at += _FRAME_HEADER + page
        if is_commit:
            ends.append(at)
    kept = ends[:-count]
    with log.open("r+b") as file:
        file.truncate(kept[-1] if kept else _HEADER)
    return len(kept)
