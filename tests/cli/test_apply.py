"""`idp apply` and `idp export`: roles, apps and rules as one file."""

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from idp import ids
from idp.admin import declaration
from idp.admin.apply import carry_out
from idp.admin.declaration import DeclaredClient
from idp.oauth import clients, initial_access, registration
from idp.oauth.model import Client
from idp.policy import management
from idp.users import queries, rules
from idp.users.model import Role, User
from tests.cli.test_cli import Terminal, environment, idp_cli, ready
from tests.harness.provider import ADMIN, Idp, Registered

__all__ = ["environment", "idp_cli", "ready"]

SECRET = "Zq3v-8Kx_Lr5Wb9Yc1Nd4Ks7Pf3Gh6Ae0UoTm2RsVjXi"
NOTES: dict[str, Any] = {
    "id": "notes",
    "name": "Notes",
    "redirect_uris": ["https://notes.example/callback"],
    "client_secret": {"env": "NOTES_SECRET"},
}
DOCUMENT: dict[str, Any] = {
    "version": 1,
    "roles": {"nurse": ["records:read"]},
    "clients": [NOTES],
    "rules": [
        {"kind": "timeouts", "applies_to": {"role": "nurse"}, "value": {"idle": 600}},
        {"kind": "assurance", "applies_to": {"client": "notes"}, "value": {"acr": "aal2"}},
    ],
}


@pytest.fixture
def notes_secret(environment: pytest.MonkeyPatch) -> str:
    """The secret that the document refers to."""
    environment.setenv("NOTES_SECRET", SECRET)
    return SECRET


def written(tmp_path: Path, document: Any, name: str = "idp.json") -> str:
    path = tmp_path / name
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return str(path)


def verbs(done: dict[str, Any]) -> list[str]:
    return [f"{one['verb']} {one['kind']} {one['name']}" for one in done["changes"]]


def test_a_file_is_shown_asked_about_and_carried_out(
    ready: Terminal,
    idp: Idp,
    tmp_path: Path,
    notes_secret: str,
) -> None:
    file = written(tmp_path, DOCUMENT)
    refused = ready("apply", "-f", file, typed="n\n")
    assert refused.code == 1
    assert "+ role nurse" in refused.out
    assert "+ client notes" in refused.out
    assert "Make these changes? [y/N]" in refused.err
    assert idp.count("clients") == 0
    done = ready("apply", "-f", file, "--reason", "first set-up", typed="y\n")
    assert done.code == 0, done
    assert done.out.endswith("Done.\n")
    assert SECRET not in done.out
    client = Registered("notes", SECRET, NOTES["redirect_uris"][0])
    started = idp.session(idp.person(roles=["nurse"]))
    assert idp.post("/introspect", client, token="x")[0] == 200
    assert started.session.user_id
    events = [one for one in idp.events() if one["actor_id"] == "cli"]
    assert {one["actor"] for one in events} == {"admin"}
    assert all('"because":"first set-up"' in one["data"] for one in events)
    # What is so already is not touched.
    again = ready.ok("apply", "-f", file, "--yes")
    assert again == {"applied": False, "changes": [], "client_secrets": {}}
    assert [one for one in idp.events() if one["actor_id"] == "cli"] == events


def test_what_was_exported_changes_nothing_here_and_makes_the_same_elsewhere(
    either_idp: Idp,
) -> None:
    idp = either_idp
    with idp.work.begin() as unit:
        queries.define_role(unit, "nurse", ["records:read", "records:write"])
        clients.create(
            unit, name="Everything", client_id="all", redirect_uris=["https://a.example/"],
            token_endpoint_auth_method="private_key_jwt", jwks_uri="https://a.example/keys",
            minimum_acr="aal2", first_party=1, require_pkce=0, access_token_lifetime=60,
            backchannel_logout_uri="https://a.example/told", audience=["https://api.example"],
            access_token_format="jwt", allowed_origins=["https://a.example"], actor=ADMIN,
        )  # fmt: skip
        gone, _ = clients.create(
            unit, name="Old", redirect_uris=["https://b.example/"], actor=ADMIN
        )
        clients.set_enabled(unit, gone, is_enabled=False, actor=ADMIN)
        rules.set_rule(unit, "limits", {}, {"maximum": 3, "per": "ip"}, ADMIN)
        rules.set_rule(unit, "limits", {}, {"maximum": 9}, ADMIN)
        rules.set_rule(unit, "timeouts", {"role": "nurse"}, {"idle": 600}, ADMIN)
    with idp.work.read() as unit:
        exported = json.loads(json.dumps(declaration.written(unit)))
    before = len(idp.events())
    assert applied(idp, exported) == []
    assert len(idp.events()) == before
    with idp.work.begin() as unit:
        for client in clients.all_of(unit):
            clients.delete(unit, client, actor=ADMIN)
        for rule in rules.all_rules(unit):
            rules.remove_rule(unit, rule.kind, rule.applies_to, ADMIN, per=rule.value.get("per"))
        unit.orm.delete(unit.orm.get_one(Role, "nurse"))
    assert sorted(applied(idp, exported)) == [
        "add client", "add client", "add role", "add rule", "add rule", "add rule",
    ]  # fmt: skip
    with idp.work.read() as unit:
        assert declaration.written(unit) == exported
    assert "secret" not in json.dumps(exported).replace("client_secret_basic", "")


