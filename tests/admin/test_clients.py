"""Apps, rules, events and keys over the management API."""

from collections.abc import Callable
from typing import Any

import pytest

from idp.oauth import initial_access, registration
from idp.policy import management
from tests.admin.conftest import Caller, good, problem, program, signed_in
from tests.harness.provider import ADMIN, CALLBACK, Idp, Registered

NEW = {"name": "Notes", "redirect_uris": [CALLBACK]}


def changed(caller: Caller, client_id: str, **change: Any) -> Any:
    tag = caller("GET", f"/clients/{client_id}").headers.get("etag", '"x"')
    return caller("PATCH", f"/clients/{client_id}", json=change, headers={"if-match": tag})


def test_an_app_is_registered_and_works(either_idp: Idp) -> None:
    idp = either_idp
    caller = program(idp, "clients:read", "clients:write")
    made = caller.post("/clients", **NEW, first_party=True, access_token_lifetime=600)
    app = Registered(made["id"], made["client_secret"], CALLBACK)
    assert idp.grant(app, idp.session(idp.person()))["expires_in"] == 600
    shown = caller.get(f"/clients/{made['id']}")
    assert shown == {name: one for name, one in made.items() if name != "client_secret"}
    assert (shown["require_pkce"], shown["first_party"], shown["management"]) == (True, True, False)
    assert caller.get("/clients", q="otes")["items"] == [shown]
    names = [one["name"] for one in caller.get("/clients")["items"]]
    first = caller.get("/clients", page_size=1)
    rest = caller.get("/clients", page_size=9, page_token=first["next_page_token"])
    assert [one["name"] for one in first["items"] + rest["items"]] == names


def test_a_secret_is_replaced_with_overlap_or_at_once(idp: Idp, robot: Caller) -> None:
    made = robot.post("/clients", name="Job", grant_types=["client_credentials"], scope="reports")
    old = Registered(made["id"], made["client_secret"], "")
    rotated = good(robot("POST", f"/clients/{old.id}/secret", json={}))
    new = Registered(made["id"], rotated["client_secret"], "")
    for one in (old, new):
        assert idp.token(one, grant_type="client_credentials")[0] == 200
    leaked = robot.post(f"/clients/{old.id}/secret", overlap=False)
    assert idp.token(new, grant_type="client_credentials")[0] == 401
    last = Registered(made["id"], leaked["client_secret"], "")
    assert idp.token(last, grant_type="client_credentials")[0] == 200
    robot.post(f"/clients/{old.id}/disable", reason="retired")
    assert idp.token(last, grant_type="client_credentials")[0] == 401
    assert robot.post(f"/clients/{old.id}/enable", reason="not yet")["enabled"] is True


def test_two_administrators_do_not_overwrite_each_other(idp: Idp, robot: Caller) -> None:
    made = robot.post("/clients", **NEW)
    path = f"/clients/{made['id']}"
    tag = robot("GET", path).headers["etag"]
    first = robot("PATCH", path, json={"name": "One"}, headers={"if-match": tag})
    assert good(first)["name"] == "One"
    late = robot("PATCH", path, json={"name": "Two"}, headers={"if-match": tag})
    assert problem(late) == (412, "precondition_failed")
    assert problem(robot("PATCH", path, json={"name": "Two"})) == (428, "precondition_required")
    assert robot.get(path)["name"] == "One"
    assert good(changed(robot, made["id"], backchannel_logout_uri=None))["name"] == "One"


@pytest.mark.attack("CL-01")
@pytest.mark.parametrize(
    "extra",
    [
        {"id": "mine"},
        {"client_id": "mine"},
        {"secret_hash": "0" * 64},
        {"token_generation": 9},
        {"enabled": True},
        {"redirect_uris": ["https://*.example"]},
        {"redirect_uris": ["javascript:alert(1)"]},
        {"backchannel_logout_uri": "http://169.254.169.254/"},
        {"grant_types": ["password"]},
        {"scope": "users:read"},
        {"jwks": {"keys": [{"kty": "oct", "k": "AAAA"}]}},
    ],
    ids=str,
)
def test_what_an_app_may_not_say_is_refused(robot: Caller, extra: dict[str, Any]) -> None:
    refused = robot("POST", "/clients", json=NEW | extra)
    assert problem(refused)[0] == 400
    made = robot.post("/clients", **NEW)
    if not {"id", "client_id"} & set(extra):
        assert problem(changed(robot, made["id"], **extra))[0] == 400
    assert len(robot.get("/clients", q="Notes")["items"]) == 1


