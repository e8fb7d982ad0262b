"""What the OpenID conformance suite does with its back-channel logout plan, module by module.

Both modules, and what the specification adds to them: which apps are told, and that the browser need
not be there. The client is the one of the basic plan; what it is told, it is told over a socket.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from joserfc import jws, jwt
from joserfc.jwk import KeySet

from idp.clock import to_seconds
from tests.flows.pages import Person
from tests.flows.test_basic_certification import AFTER, CONFIGURATION, Plan, sign_out
from tests.harness.provider import ISSUER, Idp
from tests.harness.receivers import Receiver, Receivers, Request, listening

EVENT = "http://schemas.openid.net/event/backchannel-logout"


@pytest.fixture
def receivers() -> Iterator[Receivers]:
    with listening() as made:
        yield made


@pytest.fixture
def plan(idp: Idp, somebody: Person) -> Plan:
    return Plan(idp, somebody)


def told(plan: Plan, *apps: Receiver) -> list[dict[str, Any]]:
    """The claims of the one logout token that each app was sent."""
    with plan.idp.browser():  # the server's own life, and it has one: its worker runs
        requests = [app.wait_for(1) for app in apps]
    return [verified(plan, app, one) for app, (one,) in zip(apps, requests, strict=True)]


def verified(plan: Plan, app: Receiver, request: Request) -> dict[str, Any]:
    """The claims of a logout token, as the app that was sent it verifies them."""
    line, *rest = request.head.splitlines()
    assert line == f"POST {urlsplit(app.uri).path} HTTP/1.1"
    headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in rest)}
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    assert list(request.form) == ["logout_token"]
    (token,) = request.form["logout_token"]
    keys = KeySet.import_key_set(plan.idp.browser().get("/jwks").json())
    header = jws.extract_compact(token.encode()).headers()
    assert header["typ"] == "logout+jwt"
    found: dict[str, Any] = jwt.decode(token, keys, algorithms=[header["alg"]]).claims
    return found | {"_alg": header["alg"]}


def test_what_is_published_says_that_apps_are_told_and_by_session(plan: Plan) -> None:
    """oidcc-backchannel-logout-discovery-endpoint-verification."""
    found = plan.idp.browser().get(CONFIGURATION).json()
    assert found["backchannel_logout_supported"] is True
    assert found["backchannel_logout_session_supported"] is True
    assert found["end_session_endpoint"] == f"{ISSUER}/logout"
    assert "sid" in found["claims_supported"]


@pytest.mark.attack("LO-05")
@pytest.mark.parametrize("alg", ["RS256", "ES256"])
def test_the_app_is_told_of_a_logout_that_it_asked_for(
    plan: Plan, receivers: Receivers, alg: str
) -> None:
    """oidcc-backchannel-rp-initiated-logout."""
    app = receivers.add()
    client = plan.register(backchannel_logout_uri=app.uri, id_token_signed_response_alg=alg)
    answer = plan.ask(client).finish()
    hint = plan.tokens(answer)["id_token"]
    claims = jwt.decode(
        hint, KeySet.import_key_set(plan.idp.browser().get("/jwks").json()), algorithms=[alg]
    ).claims
    asked = {"id_token_hint": hint, "post_logout_redirect_uri": AFTER, "state": "s"}
    assert sign_out(plan, **asked) == f"{AFTER}?state=s"
    (found,) = told(plan, app)
    now = to_seconds(plan.idp.clock.now())
    assert found.pop("_alg") == alg
    assert (found["iat"], now < found["exp"] <= now + 120) == (now, True)
    assert isinstance(found["jti"], str)
    assert found["jti"]
    assert {name: found[name] for name in ("iss", "aud", "sub", "sid", "events")} == {
        "iss": ISSUER,
        "aud": client.id,
        "sub": claims["sub"],
        "sid": claims["sid"],
        "events": {EVENT: {}},
    }
    assert set(found) == {"iss", "aud", "iat", "exp", "jti", "sub", "sid", "events"}
    # And nobody is signed in any more, at the provider and at the app.
    assert plan.ask(client, prompt="none").finish()["error"] == "login_required"


def test_every_app_of_the_session_is_told_by_its_own_and_no_other(
    plan: Plan, receivers: Receivers
) -> None:
    """Section 2.5: those that have a session of theirs from it; also from a browser without cookies."""
    here, there, elsewhere = (receivers.add() for _ in range(3))
    first, second, other = (
        plan.register(backchannel_logout_uri=app.uri) for app in (here, there, elsewhere)
    )
    hint = plan.tokens(plan.ask(first).finish())["id_token"]
    plan.tokens(plan.ask(second).finish())
    # This one was sent a code, which it never redeemed: it has nothing to end.
    plan.ask(other).finish()
    response = plan.idp.browser().get("/logout", params={"id_token_hint": hint})
    assert response.status_code == 303
    one, two = told(plan, here, there)
    assert (one["aud"], two["aud"]) == (first.id, second.id)
    assert one["sid"] == two["sid"]
    assert one["jti"] != two["jti"]
    assert elsewhere.requests == []
    assert plan.ask(second, prompt="none").finish()["error"] == "login_required"
