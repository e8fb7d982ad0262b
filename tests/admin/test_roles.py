"""Roles over the management API."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from httpx2 import Response

from idp.policy import management
from idp.users import queries, rules
from idp.users.model import User
from tests.admin.conftest import Caller, good, problem, program
from tests.harness.provider import ADMIN, Idp

NEW = {"if-none-match": "*"}


def define(caller: Caller, name: str, *permissions: str, **headers: str) -> Response:
    sent = {one.replace("_", "-"): value for one, value in headers.items()}
    return caller(
        "PUT",
        f"/roles/{name}",
        json={"permissions": permissions, "reason": "as asked"},
        headers=sent,
    )


def test_every_deployment_begins_with_three_roles(robot: Caller) -> None:
    shown = {one["name"]: one["permissions"] for one in robot.get("/roles")["items"]}
    assert shown == {name: sorted(scopes) for name, scopes in management.ROLES.items()}
    first = robot.get("/roles", page_size=2)
    rest = robot.get("/roles", page_size=2, page_token=first["next_page_token"])
    assert [one["name"] for one in first["items"] + rest["items"]] == sorted(management.ROLES)


def test_a_role_is_made_and_changed_by_who_saw_it(idp: Idp, robot: Caller) -> None:
    made = define(robot, "editor", "docs:write", if_none_match="*")
    assert good(made) == {"name": "editor", "permissions": ["docs:write"]}
    tag = made.headers["etag"]
    assert robot("GET", "/roles/editor").headers["etag"] == tag
    anna = robot.post("/users", username="anna", roles=["editor"])
    changed = define(robot, "editor", "docs:write", "docs:read", if_match=tag)
    assert changed.status_code == 200
    assert robot.get(f"/users/{anna['id']}")["permissions"] == ["docs:read", "docs:write"]
    for headers in ({"if_match": tag}, {"if_none_match": "*"}, {"if_none_match": tag}):
        assert problem(define(robot, "editor", **headers)) == (412, "precondition_failed")
    assert problem(define(robot, "editor")) == (428, "precondition_required")
    assert problem(define(robot, "other", if_match="*")) == (412, "precondition_failed")
    assert good(define(robot, "editor", if_match=f'"x", {changed.headers["etag"]}'))
    assert problem(robot("GET", "/roles/nothing")) == (404, "role_not_found")
    for bad in (["openid"], ["a b"], [""], ["x" * 129], "docs", [1]):
        refused = robot("PUT", "/roles/x", json={"permissions": bad, "reason": "x"}, headers=NEW)
        assert problem(refused)[0] == 400, bad


@pytest.mark.attack("AD-04")
def test_nobody_makes_a_role_of_more_than_they_have(
    robot: Caller, root: Caller, call_as: Callable[..., Caller]
) -> None:
    half = call_as("half", "roles:write", "roles:read", "users:write")
    tag = robot("GET", "/roles/support").headers["etag"]
    for response in (
        define(half, "mine", "clients:write", if_none_match="*"),
        # Also taking away is acting on what stands above.
        define(half, "support", if_match=tag),
    ):
        assert problem(response) == (403, "above_you")
    assert good(define(half, "mine", "users:write", "docs:write", if_none_match="*"))
    own: Any = half("GET", "/roles/role-of-half").headers["etag"]
    refused = define(half, "role-of-half", "users:write", "payments:approve", if_match=own)
    assert problem(refused) == (403, "own_role")
    tag = root("GET", "/roles/administrator").headers["etag"]
    assert problem(define(root, "administrator", "x", if_match=tag)) == (403, "own_role")


def remove(caller: Caller, name: str, match: str = "*") -> Response:
    return caller(
        "DELETE", f"/roles/{name}", params={"reason": "not needed"}, headers={"if-match": match}
    )


def test_a_change_of_a_role_is_written_with_why_and_what_stood_before(
    idp: Idp, robot: Caller
) -> None:
    refused = robot("PUT", "/roles/editor", json={"permissions": ["docs:write"]}, headers=NEW)
    assert problem(refused) == (400, "invalid_field")
    tag = define(robot, "editor", "docs:write", if_none_match="*").headers["etag"]
    define(robot, "editor", "docs:read", if_match=tag)
    assert good(remove(robot, "editor")) == {"name": "editor", "permissions": ["docs:read"]}
    written = [
        orjson.loads(one["data"])
        for one in idp.events("rule.changed")
        if orjson.loads(one["data"])["applies_to"] == {"role": "editor"}
    ]
    assert [(one["before"], one["after"], one["because"]) for one in written] == [
        (None, {"permissions": ["docs:write"]}, "as asked"),
        ({"permissions": ["docs:write"]}, {"permissions": ["docs:read"]}, "as asked"),
        ({"permissions": ["docs:read"]}, None, "not needed"),
    ]


def test_a_role_that_is_used_stays(either_idp: Idp) -> None:
    idp = either_idp
    robot = program(idp, *management.SCOPES)
    define(robot, "editor", "docs:write", if_none_match="*")
    define(robot, "editor-in-chief", "docs:write", if_none_match="*")
    anna = idp.person("anna", roles=["editor"])
    idp.person("bob", roles=["editor-in-chief"])
    with idp.work.begin() as unit:
        rules.set_rule(unit, "limits", {"role": "editor"}, {"maximum": 2}, ADMIN)
    refused = remove(robot, "editor")
    assert problem(refused) == (409, "role_in_use")
    assert "1 person has it and 1 rule is for it" in refused.json()["detail"]
    with idp.work.begin() as unit:
        queries.set_roles(unit, unit.orm.get_one(User, anna.id), [], ADMIN)
        rules.remove_rule(unit, "limits", {"role": "editor"}, ADMIN)
    assert problem(remove(robot, "editor", match='"other"')) == (412, "precondition_failed")
    assert good(remove(robot, "editor"))
    assert problem(remove(robot, "editor")) == (404, "role_not_found")
    assert problem(remove(robot, "editor-in-chief")) == (409, "role_in_use")


@pytest.mark.attack("AD-04")
def test_nobody_takes_away_a_role_above_them_or_their_own(
    robot: Caller, call_as: Callable[..., Caller]
) -> None:
    half = call_as("half", "roles:write", "roles:read")
    assert problem(remove(half, "support")) == (403, "above_you")
    assert problem(remove(half, "role-of-half")) == (403, "own_role")
    assert robot.get("/roles/support")["name"] == "support"