@pytest.mark.attack("AD-04")
def test_nobody_gets_rights_by_way_of_an_app(
    idp: Idp, robot: Caller, call_as: Callable[..., Caller]
) -> None:
    half = call_as("half", "clients:read", "clients:write")
    mighty = robot.post(
        "/clients", name="Mighty", grant_types=["client_credentials"], management=True,
        scope="users:read",
    )  # fmt: skip
    path = f"/clients/{mighty['id']}"
    for response in (
        half("POST", "/clients", json=NEW | {"management": True, "scope": "users:read"}),
        half("POST", f"{path}/secret", json={}),
        half("POST", f"{path}/disable", json={"reason": "x"}),
        half("POST", f"{path}/enable", json={"reason": "x"}),
        changed(half, mighty["id"], redirect_uris=["https://eve.example/"]),
    ):
        assert problem(response) == (403, "above_you")
    own = half.post("/clients", **NEW, management=True, scope="openid clients:read")
    assert problem(changed(half, own["id"], scope="openid users:read")) == (403, "above_you")
    assert management.is_above(["users:read"], frozenset({"clients:read"}))


@pytest.mark.attack("AD-04")
@pytest.mark.parametrize(
    "more", [{"introspects_all": True}, {"first_party": True, "scope": "openid sessions"}]
)
def test_who_may_not_see_sessions_makes_no_app_that_does(idp: Idp, more: dict[str, Any]) -> None:
    caller = program(idp, "clients:read", "clients:write")
    assert problem(caller("POST", "/clients", json=NEW | more)) == (403, "above_you")
    plain = caller.post("/clients", **NEW)
    assert problem(changed(caller, plain["id"], **more)) == (403, "above_you")
    assert caller.get(f"/clients/{plain['id']}")["scope"] == plain["scope"]
    able = program(idp, "clients:read", "clients:write", "sessions:read", "sessions:revoke")
    assert good(changed(able, plain["id"], **more))["id"] == plain["id"]
    assert problem(caller("POST", f"/clients/{plain['id']}/secret", json={}))[0] == 403


# --- rules ----------------------------------------------------------------------------------------


def test_a_rule_is_set_changed_and_taken_away(either_idp: Idp) -> None:
    caller = program(either_idp, "rules:read", "rules:write")
    made = caller("POST", "/rules", json={"kind": "limits", "value": {"maximum": 3}, "reason": "x"})
    rule = good(made)
    path, tag = f"/rules/{rule['id']}", made.headers["etag"]
    assert (rule["applies_to"], rule["version"]) == ({}, 1)
    again = caller(
        "POST", "/rules", json={"kind": "limits", "value": {"maximum": 4}, "reason": "x"}
    )
    assert problem(again) == (409, "rule_exists")
    five = {"json": {"value": {"maximum": 5}, "reason": "more"}}
    done = caller("PUT", path, **five, headers={"if-match": tag})
    assert (good(done)["version"], good(done)["value"]) == (2, {"maximum": 5})
    assert problem(caller("PUT", path, **five, headers={"if-match": tag}))[0] == 412
    assert problem(caller("PUT", path, **five))[0] == 428
    assert caller.get("/rules")["items"] == [caller.get(path)]
    removing = {"params": {"reason": "x"}}
    assert problem(caller("DELETE", path, **removing, headers={"if-match": tag}))[0] == 412
    tag = caller("GET", path).headers["etag"]
    assert good(caller("DELETE", path, **removing, headers={"if-match": tag}))["id"] == rule["id"]
    assert problem(caller("GET", path)) == (404, "rule_not_found")
    for bad in (
        {"kind": "limits", "value": {"maximum": 0}},
        {"kind": "limits", "value": {"maximum": 3, "is_admin": True}},
        {"kind": "moods", "value": {}},
        {"kind": "limits", "value": {"maximum": 3}, "applies_to": {"colour": "red"}},
        {"kind": "limits", "value": {"maximum": 3}, "applies_to": {"role": "nothing"}},
        {"kind": "timeouts", "value": {"idle": 600}, "applies_to": {"client": "nothing"}},
        {"kind": "limits", "value": {"maximum": 10**30}},
    ):
        assert problem(caller("POST", "/rules", json=bad | {"reason": "x"}))[0] == 400, bad


def test_a_rule_is_simulated_without_being_set(either_idp: Idp) -> None:
    caller = program(either_idp, "rules:read", "sessions:read")
    session = either_idp.session(either_idp.person("anna")).session
    asked = {"kind": "timeouts", "value": {"absolute": 3_600}}
    found = good(caller("POST", "/rules/simulate", json=asked))
    assert (found["examined"], found["is_complete"], found["people"]) == (1, True, 1)
    assert found["sessions"]["ends_sooner"] == 1
    assert found["sample"] == [
        {"session_id": session.id, "user_id": session.user_id, "effects": ["ends_sooner"]}
    ]
    gone = good(caller("POST", "/rules/simulate", json={"kind": "timeouts"}))
    assert gone["people"] == 0
    for bad in (
        {"kind": "timeouts", "value": {"idle": 1}},
        {"kind": "moods", "value": {}},
        {"kind": "limits", "value": {"maximum": 3}, "applies_to": {"role": "nothing"}},
    ):
        assert problem(caller("POST", "/rules/simulate", json=bad))[0] == 400, bad
    assert caller.get("/rules")["items"] == []


