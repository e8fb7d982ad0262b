"""What the product says when it says no.

`Refused` is the domain's answer to a request it understood and will not carry out: `sentence` is
shown to the person, `detail` only goes to the log. Protocol errors are authlib's `OAuth2Error`.
Anything else that is raised is a bug and is answered with 500 and no details.
"""

from collections.abc import Mapping
from types import MappingProxyType


class Refused(Exception):  # noqa: N818 - a refusal is an answer, not a failure
    """A request that was understood and is refused.

    Takes a stable `code` for programs, the `sentence` a person reads, the HTTP `status`
    and an optional `detail` for the log. `retry_after` is in seconds. `members` are what else a
    program is told, in the problems of our API.
    """

    def __init__(
        self,
        code: str,
        sentence: str,
        status: int = 400,
        *,
        detail: str | None = None,
        retry_after: int | None = None,
        members: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code
        self.sentence = sentence
        self.status = status
        self.detail = detail
        self.retry_after = retry_after
        self.members = members


class Unavailable(Refused):
    """A part that is needed is busy, full or gone; nothing was changed; try again."""

    def __init__(self, detail: str, *, retry_after: int = 1) -> None:
        super().__init__(
            "temporarily_unavailable",
            "The service is busy. Nothing was changed; please try again in a moment.",
            503,
            detail=detail,
            retry_after=retry_after,
        )
