"""How soon a password would be guessed (zxcvbn: frequent words, names, keyboard rows, dates).

Owns calling the library so that it can neither be made slow nor disturbed: it is not safe to call
from two threads, refuses more than 72 characters, and takes seconds for a text full of signs that
may each stand for several letters.
"""

import threading
from collections.abc import Sequence
from math import prod

# Below it a password falls within a million guesses: "very guessable" in zxcvbn's own words.
LEAST_SCORE = 2
_LONGEST = 72
# Readings of the text (each sign as each letter it may stand for) times the parts of each reading.
_MOST_WORK = 60_000
_alone = threading.Lock()


def score(password: str, words: Sequence[str]) -> int:
    """0 (guessed at once) to 4; `words` are those that anybody would try for this person."""
    # Here, because 12 MiB of word lists are read, and most processes never ask.
    from zxcvbn import zxcvbn

    looked_at = password[: _affordable(password[:_LONGEST])]
    # The library keeps the words of a call in a variable of its module.
    with _alone:
        return int(zxcvbn(looked_at, user_inputs=list(words))["score"])


def _affordable(password: str) -> int:
    """How many characters to look at: all, unless that would take longer than a tenth of a second.

    What is cut off can only make a password look weaker than it is, and one that is cut here holds
    so many different signs that what is left of it is strong.
    """
    length = len(password)
    while _readings(password[:length]) * length * length // 2 > _MOST_WORK:
        length -= 1
    return length


def _readings(password: str) -> int:
    from zxcvbn.matching import L33T_TABLE

    return prod(max(1, sum(sign in password for sign in signs)) for signs in L33T_TABLE.values())
