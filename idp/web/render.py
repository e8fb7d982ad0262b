"""Pages from templates.

Owns the template environment: everything is escaped, an unknown name is an error, every sentence
goes through gettext, and nothing but `page` and `fragment` makes HTML. Does not know what pages
show.

`_("…")` is for sentences that stand in a template: what it gives is HTML. One that comes from
elsewhere may hold anything, and goes through the filter `said`, which translates and leaves the
escaping to happen (`tests/test_architecture.py` holds templates to that).
"""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse

from idp.clock import HOUR, Clock, Duration, Instant, from_rfc3339, to_rfc3339
from idp.languages import DEFAULT, SHIPPED, locale, said, templates_folder, translations
from idp.policy import timeouts
from idp.sessions import place
from idp.sessions.endings import ENDINGS
from idp.settings import Settings
from idp.web import headers, language
from idp.web.said_once import SaidOnce
from idp.web.static import Assets

# From when on pages tell that their session will end.
ENDS_SOON: Duration = HOUR


class Renderer:
    """Renders the product's pages in the shipped languages."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        folder = templates_folder()
        self.assets = Assets(folder / "static")
        self._environments: dict[str, Environment] = {}
        self._make = partial(_environment, folder, settings, self.assets, clock)
        self.environment(DEFAULT)

    def environment(self, tag: str) -> Environment:
        """The templates in a shipped language; a further one is made when it is asked for."""
        made = self._environments.get(tag)
        if made is None:
            # Two requests at once may both make it; either will do.
            made = self._environments[tag] = self._make(tag)
        return made

    def page(
        self,
        template: str,
        *,
        language: str,
        status: int = 200,
        form_actions: Iterable[str] = (),
        **values: Any,
    ) -> HTMLResponse:
        """A whole page; `form_actions` are addresses its forms may lead to besides ours."""
        return HTMLResponse(
            self.fragment(template, language=language, **values),
            status,
            headers={
                "Content-Security-Policy": headers.policy(form_actions),
                "Content-Language": language,
                "Vary": "Accept-Language",
            },
        )

    def fragment(self, template: str, *, language: str, **values: Any) -> str:
        """The text of a template."""
        return self.environment(language).get_template(template).render(**values)


def _environment(
    folder: Path, settings: Settings, assets: Assets, clock: Clock, tag: str
) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n"],
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.code_generator_class = SaidOnce
    environment.install_gettext_translations(  # type: ignore[attr-defined]
        translations(tag), newstyle=True
    )
    environment.globals.update(
        product=settings.name,
        asset=assets.path,
        lang=tag,
        direction=locale(tag).text_direction,
        languages=SHIPPED,
        now_ms=lambda: clock.now() // 1_000,
        idle_warning=timeouts.idle_warning,
        end_warning=timeouts.END_WARNING,
        endings=ENDINGS,
        ends_soon=lambda at: at - clock.now() <= ENDS_SOON,
        is_now=partial(_is_now, clock),
    )
    environment.filters.update(
        said=partial(said, tag=tag),
        moment=partial(_moment, clock, tag),
        ago=partial(_ago, clock, tag),
        span=partial(language.length, language=tag),
        clock=partial(language.clock, language=tag),
        day=partial(language.day, language=tag),
        weekdays=partial(language.weekdays, language=tag),
        time_of_day=language.time_of_day,
        country=partial(place.country_name, language=tag),
        kilometres=partial(language.kilometres, language=tag),
    )
    return environment


def _moment(clock: Clock, tag: str, at: Instant | str) -> Markup:
    """A moment as a `time` element; a script shows it in the reader's own time zone.

    It is given as an instant, or as our APIs write it.
    """
    at = from_rfc3339(at) if isinstance(at, str) else at
    words = language.moment(at, now=clock.now(), language=tag)
    return Markup('<time datetime="{}" data-moment>{} UTC</time>').format(to_rfc3339(at), words)


def _is_now(clock: Clock, at: Instant | str) -> bool:
    """Whether what happened then is said to be now."""
    at = from_rfc3339(at) if isinstance(at, str) else at
    return clock.now() - at < language.NOW_LASTS


def _ago(clock: Clock, tag: str, at: Instant | str) -> Markup:
    """How long ago as a `time` element; a script keeps it true while the page is open."""
    at = from_rfc3339(at) if isinstance(at, str) else at
    now = clock.now()
    if now - at < language.NOW_LASTS:
        words = said("now", tag)
    else:
        words = language.ago(at, now=now, language=tag)
    return Markup('<time datetime="{}" data-ago>{}</time>').format(to_rfc3339(at), words)
