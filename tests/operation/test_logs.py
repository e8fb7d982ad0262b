"""Log lines: one number a request, nothing from outside that looks like a line of ours."""

import json
import logging

import pytest

from idp.cli import logs
from tests.harness.provider import Idp, settings_for


@pytest.fixture
def lines(idp: Idp, capsys: pytest.CaptureFixture[str]) -> object:
    """Sets logging up in a form; gives how to read what was written since."""
    root = logging.getLogger()
    before = (root.level, list(root.handlers))

    def written(form: str) -> list[str]:
        settings = settings_for(idp.settings.database_url, log_format=form)
        capsys.readouterr()
        logs.set_up(settings)
        return capsys.readouterr().err.splitlines()

    def since() -> list[str]:
        return capsys.readouterr().err.splitlines()

    yield written, since
    root.setLevel(before[0])
    root.handlers[:] = before[1]


def test_a_line_of_a_request_has_the_number_that_its_answer_has(idp: Idp, lines) -> None:
    set_up, since = lines
    set_up("json")
    answer = idp.browser().post("/login", data={"x": "1", "y": "2"})
    number = answer.headers["x-request-id"]
    assert len(number) == 16
    idp.browser().get("/authorize", headers={"X-Request-Id": "planted"})
    logging.getLogger("idp.test").warning("outside of any request")
    found = [json.loads(line) for line in since()]
    assert {one.get("request_id") for one in found} >= {number, None}
    assert "planted" not in json.dumps(found)
    assert found[-1]["level"] == "warning"


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_came_from_outside_cannot_make_a_line_of_its_own(lines, form: str) -> None:
    set_up, since = lines
    set_up(form)
    logging.getLogger("idp.test").warning("agent %s", "x\n2026-01-01 INFO idp: all is well")
    found = since()
    assert not any(line.startswith("2026-01-01") for line in found)
    assert len(found) == (2 if form == "text" else 1)


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_came_from_outside_does_not_steer_a_terminal(lines, form: str) -> None:
    """A header may hold what a terminal takes for an order: clear the screen, turn the text around."""
    set_up, since = lines
    set_up(form)
    logging.getLogger("idp.test").warning("agent %s", "x\x1b[2J\x9b31m\u202e end")
    (line,) = since()
    assert line.isprintable()
    assert "x\\x1b[2J" in line or "x\\u001b[2J" in line
