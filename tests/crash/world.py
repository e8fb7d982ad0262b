"""What the clients of a storm share: people, apps, what the apps hold, and the log of it all."""

import threading
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from idp.ids import digest
from tests.harness.history import History, Subject
from tests.harness.load_clients import AppAt


@dataclass
class Held:
    """A grant as its app holds it."""

    app: AppAt
    person: Subject
    session: Subject
    session_id: str
    subject: Subject
    access_token: str
    refresh_token: str
    id_token: str
    # When the present refresh token was sent first, if no answer to it has come yet.
    tried_at: float | None = None
    is_over: bool = False

    def tokens(self) -> tuple[str, str]:
        return self.access_token, self.refresh_token


@dataclass
class World:
    """What all clients share."""

    # Of every node; the first is the one whose name stands in addresses.
    ports: list[int]
    # Their ids, by name.
    people: dict[str, str]
    # Who may have so many sessions; the others have room for all.
    limits: dict[str, int]
    apps: list[AppAt]
    resource: AppAt
    # Seconds in which a refresh may be asked for again.
    grace: float
    history: History = field(default_factory=History)
    over: threading.Event = field(default_factory=threading.Event)
    up: threading.Event = field(default_factory=threading.Event)
    grants: list[Held] = field(default_factory=list)
    # Sessions by person: public id and subject, from the moment their owner knew of them.
    sessions: defaultdict[Subject, dict[str, Subject]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    signed_in: defaultdict[Subject, list[Subject]] = field(
        default_factory=lambda: defaultdict(list)
    )
    answers: Counter[str] = field(default_factory=Counter)
    # Nodes that said they are leaving: whoever balances between nodes sends them nobody.
    leaving: set[int] = field(default_factory=set)
    # What was given to somebody and is nobody else's: it may stand in no log.
    secrets: set[str] = field(default_factory=set)

    def owner(self, held: Held) -> str:
        """The id of the person whose grant this is."""
        return self.people[held.person.removeprefix("person:")]

    def done(self) -> int:
        """How many requests were answered well so far."""
        return self.answers["200"] + self.answers["303"]


def token_subject(token: str) -> Subject:
    return f"token:{digest(token)[:16]}"
