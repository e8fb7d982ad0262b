"""What bodies, queries and answers of the management API are made of.

Strict both ways: a member that is not named here is refused (AD-05), nothing is converted on the
way in, every text and list is bounded. The OpenAPI document is made from these models, so it says
what is true.
"""

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic.json_schema import SkipJsonSchema

from idp.clock import Instant, to_rfc3339

# Everything but control characters and those that show nothing or turn the text after them.
_SHOWN = (
    r"^[^\u0000-\u001f\u007f-\u00a0\u00ad\u061c\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff"
    r"\ufff0-\uffff]+$"
)
Line = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_SHOWN)]
# Why somebody does something, in their own words; it stands in every event of the call.
Reason = Annotated[
    str,
    Field(
        min_length=1,
        max_length=200,
        pattern=_SHOWN,
        description="Why, in a few words. It is kept in the audit log.",
    ),
]
Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
When = Annotated[
    str,
    Field(
        min_length=10, max_length=35, description="A day, or a moment with its offset (RFC 3339)."
    ),
]
Nothing = SkipJsonSchema[None]

# What pydantic puts into the place of a mistake where a member may be one of several things.
_BRANCH = re.compile(r"constrained-\w+|literal\[.*|str|int|[A-Z]\w*", re.DOTALL)

PAGE_DEFAULT = 50
PAGE_MAXIMUM = 200
TOKEN_MAXIMUM = 2_048


class Model(BaseModel):
    """The base of every body, query and answer."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Because(Model):
    """A body that only says why."""

    reason: Reason


class PageQuery(Model):
    """Which part of a list is wanted."""

    page_size: int = Field(PAGE_DEFAULT, ge=1, le=PAGE_MAXIMUM, description="How many at most.")
    page_token: str | Nothing = Field(
        None,
        min_length=1,
        max_length=TOKEN_MAXIMUM,
        description="`next_page_token` of the page before; it is good for the same question only.",
    )


class Page(Model):
    """A part of a list. `next_page_token` is null on the last one; `Link: rel="next"` says the same."""

    next_page_token: str | None


def first_mistake(error: ValidationError) -> tuple[str, str, str]:
    """What is wrong first: where (`filter.ip`; nothing for the whole), pydantic's kind, its words."""
    found = error.errors(include_url=False, include_context=False, include_input=False)[0]
    # The name of a member that there is not is its caller's, whatever it looks like.
    is_unknown = found["type"] == "extra_forbidden"
    path = [str(one) for one in found["loc"][: -1 if is_unknown else None]]
    named = [one for one in path if not _BRANCH.fullmatch(one)]
    if is_unknown:
        named.append(str(found["loc"][-1]))
    return ".".join(named)[:80], found["type"], found["msg"]


def moment(at: Instant) -> str:
    """An instant as our APIs write it (RFC 3339, UTC)."""
    return to_rfc3339(at)


def moment_or_none(at: Instant | None) -> str | None:
    return None if at is None else to_rfc3339(at)


def changes(model: Model) -> dict[str, Any]:
    """What a PATCH names, and nothing else: a member that was left out is not null."""
    return {name: getattr(model, name) for name in model.model_fields_set}