def test_what_is_left_out_is_what_it_is_of_an_app_that_is_made_by_hand() -> None:
    usual = inspect.signature(clients.create).parameters
    for name, field in DeclaredClient.model_fields.items():
        if name not in ("id", "name", "enabled", "client_secret"):
            default = usual[name].default
            expected = list(default) if isinstance(default, tuple) else default
            assert field.default == expected, name


def applied(idp: Idp, document: Any, **values: Any) -> list[str]:
    usual: dict[str, Any] = {"secrets": {}, "removing": "nothing", "actor": ADMIN}
    with idp.work.begin() as unit:
        done = carry_out(unit, declaration.read(document), **(usual | values))
    return [f"{one.verb} {one.kind}" for one in done.changes]


@pytest.mark.parametrize(
    "bad",
    [
        {"rules": [{"kind": "timeouts", "value": {"idle": 1}}]},
        {"rules": [{"kind": "timeouts", "applies_to": {"role": "none"}, "value": {"idle": 600}}]},
        {"rules": [{"kind": "assurance", "applies_to": {"client": "none"}, "value": {"acr": "aal2"}}]},
        {"rules": [{"kind": "limits", "value": {"maximum": 3}}] * 2},
        {"clients": [NOTES, NOTES | {"name": "Twice"}]},
        {"clients": [NOTES | {"redirect_uris": ["https://*.example"]}]},
        {"clients": [NOTES | {"redirect_uris": ["javascript:alert(1)"]}]},
        {"clients": [NOTES | {"scope": "users:read"}]},
        {"clients": [NOTES | {"secret_hash": "0" * 64}]},
        {"clients": [NOTES | {"client_secret": "written here"}]},
        {"clients": [NOTES | {"client_secret": {"env": "NOTES_SECRET", "file": "x"}}]},
        {"clients": [NOTES | {"client_secret": {"env": "NOT_SET"}}]},
        {"clients": [NOTES | {"client_secret": {"file": "/nowhere"}}]},
        {"clients": [NOTES | {"id": "usr_somebody"}]},
        {"clients": [{"id": "nameless"}]},
        {"roles": {"nurse": ["openid"]}},
        {"roles": {"a role": []}},
        {"version": 2},
        {"users": []},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.attack("RU-10")
@pytest.mark.attack("AD-05")
def test_one_bad_part_and_nothing_is_done(
    ready: Terminal,
    idp: Idp,
    tmp_path: Path,
    notes_secret: str,
    bad: dict[str, Any],
) -> None:
    before = len(idp.events())
    good = {"roles": {"nurse": ["records:read"], "porter": []}, "clients": [NOTES]}
    file = written(tmp_path, good | bad)
    assert ready.refused("apply", "-f", file, "--yes")
    assert (idp.count("clients"), len(idp.events())) == (0, before)


def test_a_weak_secret_is_refused(
    ready: Terminal,
    tmp_path: Path,
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("NOTES_SECRET", "hunter2")
    assert "at least 43" in ready.refused("apply", "-f", written(tmp_path, DOCUMENT), "--yes")


def test_a_secret_that_changes_overlaps_and_one_that_is_not_named_is_shown_once(
    ready: Terminal,
    idp: Idp,
    tmp_path: Path,
) -> None:
    own = tmp_path / "secret"
    own.write_text(SECRET + "\n")
    notes = NOTES | {"client_secret": {"file": str(own)}}
    other = {"id": "other", "name": "Other", "redirect_uris": ["https://other.example/"]}
    file = written(tmp_path, {"clients": [notes, other]})
    made = ready.ok("apply", "-f", file, "--yes")["client_secrets"]
    assert made.keys() == {"other"}
    newer = SECRET[::-1]
    own.write_text(newer)
    assert verbs(ready.ok("apply", "-f", file, "--yes")) == ["change client notes"]
    secrets = {("notes", SECRET), ("notes", newer), ("other", made["other"])}
    for client_id, secret in secrets:
        assert idp.post("/introspect", Registered(client_id, secret, ""), token="x")[0] == 200
    with idp.work.read() as unit:
        assert unit.orm.get_one(Client, "notes").secret_hash == ids.digest(newer)


def test_what_is_left_out_of_an_app_is_as_usual_and_a_part_left_out_is_left_alone(
    ready: Terminal,
    idp: Idp,
    tmp_path: Path,
    notes_secret: str,
) -> None:
    ready.ok("apply", "-f", written(tmp_path, DOCUMENT), "--yes")
    tuned = NOTES | {"minimum_acr": "aal3", "enabled": False}
    ready.ok("apply", "-f", written(tmp_path, {"clients": [tuned]}), "--yes")
    with idp.work.read() as unit:
        client = unit.orm.get_one(Client, "notes")
        assert (client.minimum_acr, client.disabled_at is None) == ("aal3", False)
        assert len(rules.all_rules(unit)) == 2
    back = ready.ok("apply", "-f", written(tmp_path, {"clients": [NOTES]}), "--yes")
    assert back["changes"][0]["members"] == {
        "enabled": {"before": False, "after": True},
        "minimum_acr": {"before": "aal3", "after": None},
    }
    fixed = NOTES | {"application_type": "native"}
    file = written(tmp_path, {"clients": [fixed]})
    assert "client notes: application_type cannot" in ready.refused("apply", "-f", file, "--yes")


def test_pruning_takes_away_what_is_not_listed_and_spares_strangers(
    ready: Terminal,
    idp: Idp,
    tmp_path: Path,
    notes_secret: str,
) -> None:
    ready.ok("apply", "-f", written(tmp_path, DOCUMENT), "--yes")
    with idp.work.begin() as unit:
        _, leave = initial_access.allow(
            unit, name="x", scope="openid", grant_types=["authorization_code"],
            redirect_hosts=["s.example"], uses=1, seconds=60, actor=ADMIN,
        )  # fmt: skip
        said = {"redirect_uris": ["https://s.example/"]}
        stranger = registration.register(unit, said, initial_token=leave).client.id
        assert stranger not in json.dumps(declaration.written(unit))
    fewer = {"clients": [], "rules": [DOCUMENT["rules"][0]]}
    file = written(tmp_path, fewer)
    assert verbs(ready.ok("apply", "-f", file, "--dry-run")) == []
    seen = ready("apply", "-f", file, "--prune", "--dry-run")
    assert "- client notes, and every grant of it" in seen.out
    assert idp.count("clients") == 2
    assert verbs(ready.ok("apply", "-f", file, "--prune", "--yes")) == [
        "remove rule assurance for client=notes", "remove client notes",
    ]  # fmt: skip
    with idp.work.read() as unit:
        assert [one.id for one in clients.all_of(unit)] == [stranger]
        assert unit.orm.get(Role, "nurse") is not None
    mine = written(tmp_path, {"clients": [{"id": stranger, "name": "Mine"}]})
    assert "registered itself" in ready.refused("apply", "-f", mine, "--yes")


def test_pruning_takes_away_roles_that_nobody_holds(
    ready: Terminal, idp: Idp, tmp_path: Path, notes_secret: str
) -> None:
    """A rule that goes with it is no use of it; the roles of every deployment stay."""
    ready.ok(
        "apply", "-f", written(tmp_path, DOCUMENT | {"roles": {"nurse": [], "cook": []}}), "--yes"
    )
    bound = written(tmp_path, {"roles": {}, "rules": [DOCUMENT["rules"][0]]}, "bound.json")
    for how in ("--dry-run", "--yes"):
        refused = ready.refused("apply", "-f", bound, "--prune", how)
        assert "role nurse: The role is used: 1 rule is for it" in refused
    empty = written(tmp_path, {"roles": {}, "rules": []}, "empty.json")
    anna = idp.person("anna", roles=["nurse"])
    refused = ready.refused("apply", "-f", empty, "--prune", "--yes")
    assert "role nurse: The role is used: 1 person has it" in refused
    with idp.work.begin() as unit:
        assert {one.name for one in queries.roles(unit)} == {*management.ROLES, "nurse", "cook"}
        assert len(rules.all_rules(unit)) == 2
        queries.set_roles(unit, unit.orm.get_one(User, anna.id), [], ADMIN)
    seen = ready("apply", "-f", empty, "--prune", "--dry-run").out
    assert "- role cook" in seen
    assert idp.count("roles") == len(management.ROLES) + 2
    assert verbs(ready.ok("apply", "-f", empty, "--prune", "--yes"))[-2:] == [
        "remove role cook", "remove role nurse",
    ]  # fmt: skip
    assert ready.ok("apply", "-f", empty, "--prune", "--yes")["changes"] == []


def test_toml_and_standard_input_are_taken_as_well(
    ready: Terminal,
    tmp_path: Path,
) -> None:
    toml = '[roles]\nnurse = ["records:read"]\n[[rules]]\nkind = "limits"\nvalue = {maximum = 3}\n'
    done = ready.ok("apply", "-f", written(tmp_path, toml, "idp.toml.toml"), "--yes")
    assert verbs(done) == ["add role nurse", "add rule limits for everybody"]
    exported = ready("export").out
    assert ready.ok("apply", "-f", "-", "--yes", typed=exported)["changes"] == []
    assert ready("apply", "-f", "-", typed=exported).code == 2
    assert "not valid TOML" in ready.refused(
        "apply", "-f", written(tmp_path, "= 1", "bad.toml"), "--yes"
    )
    assert ready.refused("apply", "-f", written(tmp_path, "roles: {}"), "--yes")
    assert ready.refused("apply", "-f", str(tmp_path / "none.json"), "--yes")