@pytest.mark.attack("AD-04")
def test_a_simulation_tells_nobody_of_sessions_who_may_not_read_them(idp: Idp) -> None:
    """A rule for one network, simulated again and again, says who is where."""
    idp.session(idp.person("anna"), ip="198.51.100.7")
    asked = {
        "kind": "networks",
        "value": {"deny": ["198.51.100.7/32"], "outside": "end"},
    }
    found = good(program(idp, "rules:read")("POST", "/rules/simulate", json=asked))
    assert (found["people"], found["sample"]) == (1, [])


def test_nobody_sends_themselves_away_by_a_rule(root: Caller) -> None:

    for kind, value in (
        ("networks", {"deny": ["192.0.2.0/24"]}),
        ("networks", {"allow": ["198.51.100.0/24"], "outside": "end"}),
        ("hours", {"timezone": "Europe/London", "from": "22:00", "to": "06:00", "grace": 0}),
    ):
        refused = root("POST", "/rules", json={"kind": kind, "value": value, "reason": "x"})
        assert problem(refused) == (409, "locks_you_out"), value
    allowed = {"kind": "networks", "value": {"allow": ["192.0.2.0/24"]}, "reason": "x"}
    assert good(root("POST", "/rules", json=allowed))["version"] == 1


def test_a_rule_for_an_app_sends_nobody_away_from_here(idp: Idp) -> None:
    user = idp.person("root", roles=[management.ADMINISTRATOR])
    started = idp.session(user)
    root = signed_in(idp, started, user)
    inside = {
        "kind": "networks",
        "applies_to": {"client": idp.register().id},
        "value": {"allow": ["10.0.0.0/8"], "outside": "end"},
        "reason": "x",
    }
    assert good(root("POST", "/rules", json=inside))["version"] == 1
    # But with an app that they are at work with their session would end.
    app = idp.register()
    idp.grant(app, started)
    theirs = {**inside, "applies_to": {"client": app.id}}
    assert problem(root("POST", "/rules", json=theirs)) == (409, "locks_you_out")


def test_a_limit_per_something_is_a_rule_of_its_own(either_idp: Idp) -> None:
    caller = program(either_idp, "rules:read", "rules:write")
    total = caller.post("/rules", kind="limits", value={"maximum": 9}, reason="x")
    made = caller(
        "POST",
        "/rules",
        json={"kind": "limits", "value": {"maximum": 1, "per": "ip"}, "reason": "x"},
    )
    path, tag = f"/rules/{good(made)['id']}", {"if-match": made.headers["etag"]}
    again = {"kind": "limits", "value": {"maximum": 2, "per": "ip"}, "reason": "x"}
    assert problem(caller("POST", "/rules", json=again)) == (409, "rule_exists")
    for other in ({"maximum": 1}, {"maximum": 1, "per": "device_type"}):
        refused = caller("PUT", path, json={"value": other, "reason": "x"}, headers=tag)
        assert problem(refused) == (400, "invalid_rule")
    assert good(caller("DELETE", path, params={"reason": "x"}, headers=tag))["id"] != total["id"]
    assert caller.get("/rules")["items"] == [total]


@pytest.mark.attack("AD-04")
def test_nobody_makes_rules_for_those_above_them(idp: Idp, call_as: Callable[..., Caller]) -> None:
    caller = call_as("ruler", "rules:read", "rules:write")
    rule = {
        "kind": "limits",
        "value": {"maximum": 1},
        "applies_to": {"role": "administrator"},
        "reason": "x",
    }
    assert problem(caller("POST", "/rules", json=rule)) == (403, "above_you")
    made = program(idp, *management.SCOPES)("POST", "/rules", json=rule)
    path, tag = f"/rules/{good(made)['id']}", {"if-match": made.headers["etag"]}
    change = {"json": {"value": {"maximum": 2}, "reason": "x"}, "headers": tag}
    assert problem(caller("PUT", path, **change)) == (403, "above_you")
    removing = {"params": {"reason": "x"}, "headers": tag}
    assert problem(caller("DELETE", path, **removing)) == (403, "above_you")


