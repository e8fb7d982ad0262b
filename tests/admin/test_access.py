"""Who gets in: tokens, scopes, roles, fresh proofs (groups AD and JW)."""

from collections.abc import Callable

import pytest

from idp.admin.operation import ROOT as PREFIX
from idp.admin.operation import Operation
from idp.admin.routes import OPERATIONS
from idp.clock import SECOND
from idp.errors import Refused
from idp.policy import management
from idp.sessions.prove import PASSWORD
from idp.users import queries
from tests.admin.conftest import Caller, manager_client, person, problem, program, role, signed_in
from tests.harness.enrolled import with_totp
from tests.harness.provider import ADMIN, Idp
from tests.test_docs import routes_of

# What stands in an address where an id is wanted: nobody has it, so that a call that is let in ends
# in 404, or 400 for its missing body, and changes nothing.
NOBODY = "usr_" + "0" * 32


def address(operation: Operation) -> str:
    path = operation.path
    while "{" in path:
        path = path[: path.index("{")] + NOBODY + path[path.index("}") + 1 :]
    return path


def is_let_in(caller: Caller, operation: Operation) -> bool:
    response = caller(operation.method, address(operation))
    if response.status_code in (401, 403):
        assert problem(response) == (403, "insufficient_scope")
        challenge = response.headers["www-authenticate"]
        assert f'scope="{operation.scope}"' in challenge
        return False
    assert response.status_code in (200, 201, 202, 400, 404, 428), response.text
    return True


@pytest.mark.attack("AD-01")
def test_a_role_opens_the_operations_whose_scope_it_gives_and_no_other(idp: Idp) -> None:
    """Role × route, made from the tables; the CL-04 of clients is among it."""
    callers = {name: person(idp, name, name) for name in management.ROLES}
    callers["nobody"] = person(idp, "nobody")
    callers["payroll"] = person(idp, "payroll", role(idp, "payroll", "payments:approve"))
    for operation in OPERATIONS:
        opened = {name for name, caller in callers.items() if is_let_in(caller, operation)}
        wanted = {name for name, held in management.ROLES.items() if operation.scope in held}
        assert opened == wanted, (operation.method, operation.path)


@pytest.mark.attack("AD-01")
def test_a_program_opens_what_its_scopes_say_and_no_more(idp: Idp) -> None:
    for scope in management.SCOPES:
        caller = program(idp, scope)
        for operation in OPERATIONS:
            assert is_let_in(caller, operation) == (operation.scope == scope), operation.path


@pytest.mark.attack("AD-01")
def test_every_route_is_an_operation_with_a_scope(idp: Idp) -> None:
    declared = {(one.method, PREFIX + one.path) for one in OPERATIONS}
    served = {
        (method, route.path)
        for route in routes_of(idp)
        if route.path.startswith(PREFIX)
        for method in route.methods - {"HEAD"}
    }
    assert served == declared
    assert {one.scope for one in OPERATIONS} <= management.ALL
    assert len({one.name for one in OPERATIONS}) == len(OPERATIONS)


def test_without_a_token_nothing_is_said(idp: Idp, root: Caller) -> None:
    for operation in OPERATIONS:
        for header in (None, "Bearer nonsense", f"Basic {root.token}"):
            response = idp.browser().request(
                operation.method,
                PREFIX + address(operation),
                headers={"authorization": header} if header else {},
            )
            assert problem(response)[0] == 401


def test_the_cookie_of_the_pages_opens_nothing(idp: Idp) -> None:
    user = idp.person("root", roles=[management.ADMINISTRATOR])
    browser = idp.signed_in_browser(idp.session(user))
    assert problem(browser.get(f"{PREFIX}/users")) == (401, "token_required")


@pytest.mark.attack("JW-11")
@pytest.mark.parametrize("token_format", ["opaque", "jwt"])
def test_a_token_of_another_client_opens_nothing_whatever_its_scopes_are_called(
    idp: Idp, token_format: str
) -> None:
    """Names of before they had a meaning, or of somebody else's API, and an ID token for it."""
    old = idp.register(scope="openid reports", access_token_format=token_format)
    # As it stood in a database of before: nobody can register this now.
    idp.execute("UPDATE clients SET scope = 'openid users:read' WHERE id = :id", id=old.id)
    _, body = idp.token(old, grant_type="client_credentials", scope="users:read")
    assert problem(Caller(idp, body["access_token"])("GET", "/users")) == (
        403,
        "insufficient_scope",
    )
    user = idp.person("root", roles=[management.ADMINISTRATOR])
    tokens = idp.grant(old, idp.session(user), scope="openid users:read")
    assert problem(Caller(idp, tokens["access_token"])("GET", "/users"))[0] == 403
    console = manager_client(idp, "users:read", access_token_format=token_format)
    tokens = idp.grant(console, idp.session(user), scope="openid users:read offline_access")
    assert Caller(idp, tokens["access_token"])("GET", "/users").status_code == 200
    for name in ("id_token", "refresh_token"):
        assert problem(Caller(idp, tokens[name])("GET", "/users")) == (401, "invalid_token")


