"""What something takes at the least, on a machine that has other things to do."""

from collections.abc import Callable


def least(limit: float, measured: Callable[[], float], *, rounds: int = 5) -> float:
    """The least that `measured` gives, in seconds; no round follows one that was below `limit`.

    How long one round takes says how busy the machine is. What is too slow by itself is so in
    every round.
    """
    found = measured()
    for _ in range(rounds - 1):
        if found < limit:
            break
        found = min(found, measured())
    return found
