"""What holds for somebody, as the management API says it."""

from idp.policy.changes import DEFAULTS
from idp.users import rules
from tests.admin.conftest import Caller, problem, role
from tests.harness.provider import ADMIN, Idp


def test_what_holds_is_said_with_the_rules_it_comes_from(idp: Idp, root: Caller) -> None:
    role(idp, "nurse", "wards:read")
    anna = idp.person("anna", roles=["nurse"])
    with idp.work.begin() as unit:
        mild = rules.set_rule(unit, "changes", {}, {"ip": "end"}, ADMIN).id
        strict = rules.set_rule(unit, "changes", {"role": "nurse"}, {"network": "mfa"}, ADMIN).id
        office = {"timezone": "UTC", "from": "08:00", "to": "18:00"}
        hours = rules.set_rule(unit, "hours", {"device_type": "tv"}, office, ADMIN).id
    found = root.get(f"/users/{anna.id}/rules")["items"]
    # The rule for her role takes the place of the general one; what it does not name has its default.
    [changes] = [one for one in found if one["kind"] == "changes"]
    assert changes["value"] == {**DEFAULTS, "network": "mfa"}
    assert (changes["rules"], changes["why"]) == ([strict], None)
    assert mild != strict
    # A rule for some sessions only stands beside the default.
    always, on_tv = [one for one in found if one["kind"] == "hours"]
    assert (always["when"], always["value"], always["rules"]) == ({}, {}, [])
    assert always["why"]
    assert (on_tv["when"], on_tv["rules"]) == ({"device_type": "tv"}, [hours])
    assert {one["kind"] for one in found} == set(rules.KINDS)


def test_of_nobody_nothing_holds(root: Caller) -> None:
    assert problem(root("GET", "/users/usr_x/rules")) == (404, "user_not_found")
