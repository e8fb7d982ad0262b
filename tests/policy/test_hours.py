"""Hours in every time zone there is: tables of cases, and properties around every setting of clocks."""

from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.clock import DAY, HOUR, MINUTE, SECOND, Instant
from idp.policy import hours
from idp.policy.hours import Hours

OFFICE = {"timezone": "Europe/Paris", "from": "08:00", "to": "18:00"}


def rule(**value: Any) -> Hours:
    found = hours.read([OFFICE | value])
    assert found is not None, hours.problem_with(OFFICE | value)
    return found[0]


def at(text: str, zone: str = "UTC") -> Instant:
    """A moment by the clocks of a zone; `fold` by a trailing "*": the second time it is shown."""
    wall = datetime.fromisoformat(text.removesuffix("*"))
    shown = wall.replace(tzinfo=ZoneInfo(zone), fold=int(text.endswith("*")))
    return int(shown.timestamp()) * SECOND


def said(moment: Instant | None, zone: str = "Europe/Paris") -> str | None:
    if moment is None:
        return None
    return datetime.fromtimestamp(moment // SECOND, ZoneInfo(zone)).strftime("%a %Y-%m-%dT%H:%M")


# In Paris summer time begins on 2026-03-29 (02:00 is 03:00) and ends on 2026-10-25 (03:00 is 02:00).
@pytest.mark.parametrize(
    "value, moment, closes, opens",
    [
        # A Monday: before, at the stroke, within, at the stroke, after.
        ({}, "2026-11-16T07:59", None, "Mon 2026-11-16T08:00"),
        ({}, "2026-11-16T08:00", "Mon 2026-11-16T18:00", "Mon 2026-11-16T08:00"),
        ({}, "2026-11-16T17:59", "Mon 2026-11-16T18:00", "Mon 2026-11-16T17:59"),
        ({}, "2026-11-16T18:00", None, "Tue 2026-11-17T08:00"),
        # Over the weekend, and over a holiday behind it.
        ({}, "2026-11-20T18:00", None, "Mon 2026-11-23T08:00"),
        ({"holidays": ["2026-11-23"]}, "2026-11-20T18:00", None, "Tue 2026-11-24T08:00"),
        ({"holidays": ["2026-11-16"]}, "2026-11-16T12:00", None, "Tue 2026-11-17T08:00"),
        # Days as they are written.
        ({"days": "sat,sun"}, "2026-11-21T12:00", "Sat 2026-11-21T18:00", "Sat 2026-11-21T12:00"),
        ({"days": "sat-mon"}, "2026-11-17T12:00", None, "Sat 2026-11-21T08:00"),
        ({"days": "wed"}, "2026-11-19T12:00", None, "Wed 2026-11-25T08:00"),
        # Nights belong to the day they begin on: Friday's goes on into Saturday, Sunday has none.
        (
            {"from": "22:00", "to": "06:00"},
            "2026-11-21T05:59",
            "Sat 2026-11-21T06:00",
            "Sat 2026-11-21T05:59",
        ),
        ({"from": "22:00", "to": "06:00"}, "2026-11-23T05:59", None, "Mon 2026-11-23T22:00"),
        (
            {"from": "22:00", "to": "06:00", "holidays": ["2026-11-20"]},
            "2026-11-21T05:59",
            None,
            "Mon 2026-11-23T22:00",
        ),
        # Spans that touch are one: nobody is sent away at midnight.
        (
            {"from": "00:00", "to": "24:00"},
            "2026-11-16T12:00",
            "Sat 2026-11-21T00:00",
            "Mon 2026-11-16T12:00",
        ),
        (
            {"from": "06:00", "to": "06:00", "days": "mon-sun"} | {"to": "05:59"},
            "2026-11-16T05:59",
            None,
            "Mon 2026-11-16T06:00",
        ),
        ({"from": "00:00", "to": "24:00", "days": "mon-sun"}, "2026-11-16T12:00", None, None),
        # Summer time begins: a day of work is a day of work, a night is an hour shorter.
        (
            {"days": "sun"},
            "2026-03-29T08:00",
            "Sun 2026-03-29T18:00",
            "Sun 2026-03-29T08:00",
        ),
        # 02:30 does not exist that night: it opens, or closes, when the clocks skip it.
        (
            {"days": "sun", "from": "02:30", "to": "10:00"},
            "2026-03-29T01:59",
            None,
            "Sun 2026-03-29T03:00",
        ),
        (
            {"days": "sat", "from": "22:00", "to": "02:30"},
            "2026-03-29T01:59",
            "Sun 2026-03-29T03:00",
            "Sun 2026-03-29T01:59",
        ),
        # A whole day of 23 hours, one of 25, and the days that calendars have now and then.
        (
            {"from": "00:00", "to": "24:00", "days": "sun"},
            "2026-03-29T00:00",
            "Mon 2026-03-30T00:00",
            "Sun 2026-03-29T00:00",
        ),
        (
            {"from": "00:00", "to": "24:00", "days": "sun", "holidays": ["2026-10-26"]},
            "2026-10-25T02:30*",
            "Mon 2026-10-26T00:00",
            "Sun 2026-10-25T02:30",
        ),
        ({"holidays": ["2028-02-29"]}, "2028-02-28T18:00", None, "Wed 2028-03-01T08:00"),
        ({}, "2028-02-28T18:00", None, "Tue 2028-02-29T08:00"),
        (
            {"holidays": ["2026-12-31", "2027-01-01"]},
            "2026-12-30T18:00",
            None,
            "Mon 2027-01-04T08:00",
        ),
        # Hours that are skipped whole: that night there are none.
        (
            {"days": "sun", "from": "02:15", "to": "02:45"},
            "2026-03-29T01:00",
            None,
            "Sun 2026-04-05T02:15",
        ),
        # Summer time ends: 02:30 comes twice, and means the first.
        (
            {"days": "sat", "from": "22:00", "to": "02:30"},
            "2026-10-25T02:29",
            "Sun 2026-10-25T02:30",
            "Sun 2026-10-25T02:29",
        ),
        ({"days": "sat", "from": "22:00", "to": "02:30"}, "2026-10-25T02:29*", None, None),
        (
            {"days": "sun", "from": "02:30", "to": "10:00"},
            "2026-10-25T02:29*",
            "Sun 2026-10-25T10:00",
            "Sun 2026-10-25T02:29",
        ),
    ],
)
def test_when_it_opens_and_closes(
    value: dict[str, Any], moment: str, closes: str | None, opens: str | None
) -> None:
    office, now = rule(**value), at(moment, "Europe/Paris")
    assert said(hours.next_close(office, now)) == closes
    if opens is not None:
        assert said(hours.next_open(office, now)) == opens


@pytest.mark.parametrize(
    "zone, day, skipped",
    [
        # Clocks that skip midnight: the day begins at one.
        ("America/Havana", "2026-03-08", "01:00"),
        # By half an hour.
        ("Australia/Lord_Howe", "2026-10-04", "02:30"),
    ],
)
def test_clocks_that_skip_the_strangest_hours(zone: str, day: str, skipped: str) -> None:
    begins = "00:00" if skipped == "01:00" else "02:00"
    office = rule(**{"timezone": zone, "from": begins, "to": "12:00", "days": "sun"})
    before = at(f"{day}T12:00", zone) - 14 * HOUR
    assert said(hours.next_open(office, before), zone) == f"Sun {day}T{skipped}"


def test_a_day_that_a_place_skipped_has_no_hours() -> None:
    # Samoa went from the 29th to the 31st of December 2011.
    office = rule(timezone="Pacific/Apia", days="mon-sun")
    found = hours.next_open(office, at("2011-12-29T18:00", "Pacific/Apia"))
    assert said(found, "Pacific/Apia") == "Sat 2011-12-31T08:00"


@pytest.mark.parametrize(
    "values, moment, expected",
    [
        ([], "2026-11-16T12:00", None),
        ([OFFICE], "2026-11-16T12:00", "Mon 2026-11-16T18:05"),
        ([OFFICE | {"grace": 0}], "2026-11-16T12:00", "Mon 2026-11-16T18:00"),
        # Of several rules the first end counts, each with its own grace.
        (
            [OFFICE | {"grace": 3_600}, OFFICE | {"to": "18:30", "grace": 0}],
            "2026-11-16T12:00",
            "Mon 2026-11-16T18:30",
        ),
        # Closed already: the grace runs from now.
        ([OFFICE], "2026-11-16T20:00", "Mon 2026-11-16T20:05"),
    ],
)
def test_when_everybody_has_to_have_gone(
    values: list[dict[str, Any]], moment: str, expected: str | None
) -> None:
    found = hours.read(values)
    assert found is not None
    assert said(hours.end_of(found, at(moment, "Europe/Paris"))) == expected


def test_it_is_open_where_every_rule_says_so_and_opens_when_they_agree() -> None:
    both = [rule(), rule(**{"from": "12:00", "to": "22:00", "days": "mon,wed"})]
    monday = at("2026-11-16T09:00", "Europe/Paris")
    assert not hours.are_open(both, monday)
    assert said(hours.opening(both, monday)) == "Mon 2026-11-16T12:00"
    assert said(hours.opening(both, monday + DAY)) == "Wed 2026-11-18T12:00"
    never = [rule(), rule(**{"from": "20:00", "to": "22:00"})]
    assert hours.opening(never, monday) is None
    assert hours.opening([], monday) == monday


@pytest.mark.parametrize(
    "change",
    [
        {"timezone": "Europe/Atlantis"},
        {"timezone": "Europe"},
        {"timezone": "../../etc/passwd"},
        {"timezone": "/etc/localtime"},
        {"timezone": "tzdata.zi"},
        {"timezone": ""},
        {"timezone": 1},
        {"from": "8:00"},
        {"from": "24:00"},
        {"from": "25:00"},
        {"from": 8},
        {"to": "18:60"},
        {"to": "08:00"},
        {"days": "monday"},
        {"days": "mon-"},
        {"days": ""},
        {"days": ["mon"]},
        {"holidays": "2026-12-25"},
        {"holidays": ["25.12.2026"]},
        {"holidays": ["2026-02-30"]},
        {"holidays": ["2026-W52-5"]},
        {"holidays": [20_261_225]},
        {"holidays": ["2026-12-25"] * 367},
        {"grace": -1},
        {"grace": 14_401},
        {"grace": True},
        {"grace": "300"},
        {"opens": "08:00"},
    ],
)
def test_what_cannot_be_a_rule_is_told_in_a_sentence(change: dict[str, Any]) -> None:
    problem = hours.problem_with(OFFICE | change)
    assert problem is not None
    assert problem.endswith(".")


@pytest.mark.parametrize("missing", ["timezone", "from", "to"])
def test_a_rule_says_at_least_from_when_to_when_and_where(missing: str) -> None:
    assert hours.problem_with({name: OFFICE[name] for name in OFFICE if name != missing})


def test_where_one_rule_cannot_be_read_there_are_no_hours_at_all() -> None:
    assert hours.read([OFFICE, OFFICE | {"timezone": "Europe/Atlantis"}]) is None


# --- Properties, in every zone and around every setting of its clocks ------------------------------

ZONES = sorted(available_timezones() - {"localtime", "Factory"})


@cache
def settings_of_clocks(zone: str) -> tuple[int, ...]:
    """The seconds at which a zone's clocks are set, from 2005 to 2035: days by halving."""
    place = ZoneInfo(zone)

    def offset(second: int) -> timedelta | None:
        return datetime.fromtimestamp(second, place).utcoffset()

    found = []
    first, last = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (2005, 2035))
    for low in range(first, last, 7 * 86_400):
        before, after = low, low + 7 * 86_400
        if offset(before) == offset(after):
            continue
        while after - before > 1:
            middle = (before + after) // 2
            before, after = (
                (middle, after) if offset(middle) == offset(before) else (before, middle)
            )
        found.append(after)
    return tuple(found)


