"""Languages, moments, lengths of time; and templates that are complete."""

import pytest
from jinja2 import UndefinedError

from idp import languages
from idp.clock import DAY, HOUR, MINUTE, SECOND
from idp.settings import Settings
from idp.web import errors, language
from idp.web.render import Renderer
from tests.harness.workbench import NOON, SECRET, ManualClock
from tests.web.conftest import Somebody


@pytest.mark.parametrize(
    "wishes", [(), (None,), ("",), ("it-CH it",), ("rm;q=0.9, en;q=0.1",), ("*",), ("x" * 9_000,)]
)
def test_only_a_shipped_language_is_chosen(wishes: tuple[str, ...]) -> None:
    assert language.choose(*wishes) == "en"


def test_wishes_are_weighed() -> None:
    assert language.choose("fr-CA en") == "fr"
    assert language.choose("it", "de;q=0.3, fr;q=0.8, en;q=0") == "fr"
    assert language.choose("de;q=nonsense, en") == "en"
    assert language.choose("de;q=0") == "en"
    assert language.choose(None, "DE-at") == "de"
    assert language.choose("it", "fr_CA", "de") == "fr"


def test_every_page_says_its_language(alice: Somebody) -> None:
    response = alice.browser.get(
        "/account/sessions?ui_locales=fr", headers={"accept-language": "de"}
    )
    assert response.headers["content-language"] == "fr"
    assert response.headers["vary"] == "Accept-Language"
    assert '<html lang="fr" dir="ltr">' in response.text


@pytest.mark.parametrize(
    ("days", "words"),
    [
        ({0, 1, 2, 3, 4, 5, 6}, "every day"),
        ({0, 1, 2, 3, 4}, "Monday to Friday"),
        ({4}, "Friday"),
        ({0, 1}, "Monday, Tuesday"),
        ({0, 2, 3, 4, 6}, "Wednesday to Friday, Sunday, Monday"),
        ({5, 6, 0}, "Saturday to Monday"),
    ],
)
def test_days_of_the_week_are_said_as_people_do(days: set[int], words: str) -> None:
    assert language.weekdays(days, language="en") == words


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (MINUTE, "1 minute"),
        (60 * MINUTE, "60 minutes"),
        (8 * HOUR, "8 hours"),
        (24 * HOUR, "24 hours"),
        (30 * DAY, "30 days"),
    ],
)
def test_lengths_are_said_in_a_unit_that_fits(span: int, words: str) -> None:
    assert language.length(span, language="en") == words


@pytest.mark.parametrize(
    ("about", "words"),
    [
        (0.0, "less than 50 km"),
        (49.9, "less than 50 km"),
        (50.0, "50 km"),
        (99.6, "100 km"),
        (1_234.0, "1,200 km"),
        (19_999.0, "20,000 km"),
    ],
)
def test_distances_are_said_as_vaguely_as_they_are_known(about: float, words: str) -> None:
    assert language.kilometres(about, language="en") == words


def test_lengths_distances_and_moments_are_said_in_every_language() -> None:
    said = {
        tag: (
            language.length(60 * MINUTE, language=tag),
            language.length(30 * DAY, language=tag),
            language.kilometres(1_234.0, language=tag),
            language.moment(NOON, now=NOON, language=tag),
        )
        for tag in languages.SHIPPED
    }
    assert said["de"] == ("60 Minuten", "30 Tage", "1.200 km", "15. Jan., 08:00")
    assert said["fr"] == ("60 minutes", "30 jours", "1\u202f200\u202fkm", "15 janv., 08:00")
    assert said["es"] == ("60 minutos", "30 días", "1.200 km", "15 ene, 08:00")
    assert said["pt-BR"] == ("60 minutos", "30 dias", "1.200 km", "15 de jan., 08:00")
    assert said["ja"] == ("60 分", "30 日", "1,200 km", "1月15日, 08:00")


@pytest.mark.parametrize("status", [400, 404, 405, 406, 413, 431, 503])
def test_what_no_page_of_ours_answers_is_said_in_every_language(status: int) -> None:
    refused = errors._of_status(status)
    for tag in languages.SHIPPED:
        assert (languages.said(refused.sentence, tag) == refused.sentence) == (tag == "en")


def test_a_moment_of_another_year_says_so() -> None:
    assert language.moment(NOON, now=NOON, language="en") == "15 Jan, 08:00"
    assert language.moment(NOON - 30 * DAY, now=NOON, language="en") == "16 Dec 2026, 08:00"


def test_a_clock_that_stepped_back_makes_nothing_happen_in_the_future() -> None:
    settings = Settings(secret_key=SECRET, database_url="sqlite://")
    clock = ManualClock()
    ago = Renderer(settings, clock).environment("en").filters["ago"]
    for at, words in ((NOON + HOUR, "now"), (NOON, "now"), (NOON - 120 * SECOND, "2 minutes ago")):
        assert f">{words}</time>" in ago(at)


def test_every_template_compiles_and_an_unknown_name_is_an_error() -> None:
    settings = Settings(secret_key=SECRET, database_url="sqlite://")
    renderer = Renderer(settings, ManualClock())
    environment = renderer.environment("en")
    for name in environment.list_templates(extensions=["html"]):
        if not name.startswith("mail/"):  # letters have an environment of their own
            environment.get_template(name)
    with pytest.raises(UndefinedError):
        renderer.page("login.html", language="en")


def test_every_drawing_that_is_asked_for_exists() -> None:
    """An unknown icon would be an empty place nobody notices."""
    settings = Settings(secret_key=SECRET, database_url="sqlite://")
    icons = Renderer(settings, ManualClock()).environment("en").get_template("icons.html").module
    for kind in ("desktop", "laptop", "phone", "tablet", "tv", "terminal"):
        assert "<svg" in icons.device(kind)  # type: ignore[attr-defined]
    assert icons.device("fridge") == icons.device("desktop")  # type: ignore[attr-defined]
