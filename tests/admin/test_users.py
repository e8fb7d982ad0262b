"""Users over the management API."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from httpx2 import Response

from idp.admin.users import OPERATIONS
from idp.clock import DAY
from idp.policy import management
from idp.users import links, queries
from tests.admin.conftest import Caller, good, person, problem, program, role
from tests.harness.mails import owed
from tests.harness.provider import Idp


def reasons(idp: Idp, event: str) -> list[tuple[str, str, Any]]:
    """Who did what happened, and why, as the audit log has it."""
    return [
        (one["actor"], one["actor_id"], orjson.loads(one["data"]).get("because"))
        for one in idp.events(event)
    ]


def test_a_user_is_created_found_and_shown(either_idp: Idp) -> None:
    idp = either_idp
    caller = program(idp, *management.SCOPES)
    new = {
        "username": "Anna",
        "email": "anna@Example.com",
        "claims": {"name": "Anna Lund", "locale": "sv-SE", "address": {"locality": "Malmö"}},
        "roles": ["support"],
    }
    made = caller.post("/users", **new)
    assert made["id"].startswith("usr_")
    assert made["email"] == "anna@example.com"
    assert made["claims"] == new["claims"]
    assert (made["status"], made["has_password"], made["email_verified"]) == (
        "active",
        False,
        False,
    )
    assert made["permissions"] == sorted(management.ROLES["support"])
    assert caller.get(f"/users/{made['id']}") == made
    for asked in ({"q": "ANN"}, {"q": "anna@exa"}, {"role": "support"}, {"status": "active"}, {}):
        assert caller.get("/users", **asked)["items"] == [made], asked
    for asked in ({"q": "nna"}, {"q": "a b"}, {"role": "auditor"}, {"status": "disabled"}):
        assert caller.get("/users", **asked)["items"] == [], asked
    (event,) = idp.events("user.created")
    assert (event["actor"], event["user_id"]) == ("admin", made["id"])
    assert event["actor_id"].startswith("cli_")


def test_two_users_never_have_one_name(robot: Caller) -> None:
    robot.post("/users", username="anna", email="anna@example.com")
    for new in (
        {"username": "ANNA"},
        {"username": "bob", "email": "Anna@example.com"},
        {"username": "anna@example.com", "email": "anna@example.com"},
    ):
        assert problem(robot("POST", "/users", json=new)) == (409, "name_taken"), new
    bob = robot.post("/users", username="bob")
    changed = robot("PATCH", f"/users/{bob['id']}", json={"email": "anna@example.com"})
    assert problem(changed) == (409, "name_taken")
    assert robot.get(f"/users/{bob['id']}")["email"] is None


def test_a_list_is_walked_by_its_cursors(either_idp: Idp) -> None:
    idp = either_idp
    caller = program(idp, "users:read")
    for number in range(7):
        idp.person(f"u{number}")
    seen, token, links_ = [], None, 0
    while True:
        asked = {"page_size": 3} | ({"page_token": token} if token else {})
        response = caller("GET", "/users", params=asked)
        page = good(response)
        seen += [one["username"] for one in page["items"]]
        token = page["next_page_token"]
        if token is None:
            assert "link" not in response.headers
            break
        links_ += 1
        link = response.headers["link"]
        assert link.endswith('>; rel="next"')
        assert f"page_token={token}" in link
        assert "page_size=3" in link
    assert seen == [f"u{number}" for number in range(7)]
    assert links_ == 2


def test_a_cursor_is_good_for_its_own_question_only(idp: Idp, robot: Caller) -> None:
    for number in range(3):
        idp.person(f"u{number}")
    token = robot.get("/users", page_size=1, q="u")["next_page_token"]
    assert robot.get("/users", page_size=2, q="u", page_token=token)["items"][0]["username"] == "u1"
    for asked in (
        {"q": "v", "page_token": token},
        {"page_token": token},
        {"q": "u", "status": "active", "page_token": token},
        {"q": "u", "page_token": token[:-2] + ("AA" if token[-2:] != "AA" else "BB")},
        {"q": "u", "page_token": "x"},
        {"q": "u", "page_token": "é"},
    ):
        assert problem(robot("GET", "/users", params=asked)) == (400, "invalid_page_token"), asked


def test_a_change_names_what_it_changes(idp: Idp, robot: Caller) -> None:
    anna = idp.person("anna", claims={"name": "Anna", "nickname": "An", "locale": "en"})
    path = f"/users/{anna.id}"
    changed = good(robot("PATCH", path, json={"claims": {"name": "Anna L.", "nickname": None}}))
    assert changed["claims"] == {"name": "Anna L.", "locale": "en"}
    assert changed["email"] == "anna@example.com"
    verified = good(robot("PATCH", path, json={"email_verified": True}))
    assert verified["email_verified"] is True
    moved = good(robot("PATCH", path, json={"email": "new@example.com"}))
    assert (moved["email"], moved["email_verified"]) == ("new@example.com", False)
    # Whoever takes over an account changes the address first: the owner reads the old one.
    assert {one.to for one in owed(idp, "email_changed", "email_left")} == {
        "anna@example.com", "new@example.com",
    }  # fmt: skip
    assert good(robot("PATCH", path, json={"email": None}))["email"] is None
    assert robot("PATCH", path, json={}).status_code == 200


@pytest.mark.attack("AD-05")
@pytest.mark.parametrize(
    "extra",
    [
        {"is_admin": True},
        {"permissions": ["users:write"]},
        {"id": "usr_" + "0" * 32},
        {"status": "active"},
        {"password": "correct horse battery staple"},
        {"password_hash": "x"},
        {"claims": {"roles": ["administrator"]}},
        {"claims": {"sub": "usr_x"}},
        {"claims": {"address": {"roles": "x"}}},
        {"created_at": "2020-01-01T00:00:00Z"},
        {"acr": "aal3"},
        {"session": {"expires_at": 0}},
    ],
    ids=str,
)
def test_what_is_not_named_cannot_be_set(idp: Idp, robot: Caller, extra: dict[str, Any]) -> None:
    anna = idp.person("anna")
    before = robot.get(f"/users/{anna.id}")
    assert problem(robot("PATCH", f"/users/{anna.id}", json=extra)) == (400, "invalid_field")
    made = robot("POST", "/users", json={"username": "eve"} | extra)
    assert problem(made) == (400, "invalid_field")
    assert robot.get(f"/users/{anna.id}") == before
    assert robot.get("/users", q="eve")["items"] == []


@pytest.mark.attack("AD-05")
@pytest.mark.parametrize(
    "body",
    [
        b'{"username": 7}',
        b'{"username": null}',
        b'{"username": "a", "username": "b"}',
        b'{"username": "a\\u0000b"}',
        b'{"username": "\\ud800"}',
        b'{"username": "' + b"x" * 256 + b'"}',
        b'{"username": "x", "roles": "support"}',
        b'{"username": "x", "roles": [' + b'"r",' * 50 + b'"r"]}',
        b'{"username": "x", "claims": {"name": "a\\u202eb"}}',
        b'{"username": "x", "invite": 1}',
        b'{"username": "x", "invite": NaN}',
        b"[]",
        b"",
        b"[" * 60_000,
    ],
    ids=lambda body: body[:40].decode(),
)
def test_a_body_that_is_not_exactly_right_is_refused(robot: Caller, body: bytes) -> None:
    response = robot("POST", "/users", content=body, headers={"content-type": "application/json"})
    status, code = problem(response)
    assert status == 400
    assert code in ("malformed_json", "invalid_field")
    # What is wrong is named, what was sent is not said back.
    assert len(response.json()["detail"]) < 200


def test_parameters_that_are_not_named_are_refused(robot: Caller) -> None:
    for asked in (
        {"limit": "5"}, {"page_size": "0"}, {"page_size": "201"}, {"page_size": "x"},
        {"page_token": ""}, {"status": "gone"}, {"role": "a b"},
    ):  # fmt: skip
        assert problem(robot("GET", "/users", params=asked)) == (400, "invalid_parameter"), asked
    assert problem(robot("POST", "/users?x=1", json={"username": "x"}))[1] == "invalid_parameter"


def test_an_invitation_goes_to_the_person_and_to_nobody_else(idp: Idp, robot: Caller) -> None:
    response = robot(
        "POST", "/users", json={"username": "anna", "email": "anna@example.com", "invite": True}
    )
    anna = good(response)
    (mail,) = owed(idp, "invitation")
    assert mail.to == "anna@example.com"
    assert mail.values["link"].rpartition("=")[2] not in response.text
    for _ in range(2):
        assert robot("POST", f"/users/{anna['id']}/invitation").status_code == 200
    again = robot("POST", f"/users/{anna['id']}/invitation")
    assert problem(again) == (429, "too_many_mails")
    assert again.headers["retry-after"] == "600"
    has_one = idp.person("bob")
    refused = robot("POST", f"/users/{has_one.id}/invitation")
    assert problem(refused) == (409, "has_password")
    assert problem(
        robot("POST", "/users", json={"username": "eve", "invite": True})
    ) == (409, "no_email")  # fmt: skip
    assert robot.get("/users", q="eve")["items"] == []


def test_disabling_and_deleting_end_everything_and_say_why(idp: Idp, root: Caller) -> None:
    anna, bob = idp.person("anna"), idp.person("bob")
    app = idp.register(name="Notes", backchannel_logout_uri="http://127.0.0.1:1/logout")
    tokens = idp.grant(app, idp.session(anna))
    idp.session(bob)
    done = root.post(f"/users/{anna.id}/disable", reason="left the company")
    assert done == {
        "sessions_ended": 1,
        "apps": [{"client_id": app.id, "name": "Notes", "state": "telling"}],
    }
    assert not idp.is_active(app, tokens["access_token"])
    assert root.get(f"/users/{anna.id}")["status"] == "disabled"
    who = ("admin", root.user.id, "left the company")
    assert reasons(idp, "session.ended") == [who]
    assert reasons(idp, "user.changed") == [who]
    assert root.post(f"/users/{anna.id}/enable", reason="is back")["status"] == "active"
    gone = root("DELETE", f"/users/{bob.id}", params={"reason": "asked for it"})
    assert good(gone)["sessions_ended"] == 1
    assert problem(root("GET", f"/users/{bob.id}")) == (404, "user_not_found")
    assert reasons(idp, "user.deleted") == [("admin", root.user.id, "asked for it")]


def test_a_reason_is_asked_for_where_people_lose_something(idp: Idp, robot: Caller) -> None:
    anna = idp.person("anna")
    for body in ({}, {"reason": ""}, {"reason": "x" * 201}, {"reason": "a\nb"}, {"reason": 1}):
        for verb in ("disable", "enable", "logout", "factors/reset", "password-link"):
            response = robot("POST", f"/users/{anna.id}/{verb}", json=body)
            assert problem(response) == (400, "invalid_field"), (verb, body)


def test_signing_somebody_out_ends_sessions_and_what_outlived_them(idp: Idp, robot: Caller) -> None:
    anna = idp.person("anna")
    app = idp.register()
    started = idp.session(anna)
    offline = idp.grant(app, started, scope="openid offline_access")
    idp.end(started.session.id, "absolute_timeout")
    idp.session(anna)
    assert robot.post(f"/users/{anna.id}/logout", reason="lost a laptop")["sessions_ended"] == 1
    assert idp.refresh(app, offline["refresh_token"])[0] == 400
    assert robot.post(f"/users/{anna.id}/logout", reason="lost a laptop")["sessions_ended"] == 0


def test_a_request_that_is_sent_again_is_done_once(either_idp: Idp) -> None:
    idp = either_idp
    caller, other = program(idp, "users:write"), program(idp, "users:write")
    headers = {"idempotency-key": "create-anna-1"}
    first = caller("POST", "/users", json={"username": "anna"}, headers=headers)
    again = caller("POST", "/users", json={"username": "anna"}, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert len(idp.events("user.created")) == 1
    changed = caller("POST", "/users", json={"username": "bob"}, headers=headers)
    assert problem(changed) == (422, "idempotency_key_reused")
    # Somebody else's key is another key.
    elsewhere = other("POST", "/users", json={"username": "anna"}, headers=headers)
    assert problem(elsewhere) == (409, "name_taken")
    # What was refused was not done, and is done when it can be.
    carol = {"username": "carol", "email": "anna@example.com"}
    idp.person("x", email="anna@example.com")
    headers = {"idempotency-key": "create-carol"}
    assert caller("POST", "/users", json=carol, headers=headers).status_code == 409
    idp.execute("DELETE FROM users WHERE username = 'x'")
    assert caller("POST", "/users", json=carol, headers=headers).status_code == 201
    idp.clock.advance(DAY)
    late = program(idp, "users:write")
    late.token = caller.token
    assert problem(late("POST", "/users", json=carol, headers=headers))[0] == 401
    for key in ("", "a b", "x" * 129, "é"):
        response = other(
            "POST", "/users", json={"username": "y"}, headers={"idempotency-key": key.encode()}
        )
        assert problem(response)[1] in ("invalid_idempotency_key", "invalid_token"), key


# --- nobody above oneself -------------------------------------------------------------------------


@pytest.mark.attack("AD-04")
def test_support_does_not_touch_whoever_has_more_rights(idp: Idp) -> None:
    helper = person(idp, "helper", "support", role(idp, "helpdesk", "users:write",
                                                   "credentials:write", "roles:write"))  # fmt: skip
    boss = person(idp, "boss", "administrator")
    auditor = idp.person("auditor", roles=["auditor"])
    anna = idp.person("anna", roles=[role(idp, "payroll", "payments:approve")])
    for target in (boss.user, auditor):
        for operation in OPERATIONS:
            if "{id}" not in operation.path or operation.method == "GET":
                continue
            response = helper(
                operation.method,
                operation.path.replace("{id}", target.id),
                **{"json": SENT.get(operation.name, {"reason": "x"})}
                if operation.has_body and operation.takes
                else {"params": {"reason": "x"}} if operation.takes else {},
            )  # fmt: skip
            assert problem(response) == (403, "above_you"), operation.path
    assert boss("GET", "/users").status_code == 200
    # What only apps understand puts nobody above anybody.
    assert helper.post(f"/users/{anna.id}/logout", reason="x")["sessions_ended"] == 0


SENT: dict[str, dict[str, Any]] = {
    "change_user": {"email": "eve@example.com"},
    "set_roles": {"roles": [], "reason": "x"},
}


def give(caller: Caller, user_id: str, *roles: str, match: str = "*") -> Response:
    """Gives somebody exactly these roles, whatever they have or from what was seen."""
    return caller(
        "PUT",
        f"/users/{user_id}/roles",
        json={"roles": list(roles), "reason": "new tasks"},
        headers={"if-match": match},
    )


def test_of_two_who_give_roles_at_once_the_later_is_told(
    idp: Idp, root: Caller, robot: Caller
) -> None:
    role(idp, "editor", "docs:write")
    role(idp, "reader", "docs:read")
    anna = idp.person("anna", roles=["reader"])
    path = f"/users/{anna.id}/roles"
    seen = root("GET", path)
    assert good(seen) == {"roles": ["reader"]}
    first = give(robot, anna.id, "reader", "editor", match=seen.headers["etag"])
    assert good(first) == {"roles": ["editor", "reader"]}
    late = give(root, anna.id, match=seen.headers["etag"])
    assert problem(late) == (412, "precondition_failed")
    blind = root("PUT", path, json={"roles": [], "reason": "x"})
    assert problem(blind) == (428, "precondition_required")
    assert good(root("GET", path)) == {"roles": ["editor", "reader"]}
    # Made from what stands now it is taken, and the tag of the answer is good for the next.
    again = give(root, anna.id, "editor", match=first.headers["etag"])
    assert good(give(root, anna.id, match=again.headers["etag"])) == {"roles": []}


@pytest.mark.attack("AD-04")
def test_nobody_hands_out_what_they_do_not_have(idp: Idp, call_as: Callable[..., Caller]) -> None:
    caller = call_as("half", "users:write", "users:read", "roles:write")
    anna = idp.person("anna")
    role(idp, "editor", "docs:write")
    for wanted in (["administrator"], ["auditor"], ["editor", "support"]):
        refused = give(caller, anna.id, *wanted)
        assert problem(refused) == (403, "above_you")
        created = caller("POST", "/users", json={"username": "puppet", "roles": wanted})
        assert problem(created) == (403, "above_you")
    given = give(caller, anna.id, "editor", "role-of-half")
    assert good(given)["roles"] == ["editor", "role-of-half"]
    unknown = give(caller, anna.id, "nothing")
    assert problem(unknown) == (400, "unknown_role")
    without = call_as("less", "users:write")
    refused = without("POST", "/users", json={"username": "puppet", "roles": ["editor"]})
    assert problem(refused) == (403, "insufficient_scope")


@pytest.mark.attack("AD-04")
def test_nobody_changes_their_own_standing(root: Caller) -> None:
    own = f"/users/{root.user.id}"
    for response in (
        give(root, root.user.id, "administrator", "support"),
        root("POST", f"{own}/disable", json={"reason": "x"}),
        root("POST", f"{own}/enable", json={"reason": "x"}),
        root("DELETE", own, params={"reason": "x"}),
    ):
        assert problem(response) == (403, "own_account")


@pytest.mark.attack("AD-04")
def test_a_token_with_few_scopes_is_as_little_as_them(idp: Idp, root: Caller) -> None:
    """An app to which an administrator gave one right does not act as an administrator."""
    boss = idp.person("boss", roles=["administrator"])
    little = program(idp, "sessions:revoke")
    refused = little("POST", f"/users/{boss.id}/logout", json={"reason": "x"})
    assert problem(refused) == (403, "above_you")
    assert root.post(f"/users/{boss.id}/logout", reason="x")["sessions_ended"] == 0


@pytest.mark.attack("AR-02")
def test_an_administrator_starts_a_way_back_and_never_sees_it(idp: Idp, root: Caller) -> None:
    anna = idp.person("anna")
    response = root("POST", f"/users/{anna.id}/password-link", json={"reason": "forgot it"})
    assert good(response) == {"email": "anna@example.com", "expires_in": 1_800}
    (mail,) = owed(idp, "reset_password")
    token = mail.values["link"].rpartition("=")[2]
    assert token not in response.text
    with idp.work.read() as unit:
        assert links.look(unit, token, "reset_password") is not None
        assert links.look(unit, token, "invitation") is None
    assert reasons(idp, "link.sent")[-1] == ("admin", root.user.id, "forgot it")
    good(root("PATCH", f"/users/{anna.id}", json={"email": "elsewhere@example.com"}))
    with idp.work.read() as unit:
        assert links.look(unit, token, "reset_password") is None
        assert queries.by_id(unit, anna.id).password_hash is not None
    disabled = root.post(f"/users/{anna.id}/disable", reason="x")
    assert disabled["sessions_ended"] == 0
    late = root("POST", f"/users/{anna.id}/password-link", json={"reason": "x"})
    assert problem(late) == (409, "user_not_active")