@st.composite
def rules(draw: st.DrawFn) -> tuple[Hours, Instant]:
    """A rule of any zone, and a moment within three days of a setting of its clocks, if it has any."""
    zone = draw(st.sampled_from(ZONES))
    settings = settings_of_clocks(zone) or (1_800_000_000,)
    moment = draw(st.sampled_from(settings)) * SECOND + draw(st.integers(-3 * DAY, 3 * DAY))
    opens, closes = draw(
        st.tuples(st.integers(0, 1_439), st.integers(1, 1_440)).filter(lambda p: p[0] != p[1])
    )
    near = datetime.fromtimestamp(moment // SECOND, ZoneInfo(zone)).date()
    holidays = draw(st.sets(st.integers(-3, 3), max_size=3))
    return (
        Hours(
            ZoneInfo(zone),
            frozenset(draw(st.sets(st.integers(0, 6), min_size=1))),
            opens,
            closes,
            frozenset(near + timedelta(days=one) for one in holidays),
            grace=0,
        ),
        moment,
    )


@given(rules())
def test_it_stays_open_until_it_closes_and_closed_until_it_opens(
    made: tuple[Hours, Instant],
) -> None:
    office, now = made
    is_open = hours.are_open([office], now)
    closes, opens = hours.next_close(office, now), hours.next_open(office, now)
    assert (opens == now) == is_open
    if not is_open:
        assert closes is None
        assert opens is None or now < opens
        edge, before, after = opens, False, True
    else:
        assert closes is None or now < closes
        edge, before, after = closes, True, False
    if edge is None:
        return
    # Right up to the edge it is as it was, and from the edge on it is otherwise.
    for step in (1, (edge - now) // 3 or 1, (edge - now) // 2 or 1, edge - now):
        assert hours.are_open([office], edge - step) == before
    assert hours.are_open([office], edge) == after


@given(rules())
def test_clocks_show_no_time_outside_the_hours_while_it_is_open(
    made: tuple[Hours, Instant],
) -> None:
    """The plain reading, where the clocks are not set: open means a working day and its hours."""
    office, now = made
    wall = datetime.fromtimestamp(now // SECOND, office.zone)
    around = {
        datetime.fromtimestamp((now + delta) // SECOND, office.zone).utcoffset()
        for delta in range(-26 * HOUR, 26 * HOUR, 30 * MINUTE)
    }
    if len(around) > 1:
        return

    def works(day: date) -> bool:
        return day.weekday() in office.days and day not in office.holidays

    minute, today = wall.hour * 60 + wall.minute, wall.date()
    if office.opens < office.closes:
        expected = works(today) and office.opens <= minute < office.closes
    else:
        expected = (works(today) and minute >= office.opens) or (
            works(today - timedelta(days=1)) and minute < office.closes
        )
    assert hours.are_open([office], now) == expected


@given(rules(), st.integers(1, 10 * DAY))
def test_whoever_comes_later_has_never_to_go_earlier(
    made: tuple[Hours, Instant], later: int
) -> None:
    office, now = made
    first, second = hours.end_of([office], now), hours.end_of([office], now + later)
    if first is not None and second is not None:
        assert first <= second
