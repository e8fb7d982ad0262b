"""README says what is there: every setting, endpoint, event, command and session ending."""

from pathlib import Path

import pytest
import typer.main

from idp.__main__ import app as command_line
from idp.events.catalogue import ALL
from idp.policy import hours, limits, timeouts
from idp.sessions.endings import ENDINGS
from idp.sessions.lifecycle import EndReason
from idp.settings import describe
from idp.users import rules
from tests.harness.provider import Idp

README = (Path(__file__).resolve().parent.parent / "README.md").read_text()


@pytest.mark.parametrize("name", [name for name, _ in describe()])
def test_every_setting_is_documented_with_its_meaning(name: str) -> None:
    description = dict(describe())[name]
    assert f"| `{name}` |" in README
    assert description in README


@pytest.mark.parametrize("event", ALL, ids=lambda event: event.type)
def test_every_event_is_documented(event: type) -> None:
    assert f"| `{event.type}` | {' '.join((event.__doc__ or '').split())} |" in README


@pytest.mark.parametrize("code", ENDINGS)
def test_every_ending_is_documented_as_people_and_apps_read_it(code: EndReason) -> None:
    sentence = ENDINGS[code].sentence % dict.fromkeys(("span", "lasted"), "…")
    assert f"| `{code}` | {sentence} | {ENDINGS[code].meaning} |" in README


@pytest.mark.parametrize("kind", rules.KINDS)
def test_every_kind_of_rule_is_documented(kind: str) -> None:
    assert f"| `{kind}` |" in README


def test_every_endpoint_is_documented(idp: Idp) -> None:
    paths = set(idp.app.protocol.by_path) | {route.path for route in routes_of(idp)}
    assert {path for path in paths if f"{path}`" not in README} == set()


def test_every_command_is_documented() -> None:
    commands = typer.main.get_command(command_line).commands  # type: ignore[attr-defined]
    missing = [
        name
        for name in commands
        if f"idp {name}`" not in README
        and f"| {name}" not in README
        and f"idp {name} " not in README
    ]
    assert missing == []


def test_the_default_rules_are_those_in_the_table() -> None:
    assert f"| {timeouts.IDLE_DEFAULT // 60_000_000} minutes |" in README
    assert f"| {timeouts.ABSOLUTE_DEFAULT // 3_600_000_000} hours |" in README
    assert f"| {limits.MAXIMUM_DEFAULT}, " in README
    shared = timeouts.SHARED_DEFAULT // 60_000_000, timeouts.SHARED_IDLE // 60_000_000
    assert "| {} minutes, {} without activity |".format(*shared) in README
    assert f"`grace={hours.GRACE_DEFAULT // 1_000_000}`" in README
    assert f"`days={hours.DAYS_DEFAULT}`" in README


@pytest.mark.parametrize("word", [*limits.BEHAVIOURS, *(f"per={one}" for one in limits.PERS)])
def test_every_word_of_a_limit_is_documented(word: str) -> None:
    assert f"`{word}`" in README


def routes_of(idp: Idp) -> list:
    """The routes behind the protocol endpoints."""
    pages = idp.app.pages
    while not hasattr(pages, "routes"):
        pages = pages._app  # type: ignore[attr-defined]
    return [route for route in pages.routes if hasattr(route, "path")]
