"""Whatever can happen is called something, on the pages of administrators and of everybody."""

import pytest

from idp.events import catalogue
from idp.web.render import Renderer
from idp.web.timeline import Happening
from tests.harness.provider import Idp

KINDS = sorted(one.type for one in catalogue.ALL)


@pytest.fixture
def renderer(idp: Idp) -> Renderer:
    return Renderer(idp.settings, idp.clock)


def test_every_kind_of_event_has_a_title(renderer: Renderer) -> None:
    words = renderer._environments["en"].get_template("admin/words.html").module
    titles = {kind: str(words.event(kind)).strip() for kind in KINDS}  # type: ignore[attr-defined]
    assert [kind for kind, title in titles.items() if title == kind] == []
    assert len(set(titles.values())) == len(KINDS), "no two are called the same"


def test_whatever_happens_in_a_session_is_told_in_words(renderer: Renderer, idp: Idp) -> None:
    words = renderer._environments["en"].get_template("words.html").module
    for kind in KINDS:
        happening = Happening(kind, idp.clock.now(), None, None, {"kept": True, "kind": "move"})
        assert kind not in str(words.happened(happening))  # type: ignore[attr-defined]
