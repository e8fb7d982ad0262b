"""Every ending has a title, a sentence and a meaning, and apps can be told it."""

import re
from typing import get_args

import pytest

from idp.clock import HOUR, MINUTE
from idp.sessions import endings
from idp.sessions.endings import ENDINGS, EndReason
from idp.sessions.model import Session

# RFC 6749 section 5.2: what an error_description may be made of.
_DESCRIPTION = re.compile(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+")
PLACES = {"by": "iPhone", "span": "60 minutes", "lasted": "24 hours"}


def test_every_reason_there_is_has_its_words_and_there_are_no_others() -> None:
    assert set(ENDINGS) == set(get_args(EndReason))


@pytest.mark.parametrize("code", ENDINGS)
def test_an_ending_reads_well_and_can_be_told_to_an_app(code: EndReason) -> None:
    ending = ENDINGS[code]
    assert _DESCRIPTION.fullmatch(endings.told_to_app(code))
    assert endings.told_to_app(code) == f"The session has ended ({code}). {ending.meaning}"
    for sentence in (ending.sentence, ending.named or ending.sentence, ending.meaning):
        assert (sentence % PLACES).endswith(".")
    assert ending.named is None or "%(by)s" in ending.named
    assert "%" not in ending.title + ending.meaning


def test_a_reason_from_a_newer_version_is_told_as_its_code() -> None:
    assert endings.told_to_app("of_tomorrow") == "The session has ended (of_tomorrow)."


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (59 * MINUTE, None),
        (HOUR, "idle_timeout"),
        (3 * HOUR, "absolute_timeout"),
    ],
)
def test_a_session_that_has_run_out_is_over_before_anybody_said_so(
    now: int, reason: str | None
) -> None:
    session = Session(idle_at=HOUR, expires_at=2 * HOUR)
    assert endings.reason_of(session, now) == reason
    assert endings.ended_at(session) == HOUR
    # Noticed late, it is no later; ended by somebody, it was before any deadline.
    session.ended_at = 3 * HOUR
    assert endings.ended_at(session) == HOUR
    session.ended_at = MINUTE
    assert endings.ended_at(session) == MINUTE


def test_a_nearer_end_keeps_its_reason() -> None:
    session = Session(idle_at=HOUR, expires_at=MINUTE, expiry_reason="password_changed")
    assert endings.reason_of(session, MINUTE) == "password_changed"
    assert endings.ended_at(session) == MINUTE
