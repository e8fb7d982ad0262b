"""Whatever takes a right away takes it from every token at once (RT-07, RT-10, BF-05)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any, get_args

import pytest

from idp.oauth import authorizations, clients, consent
from idp.oauth.grants.device_code import DEVICE_CODE
from idp.oauth.model import Client
from idp.oauth.server import GRANT_TYPES
from idp.policy.timeouts import ABSOLUTE_DEFAULT, IDLE_DEFAULT
from idp.sessions.endings import EXPIRY, EndReason
from idp.storage.unit_of_work import UnitOfWork
from idp.users import queries
from idp.users.model import ACTIVE, User
from tests.harness.device_app import decide, device_app, open_code
from tests.harness.provider import ADMIN, Flow, Idp, Registered, Started
from tests.oauth.asking import remember_consent

SCOPE = "openid profile reports:read"


@dataclass
class World:
    """A person with a role, signed in, and what an app got for them: tokens, and an unspent code."""

    idp: Idp
    user: User
    app: Registered
    started: Started
    tokens: dict[str, Any]
    code: dict[str, str]

    def gives_nothing(self) -> bool:
        """Whether no token and no code of the app is worth anything, wherever it is shown."""
        answers = [
            self.idp.is_active(self.resource_server, self.tokens["access_token"]),
            self.is_refreshable(),
            self.idp.userinfo(self.tokens["access_token"])[0] == 200,
            self.idp.refresh(self.app, self.tokens["refresh_token"])[0] == 200,
            self.idp.token(self.app, **self.code)[0] == 200,
        ]
        return not any(answers)

    def is_refreshable(self) -> bool:
        """What the app is told of its refresh token; one that is refused itself is told nothing."""
        token = self.tokens["refresh_token"]
        return bool(self.idp.post("/introspect", self.app, token=token)[1].get("active"))

    @property
    def resource_server(self) -> Registered:
        return self.idp.register(introspects_all=1)


@pytest.fixture(params=["online", "offline"])
def world(idp: Idp, request: pytest.FixtureRequest) -> World:
    return make_world(idp, "offline_access" if request.param == "offline" else "")


def make_world(idp: Idp, extra: str = "", **client: Any) -> World:
    with idp.work.begin() as unit:
        queries.define_role(unit, "reader", ["reports:read"])
    user = idp.person(roles=["reader"])
    app = idp.register(scope=f"{SCOPE} offline_access", first_party=0, **client)
    started = idp.session(user)
    scope = f"{SCOPE} {extra}".strip()
    remember_consent(idp, started, app, scope)
    flow = Flow(app)
    answer = idp.authorize(idp.signed_in_browser(started), flow.parameters(scope=scope))
    code = {
        "grant_type": "authorization_code",
        "code": answer["code"],
        "redirect_uri": app.redirect_uri,
        "code_verifier": flow.verifier,
    }
    return World(idp, user, app, started, idp.grant(app, started, scope=scope), code)


Taking = Callable[[UnitOfWork, World], object]


def client_of(unit: UnitOfWork, world: World) -> Client:
    return unit.orm.get_one(Client, world.app.id)


def user_of(unit: UnitOfWork, world: World) -> User:
    return unit.orm.get_one(User, world.user.id)


TAKING: dict[str, Taking] = {
    "consent revoked": lambda u, w: consent.revoke(u, w.user.id, w.app.id, actor=ADMIN),
    "user disabled": lambda u, w: queries.set_status(u, user_of(u, w), "disabled", ADMIN),
    "user locked": lambda u, w: queries.set_status(u, user_of(u, w), "locked", ADMIN),
    "user deleted": lambda u, w: queries.delete_user(u, user_of(u, w), ADMIN),
    "role taken": lambda u, w: queries.set_roles(u, user_of(u, w), [], ADMIN),
    "permission taken from the role": lambda u, w: queries.define_role(u, "reader", ["x"]),
    "client disabled": lambda u, w: clients.set_enabled(
        u, client_of(u, w), is_enabled=False, actor=ADMIN
    ),
    "client deleted": lambda u, w: clients.delete(u, client_of(u, w), actor=ADMIN),
    "scope taken from the client": lambda u, w: clients.change(
        u, client_of(u, w), actor=ADMIN, scope="openid reports:read offline_access"
    ),
    "grants ended": lambda u, w: authorizations.end_all_of(
        u, w.user.id, reason="admin", actor=ADMIN
    ),
}


@pytest.mark.attack("RT-10")
@pytest.mark.parametrize("what", TAKING)
def test_what_is_taken_away_is_gone_from_every_token(world: World, what: str) -> None:
    observer = world.resource_server
    assert world.is_refreshable()
    with world.idp.work.begin() as unit:
        TAKING[what](unit, world)
    if what.startswith("client"):
        assert not world.idp.is_active(observer, world.tokens["access_token"])
        assert not world.is_refreshable()
        assert world.idp.userinfo(world.tokens["access_token"])[0] == 401
        status, body = world.idp.refresh(world.app, world.tokens["refresh_token"])
        assert (status, body["error"]) == (401, "invalid_client")
        return
    status, body = world.idp.refresh(world.app, world.tokens["refresh_token"])
    assert (status, body["error"]) == (400, "invalid_grant")
    assert world.gives_nothing()


@pytest.mark.attack("RT-10")
@pytest.mark.parametrize("reason", sorted(set(get_args(EndReason)) - EXPIRY))
def test_a_session_that_was_ended_takes_every_token_along(idp: Idp, reason: str) -> None:
    online = make_world(idp)
    offline = replace(online, tokens=_offline_tokens(online))
    idp.end(online.started.session.id, reason)
    assert online.gives_nothing()
    assert offline.gives_nothing()


def _offline_tokens(world: World) -> dict[str, Any]:
    scope = f"{SCOPE} offline_access"
    remember_consent(world.idp, world.started, world.app, scope)
    return world.idp.grant(world.app, world.started, scope=scope)


@pytest.mark.attack("RT-10")
def test_an_ended_session_counts_also_when_nobody_told_its_grants(idp: Idp) -> None:
    online = make_world(idp)
    offline = replace(online, tokens=_offline_tokens(online))
    idp.execute("UPDATE sessions SET ended_at = :now, end_reason = 'admin'", now=idp.clock.now())
    assert online.gives_nothing()
    assert offline.gives_nothing()


@pytest.mark.attack("RT-10")
@pytest.mark.parametrize("after", [IDLE_DEFAULT, ABSOLUTE_DEFAULT], ids=["idle", "absolute"])
def test_a_session_that_ran_out_leaves_offline_grants_and_nothing_else(
    idp: Idp, after: int
) -> None:
    world = make_world(idp)
    offline = _offline_tokens(world)
    idp.clock.advance(after)
    assert world.gives_nothing()
    status, refreshed = idp.refresh(world.app, offline["refresh_token"])
    assert status == 200
    assert idp.userinfo(refreshed["access_token"])[0] == 200
    # Also when the worker has written the expiry down; and never once somebody ends it for good.
    with idp.work.begin() as unit:
        authorizations.end_all_of(unit, world.user.id, reason="signed_out", actor=ADMIN)
    assert idp.refresh(world.app, refreshed["refresh_token"])[1]["error"] == "invalid_grant"


@pytest.mark.attack("RT-10")
def test_a_disabled_app_loses_the_tokens_of_its_own_as_well(idp: Idp) -> None:
    app, observer = idp.register(scope="read write"), idp.register(introspects_all=1)
    own = idp.token(app, grant_type="client_credentials")[1]["access_token"]
    narrow = idp.token(app, grant_type="client_credentials", scope="read")[1]["access_token"]
    assert idp.is_active(observer, own)
    for statement, alive in (
        ("UPDATE clients SET scope = 'read' WHERE id = :id", [False, True]),
        ("UPDATE clients SET disabled_at = 1 WHERE id = :id", [False, False]),
        ("UPDATE clients SET disabled_at = NULL WHERE id = :id", [False, True]),
        ("DELETE FROM clients WHERE id = :id", [False, False]),
    ):
        idp.execute(statement, id=app.id)
        assert [idp.is_active(observer, token) for token in (own, narrow)] == alive, statement


@pytest.mark.attack("RT-07")
def test_whatever_was_revoked_last_decides_in_every_order(idp: Idp) -> None:
    user = idp.person()
    started = idp.session(user)
    for order in permutations(("grant", "end grants", "own token", "end own tokens")):
        app = idp.register(scope="openid read")
        tokens, own = {}, ""
        for step in order:
            with idp.work.begin() as unit:
                if step == "end grants":
                    authorizations.end_all_of(
                        unit, user.id, client_id=app.id, reason="admin", actor=ADMIN
                    )
                if step == "end own tokens":
                    client = unit.orm.get_one(Client, app.id)
                    clients.revoke_own_tokens(unit, client, actor=ADMIN)
            if step == "grant":
                tokens = idp.grant(app, started)
            if step == "own token":
                own = idp.token(app, grant_type="client_credentials")[1]["access_token"]
        stands = order.index("grant") > order.index("end grants")
        assert idp.is_active(app, tokens["access_token"]) is stands, order
        assert idp.is_active(app, tokens["refresh_token"]) is stands, order
        assert (idp.userinfo(tokens["access_token"])[0] == 200) is stands, order
        assert (idp.refresh(app, tokens["refresh_token"])[0] == 200) is stands, order
        assert idp.is_active(app, own) is (order.index("own token") > order.index("end own tokens"))


@pytest.mark.attack("RT-07")
def test_a_new_beginning_brings_nothing_old_back(idp: Idp) -> None:
    world = make_world(idp)
    idp.end(world.started.session.id)
    again = idp.session(world.user)
    fresh = idp.grant(world.app, again, scope=SCOPE)
    assert world.gives_nothing()
    assert idp.is_active(world.app, fresh["refresh_token"])
    assert idp.refresh(world.app, fresh["refresh_token"])[0] == 200


Way = Callable[[], tuple[int, dict[str, Any]]]


def redeem_code(world: World) -> Way:
    return lambda: world.idp.token(world.app, **world.code)


def refresh(world: World) -> Way:
    return lambda: world.idp.refresh(world.app, world.tokens["refresh_token"])


def come_for_what_was_approved(world: World) -> Way:
    terminal = device_app(world.idp)
    terminal.ask(scope="openid")
    browser = world.idp.signed_in_browser(world.started)
    decide(browser, open_code(browser, terminal.user_code), "device-allow")
    return terminal.poll


# How each grant would give tokens of a person, made ready; None where it never does. A grant that is
# added without a row here fails the build.
PATHWAYS: dict[str, Callable[[World], Way] | None] = {
    "authorization_code": redeem_code,
    "refresh_token": refresh,
    "client_credentials": None,
    DEVICE_CODE: come_for_what_was_approved,
}


@pytest.mark.attack("BF-05")
def test_every_grant_has_its_row() -> None:
    assert set(PATHWAYS) == set(GRANT_TYPES)


@pytest.mark.attack("BF-05")
@pytest.mark.parametrize("status", [one for one in queries.STATUSES if one != ACTIVE])
@pytest.mark.parametrize("grant", [name for name, way in PATHWAYS.items() if way])
def test_no_grant_gives_tokens_of_a_person_who_may_not_sign_in(
    idp: Idp, grant: str, status: str
) -> None:
    pathway = PATHWAYS[grant]
    assert pathway is not None
    world = make_world(idp)
    come = pathway(world)
    with idp.work.begin() as unit:
        queries.set_status(unit, user_of(unit, world), status, ADMIN)
    code, body = come()
    denied = "access_denied" if grant == DEVICE_CODE else "invalid_grant"
    assert (code, body["error"]) == (400, denied)


@pytest.mark.attack("BF-05")
@pytest.mark.parametrize("grant", [name for name, way in PATHWAYS.items() if way is None])
def test_a_grant_without_a_person_gives_no_access_to_any(idp: Idp, grant: str) -> None:
    app = idp.register(scope="openid profile read")
    status, body = idp.token(app, grant_type=grant)
    assert (status, body["scope"]) == (200, "read")
    assert idp.post("/introspect", app, token=body["access_token"])[1]["sub"] == app.id
    assert idp.userinfo(body["access_token"])[0] == 401


@pytest.mark.attack("BF-05")
def test_nobody_who_may_not_sign_in_gets_a_code(idp: Idp) -> None:
    world = make_world(idp)
    browser = idp.signed_in_browser(world.started)
    with idp.work.begin() as unit:
        queries.set_status(unit, user_of(unit, world), "locked", ADMIN)
    response = browser.get("/authorize", params=Flow(world.app).parameters(scope=SCOPE))
    assert response.headers["location"].startswith("/login?")
    answer = idp.authorize(browser, Flow(world.app).parameters(scope=SCOPE, prompt="none"))
    assert answer["error"] == "login_required"
