"""Language: which one a page speaks, and how it says moments, lengths of time and distances.

Which languages there are, and what is said in them, is `idp.languages`.
"""

from collections.abc import Collection
from datetime import date
from functools import partial

from babel.dates import format_date, format_datetime, format_timedelta, get_day_names
from babel.units import format_unit

from idp.clock import DAY, HOUR, MINUTE, SECOND, Duration, Instant, to_datetime
from idp.languages import DAYS, DEFAULT, Sentence, locale, said, shipped

DAYS_OF_THE_WEEK = 7
NOW_LASTS: Duration = 2 * MINUTE
# Nearer than this is said of no place: files know towns.
NEAR_KM = 50


def choose(*wishes: str | None) -> str:
    """The shipped language that the wishes name first.

    Each is `ui_locales`, Accept-Language, or one tag.

    Tags are looked up as RFC 4647 section 3.4 says, cut to what is shipped.
    """
    for wish in wishes:
        for tag in _tags((wish or "")[:500]):
            language = shipped(tag)
            if language is not None:
                return language
    return DEFAULT


def moment(at: Instant, *, now: Instant, language: str) -> str:
    """A moment in UTC: "12 Nov, 09:14", with the year when it is another one."""
    shown = to_datetime(at)
    days = DAYS[language]
    written = days.near if shown.year == to_datetime(now).year else days.far
    return format_datetime(shown, f"{written}, HH:mm", locale=locale(language))


def clock(at: Instant, step: str, *, language: str) -> str:
    """A mark on a time axis in UTC: "09:00" for steps of an hour, "12 Nov" for days."""
    pattern = "HH:mm" if step == "hour" else DAYS[language].near
    return format_datetime(to_datetime(at), pattern, locale=locale(language))


def day(one: date, *, language: str) -> str:
    """A day: "Friday, 25 December"."""
    return format_date(one, DAYS[language].whole, locale=locale(language))


def weekdays(days: Collection[int], *, language: str) -> str:
    """Days of the week (0 is Monday): "every day", "Monday to Friday", "Monday, Wednesday"."""
    say = partial(said, tag=language)
    if len(days) == DAYS_OF_THE_WEEK:
        return say("every day")
    names = get_day_names("wide", locale=locale(language))
    # Days that follow each other, also over the end of the week.
    firsts = [one for one in sorted(days) if (one - 1) % DAYS_OF_THE_WEEK not in days]
    spans = []
    for first in firsts:
        length = next(
            step
            for step in range(1, DAYS_OF_THE_WEEK + 1)
            if (first + step) % DAYS_OF_THE_WEEK not in days
        )
        last = names[(first + length - 1) % DAYS_OF_THE_WEEK]
        if length < 3:
            spans += [names[(first + step) % DAYS_OF_THE_WEEK] for step in range(length)]
        else:
            spans.append(say("%(first)s to %(last)s") % {"first": names[first], "last": last})
    return ", ".join(spans)


def time_of_day(minutes: int) -> str:
    """Minutes after midnight as "08:00"; the end of a day is "24:00"."""
    return f"{minutes // 60:02}:{minutes % 60:02}"


def ago(at: Instant, *, now: Instant, language: str) -> str:
    """How long ago: "3 minutes ago"; the caller says "now" for less than `NOW_LASTS`."""
    return format_timedelta(
        -max(now - at, 0) // SECOND,
        granularity="minute",
        threshold=1.2,
        add_direction=True,
        locale=locale(language),
    )


def length(duration: Duration, *, language: str) -> str:
    """A length of time: "60 minutes", "24 hours", "3 days"; rounded down to that unit."""
    if duration < MINUTE:
        return said("less than a minute", language)
    # Of ours: of the units of CLDR, Babel lacks some languages'.
    if duration < 2 * HOUR:
        said_in = Sentence("%(count)s minute", "%(count)s minutes", count=duration // MINUTE)
    elif duration < 2 * DAY:
        said_in = Sentence("%(count)s hour", "%(count)s hours", count=duration // HOUR)
    else:
        said_in = Sentence("%(count)s day", "%(count)s days", count=duration // DAY)
    return said_in.within(language)


def kilometres(about: float, *, language: str) -> str:
    """A distance that is no better known than its places: "1,200 km", "less than 50 km"."""
    if about < NEAR_KM:
        near = format_unit(NEAR_KM, "length-kilometer", length="short", locale=locale(language))
        return said("less than %(distance)s", language) % {"distance": near}
    of_two_figures = 10 ** (len(str(round(about))) - 2)
    rounded = round(about / of_two_figures) * of_two_figures
    return format_unit(rounded, "length-kilometer", length="short", locale=locale(language))


def _tags(wish: str) -> list[str]:
    """The tags of `ui_locales` ("fr en") or Accept-Language ("fr, en;q=0.5"), wished most first."""
    weighed: list[tuple[float, str]] = []
    for part in wish.split(","):
        named, _, weight = part.partition(";")
        weighed.extend((_weight(weight), tag) for tag in named.split())
    return [tag for weight, tag in sorted(weighed, key=lambda w: -w[0]) if weight > 0]


def _weight(text: str) -> float:
    try:
        return float(text.strip().removeprefix("q=")) if text.strip() else 1.0
    except ValueError:
        return 0.0