def test_nobody_takes_away_the_rule_that_lets_them_in(idp: Idp, root: Caller) -> None:
    for applies_to, allowed in (
        ({"role": "administrator"}, "192.0.2.0/24"),
        ({}, "198.51.100.0/24"),
    ):
        rule = {
            "kind": "networks",
            "applies_to": applies_to,
            "value": {"allow": [allowed]},
            "reason": "x",
        }
        made = root("POST", "/rules", json=rule)
        if applies_to:
            path, tag = f"/rules/{good(made)['id']}", {"if-match": made.headers["etag"]}
    assert good(made)["version"] == 1
    refused = root("DELETE", path, params={"reason": "x"}, headers=tag)
    assert problem(refused) == (409, "locks_you_out")


# --- events and keys ------------------------------------------------------------------------------


def test_the_audit_log_is_read_by_person_session_and_type(either_idp: Idp) -> None:
    idp = either_idp
    caller = program(idp, "events:read")
    anna = idp.person("anna")
    session = idp.session(anna).session.id
    idp.session(idp.person("bob"))
    assert [one["type"] for one in caller.get("/events", user=anna.id)["items"]] == [
        "session.created", "user.created",
    ]  # fmt: skip
    assert len(caller.get("/events", session=session)["items"]) == 1
    assert len(caller.get("/events", type="session.created")["items"]) == 2
    assert caller.get("/events", type="nothing.ever") == {"items": [], "next_page_token": None}
    whole = caller.get("/events")["items"]
    seen, token = [], None
    while True:
        page = caller.get("/events", page_size=2, **({"page_token": token} if token else {}))
        seen += page["items"]
        token = page["next_page_token"]
        if token is None:
            break
    assert seen == whole


def test_a_type_that_is_rare_is_looked_for_a_stretch_at_a_time(
    idp: Idp, robot: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("idp.admin.event_search.WALKED", 4)
    idp.person("anna")
    for _ in range(10):
        idp.register()
    first = robot.get("/events", type="user.created")
    assert first["items"] == []
    found, token = [], first["next_page_token"]
    while token:
        page = robot.get("/events", type="user.created", page_token=token)
        found, token = found + page["items"], page["next_page_token"]
    assert len(found) == 1


def test_keys_are_seen_and_rotated(idp: Idp, robot: Caller) -> None:
    before = {one["kid"]: one["state"] for one in robot.get("/keys")["items"]}
    after = {
        one["kid"]: one["state"] for one in robot.post("/keys/rotate", reason="yearly")["items"]
    }
    assert {kid for kid, state in after.items() if state == "active"} == {
        kid for kid, state in before.items() if state == "next"
    }
    published = idp.browser().get("/jwks").json()["keys"]
    assert {one["kid"] for one in published} == set(after)
    assert "private" not in str(robot.get("/keys"))


# --- apps that register themselves ----------------------------------------------------------------


def test_leave_to_register_is_given_seen_and_taken_back(either_idp: Idp) -> None:
    caller = program(either_idp, "clients:read", "clients:write")
    body = {"name": "Partners", "redirect_hosts": [".partner.example"], "uses": 3}
    key = {"Idempotency-Key": "partners-0123456789"}
    made = good(caller("POST", "/initial-access", json=body, headers=key))
    assert made["initial_access_token"].startswith("idp_ini_")
    assert good(caller("POST", "/initial-access", json=body, headers=key)) == made
    shown = {name: one for name, one in made.items() if name != "initial_access_token"}
    assert caller.get("/initial-access")["items"] == [shown]
    assert (shown["uses_left"], shown["is_good"], shown["scope"]) == (
        3,
        True,
        "openid profile email",
    )
    gone = caller.post(f"/initial-access/{made['id']}/revoke", reason="done")
    assert gone["is_good"] is False
    kinds = [one["type"] for one in either_idp.events() if one["type"].startswith("initial_access")]
    assert kinds == ["initial_access.allowed", "initial_access.revoked"]
    unknown = caller("POST", "/initial-access/ini_none/revoke", json={"reason": "x"})
    assert problem(unknown) == (404, "initial_access_not_found")
    wide = caller("POST", "/initial-access", json={"name": "All", "redirect_hosts": ["*"]})
    assert problem(wide) == (400, "invalid_initial_access")


def test_apps_that_registered_themselves_are_told_apart(idp: Idp, robot: Caller) -> None:
    ours = robot.post("/clients", **NEW)
    assert ours["registered_with"] is None
    with idp.work.begin() as unit:
        leave = initial_access.allow(
            unit, name="x", scope="openid", grant_types=["authorization_code"],
            redirect_hosts=["notes.example"], uses=1, seconds=60, actor=ADMIN,
        )  # fmt: skip
        said = {"redirect_uris": ["https://notes.example/"]}
        stranger = registration.register(unit, said, initial_token=leave[1]).client.id
    (found,) = robot.get("/clients", origin="registered")["items"]
    assert (found["id"], found["registered_with"]) == (stranger, leave[0].id)
    others = [one["id"] for one in robot.get("/clients", origin="administrator")["items"]]
    assert ours["id"] in others
    assert stranger not in others
