"""Roles over the management API."""

from collections.abc import Callable
from typing import Any

import pytest
from httpx2 import Response

from idp.policy import management
from tests.admin.conftest import Caller, good, problem
from tests.harness.provider import Idp

NEW = {"if-none-match": "*"}


def define(caller: Caller, name: str, *permissions: str, **headers: str) -> Response:
    sent = {one.replace("_", "-"): value for one, value in headers.items()}
    return caller("PUT", f"/roles/{name}", json={"permissions": permissions}, headers=sent)


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
        refused = robot("PUT", "/roles/x", json={"permissions": bad}, headers=NEW)
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