def test_nobody_gives_a_right_that_their_roles_do_not(idp: Idp) -> None:
    """Even if no role at all gives it: these scopes are governed because of what they are."""
    idp.execute("DELETE FROM roles")
    console = manager_client(idp, "users:read")
    tokens = idp.grant(console, idp.session(idp.person()), scope="openid users:read")
    assert tokens["scope"] == "openid"
    assert problem(Caller(idp, tokens["access_token"])("GET", "/users"))[0] == 403


def test_a_right_that_is_taken_away_is_gone_at_once(idp: Idp, root: Caller) -> None:
    assert root("GET", "/users").status_code == 200
    with idp.work.begin() as unit:
        queries.set_roles(unit, queries.by_id(unit, root.user.id), ["support"], ADMIN)
    assert problem(root("GET", "/users")) == (401, "invalid_token")


def test_a_console_that_is_no_longer_one_opens_nothing(idp: Idp) -> None:
    caller = program(idp, "users:read")
    idp.execute("UPDATE clients SET management = 0 WHERE management = 1")
    assert problem(caller("GET", "/users")) == (403, "insufficient_scope")


def test_the_end_of_the_session_ends_the_rights(idp: Idp, root: Caller) -> None:
    with idp.work.read() as unit:
        (session_id,) = unit.connection.exec_driver_sql("SELECT id FROM sessions").scalars()
    idp.end(session_id)
    assert problem(root("GET", "/users")) == (401, "invalid_token")


@pytest.mark.parametrize(
    "values",
    [
        {"scope": "openid users:read"},
        {"scope": "users:read", "management": 1, "audience": ["https://api.example"]},
    ],
    ids=["not for management", "for others as well"],
)
def test_only_a_management_client_registers_these_scopes_and_for_nobody_else(
    idp: Idp, values: dict
) -> None:
    with pytest.raises(Refused, match="management"):
        idp.register(**values)


# --- fresh proofs ---------------------------------------------------------------------------------

STALE = 301 * SECOND
# Written by hand, so that an operation that loses its proof is noticed.
ASK_FOR_PROOF = {
    "create_user", "change_user", "delete_user", "enable_user", "set_roles",
    "remove_factor", "reset_factors", "send_password_link",
    "define_role", "remove_role",
    "create_client", "change_client", "disable_client", "enable_client", "rotate_client_secret",
    "allow_registration",
    "create_rule", "change_rule", "remove_rule",
    "revoke_sessions", "rotate_keys",
    "create_webhook", "change_webhook", "remove_webhook", "enable_webhook",
    "rotate_webhook_secret", "replay_webhook",
}  # fmt: skip
DANGEROUS = [one for one in OPERATIONS if one.name in ASK_FOR_PROOF]


def test_what_asks_for_a_proof_is_what_is_dangerous() -> None:
    assert {one.name for one in OPERATIONS if one.proof == "fresh"} == ASK_FOR_PROOF


def test_what_is_dangerous_asks_a_person_for_a_fresh_proof(idp: Idp) -> None:
    user = idp.person("root", roles=[management.ADMINISTRATOR])
    started = idp.session(user)
    caller = signed_in(idp, started, user)
    idp.clock.advance(STALE)
    for operation in DANGEROUS:
        response = caller(operation.method, address(operation), **well_formed(operation))
        assert problem(response) == (401, "insufficient_user_authentication"), operation.path
        assert 'acr_values="aal1", max_age="300"' in response.headers["www-authenticate"]
    assert caller("GET", "/users").status_code == 200
    again = signed_in(idp, idp.prove(started, PASSWORD), user)
    for operation in DANGEROUS:
        response = again(operation.method, address(operation), **well_formed(operation))
        assert response.status_code in (200, 201, 400, 403, 404, 428), response.text


