"""Passwords: hashing and checking them behind a bounded queue, and refusing weak new ones.

Owns argon2id (RFC 9106) and its cost. Does not know users, counters or pages.

A hash takes 19 MiB and some 30 ms of a processor, so a flood of sign-ins could take all of both:
only so many are computed at once, only so many wait, and the rest is told at once to come back.
Whatever is asked, one attempt costs one hash: an unknown name, a missing password, an empty or
oversized one cannot be told from a wrong one by time. A place in the queue is taken before anything
is written about an attempt, so that a flood that finds none costs no commit; some places are kept
for people on devices they signed in on before, so that it does not keep them out either.
"""

import base64
import logging
import os
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import urlsplit

from argon2 import Parameters, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError
from argon2.low_level import ARGON2_VERSION, Type, hash_secret, verify_secret

from idp.errors import Refused, Unavailable
from idp.languages import Sentence
from idp.sections import PasswordSettings
from idp.settings import Settings
from idp.users import breached, strength

MAXIMUM_BYTES = 4_096
_SALT_BYTES = 16
_HASH_BYTES = 32
# What a stored hash may cost to check (DS-02): an imported or planted one beyond it is not checked.
_MEMORY_KIB_CAP = 262_144
_TIME_CAP = 16
_PARALLELISM_CAP = 16
_INSTEAD = b"\x00 a password that nobody can have"
# What must be left of a password without the names in it, in characters.
_BESIDE_A_NAME = 8

SecondFactor = Literal["none", "enrolled"]
Whose = Literal["known", "anybody"]

_Result = TypeVar("_Result")
_log = logging.getLogger(__name__)


class PasswordHasher:
    """Computes and checks argon2id hashes; `computed` counts them, `took` hears their seconds."""

    def __init__(
        self, settings: PasswordSettings, *, took: Callable[[float], None] = lambda _: None
    ) -> None:
        self.computed = 0
        self._took = took
        self._wanted = Parameters(
            type=Type.ID,
            version=ARGON2_VERSION,
            salt_len=_SALT_BYTES,
            hash_len=_HASH_BYTES,
            time_cost=settings.time_cost,
            memory_cost=settings.memory_kib,
            parallelism=1,
        )
        workers = settings.workers or os.cpu_count() or 1
        # Beyond the first, only people on known devices wait.
        self._places = {"anybody": workers + settings.queue, "known": workers + 2 * settings.queue}
        self._inside = 0
        self._counting = threading.Lock()
        # Threads of their own: each keeps the memory of its last hash, so they must be few.
        self._threads = ThreadPoolExecutor(
            workers, thread_name_prefix="argon2", initializer=_give_way
        )
        self._dummy = self._made_up()

    def hash(self, password: str) -> str:
        """The encoded hash of a new password; raises `Unavailable`, and `Refused` if oversized."""
        received = _received(password)
        if received is None:
            raise Refused("invalid_password", _TOO_LONG)
        with self.place():
            return self._computed(
                lambda: hash_secret(
                    received,
                    os.urandom(_SALT_BYTES),
                    time_cost=self._wanted.time_cost,
                    memory_cost=self._wanted.memory_cost,
                    parallelism=self._wanted.parallelism,
                    hash_len=_HASH_BYTES,
                    type=Type.ID,
                ).decode()
            )

    @contextmanager
    def place(self, of: Whose = "anybody") -> Iterator[None]:
        """A place in the queue, for one hash; raises `Unavailable` when too many are waiting."""
        with self._counting:
            if self._inside >= self._places[of]:
                raise Unavailable("too many passwords are waiting to be checked")
            self._inside += 1
        try:
            yield
        finally:
            with self._counting:
                self._inside -= 1

    def verify(self, stored: str | None, password: str) -> bool:
        """Whether `password` is the one behind `stored`; None stands for "there is none".

        Costs exactly one hash in every case; the caller holds a `place` for it.
        """
        received = _received(password)
        kind = self._kind_of(stored) if stored is not None else None
        secret = received if received is not None else _INSTEAD

        def check() -> bool:
            if stored is None or kind is None:
                _matches(self._dummy, secret, Type.ID)
                return False
            try:
                return _matches(stored, secret, kind)
            except VerificationError:
                # Refused unread (a damaged row), which took no time: spend it here.
                _log.warning("a stored password hash is damaged and cannot be checked")
                _matches(self._dummy, secret, Type.ID)
                return False

        return self._computed(check) and received is not None

    def needs_rehash(self, stored: str) -> bool:
        """Whether a hash that was just verified was made with another cost than today's."""
        return extract_parameters(stored) != self._wanted

    def _computed(self, compute: Callable[[], _Result]) -> _Result:
        with self._counting:
            self.computed += 1
        began = time.perf_counter()
        try:
            return self._threads.submit(compute).result()
        finally:
            self._took(time.perf_counter() - began)

    @property
    def waiting(self) -> int:
        """How many are in the queue or being computed now."""
        return self._inside

    def _kind_of(self, stored: str) -> Type | None:
        """The argon2 variant of a stored hash, or None when it must not be checked."""
        try:
            said = extract_parameters(stored)
        except (InvalidHashError, ValueError):
            _log.warning("a stored password hash is not argon2 and cannot be checked")
            return None
        if (
            said.memory_cost > max(_MEMORY_KIB_CAP, self._wanted.memory_cost)
            or said.time_cost > _TIME_CAP
            or said.parallelism > _PARALLELISM_CAP
        ):
            _log.warning(
                "a stored password hash costs too much to be checked (m=%d, t=%d, p=%d)",
                said.memory_cost,
                said.time_cost,
                said.parallelism,
            )
            return None
        return said.type

    def _made_up(self) -> str:
        """A hash of today's cost that belongs to no password: random bytes, nothing computed."""
        salt, digest = (
            base64.b64encode(os.urandom(size)).rstrip(b"=").decode()
            for size in (_SALT_BYTES, _HASH_BYTES)
        )
        wanted = self._wanted
        cost = f"m={wanted.memory_cost},t={wanted.time_cost},p={wanted.parallelism}"
        return f"$argon2id$v={ARGON2_VERSION}${cost}$" + salt + "$" + digest


