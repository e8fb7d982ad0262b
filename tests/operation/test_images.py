"""Dockerfile and compose.yaml name what is there: settings, commands, files."""

import re
from pathlib import Path

import typer.main
import yaml

from idp.cli.commands import app as command_line
from idp.settings import describe

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {name for name, _ in describe()}


def test_every_setting_in_the_image_and_in_compose_is_one() -> None:
    for name in ("Dockerfile", "compose.yaml"):
        found = set(re.findall(r"\b(IDP_[A-Z_]+)\b", (ROOT / name).read_text()))
        assert found
        assert found <= SETTINGS, name


def test_every_command_in_the_image_is_one() -> None:
    commands = typer.main.get_command(command_line).commands  # type: ignore[attr-defined]
    found = re.findall(r'"idp", "([a-z]+)"', (ROOT / "Dockerfile").read_text())
    assert sorted(found) == ["healthcheck", "serve"]
    assert set(found) <= set(commands)


def test_the_image_takes_what_the_package_needs() -> None:
    said = (ROOT / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", said, re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    assert all((ROOT / name).exists() for name in names)
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {f"!{name}" for name in names} <= set(ignored), "what is copied is not left out"


def test_a_node_in_compose_is_no_root_and_writes_nowhere() -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    services = compose["services"]
    nodes = [one for one in services.values() if one.get("build")]
    assert len(nodes) == 3
    for node in nodes:
        assert node["read_only"]
        assert node["cap_drop"] == ["ALL"]
    assert "profiles" not in services["idp"], "one node needs no profile"
    assert all("ha" in one["profiles"] for name, one in services.items() if name != "idp")
    assert re.search(r"^USER 1", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