@pytest.mark.attack("MF-02")
def test_who_has_a_second_factor_must_have_shown_it(idp: Idp) -> None:
    user = idp.person("root", roles=[management.ADMINISTRATOR])
    with_totp(idp, user)
    caller = signed_in(idp, idp.session(user), user)
    response = caller("DELETE", f"/users/{NOBODY}", params={"reason": "x"})
    assert problem(response) == (401, "insufficient_user_authentication")
    assert 'acr_values="aal2"' in response.headers["www-authenticate"]


def test_a_browser_that_is_only_remembered_is_no_administrator(idp: Idp) -> None:
    user = idp.person("root", roles=[management.ADMINISTRATOR])
    caller = signed_in(idp, idp.session(user), user)
    idp.execute("UPDATE authorizations SET acr = '0'")
    response = caller("GET", "/users")
    assert problem(response) == (401, "insufficient_user_authentication")
    assert 'acr_values="aal1"' in response.headers["www-authenticate"]


def test_a_program_is_not_asked(robot: Caller) -> None:
    response = robot("DELETE", f"/users/{NOBODY}", params={"reason": "x"})
    assert problem(response) == (404, "user_not_found")


def well_formed(operation: Operation) -> dict:
    """Something to send that gets as far as the proof."""
    if operation.takes is None:
        return {}
    if not operation.has_body:
        return {"params": {"reason": "x"}}
    return {"json": EXAMPLES.get(operation.name, {"reason": "x"})}


EXAMPLES = {
    "create_user": {"username": "x"},
    "change_user": {"email_verified": True},
    "set_roles": {"roles": [], "reason": "x"},
    "define_role": {"permissions": [], "reason": "x"},
    "create_client": {"name": "x"},
    "allow_registration": {"name": "x"},
    "change_client": {"name": "x"},
    "rotate_client_secret": {},
    "create_rule": {"kind": "limits", "value": {"maximum": 3}, "reason": "x"},
    "change_rule": {"value": {"maximum": 3}, "reason": "x"},
    "revoke_sessions": {"filter": {"user": NOBODY}, "reason": "x"},
    "change_query": {"name": "x"},
    "create_webhook": {"url": "https://app.example.com/"},
    "change_webhook": {"types": []},
    "rotate_webhook_secret": {},
    "replay_webhook": {"after": 0, "reason": "x"},
}


@pytest.mark.attack("AD-02")
def test_an_id_that_names_nothing_is_not_found(
    idp: Idp, robot: Caller, call_as: Callable[..., Caller]
) -> None:
    """The same answer for every id that is none, and for one of another kind."""
    session_id = idp.session(idp.person()).session.id
    for operation in OPERATIONS:
        if "{id}" not in operation.path:
            continue
        for one in (NOBODY, session_id, "x", "%00", "..%2f", "é", "a" * 500):
            path = operation.path.replace("{id}", one).replace("{factor_id}", "psk_0")
            if operation.path.startswith("/sessions/{id}") and one == session_id:
                continue
            response = robot(operation.method, path, **well_formed(operation))
            assert problem(response)[0] == 404, (operation.method, path, response.text)


def test_a_mistake_is_called_by_the_name_that_the_caller_knows(robot: Caller) -> None:
    """Not by what the library thinks of the member's type."""
    everybody = {"filter": {"all": True}, "reason": "x"}
    for method, path, given, where in (
        ("GET", "/users", {"params": {"q": "x" * 256}}, "q"),
        ("GET", "/users", {"params": {"status": "asleep"}}, "status"),
        ("GET", "/events", {"params": {"at_after": "x"}}, "at_after"),
        ("POST", "/users", {"json": {"username": "anna", "isAdmin": True}}, "isAdmin"),
        ("POST", "/users", {"json": {"username": "anna", "claims": {"locale": "?"}}}, "claims.locale"),
        ("POST", "/sessions/revoke", {"json": everybody | {"filter": {"user": 1}}}, "filter.user"),
        ("POST", "/rules", {"json": {"kind": "limits", "value": [], "reason": "x"}}, "value"),
    ):  # fmt: skip
        refused = robot(method, path, **given)
        assert problem(refused)[0] == 400
        assert refused.json()["detail"].startswith(f"“{where}”: "), refused.json()["detail"]


def test_a_page_token_opens_no_other_list(idp: Idp, robot: Caller) -> None:
    """Of two lists that are asked for with the same words."""
    token = robot.get("/roles", page_size=1)["next_page_token"]
    refused = robot("GET", "/operations", params={"page_size": 1, "page_token": token})
    assert problem(refused) == (400, "invalid_page_token")
