"""The file that holds this device's tokens: readable by its owner alone, changed by one at a time."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Tokens:
    """The tokens in one file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def read(self) -> dict[str, Any] | None:
        """What is kept; None when nobody is signed in."""
        try:
            found: dict[str, Any] = json.loads(self.file.read_text())
        except (OSError, ValueError):
            return None
        return found

    def write(self, tokens: dict[str, Any]) -> None:
        """Keeps tokens; the file is whole at every moment, and nobody else's at any."""
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = self.file.with_suffix(".part")
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
            json.dump(tokens, opened)
            opened.flush()
            os.fsync(opened.fileno())
        part.replace(self.file)

    def forget(self) -> None:
        self.file.unlink(missing_ok=True)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps other runs of this program out: a refresh token is good for one use."""
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
