"""What clients did and were told, and whether it can all be true.

Clients log every operation: when it was invoked, when its answer came, and what became of it: `ok`,
`refused`, `unknown` (sent, and no answer; it may have happened), or `not sent`. The checks here need
nothing but that log. Times are monotonic and of one machine; two operations are ordered only when
one was answered before the other was invoked.

What an operation is about is a subject: a token, the grant it belongs to, the session that grant
stands in, the session's person. Whatever ends a subject ends what hangs on it.
"""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Subject = str
Outcome = Literal["ok", "refused", "unknown", "not sent"]


@dataclass(slots=True)
class Op:
    """One operation of one client."""

    kind: str
    # Whatever became of the request, it may have ended these.
    may_end: tuple[Subject, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    invoked: float = field(default_factory=time.monotonic)
    returned: float = math.inf
    outcome: Outcome = "unknown"
    # What the answer says was alive at some moment of the operation.
    alive: tuple[Subject, ...] = ()
    # What is over now that the answer is here: an acknowledged end, or something found ended.
    dead: tuple[Subject, ...] = ()
    # Found ended by somebody who did not ask for it.
    found_dead: tuple[Subject, ...] = ()

    def answered(
        self,
        outcome: Outcome,
        *,
        alive: Iterable[Subject] = (),
        dead: Iterable[Subject] = (),
        found_dead: Iterable[Subject] = (),
    ) -> None:
        """Notes the answer."""
        self.returned = time.monotonic()
        self.alive, self.found_dead = tuple(alive), tuple(found_dead)
        self.dead = (*dead, *self.found_dead)
        self.outcome = outcome

    def withdraw(self) -> None:
        """Notes that nobody took it, so that nothing can have come of it."""
        self.outcome, self.may_end = "not sent", ()

    def __str__(self) -> str:
        return f"{self.kind} [{self.invoked:.3f}..{self.returned:.3f}] {self.outcome} {self.facts}"


class History:
    """The log, filled by many threads (appending to a list is atomic)."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self._parents: dict[Subject, Subject] = {}
        # When a subject was first asked for: nothing before that can have ended it.
        self.born: dict[Subject, float] = {}

    def begin(self, kind: str, *, may_end: Iterable[Subject] = (), **facts: Any) -> Op:
        """An operation that is about to be sent."""
        op = Op(kind, tuple(may_end), facts)
        self.ops.append(op)
        return op

    def hangs_on(self, child: Subject, parent: Subject, *, since: float) -> None:
        """The child ends with the parent, and was not there before `since`."""
        self._parents[child] = parent
        self.born.setdefault(child, since)

    def lineage(self, subject: Subject) -> Iterator[Subject]:
        """The subject and everything it hangs on."""
        found: Subject | None = subject
        while found is not None:
            yield found
            found = self._parents.get(found)

    def count(self) -> Counter[tuple[str, Outcome]]:
        return Counter((op.kind, op.outcome) for op in self.ops)


def revocation_is_final(history: History) -> list[str]:
    """I1: nothing that was invoked after an end was acknowledged, or seen, is told "alive"."""
    ended: dict[Subject, Op] = {}
    for op in history.ops:
        for subject in op.dead:
            if subject not in ended or op.returned < ended[subject].returned:
                ended[subject] = op
    return [
        f"I1: {op} was told that {subject} lives, after {ended[above]}"
        for op in history.ops
        for subject in op.alive
        for above in history.lineage(subject)
        if above in ended and ended[above].returned < op.invoked
    ]


def nothing_ends_by_itself(history: History) -> list[str]:
    """I6, I11: whoever found something ended, somebody had asked for its end."""
    asked: defaultdict[Subject, list[Op]] = defaultdict(list)
    for op in history.ops:
        for subject in op.may_end:
            asked[subject].append(op)
    return [
        f"I11: {op} found {subject} ended, and nobody had asked for that"
        for op in history.ops
        for subject in op.found_dead
        if not any(_may_explain(end, op, since) for end, since in _ends(history, subject, asked))
    ]


def _ends(
    history: History, subject: Subject, asked: Mapping[Subject, Sequence[Op]]
) -> Iterator[tuple[Op, float]]:
    """Whatever may have ended a subject, and since when what was to be ended was there."""
    since = 0.0
    for above in history.lineage(subject):
        # Of all that a person has, an end reaches what is there: the session below counts.
        since = history.born.get(above, since)
        for end in asked.get(above, ()):
            yield end, since


def _may_explain(end: Op, found: Op, since: float) -> bool:
    """Whether an end can be why something was found ended."""
    # An answer that was lost may be of something that is done only now.
    reaches = end.outcome == "unknown" or end.returned > since
    return end is not found and end.invoked < found.returned and reaches


def refreshes_never_fork(history: History, *, grace: float) -> list[str]:
    """I2: a token has one successor, and is worth nothing after that was used, or after the grace."""
    given: defaultdict[Subject, list[Op]] = defaultdict(list)
    for op in history.ops:
        if op.kind == "refresh" and op.outcome == "ok":
            given[op.facts["token"]].append(op)
    wrong = []
    for token, ops in given.items():
        successors = {op.facts["successor"] for op in ops}
        if len(successors) > 1:
            wrong.append(f"I2: {token} was given {len(successors)} successors")
        first = min(op.returned for op in ops)
        used = min(
            (op.returned for next_ in successors for op in given.get(next_, ())), default=math.inf
        )
        for op in ops:
            if op.invoked > used:
                wrong.append(f"I2: {op} was honoured after its successor had been used")
            if op.invoked > first + grace:
                wrong.append(f"I2: {op} was honoured after the grace")
    return wrong


def codes_are_used_once(history: History) -> list[str]:
    """I3: of all redemptions of a code at most one succeeds."""
    successes = Counter(
        op.facts["code"] for op in history.ops if op.kind == "redeem" and op.outcome == "ok"
    )
    return [f"I3: {code} was redeemed {n} times" for code, n in successes.items() if n > 1]


def nobody_is_taken_for_another(history: History) -> list[str]:
    """I8: whoever a token or cookie was said to be of, it was its own person."""
    return [
        f"I8: {op} was of somebody else"
        for op in history.ops
        if "sub" in op.facts and op.facts["sub"] != op.facts["belongs_to"]
    ]


def contradictions(history: History, *, grace: float) -> list[str]:
    """Everything in a history that cannot be true of a correct provider; `grace` in seconds."""
    return [
        *revocation_is_final(history),
        *nothing_ends_by_itself(history),
        *refreshes_never_fork(history, grace=grace),
        *codes_are_used_once(history),
        *nobody_is_taken_for_another(history),
    ]


def shown(violations: Sequence[str], *, most: int = 10) -> str:
    """The first few, for a failure's message."""
    more = f"\n… and {len(violations) - most} more" if len(violations) > most else ""
    return "\n".join(violations[:most]) + more
