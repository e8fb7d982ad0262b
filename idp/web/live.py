"""Who watches a session now: the open streams of this process, and how they learn of changes.

SQL is the truth: one statement looks at every watched session, every few seconds. A message that
something of a person changed (published after the commit, `announce`) only makes us look at theirs at
once, so that a lost one costs seconds. One thread for all streams, none for each; what a stream
writes, and to whom, is `idp.web.session_stream`.

Bounded: so many streams per session and per process, counted before anything is read.
"""

import logging
import resource
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from idp.clock import Instant
from idp.errors import Unavailable
from idp.sessions import endings
from idp.sessions.state import State, states_of
from idp.storage.store import Store
from idp.storage.unit_of_work import UnitOfWork, Work

CHANNEL = "sessions"
# Seconds between two looks at everything; or so many times what the last one took, because 4,000
# sessions take 0.4 seconds of a processor.
LOOK_EVERY = 3.0
REST = 30
# Seconds in which messages gather before they are looked into together.
GATHER = 0.05
# A person's tabs share one stream where their browser can; where it cannot, each has one.
PER_SESSION = 16
PER_PROCESS = 4_000

_log = logging.getLogger(__name__)

# Takes the newest state; None when the server stops. Called from any thread.
Tell = Callable[[State | None], None]


class Full(Exception):  # noqa: N818 - an answer, not a fault
    """There are as many streams as there may be, of this session or at all."""


@dataclass(eq=False, slots=True)
class Watch:
    """One open stream: what it was told last, and how to tell it more."""

    last: State
    tell: Tell


class OfPerson(Protocol):
    """An event about somebody's sessions."""

    @property
    def user_id(self) -> str | None: ...


class Timed(Protocol):
    """What has the deadlines of a session."""

    @property
    def idle_at(self) -> Instant: ...
    @property
    def expires_at(self) -> Instant: ...


def deadlines(session: Timed, now: Instant) -> dict[str, int]:
    """What a page is told of them, in milliseconds since 1970: its own clock may be wrong."""
    return {
        "now": now // 1_000,
        "idle_expires_at": min(session.idle_at, session.expires_at) // 1_000,
        "expires_at": session.expires_at // 1_000,
    }


def announce(store: Store, unit: UnitOfWork, event: OfPerson) -> None:
    """Subscriber: tells every process, after the commit, that sessions of somebody changed."""
    if event.user_id is not None:
        unit.after_commit(partial(store.publish, CHANNEL, event.user_id.encode()))


class Live:
    """The watched sessions of one process."""

    def __init__(
        self,
        work: Work,
        store: Store,
        *,
        per_session: int = PER_SESSION,
        per_process: int = PER_PROCESS,
    ) -> None:
        self._work = work
        self._store = store
        self._per_session = per_session
        self._per_process = min(per_process, _half_of_the_files())
        self._lock = threading.Lock()
        self._by_session: defaultdict[str, list[Watch]] = defaultdict(list)
        self._people: Counter[str] = Counter()
        # The streams that are open now.
        self.count = 0
        # The server stops: streams end, and none begins.
        self.is_closed = False
        self._heard: set[str] = set()
        self._news = threading.Event()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._stop_listening: Callable[[], None] = lambda: None

    @property
    def is_full(self) -> bool:
        """Whether another stream would be refused, whoever asks."""
        return self.is_closed or self.count >= self._per_process

    def join(self, first: State, tell: Tell) -> Watch:
        """Watches the session of `first`, from that state on; raises `Full`."""
        watch = Watch(first, tell)
        with self._lock:
            # Asked without making an entry: whoever is refused leaves nothing behind.
            if self.is_full or len(self._by_session.get(first.session_id, ())) >= self._per_session:
                raise Full
            self._by_session[first.session_id].append(watch)
            self._people[first.user_id] += 1
            self.count += 1
            if self.count == 1:
                self._news.set()  # the thread waits for as long as nobody watches
        return watch

    def leave(self, watch: Watch) -> None:
        """Watches no longer."""
        with self._lock:
            watching = self._by_session.get(watch.last.session_id, [])
            if watch in watching:
                watching.remove(watch)
                self.count -= 1
                self._people[watch.last.user_id] -= 1
            if not watching:
                self._by_session.pop(watch.last.session_id, None)
            if self._people[watch.last.user_id] <= 0:
                del self._people[watch.last.user_id]

    def hear(self, message: bytes) -> None:
        """Something of this person changed: we look at once, if a session of theirs is watched."""
        user_id = message.decode(errors="replace")
        with self._lock:
            if user_id in self._people:
                self._heard.add(user_id)
                self._news.set()

    def look(self, people: Collection[str] | None = None) -> None:
        """Tells the streams (of these people, else all) what changed, by one statement for all."""
        watches = [one for one in self._watches() if people is None or one.last.user_id in people]
        if not watches:
            return
        with self._work.read() as unit:
            found = states_of(unit, {watch.last.session_id for watch in watches})
            now = unit.now
        for watch in watches:
            # What is not there any more went with its person.
            state = found.get(watch.last.session_id) or replace(
                watch.last, ended_at=now, end_reason="user_disabled"
            )
            if state != watch.last or endings.reason_of(state, now) is not None:
                watch.last = state
                watch.tell(state)

    def start(self) -> None:
        """Begins to look, in a thread; started once."""
        self._stop_listening = self._store.subscribe(CHANNEL, self.hear)
        self._thread = threading.Thread(target=self._keep_looking, name="live", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends every stream and takes no more; what asks again is answered by the next process."""
        self.is_closed = True
        for watch in self._watches():
            watch.tell(None)

    def stop(self, timeout: float = 5.0) -> None:
        """Closes, and ends the thread."""
        self.close()
        self._stop_listening()
        self._ended.set()
        self._news.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def _watches(self) -> list[Watch]:
        with self._lock:
            return [watch for watching in self._by_session.values() for watch in watching]

    def _keep_looking(self) -> None:
        due, is_out = 0.0, False
        while not self._ended.is_set():
            self._news.wait(max(due - time.monotonic(), 0) if self.count else None)
            self._news.clear()
            self._ended.wait(GATHER)
            with self._lock:
                heard, self._heard = self._heard, set()
            try:
                if heard:
                    self.look(heard)
                if (begun := time.monotonic()) >= due:
                    self.look()
                    due = begun + max(LOOK_EVERY, REST * (time.monotonic() - begun))
                is_out = False
            except Unavailable as problem:
                if not is_out:  # an outage is said once, not at every look
                    _log.warning("live streams wait for the database: %s", problem.detail)
                is_out, due = True, time.monotonic() + LOOK_EVERY
            except Exception:
                _log.exception("a look at the watched sessions failed; the next one follows")
                due = time.monotonic() + LOOK_EVERY


def _half_of_the_files() -> int:
    """A stream holds a connection, which is a file; the other half stays for everything else."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return PER_PROCESS if most == resource.RLIM_INFINITY else most // 2
