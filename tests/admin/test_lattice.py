"""AD-04: whatever somebody calls, in whatever order, they end with no power they did not begin with.

A thief of one administrator's token tries random calls, goes on with whatever they get hold of (people
they made or whose address they changed, apps whose secret they learned), and is measured by all of it.
"""

import random

import pytest

from idp.oauth import clients
from idp.policy import management
from idp.users import queries
from tests.admin.conftest import Caller, person, program, role
from tests.harness.provider import CALLBACK, Idp

CALLS = 40
WRITING = ("users:write", "credentials:write", "roles:write", "clients:write")


@pytest.mark.attack("AD-04")
@pytest.mark.parametrize("seed", range(3))
def test_no_sequence_of_calls_gives_anybody_more_power(idp: Idp, seed: int) -> None:
    draw = random.Random(seed)
    held = {*draw.sample(WRITING, draw.randint(2, 4)), "users:read"}
    if "clients:write" in held:
        held.add("clients:read")
    caller = person(idp, "thief", role(idp, "role-of-thief", *held))
    boss, anna = idp.person("boss", roles=["administrator"]), idp.person("anna")
    idp.person("helper", roles=["support"])
    mighty = idp.register(name="Mighty", management=1, scope="openid keys:rotate", redirect_uris=[
        CALLBACK])  # fmt: skip
    thief = Thief(idp, caller, draw, people={caller.user.id}, others=[boss.id, anna.id], apps=set())
    thief.known_apps.append(mighty.id)
    for number in range(CALLS):
        thief.tries(number)
        assert thief.power <= held, thief.done
    assert len(thief.done) > 3, "hardly anything was let in"


class Thief:
    """Somebody with a token, and all they got hold of."""

    def __init__(
        self, idp: Idp, caller: Caller, draw: random.Random, *, people: set[str], others: list[str],
        apps: set[str],
    ) -> None:  # fmt: skip
        self.idp, self.caller, self.draw = idp, caller, draw
        self.people, self.others, self.apps = people, others, apps
        self.known_apps: list[str] = []
        self.done: list[str] = []

    @property
    def power(self) -> frozenset[str]:
        """What all the accounts and apps in their hands may do over this product, and over others."""
        with self.idp.work.read() as unit:
            held = [unit_user.permissions for one in self.people
                    if (unit_user := queries.by_id(unit, one)) is not None]  # fmt: skip
            held += [app.scope.split() for one in self.apps
                     if (app := clients.by_id(unit, one)) is not None and app.management]  # fmt: skip
            return management.POWER.intersection(one for part in held for one in part)

    def tries(self, number: int) -> None:
        attempt = self.draw.choice(
            [self.makes_a_person, self.takes_an_address, self.gives_roles, self.defines_a_role,
             self.registers_an_app, self.changes_an_app, self.learns_a_secret,
             self.removes_a_role]
        )  # fmt: skip
        attempt(number)

    def some_rights(self) -> list[str]:
        return self.draw.sample(management.SCOPES, self.draw.randint(1, 3))

    def some_roles(self) -> list[str]:
        names = ["administrator", "support", "auditor", "role-of-thief", "mine0", "mine1"]
        return self.draw.sample(names, self.draw.randint(0, 2))

    def anybody(self) -> str:
        return self.draw.choice([*self.others, *self.people])

    def makes_a_person(self, number: int) -> None:
        sent = {"username": f"puppet{number}", "roles": self.some_roles()}
        made = self.call("POST", "/users", sent)
        if made is not None:
            self.people.add(str(made["id"]))

    def takes_an_address(self, number: int) -> None:
        whose = self.anybody()
        if self.call("PATCH", f"/users/{whose}", {"email": f"thief{number}@evil.test"}) is not None:
            self.people.add(whose)

    def gives_roles(self, _: int) -> None:
        sent = {"roles": self.some_roles(), "reason": "x"}
        self.call("PUT", f"/users/{self.anybody()}/roles", sent, {"if-match": "*"})

    def defines_a_role(self, _: int) -> None:
        name = self.draw.choice(["mine0", "mine1", "support", "role-of-thief", "administrator"])
        sent = {"permissions": [*self.some_rights(), "docs:write"], "reason": "x"}
        self.call("PUT", f"/roles/{name}", sent, {"if-match": "*"})
        self.call("PUT", f"/roles/{name}", sent, {"if-none-match": "*"})

    def removes_a_role(self, _: int) -> None:
        name = self.draw.choice(["mine0", "mine1", "support", "role-of-thief", "auditor"])
        response = self.caller(
            "DELETE", f"/roles/{name}", params={"reason": "x"}, headers={"if-match": "*"}
        )
        assert response.status_code < 500
        if response.status_code < 300:
            self.done.append(f"DELETE /roles/{name}")

    def registers_an_app(self, number: int) -> None:
        sent = {
            "name": f"App {number}", "redirect_uris": [CALLBACK], "management": True,
            "scope": " ".join(self.some_rights()),
        }  # fmt: skip
        made = self.call("POST", "/clients", sent)
        if made is not None:
            self.apps.add(str(made["id"]))
            self.known_apps.append(str(made["id"]))

    def changes_an_app(self, _: int) -> None:
        sent = {"scope": " ".join(self.some_rights()), "management": True}
        self.call("PATCH", f"/clients/{self.draw.choice(self.known_apps)}", sent, {"if-match": "*"})

    def learns_a_secret(self, _: int) -> None:
        app = self.draw.choice(self.known_apps)
        if self.call("POST", f"/clients/{app}/secret", {}) is not None:
            self.apps.add(app)

    def call(
        self, method: str, path: str, body: dict, headers: dict[str, str] | None = None
    ) -> dict | None:
        response = self.caller(method, path, json=body, headers=headers or {})
        assert response.status_code < 500
        if response.status_code >= 300:
            return None
        self.done.append(f"{method} {path} {body}")
        return response.json()


def test_a_token_of_all_scopes_may_do_all_of_it(idp: Idp) -> None:
    """So that the walk above is not refused for some other reason."""
    root = program(idp, *management.SCOPES)
    thief = Thief(
        idp, root, random.Random(1), people=set(), others=[idp.person("anna").id], apps=set()
    )
    for attempt in (thief.makes_a_person, thief.registers_an_app, thief.learns_a_secret,
                    thief.changes_an_app, thief.takes_an_address):  # fmt: skip
        before = len(thief.done)
        for number in range(20):
            attempt(number + 100 * before)
        assert len(thief.done) > before, attempt.__name__