def _give_way() -> None:
    """Answers come before passwords: on Linux, where a thread has a priority of its own."""
    if sys.platform == "linux":
        own = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, own, os.getpriority(os.PRIO_PROCESS, own) + 10)


def _matches(stored: str, secret: bytes, kind: Type) -> bool:
    try:
        return verify_secret(stored.encode(), secret, kind)
    except VerifyMismatchError:
        return False


_TOO_LONG = Sentence("A password has at most %(most)s bytes.", most=MAXIMUM_BYTES)


def minimum_length(settings: Settings, second_factor: SecondFactor) -> int:
    """How many characters a new password must have at least (NIST SP 800-63B-4 section 3.1.1.2)."""
    if second_factor == "enrolled":
        return settings.password.minimum_length_with_second_factor
    return settings.password.minimum_length


def problem_with(
    password: str,
    settings: Settings,
    words: Sequence[str],
    *,
    second_factor: SecondFactor = "none",
) -> str | None:
    """Why `password` is refused as a new one, as a sentence; None when it is good.

    Length, known-bad lists and how soon it would be guessed; no composition rules (NIST SP
    800-63B-4 section 3.1.1.2). Characters are code points after NFC. `words` are those of the user:
    user name, e-mail address; `second_factor` says whether a passkey or codes stand beside it.
    """
    received = _received(password)
    if received is None:
        return _TOO_LONG
    normalized = received.decode("utf-8", "surrogatepass")
    minimum = minimum_length(settings, second_factor)
    if len(normalized) < minimum:
        return Sentence("A password has at least %(least)s characters.", least=minimum)
    folded = normalized.casefold()
    if folded in _common():
        return "This password is one of the most used ones; anybody would try it."
    known = _context_words(settings, words)
    rest = folded
    for word in sorted(known, key=len, reverse=True):
        rest = rest.replace(word, "")
    # A word inside a long sentence does no harm; one that the password is built on does.
    if rest != folded and len(rest) < _BESIDE_A_NAME:
        return "This password is built on a name that anybody can guess; please choose another."
    file = settings.password.breached_file
    if file and breached.is_listed(file, received):
        return "This password is known from a data breach; please choose another."
    if strength.score(normalized, sorted(known)) < strength.LEAST_SCORE:
        return "This password is too easy to guess; please choose another."
    return None


def _context_words(settings: Settings, words: Sequence[str]) -> set[str]:
    host = urlsplit(settings.issuer).hostname or ""
    known = [settings.name, *words, *(word.partition("@")[0] for word in words)]
    # Short labels ("id", "www", "com") stand in too many innocent words.
    known += [host, *(label for label in host.split(".") if len(label) > 3)]
    return {word.casefold() for word in known if len(word) >= 3}


def _received(password: str) -> bytes | None:
    """The bytes that are hashed: NFC in UTF-8, nothing cut or folded; None when there are too many.

    NFC (RFC 8265 section 4.2.2), because two keyboards send one "ü" as one or as two characters.
    """
    if len(password) > MAXIMUM_BYTES:
        return None
    received = unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
    return received if len(received) <= MAXIMUM_BYTES else None


@cache
def _common() -> frozenset[str]:
    lines = Path(__file__).with_name("common_passwords.txt").read_text("utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("# "))
