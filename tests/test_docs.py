"""README says what is there: every setting, endpoint, event, command and session ending."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import cast, get_args

import pytest
import typer.main

from idp.admin.operation import Call
from idp.admin.rules_in_force import list_rules_in_force
from idp.cli.commands import app as command_line
from idp.events.catalogue import ALL
from idp.policy import effective, limits, timeouts
from idp.sessions.endings import ENDINGS, Dependant, EndReason, takes
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


@pytest.mark.parametrize(
    ("what", "row"),
    [
        ("let_in", "sessions it let in (where their end was wished)"),
        ("offline", "access that apps keep without it (`offline_access`)"),
        ("browser", "that its browser stays signed in"),
    ],
)
def test_what_outlives_a_session_is_documented(what: Dependant, row: str) -> None:
    said = next(line for line in README.splitlines() if line.startswith(f"| {row} |"))
    outlived = {code for code in get_args(EndReason) if not takes(code, what)}
    assert set(re.findall(r"`([a-z_]+)`", said.split("|")[2])) == outlived


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


def documented_default(kind: str) -> tuple[dict[str, str], str, str]:
    """What README says holds without a rule: its values, its words, and the reason."""
    found = re.search(rf"^\| `{kind}` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", README, re.MULTILINE)
    assert found is not None, kind
    values = dict(re.findall(r"`([a-z_]+)=([^`]*)`", found[1]))
    return values, found[1], found[3]


@pytest.mark.parametrize("kind", rules.KINDS)
def test_every_default_is_documented_with_its_reason_and_is_what_holds(idp: Idp, kind: str) -> None:
    """What the management API says of somebody without a rule is what README says, kind by kind."""
    person = idp.person("alice")
    with idp.work.read() as unit:
        call = cast("Call", SimpleNamespace(unit=unit, params={"id": person.id}))
        (one,) = [one for one in list_rules_in_force(call, None).items if one.kind == kind]
    values, words, why = documented_default(kind)
    assert values == {name: str(value) for name, value in one.value.items()}
    assert values or words == effective.NOTHING[kind]
    assert (one.when, one.rules, one.why) == ({}, [], why)


@pytest.mark.parametrize("kind", rules.KINDS)
def test_what_a_rule_means_that_leaves_something_out_is_documented(kind: str) -> None:
    said = effective.IN_A_RULE.get(kind, {})
    row = re.search(rf"^\| `{kind}` \| [^|]+ \| ([^|]+) \| [^|]+ \|$", README, re.MULTILINE)
    assert row is not None
    assert dict(re.findall(r"`([a-z_]+)=([^`]*)`", row[1])) == {
        name: str(value) for name, value in said.items()
    }


@pytest.mark.parametrize("word", [*limits.BEHAVIOURS, *(f"per={one}" for one in limits.PERS)])
def test_every_word_of_a_limit_is_documented(word: str) -> None:
    assert f"`{word}`" in README


def routes_of(idp: Idp) -> list:
    """The routes behind the protocol endpoints."""
    pages = idp.app.pages
    while not hasattr(pages, "routes"):
        pages = pages._app  # type: ignore[attr-defined]
    return [route for route in pages.routes if hasattr(route, "path")]
