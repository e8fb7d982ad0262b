"""The grammar by which sessions are meant: one reading, one writing, and refusals with their reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.admin import session_filter
from idp.admin.grammar import Range
from idp.admin.session_filter import SessionFilter, of_values, parse
from idp.clock import DAY, SECOND
from idp.errors import Refused
from idp.policy import network
from idp.policy.assurance import LADDER
from idp.policy.selection import DEVICE_TYPES

NOVEMBER = 1_793_491_200 * SECOND  # 2026-11-01


def test_every_term_has_its_meaning() -> None:
    assert parse(
        "user:anna ip:10.0.0.0/8 asn:AS64496 country:FR device:phone client:cli_x acr:aal2 "
        "origin:browser state:all reason:admin created>=2026-11-01 created<2026-11-02 "
        "active>2026-11-01T00:00:00Z ended<=2026-11-01T02:00:00+02:00"
    ) == SessionFilter(
        user="anna",
        ip=network.parsed("10.0.0.0/8"),
        asn=64_496,
        country="FR",
        device="phone",
        client="cli_x",
        acr=("aal2",),
        origin="browser",
        state="all",
        reason="admin",
        created=Range(NOVEMBER, NOVEMBER + DAY),
        active=Range(since=NOVEMBER + 1),
        ended=Range(before=NOVEMBER + 1),
    )


def test_nothing_means_the_sessions_that_run() -> None:
    assert parse("  ") == SessionFilter(state="active")
    assert parse("state:active").is_empty
    assert parse("state:ended").is_empty
    assert not parse("device:tv").is_empty


@pytest.mark.parametrize(
    ("term", "levels"),
    [
        ("acr:aal1", ("aal1",)),
        ("acr<aal2", ("0", "aal1")),
        ("acr<=aal2", ("0", "aal1", "aal2")),
        ("acr>aal1", ("aal2", "aal3")),
        ("acr>=aal1", ("aal1", "aal2", "aal3")),
    ],
)
def test_levels_are_compared_by_their_order(term: str, levels: tuple[str, ...]) -> None:
    assert parse(term).acr == levels


def test_what_only_the_ended_have_asks_for_the_ended() -> None:
    assert parse("reason:limit").state == "ended"
    assert parse("ended>2026-11-01").state == "ended"
    assert parse("reason:limit state:all").state == "all"
    with pytest.raises(Refused, match="state:active"):
        parse("reason:limit state:active")


@pytest.mark.parametrize(
    "text",
    [
        "phone", "device=phone", "device:", ":phone", "device :phone", "Device:phone",
        "device:phone device:tv", "device:toaster", "device<phone", "colour:red", "country:fr",
        "country:FRA", "ip:10.0.0.1/8", "ip:300.1.1.1", "ip:x", "asn:ASx", "asn:-1", "acr:aal9",
        "acr<0", "acr>aal3", "acr:aal1 acr<aal3", "origin:Browser", "reason:boredom", "state:dead",
        "created:2026-11-01", "created>yesterday", "created>2026-13-01", "created>2026-11-01T00:00",
        "created>2026-11-01 created>=2026-11-02", "created<2026-11-01 created<2026-11-02",
        "created>0000-00-00", "created>9999-12-31T23:59:59-23:59x", "user:" + "x" * 321, "x" * 1_001,
        "user:a\u202eb",
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(Refused) as refused:
        parse(text)
    assert refused.value.code == "invalid_filter"
    assert len(refused.value.sentence) < 400


def test_terms_may_come_one_by_one_and_beside_a_text() -> None:
    assert of_values({"country": "FR", "created_after": "2026-11-01"}) == parse(
        "country:FR created>=2026-11-01"
    )
    assert of_values({"country": "FR"}, "device:tv acr<aal2") == parse(
        "country:FR device:tv acr<aal2"
    )
    with pytest.raises(Refused, match="twice"):
        of_values({"country": "FR"}, "country:DE")


words = st.text("abcxyz019._@-", min_size=1, max_size=20)
moments = st.none() | st.integers(0, 4 * 10**15)
levels = st.integers(0, 3).flatmap(
    lambda low: st.sampled_from([LADDER[low:], LADDER[: low + 1], LADDER[low : low + 1]])
)


@given(
    st.builds(
        SessionFilter,
        user=st.none() | words,
        ip=st.none() | st.ip_addresses().map(lambda one: network.parsed(str(one))),
        asn=st.none() | st.integers(0, 2**32 - 1),
        country=st.none() | st.sampled_from(["FR", "DE"]),
        device=st.none() | st.sampled_from(DEVICE_TYPES),
        client=st.none() | words,
        acr=st.none() | levels,
        origin=st.none() | st.just("browser"),
        reason=st.none() | st.sampled_from(session_filter.REASONS),
        state=st.sampled_from(["ended", "all"]),
        created=st.builds(Range, moments, moments),
        active=st.builds(Range, moments, moments),
        ended=st.builds(Range, moments, moments),
    )
)
def test_what_is_written_is_read_again_as_it_was(meant: SessionFilter) -> None:
    assert parse(meant.text) == meant
    assert parse(meant.text).text == meant.text


@pytest.mark.parametrize("value", ["usr_x created>2001", " usr_x", "usr_x\u00a0state:all"])
def test_a_value_begins_no_other_term(value: str) -> None:
    with pytest.raises(Refused, match="cannot be read"):
        session_filter.of_values({"user": value})
