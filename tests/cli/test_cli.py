"""The command line as an administrator or a script uses it."""

import io
import json
import logging
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from idp import settings as deployment
from idp.__main__ import main
from idp.clock import DAY
from idp.policy import effective
from idp.storage.database import Database
from idp.users.rules import KINDS
from tests.harness.provider import PASSWORD, Idp
from tests.harness.workbench import SECRET, ManualClock

STRONG_SECRET = "8Jq2vT0xWm-Lr5Zb9Yc1Nd4Ks7Pf3Gh6Ae_Uo"


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@contextmanager
def _as_it_was(log: logging.Logger) -> Iterator[None]:
    """Takes back what a command changed of a log; it is that of the whole process."""
    level, handlers = log.level, log.handlers[:]
    yield
    log.level, log.handlers[:] = level, handlers


class Terminal:
    """Runs commands as `idp …` would, in this process."""

    def __init__(self, capture: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self._capture = capture
        self._patch = patch

    def __call__(self, *arguments: str, typed: str = "") -> Ran:
        self._patch.setattr(sys, "stdin", io.StringIO(typed))
        self._capture.readouterr()
        with _as_it_was(logging.getLogger()), pytest.raises(SystemExit) as ended:
            main(arguments)
        shown = self._capture.readouterr()
        code = ended.value.code
        return Ran(0 if code is None else int(code), shown.out, shown.err)

    def ok(self, *arguments: str, typed: str = "") -> Any:
        """What a command answers as JSON; it must have worked and said nothing else."""
        ran = self(*arguments, "--json", typed=typed)
        assert (ran.code, ran.err) == (0, ""), ran
        return ran.json

    def refused(self, *arguments: str, typed: str = "") -> str:
        """The sentence of a command that must refuse; standard output stays empty."""
        ran = self(*arguments, "--json", typed=typed)
        assert (ran.code, ran.out) == (1, ""), ran
        return ran.err


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [one for one in os.environ if one.startswith("IDP_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IDP_SECRET_KEY", STRONG_SECRET)
    monkeypatch.setenv("IDP_DATABASE_URL", f"sqlite:///{tmp_path / 'empty.db'}")
    monkeypatch.setenv("IDP_PASSWORD__MEMORY_KIB", "8192")
    monkeypatch.setenv("IDP_PASSWORD__TIME_COST", "1")
    return monkeypatch


@pytest.fixture
def idp_cli(environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys, environment)


@pytest.fixture
def ready(idp_cli: Terminal, idp: Idp, environment: pytest.MonkeyPatch) -> Terminal:
    """A command line over the prepared database of `idp`."""
    environment.setenv("IDP_DATABASE_URL", idp.settings.database_url)
    environment.setenv("IDP_SECRET_KEY", SECRET)
    return idp_cli


def reasons(idp: Idp, kind: str) -> list[tuple[str, str, str]]:
    return [(row["actor"], row["actor_id"], row["reason"]) for row in idp.events(kind)]


def test_without_a_command_it_shows_what_there_is_and_counts_as_misused(idp_cli: Terminal) -> None:
    ran = idp_cli()
    assert ran.code == 2
    assert "serve" in ran.out + ran.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("user", "nonsense"),
        ("user", "create"),
        ("user", "create", "anna", "--nonsense"),
        ("user", "create", "anna", "--generate-password", "--password-stdin"),
        ("rules", "set", "limits", "maximum"),
        ("rules", "set", "assurance", "aal2"),
        ("rules", "set", "assurance", "level=aal2"),
        ("rules", "set", "assurance", "scope:=aal2"),
        ("client", "change", "shop"),
        ("factors", "remove", "anna"),
    ],
)
def test_a_wrong_call_ends_with_two(ready: Terminal, arguments: tuple[str, ...]) -> None:
    ran = ready(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err


def test_every_command_but_the_demo_takes_json() -> None:
    from typer.main import get_command

    from idp.cli.commands import app

    def commands(group: Any, path: str = "idp") -> Iterator[tuple[str, Any]]:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from commands(command, f"{path} {name}")
            else:
                yield f"{path} {name}", command

    lacking = [
        path
        for path, command in commands(get_command(app))
        if not any("--json" in parameter.opts for parameter in command.params)
    ]
    # What the last three print is JSON as it is.
    assert lacking == [
        "idp demo", "idp healthcheck", "idp openapi", "idp export", "idp events export",
    ]  # fmt: skip


def test_a_health_check_does_without_what_other_commands_import() -> None:
    """A container asks every few seconds, and gives it three."""
    asking = (
        "import sys\n"
        "from idp.__main__ import main\n"
        "try:\n    main(['healthcheck'])\n"
        "finally:\n    print(sorted(sys.modules.keys() & {'authlib', 'sqlalchemy', 'typer'}))"
    )
    settings = {"IDP_SECRET_KEY": STRONG_SECRET, "IDP_PORT": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", asking],
        env=os.environ | settings, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "The node does not answer" in ran.stderr
    assert ran.stdout == "[]\n"


# --- settings and schema --------------------------------------------------------------------------


def test_settings_that_cannot_be_used_are_refused_with_how_to_fix_them(
    idp_cli: Terminal, environment: pytest.MonkeyPatch
) -> None:
    assert idp_cli.ok("config", "check")["ok"] is True
    environment.setenv("IDP_SECRET_KEY", "short")
    assert "IDP_SECRET_KEY must have at least 32 characters" in idp_cli.refused("config", "check")
    environment.setenv("IDP_NONSENSE", "1")
    for command in (("config", "check"), ("user", "list"), ("serve",), ("db", "current")):
        assert "IDP_NONSENSE is not a setting" in idp_cli.refused(*command)


@pytest.mark.parametrize(
    ("said", "networks"),
    [
        ("10.0.0.0/8", ["10.0.0.0/8"]),
        ("10.0.0.0/8, ::1", ["10.0.0.0/8", "::1"]),
        ('["10.0.0.0/8"]', ["10.0.0.0/8"]),
        ("", []),
    ],
)
def test_a_list_is_written_with_commas_or_as_json(
    idp_cli: Terminal, environment: pytest.MonkeyPatch, said: str, networks: list[str]
) -> None:
    environment.setenv("IDP_TRUSTED_PROXIES", said)
    environment.setenv("IDP_OUTBOUND__ALLOW_NETWORKS", said)
    shown = idp_cli.ok("config", "show")
    assert shown["IDP_TRUSTED_PROXIES"] == networks
    assert shown["IDP_OUTBOUND__ALLOW_NETWORKS"] == networks


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("IDP_TRUSTED_PROXIES", "nginx", "IDP_TRUSTED_PROXIES: 'nginx' .* written like 10.0.0.0/8"),
        ("IDP_TRUSTED_PROXIES", "10.0.0.1/8", "IDP_TRUSTED_PROXIES: .* has host bits set"),
        ("IDP_OUTBOUND__ALLOW_NETWORKS", "[10", "ALLOW_NETWORKS: is no JSON array; items with"),
        ("IDP_PREVIOUS_SECRET_KEYS", "hunter2", "^IDP_PREVIOUS_SECRET_KEYS: each must have at lea"),
        ("IDP_TOKENS", "x", "IDP_TOKENS is not a setting"),
    ],
)
def test_a_list_that_is_none_is_refused_with_a_sentence(
    idp_cli: Terminal, environment: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    environment.setenv(name, value)
    said = idp_cli.refused("config", "check")
    assert re.search(sentence, said)
    assert "hunter2" not in said, "an older key is as secret as a newer one"


def test_postgresql_without_its_driver_says_what_to_install(
    idp_cli: Terminal, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("IDP_DATABASE_URL", "postgresql+psycopg://idp@db/idp")
    environment.setattr(deployment, "find_spec", lambda _: None)
    assert "pip install 'idp[postgres]'" in idp_cli.refused("db", "upgrade")
    (finding,) = idp_cli("doctor", "--json").json["findings"]
    assert finding["state"] == "failed"


def test_an_address_that_is_taken_is_said_and_costs_the_first_administrator_nothing(
    idp_cli: Terminal, environment: pytest.MonkeyPatch
) -> None:
    idp_cli.ok("db", "upgrade")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        environment.setenv("IDP_PORT", str(port))
        assert f"somebody listens at 127.0.0.1:{port} already" in idp_cli.refused("serve")
        environment.setenv("IDP_PORT", "0")
        environment.setenv("IDP_MANAGEMENT__PORT", str(port))
        assert "IDP_MANAGEMENT__PORT: somebody" in idp_cli.refused("serve")
    assert idp_cli.ok("events", "list") == [], "a new link would take the place of the one in use"


def test_a_backup_that_cannot_be_written_is_said(idp_cli: Terminal, tmp_path: Path) -> None:
    idp_cli.ok("db", "upgrade")
    nowhere = tmp_path / "nowhere" / "copy"
    assert f"{nowhere} cannot be written: No such file" in idp_cli.refused(
        "backup", "create", str(nowhere)
    )


def test_an_address_of_redis_that_is_none_is_said(
    idp_cli: Terminal, environment: pytest.MonkeyPatch
) -> None:
    idp_cli.ok("db", "upgrade")
    environment.setenv("IDP_REDIS_URL", "nonsense")
    assert "IDP_REDIS_URL" in idp_cli.refused("serve")


def test_the_settings_in_force_are_shown_without_their_secrets(
    idp_cli: Terminal, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("IDP_DATABASE_URL", "postgresql+psycopg://idp:hunter2@db/idp")
    environment.setenv("IDP_PREVIOUS_SECRET_KEYS", f'["{"y" * 40}"]')
    shown = idp_cli.ok("config", "show")
    assert shown["IDP_PASSWORD__MEMORY_KIB"] == 8_192
    assert shown["IDP_DATABASE_URL"] == "postgresql+psycopg://idp:***@db/idp"
    table = idp_cli("config", "show").out
    for text in (json.dumps(shown), table):
        assert STRONG_SECRET not in text
        assert "hunter2" not in text
        assert "yyyy" not in text
    from idp.settings import describe

    assert set(shown) == {name for name, _ in describe()}


def test_an_empty_database_is_prepared_by_upgrade_and_by_nothing_else(idp_cli: Terminal) -> None:
    for command in (("user", "list"), ("serve",), ("db", "check"), ("keys", "list")):
        assert "idp db upgrade" in idp_cli.refused(*command)
    assert idp_cli.ok("db", "current")["revision"] is None
    upgraded = idp_cli.ok("db", "upgrade")
    assert upgraded["before"] is None
    assert idp_cli.ok("db", "upgrade")["before"] == upgraded["revision"]
    assert idp_cli.ok("db", "check") == {"revision": upgraded["revision"], "ok": True}
    assert idp_cli.ok("user", "list") == []


def test_a_downgrade_asks_first(idp_cli: Terminal) -> None:
    idp_cli.ok("db", "upgrade")
    ran = idp_cli("db", "downgrade", "base", typed="n\n")
    assert (ran.code, ran.out) == (1, "")
    assert idp_cli.ok("db", "check")["ok"]
    assert idp_cli.ok("db", "downgrade", "base", "--yes")["revision"] is None


def test_a_database_of_a_newer_version_is_left_alone(ready: Terminal, idp: Idp) -> None:
    idp.execute("UPDATE alembic_version SET version_num = 'fffff'")
    assert "does not know" in ready.refused("user", "list")
    assert "does not know" in ready.refused("db", "check")


# --- users ----------------------------------------------------------------------------------------


def test_a_user_created_with_a_typed_password_can_sign_in(ready: Terminal, idp: Idp) -> None:
    made = ready.ok(
        "user", "create", "Anna", "--email", "anna@example.com", "--email-verified", "--name",
        "Anna Meier", "--password-stdin", typed="three blind mice\n",
    )  # fmt: skip
    assert "password" not in made
    assert (made["username"], made["email_verified"], made["name"]) == ("Anna", True, "Anna Meier")
    assert ready.ok("user", "show", "ANNA@example.com") == made
    assert ready.ok("user", "show", made["id"]) == made
    with idp.work.read() as unit:
        from idp.users import queries

        user = queries.by_id(unit, made["id"])
        assert user is not None
        assert idp.hasher.verify(user.password_hash, "three blind mice")


def test_a_generated_password_is_shown_once(ready: Terminal, idp: Idp) -> None:
    made = ready.ok("user", "create", "anna", "--generate-password")
    assert len(made["password"]) >= 20
    assert "password" not in ready.ok("user", "show", "anna")
    again = ready.ok("user", "password", "anna", "--generate-password")
    assert again["password"] != made["password"]


def test_a_weak_password_is_refused(ready: Terminal) -> None:
    for weak in ("short", "password", "anna1234"):
        assert ready.refused("user", "create", "anna", "--password-stdin", typed=f"{weak}\n")
    assert ready.ok("user", "list") == []


def test_without_a_terminal_it_does_not_wait_for_a_password(ready: Terminal) -> None:
    ran = ready("user", "create", "anna")
    assert ran.code == 2
    assert "--password-stdin" in ran.err


def test_a_name_that_is_taken_or_unknown_is_refused(ready: Terminal) -> None:
    ready.ok("user", "create", "anna", "--no-password")
    assert "already in use" in ready.refused("user", "create", "ANNA", "--no-password")
    for command in ("show", "disable", "enable", "roles"):
        assert "no user 'bob'" in ready.refused("user", command, "bob")


def test_disabling_and_deleting_end_every_session(ready: Terminal, idp: Idp) -> None:
    anna, bob = idp.person("anna"), idp.person("bob")
    for user in (anna, anna, bob):
        idp.session(user)
    assert ready.ok("user", "disable", "anna")["sessions_ended"] == 2
    assert ready.ok("user", "show", "anna")["status"] == "disabled"
    assert ready.ok("user", "enable", "anna")["status"] == "active"
    assert ready.ok("sessions", "list", "anna") == []
    assert reasons(idp, "session.ended") == [("admin", "cli", "user_disabled")] * 2
    assert ready("user", "delete", "bob", typed="n\n").code == 1
    assert ready.ok("user", "delete", "bob", "--yes")["sessions_ended"] == 1
    assert "no user" in ready.refused("user", "show", bob.id)
    assert [row["user_id"] for row in idp.events("user.deleted")] == [bob.id]
    # The log still answers for who is gone.
    assert ready.ok("events", "list", "--user", bob.id)[0]["type"] == "user.deleted"


def test_the_apps_of_a_deleted_user_are_still_told(ready: Terminal, idp: Idp) -> None:
    anna = idp.person("anna")
    shop = idp.register(backchannel_logout_uri="https://shop.example/logout")
    tokens = idp.grant(shop, idp.session(anna))
    assert idp.is_active(shop, tokens["access_token"])
    ready.ok("user", "delete", "anna", "--yes")
    assert idp.count("deliveries") == 1
    assert idp.count("authorizations") == 0
    assert not idp.is_active(shop, tokens["access_token"])


def test_a_new_password_ends_every_session(ready: Terminal, idp: Idp) -> None:
    idp.session(idp.person("anna"))
    changed = ready.ok("user", "password", "anna", "--password-stdin", typed="four calling birds\n")
    assert changed["sessions_ended"] == 1
    assert reasons(idp, "session.ended") == [("admin", "cli", "password_changed")]
    assert len(idp.events("credential.changed")) == 1


def test_roles_are_defined_given_and_taken(ready: Terminal, idp: Idp) -> None:
    idp.person("anna")
    ready.ok("role", "define", "editor", "posts:write", "posts:read")
    given = ready.ok("user", "roles", "anna", "editor")
    assert given["permissions"] == ["posts:read", "posts:write"]
    ready.ok("role", "define", "editor", "posts:read")
    assert ready.ok("user", "roles", "anna")["permissions"] == ["posts:read"]
    assert {"name": "editor", "permissions": ["posts:read"]} in ready.ok("role", "list")
    assert ready.ok("user", "roles", "anna", "--none")["roles"] == []
    ready.ok("rules", "set", "limits", "maximum=3", "--device-type", "tv", "--country", "FR")
    assert "country=FR device_type=tv" in ready("rules", "list").out
    ready.ok("rules", "remove", "limits", "--country", "FR", "--device-type", "tv")
    assert "no client" in ready.refused("rules", "set", "limits", "maximum=2", "--client", "cli_x")
    assert "no role" in ready.refused("user", "roles", "anna", "nothing")


# --- clients --------------------------------------------------------------------------------------


def test_a_clients_secret_is_shown_when_it_is_made_and_never_again(
    ready: Terminal, idp: Idp
) -> None:
    made = ready.ok(
        "client", "create", "Shop", "--redirect-uri", "https://shop.example/callback",
        "--backchannel-logout-uri", "https://shop.example/logout", "--first-party",
    )  # fmt: skip
    client_id = made["client_id"]
    assert made["client_secret"]
    assert "client_secret" not in ready.ok("client", "show", client_id)
    rotated = ready.ok("client", "rotate-secret", client_id)
    assert rotated["client_secret"] != made["client_secret"]
    assert ready.ok("client", "disable", client_id)["enabled"] is False
    assert [one["enabled"] for one in ready.ok("client", "list")] == [False]
    assert ready.ok("client", "enable", client_id)["enabled"] is True
    assert ready.ok("client", "delete", client_id, "--yes")["deleted"] is True
    assert "no client" in ready.refused("client", "show", client_id)
    assert all(row["actor_id"] == "cli" for row in idp.events("client.created", "client.changed"))


def test_a_client_is_changed_in_what_is_named_and_nothing_else(ready: Terminal, idp: Idp) -> None:
    made = ready.ok(
        "client", "create", "Shop", "--redirect-uri", "https://shop.example/callback",
        "--audience", "https://api.example", "--minimum-acr", "aal2",
        "--access-token-lifetime", "60",
    )  # fmt: skip
    made.pop("client_secret")
    client_id = made["client_id"]
    assert (made["minimum_acr"], made["access_token_lifetime"]) == ("aal2", 60)
    changed = ready.ok(
        "client", "change", client_id, "--name", "Store", "--first-party", "--minimum-acr", "aal3",
        "--redirect-uri", "https://store.example/a", "--redirect-uri", "https://store.example/b",
    )  # fmt: skip
    assert changed == made | {
        "name": "Store",
        "first_party": True,
        "minimum_acr": "aal3",
        "redirect_uris": ["https://store.example/a", "https://store.example/b"],
    }
    emptied = ready.ok(
        "client", "change", client_id, "--third-party", "--minimum-acr", "", "--audience", "",
        "--access-token-lifetime", "0",
    )  # fmt: skip
    assert emptied == changed | {
        "first_party": False,
        "minimum_acr": None,
        "audience": [],
        "access_token_lifetime": None,
    }
    assert ready.ok("client", "show", client_id) == emptied


def test_a_change_of_a_client_is_checked_as_its_creation_is(ready: Terminal) -> None:
    made = ready.ok("client", "create", "Shop", "--redirect-uri", "https://shop.example/callback")
    for wrong in (
        ("--redirect-uri", "https://*.example/"),
        ("--redirect-uri", ""),
        ("--minimum-acr", "gold"),
        ("--name", ""),
        ("--grant-type", "password"),
        ("--id-token-alg", ""),
    ):
        ready.refused("client", "change", made["client_id"], *wrong)
    assert ready("client", "change", made["client_id"]).code == 2
    assert "no client" in ready.refused("client", "change", "cli_nothing", "--name", "x")
    made.pop("client_secret")
    assert ready.ok("client", "show", made["client_id"]) == made


def test_a_clients_keys_are_given_in_one_way_at_a_time(ready: Terminal, tmp_path: Path) -> None:
    from joserfc.jwk import ECKey, KeySet

    file = tmp_path / "keys.json"
    file.write_text(json.dumps(KeySet([ECKey.generate_key("P-256")]).as_dict(private=False)))
    made = ready.ok(
        "client", "create", "Job", "--grant-type", "client_credentials", "--auth-method",
        "private_key_jwt", "--jwks-file", str(file), "--scope", "profile",
    )  # fmt: skip
    uri = "https://job.example/keys"
    assert ready.ok("client", "change", made["client_id"], "--jwks-uri", uri)["jwks_uri"] == uri
    back = ready.ok("client", "change", made["client_id"], "--jwks-file", str(file))
    assert back["jwks_uri"] is None
    assert "needs jwks or jwks_uri" in ready.refused(
        "client", "change", made["client_id"], "--jwks-file", str(file), "--jwks-uri", uri
    )


def test_the_tokens_a_client_got_for_itself_are_revoked(ready: Terminal, idp: Idp) -> None:
    robot, observer = idp.register(scope="read"), idp.register(introspects_all=1)
    before = idp.token(robot, grant_type="client_credentials")[1]["access_token"]
    assert ready("client", "revoke-tokens", robot.id, typed="n\n").code == 1
    assert idp.is_active(observer, before)
    assert ready.ok("client", "revoke-tokens", robot.id, "--yes") == {
        "client_id": robot.id,
        "revoked": True,
    }
    assert not idp.is_active(observer, before)
    after = idp.token(robot, grant_type="client_credentials")[1]["access_token"]
    assert idp.is_active(observer, after)
    assert idp.events("client.changed")[-1]["actor_id"] == "cli"


def test_a_client_that_would_be_refused_at_use_is_not_registered(ready: Terminal) -> None:
    ready.refused("client", "create", "Shop", "--redirect-uri", "https://*.example/callback")
    ready.refused("client", "create", "Shop")
    shop = ("client", "create", "Shop", "--redirect-uri", "https://shop.example/callback")
    assert "aal1, aal2, aal3" in ready.refused(*shop, "--minimum-acr", "gold")
    ready.refused("client", "create", "Shop", "--jwks-file", "missing.json")
    assert ready.ok("client", "list") == []


def test_a_clients_keys_are_read_from_a_file(ready: Terminal, tmp_path: Path) -> None:
    from joserfc.jwk import ECKey, KeySet

    file = tmp_path / "keys.json"
    file.write_text(json.dumps(KeySet([ECKey.generate_key("P-256")]).as_dict(private=False)))
    made = ready.ok(
        "client", "create", "Job", "--grant-type", "client_credentials", "--auth-method",
        "private_key_jwt", "--jwks-file", str(file), "--scope", "profile",
    )  # fmt: skip
    assert "client_secret" not in made
    assert made["token_endpoint_auth_method"] == "private_key_jwt"


# --- sessions, rules, keys, events ----------------------------------------------------------------


def test_sessions_are_listed_shown_and_ended(ready: Terminal, idp: Idp) -> None:
    anna = idp.person("anna")
    one, two, three = (idp.session(anna, agent="curl/8.17.0").session.id for _ in range(3))
    listed = ready.ok("sessions", "list", "anna")
    assert {session["id"] for session in listed} == {one, two, three}
    assert ready.ok("sessions", "show", one)["name"] == "curl 8"
    assert ready.ok("sessions", "end", one, one) == {"ended": [one], "had_ended": []}
    assert ready.ok("sessions", "end", one) == {"ended": [], "had_ended": [one]}
    assert "no session" in ready.refused("sessions", "end", two, "ses_nothing")
    assert len(ready.ok("sessions", "list", "anna")) == 2
    assert ready("sessions", "end-all", "anna", typed="n\n").code == 1
    assert set(ready.ok("sessions", "end-all", "anna", "--yes")["ended"]) == {two, three}
    ended = ready.ok("sessions", "list", "anna", "--ended")
    assert {(s["end_reason"], s["ended_by"], s["ended_by_id"]) for s in ended} == {
        ("admin", "admin", "cli")
    }


def test_rules_are_set_listed_and_removed(ready: Terminal, idp: Idp) -> None:
    ready.ok("rules", "set", "timeouts", "idle=1800", "absolute=28800")
    ready.ok("role", "define", "kiosk")
    ready.ok("rules", "set", "limits", "maximum=1", "--role", "kiosk")
    assert ready.ok("rules", "set", "limits", "maximum=2", "--role", "kiosk")["version"] == 2
    listed = [(one["kind"], one["applies_to"], one["value"]) for one in ready.ok("rules", "list")]
    assert listed == [
        ("limits", {"role": "kiosk"}, {"maximum": 2}),
        ("timeouts", {}, {"idle": 1_800, "absolute": 28_800}),
    ]
    assert "30 days" in ready.refused("rules", "set", "timeouts", "idle=1")
    ready.ok("rules", "set", "limits", "maximum=3", "--device-type", "tv", "--country", "FR")
    assert "country=FR device_type=tv" in ready("rules", "list").out
    ready.ok("rules", "remove", "limits", "--country", "FR", "--device-type", "tv")
    assert "no client" in ready.refused("rules", "set", "limits", "maximum=2", "--client", "cli_x")
    assert "whole number" in ready.refused("rules", "set", "limits", "maximum=many")
    assert "no role" in ready.refused("rules", "set", "limits", "maximum=2", "--role", "nobody")
    ready.ok("rules", "remove", "limits", "--role", "kiosk")
    assert len(ready.ok("rules", "list")) == 1


def test_hours_networks_and_profiles_are_written_as_people_write_them(ready: Terminal) -> None:
    ready.ok("role", "define", "nurse")
    hours = ("days=mon-fri", "from=08:00", "to=18:00", "timezone=Europe/Paris", "grace=600")
    made = ready.ok(
        "rules", "set", "hours", *hours, "holidays=2026-12-25,2027-01-01", "--role", "nurse"
    )
    assert made["value"] == {
        "days": "mon-fri", "from": "08:00", "to": "18:00", "timezone": "Europe/Paris",
        "grace": 600, "holidays": ["2026-12-25", "2027-01-01"],
    }  # fmt: skip
    made = ready.ok("rules", "set", "networks", "allow=10.0.0.0/8,AS64496", "outside=end")
    assert made["value"] == {"allow": ["10.0.0.0/8", "AS64496"], "outside": "end"}
    ready.ok("rules", "set", "timeouts", "profile=aal3", "temporary=28800")
    made = ready.ok("rules", "set", "handoff", "other_network=refuse", "lasting=3600", "acr=aal1")
    assert made["value"] == {"other_network": "refuse", "lasting": 3600, "acr": "aal1"}
    shown = ready("rules", "list").out
    assert "holidays=2026-12-25,2027-01-01" in shown
    assert "allow=10.0.0.0/8,AS64496 outside=end" in shown
    refuse = partial(ready.refused, "rules", "set")
    assert "Europe/Paris" in refuse("hours", "from=08:00", "to=18:00", "timezone=Europe/Atlantis")
    assert "no network" in refuse("networks", "allow=10.0.0.1/8")
    assert "pick, type, refuse" in refuse("handoff", "other_network=never")
    assert "at most 900" in refuse("timeouts", "profile=aal3", "idle=3600")


def test_limits_of_several_kinds_are_rules_of_their_own(ready: Terminal) -> None:
    ready.ok("rules", "set", "limits", "maximum=5", "at_limit=ask")
    ready.ok("rules", "set", "limits", "maximum=3", "per=ip")
    assert ready.ok("rules", "set", "limits", "single")["version"] == 2
    assert [one["value"] for one in ready.ok("rules", "list")] == [
        {"maximum": 1, "at_limit": "end_oldest"},
        {"maximum": 3, "per": "ip"},
    ]
    assert "end_oldest, ask, block" in ready.refused(
        "rules", "set", "limits", "maximum=2", "at_limit=x"
    )
    assert "ip, device_type, country" in ready.refused(
        "rules", "set", "limits", "maximum=2", "per=x"
    )
    ready.ok("rules", "remove", "limits", "--per", "ip")
    assert "no such rule" in ready.refused("rules", "remove", "limits", "--per", "ip")
    assert len(ready.ok("rules", "list")) == 1


def test_what_holds_for_somebody_is_shown_with_the_rules_behind_it(
    ready: Terminal, idp: Idp
) -> None:
    """Row L7."""
    ready.ok("role", "define", "nurse")
    idp.person("anna", roles=["nurse"])
    app = idp.register()
    assert [
        (one["kind"], one["when"], one["value"], one["rules"])
        for one in ready.ok("rules", "show", "anna")
    ] == [(kind, {}, effective.default(kind), []) for kind in KINDS]
    ready.ok("rules", "set", "timeouts", "idle=1800")
    ready.ok("rules", "set", "timeouts", "absolute=43200", "--role", "nurse")
    ready.ok("rules", "set", "timeouts", "idle=60", "--device-type", "tv")
    ready.ok("rules", "set", "limits", "maximum=3", "at_limit=ask")
    ready.ok("rules", "set", "limits", "maximum=9", "--role", "nurse")
    ready.ok("rules", "set", "limits", "maximum=2", "per=ip", "--country", "FR")
    ready.ok("rules", "set", "assurance", "acr=aal1")
    ready.ok("rules", "set", "assurance", "acr=aal2", "--role", "nurse", "--client", app.id)
    assert [
        (one["kind"], one["when"], one["value"], [rule["applies_to"] for rule in one["rules"]])
        for one in ready.ok("rules", "show", "anna")
        if one["kind"] in ("timeouts", "limits", "assurance")
    ] == [
        (
            "timeouts", {}, {"idle": 3_600, "absolute": 43_200, "shared": 3_600},
            [{"role": "nurse"}],
        ),
        ("timeouts", {"device_type": "tv"}, {"idle": 60}, [{"device_type": "tv"}]),
        ("limits", {}, {"maximum": 9, "at_limit": "end_oldest"}, [{"role": "nurse"}]),
        (
            "limits", {"country": "FR"}, {"maximum": 2, "per": "ip", "at_limit": "end_oldest"},
            [{"country": "FR"}],
        ),
        ("assurance", {}, {"acr": "aal1"}, [{}]),
        ("assurance", {"client": app.id}, {"acr": "aal2"}, [{"client": app.id, "role": "nurse"}]),
    ]  # fmt: skip
    shown = ready("rules", "show", "anna").out
    line = r"limits +always +maximum=9 at_limit=end_oldest +role=nurse \(version 1\)"
    assert re.search(line, shown)
    assert re.search(r"hours +always +always open +default", shown)
    assert "no user" in ready.refused("rules", "show", "nobody")


def test_a_rule_is_simulated_before_it_is_set(ready: Terminal, idp: Idp) -> None:
    session = idp.session(idp.person("anna")).session.id
    said = ready.ok("rules", "simulate", "timeouts", "absolute=3600")
    assert said["sessions"] == {"ends_sooner": 1}
    assert (said["examined"], said["is_complete"], said["people"]) == (1, True, 1)
    assert said["sample"][0]["session_id"] == session
    shown = ready("rules", "simulate", "timeouts", "absolute=3600").out
    assert "ends_sooner=1" in shown
    assert session in shown
    assert "none" in ready("rules", "simulate", "timeouts").out
    assert "60 seconds" in ready.refused("rules", "simulate", "timeouts", "idle=1")
    assert ready.ok("rules", "list") == []


def test_levels_are_ruled_for_everybody_for_a_role_and_for_a_scope(
    ready: Terminal, idp: Idp
) -> None:
    ready.ok("role", "define", "admin")
    ready.ok("rules", "set", "assurance", "acr=aal3", "--role", "admin")
    ready.ok("rules", "set", "assurance", "acr=aal1", "scope:payments=aal2", "scope:a=b=aal3")
    listed = [(one["applies_to"], one["value"]) for one in ready.ok("rules", "list")]
    assert listed == [
        ({}, {"acr": "aal1", "scopes": {"payments": "aal2", "a=b": "aal3"}}),
        ({"role": "admin"}, {"acr": "aal3"}),
    ]
    assert "acr=aal1 scope:payments=aal2" in ready("rules", "list").out
    with idp.work.read() as unit:
        from idp.policy import assurance
        from idp.policy.selection import Subject
        from idp.users import rules

        book = rules.book(unit)
    assert assurance.least(book, Subject(), scopes=["payments"]) == "aal2"
    assert assurance.least(book, Subject(roles=("admin",)), scopes=[]) == "aal3"
    # What is set takes the place of what was.
    ready.ok("rules", "set", "assurance", "scope:payments=aal2")
    assert "acr" not in ready.ok("rules", "list")[0]["value"]
    assert "aal1, aal2, aal3" in ready.refused("rules", "set", "assurance", "acr=gold")
    ready.ok("rules", "remove", "assurance", "--role", "admin")
    ready.ok("rules", "remove", "assurance")


def test_rotating_keys_activates_the_next_ones(ready: Terminal, idp: Idp) -> None:
    def kids(state: str) -> set[str]:
        return {key["kid"] for key in ready.ok("keys", "list") if key["state"] == state}

    active, upcoming = kids("active"), kids("next")
    assert set(ready.ok("keys", "rotate")["active"]) == upcoming
    assert (kids("active"), kids("retired")) == (upcoming, active)
    assert "private" not in json.dumps(ready.ok("keys", "list"))


def test_after_reencrypting_the_older_secret_key_can_be_dropped(
    ready: Terminal, idp: Idp, environment: pytest.MonkeyPatch
) -> None:
    idp.session(idp.person("anna", claims={"name": "Anna Meier"}), agent="curl/8.17.0")
    environment.setenv("IDP_SECRET_KEY", STRONG_SECRET)
    environment.setenv("IDP_PREVIOUS_SECRET_KEYS", json.dumps([SECRET]))
    assert ready.ok("keys", "reencrypt") == {
        "keys": 4,
        "users": 1,
        "sessions": 1,
        "codes": 0,
    }
    assert ready.ok("keys", "reencrypt") == {
        "keys": 0,
        "users": 0,
        "sessions": 0,
        "codes": 0,
    }
    environment.delenv("IDP_PREVIOUS_SECRET_KEYS")
    assert ready.ok("user", "show", "anna")["name"] == "Anna Meier"
    assert ready.ok("sessions", "list", "anna")[0]["name"] == "curl 8"
    assert findings(ready("doctor", "--json"))["signing keys"] == "ok"


def test_the_audit_log_is_listed_and_its_chain_verified(ready: Terminal, idp: Idp) -> None:
    from idp.events import log

    anna = idp.person("anna")
    session = idp.session(anna).session.id
    assert [row["type"] for row in ready.ok("events", "list")] == [
        "session.created",
        "user.created",
    ]
    assert len(ready.ok("events", "list", "--session", session)) == 1
    assert len(ready.ok("events", "list", "--user", "anna", "--type", "user.created")) == 1
    wrong = ready("events", "list", "--type", "nonsense")
    assert (wrong.code, wrong.out) == (1, "")
    assert "session.ended" in wrong.err, "it says what one looks like"
    assert ready.ok("events", "list", "--limit", "1")[0]["position"] is None
    log.seal(idp.work)
    newest = ready.ok("events", "list", "--limit", "1")[0]["position"]
    assert [row["type"] for row in ready.ok("events", "list", "--before", str(newest))] == [
        "user.created"
    ]
    assert "no event at position 9" in ready.refused("events", "list", "--before", "9")
    assert ready.ok("events", "verify") == {"ok": True, "rows": 2}
    idp.execute("UPDATE events SET actor = 'admin' WHERE type = 'user.created'")
    assert "altered" in ready.refused("events", "verify")
    assert ready("doctor").code == 1


# --- doctor, and what people see ------------------------------------------------------------------


def findings(ran: Ran) -> dict[str, str]:
    return {one["check"]: one["state"] for one in ran.json["findings"]}


def test_the_doctor_finds_a_good_deployment_good(
    ready: Terminal, idp: Idp, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("IDP_URL", "https://login.example.com")
    environment.setenv("IDP_SECRET_KEY", STRONG_SECRET)
    environment.setenv("IDP_PREVIOUS_SECRET_KEYS", json.dumps([SECRET]))
    assert findings(ready("doctor", "--json"))["secret key"] == "warning"
    ready.ok("keys", "reencrypt")
    environment.delenv("IDP_PREVIOUS_SECRET_KEYS")
    ran = ready("doctor", "--json")
    assert ran.code == 0
    assert findings(ran) == dict.fromkeys(
        (
            "settings", "secret key", "issuer", "places", "rules", "rules and places", "database",
            "schema", "signing keys", "clock", "audit log",
        ),
        "ok",
    ) | {"mail": "warning"}  # fmt: skip
    assert "failed" not in ready("doctor").out


def test_the_doctor_names_the_rules_that_keep_people_out_for_no_reason(
    ready: Terminal, idp: Idp
) -> None:
    ready.ok("rules", "set", "hours", "from=08:00", "to=18:00", "timezone=Europe/London")
    idp.execute("UPDATE rules SET value = replace(value, 'London', 'Atlantis')")
    (found,) = [
        one for one in ready("doctor", "--json").json["findings"] if one["check"] == "rules"
    ]
    assert found["state"] == "warning"
    assert found["said"].endswith(
        "hours: 'timezone' is not known; it is written like Europe/Paris.; idp rules set"
    )


def test_the_doctor_names_what_is_wrong(
    ready: Terminal, idp: Idp, clock: ManualClock, environment: pytest.MonkeyPatch
) -> None:
    # The newest event lies in what the machine's clock calls the future.
    clock.instant = 2**62
    idp.person("anna")
    idp.execute("DELETE FROM signing_keys WHERE state = 'next'")
    environment.setenv("IDP_SECRET_KEY", "change me change me change me change me")
    environment.setenv("IDP_PREVIOUS_SECRET_KEYS", json.dumps([SECRET]))
    ran = ready("doctor", "--json")
    assert ran.code == 1
    states = findings(ran)
    assert states["issuer"] == "warning"
    assert {check for check, state in states.items() if state == "failed"} == {
        "secret key",
        "signing keys",
        "clock",
    }


def test_the_doctor_sees_that_the_secret_key_was_changed(
    ready: Terminal, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("IDP_SECRET_KEY", STRONG_SECRET)
    ran = ready("doctor", "--json")
    assert ran.code == 1
    assert findings(ran)["signing keys"] == "failed"


def test_the_doctor_says_what_is_lost_when_a_replica_takes_over(
    ready: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FT-07; `tests/crash/test_switchover.py` asks a PostgreSQL with a replica."""
    monkeypatch.setattr(Database, "failover_risk", lambda _: "revocations may be lost")
    ran = ready("doctor", "--json")
    assert findings(ran)["replicas"] == "warning"
    assert "revocations may be lost" in ran.out


def test_the_doctor_says_when_a_database_cannot_be_reached_or_is_empty(
    idp_cli: Terminal, environment: pytest.MonkeyPatch
) -> None:
    assert findings(idp_cli("doctor", "--json"))["schema"] == "failed"
    environment.setenv("IDP_DATABASE_URL", "sqlite:////nowhere/at/all.db")
    assert findings(idp_cli("doctor", "--json"))["settings"] == "failed"
    environment.setenv("IDP_DATABASE_URL", "sqlite:////tmp")  # a folder is no database
    ran = idp_cli("doctor", "--json")
    assert ran.code == 1
    assert findings(ran)["database"] == "failed"
    environment.setenv("IDP_SECRET_KEY", "short")
    assert findings(idp_cli("doctor", "--json")) == {"settings": "failed"}


def test_people_see_tables_and_no_control_characters(ready: Terminal, idp: Idp) -> None:
    user = idp.person("anna")
    started = idp.session(user)
    idp.execute("UPDATE users SET username = :name", name="an\x1b[31mna")
    shown = ready("user", "list").out
    assert shown.splitlines()[0].split() == ["USER", "NAME", "E-MAIL", "STATUS", "ROLES", "ID"]
    assert "\x1b" not in shown
    assert started.session.id in ready("sessions", "list", user.id).out
    assert PASSWORD not in shown


def test_the_doctor_warns_of_old_keys(ready: Terminal, idp: Idp, clock: ManualClock) -> None:
    del clock
    idp.execute("UPDATE signing_keys SET activated_at = activated_at - :age", age=2_000 * DAY)
    assert findings(ready("doctor", "--json"))["signing keys"] == "warning"


def test_a_client_is_given_rights_over_the_management_api_and_loses_them(ready: Terminal) -> None:
    made = ready.ok(
        "client", "create", "Operations", "--grant-type", "client_credentials", "--scope", "reports",
        "--management-scope", "users:read", "--management-scope", "sessions:revoke",
    )  # fmt: skip
    assert (made["scope"], made["management"]) == ("reports users:read sessions:revoke", True)
    client = made["client_id"]
    changed = ready.ok("client", "change", client, "--management-scope", "users:read")
    assert (changed["scope"], changed["management"]) == ("reports users:read", True)
    changed = ready.ok("client", "change", client, "--scope", "openid")
    assert (changed["scope"], changed["management"]) == ("openid users:read", True)
    changed = ready.ok("client", "change", client, "--management-scope", "")
    assert (changed["scope"], changed["management"]) == ("openid", False)
    assert "management" in ready.refused("client", "change", client, "--scope", "users:read")
    assert ready("client", "change", client, "--management-scope", "payments").code == 2


def test_sessions_of_anybody_are_searched_and_ended(ready: Terminal, idp: Idp) -> None:
    anna, bob = idp.person("anna"), idp.person("bob")
    near, far = idp.session(anna, ip="10.1.2.3"), idp.session(bob, ip="192.0.2.9")
    # Begun before now: the commands go by the clock of this machine, which is behind the test's.
    idp.execute("UPDATE sessions SET created_at = 1")
    found = ready.ok("sessions", "search", "ip:10.0.0.0/8", "user:anna")
    assert [one["id"] for one in found] == [near.session.id]
    assert len(ready.ok("sessions", "search")) == 2
    assert "country" in ready.refused("sessions", "search", "country:fr")
    counted = ready.ok("sessions", "revoke", "user:bob", "--reason", "left", "--dry-run")
    assert counted == {"filter": f"user:{bob.id}", "matched": 1}
    assert ready("sessions", "revoke", "--reason", "x", "--yes").code == 2
    assert "empty filter" in ready.refused(
        "sessions", "revoke", "state:active", "--reason", "x", "--yes"
    )
    done = ready.ok("sessions", "revoke", "user:bob", "--reason", "left", "--yes")
    assert done["ended"] == 1
    (event,) = idp.events("session.ended")
    assert event["session_id"] == far.session.id
    assert '"because":"left"' in event["data"]
    assert ready.ok("sessions", "revoke", "--all", "--reason", "drill", "--yes")["ended"] == 1


def test_leave_to_register_is_shown_once_and_taken_back(ready: Terminal) -> None:
    host = ("--redirect-host", "notes.example")
    made = ready("registration", "allow", "Notes team", *host, "--uses", "2", "--json").json
    assert made["initial_access_token"].startswith("idp_ini_")
    listed = ready("registration", "list", "--json")
    assert made["initial_access_token"] not in listed.out
    assert [one["uses_left"] for one in listed.json] == [2]
    assert "notes.example" in ready("registration", "list").out
    assert ready("registration", "revoke", made["id"], "--json").json["is_good"] is False
    assert ready("registration", "revoke", "ini_none").code == 1
    assert ready("registration", "allow", "Everybody").code == 1


# --- where events go ------------------------------------------------------------------------------


def test_events_are_exported_as_lines_and_gone_on_with(ready: Terminal, idp: Idp) -> None:
    for name in ("anna", "bob", "carl"):
        idp.person(name)
    ran = ready("events", "export", "type:user.created")
    assert ran.code == 0, ran.err
    found = [json.loads(line) for line in ran.out.splitlines()]
    assert [one["type"] for one in found] == ["user.created"] * 3
    rest = ready("events", "export", "type:user.*", "--after", str(found[1]["position"])).out
    assert [json.loads(line)["id"] for line in rest.splitlines()] == [found[2]["id"]]
    assert ready("events", "export", "colour:red").code == 1
    assert ready("events", "export", "user:nobody").code == 1


def test_webhooks_are_made_changed_and_removed(ready: Terminal, idp: Idp) -> None:
    url = "https://siem.example.com/in"
    made = ready("webhook", "create", url, "--type", "session.*", "--json").json
    assert made["secret"].startswith("whsec_")
    listed = ready("webhook", "list", "--json")
    assert made["secret"] not in listed.out
    assert [one["types"] for one in listed.json] == [["session.*"]]
    hook = made["id"]
    changed = ready("webhook", "change", hook, "--type", "login.failed", "--json").json
    assert (changed["url"], changed["types"]) == (url, ["login.failed"])
    assert ready("webhook", "secret", hook, "--json").json["previous_secret_until"] is not None
    assert ready("webhook", "test", hook).code == 0
    assert [one["state"] for one in ready("webhook", "sent", hook, "--json").json] == ["owed"]
    assert ready("webhook", "disable", hook, "--json").json["disabled_reason"] == "admin"
    assert ready("webhook", "test", hook).code == 1
    assert ready("webhook", "enable", hook, "--json").json["disabled_at"] is None
    assert ready("webhook", "replay", hook, "--after", "0").code == 0
    assert ready("webhook", "remove", hook, "--yes").code == 0
    assert ready("webhook", "sent", hook).code == 1
    assert ready("webhook", "create", "https://10.0.0.1/").code == 1
    kinds = ("webhook.created", "webhook.changed", "webhook.removed", "webhook.tested")
    assert all(row["actor_id"] == "cli" for row in idp.events(*kinds))
    assert len(idp.events(*kinds)) == 6


def test_a_role_that_is_used_stays_and_another_goes(ready: Terminal, idp: Idp) -> None:
    assert ready("role", "define", "editor", "docs:write").code == 0
    idp.person("anna", roles=["editor"])
    refused = ready("role", "remove", "editor", "--yes")
    assert refused.code == 1
    assert "1 person has it" in refused.err
    assert ready("user", "roles", "anna", "--none").code == 0
    assert ready("role", "remove", "editor", "--yes").code == 0
    assert ready("role", "remove", "editor", "--yes").code == 1
