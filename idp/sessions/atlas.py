"""Where addresses are, by the MMDB files in one folder (row G1).

Owns which files are used, in which order, and that a replaced one is noticed while the server runs.
Every `*.mmdb` in the folder is used: a file of cities, one of countries, one of networks, one of
each IP version, whatever the operator has. A file that is missing, broken or half written means that
places are unknown, and one line in the log each time it changes: nobody's sign-in waits for it.

The files are asked one address at a time, under a lock. The reader is Python, so that threads would
take turns anyway, and no file is closed while somebody reads it.
"""

import contextlib
import logging
import os
import stat
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from idp.clock import SECOND, Clock, Duration, Instant
from idp.sections import GeoSettings
from idp.sessions import place
from idp.sessions.mmdb import Attribution, GeoFile, Unusable
from idp.sessions.place import Place

CHECK_EVERY: Duration = 2 * SECOND
FILES_MAXIMUM = 16
SUFFIX = ".mmdb"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Seen:
    """How a file looked; another inode, size or time of change makes it another file."""

    name: str
    inode: int
    size: int
    changed_at: int


class Atlas:
    """Answers where an address is, from any thread; one per process, wired in `idp.app`."""

    def __init__(self, settings: GeoSettings, clock: Clock) -> None:
        self._folder = Path(settings.folder)
        self._wanted = settings.attribution
        self._clock = clock
        self._lock = threading.Lock()
        self._looked_at: Instant | None = None
        # None for a file that cannot be used.
        self._files: dict[Seen, GeoFile | None] = {}
        self._order: list[GeoFile] = []
        self._complained: set[str] = set()
        self._gives: dict[GeoFile, frozenset[str]] = {}

    def of(self, address: str | None, *, language: str = place.DEFAULT_LANGUAGE) -> Place:
        """Where an address is, as far as the files know; never an error."""
        parsed = place.located(address)
        if parsed is None:
            return place.UNKNOWN
        with self._lock:
            self._look()
            found = []
            for file in self._order:
                try:
                    found.append(file.place(parsed, language=language))
                except Unusable as problem:
                    self._complain(file.name, problem.reason)
        return place.merged(found)

    def attributions(self) -> Sequence[Attribution]:
        """What must be said where places are shown."""
        with self._lock:
            self._look()
            if self._wanted:
                return [Attribution.of(self._wanted)]
            owed = [file.attribution for file in self._order]
        return list(dict.fromkeys(one for one in owed if one is not None))

    def gives(self) -> frozenset[str]:
        """The parts of places that the files know, of some addresses at least (`place.PARTS`).

        Each file is looked through once, as long as it is the same.
        """
        with self._lock:
            self._look()
            for file in self._order:
                if file not in self._gives:
                    self._gives[file] = self._given_by(file)
            self._gives = {file: self._gives[file] for file in self._order}
            return frozenset().union(*self._gives.values())

    def open(self) -> None:
        """Opens the files now, so that the first who signs in need not wait for it."""
        with self._lock:
            self._look()

    def close(self) -> None:
        """Closes the files; they are opened again when somebody asks."""
        with self._lock:
            for file in self._order:
                file.close()
            self._files, self._order, self._looked_at, self._gives = {}, [], None, {}

    def _look(self) -> None:
        """Opens what is new in the folder and closes what is not there any more."""
        now = self._clock.now()
        if self._looked_at is not None and 0 <= now - self._looked_at < CHECK_EVERY:
            return
        self._looked_at = now
        seen = self._seen()
        if seen == list(self._files):
            return
        for gone in self._files.keys() - set(seen):
            if (file := self._files[gone]) is not None:
                file.close()
        self._files = {
            one: self._files[one] if one in self._files else self._opened(one.name) for one in seen
        }
        usable = [file for file in self._files.values() if file is not None]
        # Of two that know equally much the newer is believed.
        self._order = sorted(usable, key=lambda file: -(file.built_at or 0))
        named = ", ".join(file.name for file in self._order)
        _log.info("places are looked up in %s: %s", self._folder, named or "no file, all unknown")

    def _seen(self) -> list[Seen]:
        try:
            found = files_in(self._folder)
        except FileNotFoundError:
            return []
        except OSError as error:
            self._complain("", str(error))
            return []
        self._complained.discard("")
        return found

    def _opened(self, name: str) -> GeoFile | None:
        self._complained.discard(name)
        try:
            return GeoFile(self._folder / name)
        except Unusable as problem:
            self._complain(name, problem.reason)
            return None

    def _given_by(self, file: GeoFile) -> frozenset[str]:
        try:
            return frozenset(file.about().gives)
        except Unusable as problem:
            self._complain(file.name, problem.reason)
            return frozenset()

    def _complain(self, name: str, reason: str) -> None:
        """Says once what is wrong with a file, or with the folder when `name` is empty."""
        if name not in self._complained:
            self._complained.add(name)
            _log.warning("%s cannot be used for places: %s", self._folder / name, reason)


def files_in(folder: Path) -> list[Seen]:
    """The MMDB files of a folder by name; raises `OSError` when it cannot be read."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.endswith(SUFFIX) or entry.name.startswith("."):
                continue
            with contextlib.suppress(FileNotFoundError):  # it went away meanwhile
                status = entry.stat()
                if stat.S_ISREG(status.st_mode):
                    found.append(
                        Seen(entry.name, status.st_ino, status.st_size, status.st_mtime_ns)
                    )
    return sorted(found, key=lambda one: one.name)[:FILES_MAXIMUM]
